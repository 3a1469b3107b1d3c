"""keep_in_sync and an UPDATE that leaves its row to do: code that writes all columns of an object, or a document as a whole, knows nothing of the new part."""

from decimal import Decimal

import psycopg
import pytest

from in_step import in_step, make, row


@pytest.mark.parametrize("where", [None, "b IS NULL"])
def test_a_null_that_an_update_writes_is_computed_as_one_of_an_insert(db, where):
    """As an ORM does that saves all columns; by now the column may not be NULL."""
    make(db, "a int, b int", "i, NULL")
    in_step(db, "b = a * 2", where_clause=where, enforce=["NOT NULL b"])
    db.app.execute("UPDATE t SET b = NULL WHERE id = 1; UPDATE t SET a = 70, b = NULL WHERE id = 2; UPDATE t SET a = 80, b = 5 WHERE id = 3")
    db.app.execute("INSERT INTO t VALUES (1000, 9, NULL)")
    assert [row(db, key) for key in (1, 2, 3, 1000)] == [(2,), (140,), (5,), (18,)]


def test_a_null_stays_where_a_row_may_be_done_with_it(db):
    """where_clause doesn't ask for c; and b is NULL with another reason to be done."""
    make(db, "a int, d int, b int, c int", "i, i, NULL, NULL")
    in_step(db, "b = a, c = d", where_clause="b IS NULL")
    db.app.execute("UPDATE t SET c = NULL WHERE id = 1; UPDATE t SET b = NULL WHERE id = 2")
    assert [row(db, key, "b, c") for key in (1, 2)] == [(1, None), (2, 2)]


def test_what_new_code_clears_goes_back_and_stays_cleared(db):
    make(db, "a int", "i")
    in_step(db, "b = a * 2", add_column="b int", where_clause="b IS NULL", sync_back="a = b / 2")
    db.app.execute("UPDATE t SET b = NULL WHERE id = 1; UPDATE t SET a = 7, b = NULL WHERE id = 2")
    assert [row(db, key, "a, b") for key in (1, 2)] == [(None, None), (7, 14)]


@pytest.mark.parametrize("where", [None, "NOT j ? 'n'"])
def test_a_part_that_a_document_written_as_a_whole_lacks_is_put_in(db, where):
    make(db, "v int, j jsonb NOT NULL", "i, '{\"a\": 1}'")
    in_step(db, "j['n'] = to_jsonb(v)", where_clause=where, enforce=["CHECK (j ? 'n')"])
    db.app.execute("""UPDATE t SET j = '{"a": 2}' WHERE id = 2; UPDATE t SET v = 9, j = '{"z": 1}' WHERE id = 3; UPDATE t SET j = '{"n": 77}' WHERE id = 4""")
    assert [row(db, key, "j") for key in (2, 3, 4)] == [({"a": 2, "n": 2},), ({"z": 1, "n": 9},), ({"n": 77},)]


def test_a_value_that_where_clause_says_is_to_do_is_replaced_whatever_wrote_it(db):
    make(db, "s text NOT NULL, v int", "'old', i")
    in_step(db, "s = 'new'", where_clause="s = 'old'", enforce=["CHECK (s <> 'old')"])
    db.app.execute("UPDATE t SET s = 'old' WHERE id = 2; UPDATE t SET s = 'other' WHERE id = 3; UPDATE t SET v = 0 WHERE id = 4; INSERT INTO t VALUES (1000, 'old', 1)")
    assert [row(db, key, "s") for key in (2, 3, 4, 1000)] == [("new",), ("other",), ("new",), ("new",)]


def test_a_row_that_is_left_to_do_for_one_of_several_columns_keeps_the_others(db):
    make(db, "a int, d int, b int, c int", "i, i, NULL, NULL")
    in_step(db, "b = a, c = d", where_clause="b IS NULL OR c IS NULL")
    db.app.execute("UPDATE t SET b = NULL, c = 50 WHERE id = 1; UPDATE t SET d = 60, b = NULL WHERE id = 2; UPDATE t SET c = 70 WHERE id = 3")
    assert [row(db, key, "b, c") for key in (1, 2, 3)] == [(1, 50), (2, 60), (3, 70)]


def test_what_cannot_be_computed_is_left_as_it_was_written(db):
    make(db, "a int, b int", "i, NULL")
    in_step(db, "b = 10 / a", where_clause="b IS NULL")
    db.app.execute("UPDATE t SET a = 0, b = NULL WHERE id = 1; UPDATE t SET b = 6 WHERE id = 2")
    assert [row(db, key, "a, b") for key in (1, 2)] == [(0, None), (2, 6)]


@pytest.mark.parametrize("where", ["b IS NULL OR c IS NULL", "b IS NULL AND c IS NULL", None])
def test_what_new_code_wrote_into_one_column_of_a_row_that_is_to_do_for_good_stays_when_the_clause_gives_null_as_before(db, where):
    make(db, "a int, d int, b int, c text", "1, NULL, NULL, NULL")
    in_step(db, "b = a + d, c = 'k' || d", where_clause=where)
    db.app.execute("UPDATE t SET b = 100 WHERE id < 4; UPDATE t SET c = 't' WHERE id = 2")
    db.app.execute("UPDATE t SET a = 2 WHERE id < 3; UPDATE t SET a = 2, c = 't' WHERE id = 3")
    assert [row(db, key, "b, c") for key in (1, 2, 3)] == [(100, None), (100, "t"), (100, "t")]


@pytest.mark.parametrize("where", [None, "(c).n IS NULL"])
def test_a_part_follows_its_source_whatever_is_written_into_other_parts_of_its_column(db, where):
    db.app.execute("CREATE TYPE pair AS (n int, t text)")
    make(db, "v int, u int, j jsonb, a int[], c pair", "i, i, '{\"a\": 1}', '{1, 1}', '(,x)'")
    in_step(db, "j['n'] = to_jsonb(v), a[2] = v * 10, c.n = v, j['m'] = to_jsonb(u)", where_clause=where)
    db.app.execute("""UPDATE t SET v = 9, j['z'] = '1', a[1] = 5, c.t = 'y' WHERE id = 1; UPDATE t SET v = 9, j = j || '{"z": 1}' WHERE id = 2;
                      UPDATE t SET v = 9, j['m'] = '77' WHERE id = 3; UPDATE t SET v = 9, j['n'] = '88', a[2] = 7 WHERE id = 4; UPDATE t SET j['z'] = '1', c.t = 'z' WHERE id = 5""")
    assert [row(db, key, "j, a, (c).n, (c).t") for key in (1, 2, 3, 4, 5)] == [
        ({"a": 1, "n": 9, "z": 1, "m": 1}, [5, 90], 9, "y"), ({"a": 1, "n": 9, "z": 1, "m": 2}, [1, 90], 9, "x"), ({"a": 1, "n": 9, "m": 77}, [1, 90], 9, "x"),
        ({"a": 1, "n": 88, "m": 4}, [1, 7], 9, "x"), ({"a": 1, "n": 5, "m": 5, "z": 1}, [1, 50], 5, "z")]


def test_what_is_written_beside_a_part_sends_nothing_back(db):
    make(db, "v numeric, j jsonb", "i + 0.5, '{}'")
    in_step(db, "j['n'] = to_jsonb(v::int)", where_clause="NOT j ? 'n'", sync_back="v = (j ->> 'n')::numeric")
    db.app.execute("UPDATE t SET j['z'] = '1' WHERE id = 1; UPDATE t SET j['n'] = '40' WHERE id = 2; UPDATE t SET v = 7.2, j['z'] = '1' WHERE id = 3")
    assert [row(db, key, "v, j -> 'n'") for key in (1, 2, 3)] == [(Decimal("1.5"), 2), (Decimal(40), 40), (Decimal("7.2"), 7)]


def test_the_hint_of_a_failed_job_whose_trigger_stays_does_not_lead_to_finish(db):
    """After which it can't be retried."""
    make(db, "a int", "i")
    db.app.execute("UPDATE t SET a = 0 WHERE id = 50")
    job = in_step(db, "b = 10 / a", state="failed", add_column="b int", where_clause="b IS NULL", name="mine")
    with pytest.raises(psycopg.Error) as waited:
        db.app.execute("CALL backfill.wait('mine')")
    for hint in (job["hint"], waited.value.diag.message_hint):
        assert "backfill.retry(" in hint and "backfill.finish" not in hint and "keeps rows in step until the job is finished or cancelled" in hint, hint


def test_the_hint_of_a_failed_job_says_that_its_trigger_keeps_nothing_in_step(db):
    make(db, "a int", "i")
    db.daemon(max_rows=10)
    with db.held_row(150):
        name = db.submit(set_clause="b = a", add_column="b int", keep_in_sync=True, sync_back="a = b")
        db.wait_at(150, name)
        db.app.execute("ALTER TABLE t RENAME a TO c")
    hint = db.finish(name, "failed")["hint"]
    assert "keeps no row in step: it writes column a, which is not there any more" in hint and "keeps rows in step" not in hint, hint


def test_who_waits_for_a_job_that_no_daemon_serves_is_told(db):
    make(db, "a int", "i")
    db.submit(set_clause="a = 1", name="mine")
    with pytest.raises(psycopg.Error) as waited:
        db.app.execute("CALL backfill.wait('mine', '1 second')")
    assert waited.value.diag.message_hint == "It waits: no daemon serves this database."


@pytest.mark.parametrize("part, empty", [("j['n'] = to_jsonb(a * 3)", "NOT j ? 'n'"), ("arr[1] = a * 3", "arr[1] IS NULL")])
def test_a_value_that_was_written_stays_where_a_part_of_another_column_is_to_do(db, part, empty):
    """Where one thing alone makes the row to do, that one is put right."""
    make(db, "a int, c bigint, j jsonb DEFAULT '{}', arr int[] DEFAULT '{}'", "i, NULL")
    in_step(db, f"c = a * 10, {part}", where_clause=f"c IS NULL OR {empty}")
    db.app.execute("UPDATE t SET a = NULL WHERE id = 50")  # to do for good
    db.app.execute("UPDATE t SET c = 1234 WHERE id IN (2, 50); UPDATE t SET c = 1234, j = '{\"k\": 1}', arr = '{}' WHERE id = 3; UPDATE t SET c = NULL WHERE id = 4; UPDATE t SET c = NULL, j = '{}', arr = '{}' WHERE id = 5;"
                   "INSERT INTO t (id, a, c, j, arr) VALUES (1000, 5, 777, '{\"k\": 1}', '{}')")
    assert [row(db, key, "c")[0] for key in (2, 50, 3, 4, 5, 1000)] == [1234, 1234, 1234, 40, 50, 777]
    assert db.one(f"SELECT count(*) FROM t WHERE (c IS NULL OR {empty}) AND id <> 50") == 0


def test_a_null_beside_a_value_that_makes_the_row_done_stays(db):
    make(db, "a int, b text, e text, g int", "i, 'x', NULL, NULL")
    in_step(db, "e = b, g = a", where_clause="e IS NULL AND g IS NULL")
    db.app.execute("UPDATE t SET e = 'dd', g = NULL WHERE id = 5; UPDATE t SET g = NULL WHERE id = 6; UPDATE t SET e = NULL, g = NULL WHERE id = 7")
    assert [row(db, key, "e, g") for key in (5, 6, 7)] == [("dd", None), ("x", None), ("x", 7)]


@pytest.mark.parametrize("where", [None, "c IS NULL", "c IS NULL AND NOT j ? 'n'"])
def test_a_new_row_that_is_to_do_gets_a_part_of_another_column_too(db, where):
    make(db, "a int, b text, j jsonb", "i, 'B', '{\"k\": 1}'")
    in_step(db, "c = lower(b), j['n'] = to_jsonb(a)", add_column="c text", where_clause=where)
    db.app.execute("INSERT INTO t (id, a, b, j) VALUES (201000, 5, 'B', '{\"k\": 1}'), (201001, 5, 'B', NULL)")
    assert row(db, 201000, "c, j") == ("b", {"k": 1, "n": 5}) and row(db, 1, "c, j") == ("b", {"k": 1, "n": 1})


@pytest.mark.parametrize("where", [None, "c IS NULL OR e IS NULL"])
def test_of_several_columns_one_that_cannot_be_computed_empties_no_other(db, where):
    make(db, "a int, b text, c text, e bigint", "i, 'x'")
    in_step(db, "c = b || a::text, e = 100 / a", where_clause=where)
    db.app.execute("INSERT INTO t (id, a, b) VALUES (1000, 0, 'q'); INSERT INTO t (id, a, b, e) VALUES (1001, 0, 'q', 5); UPDATE t SET a = 0 WHERE id = 1; UPDATE t SET a = 0, e = 7 WHERE id = 2; UPDATE t SET a = 0, c = 'mine' WHERE id = 3")
    assert [row(db, key, "c, e") for key in (1000, 1001, 1, 2, 3)] == [("q0", None), ("q0", 5), ("x0", None), ("x0", 7), ("mine", None)]


@pytest.mark.parametrize("where", ["c IS NULL AND e IS NULL", "v = 0"])
def test_no_column_is_filled_by_which_a_row_would_be_taken_for_done_while_another_is_not(db, where):
    make(db, "a int, b text, c text, e bigint, v int NOT NULL DEFAULT 0", "i, 'x'")
    in_step(db, "c = b || a::text, e = 100 / a, v = 1", where_clause=where)
    db.app.execute("INSERT INTO t (id, a, b) VALUES (1000, 0, 'q')")
    assert db.one(f"SELECT {where} FROM t WHERE id = 1000")
    db.app.execute("UPDATE t SET a = 10 WHERE id = 1000")
    assert row(db, 1000, "c, e") == ("q10", 10)


def test_of_several_columns_one_that_a_check_refuses_empties_no_other(db):
    make(db, "a int, c int, e int CHECK (e < 3000)", "i % 20, NULL, NULL")
    in_step(db, "c = a + 1, e = a * 100", where_clause="c IS NULL OR e IS NULL")
    db.app.execute("UPDATE t SET a = 51 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, 52)")
    assert [row(db, key, "c, e") for key in (1, 1000)] == [(52, None), (53, None)]


@pytest.mark.parametrize("table", ["t", "region"])
def test_who_computes_a_clause_matters_by_what_it_reads_alone(db, table):
    """Not by the types of other columns, nor by the table's name: a superuser's job on another's table."""
    db.app.execute(f"CREATE DOMAIN d1 AS int CHECK (VALUE < 5000); CREATE TABLE {table} (id int PRIMARY KEY, b d1, c regclass); INSERT INTO {table} SELECT i, i FROM generate_series(1, 10) AS i")
    db.daemon()
    with db.connect("postgres") as boss:
        for n, clause in enumerate([f"length({table}.id::text)", "id + 1"]):
            db.finish(db.submit(session=boss, target=f"public.{table}", add_column=f"n{n} int", set_clause=f"n{n} = {clause}", keep_in_sync=True))
        db.finish(db.submit(session=boss, target=f"public.{table}", add_column="m int", set_clause="m = length(b::text)", keep_in_sync=True))  # a domain with a plain condition
        with_c = db.submit(session=boss, target=f"public.{table}", add_column="o int", set_clause="o = length(c::text)", keep_in_sync=True)
    assert "may depend on who computes it" in db.finish(with_c, "failed")["error"]


# ---- Rows that move

MOVED = {
    "one column": (dict(set_clause="b = a * 2"), "b"),
    "with where_clause": (dict(set_clause="b = a * 2", where_clause="b IS NULL AND a > 0"), "b"),
    "several columns": (dict(set_clause="b = a * 2, c = a * 3", where_clause="b IS NULL OR c IS NULL"), "b, c"),
    "a mark": (dict(set_clause="b = a * 2, c = 1", where_clause="c = 0"), "b, c"),
    "what it fills is what it reads": (dict(set_clause="d = lower(d)", where_clause="d <> lower(d)"), "d"),
    "both ways": (dict(set_clause="b = a * 2", sync_back="a = b / 2"), "b"),
    "another key": (dict(set_clause="b = a * 2", key=["no"]), "b"),
}


@pytest.mark.parametrize("shape", MOVED)
def test_a_row_that_is_to_do_and_moves_in_the_scan_is_filled_at_once(db, shape):
    """It may get behind the place where the scan is, and behind that of the one that proves it, as often as somebody wants."""
    fields, columns = MOVED[shape]
    db.app.execute("""CREATE TABLE t (id int, no int, a int NOT NULL, b int, c int, d text, PRIMARY KEY (id), UNIQUE (no));
                      INSERT INTO t SELECT i, i, i FROM generate_series(1, 500) i""")
    if "c = 0" in str(fields):
        db.app.execute("UPDATE t SET c = 0; ALTER TABLE t ALTER c SET DEFAULT 0")
    if fields["set_clause"].startswith("d"):
        db.app.execute("UPDATE t SET d = 'X' || id")
    if "key" in fields:
        db.app.execute("ALTER TABLE t DROP CONSTRAINT t_pkey, ALTER no SET NOT NULL")
    db.daemon(max_rows=10)
    with db.held_row(200):
        name = db.submit(keep_in_sync=True, **fields)
        db.wait_at(200, name)
        db.app.execute("UPDATE t SET b = -7 WHERE id = 450")  # new code has written that
        db.app.execute("UPDATE t SET id = id + 10000, no = no + 10000 WHERE id IN (400, 450)")
        moved = db.all(f"SELECT {columns} FROM t WHERE id IN (10400, 10450) ORDER BY id")
        db.app.execute("UPDATE t SET id = -id, no = -no WHERE id > 10000")
    db.finish(name)
    expected = {"b": [(800,), (-7,)], "b, c": [(800, 1 if "c = 1" in str(fields) else 1200), (-7, 1 if "c = 1" in str(fields) else 1350)], "d": [("x400",), ("x450",)]}[columns]
    assert moved == expected
    assert db.all(f"SELECT {columns} FROM t WHERE id < 0 ORDER BY id DESC") == expected
