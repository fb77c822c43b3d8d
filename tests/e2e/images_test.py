#!/usr/bin/env python3
"""Builds both Dockerfiles and runs the pod's three containers as the manifest
has them: users, read-only roots, no capabilities, volumes with their subPaths,
docker's default seccomp profile; then the tunnel once more under a profile that
refuses io_uring, as newer engines and most clusters do.  Each image holds one program
and tells the commit that it was built from.

Needs root, docker's engine and debootstrap, and is skipped by name where they
can't be had.  There is no image registry here: the base image is made with
debootstrap.  Images are kept in scripts/peers-cache, so a second run is quick."""
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import urllib.parse
import urllib.request

import harness
from harness import BIN, ROOT, Failure, Program, Skip, check, equal, eventually, free_port
from pod import TOKEN, Devplane, parse_metrics, sum_of

DOCKER_HOME = pathlib.Path(harness.run([ROOT / "scripts/peers-cache"])[1].strip()) / "docker"
WALL = ROOT / "build/peers/wall"
BASE = "debian:trixie-slim"
IMAGES = {
	"tunnel-sidecar": ("Dockerfile.tunnel", None),
	"control-agent": ("Dockerfile.agent", "control-agent"),
	"status-server": ("Dockerfile.agent", "status-server"),
}
BULK = 8 << 20
# Seconds for the base and the images, within those of tests/e2e/run; what was made by then is kept.
PREPARE = int(os.environ.get("E2E_LIMIT", "420")) - 90


def revision():
	code, text = harness.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"])
	equal(code, 0, f"git rev-parse: {text}")
	return text


def build_wall():
	WALL.parent.mkdir(parents=True, exist_ok=True)
	code, text = harness.run(["gcc", "-O1", "-static", "-o", WALL, ROOT / "tests/e2e/wall.c"])
	equal(code, 0, f"wall: {text}")


class Clock:
	"""What is left of the time for preparing."""

	def __init__(self):
		self.end = time.monotonic() + PREPARE

	def run(self, argv, **options):
		try:
			return subprocess.run([str(a) for a in argv], text=True, capture_output=True, check=False,
					      timeout=max(1, self.end - time.monotonic()), **options)
		except subprocess.TimeoutExpired:
			raise Skip(f"docker: the images are not made after {PREPARE} s; the next run goes on") from None


class Engine:
	"""A dockerd of our own: own folder, own socket, no bridge.  It lives in
	namespaces of its own for mounts and processes, so nothing that it mounted
	or started outlives it, however this test ends."""

	def __init__(self, t):
		self.t, self.clock = t, Clock()
		self.socket = t.dir / "docker.sock"
		self.env = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0",
			    "DOCKER_CONFIG": str(t.dir / "docker-config")}
		self.daemon = Program(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
				       "dockerd", "--data-root", DOCKER_HOME / "data",
				       "--exec-root", t.dir / "exec", "--pidfile", t.dir / "dockerd.pid",
				       "-H", f"unix://{self.socket}", "--bridge", "none", "--iptables=false"],
				      name="dockerd")
		t.stack.callback(self.stop)
		try:
			eventually(lambda: self.answers() or not self.daemon.running(), "dockerd answers", 60)
		except Failure:
			self.daemon.kill()
		if not self.daemon.running():
			said = [l for l in self.daemon.lines if "level=info" not in l][-1:] or ["it said nothing"]
			raise Skip(f"docker: the engine does not start here: {said[0][-200:]}")

	def stop(self):
		"""SIGTERM to dockerd, which is the child of unshare."""
		children = pathlib.Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children")
		if self.daemon.running():
			for pid in children.read_text().split():
				os.kill(int(pid), signal.SIGTERM)
			try:
				self.daemon.popen.wait(15)
			except subprocess.TimeoutExpired:
				self.daemon.kill()

	def answers(self):
		return self("info", must=False).returncode == 0

	def __call__(self, *argv, must=True):
		if argv[0] == "build":
			got = self.clock.run(["docker", *argv], env=self.env)
		else:
			got = subprocess.run(["docker", *map(str, argv)], env=self.env, text=True, capture_output=True,
					     timeout=120, check=False)
		if must:
			check(got.returncode == 0, f"docker {argv[0]}: {' | '.join((got.stdout + got.stderr).splitlines()[-12:])}")
		return got

	def has(self, image):
		return self("image", "inspect", image, must=False).returncode == 0

	def make_base(self):
		"""The base image, as small as debian:trixie-slim: no documents, no package lists."""
		if self.has(BASE):
			return
		started = time.monotonic()
		got = self.clock.run([ROOT / "scripts/debian13", "base"])
		if got.returncode != 0:
			raise Skip(f"docker: debootstrap makes no base image: {got.stderr.strip()[-200:]}")
		self("import", got.stdout.strip(), BASE)
		print(f"base image {BASE} made in {time.monotonic() - started:.0f} s", flush=True)

	def build(self, name):
		dockerfile, target = IMAGES[name]
		started = time.monotonic()
		# A linked worktree has its HEAD elsewhere: only there it has to be told.
		told = [] if (ROOT / ".git").is_dir() else ["--build-arg", f"REVISION={revision()}"]
		# The stage that compiles has a name too, or pruning would take it out of the cache.
		for tag, stage in ((f"{dockerfile.lower()}:build", "build"), (f"pipeops/{name}:test", target)):
			self("build", "--network=host", "-q", "-f", ROOT / dockerfile, "-t", tag,
			     *(["--target", stage] if stage else []), *told, ROOT)
		size = int(self("image", "inspect", "-f", "{{.Size}}", f"pipeops/{name}:test").stdout)
		print(f"image {name}: {size / 1e6:.0f} MB, built in {time.monotonic() - started:.0f} s", flush=True)


def wait_for_others(t):
	"""One engine at a time may use the folder: another checkout may run this test, too."""
	lock = t.stack.enter_context(open(DOCKER_HOME.with_name("docker.lock"), "w"))
	end = time.monotonic() + PREPARE
	while True:
		try:
			return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
		except OSError:
			if time.monotonic() > end:
				raise Skip("docker: another run of this test holds the images") from None
			time.sleep(0.5)


def make_engine(t):
	"""The engine with its three images."""
	lacking = [x for x in ("dockerd", "docker", "debootstrap", "unshare") if not shutil.which(x)]
	if lacking:
		raise Skip(f"docker: no {', '.join(lacking)}")
	if os.geteuid() != 0:
		raise Skip("docker: its engine needs root")
	if not (BIN / "devplane").exists() or harness.SHORT:
		raise Skip("docker: once, with the release build")
	build_wall()
	began = time.monotonic()
	DOCKER_HOME.mkdir(parents=True, exist_ok=True)
	wait_for_others(t)
	engine = Engine(t)
	is_first = not engine.has(BASE)
	engine.make_base()
	got = engine("run", "--rm", "--network=host", BASE, "true", must=False)
	if got.returncode != 0:
		raise Skip(f"docker: the engine runs no container here: {got.stderr.strip()[-200:]}")
	for name in IMAGES:
		engine.build(name)
	engine("image", "prune", "-f")
	if is_first and os.environ.get("UNCOUNTED"):
		with open(os.environ["UNCOUNTED"], "a") as out:
			out.write(f"{time.monotonic() - began:.0f}\n")
	return engine


class Pod:
	"""The containers of the manifest, on loopback of this machine."""

	def __init__(self, t, engine, manifest):
		self.t, self.engine = t, engine
		self.spec = manifest["spec"]["template"]["spec"]
		self.containers = {c["name"]: c for c in self.spec["containers"]}
		self.kinds = {v["name"]: v for v in self.spec["volumes"]}
		self.port, self.trust = free_port(), []
		self.where = {"": t.dir / "volumes", "Memory": pathlib.Path(tempfile.mkdtemp(prefix="e2e-", dir="/dev/shm"))}
		t.stack.callback(shutil.rmtree, self.where["Memory"], ignore_errors=True)
		for path in (t.dir, self.where["Memory"]):
			path.chmod(0o755)

	def configure(self, plane, forwards, system_trust):
		"""The ConfigMap, for this machine's addresses.  The control plane's CA is named by it, or
		one of those that the image brings."""
		folder = self.where[""] / "config"
		folder.mkdir(parents=True)
		shutil.copy(plane.ca, folder / "ca.pem")
		if system_trust:
			code, name = harness.run(["openssl", "x509", "-hash", "-noout", "-in", plane.ca])
			equal(code, 0, f"openssl x509: {name}")
			self.trust = ["-v", f"{folder}/ca.pem:/etc/ssl/certs/{name}.0:ro"]
		rows = "".join(f"    - {{name: {name}, local_addr: '127.0.0.1:{port}'}}\n" for name, port in forwards.items())
		(folder / "config.yaml").write_text(f"""\
agent: {{cluster_name: images}}
pipeops:
  api_url: {plane.api_url}
  tls: {{ca_file: "{'' if system_trust else '/etc/pipeops/ca.pem'}"}}
kubernetes: {{in_cluster: false}}
status: {{bind: 127.0.0.1, port: {self.port}}}
tunnel:
  server_ports: "{urllib.parse.urlsplit(plane.gateway_url).port}"
  forwards:
{rows}""")
		for path in folder.iterdir():
			path.chmod(0o644)

	def mounts(self, container):
		"""The manifest's mounts as docker's; subPaths are folders of a volume."""
		for m in container["volumeMounts"]:
			kind = self.kinds[m["name"]]
			if "projected" in kind:
				continue  # a ServiceAccount token needs a cluster
			medium = kind.get("emptyDir", {}).get("medium", "")
			source = self.where[medium] / m["name"] / m.get("subPath", "")
			source.mkdir(parents=True, exist_ok=True)
			if "emptyDir" in kind:
				# As the kubelet makes them: writable for the pod's fsGroup.
				os.chown(source, 0, self.spec["securityContext"]["fsGroup"])
				source.chmod(0o2777)
			yield from ["-v", f"{source}:{m['mountPath']}{':ro' if m.get('readOnly') else ''}"]

	def run(self, name, *options, **env):
		"""Starts a container as the manifest has it; returns its docker name."""
		c = self.containers[name]
		context = c["securityContext"]
		check(context["readOnlyRootFilesystem"] and context["capabilities"]["drop"] == ["ALL"]
		      and not context["allowPrivilegeEscalation"], f"{name} is restricted")
		own = f"{name}-{os.getpid()}-{self.port}"
		values = {e["name"]: e["value"] for e in c.get("env", []) if "value" in e} | env
		image = re.sub(r":[^:]*$", ":test", c["image"])
		self.engine("run", "-d", "--name", own, "--network=host", "--read-only", "--cap-drop=ALL",
			    "--security-opt=no-new-privileges", *options,
			    "-u", f"{context['runAsUser']}:{self.spec['securityContext']['runAsGroup']}",
			    "--memory", c["resources"]["limits"]["memory"].replace("Mi", "m"),
			    *(f"-e{k}={v}" for k, v in values.items()), *self.mounts(c), *self.trust,
			    "-v", f"{WALL}:/wall:ro", image)
		self.t.stack.callback(self.engine, "rm", "-f", own, must=False)
		return own

	def get(self, path):
		with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as r:
			return r.read().decode()

	def metrics(self):
		try:
			return parse_metrics(self.get("/metrics"))
		except OSError:
			return {}

	def log(self, name, event=None):
		"""A container's log lines, of one event."""
		lines = self.engine("logs", name).stderr.splitlines()
		return [e for e in map(json.loads, lines) if event in (None, e["event"])]

	def exec(self, name, *argv):
		return self.engine("exec", name, *argv, must=False)


def start_pod(t, engine, *tunnel_options, system_trust=False):
	"""A pod with its forward up: (pod, names of the containers, service, far port)."""
	manifest = harness.yaml_module().safe_load((ROOT / "k8s/base/deployment.yaml").read_text())
	pod, service = Pod(t, engine, manifest), t.open(harness.Duplex())
	plane = Devplane(t, ["service"])
	pod.configure(plane, {"service": service.port}, system_trust)
	names = {"status": pod.run("status")}
	eventually(pod.metrics, "status serves before the others are up")
	equal(pod.metrics()['pipeops_component_up{component="tunnel"}'], 0, "and says that the tunnel is not")
	names["tunnel"] = pod.run("tunnel", *tunnel_options)
	names["control"] = pod.run("control", PIPEOPS_TOKEN=TOKEN)
	try:
		eventually(lambda: pod.metrics().get("pipeops_tunnel_up") == 1, "the tunnel is up", 30)
	except Failure:
		said = " | ".join(json.dumps(e) for n in ("tunnel", "control") for e in pod.log(names[n])[-4:])
		raise Failure(f"the tunnel never came up: {said}") from None
	return pod, names, service, plane.state()["ports"]["service"]


def carry(pod, service, far):
	harness.transfer(far, service, BULK, BULK)
	for direction in ("up", "down"):
		eventually(lambda d=direction: sum_of(pod.metrics(), "pipeops_tunnel_bytes_total", forward="service",
						      direction=d) >= BULK, f"bytes {direction} are counted")


def check_probes(pod, names):
	for name in ("tunnel", "control"):
		for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
			got = pod.exec(names[name], *pod.containers[name][probe]["exec"]["command"])
			equal(got.returncode, 0, f"{name}'s {probe}: {got.stdout}{got.stderr}")
	for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
		check(pod.get(pod.containers["status"][probe]["httpGet"]["path"]), f"status's {probe}")


def check_walls(pod, names):
	"""What a container may write and may not see."""
	def may(name, verb, path):
		code = pod.exec(names[name], "/wall", verb, path).returncode
		check(code in (0, 1), f"{name}: wall {verb} {path} ends with {code}")
		return code == 0
	writes = {"tunnel": "bus/tunnel", "control": "bus/control", "status": None}
	for name, own in writes.items():
		for place in ("bus/tunnel", "bus/control"):
			equal(may(name, "write", f"/run/pipeops/{place}/probe"), place == own, f"{name} can write to {place}")
		check(not may(name, "write", "/usr/local/bin/probe"), f"{name}'s root is read-only")
		check(not may(name, "see", "/var/run/secrets"), f"{name} has a token")
	check(not may("tunnel", "write", "/run/pipeops/handoff/probe"), "tunnel only reads the handoff")
	check(may("control", "write", "/run/pipeops/handoff/probe"), "control has the handoff")
	check(not may("status", "see", "/run/pipeops/handoff"), "status has no handoff")


def check_contents(engine, pod, names):
	"""One program in each image, of this commit, and certificates that it finds."""
	for name, container in names.items():
		program = pod.containers[name]["image"].split("/")[1].split(":")[0]
		said = pod.exec(container, f"/usr/local/bin/{program}", "--version").stdout
		check(f"({revision()})" in said, f"{program} --version tells the commit: {said!r}")
		tar = pod.t.dir / f"{program}.tar"
		engine("export", "-o", tar, container)
		with tarfile.open(tar) as files:
			found = {m.name: m for m in files}
		# The engine makes empty files to mount on.
		run = {n for n, m in found.items() if m.isreg() and m.size and m.mode & 0o111 and ".so" not in n}
		equal(run, {f"usr/local/bin/{program}"}, f"programs in the image of {program}")
		equal([n for n, m in found.items() if m.mode & 0o6000], [], "files with rights of their own")
		check("usr/lib/ssl/certs" in found and sum(n.endswith(".0") for n in found) > 50, "certificates")
		check(any(n.startswith("var/lib/dpkg/status.d/libc6") for n in found), "packages are listed for scanners")
		size = sum(m.size for m in found.values())
		check(size < 40e6, f"the image of {program} has {size / 1e6:.0f} MB")


def check_end(engine, names):
	"""SIGTERM, as the kubelet sends it: each ends by itself and well."""
	for name in ("control", "tunnel", "status"):
		engine("stop", "-t", "25", names[name])
		equal(engine("inspect", "-f", "{{.State.ExitCode}}", names[name]).stdout.strip(), "0", f"{name}'s exit code")


def backend(pod, names):
	found = pod.log(names["tunnel"], "io_backend") or pod.log(names["tunnel"], "started")
	return found[0].get("backend") or found[0]["io"], found[0].get("reason") or found[0].get("io_reason", "")


def test_images(t):
	engine = make_engine(t)
	pod, names, service, far = start_pod(t, engine)
	carry(pod, service, far)
	check_probes(pod, names)
	check_walls(pod, names)
	check_contents(engine, pod, names)
	print("tunnel under docker's default seccomp profile: loop backend %s %s" % backend(pod, names), flush=True)
	check_end(engine, names)
	refuse_io_uring(t, engine)


def refuse_io_uring(t, engine):
	"""Older engines' default profile lets io_uring pass; this one does what
	the newer ones' does.  This pod finds the control plane's CA among the system's."""
	profile = t.dir / "no-io-uring.json"
	profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
		{"names": ["io_uring_setup", "io_uring_enter", "io_uring_register"],
		 "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}))
	inner = harness.Case()
	t.open(inner)
	pod, names, service, far = start_pod(inner, engine, f"--security-opt=seccomp={profile}", system_trust=True)
	carry(pod, service, far)
	name, reason = backend(pod, names)
	equal(name, "epoll", "the backend where io_uring is refused")
	check("not permitted" in reason, f"the log says why: {reason!r}")
	(info,) = [m for m in pod.metrics() if m.startswith("pipeops_tunnel_io_info")]
	check('backend="epoll"' in info and reason in info, f"/metrics says why: {info}")
	print(f"tunnel where io_uring is refused: loop backend {name}: {reason}", flush=True)
	check_end(engine, names)


HEX = "0123456789abcdef0123456789abcdef01234567"
# Files of a .git folder and what scripts/revision says of it.
CHECKOUTS = {
	"a branch": ({"HEAD": "ref: refs/heads/main\n", "refs/heads/main": HEX + "\n"}, HEX[:12]),
	"a branch in a folder": ({"HEAD": "ref: refs/heads/a/b\n", "refs/heads/a/b": HEX + "\n"}, HEX[:12]),
	"a packed branch": (
		{"HEAD": "ref: refs/heads/main\n",
		 "packed-refs": f"# pack-refs with: peeled\n{HEX[::-1]} refs/heads/main2\n{HEX} refs/heads/main\n^{HEX[::-1]}\n"},
		HEX[:12]),
	"loose goes before packed": (
		{"HEAD": "ref: refs/heads/main\n", "refs/heads/main": HEX + "\n", "packed-refs": f"{HEX[::-1]} refs/heads/main\n"},
		HEX[:12]),
	"no branch": ({"HEAD": HEX + "\n"}, HEX[:12]),
	"SHA-256": ({"HEAD": HEX + HEX[:24] + "\n"}, HEX[:12]),
	"nothing": ({}, "unknown"),
	"a branch without a commit": ({"HEAD": "ref: refs/heads/main\n"}, "unknown"),
	"refs in a table": ({"HEAD": "ref: refs/heads/.invalid\n"}, "unknown"),
	"a way out": ({"HEAD": "ref: refs/heads/../../x\n", "x": HEX + "\n"}, "unknown"),
	"a ref of another kind": ({"HEAD": "ref: x\n", "x": HEX + "\n"}, "unknown"),
	"an order to the shell": ({"HEAD": "$(echo " + HEX[:33] + ")\n"}, "unknown"),
	"half an id": ({"HEAD": HEX[:20] + "\n"}, "unknown"),
	"an id of other digits": ({"HEAD": "g" + HEX[1:] + "\n"}, "unknown"),
	"an empty HEAD": ({"HEAD": ""}, "unknown"),
}


def test_revision_without_git(t):
	for name, (files, want) in CHECKOUTS.items():
		folder = t.dir / name
		folder.mkdir()
		for path, text in files.items():
			(folder / path).parent.mkdir(parents=True, exist_ok=True)
			(folder / path).write_text(text)
		code, said = harness.run([ROOT / "scripts/revision", folder])
		equal((code, said), (0, want), name)
	(t.dir / "linked").write_text(f"gitdir: {t.dir}/nothing\n")
	equal(harness.run([ROOT / "scripts/revision", t.dir / "linked"])[1], "unknown", "a linked worktree")
	code, said = harness.run([ROOT / "scripts/revision", ROOT / ".git"])
	if (ROOT / ".git").is_dir():
		equal(said, revision(), "of this checkout")


def test_base_can_be_pinned(t):
	for path in ("Dockerfile.tunnel", "Dockerfile.agent"):
		text = (ROOT / path).read_text()
		equal(re.findall(r"^ARG BASE=(.*)$", text, re.M), [BASE], f"{path}: the base is one argument")
		stages = re.findall(r"^FROM (\S+)", text, re.M)
		equal((stages[0], set(stages[1:])), ("${BASE}", {"scratch"}), f"{path}: built on the base, run on nothing")


if __name__ == "__main__":
	harness.main()
