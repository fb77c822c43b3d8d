"""What a test says of what it sees: checks, waiting, and calls that run at once.

A number that a program is still counting is awaited (await_value, eventually),
never read at one moment: on a busy machine that moment is too early.
"""
import threading
import time

from .settings import PATIENCE


class Skip(Exception):
	"""This test cannot run here; the text says why."""


class Failure(AssertionError):
	"""A check that did not hold."""


def check(truth, text):
	if not truth:
		raise Failure(text)


def equal(got, want, what):
	check(got == want, f"got {got!r}, want {want!r}: {what}")


def eventually(look, what, seconds=None):
	"""Calls look() until it gives something true, and returns that."""
	end = time.monotonic() + (seconds or PATIENCE)
	while True:
		seen = look()
		if seen:
			return seen
		if time.monotonic() > end:
			raise Failure(f"never came: {what}")
		time.sleep(0.02)


def await_value(look, want, what, seconds=None):
	"""Calls look() until it gives want; a failure says what it gave last.  For what a program
	is still counting or about to do, and which comes to rest at want."""
	end = time.monotonic() + (seconds or PATIENCE)
	while (got := look()) != want:
		if time.monotonic() > end:
			raise Failure(f"got {got!r}, want {want!r}: {what}")
		time.sleep(0.02)


def together(*calls):
	"""Runs the calls at once; the first failure of any is raised."""
	failures = []

	def run(call):
		try:
			call()
		except Exception as e:
			failures.append(e)
	threads = [threading.Thread(target=run, args=(c,)) for c in calls]
	for th in threads:
		th.start()
	for th in threads:
		th.join()
	if failures:
		raise failures[0]
