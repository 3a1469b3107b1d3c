"""keep_in_sync and sync_back: what is written beside a job and after it, by old code, by new code, by whoever."""

import itertools
import random
import re
import threading
from decimal import Decimal

import psycopg
import pytest
from cluster import Cluster
from conftest import SCALE
from daemon import run
from database import Database, prepare
from test_identity import dump_and_restore
from waiting import wait_until

TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass AND tgname LIKE '%backfilld%'"


def make(db, columns, rows="", user="app"):
    db.session(user).execute(f"CREATE TABLE t (id bigint PRIMARY KEY, {columns})")
    if rows:
        db.session(user).execute(f"INSERT INTO t SELECT i, {rows} FROM generate_series(1, 300) AS i")


def in_step(db, clause, user="app", state="succeeded", session=None, **columns):
    """The job's end; its trigger is in the table from then on."""
    if not db.daemons:
        db.daemon()
    name = db.submit(user=user, session=session, set_clause=clause, keep_in_sync=True, **columns)
    return db.finish(name, state)


def row(db, key, columns="b"):
    return db.all(f"SELECT {columns} FROM t WHERE id = {key}")[0]


# ---- What somebody wrote stays

def test_the_trigger_that_alone_fills_a_column_stays_until_that_may_be_null(db):
    """The end of a migration: code that knows the new column alone is to write on."""
    make(db, "a int NOT NULL, other text, c int NOT NULL DEFAULT 0", "i, 'x', i")
    job = in_step(db, "b = a * 2", add_column="b int", sync_back="a = b / 2", name="mine")
    db.app.execute("INSERT INTO t (id, b) VALUES (1000, 8)")
    for _ in range(2):
        with pytest.raises(psycopg.Error) as refused:
            db.app.execute("SELECT backfill.finish('mine')")
        assert "fills a of public.t by sync_back, which may not be NULL and has no default" in refused.value.diag.message_primary
    assert db.one(TRIGGERS) > 0 and job["tidy"]
    db.app.execute(refused.value.diag.message_hint.split(", then")[0])
    db.app.execute("SELECT backfill.finish('mine')")
    wait_until(lambda: db.one(TRIGGERS) == 0, what="the trigger is gone")
    db.app.execute("INSERT INTO t (id, b) VALUES (1001, 8); ALTER TABLE t ALTER COLUMN c DROP DEFAULT")
    db.app.execute("SELECT backfill.finish('mine')")  # again: it is finished
    # what has a default, and what a failed job, whose new code isn't there yet, keeps in step, may go
    db.app.execute("UPDATE t SET a = 4 WHERE a IS NULL; ALTER TABLE t ALTER COLUMN a SET NOT NULL, ALTER COLUMN a SET DEFAULT 1")
    in_step(db, "e = a", add_column="e int", sync_back="a = e", name="with a default")
    db.app.execute("SELECT backfill.finish('with a default')")
    in_step(db, "f = c / (id - 5)", state="failed", add_column="f int", sync_back="c = f", name="failed")
    db.app.execute("SELECT backfill.finish('failed')")
    wait_until(lambda: db.one(TRIGGERS) == 0, what="the triggers are gone")


@pytest.mark.parametrize("clause, kind", [("gen_random_uuid()", "uuid"), ("nextval('seq')", "bigint"), ("random()", "float8"),
                                          ("clock_timestamp()", "timestamptz"), ("now()", "timestamptz")])
def test_a_value_once_given_is_not_drawn_anew(db, clause, kind):
    db.app.execute("CREATE SEQUENCE seq")
    make(db, "a text", "'x'")
    in_step(db, f"b = {clause}", add_column=f"b {kind}")
    db.app.execute("CREATE TABLE given AS SELECT id, b FROM t; UPDATE t SET a = 'y'")
    assert db.one("SELECT count(*) FROM t JOIN given USING (id) WHERE t.b = given.b") == 300
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 'x')")
    assert row(db, 1000) != (None,)
    mine = db.one(f"SELECT max(b::text) FROM t")
    db.app.execute(f"INSERT INTO t (id, a, b) VALUES (1001, 'x', '{mine}'::{kind})")
    assert db.one("SELECT b::text FROM t WHERE id = 1001") == mine


def test_a_value_that_was_drawn_stays_while_the_job_runs(db):
    make(db, "a text", "'x'")
    db.daemon(max_rows=50)
    with db.held_row(200):
        name = db.submit(add_column="b uuid", set_clause="b = gen_random_uuid()", keep_in_sync=True)
        db.wait_at(200, name)
        db.app.execute("CREATE TABLE given AS SELECT id, b FROM t WHERE b IS NOT NULL; UPDATE t SET a = 'y' WHERE id IN (7, 250); INSERT INTO t (id, a, b) VALUES (0, 'x', 'ea11ab1e-0000-4000-8000-000000000000')")
    db.finish(name)
    assert db.one("SELECT count(*) FROM t JOIN given USING (id) WHERE t.b = given.b") == db.one("SELECT count(*) FROM given") >= 190
    assert db.one("SELECT count(DISTINCT b) FROM t") == 301 and str(row(db, 0)[0]).startswith("ea11ab1e")


def test_a_value_once_given_stays_when_another_column_of_the_where_clause_changes(db):
    make(db, "a text, kind text, b uuid", "'x', CASE WHEN i > 2 THEN 'in' ELSE 'out' END")
    in_step(db, "b = gen_random_uuid()", where_clause="b IS NULL AND kind = 'in' AND a <> ''")
    db.app.execute("UPDATE t SET b = gen_random_uuid() WHERE id = 2; CREATE TABLE given AS SELECT id, b FROM t; UPDATE t SET a = 'y', kind = 'in'")
    assert db.one("SELECT count(*) FROM t JOIN given USING (id) WHERE t.b = given.b") == 299
    assert row(db, 1) != (None,)


def test_each_part_of_a_column_is_computed(db):
    make(db, "a int, j jsonb, e int[]", "i")
    in_step(db, "j['x'] = to_jsonb(a), j['y'] = to_jsonb(a + 1), e[1] = a, e[2] = a + 1", where_clause="j IS NULL")
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 7); UPDATE t SET a = 70 WHERE id = 1")
    assert row(db, 1000, "j, e") == ({"x": 7, "y": 8}, [7, 8]) and row(db, 1, "j, e") == ({"x": 70, "y": 71}, [70, 71])


def test_a_part_that_is_left_out_is_computed_where_no_where_clause_says_what_is_to_do(db):
    db.app.execute("CREATE TYPE pair AS (a int, b int)")
    make(db, "a int, j jsonb, e int[], p pair", "i, '{\"k\": 1}', '{7}', ROW(NULL, 7)::pair")
    in_step(db, "j['n'] = to_jsonb(a), e[2] = a, p.a = a")
    db.app.execute("""INSERT INTO t VALUES (1000, 5, '{"k": 2}', '{8}', ROW(NULL, 8)), (1001, 6, '{"n": 1}', '{8, 9}', ROW(1, 8)); INSERT INTO t (id, a) VALUES (1002, 7)""")
    assert row(db, 1, "j, e, p::text") == ({"k": 1, "n": 1}, [7, 1], "(1,7)")
    assert [row(db, key, "j, e, p::text") for key in (1000, 1001, 1002)] == [({"k": 2, "n": 5}, [8, 5], "(5,8)"), ({"n": 1}, [8, 9], "(1,8)"), ({"n": 7}, [7], "(7,)")]


def test_who_writes_one_of_several_new_columns_keeps_the_others(db):
    make(db, "a text", "'Anna Smith' || i")
    db.app.execute("ALTER TABLE t ADD b text, ADD c text")
    in_step(db, "b = split_part(a, ' ', 1), c = split_part(a, ' ', 2)", where_clause="b IS NULL AND c IS NULL", sync_back="a = b || ' ' || c")
    db.app.execute("UPDATE t SET b = 'Anna Maria' WHERE id = 10; UPDATE t SET a = 'Anna Maria Smith11', b = 'Anna Maria', c = 'Smith11' WHERE id = 11; UPDATE t SET a = 'Eva Kay' WHERE id = 12")
    assert row(db, 10, "a, b, c") == ("Anna Maria Smith10", "Anna Maria", "Smith10")
    assert row(db, 11, "a, b, c") == ("Anna Maria Smith11", "Anna Maria", "Smith11")
    assert row(db, 12, "a, b, c") == ("Eva Kay", "Eva", "Kay")


# what set_clause fills, from what; and what sync_back writes, from what: two and two, two and one, one and two
SHAPES = {"two": ({"x": "lower(a)", "y": "lower(b)"}, {"a": "upper(x)", "b": "upper(y)"}, lambda r: {"x": lower(r["a"]), "y": lower(r["b"])}, lambda r: {"a": upper(r["x"]), "b": upper(r["y"])}),
          "split": ({"x": "split_part(a, '-', 1)", "y": "split_part(a, '-', 2)"}, {"a": "x || '-' || y"},
                    lambda r: {"x": part(r["a"], 0), "y": part(r["a"], 1)}, lambda r: {"a": None if None in (r["x"], r["y"]) else r["x"] + "-" + r["y"]}),
          "merged": ({"x": "concat(a, '-', b)"}, {"a": "split_part(x, '-', 1)", "b": "split_part(x, '-', 2)"},
                     lambda r: {"x": (r["a"] or "") + "-" + (r["b"] or "")}, lambda r: {"a": part(r["x"], 0), "b": part(r["x"], 1)})}


def lower(value):
    return value and value.lower()


def upper(value):
    return value and value.upper()


def part(value, n):
    return None if value is None else (value.split("-") + ["", ""])[n]


@pytest.mark.parametrize("shape, where, way", list(itertools.product(SHAPES, ["and", "or", "mark"], ["both", "forth"])) if SCALE > 1 else
                         [("two", "and", "both"), ("two", "or", "both"), ("split", "and", "both"), ("split", "mark", "forth"), ("merged", "mark", "both")])
def test_of_several_columns_each_write_reaches_its_own(db, shape, where, way):
    """A row that is still to do is written as if its batch had been there. Then a column that nobody wrote changes with what its own clause gives, and no other way."""
    filled, back, value, value_back = SHAPES[shape]
    make(db, "a text, b text, x text, y text, v int NOT NULL DEFAULT 0", "'aA' || i || '-a', 'bB' || i")
    where_clause = "v = 0" if where == "mark" else f" {where} ".join(f"{c} IS NULL" for c in filled)
    clause = ", ".join(f"{c} = {e}" for c, e in filled.items()) + (", v = 1" if where == "mark" else "")
    empty = {"and": all, "or": any}.get(where)
    to_do = lambda r: r["v"] == 0 if where == "mark" else empty(r[c] is None for c in filled)
    rows = {key: {"a": f"aA{key}-a", "b": f"bB{key}", "x": None, "y": None, "v": 0} for key in range(1, 301)}

    def fill(r):
        if to_do(r):
            r = {**r, **{c: v for c, v in value(r).items() if where != "or" or r[c] is None}, "v": int(where == "mark")}
        return r

    db.daemon()
    name = db.submit(set_clause=clause, where_clause=where_clause, keep_in_sync=True, max_rows_per_s=40, **({"sync_back": ", ".join(f"{c} = {e}" for c, e in back.items())} if way == "both" else {}))
    wait_until(lambda: db.one("SELECT count(x) FROM t") > 20, what="some rows are done")
    db.app.execute("SELECT backfill.pause(%s)", [name])
    db.wait_state(name, "paused")
    done = db.one("SELECT count(x) FROM t")
    assert done < 200
    chance = random.Random(f"{shape} {where} {way}")
    text = lambda: chance.choice(["qW", "Er", "tZ"]) + str(chance.randrange(1000)) + chance.choice(["", "-x", "-Y"])
    for n in range(150):
        key = chance.choice([chance.randint(1, done), chance.randint(200, 300)])
        old = ["a"] + (["b"] if shape != "split" else [])
        kind = chance.choice([old, old[:1], old[-1:], list(filled), list(filled)[:1], list(filled)[-1:], old + list(filled), old[:1] + list(filled)[-1:], old[-1:] + list(filled)[:1]])
        wrote = {c: text() for c in kind}
        if set(kind) == set(old) | set(filled):
            wrote.update(value(wrote))
        if n % 4 == 0:  # a row of its own
            key = 1000 + n
            db.app.execute(f"INSERT INTO t (id, {', '.join(wrote)}) VALUES ({key}, {', '.join(['%s'] * len(wrote))})", list(wrote.values()))
            r = {"a": None, "b": None, "x": None, "y": None, "v": int(where == "mark"), **wrote}
            rows[key] = {**r, **{c: v for c, v in value(r).items() if r[c] is None}}
            if way == "both" and wrote.keys() & filled.keys():
                rows[key].update({c: v for c, v in value_back(rows[key]).items() if r[c] is None})
            continue
        with db.connect("app") as session:  # one that has computed nothing before
            session.execute(f"UPDATE t SET {', '.join(f'{c} = %s' for c in wrote)} WHERE id = {key}", list(wrote.values()))
        before = fill(rows[key])
        r = {**before, **wrote}
        after = dict(r)
        if way == "forth" or not wrote.keys() & filled.keys():
            after.update({c: v for c, v in value(r).items() if c not in wrote and v != value(before)[c]})
        if way == "both" and not wrote.keys() & back.keys():
            after.update({c: v for c, v in value_back(after).items() if v != value_back(before)[c]})
        rows[key] = after
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL WHERE name = %s", [name])
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name)
    wanted = {key: fill(r) for key, r in rows.items()}
    assert {key: (a, b, x, y) for key, a, b, x, y in db.all("SELECT id, a, b, x, y FROM t")} == {key: (r["a"], r["b"], r["x"], r["y"]) for key, r in wanted.items()}


@pytest.mark.parametrize("clause", ["b = split_part(a, ' ', 1), c = split_part(a, ' ', 2)",
                                    "(b, c) = (SELECT split_part(a, ' ', 1), split_part(a, ' ', 2) -- both\n)",
                                    "b = split_part(a, ' ', 1), c = (SELECT split_part(a, ' ', 2))"])
@pytest.mark.parametrize("where", ["b IS NULL OR c IS NULL", "live AND (b IS NULL OR (t.c) IS NULL)"])
def test_a_row_that_is_to_do_for_one_column_keeps_the_other(db, clause, where):
    """By a batch, by INSERT, and when it becomes one that is meant."""
    make(db, "a text, live boolean, b varchar(9), c text", "'Anna Smith' || i, i <> 3")
    db.app.execute("UPDATE t SET b = 'new' WHERE id IN (1, 3); UPDATE t SET c = 'new' WHERE id = 2")
    in_step(db, clause, where_clause=where)
    db.app.execute("INSERT INTO t VALUES (1000, 'Eva Kay', true, 'new', NULL), (1001, 'Eva Kay', true, NULL, NULL); UPDATE t SET a = 'Eva Kay' WHERE id = 4; UPDATE t SET live = true WHERE id = 3")
    assert [row(db, key, "b, c") for key in (1, 2, 3, 4, 5)] == [("new", "Smith1"), ("Anna", "new"), ("new", "Smith3"), ("Eva", "Kay"), ("Anna", "Smith5")]
    assert [row(db, key, "b, c") for key in (1000, 1001)] == [("new", "Kay"), ("Eva", "Kay")]


def test_of_several_columns_each_value_becomes_what_its_column_is(db):
    """As in an UPDATE as it was written, whatever types CASE knows."""
    make(db, "a int, text text, short varchar(3), rest numeric(6, 2), days interval day, at date, doc jsonb, pair int[], one int DEFAULT 7, kind char(3)", "i")
    clause = ("text = a, short = 'abc', rest = a / 7.0, days = '5', at = '2020-01-31', (doc, pair) = (SELECT to_jsonb(a), ARRAY[a, 1]), one = DEFAULT, kind = 'x', added = a")
    where = " OR ".join(f"{c} IS NULL" for c in "text short rest days at doc pair one kind added".split())
    db.app.execute("UPDATE t SET text = 'kept', pair = '{}' WHERE id = 2; UPDATE t SET one = NULL WHERE id = 3; CREATE TABLE u (LIKE t INCLUDING DEFAULTS, added bigint); INSERT INTO u TABLE t")
    db.daemon()
    db.finish(db.submit(set_clause=clause, where_clause=where, add_column="added bigint"))
    db.app.execute(f"UPDATE u SET {clause}; UPDATE u SET text = 'kept', pair = '{{}}' WHERE id = 2")
    assert db.one("SELECT count(*) FROM (SELECT t::text FROM t EXCEPT SELECT u::text FROM u) AS d") == 0


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


def test_old_code_that_writes_what_sync_back_reads_loses_nothing(db):
    make(db, "a numeric, rate numeric", "i, 2")
    in_step(db, "b = (a * rate * 100)::bigint", add_column="b bigint", sync_back="a = b / 100.0 / rate")
    for rate, b in ((4, 2000), (0, 0), ("NULL", None)):
        db.app.execute(f"UPDATE t SET rate = {rate} WHERE id = 5")
        assert row(db, 5, "a, b") == (5, b)
    db.app.execute("UPDATE t SET b = 100 WHERE id = 6")
    assert row(db, 6, "a, b") == (0.5, 100)


def test_a_new_column_with_a_default_sends_nothing_back_for_old_code(db):
    make(db, "a numeric, b bigint NOT NULL DEFAULT 0", "i")
    in_step(db, "b = coalesce((a * 100)::bigint, -1)", where_clause="b = 0", sync_back="a = nullif(b, -1) / 100.0")
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, NULL); INSERT INTO t (id, b) VALUES (1001, 700)")
    assert row(db, 1000, "a, b") == (None, -1) and row(db, 1001, "a, b") == (7, 700)


def test_a_row_that_leaves_the_where_clause_follows_its_source_a_last_time(db):
    make(db, "a int, b int", "i")
    in_step(db, "b = a * 2", where_clause="b IS NULL AND a IS NOT NULL")
    db.app.execute("UPDATE t SET a = NULL WHERE id = 1; UPDATE t SET a = 5 WHERE id = 2")
    assert row(db, 1) == (None,) and row(db, 2) == (10,)


def test_what_new_code_writes_into_the_new_column_stays(db):
    make(db, "a numeric, note text", "i, 'x'")
    in_step(db, "b = a * 100", add_column="b bigint", enforce=["NOT NULL b"])
    db.app.execute("UPDATE t SET b = 777 WHERE id = 1; UPDATE t SET b = 555, a = 3 WHERE id = 2; UPDATE t SET note = 'y', a = 9 WHERE id = 3;"
                   "INSERT INTO t (id, b) VALUES (1000, 888); INSERT INTO t (id, a, b) VALUES (1001, 1, 5); UPDATE t SET note = 'z'")
    assert [row(db, key, "a, b") for key in (1, 2, 3, 1000, 1001)] == [(1, 777), (3, 555), (9, 900), (None, 888), (1, 5)]


def test_a_value_that_was_there_before_stays_until_its_source_changes(db):
    make(db, "a numeric, b bigint, note text", "i, CASE i WHEN 7 THEN 777 END, 'x'")
    in_step(db, "b = a * 100", where_clause="b IS NULL")
    db.app.execute("UPDATE t SET note = 'y'")
    assert row(db, 7) == (777,) and row(db, 8) == (800,)
    db.app.execute("UPDATE t SET a = 1 WHERE id = 7")
    assert row(db, 7) == (100,)


def test_a_change_that_comparison_does_not_see_counts(db):
    """1.0 is 1.00 and json has no =; what a clause makes of them differs."""
    db.admin.execute("CREATE EXTENSION citext")
    make(db, "a numeric, c citext, j json", "1.0, 'abc', '{}'")
    in_step(db, "b = concat(a, c, j)", add_column="b text")
    db.app.execute("UPDATE t SET a = 1.00 WHERE id = 1; UPDATE t SET c = 'ABC' WHERE id = 2; UPDATE t SET j = '{ }' WHERE id = 3")
    assert [row(db, key)[0] for key in (1, 2, 3)] == ["1.00abc{}", "1.0ABC{}", "1.0abc{ }"]


def test_other_updates_do_not_fire_the_trigger(db):
    make(db, "a int, note text", "i, 'x'")
    in_step(db, "b = a * 2", add_column="b int")
    with db.connect("app") as session:
        assert "backfilld" not in str(session.execute("EXPLAIN (ANALYZE, COSTS OFF) UPDATE t SET note = 'y'").fetchall())
        assert "backfilld_keep_in_sync" in str(session.execute("EXPLAIN (ANALYZE, COSTS OFF) UPDATE t SET a = 999 WHERE id = 1").fetchall())


def test_two_columns_of_one_job_are_filled_each_where_it_is_left_out(db):
    make(db, "name text, b text, c text", "'Ann Smith' || i, NULL, NULL")
    in_step(db, "b = split_part(name, ' ', 1), c = split_part(name, ' ', 2)", where_clause="b IS NULL AND c IS NULL")
    db.app.execute("INSERT INTO t (id, name) VALUES (1000, 'Joe Doe'); INSERT INTO t (id, name, b) VALUES (1001, 'Joe Doe', 'Joseph');"
                   "UPDATE t SET name = 'Eve Ray' WHERE id = 1; UPDATE t SET name = 'Eve Ray', c = 'Rae' WHERE id = 2")
    assert [row(db, key, "b, c") for key in (1000, 1001, 1, 2)] == [("Joe", "Doe"), ("Joseph", "Doe"), ("Eve", "Ray"), ("Eve", "Rae")]


@pytest.mark.parametrize("where", ["b IS NULL", "b IS NULL OR token IS NULL", None])
def test_of_several_columns_one_that_was_given_out_is_not_drawn_anew(db, where):
    make(db, "a int, c int, b int, token uuid, other text", "i, i")
    in_step(db, "b = a, token = gen_random_uuid(), other = c || md5(random()::text)", where_clause=where)
    before = row(db, 1, "token, other")
    db.app.execute("UPDATE t SET a = 50 WHERE id = 1")
    assert row(db, 1, "b, token, other") == (50, *before)
    db.app.execute("UPDATE t SET c = 50 WHERE id = 1")
    assert row(db, 1, "token") == before[:1] and row(db, 1, "other")[0].startswith("50") and row(db, 1, "other") != before[1:]


@pytest.mark.parametrize("back", [None, "a = upper(x), b = 100 / y"])
def test_of_several_columns_a_failure_of_one_leaves_those_whose_source_stays(db, back):
    """And what can be computed again is, in a session that has computed nothing before."""
    make(db, "a text, b int, x text, y int, u uuid", "'A' || i, 5")
    in_step(db, "x = lower(a), y = 100 / b, u = gen_random_uuid()", **({"sync_back": back} if back else {}))
    once = lambda sql: db.connect("app").__enter__().execute(sql)
    given = row(db, 1, "u")
    once("UPDATE t SET b = 0 WHERE id = 1")
    assert row(db, 1, "a, b, x, y, u") == ("A1", 0, "a1", None, *given)
    once("UPDATE t SET b = 10 WHERE id = 1")
    assert row(db, 1, "a, b, x, y, u") == ("A1", 10, "a1", 10, *given)
    once("INSERT INTO t VALUES (1000, 'A1000', 0, 'a1000', 7)")
    once("UPDATE t SET b = 10 WHERE id = 1000")
    assert row(db, 1000, "x, y") == ("a1000", 10)
    once("UPDATE t SET a = 'B', b = 0 WHERE id = 2")
    assert row(db, 2, "x, y") == ("b", None)
    once("UPDATE t SET b = 20 WHERE id = 2")
    assert row(db, 2, "x, y") == ("b", 5)
    if back:
        once("UPDATE t SET y = 0 WHERE id = 3")
        assert row(db, 3, "a, b, x, y") == ("A3", None, "a3", 0)
        once("UPDATE t SET y = 50 WHERE id = 3")
        assert row(db, 3, "a, b, x, y") == ("A3", 2, "a3", 50)


@pytest.mark.parametrize("where, back", [("x IS NULL AND y IS NULL", None), ("x IS NULL OR y IS NULL", None), (None, None), ("x IS NULL AND y IS NULL", "a = upper(x), b = 100 / y")])
def test_an_expression_that_nobody_needs_fails_no_writer_and_no_other_column(db, where, back):
    """Its column was given. What all of a row's columns need is no part of this: such a row is written as it came, so that it is still to do."""
    make(db, "a text, b int, x text, y int", "'A' || i, 5")
    in_step(db, "x = lower(a), y = 100 / b", where_clause=where, sync_back=back, enforce=["NOT NULL x"])
    once = lambda sql: db.connect("app").__enter__().execute(sql)
    once("INSERT INTO t (id, a, b, y) VALUES (1000, 'A', 0, 7)")
    assert row(db, 1000, "a, b, x, y") == ("A", 0, "a", 7)
    once("UPDATE t SET a = 'Q' WHERE id = 1000")  # what is given stays, whatever its source would give
    assert row(db, 1000, "a, b, x, y") == ("Q", 0, "q", 7)
    once("UPDATE t SET b = 0 WHERE id = 3; UPDATE t SET a = 'Q' WHERE id = 3")
    assert row(db, 3, "a, b, x, y") == ("Q", 0, "q", None)
    if back:
        once("UPDATE t SET y = 0 WHERE id = 4; UPDATE t SET x = 'q' WHERE id = 4")
        assert row(db, 4, "a, b, x, y") == ("Q", None, "q", 0)
    once("UPDATE t SET a = 'B', b = 0, y = 8 WHERE id = 1")
    assert row(db, 1, "a, b, x, y") == ("B", 0, "a1" if back else "b", 8)  # with a way back, who writes a new column means the others as they are
    if back:
        once("INSERT INTO t (id, a, x, y) VALUES (1001, 'A', 'a', 0)")
        assert row(db, 1001, "a, b, x, y") == ("A", None, "a", 0)
        once("INSERT INTO t (id, b, x, y) VALUES (1002, 9, 'a', 0)")
        assert row(db, 1002, "a, b, x, y") == ("A", 9, "a", 0)


# clause, where_clause, what an UPDATE that computes one of two values leaves: of a row that comes back to the batches, or of one that where_clause takes for done
BESIDE_A_FAILURE = {
    "parts": ("j['m'] = to_jsonb(100 / b), j['n'] = to_jsonb(lower(a))", "NOT j ? 'n'", ({"n": "q", "m": None}, "-", -1)),
    "parts, one that is asked for": ("j['m'] = to_jsonb(100 / b), j['n'] = to_jsonb(lower(a))", "j ->> 'm' IS NULL", "comes back"),
    "a part and a column": ("x = lower(a), j['m'] = to_jsonb(100 / b)", "x IS NULL AND NOT j ? 'm'", ({"m": None}, "q", -1)),
    "a column and a part": ("y = 100 / b, j['n'] = to_jsonb(lower(a))", "NOT j ? 'n'", ({"n": "q"}, "-", None)),
    "columns by AND": ("x = lower(a), y = 100 / b", "x IS NULL AND y IS NULL", "comes back"),
    "columns, one that is asked for": ("x = lower(a), y = 100 / b", "x IS NULL AND id > 0", "comes back"),
    "columns by AND, one that cannot be NULL": ("x = lower(a), z = 100 / b", "x IS NULL AND z = 0", ({}, "q", -1)),
    "columns by OR": ("x = lower(a), y = 100 / b", "x IS NULL OR y IS NULL", "comes back"),
    "no where_clause": ("x = lower(a), y = 100 / b, j['n'] = to_jsonb(lower(a))", None, ({"n": "q"}, "q", None)),
    "what must not be NULL": ("x = lower(a), y = 100 / b", "x IS NULL AND y IS NULL", ({}, "q", None)),
}


@pytest.mark.parametrize("kind", BESIDE_A_FAILURE)
def test_what_can_be_computed_is_lost_beside_nothing_that_cannot(db, kind):
    """Unless the row comes back to the batches by it."""
    clause, where, left = BESIDE_A_FAILURE[kind]
    make(db, "a text, b int, x text, y int, j jsonb, z int NOT NULL DEFAULT 0", "'A' || i, 5, NULL, NULL, '{}', 0")
    others = [f"{column} = {value}" for column, value in (("x", "'-'"), ("y", "-1")) if f"{column} =" not in clause]
    if others:
        db.app.execute(f"UPDATE t SET {', '.join(others)}")
    in_step(db, clause, where_clause=where, enforce=["NOT NULL x"] if kind == "what must not be NULL" else None)
    with db.connect("app") as session:
        session.execute("UPDATE t SET a = 'Q', b = 0 WHERE id = 1")
    if left == "comes back":
        assert db.one(f"SELECT count(*) FROM t WHERE id = 1 AND ({where})") == 1
    else:
        j, x, y = left
        assert row(db, 1, "j, x, y") == (j, x, y if "y =" in clause else -1)
        assert where is None or db.one(f"SELECT count(*) FROM t WHERE id = 1 AND ({where})") == 0, "where it comes back, it may be NULL"
    with db.connect("app") as session:
        session.execute("UPDATE t SET a = 'R', b = 10 WHERE id = 1")
    j, x, y, z = row(db, 1, "j, x, y, z")
    assert j == {part: value for part, value in (("n", "r"), ("m", 10)) if f"j['{part}']" in clause} and x in ("r", "-") and y in (10, -1) and z in (0, 10)


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


def test_a_function_of_the_trigger_that_fails_fails_no_writer(db):
    """Which sources have changed is one of them, and told before all else."""
    make(db, "a int, b int, x int", "i, i")
    in_step(db, "x = a, y = b", add_column="y int", where_clause="x IS NULL OR y IS NULL")
    name, arguments = db.all("SELECT proname, pg_get_function_arguments(oid) FROM pg_proc WHERE proname ~ '^backfilld_sync_.*_changed$'")[0]
    db.app.execute(f"""CREATE OR REPLACE FUNCTION {name}({arguments}) RETURNS TABLE ("0" int, "1" boolean, "2" boolean) LANGUAGE plpgsql AS $$ BEGIN RAISE division_by_zero; END $$""")
    db.app.execute("UPDATE t SET a = 50 WHERE id = 1")
    assert row(db, 1, "a, b") == (50, 1)


@pytest.mark.parametrize("ending", ["todo", "rest", "changed", "value", "back"])
def test_a_function_of_the_trigger_that_is_broken_empties_no_column(db, ending):
    """Whichever it is: an error that says nothing of the row leaves it as it came."""
    make(db, "a text, b int, x text, y int", "'A', 5")
    in_step(db, "x = lower(a), y = b * 2", where_clause="id > 0 AND (x IS NULL OR y IS NULL)", sync_back="a = upper(x), b = y / 2")
    name, arguments, result = db.all(f"SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid) FROM pg_proc WHERE proname ~ '^backfilld_sync_.*_{ending}$'")[0]
    db.app.execute(f"CREATE OR REPLACE FUNCTION {name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS $$ BEGIN RAISE undefined_function; END $$")
    with db.connect("app") as session:
        session.execute("UPDATE t SET a = 'Q', b = 7 WHERE id = 1; UPDATE t SET x = 'new' WHERE id = 2; INSERT INTO t VALUES (1000, 'Z', 9)")
    one, two = row(db, 1, "a, b, x, y"), row(db, 2, "a, b, x, y")
    assert one in [("Q", 7, "a", 10), ("Q", 7, "q", 14)] and two in [("A", 5, "new", 10), ("NEW", 5, "new", 10)] and row(db, 1000, "a, b") == ("Z", 9)


def test_a_column_that_was_added_beside_another_is_emptied_where_it_cannot_be_computed(db):
    make(db, "a text, b int, x text", "'A' || i, 5")
    in_step(db, "x = lower(a), y = 100 / b", add_column="y int", name="first")
    db.app.execute("UPDATE t SET b = 0 WHERE id = 1")
    assert row(db, 1, "x, y") == ("a1", None)
    db.app.execute("SELECT backfill.undo('first')")
    wait_until(lambda: db.one(TRIGGERS) == 0, what="its trigger is gone")
    db.app.execute("UPDATE t SET b = 5; ALTER TABLE t DROP COLUMN IF EXISTS y")
    in_step(db, "x = lower(a), y = 100 / b", add_column="y int", enforce=["NOT NULL y"])
    with pytest.raises(psycopg.Error, match="division by zero"):
        db.app.execute("UPDATE t SET b = 0 WHERE id = 1")


def test_what_an_applications_trigger_writes_into_one_of_several_columns_in_a_batch_stays(db):
    make(db, "a int, b int, x int, y int", "i, i")
    db.app.execute("""CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.id = 5 AND pg_trigger_depth() = 1 THEN UPDATE t SET x = 1234 WHERE id = 3; UPDATE t SET a = 700, x = 777 WHERE id = 40; END IF; RETURN NULL; END $$;
        CREATE TRIGGER touch AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()""")
    in_step(db, "x = a * 2, y = b * 2", where_clause="x IS NULL AND y IS NULL")
    assert [row(db, key, "a, x, y") for key in (3, 40)] == [(3, 1234, 6), (700, 777, 80)]


def test_what_new_code_writes_into_a_row_that_was_put_aside_reaches_the_old_columns(db):
    make(db, "a text, b int, x text, y int, v int NOT NULL DEFAULT 0", "'A' || i, 5")
    db.app.execute("UPDATE t SET b = 0 WHERE id = 8")
    in_step(db, "x = lower(a), y = 100 / b, v = 1", where_clause="v = 0", sync_back="a = upper(x), b = 100 / y", on_error="quarantine")
    db.app.execute("UPDATE t SET x = 'half' WHERE id = 8")
    assert row(db, 8, "a, b, x, y, v") == ("HALF", 0, "half", None, 0)
    db.app.execute("INSERT INTO t (id, b, x) VALUES (1000, 0, 'half')")
    assert row(db, 1000, "a, b, x, y") == ("HALF", 0, "half", None)
    db.app.execute("UPDATE t SET x = 'new', y = 10, v = 1 WHERE id = 8")
    assert row(db, 8, "a, b, x, y") == ("NEW", 10, "new", 10)


def test_one_sub_select_for_several_columns_that_gives_another_value_each_time_is_refused(db):
    make(db, "a int, x text, y text", "i")
    failed = in_step(db, "(x, y) = (SELECT q.g, md5(q.g) FROM (SELECT t.a || gen_random_uuid()::text AS g OFFSET 0) AS q)", state="failed", where_clause="x IS NULL")
    assert "the trigger computes it for each column anew" in failed["error"] and db.one(TRIGGERS) == 0


def test_a_default_with_a_backslash_is_the_same_for_a_writer_with_other_rules(db):
    make(db, "n int, p text DEFAULT 'C:\\', q text DEFAULT 'a\\b'")
    db.app.execute("INSERT INTO t (id, n) SELECT i, i FROM generate_series(1, 20) AS i; GRANT INSERT, SELECT, UPDATE ON t TO other")
    in_step(db, "p = 'D' || n, q = 'E' || n")
    with db.connect("other") as session:
        session.execute("SET standard_conforming_strings = off; SET escape_string_warning = off")
        session.execute("INSERT INTO t (id, n) VALUES (1000, 7)")
        session.execute("UPDATE t SET n = 8 WHERE id = 1")
    assert row(db, 1000, "p, q") == ("D7", "E7") and row(db, 1, "p, q") == ("D8", "E8")


def test_of_several_parts_of_a_column_each_changes_with_its_own_source(db):
    make(db, "a int, b int, j jsonb, e int[], old jsonb, x int, y int", "i, 5, NULL, NULL, jsonb_build_object('a', i, 'b', '001')")
    in_step(db, "j['n'] = to_jsonb(a), j['m'] = to_jsonb(b), e[1] = a, e[2] = b", where_clause="j IS NULL")
    db.app.execute("UPDATE t SET j['m'] = '777', e[2] = 777 WHERE id = 1; UPDATE t SET a = 50 WHERE id = 1")
    assert row(db, 1, "j, e") == ({"n": 50, "m": 777}, [50, 777])
    in_step(db, "x = (old ->> 'a')::int, y = (old ->> 'b')::int", where_clause="x IS NULL AND y IS NULL", sync_back="old['a'] = to_jsonb(x), old['b'] = to_jsonb(y)")
    db.app.execute("UPDATE t SET x = 70 WHERE id = 2")
    assert row(db, 2, "old, x, y") == ({"a": 70, "b": "001"}, 70, 1)


def test_of_several_parts_of_one_column_each_changes_with_its_own_source(db):
    make(db, "a text, b int, j jsonb, old jsonb, x text", "'A', 5, '{\"k\": 1}', jsonb_build_object('p', 1, 'q', 2)")
    in_step(db, "j['n'] = to_jsonb(100 / b), j['m'] = to_jsonb(lower(a))", where_clause="j['n'] IS NULL")
    db.app.execute("""UPDATE t SET j['m'] = '"given"' WHERE id = 2; UPDATE t SET b = 10 WHERE id = 2; UPDATE t SET b = 0 WHERE id = 3; UPDATE t SET a = 'Q' WHERE id = 3; UPDATE t SET b = 4 WHERE id = 3""")
    assert row(db, 2, "j") == ({"k": 1, "n": 10, "m": "given"},) and row(db, 3, "j") == ({"k": 1, "n": 25, "m": "q"},)
    in_step(db, "x = concat(old ->> 'p', '-', old ->> 'q')", where_clause="x IS NULL", sync_back="old['p'] = to_jsonb(split_part(x, '-', 1)), old['q'] = to_jsonb(split_part(x, '-', 2))")
    db.app.execute("UPDATE t SET x = '7-2' WHERE id = 2")
    assert row(db, 2, "old") == ({"p": "7", "q": 2},)


def test_a_clause_that_reads_what_it_fills_and_fills_others_is_refused_under_a_trigger(db):
    make(db, "a text, b text, x text, y text, v int NOT NULL DEFAULT 0", "'A', 'B'")
    with pytest.raises(psycopg.Error, match="reads a column that it fills, and fills others") as refused:
        db.submit(set_clause="x = coalesce(x, lower(a)), y = lower(b)", where_clause="x IS NULL", keep_in_sync=True)
    assert refused.value.diag.message_hint.startswith("Insert a job for each column.")
    with pytest.raises(psycopg.Error, match="reads a column that it fills, and fills others"):
        db.submit(set_clause="z = coalesce(z, lower(t.a)), y = lower(b)", add_column="z text", keep_in_sync=True, sync_back="a = upper(z), b = upper(y)")
    in_step(db, "x = coalesce(x, lower(a)), v = 1", where_clause="v = 0")


@pytest.mark.parametrize("where", ["x ISNULL OR (y) ISNULL", "num_nulls(x, y) > 0", "x IS NULL OR y IS NULL OR v = 0"])
def test_an_insert_keeps_what_it_gives_of_several_columns(db, where):
    make(db, "a text, b text, x text, y text, v int NOT NULL DEFAULT 1", "'A', 'B'")
    in_step(db, "x = lower(a), y = lower(b)", where_clause=where)
    db.app.execute("INSERT INTO t (id, a, b, x) VALUES (1000, 'Q', 'R', 'mine'); INSERT INTO t (id, a, b) VALUES (1001, 'Q', 'R')")
    assert row(db, 1000, "x, y") == ("mine", "r") and row(db, 1001, "x, y") == ("q", "r")


def test_what_the_tables_own_triggers_make_of_the_old_column_holds_for_new_code(db):
    """They were written for it: they see what sync_back writes, and may refuse it."""
    make(db, "a int, quantity int DEFAULT 2, total int", "i")
    db.app.execute("""CREATE FUNCTION total() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.a < 0 OR NEW.a IS NULL THEN RAISE 'a must be above 0'; END IF;
          NEW.total := NEW.a * NEW.quantity; RETURN NEW; END $$;
        CREATE TRIGGER total BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION total()""")
    in_step(db, "b = a * 10", add_column="b int", sync_back="a = b / 10", enforce=["NOT NULL b"])
    db.app.execute("UPDATE t SET b = 5000 WHERE id = 1; INSERT INTO t (id, b) VALUES (1000, 70); UPDATE t SET a = 8 WHERE id = 2; INSERT INTO t (id, a) VALUES (1001, 9)")
    assert [row(db, key, "a, b, total") for key in (1, 1000, 2, 1001)] == [(500, 5000, 1000), (7, 70, 14), (8, 80, 16), (9, 90, 18)]
    with pytest.raises(psycopg.Error, match="a must be above 0"):
        db.app.execute("UPDATE t SET b = -10 WHERE id = 3")
    db.app.execute("ALTER TRIGGER total ON t RENAME TO \"!total\"")
    with pytest.raises(psycopg.Error, match='trigger "!total" would fire before') as refused:
        db.submit(set_clause="total = quantity", sync_back="quantity = total", where_clause="total IS NULL", keep_in_sync=True)
    assert refused.value.diag.column_name == "sync_back"


def test_a_column_that_another_job_keeps_in_step_is_refused(db):
    make(db, "a int, c int, b int", "i, i")
    in_step(db, "b = a", where_clause="b IS NULL", name="first")
    with pytest.raises(psycopg.Error, match='job "first" keeps a column that this one fills in step already') as refused:
        db.submit(set_clause="b = c", where_clause="b IS NULL", keep_in_sync=True)
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE t IN ROW EXCLUSIVE MODE")
        db.app.execute(refused.value.diag.message_hint[len("First "):].split(",")[0])
        with pytest.raises(psycopg.Error, match='the trigger of job "first" is being taken out of the table'):
            db.submit(set_clause="b = c", where_clause="b IS NULL", keep_in_sync=True)
        holder.rollback()
    wait_until(lambda: db.one(TRIGGERS) == 0, what="its trigger is gone")
    in_step(db, "b = c", where_clause="b IS NULL")


@pytest.mark.parametrize("where", ["b IS NULL", "b IS NULL OR c IS NULL", None, "id > 0 AND b IS NULL", "id > 0 AND (b IS NULL OR c IS NULL)", "c = 0 AND b IS NULL"])
def test_a_default_that_is_a_constant_counts_as_left_out_whatever_asks_for_a_row(db, where):
    make(db, "a int, b int DEFAULT 0, c int DEFAULT 0, d int")
    in_step(db, "b = a, c = a" if "c" in (where or "") else "b = a", where_clause=where)
    db.app.execute("INSERT INTO t (id, a) VALUES (1, 7); INSERT INTO t (id, a, b) VALUES (2, 7, 5); INSERT INTO t (id) VALUES (3)")
    assert [row(db, key)[0] for key in (1, 2, 3)] == [7, 5, 0]


# ---- Which rows

@pytest.mark.parametrize("columns, clause, where", [
    ("a numeric, b bigint NOT NULL DEFAULT 0", "b = a * 100", "b = 0"),
    ("a numeric, b bigint, done boolean NOT NULL DEFAULT false", "b = a * 100, done = true", "NOT done"),
    ("a numeric, b bigint NOT NULL DEFAULT 0", "b = a * 100", "b IS DISTINCT FROM a * 100"),
    ("a numeric, b bigint", "b = a * 100", "(t.b IS NULL)"),
    ("a numeric, b bigint DEFAULT 0", "b = a * 100", None),
])
def test_a_row_that_is_done_follows_its_source_however_done_is_told(db, columns, clause, where):
    make(db, columns)
    db.app.execute("INSERT INTO t (id, a) SELECT i, i FROM generate_series(1, 300) AS i")
    in_step(db, clause, where_clause=where)
    db.app.execute("UPDATE t SET a = 9 WHERE id = 8; INSERT INTO t (id, a) VALUES (1000, 5)")
    assert row(db, 8) == (900,) and row(db, 1000) == (500,)
    assert db.one("SELECT count(*) FROM t WHERE b = a * 100") == 301


def test_rows_that_the_where_clause_excludes_are_left_alone(db):
    make(db, "kind text, a int, b int", "CASE WHEN i % 2 = 0 THEN 'x' ELSE 'y' END, i, 0")
    in_step(db, "b = a * 2", where_clause="b = 0 AND kind = 'x'")
    db.app.execute("UPDATE t SET a = 50 WHERE id IN (1, 2); UPDATE t SET kind = 'x' WHERE id = 3; INSERT INTO t VALUES (1000, 'y', 1, 0), (1001, 'x', 1, 0)")
    assert [row(db, key)[0] for key in (1, 2, 3, 1000, 1001)] == [0, 100, 6, 0, 2]


# ---- The clause gives what it gives in a batch, whoever writes

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
                      CREATE FUNCTION util.digits(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN regexp_replace($1, ''\\D'', '''', ''g''); END';
                      CREATE FUNCTION util.quoted(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN E'it\\'s ' || $1; END$$;
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
                      CREATE FUNCTION drifting() RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN clock_timestamp()::text; END'""")
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


# ---- What others do to the table

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
                                             ("ALTER TABLE t ENABLE TRIGGER USER", "switched off"), ("", "was changed")])
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


# ---- A row that can't be computed

def test_a_row_that_cannot_be_computed_is_written_until_a_constraint_forbids_it(db):
    make(db, "a text", "i::text")
    in_step(db, "b = a::int", add_column="b int", enforce=["NOT NULL b"])
    for command in ("INSERT INTO t (id, a) VALUES (1000, 'none')", "UPDATE t SET a = 'none' WHERE id = 1"):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="invalid input syntax for type integer"):
            db.app.execute(command)
    db.app.execute("UPDATE t SET a = 'none', b = 5 WHERE id = 1")
    assert row(db, 1, "a, b") == ("none", 5)


NEVER_NULL = {"b": "int NOT NULL", "c": "never", "d": "never_too", "e": "positive", "f": "int CHECK (f IS NOT NULL AND f > -100)", "g": "with_zero NOT NULL"}


@pytest.mark.parametrize("value", ["none", None, "-5"])
def test_a_column_that_could_not_be_null_before_never_fails_its_writer(db, value):
    """Not by itself, nor by its domain, nor by its CHECK: whether the clause fails, gives NULL, or what the domain refuses."""
    db.app.execute("CREATE DOMAIN never AS int NOT NULL; CREATE DOMAIN never_too AS never; CREATE DOMAIN positive AS int CHECK (value IS NOT NULL AND value > 0);"
                   "CREATE DOMAIN with_zero AS int DEFAULT 0")
    make(db, "a text, " + ", ".join(f"{name} {kind}{'' if name == 'g' else ' DEFAULT 1000'}" for name, kind in NEVER_NULL.items()))
    db.app.execute("INSERT INTO t (id, a) SELECT i, i::text FROM generate_series(1, 300) AS i")
    in_step(db, ", ".join(f"{name} = a::int" for name in NEVER_NULL), where_clause="b = 1000")
    db.app.execute("UPDATE t SET a = %s WHERE id = 1", [value])
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, %s)", [value])
    names = ", ".join(NEVER_NULL)
    if value == "-5":
        assert row(db, 1, "e") == (1,) and row(db, 1000, "e") == (1000,)
    else:
        assert row(db, 1, names) == (1,) * 6 and row(db, 1000, names) == (1000,) * 5 + (0,)
    db.app.execute("INSERT INTO t (id, a) VALUES (1001, '7')")
    assert row(db, 1001, names) == (7,) * 6, "what is left out has the domain's default, and is filled"


def test_a_check_of_before_never_fails_a_writer_for_what_the_trigger_gives(db):
    """The filled column and the old one have CHECKs; a row that the clause would bring into conflict with them keeps what stands there."""
    make(db, "a numeric CHECK (a >= 0), b bigint CHECK (b < 1000), CONSTRAINT together CHECK ((a IS NULL) = (b IS NULL))")
    db.app.execute("INSERT INTO t (id, a, b) SELECT i, i / 100.0, 0 FROM generate_series(1, 300) AS i")
    in_step(db, "b = nullif(a * 100, 700)", where_clause="b = 0", sync_back="a = b / 100.0")
    db.app.execute("UPDATE t SET a = 50 WHERE id = 1; UPDATE t SET a = 7 WHERE id = 2; UPDATE t SET b = -100 WHERE id = 3; UPDATE t SET a = 5 WHERE id = 4")
    assert [row(db, key, "a, b") for key in (1, 2, 3, 4)] == [(50, 1), (7, 2), (Decimal("0.03"), -100), (5, 500)]
    with pytest.raises(psycopg.errors.CheckViolation):
        db.app.execute("UPDATE t SET a = -1 WHERE id = 5")  # theirs
    db.app.execute("ALTER TABLE t DROP CONSTRAINT t_b_check; UPDATE t SET a = 60 WHERE id = 1")
    assert row(db, 1, "a, b") == (60, 6000)


def test_an_error_that_is_no_rows_fault_leaves_values_alone(db):
    db.close_public()
    db.app.execute("CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1 * 2; END'")
    make(db, "a int, note text", "i, 'x'")
    in_step(db, "b = f(a)", add_column="b int")
    db.app.execute("CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN no_such($1); END'")
    db.app.execute("UPDATE t SET a = 7 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, 5)")
    assert row(db, 1, "a, b") == (7, 2) and row(db, 1000) == (None,)


# ---- Whose

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


# ---- Partitions

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


# ---- The way back

def test_the_way_back(db):
    make(db, "a numeric NOT NULL DEFAULT 0, note text", "i, 'x'")
    in_step(db, "b = (a * 100)::bigint", add_column="b bigint", sync_back="a = b / 100.0", enforce=["NOT NULL b"])
    db.app.execute("UPDATE t SET b = 777 WHERE id = 1; UPDATE t SET a = 2.5 WHERE id = 2; UPDATE t SET a = 1, b = 2 WHERE id = 3;"
                   "INSERT INTO t (id, b) VALUES (1000, 888); INSERT INTO t (id, a) VALUES (1001, 3); INSERT INTO t (id, a, b) VALUES (1002, 4, 5); INSERT INTO t (id) VALUES (1003)")
    got = [tuple(map(float, row(db, key, "a, b"))) for key in (1, 2, 3, 1000, 1001, 1002, 1003)]
    assert got == [(7.77, 777), (2.5, 250), (1, 2), (8.88, 888), (3, 300), (4, 5), (0, 0)]


def test_a_batch_does_not_go_back(db):
    """What old code has written is not rounded to what the new column can hold."""
    make(db, "a numeric", "i + 0.005")
    in_step(db, "b = (a * 100)::bigint", add_column="b bigint", sync_back="a = b / 100.0")
    assert db.one("SELECT count(*) FROM t WHERE a = id + 0.005") == 300


@pytest.mark.parametrize("columns, column, problem", [
    ({"sync_back": "a = b / 2"}, "sync_back", "goes with keep_in_sync"),
    ({"keep_in_sync": True, "sync_back": "b = a"}, "sync_back", "which set_clause fills"),
    ({"keep_in_sync": True, "sync_back": "a = 5"}, "sync_back", "reads no column that set_clause fills"),
    ({"keep_in_sync": True, "sync_back": "a = nix"}, "sync_back", 'column "nix" does not exist'),
    ({"keep_in_sync": True, "sync_back": "a"}, "sync_back", "no trigger can compute"),
])
def test_a_way_back_that_is_none_is_refused(db, columns, column, problem):
    make(db, "a int", "i")
    with pytest.raises(psycopg.Error, match=problem) as refused:
        db.submit(add_column="b int", set_clause="b = a * 2", **columns)
    assert refused.value.diag.column_name == column and refused.value.diag.message_hint


def test_old_code_new_code_and_both_at_once_lose_nothing_and_agree(db, scale, measured):
    """Before, during and after the job: old code writes a, new code b, the release between both."""
    each, keys = 2000 * scale, 3000
    db.app.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, a int NOT NULL DEFAULT 0, note text); INSERT INTO t SELECT i, i FROM generate_series(1, {keys}) AS i")
    daemon = db.daemon()
    problems, done, there = [], [], threading.Event()

    def write(n, kind):
        try:
            with db.connect("app") as session:
                for i in range(each):
                    if kind != "old":
                        there.wait(20)
                    key, value = (i * 7 + n * 1013) % keys + 1, i + 1
                    if i % 5 == 4:  # a row of its own
                        key = keys + 1 + n * each + i
                        columns = {"old": "(id, a)", "new": "(id, b)", "both": "(id, a, b)"}[kind]
                        values = {"old": [key, value], "new": [key, value * 2], "both": [key, value, value * 2]}[kind]
                        session.execute(f"INSERT INTO t {columns} VALUES ({', '.join(['%s'] * len(values))})", values)
                        done.append((key, value))
                    else:
                        sets = {"old": "a = %(v)s", "new": "b = %(v)s * 2", "both": "a = %(v)s, b = %(v)s * 2"}[kind]
                        got = session.execute(f"UPDATE t SET {sets}, note = 'x' WHERE id = %(k)s RETURNING a" + (", b" if kind != "old" else ""), {"v": value, "k": key}).fetchone()
                        if got[0] != value or (kind != "old" and got[1] != value * 2):
                            problems.append((kind, key, value, got))
        except psycopg.Error as error:
            problems.append((kind, str(error)))

    threads = [threading.Thread(target=write, args=(n, kind)) for n, kind in enumerate(["old", "new", "both", "old", "new"])]
    for thread in threads:
        thread.start()
    name = db.submit(add_column="b int", set_clause="b = a * 2", keep_in_sync=True, sync_back="a = b / 2", enforce=["NOT NULL b"], max_rows_per_s=1500)
    wait_until(lambda: db.one(TRIGGERS) == 5, what="the triggers are there")
    there.set()
    db.finish(name, timeout=60)
    for thread in threads:
        thread.join()
    measured("old and new code beside a job", f"{5 * each} transactions")
    assert problems == []
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a * 2") == 0
    assert dict(db.all(f"SELECT id, a FROM t WHERE id > {keys}")) == dict(done)


# ---- Elsewhere

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


def test_a_restored_copy_of_several_columns_is_kept_in_step(db, db2):
    make(db, "a text, b int CHECK (b < 1000), x text, y int CHECK (y < 1000)", "'A' || i, i")
    in_step(db, "x = lower(a), y = b * 2", where_clause="id > 0 AND (x IS NULL OR y IS NULL)", sync_back="a = upper(x), b = y / 2")
    db2.admin.execute("DROP SCHEMA backfill CASCADE")
    dump_and_restore(db, db2)
    db2.app.execute("INSERT INTO t (id, a, b) VALUES (1000, 'Q', 1); UPDATE t SET a = 'Q' WHERE id = 1; UPDATE t SET y = 8 WHERE id = 2; UPDATE t SET a = 'R', y = 8 WHERE id = 3")
    assert db2.all("SELECT a, b, x, y FROM t WHERE id IN (1, 2, 3, 1000) ORDER BY id") == [("Q", 1, "q", 2), ("A2", 4, "a2", 8), ("R", 3, "a3", 8), ("Q", 1, "q", 2)]


# ---- What a cold look at it has found

def test_a_row_whose_key_changes_while_the_job_runs_is_filled_before_it_is_enforced(db):
    make(db, "a int", "i")
    db.daemon()
    with db.held_row(150):
        name = db.submit(set_clause="b = a * 2", add_column="b int", keep_in_sync=True, enforce=["NOT NULL b"])
        db.wait_at(150, name)
        db.app.execute("UPDATE t SET id = 10000 WHERE id = 300; UPDATE t SET id = -5 WHERE id = 299")
    db.finish(name, timeout=60)
    assert db.one("SELECT count(*) FROM t WHERE b = a * 2") == 300


@pytest.mark.parametrize("failing", ["RAISE 'neg' USING ERRCODE = 'MY001'", "ASSERT false", "RAISE 'neg' USING ERRCODE = '38000'"])
def test_what_a_clause_raises_is_the_rows_with_whatever_code(db, failing):
    db.close_public()
    db.app.execute(f"CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF $1 < 0 THEN {failing}; END IF; RETURN $1; END $$")
    make(db, "a int", "i")
    in_step(db, "b = f(a)", add_column="b int")
    db.app.execute("UPDATE t SET a = -5 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, -5)")
    assert row(db, 1, "a, b") == (-5, None) and row(db, 1000, "a, b") == (-5, None)


def test_an_insert_keeps_what_it_gives_whatever_tells_a_row_that_is_to_do(db):
    make(db, "a int, b int, arr int[], done boolean NOT NULL DEFAULT false", "i, NULL, NULL, false")
    in_step(db, "b = a * 2, done = true", where_clause="NOT done")
    db.app.execute("INSERT INTO t (id, a, b) VALUES (1000, 5, 77); INSERT INTO t (id, a) VALUES (1001, 5); INSERT INTO t (id, b) VALUES (1002, 77)")
    assert [row(db, key, "b, done") for key in (1000, 1001, 1002)] == [(77, True), (10, True), (77, True)]
    in_step(db, "arr[2] = a", where_clause="arr IS NULL")
    db.app.execute("INSERT INTO t (id, a, arr) VALUES (1003, 1, '{5,6}')")
    assert row(db, 1003, "arr") == ([5, 6],)


def test_who_writes_one_of_two_filled_columns_gets_the_other(db):
    make(db, "name text, b text, c text", "'Ann Smith', NULL, NULL")
    in_step(db, "b = split_part(name, ' ', 1), c = split_part(name, ' ', 2)", where_clause="b IS NULL AND c IS NULL")
    db.app.execute("UPDATE t SET name = 'X Y', b = 'Z' WHERE id = 1")
    assert row(db, 1, "b, c") == ("Z", "Y")


def test_a_composite_value_is_kept_in_step(db):
    db.app.execute("CREATE TYPE pair AS (x int, y int)")
    make(db, "a int", "i")
    in_step(db, "b = ROW(a, a * 2)::pair", add_column="b pair")
    db.app.execute("UPDATE t SET a = 5 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, 6)")
    assert [row(db, key, "(b).x, (b).y") for key in (1, 2, 1000)] == [(5, 10), (2, 4), (6, 12)]


def test_the_younger_of_two_jobs_sees_what_the_older_has_filled(db):
    make(db, "a int", "i")
    db.admin.execute("ALTER TABLE backfill.job ALTER COLUMN id RESTART WITH 9")
    in_step(db, "c = a + 1", add_column="c int", enforce=["NOT NULL c"])
    in_step(db, "b = c + 1", add_column="b int", enforce=["NOT NULL b"])
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 1); UPDATE t SET a = 5 WHERE id = 1")
    assert [row(db, key, "c, b") for key in (1000, 1)] == [(2, 3), (6, 7)]


def test_a_way_back_into_the_key_of_partitions_is_refused(db):
    db.app.execute("CREATE TABLE t (id int, r int NOT NULL DEFAULT 1, PRIMARY KEY (id, r)) PARTITION BY LIST (r); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)")
    with pytest.raises(psycopg.Error, match="writes r of public.t, by which rows belong to partitions") as refused:
        db.submit(add_column="x bigint", set_clause="x = r", keep_in_sync=True, sync_back="r = x")
    assert refused.value.diag.column_name == "sync_back" and refused.value.diag.message_hint


def test_two_jobs_of_which_one_would_not_see_the_other_are_refused(db):
    """The triggers of the older job fire first: what the younger writes into a column that the older reads or sends back would stay there."""
    make(db, "a int, b int, c int", "i")
    in_step(db, "b = a * 2", where_clause="b IS NULL", sync_back="a = b / 2", name="older")
    for columns, problem in (({"set_clause": "c = b * 2", "where_clause": "c IS NULL", "sync_back": "b = c / 2"}, "sync_back: writes a column that job \"older\" fills"),
                             ({"set_clause": "a = c", "where_clause": "a = 0"}, "keep_in_sync: job \"older\" computes from a column that this one fills")):
        with pytest.raises(psycopg.Error) as refused:
            db.submit(keep_in_sync=True, **columns)
        assert problem in str(refused.value) and "backfill.finish('older')" in refused.value.diag.message_hint
    in_step(db, "c = b * 2", where_clause="c IS NULL")
    db.app.execute("UPDATE t SET a = 100 WHERE id = 1; UPDATE t SET b = 100 WHERE id = 2")
    assert row(db, 1, "a, b, c") == (100, 200, 400) and row(db, 2, "a, b, c") == (50, 100, 200)
    db.app.execute("SELECT backfill.finish('older')")
    wait_until(lambda: not db.job("older")["tidy"], what="its triggers are gone")
    db.submit(keep_in_sync=True, set_clause="a = c", where_clause="a = 0", wanted="pause")


def test_what_an_applications_trigger_writes_in_a_batch_is_the_applications(db):
    make(db, "a int, peer int", "i, i - 1")
    db.app.execute("""CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET b = 77700 WHERE id = NEW.peer AND b IS DISTINCT FROM 77700; RETURN NULL; END $$""")
    db.daemon()
    with db.held_row(150):
        name = db.submit(set_clause="b = a * 100", add_column="b int", keep_in_sync=True, sync_back="a = b / 100")
        db.wait_at(150, name)
        db.app.execute("CREATE TRIGGER mark AFTER UPDATE OF b ON t FOR EACH ROW WHEN (NEW.id = 200) EXECUTE FUNCTION mark()")
    db.finish(name)
    assert row(db, 199, "a, b") == (777, 77700)


@pytest.mark.parametrize("table, columns, problem", [
    ("a int DEFAULT 1 + random()::int", {"sync_back": "a = b / 2"}, "default of a is no constant"),
    ("a serial", {"sync_back": "a = b / 2"}, "default of a is no constant"),
    ("a int", {}, "trigger zzz would fire after"),
])
def test_what_the_trigger_could_not_see_is_refused(db, table, columns, problem):
    make(db, table)
    if "zzz" in problem:
        db.app.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER zzz BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()")
    with pytest.raises(psycopg.Error, match=problem) as refused:
        db.submit(add_column="b int", set_clause="b = a * 2", keep_in_sync=True, **columns)
    assert refused.value.diag.message_hint


def test_a_trigger_that_is_switched_off_in_mid_job_fails_a_job_that_enforces_nothing_too(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g")
    db.daemon(max_rows=100)
    with db.held_row(500):
        name = db.submit(add_column="b int", set_clause="b = a", keep_in_sync=True)
        db.wait_at(500, name)
        db.admin.execute("ALTER TABLE t DISABLE TRIGGER USER; ALTER TABLE t ENABLE TRIGGER gate_t_500")
    assert "trigger of keep_in_sync" in db.finish(name, "failed")["error"]


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


# ---- Values that are taken for names

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


# ---- Columns that were there before the job

def test_a_row_that_cannot_be_computed_keeps_a_value_that_the_job_has_not_computed(db):
    """It is the only one there is: of a row that isn't done yet, of a clause that reads what it fills, of all of a document but the part that is filled."""
    db.close_public()
    db.app.execute("""CREATE TYPE money2 AS (amt int, cur text);
      CREATE FUNCTION norm(p text, c text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF c IS NULL OR length(c) <> 2 THEN RAISE 'bad country'; END IF; RETURN '+' || c || p; END $$;
      CREATE TABLE p (id int PRIMARY KEY, country text, phone text); INSERT INTO p SELECT i, 'DE', '0' || i FROM generate_series(1, 300) i;
      CREATE TABLE d (id int PRIMARY KEY, n int, j jsonb, arr int[], m money2, q int);
      INSERT INTO d SELECT i, i, '{"doc": "precious"}', '{1,2,3}', ROW(1, 'EUR')::money2, -i FROM generate_series(1, 300) i""")
    db.daemon()
    with db.held_row(200, "p"), db.held_row(200, "d"):
        own = db.submit(target="p", set_clause="phone = norm(phone, country)", where_clause="phone NOT LIKE '+%'", keep_in_sync=True, name="own", max_rows_per_s=100)
        parts = db.submit(target="d", set_clause="j['n'] = to_jsonb(1000 / n), arr[1] = 1000 / n, m.amt = 1000 / n, q = 1000 / n", keep_in_sync=True, name="parts", max_rows_per_s=100)
        wait_until(lambda: db.cursor(own) and db.cursor(parts), what="both are at work")
        db.app.execute("UPDATE p SET country = 'DEU' WHERE id = 290; UPDATE d SET n = 0 WHERE id = 290")
        assert db.all("SELECT phone FROM p WHERE id = 290") == [("0290",)]
        assert db.all("SELECT j, arr, (m).cur, q FROM d WHERE id = 290") == [({"doc": "precious"}, [1, 2, 3], "EUR", -290)]
        db.app.execute("UPDATE p SET country = 'DE' WHERE id = 290; UPDATE d SET n = 290 WHERE id = 290")
        db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL")
    db.finish(own)
    db.finish(parts)
    db.app.execute("UPDATE d SET n = 0 WHERE id = 1")
    assert db.all("SELECT j, arr, (m).amt, (m).cur, q FROM d WHERE id = 1") == [({"doc": "precious", "n": None}, [None, 2, 3], None, "EUR", None)], "what was computed is wrong now"


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


def test_a_leaf_that_takes_no_null_gets_none(db):
    db.app.execute("""CREATE TABLE t (id int, k int, n int, m int, PRIMARY KEY (id, k)) PARTITION BY LIST (k); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
                      CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2); ALTER TABLE t2 ALTER m SET NOT NULL; INSERT INTO t SELECT i, 1 + i % 2, i, i FROM generate_series(1, 20) i""")
    db.daemon()
    db.finish(db.submit(set_clause="m = 100 / n", keep_in_sync=True))
    db.app.execute("UPDATE t SET n = 0 WHERE id = 1; UPDATE t SET n = NULL WHERE id = 3")
    assert db.all("SELECT m FROM t WHERE id IN (1, 3) ORDER BY id") == [(100,), (33,)]


def test_writes_go_on_when_the_old_column_is_renamed_while_the_triggers_are_there(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, amount numeric); INSERT INTO t SELECT i, i FROM generate_series(1, 20) i")
    db.daemon()
    db.finish(db.submit(add_column="cents bigint", set_clause="cents = (amount * 100)::bigint", keep_in_sync=True, sync_back="amount = cents / 100.0", enforce=["NOT NULL cents"]))
    db.app.execute("ALTER TABLE t RENAME amount TO amount_old")
    db.app.execute("UPDATE t SET amount_old = 7 WHERE id = 1; UPDATE t SET cents = 6 WHERE id = 2")
    checked = run("-d", db.conninfo(), "--check")
    assert checked.returncode == 1 and "writes column amount, which is not there any more" in checked.stdout, checked.stdout


@pytest.mark.parametrize("where", [None, "b IS NULL OR c IS NULL"])
@pytest.mark.parametrize("old, stale", [("a int, s text", None), ("a int NOT NULL, s text NOT NULL", "kept"), ("a int CHECK (a < 1000), s text", None), ("a int NOT NULL CHECK (a < 1000), s text", "kept")])
def test_of_several_old_columns_one_that_cannot_go_back_keeps_no_other_from_it(db, old, stale, where):
    """As on the way forth: each by itself, where all of them together can't be computed, or a CHECK refuses one."""
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, {old}, b bigint, c int); INSERT INTO t SELECT g, g, g::text FROM generate_series(1, 20) g")
    in_step(db, "b = a, c = s::int", sync_back="a = b::int, s = c::text", where_clause=where)
    too_large = 5000 if "CHECK" in old else 3000000000
    db.app.execute(f"UPDATE t SET b = {too_large}, c = 777 WHERE id = 2")
    assert row(db, 2, "a, s, b, c") == (2 if stale else None, "777", too_large, 777)
    db.app.execute("UPDATE t SET b = 5 WHERE id = 2; UPDATE t SET c = 778 WHERE id = 2")
    assert row(db, 2, "a, s, b, c") == (5, "778", 5, 778)
    if not stale:
        db.app.execute(f"INSERT INTO t (id, b, c) VALUES (100, {too_large}, 777)")
        assert row(db, 100, "a, s, b, c") == (None, "777", too_large, 777)


@pytest.mark.parametrize("check, expected", [
    ("(b IS NULL) = (c IS NULL)", (333, 77, 71)),  # b keeps its value, as it must stand beside c
    ("c IS NULL OR b IS NOT NULL", (333, 77, 71)),
    ("x < 0 OR b IS NOT NULL", (333, 77, 71)),
    ("CASE WHEN a = 0 THEN b IS NULL ELSE true END", (None, 77, 71)),  # c is refused beside the old b
])
def test_what_can_be_computed_is_written_whatever_a_check_asks_of_what_cannot(db, check, expected):
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, a int, s text, x int, b int, c int, d int, CHECK ({check})); INSERT INTO t SELECT g, g, g::text, g, {'1, 1' if 'b IS NOT NULL' in check else 'NULL, NULL'} FROM generate_series(1, 20) g")
    if "b IS NOT NULL" in check:
        db.app.execute("ALTER TABLE t ADD done boolean DEFAULT false")
    where = "NOT done" if "b IS NOT NULL" in check else "b IS NULL OR c IS NULL OR d IS NULL"
    in_step(db, "b = 1000 / a, c = s::int, d = x + 1" + (", done = true" if where == "NOT done" else ""), where_clause=where)
    db.app.execute("UPDATE t SET a = 0, s = '77', x = 70 WHERE id = 3")
    assert row(db, 3, "b, c, d") == expected


@pytest.mark.parametrize("where", [None, "b IS NULL OR d IS NULL"])
@pytest.mark.parametrize("check, write, expected", [("b IS NULL OR a > 0", "a = 0, d = 99", (None, 99)), ("b IS NULL OR b = a * 2", "a = 5, d = 99", (10, 99))])
def test_who_writes_an_old_column_and_another_new_one_is_not_refused_for_what_stays_beside(db, check, write, expected, where):
    """A CHECK of before the job ties b to its source: without the job b would be NULL."""
    clause = "1000 / a" if "> 0" in check else "a * 2"
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, a int, x int, b int, d int, CHECK ({check})); INSERT INTO t SELECT g, g, g FROM generate_series(1, 20) g")
    in_step(db, f"b = {clause}, d = x + 1", sync_back="x = d - 1", where_clause=where)
    db.app.execute(f"UPDATE t SET {write} WHERE id = 3")
    assert row(db, 3, "b, d") == expected
