"""Fixtures: a cluster for each run of pytest, a database for each test."""

import os
import random
import signal
import sys

import pytest

sys.dont_write_bytecode = True

from cluster import Cluster  # noqa: E402
from daemon import PROGRAM  # noqa: E402
from database import Database, prepare  # noqa: E402

# 1: the sizes of continuous integration, minutes in all; 5: the sizes that the project promises (1M rows, 50
# kills).
SCALE = int(os.environ.get("BACKFILL_SCALE", "1"))
SEED = int(os.environ.get("BACKFILL_SEED", random.SystemRandom().randrange(2**32)))


for name in [name for name in os.environ if name.startswith("PG") and name != "PG_BINDIR"]:
    del os.environ[name]  # nothing of the caller's own connections


def pytest_configure(config):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as with Ctrl-C: nothing is left behind
    if not os.access(PROGRAM, os.X_OK):
        pytest.exit(f"{PROGRAM} is not there: build it, or name it in BACKFILLD", 2)


def pytest_report_header(config):
    return f"backfilld: {PROGRAM}; BACKFILL_SCALE={SCALE} BACKFILL_SEED={SEED}"


def pytest_terminal_summary(terminalreporter):
    """The numbers that tests measured, also when they passed."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session")
def scale():
    return SCALE


@pytest.fixture
def rng(request):
    """Random numbers, another sequence in each run; the seed that the header prints repeats it."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def measured(record_property):
    """measured(name, text): shown at the end of the run."""
    return record_property


@pytest.fixture(scope="session")
def cluster():
    cluster = Cluster()
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def db(cluster):
    database = Database(cluster)
    try:
        yield database
    finally:
        database.destroy()


@pytest.fixture
def db2(cluster):
    """A second database of the same cluster."""
    database = Database(cluster)
    try:
        yield database
    finally:
        database.destroy()


@pytest.fixture(scope="module")
def own_cluster():
    """For tests that stop the server: durable, and nobody else's. Its WAL is written late."""
    cluster = Cluster(fsync="on", wal_buffers="32MB", bgwriter_lru_maxpages="0")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def own_db(own_cluster):
    database = Database(own_cluster)
    try:
        yield database
    finally:
        database.destroy()


@pytest.fixture(scope="module")
def tcp_cluster():
    """One that listens on 127.0.0.1, too."""
    cluster = Cluster(listen_addresses="'127.0.0.1'")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def tdb(tcp_cluster):
    """A database there."""
    database = Database(tcp_cluster)
    try:
        yield database
    finally:
        database.destroy()
