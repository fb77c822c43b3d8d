"""Peers and tools that a test needs beside the programs."""
import functools
import os
import subprocess
import sys

from .checks import Skip, check
from .settings import PEERS, ROOT


def openssl(*argv, cwd):
	got = subprocess.run(["openssl", *argv], cwd=cwd, capture_output=True, text=True, check=False)
	check(got.returncode == 0, f"openssl {argv[0]}: {got.stderr}")


class Certificates:
	"""A CA made on the spot and a server certificate for loopback names."""

	def __init__(self, folder, name="ca", hosts="DNS:localhost,IP:127.0.0.1,IP:::1"):
		self.ca, ca_key = folder / f"{name}.pem", folder / f"{name}.key"
		self.cert, self.key = folder / f"{name}-server.pem", folder / f"{name}-server.key"
		request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
		ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
		openssl("req", "-x509", *ec, "-keyout", ca_key, "-out", self.ca, "-days", "2",
			"-subj", f"/CN=e2e {name}", cwd=folder)
		openssl("req", *ec, "-keyout", self.key, "-out", request, "-subj", "/CN=e2e server", cwd=folder)
		extra.write_text(f"subjectAltName={hosts}\n")
		openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial",
			"-out", self.cert, "-days", "2", "-extfile", extra, cwd=folder)


def chisel_peer():
	build_peers()
	return PEERS / "chisel-peer"


@functools.cache
def build_peers():
	"""Builds the Go peers; raises Failure with the reason.  E2E_PEERS=built: they must be there."""
	PEERS.mkdir(parents=True, exist_ok=True)
	for name in ("chisel-peer", "evil-peer"):
		if os.environ.get("E2E_PEERS") == "built":
			check((PEERS / name).exists(), f"{PEERS / name} is not built")
			continue
		got = subprocess.run([ROOT / "scripts/go", "build", "-o", PEERS / name, f"./{name}"],
				     cwd=ROOT / "tests/peers", capture_output=True, text=True, check=False)
		check(got.returncode == 0, f"the Go peer does not build: {got.stderr.strip()[-400:]}")


def yaml_module():
	"""PyYAML: the system's, else that of tests/requirements.txt."""
	try:
		import yaml
	except ImportError:
		got = subprocess.run([ROOT / "scripts/venv"], capture_output=True, text=True, check=False)
		if got.returncode != 0:
			raise Skip("no PyYAML, and it can't be had") from None
		sys.path.insert(0, got.stdout.strip())
		import yaml
	return yaml
