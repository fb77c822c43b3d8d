"""Ports for what a test starts."""
import itertools
import os
import socket

from .checks import Failure
from .settings import SLOT


def free_port():
	"""A port nobody listens on now, below the range that connects draw from:
	an outgoing connection of another program cannot take it meanwhile."""
	for port in itertools.islice(_ports, 200):
		with socket.socket() as s:
			try:
				s.bind(("0.0.0.0", port))
				return port
			except OSError:
				continue
	raise Failure("no free port")


# A test file that runs beside another has a range of its own (tests/e2e/run): six of them
# below 32768, where the kernel begins to draw from.
_first, _width = 12000 + SLOT * 3400, 3400
_begin = _first + os.getpid() * 37 % _width
_ports = itertools.cycle([*range(_begin, _first + _width), *range(_first, _begin)])
