"""Network namespaces of one's own, and a link between two: what is done to it, nobody else feels. Takes root."""

import contextlib
import ctypes
import os
import signal
import subprocess

from cluster import die_with_parent
from waiting import wait_until

CLONE_NEWNET = 0x40000000
NEAR, FAR = "192.0.2.1", "192.0.2.2"  # RFC 5737: nobody's


def why_not():
    """Why there can be no namespaces here; None when there can."""
    if os.getuid() != 0:
        return "network namespaces take root"
    tried = subprocess.run(["unshare", "--net", "ip", "link", "add", "name", "near", "type", "veth", "peer", "name", "far"],
                           capture_output=True, text=True)
    return tried.stderr.strip() or "no network namespace can be made here" if tried.returncode else None


class Namespace:
    """Lives as long as a process in it, so that it ends with the test however that ends."""

    def __init__(self):
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=die_with_parent(signal.SIGKILL))
        self.file = f"/proc/{self.process.pid}/ns/net"
        wait_until(lambda: os.readlink(self.file) != os.readlink("/proc/self/ns/net"), what="the namespace is there")

    def run(self, *command):
        subprocess.run(["nsenter", f"--net={self.file}", *map(str, command)], check=True)

    @contextlib.contextmanager
    def inside(self):
        """What this thread starts meanwhile is in the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as outside, open(self.file) as within:
            assert libc.setns(within.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(outside.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())

    def destroy(self):
        self.process.kill()
        self.process.wait()


class Link:
    """Two namespaces: near, whose address is NEAR, and far, whose is FAR."""

    def __init__(self):
        self.near, self.far = Namespace(), Namespace()
        self.near.run("ip", "link", "add", "name", "veth0", "type", "veth", "peer", "name", "veth0", "netns", self.far.process.pid)
        for side, address in ((self.near, NEAR), (self.far, FAR)):
            side.run("ip", "address", "add", f"{address}/24", "dev", "veth0")
            side.run("ip", "link", "set", "veth0", "up")
            side.run("ip", "link", "set", "lo", "up")

    def cut(self):
        """From now on what either sends is lost, and nobody is told, nor the sender: it goes to an address of the link's that nobody has."""
        for side, other in ((self.near, FAR), (self.far, NEAR)):
            side.run("ip", "neighbour", "replace", other, "lladdr", "02:00:00:00:00:99", "dev", "veth0")

    def mend(self):
        for side, other in ((self.near, FAR), (self.far, NEAR)):
            side.run("ip", "neighbour", "delete", other, "dev", "veth0")

    def limit(self, megabytes_per_s):
        """What near sends; what is too much waits, at most for a tenth of a second, then it is lost."""
        self.near.run("tc", "qdisc", "replace", "dev", "veth0", "root", "tbf", "rate", f"{megabytes_per_s * 8:g}mbit",
                      "burst", "64kb", "latency", "100ms")

    def destroy(self):
        self.near.destroy()
        self.far.destroy()
