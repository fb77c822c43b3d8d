#!/usr/bin/env python3
"""k8s/base says what the programs, the Dockerfiles and the design say: images,
ports, variables, configuration, mounts, the network and the restricted pod standard; and
a node would start it (kubelet.py)."""
import copy
import re
import shutil

import harness
import kubelet
import network_policy
from harness import ROOT, Skip, check, equal

BASE = ROOT / "k8s/base"
PROGRAMS = {"tunnel": "tunnel-sidecar", "control": "control-agent", "status": "status-server"}

# volume and subPath -> the one container that may write; None: nobody.
WRITER = {
	("config", ""): None,
	("token", ""): None,
	("bus-tunnel", ""): "tunnel",
	("bus-control", ""): "control",
	("handoff", ""): "control",
	("state", ""): "control",
}
# And who may see it at all.
SEES = {
	"tunnel": {("config", ""), ("bus-tunnel", ""), ("bus-control", ""), ("handoff", "")},
	"control": {("config", ""), ("bus-tunnel", ""), ("bus-control", ""), ("handoff", ""), ("state", ""), ("token", "")},
	"status": {("config", ""), ("bus-tunnel", ""), ("bus-control", "")},
}
RESTART = 35  # seconds from the moment a container hangs until it is back
START = 2  # of which the runtime takes this long to start one


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


def kustomization():
	(k,) = documents()["kustomization.yaml"]
	return k


def configuration():
	return (BASE / "config.yaml").read_text()


def images_users():
	"""{program: its USER} by the Dockerfiles."""
	found = {}
	for name in ("Dockerfile.tunnel", "Dockerfile.agent"):
		for user, entry in re.findall(r"USER (\S+)\n(?:EXPOSE .*\n)?ENTRYPOINT \[\"(\S*)\"\]", (ROOT / name).read_text()):
			found[entry] = user
	return found


def world():
	"""What stands beside the pod, the Secret as the README has it made."""
	(secret, key), = re.findall(r"create secret generic (\S+) --from-literal=(\w+)=", (ROOT / "README.md").read_text())
	users = {c["image"]: images_users()[f"/usr/local/bin/{PROGRAMS[n]}"] for n, c in containers().items()}
	return kubelet.World({g["name"]: set(g["files"]) for g in kustomization().get("configMapGenerator", [])}, {secret: {key}},
			     {d["metadata"]["name"] for d in documents()["rbac.yaml"] if d["kind"] == "ServiceAccount"}, users)


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
	for name, program in PROGRAMS.items():
		c, entry = containers()[name], f"/usr/local/bin/{program}"
		user = images_users()[entry]
		equal(user, f"{c['securityContext']['runAsUser']}:{pod()['securityContext']['runAsGroup']}", f"{name}'s user")
		for probe in (p for p in c if p.endswith("Probe") and "exec" in c[p]):
			equal(c[probe]["exec"]["command"][0], entry, f"{name}'s {probe} runs the program of its image")
	users = [pod()["securityContext"]["runAsUser"], *(c["securityContext"]["runAsUser"] for c in containers().values())]
	equal(len(set(users)), 4, "a user for each container, and one for the sandbox and whoever debugs the pod")


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
	for name in ("bus-tunnel", "bus-control", "handoff"):
		equal(kinds[name]["emptyDir"]["medium"], "Memory", f"{name}: counters are memory, credentials never meet a disk")
	for name in (n for n, v in kinds.items() if "emptyDir" in v):
		check(kubelet.quantity(kinds[name]["emptyDir"].get("sizeLimit")), f"volume {name} is bounded")
		writers = {w for (volume, _), w in WRITER.items() if volume == name}
		equal(len(writers), 1, f"nobody but its one writer can fill volume {name}")
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
			equal(at[f"bus-{role}", ""], f"{rows['bus_dir'][2]}/{role}", f"{name}'s bus of {role}")
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
	k = kustomization()
	generated = [f for g in k["configMapGenerator"] for f in g["files"]]
	equal(sorted(k["resources"] + generated), sorted(set(documents()) - {"kustomization.yaml"}), "files")
	check(not k.get("generatorOptions", {}).get("disableNameSuffixHash"), "an edited configuration is another ConfigMap: a roll-out")
	selector = deployment()["spec"]["selector"]["matchLabels"]
	equal(deployment()["spec"]["template"]["metadata"]["labels"], selector, "the pod's labels")
	for rule in (r for d in documents()["rbac.yaml"] for r in d.get("rules", [])):
		check(set(rule["verbs"]) <= {"get", "list", "watch"}, f"the agent only reads: {rule}")
	for name in k["resources"]:
		for d in documents()[name]:
			equal(d["metadata"].get("namespace", k["namespace"]), k["namespace"], f"namespace of {d['kind']}")


def test_rendered(t):
	"""As kubectl renders it; and with an overlay's own configuration, as a user would."""
	if not shutil.which("kubectl"):
		raise Skip("manifests: no kubectl")
	def render(folder):
		code, text = harness.run(["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", folder])
		equal(code, 0, f"kubectl kustomize: {text}")
		found = {d["kind"]: d for d in harness.yaml_module().safe_load_all(text)}
		(volume,) = [v for v in found["Deployment"]["spec"]["template"]["spec"]["volumes"] if v["name"] == "config"]
		equal(volume["configMap"]["name"], found["ConfigMap"]["metadata"]["name"], "the pod mounts the generated ConfigMap")
		return found["ConfigMap"]
	base = render(BASE)
	equal(base["data"], {"config.yaml": configuration()}, "the ConfigMap's file")
	shutil.copytree(BASE, t.dir / "base")
	folder = t.dir / "mine"
	folder.mkdir()
	(folder / "config.yaml").write_text(configuration().replace("default-cluster", "another"))
	(folder / "kustomization.yaml").write_text("""\
resources: [../base]
namespace: pipeops-system
configMapGenerator:
  - {name: pipeops-agent-config, behavior: replace, files: [config.yaml]}
""")
	own = render(folder)
	check("another" in own["data"]["config.yaml"], "the overlay's configuration is taken")
	check(own["metadata"]["name"] != base["metadata"]["name"], "and has a name of its own")


def test_applied_again_changes_nothing(t):
	"""kubectl compares lists that have no merge key as they stand: a field that the API server would
	complete in one makes each apply "configured"."""
	for v in pod()["volumes"]:
		for source in v.get("projected", {}).get("sources", []):
			for item in source.get("downwardAPI", {}).get("items", []):
				equal(item["fieldRef"].get("apiVersion"), "v1", f"volume {v['name']}: {item['path']}")
			check("expirationSeconds" in source.get("serviceAccountToken", {"expirationSeconds": 0}), "a token's time")
	(policy,) = documents()["network.yaml"]
	for rule in policy["spec"]["ingress"] + policy["spec"]["egress"]:
		for port in rule["ports"]:
			check("protocol" in port, f"network: {port}")


def test_a_node_starts_it(t):
	equal(list(kubelet.refusals(pod(), world())), [], "refusals")


def broken(whole, change):
	"""A copy of the pod with one change."""
	own = copy.deepcopy(whole)
	change(own, {c["name"]: c for c in own["containers"]}, {v["name"]: v for v in own["volumes"]})
	return own


def put(thing, **values):
	thing.update(values)


# What is done to the pod, and a word of the refusal.
BREAKS = {
	"a group without a user": (lambda p, c, v: [p["securityContext"].pop("runAsUser")], "starts no sandbox"),
	"a container's group without a user": (
		lambda p, c, v: (p["securityContext"].pop("runAsUser"), c["tunnel"]["securityContext"].pop("runAsUser")),
		"tunnel: the runtime starts no container"),
	"root": (lambda p, c, v: put(c["tunnel"]["securityContext"], runAsUser=0), "the user is 0"),
	"a root sandbox": (lambda p, c, v: put(p["securityContext"], runAsUser=0), "pod: runAsNonRoot and user 0"),
	"a user that only the image names": (
		lambda p, c, v: [put(c["tunnel"], image="other"), c["tunnel"]["securityContext"].pop("runAsUser"),
				 p["securityContext"].pop("runAsUser"), p["securityContext"].pop("runAsGroup")], "wants a number"),
	"a user in quotes": (lambda p, c, v: put(c["tunnel"]["securityContext"], runAsUser="10001"), "runAsUser is no number"),
	"a profile of no node": (lambda p, c, v: put(p["securityContext"], seccompProfile={"type": "Localhost"}), "seccomp"),
	"a mount of no volume": (lambda p, c, v: put(c["tunnel"]["volumeMounts"][0], name="konfig"), "which there is not"),
	"two mounts at one place": (lambda p, c, v: put(c["tunnel"]["volumeMounts"][1], mountPath="/etc/pipeops/"), "two mounts at"),
	"a mount of no path": (lambda p, c, v: put(c["tunnel"]["volumeMounts"][0], mountPath="etc"), "no path for a mount"),
	"a mount within what is read-only": (
		lambda p, c, v: put(c["tunnel"]["volumeMounts"][1], mountPath="/etc/pipeops/bus"), "which is read-only"),
	"a subPath that leaves": (lambda p, c, v: put(c["tunnel"]["volumeMounts"][1], subPath="../x"), "leaves the volume"),
	"a subPath of a ConfigMap": (lambda p, c, v: put(c["tunnel"]["volumeMounts"][0], subPath="none"), "can't make subPath"),
	"a volume twice": (lambda p, c, v: p["volumes"].append({"name": "state", "emptyDir": {}}), "stands there twice"),
	"a volume of two sources": (lambda p, c, v: put(v["state"], configMap={"name": "pipeops-agent-config"}), "2 sources"),
	"a volume of none": (lambda p, c, v: v["state"].pop("emptyDir"), "0 sources"),
	"a path of this node": (lambda p, c, v: put(v["state"], hostPath={"path": "/var"}), "hostPath"),
	"a volume that nobody mounts": (lambda p, c, v: p["volumes"].append({"name": "more", "emptyDir": {}}), "mounted nowhere"),
	"no such ConfigMap": (lambda p, c, v: put(v["config"], configMap={"name": "konfig"}), "there is no configMap konfig"),
	"no such key": (
		lambda p, c, v: put(v["config"]["configMap"], items=[{"key": "none", "path": "config.yaml"}]), "has no key none"),
	"a size of no size": (lambda p, c, v: put(v["state"]["emptyDir"], sizeLimit="1MB"), "no quantity"),
	"a medium of none": (lambda p, c, v: put(v["state"]["emptyDir"], medium="memory"), "no medium"),
	"two files of one name": (
		lambda p, c, v: v["token"]["projected"]["sources"].append({"configMap": {
			"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "token"}]}}), "two sources for token"),
	"a file that leaves": (
		lambda p, c, v: put(v["token"]["projected"]["sources"][0]["serviceAccountToken"], path="../token"), "leaves it"),
	"a token for a minute": (
		lambda p, c, v: put(v["token"]["projected"]["sources"][0]["serviceAccountToken"], expirationSeconds=60), "600 s"),
	"no such account": (lambda p, c, v: put(p, serviceAccountName="pipeops"), "no ServiceAccount"),
	"two containers of one name": (lambda p, c, v: put(c["tunnel"], name="control"), "two containers"),
	"a name that is none": (lambda p, c, v: put(c["tunnel"], name="Tunnel"), "no name for a container"),
	"a port's name twice": (
		lambda p, c, v: c["status"]["ports"].append({"name": "http", "containerPort": 8081}), "two ports have the name"),
	"a port twice": (lambda p, c, v: c["status"]["ports"].append({"name": "web", "containerPort": 8080}), "twice"),
	"a port of none": (lambda p, c, v: put(c["status"]["ports"][0], containerPort=80800), "is no port"),
	"a port's long name": (lambda p, c, v: put(c["status"]["ports"][0], name="status-and-metrics"), "no name for a port"),
	"a probe of an absent port": (
		lambda p, c, v: put(c["status"]["livenessProbe"]["httpGet"], port="health"), "no port of the name health"),
	"a probe that asks in two ways": (
		lambda p, c, v: put(c["status"]["livenessProbe"], exec={"command": ["/x"]}), "one way to ask"),
	"a probe that never asks": (lambda p, c, v: put(c["status"]["livenessProbe"], periodSeconds=0), "no number from 1"),
	"a readiness probe with a grace": (
		lambda p, c, v: put(c["tunnel"]["readinessProbe"], terminationGracePeriodSeconds=5), "has no grace"),
	"a field at the wrong place": (lambda p, c, v: put(c["tunnel"]["securityContext"], fsGroup=1), "the field fsGroup"),
	"a misspelt field": (lambda p, c, v: put(c["tunnel"]["livenessProbe"], periodSecond=1), "the field periodSecond"),
	"a variable twice": (lambda p, c, v: c["tunnel"]["env"].append({"name": "PIPEOPS_CONFIG", "value": ""}), "twice"),
	"a variable that is a number": (lambda p, c, v: put(c["tunnel"]["env"][0], value=1), "one value, a text"),
	"a variable of an absent key": (
		lambda p, c, v: put(c["control"]["env"][1]["valueFrom"]["secretKeyRef"], key="secret"), "no key secret"),
	"a variable of an absent field": (
		lambda p, c, v: put(c["control"]["env"][2]["valueFrom"]["fieldRef"], fieldPath="spec.node"), "no field spec.node"),
	"requests above limits": (
		lambda p, c, v: put(c["tunnel"]["resources"]["requests"], memory="1Gi"), "requests of memory above"),
	"a resource of none": (lambda p, c, v: put(c["tunnel"]["resources"]["limits"], mem="1Gi"), "no resource mem"),
	"a limit that is none": (lambda p, c, v: put(c["tunnel"]["resources"]["limits"], memory="1GB"), "no quantity"),
	"a volume that ends its writer": (lambda p, c, v: put(v["handoff"]["emptyDir"], sizeLimit="60Mi"), "more than half"),
	"a volume without end": (lambda p, c, v: v["handoff"]["emptyDir"].pop("sizeLimit"), "more than half"),
	"a message policy of none": (lambda p, c, v: put(c["tunnel"], terminationMessagePolicy="Logs"), "no terminationMessagePolicy"),
}


def test_what_a_node_refuses_is_seen(t):
	whole, beside = pod(), world()
	for name, (change, word) in BREAKS.items():
		found = list(kubelet.refusals(broken(whole, change), beside))
		check(any(word in sentence for sentence in found), f"{name}: {found}")


def test_a_hung_container_is_soon_restarted(t):
	drain = seconds(re.search(r'drain_timeout: "(.*)"', effective(t, "tunnel-sidecar")).group(1))
	for name, c in containers().items():
		probe = c["livenessProbe"]
		# It hangs right after an answer; the last question is not answered.  A grace of the probe's own
		# holds for this end only: a pod that is told to go drains for as long as the pod's grace.
		worst = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"] + probe.get(
			"terminationGracePeriodSeconds", pod()["terminationGracePeriodSeconds"])
		check(worst + START <= RESTART, f"{name} hangs for up to {worst + START} s")
		check(probe["periodSeconds"] * (probe["failureThreshold"] - 1) >= 10, f"{name} may be slow for 10 s")
	check(pod()["terminationGracePeriodSeconds"] > drain, "a pod that is told to go may drain")


def test_network(t):
	(policy,) = documents()["network.yaml"]
	equal(policy["spec"]["podSelector"]["matchLabels"], deployment()["spec"]["selector"]["matchLabels"], "whom the policy is for")
	wants = {
		# direction, address, protocol, port
		("ingress", "10.1.2.3", "TCP", 8080): True,
		("ingress", "fd00::3", "TCP", 8080): True,
		("ingress", "10.1.2.3", "UDP", 8080): False,
		("ingress", "10.1.2.3", "TCP", 8081): False,
		("ingress", "10.1.2.3", "TCP", 443): False,
		("egress", "10.96.0.10", "UDP", 53): True,
		("egress", "10.96.0.10", "TCP", 53): True,
		("egress", "fd00::a", "UDP", 53): True,
		("egress", "169.254.20.10", "UDP", 53): True,  # a node's own DNS cache
		("egress", "169.254.20.10", "TCP", 443): False,
		("egress", "169.254.169.254", "UDP", 53): False,
		("egress", "203.0.113.7", "TCP", 443): True,  # control plane, tunnel server
		("egress", "2001:db8::7", "TCP", 443): True,
		("egress", "203.0.113.7", "UDP", 443): False,
		("egress", "203.0.113.7", "TCP", 80): False,
		("egress", "203.0.113.7", "TCP", 22): False,
		("egress", "10.0.0.1", "TCP", 6443): True,  # the API server behind its service
		("egress", "10.0.0.1", "TCP", 10250): False,
		("egress", "10.0.0.1", "TCP", 2379): False,
	}
	for port in (53, 80, 443, 6443):
		for metadata in ("169.254.169.254", "169.254.170.2", "fe80::a9fe:a9fe", "fd00:ec2::254"):
			wants["egress", metadata, "TCP", port] = False
	for row, want in wants.items():
		equal(network_policy.allows(policy["spec"], *row), want, f"{row}")


def test_the_network_lets_through_what_is_configured(t):
	(policy,) = documents()["network.yaml"]
	text = effective(t, "tunnel-sidecar")
	(ports,) = re.findall(r'server_ports: "(.*)"', text)
	equal(ports, "443", "ports of tunnel servers")
	(hosts,) = re.findall(r'allowed_hosts: "(.*)"', text)
	api = re.search(r'api_url: "https://([^"/]*)"', effective(t, "control-agent")).group(1)
	check(hosts.startswith(".") and "," not in hosts and api.endswith(hosts), f"tunnel servers are the control plane's: {hosts}")
	for host, port in re.findall(r'local_addr: "(.*):(\d+)"', configuration()):
		if host != "localhost":  # which no policy sees
			check(network_policy.allows(policy["spec"], "egress", "10.96.0.1", "TCP", int(port)), f"forward to {host}:{port}")


if __name__ == "__main__":
	harness.main()
