"""Whose rights a job runs with, and who may see or touch it."""

import psycopg
import pytest
from daemon import run

from waiting import wait_until

REFUSED = psycopg.errors.InsufficientPrivilege


def record_who(db, table="t"):
    """From now on each changed row notes who changed it."""
    db.admin.execute(f"""
        CREATE TABLE who (session_user_ text, current_user_ text);
        GRANT INSERT ON who TO PUBLIC;
        CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql
          AS $$ BEGIN INSERT INTO who VALUES (session_user, current_user); RETURN NEW; END $$;
        CREATE TRIGGER who BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION who()""")


def test_worker_logs_in_as_the_role_that_submitted(db):
    db.table(rows=10)
    record_who(db)
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.all("SELECT DISTINCT * FROM who") == [("app", "app")]


def test_job_inserted_under_set_role_runs_under_that_role(db):
    """As migrations often are: the login app, the owner app_owner."""
    with db.connect() as session:
        session.execute("SET ROLE app_owner; CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL"
                        " DEFAULT 0);"
                        "INSERT INTO t SELECT generate_series(1, 10)")
        name = db.submit(session=session, set_clause="n = n + 1")
    record_who(db)
    db.daemon()
    job = db.finish(name)
    assert (job["submitted_by"], job["owner"]) == ("app", "app_owner")
    assert db.all("SELECT DISTINCT * FROM who") == [("app", "app_owner")]
    assert db.counts() == {1: 10}


def test_who_submitted_cannot_be_pretended(db):
    db.table(rows=10)
    for column in ("submitted_by", "owner", "state", "phase", "search_path", "root", "holder_pid", "id"):
        with pytest.raises(psycopg.Error):
            db.app.execute(f"INSERT INTO backfill.job (target, set_clause, {column}) VALUES ('t', 'n = 1',"
                           f" NULL)")
        with pytest.raises(psycopg.Error):
            db.app.execute(f"UPDATE backfill.job SET {column} = DEFAULT")
    assert db.one("SELECT count(*) FROM backfill.job") == 0


def test_what_a_job_does_cannot_be_changed_later(db):
    db.table(rows=10)
    name = db.submit(set_clause="n = n + 1", wanted="pause")
    for change in ("set_clause = 'n = 2'", "where_clause = 'true'", "statement = 'x'", "target = 'pg_class'",
                   "settings = '{}'",
                   "key = '{n}'", "name = 'x'"):
        with pytest.raises(REFUSED):
            db.app.execute(f"UPDATE backfill.job SET {change} WHERE name = %s", [name])
    with pytest.raises(REFUSED):
        db.app.execute("DELETE FROM backfill.job")
    for table in ("range", "left_behind", "installed"):
        with pytest.raises(REFUSED):
            db.app.execute(f"DELETE FROM backfill.{table}")


def test_roles_see_and_change_only_their_own_jobs(db):
    db.table(rows=10)
    db.daemon()
    db.finish(db.submit(name="mine", set_clause="n = n + 1 / (id - 5)::int", on_error="quarantine"))
    db.submit(name="mine-too", set_clause="n = n + 1", wanted="pause")
    for table in ("job", "status", "range", "left_behind"):
        assert db.one(f"SELECT count(*) FROM backfill.{table}", user="app") > 0
        assert db.one(f"SELECT count(*) FROM backfill.{table}", user="other") == 0
    for call in ("pause", "resume", "cancel", "finish", "retry", "is_done"):
        with pytest.raises(psycopg.Error, match='no job "mine-too" that you may'):
            db.session("other").execute(f"SELECT backfill.{call}('mine-too')")
    assert db.session("other").execute("UPDATE backfill.job SET wanted = 'cancel'").rowcount == 0
    assert db.state("mine-too") == "paused"


def test_owner_of_a_table_sees_a_strangers_job_on_it_and_may_stop_it_but_not_run_it(db):
    """A right to one column is enough to keep the owner's own jobs off the table; and who may run a job again runs the code of his triggers
    with the rights of its login."""
    db.table(rows=10)
    db.app.execute("GRANT SELECT, UPDATE (n) ON t TO other")
    db.submit(name="theirs", user="other", set_clause="n = n + 1", wanted="pause")
    other = db.session("other")
    assert db.one("SELECT name || ' ' || state FROM backfill.status", user="app") == "theirs paused"
    db.admin.execute("SET ROLE ghost")  # who may submit, and owns nothing here
    assert db.admin.execute("SELECT count(*) FROM backfill.status").fetchone()[0] == 0
    db.admin.execute("RESET ROLE")
    for call in ("resume", "retry", "undo", "finish", "forget"):
        with pytest.raises(REFUSED) as refused:
            db.app.execute(f"SELECT backfill.{call}('theirs')")
        assert "belongs to other" in str(refused.value) and "SELECT backfill.pause('theirs'), or backfill.cancel('theirs')" in refused.value.diag.message_hint
    for change in ("priority = 1", "on_error = 'quarantine'", "wanted = 'run'", "asked = 'retry'"):
        assert db.app.execute(f"UPDATE backfill.job SET {change}").rowcount == 0, "what is wanted of one's own jobs, all of them, is none of his"
    db.daemon()
    other.execute("SELECT backfill.resume('theirs')")
    with db.held_row(5):
        db.wait_at(5, "theirs")
        mine = db.submit(set_clause="n = n + 1")
        wait_until(lambda: db.one("SELECT throttled_by FROM backfill.status WHERE name = %s", mine, user="app") == "behind job theirs of other", what="the owner is told")
        db.app.execute("SELECT backfill.pause('theirs')")
        wait_until(lambda: db.state("theirs") == "paused", what="the stranger's job is paused by the table's owner")
    db.finish(mine)
    db.app.execute("SELECT backfill.cancel('theirs')")
    assert db.state("theirs") == "cancelled"


def test_pg_monitor_sees_all_jobs_and_changes_none(db):
    db.table(rows=10)
    db.daemon()
    db.finish(db.submit(name="mine", set_clause="n = n + 1 / (id - 5)::int", on_error="quarantine"))
    assert db.one("SELECT name FROM backfill.status", user="watcher") == "mine"
    assert db.one("SELECT count(*) FROM backfill.range", user="watcher") == 1
    assert db.one("SELECT count(*) FROM backfill.left_behind",
                  user="watcher") == 0, "messages may hold a row's values"
    for key in ("cursor", "lower", "upper"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.session("watcher").execute(f"SELECT {key} FROM backfill.range")
        db.session("app").execute(f"SELECT {key} FROM backfill.range")
    db.admin.execute("CREATE ROLE looks_on LOGIN IN ROLE pg_monitor, backfill_submitter")
    try:
        with db.connect("looks_on") as both:
            assert both.execute("SELECT count(cursor) FROM backfill.range").fetchone()[0] == 0, "it may read keys, so it sees its own ranges only"
            assert both.execute("SELECT rows FROM backfill.status").fetchone()[0] == 9
    finally:
        db.admin.execute("DROP ROLE looks_on")
    figures = "SELECT rows, left_behind, percent FROM backfill.status"
    assert db.all(figures, user="watcher") == db.all(figures, user="app") == [(9, 1, 100)], "how many they are is no secret"
    for statement in ("SELECT backfill.pause('mine')", "UPDATE backfill.job SET wanted = 'cancel'",
                      "SELECT backfill.retry('mine')"):
        with pytest.raises(REFUSED):
            db.session("watcher").execute(statement)


def test_role_that_is_no_submitter_may_nothing(db):
    db.table(rows=10)
    for statement in ("INSERT INTO backfill.job (target, set_clause) VALUES ('t', 'n = 1')",
                      "SELECT * FROM backfill.status",
                      "SELECT backfill.claim()", "SELECT backfill.retry('x')", "SELECT * FROM backfill.job"):
        with pytest.raises(REFUSED):
            db.session("stranger").execute(statement)


def test_daemons_functions_are_the_daemons_alone(db):
    open_to = dict(db.all("""
        SELECT p.proname, array_agg(r.rolname::text ORDER BY r.rolname)
          FROM pg_proc p, pg_roles r
         WHERE p.pronamespace = 'backfill'::regnamespace AND r.rolname IN ('app', 'watcher', 'stranger')
           AND has_function_privilege(r.oid, p.oid, 'EXECUTE') GROUP BY 1"""))
    assert open_to["run_batch"] == ["app"] and open_to["is_done"] == ["app", "watcher"]
    for name in ("claim", "hold_again", "layout", "add_ranges", "begin_phase", "take_range", "put_aside",
                 "end_job", "release_job"):
        assert name not in open_to
    assert not [name for name, roles in open_to.items() if "stranger" in roles]
    definers = [name for name, in db.all("SELECT proname FROM pg_proc WHERE pronamespace ="
                                         " 'backfill'::regnamespace AND prosecdef"
                                         " AND NOT coalesce(proconfig::text, '') LIKE '%search_path%'")]
    assert definers == [], "a SECURITY DEFINER function without a search_path of its own"


def test_submitter_needs_rights_on_the_table(db):
    db.table(rows=10)
    with pytest.raises(REFUSED) as refused:
        db.submit(user="other", set_clause="n = 1")
    assert refused.value.diag.column_name == "set_clause" and "GRANT" in refused.value.diag.message_hint
    db.app.execute("GRANT SELECT, UPDATE (n) ON t TO other")
    db.daemon()
    db.finish(db.submit(user="other", set_clause="n = n + 1"))
    assert db.counts() == {1: 10}
    with pytest.raises(REFUSED):
        db.submit(user="other", set_clause="id = id + 1")


def test_rights_revoked_meanwhile_end_the_job(db):
    db.table()
    db.app.execute("GRANT SELECT, UPDATE ON t TO other")
    db.daemon()
    with db.held_row(500):
        name = db.submit(user="other", set_clause="n = n + 1")
        db.wait_at(500, name)
        db.app.execute("REVOKE UPDATE ON t FROM other")
    assert db.finish(name, "failed")["error"] == "role other has no right to UPDATE on public.t, which belongs to app"
    counts = db.counts()  # the batch that waited for the lock had passed the check already
    assert set(counts) == {0, 1} and counts[1] >= 499  # how many a batch is, its time decides


def test_who_steers_a_job_runs_nothing_of_its_submitters(db):
    """Whatever stands in the table by now: a superuser pauses, cancels, finishes, undoes, forgets and looks."""
    db.close_public()
    db.app.execute("""CREATE TABLE got (who text); GRANT ALL ON got TO public;
      CREATE FUNCTION evil(anyelement) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN IF current_user <> 'app' THEN INSERT INTO public.got VALUES (current_user); END IF; RETURN true; END $$;
      CREATE FUNCTION evil_default() RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN PERFORM public.evil(1); RETURN 1; END $$;
      CREATE DOMAIN dom AS int CHECK (evil(VALUE))""")
    db.daemon()
    names = []
    for i, state in enumerate(["succeeded", "succeeded", "failed", "paused", "succeeded"]):
        db.app.execute(f"CREATE TABLE e{i} (id int PRIMARY KEY, a int, d dom); INSERT INTO e{i} SELECT g, g, g FROM generate_series(1, 100) AS g")
        name = db.submit(target=f"e{i}", add_column="b int", set_clause="b = a + 1" if state != "failed" else "b = 1 / (a - 50)", where_clause="b IS NULL", keep_in_sync=True,
                         enforce=["NOT NULL b", "CHECK (evil(b))"], sync_back="a = b - 1", wanted="pause" if state == "paused" else "run")
        names.append(db.wait_state(name, state) and name)
        db.app.execute(f"ALTER TABLE e{i} ADD COLUMN IF NOT EXISTS b int; ALTER TABLE e{i} ADD CONSTRAINT z CHECK (evil(b)), ADD CONSTRAINT y CHECK (evil(d)), ALTER COLUMN b DROP NOT NULL, ALTER COLUMN b SET DEFAULT evil_default()")
    with db.connect("postgres") as boss:
        for i, name in enumerate(names):
            for statement in ("SELECT backfill.pause(%(name)s)", "SELECT backfill.resume(%(name)s)", "SELECT * FROM backfill.effect(%(name)s)", "SELECT * FROM backfill.status", "SELECT * FROM backfill.job",
                              "UPDATE backfill.job SET max_rows_per_s = 7, active_hours = '00:00-24:00' WHERE name = %(name)s", "SELECT backfill.pause(%(name)s)",
                              ["SELECT backfill.cancel(%(name)s)", "SELECT backfill.finish(%(name)s)", "SELECT backfill.retry(%(name)s)", "SELECT backfill.cancel(%(name)s)", "SELECT backfill.undo(%(name)s)"][i],
                              "SELECT backfill.undo(%(name)s)", "SELECT backfill.forget(%(name)s)"):
                try:
                    boss.execute(statement, {"name": name})
                except psycopg.Error:
                    pass
    assert run("-d", db.conninfo(), "--check").stdout
    assert db.all("SELECT * FROM got") == []


# ---- Checkpoints

def checkpoint(db, user, job, to, epoch=None):
    """As a worker would, by whatever arguments the function has now."""
    row = db.all("SELECT r.id, r.epoch, r.cursor, r.ctid::text FROM backfill.range r JOIN backfill.job j ON"
                 " j.id = r.job_id"
                 " WHERE j.name = %s", job)[0]
    return db.session(user).execute(
        "SELECT backfill.checkpoint(ticket => %s, range => %s, epoch => %s, at => %s::tid, lo => %s, hi => %s, keys => 0,"
        " rows => 0,"
        " wal_bytes => 0, rate => 0)", [db.as_worker(user, job), row[0], row[1] if epoch is None else epoch, row[3], row[2], to])


def test_checkpoint_from_another_login_is_refused(db):
    db.table()
    db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        db.app.execute("SELECT backfill.pause(%s)", [name])
        db.wait_state(name, "paused")
        with pytest.raises(psycopg.Error, match="no longer at this cursor") as refused:
            checkpoint(db, "other", name, ["1000"])
        assert refused.value.sqlstate == "BF001"
        with pytest.raises(psycopg.Error, match="no longer at this cursor"):
            checkpoint(db, "postgres", name, ["1000"])
    assert db.cursor(name) == ["499"]


def test_checkpoint_of_an_older_epoch_is_refused(db):
    db.table()
    db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        with pytest.raises(psycopg.Error, match="no longer at this cursor"):
            checkpoint(db, "app", name, ["1000"], epoch=0)
    db.finish(name)
    assert db.counts() == {1: 1000}


# ---- What a job's code can reach

def test_job_code_that_wants_more_rights_gets_nowhere(db):
    """Each attempt runs in the job's own session, in the middle of a batch, and notes what came of it."""
    attempts = {
        "reset": "RESET ROLE",
        "authorization": "RESET SESSION AUTHORIZATION; SET SESSION AUTHORIZATION DEFAULT",
        "daemon": "SET ROLE backfilld",
        "superuser": "SET SESSION AUTHORIZATION postgres",
        "states": "UPDATE backfill.job SET state = 'succeeded', submitted_by = 'postgres'",
        "ranges": "UPDATE backfill.range SET cursor = upper",
        "claims": "SELECT backfill.claim()",
        "ends": "SELECT backfill.end_job(1, 'backfill', 'succeeded', NULL, NULL, '{}')",
        "files": "COPY (SELECT 1) TO PROGRAM 'true'",
        "signals": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'backfilld'",
        "monitors": "SELECT 1 / (SELECT count(*) FROM pg_stat_activity WHERE usename = 'backfilld' AND query"
                    " NOT LIKE '<insuff%%')::int",
    }
    db.table(rows=10)
    db.app.execute("CREATE TABLE came_of (attempt text, outcome text, session_ text, current_ text)")
    for name, statement in attempts.items():
        db.app.execute(f"""
            CREATE FUNCTION try_{name}(n int) RETURNS int LANGUAGE plpgsql AS $f$
            DECLARE outcome text := 'done';
            BEGIN
              BEGIN
                EXECUTE $s${statement.replace('%%', '%')}$s$;
              EXCEPTION WHEN OTHERS THEN outcome := SQLSTATE;
              END;
              INSERT INTO came_of VALUES ('{name}', outcome, session_user, current_user);
              RETURN n + 1;
            END $f$""")
    db.app.execute("GRANT ALL ON came_of, t TO app_owner")
    db.daemon()
    for name in attempts:
        with db.connect() as session:
            session.execute("SET ROLE app_owner")
            job = db.submit(session=session, set_clause=f"n = try_{name}(n)", where_clause=f"id = 1 AND n = {list(attempts).index(name)}")
        db.finish(job)
    assert db.one("SELECT n FROM t WHERE id = 1") == len(attempts)
    came_of = db.all("SELECT * FROM came_of")
    assert {session for _, _, session, _ in came_of} == {"app"}, came_of
    assert {current for _, _, _, current in came_of} <= {"app", "app_owner"}, came_of
    assert {name for name, came, _, _ in came_of if came == "done"} <= {"reset", "authorization"}, came_of
    assert db.one("SELECT count(DISTINCT submitted_by) FROM backfill.job") == 1


def test_deferred_trigger_runs_with_the_submitters_rights(db):
    """It fires at the commit, when the server has forgotten what the batch had set for itself."""
    db.table(rows=10)
    db.app.execute("""
        CREATE TABLE who (session_ text, current_ text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql
          AS $$ BEGIN RESET ROLE; INSERT INTO who VALUES (session_user, current_user); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION note()""")
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.all("SELECT DISTINCT * FROM who") == [("app", "app")] and db.counts() == {1: 10}


def test_what_a_batch_leaves_in_its_session_does_not_reach_the_next_job(db):
    db.table(rows=10, columns="n int NOT NULL DEFAULT 0, seen text")
    db.app.execute("CREATE FUNCTION leave() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM"
                   " set_config('my.trace', 'left', false);"
                   " CREATE TEMP TABLE IF NOT EXISTS trace (x int); RETURN 1; END $$")
    db.daemon(workers=1)
    db.finish(db.submit(set_clause="n = leave()"))
    db.finish(db.submit(set_clause="seen = concat_ws(' ', nullif(current_setting('my.trace', true), ''),"
                                   " to_regclass('pg_temp.trace'))"))
    assert db.counts(column="seen") == {"": 10}


# ---- Row-level security of the target

def test_policy_on_the_target_is_an_error_not_a_gap(db):
    db.table(rows=10)
    db.app.execute("GRANT SELECT, UPDATE ON t TO other; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
                   "CREATE POLICY few ON t USING (id < 5)")
    with pytest.raises(psycopg.Error, match="row-level security") as refused:
        db.submit(user="other", set_clause="n = n + 1")
    assert refused.value.diag.column_name == "target" and "ALTER ROLE other BYPASSRLS" in refused.value.diag.message_hint
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1"))  # the owner is not held by its policies
    assert db.counts() == {1: 10}


def test_policy_that_comes_meanwhile_is_an_error_not_a_gap(db):
    """Whatever the job says about row_security."""
    db.table()
    db.app.execute("GRANT SELECT, UPDATE ON t TO other")
    db.daemon()
    with db.held_row(500, user="app") as holder:
        name = db.submit(user="other", set_clause="n = n + 1")
        db.wait_at(500, name)
        holder.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON t USING (id < 5)")
    assert "row-level security" in db.finish(name, "failed")["error"]
    assert db.counts() == {0: 501, 1: 499}


def test_job_cannot_switch_row_security_on(db):
    db.table(rows=10)
    db.app.execute("GRANT SELECT, UPDATE ON t TO other; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
                   "CREATE POLICY few ON t USING (id < 5)")
    db.app.execute("ALTER TABLE t DISABLE ROW LEVEL SECURITY")
    with pytest.raises(psycopg.Error, match="row_security is set by the daemon"):
        db.submit(user="other", set_clause="n = n + 1", settings={"row_security": "on"})
    name = db.submit(user="other", set_clause="n = n + 1")
    db.app.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    db.daemon()
    assert "row-level security" in db.finish(name, "failed")["error"]
    assert db.counts() == {0: 10}


# ---- Logins

def test_refused_login_is_waited_for_and_others_go_on(db):
    db.table(rows=10)
    db.app.execute("GRANT SELECT, UPDATE ON t TO ghost")
    with db.connect("postgres") as session:
        session.execute("SET SESSION AUTHORIZATION ghost")
        name = db.submit(session=session, set_clause="n = n + 1")
    db.daemon()
    wait_until(lambda: "the server refuses the login: " in (db.throttled_by(name) or "") and "not permitted to log in" in db.throttled_by(name), what="status says why")
    assert db.counts() == {0: 10}
    db.finish(db.submit(set_clause="n = n + 1"))  # others go on
    db.admin.execute("ALTER ROLE ghost LOGIN")
    try:
        db.finish(name)
    finally:
        db.admin.execute("ALTER ROLE ghost NOLOGIN")
    assert db.counts() == {2: 10}


def test_retry_by_a_stranger_is_refused(db):
    db.table(rows=10)
    db.daemon()
    name = db.submit(set_clause="n = 1 / (id - 5)::int")
    db.finish(name, "failed")
    with pytest.raises(psycopg.Error, match="no job .* that you may see"):
        db.session("other").execute("SELECT backfill.retry(%s)", [name])
    with pytest.raises(REFUSED):
        db.session("stranger").execute("SELECT backfill.retry(%s)", [name])
    assert db.state(name) == "failed"


# ---- Rights that are missing, or taken away, are named

@pytest.fixture
def parted(db):
    """A table whose second partition belongs to another."""
    db.app.execute("CREATE TABLE p (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);"
                   "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (50); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (50) TO (100);"
                   "INSERT INTO p SELECT generate_series(1, 99)")
    db.admin.execute("ALTER TABLE p2 OWNER TO other")


def test_partition_that_the_role_may_not_write_is_named_at_insert(db, parted):
    for job in ({"set_clause": "n = n + 1"}, {"add_column": "m int", "set_clause": "m = n"}):
        with pytest.raises(REFUSED) as refused:
            db.submit(target="p", **job)
        assert "role app has no right to SELECT and UPDATE on partition public.p2 of public.p, which belongs to other" in str(refused.value)
        assert refused.value.diag.message_hint == "As other: GRANT SELECT, UPDATE ON public.p2 TO app; then insert the job again."
    db.session("other").execute("GRANT SELECT, UPDATE ON p2 TO app")
    db.daemon()
    db.finish(db.submit(target="p", set_clause="n = n + 1"))
    assert db.counts("p") == {1: 99}


def test_partition_whose_definition_the_role_may_not_change_is_named(db, parted):
    db.daemon()
    job = db.finish(db.submit(target="p", enforce=["CHECK (n >= 0)"]), "failed")
    assert job["error"] == "role app lacks the owner's rights on partition public.p2 of public.p, which belongs to other"
    assert job["hint"].startswith("ALTER TABLE public.p2 OWNER TO app, or GRANT other TO app; then SELECT backfill.retry(")


@pytest.mark.parametrize("taken, error, hint", [
    ("REVOKE backfill_submitter FROM app, app_owner", "role app may run no job any more: it was taken out of backfill_submitter", "GRANT backfill_submitter TO app;"),
    ("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA backfill FROM backfill_submitter", "role app may use schema backfill no more: backfill_submitter has lost its rights on it", "Run backfilld --install, which grants them;"),
    ("REVOKE USAGE ON SCHEMA backfill FROM backfill_submitter", "role app may use schema backfill no more: backfill_submitter has lost its rights on it", "Run backfilld --install, which grants them;"),
    ("REVOKE USAGE ON SCHEMA place FROM app", "role app may not use schema place any more, where the job's table is", "GRANT USAGE ON SCHEMA place TO app;"),
    ("ALTER TABLE place.t OWNER TO other", "role app has no right to SELECT and UPDATE on place.t, which belongs to other", "As other: GRANT SELECT, UPDATE ON place.t TO app;"),
])
def test_right_that_is_taken_away_in_mid_job_is_named(db, taken, error, hint):
    db.admin.execute("CREATE SCHEMA place; GRANT ALL ON SCHEMA place TO app, other")
    db.table()
    db.daemon()
    try:
        with db.held_row(500):
            db.app.execute("ALTER TABLE t SET SCHEMA place")
            name = db.submit(target="place.t", set_clause="n = n + 1")
            db.wait_at(500, name)
            db.admin.execute(taken)
        job = db.finish(name, "failed")
        assert job["error"] == error and job["hint"] == f"{hint} then SELECT backfill.retry('{name}')."
    finally:
        if "--install" in hint:
            assert run("-d", db.conninfo(), "--install").returncode == 0
        db.admin.execute("GRANT backfill_submitter TO app, app_owner; GRANT USAGE ON SCHEMA place TO app; ALTER TABLE place.t OWNER TO app")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.counts("place.t") == {1: 1000}


def test_a_partition_that_is_given_away_in_mid_job_runs_no_trigger_of_its_new_owner(db):
    """Its statement's own triggers, too, which fire before any row is looked at."""
    db.app.execute("CREATE TABLE p (id bigint PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10000); INSERT INTO p SELECT generate_series(1, 5000)")
    db.session("other").execute("CREATE SEQUENCE fired; GRANT ALL ON SEQUENCE fired TO public; CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.fired'); RETURN NULL; END $$")
    db.daemon(max_rows=20)
    name = db.submit(target="p", set_clause="n = 1", where_clause="n IS NULL", max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(n) FROM p") > 100, what="it is in the middle of the partition")
    db.admin.execute("ALTER TABLE p DETACH PARTITION p1; ALTER TABLE p1 OWNER TO other; GRANT SELECT, UPDATE ON p1 TO app;"
                     "CREATE TRIGGER fire BEFORE UPDATE ON p1 FOR EACH STATEMENT EXECUTE FUNCTION fire()")
    db.finish(name)
    assert not db.one("SELECT is_called FROM fired") and db.one("SELECT count(*) FROM p1 WHERE n IS NULL") > 0


def test_who_may_execute_all_functions_makes_none_of_ours_a_trigger_of_theirs(db):
    db.table()
    db.submit(set_clause="n = 1", wanted="pause")
    db.admin.execute("CREATE SCHEMA theirs AUTHORIZATION other; GRANT USAGE ON SCHEMA backfill TO other; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA backfill TO other")
    names = [name for name, in db.all("SELECT proname::text FROM pg_proc WHERE pronamespace = 'backfill'::regnamespace AND prorettype = 'trigger'::regtype AND prosecdef")]
    assert len(names) == 3
    for name in names:
        with db.connect("other") as session:
            session.execute("CREATE TABLE theirs.t AS SELECT (j).* FROM (SELECT NULL::backfill.job AS j) AS r; UPDATE theirs.t SET id = 1, name = 'taken'")
            session.execute(f"CREATE TRIGGER x BEFORE UPDATE ON theirs.t FOR EACH ROW EXECUTE FUNCTION backfill.{name}()")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is no table of backfilld's"):
                session.execute("UPDATE theirs.t SET asked = 'x'")
            session.execute("DROP TABLE theirs.t")
    assert db.one("SELECT count(*) FROM backfill.job") == 1


@pytest.mark.parametrize("how", ["definer", "analyze"])
def test_code_of_others_sees_no_jobs_but_its_roles(db, how):
    """A session's login says nothing of who acts: in a function of somebody else it is whose session that is, in ANALYZE a superuser."""
    db.admin.execute(f"GRANT CREATE ON SCHEMA public TO other; GRANT CREATE ON DATABASE {db.name} TO app")
    db.app.execute("CREATE SCHEMA secret; CREATE TABLE secret.payroll (id bigint PRIMARY KEY, salary int, raise int); INSERT INTO secret.payroll SELECT i, i FROM generate_series(1, 50) i")
    db.daemon()
    name = db.submit(target="secret.payroll", set_clause="raise = salary * 2", where_clause="raise IS NULL", keep_in_sync=True, enforce=["CHECK (raise > 0)"])
    db.finish(name)
    job = f"jsonb_populate_record(NULL::backfill.job, jsonb_build_object('id', 0, 'set_clause', 'salary = 1', 'target', {db.one('''SELECT 'secret.payroll'::regclass::oid''')}::text))"
    peek = (f"INSERT INTO public.loot SELECT s::text FROM backfill.other_syncs({job}) s; INSERT INTO public.loot SELECT backfill.downstream_of({job});"
            "INSERT INTO public.loot SELECT b::text FROM backfill.job_beside b")
    other = db.session("other")
    other.execute(f"CREATE TABLE public.loot (what text); CREATE FUNCTION public.peek() RETURNS int LANGUAGE plpgsql {'SECURITY DEFINER' if how == 'definer' else ''} AS $$ BEGIN {peek}; RETURN 1; END $$")
    if how == "definer":
        db.app.execute("SELECT public.peek()")
    else:
        other.execute("CREATE FUNCTION public.i(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF session_user <> 'other' THEN PERFORM public.peek(); END IF; RETURN a; END $$;"
                      "CREATE TABLE public.mine (a int); CREATE INDEX ON public.mine (public.i(a)); INSERT INTO public.mine SELECT 1")
        db.admin.execute("ANALYZE public.mine")
    assert db.one("SELECT count(*) FROM public.loot") > 0 and db.one("SELECT count(what) FROM public.loot") == 0
    assert db.app.execute(f"SELECT name FROM backfill.other_syncs({job})").fetchall() == [(name,)]
    assert db.app.execute(f"SELECT backfill.downstream_of({job})").fetchall() == [(name,)]


# ---- What comes into the way of a job's names, and of its key's types, in mid-job


@pytest.fixture
def shared(db):
    """A schema in which others create, too, before one of app's own; a table of app's, and what only app may read."""
    db.admin.execute("CREATE SCHEMA shared; GRANT ALL ON SCHEMA shared TO app, other; CREATE SCHEMA mine AUTHORIZATION app")
    db.app.execute("CREATE TABLE mine.orders (id int PRIMARY KEY, n int); INSERT INTO mine.orders SELECT g FROM generate_series(1, 2000) g; CREATE TABLE mine.prices (id int, p int); INSERT INTO mine.prices SELECT g, 7 FROM generate_series(1, 2000) g;"
                   "CREATE FUNCTION mine.price(bigint) RETURNS int LANGUAGE sql AS 'SELECT 7'; CREATE TABLE mine.secret (s int); INSERT INTO mine.secret VALUES (4711)")
    db.session("other").execute("CREATE SEQUENCE shared.leak; GRANT ALL ON SEQUENCE shared.leak TO public; CREATE FUNCTION shared.take() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM setval('shared.leak', (SELECT s FROM mine.secret)); RETURN 8; END $$;"
                                "CREATE FUNCTION shared.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.take(); RETURN NEW; END $$")
    return db


@pytest.mark.parametrize("statement", ["UPDATE orders SET n = 7 WHERE {batch}", 'UPDATE ONLY ("orders") SET n = 7 WHERE {batch}',
                                       "WITH part AS (SELECT id FROM (orders o JOIN prices p USING (id)) WHERE {batch o}) UPDATE mine.orders SET n = 7 FROM part WHERE part.id = orders.id"])
def test_a_table_that_others_put_before_a_statements_own_in_mid_job_stops_it_before_it_runs(shared, statement):
    db = shared
    db.daemon(max_rows=20)
    with db.connect("app") as session:
        session.execute("SET search_path = shared, mine")
        name = db.submit(session=session, target="orders", max_rows_per_s=500, statement=statement)
    wait_until(lambda: db.one("SELECT count(n) FROM mine.orders") > 100, what="it is on its way")
    db.session("other").execute("CREATE TABLE shared.prices (i int); CREATE TABLE shared.orders (id int PRIMARY KEY, n int); INSERT INTO shared.orders SELECT g FROM generate_series(1, 2000) g; GRANT ALL ON shared.orders TO public;"
                                "CREATE TRIGGER fire BEFORE UPDATE ON shared.orders FOR EACH ROW EXECUTE FUNCTION shared.fire(); DROP TABLE shared.prices")
    failed = db.finish(name, "failed")
    assert "orders" in failed["error"] and failed["error"].endswith(" in the statement means shared.orders by now, and not mine.orders") and f"SELECT backfill.retry('{name}')" in failed["hint"]
    assert not db.one("SELECT is_called FROM shared.leak") and db.counts("shared.orders") == {None: 2000}
    db.session("other").execute("DROP TABLE shared.orders")
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL; SELECT backfill.retry('%s')" % name)
    db.finish(name)
    assert db.all("SELECT n, count(*) FROM mine.orders GROUP BY 1") == [(7, 2000)]


KEYS_OF_OTHERS = {  # a type of another's, and values of it
    "an enum": ("CREATE TYPE theirs.k AS ENUM ('a', 'b')", "theirs.k", "'b'"),
    "an array": ("CREATE TYPE theirs.k AS ENUM ('a', 'b')", "theirs.k[]", "ARRAY['b', NULL]::theirs.k[]"),
    "a composite type": ("CREATE TYPE theirs.k AS (x int, y text)", "theirs.k", "ROW(g, 'a, \"b\"\\')::theirs.k"),
    "a range": ("CREATE TYPE theirs.k AS RANGE (subtype = numeric)", "theirs.k", "theirs.k(g, NULL)"),
}


@pytest.mark.parametrize("kind", KEYS_OF_OTHERS)
def test_casts_of_a_keys_type_are_called_by_nobody(shared, kind):
    """They are its owner's to make, at any time, for whoever trusts him and for who doesn't: nothing that the table's owner does himself calls them."""
    db = shared
    create, type, value = KEYS_OF_OTHERS[kind]
    db.admin.execute("CREATE SCHEMA theirs AUTHORIZATION other; GRANT USAGE ON SCHEMA theirs TO public")
    db.session("other").execute(f"""{create};
        CREATE FUNCTION theirs.evil({type}) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.take(); RETURN 'b'; END $$; CREATE CAST ({type} AS text) WITH FUNCTION theirs.evil({type});
        CREATE FUNCTION theirs.evil(text) RETURNS {type} LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.take(); RETURN NULL; END $$; CREATE CAST (text AS {type}) WITH FUNCTION theirs.evil(text)""")
    db.app.execute(f"CREATE TABLE mine.t (id int, k {type}, n int, m int, PRIMARY KEY (k, id)); INSERT INTO mine.t SELECT g, {value} FROM generate_series(1, 1000) g; ALTER TABLE mine.t ADD CHECK (id <> 500 OR n <> 1)")
    db.daemon(max_rows=50)
    with db.connect("app") as session:
        session.autocommit = False
        session.execute("SELECT FROM mine.t WHERE id = 700 FOR UPDATE")
        name = db.submit(target="mine.t", set_clause="n = 1", on_error="quarantine")
        wait_until(lambda: db.one("SELECT count(n) FROM mine.t") == 998, what="all others are done")
        session.rollback()
    job = db.finish(name)
    assert db.all("SELECT n, count(*) FROM mine.t GROUP BY 1 ORDER BY 1") == [(1, 999), (None, 1)] and job["report"].get("not_proven") is not None
    assert str(500) in str(db.all("SELECT key FROM backfill.left_behind"))
    db.finish(db.submit(target="mine.t", set_clause="m = 2", where_clause="m IS NULL", enforce=["NOT NULL n"]), "failed")
    assert "1 row stands in the way of t_n_not_null: row k = " in db.one("SELECT error FROM backfill.job WHERE enforce IS NOT NULL")
    assert not db.one("SELECT is_called FROM shared.leak")


@pytest.mark.parametrize("type, value", [("shared.d[]", "ARRAY[g]::shared.d[]"), ("shared.pair", "ROW(g)::shared.pair"), ("shared.span", "shared.span(g, NULL)")])
def test_check_of_a_domain_within_a_keys_type_runs_with_nobodys_rights(shared, type, value):
    """Whoever reads the text of a value runs it: a plain UPDATE doesn't."""
    db = shared
    db.session("other").execute("""CREATE FUNCTION shared.is_right(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.take(); RETURN true; END $$;
        CREATE DOMAIN shared.d AS int; CREATE TYPE shared.pair AS (a shared.d); CREATE TYPE shared.span AS RANGE (subtype = shared.d)""")
    db.app.execute(f"CREATE TABLE mine.t (k {type} PRIMARY KEY, n int); INSERT INTO mine.t SELECT {value} FROM generate_series(1, 100) g")
    db.session("other").execute("ALTER DOMAIN shared.d ADD CHECK (shared.is_right(VALUE)) NOT VALID")
    with pytest.raises(psycopg.Error, match="has no key to walk by .not by mine.t_pkey.*made of domains"):
        db.submit(target="mine.t", set_clause="n = 1")
    db.daemon()
    db.finish(db.submit(target="mine.t", set_clause="n = 1", where_clause="n IS NULL"))  # by ctid
    assert not db.one("SELECT is_called FROM shared.leak")


def test_function_of_a_keys_range_type_runs_with_nobodys_rights(shared):
    """The planner calls it, where a condition asks for ranges between two: batches do, a plain UPDATE doesn't."""
    db = shared
    db.session("other").execute("""CREATE FUNCTION shared.diff(numeric, numeric) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.take(); RETURN 1; END $$;
        ALTER FUNCTION shared.diff(numeric, numeric) IMMUTABLE; CREATE TYPE shared.k AS RANGE (subtype = numeric, subtype_diff = shared.diff)""")
    db.app.execute("CREATE TABLE mine.t (k shared.k PRIMARY KEY, n int); INSERT INTO mine.t SELECT shared.k(g, g + 1) FROM generate_series(1, 1000) g")
    with pytest.raises(psycopg.Error, match="has no key to walk by .not by mine.t_pkey.*a range with a function"):
        db.submit(target="mine.t", set_clause="n = 1")


@pytest.mark.parametrize("named, type, value", [("int4range", "mine.d", "int4range(g, g + 1)"), ('"char"', '"char"', "(g % 100 + 20)::\"char\""), ("text", "text[]", "ARRAY[g::text]")])
def test_type_of_a_name_of_the_servers_own_runs_with_nobodys_rights(shared, named, type, value):
    """Where the job's search_path names pg_catalog behind a schema in which others make types."""
    db = shared
    db.app.execute(f"CREATE DOMAIN mine.d AS int4range; CREATE TABLE mine.t (k {type}, i int, n int, PRIMARY KEY (k, i)); INSERT INTO mine.t SELECT {value}, g FROM generate_series(1, 1000) g")
    db.daemon(max_rows=20)
    with db.connect("app") as session:
        session.execute("SET search_path = shared, mine, pg_catalog")
        name = db.submit(session=session, target="mine.t", set_clause="n = 1", max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(n) FROM mine.t") > 100, what="it is on its way")
    db.session("other").execute(f"""CREATE FUNCTION shared.is_right(pg_catalog.{named}) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.take(); RETURN true; END $$;
        CREATE DOMAIN shared.{named} AS pg_catalog.{named} CHECK (shared.is_right(VALUE))""")
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL")
    db.finish(name)
    assert db.one("SELECT count(n) FROM mine.t") == 1000 and not db.one("SELECT is_called FROM shared.leak")


def test_a_domain_over_anothers_type_is_no_key(shared):
    """Its name must stand in batches, and may be another type's by the time it is read."""
    db = shared
    db.session("other").execute("CREATE TYPE shared.e AS ENUM ('a', 'b'); GRANT USAGE ON TYPE shared.e TO app")
    db.app.execute("CREATE DOMAIN mine.d AS shared.e; CREATE TABLE mine.t (k mine.d PRIMARY KEY, n int)")
    with pytest.raises(psycopg.Error, match="key column k is a domain over shared.e, a type of other, which lacks the rights of app"):
        db.submit(target="mine.t", set_clause="n = 1")


def test_a_type_that_comes_under_the_name_of_a_keys_own_runs_no_code(shared):
    db = shared
    db.session("other").execute("CREATE TYPE shared.pair AS (x int); CREATE FUNCTION shared.is_right(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.take(); RETURN true; END $$")
    db.app.execute("CREATE TABLE mine.t (k shared.pair PRIMARY KEY, n int); INSERT INTO mine.t SELECT ROW(g)::shared.pair FROM generate_series(1, 2000) g")
    db.daemon(max_rows=20)
    name = db.submit(target="mine.t", set_clause="n = 1", where_clause="n IS NULL", max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(n) FROM mine.t") > 100, what="it is on its way")
    db.session("other").execute("BEGIN; ALTER TYPE shared.pair RENAME TO old; CREATE TYPE shared.part AS (x int); CREATE DOMAIN shared.pair AS shared.part CHECK (shared.is_right((VALUE).x)); COMMIT")
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL")
    db.finish(name)
    assert not db.one("SELECT is_called FROM shared.leak") and db.one("SELECT count(n) FROM mine.t") == 2000
