"""OpenSSH's server, with a configuration of its own."""
import base64
import functools
import hashlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess

import harness
from harness import Skip, free_port

USER = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name

# Password authentication asks PAM and needs root.  In a mount namespace of its
# own this sshd sees a PAM that says yes, or knows one password; the machine's
# stays as it is.
NAMESPACE = """
set -e
mount -t tmpfs none /run && mkdir -m 755 /run/sshd
mount -t tmpfs none /etc/pam.d
if [ -e "$1/password" ]; then
	auth="pam_exec.so quiet expose_authtok $1/password"
else
	auth=pam_permit.so
fi
printf "%s\\n" "auth required $auth" "auth required pam_permit.so" "account required pam_permit.so" \
	"session required pam_permit.so" >/etc/pam.d/sshd
mount --bind "$1/passwd" /etc/passwd
shift
exec "$@"
"""


@functools.cache
def has_namespaces():
	return os.getuid() == 0 and subprocess.run(
		["unshare", "-m", "mount", "-t", "tmpfs", "none", "/run"], capture_output=True, check=False).returncode == 0


def children(pid):
	"""All processes below pid, the deepest last."""
	found = []
	for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
		for child in map(int, task.read_text().split()):
			found += [child, *children(child)]
	return found


class Sshd:
	"""lines go before the defaults, so they win (sshd takes the first)."""

	def __init__(self, t, kind="ed25519", *lines, password=None):
		key = t.dir / f"host-{kind}"
		subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
		blob = base64.b64decode(pathlib.Path(f"{key}.pub").read_text().split()[1])
		self.fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode()
		self.port = free_port()
		self.t = t
		self.lets_in = has_namespaces()
		config = t.dir / "sshd_config"
		config.write_text("\n".join([
			*lines, f"ListenAddress 127.0.0.1:{self.port}", f"HostKey {key}", f"PidFile {t.dir}/pid",
			"StrictModes no", "LogLevel VERBOSE", "AllowTcpForwarding yes", "PermitRootLogin no", "UseDNS no",
			"AuthorizedKeysFile none", f"UsePAM {'yes' if self.lets_in else 'no'}",
			"PasswordAuthentication yes"]) + "\n")
		self.argv = [shutil.which("sshd"), "-D", "-e", "-f", config]
		if self.lets_in:
			users = pathlib.Path("/etc/passwd").read_text()
			if "\nsshd:" not in users:
				users += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
			(t.dir / "passwd").write_text(users)
			if password:
				check = t.dir / "password"
				check.write_text(f"#!/bin/sh\n[ \"$(tr -d '\\000')\" = '{password}' ]\n")
				check.chmod(0o755)
			t.dir.chmod(0o755)
			self.argv = ["unshare", "-m", "sh", "-c", NAMESPACE, "sh", t.dir, *self.argv]
		elif os.getuid() == 0:
			t.dir.chmod(0o755)
			shutil.chown(key, "nobody")
			self.argv = ["setpriv", "--reuid=nobody", "--clear-groups", *self.argv]
		self.start()

	def start(self):
		self.program = self.t.start(self.argv, name="sshd")
		harness.eventually(lambda: "Server listening" in self.program.text(), "sshd listens")

	def must_let_in(self):
		if not self.lets_in:
			raise Skip("sshd lets nobody in without root and a mount namespace")
		return self

	def sessions(self):
		"""Its processes that serve a connection."""
		return children(self.program.pid)

	def kill(self):
		"""With all its connections, as a machine that goes."""
		found = self.sessions()
		self.program.kill()
		for pid in found:
			try:
				os.kill(pid, signal.SIGKILL)
			except ProcessLookupError:
				pass
