#!/usr/bin/env python3
"""Builds both Dockerfiles and runs the pod's three containers as the manifest
has them: users, read-only roots, no capabilities, volumes with their subPaths,
docker's default seccomp profile.  Needs root, docker's engine and debootstrap;
skipped by name where they can't be had.

There is no image registry here: the base image is made with debootstrap."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import harness
from harness import ROOT, Failure, Skip, check, equal, eventually

DOCKER_HOME = ROOT / "build/docker"
BASE = "debian:trixie-slim"


def yaml_module():
	got = subprocess.run([ROOT / "scripts/venv"], capture_output=True, text=True, check=False)
	if got.returncode != 0:
		raise Skip("docker pod: no PyYAML to read the manifest with")
	sys.path.insert(0, got.stdout.strip())
	import yaml
	return yaml


class Engine:
	"""A dockerd of our own: own folder, own socket, no bridge."""

	def __init__(self, t):
		lacking = [x for x in ("dockerd", "docker", "debootstrap") if not shutil.which(x)]
		if lacking:
			raise Skip(f"docker: no {', '.join(lacking)}")
		if os.geteuid() != 0:
			raise Skip("docker: its engine needs root")
		DOCKER_HOME.mkdir(parents=True, exist_ok=True)
		self.socket = t.dir / "docker.sock"
		self.env = {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}
		self.daemon = t.start(["dockerd", "--data-root", DOCKER_HOME / "data", "--exec-root", t.dir / "exec",
				       "--pidfile", t.dir / "dockerd.pid", "-H", f"unix://{self.socket}",
				       "--bridge", "none", "--iptables=false"], name="dockerd")
		try:
			eventually(lambda: self("info", check_exit=False).returncode == 0, "dockerd answers", 60)
		except Failure:
			raise Skip(f"docker: the engine does not start here: {self.daemon.text()[-300:]}") from None

	def __call__(self, *argv, check_exit=True, seconds=600):
		got = subprocess.run(["docker", *map(str, argv)], env={**os.environ, **self.env}, text=True,
				     capture_output=True, timeout=seconds, check=False)
		if check_exit:
			check(got.returncode == 0, f"docker {argv[0]}: {(got.stdout + got.stderr)[-600:]}")
		return got

	def make_base(self, t):
		if self("image", "inspect", BASE, check_exit=False).returncode == 0:
			return
		root = t.dir / "base"
		got = subprocess.run(["debootstrap", "--variant=minbase", "trixie", root], capture_output=True,
				     text=True, timeout=600, check=False)
		if got.returncode != 0:
			raise Skip(f"docker: debootstrap of the base image: {got.stdout[-200:]}")
		tar = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
		subprocess.run(["docker", "import", "-", BASE], stdin=tar.stdout, env={**os.environ, **self.env},
			       check=True, capture_output=True)
		equal(tar.wait(), 0, "tar of the base image")
		shutil.rmtree(root)

	def build(self, dockerfile, tag, target=None):
		self("build", "--network=host", "-q", "-f", ROOT / dockerfile, "-t", tag,
		     *(["--target", target] if target else []), ROOT, seconds=900)


def volumes(container, pod, where):
	"""The manifest's mounts as docker's; subPaths are folders of a volume."""
	kinds = {v["name"]: v for v in pod["volumes"]}
	for m in container["volumeMounts"]:
		if "projected" in kinds[m["name"]]:
			continue  # a token needs a cluster
		source = where / m["name"] / m.get("subPath", "")
		source.mkdir(parents=True, exist_ok=True)
		if "emptyDir" in kinds[m["name"]]:
			# As the kubelet makes them: writable for the pod's fsGroup.
			os.chown(source, 0, pod["securityContext"]["fsGroup"])
			os.chmod(source, 0o2777)
		yield from ["-v", f"{source}:{m['mountPath']}{':ro' if m.get('readOnly') else ''}"]


def run_container(engine, t, pod, container, where, image, env, seccomp):
	context = container["securityContext"]
	check(context["readOnlyRootFilesystem"] and context["capabilities"]["drop"] == ["ALL"],
	      f"{container['name']} is restricted")
	name = f"{container['name']}-{os.getpid()}"
	command = ["run", "-d", "--name", name, "--network=host", "--read-only", "--cap-drop=ALL",
		   "--security-opt=no-new-privileges", *seccomp,
		   "-u", f"{context['runAsUser']}:{pod['securityContext']['runAsGroup']}",
		   "--memory", container["resources"]["limits"]["memory"].replace("Mi", "m")]
	for e in container.get("env", []):
		if "value" in e:
			command += ["-e", f"{e['name']}={e['value']}"]
	for k, v in env.items():
		command += ["-e", f"{k}={v}"]
	engine(*command, *volumes(container, pod, where), image)
	t.stack.callback(engine, "rm", "-f", name, check_exit=False)
	return name


def get(port, path):
	with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as r:
		return r.read().decode()


def metric(port, name):
	found = re.search(rf"^{re.escape(name)} (\S+)$", get(port, "/metrics"), re.M)
	return float(found.group(1)) if found else None


def test_pod(t):
	yaml = yaml_module()
	engine = Engine(t)
	engine.make_base(t)
	engine.build("Dockerfile.tunnel", "pipeops/tunnel-sidecar:test")
	engine.build("Dockerfile.agent", "pipeops/control-agent:test", "control-agent")
	engine.build("Dockerfile.agent", "pipeops/status-server:test", "status-server")

	deployment = yaml.safe_load((ROOT / "k8s/base/deployment.yaml").read_text())
	pod = deployment["spec"]["template"]["spec"]
	check(not pod["automountServiceAccountToken"], "no container gets a token by default")
	containers = {c["name"]: c for c in pod["containers"]}
	for c in pod["containers"]:
		for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
			check(probe in c, f"{c['name']} has a {probe}")
		check(c["resources"]["requests"] and c["resources"]["limits"], f"{c['name']} has resources")

	service = t.open(harness.Duplex())
	port = harness.free_port()
	plane = t.start([harness.program("devplane"), "--dir", t.dir / "plane", "--token", "e2e-token"])
	eventually((t.dir / "plane/devplane.json").exists, "devplane is up")
	ready = json.loads((t.dir / "plane/devplane.json").read_text())
	where = t.dir / "volumes"
	(where / "config").mkdir(parents=True)
	shutil.copy(t.dir / "plane/ca.pem", where / "config/ca.pem")
	(where / "config/config.yaml").write_text(f"""
pipeops:
  api_url: "{ready['api_url']}"
  tls: {{ca_file: /etc/pipeops/ca.pem}}
kubernetes: {{in_cluster: false}}
status: {{port: {port}}}
tunnel:
  forwards:
    - {{name: service, local_addr: "127.0.0.1:{service.port}"}}
""")
	for path in (t.dir, where, where / "config", where / "config/config.yaml", where / "config/ca.pem"):
		path.chmod(0o755 if path.is_dir() else 0o644)

	def start(name, image, **env):
		return run_container(engine, t, pod, containers[name], where, f"pipeops/{image}:test", env, [])
	start("status", "status-server")
	eventually(lambda: "pipeops_component_up" in get_or_empty(port), "status serves before the others are up")
	equal(metric(port, 'pipeops_component_up{component="tunnel"}'), 0.0, "and says so")
	tunnel = start("tunnel", "tunnel-sidecar")
	control = start("control", "control-agent", PIPEOPS_TOKEN="e2e-token")
	try:
		eventually(lambda: metric(port, "pipeops_tunnel_up") == 1, "the tunnel is up", 30)
	except Failure:
		logs = "".join(engine("logs", x, check_exit=False).stderr[-1500:] for x in (tunnel, control))
		raise Failure(f"the tunnel never came up: {logs}") from None
	for name, program in ((tunnel, "tunnel-sidecar"), (control, "control-agent")):
		for probe in ("live", "ready"):
			engine("exec", name, program, "--probe", probe)
	state = json.loads((t.dir / "plane/devplane.json").read_text())
	remote = eventually(lambda: forwarded_port(plane, ready, "service"), "the forward's port")
	harness.transfer(remote, service, 8 << 20, 8 << 20)
	labels = '{forward="service",direction="%s"}'
	for direction in ("up", "down"):
		check(metric(port, "pipeops_tunnel_bytes_total" + labels % direction) >= 8 << 20,
		      f"bytes {direction} are counted")
	equal(engine("exec", tunnel, "sh", "-c", "ls /var/run/secrets", check_exit=False).returncode != 0, True,
	      "the tunnel container holds no token")
	backend = re.search(r'io_backend="(\w+)"', get(port, "/metrics"))
	print(f"loop backend under docker's default profile: {backend.group(1) if backend else 'not shown'}")
	check(state["api_url"], "devplane wrote its state")


def get_or_empty(port):
	try:
		return get(port, "/metrics")
	except OSError:
		return ""


def forwarded_port(plane, ready, name):
	import ssl
	context = ssl.create_default_context(cafile=ready["ca"])
	with urllib.request.urlopen(ready["api_url"] + "/dev/state", timeout=5, context=context) as r:
		state = json.load(r)
	return state.get("ports", {}).get(name)


if __name__ == "__main__":
	harness.main()
