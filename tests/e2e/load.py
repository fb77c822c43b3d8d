"""Connections by the thousand, of every kind, and streams beside them.

A Churn has the services behind the tunnel; its kinds are what a user at the
far end does with one connection.  Each kind knows what must come of it, and an
outcome that is another one is a failure of the test.
"""
import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time

import harness
from harness import MIB, SHORT, check, connect, equal, free_port

SOAK = os.environ.get("SOAK") == "1"  # make soak: everything at its full length
_reset = struct.pack("ii", 1, 0)
_words = hashlib.shake_256(b"load").digest(1 << 20)


def reset(conn):
	"""Closes with RST instead of FIN."""
	conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _reset)
	conn.close()


def _read_all(conn):
	parts = []
	while got := conn.recv(1 << 18):
		parts.append(got)
	return b"".join(parts)


def answer_to(request):
	"""What the half-close service says to a request: its size and bytes depend on it."""
	digest = hashlib.sha256(request).digest()
	size = int.from_bytes(digest[:4], "big") % (len(_words) // 4)
	return digest + _words[:size]


def _answer(conn):
	"""Reads to the end of the request, and only then speaks."""
	conn.sendall(answer_to(_read_all(conn)))


def _echo(conn):
	while got := conn.recv(1 << 16):
		conn.sendall(got)


def _slam(conn):
	conn.recv(64)
	reset(conn)


def _leave_first(conn):
	"""Ends its own direction first, then counts what still comes."""
	conn.sendall(b"that is all")
	conn.shutdown(socket.SHUT_WR)
	_read_all(conn)


class Churn:
	"""far: the ports of the tunnel's far end by name of the service."""

	SERVICES = {"echo": _echo, "answer": _answer, "slam": _slam, "leave": _leave_first}

	def __init__(self, t):
		self.services = {name: t.open(harness.Service(serve)) for name, serve in self.SERVICES.items()}
		self.ports = {name: s.port for name, s in self.services.items()} | {"refused": free_port()}
		self.far = {}
		self.done = 0
		self.lock = threading.Lock()

	# ---- what a user does with one connection ----

	def echo(self, r):
		size = r.choice((1, 100, 4096, 50_000))
		with connect(self.far["echo"]) as conn:
			text = _words[:size]
			conn.sendall(text)
			equal(harness.recv_exactly(conn, size), text, "echo")

	def half_close(self, r):
		"""The user's direction ends first; the whole answer comes after it."""
		request = r.randbytes(r.choice((1, 30, 3000, 70_000)))
		with connect(self.far["answer"]) as conn:
			conn.sendall(request)
			conn.shutdown(socket.SHUT_WR)
			got, want = _read_all(conn), answer_to(request)
			check(got == want, f"the whole answer: {len(got)} bytes of {len(want)}")

	def half_closed_by_service(self, r):
		with connect(self.far["leave"]) as conn:
			equal(_read_all(conn), b"that is all", "what came before the end")
			conn.sendall(_words[:r.choice((1, 20_000))])
			conn.shutdown(socket.SHUT_WR)

	def reset_by_user(self, r):
		conn = connect(self.far["echo"])
		conn.sendall(_words[:r.choice((1, 5000, 200_000))])
		if r.random() < 0.5:
			conn.recv(1)
		reset(conn)

	def reset_by_service(self, r):
		with connect(self.far["slam"]) as conn, contextlib.suppress(OSError):
			conn.sendall(_words[:r.choice((1, 100_000))])
			equal(_read_all(conn), b"", "end of the stream")

	def refused(self, r):
		del r
		with connect(self.far["refused"]) as conn, contextlib.suppress(OSError):
			equal(conn.recv(10), b"", "end of the stream")

	def gone_at_once(self, r):
		if r.random() < 0.5:
			reset(connect(self.far["echo"]))
		else:
			connect(self.far["echo"]).close()

	KINDS = (echo, echo, half_close, half_closed_by_service, reset_by_user, reset_by_service, refused, gone_at_once)

	# ---- many of them ----

	def run(self, total, workers=16, kinds=KINDS, each=None, pause=0.0, stop=None):
		"""total connections by some workers, of all kinds in turn; each(done) after
		every hundredth part.  Ends early when stop is set."""
		self.done, step = 0, max(total // 100, 1)

		def work(number):
			r = random.Random(number)
			time.sleep(number * pause / workers)  # not all at once: 64 dials may be pending
			while not (stop and stop.is_set()):
				with self.lock:
					n = self.done
					if n >= total:
						return
					self.done += 1
					if each and n % step == 0:
						each(n)
				kinds[n % len(kinds)](self, r)
				if pause:
					time.sleep(pause)
		harness.together(*[lambda number=n: work(number) for n in range(workers)])


class Memory:
	"""Resident memory of a program over the course of a run: sample() is for Churn.run(each=…)."""

	def __init__(self, program):
		self.program, self.samples = program, []

	def sample(self, _done=None):
		self.samples.append(self.program.rss())

	def growth(self):
		"""Bytes by which the last tenth of the run stands above the first."""
		n = max(len(self.samples) // 10, 1)
		return (sum(self.samples[-n:]) - sum(self.samples[:n])) // n

	def check(self, what, most=4 * MIB):
		n = max(len(self.samples) // 10, 1)
		print(f"    {what}: RSS {sum(self.samples[:n]) / n / MIB:.2f} MiB in the first tenth,"
		      f" {sum(self.samples[-n:]) / n / MIB:.2f} in the last", flush=True)
		if not SHORT:
			check(self.growth() <= most, f"memory grew by {self.growth() // 1024} KiB")


# Traffic at full rate has processes of its own: it must not wait for the test's threads.

class FarEcho:
	"""An echo service in a process of its own."""

	def __init__(self, t):
		self.program = t.start([sys.executable, __file__, "echo"], name="echo service")
		self.port = self.program.wait("ready")["port"]

	def accepted(self):
		return self.program.count("accepted")


class Flow:
	"""One stream to an echo and back as fast as it goes, until end(): bytes that differ by place."""

	def __init__(self, t, port):
		self.program = t.start([sys.executable, __file__, "flow", port], name="flow")

	def end(self):
		"""Bytes that came back; what was sent, to the last one, or a failure."""
		self.program.signal(signal.SIGINT)
		done = self.program.wait("done", 60)
		check(not done["failure"], f"a stream was dropped: {done['failure']}")
		equal(done["got"], done["sent"], "SHA-256 of the echo")
		return done["bytes"]


def _tell(event, **fields):
	print(json.dumps({"event": event, **fields}), flush=True)


def _main_echo():
	class Told(harness.Service):
		def serve(self, conn):
			_tell("accepted")
			_echo(conn)
			conn.shutdown(socket.SHUT_WR)
	_tell("ready", port=Told().port)
	signal.pause()


def _main_flow(port):
	stop, sent, got, total, failure = threading.Event(), hashlib.sha256(), hashlib.sha256(), 0, []
	signal.signal(signal.SIGINT, lambda *_: stop.set())
	conn = connect(int(port))

	def pump():
		block, n = bytearray(_words[:256 * 1024]), 0
		try:
			while not stop.is_set():
				struct.pack_into("!Q", block, 0, n)
				conn.sendall(block)
				sent.update(block)
				n += 1
			conn.shutdown(socket.SHUT_WR)
		except OSError as e:
			failure.append(str(e))
	pumping = threading.Thread(target=pump)
	pumping.start()
	try:
		while part := conn.recv(1 << 18):
			got.update(part)
			total += len(part)
	except OSError as e:
		failure.append(str(e))
	stop.set()
	pumping.join()
	_tell("done", bytes=total, sent=sent.hexdigest(), got=got.hexdigest(), failure=failure)


if __name__ == "__main__":
	{"echo": _main_echo, "flow": _main_flow}[sys.argv[1]](*sys.argv[2:])
