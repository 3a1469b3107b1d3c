"""A streaming standby of a throwaway cluster."""

import os
import subprocess

from cluster import Cluster


class Standby(Cluster):
    """A streaming standby of a cluster, with a name of its own."""

    def __init__(self, primary, name, host=None, **settings):
        """host: where it finds the primary; its socket unless said otherwise."""
        self.primary, self.name, self.host = primary, name, host or primary.directory
        super().__init__(**{"cluster_name": f"'{name}'", **settings})

    def make_data(self):
        if not os.path.exists(f"{self.binaries}/pg_basebackup"):
            self.copy_data()
            return
        subprocess.run([f"{self.binaries}/pg_basebackup", "-h", self.host, "-p", str(self.primary.port),
                        "-U", "postgres", "-D", self.data, "-R", "-c", "fast", "--no-sync"],
                       check=True, cwd=self.directory, **self.as_account())

    def copy_data(self):
        """What pg_basebackup does, for servers that come without it. Nobody writes to the primary meanwhile."""
        with self.primary.connect() as session:
            session.execute("SELECT pg_backup_start('standby', true)")
            subprocess.run(["cp", "-a", self.primary.data, self.data], check=True)
            label = session.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()[0]
        for name in ("postmaster.pid", "postmaster.opts"):
            os.unlink(f"{self.data}/{name}")
        files = {"backup_label": label, "standby.signal": "", "postgresql.auto.conf":
                 f"primary_conninfo = 'host={self.primary.directory} port={self.primary.port} user=postgres'\n"}
        for name, text in files.items():
            subprocess.run(["tee", f"{self.data}/{name}"], input=text, text=True, check=True, stdout=subprocess.DEVNULL,
                           **self.as_account())

