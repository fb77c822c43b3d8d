#!/usr/bin/env python3
"""What `make demo` shows, and what `make demo-check` checks."""
import http.server
import signal
import sys
import threading
import time
import urllib.request

sys.dont_write_bytecode = True
import harness
import pod
from harness import MIB, Duplex, check, equal, eventually, transfer

SIZE = 64 * MIB


def say(text=""):
	print(text, flush=True)


class Web:
	"""The service of the demo: a page, as some service of the cluster would."""

	def __init__(self):
		class Handler(http.server.BaseHTTPRequestHandler):
			def do_GET(self):
				body = f"Hello from behind the tunnel. You asked for {self.path}\n".encode()
				self.send_response(200)
				self.send_header("Content-Length", str(len(body)))
				self.end_headers()
				self.wfile.write(body)

			def log_message(self, *_):
				pass
		self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
		self.port = self.server.server_port
		threading.Thread(target=self.server.serve_forever, daemon=True).start()

	def close(self):
		self.server.shutdown()
		self.server.server_close()


def fetch(url):
	opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
	with opener.open(url, timeout=harness.PATIENCE) as answer:
		return answer.read().decode(errors="replace")


def start(t):
	web, bulk = t.open(Web()), t.open(Duplex())
	forwards = {"web": web.port, "bulk": bulk.port}
	plane = pod.Devplane(t, forwards)
	p = pod.Pod(t, plane, forwards)
	p.start()
	far = plane.ports()
	return p, bulk, far


def show(p, far):
	say(f"  control plane   pid {p.plane.program.pid:<7} {p.plane.api_url}")
	say(f"  tunnel gateway  same process, {p.plane.gateway_url}")
	say(f"  control-agent   pid {p.control.pid:<7} registered, heartbeats every 5 s")
	say(f"  tunnel-sidecar  pid {p.tunnel.pid:<7} connected")
	say(f"  status-server   pid {p.status.pid:<7} http://127.0.0.1:{p.status_port}/metrics  /ready  /health")
	say(f"  web service     reached through the tunnel at http://127.0.0.1:{far['web']}/")
	say(f"  bulk service    reached through the tunnel at 127.0.0.1:{far['bulk']}")
	say(f"  configuration   {p.config}")


def exercise(p, bulk, far):
	page = fetch(f"http://127.0.0.1:{far['web']}/demo")
	check("behind the tunnel" in page, f"the page: {page!r}")
	say(f"request through the tunnel: {page.strip()}")

	before = {d: p.bytes("bulk", d) for d in ("up", "down")}
	started = time.monotonic()
	failures = []

	def stream():
		try:
			transfer(far["bulk"], bulk, SIZE, SIZE)
		except Exception as e:
			failures.append(e)
	streams = [threading.Thread(target=stream) for _ in range(2)]
	for s in streams:
		s.start()
	eventually(lambda: p.bytes("bulk", "up") > before["up"], "bytes are flowing")
	say(f"kill -9 of control-agent (pid {p.control.pid}) while {2 * SIZE // MIB} MiB flow each way")
	p.control.kill()
	p.start_control()
	for s in streams:
		s.join()
	if failures:
		raise failures[0]
	took = time.monotonic() - started
	say(f"two streams, {SIZE // MIB} MiB each way at once, SHA-256 equal, {took:.1f} s"
	    f" ({4 * SIZE / MIB / took:.0f} MiB/s in all)")
	say(f"control-agent is back (pid {p.control.pid}); tunnel-sidecar never noticed"
	    f" ({p.tunnel.count('tunnel_up')} session)")
	equal(p.tunnel.count("tunnel_up"), 1, "sessions of the tunnel")

	eventually(lambda: pod.sum_of(p.metrics(), "pipeops_agent_registered") == 1, "registered again")
	headers = 2 * harness.HEADER_BYTES  # of the two streams
	for direction, more in (("up", 0), ("down", headers)):
		counted = p.bytes("bulk", direction) - before[direction]
		equal(counted, 2 * SIZE + more, f"pipeops_tunnel_bytes_total, {direction}")
	say(f"/metrics agrees with the bytes sent: {2 * SIZE} up, {2 * SIZE} and {headers} of headers down")
	equal(p.get("/ready")[0], 200, "status of /ready")
	say("/ready says 200")


def stay(p):
	say()
	say("Everything runs until Ctrl-C. Try:")
	say(f"  curl http://127.0.0.1:{p.status_port}/metrics")
	say(f"  curl http://127.0.0.1:{p.plane.ports()['web']}/hello")
	say(f"  kill -9 {p.tunnel.pid}")
	while True:
		time.sleep(1)
		for program in (p.plane.program, p.tunnel, p.control, p.status):
			if not program.running():
				say(f"{program.name} ended with {program.popen.returncode}; in a pod the kubelet would start it again")
				last = program.lines[-1] if program.lines else ""
				say(f"  its last line: {last}")
				{"tunnel-sidecar": p.start_tunnel, "control-agent": p.start_control,
				 "status-server": p.start_status}.get(program.name, end)()


def end(*_):
	raise KeyboardInterrupt


def main():
	for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
		signal.signal(number, end)
	t = harness.Case()
	code = 1
	try:
		p, bulk, far = start(t)
		say("demo: everything is up")
		show(p, far)
		say()
		exercise(p, bulk, far)
		if "--check" not in sys.argv:
			stay(p)
		code = 0
	except KeyboardInterrupt:
		say("\ndemo: stopping")
		code = 0
	except Exception as e:
		say(f"demo: {type(e).__name__}: {e}")
		for program in t.programs:
			say(f"  {program.name} (pid {program.pid}) said last:")
			for line in program.lines[-5:]:
				say(f"    {line}")
	try:
		t.close()
	except harness.Failure as e:
		say(f"demo: {e}")
		code = 1
	if "--check" in sys.argv:
		say("demo-check: passed" if code == 0 else "demo-check: FAILED")
	sys.exit(code)


main()
