"""What the names in a clause mean may change in mid-job: batches and the trigger of keep_in_sync compute the same, and have the same rows to do, or the job stops."""

import pytest

from waiting import wait_until

SET_UP = """
CREATE TABLE rate (k int PRIMARY KEY, f int, note text); INSERT INTO rate VALUES (1, 100);
CREATE TABLE new_rate (k int PRIMARY KEY, f int); INSERT INTO new_rate VALUES (1, 7);
CREATE FUNCTION near(numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3';
CREATE TYPE en AS ENUM ('new', 'old'); CREATE COLLATION co FROM "C"; CREATE COLLATION co2 FROM "POSIX";
CREATE TYPE er AS RANGE (subtype = en); CREATE TYPE ct AS (i int, j int); CREATE SEQUENCE "Odd Seq";
CREATE TEXT SEARCH CONFIGURATION conf (COPY = simple); CREATE TEXT SEARCH CONFIGURATION conf2 (COPY = english);
CREATE TABLE more (k int PRIMARY KEY, f int); INSERT INTO more VALUES (1, 100);
CREATE TABLE t (id int PRIMARY KEY, a int, k int DEFAULT 1, v int DEFAULT 2, b int);
INSERT INTO t (id, a, b) SELECT i, i, NULL FROM generate_series(1, 600) i"""

CLAUSES = {"table": "(SELECT r.f FROM rate AS r WHERE r.k = t.k)", "function": "near(a)", "column": "(SELECT v * f FROM rate AS r WHERE r.k = t.k)",
           "star": "(SELECT length(to_jsonb(q)::text) FROM (SELECT * FROM rate) q WHERE q.k = t.k)", "natural": "(SELECT count(*) FROM (SELECT k, f FROM rate) r NATURAL JOIN more)", "natural of tables": "(SELECT count(*) FROM new_rate NATURAL JOIN more)",
           "operator": "length(a::varchar || k::varchar)", "quoted": """nextval('"Odd Seq"') * 0 + (SELECT count(*) FROM pg_class WHERE oid = '"Odd Seq"'::regclass AND relkind = 'S')""",
           "label in a range": "length('[new,new]'::er::text)", "cast of a row": "length((ROW(k, 5)::ct)::text)", "label": "length('new'::en::text)", "collation": "('a' < 'b' || a::text COLLATE co)::int", "configuration": "length(to_tsvector('conf', a || ' the'))"}

OTHER = {"another table took the name": ("table", "ALTER TABLE rate RENAME TO old_rate; ALTER TABLE new_rate RENAME TO rate",
                                         "ALTER TABLE rate RENAME TO new_rate; ALTER TABLE old_rate RENAME TO rate", "public.old_rate where it means public.rate"),
         "two tables changed their names": ("table", "ALTER TABLE rate RENAME TO x; ALTER TABLE new_rate RENAME TO rate; ALTER TABLE x RENAME TO new_rate",
                                            "ALTER TABLE rate RENAME TO x; ALTER TABLE new_rate RENAME TO rate; ALTER TABLE x RENAME TO new_rate", "public.new_rate where it means public.rate"),
         "a table is called otherwise": ("table", "ALTER TABLE rate RENAME TO old_rate", "ALTER TABLE old_rate RENAME TO rate", ""),
         "a column changed its name": ("table", "ALTER TABLE rate RENAME f TO g; ALTER TABLE rate ADD f int DEFAULT 9", "ALTER TABLE rate DROP f; ALTER TABLE rate RENAME g TO f", "means something else"),
         "a function came that fits better": ("function", "CREATE FUNCTION near(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 4'", "DROP FUNCTION near(int)", "calls near(numeric) where it means near(integer)"),
         "a column came to a star": ("star", "ALTER TABLE rate ADD more int DEFAULT 5", "ALTER TABLE rate DROP more", "means something else"),
         "a column of a star was renamed": ("star", "ALTER TABLE rate RENAME note TO remarks", "ALTER TABLE rate RENAME remarks TO note", "means something else"),
         "both tables of a natural join got a column": ("natural of tables", "ALTER TABLE new_rate ADD z int DEFAULT 1; ALTER TABLE more ADD z int DEFAULT 2", "ALTER TABLE new_rate DROP z; ALTER TABLE more DROP z", "means something else"),
         "labels were exchanged": ("label", "ALTER TYPE en RENAME VALUE 'new' TO 'legacy'; ALTER TYPE en RENAME VALUE 'old' TO 'new'", "ALTER TYPE en RENAME VALUE 'new' TO 'old'; ALTER TYPE en RENAME VALUE 'legacy' TO 'new'", "means something else"),
         "an operator came that fits better": ("operator", "CREATE FUNCTION pair(varchar, varchar) RETURNS varchar LANGUAGE sql IMMUTABLE AS 'SELECT $1'; CREATE OPERATOR public.|| (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = pair)",
                                               "DROP OPERATOR public.|| (varchar, varchar)", "means something else"),
         "what a constant names in quotes was exchanged": ("quoted", """ALTER SEQUENCE "Odd Seq" RENAME TO other_seq; CREATE TABLE "Odd Seq" (a int)""", """DROP TABLE "Odd Seq"; ALTER SEQUENCE other_seq RENAME TO "Odd Seq\"""", "means something else"),
         "labels within a range": ("label in a range", "ALTER TYPE en RENAME VALUE 'new' TO 'legacy'; ALTER TYPE en RENAME VALUE 'old' TO 'new'", "ALTER TYPE en RENAME VALUE 'new' TO 'old'; ALTER TYPE en RENAME VALUE 'legacy' TO 'new'", "means something else"),
         "a cast of a row came": ("cast of a row", "CREATE FUNCTION told(ct) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'q'::text$$; CREATE CAST (ct AS text) WITH FUNCTION told(ct)", "DROP CAST (ct AS text)", "means something else"),
         "a label was renamed": ("label", "ALTER TYPE en RENAME VALUE 'new' TO 'legacy'", "ALTER TYPE en RENAME VALUE 'legacy' TO 'new'", "does not read as it did any more"),
         "collations were exchanged": ("collation", "ALTER COLLATION co RENAME TO co3; ALTER COLLATION co2 RENAME TO co", "ALTER COLLATION co RENAME TO co2; ALTER COLLATION co3 RENAME TO co", "means something else"),
         "configurations were exchanged": ("configuration", "ALTER TEXT SEARCH CONFIGURATION conf RENAME TO conf3; ALTER TEXT SEARCH CONFIGURATION conf2 RENAME TO conf",
                                           "ALTER TEXT SEARCH CONFIGURATION conf RENAME TO conf2; ALTER TEXT SEARCH CONFIGURATION conf3 RENAME TO conf", "means something else"),
         "a schema may be used": ("function", "GRANT USAGE ON SCHEMA app TO app", "REVOKE USAGE ON SCHEMA app FROM app", "means something else"),
         "a schema came before": ("function", "ALTER SCHEMA app RENAME TO app2; CREATE SCHEMA app AUTHORIZATION app; CREATE FUNCTION app.near(numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 5'", "DROP FUNCTION app.near(numeric)", "means something else"),
         "a nearer column came": ("column", "ALTER TABLE rate ADD v int DEFAULT 5", "ALTER TABLE rate DROP v", "means something else")}


def held_in_the_middle(db, clause, then, asked=None):
    """Runs a job in which one row of 600 is held until names have changed."""
    db.close_public()
    db.admin.execute(f"GRANT CREATE ON DATABASE {db.name} TO app")
    db.app.execute(SET_UP)
    db.admin.execute("CREATE SCHEMA app; CREATE FUNCTION app.near(numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 5'")  # which app may not use
    db.daemon(max_rows=50)
    with db.locked_rows("id = 300"):
        name = db.submit(set_clause="b = " + clause, where_clause="b IS NULL" + (asked or ""), keep_in_sync=True)
        wait_until(lambda: db.left_behind(), what="all rows but one are done")
        db.admin.execute(then)
    return name


@pytest.mark.parametrize("change", OTHER)
def test_set_clause_keeps_what_it_meant_to_batches_as_to_the_trigger(db, change):
    what, ddl, back, _ = OTHER[change]
    name = held_in_the_middle(db, CLAUSES[what], "BEGIN; " + ddl + "; COMMIT; INSERT INTO t (id, a) VALUES (601, 601); UPDATE t SET a = a + 0, k = 1 WHERE id = 7")
    db.finish(name)
    assert db.one("SELECT b FROM t WHERE id = 300") is not None
    if what.startswith("label"):  # it reads what labels are called, as it would read a table
        assert db.one("SELECT count(DISTINCT b) FROM t WHERE id IN (300, 601)") == 1
        return
    db.admin.execute("BEGIN; " + back + "; COMMIT")
    assert db.one(f"SELECT count(*) FROM t WHERE b IS DISTINCT FROM {CLAUSES[what]}") == 0


RATE = "(SELECT r.f FROM rate AS r WHERE r.k = t.k)"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, a int, k int DEFAULT 1, b int, c int, d ct, e int[])"
SHAPES = {"several columns": (TABLE, f"b = {RATE}, c = a + {RATE}", "b IS NULL AND c IS NULL", f"b = {RATE} AND c = a + {RATE}"),
          "columns that are kept": (TABLE + "; INSERT INTO t (id, a, b) VALUES (1, 1, 100)", f"b = {RATE}, c = a + {RATE}", "b IS NULL OR c IS NULL", f"b = {RATE} AND c = a + {RATE}"),
          "one sub-select": (TABLE, "(b, c) = (SELECT r.f, r.f + a FROM rate AS r WHERE r.k = t.k)", "b IS NULL AND c IS NULL", f"b = {RATE} AND c = a + {RATE}"),
          "parts": (TABLE, f"d.i = {RATE}, e[2] = {RATE}", "d IS NULL AND e IS NULL", f"(d).i = {RATE} AND e[2] = {RATE}"),
          "its own column": (TABLE, f"b = coalesce(b, 0) + {RATE}, c = 1", "c IS NULL", f"b = {RATE} AND c = 1"),
          "another value each time": (TABLE, f"b = {RATE} + (random() * 1e6)::int * 1000, c = 1", "b IS NULL AND c IS NULL", f"b % 1000 = {RATE} AND c = 1"),
          "nothing of the row": (TABLE, """b = (SELECT max(f) FROM rate), c = nextval('"Odd Seq"')""", "b IS NULL AND c IS NULL", f"b = {RATE} AND c > 0"),
          "partitions": (TABLE + " PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (200);"
                         "CREATE TABLE t2 (e int[], gone text, d ct, c int, b int, a int, k int DEFAULT 1, id int NOT NULL); ALTER TABLE t2 DROP gone; ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (200) TO (1000)",
                         f"b = {RATE}, c = a + {RATE}", "b IS NULL AND c IS NULL", f"b = {RATE} AND c = a + {RATE}")}


@pytest.mark.parametrize("shape", SHAPES)
def test_batches_compute_by_the_triggers_function_whatever_the_clause_assigns(db, shape):
    table, clause, where, right = SHAPES[shape]
    db.app.execute(SET_UP + "; DROP TABLE t; " + table + "; INSERT INTO t (id, a) SELECT i, i FROM generate_series(2, 600) i")
    db.daemon(max_rows=50)
    with db.locked_rows("id = 300"):
        name = db.submit(set_clause=clause, where_clause=where, keep_in_sync=True)
        wait_until(lambda: db.left_behind(), what="all rows but one are done")
        db.app.execute("BEGIN; ALTER TABLE rate RENAME TO old_rate; ALTER TABLE new_rate RENAME TO rate; INSERT INTO t (id, a) VALUES (601, 601); COMMIT")
    db.finish(name)
    db.app.execute("ALTER TABLE rate RENAME TO new_rate; ALTER TABLE old_rate RENAME TO rate")
    assert db.one(f"SELECT count(*) FROM t WHERE ({right}) IS NOT TRUE") == 0
    if "c > 0" in right:
        assert db.one("SELECT count(*) - count(DISTINCT c) FROM t") == 0


@pytest.mark.parametrize("partitioned", [False, True])
def test_columns_come_and_go_beside_the_batches(db, partitioned):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, x int, a int, b int)" + (" PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9999)" if partitioned else ""))
    db.app.execute("INSERT INTO t (id, a) SELECT i, i FROM generate_series(1, 3000) i")
    db.daemon(max_rows=20)
    name = db.submit(set_clause="b = a + 1", where_clause="b IS NULL", keep_in_sync=True, max_rows_per_s=1000)
    for ddl in ("ADD y int", "DROP x", "RENAME y TO z", "ADD x text"):
        done = db.one("SELECT count(b) FROM t")
        db.app.execute("ALTER TABLE t " + ddl)
        wait_until(lambda: db.one("SELECT count(b) FROM t") > done + 100, what="batches go on")
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a + 1") == 0


def test_a_job_whose_row_function_was_dropped_fills_nothing_by_its_clause(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t SELECT i, i FROM generate_series(1, 5000) i")
    db.daemon(max_rows=50)
    name = db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True, max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(b) FROM t") > 0, what="it is at work")
    db.app.execute("DROP FUNCTION " + db.one("SELECT oid::regprocedure::text FROM pg_proc WHERE proname LIKE 'backfilld%%value'") + " CASCADE")
    failed = db.finish(name, "failed")
    assert "keeps no row in step" in failed["hint"], failed
    db.app.execute("SELECT backfill.retry(%s)", [name])
    failed = db.finish(name, "failed")
    assert failed["error"] == "the trigger of keep_in_sync on public.t is not there any more" and "insert the job again" in failed["hint"], failed


@pytest.mark.parametrize("change", OTHER)
def test_a_job_stops_before_its_batches_have_other_rows_to_do_than_its_trigger(db, change):
    what, ddl, back, words = OTHER[change]
    name = held_in_the_middle(db, "1", "BEGIN; " + ddl + "; COMMIT", f" AND (SELECT {CLAUSES[what]}) IS NOT NULL")
    failed = db.finish(name, "failed")
    assert words in failed["error"] and ("retry" in failed["hint"] or not words), failed
    assert db.one("SELECT b FROM t WHERE id = 300") is None
    db.admin.execute("BEGIN; " + back + "; COMMIT")
    db.app.execute("SELECT backfill.retry(%s)", [name])  # as the hint says
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM 1") == 0


@pytest.mark.parametrize("where", ["b IS NULL AND near(a) = 3", "(b IS NULL OR b = 0) AND near(a) = 3", "b IS NULL AND c IS NULL AND near(a) = 3"])
def test_where_clause_keeps_what_it_meant_where_no_sub_select_is_in_it(db, where):
    db.close_public()
    db.app.execute(SET_UP + "; ALTER TABLE t ADD c int")
    db.daemon(max_rows=50)
    with db.locked_rows("id = 300"):
        name = db.submit(set_clause="b = 1, c = 2", where_clause=where, keep_in_sync=True)
        wait_until(lambda: db.left_behind(), what="all rows but one are done")
        db.app.execute("CREATE FUNCTION near(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 4'; INSERT INTO t (id, a) VALUES (601, 601)")
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b = 1 AND c = 2") == 601


SAME = {"a column that no clause names": ("table", "ALTER TABLE rate ADD more int; ALTER TABLE rate RENAME note TO remark"),
        "another function of that name": ("function", "CREATE FUNCTION near(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 9'"),
        "a table of that name elsewhere": ("table", "CREATE SCHEMA aside; CREATE TABLE aside.rate (k int, f int); CREATE TYPE aside.f AS ENUM ()"),
        "a body that was replaced": ("function", "CREATE OR REPLACE FUNCTION near(numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1 + 2'")}


@pytest.mark.parametrize("change", SAME)
def test_names_that_no_clause_means_stop_nothing(db, change):
    what, ddl = SAME[change]
    name = held_in_the_middle(db, "1", ddl, f" AND (SELECT {CLAUSES[what]}) IS NOT NULL")
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM 1") == 0


def test_columns_that_come_to_tables_of_a_join_stop_nothing(db):
    name = held_in_the_middle(db, "1", "ALTER TABLE rate ADD more int; ALTER TABLE new_rate ADD most int; ALTER TABLE new_rate RENAME f TO g",
                              " AND (SELECT count(*) FROM rate r JOIN new_rate n USING (k) WHERE r.k = t.k) = 1")
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM 1") == 0


def test_what_others_make_elsewhere_makes_no_batch_look_again(db):
    """In their own temporary schema, or in one that is not on the job's path: nothing there can be meant."""
    name = held_in_the_middle(db, "1", "CREATE SCHEMA aside AUTHORIZATION app", f" AND (SELECT {CLAUSES['function']}) IS NOT NULL")
    before = db.one("SELECT names FROM backfill.token")
    with db.connect("app") as session:
        for schema in ("pg_temp", "aside"):
            session.execute(f"CREATE FUNCTION {schema}.near(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 4'; CREATE TABLE {schema}.rate (a int); CREATE TYPE {schema}.near AS ENUM ();"
                            f"CREATE FUNCTION {schema}.f(point, point) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'; CREATE OPERATOR {schema}.= (LEFTARG = point, RIGHTARG = point, FUNCTION = {schema}.f)")
        db.finish(name)
        assert before and db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM 1") == 0
        assert db.one("SELECT bool_and(names = %s) FROM backfill.token", before) is not False  # NULL: it is gone with the job's end


def test_who_takes_the_names_of_the_functions_for_the_comparison_hides_nothing(db):
    db.admin.execute(f"GRANT CREATE ON SCHEMA public TO other; GRANT CREATE ON DATABASE {db.name} TO app")
    db.app.execute(SET_UP + "; CREATE OR REPLACE FUNCTION near(numeric) RETURNS int LANGUAGE sql IMMUTABLE RETURN 3")
    db.daemon(max_rows=50)
    with db.locked_rows("id = 300"):
        name = db.submit(set_clause="b = 1", where_clause="b IS NULL AND (SELECT near(a)) > 0", keep_in_sync=True)
        wait_until(lambda: db.left_behind(), what="all rows but one are done")
        taken = db.one("SELECT proname::text FROM pg_proc WHERE proname LIKE 'backfilld%%rest'")
        db.session("other").execute(f"CREATE FUNCTION {taken}_twin(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION near(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT -1'")
    failed = db.finish(name, "failed")
    assert "calls near(numeric) where it means near(integer)" in failed["error"], failed["error"]
    assert db.one("SELECT b FROM t WHERE id = 300") is None


@pytest.mark.parametrize("clause", ["w = 'now'", "w = 'Today '", "w = upper('[today,tomorrow)'::daterange)", "w = ('{now}'::timestamptz[])[1]", "w = w + ('tomorrow'::date - DATE 'yesterday') * interval '1 day'"])
def test_a_constant_that_is_a_moment_is_refused_with_what_to_write(db, clause):
    """The trigger's functions would keep it."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, w timestamptz, x text); INSERT INTO t SELECT i FROM generate_series(1, 300) i")
    db.daemon()
    failed = db.finish(db.submit(set_clause=clause, where_clause="w IS NULL", keep_in_sync=True), "failed")
    assert failed["phase"] == "preflight" and "is a moment" in failed["error"] and "now()" in failed["hint"], failed
    db.finish(db.submit(set_clause="x = 'now'", where_clause="x IS NULL", keep_in_sync=True))  # a text


def test_a_default_stays_what_it_was_when_the_job_began(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, b int); INSERT INTO t SELECT i FROM generate_series(1, 5000) i; ALTER TABLE t ALTER b SET DEFAULT 8")
    db.daemon(max_rows=50)
    name = db.submit(set_clause="b = DEFAULT", where_clause="b IS NULL", keep_in_sync=True, max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE b = 8") > 0, what="it is at work")
    db.app.execute("ALTER TABLE t ALTER b SET DEFAULT 9")
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM 8") == 0


LOOT = """CREATE SCHEMA g; GRANT ALL ON SCHEMA g TO PUBLIC; CREATE TABLE g.log (who text); GRANT ALL ON g.log TO PUBLIC;
CREATE FUNCTION g.steal() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO g.log VALUES (current_user); RETURN 1; END $$"""
PLACES = {"the table above a partition was renamed": (
              "CREATE TABLE t (id bigint PRIMARY KEY, a int, b int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t DEFAULT", "t",
              "CREATE TABLE public.ready (id bigint, a int, b int); GRANT ALL ON public.ready TO app", "public", "public.ready, anyenum, anyenum", "ALTER TABLE t RENAME TO moved", "ALTER TABLE ready RENAME TO t", "succeeded"),
          "its schema was": (
              "CREATE SCHEMA parts; CREATE TABLE place.t (id bigint PRIMARY KEY, a int, b int) PARTITION BY RANGE (id); CREATE TABLE parts.t1 PARTITION OF place.t DEFAULT", "place.t",
              "CREATE SCHEMA ready; CREATE TABLE ready.t (id bigint, a int, b int); GRANT ALL ON SCHEMA ready TO app; GRANT ALL ON ready.t TO app; CREATE TYPE ready.{token} AS ENUM ()",
              "ready", "ready.t, ready.{token}, ready.{token}", "ALTER SCHEMA place RENAME TO elsewhere", "ALTER SCHEMA ready RENAME TO place", "failed"),
          "the table was moved, and the schema of its functions renamed": (
              "CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO other; CREATE TABLE place.t (id bigint PRIMARY KEY, a int, b int)", "place.t",
              "CREATE SCHEMA ready; GRANT ALL ON SCHEMA ready TO app; CREATE TYPE ready.{token} AS ENUM ()", "ready", "elsewhere.t, ready.{token}, ready.{token}", "ALTER SCHEMA place RENAME TO oldplace",
              "ALTER SCHEMA ready RENAME TO place", "failed")}


@pytest.mark.parametrize("place", PLACES)
def test_a_function_that_comes_to_the_name_in_a_batch_is_not_called(db, place):
    table, target, prepared, schema, arguments, renamed, taken, state = PLACES[place]
    db.admin.execute(LOOT + f"; CREATE SCHEMA place AUTHORIZATION app; GRANT CREATE ON SCHEMA public TO other; GRANT CREATE ON DATABASE {db.name} TO app, other")
    db.app.execute(table + f"; INSERT INTO {target} SELECT i, i FROM generate_series(1, 2000) i")
    db.daemon(max_rows=20)
    name = db.submit(target=target, set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True, max_rows_per_s=200)
    wait_until(lambda: int((db.cursor(name) or ["0"])[0]) >= 100, what="it is at work")
    token = db.one("SELECT typname::text FROM pg_type WHERE typname ~ '^backfilld_sync'")
    if "elsewhere.t" in arguments:
        db.app.execute("ALTER TABLE place.t SET SCHEMA elsewhere")
    with db.connect("other") as other:
        other.execute(prepared.format(token=token))
        other.execute(f"CREATE FUNCTION {schema}.{token}_value({arguments.format(token=token)})" + ' RETURNS TABLE ("0" int, "1" int) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT 0, g.steal(); END $$')
        db.app.execute(renamed)
        other.execute(taken)
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL")
    job = db.finish(name, state)
    assert db.one("SELECT count(*) FROM g.log") == 0
    if state == "succeeded":
        assert db.one("SELECT count(*) FROM moved WHERE b IS DISTINCT FROM a") == 0
    else:
        assert "schema was renamed" in job["error"] or "not there" in job["error"], job["error"]


def test_a_function_that_is_not_the_table_owners_any_more_is_not_called(db):
    db.admin.execute(LOOT + "; CREATE ROLE team_a; CREATE ROLE team_b; GRANT team_a, team_b TO app; GRANT team_a TO other; GRANT CREATE ON SCHEMA public TO team_a, team_b")
    try:
        db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); INSERT INTO t SELECT i, i FROM generate_series(1, 2000) i; ALTER TABLE t OWNER TO team_a")
        db.daemon(max_rows=20)
        name = db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True, max_rows_per_s=200)
        wait_until(lambda: int((db.cursor(name) or ["0"])[0]) >= 100, what="it is at work")
        db.admin.execute("ALTER TABLE t OWNER TO team_b")
        function, arguments = db.all("SELECT oid::regproc::text, pg_get_function_identity_arguments(oid) FROM pg_proc WHERE proname ~ '^backfilld_sync.*value$'")[0]
        with db.connect("other") as other:
            other.execute(f"CREATE OR REPLACE FUNCTION {function}({arguments})" + ' RETURNS TABLE ("0" int, "1" int) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT 0, g.steal(); END $$')
        failed = db.finish(name, "failed")
        assert failed["error"] == "the trigger of keep_in_sync on public.t belongs to another role than the table", failed["error"]
        assert db.one("SELECT count(*) FROM g.log") == 0
        db.admin.execute("DROP TABLE t CASCADE")
    finally:
        db.admin.execute("DROP OWNED BY team_a, team_b CASCADE; DROP ROLE team_a; DROP ROLE team_b")
