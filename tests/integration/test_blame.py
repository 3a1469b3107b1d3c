"""Whose fault an error is: a row's own, everybody's for a while, or the trial's that found it."""

import time

import psycopg
import pytest

from daemon import run
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
    wait_until(lambda: "no row's fault: frozen until six" in db.throttled_by(name), what="it waits, and says why")
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


# ---- The trial before anything is changed

def test_trial_of_slow_rows_is_short_and_says_what_one_takes(db):
    """A hundred of them would take longer than statement_timeout_ms, and an application that wants one of them."""
    db.table(rows=120)
    db.app.execute("CREATE FUNCTION slow(bigint) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.03); RETURN 1; END $$")
    db.daemon(statement_timeout_ms=1000)
    job = db.finish(db.submit(add_column="w int", set_clause="w = slow(id)"))
    preflight = job["report"]["preflight"]
    assert preflight["tried_rows"] == 1 and 30 <= preflight["ms_a_row"] < 300 and "not_tried" not in preflight


@pytest.mark.parametrize("add_column", [None, "w int"])
def test_row_that_times_out_by_itself_does_not_keep_a_job_in_preflight(db, add_column):
    db.table(rows=20, columns="n int NOT NULL DEFAULT 0, v int")
    db.app.execute("CREATE FUNCTION slow(bigint) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF $1 = 1 THEN PERFORM pg_sleep(2); END IF; RETURN 1; END $$")
    db.daemon(statement_timeout_ms=300)
    column = "w" if add_column else "v"
    name = db.submit(**({"add_column": add_column} if add_column else {"where_clause": "v IS NULL", "keep_in_sync": True}),
                     set_clause=f"{column} = slow(id)", on_error="quarantine")
    job = db.finish(name)
    assert "cut short" in job["report"]["preflight"]["not_tried"]
    assert db.one(f"SELECT count({column}) FROM t") == 19 and db.left_behind("error") == [(["1"],)]


def test_somebody_who_waits_on_a_trial_gets_through(db):
    db.table(rows=200, columns="n int NOT NULL DEFAULT 0, v int")
    db.app.execute("CREATE FUNCTION slow(bigint) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(CASE WHEN $1 = 1 THEN 3 ELSE 0 END); RETURN 1; END $$")
    db.daemon()
    name = db.submit(set_clause="v = slow(id)", where_clause="v IS NULL", dry_run=True)
    db.wait_asleep()
    began = time.monotonic()
    db.app.execute("UPDATE t SET n = 5 WHERE id = 1")
    assert time.monotonic() - began < 1
    assert "cut short" in db.finish(name)["report"]["preflight"]["not_tried"]


@pytest.mark.parametrize("sqlstate", ["P0001", "23514", "42883"])
def test_what_refuses_every_row_of_the_trial_fails_the_job_before_anything_is_changed(db, sqlstate):
    db.table(rows=300, columns="n int NOT NULL DEFAULT 0, v int")
    db.app.execute(f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never' USING ERRCODE = '{sqlstate}'; END $$")
    db.app.execute("CREATE TRIGGER refuses BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION no()")
    db.daemon()
    job = db.finish(db.submit(set_clause="v = 1", where_clause="v IS NULL", keep_in_sync=True), "failed")
    assert job["phase"] == "preflight" and job["error"] == "never" and "Triggers that fire: refuses." in job["hint"]
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass") == 1


def test_clause_that_fails_on_every_row_fails_before_its_column_is_added(db):
    db.table(rows=300, columns="a text DEFAULT 'secret'")
    daemon = db.daemon()
    job = db.finish(db.submit(add_column="w int", set_clause="w = a::int"), "failed")
    assert job["phase"] == "preflight" and job["error"] == 'invalid input syntax for type integer: "…"'
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'w'") == 0
    assert "secret" not in daemon.log()


def test_one_row_of_the_trial_that_fails_is_the_batches_affair_and_its_value_is_not_told(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text); INSERT INTO t SELECT g, CASE g WHEN 1 THEN 'secret' ELSE '7' END FROM generate_series(1, 300) g")
    daemon = db.daemon()
    job = db.finish(db.submit(add_column="w int", set_clause="w = a::int", on_error="quarantine"))
    assert "22P02" in job["report"]["preflight"]["not_tried"] and "secret" not in str(job) + daemon.log()
    assert db.left_behind("error") == [(["1"],)]


# ---- What tells errors apart is no text

def test_function_of_ones_own_that_is_missing_is_no_upgrade_whatever_its_name(db):
    db.table(rows=10)
    db.app.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'function backfill.x() does not exist' USING ERRCODE = '42883'; END $$")
    db.app.execute("CREATE TRIGGER no BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION no()")
    db.daemon()
    assert db.finish(db.submit(set_clause="n = 1"), "failed")["error"] == "function backfill.x() does not exist"


def test_function_that_a_newer_schema_lacks_is_waited_for(db):
    """Whatever the server's language: the checksum tells."""
    db.table(rows=3000)
    db.daemon(max_rows=100)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=1000)
    wait_until(lambda: db.cursor(name), what="it has begun")
    db.admin.execute("UPDATE backfill.installed SET checksum = 'newer'; ALTER FUNCTION backfill.checkpoint RENAME TO other")
    wait_until(lambda: "restart backfilld" in db.throttled_by(name), what="it says so")
    db.admin.execute("ALTER FUNCTION backfill.other RENAME TO checkpoint")
    db.finish(name)
    assert db.counts() == {1: 3000}


def test_install_of_the_same_version_drops_nothing_under_jobs_that_run(db):
    db.table(rows=4000)
    daemon = db.daemon(max_rows=50)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=2000)
    wait_until(lambda: db.cursor(name), what="it has begun")
    functions = "SELECT array_agg(oid ORDER BY oid) FROM pg_proc WHERE pronamespace = 'backfill'::regnamespace"
    before = db.one(functions)
    for _ in range(5):
        installed = run("-d", db.conninfo(), "--install")
        assert installed.returncode == 0, installed.stderr
    db.finish(name)
    assert db.counts() == {1: 4000} and db.one(functions) == before and "cache lookup" not in daemon.log()


def test_role_that_may_submit_no_more_is_told_what_it_needs(db):
    db.table(rows=3000)
    db.admin.execute("CREATE ROLE leaver LOGIN IN ROLE backfill_submitter; GRANT SELECT, UPDATE ON t TO leaver")
    db.daemon(max_rows=100)
    try:
        name = db.submit(user="leaver", set_clause="n = n + 1", max_rows_per_s=1000)
        wait_until(lambda: db.cursor(name), what="it has begun")
        db.admin.execute("REVOKE backfill_submitter FROM leaver")
        job = db.finish(name, "failed")
        assert "permission denied" in job["error"] and "membership in backfill_submitter" in job["hint"]
    finally:
        db.session("leaver").close()
        db.admin.execute("DROP OWNED BY leaver; DROP ROLE leaver")


def test_wait_in_a_transaction_says_why_it_cannot(db):
    db.table(rows=10)
    name = db.submit(set_clause="n = 1", wanted="pause")
    with db.app.transaction():
        with pytest.raises(psycopg.Error, match="cannot run inside a transaction block") as refused:
            db.app.execute("CALL backfill.wait(%s)", [name])
    assert refused.value.sqlstate == "25001"


def test_what_to_do_about_a_failed_job_is_said_once(db):
    db.table(rows=10)
    db.daemon()
    name = db.submit(set_clause="n = 1 / (id - 5)")
    db.finish(name, "failed")
    with pytest.raises(psycopg.Error) as failed:
        db.app.execute("CALL backfill.wait(%s)", [name])
    assert failed.value.diag.message_hint.count("backfill.retry(") == 1
