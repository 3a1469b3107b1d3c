"""The daemon's own edges: its file, its descriptors, its loop, how it stops, and what it says of a job or a server that is gone."""

import os
import re
import signal
import subprocess
import time

import pytest

from daemon import HOST_OFF, PROGRAM, config_text, run
from waiting import wait_until

DATABASES = 'databases = ( { conninfo = "dbname=a"; } );\n'


# ---- The file

def test_an_include_of_a_directory_leaves_the_settings_and_the_daemon_as_they_were(db, tmp_path):
    db.table()
    daemon = db.daemon()
    good = db.config()
    daemon.says("connected")
    daemon.rewrite_config(f'{good}\n@include "{tmp_path}"\n')
    daemon.signal(signal.SIGHUP)
    line = good.count("\n") + 2
    daemon.says(f'{daemon.config_path}:{line}: @include "{tmp_path}" is no file, but a directory')
    daemon.says("the settings stay as they were")
    db.finish(db.submit(set_clause="n = 1"))


@pytest.mark.parametrize("what, told", [
    ("include", r"bad.conf:2: @include \".*\" is no file, but a directory"),
    ("nested", r"can't be read: is it a directory"),
    ("directory", r"Is a directory"),
    ("missing", r"No such file or directory"),
    ("number", r"bad.conf:2: target_ms = 1e\+20 is out of range: 1 to 10000"),
])
def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path, what, told):
    file, other = tmp_path / "bad.conf", tmp_path / "other.conf"
    other.write_text(f'@include "{tmp_path}"\n')
    text = {"include": f'@include "{tmp_path}"\n', "nested": f'@include "{other}"\n',
            "number": "batch = { target_ms = 99999999999999999999; };\n"}.get(what)
    if text:
        file.write_text(DATABASES + text)
    path = tmp_path if what == "directory" else file
    for mode in ([], ["--check"]):
        ended = run("-c", str(path), *mode)
        assert ended.returncode == 2 and re.search(told, ended.stderr), ended.stderr


@pytest.mark.parametrize("conninfo", ["postgresql://u:hunter2@[bad/app", "dbname=app password = hunter2 hunter2",
                                      "dbname=app password='hunter2", "dbname=app sslpassword=hunter2", "postgresql://u@h/app?sslpassword=hunter2"])
def test_a_password_is_neither_taken_nor_echoed(tmp_path, conninfo):
    file = tmp_path / "secret.conf"
    file.write_text(config_text([{"name": "app", "conninfo": conninfo}]))
    for arguments in (["-c", str(file)], ["-d", conninfo]):
        ended = run(*arguments, "--check")
        assert ended.returncode == 2 and "hunter2" not in ended.stderr + ended.stdout, ended.stderr
        assert "passfile" in ended.stderr or "conninfo" in ended.stderr or "psql" in ended.stderr


# ---- Descriptors and the loop

def test_standard_descriptors_that_are_closed_are_nobody_elses(db):
    file = db.config()
    daemon = db.daemon()
    with open(f"/proc/{daemon.pid}/cmdline", "rb") as line:
        command = line.read().decode().split("\0")[:-1]
    daemon.terminate()
    with open(command[2], "w") as config:
        config.write(file)
    with subprocess.Popen(["sh", "-c", 'exec "$0" "$@" 0<&- 1>&- 2>&-', *command]) as process:
        try:
            wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backfilld control' AND datname = %s", db.name),
                       what="it is connected")
            assert {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
        finally:
            process.terminate()


def test_who_cancels_for_the_daemon_holds_none_of_its_sockets(own_db):
    db = own_db
    db.table()
    db.sleep_at(500, 3)
    daemon = db.daemon()
    db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    # That without which it can't ask the server in a session that it has.
    sessions = db.all("SELECT pid FROM pg_stat_activity WHERE application_name IN ('backfilld control', 'backfilld monitor') AND datname = %s", db.name)
    assert len(sessions) == 2
    postmaster = db.cluster.process
    postmaster.send_signal(signal.SIGSTOP)  # who connects waits
    try:
        for pid, in sessions:
            os.kill(pid, signal.SIGTERM)
        daemon.says("not connected")
        daemon.signal(signal.SIGTERM)
        daemon.says("finishing batches")
        daemon.signal(signal.SIGTERM)

        def children():
            return subprocess.run(["ps", "--ppid", str(daemon.pid), "-o", "pid="], capture_output=True, text=True).stdout.split()
        child = wait_until(children, what="a child cancels the batch")[0]
        sockets = wait_until(lambda: [link for link in (os.readlink(f"/proc/{child}/fd/{fd}") for fd in os.listdir(f"/proc/{child}/fd"))
                                      if "socket" in link], what="it has its own")
        assert len(sockets) == 1
    finally:
        postmaster.send_signal(signal.SIGCONT)
    daemon.wait(30)


def test_a_loop_that_fails_is_an_error(db, tmp_path, monkeypatch):
    broken, library, now = tmp_path / "broken.c", tmp_path / "broken.so", tmp_path / "now"
    broken.write_text(f"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <unistd.h>
        struct epoll_event;
        int epoll_wait(int fd, struct epoll_event *events, int n, int ms) {{
            if (access("{now}", F_OK) == 0) {{ errno = EBADF; return -1; }}
            return ((int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait"))(fd, events, n, ms > 100 || ms < 0 ? 100 : ms);
        }}""")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, broken], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    daemon = db.daemon()
    monkeypatch.delenv("LD_PRELOAD")
    daemon.says("connected")
    now.touch()
    assert daemon.wait() == 1
    assert "error: the event loop has failed" in daemon.log() and "libevent: epoll_wait" in daemon.log()


def test_without_a_journal_the_records_go_to_stderr(db, tmp_path):
    if os.getuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("a journal that isn't there takes root and a mount namespace")
    db.table(rows=10)
    db.submit(name="mine", set_clause="n = 1")
    config = tmp_path / "backfilld.conf"
    config.write_text(db.config())
    with open(tmp_path / "stderr", "w+") as stderr:
        status = os.fstat(stderr.fileno())
        subprocess.run(["unshare", "-m", "sh", "-c", 'mkdir -p /run/systemd/journal && mount -t tmpfs tmpfs /run/systemd/journal && exec "$@"', "sh",
                        PROGRAM, "-c", config, "--drain"], check=True, stderr=stderr, timeout=60,
                       env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        stderr.seek(0)
        assert "mine: succeeded: 10 rows done" in stderr.read()


@pytest.mark.parametrize("mode", ["--check", "--install", "--version", "--help"])
def test_output_that_cannot_be_written_is_an_error(db, mode):
    """A script asks by the exit status, and the disk under its log may be full."""
    command = [PROGRAM, "-d", db.conninfo(), mode]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "backfilld: not all of its output could be written: No space left on device\n")
    assert subprocess.run([*command], stdout=subprocess.DEVNULL).returncode == 0


def test_jobs_are_done_whether_their_journal_can_be_written_or_not(db):
    db.table(rows=10)
    db.submit(set_clause="n = 1")
    with open("/dev/full", "w") as full:
        assert subprocess.run([PROGRAM, "-d", db.conninfo(), "--drain", "--no-throttle"], stdout=full, stderr=full).returncode == 0
    assert db.counts() == {1: 10}


# ---- Stopping

def test_a_hangup_while_the_daemon_starts_reads_the_file_again(db, tmp_path, monkeypatch):
    """Who has just changed the file, a configuration manager, doesn't know how far a start is."""
    slow, library, now = tmp_path / "slow.c", tmp_path / "slow.so", tmp_path / "now"
    slow.write_text(f"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <unistd.h>
        struct config_t;
        int config_read_file(struct config_t *config, const char *path) {{
            close(creat("{now}", 0600));
            usleep(300000);
            return ((int (*)(struct config_t *, const char *))dlsym(RTLD_NEXT, "config_read_file"))(config, path);
        }}""")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, slow], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    daemon = db.daemon()
    monkeypatch.delenv("LD_PRELOAD")
    wait_until(now.exists, what="the file is being read")
    daemon.signal(signal.SIGHUP)
    daemon.says("settings read again")
    daemon.says("connected")


def test_a_daemon_that_stops_reads_its_file_no_more(db):
    db.table()
    db.sleep_at(500, 2)
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    daemon.signal(signal.SIGTERM)
    daemon.says("finishing batches")
    daemon.signal(signal.SIGHUP)
    daemon.says("stopping")
    began = time.monotonic()
    assert daemon.wait() == 0 and time.monotonic() - began < 10
    assert daemon.log().count("connected") == 1 and "could not be given back" not in daemon.log()
    assert db.state(name) == "queued"


def test_a_claim_that_is_answered_after_the_stop_goes_back(db):
    db.table()
    db.table("second")
    db.sleep_at(500, 2.5)
    daemon = db.daemon(workers=2)
    first = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    with db.connect("postgres") as locker, locker.transaction():
        locker.execute("SET ROLE app; INSERT INTO backfill.job (name, target, set_clause) VALUES ('late', 'second', 'n = 1'); RESET ROLE;"
                       " LOCK TABLE backfill.job IN ACCESS EXCLUSIVE MODE")
        daemon.signal(signal.SIGHUP)  # it looks for jobs
        wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'backfill.job'::regclass"), every=0.001,
                   what="the claim waits")
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "finishing batches" in daemon.log(), every=0.001)
    assert daemon.wait(15) == 0
    assert "can't claim" not in daemon.log(), "the lock was held for too long: the test tells nothing"
    assert "late: given back to the queue" in daemon.log() and "could not be given back" not in daemon.log()
    assert db.state("late") == db.state(first) == "queued"
    assert db.one("SELECT holder_pid FROM backfill.job WHERE name = 'late'") is None


def test_a_claim_that_is_answered_when_its_database_has_left_the_file_goes_back(db, db2):
    db.table()
    db.table("second")
    db.sleep_at(500, 2.5)
    both = [{"name": d.name, "conninfo": d.conninfo(), "workers": 2} for d in (db, db2)]
    daemon = db.start(config=config_text(both, throttle=HOST_OFF))
    first = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    with db.connect("postgres") as locker, locker.transaction():
        locker.execute("SET ROLE app; INSERT INTO backfill.job (name, target, set_clause) VALUES ('late', 'second', 'n = 1'); RESET ROLE;"
                       " LOCK TABLE backfill.job IN ACCESS EXCLUSIVE MODE")
        daemon.signal(signal.SIGHUP)  # it looks for jobs
        wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'backfill.job'::regclass"), every=0.001,
                   what="the claim waits")
        daemon.rewrite_config(config_text(both[1:], throttle=HOST_OFF))
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.log().count("settings read again") == 2, every=0.001)
    wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backfilld %%' AND datname = %s", db.name) == 0, what="it has left the database")
    assert "can't claim" not in daemon.log(), "the lock was held for too long: the test tells nothing"
    assert "late: given back to the queue" in daemon.log()
    assert db.state("late") == db.state(first) == "queued"
    db2.table()
    db2.finish(db2.submit(set_clause="n = 1"))


# ---- What is said

def test_who_keeps_the_daemon_from_the_jobs_is_said_once(db):
    db.table()
    daemon = db.daemon()
    daemon.says("connected")
    with db.connect("postgres", application_name="a console") as locker, locker.transaction():
        locker.execute("LOCK TABLE backfill.job IN ACCESS EXCLUSIVE MODE")
        daemon.signal(signal.SIGHUP)  # it looks for jobs
        daemon.says(f"can't claim a job: the control schema is locked: pid {locker.info.backend_pid} (a console) holds AccessExclusiveLock on backfill.job")
        for _ in range(1):  # a claim each two seconds: the same is not said again
            wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'backfill.job'::regclass"), every=0.001, what="a claim waits")
            wait_until(lambda: not db.one("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'backfill.job'::regclass"), what="it gives up")
    assert daemon.log().count("can't claim a job") == 1
    daemon.terminate()
    name = db.submit(set_clause="n = 1")
    with db.locked_rows("true", "backfill.job", name="an editor") as locker:
        daemon.start()
        wait_until(lambda: db.throttled_by(name) == f"its row is locked by pid {locker.info.backend_pid} (an editor)", what="status says who")
    db.finish(name)


def end_control(db):
    db.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'backfilld control' AND datname = %s", [db.name])


def test_a_right_that_the_monitor_lacks_is_named(own_db):
    db = own_db
    db.table()
    db.admin.execute("REVOKE pg_monitor FROM backfilld")
    try:
        db.daemon()
        name = db.submit(set_clause="n = n + 1")
        wait_until(lambda: "GRANT pg_monitor" in (db.job(name)["waiting_for"] or ""), what="the job says what is missing")
    finally:
        db.admin.execute("GRANT pg_monitor TO backfilld")
    db.finish(name)


def may_install(db):
    db.admin.execute(f"GRANT CREATE ON DATABASE {db.name} TO backfilld")


def test_a_lost_connection_is_said_again_when_its_reason_changes(db):
    daemon = db.daemon()
    daemon.says("connected")
    may_install(db)
    db.admin.execute("DROP SCHEMA backfill CASCADE")
    end_control(db)
    daemon.says("not connected, trying again")
    daemon.says("the control schema is not installed. HINT: Run backfilld --install")
    assert run("-d", db.conninfo(), "--install").returncode == 0
    daemon.says("connected again")
    assert daemon.log().count("is not installed") == 1


@pytest.mark.parametrize("how", ["deleted", "cancelled by hand", "reinstalled"])
def test_a_job_that_is_gone_is_called_gone(db, how):
    db.table()
    db.sleep_at(500, 1)
    daemon = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    if how == "deleted":
        db.admin.execute("DELETE FROM backfill.job")
    elif how == "cancelled by hand":
        db.admin.execute("UPDATE backfill.job SET state = 'cancelled', holder_pid = NULL")
    else:
        may_install(db)
        db.admin.execute("DROP SCHEMA backfill CASCADE")
        assert run("-d", db.conninfo(), "--install").returncode == 0
    daemon.says(f"{name}: the job is cancelled by now" if how == "cancelled by hand" else f"{name}: its row is gone from backfill.job")
    assert "another daemon" not in daemon.log()


def test_a_job_whose_schema_is_gone_holds_no_stop_up(db):
    db.table()
    db.sleep_at(500, 1)
    daemon = db.daemon()
    db.submit(name="mine", set_clause="n = n + 1")
    db.wait_asleep()
    db.admin.execute("DROP SCHEMA backfill CASCADE")
    daemon.says("waits, and tries again")
    began = time.monotonic()
    daemon.terminate()
    assert time.monotonic() - began < 3
    assert "mine: left as it stands" in daemon.log()


def test_another_daemon_is_named_when_it_took_the_job(db):
    db.table()
    db.sleep_at(500, 2)
    first = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    second = db.daemon()
    second.says("connected")
    pid = db.one("SELECT holder_pid FROM backfill.job WHERE name = %s", name)
    first.signal(signal.SIGSTOP)
    db.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
    second.says("goes on where it stood")
    first.process.send_signal(signal.SIGCONT)
    first.told_to_end = False
    first.says(f"{name}: another daemon has taken the job over: pid")


def test_an_install_of_another_version_beside_a_running_job_costs_none(db):
    db.table(rows=20000)
    db.daemon(max_rows=50)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=4000)
    wait_until(lambda: db.cursor(name), what="it runs")
    for _ in range(6):
        db.admin.execute("UPDATE backfill.installed SET checksum = 'another'")
        installed = run("-d", db.conninfo(), "--install")
        assert installed.returncode == 0, installed.stderr
    db.finish(name)
    assert db.counts() == {1: 20000}


def test_the_end_of_a_job_that_is_written_late_names_its_row_once(db):
    db.table()
    db.daemon()
    with db.connect("postgres") as locker:
        name = db.submit(set_clause="n = 1 / (id - 900)::int", max_rows_per_s=2000)
        wait_until(lambda: db.cursor(name), what="it runs")
        with locker.transaction():
            locker.execute("SELECT id FROM backfill.job FOR NO KEY UPDATE")
            db.daemons[0].says(f"waits, and tries again: the control schema is locked: pid {locker.info.backend_pid} holds RowShareLock on backfill.job")
            time.sleep(1)
    job = db.finish(name, "failed")
    assert job["error"].count("row id = 900") == 1
