"""The Debian package: installed, upgraded, removed and purged on a machine, as dpkg does it."""

import base64
import os
import shutil
import subprocess

import pytest

from daemon import ROOT
from machine import CONFIG

NEEDS = ("dpkg-buildpackage", "dh", "scdoc")
FILES = "/usr/sbin/backfilld", "/lib/systemd/system/backfilld.service", "/usr/share/man/man8/backfilld.8.gz"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """This version's, and one that comes after it."""
    if missing := [name for name in NEEDS if not shutil.which(name)]:
        pytest.skip(f"{', '.join(missing)} not there (packages debhelper, scdoc)")
    directory = tmp_path_factory.mktemp("deb")
    made = subprocess.run([f"{ROOT}/systemd/deb/build.sh", str(directory)], capture_output=True, text=True,
                          env={**os.environ, "DEBFULLNAME": "A Tester", "DEBEMAIL": "tester@localhost"})
    assert made.returncode == 0, made.stderr[-3000:]
    old, new = made.stdout.strip(), f"{directory}/new.deb"
    subprocess.run(["sh", "-ec", 'dpkg-deb -R "$0" "$1/new"; sed -i "s/^Version: .*/Version: 9.9.9-1/" "$1/new/DEBIAN/control"; dpkg-deb --root-owner-group -b "$1/new" "$2"',
                    old, str(directory), new], check=True, capture_output=True)
    return old, new


def put(machine, package):
    with open(package, "rb") as file:
        machine.run("sh", "-c", "base64 -d >/root/package.deb", input=base64.b64encode(file.read()).decode())
    return machine.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "-i", "/root/package.deb", patience=120)


def state(machine, unit="backfilld"):
    return machine.show("ActiveState", unit)


def is_there(machine, path):
    return machine.try_run("test", "-e", path).returncode == 0


def test_package_is_installed_upgraded_removed_and_purged(packages, own_machine):
    machine = own_machine
    old, new = packages
    machine.run("systemctl", "stop", "backfilld")
    machine.run("rm", "-f", "/usr/sbin/policy-rc.d")  # of a container, where no package may start anything
    machine.run("sh", "-c", "rm -rf /etc/backfilld; find / -xdev -path /proc -prune -o -name 'backfilld*' -path '*sbin*' -print | xargs rm -f; userdel backfilld; systemctl daemon-reload")
    put(machine, old)
    assert all(is_there(machine, path) for path in FILES) and "backfilld.conf" in machine.run("cat", "/var/lib/dpkg/info/backfilld.conffiles")
    assert machine.run("id", "-un", "backfilld") == "backfilld" and state(machine) == "inactive", "it is started by whoever has configured it"
    assert machine.try_run("systemctl", "is-enabled", "backfilld").stdout.strip() == "disabled"
    verified = machine.try_run("systemd-analyze", "verify", "/lib/systemd/system/backfilld.service")
    assert verified.returncode == 0 and "backfilld" not in verified.stderr, verified.stderr

    machine.configure()
    machine.run("systemctl", "enable", "--now", "backfilld")
    machine.table("packaged", 10)
    machine.submit("packaged")
    machine.psql("CALL backfill.wait('packaged')", "migrator")
    assert machine.psql("SELECT DISTINCT n FROM packaged") == "1"
    pid = machine.show("MainPID")
    mine = machine.run("cat", CONFIG)
    put(machine, new)
    assert state(machine) == "active" and machine.show("MainPID") != pid, "the new program runs"
    assert machine.run("cat", CONFIG) == mine
    assert machine.run("dpkg-query", "-W", "-f", "${Version}", "backfilld") == "9.9.9-1"

    machine.run("dpkg", "-r", "backfilld")
    assert state(machine) == "inactive" and not any(is_there(machine, path) for path in FILES) and is_there(machine, CONFIG)
    machine.run("dpkg", "-P", "backfilld")
    assert not is_there(machine, "/etc/backfilld")
