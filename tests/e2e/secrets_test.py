#!/usr/bin/env python3
"""A secret in an address: user, password or query of pipeops.api_url and of the proxies, in
addresses that are taken and in those that are refused.  None of it may reach the log, the bus, the
black box or --check-config."""
import harness
from harness import check, each, equal
from pod import Pod

CANARY = "Hunter2Canary"

API_URLS = {
	"password": f"https://admin:{CANARY}@127.0.0.1:1",
	"user": f"https://{CANARY}@127.0.0.1:1",
	"no scheme": f"admin:{CANARY}@127.0.0.1:1",
	"plain": f"http://admin:{CANARY}@127.0.0.1:1",
	"another scheme": f"ftp://admin:{CANARY}@127.0.0.1:1",
	"websocket": f"wss://admin:{CANARY}@127.0.0.1:1",
	"bad port": f"https://admin:{CANARY}@127.0.0.1:99999",
	"no host": f"https://admin:{CANARY}@",
	"two ats": f"https://admin:a@{CANARY}@127.0.0.1:1",
	"a slash in it": f"https://admin:a/{CANARY}@127.0.0.1:1",
	"a question mark in it": f"https://admin:a?{CANARY}@127.0.0.1:1",
	"query": f"https://127.0.0.1:1/?token={CANARY}",
	"query with an at": f"https://127.0.0.1:1/?token=a@{CANARY}",
	"fragment": f"https://127.0.0.1:1/#{CANARY}",
}

# The name resolves nowhere: through a proxy the name would be the proxy's affair.
PROXIES = {
	"taken": (f"http://admin:{CANARY}@127.0.0.1:1", 66),
	"socks": (f"socks5h://admin:{CANARY}@127.0.0.1:1", 66),
	"another scheme": (f"ftp://admin:{CANARY}@127.0.0.1:1", 64),
	"bad port": (f"http://admin:{CANARY}@127.0.0.1:99999", 64),
	"no host": (f"http://admin:{CANARY}@", 64),
	"bad code": (f"http://admin:{CANARY}%zz@127.0.0.1:1", 64),
}


def watch(t, api_url, code, env=None):
	p = Pod(t, None, {"web": 1})
	p.start_status()  # first: an address that is refused ends each program that reads the file
	p.config.write_text(p.config.read_text().replace("http://127.0.0.1:1", f'"{api_url}"', 1))
	p.control = t.start([harness.program("control-agent"), "--config", p.config], env=env)
	equal(p.control.exit_code(30), code, f"exit code; it said: {p.control.text()[-400:].replace(CANARY, '<canary>')}")
	said = {"log": p.control.text()}
	said |= {path: p.get(path)[1] for path in ("/", "/ready", "/metrics", "/api/v1/blackbox")}
	said |= {str(f): f.read_bytes().decode("latin-1") for f in (t.dir / "bus").rglob("*") if f.is_file()}
	for name in ("control-agent", "tunnel-sidecar", "status-server"):
		_, said[f"{name} --check-config"] = harness.run([harness.program(name), "--config", p.config, "--check-config"],
								env=env)
	for where, text in said.items():
		check(CANARY not in text, f"the secret shows in {where}")
	return p, said


@each(kind=list(API_URLS))
def test_api_url(t, kind):
	p, said = watch(t, API_URLS[kind], 64)
	check("pipeops.api_url" in said["log"], f"the setting is named: {said['log'][-300:]}")


@each(url=["short", "long"])
def test_api_url_of_the_environment(t, url):
	"""A long one would be refused by the other programs of the pod, too."""
	watch(t, "https://127.0.0.1:1", 64,
	      env={"PIPEOPS_API_URL": f"https://admin:{CANARY}{'x' * 3000 if url == 'long' else ''}@127.0.0.1:1"})


@each(kind=list(PROXIES))
def test_proxy(t, kind):
	url, code = PROXIES[kind]
	watch(t, "https://control-plane.invalid", code, env={"HTTPS_PROXY": url, "NO_PROXY": ""})


if __name__ == "__main__":
	harness.main()
