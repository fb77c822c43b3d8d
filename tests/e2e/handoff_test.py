#!/usr/bin/env python3
"""Credentials on their way to the tunnel: a small volume, and a control plane whose wishes the
tunnel refuses one after the other."""
import base64
import http.server
import json
import os
import subprocess
import threading

import harness
from harness import Skip, check, equal, eventually
from pod import Pod


class Fickle:
	"""A control plane that wants other credentials with each answer, at a port that the tunnel
	may not use, until it comes to its senses."""

	def __init__(self):
		plane = self
		self.polls, self.sane, self.ca, self.gateway_url = 0, False, None, "https://127.0.0.1:443"

		class Handler(http.server.BaseHTTPRequestHandler):
			def answer(self, document):
				body = json.dumps(document).encode()
				self.send_response(200)
				self.send_header("Content-Length", str(len(body)))
				self.end_headers()
				self.wfile.write(body)

			def do_POST(self):
				self.rfile.read(int(self.headers.get("Content-Length", 0)))
				self.answer({"cluster_id": "u-1"})

			def do_GET(self):
				plane.polls += 1
				n = 0 if plane.sane else plane.polls
				self.answer({"status": "ready", "tunnel_url": f"https://127.0.0.1:{443 if plane.sane else 444}",
					     "server_fingerprint": "",
					     "credentials": base64.b64encode(f"u:p{n}".encode()).decode(), "poll_frequency": 1,
					     "forwards": [{"name": "web", "remote_port": 8000}]})

			def log_message(self, *_):
				pass
		self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
		threading.Thread(target=self.server.serve_forever, daemon=True).start()
		self.api_url = f"http://127.0.0.1:{self.server.server_port}"

	def close(self):
		self.server.shutdown()
		self.server.server_close()


def test_refused_wishes_do_not_fill_the_volume(t):
	"""The volume has room for four files; the agent is restarted in the middle."""
	if os.getuid() != 0:
		raise Skip("a small volume needs root")
	plane = t.open(Fickle())
	p = Pod(t, plane, {"web": 1})
	volume = t.dir / "handoff"
	if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", volume], capture_output=True,
			  check=False).returncode:
		raise Skip("no mount of a tmpfs here")
	try:
		p.start_tunnel()
		p.start_control()
		eventually(lambda: p.control.count("tunnel_answer") >= 6, "six wishes are passed on")
		check(len(list(volume.iterdir())) <= 4, f"files: {list(volume.iterdir())}")
		refused = p.control.wait("wish_refused")
		check("444" in refused["error"], f"the agent says what the tunnel says: {refused}")
		equal(p.control.stop(), 0, "exit code")
		p.start_control()
		eventually(lambda: p.control.count("tunnel_answer") >= 6, "six more")
		plane.sane = True
		wanted = eventually(lambda: next((e for e in p.tunnel.events if e.get("event") == "tunnel_desired" and
						  "taken" in e.get("msg", e.get("message", ""))), None), "the good wish is taken", 30)
		check(wanted["generation"] > 0, f"its generation: {wanted}")
		equal(p.control.count("handoff_failed"), 0, "handoff_failed")
		for program in (p.control, p.tunnel):
			program.stop()
	finally:
		subprocess.run(["umount", "-l", volume], check=False)


if __name__ == "__main__":
	harness.main()
