"""A pod whose control plane names a server of the test's choice as the tunnel server."""
import base64
import contextlib
import http.server
import json
import pathlib
import tempfile
import threading
import types
import urllib.parse

import harness
from harness import Echo, free_port
from pod import TOKEN, configuration

PASSWORD = "canary-tunnel-password-9d21"


class ControlPlane:
	"""Registers everybody; the tunnel is always wanted."""

	def __init__(self, answer):
		plane = self
		self.seen = []

		class Handler(http.server.BaseHTTPRequestHandler):
			protocol_version = "HTTP/1.1"

			def reply(self):
				self.rfile.read(int(self.headers.get("Content-Length") or 0))
				plane.seen.append(self.path)
				code, body = 404, {}
				if self.path.endswith("/register"):
					code, body = 200, {"cluster_id": "c-1"}
				elif self.path.endswith("/heartbeat"):
					code, body = 200, {}
				elif "/tunnel/status" in self.path:
					code, body = 200, answer
				raw = json.dumps(body).encode()
				self.send_response(code)
				self.send_header("Content-Length", str(len(raw)))
				with contextlib.suppress(OSError):  # who asked has gone
					self.end_headers()
					self.wfile.write(raw)
			do_GET = do_POST = reply

			def log_message(self, *_):
				pass
		self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
		self.http.daemon_threads = True
		self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
		threading.Thread(target=self.http.serve_forever, daemon=True).start()

	def close(self):
		self.http.shutdown()
		self.http.server_close()


def agent(t, url, fingerprint, io="auto", extra="", service=None, status=False, tunnel_flags=()):
	"""tunnel-sidecar and control-agent (and the status server) told to use the server at url;
	returns the first, with the others and the folder in it."""
	folder = pathlib.Path(tempfile.mkdtemp(dir=t.dir))
	answer = {"status": "REQUIRED", "tunnel_server_addr": url, "poll_frequency": 1, "credentials":
		  base64.b64encode(f"user:{PASSWORD}".encode()).decode(), "forwards": [{"name": "web", "remote_port": 8000}]}
	if fingerprint:
		answer["server_fingerprint"] = fingerprint
	plane = t.open(ControlPlane(answer))
	place = types.SimpleNamespace(dir=folder)
	port = free_port()
	for name in ("bus", "handoff"):
		(folder / name).mkdir()
	path = configuration(place, plane.url, {"web": (service or t.open(Echo())).port}, port, io, extra=extra,
			     server_ports=urllib.parse.urlsplit(url).port)
	tunnel = t.start([harness.program("tunnel-sidecar"), "--config", path, "--log-level", "debug", *tunnel_flags])
	tunnel.control = t.start([harness.program("control-agent"), "--config", path, "--log-level", "debug"])
	tunnel.status = t.start([harness.program("status-server"), "--config", path, "--log-level", "debug"]) if status else None
	tunnel.plane, tunnel.folder, tunnel.bus, tunnel.status_port, tunnel.token = plane, folder, folder / "bus", port, TOKEN
	return tunnel
