#!/usr/bin/env python3
"""What a hostile tunnel server may do below the channels: key exchange, packets,
re-keys, what comes before authentication, host keys (docs/limits.md)."""
import os
import pathlib

import harness
from evil import DEBUG, EXT_INFO, IGNORE, UNIMPLEMENTED, Row, client, numbers, peer, run_rows, select, text, u32
from evil_agent import agent
from harness import Duplex, Echo, check, each, equal, eventually, free_port, transfer
from tunnel_client_test import server, tunnel

GCM, GCM_256, CHACHA = "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"
NOT_STRICT = ("--strict=false",)
PROTOCOL = {"kind": "disconnect", "code": 2, "reason": "protocol"}
LIMIT = {"kind": "disconnect", "code": 2, "reason": "limit"}


# S1: nothing may slip into the first key exchange (CVE-2023-48795).

def strange_messages():
	return {"ignore": IGNORE, "debug": DEBUG, "unimplemented": UNIMPLEMENTED, "ext_info": EXT_INFO,
		"service accept": "06" + text("ssh-userauth"), "ping": "c0" + u32(0), "auth success": "34",
		"channel open": "5a" + text("chisel") + u32(7) + u32(9) + u32(40000), "disconnect's neighbour": "00"}


def s1_rows():
	for place in ("kexinit", "method", "newkeys"):
		for name, message in strange_messages().items():
			yield Row(f"strict: {name} at {place}", f"{place}:say={message}", **PROTOCOL)
	# Without strictness RFC 4253 allows the first two everywhere, and nothing else.
	for place in ("kexinit", "method", "newkeys"):
		for name in ("ignore", "debug"):
			yield Row(f"lax: {name} at {place}", f"{place}:say={strange_messages()[name]}", flags=NOT_STRICT)
		for name in ("ext_info", "service accept", "ping", "auth success", "channel open"):
			yield Row(f"lax: {name} at {place}", f"{place}:say={strange_messages()[name]}", flags=NOT_STRICT, **PROTOCOL)
	yield Row("lax: all is well", flags=NOT_STRICT)


@each(io=harness.IO)
def test_evil_s1_messages_within_the_first_key_exchange(t, io):
	run_rows(io, select([*s1_rows()]))


@each(cipher=[GCM, GCM_256, CHACHA])
def test_evil_s1_strict_numbers_start_anew(t, cipher):
	"""The peer counts from 0 after each NEWKEYS; chacha20's nonce is that number."""
	run_rows(harness.IO[0], select([Row("re-keys", "up:rekey=*5", flags=("--cipher", cipher))]))


def test_evil_s1_chacha20_without_strictness_is_refused(t):
	p = peer(t, flags=("--cipher", CHACHA, "--strict=false", "--times", "99"))
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()))
	answer = p.wait("answer")
	equal((answer["kind"], answer.get("code")), ("disconnect", 3), "refused as key exchange failure")
	check("50" not in answer["replies"], "a password sent")
	equal(c.wait("tunnel_retry")["reason"], "no_common_algorithm", "reason")
	c.kill()


# S2: the length of a packet is judged before anything is done for it.

def s2_rows():
	for cipher in (GCM, GCM_256, CHACHA):
		flags = ("--cipher", cipher)
		block = 8 if cipher == CHACHA else 16
		bad = [0, 1, 4, 5, block - 1, block + 1, 35000 + block // 2 + 1, 256 * 1024 + 1, 256 * 1024 + block,
		       1 << 31, (1 << 32) - 16, (1 << 32) - 1]
		for n in bad:
			yield Row(f"{cipher[:9]}: length {n}", f"up:length={n}", flags=flags, **PROTOCOL)
		for n in (2 * block, 35008, 256 * 1024 - block, 256 * 1024):
			yield Row(f"{cipher[:9]}: a packet of {n}", f"up:size={n}*3", flags=flags)
		yield Row(f"{cipher[:9]}: a packet above the bound", f"up:size={256 * 1024 + block}", flags=flags, **PROTOCOL)
		for n in (0, 1, 3, 31, 32, 255):
			yield Row(f"{cipher[:9]}: padding {n} of 32", f"up:pad={n}", flags=flags, **PROTOCOL)
	for n in (0, 1, 4, 5, 8, 11, 13, 35000, 256 * 1024 + 4, 1 << 31, (1 << 32) - 1):
		yield Row(f"clear: length {n}", f"kexinit:length={n}", flags=NOT_STRICT, **PROTOCOL)
	for n in (12, 20, 35004, 256 * 1024 - 4):
		yield Row(f"clear: a packet of {n}", f"kexinit:size={n}", flags=NOT_STRICT)
	for n in (0, 3, 27, 28, 255):
		yield Row(f"clear: padding {n} of 28", f"kexinit:pad={n}", flags=NOT_STRICT, **PROTOCOL)
	for cipher in (GCM, CHACHA):
		yield Row(f"{cipher[:9]}: noise for a packet", "up:raw=" + "00000020" + "5a" * 60, flags=("--cipher", cipher), **PROTOCOL)


@each(io=harness.IO)
def test_evil_s2_lengths_and_padding(t, io):
	run_rows(io, select([*s2_rows()]))


# S3: re-keys.

def s3_rows():
	return [
		Row("a few for nothing", "up:rekey=*50"),
		Row("a storm for nothing", "up:rekey=*1000", sent=90, glitch="idle_rekey", **LIMIT),
		# One useful message between two does not make a storm cheap.
		Row("a storm with a window between", *["up:rekey=", "up:say=5d" + u32(0) + u32(256)] * 150, sent=180,
		    glitch="idle_rekey", **LIMIT),
		Row("a storm with data between", *["up:rekey=", "up:data=100"] * 150, sent=180, glitch="idle_rekey", **LIMIT),
		Row("kexinit twice", "re-method:say=14" + "00" * 16 + text("") * 10 + "00" + u32(0), "up:rekey=", **PROTOCOL),
		Row("data within", "re-method:data=10", "up:rekey=", **PROTOCOL),
		Row("data before newkeys", "re-newkeys:data=10", "up:rekey=", **PROTOCOL),
		Row("newkeys alone", "up:say=15", **PROTOCOL),
		Row("reply alone", "up:say=1f" + text("x") * 3, **PROTOCOL),
		Row("ignore within", f"re-method:say={IGNORE}", f"re-newkeys:say={IGNORE}", "up:rekey="),
	]


@each(io=harness.IO)
def test_evil_s3_rekeys(t, io):
	run_rows(io, select(s3_rows()))


REKEYS = int(os.environ.get("EVIL_REKEYS", "200"))


@each(io=harness.IO)
def test_evil_s3_rekey_storm_under_load(t, io):
	"""x/crypto's server starts a key exchange after each 32 KiB, with data on its way."""
	s, echo, d = server(t, "--rekey-threshold", 32 * 1024), t.open(Echo()), t.open(Duplex())
	c, one, two = tunnel(t, s, echo, d, io=io)
	with harness.connect(one) as conn:
		for i in range(REKEYS):
			piece = i.to_bytes(4, "big") * 4096
			conn.sendall(piece)
			got = b""
			while len(got) < len(piece):
				part = conn.recv(len(piece) - len(got))
				check(part, "the stream ended")
				got += part
			check(got == piece, f"piece {i} is not what was sent")
		transfer(two, d, 150_000, 150_000, half=False)
	rekeys = eventually(lambda: (n := numbers(c)["pipeops_tunnel_rekeys_total"]) >= REKEYS // 4 and n,
			    f"{REKEYS // 4} re-keys")
	print(f"figure: evil s3 [{io}] {rekeys} re-keys, byte-exact", flush=True)
	equal(c.count("tunnel_retry"), 0, "retries")


# S8: what may be asked of us before the server has proved anything.

def s8_rows():
	hello = b"welcome to the machine\r\n".hex()
	gex = "1f" + text("\x01" * 8192) + text("\x02")
	return [
		Row("50 lines", f"ident:raw={hello}*50"),
		Row("51 lines", f"ident:raw={hello}*51", **LIMIT),
		Row("1e6 lines", f"ident:raw={hello}*1000000", **LIMIT),
		Row("a line of 9000 bytes", "ident:raw=" + "41" * 9000, **LIMIT),
		Row("8 KiB in lines", "ident:raw=" + ("41" * 250 + "0d0a") * 33, **LIMIT),
		Row("an identification without end", "ident:raw=" + b"SSH-2.0-".hex() + "41" * 300, **PROTOCOL),
		Row("a NUL in it", "ident:raw=" + b"SSH-2.0-a\0b\r\n".hex(), **PROTOCOL),
		Row("half an identification", "ident:raw=" + b"SSH-\r\n".hex(), **PROTOCOL),
		Row("a kexinit with a list of 60 kB", "method:say=14" + "00" * 16 + text("x" * 60_000), **PROTOCOL),
		Row("a modulus of 8 KiB", f"method:say={gex}", **PROTOCOL),
		Row("an ECDH value of zero", "method:say=1f" + text("x") + text(b"\0" * 32) + text("x"), **PROTOCOL),
		Row("RSA of 1024 bits", flags=("--rsa-bits", "1024", "--times", "1"), pinned=False, kind="disconnect", reason="protocol"),
		Row("RSA of 8192 bits, not signed by it", flags=("--rsa-bits", "8192"), pinned=False, kind="disconnect", reason="untrusted"),
		Row("RSA of 16384 bits", flags=("--rsa-bits", "16384"), pinned=False, kind="disconnect", reason="protocol"),
		Row("RSA of 1e6 bits", flags=("--rsa-bits", "1000000"), pinned=False, kind="disconnect", reason="protocol"),
		Row("16 banners", "auth:say=35" + text("x" * 1000) + text("") + "*16"),
		Row("17 banners", "auth:say=35" + text("x" * 1000) + text("") + "*17", **LIMIT),
		Row("1e5 banners", "auth:say=35" + text("x" * 1000) + text("") + "*100000", **LIMIT),
		Row("2^32 extensions", "keyed:say=07ffffffff" + text("server-sig-algs") + text("x"), glitch="ignored"),
		Row("an ext_info of 64 KiB", "keyed:say=07" + u32(1) + text("x" * 32000) * 2),
		Row("endless ext_info", f"keyed:say={EXT_INFO}*100000", glitch="ignored", **LIMIT),
		Row("endless ignore before authentication", f"keyed:say={IGNORE}*100000", glitch="ignored", **LIMIT),
		Row("a ping before authentication", "keyed:say=c0" + text("x"), **PROTOCOL),
		Row("an open before authentication", "auth:open=127.0.0.1:1", **PROTOCOL),
		Row("a request before authentication", "auth:say=50" + text("ping") + "01", **PROTOCOL),
		Row("success before its time", "keyed:say=34", **PROTOCOL),
		Row("keyboard questions", "auth:say=3c" + text("") * 3 + u32(2**31), **PROTOCOL),
	]


def cpu_ms(pid):
	fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
	return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


@each(io=harness.IO)
def test_evil_s8_before_authentication(t, io):
	rows = s8_rows()
	spent = []
	for row in rows:
		row.extra = lambda answer, c, p, name=row.name: spent.append((cpu_ms(c.pid), name))
		if row.flags and "--rsa-bits" in row.flags:
			row.once = True
	run_rows(io, select([r for r in rows if not getattr(r, "once", False)]))
	most = sorted(spent)[-3:]
	print(f"figure: evil s8 [{io}] CPU of a client's whole life, a good session in it: "
	      + ", ".join(f"{ms} ms ({name})" for ms, name in reversed(most)), flush=True)
	for row in select([r for r in rows if getattr(r, "once", False)]):
		refuses_key(t, io, row)


def refuses_key(t, io, row):
	"""The peer has this one key, so no good session follows."""
	p = peer(t, flags=("--times", "99", *row.flags))
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()), io=io)
	answer = p.wait("answer")
	check(answer["kind"] in ("disconnect", "eof"), f"{row.name}: {answer}") # who gives up does not wait
	check("50" not in answer["replies"], f"{row.name}: a password sent")
	failed = c.wait("tunnel_retry") if row.reason == "protocol" else c.wait("tunnel_failed")
	equal(failed["reason"], row.reason, f"{row.name}: {failed['error']}")
	print(f"figure: evil s8 [{io}] {row.name}: {cpu_ms(c.pid) if c.running() else 0} ms of CPU", flush=True)
	c.kill()


# S9: the key of the host.

@each(io=harness.IO)
def test_evil_s9_wrong_key(t, io):
	p = peer(t, flags=("--times", "99"))
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()), io=io, fingerprint="A" * 43 + "=")
	answer = p.wait("answer")
	check((answer["kind"], answer.get("code")) in (("disconnect", 9), ("eof", 0)), f"host key not verifiable: {answer}")
	check("50" not in answer["replies"] and "5" not in answer["replies"], "nothing is said to a server of another key")
	equal(c.exit_code(), 1, "exit code: a wrong key is not tried again")
	check(c.find("host_key"), "both keys in the log")


def test_evil_s9_fingerprints_that_are_none(t):
	p = peer(t)
	md5 = "16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48"
	for bad in (md5, "MD5:" + md5, p.ready["fingerprint"][:-2], p.ready["fingerprint"][:-4] + "AAA=\n", "SHA1:AAAA",
		    p.ready["fingerprint"] + " ", "=" * 44, "A" * 44):
		c = client(t, f"http://127.0.0.1:{p.port}", free_port(), fingerprint=bad)
		equal(c.exit_code(), 2, f"exit code with fingerprint {bad!r}")
	equal(p.count("connected"), 0, "connections made with a fingerprint that is none")


def test_evil_s9_changed_key_in_a_rekey_needs_no_trust(t):
	"""The unpinned client says so, once for each session, at warning level."""
	p = peer(t)
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()))
	p.wait("answer", kind="alive")
	said = c.wait("host_key")
	equal(said["level"], "warn", "level")
	equal(said["fingerprint"], p.ready["fingerprint"], "what to pin")
	c.kill()


@each(io=harness.IO)
def test_evil_s9_a_key_that_nobody_told(t, io):
	"""With tunnel.require_fingerprint no connection is made to a server of unknown key."""
	p = peer(t, flags=("--times", "99"))
	c = agent(t, f"http://127.0.0.1:{p.port}", None, io=io, tunnel_flags=["--require-fingerprint"])
	said = c.wait("tunnel_desired")
	check("tunnel.require_fingerprint" in said["error"], said["error"])
	equal(p.count("connected"), 0, "connections")
	c.kill()
	c = agent(t, f"http://127.0.0.1:{p.port}", p.ready["fingerprint"], io=io, tunnel_flags=["--require-fingerprint"])
	p.wait("answer", kind="alive")
	equal(c.count("host_key"), 0, "complaints")
	c.kill()


if __name__ == "__main__":
	harness.main()
