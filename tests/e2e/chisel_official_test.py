#!/usr/bin/env python3
"""`tunnel-sidecar client` against the official chisel server, where there is
one: CHISEL_BIN, else `chisel` on PATH.  It ends both directions of a stream
when one ends, so nothing here closes one half first."""
import os
import re
import shutil

import harness
from harness import MIB, SHORT, Certificates, Duplex, Echo, LeakGate, Skip, each, equal, echo_once, free_port, together, transfer

from pod import Devplane
from tunnel_client_test import client_argv, refused, remote

CHISEL = os.environ.get("CHISEL_BIN") or shutil.which("chisel")
BULK = (4 if SHORT else 16) * MIB


def needs_chisel():
	if not CHISEL:
		raise Skip("official chisel: set CHISEL_BIN, or put chisel on PATH")


def server(t, *flags, port=None):
	needs_chisel()
	port = port or free_port()
	s = t.start([CHISEL, "server", "--host", "127.0.0.1", "--port", port, *flags], name="chisel server")
	harness.eventually(lambda: "Listening on" in s.text(), "chisel listens")
	s.port = port
	s.fingerprint = re.search(r"Fingerprint (\S+)", s.text()).group(1)
	return s


@each(io=harness.IO)
def test_official_echo_and_bulk(t, io):
	s = server(t, "--reverse", "--auth", "user:secret")
	echo, d = t.open(Echo()), t.open(Duplex())
	(one, r1), (two, r2), (three, r3) = remote(echo), remote(d), remote(d)
	c = t.start(client_argv(f"http://127.0.0.1:{s.port}", r1, r2, r3, io=io, fingerprint=s.fingerprint))
	c.wait("tunnel_up")
	harness.eventually(lambda: harness.works(one), "the far port")  # it agrees first, then listens
	gate = LeakGate(c, slack_mib=48)
	together(lambda: transfer(two, d, BULK, BULK, half=False), lambda: transfer(three, d, BULK, BULK, half=False))
	together(*[lambda: transfer(two, d, 100_000, 100_000, half=False)] * 64)
	gate.close()


@each(io=harness.IO)
def test_official_over_tls(t, io):
	tls = Certificates(t.dir)
	s = server(t, "--reverse", "--auth", "user:secret", "--tls-cert", tls.cert, "--tls-key", tls.key)
	port, r = remote(t.open(Echo()))
	c = t.start(client_argv(f"https://127.0.0.1:{s.port}", r, io=io, fingerprint=s.fingerprint, flags=["--tls-ca", tls.ca]))
	c.wait("tunnel_up")
	harness.eventually(lambda: harness.works(port), "the far port")


@each(io=harness.IO)
def test_official_server_restarts(t, io):
	flags = ["--reverse", "--auth", "user:secret"]
	s = server(t, *flags)
	port, r = remote(t.open(Echo()))
	c = t.start(client_argv(f"http://127.0.0.1:{s.port}", r, io=io))
	c.wait("tunnel_up")
	harness.eventually(lambda: harness.works(port), "the far port")
	before = c.mark()
	s.kill()
	server(t, *flags, port=s.port)
	c.wait("tunnel_up", since=before)
	harness.eventually(lambda: harness.works(port), "the far port")


def test_official_refusals(t):
	_, r = remote(t.open(Echo()))
	once = ["--max-retry-count", "0"]
	s = server(t, "--auth", "user:secret")
	refused(client_argv(f"http://127.0.0.1:{s.port}", r, flags=once), 1, "reverse")
	refused(client_argv(f"http://127.0.0.1:{s.port}", r, auth="user:wrong", flags=once), 1, "auth|password|denied")


def test_official_client_through_our_gateway(t):
	needs_chisel()
	plane, echo = Devplane(t), t.open(Echo())
	port, r = remote(echo)
	c = t.start([CHISEL, "client", "--fingerprint", plane.fingerprint, "--auth", plane.auth, "--tls-ca", plane.ca,
		     plane.gateway_url.replace("wss", "https"), r], name="chisel client")
	harness.eventually(lambda: "Connected" in c.text(), "the official client is connected")
	echo_once(port)
	equal(echo.accepted, 1, "connections at the service")


if __name__ == "__main__":
	harness.main()
