#!/usr/bin/env python3
"""Outages: each is found, named by its cause, and over when its cause is over."""
import re
import time

import harness
from harness import check, each, eventually
from pod import Devplane, Pod, sum_of

SECONDS = "pipeops_tunnel_state_seconds_total"


def started(metrics):
	return metrics['pipeops_component_start_time_seconds{component="tunnel"}']


def causes(metrics):
	"""What the tunnel was down for until now: cause → seconds."""
	found = {re.search(r'state="disconnected",cause="(\w+)"', k): v for k, v in metrics.items() if k.startswith(SECONDS)}
	return {k.group(1): v for k, v in found.items() if k and v}


def adds_up(p):
	"""Connected and not connected, by cause, are together the tunnel's age."""
	m = p.metrics()
	check(sum_of(m, SECONDS) <= time.time() - started(m) + 0.1, "the parts are more than the whole")
	return abs(sum_of(m, SECONDS) - (time.time() - started(m))) < 1.5  # the last beat's


@each(io=harness.IO)
def test_time_by_cause(t, io):
	plane = Devplane(t, ["web"], "--plain")
	p = Pod(t, plane, {"web": 9}, io=io).start()
	eventually(lambda: sum_of(p.metrics(), SECONDS, state="connected") > 1, "time is booked also while nothing happens")
	eventually(lambda: adds_up(p), "the sum is the age of the program")
	check(set(causes(p.metrics())) <= {"not_wanted", "starting"}, f"before the outage: {causes(p.metrics())}")
	plane.program.kill()
	m = eventually(lambda: causes(m := p.metrics()).get("tcp", 0) > 0.5 and m, "time is the outage's")
	check({"peer_closed", "reset"} & set(causes(m)), f"what took it down: {causes(m)}")
	check(sum_of(m, "pipeops_tunnel_failures_total", cause="tcp") >= 1, "attempts are counted by cause")
	check(sum_of(m, SECONDS, state="connected") > 0, "time connected stays")
	down = sum_of(m, SECONDS, state="connected")
	eventually(lambda: adds_up(p), "the sum is still the age of the program")
	check(sum_of(p.metrics(), SECONDS, state="connected") == down, "nothing is connected meanwhile")
	check(p.json("/api/v1/blackbox")["components"][0]["session"]["cause"] == "tcp", "the black box names the cause")
	eventually(lambda: sum_of(p.metrics(), "pipeops_tunnel_next_retry_timestamp_seconds") > time.time() - 60,
		   "when it is tried again")


if __name__ == "__main__":
	harness.main()
