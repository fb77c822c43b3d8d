"""What every end-to-end test stands on: programs, ports, services, checks.

A test file is a script.  Its functions test_* are the tests; a function takes
one argument, the Case, which owns every program, service and folder that the
test opens and closes all of them at its end, by pid.  @each repeats a test.

	def test_bytes_arrive(t):
	    ...
	if __name__ == "__main__":
	    harness.main()

BIN names the folder of the programs (default build/release/bin), IO the loop
backends ("epoll uring"), E2E_SHORT=1 makes the passes short (sanitizers).
"""
import contextlib
import functools
import hashlib
import inspect
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import leaks

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BIN", ROOT / "build/release/bin")).resolve()
PEERS = ROOT / "build/peers"
# sshd lives outside a user's PATH; scripts/deps may have unpacked it and promtool.
os.environ["PATH"] += "".join(f":{d}" for d in ("/usr/sbin", "/sbin", PEERS / "root/usr/bin", PEERS / "root/usr/sbin"))
IO = os.environ.get("IO", "epoll uring").split()
SHORT = os.environ.get("E2E_SHORT") == "1"
PATIENCE = 45 if SHORT else 20  # seconds until something awaited is given up
MIB = 1 << 20


class Skip(Exception):
	"""This test cannot run here; the text says why."""


class Failure(AssertionError):
	"""A check that did not hold."""


def check(truth, text):
	if not truth:
		raise Failure(text)


def equal(got, want, what):
	check(got == want, f"got {got!r}, want {want!r}: {what}")


def eventually(look, what, seconds=None):
	"""Calls look() until it gives something true, and returns that."""
	end = time.monotonic() + (seconds or PATIENCE)
	while True:
		seen = look()
		if seen:
			return seen
		if time.monotonic() > end:
			raise Failure(f"never came: {what}")
		time.sleep(0.02)


def free_port():
	"""A port nobody listens on now, below the range that connects draw from:
	an outgoing connection of another program cannot take it meanwhile."""
	for port in itertools.islice(_ports, 200):
		with socket.socket() as s:
			try:
				s.bind(("0.0.0.0", port))
				return port
			except OSError:
				continue
	raise Failure("no free port")


# A test file that runs beside another has a range of its own (tests/e2e/run).
_slot = int(os.environ.get("E2E_SLOT", "0"))
_first, _width = 12000 + _slot * 6500, 6500
_begin = _first + os.getpid() * 37 % _width
_ports = itertools.cycle([*range(_begin, _first + _width), *range(_first, _begin)])


_text_line = re.compile(r"^\S+Z (?:DEBUG|INFO|WARN|ERROR) +(\w+) (.*)")


def read_event(line):
	"""A log line in either form, JSON or text, as a dict with its "event"."""
	if line.startswith("{"):
		with contextlib.suppress(ValueError):
			return json.loads(line)
	found = _text_line.match(line)
	if not found:
		return None
	pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', found.group(2))
	return {"event": found.group(1), **{k: v.strip('"') for k, v in pairs}}


class Program:
	"""A child process; its log lines are events, by arrival."""

	def __init__(self, argv, name=None, env=None, cwd=None):
		self.name = name or pathlib.Path(str(argv[0])).name
		self.lines, self.events = [], []
		self.gate = None  # of a tunnel: leaks.Gate
		self.news = threading.Condition()
		self.popen = subprocess.Popen(
			[str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
			stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, cwd=cwd,
			text=True, errors="replace")
		self.pid, self.born = self.popen.pid, time.monotonic()
		self.readers = [threading.Thread(target=self._read, args=(f,), daemon=True)
				for f in (self.popen.stdout, self.popen.stderr)]
		for r in self.readers:
			r.start()

	def _read(self, stream):
		for line in stream:
			line = line.rstrip("\n")
			event = read_event(line)
			with self.news:
				self.lines.append(line)
				if event:
					self.events.append(event)
				self.news.notify_all()

	def running(self):
		return self.popen.poll() is None

	def find(self, event, since=0, **fields):
		for e in self.events[since:]:
			if e.get("event") == event and all(e.get(k) == v for k, v in fields.items()):
				return e
		return None

	def mark(self):
		"""A place in the row of events, for wait(since=…)."""
		with self.news:
			return len(self.events)

	def wait(self, event, seconds=None, since=0, **fields):
		end = time.monotonic() + (seconds or PATIENCE)
		with self.news:
			while True:
				found = self.find(event, since, **fields)
				if found:
					break
				left = end - time.monotonic()
				if left <= 0:
					raise Failure(f"{self.name} never said {event} {fields or ''}")
				if not self.running() and not any(r.is_alive() for r in self.readers):
					raise Failure(f"{self.name} ended with {self.popen.returncode}"
						      f" and never said {event} {fields or ''}")
				self.news.wait(min(left, 0.1))
		if event == "tunnel_up" and self.gate:
			self.gate.settle()
		return found

	def count(self, event):
		with self.news:
			return sum(e.get("event") == event for e in self.events)

	def text(self):
		with self.news:
			return "\n".join(self.lines)

	def exit_code(self, seconds=None):
		"""Waits for the end it comes to by itself."""
		try:
			code = self.popen.wait(seconds or PATIENCE)
		except subprocess.TimeoutExpired:
			raise Failure(f"{self.name} did not end") from None
		for r in self.readers:
			r.join(5)
		return code

	def signal(self, number):
		if self.running():
			self.popen.send_signal(number)

	def kill(self):
		self.signal(signal.SIGKILL)
		self.popen.wait()

	def stop(self, seconds=10):
		"""SIGTERM, then SIGKILL; returns the exit code."""
		self.signal(signal.SIGCONT)  # first: later it undoes the stop that a leak sanitizer waits for
		self.signal(signal.SIGTERM)
		try:
			self.popen.wait(seconds)
		except subprocess.TimeoutExpired:
			self.kill()
		for r in self.readers:
			r.join(5)
		return self.popen.returncode

	def fds(self):
		return len(os.listdir(f"/proc/{self.pid}/fd"))

	def rss(self):
		text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
		return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M).group(1)) * 1024


SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|^panic|assert)", re.M)


class Case:
	"""One run of one test: what it opened, closed in reverse order."""

	def __init__(self):
		self.stack, self.programs, self.services = contextlib.ExitStack(), [], []
		self.dir = pathlib.Path(tempfile.mkdtemp(prefix="e2e-"))
		self.stack.callback(shutil.rmtree, self.dir, ignore_errors=True)

	def start(self, argv, **options):
		argv, segment = self._publishing(argv)
		p = Program(argv, **options)
		if segment:
			p.gate = leaks.Gate(p, segment)
		self.programs.append(p)
		self.stack.callback(p.stop)
		return p

	def _publishing(self, argv):
		"""The command line, with a bus for a client that has none; the segment of a tunnel."""
		argv = [str(a) for a in argv]
		if pathlib.Path(argv[0]).name != "tunnel-sidecar":
			return argv, None
		if argv[1:2] != ["client"]:
			return argv, self.dir / "bus/tunnel/segment"
		folder = pathlib.Path(tempfile.mkdtemp(prefix="client-bus-", dir=self.dir))
		return [*argv[:2], "--bus-dir", str(folder), *argv[2:]], folder / "tunnel/segment"

	def open(self, service):
		self.stack.callback(service.close)
		self.services.append(service)
		return service

	def check_leaks(self):
		"""The services end their streams, then each tunnel must hold what it held when it came up."""
		for service in self.services:
			service.close()
		for p in self.programs:
			complaint = p.gate and p.gate.complaint()
			check(not complaint, complaint)

	def close(self):
		self.stack.close()
		for p in self.programs:
			found = SANITIZER.search(p.text())
			if found and not p.name.startswith("chisel"):
				raise Failure(f"{p.name} (pid {p.pid}) reported: {found.group(0)}")


# Services behind the tunnel, and the connections that use them from its far end.

_block = hashlib.shake_256(b"e2e").digest(256 * 1024)
_header = struct.Struct("!QQQ?")


def _chunks(size, flavour):
	"""size bytes that differ by flavour and by place."""
	sent = 0
	while sent < size:
		n = min(len(_block), size - sent)
		mark = struct.pack("!QQ", flavour, sent)
		yield (mark + _block)[:n]
		sent += n


def _send(conn, size, flavour):
	digest = hashlib.sha256()
	for chunk in _chunks(size, flavour):
		conn.sendall(chunk)
		digest.update(chunk)
	return digest.hexdigest()


def _recv_exactly(conn, size):
	parts = []
	while size:
		got = conn.recv(min(size, 1 << 18))
		if not got:
			raise ConnectionError(f"closed with {size} bytes to come")
		parts.append(got)
		size -= len(got)
	return b"".join(parts)


def _recv_digest(conn, size):
	digest = hashlib.sha256()
	while size:
		got = conn.recv(min(size, 1 << 18))
		if not got:
			raise ConnectionError(f"closed with {size} bytes to come")
		digest.update(got)
		size -= len(got)
	return digest.hexdigest()


class Service:
	"""A TCP service on loopback, one thread per connection."""

	def __init__(self, serve=None, host="127.0.0.1"):
		self.serve = serve or self.serve
		family = socket.AF_INET6 if ":" in host else socket.AF_INET
		self.listener = socket.socket(family)
		self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		self.listener.bind((host, 0))
		self.listener.listen(512)
		self.port = self.listener.getsockname()[1]
		self.accepted = 0
		self.connections = set()
		self.errors = []
		threading.Thread(target=self._accept, daemon=True).start()

	def _accept(self):
		while True:
			try:
				conn, _ = self.listener.accept()
			except OSError:
				return
			self.accepted += 1
			self.connections.add(conn)
			threading.Thread(target=self._run, args=(conn,), daemon=True).start()

	def _run(self, conn):
		try:
			self.serve(conn)
		except (OSError, struct.error) as e:
			self.errors.append(e)
		finally:
			self.connections.discard(conn)
			conn.close()

	def close(self):
		self.listener.close()
		for c in list(self.connections):
			with contextlib.suppress(OSError):
				c.shutdown(socket.SHUT_RDWR)


class Echo(Service):
	def serve(self, conn):
		while got := conn.recv(1 << 16):
			conn.sendall(got)
		conn.shutdown(socket.SHUT_WR)


class Duplex(Service):
	"""Sends and receives at once, by the counts in the first bytes; keeps the
	digest of what came for transfer() to compare."""

	def __init__(self, **options):
		self.received, self.sent = {}, {}
		self.news = threading.Condition()
		super().__init__(**options)

	def serve(self, conn):
		flavour, down, up, half = _header.unpack(_recv_exactly(conn, _header.size))
		sent = {}

		def send():
			with contextlib.suppress(OSError):  # the other end compares and tells
				sent["sha"] = _send(conn, up, flavour + 1)
		sender = threading.Thread(target=send)
		sender.start()
		got = _recv_digest(conn, down)
		ended = not half or conn.recv(1) == b""
		sender.join()
		with self.news:
			self.received[flavour] = got if ended else "bytes after the end"
			self.sent[flavour] = sent.get("sha")
			self.news.notify_all()
		if half:
			conn.shutdown(socket.SHUT_WR)
		else:
			conn.recv(1)  # the other end closes


_flavours = itertools.count(10, 2)


def connect(port, seconds=None, host="127.0.0.1"):
	conn = socket.create_connection((host, port), timeout=seconds or PATIENCE * 3)
	conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
	return conn


def transfer(port, duplex, down, up, half=True, before_close=None):
	"""down bytes to the service and up bytes back at once, compared by SHA-256.
	With half the sender closes its direction first, and the rest still comes;
	without, nothing is closed until both directions are complete."""
	flavour = next(_flavours)
	with connect(port) as conn:
		conn.sendall(_header.pack(flavour, down, up, half))
		result = {}

		def send():
			try:
				result["sent"] = _send(conn, down, flavour)
				if half:
					conn.shutdown(socket.SHUT_WR)
			except OSError as e:
				result["error"] = e
		sender = threading.Thread(target=send)
		sender.start()
		got = _recv_digest(conn, up)
		ended = not half or conn.recv(1) == b""
		sender.join()
		check("error" not in result, f"sending: {result.get('error')}")
		check(ended, "bytes after the end")
		with duplex.news:
			check(duplex.news.wait_for(lambda: flavour in duplex.received, PATIENCE),
			      "the service never got all bytes")
			equal(duplex.received[flavour], result["sent"], "SHA-256 of bytes down")
			equal(got, duplex.sent[flavour], "SHA-256 of bytes up")
		if before_close:
			before_close()


def together(*calls):
	"""Runs the calls at once; the first failure of any is raised."""
	failures = []

	def run(call):
		try:
			call()
		except Exception as e:
			failures.append(e)
	threads = [threading.Thread(target=run, args=(c,)) for c in calls]
	for th in threads:
		th.start()
	for th in threads:
		th.join()
	if failures:
		raise failures[0]


def echo_once(port, text=b"hello through the tunnel", host="127.0.0.1"):
	with connect(port, PATIENCE, host) as conn:
		conn.sendall(text)
		equal(_recv_exactly(conn, len(text)), text, "echo")


def works(port):
	"""Whether an echo comes back now."""
	with contextlib.suppress(OSError, Failure):
		echo_once(port)
		return True
	return False


class LeakGate:
	"""Descriptors back to the count at the start, memory within a bound."""

	def __init__(self, program, slack_mib=16):
		self.program, self.slack = program, slack_mib * MIB
		self.fds, self.rss = program.fds(), program.rss()

	def close(self):
		eventually(lambda: self.program.fds() <= self.fds,
			   f"{self.program.name} back at {self.fds} descriptors (now {self.program.fds()})")
		if not SHORT:  # a sanitizer keeps freed memory
			grown = self.program.rss() - self.rss
			check(grown <= self.slack, f"{self.program.name} grew by {grown // 1024} KiB")


def run(argv, seconds=None, **options):
	"""Runs a program to its end: (exit code, all it printed)."""
	p = Program(argv, **options)
	try:
		return p.exit_code(seconds), p.text()
	finally:
		p.kill()


def openssl(*argv, cwd):
	got = subprocess.run(["openssl", *argv], cwd=cwd, capture_output=True, text=True, check=False)
	check(got.returncode == 0, f"openssl {argv[0]}: {got.stderr}")


class Certificates:
	"""A CA made on the spot and a server certificate for loopback names."""

	def __init__(self, folder, name="ca", hosts="DNS:localhost,IP:127.0.0.1,IP:::1"):
		self.ca, ca_key = folder / f"{name}.pem", folder / f"{name}.key"
		self.cert, self.key = folder / f"{name}-server.pem", folder / f"{name}-server.key"
		request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
		ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
		openssl("req", "-x509", *ec, "-keyout", ca_key, "-out", self.ca, "-days", "2",
			"-subj", f"/CN=e2e {name}", cwd=folder)
		openssl("req", *ec, "-keyout", self.key, "-out", request, "-subj", "/CN=e2e server", cwd=folder)
		extra.write_text(f"subjectAltName={hosts}\n")
		openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial",
			"-out", self.cert, "-days", "2", "-extfile", extra, cwd=folder)


def program(name):
	path = BIN / name
	check(path.exists(), f"{path} is not built")
	return path


def chisel_peer():
	build_peers()
	return PEERS / "chisel-peer"


@functools.cache
def build_peers():
	"""Builds the Go peers; raises Failure with the reason."""
	PEERS.mkdir(parents=True, exist_ok=True)
	for name in ("chisel-peer", "evil-peer"):
		got = subprocess.run([ROOT / "scripts/go", "build", "-o", PEERS / name, f"./{name}"],
				     cwd=ROOT / "tests/peers", capture_output=True, text=True, check=False)
		check(got.returncode == 0, f"the Go peer does not build: {got.stderr.strip()[-400:]}")


# Running a file.

def each(**rows):
	"""Repeats a test for every combination of the values given."""
	def wrap(test):
		test.rows = [dict(zip(rows, values)) for values in itertools.product(*rows.values())]
		return test
	return wrap


def main():
	"""Runs the tests of the script that calls it: one line for each, and
	exit code 1 when one failed.  Arguments select tests by part of the name."""
	# Only tests touch these; a child must not meet the proxy of this machine.
	for v in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
		os.environ.pop(v, None)
		os.environ.pop(v.upper(), None)
	module = sys.modules["__main__"]
	failed = passed = 0
	for name, test in list(vars(module).items()):
		if not name.startswith("test_") or not inspect.isfunction(test):
			continue
		for row in getattr(test, "rows", [{}]):
			label = name[5:] + (f"[{' '.join(map(_word, row.values()))}]" if row else "")
			if len(sys.argv) > 1 and not any(a in label for a in sys.argv[1:]):
				continue
			if failed - passed >= 12:
				print("FAILED the rest: not run, nearly everything before failed")
				sys.exit(1)
			good = _run_one(label, test, row)
			passed, failed = passed + good, failed + (not good)
	sys.exit(1 if failed else 0)


def _word(value):
	text = str(value)
	return text if text.isprintable() else repr(text)


def _run_one(label, test, row):
	case, started = Case(), time.monotonic()
	try:
		try:
			test(case, **row)
			case.check_leaks()
		finally:
			case.close()
	except Skip as e:
		print(f"skipped {label}: {e}", flush=True)
		return True
	except Exception as e:
		reason = str(e).split("\n", 1)[0] if isinstance(e, Failure) else f"{type(e).__name__}: {e}"
		print(f"FAILED {label}: {reason}", flush=True)
		if not isinstance(e, Failure):
			print(_indent(traceback.format_exc()))
		else:
			print(_indent("".join(traceback.format_tb(e.__traceback__)[-3:])))
		for p in case.programs:
			print(_indent(f"--- {p.name} (pid {p.pid}, exit {p.popen.poll()}) said last:\n"
				      + "\n".join(p.lines[-25:])), flush=True)
		return False
	print(f"ok {label} ({time.monotonic() - started:.1f} s)", flush=True)
	return True


def _indent(text):
	return "\n".join("    " + line for line in text.splitlines())
