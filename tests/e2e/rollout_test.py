#!/usr/bin/env python3
"""The tunnel ends and its next life starts at once, as in a roll-out: what is silent does not
hold the port, what moves goes on to its end."""
import contextlib
import signal
import threading
import time

import harness
from harness import Echo, check, connect, each, equal, eventually, works
from sshd import USER, Sshd
from tunnel_client_test import client_argv, remote, server

GATEWAYS = ["chisel", "ssh"]


class Talk:
	"""A stream in which a byte moves each tenth of a second until it is told to end."""

	def __init__(self, port):
		self.conn, self.over, self.error = connect(port), threading.Event(), None
		self.conn.settimeout(5)
		self.moved = 0
		self.thread = threading.Thread(target=self._talk, daemon=True)
		self.thread.start()

	def _talk(self):
		try:
			while not self.over.wait(0.1):
				self.conn.sendall(b"x")
				if self.conn.recv(1) != b"x":
					raise ConnectionError("closed")
				self.moved += 1
		except OSError as e:
			self.error = e

	def more(self):
		"""Waits until more bytes have moved."""
		since = self.moved
		eventually(lambda: self.moved > since + 2 or self.error, "more bytes")
		check(not self.error, f"the stream that moves: {self.error}")

	def close(self):
		self.over.set()
		self.thread.join()
		self.conn.close()


def argv_of(t, gateway, io, line):
	if gateway == "chisel":
		s = server(t)
		return client_argv(s.url, line, io=io, fingerprint=s.ready["fingerprint"])
	sshd = Sshd(t, password="secret").must_let_in()
	return [harness.program("tunnel-sidecar"), "client", "--io", io, "--fingerprint", sshd.fingerprint,
		"--auth", ":secret", "--max-retry-interval", "1s", f"ssh://{USER}@127.0.0.1:{sshd.port}", line]


def silent(port):
	conn = connect(port)
	conn.sendall(b"watch")
	equal(harness.recv_exactly(conn, 5), b"watch", "echo")
	return conn


def was_closed(conn):
	conn.settimeout(10)
	with contextlib.suppress(ConnectionError):
		return conn.recv(1) == b""
	return True


def ended(c):
	"""How many connections ended for being silent; one more entry for each that the timeout cut."""
	return [e["channels"] if "nothing moves" in e["msg"] else e["msg"] for e in c.events if e.get("event") == "drain"]


@each(gateway=GATEWAYS, io=harness.IO)
def test_silent_streams_do_not_hold_the_port(t, gateway, io):
	port, line = remote(t.open(Echo()))
	argv = argv_of(t, gateway, io, line)
	old = t.start(argv, name="tunnel-sidecar")
	old.wait("tunnel_up")
	watches = [t.open(silent(port)) for _ in range(3)]
	old.signal(signal.SIGTERM)
	began = time.monotonic()
	new = t.start(argv, name="tunnel-sidecar")
	new.wait("tunnel_up", seconds=30)
	eventually(lambda: works(port), "the next life serves")
	print(f"    {gateway} {io}: {time.monotonic() - began:.1f} s without new connections")
	for conn in watches:
		check(was_closed(conn), "a silent stream was ended")
	equal(old.exit_code(), 0, "exit code")
	equal(ended(old), [3], "ended for being silent, and nothing for the timeout")


@each(gateway=GATEWAYS, io=harness.IO)
def test_a_stream_that_moves_goes_on(t, gateway, io):
	port, line = remote(t.open(Echo()))
	argv = argv_of(t, gateway, io, line)
	old = t.start(argv, name="tunnel-sidecar")
	old.wait("tunnel_up")
	watch, talk = t.open(silent(port)), t.open(Talk(port))
	talk.more()
	old.signal(signal.SIGTERM)
	new = t.start(argv, name="tunnel-sidecar")
	check(was_closed(watch), "the silent stream was ended")
	talk.more()
	check(old.running(), "the old life carries the stream that moves")
	if gateway == "ssh":  # the port was given back meanwhile
		new.wait("tunnel_up", seconds=30)
		eventually(lambda: works(port), "the next life serves")
		talk.more()
	talk.close()
	equal(old.exit_code(), 0, "exit code")
	new.wait("tunnel_up", seconds=30)
	eventually(lambda: works(port), "the next life serves")
	equal(ended(old), [1], "ended for being silent, and nothing for the timeout")


if __name__ == "__main__":
	harness.main()
