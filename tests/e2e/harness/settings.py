"""Where things are and how long is waited: what the environment says of a run.

BIN            the folder of the programs (default build/release/bin)
IO             the loop backends (default "epoll uring")
E2E_ONE_LOOP=s each test on one of the loops, which by a hash of its name and s
E2E_SHORT=1    short passes and long patience, for sanitizers
E2E_SLOT=n     the range of ports of a test file that runs beside others
"""
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ.get("BIN", ROOT / "build/release/bin")).resolve()
PEERS = ROOT / "build/peers"
# sshd lives outside a user's PATH; scripts/deps may have unpacked it and promtool.
os.environ["PATH"] += "".join(f":{d}" for d in ("/usr/sbin", "/sbin", PEERS / "root/usr/bin", PEERS / "root/usr/sbin"))
IO = os.environ.get("IO", "epoll uring").split()
ONE_LOOP = os.environ.get("E2E_ONE_LOOP", "")
SHORT = os.environ.get("E2E_SHORT") == "1"
SLOT = int(os.environ.get("E2E_SLOT", "0"))
PATIENCE = 45 if SHORT else 20  # seconds until something awaited is given up
MIB = 1 << 20
