"""keep_in_sync: a value is the same whoever writes."""

from decimal import Decimal

import psycopg
import pytest

from cluster import Cluster
from database import Database, prepare
from in_step import TRIGGERS, in_step, make, row
from waiting import wait_until


PLAIN_TYPES = """CREATE DOMAIN dv AS varchar; CREATE DOMAIN di AS int CHECK (value > 0); CREATE DOMAIN dd AS di; CREATE TYPE comp AS (x int, y dv); CREATE TYPE fr AS RANGE (subtype = text);
    CREATE TYPE mood AS ENUM ('x', 'y'); CREATE DOMAIN many AS comp[]; CREATE FUNCTION fine(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
    CREATE DOMAIN asks AS int CHECK (fine(value)); CREATE DOMAIN inner_asks AS int CHECK (value::asks IS NOT NULL); CREATE TYPE named AS (n regclass);
    CREATE DOMAIN names AS text CHECK (value::regclass IS NOT NULL)"""


@pytest.mark.parametrize("kind, value, clause, plain", [
    ("dv", "'abc'", "length(t.a::text)", True), ("di", "5", "t.a + 1", True), ("dd", "5", "t.a::int", True), ("comp", "'(1,b)'", "(t.a).x", True),
    ("fr", "'[a,b]'", "length(t.a::text)", True), ("mood", "'x'", "length(t.a::text)", True), ("many", "'{\"(1,b)\"}'", "cardinality(t.a)", True), ("di[]", "'{5}'", "t.a[1]", True),
    ("int", "7", "t.a::asks", False), ("int", "7", "t.a::inner_asks", False), ("text", "'pg_class'", "length(t.a::names)", False), ("named", "'(t)'", "length(t.a::text)", False)])
def test_types_of_ones_own_are_computed_alike_by_whoever_writes(db, kind, value, clause, plain):
    """A job of another role than the table's owner's is refused only where it matters who computes."""
    db.app.execute(PLAIN_TYPES)
    make(db, f"a {kind}")
    db.app.execute(f"INSERT INTO t SELECT i, {value} FROM generate_series(1, 10) i; ALTER TABLE t OWNER TO app_owner; GRANT ALL ON t TO app")
    if not plain:
        try:
            assert in_step(db, f"n = {clause}", state="failed", add_column="n int")["phase"] == "preflight"
        except psycopg.Error as refused:
            assert "role" in f"{refused.diag.message_primary} {refused.diag.message_hint}"
        return
    in_step(db, f"n = {clause}", add_column="n int")
    db.app.execute("INSERT INTO t SELECT 100, a FROM t WHERE id = 1")
    assert db.one("SELECT count(*) FROM t WHERE n IS NULL") == 0


def test_a_default_with_a_backslash_is_the_same_for_a_writer_with_other_rules(db):
    make(db, "n int, p text DEFAULT 'C:\\', q text DEFAULT 'a\\b'")
    db.app.execute("INSERT INTO t (id, n) SELECT i, i FROM generate_series(1, 20) AS i; GRANT INSERT, SELECT, UPDATE ON t TO other")
    in_step(db, "p = 'D' || n, q = 'E' || n")
    with db.connect("other") as session:
        session.execute("SET standard_conforming_strings = off; SET escape_string_warning = off")
        session.execute("INSERT INTO t (id, n) VALUES (1000, 7)")
        session.execute("UPDATE t SET n = 8 WHERE id = 1")
    assert row(db, 1000, "p, q") == ("D7", "E7") and row(db, 1, "p, q") == ("D8", "E8")


@pytest.mark.parametrize("where", ["b IS NULL", "b IS NULL OR c IS NULL", None, "id > 0 AND b IS NULL", "id > 0 AND (b IS NULL OR c IS NULL)", "c = 0 AND b IS NULL"])
def test_a_default_that_is_a_constant_counts_as_left_out_whatever_asks_for_a_row(db, where):
    make(db, "a int, b int DEFAULT 0, c int DEFAULT 0, d int")
    in_step(db, "b = a, c = a" if "c" in (where or "") else "b = a", where_clause=where)
    db.app.execute("INSERT INTO t (id, a) VALUES (1, 7); INSERT INTO t (id, a, b) VALUES (2, 7, 5); INSERT INTO t (id) VALUES (3)")
    assert [row(db, key)[0] for key in (1, 2, 3)] == [7, 5, 0]


ASSIGNED = [
    ("int", "'5'"), ("int", "NULL"), ("int", "i / 3.0"), ("int", "( '5' -- five\n)"), ("numeric(6,2)", "i / 3.0"), ("numeric(6,2)", "'1.239'"), ("text", "'a'"), ("text", "i > 2"),
    ("varchar(3)", "'abc   '"), ("char(4)", "'a' || i"), ("bit(4)", "'1010'"), ("bit(4)", "i::bit(4)"), ("timestamp(0)", "'2020-01-01 00:00:00.7'"), ("time(0)", "time '12:00:00.6'"),
    ("interval hour", "'3'"), ("interval day to second(0)", "interval '1 day 1.7 s'"), ("jsonb", "'{}'"), ("tsvector", "'a b'"),
    ("mood", "'glad'"), ("pair", "ROW(i, 'ab', 'c')"), ("pair", "NULL"), ("short", "'ab'"), ("cents", "i / 3.0"), ("cents_too", "'1.239'"),
    ("numeric(5,1)[]", "'{1.25,2}'"), ("char(3)[]", "ARRAY['ab', 'c']"), ("bit(3)[]", "'{101}'"), ("list", "ARRAY[i / 3.0]"),
    ("numeric(6,2) DEFAULT 1.239", "DEFAULT"), ("with_zero", "DEFAULT"), ("text", "DEFAULT"),
]


PARTS = [("int[]", "[2]", "'5'"), ("numeric(5,1)[]", "[2:3]", "ARRAY[i / 3.0, 7]"), ("char(3)[]", "[1]", "'a'"), ("interval hour[]", "[1]", "'3'"), ("jsonb", "['a']['b']", "'5'"),
         ("pair", ".b", "'ab'"), ("pair[]", "[1].b", "'ab'"), ("list", "[1]", "i / 3.0"), ("int[]", "[1][1]", "i")]


def test_a_value_is_made_what_its_column_is_as_an_update_does_it(db):
    """By each batch and by the trigger: a constant takes the column's type, a value its length, its scale, its fields."""
    db.app.execute("CREATE TYPE mood AS ENUM ('glad'); CREATE TYPE pair AS (a int, b varchar(3), c char(3)); CREATE DOMAIN short AS varchar(3); CREATE DOMAIN cents AS numeric(6,2);"
                   "CREATE DOMAIN cents_too AS cents; CREATE DOMAIN list AS numeric(5,1)[]; CREATE DOMAIN with_zero AS int DEFAULT 0")
    kinds = [kind for kind, _ in ASSIGNED] + [kind for kind, _, _ in PARTS]
    clause = ", ".join([f"c{n} = {value}" for n, (_, value) in enumerate(ASSIGNED)] + [f"c{n}{part} = {value}" for n, (_, part, value) in enumerate(PARTS, len(ASSIGNED))])
    make(db, "i int, " + ", ".join(f"c{n} {kind}" for n, kind in enumerate(kinds)))
    db.app.execute("INSERT INTO t (id, i) SELECT i, i FROM generate_series(1, 4) AS i; CREATE TABLE updated (LIKE t INCLUDING ALL); INSERT INTO updated (id, i) SELECT id, i FROM t;"
                   f"UPDATE updated SET {clause}")
    in_step(db, clause)
    db.app.execute("INSERT INTO t (id, i) SELECT id + 100, i FROM t")
    for n, kind in enumerate(kinds):
        given = [db.all(f"SELECT c{n}::text FROM {rows} ORDER BY id") for rows in ("updated", "t WHERE id < 100", "t WHERE id > 100")]
        assert given[0] == given[1] == given[2], kind


def test_an_element_that_each_row_names_is_refused(db):
    make(db, "i int, c int[]")
    with pytest.raises(psycopg.Error, match="no trigger can compute this set_clause: c\\[i\\]"):
        db.submit(set_clause="c[i] = 7", keep_in_sync=True)


def test_a_default_is_a_value_for_the_proof(db):
    make(db, "b int")
    db.app.execute("INSERT INTO t (id) SELECT generate_series(1, 300); ALTER TABLE t ALTER b SET DEFAULT 7")
    db.daemon()
    db.finish(db.submit(set_clause="b = DEFAULT", where_clause="b IS NULL"))
    assert db.counts(column="b") == {7: 300}


SETTINGS = {
    "TimeZone": ("timestamptz", "'2026-03-01 23:30+00'", "a::date::text", "SET TimeZone = 'Pacific/Auckland'"),
    "DateStyle": ("text", "'03/04/2026'", "a::date::text", "SET DateStyle = 'ISO, DMY'"),
    "IntervalStyle": ("interval", "'1 day 2 hours'", "a::text", "SET IntervalStyle = 'iso_8601'"),
    "bytea_output": ("bytea", r"'\x41ff'", "a::text", "SET bytea_output = 'escape'"),
    "extra_float_digits": ("float8", "0.1::float8 + 0.2::float8", "a::text", "SET extra_float_digits = 0"),
    "lc_monetary": ("money", "'12.34'", "a::text", "SET lc_monetary = 'C.UTF-8'"),
    "default_text_search_config": ("text", "'running'", "to_tsvector(a)::text", "SET default_text_search_config = 'simple'"),
    "xmloption": ("text", "'a<b/>'", "(a::xml)::text", "SET xmloption = 'content'"),
    "array_nulls": ("text", "'NULL'", "(('{' || a || '}')::text[])::text", "SELECT 1"),
    "standard_conforming_strings": ("text", "'x1y2'", "util.digits(a)", "SELECT 1"),
    "backslash_quote": ("text", "'x'", "util.quoted(a)", "SELECT 1"),
    "timezone_abbreviations": ("text", "'2020-01-01 12:00 IST'", "(a::timestamptz)::text", "SELECT 1"),
    "search_path": ("text", "'X'", "slug(a)", "SET search_path = public, util"),
    "current_user": ("text", "'x'", "current_user::text", "SELECT 1"),
    "a custom setting": ("text", "'x'", "current_setting('my.tenant')", "SELECT 1"),
}


ELSEWHERE = """SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, MDY'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'hex'; SET extra_float_digits = -3;
    SET default_text_search_config = 'english'; SET search_path = ''; SET xmloption = 'document'; SET my.tenant = 'theirs';
    SET array_nulls = off; SET escape_string_warning = off; SET standard_conforming_strings = off; SET timezone_abbreviations = 'India'; SET backslash_quote = off"""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_writer_with_other_settings_gets_what_a_batch_gives(db, name):
    db.close_public()
    kind, value, clause, setting = SETTINGS[name]
    db.admin.execute("CREATE SCHEMA util AUTHORIZATION app")
    db.app.execute("""CREATE FUNCTION util.sq(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
                      CREATE FUNCTION util.digits(text) RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN regexp_replace($1, ''\\D'', '''', ''g''); END';
                      CREATE FUNCTION util.quoted(text) RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$BEGIN RETURN E'it\\'s ' || $1; END$$;
                      SET check_function_bodies = off; CREATE FUNCTION util.slug(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT sq($1)'""")
    make(db, f"a {kind}, note text", f"{value}, 'x'")
    db.app.execute("GRANT INSERT, SELECT, UPDATE ON t TO other")
    with db.connect("app") as session:
        session.execute(setting)
        settings = {"settings": {"my.tenant": "ours"}} if name == "a custom setting" else {}
        in_step(db, f"b = {clause}", session=session, add_column="b text", enforce=["NOT NULL b"], **settings)
    filled = db.one("SELECT b FROM t WHERE id = 1")
    with db.connect("other") as session:
        for command in ELSEWHERE.split(";"):
            session.execute(command)
        session.execute("UPDATE public.t SET note = 'y'")
        session.execute(f"INSERT INTO public.t (id, a) SELECT 1000, a FROM public.t WHERE id = 1")
    assert db.all("SELECT DISTINCT b FROM t") == [(filled,)] and db.one("SELECT count(*) FROM t") == 301


IMPLICIT = [("timestamp '2026-07-01 12:00'", "timestamptz"), ("date '2026-07-01'", "timestamptz"), ("timestamptz '2026-07-01 23:30+00'", "timestamp"), ("timestamptz '2026-07-01 23:30+00'", "date"),
            ("timestamptz '2026-07-01 23:30+00'", "time"), ("timestamptz '2026-07-01 23:30+00'", "varchar(40)"), ("date '2026-07-02'", "text"), ("0.1::float8 + 0.2", "text"),
            ("interval '1 day 2 hours'", "text"), ("'\\x41ff'::bytea", "text"), ("ARRAY[timestamp '2026-07-01 12:00']", "timestamptz[]"),
            ("timestamp '2026-07-01 12:00'", "moment")]


def test_what_the_server_calls_immutable_and_is_not_is_the_same_whoever_writes(db):
    make(db, "a timestamptz, b timestamptz", "'2024-04-01 03:30+00', '2024-02-29 23:30+00'")
    with db.connect("app") as session:
        session.execute("SET timezone = 'UTC'")
        in_step(db, "d = age(a, b)", add_column="d interval", session=session)
    with db.connect("app") as writer:
        writer.execute("SET timezone = 'America/New_York'; INSERT INTO t (id, a, b) SELECT 1000, a, b FROM t WHERE id = 1; UPDATE t SET a = a + interval '1 microsecond' WHERE id = 2")
    assert db.one("SELECT count(DISTINCT date_trunc('second', d)) FROM t") == 1


def test_what_a_column_of_another_type_makes_of_a_value_is_the_same_whoever_writes(db):
    """The server casts what is assigned, by settings of the session, and there is nothing of it in the clause."""
    db.app.execute("CREATE DOMAIN moment AS timestamptz")
    make(db, ", ".join(f"c{n} {kind}" for n, (_, kind) in enumerate(IMPLICIT)) + ", at timestamp, back timestamptz, shown text, note text")
    db.app.execute("INSERT INTO t (id, at, back) SELECT i, '2026-07-01 12:00', '2026-07-01 10:00+00' FROM generate_series(1, 300) AS i; GRANT INSERT, SELECT, UPDATE ON t TO other")
    with db.connect("app") as session:
        session.execute("SET TimeZone = 'Pacific/Auckland'; SET DateStyle = 'ISO, DMY'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'escape'")
        in_step(db, ", ".join(f"c{n} = CASE WHEN note IS NULL THEN {value} END" for n, (value, _) in enumerate(IMPLICIT)), session=session)
        in_step(db, "back = at AT TIME ZONE 'UTC'", session=session, where_clause="back IS NULL", sync_back="at = back")
    with db.connect("other") as session:
        for command in ELSEWHERE.split(";"):
            session.execute(command)
        session.execute("UPDATE public.t SET note = 'x' WHERE id = 2")
        session.execute("UPDATE public.t SET note = NULL WHERE id = 2; INSERT INTO public.t (id) VALUES (1000); UPDATE public.t SET back = '2026-07-01 11:00+00' WHERE id = 3")
    for n, (value, kind) in enumerate(IMPLICIT):
        assert len(db.all(f"SELECT DISTINCT c{n}::text FROM t")) == 1, (value, kind)
    assert db.one("SELECT at::text FROM t WHERE id = 3") == "2026-07-01 23:00:00"


@pytest.mark.parametrize("clause, problem", [
    ("b = session_user", "reads session_user"),
    ("b = coalesce(current_setting('my.tenant', true), '-')", "reads the setting my.tenant"),
    ("b = coalesce(current_setting('my.' || a, true), '-')", "whose name can't be told"),
    ("b = coalesce(tenant(), '-')", "reads the setting my.tenant"),
    ("b = drifting()", "gives another value in another session"),
])
def test_a_clause_of_which_each_writer_has_its_own_is_refused_before_anything_is_changed(db, clause, problem):
    db.close_public()
    db.app.execute("""CREATE FUNCTION tenant() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('my.tenant', true) $$;
                      CREATE FUNCTION drifting() RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN clock_timestamp()::text; END'""")
    make(db, "a text", "'x'")
    job = in_step(db, clause, state="failed", add_column="b text")
    assert problem in job["error"] and job["hint"] and job["phase"] == "preflight"
    assert db.one(TRIGGERS) == 0 and db.all("SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum") == [("id",), ("a",)]
    assert db.one("SELECT count(*) FROM pg_proc WHERE proname LIKE 'backfilld_sync%%'") == 0


def test_a_clause_that_reads_its_own_table_reads_that_one(db):
    make(db, "p int", "i / 2")
    db.app.execute("CREATE INDEX ON t (p); GRANT INSERT ON t TO other")
    in_step(db, "b = EXISTS (SELECT FROM t u WHERE u.p = t.id)", add_column="b boolean", enforce=["NOT NULL b"])
    with db.connect("other") as session:
        session.execute("CREATE TEMP TABLE t (id int, p int); INSERT INTO t VALUES (1, 1000)")
        session.execute("SET search_path = ''")
        session.execute("INSERT INTO public.t (id, p) VALUES (1000, 1)")
    assert row(db, 1000) == (False,)


def test_every_writer_is_kept_in_step(db):
    """Replication and restores write as replica, where plain triggers don't fire."""
    make(db, "a int", "i")
    in_step(db, "b = a", add_column="b int", enforce=["NOT NULL b"])
    db.admin.execute("SET session_replication_role = replica")
    db.admin.execute("INSERT INTO t (id, a) VALUES (1000, 1); UPDATE t SET a = 7 WHERE id = 1")
    assert row(db, 1000) == (1,) and row(db, 1) == (7,)


@pytest.fixture(scope="module")
def publishing_cluster():
    cluster = Cluster(wal_level="logical")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


def test_a_subscription_is_kept_in_step_and_its_column_not_dropped(publishing_cluster):
    """What another server sends lacks the new column, and has the old one."""
    publisher, db = Database(publishing_cluster), Database(publishing_cluster)
    try:
        for side in (publisher, db):
            make(side, "kwh int")
        publisher.app.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 300) AS i")
        publisher.admin.execute("CREATE PUBLICATION p FOR TABLE t")
        publisher.admin.execute("SELECT pg_create_logical_replication_slot('energy', 'pgoutput')")
        db.admin.execute(f"CREATE SUBSCRIPTION energy CONNECTION '{publishing_cluster.conninfo(publisher.name, 'postgres')}' PUBLICATION p WITH (create_slot = false, slot_name = 'energy')")
        wait_until(lambda: db.one("SELECT count(*) FROM t") == 300, what="the table is copied")
        db.daemon()
        with db.held_row(200):
            name = db.submit(add_column="wh int", set_clause="wh = kwh * 1000", keep_in_sync=True, enforce=["NOT NULL wh"], ignore=["subscriptions"])
            db.wait_at(200, name)
            publisher.app.execute("INSERT INTO t VALUES (1001, 7); UPDATE t SET kwh = 5 WHERE id IN (9, 250)")
            wait_until(lambda: db.one("SELECT count(*) FROM t WHERE kwh = wh / 1000 AND id IN (9, 1001)") == 2, what="it is applied")
        db.finish(name)
        assert db.one("SELECT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'wh'")
        publisher.app.execute("INSERT INTO t VALUES (1002, 8); UPDATE t SET kwh = 6 WHERE id = 10; DELETE FROM t WHERE id = 11")
        wait_until(lambda: db.one("SELECT count(*) FROM t WHERE id = 11") == 0, what="it is applied past the constraint")
        assert db.one("SELECT count(*) FROM t WHERE wh = kwh * 1000") == 301 and row(db, 1002, "wh") == (8000,) and row(db, 10, "wh") == (6000,)
        assert db.one("SELECT apply_error_count FROM pg_stat_subscription_stats") == 0
        db.app.execute("SELECT backfill.finish(%s)", [name])
        wait_until(lambda: db.one(TRIGGERS) == 0, what="the trigger is gone")
        job = db.finish(db.submit(drop_column="kwh"), "failed")
        assert "subscription energy" in job["error"] and "ignore" in job["hint"]
        publisher.app.execute("UPDATE t SET kwh = 77 WHERE id = 12")
        wait_until(lambda: row(db, 12, "kwh") == (77,), what="it is applied still")
    finally:
        with db.connect("postgres") as session:
            session.execute("DROP SUBSCRIPTION IF EXISTS energy")
        db.destroy()
        publisher.destroy()


@pytest.mark.parametrize("word", ["begin", "by", "if", "loop", "while", "execute", "strict", "declare", "foreach", "new", "old", "user name"])
def test_names_that_are_words_elsewhere(db, word):
    db.app.execute(f'CREATE TABLE "{word}" (id bigint PRIMARY KEY, "{word}" int, note text); INSERT INTO "{word}" SELECT i, i FROM generate_series(1, 100) i')
    db.daemon()
    db.finish(db.submit(target=f'"{word}"', add_column="y int", set_clause=f'y = "{word}"."{word}" * 2', keep_in_sync=True, enforce=["NOT NULL y"]))
    db.app.execute(f"""UPDATE "{word}" SET note = 'x'; INSERT INTO "{word}" VALUES (1000, 5); UPDATE "{word}" SET "{word}" = 7 WHERE id = 1""")
    assert db.one(f'SELECT count(*) FROM "{word}" WHERE y = "{word}" * 2') == 101


@pytest.mark.parametrize("name", ["t", "e", "v", "job", "computed", "saved"])
def test_a_column_that_is_called_as_a_name_of_ours(db, name):
    """The clause depends on a setting: it is compared on real rows before it is relied on."""
    make(db, f"at text, {name} text", "'03/04/2026', 'x'")
    in_step(db, "b = at::date", add_column="b date", enforce=["NOT NULL b"])
    db.app.execute(f"UPDATE t SET {name} = 'y', at = '04/04/2026' WHERE id = 1")
    assert db.one("SELECT b::text FROM t WHERE id = 1") == "2026-04-04"


def test_a_composite_value_is_kept_in_step(db):
    db.app.execute("CREATE TYPE pair AS (x int, y int)")
    make(db, "a int", "i")
    in_step(db, "b = ROW(a, a * 2)::pair", add_column="b pair")
    db.app.execute("UPDATE t SET a = 5 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, 6)")
    assert [row(db, key, "(b).x, (b).y") for key in (1, 2, 1000)] == [(5, 10), (2, 4), (6, 12)]


@pytest.mark.parametrize("enforce", [None, ["NOT NULL q"]])
def test_a_value_that_is_taken_for_a_name_is_a_rows_fault(db, enforce):
    """Its error has a code of the class of names and rights. What was computed of the value before must not stay."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, secret text); INSERT INTO t SELECT i, 'word' FROM generate_series(1, 50) i")
    db.daemon()
    db.finish(db.submit(add_column="q text", set_clause="q = to_tsquery('simple', secret)::text", keep_in_sync=True, enforce=enforce))
    for write in ("UPDATE t SET secret = 'john doe' WHERE id = 1", "INSERT INTO t VALUES (51, 'john doe')"):
        if enforce:
            with pytest.raises(psycopg.Error, match="syntax error in tsquery"):
                db.app.execute(write)
        else:
            db.app.execute(write)
    assert db.all("SELECT secret, q FROM t WHERE id IN (1, 51) ORDER BY id") == ([("word", "'word'")] if enforce else [("john doe", None), ("john doe", None)])


def test_a_writer_that_waits_no_longer_for_a_lock_gets_that_error(db):
    """It chose so; the row would be left beside another's value."""
    db.close_public()
    db.app.execute("""CREATE TABLE rates (cur text PRIMARY KEY, r numeric); INSERT INTO rates VALUES ('a', 2), ('b', 3);
                      CREATE FUNCTION rate(c text) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT r FROM rates WHERE cur = c';
                      CREATE TABLE t (id int PRIMARY KEY, cur text); INSERT INTO t SELECT i, 'a' FROM generate_series(1, 10) i""")
    db.daemon()
    db.finish(db.submit(add_column="q numeric", set_clause="q = rate(cur)", keep_in_sync=True, enforce=["NOT NULL q"]))
    with db.connect() as holder, db.connect() as writer:
        holder.autocommit = False
        holder.execute("LOCK TABLE rates")
        writer.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            writer.execute("UPDATE t SET cur = 'b' WHERE id = 1")
        holder.commit()
        writer.execute("UPDATE t SET cur = 'b' WHERE id = 1")
    assert db.one("SELECT q FROM t WHERE id = 1") == 3


@pytest.mark.parametrize("type, default, value", [("mood_2", "'unknown'", "low"), ("text[]", "ARRAY[]::text[]", "{low}"), ("int4range", "'empty'", "[1,5)"), ("varchar", "NULL::character varying", "low")])
def test_a_default_of_any_type_tells_what_a_writer_left_out(db, type, default, value):
    db.app.execute("CREATE TYPE mood_2 AS ENUM ('unknown', 'low')")
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, n int, m {type} DEFAULT {default}); INSERT INTO t SELECT i, i FROM generate_series(1, 20) i")
    db.daemon()
    db.finish(db.submit(set_clause=f"m = CASE WHEN n > 0 THEN '{value}'::{type} END", keep_in_sync=True, sync_back="n = CASE WHEN m IS NULL THEN 0 ELSE 1 END" if "NULL" in default else None))
    db.app.execute("INSERT INTO t (id, n) VALUES (21, 77)")
    assert db.one("SELECT m::text FROM t WHERE id = 21") == value


@pytest.mark.parametrize("change", ["ALTER TYPE mood RENAME VALUE 'x' TO 'z'", "ALTER TYPE mood RENAME TO mood_2", "CREATE SCHEMA elsewhere; ALTER TYPE mood SET SCHEMA elsewhere"])
def test_a_default_is_followed_when_its_type_changes_its_names(db, change):
    db.app.execute("CREATE TYPE mood AS ENUM ('x', 'y')")
    db.admin.execute(f'GRANT CREATE ON DATABASE "{db.name}" TO app')
    make(db, "m mood DEFAULT 'x'")
    db.app.execute("INSERT INTO t SELECT i FROM generate_series(1, 20) AS i")
    in_step(db, "c = CASE WHEN m::text = 'y' THEN 'YES' ELSE 'NO' END", add_column="c text", sync_back="m = (CASE c WHEN 'YES' THEN 'y' END)::mood", enforce=["NOT NULL c"])
    db.app.execute(change)
    db.app.execute("INSERT INTO t VALUES (1001, 'y'); INSERT INTO t VALUES (1002); INSERT INTO t (id, c) VALUES (1003, 'YES')")
    assert [row(db, key, "m::text, c") for key in (1001, 1003)] == [("y", "YES"), ("y", "YES")] and row(db, 1002, "c") == ("NO",)


@pytest.mark.parametrize("clause, where", [("b = a * 2, mark = 'new'", "mark = 'old'"), ("b = a * 2, mark = 'new'", "mark IS DISTINCT FROM 'new' AND a > 0"), ("mark = 'new', b = a * 2, c = 10 / a", "mark < 'new' OR mark > 'new'")])
def test_a_row_whose_mark_is_by_default_that_of_a_row_that_is_done_gets_the_rest(db, clause, where):
    """Old code leaves both out: the mark says done, and nobody has computed anything."""
    make(db, "a int, b int, c int, mark varchar(9) NOT NULL DEFAULT 'new'", "i, NULL, NULL, 'old'")
    in_step(db, clause, where_clause=where, enforce=["NOT NULL b"])
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 5); INSERT INTO t (id, a, b) VALUES (1001, 5, 7); INSERT INTO t (id, a, b, mark) VALUES (1002, 5, 7, 'new'); INSERT INTO t (id, a, mark) VALUES (1003, 5, 'old')")
    assert [row(db, key, "b, mark") for key in range(1000, 1004)] == [(10, "new"), (7, "new"), (7, "new"), (10, "new")]


def test_a_mark_whose_default_is_not_what_the_clause_gives_is_the_tables_own(db):
    make(db, "kept_at date, state text NOT NULL DEFAULT 'fresh'", "NULL, 'old'")
    in_step(db, "state = 'archived', kept_at = '2026-01-01'", where_clause="state = 'old'")
    db.app.execute("INSERT INTO t (id) VALUES (1000)")
    assert row(db, 1000, "state, kept_at") == ("fresh", None)


def test_a_default_that_a_writer_gave_is_not_replaced_by_null(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, amount numeric, cents bigint DEFAULT 0); INSERT INTO t SELECT i, i FROM generate_series(1, 20) i")
    db.daemon()
    db.finish(db.submit(set_clause="cents = (amount * 100)::bigint", keep_in_sync=True, sync_back="amount = cents / 100.0"))
    db.app.execute("INSERT INTO t (id, cents) VALUES (21, 0), (22, 5); INSERT INTO t (id, amount) VALUES (23, 7)")
    assert db.all("SELECT id, cents, amount FROM t WHERE id > 20 ORDER BY id") == [(21, 0, None), (22, 5, Decimal("0.05")), (23, 700, Decimal(7))]
