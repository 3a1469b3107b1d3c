"""A throwaway PostgreSQL cluster: its own directory, its own socket, no TCP."""

import contextlib
import ctypes
import fcntl
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

import psycopg

from ports import free_port
from waiting import wait_until

PR_SET_PDEATHSIG = 1
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
SETTINGS = {
    "fsync": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_size": "1GB",
    "max_prepared_transactions": "2",
    "log_line_prefix": "'%m [%p] %u@%d %a: '",
}


def die_with_parent(sig):
    """For Popen's preexec_fn: the child gets sig when this process ends, however it ends."""
    def before_exec():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sig)
    return before_exec


def find_binaries():
    """The newest server's directory, unless PG_BINDIR names one."""
    if "PG_BINDIR" in os.environ:
        return os.environ["PG_BINDIR"]
    root = "/usr/lib/postgresql"
    versions = sorted((v for v in os.listdir(root) if os.path.exists(f"{root}/{v}/bin/postgres")), key=float)
    return f"{root}/{versions[-1]}/bin"


def stop_asleep(db, backend_type, wait_event):
    """Where it sleeps: stopped in the middle of its work it would hold a lock that everybody needs. Returns its pid."""
    pid = db.one("SELECT pid FROM pg_stat_activity WHERE backend_type = %s", backend_type)

    def stopped():
        os.kill(pid, signal.SIGSTOP)
        if db.one("SELECT wait_event = %s FROM pg_stat_activity WHERE pid = %s", wait_event, pid):
            return True
        os.kill(pid, signal.SIGCONT)
        return False
    wait_until(stopped, what=f"the {backend_type} sleeps")
    return pid


def stop_walwriter(db):
    return stop_asleep(db, "walwriter", "WalWriterMain")


def stop_walsender(db):
    """Nothing reaches a standby any more."""
    return stop_asleep(db, "walsender", "WalSenderMain")


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


class Cluster:
    """Runs as the user postgres when the tests run as root, for a server refuses root; else as oneself."""

    copied = False

    def __init__(self, **settings):
        self.account = "postgres" if os.getuid() == 0 else getpass.getuser()
        base = tempfile.gettempdir()
        self.directory = tempfile.mkdtemp(prefix="bf-", dir=base if len(base) < 60 else "/tmp")
        self.port = free_port()
        self.data = f"{self.directory}/data"
        self.log = f"{self.directory}/server.log"
        self.binaries = find_binaries()
        self.process = None
        try:
            os.chmod(self.directory, 0o755)
            if os.getuid() == 0:
                account = pwd.getpwnam(self.account)
                os.chown(self.directory, account.pw_uid, account.pw_gid)
            self.make_data()
            with open(f"{self.data}/postgresql.conf", "a") as conf:
                conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.directory}'\nport ="
                           f" {self.port}\n")
                for name, value in {**SETTINGS, **settings}.items():
                    conf.write(f"{name} = {value}\n")
            self.start()
        except BaseException:
            self.destroy()
            raise

    def make_data(self):
        """By initdb, or as a copy of what it made for an earlier run of pytest, where run.sh names a directory for that. Only once
        a run: the copies are one system to whoever asks the server who it is."""
        shared = None if Cluster.copied or "PG_BINDIR" in os.environ else os.environ.get("CLUSTER_TEMPLATE")
        if not shared:
            self.initdb(self.data)
            return
        Cluster.copied = True
        with open(f"{shared}/lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(f"{shared}/data"):
                self.initdb(f"{shared}/unfinished")
                os.rename(f"{shared}/unfinished", f"{shared}/data")
        subprocess.run(["cp", "-a", f"{shared}/data", self.data], check=True, cwd=self.directory, **self.as_account())

    def initdb(self, directory):
        subprocess.run(
            [f"{self.binaries}/initdb", "-D", directory, "-U", "postgres", "-A", "trust", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync", "--no-instructions"],
            check=True, stdout=subprocess.DEVNULL, cwd=self.directory, **self.as_account())

    def as_account(self):
        if os.getuid() != 0:
            return {}
        account = pwd.getpwnam(self.account)
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [f"{self.binaries}/postgres", "-D", self.data], stdout=log, stderr=log, cwd=self.directory,
                preexec_fn=die_with_parent(signal.SIGQUIT), start_new_session=True, **self.as_account())
        wait_until(self.answers, 60, "the server answers")

    def answers(self):
        assert self.process.poll() is None, f"the server has ended:\n{self.read_log()[-2000:]}"
        try:
            self.connect().close()
            return True
        except psycopg.OperationalError:
            return False

    def stop(self, mode="fast"):
        if self.process and self.process.poll() is None:
            self.process.send_signal(STOP_SIGNALS[mode])
            self.process.wait(60)

    def kill(self):
        """All of its processes at once, as a host goes that loses its power; a disk that keeps what was synced is still there."""
        pids = [self.process.pid, *map(int, subprocess.run(["ps", "--ppid", str(self.process.pid), "-o", "pid="], check=True,
                                                           capture_output=True, text=True).stdout.split())]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        wait_until(lambda: all(map(is_gone, pids)), what="all of the server is gone")

    def promote(self):
        with self.connect() as session:
            assert session.execute("SELECT pg_promote(true, 60)").fetchone()[0]

    def read_log(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def connect(self, dbname="postgres", user="postgres", **arguments):
        return psycopg.connect(host=self.directory, port=self.port, dbname=dbname, user=user, autocommit=True,
                               options="-c statement_timeout=60s", **arguments)

    def backend(self, kind):
        """The pid of one of its processes: walreceiver, startup."""
        children = subprocess.run(["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="], check=True,
                                  capture_output=True, text=True).stdout.splitlines()
        return next((int(line.split()[0]) for line in children if kind in line), None)

    def conninfo(self, dbname, user="backfilld"):
        return f"host={self.directory} port={self.port} user={user} dbname={dbname}"

    def destroy(self):
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
