"""A program under test, or a peer, as a child process."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from .checks import Failure, check
from .settings import BIN, PATIENCE

_text_line = re.compile(r"^\S+Z (?:DEBUG|INFO|WARN|ERROR) +(\w+) (.*)")


def read_event(line):
	"""A log line in either form, JSON or text, as a dict with its "event"."""
	if line.startswith("{"):
		with contextlib.suppress(ValueError):
			return json.loads(line)
	found = _text_line.match(line)
	if not found:
		return None
	pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', found.group(2))
	return {"event": found.group(1), **{k: v.strip('"') for k, v in pairs}}


class Program:
	"""A child process; its log lines are events, by arrival."""

	def __init__(self, argv, name=None, env=None, cwd=None):
		self.name = name or pathlib.Path(str(argv[0])).name
		self.lines, self.events = [], []
		self.gate = None  # of a tunnel: leaks.Gate
		self.news = threading.Condition()
		self.popen = subprocess.Popen(
			[str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
			stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, cwd=cwd,
			text=True, errors="replace")
		self.pid, self.born = self.popen.pid, time.monotonic()
		self.readers = [threading.Thread(target=self._read, args=(f,), daemon=True)
				for f in (self.popen.stdout, self.popen.stderr)]
		for r in self.readers:
			r.start()

	def _read(self, stream):
		for line in stream:
			line = line.rstrip("\n")
			event = read_event(line)
			with self.news:
				self.lines.append(line)
				if event:
					self.events.append(event)
				self.news.notify_all()

	def running(self):
		return self.popen.poll() is None

	def find(self, event, since=0, **fields):
		for e in self.events[since:]:
			if e.get("event") == event and all(e.get(k) == v for k, v in fields.items()):
				return e
		return None

	def mark(self):
		"""A place in the row of events, for wait(since=…)."""
		with self.news:
			return len(self.events)

	def wait(self, event, seconds=None, since=0, **fields):
		end = time.monotonic() + (seconds or PATIENCE)
		with self.news:
			while True:
				found = self.find(event, since, **fields)
				if found:
					break
				left = end - time.monotonic()
				if left <= 0:
					raise Failure(f"{self.name} never said {event} {fields or ''}")
				if not self.running() and not any(r.is_alive() for r in self.readers):
					raise Failure(f"{self.name} ended with {self.popen.returncode}"
						      f" and never said {event} {fields or ''}")
				self.news.wait(min(left, 0.1))
		if event == "tunnel_up" and self.gate:
			self.gate.settle()
		return found

	def count(self, event):
		with self.news:
			return sum(e.get("event") == event for e in self.events)

	def text(self):
		with self.news:
			return "\n".join(self.lines)

	def exit_code(self, seconds=None):
		"""Waits for the end it comes to by itself."""
		try:
			code = self.popen.wait(seconds or PATIENCE)
		except subprocess.TimeoutExpired:
			raise Failure(f"{self.name} did not end") from None
		for r in self.readers:
			r.join(5)
		return code

	def signal(self, number):
		if self.running():
			self.popen.send_signal(number)

	def kill(self):
		self.signal(signal.SIGKILL)
		self.popen.wait()

	def stop(self, seconds=10):
		"""SIGTERM, then SIGKILL; returns the exit code."""
		self.signal(signal.SIGCONT)  # first: later it undoes the stop that a leak sanitizer waits for
		self.signal(signal.SIGTERM)
		try:
			self.popen.wait(seconds)
		except subprocess.TimeoutExpired:
			self.kill()
		for r in self.readers:
			r.join(5)
		return self.popen.returncode

	def fds(self):
		return len(os.listdir(f"/proc/{self.pid}/fd"))

	def rss(self):
		text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
		return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M).group(1)) * 1024


def run(argv, seconds=None, **options):
	"""Runs a program to its end: (exit code, all it printed)."""
	p = Program(argv, **options)
	try:
		return p.exit_code(seconds), p.text()
	finally:
		p.kill()


def program(name):
	path = BIN / name
	check(path.exists(), f"{path} is not built")
	return path
