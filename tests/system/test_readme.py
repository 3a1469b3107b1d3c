"""The README's way from nothing to a first job on a database host, line by line as it stands there."""

import base64
import re
import subprocess

import pytest

from daemon import ROOT
from machine import Machine, why_not
from pages import readme_blocks
from waiting import wait_until

SOURCES = "README.md CHANGELOG.md LICENSE meson.build meson_options.txt conf daemon lib systemd tests"
CONF = "/etc/postgresql/15/site"

# What a site has already: a server, a database with a table, the role of its migrations, and somebody who may be that.
SITE = """
CREATE ROLE migrator LOGIN;
CREATE DATABASE app OWNER migrator;
\\c app
SET ROLE migrator;
CREATE SCHEMA app;
CREATE TABLE app.orders (id bigint PRIMARY KEY, amount numeric NOT NULL);
INSERT INTO app.orders SELECT i, i / 100.0 FROM generate_series(1, 5000) AS i;
"""


@pytest.fixture
def site():
    if reason := why_not():
        pytest.skip(reason)
    machine = Machine()
    try:
        wait_until(machine.has_booted, 60, "the machine boots")
        machine.run("pg_createcluster", "15", "site", "--", "--no-sync")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "postgresql")
        machine.run("useradd", "alice")
        machine.run("runuser", "-u", "postgres", "--", "psql", "-v", "ON_ERROR_STOP=1", "-q", input=SITE)
        yield machine
    finally:
        machine.destroy()


def test_quick_start_as_it_stands_there(site):
    install, access, start = readme_blocks("Install", "")
    hba, ident = access.split("# /etc/postgresql/15/main/pg_ident.conf")
    roles = readme_blocks("Install", "sql")[0]
    first_job, end = readme_blocks("The first migration", "sql")
    packages, install = install.split("\n", 1)
    assert packages.startswith("apt-get install ")  # all but this line: they are there, and the machine has no network

    def as_said(text):
        """By the command that the block begins with."""
        return site.run("sh", "-ec", re.match(r"-- (.*)\n", text)[1], input="\\set ON_ERROR_STOP 1\n" + text)

    sources = subprocess.run(["tar", "-C", ROOT, "-cz", *SOURCES.split()], check=True, capture_output=True).stdout
    site.run("sh", "-ec", "mkdir /root/clone; base64 -d | tar -xzC /root/clone", input=base64.b64encode(sources).decode())  # /tmp is its own there
    site.run("sh", "-ec", f"cd /root/clone\n{install}", patience=300)
    as_said(roles)
    for name, lines in (("pg_hba.conf", hba), ("pg_ident.conf", "#" + ident)):
        site.write(f"{CONF}/{name}", lines + "\n" + site.run("cat", f"{CONF}/{name}") + "\n")
    said = site.run("sh", "-ec", start)
    assert "installed" in said and "HINT" not in said, said
    said = as_said(first_job)
    assert re.search(r"orders-cents *\| succeeded .*\| +5000 \|", said), said
    query = ("runuser", "-u", "alice", "--", "psql", "-U", "migrator", "-Atc")
    assert site.run(*query, "SELECT count(*) FROM app.orders WHERE amount_cents = amount * 100", "app") == "5000"
    as_said(first_job.split("\n")[0] + "\n" + end)
    assert site.run(*query, "SELECT count(*), sum(amount_cents) FROM app.orders", "app") == f"5000|{sum(range(1, 5001))}"
    assert site.run(*query, "SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attnum > 0"
                    " AND NOT attisdropped", "app") == "{id,amount_cents}"
