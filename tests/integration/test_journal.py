"""What reaches the systemd journal: records with fields that a program can use, each kind with its id."""

import json
import os
import re
import subprocess
import sys
import threading

import pytest

from daemon import PROGRAM, ROOT
from waiting import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACE = ["unshare", "-m", "true"]


def catalog():
    """Subject by id."""
    with open(f"{ROOT}/systemd/backfilld.catalog") as file:
        return dict(re.findall(r"^-- ([0-9a-f]{32})\nSubject: (.*)", file.read(), re.M))


@pytest.fixture
def records(db, tmp_path):
    """Runs the jobs that wait, and returns what the journal was sent. Who sleeps in a batch is the test: none yields to others."""
    if os.getuid() != 0 or subprocess.run(NAMESPACE, capture_output=True).returncode != 0:
        pytest.skip("a journal of its own takes root and a mount namespace")

    def run():
        output, config = tmp_path / "records", tmp_path / "backfilld.conf"
        config.write_text(db.config())
        subprocess.run(["unshare", "-m", sys.executable, f"{HERE}/journal.py", output, PROGRAM, "-c", config, "--drain"], timeout=60)
        assert (tmp_path / "records.stderr").read_text() == "", "under the journal nothing goes to stderr"
        return [json.loads(line) for line in output.read_text().splitlines()]
    return run


def test_the_journal_tells_a_jobs_story_in_fields(db, records):
    db.table(rows=3000)
    db.app.execute("ALTER TABLE t ADD CHECK (id <> 1234 OR n = 0)")
    name = db.submit(set_clause="n = n + 1", on_error="quarantine")
    told = records()
    mine = [r for r in told if r.get("BACKFILL_NAME") == name]
    job = db.job(name)
    assert all(r["BACKFILL_JOB"] == str(job["id"]) and r["BACKFILL_TABLE"] == "public.t"
               and r["BACKFILL_DATABASE"] == db.name for r in mine)
    assert [r["BACKFILL_PHASE"] for r in mine if r["MESSAGE"].startswith(f"{name}: running")] == ["preflight"]
    assert all(r["MESSAGE"].startswith(f"{name}: ") for r in mine), "whose it is stands where people look"
    assert any(r["MESSAGE"] == f"{db.name}: connected" for r in told)

    left = next(r for r in mine if "left behind" in r["MESSAGE"])
    assert "row id = 1234" in left["MESSAGE"] and left["BACKFILL_SQLSTATE"] == "23514" and left["PRIORITY"] == "4"
    assert not any("Failing row" in value for r in told for value in r.values()), "a row's values stay out"

    end = mine[-1]
    assert end["MESSAGE"].startswith(f"{name}: succeeded") and end["BACKFILL_ROWS"] == "3000" and end["PRIORITY"] == "5"
    assert float(end["BACKFILL_PERCENT"]) == 100, "whatever was estimated"


def test_the_journal_says_who_held_a_row_and_who_waited_on_a_batch(db, records):
    db.table(rows=1000)
    db.sleep_at(90, 1)
    pids = {}

    def others():
        with db.locked_rows("id = 700", name="holder") as holder, \
                db.connect("postgres", application_name="waiter") as waiter:
            pids.update(holder=holder.info.backend_pid, waiter=waiter.info.backend_pid)
            db.wait_asleep()
            waiter.execute("UPDATE t SET n = n WHERE id = 50")
            wait_until(lambda: "locked" in (db.one("SELECT waiting_for FROM backfill.job") or ""), what="who holds it has been asked for his name")

    thread = threading.Thread(target=others)
    thread.start()
    name = db.submit(set_clause="n = n + 1")
    told = records()
    thread.join()
    held = next(r for r in told if "1 row is locked by" in r["MESSAGE"])
    assert held["MESSAGE"] == f"{name}: 1 row is locked by pid {pids['holder']} (holder): put aside, tried again later"
    assert held["BACKFILL_SQLSTATE"] == "55P03" and held["PRIORITY"] == "6"
    waited = next(r for r in told if "has waited" in r["MESSAGE"])
    assert re.fullmatch(rf"{name}: pid {pids['waiter']} \(waiter\) has waited \d+ ms on a batch: it was cut short", waited["MESSAGE"])
    assert waited["BACKFILL_SIGNAL"] == "blocked" and waited["BACKFILL_LIMIT"] == "50.000"
    assert 49 <= float(waited["BACKFILL_VALUE"]) < 500
    assert db.counts() == {1: 1000}


def test_each_record_has_an_id_that_the_catalog_explains(db, records):
    db.table(rows=10)
    db.submit(set_clause="n = 1 / (id - 5)")
    subjects = catalog()
    told = records()
    assert told and all(r["MESSAGE_ID"] in subjects for r in told)
    assert any(r["PRIORITY"] == "3" and "row id = 5" in r["MESSAGE"] for r in told), "a failure is an error"


def test_every_id_in_the_program_is_in_the_catalog_and_the_other_way_round():
    with open(f"{ROOT}/daemon/base/journal.c") as file:
        in_code = re.findall(r'\] = "([0-9a-f]{32})"', file.read())
    assert sorted(in_code) == sorted(catalog()) and len(set(in_code)) == len(in_code)
