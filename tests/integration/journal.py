"""A journal that only listens, at the place where systemd's would: run in a mount namespace of its own.

    unshare -m python3 journal.py OUTPUT PROGRAM [ARGUMENT]...

Runs the program with its stderr as under the service manager, and writes each record that it sends as a line of JSON.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import threading

DIRECTORY = "/run/systemd/journal"


def fields(datagram):
    """The native protocol: NAME=value, or NAME, the length as 64 bits, and a value of many lines."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, size = line, struct.unpack("<Q", rest[:8])[0]
            value, rest = rest[8:8 + size], rest[8 + size + 1:]
        found[name.decode()] = value.decode()
        datagram = rest
    return found


def listen(listener, output):
    """Until an empty datagram: records that the program sent before it ended are still queued then."""
    while datagram := listener.recv(1 << 20):
        print(json.dumps(fields(datagram)), file=output, flush=True)


def main(output, *command):
    os.makedirs(DIRECTORY, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", DIRECTORY], check=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(f"{DIRECTORY}/socket")
    with open(output, "a") as records, open(f"{output}.stderr", "a") as stderr:
        reader = threading.Thread(target=listen, args=(listener, records))
        reader.start()
        try:
            status = os.fstat(stderr.fileno())
            return subprocess.run(command, stderr=stderr,
                                  env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}).returncode
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"", listener.getsockname())
            reader.join()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
