#!/usr/bin/env python3
"""Outages: each is found, named by its cause, and over when its cause is over."""
import re
import signal
import time

import harness
from harness import Echo, await_value, check, each, echo_once, equal, eventually, free_port, together
from names import NameServer, has_namespaces
from pod import Devplane, Pod, sum_of
from relay import Relay

SECONDS = "pipeops_tunnel_state_seconds_total"


def started(metrics):
	return metrics['pipeops_component_start_time_seconds{component="tunnel"}']


def causes(metrics):
	"""What the tunnel was down for until now: cause → seconds."""
	found = {re.search(r'state="disconnected",cause="(\w+)"', k): v for k, v in metrics.items() if k.startswith(SECONDS)}
	return {k.group(1): v for k, v in found.items() if k and v}


def adds_up(p):
	"""Connected and not connected, by cause, are together the tunnel's age."""
	m = p.metrics()
	check(sum_of(m, SECONDS) <= time.time() - started(m) + 0.1, "the parts are more than the whole")
	return abs(sum_of(m, SECONDS) - (time.time() - started(m))) < 1.5  # the last beat's


@each(io=harness.IO)
def test_time_by_cause(t, io):
	plane = Devplane(t, ["web"], "--plain")
	p = Pod(t, plane, {"web": 9}, io=io).start()
	eventually(lambda: sum_of(p.metrics(), SECONDS, state="connected") > 1, "time is booked also while nothing happens")
	eventually(lambda: adds_up(p), "the sum is the age of the program")
	check(set(causes(p.metrics())) <= {"not_wanted", "starting"}, f"before the outage: {causes(p.metrics())}")
	plane.program.kill()
	m = eventually(lambda: causes(m := p.metrics()).get("tcp", 0) > 0.5 and m, "time is the outage's")
	check({"peer_closed", "reset"} & set(causes(m)), f"what took it down: {causes(m)}")
	check(sum_of(m, "pipeops_tunnel_failures_total", cause="tcp") >= 1, "attempts are counted by cause")
	check(sum_of(m, SECONDS, state="connected") > 0, "time connected stays")
	down = sum_of(m, SECONDS, state="connected")
	eventually(lambda: adds_up(p), "the sum is still the age of the program")
	check(sum_of(p.metrics(), SECONDS, state="connected") == down, "nothing is connected meanwhile")
	await_value(lambda: p.json("/api/v1/blackbox")["components"][0]["session"]["cause"], "tcp", "the cause in the black box")
	eventually(lambda: sum_of(p.metrics(), "pipeops_tunnel_next_retry_timestamp_seconds") > time.time() - 60,
		   "when it is tried again")


# The drills: order and causes, no times (tests/bench/outage measures).

class Drill:
	"""A server behind a relay, and a client with one forward, that is up."""

	def __init__(self, t, io, *flags):
		self.t = t
		self.server_port = free_port()
		self.start_server()
		self.relay = t.open(Relay(self.server_port))
		self.far = free_port()
		echo = t.open(Echo())
		self.client = t.start([harness.program("tunnel-sidecar"), "client", "--io", io, "--keepalive", "1s", "-v",
				       *flags, f"http://127.0.0.1:{self.relay.port}",
				       f"R:127.0.0.1:{self.far}:127.0.0.1:{echo.port}"])
		self.up()
		self.since = self.client.mark()

	def start_server(self):
		self.server = self.t.start([harness.chisel_peer(), "server", "--port", self.server_port])
		self.server.wait("ready")

	def up(self, since=0):
		self.client.wait("tunnel_up", since=since)
		eventually(lambda: harness.works(self.far), "bytes go through")

	def back(self):
		self.up(self.since)

	def lost(self, **fields):
		"""The first thing said of this outage."""
		self.client.wait("tunnel_retry", since=self.since)
		seen = self.client.find("tunnel_retry", self.since)
		equal({k: seen[k] for k in fields}, fields, "what took the tunnel down")
		return seen

	def causes(self):
		return [e["cause"] for e in self.client.events[self.since:] if e["event"] == "tunnel_retry"]


def drill_blackhole(t, io):
	"""Packets vanish: nothing is closed, refused or acknowledged."""
	d = Drill(t, io)
	d.relay.blackhole()
	seen = d.lost(phase="up", cause="dead_link", reason="timeout")
	equal(float(seen["wait_s"]), 0, "a dead link is tried again at once")
	d.client.wait("tunnel_state", since=d.since, state="connecting")
	d.relay.heal()
	d.back()
	equal(d.causes(), ["dead_link"], "the attempt under way is the one that gets through")


def drill_frozen(t, io):
	"""Connections stand and are accepted, and no byte moves."""
	d = Drill(t, io)
	d.relay.freeze()
	d.lost(phase="up", cause="dead_link")
	d.client.wait("tunnel_state", since=d.since, state="upgrading")
	d.relay.heal()
	d.back()


def drill_stopped(t, io):
	"""The server stands still and goes on again: its pings are answered late."""
	d = Drill(t, io)
	d.server.signal(signal.SIGSTOP)
	d.lost(phase="up", cause="dead_link")
	d.server.signal(signal.SIGCONT)
	d.back()
	check(set(d.causes()) <= {"dead_link", "cannot_listen"}, f"causes {d.causes()}")


def drill_killed(t, io):
	d = Drill(t, io)
	d.relay.drop_listener()
	d.server.kill()
	check(d.lost(phase="up")["cause"] in ("peer_closed", "reset"), "what took it down")
	d.client.wait("tunnel_retry", since=d.since, cause="tcp", phase="connecting")
	d.start_server()
	d.relay.listen_again()
	d.back()
	equal(set(d.causes()[1:]), {"tcp"}, "causes while there is no server")


def drill_port_held(t, io):
	"""The server did not notice that the old session is dead: it holds its port."""
	d = Drill(t, io)
	d.relay.blackhole()
	d.lost(cause="dead_link")
	d.relay.heal(old=False)
	d.client.wait("tunnel_retry", since=d.since, cause="cannot_listen", phase="configuring", reason="cannot_listen")
	d.client.wait("tunnel_retry", since=d.since, cause="cannot_listen", failures=3)
	waits = [float(e["wait_s"]) for e in d.client.events[d.since:] if e.get("cause") == "cannot_listen"]
	check(all(w <= 2 for w in waits), f"waits {waits}")
	d.relay.drop_old()
	d.back()


def drill_reset(t, io):
	d = Drill(t, io)
	d.relay.reset()
	d.lost(phase="up", cause="reset", reason="closed")
	d.back()


def drill_closed(t, io):
	d = Drill(t, io)
	d.relay.hang_up()
	d.lost(phase="up", cause="peer_closed", reason="closed")
	d.back()


def drill_hang_up_ends_a_wait(t, io):
	"""SIGHUP while the next attempt waits, as chisel's; here for a server that asked for 200 s."""
	def busy(conn):
		conn.recv(4096)
		conn.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 200\r\nContent-Length: 0\r\n\r\n")
	s = t.open(harness.Service(busy))
	c = t.start([harness.program("tunnel-sidecar"), "client", "--io", io, f"http://127.0.0.1:{s.port}", "R:1:127.0.0.1:2"])
	e = c.wait("tunnel_retry", cause="upgrade")
	check(float(e["wait_s"]) >= 200, f"the wait: {e['wait_s']} s")
	before = s.accepted
	c.signal(signal.SIGHUP)
	eventually(lambda: s.accepted > before, "another attempt")


def drill_names(t, io):
	"""The name server fails: the address that answered last.  The server moves, and its
	old address is dark: the new one."""
	port, far, echo = free_port(), free_port(), t.open(Echo())
	t.start([harness.chisel_peer(), "server", "--port", port]).wait("ready")
	first = t.open(Relay(port, host="127.0.77.1"))
	second = t.open(Relay(port, host="127.0.77.2", port=first.port))
	names = NameServer(first.host)
	t.stack.callback(names.close)
	names.mode = "fail"
	c = t.start([*names.wrap(), harness.program("tunnel-sidecar"), "client", "--io", io, "--keepalive", "1s", "--allow-plain",
		     f"http://tunnel.outage.test:{first.port}", f"R:127.0.0.1:{far}:127.0.0.1:{echo.port}"])
	c.wait("tunnel_retry", cause="dns", phase="resolving", reason="name_resolution")
	names.mode = "answer"
	c.wait("tunnel_up")
	for mode in ("fail", "silent"):
		since, names.mode = c.mark(), mode
		first.reset()
		c.wait("dns_remembered", since=since)
		c.wait("tunnel_up", since=since)
	since, names.mode, names.address = c.mark(), "answer", second.host
	first.blackhole()
	c.wait("tunnel_retry", since=since, cause="dead_link")
	first.drop_far()
	c.wait("tunnel_up", since=since)
	check(second.accepted, "it is reached at its new address")
	echo_once(far)


@each(io=harness.IO)
def test_drills(t, io):
	def run(name, drill):
		try:
			drill(t, io)
		except harness.Failure as e:
			raise harness.Failure(f"{name}: {e}") from None
	harness.chisel_peer()
	drills = {n: d for n, d in globals().items() if n.startswith("drill_") and (d is not drill_names or has_namespaces())}
	together(*[lambda n=n, d=d: run(n[6:], d) for n, d in drills.items()])


def test_names_were_drilled(t):
	if not has_namespaces():
		raise harness.Skip("a name server of our own needs root and a mount namespace")


if __name__ == "__main__":
	harness.main()
