#!/usr/bin/env python3
"""A load balancer in front of the control plane that drops kept connections: each
connection carries one exchange, and the next request on it is lost in some way.
Heartbeats and polls are repeated on a fresh connection, and nothing is warned of."""
import contextlib
import socket
import struct
import threading

import harness
from harness import check, each, equal, eventually
from pod import Devplane, Pod, sum_of

STALE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class LoadBalancer:
	"""Before `target`; `way`: what becomes of the second request on a connection."""

	def __init__(self, target, way):
		self.target, self.way, self.dropped = target, way, 0
		self.listener = socket.create_server(("127.0.0.1", 0))
		self.port = self.listener.getsockname()[1]
		threading.Thread(target=self._accept, daemon=True).start()

	def _accept(self):
		with contextlib.suppress(OSError):
			while True:
				threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

	def _serve(self, client):
		with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as server:
			server.settimeout(0.3)
			client.settimeout(None)
			server.sendall(client.recv(65536))
			with contextlib.suppress(TimeoutError):
				while data := server.recv(65536):
					client.sendall(data)
			if client.recv(65536):
				self.dropped += 1
				if self.way == "stale":
					client.sendall(STALE)
				elif self.way == "reset":
					client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
				elif self.way == "silent":
					client.recv(1)


def heartbeats(t, way, want):
	plane = Devplane(t, ["web"], "--plain")
	balancer = LoadBalancer(plane.port, way)
	plane.api_url = f"http://127.0.0.1:{balancer.port}"
	p = Pod(t, plane, {"web": 9})
	p.start_status()
	p.start_control()
	eventually(lambda: sum_of(p.metrics(), "pipeops_heartbeat_total") >= want, f"{want} heartbeats", 60)
	equal(sum_of(p.metrics(), "pipeops_heartbeat_errors_total"), 0, "heartbeat errors")
	check(balancer.dropped >= want - 1, f"connections were dropped: {balancer.dropped}")
	equal([e for e in p.control.events if e.get("level") in ("warn", "error") and "heartbeat" in str(e)], [],
	      "warnings of heartbeats")
	balancer.listener.close()


@each(way=("reset", "end", "stale", "silent"))
def test_heartbeats_over_connections_that_are_dropped(t, way):
	heartbeats(t, way, 3)


if __name__ == "__main__":
	harness.main()
