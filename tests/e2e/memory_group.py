"""A memory control group of a test's own, version 1 or 2, where one may be made."""
import os
import pathlib
import re
import time

import harness


def _own_path(controller):
	"""This process's group: of version 2 for "", else of that controller."""
	for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
		_, names, path = line.split(":", 2)
		if (controller in names.split(",")) if controller else names == "":
			return path
	return None


def _mounts():
	"""(mount point, shown group, is version 2) of every hierarchy that limits memory."""
	for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
		left, right = line.split(" - ")
		words, (kind, _, options) = left.split(), right.split(" ", 2)
		if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
			yield pathlib.Path(words[4]), words[3], kind == "cgroup2"


# A small container; a sanitizer needs several times the memory.
SMALL = (192 if harness.SHORT else 64) * harness.MIB
# … and would keep another 256 MiB of what was freed.
SANITIZER = "ASAN_OPTIONS=" + os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"


class MemoryGroup:
	"""Limits what is started in it; close() after that has ended."""

	def __init__(self, limit):
		self.folder = None
		for mount, shown, self.v2 in _mounts():
			path = _own_path("" if self.v2 else "memory")
			if path is None:
				continue
			own = mount / path.removeprefix(shown if shown != "/" else "").lstrip("/")
			# A group of version 2 with processes can't limit others below it: beside us, or above.
			for parent in [own.parent, own] if self.v2 else [mount, own]:
				folder = parent / f"e2e-{os.getpid()}-{time.monotonic_ns()}"
				try:
					folder.mkdir()
				except OSError:
					continue
				try:
					self.folder = folder
					self.set(limit)
					return
				except OSError:
					folder.rmdir()
					self.folder = None
		raise harness.Skip("no memory control group can be made here")

	def set(self, limit):
		(self.folder / ("memory.max" if self.v2 else "memory.limit_in_bytes")).write_text(str(limit))

	def wrap(self, argv):
		"""The command that runs argv inside."""
		return ["/bin/sh", "-c", 'echo $$ >"$0" && exec env "$@"', self.folder / "cgroup.procs", SANITIZER, *argv]

	def used(self):
		return int((self.folder / ("memory.current" if self.v2 else "memory.usage_in_bytes")).read_text())

	def most(self):
		"""The most that was ever used, in bytes; 0 where the kernel does not say."""
		path = self.folder / ("memory.peak" if self.v2 else "memory.max_usage_in_bytes")
		return int(path.read_text()) if path.exists() else 0

	def oom_kills(self):
		text = (self.folder / ("memory.events" if self.v2 else "memory.oom_control")).read_text()
		return int(re.search(r"^oom_kill (\d+)", text, re.M).group(1))

	def close(self):
		end = time.monotonic() + 10
		while self.folder:
			try:
				self.folder.rmdir()
				return
			except OSError:
				if time.monotonic() > end:
					return
				time.sleep(0.05)
