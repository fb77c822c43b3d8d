#!/usr/bin/env python3
"""The way out through proxies that others wrote: tinyproxy (HTTP CONNECT), microsocks
and OpenSSH (SOCKS5), named by --proxy or by the environment."""
import base64
import contextlib
import json
import os
import re
import shutil
import unittest.mock

import harness
from harness import Certificates, Echo, Skip, check, each, echo_once, equal, eventually, free_port
from pod import Devplane, Pod
from sshd import USER, Sshd
from tunnel_client_test import ONCE, client_argv, refused, remote, server

# 127.1 is this machine to whoever looks it up, and a name like any other to the rules.
AWAY = "127.1"
SOCKS_USER = ("corp", "p@ss:w%rd")  # tinyproxy's configuration takes no such password
CODED = {"s3cret_pw": "s3cret%5fpw", "p@ss:w%rd": "p%40ss%3Aw%25rd"}


class Proxy:
	def __init__(self, t, argv, port, **options):
		self.port = port
		self.program = t.start(argv, **options)
		eventually(lambda: _listens(port), f"{self.program.name} listens")


def _listens(port):
	with contextlib.suppress(OSError):
		harness.connect(port, 1).close()
		return True
	return False


class Tinyproxy(Proxy):
	def __init__(self, t, *lines):
		if not shutil.which("tinyproxy"):
			raise Skip("no tinyproxy on PATH")
		port, conf = free_port(), t.dir / "tinyproxy.conf"
		conf.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "LogLevel Connect", *lines, ""]))
		super().__init__(t, ["tinyproxy", "-d", "-c", conf], port)

	def carried(self):
		return sum("Request" in line and "CONNECT" in line.split("Request")[1] for line in self.program.lines)


class Microsocks(Proxy):
	def __init__(self, t, *flags):
		if not shutil.which("microsocks"):
			raise Skip("no microsocks on PATH")
		port = free_port()
		super().__init__(t, ["microsocks", "-i", "127.0.0.1", "-p", port, *flags], port)

	def carried(self):
		return sum("connected to" in line for line in self.program.lines)


def basic():
	return "BasicAuth corp s3cret_pw"


def through(t, env, io="auto", flags=(), tls=None, host=AWAY):
	"""A tunnel to a server at AWAY; bytes went through it."""
	s, (port, r) = server(t, tls=tls), remote(t.open(Echo()))
	url = s.url.replace("127.0.0.1", host)
	c = t.start(client_argv(url, r, io=io, fingerprint=s.ready["fingerprint"], flags=["--allow-plain", *flags]), env=env)
	c.wait("tunnel_up")
	echo_once(port)
	check(not any(secret in c.text() for secret in (*CODED, *CODED.values())), "the password is never printed")
	return c


def way(c):
	"""What was said of the way: once."""
	check(c.count("proxy") <= 1, "the way is said once")
	e = c.find("proxy") or {}
	return e.get("proxy"), e.get("because")


@each(io=harness.IO)
def test_https_proxy(t, io):
	proxy, tls = Tinyproxy(t, basic()), Certificates(t.dir)
	c = through(t, {"HTTPS_PROXY": f"http://corp:{CODED['s3cret_pw']}@127.0.0.1:{proxy.port}", "HTTP_PROXY": "http://127.0.0.1:1"}, io,
		    ["--tls-ca", tls.ca, "--sni", "localhost"], tls)
	equal(way(c), (f"http://127.0.0.1:{proxy.port}", "HTTPS_PROXY"), "the way")
	eventually(proxy.carried, "the proxy carried it")


def test_http_proxy_for_plain_urls(t):
	proxy = Tinyproxy(t)
	c = through(t, {"HTTP_PROXY": f"127.0.0.1:{proxy.port}", "HTTPS_PROXY": "http://127.0.0.1:1"})
	equal(way(c), (f"http://127.0.0.1:{proxy.port}", "HTTP_PROXY"), "the way")
	eventually(proxy.carried, "the proxy carried it")


def test_lower_case_goes_first_and_the_flag_before_all(t):
	proxy = Tinyproxy(t)
	good, bad = f"http://127.0.0.1:{proxy.port}", "http://127.0.0.1:1"
	equal(way(through(t, {"http_proxy": good, "HTTP_PROXY": bad})), (good, "http_proxy"), "lower case")
	c = through(t, {"http_proxy": bad, "NO_PROXY": "*"}, flags=["--proxy", good])
	equal(way(c), (good, "--proxy"), "--proxy")
	eventually(lambda: proxy.carried() >= 2, "the proxy carried both")


def test_no_proxy(t):
	proxy = Tinyproxy(t)
	c = through(t, {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": "10.0.0.0/8,127.1"})
	equal(way(c), ("none", "NO_PROXY"), "the way")
	equal(proxy.carried(), 0, "connections at the proxy")


def test_loopback_needs_no_proxy(t):
	c = through(t, {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}, host="127.0.0.1")
	equal(way(c), (None, None), "nothing is said")


def test_wrong_password(t):
	proxy, s = Tinyproxy(t, basic()), server(t)
	_, r = remote(t.open(Echo()))
	argv = client_argv(s.url, r, flags=[*ONCE, "--proxy", f"http://corp:wr0ng@127.0.0.1:{proxy.port}"])
	text = refused(argv, 1, "proxy answers 40[17]|proxy refused.*401")
	check("wr0ng" not in text, "the password is never printed")


def test_proxy_that_goes_and_comes(t):
	proxy = Tinyproxy(t)
	c = through(t, {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"})
	since = c.mark()
	proxy.program.stop()
	c.wait("tunnel_retry", since=since, cause="tcp")
	t.start(proxy.program.popen.args)
	c.wait("tunnel_up", since=since)


def test_bad_variable(t):
	_, r = remote(t.open(Echo()))
	got, text = harness.run(client_argv("http://h.example", r, flags=[*ONCE, "--allow-plain"]),
				env={"HTTP_PROXY": "https://u:s3cret@proxy"})
	equal(got, 64, "exit code")
	check("HTTP_PROXY" in text and "s3cret" not in text, text)


@each(io=harness.IO, flags=[[], ["-u", SOCKS_USER[0], "-P", SOCKS_USER[1]]])
def test_socks(t, io, flags):
	proxy = Microsocks(t, *flags)
	who = f"corp:{CODED[SOCKS_USER[1]]}@" if flags else ""
	c = through(t, {"ALL_PROXY": f"socks5h://{who}127.0.0.1:{proxy.port}"}, io)
	equal(way(c), (f"socks5h://127.0.0.1:{proxy.port}", "ALL_PROXY"), "the way")


def test_socks_wrong_password(t):
	proxy, s = Microsocks(t, "-u", "a", "-P", "b"), server(t)
	_, r = remote(t.open(Echo()))
	refused(client_argv(s.url, r, flags=[*ONCE, "--proxy", f"socks5://a:c@127.0.0.1:{proxy.port}"]), 1,
		"SOCKS proxy refused user or password")


def test_socks_of_openssh(t):
	sshd, port, ask = Sshd(t).must_let_in(), free_port(), t.dir / "ask"
	ask.write_text("#!/bin/sh\necho any\n")
	ask.chmod(0o755)
	Proxy(t, ["ssh", "-N", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		  "-o", "PreferredAuthentications=password", "-D", f"127.0.0.1:{port}", "-p", sshd.port, f"{USER}@127.0.0.1"],
	      port, env={"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"})
	c = through(t, {"all_proxy": f"socks5://127.0.0.1:{port}"})
	equal(way(c), (f"socks5h://127.0.0.1:{port}", "all_proxy"), "the way")


@each(io=harness.IO)
def test_pod_behind_a_proxy(t, io):
	"""The tunnel container goes through what its environment names; the sandbox lets it."""
	proxy, echo = Tinyproxy(t, basic()), t.open(Echo())
	plane, far = Devplane(t, ["web"], "--plain"), free_port()
	plane.ask("/dev/answer?status=200", "POST", json.dumps({
		"status": "ready", "tunnel_url": plane.gateway_url.replace("localhost", AWAY), "poll_frequency": 1,
		"server_fingerprint": plane.fingerprint, "credentials": base64.b64encode(plane.auth.encode()).decode(),
		"forwards": [{"name": "web", "remote_port": far}]}))
	env = {"HTTP_PROXY": f"http://corp:{CODED['s3cret_pw']}@127.0.0.1:{proxy.port}", "PIPEOPS_ALLOW_PLAIN": "true",
	       "PIPEOPS_TUNNEL_SERVER_PORTS": plane.gateway_url.rsplit(":", 1)[1]}
	with unittest.mock.patch.dict(os.environ, env):
		p = Pod(t, plane, {"web": echo.port}, io).start()
	echo_once(far)
	equal(way(p.tunnel), (f"http://127.0.0.1:{proxy.port}", "HTTP_PROXY"), "the way")
	eventually(proxy.carried, "the proxy carried it")
	check("s3cret" not in p.tunnel.text() + p.control.text() + p.get("/api/v1/blackbox")[1], "no password is shown")


def test_control_agent_behind_a_proxy(t):
	"""Registration, heartbeats and the tunnel's status go through it; a wrong password is told."""
	proxy, echo = Tinyproxy(t, basic()), t.open(Echo())
	plane = Devplane(t, ["web"], "--plain")
	plane.api_url = plane.api_url.replace("localhost", AWAY)
	env = {"HTTP_PROXY": f"http://corp:{CODED['s3cret_pw']}@127.0.0.1:{proxy.port}", "PIPEOPS_ALLOW_PLAIN": "true"}
	with unittest.mock.patch.dict(os.environ, env):
		p = Pod(t, plane, {"web": echo.port}).start()
	echo_once(plane.ports()["web"])
	equal(p.control.find("proxy")["because"], "HTTP_PROXY", "the way")
	eventually(proxy.carried, "the proxy carried it")
	check("s3cret" not in p.control.text(), "the password is never printed")
	p.control.stop()
	env["HTTP_PROXY"] = env["HTTP_PROXY"].replace("corp", "c0rp")
	with unittest.mock.patch.dict(os.environ, env):
		c = t.start([harness.program("control-agent"), "--config", p.config])
	code = c.exit_code(60)
	check(code and re.search("proxy (answers|refused).*40[17]", c.text()), f"exit {code}: {c.text()[-300:]}")


def test_control_agent_over_tls_behind_a_proxy(t):
	"""localhost is reached directly by rule; so the proxy is asked for by another name of it."""
	proxy, echo = Tinyproxy(t), t.open(Echo())
	plane = Devplane(t, ["web"])
	plane.api_url = plane.api_url.replace("localhost", AWAY)
	with unittest.mock.patch.dict(os.environ, {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}):
		p = Pod(t, plane, {"web": echo.port})
		c = p._start("control-agent")
	code = c.exit_code(60)
	eventually(proxy.carried, "the proxy carried it")
	check(code and "certificate" in c.text(), f"TLS is with the origin, by its name: {c.text()[-300:]}")


if __name__ == "__main__":
	harness.main()
