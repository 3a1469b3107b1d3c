"""--no-throttle: no signal slows a job down, and who waits on a lock of it gets through all the same."""

import subprocess
import time

import pytest

from cluster import Cluster
from daemon import run
from database import Database, prepare
from waiting import wait_until


@pytest.fixture(scope="module")
def archiving():
    """A server whose archive takes nothing: a signal that holds each job."""
    cluster = Cluster(archive_mode="on", archive_command="'false'")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def held_db(archiving):
    database = Database(archiving)
    try:
        yield database
    finally:
        database.destroy()


def test_no_signal_holds_a_job(held_db):
    db = held_db
    db.table()
    db.admin.execute("SELECT pg_switch_wal()")
    wait_until(lambda: db.one("SELECT failed_count FROM pg_stat_archiver"), what="the archive has failed")
    name = db.submit(set_clause="n = n + 1")
    with pytest.raises(subprocess.TimeoutExpired):
        run("-d", db.conninfo(), "--drain", timeout=4)
    assert "archive" in db.throttled_by(name) or db.state(name) != "succeeded"
    drained = db.drain()
    assert drained.returncode == 0, drained.stderr
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_who_waits_on_a_lock_gets_through(held_db):
    db = held_db
    db.table(rows=3000)
    db.sleep_at(2500, 20)
    daemon = db.start("-d", db.conninfo(), "--no-throttle")
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    began = time.monotonic()
    db.admin.execute("ALTER TABLE t ADD COLUMN m int")
    assert time.monotonic() - began < 2
    daemon.says("has waited")
    db.admin.execute("DROP TRIGGER sleep ON t")
    db.finish(name)


@pytest.mark.parametrize("arguments", [("-d", "dbname=x", "--install"), ("-d", "dbname=x", "--check"), ("-c", "/nowhere", "--drain"), ("--drain",)])
def test_it_goes_with_one_database_and_with_jobs(arguments):
    refused = run(*arguments, "--no-throttle")
    assert refused.returncode == 2 and "--no-throttle goes with --database" in refused.stderr
