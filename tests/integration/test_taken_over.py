"""A column that add_column finds there: whose it is, and what it knows of its values. It says succeeded of nothing that it can't know."""

import psycopg
import pytest

from daemon import run
from waiting import wait_until

MIGRATION = dict(add_column="b int", set_clause="b = a * 2", keep_in_sync=True, enforce=["NOT NULL b"])


def make(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL); INSERT INTO t SELECT i, i FROM generate_series(1, 300) i")


def columns(db):
    return [name for name, in db.all("SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum")]


def begun_and_cancelled(db, name):
    with db.held_row(200):
        db.submit(name=name, **MIGRATION)
        db.wait_at(200, name)
        db.app.execute("SELECT backfill.cancel(%s)", [name])
        db.wait_state(name, "cancelled")
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'backfilld'"), what="its trigger is gone")


def test_a_migration_that_is_begun_again_says_what_it_took_for_right(db):
    """While there was no trigger, the application wrote what the first one had filled."""
    make(db)
    db.daemon(max_rows=50)
    begun_and_cancelled(db, "first")
    assert db.job("first")["hint"] == "Column b stays, and nothing keeps it in step: SELECT backfill.undo('first') drops it."
    db.app.execute("UPDATE t SET a = a + 1000 WHERE id <= 100")
    with pytest.raises(psycopg.Error) as refused:
        db.app.execute("SELECT backfill.retry('first')")
    assert "SELECT backfill.undo('first')" in refused.value.diag.message_hint
    job = db.finish(db.submit(name="second", **MIGRATION))
    told = "Column b was there before the job: what stood in it was taken for right."
    assert job["report"]["not_proven"] == told and told in job["hint"]


def test_a_migration_that_was_undone_first_is_right(db):
    make(db)
    db.daemon(max_rows=50)
    begun_and_cancelled(db, "first")
    db.app.execute("UPDATE t SET a = a + 1000 WHERE id <= 100")
    db.app.execute("SELECT backfill.undo('first')")
    wait_until(lambda: columns(db) == ["id", "a"], what="it is undone")
    job = db.finish(db.submit(name="second", **MIGRATION))
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a * 2") == 0 and "not_proven" not in job["report"]


@pytest.mark.parametrize("state", ["kept in step", "finished"])
def test_a_column_that_a_later_job_has_taken_over_is_not_undone_with_the_first(db, state):
    """New code writes it by now."""
    make(db)
    db.daemon(max_rows=50)
    begun_and_cancelled(db, "first")
    db.finish(db.submit(name="second", **MIGRATION))
    if state == "finished":
        db.app.execute("SELECT backfill.finish('second')")
        wait_until(lambda: not db.one("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'backfilld'"), what="its trigger is gone")
        db.app.execute("ALTER TABLE t ALTER a DROP NOT NULL; INSERT INTO t (id, b) VALUES (1000, 7)")
    db.app.execute("SELECT backfill.undo('first')")
    wait_until(lambda: db.job("first")["error"], what="it says why not")
    assert db.job("first")["error"] == 'column b of public.t is that of job "second" by now'
    assert columns(db) == ["id", "a", "b"]


def test_a_column_with_a_default_is_none_of_which_null_tells_what_is_to_do(db):
    make(db)
    db.app.execute("ALTER TABLE t ADD b int NOT NULL DEFAULT 0")
    with pytest.raises(psycopg.Error, match="public.t has a column b already, with a default: every row has a value there") as refused:
        db.submit(**MIGRATION)
    assert refused.value.diag.message_hint.startswith("ALTER TABLE public.t ALTER b DROP DEFAULT")
    db.daemon()
    db.finish(db.submit(where_clause="b = 0", **MIGRATION))
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a * 2") == 0


@pytest.mark.parametrize("column, problem", [("b int NOT NULL DEFAULT 0", "with a default, so that nothing tells which rows are to do"), ("b text", "of type text")])
def test_a_column_that_somebody_adds_before_the_job_begins_must_be_what_it_says(db, column, problem):
    make(db)
    name = db.submit(**MIGRATION)
    db.app.execute(f"ALTER TABLE t ADD {column}")
    db.daemon()
    job = db.finish(name, "failed")
    assert job["error"] == f"column b of public.t is there, {problem}" and "Where nobody needs it, drop it, then SELECT backfill.retry('job-1')" in job["hint"]
    db.app.execute("ALTER TABLE t DROP b")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a * 2") == 0


def test_hints_of_a_clause_that_fails_lead_to_one_that_is_right_for_all_rows(db):
    """Each followed to the letter: the rows of the first clause must not be taken for right."""
    make(db)
    db.app.execute("UPDATE t SET a = 0 WHERE id = 300")
    db.daemon(max_rows=50)
    wrong = db.finish(db.submit(name="first", **{**MIGRATION, "set_clause": "b = 100 / a"}), "failed")
    assert "SELECT backfill.undo('first'), which drops the column that it has filled; then SELECT backfill.forget('first'), then insert the job anew" in wrong["hint"]
    with pytest.raises(psycopg.Error) as refused:
        db.app.execute("SELECT backfill.forget('first')")
    assert refused.value.diag.message_hint.startswith("First SELECT backfill.undo('first')")
    for call in ("undo", "forget"):
        wait_until(lambda: db.one("SELECT NOT backfill.has_left_something(j) OR %s = 'undo' FROM backfill.job j WHERE name = 'first'", call), what="it is undone")
        db.app.execute(f"SELECT backfill.{call}('first')")
    job = db.finish(db.submit(name="second", **MIGRATION))
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a * 2") == 0 and "not_proven" not in job["report"]


@pytest.mark.parametrize("state", ["succeeded", "paused"])
@pytest.mark.parametrize("call", ["cancel", "undo"])
def test_a_trigger_that_another_jobs_column_rests_on_is_not_taken_out_first(db, call, state):
    """Its constraint would fail old code."""
    make(db)
    db.daemon(max_rows=50)
    with db.held_row(300):
        db.submit(name="first", add_column="b int", set_clause="b = a * 2", keep_in_sync=True)
        db.wait_at(300, "first")
        if state == "paused":
            db.app.execute("SELECT backfill.pause('first')")
            db.wait_state("first", "paused")
    if state == "paused":
        db.app.execute("UPDATE t SET a = a + 1 WHERE b IS NULL")  # its trigger fills them
    else:
        db.finish("first")
    db.finish(db.submit(name="second", add_column="c int", set_clause="c = b + 1", keep_in_sync=True, enforce=["NOT NULL c"]))
    with pytest.raises(psycopg.Error, match='job "second" keeps a column in step with one that this job fills') as refused:
        db.app.execute(f"SELECT backfill.{call}('first')")
    assert "backfill.undo('second')" in refused.value.diag.message_hint
    db.app.execute("INSERT INTO t VALUES (1000, 7)")
    assert db.one("SELECT c FROM t WHERE id = 1000") == 15
    db.app.execute("SELECT backfill.undo('second')")
    wait_until(lambda: columns(db) == ["id", "a", "b"], what="the second is undone")
    db.app.execute("SELECT backfill.undo('first')")
    wait_until(lambda: columns(db) == ["id", "a"], what="the first is undone")


# ---- Triggers that bear another job's number

@pytest.mark.parametrize("first", [999999, 1000000, 2345678901])
def test_no_two_jobs_triggers_bear_one_name_whatever_their_numbers(db, first):
    """Of two jobs the older fires first, for the younger may read what it fills."""
    make(db)
    db.admin.execute(f"ALTER TABLE backfill.job ALTER id RESTART WITH {first}")
    db.daemon()
    db.finish(db.submit(name="first", **MIGRATION))
    db.finish(db.submit(name="second", add_column="d int", set_clause="d = b + 1", keep_in_sync=True, enforce=["NOT NULL d"]))
    db.app.execute("INSERT INTO t VALUES (1000, 7); UPDATE t SET a = 9 WHERE id = 7")
    assert db.all("SELECT b, d FROM t WHERE id IN (7, 1000) ORDER BY id") == [(18, 19), (14, 15)]
    assert run("-d", db.conninfo(), "--check").returncode == 0
    db.app.execute("SELECT backfill.finish('second')")
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_trigger WHERE tgfoid::regproc::text ~ %s", f"sync_{first + 1}_"), what="the second's are gone")
    db.app.execute("UPDATE t SET a = 11 WHERE id = 7")
    assert db.all("SELECT b, d FROM t WHERE id = 7") == [(22, 19)]


def test_a_trigger_that_came_without_its_job_is_left_alone_and_named(db):
    """A table restored without the schema: what it keeps in step, another job of that number must not take away."""
    make(db)
    db.daemon()
    db.finish(db.submit(name="first", **MIGRATION))
    db.admin.execute("DELETE FROM backfill.job; ALTER TABLE backfill.job ALTER id RESTART WITH 1")
    checked = run("-d", db.conninfo(), "--check")
    trigger = "zz_backfilld_keep_in_sync_000001_update on public.t"
    assert checked.returncode == 1 and f"trigger {trigger}" in checked.stdout and "is of a job that this schema doesn't know" in checked.stdout, checked.stdout
    other = dict(add_column="d int", set_clause="d = a * 5", keep_in_sync=True)
    with pytest.raises(psycopg.Error, match=f"trigger {trigger} is of a job that this schema doesn't know") as refused:
        db.submit(name="second", **other)
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 7)")
    assert db.one("SELECT b FROM t WHERE id = 1000") == 14
    db.app.execute("ALTER TABLE t ALTER b DROP NOT NULL")
    db.app.execute(refused.value.diag.message_hint.split("any more: ")[1])
    assert db.one("SELECT count(*) FROM pg_proc WHERE proname ~ '^backfilld_sync_'") == 0
    db.finish(db.submit(name="second", **other))
    assert run("-d", db.conninfo(), "--check").returncode == 0


# ---- What others still need

def test_a_column_that_other_jobs_are_to_read_is_not_dropped(db):
    """Neither by undo nor by drop_column: one that is paused, and one that has left rows behind, whose only source it may be."""
    make(db)
    db.app.execute("ALTER TABLE t ADD c int, ADD d int; UPDATE t SET a = 0 WHERE id <= 3")
    db.daemon()
    db.finish(db.submit(name="first", add_column="b int", set_clause="b = a * 2", keep_in_sync=True))
    db.submit(name="paused", set_clause="c = b", wanted="pause")
    db.app.execute("SELECT backfill.undo('first')")
    wait_until(lambda: db.job("first")["error"], what="it says why not")
    assert "jobs: job paused, which is paused" in db.job("first")["error"] and "b" in columns(db)
    db.app.execute("SELECT backfill.cancel('paused')")
    db.app.execute("UPDATE t SET c = NULL")
    failed = db.submit(name="failed", set_clause="c = 1 / (b - 10)", where_clause="c IS NULL")
    db.finish(failed, "failed")
    db.app.execute("SELECT backfill.undo('first')")
    wait_until(lambda: "jobs: job failed, which is failed" in (db.job("first")["error"] or ""), what="it says why not")
    db.app.execute("SELECT backfill.forget('failed'); SELECT backfill.undo('first')")
    wait_until(lambda: "b" not in columns(db), what="it is undone")

    db.finish(db.submit(name="second", set_clause="d = 10 / a", on_error="quarantine", where_clause="d IS NULL", keep_in_sync=True))
    with db.connect() as session:
        said = []
        session.add_notice_handler(lambda notice: said.append(notice.message_primary))
        session.execute("SELECT backfill.finish('second')")
    assert said == ['job "second" has left 3 rows behind, which no retry computes any more']
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'backfilld'"), what="its trigger is gone")
    job = db.finish(db.submit(name="drop", drop_column="a"), "failed")
    assert "job second, which has left 3 rows behind" in job["error"]
    db.app.execute("CALL backfill.wait('second')")
    db.app.execute("SELECT backfill.forget('second')")
    db.app.execute("SELECT backfill.retry('drop')")
    db.finish("drop")


def test_what_is_being_undone_is_undone_whatever_is_asked_for_meanwhile(db):
    """cancel and finish would leave the column and its NOT NULL, and take out the trigger."""
    make(db)
    db.daemon()
    db.finish(db.submit(name="first", **MIGRATION))
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM t LIMIT 1")
        db.app.execute("SELECT backfill.undo('first')")
        for call in ("cancel", "finish"):
            with pytest.raises(psycopg.Error, match="job first is being undone"):
                db.app.execute(f"SELECT backfill.{call}('first')")
        holder.rollback()
    wait_until(lambda: columns(db) == ["id", "a"], what="it is undone")


def test_a_source_is_not_dropped_before_the_migration_that_is_queued_has_begun(db):
    make(db)
    db.submit(name="first", wanted="pause", **MIGRATION)
    db.daemon()
    job = db.finish(db.submit(name="drop", drop_column="a"), "failed")
    assert "jobs: job first, which is paused" in job["error"]


@pytest.mark.parametrize("how", ["cancel", "pause"])
def test_an_index_that_is_built_and_not_yet_used_goes_with_its_job(db, how):
    """It would refuse writers, and no constraint say why."""
    make(db)
    db.daemon()
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE t IN ACCESS SHARE MODE")  # the index can be built beside it, and not be used
        db.submit(name="first", enforce=["UNIQUE (a)"])
        wait_until(lambda: db.one("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisprimary AND indisvalid"), what="it is built")
        db.app.execute(f"SELECT backfill.{how}('first')")
        db.wait_state("first", "cancelled" if how == "cancel" else "paused")
        holder.rollback()
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisprimary"), what="it is gone")
    db.app.execute("INSERT INTO t VALUES (1000, 1); DELETE FROM t WHERE id = 1000")
    if how == "pause":
        db.app.execute("SELECT backfill.resume('first')")
        db.finish("first")
        assert db.one("SELECT count(*) FROM pg_constraint WHERE conname = 't_a_key'") == 1
