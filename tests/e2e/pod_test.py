#!/usr/bin/env python3
"""The three programs together, against tests/devplane and against a control
plane of a few lines that answers what it should not."""
import http.server
import os
import re
import socket
import subprocess
import threading
import time

import harness
from harness import MIB, SHORT, Duplex, Echo, Skip, check, each, echo_once, equal, eventually, free_port, transfer
from pod import TOKEN, Devplane, Pod, configuration, sum_of

BULK = (4 if SHORT else 16) * MIB


def up(t, forwards, io="auto", flags=(), **options):
	plane = Devplane(t, forwards, *flags)
	p = Pod(t, plane, forwards, io, **options).start()
	return p, plane.ports()


@each(io=harness.IO)
def test_bytes_and_metrics_agree(t, io):
	d, e = t.open(Duplex()), t.open(Echo())
	p, far = up(t, {"web": d.port, "shell": e.port}, io)
	transfer(far["web"], d, BULK, 2 * BULK)
	echo_once(far["shell"], b"x" * 1000)
	m = p.settled(2)
	equal(sum_of(m, "pipeops_tunnel_bytes_total", forward="web", direction="down"), BULK + harness.HEADER_BYTES, "bytes down")
	equal(sum_of(m, "pipeops_tunnel_bytes_total", forward="web", direction="up"), 2 * BULK, "bytes up")
	equal(sum_of(m, "pipeops_tunnel_bytes_total", forward="shell"), 2000, "bytes of the echo")
	equal(sum_of(m, "pipeops_tunnel_up"), 1, "pipeops_tunnel_up")
	equal(sum_of(m, "pipeops_tunnel_forwards_active"), 2, "forwards")
	equal(sum_of(m, "pipeops_agent_registered"), 1, "registered")
	equal(sum_of(m, "pipeops_tunnel_channels_opened_total"), 2, "channels opened")
	equal(sum_of(m, "pipeops_tunnel_channels"), 0, "channels open")


@each(io=harness.IO)
def test_probes_and_health(t, io):
	e = t.open(Echo())
	p, _ = up(t, {"web": e.port}, io)
	for path in ("/health", "/ready", "/version", "/metrics"):
		equal(p.get(path)[0], 200, path)
	for name in ("tunnel-sidecar", "control-agent"):
		code, text = harness.run([harness.program(name), "--config", p.config, "--probe", "live"])
		equal(code, 0, f"{name} --probe live: {text}")
	p.tunnel.kill()
	code, _ = harness.run([harness.program("tunnel-sidecar"), "--config", p.config, "--probe", "live"])
	check(code != 0, "a dead tunnel is not live")
	eventually(lambda: p.get("/ready")[0] == 503, "/ready is false without a tunnel")
	equal(p.get("/health")[0], 200, "/health of the status server itself")


def slow_stream(far, duplex, size, result):
	"""A transfer that is under way while something else happens."""
	def run():
		try:
			transfer(far, duplex, size, size)
			result["ok"] = True
		except Exception as e:
			result["error"] = e
	th = threading.Thread(target=run)
	th.start()
	return th


@each(io=harness.IO, victim=["control", "status"])
def test_kill_keeps_streams(t, io, victim):
	d, e = t.open(Duplex()), t.open(Echo())
	p, far = up(t, {"web": d.port, "shell": e.port}, io)
	with harness.connect(far["shell"]) as idle:
		idle.sendall(b"before")
		equal(idle.recv(100), b"before", "echo before")
		result = {}
		stream = slow_stream(far["web"], d, 8 * BULK, result)
		eventually(lambda: p.get("/metrics", quiet=True) and p.bytes("web", "up") > 0, "bytes are flowing")
		getattr(p, victim).kill()
		getattr(p, f"start_{victim}")()
		stream.join()
		check("ok" in result, f"the stream across the kill: {result.get('error')}")
		time.sleep(1)
		idle.sendall(b"after")
		equal(idle.recv(100), b"after", "echo on the old connection")
	eventually(lambda: sum_of(p.metrics(), "pipeops_agent_registered") == 1, "registered again")
	m = p.metrics()
	equal(sum_of(m, "pipeops_tunnel_sessions_total"), 1, "sessions")
	equal(sum_of(m, "pipeops_tunnel_bytes_total", forward="web", direction="up"), 8 * BULK, "bytes up")
	equal(p.tunnel.count("tunnel_up"), 1, "tunnel_up events")


@each(io=harness.IO)
def test_kill_of_the_tunnel_comes_back(t, io):
	e = t.open(Echo())
	p, far = up(t, {"web": e.port}, io)
	echo_once(far["web"])
	p.tunnel.kill()
	p.start_tunnel()
	p.tunnel.wait("tunnel_up")
	eventually(lambda: harness.works(far["web"]), "bytes through the new tunnel")


def test_restarted_agent_keeps_its_identity(t):
	e = t.open(Echo())
	p, _ = up(t, {"web": e.port})
	first = p.control.wait("registered")["cluster_id"]
	equal(p.control.stop(), 0, "exit code")
	equal(os.stat(t.dir / "state.yaml").st_mode & 0o777, 0o600, "mode of the state file")
	p.start_control()
	equal(p.control.wait("registered")["cluster_id"], first, "cluster id")


def test_heartbeats_go_on(t):
	e = t.open(Echo())
	p, _ = up(t, {"web": e.port})
	eventually(lambda: sum_of(p.metrics(), "pipeops_heartbeat_total") >= 2, "two heartbeats", 30)
	equal(sum_of(p.metrics(), "pipeops_heartbeat_errors_total"), 0, "heartbeat errors")


@each(io=harness.IO)
def test_inactivity_closes_and_stays_closed(t, io):
	e = t.open(Echo())
	p, far = up(t, {"web": e.port}, io, inactivity="2s")
	echo_once(far["web"])
	eventually(lambda: sum_of(p.metrics(), "pipeops_tunnel_up") == 0, "the tunnel is closed")
	time.sleep(7)  # more than one poll of a control plane that still says "ready"
	equal(sum_of(p.metrics(), "pipeops_tunnel_up"), 0, "it bounced")
	equal(p.get("/ready")[0], 200, "idle by policy is ready")


def test_sigterm_ends_all_cleanly(t):
	e = t.open(Echo())
	p, _ = up(t, {"web": e.port})
	for program in (p.control, p.tunnel, p.status):
		equal(program.stop(), 0, f"exit code of {program.name}")


def test_secrets_stay_secret(t):
	"""The canaries of this pod: the agent's token, the tunnel's password.  The files of
	the handoff directory are the one place where the password may stand."""
	e = t.open(Echo())
	p, far = up(t, {"web": e.port})
	secrets = {"token": TOKEN, "tunnel password": p.plane.auth.split(":", 1)[1]}
	handed = [f.read_text() for f in (t.dir / "handoff").iterdir() if f.name.startswith("cred-")]
	check(any(secrets["tunnel password"] in text for text in handed), "the canary is the one in use")

	def scan(when):
		said = {program.name: program.text() for program in (p.control, p.tunnel, p.status)}
		said |= {path: p.get(path)[1] for path in ("/", "/health", "/ready", "/version", "/metrics", "/api/v1/blackbox")}
		said |= {str(f): f.read_bytes().decode("latin-1") for f in (t.dir / "bus").rglob("*") if f.is_file()}
		check(sum("segment" in where for where in said) == 2, f"both segments are scanned: {list(said)}")
		for where, text in said.items():
			for what, secret in secrets.items():
				check(secret not in text, f"the {what} shows in {where} {when}")

	echo_once(far["web"])
	scan("while it works")
	_, text = harness.run([harness.program("control-agent"), "--config", p.config, "--check-config"])
	check(TOKEN not in text, "--check-config prints the token")
	p.plane.program.kill()
	eventually(lambda: p.json("/api/v1/blackbox")["components"][0]["session"]["last_error"], "the tunnel fails")
	p.tunnel.kill()
	scan("after failures and a kill")


def occurrences(pid, secret):
	"""How often it stands in the writable memory of a process (a sanitizer's shadow left out)."""
	found, overlap = 0, len(secret) - 1
	with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
		for line in maps:
			bounds, mode = line.split()[:2]
			start, end = (int(x, 16) for x in bounds.split("-"))
			if not mode.startswith("rw") or end - start > 1 << 30:
				continue
			tail = b""
			for at in range(start, end, MIB):
				try:
					mem.seek(at)
					piece = tail + mem.read(min(MIB, end - at))
				except (OSError, ValueError, OverflowError):
					break
				found += piece.count(secret)
				tail = piece[-overlap:]
	return found


def test_a_program_holds_no_secret_of_another(t):
	"""The token stands in the file that all three read, another one in everybody's environment:
	who does not own it has neither in memory, and nobody has one in /proc/PID/environ."""
	if os.geteuid() != 0:
		raise Skip("the memory of a program that is not dumpable: root's only")
	in_environment = "canary-env-token-51be02"
	e = t.open(Echo())
	plane = Devplane(t, {"web": e.port})
	p = Pod(t, plane, {"web": e.port})
	p.environment = {"PIPEOPS_TOKEN": in_environment}
	p.start_status()
	p.start_tunnel()
	eventually(lambda: p.get("/metrics")[0] == 200, "the status server answers")
	p.tunnel.wait("started")
	for program in (p.status, p.tunnel):
		for secret in (TOKEN, *([] if SHORT else [in_environment])):  # a sanitizer keeps a copy of its environment
			equal(occurrences(program.pid, secret.encode()), 0, f"{secret} in {program.name}'s memory")
	p.environment = {}
	p.start_control()
	p.tunnel.wait("tunnel_up")
	echo_once(plane.ports()["web"])
	check(occurrences(p.control.pid, TOKEN.encode()) > 0, "its owner has it: the search finds what is there")
	for program in (p.status, p.tunnel):
		equal(occurrences(program.pid, TOKEN.encode()), 0, f"the token in {program.name}'s memory, tunnel up")
		with open(f"/proc/{program.pid}/environ", "rb") as f:
			check(in_environment.encode() not in f.read(), f"a secret in {program.name}'s environ")


# A control plane that answers what it should not.

class BadPlane:
	def __init__(self, status, body, delay=0.0):
		class Handler(http.server.BaseHTTPRequestHandler):
			def do_POST(self):
				self.rfile.read(int(self.headers.get("Content-Length", 0)))
				time.sleep(delay)
				self.send_response(status)
				self.send_header("Content-Type", "application/json")
				self.send_header("Content-Length", str(len(body)))
				self.end_headers()
				self.wfile.write(body)
			do_GET = do_POST

			def log_message(self, *_):
				pass
		self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
		threading.Thread(target=self.server.serve_forever, daemon=True).start()
		self.api_url = f"http://127.0.0.1:{self.server.server_port}"
		self.ca = None

	def close(self):
		self.server.shutdown()
		self.server.server_close()


def control_alone(t, api_url, **options):
	for folder in ("bus", "handoff"):
		(t.dir / folder).mkdir()
	config = configuration(t, api_url, {"web": 1}, free_port(), **options)
	p = t.start([harness.program("control-agent"), "--config", config])
	return p.exit_code(30), p.text()


REFUSALS = {
	"401": (401, b'{"error":"token ' + TOKEN.encode() + b' is not known"}', "401"),
	"403": (403, b"\x1b[31mno\x1b[0m\r\n", "403"),
	"500": (500, b"<html>" + b"x" * 5000, "500"),
	"garbage": (200, b"<html>It works!</html>", "json|JSON"),
	"empty": (200, b"", "json|JSON|empty|body"),
	"no-id": (200, b'{"status":"active"}', "id"),
	"wrong-type": (200, b'{"cluster_id":17}', "cluster_id"),
	"evil-id": (200, b'{"cluster_id":"../../etc/passwd"}', "id"),
	"deep": (200, b"[" * 100000, "json|JSON|deep"),
	"huge": (200, b'{"cluster_id":"' + b"x" * (4 << 20) + b'"}', "large|limit|long|big|MiB|bytes"),
}


@each(answer=list(REFUSALS))
def test_registration_refused(t, answer):
	status, body, pattern = REFUSALS[answer]
	plane = t.open(BadPlane(status, body))
	code, text = control_alone(t, plane.api_url)
	equal(code, 65, f"exit code; it said: {text[-400:]}")
	check(re.search(pattern, text), f"a sentence like /{pattern}/ in: {text[-600:]}")
	check(TOKEN not in text, "the token is scrubbed from the answer's body")
	check("\x1b" not in text, "control characters are escaped")
	check(len(text) < 8000, "the body is cut")


def test_registration_unreachable(t):
	code, text = control_alone(t, f"http://127.0.0.1:{free_port()}")
	equal(code, 66, f"exit code; it said: {text[-400:]}")
	check("refused" in text, f"a sentence that says so: {text[-400:]}")


def test_registration_of_a_name_that_does_not_exist(t):
	code, text = control_alone(t, "https://no-such-host.invalid", extra="")
	equal(code, 66, f"exit code; it said: {text[-400:]}")
	check("no-such-host.invalid" in text, f"the name stands in the sentence: {text[-400:]}")


def test_registration_with_a_certificate_nobody_knows(t):
	plane = Devplane(t)
	check(plane.ca, "devplane speaks TLS")
	other = harness.Certificates(t.dir, "other")
	code, text = control_alone(t, plane.api_url, ca=other.ca)
	equal(code, 66, f"exit code; it said: {text[-400:]}")
	check(re.search("certificate|verif", text, re.I), f"a sentence that says so: {text[-400:]}")


# What an operator can get wrong.

PROGRAMS = ["tunnel-sidecar", "control-agent", "status-server"]


def started_with(t, program, config, *flags, seconds=20, **options):
	p = t.start([harness.program(program), "--config", config, *flags], **options)
	return p.exit_code(seconds), p.text()


def some_config(t, **options):
	(t.dir / "bus").mkdir(exist_ok=True)
	(t.dir / "handoff").mkdir(exist_ok=True)
	return configuration(t, "http://127.0.0.1:1", {"web": 1}, options.pop("port", None) or free_port(), **options)


@each(program=PROGRAMS)
def test_unknown_key(t, program):
	config = some_config(t, extra="loging:\n  level: debug\n")
	line = config.read_text().splitlines().index("loging:") + 1
	code, text = started_with(t, program, config)
	equal(code, 64, f"exit code; it said: {text}")
	check("loging" in text and "logging" in text, f"the key and the nearest known one: {text}")
	check(re.search(rf"\b{line}\b", text), f"the line {line}: {text}")


# What can be wrong in a file, row by row: config_test.c.  Here, that each program says it and ends.
@each(wrong=list(zip(PROGRAMS, ["tunnel:\n  enabled: maybe\n", "- 1\n- 2\n", "\x00\x01\x02"])))
def test_configuration_that_is_wrong(t, wrong):
	program, bad = wrong
	config = t.dir / "bad.yaml"
	config.write_text(bad)
	code, text = started_with(t, program, config)
	equal(code, 64, f"exit code; it said: {text}")
	check(0 < len(text.strip().splitlines()) <= 3, f"one sentence: {text}")


@each(program=PROGRAMS)
def test_configuration_that_is_not_there(t, program):
	code, text = started_with(t, program, t.dir / "none.yaml")
	equal(code, 64, f"exit code; it said: {text}")
	check("none.yaml" in text, f"the file's name: {text}")


@each(program=PROGRAMS)
def test_command_line_that_is_wrong(t, program):
	for argv in (["--no-such-flag"], ["--log-level", "loud"], ["--config"], ["what", "is", "this"]):
		code, text = harness.run([harness.program(program), *argv])
		equal(code, 2, f"exit code of {argv}; it said: {text}")
		check(text.strip(), f"a sentence for {argv}")


@each(program=PROGRAMS)
def test_help_and_version(t, program):
	for argv in (["--help"], ["--version"]):
		code, text = harness.run([harness.program(program), *argv])
		equal(code, 0, f"exit code of {argv}")
		check(program in text, f"its name in: {text}")


def test_status_port_in_use(t):
	with socket.socket() as s:
		s.bind(("127.0.0.1", 0))
		s.listen()
		port = s.getsockname()[1]
		code, text = started_with(t, "status-server", some_config(t, port=port))
	equal(code, 1, f"exit code; it said: {text}")
	check(str(port) in text and "in use" in text, f"port and reason: {text}")


@each(program=["tunnel-sidecar", "control-agent"])
def test_bus_directory_that_cannot_be(t, program):
	config = some_config(t)
	(t.dir / "file").write_text("")
	code, text = started_with(t, program, config, "--bus-dir", t.dir / "file/bus")
	check(code in (1, 64), f"exit code {code}; it said: {text}")
	check("file/bus" in text, f"the directory's name: {text}")


def test_bus_directory_that_is_full(t):
	"""A full volume costs the numbers of the program, never the program."""
	if os.getuid() != 0:
		raise Skip("a full volume needs root")
	config = some_config(t)
	small = t.dir / "bus"
	if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], capture_output=True,
			  check=False).returncode:
		raise Skip("no mount of a tmpfs here")
	try:
		p = t.start([harness.program("tunnel-sidecar"), "--config", config])
		status = t.start([harness.program("status-server"), "--config", config])
		eventually(lambda: re.search("bus", p.text()), "a line says so")
		check(p.running(), f"the tunnel lives on: {p.text()[-300:]}")
		check(status.running(), "the status server lives on")
		equal(p.stop(), 0, "exit code")
		status.stop()
	finally:
		subprocess.run(["umount", "-l", small], check=False)


def test_status_server_before_all_others(t):
	p = Pod(t, None, {"web": 1})
	p.start_status()
	equal(p.get("/health")[0], 200, "/health")
	equal(p.get("/ready")[0], 503, "/ready")
	equal(p.get("/metrics")[0], 200, "/metrics")


if __name__ == "__main__":
	harness.main()
