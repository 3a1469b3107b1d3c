"""A job that stands still: what status says of it, for however long, and what that costs."""

import contextlib
import signal
from decimal import Decimal

import psycopg
import pytest

from cluster import Cluster
from database import Database, prepare
from waiting import let_pass, wait_until


def status(db, name):
    """All columns are computed, whoever looks."""
    return db.all("SELECT rows_per_s, eta, throttled_by, percent, s::text FROM backfill.status s WHERE name = %s", name)[0]


def updates(db):
    return db.one("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'backfill.job'::regclass")


def test_stalled_job_is_called_so_and_is_not_written_to_each_second(db):
    db.table()
    daemon = db.daemon(max_rows=100)
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        wait_until(lambda: "let through" in db.throttled_by(name), what="it says what it waits for")
        assert "stalled" not in db.throttled_by(name)
        wait_until(lambda: db.throttled_by(name).startswith("stalled for 1"), 15, "it says that it is stalled")
        assert db.throttled_by(name).endswith(" s by row 500 is not let through")
        assert status(db, name)[:2] == (None, None), "a speed and a time left of a job that stands still"
        daemon.says(", time left unknown, waiting: ")
        assert "0:00 left" not in daemon.log()
        before = updates(db)
        let_pass(5)
        assert updates(db) - before <= 1
        daemon.process.send_signal(signal.SIGSTOP)  # its host is gone, and its session is still there
        stood = db.throttled_by(name)
        wait_until(lambda: "stalled for" in db.throttled_by(name) and db.throttled_by(name) != stood, what="that it stands is still counted")
        daemon.process.send_signal(signal.SIGCONT)
    db.finish(name)
    assert db.throttled_by(name) == ""
    assert db.counts() == {1: 1000}


def test_no_speed_is_too_small_or_too_odd_for_status(db):
    """What a range says of its speed comes from the submitter's session."""
    db.table()
    db.daemon(max_rows=100)
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        db.app.execute("SELECT backfill.pause(%s)", [name])
        db.wait_state(name, "paused")
        for rate, kept in (("NaN", None), ("Infinity", None), ("-Infinity", None), ("-5", None), ("3e38", None), ("250", 250)):
            range_id, epoch, cursor = db.all("SELECT id, epoch, cursor FROM backfill.range")[0]
            db.app.execute("SELECT backfill.checkpoint(%s, %s, %s, '(0,1)', %s, '{501}', 1, 1, 1, %s)", [db.as_worker("app", name), range_id, epoch, cursor, rate])
            assert db.one("SELECT rate FROM backfill.range") == kept
            db.admin.execute("UPDATE backfill.range SET cursor = %s", [cursor])
        db.app.execute("SELECT backfill.resume(%s)", [name])
        db.wait_state(name, "running")
        for rate in ("1e-20", "1e-37", "0", "NaN", "3e38"):
            db.admin.execute("UPDATE backfill.range SET rate = %s, checkpoint_at = clock_timestamp()", [rate])
            assert status(db, name)[:2] == (None, None)
    db.finish(name)


def test_estimate_that_was_far_off_is_no_percentage(db):
    db.table()
    db.daemon(max_rows=100)
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        db.admin.execute("UPDATE backfill.job SET estimate = 490")
        assert status(db, name)[3] == Decimal("99.9")
        db.admin.execute("UPDATE backfill.job SET estimate = 100")
        assert status(db, name)[3] is None and status(db, name)[1] is None
    db.finish(name)
    assert status(db, name)[3] == 100


def test_nothing_is_written_later_of_what_a_job_waited_for_while_the_server_was_away():
    cluster = Cluster()
    try:
        prepare(cluster)
        db = Database(cluster)
        db.table()
        db.admin.execute("ALTER ROLE backfilld SET log_statement = 'all'")
        daemon = db.daemon(max_rows=100)
        with contextlib.suppress(psycopg.OperationalError), db.held_row(500) as gate:
            name = db.submit(set_clause="n = n + 1")
            db.wait_at(500, name)
            wait_until(lambda: "stalled for" in db.throttled_by(name), what="it stands still")
            cluster.stop()
            for session in db.sessions.values():
                session.close()
            daemon.says("waits, and tries again")
            before = cluster.read_log().count("SET waiting_for")
            let_pass(4)  # ticks
        cluster.start()
        db.finish(name)
        assert cluster.read_log().count("SET waiting_for") - before <= 2
        assert not [problem for problem in [daemon.destroy()] if problem]
    finally:
        cluster.destroy()


DEAF = """CREATE FUNCTION deaf(x bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    IF x < 100 THEN RETURN true; END IF;
    LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"""


@pytest.mark.parametrize("columns", [{"enforce": ["CHECK (deaf(id))"]}, {"set_clause": "n = deaf(id)::int"}])
def test_what_does_not_obey_a_cancel_ends_with_its_session(db, columns):
    """Else the job could not be cancelled, and each try would leave a session behind that works on, with its locks."""
    db.table(rows=200)
    db.app.execute(DEAF)
    db.daemon(min_rows=50, max_rows=50)
    name = db.submit(**columns)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event = 'PgSleep'"
    wait_until(lambda: db.one(sessions, f"backfilld {name}") > 0, what="it sleeps")
    db.app.execute("SELECT backfill.cancel(%s)", [name])
    wait_until(lambda: db.state(name) == "cancelled", 20, "the job is cancelled")
    wait_until(lambda: db.one(sessions, f"backfilld {name}") == 0, what="no session of it is left")


def test_a_synchronous_standby_that_is_gone_holds_up_no_job():
    """The application's own commits wait for it; what the daemon keeps of its jobs needs none."""
    cluster = Cluster()
    try:
        prepare(cluster)
        db = Database(cluster)
        db.table(rows=3000)
        db.daemon(max_rows=100)
        for user in ("app", "postgres"):
            db.session(user).execute("SET synchronous_commit = local")
        running = db.submit(set_clause="n = n + 1", max_rows_per_s=500)
        wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 0, what="it runs")
        db.admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'gone'")
        db.admin.execute("SELECT pg_reload_conf()")
        db.app.execute("SELECT backfill.pause(%s)", [running])
        db.wait_state(running, "paused")
        db.finish(db.submit(set_clause="n = n + 1", where_clause="n < 1"))
    finally:
        cluster.destroy()
