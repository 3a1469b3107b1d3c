"""Metrics: they are well formed, say what happened, and cost nothing while nobody asks. The dashboard and the alert rules that
come with them name what is there."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import urllib.parse
import urllib.request

import pytest

from cluster import die_with_parent
from daemon import ROOT, run
from look import Scrape, connect, event, request
from ports import free_port
from waiting import let_pass, wait_until

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
PROMETHEUS = PROMTOOL and f"{os.path.dirname(PROMTOOL)}/prometheus"
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool is missing (Debian's package prometheus)")

# What each job and each database must have, by the issue: samples' names.
OF_A_JOB = {
    "backfilld_job_rows_total", "backfilld_job_keys_total", "backfilld_job_keys_per_second", "backfilld_job_progress_ratio",
    "backfilld_job_pace_ratio", "backfilld_job_workers", "backfilld_job_batch_duration_seconds_bucket", "backfilld_job_batch_duration_seconds_sum",
    "backfilld_job_batch_duration_seconds_count", "backfilld_job_throttled_seconds_total", "backfilld_job_errors_total",
    "backfilld_job_left_behind_rows", "backfilld_job_state", "backfilld_job_phase", "backfilld_job_info",
    "backfilld_job_signal_seconds", "backfilld_job_signal_limit_seconds", "backfilld_job_signal_pressure_ratio",
    "backfilld_job_signal_readable", "backfilld_job_start_timestamp_seconds", "backfilld_job_last_progress_timestamp_seconds",
}
OF_A_DATABASE = {"backfilld_database_up", "backfilld_sessions", "backfilld_running_jobs", "backfilld_ended_jobs_total"}
OF_THE_DAEMON = {"backfilld_build_info", "process_start_time_seconds", "process_cpu_seconds_total"}


@pytest.fixture
def port():
    return free_port()


def promtool(*arguments, text=None):
    return subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, text=True, timeout=60)


def wait_served(address):
    def answers():
        try:
            return request(address, "/metrics").status == 200
        except OSError:
            return False
    wait_until(answers, what="metrics are served")


def is_closed(address):
    try:
        connect(address).close()
        return False
    except OSError:
        return True


# ---- What they say


def test_the_numbers_of_a_job_are_those_of_its_table(db, port):
    db.table(rows=2000)
    db.app.execute("ANALYZE t")
    with db.held_row(1502):
        db.daemon(listen=f"127.0.0.1:{port}", target_ms=5, max_rows=100)
        name = db.submit(set_clause="n = n + 1", where_clause="id % 2 = 0 AND n = 0")
        db.wait_at(1502, name)
        wait_until(lambda: Scrape(port).one("backfilld_job_errors_total", name=name, **{"class": "contention"}),
                   what="it meets the lock")
        scrape = Scrape(port)
        assert OF_A_JOB | OF_A_DATABASE | OF_THE_DAEMON <= scrape.names(), "nothing that was promised is missing"
        assert scrape.one("backfilld_job_keys_total", name=name, database=db.name) == 1501
        assert scrape.one("backfilld_job_rows_total", name=name) == 750
        assert scrape.one("backfilld_job_progress_ratio", name=name) == 1501 / 2000
        assert [s.labels["state"] for s in scrape.all("backfilld_job_state", name=name) if s.value] == ["running"]
        assert [s.labels["phase"] for s in scrape.all("backfilld_job_phase", name=name) if s.value] == ["backfill"]
        assert scrape.one("backfilld_job_info", name=name, table="public.t") == 1
        assert scrape.one("backfilld_job_end_timestamp_seconds", name=name) is None
        assert scrape.one("backfilld_database_up", database=db.name) == 1
        assert scrape.one("backfilld_running_jobs", database=db.name) == 1
        for kind in ("control", "monitor", "worker"):
            assert scrape.one("backfilld_sessions", kind=kind) == 1, kind
        assert scrape.one("backfilld_job_signal_limit_seconds", name=name, signal="blocked") == 0.05
        assert scrape.one("backfilld_job_signal_limit_bytes", name=name, signal="slot") == 4096e6
    db.finish(name)
    wait_until(lambda: Scrape(port).one("backfilld_job_state", name=name, state="succeeded"), what="a scrape sees its end")
    scrape, job = Scrape(port), db.job(name)
    assert scrape.one("backfilld_job_rows_total", name=name) == 1000
    assert scrape.one("backfilld_job_progress_ratio", name=name) == 1
    assert scrape.one("backfilld_job_batch_duration_seconds_count", name=name) == job["report"]["batch_ms"]["timed"]
    assert scrape.one("backfilld_job_batch_duration_seconds_bucket", name=name, le="+Inf") == job["report"]["batch_ms"]["timed"]
    assert 0 < scrape.one("backfilld_job_batch_duration_seconds_sum", name=name) < 60
    assert scrape.one("backfilld_ended_jobs_total", database=db.name, state="succeeded") == 1
    assert scrape.one("backfilld_running_jobs", database=db.name) == 0
    assert not scrape.all("backfilld_job_signal_seconds", name=name), "what pressed on it is of the past"
    assert not scrape.all("backfilld_job_keys_per_second", name=name)


def test_a_signal_that_holds_a_job_is_named_with_its_seconds(db, port):
    db.table(rows=1000)
    db.daemon(listen=f"127.0.0.1:{port}", throttle={"standbys": ["far"]})
    name = db.submit(set_clause="n = n + 1")
    wait_until(lambda: (Scrape(port).one("backfilld_job_throttled_seconds_total", name=name, signal="standby") or 0) > 0.2,
               what="time is counted")
    scrape = Scrape(port)
    assert scrape.one("backfilld_job_signal_readable", name=name, signal="standby") == 0
    assert scrape.one("backfilld_job_signal_pressure_ratio", name=name, signal="standby") == 1
    assert scrape.one("backfilld_job_pace_ratio", name=name) == 0
    assert scrape.one("backfilld_job_signal_ratio", name=name, signal="standby") is None, "what isn't known has no value"


def test_rows_that_were_left_behind_are_counted_by_reason_and_again_when_done(db, port):
    db.table(rows=100, columns="n int NOT NULL DEFAULT 0 CHECK (n <> 1 OR id <> 42)")
    db.daemon(listen=f"127.0.0.1:{port}")
    with db.locked_rows("id IN (7, 8)"):
        name = db.submit(set_clause="n = n + 1", on_error="quarantine")
        wait_until(lambda: Scrape(port).one("backfilld_job_left_behind_rows", name=name, reason="error") == 1
                   and Scrape(port).one("backfilld_job_left_behind_rows", name=name, reason="locked") == 2,
                   what="both kinds are counted")
        assert Scrape(port).one("backfilld_job_errors_total", name=name, **{"class": "row"}) >= 1
    db.finish(name)
    wait_until(lambda: Scrape(port).one("backfilld_job_left_behind_rows", name=name, reason="locked") == 0,
               what="those that were locked are done")


def test_a_database_that_is_away_is_down(db, port):
    db.daemon(listen=f"127.0.0.1:{port}")
    wait_until(lambda: not is_closed(port) and Scrape(port).one("backfilld_database_up", database=db.name) == 1, what="it is up")
    db.admin.execute("ALTER ROLE backfilld CONNECTION LIMIT 0")
    try:
        db.admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'backfilld' AND datname = '{db.name}'")
        wait_until(lambda: Scrape(port).one("backfilld_database_up", database=db.name) == 0, what="it is down")
    finally:
        db.admin.execute("ALTER ROLE backfilld CONNECTION LIMIT -1")
    wait_until(lambda: Scrape(port).one("backfilld_database_up", database=db.name) == 1, what="it is up again")


def test_a_database_whose_schema_was_dropped_is_down_and_served_again_when_it_is_installed(db, port):
    daemon = db.daemon(listen=f"127.0.0.1:{port}")
    wait_until(lambda: not is_closed(port) and Scrape(port).one("backfilld_database_up", database=db.name) == 1, what="it is up")
    db.admin.execute("DROP SCHEMA backfill CASCADE; NOTIFY backfill")
    wait_until(lambda: Scrape(port).one("backfilld_database_up", database=db.name) == 0, what="it is down")
    daemon.says("HINT: Was the control schema dropped? Run backfilld --install")
    db.admin.execute(f"GRANT CREATE ON DATABASE {db.name} TO backfilld")
    assert run("-d", db.conninfo(), "--install").returncode == 0
    db.admin.execute("NOTIFY backfill")
    wait_until(lambda: Scrape(port).one("backfilld_database_up", database=db.name) == 1, what="it is up again")


def test_nothing_of_a_users_row_is_told_and_no_name_breaks_the_text(db, port):
    """The server's message of the row that fails holds its value; names hold what they like."""
    db.app.execute("CREATE TABLE \"we\"\"ird\nt\" (id bigint PRIMARY KEY, secret text, n int)")
    db.app.execute("INSERT INTO \"we\"\"ird\nt\" VALUES (4711, 'hush-hush', NULL), (4712, 'fine', NULL);"
                   "CREATE FUNCTION refuse(a text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF a = 'hush-hush' THEN RAISE EXCEPTION 'not this: %', a; END IF; RETURN 1; END $$")
    db.daemon(listen=f"127.0.0.1:{port}")
    names = ['a"} 1 evil 2 # \\', "</script><b>&", "ü" * 100, "ü" * 99 + "x"]
    for name in names:
        db.submit(name=name, target='"we""ird\nt"', set_clause="n = refuse(secret)")
        db.finish(name, "failed")
        assert "hush-hush" in db.job(name)["error"], "else there is nothing to hide"
    wait_until(lambda: Scrape(port).one("backfilld_ended_jobs_total", state="failed") == 4, what="all have ended")
    scrape, told = Scrape(port), event(port)
    shown = {s.labels["name"] for s in scrape.all("backfilld_job_info")}
    assert shown == {*names[:2], "ü" * 63}, "whole, or cut at the end of a character"
    assert len({s.labels["id"] for s in scrape.all("backfilld_job_info")}) == 4, "and never two series that are one"
    for text in (scrape.text, json.dumps(told)):
        assert "hush" not in text and "4711" not in text
    assert {job["sqlstate"] for job in told["jobs"]} == {"P0001"}


def test_jobs_that_have_ended_take_up_a_bounded_place(db, port):
    db.table(rows=1)
    db.daemon(listen=f"127.0.0.1:{port}")
    for i in range(35):
        db.submit(name=f"task-{i:02}", set_clause="n = n + 1")
    db.finish("task-34")
    wait_until(lambda: Scrape(port).one("backfilld_ended_jobs_total", state="succeeded") == 35, what="all have ended")
    assert [job["name"] for job in sorted(event(port)["jobs"], key=lambda job: job["id"])] == [f"task-{i:02}" for i in range(3, 35)]


def test_a_job_that_runs_again_has_one_set_of_series(db, port):
    db.table(rows=100)
    db.daemon(listen=f"127.0.0.1:{port}")
    with db.held_row(50):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(50, name)
        db.app.execute("SELECT backfill.pause(%s)", [name])
        wait_until(lambda: Scrape(port).one("backfilld_job_state", name=name, state="paused"), what="it is seen to be paused")
        db.app.execute("SELECT backfill.resume(%s)", [name])
        wait_until(lambda: Scrape(port).one("backfilld_job_state", name=name, state="running"), what="it runs again")
    db.finish(name)
    wait_until(lambda: Scrape(port).one("backfilld_job_state", name=name, state="succeeded"), what="it has ended")


# ---- How they are served


def test_each_format_is_served_to_who_asks_for_it(db, port):
    db.daemon(listen=f"127.0.0.1:{port}")
    wait_served(port)
    for accept in (None, "*/*", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"):
        answer = request(port, "/metrics", Accept=accept)
        assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert answer.text.endswith("\n# EOF\n")
    older = request(port, "/metrics", Accept="text/plain;version=0.0.4")
    assert older.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# EOF" not in older.text and "# UNIT" not in older.text


@needs_promtool
def test_promtool_finds_nothing_to_complain_of(db, port):
    db.table(rows=1000)
    db.daemon(listen=f"127.0.0.1:{port}")
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1", max_rows_per_s=100000)
        db.wait_at(500, name)
        checked = promtool("check", "metrics", text=request(port, "/metrics", Accept="text/plain").text)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    db.finish(name)


@needs_promtool
def test_prometheus_itself_reads_them_and_raises_an_alarm(db, port, tmp_path):
    """A real one, with the rules that come with backfilld: a job that fails is an alert."""
    theirs = free_port()
    (tmp_path / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{ROOT}/conf/prometheus-alerts.yml"],
        "scrape_configs": [{"job_name": "backfilld", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]}))

    def ask(query):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{theirs}/api/v1/query?query={urllib.parse.quote(query)}", timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    db.table(rows=100)
    db.daemon(listen=f"127.0.0.1:{port}")
    with open(tmp_path / "log", "w") as log:
        prometheus = subprocess.Popen(
            [PROMETHEUS, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address=127.0.0.1:{theirs}"], stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGKILL))
    try:
        wait_until(lambda: ask('up{job="backfilld"} == 1'), 30, "it scrapes")
        db.finish(db.submit(name="good", set_clause="n = n + 1"))
        db.finish(db.submit(name="bad", set_clause="n = 1 / (id - id)::int"), "failed")
        rows = wait_until(lambda: ask('backfilld_job_rows_total{name="good"}'), what="it has the rows")
        assert [sample["value"][1] for sample in rows] == ["100"]
        wait_until(lambda: ask('ALERTS{alertname="BackfillJobFailed",alertstate="firing",name="bad"}'), what="the alert fires")
        assert not ask('ALERTS{name="good"}')
    finally:
        prometheus.kill()
        prometheus.wait()


def test_nothing_listens_unless_it_is_set_and_nothing_wakes_up_while_nobody_asks(db, port, measured):
    def wakeups(daemon):
        with open(f"/proc/{daemon.pid}/status") as file:
            return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1))

    off = db.daemon()
    off.says("connected")
    inodes = {os.readlink(f"/proc/{off.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{off.pid}/fd")}
    with open("/proc/net/tcp") as file:
        listening = {f"socket:[{line.split()[9]}]" for line in file if line.split()[3] == "0A"}
    assert not inodes & listening
    off.terminate()

    on = db.daemon(listen=f"127.0.0.1:{port}")
    wait_served(port)
    event(port)  # somebody had the page open
    let_pass(2.5)  # and is seen to be gone at the next event
    before = wakeups(on)
    let_pass(3)
    measured("wakeups in 3 s with metrics on and nobody asking", str(wakeups(on) - before))
    assert wakeups(on) - before <= 1


# ---- Where they are served


def test_a_unix_socket_is_served_and_gone_at_the_end(db, tmp_path):
    path = str(tmp_path / "metrics.sock")
    daemon = db.daemon(listen=f"unix:{path}")
    wait_served(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert Scrape(path).one("backfilld_build_info") == 1
    assert request(path, "/metrics", Host="whatever.example").status == 200, "who may connect is the file's affair"
    daemon.kill()
    assert os.path.exists(path)
    daemon.start()  # what a killed one left is no hindrance
    wait_served(path)
    assert daemon.terminate() == 0
    assert not os.path.exists(path)


def test_a_reload_opens_the_new_address_and_closes_the_old(db, port, tmp_path):
    path, other = str(tmp_path / "metrics.sock"), free_port()
    daemon = db.daemon(listen=f"127.0.0.1:{port}")
    wait_served(port)
    for old, new in ((port, f"127.0.0.1:{other}"), (other, path), (path, None)):
        daemon.rewrite_config(db.config(listen=new))
        daemon.signal(signal.SIGHUP)
        if new:
            wait_served(other if new != path else path)
        wait_until(lambda: is_closed(old), what=f"{old} is closed")


def test_a_reload_that_changes_something_else_keeps_the_connections(db, port):
    daemon = db.daemon(listen=f"127.0.0.1:{port}")
    wait_served(port)
    with connect(port) as peer:
        peer.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        daemon.rewrite_config(db.config(listen=f"localhost:{port}", log="debug"))
        daemon.signal(signal.SIGHUP)
        daemon.says("settings read again")
        received = b""
        while received.count(b"data: ") < 3:
            data = peer.recv(65536)
            assert data, "the stream has ended"
            received += data


def test_a_port_that_is_taken_is_one_error_and_on_a_reload_the_old_settings_stay(db, port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        theirs = taken.getsockname()[1]
        refused = db.start(config=db.config(listen=f"127.0.0.1:{theirs}"))
        assert refused.wait() == 1
        errors = [line for line in refused.log().splitlines() if "error" in line]
        assert len(errors) == 1 and f'metrics.listen = "127.0.0.1:{theirs}": Address already in use. HINT: ' in errors[0], errors
        assert "connected" not in refused.log(), "it refuses before it touches a database"

        drained = run("-c", refused.config_path, "--drain")
        assert drained.returncode == 0 and "warning: metrics.listen" in drained.stderr, "one that drains does so beside one that serves"

        daemon = db.daemon(listen=f"127.0.0.1:{port}", throttle={"max_blocked_ms": 50})
        wait_served(port)
        daemon.rewrite_config(db.config(listen=f"127.0.0.1:{theirs}", throttle={"max_blocked_ms": 77}))
        daemon.signal(signal.SIGHUP)
        daemon.says("the settings stay as they were")
        assert f'"127.0.0.1:{theirs}": Address already in use' in daemon.log()
        assert "settings read again" not in daemon.log()
        assert request(port, "/metrics").status == 200
        db.table(rows=100)
        with db.held_row(50):
            name = db.submit(set_clause="n = n + 1")
            db.wait_at(50, name)
            assert Scrape(port).one("backfilld_job_signal_limit_seconds", name=name, signal="blocked") == 0.05
        db.finish(name)


def test_check_tells_of_a_port_that_is_taken(db, port):
    daemon = db.daemon(listen=f"127.0.0.1:{port}")
    wait_served(port)
    mine = rf"^metrics +127\.0\.0\.1:{port} +ok"
    assert re.search(mine, run("-c", daemon.config_path, "--check").stdout, re.M), "the daemon itself serves there"
    daemon.terminate()
    with socket.create_server(("127.0.0.1", port)):
        checked = run("-c", daemon.config_path, "--check")
        line = next(line for line in checked.stdout.splitlines() if line.startswith("metrics"))
        assert checked.returncode == 1 and "Address already in use" in line
        assert "HINT: " in checked.stdout.partition(line)[2].splitlines()[1]
    assert re.search(mine, run("-c", daemon.config_path, "--check").stdout, re.M)


# ---- What comes with them


def names_in(text):
    return set(re.findall(r"\b(?:backfilld|process)_[a-z_]+\b", text))


@pytest.fixture
def all_names(db, port):
    """The names of all samples that there are, with a job that uses everything."""
    db.table(rows=1000)
    db.daemon(listen=f"127.0.0.1:{port}")
    done = db.submit(set_clause="n = n + 1")
    db.finish(done)
    db.app.execute("ANALYZE t")
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1", max_rows_per_s=100000)
        db.wait_at(500, name)
        wait_until(lambda: {"backfilld_job_eta_seconds", "backfilld_job_max_keys_per_second", "backfilld_job_end_timestamp_seconds"}
                   <= Scrape(port).names(), what="all there is to know is known")
        names = Scrape(port).names()
    db.finish(name)
    return names


def test_the_dashboard_and_the_rules_name_what_is_there(all_names):
    with open(f"{ROOT}/conf/grafana-dashboard.json") as file:
        dashboard = json.load(file)
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(targets) > 10 and all(panel["title"] for panel in dashboard["panels"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    with open(f"{ROOT}/conf/prometheus-alerts.yml") as file:
        rules = file.read()
    for text in (json.dumps(dashboard), rules):
        assert names_in(text), "there is something to check"
        assert names_in(text) <= all_names, names_in(text) - all_names


@needs_promtool
def test_prometheus_takes_the_alert_rules_and_they_fire_when_they_should(tmp_path):
    checked = promtool("check", "rules", f"{ROOT}/conf/prometheus-alerts.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", f"{ROOT}/tests/integration/alerts_test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
def test_prometheus_can_evaluate_every_expression_of_the_dashboard(tmp_path):
    """As recording rules, for promtool parses those; $__rate_interval and $database are Grafana's."""
    with open(f"{ROOT}/conf/grafana-dashboard.json") as file:
        dashboard = json.load(file)
    rules = [{"record": f"x:{i}", "expr": target["expr"].replace("$__rate_interval", "1m").replace("$database", ".*").replace("$name", ".*")}
             for i, target in enumerate(t for panel in dashboard["panels"] for t in panel.get("targets", []))]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert checked.returncode == 0 and f"{len(rules)} rules found" in checked.stdout, checked.stdout + checked.stderr
