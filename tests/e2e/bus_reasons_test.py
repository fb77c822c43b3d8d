#!/usr/bin/env python3
"""Why the pod does not do its work: the sentence of whoever knows it stands in /ready, in the
probes, in the log and in /metrics; and what each program was built from."""
import json
import re
import signal

import harness
from harness import Echo, check, equal, eventually
from pod import Devplane, Pod


def missing(p, part):
	"""The reason that /ready gives for this part, or ""."""
	rows = json.loads(p.get("/ready")[1])["missing"]
	return next((row["reason"] for row in rows if row["part"] == part), "")


def probe(p, program):
	return harness.run([harness.program(program), "--config", p.config, "--probe", "ready"])


def test_a_refused_wish(t):
	e = t.open(Echo())
	plane = Devplane(t, {"web": e.port})
	p = Pod(t, plane, {"web": e.port}, server_ports=1)
	p.start_status()
	p.start_tunnel()
	p.start_control()
	reason = eventually(lambda: "refuses" in (why := missing(p, "tunnel")) and why, "the reason in /ready")
	check("server_ports" in reason, f"what to do: {reason}")
	equal(p.get("/ready")[0], 503, "status of /ready")
	sentence = reason.split("asks for: ")[1]
	code, text = probe(p, "tunnel-sidecar")
	check(code == 1 and sentence in text, f"tunnel-sidecar --probe ready: {code}: {text}")
	code, text = probe(p, "status-server")
	check(code == 1 and sentence[:100] in text, f"status-server --probe ready: {code}: {text}")
	equal(p.metrics().get('pipeops_tunnel_desired_refused{reason="config"}'), 1, f"metric; {metric(p)}")
	check(any(ev.get("error") == sentence for ev in p.tunnel.events), "the tunnel's log")


def metric(p):
	return [name for name in p.metrics() if "refused" in name]


def test_a_refused_token(t):
	e = t.open(Echo())
	plane = Devplane(t, {"web": e.port}, "--token", "another-token")
	p = Pod(t, plane, {"web": e.port})
	p.start_status()
	p.start_control()
	eventually(lambda: not p.control.running(), "the control agent ends")
	reason = eventually(lambda: "65" in (why := missing(p, "registration")) and why, "its end in /ready")
	check(re.search("refused|token|401", reason.split("failed: ")[1]), f"its last sentence: {reason}")
	code, text = probe(p, "control-agent")
	check(code == 1 and "65" in text and "refused" in text, f"control-agent --probe ready: {code}: {text}")
	m = p.metrics()
	equal(m.get('pipeops_component_last_exit_code{component="control"}'), 65, "exit code")
	# Started again by the kubelet: while the new life has no answer, the old one's sentence stands.
	plane.program.signal(signal.SIGSTOP)
	p.start_control()
	again = eventually(lambda: "the life before" in (why := missing(p, "registration")) and why, "the life before")
	check(reason.split("failed: ")[1] in again, f"the same sentence: {again}")
	plane.program.signal(signal.SIGCONT)


def test_a_hung_tunnel(t):
	e = t.open(Echo())
	plane = Devplane(t, {"web": e.port})
	p = Pod(t, plane, {"web": e.port}).start()
	p.tunnel.signal(signal.SIGSTOP)

	def silence():
		found = re.search(r"given no sign for ([0-9.]+) s", missing(p, "tunnel"))
		return float(found.group(1)) if found else 0
	first = eventually(silence, "it hangs", 10)
	check(first >= 3.5, f"after the bound of a stall: {first}")
	eventually(lambda: silence() >= first + 1, "the figure is measured, so it grows")
	p.tunnel.signal(signal.SIGCONT)
	eventually(lambda: p.get("/ready")[0] == 200, "ready again")


# What each program is linked with; readelf says the same.
LIBRARIES = {
	"tunnel-sidecar": ("openssl", "libssh2", "libyaml", "liburing"),
	"control-agent": ("openssl", "json_c", "libyaml", "liburing"),
	"status-server": ("openssl", "json_c", "libyaml", "liburing", "zlib"),
}


def test_builds(t):
	e = t.open(Echo())
	plane = Devplane(t, {"web": e.port})
	p = Pod(t, plane, {"web": e.port}).start()
	found = [dict(re.findall(r'(\w+)="([^"]*)"', name)) for name in p.metrics() if name.startswith("pipeops_build_info")]
	rows = {row["component"]: row for row in found}
	equal(sorted(rows), ["control", "status", "tunnel"], "components")
	for program, libraries in LIBRARIES.items():
		row = rows[program.split("-")[0]]
		version = harness.run([harness.program(program), "--version"])[1]
		check(f"{row['version']} ({row['revision']})" in version, f"{program}: {row}, --version says {version}")
		check(f"OpenSSL {row['openssl']}" in version, f"{program}: {row}, --version says {version}")
		for library in libraries:
			check(re.match(r"\d+\.\d+", row.get(library, "")), f"{library} of {program}: {row}")
	check("json_c" not in rows["tunnel"] and "libssh2" not in rows["control"], f"nothing that is not linked: {rows}")


if __name__ == "__main__":
	harness.main()
