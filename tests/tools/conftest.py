"""Fixtures: a cluster that listens on a port, which Java's driver needs, and a database with a table for each test."""

import os
import signal
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))

from cluster import Cluster  # noqa: E402
from database import Database, prepare  # noqa: E402


def pytest_configure(config):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as with Ctrl-C: nothing is left behind


@pytest.fixture(scope="session")
def cluster():
    cluster = Cluster(listen_addresses="'127.0.0.1'")
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def db(cluster):
    database = Database(cluster)
    try:
        database.admin.execute(f"GRANT CREATE ON DATABASE {database.name} TO app")  # sqitch has a schema of its own
        database.app.execute("CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(30,2) NOT NULL);"
                             "INSERT INTO orders SELECT i, i * 1.37 FROM generate_series(1, 5000) AS i")
        yield database
    finally:
        database.destroy()
