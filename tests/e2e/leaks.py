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

from harness.settings import PATIENCE

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
	"""Of a tunnel and its segment."""

	prefix = "pipeops_tunnel_"
	slack = {}  # what may be there beside the baseline, by name of the number, and why

	def __init__(self, program, segment):
		self.program, self.path = program, pathlib.Path(segment)
		self.baseline = None

	def sample(self, seconds=PATIENCE):
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
		if self.program.running() and not (last and last["open_fds"] and last["heap_blocks"]):
			raise AssertionError(f"{self.program.name} does not tell what it holds: {last}")
		self.baseline = last

	def complaint(self, seconds=PATIENCE):
		"""None, or what has not come back within some seconds."""
		if self.baseline is None or not self.program.running() or is_stopped(self.program.pid):
			return None
		end = time.monotonic() + seconds
		while True:
			now = self.sample()
			if now is None:
				return None  # it has ended meanwhile, or its segment is another's
			wrong = differences(self.baseline, now, self.is_exact(), self.slack)
			if not wrong:
				return None
			if time.monotonic() > end:
				return f"{self.program.name} leaks: " + ", ".join(wrong)
			time.sleep(0.02)

	def is_exact(self):
		"""A tunnel that is not up any more may hold less than one that is."""
		said = [e for e in self.program.events if e.get("event") in ("tunnel_state", "tunnel_retry")]
		return not said or said[-1].get("state") == "up"


class ControlGate(Gate):
	"""A control agent that has registered and polled."""

	prefix = "pipeops_control_"
	# Its two connections to the control plane keep a first block for either side of TLS;
	# the tunnel's segment and its own are opened when they are next looked at.
	slack = {"heap_blocks": 4, "heap_bytes": 4 * 1040, "open_fds": 2}

	def settle(self):
		end = time.monotonic() + PATIENCE
		while not self._is_at_work() and time.monotonic() < end:
			time.sleep(0.01)
		super().settle()

	def _is_at_work(self):
		"""Either connection was used."""
		try:
			segment = Segment(self.path)
		except (OSError, ValueError, KeyError, struct.error):
			return False
		values = segment.values()
		segment.close()
		return all(values.get((f"pipeops_{n}_total", ""), 0) for n in ("heartbeat", "tunnel_polls"))

	def is_exact(self):
		return False  # the control plane may be gone


class StatusGate(Gate):
	"""A status server, which tells of itself in /metrics: scrape() gives that page's samples."""

	prefix = "pipeops_status_"
	# The segment of the life before, of each container that was started again.
	slack = {"open_fds": 2}

	def __init__(self, program, scrape):
		super().__init__(program, "/")
		self.scrape = scrape

	def sample(self, seconds=PATIENCE):
		del seconds
		page = self.scrape()
		return page and {n: page[self.prefix + n] for n in NUMBERS if self.prefix + n in page}

	def is_exact(self):
		return False  # it reads no segment of a container that is gone


def is_stopped(pid):
	try:
		return re.search(r"^State:\s+([TtZ])", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M) is not None
	except OSError:
		return True


def differences(was, now, exact, slack):
	"""Names what is more than it was or, exactly, what is not as it was.  The heap
	rounds a block up by 16 bytes or not, as it finds room."""
	wrong = []
	for name in was:
		rounding = min(16 * was[name.replace("bytes", "blocks")], 1024) if name.endswith("bytes") else 0
		more = now[name] - was[name]
		if more > rounding + slack.get(name, 0) or (exact and -more > rounding):
			wrong.append(f"{name} {now[name]}, was {was[name]}")
	return wrong
