"""Code of others that runs in a job's own session: it neither changes what the job does, nor concludes it, nor gets its rights.

It may be a trigger of the table, a cascade into another's table, whose triggers before it run with that owner's rights, or what is deferred to the COMMIT.
"""

import datetime
import psycopg
import pytest

from waiting import wait_until

ROWS = 120


@pytest.fixture
def table(db):
    """A table of app, walked in batches of 30, which a table of other's refers to. What strangers have seen and done is in noted."""
    db.app.execute(f"""
        CREATE TABLE t (id int PRIMARY KEY, code int UNIQUE, n int NOT NULL DEFAULT 0, who text, word text NOT NULL DEFAULT 'abc');
        INSERT INTO t (id, code) SELECT g, g FROM generate_series(1, {ROWS}) g;
        GRANT REFERENCES ON t TO other""")
    db.session("other").execute(f"""
        CREATE TABLE theirs (code int UNIQUE REFERENCES t (code) ON UPDATE CASCADE); INSERT INTO theirs SELECT generate_series(1, {ROWS});
        CREATE TABLE noted (what text, who text DEFAULT current_user); GRANT ALL ON noted, theirs TO PUBLIC""")
    return db


def stranger(db, how, body, declare="", last=0):
    """A function of other's that the job sets off, with each row up to last, or all. Returns what set_clause sets it off with."""
    db.session("other").execute(f"CREATE FUNCTION public.strange() RETURNS trigger LANGUAGE plpgsql AS $strange$ DECLARE {declare} BEGIN {body} RETURN NEW; END $strange$")
    when = f"FOR EACH ROW WHEN (NEW.code <= {last})" if last else "FOR EACH ROW"
    if how == "trigger":
        db.admin.execute(f"CREATE TRIGGER strange AFTER UPDATE ON t {when} EXECUTE FUNCTION public.strange()")
    elif how == "deferred":
        db.admin.execute(f"CREATE CONSTRAINT TRIGGER strange AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED {when} EXECUTE FUNCTION public.strange()")
    elif how == "cascade":
        db.session("other").execute(f"CREATE TRIGGER strange BEFORE UPDATE ON theirs {when.replace('<=', '>= -')} EXECUTE FUNCTION public.strange()")
    elif how == "deferred cascade":
        db.session("other").execute(f"CREATE CONSTRAINT TRIGGER strange AFTER UPDATE ON theirs DEFERRABLE INITIALLY DEFERRED {when.replace('<=', '>= -')} EXECUTE FUNCTION public.strange()")
    return "code = -code" if "cascade" in how else "n = n + 1"


HOWS = ["trigger", "deferred", "cascade", "deferred cascade"]


def done(db):
    return db.one("SELECT count(*) FROM t WHERE n = 1 OR code < 0")


# What a worker's session calls, by who knows all that the tables of the schema tell.
CALLS = {
    "run_batch": "backfill.run_batch('SELECT 1', r.relation, NULL, NULL, r.id, r.epoch, NULL, r.cursor, r.upper, 1, NULL, NULL, false, NULL, NULL, NULL, NULL, NULL, NULL)",
    "checkpoint": "backfill.checkpoint(0, r.id, r.epoch, NULL, r.cursor, r.upper, 0, 0, 0, NULL)",
    "begin_work": "backfill.begin_work()",
    "limit_session": "backfill.limit_session('1', 'off', '0')",
    "survey": "backfill.survey('SELECT 1', 'SELECT NULL', 'SELECT 1', r.relation, NULL, r.upper, false, 1, NULL)",
    "try_neighbours": "backfill.try_neighbours(r.relation, '{id}', r.upper, '22012')",
    "run_step": "backfill.run_step('validate', '{SELECT 1}', r.relation, 't')",
    "begin_session": "backfill.begin_session(0, '{}', NULL)",
}
CALL_ALL = "SET row_security = on;" + " ".join(f"""
    BEGIN
      PERFORM {call} FROM public.ranges() r; INSERT INTO public.noted VALUES ('{name} went through');
    EXCEPTION WHEN OTHERS THEN
      INSERT INTO public.noted VALUES (SQLSTATE); END;""" for name, call in CALLS.items())


@pytest.mark.parametrize("how", HOWS)
def test_worker_functions_cannot_be_called_from_within_a_batch(table, how):
    """Not even by who knows the range, where its cursor stands, and its epoch. Before, the job succeeded with all rows but the first batch undone."""
    db = table
    db.admin.execute("CREATE FUNCTION public.ranges() RETURNS SETOF backfill.range LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM backfill.range'")
    clause = stranger(db, how, CALL_ALL)
    db.daemon(max_rows=30)
    name = db.submit(set_clause=clause)
    db.finish(name)
    assert done(db) == ROWS
    assert db.all("SELECT DISTINCT what FROM noted ORDER BY what") in ([("42501",), ("BF001",)], [("42501",)])
    assert db.all("SELECT DISTINCT who FROM noted") == [("other" if how == "cascade" else "app",)]


def test_worker_functions_cannot_be_called_from_other_sessions_of_the_login(table):
    """By one that knows all there is to know."""
    db = table
    db.daemon(max_rows=30)
    with db.held_row(100):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(100, name)
        ticket = db.one("SELECT ticket FROM backfill.token")
        for call in [*CALLS.values(), f"backfill.checkpoint({ticket}, r.id, r.epoch, NULL, r.cursor, r.upper, 0, 0, 0, NULL)"]:
            with pytest.raises(psycopg.Error, match="worker|no longer at this cursor|not this daemon's|is another table") as refused:
                db.app.execute(f"SELECT {call} FROM backfill.range r")
            assert refused.value.sqlstate in ("42501", "BF001", "BF006"), call
        db.app.execute(f"SELECT backfill.note_look({ticket}), backfill.note_constraint({ticket}, 'x')")
        assert db.job(name)["guard_looked_at"] is None and db.cursor(name) == ["99"]
    db.finish(name)
    assert done(db) == ROWS


@pytest.mark.parametrize("deed", ["INSERT INTO backfill.job (name, target, set_clause) VALUES ('theirs', 'public.t', 'n = 666')", "PERFORM backfill.cancel('mine')",
                                  "UPDATE backfill.job SET target_ms = 1"])
def test_what_a_job_sets_off_neither_inserts_nor_steers_jobs(table, deed):
    """It would be a job of the login's, or its wish."""
    db = table
    stranger(db, "trigger", f"""SET row_security = on; BEGIN {deed}; EXCEPTION WHEN OTHERS THEN INSERT INTO public.noted VALUES (SQLSTATE || SQLERRM); END;""")
    db.daemon(max_rows=30)
    db.submit(name="mine", set_clause="n = n + 1", target_ms=30)
    db.finish("mine")
    assert db.counts() == {1: ROWS} and db.all("SELECT name, target_ms FROM backfill.job") == [("mine", 30)]
    [(noted,)] = db.all("SELECT DISTINCT what FROM noted")
    assert noted.startswith("42501") and "what a job sets off" in noted


EVIL = """
    CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
    CREATE FUNCTION evil.length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.noted VALUES ('length'); RETURN -1; END $$;
    CREATE FUNCTION evil.negate(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.noted VALUES ('minus'); RETURN -$1; END $$;
    CREATE OPERATOR evil.- (RIGHTARG = int, FUNCTION = evil.negate)"""

# Once more behind everything that was waited for: the trigger puts itself off again.
LATE = "IF current_setting('strange.late', true) = 'yes' THEN {0} ELSE PERFORM set_config('strange.late', 'yes', true); SET CONSTRAINTS ALL DEFERRED; UPDATE {1}; END IF;"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("how", HOWS)
def test_settings_that_a_strangers_code_leaves_behind_hold_for_no_batch_after_it(table, how, late):
    db = table
    if late and "deferred" not in how:
        pytest.skip("nothing is deferred")
    db.admin.execute(f"GRANT CREATE ON DATABASE {db.name} TO other")
    db.session("other").execute(EVIL)
    body = "SET search_path = evil, pg_catalog, public; SET lock_timeout = 0; SET statement_timeout = '7s'; SET TimeZone = 'Asia/Tokyo'; SET enable_seqscan = on;"
    if late:
        body = LATE.format(body, "public.theirs SET code = code WHERE code = NEW.code" if "cascade" in how else "public.t SET code = code WHERE id = NEW.id")
    clause = stranger(db, how, body)
    daemon = db.daemon(max_rows=30)
    name = db.submit(set_clause=f"{clause}, who = current_setting('TimeZone') || current_setting('statement_timeout') || length(word)", where_clause="who IS NULL")
    db.finish(name)
    values = dict(db.all("SELECT who, count(*) FROM t GROUP BY 1"))
    assert len(values) == 1 and "Asia" not in next(iter(values)) and next(iter(values)).endswith("3")
    assert done(db) == ROWS and db.all("SELECT * FROM noted") == []
    assert ("opened anew" in daemon.log()) == late


@pytest.mark.parametrize("setting", ["default_transaction_read_only", "exit_on_error"])
def test_session_that_a_strangers_code_makes_read_only_or_end_at_each_error_is_opened_anew(table, setting):
    """Else a brake would be said to hold the next batch, or the session end with the error of its row."""
    db = table
    stranger(db, "trigger", f"SET {setting} = on;", last=30)
    daemon = db.daemon(max_rows=30)
    job = db.finish(db.submit(set_clause="n = 1 / (90 - id)", on_error="quarantine"))
    assert db.left_behind("error") == [(["90"],)] and job["report"]["rows"] == ROWS - 1
    assert job["report"]["retries"].get("connection", 0) <= 1, "the session is opened anew, once"
    assert "is a disk full" not in daemon.log()


def test_role_that_a_strangers_code_sets_back_is_that_of_no_batch_after_it(table):
    db = table
    db.admin.execute("ALTER TABLE t OWNER TO app_owner; GRANT ALL ON noted TO app_owner")
    stranger(db, "trigger", "SET ROLE none;")
    db.daemon(max_rows=30)
    with db.connect() as session:
        session.execute("SET ROLE app_owner")
        name = db.submit(session=session, set_clause="who = current_user", where_clause="who IS NULL")
    db.finish(name)
    assert db.all("SELECT who, count(*) FROM t GROUP BY 1") == [("app_owner", ROWS)]


def test_settings_that_the_job_names_are_its_own_in_each_batch(table):
    db = table
    db.session("other").execute("CREATE FUNCTION public.strange() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('shop.rate', '3', false), set_config('shop.other', '3', false); RETURN NULL; END $$")
    db.admin.execute("CREATE TRIGGER strange AFTER UPDATE ON t EXECUTE FUNCTION public.strange()")
    db.daemon(max_rows=30)
    name = db.submit(set_clause="who = current_setting('shop.rate') || coalesce(current_setting('shop.other', true), '')", settings={"shop.rate": "2"})
    db.finish(name)
    assert dict(db.all("SELECT who, count(*) FROM t GROUP BY 1")) == {"2": 30, "23": ROWS - 30}  # what nobody has named is the trigger's affair


@pytest.mark.parametrize("how", ["trigger", "deferred cascade"])
def test_prepared_statement_of_the_daemon_cannot_be_replaced(table, how):
    db = table
    clause = stranger(db, how, """
        FOR statement IN SELECT p.name FROM pg_prepared_statements p WHERE NOT p.from_sql LOOP
          EXECUTE format('DEALLOCATE %I', statement);
          EXECUTE format('PREPARE %I AS INSERT INTO public.noted VALUES (''evil'')', statement);
        END LOOP;""", declare="statement text;")
    db.daemon(max_rows=30)
    job = db.finish(db.submit(set_clause=clause), "failed")
    assert "prepared a statement under the name" in job["error"] and done(db) == 0
    assert db.all("SELECT * FROM noted") == []


def test_prepared_statement_that_is_replaced_before_an_error_is_not_run_after_it(table):
    """A batch that fails is tried again in the same session, in parts."""
    db = table
    clause = stranger(db, "trigger", """
        FOR statement IN SELECT p.name FROM pg_prepared_statements p WHERE NOT p.from_sql LOOP
          EXECUTE format('DEALLOCATE %I', statement);
          EXECUTE format('PREPARE %I(text,oid,text,text,bigint,bigint,tid,text[],text[],bigint,real,bigint,boolean,jsonb) AS INSERT INTO public.noted VALUES (''evil'')', statement);
        END LOOP;
        PERFORM 1 / (NEW.id - 20);""", declare="statement text;")
    db.daemon(max_rows=30)
    job = db.finish(db.submit(set_clause=clause, on_error="quarantine"), "failed")
    assert "prepared a statement under the name" in job["error"]
    assert db.all("SELECT * FROM noted") == []


def test_prepared_statement_that_is_gone_costs_a_session(table):
    db = table
    stranger(db, "trigger", "DEALLOCATE ALL;")
    daemon = db.daemon(max_rows=30)
    job = db.finish(db.submit(set_clause="n = n + 1"))
    log = daemon.log()
    assert db.counts() == {1: ROWS} and job["report"]["retries"]["connection"] > 2
    assert 1 <= log.count("waits, and tries again: code of others") <= 1 + log.count("rows/s,") and "does not exist" not in log, "it is said once, and with how far the job is"


def test_temporary_table_of_a_stranger_stands_in_no_clause(table):
    db = table
    db.app.execute("CREATE TABLE rates (v int); INSERT INTO rates VALUES (1)")
    clause = stranger(db, "cascade", "CREATE TEMPORARY TABLE IF NOT EXISTS rates (v int); INSERT INTO pg_temp.rates VALUES (666); GRANT ALL ON pg_temp.rates TO PUBLIC;")
    db.daemon(max_rows=30)
    db.finish(db.submit(set_clause=f"{clause}, n = (SELECT max(v) FROM rates)"))
    assert db.counts() == {1: ROWS}


def test_what_is_deferred_is_seen_by_the_proof(table):
    """It would come after the last look, and the job succeed."""
    db = table
    stranger(db, "deferred", "UPDATE public.t SET who = NULL WHERE id = NEW.id AND who IS NOT NULL;")
    db.daemon(max_rows=30)
    job = db.finish(db.submit(set_clause="who = 'x'", where_clause="who IS NULL"), "failed")
    assert "trigger strange changes the row back" in job["error"]


def test_no_secret_of_a_job_can_be_read_in_its_session(table):
    """Neither in the text of a statement, nor in the context of an error, in any phase."""
    db = table
    db.admin.execute("""
        CREATE TABLE secrets (secret text);
        CREATE FUNCTION note_secrets() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO public.secrets VALUES (NEW.token), (NEW.ticket); RETURN NULL; END $$;
        CREATE TRIGGER note_secrets AFTER INSERT OR UPDATE ON backfill.token FOR EACH ROW EXECUTE FUNCTION note_secrets()""")
    db.session("other").execute("""
        CREATE FUNCTION public.listen() RETURNS void LANGUAGE plpgsql AS $$
          DECLARE heard text;
          BEGIN
            PERFORM pg_catalog.set_config('log_parameter_max_length_on_error', '-1', false);
            GET DIAGNOSTICS heard = PG_CONTEXT;
            INSERT INTO public.noted VALUES (heard), (current_query());
            INSERT INTO public.noted SELECT statement FROM pg_prepared_statements;
            INSERT INTO public.noted SELECT query FROM pg_stat_activity WHERE query IS NOT NULL;
            BEGIN
              PERFORM 1 / 0;
            EXCEPTION WHEN OTHERS THEN
              GET STACKED DIAGNOSTICS heard = PG_EXCEPTION_CONTEXT;
              INSERT INTO public.noted VALUES (heard);
            END;
          END $$;
        CREATE FUNCTION public.twice(i int) RETURNS int LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$ BEGIN PERFORM public.listen(); RETURN 2 * i; END $$;
        CREATE FUNCTION public.holds(i int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.twice(1); RETURN true; END $$""")
    stranger(db, "trigger", "PERFORM public.listen();")
    db.admin.execute("ALTER FUNCTION public.twice OWNER TO app")
    db.close_public()
    db.daemon(max_rows=30)
    name = db.submit(add_column="d int", set_clause="d = public.twice(id)", where_clause="d IS NULL", keep_in_sync=True, enforce=["CHECK (public.holds(d))", "NOT NULL d"])
    db.finish(name)
    heard = "\n".join(text for text, in db.all("SELECT DISTINCT what FROM noted WHERE what IS NOT NULL"))
    assert [word for word in ("run_batch", "run_step", "VALIDATE", "make_sync") if word not in heard] == []
    secrets = [secret for secret, in db.all("SELECT DISTINCT secret FROM secrets WHERE secret IS NOT NULL")]
    assert len(secrets) > 1 and not [secret for secret in secrets if secret in heard]


def test_settings_are_named_in_the_order_in_which_they_are_compared(db):
    db.admin.execute("SET backfilld.brake = 'x'")
    assert db.all("SELECT name FROM unnest(backfill.setting_names(), backfill.settings_now()) AS s(name, value) WHERE value IS DISTINCT FROM current_setting(name, true)") == []
    assert db.one("SELECT count(*) FROM unnest(backfill.setting_names())") == db.one("SELECT cardinality(backfill.settings_now())")
    assert db.one("SELECT (backfill.settings_now())[1:8] = backfill.main_settings_now()")


def test_what_values_depend_on_is_set_back_whoever_has_changed_it(db):
    db.session("other").execute("""CREATE FUNCTION touch(n bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
      IF n = 1 THEN PERFORM set_config('array_nulls', 'off', false), set_config('timezone_abbreviations', 'Australia', false), set_config('backslash_quote', 'on', false), set_config('enable_indexscan', 'off', false); END IF; RETURN n; END $$""")
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, x text, a text[], z timestamptz, n bigint); INSERT INTO t SELECT g FROM generate_series(1, 1000) AS g")
    db.daemon(max_rows=100)
    db.finish(db.submit(set_clause="a = ('{' || coalesce(x, 'NULL') || '}')::text[], z = '2020-01-01 00:00 EST'::text::timestamptz, n = touch(id)"))
    assert db.all("SELECT a, z AT TIME ZONE 'UTC', count(*) FROM t WHERE id > 100 GROUP BY 1, 2") == [([None], datetime.datetime(2020, 1, 1, 5), 900)], "of the statement itself it is the function's affair"
