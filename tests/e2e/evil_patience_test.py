#!/usr/bin/env python3
"""A server that stops in the middle, and one that refuses at once, phase by phase: how
long it is waited for, and how soon it is tried again (docs/limits.md)."""
import datetime
import re
import socket
import struct

import harness
from evil import IGNORE, client, peer, text
from evil_agent import agent
from harness import Echo, check, each, equal, eventually, together


# S3, S8: stalls.

def test_evil_s3_s8_stalls(t):
	"""A server that stops in the middle is waited for so long and no longer.  The words say
	which deadline it was: the engine's and the session's, once each, at once, as each takes
	its 10 to 15 s.  Every other place is waited out on a clock of its own: each byte of the
	handshake in tests/sim/handshake_test.c ("silence ends"), each packet of a key re-exchange
	in ssh_edges_test.c ("stalled exchanges")."""
	rows = [
		("auth", "the SSH handshake took too long|while ssh"),
		("config", "while configuring"),
	]

	def wait_out(io, place, words):
		p = peer(t, f"{place}:stall=")
		c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()), io=io, flags=["--keepalive", "0s"])
		retry = c.wait("tunnel_retry", seconds=60)
		check(re.search(words, retry["error"]), f"{place}: {retry['error']}")
		equal(retry["reason"], "timeout", f"{place}: reason")
		equal(p.wait("answer", evil=False)["kind"], "alive", f"{place}: the session after it")
		c.kill()
	together(*[lambda io=io, row=row: wait_out(io, *row) for io in harness.IO for row in rows])


# C1: a server that refuses at once.  Waits are read from the log; nothing is timed.

class Refuses(harness.Service):
	def __init__(self, how):
		self.how = how
		super().__init__()

	def serve(self, conn):
		if self.how == "reset":
			conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		elif self.how == "close":
			conn.recv(1)
		elif self.how == "alert":
			conn.recv(1 << 16)
			conn.sendall(bytes.fromhex("15030300020228"))  # fatal, handshake_failure
		else:
			conn.recv(1 << 16)
			more = "Retry-After: 7\r\n" if self.how in ("429", "503") else ""
			conn.sendall(f"HTTP/1.1 {self.how} No\r\n{more}Content-Length: 0\r\n\r\n".encode())


def waits(c):
	return [float(e["wait_s"]) for e in list(c.events) if e["event"] == "tunnel_retry"]


def starts(c):
	"""When each attempt began, in seconds."""
	return [datetime.datetime.fromisoformat(e["time"]).timestamp() for e in list(c.events)
		if e["event"] == "tunnel_state" and e["state"] == "resolving"]


def test_evil_c1_refused_at_once(t):
	"""However fast the refusals come: no two attempts begin within a tenth of a second, no wait
	is above the longest one, none is like another."""
	def look(how):
		s = t.open(Refuses(how))
		c = client(t, f"http{'s' if how == 'alert' else ''}://127.0.0.1:{s.port}", t.open(Echo()),
			   flags=["--max-retry-interval", "15s"])
		eventually(lambda: len(waits(c)) >= 5, f"{how}: five refusals", 60)
		at, got = starts(c), waits(c)
		check(all(b - a >= 0.098 for a, b in zip(at, at[1:])), f"{how}: attempts at {at}")
		check(all(0 <= w <= 15 for w in got), f"{how}: waits {got}")
		check(len(set(got)) == len(got), f"{how}: no jitter in {got}")
		eventually(lambda: s.accepted <= len(waits(c)) + 1, f"{how}: {s.accepted} attempts with {len(waits(c))} waits")
		first.extend(got[:2])
		c.kill()
	first = []
	together(*[lambda how=how: look(how) for how in ("reset", "close", "alert", "400", "403", "404", "500")])
	# Drawn between 0.1 and 0.3 s, then up to thrice that: all above is one run in 10^5.
	check(min(first) < 0.25, f"all wait as long as they may: {first}")


@each(how=["429", "503"])
def test_evil_c1_retry_after_is_obeyed(t, how):
	s = t.open(Refuses(how))
	c = client(t, f"http://127.0.0.1:{s.port}", t.open(Echo()), flags=["--max-retry-interval", "15s"])
	c.wait("tunnel_retry")
	check(7 <= waits(c)[0] <= 7.4, f"waits {waits(c)}")
	equal(s.accepted, 1, "attempts")
	c.kill()


@each(value=["0", "-1", "99999999999999999999", "1e9", "7 7", "Wed, 21 Oct 2099 07:28:00 GMT", ""])
def test_evil_c1_retry_after_that_is_none(t, value):
	p = peer(t, flags=("--upgrade", f"HTTP/1.1 429 No\r\nRetry-After: {value}\r\n\r\n"))
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()))
	c.wait("tunnel_retry")
	most = 300.5 if value.startswith("999") else 0.5
	check(waits(c)[0] <= most, f"waits {waits(c)}")
	c.kill()


def test_evil_c1_credentials_and_keys_are_slow_and_loud(t):
	"""As the agent runs, which never gives up: by the first wait that is logged."""
	p = peer(t, "auth:say=33" + text("password") + "00*2", flags=("--times", "99"))
	wrong = peer(t, flags=("--times", "99"))
	http = t.open(Refuses("401"))
	flood = peer(t, f"up:say={IGNORE}*5000", flags=("--times", "99"))
	config = peer(t, "config:say=52" + "no access for you".encode().hex(), flags=("--times", "99"))

	def look(port, fingerprint, reason, low, high, level):
		c = agent(t, f"http://127.0.0.1:{port}", fingerprint)
		retry = c.wait("tunnel_retry")
		equal((retry["reason"], retry["level"]), (reason, level), f"reason and level ({retry['error']})")
		at = datetime.datetime.fromisoformat(retry["time"]).timestamp()
		took = at - max(x for x in starts(c) if x <= at)  # an attempt's own time is deducted from its wait
		check(low - took - 0.1 <= float(retry["wait_s"]) <= high, f"{reason}: waits {retry['wait_s']} after {took:.1f} s")
		c.kill()
	good = p.ready["fingerprint"]
	together(lambda: look(p.port, good, "auth_refused", 15, 60, "error"),
		 lambda: look(wrong.port, "A" * 43 + "=", "untrusted", 15, 60, "error"),
		 lambda: look(http.port, good, "auth_refused", 15, 60, "error"),
		 lambda: look(flood.port, good, "limit", 15, 60, "error"),
		 lambda: look(config.port, good, "refused", 0.1, 0.31, "warn"))


if __name__ == "__main__":
	harness.main()
