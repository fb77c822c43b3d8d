#!/usr/bin/env python3
"""What scripts around `chisel client` rely on: its flags, its pid file, its signals,
plain http:// to a server whose host key is pinned."""
import os
import pathlib
import re
import signal
import socket
import subprocess

import harness
from chisel_official_test import CHISEL, needs_chisel
from harness import Certificates, Echo, Skip, check, each, echo_once, equal, eventually, free_port
from pod import configuration
from relay import Relay
from tunnel_client_test import client_argv, remote, server


def test_every_flag_of_the_official_help_is_ours(t):
	needs_chisel()
	theirs = subprocess.run([CHISEL, "client", "--help"], capture_output=True, text=True, check=False)
	flags = set(re.findall(r"^ +(--?[a-z][a-z0-9-]*)\b,?", theirs.stdout + theirs.stderr, re.M))
	check(len(flags) > 12, f"flags of the official help: {sorted(flags)}")
	ours = subprocess.run([harness.program("tunnel-sidecar"), "client", "--help"], capture_output=True, text=True, check=True)
	lacking = {f for f in flags - {"--help"} if not re.search(rf"{f}\b", ours.stdout)}
	equal(lacking, set(), "flags that ours lacks")


def test_pid_file(t):
	s = server(t)
	_, r = remote(t.open(Echo()))
	c = t.start(client_argv(s.url, r, fingerprint=s.ready["fingerprint"], flags=["--pid"]), cwd=t.dir)
	c.wait("tunnel_up")
	equal((t.dir / "chisel.pid").read_text(), str(c.pid), "chisel.pid")


def test_pid_file_replaces_a_link(t):
	s = server(t)
	_, r = remote(t.open(Echo()))
	victim, pid = t.dir / "victim", t.dir / "chisel.pid"
	victim.write_text("as it was")
	pid.symlink_to(victim)
	(t.dir / "chisel.pid.new").symlink_to(victim)
	c = t.start(client_argv(s.url, r, fingerprint=s.ready["fingerprint"], flags=["--pid"]), cwd=t.dir)
	c.wait("tunnel_up")
	equal(victim.read_text(), "as it was", "what the link points to")
	check(not pid.is_symlink() and pid.read_text() == str(c.pid), "chisel.pid is a file of its own")


def test_secrets_leave_the_command_line(t):
	"""Each option that may hold one; also in what is logged, and where the program ends early."""
	canary = "canary-argv-0e77d1"
	_, r = remote(t.open(Echo()))
	c = t.start(client_argv(f"http://u:{canary}@127.0.0.1:1", r, flags=[
		"--auth", f"u:{canary}", "--header", f"Authorization: {canary}", "--proxy", f"http://p:{canary}@127.0.0.1:2"]),
		env={"AUTH": f"u:{canary}"})
	eventually(lambda: c.events, "a first line")
	for name in ("cmdline", "environ"):
		with open(f"/proc/{c.pid}/{name}", "rb") as f:
			check(canary.encode() not in f.read(), f"a secret in /proc/PID/{name}")
	c.stop()
	check(canary not in c.text(), "a secret in the log")
	for argv in (["http://127.0.0.1:1", r, f"--auth=u:{canary}"], [f"--auht=u:{canary}", "http://127.0.0.1:1", r],
		     [f"ftp://u:{canary}@127.0.0.1", r], [f"https://u:{canary}@127.0.0.1:99999", r],
		     [f"--proxy=ftp://u:{canary}@h", "http://127.0.0.1:1", r],
		     [f"--proxy=http://u:{canary}@h:x", "http://127.0.0.1:1", r]):
		code, text = harness.run([harness.program("tunnel-sidecar"), "client", *argv])
		equal(code, 2, f"exit code of {argv}")
		check(canary not in text, f"{argv}: {text}")


@each(name=["--hostname tunnel.example.org", "--hostname tunnel.example.org:8443", "--sni tunnel.example.org --hostname other.example.org"])
def test_hostname_names_the_tls_server(t, name):
	"""Before an ingress that routes by name: the certificate is that name's, not the address'."""
	tls = Certificates(t.dir, hosts="DNS:tunnel.example.org")
	s = server(t, tls=tls)
	port, r = remote(t.open(Echo()))
	c = t.start(client_argv(s.url, r, fingerprint=s.ready["fingerprint"], flags=["--tls-ca", tls.ca, *name.split()]))
	c.wait("tunnel_up")
	echo_once(port)
	equal(s.wait("upgraded")["host"], name.split()[-1], "Host")
	code, _ = harness.run(client_argv(s.url, r, flags=["--tls-ca", tls.ca, "--hostname", "other.example.org", "--max-retry-count", 0]))
	equal(code, 1, "exit code with another name")


@each(way=["file", "variable", "empty flag"])
def test_credentials_from(t, way):
	"""A Secret made from a file ends with a newline, whatever the way it comes."""
	s = server(t)
	port, r = remote(t.open(Echo()))
	(t.dir / "auth").write_text("\ufeffuser:secret\r\n")
	flags = {"file": ["--auth-file", t.dir / "auth"], "variable": [], "empty flag": ["--auth", ""]}[way]
	env = {} if way == "file" else {"AUTH": "user:secret\r\n"}
	c = t.start(client_argv(s.url, r, fingerprint=s.ready["fingerprint"], auth=None, flags=flags), env=env)
	c.wait("tunnel_up")
	echo_once(port)


@each(program=["tunnel-sidecar client", "tunnel-sidecar", "control-agent", "status-server"])
def test_standard_descriptors_closed_at_start(t, program):
	"""Nothing that the program opens gets their numbers."""
	name, *rest = program.split()
	_, r = remote(t.open(Echo()))
	for folder in ("bus", "handoff"):
		(t.dir / folder).mkdir()
	silent = socket.create_server(("127.0.0.1", 0))  # a control plane that never answers
	config = configuration(t, f"http://127.0.0.1:{silent.getsockname()[1]}", {"web": 1}, free_port())
	argv = client_argv("http://127.0.0.1:1", r) if rest else [harness.program(name), "--config", config]
	with silent, subprocess.Popen(["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *map(str, argv)],
			      env={**os.environ, "PIPEOPS_TOKEN": "x"}) as p:
		try:
			eventually(lambda: pathlib.Path(f"/proc/{p.pid}/comm").read_text().strip()[:15] == name[:15] and
				   len(os.listdir(f"/proc/{p.pid}/fd")) > 4, "it is up")
			for fd in range(3):
				equal(os.readlink(f"/proc/{p.pid}/fd/{fd}"), "/dev/null", f"descriptor {fd}")
			check(p.poll() is None, "it runs")
		finally:
			p.terminate()
			p.wait(harness.PATIENCE)


def test_pid_file_that_can_not_be_written(t):
	code, text = harness.run([*client_argv("http://127.0.0.1:1", "R:1:127.0.0.1:2", flags=["--pid"])], cwd="/proc")
	equal(code, 1, "exit code")
	check("chisel.pid" in text, f"which file: {text}")


@each(io=harness.IO)
def test_usr2_tells_what_it_holds(t, io):
	s = server(t)
	port, r = remote(t.open(Echo()))
	c = t.start(client_argv(s.url, r, io=io, fingerprint=s.ready["fingerprint"]))
	c.wait("tunnel_up")

	def ask():
		since = c.mark()
		c.signal(signal.SIGUSR2)
		return c.wait("holdings", since=since)
	said = eventually(lambda: int((said := ask())["open_fds"]) == c.fds() and said, "the descriptors that it has")
	check(int(said["heap_bytes"]) > 0 and int(said["timers"]) > 0, f"numbers: {said}")
	echo_once(port)


def address_of_this_machine():
	"""One that is not loopback; nothing is sent."""
	with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
		try:
			s.connect(("192.0.2.1", 9))
			return s.getsockname()[0]
		except OSError as e:
			raise Skip(f"this machine has no address but loopback: {e}") from None


def test_plain_http_to_another_machine(t):
	here, s = address_of_this_machine(), server(t)
	door = t.open(Relay(s.ready["port"], host=here))
	port, r = remote(t.open(Echo()))
	code, text = harness.run(client_argv(f"http://{here}:{door.port}", r))
	equal(code, 2, "exit code without a fingerprint")
	check("--fingerprint" in text, f"what to do: {text}")
	c = t.start(client_argv(f"http://{here}:{door.port}", r, fingerprint=s.ready["fingerprint"]))
	c.wait("tunnel_up")
	echo_once(port)


def test_certificate_that_is_not_verified(t):
	"""Then TLS proves as little as plain http: the fingerprint must."""
	here, tls = address_of_this_machine(), Certificates(t.dir)
	s = server(t, tls=tls)
	door = t.open(Relay(s.ready["port"], host=here))
	port, r = remote(t.open(Echo()))
	url = f"https://{here}:{door.port}"
	code, text = harness.run(client_argv(url, r, flags=["--tls-skip-verify", "--auth", "user:canary-password"]))
	equal(code, 2, f"exit code without a fingerprint: {text}")
	check("--fingerprint" in text and "not verified" in text, f"what to do: {text}")
	check(not s.find("upgraded"), "nobody was let near the credentials")
	for flags in (["--fingerprint", s.ready["fingerprint"]], ["--allow-plain"]):
		c = t.start(client_argv(url, r, flags=["--tls-skip-verify", *flags]))
		c.wait("tunnel_up")
		echo_once(port)
		c.stop()


@each(program=["tunnel-sidecar", "control-agent", "status-server"])
def test_hardening(t, program):
	"""What the build promises, read from the program itself (a sanitizer's build has other flags)."""
	path = harness.program(program)
	if "/release/" not in str(path):
		raise Skip("a release build's only")

	def readelf(*flags):
		return subprocess.run(["readelf", "-W", *flags, path], capture_output=True, text=True, check=True).stdout
	dynamic, headers, symbols = readelf("-d"), readelf("-l"), readelf("--dyn-syms")
	check("PIE" in dynamic and "BIND_NOW" in dynamic.replace("NOW PIE", "BIND_NOW PIE"), "PIE, bound at start")
	check("GNU_RELRO" in headers and not re.search(r"GNU_STACK.*RWE", headers), "RELRO, no stack that executes")
	check("__stack_chk_fail" in symbols, "stack canaries")
	check(re.search(r"__\w+_chk\b", symbols.replace("__stack_chk_fail", "")), "_FORTIFY_SOURCE")
	flags = (harness.ROOT / "build/hardening").read_text()
	if "-fcf-protection" in flags:
		check(re.search(r"IBT, SHSTK", readelf("-n")), "control flow protection")
	if "-fstack-clash-protection" in flags:
		code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
		check(re.search(r"or[ql]\s+\$0x0,(0x0)?\(%rsp\)", code), "stack probes")


if __name__ == "__main__":
	harness.main()
