"""A streaming standby of a throwaway cluster."""

import subprocess

from cluster import Cluster


class Standby(Cluster):
    """A streaming standby of a cluster, with a name of its own."""

    def __init__(self, primary, name, host=None, **settings):
        """host: where it finds the primary; its socket unless said otherwise."""
        self.primary, self.name, self.host = primary, name, host or primary.directory
        super().__init__(**{"cluster_name": f"'{name}'", **settings})

    def make_data(self):
        subprocess.run([f"{self.binaries}/pg_basebackup", "-h", self.host, "-p", str(self.primary.port),
                        "-U", "postgres", "-D", self.data, "-R", "-c", "fast", "--no-sync"],
                       check=True, cwd=self.directory, **self.as_account())

