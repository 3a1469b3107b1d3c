"""Whatever a role, a database or the file sets: each session of the daemon has what its statements, texts and values depend on.

DECISIONS names every setting that a user may set. A new version of the server that has one more fails the first test: then it is pinned in
lib/schema/sql.c, captured with a job (backfill.session_settings), or there is a reason here to leave it as it is.
"""

import pytest

from daemon import run
from waiting import wait_until

# Held in each session: a foreign value, and what it is all the same. None: as a session of nobody's has it.
PINNED = {
    "standard_conforming_strings": ("off", "on"),
    "backslash_quote": ("off", "safe_encoding"),
    "quote_all_identifiers": ("on", "off"),
    "extra_float_digits": ("-5", "1"),
    "row_security": ("on", "off"),
    "gin_fuzzy_search_limit": ("7", "0"),
    "default_transaction_isolation": ("serializable", "read committed"),
    "default_transaction_deferrable": ("on", "off"),
    "idle_session_timeout": ("1500", "0"),
    "idle_in_transaction_session_timeout": ("1500", "0"),
    "transaction_timeout": ("1500", "0"),
    "exit_on_error": ("on", "off"),
    "client_min_messages": ("debug5", "error"),
    "client_connection_check_interval": ("100", "0"),
    "client_encoding": ("LATIN1", "UTF8"),
    "log_parameter_max_length_on_error": ("-1", "0"),
}
# Only TCP shows these.
KEPT_ALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3", "tcp_user_timeout": "20000"}
# So in the daemon's own sessions; a job's are as in the session that inserted it.
FORMS = {
    "search_path": ("public, pg_catalog", "pg_catalog"),
    "DateStyle": ("German", "ISO, MDY"),
    "IntervalStyle": ("sql_standard", "postgres"),
    "bytea_output": ("escape", "hex"),
    "array_nulls": ("off", "on"),
    "transform_null_equals": ("on", "off"),
    "xmlbinary": ("hex", "base64"),
    "xmloption": ("document", "content"),
}
# With values of their own in each kind of session.
LIMITS = {
    "statement_timeout": "5ms",
    "lock_timeout": "1ms",
    "synchronous_commit": "off",
    "plan_cache_mode": "force_generic_plan",
    "default_transaction_read_only": "on",
    "check_function_bodies": "off",
    "jit": "on",
}
# Captured with a job, and nothing to the daemon's own statements.
CAPTURED = {"TimeZone", "timezone_abbreviations", "lc_monetary", "lc_numeric", "lc_time", "default_text_search_config"}

REASONS = {
    "of speed alone; a role that has it otherwise is meant to have it so": """
        backend_flush_after commit_siblings constraint_exclusion cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction
        default_statistics_target effective_cache_size effective_io_concurrency enable_async_append enable_gathermerge
        enable_group_by_reordering enable_hashagg enable_hashjoin enable_incremental_sort enable_material
        enable_memoize enable_mergejoin enable_parallel_append enable_parallel_hash enable_partition_pruning
        enable_partitionwise_aggregate enable_partitionwise_join enable_presorted_aggregate
        enable_distinct_reordering enable_self_join_elimination from_collapse_limit geqo geqo_effort geqo_generations geqo_pool_size geqo_seed
        geqo_selection_bias geqo_threshold gin_pending_list_limit hash_mem_multiplier io_combine_limit io_max_concurrency jit_above_cost jit_expressions jit_tuple_deforming
        jit_inline_above_cost jit_optimize_above_cost join_collapse_limit logical_decoding_work_mem maintenance_io_concurrency
        maintenance_work_mem max_parallel_maintenance_workers max_parallel_workers max_parallel_workers_per_gather
        min_parallel_index_scan_size min_parallel_table_scan_size parallel_leader_participation parallel_setup_cost parallel_tuple_cost
        random_page_cost recursive_worktable_factor seq_page_cost synchronize_seqscans temp_buffers vacuum_buffer_usage_limit wal_skip_threshold
        work_mem debug_parallel_query force_parallel_mode eager_agg_threshold enable_eager_aggregate""",
    "good advice to a job's session, whose own settings alone have it otherwise (SQL_ROLE)": "enable_bitmapscan enable_indexonlyscan enable_indexscan enable_nestloop enable_seqscan enable_sort enable_tidscan",
    "where what a job makes is put; its role's affair": "default_table_access_method default_tablespace default_toast_compression temp_tablespaces file_copy_method",
    "the server's log alone": "debug_pretty_print debug_print_parse debug_print_plan debug_print_raw_parse debug_print_rewritten "
                              "escape_string_warning trace_notify trace_sort md5_password_warnings trace_connection_negotiation",
    "of VACUUM, which no session of ours runs": """vacuum_cost_delay vacuum_cost_limit vacuum_cost_page_dirty vacuum_cost_page_hit
        vacuum_cost_page_miss vacuum_failsafe_age vacuum_freeze_min_age vacuum_freeze_table_age vacuum_multixact_failsafe_age
        vacuum_multixact_freeze_min_age vacuum_multixact_freeze_table_age vacuum_truncate""",
    "of replication, passwords and roles, which no session of ours makes": "wal_sender_timeout debug_logical_replication_streaming logical_replication_mode password_encryption scram_iterations createrole_self_grant",
    "each statement of ours is a transaction, and reads statistics once": "stats_fetch_consistency",
    "libraries that a session begins with; it has begun": "local_preload_libraries",
    "of one transaction": "transaction_deferrable transaction_isolation transaction_read_only",
    "the session's name, which the daemon gives": "application_name",
    "forbids what a role is not to read; in a job it stays forbidden": "restrict_nonsystem_relation_kind",
    "of a collation that is made anew": "icu_validation_level",
    "pinned: SET ROLE is the daemon's to do": "role session_authorization",
    "a random number's": "seed",
}
DECISIONS = {*PINNED, *KEPT_ALIVE, *FORMS, *LIMITS, *CAPTURED, *(name for names in REASONS.values() for name in names.split())}


def test_every_setting_of_a_user_has_a_decision(db):
    settings = {name for name, in db.all("SELECT name FROM pg_settings WHERE context = 'user' AND name NOT LIKE '%.%'")}
    assert sorted(settings - DECISIONS) == [], "new here: decide"


def test_what_is_captured_with_a_job_is_what_is_said_here(db):
    db.table()
    name = db.submit(set_clause="n = 1", wanted="pause")
    captured = set(db.job(name)["session"]) | {"TimeZone", "DateStyle", "search_path"}
    assert captured == CAPTURED | {form for form in FORMS}


@pytest.fixture
def hostile(db):
    """Each setting has a foreign value for the daemon's role and the submitter's."""
    there = {name for name, in db.all("SELECT name FROM pg_settings")}
    foreign = {name: value for name, (value, _) in {**PINNED, **FORMS}.items()} | LIMITS | {"plpgsql.extra_errors": "all"}
    foreign = {name: value for name, value in foreign.items() if name in there or "." in name}
    db.table(rows=1000, columns="n int NOT NULL DEFAULT 0, said text")
    db.admin.execute("GRANT other TO backfilld")
    for name, value in {**foreign, "role": "other"}.items():
        for role in ("app", "backfilld") if name != "role" else ("backfilld",):
            db.admin.execute(f"ALTER ROLE {role} IN DATABASE {db.name} SET {name} = {value if name == 'search_path' else repr(value)}")
    db.known = there
    yield db
    db.admin.execute("REVOKE other FROM backfilld")  # the rest goes with the database


def differing(found, expected, known):
    return {name: found[name] for name in expected if name in known and found[name] != expected[name]}


def test_each_session_of_the_daemon_has_what_it_depends_on(hostile):
    """The control session shows by a trigger on what it writes, a worker by what its job computes."""
    db = hostile
    plain = {name: value for name, (_, value) in PINNED.items()}
    names = [name for name in [*PINNED, *FORMS, *LIMITS] if name in db.known]
    asked = "jsonb_build_object(" + ", ".join(f"'{name}', current_setting('{name}')" for name in names) + ")"
    db.admin.execute(f"""
        CREATE TABLE seen (who text, settings jsonb);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET client_min_messages = error AS $$
          BEGIN
            INSERT INTO public.seen SELECT current_setting('application_name'), {asked.replace("current_setting('client_min_messages')", "'error'")};
            RETURN NULL;
          END $$;
        CREATE TRIGGER note AFTER UPDATE ON backfill.job FOR EACH ROW EXECUTE FUNCTION note();""")
    db.daemon(throttle={"probes": [{"name": "zone", "sql": "SELECT count(*) FROM pg_settings WHERE name = 'default_transaction_read_only' "
                                    "AND setting = 'off' OR name = 'statement_timeout' AND setting <> '1000'", "limit": 1.0}]})
    with db.connect() as session:
        for name, value in {"statement_timeout": "0", "lock_timeout": "0", "default_transaction_read_only": "off",
                            "search_path": "public", "client_encoding": "UTF8", "plpgsql.extra_errors": "none",
                            "idle_session_timeout": "0", "exit_on_error": "off"}.items():
            session.execute(f"SET {name} = '{value}'")
        name = db.submit(session=session, set_clause=f"n = 1, said = ({asked})::text")
    db.finish(name)
    control = db.one("SELECT settings FROM seen WHERE who = 'backfilld control' LIMIT 1")
    own = {**plain, **{name: value for name, (_, value) in FORMS.items()}, "statement_timeout": "10s", "lock_timeout": "200ms",
           "synchronous_commit": "local", "plan_cache_mode": "auto", "default_transaction_read_only": "off", "check_function_bodies": "on", "jit": "off"}
    del own["search_path"]  # that of the functions which write there
    assert not differing(control, own, db.known)
    worker = db.one("SELECT DISTINCT said::jsonb FROM t")
    kept = {"DateStyle": "ISO, DMY", "IntervalStyle": "sql_standard", "bytea_output": "escape", "array_nulls": "off", "transform_null_equals": "on",
            "xmlbinary": "hex", "xmloption": "document", "search_path": '"public", pg_temp'}
    own = {**plain, **kept, "lock_timeout": "20ms", "plan_cache_mode": "auto", "default_transaction_read_only": "off", "check_function_bodies": "on", "jit": "off"}
    assert not differing(worker, own, db.known)
    assert worker["statement_timeout"] not in ("0", "5ms")


def test_a_whole_migration_under_foreign_settings(hostile):
    db = hostile
    db.app.execute("ALTER TABLE t ADD amount numeric(12, 2) DEFAULT 3.5, ADD span interval DEFAULT '1 day 02:03', ADD word text DEFAULT E'a\\\\b'")
    db.daemon()
    with db.connect() as session:
        for name in ("statement_timeout", "lock_timeout", "idle_session_timeout", "default_transaction_read_only", "exit_on_error"):
            session.execute(f"SET {name} = 0")
        session.execute("SET search_path = public")
        name = db.submit(session=session, name="whole", add_column="cents bigint", set_clause="cents = (amount * 100)::bigint", keep_in_sync=True,
                         enforce=["NOT NULL cents", "CHECK (cents >= 0)"], active_hours="mon-sun 00:00-24:00")
        other = db.submit(session=session, name="words", set_clause="said = span::text || word", where_clause="said IS NULL")
        plain = db.submit(session=session, name="statement", statement="UPDATE t o SET n = 2 WHERE {batch o}")
    db.finish(name)
    db.finish(other)
    db.finish(plain)
    assert db.all("SELECT DISTINCT cents, n, said FROM t") == [(350, 2, "1 2:03:00a\\b")]
    db.app.execute("SET default_transaction_read_only = off; SET search_path = public; SET statement_timeout = 0; SET lock_timeout = 0")
    db.app.execute("INSERT INTO t (id, amount) VALUES (5000, 7)")
    assert db.one("SELECT cents FROM t WHERE id = 5000") == 700


@pytest.mark.parametrize("role", ["app", "backfilld"])
def test_settings_of_a_role_that_end_sessions_end_none_of_ours(db, role):
    db.admin.execute(f"ALTER ROLE {role} IN DATABASE {db.name} SET idle_session_timeout = '300ms'")
    db.table(rows=100)
    daemon = db.daemon()
    daemon.says("connected")
    with db.locked_rows("id = 50", user="postgres"):
        name = db.submit(set_clause="n = 1")
        wait_until(lambda: "locked" in (db.job(name)["waiting_for"] or ""), what="it waits for a row")
    db.finish(name)
    assert "not connected" not in daemon.log() and "connected again" not in daemon.log()


def test_a_limit_of_whole_transactions_ends_no_step(db):
    """A step is one transaction, and begun anew it would be as long."""
    if not db.one("SELECT count(*) FROM pg_settings WHERE name = 'transaction_timeout'"):
        pytest.skip("PostgreSQL 17 and later")
    db.table(rows=100)
    db.app.execute("CREATE FUNCTION lazy(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN true; END $$")
    for role in ("app", "backfilld"):
        db.admin.execute(f"ALTER ROLE {role} IN DATABASE {db.name} SET transaction_timeout = '300ms'")
    daemon = db.daemon()
    db.finish(db.submit(enforce=["CHECK (lazy(n))", "UNIQUE (id)"]))
    assert daemon.log().count("validate: validate: check t_n_check") == 1 and "waits, and tries again" not in daemon.log()


@pytest.mark.parametrize("kind, value", [("interval", "i * interval '1 day 02:03:04.5'"), ("money", "(i / 100.0)::numeric::money"), ("timestamptz", "'2026-03-01'::timestamptz + i * interval '1 hour 1 second'")])
def test_a_key_is_read_back_by_the_next_session_whatever_its_role_writes_by_then(db, kind, value):
    """A cursor is text: as long as a job runs, sessions come and go."""
    db.app.execute(f"CREATE TABLE t (id {kind} PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT {value} FROM generate_series(-300, 300) AS i")
    daemon = db.daemon(max_rows=20)
    with db.connect() as session:
        session.execute("SET IntervalStyle = sql_standard; SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'German'")
        name = db.submit(session=session, set_clause="n = n + 1", max_rows_per_s=1500)
    for style, zone, dates in (("iso_8601", "America/St_Johns", "SQL, DMY"), ("postgres_verbose", "UTC", "Postgres")):
        seen = wait_until(lambda: db.cursor(name), what="it has begun")
        wait_until(lambda: db.cursor(name) != seen, what="it goes on")
        daemon.terminate()
        for role in ("app", "backfilld"):
            for setting, foreign in {"IntervalStyle": style, "TimeZone": zone, "DateStyle": dates}.items():
                db.admin.execute(f"ALTER ROLE {role} IN DATABASE {db.name} SET {setting} = '{foreign}'")
        daemon.start()
    db.finish(name)
    assert db.counts() == {1: 601}


def test_a_role_that_was_told_to_do_without_indexes_makes_no_batch_read_the_table(db):
    db.table(rows=20000)
    for setting in ("enable_indexscan", "enable_bitmapscan", "enable_indexonlyscan", "enable_tidscan"):
        db.admin.execute(f"ALTER ROLE app IN DATABASE {db.name} SET {setting} = off")
    db.app.execute("ANALYZE t")
    db.daemon(max_rows=1000)
    before = db.one("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 't'")
    db.finish(db.submit(set_clause="n = 1"))
    db.admin.execute("SELECT pg_stat_force_next_flush()")
    assert db.counts() == {1: 20000}
    assert db.one("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 't'") - before <= 20000, "of db.counts alone"


def test_views_that_are_forbidden_to_all_are_not_to_the_daemon(db):
    """It forbade its own."""
    if not db.one("SELECT count(*) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'"):
        pytest.skip("since PostgreSQL 15.8")
    db.table(rows=10)
    db.admin.execute(f"ALTER DATABASE {db.name} SET restrict_nonsystem_relation_kind = 'view, foreign-table'")
    db.daemon()
    db.finish(db.submit(set_clause="n = 1"))
    assert run("-d", db.conninfo(), "--install").returncode == 0 and run("-d", db.conninfo(), "--check").returncode == 0
