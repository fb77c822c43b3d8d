#!/usr/bin/env python3
"""k8s/base says what the programs, the Dockerfiles and the design say: images,
ports, variables, configuration, mounts, and the restricted pod standard."""
import re

import harness
from harness import ROOT, check, equal

BASE = ROOT / "k8s/base"
PROGRAMS = {"tunnel": "tunnel-sidecar", "control": "control-agent", "status": "status-server"}

# volume and subPath -> the one container that may write; None: nobody.
WRITER = {
	("config", ""): None,
	("token", ""): None,
	("bus", "tunnel"): "tunnel",
	("bus", "control"): "control",
	("handoff", ""): "control",
	("state", ""): "control",
}
# And who may see it at all.
SEES = {
	"tunnel": {("config", ""), ("bus", "tunnel"), ("bus", "control"), ("handoff", "")},
	"control": {("config", ""), ("bus", "tunnel"), ("bus", "control"), ("handoff", ""), ("state", ""), ("token", "")},
	"status": {("config", ""), ("bus", "tunnel"), ("bus", "control")},
}


def documents():
	yaml = harness.yaml_module()
	return {f.name: [d for d in yaml.safe_load_all(f.read_text()) if d] for f in sorted(BASE.glob("*.yaml"))}


def deployment():
	(d,) = documents()["deployment.yaml"]
	return d


def pod():
	return deployment()["spec"]["template"]["spec"]


def containers():
	return {c["name"]: c for c in pod()["containers"]}


def options():
	"""Rows of the table of options: {field: (variable, path, default)}."""
	text = (ROOT / "lib/app/config/config.def").read_text()
	found = {}
	for row in re.findall(r"^CONFIG_ROW\((.*?)\)$", text, re.M | re.S):
		cells = [c.strip().strip('"') for c in re.split(r",\s*(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", row)]
		found[cells[0]] = (cells[4], cells[5], cells[6])
	check(len(found) > 20, "the table of options was read")
	return found


def configuration():
	(c,) = documents()["config.yaml"]
	return c["data"]["config.yaml"]


def effective(t, program):
	"""The configuration as a program takes it, from --check-config."""
	path = t.dir / "config.yaml"
	path.write_text(configuration())
	code, text = harness.run([harness.program(program), "--config", path, "--check-config"],
				 env={"PIPEOPS_TOKEN": "x"})
	equal(code, 0, f"{program} --check-config: {text}")
	return text


def seconds(text):
	return sum(int(n) * {"h": 3600, "m": 60, "s": 1}[unit] for n, unit in re.findall(r"(\d+)([hms])", text))


def test_three_containers_of_one_version(t):
	version = re.search(r'program_version\[\] = "(.*)"', (ROOT / "lib/app/version.c").read_text()).group(1)
	equal({n: c["image"] for n, c in containers().items()},
	      {n: f"pipeops/{p}:{version}" for n, p in PROGRAMS.items()}, "images")
	for line in re.findall(r"docker build .*", (ROOT / "README.md").read_text()):
		check(f":{version} " in line, f"README builds this version: {line}")


def test_users_are_those_of_the_images(t):
	text = {n: (ROOT / n).read_text() for n in ("Dockerfile.tunnel", "Dockerfile.agent")}
	for name, program in PROGRAMS.items():
		stage = text["Dockerfile.tunnel" if name == "tunnel" else "Dockerfile.agent"]
		user, entry = re.search(rf"USER (\S+)\n(?:EXPOSE .*\n)?ENTRYPOINT \[\"(\S*{program})\"\]", stage).groups()
		c = containers()[name]
		equal(user, f"{c['securityContext']['runAsUser']}:{pod()['securityContext']['runAsGroup']}", f"{name}'s user")
		for probe in (p for p in c if p.endswith("Probe") and "exec" in c[p]):
			equal(c[probe]["exec"]["command"][0], entry, f"{name}'s {probe} runs the program of its image")
	users = [c["securityContext"]["runAsUser"] for c in containers().values()]
	equal(len(set(users)), 3, "a user for each container")


def test_restricted(t):
	own = pod()["securityContext"]
	check(own["runAsNonRoot"], "nobody is root")
	equal(own["seccompProfile"], {"type": "RuntimeDefault"}, "seccomp profile")
	for refused in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "initContainers"):
		check(refused not in pod(), f"no {refused}")
	for v in pod()["volumes"]:
		check(set(v) - {"name"} <= {"configMap", "emptyDir", "projected"}, f"volume {v['name']} is of a permitted kind")
	for name, c in containers().items():
		equal({k: v for k, v in c["securityContext"].items() if k != "runAsUser"},
		      {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
		      f"{name}'s security context")
		check(c["securityContext"]["runAsUser"] >= 10000, f"{name}'s user")
	(namespace,) = documents()["namespace.yaml"]
	equal(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted", "the namespace's standard")


def test_probes_and_resources_of_each(t):
	for name, c in containers().items():
		for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
			check(probe in c, f"{name} has a {probe}")
		wanted = "ready" if "exec" in c["readinessProbe"] else "/ready"
		check(wanted in str(c["readinessProbe"]), f"{name}'s readiness probe asks for it")
		for kind in ("requests", "limits"):
			equal(sorted(c["resources"][kind]), ["cpu", "memory"], f"{name}'s {kind}")


def test_who_sees_and_writes_what(t):
	kinds = {v["name"]: v for v in pod()["volumes"]}
	equal(kinds["bus"]["emptyDir"]["medium"], "Memory", "the bus is memory")
	equal(kinds["handoff"]["emptyDir"]["medium"], "Memory", "credentials never meet a disk")
	for name, c in containers().items():
		seen = {(m["name"], m.get("subPath", "")): m for m in c["volumeMounts"]}
		equal(set(seen), SEES[name], f"{name}'s mounts")
		for place, m in seen.items():
			equal(not m.get("readOnly", False), WRITER[place] == name, f"{name} writes to {place}")


def test_mounts_are_where_the_programs_look(t):
	rows = options()
	for name, c in containers().items():
		at = {(m["name"], m.get("subPath", "")): m["mountPath"] for m in c["volumeMounts"]}
		for role in ("tunnel", "control"):
			equal(at["bus", role], f"{rows['bus_dir'][2]}/{role}", f"{name}'s bus of {role}")
		if ("handoff", "") in at:
			equal(at["handoff", ""], rows["handoff_dir"][2], f"{name}'s handoff")
		if ("token", "") in at:
			equal(at["token", ""], rows["service_account_dir"][2], f"{name}'s token")
		env = {e["name"]: e.get("value") for e in c["env"]}
		equal(env["PIPEOPS_CONFIG"], at["config", ""] + "/config.yaml", f"{name}'s configuration")
	check("/var/lib/pipeops" in (ROOT / "control-agent/identity/identity_file.c").read_text(), "the state volume is a place of the agent's")


def test_variables_exist(t):
	known = {v for v, _, _ in options().values()} | {"PIPEOPS_CONFIG"}
	for name, c in containers().items():
		for e in c["env"]:
			check(e["name"] in known, f"{name} has {e['name']}, which no program reads")


def test_tokens_are_controls_alone(t):
	check(not pod()["automountServiceAccountToken"], "no container gets a token by default")
	for name, c in containers().items():
		secret = [e["name"] for e in c["env"] if "secretKeyRef" in e.get("valueFrom", {})]
		equal(secret, ["PIPEOPS_TOKEN"] if name == "control" else [], f"{name}'s secrets")
		check("envFrom" not in c, f"{name} takes no whole Secret")


def test_configuration_is_accepted(t):
	for program in PROGRAMS.values():
		effective(t, program)
	grace = pod()["terminationGracePeriodSeconds"]
	drain = seconds(re.search(r'drain_timeout: "(.*)"', effective(t, "tunnel-sidecar")).group(1))
	check(grace > drain > 0, f"the grace period ({grace} s) is above drain_timeout ({drain} s)")


def test_ports(t):
	port = re.search(r"^  port: (\d+)", effective(t, "status-server"), re.M).group(1)
	(own,) = containers()["status"]["ports"]
	equal(str(own["containerPort"]), port, "the status container's port")
	for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
		equal(containers()["status"][probe]["httpGet"]["port"], own["name"], f"port of the {probe}")
	notes = deployment()["spec"]["template"]["metadata"]["annotations"]
	equal((notes["prometheus.io/scrape"], notes["prometheus.io/port"], notes["prometheus.io/path"]),
	      ("true", port, "/metrics"), "Prometheus' annotations")
	routes = (ROOT / "status-server/routes.def").read_text()
	for path in ("/metrics", *(containers()["status"][p]["httpGet"]["path"] for p in ("livenessProbe", "readinessProbe"))):
		check(f'"{path}"' in routes, f"the status server serves {path}")


def test_kustomization_names_every_file(t):
	(k,) = documents()["kustomization.yaml"]
	equal(sorted(k["resources"]), sorted(set(documents()) - {"kustomization.yaml"}), "resources")
	selector = deployment()["spec"]["selector"]["matchLabels"]
	equal(deployment()["spec"]["template"]["metadata"]["labels"], selector, "the pod's labels")
	accounts = [d["metadata"]["name"] for d in documents()["rbac.yaml"] if d["kind"] == "ServiceAccount"]
	equal(accounts, [pod()["serviceAccountName"]], "the ServiceAccount")
	for kind, name in (("configMap", "config.yaml"),):
		(volume,) = [v for v in pod()["volumes"] if v["name"] == "config"]
		equal(volume[kind]["name"], documents()[name][0]["metadata"]["name"], "the ConfigMap")
	for rule in (r for d in documents()["rbac.yaml"] for r in d.get("rules", [])):
		check(set(rule["verbs"]) <= {"get", "list", "watch"}, f"the agent only reads: {rule}")


if __name__ == "__main__":
	harness.main()
