"""Fixtures: one machine for all tests of a run, booted if this one allows it."""

import os
import signal
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/integration")

from machine import Machine, why_not  # noqa: E402


for name in [name for name in os.environ if name.startswith("PG") and name != "PG_BINDIR"]:
    del os.environ[name]  # nothing of the caller's own connections


def pytest_configure(config):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as with Ctrl-C: nothing is left behind


def pytest_terminal_summary(terminalreporter):
    """The numbers that tests measured, also when they passed."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture
def measured(record_property):
    """measured(name, text): shown at the end of the run."""
    return record_property


def booted():
    if reason := why_not():
        pytest.skip(reason)
    machine = Machine()
    try:
        machine.set_up()
        yield machine
    finally:
        machine.destroy()


@pytest.fixture(scope="session")
def machine():
    yield from booted()


@pytest.fixture
def own_machine():
    """For what would take the daemon away under other tests."""
    yield from booted()
