"""What the catalog knows is asked at INSERT: each refusal has a hint that can be followed, and what isn't refused goes through."""

import contextlib

import psycopg
import pytest
from cluster import Cluster
from database import Database, prepare
from waiting import wait_until


def refusal(db, session=None, **columns):
    """Submits a job that is refused: what is said, with the hint that each refusal has behind it."""
    with pytest.raises(psycopg.Error) as refused:
        db.submit(session=session, **columns)
    diag = refused.value.diag
    assert diag.column_name and diag.message_primary.startswith(f"{diag.column_name}: ") and diag.message_hint, refused.value
    return f"{diag.message_primary} | {diag.message_hint}"


def done(db, **columns):
    """Submits a job and waits until it has succeeded."""
    if not db.daemons:
        db.daemon()
    return db.finish(db.submit(**columns))


def constraints(db, table="t"):
    return dict(db.all("SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('c', 'f', 'u')", table))


@contextlib.contextmanager
def unchanged(db, table="t"):
    look = "SELECT backfill.definition_of(%s::regclass), (SELECT count(*) FROM backfill.job)"
    before = db.all(look, table)
    yield
    assert db.all(look, table) == before


# ---- add_column

DOMAINS = """CREATE DOMAIN cents AS bigint DEFAULT 0; CREATE DOMAIN price AS cents; CREATE DOMAIN pos AS numeric(12,2) CHECK (VALUE > 0);
             CREATE DOMAIN must AS text NOT NULL; CREATE DOMAIN plain AS varchar(7); CREATE TYPE pair AS (a pos, b int)"""


def test_a_domain_with_a_rule_of_its_own_is_no_type_for_a_new_column(db):
    db.table(rows=10)
    db.app.execute(DOMAINS)
    with unchanged(db):
        for type, base in [("cents", "bigint"), ("price", "bigint"), ("pos", "numeric(12,2)"), ("must", "text")]:
            assert f"'c {base}'" in refusal(db, add_column=f"c {type}", set_clause="c = '1'")


def test_types_that_merely_hold_such_a_domain_are_taken(db):
    db.table(rows=10)
    db.app.execute(DOMAINS)
    for column, type, value in [("a", "cents[]", "'{1}'"), ("b", "pair", "'(1,2)'"), ("c", "plain", "'x'"), ("d", "pos[]", "'{1}'")]:
        done(db, add_column=f"{column} {type}", set_clause=f"{column} = {value}")
        assert db.one(f"SELECT count({column}) FROM t") == 10


TYPES = [
    ("C varchar(30)", "character varying(30)", "default"), ('c "char"', '"char"', None), ("c numeric(12,2)[]", "numeric(12,2)[]", None),
    ("c timestamp(3) with time zone", "timestamp(3) with time zone", None), ("c interval day to second(3)", "interval day to second(3)", None),
    ('c text COLLATE "C"', "text", "C"), ("c text collate pg_catalog.\"POSIX\" -- so", "text", "POSIX"), ("c /* a */ \"Odd schema\".\"a type\"", '"Odd schema"."a type"', None),
    ("c \"Odd schema\".\"a type\"[]", '"Odd schema"."a type"[]', None), ("c mood", "x.mood", None), ("c int[3]", "integer[]", None), ("c char(3)", "character(3)", "default"),
]


def test_column_has_the_type_that_was_written(db):
    db.admin.execute('CREATE SCHEMA "Odd schema" AUTHORIZATION app; CREATE SCHEMA x AUTHORIZATION app')
    db.app.execute("CREATE TYPE \"Odd schema\".\"a type\" AS ENUM ('a'); CREATE TYPE x.mood AS ENUM ('a')")
    db.daemon(workers=4)
    with db.connect() as session:
        session.execute("SET search_path = public, x")
        for n, (said, _, _) in enumerate(TYPES):
            db.table(f"t{n}", rows=1)
            db.submit(session=session, target=f"t{n}", name=f"{n}", add_column=said, set_clause="c = NULL", where_clause="c IS NULL AND n > 5")
    for n, (said, type, collation) in enumerate(TYPES):
        db.finish(f"{n}", timeout=60)
        assert db.all("SELECT format_type(atttypid, atttypmod), (SELECT collname::text FROM pg_collation l WHERE l.oid = attcollation) FROM pg_attribute"
                      " WHERE attrelid = %s::regclass AND attname = 'c'", f"t{n}") == [(type, collation)], said


NO_COLUMNS = [
    ("c", "is not one column"), ("", "is not one column"), ("'c' int", "is not one column"), ("c int, d int", "is not one column"), ("c int) , (d int", "syntax error"),
    ("c int; DROP TABLE t", "syntax error"), ("c int + 1", "syntax error"), ("c int NOT NULL", "more than a type"), ("c int CHECK (c > 0)", "more than a type"),
    ("c int GENERATED ALWAYS AS (1) STORED", "more than a type"), ("c serial", 'type "serial" does not exist'), ("c setof int", "SETOF"), ("c record", "pseudo-type"),
    ("c text COLLATE nix", "collation"), ("c int COLLATE \"C\"", "not support"), ("c text COLLATE \"C\" || 'x'", "syntax error"), ("c nix", 'type "nix" does not exist'),
    ("c pg_temp.mine", "is temporary"),
]


def test_what_is_no_column_is_refused(db):
    db.table(rows=3)
    db.app.execute("CREATE TYPE pg_temp.mine AS (a int)")
    with unchanged(db):
        for said, message in NO_COLUMNS:
            assert message in refusal(db, add_column=said, set_clause="c = NULL"), said


AHEAD = [
    ("c = n / 2.0", None), ("c = n", None), ("c = '12'", None), ("c = (SELECT max(n) FROM t x)", None), ("c = length(t::text)", None), ("c = total(t)", None), ("c = NULL", None),
    ("(c, n) = (SELECT n, 1)", None), ("(c, n) = ROW(n, 1)", None), ("c = n, n = DEFAULT", None), ("c = t.n", None), ("c = CASE WHEN n > 1 THEN 1 ELSE 2 END", None),
    ("c = n::text", "is of type bigint but expression is of type text"), ("c = 'text'", "invalid input syntax"), ("d = 1", 'column "d" of relation "t" does not exist'),
    ("c = count(*)", "aggregate"), ("c = generate_series(1, 2)", "set-returning"), ("c = row_number() OVER ()", "window"), ("c = 1, c = 2", "multiple assignments"),
    ("c = n WHERE true", "syntax error"), ("c = n; DROP TABLE t", "syntax error"), ("c = (n", "syntax error"), ("c = n) --", "syntax error"), ("c = nix(1)", "does not exist"),
    ("(c, n) = (SELECT 1, 2, 3)", "number of columns"), ("c = 1, ctid = '(0,1)'", "system column"), ("c", "syntax error"), ("c = 1, id = nix", 'column "nix"'), ("c = x", 'column "x"'),
    ("c = n FROM t x", "syntax error"), ("c = $1", "no parameter"),
]


def test_clauses_are_read_before_their_column_is_there(db):
    db.table(rows=3, columns="n int NOT NULL DEFAULT 4")
    db.app.execute("CREATE FUNCTION total(t) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1.n::bigint'")
    with unchanged(db):
        for clause, message in AHEAD:
            if message:
                assert message in refusal(db, add_column="c bigint", set_clause=clause), clause
    for clause, message in AHEAD:
        if not message:
            db.submit(add_column="c bigint", set_clause=clause, wanted="pause")


# What is said of it, and what the hint names.
AROUND = [
    ({"set_clause": "c = n FROM other"}, 'near "FROM"', "sub-select"), ({"set_clause": "c = 3 WHERE n > 1"}, 'near "WHERE"', "where_clause"),
    ({"set_clause": "c = 3 WHERE n > 1 --"}, 'near "WHERE"', "where_clause"), ({"set_clause": "c = 3 RETURNING n"}, 'near "RETURNING"', "Leave it out"),
    ({"set_clause": "c = 3;"}, 'near ";"', "semicolon"), ({"set_clause": "c = 3", "where_clause": "c IS NULL; -- done"}, 'near ";"', "semicolon"),
    ({"set_clause": "c = 3; DROP TABLE t"}, "more than one SQL command", "a job for each"), ({"set_clause": "c = 3 /* x"}, "unterminated /* comment", "after SET"),
    ({"set_clause": "c = cardinality($1)"}, "no parameter $1", "value itself"), ({"set_clause": "c = 3", "where_clause": "$4 IS NULL"}, "no parameter $4", "value itself"),
]


@pytest.mark.parametrize("columns", [{}, {"keep_in_sync": True}, {"add_column": "c int"}])
def test_what_stands_around_a_clause_is_refused_by_its_name(db, columns):
    """An UPDATE may take it; a job's own statements, which are written around the clause, can't."""
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, n int{'' if 'add_column' in columns else ', c int'}); CREATE TABLE other (n int)")
    with unchanged(db):
        for clauses, problem, hint in AROUND:
            with pytest.raises(psycopg.Error) as refused:
                db.submit(**columns, **clauses)
            assert problem in str(refused.value) and hint in refused.value.diag.message_hint, (clauses, str(refused.value))
    for fine in ("c = n -- FROM other", "c = CASE WHEN n IS DISTINCT FROM 3 THEN 1 END /* ; */", "c = length('$1; WHERE')", "c = (SELECT n FROM other WHERE false)"):
        name = db.submit(wanted="pause", **columns, set_clause=fine)
        db.app.execute("SELECT backfill.cancel(%s)", [name])


@pytest.mark.parametrize("columns", [{}, {"add_column": "c int"}])
def test_what_no_trigger_has_of_a_row_is_refused_before_anything_is_changed(db, columns):
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED, j jsonb{'' if columns else ', c int'}); CREATE TABLE u (LIKE t INCLUDING ALL)")
    db.app.execute("ALTER TABLE u DROP g")
    whole = ("c = length({0}::text)", "c = (to_jsonb({0}) ->> 'n')::int", "c = hashtext(({0}.*)::text)", "c = CASE WHEN {0} IS NULL THEN 1 ELSE 2 END")
    with unchanged(db):
        for clause in ("c = g", "c = t.g + 1"):
            assert "reads the generated column g" in refusal(db, keep_in_sync=True, set_clause=clause, **columns)
        assert "reads the generated column g" in refusal(db, keep_in_sync=True, set_clause="c = n", where_clause="c IS NULL AND g > 2", **columns)
        for clause in whole:
            for target in "tu":
                assert "reads the row as a whole" in refusal(db, target=target, keep_in_sync=True, set_clause=clause.format(target), **columns)
        assert "reads the row as a whole" in refusal(db, keep_in_sync=True, set_clause="c = n", where_clause="c IS NULL AND t::text <> ''", **columns)
    for clause in whole:
        db.submit(wanted="pause", set_clause=clause.format("t"), **columns)
    for clause in ("c = t.n", "c = length(to_jsonb(ROW(t.id, n))::text)", "c = (SELECT count(*) FROM t WHERE t.id = 1)"):
        name = db.submit(wanted="pause", keep_in_sync=True, set_clause=clause, **columns)
        db.app.execute("SELECT backfill.cancel(%s)", [name])


def test_a_dry_run_tells_what_the_job_would_meet_later(db):
    db.table(rows=30)
    db.daemon()
    for columns, problem in (({"add_column": "c int", "set_clause": "c = (SELECT max(n) FROM t)"}, "would read the whole table"),
                             ({"add_column": "d text", "set_clause": "d = session_user::text", "keep_in_sync": True}, "reads session_user")):
        for dry in (True, False):
            job = db.finish(db.submit(dry_run=dry, **columns), "failed")
            assert problem in job["error"] and job["phase"] == "preflight", job["error"]
    assert done(db, add_column="e int", set_clause="e = public.t.n + 1") and db.counts(column="e") == {1: 30}


def test_how_a_clause_may_name_its_table_is_said(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int, c int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100)")
    db.app.execute("CREATE TABLE u (id int PRIMARY KEY, n int, c int); INSERT INTO t SELECT g, g FROM generate_series(1, 30) g; INSERT INTO u TABLE t")
    for columns in ({"set_clause": "c = public.t.n"}, {"add_column": "d int", "set_clause": "d = public.t.n"}, {"set_clause": "c = 1", "where_clause": "public.t.c IS NULL"}):
        assert "behind the table's name without its schema" in refusal(db, target="t", **columns)
    for table in "tu":
        done(db, target=table, set_clause=f"c = {table}.n", where_clause=f"{table}.c IS NULL")
        assert db.one(f"SELECT count(*) FROM {table} WHERE c = n") == 30
    done(db, target="u", set_clause="c = public.u.n + 1")


def test_where_clause_is_read_before_its_column_is_there(db):
    db.table(rows=3)
    db.submit(add_column="c bigint", set_clause="c = n", where_clause="c IS NULL AND n >= 0 AND t.ctid IS NOT NULL", wanted="pause")
    for clause in ("c IS NUL", "d IS NULL", "c", "true) OR (true", "c IS NULL; DROP TABLE t", "count(c) = 1"):
        assert refusal(db, add_column="c bigint", set_clause="c = n", where_clause=clause).startswith("where_clause: ")


def test_a_column_is_not_added_where_it_cannot_be(db):
    db.app.execute("""CREATE TABLE root (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
                      CREATE TABLE part PARTITION OF root FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
                      CREATE TABLE leaf PARTITION OF part FOR VALUES FROM (0) TO (5);
                      CREATE TYPE point_of AS (id int, n int); CREATE TABLE typed OF point_of (PRIMARY KEY (id))""")
    for table in ("part", "leaf"):
        said = refusal(db, target=table, add_column="c int", set_clause="c = n")
        assert "is a partition" in said and "public.root" in said
    assert "ALTER TYPE public.point_of ADD ATTRIBUTE c integer CASCADE" in refusal(db, target="typed", add_column="c int", set_clause="c = n")
    db.submit(target="leaf", set_clause="n = 1", wanted="pause")


def test_a_table_without_room_for_a_column_says_so(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int, " + ", ".join(f"c{i} int" for i in range(1598)) + ")")
    db.app.execute("ALTER TABLE t " + ", ".join(f"DROP COLUMN c{i}" for i in range(1598)))
    assert "1600 columns" in refusal(db, add_column="c int", set_clause="c = n")
    db.submit(set_clause="n = 1", wanted="pause")


# ---- Keys, partitions, children

def test_a_clause_that_changes_the_key_is_refused(db):
    db.app.execute("CREATE TABLE t (id int, at timestamp NOT NULL, n int NOT NULL UNIQUE, done boolean, PRIMARY KEY (id, at)); INSERT INTO t SELECT g, '2026-01-01', g FROM generate_series(1, 3000) g")
    said = refusal(db, set_clause="at = at + interval '1 hour'")
    assert "changes at" in said and "key = '{n}'" in said
    assert "changes id" in refusal(db, set_clause="n = 1, (id, done) = (SELECT 1, true)")
    for assigned in ("(id, n) = (id + 5003, n + 1)", "(n, id) = ROW(n + 1, id + 5003)", "n = n + (SELECT 1), id = id + 5003", "n = coalesce(n, (1)), id = id + 1"):
        assert "changes id" in refusal(db, statement=f"UPDATE t SET {assigned} WHERE {{batch}}"), assigned
    assert "a name written with U&" in refusal(db, set_clause='n = n + 1, U&"id" = id + 5003')
    assert "nested more than 50 deep" in refusal(db, set_clause="n = 1", where_clause="n IS NULL" + " AND (n IS NULL" * 60 + ")" * 60)
    assert "changes n" in refusal(db, set_clause="n = n + 5000", key=["n"])
    for statement in ("UPDATE t SET at = at + interval '1 hour' WHERE {batch}", "UPDATE ONLY public.t AS o SET n = 1, at = now() FROM t x WHERE x.id = o.id AND {batch o}",
                      "INSERT INTO t AS o SELECT * FROM t WHERE {batch} ON CONFLICT (id, at) DO UPDATE SET done = true, id = o.id + 1",
                      "WITH w AS (UPDATE t SET id = 1 WHERE {batch} RETURNING id) DELETE FROM t USING w WHERE w.id = t.id"):
        assert refusal(db, statement=statement).startswith("statement: changes "), statement
    db.submit(statement="UPDATE t SET done = (SELECT at IS DISTINCT FROM now() FROM t x LIMIT 1) FROM t id WHERE {batch t}", wanted="pause")
    db.daemon()
    db.finish(db.submit(set_clause="at = at + interval '1 hour'", key=["n"]))
    db.finish(db.submit(set_clause="at = at + interval '1 hour', done = true", where_clause="done IS NULL"))
    assert db.one("SELECT count(*) FROM t WHERE at = '2026-01-01 02:00'") == 3000


def test_a_generated_key_counts_as_changed_with_what_it_is_generated_from(db):
    db.app.execute("CREATE TABLE t (a int, g int GENERATED ALWAYS AS (a + 1) STORED, b int, PRIMARY KEY (g))")
    assert "changes g" in refusal(db, set_clause="a = a + 1")
    db.submit(set_clause="b = a + 1", wanted="pause")


def test_rows_are_moved_between_partitions_by_a_statement(db):
    db.app.execute("""CREATE TABLE p (id int, k int NOT NULL, b text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
                      CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
                      CREATE TABLE e (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); INSERT INTO p SELECT g, 1 FROM generate_series(1, 50) g""")
    for target in ("p", "p1"):
        said = refusal(db, target=target, set_clause="k = 2", where_clause="k = 1")
        assert "changes k of public.p" in said and "statement" in said
    db.app.execute("CREATE TABLE q (id int, at date NOT NULL, n int) PARTITION BY RANGE ((at + 1)); CREATE TABLE q1 PARTITION OF q FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');"
                   "ALTER TABLE q1 ADD PRIMARY KEY (id)")
    assert "changes at" in refusal(db, target="q", set_clause="at = at + 1")
    db.submit(target="q", set_clause="n = 1", wanted="pause")


def test_a_table_with_children_is_refused_for_what_would_not_reach_them(db):
    db.table(rows=10)
    db.app.execute("CREATE TABLE kid (PRIMARY KEY (id)) INHERITS (t); INSERT INTO kid SELECT 5")
    for columns in ({"set_clause": "n = 1"}, {"statement": "UPDATE t SET n = 1 WHERE {batch}"}, {"add_column": "c int", "set_clause": "c = n"}, {"enforce": ["CHECK (n > 0)"]}, {"drop_column": "n"}):
        assert "inheritance children: public.kid" in refusal(db, **columns)
    done(db, target="kid", set_clause="n = 1")


# ---- Constraints

def test_unnamed_constraints_get_names_of_their_own(db):
    db.table(rows=10, columns="n int NOT NULL DEFAULT 5")
    db.daemon()
    db.finish(db.submit(enforce=["CHECK (n >= 0)", "CHECK (n < 1000)", "CHECK (n <> -id)", "CHECK (n + id > 0)"], wanted="run"))
    assert constraints(db) == {"t_n_check": "CHECK ((n >= 0))", "t_n_check1": "CHECK ((n < 1000))", "t_check": "CHECK ((n <> (- id)))", "t_check1": "CHECK (((n + id) > 0))"}


def test_constraints_of_queued_jobs_get_names_of_their_own(db):
    db.table(rows=10, columns="n int NOT NULL DEFAULT 15")
    names = [db.submit(enforce=[f"CHECK (n > {i})"]) for i in range(3)]
    assert "gets another constraint x already, by this job" in refusal(db, enforce=["CONSTRAINT x CHECK (n > 1)", "CONSTRAINT x CHECK (n > 2)"])
    names.append(db.submit(enforce=["CONSTRAINT x CHECK (n > 1)"]))
    assert "by a job that has not ended" in refusal(db, enforce=["CONSTRAINT x CHECK (n > 2)"])
    db.daemon()
    for name in names:
        db.finish(name)
    assert sorted(constraints(db)) == ["t_n_check", "t_n_check1", "t_n_check2", "x"]


def test_a_constraint_says_what_was_asked_for(db):
    db.table(rows=10, columns="state text DEFAULT 'x', n int DEFAULT 1")
    done(db, enforce=["CHECK (state <> 'IS NOT VALID') -- so", "CONSTRAINT y CHECK (state <> ')' /* ( */ AND n IS NOT NULL -- here\n) NO INHERIT", "CHECK (state <> ' NOT VALID')"])
    assert sorted(constraints(db).values()) == ["CHECK (((state <> ')'::text) AND (n IS NOT NULL))) NO INHERIT", "CHECK ((state <> ' NOT VALID'::text))",
                                                "CHECK ((state <> 'IS NOT VALID'::text))"]


def test_a_check_that_is_there_is_known_again_however_it_is_written(db):
    db.table(rows=10, columns="n int NOT NULL DEFAULT 5")
    db.app.execute("ALTER TABLE t ADD CONSTRAINT mine CHECK (n > 0 AND (n < 100)) NOT VALID")
    job = done(db, enforce=["check ((t.n > 0) and n<100)"])
    assert job["plan"]["enforce"][0]["existing"] and list(constraints(db)) == ["mine"]
    assert "NOT VALID" not in constraints(db)["mine"]
    assert "is another" in refusal(db, enforce=["CONSTRAINT mine CHECK (n > 1)"])


KEPT = [
    ("FOREIGN KEY (n) REFERENCES ref DEFERRABLE INITIALLY DEFERRED", "FOREIGN KEY (n) REFERENCES ref(id) DEFERRABLE INITIALLY DEFERRED"),
    ("foreign key (n) references public.ref (id) match full on update cascade on delete set null (n) deferrable",
     "FOREIGN KEY (n) REFERENCES ref(id) MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL (n) DEFERRABLE"),
    ("FOREIGN KEY (n) REFERENCES ref ON DELETE RESTRICT NOT DEFERRABLE", "FOREIGN KEY (n) REFERENCES ref(id) ON DELETE RESTRICT"),
    ("FOREIGN KEY (n) REFERENCES t", "FOREIGN KEY (n) REFERENCES t(id)"),
    ('FOREIGN KEY (n, "B c") REFERENCES "Ref 2" (b, a)', 'FOREIGN KEY (n, "B c") REFERENCES "Ref 2"(b, a)'),
    ("UNIQUE (n) DEFERRABLE INITIALLY DEFERRED", "UNIQUE (n) DEFERRABLE INITIALLY DEFERRED"),
    ('UNIQUE NULLS NOT DISTINCT (n, "B c") INCLUDE (m) WITH (fillfactor = 70, deduplicate_items = off) DEFERRABLE', 'UNIQUE NULLS NOT DISTINCT (n, "B c") INCLUDE (m) DEFERRABLE'),
]


def test_foreign_keys_and_unique_constraints_keep_what_was_said_of_them(db):
    db.app.execute('CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref SELECT generate_series(1, 9); CREATE TABLE "Ref 2" (a text, b int, UNIQUE (a, b)); INSERT INTO "Ref 2" VALUES (\'x\', 3);'
                   'CREATE TABLE t (id int PRIMARY KEY, n int, "B c" text DEFAULT \'x\', m int); INSERT INTO t VALUES (3, 3)')
    for item, says in KEPT:
        done(db, enforce=[item])
        assert list(constraints(db).values()) == [says]
        assert db.one("SELECT convalidated FROM pg_constraint WHERE conrelid = 't'::regclass AND contype IN ('f', 'u')")
        done(db, enforce=[item])  # again: it is there
        assert len(constraints(db)) == 1
        db.app.execute(f"ALTER TABLE t DROP CONSTRAINT \"{list(constraints(db))[0]}\"")


NO_CONSTRAINTS = [
    ("FOREIGN KEY (n) REFERENCES nix", "references no table"), ("FOREIGN KEY (n) REFERENCES ref (nix)", "has no column nix"), ("FOREIGN KEY (nix) REFERENCES ref", "has no column nix"),
    ("FOREIGN KEY (n, m) REFERENCES ref", "2 columns reference 1"), ("FOREIGN KEY (n) REFERENCES ref (k)", "nothing says that (k) is unique"), ("FOREIGN KEY (x) REFERENCES ref", "is of type text"),
    ("FOREIGN KEY (n) REFERENCES ref ON DELETE VANISH", "syntax error"), ("FOREIGN KEY (n) REFERENCES ref, ADD CHECK (true)", "syntax error"), ("FOREIGN KEY (n) REFERENCES mine", "temporary table"),
    ("FOREIGN KEY (n) REFERENCES loose", "unlogged table"), ("FOREIGN KEY (n) REFERENCES ref INITIALLY DEFERRED NOT DEFERRABLE", "NOT DEFERRABLE and INITIALLY DEFERRED"),
    ("FOREIGN KEY (n) REFERENCES v", "references no table"), ("FOREIGN KEY (n) REFERENCES bare", "has no primary key"), ("FOREIGN KEY (n) REFERENCES late (id)", "nothing says"),
    ("UNIQUE (nix)", "has no column nix"), ("UNIQUE (n, n)", "appears twice"), ("UNIQUE (j)", "ordering operator"), ("UNIQUE (n) WHERE n > 1", "syntax error"), ("UNIQUE (lower(x))", "syntax error"),
    ("UNIQUE (n) WITH (fillfactor = 5)", "parameter"), ("UNIQUE (n) USING INDEX TABLESPACE fast", "default_tablespace"), ("UNIQUE (n); DROP TABLE t", "syntax error"),
    ("CHECK (n > 0 AND (SELECT true))", "subquery"), ("CHECK (n IN (TABLE ref))", "subquery"), ("CHECK (n)", "boolean"), ("CHECK (count(n) > 1)", "aggregate"), ("CHECK (n > 0", "not closed"),
    ("CHECK (n > 0) DEFERRABLE", "syntax error"), ("CHECK (n > 0) OR (n < 0)", "syntax error"), ("CHECK (nix)", 'column "nix"'), ("CHECK (n > $1)", "no parameter"),
    ("CHECK (xmin IS NOT NULL)", 'column "xmin"'), ("NOT NULL", "name one column"), ("NOT NULL n, NOT NULL m", "name one column"), ("NOT NULL nix", "has no column nix"),
    ("INDEX (n)", "no constraint"), ("", "no constraint"), ("CONSTRAINT x", "no constraint"), ("EXCLUDE USING gist (n WITH =)", "no constraint"),
]


def test_what_is_no_constraint_is_refused(db):
    db.app.execute("""CREATE TABLE ref (id int PRIMARY KEY, k int); CREATE TEMP TABLE mine (id int PRIMARY KEY); CREATE UNLOGGED TABLE loose (id int PRIMARY KEY); CREATE TABLE bare (id int);
                      CREATE TABLE late (id int UNIQUE DEFERRABLE); CREATE VIEW v AS SELECT 1 AS id; CREATE TABLE t (id int PRIMARY KEY, n int, m int, x text, j json)""")
    with unchanged(db):
        for item, message in NO_CONSTRAINTS:
            said = refusal(db, enforce=[item])
            assert said.startswith("enforce: ") and message in said, (item, said)


def test_a_new_column_may_be_constrained_in_every_way(db):
    db.table(rows=9, columns="n int NOT NULL DEFAULT 1")
    db.app.execute("CREATE TABLE ref (id bigint PRIMARY KEY); INSERT INTO ref SELECT generate_series(1, 9)")
    done(db, add_column="c bigint", set_clause="c = id", keep_in_sync=True,
         enforce=["NOT NULL c", "CHECK (c > 0)", "UNIQUE (c)", "FOREIGN KEY (c) REFERENCES ref DEFERRABLE", "CHECK (t.c >= n)"])
    assert sorted(constraints(db)) == ["t_c_check", "t_c_fkey", "t_c_key", "t_check"]


# ---- A session's own things, and the server's

def test_a_session_with_temporary_tables_inserts_one_job_after_the_other(db):
    db.table("t", columns="v int NOT NULL DEFAULT 3")
    with db.connect() as session:
        session.execute("CREATE TEMP TABLE mine (x int)")
        names = [db.submit(session=session, add_column=f"{c} int", set_clause=f"{c} = v", keep_in_sync=True) for c in "abc"]
    db.daemon()
    for name in names:
        db.finish(name)


def test_a_temporary_table_of_the_session_is_no_part_of_a_job(db):
    """Neither one of the target's name is in the way, nor may a clause read one."""
    db.table(rows=5)
    db.table("ref", rows=5)
    db.daemon()
    with db.connect() as session:
        session.execute("CREATE TEMP TABLE t (x int); CREATE TYPE pg_temp.ref AS (a int)")
        db.finish(db.submit(session=session, target="public.t", add_column="c int", set_clause="c = id", keep_in_sync=True, enforce=["NOT NULL c", "CHECK (t.c > 0)"]))
        session.execute("CREATE TEMP TABLE mine (id int)")
        with pytest.raises(psycopg.Error, match="temporary table of this session"):
            db.submit(session=session, target="public.t", set_clause="n = 1", where_clause="id IN (SELECT id FROM mine)")
        with pytest.raises(psycopg.Error, match="temporary table of this session"):
            db.submit(session=session, target="public.t", add_column="x numeric", set_clause="x = (SELECT id FROM mine LIMIT 1)", keep_in_sync=True)


def test_jobs_need_neither_temporary_tables_nor_the_peace_of_event_triggers(db):
    db.table(rows=5)
    db.admin.execute(f"REVOKE TEMPORARY ON DATABASE {db.name} FROM PUBLIC")
    db.admin.execute("""CREATE FUNCTION no_table() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no table without a primary key'; END $$;
                        CREATE EVENT TRIGGER no_table ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION no_table()""")
    done(db, add_column="c int", set_clause="c = id", keep_in_sync=True, enforce=["NOT NULL c", "CHECK (c > 0)", "UNIQUE (c)"])


def test_row_security_that_each_new_table_gets_is_none_of_the_jobs(db):
    """The trial's copy is such a table; the job's own isn't."""
    db.table(rows=5)
    db.admin.execute("""CREATE FUNCTION add_rls() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ DECLARE o record; BEGIN
                          FOR o IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' LOOP
                            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', o.objid::regclass); END LOOP; END $$;
                        CREATE EVENT TRIGGER add_rls ON ddl_command_end EXECUTE FUNCTION add_rls()""")
    done(db, add_column="c int", set_clause="c = id", keep_in_sync=True, enforce=["NOT NULL c", "CHECK (c > 0)"])


def test_an_event_trigger_that_refuses_a_step_is_named(db):
    db.table(rows=5)
    db.admin.execute("""CREATE FUNCTION by_tool() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                          IF current_setting('application_name') <> 'migrations' THEN RAISE 'DDL by the migration tool only' USING ERRCODE = coalesce(nullif(current_setting('house.code', true), ''), 'P0001'); END IF; END $$;
                        CREATE FUNCTION other() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
                        CREATE EVENT TRIGGER a_other ON ddl_command_start EXECUTE FUNCTION other();
                        CREATE EVENT TRIGGER by_tool ON ddl_command_start EXECUTE FUNCTION by_tool()""")
    db.daemon()
    with db.connect(application_name="migrations") as session:
        for i, (code, columns) in enumerate({"P0001": {"add_column": "c int", "set_clause": "c = id"}, "42501": {"enforce": ["CHECK (n >= 0)"]}, "2F003": {"enforce": ["UNIQUE (n)"]}}.items()):
            name = db.submit(session=session, name=f"j{i}", settings={"house.code": code}, **columns)
            job = db.finish(name, "failed")
            assert job["error"] == "DDL by the migration tool only"
            assert job["hint"] == (f"Event trigger by_tool of this database (function public.by_tool()) refuses it. Have its owner let the job's sessions (application_name 'backfilld j{i}', app) pass,"
                                   f" or ALTER EVENT TRIGGER by_tool DISABLE meanwhile. Then SELECT backfill.retry('j{i}').")
    db.admin.execute("ALTER EVENT TRIGGER by_tool DISABLE")
    db.app.execute("SELECT backfill.retry('j0')")
    db.finish("j0")
    db.admin.execute("ALTER EVENT TRIGGER by_tool ENABLE")
    job = db.finish(db.submit(set_clause="c = id", keep_in_sync=True), "failed")
    assert job["error"] == "DDL by the migration tool only" and job["hint"].startswith("Event trigger by_tool of this database"), job["hint"]
    # what refuses a row is none of the kind
    db.admin.execute("ALTER EVENT TRIGGER by_tool DISABLE")
    db.app.execute("CREATE FUNCTION odd(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'odd'; END $$")
    job = db.finish(db.submit(enforce=["CHECK (odd(n))"]), "failed")
    assert job["error"] == "odd" and "vent trigger" not in (job["hint"] or "")


@pytest.mark.parametrize("array, first, hint", [
    ("{UNIQUE (n, m)}", "UNIQUE (n", "ARRAY['UNIQUE (n, m)']"),
    ("{NOT NULL n, CHECK (n IN (1, 2) AND m <> ''a,b''), CHECK (m > 0)}", "CHECK (n IN (1", "ARRAY['NOT NULL n', 'CHECK (n IN (1, 2) AND m <> ''a, b'')', 'CHECK (m > 0)']"),
    ("{FOREIGN KEY (n, m) REFERENCES ref (a, b)}", "FOREIGN KEY (n", "ARRAY['FOREIGN KEY (n, m) REFERENCES ref (a, b)']"),
    ("{CHECK (n <> ''x,y'')}", "CHECK (n <> ''x'", "ARRAY['CHECK (n <> ''x, y'')']"),
])
def test_an_item_that_its_comma_has_cut_is_told_how_to_be_written(db, array, first, hint):
    db.table(columns="n int, m text")
    with pytest.raises(psycopg.Error) as refused:
        db.app.execute(f"INSERT INTO backfill.job (target, enforce) VALUES ('t', '{array}')")
    assert first in refused.value.diag.message_primary and "within {...} a comma ends one" in refused.value.diag.message_primary
    assert refused.value.diag.message_hint == f"Write {hint}."


@pytest.mark.parametrize("items", [["CHECK (n > 0", "NOT NULL n"], ["UNIQUE (n"], ["CHECK (n > 0))", "UNIQUE ((n)"]])
def test_an_item_that_no_comma_has_cut_is_refused_as_it_is(db, items):
    db.table()
    assert "comma" not in refusal(db, enforce=items)


def test_a_table_of_pg_database_owner_is_that_of_who_owns_the_database(db):
    """That role can be granted nothing, so nobody inserts a job as it."""
    db.close_public()
    db.table(rows=5, columns="a int DEFAULT 1, b int")
    db.admin.execute(f"ALTER DATABASE {db.name} OWNER TO app; GRANT CREATE ON SCHEMA public TO pg_database_owner; GRANT ALL ON t TO other; ALTER TABLE t OWNER TO pg_database_owner")
    db.app.execute("CREATE FUNCTION who(int) RETURNS int LANGUAGE sql AS 'SELECT length(current_user) + $1'")
    db.daemon()
    with db.connect("other") as session:
        for columns in ({"add_column": "c int", "set_clause": "c = a"}, {"set_clause": "b = a", "keep_in_sync": True}, {"enforce": ["CHECK (a > 0)"]}, {"drop_column": "b"}):
            assert refusal(db, session=session, **columns).endswith("| Insert the job as app, or SET ROLE app first.")
    columns = {"set_clause": "b = who(a)", "keep_in_sync": True, "where_clause": "b IS NULL"}
    job = db.finish(db.submit(**columns), "failed")
    assert job["hint"] == "ALTER TABLE public.t OWNER TO app, which owns the database, then insert the job as that role."
    db.app.execute(job["hint"].split(", which")[0])
    db.finish(db.submit(**columns))
    assert db.counts(column="b") == {4: 5}


def test_strings_of_the_session_may_have_backslashes(db):
    db.table(rows=5, columns="n int NOT NULL DEFAULT 5")
    db.daemon()
    with db.connect() as session:
        session.execute("SET standard_conforming_strings = off")
        db.finish(db.submit(session=session, add_column="c int", set_clause="c = n", keep_in_sync=True, enforce=["NOT NULL c", "CHECK (c > 0)"], active_hours="00:00-24:00"))
        db.finish(db.submit(session=session, statement="UPDATE t AS o SET n = 6 WHERE {batch o}"))


def test_sessions_that_quote_each_name_make_no_difference(db):
    db.app.execute("CREATE TABLE c (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT generate_series(1, 5)")
    db.admin.execute(f"ALTER DATABASE {db.name} SET quote_all_identifiers = on")
    db.daemon()
    with db.connect() as session:
        for columns in ({"add_column": "m int", "set_clause": "m = id", "keep_in_sync": True, "enforce": ["NOT NULL m", "CHECK (m > 0)"]},
                        {"enforce": ["FOREIGN KEY (n) REFERENCES c (id)", "UNIQUE (n)"]}):
            db.finish(db.submit(session=session, **columns))


def test_batch_is_placed_where_it_is_no_text(db):
    db.app.execute('CREATE TABLE t (id int PRIMARY KEY, "{batch}" text); INSERT INTO t SELECT generate_series(1, 5)')
    done(db, statement="""UPDATE t SET "{batch}" = '{batch}' || $x${batch}$x$ /* {batch} */ WHERE {batch} -- {batch}""")
    assert db.all('SELECT DISTINCT "{batch}" FROM t') == [("{batch}{batch}",)]
    assert "holds {batch} 9 times" in refusal(db, statement="UPDATE t SET id = id WHERE " + " AND ".join(["{batch}"] * 9))


# ---- Elsewhere

@contextlib.contextmanager
def a_right_to_switch_triggers_off(db):
    db.admin.execute("GRANT SET ON PARAMETER session_replication_role TO app")
    try:
        yield
    finally:
        db.admin.execute("REVOKE SET ON PARAMETER session_replication_role FROM app")


def test_what_switches_triggers_off_is_no_setting_of_a_job(db):
    db.table(rows=5)
    with a_right_to_switch_triggers_off(db):
        assert "foreign keys" in refusal(db, set_clause="n = 1", settings={"Session_Replication_Role": "Replica"})
        db.submit(set_clause="n = 1", settings={"work_mem": "8MB", "session_replication_role": "origin"}, wanted="pause")


@pytest.mark.parametrize("may_set", [False, True])
def test_a_role_whose_sessions_switch_triggers_off_writes_with_them_on(db, may_set):
    db.app.execute("CREATE TABLE c (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, n int, c_id int REFERENCES c);"
                   "INSERT INTO c SELECT generate_series(1, 49); INSERT INTO t SELECT i, i FROM generate_series(1, 50) i")
    name = db.submit(set_clause="c_id = n", where_clause="c_id IS NULL")
    db.admin.execute("ALTER ROLE app SET session_replication_role = replica")
    try:
        with a_right_to_switch_triggers_off(db) if may_set else contextlib.nullcontext():
            db.daemon()
            job = db.finish(name, "failed")
            assert "violates foreign key" in job["error"] if may_set else "session_replication_role = replica" in job["hint"], job
    finally:
        db.admin.execute("ALTER ROLE app RESET session_replication_role")
    assert db.one("SELECT count(*) FROM t WHERE c_id NOT IN (SELECT id FROM c)") == 0


def test_a_table_that_cannot_be_updated_says_why_before_its_column_is_added(db):
    db.table(rows=5)
    db.app.execute("ALTER TABLE t REPLICA IDENTITY NOTHING")
    db.admin.execute("CREATE PUBLICATION p FOR TABLE t")
    for columns in ({"set_clause": "n = 1"}, {"add_column": "c int", "set_clause": "c = n"}):
        with unchanged(db):
            assert "replica identity" in refusal(db, **columns)
    db.app.execute("CREATE TABLE f (id int PRIMARY KEY, n int)")
    db.admin.execute("CREATE PUBLICATION q FOR TABLE f WHERE (n > 5)")
    assert "not part of the replica identity" in refusal(db, target="f", add_column="c int", set_clause="c = n")


def test_a_table_whose_rule_does_something_else_is_refused_before_its_column_is_added(db):
    db.table(rows=5)
    db.app.execute("CREATE TABLE log (id int); CREATE RULE elsewhere AS ON UPDATE TO t DO INSTEAD INSERT INTO log VALUES (OLD.id)")
    for columns in ({"set_clause": "n = 1"}, {"add_column": "c int", "set_clause": "c = n"}):
        with unchanged(db):
            assert "rule elsewhere does something else" in refusal(db, **columns)
    done(db, statement="UPDATE t SET n = 1 WHERE {batch}")
    assert db.one("SELECT count(*) FROM log") == 5
    db.app.execute("ALTER TABLE t DISABLE RULE elsewhere")  # as the hint says
    done(db, add_column="c int", set_clause="c = 7")
    db.app.execute("CREATE RULE also AS ON UPDATE TO t DO ALSO INSERT INTO log VALUES (OLD.id)")
    done(db, set_clause="n = 3")
    assert db.one("SELECT sum(c) FROM t") == 35 and db.one("SELECT count(*) FROM log") == 10


def test_subscribers_are_asked_for_before_they_would_stop(own_publisher):
    db = own_publisher
    db.table(rows=5)
    db.table("listed", rows=5)
    db.admin.execute("CREATE PUBLICATION p FOR TABLE t, listed (id, n)")
    db.submit(add_column="c int", set_clause="c = n", wanted="pause", name="nobody subscribes")
    db.admin.execute("SELECT pg_create_logical_replication_slot('sub', 'pgoutput')")
    try:
        said = refusal(db, add_column="d int", set_clause="d = n")
        assert "published by p" in said and "slot sub" in said and "ignore = '{subscribers}'" in said
        db.submit(add_column="d int", set_clause="d = n", ignore=["subscribers"], wanted="pause")
        db.submit(target="listed", add_column="d int", set_clause="d = n", wanted="pause")
        db.submit(set_clause="n = 1", wanted="pause")
    finally:
        db.admin.execute("SELECT pg_drop_replication_slot('sub')")


@pytest.fixture
def own_publisher():
    cluster = Cluster(wal_level="logical")
    try:
        prepare(cluster)
        yield Database(cluster)
    finally:
        cluster.destroy()


def test_a_table_that_a_subscription_writes_is_asked_about(db):
    db.table(rows=5)
    db.admin.execute("CREATE SUBSCRIPTION s CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);"
                     "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) SELECT oid, 't'::regclass, 'r' FROM pg_subscription WHERE subname = 's'")
    try:
        assert "written by subscription s" in refusal(db, set_clause="n = 1")
        db.submit(set_clause="n = 1", ignore=["subscriptions"], wanted="pause")
    finally:
        db.admin.execute("DELETE FROM pg_subscription_rel; ALTER SUBSCRIPTION s SET (slot_name = NONE)")
        db.admin.execute("DROP SUBSCRIPTION s")


def test_forced_row_security_names_the_way_past_it(db):
    db.table(rows=5)
    db.app.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE TABLE ref (id bigint PRIMARY KEY)")
    for columns in ({"set_clause": "n = 1"}, {"add_column": "c int", "set_clause": "c = n"}, {"enforce": ["FOREIGN KEY (id) REFERENCES ref"]}):
        assert "ALTER ROLE app BYPASSRLS" in refusal(db, **columns)
    db.submit(enforce=["CHECK (n >= 0)"], wanted="pause")


def test_forced_row_security_behind_a_function_names_the_way_past_it_too(db):
    db.close_public()
    db.table(rows=5)
    db.app.execute("""CREATE TABLE ref (id int PRIMARY KEY); ALTER TABLE ref ENABLE ROW LEVEL SECURITY; ALTER TABLE ref FORCE ROW LEVEL SECURITY;
                      CREATE FUNCTION f(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT count(*)::int FROM ref WHERE id < $1'""")
    db.daemon()
    job = db.finish(db.submit(add_column="c int", set_clause="c = f(n)", keep_in_sync=True), "failed")
    assert "BYPASSRLS" in job["hint"] and "NO FORCE" not in job["hint"]
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'c'") == 0


# ---- drop_column

def test_drop_column_names_what_would_go_with_it_and_whose_trigger_it_is(db):
    db.app.execute("""CREATE TABLE t (id int PRIMARY KEY, a serial, b int, c int, v int, w int);
                      CREATE STATISTICS many ON b, c FROM t;
                      CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
                      CREATE TRIGGER audits BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f('b', 'c')""")
    db.daemon()
    step = db.submit(name="step", set_clause="w = v", where_clause="w IS NULL", keep_in_sync=True)
    db.finish(step)
    for column, words in (("a", ["sequence public.t_a_seq"]), ("b", ["statistics public.many", "trigger audits"]), ("v", ["job step", "SELECT backfill.finish('step')"])):
        job = db.finish(db.submit(drop_column=column), "failed")
        assert all(word in job["error"] for word in words), job["error"]
    assert "zz_backfilld" not in job["error"] and "ignore" not in job["hint"]
    db.app.execute("CREATE TABLE u (id int PRIMARY KEY, no int DEFAULT nextval('t_a_seq'))")
    job = db.finish(db.submit(drop_column="a", ignore=["sequences"]), "failed")
    assert job["error"].endswith("still used by defaults: default of column no of public.u, which calls sequence public.t_a_seq") and "ignore" not in job["hint"]
    db.app.execute("DROP TABLE u; CREATE TABLE w (id int PRIMARY KEY, c text)")
    db.admin.execute("INSERT INTO pg_depend VALUES ('pg_class'::regclass, 'w'::regclass, 2, 'pg_class'::regclass, 't'::regclass, 4, 'n')")  # of whatever kind a later server has
    job = db.finish(db.submit(drop_column="c", ignore=["statistics", "triggers"]), "failed")
    assert job["error"].endswith(": column c of table w depends on column c of table t") and job["hint"].startswith("Drop or change what depends on it")
    db.admin.execute("DELETE FROM pg_depend WHERE objid = 'w'::regclass AND objsubid = 2")
    with pytest.raises(psycopg.Error, match="nothing called 'jobs'"):
        db.submit(drop_column="v", ignore=["jobs"])
    db.finish(db.submit(drop_column="a", ignore=["sequences"]))
    db.app.execute("SELECT backfill.finish('step')")
    wait_until(lambda: not db.job("step")["tidy"], what="it is tidied up")
    db.finish(db.submit(drop_column="v"))


def test_a_backslash_that_the_session_reads_otherwise_than_the_job_is_refused(db):
    db.table(rows=3, columns="n int NOT NULL DEFAULT 0, b text")
    session = db.session("app")
    session.execute("SET standard_conforming_strings = off")
    for columns in ({"set_clause": r"b = 'a\tb'"}, {"set_clause": "b = n::text", "where_clause": r"b <> '\\'"}, {"enforce": [r"CHECK (b <> 'a\n')"]},
                    {"statement": r"UPDATE t SET b = 'it\'s' WHERE {batch}"}, {"statement": "UPDATE t SET b = '" + "x" * 2000 + r"\t' WHERE {batch}"}):
        said = refusal(db, session, **columns)
        assert "backslash" in said and "standard_conforming_strings = on" in said and "E'" in said
    db.submit(session=session, set_clause=r"b = E'a\tb' /* \ */", wanted="pause")
    session.execute("SET standard_conforming_strings = on")
    done(db, set_clause=r"b = 'a\tb'", session=session)
    assert db.one("SELECT DISTINCT b FROM t") == r"a\tb"


def test_the_hint_for_rows_that_change_their_partition_moves_them(db):
    """It sent its reader to a key that a partitioned table can't have."""
    db.app.execute("""CREATE TABLE p (id int, k int NOT NULL, b text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
                      CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
                      INSERT INTO p SELECT g, 1, 'b' || g FROM generate_series(1, 500) g""")
    for columns in ({"target": "p", "set_clause": "k = 2", "where_clause": "k = 1"}, {"target": "p", "statement": "UPDATE p SET k = 2 WHERE {batch}"},
                    {"target": "p1", "set_clause": "k = 2", "where_clause": "k = 1"}):
        assert "WITH gone AS (DELETE FROM" in refusal(db, **columns)
    done(db, target="p", statement="WITH gone AS (DELETE FROM public.p WHERE {batch} AND k = 1 RETURNING *) INSERT INTO public.p SELECT id, 2, b FROM gone")
    assert db.all("SELECT k, count(*), count(DISTINCT b) FROM p GROUP BY k") == [(2, 500, 500)]


WRONG = [("on_error", "skip", "quarantine"), ("on_error", None, "quarantine"), ("max_rows_per_s", 0, "above 0"), ("max_rows_per_s", -5, "above 0"), ("name", "", "left out"),
         ("name", "a\nb", "line breaks"), ("scan", "seq", "auto, key or ctid"), ("scan", None, "auto"), ("workers", 0, "1 to 64"), ("workers", 65, "1 to 64"),
         ("target_ms", 0, "1 to 10000"), ("target_ms", 10001, "1 to 10000"), ("max_lag", "0 s", "throttle_off"), ("max_lag", "1 us", "millisecond"), ("throttle_off", "[5:6]={lag,cpu}", "'{lag, cpu}'"), ("throttle_off", "{{lag,cpu},{disk,io}}", "'{lag, cpu}'"), ("max_lag", "-1 s", "interval"),
         ("priority", 101, "-100 to 100"), ("priority", None, "-100 to 100"), ("wanted", "stop", "run, pause"), ("wanted", None, "run, pause"), ("keep_in_sync", None, "true or false"),
         ("dry_run", None, "true or false"), ("target", None, "app.orders")]


@pytest.mark.parametrize("column, value, hint", WRONG)
def test_each_column_says_what_it_takes(db, column, value, hint):
    """Else the table's constraint would, by its name."""
    db.table(rows=3)
    columns = {"set_clause": "n = 1", column: value}
    said = refusal(db, **columns)
    assert said.startswith(f"{column}: ") and hint in said
    if column in ("on_error", "max_rows_per_s", "workers", "target_ms", "max_lag", "priority", "wanted"):
        name = db.submit(set_clause="n = 1", wanted="pause")
        with pytest.raises(psycopg.Error) as refused:
            db.session("app").execute(f"UPDATE backfill.job SET {column} = %s WHERE name = %s", [value, name])
        assert refused.value.diag.message_primary.startswith(f"{column}: ") and hint in refused.value.diag.message_hint


def test_each_check_of_the_jobs_table_is_said_in_words_before(db):
    """A new constraint of a column that a submitter writes needs its line in backfill.check_values."""
    checked = {column for column, in db.all("""SELECT a.attname FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
        WHERE k.conrelid = 'backfill.job'::regclass AND k.contype = 'c' AND has_column_privilege('backfill_submitter', a.attrelid, a.attnum, 'INSERT, UPDATE')""")}
    assert checked <= {column for column, _, _ in WRONG} | {"settings", "asked"}


@pytest.mark.parametrize("settings, parts", [
    ({"work_mem": "a lot"}, ("work_mem", "a lot")), ({"work_mem": -1}, ("work_mem",)), ({"enable_nestlop": "off"}, ("enable_nestlop", "LIKE '%enable%'")),
    ({"IntervalStyle": "iso"}, ("IntervalStyle", "iso_8601")), ({"shared_buffers": "1GB"}, ("shared_buffers",)), ({"log_statement": "all"}, ("log_statement", "app may not set it")),
    ({"work_mem": {"a": 1}}, ("work_mem", "SET"))])
def test_a_setting_that_a_session_can_not_have_is_refused_by_its_name(db, settings, parts):
    db.table(rows=3)
    session = db.session("app")
    before = session.execute("SHOW work_mem").fetchone()
    said = refusal(db, session, set_clause="n = 1", settings=settings)
    assert said.startswith("settings: ") and all(part in said for part in parts), said
    db.submit(session=session, set_clause="n = 1", settings={"work_mem": "77MB", "my.own": "x", "enable_nestloop": False}, wanted="pause")
    assert session.execute("SHOW work_mem").fetchone() == before, "what was tried is taken back"


# ---- What somebody at night is told

def told(db, call, user="app"):
    with pytest.raises(psycopg.Error) as refused:
        db.session(user).execute(call)
    return f"{refused.value.diag.message_primary} | {refused.value.diag.message_hint}"


def test_who_asks_for_what_a_job_can_not_do_is_told_what_it_can(db):
    """Hints led in a circle: resume said retry, and retry said that it was for others."""
    db.table(rows=30)
    db.submit(name="orders-cents", set_clause="n = 1", wanted="pause")
    assert "SELECT backfill.resume('orders-cents')" in told(db, "SELECT backfill.retry('orders-cents')")
    db.app.execute("SELECT backfill.resume('orders-cents')")
    assert "throttled_by" in told(db, "SELECT backfill.retry('orders-cents')")
    for call in ("resume", "retry", "forget", "cancel"):
        for typo in ("orders_cents", "order-cents", "orders-cent", "Orders-Cents", "orders"):
            assert "Did you mean 'orders-cents'?" in told(db, f"SELECT backfill.{call}('{typo}')")
        assert "Did you mean" not in told(db, f"SELECT backfill.{call}('invoices')")
    db.app.execute("SELECT backfill.cancel('orders-cents')")
    for call in ("resume", "pause", "retry"):
        assert "SELECT backfill.forget('orders-cents')" in told(db, f"SELECT backfill.{call}('orders-cents')")
    db.app.execute("SELECT backfill.forget('orders-cents')")
    db.daemon()
    db.finish(db.submit(name="orders-cents", set_clause="n = 1 / (n - n)"), "failed")
    for call in ("resume", "pause"):
        assert "SELECT backfill.retry('orders-cents')" in told(db, f"SELECT backfill.{call}('orders-cents')")
    db.app.execute("SELECT backfill.cancel('orders-cents')")
    assert db.all("SELECT state, error, hint FROM backfill.job") == [("cancelled", None, None)], "why it failed before is no concern of it any more"
    db.finish(db.submit(name="done", set_clause="n = 1"))
    assert "has done all that it was for" in told(db, "SELECT backfill.pause('done')")
    db.app.execute("SELECT backfill.resume('done')")  # as a deployment does that runs again


def test_a_failed_job_that_was_undone_says_nothing_of_the_failure(db):
    db.table(rows=30)
    db.daemon()
    name = db.submit(add_column="c int", set_clause="c = 1 / (id - 7)", keep_in_sync=True)
    db.finish(name, "failed")
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: not db.one("SELECT tidy FROM backfill.job"), what="it is tidied up")
    assert db.all("SELECT state, error, hint FROM backfill.job") == [("cancelled", None, None)]
