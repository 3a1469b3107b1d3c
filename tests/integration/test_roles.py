"""A role is more than its name: one that was made again under it is another, one that was renamed the same."""

import psycopg
import pytest

from waiting import wait_until


@pytest.fixture
def temp(db):
    """A role that comes and goes; its name is the test's own, as roles are the cluster's."""
    name = f"temp_{db.name}"
    db.admin.execute(f"CREATE ROLE {name} LOGIN IN ROLE backfill_submitter; GRANT ALL ON SCHEMA public TO {name}")
    yield name
    for role in (name, f"{name}_now"):
        if db.one("SELECT count(*) FROM pg_roles WHERE rolname = %s", role):
            db.admin.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def drop_and_make_again(db, name, superuser="SUPERUSER"):
    db.admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", name), what="its sessions are gone")
    db.admin.execute(f"REASSIGN OWNED BY {name} TO other; DROP OWNED BY {name}; DROP ROLE {name}; CREATE ROLE {name} LOGIN {superuser} IN ROLE backfill_submitter")


def test_role_that_was_made_again_runs_nothing_of_the_old_ones_jobs(db, temp):
    db.session(temp).execute("CREATE TABLE t (id int PRIMARY KEY, who text); INSERT INTO t VALUES (1);"
                             "CREATE FUNCTION public.evil() RETURNS text LANGUAGE sql AS $$ SELECT current_user || current_setting('is_superuser') $$")
    name = db.submit(user=temp, set_clause="who = public.evil()")
    drop_and_make_again(db, temp)
    db.daemon()
    job = db.finish(name, "failed")
    assert "is gone" in job["error"] and "another role" in job["error"] and "backfill.retry" in job["hint"]
    assert db.one("SELECT who FROM t") is None
    db.session("other").execute("SELECT backfill.retry(%s)", [name])  # the table's owner by now: they mean its text
    db.finish(name)
    assert db.one("SELECT who FROM t") == "otheroff" and db.job(name)["submitted_by"] == "other"


def test_role_that_was_made_again_sees_nothing_of_the_old_ones_jobs(db, temp):
    db.table("t", rows=10, user=temp)
    name = db.submit(user=temp, set_clause="n = 1", wanted="pause")
    drop_and_make_again(db, temp, "NOSUPERUSER")
    with db.connect(temp) as session:
        assert session.execute("SELECT count(*) FROM backfill.job").fetchone()[0] == 0
        with pytest.raises(psycopg.Error, match="no job"):
            session.execute("SELECT backfill.resume(%s)", [name])


def test_role_that_was_made_again_while_the_job_ran_gets_no_session(db, temp):
    """The worker's session was lost, and is opened by the role's name."""
    db.table("t", rows=1000, user=temp)
    db.daemon(max_rows=50)
    with db.held_row(500):
        name = db.submit(user=temp, set_clause="n = n + 1")
        db.wait_at(500, name)
        drop_and_make_again(db, temp)
        job = db.finish(name, "failed")
    assert "is gone: who bears the name now is another role" in job["error"] and "backfill.retry" in job["hint"]


def test_role_that_was_made_again_takes_nothing_out_of_the_table(db, temp):
    db.table("t", rows=10, user=temp)
    db.daemon()
    name = db.submit(user=temp, add_column="c int", set_clause="c = n + 1", keep_in_sync=True)
    db.finish(name)
    db.daemons[0].terminate()
    db.session(temp).execute("SELECT backfill.finish(%s)", [name])
    drop_and_make_again(db, temp)
    db.start(config=db.config())
    wait_until(lambda: db.job(name)["error"], what="it says why not")
    assert "is gone" in db.job(name)["error"] and db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal") > 0
    db.session("other").execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal"), what="its trigger is gone")


def test_renamed_role_keeps_its_jobs(db, temp):
    """One that is queued, and one whose session is lost in the middle."""
    db.table("t", rows=1000, user=temp)
    db.table("u", rows=10, user=temp)
    queued = db.submit(user=temp, target="u", set_clause="n = n + 1", wanted="pause")
    db.daemon(max_rows=50)
    with db.held_row(500):
        name = db.submit(user=temp, set_clause="n = n + 1")
        db.wait_at(500, name)
        db.session(temp).close()
        db.admin.execute(f"ALTER ROLE {temp} RENAME TO {temp}_now")
        with db.connect(f"{temp}_now") as session:
            assert session.execute("SELECT count(*) FROM backfill.job").fetchone()[0] == 2
            session.execute("SELECT backfill.resume(%s)", [queued])
        db.finish(queued)
        db.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [f"backfilld {name}"])
        wait_until(lambda: db.job(name)["submitted_by"] == f"{temp}_now", what="it was claimed under today's name")
    db.finish(name)
    assert db.counts() == {1: 1000} and db.job(queued)["submitted_by"] == f"{temp}_now"


def test_oids_that_a_dump_has_brought_from_elsewhere_are_nobodys_here(db):
    """There they were app's; here another role has the number. Until its owner wants the job here the names count."""
    db.table(rows=10)
    name = db.submit(set_clause="n = n + 1", wanted="pause")
    db.admin.execute("UPDATE backfill.job SET home = '1/1/1', submitted_by_oid = 'other'::regrole, owner_oid = 'other'::regrole")
    assert db.session("other").execute("SELECT count(*) FROM backfill.job").fetchone()[0] == 0
    with pytest.raises(psycopg.Error, match="no job"):
        db.session("other").execute("SELECT backfill.resume(%s)", [name])
    db.app.execute("SELECT backfill.resume(%s)", [name])
    assert db.all("SELECT submitted_by_oid::regrole::text, owner_oid::regrole::text FROM backfill.job") == [("app", "app")]
    db.daemon()
    db.finish(name)
    assert db.counts() == {1: 10}


def test_ten_thousand_jobs_of_another_are_no_wait_for_who_looks_at_ones_own(db):
    db.table(rows=10)
    db.table("theirs", rows=10, user="other")
    db.submit(name="mine", set_clause="n = 1", wanted="pause")
    db.submit(name="x", user="other", target="theirs", set_clause="n = 1", wanted="pause")
    columns = db.one("SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attrelid = 'backfill.job'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('id', 'name')")
    db.admin.execute(f"ALTER TABLE backfill.job DISABLE TRIGGER USER; INSERT INTO backfill.job (name, {columns}) SELECT 'x' || g, {columns} FROM backfill.job, generate_series(1, 10000) g WHERE name = 'x';"
                     "ALTER TABLE backfill.job ENABLE TRIGGER USER; ANALYZE backfill.job")
    db.app.execute("SET statement_timeout = '5s'")
    assert db.app.execute("SELECT name FROM backfill.status").fetchall() == [("mine",)]
    db.app.execute("UPDATE backfill.job SET priority = 1; SELECT backfill.cancel('mine')")
    assert db.one("SELECT count(*) FROM backfill.job WHERE priority = 1") == 1


def test_login_that_lost_the_jobs_role_runs_no_more_batches(db, temp):
    """Its session is that role already, and stays it."""
    db.admin.execute(f"GRANT app TO {temp}")
    db.table("t", rows=5000)
    db.daemon(max_rows=50)
    with db.connect(temp) as session:
        session.execute("SET ROLE app")
        name = db.submit(session=session, set_clause="n = n + 1", max_rows_per_s=300)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 0, what="it is at work")
    db.admin.execute(f"REVOKE app FROM {temp}")
    job = db.finish(name, "failed")
    assert job["error"] == f"{temp} may not become app any more, the role of the job" and f"GRANT app TO {temp}, then SELECT backfill.retry('job-1')" in job["hint"], (job["error"], job["hint"])
    assert 0 < db.one("SELECT count(*) FROM t WHERE n = 1") < 5000


@pytest.mark.parametrize("change", ["SELECT backfill.pause('left')", "UPDATE backfill.job SET max_rows_per_s = 5000, priority = 1", "SELECT * FROM backfill.pause_all()", "UPDATE backfill.job SET wanted = 'run'"])
def test_a_job_whose_login_is_gone_is_its_tables_owners_by_retry_alone(db, temp, change):
    """Its text runs with the rights of whoever it is then."""
    db.table()
    db.app.execute(f"GRANT SELECT, UPDATE ON t TO {temp}")
    db.session(temp).execute("INSERT INTO backfill.job (name, target, set_clause, wanted) VALUES ('left', 't', 'n = 1', 'pause')")
    db.admin.execute(f"ALTER ROLE {temp} NOLOGIN")
    db.app.execute(change)
    job = db.job("left")
    assert (job["submitted_by"], job["owner"]) == (temp, temp)


@pytest.mark.parametrize("gone", ["login", "role", "member"])
def test_a_job_that_is_taken_over_is_read_in_the_names_of_who_takes_it(db, temp, gone):
    """A word of its text that means the server's function to him was a function of who has gone, in a schema of theirs."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a numeric, b bigint); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i; CREATE TABLE secret (x text)")
    group = f"{temp}_now"
    db.admin.execute(f"CREATE ROLE {group} IN ROLE backfill_submitter; GRANT {group} TO {temp}; CREATE SCHEMA theirs AUTHORIZATION {temp}; GRANT USAGE ON SCHEMA theirs TO PUBLIC; GRANT ALL ON SCHEMA public TO {group}")
    db.app.execute(f"GRANT SELECT, UPDATE ON t TO {temp}, {group}")
    with db.connect(temp) as session:
        session.execute("CREATE FUNCTION theirs.round(numeric) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN IF current_user = 'app' THEN RAISE EXCEPTION 'runs as app'; ELSE RAISE division_by_zero; END IF; END $$")
        if gone != "login":
            session.execute(f"SET ROLE {group}")
        session.execute("SET search_path = theirs, pg_catalog, public")
        session.execute("INSERT INTO backfill.job (name, target, set_clause, where_clause) VALUES ('left', 't', 'b = round(a)', 'b IS NULL')")
    db.daemon()
    db.finish("left", "failed")
    db.admin.execute({"login": f"ALTER ROLE {temp} NOLOGIN", "role": f"DROP OWNED BY {group}; DROP ROLE {group}", "member": f"REVOKE {group} FROM {temp}"}[gone])
    db.app.execute("SELECT backfill.retry('left')")
    job = db.finish("left")
    assert (job["submitted_by"], job["owner"]) == ("app", "app") and "theirs" not in job["search_path"]
    assert db.one("SELECT count(*) FROM t WHERE b = a") == 100


@pytest.mark.parametrize("wish", ["finish", "cancel", "undo"])
def test_the_tables_owner_takes_out_what_is_left_of_whose_login_is_gone(db, temp, wish):
    """With the rights of the owner's own: nobody has to become who has gone."""
    db.table(rows=10, columns="n int, a int DEFAULT 1")
    db.admin.execute(f"GRANT app TO {temp}")
    db.daemon()
    name = db.submit(temp, set_clause="n = a", where_clause="n IS NULL", keep_in_sync=True)
    db.finish(name)
    db.admin.execute(f"ALTER ROLE {temp} NOLOGIN")
    db.app.execute(f"SELECT backfill.{wish}(%s)", [name])
    wait_until(lambda: not db.one("SELECT tidy FROM backfill.job"), what="it is taken out")
    assert db.job(name)["error"] is None and db.one("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'backfilld'") == 0


def test_a_replicas_session_gives_the_tables_owner_no_more_rights_on_anothers_job(db, temp):
    """Triggers that are no replica's would not fire there."""
    db.table()
    db.app.execute(f"GRANT SELECT, UPDATE ON t TO {temp}")
    db.session(temp).execute("INSERT INTO backfill.job (name, target, set_clause, wanted) VALUES ('theirs', 't', 'n = 1', 'pause')")
    db.admin.execute("GRANT SET ON PARAMETER session_replication_role TO app")
    try:
        db.app.execute("SET session_replication_role = replica; UPDATE backfill.job SET wanted = 'run'; UPDATE backfill.job SET active_hours = 'rubbish'; RESET session_replication_role")
        job = db.job("theirs")
        assert (job["wanted"], job["state"], job["active_hours"]) == ("pause", "paused", None)
    finally:
        db.admin.execute("REVOKE SET ON PARAMETER session_replication_role FROM app")


@pytest.mark.parametrize("phase", ["preflight", "expand"])
def test_what_is_added_for_who_takes_a_job_over_is_what_they_would_have_added(db, temp, phase):
    """The type of a column was looked up when the job was inserted: it is theirs who has gone, and its CHECKs would run with the owner's rights."""
    db.close_public()
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i; CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 * 2")
    db.admin.execute(f"GRANT app TO {temp}; CREATE SCHEMA theirs AUTHORIZATION {temp}; GRANT USAGE ON SCHEMA theirs TO PUBLIC")
    with db.connect(temp) as session:
        session.execute("CREATE DOMAIN theirs.text AS pg_catalog.text; SET ROLE app; SET search_path = theirs, pg_catalog, public")
        session.execute("INSERT INTO backfill.job (name, target, add_column, set_clause) VALUES ('left', 't', 'c text', 'c = twice(a)::text')")
    db.admin.execute("UPDATE backfill.job SET state = 'failed', phase = %s", [phase])  # for whatever reason
    db.admin.execute(f"REVOKE app FROM {temp}; ALTER ROLE {temp} NOLOGIN")
    if phase == "expand":
        with pytest.raises(psycopg.Error, match='job "left" means another type or another table under your search_path') as refused:
            db.app.execute("SELECT backfill.retry('left')")
        assert "SELECT backfill.undo('left')" in refused.value.diag.message_hint
        return
    db.app.execute("SELECT backfill.retry('left')")
    db.daemon()
    job = db.finish("left")
    assert db.one("SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'c'") == "text" and '"$user", public' in job["search_path"]
    assert db.one("SELECT count(*) FROM t WHERE c = (a * 2)::text") == 100


def test_the_trigger_of_a_table_that_was_given_away_goes_when_its_new_owner_cancels_the_job(db):
    """The functions are still the old owner's, and may not fill the new one's table for ever."""
    db.session("other").execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i")
    db.daemon()
    name = db.submit(user="other", set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True)
    db.finish(name)
    db.admin.execute("ALTER TABLE t OWNER TO app")
    db.app.execute("SELECT backfill.cancel(%s)", [name])
    wait_until(lambda: not db.one("SELECT tidy FROM backfill.job"), what="it is taken out")
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass") == db.one("SELECT count(*) FROM pg_proc WHERE proname ~ '^backfilld_sync'") == 0
