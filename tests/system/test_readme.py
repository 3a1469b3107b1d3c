"""The README's way from nothing to a first job on a database host, line by line as it stands there."""

import base64
import re
import subprocess

import pytest

from daemon import ROOT
from machine import Machine, why_not
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


def blocks(heading, kind):
    """The blocks of a section that are of a kind, "" or "sql"."""
    with open(f"{ROOT}/README.md") as file:
        text = file.read().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [block for its_kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if its_kind == kind]


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
    install, access, start = blocks("On a database host, as a service", "")
    hba, ident = access.split("\n\n")
    roles = blocks("Set it up", "sql")[0]
    first_job, _ = blocks("On a database host, as a service", "sql")
    packages, install = install.split("\n", 1)
    assert packages.startswith("apt-get install ")  # all but this line: they are there, and the machine has no network

    sources = subprocess.run(["tar", "-C", ROOT, "-cz", *SOURCES.split()], check=True, capture_output=True).stdout
    site.run("sh", "-ec", "mkdir /root/clone; base64 -d | tar -xzC /root/clone", input=base64.b64encode(sources).decode())  # /tmp is its own there
    site.run("sh", "-ec", f"cd /root/clone\n{install}", patience=300)
    site.run("runuser", "-u", "postgres", "--", "psql", "-v", "ON_ERROR_STOP=1", "app", input=roles)
    for name, lines in (("pg_hba.conf", hba), ("pg_ident.conf", ident)):
        site.write(f"{CONF}/{name}", lines + "\n" + site.run("cat", f"{CONF}/{name}") + "\n")
    said = site.run("sh", "-ec", start)
    assert "installed" in said and "HINT" not in said, said
    command = re.match(r"-- (.*)\n", first_job)[1]
    said = site.run("sh", "-ec", command, input=first_job)
    assert re.search(r"orders-cents *\| succeeded .*\| +5000 \|", said), said
    assert site.run("runuser", "-u", "alice", "--", "psql", "-U", "migrator", "-Atc", "SELECT count(*) FROM app.orders WHERE amount_cents = amount * 100",
                    "app") == "5000"
