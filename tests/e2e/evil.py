"""A client of ours against tests/peers/evil-peer: what the tests evil_*_test.py
share.  One run is: the peer plays its script on the first connection, the client
answers as it should, comes back, is served well, and holds no more than a client
that was served well all the time."""
import concurrent.futures
import contextlib
import json
import os
import subprocess
import threading

import harness
import leaks
from harness import MIB, Case, Echo, check, equal, eventually, free_port

PATIENCE = harness.PATIENCE
SLACK = 6 * MIB

# What a script says, as hex (RFC 4250, 4.1.2).
IGNORE, UNIMPLEMENTED, DEBUG, EXT_INFO = "0200000000", "0300000000", "04000000000000000000", "0700000000"


def u32(n):
	return f"{n & 0xffffffff:08x}"


def text(s):
	raw = s if isinstance(s, bytes) else s.encode()
	return u32(len(raw)) + raw.hex()


class Deafens(harness.Service):
	"""Echoes the first line, then reads nothing more; connections after the first are echoed."""

	def serve(self, conn):
		first = self.accepted == 1
		while got := conn.recv(1 << 16):
			conn.sendall(got)
			if first:
				self.gone.wait()

	def __init__(self):
		self.gone = threading.Event()
		super().__init__()

	def close(self):
		self.gone.set()
		super().close()


class Talks(harness.Service):
	"""Echoes the first line, sends `size` bytes after the second."""

	def __init__(self, size):
		self.size = size
		super().__init__()

	def serve(self, conn):
		conn.sendall(conn.recv(1 << 16))
		conn.recv(1 << 16)
		conn.sendall(bytes(self.size))
		while conn.recv(1 << 16):
			pass


def peer(t, *do, flags=()):
	harness.build_peers()
	p = t.start([harness.PEERS / "evil-peer", "server", *[x for d in do for x in ("--do", d)], *flags])
	p.ready = p.wait("ready")
	p.port = p.ready["port"]
	return p


def client(t, url, *services, io="auto", fingerprint=None, flags=(), log_format="json", env=None):
	"""Quick to come back."""
	remotes = [f"R:127.0.0.1:{free_port()}:127.0.0.1:{getattr(s, 'port', s)}" for s in services]
	argv = [harness.program("tunnel-sidecar"), "client", "--io", io, "--max-retry-interval", "200ms",
		"--auth", "user:canary-password-51c0", "--log-format", log_format, "-v"]
	if fingerprint:
		argv += ["--fingerprint", fingerprint]
	c = t.start([*argv, *flags, url, *remotes], env=env)
	return c


def numbers(c):
	"""The client's numbers by name and labels: {'name{a="b"}': value}."""
	got = subprocess.run([harness.program("status-server"), "dump", c.gate.path, "--json"],
			     capture_output=True, text=True, check=False)
	check(got.returncode == 0, f"dump: {got.stderr or got.stdout[-300:]}")
	return {m["name"] + (f"{{{m['labels']}}}" if m.get("labels") else ""): m.get("value")
		for m in json.loads(got.stdout)["numbers"]}


_calm = {}
_calm_lock = threading.Lock()


def calm(io, cipher=()):
	"""What a client holds that is served well (numbers of leaks.Gate, memory), once for each backend
	and cipher: OpenSSL keeps what it has fetched."""
	with _calm_lock:
		if (io, cipher) not in _calm:
			t = Case()
			with contextlib.closing(t):
				p = peer(t, flags=cipher)
				c = client(t, f"http://127.0.0.1:{p.port}", t.open(Echo()), io=io)
				equal(p.wait("answer")["kind"], "alive", "a client that is served well")
				_calm[io, cipher] = c.gate.sample(), c.rss()
				check(_calm[io, cipher][0], "the program's own numbers")
				c.kill()
	return _calm[io, cipher]


def is_calm(c, io, what, slack=SLACK, cipher=()):
	held, rss = calm(io, cipher)
	wrong = [what]

	def same():
		now = c.gate.sample()
		wrong[:] = [x for x in leaks.differences(held, now, False, {})] if now else ["no numbers"]
		return not wrong
	with contextlib.suppress(harness.Failure):
		eventually(same, "")
	check(not wrong, f"{what}: it holds {', '.join(wrong)}")
	if not harness.SHORT:
		check(c.rss() <= rss + slack, f"{what}: grew by {(c.rss() - rss) // 1024} KiB")


class Row:
	"""One script and what must come of it.

	kind    how the client takes it: alive, disconnect, ws_close, lost (it leaves, with what words matters not)
	code    of the disconnect or the close
	reason  of the failure, in the log and the counter
	glitch  kind that is counted
	"""

	def __init__(self, name, *do, kind="alive", code=None, reason=None, glitch=None, flags=(), client=(), sent=None,
		     service=Echo, services=(), extra=None, pinned=True, calm=True):
		self.name, self.do, self.kind, self.code, self.reason, self.glitch = name, do, kind, code, reason, glitch
		self.flags, self.client, self.sent, self.service, self.services = flags, client, sent, service, services
		self.extra, self.pinned, self.calm = extra, pinned, calm

		at = flags.index("--cipher") if "--cipher" in flags else len(flags)
		self.cipher = tuple(flags[at:at + 2])

	def run(self, io):
		t = Case()
		with contextlib.closing(t):
			try:
				self._run(t, io)
			except harness.Failure as e:
				last = "\n".join(p.name + ": " + "\n  ".join(x[:300] for x in p.lines[-8:]) for p in t.programs)
				raise harness.Failure(f"{self.name}: {e}\n{last}") from None
			finally:
				for p in t.programs:
					p.kill()

	def _run(self, t, io):
		calm(io, self.cipher)
		p = peer(t, *self.do, flags=self.flags)
		services = [t.open(self.service()), *[s(t) for s in self.services]]
		c = client(t, f"http://127.0.0.1:{p.port}", *services, io=io,
			   fingerprint=p.ready["fingerprint"] if self.pinned else None, flags=self.client)
		answer = p.wait("answer", evil=True, seconds=PATIENCE * 3)
		if self.kind != "lost" or answer["kind"] == "alive":
			equal(answer["kind"], self.kind, f"what the client did ({answer.get('text')})")
		if self.code is not None:
			equal(answer["code"], self.code, f"its code ({answer.get('text')})")
		check(answer["sent"] >= (self.sent or (1 if self.do else 0)), f"only {answer['sent']} were sent")
		if self.kind != "alive":
			equal(p.wait("answer", evil=False)["kind"], "alive", "the session after it")
			check(p.find("answer", evil=False), "a session after it")
			self.check_failure(c)
		if self.calm:
			is_calm(c, io, "after it", cipher=self.cipher)
		if self.extra:
			self.extra(answer, c, p)
		check(c.running(), "the client lives on")
		if self.kind == "alive":
			equal(c.count("tunnel_retry"), 0, "retries")

	def check_failure(self, c):
		retry = c.wait("tunnel_retry")
		equal(retry["reason"], self.reason, f"reason in the log ({retry['error']})")
		n = numbers(c)
		equal(n[f'pipeops_tunnel_connect_failures_total{{reason="{self.reason}"}}'], 1, "failures counted by reason")
		if self.glitch:
			check(n[f'pipeops_tunnel_peer_glitches_total{{kind="{self.glitch}"}}'] > 0, f"{self.glitch} counted")
			check(self.glitch in retry["error"] or "ws_" in self.glitch, f"which it was: {retry['error']}")


def run_rows(io, rows, at_once=4):
	"""All of them, some side by side: they wait more than they compute."""
	with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
		failed = [f.exception() for f in [pool.submit(r.run, io) for r in rows]]
	failed = [e for e in failed if e]
	if failed:
		raise harness.Failure(f"{len(failed)} of {len(rows)} rows: "
				      + "; ".join(str(e).split("\n", 1)[0] for e in failed) + "\n" + "\n".join(map(str, failed)))


def select(rows):
	"""EVIL_ROW=part of a name plays only those: for work on one row."""
	part = os.environ.get("EVIL_ROW", "")
	return [r for r in rows if part in r.name]
