"""Several jobs with keep_in_sync on the same rows: each sees what the others fill, or is refused."""

import psycopg
import pytest
from daemon import run
from in_step import in_step
from waiting import wait_until

SHAPES = {"one table": ("t", "t"), "the leaf first": ("leaf", "t"), "the table first": ("t", "leaf")}


@pytest.fixture
def parted(db):
    db.app.execute("""CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int, s text DEFAULT 'old') PARTITION BY RANGE (id); CREATE TABLE leaf PARTITION OF t FOR VALUES FROM (0) TO (51) PARTITION BY RANGE (id);
                      CREATE TABLE leaf_1 PARTITION OF leaf DEFAULT; CREATE TABLE rest PARTITION OF t DEFAULT; INSERT INTO t SELECT g, g FROM generate_series(1, 100) g""")
    return db


def refusal(db, **columns):
    with pytest.raises(psycopg.Error) as refused:
        db.submit(keep_in_sync=True, **columns)
    return refused.value.diag


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reader", [{"set_clause": "c = b + 1", "where_clause": "c IS NULL"}, {"set_clause": "c = a + 1", "where_clause": "c IS NULL AND b > 5"}, {"set_clause": "s = 'new'", "where_clause": "b > 5 AND s = 'old'"}])
def test_who_fills_comes_before_who_reads(parted, shape, reader):
    """Else what one writes the other does not see: its rows stay to do, or stale."""
    first, second = SHAPES[shape]
    in_step(parted, reader["set_clause"], name="reader", target=first, where_clause=reader["where_clause"])
    assert 'job "reader" computes from a column that this one fills' in refusal(parted, target=second, set_clause="b = a * 2", where_clause="b IS NULL").message_primary


@pytest.mark.parametrize("shape", SHAPES)
def test_one_column_is_filled_by_one_job(parted, shape):
    first, second = SHAPES[shape]
    in_step(parted, "b = a * 3", name="first", target=first, where_clause="b IS NULL")
    assert 'job "first" keeps a column that this one fills in step already' in refusal(parted, target=second, set_clause="b = a * 2", where_clause="b IS NULL").message_primary


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reader", [{"set_clause": "c = b + 1", "where_clause": "c IS NULL"}, {"set_clause": "c = a + 1", "where_clause": "c IS NULL AND b > 5"}])
def test_the_trigger_that_another_rests_on_stays(parted, shape, reader):
    first, second = SHAPES[shape]
    in_step(parted, "b = a * 2", name="fills", target=first, where_clause="b IS NULL")
    in_step(parted, reader["set_clause"], name="reader", target=second, where_clause=reader["where_clause"])
    for call in ("cancel", "undo"):
        with pytest.raises(psycopg.Error, match='job "reader" keeps a column in step with one that this job fills'):
            parted.app.execute(f"SELECT backfill.{call}('fills')")
    parted.app.execute("INSERT INTO t (id, a) VALUES (0, 10); UPDATE t SET a = 500 WHERE id = 9")
    assert [bool(c) for _, c in parted.all("SELECT b, c FROM t WHERE id IN (0, 9)")] == [True, True]


def test_of_two_jobs_that_wait_the_one_that_reads_is_refused_before_anything_is_changed(db):
    """What they read is not known while they are queued."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int); INSERT INTO t SELECT g, g FROM generate_series(1, 100) g")
    reader = db.submit(set_clause="c = b + 1", where_clause="c IS NULL AND b IS NOT NULL", keep_in_sync=True)
    fills = db.submit(set_clause="b = a * 2", where_clause="b IS NULL", keep_in_sync=True)
    db.daemon()
    db.finish(reader)
    failed = db.finish(fills, "failed")
    assert f'job "{reader}" computes from a column that this one fills' in failed["error"] and failed["phase"] == "preflight"
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%%backfilld%%update'") == 1


def test_an_older_job_that_comes_later_is_refused_where_it_reads_what_a_younger_one_fills(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int); INSERT INTO t SELECT g, g FROM generate_series(1, 100) g")
    older = db.submit(set_clause="c = b + 1", where_clause="c IS NULL AND b IS NOT NULL", keep_in_sync=True, wanted="pause")
    in_step(db, "b = a * 2", where_clause="b IS NULL", name="younger")
    db.app.execute("SELECT backfill.resume(%s)", [older])
    failed = db.finish(older, "failed")
    assert 'job "younger" fills a column that this one reads, by a trigger that fires behind' in failed["error"] and failed["phase"] == "preflight"
    db.app.execute("SELECT backfill.forget(%s)", [older])  # as the hint says
    in_step(db, "c = b + 1", where_clause="c IS NULL AND b IS NOT NULL")
    db.app.execute("UPDATE t SET a = 500 WHERE id = 9")
    assert db.all("SELECT b, c FROM t WHERE id = 9") == [(1000, 1001)]
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE c IS NULL") == 0, what="all is filled")


@pytest.mark.parametrize("call", ["cancel", "undo"])
def test_a_job_that_waits_and_will_read_the_column_counts(db, call):
    """It would enforce what nothing keeps in step any more."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t SELECT g, g FROM generate_series(1, 100) g")
    in_step(db, "b = a * 2", where_clause="b IS NULL", name="fills")
    waits = db.submit(set_clause="c = b + 1", add_column="c int", keep_in_sync=True, enforce=["NOT NULL c"], wanted="pause")
    with pytest.raises(psycopg.Error, match=f'job "{waits}" keeps a column in step with one that this job fills') as refused:
        db.app.execute(f"SELECT backfill.{call}('fills')")
    assert f"backfill.cancel('{waits}')" in refused.value.diag.message_hint
    db.app.execute(f"SELECT backfill.cancel('{waits}'); SELECT backfill.{call}('fills')")
    wait_until(lambda: not db.job("fills")["tidy"], what="it is carried out")


@pytest.mark.parametrize("forbids", ["ALTER TABLE t ALTER b SET NOT NULL", "ALTER TABLE t ADD CHECK (b IS NOT NULL)", "ALTER TABLE leaf ALTER b SET NOT NULL", "a job"])
def test_cancel_is_refused_while_old_code_needs_the_trigger_whoever_forbids_null(parted, forbids):
    db = parted
    in_step(db, "b = a * 2", where_clause="b IS NULL", name="fills")
    if forbids == "a job":
        db.finish(db.submit(enforce=["NOT NULL b"]))
    else:
        db.app.execute(forbids)
    with pytest.raises(psycopg.Error, match="without its trigger the INSERTs of old code would fail"):
        db.app.execute("SELECT backfill.cancel('fills')")
    db.app.execute("INSERT INTO t (id, a) VALUES (0, 10)")


@pytest.mark.parametrize("table", ["t", "leaf"])
def test_finish_is_refused_while_new_code_needs_the_way_back(parted, table):
    db = parted
    in_step(db, "b = a * 2", where_clause="b IS NULL", sync_back="a = b / 2", name="both")
    db.app.execute(f"ALTER TABLE {table} ALTER a SET NOT NULL")
    with pytest.raises(psycopg.Error, match="fills a of public.t by sync_back, which may not be NULL"):
        db.app.execute("SELECT backfill.finish('both')")
    db.app.execute("INSERT INTO t (id, b) VALUES (0, 10)")


@pytest.mark.parametrize("clause, where", [("c = b + 1", "c IS NULL"), ("b = a * 3", "b IS NULL")])
def test_a_job_that_comes_with_a_partition_and_does_not_fit_is_named(db, clause, where):
    db.app.execute("""CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (51);
                      CREATE TABLE t2 (id int PRIMARY KEY, a int, b int, c int); INSERT INTO t SELECT g, g FROM generate_series(1, 50) g; INSERT INTO t2 SELECT g, g, g FROM generate_series(51, 100) g""")
    in_step(db, clause, where_clause=where, target="t2", name="leaf")
    in_step(db, "b = a * 2", where_clause="b IS NULL", name="whole")
    assert run("-d", db.conninfo(), "--check").returncode == 0
    db.app.execute("ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (51) TO (101)")
    check = run("-d", db.conninfo(), "--check")
    assert check.returncode == 1 and "don't see each other in rows that they share" in check.stdout, check.stdout
