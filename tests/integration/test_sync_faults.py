"""keep_in_sync: rows that can't be computed, and what a constraint refuses."""

from decimal import Decimal

import psycopg
import pytest

from daemon import run
from in_step import in_step, make, row
from waiting import wait_until


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
    db.app.execute("CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN $1 * 2; END'")
    make(db, "a int, note text", "i, 'x'")
    in_step(db, "b = f(a)", add_column="b int")
    db.app.execute("CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN no_such($1); END'")
    db.app.execute("UPDATE t SET a = 7 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, 5)")
    assert row(db, 1, "a, b") == (7, 2) and row(db, 1000) == (None,)


@pytest.mark.parametrize("failing", ["RAISE 'neg' USING ERRCODE = 'MY001'", "ASSERT false", "RAISE 'neg' USING ERRCODE = '38000'"])
def test_what_a_clause_raises_is_the_rows_with_whatever_code(db, failing):
    db.close_public()
    db.app.execute(f"CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ BEGIN IF $1 < 0 THEN {failing}; END IF; RETURN $1; END $$")
    make(db, "a int", "i")
    in_step(db, "b = f(a)", add_column="b int")
    db.app.execute("UPDATE t SET a = -5 WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, -5)")
    assert row(db, 1, "a, b") == (-5, None) and row(db, 1000, "a, b") == (-5, None)


def test_a_trigger_that_is_switched_off_in_mid_job_fails_a_job_that_enforces_nothing_too(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g")
    db.daemon(max_rows=100)
    with db.held_row(500):
        name = db.submit(add_column="b int", set_clause="b = a", keep_in_sync=True)
        db.wait_at(500, name)
        db.admin.execute("ALTER TABLE t DISABLE TRIGGER USER; ALTER TABLE t ENABLE TRIGGER gate_t_500")
    assert "trigger of keep_in_sync" in db.finish(name, "failed")["error"]


def test_a_row_that_cannot_be_computed_keeps_a_value_that_the_job_has_not_computed(db):
    """It is the only one there is: of a row that isn't done yet, of a clause that reads what it fills, of all of a document but the part that is filled."""
    db.close_public()
    db.app.execute("""CREATE TYPE money2 AS (amt int, cur text);
      CREATE FUNCTION norm(p text, c text) RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ BEGIN IF c IS NULL OR length(c) <> 2 THEN RAISE 'bad country'; END IF; RETURN '+' || c || p; END $$;
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
