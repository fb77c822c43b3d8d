"""TCP services behind the tunnel, and the connections that use them from its far end."""
import contextlib
import hashlib
import itertools
import socket
import struct
import threading

from .checks import Failure, check, equal
from .settings import PATIENCE

_block = hashlib.shake_256(b"e2e").digest(256 * 1024)
_header = struct.Struct("!QQQ?")
HEADER_BYTES = _header.size  # what transfer() sends down beside the bytes that are asked for


def _chunks(size, flavour):
	"""size bytes that differ by flavour and by place."""
	sent = 0
	while sent < size:
		n = min(len(_block), size - sent)
		mark = struct.pack("!QQ", flavour, sent)
		yield (mark + _block)[:n]
		sent += n


def _send(conn, size, flavour):
	digest = hashlib.sha256()
	for chunk in _chunks(size, flavour):
		conn.sendall(chunk)
		digest.update(chunk)
	return digest.hexdigest()


def recv_exactly(conn, size):
	parts = []
	while size:
		got = conn.recv(min(size, 1 << 18))
		if not got:
			raise ConnectionError(f"closed with {size} bytes to come")
		parts.append(got)
		size -= len(got)
	return b"".join(parts)


def _recv_digest(conn, size):
	digest = hashlib.sha256()
	while size:
		got = conn.recv(min(size, 1 << 18))
		if not got:
			raise ConnectionError(f"closed with {size} bytes to come")
		digest.update(got)
		size -= len(got)
	return digest.hexdigest()


class Service:
	"""A TCP service on loopback, one thread per connection."""

	def __init__(self, serve=None, host="127.0.0.1"):
		self.serve = serve or self.serve
		family = socket.AF_INET6 if ":" in host else socket.AF_INET
		self.listener = socket.socket(family)
		self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		self.listener.bind((host, 0))
		self.listener.listen(512)
		self.port = self.listener.getsockname()[1]
		self.accepted = 0
		self.connections = set()
		self.errors = []
		threading.Thread(target=self._accept, daemon=True).start()

	def _accept(self):
		while True:
			try:
				conn, _ = self.listener.accept()
			except OSError:
				return
			self.accepted += 1
			self.connections.add(conn)
			threading.Thread(target=self._run, args=(conn,), daemon=True).start()

	def _run(self, conn):
		try:
			self.serve(conn)
		except (OSError, struct.error) as e:
			self.errors.append(e)
		finally:
			self.connections.discard(conn)
			conn.close()

	def close(self):
		self.listener.close()
		for c in list(self.connections):
			with contextlib.suppress(OSError):
				c.shutdown(socket.SHUT_RDWR)


class Echo(Service):
	def serve(self, conn):
		while got := conn.recv(1 << 16):
			conn.sendall(got)
		conn.shutdown(socket.SHUT_WR)


class Duplex(Service):
	"""Sends and receives at once, by the counts in the first bytes; keeps the
	digest of what came for transfer() to compare."""

	def __init__(self, **options):
		self.received, self.sent = {}, {}
		self.news = threading.Condition()
		super().__init__(**options)

	def serve(self, conn):
		flavour, down, up, half = _header.unpack(recv_exactly(conn, _header.size))
		sent = {}

		def send():
			with contextlib.suppress(OSError):  # the other end compares and tells
				sent["sha"] = _send(conn, up, flavour + 1)
		sender = threading.Thread(target=send)
		sender.start()
		got = _recv_digest(conn, down)
		ended = not half or conn.recv(1) == b""
		sender.join()
		with self.news:
			self.received[flavour] = got if ended else "bytes after the end"
			self.sent[flavour] = sent.get("sha")
			self.news.notify_all()
		if half:
			conn.shutdown(socket.SHUT_WR)
		else:
			conn.recv(1)  # the other end closes


_flavours = itertools.count(10, 2)


def connect(port, seconds=None, host="127.0.0.1"):
	conn = socket.create_connection((host, port), timeout=seconds or PATIENCE * 3)
	conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
	return conn


def transfer(port, duplex, down, up, half=True, before_close=None):
	"""down bytes to the service and up bytes back at once, compared by SHA-256.
	With half the sender closes its direction first, and the rest still comes;
	without, nothing is closed until both directions are complete."""
	flavour = next(_flavours)
	with connect(port) as conn:
		conn.sendall(_header.pack(flavour, down, up, half))
		result = {}

		def send():
			try:
				result["sent"] = _send(conn, down, flavour)
				if half:
					conn.shutdown(socket.SHUT_WR)
			except OSError as e:
				result["error"] = e
		sender = threading.Thread(target=send)
		sender.start()
		got = _recv_digest(conn, up)
		ended = not half or conn.recv(1) == b""
		sender.join()
		check("error" not in result, f"sending: {result.get('error')}")
		check(ended, "bytes after the end")
		with duplex.news:
			check(duplex.news.wait_for(lambda: flavour in duplex.received, PATIENCE),
			      "the service never got all bytes")
			equal(duplex.received[flavour], result["sent"], "SHA-256 of bytes down")
			equal(got, duplex.sent[flavour], "SHA-256 of bytes up")
		if before_close:
			before_close()


def echo_once(port, text=b"hello through the tunnel", host="127.0.0.1"):
	with connect(port, PATIENCE, host) as conn:
		conn.sendall(text)
		equal(recv_exactly(conn, len(text)), text, "echo")


def works(port):
	"""Whether an echo comes back now."""
	with contextlib.suppress(OSError, Failure):
		echo_once(port)
		return True
	return False
