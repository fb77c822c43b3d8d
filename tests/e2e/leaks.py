"""The leak gate: what a program holds when its streams have ended is what it held
before the first of them.

The numbers are the program's own (lib/app/self.h), read from its segment of the
status bus; SIGHUP has it take them at once.  The baseline is taken when the
tunnel came up, the verdict when the test is over and its services are closed.
"""
import os
import pathlib
import re
import signal
import struct
import time

NUMBERS = ("open_fds", "heap_blocks", "heap_bytes", "library_blocks", "library_bytes",
	   "sockets", "timers", "operations", "kernel_operations")
DESCRIPTOR = struct.Struct("<4I2BHIIIqQ2Q")
COUNTERS, DESCRIPTORS, STRINGS, LIVENESS = 5, 1, 2, 4  # enum bus_section


class Segment:
	"""The numbers of one segment (shm/layout.h), as long as its file is the same one."""

	def __init__(self, path):
		self.file = open(path, "rb", buffering=0)
		head = os.pread(self.file.fileno(), 4096, 0)
		count = struct.unpack_from("<H", head, 66)[0]
		toc = {}
		for i in range(count):
			kind, size, off, length, n, _ = struct.unpack_from("<IIQQII", head, 256 + 32 * i)
			toc[kind] = (off, length, size, n)
		off, length, _, _ = toc[STRINGS]
		strings = os.pread(self.file.fileno(), length, off)
		off, length, size, n = toc[DESCRIPTORS]
		table = os.pread(self.file.fileno(), length, off)
		self.beat_at, self.counters = toc[LIVENESS][0], toc[COUNTERS]
		self.places = {}
		for i in range(n):
			d = DESCRIPTOR.unpack_from(table, size * i)
			name, labels = (strings[at:strings.index(b"\0", at)].decode() for at in (d[0], d[3]))
			if d[4] < 2:  # no histogram
				self.places[name, labels] = d[7]

	def beat(self):
		return struct.unpack("<Q", os.pread(self.file.fileno(), 8, self.beat_at))[0]

	def values(self):
		off, _, size, shards = self.counters
		data = os.pread(self.file.fileno(), size * shards, off)
		return {key: sum(struct.unpack_from("<Q", data, size * s + 8 * at)[0] for s in range(shards))
			for key, at in self.places.items()}

	def close(self):
		self.file.close()


def _numbers(segment, prefix):
	values = segment.values()
	found = {n: values[prefix + n, ""] for n in NUMBERS if (prefix + n, "") in values}
	found["channels"] = sum(v for (name, _), v in values.items() if name == "pipeops_tunnel_channels")
	return found


class Gate:
	"""Of one program and its segment."""

	def __init__(self, program, segment, prefix="pipeops_tunnel_"):
		self.program, self.path, self.prefix = program, pathlib.Path(segment), prefix
		self.baseline = None

	def sample(self, seconds=5):
		"""Its numbers as they are now; None when it does not tell."""
		try:
			segment = Segment(self.path)
		except (OSError, ValueError, KeyError, struct.error):
			return None
		try:
			before, end = segment.beat(), time.monotonic() + seconds
			self.program.signal(signal.SIGHUP)
			while segment.beat() == before:
				if time.monotonic() > end or not self.program.running():
					return None
				time.sleep(0.001)
			return _numbers(segment, self.prefix)
		finally:
			segment.close()

	def settle(self):
		"""Takes the baseline, once: two samples that agree.  None of a program that has no
		bus to tell it on, and says so."""
		if self.baseline is not None or self.program.find("bus_degraded"):
			return
		last = self.sample()
		for _ in range(50):
			time.sleep(0.002)
			now = self.sample()
			if now == last:
				break
			last = now
		# A gate that sees nothing would pass everything.
		if self.program.running() and not (last and all(last.get(n) for n in NUMBERS)):
			raise AssertionError(f"{self.program.name} does not tell what it holds: {last}")
		self.baseline = last

	def complaint(self, seconds=5):
		"""None, or what has not come back within some seconds."""
		if self.baseline is None or not self.program.running() or is_stopped(self.program.pid):
			return None
		end = time.monotonic() + seconds
		while True:
			now = self.sample()
			if now is None:
				return None  # it has ended meanwhile, or its segment is another's
			wrong = differences(self.baseline, now, self.is_up())
			if not wrong:
				return None
			if time.monotonic() > end:
				return f"{self.program.name} leaks: " + ", ".join(wrong)
			time.sleep(0.02)

	def is_up(self):
		said = [e for e in self.program.events if e.get("event") in ("tunnel_state", "tunnel_retry")]
		return not said or said[-1].get("state") == "up"


def is_stopped(pid):
	try:
		return re.search(r"^State:\s+([TtZ])", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M) is not None
	except OSError:
		return True


def differences(was, now, up):
	"""Names what is not as it was.  The heap rounds a block up by 16 bytes or not, as
	it finds room; a tunnel that is not up any more may hold less than one that is."""
	wrong = []
	for name in was:
		rounding = min(16 * was[name.replace("bytes", "blocks")], 1024) if name.endswith("bytes") else 0
		more = now[name] - was[name]
		if more > rounding or (up and -more > rounding):
			wrong.append(f"{name} {now[name]}, was {was[name]}")
	return wrong
