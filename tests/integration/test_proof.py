"""What is said to be done is done: no row that a job was for still meets its where_clause, whatever the table's triggers and rules make
of its batches, and whatever its clause gives."""

import contextlib
import threading

import pytest

from waiting import wait_until


def table(db, nulls="n % 100 = 0", rows=1000, more=""):
    db.app.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, a int, note text{more})")
    db.app.execute(f"INSERT INTO t (id, a) SELECT n, CASE WHEN {nulls} THEN NULL ELSE n END FROM generate_series(1, {rows}) n")


FILL = {"add_column": "b int", "set_clause": "b = a * 2"}


def writes(db):
    """How many rows have been updated, once the server has counted."""
    db.admin.execute("SELECT pg_stat_force_next_flush()")
    return db.one("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 't'")


def nulls(db):
    return db.one("SELECT count(*) FROM t WHERE b IS NULL")


def before_update(db, body, name="hold"):
    db.app.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;"
                   f"CREATE TRIGGER {name} BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION {name}()")


# ---- A clause that gives NULL

@pytest.mark.parametrize("columns", [FILL, {**FILL, "keep_in_sync": True}, {**FILL, "enforce": ["CHECK (b > 0)"], "keep_in_sync": True},
                                     {"set_clause": "b = a * 2", "where_clause": "b IS NULL"},
                                     {"set_clause": "b = a * 2", "where_clause": "id > 0 AND (t.note IS NULL OR t.id = 3) AND (t.b IS NULL)"},
                                     {**FILL, "where_clause": "id > 0 AND b IS NULL", "keep_in_sync": True}])
def test_a_null_that_the_clause_gives_is_done_and_written_once(db, columns):
    table(db, more="" if "add_column" in columns else ", b int")
    db.daemon(max_rows=70)
    job = db.finish(db.submit(**columns))
    assert nulls(db) == 10 and job["report"]["verified"]["null"] == 10 and job["report"]["verified"]["found"] == 0
    wait_until(lambda: writes(db) >= 1000, what="the server has counted")
    assert writes(db) == 1000, "no row was written twice"
    assert job["report"]["rows"] == 1000


@pytest.mark.parametrize("where", ["b IS NULL OR c IS NULL", "(b IS NULL OR c IS NULL) AND (id > 0 OR a IS NULL)", "b IS NULL AND d IS NULL OR c IS NULL"])
def test_of_several_columns_one_that_is_null_for_good_hides_none_that_is_to_do(db, where):
    table(db, more=", b int, c text, d text")
    db.app.execute("UPDATE t SET d = 'there' WHERE id % 2 = 0")
    db.daemon(max_rows=70)
    with db.held_row(900):
        name = db.submit(set_clause="b = a * 2, c = 'x' || id, d = 'd'", where_clause=where)
        db.wait_at(900, name)
        db.app.execute("UPDATE t SET c = NULL WHERE id IN (100, 101, 200); INSERT INTO t VALUES (0, NULL, NULL, 5, NULL, NULL), (2000, NULL, NULL, NULL, NULL, NULL)")
    job = db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE c IS NULL") == 0 and db.one("SELECT b FROM t WHERE id = 2000") is None and job["report"]["verified"]["found"] >= 2


@pytest.mark.parametrize("where", ["b IS NULL", "b IS NULL OR c IS NULL"])
def test_a_null_that_is_done_hides_no_other_column_that_the_clause_fills(db, where):
    table(db, more=", b int, c text")
    db.daemon(max_rows=70)
    with db.held_row(900):
        name = db.submit(set_clause="b = a * 2, c = 'x' || id", where_clause=where, keep_in_sync=True)
        db.wait_at(900, name)
        db.app.execute("UPDATE t SET id = -id WHERE id = 1000")
    db.finish(name)
    assert db.all("SELECT id, b, c FROM t WHERE id = -1000") == [(-1000, None, "x-1000")]


def test_of_several_columns_one_may_be_null_where_another_is_forbidden_to_be(db):
    table(db, more=", b int, c text")
    db.daemon(max_rows=70)
    job = db.finish(db.submit(set_clause="b = a * 2, c = 'x' || id", where_clause="b IS NULL OR c IS NULL", keep_in_sync=True, enforce=["NOT NULL c"]))
    assert nulls(db) == 10 and job["report"]["verified"]["null"] == 10
    db.app.execute("SELECT backfill.finish(%s)", [job["name"]])
    wait_until(lambda: db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal") == 0, what="its triggers are gone")
    db.app.execute("ALTER TABLE t ALTER c DROP NOT NULL; UPDATE t SET b = NULL, c = NULL")
    job = db.finish(db.submit(set_clause="b = 1, c = CASE WHEN id <> 700 THEN 'x' || a END", where_clause="b IS NULL OR c IS NULL", enforce=["NOT NULL c"], name="second"), "failed")
    assert job["error"] == "row id = 100: set_clause gives NULL, which NOT NULL c forbids"


def test_a_row_that_an_application_writes_over_such_a_null_is_tried_again(db):
    table(db)
    db.daemon(max_rows=70)
    with db.held_row(900):
        name = db.submit(**FILL)
        db.wait_at(900, name)
        db.app.execute("UPDATE t SET a = id WHERE id IN (100, 200)")
    job = db.finish(name)
    assert nulls(db) == 8 and job["report"]["verified"] == {"walks": 2, "found": 2, "null": 8}


def test_a_null_that_is_forbidden_ends_the_job_with_its_key_and_without_a_constraint(db):
    table(db)
    db.daemon(max_rows=70)
    job = db.finish(db.submit(**FILL, keep_in_sync=True, enforce=["NOT NULL b"]), "failed")
    assert "set_clause gives NULL" in job["error"] and "NOT NULL b forbids" in job["error"]
    assert "b IS NULL AND a IS NOT NULL" in job["hint"]
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'p'") == 0
    db.app.execute("UPDATE t SET note = 'x'")


def test_a_forbidden_null_beyond_the_trial_is_named(db):
    table(db, nulls="n = 700")
    db.daemon(max_rows=70)
    job = db.finish(db.submit(**FILL, enforce=["NOT NULL b"]), "failed")
    assert job["error"] == "row id = 700: set_clause gives NULL, which NOT NULL b forbids" and job["phase"] == "backfill"


def test_forbidden_nulls_are_put_aside_with_quarantine(db):
    table(db, nulls="n IN (300, 700)")
    db.daemon(max_rows=70)
    db.finish(db.submit(**FILL, enforce=["NOT NULL b"], on_error="quarantine"), "failed")
    assert db.left_behind("error") == [(["300"],), (["700"],)]
    assert db.one("SELECT count(*) FROM t WHERE b = a * 2") == 998
    assert db.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'p'") == 0


def test_where_clause_that_a_done_row_still_meets_is_refused_at_the_first_batch(db):
    db.table()
    db.daemon()
    job = db.finish(db.submit(set_clause="n = n + 1", where_clause="id > 500"), "failed")
    assert job["error"] == "row id = 501: the row still meets where_clause after set_clause has changed it" and job["hint"]
    assert db.counts() == {0: 1000}


def test_without_a_where_clause_all_rows_are_meant(db):
    db.table()
    db.daemon()
    db.finish(db.submit(set_clause="n = id + 1", keep_in_sync=True))
    assert db.one("SELECT count(*) FROM t WHERE n = id + 1") == 1000


# ---- Rows that somebody keeps back

KEEPERS = {
    "a trigger that returns NULL": "IF OLD.id > 990 THEN RETURN NULL; END IF;",
    "a trigger that returns OLD": "IF OLD.id > 990 THEN RETURN OLD; END IF;",
    "a trigger that changes the column back": "IF OLD.id > 990 THEN NEW.b := OLD.b; END IF;",
}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_row_that_a_trigger_keeps_back_ends_the_job_by_its_key(db, keeper, there):
    table(db, nulls="false", more=", b int" if there else "")
    if "column" in keeper and not there:
        db.app.execute("ALTER TABLE t ADD b int")
    before_update(db, KEEPERS[keeper])
    db.daemon(max_rows=70)
    columns = {"set_clause": "b = a * 2", "where_clause": "b IS NULL"} if there else FILL
    job = db.finish(db.submit(**columns), "failed")
    assert job["error"].startswith("row id = 991: trigger hold ") and job["hint"], job["error"]
    assert 10 <= nulls(db) < 100, "the batches before are done"


@pytest.mark.parametrize("condition", ["WHERE OLD.id > 990", ""])
def test_a_row_that_a_rule_keeps_back_ends_the_job(db, condition):
    table(db, nulls="false", more=", b int")
    name = db.submit(set_clause="b = a * 2", where_clause="b IS NULL")  # without a condition it would be refused
    db.app.execute(f"CREATE RULE hold AS ON UPDATE TO t {condition} DO INSTEAD NOTHING")
    db.daemon(max_rows=70)
    job = db.finish(name, "failed")
    assert "rule hold keeps the row from being changed" in job["error"]


def test_rows_that_a_trigger_keeps_back_are_put_aside_with_quarantine(db):
    table(db, nulls="false")
    before_update(db, "IF OLD.id IN (5, 6, 800) THEN RETURN NULL; END IF;")
    db.daemon(max_rows=70)
    job = db.finish(db.submit(**FILL, on_error="quarantine"))
    assert db.left_behind("error") == [(["5"],), (["6"],), (["800"],)] and job["report"]["left_behind"] == 3
    assert nulls(db) == 3
    assert "trigger hold keeps" in db.one("SELECT message FROM backfill.left_behind LIMIT 1")


def test_a_trigger_that_keeps_nothing_back_is_no_trouble_where_the_clause_gives_null(db):
    table(db)
    before_update(db, "NEW.note := 'seen';")
    db.daemon(max_rows=70)
    job = db.finish(db.submit(**FILL))
    assert nulls(db) == 10 and job["report"]["verified"]["null"] == 10


CANT_KNOW = "It can't know whether each row was changed, and once: there is no where_clause."


def test_a_job_without_where_clause_says_what_it_cant_know(db):
    db.table()
    daemon = db.daemon()
    for columns in ({"set_clause": "n = 1"}, {"statement": "UPDATE t SET n = 2 WHERE {batch}"}):
        job = db.finish(db.submit(name=f"says {len(columns)} {list(columns)[0]}", **columns))
        assert job["hint"] is None and job["report"]["not_proven"].startswith(CANT_KNOW)
        wait_until(lambda: f"{job['name']}: succeeded" in daemon.log(), what="the journal says so")
        assert CANT_KNOW in next(line for line in daemon.log().splitlines() if f"{job['name']}: succeeded" in line)
    for columns in ({"where_clause": "n <> 3"}, {"dry_run": True}):
        assert "not_proven" not in db.finish(db.submit(set_clause="n = 3", **columns))["report"]
    before_update(db, "IF OLD.id > 990 THEN RETURN NULL; END IF;")
    job = db.finish(db.submit(set_clause="n = 2"))
    assert "trigger hold may keep rows back" in job["hint"] and job["hint"] in job["report"]["not_proven"]


def test_rows_that_were_gone_when_their_turn_came_are_counted_where_nothing_tells_of_them(db):
    db.table()
    db.daemon(max_rows=100)
    with db.locked_rows("id IN (5, 6, 7, 300)") as holder:
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: len(db.left_behind()) == 4, what="they are put aside")
        holder.execute("UPDATE t SET id = -5 WHERE id = 5; DELETE FROM t WHERE id = 6")
    job = db.finish(name)
    assert job["hint"].startswith("2 rows that were put aside were not changed when it was their turn") and job["hint"] in job["report"]["not_proven"]
    assert db.counts() == {0: 1, 1: 998}


def test_rows_that_failed_once_more_before_they_were_mended_are_not_counted(db):
    db.table(columns="n int NOT NULL DEFAULT 0, d int NOT NULL DEFAULT 1")
    db.app.execute("UPDATE t SET d = 0 WHERE id IN (7, 8, 500)")
    db.daemon()
    name = db.submit(set_clause="n = n + 1 / d", on_error="quarantine")
    db.finish(name)
    for mended in (False, True):
        if mended:
            db.app.execute("UPDATE t SET d = 1 WHERE d = 0")
        db.app.execute("SELECT backfill.retry(%s)", [name])
        job = db.finish(name)
        assert db.one("SELECT count(*) FROM backfill.left_behind") == (0 if mended else 3)
    assert db.counts() == {1: 1000} and "not changed when" not in job["report"]["not_proven"] + (job["hint"] or "")


def test_partitions_that_come_to_the_table_meanwhile_are_named_where_nothing_tells_of_their_rows(db):
    """They may hold rows that were done elsewhere: to scan them would be wrong as well."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000);"
                   "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (1000) TO (2000); CREATE TABLE late (LIKE t INCLUDING DEFAULTS); INSERT INTO t SELECT generate_series(1, 900); INSERT INTO late SELECT generate_series(2000, 2009)")
    db.daemon(max_rows=100)
    with db.held_row(500, "t1"):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        db.app.execute("INSERT INTO t VALUES (1500); CREATE TABLE t4 PARTITION OF t FOR VALUES FROM (3000) TO (4000); ALTER TABLE late ADD PRIMARY KEY (id);"
                       "ALTER TABLE t ATTACH PARTITION late FOR VALUES FROM (2000) TO (3000)")
    job = db.finish(name)
    assert job["hint"].endswith(" public.late came to the table while the job ran, and was not scanned.") and job["hint"] in job["report"]["not_proven"]
    assert db.counts() == {0: 11, 1: 900}


# ---- Verify

def test_rows_of_a_partition_that_was_made_meanwhile_are_done(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, b int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000);"
                   "CREATE TABLE late (LIKE t INCLUDING ALL); INSERT INTO t SELECT generate_series(1, 900); INSERT INTO late SELECT generate_series(2000, 2009)")
    db.daemon(max_rows=100)
    with db.held_row(500, "t1"):
        name = db.submit(set_clause="b = 1", where_clause="b IS NULL")
        db.wait_at(500, name)
        db.app.execute("CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (1000) TO (2000); INSERT INTO t VALUES (1500), (1501); ALTER TABLE t ATTACH PARTITION late FOR VALUES FROM (2000) TO (3000)")
    job = db.finish(name)
    assert nulls(db) == 0 and job["report"]["verified"]["found"] == 12


def test_rows_that_come_in_behind_the_cursor_are_done(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, b int); INSERT INTO t SELECT generate_series(1, 1000)")
    db.daemon(max_rows=70)
    with db.held_row(900):
        name = db.submit(set_clause="b = 1", where_clause="b IS NULL")
        db.wait_at(900, name)
        db.app.execute("INSERT INTO t VALUES (0), (2000); UPDATE t SET id = -5 WHERE id = 950")
    job = db.finish(name)
    assert nulls(db) == 0 and job["phase"] == "verify" and job["report"]["verified"]["found"] == 3


def test_a_table_that_is_read_in_a_moment_is_proven_by_one_look(db):
    db.table(rows=1000)
    db.daemon(min_rows=100, max_rows=100)
    alone = {"throttle_off": ["lag", "lag_mb", "standby", "dead", "blocked", "xmin"]}  # beside others it walks
    report = db.finish(db.submit(set_clause="n = 1", where_clause="n IS DISTINCT FROM 1", **alone))["report"]
    assert report["verified"] == {"walks": 1, "found": 0} and report["batches"] == 10


def test_a_row_locked_while_verify_reads_is_no_trouble(db):
    table(db)
    db.daemon(max_rows=70)
    with contextlib.ExitStack() as stack:
        with db.held_row(900):
            name = db.submit(**FILL)
            db.wait_at(900, name)
            db.app.execute("INSERT INTO t (id, a) VALUES (0, 7)")
            stack.enter_context(db.locked_rows("id IN (0, 100)"))
        wait_until(lambda: db.left_behind() == [(["0"],)], what="the row that is to do is put aside, the NULL isn't")
    job = db.finish(name)
    assert nulls(db) == 10 and job["report"]["verified"]["null"] == 10


# ---- Guard looks before it adds, and nothing unfinished binds the application

def made_of_table(db):
    """The table's constraints and indexes, but for its key."""
    return db.all("SELECT conname FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'p' UNION ALL"
                  " SELECT indexrelid::regclass::name FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisprimary ORDER BY 1")


@pytest.mark.parametrize("in_step", [True, False])
def test_no_constraint_comes_while_rows_are_left_behind(db, in_step):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, note text);"
                   "INSERT INTO t SELECT g, CASE WHEN g IN (700, 800) THEN 'n/a' ELSE g::text END FROM generate_series(1, 1000) g")
    db.daemon()
    name = db.submit(add_column="b int", set_clause="b = a::int", keep_in_sync=in_step, on_error="quarantine", enforce=["NOT NULL b"])
    while db.state(name) not in ("failed", "succeeded"):
        db.app.execute("UPDATE t SET note = note || 'x' WHERE id = 700")
    job = db.job(name)
    assert job["state"] == "failed"
    assert job["error"] == "2 rows were left behind and stand in the way of NOT NULL b: row id = 700" and "No constraint was added" in job["hint"]
    assert made_of_table(db) == []
    db.app.execute("UPDATE t SET a = id WHERE a = 'n/a'")
    db.one("SELECT backfill.retry(%s)", name, user="app")
    db.finish(name)
    assert nulls(db) == 0 and db.one("SELECT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'b'")


@pytest.mark.parametrize("item, key", [("CHECK (b > 0)", "t_b_check: row id = 700"), ("FOREIGN KEY (b) REFERENCES town", "t_b_fkey: row id = 700")])
@pytest.mark.parametrize("in_step", [True, False])
def test_no_constraint_comes_while_a_row_breaks_it(db, item, key, in_step):
    table(db, nulls="false")
    db.app.execute("UPDATE t SET a = -a WHERE id IN (700, 800); CREATE TABLE town (id int PRIMARY KEY); INSERT INTO town SELECT generate_series(1, 2000)")
    db.daemon()
    name = db.submit(**FILL, keep_in_sync=in_step, enforce=[item])
    while db.state(name) not in ("failed", "succeeded"):
        db.app.execute("UPDATE t SET note = note || 'x' WHERE id = 700")
    assert db.finish(name, "failed")["error"] == f"2 rows stand in the way of {key}"
    assert made_of_table(db) == []


@pytest.mark.parametrize("name", ["r", "orders", "Two words"])
def test_a_constraint_may_call_its_table_by_its_name(db, name):
    db.app.execute(f"""CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 50);
                       CREATE TABLE "{name}" (id int PRIMARY KEY, a int, t int, r int); INSERT INTO "{name}" SELECT g, g, g, g FROM generate_series(1, 50) g""")
    db.daemon()
    items = [f'CHECK ("{name}".b > 0 AND r > 0)', f'CHECK ("{name}".* IS NOT NULL)', "FOREIGN KEY (r) REFERENCES p", "NOT NULL t"]
    db.finish(db.submit(target=f'"{name}"', add_column="b int", set_clause="b = a", enforce=items))
    assert db.one(f"""SELECT count(*) FROM pg_constraint WHERE conrelid = '"{name}"'::regclass AND contype IN ('c', 'f') AND convalidated""") == 3
    db.app.execute(f"""ALTER TABLE "{name}" ADD d int DEFAULT 1; UPDATE "{name}" SET d = -1 WHERE id = 7""")
    job = db.finish(db.submit(target=f'"{name}"', enforce=[f'CHECK ("{name}".d > 0)']), "failed")
    assert "row id = 7" in job["error"]
    assert db.app.execute(job["hint"].split("Correct them: ")[1].split(";")[0]).fetchall() == [(7, 7, 7, 7, 7, -1)]


def test_a_row_that_the_trigger_cant_compute_keeps_the_constraint_away(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, note text); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g")
    db.daemon(max_rows=70)
    with db.held_row(900):
        name = db.submit(add_column="b int", set_clause="b = a::int", keep_in_sync=True, enforce=["NOT NULL b"])
        db.wait_at(900, name)
        db.app.execute("INSERT INTO t VALUES (0, 'n/a')")
    job = db.finish(name, "failed")
    # Guard meets the row, and walks for it: then what is wrong with it is known.
    assert job["error"].startswith("row id = 0: invalid input syntax") and job["hint"] and made_of_table(db) == []
    db.app.execute("UPDATE t SET note = 'x' WHERE id = 0")


def test_what_a_failed_job_has_not_finished_goes(db):
    """Rows share a value: the index is left invalid. And a constraint that was guarded goes with it."""
    table(db, nulls="false")
    db.app.execute("UPDATE t SET a = 1 WHERE id = 2")
    db.daemon()
    name = db.submit(**FILL, enforce=["CHECK (b > 0)", "UNIQUE (b)"])
    db.finish(name, "failed")
    wait_until(lambda: made_of_table(db) == [("t_b_check",)], what="the index is gone; the CHECK was validated before")
    db.app.execute("UPDATE t SET a = 2, b = 4 WHERE id = 2")
    db.one("SELECT backfill.retry(%s)", name, user="app")
    db.finish(name)
    assert made_of_table(db) == [("t_b_check",), ("t_b_key",), ("t_b_key",)]


def test_an_unfinished_unique_index_goes_when_its_daemon_is_stopped_and_its_job_queues(db):
    """Nobody has a constraint yet, and nobody's row is refused for one."""
    table(db, nulls="false")
    daemon = db.daemon()
    with db.connect("postgres") as old:
        old.autocommit = False
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t")
        name = db.submit(enforce=["UNIQUE (a)"])
        wait_until(lambda: made_of_table(db) == [("t_a_key",)], what="it is being built")
        daemon.terminate()
        assert db.state(name) == "queued" and made_of_table(db) == [("t_a_key",)]
        old.commit()
    now = db.one("SELECT extract(hour FROM now() AT TIME ZONE 'UTC')::int")
    db.app.execute("UPDATE backfill.job SET active_hours = %s", [f"{(now + 2) % 24:02d}:00-{(now + 3) % 24:02d}:00 UTC"])
    daemon.start()
    wait_until(lambda: made_of_table(db) == [], what="it is gone")
    assert db.state(name) == "queued"
    db.app.execute("INSERT INTO t VALUES (5000, 1)")
    db.app.execute("DELETE FROM t WHERE id = 5000; UPDATE backfill.job SET active_hours = NULL")
    db.finish(name)
    assert made_of_table(db) == [("t_a_key",), ("t_a_key",)]


def test_an_unfinished_unique_index_goes_when_its_job_is_paused(db):
    table(db, nulls="false")
    db.daemon()
    with db.connect("postgres") as old:
        old.autocommit = False
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t")
        name = db.submit(enforce=["UNIQUE (a)"])
        wait_until(lambda: made_of_table(db) == [("t_a_key",)], what="it is being built")
        db.app.execute("SELECT backfill.pause(%s)", [name])
        db.wait_state(name, "paused")
        old.commit()
    wait_until(lambda: made_of_table(db) == [], what="it is gone")
    db.app.execute("INSERT INTO t VALUES (5000, 1)")
    db.app.execute("DELETE FROM t WHERE id = 5000")
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name)


def test_a_table_that_was_emptied_in_mid_job_is_told_where_no_where_clause_tells(db):
    """The new rows lie behind the cursor."""
    db.table()
    db.daemon(max_rows=100)
    with db.held_row(700):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(700, name)
    # the row is free, and the job goes on beside it
    db.app.execute("TRUNCATE t; INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) AS i")
    job = db.finish(name)
    assert "public.t got a new file while the job ran (TRUNCATE, VACUUM FULL, CLUSTER, or a new type): rows that were put in after a TRUNCATE may not have been scanned." in job["report"]["not_proven"]


def test_a_table_that_keeps_its_file_is_not_told_of(db):
    db.table()
    db.daemon()
    job = db.finish(db.submit(add_column="m int", set_clause="m = n"))
    assert "new file" not in str(job)


def test_an_inheritance_child_that_comes_while_the_job_runs_is_told_of(db):
    """A job without a where_clause doesn't look again; such a table can't be there before it."""
    db.table(rows=100)
    db.daemon(max_rows=10)
    with db.held_row(50):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(50, name)
        db.app.execute("CREATE TABLE late () INHERITS (t); INSERT INTO late (id) VALUES (1000)")
    assert "public.late came to the table while the job ran, and was not scanned." in db.finish(name)["report"]["not_proven"]


def test_a_check_that_null_meets_is_enforced_over_rows_that_stay_null(db):
    """Without a trigger: guard waits until its looks find nothing, and what the clause makes NULL is done."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, nullif(g, 250) FROM generate_series(1, 300) g")
    db.daemon()
    job = db.finish(db.submit(add_column="w int", set_clause="w = v * 100", enforce=["CHECK (w > 0)"]))
    assert db.one("SELECT count(*) FROM t WHERE w IS DISTINCT FROM v * 100") == 0 and job["error"] is None
    assert db.one("SELECT convalidated FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c'")


# ---- Rows that others move behind the scan


@pytest.mark.parametrize("scan", ["key", "ctid"])
@pytest.mark.parametrize("in_step", [False, True])
@pytest.mark.parametrize("moves", ["key", "partition"])
def test_a_row_that_others_move_in_the_scan_all_the_while_is_not_taken_for_done(db, moves, in_step, scan):
    """To and fro, from before it to behind it: only one look at all at once proves that it is done. With keep_in_sync, a row for which the clause has no value."""
    db.app.execute("CREATE TABLE t (id int, p int, a int, b int, PRIMARY KEY (id, p))" + (" PARTITION BY LIST (p); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2)" if moves == "partition" else ""))
    db.app.execute("INSERT INTO t SELECT i, 1 + i %% 2, i * (i <> 3001)::int FROM generate_series(1, 4000) i; ANALYZE t".replace("%%", "%"))
    daemon = db.daemon(max_rows=40)
    to_and_fro = "UPDATE t SET p = 3 - p WHERE abs(id) = 3001" if moves == "partition" else "UPDATE t SET id = -id WHERE abs(id) = 3001"
    stop = threading.Event()

    def move():
        with db.connect("app") as session:
            while not stop.is_set():
                session.execute(to_and_fro)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        name = db.submit(scan=scan, set_clause="b = 9000 / a" if in_step else "b = a + 1", where_clause="b IS NULL", keep_in_sync=in_step, max_rows_per_s=4000, on_error="quarantine")
        wait_until(lambda: db.state(name) in ("succeeded", "failed") or "verifies again" in daemon.log(), timeout=60, what="an end, or another walk")
    finally:
        stop.set()
        mover.join()
    wait_until(lambda: db.state(name) in ("succeeded", "failed"), timeout=60, what="an end")
    job = db.job(name)
    told = "from one partition to another" in job["report"].get("not_proven", "")
    assert job["state"] == "succeeded" and told == (moves == "partition" and in_step), job  # what is left behind keeps a look from seeing that nothing else is
    left = db.one("SELECT count(*) FROM backfill.left_behind")
    assert db.one("SELECT count(*) FROM t WHERE b IS NULL") == left == (1 if in_step else 0)


def test_rows_that_go_between_partitions_are_told_of_where_no_one_look_could_be_at_all(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, b int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (50); CREATE TABLE t2 PARTITION OF t DEFAULT; INSERT INTO t SELECT generate_series(1, 100)")
    db.daemon()
    job = db.finish(db.submit(set_clause="b = id", where_clause="b IS NULL"))
    assert "not_proven" not in job["report"]
    told = "SELECT backfill.may_have_moved(j, '{}') FROM backfill.job j"
    assert "moved from one partition to another" in db.one(told)
    db.admin.execute("UPDATE pg_class SET relpages = 1000000 WHERE relname = 't1'")
    job = db.finish(db.submit(name="large", set_clause="b = id + 1", where_clause="b IS NULL"))
    assert "moved from one partition to another" in job["report"]["not_proven"]



def test_the_look_at_all_computes_the_clause_of_rows_that_are_to_do_alone(db):
    """A guard that is dearer than what it guards comes first all the same."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, s text, b int); INSERT INTO t SELECT i, CASE WHEN i % 10 = 0 THEN 'bad' ELSE i::text END FROM generate_series(1, 1000) i;"
                   "CREATE FUNCTION is_number(s text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 1000 AS $$ BEGIN RETURN s ~ '^[0-9]+$'; END $$")
    db.daemon()
    job = db.finish(db.submit(set_clause="b = s::int", where_clause="b IS NULL AND is_number(s)"))
    assert job["report"]["verified"]["walks"] <= 1 and db.one("SELECT count(*) FROM t WHERE b IS NULL") == 100


def test_a_row_that_is_put_aside_in_one_partition_keeps_no_job_from_its_end(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100); CREATE TABLE t2 PARTITION OF t DEFAULT;"
                   "INSERT INTO t SELECT i, i * (i <> 50)::int FROM generate_series(1, 5000) i; ANALYZE t")
    db.daemon()
    job = db.finish(db.submit(set_clause="b = 100 / a", where_clause="b IS NULL", on_error="quarantine"))
    assert job["report"]["left_behind"] == 1 and db.one("SELECT count(*) FROM t WHERE b IS NULL") == 1
    assert job["report"]["verified"]["walks"] <= 2 and "from one partition to another" in job["report"]["not_proven"]


def test_a_composite_that_is_null_in_part_is_done_and_written_once(db):
    db.app.execute("CREATE TYPE pair AS (x int, y int); CREATE TABLE t (id int PRIMARY KEY, a int, b int, c pair, n int DEFAULT 0); INSERT INTO t SELECT i, nullif(i % 3, 0) FROM generate_series(1, 300) i")
    db.daemon()
    job = db.finish(db.submit(set_clause="b = a, c = ROW(id, NULL)::pair", where_clause="b IS NULL OR c IS NULL"))
    assert job["report"]["rows"] == 300 and db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a OR (c).x <> id") == 0


def test_rows_that_the_application_fills_by_itself_a_moment_later_keep_no_job_from_its_end(db):
    """Each look at all sees some, and no scan meets them."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, b int); INSERT INTO t SELECT generate_series(1, 1000)")
    db.daemon()
    stop = threading.Event()

    def insert(first):
        with db.connect("app") as session:
            n = first
            while not stop.is_set():
                session.execute("INSERT INTO t (id) VALUES (%s)", [n])
                stop.wait(0.1)
                session.execute("UPDATE t SET b = 0 WHERE id = %s", [n])
                n += 3

    writers = [threading.Thread(target=insert, args=(100000 + i,)) for i in range(3)]
    for writer in writers:
        writer.start()
    try:
        job = db.finish(db.submit(set_clause="b = id", where_clause="b IS NULL", max_rows_per_s=2000), timeout=60)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert db.one("SELECT count(*) FROM t WHERE id <= 1000 AND b IS DISTINCT FROM id") == 0
    assert job["report"]["verified"]["walks"] < 8


@pytest.mark.parametrize("code", ["55000", "28000", "42501"])
def test_row_that_fails_with_what_is_else_no_rows_fault_stays_put_aside_at_the_end(db, code):
    """The look at all computes it again."""
    db.app.execute(f"CREATE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF a = 300 THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '{code}'; END IF; RETURN a; END $$")
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 600) g")
    db.daemon(max_rows=100)
    db.finish(db.submit(add_column="b int", set_clause="b = f(n)", on_error="quarantine"))
    assert db.one("SELECT count(b) FROM t") == 599 and db.all("SELECT key FROM backfill.left_behind") == [(["300"],)]


def test_where_rows_are_left_behind_a_row_whose_key_changes_may_be_missed_and_the_report_says_so(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g; UPDATE t SET a = 0 WHERE id = 500")
    db.daemon(max_rows=100)
    job = db.finish(db.submit(set_clause="b = 10 / a", where_clause="b IS NULL", on_error="quarantine"))
    assert "Rows of public.t, whose key others changed while it was verified, may have moved behind the scan: a look at all of it at once would take too long, or meet what was left behind." in job["report"]["not_proven"]
    db.app.execute("UPDATE t SET a = 1 WHERE id = 500")
    db.app.execute("SELECT backfill.retry(%s)", [job["name"]])
    assert db.finish(job["name"])["report"].get("not_proven") is None
