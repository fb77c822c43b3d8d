#!/usr/bin/env python3
"""The bus between containers as Kubernetes makes them: each program in a PID and a
mount namespace of its own, what it only reads mounted read-only; every row of the
table of presence, and a process that is stopped."""
import os
import pathlib
import signal
import subprocess

import harness
from harness import Skip, await_value, check, equal, eventually
from pod import Pod

UP = 'pipeops_component_up{component="tunnel"}'


def namespaces():
	"""The command in front of another that gives it namespaces of its own."""
	argv = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]),
		"--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
	probe = subprocess.run([*argv, "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True, text=True, check=False)
	if probe.returncode:
		raise Skip(f"no namespaces here: {probe.stderr.strip()[:100]}")
	return argv


def child_of(pid):
	return int(eventually(lambda: pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split(), "a child")[0])


class Container:
	"""A program behind unshare; `reads` are directories it may only read."""

	def __init__(self, t, argv, reads=()):
		script = "".join(f"mount --bind {d} {d} && mount -o remount,ro,bind {d} && "
				 f"! touch {d}/x 2>/dev/null && " for d in reads)
		self.shell = t.start([*namespaces(), "sh", "-c", f'{script}exec "$@"', "sh", *argv],
				     name=pathlib.Path(str(argv[0])).name)
		self.pid = child_of(self.shell.pid)
		eventually(lambda: pathlib.Path(f"/proc/{self.pid}/comm").read_text()[:10] == self.shell.name[:10],
			   f"{self.shell.name} runs")

	def signal(self, number):
		os.kill(self.pid, number)

	def kill(self):
		self.signal(signal.SIGKILL)
		self.shell.exit_code()

	def namespace(self, kind):
		return os.readlink(f"/proc/{self.pid}/ns/{kind}")


def test_every_presence_across_namespaces(t):
	bus = t.dir / "bus"
	(bus / "tunnel").mkdir(parents=True)
	p = Pod(t, None, {"web": 1})
	server = Container(t, [harness.program("status-server"), "--port", p.status_port, "--bind", "127.0.0.1",
			       "--bus-dir", bus], [bus])
	server.shell.wait("listening")

	def tunnel():
		return p.json("/api/v1/blackbox")["components"][0]

	def becomes(presence):
		found = eventually(lambda: (c := tunnel())["presence"] == presence and c, f"the tunnel is {presence}")
		await_value(lambda: p.metrics()[UP], float(presence == "alive"), f"component_up while {presence}")
		return found

	becomes("absent")
	argv = [harness.program("tunnel-sidecar"), "--bus-dir", bus]
	writer = Container(t, argv)
	for kind in ("pid", "mnt"):
		names = {writer.namespace(kind), server.namespace(kind), os.readlink(f"/proc/self/ns/{kind}")}
		equal(len(names), 3, f"{kind} namespaces")
	first = becomes("alive")
	writer.signal(signal.SIGSTOP)
	stalled = becomes("stalled")
	equal(stalled["incarnation"], first["incarnation"], "incarnation")
	check("pipeops_tunnel_up" not in p.metrics(), "no gauge of the stalled")
	check("pipeops_tunnel_sessions_total" in p.metrics(), "counters of the stalled")
	writer.signal(signal.SIGCONT)
	becomes("alive")
	writer.signal(signal.SIGSTOP)
	writer.kill()  # stopped or not: the kernel gives the lock back
	dead = becomes("dead")
	equal(dead["phase"], "running", "the phase it died in")
	writer = Container(t, argv)
	check(becomes("alive")["incarnation"] != first["incarnation"], "a life of its own")
	(bus / "tunnel/segment").unlink()
	equal(writer.shell.exit_code(), 0, "a writer whose file was taken ends")
	eventually(lambda: tunnel()["presence"] == "dead" and tunnel()["phase"] == "failed", "its last word")
	(bus / "tunnel/segment").write_bytes(b"PIPEBUS1" + bytes(9000))
	check("whole pages" in becomes("unreadable")["why"], "why it can't be read")
	check(server.shell.running(), "the server lives through all of it")


if __name__ == "__main__":
	harness.main()
