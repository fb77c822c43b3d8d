#!/usr/bin/env python3
"""Certificates with one thing wrong in each, what a hostile server can put into log
lines, and secrets: where they must never be found (docs/limits.md)."""
import base64
import contextlib
import http.client
import json
import pathlib
import re
import resource
import signal
import subprocess
import unicodedata

import harness
from evil import client, peer, text, u32
from evil_agent import PASSWORD, agent
from harness import PATIENCE, Echo, Skip, check, each, equal, eventually, together


# T1: certificates.

def certificates(t):
	folder = t.dir / "certificates"
	folder.mkdir()
	harness.build_peers()
	got = subprocess.run([harness.PEERS / "evil-peer", "certs", folder], capture_output=True, text=True, check=False)
	equal(got.returncode, 0, f"certificates: {got.stderr}")
	return folder, [json.loads(x)["name"] for x in got.stdout.splitlines()]


NAME = ["--sni", "tunnel.example.org"]
# The images have no openssl.cnf of a distribution's: what is weak is our own decision.
OWN_POLICY = {"OPENSSL_CONF": "/dev/null"}


@each(io=harness.IO)
def test_evil_t1_certificates(t, io):
	"""Each is refused in the handshake, before the first byte of HTTP; each good one is served."""
	folder, names = certificates(t)

	def look(name):
		p = peer(t, flags=("--times", "0", "--cert", folder / f"{name}.pem", "--key", folder / f"{name}.key"))
		by_address = name in ("good-address", "address-as-name")
		flags = ["--tls-ca", folder / "ca.pem", *([] if by_address else NAME)]
		c = client(t, f"https://127.0.0.1:{p.port}", t.open(Echo()), io=io, fingerprint=p.ready["fingerprint"], flags=flags,
			   env=OWN_POLICY)
		if name.startswith("good"):
			equal(p.wait("answer")["kind"], "alive", f"{name}: served")
			c.kill()
			return
		failed = c.wait("tunnel_failed")
		equal(failed["reason"], "untrusted", f"{name}: {failed['error']}")
		check("--tls-ca and --sni" in failed["error"], f"{name}: where to set it: {failed['error']}")
		equal(c.exit_code(), 1, f"{name}: exit code")
		equal(p.find("upgrade"), None, f"{name}: a request was sent")
	check(len(names) >= 18, f"rows: {names}")
	bad = [n for n in names if not n.startswith("good")]
	for some in (names[:6], names[6:12], names[12:]):
		together(*[lambda n=n: look(n) for n in some])
	equal(len(bad), len(names) - 3, "good ones")


def test_evil_t1_no_certificate_counts_without_its_name(t):
	"""The right CA, the name of the URL: the certificate is for another."""
	folder, _ = certificates(t)
	p = peer(t, flags=("--cert", folder / "good.pem", "--key", folder / "good.key"))
	c = client(t, f"https://127.0.0.1:{p.port}", t.open(Echo()), flags=["--tls-ca", folder / "ca.pem"])
	equal(c.wait("tunnel_failed")["reason"], "untrusted", "reason")
	equal(p.find("upgrade"), None, "a request was sent")
	c = client(t, f"https://127.0.0.1:{p.port}", t.open(Echo()), flags=NAME)
	equal(c.wait("tunnel_failed")["reason"], "untrusted", "reason with the system's trust")
	equal(p.find("upgrade"), None, "a request was sent")


# L1: words of a peer, in a line of ours.

NASTY = ("\x1b[31mred\x1b[0m\r\n{\"level\":\"error\",\"event\":\"forged\"}\n\x00\x07\x08\x7f\x9b31m"
	 "\u202egnp.exe\u2066\u200f\ufeff\u2028\u2029\u200b\u200d\xad\U000e0001 \\x1b \" ' <script> %s%n").encode()
NASTY += b"\xff\xfe\xc0\x80\xed\xa0\x80"
LONG = (NASTY + b"A" * 200) * (64 * 1024 // (len(NASTY) + 200))
MARK = b"canary-words"


def l1_rows():
	http = (MARK + b" " + NASTY.replace(b"\r\n", b" ").replace(b"\n", b" ").replace(b"\x00", b"")).decode("latin-1")
	for name, words in (("short", MARK + NASTY), ("64 KiB", MARK + LONG[:60_000])):
		yield f"disconnect, {name}", ("up:say=01" + u32(11) + text(words) + text("en"),), ()
		yield f"config refused, {name}", ("config:say=52" + words.hex(),), ()
		yield f"disconnect early, {name}", ("method:say=01" + u32(2) + text(words) + text(""),), ()
		yield f"target, {name}", ("up:say=5a" + text("chisel") + u32(7) + u32(9) + u32(40000) + words[:30000].hex(),), ()
		yield f"type, {name}", ("up:say=5a" + text(words[:30000]) + u32(7) + u32(9) + u32(40000) + "00",), ()
	yield "close of the WebSocket", ("up:frame=88" + f"{2 + 100:02x}" + "03e8" + (MARK + b"\x1b[2J" + "\u202e".encode() * 20
					  + b"A" * 100)[:100].hex(),), ()
	yield "unsaid: identification", ("ident:raw=" + (b"SSH-" + MARK + b"\x1b[31m\x9b\xff-\r\n").hex(),), ()
	yield "algorithms", ("kexinit:say=14" + "00" * 16 + text(MARK + NASTY) * 10 + "0000000000",), ("--strict=false",)
	yield "methods of authentication", ("auth:say=33" + text(MARK + NASTY) + "00",), ()
	yield "more of them wanted", ("auth:say=33" + text(MARK + NASTY) + "01",), ()
	yield "unsaid: reason of HTTP", (), ("--upgrade", f"HTTP/1.1 500 {http}\r\n\r\n")
	yield "reason of HTTP", (), ("--upgrade", f"HTTP/1.1 500 {MARK.decode()} \u202e\u2028 \x9b31m\r\n\r\n")
	yield "body of HTTP", (), ("--upgrade", f"HTTP/1.1 404 No\r\nContent-Length: 999\r\n\r\n{http}")
	yield "unsaid: place of a redirect", (), ("--upgrade", f"HTTP/1.1 302 No\r\nLocation: https://{http}/x\r\n\r\n")
	yield "place of a redirect", (), ("--upgrade", f"HTTP/1.1 302 No\r\nLocation: https://{MARK.decode()}.\u202e.\x9b/x\r\n\r\n")


def is_plain(ch):
	return ch.isprintable() and unicodedata.category(ch) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") or ch == " "


def one_line_each(c, log_format, name):
	raw = [x for x in c.lines if not (harness.SHORT and x.startswith("=="))]  # a sanitizer's own
	for line in raw:
		check(len(line.encode()) < 4000, f"{name}: a line of {len(line.encode())} bytes")
		check(all(is_plain(ch) for ch in line), f"{name}: bytes that are not plain in {line[:300]!r}")
		if log_format == "json":
			check(json.loads(line)["component"] == "tunnel", f"{name}: a line of somebody else's: {line[:200]!r}")
		else:
			check(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARN|ERROR) \w+ ", line), f"{name}: {line[:200]!r}")
	check(c.find("forged") is None, f"{name}: a forged event")
	return [x for x in raw if MARK.decode() in x]


@each(log_format=["json", "text"])
def test_evil_l1_words_of_a_peer_are_one_line(t, log_format):
	rows = list(l1_rows())

	def look(name, do, flags):
		p = peer(t, *do, flags=("--patience", "2s", *flags))
		c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()), fingerprint=p.ready["fingerprint"],
			   log_format=log_format)
		eventually(lambda: any(MARK.decode() in x for x in c.lines)
			   or name.startswith("unsaid") and any("tunnel_up" in x or "tunnel_retry" in x for x in c.lines),
			   f"{name}: the words in the log")
		c.kill()
		for r in c.readers:
			r.join(5)
		said = one_line_each(c, log_format, name)
		check(len(said) <= 2, f"{name}: {len(said)} lines with the words: {said[:3]}")
	for i in range(0, len(rows), 6):
		together(*[lambda r=r: look(*r) for r in rows[i:i + 6]])


# L2: secrets.

HEADER = "canary-header-1b77"
PROXY_PASSWORD = "canary-proxy-password-4e0c"
CLIENT_PASSWORD = "canary-password-51c0"


def nowhere(secrets, places):
	for place, words in places.items():
		raw = words.encode() if isinstance(words, str) else words
		for s in secrets:
			for form in (s, base64.b64encode(s.encode()).decode(), base64.b64encode(f"user:{s}".encode()).decode(),
				     s.encode().hex()):
				check(form.encode() not in raw, f"{s} ({form}) is in {place}")


def test_evil_l2_secrets_of_the_client(t):
	"""A server that refuses in every phase, a log of all levels, the bus and its black box."""
	places = {}

	def look(name, *do, flags=(), scheme="http"):
		p = peer(t, *do, flags=("--times", "2", *flags))
		c = client(t, f"{scheme}://127.0.0.1:{p.port}", t.open(Echo()),
			   flags=["--header", f"Authorization: Bearer {HEADER}"])
		p.wait("connected", number=2)
		c.wait("tunnel_retry")
		places[f"the log: {name}"] = c.text()
		places[f"the segment: {name}"] = c.gate.path.read_bytes()
		places[f"what the peer printed: {name}"] = p.text()
		c.kill()
	goodbye = text("canary goodbye") + text("")
	together(lambda: look("404", flags=("--upgrade", "HTTP/1.1 404 No\r\n\r\n")),
		 lambda: look("302", flags=("--upgrade", "HTTP/1.1 302 No\r\nLocation: http://x/\r\n\r\n")),
		 lambda: look("not ssh", "ident:raw=" + b"SSH-\r\n".hex()),
		 lambda: look("kex", "method:say=02" + u32(0)),
		 lambda: look("config", "config:say=52" + b"no".hex()),
		 lambda: look("goodbye", "up:say=01" + u32(11) + goodbye),
		 lambda: look("abuse", "up:say=c0*5000"))
	p = peer(t, "auth:say=33" + text("password") + "00*2")
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()))
	c.exit_code()
	places["a refused password"] = c.text()
	c = client(t, "http://192.0.2.1", t.open(Echo()), flags=["--allow-plain", "--max-retry-count", "0",
								 "--proxy", f"http://user:{PROXY_PASSWORD}@127.0.0.1:9"])
	c.exit_code()
	places["a proxy that is not there"] = c.text()
	c = client(t, f"http://user:{CLIENT_PASSWORD}@tunnel.example.org", t.open(Echo()))
	c.exit_code()
	places["a password in the URL"] = c.text()
	check(len(places) == 24, f"{len(places)} places")
	nowhere([HEADER, PROXY_PASSWORD, CLIENT_PASSWORD], places)


def test_evil_l2_secrets_of_the_pod(t):
	"""All that the pod shows to anybody, and what a crash leaves."""
	p = peer(t, "up:say=c0*5000")
	c = agent(t, f"http://127.0.0.1:{p.port}", p.ready["fingerprint"], status=True)
	c.wait("tunnel_retry")
	check(any("/heartbeat" in x for x in c.plane.seen), "the control plane was spoken to") if c.plane.seen else None
	places = {}
	for path in ("/metrics", "/health", "/ready", "/live", "/status", "/api/status", "/api/health/detailed", "/dashboard", "/"):
		conn = http.client.HTTPConnection("127.0.0.1", c.status_port, timeout=PATIENCE)
		eventually(lambda conn=conn, path=path: ask(conn, path, places), f"{path} answers")
	check(b"pipeops_tunnel" in places["/metrics"], "the tunnel's numbers on the page")
	for role in ("tunnel", "control"):
		places[f"segment of {role}"] = (c.bus / role / "segment").read_bytes()
		places[f"dump of {role}"] = subprocess.run([harness.program("status-server"), "dump", c.bus / role / "segment"],
							   capture_output=True, check=False).stdout
	for program in (c, c.control, c.status):
		places[f"environment of {program.name}"] = pathlib.Path(f"/proc/{program.pid}/environ").read_bytes()
		places[f"command line of {program.name}"] = pathlib.Path(f"/proc/{program.pid}/cmdline").read_bytes()
	check(PASSWORD.encode() in b"".join(f.read_bytes() for f in (c.folder / "handoff").iterdir() if f.is_file()),
	      "the canary is the one in use")
	for program in (c, c.control, c.status):
		places[f"log of {program.name}"] = program.text()
	nowhere([PASSWORD, c.token], places)


def ask(conn, path, places):
	try:
		conn.request("GET", path)
		got = conn.getresponse()
	except OSError:
		return False
	finally_text = got.read()
	places[path] = finally_text + str(got.headers).encode()
	return True


@each(number=[signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_evil_l2_no_core_is_left(t, number):
	"""Not even where the shell would allow one."""
	if harness.SHORT:
		raise Skip("a sanitizer has last words of its own")
	_, most = resource.getrlimit(resource.RLIMIT_CORE)
	with contextlib.suppress(ValueError, OSError):
		most = resource.RLIM_INFINITY
		resource.setrlimit(resource.RLIMIT_CORE, (most, most))
	if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0:
		raise Skip("no core may be written here at all")
	p = peer(t)
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()), fingerprint=p.ready["fingerprint"])
	p.wait("answer", kind="alive")
	limit = pathlib.Path(f"/proc/{c.pid}/limits").read_text()
	check(re.search(r"^Max core file size\s+0\s", limit, re.M), "the limit of a core is 0")
	c.signal(number)
	code = c.popen.wait(PATIENCE)
	check(code == -number or code > 0, f"ended with {code}")
	for r in c.readers:
		r.join(5)
	nowhere([CLIENT_PASSWORD], {"last words": c.text(), "segment": c.gate.path.read_bytes()})
	cores = [*pathlib.Path(".").glob("core*"), *t.dir.glob("core*"), *pathlib.Path("/tmp").glob("core*")]
	check(not [x for x in cores if x.is_file()], f"cores: {cores}")


if __name__ == "__main__":
	harness.main()
