"""A column that add_column finds there: whose it is, and what it knows of its values. It says succeeded of nothing that it can't know."""

import psycopg
import pytest

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
    assert job["error"] == f"column b of public.t is there, {problem}" and "Drop or rename it, then SELECT backfill.retry('job-1')" in job["hint"]
    db.app.execute("ALTER TABLE t DROP b")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a * 2") == 0
