#!/usr/bin/env python3
"""No failure of the bus stops the data path (I16): each system call of publication
refused in turn, and a volume that is full or read-only.  The tunnel says that
nobody can see it, and carries bytes all the same."""
import os
import subprocess

import harness
from harness import MIB, Duplex, Failure, Skip, check, each, equal, eventually, transfer
from pod import Devplane, Pod

CALLS = ["posix_fallocate", "mmap", "renameat", "fchmod", "fcntl"]


def refuser():
	"""The preloaded library, built once."""
	source = harness.ROOT / "tests/e2e/refuse_call.c"
	library = harness.ROOT / "build/peers/refuse_call.so"
	if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
		library.parent.mkdir(parents=True, exist_ok=True)
		fresh = library.with_suffix(f".{os.getpid()}")
		built = subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", fresh, source, "-ldl"],
				       capture_output=True, text=True, check=False)
		if built.returncode:
			raise Failure(built.stderr)
		fresh.rename(library)
	return library


def carries(t, io, break_bus, env=None):
	"""A pod whose tunnel finds its bus broken: bytes flow, and it says why nobody sees it."""
	d = t.open(Duplex())
	plane = Devplane(t, {"web": d.port})
	p = Pod(t, plane, {"web": d.port}, io)
	break_bus(p)
	p.start_status()
	p.tunnel = t.start([harness.program("tunnel-sidecar"), "--config", p.config], env=env)
	said = p.tunnel.wait("bus_degraded")
	p.start_control()
	p.tunnel.wait("tunnel_up")
	transfer(plane.ports()["web"], d, MIB, 2 * MIB)
	code, text = p.get("/metrics")
	equal(code, 200, "/metrics of the others")
	check('pipeops_component_up{component="tunnel"} 0' in text, "the tunnel counts as unseen")
	eventually(lambda: p.metrics().get("pipeops_agent_registered") == 1, "the control agent is seen")
	check(p.tunnel.running(), "the tunnel lives")
	return said["reason"]


@each(call=CALLS)
def test_refused_call(t, call):
	env = {"LD_PRELOAD": str(refuser()), "REFUSE": call, "REFUSE_UNDER": str(t.dir / "bus/tunnel"),
	       # a sanitizer's own runtime then stands second, which it would refuse
	       "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
	print(f"{call}: {carries(t, harness.IO[0], lambda p: None, env)}")


@each(kind=["full", "read-only"])
def test_broken_volume(t, kind):
	if os.geteuid() != 0:
		raise Skip("mounting a volume needs root")
	volume = t.dir / "bus/tunnel"

	def mount(_):
		volume.mkdir()
		options = "size=64k" if kind == "full" else "ro"
		got = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", volume],
				     capture_output=True, text=True, check=False)
		if got.returncode:
			raise Skip(f"mount: {got.stderr.strip()}")
		t.stack.callback(subprocess.run, ["umount", "-l", volume], check=True)
	reason = carries(t, harness.IO[-1], mount)
	want = "No space left" if kind == "full" else "Read-only"
	check(want in reason, f"the reason is said: {reason}")


if __name__ == "__main__":
	harness.main()
