"""Several sessions walk one job's ranges, of one daemon or of several: each row once, whatever becomes of them."""

import concurrent.futures
import contextlib
import random
import threading

import psycopg
import pytest

from cluster import STOP_SIGNALS
from test_ranges import check_ranges, looks_large, ranges
from waiting import let_pass, wait_until

WALKERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'backfilld ' || %s"


def walkers(db, name):
    return db.one(WALKERS, name)


def said_workers(db, name):
    return db.one("SELECT workers FROM backfill.status WHERE name = %s", name)


def wait_walkers(db, name, n):
    wait_until(lambda: said_workers(db, name) == n and walkers(db, name) == n, what=f"{n} sessions walk")


def keys_of(db, name):
    return sum(r[3] for r in ranges(db, name))


@pytest.fixture
def slow(db):
    """A large table, as it seems, of whose rows each takes a while."""
    db.table(rows=20000)
    looks_large(db)
    db.admin.execute("""
        CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF OLD.id % 10 = 0 THEN PERFORM pg_sleep(0.001); END IF; RETURN NEW; END';
        CREATE TRIGGER slowly BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slowly()""")
    return db


def test_workers_walk_ranges_of_one_job_at_once(slow):
    db = slow
    db.daemon(workers=4)
    name = db.submit(set_clause="n = n + 1", workers=3)
    wait_walkers(db, name, 3)
    wait_until(lambda: db.one("SELECT count(DISTINCT walker) FROM backfill.range WHERE NOT done AND walker IS NOT NULL") == 3, what="each has a range of its own")
    report = db.finish(name)["report"]
    assert db.counts() == {1: 20000}
    assert (report["rows"], report["keys"], report["ranges"]) == (20000, 20000, 10)
    assert db.one("SELECT count(*) FROM backfill.token WHERE slot > 0") == 0, "they have left"
    check_ranges(ranges(db, name), 10)


def test_helpers_are_of_any_daemon(slow):
    db = slow
    daemons = [db.daemon(workers=2) for _ in range(2)]
    name = db.submit(set_clause="n = n + 1", workers=4)
    wait_walkers(db, name, 4)
    assert sorted(d.log().count("helps with public.t") for d in daemons) == [1, 2]
    db.finish(name)
    assert db.counts() == {1: 20000}


def test_file_says_how_many_workers_a_job_has_and_the_job_may_say_otherwise(slow):
    db = slow
    db.daemon(workers=4, workers_per_job=2)
    name = db.submit(set_clause="n = n + 1")
    wait_walkers(db, name, 2)
    for n in (4, 1, 3):
        db.app.execute("UPDATE backfill.job SET workers = %s", [n])
        wait_walkers(db, name, n)
    db.finish(name)
    assert db.counts() == {1: 20000}


def test_pause_stops_all_workers_and_resume_begins_them_again(slow):
    db = slow
    db.daemon(workers=2)
    db.daemon(workers=2)
    name = db.submit(set_clause="n = n + 1", workers=4)
    wait_walkers(db, name, 4)
    db.app.execute("SELECT backfill.pause(%s)", [name])
    db.wait_state(name, "paused")
    stood = keys_of(db, name)
    assert db.one("SELECT count(*) FROM backfill.token WHERE slot > 0") == 0
    wait_until(lambda: walkers(db, name) == 0, what="all have left")
    assert keys_of(db, name) == stood, "nothing was done after it was paused"
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name)
    assert db.counts() == {1: 20000}


@pytest.mark.parametrize("state, call", [("cancelled", "cancel"), ("paused", "pause")])
def test_helper_that_sleeps_in_a_batch_can_not_checkpoint_once_the_job_is_given_back(db, state, call):
    db.table(rows=20000)
    looks_large(db)
    db.sleep_at(20000, 1)
    db.daemon(workers=2)
    name = db.submit(set_clause="n = n + 1", workers=2)
    db.wait_asleep()
    db.app.execute(f"SELECT backfill.{call}(%s)", [name])
    db.wait_state(name, state)
    stood = (keys_of(db, name), db.counts())
    wait_until(lambda: walkers(db, name) == 0, what="all have left")
    assert (keys_of(db, name), db.counts()) == stood


def test_row_that_fails_is_judged_as_with_one_worker(slow):
    db = slow
    db.daemon(workers=4)
    db.app.execute("ALTER TABLE t ADD COLUMN d int NOT NULL DEFAULT 1; UPDATE t SET d = 0 WHERE id = 12345")
    looks_large(db)
    name = db.submit(set_clause="n = n + 1 / d", workers=4)
    job = db.finish(name, "failed")
    assert job["error"] == "row id = 12345: division by zero"
    wait_until(lambda: walkers(db, name) == 0, what="all have left")
    db.app.execute("UPDATE backfill.job SET on_error = 'quarantine'")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    job = db.finish(name)
    assert db.left_behind("error") == [(["12345"],)]
    assert db.counts() == {1: 19999, 0: 1} and job["report"]["left_behind"] == 1


def test_locked_rows_are_passed_over_by_helpers_and_done_by_the_holder(slow):
    db = slow
    db.daemon(workers=4)
    with db.locked_rows("id IN (5, 8000, 13000, 19999)"):
        name = db.submit(set_clause="n = n + 1", workers=4)
        wait_until(lambda: keys_of(db, name) == 20000, what="all else is done")
        wait_until(lambda: db.throttled_by(name).startswith("4 rows are locked"), what="it waits for them")
    db.finish(name)
    assert db.counts() == {1: 20000}


def test_migration_with_helpers_verifies_and_enforces(db):
    db.table(rows=20000)
    looks_large(db)
    db.daemon(workers=4)
    name = db.submit(add_column="m int", set_clause="m = n + id", keep_in_sync=True, enforce=["NOT NULL m"], workers=4)
    wait_until(lambda: (said_workers(db, name) or 0) > 1 or db.state(name) == "succeeded", what="helpers come")
    for i in range(50):
        db.app.execute("UPDATE t SET n = n + 1 WHERE id %% 997 = %s", [i])
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE m IS DISTINCT FROM n + id") == 0
    db.app.execute("SELECT backfill.finish(%s)", [name])


def test_job_of_another_login_gets_a_helpers_place(slow):
    db = slow
    db.daemon(workers=2)
    name = db.submit(set_clause="n = n + 1", workers=2)
    wait_walkers(db, name, 2)
    db.table("other_t", user="other")
    second = db.submit(user="other", target="other_t", set_clause="n = n + 1")
    db.finish(second)
    assert db.state(name) == "running", "it was not given back for that"
    wait_walkers(db, name, 2)
    db.finish(name)
    assert db.counts() == {1: 20000}


def test_helpers_whose_login_lost_the_role_leave(slow):
    db = slow
    db.admin.execute("CREATE ROLE team; GRANT team TO app; GRANT ALL ON t TO team; GRANT backfill_submitter TO team; GRANT USAGE ON SCHEMA public TO team")
    try:
        daemon = db.daemon(workers=3)
        with db.connect() as session:
            session.execute("SET ROLE team")
            name = db.submit(session=session, set_clause="n = n + 1", workers=3)
        wait_walkers(db, name, 3)
        db.admin.execute("REVOKE team FROM app")
        job = db.finish(name, "failed")
        assert "may not become team any more" in job["error"]
        wait_until(lambda: walkers(db, name) == 0, what="all have left")
        assert daemon.log().count("what it met is left to the job's holder") <= 2
    finally:
        db.admin.execute("DROP OWNED BY team; DROP ROLE team")


def test_speed_of_a_job_is_that_of_its_workers_together(db):
    db.table(rows=60000)
    looks_large(db)
    db.daemon(workers=4)
    name = db.submit(set_clause="n = n + 1", workers=4, max_rows_per_s=2000)
    wait_walkers(db, name, 4)
    let_pass(1.5)
    before, at = keys_of(db, name), db.one("SELECT extract(epoch FROM clock_timestamp())::float")
    let_pass(3)
    rate = (keys_of(db, name) - before) / (db.one("SELECT extract(epoch FROM clock_timestamp())::float") - at)
    assert 1600 < rate < 2300, rate
    wait_until(lambda: db.throttled_by(name).endswith("limit 2000"), what="status names the job's limit")
    wait_until(lambda: 1500 < db.one("SELECT rows_per_s FROM backfill.status WHERE name = %s", name) < 2500, what="status says so, as soon as what was before has faded")


def test_killed_daemons_and_changed_workers_repeat_no_row(db, scale, rng, measured):
    """SET n = n + 1 by four daemons' sessions, of which one is killed every moment, while the number of workers changes."""
    rows, kills = 100_000 * scale, 10 * scale
    db.table(rows=rows)
    looks_large(db)
    daemons = [db.daemon(workers=4, max_rows=100) for _ in range(2)]
    name = db.submit(set_clause="n = n + 1", workers=4)
    together = 0
    for _ in range(kills):
        if together < kills // 3:
            wait_until(lambda: (said_workers(db, name) or 0) > 1 or db.state(name) == "succeeded", what="several work at it")
        let_pass(rng.uniform(0, 0.4))
        together += (said_workers(db, name) or 0) > 1
        db.app.execute("UPDATE backfill.job SET workers = %s WHERE name = %s", [rng.randint(2 if together < kills // 3 else 1, 8), name])
        if db.state(name) == "succeeded":
            name = db.submit(set_clause="n = n + 1", workers=rng.randint(2, 8))
        daemon = rng.choice(daemons)
        daemon.kill()
        daemon.start()
    db.finish(name, timeout=60 * scale)
    jobs = db.one("SELECT count(*) FROM backfill.job")
    assert db.counts() == {jobs: rows}
    measured("daemons with helpers killed", f"{kills} times, {together} of them with several workers, {jobs} jobs over {rows} rows: no n wrong")
    assert together >= kills // 3


def test_helper_whose_daemon_stands_still_loses_its_range(slow):
    """It holds its slot, as its control session is there; the holder waits half a minute, and no longer."""
    db = slow
    first = db.daemon(workers=1)
    name = db.submit(set_clause="n = n + 1", workers=2)
    wait_until(lambda: keys_of(db, name) > 0, what="it is at work")
    second = db.daemon(workers=1)
    wait_walkers(db, name, 2)
    wait_until(lambda: db.one("SELECT count(*) FROM backfill.range WHERE walker > 0 AND NOT done AND cursor <> starts"), what="the helper is in a range")
    second.process.send_signal(19)
    try:
        db.finish(name, timeout=60)
        assert db.counts() == {1: 20000}
    finally:
        second.process.send_signal(18)
    assert first is not second


def test_upgraded_job_of_one_range_goes_on_with_one_worker_and_is_cut_in_its_next_pass(slow):
    db = slow
    db.daemon(workers=3)
    name = db.submit(set_clause="n = 1", where_clause="n = 0", workers=3)
    wait_walkers(db, name, 3)
    db.app.execute("SELECT backfill.pause(%s)", [name])
    db.wait_state(name, "paused")
    # As an earlier version would have it: one range, up to where the first ones have come.
    db.admin.execute("""
        DELETE FROM backfill.range WHERE starts IS NOT NULL;
        UPDATE backfill.range SET upper = (SELECT ARRAY[max(id)::text] FROM t), walker = NULL""")
    db.app.execute("SELECT backfill.resume(%s)", [name])
    wait_until(lambda: keys_of(db, name) > 3000, what="it goes on")
    assert said_workers(db, name) == 1 and len(ranges(db, name)) == 1
    db.app.execute("UPDATE t SET n = 0 WHERE id < 10")
    db.finish(name)
    assert len(ranges(db, name)) >= 10 and db.counts() == {1: 20000}


def test_control_session_that_is_lost_loses_no_helper_and_repeats_no_row(slow):
    db = slow
    daemons = [db.daemon(workers=2) for _ in range(2)]
    name = db.submit(set_clause="n = n + 1", workers=4)
    wait_walkers(db, name, 4)
    db.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'backfilld control'")
    wait_until(lambda: all("connected again" in d.log() for d in daemons), what="they are connected again")
    wait_walkers(db, name, 4)
    db.finish(name)
    assert db.counts() == {1: 20000}


def test_walkers_that_wait_for_each_other_are_nobody_who_is_hurt(db):
    """Each row's trigger counts in one row of another table: a batch holds it until it commits, and the others wait, or give up."""
    db.table(rows=4000)
    looks_large(db)
    db.admin.execute("""
        CREATE TABLE counter (c int); INSERT INTO counter VALUES (0); GRANT ALL ON counter TO app;
        CREATE FUNCTION public.count_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE public.counter SET c = c + 1; PERFORM pg_sleep(0.001); RETURN NEW; END';
        CREATE TRIGGER count_row BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION public.count_row()""")
    db.daemon(workers=3, lock_timeout_ms=200, target_ms=100)
    name = db.submit(set_clause="n = n + 1", workers=3)
    report = db.finish(name)["report"]
    assert db.counts() == {1: 4000} and db.one("SELECT c FROM counter") == 4000
    assert report["locked"]["cancelled_for_others"] == 0


def test_drain_ends_when_a_job_with_several_workers_has(slow):
    name = slow.submit(set_clause="n = n + 1", workers=2)
    assert slow.drain().returncode == 0
    assert slow.state(name) == "succeeded" and slow.counts() == {1: 20000}


def test_crashed_server_repeats_no_row_of_several_workers(own_db, rng):
    db = own_db
    db.table(rows=100_000)
    looks_large(db)
    daemons = [db.daemon(workers=2, max_rows=200) for _ in range(2)]
    name, helped = db.submit(set_clause="n = n + 1", workers=4, max_rows_per_s=30_000), 0
    for _ in range(3):
        before = keys_of(db, name)
        wait_until(lambda: sum(d.log().count("helps with") for d in daemons) > helped, what="several workers again")
        wait_until(lambda: keys_of(db, name) > before, what="the job moves on")
        let_pass(rng.uniform(0, 0.3))
        db.cluster.process.send_signal(STOP_SIGNALS["immediate"])
        db.cluster.process.wait(30)
        for session in db.sessions.values():
            session.close()
        helped = sum(d.log().count("helps with") for d in daemons)
        db.cluster.start()
    db.finish(name, timeout=60)
    assert db.counts() == {1: 100_000}


LOCKS = [lambda r: ("SELECT FROM parent WHERE id = %s FOR UPDATE", [r.randrange(100)]),
         lambda r: ("SELECT FROM t WHERE id BETWEEN %s AND %s FOR UPDATE", [(first := r.randrange(60_000)), first + r.randrange(3000)]),
         lambda r: ("INSERT INTO t (id, v, u, n) VALUES (%s, 1, %s, 1)", [100_000 + r.randrange(10**6), r.randrange(60_000)]),
         lambda r: ("UPDATE t SET v = v WHERE id = %s", [r.randrange(60_000)]),
         lambda r: ("LOCK TABLE t IN SHARE MODE", [])]


def hold_locks(db, stop, r):
    """A transaction after another, each with a lock, for a moment or for long."""
    while not stop.is_set():
        with contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.UniqueViolation), db.connect() as session:
            session.autocommit = False
            session.execute("SET lock_timeout = '200ms'")
            session.execute(*r.choice(LOCKS)(r))
            stop.wait(r.choice([0.01, 0.05, 0.3, 1.5]))
            session.rollback()


@pytest.mark.parametrize("where", ["f IS NULL", None])
def test_locks_of_every_kind_hold_up_no_other_rows_and_each_is_done_once(db, scale, rng, where):
    """On rows, on a foreign key's, on an equal value that is not committed, on the table, while daemons are killed."""
    db.app.execute("""CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(0, 99);
      CREATE TABLE t (id bigint PRIMARY KEY, v int, f int REFERENCES parent, u bigint UNIQUE, n int NOT NULL DEFAULT 0);
      INSERT INTO t (id, v) SELECT i, CASE WHEN i % 7 = 0 THEN i % 100 ELSE (i / 1000) % 100 END FROM generate_series(1, 60000) i""")
    looks_large(db)
    stop = threading.Event()
    daemons = [db.daemon(workers=3, max_rows=500) for _ in range(2)]
    name = db.submit(set_clause="f = v, u = id, n = n + 1", where_clause=where, workers=3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        holders = [pool.submit(hold_locks, db, stop, random.Random(rng.random())) for _ in range(5)]
        try:
            for _ in range(4 * scale):
                let_pass(rng.uniform(0.3, 1.5))
                daemon = rng.choice(daemons)
                daemon.kill()
                daemon.start()
        finally:
            stop.set()
        for holder in holders:
            holder.result()
    db.finish(name, timeout=60)
    assert db.one("SELECT count(*) FROM t WHERE id <= 60000 AND (f IS DISTINCT FROM v OR u IS DISTINCT FROM id OR n <> 1)") == 0
    assert db.left_behind() == []
