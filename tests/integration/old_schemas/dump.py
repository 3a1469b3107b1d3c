#!/usr/bin/env python3
"""dump.py: writes NNN.sql of the version that the built program installs, with jobs of all kinds inside, for test_upgrade.py.

Run it once, by the program that is about to get a higher version: BACKFILLD=build/daemon/backfilld dump.py
"""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))

from cluster import Cluster  # noqa: E402
from database import Database, prepare  # noqa: E402


def fill(db):
    """A job that is done, one that left a row behind, one in the middle of its table, and one that has not begun."""
    db.table("t", rows=1000)
    db.table("q", rows=10)
    daemon = db.daemon()
    db.finish(db.submit(name="done", set_clause="n = n + 1", where_clause="id <= 100"))
    db.finish(db.submit(name="put-aside", target="q", set_clause="n = n + 1 / (id - 5)::int", on_error="quarantine"))
    with db.held_row(600):
        db.submit(name="half", set_clause="n = n + 1")
        db.wait_at(600, "half")
        db.app.execute("SELECT backfill.pause('half')")
        db.wait_state("half", "paused")
    daemon.terminate()
    db.submit(name="new", target="q", set_clause="n = n + 1", where_clause="id <> 5", wanted="pause")
    db.admin.execute("DROP TRIGGER gate_t_600 ON t; DROP FUNCTION gate_t_600")


def main():
    cluster = Cluster()
    try:
        prepare(cluster)
        db = Database(cluster)
        fill(db)
        version = db.one("SELECT version FROM backfill.installed")
        with open(f"{HERE}/{version:03}.sql", "w") as file:
            subprocess.run([f"{cluster.binaries}/pg_dump", "-h", cluster.directory, "-p", str(cluster.port), "-U", "postgres",
                            db.name], stdout=file, check=True)
        db.destroy()
    finally:
        cluster.destroy()


if __name__ == "__main__":
    main()
