"""Steps and who waits: thrown away only for who is hurt, never for who can wait; what is in a step's own way is asked to go, or waited for."""

import re
import threading
import time

import psycopg
import pytest

from cluster import Cluster
from database import Database, prepare
from waiting import let_pass, wait_until


def slow_check(db, seconds):
    """A CHECK whose validation takes that long."""
    db.app.execute("CREATE FUNCTION slow(bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN true; END $$")
    db.table(rows=int(seconds * 10))
    return "CHECK (slow(id))"


class Beside:
    """Statements of somebody else, again and again, until the with block ends."""

    def __init__(self, db, every, *statements, user="postgres"):
        self.db, self.every, self.statements, self.user = db, every, statements, user
        self.ended = threading.Event()
        self.ran = 0
        self.errors = []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with self.db.connect(self.user) as session:
            session.execute("SET statement_timeout = 0")
            while not self.ended.is_set():
                for statement in self.statements:
                    try:
                        session.execute(statement)
                        self.ran += 1
                    except psycopg.Error as error:
                        self.errors.append(error)
                self.ended.wait(self.every)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def wait_for_step(db, step, timeout=20):
    wait_until(lambda: step in db.throttled_by("job-1"), timeout, what=f"it is at {step}")


def cancelled(db, name):
    return db.job(name)["report"]["locked"]["cancelled_for_others"]


@pytest.fixture
def step_s(scale):
    """How long a step takes at least."""
    return 60 if scale >= 5 else 3


def test_a_validation_ends_at_its_first_try_beside_analyze_and_vacuum(db, step_s):
    """They wait for the whole of it, and nobody waits for them."""
    daemon = db.daemon()
    name = db.submit(enforce=[slow_check(db, step_s)])
    db.app.execute("CREATE TABLE elsewhere AS SELECT * FROM t")
    wait_for_step(db, "validate", 20 + step_s)  # guard looks for as long
    with Beside(db, 0.1, "ANALYZE t", "VACUUM t") as maintenance, Beside(db, 0.5, "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON elsewhere (id)", "DROP INDEX i") as others:
        db.finish(name, timeout=step_s + 30)
    assert not maintenance.errors and maintenance.ran > 0 and not others.errors
    assert cancelled(db, name) == 0 and "was cancelled" not in daemon.log()


def test_an_index_is_built_at_its_first_try_beside_vacuum_and_another_index_elsewhere(db, step_s):
    """CREATE INDEX CONCURRENTLY waits for every transaction that has a snapshot, the build's too."""
    daemon = db.daemon()
    db.table(rows=1000)
    db.app.execute("CREATE TABLE elsewhere AS SELECT * FROM t")
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM t LIMIT 1; UPDATE t SET n = 1 WHERE id = 1")  # which the build waits for
        name = db.submit(enforce=["UNIQUE (n, id)"])
        wait_for_step(db, "build index")
        with Beside(db, 0.1, "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON elsewhere (id)", "DROP INDEX i") as others, \
                Beside(db, 0.1, "VACUUM t") as maintenance:
            wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'VACUUM%%' AND wait_event_type = 'Lock'"),
                       what="VACUUM waits")
            let_pass(step_s - 2)
            holder.commit()
            db.finish(name)
    assert not others.errors and not maintenance.errors
    assert "was cancelled" not in daemon.log() and daemon.log().count("build index") == 1


def test_an_analyze_that_waits_for_a_build_never_ends_it(db, step_s):
    """It has a snapshot, for which the build waits at its end: the server calls that a deadlock, and would end the build."""
    db.table(rows=1000)
    daemon = db.daemon()
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("UPDATE t SET n = 1 WHERE id = 1")
        name = db.submit(enforce=["UNIQUE (n, id)"])
        wait_for_step(db, "build index")
        with Beside(db, 0.1, "ANALYZE t", user="app") as maintenance:
            wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE query = 'ANALYZE t' AND wait_event_type = 'Lock'"), what="ANALYZE waits")
            let_pass(step_s - 1.5)  # longer than deadlock_timeout: it looks for no deadlock any more
            holder.commit()
            db.finish(name)
    assert daemon.log().count("build index") == 1 and "deadlock" not in daemon.log()
    assert "an ANALYZE that waited for the index build, which waited for it" in daemon.log()
    assert {error.sqlstate for error in maintenance.errors} == {"57014"}


def test_a_validation_gives_way_to_an_alter_table(db, scale, step_s):
    """Behind it, everybody would wait."""
    daemon = db.daemon()
    name = db.submit(enforce=[slow_check(db, step_s + 5)])
    for i in range(scale):
        wait_for_step(db, "validate: check", 20 + step_s)
        began = time.monotonic()
        db.admin.execute(f"ALTER TABLE t ADD COLUMN m{i} int")
        assert time.monotonic() - began < 1
        if scale >= 5:
            let_pass(10)
    daemon.says("has waited")
    wait_for_step(db, "validate: check t_id_check; the last try: others waited on a step")  # what it does now, before what there was
    db.app.execute("CREATE OR REPLACE FUNCTION slow(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    db.finish(name, timeout=step_s + 30)
    assert cancelled(db, name) >= scale


def test_a_step_that_alone_makes_others_wait_for_too_long_says_so_and_is_tried_ever_more_seldom(db):
    """As ADD COLUMN does in a table of a thousand partitions: its lock is there at once, and held for longer than max_blocked_ms."""
    db.table(rows=1000)
    db.admin.execute("""CREATE TABLE pause AS SELECT 0.3 AS s; GRANT SELECT ON pause TO PUBLIC;
        CREATE FUNCTION long_step() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF current_setting('application_name') <> 'x' THEN PERFORM pg_sleep(s) FROM pause; END IF; END $$;
        CREATE EVENT TRIGGER long_step ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION long_step()""")
    daemon = db.daemon(throttle={"max_blocked_ms": 50})
    with Beside(db, 0.01, "UPDATE t SET n = n + 1 WHERE id = 7", user="app") as application:
        name = db.submit(add_column="b int", set_clause="b = n")
        wait_until(lambda: "each time that it was tried: raise that key" in (db.throttled_by(name) or ""), 30, "it says why it does not come on")
        db.admin.execute("UPDATE pause SET s = 0")
        db.finish(name)
    assert not application.errors and re.search(r"has waited \d+ ms on a step: it was cut short", daemon.log())


# ---- What is in a step's way

@pytest.fixture(scope="module")
def vacuuming():
    cluster = Cluster(autovacuum_naptime="1s")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def vacuuming_db(vacuuming):
    database = Database(vacuuming)
    try:
        yield database
    finally:
        database.destroy()


def wait_for_autovacuum(db):
    return wait_until(lambda: db.one("SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE '%%public.t%%'"),
                      what="autovacuum is at the table")


def test_a_plain_autovacuum_yields_to_a_step(vacuuming_db, measured):
    """The server cancels it for who waits longer than deadlock_timeout; it would have taken minutes."""
    db = vacuuming_db
    db.app.execute("""
        CREATE TABLE t (id bigint PRIMARY KEY, n int, filler text) WITH (autovacuum_enabled = off, autovacuum_vacuum_threshold = 1,
          autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_insert_threshold = 1);
        INSERT INTO t SELECT g, g, repeat('x', 300) FROM generate_series(1, 20000) g;
        ALTER TABLE t SET (autovacuum_enabled = on)""")
    pid = wait_for_autovacuum(db)
    db.daemon(throttle={"max_dead_ratio": 0})
    began = time.monotonic()
    with Beside(db, 0.02, "SELECT FROM t WHERE id = 1; UPDATE t SET n = 2 WHERE id = 1", user="app") as application:
        db.finish(db.submit(enforce=["NOT NULL n"]))
    measured("a step behind a plain autovacuum", f"done within {time.monotonic() - began:.1f} s")
    assert "canceling autovacuum task" in db.cluster.read_log() and application.ran > 20 and not application.errors
    assert pid


def test_who_reads_and_writes_does_not_wait_while_a_step_waits_aside(db):
    """Behind a person's VACUUM, which nobody cancels, for longer than deadlock_timeout."""
    db.table()
    daemon = db.daemon()
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE")
        name = db.submit(enforce=["CHECK (n >= 0)"])
        wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareUpdateExclusiveLock'"), what="it waits")
        waits = []
        for i in range(20):
            began = time.monotonic()
            db.app.execute("UPDATE t SET n = 2 WHERE id = 1")
            waits.append(time.monotonic() - began)
            let_pass(0.15)
        wait_until(lambda: f"pid {holder.info.backend_pid} holds ShareUpdateExclusiveLock" in db.throttled_by(name), what="it is named")
        holder.commit()
    db.finish(name)
    assert max(waits) < 0.2 and "was cancelled" not in daemon.log()


# ---- Indexes that others build

def held_build(db, holder, sql):
    """A session that builds an index and waits for the holder's transaction; its index is there, and not valid."""
    holder.execute("UPDATE t SET n = n WHERE id = 1")
    thread = threading.Thread(target=lambda: db.connect("postgres").execute(sql))
    thread.start()
    wait_until(lambda: db.all("SELECT FROM pg_index i JOIN pg_stat_progress_create_index p ON p.index_relid = i.indexrelid WHERE NOT i.indisvalid"),
               what="the index is being built")
    return thread


def test_an_index_that_a_lost_session_goes_on_building_is_waited_for_and_used(db):
    """As after the daemon was killed: its backend knows nothing of that."""
    db.table()
    with db.connect() as holder:
        holder.autocommit = False
        thread = held_build(db, holder, "CREATE UNIQUE INDEX CONCURRENTLY t_n_id_key ON t (n, id)")
        index = db.one("SELECT 't_n_id_key'::regclass::oid")
        daemon = db.daemon()
        # enforce refuses a name that is there: the job was inserted before the index came
        db.admin.execute("ALTER INDEX t_n_id_key RENAME TO other")
        name = db.submit(enforce=["UNIQUE (n, id)"], wanted="pause")
        db.admin.execute("ALTER INDEX other RENAME TO t_n_id_key")
        db.app.execute("SELECT backfill.resume(%s)", [name])
        wait_until(lambda: "waits for index public.t_n_id_key, which pid" in db.throttled_by(name), what="it waits for the build")
        let_pass(1.5)
        assert db.one("SELECT 't_n_id_key'::regclass::oid") == index
        holder.commit()
        thread.join()
    db.finish(name)
    assert db.one("SELECT conindid FROM pg_constraint WHERE conname = 't_n_id_key'") == index and "drop invalid index" not in daemon.log()


def test_an_index_that_is_valid_by_now_is_not_dropped(db):
    """The last look is the worker's, right before."""
    db.table()
    db.app.execute("CREATE UNIQUE INDEX good ON t (n, id)")
    oid = db.one("SELECT 'good'::regclass::oid")
    for name, invalid in (("public.good", True), ("public.other", False)):
        with pytest.raises(psycopg.Error) as refused:
            db.app.execute("SELECT backfill.check_index(%s, %s, %s)", [oid, name, invalid])
        assert refused.value.sqlstate == "BF001"
    db.app.execute("SELECT backfill.check_index(%s, 'public.good', false)", [oid])


# ---- Hours, and sessions that are given up

def test_a_build_whose_hours_end_goes_on_to_its_end(db):
    db.table()
    daemon = db.daemon()
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("UPDATE t SET n = n WHERE id = 1")
        name = db.submit(enforce=["UNIQUE (n, id)"])
        wait_for_step(db, "build index")
        index = wait_until(lambda: db.one("SELECT to_regclass('t_n_id_key')::oid"), what="it is begun")
        now = db.one("SELECT extract(hour FROM now() AT TIME ZONE 'UTC')::int")
        closed = f"{(now + 2) % 24:02d}:00-{(now + 3) % 24:02d}:00 UTC"
        db.app.execute("UPDATE backfill.job SET active_hours = %s WHERE name = %s", [closed, name])
        let_pass(1)
        assert db.state(name) == "running" and db.one("SELECT to_regclass('t_n_id_key')::oid") == index
        holder.commit()
    db.wait_state(name, "queued")
    assert db.one("SELECT indisvalid FROM pg_index WHERE indexrelid = %s", index)
    assert db.all("SELECT FROM pg_constraint WHERE conname = 't_n_id_key'") == [], "the next step waits for the hours"
    db.app.execute("UPDATE backfill.job SET active_hours = NULL WHERE name = %s", [name])
    db.finish(name)
    assert db.one("SELECT conindid FROM pg_constraint WHERE conname = 't_n_id_key'") == index and "drop invalid index" not in daemon.log()


def test_a_session_that_is_given_up_is_cancelled_on_the_server(db):
    """A clause has switched its own statement_timeout off."""
    db.table(rows=3000)
    db.app.execute("""CREATE FUNCTION hangs(bigint) RETURNS int LANGUAGE plpgsql AS $$
                        BEGIN PERFORM set_config('statement_timeout', '0', false), pg_sleep(CASE WHEN $1 = 3000 THEN 120 ELSE 0 END); RETURN 1; END $$""")
    db.daemon(statement_timeout_ms=500, max_rows=1000)
    db.submit(name="hang", set_clause="n = hangs(id)")
    db.wait_asleep()
    first = db.one("SELECT pid FROM pg_stat_activity WHERE application_name = 'backfilld hang' AND wait_event = 'PgSleep'")
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", first), 15, "its backend is gone")


# ---- No room

def test_what_a_build_without_room_has_left_goes_at_once_and_the_next_one_waits(db):
    """temp_file_limit stands for a full disk: the same class of errors."""
    db.table(rows=60000, columns="n int NOT NULL DEFAULT 0, filler text DEFAULT repeat('x', 100)")
    db.admin.execute("ALTER ROLE app SET temp_file_limit = '1MB'; ALTER ROLE app SET maintenance_work_mem = '1MB'")
    try:
        daemon = db.daemon()
        name = db.submit(enforce=["UNIQUE (filler, id)"])
        wait_until(lambda: "temporary file size exceeds temp_file_limit" in db.throttled_by(name), what="it says what it lacks")
        left = []
        for _ in range(100):  # pauses of one to two seconds, two to four, four to eight
            left.append(bool(db.all("SELECT FROM pg_index WHERE NOT indisvalid")) and not db.all("SELECT FROM pg_stat_progress_create_index"))
            let_pass(0.08)
        assert sum(left) < 20, "it takes room while the job waits for some"
        assert daemon.log().count("build index: unique") <= 4
    finally:
        db.admin.execute("ALTER ROLE app RESET temp_file_limit; ALTER ROLE app RESET maintenance_work_mem")
    db.finish(name, timeout=40)  # the next try is in a session that has what the login has now


def test_no_build_begins_on_a_disk_above_its_limit(db):
    db.table()
    db.daemon(throttle={"max_disk_used": 0.001})
    name = db.submit(enforce=["UNIQUE (n, id)"])
    wait_until(lambda: db.throttled_by(name).startswith("disk 0."), what="it says how full it is")
    let_pass(1)
    assert db.all("SELECT FROM pg_class WHERE relname = 't_n_id_key'") == [] and db.job(name)["phase"] == "validate"
    db.app.execute("UPDATE backfill.job SET throttle_off = '{disk}' WHERE name = %s", [name])
    db.finish(name)
