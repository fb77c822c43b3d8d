"""What every end-to-end test stands on: programs, ports, services, checks.

A test file is a script.  Its functions test_* are the tests; a function takes
one argument, the Case, which owns every program, service and folder that the
test opens and closes all of them at its end, by pid.  @each repeats a test.

	def test_bytes_arrive(t):
	    ...
	if __name__ == "__main__":
	    harness.main()

  settings.py  what the environment says      child.py     a child process and its log events
  checks.py    checks, waiting                services.py  TCP services and their far ends
  ports.py     free ports                     peers.py     certificates, the Go peers, PyYAML
  case.py      one run of one test            runner.py    @each, main()
"""
from .case import Case, LeakGate
from .checks import Failure, Skip, await_value, check, equal, eventually, together
from .child import Program, program, read_event, run
from .peers import Certificates, build_peers, chisel_peer, openssl, yaml_module
from .ports import free_port
from .runner import each, main, on_one_loop
from .services import HEADER_BYTES, Duplex, Echo, Service, connect, echo_once, recv_exactly, transfer, works
from .settings import BIN, IO, MIB, ONE_LOOP, PATIENCE, PEERS, ROOT, SHORT
