"""What a job's texts named when it was inserted is what it reaches later: another object under such a name is none of the job's, and one that was altered is looked at again."""

import psycopg
import pytest

from database import Database
from test_identity import dump_and_restore
from waiting import wait_until


@pytest.fixture
def shared(db):
    """A schema in which others create, too; a table of app's, and a function of other's that notes as whom it runs."""
    db.admin.execute("CREATE SCHEMA shared; GRANT ALL ON SCHEMA shared TO app, other; CREATE SCHEMA mine AUTHORIZATION app")
    db.app.execute("CREATE TABLE mine.t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, x int); INSERT INTO mine.t SELECT g, 0, 1 + g % 3 FROM generate_series(1, 1000) g")
    db.session("other").execute("CREATE TABLE shared.ran (who text); GRANT ALL ON shared.ran TO public; CREATE FUNCTION shared.note() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shared.ran VALUES (session_user); RETURN 'a'; END $$;"
                                "CREATE FUNCTION shared.is_right(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.note(); RETURN true; END $$;"
                                "CREATE SEQUENCE shared.calls; GRANT ALL ON SEQUENCE shared.calls TO public;"
                                "CREATE FUNCTION shared.called() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('shared.calls'); RETURN 'a'; END $$")
    return db


@pytest.mark.parametrize("was, clause", [("ENUM ('a', 'b')", "c = 'a'"), ("(a int)", "c = ROW(n)::shared.mood")])
def test_another_type_under_the_name_of_a_new_columns_runs_no_code_and_fills_no_row(shared, was, clause):
    db = shared
    db.app.execute(f"CREATE TYPE shared.mood AS {was}")
    name = db.submit(target="mine.t", add_column="c shared.mood", set_clause=clause, wanted="pause")
    db.app.execute("ALTER TYPE shared.mood RENAME TO mood_was; CREATE DOMAIN shared.mood AS text DEFAULT shared.note() CHECK (shared.is_right(VALUE))")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    failed = db.finish(name, "failed")
    assert failed["error"] == "type shared.mood of the column c that is to be added is another one by now: the type was renamed, or made anew"
    assert db.all("SELECT who FROM shared.ran") == []
    db.app.execute("DROP DOMAIN shared.mood; ALTER TYPE shared.mood_was RENAME TO mood")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(c) FROM mine.t") == 1000


def test_a_type_that_was_made_anew_is_taken_by_who_tries_again(shared):
    db = shared
    db.app.execute("CREATE TYPE shared.mood AS ENUM ('a', 'b')")
    name = db.submit(target="mine.t", add_column="c shared.mood", set_clause="c = 'b'", wanted="pause")
    db.app.execute("DROP TYPE shared.mood; CREATE TYPE shared.mood AS ENUM ('a', 'b')")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    assert f"If the one of today is what the job is to add: SELECT backfill.retry('{name}')" in db.finish(name, "failed")["hint"]
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(*) FROM mine.t WHERE c = 'b'") == 1000


def test_a_domain_that_has_got_a_default_since_adds_no_column(shared):
    db = shared
    db.app.execute("CREATE DOMAIN shared.mood AS text")
    name = db.submit(target="mine.t", add_column="c shared.mood", set_clause="c = 'b'", wanted="pause")
    db.app.execute("ALTER DOMAIN shared.mood SET DEFAULT 'a'")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    failed = db.finish(name, "failed")
    assert failed["error"] == "type shared.mood of the column c that is to be added has by now a default of its own" and "retry" in failed["hint"]
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'mine.t'::regclass AND attname = 'c'") == 0


def test_a_type_of_a_stranger_is_none_for_a_new_column(shared):
    """The server finds a type by its name, and nothing keeps that where it is: its owner would put a domain in its place while the step waits for its lock."""
    db = shared
    db.session("other").execute("CREATE TYPE shared.mood AS ENUM ('a', 'b'); CREATE DOMAIN shared.word AS text")
    for type in ("shared.mood", "shared.mood[]", "shared.word"):
        with pytest.raises(psycopg.Error, match=r"add_column: type shared.*, or its schema, belongs to other, who lacks the rights of app") as refused:
            db.submit(target="mine.t", add_column=f"c {type}", set_clause="c = NULL")
        assert "ALTER TABLE mine.t ADD COLUMN c shared." in refused.value.diag.message_hint
    db.app.execute("ALTER TABLE mine.t ADD COLUMN c shared.mood")
    db.daemon()
    db.finish(db.submit(target="mine.t", set_clause="c = 'b'", where_clause="c IS NULL"))
    assert db.one("SELECT count(*) FROM mine.t WHERE c = 'b'") == 1000


def test_a_type_in_a_strangers_schema_is_none_for_a_new_column(shared):
    """Who would rename it, and put another in its place."""
    db = shared
    db.admin.execute("CREATE SCHEMA his AUTHORIZATION other; GRANT ALL ON SCHEMA his TO app")
    db.app.execute("CREATE TYPE his.mood AS ENUM ('a', 'b'); CREATE TYPE public.mood AS ENUM ('a', 'b')")
    with pytest.raises(psycopg.Error, match="add_column: type his.mood, or its schema, belongs to other, who lacks the rights of app"):
        db.submit(target="mine.t", add_column="c his.mood", set_clause="c = 'b'")
    db.daemon()
    db.finish(db.submit(target="mine.t", add_column="c public.mood", set_clause="c = 'b'"))


def test_a_type_that_was_given_away_since_adds_no_column(shared):
    db = shared
    db.app.execute("CREATE TYPE shared.mood AS ENUM ('a', 'b')")
    name = db.submit(target="mine.t", add_column="c shared.mood", set_clause="c = 'b'", wanted="pause")
    db.admin.execute("ALTER TYPE shared.mood OWNER TO other")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    assert "type shared.mood of the column c that is to be added belongs by now to other, or its schema does" in db.finish(name, "failed")["error"]


def test_another_collation_under_the_name_of_a_new_columns_is_none_of_its(shared):
    db = shared
    db.session("other").execute("CREATE COLLATION shared.coll (provider = libc, locale = 'C')")
    name = db.submit(target="mine.t", add_column="c text COLLATE shared.coll", set_clause="c = 'b'", wanted="pause")
    db.session("other").execute("ALTER COLLATION shared.coll RENAME TO coll_was; CREATE COLLATION shared.coll (provider = icu, locale = 'und-u-ks-level1', deterministic = false)")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    assert "has another collation by now: shared.coll was renamed, or made anew" in db.finish(name, "failed")["error"]


def test_a_step_that_waits_for_its_lock_looks_at_its_type_when_it_has_it(shared):
    """Of a partitioned table too, where the server looks its name up for each partition."""
    db = shared
    db.app.execute("CREATE TYPE shared.mood AS ENUM ('a', 'b'); CREATE TABLE mine.p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE mine.p1 PARTITION OF mine.p FOR VALUES FROM (0) TO (100);"
                   "CREATE TABLE mine.p2 PARTITION OF mine.p FOR VALUES FROM (100) TO (200); INSERT INTO mine.p SELECT generate_series(1, 199)")
    db.daemon()
    with db.connect("app") as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM mine.p2")
        name = db.submit(target="mine.p", add_column="c shared.mood", set_clause="c = 'b'")
        wait_until(lambda: "lock" in db.throttled_by(name), what="the step waits")
        wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'mine.p2'::regclass") > 0, what="it is at it")
        db.app.execute("ALTER TYPE shared.mood RENAME TO mood_was; CREATE DOMAIN shared.mood AS text DEFAULT shared.note()")
        holder.commit()
    assert "is another one by now" in db.finish(name, "failed")["error"]
    assert db.all("SELECT who FROM shared.ran") == [] and db.one("SELECT count(*) FROM pg_attribute WHERE attname = 'c' AND attrelid IN ('mine.p'::regclass, 'mine.p1'::regclass, 'mine.p2'::regclass)") == 0


def test_a_view_that_comes_under_the_name_of_the_one_to_reference_is_not_read(shared):
    """Who may read some columns alone can't lock the table, and looks at no row of it."""
    db = shared
    db.session("other").execute("CREATE TABLE shared.p (id int PRIMARY KEY, more int); INSERT INTO shared.p SELECT generate_series(1, 3); GRANT SELECT (id), REFERENCES ON shared.p TO app")
    name = db.submit(target="mine.t", enforce=["FOREIGN KEY (x) REFERENCES shared.p (id)"], wanted="pause")
    db.daemon()
    with db.connect("other") as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE shared.p")
        db.app.execute("SELECT backfill.resume(%s)", [name])
        wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'shared.p'::regclass"), what="the look waits, or the step without it")
        holder.execute("ALTER TABLE shared.p RENAME TO p_was; CREATE VIEW shared.p AS SELECT id FROM shared.p_was WHERE shared.note() = 'a'; GRANT SELECT ON shared.p TO app")
        holder.commit()
    db.finish(name, "failed")
    assert db.all("SELECT who FROM shared.ran") == []


def test_a_trial_on_a_copy_has_the_columns_type_and_no_other_of_its_name(shared):
    db = shared
    db.app.execute("CREATE TYPE mine.mood AS ENUM ('a', 'b')")
    with db.connect("app") as session:
        session.execute("SET search_path = shared, mine")
        name = db.submit(session=session, target="mine.t", add_column="c mood", set_clause="c = 'b'", wanted="pause")
    db.session("other").execute("CREATE DOMAIN shared.mood AS text DEFAULT shared.called()")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(*) FROM mine.t WHERE c = 'b'") == 1000 and not db.one("SELECT is_called FROM shared.calls")


def test_no_cast_of_a_referenced_tables_owner_runs_in_a_look_at_rows(shared):
    db = shared
    db.session("other").execute("CREATE TABLE shared.p (id int PRIMARY KEY); INSERT INTO shared.p SELECT generate_series(1, 3); GRANT SELECT, REFERENCES ON shared.p TO app; CREATE TYPE shared.mood AS ENUM ('m1', 'm2', 'm3')")
    name = db.submit(target="mine.t", enforce=["FOREIGN KEY (x) REFERENCES shared.p (id)"], wanted="pause")
    db.session("other").execute("""CREATE FUNCTION shared.number(shared.mood) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM shared.note(); RETURN substr($1::text, 2)::int; END $$;
        CREATE CAST (shared.mood AS int) WITH FUNCTION shared.number(shared.mood) AS IMPLICIT; ALTER TABLE shared.p ALTER id TYPE shared.mood USING ('m' || id)::shared.mood; DELETE FROM shared.ran""")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    failed = db.finish(name, "failed")
    assert "x is of type integer, and id of shared.p is of type shared.mood" in failed["error"]
    assert db.all("SELECT who FROM shared.ran") == []


def test_a_table_that_comes_under_the_name_of_the_one_to_reference_is_not_referenced(shared):
    """Its owner would delete rows of the job's table by it."""
    db = shared
    made = "CREATE TABLE shared.p (id int PRIMARY KEY); INSERT INTO shared.p SELECT generate_series(1, 3); GRANT SELECT, REFERENCES ON shared.p TO app"
    db.session("other").execute(made)
    name = db.submit(target="mine.t", enforce=["FOREIGN KEY (x) REFERENCES shared.p (id) ON DELETE CASCADE"], wanted="pause")
    db.session("other").execute("ALTER TABLE shared.p RENAME TO p_was; " + made)
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    failed = db.finish(name, "failed")
    assert failed["error"] == "table shared.p that t_x_fkey is to reference is another one by now: the first was renamed, or dropped"
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 'mine.t'::regclass AND contype = 'f'") == 0
    db.session("other").execute("DROP TABLE shared.p; ALTER TABLE shared.p_was RENAME TO p")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 'mine.t'::regclass AND contype = 'f' AND convalidated") == 1


def test_both_sides_of_a_foreign_key_may_have_collations_of_their_own(db):
    db.app.execute("""CREATE TABLE p (id text COLLATE "C" PRIMARY KEY); INSERT INTO p SELECT 'k' || g FROM generate_series(1, 3) g;
        CREATE TABLE t (id int PRIMARY KEY, x text COLLATE "POSIX"); INSERT INTO t SELECT g, 'k' || 1 + g % 3 FROM generate_series(1, 300) g""")
    db.daemon()
    db.finish(db.submit(enforce=["FOREIGN KEY (x) REFERENCES p (id)"]))
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'f' AND convalidated") == 1


@pytest.mark.parametrize("work", [{"set_clause": "n = n + 1"}, {"statement": "UPDATE mine.k SET n = n + 1 WHERE {batch}"}])
def test_a_collation_that_comes_under_the_name_of_a_key_columns_own_passes_over_no_row(shared, work):
    db = shared
    db.session("other").execute("CREATE COLLATION shared.coll (provider = libc, locale = 'C')")
    db.app.execute("CREATE TABLE mine.k (tenant text COLLATE shared.coll, id int, n int NOT NULL DEFAULT 0, PRIMARY KEY (tenant, id));"
                   "INSERT INTO mine.k SELECT t, g FROM unnest('{ACME,BETA,acme,beta}'::text[]) t, generate_series(1, 500) g")
    db.daemon(max_rows=50)
    name = db.submit(target="mine.k", max_rows_per_s=500, **work)
    wait_until(lambda: db.one("SELECT count(*) FROM mine.k WHERE n = 1") > 100, what="it is on its way")
    db.session("other").execute("BEGIN; ALTER COLLATION shared.coll RENAME TO coll_was; CREATE COLLATION shared.coll (provider = icu, locale = 'und-u-ks-level1', deterministic = false); COMMIT")
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL")
    db.finish(name)
    assert db.counts("mine.k") == {1: 2000}


def test_a_name_that_the_job_has_chosen_is_chosen_anew_when_another_takes_it(shared):
    db = shared
    db.app.execute("CREATE TABLE shared.u (id int PRIMARY KEY); INSERT INTO shared.u SELECT generate_series(1, 100)")
    name = db.submit(target="shared.u", add_column="c int", set_clause="c = id", keep_in_sync=True, enforce=["UNIQUE (c)"], wanted="pause")
    db.session("other").execute("CREATE TABLE shared.u_c_key ()")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name)
    assert db.one("SELECT conname FROM pg_constraint WHERE conrelid = 'shared.u'::regclass AND contype = 'u'") == "u_c_key1"
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'shared.u'::regclass AND attname = 'c'") == 0, what="undone")


@pytest.mark.parametrize("renamed", ["TABLE shared.p RENAME TO q", "TABLE shared.p RENAME id TO number"])
def test_a_foreign_key_that_the_job_has_made_is_known_when_what_it_references_has_another_name(shared, renamed):
    db = shared
    db.app.execute("CREATE TABLE shared.p (id int PRIMARY KEY); INSERT INTO shared.p SELECT generate_series(1, 3)")
    db.daemon()
    name = db.submit(target="mine.t", set_clause="n = 1", where_clause="n = 0", enforce=["FOREIGN KEY (x) REFERENCES shared.p (id)", "CHECK (n < 5)"])
    db.finish(name)
    db.app.execute("ALTER " + renamed)
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 'mine.t'::regclass AND contype <> 'p'") == 0, what="both are gone")


def test_a_restored_job_that_its_owner_resumes_references_the_table_of_that_day(shared):
    db, copy = shared, Database(shared.cluster)
    try:
        made = "CREATE TABLE shared.p (id int PRIMARY KEY); INSERT INTO shared.p SELECT generate_series(1, 3); GRANT SELECT, REFERENCES ON shared.p TO app"
        db.session("other").execute(made)
        name = db.submit(target="mine.t", add_column="c int", set_clause="c = 1", enforce=["FOREIGN KEY (x) REFERENCES shared.p (id) ON DELETE CASCADE"], wanted="pause")
        copy.admin.execute("DROP SCHEMA backfill CASCADE")
        dump_and_restore(db, copy)
        copy.daemon()
        with copy.held_row(500, table="mine.t"):
            copy.app.execute("SELECT backfill.resume(%s)", [name])
            wait_until(lambda: copy.job(name)["phase"] == "backfill", what="it goes on")
            copy.session("other").execute("ALTER TABLE shared.p RENAME TO p_was; " + made)
        assert "is to reference is another one by now" in copy.finish(name, "failed")["error"]
    finally:
        copy.destroy()


@pytest.mark.parametrize("check, change", [
    ("CHECK (x::shared.x > 0)", "ALTER DOMAIN shared.x RENAME TO x_was; CREATE DOMAIN shared.x AS int CHECK (shared.is_right(VALUE::text))"),
    ("CHECK (c::text <> '')", "CREATE FUNCTION shared.number(shared.mood) RETURNS text LANGUAGE sql AS $$ SELECT shared.note() $$; CREATE CAST (shared.mood AS text) WITH FUNCTION shared.number(shared.mood)"),
    ("CHECK (x::shared.small > 0)", "ALTER DOMAIN shared.small RENAME TO small_was; CREATE DOMAIN shared.small AS int CHECK (shared.is_right(VALUE::text))"),
    ("CHECK (shared.fine(x))", "ALTER FUNCTION shared.fine(int) RENAME TO fine_was; CREATE FUNCTION shared.fine(int) RETURNS boolean LANGUAGE sql AS $$ SELECT shared.is_right('') $$"),
    ("CHECK (fine(x))", "CREATE FUNCTION shared.fine(int) RETURNS boolean LANGUAGE sql AS $$ SELECT shared.is_right('') $$")])
def test_what_others_put_under_a_name_in_a_check_is_no_part_of_it(shared, check, change):
    """It would stay in the table, and run with the rights of whoever writes there."""
    db = shared
    db.app.execute("CREATE FUNCTION mine.fine(int) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 0'")
    db.session("other").execute("CREATE TYPE shared.mood AS ENUM ('a', 'b')")
    db.app.execute("ALTER TABLE mine.t ADD COLUMN c shared.mood")
    db.session("other").execute("CREATE DOMAIN shared.small AS int; CREATE DOMAIN shared.x AS int; CREATE FUNCTION shared.fine(int) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 0'" if "shared" in check else "SELECT")
    with db.connect("app") as session:
        session.execute("SET search_path = shared, mine")
        name = db.submit(session=session, target="mine.t", enforce=[check], wanted="pause")
    db.session("other").execute(change)
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    failed = db.finish(name, "failed")
    assert "may mean something else by now than when the job was inserted" in failed["error"] and f"SELECT backfill.retry('{name}')" in failed["hint"]
    assert db.all("SELECT who FROM shared.ran") == [] and db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 'mine.t'::regclass AND contype = 'c'") == 0


def test_an_owner_who_may_not_write_his_table_may_constrain_it(db):
    db.table(rows=100, columns="n int NOT NULL DEFAULT 1")
    db.app.execute("REVOKE UPDATE, DELETE, TRUNCATE ON t FROM app")
    db.daemon()
    db.finish(db.submit(enforce=["CHECK (n > 0)"]))


def test_what_was_not_seen_is_said_by_who_ends_the_job_too(db):
    """A daemon that comes when verify is over knows nothing of its looks."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a text, n int); INSERT INTO t SELECT g, CASE g WHEN 7 THEN 'x' ELSE '1' END FROM generate_series(1, 100) g")
    daemon = db.daemon()
    with db.connect("app") as holder:
        holder.autocommit = False
        name = db.submit(set_clause="n = a::int", where_clause="n IS NULL", on_error="quarantine", enforce=["UNIQUE (id, n)"])
        holder.execute("LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE")
        wait_until(lambda: db.job(name)["phase"] == "validate", 30, "verify is over")
        daemon.kill()
        db.daemon()
        wait_until(lambda: db.state(name) == "running" and db.job(name)["phase"] == "validate", what="another goes on")
        holder.commit()
    assert "may have moved behind the scan" in db.finish(name)["report"]["not_proven"]


def test_who_tries_again_after_a_false_alarm_is_not_without_protection(shared):
    db = shared
    db.session("other").execute("CREATE FUNCTION shared.fine(int) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 0'")
    db.app.execute("GRANT SELECT ON mine.t TO other; GRANT USAGE ON SCHEMA mine TO other")
    name = db.submit(target="mine.t", enforce=["CHECK (shared.fine(x))"], wanted="pause")
    db.session("other").execute("CREATE FUNCTION shared.fine(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name, "failed")
    with db.connect("other") as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM mine.t")
        db.app.execute("SELECT backfill.retry(%s)", [name])
        wait_until(lambda: "lock" in db.throttled_by(name), what="a step waits")
        db.session("other").execute("ALTER FUNCTION shared.fine(int) RENAME TO fine_was; CREATE FUNCTION shared.fine(int) RETURNS boolean LANGUAGE sql AS $$ SELECT shared.is_right('') $$")
        holder.commit()
    db.finish(name, "failed")
    assert db.all("SELECT who FROM shared.ran") == []
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)


def test_a_table_of_a_columns_name_stops_no_check(shared):
    db = shared
    name = db.submit(target="mine.t", enforce=["CHECK (x > 0 AND n IS NOT NULL AND x::text NOT IN ('reader', 'id'))"], wanted="pause")
    db.app.execute("CREATE TABLE public.x (); CREATE TABLE mine.n (); CREATE FUNCTION public.reader() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE mine.id")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name)
