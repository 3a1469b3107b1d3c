"""Rows that others hold: passed over, done later, each once."""

import time

import psycopg
import pytest

from waiting import let_pass, wait_until


def test_a_row_held_for_the_jobs_whole_length_is_done_soon_after_its_release(db, measured):
    db.table()
    daemon = db.daemon()
    with db.locked_rows("id = 500") as holder:
        pid = holder.info.backend_pid
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: db.counts() == {0: 1, 1: 999}, what="the rest is done")
        wait_until(lambda: db.one("SELECT throttled_by FROM backfill.status") == f"1 row is locked by pid {pid} (holder)",
                   what="it says why it waits")
        assert db.all("SELECT state, left_behind, rows FROM backfill.status") == [("running", 1, 999)]
        assert db.all("SELECT relation::text, key, reason, message FROM backfill.left_behind") == [
            ("t", ["500"], "locked", f"locked by pid {pid}")]
        let_pass(0.5)
        assert db.state(name) == "running"
        holder.commit()
        released = time.monotonic()
        job = db.finish(name)
    measured("a held row's job ends after its release", f"{(time.monotonic() - released) * 1000:.0f} ms")
    assert time.monotonic() - released < 3
    assert db.counts() == {1: 1000} and job["report"]["left_behind"] == 0 and job["hint"] is None
    assert job["report"]["rows"] == job["report"]["keys"] == 1000
    assert job["report"]["locked"] == {"batches": 1, "rows": 1, "done_later": 1, "cancelled_for_others": 0}
    daemon.says(f"1 row is locked by pid {pid} (holder): put aside, tried again later")


KINDS = {
    "composite": ("""CREATE TABLE t (a text, b int, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b));
                     INSERT INTO t SELECT 'x, "' || g % 3, g FROM generate_series(1, 300) g""",
                  {"set_clause": "n = n + 1"}, "b IN (7, 150, 151)", {1: 300}),
    "quoted": ("""CREATE TABLE "T" ("the Key" bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);
                  INSERT INTO "T" SELECT generate_series(1, 300);
                  CREATE VIEW t AS SELECT "the Key" AS b, n FROM "T" """,
               {"target": '"T"', "set_clause": "n = n + 1"}, "b IN (7, 150, 151)", {1: 300}),
    "uuid": ("""CREATE TABLE t (id uuid PRIMARY KEY, b int, n int NOT NULL DEFAULT 0);
                INSERT INTO t SELECT gen_random_uuid(), g FROM generate_series(1, 300) g""",
             {"set_clause": "n = n + 1"}, "b IN (7, 150, 151)", {1: 300}),
    "where": ("""CREATE TABLE t (b bigint PRIMARY KEY, n int DEFAULT 0);
                 INSERT INTO t SELECT g, nullif(g % 2, 1) FROM generate_series(1, 300) g""",
              {"set_clause": "n = 1", "where_clause": "n IS NULL -- half of them"}, "b IN (7, 8, 151)", {0: 150, 1: 150}),
    "update": ("""CREATE TABLE t (b bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);
                  INSERT INTO t SELECT generate_series(1, 300)""",
               {"statement": "UPDATE t AS o SET n = o.n + 1 WHERE {batch o}"}, "b IN (7, 150, 151)", {1: 300}),
    "delete": ("""CREATE TABLE t (b bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);
                  INSERT INTO t SELECT g, g % 2 FROM generate_series(1, 300) g""",
               {"statement": "DELETE FROM t WHERE {batch} AND n = 0"}, "b IN (8, 150, 152)", {1: 150}),
    "moved": ("""CREATE TABLE t (b bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);
                 CREATE TABLE away (b bigint PRIMARY KEY, n int);
                 INSERT INTO t SELECT g, g % 2 FROM generate_series(1, 300) g""",
              {"statement": "WITH gone AS (DELETE FROM t WHERE {batch} AND n = 0 RETURNING *)"
                            " INSERT INTO away SELECT * FROM gone"}, "b IN (8, 150, 152)", {1: 150}),
    "leaves": ("""CREATE TABLE t (b bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (b);
                  CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (150);
                  CREATE TABLE t2 (n int NOT NULL DEFAULT 0, b bigint NOT NULL);
                  ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (150) TO (2000);
                  INSERT INTO t SELECT generate_series(1, 300)""",
               {"set_clause": "n = n + 1"}, "b IN (7, 150, 151)", {1: 300}),
    "parent": ("""CREATE TABLE t (b bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (b);
                  CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (150);
                  CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (150) TO (2000);
                  INSERT INTO t SELECT generate_series(1, 300)""",
               {"statement": "UPDATE t SET n = n + 1 WHERE {batch}"}, "b IN (7, 150, 151)", {1: 300}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_locked_rows_are_passed_over_and_done_later_in_every_kind_of_job(db, kind):
    tables, columns, locked, counts = KINDS[kind]
    n_locked = 2 if kind == "where" else 3
    db.app.execute(tables)
    db.daemon()
    with db.locked_rows(locked):
        name = db.submit(**columns)
        wait_until(lambda: db.one("SELECT left_behind FROM backfill.status") == n_locked and "locked" in db.throttled_by(name), what="all but those are done")
    job = db.finish(name)
    assert db.counts() == counts and db.left_behind() == []
    assert job["report"]["locked"]["rows"] == job["report"]["locked"]["done_later"] == n_locked
    assert job["report"]["rows"] == (150 if kind in ("where", "delete", "moved") else 300)
    if kind == "moved":
        assert db.counts("away") == {0: 150}


def test_a_lock_that_is_not_on_the_targets_rows_holds_up_no_others(db):
    """INSERT ... SELECT takes none there: those few whose statement meets it are put aside."""
    db.table(rows=300)
    db.app.execute("CREATE TABLE copy (id bigint PRIMARY KEY)")
    db.daemon()
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("INSERT INTO copy VALUES (150)")
        name = db.submit(statement="INSERT INTO copy SELECT id FROM t WHERE {batch}")
        wait_until(lambda: f"locked by pid {holder.info.backend_pid}" in db.throttled_by(name), what="it says what it waits for")
        wait_until(lambda: db.one("SELECT count(*) FROM copy") > 270, what="the others are done")
        assert 0 < len(db.left_behind()) < 30
        holder.rollback()
    db.finish(name)
    assert db.one("SELECT count(*) FROM copy") == 300


def test_a_row_that_a_foreign_key_only_holds_is_not_passed_over(db):
    """FOR KEY SHARE does not stand in the way of an UPDATE that leaves the key alone."""
    db.table()
    db.daemon()
    with db.locked_rows("id = 500", mode="FOR KEY SHARE"):
        job = db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 1000} and job["report"]["locked"]["rows"] == 0


def test_a_row_whose_unique_column_is_filled_is_passed_over_when_a_foreign_key_holds_it(db):
    """Such an UPDATE waits for who only keeps the row's key."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, v int, f int UNIQUE); INSERT INTO t SELECT i, i FROM generate_series(1, 3000) i; CREATE TABLE child (x int REFERENCES t (id))")
    db.daemon()
    with db.connect("app") as session:
        session.execute("BEGIN; INSERT INTO child VALUES (50)")
        name = db.submit(set_clause="f = v", where_clause="f IS NULL")
        wait_until(lambda: f"locked by pid {session.info.backend_pid}" in db.throttled_by(name), what="its holder is named")
        assert db.one("SELECT count(f) FROM t") == 2999
        session.execute("ROLLBACK")
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE f = id") == 3000


def test_a_row_that_several_hold_is_named_after_all_of_them(db):
    """They share it, so that its xmax is a multixact's."""
    db.table()
    daemon = db.daemon()
    with db.locked_rows("id = 500", mode="FOR SHARE", name="one") as a, \
            db.locked_rows("id = 500", mode="FOR SHARE", name="two") as b:
        name = db.submit(set_clause="n = n + 1")
        pids = sorted((session.info.backend_pid, session.info.parameter_status("application_name")) for session in (a, b))
        daemon.says("1 row is locked by " + ", ".join(f"pid {pid} ({who})" for pid, who in pids))
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_keys_are_passed_over_by_value_not_by_text(db):
    """1.0 and 1.00 are one key; a holder may have written it anew when it lets the row go."""
    db.app.execute("CREATE TABLE t (a numeric, b text, PRIMARY KEY (a, b));"
                   "INSERT INTO t VALUES (1.0, 'x'), (2, 'x'), (2, 'y'); CREATE TABLE one (a numeric PRIMARY KEY)")
    both = db.one("SELECT backfill.skip_condition('t.', k) FROM backfill.key_of('t'::regclass) k")
    one = db.one("SELECT backfill.skip_condition('', k) FROM backfill.key_of('one'::regclass) k")

    def left(condition, keys):
        return db.all(f"SELECT a::text, b FROM t WHERE {condition.replace('$3', '%s')} ORDER BY a, b", keys, keys)

    assert left(both, ["{1.00,x}", "{2,y}"]) == [("2", "x")]
    assert left(one, ["{1.000}"]) == [("2", "x"), ("2", "y")]
    assert len(left(both, None)) == 3


def locked_and_bad(db, **columns):
    """Row 500 is locked while the job passes, and its holder makes it one that can't be computed."""
    db.table(columns="n int NOT NULL DEFAULT 0, d int NOT NULL DEFAULT 1")
    db.daemon()
    with db.locked_rows("id IN (500, 600)") as holder:
        holder.execute("UPDATE t SET d = 0 WHERE id = 500")
        name = db.submit(set_clause="n = n + 1 / d", **columns)
        wait_until(lambda: db.left_behind() == [(["500"],), (["600"],)], what="both are put aside")
    return name


def test_a_locked_row_that_cannot_be_computed_is_quarantined(db):
    name = locked_and_bad(db, on_error="quarantine")
    job = db.finish(name)
    assert db.counts() == {0: 1, 1: 999} and job["report"]["left_behind"] == 1 and "retry" in job["hint"]
    assert db.all("SELECT key, reason, sqlstate, message FROM backfill.left_behind") == [
        (["500"], "error", "22012", "division by zero")]
    db.app.execute("UPDATE t SET d = 1")
    assert db.one("SELECT backfill.retry(%s)", name, user="app") == 1
    job = db.finish(name)
    assert db.counts() == {1: 1000} and job["report"]["rows"] == 1000


def test_a_locked_row_that_cannot_be_computed_fails_the_job_which_can_be_retried(db):
    name = locked_and_bad(db)
    job = db.finish(name, "failed")
    assert job["error"] == "row id = 500: division by zero" and "quarantine" in job["hint"]
    db.app.execute("UPDATE t SET d = 1")
    left = len(db.left_behind())
    assert left >= 1 and db.one("SELECT backfill.retry(%s)", name, user="app") == left
    job = db.finish(name)
    assert db.counts() == {1: 1000} and job["report"]["keys"] == job["report"]["rows"] == 1000


def test_a_quarantined_row_that_is_locked_when_it_is_retried_holds_up_no_other(db):
    db.table(columns="n int NOT NULL DEFAULT 0, d int NOT NULL DEFAULT 1")
    db.app.execute("UPDATE t SET d = 0 WHERE id IN (100, 200, 300)")
    db.daemon()
    name = db.submit(set_clause="n = n + 1 / d", on_error="quarantine")
    db.finish(name)
    db.app.execute("UPDATE t SET d = 1")
    with db.locked_rows("id = 100"):
        db.app.execute("SELECT backfill.retry(%s)", [name])
        wait_until(lambda: db.counts() == {0: 1, 1: 999}, what="the others are done")
        wait_until(lambda: db.left_behind() == [(["100"],)], what="it is put aside")
    db.finish(name)
    assert db.counts() == {1: 1000} and db.one("SELECT count(*) FROM backfill.left_behind") == 0


def test_a_locked_row_that_its_holder_deletes_is_left_behind_no_longer(db):
    db.table()
    db.daemon()
    with db.locked_rows("id = 500") as holder:
        name = db.submit(set_clause="n = n + 1")
        wait_until(db.left_behind, what="it is put aside")
        holder.execute("DELETE FROM t WHERE id = 500")
    job = db.finish(name)
    assert db.counts() == {1: 999} and job["report"]["left_behind"] == 0


def test_rows_left_behind_in_a_partition_that_is_dropped_hold_nothing_up(db):
    db.app.execute(KINDS["parent"][0])
    db.daemon()
    with db.connect() as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM t WHERE b = 200 FOR UPDATE")
        name = db.submit(set_clause="n = n + 1")
        wait_until(db.left_behind, what="it is put aside")
        holder.execute("DROP TABLE t2")
        holder.commit()
    job = db.finish(name)
    assert db.counts() == {1: 149} and job["report"]["left_behind"] == 0


def test_a_job_that_waits_for_locked_rows_can_be_paused_resumed_and_cancelled(db):
    db.table()
    db.daemon()
    with db.locked_rows("id = 500"):
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: db.counts() == {0: 1, 1: 999}, what="the rest is done")
        db.app.execute("SELECT backfill.pause(%s)", [name])
        db.wait_state(name, "paused")
        assert db.one("SELECT left_behind FROM backfill.status") == 1
        db.app.execute("SELECT backfill.resume(%s)", [name])
        db.wait_state(name, "running")
        db.app.execute("SELECT backfill.cancel(%s)", [name])
        db.wait_state(name, "cancelled")
    assert db.counts() == {0: 1, 1: 999}


def test_a_daemon_killed_while_locked_rows_are_retried_repeats_none(db, rng):
    """Its last statement may go on without it, while the next daemon tries the same row."""
    db.table(rows=3000)
    daemon = db.daemon()
    holders = [db.connect() for _ in range(6)]
    for i, holder in enumerate(holders):
        holder.autocommit = False
        holder.execute("SELECT FROM t WHERE id %% 30 = %s FOR UPDATE", [i])
    name = db.submit(set_clause="n = n + 1")
    wait_until(lambda: db.counts().get(1) == 2400, what="the rest is done")
    assert db.one("SELECT left_behind FROM backfill.status") == 600
    for holder in holders:
        holder.commit()
        let_pass(rng.uniform(0, 0.05))
        daemon.kill()
        let_pass(rng.uniform(0, 0.02))
        daemon.start()
        holder.close()
    job = db.finish(name)
    assert db.counts() == {1: 3000} and db.one("SELECT count(*) FROM backfill.left_behind") == 0
    assert job["report"]["rows"] == job["report"]["keys"] == 3000


PORTIONS = {
    "one column": ("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT generate_series(1, 10000)",
                   {"set_clause": "n = n + 1", "on_error": "quarantine"}, 1000),
    "two columns": ("CREATE TABLE t (a text COLLATE \"C\", id date, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, id));"
                    "INSERT INTO t SELECT 'it''s ' || i % 7, date '2000-01-01' + i FROM generate_series(1, 10000) i",
                    {"set_clause": "n = n + 1"}, 1000),
    "statement": ("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT generate_series(1, 10000)",
                  {"statement": "UPDATE t x SET n = n + 1 WHERE {batch x}"}, 1000),
    "statement, two columns": ("CREATE TABLE t (a int, id bigint, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, id));"
                               "INSERT INTO t SELECT i % 7, i FROM generate_series(1, 10000) i",
                               {"statement": "UPDATE t SET n = n + 1 WHERE {batch}"}, 20),
}


@pytest.mark.parametrize("kind", PORTIONS)
def test_rows_that_are_held_for_long_are_done_by_hundreds_and_it_says_how_many_wait_for_whom(db, kind, measured):
    """One by one they took a look at the catalog each: 20 a second, and nobody was told."""
    tables, columns, n = PORTIONS[kind]
    db.app.execute(tables)
    daemon = db.daemon()
    first, second = (f"id IN (SELECT id FROM t ORDER BY id LIMIT {n} OFFSET {at})" for at in (0, n))
    with db.locked_rows(first, name="billing") as billing:
        with db.locked_rows(second, name="report"):
            name = db.submit(**columns)
            wait_until(lambda: db.throttled_by(name).startswith(f"{2 * n} rows are locked, one of them by pid "), 40, "it waits")
            assert db.counts() == {0: 2 * n, 1: 10000 - 2 * n}
            released = time.monotonic()
        wait_until(lambda: db.counts() == {0: n, 1: 10000 - n}, 40, what="those that are free are done, beside the others")
        took = time.monotonic() - released
        who = f"{n} rows are locked, one of them by pid {billing.info.backend_pid} (billing)"
        wait_until(lambda: db.throttled_by(name) == who, what="it waits for the others")
        daemon.says(f"waits, and tries again: {who}")
    job = db.finish(name)
    measured(f"rows a second, of {n} that were held for long, {kind}", f"{n / took:.0f}")
    assert db.counts() == {1: 10000} and job["report"]["rows"] == job["report"]["keys"] == 10000 and db.left_behind() == []
    assert job["report"]["locked"]["done_later"] == 2 * n
    if n >= 1000:
        assert took < 8


def test_a_bad_row_among_thousands_that_were_held_is_found_and_the_others_are_done(db):
    db.table(rows=4000, columns="n int NOT NULL DEFAULT 0, d int NOT NULL DEFAULT 1")
    db.daemon()
    with db.locked_rows("id > 1000") as holder:
        holder.execute("UPDATE t SET d = 0 WHERE id IN (1700, 3333)")
        name = db.submit(set_clause="n = n + 1 / d", on_error="quarantine")
        wait_until(lambda: len(db.left_behind()) == 3000, what="they are put aside")
    job = db.finish(name)
    assert db.counts() == {0: 2, 1: 3998} and db.left_behind("error") == [(["1700"],), (["3333"],)] and db.left_behind() == []
    assert job["report"]["rows"] == 3998


def test_a_held_row_whose_key_is_written_in_another_way_by_now_is_not_taken_for_done(db):
    """1.0 and 1.00 are one key, and what is put aside bears its text."""
    ids, keys = [1, 2, 3], ["{1.0}", "{2}", "{3}"]
    held = "SELECT backfill.held_ids(%s, %s, %s)"
    assert db.one(held, ids, keys, ["{2}"]) == [2] and db.one(held, ids, keys, None) == []
    assert db.one(held, ids, keys, ["{1.00}", "{2}"]) == ids
    db.app.execute("CREATE TABLE t (id numeric PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t VALUES (1.0), (2), (3)")
    daemon = db.daemon()
    with db.locked_rows("id IN (1, 2)", user="app") as holder:
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: len(db.left_behind()) == 2, what="they are put aside")
        daemon.terminate()
        holder.execute("UPDATE t SET id = 1.00 WHERE id = 1")
        holder.commit()
        with db.locked_rows("id = 1"):
            daemon.start()
            wait_until(lambda: "locked" in db.throttled_by(name), what="it was tried again")
            assert db.one("SELECT n FROM t WHERE id = 1") == 0
            assert ["1.0"] in [key for key, in db.left_behind()]
    db.finish(name)
    assert db.counts() == {1: 3}


def test_two_workers_cannot_both_do_a_row_that_was_left_behind(db):
    db.table()
    daemon = db.daemon()
    with db.locked_rows("id = 500"):
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: db.one("SELECT max(epoch) FROM backfill.left_behind"), what="it was put aside, and is tried again")
        daemon.kill()
        wait_until(lambda: not db.all("SELECT FROM pg_stat_activity WHERE application_name LIKE 'backfilld%%' AND datname = %s", db.name),
                   what="its backend waits for the row no more")
    row, epoch = db.all("SELECT id, epoch FROM backfill.left_behind")[0]
    done = "SELECT backfill.rows_done(%s, ARRAY[%s::bigint], %s::bigint, 1, 0)"
    for role, ticket in (("other", db.as_worker("other", name)), ("stranger", 0)):
        with pytest.raises(psycopg.Error) as refused:
            db.session(role).execute(done, [ticket, row, epoch])
        assert refused.value.sqlstate in ("BF001", "42501"), "who didn't submit the job may not"
    assert db.left_behind() == [(["500"],)]
    daemon.start()
    db.finish(name)
    with pytest.raises(psycopg.Error) as refused:
        db.app.execute(done, [db.as_worker("app", name), row, epoch])
    assert refused.value.sqlstate == "BF001" and db.counts() == {1: 1000}


def test_rows_are_put_aside_only_by_a_batch_that_may_checkpoint(db):
    """The note is behind the checkpoint's guard: the login, the epoch and the cursor."""
    db.table()
    db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        note = ("SELECT backfill.checkpoint({}, id, {}, NULL, {}, '{{500}}', 1, 0, 0, 0, held => '{{\"{{500}}\"}}', message => 'x')"
                " FROM backfill.range")
        for role, epoch, cursor in (("other", "epoch", "cursor"), ("app", "epoch - 1", "cursor"),
                                    ("app", "epoch", "'{498}'")):
            try:
                rows = db.session(role).execute(note.format(db.as_worker(role, name), epoch, cursor)).fetchall()
                assert rows == [], "row-level security shows it no range"
            except psycopg.Error as error:
                assert error.sqlstate == "BF001"
        assert db.left_behind() == []
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_who_may_update_some_columns_only_and_who_may_only_delete(db):
    """Locking a row needs the right to update a column of it; who lacks that waits for rows as ever."""
    db.table(rows=300)
    db.app.execute("GRANT SELECT, UPDATE (n) ON t TO other")
    db.daemon()
    with db.locked_rows("id = 150"):
        name = db.submit(user="other", set_clause="n = n + 1")
        wait_until(lambda: db.left_behind() == [(["150"],)], what="it is put aside")
    db.finish(name)
    assert db.counts() == {1: 300}
    db.app.execute("REVOKE UPDATE (n) ON t FROM other; GRANT SELECT, DELETE ON t TO other")
    with db.locked_rows("id = 150"):
        name = db.submit(user="other", statement="DELETE FROM t WHERE {batch}")
        wait_until(lambda: "row" in (db.throttled_by(name) or ""), what="it waits")
        wait_until(lambda: sum(db.counts().values()) < 30, what="the others are done")
    db.finish(name)
    assert db.counts() == {}


def test_who_may_read_some_columns_only_waits_for_a_row_and_does_not_fail(db):
    """Who holds a row is read from its xmax, which no right to single columns opens."""
    db.table(rows=300)
    db.app.execute("GRANT SELECT (id, n), UPDATE (n) ON t TO other")
    db.daemon()
    with db.locked_rows("id = 150"):
        name = db.submit(user="other", set_clause="n = n + 1")
        wait_until(lambda: "locked by pid" in (db.throttled_by(name) or ""), what="it waits")
        wait_until(lambda: db.counts().get(1, 0) > 270, what="the others are done")
    db.finish(name)
    assert db.counts() == {1: 300}


BESIDE = {
    "a foreign key's row": (
        """CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 10);
           CREATE TABLE t (id int PRIMARY KEY, v int, f int REFERENCES parent);
           INSERT INTO t SELECT i, CASE WHEN i % 4000 = 0 THEN 7 ELSE 1 END FROM generate_series(1, 20000) i""",
        "SELECT FROM parent WHERE id = 7 FOR UPDATE", "v", 5),
    "an equal value": (
        """CREATE TABLE t (id int PRIMARY KEY, v int, f int UNIQUE);
           INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i""",
        "INSERT INTO t VALUES (30000, NULL, 9999)", "v", 1),
    "a run of rows": (
        """CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 10);
           CREATE TABLE t (id int PRIMARY KEY, v int, f int REFERENCES parent);
           INSERT INTO t SELECT i, CASE WHEN i BETWEEN 5000 AND 8000 THEN 7 ELSE 1 END FROM generate_series(1, 20000) i""",
        "SELECT FROM parent WHERE id = 7 FOR UPDATE", "v", 3001),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_rows_whose_update_meets_a_lock_elsewhere_hold_up_no_others_and_are_done_later(db, kind):
    tables, holds, value, held = BESIDE[kind]
    db.app.execute(tables)
    daemon = db.daemon()
    with db.connect("app", application_name="clerk") as holder:
        holder.autocommit = False
        holder.execute(holds)
        name = db.submit(set_clause=f"f = {value}", where_clause="f IS NULL AND v IS NOT NULL")
        undone = "SELECT count(*) FROM t WHERE f IS NULL AND v IS NOT NULL"
        wait_until(lambda: db.one(undone) <= (held if held < 100 else 1.2 * held), what="the others are done")
        wait_until(lambda: f"locked by pid {holder.info.backend_pid} (clerk)" in (db.throttled_by(name) or ""), what="its holder is named")
        assert db.one(undone) >= held
        holder.rollback()
    report = db.finish(name)["report"]
    assert db.one("SELECT count(*) FROM t WHERE f = v") == 20000 and db.left_behind() == []
    assert report["rows"] == 20000 and report["locked"]["rows"] == report["locked"]["done_later"] >= held
    assert report["locked"]["rows"] < 3 * held + 200


def test_a_lock_that_every_row_meets_is_waited_for(db):
    """A trigger that counts: no end of rows is put aside for it."""
    db.app.execute("""CREATE TABLE counter (n int); INSERT INTO counter VALUES (0);
                      CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT generate_series(1, 60000);
                      CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE counter SET n = counter.n + 1; RETURN NEW; END $$;
                      CREATE TRIGGER count BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION counts()""")
    db.daemon()
    with db.connect("app") as holder:
        holder.autocommit = False
        holder.execute("UPDATE counter SET n = n")
        name = db.submit(set_clause="n = id", where_clause="n IS NULL")
        wait_until(lambda: f"rows of public.t are locked by pid {holder.info.backend_pid}" in (db.throttled_by(name) or ""), what="it waits, and says for whom")
        assert 1000 < len(db.left_behind()) < 40000
        holder.rollback()
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE n = id") == 60000 and db.one("SELECT n FROM counter") == 60000


def test_what_a_trigger_says_of_a_lock_is_told(db):
    """It asked for one with NOWAIT: for which, it knows best."""
    db.table(rows=100)
    db.app.execute("""CREATE TABLE counter (n int); INSERT INTO counter VALUES (0);
                      CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 FROM counter FOR UPDATE NOWAIT; RETURN NEW; END $$;
                      CREATE TRIGGER count BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION counts()""")
    daemon = db.daemon()
    with db.locked_rows("true", table="counter"):
        name = db.submit(set_clause="n = n + 1")
        daemon.says('could not obtain lock on row in relation "counter"')
    db.finish(name)
    assert db.counts() == {1: 100}
