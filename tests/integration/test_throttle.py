"""What slows a job down: a standby that is late, gone or hung, and sessions that wait on a batch."""

import os
import signal
import time

import pytest

from cluster import Cluster, stop_walwriter
from database import Database, prepare
from standby import Standby
from waiting import let_pass, wait_until

MAX_LAG_MS = 400


@pytest.fixture(scope="module")
def replicated():
    cluster = Cluster(wal_keep_size="1GB", wal_buffers="16MB")
    standby = None
    try:
        prepare(cluster)
        standby = Standby(cluster, "near")
        cluster.standby = standby
        yield cluster
    finally:
        if standby:
            standby.destroy()
        cluster.destroy()


@pytest.fixture
def rdb(replicated):
    database = Database(replicated)
    try:
        wait_until(lambda: database.one("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"),
                   what="the standby streams")
        yield database
    finally:
        database.destroy()


def lag_bytes(db):
    return float(db.one("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) FROM pg_stat_replication") or 0)


def wait_caught_up(db):
    wait_until(lambda: lag_bytes(db) == 0, what="the standby has replayed all")


def test_a_job_is_not_far_ahead_of_the_wal_writer(rdb, measured):
    """What isn't written yet reaches no standby, so none would seem to be late; then all of it comes at once."""
    rdb.table(rows=200000)
    rdb.app.execute("ALTER TABLE t SET (autovacuum_enabled = off)")
    wait_caught_up(rdb)
    rdb.daemon()
    unwritten = [0]

    def ended(name):
        unwritten.append(int(rdb.one("SELECT pg_current_wal_insert_lsn() - pg_current_wal_lsn()")))
        return rdb.state(name) == "succeeded"
    pid = stop_walwriter(rdb)
    try:
        name = rdb.submit(set_clause="n = n + 1")
        wait_until(lambda: ended(name), what="the job ends without it")
    finally:
        os.kill(pid, signal.SIGCONT)
    measured("WAL that a job left unwritten at most", f"{max(unwritten) / 1e6:.1f} MB, in {len(unwritten)} looks")
    assert rdb.counts() == {1: 200000}
    assert max(unwritten) < 9e6  # 4 MB, and a batch


@pytest.mark.parametrize("kind, max_lag_ms", [("walreceiver", MAX_LAG_MS), ("startup", MAX_LAG_MS), ("walreceiver", 0)])
def test_a_standby_that_hangs_holds_the_job_and_it_goes_on_after(replicated, rdb, measured, scale, kind, max_lag_ms):
    if scale < 5 and (kind, max_lag_ms) != ("startup", MAX_LAG_MS):
        pytest.skip("the long form, BACKFILL_SCALE=5: it takes 20 s")
    rdb.table(rows=1000000)
    rdb.app.execute("ALTER TABLE t SET (autovacuum_enabled = off)")  # what it writes would be counted as the job's
    wait_caught_up(rdb)
    pid = replicated.standby.backend(kind)
    rdb.daemon(throttle={"max_lag_ms": max_lag_ms, "max_lag_mb": 16})
    name = rdb.submit(set_clause="n = n + 1")
    wait_until(lambda: rdb.cursor(name), what="the job is at work")
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        wait_until(lambda: rdb.throttled_by(name).startswith("lag"), what="the job says that it waits for the standby")
        let_pass(max(0, 2 * MAX_LAG_MS / 1000 - (time.monotonic() - stopped)))
        cursor = rdb.cursor(name)
        let_pass(1)
        if max_lag_ms:  # else it comes ever closer to max_lag_mb, ever more slowly
            assert rdb.cursor(name) == cursor, "within twice the limit it stands still"
        cursor = rdb.cursor(name)
        written = lag_bytes(rdb)
        assert written < 16e6 + 4e6, "no more is written ahead than max_lag_mb, and the batch that was under way"
    finally:
        os.kill(pid, signal.SIGCONT)
    went_on = time.monotonic()
    wait_until(lambda: rdb.cursor(name) != cursor, timeout=3, what="it goes on")
    seconds = time.monotonic() - went_on
    job = rdb.finish(name)
    assert rdb.counts() == {1: 1000000}
    assert sum(job["report"]["throttled_s"].values()) > 0.9
    measured(f"written ahead of a hung {kind}, max_lag_ms = {max_lag_ms}", f"{written / 1e6:.1f} MB, of 16; it went on after {seconds:.2f} s")


def test_the_job_may_pass_over_a_signal_and_change_its_mind(replicated, rdb):
    rdb.table(rows=200000)
    pid = replicated.standby.backend("walreceiver")
    rdb.daemon(throttle={"max_lag_ms": MAX_LAG_MS, "max_lag_mb": 16})
    os.kill(pid, signal.SIGSTOP)
    try:
        name = rdb.submit(set_clause="n = n + 1")
        wait_until(lambda: rdb.throttled_by(name).startswith("lag"), what="it waits")
        rdb.app.execute("UPDATE backfill.job SET throttle_off = '{lag, lag_mb}' WHERE name = %s", [name])
        rdb.finish(name)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert rdb.counts() == {1: 200000}


def test_a_jobs_own_max_lag_counts_instead_of_the_files(replicated, rdb):
    rdb.table(rows=200000)
    pid = replicated.standby.backend("walreceiver")
    rdb.daemon(throttle={"max_lag_ms": 3600000, "max_lag_mb": 0})
    os.kill(pid, signal.SIGSTOP)
    try:
        strict = rdb.submit(set_clause="n = n + 1", max_lag="300 ms", name="strict")
        wait_until(lambda: "limit 300 (near)" in rdb.throttled_by(strict), what="it waits by its own limit")
    finally:
        os.kill(pid, signal.SIGCONT)
    rdb.finish(strict)


def test_a_named_standby_that_is_missing_holds_the_job_unless_that_is_fine(rdb):
    rdb.table(rows=1000)
    daemon = rdb.daemon(throttle={"standbys": ["near", "far"]})
    name = rdb.submit(set_clause="n = n + 1")
    wait_until(lambda: rdb.throttled_by(name).startswith("standby: far is gone"), what="it waits for the named one")
    assert rdb.counts() == {0: 1000}
    daemon.rewrite_config(rdb.config(throttle={"standbys": ["near", "far"], "missing_standby": "ignore"}))
    daemon.signal(signal.SIGHUP)
    rdb.finish(name)
    assert rdb.counts() == {1: 1000}


def test_a_session_that_waits_on_a_batch_is_let_through(db, measured):
    """A batch of a second is cancelled within the limit for somebody who wants one of its rows."""
    db.table(rows=1000)
    db.sleep_at(90, 2)
    db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    ms = db.one("""
        WITH began AS MATERIALIZED (SELECT clock_timestamp() AS at), locked AS MATERIALIZED (
          SELECT clock_timestamp() AS at FROM began, LATERAL (SELECT id FROM t WHERE id = 50 FOR UPDATE) AS l)
        SELECT extract(epoch FROM locked.at - began.at) * 1000 FROM began, locked""")
    assert ms < 500, f"it waited {ms} ms"
    measured("wait of a victim", f"{ms:.0f} ms at max_blocked_ms = 50")
    db.admin.execute("DROP TRIGGER sleep ON t")
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_a_job_without_its_monitor_holds(db):
    """Who can't see must not run: the monitor's session is refused while the job is at work."""
    db.table(rows=9000)
    db.daemon(target_ms=1)
    db.sleep_at(5000, 1)
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    db.admin.execute("ALTER ROLE backfilld CONNECTION LIMIT 1")
    try:
        db.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                         f" WHERE application_name = 'backfilld monitor' AND datname = '{db.name}'")
        wait_until(lambda: "monitor" in db.throttled_by(name), what="it says that it can't see")
        cursor = db.cursor(name)
        let_pass(0.5)
        assert db.cursor(name) == cursor
    finally:
        db.admin.execute("ALTER ROLE backfilld CONNECTION LIMIT -1")
    db.finish(name)
    assert db.counts() == {1: 9000}


@pytest.mark.parametrize("value", [["tide"], ["lag", None]])
def test_a_signal_that_does_not_exist_is_refused(db, value):
    db.table(rows=1)
    with pytest.raises(Exception, match="throttle_off: there is no signal") as refused:
        db.submit(set_clause="n = 1", throttle_off=value)
    assert refused.value.diag.column_name == "throttle_off"
    assert "lag, lag_mb, standby, blocked, slot" in refused.value.diag.message_hint
