"""Several hosts in conninfo, of which some are dead: by a refusal, or by silence; and logins that are refused."""

import socket
import time

import pytest

from cluster import Cluster
from daemon import HOST_OFF, config_text, run
from database import Database, prepare
from network import Namespace, why_not
from ports import free_port
from waiting import wait_until

WHY_NOT = why_not()


def start(db, hosts, ports, more=""):
    conninfo = f"host={hosts} port={ports} user=backfilld dbname={db.name} {more}"
    return db.start(config=config_text([{"name": db.name, "conninfo": conninfo}], throttle=HOST_OFF)), conninfo


def is_done_within(db, hosts, ports, seconds, measured, more=""):
    """With the daemon's start, each of the job's sessions, --check and --install."""
    db.table(rows=100)
    name = db.submit(set_clause="n = 1")
    began = time.monotonic()
    daemon, conninfo = start(db, hosts, ports, more)
    wait_until(lambda: "connected" in daemon.log(), what="it is connected")
    connected = time.monotonic() - began
    db.finish(name, timeout=5 * seconds)
    measured("connected after", f"{connected:.2f} s, the job's end after {time.monotonic() - began:.2f} s")
    assert connected < seconds and db.counts() == {1: 100} and "not connected" not in daemon.log()
    checked = run("-d", conninfo, "--check")
    assert checked.returncode == 0, checked.stdout
    installed = run("-d", conninfo, "--install")
    assert installed.returncode == 0, installed.stderr


def test_a_first_host_that_refuses_costs_nothing(tdb, measured):
    is_done_within(tdb, "127.0.0.1,127.0.0.1", f"{free_port()},{tdb.cluster.port}", 2, measured)


def test_two_hosts_that_refuse_and_one_that_serves(tdb, measured):
    is_done_within(tdb, "127.0.0.1,127.0.0.2,127.0.0.1", f"{free_port()},{free_port()},{tdb.cluster.port}", 2, measured)


def test_a_name_whose_first_address_refuses(tdb, measured):
    """localhost is ::1 and 127.0.0.1 here; the server listens on the second."""
    found = [a[4][0] for a in socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)]
    if found[0] != "::1" or "127.0.0.1" not in found:
        pytest.skip(f"localhost is {found} here")
    is_done_within(tdb, "localhost", tdb.cluster.port, 2, measured)


@pytest.fixture
def mute():
    """A port that takes connections, and never says a word: a server that is stopped, or hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


def test_a_first_host_that_takes_the_connection_and_says_nothing(tdb, mute):
    tdb.table(rows=100)
    name = tdb.submit(set_clause="n = 1")
    daemon, _ = start(tdb, "127.0.0.1,127.0.0.1", f"{mute},{tdb.cluster.port}")
    tdb.finish(name, timeout=60)
    assert tdb.counts() == {1: 100} and "not connected" not in daemon.log()


def test_a_first_host_whose_server_has_no_such_database_is_not_the_last_word(tdb, db, measured):
    with db.cluster.connect() as admin:
        assert not admin.execute("SELECT FROM pg_database WHERE datname = %s", [tdb.name + "x"]).fetchall()
    with tdb.cluster.connect() as admin:
        admin.execute(f"CREATE DATABASE {tdb.name}x TEMPLATE {tdb.name}")
    own, tdb.name = tdb.name, tdb.name + "x"
    closed, tdb.sessions = tdb.sessions, {}
    try:
        tdb.table(rows=100)
        name = tdb.submit(set_clause="n = 1")
        daemon, _ = start(tdb, f"{db.cluster.directory},127.0.0.1", f"{db.cluster.port},{tdb.cluster.port}")
        tdb.finish(name)
        daemon.terminate()
    finally:
        for session in tdb.sessions.values():
            session.close()
        tdb.name, tdb.sessions = own, closed
        with tdb.cluster.connect() as admin:
            admin.execute(f"DROP DATABASE {tdb.name}x WITH (FORCE)")


@pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")
def test_a_first_host_that_swallows_packets_is_passed_by_soon(measured):
    """A namespace of its own, in which an address's packets are dropped without a word."""
    space = Namespace()
    try:
        space.run("ip", "link", "set", "lo", "up")
        space.run("ip", "link", "add", "name", "hole", "type", "veth", "peer", "name", "bottom")
        space.run("ip", "address", "add", "192.0.2.1/24", "dev", "hole")
        space.run("ip", "link", "set", "hole", "up")
        space.run("ip", "link", "set", "bottom", "up")
        space.run("ip", "neighbour", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "hole")  # nobody's: nothing answers
        with space.inside():
            cluster = Cluster(listen_addresses="'127.0.0.1'")
            try:
                prepare(cluster)
                for more, seconds in ("", 4), ("connect_timeout=1", 2):
                    database = Database(cluster)
                    try:
                        is_done_within(database, "192.0.2.9,127.0.0.1", cluster.port, seconds, measured, more)
                    finally:
                        database.destroy()
            finally:
                cluster.destroy()
    finally:
        space.destroy()


def test_what_became_of_each_host_is_said(tdb, mute):
    dead = free_port()
    daemon, _ = start(tdb, "127.0.0.1,127.0.0.1", f"{dead},{mute}")
    daemon.says("not connected", timeout=30)
    line = next(line for line in daemon.log().splitlines() if "not connected" in line)
    assert f"port {dead} failed: Connection refused" in line and f"port {mute} failed: no answer in time" in line, line


# ---- Logins

@pytest.fixture
def asked_of_app(tdb):
    """asked_of_app(method): what pg_hba.conf asks of the submitter by TCP from then on."""
    path = f"{tdb.cluster.data}/pg_hba.conf"
    with open(path) as file:
        trusting = file.read()

    def write(method):
        before = tdb.one("SELECT pg_conf_load_time()")
        with open(path, "w") as file:
            file.write(f"host all app 127.0.0.1/32 {method}\n{trusting}")
        tdb.admin.execute("SELECT pg_reload_conf()")
        wait_until(lambda: tdb.one("SELECT pg_conf_load_time()") > before, what="the server has read it")

    yield write
    write("trust")


def test_a_login_that_is_refused_is_waited_for_where_it_may_pass(tdb, asked_of_app):
    """It may be a token that is renewed in a moment (here nobody answers ident), or a line of pg_hba.conf: it goes on by itself."""
    tdb.table()
    tdb.table("second", rows=10)
    daemon = tdb.start("-d", f"{tdb.conninfo()} host=127.0.0.1", "--no-throttle")
    with tdb.held_row(500):
        begun = tdb.submit(set_clause="n = n + 1")
        tdb.wait_at(500, begun)
        daemon.terminate()
    asked_of_app("ident")
    daemon.start()
    new = tdb.submit(target="second", set_clause="n = n + 1")
    for name in (begun, new):
        wait_until(lambda: tdb.throttled_by(name).endswith('Ident authentication failed for user "app"') and "the server refuses the login: " in tdb.throttled_by(name), what="it says why it waits")
    asked_of_app("reject")
    for name in (begun, new):
        wait_until(lambda: "rejects" in tdb.throttled_by(name), what="it says why by now")
    asked_of_app("trust")
    tdb.finish(new)
    tdb.finish(begun)
    assert tdb.counts() == {1: 1000} and tdb.counts("second") == {1: 10}


def test_a_daemon_that_is_refused_a_login_leaves_its_jobs_to_another_that_is_let_in(tdb, asked_of_app):
    """Two hosts, and a line of pg_hba.conf for one of them: none of the queue fails, nor waits for the refused one's places."""
    for table in ("t", "u", "v"):
        tdb.table(table, rows=10)
    asked_of_app("reject")
    refused = tdb.start("-d", f"{tdb.conninfo()} host=127.0.0.1", "--no-throttle")
    first = tdb.submit(set_clause="n = n + 1")
    wait_until(lambda: "rejects" in (tdb.throttled_by(first) or ""), what="it says why it waits")
    tdb.daemon()
    tdb.finish(first, timeout=30)
    others = [tdb.submit(target=table, set_clause="n = n + 1") for table in ("u", "v", "t")]
    for name in others:
        tdb.finish(name, timeout=30)
    assert tdb.counts() == {2: 10} and "job-1: gives its place to others" in refused.log()
