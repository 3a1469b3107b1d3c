"""keep_in_sync: what others do to the table, whose it is, partitions, copies."""

import re

import psycopg
import pytest

from daemon import run
from in_step import in_step, make, row
from test_identity import dump_and_restore
from test_roles import temp  # noqa: F401
from waiting import wait_until


@pytest.mark.parametrize("change, now", [("ALTER TABLE t RENAME TO other", "other"), ("CREATE SCHEMA elsewhere; ALTER TABLE t SET SCHEMA elsewhere", "elsewhere.t")])
def test_a_table_that_is_renamed_in_mid_job_stays_in_step(db, change, now):
    make(db, "a text, b int", "'int4'")
    db.admin.execute(f'GRANT CREATE ON DATABASE "{db.name}" TO app')
    db.daemon()
    with db.locked_rows("id = 200"):
        name = db.submit(set_clause="b = length(a::regtype::text)", where_clause="b IS NULL", keep_in_sync=True)
        wait_until(lambda: db.left_behind(), what="all rows but one are done")
    db.app.execute(change)
    db.finish(name)
    db.app.execute(f"INSERT INTO {now} (id, a) VALUES (1000, 'int8'), (1001, 'no type'); UPDATE {now} SET a = 'text' WHERE id = 1")
    assert db.all(f"SELECT id, b FROM {now} WHERE id IN (1, 200, 1000, 1001) ORDER BY id") == [(1, 4), (200, 7), (1000, 6), (1001, None)]


def test_a_source_that_is_renamed_is_followed_and_one_that_is_dropped_refused(db):
    make(db, "a int, note text", "i, 'x'")
    in_step(db, "b = a * 2", add_column="b int", enforce=["NOT NULL b"])
    db.app.execute("ALTER TABLE t RENAME a TO c; UPDATE t SET c = 50 WHERE id = 1; INSERT INTO t (id, c) VALUES (1000, 5); ALTER TABLE t RENAME TO t2; UPDATE t2 SET c = 51 WHERE id = 2; ALTER TABLE t2 RENAME TO t")
    assert [row(db, key)[0] for key in (1, 2, 1000)] == [100, 102, 10]
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="backfilld"):
        db.app.execute("ALTER TABLE t DROP COLUMN c")


def test_what_a_clause_reads_may_be_renamed_and_moved_but_not_become_something_else(db):
    """Its functions and other tables, too; and a right to them that is gone costs no value."""
    db.close_public()
    db.admin.execute(f"GRANT CREATE ON DATABASE {db.name} TO app")
    db.app.execute("CREATE SCHEMA elsewhere; CREATE TABLE rate (k int PRIMARY KEY, f int); INSERT INTO rate VALUES (1, 100);"
                   "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'")
    make(db, "a int, note text", "i, 'x'")
    in_step(db, "b = twice(a) * (SELECT r.f FROM rate AS r WHERE r.k = 1)", add_column="b int")
    db.app.execute("UPDATE t SET a = 5 WHERE id = 1")
    db.app.execute("ALTER FUNCTION twice(int) RENAME TO doubled; ALTER FUNCTION doubled(int) SET SCHEMA elsewhere; ALTER TABLE rate RENAME f TO factor; ALTER TABLE rate RENAME TO rates; ALTER TABLE rates SET SCHEMA elsewhere")
    db.app.execute("UPDATE t SET a = 9 WHERE id = 2; INSERT INTO t (id, a) VALUES (1000, 7)")
    assert [row(db, key)[0] for key in (1, 2, 1000)] == [1000, 1800, 1400]
    for change in ("ALTER TABLE t ALTER a TYPE text", "ALTER TABLE elsewhere.rates ALTER factor TYPE numeric", "DROP TABLE elsewhere.rates", "DROP FUNCTION elsewhere.doubled(int)"):
        with pytest.raises((psycopg.errors.DependentObjectsStillExist, psycopg.errors.FeatureNotSupported)) as refused:
            db.app.execute(change)
        assert "backfilld" in str(refused.value), refused.value
    db.admin.execute("ALTER TABLE elsewhere.rates OWNER TO other; REVOKE ALL ON elsewhere.rates FROM app")
    db.app.execute("UPDATE t SET a = 3 WHERE id = 2; UPDATE t SET note = 'y' WHERE id = 1; INSERT INTO t (id, a) VALUES (1001, 7)")
    assert [row(db, key)[0] for key in (1, 2, 1001)] == [1000, 1800, None]
    db.admin.execute("GRANT SELECT ON elsewhere.rates TO app")
    db.app.execute("UPDATE t SET a = 4 WHERE id = 2")
    assert row(db, 2) == (800,)


@pytest.mark.parametrize("change", ["ALTER TABLE t RENAME b TO c", "ALTER TABLE t DROP COLUMN b"])
def test_writes_go_on_when_the_filled_column_is_renamed_or_dropped(db, change):
    make(db, "a int", "i")
    in_step(db, "b = a * 2", add_column="b int")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) if "DROP" in change else db.connect("app"):
        db.app.execute(change)
    db.app.execute("UPDATE t SET a = 5 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, 1)")
    assert db.one("SELECT count(*) FROM t") == 301


def test_two_columns_that_change_their_names_lose_nothing(db):
    make(db, "a int", "i")
    in_step(db, "b = a * 2", add_column="b bigint")
    db.app.execute("BEGIN; ALTER TABLE t RENAME a TO old; ALTER TABLE t RENAME b TO a; COMMIT")
    db.app.execute("UPDATE t SET old = 5 WHERE id = 1; UPDATE t SET a = 7 WHERE id = 2; INSERT INTO t (id, a) VALUES (1000, 1)")
    assert db.one("SELECT count(*) FROM t WHERE a IS NULL") == 0 and row(db, 2, "a") == (7,)


@pytest.mark.parametrize("change, problem", [("ALTER TABLE t DISABLE TRIGGER USER", "switched off"), ("DROP TRIGGER zz_backfilld_keep_in_sync_000001_update ON t", "is not there"),
                                             ("ALTER TABLE t ENABLE TRIGGER USER", "does not fire for every writer"), ("", "was changed")])
def test_a_trigger_that_was_changed_ends_the_job_before_it_is_relied_on(db, change, problem):
    make(db, "a int", "i")
    db.daemon()
    with db.held_row(150):
        name = db.submit(set_clause="b = a", add_column="b int", keep_in_sync=True, enforce=["NOT NULL b"])
        db.wait_at(150, name)
        if not change:
            function = db.one("SELECT proname::text FROM pg_proc WHERE prorettype = 'trigger'::regtype AND proname LIKE 'backfilld_sync%%'")
            change = f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NEW; END'"
        db.app.execute(change.replace("TRIGGER USER", "TRIGGER zz_backfilld_keep_in_sync_000001_insert"))
    job = db.finish(name, "failed")
    assert "trigger of keep_in_sync" in job["error"] and problem in job["error"] and job["hint"]
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c'") == 0


def test_a_source_that_another_trigger_changes_in_a_batch_counts(db):
    """Old rows were written before that trigger was there; the batch's UPDATE is the first that it sees."""
    make(db, "email text, note text", "'A' || i, 'x'")
    db.app.execute("""CREATE FUNCTION lower_email() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.email := lower(NEW.email); RETURN NEW; END $$;
                      CREATE TRIGGER low BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION lower_email()""")
    in_step(db, "h = md5(email)", add_column="h text")
    assert db.one("SELECT count(*) FROM t WHERE h = md5(email) AND email = lower(email)") == 300


def test_nothing_of_a_batch_is_left_in_a_session(db):
    """A session that a pooler hands on must not carry what tells a batch from an application."""
    make(db, "a int", "i")
    db.daemon()
    with db.held_row(150):
        name = db.submit(set_clause="b = a", add_column="b int", keep_in_sync=True, sync_back="a = b")
        db.wait_at(150, name)
        token = db.one("SELECT mark FROM backfill.token")
    db.finish(name)
    with db.connect("app") as session:
        with session.transaction():
            session.execute("SELECT set_config('backfilld.batch', %s, true)", [token])
        session.execute("UPDATE t SET a = 1, b = 2 WHERE id = 5")
    assert row(db, 5, "a, b") == (1, 2)


def test_who_reads_the_trigger_cannot_pass_for_a_batch(db):
    """All that stands in the catalog, and in the job's row, is tried."""
    make(db, "a int", "i")
    in_step(db, "b = a", add_column="b int", sync_back="a = b")
    read = db.one("SELECT plan::text || (SELECT string_agg(prosrc, ' ') FROM pg_proc WHERE proname LIKE 'backfilld_sync%%')"
                  " || (SELECT string_agg(pg_get_triggerdef(oid), ' ') FROM pg_trigger WHERE tgrelid = 't'::regclass) FROM backfill.job")
    words = {word for word in re.findall(r"[0-9a-z_.]{2,}", read) if len(word) > 8} | {"on", "true"}
    for word in words:
        with db.app.transaction():
            db.app.execute("SELECT set_config('backfilld.batch', %s, true)", [word])
            db.app.execute("UPDATE t SET b = 7 WHERE id = 5; UPDATE t SET a = 8 WHERE id = 6")
        assert (row(db, 5, "a, b"), row(db, 6, "a, b")) == ((7, 7), (8, 8)), word
        db.app.execute("UPDATE t SET a = id WHERE id IN (5, 6)")


def test_all_that_stands_beside_the_table_is_its_owners(db):
    db.admin.execute("CREATE ROLE owning NOLOGIN ROLE app") if not db.one("SELECT count(*) FROM pg_roles WHERE rolname = 'owning'") else None
    db.admin.execute("GRANT ALL ON SCHEMA public TO owning")
    make(db, "a int", "i")
    db.admin.execute("ALTER TABLE t OWNER TO owning")
    in_step(db, "b = a * 2", add_column="b int")
    assert db.all("SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE proname LIKE 'backfilld_sync%%'") == [("owning",)]
    job = in_step(db, "c = a::text || current_user", add_column="c text", state="failed")
    assert "rights of owning" in job["error"] and "SET ROLE owning" in job["hint"]


def test_whose_the_table_is_matters_only_to_a_clause_that_asks_for_it(db):
    db.close_public()
    db.admin.execute("CREATE ROLE owning NOLOGIN ROLE app") if not db.one("SELECT count(*) FROM pg_roles WHERE rolname = 'owning'") else None
    db.admin.execute("GRANT ALL ON SCHEMA public TO owning; CREATE TYPE mood AS ENUM ('good', 'bad')")
    db.admin.execute("CREATE FUNCTION who() RETURNS text LANGUAGE sql STABLE AS 'SELECT current_user::text'; CREATE TABLE other (a int, v text)")
    make(db, "a int, u uuid, at timestamptz, m mood", "i, gen_random_uuid(), now(), 'good'")
    db.admin.execute("ALTER TABLE t OWNER TO owning; ALTER TABLE other OWNER TO app")
    alike = ["a::text || '-' || u || m::text", "to_char(at AT TIME ZONE 'CET', 'YYYY') || at || to_jsonb(a)::text || (ARRAY[a])::text", "gen_random_uuid()::text || now()"]
    owners = ["a::regclass::text", "a::text || who()", "a || (SELECT max(o.v) FROM other AS o WHERE o.a = t.a)", "a::text || has_table_privilege('pg_class', 'SELECT')", "USER || a"]
    db.daemon()
    jobs = [(db.submit(add_column=f"c{number} text", set_clause=f"c{number} = {clause}", keep_in_sync=True), clause) for number, clause in enumerate(alike + owners)]
    for name, clause in jobs:
        job = db.finish(name, "succeeded" if clause in alike else "failed")
        assert clause in alike or "may depend on who computes it" in job["error"] and "SET ROLE owning" in job["hint"], (clause, job["error"])
    assert not db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname >= 'c3' AND attname ~ '^c\\d'")  # told before a change
    db.app.execute("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'")
    db.app.execute("INSERT INTO t (id, a, u, at, m) SELECT 1000, a, u, at, m FROM t WHERE id = 1; UPDATE t SET a = 2 WHERE id = 2")
    assert row(db, 1000, "c0, c1") == row(db, 1, "c0, c1") and row(db, 1000, "c2") != (None,)


def test_a_name_that_somebody_could_guess_is_not_used(db):
    make(db, "a int", "i")
    db.app.execute("CREATE FUNCTION zz_backfilld_keep_in_sync_1() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''mine''; END'")
    in_step(db, "b = a * 2", add_column="b int")
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 1)")
    assert row(db, 1000) == (2,)


def test_partitions_of_every_shape_are_kept_in_step(db):
    db.app.execute("""CREATE TABLE t (id bigint, junk int, a int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
                      CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000);
                      CREATE TABLE t2 (a int, gone int, junk int, id bigint NOT NULL PRIMARY KEY); ALTER TABLE t2 DROP COLUMN gone;
                      ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (1000) TO (2000);
                      INSERT INTO t (id, a) SELECT i, i FROM generate_series(1, 1999) i""")
    in_step(db, "b = t.a * 2", add_column="b int", enforce=["NOT NULL b"], sync_back="a = b / 2")
    db.app.execute("""CREATE TABLE t3 (LIKE t); ALTER TABLE t ATTACH PARTITION t3 FOR VALUES FROM (2000) TO (3000);
                      INSERT INTO t (id, a) VALUES (2500, 3); INSERT INTO t (id, b) VALUES (2501, 8); UPDATE t SET a = 100 WHERE id IN (1, 1500, 2500); UPDATE t SET b = 20 WHERE id IN (2, 1501);
                      UPDATE t SET id = 2999, a = 4 WHERE id = 3; ALTER TABLE t DETACH PARTITION t2; INSERT INTO t2 (id, a, b) VALUES (1999999, 1, 2)""")
    db.admin.execute("SET session_replication_role = replica")
    db.admin.execute("INSERT INTO t (id, a) VALUES (2600, 3)")
    assert db.one("SELECT count(*) FROM (SELECT a, b FROM t UNION ALL SELECT a, b FROM t2) x WHERE b IS DISTINCT FROM a * 2") == 0
    assert row(db, 2501, "a") == (4,) and row(db, 2, "a") == (10,)


def test_a_restored_copy_is_kept_in_step(db, db2):
    """Nothing that stands in the table names what only its own database knows."""
    db.app.execute('CREATE TABLE rate (c text PRIMARY KEY, f int); INSERT INTO rate VALUES (\'x\', 2); '
                   'CREATE TABLE shift (id bigint PRIMARY KEY, "begin" int, c text); INSERT INTO shift SELECT i, i, \'x\' FROM generate_series(1, 100) AS i')
    db.daemon()
    db.finish(db.submit(target="shift", add_column="b int", set_clause="b = shift.begin * (SELECT f FROM rate r WHERE r.c = shift.c)", keep_in_sync=True, sync_back="begin = b / 2", enforce=["NOT NULL b"]))
    db2.admin.execute("DROP SCHEMA backfill CASCADE; CREATE TABLE public.other_oids ()")
    dump_and_restore(db, db2)
    for command in ("INSERT INTO shift (id, begin, c) VALUES (1000, 5, 'x')", "INSERT INTO shift (id, b, c) VALUES (1001, 8, 'x')", "UPDATE shift SET begin = 7 WHERE id = 1", "UPDATE shift SET b = 6 WHERE id = 2"):
        db2.app.execute(command)
    assert db2.one("SELECT count(*) FROM shift WHERE b = begin * 2") == 102


def test_a_function_of_the_trigger_that_is_gone_is_noticed(db):
    """The server drops it with a source column, CASCADE, and the triggers that call it."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g")
    db.daemon(max_rows=100)
    name = db.submit(add_column="b int", set_clause="b = a", keep_in_sync=True)
    db.finish(name)
    db.app.execute("ALTER TABLE t DROP COLUMN a CASCADE")
    checked = run("-d", db.conninfo(), "--check")
    assert checked.returncode == 1 and "the trigger of keep_in_sync on public.t is not there any more" in checked.stdout, checked.stdout


def test_a_job_whose_trigger_has_lost_its_function_does_not_succeed(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g")
    db.daemon(max_rows=100)
    with db.held_row(500):
        name = db.submit(add_column="b int", set_clause="b = a", keep_in_sync=True)
        db.wait_at(500, name)
        db.app.execute("DROP FUNCTION %s CASCADE" % db.one("SELECT oid::regprocedure FROM pg_proc WHERE proname ~ '^backfilld_sync_.*_value$'"))
    assert "is not there any more" in db.finish(name, "failed")["error"]


def test_the_functions_of_a_trigger_whose_table_was_dropped_go_too(db):
    """DROP TABLE takes the trigger, and left its functions where they were, whether the job ran or had succeeded."""
    db.daemon()
    ours = "SELECT count(*) FROM pg_proc p WHERE p.proname LIKE 'backfilld%'"
    before = db.one(ours)
    for dropped in ("succeeded", "running"):
        db.table(rows=300)
        if dropped == "running":
            db.sleep_at(200, 2)
        name = db.submit(add_column="c bigint", set_clause="c = id", keep_in_sync=True)
        db.wait_asleep() if dropped == "running" else db.finish(name)
        assert db.one(ours) > before
        db.app.execute("DROP TABLE t CASCADE")
        db.wait_state(name, "succeeded", "failed")
        db.admin.execute("NOTIFY backfill")
        wait_until(lambda: db.one(ours) == before and not db.one("SELECT tidy FROM backfill.job WHERE name = %s", name), what="they are gone")


@pytest.mark.parametrize("not_null", [True, False])
@pytest.mark.parametrize("clause", ["b = a * 2", "b = a * 2 + id * 1000"])
def test_a_key_column_that_changes_its_name_is_followed(db, clause, not_null):
    """Its name stood in the triggers' function: who left a row to do got an error, or the row stayed to do."""
    make(db, "a int", "i")
    in_step(db, clause, add_column="b int", enforce=["NOT NULL b"] if not_null else None)
    before = row(db, 5)
    db.app.execute("ALTER TABLE t RENAME id TO pk; UPDATE t SET b = NULL WHERE pk = 5")
    assert db.all("SELECT b FROM t WHERE pk = 5") == [before]


@pytest.mark.parametrize("add", [True, False])
def test_a_filled_column_whose_name_another_bears_is_named_by_check(db, add):
    make(db, "a int" if add else "a int, b int", "i" if add else "i, NULL")
    in_step(db, "b = a * 2", **({"add_column": "b int"} if add else {"where_clause": "b IS NULL"}))
    assert run("-d", db.conninfo(), "--check").returncode == 0
    db.app.execute("ALTER TABLE t RENAME b TO c; ALTER TABLE t ADD b int")
    check = run("-d", db.conninfo(), "--check")
    assert check.returncode == 1 and "writes column b, which is another one now" in check.stdout, check.stdout


RULES = {"insert": "CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO log (w) VALUES (new.a)", "update": "CREATE RULE r AS ON UPDATE TO t WHERE new.a <> old.a DO ALSO INSERT INTO log (w) VALUES (new.a)",
         "delete": "CREATE RULE r AS ON DELETE TO t DO ALSO DELETE FROM log WHERE w = old.a", "of what the clause reads": "CREATE RULE r AS ON UPDATE TO other DO ALSO INSERT INTO log (w) VALUES (new.k)"}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_writes_elsewhere_is_none_of_the_triggers(db, rule):
    """It is run for who writes; nothing that the trigger computes does."""
    make(db, "a int", "i")
    db.app.execute("CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY, w int); CREATE TABLE other (k int PRIMARY KEY); INSERT INTO other SELECT generate_series(1, 1000);"
                   "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER noted BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION noted()")
    db.app.execute(RULES[rule])
    in_step(db, "b = (SELECT k.k * 2 FROM other AS k WHERE k.k = t.a)", add_column="b int")
    db.app.execute("UPDATE t SET a = 5 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, 7)")
    assert [row(db, key)[0] for key in (1, 2, 1000)] == [10, 4, 14]


@pytest.mark.parametrize("key", ["PRIMARY KEY (g)", "PRIMARY KEY (a, g)", "UNIQUE (g), ALTER g SET NOT NULL"])
def test_a_row_that_moves_in_a_generated_key_is_filled(db, key):
    """A generated column has no value yet when the trigger runs: what it is made of tells that the row moves."""
    db.app.execute(f"CREATE TABLE t (a int NOT NULL, g int GENERATED ALWAYS AS (a * 10) STORED, c int, b int); INSERT INTO t (a, c) SELECT i, i FROM generate_series(1, 300) i; ALTER TABLE t ADD {key}")
    db.daemon(max_rows=50)
    with db.locked_rows("a = 200"):
        name = db.submit(set_clause="b = c + 1", where_clause="b IS NULL", keep_in_sync=True)
        wait_until(lambda: db.left_behind(), what="all rows but one are done")
    db.finish(name)
    db.app.execute("UPDATE t SET a = 1000 WHERE a = 1; UPDATE t SET c = 50 WHERE a = 2")
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM c + 1") == 0
    assert "OLD.a" in db.one("SELECT string_agg(pg_get_triggerdef(oid), ' ') FROM pg_trigger WHERE tgname LIKE '%undone'").replace("old.a", "OLD.a")


def test_what_becomes_of_a_trigger_after_its_job_has_ended_is_told(db, temp):
    """Weeks may pass until finish: who was trusted isn't any more, a trigger is switched off."""
    make(db, "a int", "i")
    db.admin.execute(f"GRANT app TO {temp}")
    db.session(temp).execute("CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'SELECT $1 * 2'")
    db.close_public()
    daemon = db.daemon()
    name = "followed"
    in_step(db, "b = public.twice(a)", add_column="b int", name=name)
    db.admin.execute(f"REVOKE app FROM {temp}")
    daemon.terminate()
    daemon.start()
    daemon.says("its trigger is not safe")
    state, error = db.all("SELECT state, error FROM backfill.status")[0]
    assert state == "succeeded" and error.startswith("its trigger is not safe") and temp in error and f"backfill.finish('{name}')" in daemon.log()
    db.admin.execute(f"GRANT app TO {temp}")
    db.app.execute("ALTER TABLE t DISABLE TRIGGER USER")
    daemon.terminate()
    daemon.start()
    daemon.says("its trigger is switched off")
    db.app.execute("DO $$ BEGIN EXECUTE (SELECT string_agg(format('ALTER TABLE t ENABLE ALWAYS TRIGGER %I', tgname), ';') FROM pg_trigger WHERE tgrelid = 't'::regclass); END $$")
    daemon.terminate()
    daemon.start()
    daemon.says("is as it should be again")
    assert db.one("SELECT error FROM backfill.status") is None and "keeps rows in step until" in db.job(name)["hint"]
