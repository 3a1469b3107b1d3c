"""Messages, answers and queues of any size cost the daemon neither memory nor time."""

import time

import pytest

from daemon import SANITIZED
from test_texts import raising
from waiting import wait_until

SHORT_MB = 400 if SANITIZED else 40  # what a sanitizer keeps of what was freed counts, too


def peak_mb(daemon):
    with open(f"/proc/{daemon.pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


@pytest.mark.parametrize("size", [20, 200])
def test_a_huge_message_costs_neither_memory_nor_others_time(db, measured, size):
    db.table()
    db.table("theirs", rows=10, user="other")
    raising(db, f"repeat('x', {size} * 1024 * 1024)", "53100", above=5)
    daemon = db.daemon(statement_timeout_ms=60000, max_rows=1)  # it is met once, not in each half of a batch
    name = db.submit(set_clause="n = f(id)")
    wait_until(lambda: "larger than 1024 kB" in daemon.log(), 60, "the message has come")
    began = time.monotonic()
    theirs = db.submit(user="other", target="theirs", set_clause="n = 1")
    db.finish(theirs)
    took = time.monotonic() - began
    job = db.finish(name, "failed", timeout=120)
    assert "row id = 6: the server's answer" in job["error"] and "must be shorter" in job["hint"]
    assert peak_mb(daemon) < SHORT_MB
    measured(f"beside a message of {size} MB", f"{took:.2f} s, {peak_mb(daemon):.1f} MB")
    assert took < 3, "another's job waits"
    began = time.monotonic()
    daemon.terminate()
    assert time.monotonic() - began < 3


def test_one_row_with_a_huge_message_is_put_aside(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, n int); ALTER TABLE t ALTER v SET STORAGE EXTERNAL")
    db.app.execute("INSERT INTO t SELECT i, CASE i WHEN 77 THEN repeat('x', 3000000) ELSE '1' END FROM generate_series(1, 200) i")
    daemon = db.daemon()
    db.finish(db.submit(set_clause="n = v::int", on_error="quarantine"), timeout=60)
    assert db.counts() == {1: 199, None: 1}
    assert db.all("SELECT key, sqlstate FROM backfill.left_behind") == [(["77"], "BF004")]
    assert "row id = 77 is left behind" in daemon.log() and peak_mb(daemon) < SHORT_MB


def test_an_answer_of_a_gigabyte_is_not_taken_in(db):
    """A clause that puts another statement in the place of the daemon's own, whose name it looks up."""
    db.table(rows=100)
    db.table("theirs", user="other")
    db.app.execute("""CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ DECLARE s text; BEGIN
        FOR s IN SELECT name FROM pg_prepared_statements WHERE name LIKE 'kept%' LOOP
          EXECUTE format('DEALLOCATE %I', s);
          EXECUTE format('PREPARE %I(text,oid,text,text,bigint,bigint,tid,text[],text[],bigint,real,bigint,boolean,jsonb) AS
                          SELECT repeat(''y'', 1000000), 1, NULL, 1, NULL FROM generate_series(1, 1000)', s);
        END LOOP; RETURN 1; END $$""")
    daemon = db.daemon(min_rows=10, max_rows=10)
    name = db.submit(set_clause="n = f()")
    theirs = db.submit(user="other", target="theirs", set_clause="n = 1")
    db.finish(theirs)
    assert "has prepared a statement under the name of the daemon's" in db.finish(name, "failed")["error"]
    assert peak_mb(daemon) < SHORT_MB
    daemon.terminate()


def test_an_answer_in_another_shape_ends_nothing_but_its_job(db):
    db.table(rows=100)
    db.table("theirs", user="other")
    db.app.execute("""CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ DECLARE s text; BEGIN
        FOR s IN SELECT name FROM pg_prepared_statements WHERE name LIKE 'kept%' LOOP
          EXECUTE format('DEALLOCATE %I', s);
          EXECUTE format('PREPARE %I(text,oid,text,text,bigint,bigint,tid,text[],text[],bigint,real,bigint,boolean,jsonb) AS
                          SELECT FROM generate_series(1, 0)', s);
        END LOOP; RETURN 1; END $$""")
    daemon = db.daemon(min_rows=10, max_rows=10)
    name = db.submit(set_clause="n = f()")
    wait_until(lambda: db.state(name) != "queued", what="it runs")
    db.finish(db.submit(user="other", target="theirs", set_clause="n = 1"))
    assert daemon.process.poll() is None


def test_a_key_whose_own_cast_makes_a_long_text_of_it_costs_no_memory(db):
    """Where a type has a cast to text of its own, that is what a key is read as."""
    db.table("theirs", rows=10, user="other")
    db.app.execute("""CREATE TYPE mine AS (a int);
                      CREATE TABLE t (id mine PRIMARY KEY, n int); INSERT INTO t SELECT ROW(i)::mine FROM generate_series(1, 100) i;
                      CREATE FUNCTION long(mine) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT repeat(''x'', 100000000)';
                      CREATE CAST (mine AS text) WITH FUNCTION long(mine)""")
    daemon = db.daemon(max_rows=20)
    name = db.submit(set_clause="n = 1")
    theirs = db.submit(user="other", target="theirs", set_clause="n = 1")
    db.finish(theirs)
    wait_until(lambda: db.state(name) in ("failed", "succeeded") or db.throttled_by(name), what="something is said")
    assert peak_mb(daemon) < SHORT_MB and daemon.process.poll() is None


def test_long_keys_are_done_and_told_in_short(db):
    db.app.execute("CREATE TABLE t (id text PRIMARY KEY, n int); INSERT INTO t SELECT repeat('x', 200000) || i, 0 FROM generate_series(10, 59) i")
    daemon = db.daemon(max_rows=20)
    db.finish(db.submit(set_clause="n = 100 / (right(id, 2)::int - 33)", where_clause="n = 0", on_error="quarantine"), timeout=60)
    assert db.one("SELECT count(*) FROM t WHERE n = 0") == 1 and db.one("SELECT length(key[1]) FROM backfill.left_behind") == 200002
    assert "is left behind" in daemon.log() and max(map(len, daemon.log().splitlines())) < 3000 and peak_mb(daemon) < SHORT_MB


def test_notifications_by_the_thousand_hold_nobody_up(db):
    """Anybody may send some, and any of them may be the news of a job."""
    db.table("theirs", rows=10, user="other")
    daemon = db.daemon()
    daemon.says("connected")
    with db.connect("stranger") as session:
        session.execute("SELECT count(pg_notify('backfill', repeat('x', 7000) || i)) FROM generate_series(1, 3000) i")
        began = time.monotonic()
        db.finish(db.submit(user="other", target="theirs", set_clause="n = 1"))
        session.execute("DO $$ BEGIN FOR i IN 1 .. 200 LOOP PERFORM pg_notify('backfill', i::text); COMMIT; END LOOP; END $$")
    assert time.monotonic() - began < 5 and peak_mb(daemon) < SHORT_MB


def test_notices_by_the_thousand_are_no_answer(db):
    db.table(rows=2000)
    db.app.execute("""CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        RAISE NOTICE '%', repeat('n', 2000); RETURN 1; END $$""")
    daemon = db.daemon()
    db.finish(db.submit(set_clause="n = f()"))
    assert db.counts() == {1: 2000} and peak_mb(daemon) < SHORT_MB


def test_a_job_that_is_too_much_to_write_down_fails_and_the_others_go_on(db):
    """A partition costs the control session a long while, as a very long clause does."""
    db.table("theirs", user="other")
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int) PARTITION BY RANGE (id)")
    for i in range(20):
        db.app.execute(f"CREATE TABLE t{i} PARTITION OF t FOR VALUES FROM ({i * 10}) TO ({i * 10 + 10})")
    name = db.submit(set_clause="n = 1", wanted="pause")
    db.admin.execute("""
        ALTER FUNCTION backfill.check_is_there RENAME TO was_check_is_there;
        CREATE FUNCTION backfill.check_is_there(relation oid, job backfill.job) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
          PERFORM pg_catalog.pg_sleep(11) WHERE pg_catalog.current_setting('application_name') = 'backfilld control'; END $$;
        GRANT EXECUTE ON FUNCTION backfill.check_is_there TO PUBLIC""")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.wait_state(name, "running")
    theirs = db.submit(user="other", target="theirs", set_clause="n = 1")
    job = db.finish(name, "failed", timeout=60)
    assert "takes the server longer than 10 s" in job["error"] and "retry" in job["hint"]
    db.admin.execute("DROP FUNCTION backfill.check_is_there; ALTER FUNCTION backfill.was_check_is_there RENAME TO check_is_there")
    db.finish(theirs)


def test_ten_thousand_hostile_jobs_cost_little(db, measured):
    """Names and clauses as long as they may be, errors of any size, most urgent of all, all on one table that is held; and one that isn't."""
    db.table(rows=10)
    db.table("theirs", user="other")
    raising(db, "repeat('x', 900000)", "57P03", above=0)
    db.app.execute("""INSERT INTO backfill.job (name, target, set_clause, priority)
                      SELECT rpad(i::text, 200, 'x'), 't', 'n = f(id)', 100 FROM generate_series(1, 20) i""")
    # as they would come; the checks at INSERT of 10,000 take a minute and are the submitter's own affair
    columns = db.one("""SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                         WHERE attrelid = 'backfill.job'::regclass AND attnum > 0 AND attname NOT IN ('id', 'name') AND NOT attisdropped""")
    db.admin.execute(f"""SET session_replication_role = replica;
        INSERT INTO backfill.job (name, {columns}) SELECT rpad(i::text, 200, 'y'), {columns} FROM backfill.job, generate_series(1, 500) i WHERE name LIKE '1x%';
        INSERT INTO backfill.job (name, {columns}) SELECT rpad(i::text, 200, 'z'), {columns} FROM backfill.job, generate_series(501, 10000) i WHERE name LIKE '1x%';
        RESET session_replication_role""")
    assert db.one("SELECT count(*) FROM backfill.job") > 10000
    daemon = db.daemon(workers=2)
    daemon.says("waits, and tries again")
    began = time.monotonic()
    db.finish(db.submit(user="other", target="theirs", set_clause="n = 1"))
    took = time.monotonic() - began
    measured("beside 10,000 hostile jobs", f"{took:.2f} s, {peak_mb(daemon):.1f} MB")
    assert took < (5 if SANITIZED else 2) and peak_mb(daemon) < SHORT_MB
    began = time.monotonic()
    daemon.terminate()
    assert time.monotonic() - began < 3


def test_a_layout_that_would_be_too_large_is_made_in_slices_and_costs_nobody_the_connection(db):
    """As one answer it would be larger than what the control session takes in, and take seconds of it."""
    n = 120
    db.app.execute("CREATE TABLE p (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id)")
    db.app.execute(f"DO $$ BEGIN FOR i IN 1 .. {n} LOOP EXECUTE format('CREATE TABLE p%s PARTITION OF p FOR VALUES FROM (%s) TO (%s)', i, i * 10, i * 10 + 10); END LOOP; END $$")
    db.table(rows=500)
    daemon = db.daemon()
    clause = "n = 0 AND n IN (" + ", ".join(["0"] * 7000) + ")"
    name = db.submit(target="p", set_clause="n = 1", where_clause=clause)
    wait_until(lambda: db.one("SELECT planning OR behind IS NOT NULL FROM backfill.job WHERE name = %s", name), timeout=60, what="it is planned")
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.state(name) == "running"
    db.finish(name, timeout=120)
    assert "not connected" not in daemon.log()


def test_definitions_that_are_stored_small_and_written_large_hold_up_no_other_job(db):
    """A constant of the same letter over and over: a hundredth of it is on the disk."""
    db.table("o", rows=10)
    db.table(rows=10, columns="n int NOT NULL DEFAULT 0, a int")
    for name, number, length in (("c", 6, 900000), ("d", 20, 10000)):
        db.app.execute(f"DO $$ BEGIN FOR i IN 1 .. {number} LOOP EXECUTE format('ALTER TABLE t ADD CONSTRAINT {name}%s CHECK (a IS NOT NULL OR %L <> %L) NOT VALID', i, repeat('x', {length}), 'y'); END LOOP; END $$")
    began = time.monotonic()
    definition = db.one("SELECT backfill.definition_of('t'::regclass)")
    assert sum(map(len, definition)) < 2_000_000 and time.monotonic() - began < 2
    assert any(line.startswith("column n integer NOT NULL DEFAULT 0") for line in definition)
    db.daemon(workers=1)
    db.finish(db.submit(set_clause="n = n + 1", where_clause="n = 0"))


def test_definition_of_megabytes_holds_up_neither_claims_nor_status(db, measured):
    """Of a column's default, a constraint and a trigger: what is that long is left out of what is kept with the job."""
    db.table("o", rows=10)
    db.table(rows=100, columns="n int NOT NULL DEFAULT 0, word text")
    long = f"repeat('{'x' * 5_000_000}', 1)"
    db.app.execute(f"ALTER TABLE t ALTER word SET DEFAULT {long}, ADD CHECK (word <> {long})")
    db.app.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    db.app.execute(f"CREATE TRIGGER f BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.word = {long}) EXECUTE FUNCTION f()")
    db.app.execute(f"CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f('{'x' * 5_000_000}')")
    db.daemon(workers=1)
    name = db.submit(set_clause="n = n + 1")
    job = db.finish(name, timeout=60)
    assert len(str(job["before"])) < 100_000 and db.one("SELECT pg_column_size(j) FROM backfill.job j WHERE name = %s", name) < 100_000
    began = time.monotonic()
    db.finish(db.submit(target="o", set_clause="n = n + 1"), timeout=5)
    db.throttled_by(name)
    measured("a job and status beside definitions of 5 MB of text", f"{time.monotonic() - began:.1f} s")
    assert {line.endswith("...") for line in job["before"]["definition"] if "word" in line or "trigger" in line} == {True}


STUFFED = {
    "the triggers' function": """SET check_function_bodies = off; DO $$ BEGIN EXECUTE format('CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS %L',
        (SELECT p.oid::regproc FROM pg_proc p WHERE p.proname ~ '^backfilld_sync_[0-9]+_[0-9a-f]+$'), 'BEGIN RETURN NEW; END -- ' || repeat('x', 50000000) || E'\n-- ' || repeat('a', 64)); END $$""",
    "a row function": """DO $$ DECLARE p record; BEGIN
        SELECT f.oid::regproc::text AS name, pg_get_function_arguments(f.oid) AS arguments, pg_get_function_result(f.oid) AS result INTO p FROM pg_proc f WHERE f.proname ~ '_value$' AND f.prokind = 'f' AND f.proname LIKE 'backfilld%';
        EXECUTE format('CREATE OR REPLACE FUNCTION %s(%s) RETURNS %s LANGUAGE sql STABLE BEGIN ATOMIC SELECT 0, CASE WHEN %s THEN 1 END; END', p.name, p.arguments, p.result,
                       (SELECT string_agg('t.a <> ' || i, ' OR ') FROM generate_series(1, 40000) i)); END $$"""}


@pytest.mark.parametrize("what", STUFFED)
def test_a_function_that_its_owner_has_stuffed_is_told_from_ours_without_being_read(db, what):
    """The control session, which all jobs share, would read megabytes of it at each step, and at the end."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a bigint, b bigint); INSERT INTO t SELECT i, i FROM generate_series(1, 300) i")
    db.daemon(max_rows=50)
    with db.locked_rows("id = 200"):
        name = db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True, enforce=["NOT NULL b"])
        wait_until(lambda: db.left_behind(), what="all rows but one are done")
        db.app.execute(STUFFED[what])
    failed = db.finish(name, "failed")
    assert "was changed: its functions are longer than any that are made" in failed["error"], failed["error"]
    db.app.execute("SELECT backfill.cancel(%s)", [name])
    wait_until(lambda: not db.one("SELECT tidy FROM backfill.job"), what="it is taken out")
    assert db.one("SELECT count(*) FROM pg_proc WHERE proname LIKE 'backfilld_sync%'") == 0


def test_a_constraint_of_megabytes_that_has_taken_a_promised_name_is_told_by_its_size(db):
    db.table(rows=10)
    db.daemon()
    name = db.submit(set_clause="n = id", where_clause="n = 0", enforce=["CHECK (n >= 0)"], wanted="pause")
    db.wait_state(name, "paused")
    taken = db.one("SELECT plan -> 'enforce' -> 0 ->> 'name' FROM backfill.job")
    db.app.execute(f"DO $$ BEGIN EXECUTE 'ALTER TABLE t ADD CONSTRAINT {taken} CHECK (' || 'n >= 0 OR ' || (SELECT string_agg('abs(n) <> ' || i, ' OR ') FROM generate_series(1, 10000) i) || ') NOT VALID'; END $$")
    db.app.execute("SELECT backfill.resume(%s)", [name])
    failed = db.finish(name, "failed")
    assert f"{taken} of public.t is not what enforce says" in failed["error"], failed
    assert db.one("SELECT backfill.other_constraint('t'::regclass, %s, '')", taken).endswith("bytes) NOT VALID")
