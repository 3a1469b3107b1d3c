"""Patroni and etcd on loopback: the leader is killed in mid-job, and conninfo names all hosts.

One kill takes half a minute, most of it Patroni's own patience. BACKFILL_PATRONI=10: so many kills of a job over a million rows, and one whole
migration; without it, one kill of a short job.
"""

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import psycopg
import pytest

from cluster import die_with_parent, find_binaries, is_gone
from daemon import HOST_OFF, Daemon, config_text, run
from database import ROLES
from ports import free_port
from waiting import wait_until

KILLS = int(os.environ.get("BACKFILL_PATRONI", "0"))
MISSING = [name for name in ("patroni", "etcd") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
ON_AGAIN_S = 3 if KILLS else 30  # what is asked of an idle machine; beside others it only must not wait for the host that is gone
ACCOUNT = "postgres" if os.getuid() == 0 else getpass.getuser()

CONFIG = """
scope: backfill
name: {name}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{hosts: '127.0.0.1:{etcd}'}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 3
    maximum_lag_on_failover: 1073741824
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {{max_connections: 50, wal_keep_size: 1GB, max_wal_size: 2GB, wal_log_hints: 'on'}}
  initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}, data-checksums]
  pg_hba: ['local all all trust', 'host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {directory}/{name}
  bin_dir: {binaries}
  pgpass: {directory}/{name}.pass
  pg_hba: ['local all all trust', 'host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']
  authentication: {{superuser: {{username: postgres}}, replication: {{username: postgres}}, rewind: {{username: postgres}}}}
  parameters: {{unix_socket_directories: '{directory}', shared_buffers: 64MB}}
"""


def account():
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(ACCOUNT)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def descendants(pid):
    children = list(map(int, subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True).stdout.split()))
    return [pid, *(d for child in children for d in descendants(child))]


class Node:
    def __init__(self, cluster, name):
        self.cluster, self.name, self.port = cluster, name, free_port()
        self.config = f"{cluster.directory}/{name}.yml"
        with open(self.config, "w") as file:
            file.write(CONFIG.format(name=name, rest=free_port(), etcd=cluster.etcd_port, port=self.port, directory=cluster.directory,
                                     binaries=find_binaries()))
        self.start()

    def start(self):
        with open(f"{self.cluster.directory}/{self.name}.log", "a") as log:
            self.process = subprocess.Popen(["patroni", self.config], stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGKILL),
                                            start_new_session=True, **account())

    def connect(self, dbname="postgres", user="postgres"):
        return psycopg.connect(host="127.0.0.1", port=self.port, user=user, dbname=dbname, autocommit=True, connect_timeout=2)

    def ask(self, sql, dbname="postgres"):
        with contextlib.suppress(psycopg.Error), self.connect(dbname) as session:
            row = session.execute(sql).fetchone()
            return row and row[0]
        return None

    def is_leader(self):
        return self.ask("SELECT pg_is_in_recovery()") is False

    def server_pid(self):
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"{self.cluster.directory}/{self.name}/postmaster.pid") as file:
            return int(file.readline())
        return None

    def kill(self):
        """Patroni and the server at once, as a host goes."""
        pids = descendants(self.process.pid)
        if server := self.server_pid():
            pids += descendants(server)
        for pid in set(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: all(map(is_gone, pids)), what=f"{self.name} is gone")


class Patroni:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="bf-", dir="/tmp")
        os.chmod(self.directory, 0o755)
        if os.getuid() == 0:
            os.chown(self.directory, account()["user"], account()["group"])
        self.etcd_port, peer = free_port(), free_port()
        client = f"http://127.0.0.1:{self.etcd_port}"
        self.nodes = []
        with open(f"{self.directory}/etcd.log", "w") as log:
            self.etcd = subprocess.Popen(
                ["etcd", "--data-dir", f"{self.directory}/etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                 "--initial-cluster", f"default=http://127.0.0.1:{peer}"],
                stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGKILL), **account())
        try:
            self.nodes.append(Node(self, "p1"))
            wait_until(self.nodes[0].is_leader, 60, "the first node leads")
            self.nodes.append(Node(self, "p2"))
            self.wait_for_standby()
        except BaseException:
            self.destroy()
            raise

    def leader(self):
        return next((node for node in self.nodes if node.process.poll() is None and node.is_leader()), None)

    def wait_for_standby(self):
        wait_until(lambda: self.leader() and self.leader().ask("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
                                                               " AND application_name IN ('p1', 'p2')"), 120,
                   "there is a leader, and a standby that streams", every=0.2)

    def destroy(self):
        for node in self.nodes:
            if node.process.poll() is None:
                node.kill()
        self.etcd.kill()
        self.etcd.wait()
        for node in self.nodes:
            with open(f"{self.directory}/{node.name}.log") as log:
                print(f"--- {node.name}\n{log.read()[-4000:]}")
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def patroni():
    cluster = Patroni()
    try:
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def app(patroni):
    """A database on the leader, the daemon with both hosts, p1 first."""
    leader = patroni.leader()
    with leader.connect() as admin:
        if not admin.execute("SELECT FROM pg_roles WHERE rolname = 'app'").fetchall():
            admin.execute(ROLES)
        admin.execute("DROP DATABASE IF EXISTS app WITH (FORCE)")
        admin.execute("CREATE DATABASE app")
        admin.execute("GRANT CREATE ON DATABASE app TO backfilld")
    with leader.connect("app") as admin:
        admin.execute("GRANT ALL ON SCHEMA public TO app")
    hosts, ports = zip(*(("127.0.0.1", str(node.port)) for node in patroni.nodes))
    conninfo = f"host={','.join(hosts)} port={','.join(ports)} user=backfilld dbname=app"
    installed = run("-d", conninfo, "--install")
    assert installed.returncode == 0, installed.stderr
    daemon = Daemon(config=config_text([{"name": "app", "conninfo": conninfo}], throttle=HOST_OFF))
    try:
        yield daemon
    finally:
        assert daemon.destroy() is None


STANDS = "SELECT coalesce(sum(keys), 0)::bigint || ' ' || (SELECT phase FROM backfill.job WHERE name = 'job') || ' ' || max(checkpoint_at) FROM backfill.range"


def fail_over(patroni):
    """Kills the leader; returns its name, and how long after the promotion the job was on again."""
    old = patroni.leader()
    new = next(node for node in patroni.nodes if node is not old)
    wait_until(lambda: new.ask(STANDS, "app"), what="the standby has the job")
    old.kill()
    wait_until(lambda: new.is_leader(), 90, "the other is promoted", every=0.05)
    promoted = time.monotonic()
    stood = new.ask(STANDS, "app")
    wait_until(lambda: new.ask(STANDS, "app") != stood or new.ask("SELECT state FROM backfill.job WHERE name = 'job'", "app") == "succeeded", 30,
               "the job is on again", every=0.05)
    took = time.monotonic() - promoted
    old.start()
    patroni.wait_for_standby()
    return old.name, took


def finish(patroni, name, timeout):
    def ended():
        leader = patroni.leader()
        return leader and leader.ask(f"SELECT state FROM backfill.job WHERE name = '{name}' AND state IN ('succeeded', 'failed')", "app")
    assert wait_until(ended, timeout, f"{name} ends", every=0.2) == "succeeded", patroni.leader().ask("SELECT error FROM backfill.job", "app")


def test_a_job_goes_on_after_each_failover_and_no_row_is_done_twice(patroni, app, measured):
    kills = KILLS or 1
    rows = 1_000_000 if KILLS else 100_000
    with patroni.leader().connect("app", "app") as session:
        session.execute("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0)")
        session.execute(f"INSERT INTO t (id) SELECT generate_series(1, {rows})")
        session.execute("INSERT INTO backfill.job (name, target, set_clause, max_rows_per_s) VALUES ('job', 't', 'n = n + 1', %s)",
                        [2000 if KILLS else 1500])
    wait_until(lambda: patroni.leader().ask("SELECT sum(keys) FROM backfill.range", "app"), what="it is at work")
    times = [fail_over(patroni) for _ in range(kills)]
    assert patroni.leader().ask("SELECT state FROM backfill.job", "app") == "running", "the kills came in mid-job"
    with patroni.leader().connect("app", "app") as session:
        session.execute("UPDATE backfill.job SET max_rows_per_s = NULL")
    finish(patroni, "job", 300)
    with patroni.leader().connect("app") as session:
        assert session.execute("SELECT n, count(*) FROM t GROUP BY 1").fetchall() == [(1, rows)]
    measured("failovers", "; ".join(f"{name} killed, on again {took:.1f} s after the promotion" for name, took in times))
    assert all(took < ON_AGAIN_S for _, took in times), times


@pytest.mark.skipif(not KILLS, reason="the long form: BACKFILL_PATRONI=10")
def test_a_whole_migration_over_a_failover(patroni, app, measured):
    rows = 300_000
    with patroni.leader().connect("app", "app") as session:
        session.execute("CREATE TABLE t (id bigint PRIMARY KEY, amount numeric NOT NULL DEFAULT 1.25)")
        session.execute(f"INSERT INTO t (id) SELECT generate_series(1, {rows})")
        session.execute("INSERT INTO backfill.job (name, target, add_column, set_clause, keep_in_sync, enforce, max_rows_per_s)"
                        " VALUES ('job', 't', 'cents bigint', 'cents = (amount * 100)::bigint', true, '{NOT NULL cents, CHECK (cents > 0)}', 4000)")
    wait_until(lambda: patroni.leader().ask("SELECT sum(keys) FROM backfill.range", "app"), what="it is at work")
    times = [fail_over(patroni), fail_over(patroni)]
    finish(patroni, "job", 300)
    with patroni.leader().connect("app") as session:
        assert session.execute("SELECT cents, count(*) FROM t GROUP BY 1").fetchall() == [(125, rows)]
        assert session.execute("SELECT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'cents'").fetchone() == (True,)
    measured("failovers in a migration", "; ".join(f"{name} killed, on again {took:.1f} s after the promotion" for name, took in times))
    assert all(took < ON_AGAIN_S for _, took in times), times
