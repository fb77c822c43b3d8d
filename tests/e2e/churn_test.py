#!/usr/bin/env python3
"""Connections by the thousand through one tunnel, whole answers after a half close,
and a long stream beside them; the leak gate stands behind each test.
SOAK=1: 100,000 connections and a stream of 1 GiB (make soak)."""
import threading
import time

import harness
from harness import MIB, SHORT, Duplex, check, each, equal, transfer
from load import SOAK, Churn, Memory
from tunnel_client_test import client_argv, remote, server

CONNECTIONS = 100_000 if SOAK else 400 if SHORT else 3000
REQUESTS = 100 if SHORT else 1000
STREAM = 1024 * MIB if SOAK else 8 * MIB if SHORT else 128 * MIB


def tunnel_of(t, churn, io, **more):
	"""A tunnel with a forward for each service of the churn and for each further port."""
	s = server(t)
	ports = churn.ports | more
	rows = {name: remote(type("At", (), {"port": port})) for name, port in ports.items()}
	c = t.start(client_argv(s.url, *[text for _, text in rows.values()], io=io,
				fingerprint=s.ready["fingerprint"]))
	c.wait("tunnel_up")
	churn.far = {name: port for name, (port, _) in rows.items()}
	return c


@each(io=harness.IO)
def test_churn_of_every_kind(t, io):
	churn = Churn(t)
	c = tunnel_of(t, churn, io)
	churn.run(len(churn.KINDS) * 8)  # first uses of everything
	memory, began = Memory(c), time.monotonic()
	churn.run(CONNECTIONS, each=memory.sample)
	rate = CONNECTIONS / (time.monotonic() - began)
	memory.check(f"{io}: {CONNECTIONS} connections, {rate:.0f}/s")
	equal(c.count("tunnel_up"), 1, "sessions")


@each(io=harness.IO)
def test_whole_answers_after_a_half_close(t, io):
	churn = Churn(t)
	c = tunnel_of(t, churn, io)
	churn.run(REQUESTS, kinds=(Churn.half_close,))
	equal(churn.services["answer"].accepted, REQUESTS, "requests at the service")
	check(not churn.services["answer"].errors, f"the service: {churn.services['answer'].errors[:1]}")
	equal(c.count("tunnel_up"), 1, "sessions")


@each(io=harness.IO)
def test_long_stream_beside_64_that_come_and_go(t, io):
	churn, d = Churn(t), t.open(Duplex())
	c = tunnel_of(t, churn, io, stream=d.port)
	over = threading.Event()

	def stream():
		try:
			transfer(churn.far["stream"], d, STREAM, STREAM)
			end = time.monotonic() + harness.PATIENCE
			while churn.done < 128 and time.monotonic() < end:  # a short one alone would see few of them
				transfer(churn.far["stream"], d, MIB, MIB)
		finally:
			over.set()
	harness.together(stream, lambda: churn.run(10**9, workers=32 if SHORT else 64, pause=1 if SHORT else 0.2, stop=over))
	print(f"    {io}: {churn.done} connections beside {STREAM // MIB} MiB each way", flush=True)
	equal(c.count("tunnel_up"), 1, "sessions")


if __name__ == "__main__":
	harness.main()
