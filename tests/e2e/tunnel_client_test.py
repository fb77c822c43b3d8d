#!/usr/bin/env python3
"""`tunnel-sidecar client` against an independent chisel server (tests/peers)."""
import itertools
import re
import socket
import threading
import time

import harness
from harness import (MIB, Certificates, Duplex, Echo, LeakGate, SHORT, check, connect, each, echo_once,
		     equal, eventually, free_port, together, transfer)

CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"]
HOST_KEYS = ["ed25519", "ecdsa", "rsa"]
BULK = (4 if SHORT else 16) * MIB


def server(t, *flags, port=0, tls=None):
	argv = [harness.chisel_peer(), "server", "--port", port, "--auth", "user:secret", *flags]
	if tls:
		argv += ["--cert", tls.cert, "--key", tls.key]
	p = t.start(argv)
	p.ready = p.wait("ready")
	p.url = f"{'https' if tls else 'http'}://127.0.0.1:{p.ready['port']}"
	return p


def client_argv(url, *remotes, io="auto", fingerprint=None, auth="user:secret", flags=()):
	argv = [harness.program("tunnel-sidecar"), "client", "--io", io]
	if fingerprint:
		argv += ["--fingerprint", fingerprint]
	if auth:
		argv += ["--auth", auth]
	return argv + [*flags, url, *remotes]


def remote(service, port=None):
	port = port or free_port()
	return port, f"R:127.0.0.1:{port}:127.0.0.1:{service.port}"


def tunnel(t, s, *services, io="auto", flags=()):
	"""A client of server s with a forward for each service; their far ports."""
	ports, remotes = zip(*[remote(x) for x in services])
	c = t.start(client_argv(s.url, *remotes, io=io, fingerprint=s.ready["fingerprint"], flags=flags))
	c.wait("tunnel_up")
	return (c, *ports)


# The host key is the key exchange's, the cipher the transport's, the loop the sockets': none
# knows of another, so each value is met on each loop.  Their product stands in ssh_test.c
# ("every algorithm").
@each(io=harness.IO, algorithms=list(zip(HOST_KEYS, CIPHERS)))
def test_echo(t, io, algorithms):
	host_key, cipher = algorithms
	s = server(t, "--host-key", host_key, "--cipher", cipher)
	_, port = tunnel(t, s, t.open(Echo()), io=io)
	echo_once(port)
	equal(s.wait("handshake")["cipher"], cipher, "cipher")


@each(kex=["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"])
def test_echo_kex(t, kex):
	s = server(t, "--kex", kex)
	_, port = tunnel(t, s, t.open(Echo()))
	echo_once(port)
	equal(s.wait("handshake")["kex"], kex, "key exchange")


@each(io=harness.IO)
def test_echo_over_tls(t, io):
	tls = Certificates(t.dir)
	s = server(t, tls=tls)
	_, port = tunnel(t, s, t.open(Echo()), io=io, flags=["--tls-ca", tls.ca])
	echo_once(port)


def test_echo_over_tls_unverified_when_asked(t):
	s = server(t, tls=Certificates(t.dir))
	_, port = tunnel(t, s, t.open(Echo()), flags=["--tls-skip-verify"])
	echo_once(port)


def test_echo_to_a_service_named_localhost(t):
	s, service, port = server(t), t.open(Echo()), free_port()
	c = t.start(client_argv(s.url, f"R:{port}:localhost:{service.port}"))
	c.wait("tunnel_up")
	echo_once(port)


@each(io=harness.IO)
def test_headers_and_host_arrive(t, io):
	s = server(t)
	tunnel(t, s, t.open(Echo()), io=io, flags=["--header", "X-Test: seen", "--hostname", "tunnel.example.org"])
	seen = s.wait("upgraded")
	equal(seen["x_test"], "seen", "header")
	equal(seen["host"], "tunnel.example.org", "Host")


@each(way=list(zip(itertools.cycle(harness.IO), [*CIPHERS, CIPHERS[0]])))
def test_bulk_both_ways_through_two_streams_with_rekeys(t, way):
	io, cipher = way
	tls = Certificates(t.dir)
	s = server(t, "--host-key", "ecdsa", "--cipher", cipher, "--rekey-threshold", 256 * 1024, tls=tls)
	d = t.open(Duplex())
	c, one, two = tunnel(t, s, d, d, io=io, flags=["--tls-ca", tls.ca])
	gate = LeakGate(c, slack_mib=48)
	# x/crypto's server locks up when a channel is closed while it waits for a
	# key exchange with other channels' writes queued (its mux answers CLOSE
	# under the lock that such a write holds), so no stream ends before all may.
	for (d1, u1), (d2, u2) in (((BULK, BULK), (BULK, BULK)), ((BULK, 0), (0, BULK))):
		done = threading.Barrier(2, timeout=harness.PATIENCE * 3).wait
		together(lambda: transfer(one, d, d1, u1, half=False, before_close=done),
			 lambda: transfer(two, d, d2, u2, half=False, before_close=done))
	gate.close()


@each(io=harness.IO)
def test_half_close_is_kept(t, io):
	"""Each side may end its direction while the other still speaks."""
	gone = threading.Event()

	def serve(conn):
		conn.sendall(b"first")
		conn.shutdown(socket.SHUT_WR)
		conn.settimeout(harness.PATIENCE)
		got = b""
		while part := conn.recv(1000):
			got += part
		if got == b"still listening":
			gone.set()
	s = server(t)
	d, early = t.open(Duplex()), t.open(harness.Service(serve))
	_, plain, closes = tunnel(t, s, d, early, io=io)
	transfer(plain, d, 100_000, 3 * MIB)  # the far end is done first
	with connect(closes) as conn:         # the service is done first
		equal(conn.recv(100), b"first", "bytes before the end")
		equal(conn.recv(100), b"", "end of the service's direction")
		time.sleep(0.1)
		conn.sendall(b"still listening")
		conn.shutdown(socket.SHUT_WR)
		check(gone.wait(harness.PATIENCE), "the service got the bytes sent after its own end")


@each(io=harness.IO)
def test_64_connections(t, io):
	s, d = server(t), t.open(Duplex())
	c, port = tunnel(t, s, d, io=io)
	transfer(port, d, 1000, 1000)
	gate = LeakGate(c, slack_mib=64)
	size = 100_000 if SHORT else 300_000
	together(*[lambda: transfer(port, d, size, size)] * 64)
	equal(d.accepted, 65, "connections at the service")
	gate.close()


@each(io=harness.IO)
def test_many_short_connections_leave_nothing(t, io):
	s = server(t)
	c, port = tunnel(t, s, t.open(Echo()), io=io)
	echo_once(port)
	gate = LeakGate(c)
	for _ in range(100 if SHORT else 400):
		echo_once(port, b"x")
	gate.close()


@each(io=harness.IO)
def test_a_slow_reader_does_not_hold_up_others(t, io):
	s, d = server(t), t.open(Duplex())
	stuck = t.open(harness.Service(lambda conn: conn.sendall(b"z" * (64 * MIB))))
	c, slow, fast = tunnel(t, s, stuck, d, io=io)
	with connect(slow) as conn:
		conn.recv(1)  # and no more: buffers and window fill up
		time.sleep(0.5)
		transfer(fast, d, 2 * MIB, 2 * MIB)
		check(c.rss() < 200 * MIB or SHORT, f"memory stays bounded ({c.rss() // MIB} MiB)")


@each(io=harness.IO)
def test_a_reset_by_the_service_ends_one_stream_only(t, io):
	def slam(conn):
		conn.recv(1)
		conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
	s, d = server(t), t.open(Duplex())
	c, bad, good = tunnel(t, s, t.open(harness.Service(slam)), d, io=io)
	gate = LeakGate(c)
	for _ in range(20):
		with connect(bad) as conn:
			conn.sendall(b"x")
			try:
				equal(conn.recv(10), b"", "end of the stream")
			except ConnectionResetError:
				pass
	transfer(good, d, 10_000, 10_000)
	gate.close()


@each(io=harness.IO)
def test_service_that_is_not_there(t, io):
	s = server(t)
	closed, port = free_port(), free_port()
	c = t.start(client_argv(s.url, f"R:127.0.0.1:{port}:127.0.0.1:{closed}", io=io))
	c.wait("tunnel_up")
	with connect(port) as conn:
		equal(conn.recv(10), b"", "end of the stream")
	equal(s.wait("channel_refused")["code"], 2, "open failure: connect failed")
	check(c.running(), "the client lives on")


@each(io=harness.IO)
def test_reconnects_when_the_server_comes_back(t, io):
	keys = t.dir / "host-key"
	s = server(t, "--host-key-file", keys)
	echo = t.open(Echo())
	c, port = tunnel(t, s, echo, io=io)
	echo_once(port)
	before = c.mark()
	s.kill()
	s = server(t, "--host-key-file", keys, port=s.ready["port"])
	c.wait("tunnel_up", since=before)
	echo_once(port)


@each(io=harness.IO)
def test_a_port_still_held_by_the_old_session_is_waited_for(t, io):
	echo, held = t.open(Echo()), socket.socket()
	s = server(t)
	port, text = remote(echo)
	held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	held.bind(("127.0.0.1", port))
	held.listen()
	c = t.start(client_argv(s.url, text, io=io))
	s.wait("session_ended")
	held.close()
	c.wait("tunnel_up")
	echo_once(port)


@each(io=harness.IO)
def test_sigterm_ends_it_cleanly(t, io):
	s = server(t)
	c, port = tunnel(t, s, t.open(Echo()), io=io)
	echo_once(port)
	equal(c.stop(), 0, "exit code")
	s.wait("session_ended")
	check("Traceback" not in c.text(), "no noise")


@each(io=harness.IO)
def test_sigterm_lets_an_open_stream_end(t, io):
	s = server(t)
	c, port = tunnel(t, s, t.open(Echo()), io=io)
	with connect(port) as conn:
		conn.sendall(b"one")
		equal(conn.recv(10), b"one", "echo before")
		c.signal(15)
		c.wait("tunnel_state", state="draining")
		conn.sendall(b"two")
		equal(conn.recv(10), b"two", "echo while draining")
	equal(c.exit_code(), 0, "exit code")


@each(io=harness.IO)
def test_pings_are_answered(t, io):
	s = server(t, "--ping", "50ms")
	_, port = tunnel(t, s, t.open(Echo()), io=io, flags=["--keepalive", "1s"])
	equal(s.wait("pong")["payload"], "pong", "answer to ping")
	echo_once(port)


# Default deny: a compromised server asks for what it was never given.

@each(io=harness.IO)
def test_wrong_target_is_refused(t, io):
	s = server(t, "--misbehave", "wrong-target")
	c, port = tunnel(t, s, t.open(Echo()), io=io)
	with connect(port) as conn:
		equal(conn.recv(10), b"", "end of the stream")
	equal(s.wait("channel_refused")["code"], 1, "open failure: administratively prohibited")
	check(c.running(), "the client lives on")


def test_targets_that_look_alike_are_refused(t):
	echo = t.open(Echo())
	p = echo.port
	for near in (f"127.0.0.1:{p}/udp", f"127.0.0.1:0{p}", f"localhost:{p}", f"127.1:{p}", f"[::ffff:127.0.0.1]:{p}",
		     f"127.0.0.1:{p}.", f" 127.0.0.1:{p}", f"127.0.0.1:{p}\n", "socks", ":", "x" * 30000):
		s = server(t, "--misbehave", f"wrong-target={near}")
		c, port = tunnel(t, s, echo)
		with connect(port) as conn:
			conn.recv(10)
		equal(s.wait("channel_refused")["code"], 1, f"open failure for {near[:40]!r}")
		c.stop()
		s.stop()
	equal(echo.accepted, 0, "connections at the service")


def small_listener(backlog):
	"""Small segments make small buffers in the kernel."""
	x = socket.socket()
	x.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
	x.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
	x.bind(("127.0.0.1", 0))
	x.listen(backlog)
	return x, f"127.0.0.1:{x.getsockname()[1]}"


@each(io=harness.IO)
def test_connections_to_a_service_that_takes_nothing_are_bounded(t, io):
	"""A channel that the server closed is gone from SSH, its bytes are not."""
	x, target = small_listener(4000)
	t.open(x)
	s = server(t, "--misbehave", f"pile-up={target}*2400")
	c = t.start(client_argv(s.url, f"R:{free_port()}:{target}", io=io))
	done = s.wait("piled_up", seconds=60)
	check(done["refused"].get("4", 0) > 0, f"none was refused for want of room: {done}")
	check(c.fds() <= 2048 + 30, f"{c.fds()} descriptors")
	check(c.running(), "the client lives on")
	c.kill() # a SIGTERM would wait for the connections


@each(io=harness.IO)
def test_dials_to_a_service_that_does_not_accept_are_bounded(t, io):
	x, target = small_listener(0)
	t.open(x)
	for _ in range(4): # the queue is full: a connect is not even refused
		full = t.open(socket.socket())
		full.setblocking(False)
		full.connect_ex(x.getsockname())
	s = server(t, "--misbehave", f"pile-up={target}")
	c = t.start(client_argv(s.url, f"R:{free_port()}:{target}", io=io))
	c.wait("tunnel_up")
	eventually(lambda: c.fds() >= 64, "dials")
	check(c.fds() <= 64 + 30, f"{c.fds()} descriptors while 200 channels wait")
	done = s.wait("piled_up", seconds=60)
	check(done["refused"].get("4", 0) > 100, f"refused for want of room: {done}")
	c.kill()


@each(io=harness.IO)
def test_a_burst_of_connections_to_a_named_service(t, io):
	s, service, port = server(t), t.open(Echo()), free_port()
	c = t.start(client_argv(s.url, f"R:{port}:localhost:{service.port}", io=io))
	c.wait("tunnel_up")
	together(*[lambda: echo_once(port)] * 40)


def test_channel_types_of_others_are_refused(t):
	s = server(t, "--misbehave", "wrong-channel-type")
	c, _ = tunnel(t, s, t.open(Echo()))
	s.wait("wrong_types_done")
	equal(s.find("channel_granted"), None, "a channel of a foreign type")
	check(c.running(), "the client lives on")


def test_noise_does_not_harm_streams(t):
	s, d = server(t, "--misbehave", "extended-data"), t.open(Duplex())
	c, port = tunnel(t, s, d)
	gate = LeakGate(c)
	for _ in range(3):
		transfer(port, d, MIB, MIB)
	gate.close()


# One sentence and the right exit code, for each thing that can be wrong.

def refused(argv, code, pattern, seconds=30):
	got, text = harness.run(argv, seconds=seconds)
	check(re.search(pattern, text, re.I), f"no sentence like /{pattern}/ in: {text[-600:]}")
	equal(got, code, f"exit code after: {text[-300:]}")
	check(len(text) < 20_000, "few words")
	check(all(31 < ord(ch) < 127 or ch in "\n\t" or ord(ch) > 159 for ch in text), "only printable text")
	return text


ONCE = ["--max-retry-count", "0"]


@each(misbehave=["plain-http", "status", "redirect", "wrong-accept", "other-subprotocol", "not-ssh", "text-frames",
		 "close-after-upgrade", "giant-message", "endless-banner"])
def test_server_that_is_no_tunnel_server(t, misbehave):
	said = {"plain-http": "200", "status": "503", "redirect": "302"}
	s = server(t, "--misbehave", misbehave)
	_, r = remote(t.open(Echo()))
	refused(client_argv(s.url, r, flags=ONCE), 1, said.get(misbehave, r"websocket|ssh|closed|upgrade"))


def test_server_that_says_nothing(t):
	_, r = remote(t.open(Echo()))

	def wait_out(misbehave):
		s = server(t, "--misbehave", misbehave)
		refused(client_argv(s.url, r, flags=ONCE), 1, r"time|answer|within|respon", seconds=60)
	together(*[lambda m=m: wait_out(m) for m in ("stall-before-upgrade", "stall-after-upgrade", "no-config-reply")])


def test_config_refused_with_a_reason(t):
	s = server(t, "--misbehave", "refuse-config=access to \x1b[31mport\r\n denied")
	_, r = remote(t.open(Echo()))
	text = refused(client_argv(s.url, r, flags=ONCE), 1, r"access to .*port.* denied")
	check("\x1b" not in text, "the peer's control characters are escaped")


def test_wrong_fingerprint(t):
	s = server(t)
	_, r = remote(t.open(Echo()))
	wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	refused(client_argv(s.url, r, fingerprint=wrong, flags=ONCE), 1, "fingerprint")
	equal(s.find("handshake"), None, "a password sent to a server of unknown key")


def test_fingerprint_that_is_none(t):
	s = server(t)
	_, r = remote(t.open(Echo()))
	refused(client_argv(s.url, r, fingerprint="12:34:56", flags=ONCE), 2, "fingerprint")


def test_wrong_ca(t):
	s = server(t, tls=Certificates(t.dir))
	other = Certificates(t.dir, "other")
	_, r = remote(t.open(Echo()))
	refused(client_argv(s.url, r, flags=[*ONCE, "--tls-ca", other.ca]), 1, "certificate.*--tls-ca")


def test_certificate_of_another_host(t):
	tls = Certificates(t.dir, hosts="DNS:elsewhere.example.org")
	s = server(t, tls=tls)
	_, r = remote(t.open(Echo()))
	refused(client_argv(s.url, r, flags=[*ONCE, "--tls-ca", tls.ca]), 1, "certificate|verif|match")


def test_ca_file_that_is_not_there(t):
	_, r = remote(t.open(Echo()))
	argv = client_argv("https://127.0.0.1:1", r, flags=[*ONCE, "--tls-ca", t.dir / "none.pem"])
	got, text = harness.run(argv)
	check(got in (1, 2, 64), f"exit code {got}")
	check("none.pem" in text, f"the sentence names the file: {text}")


def test_tls_server_spoken_to_in_plain_and_the_reverse(t):
	tls = Certificates(t.dir)
	_, r = remote(t.open(Echo()))
	s = server(t, tls=tls)
	refused(client_argv(s.url.replace("https", "http"), r, flags=ONCE), 1, "400|http|websocket|upgrade")
	s = server(t)
	refused(client_argv(s.url.replace("http", "https"), r, flags=ONCE), 1, "tls|ssl")


def test_wrong_password(t):
	s = server(t)
	_, r = remote(t.open(Echo()))
	text = refused(client_argv(s.url, r, auth="user:wr0ng", flags=ONCE), 1, "auth|password|denied")
	check("wr0ng" not in text, "the password is never printed")


def test_unreachable_server(t):
	_, r = remote(t.open(Echo()))
	port = free_port()
	refused(client_argv(f"http://127.0.0.1:{port}", r, flags=ONCE), 1, f"{port}.*refused|refused.*{port}")
	refused(client_argv("http://no-such-host.invalid", r, flags=[*ONCE, "--allow-plain"]), 1, "no-such-host")


def test_retries_are_counted(t):
	_, r = remote(t.open(Echo()))
	c = t.start(client_argv(f"http://127.0.0.1:{free_port()}", r,
				flags=["--max-retry-count", "2", "--max-retry-interval", "100ms"]))
	equal(c.exit_code(), 1, "exit code")
	equal(c.count("tunnel_retry"), 2, "tunnel_retry events")


def test_plain_http_to_elsewhere_needs_an_opt_in(t):
	_, r = remote(t.open(Echo()))
	got, text = harness.run(client_argv("http://192.0.2.1", r, flags=ONCE))
	check(got in (2, 64), f"exit code {got} after {text}")
	check(re.search("plain|https|tls", text, re.I), f"a sentence that says so: {text}")


@each(bad=["R:70000:localhost:80", "R:", "8080:localhost:80", "R:8000:localhost:80/udp", "R:8000:socks", "stdio:a:1",
	   "R:8000:[::1:80", "R:x:localhost:80", ""])
def test_bad_remote(t, bad):
	text = refused(client_argv("http://127.0.0.1:1", bad, flags=ONCE), 2, r"R:|remote|forward")
	check(len(text.splitlines()) <= 4, f"one clear sentence: {text}")


def test_usage(t):
	for argv, pattern in (([], "url|server|usage"), (["http://127.0.0.1:1"], "remote|R:|usage"),
			      (["--no-such-flag", "http://127.0.0.1:1", "R:1:a:2"], "no-such-flag"),
			      (["http://127.0.0.1:1", "R:1:a:2", "--auth", "u:p"], "before the server"),
			      (["--header", "no colon", "http://127.0.0.1:1", "R:1:a:2"], "Name: value"),
			      (["--header", "a: b\r\nc: d", "http://127.0.0.1:1", "R:1:a:2"], "Name: value"),
			      (["--log-format", "xml", "http://127.0.0.1:1", "R:1:a:2"], r"json\|text"),
			      (["--max-retry-count", "many", "http://127.0.0.1:1", "R:1:a:2"], "max-retry-count"),
			      (["ftp://127.0.0.1:1", "R:1:a:2"], "ftp|scheme"),
			      (["http://", "R:1:a:2"], "host|url")):
		refused([harness.program("tunnel-sidecar"), "client", *argv], 2, pattern)


def test_help_and_version(t):
	sidecar = harness.program("tunnel-sidecar")
	for argv in (["--help"], ["client", "--help"], ["--version"]):
		code, text = harness.run([sidecar, *argv])
		equal(code, 0, f"exit code of {argv}")
		check(len(text) > 20, f"text of {argv}")
	_, text = harness.run([sidecar, "client", "--help"])
	for flag in ("--fingerprint", "--auth", "--keepalive", "--tls-ca", "--io", "--max-retry-count"):
		check(flag in text, f"{flag} in the help")


class ConnectProxy(harness.Service):
	"""An HTTP proxy that knows CONNECT, and asks for a password if given one."""

	def __init__(self, credentials=None):
		self.credentials, self.asked = credentials, []
		super().__init__()

	def serve(self, conn):
		head = b""
		while b"\r\n\r\n" not in head:
			part = conn.recv(1000)
			if not part:
				return
			head += part
		self.asked.append(head.decode())
		if self.credentials and f"Basic {self.credentials}" not in head.decode():
			conn.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return
		host, port = head.split(b" ")[1].decode().rsplit(":", 1)
		with socket.create_connection((host, int(port))) as far:
			conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
			back = threading.Thread(target=self.copy, args=(far, conn))
			back.start()
			self.copy(conn, far)
			back.join()

	@staticmethod
	def copy(a, b):
		try:
			while got := a.recv(1 << 16):
				b.sendall(got)
			b.shutdown(socket.SHUT_WR)
		except OSError:
			pass


def needs_proxy_support():
	_, text = harness.run(client_argv("http://127.0.0.1:1", "R:1:127.0.0.1:2", flags=["--proxy", "http://127.0.0.1:1", *ONCE]))
	if "directly only" in text:
		raise harness.Skip("this version of the client has no --proxy, and says so")


@each(io=harness.IO)
def test_through_an_http_proxy(t, io):
	needs_proxy_support()
	tls = Certificates(t.dir)
	proxy = t.open(ConnectProxy("dTpw"))  # u:p
	s, d = server(t, tls=tls), t.open(Duplex())
	_, port = tunnel(t, s, d, io=io, flags=["--tls-ca", tls.ca, "--proxy", f"http://u:p@127.0.0.1:{proxy.port}"])
	transfer(port, d, MIB, MIB)
	equal(proxy.accepted, 1, "connections at the proxy")


def test_proxy_that_refuses(t):
	needs_proxy_support()
	proxy, s = t.open(ConnectProxy("dTpw")), server(t)
	_, r = remote(t.open(Echo()))
	refused(client_argv(s.url, r, flags=[*ONCE, "--proxy", f"http://127.0.0.1:{proxy.port}"]), 1, "proxy.*407|407.*proxy")


def test_goodbye_of_the_server_is_followed_by_a_new_try(t):
	s = server(t, "--misbehave", "goodbye")
	_, r = remote(t.open(Echo()))
	c = t.start(client_argv(s.url, r, flags=["--max-retry-interval", "200ms"]))
	eventually(lambda: s.count("handshake") >= 3, "a third session")
	check(c.running(), "the client lives on")


def test_sessions_that_end_at_once_come_ever_slower(t):
	s = server(t, "--misbehave", "goodbye")
	_, r = remote(t.open(Echo()))
	c = t.start(client_argv(s.url, r))
	eventually(lambda: any(float(e["wait_s"]) > 0.35 for e in c.events if e["event"] == "tunnel_retry"),
		   "a wait beyond three times the first one", 30)


def test_password_of_the_url_is_not_shown(t):
	text = refused(client_argv("http://user:hush-hush@tunnel.example.org", "R:1:127.0.0.1:2", auth=None), 2, "plain http")
	check("hush" not in text, text)


if __name__ == "__main__":
	harness.main()
