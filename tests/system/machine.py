"""A machine with a systemd of its own, in which PostgreSQL and backfilld run as units: this machine's / with a layer of
memory over it, in namespaces of its own. Nothing of it outlives destroy(), nor the process that made it."""

import json
import os
import shutil
import signal
import subprocess
import tempfile

from cluster import die_with_parent
from daemon import HOST_OFF, PROGRAM, config_text
from waiting import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
CLUSTER = "15 system"
POSTGRESQL = "postgresql@15-system"
CONFIG = "/etc/backfilld/backfilld.conf"

# As README.md has it for a database on the daemon's host; vault comes in by password, the others by who they are.
HBA = """
local all postgres peer
local all vault    scram-sha-256
local all all      peer map=backfilld
"""
IDENT = """
backfilld backfilld backfilld
backfilld backfilld migrator
backfilld postgres  migrator
"""
ROLES = """
CREATE ROLE backfilld LOGIN IN ROLE pg_monitor, pg_signal_backend;
CREATE ROLE backfill_submitter NOLOGIN;
CREATE ROLE migrator LOGIN IN ROLE backfill_submitter;
CREATE ROLE vault LOGIN PASSWORD 'geheim' IN ROLE backfill_submitter;
CREATE DATABASE app;
GRANT CREATE ON DATABASE app TO backfilld;
"""


def why_not():
    """Why no machine can be booted here, or None."""
    if os.getuid() != 0:
        return "only root can boot a machine"
    if not shutil.which("systemd-nspawn"):
        return "systemd-nspawn is missing (package systemd-container)"
    with tempfile.TemporaryDirectory(prefix="bf-") as directory:
        trial = subprocess.run(
            [*NAMESPACES, "sh", "-ec", 'mount -t tmpfs tmpfs "$0"; mkdir "$0/upper" "$0/work" "$0/root"; mount -t overlay overlay'
             ' -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"', directory], capture_output=True, text=True)
    return None if trial.returncode == 0 else f"no overlay of / can be mounted here: {trial.stderr.strip()}"


def child_of(pid):
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True).stdout.split()
    return int(found[0]) if found else None


class Machine:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="bf-")
        self.console = open(f"{self.directory}.log", "w+", errors="replace")
        self.process = subprocess.Popen(
            [*NAMESPACES, f"{HERE}/boot.sh", self.directory, os.path.dirname(os.path.dirname(os.path.abspath(PROGRAM)))],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console, preexec_fn=die_with_parent(signal.SIGKILL))
        self.init = None  # the pid of its systemd

    def destroy(self):
        self.process.kill()  # unshare --kill-child: and so all that is in its namespaces, with what is mounted there
        self.process.wait()
        self.console.seek(0)
        print(f"--- console\n{self.console.read()[-4000:]}")
        self.console.close()
        os.unlink(self.console.name)
        os.rmdir(self.directory)

    # ---- Setting up

    def set_up(self):
        wait_until(self.has_booted, 60, "the machine boots")
        self.run("systemd-sysusers")
        self.run("journalctl", "--update-catalog")
        self.run("pg_createcluster", *CLUSTER.split(), "--", "--no-sync")
        self.write("/etc/postgresql/15/system/pg_hba.conf", HBA)
        self.write("/etc/postgresql/15/system/pg_ident.conf", IDENT)
        self.run("systemctl", "start", POSTGRESQL)
        self.psql(ROLES, database="postgres")
        self.psql("GRANT ALL ON SCHEMA public TO migrator, vault")
        self.run("mkdir", "/etc/backfilld")
        self.configure()
        self.write("/etc/backfilld/backfilld.passfile", "*:*:app:vault:geheim\n", mode="600")
        self.run("runuser", "-u", "backfilld", "--", "backfilld", "--install")
        self.drop_in("short-watchdog", "[Service]\nWatchdogSec=2s\n")  # the unit's minute would be the test's
        self.run("systemctl", "start", "backfilld")

    def has_booted(self):
        assert self.process.poll() is None, f"it has ended: {open(self.console.name, errors='replace').read()[-2000:]}"
        spawn = child_of(self.process.pid)
        self.init = spawn and child_of(spawn)
        return self.init and self.try_run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def configure(self, **database):
        database = {"name": "app", "conninfo": "host=/run/postgresql dbname=app", **database}
        self.write(CONFIG, config_text([database], throttle=HOST_OFF))

    def drop_in(self, name, text):
        self.run("mkdir", "-p", "/etc/systemd/system/backfilld.service.d")
        self.write(f"/etc/systemd/system/backfilld.service.d/{name}.conf", text)
        self.run("systemctl", "daemon-reload")

    # ---- Doing things there

    def try_run(self, *command, patience=60, **options):
        return subprocess.run(["nsenter", "-t", str(self.init), "-a", "--", *command], capture_output=True, text=True,
                              timeout=patience, preexec_fn=die_with_parent(signal.SIGKILL), **options)

    def run(self, *command, **options):
        ended = self.try_run(*command, **options)
        assert ended.returncode == 0, f"{command}: {ended.stderr}{ended.stdout}"
        return ended.stdout.strip()

    def write(self, path, text, mode="644"):
        self.run("sh", "-c", f"cat >{path} && chmod {mode} {path}", input=text)

    def psql(self, sql, user=None, database="app", password=None):
        """What psql prints, unaligned. By peer authentication, as root's postgres, unless a password is given."""
        who = ["-U", user] if user else []
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, *who]
        if password:
            return self.run("env", f"PGPASSWORD={password}", *command, input=sql)
        return self.run("runuser", "-u", "postgres", "--", *command, input=sql)

    def show(self, name, unit="backfilld"):
        return self.run("systemctl", "show", unit, "--property", name, "--value")

    def records(self, *matches):
        """The journal's records as dicts, oldest first."""
        return [json.loads(line) for line in self.run("journalctl", "--output=json", *matches).splitlines()]

    # ---- Jobs

    def table(self, name, rows, user="migrator", password=None):
        self.psql(f"CREATE TABLE {name} (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);"
                  f"INSERT INTO {name} SELECT generate_series(1, {rows})", user, password=password)

    def submit(self, table, user="migrator", password=None, **columns):
        """A job of the table's name that adds one to each n: done twice, it would show."""
        values = {"name": f"'{table}'", "target": f"'{table}'", "set_clause": "'n = n + 1'", **columns}
        self.psql(f"INSERT INTO backfill.job ({', '.join(values)}) VALUES ({', '.join(map(str, values.values()))})", user,
                  password=password)

    def state(self, job):
        return self.psql(f"SELECT state FROM backfill.job WHERE name = '{job}'")

    def keys_done(self, job):
        return int(self.psql("SELECT coalesce(sum(r.keys), 0) FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id"
                             f" WHERE j.name = '{job}'"))

    def wait_moving(self, job):
        """Until it does rows, from now on."""
        before = self.keys_done(job)
        wait_until(lambda: self.keys_done(job) > before, 20, f"job {job} moves")

    def finish(self, job, rows):
        """Waits for its end; every row must have been done exactly once."""
        wait_until(lambda: self.state(job) not in ("queued", "running"), 30, f"job {job} ends", every=0.1)
        assert self.state(job) == "succeeded", self.psql(f"SELECT error, hint FROM backfill.job WHERE name = '{job}'")
        assert self.psql(f"SELECT n, count(*) FROM {job} GROUP BY 1") == f"1|{rows}"
