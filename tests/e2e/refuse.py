#!/usr/bin/env python3
"""Runs a program as on a kernel, or under a container runtime, that refuses it
some system calls:

	refuse.py io_uring_setup=EPERM io_uring_register:1:11=EINVAL -- PROGRAM ARG…

CALL=ERRNO answers every such call with the errno (0: it does nothing),
CALL:ARG:VALUE=ERRNO only where argument ARG is VALUE.
"""
import ctypes
import errno
import os
import platform
import struct
import sys

CALLS = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "landlock_create_ruleset": 444,
	 "landlock_add_rule": 445, "landlock_restrict_self": 446,
	 "seccomp": {"x86_64": 317, "aarch64": 277}[platform.machine()]}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7fff0000, 0x00050000


def instruction(code, k, yes=0, no=0):
	return struct.pack("HBBI", code, yes, no, k)


def rules(words):
	for word in words:
		what, _, code = word.partition("=")
		name, *where = what.split(":")
		answer = instruction(RETURN, ERRNO | (int(code) if code.isdigit() else getattr(errno, code)))
		body = answer
		if where:
			body = (instruction(LOAD, 16 + 8 * int(where[0])) + instruction(EQUAL, int(where[1]), 0, 1) + answer
				+ instruction(LOAD, 0))
		yield instruction(EQUAL, CALLS[name], 0, len(body) // 8) + body


def main():
	at = sys.argv.index("--")
	code = instruction(LOAD, 0) + b"".join(rules(sys.argv[1:at])) + instruction(RETURN, ALLOW)
	libc = ctypes.CDLL(None, use_errno=True)
	room = ctypes.create_string_buffer(code, len(code))
	program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(room))
	if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, MODE_FILTER, program, 0, 0):
		sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
	os.execv(sys.argv[at + 1], sys.argv[at + 1:])


if __name__ == "__main__":
	main()
