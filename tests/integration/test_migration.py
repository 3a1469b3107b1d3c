"""A column's whole migration as one job: expand, backfill, guard, verify, validate, finish."""

import concurrent.futures
import re
import threading
import time

import psycopg
import pytest
from database import ENDED
from waiting import wait_until

CENTS = {"add_column": "amount_cents bigint", "set_clause": "amount_cents = (amount * 100)::bigint"}
WRONG = "SELECT count(*) FROM orders WHERE amount_cents IS DISTINCT FROM (amount * 100)::bigint"


def orders(db, rows=1000):
    db.app.execute("CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(12,2) NOT NULL, note text)")
    db.app.execute(f"INSERT INTO orders SELECT i, i * 1.37 FROM generate_series(1, {rows}) AS i")


def submit(db, **columns):
    return db.submit(**{"target": "orders", **columns})


def ours(db, table="orders"):
    """What of backfilld's is in or beside the table: its triggers count as one, with the functions that belong to them."""
    return db.one("""SELECT (SELECT least(count(*), 1) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE '%%backfilld%%')
                          + (SELECT least(count(*), 1) FROM pg_proc WHERE proname LIKE '%%backfilld%%')
                          + (SELECT count(*) FROM pg_constraint WHERE conrelid = %s::regclass AND NOT convalidated)
                          + (SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND NOT indisvalid)""", table, table, table)


def constraints(db, table="orders"):
    return dict(db.all("SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass"
                       " AND contype IN ('c', 'f', 'u')", table))


def is_not_null(db, column, table="orders"):
    return db.one("SELECT attnotnull FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s", table, column)


def newer(db):
    """Whether NOT NULL is a constraint there."""
    return db.admin.info.server_version >= 180000


class Writers:
    """An application that writes through the old column all the while."""

    def __init__(self, db, rows, *, user="app", new="INSERT INTO orders (id, amount) VALUES (%s, %s)", threads=2):
        self.db, self.stop, self.rows, self.problems, self.written = db, threading.Event(), rows, [], 0
        self.threads = [threading.Thread(target=self.run, args=(n, threads, new, user)) for n in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, n, threads, new, user):
        try:
            with self.db.connect(user, application_name="writer") as session:
                key = self.rows + 1 + n
                while not self.stop.is_set():
                    session.execute(new, [key, key * 0.01])
                    session.execute("UPDATE orders SET amount = amount + 1 WHERE id = %s", [1 + key * 7919 % self.rows])
                    session.execute("DELETE FROM orders WHERE id = %s", [1 + key * 104729 % self.rows]) if key % 7 == 0 else None
                    key += threads
                    self.written += 1
                    self.stop.wait(0.002)
        except psycopg.Error as error:
            self.problems.append(str(error))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)


class Waits:
    """The longest wait for a lock that another session's statement had on one of the daemon's."""

    def __init__(self, db):
        self.longest_ms, self.looks, self.stop = 0.0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, args=(db,))
        self.thread.start()

    def run(self, db):
        with db.connect("postgres") as session:
            while not self.stop.is_set():
                waited = session.execute("""
                    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart) * 1000), 0)
                      FROM pg_locks l JOIN pg_stat_activity w ON w.pid = l.pid AND w.application_name = 'writer'
                     WHERE NOT l.granted
                       AND EXISTS (SELECT FROM pg_stat_activity h WHERE h.pid = ANY (pg_blocking_pids(l.pid))
                                                                    AND h.application_name LIKE 'backfilld%'
                                                                    AND h.usename = 'app')""").fetchone()[0]
                self.longest_ms = max(self.longest_ms, float(waited))
                self.looks += 1
                self.stop.wait(0.003)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(30)


# ---- The whole of it

def test_one_insert_takes_a_column_from_nothing_to_not_null_under_writes(db, scale, measured):
    rows = 5_000_000 if scale > 1 else 60_000
    orders(db, rows)
    db.daemon()
    with Writers(db, rows) as writers, Waits(db) as waits:
        wait_until(lambda: writers.written > 20, what="the application writes")
        name = submit(db, **CENTS, keep_in_sync=True, enforce=["NOT NULL amount_cents"])
        job = db.finish(name, timeout=900)
        after = writers.written
        wait_until(lambda: writers.written > after + 20, what="the application goes on")
    assert not writers.problems
    assert is_not_null(db, "amount_cents") and constraints(db) == {}
    with db.connect() as locked:
        locked.autocommit = False
        locked.execute("LOCK TABLE orders")
        assert locked.execute(WRONG).fetchone()[0] == 0
    measured("migration under writes", f"{rows} rows, {writers.written} transactions of the application meanwhile, "
             f"{job['report']['seconds']} s; the longest wait on a lock of the job's {waits.longest_ms:.0f} ms in {waits.looks} looks")
    assert waits.longest_ms <= 100
    db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: ours(db) == 0, what="the trigger is gone")
    assert db.state(name) == "succeeded" and is_not_null(db, "amount_cents")


PHASES = ["preflight", "expand", "backfill", "guard", "verify", "validate"]


def kill_through(db, daemon, name, rng, times, strike):
    """Strikes at a random moment of some of a job's phases, each in its turn, at most that many times. Returns those phases."""
    struck = []

    def reached(wanted):
        state, phase = db.all("SELECT state, phase FROM backfill.job WHERE name = %s", name)[0]
        return (state, phase) if state in ENDED or PHASES.index(phase) >= PHASES.index(wanted) else None

    for wanted in sorted(rng.choices(PHASES, k=4), key=PHASES.index)[:times]:
        state, phase = wait_until(lambda: reached(wanted), 60, f"the job comes to {wanted}", every=0.001)
        if state not in ENDED and phase == wanted:
            time.sleep(rng.uniform(0, 0.03))  # a moment of chance, not a wait for something
            strike(daemon)
            struck.append(phase)
    return struck


EVERYTHING = {**CENTS, "keep_in_sync": True,
              "enforce": ["NOT NULL amount_cents", "CHECK (amount_cents > 0)", "UNIQUE (amount_cents, id)"]}


def test_killed_daemon_ends_a_migration_the_same(db, rng, scale, measured):
    """Over and over, until it was killed so many times in all phases."""
    orders(db, 20000)
    daemon = db.daemon(target_ms=5)
    wanted, phases = 20 * scale, []

    def strike(daemon):
        daemon.kill()
        daemon.start()

    while len(phases) < wanted:
        name = submit(db, **EVERYTHING)
        phases += kill_through(db, daemon, name, rng, wanted - len(phases), strike)
        db.finish(name, timeout=60)
        assert db.one(WRONG) == 0 and is_not_null(db, "amount_cents")
        assert set(constraints(db)) == {"orders_amount_cents_check", "orders_amount_cents_id_key"}
        db.app.execute("SELECT backfill.finish(%s)", [name])
        wait_until(lambda: ours(db) == 0, what="nothing of the job is left")
        db.app.execute("ALTER TABLE orders DROP COLUMN amount_cents")
    measured("killed in a migration", f"{len(phases)} times: " + ", ".join(f"{phase} {phases.count(phase)}" for phase in PHASES))


def test_crashed_server_ends_a_migration_the_same(own_db, rng, scale, measured):
    db = own_db
    orders(db, 20000)
    daemon = db.daemon(target_ms=5)
    phases = []

    def strike(_):
        for session in db.sessions.values():
            session.close()
        db.cluster.stop("immediate")
        db.cluster.start()

    while len(phases) < 2 * scale:
        name = submit(db, **EVERYTHING)
        phases += kill_through(db, daemon, name, rng, 2 * scale - len(phases), strike)
        db.finish(name, timeout=60)
        assert db.one(WRONG) == 0 and is_not_null(db, "amount_cents")
        assert set(constraints(db)) == {"orders_amount_cents_check", "orders_amount_cents_id_key"}
        db.app.execute("SELECT backfill.finish(%s)", [name])
        wait_until(lambda: ours(db) == 0, what="nothing of the job is left")
        db.app.execute("ALTER TABLE orders DROP COLUMN amount_cents")
    measured("the server crashed in a migration", f"{len(phases)} times, in {', '.join(phases)}")


def test_step_that_is_done_outlives_a_crash_of_the_server(own_db):
    """The daemon goes on from it, and is not told that the server has forgotten it."""
    db = own_db
    orders(db)
    db.admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    db.admin.execute("SELECT pg_reload_conf()")
    db.daemon()
    trigger = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass"
    submit(db, **CENTS, keep_in_sync=True)
    wait_until(lambda: db.one(trigger) > 0, what="the trigger is there", every=0.0005)
    db.cluster.stop("immediate")
    for session in db.sessions.values():
        session.close()
    db.cluster.start()
    assert db.one(trigger) == 3
    db.admin.execute("ALTER SYSTEM RESET wal_writer_delay")
    db.finish("job-1")
    assert db.one(WRONG) == 0


def test_partitioned_table(db):
    db.app.execute("""
        CREATE TABLE orders (id bigint, region int, amount numeric NOT NULL, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
        CREATE TABLE orders_1 PARTITION OF orders FOR VALUES IN (1);
        CREATE TABLE orders_2 (amount numeric NOT NULL, id bigint, region int NOT NULL, PRIMARY KEY (region, id));
        ALTER TABLE orders ATTACH PARTITION orders_2 FOR VALUES IN (2);
        INSERT INTO orders (id, region, amount) SELECT i, 1 + i % 2, i * 1.5 FROM generate_series(1, 2000) AS i""")
    db.daemon()
    name = submit(db, **CENTS, keep_in_sync=True, enforce=["NOT NULL amount_cents", "CHECK (amount_cents > 0)"])
    db.finish(name)
    db.app.execute("INSERT INTO orders (id, region, amount) VALUES (5000, 1, 7), (5001, 2, 8)")
    assert db.one(WRONG) == 0 and is_not_null(db, "amount_cents") and is_not_null(db, "amount_cents", "orders_2")
    db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: ours(db) == 0, what="the trigger is gone")


def test_a_column_that_is_there_is_filled_all_the_same(db):
    orders(db)
    db.app.execute("ALTER TABLE orders ADD COLUMN amount_cents bigint")
    db.daemon()
    db.finish(submit(db, **CENTS, enforce=["NOT NULL amount_cents"], keep_in_sync=True))
    assert db.one(WRONG) == 0 and is_not_null(db, "amount_cents")


# ---- Expand

def test_add_column_never_queues_for_long_and_says_who_is_in_the_way(db):
    orders(db)
    db.daemon()
    with db.connect("postgres", application_name="report") as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM orders")
        name = submit(db, **CENTS)
        wait_until(lambda: "report" in db.throttled_by(name), what="status names the session in the way")
        assert "waits for a lock on public.orders: pid" in db.throttled_by(name)
        with Waits(db) as waits, db.connect("app", application_name="writer") as writer:
            for _ in range(200):
                writer.execute("SELECT FROM orders WHERE id = 1")
        assert waits.longest_ms <= 100
        reader.commit()
    db.finish(name)
    assert db.one(WRONG) == 0


# ---- Keep in sync

def in_sync(db, table, set_clause, where_clause=None, **columns):
    """Starts a job that keeps rows in step, and returns when its trigger is there and the job has ended."""
    db.daemon()
    return db.finish(db.submit(target=table, set_clause=set_clause, where_clause=where_clause, keep_in_sync=True, **columns))


def test_several_assignments_of_any_expression_are_kept_in_step(db):
    db.app.execute("""
        CREATE TABLE t (id bigint PRIMARY KEY, a text, "Mixed" text, b text, c int[], d text, e int);
        INSERT INTO t (id, a) SELECT i, 'a,b=''' || i FROM generate_series(1, 100) AS i""")
    in_sync(db, "t", """b = a || ',=''(' /* , = */, "Mixed" = upper(t.a), c[2] = length(a),
                        (d, e) = (SELECT max(x), count(*) FROM regexp_split_to_table(t.a, ',') AS x)""", "b IS NULL")
    check = """SELECT count(*) FROM t WHERE (b, "Mixed", c[2], d, e) IS DISTINCT FROM
                 (a || ',=''(', upper(a), length(a), (SELECT max(x) FROM regexp_split_to_table(t.a, ',') AS x),
                  (SELECT count(*) FROM regexp_split_to_table(t.a, ',') AS x)::int)"""
    assert db.one(check) == 0
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 'x,y'); UPDATE t SET a = 'other,one' WHERE id < 50")
    assert db.one(check) == 0


def test_only_rows_that_the_where_clause_means_are_kept_in_step(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, country text, a int, b int);"
                   "INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'DE' ELSE 'FR' END, i FROM generate_series(1, 100) AS i")
    in_sync(db, "t", "b = a * 2", "country = 'DE' AND b IS NULL")
    db.app.execute("INSERT INTO t VALUES (101, 'FR', 1), (102, 'DE', 5); UPDATE t SET a = a + 1 WHERE id IN (1, 2)")
    assert db.all("SELECT id, b FROM t WHERE id IN (1, 2, 101, 102) ORDER BY id") == [(1, None), (2, 6), (101, None), (102, 10)]


def test_a_clause_that_reads_what_it_writes_is_kept_in_step(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, email text); INSERT INTO t SELECT i, 'A' || i FROM generate_series(1, 100) i")
    in_sync(db, "t", "email = lower(email)", "email <> lower(email)", enforce=["CHECK (email = lower(email))"])
    db.app.execute("INSERT INTO t VALUES (200, 'ABC'); UPDATE t SET email = 'X' WHERE id = 1")
    assert db.all("SELECT email FROM t WHERE id IN (1, 200) ORDER BY id") == [("x",), ("abc",)]


def test_a_row_that_cannot_be_computed_is_written_all_the_same(db):
    """The application must not fail because of a migration."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, b int); INSERT INTO t SELECT i, i::text FROM generate_series(1, 100) i")
    in_sync(db, "t", "b = a::int", "b IS NULL")
    db.app.execute("INSERT INTO t VALUES (200, 'no number'); UPDATE t SET a = 'none' WHERE id = 1")
    assert db.all("SELECT a, b FROM t WHERE id IN (1, 200) ORDER BY id") == [("none", None), ("no number", None)]


def test_whoever_writes_needs_no_rights_to_what_the_clause_reads(db):
    db.app.execute("""CREATE TABLE rate (currency text PRIMARY KEY, rate int); INSERT INTO rate VALUES ('EUR', 3);
                      CREATE TABLE t (id bigint PRIMARY KEY, currency text, a int);
                      INSERT INTO t SELECT i, 'EUR' FROM generate_series(1, 100) AS i; GRANT INSERT, SELECT ON t TO other""")
    in_sync(db, "t", "a = (SELECT r.rate FROM rate r WHERE r.currency = t.currency)", "a IS NULL")
    db.session("other").execute("INSERT INTO t VALUES (500, 'EUR')")
    assert db.one("SELECT a FROM t WHERE id = 500") == 3


def test_other_triggers_have_their_say_first(db):
    orders(db)
    db.app.execute("""CREATE FUNCTION round_amount() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.amount := round(NEW.amount); RETURN NEW; END $$;
                      CREATE TRIGGER z_round BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION round_amount()""")
    db.daemon()
    db.finish(submit(db, **CENTS, keep_in_sync=True))
    db.app.execute("INSERT INTO orders VALUES (5000, 1.6)")
    assert db.one("SELECT amount_cents FROM orders WHERE id = 5000") == 200


def test_trigger_stays_until_its_owner_finishes_the_job(db):
    orders(db)
    daemon = db.daemon()
    name = submit(db, **CENTS, keep_in_sync=True)
    db.finish(name)
    assert ours(db) == 2
    daemon.terminate()
    daemon.start()
    with pytest.raises(psycopg.Error, match="no job"):
        db.session("other").execute("SELECT backfill.finish(%s)", [name])
    db.app.execute("SELECT backfill.finish(%s)", [name])
    assert db.one("SELECT backfill.is_done(%s)", name)
    wait_until(lambda: ours(db) == 0, what="the trigger is gone")
    wait_until(lambda: not db.job(name)["tidy"], what="the job is tidied up")
    assert db.state(name) == "succeeded" and db.one("SELECT backfill.is_done(%s)", name)


@pytest.mark.parametrize("when", ["running", "paused"])
def test_cancel_leaves_nothing_behind(db, when):
    orders(db)
    db.daemon()
    with db.held_row(500, "orders"):
        name = submit(db, **CENTS, keep_in_sync=True, enforce=["NOT NULL amount_cents"])
        db.wait_at(500, name)
        assert ours(db) == 2
        if when == "paused":
            db.app.execute("SELECT backfill.pause(%s)", [name])
            db.wait_state(name, "paused")
        db.app.execute("SELECT backfill.cancel(%s)", [name])
        db.wait_state(name, "cancelled")
    wait_until(lambda: ours(db) == 0, what="nothing is left")
    assert db.state(name) == "cancelled"


def test_failed_job_offers_to_remove_its_trigger(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text); INSERT INTO t SELECT i, i::text FROM generate_series(1, 100) i; UPDATE t SET a = 'x' WHERE id = 50")
    db.daemon()
    name = db.submit(target="t", add_column="b int", set_clause="b = a::int", keep_in_sync=True)
    job = db.finish(name, "failed")
    assert "50" in job["error"] and ours(db, "t") == 2 and "finish" in job["hint"]
    db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: ours(db, "t") == 0, what="the trigger is gone")
    assert db.state(name) == "failed"


def test_drain_waits_for_what_must_be_tidied_up(db):
    orders(db)
    name = submit(db, **CENTS, keep_in_sync=True)
    assert db.drain().returncode == 0
    db.app.execute("SELECT backfill.finish(%s)", [name])
    assert db.drain().returncode == 0 and ours(db) == 0


# ---- Guard and verify

def test_guard_waits_until_the_application_writes_the_column(db):
    orders(db)
    db.daemon()
    with Writers(db, 1000, threads=1) as writers:
        name = submit(db, **CENTS, enforce=["NOT NULL amount_cents"])
        wait_until(lambda: "rows without amount_cents still come in" in db.throttled_by(name), 40, "the job waits in guard")
        assert db.job(name)["phase"] == "guard" and "in the last minute" in db.throttled_by(name)
        assert constraints(db) == {} and db.state(name) == "running"
        before = writers.written
        wait_until(lambda: writers.written > before + 50, what="nobody minds")
    assert not writers.problems
    db.finish(name, timeout=60)
    assert is_not_null(db, "amount_cents") and db.one("SELECT count(*) FROM orders WHERE amount_cents IS NULL") == 0


def test_verify_finds_and_does_what_was_undone_meanwhile(db):
    orders(db)
    db.app.execute("ALTER TABLE orders ADD COLUMN amount_cents bigint")
    db.daemon()
    with db.held_row(900, "orders"):
        name = submit(db, **CENTS)
        db.wait_at(900, name)
        with db.connect("app") as past:
            past.execute("UPDATE orders SET amount_cents = NULL WHERE id BETWEEN 100 AND 120")
    job = db.finish(name)
    assert db.one(WRONG) == 0 and job["report"]["verified"]["found"] == 21


def test_where_clause_that_stays_true_is_refused_before_anything_is_changed(db):
    orders(db)
    db.daemon()
    name = submit(db, set_clause="note = 'x'", where_clause="amount > 0", enforce=["NOT NULL note"])
    job = db.finish(name, "failed")
    assert job["error"].startswith("where_clause: of ") and "still meet it" in job["error"] and job["hint"] and job["phase"] == "preflight"
    assert db.one("SELECT count(*) FROM orders WHERE note IS NOT NULL") == 0


# ---- Validate

def test_enforce_alone_needs_no_fill(db):
    orders(db)
    db.app.execute("CREATE TABLE customer (id bigint PRIMARY KEY); INSERT INTO customer SELECT generate_series(1, 1000); UPDATE orders SET note = 'x'")
    db.daemon()
    db.finish(submit(db, enforce=["NOT NULL note", "CHECK (amount > 0)", "FOREIGN KEY (id) REFERENCES customer ON DELETE CASCADE", "UNIQUE (amount)",
                                  "CONSTRAINT short CHECK (length(note) < 10)"]))
    assert is_not_null(db, "note")
    assert constraints(db) == {
        "orders_amount_check": "CHECK ((amount > (0)::numeric))", "orders_id_fkey": "FOREIGN KEY (id) REFERENCES customer(id) ON DELETE CASCADE",
        "orders_amount_key": "UNIQUE (amount)", "short": "CHECK ((length(note) < 10))"}
    db.finish(submit(db, enforce=["NOT NULL note", "CHECK (amount > 0)", "UNIQUE (amount)"]))  # again: nothing to do
    assert len(constraints(db)) == 4


def test_rows_that_break_a_constraint_fail_the_job_and_retry_goes_on(db):
    orders(db)
    db.daemon()
    name = submit(db, enforce=["CHECK (amount > 5)"])
    job = db.finish(name, "failed")
    assert "orders_amount_check" in job["error"] and "retry" in job["hint"] and job["phase"] == "guard"
    db.app.execute("INSERT INTO orders VALUES (5000, 1)")  # nothing of it binds the application
    assert constraints(db) == {}
    db.app.execute("DELETE FROM orders WHERE amount <= 5; SELECT backfill.retry(%s)" % f"'{name}'")
    db.finish(name)
    assert ours(db) == 0 and constraints(db) == {"orders_amount_check": "CHECK ((amount > (5)::numeric))"}


def test_duplicates_are_reported_with_an_example_to_their_owner_alone(db):
    orders(db)
    db.app.execute("INSERT INTO orders SELECT i + 5000, 1.37 FROM generate_series(1, 3) i")
    daemon = db.daemon()
    name = submit(db, enforce=["UNIQUE (amount)"])
    job = db.finish(name, "failed")
    assert "orders_amount_key" in job["error"] and "left_behind" in job["hint"]
    assert db.all("SELECT reason, detail FROM backfill.left_behind", user="app") == [("duplicate", "Key (amount)=(1.37) is duplicated.")]
    assert "1.37" not in daemon.log() and db.all("SELECT * FROM backfill.left_behind", user="watcher") == []
    db.app.execute("DELETE FROM orders WHERE id > 5000")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert ours(db) == 0 and constraints(db) == {"orders_amount_key": "UNIQUE (amount)"} and db.all("SELECT * FROM backfill.left_behind") == []


def validate_note(db):
    """A job that makes note NOT NULL; returns what the daemon and the server said of it."""
    orders(db, 20000)
    daemon = db.daemon(log="debug")
    db.app.execute("UPDATE orders SET note = 'x'")
    db.admin.execute("ALTER ROLE app SET log_min_messages = debug1")
    try:
        begin = len(db.cluster.read_log())
        db.finish(submit(db, enforce=["NOT NULL note"]))
    finally:
        db.admin.execute("ALTER ROLE app RESET log_min_messages")
    assert is_not_null(db, "note") and ours(db) == 0 and constraints(db) == {}
    return daemon.log(), db.cluster.read_log()[begin:]


def test_not_null_takes_no_second_scan(db):
    """SET NOT NULL holds everybody off while it reads: it must not read, but rest on the validated CHECK."""
    if newer(db):
        pytest.skip("PostgreSQL 18 validates NOT NULL itself")
    said, log = validate_note(db)
    assert 'existing constraints on column "orders.note" are sufficient to prove that it does not contain nulls' in log
    assert "set not null" in said


# PostgreSQL 18 has NOT NULL as a constraint, which is added NOT VALID and validated as others are.

@pytest.fixture
def newer_db(db):
    if not newer(db):
        pytest.skip("it is PostgreSQL 18 that has NOT NULL … NOT VALID")
    return db


def not_nulls(db):
    """Each column's NOT NULL: its name, and whether it is validated."""
    return {column: (name, validated) for column, name, validated in db.all("""
        SELECT a.attname::text, k.conname::text, k.convalidated
          FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
         WHERE k.conrelid = 'orders'::regclass AND k.contype = 'n'""")}


def test_not_null_is_validated_as_what_it_is(newer_db):
    """No SET NOT NULL, which would read under a lock that holds everybody off."""
    said, log = validate_note(newer_db)
    assert "set not null" not in said and log.count('verifying table "orders"') == 1
    assert not_nulls(newer_db)["note"] == ("orders_note_not_null", True)


def test_not_null_that_is_there_by_another_name_is_validated(newer_db):
    db = newer_db
    orders(db)
    db.app.execute("UPDATE orders SET note = 'x'; ALTER TABLE orders ADD CONSTRAINT mine NOT NULL note NOT VALID")
    db.daemon()
    db.finish(submit(db, enforce=["NOT NULL note"]))
    assert not_nulls(db)["note"] == ("mine", True)


def test_not_null_that_others_have_added_outlives_a_cancel(newer_db):
    db = newer_db
    orders(db)
    db.app.execute("ALTER TABLE orders ADD CONSTRAINT mine NOT NULL note NOT VALID")
    db.daemon()
    with db.connect("postgres", application_name="report") as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM orders")
        name = submit(db, enforce=["NOT NULL note", "CHECK (amount > 0)"])
        wait_until(lambda: "report" in db.throttled_by(name), what="the job waits in guard")
        db.app.execute("SELECT backfill.cancel(%s)", [name])
        db.wait_state(name, "cancelled")
    wait_until(lambda: not db.job(name)["tidy"], what="the job is tidied up")
    assert not_nulls(db)["note"] == ("mine", False) and constraints(db) == {} and db.job(name)["error"] is None


def test_column_that_may_yet_be_null_is_no_key(newer_db):
    """Its rows without a value would never be reached."""
    db = newer_db
    db.app.execute("CREATE TABLE t (k int UNIQUE, n int); INSERT INTO t VALUES (1), (NULL); ALTER TABLE t ADD NOT NULL k NOT VALID")
    with pytest.raises(psycopg.Error, match="key"):
        db.submit(set_clause="n = 1")
    db.app.execute("DELETE FROM t WHERE k IS NULL; ALTER TABLE t VALIDATE CONSTRAINT t_k_not_null")
    db.daemon()
    db.finish(db.submit(set_clause="n = 1"))


@pytest.mark.parametrize("item", ["CHECK (amount > 0) NOT ENFORCED", "UNIQUE (amount, during WITHOUT OVERLAPS)"])
def test_constraint_that_cannot_come_in_steps_is_refused(newer_db, item):
    db = newer_db
    orders(db)
    db.admin.execute("CREATE EXTENSION btree_gist")
    db.app.execute("ALTER TABLE orders ADD COLUMN during tstzrange")
    with pytest.raises(psycopg.Error, match="enforce: .* can't be added first and validated later"):
        submit(db, enforce=[item])


# ---- Dry run and preflight

def test_dry_run_changes_nothing_and_tells_what_would_be(db):
    orders(db)
    db.app.execute("""CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
                      CREATE TRIGGER audit AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION noop();
                      ALTER TABLE orders REPLICA IDENTITY FULL""")
    db.admin.execute("CREATE PUBLICATION p FOR TABLE orders")
    db.admin.execute("ANALYZE orders")
    daemon = db.daemon()
    before = db.one("SELECT backfill.definition_of('orders'::regclass)")
    job = db.finish(submit(db, **CENTS, dry_run=True, keep_in_sync=True, enforce=["NOT NULL amount_cents"]))
    found = job["report"]["preflight"]
    assert found["rows"] >= 900 and found["ms_a_row"] > 0 and found["wal_bytes_a_row"] > 0 and found["seconds_to"] >= found["seconds_from"]
    assert found["triggers"] == ["audit"] and found["publications"] == ["p"] and found["replica_identity_full"] and found["disk_free_bytes"] > 0
    assert "orders_pkey" in found["plan"]
    assert db.one("SELECT backfill.definition_of('orders'::regclass)") == before and ours(db) == 0
    daemon.says("REPLICA IDENTITY FULL")


def test_report_has_the_definition_as_a_diff(db):
    orders(db)
    db.daemon()
    job = db.finish(submit(db, **CENTS, keep_in_sync=True, enforce=["CHECK (amount_cents > 0)", "NOT NULL amount_cents"]))
    diff = job["report"]["definition"]
    assert [line for line in diff if "TRIGGER" not in line] == [
        "+ column amount_cents bigint NOT NULL", "+ constraint orders_amount_cents_check CHECK ((amount_cents > 0))"]


# ---- What is refused, with what to do

REFUSED = [
    ("add_column", "goes with set_clause", {"add_column": "m int", "statement": "UPDATE orders SET note = 'x' WHERE {batch}"}),
    ("add_column", "more than a type", {**CENTS, "add_column": "amount_cents bigint NOT NULL"}),
    ("add_column", "more than a type", {**CENTS, "add_column": "amount_cents bigint DEFAULT 0"}),
    ("add_column", "not one column", {**CENTS, "add_column": "amount_cents bigint, b int"}),
    ("add_column", "syntax error", {**CENTS, "add_column": "amount_cents bigint; DROP TABLE orders"}),
    ("add_column", 'type "bigin" does not exist', {**CENTS, "add_column": "amount_cents bigin"}),
    ("add_column", "already, of type text", {**CENTS, "add_column": "note bigint", "set_clause": "note = 1"}),
    ("set_clause", "amount_cents is of type bigint but expression is of type text", {**CENTS, "set_clause": "amount_cents = note"}),
    ("set_clause", 'syntax error at or near "SET"', {"set_clause": "SET note = 'x'"}),
    ("where_clause", 'syntax error at or near "WHERE"', {"set_clause": "note = 'x'", "where_clause": "WHERE note IS NULL"}),
    ("set_clause", 'column "amount_cent"', {**CENTS, "set_clause": "amount_cent = 1"}),
    ("keep_in_sync", "goes with set_clause", {"statement": "UPDATE orders SET note = 'x' WHERE {batch}", "keep_in_sync": True}),
    ("keep_in_sync", "reads the row as a whole", {"set_clause": "note = orders::text", "where_clause": "note IS NULL", "keep_in_sync": True}),
    ("enforce", "nothing tells when", {"set_clause": "note = 'x'", "enforce": ["NOT NULL note"]}),
    ("enforce", "no constraint", {"enforce": ["PRIMARY KEY (id)"]}),
    ("enforce", "has no column", {"enforce": ["NOT NULL nix"]}),
    ("enforce", 'column "nix" does not exist', {"enforce": ["CHECK (nix > 1)"]}),
    ("enforce", "syntax error", {"enforce": ["CHECK (amount > 1), ADD CHECK (id > 2)"]}),
    ("enforce", "syntax error", {"enforce": ["CHECK (amount > 1); DROP TABLE orders"]}),
    ("enforce", "references no table", {"enforce": ["FOREIGN KEY (id) REFERENCES nix"]}),
    ("enforce", "holds nothing", {"enforce": []}),
    ("enforce", "constraint orders_pkey of public.orders is another", {"enforce": ["CONSTRAINT orders_pkey NOT NULL note"]}),
    ("enforce", "constraint orders_pkey of public.orders is another", {"enforce": ["CONSTRAINT orders_pkey CHECK (amount > 0)"]}),
    ("drop_column", "has no column", {"drop_column": "nix"}),
    ("drop_column", "beside other work", {"drop_column": "note", "set_clause": "note = 'x'"}),
    ("ignore", "nothing called 'view'", {"drop_column": "note", "ignore": ["view"]}),
    ("ignore", "goes with drop_column", {"set_clause": "note = 'x'", "ignore": ["views"]}),
    ("dry_run", "goes with set_clause", {"enforce": ["NOT NULL note"], "dry_run": True}),
    ("where_clause", "goes with set_clause", {"enforce": ["NOT NULL note"], "where_clause": "note IS NULL"}),
]


@pytest.mark.parametrize("column, message, columns", REFUSED, ids=[f"{n}-{case[0]}" for n, case in enumerate(REFUSED)])
def test_what_cannot_be_is_refused_with_a_hint(db, column, message, columns):
    orders(db, 10)
    with pytest.raises(psycopg.Error) as refused:
        submit(db, **columns)
    diag = refused.value.diag
    assert diag.message_primary.startswith(f"{column}: ") and message in diag.message_primary
    assert diag.message_hint and diag.column_name == column
    assert db.one("SELECT count(*) FROM backfill.job") == 0 and db.one("SELECT count(*) FROM orders") == 10


@pytest.mark.parametrize("columns", [CENTS, {"set_clause": "note = 'x'", "keep_in_sync": True}, {"enforce": ["NOT NULL note"]}, {"drop_column": "note"}])
def test_who_does_not_own_the_table_may_not_change_it(db, columns):
    orders(db, 10)
    db.app.execute("GRANT ALL ON orders TO other")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only the owner"):
        db.submit(user="other", target="orders", **columns)


def test_generated_column_cannot_be_read_in_step(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED, b int)")
    with pytest.raises(psycopg.Error, match="reads the generated column g"):
        db.submit(target="t", set_clause="b = g + 1", keep_in_sync=True)


# ---- Contract

def test_drop_column_lists_what_still_uses_it(db):
    orders(db)
    db.app.execute("""
        CREATE VIEW v AS SELECT id, note FROM orders;
        CREATE MATERIALIZED VIEW m AS SELECT note FROM orders;
        CREATE INDEX by_note ON orders (note);
        CREATE INDEX by_part ON orders (id) WHERE note IS NULL;
        ALTER TABLE orders ADD CONSTRAINT note_check CHECK (note <> '');
        ALTER TABLE orders ADD COLUMN upper_note text GENERATED ALWAYS AS (upper(note)) STORED;
        CREATE POLICY p ON orders USING (note IS NOT NULL);
        CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT count(note) FROM orders';
        CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'x'; RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE UPDATE OF note ON orders FOR EACH ROW EXECUTE FUNCTION g();
        CREATE FUNCTION h(orders) RETURNS text LANGUAGE sql AS 'SELECT $1.note';
        CREATE FUNCTION k() RETURNS SETOF orders LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN r.note := 'x'; END $$;
        CREATE FUNCTION other(orders) RETURNS int LANGUAGE sql AS 'SELECT $1.id::int';
        CREATE TABLE history (id int, rows orders[]); CREATE DOMAIN one AS orders; CREATE TABLE history_too (it one)""")
    db.admin.execute("CREATE PUBLICATION p FOR TABLE orders (id, note)")
    db.daemon()
    name = submit(db, drop_column="note")
    job = db.finish(name, "failed")
    for thing in ("view public.v", "materialized view public.m", "index public.by_note", "index public.by_part", "constraint note_check",
                  "column upper_note", "policy p", "function public.f()", "function public.g()", "trigger t", "publication p",
                  "function public.h(public.orders)", "function public.k()", "column rows of public.history", "column it of public.history_too"):
        assert thing in job["error"], (thing, job["error"])
    assert "public.other" not in job["error"]
    assert "retry" in job["hint"] and "ignore" in job["hint"]
    db.admin.execute("DROP PUBLICATION p")
    db.app.execute("DROP VIEW v; DROP MATERIALIZED VIEW m; DROP INDEX by_note, by_part; ALTER TABLE orders DROP CONSTRAINT note_check, DROP COLUMN upper_note;"
                   "DROP POLICY p ON orders; DROP FUNCTION f(); DROP TRIGGER t ON orders; DROP FUNCTION g(), h, k; DROP TABLE history, history_too; DROP DOMAIN one")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note' AND NOT attisdropped") == 0


def test_what_ignore_names_is_passed_over_and_said(db):
    orders(db)
    db.app.execute("CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(note) FROM orders); END $$")
    daemon = db.daemon()
    db.finish(submit(db, drop_column="note", ignore=["functions"]))
    daemon.says("passed over: functions: function public.f()")


def test_finish_and_drop_column_may_come_together(db):
    """As the contract change of a migration has them: the trigger that reads the column goes first."""
    orders(db)
    daemon = db.daemon()
    name = submit(db, **CENTS, keep_in_sync=True)
    db.finish(name)
    daemon.terminate()
    with db.app.transaction():
        db.app.execute("SELECT backfill.finish(%s)", [name])
        drop = submit(db, drop_column="amount")
    with db.connect("postgres", application_name="report") as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM orders")
        daemon.start()
        daemon.says("report")  # holds up what is to be tidied
        assert db.state(drop) == "queued"
        reader.commit()
    db.finish(drop)
    assert ours(db) == 0 and db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'amount'") == 0


def test_drop_column_waits_its_turn(db):
    orders(db)
    db.daemon()
    with db.connect("postgres", application_name="report") as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM orders")
        name = submit(db, drop_column="note")
        wait_until(lambda: "report" in db.throttled_by(name), what="status names the session in the way")
        reader.commit()
    db.finish(name)


# ---- Statements before and after

@pytest.fixture(scope="module")
def counting_cluster():
    from cluster import Cluster
    from database import prepare
    cluster = Cluster(shared_preload_libraries="pg_stat_statements")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def counting_db(counting_cluster):
    from database import Database
    database = Database(counting_cluster)
    try:
        database.admin.execute("CREATE EXTENSION pg_stat_statements")
        yield database
    finally:
        database.destroy()


def test_statements_are_compared_before_during_and_after(counting_db):
    db = counting_db
    orders(db, 30000)
    look = "SELECT sum(amount) FROM orders WHERE id < $1"
    for _ in range(20):
        db.app.execute("SELECT sum(amount) FROM orders WHERE id < 3")
    daemon = db.daemon()
    with db.held_row(500, "orders"):
        name = submit(db, **CENTS, keep_in_sync=True)
        db.wait_at(500, name)
        for _ in range(20):  # the same statement, and much more for it to do
            db.app.execute("SELECT sum(amount) FROM orders WHERE id < 3000000")
    job = db.finish(name)
    assert [line for line in job["report"]["slower"] if line.startswith(look)]
    daemon.says("slower: " + look)
    db.app.execute("SELECT sum(amount) FROM orders WHERE id < 3")
    rows = {row[0]: row[1:] for row in db.all("SELECT * FROM backfill.effect(%s)", name, user="app")}
    assert (rows[look][0], rows[look][2], rows[look][4]) == (20, 20, 1)
    assert not [query for query in rows if "backfilld" in query]


def test_statements_that_name_the_column_stand_in_the_way_of_its_drop(counting_db):
    db = counting_db
    orders(db)
    db.app.execute("SELECT note FROM orders WHERE id = 5")
    db.daemon()
    name = submit(db, drop_column="note")
    assert "SELECT note FROM orders WHERE id = $1" in db.finish(name, "failed")["error"]
    db.admin.execute("SELECT pg_stat_statements_reset()")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)


def test_statements_of_the_daemon_itself_stand_in_nobodys_way(counting_db):
    """Where the server counts what functions run, too."""
    db = counting_db
    db.admin.execute(f"ALTER DATABASE {db.name} SET pg_stat_statements.track = 'all'")
    for session in db.sessions.values():
        session.close()
    db.app.execute("CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE p (id int, k e, m int, PRIMARY KEY (id, k)) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (3000); INSERT INTO p SELECT g, 'a' FROM generate_series(1, 2000) g")
    db.daemon()
    db.finish(db.submit(target="p", set_clause="m = 1", where_clause="m IS NULL", scan="key"))
    assert db.one("SELECT count(*) FROM pg_stat_statements WHERE query LIKE '/* backfilld, %'") > 0
    db.finish(db.submit(target="p", drop_column="m"))


def test_statements_are_looked_for_whatever_strings_mean_to_the_sessions(counting_db):
    db = counting_db
    db.admin.execute(f"ALTER DATABASE {db.name} SET standard_conforming_strings = off")
    orders(db)
    db.app.execute("SELECT note FROM orders WHERE id = 5")
    db.daemon()
    with db.connect() as session:
        name = db.submit(session=session, target="orders", drop_column="note")
    assert "SELECT note FROM orders WHERE id = $1" in db.finish(name, "failed")["error"]


def test_long_statements_of_anybody_stop_no_job(counting_db):
    """Only their beginnings are looked at; the control session's statements have ten seconds."""
    db = counting_db
    orders(db, 100)
    for i in range(4):
        db.app.execute(f"SELECT 1 AS c{i} /* {'a ' * 5_000_000} orders */")
    db.app.execute("SELECT sum(amount) FROM orders")
    db.admin.execute("SET statement_timeout = '1s'")
    found = db.one("SELECT backfill.statements_on('orders'::regclass, 'app')")
    assert [s["query"] for s in found.values() if "sum" in s["query"]] == ["SELECT sum(amount) FROM orders"]


def test_another_view_in_the_place_of_the_counters_is_not_asked(counting_db):
    """Its functions would run with the daemon's rights. Any owner of a database may rename the schema, here between the beginning of a statement and its end."""
    db = counting_db
    orders(db, 10)
    db.admin.execute("""CREATE SCHEMA mine; CREATE TABLE mine.loot (who text); GRANT USAGE ON SCHEMA mine TO public; GRANT INSERT ON mine.loot TO public;
                        CREATE FUNCTION mine.f() RETURNS oid LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mine.loot VALUES (current_user); RETURN 0; END $$;
                        CREATE SCHEMA fake; GRANT USAGE ON SCHEMA fake TO public;
                        CREATE VIEW fake.pg_stat_statements AS SELECT mine.f() AS userid, (SELECT oid FROM pg_database WHERE datname = current_database()) AS dbid, 'orders'::text AS query,
                          1::bigint AS queryid, 1::bigint AS calls, 1.0::float8 AS total_exec_time, 1::bigint AS rows;
                        GRANT SELECT ON fake.pg_stat_statements TO public""")
    target = db.one("SELECT 'orders'::regclass::oid")
    for asked in (f"backfill.statements_on({target}, 'app')", "(SELECT count(*) FROM backfill.statements_that_name('note', 'app'))"):
        with db.connect("backfilld") as daemon, concurrent.futures.ThreadPoolExecutor() as pool:
            asking = pool.submit(daemon.execute, f"SELECT {asked} FROM (SELECT pg_sleep(1) OFFSET 0) AS s")
            wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), what="it has begun")
            db.admin.execute("BEGIN; ALTER SCHEMA public RENAME TO aside; ALTER SCHEMA fake RENAME TO public; COMMIT")
            asking.result()
            db.admin.execute("BEGIN; ALTER SCHEMA public RENAME TO fake; ALTER SCHEMA aside RENAME TO public; COMMIT")
    assert db.all("SELECT * FROM mine.loot") == []


def test_functions_of_strangers_hold_up_no_drop_of_a_column(db):
    """The control session looks through them, on which all wait; what it had no time for is told."""
    orders(db, 10)
    db.admin.execute("ALTER TABLE orders ADD COLUMN amountx int; GRANT CREATE ON SCHEMA public TO stranger")
    db.session("stranger").execute("""DO $$ BEGIN FOR i IN 1 .. 6000 LOOP
      EXECUTE format('CREATE FUNCTION b%s() RETURNS void LANGUAGE plpgsql AS %L', i, 'BEGIN /* ' || repeat('xamountxy ', 9900) || ' */ END'); END LOOP; END $$""")
    db.daemon()
    job = db.finish(submit(db, drop_column="amountx"), "failed")
    assert re.search(r"functions: perhaps, as they are too many, or too long, to be looked through: \d+ others of the database", job["error"]), job["error"]
    db.finish(submit(db, drop_column="amountx", ignore=["functions"]))


# ---- Whose rights, and whose things

LOOKUP = {"target": "t", "set_clause": "a = (SELECT r.rate FROM rate r WHERE r.currency = t.currency)", "where_clause": "a IS NULL",
          "keep_in_sync": True}


def lookup_table(db):
    db.app.execute("""CREATE TABLE rate (currency text PRIMARY KEY, rate int); INSERT INTO rate VALUES ('EUR', 3);
                      CREATE TABLE t (id bigint PRIMARY KEY, currency text, a int);
                      INSERT INTO t SELECT i, 'EUR' FROM generate_series(1, 100) AS i""")


def test_nobody_else_can_use_a_trigger_that_has_its_owners_rights(db):
    lookup_table(db)
    db.daemon()
    name = db.submit(**LOOKUP)
    db.finish(name)
    function = db.one("SELECT proname::text FROM pg_proc WHERE prorettype = 'trigger'::regtype AND proname LIKE 'backfilld_sync%'")
    mine = f"CREATE TEMP TABLE mine (LIKE t); CREATE TRIGGER x BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION public.{function}()"
    db.app.execute("GRANT SELECT ON t TO stranger")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.session("stranger").execute(mine)
    db.app.execute(f"GRANT EXECUTE ON FUNCTION {function}() TO stranger")  # as default privileges may
    db.session("stranger").execute(mine)
    # It computes for rows of its own table alone.
    assert db.session("stranger").execute("INSERT INTO mine VALUES (1, 'EUR') RETURNING a").fetchone() == (None,)


def test_another_jobs_batch_does_not_pass_by_a_trigger(db):
    orders(db)
    db.daemon()
    db.finish(submit(db, **CENTS, keep_in_sync=True))
    db.finish(submit(db, set_clause="amount = amount + 1"))
    assert db.one(WRONG) == 0


@pytest.mark.parametrize("there, item, message", [
    ("ALTER TABLE orders ADD CONSTRAINT x CHECK (amount > 0)", "CONSTRAINT x CHECK (id > 0)", "is another"),
    ("ALTER TABLE orders ADD CONSTRAINT x CHECK (amount > 0)", "CONSTRAINT x NOT NULL note", "is another"),
    ("CREATE UNIQUE INDEX x ON orders (id, amount)", "CONSTRAINT x UNIQUE (amount)", "an index or a table"),
])
def test_name_that_something_else_has_is_refused(db, there, item, message):
    orders(db)
    db.app.execute(there)
    with pytest.raises(psycopg.Error, match=message):
        submit(db, enforce=[item])


def test_constraint_made_meanwhile_under_its_name_fails_the_job(db):
    orders(db)
    db.daemon()
    with db.held_row(500, "orders"):
        name = submit(db, set_clause="note = 'x'", where_clause="note IS NULL", keep_in_sync=True, enforce=["CONSTRAINT x CHECK (note = 'x')"])
        db.wait_at(500, name)
        db.app.execute("ALTER TABLE orders ADD CONSTRAINT x CHECK (amount > 0) NOT VALID")
    assert "is not what enforce says" in db.finish(name, "failed")["error"]


def test_a_constraint_is_known_again_whatever_the_settings_of_who_asked_for_it(db):
    """The server writes the constants in it by a session's settings."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz, span interval, f float8, d date); INSERT INTO t VALUES (1, now(), '1 day', 1, '2020-01-31')")
    db.daemon()
    with db.connect("app") as session:
        session.execute("SET TimeZone = 'Europe/Berlin'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = -5; SET quote_all_identifiers = on")
        items = ["CHECK (at > '2000-01-01')", "CHECK (span < '5 days 03:00')", "CHECK (f <> 0.1::float8 + 0.2::float8)", "CHECK (d > '31.12.1999')"]
        name = db.submit(session=session, enforce=items, set_clause="f = 2", where_clause="f = 1", keep_in_sync=True)
    db.finish(name)
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c' AND convalidated") == 4
    with db.connect("app") as session:
        session.execute("SET TimeZone = 'Europe/Berlin'")
        db.finish(db.submit(session=session, enforce=items[:1]))
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c'") == 4, "it is known as the same"


def test_cancel_leaves_a_constraint_that_was_there_before(db):
    orders(db)
    db.app.execute("ALTER TABLE orders ADD CONSTRAINT orders_amount_check CHECK (amount > 0) NOT VALID")
    db.daemon()
    with db.held_row(500, "orders"):
        name = submit(db, **CENTS, keep_in_sync=True, enforce=["CHECK (amount > 0)"])
        db.wait_at(500, name)
        db.app.execute("SELECT backfill.cancel(%s)", [name])
        db.wait_state(name, "cancelled")
    wait_until(lambda: not db.job(name)["tidy"], what="it is tidied up")
    assert list(constraints(db)) == ["orders_amount_check"] and ours(db) == 1  # which is not validated


def test_finish_of_a_failed_job_takes_its_constraint_out(db):
    orders(db)
    db.daemon()
    name = submit(db, enforce=["CHECK (amount > 5)"])
    with db.connect("app") as past:  # as one that somebody puts there between the look and the constraint
        db.finish(name, "failed")
        assert constraints(db) == {}, "none was added"
        past.execute("DELETE FROM orders WHERE amount <= 5")
    db.app.execute("SELECT backfill.finish(%s)", [name])
    db.wait_state(name, "failed")


def test_unique_index_is_built_beside_transactions_that_come_and_go(db):
    """It waits for those that were there before it, however long: nobody waits for it meanwhile. The constraint's lock is had when
    others may wait for it as long as they take themselves."""
    orders(db)
    db.daemon(throttle={"max_blocked_ms": 200})
    stop = threading.Event()

    def look():
        with db.connect("app") as session:
            session.autocommit = False
            while not stop.is_set():
                session.execute("SELECT FROM orders WHERE id = 5")
                stop.wait(0.15)
                session.commit()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        db.finish(submit(db, enforce=["UNIQUE (amount)"]), timeout=20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert constraints(db) == {"orders_amount_key": "UNIQUE (amount)"}


def test_a_lock_is_waited_for_longer_each_time_up_to_what_others_may_wait(db):
    """Here by a transaction that goes only when it has been waited for 30 ms."""
    orders(db)
    db.daemon(throttle={"max_blocked_ms": 100})
    waits = """SELECT clock_timestamp() - waitstart > '30 ms' FROM pg_locks
                WHERE relation = 'orders'::regclass AND NOT granted AND mode = 'AccessExclusiveLock'"""
    with db.connect("app") as session:
        session.autocommit = False
        session.execute("SELECT FROM orders")
        name = submit(db, enforce=["CHECK (amount > 0)"])
        wait_until(lambda: any(row[0] for row in db.all(waits)), what="it is waited for as long")
        session.commit()
    db.finish(name)


def test_unique_of_odd_names_and_further_columns(db):
    db.app.execute('CREATE TABLE t (id bigint PRIMARY KEY, "a(b)" int, c int); INSERT INTO t SELECT i, i, i FROM generate_series(1, 100) i')
    db.daemon()
    db.finish(db.submit(target="t", enforce=['UNIQUE NULLS NOT DISTINCT ("a(b)") INCLUDE (c)']))
    assert list(constraints(db, "t").values()) == ['UNIQUE NULLS NOT DISTINCT ("a(b)") INCLUDE (c)']


def test_names_that_are_long_in_bytes(db):
    table, column = "таблица_заказов_клиентов", "сумма_заказа_в_копейках"
    db.app.execute(f'CREATE TABLE "{table}" (id bigint PRIMARY KEY, amount int); INSERT INTO "{table}" SELECT i, i FROM generate_series(1, 100) i')
    db.daemon()
    db.finish(db.submit(target=f'"{table}"', add_column=f'"{column}" int', set_clause=f'"{column}" = amount', keep_in_sync=True,
                        enforce=[f'NOT NULL "{column}"', f'CHECK ("{column}" > 0)']))
    assert is_not_null(db, column, f'"{table}"')


def test_drop_column_names_what_partitions_have_from_their_table_once(db):
    db.app.execute("""CREATE TABLE p (id bigint, a int CHECK (a >= 0), PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE INDEX on_a ON p (a);
        CREATE TABLE p1 (spare int, a int CHECK (a >= 0), id bigint NOT NULL); ALTER TABLE p1 DROP spare; ALTER TABLE p1 RENAME CONSTRAINT p1_a_check TO p_a_check; ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (9);
        CREATE TABLE p2 PARTITION OF p DEFAULT; CREATE INDEX own ON p1 (id, a)""")
    db.daemon()
    job = db.finish(db.submit(target="p", drop_column="a"), "failed")
    assert job["error"].split("still used by ")[1] == "constraints: constraint p_a_check on public.p; indexes: index public.on_a; indexes: index public.own"


def test_drop_column_looks_at_partitions_and_odd_names(db):
    db.app.execute("""CREATE TABLE pt (id int, k int, "amt%" int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
                      CREATE TABLE pt1 PARTITION OF pt FOR VALUES IN (1);
                      CREATE UNIQUE INDEX pt1_u ON pt1 ("amt%"); ALTER TABLE pt1 ADD CONSTRAINT small CHECK ("amt%" < 9);
                      CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT sum("amt%") FROM pt); END $$""")
    db.daemon()
    error = db.finish(db.submit(target="pt", drop_column="amt%"), "failed")["error"]
    assert "index public.pt1_u" in error and "constraint small on public.pt1" in error and "function public.f()" in error


def test_missing_rights_are_told_at_insert(db):
    db.admin.execute("CREATE SCHEMA closed; CREATE TABLE closed.ref (id bigint PRIMARY KEY); GRANT USAGE ON SCHEMA closed TO app; GRANT SELECT ON closed.ref TO app")
    orders(db)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may not reference closed.ref"):
        submit(db, enforce=["FOREIGN KEY (id) REFERENCES closed.ref"])
    db.admin.execute("ALTER TABLE orders SET SCHEMA closed")
    for columns in ({**CENTS, "keep_in_sync": True}, {"enforce": ["UNIQUE (amount)"]}):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may not create"):
            db.submit(target="closed.orders", **columns)


def test_step_of_a_job_that_was_cancelled_meanwhile_is_undone(db):
    """Of a daemon that was frozen, say: its statement comes late."""
    orders(db)
    name = submit(db, **CENTS, keep_in_sync=True, wanted="pause")
    db.app.execute("SELECT backfill.cancel(%s)", [name])
    db.as_worker("app", name)
    with pytest.raises(psycopg.Error, match="not in phase expand any more") as refused:
        db.app.execute("SELECT backfill.run_step(%s, %s, %s, %s)", ["expand", ["ALTER TABLE public.orders ADD COLUMN late int"], db.one("SELECT 'orders'::regclass::oid::bigint"), "public.orders"])
    assert refused.value.sqlstate == "BF001"
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'late'") == 0


def test_statements_of_other_roles_are_not_shown(counting_db):
    db = counting_db
    orders(db)
    db.admin.execute("CREATE SCHEMA hr; CREATE TABLE hr.orders (id int, note text); SELECT /* ticket 4711 */ note FROM hr.orders")
    db.app.execute("SELECT count(*) FROM orders")
    db.daemon()
    name = submit(db, set_clause="amount = amount + 1")
    db.finish(name)
    seen = db.all("SELECT before::text || after::text || report::text FROM backfill.job", user="app")[0][0]
    assert "4711" not in seen and "SELECT count(*) FROM orders" in seen
    error = db.finish(submit(db, drop_column="note"), "failed")["error"]
    assert "a statement of another role" in error and "4711" not in error


def test_the_daemon_needs_no_right_to_the_schema_of_a_table(db):
    db.admin.execute("CREATE SCHEMA closed AUTHORIZATION app")
    db.app.execute("""CREATE TABLE closed.customer (id int PRIMARY KEY); INSERT INTO closed.customer SELECT generate_series(1, 9);
                      CREATE TABLE closed.t (id bigint PRIMARY KEY, a int); INSERT INTO closed.t SELECT g, g FROM generate_series(1, 300) g; UPDATE closed.t SET a = 1 WHERE id = 300""")
    db.daemon()
    name = db.submit(target="closed.t", add_column="b int", set_clause="b = a", keep_in_sync=True, enforce=["NOT NULL b", "UNIQUE (b)"])
    assert "unique index" in db.finish(name, "failed")["error"]
    wait_until(lambda: db.one("SELECT count(*) FROM pg_index WHERE indrelid = 'closed.t'::regclass AND NOT indisvalid") == 0, what="the index that can't be finished is gone")
    db.app.execute("UPDATE closed.t SET a = 300 WHERE id = 300")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    db.finish(db.submit(target="closed.t", add_column="c int", set_clause="c = 1 + id % 9", keep_in_sync=True, enforce=["FOREIGN KEY (c) REFERENCES closed.customer (id)"]))
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'closed.t'::regclass AND attname = 'b'") == 0, what="undone")


def test_the_functions_of_another_tables_job_are_no_use_of_a_column(db):
    """Tenants: the same table, column and job in a schema of each."""
    for schema in ("ten1", "ten2"):
        db.admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION app")
        db.app.execute(f"CREATE TABLE {schema}.orders (id int PRIMARY KEY, amount int, note text); INSERT INTO {schema}.orders VALUES (1, 2, 'x')")
    db.daemon()
    for schema in ("ten1", "ten2"):
        db.finish(db.submit(name=schema, target=f"{schema}.orders", set_clause="cents = amount /* not note */ * 100", add_column="cents int", keep_in_sync=True, sync_back="amount = cents / 100"))
    db.app.execute("SELECT backfill.undo('ten1')")
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'ten1.orders'::regclass AND attname = 'cents'"), what="it is undone")
    db.finish(db.submit(target="ten1.orders", drop_column="note"))
    error = db.finish(db.submit(target="ten2.orders", drop_column="amount"), "failed")["error"]
    assert "job ten2, whose trigger keeps rows in step" in error and "function" not in error


def test_what_uses_a_column_is_asked_once_for_all_partitions(db):
    """Each function's text, and each statement's, was searched for the column's name once a partition, by the session that claims all jobs."""
    db.app.execute("CREATE TABLE p (id bigint PRIMARY KEY, old_name int) PARTITION BY RANGE (id)")
    db.app.execute("DO $$ BEGIN FOR i IN 1..200 LOOP EXECUTE format('CREATE TABLE p%s PARTITION OF p FOR VALUES FROM (%s) TO (%s)', i, i, i + 1); END LOOP; END $$")
    db.app.execute("""DO $$ BEGIN FOR i IN 1..2000 LOOP
                        EXECUTE format('CREATE FUNCTION f%s() RETURNS int LANGUAGE sql AS %L', i, 'SELECT 1 /* ' || repeat('some text that is long ', 200) || ' */'); END LOOP; END $$""")
    db.app.execute("CREATE FUNCTION reads_it() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT max(old_name) FROM p7); END $$")
    name = db.submit(target="p", drop_column="old_name", wanted="pause")
    with db.connect("backfilld") as daemon:
        daemon.execute("SET statement_timeout = '4s'")
        assert daemon.execute("SELECT u.* FROM backfill.job j, backfill.uses_of(j) u WHERE j.name = %s", [name]).fetchall() == [("functions", "function public.reads_it()")]


def test_drop_column_names_jobs_whose_triggers_look_at_it_as_a_key(db):
    """They name it nowhere in their clauses."""
    db.table(rows=100)
    db.app.execute("ALTER TABLE t ADD id2 bigint; UPDATE t SET id2 = id; CREATE UNIQUE INDEX ON t (id2); ALTER TABLE t ALTER id2 SET NOT NULL")
    db.daemon()
    name = db.submit(add_column="m int", set_clause="m = n", keep_in_sync=True, key=["id"])
    db.finish(name)
    db.app.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    drop = db.submit(drop_column="id")
    assert f"is still used by jobs: job {name}, whose trigger keeps rows in step: SELECT backfill.finish('{name}')" in db.finish(drop, "failed")["error"]
    db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: not db.one("SELECT tidy FROM backfill.job WHERE name = %s", name), what="its trigger is gone")
    db.app.execute("SELECT backfill.retry(%s)", [drop])
    db.finish(drop)


def test_name_of_a_unique_constraint_that_is_taken_meanwhile_is_named(db):
    db.table(rows=1000)
    db.daemon(max_rows=50)
    with db.held_row(500):
        name = db.submit(add_column="m bigint", set_clause="m = id", enforce=["CONSTRAINT t_m_key UNIQUE (m)"])  # one that the job has chosen it chooses anew
        db.wait_at(500, name)
        db.app.execute("CREATE TABLE t_m_key ()")
    job = db.finish(name, "failed")
    assert "the name t_m_key that the constraint was to have is another relation's by now" in job["error"] and "Rename that relation" in job["hint"]
    db.app.execute("ALTER TABLE t_m_key RENAME TO else_where")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conname = 't_m_key'") == 1


def test_job_that_has_succeeded_stays_so(db):
    """A migration that is run again would take it for cancelled."""
    db.table(rows=10)
    db.daemon()
    name = db.submit(set_clause="n = 1", where_clause="n = 0")
    db.finish(name)
    notices = []
    with db.connect("app") as session:
        session.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        session.execute("SELECT backfill.cancel(%s)", [name])
        session.execute("UPDATE backfill.job SET wanted = 'cancel'")
    assert set(notices) == {f'job "{name}" has succeeded, and has nothing more to do'}
    assert db.state(name) == "succeeded" and db.one("SELECT backfill.is_done(%s)", name)
