"""Ports for the servers of the tests."""

import itertools
import os
import socket

FIRST, COUNT = 20000, 12768  # below 32768, from where on Linux takes the ports of outgoing connections
_tries = itertools.count()


def free_port():
    """One that nothing on this host has now, nor a connection gets before it is used; each run begins at another."""
    for _ in range(COUNT):
        port = FIRST + (os.getpid() * 31 + next(_tries)) % COUNT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no port of {FIRST} to {FIRST + COUNT - 1} is free")
