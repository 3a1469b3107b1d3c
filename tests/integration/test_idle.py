"""What the daemon costs: nothing while idle, and the same for the last of many jobs as for the first."""

import re
import statistics

import pytest

from cluster import Cluster
from database import Database, prepare
from waiting import let_pass, wait_until

STATEMENT = re.compile(r"^.*? backfilld@\S+ [^:]*: LOG:  duration: ([\d.]+) ms  execute [^:]*:"
                       r" (.*(?:\n\t.*)*)", re.M)


@pytest.fixture(scope="module")
def logging_cluster():
    """Its log has each statement, and how long it took."""
    cluster = Cluster(log_min_duration_statement="0")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def logged_db(logging_cluster):
    database = Database(logging_cluster)
    try:
        yield database
    finally:
        database.destroy()


def statements(cluster, since=0):
    """The daemon's: (milliseconds, SQL)."""
    return [(float(ms), sql) for ms, sql in STATEMENT.findall(cluster.read_log()[since:])]


def cpu_ms(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e6


def memory_mb(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024


def test_idle_daemon_does_nothing(logged_db, scale, measured):
    """Promised: in a minute, no query but keep-alives, and under 20 ms of CPU."""
    db, seconds = logged_db, 5 if scale == 1 else 12 * scale
    db.table(rows=10)
    daemon = db.daemon()
    db.finish(db.submit(set_clause="n = n + 1"))  # an idle daemon that has worked, not a fresh one
    daemon.says("succeeded")
    let_pass(0.5)
    log, cpu, text = len(db.cluster.read_log()), cpu_ms(daemon.pid), daemon.log()
    let_pass(seconds)
    asked, used = statements(db.cluster, log), cpu_ms(daemon.pid) - cpu
    measured(f"idle for {seconds} s", f"{used:.2f} ms of CPU, {len(asked)} statements,"
                                      f" {memory_mb(daemon.pid):.1f} MB")
    assert len(asked) <= 1 + seconds // 30, asked
    assert used < 20 and daemon.log() == text
    assert db.one("SELECT count(*) FROM pg_stat_activity WHERE usename <> 'postgres' AND datname = %s"
                  " AND application_name LIKE 'backfilld%%'",
                  db.name) == 1, "the session of the job that has ended is closed"


def test_many_jobs_cost_the_same_each(logged_db, scale, measured):
    """All inserted at once, each on a small table of its own."""
    db, jobs = logged_db, 200 * scale
    db.app.execute(f"""
        DO $$ BEGIN FOR i IN 1..{jobs} LOOP
          EXECUTE format('CREATE TABLE small_%s (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)', i);
          EXECUTE format('INSERT INTO small_%s SELECT generate_series(1, 20)', i);
        END LOOP; END $$""")
    daemon = db.daemon(workers=4)
    daemon.says("connected")
    log = len(db.cluster.read_log())
    db.app.execute(f"INSERT INTO backfill.job (name, target, set_clause)"
                   f" SELECT 'small-' || g, ('small_' || g)::regclass, 'n = n + 1' FROM generate_series(1,"
                   f" {jobs}) g")
    db.app.execute(f"CALL backfill.wait('small-{jobs}', '60 s')")
    wait_until(lambda: db.all("SELECT state, count(*) FROM backfill.job GROUP BY 1") == [("succeeded", jobs)],
               what="all are done")
    rows = " UNION ALL ".join(f"SELECT n FROM small_{i}" for i in range(1, jobs + 1))
    assert db.counts(f"({rows}) AS rows") == {1: 20 * jobs}
    claims = [ms for ms, sql in statements(db.cluster, log) if "backfill.claim()" in sql]
    tenth = jobs // 10
    first, last = statistics.median(claims[:tenth]), statistics.median(claims[-tenth:])
    seconds = db.one("SELECT extract(epoch FROM max(finished_at) - min(submitted_at))::float FROM"
                     " backfill.job")
    measured(f"{jobs} jobs at once", f"{seconds:.1f} s; a claim: median {first:.2f} ms of the first tenth,"
                                     f" {last:.2f} ms of the last;"
             f" {len(claims)} claims")
    assert jobs <= len(claims) < 3 * jobs
    assert last < 3 * first + 1
