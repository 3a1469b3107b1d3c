"""Who gets a worker: nobody holds one without using it while others queue, and no login has them all; status says why a job is queued."""

import psycopg
import pytest

from waiting import let_pass, wait_until

# What only waits: each try is refused as if the server were short of something.
SHORT = """
CREATE FUNCTION short() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'too many of something' USING ERRCODE = '53300'; END $$"""
SLOW = "CREATE FUNCTION slow(bigint) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.005); RETURN 1; END $$"


def tables(db, n, rows=10, user="other"):
    for i in range(n):
        db.table(f"o{i}", rows=rows, user=user)


def test_a_job_that_only_waits_gives_its_place_to_others(db):
    db.session("other").execute(SHORT)
    tables(db, 1)
    db.table()
    daemon = db.daemon(workers=1)
    waits = db.submit("other", target="o0", set_clause="n = short()", priority=100)
    db.wait_state(waits, "running")
    name = db.submit(set_clause="n = n + 1")
    wait_until(lambda: db.throttled_by(name) == "all workers are busy", what="status says why it is queued")
    db.finish(name, timeout=30)
    daemon.says("gives its place to others, and waits for")
    reason = db.throttled_by(waits)
    assert db.state(waits) == "queued" and reason.startswith("waits until ") and reason.endswith("after: too many of something")
    assert db.job(waits)["report"]["waits"]["tries"] == 1
    db.session("other").execute("CREATE OR REPLACE FUNCTION short() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    job = db.finish(waits, timeout=30)  # it takes its turn again
    assert "waits" not in job["report"]


def test_a_job_that_only_waits_keeps_its_place_while_nobody_needs_it(db):
    db.session("other").execute(SHORT)
    tables(db, 1)
    daemon = db.daemon(workers=1)
    name = db.submit("other", target="o0", set_clause="n = short()")
    db.wait_state(name, "running")
    let_pass(13)
    assert db.state(name) == "running" and "gives its place" not in daemon.log() and "too many of something" in db.throttled_by(name)


def test_what_waits_to_be_tidied_up_gives_its_place_too(db):
    """A job that was cancelled, whose table somebody else holds, would else be the first for ever."""
    tables(db, 1)
    db.table()
    daemon = db.daemon(workers=1)
    name = db.submit("other", target="o0", set_clause="n = 1", where_clause="n = 0", keep_in_sync=True)
    db.finish(name)
    with db.connect("other") as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM o0")
        db.session("other").execute("SELECT backfill.finish(%s)", [name])
        daemon.says("tidy: drop trigger")
        db.finish(db.submit(set_clause="n = n + 1"), timeout=30)
        holder.commit()
    daemon.says("is tidied up\n", timeout=60)


def test_no_login_has_all_workers_while_another_queues(db, measured):
    """The last that began goes back to the queue after its batch, and takes its turn again; nothing is done twice."""
    db.session("other").execute(SLOW)
    tables(db, 3, rows=600)
    db.table()
    daemon = db.daemon(workers=2)
    theirs = [db.submit("other", target=f"o{i}", set_clause="n = n + slow(id)", priority=100) for i in range(3)]
    wait_until(lambda: [db.state(name) for name in theirs] == ["running", "running", "queued"], what="they have both places")
    name = db.submit(set_clause="n = n + 1")
    db.finish(name, timeout=3)
    assert [db.state(name) for name in theirs].count("running") >= 1
    assert "another login's job is to have one" in daemon.log()
    for i, name in enumerate(theirs):
        job = db.finish(name, timeout=30)
        assert db.counts(f"o{i}") == {1: 600} and job["report"]["rows"] == 600


def test_a_login_alone_has_all_workers(db):
    db.app.execute(SLOW)
    tables(db, 2, rows=300, user="app")
    daemon = db.daemon(workers=2)
    names = [db.submit(target=f"o{i}", set_clause="n = n + slow(id)") for i in range(2)]
    wait_until(lambda: [db.state(name) for name in names] == ["running"] * 2, what="both run")
    for name in names:
        db.finish(name)
    assert "given back" not in daemon.log()


def test_who_runs_least_is_next(db):
    """Whatever the priority of who runs more."""
    db.session("other").execute(SLOW)
    tables(db, 3, rows=300)
    db.table()
    held = db.submit("other", target="o0", set_clause="n = n + slow(id)")
    claim = "SELECT (job).name FROM backfill.claim()"
    with db.connect("backfilld") as daemon:
        assert daemon.execute(claim).fetchone()[0] == held
        theirs = db.submit("other", target="o1", set_clause="n = 1", priority=100)
        name = db.submit(set_clause="n = n + 1", priority=-100)
        assert daemon.execute(claim).fetchone()[0] == name
        last = db.submit("other", target="o2", set_clause="n = 1", priority=99)
        assert [daemon.execute(claim).fetchone()[0] for _ in range(2)] == [theirs, last]


def test_a_priority_has_bounds(db):
    db.table()
    for priority in (101, -101, 2**31 - 1):
        with pytest.raises(psycopg.Error) as refused:
            db.submit(set_clause="n = 1", priority=priority)
        assert refused.value.sqlstate == "23514" and "priority" in str(refused.value)


def test_status_says_why_a_job_is_queued(db):
    """And of another's job only that there is one."""
    db.app.execute(SLOW)
    db.app.execute("GRANT EXECUTE ON FUNCTION slow TO other")
    db.table(rows=2000)
    db.app.execute("GRANT SELECT, UPDATE ON t TO other")
    first = db.submit(set_clause="n = n + slow(id)")
    assert db.throttled_by(first) == "no daemon serves this database"
    db.daemon(workers=1)
    db.wait_state(first, "running")
    second, theirs = db.submit(set_clause="n = n + 2"), db.submit("other", set_clause="n = n + 3")
    db.table("elsewhere")
    third = db.submit(target="elsewhere", set_clause="n = n + 1")
    reason = "SELECT throttled_by FROM backfill.status WHERE name = %s"
    assert db.one(reason, second, user="app") == f"behind job {first}"
    assert db.one(reason, theirs, user="other") == "behind another's job on this table"
    assert db.one(reason, third, user="app") == "all workers are busy"
    assert db.one(reason, theirs, user="watcher") == f"behind job {first}"
    db.app.execute("SELECT backfill.cancel(%s)", [first])
    for name in (second, theirs, third):
        db.finish(name)
