"""Ways that were tried to get at more than one's own, and are shut."""

import psycopg
import pytest

from waiting import wait_until

REFUSED = psycopg.errors.InsufficientPrivilege
JOB = "INSERT INTO backfill.job (name, target, set_clause) VALUES ('{}', 't', 'n = n + 1')"


@pytest.fixture
def mine(db):
    """A job of app that waits, and one of other."""
    db.table(rows=100)
    db.table("theirs", rows=10, user="other")
    db.submit(name="mine", set_clause="n = n + 1", wanted="pause")
    return db


# ---- What is written past the functions

def test_tables_of_the_schema_are_written_by_nobody_but_the_daemon(mine):
    for statement in (
            "UPDATE backfill.job SET state = 'succeeded'", "UPDATE backfill.job SET submitted_by = 'postgres'", "UPDATE backfill.job SET submitted_by_oid = 10", "UPDATE backfill.job SET owner_oid = 10",
            "UPDATE backfill.job SET plan = '{}'", "UPDATE backfill.job SET again = 1", "DELETE FROM backfill.job", "TRUNCATE backfill.job CASCADE", "DELETE FROM backfill.range",
            "DELETE FROM backfill.left_behind", "DELETE FROM backfill.installed", "UPDATE backfill.installed SET version = 1", "TRUNCATE backfill.installed", "DELETE FROM backfill.token",
            "INSERT INTO backfill.token VALUES (1, 1)", "INSERT INTO backfill.range (job_id) VALUES (1)", "INSERT INTO backfill.left_behind (job_id) VALUES (1)",
            "INSERT INTO backfill.job (target, set_clause, submitted_by) VALUES ('t', 'n = 1', 'postgres')", "INSERT INTO backfill.job (target, set_clause, submitted_by_oid) VALUES ('t', 'n = 1', 10)",
            "INSERT INTO backfill.job (id, target, set_clause) OVERRIDING SYSTEM VALUE VALUES (4711, 't', 'n = 1')", "COPY backfill.job (name, state) FROM STDIN",
            "CREATE TRIGGER t AFTER INSERT ON backfill.job EXECUTE FUNCTION suppress_redundant_updates_trigger()", "CREATE TABLE r (id bigint REFERENCES backfill.job)",
            "CREATE FUNCTION backfill.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE RULE r AS ON INSERT TO backfill.job DO ALSO NOTHING", "CREATE INDEX ON backfill.job (name)",
            "ALTER TABLE backfill.job DISABLE ROW LEVEL SECURITY", "COMMENT ON TABLE backfill.job IS 'x'", "CREATE POLICY p ON backfill.job USING (true)",
            "BEGIN; LOCK TABLE backfill.job IN ACCESS EXCLUSIVE MODE", "ROLLBACK; BEGIN; LOCK TABLE backfill.job IN SHARE MODE", "ROLLBACK; BEGIN; LOCK TABLE backfill.range IN ROW EXCLUSIVE MODE", "ROLLBACK; ALTER SCHEMA backfill RENAME TO x", "REINDEX TABLE backfill.job",
            "SELECT setval('backfill.job_id_seq', 1)"):
        with pytest.raises(REFUSED):
            mine.app.execute(statement)
    assert (mine.state("mine"), mine.job("mine")["submitted_by"]) == ("paused", "app")


def test_a_name_that_is_anothers_is_refused(mine):
    """Also with ON CONFLICT: it would be said to be there, and be another's."""
    other = mine.session("other")
    insert = "INSERT INTO backfill.job (name, target, set_clause) VALUES ('mine', 'theirs', 'n = n + 1') ON CONFLICT (name) "
    for conflict in ("DO UPDATE SET wanted = 'cancel'", "DO NOTHING"):
        with pytest.raises(psycopg.errors.UniqueViolation, match="another role's job") as refused:
            other.execute(insert + conflict)
        assert "another name" in refused.value.diag.message_hint
    assert mine.state("mine") == "paused"


@pytest.mark.parametrize("name", ["orders-cents ", " orders-cents", "orders-cents\u200b", "\ufeff", "orders\u00a0cents", "a\u2028b", "orders-cents\u3000", "orders-cents\ufe0f", "orders-cents\u3164", "orders-cents\u2800", "orders-cents\U000e0041"])
def test_a_name_that_looks_like_anothers_is_refused(db, name):
    db.table(rows=1)
    with pytest.raises(psycopg.Error, match="name") as refused:
        db.submit(user="other", name=name, set_clause="n = 1")
    assert refused.value.diag.message_hint.startswith("Give a name that people can type")


def test_names_that_jobs_without_one_will_get_can_be_taken_by_nobody(mine):
    """Their INSERT would fail, of whoever it is."""
    for n in range(1, 30):
        with pytest.raises(psycopg.Error, match="without a name"):
            mine.session("other").execute(f"INSERT INTO backfill.job (name, target, set_clause) VALUES ('job-{n * 10000}', 'theirs', 'n = 1')")
    assert mine.submit(set_clause="n = 1", wanted="pause").startswith("job-")
    mine.submit(name="job-of-mine", set_clause="n = 1", wanted="pause")


def test_leaky_functions_and_statistics_tell_of_own_rows_only(mine):
    mine.session("other").execute("""
        CREATE TABLE heard (what text);
        CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN INSERT INTO heard VALUES ($1); RETURN true; END $$;""")
    mine.submit(name="yours", user="other", target="theirs", set_clause="n = 1", wanted="pause")
    for table in ("job", "status"):
        mine.session("other").execute(f"SELECT count(*) FROM backfill.{table} WHERE leak(name)")
    mine.session("other").execute("SELECT count(*) FROM backfill.left_behind WHERE leak(message); UPDATE backfill.job SET priority = 1 WHERE leak(name)")
    assert mine.all("SELECT DISTINCT what FROM heard") == [("yours",)]
    mine.admin.execute("ANALYZE backfill.job")
    assert mine.session("other").execute("SELECT count(*) FROM pg_stats WHERE schemaname = 'backfill' AND tablename = 'job'").fetchone()[0] == 0


def test_what_a_worker_shows_helps_no_other_login(db):
    """Neither the epoch nor the ticket makes another session of it."""
    db.table(rows=1000)
    db.daemon(max_rows=50)
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        at, epoch, cursor = db.all("SELECT id, epoch, cursor FROM backfill.range")[0]
        token, ticket = db.all("SELECT token, ticket FROM backfill.token")[0]
        for role in ("other", "postgres", "app"):
            session = db.session(role)
            with pytest.raises(psycopg.Error, match="no longer at this cursor"):
                session.execute("SELECT backfill.checkpoint(%s, %s, %s, NULL, %s, '{1000}', 0, 0, 0, NULL)", [ticket, at, epoch, cursor])
            assert session.execute("SELECT (backfill.own_job(%s)).id", [ticket]).fetchone()[0] is None
            assert not session.execute("SELECT backfill.step_is_wanted(%s, 'backfill')", [ticket]).fetchone()[0]
            session.execute("SELECT backfill.note_look(%s), backfill.note_constraint(%s, 'x')", [ticket, ticket])
        for role in ("other", "postgres"):
            with pytest.raises(psycopg.Error, match="not this daemon's"):
                db.session(role).execute("SELECT backfill.begin_session(%s, NULL, NULL)", [token])
        assert db.job(name)["guard_looked_at"] is None and db.cursor(name) == cursor
    db.finish(name)


def test_token_is_another_each_time_that_a_job_is_claimed(db):
    db.table(rows=1000)
    daemon = db.daemon(max_rows=50)
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        token = db.one("SELECT token FROM backfill.token")
        daemon.kill()
        daemon.start()
        wait_until(lambda: db.one("SELECT token FROM backfill.token") != token, what="it was claimed again")
    db.finish(name)


# ---- Texts that want to get out

TEXTS = {
    "set_clause": ["n = 1; DROP TABLE t", "n = 1 WHERE true; --", "n = 1) --", "n = (SELECT 1; DROP TABLE t)", "n = 1 RETURNING *", "n = 1 FROM pg_authid", "n = 1 /*", "n = $5", "n = (SELECT count(*) FROM pg_authid)"],
    "where_clause": ["true; DROP TABLE t", "true) OR (true", "true RETURNING *", "true /*", "EXISTS (SELECT FROM pg_authid)"],
    "add_column": ["c int; DROP TABLE t", "c int, DROP COLUMN n", "c int DEFAULT 1", "c int REFERENCES t", "c int CHECK (pg_sleep(1) IS NULL)", "c int GENERATED ALWAYS AS (1) STORED", "c int) INHERITS (t"],
    "enforce": ["CHECK (n > 0); DROP TABLE t", "CHECK (n > 0) NO INHERIT; --", "CHECK (true)) --", "NOT NULL n; DROP TABLE t", "UNIQUE (n); DROP TABLE t", "UNIQUE (n) USING INDEX t_pkey", "FOREIGN KEY (n) REFERENCES pg_authid (oid)",
                "FOREIGN KEY (n) REFERENCES t ON DELETE CASCADE; --", "EXCLUDE USING gist (n WITH =)", "CHECK ((SELECT true))"],
    "statement": ["COPY t TO '/tmp/x' WHERE {batch}", "EXPLAIN ANALYZE DELETE FROM t WHERE {batch}", "DELETE FROM t WHERE {batch}; DROP TABLE t", "SELECT 1 WHERE {batch}", "UPDATE theirs SET n = 1 WHERE {batch}",
                  "DO $$ BEGIN {batch} END $$", "TRUNCATE t /* {batch} */", "UPDATE t SET n = 1 -- {batch}", "UPDATE t SET n = '{batch}'"],
    "drop_column": ["n; DROP TABLE t", "n CASCADE", '"n"', "ctid"],
    "active_hours": ["x" * 400, "../../etc/passwd", "22:00-06:00 ../../../etc/passwd"],
    "settings": ['[]', '"x"', '1'],
    "key": ["{\"id; DROP TABLE t\"}", "{nothing}"],
    "throttle_off": ["{everything}", "{\"lag; --\"}"],
    "name": ["", "a\nb", "a\u009bb"],
}


def test_texts_that_would_close_comment_or_add_something_are_refused_when_they_are_inserted(mine):
    mine.admin.execute("GRANT SELECT ON theirs TO app")
    taken = []
    for column, texts in TEXTS.items():
        for text in texts:
            columns = {column: [text] if column == "enforce" else text, "target": "t"}
            if column not in ("set_clause", "statement", "enforce", "drop_column"):
                columns["set_clause"] = "n = 1" if column != "add_column" else "c = 1"
            if column == "enforce":
                columns["set_clause"], columns["where_clause"] = "n = 1", "n <> 1"
            places = ", ".join("%s::jsonb" if name == "settings" else "%s::text[]" if name in ("enforce", "key", "throttle_off") else "%s" for name in columns)
            try:
                mine.app.execute(f"INSERT INTO backfill.job ({', '.join(columns)}) VALUES ({places})", list(columns.values()))
                taken.append((column, text))
            except psycopg.Error as refused:
                assert refused.sqlstate[:2] in ("22", "23", "42", "0A", "54", "55"), (column, text, refused)
    assert taken == [] and mine.one("SELECT count(*) FROM backfill.job") == 1 and mine.one("SELECT count(*) FROM t") == 100


@pytest.mark.parametrize("target", ["theirs", "pg_catalog.pg_authid", "backfill.job", "backfill.status", "pg_class", "4711", "t_pkey"])
def test_targets_that_are_not_ones_own_are_refused(mine, target):
    for clauses in ("set_clause", "statement"):
        with pytest.raises(psycopg.Error):
            mine.submit(target=target, **{clauses: "n = 1" if clauses == "set_clause" else "UPDATE t SET n = 1 WHERE {batch}"})


def test_right_to_read_a_table_keeps_no_job_off_it(mine):
    """A job holds its table for itself: who may not write it gets none there."""
    mine.session("other").execute("GRANT SELECT ON theirs TO app")
    with pytest.raises(REFUSED, match="may not write public.theirs") as refused:
        mine.submit(target="theirs", statement="UPDATE t SET n = n + 1 WHERE {batch}")
    assert "GRANT UPDATE ON public.theirs TO app" in refused.value.diag.message_hint
    for right in ("UPDATE (n)", "INSERT", "DELETE"):
        mine.session("other").execute(f"GRANT {right} ON theirs TO app")
        mine.submit(target="theirs", statement="UPDATE t SET n = n + 1 WHERE {batch}", wanted="pause")
        mine.session("other").execute("REVOKE ALL ON theirs FROM app; GRANT SELECT ON theirs TO app")


def test_settings_of_a_job_give_no_more_rights(db):
    """What a login may not set is refused with its job, in the server's words; what it may gives nothing."""
    db.table(rows=10)
    db.daemon(workers=4)
    for name, value in (
            ("role", "backfilld"), ("session_authorization", "postgres"), ("session_preload_libraries", "x"), ("log_statement", "none"), ("zero_damaged_pages", "on"),
            ("allow_system_table_mods", "on"), ("is_superuser", "on"), ("search_path", "pg_catalog, public"), ("row_security", "on"), ("statement_timeout", "1d"), ("default_transaction_isolation", "serializable"), ("", "x"), ("no such setting", "x"), ("lc_messages", "no such locale")):
        with pytest.raises(psycopg.Error) as refused:
            db.submit(set_clause="n = 1", settings={name: value})
        assert str(refused.value).startswith("settings: "), name
    assert db.counts() == {0: 10} and not db.all("SELECT FROM backfill.job")
    record = "CREATE FUNCTION seen(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN session_user = 'app' AND current_user = 'app' AND current_setting('row_security') = 'off' AND current_setting('is_superuser') = 'off' THEN 2 END; END $$"
    db.app.execute(record)
    for name, value in (("application_name", "x"), ("backfilld.batch", "x"), ("work_mem", "77MB")):
        db.app.execute("UPDATE t SET n = 0")
        db.finish(db.submit(set_clause="n = public.seen(n)", settings={name: value}))
        assert db.counts() == {2: 10}, name


# ---- A job's own code against the daemon

def test_daemon_stays_up_whatever_a_clause_raises(db):
    db.table(rows=10)
    db.table("u", rows=10)
    db.app.execute("""CREATE FUNCTION raise_it(code text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION USING ERRCODE = code, MESSAGE = E'%s%n\\r\\nMESSAGE_ID=1\\n<3>' || 'function backfill.x does not exist', HINT = '%s', DETAIL = E'a\\nPRIORITY=0'; END $$""")
    daemon = db.daemon(workers=2)
    for code in ("01000", "BF900", "BF003", "P0001", "22012", "42883", "42501", "28000", "BF002"):
        name = db.submit(set_clause=f"n = raise_it('{code}')")
        wait_until(lambda: db.state(name) == "failed" or db.throttled_by(name), what=f"{code} is said")
        assert "another version" not in daemon.log(), code
        if db.state(name) != "failed":
            db.app.execute("SELECT backfill.cancel(%s)", [name])
            db.wait_state(name, "cancelled")
        other = db.submit(target="u", set_clause="n = n + 1")
        db.finish(other)
    assert db.counts() == {0: 10} and daemon.process.poll() is None
    assert not [line for line in daemon.log().splitlines() if not line[:4].isdigit()], "each record is one line"


def test_cursor_may_be_set_to_nonsense(db):
    """By the job's owner it can't be set at all."""
    db.table(rows=1000)
    daemon = db.daemon(max_rows=50)
    for value in ("'{{1,2},{3,4}}'", "'[5:6]={1,2}'", "'{}'", "'{NULL}'", "'{x}'", "'{9223372036854775807}'", "'{-9223372036854775808}'", "ARRAY(SELECT g::text FROM generate_series(1, 100000) g)"):
        with db.held_row(500):
            name = db.submit(set_clause="n = n + 1")
            db.wait_at(500, name)
            db.app.execute("SELECT backfill.pause(%s)", [name])
            db.wait_state(name, "paused")
            at, epoch, cursor = db.all("SELECT r.id, r.epoch, r.cursor FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id WHERE j.name = %s", name)[0]
            with pytest.raises(psycopg.Error, match="no longer at this cursor"):
                db.app.execute(f"SELECT backfill.checkpoint(0, %s, %s, NULL, %s, {value}, 0, 0, 0, NULL)", [at, epoch, cursor])
            db.admin.execute(f"UPDATE backfill.range SET cursor = {value} WHERE id = %s", [at])
        db.app.execute("SELECT backfill.resume(%s)", [name])
        wait_until(lambda: db.state(name) in ("failed", "succeeded") or db.throttled_by(name), what=f"something is said of {value:.20}")
        if db.state(name) not in ("failed", "succeeded"):
            db.app.execute("SELECT backfill.cancel(%s)", [name])
        db.wait_state(name, "failed", "succeeded", "cancelled")
    assert daemon.process.poll() is None
    db.app.execute("UPDATE t SET n = 0")
    db.finish(db.submit(set_clause="n = n + 1"))
    assert db.counts() == {1: 1000}


# ---- The trigger of keep_in_sync

SYNC = {"add_column": "total bigint", "keep_in_sync": True}


@pytest.mark.parametrize("clause", ["total = (SELECT count(*) FROM t)", "total = (SELECT max(id) FROM public.t)", "total = (SELECT max(x.n) FROM t x WHERE x.id = t.id)"])
def test_trigger_never_reads_a_table_that_the_writer_can_replace(db, clause):
    """Its own table under a bare name would be the writer's temporary one: such a clause is refused, or what it names stays what it was."""
    db.table(rows=10)
    db.app.execute("GRANT SELECT, INSERT ON t TO other; CREATE TABLE ran (who text); GRANT INSERT ON ran TO other")
    try:
        name = db.submit(set_clause=clause, **SYNC)
    except psycopg.Error as refused:
        assert refused.diag.message_hint
        return
    db.daemon()
    wait_until(lambda: db.state(name) in ("succeeded", "failed"), 30, "it ends")
    other = db.session("other")
    other.execute("""CREATE FUNCTION public.steal() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (session_user || '/' || current_user); RETURN 1; END $$;
                     CREATE TEMP VIEW t AS SELECT public.steal() AS id, public.steal()::int AS n; GRANT SELECT ON t TO PUBLIC; INSERT INTO public.t (id, n) VALUES (1000, 1)""")
    assert db.all("SELECT * FROM ran") == []


def test_functions_of_the_trigger_are_the_table_owners_whoever_has_submitted(db):
    """A clause that calls a function of theirs would run it in a superuser's name in the batches: that is refused."""
    db.close_public()
    db.admin.execute("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g; ALTER TABLE t OWNER TO app;"
                     "CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'; ALTER FUNCTION public.twice(int) OWNER TO app")
    db.daemon()
    assert "SET ROLE app" in db.finish(db.submit(user="postgres", set_clause="total = public.twice(n)", **SYNC), "failed")["hint"]
    db.finish(db.submit(user="postgres", set_clause="total = n * 2", **SYNC))
    assert db.all("SELECT DISTINCT p.proowner::regrole::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname ~ '^[0-9a-f]{12}|backfilld'") == [("app",)]
    db.app.execute("INSERT INTO t VALUES (11, 1)")
    assert db.one("SELECT total FROM t WHERE id = 11") == 2


def test_function_that_somebody_made_ahead_never_becomes_the_triggers(db):
    """Its name can't be guessed, and where it is there already nothing of it is used."""
    db.table(rows=10)
    db.session("other").execute("DO $$ BEGIN FOR i IN 1 .. 30 LOOP EXECUTE format('CREATE FUNCTION public.zz_backfilld_keep_in_sync_%s() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NEW; END''', i); END LOOP; END $$")
    db.daemon()
    name = db.submit(set_clause="total = n + 1", **SYNC)
    db.finish(name)
    assert db.one("SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = 't'::regclass AND NOT t.tgisinternal AND p.proowner <> 'app'::regrole") == 0
    db.app.execute("INSERT INTO t (id, n) VALUES (11, 1)")
    assert db.one("SELECT total FROM t WHERE id = 11") == 2


def test_function_over_a_partitions_type_is_never_taken_for_the_triggers(db):
    """Whoever may create in the schema can put one there that is nearer to a partition's rows than the trigger's own."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000); INSERT INTO t SELECT g, g FROM generate_series(1, 50) g")
    db.daemon()
    name = db.submit(add_column="b int", set_clause="b = n * 2", keep_in_sync=True)
    db.finish(name)
    ours = db.one("SELECT proname FROM pg_proc WHERE proname ~ '^backfilld_sync_.*_value$'")
    db.admin.execute("GRANT CREATE ON SCHEMA public TO other")
    db.session("other").execute(f"""CREATE FUNCTION public.{ours}(r t1) RETURNS TABLE ("0" int, "1" int) LANGUAGE sql AS 'SELECT 0, 666'""")
    db.app.execute("INSERT INTO t VALUES (500, 7); UPDATE t SET n = 8 WHERE id = 5")
    assert db.all("SELECT b FROM t WHERE id IN (5, 500) ORDER BY id") == [(16,), (14,)]


def test_view_in_the_place_of_a_referenced_table_runs_no_code_as_the_job(db):
    db.table(rows=20)
    db.session("other").execute("CREATE TABLE ref (id bigint PRIMARY KEY); INSERT INTO ref SELECT generate_series(0, 20); GRANT SELECT, REFERENCES ON ref TO app")
    name = db.submit(enforce=["FOREIGN KEY (n) REFERENCES public.ref (id)"], wanted="pause", on_error="fail")
    db.session("other").execute("""
        CREATE TABLE heard (who text); GRANT INSERT ON heard TO app;
        CREATE FUNCTION evil(i bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO heard VALUES (current_user); RETURN i; END $$;
        DROP TABLE ref; CREATE VIEW ref AS SELECT evil(g) AS id FROM generate_series(0, 20) g; GRANT SELECT ON ref TO app""")
    db.daemon()
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name, "failed")
    assert db.all("SELECT who FROM heard") == []


def test_strangers_functions_of_a_session_keep_no_column(db):
    """What a session has made for itself is nobody's use of a column, and is read by nobody."""
    db.table(columns="n int, gone int")
    db.session("other").execute("CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS 'SELECT ''SELECT gone FROM t''::text'")
    db.daemon()
    db.finish(db.submit(target="t", drop_column="gone"))


@pytest.mark.parametrize("on", ["t", "theirs"])
def test_a_job_of_anothers_is_never_taken_for_ones_own(mine, on):
    """The same text under the same name, inserted first by who may write the table: with ON CONFLICT DO NOTHING its owner would take it for
    done, and it would run under the stranger's names. However the other one comes to be seen: as the owner of its table, or as pg_monitor."""
    mine.app.execute("GRANT SELECT, UPDATE (n) ON t TO other")
    mine.admin.execute("GRANT SELECT, UPDATE (n) ON theirs TO app")
    mine.submit("other", name="fill", target=on, set_clause="n = 1")
    if on == "theirs":
        mine.admin.execute("GRANT pg_monitor TO app")
    try:
        with pytest.raises(psycopg.errors.UniqueViolation, match="name of another role's job"):
            mine.app.execute("INSERT INTO backfill.job (name, target, set_clause) VALUES ('fill', %s::regclass, 'n = 1') ON CONFLICT (name) DO NOTHING", [on])
    finally:
        mine.admin.execute("REVOKE pg_monitor FROM app")


def test_a_strangers_job_on_ones_table_keeps_no_statement_from_ones_own_jobs(mine):
    mine.app.execute("GRANT SELECT, UPDATE (n) ON t TO other")
    mine.submit("other", name="fill", set_clause="n = 1", wanted="pause")
    assert mine.app.execute("UPDATE backfill.job SET max_rows_per_s = 100").rowcount == 1
    assert mine.app.execute("UPDATE backfill.job SET wanted = 'run'").rowcount == 1
