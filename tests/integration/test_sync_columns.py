"""keep_in_sync of several columns, and of parts of a column."""

import itertools
import random

import psycopg
import pytest

from conftest import SCALE
from in_step import TRIGGERS, in_step, make, row
from test_identity import dump_and_restore
from waiting import wait_until


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


def part(value, n):
    return None if value is None else (value.split("-") + ["", ""])[n]


def lower(value):
    return value and value.lower()


def upper(value):
    return value and value.upper()


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


def test_one_sub_select_for_several_columns_that_gives_another_value_each_time_is_refused(db):
    make(db, "a int, x text, y text", "i")
    failed = in_step(db, "(x, y) = (SELECT q.g, md5(q.g) FROM (SELECT t.a || gen_random_uuid()::text AS g OFFSET 0) AS q)", state="failed", where_clause="x IS NULL")
    assert "the trigger computes it for each column anew" in failed["error"] and db.one(TRIGGERS) == 0


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


@pytest.mark.parametrize("where", ["x ISNULL OR (y) ISNULL", "num_nulls(x, y) > 0", "x IS NULL OR y IS NULL OR v = 0"])
def test_an_insert_keeps_what_it_gives_of_several_columns(db, where):
    make(db, "a text, b text, x text, y text, v int NOT NULL DEFAULT 1", "'A', 'B'")
    in_step(db, "x = lower(a), y = lower(b)", where_clause=where)
    db.app.execute("INSERT INTO t (id, a, b, x) VALUES (1000, 'Q', 'R', 'mine'); INSERT INTO t (id, a, b) VALUES (1001, 'Q', 'R')")
    assert row(db, 1000, "x, y") == ("mine", "r") and row(db, 1001, "x, y") == ("q", "r")


def test_a_restored_copy_of_several_columns_is_kept_in_step(db, db2):
    make(db, "a text, b int CHECK (b < 1000), x text, y int CHECK (y < 1000)", "'A' || i, i")
    in_step(db, "x = lower(a), y = b * 2", where_clause="id > 0 AND (x IS NULL OR y IS NULL)", sync_back="a = upper(x), b = y / 2")
    db2.admin.execute("DROP SCHEMA backfill CASCADE")
    dump_and_restore(db, db2)
    db2.app.execute("INSERT INTO t (id, a, b) VALUES (1000, 'Q', 1); UPDATE t SET a = 'Q' WHERE id = 1; UPDATE t SET y = 8 WHERE id = 2; UPDATE t SET a = 'R', y = 8 WHERE id = 3")
    assert db2.all("SELECT a, b, x, y FROM t WHERE id IN (1, 2, 3, 1000) ORDER BY id") == [("Q", 1, "q", 2), ("A2", 4, "a2", 8), ("R", 3, "a3", 8), ("Q", 1, "q", 2)]


def test_who_writes_one_of_two_filled_columns_gets_the_other(db):
    make(db, "name text, b text, c text", "'Ann Smith', NULL, NULL")
    in_step(db, "b = split_part(name, ' ', 1), c = split_part(name, ' ', 2)", where_clause="b IS NULL AND c IS NULL")
    db.app.execute("UPDATE t SET name = 'X Y', b = 'Z' WHERE id = 1")
    assert row(db, 1, "b, c") == ("Z", "Y")


@pytest.mark.parametrize("where", [None, "b IS NULL OR d IS NULL", "b IS NULL", "st = 'old' OR b IS NULL"])
@pytest.mark.parametrize("clause, update, right", [
    ("b = 100 / x, d = x + y", "x = 0, b = NULL, y = 9", (None, 9)),
    ("b = 100 / x, d = y + 1", "x = 0, b = NULL, y = 9", (None, 10)),
    ("b = 100 / x, d = y + 1", "x = 0, b = NULL", (None, 3)),
    ("j['n'] = to_jsonb(100 / x), d = y + 1", "x = 0, j = '{}', y = 9", (50, 10))])
def test_a_column_that_is_undone_and_cannot_be_computed_takes_no_other_along(db, clause, update, right, where):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, x int, y int, b int, d int, j jsonb, st text DEFAULT 'old'); INSERT INTO t SELECT i, i, i, CASE WHEN %s THEN 50 END FROM generate_series(1, 20) i" % ("j" in clause))
    db.daemon()
    if where and "b" not in clause.split("=")[0]:
        where = "d IS NULL"
    db.finish(db.submit(set_clause=clause + (", st = 'new'" if where and "st" in where else ""), where_clause=where, keep_in_sync=True, enforce=["NOT NULL d"]))
    db.app.execute(f"UPDATE t SET {update} WHERE id = 2")
    assert db.all("SELECT b, d FROM t WHERE id = 2")[0] == right


def test_a_default_stays_where_another_column_cannot_be_computed(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, x int, s text, d int DEFAULT -9, f int)")
    db.daemon()
    db.finish(db.submit(set_clause="d = x + NULL::int, f = s::int", keep_in_sync=True))
    db.app.execute("INSERT INTO t (id, x, s) VALUES (1, 2, '4'), (2, 2, 'abc')")
    assert db.all("SELECT d, f FROM t ORDER BY id") == [(-9, 4), (-9, None)]
