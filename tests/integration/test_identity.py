"""A key is more than the numbers of its columns, a job more than a row: what no longer fits stops, and what was restored waits."""

import subprocess

import psycopg
import pytest

from daemon import run
from waiting import wait_until

ROWS = 3000


def stopped_at(db, key, ddl, **columns):
    """Runs a job up to that key; there its table is changed. Returns the job's name."""
    db.daemon(max_rows=50)
    with db.held_row(key) as holder:
        name = db.submit(**{"set_clause": "n = n + 1", **columns})
        wait_until(lambda: db.cursor(name), what=f"job {name} has begun")
        wait_until(lambda: db.throttled_by(name), what=f"job {name} stands")
        db.admin.execute(f"DROP TRIGGER gate_t_{key} ON t")
        holder.execute(ddl)
    return name


# ---- The columns that the clauses name

RENAMED = {"another has its name": "ALTER TABLE t RENAME a TO a_old; ALTER TABLE t ADD a int DEFAULT 50", "swapped": "ALTER TABLE t RENAME a TO y; ALTER TABLE t RENAME z TO a; ALTER TABLE t RENAME y TO z",
           "dropped and added": "ALTER TABLE t DROP a CASCADE; ALTER TABLE t ADD a int DEFAULT 7"}


@pytest.mark.parametrize("change", RENAMED)
@pytest.mark.parametrize("in_step", [True, False])
@pytest.mark.parametrize("when", ["retried", "paused", "left behind"])
def test_a_column_that_came_to_the_name_later_is_not_read(db, change, in_step, when):
    """The trigger knows columns by their numbers: it and the batches would compute from different ones."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int, z int, b int); INSERT INTO t SELECT g, g, -g FROM generate_series(1, 600) g; UPDATE t SET a = 0 WHERE id = 300")
    daemon = db.daemon(max_rows=50)
    name = db.submit(set_clause="b = 6000 / a", where_clause="b IS NULL", keep_in_sync=in_step, on_error="quarantine" if when == "left behind" else "fail", wanted="pause" if when == "paused" else "run")
    if when == "retried":
        db.finish(name, "failed")
    elif when == "left behind":
        db.finish(name)
    daemon.terminate()
    db.app.execute(f"UPDATE t SET a = 300 WHERE id = 300; BEGIN; {RENAMED[change]}; COMMIT")
    db.app.execute(f"SELECT backfill.{'resume' if when == 'paused' else 'retry'}(%s)", [name])
    before = db.all("SELECT id, b FROM t ORDER BY id")
    daemon.start()
    failed = db.finish(name, "failed")
    assert 'column "a" of public.t' in failed["error"] or "trigger of keep_in_sync" in failed["error"], failed["error"]
    assert db.all("SELECT id, b FROM t ORDER BY id") == before
    if change != "dropped and added":
        db.app.execute("BEGIN; " + ("ALTER TABLE t DROP a; ALTER TABLE t RENAME a_old TO a" if change != "swapped" else "ALTER TABLE t RENAME a TO y; ALTER TABLE t RENAME z TO a; ALTER TABLE t RENAME y TO z") + "; COMMIT")  # as the hint says
        db.app.execute("SELECT backfill.retry(%s)", [name])
        db.finish(name)
        assert db.one("SELECT count(*) FROM t WHERE b IS DISTINCT FROM 6000 / a") == 0


@pytest.mark.parametrize("clause", ["b = a::date", "b = CAST(a AS date)", "b = date(a)", "b = (SELECT u.date FROM u LIMIT 1)"])
def test_a_word_that_is_no_column_there_is_none_of_the_jobs(db, clause):
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a timestamp DEFAULT now(), b date, date text); INSERT INTO t SELECT g FROM generate_series(1, 10) g; CREATE TABLE u (date date); INSERT INTO u VALUES (now())")
    name = db.submit(set_clause=clause, where_clause="b IS NULL")
    db.app.execute("ALTER TABLE t DROP date")
    db.daemon()
    db.finish(name)


@pytest.mark.parametrize("columns", [{"set_clause": "n = n + 1"}, {"statement": "UPDATE t SET n = n + 1 WHERE {batch}"}])
def test_a_filled_column_that_is_made_anew_in_mid_job_is_noticed(db, columns):
    db.table(rows=ROWS)
    db.daemon(max_rows=50)
    name = db.submit(max_rows_per_s=1000, **columns)
    wait_until(lambda: db.cursor(name), what="it is on its way")
    db.app.execute("ALTER TABLE t DROP n, ADD n int NOT NULL DEFAULT 0")
    failed = db.finish(name, "failed")
    assert 'column "n" of public.t, which job' in failed["error"] and "was dropped" in failed["error"]


# ---- The order of the key

@pytest.mark.parametrize("type_now", ["text", "text USING lpad(id::text, 8, '0')", "float8"])
def test_job_stops_when_its_key_gets_a_type_of_another_order(db, type_now):
    """300 is above 2000 as a text: by today's order the cursor would stand somewhere else."""
    db.table(rows=ROWS)
    job = db.finish(stopped_at(db, 1200, f"ALTER TABLE t ALTER COLUMN id TYPE {type_now}"), "failed")
    assert "ordered in another way" in job["error"] and "bigint" in job["error"] and "cursor" in job["hint"]
    assert max(db.counts()) == 1 and 0 < db.counts()[1] < ROWS


def test_job_goes_on_when_its_key_is_what_it_was(db):
    db.table(rows=ROWS)
    name = stopped_at(db, 1200, "ALTER TABLE t ALTER COLUMN id TYPE text")
    db.finish(name, "failed")
    db.app.execute(f"ALTER TABLE t ALTER COLUMN id TYPE bigint USING id::bigint; SELECT backfill.retry('{name}')")
    db.finish(name)
    assert db.counts() == {1: ROWS}


def test_job_stops_when_the_values_of_its_key_were_rewritten(db):
    """Its cursor would pass over rows, or meet some twice; nothing tells of a row whether it is done."""
    db.table(rows=ROWS)
    name = stopped_at(db, 1200, f"ALTER TABLE t ALTER COLUMN id TYPE bigint USING {ROWS + 1} - id")
    job = db.finish(name, "failed")
    assert "key column id of public.t may have other values" in job["error"] and "backfill.retry" in job["hint"]
    assert max(db.counts()) == 1 and 0 < db.counts()[1] < ROWS
    db.app.execute(f"ALTER TABLE t ALTER COLUMN id TYPE bigint USING {ROWS + 1} - id; SELECT backfill.retry('{name}')")
    db.finish(name)
    assert db.counts() == {1: ROWS}


def text_keys(db, collation):
    db.app.execute(f"""CREATE TABLE t (id text COLLATE "{collation}" PRIMARY KEY, n int NOT NULL DEFAULT 0);
                       INSERT INTO t SELECT CASE g % 4 WHEN 0 THEN 'a' WHEN 1 THEN 'B' WHEN 2 THEN 'a-' ELSE 'Z' END || g FROM generate_series(1, {ROWS}) g""")


TO_ICU = 'ALTER TABLE t ALTER COLUMN id TYPE text COLLATE "en-x-icu"'


def test_job_stops_when_its_key_gets_another_collation(db):
    text_keys(db, "C")
    job = db.finish(stopped_at(db, "Z1203", TO_ICU), "failed")
    assert "ordered in another way" in job["error"] and "en-x-icu" in job["error"] and job["hint"]
    assert max(db.counts()) == 1 and 0 < db.counts()[1] < ROWS


def test_job_with_a_where_clause_begins_anew_when_its_key_gets_another_collation(db):
    text_keys(db, "C")
    job = db.finish(stopped_at(db, "Z1203", TO_ICU, where_clause="n = 0"))
    assert db.counts() == {1: ROWS} and "en-x-icu" in job["report"]["begun_anew"]


def test_statement_that_was_written_for_another_order_is_undone(db):
    """A batch that waited for the ALTER TABLE compares by the collation that the column has by then."""
    text_keys(db, "C")
    batch = db.one("""SELECT s.batch FROM backfill.key_of('t'::regclass) k,
        backfill.statements(jsonb_populate_record(NULL::backfill.job, '{"target": "t", "set_clause": "n = 1", "owner": "app"}'), 't'::regclass, k, false) s""")
    run_it = "SELECT backfill.run_statement(%s, NULL, '{a}', NULL, NULL, NULL)"
    assert db.one(run_it, batch, user="app") > 0
    db.app.execute(TO_ICU)
    with pytest.raises(psycopg.Error) as refused:
        db.app.execute(run_it, [batch])
    assert refused.value.sqlstate == "BF001"


def test_index_that_is_built_anew_meanwhile_is_no_trouble(db):
    db.table(rows=ROWS)
    db.admin.execute("CREATE UNIQUE INDEX CONCURRENTLY t_other ON t (id)")
    db.daemon(max_rows=100)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=3000)
    for command in ("REINDEX INDEX CONCURRENTLY t_pkey", "VACUUM FULL t", "CLUSTER t USING t_pkey", "REINDEX TABLE t", "ALTER TABLE t DROP CONSTRAINT t_pkey"):
        before = db.cursor(name)
        db.admin.execute(command)
        wait_until(lambda: db.cursor(name) != before or db.state(name) != "running", what=f"the job goes on after {command}")
    db.finish(name)
    assert db.counts() == {1: ROWS}


# ---- Versions of collations

@pytest.fixture
def drifted(db):
    """As after an upgrade of the library that compares: the index's order is that of another version."""
    db.app.execute(f"""CREATE COLLATION mine (provider = icu, locale = 'en-US');
        CREATE TABLE t (id text COLLATE mine PRIMARY KEY, n int NOT NULL DEFAULT 0);
        INSERT INTO t SELECT CASE g % 4 WHEN 0 THEN 'a' WHEN 1 THEN 'B' WHEN 2 THEN 'a-' ELSE 'Z' END || g FROM generate_series(1, {ROWS}) g""")
    return "UPDATE pg_collation SET colliculocale = 'en-US-u-kn-true-ks-level1-ka-shifted', collversion = '1' WHERE collname = 'mine'"


def test_index_of_another_collation_version_is_refused_until_it_is_built_anew(db, drifted):
    db.admin.execute(drifted)
    for clauses in ({"set_clause": "n = 1", "where_clause": "n = 0"}, {"add_column": "m int", "set_clause": "m = 1"}):
        with pytest.raises(psycopg.Error) as refused:
            db.submit(**clauses)
        said = refused.value.diag
        assert "public.t_pkey" in said.message_primary and "public.mine" in said.message_primary
        assert "REINDEX INDEX CONCURRENTLY public.t_pkey" in said.message_hint and "ALTER COLLATION public.mine REFRESH VERSION" in said.message_hint
    db.admin.execute("REINDEX INDEX CONCURRENTLY public.t_pkey")
    db.admin.execute("ALTER COLLATION public.mine REFRESH VERSION")
    db.daemon()
    db.finish(db.submit(set_clause="n = 1", where_clause="n = 0"))
    assert db.counts() == {1: ROWS}


def test_collation_version_that_changes_before_a_job_begins_fails_it(db, drifted):
    name = db.submit(set_clause="n = 1", where_clause="n = 0")
    db.admin.execute(drifted)
    db.daemon()
    job = db.finish(name, "failed")
    assert "public.t_pkey" in job["error"] and "REINDEX" in job["hint"] and db.counts() == {0: ROWS}


def test_version_of_the_databases_collation_counts_too(db):
    db.app.execute("CREATE TABLE t (id text PRIMARY KEY, n int); CREATE TABLE u (id bigint PRIMARY KEY, n int)")
    db.admin.execute("UPDATE pg_database SET datcollversion = '0.1' WHERE datname = current_database()")
    with pytest.raises(psycopg.Error) as refused:
        db.submit(set_clause="n = 1")
    assert "REFRESH COLLATION VERSION" in refused.value.diag.message_hint
    db.submit(target="u", set_clause="n = 1")  # has no texts in its key


# ---- Restored jobs

SHIFTED = f"""
    CREATE TABLE t (gone int, id bigint PRIMARY KEY, other bigint NOT NULL UNIQUE, n int NOT NULL DEFAULT 0); ALTER TABLE t DROP COLUMN gone;
    INSERT INTO t SELECT g, 1000000 - g FROM generate_series(1, {ROWS}) g;
    CREATE TABLE u (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, v text NOT NULL DEFAULT '1');
    INSERT INTO u SELECT g FROM generate_series(1, 100) g; UPDATE u SET v = 'bad' WHERE id = 50;
    CREATE TABLE w (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);
    INSERT INTO w SELECT g FROM generate_series(1, 100) g"""


def dump_and_restore(db, to, *options):
    tool = {"host": ["-h", db.cluster.directory, "-p", str(db.cluster.port), "-U", "postgres"]}
    dump = subprocess.run([f"{db.cluster.binaries}/pg_dump", "-Fc", *tool["host"], db.name], check=True, capture_output=True)
    restored = subprocess.run([f"{db.cluster.binaries}/pg_restore", *options, *tool["host"], "-d", to.name], input=dump.stdout, capture_output=True)
    assert restored.returncode == 0, restored.stderr.decode()


@pytest.fixture
def jobs(db):
    """A database with a job in the middle of its table, and others that have ended. The column before the key was dropped: a restored
    table numbers its columns in another way."""
    db.app.execute(SHIFTED)
    daemon = db.daemon(max_rows=100)
    db.finish(db.submit(name="purge", target="u", statement="DELETE FROM u WHERE {batch} AND id > 90"))
    db.finish(db.submit(name="fails", target="u", add_column="x int", set_clause="x = v::int"), "failed")
    db.submit(name="gone", target="u", set_clause="n = 1", wanted="pause")
    db.app.execute("SELECT backfill.cancel('gone')")
    db.finish(db.submit(name="sync", target="w", add_column="c int", set_clause="c = n + 1", keep_in_sync=True))
    db.submit(name="again", target="w", set_clause="n = 7", where_clause="n <> 7", wanted="pause")
    db.submit(name="half", set_clause="n = n + 1", max_rows_per_s=200)
    wait_until(lambda: db.cursor("half"), what="half is on its way")
    yield daemon


def states(db):
    return dict(db.all("SELECT name, state FROM backfill.job"))


ENDED = {"purge": "succeeded", "fails": "failed", "gone": "cancelled", "sync": "succeeded"}
FASTER = "UPDATE backfill.job SET max_rows_per_s = 100000 WHERE name = 'half'"
WAITING = {**ENDED, "half": "paused", "again": "paused"}


@pytest.fixture
def copy(db, jobs, db2):
    """The whole database, restored into another one of the same cluster while the job ran on."""
    db2.admin.execute("DROP SCHEMA backfill CASCADE")
    dump_and_restore(db, db2)
    return db2


def test_a_job_that_is_restored_in_place_under_a_daemon_that_goes_on_waits_for_its_owner(db):
    """By its row the daemon's session holds it still."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 5000) i")
    db.daemon(max_rows=50)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=500)
    wait_until(lambda: db.cursor(name), what="it is on its way")
    dump_and_restore(db, db, "--clean", "--if-exists")
    db.admin.execute("SELECT * FROM backfill.look_after(NULL, NULL)")  # as the daemon does each minute, if it hasn't claimed it before
    assert db.state(name) == "paused" and "restored from a dump" in db.job(name)["error"]
    before = db.counts()
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL; SELECT backfill.resume('%s')" % name)
    db.finish(name)
    assert db.counts() == {1: 5000} and before.get(0)


def test_rows_that_are_restored_alone_under_a_daemon_that_goes_on_wait_for_their_owner(db):
    """By them the daemon's own session holds a job that it was told to pause since."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 5000) i")
    daemon = db.daemon(max_rows=50)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=500)
    wait_until(lambda: db.cursor(name), what="it is on its way")
    tool = ["-h", db.cluster.directory, "-p", str(db.cluster.port), "-U", "postgres"]
    dump = subprocess.run([f"{db.cluster.binaries}/pg_dump", "-Fc", *tool, db.name], check=True, capture_output=True)
    db.app.execute("SELECT backfill.pause(%s)", [name])
    wait_until(lambda: db.state(name) == "paused", what="it is paused")
    db.admin.execute("TRUNCATE t, backfill.job, backfill.range, backfill.left_behind, backfill.token, backfill.claimed_name, backfill.installed CASCADE")
    subprocess.run([f"{db.cluster.binaries}/pg_restore", "--data-only", "--disable-triggers", *tool, "-d", db.name], input=dump.stdout, check=True, capture_output=True)
    assert db.state(name) == "running"
    db.admin.execute("UPDATE backfill.job SET phase_at = phase_at - interval '1 min'")
    wait_until(lambda: db.state(name) == "paused", timeout=90, what="what was restored waits")
    assert "restored from a dump" in db.job(name)["error"]
    daemon.says(f"{name}: restored from a dump")
    db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL; SELECT backfill.resume('%s')" % name)
    db.finish(name)
    assert db.counts() == {1: 5000}


def test_a_schema_that_is_restored_under_a_daemon_that_goes_on_runs_nothing_by_itself(db):
    """Its rows name the sessions that are still there, and places in the table that were passed long ago."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 8000) i")
    db.daemon(max_rows=50)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=1000)
    wait_until(lambda: db.cursor(name), what="it is on its way")
    tool = ["-h", db.cluster.directory, "-p", str(db.cluster.port), "-U", "postgres"]
    dump = subprocess.run([f"{db.cluster.binaries}/pg_dump", "-Fc", "-n", "backfill", *tool, db.name], check=True, capture_output=True)
    then = db.counts()[1]
    wait_until(lambda: db.counts()[1] > then + 1000, what="it goes on")
    subprocess.run([f"{db.cluster.binaries}/pg_restore", "--clean", "--if-exists", *tool, "-d", db.name], input=dump.stdout, check=True, capture_output=True)
    wait_until(lambda: db.state(name) == "paused", timeout=60, what="what was restored waits")
    assert "restored from a dump" in db.job(name)["error"] and set(db.counts()) == {0, 1}


def test_restored_jobs_wait_and_keep_their_states(db, copy):
    rows = copy.counts()
    assert 0 < rows[1] < ROWS and states(copy)["half"] == "running"
    assert copy.throttled_by("half") == "no daemon runs it"
    copy.daemon()
    copy.wait_state("half", "paused")
    assert states(copy) == WAITING
    assert "restored" in copy.job("half")["error"] and "backfill.resume('half')" in copy.job("half")["hint"]
    assert copy.job("fails")["error"] == db.job("fails")["error"] and copy.job("purge")["submitted_by"] == "app"
    copy.app.execute("INSERT INTO u (id) VALUES (95)")
    assert copy.drain().returncode in (0, 1)  # nothing is left to wait for
    assert copy.counts() == rows and copy.one("SELECT count(*) FROM u") == 91
    db.app.execute(FASTER)
    db.finish("half")
    assert db.counts() == {1: ROWS}


def test_restored_job_that_its_owner_resumes_goes_on_by_the_names_of_its_key(copy):
    copy.daemon()
    copy.wait_state("half", "paused")
    assert copy.one("SELECT r.key FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id WHERE j.name = 'half'") == [2]
    copy.app.execute("SELECT backfill.resume('half');" + FASTER)
    job = copy.finish("half")
    assert copy.counts() == {1: ROWS} and "not scanned" not in job["report"]["not_proven"], "the numbers of its tables were the other database's"
    copy.app.execute("SELECT backfill.resume('again')")
    copy.finish("again")
    assert copy.one("SELECT count(*) FROM w WHERE n = 7") == 100


def test_restored_job_can_be_cancelled_finished_and_retried(copy):
    copy.daemon()
    copy.wait_state("half", "paused")
    copy.app.execute("SELECT backfill.cancel('half'); SELECT backfill.finish('sync')")
    wait_until(lambda: not copy.all("SELECT FROM pg_trigger WHERE tgrelid = 'w'::regclass AND NOT tgisinternal"), what="its trigger is gone")
    assert copy.state("half") == "cancelled"
    copy.app.execute("UPDATE u SET v = '3' WHERE v = 'bad'; SELECT backfill.retry('fails')")
    copy.finish("fails")
    assert copy.one("SELECT count(x) FROM u") == 90


def test_restored_job_whose_clauses_no_longer_fit_is_refused(copy):
    copy.app.execute("ALTER TABLE t RENAME COLUMN n TO m")
    copy.daemon()
    copy.wait_state("half", "paused")
    with pytest.raises(psycopg.Error) as refused:
        copy.app.execute("SELECT backfill.resume('half')")
    assert 'column "n"' in str(refused.value) and copy.state("half") == "paused"


def test_restored_job_whose_key_was_dropped_stops(copy):
    """It doesn't take the other unique column for its key."""
    copy.app.execute("ALTER TABLE t RENAME COLUMN id TO was_id")
    copy.daemon()
    copy.wait_state("half", "paused")
    copy.app.execute("SELECT backfill.resume('half')")
    job = copy.finish("half", "failed")
    assert job["hint"] and copy.counts()[0] > 0


def test_rows_alone_are_restored_with_their_states(db, jobs, db2):
    """--install first, then pg_restore --data-only, which has no search_path."""
    jobs.terminate()
    db2.app.execute(SHIFTED + "; TRUNCATE t, u, w; ALTER TABLE u ADD COLUMN x int; ALTER TABLE w ADD COLUMN c int")
    dump_and_restore(db, db2, "--data-only")
    assert states(db2) == WAITING
    assert db2.job("fails")["error"] == db.job("fails")["error"] and db2.job("gone")["submitted_by"] == "app"
    db2.app.execute("INSERT INTO u (id) VALUES (95)")
    db2.daemon()
    db2.submit(name="new", target="w", set_clause="n = 2")
    db2.finish("new")
    assert db2.one("SELECT count(*) FROM u") == 91 and states(db2) == {**WAITING, "new": "succeeded"}
    db2.app.execute("SELECT backfill.resume('half');" + FASTER)
    db2.finish("half")
    assert db2.counts() == {1: ROWS}


def test_nobody_who_submits_jobs_can_pretend_to_restore_one(db):
    db.table(rows=10)
    for column, value in (("submitted_by", "postgres"), ("home", "x"), ("state", "succeeded")):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.submit(set_clause="n = 1", **{column: value})


def test_upgrade_knows_the_jobs_that_are_there(db):
    db.table(rows=10)
    name = db.submit(set_clause="n = 1", wanted="pause")
    assert db.one("SELECT backfill.is_here(j) FROM backfill.job j")
    assert run("-d", db.conninfo(), "--install").returncode == 0
    db.app.execute(f"SELECT backfill.resume('{name}')")
    db.daemon()
    db.finish(name)


def test_a_schema_that_is_restored_beside_its_table_runs_nothing_by_itself(db):
    """As before an --install: what the job has done since, its cursor of then doesn't know."""
    db.table(rows=ROWS)
    daemon = db.daemon(max_rows=50)
    db.submit(name="half", set_clause="n = n + 1", max_rows_per_s=300)
    wait_until(lambda: db.cursor("half"), what="half is on its way")
    tool = ["-h", db.cluster.directory, "-p", str(db.cluster.port), "-U", "postgres"]
    dump = subprocess.run([f"{db.cluster.binaries}/pg_dump", "-Fc", "-n", "backfill", *tool, db.name], check=True, capture_output=True).stdout
    db.app.execute(FASTER)
    db.finish("half")
    daemon.terminate()
    db.admin.execute("DROP SCHEMA backfill CASCADE")
    restored = subprocess.run([f"{db.cluster.binaries}/pg_restore", *tool, "-d", db.name], input=dump, capture_output=True)
    assert restored.returncode == 0, restored.stderr
    assert db.state("half") == "running"
    daemon.start()
    db.wait_state("half", "paused")
    assert "restored" in db.job("half")["error"] and db.counts() == {1: ROWS}


def test_a_schema_that_came_without_its_rows_is_named(db, db2):
    tool = ["-h", db.cluster.directory, "-p", str(db.cluster.port), "-U", "postgres"]
    dump = subprocess.run([f"{db.cluster.binaries}/pg_dump", "-Fc", "--schema-only", *tool, db.name], check=True, capture_output=True).stdout
    db2.admin.execute(f"DROP SCHEMA backfill CASCADE; GRANT CREATE ON DATABASE {db2.name} TO backfilld")
    subprocess.run([f"{db.cluster.binaries}/pg_restore", *tool, "-d", db2.name], input=dump, check=True, capture_output=True)
    refused = run("-d", db2.conninfo(), "--install")
    assert refused.returncode == 1 and "backfill.installed is empty" in refused.stderr and "DROP SCHEMA backfill CASCADE" in refused.stderr
    db2.admin.execute("DROP SCHEMA backfill CASCADE")  # as the hint says
    assert run("-d", db2.conninfo(), "--install").returncode == 0


@pytest.mark.parametrize("wish", ["cancel", "undo"])
def test_a_wish_for_a_running_job_whose_daemon_died_comes_back_as_one(db, db2, wish):
    db.app.execute(f"CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT g, g FROM generate_series(1, {ROWS}) g")
    daemon = db.daemon(max_rows=50)
    db.submit(name="half", add_column="b int", set_clause="b = a", keep_in_sync=True, max_rows_per_s=200)
    wait_until(lambda: db.cursor("half"), what="half is on its way")
    daemon.kill()
    db.app.execute(f"SELECT backfill.{wish}('half')")
    db2.admin.execute("DROP SCHEMA backfill CASCADE")
    dump_and_restore(db, db2)
    assert db2.state("half") == "running"
    db2.daemon()
    db2.wait_state("half", "cancelled")
    assert "restored from a dump" in db2.throttled_by("half") and db2.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%%keep_in_sync%%'") > 0
    db2.app.execute("SELECT backfill.retry('half')")
    wait_until(lambda: db2.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%%keep_in_sync%%'") == 0, what="it is taken out")


WISHES = {"undone": "undo", "finished": "finish", "cancelled": "cancel"}


@pytest.mark.parametrize("again", ["retry", None])
def test_what_was_still_to_be_taken_out_before_a_dump_waits_for_its_owner(db, db2, again):
    daemon = db.daemon()
    for name in WISHES:
        db.table(name, rows=10)
        db.finish(db.submit(name=name, target=name, add_column="b bigint", set_clause="b = n + 1", keep_in_sync=True))
    daemon.terminate()
    for name, wish in WISHES.items():
        db.app.execute(f"SELECT backfill.{wish}('{name}')")
    db2.admin.execute("DROP SCHEMA backfill CASCADE")
    dump_and_restore(db, db2)
    db2.daemon()
    db2.finish(db2.submit(name="other", target="undone", set_clause="n = 1"))
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%%keep_in_sync%%'"
    there = db2.one(triggers)
    for name, wish in WISHES.items():
        assert db2.throttled_by(name) == f"restored from a dump: what it added stays in the table until backfill.retry('{name}')"
        db2.app.execute(f"SELECT backfill.{again or wish}('{name}')")
    wait_until(lambda: db2.one(triggers) == 0, what="what was wanted is done")
    assert there > 0 and db2.all("SELECT attrelid::regclass::text FROM pg_attribute WHERE attname = 'b' AND NOT attisdropped AND attrelid IN ('undone'::regclass, 'finished'::regclass, 'cancelled'::regclass) ORDER BY 1") == [("cancelled",), ("finished",)]


@pytest.mark.parametrize("where", [None, "n = 0"])
@pytest.mark.parametrize("kind, value", [("region[]", "ARRAY[r, 'a']"), ("pair", "ROW(1, r)::pair"), ("span", "span(r, NULL)")])
def test_labels_within_a_key_that_were_exchanged_lose_no_row(db, kind, value, where):
    db.app.execute("CREATE TYPE region AS ENUM ('a', 'b', 'c', 'd', 'e', 'f'); CREATE TYPE pair AS (x int, y region); CREATE TYPE span AS RANGE (subtype = region);"
                   f"CREATE TABLE t (r {kind}, id int, n int DEFAULT 0, PRIMARY KEY (r, id)); INSERT INTO t SELECT {value}, i FROM unnest(enum_range(NULL::region)) r, generate_series(1, 200) AS i")
    db.daemon(max_rows=20)
    name = db.submit(set_clause="n = n + 1", where_clause=where, max_rows_per_s=200)
    db.app.execute("ALTER TYPE region ADD VALUE 'new' BEFORE 'c'")
    wait_until(lambda: db.one("SELECT sum(n) FROM t") > 450, what="it is among the third label's")
    db.app.execute("BEGIN; ALTER TYPE region RENAME VALUE 'c' TO 'x'; ALTER TYPE region RENAME VALUE 'e' TO 'c'; ALTER TYPE region RENAME VALUE 'x' TO 'e'; COMMIT; UPDATE backfill.job SET max_rows_per_s = NULL")
    if where:
        db.finish(name)
        assert db.counts() == {1: 1200}
    else:
        assert "ordered in another way" in db.finish(name, "failed")["error"]
        assert db.counts().keys() == {0, 1}


def test_a_key_whose_text_is_somebody_elses_name_is_none(db):
    db.app.execute("CREATE TABLE t (r regclass PRIMARY KEY, n int DEFAULT 0); INSERT INTO t SELECT oid FROM pg_class LIMIT 50")
    with pytest.raises(psycopg.Error, match="public.t has no key"):
        db.submit(set_clause="n = n + 1")


def test_a_key_that_is_made_of_a_great_many_types_is_none(db):
    """Each question for it would look through them all."""
    db.app.execute("DO $$ BEGIN CREATE DOMAIN d0 AS int; FOR i IN 1 .. 150 LOOP EXECUTE format('CREATE DOMAIN d%s AS d%s', i, i - 1); END LOOP; EXECUTE (SELECT format('CREATE TYPE wide AS (%s)', string_agg(format('a%s d%s', i, i), ', ')) FROM generate_series(1, 90) AS i); "
                   "EXECUTE (SELECT format('CREATE TYPE many AS (%s)', string_agg(format('b%s wide[]', i), ', ')) FROM generate_series(1, 120) AS i); END $$;"
                   "CREATE TABLE t (k many PRIMARY KEY, n int); CREATE TABLE u (k d150 PRIMARY KEY, n int); CREATE TABLE w (k wide PRIMARY KEY, n int)")
    for table in ("t", "u", "w"):
        with pytest.raises(psycopg.Error, match=f"public.{table} has no key"):
            db.submit(target=table, set_clause="n = 1")
    assert db.one("SELECT cardinality(backfill.types_in('many'::regtype, 20))") == 21


@pytest.mark.parametrize("labels, walked", [(1500, True), (10001, False)])
def test_labels_of_a_key_may_be_many_but_not_without_end(db, labels, walked):
    """What is asked of each range reads them all."""
    db.app.execute("DO $$ BEGIN EXECUTE (SELECT format('CREATE TYPE many AS ENUM (%%s)', string_agg(quote_literal('l' || i), ', ')) FROM generate_series(1, %s) AS i); END $$" % labels)
    db.app.execute("CREATE TABLE t (k many PRIMARY KEY, n int DEFAULT 0); INSERT INTO t VALUES ('l1'), ('l1500'), ('l7')")
    db.daemon()
    if walked:
        db.finish(db.submit(set_clause="n = n + 1"))
        assert db.counts() == {1: 3}
    else:
        with pytest.raises(psycopg.Error, match="public.t has no key"):
            db.submit(set_clause="n = n + 1")


@pytest.mark.parametrize("where", [None, "n = 0"])
def test_labels_of_a_key_that_were_exchanged_lose_no_row(db, where):
    """A position is written by its label: what comes between the others does not matter, an exchange does."""
    db.app.execute("CREATE TYPE region AS ENUM ('a', 'b', 'c', 'd', 'e', 'f'); CREATE TABLE t (r region, id int, n int DEFAULT 0, PRIMARY KEY (r, id));"
                   "INSERT INTO t SELECT r, i FROM unnest(enum_range(NULL::region)) r, generate_series(1, 200) AS i")
    db.daemon(max_rows=20)
    name = db.submit(set_clause="n = n + 1", where_clause=where, max_rows_per_s=200)
    wait_until(lambda: (db.cursor(name) or ["", ""])[0] == "b", what="it is among the second label's")
    db.app.execute("ALTER TYPE region ADD VALUE 'bb' AFTER 'b'")
    wait_until(lambda: (db.cursor(name) or ["", ""])[0] == "c", what="it goes on")
    db.app.execute("ALTER TYPE region RENAME VALUE 'c' TO 'x'; ALTER TYPE region RENAME VALUE 'e' TO 'c'; ALTER TYPE region RENAME VALUE 'x' TO 'e'; UPDATE backfill.job SET max_rows_per_s = NULL")
    if where:
        db.finish(name)
        assert db.counts() == {1: 1200}
        return
    failed = db.finish(name, "failed")
    assert '"b", "bb", "c", "d", "e", "f"], id integer, and is r public.region ["a", "b", "bb", "e", "d", "c", "f"]' in failed["error"], failed["error"]
    assert db.counts()[0] > 0
