#!/usr/bin/env python3
"""What a hostile tunnel server may do with channels and requests: windows, replies
that nobody asked for, floods of opens, targets that are none of ours (docs/limits.md)."""
import fcntl
import os
import pathlib
import socket
import struct
import subprocess
import sys

import harness
from evil import Deafens, Row, client, is_calm, numbers, peer, run_rows, select, text, u32
from harness import Echo, Skip, await_value, check, each, equal, eventually, free_port

FLOOD = int(os.environ.get("EVIL_FLOOD", "1000000" if not harness.SHORT else "100000"))
PROTOCOL = {"kind": "disconnect", "code": 2, "reason": "protocol"}
LIMIT = {"kind": "disconnect", "code": 2, "reason": "limit"}
WINDOW = 64 * 1024  # granted at open where memory is plenty
SAID = len("before\n")


# S4: windows.

def on(channel, message, rest=""):
	return f"up:say={message:02x}" + u32(channel) + rest


def s4_rows():
	deaf = {"service": Deafens}
	return [
		Row("a window, whole", f"up:data={WINDOW - SAID}", flags=("--echo=false",), calm=False, **deaf),
		Row("64 windows", f"up:data=32768*{64 * WINDOW // 32768}", **deaf, **PROTOCOL),
		Row("a packet of 32 KiB and a byte", on(0, 94, text("x" * 32769)), **PROTOCOL),
		Row("data cut short", on(0, 94, u32(100) + "00"), **PROTOCOL),
		Row("data that says 4 GiB", on(0, 94, "ffffffff00"), **PROTOCOL),
		Row("data for no channel", on(77, 94, text("x")), **PROTOCOL),
		Row("data for channel 2^32-1", on(-1, 94, text("x")), **PROTOCOL),
		Row("data after the end", on(0, 96), on(0, 94, text("x")), **PROTOCOL),
		Row("the end twice", on(0, 96), on(0, 96), flags=("--echo=false",)),
		Row("the end without end", on(0, 96) + f"*{FLOOD}", glitch="repeated", **LIMIT),
		Row("some empty data", on(0, 94, text("")) + "*900"),
		Row("endless empty data", on(0, 94, text("")) + f"*{FLOOD}", glitch="empty_data", **LIMIT),
		Row("endless empty stderr", on(0, 95, u32(1) + text("")) + f"*{FLOOD}", glitch="empty_data", **LIMIT),
		Row("opened by 1, some", on(0, 93, u32(1)) + "*900"),
		Row("opened by 1, endless", on(0, 93, u32(1)) + f"*{FLOOD}", glitch="small_adjust", **LIMIT),
		Row("opened by 0, endless", on(0, 93, u32(0)) + f"*{FLOOD}", glitch="small_adjust", **LIMIT),
		Row("opened beyond 2^32", on(0, 93, u32(-1)), **PROTOCOL),
		Row("opened beyond 2^32 in steps", on(0, 93, u32(1 << 30)) + "*5", **PROTOCOL),
		Row("packets of 1 byte", "up:say=5a" + text("chisel") + u32(9) + u32(WINDOW) + u32(1), **PROTOCOL),
		Row("packets of 0 bytes", "up:say=5a" + text("chisel") + u32(9) + u32(WINDOW) + u32(0), **PROTOCOL),
		Row("closed twice", on(0, 97) + "*2", **PROTOCOL),
	]


@each(io=harness.IO)
def test_evil_s4_windows(t, io):
	run_rows(io, select(s4_rows()))


@each(io=harness.IO)
def test_evil_s4_a_blocked_target_slows_no_other(t, io):
	"""Channel 1's service reads nothing and its window is full: channel 0 echoes on."""
	def serve(conn):
		gone.append(conn)
		conn.recv(1)
	gone = []
	stuck = t.open(harness.Service(serve))
	Row("a blocked target", f"up:open=127.0.0.1:{stuck.port}", "up:sleep=200ms", f"up:data={WINDOW},1",
	    services=[lambda _: stuck], calm=False).run(io)
	await_value(lambda: len(gone), 1, "connections at the stuck service")


# S5: replies that nobody waits for.

def s5_rows():
	rows = []
	for name, message in (("channel success", on(0, 99)), ("channel failure", on(0, 100)),
			      ("global success", "up:say=51"), ("global failure", "up:say=52")):
		rows += [Row(f"some {name}", f"{message}*900"),
			 Row(f"endless {name}", f"{message}*{FLOOD}", glitch="unexpected_reply", sent=1000, **LIMIT)]
	return rows + [
		Row("a success for no channel", on(9, 99), **PROTOCOL),
		Row("a confirmation of nothing", on(0, 91, u32(0) * 2 + u32(40000)), **PROTOCOL),
		Row("a refusal of nothing", on(0, 92, u32(1) + text("no") + text("")), **PROTOCOL),
		Row("a confirmation for no channel", on(9, 91, u32(0) * 2 + u32(40000)), **PROTOCOL),
		Row("unimplemented", f"up:say=03{u32(0)}*{FLOOD}", glitch="ignored", **LIMIT),
		Row("unknown messages", f"up:say=c0*{FLOOD}", glitch="unknown_message", **LIMIT),
		Row("some pings", "up:say=50" + text("ping") + "01*100"),
		Row("endless pings", "up:say=50" + text("ping") + f"01*{FLOOD}", glitch="request", **LIMIT),
		Row("endless pings, nothing read", "up:say=50" + text("ping") + f"01*{FLOOD}", kind="lost", reason="limit",
		    flags=("--deaf", "--patience", "3s")),
		Row("endless unknown requests", "up:say=50" + text("x" * 500) + f"01*{FLOOD // 10}", glitch="request", **LIMIT),
		Row("endless channel requests", on(0, 98, text("exec") + "01") + f"*{FLOOD}", glitch="request", **LIMIT),
	]


@each(io=harness.IO)
def test_evil_s5_replies_and_requests(t, io):
	run_rows(io, select(s5_rows()))


# S6: channels that are refused, or never come to anything.

FORBIDDEN = "169.254.169.254:80"


def refused(answer, c, p):
	equal(answer["refused"], {"1": 900}, "refusals, administratively prohibited")
	n = numbers(c)
	equal(n['pipeops_tunnel_opens_refused_total{reason="forbidden"}'], 900, "refusals counted by reason")
	equal(n["pipeops_tunnel_channels_rejected_total"], 900, "refusals counted")
	c.wait("channel_rejected")
	lines = c.count("channel_rejected")
	check(0 < lines <= 20, f"{lines} lines in the log for 900 refusals")


def s6_rows():
	return [
		Row("900 forbidden opens", f"up:open={FORBIDDEN}*900", extra=refused),
		Row("endless forbidden opens", f"up:open={FORBIDDEN}*{FLOOD}", glitch="forbidden_open", **LIMIT),
		Row("endless foreign types", f"up:type=session*{FLOOD}", glitch="forbidden_open", **LIMIT),
		Row("endless long targets", "up:open={long}*2000", glitch="forbidden_open", **LIMIT),
		Row("forbidden opens, nothing read", f"up:open={FORBIDDEN}*{FLOOD}", kind="lost", reason="limit",
		    flags=("--deaf", "--patience", "3s")),
		Row("open cut short", "up:say=5a" + text("chisel") + u32(9), **PROTOCOL),
	]


@each(io=harness.IO)
def test_evil_s6_forbidden_opens(t, io):
	run_rows(io, select(s6_rows()))


@each(io=harness.IO)
def test_evil_s6_a_service_that_is_down_is_not_dialled_for_ever(t, io):
	"""Users behind the server cause these: the session lives, the other forward serves."""
	closed = free_port()

	def extra(answer, c, p):
		got = answer["refused"]
		equal(sum(got.values()), 60 * 50, "all are answered")
		n = numbers(c)
		failing = n['pipeops_tunnel_opens_refused_total{reason="failing"}']
		# On a busy machine more of them than LIMIT_PENDING_DIALS wait to be dialled: "busy", code 4, too.
		busy = n['pipeops_tunnel_opens_refused_total{reason="busy"}']
		equal(failing + busy, got.get("4", 0), f"counted as failing ({failing}) or busy ({busy}), of {got}")
		check(failing > 1000 and got["2"] >= 200, f"dialled and not: {got}")
		equal(n['pipeops_tunnel_peer_glitches_total{kind="forbidden_open"}'], 0, "no glitch")
	burst = (f"up:open=127.0.0.1:{closed}*60", "up:sleep=20ms")
	Row("opens of a dead service", *burst * 50, "up:sleep=300ms", extra=extra, services=[lambda _: closed]).run(io)


def full_service(t):
	"""A listener whose queue is full: a connect is not even refused."""
	x = t.open(socket.socket())
	x.bind(("127.0.0.1", 0))
	x.listen(0)
	for _ in range(4):
		s = t.open(socket.socket())
		s.setblocking(False)
		s.connect_ex(x.getsockname())
	return x.getsockname()[1]


@each(io=harness.IO)
def test_evil_s6_half_open_channels(t, io):
	"""Of this forward, one of two, 32 are dialled and 64 more wait for that, at most; when the
	server goes, they go."""
	full = full_service(t)
	p = peer(t, f"up:open=127.0.0.1:{full}*2000", "up:sleep=500ms", "up:drop=")
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()), full, io=io, fingerprint=p.ready["fingerprint"])
	p.wait("played", verb="open")
	await_value(lambda: numbers(c)['pipeops_tunnel_opens_refused_total{reason="busy"}'], 2000 - 32 - 64, "busy")
	equal(p.wait("answer", evil=False)["kind"], "alive", "the session after it")
	is_calm(c, io, "after half-open channels")
	c.kill()


# S10: SSRF.  A private network counts every connect and every datagram.

TARGETS = [
	"169.254.169.254:80", "169.254.169.254", "[fd00:ec2::254]:80", "metadata.google.internal:80",
	"kubernetes.default:443", "kubernetes.default.svc.cluster.local:443", "localhost:22", "127.0.0.1:22", "10.96.0.1:443",
	"0.0.0.0:{port}", "127.1:{port}", "2130706433:{port}", "0x7f000001:{port}", "0177.0.0.1:{port}", "127.0.0.01:{port}",
	"127.0.0.1:0{port}", "127.0.0.1:+{port}", "127.0.0.1:{port}.0", "127.0.0.1.:{port}", "127.0.0.1:{port} ", " 127.0.0.1:{port}",
	"127.0.0.1:{port}/udp", "127.0.0.1:{port}/tcp", "127.0.0.1:{port}/UDP", "udp://127.0.0.1:{port}", "LOCALHOST:{port}",
	"localhost:{port}", "[::1]:{port}", "[::ffff:127.0.0.1]:{port}", "::ffff:127.0.0.1:{port}", "[127.0.0.1]:{port}",
	"127.0.0.1:{port}\\x00", "\\x00127.0.0.1:{port}", "127.0.0.1\\x00:{port}", "127.0.0.1:{port}\\n", "127.0.0.1:{port}#",
	"127.0.0.1:{port}?", "127.0.0.1:{port}/", "user@127.0.0.1:{port}", "127.0.0.1%25lo:{port}", "127。0。0。1:{port}",
	"socks", "SOCKS", "socks5", "stdio", "stdio:127.0.0.1:{port}", "R:127.0.0.1:{port}", "unix:/run/secrets", "/run/secrets",
	"", ":", ":{port}", "127.0.0.1:", "*:{port}", "{{long}}",
]


def lo_up():
	s = socket.socket()
	with s:
		request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # up and running
		fcntl.ioctl(s, 0x8914, request)  # SIOCSIFFLAGS


def network():
	"""What this network namespace did so far: connects and datagrams."""
	rows = {}
	lines = pathlib.Path("/proc/self/net/snmp").read_text().splitlines()
	for head, row in zip(lines[::2], lines[1::2]):
		name, keys = head.split(":", 1)
		rows.update({f"{name}.{k}": int(v) for k, v in zip(keys.split(), row.split(":")[1].split())})
	six = dict(x.split() for x in pathlib.Path("/proc/self/net/snmp6").read_text().splitlines())
	return {"connects": rows["Tcp.ActiveOpens"], "datagrams": rows["Udp.OutDatagrams"] + int(six["Udp6OutDatagrams"]),
		"no route": rows["Ip.OutNoRoutes"] + int(six["Ip6OutNoRoutes"])}


def look_inside(t, io):
	echo = t.open(Echo())
	targets = [x.format(port=echo.port) for x in TARGETS]
	p = peer(t, "up:sleep=400ms", *[f"up:open={x}" for x in targets], *[f"up:type={x}" for x in
		 ("session", "direct-tcpip", "forwarded-tcpip", "direct-streamlocal@openssh.com", "tun@openssh.com", "x11",
		  "auth-agent@openssh.com", "Chisel", "chisel ", "")], "up:sleep=500ms")
	c = client(t, f"http://127.0.0.1:{p.port}", echo, io=io, fingerprint=p.ready["fingerprint"])
	p.wait("up")
	before = network()
	answer = p.wait("answer")
	after = network()
	equal(answer["kind"], "alive", f"the session ({answer.get('text')})")
	equal(answer["refused"], {"1": len(targets) + 10}, "all refused as prohibited")
	equal(after, before, "what the network saw")
	equal(echo.accepted, 1, "connections at the one service")
	equal(numbers(c)['pipeops_tunnel_opens_refused_total{reason="forbidden"}'], len(targets) + 10, "counted")
	with socket.socket() as probe:  # the gate itself works
		probe.connect(("127.0.0.1", echo.port))
	check(network()["connects"] == after["connects"] + 1, "a connect is seen")


def inside(io):
	"""The test itself, in a network namespace of its own."""
	lo_up()
	t = harness.Case()
	try:
		look_inside(t, io)
	finally:
		for p in t.programs:
			p.kill()
		t.close()


@each(io=harness.IO)
def test_evil_s10_ssrf(t, io):
	harness.build_peers()
	mine = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
	probe = subprocess.run(["unshare", *mine, "--net", "true"], capture_output=True, text=True, check=False)
	if probe.returncode:
		raise Skip(f"no network namespaces here: {probe.stderr.strip()[:100]}")
	code, said = harness.run(["unshare", *mine, "--net", sys.executable, __file__, "--inside", io], seconds=60)
	equal(code, 0, f"in a network of its own: {said[-1500:]}")


if __name__ == "__main__":
	if sys.argv[1:2] == ["--inside"]:
		inside(sys.argv[2])
	else:
		harness.main()
