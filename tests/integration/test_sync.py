"""keep_in_sync: what is written beside a job and after it, by old code, by new code, by whoever."""

import random

import psycopg
import pytest

from in_step import TRIGGERS, in_step, make, row
from waiting import wait_until


def test_the_trigger_that_alone_fills_a_column_stays_until_that_may_be_null(db):
    """The end of a migration: code that knows the new column alone is to write on."""
    make(db, "a int NOT NULL, other text, c int NOT NULL DEFAULT 0", "i, 'x', i")
    job = in_step(db, "b = a * 2", add_column="b int", sync_back="a = b / 2", name="mine")
    db.app.execute("INSERT INTO t (id, b) VALUES (1000, 8)")
    for _ in range(2):
        with pytest.raises(psycopg.Error) as refused:
            db.app.execute("SELECT backfill.finish('mine')")
        assert "fills a of public.t by sync_back, which may not be NULL and has no default" in refused.value.diag.message_primary
    assert db.one(TRIGGERS) > 0 and job["tidy"]
    db.app.execute(refused.value.diag.message_hint.split(", then")[0])
    db.app.execute("SELECT backfill.finish('mine')")
    wait_until(lambda: db.one(TRIGGERS) == 0, what="the trigger is gone")
    db.app.execute("INSERT INTO t (id, b) VALUES (1001, 8); ALTER TABLE t ALTER COLUMN c DROP DEFAULT")
    db.app.execute("SELECT backfill.finish('mine')")  # again: it is finished
    # what has a default, and what a failed job, whose new code isn't there yet, keeps in step, may go
    db.app.execute("UPDATE t SET a = 4 WHERE a IS NULL; ALTER TABLE t ALTER COLUMN a SET NOT NULL, ALTER COLUMN a SET DEFAULT 1")
    in_step(db, "e = a", add_column="e int", sync_back="a = e", name="with a default")
    db.app.execute("SELECT backfill.finish('with a default')")
    in_step(db, "f = c / (id - 5)", state="failed", add_column="f int", sync_back="c = f", name="failed")
    db.app.execute("SELECT backfill.finish('failed')")
    wait_until(lambda: db.one(TRIGGERS) == 0, what="the triggers are gone")


@pytest.mark.parametrize("clause, kind", [("gen_random_uuid()", "uuid"), ("nextval('seq')", "bigint"), ("random()", "float8"),
                                          ("clock_timestamp()", "timestamptz"), ("now()", "timestamptz")])
def test_a_value_once_given_is_not_drawn_anew(db, clause, kind):
    db.app.execute("CREATE SEQUENCE seq")
    make(db, "a text", "'x'")
    in_step(db, f"b = {clause}", add_column=f"b {kind}")
    db.app.execute("CREATE TABLE given AS SELECT id, b FROM t; UPDATE t SET a = 'y'")
    assert db.one("SELECT count(*) FROM t JOIN given USING (id) WHERE t.b = given.b") == 300
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 'x')")
    assert row(db, 1000) != (None,)
    mine = db.one(f"SELECT max(b::text) FROM t")
    db.app.execute(f"INSERT INTO t (id, a, b) VALUES (1001, 'x', '{mine}'::{kind})")
    assert db.one("SELECT b::text FROM t WHERE id = 1001") == mine


def test_a_value_that_was_drawn_stays_while_the_job_runs(db):
    make(db, "a text", "'x'")
    db.daemon(max_rows=50)
    with db.held_row(200):
        name = db.submit(add_column="b uuid", set_clause="b = gen_random_uuid()", keep_in_sync=True)
        db.wait_at(200, name)
        db.app.execute("CREATE TABLE given AS SELECT id, b FROM t WHERE b IS NOT NULL; UPDATE t SET a = 'y' WHERE id IN (7, 250); INSERT INTO t (id, a, b) VALUES (0, 'x', 'ea11ab1e-0000-4000-8000-000000000000')")
    db.finish(name)
    assert db.one("SELECT count(*) FROM t JOIN given USING (id) WHERE t.b = given.b") == db.one("SELECT count(*) FROM given") >= 190
    assert db.one("SELECT count(DISTINCT b) FROM t") == 301 and str(row(db, 0)[0]).startswith("ea11ab1e")


def test_a_value_once_given_stays_when_another_column_of_the_where_clause_changes(db):
    make(db, "a text, kind text, b uuid", "'x', CASE WHEN i > 2 THEN 'in' ELSE 'out' END")
    in_step(db, "b = gen_random_uuid()", where_clause="b IS NULL AND kind = 'in' AND a <> ''")
    db.app.execute("UPDATE t SET b = gen_random_uuid() WHERE id = 2; CREATE TABLE given AS SELECT id, b FROM t; UPDATE t SET a = 'y', kind = 'in'")
    assert db.one("SELECT count(*) FROM t JOIN given USING (id) WHERE t.b = given.b") == 299
    assert row(db, 1) != (None,)


@pytest.mark.parametrize("clause", ["b = split_part(a, ' ', 1), c = split_part(a, ' ', 2)",
                                    "(b, c) = (SELECT split_part(a, ' ', 1), split_part(a, ' ', 2) -- both\n)",
                                    "b = split_part(a, ' ', 1), c = (SELECT split_part(a, ' ', 2))"])
@pytest.mark.parametrize("where", ["b IS NULL OR c IS NULL", "live AND (b IS NULL OR (t.c) IS NULL)"])
def test_a_row_that_is_to_do_for_one_column_keeps_the_other(db, clause, where):
    """By a batch, by INSERT, and when it becomes one that is meant."""
    make(db, "a text, live boolean, b varchar(9), c text", "'Anna Smith' || i, i <> 3")
    db.app.execute("UPDATE t SET b = 'new' WHERE id IN (1, 3); UPDATE t SET c = 'new' WHERE id = 2")
    in_step(db, clause, where_clause=where)
    db.app.execute("INSERT INTO t VALUES (1000, 'Eva Kay', true, 'new', NULL), (1001, 'Eva Kay', true, NULL, NULL); UPDATE t SET a = 'Eva Kay' WHERE id = 4; UPDATE t SET live = true WHERE id = 3")
    assert [row(db, key, "b, c") for key in (1, 2, 3, 4, 5)] == [("new", "Smith1"), ("Anna", "new"), ("new", "Smith3"), ("Eva", "Kay"), ("Anna", "Smith5")]
    assert [row(db, key, "b, c") for key in (1000, 1001)] == [("new", "Kay"), ("Eva", "Kay")]


def test_a_row_that_leaves_the_where_clause_follows_its_source_a_last_time(db):
    make(db, "a int, b int", "i")
    in_step(db, "b = a * 2", where_clause="b IS NULL AND a IS NOT NULL")
    db.app.execute("UPDATE t SET a = NULL WHERE id = 1; UPDATE t SET a = 5 WHERE id = 2")
    assert row(db, 1) == (None,) and row(db, 2) == (10,)


def test_a_value_that_was_there_before_stays_until_its_source_changes(db):
    make(db, "a numeric, b bigint, note text", "i, CASE i WHEN 7 THEN 777 END, 'x'")
    in_step(db, "b = a * 100", where_clause="b IS NULL")
    db.app.execute("UPDATE t SET note = 'y'")
    assert row(db, 7) == (777,) and row(db, 8) == (800,)
    db.app.execute("UPDATE t SET a = 1 WHERE id = 7")
    assert row(db, 7) == (100,)


def test_a_change_that_comparison_does_not_see_counts(db):
    """1.0 is 1.00 and json has no =; what a clause makes of them differs."""
    db.admin.execute("CREATE EXTENSION citext")
    make(db, "a numeric, c citext, j json", "1.0, 'abc', '{}'")
    in_step(db, "b = concat(a, c, j)", add_column="b text")
    db.app.execute("UPDATE t SET a = 1.00 WHERE id = 1; UPDATE t SET c = 'ABC' WHERE id = 2; UPDATE t SET j = '{ }' WHERE id = 3")
    assert [row(db, key)[0] for key in (1, 2, 3)] == ["1.00abc{}", "1.0ABC{}", "1.0abc{ }"]


def test_other_updates_do_not_fire_the_trigger(db):
    make(db, "a int, note text", "i, 'x'")
    in_step(db, "b = a * 2", add_column="b int")
    with db.connect("app") as session:
        assert "backfilld" not in str(session.execute("EXPLAIN (ANALYZE, COSTS OFF) UPDATE t SET note = 'y'").fetchall())
        assert "backfilld_keep_in_sync" in str(session.execute("EXPLAIN (ANALYZE, COSTS OFF) UPDATE t SET a = 999 WHERE id = 1").fetchall())


def test_a_clause_that_reads_what_it_fills_and_fills_others_is_refused_under_a_trigger(db):
    make(db, "a text, b text, x text, y text, v int NOT NULL DEFAULT 0", "'A', 'B'")
    with pytest.raises(psycopg.Error, match="reads a column that it fills, and fills others") as refused:
        db.submit(set_clause="x = coalesce(x, lower(a)), y = lower(b)", where_clause="x IS NULL", keep_in_sync=True)
    assert refused.value.diag.message_hint.startswith("Insert a job for each column.")
    with pytest.raises(psycopg.Error, match="reads a column that it fills, and fills others"):
        db.submit(set_clause="z = coalesce(z, lower(t.a)), y = lower(b)", add_column="z text", keep_in_sync=True, sync_back="a = upper(z), b = upper(y)")
    in_step(db, "x = coalesce(x, lower(a)), v = 1", where_clause="v = 0")


def test_a_column_that_another_job_keeps_in_step_is_refused(db):
    make(db, "a int, c int, b int", "i, i")
    in_step(db, "b = a", where_clause="b IS NULL", name="first")
    with pytest.raises(psycopg.Error, match='job "first" keeps a column that this one fills in step already') as refused:
        db.submit(set_clause="b = c", where_clause="b IS NULL", keep_in_sync=True)
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE t IN ROW EXCLUSIVE MODE")
        assert "backfill.undo('first')" in refused.value.diag.message_hint
        db.app.execute("SELECT backfill.finish('first')")
        with pytest.raises(psycopg.Error, match='the trigger of job "first" is being taken out of the table'):
            db.submit(set_clause="b = c", where_clause="b IS NULL", keep_in_sync=True)
        holder.rollback()
    wait_until(lambda: db.one(TRIGGERS) == 0, what="its trigger is gone")
    in_step(db, "b = c", where_clause="b IS NULL")


@pytest.mark.parametrize("columns, clause, where", [
    ("a numeric, b bigint NOT NULL DEFAULT 0", "b = a * 100", "b = 0"),
    ("a numeric, b bigint, done boolean NOT NULL DEFAULT false", "b = a * 100, done = true", "NOT done"),
    ("a numeric, b bigint NOT NULL DEFAULT 0", "b = a * 100", "b IS DISTINCT FROM a * 100"),
    ("a numeric, b bigint", "b = a * 100", "(t.b IS NULL)"),
    ("a numeric, b bigint DEFAULT 0", "b = a * 100", None),
])
def test_a_row_that_is_done_follows_its_source_however_done_is_told(db, columns, clause, where):
    make(db, columns)
    db.app.execute("INSERT INTO t (id, a) SELECT i, i FROM generate_series(1, 300) AS i")
    in_step(db, clause, where_clause=where)
    db.app.execute("UPDATE t SET a = 9 WHERE id = 8; INSERT INTO t (id, a) VALUES (1000, 5)")
    assert row(db, 8) == (900,) and row(db, 1000) == (500,)
    assert db.one("SELECT count(*) FROM t WHERE b = a * 100") == 301


def test_rows_that_the_where_clause_excludes_are_left_alone(db):
    make(db, "kind text, a int, b int", "CASE WHEN i % 2 = 0 THEN 'x' ELSE 'y' END, i, 0")
    in_step(db, "b = a * 2", where_clause="b = 0 AND kind = 'x'")
    db.app.execute("UPDATE t SET a = 50 WHERE id IN (1, 2); UPDATE t SET kind = 'x' WHERE id = 3; INSERT INTO t VALUES (1000, 'y', 1, 0), (1001, 'x', 1, 0)")
    assert [row(db, key)[0] for key in (1, 2, 3, 1000, 1001)] == [0, 100, 6, 0, 2]


def test_a_row_whose_key_changes_while_the_job_runs_is_filled_before_it_is_enforced(db):
    make(db, "a int", "i")
    db.daemon()
    with db.held_row(150):
        name = db.submit(set_clause="b = a * 2", add_column="b int", keep_in_sync=True, enforce=["NOT NULL b"])
        db.wait_at(150, name)
        db.app.execute("UPDATE t SET id = 10000 WHERE id = 300; UPDATE t SET id = -5 WHERE id = 299")
    db.finish(name, timeout=60)
    assert db.one("SELECT count(*) FROM t WHERE b = a * 2") == 300


def test_an_insert_keeps_what_it_gives_whatever_tells_a_row_that_is_to_do(db):
    make(db, "a int, b int, arr int[], done boolean NOT NULL DEFAULT false", "i, NULL, NULL, false")
    in_step(db, "b = a * 2, done = true", where_clause="NOT done")
    db.app.execute("INSERT INTO t (id, a, b) VALUES (1000, 5, 77); INSERT INTO t (id, a) VALUES (1001, 5); INSERT INTO t (id, b) VALUES (1002, 77)")
    assert [row(db, key, "b, done") for key in (1000, 1001, 1002)] == [(77, True), (10, True), (77, True)]
    in_step(db, "arr[2] = a", where_clause="arr IS NULL")
    db.app.execute("INSERT INTO t (id, a, arr) VALUES (1003, 1, '{5,6}')")
    assert row(db, 1003, "arr") == ([5, 6],)


def test_the_younger_of_two_jobs_sees_what_the_older_has_filled(db):
    make(db, "a int", "i")
    db.admin.execute("ALTER TABLE backfill.job ALTER COLUMN id RESTART WITH 9")
    in_step(db, "c = a + 1", add_column="c int", enforce=["NOT NULL c"])
    in_step(db, "b = c + 1", add_column="b int", enforce=["NOT NULL b"])
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 1); UPDATE t SET a = 5 WHERE id = 1")
    assert [row(db, key, "c, b") for key in (1000, 1)] == [(2, 3), (6, 7)]


def test_two_jobs_of_which_one_would_not_see_the_other_are_refused(db):
    """The triggers of the older job fire first: what the younger writes into a column that the older reads or sends back would stay there."""
    make(db, "a int, b int, c int", "i")
    in_step(db, "b = a * 2", where_clause="b IS NULL", sync_back="a = b / 2", name="older")
    for columns, problem in (({"set_clause": "c = b * 2", "where_clause": "c IS NULL", "sync_back": "b = c / 2"}, "sync_back: writes a column that job \"older\" fills"),
                             ({"set_clause": "a = c", "where_clause": "a = 0"}, "keep_in_sync: job \"older\" computes from a column that this one fills")):
        with pytest.raises(psycopg.Error) as refused:
            db.submit(keep_in_sync=True, **columns)
        assert problem in str(refused.value) and "backfill.finish('older')" in refused.value.diag.message_hint
    in_step(db, "c = b * 2", where_clause="c IS NULL")
    db.app.execute("UPDATE t SET a = 100 WHERE id = 1; UPDATE t SET b = 100 WHERE id = 2")
    assert row(db, 1, "a, b, c") == (100, 200, 400) and row(db, 2, "a, b, c") == (50, 100, 200)
    db.app.execute("SELECT backfill.finish('older')")
    wait_until(lambda: not db.job("older")["tidy"], what="its triggers are gone")
    db.submit(keep_in_sync=True, set_clause="a = c", where_clause="a = 0", wanted="pause")


def test_what_an_applications_trigger_writes_in_a_batch_is_the_applications(db):
    make(db, "a int, peer int", "i, i - 1")
    db.app.execute("""CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET b = 77700 WHERE id = NEW.peer AND b IS DISTINCT FROM 77700; RETURN NULL; END $$""")
    db.daemon()
    with db.held_row(150):
        name = db.submit(set_clause="b = a * 100", add_column="b int", keep_in_sync=True, sync_back="a = b / 100")
        db.wait_at(150, name)
        db.app.execute("CREATE TRIGGER mark AFTER UPDATE OF b ON t FOR EACH ROW WHEN (NEW.id = 200) EXECUTE FUNCTION mark()")
    db.finish(name)
    assert row(db, 199, "a, b") == (777, 77700)


@pytest.mark.parametrize("table, columns, problem", [
    ("a int DEFAULT 1 + random()::int", {"sync_back": "a = b / 2"}, "default of a is no constant"),
    ("a serial", {"sync_back": "a = b / 2"}, "default of a is no constant"),
    ("a int", {}, "trigger zzz would fire after"),
])
def test_what_the_trigger_could_not_see_is_refused(db, table, columns, problem):
    make(db, table)
    if "zzz" in problem:
        db.app.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER zzz BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()")
    with pytest.raises(psycopg.Error, match=problem) as refused:
        db.submit(add_column="b int", set_clause="b = a * 2", keep_in_sync=True, **columns)
    assert refused.value.diag.message_hint
