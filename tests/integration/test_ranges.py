"""A large table is many ranges, each with a cursor of its own: together they are the table, in every pass."""

import pytest

from waiting import wait_until


def ranges(db, name):
    """Of a job's first walk over its tables, in their order: where each starts, ends and stands."""
    return db.all("SELECT r.starts, r.upper, r.cursor, r.keys, r.found FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id WHERE j.name = %s AND r.lower IS NULL ORDER BY r.id", name)


def looks_large(db, table="t"):
    """The planner takes it for a million rows, so it is cut as such a table is."""
    db.admin.execute(f"ANALYZE {table}; UPDATE pg_class SET reltuples = 1000000 WHERE oid = '{table}'::regclass")


def check_ranges(found, n):
    """Each begins where the one before it ends."""
    assert len(found) == n
    assert [r[0] for r in found] == [None] + [r[1] for r in found[:-1]]
    assert all(r[2] == r[1] for r in found), "each is done"


def test_large_table_is_cut_into_ranges_that_are_all_of_it(db):
    db.table(rows=300_000)
    db.app.execute("ANALYZE t")
    db.daemon()
    name = db.submit(set_clause="n = n + 1")
    report = db.finish(name)["report"]
    found = ranges(db, name)
    check_ranges(found, 3)
    assert db.counts() == {1: 300_000}
    assert sum(r[3] for r in found) == report["keys"] == 300_000 and report["ranges"] == 3
    assert all(40_000 < r[3] < 200_000 for r in found), "none is much larger than another, though they become smaller"
    assert found[-1][1] == ["300000"]


def test_small_table_is_one_range(db):
    db.table(rows=1000)
    db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.finish(name)
    check_ranges(ranges(db, name), 1)


def run_cut(db, **job):
    """A job on t, of 20,000 rows, which is taken for large; its ten ranges are all of it."""
    looks_large(db)
    db.daemon()
    name = db.submit(**job)
    db.finish(name)
    check_ranges(ranges(db, name), 10)


KEYS = {
    "text in an order of its own": ("k text COLLATE \"C\" PRIMARY KEY, a int", "SELECT md5(g::text) || CASE g % 3 WHEN 0 THEN 'ä\"{,}\\' ELSE '' END, g"),
    "several columns": ("a int, b text, c date, PRIMARY KEY (b, c, a)", "SELECT g, (g % 7)::text, date '2020-01-01' + g % 50"),
    "downwards": ("a int NOT NULL", "SELECT g"),
    "an enum, a number": ("c color, a numeric, PRIMARY KEY (c, a)", "SELECT (CASE g % 2 WHEN 0 THEN 'red' ELSE 'blue' END)::color, g / 3.0"),
}


@pytest.mark.parametrize("columns, rows", KEYS.values(), ids=KEYS)
def test_cuts_follow_the_order_of_the_key(db, columns, rows):
    db.app.execute(f"""
        CREATE TYPE color AS ENUM ('red', 'green', 'blue');
        CREATE TABLE t ({columns}, n int NOT NULL DEFAULT 0);
        INSERT INTO t {rows} FROM generate_series(1, 20000) g""")
    if "PRIMARY" not in columns:
        db.app.execute("CREATE UNIQUE INDEX ON t (a DESC)")
    run_cut(db, set_clause="n = n + 1")
    assert db.counts() == {1: 20000}


def test_statement_with_batch_is_cut_too(db):
    db.table(rows=20000)
    db.table("source", rows=20000, columns="v int NOT NULL DEFAULT 7")
    run_cut(db, statement="UPDATE t SET n = t.n + s.v FROM source s WHERE s.id = t.id AND {batch t}")
    assert db.counts() == {7: 20000}


def test_later_pass_begins_each_range_at_its_start_and_ends_with_the_new_last_key(db):
    db.table(rows=20000)
    looks_large(db)
    with db.held_row(15000):
        db.daemon(max_rows=500)
        name = db.submit(set_clause="n = 1", where_clause="n = 0")
        wait_until(lambda: sum(r[3] for r in ranges(db, name)) >= 13000, what="most ranges are done")
        first = ranges(db, name)
        db.app.execute("DELETE FROM t WHERE id > 19990; INSERT INTO t SELECT generate_series(20001, 20100); UPDATE t SET n = 0 WHERE id IN (1, 4711)")
    report = db.finish(name)["report"]
    found = ranges(db, name)
    check_ranges(found, 10)
    assert db.counts() == {1: 20090}
    assert [r[0] for r in found] == [r[0] for r in first], "they are cut as they were"
    assert found[-1][1] == ["20100"] and report["verified"]["found"] > 0


def test_last_range_may_begin_behind_the_last_key_of_a_later_pass(db):
    db.table(rows=20000)
    looks_large(db)
    with db.held_row(15000):
        db.daemon(max_rows=500)
        name = db.submit(set_clause="n = 1", where_clause="n = 0")
        wait_until(lambda: sum(r[3] for r in ranges(db, name)) >= 13000, what="most ranges are done")
        db.app.execute("DELETE FROM t WHERE id > 15500; UPDATE t SET n = 0 WHERE id = 1")
    db.finish(name)
    assert db.counts() == {1: 15500}


def test_killed_in_any_range_it_goes_on_there(db, rng):
    db.table(rows=20000)
    looks_large(db)
    daemon = db.daemon(max_rows=50)
    name = db.submit(set_clause="n = n + 1")
    for keys in sorted(rng.randrange(20000) for _ in range(4)):
        wait_until(lambda: sum(r[3] for r in ranges(db, name)) >= keys, what="it comes on")
        daemon.kill()
        daemon.start()
    db.finish(name)
    assert db.counts() == {1: 20000}
    check_ranges(ranges(db, name), 10)
