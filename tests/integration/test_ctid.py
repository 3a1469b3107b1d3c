"""scan = 'ctid': a table is walked as its rows lie, by no index; where_clause tells what is to do, wherever a row has moved."""

import contextlib
import random
import threading

import psycopg
import pytest

from waiting import wait_until

KEYLESS = "CREATE TABLE t (k int, a int, n int DEFAULT 0, b int); INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i"


def test_a_table_without_a_key_is_filled(db):
    db.app.execute(KEYLESS + "; ANALYZE t")
    db.daemon(max_rows=500)
    job = db.finish(db.submit(set_clause="b = a, n = n + 1", where_clause="b IS NULL"))
    assert job["key"] == ["ctid"] and job["report"]["rows"] == 20000 and job["report"]["batches"] > 20
    assert db.all("SELECT count(*), count(DISTINCT k) FROM t WHERE b = a AND n = 1") == [(20000, 20000)]


@pytest.mark.parametrize("where, columns, reason", [
    (None, {}, "nothing tells which is still to do"), ("n = 0", {}, "nothing tells which is still to do"), ("n IS NULL", {"key": ["id"]}, "is ctid, and key is {id}"), ("n IS NULL", {"scan": "key", "key": ["ctid"]}, "is key, and key is {ctid}")])
def test_what_cannot_be_walked_so_is_refused(db, where, columns, reason):
    db.table(rows=10)
    with pytest.raises(psycopg.Error, match=reason) as refused:
        db.submit(**{"scan": "ctid", "set_clause": "n = 1", "where_clause": where, **columns})
    assert refused.value.diag.column_name == "scan" and refused.value.diag.message_hint


def test_a_statement_is_not_walked_so(db):
    db.table(rows=10)
    with pytest.raises(psycopg.Error, match="nothing tells"):
        db.submit(scan="ctid", statement="UPDATE t SET n = 1 WHERE {batch}")


def test_rows_that_move_meanwhile_are_filled_once(db):
    """By writers who update, delete and insert all the while."""
    db.app.execute("CREATE TABLE t (k int, a int, n int DEFAULT 0, b int, pad text DEFAULT repeat('x', 100)); INSERT INTO t SELECT i, i FROM generate_series(1, 6000) i")
    db.daemon(max_rows=50)
    stop = threading.Event()

    def write(seed):
        chance = random.Random(seed)
        with db.connect("app") as session:
            while not stop.is_set():
                k = chance.randrange(1, 6001)
                session.execute(chance.choice(["UPDATE t SET a = a + 1, pad = pad || 'y' WHERE k = %s", "DELETE FROM t WHERE k = %s", "INSERT INTO t (k, a) VALUES (%s, 0)", "UPDATE t SET pad = repeat('z', 300) WHERE k = %s"]), [k])

    writers = [threading.Thread(target=write, args=[seed]) for seed in (1, 2)]
    name = db.submit(scan="ctid", set_clause="b = 1, n = n + 1", where_clause="b IS NULL", max_rows_per_s=3000)
    for writer in writers:
        writer.start()
    try:
        wait_until(lambda: db.job(name)["phase"] == "verify" or db.state(name) == "succeeded", timeout=60, what="the first walk is over")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    db.finish(name, timeout=60)
    assert db.one("SELECT count(*) FROM t WHERE b IS NULL") <= db.one("SELECT count(*) FROM t WHERE a = 0")  # inserted since the last look
    assert db.one("SELECT count(*) FROM t WHERE n > 1") == 0


@pytest.mark.parametrize("anew", ["VACUUM FULL t", "CLUSTER t USING by_k", "ALTER TABLE t ALTER pad TYPE varchar USING pad || ''"])
def test_a_table_that_is_written_anew_is_walked_anew(db, anew):
    db.app.execute("CREATE TABLE t (k int, a int, n int DEFAULT 0, b int, pad text DEFAULT repeat('x', 50)); INSERT INTO t SELECT i, i FROM generate_series(1, 6000) i; CREATE INDEX by_k ON t (k DESC)")
    daemon = db.daemon(max_rows=50)
    name = db.submit(scan="ctid", set_clause="b = a, n = n + 1", where_clause="b IS NULL", max_rows_per_s=3000)
    wait_until(lambda: db.one("SELECT count(b) FROM t") > 1500, what="it is in the middle")
    db.app.execute(anew)
    job = db.finish(name)
    assert job["report"]["begun_anew"].startswith("public.t was written anew") and f"begins anew: {job['report']['begun_anew']}" in daemon.log()
    assert db.one("SELECT count(*) FROM t WHERE b = a AND n = 1") == 6000


def test_rows_that_fail_or_are_locked_are_put_aside_by_where_they_lie(db):
    db.app.execute(KEYLESS)
    db.app.execute("UPDATE t SET a = 0 WHERE k = 7777; CREATE INDEX ON t (k)")
    db.daemon(max_rows=200)
    with db.locked_rows("k = 300"):
        name = db.submit(set_clause="b = 10 / a", where_clause="b IS NULL", on_error="quarantine")
        wait_until(lambda: db.left_behind("locked") and db.left_behind("error"), what="both are put aside")
        assert db.one("SELECT count(*) FROM t WHERE b IS NULL") == 2
    job = db.finish(name)
    assert "Rows were left behind" in job["hint"]
    left = db.all("SELECT key, reason FROM backfill.left_behind")
    assert left == [([db.one("SELECT ctid::text FROM t WHERE k = 7777")], "error")]
    db.app.execute("UPDATE t SET a = 5 WHERE k = 7777; SELECT backfill.retry('%s')" % name)
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b IS NULL") == 0


def test_a_row_that_fails_ends_the_job_by_where_it_lies(db):
    db.app.execute(KEYLESS + "; UPDATE t SET a = 0 WHERE k = 7777")
    db.daemon(max_rows=200)
    failed = db.finish(db.submit(set_clause="b = 10 / a", where_clause="b IS NULL"), "failed")
    assert f"row ctid = {db.one('SELECT ctid::text FROM t WHERE k = 7777')}" in failed["error"], failed["error"]


def test_a_whole_migration_of_a_table_without_a_key(db):
    db.app.execute(KEYLESS)
    db.daemon(max_rows=500)
    db.finish(db.submit(add_column="c bigint", set_clause="c = a * 2", keep_in_sync=True, sync_back="a = c / 2", enforce=["NOT NULL c"]), timeout=60)
    db.app.execute("INSERT INTO t (k, a) VALUES (30000, 7); UPDATE t SET c = 100 WHERE k = 5")
    assert db.one("SELECT count(*) FROM t WHERE c IS DISTINCT FROM a * 2") == 0 and db.one("SELECT a FROM t WHERE k = 5") == 50


def test_partitions_without_a_key_and_with_dead_pages(db):
    db.app.execute("CREATE TABLE t (k int, a int, b int) PARTITION BY RANGE (k); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (5000); CREATE TABLE t2 PARTITION OF t DEFAULT;"
                   "CREATE TABLE elsewhere (k int PRIMARY KEY); INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i; DELETE FROM t WHERE k BETWEEN 2000 AND 17000")
    db.daemon(max_rows=100)
    db.finish(db.submit(set_clause="b = a", where_clause="b IS NULL"))
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a") == 0


def test_two_sessions_walk_it_and_a_daemon_that_is_killed_loses_nothing(db):
    db.app.execute("CREATE TABLE t (k int, a int, n int DEFAULT 0, b int); INSERT INTO t SELECT i, i FROM generate_series(1, 400000) i; ANALYZE t")
    daemon = db.daemon(max_rows=500)
    name = db.submit(scan="ctid", set_clause="b = a, n = n + 1", where_clause="b IS NULL", workers=2, max_rows_per_s=100000)
    wait_until(lambda: db.one("SELECT count(*) > 0 FROM backfill.range WHERE cursor IS NOT NULL"), what="it walks")
    daemon.kill()
    db.daemon(max_rows=2000)
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL")
    db.finish(name, timeout=60)
    assert db.all("SELECT b = a, n, count(*) FROM t GROUP BY 1, 2") == [(True, 1, 400000)]
    assert db.one("SELECT count(*) FROM backfill.range WHERE key = '{-1}'") > 1


def test_rows_for_which_the_clause_gives_null_are_done(db):
    db.app.execute(KEYLESS + "; UPDATE t SET a = NULL WHERE k % 10 = 0")
    db.daemon(max_rows=500)
    job = db.finish(db.submit(set_clause="b = a", where_clause="b IS NULL", max_rows_per_s=50000))
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a") == 0, job["report"]


@contextlib.contextmanager
def moved_all_the_while(db, values="i, i"):
    """A table of which some rows go from pages ahead of the scan to pages behind it, once in each walk."""
    db.app.execute(f"CREATE TABLE t (k int, a int, b int, pad text DEFAULT repeat('x', 100)); INSERT INTO t SELECT {values} FROM generate_series(1, 4000) i; CREATE INDEX ON t (pad); CREATE INDEX ON t (k); DELETE FROM t WHERE k % 5 = 0")
    stop = threading.Event()

    def move():
        with db.connect("app") as session, db.connect("postgres") as admin:
            n = 0
            while not stop.is_set():
                n += 1
                session.execute("UPDATE t SET pad = repeat('y', 50) || %s WHERE k IN (3997, 3998, 3999, 2001)", [n])
                if n % 100 == 0:
                    admin.execute("VACUUM t")

    mover = threading.Thread(target=move)
    mover.start()
    try:
        yield
    finally:
        stop.set()
        mover.join()


@pytest.mark.parametrize("in_step", [False, True])
def test_a_row_that_others_move_all_the_while_is_met(db, in_step):
    """Only a look at all of it at once, or the trigger, proves that it is done."""
    db.daemon(max_rows=40)
    with moved_all_the_while(db):
        for n in range(1 if in_step else 3):
            db.finish(db.submit(name=f"job-{n}", scan="ctid", set_clause=f"b = {n} + a", where_clause="b IS NULL", keep_in_sync=in_step, max_rows_per_s=4000), timeout=60)
            assert db.one(f"SELECT count(*) FROM t WHERE b IS DISTINCT FROM {n} + a") == 0
            db.app.execute("UPDATE t SET b = NULL WHERE k NOT IN (3997, 3998, 3999, 2001)")
            for k in (3997, 3998, 3999, 2001):  # one by one: the mover waits for none of them long
                db.app.execute("UPDATE t SET b = NULL WHERE k = %s", [k])


@pytest.mark.parametrize("on_error", ["fail", "quarantine"])
def test_a_row_that_others_move_and_the_trigger_has_no_value_for_is_not_taken_for_done(db, on_error):
    daemon = db.daemon(max_rows=40)
    with moved_all_the_while(db, "i, i * (i <> 3998)::int"):
        name = db.submit(scan="ctid", set_clause="b = 100000 / a", where_clause="b IS NULL", keep_in_sync=True, max_rows_per_s=4000, on_error=on_error)
        wait_until(lambda: db.state(name) in ("succeeded", "failed") or daemon.log().count("rows may have moved behind the scan") > 1, timeout=60, what="an end, or another walk")
    wait_until(lambda: db.state(name) in ("succeeded", "failed"), timeout=60, what="an end")
    job = db.job(name)
    assert job["state"] == {"fail": "failed", "quarantine": "succeeded"}[on_error], job
    assert db.one("SELECT count(*) FROM backfill.left_behind") == (on_error == "quarantine") and ("division by zero" in (job["error"] or "")) == (on_error == "fail")


def test_a_row_that_was_put_aside_and_is_not_met_again_costs_one_more_walk(db):
    """It may have moved behind the scan; the application has mended it while the rest was verified."""
    db.app.execute("CREATE TABLE t (k int, a int, b int); INSERT INTO t SELECT i, i * (i <> 5)::int FROM generate_series(1, 5000) i")
    daemon = db.daemon(max_rows=40)
    name = db.submit(scan="ctid", set_clause="b = 100000 / a", where_clause="b IS NULL", on_error="quarantine", max_rows_per_s=4000)
    daemon.says("verify: about")
    db.app.execute("UPDATE t SET a = 1, b = 100000 WHERE k = 5")
    job = db.finish(name)
    assert job["report"]["left_behind"] == 0 if "left_behind" in job["report"] else db.one("SELECT count(*) FROM backfill.left_behind") == 0
    assert "not_proven" not in job["report"] and "SELECT * FROM backfill.left_behind" not in (job["hint"] or "")


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_table_whose_key_goes_in_mid_job_is_scanned_as_its_rows_lie(db, partitioned):
    """Where the job has left it to the server how it is walked."""
    if partitioned:
        db.app.execute("CREATE TABLE t (id int, n int) PARTITION BY RANGE (id); CREATE TABLE p0 PARTITION OF t (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (1000); CREATE TABLE p1 PARTITION OF t (PRIMARY KEY (id)) FOR VALUES FROM (1000) TO (9999); INSERT INTO t SELECT generate_series(1, 2000)")
    else:
        db.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT generate_series(1, 2000)")
    daemon = db.daemon(max_rows=100)
    name = db.submit(set_clause="n = id", where_clause="n IS NULL", max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(n) FROM t") > 200, what="it is on its way")
    db.app.execute("ALTER TABLE p1 DROP CONSTRAINT p1_pkey" if partitioned else "ALTER TABLE t DROP CONSTRAINT t_pkey")
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL")
    job = db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE n = id") == 2000 and job["key"] == ["ctid"] and "is scanned as its rows lie" in job["report"]["begun_anew"] and "begins anew" in daemon.log()
