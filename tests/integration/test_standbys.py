"""Whoever receives the server's WAL: standbys of standbys, subscribers, ones that come and go, backups."""

import contextlib
import os
import signal
import subprocess

import pytest

from cluster import Cluster, die_with_parent
from database import Database, prepare
from standby import Standby
from waiting import let_pass, wait_until

MAX_LAG_MS = 400
ROWS = 120_000
SPEED = 40_000  # rows/s that the jobs are held to: they last for a while, and whoever is not hindered follows on a busy machine too


@pytest.fixture(scope="module")
def origin():
    # A batch's WAL is sent once the WAL writer has come by, by default 200 to 600 ms after its commit: with so short a limit as
    # these tests have that would be half of it.
    cluster = Cluster(wal_level="logical", wal_keep_size="1GB", wal_writer_delay="10ms")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def odb(origin):
    database = Database(origin)
    try:
        yield database
    finally:
        database.destroy()


@contextlib.contextmanager
def standby_of(cluster, name, slot=None, **settings):
    if slot:
        with cluster.connect() as session:
            session.execute("SELECT pg_create_physical_replication_slot(%s, true)", [slot])
        settings["primary_slot_name"] = f"'{slot}'"
    standby = Standby(cluster, name, wal_receiver_status_interval="1s", wal_retrieve_retry_interval="100ms", **settings)
    try:
        wait_streaming(cluster, name)
        yield standby
    finally:
        standby.destroy()
        with cluster.connect() as session:
            wait_until(lambda: not names(cluster, name), what="it is gone")
            session.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [slot])


def names(cluster, name):
    with cluster.connect() as session:
        return session.execute("SELECT FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
                               "   AND coalesce(replay_lsn, flush_lsn, write_lsn) IS NOT NULL", [name]).fetchall()


def wait_streaming(cluster, name):
    wait_until(lambda: names(cluster, name), what=f"{name} streams, and says where it is")


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def table(db, name="t", rows=ROWS):
    db.table(name, rows)
    db.app.execute(f"ALTER TABLE {name} SET (autovacuum_enabled = off)")  # what it writes would be counted as the job's


def start_job(db, **columns):
    name = db.submit(set_clause="n = n + 1", **{"max_rows_per_s": SPEED, **columns})
    wait_until(lambda: db.cursor(name), what="the job is at work")
    return name


def stands_still(db, name, text):
    """It says why, and for longer than a rest of the pace it does nothing."""
    def still():
        before = db.cursor(name)
        let_pass(1.2)
        return db.cursor(name) == before and text in db.throttled_by(name)
    wait_until(lambda: text in db.throttled_by(name), what=f"job {name} says {text!r}")
    wait_until(still, what=f"it stands still by {text!r}")


def done(db, name, rows=ROWS):
    job = db.finish(name)
    assert db.counts() == {1: rows}
    return job["report"]["throttled_s"]


# ---- Standbys of standbys

@pytest.fixture
def cascade(origin):
    """origin -> upstream -> downstream, both by a slot and with feedback."""
    with standby_of(origin, "upstream", slot="first", hot_standby_feedback="on") as upstream, \
            standby_of(upstream, "downstream", slot="second", hot_standby_feedback="on") as downstream:
        yield upstream, downstream


def test_a_standby_of_a_standby_holds_no_job_and_the_one_between_does(cascade, odb):
    """The primary can't see the one, and knows the other's lag."""
    upstream, downstream = cascade
    table(odb)
    odb.daemon(throttle={"max_lag_ms": MAX_LAG_MS, "max_lag_mb": 0})
    with stopped(downstream.backend("walreceiver")):
        assert done(odb, start_job(odb)).get("lag", 0) < 1
    with odb.connect() as session:
        session.execute("UPDATE t SET n = 0")
    wait_until(lambda: odb.one("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication"), what="it has caught up")
    with stopped(upstream.backend("walreceiver")):
        name = start_job(odb)
        stands_still(odb, name, "(upstream)")
    done(odb, name)
    wait_until(lambda: odb.one("SELECT pg_current_wal_lsn()::text") <= replayed(downstream), what="it gets all the same")


def replayed(standby):
    with standby.connect() as session:
        return session.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()[0]


def test_a_snapshot_on_a_standby_of_a_standby_is_seen_by_the_slot_that_keeps_it(cascade, odb):
    """Feedback goes up the chain, and what it holds back is held back on the primary."""
    _, downstream = cascade
    odb.table(rows=1000)
    odb.admin.execute("""
        CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$;
        CREATE TRIGGER nap BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nap()""")
    wait_until(lambda: database_is_on(downstream, odb.name), what="the database is there")
    odb.daemon(throttle={"max_xmin_age_s": 2})
    with downstream.connect(odb.name) as session:
        session.execute("SET statement_timeout = 0")
        session.autocommit = False
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM pg_class")
        name = odb.submit(set_clause="n = n + 1")
        stands_still(odb, name, "(slot first)")
        session.rollback()
    odb.admin.execute("DROP TRIGGER nap ON t")
    assert done(odb, name, rows=1000)["xmin"] > 0


def database_is_on(standby, name):
    with standby.connect() as session:
        return session.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchall()


# ---- Replay, and standbys that come and go

def test_a_standby_whose_replay_is_paused_holds_the_job_and_it_goes_on_after(origin, odb):
    table(odb)
    with standby_of(origin, "near") as standby, standby.connect() as session:
        odb.daemon(throttle={"max_lag_ms": MAX_LAG_MS, "max_lag_mb": 0})
        session.execute("SELECT pg_wal_replay_pause()")
        wait_until(lambda: session.execute("SELECT pg_get_wal_replay_pause_state()").fetchone()[0] == "paused", what="it is paused")
        name = start_job(odb)
        stands_still(odb, name, "(near)")
        session.execute("SELECT pg_wal_replay_resume()")
        assert done(odb, name)["lag"] > 1


def test_a_named_standby_that_goes_holds_the_job_until_it_is_back(origin, odb):
    table(odb)
    with standby_of(origin, "near") as standby:
        odb.daemon(throttle={"standbys": ["near"]})
        name = start_job(odb)
        standby.stop()
        stands_still(odb, name, "standby: near is gone for ")
        wait_until(lambda: odb.throttled_by(name).startswith("stalled for 1"), what="it says for how long")
        standby.start()
        assert done(odb, name)["standby"] > 2


def test_a_standby_that_nobody_named_is_waited_for_and_given_up_with_a_word(origin, odb):
    table(odb)
    with standby_of(origin, "near") as standby:
        daemon = odb.daemon(throttle={"max_lag_ms": MAX_LAG_MS})
        name = start_job(odb)
        standby.stop()
        stands_still(odb, name, "(near, gone)")
        daemon.says("standby near is gone, and is waited for no longer")
        throttled = done(odb, name)
        assert 8 < throttled["lag"] < 12, "the grace time, from when it was last seen"


def test_a_standby_may_be_named_by_its_slot(origin, odb):
    table(odb)
    with standby_of(origin, "near", slot="place") as standby:
        odb.daemon(throttle={"standbys": ["place"]})
        name = start_job(odb)
        assert "gone" not in odb.throttled_by(name)
        standby.stop()
        stands_still(odb, name, "standby: place is gone for ")
        standby.start()
        done(odb, name)


# ---- Subscribers

@pytest.fixture(scope="module")
def subscriber():
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.destroy()


@contextlib.contextmanager
def subscription(odb, subscriber, options="copy_data = off"):
    """Of table t. Yields a session of the subscriber's."""
    odb.admin.execute("CREATE PUBLICATION p FOR TABLE t")
    with subscriber.connect() as session:
        session.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, n int)")
        session.execute(f"CREATE SUBSCRIPTION reader CONNECTION '{odb.cluster.conninfo(odb.name, 'postgres')}' PUBLICATION p"
                        f" WITH ({options})")
        try:
            wait_streaming(odb.cluster, "reader")
            yield session
        finally:
            session.execute("DROP SUBSCRIPTION reader")


@contextlib.contextmanager
def client(*command, name):
    """A program that receives WAL; its pid."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                               preexec_fn=die_with_parent(signal.SIGKILL), env={**os.environ, "PGAPPNAME": name})
    try:
        yield process.pid
    finally:
        for sig in (signal.SIGCONT, signal.SIGTERM):
            os.killpg(process.pid, sig)  # pg_basebackup has a child of its own
        process.wait()


def address(cluster):
    return "-h", cluster.directory, "-p", cluster.port, "-U", "postgres"


@contextlib.contextmanager
def apply_worker(odb, subscriber):
    with subscription(odb, subscriber):
        yield subscriber.backend("logical replication worker")


@contextlib.contextmanager
def recvlogical(odb, _):
    """Tells once a second what it has written and flushed; of what it has applied it knows nothing."""
    odb.admin.execute("SELECT pg_create_logical_replication_slot('reader', 'test_decoding')")
    try:
        with client(f"{odb.cluster.binaries}/pg_recvlogical", *address(odb.cluster), "-d", odb.name, "-S", "reader", "--start",
                    "-f", "/dev/null", "-s", "1", "-F", "1", name="reader") as pid:
            wait_streaming(odb.cluster, "reader")
            yield pid
    finally:
        wait_until(lambda: not names(odb.cluster, "reader"), what="it is gone")
        odb.admin.execute("SELECT pg_drop_replication_slot('reader')")


@pytest.mark.parametrize("reader, limits, text", [
    (apply_worker, {"max_lag_ms": MAX_LAG_MS, "max_lag_mb": 0}, "lag "),
    (apply_worker, {"max_lag_ms": 0, "max_lag_mb": 8}, "lag_mb "),
    (recvlogical, {"max_lag_ms": 1500, "max_lag_mb": 0}, "lag "),
    (recvlogical, {"max_lag_ms": 0, "max_lag_mb": 8}, "lag_mb ")],
    ids=["subscription-ms", "subscription-mb", "client-ms", "client-mb"])
def test_a_subscriber_that_hangs_holds_the_job_and_it_goes_on_after(odb, subscriber, measured, request, scale, reader, limits, text):
    """By what it has confirmed."""
    if scale < 5 and request.node.callspec.id in ("subscription-mb", "client-ms"):
        pytest.skip("the long form, BACKFILL_SCALE=5: it takes 15 s")
    table(odb)
    with reader(odb, subscriber) as pid:
        odb.daemon(throttle={"max_blocked_ms": 0, **limits})
        with stopped(pid):
            before = odb.one("SELECT pg_current_wal_lsn()::text")
            name = start_job(odb)
            if "mb" in text:  # it comes ever closer to it, ever more slowly
                wait_until(lambda: odb.throttled_by(name).startswith(text), what="it says that it waits for the subscriber")
                let_pass(5)
            else:
                stands_still(odb, name, text)
            assert "(reader)" in odb.throttled_by(name) and odb.state(name) == "running"
            written = float(odb.one("SELECT pg_current_wal_lsn() - %s::pg_lsn", before)) / 1e6
            measured(f"written ahead of a hung subscriber, {request.node.callspec.id}", f"{written:.1f} MB, by {limits}")
            assert written < 12 or "mb" not in text
        done(odb, name)


def test_a_subscriber_that_has_nothing_to_read_is_not_late(odb, subscriber):
    """The job's table is not published: the subscriber's position moves with keep-alives only."""
    table(odb)
    odb.app.execute("ALTER TABLE t RENAME TO mine; CREATE TABLE t (id bigint PRIMARY KEY)")
    with subscription(odb, subscriber):
        odb.daemon(throttle={"max_lag_ms": MAX_LAG_MS})
        for _ in range(2):
            let_pass(1)  # idle
            job = odb.finish(odb.submit(target="mine", set_clause="n = n + 1", max_rows_per_s=SPEED))
            assert job["report"]["throttled_s"].get("lag", 0) < 1
    assert odb.counts("mine") == {2: ROWS}


def test_a_subscription_that_copies_a_table_is_not_late(odb, subscriber):
    """Its second session at the publisher has no position as long as it copies."""
    table(odb)
    odb.app.execute("ALTER TABLE t RENAME TO mine; CREATE TABLE t (id bigint PRIMARY KEY, n int)")
    copying = "SELECT FROM pg_stat_replication WHERE state = 'startup' AND application_name LIKE 'pg%sync%'"
    odb.admin.execute("CREATE PUBLICATION p FOR TABLE t")
    with subscriber.connect() as session, subscriber.connect() as holder:
        session.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, n int)")
        holder.autocommit = False
        holder.execute("LOCK TABLE t IN SHARE MODE")  # the copy can't begin
        session.execute(f"CREATE SUBSCRIPTION reader CONNECTION '{odb.cluster.conninfo(odb.name, 'postgres')}' PUBLICATION p")
        try:
            wait_until(lambda: odb.all(copying), what="it is about to copy")
            odb.daemon()
            job = odb.finish(odb.submit(target="mine", set_clause="n = n + 1", max_rows_per_s=SPEED))
            assert odb.all(copying), "it still copies"
            assert job["report"]["throttled_s"].get("lag", 0) < 1
        finally:
            holder.rollback()
            session.execute("DROP SUBSCRIPTION reader")


# ---- Backups and receivers that only store

def test_a_base_backup_holds_no_job(origin, odb, tmp_path):
    """It says where it is every ten seconds, and what it has flushed at the end of a file: that is no lag."""
    table(odb)
    place = tmp_path / "backup"
    with client(f"{origin.binaries}/pg_basebackup", *address(origin), "-D", place, "-r", "1M", "-c", "fast", "--no-sync",
                name="nightly"):
        wait_until(lambda: odb.all("SELECT FROM pg_stat_replication WHERE state = 'backup'"), what="it copies")
        wait_streaming(origin, "nightly")
        odb.daemon()
        assert done(odb, start_job(odb)).get("lag", 0) < 1
        assert odb.all("SELECT FROM pg_stat_replication WHERE state = 'backup'"), "it was over too soon to show anything"


def test_a_receiver_that_only_stores_counts_when_it_is_named(origin, odb, tmp_path):
    table(odb)
    with client(f"{origin.binaries}/pg_receivewal", *address(origin), "-D", tmp_path, "--synchronous", name="vault") as pid:
        wait_streaming(origin, "vault")
        daemon = odb.daemon(throttle={"max_lag_ms": MAX_LAG_MS})
        with stopped(pid):
            assert done(odb, start_job(odb)).get("lag", 0) < 1
            daemon.rewrite_config(odb.config(throttle={"max_lag_ms": MAX_LAG_MS, "standbys": ["vault"]}))
            daemon.signal(signal.SIGHUP)
            odb.app.execute("UPDATE t SET n = 0")
            name = odb.submit(set_clause="n = n + 1")
            wait_until(lambda: "(vault)" in odb.throttled_by(name), what="it waits for the one that is named")
        done(odb, name)
