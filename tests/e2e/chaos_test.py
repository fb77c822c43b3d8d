#!/usr/bin/env python3
"""The other two containers at their worst while data flows at full rate: killed,
stopped, restarted without end, and fed what no honest peer says, at every door
they have; what they own is overwritten.  The tunnel loses no stream, changes no
byte and dials nothing but its server and its forwards.
SOAK=1: a minute for each backend (make soak)."""
import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import struct
import threading
import time

import harness
from bus_hostile_test import RECORD, Forger, forged
from harness import MIB, Duplex, check, each, equal, eventually, transfer
from load import SOAK, FarEcho, Flow, reset
from pod import Devplane, Pod, sum_of

SECONDS = 60 if SOAK else 6
UP = 1  # BUS_DESIRED_UP


# ---- what must not be dialled ----

class Canaries:
	"""Listeners that nobody has a reason to know; whoever comes is counted."""

	def __init__(self, t):
		self.services = [t.open(harness.Service(lambda conn: None, host=h))
				 for h in ("127.0.0.1", "127.0.0.2", "127.9.9.9", "::1")]

	def urls(self):
		for s, host in zip(self.services, ("127.0.0.1", "127.0.0.2", "127.9.9.9", "[::1]")):
			yield f"{host}:{s.port}"

	def accepted(self):
		return sum(s.accepted for s in self.services)


class Sockets:
	"""What a process has TCP sockets to, by its descriptors; each socket is looked at once."""

	def __init__(self, pid):
		self.pid, self.known = pid, set()

	def foreign(self, allowed):
		inodes = set()
		for fd in os.listdir(f"/proc/{self.pid}/fd"):
			with contextlib.suppress(OSError):
				inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(f"/proc/{self.pid}/fd/{fd}")))
		fresh, found = inodes - self.known, []
		for table in ("tcp", "tcp6") if fresh else ():
			for line in pathlib.Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
				row = line.split()
				port = int(row[2].split(":")[1], 16)
				if row[9] in fresh and port:
					self.known.add(row[9])
					if port not in allowed:
						found.append(row[2])
		return found


# ---- the control plane, seen through a front that lies ----

class Front:
	"""In front of the real control plane: hands on, answers noise instead, or hands on
	what the real one said with another tunnel server in it."""

	def __init__(self, plane, canaries):
		self.plane, self.ca, self.canaries = plane, None, list(canaries.urls())
		self.gateway_url = plane.gateway_url
		self.evil = False
		self.lies = 0
		self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
		self.api_url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
		threading.Thread(target=self._accept, daemon=True).start()

	def _accept(self):
		with contextlib.suppress(OSError):
			while True:
				conn, _ = self.listener.accept()
				threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

	def _serve(self, conn):
		with conn, contextlib.suppress(OSError):
			conn.settimeout(5)
			request = conn.recv(1 << 16)
			kind = random.choice(("noise", "cut", "status", "elsewhere", "silence", "honest")) if self.evil else "honest"
			self.lies += kind != "honest"
			if kind == "noise":
				conn.sendall(random.choice((b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"))
					     + os.urandom(random.randrange(1, 5000)))
				return
			if kind == "silence":
				time.sleep(0.3)
				return reset(conn)
			said = self._ask(request)
			if kind == "status":
				said = said.replace(b" 200 ", b" %d " % random.choice((500, 502, 503, 429)), 1)
			elif kind == "cut":
				said = said[:random.randrange(len(said) + 1)]
			elif kind == "elsewhere":
				gateway = self.plane.gateway_url.split("://", 1)[1].rstrip("/").encode()
				other = random.choice(self.canaries).encode()
				head, _, body = said.partition(b"\r\n\r\n")
				body = body.replace(gateway, other)
				said = re.sub(rb"(?i)(content-length: )\d+", rb"\g<1>%d" % len(body), head) + b"\r\n\r\n" + body
			conn.sendall(said)

	def _ask(self, request):
		with socket.create_connection(("127.0.0.1", self.plane.port), timeout=5) as real:
			real.sendall(re.sub(rb"(?i)connection: keep-alive", b"Connection: close", request))
			real.shutdown(socket.SHUT_WR)
			said = b""
			while got := real.recv(1 << 16):
				said += got
				whole = re.search(rb"(?i)content-length: (\d+)", said)
				if whole and len(said.partition(b"\r\n\r\n")[2]) >= int(whole.group(1)):
					break
			return said

	def close(self):
		self.listener.close()


# ---- what goes wrong ----

class Chaos:
	def __init__(self, t, pod, front, canaries):
		self.t, self.pod, self.front, self.canaries = t, pod, front, canaries
		self.over = threading.Event()
		self.deeds = dict.fromkeys(("kills", "stops", "requests", "records", "words", "looks"), 0)
		# Forged upon is a wish for "up".  A control that has just begun has none yet, and
		# what reads as "down" is a wish it may have.
		self.good = Forger(t.dir / "bus/control/segment").read()
		equal(self.good[1], UP, "what control wants before the chaos")

	def alive(self, victim):
		return getattr(self.pod, victim).running()

	def begin(self, victim):
		name = {"control": "control-agent", "status": "status-server"}[victim]
		setattr(self.pod, victim, self.pod._start(name))

	def killer(self):
		r = random.Random(1)
		while not self.over.wait(r.choice((0.02, 0.1, 0.4))):
			victim = r.choice(("control", "status"))
			if not self.alive(victim):
				self.begin(victim)
			elif r.random() < 0.6:
				getattr(self.pod, victim).kill()
				self.deeds["kills"] += 1
				self.begin(victim)
			else:
				program = getattr(self.pod, victim)
				program.signal(signal.SIGSTOP)
				self.over.wait(r.choice((0.05, 0.5)))
				program.signal(signal.SIGCONT)
				self.deeds["stops"] += 1

	def visitor(self):
		"""At the status server's port."""
		r = random.Random(2)
		while not self.over.wait(0.005):
			with contextlib.suppress(OSError):
				with socket.create_connection(("127.0.0.1", self.pod.status_port), timeout=1) as conn:
					conn.sendall(r.choice((b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
							       b"GET / HTTP/1.1\r\nHost: ", b"POST /x HTTP/1.1\r\nContent-Length: 99\r\n\r\n"))
						     + r.randbytes(r.randrange(2000)))
					if r.random() < 0.3:
						conn.recv(1 << 16)
				self.deeds["requests"] += 1

	def forger(self):
		"""In the segment and the credentials of whoever is control now."""
		r = random.Random(3)
		records = forged(self.good, self.canaries.services[0].port)
		while not self.over.wait(0.02):
			with contextlib.suppress(OSError, ValueError, StopIteration, struct.error):
				forger = Forger(self.t.dir / "bus/control/segment")
				for record in (next(records), self._elsewhere(r)):
					forger.publish(record)
					self.deeds["records"] += 1
				for _ in range(20):
					at = r.randrange(12288, len(forger.map) - 8) & ~7
					if not forger.off <= at < forger.off + forger.len:
						forger.map[at:at + 8] = r.randbytes(8)
						self.deeds["words"] += 1
				for cred in (self.t.dir / "handoff").glob("cred-*"):
					if r.random() < 0.02:
						cred.write_bytes(r.randbytes(40).replace(b":", b"."))

	def _elsewhere(self, r):
		"""A wish that is well formed, for a server that the operator has not named."""
		gen, op, cred, idle, n, forwards, _, print_ = self.good
		url = r.choice(("http://", "ws://")) + r.choice(list(self.canaries.urls()))
		return RECORD.pack(gen + r.randrange(1 << 40), op, cred, idle, n, forwards, url.encode(), print_)

	def watcher(self, allowed):
		"""What the tunnel has sockets to, many times a second."""
		sockets = Sockets(self.pod.tunnel.pid)
		while not self.over.wait(0.01):
			foreign = sockets.foreign(allowed)
			check(not foreign, f"the tunnel talks to {foreign}")
			self.deeds["looks"] += 1

	def run(self, seconds, allowed, *streams):
		def ends():
			try:
				time.sleep(seconds)
			finally:
				self.over.set()
		self.front.evil = True
		try:
			harness.together(ends, self.killer, self.visitor, self.forger,
					 lambda: self.watcher(allowed), *streams)
		finally:
			self.over.set()
			self.front.evil = False


@each(io=harness.IO)
def test_the_other_containers_at_their_worst(t, io):
	canaries, d, e = Canaries(t), t.open(Duplex()), FarEcho(t)
	plane = Devplane(t, {"web": d.port, "shell": e.port}, "--plain")
	front = t.open(Front(plane, canaries))
	gateway = int(re.search(r":(\d+)/?$", plane.gateway_url).group(1))
	p = Pod(t, front, {"web": d.port, "shell": e.port}, io).start()
	far = plane.ports()
	flows = [Flow(t, far["shell"]) for _ in range(2)]
	chaos, transfers = Chaos(t, p, front, canaries), []

	def repeated():
		while not chaos.over.wait(0.1):
			transfer(far["web"], d, MIB, 4 * MIB)
			transfers.append(1)
	with harness.connect(far["shell"]) as idle:
		idle.sendall(b"before")
		equal(idle.recv(100), b"before", "echo before")
		chaos.run(SECONDS, {gateway, d.port, e.port}, repeated)
		idle.sendall(b"after")
		equal(idle.recv(100), b"after", "echo on the connection that saw it all")
	echoed = sum(flow.end() for flow in flows)
	print(f"    {io}: {echoed // MIB} MiB echoed, {len(transfers)} transfers; {front.lies} lies, {chaos.deeds}", flush=True)
	recover(p)
	m = p.metrics()
	equal(sum_of(m, "pipeops_tunnel_sessions_total"), 1, "sessions")
	equal(sum_of(m, "pipeops_tunnel_connect_attempts_total"), 1, "attempts")
	equal(e.accepted(), 3, "connections at the echo")
	equal(d.accepted, len(transfers), "connections at the other service")
	equal(canaries.accepted(), 0, "connections at listeners that nobody has named")
	check(p.tunnel.count("tunnel_desired") > 3, "wishes were looked at and refused")
	check(front.lies and all(chaos.deeds.values()), f"all of it happened: {front.lies} {chaos.deeds}")


def recover(p):
	"""Both containers are good again."""
	for victim in ("control", "status"):
		getattr(p, victim).stop()
	p.start_status()
	p.start_control()
	p.control.wait("registered")
	eventually(lambda: p.metrics().get("pipeops_agent_registered") == 1, "registered again")


if __name__ == "__main__":
	harness.main()
