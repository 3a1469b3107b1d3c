"""Locks: whoever waits is let through, whoever holds is named."""

import os
import re
import signal
import statistics
import threading
import time

import psycopg
import pytest

from waiting import let_pass, wait_until


# One client of an application: it updates rows of its own, some in a transaction, and holds them for half a second. Half
# of them it seeks where the job is just then, for elsewhere the two would hardly meet.
# How long each UPDATE took is noted by the server, so that the test's own process is not in the figure.
CLIENTS = 12


CLIENT = f"""
CREATE TABLE waits (ms float8 NOT NULL);
CREATE TABLE stop ();
CREATE PROCEDURE client(me int, keys int) LANGUAGE plpgsql AS $$
DECLARE
  began timestamptz;
  key   bigint;
BEGIN
  WHILE NOT EXISTS (SELECT FROM stop) LOOP
    FOR i IN 0 .. (random() * 4)::int LOOP
      key := CASE WHEN random() < 0.5 THEN random() * keys
                  ELSE (SELECT coalesce(cursor[1]::bigint, 0) FROM backfill.range WHERE NOT done LIMIT 1) + random() * 10000 END;
      key := coalesce(key, 0) - coalesce(key, 0) % {CLIENTS} + me + 1;
      began := clock_timestamp();
      UPDATE t SET touched = touched + 1 WHERE id = key;
      INSERT INTO waits VALUES (extract(epoch FROM clock_timestamp() - began) * 1000);
    END LOOP;
    PERFORM pg_sleep(0.5);
    COMMIT;
  END LOOP;
END $$"""


def run_clients(db, keys, meanwhile):
    """Runs the clients for as long as meanwhile() does; returns how long each of their statements took, in ms."""
    errors = []

    def client(me):
        try:
            with db.connect() as session:
                session.execute("SET statement_timeout = 0")
                session.execute("CALL client(%s, %s)", [me, keys])
        except psycopg.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=client, args=(me,)) for me in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        meanwhile()
    finally:
        db.app.execute("INSERT INTO stop DEFAULT VALUES")
        for thread in threads:
            thread.join()
    assert not errors, "a client was a victim"
    waits = [ms for ms, in db.all("SELECT ms FROM waits ORDER BY ms")]
    db.app.execute("TRUNCATE waits, stop")
    return waits


def quantile(values, q):
    return values[min(len(values) - 1, int(len(values) * q))]


def test_twelve_clients_that_hold_rows_never_wait_long_and_each_row_is_done_once(db, measured):
    """No client waits more than 100 ms on the job beyond what its statement takes without one, none is a deadlock's
    victim, and what was locked is done in the end."""
    keys = 300_000
    db.table(rows=keys, columns="n int NOT NULL DEFAULT 0, touched int NOT NULL DEFAULT 0")
    db.app.execute(CLIENT)
    alone = run_clients(db, keys, lambda: let_pass(3))
    db.daemon()
    jobs = []

    def fill():
        let_pass(0.3)
        for _ in range(2):
            jobs.append(db.finish(db.submit(set_clause="n = n + 1"), timeout=120))

    beside = run_clients(db, keys, fill)
    assert db.counts() == {2: keys}
    assert db.one("SELECT count(*) FROM backfill.left_behind") == 0
    locked = [job["report"]["locked"] for job in jobs]
    measured("12 clients that hold rows, their UPDATEs, ms",
             f"beside the job p50 {quantile(beside, 0.5):.1f}, p99 {quantile(beside, 0.99):.1f}, max {beside[-1]:.1f} of"
             f" {len(beside)}; without one p50 {quantile(alone, 0.5):.1f}, p99 {quantile(alone, 0.99):.1f}, max"
             f" {alone[-1]:.1f} of {len(alone)}; {locked}")
    assert sum(each["rows"] for each in locked) > 0, "no lock was met: this has shown nothing"
    assert all(each["rows"] == each["done_later"] for each in locked)
    assert [(job["report"]["keys"], job["report"]["rows"]) for job in jobs] == [(keys, keys)] * 2
    assert beside[-1] < 100 + alone[-1]


def test_a_prepared_transaction_that_holds_a_row_is_named(db):
    """It has no session."""
    db.table()
    daemon = db.daemon()
    with db.locked_rows("id = 501") as holder:
        db.admin.execute("BEGIN; UPDATE t SET n = 10 WHERE id = 500; PREPARE TRANSACTION 'it''s held'")
        try:
            name = db.submit(set_clause="n = n + 1")
            daemon.says(f"2 rows are locked by prepared transaction 'it''s held', pid {holder.info.backend_pid} (holder)")
            assert db.all("SELECT DISTINCT message FROM backfill.left_behind") == [
                (f"locked by prepared transaction 'it''s held', pid {holder.info.backend_pid}",)]
            holder.commit()
            wait_until(lambda: db.throttled_by(name) == "1 row is locked by prepared transaction 'it''s held'", what="it is named")
        finally:
            db.admin.execute("COMMIT PREPARED 'it''s held'")
    db.finish(name)
    assert db.counts() == {1: 999, 11: 1}


def test_views_wait_for_no_lock_on_anybodys_table(db):
    """Whoever looks, and whosever the tables are: a partition that is locked, a table with expressions that would be written out."""
    db.app.execute("""CREATE TABLE p (id int PRIMARY KEY, n int DEFAULT 1 + 1 CHECK (n >= 0)) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000) PARTITION BY RANGE (id);
                      CREATE TABLE p2 PARTITION OF p1 FOR VALUES FROM (0) TO (1000); INSERT INTO p SELECT g, 0 FROM generate_series(1, 100) g;
                      CREATE TABLE e (LIKE p); INSERT INTO e SELECT * FROM p; CREATE UNIQUE INDEX ON e (id) WHERE id + 0 > 0; ALTER TABLE e ADD PRIMARY KEY (id)""")
    db.daemon()
    ended = db.submit(target="e", add_column="m int", set_clause="m = n", keep_in_sync=True, enforce=["NOT NULL m"])
    db.finish(ended)
    name = db.submit(target="p", set_clause="n = n + 1", max_rows_per_s=10)
    wait_until(lambda: db.counts("p").get(1), what="the job has begun")
    views = [v for v, in db.all("SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'backfill'::regnamespace AND c.relkind = 'v' ORDER BY 1")]
    assert "backfill.status" in views and len(views) > 5
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE p, p1, p2, e IN ACCESS EXCLUSIVE MODE")
        for user in ("app", "other", "watcher"):
            with db.connect(user) as session:
                session.execute("SET lock_timeout = 1")
                for view in views:
                    if session.execute("SELECT has_table_privilege(%s, 'SELECT')", (view,)).fetchone()[0]:
                        session.execute(f"SELECT * FROM {view}").fetchall()
        db.app.execute("SELECT backfill.cancel(%s)", (name,))
        db.finish(name, "cancelled")
        holder.rollback()


def test_who_steers_a_job_whose_row_is_locked_is_told_by_whom(db):
    """After some seconds, or as long as the session's own lock_timeout says."""
    db.table(rows=10)
    name = db.submit(set_clause="n = n + 1")
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM backfill.job WHERE name = %s FOR UPDATE", (name,))
        pid = holder.info.backend_pid
        for call, timeout in [("pause", "0"), *((call, "200ms") for call in ("cancel", "finish", "undo", "retry", "forget"))]:
            db.app.execute(f"SET lock_timeout = '{timeout}'")
            with pytest.raises(psycopg.errors.LockNotAvailable, match=f'the row of job "{name}" is locked by pid {pid}'):
                db.app.execute(f"SELECT backfill.{call}(%s)", (name,))
            assert db.app.execute("SHOW lock_timeout").fetchone() == (timeout,)
        holder.rollback()


def test_status_says_who_holds_a_running_jobs_own_row(db):
    db.table(rows=100)
    db.daemon()
    with db.held_row(50):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(50, name)
        holder = db.connect()
        holder.autocommit = False
        wait_until(lambda: holder.execute("SELECT 1 FROM backfill.job WHERE name = %s FOR UPDATE SKIP LOCKED", (name,)).fetchone(), what="it is held")
    wait_until(lambda: re.fullmatch(rf"stalled for \d+ s: its row is locked by pid {holder.info.backend_pid}", db.throttled_by(name) or ""), 30, "status says so")
    holder.rollback()
    holder.close()
    db.finish(name)


def test_who_waits_on_one_job_slows_no_other(db):
    """Whoever likes can have own sessions wait for an own job, by a lock that its clause takes."""
    db.table("t", rows=200000, user="other")
    db.table("u", rows=50000)
    db.app.execute("CREATE FUNCTION holds(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock(77); RETURN $1 + 1; END'")
    daemon = db.daemon(workers=2)
    own = db.submit(target="u", set_clause="n = holds(n)", max_rows_per_s=500)
    wait_until(lambda: db.counts("u").get(1), what="the first job holds its lock")
    waiter = db.connect()
    pid = waiter.info.backend_pid
    waiter.pgconn.send_query(b"SELECT pg_advisory_lock(77)")
    try:
        wait_until(lambda: (db.throttled_by(own) or "").startswith("blocked"), 30, "who waits slows the job that it waits for")
        job = db.finish(db.submit(user="other", set_clause="n = n + 1"), timeout=60)
        assert [line for line in daemon.log().splitlines() if f" {job['name']}: " in line and "blocked" in line] == []
    finally:
        db.admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        waiter.close()
    db.app.execute("SELECT backfill.cancel(%s)", (own,))


def test_who_inserts_a_job_behind_a_lock_is_told_whose_it_is(db):
    """A migration that hung in it would say nothing."""
    db.table()
    with db.connect("app") as locker:
        locker.execute("BEGIN; LOCK TABLE t IN SHARE MODE")
        with db.connect("app") as mine:
            with pytest.raises(psycopg.errors.LockNotAvailable, match=f"target: pid {locker.info.backend_pid} holds ShareLock on public.t") as refused:
                db.submit(session=mine, set_clause="n = 1")
            assert "Insert the job again" in refused.value.diag.message_hint
            locker.execute("ROLLBACK")
            db.submit(session=mine, set_clause="n = 1")
            assert mine.execute("SHOW lock_timeout").fetchone()[0] == "0"


def test_a_prepared_transactions_name_is_one_line_wherever_it_goes(db):
    db.table()
    db.daemon()
    db.admin.execute("BEGIN; UPDATE t SET n = 10 WHERE id = 500; PREPARE TRANSACTION E'evil\n2026-11-28 app: orders: succeeded\r\x01'")
    try:
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: db.all("SELECT message FROM backfill.left_behind") == [("locked by prepared transaction 'evil 2026-11-28 app: orders: succeeded '",)], what="it is named")
    finally:
        db.admin.execute("COMMIT PREPARED E'evil\n2026-11-28 app: orders: succeeded\r\x01'")
    db.finish(name)


def test_a_prepared_transaction_that_holds_the_table_is_named(db):
    db.table()
    db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        db.admin.execute("BEGIN; LOCK TABLE t IN SHARE MODE; PREPARE TRANSACTION 'held'")
    try:
        wait_until(lambda: db.throttled_by(name) == "prepared transaction 'held' holds ShareLock on public.t", what="it is named")
    finally:
        db.admin.execute("ROLLBACK PREPARED 'held'")
    db.finish(name)
    assert db.counts() == {1: 1000}


@pytest.mark.parametrize("ddl", ["LOCK TABLE t IN ACCESS EXCLUSIVE MODE", "ALTER TABLE t ADD COLUMN m{} int"])
def test_whoever_needs_the_whole_table_gets_it_and_the_job_goes_on(db, measured, ddl):
    """Each batch would take a second; each is cancelled for who waits on it."""
    db.table(rows=2000)
    db.admin.execute("""
        CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
        CREATE TRIGGER sleep BEFORE UPDATE ON t FOR EACH ROW WHEN (NEW.id % 100 = 50) EXECUTE FUNCTION sleep()""")
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    waits = []
    with db.connect("postgres", application_name="ddl") as session:
        for i in range(5):
            db.wait_asleep()
            began = time.monotonic()
            session.execute("BEGIN; " + ddl.format(i) + "; COMMIT")
            waits.append((time.monotonic() - began) * 1000)
        pid = session.info.backend_pid
    measured(ddl.format(""), f"waited {', '.join(f'{ms:.0f}' for ms in sorted(waits))} ms on a batch of a second")
    assert statistics.median(waits) < 100 and max(waits) < 500
    daemon.says(f"pid {pid} (ddl) has waited ")
    db.admin.execute("DROP TRIGGER sleep ON t")
    job = db.finish(name)
    assert db.counts() == {1: 2000} and job["report"]["locked"]["cancelled_for_others"] >= 5


def test_who_waits_on_a_batch_is_let_through_whatever_the_control_session_is_at(db):
    """It may lay out another job's thousand partitions for seconds. Here it is at nothing at all: its process stands still."""
    db.table(rows=2000)
    db.sleep_at(90, 30)
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    control = db.one("SELECT pid FROM pg_stat_activity WHERE application_name = 'backfilld control' AND datname = current_database()")
    with db.connect("postgres", application_name="waiter") as session:
        pid = session.info.backend_pid
        os.kill(control, signal.SIGSTOP)
        try:
            session.execute("SET statement_timeout = '10s'; UPDATE t SET n = n WHERE id = 50")
        finally:
            os.kill(control, signal.SIGCONT)
    daemon.says(f"pid {pid} (waiter) has waited ")
    db.admin.execute("DROP TRIGGER sleep ON t")
    db.finish(name)
    assert db.counts() == {1: 2000}


def test_a_table_lock_is_waited_for_and_its_holder_named(db):
    db.table()
    db.daemon()
    with db.connect() as session:
        session.autocommit = False
        with db.held_row(500):
            name = db.submit(set_clause="n = n + 1")
            db.wait_at(500, name)
            session.execute("LOCK TABLE t IN SHARE MODE")
        wait_until(lambda: db.one("SELECT throttled_by FROM backfill.status") ==
                   f"pid {session.info.backend_pid} holds ShareLock on public.t", what="it names who holds the table")
        assert db.left_behind() == []
        session.commit()
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_all_jobs_but_those_whose_rows_are_held_are_paused_at_once_and_these_are_named(db):
    """A prepared transaction that holds one job's row held up the UPDATE that was to pause all."""
    for table in ("t", "u", "v", "w"):
        db.table(table, rows=10)
        db.submit(name=table, target=table, set_clause="n = n + 1")
    db.admin.execute("BEGIN; UPDATE backfill.job SET priority = 1 WHERE name = 'v'; PREPARE TRANSACTION 'held'")
    try:
        with db.connect(application_name="editor") as editor:
            editor.autocommit = False
            editor.execute("UPDATE backfill.job SET priority = 1 WHERE name = 'w'")
            owner = db.session("backfilld")
            owner.execute("SET lock_timeout = '2s'")
            said = dict(owner.execute("SELECT name, outcome FROM backfill.pause_all()").fetchall())
            assert said == {"t": "paused", "u": "paused", "v": "not paused: its row is locked by prepared transaction 'held'",
                            "w": f"not paused: its row is locked by pid {editor.info.backend_pid} (editor)"}
            editor.rollback()
    finally:
        db.admin.execute("ROLLBACK PREPARED 'held'")
    assert sorted(db.all("SELECT * FROM backfill.pause_all()", user="app")) == [("v", "paused"), ("w", "paused")]
    assert {state for state, in db.all("SELECT state FROM backfill.job")} == {"paused"}


@pytest.mark.parametrize("workers", [1, 4])  # with room, a claim may be quicker
def test_a_job_whose_row_was_locked_when_its_daemon_came_back_is_held_again_and_goes_on(db, workers):
    """It was passed over, and nobody asked again: behind its batch it was another's."""
    db.table(rows=1000)
    db.sleep_at(500, 2)
    daemon = db.daemon(workers)
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    with db.connect() as editor:
        editor.autocommit = False
        editor.execute("SELECT FROM backfill.job FOR UPDATE")
        db.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'backfilld control' AND datname = current_database()")
        daemon.says("connected again")
        let_pass(0.3)
        assert not db.one("SELECT EXISTS (SELECT FROM pg_stat_get_activity(holder_pid)) FROM backfill.job")
        editor.rollback()
    wait_until(lambda: db.one("SELECT EXISTS (SELECT FROM pg_stat_get_activity(holder_pid)) FROM backfill.job"), what="it is held again")
    db.finish(name)
    assert db.counts() == {1: 1000} and daemon.log().count("running: public.t") == 1
