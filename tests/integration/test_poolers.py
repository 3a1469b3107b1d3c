"""PgBouncer between the daemon and the server: as good as none in session mode, refused in the others, and nothing of ours stays in its pool."""

import os
import re
import shutil
import signal
import subprocess

import psycopg
import pytest

from cluster import Cluster, die_with_parent
from daemon import HOST_OFF, config_text, run
from database import Database, prepare
from ports import free_port
from waiting import let_pass, wait_until

PGBOUNCER = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
REFUSAL = "a pooler is between that gives each transaction another session"
HINT = "HINT: Name the server itself in conninfo, or a pool with pool_mode = session."


class Pooler:
    def __init__(self, db, mode, users=""):
        self.db, self.mode, self.port = db, mode, free_port()
        directory = db.cluster.directory
        self.program = shutil.copy(PGBOUNCER, directory)  # an unpacked one may stand where the server's account can't read
        self.log = f"{directory}/pgbouncer-{self.port}.log"
        config = f"{directory}/pgbouncer-{self.port}.ini"
        names = f"{directory}/pgbouncer-{self.port}.txt"
        with open(names, "w") as file:
            file.writelines(f'"{user}" ""\n' for user in ("backfilld", "app", "other", "postgres"))
        with open(config, "w") as file:
            file.write(f"[databases]\n{db.name} = host={directory} port={db.cluster.port}\n[users]\n{users}\n[pgbouncer]\n"
                       f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {names}\n"
                       f"admin_users = postgres\npool_mode = {mode}\ndefault_pool_size = 5\nserver_idle_timeout = 600\n")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([self.program, config], stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGKILL),
                                            **db.cluster.as_account())
        wait_until(self.answers, what="the pooler answers")

    def answers(self):
        assert self.process.poll() is None, open(self.log).read()
        try:
            self.connect().close()
            return True
        except psycopg.OperationalError:
            return False

    def connect(self, user="backfilld"):
        return psycopg.connect(host="127.0.0.1", port=self.port, user=user, dbname=self.db.name, autocommit=True, prepare_threshold=None)

    def conninfo(self):
        return f"host=127.0.0.1 port={self.port} user=backfilld dbname={self.db.name}"

    def servers(self):
        """The pids of the server's processes in its pool."""
        return {pid for pid, in self.db.all("SELECT pid FROM pg_stat_activity WHERE datname = %s AND usename IN ('backfilld', 'app')"
                                            " AND client_port = -1 AND pid <> ALL (%s)", self.db.name,
                                            [s.info.backend_pid for s in self.db.sessions.values()])}

    def destroy(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def pooled(db):
    made = []

    def make(mode, users=""):
        made.append(Pooler(db, mode, users))
        return made[-1]
    yield make
    for pooler in made:
        pooler.destroy()


def start(db, pooler, **options):
    return db.start(config=config_text([{"name": db.name, "conninfo": pooler.conninfo()}], throttle=HOST_OFF), **options)


def nothing_is_left(db, pooler):
    """Of whoever uses the pool after us."""
    plain = {name: value for name, value in db.all("SELECT name, setting FROM pg_settings", user="app")}
    for user in ("backfilld", "app"):
        with pooler.connect(user) as first, pooler.connect(user) as second:
            for session in (first, second):
                session.autocommit = pooler.mode == "statement"  # else each has a session of the server's own
                settings = dict(session.execute("SELECT name, setting FROM pg_settings").fetchall())
                left = {name: value for name, value in settings.items() if plain.get(name, value) != value and name not in (
                    "application_name", "client_encoding", "is_superuser", "session_authorization", "transaction_isolation", "statement_timeout")}
                assert not left
                assert settings["statement_timeout"] == "0" and settings["idle_session_timeout"] == "0"
                assert session.execute("SELECT (SELECT count(*) FROM pg_listening_channels()),"
                                       " (SELECT count(*) FROM pg_prepared_statements),"
                                       " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')").fetchone() == (0, 0, 0)
                assert session.execute("SELECT current_setting('backfilld.batch', true)").fetchone()[0] in (None, "")


@pytest.mark.parametrize("mode, before", [("transaction", 0), ("transaction", 3), ("statement", 0)])
def test_a_pooler_that_gives_no_session_is_refused_and_nothing_is_left_in_its_pool(db, pooled, mode, before):
    pooler = pooled(mode)
    sessions = [pooler.connect(user) for user in ("backfilld", "app") for _ in range(before)]
    for session in sessions:  # each makes the pool open one of the server's
        session.autocommit = False
        session.execute("SELECT 1")
    for session in sessions:
        session.close()
    db.table(rows=1000)
    name = db.submit(set_clause="n = 1")

    checked = run("-d", pooler.conninfo(), "--check")
    lines = [line for line in checked.stdout.splitlines() if "HINT" in line]
    assert checked.returncode == 1 and len(lines) == 1 and REFUSAL in lines[0] and HINT in lines[0], checked.stdout

    drained = run("-d", pooler.conninfo(), "--drain")
    assert drained.returncode == 1 and REFUSAL in drained.stderr and HINT in drained.stderr, drained.stderr

    installed = run("-d", pooler.conninfo(), "--install")
    assert installed.returncode == 1 and REFUSAL in installed.stderr and HINT in installed.stderr, installed.stderr

    daemon = start(db, pooler)
    daemon.says(REFUSAL)
    daemon.says(HINT)
    let_pass(1)
    assert daemon.log().count(REFUSAL) == 1, "it is said once"
    assert db.state(name) == "queued" and db.counts() == {0: 1000}
    daemon.terminate()
    nothing_is_left(db, pooler)


def test_a_pooler_whose_users_differ_is_refused_for_whom_it_gives_no_session(db, pooled):
    """The daemon's role has one, the role that submits jobs has not."""
    pooler = pooled("session", "app = pool_mode=transaction")
    db.table(rows=1000)
    name = db.submit(set_clause="n = 1")
    checked = run("-d", pooler.conninfo(), "--check")
    line = next(line for line in checked.stdout.splitlines() if "login as app" in line)
    assert checked.returncode == 1 and REFUSAL in line and HINT in line, checked.stdout
    daemon = start(db, pooler)
    wait_until(lambda: REFUSAL in (db.job(name)["waiting_for"] or ""), what="the job says why it waits")
    daemon.terminate()
    assert db.counts() == {0: 1000} and db.state(name) in ("queued", "running")
    nothing_is_left(db, pooler)


def test_a_busy_pool_is_told_from_a_session(db, pooled):
    """Others take the server's processes in turn, also the one that the daemon has just left."""
    pooler = pooled("transaction")
    noise = subprocess.Popen([os.sys.executable, "-c", f"""
import psycopg, threading
def work():
    with psycopg.connect("{pooler.conninfo()}", autocommit=True, prepare_threshold=None) as session:
        while True:
            session.execute("SELECT pg_sleep(0.01)")
threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""], preexec_fn=die_with_parent(signal.SIGKILL))
    try:
        wait_until(lambda: len(pooler.servers()) >= 3, what="the pool is busy")
        for _ in range(2):
            checked = run("-d", pooler.conninfo(), "--check")
            assert checked.returncode == 1 and REFUSAL in checked.stdout, checked.stdout
    finally:
        noise.kill()
        noise.wait()
    # The process that was told to end when it has been idle for 0.1 s was busy until just now.
    wait_until(lambda: not db.all("SELECT FROM pg_stat_activity WHERE pid = ANY (%s) AND clock_timestamp() - state_change < interval '0.5 s'",
                                  list(pooler.servers())), what="all that are left in the pool have been idle for longer")
    nothing_is_left(db, pooler)


def test_a_pooler_in_session_mode_is_as_good_as_none(db, pooled):
    """Jobs start at once, are paused in the middle of a batch, let others through: which takes the pids of the server's processes."""
    pooler = pooled("session")
    db.table(rows=20000)
    db.sleep_at(5000, 30)
    checked = run("-d", pooler.conninfo(), "--check")
    assert checked.returncode == 0, checked.stdout
    daemon = db.start(config=config_text([{"name": db.name, "conninfo": pooler.conninfo()}], throttle=HOST_OFF,
                                         batch={"statement_timeout_ms": 60000}))
    daemon.says("connected")
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    db.app.execute("SELECT backfill.pause(%s)", [name])
    db.wait_state(name, "paused", timeout=5)
    assert 0 < db.counts().get(1, 0) < 5000
    db.admin.execute("DROP TRIGGER sleep ON t")
    db.app.execute("SELECT backfill.resume(%s)", [name])
    db.finish(name)
    assert db.counts() == {1: 20000}
    daemon.terminate()
    nothing_is_left(db, pooler)


def test_a_session_mode_pool_that_restarts_is_no_other_mode(db, pooled):
    pooler = pooled("session")
    db.table(rows=1000)
    daemon = start(db, pooler)
    daemon.says("connected")
    pooler.process.kill()
    pooler.process.wait()
    daemon.says("not connected")
    with open(pooler.log, "a") as log:
        pooler.process = subprocess.Popen([pooler.program, re.sub("log$", "ini", pooler.log)], stdout=log, stderr=log,
                                          preexec_fn=die_with_parent(signal.SIGKILL), **db.cluster.as_account())
    daemon.says("connected again")
    db.finish(db.submit(set_clause="n = 1"))
    assert REFUSAL not in daemon.log()
