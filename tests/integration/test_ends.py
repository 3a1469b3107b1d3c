"""An end is written of what is so, not of what was: a server that has crashed, or failed over, has lost what it had not flushed
or sent, and the daemon has seen it done."""

import contextlib
import os
import signal

import psycopg
import pytest

from cluster import Cluster, stop_walsender, stop_walwriter
from daemon import config_text, HOST_OFF
from database import Database, prepare
from standby import Standby
from waiting import wait_until

CENTS = {"add_column": "amount_cents bigint", "set_clause": "amount_cents = (amount * 100)::bigint"}
HURRIES_ON = {"throttle_off": ["lag", "lag_mb", "standby", "blocked"]}
# So that what is written late is written late: nobody else's commits flush it.
LATE = {"autovacuum": "off", "wal_buffers": "32MB", "bgwriter_lru_maxpages": "0", "track_commit_timestamp": "off"}


@pytest.fixture
def durable():
    """A server of its own, whose disk keeps what was synced, and its database."""
    cluster = Cluster(fsync="on", **LATE)
    try:
        prepare(cluster)
        yield Database(cluster)
    finally:
        cluster.destroy()


@pytest.fixture
def late_writer():
    cluster = Cluster(fsync="on", wal_writer_delay="10s", **LATE)
    try:
        prepare(cluster)
        yield Database(cluster)
    finally:
        cluster.destroy()


@contextlib.contextmanager
def ends_held(db, name):
    """Nobody can write to the job's row meanwhile, so its end stays unwritten."""
    with db.connect("postgres") as session:
        session.autocommit = False
        session.execute("SELECT FROM backfill.job WHERE name = %s FOR UPDATE", [name])
        session.execute("SET LOCAL lock_timeout = 0")  # closes the statement before, whose snapshot an index would wait for
        yield session


def server_goes():
    """What is open in the block goes with it."""
    return contextlib.suppress(psycopg.OperationalError)


def forget_sessions(db):
    for session in db.sessions.values():
        session.close()


def wait_walked(db, name):
    return wait_until(lambda: db.one("SELECT bool_and(done) FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id"
                                     " WHERE j.name = %s", name), what="the last range is done", every=0.001)


def test_end_is_not_written_when_a_crash_took_the_batches_that_it_rests_on(late_writer):
    db = late_writer
    db.table(rows=20_000)
    daemon = db.daemon(max_rows=200)
    with server_goes(), db.held_row(1000) as gate:
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(1000, name)
        stop_walwriter(db)
        with ends_held(db, name):
            gate.rollback()  # a commit would flush what is to be lost
            wait_walked(db, name)
            daemon.says("the control schema is locked")  # its end is to be written
            daemon.process.send_signal(signal.SIGSTOP)  # until it is known what the crash lost
            db.cluster.kill()
    forget_sessions(db)
    db.cluster.start()
    assert db.one("SELECT NOT bool_and(done) FROM backfill.range"), "the crash has cost nothing: this has shown nothing"
    daemon.process.send_signal(signal.SIGCONT)
    db.finish(name)
    assert db.counts() == {1: 20_000}
    daemon.says("some of what was done is to do again")


def test_server_killed_when_the_last_range_is_first_seen_done(durable, scale, measured):
    """fsync on, the WAL writer as it is: nothing but the moment is chosen."""
    db = durable
    kills, lost = 2 if scale == 1 else 20 * scale, 0
    db.table(rows=1500)
    db.daemon(max_rows=200)
    for i in range(kills):
        name = db.submit(set_clause="n = n + 1", max_rows_per_s=3000)
        wait_until(lambda: db.one("SELECT count(*) FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id"
                                  " WHERE j.name = %s", name), what="the filling begins", every=0.001)
        wait_walked(db, name)
        db.cluster.kill()
        forget_sessions(db)
        db.cluster.start()
        lost += not db.one("SELECT bool_and(n = %s) FROM t", i + 1)
        db.finish(name)
        assert db.counts() == {i + 1: 1500}, f"kill {i + 1}"
    measured("server killed at the end of a walk", f"{kills} times, {lost} of them lost batches: no n wrong")


# ---- Failover to a standby that had not heard of the end.


class Pair:
    """A primary, a standby of it, and a daemon that goes to whichever can be written to."""

    def __init__(self, stack):
        self.primary = Cluster(fsync="off", **LATE)
        stack.callback(self.primary.destroy)
        prepare(self.primary)
        self.db = Database(self.primary)
        self.standby = None
        self.stack = stack

    def follow(self):
        self.make_standby()
        hosts = (f"host={self.primary.directory},{self.standby.directory} port={self.primary.port},{self.standby.port}"
                 f" user=backfilld dbname={self.db.name} target_session_attrs=read-write")
        self.go(hosts)

    def go(self, conninfo):
        self.daemon = self.db.start(config=config_text([{"name": self.db.name, "conninfo": conninfo}], batch={"max_rows": 200},
                                                       throttle=HOST_OFF))

    def make_standby(self):
        self.standby = Standby(self.primary, "second", fsync="off", **LATE)
        self.stack.callback(self.standby.destroy)
        wait_until(lambda: self.db.one("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"), what="it follows")

    def cut_off(self):
        """The standby hears of nothing that comes after this."""
        lsn = self.db.one("SELECT pg_current_wal_insert_lsn()")
        wait_until(lambda: self.db.one("SELECT replay_lsn >= %s::pg_lsn FROM pg_stat_replication", lsn), what="it is level")
        stop_walsender(self.db)

    def fail_over(self):
        self.primary.kill()
        forget_sessions(self.db)
        self.standby.promote()
        self.db.cluster = self.standby

    def destroy(self):
        problems = [problem for problem in [daemon.destroy() for daemon in self.db.daemons] if problem]
        assert not problems, f"a daemon was not well: {problems}"


@pytest.fixture
def pair():
    with contextlib.ExitStack() as stack:
        pair = Pair(stack)
        yield pair
        pair.destroy()


def lose_the_end_of(pair, name, gate):
    """The job comes to its end, but for writing it, while the standby knows of it as it stands at the gate."""
    with server_goes(), ends_held(pair.db, name):
        gate.rollback()
        wait_walked(pair.db, name)
        pair.daemon.says("the control schema is locked")
        pair.fail_over()


def test_end_is_not_written_when_a_standby_takes_over_without_the_last_batches(pair):
    db = pair.db
    db.table(rows=20_000)
    pair.follow()
    with server_goes(), db.held_row(1000) as gate:
        name = db.submit(set_clause="n = n + 1", **HURRIES_ON)
        db.wait_at(1000, name)
        pair.cut_off()
        lose_the_end_of(pair, name, gate)
    assert db.cluster is pair.standby
    db.finish(name, timeout=60)
    assert db.counts() == {1: 20_000}


def migrate_over_a_failover(pair, i=0):
    """NOT NULL and UNIQUE are there on the primary when it goes; the standby stands in backfill."""
    db = pair.db
    table, gate_at = f"t{i}", 500
    db.table(table, 2000, "amount numeric NOT NULL DEFAULT 1.25, n int NOT NULL DEFAULT 0")
    db.app.execute(f"UPDATE {table} SET amount = id")
    with server_goes(), db.held_row(gate_at, table) as gate:
        name = db.submit(target=table, **CENTS, keep_in_sync=True, enforce=["NOT NULL amount_cents", "UNIQUE (amount_cents)"], **HURRIES_ON)
        wait_until(lambda: db.cursor(name) == [str(gate_at - 1)], what="the job stands at the gate")
        pair.cut_off()
        with server_goes(), db.connect("postgres") as reader:
            reader.autocommit = False
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM dummy")  # the index waits for this snapshot
            gate.rollback()
            wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%%'"), 60, "it waits")
            with ends_held(db, name):
                reader.rollback()
                wait_until(lambda: db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'u'", table),
                           60, "the primary has the constraint")
                wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backfilld control'"
                                          " AND wait_event_type = 'Lock' AND query LIKE '%%end_job%%'"), 60, "the end is being written")
                pair.fail_over()
    assert db.cluster is pair.standby
    db.finish(name, timeout=60)
    assert db.one(f"SELECT count(*) FROM {table} WHERE amount_cents IS DISTINCT FROM amount * 100") == 0
    assert db.one("SELECT attnotnull FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'amount_cents'", table)
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'u' AND convalidated", table) == 1
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE 'zz_backfilld%%'", table) >= 1
    return name


def test_whole_migration_goes_on_where_the_promoted_standby_stands(pair):
    pair.db.table("dummy", 1)
    pair.follow()
    migrate_over_a_failover(pair)


def test_what_finish_took_away_is_taken_away_on_the_promoted_standby_too(pair):
    db = pair.db
    db.table(columns="amount numeric NOT NULL DEFAULT 1.25")
    pair.follow()
    db.finish(name := db.submit(**CENTS, keep_in_sync=True))
    with server_goes(), db.connect("postgres") as reader:
        reader.autocommit = False
        reader.execute("LOCK TABLE t IN ACCESS SHARE MODE")
        db.app.execute("SELECT backfill.finish(%s)", [name])
        wait_until(lambda: db.job(name)["holder_pid"], what="it is being tidied up")
        pair.cut_off()
        with ends_held(db, name):
            reader.rollback()
            wait_until(lambda: db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal") == 0,
                       what="the primary's trigger is gone")
            wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backfilld control'"
                                      " AND wait_event_type = 'Lock' AND query LIKE '%%end_tidy%%'"), what="that is being written")
            pair.fail_over()
    assert db.cluster is pair.standby
    wait_until(lambda: not db.job(name)["tidy"], 60, "it is tidied up")
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal") == 0


def test_primary_of_yesterday_that_takes_writes_again_is_let_be(pair):
    """It stands first in conninfo, and the daemon is at the other by now."""
    db = pair.db
    db.table(rows=3000)
    pair.follow()
    pair.cut_off()
    pair.fail_over()
    pair.daemon.says("connected again")
    pair.primary.start()
    name = db.submit(set_clause="n = n + 1")
    db.finish(name)
    assert db.counts() == {1: 3000}
    with pair.primary.connect(db.name) as old:
        assert old.execute("SELECT count(*) FROM t WHERE n <> 0").fetchone()[0] == 0
    assert "waits, and tries again" not in pair.daemon.log()


def lead_to(address, cluster):
    """The socket that is an address of its own leads to that server from now on."""
    new = f"{address}/new"
    os.symlink(f"{cluster.directory}/.s.PGSQL.{cluster.port}", new)
    os.rename(new, f"{address}/.s.PGSQL.5432")


def test_sessions_at_the_server_that_an_address_led_to_before_are_left(pair, tmp_path):
    """Only the control session has noticed: the old primary goes on, and takes writes."""
    db, address = pair.db, str(tmp_path)
    db.table(rows=4000)
    pair.make_standby()
    lead_to(address, pair.primary)
    pair.go(f"host={address} port=5432 user=backfilld dbname={db.name}")
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=1000)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 200, what="it is at work")
    pair.standby.promote()
    lead_to(address, pair.standby)
    db.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'backfilld control'")
    with pair.primary.connect(db.name) as old:
        def left():
            return old.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backfilld%'").fetchone()[0] == 0
        wait_until(left, what="all sessions have left the old primary")
        stood = old.execute("SELECT count(*) FROM t WHERE n = 1").fetchone()[0]
        forget_sessions(db)
        db.cluster = pair.standby
        db.finish(name)
        assert db.counts() == {1: 4000}
        assert old.execute("SELECT count(*) FROM t WHERE n = 1").fetchone()[0] == stood < 4000


@pytest.mark.parametrize("way", ["fill", "migration"])
def test_failover_again_and_again(scale, measured, way):
    if scale == 1:
        pytest.skip("BACKFILL_SCALE=5")
    for _ in range(2 * scale):
        with contextlib.ExitStack() as stack:
            pair = Pair(stack)
            if way == "fill":
                test_end_is_not_written_when_a_standby_takes_over_without_the_last_batches(pair)
            else:
                test_whole_migration_goes_on_where_the_promoted_standby_stands(pair)
            pair.destroy()
    measured(f"failover at the end of a {way}", f"{2 * scale} times: no row wrong")
