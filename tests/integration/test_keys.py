"""Which tables can be walked: any ordered key, any kind of table, and each row just once."""

import random
import threading
import time

import psycopg
import pytest

from waiting import wait_until

ROWS = 500

# Key columns, and what to select from generate_series(1, ROWS) AS g: distinct, in no order, with the values
# that are hard to write as text.
KEYS = {
    "smallint": ("k smallint", "(g * 37 % 1009 - 500)::smallint"),
    "int": ("k int", "CASE g WHEN 1 THEN -2147483648 WHEN 2 THEN 2147483647 ELSE g * 7919 % 100003 END"),
    "bigint": ("k bigint", "CASE g WHEN 1 THEN -9223372036854775808 WHEN 2 THEN 9223372036854775807 ELSE g *"
                           " 7919 END"),
    "smallint to its end, side by side": ("k smallint", "(32768 - g)::smallint"),
    "bigint to its end, side by side": ("k bigint", "9223372036854775807 - g + 1"),
    "int from its beginning, in three clusters": ("k int", "-2147483648 + g + g / 200 * 1000000"),
    "uuid": ("k uuid", "md5(g::text)::uuid"),
    "text": ("k text", "hard(g)"),
    "text in C": ('k text COLLATE "C"', "hard(g)"),
    "text in ICU": ('k text COLLATE "und-x-icu"', "hard(g)"),
    "text, case-blind": ("k text COLLATE case_blind", "hard(g)"),
    "varchar": ("k varchar(40)", "hard(g)"),
    "char": ("k char(40)", "hard(g) || '.'"),
    "name": ("k name", "hard(g)"),
    "quoted char": ('k "char", l int', '((g % 120) - 60)::"char", g'),
    "citext": ("k citext", "hard(g)"),
    "timestamptz": ("k timestamptz", "CASE g WHEN 1 THEN '-infinity' WHEN 2 THEN 'infinity' WHEN 3 THEN"
                                     " '0044-03-15 12:00:00 BC'"
                    " ELSE '2024-10-27 00:00+00'::timestamptz + g * 977 * interval '0.000001 s' + (g % 5) *"
                    " interval '1 h' END"),
    "timestamp": ("k timestamp", "'1999-12-31'::timestamp + g * interval '1 min 0.000001 s'"),
    "date": ("k date", "CASE g WHEN 1 THEN '-infinity' WHEN 2 THEN 'infinity' ELSE '1900-01-01'::date + g *"
                       " 97 % 1009 END"),
    "time": ("k time", "'00:00'::time + g * interval '1.001 s'"),
    "interval": ("k interval", "make_interval(months => g % 7, days => -g, secs => g / 1000.0)"),
    "numeric": ("k numeric", "CASE g WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN '-Infinity'"
                " ELSE (g * 7919 % 10007 - 5000)::numeric / 7 END"),
    "float8": ("k float8", "CASE g WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN '-Infinity'"
               " ELSE (g * 7919 % 10007 - 5000)::float8 / 7 END"),
    "real": ("k real", "g::real / 3"),
    "bytea": ("k bytea", "CASE g WHEN 1 THEN '' ELSE decode(md5(g::text), 'hex') ||"
                         " '\\000\\047\\134'::bytea END"),
    "bit varying": ("k varbit", "(g * 7919)::bit(32)::varbit"),
    "inet": ("k inet", "'10.0.0.0'::inet + g * 7919"),
    "macaddr": ("k macaddr", "('0800' || lpad(to_hex(g), 8, '0'))::macaddr"),
    "boolean": ("k boolean, l int", "g % 2 = 0, g"),
    "enum": ("k colour, l int", "(ARRAY['red', 'green', 'not a, {colour}', 'NULL', ''])[g % 5 +"
                                " 1]::colour, g"),
    "domain": ("k email", "hard(g) || '@'"),
    "domain of a domain": ("k work_email", "hard(g) || '@'"),
    "array": ("k int[]", "ARRAY[g % 7, g]"),
    "range": ("k int4range", "int4range(g, g + 1 + g % 3)"),
    "composite": ("k int, l text, m date", "g % 3, hard(g), '2000-01-01'::date + g"),
    "wide composite": ("a smallint, k uuid, l timestamptz, m numeric",
                       "g % 2, md5((g % 50)::text)::uuid, now() + g * interval '1 s', g / 3.0"),
    "composite of mixed collations": ('k text COLLATE "C", l text COLLATE case_blind',
                                      "chr(65 + g % 40), hard(g)"),
}

PREPARE = """
CREATE EXTENSION citext;
CREATE COLLATION case_blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE colour AS ENUM ('red', 'green', 'not a, {colour}', 'NULL', '');
CREATE DOMAIN email AS varchar(60) CHECK (VALUE LIKE '%@%');
CREATE DOMAIN work_email AS email NOT NULL;
CREATE FUNCTION hard(g int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE g WHEN 1 THEN '' WHEN 2 THEN 'NULL' WHEN 3 THEN 'null ' WHEN 4 THEN '{,"}' WHEN 5 THEN '\\'
                WHEN 6 THEN '\\"' WHEN 7 THEN ' ' WHEN 8 THEN E'line\\nand\\ttab'
                WHEN 9 THEN '''; DROP TABLE t; --' WHEN 10 THEN '$1' WHEN 11 THEN 'ß' WHEN 12 THEN 'Æther'
                WHEN 13 THEN '日本' WHEN 14 THEN '{batch}' WHEN 15 THEN 'a-b' WHEN 16 THEN 'ab'
                ELSE (ARRAY['a', 'B', 'é', '_', '-', 'Z', 'z '])[g % 7 + 1] || g END $$;
"""


@pytest.mark.parametrize("key", KEYS)
def test_each_row_is_done_once_whatever_its_key(db, key):
    """In batches of a few rows, so that many values have to be a bound."""
    columns, values = KEYS[key]
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    db.admin.execute(PREPARE)
    db.app.execute(f"CREATE TABLE t ({columns}, n int NOT NULL DEFAULT 0, PRIMARY KEY ({names}));"
                   f"INSERT INTO t SELECT {values} FROM generate_series(1, {ROWS}) AS g")
    db.daemon(max_rows=7)
    job = db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: ROWS}
    assert job["report"]["rows"] == job["report"]["keys"] == ROWS
    assert job["report"]["batches"] >= ROWS // 7


@pytest.mark.parametrize("key", ["numeric", "float8", "bytea", "boolean", "enum", "domain", "array", "range", "composite", "wide composite", "composite of mixed collations"])
def test_rows_that_are_locked_or_that_cannot_be_computed_yet_are_done_later_whatever_their_key(db, key):
    """They are found again by their keys: as rows to do, as rows to leave out, by themselves and several at once."""
    columns, values = KEYS[key]
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    db.admin.execute(PREPARE)
    db.app.execute(f"CREATE TABLE t ({columns}, no int, n int NOT NULL DEFAULT 0, bad int NOT NULL DEFAULT 1, PRIMARY KEY ({names}));"
                   f"INSERT INTO t SELECT {values}, g FROM generate_series(1, {ROWS}) AS g; UPDATE t SET bad = 0 WHERE no % 61 = 7")
    db.daemon(max_rows=7)
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM t WHERE no % 53 IN (5, 6) FOR UPDATE")
        name = db.submit(set_clause="n = n + 1 / bad", on_error="quarantine")
        wait_until(lambda: "rows are locked" in (db.throttled_by(name) or ""), what="all others are done")
        holder.rollback()
    db.finish(name)
    bad = db.one("SELECT count(*) FROM t WHERE bad = 0")
    assert db.counts() == {0: bad, 1: ROWS - bad} and db.one("SELECT count(*) FROM backfill.left_behind") == bad
    db.app.execute("UPDATE t SET bad = 1")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.counts() == {1: ROWS}


# ---- Which key

def test_key_column_names_another_unique_key(db):
    db.app.execute("""
        CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL, b int NOT NULL, n int DEFAULT 0, UNIQUE (a, b));
        INSERT INTO t SELECT g, 'a' || g % 7, g, 0 FROM generate_series(1, 500) g""")
    db.daemon(max_rows=10)
    job = db.finish(db.submit(set_clause="n = n + 1", key=["a", "b"]))
    assert db.counts() == {1: 500}
    assert db.one("SELECT key FROM backfill.range WHERE job_id = %s", job["id"]) == [2, 3]


def test_table_without_a_primary_key_is_walked_by_a_unique_index(db):
    db.app.execute("CREATE TABLE t (id int NOT NULL, n int NOT NULL DEFAULT 0); CREATE UNIQUE INDEX ON t (id)"
                   " INCLUDE (n);"
                   "INSERT INTO t SELECT generate_series(1, 500)")
    db.daemon(max_rows=10)
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 500}


def test_descending_index_is_walked_too(db):
    db.app.execute("CREATE TABLE t (a int NOT NULL, b int NOT NULL, n int NOT NULL DEFAULT 0); CREATE UNIQUE"
                   " INDEX ON t (a DESC, b DESC);"
                   "INSERT INTO t SELECT g % 10, g FROM generate_series(1, 500) g")
    db.daemon(max_rows=10)
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 500}


def test_index_in_another_collation_than_its_column(db):
    db.app.execute("""CREATE TABLE t (k text COLLATE "C" NOT NULL, n int NOT NULL DEFAULT 0);
                      CREATE UNIQUE INDEX ON t (k COLLATE "und-x-icu");
                      INSERT INTO t SELECT (ARRAY['a', 'B', 'é', '-', 'Z'])[g % 5 + 1] || g
                        FROM generate_series(1, 500) g""")
    db.daemon(max_rows=7)
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 500}


# ---- Kinds of table, and of names

def test_quoted_names_in_another_schema(db):
    db.admin.execute('CREATE SCHEMA "My ""Schema" AUTHORIZATION app')
    db.app.execute('CREATE TABLE "My ""Schema"."Order; --" ("Id.x" bigint, "select" int, "N" int NOT NULL'
                   ' DEFAULT 0,'
                   ' PRIMARY KEY ("select", "Id.x"));'
                   'INSERT INTO "My ""Schema"."Order; --" SELECT g, g % 3 FROM generate_series(1, 500) g')
    db.daemon(max_rows=10)
    name = db.submit(name='a "name"; \'with\' 100 %s ü', target='"My ""Schema"."Order; --"',
                     set_clause='"N" = "N" + 1',
                     where_clause='"Id.x" > 5 AND "N" = 0')
    db.finish(name)
    assert db.all('SELECT "N", count(*) FROM "My ""Schema"."Order; --" GROUP BY 1 ORDER BY 1') == [(0, 5),
                                                                                                   (1, 495)]
    assert db.one("SELECT backfill.is_done(%s)", name, user="app")


def test_generated_and_identity_columns(db):
    db.app.execute("""
        CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int NOT NULL DEFAULT 0,
                        twice int GENERATED ALWAYS AS (n * 2) STORED);
        INSERT INTO t (n) SELECT 0 FROM generate_series(1, 500)""")
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 500} and db.counts(column="twice") == {2: 500}


def test_partitioned_table_with_leaves_of_all_kinds(db):
    """Sub-partitioned, a default partition, an empty one, and a leaf whose columns stand in another order."""
    db.app.execute("""
        CREATE TABLE t (id bigint, region text, n int NOT NULL DEFAULT 0, PRIMARY KEY (region, id))
          PARTITION BY LIST (region);
        CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu') PARTITION BY RANGE (id);
        CREATE TABLE t_eu_1 PARTITION OF t_eu FOR VALUES FROM (MINVALUE) TO (100);
        CREATE TABLE t_eu_2 PARTITION OF t_eu FOR VALUES FROM (100) TO (MAXVALUE);
        CREATE TABLE t_empty PARTITION OF t FOR VALUES IN ('empty');
        CREATE TABLE t_rest PARTITION OF t DEFAULT;
        CREATE TABLE "T us" (gone text, n int NOT NULL DEFAULT 0, region text NOT NULL, x int,
                             id bigint NOT NULL);
        ALTER TABLE "T us" DROP COLUMN gone, DROP COLUMN x;
        ALTER TABLE t ATTACH PARTITION "T us" FOR VALUES IN ('us');
        INSERT INTO t SELECT g, (ARRAY['eu', 'us', 'asia', 'mars'])[g % 4 + 1]
          FROM generate_series(1, 1000) g""")
    db.daemon(max_rows=13)
    job = db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 1000}
    assert job["report"]["keys"] == 1000 and job["report"]["ranges"] == 4
    again = db.finish(db.submit(set_clause="n = n + 1", key=["region", "id"], target="t_eu"))
    assert db.counts("t_eu") == {2: 250} and again["report"]["ranges"] == 2


def two_leaves(db):
    db.app.execute("""
        CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000);
        CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (1000) TO (1100);
        INSERT INTO t SELECT generate_series(1, 1099)""")


def test_leaf_that_is_dropped_meanwhile_is_passed_over(db):
    two_leaves(db)
    db.daemon()
    with db.held_row(500, "t1"):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        db.app.execute("DROP TABLE t2")
    db.finish(name)
    assert db.counts() == {1: 999}


@pytest.mark.parametrize("in_step", [False, True])
def test_leaf_that_is_detached_in_the_middle_of_its_range_is_left_alone(db, in_step):
    """What its owner does from then on, a trigger, say, runs in no batch."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, n int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1500); CREATE TABLE t2 PARTITION OF t DEFAULT;"
                   "INSERT INTO t SELECT i, i FROM generate_series(1, 2000) i")
    db.daemon(max_rows=20)
    name = db.submit(set_clause="n = a", where_clause="n IS NULL", keep_in_sync=in_step, max_rows_per_s=200)
    wait_until(lambda: db.one("SELECT count(n) FROM t1") > 50, what="it is in the first leaf")
    db.app.execute("ALTER TABLE t DETACH PARTITION t1; CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (current_user); RETURN NEW; END';"
                   "CREATE TABLE log (who text); CREATE TRIGGER told BEFORE UPDATE ON t1 FOR EACH ROW EXECUTE FUNCTION told(); UPDATE backfill.job SET max_rows_per_s = NULL")
    done = db.one("SELECT count(n) FROM t1")
    db.finish(name)
    assert db.one("SELECT count(*) FROM log") == 0 and db.one("SELECT count(n) FROM t1") == done
    assert db.one("SELECT count(*) FROM t WHERE n IS DISTINCT FROM a") == 0


def test_leaf_that_is_dropped_while_its_range_is_taken_is_passed_over(db):
    """Between the statement that finds the range and that which asks for the leaf's key."""
    two_leaves(db)
    db.daemon()
    with db.connect("postgres") as holder:
        holder.autocommit = False
        with db.held_row(500, "t1"):
            name = db.submit(set_clause="n = n + 1")
            db.wait_at(500, name)
            holder.execute("SELECT FROM backfill.range WHERE relation = 't2'::regclass FOR UPDATE")
        wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%take_range%'"),
                   what="its range is being taken")
        db.app.execute("DROP TABLE t2")
        holder.commit()
    db.finish(name)
    assert db.counts() == {1: 999}


def test_leaf_that_is_dropped_before_it_is_surveyed_is_passed_over(db):
    two_leaves(db)
    db.sleep_at(1, 0.5, "t1")
    db.daemon()
    name = db.submit(set_clause="n = n + 1", dry_run=True)
    db.wait_asleep()
    db.app.execute("DROP TABLE t2")
    assert db.finish(name)["report"]["preflight"]


def test_leaves_that_are_dropped_one_after_another_while_they_are_surveyed_are_passed_over(db):
    two_leaves(db)
    db.app.execute("CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (1100) TO (1200)")
    db.app.execute("INSERT INTO t SELECT generate_series(1100, 1199)")
    db.sleep_at(1, 0.5, "t1")
    db.daemon()
    name = db.submit(set_clause="n = n + 1", dry_run=True)
    asleep = None
    for leaf in ("t2", "t3"):  # each survey begins with t1 again
        asleep = wait_until(lambda: db.one("SELECT max(xact_start) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND xact_start IS DISTINCT FROM %s",
                                           asleep), what="t1 is being surveyed")
        db.app.execute(f"DROP TABLE {leaf}")
    assert db.finish(name)["report"]["preflight"]


def test_empty_table(db):
    db.table(rows=0)
    db.daemon()
    assert db.finish(db.submit(set_clause="n = n + 1"))["report"]["rows"] == 0


def test_partitioned_table_without_a_partition(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int) PARTITION BY RANGE (id)")
    db.daemon()
    db.finish(db.submit(set_clause="n = 1"))


@pytest.mark.parametrize("quarantine", ["fail", "quarantine"])
def test_table_of_one_row(db, quarantine):
    db.table(rows=1)
    db.daemon()
    job = db.finish(db.submit(set_clause="n = n + 1", on_error=quarantine))
    assert db.counts() == {1: 1} and job["report"]["keys"] == 1


def test_unlogged_table(db):
    db.table(rows=500)
    db.app.execute("ALTER TABLE t SET UNLOGGED")
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 500}


def test_large_rows(db):
    """Rows of 100 kB: batches become small, not slow."""
    db.table(rows=200, columns="n int NOT NULL DEFAULT 0, big text")
    db.app.execute("ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1, big = repeat(md5(id::text), 3000)"))
    assert db.counts() == {1: 200} and db.counts(column="length(big)") == {96000: 200}


def test_clauses_with_comments_and_many_columns(db):
    db.table(columns="n int NOT NULL DEFAULT 0, m text, \"Q\" int")
    db.daemon()
    db.finish(db.submit(set_clause="n = n + 1, -- one more\n (m, \"Q\") = (SELECT 'it''s; ' || id, 7) -- and"
                                   " the rest",
                        where_clause="\"Q\" IS NULL /* not yet */ -- or ever"))
    assert db.counts() == {1: 1000} and db.one("SELECT m FROM t WHERE id = 9") == "it's; 9"


# ---- While others write

def test_rows_written_meanwhile_do_no_harm(db):
    """Others insert, change and delete all over the table: what stayed is done once, nothing twice."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, other int NOT NULL"
                   " DEFAULT 0);"
                   "INSERT INTO t SELECT g * 2 FROM generate_series(1, 20000) g")
    stop = threading.Event()
    counts = {"insert": 0, "delete": 0, "update": 0}

    def write(seed):
        rng = random.Random(seed)
        with db.connect() as session:
            while not stop.is_set():
                at = rng.randrange(50000)
                counts["insert"] += session.execute("INSERT INTO t SELECT g FROM generate_series(%s, %s, 2) g"
                                                    " ON CONFLICT DO NOTHING",
                                                    [at * 2 + 1, at * 2 + 19]).rowcount
                counts["delete"] += session.execute("DELETE FROM t WHERE id %% 20 = 0 AND id BETWEEN %s"
                                                    " AND %s",
                                                    [at, at + 100]).rowcount
                counts["update"] += session.execute("UPDATE t SET other = other + 1 WHERE id BETWEEN %s"
                                                    " AND %s",
                                                    [at, at + 20]).rowcount

    db.daemon(max_rows=20)
    writers = [threading.Thread(target=write, args=[seed]) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    try:
        wait_until(lambda: all(counts.values()), what="all kinds of writes go on")
        before = dict(counts)
        name = db.submit(set_clause="n = n + 1")
        job = db.finish(name, timeout=60)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert all(counts[kind] > before[kind] for kind in counts), (before, counts)
    assert db.counts("(SELECT n FROM t WHERE id % 2 = 0 AND id % 20 <> 0) AS there_before") == {1: 18000}
    assert set(db.counts("(SELECT n FROM t WHERE id % 2 = 1) AS new")) <= {0, 1}
    upper = db.one("SELECT upper[1]::bigint FROM backfill.range WHERE job_id = %s", job["id"])
    assert set(db.counts(f"(SELECT n FROM t WHERE id > {upper}) AS"
                         f" above")) <= {0}, "the end was fixed when the job began"


def test_a_busy_table_cannot_make_a_job_endless(db):
    db.table(rows=1000)
    db.daemon(max_rows=100)
    with db.held_row(950):
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: db.cursor(name))
        db.app.execute("INSERT INTO t SELECT generate_series(1001, 20000)")
    job = db.finish(name)
    assert db.counts() == {0: 19000, 1: 1000} and job["report"]["keys"] == 1000


def test_sparse_where_clause_costs_bounded_work_for_each_batch(db):
    db.table(rows=20000)
    db.daemon(max_rows=1000)
    job = db.finish(db.submit(set_clause="n = n + 1", where_clause="id = 19999 AND n = 0"))
    assert db.counts() == {0: 19999, 1: 1}
    assert 19000 <= job["report"]["keys"] <= 20000 and job["report"]["batches"] >= 20


# ---- Statements with {batch}

def test_insert_select(db):
    db.table(rows=1000)
    db.app.execute("CREATE TABLE copy (id bigint, n int)")
    db.daemon(max_rows=50)
    job = db.finish(db.submit(statement="INSERT INTO copy SELECT id, n FROM t WHERE {batch} AND id % 2 = 0"))
    assert db.all("SELECT count(*), count(DISTINCT id) FROM copy") == [(500, 500)]
    assert job["report"]["rows"] == 500


def test_delete(db):
    db.table(rows=1000)
    db.daemon(max_rows=50)
    job = db.finish(db.submit(statement="DELETE FROM t WHERE {batch} AND id % 3 <> 0"))
    assert db.all("SELECT count(*), count(*) FILTER (WHERE id % 3 <> 0) FROM t") == [(333, 0)]
    assert job["report"]["rows"] == 667


def test_delete_of_everything(db):
    db.table(rows=1000)
    db.daemon(max_rows=50)
    db.finish(db.submit(statement="DELETE FROM t WHERE {batch}"))
    assert db.one("SELECT count(*) FROM t") == 0


def test_update_from_with_an_alias(db):
    db.table(rows=1000)
    db.app.execute('CREATE TABLE "Source" (id bigint PRIMARY KEY, v int); INSERT INTO "Source" SELECT g, g *'
                   ' 2 FROM generate_series(1, 1000) g')
    db.daemon(max_rows=50)
    db.finish(db.submit(statement='UPDATE t AS "O x" SET n = "O x".n + s.v FROM "Source" s WHERE s.id = "O'
                                  ' x".id AND {batch "O x"}'))
    assert db.one("SELECT count(*) FROM t WHERE n = id * 2") == 1000
    db.finish(db.submit(statement="UPDATE t o SET n = o.n + 1 FROM \"Source\" s WHERE s.id = o.id AND"
                                  " {batch o}"))
    assert db.one("SELECT count(*) FROM t WHERE n = id * 2 + 1") == 1000


def test_statement_with_the_batch_in_two_places_and_a_cte(db):
    db.table(rows=1000)
    db.app.execute("CREATE TABLE log (id bigint)")
    db.daemon(max_rows=50)
    db.finish(db.submit(statement="WITH logged AS (INSERT INTO log SELECT id FROM t WHERE {batch}) "
                                  "UPDATE t SET n = n + 1 WHERE {batch} RETURNING *"))
    assert db.counts() == {1: 1000} and db.one("SELECT count(DISTINCT id) FROM log") == 1000


def test_statement_on_a_partitioned_table(db):
    db.app.execute("""
        CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY HASH (id);
        CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO t SELECT generate_series(1, 1000)""")
    db.daemon(max_rows=50)
    db.finish(db.submit(statement="UPDATE t SET n = n + 1 WHERE {batch}"))
    assert db.counts() == {1: 1000}


def test_merge(db):
    db.table(rows=1000)
    db.daemon(max_rows=50)
    db.finish(db.submit(statement="MERGE INTO t USING (SELECT id FROM t WHERE {batch}) s ON t.id = s.id"
                                  " WHEN MATCHED THEN UPDATE SET n = n + 1"))
    assert db.counts() == {1: 1000}


# ---- How its clauses may name the table

def test_clauses_may_name_the_partitioned_table(db):
    """Each leaf is filled under the table's name, whatever its own."""
    two_leaves(db)
    db.app.execute("CREATE TABLE price (id bigint PRIMARY KEY, n int); INSERT INTO price SELECT g, g % 7 FROM generate_series(1, 1099) g")
    db.daemon(max_rows=100)
    db.finish(db.submit(set_clause="n = t.n + length(t::text) - length(t::text) + 1", where_clause="t.n = 0"))
    assert db.counts() == {1: 1099}
    db.finish(db.submit(add_column="m int", set_clause="m = (SELECT p.n FROM price p WHERE p.id = t.id)", keep_in_sync=True, enforce=["NOT NULL m"]))
    assert db.one("SELECT count(*) FROM t JOIN price p USING (id) WHERE t.m = p.n") == 1099


def test_clause_that_names_the_schema_of_a_partitioned_table_is_refused_at_once(db):
    two_leaves(db)
    for clauses in ({"set_clause": "n = public.t.n + 1"}, {"add_column": "m int", "set_clause": "m = public.t.n"}):
        with pytest.raises(psycopg.Error) as refused:
            db.submit(**clauses)
        assert "set_clause" in str(refused.value)


def test_clause_may_name_the_schema_of_a_plain_table(db):
    db.table(rows=100)
    db.daemon()
    db.finish(db.submit(set_clause="n = public.t.n + 1"))
    assert db.counts() == {1: 100}


# ---- How a batch reaches its rows

@pytest.mark.parametrize("first, value, nth", [("int", "{}", 2), ("date", "date '2026-01-01' + {}", 2), ("timestamptz", "timestamptz '2026-01-01' + {} * interval '1 h'", 2),
                                                ("int", "{}", 50)])
def test_batch_of_a_composite_key_reads_what_it_spans_beside_an_index_on_what_is_to_do(db, first, value, nth):
    """The index on slug finds all rows that are to do, of all tenants: taken by each batch, the job would never end. Where few are, be it
    that most are done by now and ANALYZE has seen it, that index looks good."""
    db.app.execute(f"""
        CREATE TABLE t (tenant {first}, id bigint, slug text, body text, PRIMARY KEY (tenant, id));
        INSERT INTO t SELECT {value.format("CASE WHEN g % 3 = 0 THEN 7 ELSE g % 200 END")}, g, CASE WHEN g % {nth} <> 0 THEN 's' END, repeat('x', 100) FROM generate_series(1, 150000) g;
        CREATE INDEX todo ON t (slug)""")
    db.admin.execute("VACUUM ANALYZE t")
    db.daemon(max_rows=1000)
    job = db.finish(db.submit(set_clause="slug = 's' || id", where_clause="slug IS NULL"))
    assert job["report"]["rows"] == 150000 // nth and job["report"]["batches"] >= 150
    db.admin.execute("SELECT pg_stat_force_next_flush()")
    read = wait_until(lambda: db.one("SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE relname = 't' AND indexrelname <> 'todo'"), what="its reads are counted")
    assert db.one("SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'todo'") <= 2 * 150000 // nth  # one look at the end reads the rows that were to do
    assert read < 6 * 150000  # in each of two passes the bounds and the batches, and what the index holds twice by then


COMPOSITES = {  # columns of a key, rows of it, and two positions 40 rows apart
    "alike": ("a int, b bigint", "7, g", ("7", "4000"), ("7", "4040")),
    "first": ("a int, b bigint", "7, g", None, ("7", "40")),
    "from one to the next": ("a int, b bigint", "g / 100000, g % 100000", ("1", "99980"), ("2", "20")),
    "over several": ("a int, b bigint", "CASE WHEN g BETWEEN 99990 AND 100010 THEN g ELSE g / 100000 END, g", ("0", "99980"), ("1", "100020")),
    "three alike": ("a int, b int, c bigint", "7, 8, g", ("7", "8", "4000"), ("7", "8", "4040")),
    "three, from one to the next": ("a int, b int, c bigint", "7, g / 100000, g % 100000", ("7", "1", "99980"), ("7", "2", "20")),
    "three, first": ("a int, b int, c bigint", "7, 8, g", None, ("7", "8", "40")),
    "a date": ("a date, b bigint", "date '2026-01-01', g", ("2026-01-01", "4000"), ("2026-01-01", "4040")),
    "an array": ("a int[], b bigint", "'{7,8}', g", ("{7,8}", "4000"), ("{7,8}", "4040")),
    "a range": ("a int4range, b bigint", "'[7,8)', g", ("[7,8)", "4000"), ("[7,8)", "4040")),
    "money": ("a money, b bigint", "7, g", ("$7.00", "4000"), ("$7.00", "4040")),
    "a composite type": ("a pair, b bigint", "ROW(7, 8)::pair, g", ("(7,8)", "4000"), ("(7,8)", "4040")),
    "four alike": ("a int, b int, c bool, d bigint", "7, 8, true, g", ("7", "8", "true", "4000"), ("7", "8", "true", "4040")),
    "five, from one to the next": ("a int, b int, c int, d int, e bigint", "7, 8, 9, g / 100000, g % 100000", ("7", "8", "9", "1", "99980"), ("7", "8", "9", "2", "20")),
    "four": ("a int, b int, c int, d bigint", "7, g / 50, g % 50, 0", ("7", "100", "10", "0"), ("7", "101", "0", "0")),
}


@pytest.mark.parametrize("case", COMPOSITES)
def test_batch_of_a_composite_key_reads_no_more_than_it_spans(db, case):
    """A million rows of one tenant lie behind it, all of them in the index behind its end."""
    columns, values, lo, hi = COMPOSITES[case]
    names = ", ".join(c.split()[0] for c in columns.split(", "))
    db.app.execute(f"CREATE TYPE pair AS (x int, y int); CREATE TABLE t ({columns}, n int, PRIMARY KEY ({names})) WITH (autovacuum_enabled = off); INSERT INTO t SELECT {values} FROM generate_series(0, 299999) g")
    db.admin.execute("VACUUM ANALYZE t")
    db.admin.execute("""CREATE FUNCTION explained(lo text[], hi text[], ordered boolean) RETURNS json LANGUAGE plpgsql SET enable_seqscan = off AS $$
        DECLARE said json; BEGIN EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT FROM ONLY public.t WHERE '
          || (SELECT backfill.batch_condition('', k, false, ordered => explained.ordered) FROM backfill.key_of('t'::regclass) k) INTO said USING lo, hi; RETURN said; END $$""")
    plan = db.admin.execute("SELECT explained(%s, %s, false)", [lo and list(lo), list(hi)]).fetchone()[0][0]["Plan"]
    types = [c.split()[1] for c in columns.split(", ")]
    quoted = [position and ", ".join(f"'{part}'::{type}" for part, type in zip(position, types)) for position in (lo, hi)]
    between = f"({names}) <= ({quoted[1]})" + (f" AND ({names}) > ({quoted[0]})" if lo else "")
    assert plan["Actual Rows"] == db.one(f"SELECT count(*) FROM t WHERE {between}") and plan["Actual Rows"] > 0
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 60
    ordered = db.admin.execute("SELECT explained(%s, %s, true)", [lo and list(lo), list(hi)]).fetchone()[0][0]["Plan"]
    assert ordered["Actual Rows"] == plan["Actual Rows"]


@pytest.mark.parametrize("key", ["k, l", "l, k, m"])
def test_columns_of_a_key_that_are_alike_by_their_collation_alone(db, key):
    """Both ends of a batch are parameters: the database's collation tells them apart."""
    db.app.execute("CREATE COLLATION case_blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    db.app.execute(f"CREATE TABLE t (k text COLLATE case_blind, l int, m int, n int NOT NULL DEFAULT 0, PRIMARY KEY ({key}))")
    db.app.execute(f"INSERT INTO t SELECT CASE g % 2 WHEN 0 THEN 'abc' ELSE 'ABC' END, {'g' if key == 'k, l' else '1'}, g FROM generate_series(1, 500) g")
    db.daemon(max_rows=7)
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 500}


def test_composite_key_over_operators_of_several_schemas(db):
    """Rows are compared by one operator's name; where that leads elsewhere, the order of the batches isn't that of the index."""
    db.admin.execute("CREATE SCHEMA ext; GRANT USAGE ON SCHEMA ext TO app; CREATE EXTENSION citext SCHEMA ext")
    db.app.execute("CREATE TABLE t (a int, k ext.citext, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, k));"
                   "INSERT INTO t SELECT g % 3, chr(CASE g % 2 WHEN 0 THEN 65 ELSE 97 END + g % 26) || g FROM generate_series(1, 500) g")
    with pytest.raises(psycopg.Error) as refused:
        db.submit(set_clause="n = n + 1")
    assert "search_path" in str(refused.value) and "ext" in refused.value.diag.message_hint
    db.daemon(max_rows=7)
    with db.connect() as session:
        session.execute("SET search_path = public, ext")
        db.finish(db.submit(session=session, set_clause="n = n + 1"))
    assert db.counts() == {1: 500}


def test_key_is_compared_by_its_index_whatever_operators_the_search_path_leads_to(db):
    db.admin.execute("CREATE SCHEMA ext; GRANT USAGE ON SCHEMA ext TO app; CREATE EXTENSION citext SCHEMA ext")
    db.app.execute("""
        CREATE FUNCTION public.before(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.text_lt($2, $1)';
        CREATE OPERATOR public.> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.before);
        CREATE OPERATOR public.<= (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_catalog.texteq);
        CREATE TABLE t (k ext.citext PRIMARY KEY, n int NOT NULL DEFAULT 0);
        CREATE TABLE u (k text PRIMARY KEY, n int NOT NULL DEFAULT 0);
        INSERT INTO t SELECT chr(CASE g % 2 WHEN 0 THEN 65 ELSE 97 END + g % 26) || g FROM generate_series(1, 500) g;
        INSERT INTO u SELECT k FROM t""")
    db.daemon(max_rows=7)
    with db.connect() as session:
        session.execute("SET search_path = public, pg_catalog")
        for table in "tu":
            db.finish(db.submit(session=session, target=f"public.{table}", set_clause="n = n + 1"))
            assert db.counts(table) == {1: 500}


def test_default_is_the_tables_in_each_partition(db):
    """As in an UPDATE of the table; a partition may have another, or none."""
    db.app.execute("CREATE TABLE t (id bigint, r int, d int DEFAULT 3, e int, PRIMARY KEY (id, r)) PARTITION BY LIST (r); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0); ALTER TABLE t1 ALTER d SET DEFAULT 4;"
                   "CREATE TABLE t2 (id bigint NOT NULL, r int NOT NULL, d int, e int); ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (1); INSERT INTO t SELECT i, i % 2, NULL FROM generate_series(1, 200) i")
    db.daemon()
    db.finish(db.submit(set_clause="d = DEFAULT -- as the table has it\n, e = 1", where_clause="d IS NULL"))
    assert db.all("SELECT d, e, count(*) FROM t GROUP BY 1, 2") == [(3, 1, 200)]
    db.finish(db.submit(set_clause="(d, e) = ROW(DEFAULT, 2)", where_clause="e = 1"))
    assert db.all("SELECT d, e, count(*) FROM t GROUP BY 1, 2") == [(3, 2, 200)]


@pytest.mark.parametrize("table", ["backfilld 1", "backfilld wanted"])
def test_names_of_tables_and_columns_do_not_meet_those_of_the_triggers_functions(db, table):
    db.app.execute(f'CREATE TABLE "{table}" (id bigint PRIMARY KEY, "backfilld wanted" int, "backfilld 1" int, b int, c int); INSERT INTO "{table}" SELECT i, i, i FROM generate_series(1, 100) i')
    db.daemon()
    db.finish(db.submit(target=f'"{table}"', set_clause='b = "backfilld wanted" + "backfilld 1", c = "backfilld 1"', where_clause="b IS NULL", keep_in_sync=True))
    db.app.execute(f'UPDATE "{table}" SET "backfilld 1" = 0')
    assert db.one(f'SELECT count(*) FROM "{table}" WHERE b = id AND c = 0') == 100


def test_types_of_a_schema_that_is_shut_to_the_daemon(db):
    """The job's role has a right to it, and the daemon's needs none to know what is there."""
    db.admin.execute("CREATE SCHEMA shut AUTHORIZATION app")
    db.app.execute("CREATE TYPE shut.e AS ENUM ('a', 'b, \"c\"', 'NULL', '{}', ''); CREATE DOMAIN shut.d AS shut.e; CREATE DOMAIN shut.l AS text[]; CREATE TYPE shut.pair AS (x int, y text);"
                   "CREATE TYPE shut.r AS RANGE (subtype = int4); CREATE DOMAIN shut.q AS shut.r")
    db.daemon()
    for i, (kind, values) in enumerate([("e", "unnest(enum_range(NULL::shut.e))"), ("d", "unnest(enum_range(NULL::shut.e))"), ("e[]", "ARRAY[e] FROM unnest(enum_range(NULL::shut.e)) e"),
                                        ("l", "ARRAY[g::text, NULL] FROM generate_series(1, 20) g"), ("pair", "ROW(g, g)::shut.pair FROM generate_series(1, 20) g"), ("r", "shut.r(g, g + 2) FROM generate_series(1, 20) g"),
                                        ("q", "shut.r(g, g + 2) FROM generate_series(1, 20) g")]):
        db.app.execute(f"CREATE TABLE shut.t{i} (k shut.{kind} PRIMARY KEY, n int DEFAULT 0); INSERT INTO shut.t{i} (k) SELECT {values}")
        db.finish(db.submit(name=f"clause-{i}", target=f"shut.t{i}", set_clause="n = n + 1"))
        with db.locked_rows(f"ctid = (SELECT min(ctid) FROM shut.t{i})", table=f"shut.t{i}"):
            db.submit(name=f"statement-{i}", target=f"shut.t{i}", statement=f"UPDATE shut.t{i} SET n = n + 1 WHERE {{batch}}")
            wait_until(lambda: db.one("SELECT count(*) FROM backfill.left_behind") == 1, what="a row is put aside")
        db.finish(f"statement-{i}")
        assert db.counts(f"shut.t{i}").keys() == {2}, kind


@pytest.mark.parametrize("columns", [{}, {"settings": {"array_nulls": "off"}}])
def test_array_with_a_null_in_the_key_is_walked_as_it_is_or_refused(db, columns):
    """array_nulls = off reads '{NULL}' as an array of a word."""
    db.app.execute("CREATE TABLE t (id text[] PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT ARRAY[CASE WHEN g % 2 = 0 THEN 'a' END, g::text] FROM generate_series(1, 600) g")
    db.daemon(max_rows=50)
    if columns:
        with pytest.raises(psycopg.Error, match="key: of public.t holds arrays"):
            db.submit(set_clause="n = n + 1", **columns)
        with db.connect("app") as session:
            session.execute("SET array_nulls = off")
            with pytest.raises(psycopg.Error, match="key: of public.t holds arrays"):
                db.submit(set_clause="n = n + 1", session=session)
    else:
        db.finish(db.submit(set_clause="n = n + 1"))
        assert db.counts() == {1: 600}


@pytest.mark.parametrize("where", [None, "n = 0"])
def test_attribute_that_a_type_of_the_key_gets_in_mid_job_begins_the_scan_anew_or_ends_it(db, where):
    """ALTER TYPE makes no index anew; positions that were written before are no values of the type any more."""
    db.app.execute("CREATE TYPE pair AS (a int, b text); CREATE TABLE t (id pair PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT ROW(g, 'x')::pair FROM generate_series(1, 2000) g")
    db.daemon(max_rows=20)
    name = db.submit(set_clause="n = n + 1", where_clause=where, max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 100, what="it is on its way")
    db.app.execute("ALTER TYPE pair ADD ATTRIBUTE c int")
    if where:
        job = db.finish(name, timeout=60)
        assert db.counts() == {1: 2000} and "pair" in job["report"]["begun_anew"]
    else:
        assert "is ordered in another way" in db.finish(name, "failed")["error"]
        assert set(db.counts()) == {0, 1}


@pytest.mark.parametrize("where", [None, "n = 0"])
def test_key_column_that_is_replaced_by_another_of_its_name_begins_the_scan_anew_or_ends_it(db, where):
    db.table(rows=2000)
    db.daemon(max_rows=20)
    name = db.submit(set_clause="n = n + 1", where_clause=where, max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 100, what="it is on its way")
    db.app.execute("ALTER TABLE t ADD id2 bigint; UPDATE t SET id2 = -id; ALTER TABLE t DROP id; ALTER TABLE t RENAME id2 TO id; ALTER TABLE t ADD PRIMARY KEY (id)")
    if where:
        job = db.finish(name, timeout=60)
        assert db.counts() == {1: 2000} and "there is another in its place" in job["report"]["begun_anew"]
    else:
        job = db.finish(name, "failed")
        assert "is gone" in job["error"] and "with a where_clause" in job["hint"] and set(db.counts()) == {0, 1}


def test_labels_that_come_until_they_are_too_many_are_named(db):
    """Each condition on such a key asks for them all."""
    db.app.execute("CREATE TYPE many AS ENUM ('a', 'b'); CREATE TABLE t (k many, id int, n int, PRIMARY KEY (k, id)); INSERT INTO t SELECT 'a', g FROM generate_series(1, 1000) g")
    db.daemon(max_rows=20)
    name = db.submit(set_clause="n = 1", wanted="pause")
    db.app.execute("DO $$ BEGIN FOR i IN 1 .. 10000 LOOP EXECUTE format('ALTER TYPE many ADD VALUE %L', i); END LOOP; END $$")
    db.app.execute("SELECT backfill.resume(%s)", [name])
    assert "not by public.t_pkey: the text of a many is a name of something else, or the type is made of domains, of a range with a function of users' own, or of more than 100 types, 1,000 attributes, or 10,000 labels" in db.finish(name, "failed")["error"].replace("public.many", "many")


def test_many_indexes_over_rich_types_hold_up_no_other_job(db, measured):
    """Each would be asked what its columns' texts mean: 3,200 times 10,000 labels."""
    db.table("o", rows=10)
    db.app.execute("DO $$ BEGIN FOR i IN 1 .. 20 LOOP EXECUTE format('CREATE TYPE e%s AS ENUM (%s)', i, (SELECT string_agg(quote_literal(g), ',') FROM generate_series(1, 9999) g)); END LOOP; END $$")
    columns = [f"c{i} e{i % 20 + 1} NOT NULL" for i in range(32)]
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, n int, {', '.join(columns)})")
    for i in range(30):
        db.app.execute(f"CREATE UNIQUE INDEX ON t ({', '.join(f'c{(i + k) % 32}' for k in range(32))})")
    db.daemon(workers=1)
    name = db.submit(set_clause="n = 1", where_clause="n IS NULL", wanted="pause", key=["id"])
    db.app.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    began = time.monotonic()
    assert db.one("SELECT count(*) FROM backfill.key_of('t'::regclass)") == 0
    measured("a key among 30 indexes of 32 enums of 9,999 labels", f"{time.monotonic() - began:.2f} s")
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(db.submit(target="o", set_clause="n = n + 1"), timeout=5)
    assert "has no unique index on (id) to walk by" in db.finish(name, "failed")["error"]


@pytest.mark.parametrize("where", [None, "n = 0"])
@pytest.mark.parametrize("place", ["AFTER", "BEFORE"])
@pytest.mark.parametrize("type, value", [("e", "'b'::e"), ("e[]", "ARRAY['b'::e]")])
def test_label_that_gets_the_name_of_another_is_no_label_that_came(db, where, place, type, value):
    """By their names b stands where it stood, and one came beside it."""
    db.app.execute(f"CREATE TYPE e AS ENUM ('a', 'b', 'c'); CREATE TABLE t (k {type}, i int, n int NOT NULL DEFAULT 0, PRIMARY KEY (k, i)); INSERT INTO t SELECT {value}, g FROM generate_series(1, 2000) g")
    db.daemon(max_rows=50)
    name = db.submit(set_clause="n = n + 1", where_clause=where, max_rows_per_s=1000)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 100, what="it is on its way")
    with db.connect("app") as session, session.transaction():
        session.execute("ALTER TYPE e RENAME VALUE 'b' TO 'was'")
        session.execute(f"ALTER TYPE e ADD VALUE 'b' {place} 'was'")
    if where:
        db.finish(name, timeout=60)
        assert db.counts() == {1: 2000}
    else:
        assert "ordered in another way" in db.finish(name, "failed")["error"]
        assert set(db.counts()) == {0, 1}


def test_why_a_table_has_no_key_is_found_in_no_time(db, measured):
    """Whoever is to know asks its types in a session that is everybody's."""
    db.app.execute("""DO $$ BEGIN EXECUTE (SELECT format('CREATE TYPE r0 AS (%s)', string_agg(format('c%s int', g), ',')) FROM generate_series(1, 1500) g);
        FOR i IN 1 .. 90 LOOP EXECUTE (SELECT format('CREATE TYPE r%s AS (%s, x r%s)', i, string_agg(format('c%s int', g), ','), i - 1) FROM generate_series(1, 1500) g); END LOOP; END $$""")
    db.app.execute(f"CREATE TABLE t (id int, n int, {', '.join(f'c{i} r90' for i in range(8))})")
    for i in range(6):
        db.app.execute(f"CREATE UNIQUE INDEX ON t ({', '.join(f'c{(i + k) % 8}' for k in range(8))})")
    began = time.monotonic()
    with pytest.raises(psycopg.Error, match="has no key to walk by .not by public.t_c0_c1"):
        db.submit(set_clause="n = 1")
    measured("why a table has no key, with 6 indexes over 8 composites of 91 times 1,500 attributes", f"{time.monotonic() - began:.2f} s")


def test_a_key_whose_text_is_not_its_value_is_refused(db):
    """seg writes six digits of what it compares; the greatest row would lie beyond the last position."""
    db.admin.execute("CREATE EXTENSION seg")
    db.app.execute("CREATE TABLE t (k seg PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT (i / 7.0)::text::seg FROM generate_series(10000, 10002) i")
    db.daemon()
    job = db.finish(db.submit(set_clause="n = n + 1"), "failed")
    assert "the text of a key (k) is not its value" in job["error"] and db.counts() == {0: 3}


def test_label_at_the_end_of_a_range_that_is_renamed_begins_the_scan_anew(db):
    db.app.execute("CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE t (k e, i int, n int, PRIMARY KEY (k, i)); INSERT INTO t SELECT 'b', g FROM generate_series(1, 1000) g")
    db.daemon(max_rows=50)
    name = db.submit(set_clause="n = 1", where_clause="n IS NULL", key=["k", "i"], max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(n) FROM t") > 100, what="it is on its way")
    db.app.execute("ALTER TYPE e RENAME VALUE 'b' TO 'c'; UPDATE backfill.job SET max_rows_per_s = NULL")
    job = db.finish(name)
    assert db.one("SELECT count(n) FROM t") == 1000 and "begun_anew" in job["report"]
