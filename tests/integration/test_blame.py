"""Whose fault an error is: a row's own, or everybody's for a while."""

import time

import pytest

from waiting import wait_until

GERMAN = "ungültige Eingabesyntax für Typ integer: »geheim«"


def trouble(db, sqlstate, deferred=True):
    """Every UPDATE of t is refused while a row of another table says so."""
    db.app.execute("CREATE TABLE trouble (is_there boolean); INSERT INTO trouble VALUES (false)")
    db.app.execute(f"""CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT is_there FROM trouble) THEN RAISE 'frozen until six' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$""")
    db.app.execute("CREATE CONSTRAINT TRIGGER tell AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell()" if deferred else
                   "CREATE TRIGGER tell BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION tell()")


@pytest.mark.parametrize("sqlstate, on_error", [("P0001", "fail"), ("P0001", "quarantine"), ("54000", "quarantine"), ("23503", "quarantine"),
                                                ("XX000", "fail"), ("MY001", "quarantine")])
def test_what_refuses_every_row_for_a_while_is_no_rows_fault(db, sqlstate, on_error):
    db.table(rows=3000)
    trouble(db, sqlstate, deferred=sqlstate in ("P0001", "XX000"))
    db.daemon(max_rows=100)
    name = db.submit(set_clause="n = n + 1", on_error=on_error, max_rows_per_s=3000)
    wait_until(lambda: db.cursor(name), what="it has begun")
    db.app.execute("UPDATE trouble SET is_there = true")
    wait_until(lambda: "none is to blame: frozen until six" in db.throttled_by(name), what="it waits, and says why")
    cursor = db.cursor(name)
    time.sleep(1)  # as long as it lasts
    assert db.cursor(name) == cursor and not db.left_behind("error")
    db.app.execute("UPDATE trouble SET is_there = false")
    db.finish(name)
    assert db.counts() == {1: 3000} and db.one("SELECT count(*) FROM backfill.left_behind") == 0


def test_bad_rows_side_by_side_are_put_aside_and_no_other(db):
    """Whether their neighbours are bad too doesn't matter: others are farther away. Also by an error of one's own."""
    db.table(rows=1000)
    db.app.execute("""CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE 'not these' USING ERRCODE = CASE WHEN OLD.id > 900 THEN 'MY001' ELSE 'P0001' END; END $$""")
    db.app.execute("CREATE TRIGGER no BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id BETWEEN 300 AND 349 OR OLD.id > 990) EXECUTE FUNCTION no()")
    db.daemon(max_rows=100)
    db.finish(db.submit(set_clause="n = n + 1", on_error="quarantine"))
    assert db.counts() == {0: 60, 1: 940}
    assert sorted(int(key[0]) for key, in db.left_behind("error")) == [*range(300, 350), *range(991, 1001)]


@pytest.mark.parametrize("clause", ["f = s::int, g = 100 / b", "f = own(b), g = 100 / b"])
def test_a_row_of_which_two_expressions_fail_each_its_own_way_is_put_aside(db, clause):
    """In a batch the one may be the first, in a statement for the row alone the other. Also by an error of one's own."""
    db.app.execute("CREATE FUNCTION own(b int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF b = 0 THEN RAISE 'none' USING ERRCODE = 'MY001'; END IF; RETURN 100 / b; END $$")
    db.app.execute("""CREATE TABLE t (id int PRIMARY KEY, s text, b int, f int, g int); INSERT INTO t SELECT i, i, i FROM generate_series(1, 200) i;
        UPDATE t SET s = 'abc', b = 0 WHERE id = 50""")
    db.daemon()
    db.finish(db.submit(set_clause=clause, where_clause="f IS NULL OR g IS NULL", on_error="quarantine"))
    assert db.left_behind("error") == [(["50"],)] and db.one("SELECT count(*) FROM t WHERE f IS NOT NULL AND g = 100 / id") == 199


def test_row_that_is_the_last_to_do_is_compared_with_rows_that_are_done(db):
    db.table(rows=500)
    db.app.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$")
    db.app.execute("CREATE TRIGGER no BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id = 500) EXECUTE FUNCTION no()")
    db.daemon()
    job = db.finish(db.submit(set_clause="n = n + 1", where_clause="n = 0"), "failed", timeout=10)
    assert job["error"] == "row id = 500: not this one" and db.counts() == {0: 1, 1: 499}


def test_comparison_changes_nothing(db):
    """Each row is tried and undone: the sum that a trigger keeps is that of the batches."""
    db.table(rows=300)
    db.app.execute("CREATE TABLE log (id bigint); CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " INSERT INTO log VALUES (NEW.id); IF NEW.id = 150 THEN RAISE 'no'; END IF; RETURN NULL; END $$")
    db.app.execute("CREATE TRIGGER log AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION log()")
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1", on_error="quarantine"))
    assert db.one("SELECT count(*) FROM log") == db.one("SELECT count(DISTINCT id) FROM log") == 299


# ---- A key that takes too long

def slow_row(db, key, rows=300):
    db.table(rows=rows)
    db.app.execute(f"CREATE FUNCTION slow(bigint) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF $1 = {key} THEN PERFORM pg_sleep(1); END IF; RETURN 1; END $$")


@pytest.mark.parametrize("min_rows", [1, 50])
def test_row_that_times_out_again_and_again_is_put_aside(db, min_rows):
    slow_row(db, 200)
    db.daemon(statement_timeout_ms=200, min_rows=min_rows)
    job = db.finish(db.submit(set_clause="n = slow(id)", on_error="quarantine"))
    assert db.counts() == {0: 1, 1: 299} and job["report"]["left_behind"] == 1
    assert db.all("SELECT key, sqlstate FROM backfill.left_behind") == [(["200"], "57014")]


def test_row_that_times_out_again_and_again_fails_the_job_by_its_key(db):
    slow_row(db, 200)
    db.daemon(statement_timeout_ms=200)
    job = db.finish(db.submit(set_clause="n = slow(id)"), "failed")
    assert job["error"].startswith("row id = 200: ") and "statement_timeout_ms" in job["hint"]


def test_delete_that_is_slow_for_want_of_an_index_says_which(db):
    db.table(rows=100)
    db.app.execute("CREATE TABLE child (id bigint, t_id bigint, FOREIGN KEY (t_id) REFERENCES t)")
    db.app.execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN OLD; END $$")
    db.app.execute("CREATE TRIGGER slow AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION slow()")
    db.daemon(statement_timeout_ms=200)
    job = db.finish(db.submit(statement="DELETE FROM t WHERE {batch}"), "failed")
    assert job["error"].startswith("row id = 1: ")
    assert "child has no index on (t_id), which its foreign key child_t_id_fkey needs" in job["hint"]
    assert db.one("SELECT count(*) FROM t") == 100


# ---- Texts

@pytest.mark.parametrize("on_error", ["fail", "quarantine"])
def test_values_of_rows_stay_out_of_what_others_read_in_every_language(db, on_error):
    db.table(rows=300)
    db.app.execute(f"CREATE FUNCTION fail(bigint) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF $1 = 200 THEN"
                   f" RAISE '{GERMAN}' USING ERRCODE = '22P02', HINT = 'nicht »geheim«'; END IF; RETURN 1; END $$")
    daemon = db.daemon()
    job = db.finish(db.submit(set_clause="n = fail(id)", on_error=on_error), "failed" if on_error == "fail" else "succeeded")
    assert "geheim" not in daemon.log() and "geheim" not in str(job)
    if on_error == "quarantine":
        assert db.one("SELECT message FROM backfill.left_behind", user="app") == GERMAN
