"""A relay between client and server that has outages on order.

Packets are dropped in earnest: a socket filter that takes nothing drops what
comes for a socket before TCP sees it, so nothing is acknowledged or refused.
"""
import contextlib
import ctypes
import socket
import struct
import threading

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
_nothing = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF: ret #0
_program = struct.pack("HL", 1, ctypes.addressof(_nothing))


def _drop(sock, dropping):
	if dropping:
		sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _program)
	else:
		sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def _close_with_reset(sock):
	with contextlib.suppress(OSError):  # it may be closed
		sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		sock.shutdown(socket.SHUT_RD)  # lets the copying thread go of it
	sock.close()


class Relay:
	"""Carries bytes to `target` (port on loopback) until told otherwise."""

	def __init__(self, target, host="127.0.0.1", port=0, target_host="127.0.0.1"):
		self.target = (target_host, target)
		self.going = threading.Event()  # bytes move
		self.going.set()
		self.lock = threading.Lock()
		self.pairs, self.old = [], []
		self.accepted = 0
		self.dark = False
		self.host, self.port = host, port
		self._listen()

	def _listen(self):
		self.listener = socket.socket()
		self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		self.listener.bind((self.host, self.port))
		self.listener.listen(128)
		self.port = self.listener.getsockname()[1]
		threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

	def _accept(self, listener):
		while True:
			try:
				client, _ = listener.accept()
			except OSError:
				return
			self.accepted += 1
			threading.Thread(target=self._open, args=(client,), daemon=True).start()

	def _open(self, client):
		self.going.wait()
		try:
			server = socket.create_connection(self.target)
		except OSError:
			client.close()
			return
		for s in (client, server):
			s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		pair = (client, server)
		with self.lock:
			self.pairs.append(pair)
			if self.dark:
				_drop(client, True)
		for a, b in (pair, pair[::-1]):
			threading.Thread(target=self._copy, args=(a, b, pair), daemon=True).start()

	def _copy(self, a, b, pair):
		try:
			while got := a.recv(1 << 16):
				self.going.wait()
				b.sendall(got)
		except OSError:
			pass
		self.going.wait()
		with self.lock:
			if pair not in self.pairs:
				return  # the other direction ended first, or it is being reset
			self.pairs.remove(pair)
		for s in pair:
			try:
				s.shutdown(socket.SHUT_RDWR)
			except OSError:
				pass

	def blackhole(self):
		"""From now on packets of the client vanish, of old connections and new ones."""
		with self.lock:
			self.dark = True
			self.going.clear()
			for s in [self.listener, *(client for client, _ in self.pairs)]:
				_drop(s, True)

	def heal(self, old=True):
		"""Everything moves again; without old what stood before stays in the dark,
		and the server does not learn that it is dead."""
		with self.lock:
			if self.dark:
				for s in [*(client for client, _ in self.pairs if old), self.listener]:
					_drop(s, False)  # the listener last: who gets through finds all healed
			self.old = [] if old else self.pairs[:]
			self.dark = False
			self.going.set()

	def drop_far(self):
		"""The server's ends of all connections are reset, the client's stay as they are."""
		with self.lock:
			pairs = self.pairs[:]
		for _, server in pairs:
			_close_with_reset(server)

	def drop_old(self):
		"""The server learns that what heal(old=False) left is dead."""
		self._reset(self.old)

	def freeze(self):
		"""Connections are accepted and stay open, and no byte moves."""
		self.going.clear()

	def reset(self):
		"""RST to both ends of every connection."""
		self._reset(self.pairs)

	def hang_up(self):
		"""FIN to the clients, in the middle of everything."""
		with self.lock:
			for client, _ in self.pairs:
				client.shutdown(socket.SHUT_WR)

	def _reset(self, which):
		with self.lock:
			pairs = which[:]
			self.pairs = [p for p in self.pairs if p not in pairs]
		for pair in pairs:
			for s in pair:
				_close_with_reset(s)

	def drop_listener(self):
		"""Connections are refused; those that stand go on."""
		try:
			self.listener.shutdown(socket.SHUT_RDWR)
		except OSError:
			pass
		self.listener.close()

	def listen_again(self):
		self._listen()

	def close(self):
		self.heal()
		self.drop_listener()
		self.reset()
