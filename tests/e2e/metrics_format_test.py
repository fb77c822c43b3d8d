#!/usr/bin/env python3
"""What Prometheus' own readers say of /metrics: promtool of the text format,
prometheus_client's parser of OpenMetrics; and the probes of the server."""
import gzip
import http.client
import os
import shutil
import subprocess

import harness
from harness import Duplex, Skip, check, each, equal, eventually, free_port, transfer
from pod import Devplane, Pod

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
README_NAMES = ["pipeops_agent_status", "pipeops_tunnel_status", "pipeops_heartbeat_total",
		"pipeops_heartbeat_errors_total", "pipeops_registration_attempts_total",
		"pipeops_http_requests_total", "pipeops_tunnel_forwards_active"]


class Server:
	"""A status server alone, over a bus directory where nobody is."""

	def __init__(self, t, prefix=()):
		self.port = free_port()
		self.bus = t.dir / "bus"
		self.bus.mkdir(exist_ok=True)
		self.flags = ["--port", str(self.port), "--bind", "127.0.0.1", "--bus-dir", self.bus]
		self.program = t.start([*prefix, harness.program("status-server"), *self.flags],
				       name="status-server", cwd="/")
		self.program.wait("listening")

	def probe(self, what):
		return harness.run([harness.program("status-server"), *self.flags, "--probe", what])


def fetch(port, accept=None, encoding=None):
	"""(fields of the answer, the page) of /metrics."""
	conn = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.PATIENCE)
	try:
		fields = {"Accept": accept, "Accept-Encoding": encoding}
		conn.request("GET", "/metrics", headers={k: v for k, v in fields.items() if v})
		answer = conn.getresponse()
		body = answer.read()
		equal(answer.status, 200, "status of /metrics")
		return answer.headers, body
	finally:
		conn.close()


def promtool(page):
	tool = shutil.which("promtool")
	if not tool:
		raise Skip("no promtool on PATH")
	got = subprocess.run([tool, "check", "metrics"], input=page, capture_output=True, check=False)
	said = (got.stdout + got.stderr).decode()
	check(got.returncode == 0 and not said.strip(), f"promtool: {said}")


def parse_openmetrics(page):
	try:
		from prometheus_client.openmetrics import parser
	except ImportError:
		raise Skip("no Python package prometheus_client") from None
	return {f.name: f for f in parser.text_string_to_metric_families(page.decode())}


def names_of(page):
	return {line.split("{")[0].split(" ")[0] for line in page.decode().splitlines() if line and line[0] != "#"}


def test_text_before_all_others(t):
	fields, page = fetch(Server(t).port)
	equal(fields["Content-Type"], "text/plain; version=0.0.4; charset=utf-8", "Content-Type")
	missing = set(README_NAMES) - names_of(page)
	check(not missing, f"the README's names {missing}")
	promtool(page)


def test_openmetrics_before_all_others(t):
	fields, page = fetch(Server(t).port, OPENMETRICS)
	equal(fields["Content-Type"], "application/openmetrics-text; version=1.0.0; charset=utf-8", "Content-Type")
	check(page.endswith(b"\n# EOF\n"), "the end")
	families = parse_openmetrics(page)
	equal(families["pipeops_build"].type, "info", "type of pipeops_build")
	equal([s.value for s in families["pipeops_component_up"].samples], [0, 0], "nobody is up")


def test_gzip(t):
	server = Server(t)
	fields, page = fetch(server.port, encoding="gzip, deflate")
	equal(fields["Content-Encoding"], "gzip", "Content-Encoding")
	plain = fetch(server.port)[1]
	equal(names_of(gzip.decompress(page)), names_of(plain), "names in both pages")
	check(fetch(server.port, encoding="gzip;q=0")[0]["Content-Encoding"] is None, "refused gzip")


def running_pod(t):
	for name in ("devplane", "tunnel-sidecar", "control-agent"):
		if not (harness.BIN / name).exists():
			raise Skip(f"{name} is not built")
	duplex = t.open(Duplex())
	forwards = {"web": duplex.port, "k8s.api-1": duplex.port}
	p = Pod(t, Devplane(t, forwards), forwards).start()
	transfer(p.plane.ports()["web"], duplex, 1000, 1000)
	eventually(lambda: p.metrics().get("pipeops_heartbeat_total", 0) > 0, "a heartbeat")
	return p


@each(form=["text", "openmetrics"])
def test_whole_pod(t, form):
	p = running_pod(t)
	page = fetch(p.status_port, OPENMETRICS if form == "openmetrics" else None)[1]
	check(b"pipeops_tunnel_connect_duration_seconds_bucket" in page, "histograms of the tunnel")
	if form == "text":
		promtool(page)
		return
	families = parse_openmetrics(page)
	sums = families["pipeops_tunnel_connect_duration_seconds"].samples
	equal([s.value for s in sums if s.name.endswith("_count")], [1], "connects that came up")
	equal(sum(s.value for s in families["pipeops_tunnel_state"].samples), 1, "one state is true")
	created = [s.value for s in families["pipeops_heartbeat"].samples if s.name.endswith("_created")]
	check(len(created) == 1 and created[0] > 1e9, f"_created of the heartbeats: {created}")


def test_black_box(t):
	"""What a dead tunnel counted stays on the page; what it was does not."""
	p = running_pod(t)
	before = p.metrics()
	p.tunnel.kill()
	gone = 'pipeops_component_up{component="tunnel"}'
	eventually(lambda: p.metrics()[gone] == 0, "the tunnel is seen as down")
	after = p.metrics()
	check("pipeops_tunnel_up" not in after, "a gauge of the dead is gone")
	for name, value in before.items():
		if name.startswith("pipeops_tunnel_bytes_total"):
			check(after[name] >= value, f"{name} is kept: {after.get(name)}")
	promtool(fetch(p.status_port)[1])
	parse_openmetrics(fetch(p.status_port, OPENMETRICS)[1])


def test_probes(t):
	server = Server(t)
	equal(server.probe("live"), (0, "alive"), "--probe live")
	code, said = server.probe("ready")
	equal(code, 1, "exit code of --probe ready")
	check("not ready: the control container has not started yet" in said, f"the reason: {said}")
	equal(server.program.stop(), 0, "exit code after SIGTERM")
	code, said = server.probe("live")
	equal(code, 1, "exit code without a server")
	check("does not answer" in said, f"the reason: {said}")


def test_any_user_without_write_access(t):
	if os.getuid() != 0 or not shutil.which("setpriv"):
		raise Skip("another user needs root and setpriv")
	t.dir.chmod(0o755)
	server = Server(t, ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
	page = fetch(server.port)[1]
	check({"process_open_fds", "process_resident_memory_bytes"} <= names_of(page), "numbers of the process")
	equal(server.program.stop(), 0, "exit code after SIGTERM")


if __name__ == "__main__":
	harness.main()
