"""When things go wrong: rows that cannot be computed, sessions and servers that go away, changing tables."""

import psycopg
import pytest

from daemon import run
from waiting import wait_until


def bad_rows(db, *keys, rows=1000):
    """Rows with d = 0; the job divides by d."""
    db.table(rows=rows, columns="n int NOT NULL DEFAULT 0, d int NOT NULL DEFAULT 1")
    db.app.execute("UPDATE t SET d = 0 WHERE id = ANY (%s)", [list(keys)])


DIVIDE = "n = n + 1 / d"


# ---- A row that cannot be computed

@pytest.mark.parametrize("key", [1, 2, 100, 101, 777, 1000])
def test_failing_row_is_found_and_named(db, key):
    """All rows before it are done, none behind it. Corrected, the job goes on from there."""
    bad_rows(db, key)
    db.daemon()
    name = db.submit(set_clause=DIVIDE)
    job = db.finish(name, "failed")
    assert job["error"] == f"row id = {key}: division by zero" and "quarantine" in job["hint"]
    assert db.counts("(SELECT n FROM t WHERE id < %d) AS before" % key) == ({1: key - 1} if key > 1 else {})
    assert db.counts("(SELECT n FROM t WHERE id >= %d) AS behind" % key) == {0: 1001 - key}
    db.app.execute("UPDATE t SET d = 1")
    assert db.one("SELECT backfill.retry(%s)", name, user="app") == 0
    job = db.finish(name)
    assert job["error"] is None and db.counts() == {1: 1000}


def test_failing_row_of_a_one_row_table(db):
    bad_rows(db, 1, rows=1)
    db.daemon()
    assert db.finish(db.submit(set_clause=DIVIDE), "failed")["error"] == "row id = 1: division by zero"
    job = db.finish(db.submit(set_clause=DIVIDE, on_error="quarantine"))
    assert job["report"]["left_behind"] == 1


def test_failing_row_of_a_composite_key_is_named_column_by_column(db):
    db.app.execute("""CREATE TABLE t ("Land" text, nr int, n int DEFAULT 0, PRIMARY KEY ("Land", nr));
                      INSERT INTO t SELECT 'a, "b"', g FROM generate_series(1, 300) g""")
    db.daemon()
    job = db.finish(db.submit(set_clause="n = 1 / (nr - 222)"), "failed")
    assert job["error"] == 'row "Land" = a, "b", nr = 222: division by zero'


def test_constraint_and_trigger_errors_are_rows_errors_too(db):
    db.table(rows=300, columns="n int NOT NULL DEFAULT 0, CHECK (n < 2 OR id <> 50)")
    db.app.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
                   " 'not this one'; END $$;"
                   "CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id = 200) EXECUTE"
                   " FUNCTION refuse()")
    db.daemon()
    job = db.finish(db.submit(set_clause="n = 2", on_error="quarantine"))
    assert db.counts() == {0: 2, 2: 298}
    left = db.all("SELECT key, sqlstate, message FROM backfill.left_behind WHERE job_id = %s ORDER BY id",
                  job["id"])
    assert [(key, sqlstate) for key, sqlstate, _ in left] == [(["50"], "23514"), (["200"], "P0001")]
    assert left[1][2] == "not this one"


def test_row_that_is_refused_at_the_commit_is_found(db):
    """By a deferred trigger: the statement has answered by then."""
    db.table(rows=300)
    db.app.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;"
                   "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED"
                   " FOR EACH ROW WHEN (NEW.id = 200) EXECUTE FUNCTION refuse()")
    db.daemon()
    assert db.finish(db.submit(set_clause="n = n + 1"), "failed")["error"] == "row id = 200: not this one"
    assert db.counts() == {1: 199, 0: 101}
    job = db.finish(db.submit(set_clause="n = n + 1", where_clause="n = 0", on_error="quarantine"))
    assert db.counts() == {1: 299, 0: 1} and job["report"]["left_behind"] == 1


def test_quarantine_leaves_bad_rows_behind_and_goes_on(db):
    keys = [1, 2, 3, 250, 500, 501, 999, 1000]
    bad_rows(db, *keys)
    daemon = db.daemon()
    job = db.finish(db.submit(set_clause=DIVIDE, on_error="quarantine"))
    assert db.counts() == {0: 8, 1: 992}
    left = db.all("SELECT key[1]::int, reason, sqlstate, message, relation::text FROM backfill.left_behind"
                  " ORDER BY key[1]::int")
    assert left == [(key, "error", "22012", "division by zero", "t") for key in keys]
    assert job["report"]["left_behind"] == 8 and job["report"]["rows"] == 992 and "retry" in job["hint"]
    daemon.says("row id = 250 is left behind: division by zero")
    assert db.one("SELECT left_behind FROM backfill.status", user="app") == 8


@pytest.mark.parametrize("on_error", ["fail", "quarantine"])
def test_value_of_a_row_that_fails_is_told_to_its_owner_alone(db, on_error):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, b int); INSERT INTO t VALUES (1, '1'), (2, 'the secret'), (3, '3')")
    daemon = db.daemon()
    job = db.finish(db.submit(set_clause="b = a::int", on_error=on_error), "failed" if on_error == "fail" else "succeeded")
    assert "secret" not in daemon.log() and "secret" not in str(job)
    if on_error == "fail":
        assert job["error"] == 'row id = 2: invalid input syntax for type integer: "..."'
    else:
        assert db.one("SELECT message FROM backfill.left_behind", user="app").endswith('"the secret"')


def test_retry_runs_what_was_left_behind_just_once(db):
    keys = [1, 250, 500, 501, 1000]
    bad_rows(db, *keys)
    db.daemon()
    name = db.submit(set_clause=DIVIDE, on_error="quarantine")
    db.finish(name)
    db.app.execute("UPDATE t SET d = 1 WHERE id IN (250, 1000)")
    assert db.one("SELECT backfill.retry(%s)", name, user="app") == 5
    db.finish(name)  # two are well now, three are left behind again
    assert db.counts() == {0: 3, 1: 997}
    assert db.one("SELECT array_agg(key[1]::int ORDER BY id) FROM backfill.left_behind") == [1, 500, 501]
    db.app.execute("UPDATE t SET d = 1")
    assert db.one("SELECT backfill.retry(%s)", name, user="app") == 3
    job = db.finish(name)
    assert db.counts() == {1: 1000} and job["report"]["left_behind"] == 0 and job["report"]["rows"] == 1000
    assert db.one("SELECT backfill.retry(%s)", name, user="app") == 0
    assert db.state(name) == "succeeded"


def test_row_left_behind_and_deleted_since(db):
    bad_rows(db, 500)
    db.daemon()
    name = db.submit(set_clause=DIVIDE, on_error="quarantine")
    db.finish(name)
    db.app.execute("DELETE FROM t WHERE id = 500")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.counts() == {1: 999}


def test_good_rows_far_between_bad_ones_make_a_job_wait_once(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, b text, d date); INSERT INTO t SELECT g, CASE WHEN g % 6 = 0 THEN '2026-01-01' ELSE 'none' END FROM generate_series(1, 160) g")
    db.daemon()
    name = db.submit(set_clause="d = b::date", on_error="quarantine")
    job = db.finish(name)
    assert db.one("SELECT count(d) FROM t") == 26 and job["report"]["left_behind"] == 134
    db.app.execute("UPDATE t SET b = '2026-02-02' WHERE id <= 100")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    job = db.finish(name)
    assert job["report"]["left_behind"] == 50 and "put aside" not in (job["hint"] or "") + job["report"]["not_proven"], "what fails as before is left behind, and nothing else was"


def test_a_table_of_bad_rows_only_comes_to_its_end(db):
    bad_rows(db, *range(1, 201), rows=200)
    db.daemon()
    job = db.finish(db.submit(set_clause=DIVIDE, on_error="quarantine"))
    assert job["report"]["left_behind"] == 200 and db.counts() == {0: 200}


def test_quarantine_in_each_leaf(db):
    db.app.execute("""
        CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (500);
        CREATE TABLE t2 (n int NOT NULL DEFAULT 0, id bigint NOT NULL);
        ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (500) TO (2000);
        INSERT INTO t SELECT generate_series(1, 1000)""")
    db.daemon()
    name = db.submit(set_clause="n = n + 1 + 0 / (id % 400)::int", on_error="quarantine")
    db.finish(name)
    assert db.all("SELECT relation::text, key FROM backfill.left_behind ORDER BY id") == [("t1", ["400"]),
                                                                                          ("t2", ["800"])]
    assert db.counts() == {0: 2, 1: 998}
    assert db.one("SELECT backfill.retry(%s)", name, user="app") == 2
    db.finish(name)
    assert db.one("SELECT count(*) FROM backfill.left_behind") == 2


def test_retry_is_for_jobs_that_have_ended(db):
    db.table()
    name = db.submit(set_clause="n = 1", wanted="pause")
    with pytest.raises(psycopg.Error, match="is paused"):
        db.app.execute("SELECT backfill.retry(%s)", [name])


def test_values_of_rows_are_in_left_behind_only(db):
    """The server's DETAIL may hold them: not in the log, not in status."""
    db.table(rows=10, columns="n int NOT NULL DEFAULT 0, secret text NOT NULL DEFAULT 'geheim', CHECK (n < 1"
                              " OR id <> 5)")
    daemon = db.daemon()
    db.finish(db.submit(set_clause="n = 1", on_error="quarantine"))
    assert "geheim" in db.one("SELECT detail FROM backfill.left_behind")
    daemon.says("row id = 5 is left behind")
    assert "geheim" not in daemon.log()


# ---- Sessions that go away

def terminate(db, application_name):
    return db.one("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s AND"
                  " application_name LIKE %s",
                  db.name, application_name)


def test_lost_worker_session_repeats_no_row(db):
    db.table(rows=5000)
    db.sleep_at(2500, 0.2)
    db.daemon(max_rows=100)
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    assert terminate(db, f"backfilld {name}") == 1
    job = db.finish(name)
    assert db.counts() == {1: 5000} and job["report"]["retries"]["connection"] >= 1


def test_lost_control_session_repeats_no_row(db):
    db.table(rows=5000)
    db.sleep_at(2500, 0.5)
    daemon = db.daemon(workers=1, max_rows=100)  # with more, it would claim its own job again, and notice
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    before = db.job(name)["holder_pid"]
    assert terminate(db, "backfilld control") == 1
    daemon.says("connected again")
    db.finish(name)
    assert db.counts() == {1: 5000} and db.one("SELECT count(*) FROM backfill.job") == 1
    assert before and daemon.log().count(": running: ") == 1, "it has claimed its own job again"


def test_both_sessions_lost_again_and_again(db, rng):
    db.table(rows=20000)
    db.daemon(max_rows=100)
    name = db.submit(set_clause="n = n + 1")
    for _ in range(8):
        if db.state(name) == "succeeded":
            break
        cursor = db.cursor(name)
        wait_until(lambda: db.cursor(name) != cursor or db.state(name) == "succeeded", what="it moves on")
        terminate(db, rng.choice(["backfilld control", f"backfilld {name}", "backfilld%"]))
    db.finish(name)
    assert db.counts() == {1: 20000}


def test_wish_made_while_the_control_session_is_away_is_heard(db):
    db.table()
    db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        terminate(db, "backfilld control")
        db.app.execute("SELECT backfill.pause(%s)", [name])
        db.wait_state(name, "paused")


def test_server_restart_repeats_no_row(own_db):
    db = own_db
    db.table(rows=5000)
    db.sleep_at(2500, 3)
    daemon = db.daemon(max_rows=100)
    for mode in ("fast", "immediate"):
        name = db.submit(set_clause="n = n + 1")
        db.wait_asleep()
        db.cluster.stop(mode)
        for session in db.sessions.values():
            session.close()
        daemon.says("not connected, trying again")
        db.cluster.start()
        db.admin.execute("ALTER TABLE t DISABLE TRIGGER sleep")
        db.finish(name)
        db.admin.execute("ALTER TABLE t ENABLE TRIGGER sleep")
    assert db.counts() == {2: 5000}


def test_daemon_that_starts_before_its_server(own_db):
    db = own_db
    db.table(rows=100)
    name = db.submit(set_clause="n = n + 1")
    db.cluster.stop()
    for session in db.sessions.values():
        session.close()
    daemon = db.daemon()
    daemon.says("not connected, trying again")
    db.cluster.start()
    db.finish(name)
    assert db.counts() == {1: 100}


def test_sigterm_while_the_server_is_away_ends_it(own_db):
    db = own_db
    db.table(rows=100)
    daemon = db.daemon()
    daemon.says("connected")
    db.cluster.stop()
    for session in db.sessions.values():
        session.close()
    daemon.says("not connected, trying again")
    status = daemon.terminate()
    db.cluster.start()
    assert status == 0


def test_schema_that_is_installed_later_is_found(db):
    db.admin.execute("DROP SCHEMA backfill CASCADE")
    daemon = db.daemon()
    daemon.says("the control schema is not installed. HINT: Run backfilld --install")
    with db.cluster.connect() as admin:
        admin.execute(f"GRANT CREATE ON DATABASE {db.name} TO backfilld")
    assert run("-d", db.conninfo(), "--install").returncode == 0
    db.table(rows=100)
    db.finish(db.submit(set_clause="n = n + 1"))


# ---- Time and locks

def test_statement_timeout_makes_batches_smaller_until_they_pass(db):
    db.table(rows=400)
    db.app.execute("CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN PERFORM"
                   " pg_sleep(0.004); RETURN n + 1; END $$")
    db.daemon(statement_timeout_ms=150)  # a first batch of 100 rows takes 0.4 s
    job = db.finish(db.submit(set_clause="n = slow(n)"))
    assert db.counts() == {1: 400} and job["report"]["retries"]["cancelled"] >= 1


def test_locked_row_is_waited_for_and_its_holder_is_no_victim(db):
    db.table()
    db.admin.execute("ALTER TABLE t ADD COLUMN other int NOT NULL DEFAULT 0")
    db.daemon()
    with db.locked_rows("id = 500") as holder:
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: db.left_behind() == [(["500"],)], what="all but that row are tried")
        wait_until(lambda: db.one("SELECT throttled_by FROM backfill.status") is not None)
        began = db.one("SELECT clock_timestamp()")
        holder.execute("UPDATE t SET other = 1 WHERE id BETWEEN 400 AND 600")
        assert (db.one("SELECT clock_timestamp()") - began).total_seconds() < 2
    job = db.finish(name)
    assert db.counts() == {1: 1000} and db.one("SELECT sum(other) FROM t") == 201
    assert job["report"]["retries"]["contention"] >= 1 and job["waiting_for"] is None


def test_table_lock_is_waited_for(db):
    db.table()
    db.daemon()
    name = db.submit(set_clause="n = n + 1", wanted="pause")
    with db.connect() as session:
        session.autocommit = False
        session.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        db.app.execute("SELECT backfill.resume(%s)", [name])
        wait_until(lambda: db.throttled_by(name).startswith("preflight waits for a lock on public.t: pid "), what="it waits")
        assert db.state(name) == "running"
        session.commit()
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_serialization_failure_of_a_trigger_is_tried_again(db):
    db.table(rows=300)
    db.app.execute("""
        CREATE SEQUENCE times;
        CREATE FUNCTION fail_thrice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF nextval('times') <= 3 THEN RAISE EXCEPTION 'try again' USING ERRCODE = '40001'; END IF;
          RETURN NEW; END $$;
        CREATE TRIGGER fail BEFORE UPDATE ON t
          FOR EACH ROW WHEN (OLD.id = 200) EXECUTE FUNCTION fail_thrice()""")
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 300}


# ---- Tables that change under a job

def altered(db, ddl, **columns):
    """Runs a job up to the row 500; there its table is changed. Returns the job's name."""
    with db.held_row(500) as holder:
        name = db.submit(**{"set_clause": "n = n + 1", **columns})
        db.wait_at(500, name)
        holder.execute(ddl)
    return name


def test_column_dropped_meanwhile_fails_by_its_name(db):
    db.table()
    db.daemon()
    job = db.finish(altered(db, "ALTER TABLE t DROP COLUMN n"), "failed")
    assert job["error"] == f'column "n" of public.t, which job "{job["name"]}" names, was dropped'
    assert db.cursor(job["name"]) == ["499"]


def test_table_renamed_meanwhile_goes_on(db):
    db.table()
    db.daemon()
    db.finish(altered(db, "ALTER TABLE t RENAME TO renamed"))
    assert db.counts("renamed") == {1: 1000}


def test_table_moved_to_another_schema_meanwhile_goes_on(db):
    db.table()
    db.admin.execute("CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO app")
    db.daemon()
    db.finish(altered(db, "ALTER TABLE t SET SCHEMA elsewhere"))
    assert db.counts("elsewhere.t") == {1: 1000}


def test_renamed_and_another_in_its_place(db):
    """The other table is not touched: a job is on a table, not on a name."""
    db.table()
    db.daemon()
    db.finish(altered(db, "ALTER TABLE t RENAME TO old; CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL"
                          " DEFAULT 0);"
                          "GRANT ALL ON t TO app; INSERT INTO t SELECT generate_series(1, 1000)"))
    assert db.counts("old") == {1: 1000} and db.counts("t") == {0: 1000}


def test_batch_that_was_written_before_a_rename_is_undone(db):
    """Names are read when a range is taken; the batch that follows finds another table under its own."""
    db.table()
    relation = db.one("SELECT 't'::regclass::oid")
    db.admin.execute("ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old INCLUDING ALL); INSERT INTO t VALUES (1, 0);"
                     "ALTER TABLE t OWNER TO app")
    run = "SELECT backfill.hold_name(%s, %s, true)"  # before the statement, in its transaction
    with pytest.raises(psycopg.Error) as refused:
        db.app.execute(run, [relation, "public.t"])
    assert refused.value.sqlstate == "BF001" and db.counts() == {0: 1}
    assert db.one(run, db.one("SELECT 't'::regclass::oid"), "public.t", user="app") is not None


def test_a_column_that_the_clause_names_and_that_is_renamed_ends_the_job_with_a_hint(db):
    db.table()
    db.daemon()
    job = db.finish(altered(db, "ALTER TABLE t RENAME COLUMN n TO m"), "failed")
    assert 'column "n"' in job["error"] and "is called m now" in job["error"] and "Give each column the name that it had" in job["hint"], (job["error"], job["hint"])
    db.app.execute("ALTER TABLE t RENAME COLUMN m TO n; SELECT backfill.retry('job-1')")
    db.finish("job-1")
    assert db.counts() == {1: 1000}


def test_key_column_renamed_meanwhile_goes_on(db):
    db.table()
    db.daemon()
    db.finish(altered(db, "ALTER TABLE t RENAME COLUMN id TO number"))
    assert db.counts() == {1: 1000}


def test_key_column_widened_meanwhile_goes_on(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT"
                   " generate_series(1, 1000)")
    db.daemon()
    name = altered(db, "ALTER TABLE t ALTER COLUMN id TYPE bigint")
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_column_added_meanwhile_goes_on(db):
    db.table()
    db.daemon()
    db.finish(altered(db, "ALTER TABLE t ADD COLUMN m int DEFAULT 3, ADD COLUMN id2 bigint"))
    assert db.counts() == {1: 1000}


def test_table_dropped_meanwhile_fails(db):
    db.table()
    db.daemon()
    name = altered(db, "DROP TABLE t")
    job = db.finish(name, "failed")
    assert "dropped" in job["error"] and job["hint"]
    assert db.one("SELECT error FROM backfill.status", user="app") == job["error"]


@pytest.mark.parametrize("partitions", ["", "PARTITION BY RANGE (id)"])
def test_a_job_whose_table_was_dropped_is_not_over(db, partitions):
    """In the moment between the look at the table and the look at its ranges, which are nobody's then: it would be called succeeded."""
    db.app.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) {partitions}")
    if partitions:
        db.app.execute("CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (9999)")
    db.app.execute("INSERT INTO t SELECT generate_series(1, 1000)")
    db.daemon(max_rows=50)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=200)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 0, what="it is on its way")
    db.app.execute("SELECT backfill.pause(%s)", [name])
    db.wait_state(name, "paused")
    db.app.execute("DROP TABLE t")
    assert db.one("SELECT backfill.is_open(j) FROM backfill.job j") is True
    db.app.execute("SELECT backfill.resume(%s)", [name])
    assert "was dropped" in db.finish(name, "failed")["error"]


@pytest.mark.parametrize("job", [{"set_clause": "n = n + 1"}, {"enforce": ["CHECK (n < 10)"]}])
def test_table_made_again_under_its_name_is_another_one(db, job):
    """In one transaction, so that the name is never free: the server knows of nothing but rights on the new one."""
    db.table(rows=10)
    name = db.submit(**job)
    with db.connect("postgres") as session:
        session.autocommit = False
        session.execute("LOCK t")
        db.daemon().says("tries again")
        session.execute("DROP TABLE t; CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); ALTER TABLE t OWNER TO other")
        session.commit()
    job = db.finish(name, "failed")
    assert job["error"] == f'the table of job "{name}" was dropped' and "under its name is another one" in job["hint"]


def test_table_dropped_between_two_statements_of_a_layout_is_told_as_dropped(db):
    """Each statement sees the catalog of its own time: whoever looks at a table that a job has begun on says the same of it."""
    db.table(rows=10)
    db.submit(set_clause="n = n + 1")
    db.app.execute("DROP TABLE t")
    with pytest.raises(psycopg.errors.UndefinedTable, match='the table of job ".*" was dropped'), db.connect("postgres") as session:
        assert len(session.execute("SELECT s.batch FROM backfill.job j, backfill.statements(j, j.target, NULL::backfill.walk_key, false) s").fetchall()) == 1
        session.execute("SELECT backfill.check_target(jsonb_populate_record(j, '{\"state\": \"running\"}')) FROM backfill.job j")


def test_job_whose_table_was_dropped_before_it_began_says_so(db):
    db.table(rows=10)
    name = db.submit(set_clause="n = n + 1")
    db.app.execute("DROP TABLE t")
    db.table(rows=10)
    db.daemon()
    job = db.finish(name, "failed")
    assert job["error"] == f'the table of job "{name}" was dropped' and "under its name is another one" in job["hint"]
    assert db.counts() == {0: 10}


def test_index_dropped_meanwhile_fails_and_says_what_to_do(db):
    db.table()
    db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        db.app.execute("SELECT backfill.pause(%s)", [name])
        db.wait_state(name, "paused")
    db.admin.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    db.app.execute("SELECT backfill.resume(%s)", [name])
    job = db.finish(name, "failed")
    assert "public.t has no key to walk by" in job["error"] and "unique btree index" in job["hint"] and f"backfill.retry('{name}')" in job["hint"] and not set(db.counts()) - {0, 1}
    db.admin.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_truncated_table_ends_well(db):
    db.table()
    db.daemon()
    db.finish(altered(db, "TRUNCATE t"))
    assert db.counts() == {}


def test_role_dropped_meanwhile_fails(db):
    db.admin.execute("CREATE ROLE leaving LOGIN IN ROLE backfill_submitter")
    db.table()
    db.app.execute("GRANT SELECT, UPDATE ON t TO leaving")
    daemon = db.daemon()
    with db.held_row(500):
        name = db.submit(user="leaving", set_clause="n = n + 1")
        db.wait_at(500, name)
        db.sessions.pop("leaving").close()
        assert daemon.terminate() == 0
        db.admin.execute("DROP OWNED BY leaving; DROP ROLE leaving")
    daemon.start()
    job = db.finish(name, "failed")
    assert "leaving" in job["error"] and "leaving, who submitted the job, is gone" in job["hint"] and "backfill.retry" in job["hint"]


# ---- Values that are taken for names

@pytest.mark.parametrize("clause", ["q = to_tsquery('english', secret)::text", "q = secret::regclass::text", "q = secret::regtype::text"])
def test_a_value_that_is_taken_for_a_name_is_put_aside_by_its_key_and_stays_out_of_the_journal(db, clause):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, secret text, q text); INSERT INTO t SELECT i, 'int4' FROM generate_series(1, 100) i;"
                   "CREATE TABLE int4 (); UPDATE t SET secret = 'jane doe' WHERE id = 70")
    daemon = db.daemon()
    job = db.finish(db.submit(set_clause=clause, where_clause="q IS NULL", on_error="quarantine"))
    assert db.left_behind("error") == [(["70"],)] and db.one("SELECT count(q) FROM t") == 99
    name = db.submit(set_clause=clause, where_clause="q IS NULL", name="strict")
    job = db.finish(name, "failed")
    assert "id = 70" in job["error"] or "70" in daemon.log()
    assert "jane" not in daemon.log() and "jane" not in str(job)


def test_a_function_that_is_gone_in_mid_job_fails_it_in_the_servers_words(db):
    """Every row fails alike, so none is put aside."""
    db.app.execute("CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'")
    db.table(rows=2000)
    daemon = db.daemon()
    name = db.submit(set_clause="n = f(id::int)", on_error="quarantine", max_rows_per_s=500)
    wait_until(lambda: db.cursor(name), what="it is at work")
    db.app.execute("DROP FUNCTION f(int)")
    job = db.finish(name, "failed")
    assert "function f(integer) does not exist" in job["error"] and not db.left_behind("error"), daemon.log()


def test_a_batch_that_ends_its_own_session_each_time_ends_the_job(db, scale):
    """No pause helps; with a crash of the server in place of the trigger, everybody else would be thrown out each time."""
    if scale < 5:
        pytest.skip("the long form, BACKFILL_SCALE=5: it takes 50 s")
    db.table(rows=10)
    db.admin.execute("""CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
                        CREATE TRIGGER ends BEFORE UPDATE ON t FOR EACH ROW WHEN (NEW.id = 7) EXECUTE FUNCTION ends()""")
    db.daemon()
    job = db.finish(db.submit(set_clause="n = 1"), "failed", timeout=150)
    assert "lost 20 times in a row" in job["error"] and "the server's log" in job["hint"]
