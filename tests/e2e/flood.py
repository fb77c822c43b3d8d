"""Clients that want a status server for themselves, and one that only wants an answer.

By hand, in a network namespace of its own, with the figures:

  unshare --net tests/e2e/flood.py PROGRAM [epoll|uring] [KIND]…
"""
import contextlib
import errno
import multiprocessing
import pathlib
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time

FLOOD = 64  # clients at once
TOOK = 0.1  # seconds that a probe may take
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
KINDS = {
	"tastes": "pipelines /metrics on each connection and takes a little now and then",
	"reads": "the same, and reads as fast as it can",
	"drips": "sends a head byte by byte on each connection",
	"knocks": "connects again and again and sends nothing",
}


def prepare():
	"""This network namespace, as a pod's: Ethernet's MTU, no BBR."""
	for command in ("ip link set lo up mtu 1500", "sysctl -qw net.ipv4.tcp_congestion_control=reno"):
		subprocess.run(command.split(), check=True, capture_output=True)


class Client:
	"""One connection of the flood."""

	def __init__(self, port, source, kind):
		self.port, self.source, self.kind, self.sock = port, source, kind, None

	def open(self, selector):
		if self.sock:
			with contextlib.suppress(KeyError, ValueError):
				selector.unregister(self.sock)
			self.sock.close()
		self.sock = socket.socket()
		self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ports come back at once
		self.sock.setblocking(False)
		self.sock.bind((self.source, 0))
		code = self.sock.connect_ex(("127.0.0.1", self.port))
		if code in (0, errno.EINPROGRESS):
			selector.register(self.sock, selectors.EVENT_READ, self)

	def act(self):
		"""What it sends now; false when its connection has gone."""
		try:
			if self.kind in ("tastes", "reads"):
				self.sock.send(REQUEST * 100)
			elif self.kind == "drips":
				self.sock.send(b"G")
		except BlockingIOError:
			pass
		except OSError as e:
			return e.errno in (errno.ENOTCONN, errno.EAGAIN)
		return True

	def take(self):
		try:
			return self.sock.recv(2000 if self.kind == "tastes" else 1 << 20) != b""
		except BlockingIOError:
			return True
		except OSError:
			return False


def attack(port, source, kind, ready):
	"""For ever.  Whoever loses a connection makes another one at once."""
	selector = selectors.DefaultSelector()
	clients = [Client(port, source, kind) for _ in range(FLOOD)]
	for c in clients:
		c.open(selector)
	time.sleep(0.5)
	ready.set()
	turn = 0
	while True:
		begun = time.monotonic()
		for key, _ in selector.select(0):
			if not key.data.take():
				key.data.open(selector)
		for c in clients:
			if not c.act() or (kind == "knocks" and turn % 2 == 0):
				c.open(selector)
		turn += 1
		pause = {"tastes": 0.02, "reads": 0.002, "drips": 0.05, "knocks": 0.01}[kind]
		time.sleep(max(0.0, pause - (time.monotonic() - begun)))


def probe(port, source, patience):
	"""GET /health on a new connection: the seconds that it took, or what went wrong."""
	begun, got = time.monotonic(), b""
	try:
		with socket.socket() as s:
			s.settimeout(patience)
			s.bind((source, 0))
			s.connect(("127.0.0.1", port))
			s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			while piece := s.recv(65536):
				got += piece
	except OSError as e:
		if not got.endswith(b"}"):
			return f"{type(e).__name__} {e}"
	took = time.monotonic() - begun
	return took if got.startswith(b"HTTP/1.1 200 ") else f"said {got[:60]!r}"


def measure(port, kind, prober, probes=200, patience=1.0):
	"""What `probes` probes from that address met beside 64 such clients of 127.0.0.2."""
	ready = multiprocessing.Event()
	flood = multiprocessing.Process(target=attack, args=(port, "127.0.0.2", kind, ready), daemon=True)
	flood.start()
	try:
		ready.wait(30)
		answers = []
		for _ in range(probes):
			answers.append(probe(port, prober, patience))
			time.sleep(0.005)
		return answers
	finally:
		flood.kill()
		flood.join()


def summary(answers):
	times = sorted(a for a in answers if isinstance(a, float))
	failed = [a for a in answers if not isinstance(a, float)]
	return {"in time": sum(t <= TOOK for t in times), "late": sum(t > TOOK for t in times), "failed": len(failed),
		"median ms": round(times[len(times) // 2] * 1000, 1) if times else None,
		"most ms": round(times[-1] * 1000, 1) if times else None, "first failure": failed[0] if failed else None}


def main(program, io="epoll", *kinds):
	prepare()
	with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as s:
		port = s.getsockname()[1]
		s.close()
		server = subprocess.Popen([pathlib.Path(program).resolve(), "--port", str(port), "--bind", "0.0.0.0", "--bus-dir",
					   folder, "--io", io], stderr=subprocess.DEVNULL, cwd=folder)
		try:
			time.sleep(0.5)
			for kind in kinds or KINDS:
				for where, prober in (("another address", "127.0.0.3"), ("the same address", "127.0.0.2")):
					print(f"{io:5} {kind:7} probes from {where:16}", summary(measure(port, kind, prober)), flush=True)
		finally:
			server.kill()
			server.wait()


if __name__ == "__main__":
	main(*sys.argv[1:])
