#!/usr/bin/env python3
"""A control container that was taken over: whatever stands in its segment, or in the
segment's place, the tunnel that is up stays up and dials nothing it was not told to
by its own configuration."""
import json
import mmap
import os
import pathlib
import random
import re
import struct
import threading
import time

import harness
from harness import MIB, SHORT, Duplex, Echo, check, each, equal, eventually, transfer
from pod import Devplane, Pod, sum_of

TOC, ENTRY = 256, struct.Struct("<IIQQII")
SESSION, OBSERVED, REGISTRATION, DESIRED = 7, 8, 9, 10
RECORD = struct.Struct("<QQQQQ128s256s64s")  # struct bus_desired
SIZES = {SESSION: 848, OBSERVED: 304, REGISTRATION: 744, DESIRED: RECORD.size}


class Forger:
	"""Writes records into one section of a segment."""

	def __init__(self, path, section=DESIRED):
		self.size = SIZES[section]
		with open(path, "r+b") as f:
			self.map = mmap.mmap(f.fileno(), 0)
		count, = struct.unpack_from("<H", self.map, 66)
		entries = [ENTRY.unpack_from(self.map, TOC + i * ENTRY.size) for i in range(count)]
		_, self.stride, self.off, self.len, _, size = next(e for e in entries if e[0] == section)
		equal(size, self.size, "size of the record")

	def version(self):
		return struct.unpack_from("<Q", self.map, self.off)[0]

	def read(self):
		return RECORD.unpack_from(self.map, self.off + 128 + self.version() % 4 * self.stride)

	def publish(self, record):
		n = self.version() + 1
		at = self.off + 128 + n % 4 * self.stride
		self.map[at:at + self.size] = record
		struct.pack_into("<Q", self.map, self.off, n)


def forged(good, decoy):
	"""Records that must be refused, each by one thing that is wrong; without end."""
	gen, _, cred, idle, n, forwards, url, print_ = good
	url, print_ = url.rstrip(b"\0"), print_.rstrip(b"\0")
	near = [
		dict(n=33), dict(n=0), dict(n=1 << 63), dict(op=7),
		dict(forwards=struct.pack("<HH", 8000, 999)), dict(forwards=struct.pack("<HH", 8000, 65535)),
		dict(forwards=struct.pack("<HH", 0, 0)), dict(n=2, forwards=struct.pack("<HHHH", 8000, 0, 8000, 0)),
		dict(url=b"http://169.254.169.254/"), dict(url=b"ftp://127.0.0.1:%d" % decoy), dict(url=b"http://%d:x" % decoy),
		dict(url=b"https://" + b"a" * 248), dict(url=b"https://\xff\xfe"), dict(url=b"https://a\nb"), dict(url=b""),
		dict(print_=b"aa:bb:cc"), dict(print_=b"A" * 64), dict(print_=b"\x1b[31m"),
		dict(cred=gen + 1000), dict(cred=(1 << 64) - 1),
	]
	while True:
		gen += 1
		if random.random() < 0.3:
			yield struct.pack("<Q", gen) + os.urandom(RECORD.size - 8)
			continue
		f = {"op": 1, "cred": cred, "n": n, "forwards": forwards, "url": url, "print_": print_} | random.choice(near)
		yield RECORD.pack(gen, f["op"], f["cred"], idle, f["n"], f["forwards"], f["url"], f["print_"])


def in_its_place(path, kind):
	"""Something else under the segment's name."""
	path.unlink()
	if kind == "fifo":
		os.mkfifo(path)
	elif kind == "symlink":
		path.symlink_to("/etc/passwd")
	elif kind == "hole":
		with open(path, "wb") as f:
			f.truncate(1 << 40)
	elif kind == "garbage":
		path.write_bytes(b"PIPEBUS1" + os.urandom(1 << 17))


@each(io=harness.IO)
def test_forged_desired_records(t, io):
	d, e, decoy = t.open(Duplex()), t.open(Echo()), t.open(Echo())
	plane = Devplane(t, {"web": d.port, "shell": e.port})
	p = Pod(t, plane, {"web": d.port, "shell": e.port}, io).start()
	far, ending, failures = plane.ports(), threading.Event(), []
	seed = random.randrange(1 << 32)
	random.seed(seed)
	print(f"seed {seed}")

	def traffic():
		while not ending.is_set() and not failures:
			try:
				transfer(far["web"], d, MIB, MIB)
			except Exception as failure:
				failures.append(failure)
	stream = threading.Thread(target=traffic)
	with harness.connect(far["shell"]) as idle:
		stream.start()
		try:
			torment(t, p, decoy)
		finally:
			ending.set()
			stream.join()
		idle.sendall(b"still there")
		equal(idle.recv(100), b"still there", "echo on the old connection")
	check(not failures, f"traffic: {failures}")
	p.start_control()
	p.control.wait("registered")
	eventually(lambda: p.metrics().get("pipeops_agent_registered") == 1, "a good control again")
	time.sleep(1)  # the tunnel has looked at what it wants
	m = p.metrics()
	equal(sum_of(m, "pipeops_tunnel_sessions_total"), 1, "sessions")
	equal(sum_of(m, "pipeops_tunnel_connect_attempts_total"), 1, "attempts")
	equal(decoy.accepted, 0, "connections to where it must not go")
	check(p.status.running(), "the status server lives")


def forged_for_readers(p, segment, section):
	"""A record that only the status server shows: noise, and texts that never end."""
	forger, name = Forger(segment, section), segment.parent.name
	for record in (b"A" * forger.size, b"\xff" * forger.size, os.urandom(forger.size)) * 8:
		forger.publish(record)
		code, body = p.get("/api/v1/blackbox")
		equal(code, 200, f"the black box with a forged record of {name}")
		json.loads(body)
		if record[:1] == b"A":
			runs = [len(run) for run in re.findall("A{9,}", body)]
			check(runs and max(runs) < 256, f"texts end within their fields: {runs}")
		for page, good in (("/metrics", (200,)), ("/ready", (200, 503)), ("/version", (200,))):
			check(p.get(page)[0] in good, f"{page} with a forged record of {name}")
	check(p.status.running(), "the status server lives")


@each(io=harness.IO)
def test_forged_records_of_a_tunnel(t, io):
	e = t.open(Echo())
	plane = Devplane(t, {"web": e.port})
	p = Pod(t, plane, {"web": e.port}, io).start()
	p.tunnel.wait("tunnel_up")
	p.tunnel.kill()
	for section in (SESSION, OBSERVED):
		forged_for_readers(p, pathlib.Path(t.dir / "bus/tunnel/segment"), section)
	check(p.control.running(), "control, which reads them too, lives")


def torment(t, p, decoy):
	segment = pathlib.Path(t.dir / "bus/control/segment")
	p.control.kill()
	forger = Forger(segment)
	records = forged(forger.read(), decoy.port)
	end = time.monotonic() + (3 if SHORT else 8)
	late = end + harness.PATIENCE
	# On a slow machine it goes on until one more record was looked at.
	while time.monotonic() < (late if p.tunnel.count("tunnel_desired") < 2 else end):
		forger.publish(next(records))
		time.sleep(random.choice((0.001, 0.02, 0.3)))
		p.get("/metrics")
	check(p.tunnel.count("tunnel_desired") >= 2, "records were looked at and refused")
	forged_for_readers(p, segment, REGISTRATION)
	for _ in range(300):  # any word of what may change
		at = random.randrange(12288, len(forger.map) - 8) & ~7
		forger.map[at:at + 8] = os.urandom(8)
		if random.random() < 0.02:
			time.sleep(0.1)
			p.get("/api/v1/blackbox")
	for kind in ("cut", "fifo", "symlink", "hole", "garbage", "nothing"):
		if kind == "cut":
			os.truncate(segment, 8192)
		else:
			in_its_place(segment, kind)
		time.sleep(0.6)
		equal(p.get("/metrics")[0], 200, f"/metrics with {kind} for a segment")
		equal(p.get("/api/v1/blackbox")[0], 200, f"the black box with {kind} for a segment")
		check(p.tunnel.running(), f"the tunnel lives with {kind} for a segment")


if __name__ == "__main__":
	harness.main()
