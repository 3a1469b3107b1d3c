"""SET n = n + 1, and something dies at random moments: in the end each n is what the jobs add up to."""

import os
import signal

from cluster import STOP_SIGNALS, stop_walwriter
from daemon import HOST_OFF, config_text
from waiting import let_pass, wait_until

ROWS = 200_000


def submit_again(db, name):
    """A job that adds one to each row, when there is none under way; returns its name."""
    if name and db.state(name) != "succeeded":
        assert db.state(name) in ("queued", "running"), db.job(name)["error"]
        return name
    return db.submit(set_clause="n = n + 1")


def jobs_of(db):
    return db.one("SELECT count(*) FROM backfill.job")


def test_killed_daemon_resumes_without_repeating_a_row(own_db, scale, rng, measured):
    """SIGKILL at random moments: while it connects, claims, plans, or within a batch."""
    db = own_db
    rows, kills = ROWS * scale, 15 if scale == 1 else 10 * scale
    db.table(rows=rows)
    daemon = db.daemon(max_rows=200)
    name, within = None, 0
    for _ in range(kills):
        name = submit_again(db, name)
        let_pass(rng.uniform(0, 0.2))
        within += db.state(name) == "running"
        daemon.kill()
        daemon.start()
    db.finish(name, timeout=60 * scale)
    assert db.counts() == {jobs_of(db): rows}
    measured("daemon killed", f"{kills} times, {within} of them within a job, {jobs_of(db)} jobs over {rows}"
                              f" rows: no n wrong")
    assert within >= kills // 3


def test_crashed_server_resumes_without_repeating_a_row(own_db, scale, rng, measured):
    """-m immediate, with synchronous_commit = off: a batch that is lost takes its checkpoint with it."""
    db = own_db
    rows, crashes = ROWS * scale, 3 if scale == 1 else 2 * scale
    db.table(rows=rows)
    daemon = db.daemon(max_rows=200)
    name, steps_back = None, 0
    for _ in range(crashes):
        name = submit_again(db, name)
        started_at = db.cursor(name)
        wait_until(lambda: db.cursor(name) not in (None, started_at), what="the job moves on")
        let_pass(rng.uniform(0, 0.2))
        walwriter = stop_walwriter(db)  # what commits from here on is lost in the crash
        let_pass(rng.uniform(0, 0.2))
        before = db.cursor(name)
        db.cluster.process.send_signal(STOP_SIGNALS["immediate"])
        let_pass(0.05)
        os.kill(walwriter, signal.SIGCONT)
        db.cluster.process.wait(30)
        for session in db.sessions.values():
            session.close()
        daemon.process.send_signal(signal.SIGSTOP)  # until it is known what the crash lost
        db.cluster.start()
        after = db.cursor(name)
        daemon.process.send_signal(signal.SIGCONT)
        print(before, after)
        steps_back += after is None or int(after[0]) < int(before[0])
    db.finish(name, timeout=60 * scale)
    daemon.says(f"{name}: succeeded: {rows} rows done")  # what the crash has lost is not counted
    assert daemon.process.poll() is None
    assert db.counts() == {jobs_of(db): rows}
    assert steps_back > 0, "no crash has cost anything: this has shown nothing"
    measured("server stopped with -m immediate", f"{crashes} times, {steps_back} of them lost batches,"
                                                 f" {jobs_of(db)} jobs over {rows} rows:"
             " no n wrong")


def test_two_daemons_share_the_work_and_repeat_no_row(db, rng, measured):
    """Both die now and then; what one held, the other takes over."""
    for i in range(4):
        db.table(f"t{i}", 20_000)
    names = [db.submit(target=f"t{i}", set_clause="n = n + 1") for i in range(4) for _ in range(2)]
    daemons = [db.daemon(workers=2, max_rows=100) for _ in range(2)]
    for _ in range(8):
        let_pass(rng.uniform(0, 0.3))
        daemon = rng.choice(daemons)
        daemon.kill()
        daemon.start()
    for name in names:
        db.finish(name, timeout=60)
    assert [db.counts(f"t{i}") for i in range(4)] == [{2: 20_000}] * 4
    held = sum(daemon.log().count(": running: ") for daemon in daemons)
    measured("two daemons", f"8 kills, {len(names)} jobs, claimed {held} times: no n wrong")


def test_dead_daemons_job_is_taken_over_at_once(db):
    db.table()
    first = db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        second = db.daemon()
        second.says("connected")
        first.kill()
        second.says("goes on where it stood", timeout=5)
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_batch_that_outlives_its_daemon_is_done_once(db):
    """The server goes on with it, for nobody; meanwhile another daemon has taken the range."""
    db.table()
    db.sleep_at(500, 1.5)
    first = db.daemon()
    name = db.submit(set_clause="n = n + 1")
    db.wait_asleep()
    first.kill()
    second = db.daemon(lock_timeout_ms=900)  # so it stands in the lock's queue when the first batch ends
    second.says("goes on where it stood")
    db.finish(name)
    assert db.counts() == {1: 1000}


def test_frozen_daemon_that_wakes_up_does_no_harm(db):
    """It believes that it holds the job; another has taken it, at a higher epoch."""
    db.table()
    first = db.daemon()
    with db.held_row(500):
        name = db.submit(set_clause="n = n + 1")
        db.wait_at(500, name)
        first.signal(signal.SIGSTOP)
        db.one("SELECT pg_terminate_backend(holder_pid) FROM backfill.job")
        second = db.daemon()
        second.says("goes on where it stood")
        epoch = db.one("SELECT epoch FROM backfill.range")
        wait_until(lambda: db.one("SELECT epoch FROM backfill.range") >= epoch)
        first.process.send_signal(signal.SIGCONT)
        first.says("another daemon has taken the job over")
        assert db.state(name) == "running"
    db.finish(name)
    assert db.counts() == {1: 1000}
    assert first.process.poll() is None and second.process.poll() is None


def test_two_daemons_with_one_file_serve_two_databases(db, db2):
    config = config_text([{"conninfo": each.conninfo()} for each in (db, db2)], batch={"max_rows": 100}, throttle=HOST_OFF)
    for each in (db, db2):
        each.table(rows=10_000)
    for _ in range(2):
        db.start(config=config)
    names = [(each, each.submit(set_clause="n = n + 1")) for each in (db, db2) for _ in range(2)]
    for each, name in names:
        each.finish(name)
    assert db.counts() == db2.counts() == {2: 10_000}
