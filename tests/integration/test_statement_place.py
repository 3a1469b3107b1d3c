"""A statement of the user's own names its table: what stands under that name in mid-job may be another one, or lack a partition for a moment."""

import pytest
from waiting import wait_until

ROWS = 2000


@pytest.mark.parametrize("swap", ["CREATE TABLE t (LIKE t_old INCLUDING ALL); INSERT INTO t SELECT * FROM t_old", "CREATE TABLE t (LIKE t_old INCLUDING ALL)", "CREATE VIEW t AS SELECT * FROM t_old"])
def test_a_table_that_takes_the_name_of_a_statements_table_is_not_written(db, swap):
    db.table(rows=ROWS)
    db.daemon(max_rows=50)
    name = db.submit(statement="UPDATE t SET n = n + 1 WHERE {batch}", max_rows_per_s=1000)
    wait_until(lambda: db.cursor(name), what="it is on its way")
    db.app.execute(f"BEGIN; ALTER TABLE t RENAME TO t_old; {swap}; COMMIT")
    failed = db.finish(name, "failed")
    assert "the table of job \"" in failed["error"] and "public.t when its statement was written, and is called public.t_old now" in failed["error"]
    before = db.counts("t_old")
    db.app.execute("BEGIN; " + ("DROP VIEW t" if "VIEW" in swap else "DROP TABLE t") + "; ALTER TABLE t_old RENAME TO t; COMMIT")  # as the hint says
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert before[0] > 0 and db.counts() == {1: ROWS}


@pytest.mark.parametrize("statement, done", [("UPDATE t SET n = n + 1 WHERE {batch}", {1: ROWS}), ("DELETE FROM t WHERE {batch} AND n = 0", {})])
def test_a_partition_that_is_out_of_the_table_for_a_moment_is_named(db, statement, done):
    """What was scanned meanwhile has reached no row of it."""
    db.app.execute(f"""CREATE TABLE t (id int, p int, n int DEFAULT 0, PRIMARY KEY (id, p)) PARTITION BY LIST (p); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (0);
                       INSERT INTO t SELECT g, g % 2 FROM generate_series(1, {ROWS}) g""")
    db.daemon(max_rows=50)
    name = db.submit(statement=statement, max_rows_per_s=1000)
    wait_until(lambda: db.cursor(name), what="it is on its way")
    db.app.execute("ALTER TABLE t DETACH PARTITION t1")
    rows = db.one("SELECT sum(rows) FROM backfill.range")
    wait_until(lambda: db.state(name) != "running" or db.one("SELECT sum(rows) FROM backfill.range") > rows + 200, what="it goes on without it")
    db.app.execute("ALTER TABLE t ATTACH PARTITION t1 FOR VALUES IN (1)")
    job = db.finish(name)
    assert db.counts() != done and "public.t1 left the table while the job ran, perhaps for a moment" in job["report"]["not_proven"], job["report"]["not_proven"]


def test_a_partition_that_left_is_named(db):
    db.app.execute(f"""CREATE TABLE t (id int, p int, n int DEFAULT 0, PRIMARY KEY (id, p)) PARTITION BY LIST (p); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (0);
                       INSERT INTO t SELECT g, g % 2 FROM generate_series(1, {ROWS}) g""")
    db.daemon(max_rows=50)
    name = db.submit(statement="UPDATE t SET n = n + 1 WHERE {batch}", max_rows_per_s=1000)
    wait_until(lambda: db.cursor(name), what="it is on its way")
    db.app.execute("ALTER TABLE t DETACH PARTITION t1; ALTER TABLE t DETACH PARTITION t2; CREATE TABLE t3 PARTITION OF t DEFAULT")
    job = db.finish(name)
    assert "public.t1, public.t2 left the table while the job ran" in job["report"]["not_proven"], job["report"]["not_proven"]
