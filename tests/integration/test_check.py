"""backfilld --check on set-ups that are broken: one line for each problem, which says what to do."""

import contextlib
import os
import pwd
import re
import socket
import stat
import time

import pytest

from cluster import Cluster
from daemon import run
from database import Database, prepare
from ports import free_port
from standby import Standby
from waiting import wait_until

TRUST = "local all all trust\nlocal replication all trust\n"


@pytest.fixture(scope="module")
def broken_cluster():
    """One whose roles and pg_hba.conf may be spoilt."""
    cluster = Cluster(wal_level="replica", max_wal_senders="4")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def broken(broken_cluster):
    database = Database(broken_cluster)
    try:
        yield database
    finally:
        database.destroy()


def problems(conninfo):
    """The lines of a check that found something."""
    ended = run("-d", conninfo, "--check")
    lines = [line for line in ended.stdout.splitlines() if "HINT: " in line]
    assert ended.returncode == (1 if lines else 0), ended.stdout + ended.stderr
    assert all(re.fullmatch(r"\S.*[^.]\. HINT: \S.*[.;0-9a-z]", line) for line in lines), lines
    return lines


def one_problem(conninfo, *parts):
    """Exactly one, and the line has all these parts."""
    found = problems(conninfo)
    assert len(found) == 1 and all(part in found[0] for part in parts), found


@contextlib.contextmanager
def let_in(db, lines):
    """Within it pg_hba.conf begins with these lines, and trusts all others."""
    def write(text):
        before = db.one("SELECT pg_conf_load_time()")
        with open(f"{db.cluster.data}/pg_hba.conf", "w") as file:
            file.write(text)
        db.admin.execute("SELECT pg_reload_conf()")
        wait_until(lambda: db.one("SELECT pg_conf_load_time()") > before, what="the server has read it")

    write(f"{lines}\n{TRUST}")
    try:
        yield
    finally:
        write(TRUST)


def test_check_finds_all_well(db):
    ended = run("-d", db.conninfo(), "--check")
    lines = ended.stdout.splitlines()
    for what in ("connection", "pg_monitor", "pg_signal_backend", "schema", "login as app", "login as other", "disk"):
        assert any(what in line and " ok" in line for line in lines), ended.stdout
    assert ended.returncode == 0 and "HINT" not in ended.stdout, ended.stdout


def test_a_server_that_looks_for_deadlocks_before_a_batch_gives_up(db):
    db.admin.execute("ALTER SYSTEM SET deadlock_timeout = 5")
    db.admin.execute("SELECT pg_reload_conf()")
    try:
        wait_until(lambda: "deadlock_timeout is 5 ms, and batch.lock_timeout_ms 20" in run("-d", db.conninfo(), "--check").stdout, what="--check says so")
    finally:
        db.admin.execute("ALTER SYSTEM RESET deadlock_timeout")
        db.admin.execute("SELECT pg_reload_conf()")


def test_a_schema_that_somebody_has_locked_is_not_one_of_another_version(db):
    with db.connect("postgres") as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE backfill.installed IN ACCESS EXCLUSIVE MODE")
        checked = run("-d", db.conninfo(), "--check")
        holder.rollback()
    assert checked.returncode == 1 and "lock timeout" in checked.stdout and "backfill.installed locked" in checked.stdout and "--install" not in checked.stdout, checked.stdout


def test_what_could_not_be_looked_at_is_no_ok(db):
    with db.connect("postgres") as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE backfill.job IN ACCESS EXCLUSIVE MODE")
        checked = run("-d", db.conninfo(), "--check")
        holder.rollback()
    assert checked.returncode == 1 and "lock timeout" in checked.stdout
    assert {line.split()[1] for line in checked.stdout.splitlines() if "could not be looked at" in line} >= {"logins", "triggers", "roles"}, checked.stdout


def test_submitters_without_the_rights_that_install_gave(db):
    db.admin.execute("REVOKE USAGE ON SCHEMA backfill FROM backfill_submitter")
    checked = run("-d", db.conninfo(), "--check")
    assert checked.returncode == 1 and "has lost its rights on schema backfill" in checked.stdout and "--install" in checked.stdout, checked.stdout
    assert run("-d", db.conninfo(), "--install").returncode == 0
    assert run("-d", db.conninfo(), "--check").returncode == 0


def test_a_publication_of_all_tables_is_told_of(db):
    db.admin.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    ended = run("-d", db.conninfo(), "--check")
    assert ended.returncode == 0 and "everything publishes schema backfill" in ended.stdout, ended.stdout


# ---- The connection

def test_a_probe_that_can_not_be_read(db, tmp_path):
    """Each job would wait for it."""
    probes = [("well", "SELECT 1"), ("typo", "selec 1"), ("text", "SELECT 'x'"), ("nothing", "SELECT NULL::int"), ("slow", "SELECT pg_sleep(5)"), ("two", "SELECT 1, 2")]
    config = tmp_path / "c.conf"
    config.write_text(db.config(throttle={"probes": [{"name": name, "sql": sql, "limit": 1.0} for name, sql in probes]}))
    checked = run("-c", str(config), "--check")
    assert checked.returncode == 1
    assert re.search(r"probe well +ok", checked.stdout) and re.search(r"probe typo +.*syntax error", checked.stdout) and re.search(r"probe slow +.*statement timeout", checked.stdout)
    assert len(re.findall(r"does not return one number", checked.stdout)) == 3 and "throttle.probes" in checked.stdout


def test_server_that_is_down(db):
    one_problem(db.conninfo() + " port=1", "connection", "No such file", "HINT: Start the server")


def test_drain_gives_a_database_up_that_it_does_not_reach(db):
    began = time.monotonic()
    drained = run("-d", db.conninfo().replace(db.name, "nowhere"), "--drain")
    assert drained.returncode == 1 and 25 < time.monotonic() - began < 45 and "does not exist" in drained.stdout + drained.stderr


def test_a_setting_of_the_login_that_stands_in_the_way(broken):
    broken.admin.execute("ALTER ROLE app SET session_replication_role = 'replica'")
    try:
        assert "RESET it" in run("-d", broken.conninfo(), "--check").stdout
    finally:
        broken.admin.execute("ALTER ROLE app RESET session_replication_role")


def test_database_that_is_not_there(db):
    one_problem(db.conninfo() + " dbname=not_there", "connection", '"not_there" does not exist', "HINT: Correct dbname")


def test_role_that_is_not_there(db):
    one_problem(db.conninfo() + " user=nobody_here", "connection", '"nobody_here" does not exist', "HINT: The role must exist")


def test_role_that_may_not_log_in(db):
    one_problem(db.conninfo() + " user=ghost", "connection", "not permitted to log in", "HINT: The role must exist and have LOGIN")


def test_server_that_lets_the_daemon_not_in(broken):
    with let_in(broken, "local all backfilld reject"):
        one_problem(broken.conninfo(), "connection", "pg_hba.conf rejects", "HINT: The role must exist", "pg_hba.conf")


def test_only_a_standby(broken):
    standby = Standby(broken.cluster, "second")
    try:
        one_problem(standby.conninfo(broken.name), "connection", "hot standby", "HINT: Name the primary")
    finally:
        standby.destroy()


def test_password_that_is_missing_wrong_or_in_a_file_open_to_others(broken, tmp_path):
    passfile = tmp_path / "passfile"
    conninfo = f"{broken.conninfo()} passfile={passfile}"
    broken.admin.execute("ALTER ROLE backfilld PASSWORD 'geheim'")
    with let_in(broken, "local all backfilld scram-sha-256"):
        one_problem(conninfo, "connection", "no password supplied", "HINT: Put its password into the passfile")
        passfile.write_text("*:*:*:backfilld:falsch\n")
        passfile.chmod(0o600)
        one_problem(conninfo, "connection", "28P01", "HINT: Correct its password")
        passfile.write_text("*:*:*:backfilld:geheim\n")
        assert problems(conninfo) == []
        passfile.chmod(0o644)
        said = problems(conninfo)
        assert len(said) == 2 and "open to others (mode 0644)" in said[0] and f"HINT: chmod 600 {passfile}" in said[0], said
        assert "no password supplied" in said[1]


# ---- Rights

@pytest.mark.parametrize("role", ["pg_monitor", "pg_signal_backend"])
def test_role_of_the_server_that_is_missing(broken, role):
    broken.admin.execute(f"REVOKE {role} FROM backfilld")
    try:
        one_problem(broken.conninfo(), role, "missing", f"HINT: GRANT {role} TO backfilld;")
    finally:
        broken.admin.execute(f"GRANT {role} TO backfilld")


def test_submitter_as_whom_the_daemon_may_not_log_in(broken):
    with let_in(broken, "local all other reject"):
        one_problem(broken.conninfo(), "login as other", "pg_hba.conf rejects", "HINT: The role must exist")


def test_submitter_that_may_not_connect_to_the_database(broken):
    broken.admin.execute(f"REVOKE CONNECT ON DATABASE {broken.name} FROM PUBLIC; GRANT CONNECT ON DATABASE {broken.name} TO backfilld, app")
    one_problem(broken.conninfo(), "login as other", "permission denied for database", "HINT: GRANT CONNECT")


def test_job_whose_owner_its_submitter_may_no_longer_be(broken):
    with broken.connect() as session:
        session.execute("SET ROLE app_owner; CREATE TABLE t (id int PRIMARY KEY, n int)")
        name = broken.submit(session=session, set_clause="n = 1", wanted="pause")
    assert problems(broken.conninfo()) == []
    broken.admin.execute("REVOKE app_owner FROM app")
    try:
        one_problem(broken.conninfo(), f"job {name}", "app may not SET ROLE app_owner", "HINT: GRANT app_owner TO app;")
    finally:
        broken.admin.execute("GRANT app_owner TO app")


@pytest.mark.parametrize("change, problem", [
    ("ALTER TABLE t DISABLE TRIGGER ALL", "is switched off"),
    ("ALTER TABLE t RENAME c TO d", "writes column c, which is not there any more"),
    ("DROP TRIGGER zz_backfilld_keep_in_sync_000001_insert ON t", "is not there any more"),
])
def test_a_trigger_that_no_longer_does_its_work(broken, change, problem):
    broken.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1)")
    name = broken.submit(add_column="c int", set_clause="c = n", keep_in_sync=True)
    broken.daemon()
    broken.finish(name)
    assert problems(broken.conninfo()) == []
    broken.admin.execute(change)
    one_problem(broken.conninfo(), f"job {name}", f"the trigger of keep_in_sync on public.t {problem}", "backfill.finish")


# ---- The schema

def test_schema_that_is_missing(db):
    db.admin.execute("DROP SCHEMA backfill CASCADE")
    one_problem(db.conninfo(), "schema", "not installed", "HINT: Run backfilld --install")


@pytest.mark.parametrize("change, verdict, hint", [
    ("checksum = 'old'", "of another version", "Run backfilld --install"),
    ("version = 0", "of another version", "Run backfilld --install"),
    ("version = 9999", "newer than this program", "Run the backfilld that installed it"),
])
def test_schema_of_another_version(db, change, verdict, hint):
    db.admin.execute(f"UPDATE backfill.installed SET {change}")
    one_problem(db.conninfo(), "schema", verdict, f"HINT: {hint}")


def test_schema_of_another_role(db):
    db.admin.execute("ALTER SCHEMA backfill OWNER TO postgres")
    one_problem(db.conninfo(), "schema", "belongs to role postgres, not to backfilld", "HINT: Run backfilld as the role that has installed")


# ---- The server's host

def test_data_directory_that_the_daemon_can_not_see(broken, tmp_path):
    """A tablespace below a directory that the daemon's user may not search; as root it is gone instead."""
    place = tmp_path / "hidden" / "space"
    place.mkdir(parents=True)
    for directory in (tmp_path, *tmp_path.parents):
        if os.stat(directory).st_uid == os.getuid():
            os.chmod(directory, os.stat(directory).st_mode | stat.S_IXOTH)
    if os.getuid() == 0:
        os.chown(place, pwd.getpwnam(broken.cluster.account).pw_uid, -1)
    broken.admin.execute(f"CREATE TABLESPACE space LOCATION '{place}'")
    try:
        assert problems(broken.conninfo()) == []
        place.rename(tmp_path / "away") if os.getuid() == 0 else place.parent.chmod(0)
        try:
            one_problem(broken.conninfo(), "disk", str(place), "HINT: Let the daemon's user search", "max_disk_used = 0")
        finally:
            (tmp_path / "away").rename(place) if os.getuid() == 0 else place.parent.chmod(0o755)
    finally:
        broken.admin.execute("DROP TABLESPACE space")


def test_every_problem_has_its_own_line(broken):
    broken.admin.execute("REVOKE pg_signal_backend FROM backfilld; DROP SCHEMA backfill CASCADE")
    try:
        assert len(problems(broken.conninfo())) == 2
    finally:
        broken.admin.execute("GRANT pg_signal_backend TO backfilld")


def test_a_port_that_a_backfilld_serves_is_no_problem_and_one_of_a_stranger_is(db, tmp_path):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        config = tmp_path / "c.conf"
        config.write_text(db.config(listen=f"127.0.0.1:{port}"))
        ended = run("-c", str(config), "--check")
        assert ended.returncode == 1 and "Address already in use" in ended.stdout and "HINT: " in ended.stdout
    for listen in (f"127.0.0.1:{port}", f"unix:{tmp_path}/m.sock"):
        config.write_text(db.config(listen=listen))
        daemon = db.daemon(listen=listen)
        daemon.says("connected")
        ended = run("-c", str(config), "--check")
        assert ended.returncode == 0 and "ok, a backfilld serves them" in ended.stdout, ended.stdout
        daemon.terminate()
    assert run("-c", str(config), "--check").returncode == 0


def test_publications_of_a_table_are_those_that_the_servers_view_has(db):
    """Without that view, which looks through all tables of all publications."""
    db.admin.execute("""CREATE SCHEMA s; CREATE TABLE s.plain (a int, b int); CREATE TABLE other (a int); CREATE UNLOGGED TABLE s.unlogged (a int);
                        CREATE TABLE s.root (a int, b int) PARTITION BY RANGE (a); CREATE TABLE part PARTITION OF s.root FOR VALUES FROM (0) TO (10);
                        CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION schemas FOR TABLES IN SCHEMA s; CREATE PUBLICATION one FOR TABLE s.plain; CREATE PUBLICATION columns FOR TABLE s.plain (a);
                        CREATE PUBLICATION by_root FOR TABLE s.root WITH (publish_via_partition_root); CREATE PUBLICATION leaf FOR TABLE part; CREATE PUBLICATION none""")
    for relation in ("s.plain", "other", "s.unlogged", "s.root", "part"):
        tree = db.one(f"SELECT array_agg(relid::regclass::text) FROM (SELECT '{relation}'::regclass AS relid UNION SELECT relid FROM pg_partition_tree('{relation}') UNION SELECT relid FROM pg_partition_ancestors('{relation}')) r")
        seen = db.one("SELECT coalesce(array_agg(DISTINCT pubname::text ORDER BY pubname::text), '{}') FROM pg_publication_tables WHERE format('%%I.%%I', schemaname, tablename)::regclass::text = ANY (%s)", tree)
        assert db.one(f"SELECT coalesce(array_agg(name::text ORDER BY name::text), '{{}}') FROM backfill.publications_of('{relation}'::regclass)") == seen, relation
    assert db.all("SELECT name::text, all_columns FROM backfill.publications_of('s.plain'::regclass) ORDER BY name::text") == [("columns", False), ("everything", True), ("one", True), ("schemas", True)]
