"""A streaming standby of a throwaway cluster."""

import subprocess

from cluster import Cluster


class Standby(Cluster):
    """A streaming standby of a cluster, with a name of its own."""

    def __init__(self, primary, name):
        self.primary, self.name = primary, name
        super().__init__(cluster_name=f"'{name}'")

    def make_data(self):
        subprocess.run([f"{self.binaries}/pg_basebackup", "-h", self.primary.directory, "-p", str(self.primary.port),
                        "-U", "postgres", "-D", self.data, "-R", "-c", "fast", "--no-sync"],
                       check=True, cwd=self.directory, **self.as_account())

    def backend(self, kind):
        """The pid of one of its processes: walreceiver, startup."""
        children = subprocess.run(["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="], check=True,
                                  capture_output=True, text=True).stdout.splitlines()
        return next(int(line.split()[0]) for line in children if kind in line)
