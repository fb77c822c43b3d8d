#!/usr/bin/env python3
"""The sandbox of tunnel-sidecar: attacked from inside the real program
(tests/attack), refused by kernels that have it not, and true in what it says of
itself."""
import errno
import pathlib
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
import harness
import pod
from harness import (BIN, MIB, SHORT, Duplex, Echo, Skip, check, each, equal, echo_once, eventually,
		     free_port, transfer)
from pod import Devplane

REFUSE = pathlib.Path(__file__).with_name("refuse.py")
FEATURES = ["seccomp", "landlock_fs", "landlock_net", "ring", "no_dump", "no_new_privs"]
EPERM, EACCES, ENOSYS = errno.EPERM, errno.EACCES, errno.ENOSYS

# What each attempt of tests/attack is answered; files and ports are Landlock's.
WANT = dict.fromkeys("""execve execveat fork ptrace process_vm_readv kill tgkill mmap_code mprotect_code memfd
	dumpable unshare mount bpf keyctl perf userfaultfd open_write open_create open_memory openat2 unlink rename
	chmod mkdir symlink truncate packet raw unix netlink multipath fast_open bind listen ulp new_ring
	""".split(), EPERM) | {"clone3": ENOSYS, "open_own": 0, "connect_own": 0}
LANDLOCK_FILES = {"open_read": EACCES, "list_root": EACCES}
LANDLOCK_PORTS = {"connect": EACCES}
RING = dict.fromkeys("ring_nop ring_open ring_socket ring_unlink ring_accept".split(), EACCES) | {"ring_register": EPERM}


class Pod(pod.Pod):
	"""A pod of which one program is started through something, and in another environment."""

	def __init__(self, t, plane, forwards, io="auto", through=(), env=None, which="tunnel-sidecar", **options):
		super().__init__(t, plane, forwards, io, **options)
		self.through, self.env, self.which = through, env or {}, which

	def _start(self, name):
		argv = [harness.program(name), "--config", self.config]
		if name != self.which:
			return self.t.start(argv)
		if self.through:
			argv = [sys.executable, REFUSE, *self.through, "--", *argv]
		return self.t.start(argv, name=name, env=self.env)


def start(t, io="auto", env=None, **options):
	"""(pod, service, far port) with the tunnel up."""
	service = t.open(Duplex())
	plane = Devplane(t, ["service"])
	p = Pod(t, plane, {"service": service.port}, io, env=env, **options).start()
	return p, service, plane.ports()["service"]


def said(p):
	"""What the log and /metrics say of each part; they must agree."""
	line = p.tunnel.wait("sandbox")
	m = p.metrics()
	for f in FEATURES:
		equal(m[f'pipeops_tunnel_sandbox{{feature="{f}"}}'], line[f] == "on", f"{f} in /metrics, where the log says {line[f]}")
	return {f: line[f] for f in FEATURES}


def has_landlock():
	"""(files, ports): whether this kernel has them."""
	got = subprocess.run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))"],
			     capture_output=True, text=True, check=True)
	abi = int(got.stdout)
	return abi > 0, abi >= 4


def attacks(program, where):
	program.wait("attack", where=where, name="done")
	return {e["name"]: e["errno"] for e in program.events if e["event"] == "attack" and e["where"] == where
		and e["name"] != "done"}


def needs_release():
	if SHORT:
		raise Skip("a sanitizer comes before what is preloaded, and has system calls of its own")


@each(io=harness.IO)
def test_attacked_from_inside(t, io):
	needs_release()
	files, ports = has_landlock()
	foreign, secret = t.open(Echo()), t.dir / "secret"
	secret.write_text("not the tunnel's")
	env = {"LD_PRELOAD": str(BIN.parent / "attack.so"), "ATTACK_PORT": str(foreign.port), "ATTACK_READ": str(secret),
	       "ATTACK_OWN_READ": str(t.dir / "bus/control/segment"), "ATTACK_WRITE": str(t.dir / "bus/tunnel/segment")}
	own = t.open(Echo())
	service, plane = t.open(Duplex()), Devplane(t, ["service", "own"])
	p = Pod(t, plane, {"service": service.port, "own": own.port}, io,
		env={**env, "ATTACK_OWN_PORT": str(own.port)}).start()
	transfer(plane.ports()["service"], service, MIB, MIB)
	want = WANT | (LANDLOCK_FILES if files else {}) | (LANDLOCK_PORTS if ports else {})
	p.tunnel.signal(signal.SIGRTMIN + 1)
	got = attacks(p.tunnel, "loop")
	for name, code in (want | (RING if io == "uring" else {})).items():
		equal(got[name], code, f"{name} in the loop's thread")
	if ports and io == "uring":
		equal(got["ring_connect"], EACCES, "ring_connect")
	got = attacks(p.tunnel, "new thread")
	for name, code in want.items():
		equal(got[name], code, f"{name} in a thread made later")
	p.tunnel.signal(signal.SIGRTMIN + 2)
	equal(attacks(p.tunnel, "old thread"), {"execve": EPERM, "open_create": EPERM, "packet": EPERM},
	      "in a thread that was there before")
	equal(foreign.accepted if ports and io == "epoll" else 0, 0, "connections to a port that is not the tunnel's")
	check(not pathlib.Path("/tmp/attack-was-here").exists(), "something was made in /tmp")
	transfer(plane.ports()["service"], service, MIB, MIB)  # and it works on
	p.control.kill()
	p.start_control()  # its new segment is read
	eventually(lambda: p.metrics().get("pipeops_agent_registered") == 1, "control is seen again")
	equal(p.tunnel.stop(), 0, "exit code")
	if not (files and ports):
		raise Skip("Landlock: this kernel has no " + ("ports" if files else "Landlock") + "; all else is as it should be")


@each(io=harness.IO)
def test_status_server_attacked_from_inside(t, io):
	"""It has less to do: no socket is made, no thread, no name looked up."""
	needs_release()
	files, _ = has_landlock()
	secret = t.dir / "secret"
	secret.write_text("not the status server's")
	service, plane = t.open(Duplex()), Devplane(t, ["service"])
	p = Pod(t, plane, {"service": service.port}, io, which="status-server", env={
		"LD_PRELOAD": str(BIN.parent / "attack.so"), "ATTACK_PORT": str(service.port),
		"ATTACK_OWN_PORT": str(plane.port), "ATTACK_READ": str(secret),
		"ATTACK_OWN_READ": str(t.dir / "bus/control/segment"),
		"ATTACK_WRITE": str(t.dir / "bus/tunnel/segment")}).start()
	p.status.signal(signal.SIGRTMIN + 1)
	got = attacks(p.status, "loop")
	own = {"connect": EPERM, "connect_own": EPERM}
	for name, code in (WANT | (LANDLOCK_FILES if files else {}) | (RING if io == "uring" else {}) | own).items():
		equal(got[name], code, name)
	equal(p.status.wait("attack", name="thread")["errno"], EPERM, "a thread")
	m = p.metrics()
	line = p.status.find("sandbox")
	for f in FEATURES:
		equal(m[f'pipeops_status_sandbox{{feature="{f}"}}'], line[f] == "on", f"{f} in /metrics")
	p.tunnel.kill()
	p.start_tunnel()  # its new segment is read
	eventually(lambda: p.metrics().get("pipeops_tunnel_up") == 1, "the new tunnel is seen")
	equal(p.get("/ready")[0], 200, "/ready")
	equal(p.status.stop(), 0, "exit code")


@each(io=harness.IO)
def test_says_what_took_hold(t, io):
	p, service, far = start(t, io)
	files, ports = has_landlock()
	line = said(p)
	for f in FEATURES:
		equal(line[f] == "on", {"landlock_fs": files, "landlock_net": ports}.get(f, True), f"{f}: {line[f]}")
	transfer(far, service, MIB, MIB)
	status = pathlib.Path(f"/proc/{p.tunnel.pid}/status").read_text()
	check("Seccomp:\t2" in status and "NoNewPrivs:\t1" in status, "the kernel says so, too")


def test_off(t):
	p, service, far = start(t, env={"PIPEOPS_SANDBOX": "off"})
	line = said(p)
	for f in ("seccomp", "landlock_fs", "landlock_net"):
		equal(line[f], "security.sandbox is off", f)
	check("Seccomp:\t0" in pathlib.Path(f"/proc/{p.tunnel.pid}/status").read_text(), "no filter")
	transfer(far, service, MIB, MIB)


KERNELS = [
	("landlock_create_ruleset=ENOSYS", {"landlock_fs": "this kernel does not have it, or it is turned off",
					     "landlock_net": "this kernel does not have it, or it is turned off"}),
	("landlock_create_ruleset=EOPNOTSUPP", {"landlock_fs": "this kernel does not have it, or it is turned off",
						 "landlock_net": "this kernel does not have it, or it is turned off"}),
	("landlock_restrict_self=E2BIG", {"landlock_fs": "Argument list too long",
					   "landlock_net": "Argument list too long"}),
	("seccomp=EPERM", {"seccomp": "Operation not permitted"}),
	("io_uring_register:1:11=EINVAL", {"ring": "io_uring_register of restrictions: Invalid argument"}),
]


@each(kernel=[k for k, _ in KERNELS])
def test_kernel_without(t, kernel):
	"""It goes on and says so; where it is required, it does not."""
	files, ports = has_landlock()
	lacks = dict(KERNELS)[kernel]
	if "landlock" in kernel and not (files and ports):
		raise Skip("this kernel has no Landlock of its own")
	if "ring" in lacks and "uring" not in harness.IO:
		raise Skip("no io_uring is asked for")
	p, service, far = start(t, "uring" if "ring" in lacks else "auto", through=[kernel])
	line = said(p)
	equal({f: why for f, why in line.items() if why != "on"}, lacks, "what did not take hold")
	equal(p.tunnel.find("sandbox")["level"], "warn", "level of the line")
	transfer(far, service, MIB, MIB)
	p.tunnel.stop()
	p.env = {"PIPEOPS_SANDBOX": "require"}
	p.start_tunnel()
	equal(p.tunnel.exit_code(), 64, "exit code where it is required")
	first = next(f for f in FEATURES if f in lacks)
	check(f"{first} did not take hold: {lacks[first]}" in p.tunnel.find("stopped")["error"], p.tunnel.text())


def test_required_and_had(t):
	if has_landlock() != (True, True):
		raise Skip("this kernel has no Landlock")
	p, service, far = start(t, env={"PIPEOPS_SANDBOX": "require"})
	equal(set(said(p).values()), {"on"}, "all parts")
	transfer(far, service, MIB, MIB)


RINGS = [
	("io_uring_setup=EPERM", "io_uring_setup: Operation not permitted"),
	("io_uring_setup=ENOSYS", "io_uring_setup: Function not implemented"),
	("io_uring_setup=EOPNOTSUPP", "io_uring_setup: Operation not supported"),
	("io_uring_enter=0", "io_uring self-test: no echo within 100 ms"),
]


@each(kernel=[k for k, _ in RINGS])
def test_epoll_where_io_uring_does_not_work(t, kernel):
	why = dict(RINGS)[kernel]
	p, service, far = start(t, "auto", through=[kernel])
	line = p.tunnel.wait("started")
	equal((line["io"], line["io_reason"]), ("epoll", why), "the log")
	info = eventually(lambda: next((m for m in p.metrics() if m.startswith("pipeops_tunnel_io_info")), None), "io_info")
	check('backend="epoll"' in info and why in info, f"/metrics: {info}")
	equal(said(p)["ring"], "on", "no ring is as good as a restricted one")
	transfer(far, service, MIB, MIB)


def test_a_wish_for_another_port_is_refused(t):
	"""By a sentence that names the option, and where every port is open the log says that."""
	service = t.open(Duplex())
	plane = Devplane(t, ["service"])
	p = Pod(t, plane, {"service": service.port}, server_ports="443,80")
	p.start_status()
	p.start_tunnel()
	p.start_control()
	refused = p.tunnel.wait("tunnel_desired", level="error")["error"]
	check("tunnel.server_ports" in refused and "443,80" in refused, refused)
	equal(p.metrics()["pipeops_tunnel_connect_attempts_total"], 0, "attempts")
	p.tunnel.stop()
	p.config.write_text(p.config.read_text().replace('server_ports: "443,80"', 'server_ports: ""'))
	p.start_tunnel()
	p.tunnel.wait("tunnel_up")
	equal(p.tunnel.find("sandbox")["landlock_net"], "tunnel.server_ports is empty", "the log")
	p.tunnel.stop()
	p.env = {"PIPEOPS_TUNNEL_SERVER_PORTS": "https"}
	p.start_tunnel()
	equal(p.tunnel.exit_code(), 64, "exit code where it is no list of ports")
	check("tunnel.server_ports" in p.tunnel.text(), p.tunnel.text())


def test_certificates_of_the_system_are_found_later(t):
	"""OpenSSL opens them by their hash when it meets the name."""
	service = t.open(Echo())
	plane = Devplane(t, ["service"])
	folder = t.dir / "certs"
	folder.mkdir()
	name = subprocess.run(["openssl", "x509", "-in", plane.ca, "-noout", "-hash"], capture_output=True, text=True,
			      check=True).stdout.strip()
	shutil.copy(plane.ca, folder / f"{name}.0")
	far = free_port()
	c = t.start([harness.program("tunnel-sidecar"), "client", "--log-format", "json", "--auth", plane.auth,
		     "--fingerprint", plane.fingerprint, plane.gateway_url.replace("wss:", "https:"),
		     f"R:{far}:127.0.0.1:{service.port}"],
		    env={"SSL_CERT_DIR": str(folder), "SSL_CERT_FILE": "/dev/null"})
	c.wait("tunnel_up")
	echo_once(far, b"by a certificate that was read inside of the sandbox")
	equal(c.find("sandbox")["seccomp"], "on", "it was in")


if __name__ == "__main__":
	harness.main()
