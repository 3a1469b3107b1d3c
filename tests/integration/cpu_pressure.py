"""What others wait for the CPUs of the host, as a test wants it. Takes root."""

import os

import pytest

import daemon

needs_pressure = pytest.mark.skipif(os.getuid() != 0 or not os.path.exists("/proc/pressure/cpu"),
                                    reason="takes root, and a kernel that counts pressure")


class CpuPressure:
    """What the kernel counts, for a daemon that is started as .program: as much as it is told."""

    def __init__(self, directory):
        self.file, self.program, self.total_us = directory / "cpu", directory / "backfilld", 0
        self.file.write_text(self.text())
        self.program.write_text(
            f"""#!/bin/sh\nexec unshare -m sh -c 'mount --bind "$0" /proc/pressure/cpu && exec "$@"' {self.file} {daemon.PROGRAM} "$@"\n""")
        self.program.chmod(0o755)

    def text(self):
        return f"some avg10=0.00 avg60=0.00 avg300=0.00 total={self.total_us:012}\n"

    def rise(self, us):
        self.total_us += us
        with open(self.file, "r+") as file:
            file.write(self.text())
