"""Tables of many partitions: a walk begins when the first are planned, and plans on as it goes."""

import psycopg
import pytest

from cluster import STOP_SIGNALS
from database import Database
from test_identity import dump_and_restore
from waiting import let_pass, wait_until


def partitioned(db, n, rows=10, tail="PRIMARY KEY"):
    db.app.execute(f"CREATE TABLE t (id bigint {tail}, n int NOT NULL DEFAULT 0, b int) PARTITION BY RANGE (id)")
    db.app.execute(f"DO $$ BEGIN FOR i IN 0 .. {n - 1} LOOP EXECUTE format('CREATE TABLE p%s PARTITION OF t FOR VALUES FROM (%s) TO (%s)', i, i * {rows}, (i + 1) * {rows}); END LOOP; END $$")
    db.app.execute(f"INSERT INTO t SELECT generate_series(0, {n * rows - 1}); ANALYZE t")


@pytest.mark.parametrize("by", ["RANGE (id)", "HASH (id)"])
@pytest.mark.parametrize("statement", ["INSERT INTO log SELECT id FROM t WHERE {batch}", "INSERT INTO log SELECT x.id FROM t AS x WHERE {batch x}",
                                       "UPDATE log SET n = log.n + 1 FROM t WHERE log.id = t.id AND {batch t}"])
def test_a_statement_that_only_reads_a_partitioned_table_is_run_for_each_of_its_rows(db, statement, by):
    db.app.execute(f"CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY {by}; CREATE TABLE log (id bigint, n int DEFAULT 1)")
    for i in range(3):
        db.app.execute(f"CREATE TABLE p{i} PARTITION OF t FOR VALUES " + (f"FROM ({i * 100}) TO ({i * 100 + 100})" if "RANGE" in by else f"WITH (MODULUS 3, REMAINDER {i})"))
    db.app.execute("INSERT INTO t SELECT generate_series(0, 299); ANALYZE t")
    if "UPDATE" in statement:
        db.app.execute("INSERT INTO log SELECT id, 0 FROM t")
    db.daemon(max_rows=30)
    db.finish(db.submit(statement=statement))
    assert db.all("SELECT count(*), count(DISTINCT id), sum(n) FROM log") == [(300, 300, 300)]


@pytest.mark.parametrize("partitions", ["PARTITION BY RANGE (id)", "PARTITION BY HASH (id)", ""])
def test_a_statement_that_reads_all_of_its_table_is_refused_of_a_partitioned_one_too(db, partitions):
    db.app.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, n int) {partitions}; CREATE TABLE log (id bigint)")
    for i in range(3 if partitions else 0):
        db.app.execute(f"CREATE TABLE p{i} PARTITION OF t FOR VALUES " + (f"FROM ({i * 20000}) TO ({i * 20000 + 20000})" if "RANGE" in partitions else f"WITH (MODULUS 3, REMAINDER {i})"))
    db.app.execute("INSERT INTO t SELECT g, g FROM generate_series(0, 59999) g; ANALYZE t")
    db.daemon()
    name = db.submit(statement="INSERT INTO log SELECT id FROM t WHERE {batch} OR n = 7")
    assert "would read the whole table" in db.finish(name, "failed")["error"] and db.one("SELECT count(*) FROM log") == 0


def test_a_sequence_that_a_restore_has_put_back_stops_no_plan(db):
    partitioned(db, 150)
    db.daemon()
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 0, what="the first batch is done")
    assert is_planned_in_part(db, name)
    db.admin.execute("SELECT setval('backfill.range_id_seq', 1), setval('backfill.left_behind_id_seq', 1)")
    db.finish(name, timeout=60)
    assert db.counts() == {1: 1500}


def is_planned_in_part(db, name):
    return db.one("SELECT behind IS NOT NULL AND phase = 'backfill' FROM backfill.job WHERE name = %s", name)


def test_the_first_batch_does_not_wait_for_all_partitions_to_be_planned(db):
    partitioned(db, 300)
    db.daemon()
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=1000)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 0, what="the first batch is done")
    assert is_planned_in_part(db, name)
    assert 2000 < db.one("SELECT estimate FROM backfill.job WHERE name = %s", name) < 4000
    job = db.finish(name, timeout=60)
    assert db.counts() == {1: 3000} and "left the table" not in job["report"]["not_proven"] and "came to the table" not in job["report"]["not_proven"]
    assert not db.one("SELECT behind FROM backfill.job WHERE name = %s", name)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_plan_that_is_broken_off_goes_on_and_repeats_no_row(own_db, rng, workers):
    """By the daemon's end, the server's, and a pause."""
    db = own_db
    partitioned(db, 200)
    daemon = db.daemon(workers=workers)
    name = db.submit(set_clause="n = n + 1", workers=workers, max_rows_per_s=500)
    for ends in ("daemon", "server", "daemon", "pause", "server"):
        done = db.one("SELECT count(*) FROM t WHERE n > 0")
        wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n > 0") > done, what="it goes on")
        let_pass(rng.uniform(0, 0.2))
        assert is_planned_in_part(db, name)
        if ends == "daemon":
            daemon.kill()
            daemon = db.daemon(workers=workers)
        elif ends == "pause":
            db.app.execute("SELECT backfill.pause(%s)", [name])
            wait_until(lambda: db.state(name) == "paused", what="it is paused")
            db.app.execute("SELECT backfill.resume(%s)", [name])
        else:
            db.cluster.process.send_signal(STOP_SIGNALS["immediate"])
            db.cluster.process.wait(30)
            for session in db.sessions.values():
                session.close()
            db.cluster.start()
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL WHERE name = %s", [name])
    db.finish(name, timeout=60)
    assert db.counts() == {1: 2000}


def test_what_a_partition_refuses_that_is_planned_late_ends_the_job_and_a_retry_goes_on(db):
    partitioned(db, 200)
    db.daemon()
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=1000)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 0, what="the first batch is done")
    db.app.execute("ALTER TABLE p199 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert "row-level security" in db.finish(name, "failed", timeout=60)["error"]
    db.app.execute("ALTER TABLE p199 DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name, timeout=60)
    assert db.counts() == {1: 2000}


def test_partitions_that_come_and_go_while_others_are_planned(db):
    partitioned(db, 200)
    db.daemon()
    name = db.submit(set_clause="b = 1", where_clause="b IS NULL", max_rows_per_s=1000)
    wait_until(lambda: db.one("SELECT count(b) FROM t") > 0, what="the first batch is done")
    db.app.execute("DROP TABLE p198; ALTER TABLE t DETACH PARTITION p199; CREATE TABLE late PARTITION OF t FOR VALUES FROM (5000) TO (5100); INSERT INTO t SELECT generate_series(5000, 5099)")
    db.finish(name, timeout=60)
    assert db.one("SELECT count(*) FROM t WHERE b IS NULL") == 0 and db.one("SELECT count(b) FROM p199") in (0, 10)


def test_a_leaf_without_a_key_is_refused_before_anything_is_changed(db):
    partitioned(db, 60, tail="")
    db.app.execute("DO $$ BEGIN FOR i IN 0 .. 58 LOOP EXECUTE format('ALTER TABLE p%s ADD PRIMARY KEY (id)', i); END LOOP; END $$")
    with pytest.raises(psycopg.Error, match="public.p59 has no key to walk by"):
        db.submit(set_clause="n = n + 1")


def test_a_restored_job_that_was_planned_in_part_repeats_no_row(db):
    """The partitions have other OIDs, in another order."""
    partitioned(db, 200)
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=1000)
    wait_until(lambda: db.one("SELECT count(*) FROM t WHERE n = 1") > 200, what="it is on its way")
    assert is_planned_in_part(db, name)
    daemon.terminate()
    other = Database(db.cluster)
    try:
        other.admin.execute("DROP SCHEMA backfill CASCADE")
        dump_and_restore(db, other)
        other.daemon()
        other.wait_state(name, "paused")
        other.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL WHERE name = %s", [name])
        other.app.execute("SELECT backfill.resume(%s)", [name])
        other.finish(name, timeout=60)
        assert other.counts() == {1: 2000}
    finally:
        other.destroy()
