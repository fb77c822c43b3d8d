#!/usr/bin/env python3
"""The server role of our SSH engine inside WebSocket and TLS (the gateway of
tests/devplane), driven by an independent client (tests/peers)."""
import threading

import harness
from harness import MIB, SHORT, Duplex, Echo, check, each, echo_once, equal, together, transfer
from pod import Devplane
from tunnel_client_test import remote

BULK = (4 if SHORT else 16) * MIB


def client(t, plane, *remotes, flags=(), auth=None):
	argv = [harness.chisel_peer(), "client", "--auth", auth or plane.auth, "--fingerprint", plane.fingerprint, *flags]
	if plane.ca:
		argv += ["--tls-ca", plane.ca]
	return t.start([*argv, plane.gateway_url, *remotes])


@each(cipher=["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"],
      kex=["curve25519-sha256", "ecdh-sha2-nistp256"])
def test_echo(t, cipher, kex):
	plane = Devplane(t)
	port, r = remote(t.open(Echo()))
	client(t, plane, r, flags=["--cipher", cipher, "--kex", kex]).wait("ready")
	echo_once(port)


@each(who=["ours", "theirs"])
def test_bulk_with_rekeys(t, who):
	plane = Devplane(t, (), *(["--rekey-bytes", 256 * 1024] if who == "ours" else []))
	d = t.open(Duplex())
	(one, r1), (two, r2) = remote(d), remote(d)
	flags = ["--rekey-threshold", 256 * 1024] if who == "theirs" else []
	client(t, plane, r1, r2, flags=flags).wait("ready")
	# No stream ends before all may: see tunnel_client_test.py.
	done = threading.Barrier(2, timeout=harness.PATIENCE * 3).wait
	together(*[lambda p=p: transfer(p, d, BULK, BULK, half=False, before_close=done) for p in (one, two)])


def test_half_close(t):
	plane, d = Devplane(t), t.open(Duplex())
	port, r = remote(d)
	client(t, plane, r).wait("ready")
	transfer(port, d, 100_000, 3 * MIB)
	together(*[lambda: transfer(port, d, 100_000, 100_000)] * 32)


def test_plain(t):
	plane = Devplane(t, (), "--plain")
	port, r = remote(t.open(Echo()))
	client(t, plane, r).wait("ready")
	echo_once(port)


def test_wrong_password(t):
	plane = Devplane(t)
	_, r = remote(t.open(Echo()))
	c = client(t, plane, r, auth="dev:wrong")
	equal(c.exit_code(), 1, "exit code")
	check("unable to authenticate" in c.text(), f"what the client says: {c.text()}")


if __name__ == "__main__":
	harness.main()
