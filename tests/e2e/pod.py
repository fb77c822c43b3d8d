"""A whole pod on this machine: the development control plane (tests/devplane),
the three programs with one configuration, and what they say of themselves."""
import http.client
import json
import re
import ssl
import urllib.parse

import harness
import leaks
from harness import equal, eventually, free_port

TOKEN = "canary-token-7f3a9c"


def configuration(t, api_url, forwards, status_port, io="auto", ca=None, inactivity="5m", server_ports="443,80",
		  extra=""):
	"""Writes the YAML that all three programs read; returns its path."""
	rows = "".join(f"    - name: {name}\n      local_addr: 127.0.0.1:{port}\n      remote_port: 0\n"
		       for name, port in forwards.items())
	ca_line = f"    ca_file: {ca}\n" if ca else ""
	path = t.dir / "config.yaml"
	path.write_text(f"""\
agent:
  cluster_name: e2e
  state_file: {t.dir}/state.yaml
pipeops:
  api_url: {api_url}
  token: {TOKEN}
  timeout: 5s
  reconnect:
    interval: 500ms
    backoff: 1s
  tls:
    enabled: {'true' if ca else 'false'}
{ca_line}tunnel:
  enabled: true
  io: {io}
  inactivity_timeout: {inactivity}
  drain_timeout: 2s
  server_ports: "{server_ports}"
  forwards:
{rows}kubernetes:
  in_cluster: false
status:
  bind: 127.0.0.1
  port: {status_port}
bus:
  dir: {t.dir}/bus
  handoff_dir: {t.dir}/handoff
{extra}""")
	return path


class Devplane:
	"""tests/devplane: registration, heartbeats, tunnel status, gateway."""

	def __init__(self, t, forwards=(), *flags):
		folder = t.dir / "plane"
		self.program = t.start([harness.program("devplane"), "--dir", folder, "--token", TOKEN,
					"--forwards", ",".join(forwards) or "none", *flags])
		ready = eventually(lambda: next((e for e in self.program.events if "gateway_url" in e), None),
				   "devplane is ready")
		self.api_url, self.gateway_url, self.fingerprint = ready["url"], ready["gateway_url"], ready["fingerprint"]
		self.auth = f"{ready['user']}:{ready['password']}"
		self.ca = None if "--plain" in flags else ready["ca_file"]
		self.port = ready["port"]

	def ask(self, path, method="GET", body=b""):
		"""One of devplane's own requests (plane.h); its answer as JSON, if any."""
		if self.ca:
			conn = http.client.HTTPSConnection("localhost", self.port, timeout=harness.PATIENCE,
							   context=ssl.create_default_context(cafile=self.ca))
		else:
			conn = http.client.HTTPConnection("localhost", self.port, timeout=harness.PATIENCE)
		try:
			conn.request(method, path, body)
			text = conn.getresponse().read()
			return json.loads(text) if text else None
		finally:
			conn.close()

	def state(self):
		return self.ask("/dev/state")

	def ports(self):
		"""Far ports by name of the forward."""
		return eventually(lambda: self.state().get("ports"), "ports are allocated")


class Pod:
	"""The three programs of one pod, each started by itself; with plane None there is
	no control plane, and only the status server has something to do."""

	def __init__(self, t, plane, forwards, io="auto", **options):
		self.t, self.plane, self.io = t, plane, io
		self.status_port, self.environment = free_port(), {}
		for folder in ("bus", "handoff"):
			(t.dir / folder).mkdir(exist_ok=True)
		# The gateway's port is one of this machine's free ones, no tunnel server's.
		if plane:
			options.setdefault("server_ports", urllib.parse.urlsplit(plane.gateway_url).port)
			options.setdefault("ca", plane.ca)
		api_url = plane.api_url if plane else "http://127.0.0.1:1"
		self.config = configuration(t, api_url, forwards, self.status_port, io, **options)

	def _start(self, name):
		return self.t.start([harness.program(name), "--config", self.config], env=self.environment)

	def start(self):
		self.start_status()
		self.start_tunnel()
		self.start_control()
		self.tunnel.wait("tunnel_up")
		self.control.gate.settle()
		self.status.gate.settle()
		return self

	def start_tunnel(self):
		self.tunnel = self._start("tunnel-sidecar")

	def start_control(self):
		self.control = self._start("control-agent")
		self.control.gate = leaks.ControlGate(self.control, self.t.dir / "bus/control/segment")

	def start_status(self):
		self.status = self._start("status-server")
		self.status.gate = leaks.StatusGate(self.status, self._scrape)
		eventually(lambda: self.get("/health", quiet=True), "status server answers")

	def _scrape(self):
		answer = self.get("/metrics", quiet=True)
		return answer and answer[0] == 200 and parse_metrics(answer[1])

	def get(self, path, quiet=False):
		"""(status, body as text); with quiet None when nobody listens."""
		conn = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=harness.PATIENCE)
		try:
			conn.request("GET", path)
			answer = conn.getresponse()
			return answer.status, answer.read().decode()
		except OSError:
			if quiet:
				return None
			raise
		finally:
			conn.close()

	def json(self, path):
		code, body = self.get(path)
		equal(code, 200, f"status of {path}")
		return json.loads(body)

	def metrics(self):
		"""Samples by name with their labels as they stand: {'name{a="b"}': value}."""
		code, body = self.get("/metrics")
		equal(code, 200, "status of /metrics")
		return parse_metrics(body)

	def settled(self, channels):
		"""The metrics when so many channels were opened and all are closed again."""
		names = [f"pipeops_tunnel_channels_{what}_total" for what in ("opened", "closed")]
		return eventually(lambda: (m := self.metrics()) and [sum_of(m, n) for n in names] == [channels] * 2 and m,
				  f"{channels} channels have come and gone")

	def bytes(self, forward, direction):
		return sum_of(self.metrics(), "pipeops_tunnel_bytes_total", forward=forward, direction=direction)


def parse_metrics(text):
	found = {}
	for line in text.splitlines():
		if line and not line.startswith("#"):
			name, value = re.match(r"([^\s{]+(?:\{.*\})?) (\S+)", line).groups()
			found[name] = float(value)
	return found


def sum_of(metrics, name, **labels):
	"""The sum of a metric's samples that carry these labels."""
	wanted = [f'{k}="{v}"' for k, v in labels.items()]
	rows = [v for k, v in metrics.items()
		if k.split("{")[0] == name and all(w in k for w in wanted)]
	harness.check(rows, f"/metrics has no {name} {labels or ''}")
	return sum(rows)
