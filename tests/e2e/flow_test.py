#!/usr/bin/env python3
"""Readers that stop, beside one that does not, in a container with little memory."""
import socket
import threading
import time

import harness
from harness import Echo, MIB, Service, check, connect, each, equal, eventually
from memory_group import SMALL, MemoryGroup
from tunnel_client_test import client_argv, remote, server

CROWD = 60 if harness.SHORT else 100  # tests/bench/stopped-readers has a thousand


class Stopped(Service):
	"""Takes connections and reads nothing; its kernel takes little."""

	def __init__(self):
		super().__init__()
		self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
		self.over = threading.Event()

	def serve(self, conn):
		self.over.wait(600)


def limited(t, group, s, *services, io):
	"""A client in the group with a forward for each service; their far ports."""
	ports, remotes = zip(*[remote(x) for x in services])
	argv = client_argv(s.url, *remotes, io=io, fingerprint=s.ready["fingerprint"])
	c = t.start(group.wrap(argv), name="tunnel-sidecar")
	c.wait("tunnel_up")
	return (c, *ports)


def fill(conn):
	"""Sends until nothing is taken any more; how much that was."""
	conn.setblocking(False)
	n = 0
	try:
		while n < MIB:
			n += conn.send(bytes(65536))
	except BlockingIOError:
		pass
	return n


def stopped_crowd(t, port, service, n):
	"""n connections to a service that reads nothing, each as full as it gets.  Opened
	by and by: only so many are dialled at once."""
	crowd = []
	for i in range(n):
		crowd.append(t.open(connect(port)))
		if i % 32 == 31:
			eventually(lambda: service.accepted >= len(crowd), "the service has all of them")
	eventually(lambda: service.accepted == n, "the service has all of them")
	# More than a window of 2 MiB and the buffers in between hold, or until all is full.
	for _ in range(12):
		if sum(fill(conn) for conn in crowd) == 0:
			break
		time.sleep(0.2)
	return crowd


@each(io=harness.IO)
def test_stopped_readers_beside_an_echo(t, io):
	group = t.open(MemoryGroup(SMALL))
	s, stopped, echo = server(t), t.open(Stopped()), t.open(Echo())
	c, slow, fast = limited(t, group, s, stopped, echo, io=io)
	harness.echo_once(fast)
	crowd = stopped_crowd(t, slow, stopped, CROWD)
	for i in range(20):
		harness.echo_once(fast, bytes([i]) * 512)
	with connect(fast) as conn:
		for i in range(100):
			conn.sendall(bytes([i % 256]) * 512)
			equal(harness.recv_exactly(conn, 512), bytes([i % 256]) * 512, "echo")
	equal(group.oom_kills(), 0, "processes killed for want of memory")
	check(c.running(), "the client lives")
	if not harness.SHORT:
		check(c.rss() < 48 * MIB, f"{c.rss() // MIB} MiB for {CROWD} stopped readers")
	before = c.rss()
	for conn in crowd:
		fill(conn)
	check(c.rss() <= before + 4 * MIB, f"grew from {before // MIB} to {c.rss() // MIB} MiB with nothing read")
	c.kill()  # a SIGTERM would wait for the connections


def settle(group):
	"""Until what is under way to the crowd has come to rest."""
	def is_quiet():
		before = group.used()
		time.sleep(0.7)
		return abs(group.used() - before) < MIB // 4
	eventually(is_quiet, "memory in use stays as it is")


@each(io=harness.IO)
def test_a_limit_that_shrinks_in_place(t, io):
	"""No channel is let in while more is granted than the new limit has room for."""
	group = t.open(MemoryGroup(256 * MIB))
	s, stopped, echo = server(t), t.open(Stopped()), t.open(Echo())
	c, slow, fast = limited(t, group, s, stopped, echo, io=io)
	crowd = stopped_crowd(t, slow, stopped, 100)
	harness.echo_once(fast)
	with t.open(connect(fast)) as open_one:
		open_one.sendall(b"before")
		equal(harness.recv_exactly(open_one, 6), b"before", "echo")
		settle(group)
		group.set(group.used() + (12 if not harness.SHORT else 64) * MIB)  # room to live, none for more windows

		def is_refused():
			with connect(fast) as conn:
				try:
					conn.sendall(b"?")
					return conn.recv(1) == b""
				except ConnectionError:
					return True
		if not harness.SHORT:
			eventually(is_refused, "a channel is refused")
			check(c.wait("channel_rejected")["msg"].startswith("the container's memory"), "the log says why")
		open_one.sendall(b"after")  # one that is open goes on
		equal(harness.recv_exactly(open_one, 5), b"after", "echo")
	group.set(256 * MIB)
	eventually(lambda: harness.works(fast), "channels again")
	equal(group.oom_kills(), 0, "processes killed for want of memory")
	c.kill()


if __name__ == "__main__":
	harness.main()
