#!/usr/bin/env python3
"""Our SSH engine (tests/interop/ssh_driver.c) with OpenSSH and libssh2 as
peers, in both roles: every host key, every cipher, every key exchange, re-keys with
data in flight, wrong passwords."""
import hashlib
import itertools
import os
import subprocess

import harness
from harness import MIB, SHORT, Echo, Skip, check, each, equal
from sshd import USER, Sshd

KEX = ["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"]
# Host key file kind, algorithm.
HOST_KEYS = [("ed25519", "ssh-ed25519"), ("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "rsa-sha2-256"),
	     ("rsa", "rsa-sha2-512")]
CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"]
# The host key is the key exchange's, the cipher the transport's: each is met, and their product
# stands in ssh_test.c ("every algorithm").
ALGORITHMS = list(zip(HOST_KEYS, itertools.cycle(CIPHERS)))
BULK = (2 if SHORT else 8) * MIB


def driver():
	return harness.program("ssh-driver")


def as_client(t, sshd, *flags, size):
	"""Our client against sshd: echoes size bytes where it is let in; else its
	key exchange is verified and the refusal must be a clean one."""
	echo = t.open(Echo())
	password = "any" if sshd.lets_in else "wrong"
	c = t.start([driver(), "client", "127.0.0.1", sshd.port, "--user", USER, "--password", password,
		     "--bytes", size, "--target-port", echo.port, *flags])
	code = c.exit_code(60)
	names = c.wait("negotiated")
	equal(names["fingerprint"], sshd.fingerprint, "fingerprint of the host key")
	if not sshd.lets_in:
		equal(c.find("failed")["reason"], "auth_refused", "reason")
		equal(code, 1, "exit code")
		return names, None
	done = c.wait("echoed")
	equal((done["bytes"], done["equal"]), (size, True), "echo")
	equal(code, 0, "exit code")
	return names, done


@each(algorithms=ALGORITHMS)
def test_client_with_sshd(t, algorithms):
	(kind, algorithm), cipher = algorithms
	sshd = Sshd(t, kind, f"Ciphers {cipher}", f"HostKeyAlgorithms {algorithm}")
	names, _ = as_client(t, sshd, size=300_000)
	equal((names["host_key"], names["cipher"]), (algorithm, cipher), "negotiated")
	check(names["strict"] or "OpenSSH_9.2" in names["peer"] or "OpenSSH_8" in names["peer"], "strict key exchange")


@each(kex=KEX)
def test_client_with_sshd_kex(t, kex):
	sshd = Sshd(t, "ed25519", f"KexAlgorithms {kex}")
	names, _ = as_client(t, sshd, size=1000)
	equal(names["kex"], kex, "key exchange")


@each(cipher=CIPHERS, who=["ours", "theirs", "both"])
def test_client_with_sshd_rekeys(t, cipher, who):
	sshd = Sshd(t, "ed25519", f"Ciphers {cipher}", *(["RekeyLimit 256K"] if who != "ours" else []))
	if not sshd.lets_in:
		raise Skip("sshd lets nobody in without root and a mount namespace")
	_, done = as_client(t, sshd, *(["--rekey", 256 * 1024] if who != "theirs" else []), size=BULK)
	check(done["rekeys"] >= 4, f"{done['rekeys']} rekeys")


def test_client_with_sshd_nothing_in_common(t):
	sshd = Sshd(t, "ed25519", "Ciphers aes128-ctr")
	c = t.start([driver(), "client", "127.0.0.1", sshd.port, "--cipher", CIPHERS[0]])
	equal(c.exit_code(), 1, "exit code")
	equal(c.find("failed")["reason"], "no_common_algorithm", "reason")


def server(t, *flags):
	s = t.start([driver(), "server", "--user", "user", "--password", "secret", *flags])
	return s, s.wait("ready")["port"]


def openssh(t, port, data, *options, password="secret"):
	"""OpenSSH's client: data to our echo and back; (exit code, output, errors)."""
	ask = t.dir / "askpass"
	ask.write_text(f"#!/bin/sh\necho {password}\n")
	ask.chmod(0o755)
	got = subprocess.run(
		["ssh", "-v", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		 "-o", "NumberOfPasswordPrompts=1", "-o", "PubkeyAuthentication=no", *options, "-W", "127.0.0.1:7",
		 "-p", str(port), "user@127.0.0.1"],
		input=data, capture_output=True, timeout=60, check=False,
		env={**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "none"})
	return got.returncode, got.stdout, got.stderr.decode(errors="replace")


def openssh_echo(t, port, data, *options):
	code, back, errors = openssh(t, port, data, *options)
	check(code == 0, f"ssh: exit code {code}: {errors.strip().splitlines()[-3:]}")
	equal(hashlib.sha256(back).hexdigest(), hashlib.sha256(data).hexdigest(), "SHA-256 of the echo")
	return errors


@each(algorithms=ALGORITHMS)
def test_server_with_ssh(t, algorithms):
	(kind, algorithm), cipher = algorithms
	s, port = server(t, "--key", kind)
	openssh_echo(t, port, os.urandom(200_000), "-o", f"Ciphers={cipher}", "-o", f"HostKeyAlgorithms={algorithm}")
	names = s.wait("negotiated")
	equal((names["host_key"], names["cipher"]), (algorithm, cipher), "negotiated")


@each(kex=KEX)
def test_server_with_ssh_kex(t, kex):
	s, port = server(t)
	openssh_echo(t, port, b"hello", "-o", f"KexAlgorithms={kex}")
	equal(s.wait("negotiated")["kex"], kex, "key exchange")


@each(cipher=CIPHERS, who=["ours", "theirs", "both"])
def test_server_with_ssh_rekeys(t, cipher, who):
	s, port = server(t, *(["--rekey", 256 * 1024] if who != "theirs" else []))
	openssh_echo(t, port, os.urandom(BULK), "-o", f"Ciphers={cipher}",
		     *(["-o", "RekeyLimit=256K"] if who != "ours" else []))
	done = s.wait("session_ended")
	check(done["rekeys"] >= 4, f"{done['rekeys']} rekeys")


def test_server_with_ssh_wrong_password(t):
	s, port = server(t)
	code, _, errors = openssh(t, port, b"", password="wrong")
	equal(code, 255, "exit code")
	check("Permission denied" in errors, f"what ssh says: {errors[-300:]}")
	s.wait("session_ended")
	check(s.running(), "the server lives on")


@each(algorithms=ALGORITHMS)
def test_server_with_libssh2(t, algorithms):
	libssh2(t, "", *algorithms, 200_000)


@each(kex=KEX)
def test_server_with_libssh2_kex(t, kex):
	libssh2(t, kex, HOST_KEYS[0], CIPHERS[1], 1000)


def test_server_with_libssh2_rekeys(t):
	done = libssh2(t, "", HOST_KEYS[0], CIPHERS[1], MIB, "--rekey", 256 * 1024)
	check(done["rekeys"] >= 2, f"{done['rekeys']} rekeys")


def libssh2(t, kex, host_key, cipher, size, *flags):
	kind, algorithm = host_key
	s, port = server(t, "--key", kind, *flags)
	code, text = harness.run([harness.program("libssh2-client"), port, "user", "secret", size, kex, algorithm, cipher],
				 seconds=60)
	if code == 77:
		raise Skip(text.strip())
	check(code == 0, f"exit code {code}: {text}")
	names = s.wait("negotiated")
	check(names["host_key"] == algorithm and names["cipher"] in cipher, f"negotiated: {names}")
	return s.wait("session_ended")


if __name__ == "__main__":
	harness.main()
