#!/usr/bin/env python3
"""What a hostile server may do with WebSocket frames and the upgrade (docs/limits.md)."""
import base64
import functools
import hashlib
import os
import struct

import harness
from evil import Row, Talks, client, peer, run_rows, select
from harness import MIB, Echo, check, each, equal

FLOOD = int(os.environ.get("EVIL_FLOOD", "1000000" if not harness.SHORT else "100000"))
BROKEN = {"kind": "ws_close", "code": 1002, "reason": "protocol"}
TOO_BIG = {"kind": "ws_close", "code": 1009, "reason": "limit"}


def frame(op, payload=b"", fin=True, rsv=0, masked=False, size=None):
	"""A frame as hex; size says another length than the payload's."""
	n = len(payload) if size is None else size
	head = bytes([(0x80 if fin else 0) | rsv << 4 | op])
	mask = 0x80 if masked else 0
	head += bytes([mask | n]) if n < 126 else bytes([mask | 126]) + struct.pack("!H", n) if n < 1 << 16 else \
		bytes([mask | 127]) + struct.pack("!Q", n)
	return (head + (b"\x01\x02\x03\x04" if masked else b"") + payload).hex()


# W1: frames (RFC 6455, 5).

def w1_rows():
	bad = {
		"masked": frame(2, b"x", masked=True), "masked and empty": frame(9, masked=True),
		"rsv1": frame(2, b"x", rsv=4), "rsv2": frame(2, b"x", rsv=2), "rsv3": frame(2, b"x", rsv=1), "all rsv": frame(9, rsv=7),
		**{f"opcode {op}": frame(op) for op in (3, 4, 7, 11, 12, 15)},
		"a ping of 126 bytes": frame(9, b"x" * 126), "a close of 126 bytes": frame(8, b"\x03\xe8" + b"x" * 124),
		"a ping in pieces": frame(9, fin=False), "a close in pieces": frame(8, fin=False),
		"continuation of nothing": frame(0, b"x"), "its end": frame(0, b"x", fin=False),
		"a message within another": frame(2, b"", fin=False) + frame(2, b"x"),
		"5 bytes in 16 bits": "827e0005" + "00" * 5, "5 bytes in 64 bits": "827f" + "00" * 7 + "05" + "00" * 5,
		"65535 in 64 bits": "827f" + f"{65535:016x}", "length 2^63": "827f8000000000000000", "length 2^64-1": "827f" + "ff" * 8,
		"half a close code": frame(8, b"\x03"), "close 1004": frame(8, struct.pack("!H", 1004)),
		"close 999": frame(8, struct.pack("!H", 999)), "close 1005": frame(8, struct.pack("!H", 1005)),
		"close 2999": frame(8, struct.pack("!H", 2999)), "close 5000": frame(8, struct.pack("!H", 5000)),
		"close of no UTF-8": frame(8, b"\x03\xe8\xff\xfe"), "close of a surrogate": frame(8, b"\x03\xe8\xed\xa0\x80"),
	}
	rows = [Row(name, f"up:frame={wire}", **BROKEN) for name, wire in bad.items()]
	rows += [Row(f"early: {name}", f"ws:frame={bad[name]}", **BROKEN) for name in ("masked", "rsv1", "opcode 3")]
	return rows + [
		Row("a text message", "up:frame=" + frame(1, b"hello"), kind="ws_close", code=1003, reason="protocol"),
		Row("a ping between", "up:frame=" + frame(9, b"hello"), extra=lambda a, c, p: equal(a["pongs"], 1, "pongs")),
		Row("a ping of 125 bytes", "up:frame=" + frame(9, b"x" * 125)),
		Row("an unasked pong", "up:frame=" + frame(10, b"x")),
		Row("an empty end of a message", "up:frame=" + frame(2, b"", fin=False) + frame(9) + frame(0)),
		Row("close with a reason", "up:frame=" + frame(8, b"\x03\xe8bye"), kind="ws_close", code=1000, reason="closed"),
		Row("close without", "up:frame=" + frame(8), kind="ws_close", code=1005, reason="closed"),
		Row("close, then more", "up:frame=" + frame(8) + frame(9) * 1000, kind="ws_close", code=1005, reason="closed"),
	]


@each(io=harness.IO)
def test_evil_w1_frames(t, io):
	run_rows(io, select(w1_rows()))


MASKS = 100_000


@each(io=harness.IO)
def test_evil_w1_masks(t, io):
	"""1e5 frames, a key of its own for each: 1.2 pairs that are the same are to be expected of
	32 random bits, 15 come once in 10^12 runs."""
	def extra(answer, c, p):
		frames, keys = answer["frames"], answer["keys"]
		equal(answer["bare"], 0, "frames without a mask")
		check(frames >= MASKS, f"only {frames} frames")
		check(frames - keys <= 15, f"{keys} keys in {frames} frames")
	Row("masks", "up:data=1", f"up:upload={MASKS * 256}", flags=("--packet", "256", "--echo=false"), service=functools.partial(Talks, MASKS * 256),
	    extra=extra).run(io)


# W2: lengths.

def w2_rows():
	return [
		Row("2^63-1", "up:frame=827f7fffffffffffffff", **TOO_BIG),
		Row("2^32", "up:frame=827f0000000100000000", **TOO_BIG),
		Row("2^40", "up:frame=827f0000010000000000", **TOO_BIG),
		Row("1 MiB and a byte", "up:frame=827f" + f"{MIB + 1:016x}", **TOO_BIG),
		Row("early: 2^63-1", "ws:frame=827f7fffffffffffffff", **TOO_BIG),
		Row("a head that drips in", "up:drip=" + frame(9, b"drip") + frame(2, b"", fin=False) + frame(0)),
		Row("a message without end", "up:frame=" + frame(2, b"", fin=False), "up:frame=" + frame(0, b"", fin=False) + f"*{FLOOD}",
		    glitch="ws_empty_frame", **TOO_BIG),
	]


@each(io=harness.IO)
def test_evil_w2_lengths(t, io):
	run_rows(io, select(w2_rows()))


# W3: control frames.

def w3_rows():
	return [
		Row("200 pings", "up:frame=" + frame(9, b"x") + "*200", extra=lambda a, c, p: check(1 <= a["pongs"] <= 200, f"{a}")),
		Row("endless pings", "up:frame=" + frame(9, b"x") + f"*{FLOOD}", glitch="ws_control_frame", **TOO_BIG),
		Row("endless long pings", "up:frame=" + frame(9, b"x" * 125) + f"*{FLOOD // 10}", glitch="ws_control_frame", **TOO_BIG),
		Row("endless pongs", "up:frame=" + frame(10) + f"*{FLOOD}", glitch="ws_control_frame", **TOO_BIG),
		Row("endless empty messages", "up:frame=" + frame(2) + f"*{FLOOD}", glitch="ws_empty_frame", **TOO_BIG),
		Row("early: endless pings", "ws:frame=" + frame(9) + f"*{FLOOD}", glitch="ws_control_frame", **TOO_BIG),
		Row("endless pings, nothing read", "up:frame=" + frame(9, b"x") + f"*{FLOOD}", kind="lost", reason="limit",
		    flags=("--deaf", "--patience", "3s")),
	]


@each(io=harness.IO)
def test_evil_w3_control_frames(t, io):
	run_rows(io, select(w3_rows()))


# W4: the upgrade.

GOOD = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}"]


def answer(*more, first=GOOD[0], without=None):
	lines = [first, *[x for x in GOOD[1:] if not (without and x.startswith(without))], *more]
	return "\r\n".join(lines) + "\r\n\r\n"


def w4_rows():
	def row(name, wire, reason="protocol"):
		return Row(name, kind="lost", reason=reason, flags=("--upgrade", wire, "--patience", "1s"))
	good = [Row("without a subprotocol", flags=("--upgrade", answer())),
		Row("chisel's subprotocol", flags=("--upgrade", answer("Sec-WebSocket-Protocol: chisel-v3"))),
		Row("any case", flags=("--upgrade", answer().replace("websocket", "WebSocket").replace("Upgrade:", "UPGRADE:"))),
		Row("1xx before", flags=("--upgrade", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 8 + answer())),
		Row("a head of 15 KiB", flags=("--upgrade", answer("X: " + "x" * 15000)))]
	return good + [
		row("200", answer(first="HTTP/1.1 200 OK"), "refused"), row("403", answer(first="HTTP/1.1 403 No"), "refused"),
		row("404", answer(first="HTTP/1.1 404 Not Found"), "refused"), row("426", answer(first="HTTP/1.1 426 Up"), "refused"),
		row("500", answer(first="HTTP/1.1 500 Oh"), "refused"), row("100 without end", "HTTP/1.1 100 Go\r\n\r\n" * 99, "limit"),
		row("HTTP/1.0", answer(first="HTTP/1.0 101 Old")), row("HTTP/2.0", answer(first="HTTP/2.0 101 New")),
		row("no Upgrade", answer(without="Upgrade")), row("no Connection", answer(without="Connection")),
		row("no Accept", answer(without="Sec-WebSocket-Accept")),
		row("another Accept", answer("Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(b"").digest()).decode(), without="Sec-")),
		row("two Accepts", answer("Sec-WebSocket-Accept: {accept}")), row("Accept with a tail", answer().replace("{accept}", "{accept}x")),
		row("upgrade to h2c", answer().replace("websocket", "h2c")),
		row("an extension", answer("Sec-WebSocket-Extensions: permessage-deflate")),
		row("an empty extension", answer("Sec-WebSocket-Extensions: ")),
		row("another subprotocol", answer("Sec-WebSocket-Protocol: chisel-v2")),
		row("two subprotocols", answer("Sec-WebSocket-Protocol: chisel-v3, chat")),
		row("subprotocol twice", answer("Sec-WebSocket-Protocol: chisel-v3", "Sec-WebSocket-Protocol: chisel-v3")),
		row("a body", answer("Content-Length: 5") + "hello"), row("a chunked body", answer("Transfer-Encoding: chunked")),
		row("a head of 17 KiB", answer("X: " + "x" * 17000), "limit"), row("100 fields", answer(*["X: y"] * 100), "limit"),
		row("a folded field", answer("X: a\r\n b")), row("a space before the colon", answer("X : y")),
		row("a NUL", answer("X: a{nul}b")), row("bare LF", answer().replace("\r\n", "\n")), row("bare CR", answer("X: a\rb")),
		row("no HTTP", "SSH-2.0-OpenSSH_9\r\n\r\n"), row("noise", "\x01\x02\x03" * 100 + "\r\n\r\n"),
	]


@each(io=harness.IO)
def test_evil_w4_upgrade(t, io):
	run_rows(io, select(w4_rows()))


@each(to=["http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "/elsewhere"])
def test_evil_w4_redirects_are_not_followed(t, to):
	"""Neither to another origin nor on the same: with them would go what is in the headers."""
	other = t.open(Echo())
	p = peer(t, flags=("--upgrade", f"HTTP/1.1 302 Found\r\nLocation: {to.format(port=other.port)}\r\n\r\n"))
	c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()), flags=["--header", "Authorization: Bearer canary-header"])
	retry = c.wait("tunnel_retry")
	equal(retry["reason"], "refused", "reason")
	check("redirects are not followed" in retry["error"], retry["error"])
	equal(p.wait("answer", evil=False)["kind"], "alive", "the session after it")
	equal(other.accepted, 0, "connections at the place it points to")
	check("canary-header" not in c.text(), "the header in the log")
	c.kill()


if __name__ == "__main__":
	harness.main()
