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


def test_tidying_of_one_login_has_not_all_workers_while_another_queues(db):
    """Its tables are held by others, or by itself: each look at such a lock would keep a place for ten seconds."""
    tables(db, 4)
    db.table()
    daemon = db.daemon(workers=2)
    theirs = [db.submit("other", target=f"o{i}", set_clause="n = 1", where_clause="n = 0", keep_in_sync=True) for i in range(4)]
    for name in theirs:
        db.finish(name)
    with db.connect("other") as holder:
        holder.autocommit = False
        for i in range(4):
            holder.execute(f"SELECT FROM o{i}")
        for name in theirs:
            db.session("other").execute("SELECT backfill.finish(%s)", [name])
        wait_until(lambda: db.one("SELECT count(*) FROM backfill.job WHERE holder_pid IS NOT NULL") == 2, what="both places are taken")
        db.finish(db.submit(set_clause="n = n + 1"), timeout=4)
        holder.commit()
    assert "another login's job is to have one" in daemon.log() and "gives its place" not in daemon.log()
    wait_until(lambda: daemon.log().count("is tidied up\n") == 4, 60, "all are tidied up")


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


def test_what_takes_long_is_not_taken_for_one_that_gives_its_place_back(db):
    tables(db, 2)
    db.table()
    with db.connect("postgres") as daemon:
        for i in range(2):
            db.submit("other", target=f"o{i}", set_clause="n = 1")
        first, last = [daemon.execute("SELECT (job).id FROM backfill.claim()").fetchone()[0] for _ in range(2)]
        over = "SELECT backfill.over_share(%s, %s)"
        assert daemon.execute(over, [[first, last], None]).fetchone()[0] is None, "nobody queues"
        db.submit(set_clause="n = 1")
        assert daemon.execute(over, [[first, last], None]).fetchone()[0] == last
        assert daemon.execute(over, [[first, last], [last]]).fetchone()[0] == first
        assert daemon.execute(over, [[first, last], [first, last]]).fetchone()[0] is None


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
    assert db.one(reason, theirs, user="watcher") == f"behind job {first} of app"
    db.app.execute("SELECT backfill.cancel(%s)", [first])
    for name in (second, theirs, third):
        db.finish(name)


# ---- What has ended is tidied up in turn

KEPT = {"set_clause": "n = 1", "where_clause": "n = 0", "keep_in_sync": True}


def claim(session):
    return session.execute("SELECT (c.job).name FROM backfill.claim() c").fetchone()[0]


def test_what_has_ended_is_tidied_up_in_turn_with_the_queue(db):
    """However many of a login's jobs are to be tidied up, whoever queues has every second turn, and so has another login's tidying."""
    tables(db, 3)
    db.table("mine")
    db.table("kept")
    daemon = db.daemon(workers=1)
    theirs = [db.submit("other", target=f"o{i}", **KEPT) for i in range(3)]
    mine = db.submit(target="kept", **KEPT)
    for name in theirs + [mine]:
        db.finish(name)
    daemon.terminate()
    for name in theirs:
        db.session("other").execute("SELECT backfill.finish(%s)", [name])
    db.app.execute("SELECT backfill.finish(%s)", [mine])
    queued = db.submit(target="mine", set_clause="n = n + 1")
    turns = [claim(db.admin) for _ in range(4)]
    assert turns[1] == queued and mine in turns and sum(name in theirs for name in turns) == 2
    assert {claim(db.admin), claim(db.admin)} == set(theirs) - set(turns) | {None}


def test_ended_job_that_has_nothing_in_its_table_makes_no_work_when_it_is_asked_again(db):
    tables(db, 2)
    daemon = db.daemon(workers=1)
    plain = db.submit("other", target="o0", set_clause="n = n + 1")
    kept = db.submit("other", target="o1", **KEPT)
    db.finish(plain)
    db.finish(kept)
    db.session("other").execute("SELECT backfill.cancel(%s)", [kept])
    wait_until(lambda: not db.job(kept)["tidy"], what="its trigger is gone")
    daemon.terminate()
    for _ in range(2):
        db.session("other").execute("UPDATE backfill.job SET wanted = 'cancel'")
        assert not db.job(plain)["tidy"] and not db.job(kept)["tidy"]
    assert claim(db.admin) is None


def test_ended_job_keeps_no_table_while_its_login_cant_be_had(db):
    db.table()
    db.admin.execute("GRANT app TO other")
    daemon = db.daemon(workers=1)
    with db.connect("other") as session:
        session.execute("SET ROLE app")
        kept = db.submit(session=session, target="t", **KEPT)
        db.finish(kept)
        daemon.terminate()
        session.execute("SELECT backfill.finish(%s)", [kept])
    db.admin.execute("ALTER ROLE other CONNECTION LIMIT 0")
    try:
        name = db.submit(set_clause="n = n + 1")
        assert db.one("SELECT count(*) FROM backfill.taken_tables()") == 1  # it is to be tidied up first
        db.daemon(workers=2)
        db.finish(name, timeout=40)
    finally:
        db.admin.execute("ALTER ROLE other CONNECTION LIMIT -1")
        db.admin.execute("REVOKE app FROM other")


def test_ended_job_keeps_no_table_in_which_it_has_nothing(db):
    db.table()
    daemon = db.daemon(workers=1)
    kept = db.submit(**KEPT)
    db.finish(kept)
    daemon.terminate()
    db.app.execute("SELECT backfill.finish(%s)", [kept])
    db.submit(set_clause="n = n + 1")  # somebody queues for it
    assert db.one("SELECT count(*) FROM backfill.taken_tables()") == 1
    for name in [row[0] for row in db.all("SELECT tgname::text FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal")]:
        db.app.execute(f'DROP TRIGGER "{name}" ON t')
    for function in [row[0] for row in db.all("SELECT oid::regprocedure::text FROM pg_proc WHERE proname LIKE 'backfill%%' AND pronamespace = 'public'::regnamespace ORDER BY proname NOT LIKE '%%_there'")]:
        db.app.execute(f"DROP FUNCTION {function}")
    db.app.execute("DROP TYPE %s" % db.one("SELECT typname::text FROM pg_type WHERE typname LIKE 'backfilld%%'"))
    assert db.one("SELECT count(*) FROM backfill.taken_tables()") == 0


def test_a_locked_row_of_one_job_takes_no_other_from_its_daemon(db):
    """After the control session was lost."""
    tables(db, 1)
    db.table()
    names = [db.submit(set_clause="n = n + 1"), db.submit("other", target="o0", set_clause="n = n + 1")]
    with db.connect("postgres") as lost:
        assert {claim(lost), claim(lost)} == set(names)
        pid, start = lost.execute("SELECT pg_backend_pid(), backfill.session_start()").fetchone()
    with db.connect("other") as holder, db.connect("postgres") as session:
        holder.autocommit = False
        holder.execute("SELECT FROM backfill.job FOR UPDATE")
        session.execute("SET lock_timeout = '200ms'")
        session.execute("SELECT backfill.hold_again(ARRAY(SELECT id FROM backfill.job), '{}', %s, %s)", [pid, start])
        assert session.execute("SELECT name FROM backfill.job j WHERE backfill.is_held(j)").fetchall() == [(names[0],)]


# ---- Steps that take long

LONG = "CREATE FUNCTION long(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN true; END $$"


def long_steps(db, names, user="other"):
    """A constraint that takes 20 s to validate, on each of those tables."""
    return [db.submit(user, target=name, enforce=["CHECK (long(n))"]) for name in names]


def cancel_all(db, names):
    for user in ("app", "other"):
        db.session(user).execute("UPDATE backfill.job SET wanted = 'cancel' WHERE state IN ('queued', 'running')")
    for name in names:
        db.finish(name, "cancelled")


@pytest.mark.parametrize("workers", [1, 2])
def test_long_steps_of_a_login_keep_no_place_from_another(db, workers):
    """They can't be given back without losing what they have done. Nor does another's long step keep one from a third."""
    db.admin.execute(LONG)
    tables(db, workers + 1, rows=40)
    db.table(rows=40)
    db.table("third", rows=10, user="postgres")
    db.daemon(workers=workers)
    theirs = long_steps(db, [f"o{i}" for i in range(workers + 1)])
    wait_until(lambda: [db.state(name) for name in theirs].count("running") == workers, what="they have all places")
    mine = long_steps(db, ["t"], "app")[0]
    db.wait_state(mine, "running", timeout=8)
    if workers == 2:
        db.finish(db.submit("postgres", target="third", set_clause="n = n + 1"), timeout=8)
    assert [db.state(name) for name in theirs] == ["running"] * workers + ["queued"], "what is more is for others"
    assert db.throttled_by(theirs[-1]) == "all workers are busy"
    assert db.one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename IN ('app', 'other') AND application_name LIKE 'backfilld %%'") == workers + 1
    cancel_all(db, theirs + [mine])


def test_a_login_that_locks_the_rows_of_its_jobs_keeps_no_place_from_another(db):
    """That they have ended, or go back, can't be written."""
    tables(db, 2, rows=200)
    db.table(rows=40)
    db.daemon(workers=2)
    theirs = [db.submit("other", target=f"o{i}", set_clause="n = n + 1", max_rows_per_s=40) for i in range(2)]
    wait_until(lambda: [db.state(name) for name in theirs] == ["running"] * 2, what="they have all places")
    with db.connect("other") as locker:
        locker.autocommit = False
        locker.execute("SELECT FROM backfill.job WHERE name = ANY (%s) FOR UPDATE", [theirs])
        db.finish(db.submit(set_clause="n = n + 1"), timeout=15)
        locker.rollback()
    for name in theirs:
        db.finish(name)
    assert db.counts("o0") == db.counts("o1") == {1: 200}


def test_a_place_for_newcomers_takes_nothing_of_a_login_that_has_one(db):
    """Neither from the queue, nor what a daemon that is gone has left, nor what is to be tidied up."""
    for i in range(4):
        db.table(f"m{i}", rows=10)
    db.table("theirs", rows=10, user="other")
    with db.connect("backfilld") as control:
        def claimed(newcomers):
            return control.execute("SELECT (c.job).name FROM backfill.claim(%s) AS c", [newcomers]).fetchone()[0]
        names = [db.submit(target=f"m{i}", set_clause="n = 1") for i in range(3)]
        assert claimed(False) == names[0]
        with db.connect("backfilld") as gone:
            gone.execute("SELECT backfill.claim()")
        left = db.submit(target="m3", set_clause="n = 1")
        db.admin.execute("UPDATE backfill.job SET state = 'cancelled', tidy = true WHERE name = %s", [left])
        assert (db.state(names[1]), claimed(True)) == ("running", None)
        theirs = db.submit("other", target="theirs", set_clause="n = 1")
        assert claimed(True) == theirs and claimed(True) is None
        assert {claimed(False), claimed(False), claimed(False)} == {names[1], names[2], left}


def test_there_are_twice_as_many_sessions_as_workers_at_most(db):
    db.admin.execute(LONG)
    tables(db, 1, rows=40)
    db.table(rows=40)
    db.table("third", rows=10, user="postgres")
    db.daemon(workers=1)
    steps = long_steps(db, ["o0"]) + long_steps(db, ["t"], "app")
    wait_until(lambda: [db.state(name) for name in steps] == ["running", "running"], what="one more is taken")
    third = db.submit("postgres", target="third", set_clause="n = n + 1")
    let_pass(4)
    assert db.state(third) == "queued"
    cancel_all(db, steps)
    db.finish(third, timeout=10)


def test_who_keeps_the_control_session_waiting_lets_others_go_first(db):
    """It answers one question at a time, for all jobs of a database: who has had it for long, while others waited, waits for twice as long."""
    db.table("o", rows=10, user="other")
    for t in "abc":
        db.app.execute(f"CREATE TABLE {t} (id int, n int DEFAULT 0, PRIMARY KEY (id)) PARTITION BY RANGE (id)")
        for i in range(30):
            db.app.execute(f"CREATE TABLE {t}{i} PARTITION OF {t} FOR VALUES FROM ({i}) TO ({i + 1}); INSERT INTO {t} VALUES ({i})")
    db.admin.execute("CREATE SEQUENCE asked; CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN PERFORM nextval('asked'), pg_sleep(1); RETURN NEW; END $$;"
                     "GRANT ALL ON SEQUENCE asked TO PUBLIC; CREATE TRIGGER slow BEFORE UPDATE ON backfill.range FOR EACH ROW WHEN (NEW.submitted_by = 'app' AND NEW.walker_since IS DISTINCT FROM OLD.walker_since) EXECUTE FUNCTION slow()")
    db.daemon(workers=4)
    keep = [db.submit(target=t, set_clause="n = n + 1") for t in "abc"]
    wait_until(lambda: db.one("SELECT last_value > 3 FROM asked"), what="their questions are under way")
    before = db.one("SELECT last_value FROM asked")
    db.finish(db.submit("other", target="o", set_clause="n = n + 1"))
    asked = db.one("SELECT last_value FROM asked") - before
    assert asked <= 9
    assert all(db.state(name) == "running" for name in keep)
    for name in keep:
        db.app.execute("SELECT backfill.cancel(%s)", [name])
