"""Runs the tests of one file and prints a line for each."""
import hashlib
import inspect
import itertools
import os
import sys
import time
import traceback

from .case import Case
from .checks import Failure, Skip
from .settings import IO, ONE_LOOP


def each(**rows):
	"""Repeats a test for every combination of the values given."""
	def wrap(test):
		test.rows = [dict(zip(rows, values)) for values in itertools.product(*rows.values())]
		if ONE_LOOP and "io" in rows:
			test.rows = _on_one_loop(test)
		return test
	return wrap


def on_one_loop(test):
	"""For a test whose subject does not know the loop: it takes io, one of the loops, which
	by its name."""
	test.rows = [{"io": io} for io in IO]
	test.rows = _on_one_loop(test)
	return test


def _on_one_loop(test):
	"""Of the rows of a test that differ by their loop only, one: which, a hash of the test's
	name, its other values and E2E_ONE_LOOP says, so that both loops are met in a file."""
	alike = {}
	for row in test.rows:
		alike.setdefault(str({k: v for k, v in row.items() if k != "io"}), []).append(row)
	return [rows[hashlib.sha256(f"{ONE_LOOP} {test.__name__} {others}".encode()).digest()[0] % len(rows)]
		for others, rows in alike.items()]


def main():
	"""Runs the tests of the script that calls it: one line for each, and
	exit code 1 when one failed.  Arguments select tests by part of the name."""
	# Only tests touch these; a child must not meet the proxy of this machine.
	for v in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
		os.environ.pop(v, None)
		os.environ.pop(v.upper(), None)
	module = sys.modules["__main__"]
	failed = passed = 0
	for name, test in list(vars(module).items()):
		if not name.startswith("test_") or not inspect.isfunction(test):
			continue
		for row in getattr(test, "rows", [{}]):
			label = name[5:] + (f"[{' '.join(map(_word, row.values()))}]" if row else "")
			if len(sys.argv) > 1 and not any(a in label for a in sys.argv[1:]):
				continue
			good = _run_one(label, test, row)
			passed, failed = passed + good, failed + (not good)
	sys.exit(1 if failed else 0)


def _word(value):
	text = str(value)
	return text if text.isprintable() else repr(text)


def _run_one(label, test, row):
	case, started = Case(), time.monotonic()
	try:
		try:
			test(case, **row)
			case.check_leaks()
		finally:
			case.close()
	except Skip as e:
		print(f"skipped {label}: {e}", flush=True)
		return True
	except Exception as e:
		reason = str(e).split("\n", 1)[0] if isinstance(e, Failure) else f"{type(e).__name__}: {e}"
		print(f"FAILED {label}: {reason} ({time.monotonic() - started:.1f} s)", flush=True)
		if not isinstance(e, Failure):
			print(_indent(traceback.format_exc()))
		else:
			print(_indent("".join(traceback.format_tb(e.__traceback__)[-3:])))
		for p in case.programs:
			print(_indent(f"--- {p.name} (pid {p.pid}, exit {p.popen.poll()}) said last:\n"
				      + "\n".join(p.lines[-25:])), flush=True)
		return False
	print(f"ok {label} ({time.monotonic() - started:.1f} s)", flush=True)
	return True


def _indent(text):
	return "\n".join("    " + line for line in text.splitlines())
