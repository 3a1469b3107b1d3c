"""What else slows a job down: each signal is made to rise on a real server, holds the job, is named, and lets it go on after."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

import daemon
from cluster import Cluster
from cpu_pressure import CpuPressure, needs_pressure
from daemon import config_text
from database import Database, prepare
from waiting import let_pass, wait_until

ROWS = 1000
ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="takes root")


@pytest.fixture(scope="module")
def signals_cluster():
    cluster = Cluster(listen_addresses="'127.0.0.1'", archive_mode="on", archive_command="'true'", autovacuum_naptime="1s", max_prepared_transactions="2",
                      wal_keep_size="0", max_slot_wal_keep_size="64MB", max_wal_size="10GB")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def sdb(signals_cluster):
    database = Database(signals_cluster)
    try:
        yield database
    finally:
        database.destroy()


def set_server(db, name, value):
    db.admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    db.admin.execute("SELECT pg_reload_conf()")


def switch_wal(db):
    """One more WAL file for the archiver."""
    db.admin.execute("SELECT pg_logical_emit_message(false, 'x', 'y')")
    db.admin.execute("SELECT pg_switch_wal()")


def holds(db, name, text):
    """The job stands still, and says why. A signal is named already while it only slows the job down: it must be at its limit,
    or not known, and the last batch over."""
    def is_held():
        said = db.throttled_by(name)
        value = re.search(r"([\d.]+)[^,]*, limit ([\d.]+)", said)
        return (text in said and (not value or float(value[1]) >= float(value[2]))
                and not db.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state = 'active'", f"backfilld {name}"))
    wait_until(is_held, what=f"job {name} is held and says {text!r}")
    before = db.counts()
    let_pass(0.3)
    assert db.counts() == before, "it stands still"


def held_then_done(db, text, relieve, **columns):
    name = db.submit(set_clause="n = n + 1", **columns)
    holds(db, name, text)
    relieve()
    job = db.finish(name)
    assert db.counts() == {1: ROWS}
    return job


def slow_table(db):
    """Its job takes a second at least, so that there is something to hold."""
    db.table(rows=ROWS)
    db.admin.execute("""
        CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
        CREATE TRIGGER nap BEFORE UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION nap()""")


def test_wal_that_a_slot_holds_back(sdb):
    sdb.table(rows=ROWS)
    sdb.admin.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    sdb.admin.execute("SELECT count(pg_logical_emit_message(false, 'x', repeat('y', 100000))) FROM generate_series(1, 30)")
    sdb.daemon(throttle={"max_slot_mb": 2})
    job = held_then_done(sdb, "(forgotten)", lambda: sdb.admin.execute("SELECT pg_drop_replication_slot('forgotten')"))
    assert job["report"]["throttled_s"]["slot"] > 0


def test_a_slot_that_is_about_to_lose_its_wal(sdb):
    sdb.table(rows=ROWS)
    sdb.admin.execute("SELECT pg_create_physical_replication_slot('late', true)")
    try:
        def is_unreserved():
            sdb.admin.execute("SELECT count(pg_logical_emit_message(false, 'x', repeat('y', 100000))) FROM generate_series(1, 20)")
            return sdb.one("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'late'") == "unreserved"
        wait_until(is_unreserved, what="the slot is unreserved")
        sdb.daemon(throttle={"max_slot_mb": 100000})
        held_then_done(sdb, "slot: late is about to lose its WAL",
                       lambda: sdb.admin.execute("SELECT pg_drop_replication_slot('late')"))
    finally:
        sdb.admin.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_wal_files_that_wait_for_the_archive(sdb, tmp_path):
    sdb.table(rows=ROWS)
    sdb.daemon(throttle={"max_archive_backlog": 3})
    flag = f"{sdb.cluster.directory}/go_on"
    set_server(sdb, "archive_command", f"while ! test -f {flag}; do sleep 0.1; done")
    try:
        def five_wait():  # the first may still go by the command before
            switch_wal(sdb)
            return sdb.one("SELECT count(*) > 4 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")
        wait_until(five_wait, what="files wait for the archive", every=0.1)
        held_then_done(sdb, "files, limit 3", lambda: open(flag, "w").close())
    finally:
        set_server(sdb, "archive_command", "true")


def test_an_archiver_that_fails(sdb):
    sdb.table(rows=ROWS)
    sdb.daemon()
    set_server(sdb, "archive_command", "false")
    try:
        def has_failed():  # not on the first, when it still goes by the command before
            switch_wal(sdb)
            return sdb.one("SELECT failed_count FROM pg_stat_archiver")
        wait_until(has_failed, what="the archiver has failed", every=0.1)
        held_then_done(sdb, "could not be archived", lambda: set_server(sdb, "archive_command", "true"))
    finally:
        set_server(sdb, "archive_command", "true")


def test_a_snapshot_that_is_old(sdb):
    sdb.table(rows=ROWS)
    sdb.daemon(throttle={"max_xmin_age_s": 1})
    with sdb.connect("other") as session:
        session.autocommit = False
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        pid = session.execute("SELECT pg_backend_pid()").fetchone()[0]
        let_pass(1)  # it is old
        held_then_done(sdb, f"(pid {pid})", session.rollback)


def test_a_prepared_transaction_that_is_old(sdb):
    sdb.table(rows=ROWS)
    sdb.daemon(throttle={"max_xmin_age_s": 1})
    sdb.admin.execute("BEGIN; CREATE TABLE forgotten (); PREPARE TRANSACTION 'forgotten'")
    let_pass(1)  # it is old
    held_then_done(sdb, "(prepared forgotten)", lambda: sdb.admin.execute("ROLLBACK PREPARED 'forgotten'"))


def test_dead_rows_are_left_to_vacuum_which_comes(sdb):
    slow_table(sdb)
    with sdb.connect() as session:
        session.autocommit = False
        session.execute("LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE")  # no vacuum passes that
        sdb.app.execute("UPDATE t SET n = 0")
        wait_until(lambda: sdb.one("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 't'"), what="rows are dead")
        sdb.daemon(throttle={"max_dead_ratio": 0.2, "dead_min_mb": 0})
        name = sdb.submit(set_clause="n = n + 1")
        holds(sdb, name, "limit 0.20 (vacuum is to come)")
        session.commit()
    sdb.admin.execute("DROP TRIGGER nap ON t")
    job = sdb.finish(name)
    assert sdb.counts() == {1: ROWS}
    assert job["report"]["throttled_s"]["dead"] > 0
    assert sdb.one("SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 't'") > 0


def test_no_job_waits_for_a_vacuum_that_will_not_come(sdb):
    sdb.table(rows=20000)
    sdb.app.execute("ALTER TABLE t SET (autovacuum_enabled = off)")
    sdb.app.execute("UPDATE t SET n = 0")
    sdb.daemon(throttle={"max_dead_ratio": 0.1, "dead_min_mb": 0})
    job = sdb.finish(sdb.submit(set_clause="n = n + 1"))
    assert "dead" not in job["report"]["throttled_s"]


def test_a_small_table_is_not_held_for_vacuum(sdb):
    sdb.table(rows=20000)
    set_server(sdb, "autovacuum_naptime", "10min")
    try:
        sdb.app.execute("UPDATE t SET n = 0")
        sdb.daemon(throttle={"max_dead_ratio": 0.1})
        job = sdb.finish(sdb.submit(set_clause="n = n + 1"))
        assert "dead" not in job["report"]["throttled_s"]
    finally:
        set_server(sdb, "autovacuum_naptime", "1s")


def quicken(db, busy):
    busy.close()
    db.admin.execute("DROP TRIGGER nap ON t")


@contextlib.contextmanager
def running(n, *command):
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.skipif(not os.path.exists("/proc/pressure/cpu"), reason="this kernel does not count pressure")
def test_cpus_that_others_wait_for(sdb):
    slow_table(sdb)
    sdb.daemon(throttle={"max_cpu_pressure": 0.9})
    with contextlib.ExitStack() as busy:
        busy.enter_context(running(4 * os.cpu_count(), "sh", "-c", "while :; do :; done"))
        held_then_done(sdb, "of the time, limit 0.90", lambda: quicken(sdb, busy))


ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backfilld job-_' AND wait_event = 'PgSleep'"


@needs_pressure
def test_a_job_makes_room_at_its_start_and_does_not_use_each_gap(sdb, tmp_path, monkeypatch):
    """Others count as at work until it was seen for seconds that nobody waits for a CPU."""
    pressure = CpuPressure(tmp_path)
    monkeypatch.setattr(daemon, "PROGRAM", str(pressure.program))
    sdb.table(rows=1000000)
    sdb.start(config=config_text([{"name": sdb.name, "conninfo": sdb.conninfo()}],
                                 throttle={"max_io_pressure": 0, "max_latency_ratio": 0}))
    sdb.app.execute("CREATE TABLE other AS SELECT id, n FROM t LIMIT 10000; ALTER TABLE other ADD PRIMARY KEY (id)")
    sdb.submit(target="other", set_clause="n = n + 1", throttle_off=["cpu"], max_rows_per_s=100)
    wait_until(lambda: sdb.one("SELECT count(*) FROM other WHERE n = 1") > 100, what="the host is looked at, for another job")
    name = sdb.submit(set_clause="n = n + 1", max_rows_per_s=20000)
    wait_until(lambda: sdb.one(ASLEEP), 2, "a batch sleeps at the start")
    wait_until(lambda: not any(sdb.one(ASLEEP) or let_pass(0.005) for _ in range(100)), what="nobody else is there: none sleeps")
    assert sdb.state(name) == "running"
    pressure.rise(300000)
    wait_until(lambda: sdb.one(ASLEEP), 2, "others are there: a batch sleeps")
    let_pass(1.5)  # nobody waited in the last second
    wait_until(lambda: sdb.one(ASLEEP), 0.5, "a batch sleeps still")
    wait_until(lambda: not any(sdb.one(ASLEEP) or let_pass(0.005) for _ in range(100)), what="they are gone for long: none sleeps")
    assert sdb.state(name) == "running"


@needs_pressure
def test_a_job_that_yields_again_after_an_error_says_nothing_more_of_it(sdb, tmp_path, monkeypatch):
    """On a busy host a batch and its bound are sent apart, with a rest between them, of which there is nothing to say."""
    pressure = CpuPressure(tmp_path)
    monkeypatch.setattr(daemon, "PROGRAM", str(pressure.program))
    sdb.table(rows=1000000)
    served = sdb.start(config=config_text([{"name": sdb.name, "conninfo": sdb.conninfo()}], throttle={"max_io_pressure": 0, "max_latency_ratio": 0}))
    name = sdb.submit(set_clause="n = n + 1", max_rows_per_s=20000)
    wait_until(lambda: sdb.one(ASLEEP), 5, "a batch sleeps")
    sdb.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'backfilld ' || %s", [name])
    served.says("waits, and tries again")
    stood = sdb.cursor(name)
    wait_until(lambda: sdb.cursor(name) != stood and sdb.one(ASLEEP), 5, "it goes on, and sleeps")
    assert served.log().count("waits, and tries again") == 1


@needs_pressure
def test_a_job_says_that_what_slows_it_down_was_there_some_seconds_ago(sdb, tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "PROGRAM", str(CpuPressure(tmp_path).program))
    sdb.table(rows=1000000)
    sdb.start(config=config_text([{"name": sdb.name, "conninfo": sdb.conninfo()}],
                                 throttle={"max_io_pressure": 0, "max_latency_ratio": 0}))
    name = sdb.submit(set_clause="n = n + 1")
    wait_until(lambda: "limit 0.80 (it counts for some seconds)" in sdb.throttled_by(name), 5, "the status says so")


def test_on_a_busy_host_a_batch_yields(sdb):
    """It sleeps in the middle, so that others wait for a CPU no longer than it is at work at a stretch. A host that is out of
    sight, by TCP, counts as busy."""
    sdb.table(rows=200000)
    sdb.start(config=config_text([{"name": sdb.name, "conninfo": f"{sdb.conninfo()} host=127.0.0.1"}]))
    name = sdb.submit(set_clause="n = n + 1")
    wait_until(lambda: sdb.one(ASLEEP), what="a batch sleeps")
    wait_until(lambda: "cpu 0.39 of the time, limit 0.80 (not known: taken as busy)" in sdb.throttled_by(name), what="it has busy_share of the time, no more")
    job = sdb.finish(name)
    assert sdb.counts() == {1: 200000} and job["report"]["throttled_s"]["cpu"] > 0


@pytest.mark.skipif(not os.path.exists("/proc/pressure/io"), reason="this kernel does not count pressure")
def test_disks_that_others_wait_for(sdb, tmp_path):
    slow_table(sdb)
    sdb.daemon(throttle={"max_io_pressure": 0.02})
    write = f"while :; do dd if=/dev/zero of={tmp_path}/$$ bs=64k count=200 oflag=dsync; done"
    with contextlib.ExitStack() as busy:
        busy.enter_context(running(4, "sh", "-c", write))
        held_then_done(sdb, "io ", lambda: quicken(sdb, busy))


@ROOT_ONLY
def test_a_file_system_that_is_nearly_full(sdb):
    place = pathlib.Path(sdb.cluster.directory) / "space"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", place]).returncode != 0:
        pytest.skip("tmpfs can't be mounted here")
    try:
        shutil.chown(place, sdb.cluster.account)
        sdb.admin.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        (place / "full").write_bytes(b"x" * 20_500_000)
        sdb.table(rows=ROWS)
        sdb.daemon(throttle={"max_disk_used": 0.95})
        held_then_done(sdb, "of the space, limit 0.95", lambda: os.unlink(place / "full"))
    finally:
        sdb.admin.execute("DROP TABLESPACE IF EXISTS small")
        subprocess.run(["umount", "-l", place], check=True)


@ROOT_ONLY
def test_a_server_that_answers_slower_than_at_its_best(sdb):
    slow_table(sdb)
    sdb.daemon(target_ms=1, throttle={"max_latency_ratio": 3})
    name = sdb.submit(set_clause="n = n + 1")
    pid = wait_until(lambda: sdb.all("SELECT pid FROM pg_stat_activity WHERE application_name = 'backfilld monitor'"
                                     " AND datname = current_database()"), what="the monitor is there")[0][0]
    let_pass(1.5)  # its baseline takes twenty answers

    def pulse():
        """For two answers of three the backend stands still for a moment."""
        os.kill(pid, signal.SIGSTOP)
        let_pass(0.02)
        os.kill(pid, signal.SIGCONT)
        let_pass(0.005)
        return "latency" in sdb.throttled_by(name)
    wait_until(pulse, what="the job says that the server is slow")
    sdb.admin.execute("DROP TRIGGER nap ON t")
    sdb.finish(name)
    assert sdb.counts() == {1: ROWS}


def test_a_probe_of_the_users(sdb):
    sdb.table(rows=ROWS)
    sdb.admin.execute("CREATE TABLE q AS SELECT generate_series(1, 12)")
    sdb.admin.execute("GRANT SELECT ON q TO backfilld")
    sdb.daemon(throttle={"probes": [{"name": "queue", "sql": "SELECT count(*) FROM public.q", "limit": 10.0}]})
    held_then_done(sdb, "(queue: 12 of 10)", lambda: sdb.admin.execute("TRUNCATE q"))


def test_what_a_probe_calls_changes_nothing_of_the_next_one(sdb):
    sdb.table(rows=ROWS)
    sdb.admin.execute("""CREATE TABLE q (n int); GRANT ALL ON q TO backfilld;
        CREATE FUNCTION loosen() RETURNS int LANGUAGE sql AS $$ SELECT 0 FROM set_config('default_transaction_read_only', 'off', false) $$;
        CREATE FUNCTION write() RETURNS int LANGUAGE sql AS $$ INSERT INTO q VALUES (1) RETURNING 0 $$""")
    sdb.daemon(throttle={"probes": [{"name": "one", "sql": "SELECT loosen()", "limit": 10.0}, {"name": "two", "sql": "SELECT write()", "limit": 10.0}]})
    name = sdb.submit(set_clause="n = 1")
    wait_until(lambda: "two: cannot execute INSERT in a read-only transaction" in (sdb.job(name)["waiting_for"] or ""), what="it can't write")
    assert sdb.one("SELECT count(*) FROM q") == 0


@pytest.mark.parametrize("sql, why", [("SELECT 1 / 0", "division by zero"), ("SELECT pg_sleep(30)", "statement timeout"),
                                      ("SELECT 'many'", "one number"), ("DELETE FROM q", "read-only"),
                                      ("SELECT 1 WHERE false", "one number")])
def test_a_probe_that_cannot_be_read_is_at_its_limit_and_says_why(sdb, sql, why):
    sdb.table(rows=ROWS)
    sdb.admin.execute("CREATE TABLE q ()")
    sdb.admin.execute("GRANT ALL ON q TO backfilld")
    sdb.daemon(throttle={"probes": [{"name": "odd", "sql": sql, "limit": 10.0}]})
    held_then_done(sdb, why, lambda: sdb.app.execute("UPDATE backfill.job SET throttle_off = '{probe}'"))


def test_a_right_that_is_taken_away_holds_the_job_and_is_named(sdb):
    """A signal that can't be read is at its limit."""
    sdb.table(rows=ROWS)
    sdb.admin.execute("REVOKE pg_monitor FROM backfilld")
    try:
        sdb.daemon()
        held_then_done(sdb, "no member of pg_monitor", lambda: sdb.admin.execute("GRANT pg_monitor TO backfilld"))
    finally:
        sdb.admin.execute("GRANT pg_monitor TO backfilld")


def test_a_signal_that_takes_over_from_another_is_told_and_so_are_the_lines_of_progress(sdb):
    """Who reads the journal alone knows what holds the job now."""
    sdb.table()
    daemon = sdb.daemon(throttle={"standbys": ["nope"]})
    name = sdb.submit(set_clause="n = n + 1")
    daemon.says("slowed down by standby: nope is gone")
    daemon.rewrite_config(sdb.config(throttle={"probes": [{"name": "syn", "sql": "selec 1", "limit": 1.0}]}))
    daemon.signal(signal.SIGHUP)
    daemon.says("slowed down by probe: syn: syntax error", timeout=40)
    daemon.says(", slowed down by probe: syn: syntax error", timeout=30)
    sdb.app.execute("UPDATE backfill.job SET throttle_off = '{probe}'")
    sdb.finish(name)


@pytest.mark.parametrize("name", ["slot", "archive", "xmin", "dead", "cpu", "io", "disk", "latency", "probe"])
def test_each_signal_may_be_passed_over(sdb, name):
    sdb.table(rows=1)
    sdb.submit(set_clause="n = 1", throttle_off=[name], wanted="pause")
