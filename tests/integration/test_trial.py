"""The trial of a batch before anything is changed, and what tells errors apart: never a text."""

import time

import psycopg
import pytest

from daemon import run
from waiting import wait_until


# ---- The trial before anything is changed

def test_trial_of_slow_rows_is_short_and_says_what_one_takes(db):
    """A hundred of them would take longer than statement_timeout_ms, and an application that wants one of them."""
    db.table(rows=120)
    db.app.execute("CREATE FUNCTION slow(bigint) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN PERFORM pg_sleep(0.03); RETURN 1; END $$")
    db.daemon(statement_timeout_ms=1000)
    job = db.finish(db.submit(add_column="w int", set_clause="w = slow(id)"))
    preflight = job["report"]["preflight"]
    assert preflight["tried_rows"] == 1 and 30 <= preflight["ms_a_row"] < 300 and "not_tried" not in preflight


@pytest.mark.parametrize("add_column", [None, "w int"])
def test_row_that_times_out_by_itself_does_not_keep_a_job_in_preflight(db, add_column):
    db.close_public()
    db.table(rows=20, columns="n int NOT NULL DEFAULT 0, v int")
    db.app.execute("CREATE FUNCTION slow(bigint) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN IF $1 = 1 THEN PERFORM pg_sleep(2); END IF; RETURN 1; END $$")
    db.daemon(statement_timeout_ms=300)
    column = "w" if add_column else "v"
    name = db.submit(**({"add_column": add_column} if add_column else {"where_clause": "v IS NULL", "keep_in_sync": True}),
                     set_clause=f"{column} = slow(id)", on_error="quarantine")
    job = db.finish(name)
    assert "cut short" in job["report"]["preflight"]["not_tried"]
    assert db.one(f"SELECT count({column}) FROM t") == 19 and db.left_behind("error") == [(["1"],)]


def test_somebody_who_waits_on_a_trial_gets_through(db):
    db.table(rows=200, columns="n int NOT NULL DEFAULT 0, v int")
    db.app.execute("CREATE FUNCTION slow(bigint) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN PERFORM pg_sleep(CASE WHEN $1 = 1 THEN 3 ELSE 0 END); RETURN 1; END $$")
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


@pytest.mark.parametrize("why", ["temporary", "schema"])
def test_a_trial_on_a_copy_that_can_not_be_made_says_so(db, why):
    db.table(rows=200)
    if why == "temporary":
        db.admin.execute(f"REVOKE TEMP ON DATABASE {db.name} FROM public")
    db.daemon()
    daemon_says = {"temporary": "no copy of the table can be made: permission denied to create temporary tables in database", "schema": "a clause names the table with its schema, which no copy of it has, or reads"}
    name = db.submit(add_column="w int", set_clause="w = " + {"temporary": "n + 1", "schema": "(SELECT max(n) FROM public.t AS o WHERE o.id = public.t.id)"}[why], dry_run=True)
    found = db.finish(name)["report"]["preflight"]
    assert daemon_says[why] in found["not_tried"], found
    assert "had nothing to do" not in db.daemons[-1].log() and "not tried: " in db.daemons[-1].log()


def test_clause_that_fails_on_every_row_fails_before_its_column_is_added(db):
    db.table(rows=300, columns="a text DEFAULT 'secret'")
    daemon = db.daemon()
    job = db.finish(db.submit(add_column="w int", set_clause="w = a::int"), "failed")
    assert job["phase"] == "preflight" and job["error"] == 'invalid input syntax for type integer: "..."'
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'w'") == 0
    assert "secret" not in daemon.log()


@pytest.mark.parametrize("level", ["ROW", "STATEMENT"])
@pytest.mark.parametrize("sqlstate", ["P0001", "23514", "42703"])
def test_table_that_refuses_every_row_fails_the_job_before_its_column_is_added(db, sqlstate, level):
    db.table(rows=300)
    db.app.execute(f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never' USING ERRCODE = '{sqlstate}'; END $$")
    db.app.execute(f"CREATE TRIGGER refuses AFTER UPDATE ON t FOR EACH {level} EXECUTE FUNCTION no()")
    db.daemon()
    job = db.finish(db.submit(add_column="w int", set_clause="w = 1"), "failed")
    assert job["phase"] == "preflight" and job["error"] == "never" and "Triggers that fire: refuses." in job["hint"]
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'w'") == 0


def test_check_that_no_row_meets_fails_the_job_before_its_column_is_added(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100)")
    db.app.execute("INSERT INTO t SELECT g, g FROM generate_series(1, 30) g; ALTER TABLE t ADD CONSTRAINT big CHECK (n > 50) NOT VALID")
    db.daemon()
    job = db.finish(db.submit(add_column="w int", set_clause="w = 1"), "failed")
    assert job["phase"] == "preflight" and "big" in job["error"]
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attname = 'w' AND attrelid IN ('t'::regclass, 't1'::regclass)") == 0


def test_trial_of_rows_as_they_are_lets_through_what_only_some_or_other_columns_meet(db):
    db.table(rows=30, columns="n int DEFAULT 5, m int DEFAULT 1")
    db.app.execute("""
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;
        CREATE TRIGGER never_n BEFORE UPDATE OF n ON t FOR EACH ROW EXECUTE FUNCTION no();
        CREATE TRIGGER never_key BEFORE UPDATE OF id ON t FOR EACH ROW EXECUTE FUNCTION no();
        CREATE TRIGGER quiet BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
        CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'bad' USING ERRCODE = '22023'; END $$;
        CREATE TRIGGER one BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION bad()""")
    db.daemon()
    db.finish(db.submit(add_column="w int", set_clause="w = 1", on_error="quarantine"))
    assert db.one("SELECT count(w) FROM t") == 29 and db.left_behind("error") == [(["1"],)]


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
    for _ in range(3):
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
        assert job["error"] == "role leaver may run no job any more: it was taken out of backfill_submitter" and job["hint"].startswith("GRANT backfill_submitter TO leaver;")
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


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_statement_of_which_a_row_is_too_slow_ends(db, dry_run):
    """By its key; and a dry_run tells what it has tried."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50); CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN OLD; END $$;"
                   "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id = 7) EXECUTE FUNCTION slow()")
    db.daemon(statement_timeout_ms=100)
    job = db.finish(db.submit(statement="DELETE FROM t WHERE {batch}", dry_run=dry_run), "succeeded" if dry_run else "failed", timeout=60)
    assert "preflight" in job["report"] if dry_run else "row id = 7" in job["error"], job
    assert db.one("SELECT count(*) FROM t WHERE id >= 7") == 44 and (not dry_run or db.one("SELECT count(*) FROM t") == 50)
