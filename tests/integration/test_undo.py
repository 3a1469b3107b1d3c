"""What a job has put into a table goes again: by finish, cancel and undo, also when the login that submitted it is gone."""

import re

import psycopg
import pytest

from waiting import wait_until

FILL = {"add_column": "b int", "set_clause": "b = a * 2", "keep_in_sync": True}


def table(db, owner="app"):
    db.admin.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 500) g; ALTER TABLE t OWNER TO {owner}")


def made(db):
    """Triggers, functions, types, constraints, indexes and columns of the table, but for its own."""
    return db.all("SELECT tgname::text FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal"
                  " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
                  " UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'"
                  " UNION ALL SELECT conname FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'p'"
                  " UNION ALL SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 2 AND NOT attisdropped"
                  " UNION ALL SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisprimary")


def test_undo_takes_back_what_the_job_has_added(db):
    table(db)
    db.daemon()
    name = db.submit(**FILL, enforce=["NOT NULL b", "CHECK (b > 0)", "UNIQUE (b)"])
    db.finish(name)
    assert len(made(db)) >= 5
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: made(db) == [], what="all of it is gone")
    assert db.state(name) == "cancelled" and not db.one("SELECT backfill.is_done(%s)", name, user="app")
    wait_until(lambda: not db.job(name)["tidy"])
    db.app.execute("SELECT backfill.forget(%s)", [name])
    db.finish(db.submit(**FILL, name=name))


def test_undo_leaves_a_column_that_something_uses_and_says_what(db):
    table(db)
    db.daemon()
    name = db.submit(**FILL)
    db.finish(name)
    db.app.execute("CREATE VIEW v AS SELECT b FROM t; SELECT backfill.undo('%s')" % name)
    wait_until(lambda: db.job(name)["error"], what="it says why")
    assert "view public.v" in db.job(name)["error"] and "The trigger stays with it" in db.job(name)["hint"] and ("b",) in made(db)
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 7)")
    assert db.one("SELECT b FROM t WHERE id = 1000") is not None, "while the column stays, it is kept in step"
    db.app.execute("DROP VIEW v; SELECT backfill.undo('%s')" % name)
    wait_until(lambda: made(db) == [], what="asked again, it goes")


def test_undo_leaves_a_column_that_was_there_before(db):
    table(db)
    db.app.execute("ALTER TABLE t ADD b int")
    db.daemon()
    name = db.submit(**FILL)
    db.finish(name)
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: made(db) == [("b",)], what="the trigger is gone")
    wait_until(lambda: not db.job(name)["tidy"])
    assert made(db) == [("b",)]


def test_the_way_down_of_a_migration_may_cancel_a_job_that_has_succeeded(db):
    table(db)
    db.daemon()
    name = db.submit(**FILL)
    db.finish(name)
    assert "until finish" in db.throttled_by(name), "status says that the trigger is there"
    for _ in range(2):
        db.app.execute("SELECT backfill.cancel(%s)", [name])
    wait_until(lambda: made(db) == [("b",)], what="the trigger is gone")
    assert db.state(name) == "cancelled"


@pytest.mark.parametrize("call", ["finish", "cancel", "undo"])
def test_the_tables_owner_ends_a_job_whose_login_is_gone(db, call):
    db.admin.execute("CREATE ROLE short LOGIN IN ROLE app_owner")
    table(db, "app_owner")
    db.daemon()
    with db.connect("short") as session:
        session.execute("SET ROLE app_owner")
        name = db.submit(session=session, **FILL)
        db.finish(name)
    db.admin.execute("DROP OWNED BY short; DROP ROLE short")
    with db.connect("app") as session:
        session.execute("SET ROLE app_owner")
        session.execute(f"SELECT backfill.{call}(%s)", [name])
    wait_until(lambda: made(db) == ([] if call == "undo" else [("b",)]), what="what it left is gone")
    assert db.job(name)["error"] is None


@pytest.mark.parametrize("call", ["cancel", "undo"])
def test_the_tables_owner_ends_a_running_job_whose_login_is_gone(db, call):
    """At once, before the job has met it."""
    db.admin.execute("CREATE ROLE short LOGIN IN ROLE app_owner")
    table(db, "app_owner")
    db.daemon(max_rows=50)
    with db.connect("short") as session:
        session.execute("SET ROLE app_owner")
        name = db.submit(session=session, max_rows_per_s=1, **FILL)
        wait_until(lambda: db.job(name)["phase"] == "backfill" and db.one("SELECT count(*) FROM t WHERE b IS NOT NULL"), what="it fills")
    with db.connect("postgres") as session:
        session.autocommit = False
        session.execute("DROP OWNED BY short; DROP ROLE short; SET SESSION AUTHORIZATION app; SET ROLE app_owner")
        session.execute(f"SELECT backfill.{call}(%s)", [name])
        session.commit()
    wait_until(lambda: made(db) == ([] if call == "undo" else [("b",)]), what="what it left is gone")
    db.wait_state(name, "cancelled")


def test_no_job_is_forgotten_whose_trigger_is_in_the_table(db):
    """However it came that nothing is noted of it any more."""
    table(db)
    db.daemon()
    name = db.submit(**FILL)
    db.finish(name)
    with db.connect("postgres") as session:
        session.execute("ALTER TABLE backfill.job DISABLE TRIGGER USER; UPDATE backfill.job SET state = 'cancelled', wanted = 'finish', tidy = false; ALTER TABLE backfill.job ENABLE TRIGGER USER")
        with pytest.raises(psycopg.Error, match="has left something in its table"):
            session.execute("SELECT backfill.forget(%s)", [name])


def test_another_member_of_the_role_retries_a_job_whose_login_is_gone(db):
    db.admin.execute("CREATE ROLE short LOGIN IN ROLE app_owner")
    table(db, "app_owner")
    daemon = db.daemon(max_rows=50)
    with db.held_row(400), db.connect("short") as session:
        session.execute("SET ROLE app_owner")
        name = db.submit(session=session, **FILL)
        db.wait_at(400, name)
        daemon.kill()
    db.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'short'")
    wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE usename = 'short'") == 0)
    db.admin.execute("DROP OWNED BY short; DROP ROLE short")
    daemon.start()
    assert "short, who submitted the job, is gone" in db.finish(name, "failed")["hint"]
    with pytest.raises(psycopg.Error):
        db.session("other").execute("SELECT backfill.retry(%s)", [name])
    with db.connect("app") as session:
        session.execute("SET ROLE app_owner")
        session.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    assert db.one("SELECT count(*) FROM t WHERE b = a * 2") == 500 and db.job(name)["submitted_by"] == "app"


def test_nobody_takes_a_job_over_in_a_function_of_another(db):
    """What runs in the name of somebody else is no wish of theirs."""
    db.admin.execute("CREATE ROLE short LOGIN IN ROLE app_owner")
    table(db, "app_owner")
    with db.connect("short") as session:
        session.execute("SET ROLE app_owner")
        name = db.submit(session=session, **FILL)
    db.admin.execute("UPDATE backfill.job SET state = 'failed'; DROP OWNED BY short; DROP ROLE short")
    db.admin.execute(f"CREATE FUNCTION public.lure() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT backfill.retry('{name}') $$;"
                     "ALTER FUNCTION public.lure() OWNER TO app_owner; GRANT EXECUTE ON FUNCTION public.lure() TO app")
    with pytest.raises(psycopg.Error):
        db.app.execute("SELECT public.lure()")
    assert db.job(name)["submitted_by"] == "short"


def test_undo_never_drops_the_only_copy(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, note text); INSERT INTO t SELECT i, i FROM generate_series(1, 100) AS i")
    db.daemon()
    db.finish(db.submit(name="fill", add_column="b int", set_clause="b = a * 2"))
    db.finish(db.submit(name="kept", add_column="c int", set_clause="c = a * 2", keep_in_sync=True))
    db.app.execute("SELECT backfill.finish('kept')")
    wait_until(lambda: not db.job("kept")["tidy"], what="the trigger is gone")
    db.finish(db.submit(name="drop", drop_column="a"))
    with pytest.raises(psycopg.Error, match="was finished") as refused:
        db.app.execute("SELECT backfill.undo('kept')")
    assert "drop_column" in refused.value.diag.message_hint
    with pytest.raises(psycopg.Error, match="has added nothing"):
        db.app.execute("SELECT backfill.undo('drop')")
    db.app.execute("SELECT backfill.undo('fill')")
    wait_until(lambda: db.job("fill")["error"], what="it says why not")
    assert "only copy of what was in a" in db.job("fill")["error"] and db.one("SELECT sum(b) + sum(c) FROM t") == 4 * 5050
    with pytest.raises(psycopg.Error, match="has left something"):
        db.app.execute("SELECT backfill.forget('fill')")


def test_drop_column_never_offers_to_pass_over_the_primary_key(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int UNIQUE); CREATE VIEW v AS SELECT id FROM t")
    db.daemon()
    job = db.finish(db.submit(drop_column="id"), "failed")
    assert "primary key: constraint t_pkey" in job["error"] and "ignore" not in job["hint"]


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_whose_row_was_locked_when_the_daemon_looked_is_looked_at_again(db, ended):
    """Whoever locked it lets go without a word: nothing notifies of it."""
    table(db)
    db.admin.execute("CREATE TABLE u (id int PRIMARY KEY, b int); INSERT INTO u VALUES (1); GRANT ALL ON u TO app")
    daemon = db.daemon()
    if ended:
        name = db.submit(**FILL)
        db.finish(name)
    daemon.kill()
    name = name if ended else db.submit(**FILL)
    if ended:
        db.app.execute("SELECT backfill.finish(%s)", [name])
    with db.connect("app") as holder, holder.transaction():
        holder.execute("SELECT FROM backfill.job WHERE name = %s FOR UPDATE", [name])
        daemon.start()
        db.finish(db.submit(target="u", set_clause="b = 1"))
        assert db.state(name) == ("succeeded" if ended else "queued") and (len(made(db)) == 10) == ended, "it is passed over"
    if ended:
        wait_until(lambda: made(db) == [("b",)], what="the trigger is gone")
    else:
        db.finish(name)


def test_report_of_a_job_that_was_undone_while_it_was_paused_has_its_rows(db):
    db.table()
    daemon = db.daemon()
    with db.held_row(500):
        name = db.submit(add_column="m int", set_clause="m = n")
        db.wait_at(500, name)
        db.app.execute("SELECT backfill.pause(%s)", [name])
        db.wait_state(name, "paused")
    assert (db.job(name)["report"] or {}).get("rows") is None
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: not db.job(name)["tidy"], what="it is undone")
    assert db.job(name)["report"]["rows"] == 499 and db.one("SELECT rows FROM backfill.status WHERE name = %s", name) == 499
    daemon.says("tidy: drop column")


# ---- What could not be taken out

LEFT = "SELECT throttled_by FROM backfill.status WHERE name = %s"


@pytest.mark.parametrize("call", ["finish", "undo"])
def test_what_could_not_be_taken_out_is_named_and_tried_again_by_retry(db, call):
    """By an event trigger, say. Until then the job isn't forgotten; afterwards nothing of the error is left."""
    table(db)
    db.daemon()
    name = db.submit(**FILL)
    db.finish(name)
    db.admin.execute("""CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no DDL today'; END $$;
                        CREATE EVENT TRIGGER no_drop ON sql_drop EXECUTE FUNCTION no_ddl()""")
    db.app.execute(f"SELECT backfill.{call}(%s)", [name])
    wait_until(lambda: db.one(LEFT, name) == "what it added is still in the table, until retry", what="it can't be taken out")
    assert "no DDL today" in db.job(name)["error"] and f"backfill.retry('{name}')" in db.job(name)["hint"]
    with pytest.raises(psycopg.Error, match="has left something in its table") as refused:
        db.app.execute("SELECT backfill.forget(%s)", [name])
    assert "retry" in refused.value.diag.message_hint
    db.app.execute("SELECT backfill.retry(%s)", [name])
    wait_until(lambda: db.job(name)["error"] is not None and db.one(LEFT, name) == "what it added is still in the table, until retry", what="it was tried again")
    db.admin.execute("DROP EVENT TRIGGER no_drop")
    assert db.one("SELECT backfill.retry(%s)", name, user="app") == 0
    wait_until(lambda: not [o for o in made(db) if "backfilld" in o] and not db.job(name)["tidy"], what="it is taken out")
    assert db.job(name)["error"] is None and db.job(name)["hint"] is None and db.one(LEFT, name) is None
    assert db.state(name) == ("succeeded" if call == "finish" else "cancelled")
    db.app.execute("SELECT backfill.forget(%s)", [name])


def test_a_constraint_that_undo_could_not_drop_goes_with_retry(db):
    table(db)
    db.daemon()
    name = db.submit(enforce=["UNIQUE (a)"])
    db.finish(name)
    db.app.execute("CREATE TABLE theirs (a int REFERENCES t (a)); SELECT backfill.undo(%s)" % f"'{name}'")
    wait_until(lambda: db.one(LEFT, name) is not None and db.job(name)["error"], what="it can't be dropped")
    assert f"backfill.retry('{name}')" in db.job(name)["hint"]
    with pytest.raises(psycopg.Error, match="has left something in its table"):
        db.app.execute("SELECT backfill.forget(%s)", [name])
    db.app.execute("DROP TABLE theirs; SELECT backfill.retry(%s)" % f"'{name}'")
    wait_until(lambda: made(db) == [], what="it is dropped")


def test_undo_of_a_role_that_has_lost_its_right_is_told_in_status(db):
    table(db)
    db.daemon()
    db.admin.execute("CREATE ROLE owning NOLOGIN ROLE app") if not db.one("SELECT count(*) FROM pg_roles WHERE rolname = 'owning'") else None
    db.admin.execute("GRANT CREATE ON SCHEMA public TO owning; ALTER TABLE t OWNER TO owning")
    name = db.submit(**FILL)
    db.finish(name)
    db.admin.execute("REVOKE owning FROM app")
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: db.one(LEFT, name) == "what it added is still in the table, until retry", what="it can't be taken out")
    db.admin.execute("GRANT owning TO app")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    wait_until(lambda: made(db) == [], what="it is taken out")


@pytest.mark.parametrize("enforce", ["NOT NULL b", "CHECK (b IS NOT NULL)"])
@pytest.mark.parametrize("call", ["finish", "cancel"])
def test_who_gives_up_a_job_that_failed_is_left_with_nothing_that_fails_old_code(db, call, enforce):
    table(db)
    db.app.execute("INSERT INTO t VALUES (1000, 1)")
    db.daemon()
    name = db.submit(**FILL, enforce=[enforce, "UNIQUE (a)"])
    db.finish(name, "failed")
    wait_until(lambda: not db.job(name)["unfinished"], what="its index is gone")
    assert len(made(db)) > 5
    db.app.execute(f"SELECT backfill.{call}(%s)", [name])
    wait_until(lambda: [o for o in made(db)] == [("b",)], what="all but the column is gone")
    db.app.execute("INSERT INTO t (id, a) VALUES (2000, 5)")


def test_cancel_in_validate_leaves_nothing_that_fails_old_code(db):
    table(db)
    db.daemon()
    with db.connect("postgres") as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class")
        name = db.submit(**FILL, enforce=["NOT NULL b", "UNIQUE (a)"])
        wait_until(lambda: db.job(name)["phase"] == "validate" and db.one("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass") == 2, what="the index is being built")
        db.app.execute("SELECT backfill.cancel(%s)", [name])
    wait_until(lambda: set(made(db)) <= {("b",), ("t_a_key",)}, what="trigger and NOT NULL are gone")
    db.app.execute("INSERT INTO t (id, a) VALUES (2000, 9000)")


def test_cancel_does_not_leave_old_code_with_a_constraint_and_no_trigger(db):
    table(db)
    db.daemon()
    name = db.submit(**FILL, enforce=["NOT NULL b"])
    db.finish(name)
    with pytest.raises(psycopg.Error, match="INSERTs of old code would fail") as refused:
        db.app.execute("SELECT backfill.cancel(%s)", [name])
    db.app.execute("INSERT INTO t (id, a) VALUES (2000, 5)")
    db.app.execute(refused.value.diag.message_hint.split(" takes back")[0])
    wait_until(lambda: made(db) == [], what="all of it is gone")


def test_undo_drops_the_column_that_the_job_added_whatever_it_is_called_and_no_other(db):
    table(db)
    db.daemon()
    name = db.submit(**FILL, enforce=["NOT NULL b", "CHECK (b > 0)"])
    db.finish(name)
    db.app.execute("ALTER TABLE t RENAME b TO bb; SELECT backfill.undo(%s)" % f"'{name}'")
    wait_until(lambda: made(db) == [], what="all of it is gone, its CHECK too, whose text has the new name by now")
    again = db.submit(**FILL)
    db.finish(again)
    db.app.execute("SELECT backfill.finish(%s)", [again])
    wait_until(lambda: made(db) == [("b",)], what="its trigger is gone")
    third = db.submit(add_column="c int", set_clause="c = a", keep_in_sync=True)
    db.finish(third)
    for command in ("DROP TRIGGER zz_backfilld_keep_in_sync_%s_insert ON t" % f"{db.job(third)['id']:06}", "DROP TRIGGER zz_backfilld_keep_in_sync_%s_update ON t" % f"{db.job(third)['id']:06}"):
        db.app.execute(command)
    db.app.execute("ALTER TABLE t DROP c CASCADE; ALTER TABLE t ADD c text DEFAULT 'mine'; SELECT backfill.undo(%s)" % f"'{third}'")
    db.wait_state(third, "cancelled")
    wait_until(lambda: not db.job(third)["tidy"], what="it is tidied up")
    assert db.one("SELECT count(*) FROM t WHERE c = 'mine'") == 500


@pytest.mark.parametrize("wish", ["undo", "cancel", "pause"])
def test_a_wish_in_the_last_moment_of_a_job_is_heard(db, wish):
    """Between the daemon's decision that it has succeeded and its writing so."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT g, 'x' FROM generate_series(1, 100) AS g")
    db.daemon()
    for i in range(2):
        name = db.submit(add_column=f"c{i} text", set_clause=f"c{i} = lower(a)", keep_in_sync=True)
        wait_until(lambda: db.one("SELECT phase FROM backfill.job WHERE name = %s", name) == "validate", every=0.001, what="it is in its last phase")
        db.app.execute(f"SELECT backfill.{wish}(%s)", [name])
        state = db.wait_state(name, *(("cancelled",) if wish != "pause" else ("succeeded", "paused"))) and db.state(name)
        if wish == "pause":
            if state == "paused":
                db.app.execute("SELECT backfill.resume(%s)", [name])
                db.finish(name)
            assert db.job(name)["wanted"] == "run"
            db.app.execute("SELECT backfill.finish(%s)", [name])
        wait_until(lambda: db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass") == 0, what="its triggers are gone")
        if wish == "undo":
            wait_until(lambda: db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = %s", f"c{i}") == 0, what="its column is gone")


@pytest.mark.parametrize("change, now", [("ALTER TABLE t RENAME qty TO qty_old; ALTER TABLE t RENAME qty_new TO qty", "qty_old"), ("ALTER TABLE t DROP qty; ALTER TABLE t RENAME qty_new TO qty", None), ("ALTER TABLE t RENAME qty TO qty_old", "qty_old")])
@pytest.mark.parametrize("when", ["queued", "retried"])
def test_a_column_that_came_to_the_name_later_is_not_dropped(db, change, now, when):
    """After a swap of names: it has what new code wrote."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, qty int, qty_new bigint); INSERT INTO t SELECT g, g, g FROM generate_series(1, 10) g")
    if when == "retried":
        db.daemon()
        db.app.execute("CREATE VIEW v AS SELECT qty FROM t")
    name = db.submit(drop_column="qty")
    if when == "retried":
        db.finish(name, "failed")
        db.app.execute("DROP VIEW v")
    db.app.execute(change)
    if when == "retried":
        db.app.execute("SELECT backfill.retry(%s)", [name])
    else:
        db.daemon()
    failed = db.finish(name, "failed")
    assert "column qty of public.t is another one than when the job was inserted" in failed["error"] and (now is None or f"that one is called {now} now" in failed["error"])
    columns = db.one("SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped")
    assert columns == ("id qty qty_old" if "qty_new" in change and now else "id qty" if "qty_new" in change else "id qty_new qty_old")


@pytest.mark.parametrize("where", ["b IS NULL", "(t.b) ISNULL", None])
def test_a_column_of_the_applications_with_a_default_is_never_told_to_be_dropped(db, where):
    table(db)
    db.app.execute("ALTER TABLE t ADD b int NOT NULL DEFAULT 0")
    with pytest.raises(psycopg.Error, match="has a column b already, with a default"):
        db.submit(**FILL, where_clause=where)


def test_for_another_clause_the_hints_say_undo_first(db):
    """What finish leaves in the column counts as right."""
    table(db)
    db.daemon()
    name = db.submit(**FILL)
    db.finish(name)
    for other in (dict(name=name), dict(name="another")):
        with pytest.raises(psycopg.Error) as refused:
            db.submit(**{**FILL, "set_clause": "b = a * 10", **other})
        assert refused.value.diag.message_hint.index(f"backfill.undo('{name}')") < len(refused.value.diag.message_hint) and "backfill.finish" not in refused.value.diag.message_hint.split("backfill.undo")[0]
    with pytest.raises(psycopg.Error) as refused:
        db.app.execute("SELECT backfill.forget(%s)", [name])
    assert "backfill.finish" not in refused.value.diag.message_hint.split("backfill.undo")[0]
    db.app.execute("SELECT backfill.undo(%s)", [name])  # as the hints say
    wait_until(lambda: not db.job(name)["tidy"])
    db.app.execute("SELECT backfill.forget(%s)", [name])
    db.finish(db.submit(**{**FILL, "set_clause": "b = a * 10"}))
    assert db.one("SELECT count(*) FROM t WHERE b <> a * 10") == 0


def test_a_dry_run_has_nothing_to_finish(db):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g")
    db.daemon()
    name = db.submit(**FILL, sync_back="a = b / 2", dry_run=True)
    db.finish(name)
    with pytest.raises(psycopg.Error, match="keeps nothing in step, so there is nothing to finish"):
        db.app.execute("SELECT backfill.finish(%s)", [name])


@pytest.mark.parametrize("add", [True, False])
def test_not_null_goes_with_its_column_whatever_that_is_called(db, add):
    table(db)
    if not add:
        db.app.execute("ALTER TABLE t ADD b int")
    db.daemon()
    name = db.submit(**{**FILL, **({} if add else {"add_column": None, "where_clause": "b IS NULL"})}, enforce=["NOT NULL b"])
    db.finish(name)
    db.app.execute("ALTER TABLE t RENAME b TO b_old; ALTER TABLE t ADD b int")
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: not db.job(name)["tidy"], what="it is undone")
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 1)")
    assert db.all("SELECT attname::text, attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 2 AND NOT attisdropped ORDER BY 1") == ([("b", False)] if add else [("b", False), ("b_old", False)])


@pytest.mark.parametrize("change", ["ALTER TABLE t DROP z", "ALTER TABLE t RENAME z TO y", "ALTER TABLE t RENAME a TO a_old"])
def test_only_a_source_that_is_gone_keeps_undo_from_the_column(db, change):
    table(db)
    db.app.execute("ALTER TABLE t ADD z int")
    db.daemon()
    name = db.submit(**FILL)
    db.finish(name)
    db.app.execute(change)
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: not db.job(name)["tidy"], what="it is undone")
    assert db.job(name)["error"] is None and db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'b' AND NOT attisdropped") == 0


def test_cancel_behind_an_undo_that_could_not_go_on_is_refused_like_one_before_it(db):
    table(db)
    db.daemon()
    name = db.submit(**FILL)
    db.finish(name)
    db.app.execute("ALTER TABLE t ALTER b SET NOT NULL; CREATE VIEW v AS SELECT b FROM t")
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: db.job(name)["error"], what="it says why")
    with pytest.raises(psycopg.Error, match="without its trigger the INSERTs of old code would fail"):
        db.app.execute("SELECT backfill.cancel(%s)", [name])
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 1)")
    db.app.execute("DROP VIEW v; SELECT backfill.undo(%s)" % f"'{name}'")
    wait_until(lambda: made(db) == [], what="asked again, it goes")


def test_a_finished_job_is_neither_cancelled_nor_undone(db):
    """Its column is the application's: no way round takes it."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i")
    db.daemon()
    name = db.submit(add_column="b int", set_clause="b = a", keep_in_sync=True, enforce=["NOT NULL b"])
    db.finish(name)
    db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: not db.one("SELECT tidy FROM backfill.job"), what="the trigger is out")
    for call in ("cancel", "undo"):
        with pytest.raises(psycopg.Error, match="was finished: what it added is the application's") as refused:
            db.app.execute(f"SELECT backfill.{call}(%s)", [name])
        assert refused.value.diag.message_hint
    assert db.one("SELECT count(b) FROM t") == 100
    db.app.execute("SELECT backfill.forget(%s)", [name])


def test_a_column_that_was_renamed_since_is_not_dropped(db):
    """As in a change of type, when finish was forgotten: it is the live one by now."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, qty int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i")
    db.daemon()
    name = db.submit(add_column="qty_new bigint", set_clause="qty_new = qty", keep_in_sync=True)
    db.finish(name)
    db.app.execute("BEGIN; ALTER TABLE t RENAME qty TO qty_old; ALTER TABLE t RENAME qty_new TO qty; COMMIT")
    db.app.execute("SELECT backfill.undo(%s)", [name])
    wait_until(lambda: db.job(name)["error"], what="it says why not")
    job = db.job(name)
    assert "column qty of public.t was called qty_new when the job added it, and bears the name of another one by now" in job["error"] and "drop it by hand" in job["hint"], job
    assert db.one("SELECT count(qty) FROM t") == 100


@pytest.mark.parametrize("end", [None, "pause", "cancel"])
def test_who_inserts_another_job_under_the_name_is_led_to_undo_first(db, end):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int); INSERT INTO t SELECT i, i FROM generate_series(1, 3000) i")
    db.daemon(max_rows=50)
    columns = {"name": "same", "add_column": "b int"}
    db.submit(set_clause="b = a * 100", max_rows_per_s=500, **columns)
    wait_until(lambda: db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'b'") and db.one("SELECT count(b) FROM t"), what="it fills")
    if end:
        db.app.execute(f"SELECT backfill.{end}('same')")
        wait_until(lambda: db.state("same") in ("paused", "cancelled"), what="it stops")
    with pytest.raises(psycopg.Error) as refused:
        db.submit(set_clause="b = a * 1000", **columns)
    calls = re.findall(r"SELECT (backfill\.\w+\('same'\))", refused.value.diag.message_hint)
    assert calls == ["backfill.undo('same')", "backfill.forget('same')"], refused.value.diag.message_hint
    db.app.execute(f"SELECT {calls[0]}")
    wait_until(lambda: db.state("same") == "cancelled" and not db.one("SELECT tidy FROM backfill.job"), what="it is undone")
    db.app.execute(f"SELECT {calls[1]}")
    db.finish(db.submit(set_clause="b = a * 1000", **columns))
    assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a * 1000") == 0


def test_a_trigger_that_kept_no_row_in_step_for_a_while_is_not_forgotten(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); INSERT INTO t SELECT i, i FROM generate_series(1, 3000) i")
    db.daemon(max_rows=50)
    name = db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True, max_rows_per_s=500)
    wait_until(lambda: db.one("SELECT count(b) FROM t"), what="it fills")
    db.app.execute("GRANT ALL ON t TO other, app")
    db.admin.execute("ALTER TABLE t OWNER TO other")
    db.finish(name, "failed")
    db.admin.execute("ALTER TABLE t OWNER TO app")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    job = db.finish(name)
    assert "For a while its trigger kept no row in step: it belongs to another role than the table." in job["hint"], job["hint"]
    assert "For a while" in job["report"]["not_proven"]
