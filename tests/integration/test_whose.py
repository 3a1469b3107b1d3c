"""Whose rights: a job is of whoever chose its text, whatever runs that text, under whatever name, in whatever path."""

import psycopg
import pytest

from daemon import run
from waiting import wait_until

REFUSED = psycopg.errors.InsufficientPrivilege

# What the hostile role has: a table whose index calls a function of theirs, and one that their job fills with who it runs as.
HOSTILE = """
    CREATE TABLE bait (id int PRIMARY KEY, x int); INSERT INTO bait SELECT g, g FROM generate_series(1, 100) g;
    CREATE TABLE loot (id int PRIMARY KEY, who text); INSERT INTO loot VALUES (1);
    GRANT ALL ON loot TO PUBLIC;
    CREATE FUNCTION public.index_it(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
    CREATE INDEX ON bait (public.index_it(x));
    CREATE FUNCTION public.evil() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
      PERFORM pg_catalog.set_config('role', 'none', false);
      RETURN session_user || '/' || current_user; END $$;
    CREATE OR REPLACE FUNCTION public.index_it(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN
      IF current_user = 'other' AND (session_user <> 'other' OR pg_catalog.current_setting('role') <> 'none') THEN
        INSERT INTO backfill.job (name, target, set_clause) VALUES ('pwn', 'public.loot', 'who = public.evil()') ON CONFLICT DO NOTHING;
      END IF;
      RETURN i; END $$"""


def by_autovacuum(db):
    db.admin.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    db.admin.execute("SELECT pg_reload_conf()")
    db.session("other").execute("ALTER TABLE bait SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0); UPDATE bait SET id = -id")
    try:
        wait_until(lambda: db.one("SELECT count(*) FROM backfill.job"), 40, "autovacuum has been there")
    finally:
        db.admin.execute("ALTER SYSTEM RESET autovacuum_naptime")
        db.admin.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("deed", ["ANALYZE bait", "VACUUM ANALYZE bait", "REINDEX TABLE bait", "SET ROLE other; ANALYZE bait", "SET ROLE other; REINDEX TABLE bait",
                                  by_autovacuum])
def test_what_the_server_runs_in_the_name_of_a_tables_owner_is_that_owners_job(db, deed):
    """Also where a superuser has set that very role: its code may not set another there."""
    db.session("other").execute(HOSTILE)
    if callable(deed):
        deed(db)
    else:
        with db.connect("postgres") as superuser:
            for command in deed.split("; "):
                superuser.execute(command)
    job = db.job("pwn")
    assert (job["submitted_by"], job["owner"]) == ("other", "other")
    db.daemon()
    db.finish("pwn")
    assert db.one("SELECT who FROM loot") == "other/other"


def test_set_role_alone_leaves_the_login_that_it_was(db):
    db.table(rows=10)
    with db.connect("postgres") as superuser:
        superuser.execute("SET ROLE app")
        name = db.submit(session=superuser, set_clause="n = 1")
    assert (db.job(name)["submitted_by"], db.job(name)["owner"]) == ("postgres", "app")


def definer(db, owner, name, body, returns="void"):
    """A SECURITY DEFINER function that everybody may call."""
    db.admin.execute(f"CREATE FUNCTION public.{name}() RETURNS {returns} LANGUAGE plpgsql SECURITY DEFINER AS $$ {body} $$;"
                     f"ALTER FUNCTION public.{name}() OWNER TO {owner}; GRANT EXECUTE ON FUNCTION public.{name}() TO PUBLIC")


INSERT = "BEGIN INSERT INTO backfill.job (name, target, set_clause) VALUES ('theirs', '{0}', 'n = n + 1'); END"


@pytest.mark.parametrize("caller, before", [("app", ""), ("postgres", ""), ("app", "SET ROLE app_owner"), ("postgres", "SET ROLE other"), ("other", "")])
def test_what_a_definer_function_inserts_is_its_owners_job(db, caller, before):
    db.table("t", rows=10, user="other")
    definer(db, "other", "insert_it", INSERT.format("t"))
    with db.connect(caller) as session:
        if before:
            session.execute(before)
        session.execute("SELECT public.insert_it()")
    job = db.job("theirs")
    assert (job["submitted_by"], job["owner"]) == ("other", "other")
    db.daemon()
    db.finish("theirs")


def test_definer_function_of_a_role_that_cannot_log_in_inserts_none(db):
    db.admin.execute("CREATE TABLE t (id int PRIMARY KEY, n int); ALTER TABLE t OWNER TO app_owner")
    definer(db, "app_owner", "insert_it", INSERT.format("t"))
    with pytest.raises(REFUSED, match="can't log in") as refused:
        db.app.execute("SELECT public.insert_it()")
    assert "Insert the job outside" in refused.value.diag.message_hint and db.one("SELECT count(*) FROM backfill.job") == 0


# ---- Code of others that a login has only happened to call

CALLS = {
    "reads jobs": "SELECT count(*) FROM backfill.job",
    "reads status": "SELECT count(*) FROM backfill.status",
    "reads ranges": "SELECT count(*) FROM backfill.range",
    "reads left_behind": "SELECT count(*) FROM backfill.left_behind",
    "reads tokens": "SELECT count(*) FROM backfill.token",
    **{call: f"SELECT count(backfill.{call}('half')::text)" for call in ("pause", "resume", "cancel", "finish", "undo", "is_done")},
    **{call: f"SELECT count(backfill.{call}('done')::text)" for call in ("retry", "forget")},
    "effect": "SELECT count(*) FROM backfill.effect('done')",
    "updates": "WITH u AS (UPDATE backfill.job SET wanted = 'cancel' RETURNING 1) SELECT count(*) FROM u",
    "asks": "WITH u AS (UPDATE backfill.job SET asked = 'forget' RETURNING 1) SELECT count(*) FROM u",
    "locks": "SELECT count(*) FROM (SELECT FROM backfill.job FOR UPDATE) j",
    "reads a job by its number": "SELECT count(j.id) FROM generate_series(-1000, 1000) n, backfill.own_job(n) j WHERE j.id IS NOT NULL",
    "asks for a step": "SELECT count(*) FROM generate_series(-1000, 1000) n WHERE backfill.step_is_wanted(n, 'backfill')",
    "has looked": "SELECT count(*) - 2001 FROM (SELECT backfill.note_look(n) FROM generate_series(-1000, 1000) n OFFSET 0) f",
    "notes": "SELECT count(*) - 2001 FROM (SELECT backfill.note_constraint(n, 'x') FROM generate_series(-1000, 1000) n OFFSET 0) f",
}


@pytest.fixture
def jobs(db):
    """Jobs of app: one that stands in the middle, one that has left a row behind because it was locked, one that has ended."""
    db.table(rows=1000)
    db.table("u", rows=10)
    daemon = db.daemon(max_rows=50, workers=3)
    db.submit(name="done", target="u", set_clause="n = n + 1 / (id - 5)::int", on_error="quarantine")
    db.finish("done")
    with db.held_row(500), db.locked_rows("id = 3", table="u"):
        db.submit(name="half", set_clause="n = n + 1", on_error="quarantine")
        db.wait_at(500, "half")
        db.submit(name="locked", target="u", set_clause="n = 7", where_clause="n <> 7")
        wait_until(lambda: db.left_behind("locked"), what="a row was put aside")
        yield daemon


def test_definer_function_of_another_sees_and_steers_no_job_of_its_caller(db, jobs):
    look = "SELECT id, wanted, state, guard_looked_at, plan FROM backfill.job ORDER BY id"
    noted = db.all(look)
    for call, query in CALLS.items():
        name = "reach_" + call.replace(" ", "_")
        definer(db, "other", name, f"DECLARE found_ bigint; BEGIN {query} INTO found_; RETURN found_; END", "bigint")
        try:
            assert db.app.execute(f"SELECT public.{name}()").fetchone()[0] == 0, call
        except psycopg.Error as refused:
            assert refused.sqlstate in ("42501", "02000"), (call, refused)
        assert db.all(look) == noted, call


def test_checkpoint_is_the_workers_to_call(db, jobs):
    """A definer function of another knows the range, where its cursor stands, and the epoch."""
    half, locked = (db.one("SELECT id FROM backfill.job WHERE name = %s", name) for name in ("half", "locked"))
    at, cursor = db.all("SELECT id, cursor FROM backfill.range WHERE job_id = %s", half)[0]
    epoch = db.one("SELECT epoch FROM backfill.range WHERE id = %s", at)
    row, row_epoch = db.all("SELECT id, epoch FROM backfill.left_behind WHERE job_id = %s", locked)[0]
    definer(db, "other", "forge", f"""DECLARE done text := ''; BEGIN
        FOR e IN 0 .. 300 LOOP
          BEGIN PERFORM backfill.checkpoint(e, {at}, {epoch}, NULL, '{cursor[0]}'::text[], '{{1000}}', 0, 0, 0, NULL); done := done || 'checkpoint ' || e;
          EXCEPTION WHEN SQLSTATE 'BF001' THEN NULL; END;
          BEGIN PERFORM backfill.rows_done(e, ARRAY[{row}]::bigint[], {row_epoch or 0}, 1, 1); done := done || 'row ' || e; EXCEPTION WHEN SQLSTATE 'BF001' THEN NULL; END;
        END LOOP;
        RETURN done; END""".replace(f"'{cursor[0]}'", f"'{{{cursor[0]}}}'"), "text")
    assert db.app.execute("SELECT public.forge()").fetchone()[0] == ""
    assert db.cursor("half") == cursor and db.left_behind("locked")
    assert db.one("SELECT min(epoch) > 1000000 FROM backfill.range WHERE epoch IS NOT NULL")


def test_epochs_are_drawn_anew_each_time(db):
    db.table(rows=10)
    db.daemon()
    epochs = set()
    for _ in range(5):
        name = db.submit(set_clause="n = n + 1")
        db.finish(name)
        epochs.add(db.one("SELECT epoch FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id WHERE j.name = %s", name))
    assert len(epochs) == 5 and min(epochs) > 2**32 and max(epochs) < 2**63


def test_nobody_but_the_daemon_reads_a_token(db, jobs):
    for role in ("app", "other", "watcher", "stranger"):
        with pytest.raises(REFUSED):
            db.session(role).execute("SELECT * FROM backfill.token")


# ---- A schema that somebody else has made

@pytest.fixture
def pretended(db2):
    """A schema of the right name, with a view of the right name: what it runs notes as whom."""
    db2.admin.execute(f"DROP SCHEMA backfill CASCADE; GRANT CREATE ON DATABASE {db2.name} TO other, backfilld; CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC")
    db2.session("other").execute("""
        CREATE SCHEMA backfill; GRANT USAGE ON SCHEMA backfill TO PUBLIC;
        CREATE FUNCTION backfill.v() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (current_user); RETURN 6; END $$;
        CREATE VIEW backfill.installed AS SELECT backfill.v() AS version, 'x'::text AS checksum;
        GRANT SELECT ON backfill.installed TO PUBLIC""")
    return db2


def test_schema_of_another_role_is_not_read(pretended):
    """As a superuser neither, who is a member of every role."""
    for role in ("backfilld", "postgres"):
        conninfo = pretended.cluster.conninfo(pretended.name, role)
        pretended.start("-d", conninfo).says("schema backfill belongs to role other")
        for mode in ("--install", "--check", "--drain"):
            ended = run("-d", conninfo, mode)
            said = ended.stdout + ended.stderr
            assert ended.returncode == 1 and "belongs to role other" in said and "Run backfilld as the role that has installed" in said, (mode, said)
    assert pretended.all("SELECT * FROM ran") == []


def test_what_is_called_installed_must_be_a_table(db):
    db.admin.execute("ALTER TABLE backfill.installed RENAME TO was; CREATE VIEW backfill.installed AS SELECT * FROM backfill.was; ALTER VIEW backfill.installed OWNER TO backfilld")
    for mode in ("--check", "--install"):
        ended = run("-d", db.conninfo(), mode)
        assert ended.returncode == 1 and "installed is no table" in ended.stdout + ended.stderr


# ---- Another's job on one's table

@pytest.fixture
def lodger(db):
    """A table of app's with a job on it of other, who may update one column of it, and no more."""
    db.table(rows=2000)
    db.app.execute("GRANT SELECT, UPDATE (n) ON t TO other")
    db.submit("other", name="theirs", set_clause="n = n + 1", where_clause="n = 0", wanted="pause")
    return db


def test_owner_of_a_table_sees_whose_job_is_on_it_and_since_when(lodger):
    """And so does who is a member of the owner, by inherited rights; who has none of them sees nothing."""
    shown = "SELECT name, state, submitted_by, since > now() - interval '1 min' FROM backfill.status"
    assert lodger.all(shown, user="app") == [("theirs", "paused", "other", True)]
    lodger.app.execute("ALTER TABLE t OWNER TO app_owner")
    assert lodger.all(shown, user="app") == [("theirs", "paused", "other", True)]
    lodger.admin.execute("ALTER TABLE t OWNER TO ghost")
    assert lodger.all(shown, user="app") == []
    for call in ("pause", "cancel", "resume"):
        with pytest.raises(psycopg.Error, match='no job "theirs" that you may see'):
            lodger.app.execute(f"SELECT backfill.{call}('theirs')")
    assert lodger.app.execute("UPDATE backfill.job SET wanted = 'cancel'").rowcount == 0
    assert lodger.state("theirs") == "paused"


def test_who_submitted_a_job_is_told_who_stopped_it(lodger):
    other = lodger.session("other")
    error = "SELECT error FROM backfill.status WHERE name = 'theirs'"
    other.execute("SELECT backfill.resume('theirs')")
    assert lodger.all("SELECT name, outcome FROM backfill.pause_all()", user="app") == [("theirs", "paused")]
    assert lodger.one(error, user="other") == "paused by app, who has the rights of the table's owner"
    other.execute("SELECT backfill.resume('theirs')")
    assert lodger.one(error, user="other") is None
    with lodger.held_row(1000):
        lodger.daemon(workers=1)
        lodger.wait_at(1000, "theirs")
        lodger.app.execute("SELECT backfill.cancel('theirs')")
        lodger.wait_state("theirs", "cancelled")
    assert lodger.one(error, user="other") == "cancelled by app, who has the rights of the table's owner"
    with pytest.raises(psycopg.Error, match="was cancelled by app, who has"):
        other.execute("CALL backfill.wait('theirs')")


def test_owner_of_a_table_that_asks_for_what_can_not_be_is_told_what_can(lodger):
    lodger.app.execute("SELECT backfill.cancel('theirs')")
    with pytest.raises(psycopg.Error, match='job "theirs" of other has ended: it was cancelled') as refused:
        lodger.app.execute("SELECT backfill.pause('theirs')")
    assert "SELECT backfill.cancel('theirs') takes out" in refused.value.diag.message_hint
    lodger.app.execute("SELECT backfill.cancel('theirs')")  # again
    with pytest.raises(psycopg.errors.UniqueViolation, match='"theirs" is the name of another role\'s job, which other has submitted on public.t'):
        lodger.submit(name="theirs", set_clause="n = 7")


def test_owner_of_a_partitioned_table_has_that_say_in_jobs_on_its_partitions(lodger):
    lodger.admin.execute("""CREATE TABLE p (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);
                            ALTER TABLE p OWNER TO app; ALTER TABLE p1 OWNER TO other""")
    lodger.submit("other", name="leaf", target="p1", set_clause="n = 1")
    lodger.app.execute("SELECT backfill.cancel('leaf')")
    assert lodger.state("leaf") == "cancelled"


def test_owner_of_a_table_is_told_how_many_rows_a_job_left_behind(lodger):
    lodger.daemon()
    lodger.finish(lodger.submit("other", name="left", set_clause="n = n + 1 / (id - 5)::int", on_error="quarantine"))
    figures = "SELECT rows, left_behind, percent FROM backfill.status WHERE name = 'left'"
    assert lodger.all(figures, user="app") == lodger.all(figures, user="other") == lodger.all(figures, user="watcher") == [(1999, 1, 100)]
    assert lodger.one("SELECT count(*) FROM backfill.left_behind", user="app") == 0, "which, is not the owner's to read"
    assert lodger.one("SELECT count(*) FROM backfill.job_figures", user="app") == 2


def test_what_is_no_ones_to_see_leaks_by_no_view(lodger):
    """Nor by a function that shows what it is given before the view has asked whose it is."""
    lodger.admin.execute("ALTER TABLE t OWNER TO ghost; UPDATE backfill.job SET state = 'running', started_at = now()")
    seen = []
    lodger.app.add_notice_handler(lambda notice: seen.append(notice.message_primary))
    lodger.app.execute("CREATE FUNCTION pg_temp.leak(x text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'leaks %', x; RETURN true; END $$")
    for view in ("job_figures", "taken_here", "status"):
        assert lodger.app.execute(f"SELECT FROM backfill.{view} v WHERE pg_temp.leak(v::text)").fetchall() == [] and seen == []
    assert lodger.one("SELECT count(*) FROM backfill.taken_here", user="other") == lodger.one("SELECT count(*) FROM backfill.taken_here", user="watcher") == 1
    for closed in ("taken_tables()", "taken_table"):
        with pytest.raises(REFUSED):
            lodger.app.execute(f"SELECT * FROM backfill.{closed}")
    lodger.admin.execute("UPDATE backfill.job SET state = 'paused'")


def test_what_a_job_sets_off_stops_no_job_by_the_rights_of_a_tables_owner(lodger):
    lodger.table("u", rows=5)
    lodger.app.execute("""CREATE FUNCTION deed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM backfill.cancel('theirs'); RETURN NEW; END $$;
                          CREATE TRIGGER deed BEFORE UPDATE ON u FOR EACH ROW EXECUTE FUNCTION deed()""")
    lodger.daemon()
    lodger.finish(lodger.submit(target="u", set_clause="n = 1"), "failed")
    assert lodger.state("theirs") == "paused"


def test_a_superusers_migration_takes_no_strangers_job_for_its_own(db):
    """It would run along the stranger's search_path."""
    db.table()
    job = "INSERT INTO backfill.job (name, target, set_clause, where_clause) VALUES ('upper', 't', 'n = n + 1', 'n = 0') ON CONFLICT (name) DO NOTHING"
    db.app.execute(job)
    with db.connect("postgres") as boss:
        with pytest.raises(psycopg.Error, match="is the name of another role's job, which app has submitted"):
            boss.execute(job)
    db.app.execute(job)  # one's own is there already
    with db.connect("postgres") as boss:
        boss.execute(job.replace("'upper'", "'mine'"))
        boss.execute(job.replace("'upper'", "'mine'"))
    assert db.one("SELECT count(*) FROM backfill.job") == 2
