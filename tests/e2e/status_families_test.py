#!/usr/bin/env python3
"""Where the status server answers: in pods of IPv4, of IPv6 and of both, without a setting; and
what status.bind may say."""
import http.client
import os
import subprocess
import sys

import harness
from harness import Skip, check, each, equal, free_port

COMMANDS = {
	"both": ["ip link set lo up"],
	"ipv6": ["ip link set lo up", "ip addr flush dev lo scope host to 127.0.0.0/8"],
	"ipv4": ["sysctl -qw net.ipv6.conf.all.disable_ipv6=1", "sysctl -qw net.ipv6.conf.lo.disable_ipv6=1", "ip link set lo up"],
}
# What it says, and the loopbacks that reach it where both families are there.
BINDS = {None: "46", "*": "46", "::": "46", "[::]": "46", "localhost": "46", "0.0.0.0": "4", "127.0.0.1": "4",
	 "::1": "6", "[::1]": "6"}
REFUSED = ["localhost:8080", "[::]:8080", "example.com", "[127.0.0.1]", "0.0.0.0/0"]
LOOPBACK = {"4": "127.0.0.1", "6": "::1"}
FAMILIES = {"both": "46", "ipv6": "6", "ipv4": "4"}


def answers(address, port):
	conn = http.client.HTTPConnection(address, port, timeout=harness.PATIENCE)
	try:
		conn.request("GET", "/health/")
		return conn.getresponse().status == 200
	except OSError:
		return False
	finally:
		conn.close()


def look_inside(t, pod, bind):
	for command in COMMANDS[pod]:
		subprocess.run(command.split(), check=True, capture_output=True)
	port = free_port() if pod != "ipv6" else 18080
	flags = ["--port", port, "--bus-dir", t.dir, *(["--bind", bind] if bind else [])]
	server = t.start([harness.program("status-server"), *flags], name="status-server", cwd="/")
	server.wait("listening")
	for family in "46":
		equal(answers(LOOPBACK[family], port), family in BINDS[bind] and family in FAMILIES[pod],
		      f"whether IPv{family} answers")
	code, said = harness.run([harness.program("status-server"), *flags, "--probe", "live"])
	equal((code, said), (0, "alive"), "--probe live")
	code, said = harness.run([harness.program("status-server"), *flags, "--probe", "ready"])
	check(code == 1 and "not ready: " in said, f"--probe ready: {said}")
	equal(server.stop(), 0, "exit code after SIGTERM")


def inside(pod, bind):
	t = harness.Case()
	try:
		look_inside(t, pod, bind)
	finally:
		for p in t.programs:
			p.kill()
		t.close()


def in_namespace(*arguments):
	mine = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
	probe = subprocess.run(["unshare", *mine, "--net", "true"], capture_output=True, text=True, check=False)
	if probe.returncode:
		raise Skip(f"no network namespaces here: {probe.stderr.strip()[:100]}")
	code, said = harness.run(["unshare", *mine, "--net", sys.executable, __file__, "--inside", *arguments], seconds=60)
	equal(code, 0, f"in a network of its own: {said[-1500:]}")


@each(bind=list(BINDS))
def test_what_bind_may_say(t, bind):
	in_namespace("both", bind or "")


@each(pod=["ipv6", "ipv4"])
def test_without_a_setting(t, pod):
	in_namespace(pod, "")


@each(bind=REFUSED)
def test_what_bind_may_not_say(t, bind):
	code, said = harness.run([harness.program("status-server"), "--bind", bind, "--bus-dir", t.dir])
	equal(code, 64, f"exit code: {said}")
	check("status.bind" in said and "say * for all, localhost, or a numeric address" in said, f"the sentence: {said}")
	code, said = harness.run([harness.program("status-server"), "--bind", bind, "--probe", "live"])
	check(code == 1 and "say * for all" in said, f"the probe's: {code} {said}")


def test_foreign_host_and_origin(t):
	port = free_port()
	server = t.start([harness.program("status-server"), "--port", port, "--bind", "127.0.0.1", "--bus-dir", t.dir],
			 name="status-server", cwd="/", env={"PIPEOPS_STATUS_ALLOWED_HOSTS": "status.example.com"})
	server.wait("listening")

	def ask(path, **fields):
		conn = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.PATIENCE)
		try:
			conn.putrequest("GET", path, skip_host=True)
			for name, value in fields.items():
				conn.putheader(name, value)
			conn.endheaders()
			answer = conn.getresponse()
			return answer.status, answer.read().decode()
		finally:
			conn.close()
	box = "/api/v1/blackbox"
	for host in ("127.0.0.1", f"10.1.2.3:{port}", "localhost", "status.example.com", "pipeops-agent.pipeops-system.svc"):
		equal(ask(box, Host=host)[0], 200, f"Host: {host}")
	status, said = ask(box, Host="evil.example")
	check(status == 421 and "status.allowed_hosts" in said, f"a name that points here: {status} {said}")
	status, said = ask(box, Host="127.0.0.1", Origin="http://evil.example")
	check(status == 403 and "other sites" in said, f"a page of another site: {status} {said}")
	equal(ask("/ready", Host="evil.example")[0], 421, "/ready tells answers of the control plane")
	for path in ("/health", "/metrics", "/metrics/", "/version"):
		equal(ask(path, Host="any.example")[0], 200, f"{path} holds no words of others")


if __name__ == "__main__":
	if sys.argv[1:2] == ["--inside"]:
		inside(sys.argv[2], sys.argv[3] or None)
	else:
		harness.main()
