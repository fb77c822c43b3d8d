#!/usr/bin/env python3
"""What stays of a container that died: its counters on /metrics, its last words
on /api/v1/blackbox."""
import datetime
import json
import threading
import time

import harness
from harness import MIB, SHORT, Duplex, Echo, check, each, echo_once, equal, eventually, transfer
from pod import Devplane, Pod, sum_of

DOWN = 'pipeops_component_up{component="tunnel"}'
START = 'pipeops_component_start_time_seconds{component="tunnel"}'


def up(t, forwards, io="auto"):
	plane = Devplane(t, forwards)
	p = Pod(t, plane, forwards, io).start()
	return p, plane.ports()


def component(p, name):
	return next(c for c in p.json("/api/v1/blackbox")["components"] if c["name"] == name)


def texts(c, ring):
	return [line["text"] for line in c[ring]["lines"]]


@each(io=harness.IO)
def test_tunnel_killed_under_traffic(t, io):
	d = t.open(Duplex())
	p, far = up(t, {"web": d.port}, io)
	transfer(far["web"], d, MIB, MIB)
	before, alive = p.metrics(), component(p, "tunnel")
	equal(alive["presence"], "alive", "presence")
	equal(alive["session"]["state"], "up", "state")
	size = (64 if SHORT else 512) * MIB

	def carry():
		try:
			transfer(far["web"], d, size, size)
		except Exception:  # it is cut, as it must be
			pass
	stream = threading.Thread(target=carry)
	stream.start()
	eventually(lambda: min(p.bytes("web", d) for d in ("up", "down")) > 2 * MIB, "bytes are flowing both ways")
	killed = time.time()
	p.tunnel.kill()
	eventually(lambda: p.metrics()[DOWN] == 0, "the tunnel is seen as down")
	after = p.metrics()
	equal(after[START], before[START], "start of the dead tunnel")
	check(abs(after[START] - killed) < 120, f"a start in the past: {after[START]}")
	for direction in ("up", "down"):
		check(sum_of(after, "pipeops_tunnel_bytes_total", forward="web", direction=direction) > MIB,
		      f"bytes {direction} are kept")
	equal(sum_of(after, "pipeops_tunnel_sessions_total"), 1, "sessions")
	check("pipeops_tunnel_up" not in after, "a gauge of the dead is gone")

	dead = component(p, "tunnel")
	equal(dead["presence"], "dead", "presence")
	equal(dead["incarnation"], alive["incarnation"], "incarnation")
	equal(dead["phase"], "running", "the phase it died in")
	check("exit_code" not in dead, "nobody stored an exit code")
	equal(dead["session"]["state"], "up", "its last state")
	started = datetime.datetime.fromisoformat(dead["started"].replace("Z", "+00:00")).timestamp()
	check(abs(started - after[START]) < 0.01, f"started {started}, /metrics says {after[START]}")
	check(any("tunnel_up" in line for line in texts(dead, "log")), f"log lines: {texts(dead, 'log')}")
	for want in ("state resolving", "connected: 1 forwards", "state up"):
		check(any(line.startswith(want) for line in texts(dead, "events")), f"{want} in {texts(dead, 'events')}")
	equal(component(p, "control")["presence"], "alive", "control")
	stream.join()

	code, text = harness.run([harness.program("status-server"), "dump", t.dir / "bus/tunnel/segment", "--json"])
	equal(code, 0, f"exit code of the dump: {text[-200:]}")
	dump = json.loads(text)
	equal((dump["valid"], dump["writer"]["presence"]), (True, "dead"), "the dump's verdict")
	carried = sum(n["value"] for n in dump["numbers"] if n["name"] == "pipeops_tunnel_bytes_total")
	equal(carried, sum_of(after, "pipeops_tunnel_bytes_total"), "bytes in the dump and on /metrics")

	p.start_tunnel()
	p.tunnel.wait("tunnel_up")
	again = eventually(lambda: (c := component(p, "tunnel"))["presence"] == "alive" and c, "a new life")
	check(again["incarnation"] != dead["incarnation"], "its own incarnation")
	m = p.metrics()
	check(m[START] > after[START], "its own start")
	equal(m[DOWN], 1, "component_up")
	check_previous(t, p, again["previous"], dead, m, killed)


def check_previous(t, p, previous, dead, m, killed):
	"""The new life tells how the one before ended, when and with which words."""
	equal(previous["incarnation"], dead["incarnation"], "the dead one's incarnation")
	equal((previous["ended"], previous["phase"]), ("killed", "running"), "how it ended")
	equal(previous["session"]["state"], "up", "its last state")
	equal(texts(previous, "log"), texts(dead, "log"), "its last log lines")
	equal(texts(previous, "events"), texts(dead, "events"), "its last events")
	end = 'component="tunnel",how="killed",phase="running",state="up"'
	equal(m.get("pipeops_component_last_end_info{%s}" % end), 1, "how it ended, as a metric")
	last = m['pipeops_component_last_end_timestamp_seconds{component="tunnel"}']
	check(killed - 3 < last <= killed + 1, f"last sign at {last}, killed at {killed}")
	check('pipeops_component_last_exit_code{component="tunnel"}' not in m, "no exit code of the killed")
	equal(sum_of(m, "pipeops_tunnel_sessions_total"), 1, "counters are those of the living one")
	code, text = harness.run([harness.program("status-server"), "dump", t.dir / "bus/tunnel/segment", "--json"])
	equal(code, 0, f"exit code of the dump: {text[-200:]}")
	equal(json.loads(text)["previous"]["ended"], "killed", "the dump's word")
	names = sorted(x.name for x in (t.dir / "bus/tunnel").iterdir())
	equal(names, ["owner.lock", "previous", "segment"], "files")


def test_orderly_end_and_errors(t):
	e = t.open(Echo())
	p, far = up(t, {"web": e.port})
	echo_once(far["web"])
	p.plane.program.kill()  # the tunnel server with it
	eventually(lambda: any(x.startswith("error ") for x in texts(component(p, "tunnel"), "events")),
		   "the error is an event")
	c = component(p, "tunnel")
	check(any(x.startswith("closed: ") for x in texts(c, "events")), f"the close: {texts(c, 'events')}")
	check(c["session"]["last_error"], "the error is in the record")
	equal(p.tunnel.stop(), 0, "exit code")
	c = eventually(lambda: (c := component(p, "tunnel"))["presence"] == "dead" and c, "the end is seen")
	equal((c["phase"], c["exit_code"]), ("stopped", 0), "phase and exit code")
	equal(p.metrics().get('pipeops_component_last_exit_code{component="tunnel"}'), 0, "exit code as a metric")
	eventually(lambda: any(x.startswith("error: ") for x in texts(component(p, "control"), "events")),
		   "control's error is an event", 30)


def test_nobody(t):
	p = Pod(t, None, {"web": 1})
	server = t.start([harness.program("status-server"), "--port", p.status_port, "--bind", "127.0.0.1",
			  "--bus-dir", t.dir / "bus"])
	server.wait("listening")
	equal([c["presence"] for c in p.json("/api/v1/blackbox")["components"]], ["absent", "absent"], "nobody is there")


if __name__ == "__main__":
	harness.main()
