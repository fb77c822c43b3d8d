#!/usr/bin/env python3
"""What the pages say is what the code does: generated pages, paths, flags,
names of metrics and exit codes."""
import os
import re
import subprocess

import harness
from harness import ROOT, check, equal

# The names on which dashboards and alerts of the agent in Go stand.
METRICS = ("pipeops_agent_status", "pipeops_heartbeat_total", "pipeops_heartbeat_errors_total",
	   "pipeops_registration_attempts_total", "pipeops_tunnel_status", "pipeops_tunnel_forwards_active",
	   "pipeops_http_requests_total")


def script(*argv):
	got = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False,
			     env={**os.environ, "PRINT_DOCS": str(harness.program("print-docs"))})
	check(got.returncode == 0, " | ".join((got.stdout + got.stderr).splitlines()[-8:]))


def helps():
	return {name: subprocess.run([harness.program(name.split()[0]), *name.split()[1:], "--help"], capture_output=True,
				     text=True, check=True).stdout
		for name in ("tunnel-sidecar", "tunnel-sidecar client", "control-agent", "status-server")}


def test_generated_pages_are_as_the_code(t):
	script("scripts/docs", "--check")


def test_paths_of_the_maps_exist(t):
	script("scripts/check-map")


def test_flags_of_the_readme_exist(t):
	own = [l for l in (ROOT / "README.md").read_text().splitlines() if not re.match(r"(docker|kubectl) ", l)]
	known = set(re.findall(r"--[a-z][a-z-]+", "".join(helps().values())))
	flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(own)))
	check(flags, "README names flags")
	equal(flags - known, set(), "flags of README that no --help knows")


def test_make_targets_of_the_readme_exist(t):
	listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
	known = set(re.findall(r"^make ([a-z-]+)", listed, re.M)) | {""}
	for page in ("README.md", "ARCHITECTURE.md"):
		used = set(re.findall(r"(?:`|^)make ?([a-z-]*)(?=`|$)", (ROOT / page).read_text(), re.M))
		equal(used - known, set(), f"targets that {page} names")


def test_metrics_are_on_the_page(t):
	page = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.M))
	equal(set(METRICS) - page, set(), "names of the Go agent that docs/metrics.md lacks")
	for doc in ("README.md", "ARCHITECTURE.md"):
		named = set(re.findall(r"\bpipeops_\w+", (ROOT / doc).read_text()))
		equal(named - page, set(), f"metrics of {doc} that docs/metrics.md lacks")


def test_help_lists_each_flag_of_the_page(t):
	text = helps()
	users = {"tunnel": "tunnel-sidecar", "control": "control-agent", "status": "status-server"}
	rows = re.findall(r"^\| `([\w.]+)` \|.*\| `--([\w-]+)` \| ([^|]*) \|", (ROOT / "docs/configuration.md").read_text(), re.M)
	check(len(rows) > 5, "docs/configuration.md lists flags")
	for key, flag, who in rows:
		for word, program in users.items():
			equal(f"--{flag}" in re.findall(r"--[a-z-]+", text[program]), word in who or who == "all",
			      f"{key}: {program} has --{flag}")


def test_exit_codes_are_those_of_help(t):
	said = re.search(r"Exit codes: (.*?)\.", (ROOT / "README.md").read_text(), re.S).group(1)
	told = re.search(r"Exit codes: (.*?)\.", helps()["control-agent"], re.S).group(1)
	equal(said.split(), told.split(), "exit codes of README and --help")


if __name__ == "__main__":
	harness.main()
