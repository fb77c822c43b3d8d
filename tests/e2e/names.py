"""A name server that fails on order, and the mount namespace in which a program asks it."""
import contextlib
import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

NAMESPACE = """set -e
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/hosts" /etc/hosts
shift
exec "$@"
"""


def has_namespaces():
	return os.getuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0


class NameServer:
	"""Answers A of every name with one address, fails, or says nothing at all."""

	def __init__(self, address):
		self.address, self.mode = address, "answer"
		self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		for _ in range(50):
			self.host = f"127.{random.randint(60, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
			with contextlib.suppress(OSError):
				self.socket.bind((self.host, 53))
				break
		self.folder = pathlib.Path(tempfile.mkdtemp(prefix="names-"))
		(self.folder / "resolv.conf").write_text(f"nameserver {self.host}\n")
		(self.folder / "hosts").write_text("127.0.0.1 localhost\n")
		threading.Thread(target=self._serve, daemon=True).start()

	def _serve(self):
		while True:
			try:
				query, peer = self.socket.recvfrom(512)
			except OSError:
				return
			if self.mode == "silent":
				continue
			end = query.index(b"\0", 12) + 5
			kind = struct.unpack_from(">H", query, end - 4)[0]
			answers = self.mode == "answer" and kind == 1
			flags = 0x8180 if self.mode == "answer" else 0x8182  # or SERVFAIL
			reply = query[:2] + struct.pack(">5H", flags, 1, answers, 0, 0) + query[12:end]
			if answers:
				reply += b"\xc0\x0c" + struct.pack(">2HIH", 1, 1, 0, 4) + socket.inet_aton(self.address)
			self.socket.sendto(reply, peer)

	def wrap(self):
		"""What stands before the command line of a program that asks this server."""
		return ["unshare", "-m", "sh", "-c", NAMESPACE, "sh", self.folder]

	def close(self):
		self.socket.close()
		shutil.rmtree(self.folder, ignore_errors=True)
