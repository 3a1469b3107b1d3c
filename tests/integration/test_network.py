"""A daemon that is connected over a network: TCP instead of a Unix socket, connections that break, packets that are lost."""

import os
import signal
import subprocess
import time

import pytest

from cluster import Cluster
from daemon import HOST_OFF, config_text
from database import Database, prepare
from network import NEAR, Link, why_not
from waiting import let_pass, wait_until

WHY_NOT = why_not()


@pytest.fixture
def link():
    link = Link()
    try:
        yield link
    finally:
        link.destroy()


@pytest.fixture
def far_db(link):
    """Of a server at the link's near end."""
    with link.near.inside():
        cluster = Cluster(listen_addresses="'*'")
    database = None
    try:
        with open(f"{cluster.data}/pg_hba.conf", "a") as hba:
            hba.write("host all all samenet trust\n")
        prepare(cluster)
        with cluster.connect() as admin:
            admin.execute("SELECT pg_reload_conf()")
        database = Database(cluster)
        yield database
    finally:
        if database:
            database.destroy()
        cluster.destroy()


def start(db, host, **batch):
    conninfo = f"host={host} port={db.cluster.port} user=backfilld dbname={db.name}"
    return db.start(config=config_text([{"name": db.name, "conninfo": conninfo}], batch=batch, throttle=HOST_OFF))


def sessions(db):
    """Where the daemon's sessions come from."""
    return {address for address, in db.all("SELECT client_addr::text FROM pg_stat_activity WHERE application_name LIKE 'backfilld%%'"
                                           " AND datname = %s", db.name)}


def test_a_job_over_tcp_is_done_and_can_be_paused_in_the_middle_of_a_batch(tdb):
    tdb.table(rows=20000)
    tdb.sleep_at(5000, 30)
    start(tdb, "127.0.0.1", statement_timeout_ms=60000)
    name = tdb.submit(set_clause="n = n + 1")
    tdb.wait_asleep()
    assert sessions(tdb) == {"127.0.0.1/32"}
    tdb.app.execute("SELECT backfill.pause(%s)", [name])
    tdb.wait_state(name, "paused", timeout=3)
    assert 0 < tdb.counts().get(1, 0) < 5000, "what is done stays done"
    tdb.admin.execute("DROP TRIGGER sleep ON t")
    tdb.app.execute("SELECT backfill.resume(%s)", [name])
    tdb.finish(name)
    assert tdb.counts() == {1: 20000}


@pytest.mark.skipif(os.getuid() != 0, reason="takes root")
def test_connections_that_break_lose_no_row_and_repeat_none(tdb, rng, measured):
    """At random moments the kernel resets all of the daemon's."""
    rows = 200_000
    tdb.table(rows=rows)
    daemon = start(tdb, "127.0.0.1", max_rows=200)
    name = tdb.submit(set_clause="n = n + 1")
    broken = 0
    while tdb.state(name) != "succeeded":
        before = tdb.cursor(name)
        wait_until(lambda: tdb.state(name) == "succeeded" or tdb.cursor(name) not in (None, before), what="it moves on")
        let_pass(rng.uniform(0, 0.2))
        if broken < 10:
            broken += break_connections(tdb.cluster.port)
    tdb.finish(name)
    assert tdb.counts() == {1: rows} and broken == 10
    assert daemon.log().count("connected again") > 3
    measured("connections reset", f"{broken} times within one job: no n wrong")


def break_connections(port):
    """Whether there were any."""
    killed = subprocess.run(["ss", "-tK", "dst", "127.0.0.1", "dport", "=", f":{port}"], capture_output=True, text=True)
    if killed.returncode or killed.stderr:
        pytest.skip(f"ss -K doesn't work here: {killed.stderr.strip()}")
    return "ESTAB" in killed.stdout


@pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")
def test_a_network_that_swallows_packets_is_noticed_and_the_job_goes_on_after(link, far_db, measured):
    """Nobody is told: no reset, no error. The batch that was under way is done, and isn't done again."""
    far_db.table(rows=20000)
    far_db.sleep_at(5000, 1)
    with link.far.inside():
        daemon = start(far_db, NEAR, statement_timeout_ms=2000)
    name = far_db.submit(set_clause="n = n + 1")
    far_db.wait_asleep()
    assert sessions(far_db) == {"192.0.2.2/32"}
    link.cut()
    wait_until(lambda: far_db.counts().get(1, 0) >= 5000, what="the batch is done, though the daemon can't know")
    wait_until(lambda: "did not answer in time" in daemon.log(), what="the daemon has noticed")
    done = far_db.counts()
    let_pass(1)
    assert far_db.counts() == done, "nothing is done while nobody can see"
    link.mend()
    far_db.finish(name, timeout=60)
    assert far_db.counts() == {1: 20000}


@pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")
def test_a_server_that_is_cut_off_is_noticed_within_fifteen_seconds(link, far_db, measured):
    """By a daemon that has nothing to do, and asks for nothing."""
    with link.far.inside():
        daemon = start(far_db, NEAR)
    daemon.says("connected")
    link.cut()
    began = time.monotonic()
    daemon.says("not connected", timeout=16)
    measured("a server that was cut off", f"noticed after {time.monotonic() - began:.1f} s")
    link.mend()
    daemon.says("connected again", timeout=30)


@pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")
def test_the_jobs_of_a_host_that_is_cut_off_go_on_elsewhere_within_a_minute(link, far_db, measured):
    """Neither a reset nor an end comes from it any more: the server finds out by itself."""
    rows = 20000
    far_db.table(rows=rows)
    with link.far.inside():
        far = start(far_db, NEAR, max_rows=100)
    name = far_db.submit(set_clause="n = n + 1", max_rows_per_s=1000)
    wait_until(lambda: far_db.counts().get(1, 0) > 500, what="it is at work there")
    near = far_db.daemon(max_rows=1000)
    near.says("connected")
    link.cut()
    far.signal(signal.SIGSTOP)
    began = time.monotonic()
    done = far_db.counts()[1]
    wait_until(lambda: "stalled" in far_db.throttled_by(name) or "no daemon" in far_db.throttled_by(name), 20, "status says that it stands still")
    far_db.app.execute("UPDATE backfill.job SET max_rows_per_s = NULL WHERE name = %s", [name])
    wait_until(lambda: far_db.counts()[1] > done + 1000, 60, "it goes on elsewhere")
    measured("a daemon's host that was cut off", f"its job went on elsewhere after {time.monotonic() - began:.1f} s")
    far_db.finish(name)
    assert far_db.counts() == {1: rows}
    assert far_db.one("SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL") == 0, "its sessions are gone"
    link.mend()
    far.signal(signal.SIGCONT)
    far.terminate()
