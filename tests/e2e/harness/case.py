"""One run of one test: everything that it opens, and the gates at its end."""
import contextlib
import pathlib
import re
import shutil
import tempfile

import leaks

from .checks import Failure, check, eventually
from .child import Program
from .settings import MIB, SHORT

SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|^panic|assert)", re.M)


class Case:
	"""One run of one test: what it opened, closed in reverse order."""

	def __init__(self):
		self.stack, self.programs, self.services = contextlib.ExitStack(), [], []
		self.dir = pathlib.Path(tempfile.mkdtemp(prefix="e2e-"))
		self.stack.callback(shutil.rmtree, self.dir, ignore_errors=True)

	def start(self, argv, **options):
		argv, segment = self._publishing(argv)
		p = Program(argv, **options)
		if segment:
			p.gate = leaks.Gate(p, segment)
		self.programs.append(p)
		self.stack.callback(p.stop)
		return p

	def _publishing(self, argv):
		"""The command line, with a bus for a client that has none; the segment of a tunnel."""
		argv = [str(a) for a in argv]
		if pathlib.Path(argv[0]).name != "tunnel-sidecar":
			return argv, None
		if argv[1:2] != ["client"]:
			return argv, self.dir / "bus/tunnel/segment"
		folder = pathlib.Path(tempfile.mkdtemp(prefix="client-bus-", dir=self.dir))
		return [*argv[:2], "--bus-dir", str(folder), *argv[2:]], folder / "tunnel/segment"

	def open(self, service):
		self.stack.callback(service.close)
		self.services.append(service)
		return service

	def check_leaks(self):
		"""The services end their streams, then each tunnel must hold what it held when it came up."""
		for service in self.services:
			service.close()
		for p in self.programs:
			complaint = p.gate and p.gate.complaint()
			check(not complaint, complaint)

	def close(self):
		self.stack.close()
		for p in self.programs:
			found = SANITIZER.search(p.text())
			if found and not p.name.startswith("chisel"):
				raise Failure(f"{p.name} (pid {p.pid}) reported: {found.group(0)}")


class LeakGate:
	"""Descriptors back to the count at the start, memory within a bound."""

	def __init__(self, program, slack_mib=16):
		self.program, self.slack = program, slack_mib * MIB
		self.fds, self.rss = program.fds(), program.rss()

	def close(self):
		eventually(lambda: self.program.fds() <= self.fds, f"{self.program.name} back at {self.fds} descriptors")
		if not SHORT:  # a sanitizer keeps freed memory
			eventually(lambda: self.program.rss() - self.rss <= self.slack,
				   f"{self.program.name} with at most {self.slack // 1024} KiB more than before")
