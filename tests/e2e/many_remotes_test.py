#!/usr/bin/env python3
"""`tunnel-sidecar client` with as many remotes as it takes: 512, in one message to a chisel
server, one after the other to an SSH server."""
import harness
import chisel_official_test
import ssh_gateway_test
from harness import Echo, check, each, echo_once, equal, eventually, free_port
from leaks import Segment
from sshd import Sshd
from tunnel_client_test import client_argv, refused, server

MOST = 512
COUNTED_EACH = 31  # with a name of its own on the status bus, when there are more than 32
LOOKED_AT = [0, 1, 30, 31, 32, 127, 129, 198, 255, 256, 400, MOST - 2, MOST - 1]


class Remotes:
	"""All with a far port and a local port of their own; behind some of them is a service."""

	def __init__(self, t, n=MOST, host="127.0.0.1"):
		self.far = [free_port() for _ in range(n)]
		equal(len(set(self.far)), n, "different ports")
		self.services = {i: t.open(Echo()) for i in LOOKED_AT if i < n}
		self.texts = [f"R:127.0.0.1:{far}:{host}:{self.services[i].port if i in self.services else 1024 + i}"
			      for i, far in enumerate(self.far)]

	def check(self):
		for i, service in self.services.items():
			eventually(lambda i=i: harness.works(self.far[i]), f"an echo through remote {i}")
			check(service.accepted > 0, f"remote {i} leads to its own service")
			service.accepted = 0


@each(io=harness.IO)
def test_most_remotes(t, io):
	s, r = server(t), Remotes(t)
	c = t.start(client_argv(s.url, *r.texts, io=io, fingerprint=s.ready["fingerprint"]))
	equal(c.wait("tunnel_up")["forwards"], MOST, "forwards")
	r.check()


def test_most_remotes_with_long_names_over_tls(t):
	tls = harness.Certificates(t.dir)
	s, r = server(t, tls=tls), Remotes(t, host="127.0.0.1")
	long = ".".join(["a" * 60] * 2) + ".example.com"
	texts = [x if i in r.services else f"R:127.0.0.1:{r.far[i]}:{long}:{1024 + i}" for i, x in enumerate(r.texts)]
	c = t.start(client_argv(s.url, *texts, fingerprint=s.ready["fingerprint"], flags=["--tls-ca", tls.ca]))
	c.wait("tunnel_up")
	r.check()


@each(io=harness.IO)
def test_most_remotes_of_the_official_server(t, io):
	s = chisel_official_test.server(t, "--reverse", "--auth", "user:secret")
	r = Remotes(t)
	c = t.start(client_argv(f"http://127.0.0.1:{s.port}", *r.texts, io=io))  # it has another key when it is back
	c.wait("tunnel_up")
	r.check()
	before = c.mark()
	s.kill()
	chisel_official_test.server(t, "--reverse", "--auth", "user:secret", port=s.port)
	c.wait("tunnel_up", since=before)
	r.check()


def test_most_remotes_of_an_ssh_server(t):
	sshd = Sshd(t).must_let_in()
	r = Remotes(t)
	c = ssh_gateway_test.client(t, sshd, *r.texts)
	c.wait("tunnel_up")
	r.check()


def test_one_too_many(t):
	r = Remotes(t, MOST + 1)
	refused(client_argv("http://127.0.0.1:1", *r.texts), 2, "513 remotes; at most 512 are possible")


def test_names_too_long_for_one_message(t):
	long = ".".join(["a" * 60] * 4)
	texts = [f"R:{long}:{1024 + i}:{long}:80" for i in range(MOST)]
	check(len(set(texts)) == MOST, "each is another")
	text = refused(client_argv("http://127.0.0.1:1", *texts, flags=["--max-retry-count", "0"]), 2, "one message of 255 KiB")
	check(len(text) < 400, f"one sentence: {text}")


@each(pair=[("R:{0}:127.0.0.1:1", "R:127.0.0.1:{0}:127.0.0.1:2"), ("R:{0}", "R:{0}"), ("R:[::1]:{0}:a:1", "R:[0::1]:{0}:b:1")])
def test_one_port_twice(t, pair):
	refused(client_argv("http://127.0.0.1:1", *[x.format(8000) for x in pair]), 2, "both want port 8000 of the server")


def test_the_last_ones_are_counted_together(t):
	s, r = server(t), Remotes(t)
	c = t.start(client_argv(s.url, *r.texts, fingerprint=s.ready["fingerprint"]))
	c.wait("tunnel_up")
	for i in r.services:
		echo_once(r.far[i])

	segment = Segment(next(t.dir.glob("client-bus-*/tunnel/segment")))

	def counts(forward=""):
		return sum(v for (name, labels), v in segment.values().items()
			   if name == "pipeops_tunnel_channels_closed_total" and forward in labels)
	eventually(lambda: counts() == len(LOOKED_AT), "all are counted")
	equal(counts('forward="others"'), sum(i >= COUNTED_EACH for i in LOOKED_AT), "those without counters of their own")
	segment.close()
	said = [e for e in c.events if e.get("event") == "bus_forwards"]
	equal([(e["forwards"], e["counted_each"]) for e in said], [(MOST, COUNTED_EACH)], "one line says so")


if __name__ == "__main__":
	harness.main()
