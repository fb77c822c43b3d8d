#!/usr/bin/env python3
"""The users of one forward do what they like to its service: the other forward answers."""
import contextlib
import resource
import socket
import threading
import time

import harness
from harness import Echo, Service, Skip, check, connect, each, echo_once, equal, eventually, free_port
from names import NameServer, has_namespaces
from sshd import USER, Sshd
from tunnel_client_test import client_argv, remote, server, small_listener

GATEWAYS = ["chisel", "ssh"]
SILENT = 2100


def two_forwards(t, gateway, io, *remotes, wrap=()):
	"""A client with these remotes, to the kind of gateway that is named."""
	if gateway == "chisel":
		s = server(t)
		argv = client_argv(s.url, *remotes, io=io, fingerprint=s.ready["fingerprint"])
	else:
		sshd = Sshd(t, "ed25519", "MaxStartups 1000", "MaxSessions 1000", password="secret").must_let_in()
		argv = [harness.program("tunnel-sidecar"), "client", "--io", io, "--fingerprint", sshd.fingerprint,
			"--auth", ":secret", f"ssh://{USER}@127.0.0.1:{sshd.port}", *remotes]
	c = t.start([*wrap, *argv], name="tunnel-sidecar")
	c.wait("tunnel_up")
	return c


def answers_twenty(port, seconds=1):
	"""How many of twenty new connections are answered, each within so long."""
	good = 0
	for i in range(20):
		with contextlib.suppress(OSError), connect(port) as conn:
			conn.settimeout(seconds)
			conn.sendall(b"%02d" % i)
			good += conn.recv(2) == b"%02d" % i
	return good


@contextlib.contextmanager
def knocking(port, per_second):
	"""New connections to that port as long as this lasts; each is kept."""
	over, kept = threading.Event(), []

	def knock():
		while not over.wait(1 / per_second):
			with contextlib.suppress(OSError):
				kept.append(connect(port))
	thread = threading.Thread(target=knock, daemon=True)
	thread.start()
	try:
		yield kept
	finally:
		over.set()
		thread.join()
		for conn in kept:
			conn.close()


@each(gateway=GATEWAYS, io=harness.IO)
def test_one_forward_under_a_silent_name_server(t, gateway, io):
	if not has_namespaces():
		raise Skip("a name server of our own needs root and a mount namespace")
	names = NameServer("127.0.0.1")
	t.stack.callback(names.close)
	names.mode = "silent"
	(names.folder / "resolv.conf").write_text(
		f"search a.svc.cluster.test svc.cluster.test cluster.test\nnameserver {names.host}\noptions ndots:5\n")
	echo, slow, fast = t.open(Echo()), free_port(), free_port()
	c = two_forwards(t, gateway, io, f"R:{slow}:slow.example:80", f"R:{fast}:localhost:{echo.port}", wrap=names.wrap())
	with knocking(slow, 16) as kept:
		eventually(lambda: len(kept) >= 32, "A is knocked at")
		equal(answers_twenty(fast), 20, "answers of B")
	check(c.running(), "the client lives")


@each(gateway=GATEWAYS, io=harness.IO)
def test_one_forward_to_a_service_that_drops_connects(t, gateway, io):
	x, target = small_listener(0)
	t.open(x)
	for _ in range(4):  # its queue is full: a SYN is dropped
		full = t.open(socket.socket())
		full.setblocking(False)
		full.connect_ex(x.getsockname())
	echo, slow = t.open(Echo()), free_port()
	fast, other = remote(echo)
	c = two_forwards(t, gateway, io, f"R:{slow}:{target}", other)
	with knocking(slow, 100) as kept:
		eventually(lambda: len(kept) >= 200, "A is knocked at")
		equal(answers_twenty(fast), 20, "answers of B")
	check(c.running(), "the client lives")


@each(gateway=GATEWAYS, io=harness.IO)
def test_one_forward_with_all_the_connections(t, gateway, io):
	soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
	t.stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
	quiet, echo = t.open(Service(lambda conn: conn.recv(1))), t.open(Echo())
	(crowded, one), (fast, other) = remote(quiet), remote(echo)
	c = two_forwards(t, gateway, io, one, other)
	crowd = []
	t.stack.callback(lambda: [conn.close() for conn in crowd])
	for i in range(SILENT):
		with contextlib.suppress(OSError):
			crowd.append(connect(crowded))
		if i % 32 == 31:
			time.sleep(0.02)
	eventually(lambda: c.count("channel_rejected") or quiet.accepted >= 190, "A is full")
	time.sleep(0.5)
	equal(answers_twenty(fast), 20, "answers of B")
	held = [t.open(connect(fast)) for _ in range(40)]  # … and its reserve is more than one
	for i, conn in enumerate(held):
		conn.settimeout(3)
		conn.sendall(bytes([i]))
		equal(conn.recv(1), bytes([i]), "echo")
	check(c.running(), "the client lives")
	for conn in crowd:
		conn.close()
	eventually(lambda: not any(x.fileno() >= 0 for x in quiet.connections), "A is empty", seconds=30)


if __name__ == "__main__":
	harness.main()
