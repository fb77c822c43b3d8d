#!/usr/bin/env python3
"""What 64 clients that want the status server for themselves do to one that asks for /health:
nothing, where it comes from another address; little, where it shares theirs."""
import os
import subprocess
import sys

import flood
import harness
from harness import Skip, check, each, equal, free_port

PROBES = 40 if harness.SHORT else 200
MEASURES = 5  # a busy machine may be late; a refusal counts at once
TRIES = 3  # of a kubelet, before it says that a probe has failed


def start(t, io):
	port = free_port()
	t.start([harness.program("status-server"), "--port", port, "--bind", "0.0.0.0", "--bus-dir", t.dir, "--io", io],
		name="status-server", cwd="/").wait("listening")
	return port


def from_another_address(port, kind):
	for _ in range(MEASURES):
		answers = flood.measure(port, kind, "127.0.0.3", PROBES, harness.PATIENCE)
		seen = flood.summary(answers)
		print(kind, "another address", seen)
		equal(seen["failed"], 0, f"probes that got no answer beside a flood that {flood.KINDS[kind]}: {seen}")
		if not seen["late"]:
			return
	# a sanitizer's build and a crowded machine are slower than any bound
	check(harness.SHORT, f"all {PROBES} probes within {flood.TOOK} s, in none of {MEASURES} measures: {seen}")


def from_the_same_address(port, kind):
	answers = flood.measure(port, kind, "127.0.0.2", PROBES, harness.PATIENCE)
	print(kind, "the same address", flood.summary(answers))
	row = most = 0
	for a in answers:
		row = 0 if isinstance(a, float) else row + 1
		most = max(most, row)
	check(most < TRIES, f"{most} probes in a row failed beside a flood that {flood.KINDS[kind]}: {flood.summary(answers)}")


def inside(io, kind):
	"""The test itself, in a network namespace of its own."""
	flood.prepare()
	t = harness.Case()
	try:
		port = start(t, io)
		from_another_address(port, kind)
		from_the_same_address(port, kind)
		answer = flood.probe(port, "127.0.0.2", harness.PATIENCE)
		check(isinstance(answer, float), f"after the flood: {answer}")
	finally:
		for p in t.programs:
			p.kill()
		t.close()


@each(io=harness.IO, kind=list(flood.KINDS))
def test_probes_beside_a_flood(t, io, kind):
	mine = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
	probe = subprocess.run(["unshare", *mine, "--net", "true"], capture_output=True, text=True, check=False)
	if probe.returncode:
		raise Skip(f"no network namespaces here: {probe.stderr.strip()[:100]}")
	code, said = harness.run(["unshare", *mine, "--net", sys.executable, __file__, "--inside", io, kind], seconds=300)
	equal(code, 0, f"in a network of its own: {said[-1500:]}")


if __name__ == "__main__":
	if sys.argv[1:2] == ["--inside"]:
		inside(*sys.argv[2:4])
	else:
		harness.main()
