"""A job's life: claimed, run, steered, reported."""

import concurrent.futures
import contextlib
import json
import os
import pty
import re
import signal
import statistics
import threading
import time
from pathlib import Path

import psycopg
import pytest

from daemon import config_text
from waiting import let_pass, wait_until


def test_job_fills_every_row_once(db):
    db.table()
    db.daemon()
    job = db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 1000}
    assert job["phase"] == "backfill" and job["error"] is None and job["finished_at"] >= job["started_at"]


def test_where_clause_limits_what_is_changed(db):
    db.table()
    db.daemon()
    job = db.finish(db.submit(set_clause="n = n + 1", where_clause="n = 0 AND (id % 3 = 0 OR id = 1)"))
    assert db.counts() == {0: 666, 1: 334}
    assert job["report"]["rows"] == 334 and job["report"]["keys"] >= 334


def test_unnamed_jobs_get_names(db):
    db.table()
    first, second = db.submit(set_clause="n = 1"), db.submit(set_clause="n = 2")
    assert first == f"job-{db.job(first)['id']}" and first != second


def test_job_that_was_there_first_runs_when_the_daemon_starts(db):
    db.table()
    name = db.submit(set_clause="n = n + 1")
    db.daemon()
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_several_databases_are_served_at_once(db, db2):
    for each in (db, db2):
        each.table()
    db.start(config=config_text([{"conninfo": db.conninfo()}, {"conninfo": db2.conninfo()}]))
    names = [each.submit(set_clause="n = n + 1") for each in (db, db2)]
    for each, name in zip((db, db2), names):
        each.finish(name)
        assert each.counts() == {1: 1000}


def test_one_database_that_is_away_does_not_hold_up_the_other(db):
    db.table()
    daemon = db.start(config=config_text([
        {"name": "away", "conninfo": db.conninfo() + " dbname=not_there"},
        {"name": "here", "conninfo": db.conninfo()}]))
    db.finish(db.submit(set_clause="n = n + 1"))
    daemon.says("away: not connected, trying again")


def test_as_many_jobs_run_as_there_are_workers(db):
    for i in range(4):
        db.table(f"t{i}")
    with contextlib.ExitStack() as held:
        for i in range(4):
            held.enter_context(db.held_row(500, f"t{i}"))
        names = [db.submit(target=f"t{i}", set_clause="n = n + 1") for i in range(4)]
        db.daemon(workers=3)
        for name in names[:3]:
            db.wait_at(500, name)
        assert [db.state(name) for name in names] == ["running"] * 3 + ["queued"]
    for i, name in enumerate(names):
        db.finish(name)
        assert db.counts(f"t{i}") == {1: 1000}


def test_jobs_are_claimed_by_priority_then_age(db):
    names = []
    for i, priority in enumerate([0, 5, -1, 5, 0]):
        db.table(f"t{i}", 10)
        names.append(db.submit(target=f"t{i}", set_clause="n = n + 1", priority=priority))
    db.daemon(workers=1)
    for name in names:
        db.finish(name)
    order = db.all("SELECT name FROM backfill.job ORDER BY started_at")
    assert [name for name, in order] == [names[i] for i in (1, 3, 0, 4, 2)]


def test_two_jobs_never_run_on_one_table(db):
    db.table()
    db.table("elsewhere")
    with db.held_row(500):
        first = db.submit(set_clause="n = n + 1")
        second = db.submit(set_clause="n = n + 1", priority=9)
        free = db.submit(target="elsewhere", set_clause="n = n + 1")
        db.daemon(workers=4)
        db.finish(free)  # a table that is taken holds up nobody else
        running = {name: db.state(name) for name in (first, second)}
        assert sorted(running.values()) == ["queued", "running"]
    early, late = sorted((db.finish(first), db.finish(second)), key=lambda job: job["started_at"])
    assert late["started_at"] >= early["finished_at"]
    assert db.counts() == {2: 1000}


def test_a_partition_and_its_parent_are_one_table(db):
    db.app.execute("""
        CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
        CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (MINVALUE) TO (501);
        CREATE TABLE t_high PARTITION OF t FOR VALUES FROM (501) TO (MAXVALUE) PARTITION BY RANGE (id);
        CREATE TABLE t_high_all PARTITION OF t_high DEFAULT;
        INSERT INTO t SELECT generate_series(1, 1000)""")
    with db.held_row(100):
        names = [db.submit(target=target, set_clause="n = n + 1")
                 for target in ("t", "t_low", "t_high_all", "t_high")]
        db.daemon(workers=4)
        db.wait_at(100, names[0])
        assert [db.state(name) for name in names] == ["running", "queued", "queued", "queued"]
    jobs = [db.finish(name) for name in names]
    for earlier, later in zip(jobs, jobs[1:]):
        assert later["started_at"] >= earlier["finished_at"]
    assert db.counts("t_low") == {2: 500} and db.counts("t_high") == {3: 500}


def test_a_migration_can_run_again(db):
    db.table(columns="amount numeric NOT NULL DEFAULT 1.5, cents bigint")
    insert = """INSERT INTO backfill.job (name, target, set_clause, where_clause)
                VALUES ('fill-cents', 't', 'cents = (amount * 100)::bigint', 'cents IS NULL')
                ON CONFLICT (name) DO NOTHING"""
    db.daemon()
    assert db.app.execute(insert).rowcount == 1
    db.finish("fill-cents")
    assert db.app.execute(insert).rowcount == 0
    db.app.execute("ALTER TABLE t DROP COLUMN amount")  # the clause could not be planned any more
    assert db.app.execute(insert).rowcount == 0
    assert db.counts(column="cents") == {150: 1000}
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.app.execute(insert.replace("ON CONFLICT (name) DO NOTHING", ""))


@pytest.mark.parametrize("another, differs", [
    ({"set_clause": "n = 2"}, "set_clause 'n = 1'"), ({"where_clause": "n = 1"}, "where_clause 'n = 0'"), ({"enforce": ["CHECK (n > 0)"]}, "enforce NULL"),
    ({"dry_run": True}, "dry_run 'false'"), ({"target": "o"}, "target public.t")])
@pytest.mark.parametrize("conflict", ["", "ON CONFLICT (name) DO NOTHING"])
def test_another_job_under_a_used_name_is_refused_and_told_what_differs(db, another, differs, conflict):
    """Its owner would take it for done."""
    db.table()
    db.table("o")
    job = {"name": "fill", "target": "t", "set_clause": "n = 1", "where_clause": "n = 0"}
    insert = "INSERT INTO backfill.job ({}) VALUES ({}) " + conflict
    db.submit(**job)
    job |= another
    with pytest.raises(psycopg.errors.UniqueViolation) as refused:
        db.app.execute(insert.format(", ".join(job), ", ".join(["%s"] * len(job))), list(job.values()))
    assert f'name: there is another job "fill": it has {differs}' in str(refused.value)
    assert "SELECT backfill.cancel('fill'), then SELECT backfill.forget('fill') first" in refused.value.diag.message_hint


def test_the_same_job_may_be_written_in_another_way(db):
    db.table(columns="n int")
    db.submit(name="fill", add_column="m int", set_clause="m = n + 1", keep_in_sync=True)
    assert db.app.execute("""INSERT INTO backfill.job (name, target, add_column, set_clause, keep_in_sync, priority)
                             VALUES ('fill', 't', ' m  int', E'm =\n n + 1 ', true, 7) ON CONFLICT (name) DO NOTHING""").rowcount == 0


def test_a_name_that_another_role_takes_at_the_same_time_is_refused(db):
    """Whose INSERT comes second waits for the first one's transaction, and with ON CONFLICT DO NOTHING would do nothing and say nothing."""
    db.table()
    db.table("o", user="other")
    with db.connect("other") as first, db.connect() as second:
        first.autocommit = False
        db.submit(session=first, name="fill", target="o", set_clause="n = 1")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            inserted = pool.submit(second.execute, "INSERT INTO backfill.job (name, target, set_clause) VALUES ('mine', 't', 'n = 1'), ('fill', 't', 'n = 1') ON CONFLICT (name) DO NOTHING")
            wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", second.info.backend_pid), what="it waits")
            first.commit()
            with pytest.raises(psycopg.errors.UniqueViolation) as refused:
                inserted.result(10)
        assert '"fill" is the name of another role\'s job' in str(refused.value)
        assert db.all("SELECT name FROM backfill.job") == [("fill",)]
        assert second.execute("INSERT INTO backfill.job (name, target, set_clause) VALUES ('mine', 't', 'n = 1'), ('mine', 't', 'n = 1') ON CONFLICT (name) DO NOTHING").rowcount == 1


@pytest.mark.parametrize("own, at_least, at_most", [("0", 4, 8), ("300ms", 0.2, 3)])
def test_a_name_that_a_transaction_holds_is_waited_for_for_some_seconds_and_then_said(db, own, at_least, at_most):
    db.table()
    db.table("o", user="other")
    with db.connect("other") as first, db.connect() as second:
        first.autocommit = second.autocommit = False
        db.submit(session=first, name="fill", target="o", set_clause="n = 1")
        second.execute(f"SET lock_timeout = '{own}'; SAVEPOINT s")
        began = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable, match='name: another transaction, which isn\'t over, inserts a job "fill"') as refused:
            second.execute("INSERT INTO backfill.job (name, target, set_clause) VALUES ('fill', 't', 'n = 1') ON CONFLICT (name) DO NOTHING")
        assert at_least < time.monotonic() - began < at_most and "pg_stat_activity" in refused.value.diag.message_hint
        second.execute("ROLLBACK TO s")
        first.rollback()
        db.submit(session=second, name="fill", set_clause="n = 1")
        assert second.execute("SHOW lock_timeout").fetchone()[0] == own
        second.commit()
    assert db.one("SELECT count(*) FROM backfill.claimed_name") == 0


def test_watch_fits_a_terminal_and_says_first_what_needs_somebody(db):
    """A line a job, and below it why it stands: what has failed, runs, is paused, is queued, has just ended."""
    db.table(rows=1000)
    db.app.execute("ANALYZE t")
    for i in range(14):
        db.table(f"a_table_of_long_name_{i}", 10)
    db.daemon(workers=1)
    failed = db.submit(target="a_table_of_long_name_0", name="a-name-that-is-much-longer-than-its-column",
                       set_clause="n = 10 / (id - 7)::int", where_clause="n = 0")
    db.wait_state(failed, "failed", timeout=60)
    paused = db.submit(target="a_table_of_long_name_1", set_clause="n = 1", wanted="pause")
    done = db.submit(target="a_table_of_long_name_2", name="done", set_clause="n = 1")
    db.finish(done)
    with db.held_row(501):
        running = db.submit(name="half-way", set_clause="n = n + 1")
        db.wait_at(501, running)
        for i in range(2, 14):
            db.submit(target=f"a_table_of_long_name_{i}", name=f"queued-{i}", set_clause="n = 2")
        wait_until(lambda: "let through" in db.throttled_by(running), what="why it stands is known")
        lines = [line for line, in db.all("SELECT line FROM backfill.watch")]
    assert max(map(len, lines)) <= 78, "psql adds two"
    places = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in (failed[:20] + " failed", "half-way ", f"{paused} ", "queued-2 ", "... and 2 more queued", "done ")]
    assert places == sorted(places), lines
    assert lines[places[0] + 1].startswith("    row id = 7: division by zero")
    assert "[#####.....]" in lines[places[1]] and "50.0 %" in lines[places[1]] and "row 501 is not let through" in "".join(lines[places[1]:places[2]])
    assert lines[places[3]].endswith("a_table_of_long_name_2: all workers are busy")
    assert "10 rows" in lines[places[5]] and "ago" in lines[places[5]]
    assert len(lines) < 24, "a terminal"
    for role in ("watcher", "other"):
        assert db.session(role).execute("SELECT count(*) FROM backfill.watch").fetchone()[0] == (len(lines) if role == "watcher" else 0)


@pytest.mark.parametrize("left, said", [("7 s", "0:07"), ("59 min 59 s", "59:59"), ("23 h 59 min", "23:59 h"), ("1 d", "1 d"), ("-3 s", "0:00"), ("364 d", "364 d"), (None, None)])
def test_time_in_watch_is_short(db, left, said):
    assert db.one("SELECT backfill.short_time(%s::interval)", left) == said


def test_nobody_claims_names_of_jobs_that_they_do_not_insert(db):
    db.table()
    with pytest.raises(psycopg.Error):
        db.session("other").execute("SELECT backfill.claim_name('job-1')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.session("other").execute("CREATE TABLE mine (name text); CREATE TRIGGER mine BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION backfill.claim_name()")
    with db.connect("other") as holder:
        with holder.transaction(), pytest.raises(psycopg.Error), holder.transaction():
            holder.execute("INSERT INTO backfill.job (name, target, set_clause) VALUES ('job-1', 't', 'n = 1')")
        db.submit(set_clause="n = 1", wanted="pause")


def test_a_job_starts_soon_after_its_commit(db, measured):
    """Promised are 50 ms; the bound here has room for a busy machine."""
    db.daemon()
    delays, filled = [], []
    for i in range(20):
        db.table(f"t{i}", 50)
        with db.connect() as session:
            with session.transaction():
                name = db.submit(session=session, target=f"t{i}", set_clause="n = n + 1")
                session.execute("SELECT 1")
                before_commit = time.time()
        job = db.finish(name)
        first_batch = db.one("SELECT checkpoint_at FROM backfill.range WHERE job_id = %s", job["id"])
        delays.append(1000 * (job["started_at"].timestamp() - before_commit))
        filled.append(1000 * (first_batch.timestamp() - before_commit))
    measured("start after COMMIT", f"claimed: median {statistics.median(delays):.1f} ms, max"
                                   f" {max(delays):.1f} ms; "
             f"first batch done: median {statistics.median(filled):.1f} ms, max {max(filled):.1f} ms")
    assert statistics.median(delays) < 200 and max(delays) < 2000


def test_jobs_committed_while_the_daemon_looks_for_jobs_are_found(db, rng):
    """Each is committed just when the one before ends, and the daemon looks for the next: if that look misses
    it, and nothing tells the daemon to look again, it waits for a keep-alive; half seen, it is worse."""
    db.daemon(workers=1).says("connected")
    db.app.execute("DO $$ BEGIN FOR i IN 0..80 LOOP EXECUTE format("
                   "'CREATE TABLE t%s AS SELECT 1 AS id, 0 AS n; ALTER TABLE t%1$s ADD PRIMARY KEY (id)', i);"
                   " END LOOP; END $$")
    before = db.submit(target="t0", set_clause="n = n + 1")
    with db.connect() as session:
        session.autocommit = False
        for i in range(1, 81):
            name = db.submit(session=session, target=f"t{i}", set_clause="n = n + 1")
            wait_until(lambda: db.state(before) == "succeeded", 10, f"job {i} is found", every=0)
            let_pass(rng.uniform(0, 0.002))
            session.commit()
            before = name
    db.finish(before)


# ---- Pause, resume, cancel

def test_pause_takes_effect_in_the_middle_of_a_batch(db, measured):
    """Promised are 100 ms. The batch that is cut short is undone, and the job goes on from where it stood."""
    db.table()
    db.sleep_at(500, 4)
    db.daemon()
    name = db.submit(set_clause="n = n + 1")
    took = []
    for _ in range(5):
        db.wait_asleep()
        began = time.monotonic()
        db.app.execute("SELECT backfill.pause(%s)", [name])
        wait_until(lambda: db.state(name) == "paused", 3, "paused before the batch would have ended",
                   every=0.001)
        took.append(1000 * (time.monotonic() - began))
        assert db.one("SELECT max(id) FROM t WHERE n > 0") < 500
        db.app.execute("SELECT backfill.resume(%s)", [name])
    db.wait_asleep()
    measured("pause within a batch", f"median {statistics.median(took):.1f} ms, max {max(took):.1f} ms")
    assert statistics.median(took) < 500
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_cancel_takes_effect_in_the_middle_of_a_batch(db, measured):
    db.table()
    db.sleep_at(500, 4)
    db.daemon()
    took = []
    for _ in range(5):
        name = db.submit(set_clause="n = n + 1")
        db.wait_asleep()
        began = time.monotonic()
        db.app.execute("SELECT backfill.cancel(%s)", [name])
        wait_until(lambda: db.state(name) == "cancelled", 3, "cancelled before the batch would have ended",
                   every=0.001)
        took.append(1000 * (time.monotonic() - began))
    measured("cancel within a batch", f"median {statistics.median(took):.1f} ms, max {max(took):.1f} ms")
    assert statistics.median(took) < 500
    assert db.one("SELECT count(*) FROM t WHERE id >= 500 AND n > 0") == 0
    with pytest.raises(psycopg.Error, match="cancelled"):
        db.app.execute("SELECT backfill.resume(%s)", [name])


def test_a_superusers_batch_can_be_paused_too(db):
    """pg_signal_backend is not enough for that."""
    db.table()
    db.sleep_at(500, 4)
    db.daemon()
    name = db.submit(user="postgres", set_clause="n = n + 1")
    db.wait_asleep()
    db.admin.execute("SELECT backfill.pause(%s)", [name])
    wait_until(lambda: db.state(name) == "paused", 3, "paused before the batch would have ended")


def test_pause_and_cancel_of_jobs_that_nobody_runs(db):
    db.table()
    name = db.submit(set_clause="n = n + 1")
    db.app.execute("SELECT backfill.pause(%s)", [name])
    assert db.state(name) == "paused"
    db.app.execute("SELECT backfill.resume(%s)", [name])
    assert db.state(name) == "queued"
    db.app.execute("SELECT backfill.cancel(%s)", [name])
    assert db.state(name) == "cancelled" and db.job(name)["finished_at"]
    later = db.submit(set_clause="n = n + 1", wanted="pause")
    assert db.state(later) == "paused"
    db.daemon()
    db.finish(db.submit(target="t", set_clause="n = n + 10"))
    assert db.state(later) == "paused"
    db.app.execute("SELECT backfill.resume(%s)", [later])
    db.finish(later)
    assert db.counts() == {11: 1000}


def test_pause_while_waiting_for_a_lock(db):
    db.table()
    db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        db.app.execute("SELECT backfill.pause(%s)", [name])
        wait_until(lambda: db.state(name) == "paused", 3)
    assert db.counts() == {0: 501, 1: 499}
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_pause_and_resume_in_quick_turns_repeats_no_row(db, rng):
    db.table(rows=20000)
    db.daemon(max_rows=100)
    name = db.submit(set_clause="n = n + 1")
    turns = 0
    while db.state(name) not in ("succeeded", "failed", "cancelled") and turns < 60:
        try:
            db.app.execute(f"SELECT backfill.{rng.choice(['pause', 'resume'])}(%s)", [name])
        except psycopg.errors.ObjectNotInPrerequisiteState:
            pass  # it has just ended
        turns += 1
    if db.state(name) != "succeeded":
        db.app.execute("UPDATE backfill.job SET wanted = 'run' WHERE name = %s AND state <> 'succeeded'",
                       [name])
    db.finish(name)
    assert db.counts() == {1: 20000}


def test_overrides_of_a_running_job_take_effect(db):
    """A smaller target_ms is used from the next batch on, a changed on_error too."""
    db.table(columns="n int NOT NULL DEFAULT 0, d int NOT NULL DEFAULT 1")
    db.admin.execute("UPDATE t SET d = 0 WHERE id = 700")
    db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1 / d")
        db.wait_at(500, name)
        db.app.execute("UPDATE backfill.job SET on_error = 'quarantine', target_ms = 5 WHERE name = %s",
                       [name])
        wait_until(lambda: db.one("SELECT wanted = 'run' FROM backfill.job WHERE name = %s", name))
    db.finish(name)
    assert db.counts() == {0: 1, 1: 999}


# ---- What people see

def test_status_shows_a_job_on_its_way(db):
    db.table()
    db.admin.execute("ANALYZE t")
    db.daemon()
    with db.held_row(501):
        name = db.submit(name="half-way", set_clause="n = n + 1")
        db.wait_at(501, name)
        wait_until(lambda: db.one("SELECT throttled_by FROM backfill.status", user="app"),
                   what="it says what it waits for")
        target, state, phase, percent, bar, rows, reason = db.all(
            "SELECT target, state, phase, percent, bar, rows, throttled_by FROM backfill.status",
            user="app")[0]
        assert (target, state, phase, rows) == ("t", "running", "backfill", 500)
        assert 49 <= percent <= 51 and bar == "[##########..........]" and "let through" in reason
    db.finish(name)
    assert db.all("SELECT state, percent, bar, error FROM backfill.status", user="app") == [
        ("succeeded", 100, "[####################]", None)]


def test_status_says_when_no_daemon_runs_a_job(db):
    db.table()
    daemon = db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        daemon.kill()
        wait_until(lambda: db.one("SELECT throttled_by FROM backfill.status") == "no daemon runs it")


def test_report_adds_up(db):
    db.table()
    db.daemon(max_rows=100)
    job = db.finish(db.submit(set_clause="n = n + 1", where_clause="id > 200 AND n = 0"))
    report = job["report"]
    assert (report["rows"], report["ranges"], report["left_behind"]) == (800, 1, 0)
    assert report["batches"] >= 10
    assert 0 < report["batch_ms"]["p50"] <= report["batch_ms"]["p99"]
    assert report["wal_bytes"] > 800 * 30
    assert abs(report["seconds"] - (job["finished_at"] - job["started_at"]).total_seconds()) < 0.5


def test_each_change_of_state_is_notified(db):
    db.table()
    listener = db.connect("stranger")
    listener.execute("LISTEN backfill")
    db.daemon()
    name = db.submit(set_clause="n = n + 1")
    seen = []
    for note in listener.notifies():
        seen.append(json.loads(note.payload))
        if seen[-1]["state"] == "succeeded":
            break
    listener.close()
    assert [(s["state"], s["phase"]) for s in seen] == [
        ("queued", "preflight"), ("running", "preflight"), ("running", "backfill"), ("succeeded", "backfill")]
    assert all(s["name"] == name and s["target"] == "public.t" and s["wanted"] == "run" for s in seen)


def test_wait_returns_when_the_job_is_done(db):
    db.table()
    db.sleep_at(500, 0.5)
    db.daemon()
    name = db.submit(set_clause="n = n + 1")
    assert db.one("SELECT backfill.is_done(%s)", name, user="app") is False
    db.app.execute("CALL backfill.wait(%s)", [name])
    assert db.one("SELECT backfill.is_done(%s)", name, user="app") is True
    assert db.counts() == {1: 1000}


def test_wait_says_what_is_still_to_do(db):
    db.table(rows=10)
    db.daemon()
    left = db.submit(set_clause="n = 1 / (id - 5)::int", on_error="quarantine")
    clean = db.submit(set_clause="n = n + 1")
    said = []
    session = db.session("app")
    session.add_notice_handler(lambda notice: said.append((notice.severity_nonlocalized, notice.message_primary, notice.message_hint)))
    session.execute("CALL backfill.wait(%s)", [left])
    assert [(level, message) for level, message, _ in said] == [("WARNING", f'job "{left}" succeeded, but for 1 row that it left behind')]
    assert "backfill.left_behind" in said[0][2]
    session.execute("CALL backfill.wait(%s)", [clean])
    assert len(said) == 1
    session = db.session("watcher")
    session.add_notice_handler(lambda notice: said.append(notice.message_hint))
    session.execute("CALL backfill.wait(%s)", [left])
    assert said[1:] == ["Which and why is for app to see, in backfill.left_behind."]


def test_wait_says_what_a_job_waits_for_that_does_not_run(db):
    db.table(rows=10)
    name = db.submit(set_clause="n = n + 1")
    said = []
    with db.connect() as session:
        session.add_notice_handler(lambda notice: said.append((notice.message_primary, notice.message_hint)))
        for paused in (False, True):
            if paused:
                db.app.execute("SELECT backfill.pause(%s)", [name])
            with pytest.raises(psycopg.Error, match="is still"):
                session.execute("CALL backfill.wait(%s, '3 s')", [name])
    assert said == [(f'job "{name}" is queued: no daemon serves this database', "It is in the queue already: throttled_by in backfill.status says what it waits for."),
                    (f'job "{name}" is paused', f"SELECT backfill.resume('{name}') goes on with it.")]


def test_wait_raises_what_went_wrong(db):
    db.table()
    name = db.submit(set_clause="n = 1 / (id - id)")
    with pytest.raises(psycopg.Error, match="still queued after"):
        db.app.execute("CALL backfill.wait(%s, '0.2 s')", [name])
    db.daemon()
    with pytest.raises(psycopg.Error, match="division by zero"):
        db.app.execute("CALL backfill.wait(%s)", [name])
    cancelled = db.submit(set_clause="n = 1", wanted="pause")
    db.app.execute("SELECT backfill.cancel(%s)", [cancelled])
    with pytest.raises(psycopg.Error, match="was cancelled"):
        db.app.execute("CALL backfill.wait(%s)", [cancelled])
    with pytest.raises(psycopg.Error, match="no job"):
        db.app.execute("CALL backfill.wait('nonsense')")


def test_wait_refuses_a_transaction_that_would_hold_back_vacuum(db):
    db.table()
    name = db.submit(set_clause="n = 1")
    with db.connect() as session:
        session.autocommit = False
        session.execute("SELECT 1")
        with pytest.raises(psycopg.Error, match="transaction"):
            session.execute("CALL backfill.wait(%s, '1 s')", [name])
        session.rollback()


def test_log_names_job_table_and_login(db):
    db.table()
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.finish(name)
    daemon.says(f"{db.name}: {name}: succeeded: 1000 rows")
    assert f"{db.name}: {name}: running: public.t, as app" in daemon.log()


def test_terminal_gets_a_live_bar(db):
    db.table()
    db.admin.execute("ANALYZE t")
    terminal, theirs = pty.openpty()
    shown = bytearray()

    def read():
        while True:
            try:
                shown.extend(os.read(terminal, 4096))
            except OSError:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    db.start("-d", db.conninfo(), stderr=theirs)
    os.close(theirs)
    with db.held_row(501):
        name = db.submit(name="to-look-at", set_clause="n = n + 1")
        bar = re.compile(rb"\r\x1b\[Kto-look-at  (#+)(\.+) +([0-9.]+) %")
        done, left, percent = wait_until(lambda: bar.search(shown), what="the bar is somewhere before 50 %").groups()
        assert len(done + left) == 30 and len(done) == int(float(percent) * 30 / 100) and float(percent) <= 50, shown
    db.finish(name)
    wait_until(lambda: b"to-look-at: succeeded" in shown)
    db.daemons[0].terminate()
    reader.join(5)
    os.close(terminal)


# ---- Starting and stopping

def test_drain_runs_what_is_queued_and_ends_with_0(db):
    db.table()
    db.submit(set_clause="n = n + 1")
    db.submit(set_clause="n = n + 1")
    waiting = db.submit(set_clause="n = n + 100", wanted="pause")
    done = db.drain()
    assert done.returncode == 0 and "paused, and not waited for: 1 job(s)" in done.stderr, done.stderr
    assert db.counts() == {2: 1000} and db.state(waiting) == "paused"


def test_drain_of_an_empty_queue_ends_at_once(db):
    assert db.drain().returncode == 0


def test_drain_ends_with_1_when_a_job_failed(db):
    db.table()
    failing = db.submit(set_clause="n = 1 / (id - 5)::int")
    fine = db.submit(set_clause="n = 7")
    assert db.drain().returncode == 1
    assert db.state(failing) == "failed" and db.state(fine) == "succeeded"
    assert db.drain().returncode == 0  # an old failure is old


def test_drain_ends_with_1_when_another_daemon_failed_a_job_meanwhile(db):
    db.table()
    db.daemon()
    with db.held_row(500):
        failing = db.submit(set_clause="n = 1 / (id - 700)::int")
        db.wait_at(500, failing)
        drain = db.start("-d", db.conninfo(), "--drain")
        drain.says("waits for what another daemon runs (jobs: 1)")
    db.finish(failing, "failed")
    assert drain.wait() == 1 and f"failed meanwhile, run by another daemon: {failing}" in drain.log()


def test_drain_without_the_schema_says_what_to_do(db):
    db.admin.execute("DROP SCHEMA backfill CASCADE")
    ended = db.drain()
    assert ended.returncode == 1 and "not installed" in ended.stderr and "--install" in ended.stderr


def test_sigterm_finishes_the_batch_and_gives_the_job_back(db):
    db.table()
    db.sleep_at(500, 1)
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    assert daemon.terminate() == 0
    job = db.job(name)
    assert (job["state"], job["holder_pid"], job["wanted"]) == ("queued", None, "run")
    assert db.one("SELECT n FROM t WHERE id = 500") == 1, "the batch was finished"
    assert int(db.cursor(name)[0]) >= 500
    daemon.start()
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_sigterm_waits_for_no_long_question_of_the_control_session(db):
    db.table()
    daemon = db.daemon()
    made = db.one("SELECT pg_get_functiondef('backfill.check_columns'::regproc)")
    db.admin.execute("CREATE OR REPLACE FUNCTION backfill.check_columns(job backfill.job) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(8) $$")
    name = db.submit(set_clause="n = n + 1")
    wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = 'backfilld control'"), what="a question that takes long")
    began = time.monotonic()
    daemon.terminate()
    assert time.monotonic() - began < 5 and db.state(name) == "queued", daemon.log()
    db.admin.execute(made)
    db.daemon()
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_second_sigterm_cancels_the_batch(db):
    db.table()
    db.sleep_at(500, 4.5)
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    daemon.says("finishing batches")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(3) == 0
    assert time.monotonic() - began < 3
    assert db.state(name) == "queued" and db.one("SELECT n FROM t WHERE id = 500") == 0
    assert db.job(name)["holder_pid"] is None


def test_sigint_stops_it_too(db):
    daemon = db.daemon()
    daemon.says("connected")
    daemon.signal(signal.SIGINT)
    assert daemon.wait() == 0


def test_a_job_paused_at_the_end_of_the_daemon_stays_paused(db):
    db.table()
    db.sleep_at(500, 1)
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    daemon.signal(signal.SIGTERM)
    daemon.says("finishing batches")
    db.app.execute("SELECT backfill.pause(%s)", [name])
    assert daemon.wait() == 0
    assert db.state(name) == "paused"


def test_sighup_applies_a_good_file(db):
    for i in range(2):
        db.table(f"t{i}")
    daemon = db.daemon(workers=1)
    with db.held_row(500, "t0"), db.held_row(500, "t1"):
        names = [db.submit(target=f"t{i}", set_clause="n = n + 1") for i in range(2)]
        db.wait_at(500, names[0])
        assert db.state(names[1]) == "queued"
        daemon.rewrite_config(db.config(workers=2))
        daemon.signal(signal.SIGHUP)
        db.wait_at(500, names[1])
    for name in names:
        db.finish(name)


def test_sighup_refuses_a_bad_file_and_goes_on(db):
    db.table()
    daemon = db.daemon()
    daemon.says("connected")
    bad = db.config() + "batch = { target_msec = 3; };\n"
    daemon.rewrite_config(bad)
    daemon.signal(signal.SIGHUP)
    daemon.says(f"{daemon.config_path}:{bad.count(chr(10))}: unknown key batch.target_msec; the settings stay as they were")
    db.finish(db.submit(set_clause="n = n + 1"))


def test_sighup_takes_databases_in_and_out(db, db2):
    db.table()
    db2.table()
    daemon = db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        daemon.rewrite_config(db2.config())
        daemon.signal(signal.SIGHUP)
        db.wait_state(name, "queued")
        second = db2.submit(set_clause="n = n + 1")
        db2.finish(second)
        daemon.rewrite_config(config_text([{"conninfo": each.conninfo()} for each in (db, db2)]))
        daemon.signal(signal.SIGHUP)
        db.wait_state(name, "running")
    db.finish(name)
    assert db.counts() == {1: 1000} and db2.counts() == {1: 1000}


def test_sighup_that_takes_a_database_out_and_in_again_within_a_batch(db, db2):
    db.table()
    db.sleep_at(500, 1)
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    for turn, config in enumerate([db2.config(), db.config()], 1):
        daemon.rewrite_config(config)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.log().count("settings read again") == turn)
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_sighup_without_a_file_changes_nothing(db):
    db.table()
    daemon = db.start("-d", db.conninfo())
    daemon.says("connected")
    daemon.signal(signal.SIGHUP)
    daemon.says("no file to read again")
    db.finish(db.submit(set_clause="n = n + 1"))


# ---- The job's session

def test_settings_hold_in_the_jobs_session(db):
    db.table(columns="n int NOT NULL DEFAULT 0, seen text")
    db.daemon()
    db.finish(db.submit(set_clause="seen = current_setting('my.flag') || current_setting('work_mem')",
                        settings={"my.flag": "on ", "work_mem": "7MB"}))
    assert db.counts(column="seen") == {"on 7MB": 1000}


def test_settings_that_would_be_passed_over_are_refused(db):
    """Those of the inserting session, and all that the daemon's session sets behind a job's own: what safety rests on."""
    db.table(columns="n int NOT NULL DEFAULT 0, seen text")
    source = (Path(__file__).parents[2] / "lib/schema/sql.c").read_text()
    behind = source[source.index("SELECT 4, v.name, v.value"):source.index("SELECT 5, 'role'")] + source[source.index("#define PINNED "):source.index("#define PINNED_FORMS")]
    names = {name for name in re.findall(r"\('(\w[\w.]*)', ", behind) if not name.startswith("backfilld.")} | {"TimeZone", "lock_timeout"}
    assert {"search_path", "DateStyle", "statement_timeout", "plan_cache_mode", "extra_float_digits", "tcp_user_timeout"} <= names
    for name in names | {"LOCK_TIMEOUT", "timezone"}:
        with pytest.raises(psycopg.Error, match=f"settings: {name} is") as refused:
            db.submit(set_clause="n = 1", settings={name: "1"})
        assert refused.value.diag.message_hint
    db.daemon(lock_timeout_ms=33)
    db.finish(db.submit(set_clause="seen = concat_ws(' ', current_setting('plan_cache_mode'), current_setting('lock_timeout'), current_setting('statement_timeout'), current_setting('DateStyle'))"))
    assert list(db.counts(column="seen")) == ["auto 33ms 5s ISO, MDY"]


def test_search_path_and_time_zone_are_the_submitters(db):
    db.admin.execute("CREATE SCHEMA mine AUTHORIZATION app")
    db.table(columns="n int NOT NULL DEFAULT 0, seen text")
    with db.connect() as session:
        session.execute("SET search_path = mine, public; SET TimeZone = 'Asia/Kathmandu'; SET DateStyle ="
                        " 'SQL, DMY'")
        session.execute("CREATE FUNCTION mine.seen() RETURNS text LANGUAGE sql AS"
                        " $$ SELECT to_char('2020-01-01 00:00+00'::timestamptz, 'HH24:MI') || ' ' ||"
                        " '02/03/2020'::date::text $$")
        name = db.submit(session=session, set_clause="seen = seen()")
    db.daemon()
    db.finish(name)
    assert db.counts(column="seen") == {"05:45 2020-03-02": 1000}
