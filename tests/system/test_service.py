"""backfilld as an operator has it: units of a real systemd, records of a real journal."""

import re
import time

import pytest

from machine import POSTGRESQL
from pages import DAEMON, blocks, section
from waiting import wait_until

UNITS = ["/lib/systemd/system/backfilld.service", "/lib/systemd/system/backfilld@.service"]
MOST_EXPOSED = 1.2


@pytest.fixture
def running(machine, request):
    """A job in the middle of its table, slow enough to be there for a few seconds; its name and rows."""
    rows, name = 8000, request.node.name.replace("test_", "")[:40]
    machine.table(name, rows)
    machine.submit(name, max_rows_per_s=2000)
    machine.wait_moving(name)
    return name, rows


def main_pid(machine):
    return int(machine.show("MainPID"))


def sent_states(machine, job):
    return [record["MESSAGE"] for record in machine.records(f"BACKFILL_NAME={job}")
            if record["MESSAGE_ID"] == "2de0b26690c84ab08ce939da26da6a74"]


def test_units_are_clean_and_confined(machine, measured):
    verified = machine.try_run("systemd-analyze", "verify", *UNITS)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    for unit in UNITS:
        said = machine.run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
        exposure = float(re.search(r"Overall exposure level .*: ([0-9.]+)", said)[1])
        measured(f"exposure of {unit.split('/')[-1]}", exposure)
        assert exposure <= MOST_EXPOSED, said


def test_service_says_ready_and_what_it_waits_for(machine):
    assert machine.show("ActiveState") == "active" and machine.show("User") == "backfilld"
    wait_until(lambda: machine.show("StatusText") == "no job runs; 1 of 1 database connected", what="it is idle")


def test_job_is_done_and_its_records_tell_a_program_all(machine):
    machine.table("orders", 1000)
    machine.submit("orders")
    machine.finish("orders", 1000)
    wait_until(lambda: any("succeeded" in text for text in sent_states(machine, "orders")), what="its end is in the journal")
    for record in machine.records("BACKFILL_NAME=orders"):
        assert record["BACKFILL_DATABASE"] == "app" and record["BACKFILL_TABLE"] == "public.orders"
        assert record["_SYSTEMD_UNIT"] == "backfilld.service" and record["SYSLOG_IDENTIFIER"] == "backfilld"
        assert record["BACKFILL_JOB"].isdigit() and re.fullmatch("[0-9a-f]{32}", record["MESSAGE_ID"])
    ended = machine.records("BACKFILL_NAME=orders")[-1]
    assert ended["BACKFILL_ROWS"] == "1000" and ended["PRIORITY"] in "56"


def test_each_record_has_its_catalog_text(machine):
    machine.table("explained", 10)
    machine.submit("explained")
    machine.finish("explained", 10)
    told = machine.run("journalctl", "-u", "backfilld", "-x", "--no-pager")
    assert "Subject: backfilld starts or stops" in told
    assert "Subject: Job explained has changed its state" in told
    ids = {record["MESSAGE_ID"] for record in machine.records("SYSLOG_IDENTIFIER=backfilld")}
    listed = machine.run("journalctl", "--list-catalog", "--no-pager")
    assert len(ids) > 2 and all(message_id in listed for message_id in ids)


def test_password_of_a_submitter_comes_from_the_credential(machine):
    machine.table("secret", 100, user="vault", password="geheim")
    machine.submit("secret", user="vault", password="geheim")
    machine.finish("secret", 100)
    assert machine.show("Environment").startswith("PGPASSFILE=/run/credentials/backfilld.service/")


def test_service_starts_without_a_passfile(machine):
    machine.run("mv", "/etc/backfilld/backfilld.passfile", "/etc/backfilld/away")
    try:
        machine.run("systemctl", "restart", "backfilld")
    finally:
        machine.run("mv", "/etc/backfilld/away", "/etc/backfilld/backfilld.passfile")
    machine.table("without", 100)
    machine.submit("without")
    machine.finish("without", 100)
    machine.run("systemctl", "restart", "backfilld")


def test_second_instance_has_its_own_file(machine):
    machine.psql("CREATE DATABASE other; GRANT CREATE ON DATABASE other TO backfilld", database="postgres")
    machine.psql("GRANT ALL ON SCHEMA public TO migrator", database="other")
    machine.run("sh", "-c", "sed s/app/other/g /etc/backfilld/backfilld.conf >/etc/backfilld/other.conf")
    machine.run("runuser", "-u", "backfilld", "--", "backfilld", "-c", "/etc/backfilld/other.conf", "--install")
    machine.run("systemctl", "start", "backfilld@other")
    machine.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0);"
                 "INSERT INTO backfill.job (target, set_clause) VALUES ('t', 'n = n + 1')", "migrator", "other")
    wait_until(lambda: machine.psql("SELECT n FROM t", database="other") == "1", what="its job is done")
    machine.run("systemctl", "stop", "backfilld@other")
    assert machine.show("Result", "backfilld@other") == "success"


def test_bad_file_is_refused_once_and_for_all(machine):
    machine.write("/etc/backfilld/bad.conf", "databases = 3;\n")
    machine.try_run("systemctl", "start", "backfilld@bad")
    assert (machine.show("ActiveState", "backfilld@bad"), machine.show("NRestarts", "backfilld@bad")) == ("failed", "0")
    assert "/etc/backfilld/bad.conf:1: databases is an integer" in machine.run("journalctl", "-u", "backfilld@bad")


def test_status_says_which_job_runs_and_how_far_it_is(machine):
    """Sent every two seconds, so the job takes a few times that."""
    machine.table("shown", 8000)
    machine.psql("ANALYZE shown")  # else the percent is unknown once the planner's guess is passed
    machine.submit("shown", max_rows_per_s=1000)
    line = re.compile(r"shown  [#.]+  ([0-9.]+) %  .*rows/s")
    first = wait_until(lambda: line.match(machine.show("StatusText")), what="the status tells")
    wait_until(lambda: (now := line.match(machine.show("StatusText"))) and float(now[1]) > float(first[1]) + 10,
               what="it goes on telling while nothing but the rows changes")
    machine.finish("shown", 8000)


def test_hung_daemon_is_restarted_by_the_watchdog(machine, running):
    job, rows = running
    before, restarts = main_pid(machine), int(machine.show("NRestarts"))
    machine.run("kill", "-STOP", str(before))
    wait_until(lambda: int(machine.show("NRestarts")) > restarts, 20, "systemd restarts it")
    wait_until(lambda: main_pid(machine) not in (0, before), 20, "another one runs")
    assert "Watchdog timeout" in machine.run("journalctl", "_PID=1", "-u", "backfilld")
    machine.finish(job, rows)


def test_watchdog_leaves_a_daemon_alone_that_works(machine, running):
    """A job that runs longer than the watchdog waits."""
    job, rows = running
    before, began = main_pid(machine), time.monotonic()
    machine.finish(job, rows)
    wait_until(lambda: time.monotonic() > began + 4.5, what="twice WatchdogSec, and more")
    assert main_pid(machine) == before


def test_killed_daemon_is_started_again(machine, running):
    job, rows = running
    before = main_pid(machine)
    machine.run("kill", "-KILL", str(before))
    wait_until(lambda: main_pid(machine) not in (0, before), 20, "another one runs")
    machine.finish(job, rows)


def test_reload_takes_a_changed_limit_without_a_pause_in_a_job(machine):
    machine.configure(max_rows_per_s=500)
    machine.run("systemctl", "reload", "backfilld")
    machine.table("limited", 20000)
    machine.submit("limited")
    machine.wait_moving("limited")
    worker = "SELECT pid, backend_start FROM pg_stat_activity WHERE usename = 'migrator' AND application_name LIKE 'backfilld%'"
    epoch = "SELECT r.epoch FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id WHERE j.name = 'limited'"
    before, session, taken = main_pid(machine), machine.psql(worker), machine.psql(epoch)
    assert session
    machine.configure(max_rows_per_s=10000)
    machine.run("systemctl", "reload", "backfilld")
    wait_until(lambda: machine.keys_done("limited") > 6000, 6, "20 times as fast as it was: at 500 rows/s that takes 12 s")
    assert machine.psql(worker) == session and main_pid(machine) == before
    machine.finish("limited", 20000)
    assert len(sent_states(machine, "limited")) == 2  # running, succeeded
    assert machine.psql(epoch) == taken
    machine.configure()
    machine.run("systemctl", "reload", "backfilld")


def test_bad_file_at_reload_leaves_the_service_up(machine):
    before = main_pid(machine)
    machine.write("/etc/backfilld/backfilld.conf", "databases = 3;\n")
    machine.run("systemctl", "reload", "backfilld")
    wait_until(lambda: "the settings stay as they were" in machine.run("journalctl", "-u", "backfilld"), what="it says so")
    machine.configure()
    machine.run("systemctl", "reload", "backfilld")
    assert main_pid(machine) == before and machine.show("ActiveState") == "active"


def test_stop_ends_within_a_batch_and_the_job_goes_on_at_the_next_start(machine, measured):
    """A batch that takes 2 s: stopping waits for it, and for no other."""
    machine.table("stopped", 1000)
    machine.psql("""
        CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NEW; END $$;
        CREATE TRIGGER sleep BEFORE UPDATE ON stopped FOR EACH ROW WHEN (NEW.id IN (500, 900)) EXECUTE FUNCTION sleep()""")
    machine.submit("stopped", max_rows_per_s=1000)
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    wait_until(lambda: machine.psql(asleep) == "1", 20, "a batch sleeps")
    began = time.monotonic()
    machine.run("systemctl", "stop", "backfilld")
    took = time.monotonic() - began
    measured("systemctl stop in a batch of 2 s, s", f"{took:.2f}")
    assert took < 3.5 and machine.show("Result") == "success"
    assert machine.state("stopped") == "queued" and 500 <= machine.keys_done("stopped") < 900
    machine.run("systemctl", "start", "backfilld")
    machine.finish("stopped", 1000)


def test_daemon_outlives_a_restart_of_the_server(machine, running):
    job, rows = running
    before = main_pid(machine)
    machine.run("systemctl", "restart", POSTGRESQL)
    machine.finish(job, rows)
    assert main_pid(machine) == before


def test_removal_takes_everything_away_but_the_tables(machine):
    """The last one that needs jobs."""
    tables = machine.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    machine.run("systemctl", "stop", "backfilld")
    *in_each_database, once = [line.split("--")[0] for line in blocks(section(DAEMON, "Removal"))[0].splitlines()]
    for database in machine.psql("SELECT datname FROM pg_database WHERE datname IN ('app', 'other')").split():
        machine.psql("\n".join(in_each_database), database=database)
    machine.psql(once)
    assert machine.psql("SELECT to_regnamespace('backfill') IS NULL, to_regrole('backfilld') IS NULL") == "t|t"
    assert machine.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == tables != "0"


def test_service_has_left_no_process_and_no_file_when_it_is_gone(machine):
    machine.run("systemctl", "stop", "backfilld")
    assert machine.try_run("pgrep", "-u", "backfilld").stdout == ""
    assert machine.run("find", "/etc", "/var", "/run", "/tmp", "-user", "backfilld") == ""
