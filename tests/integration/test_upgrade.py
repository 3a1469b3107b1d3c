"""--install on a schema of an earlier version, with jobs in it: old_schemas/NNN.sql, which dump.py there wrote."""

import glob
import os
import re
import subprocess

import pytest

from daemon import PROGRAM, run
from waiting import wait_until

DUMPS = sorted(glob.glob(f"{os.path.dirname(os.path.abspath(__file__))}/old_schemas/[0-9]*.sql"))


def version_of(dump):
    return int(os.path.basename(dump)[:3])


def installed(db):
    return db.one("SELECT version FROM backfill.installed")


def definitions(db):
    """What pg_dump says of the schema, as a set of lines: grants and functions come in the order of their making."""
    dump = subprocess.run([f"{db.cluster.binaries}/pg_dump", "-h", db.cluster.directory, "-p", str(db.cluster.port), "-U",
                           "postgres", "--schema-only", "-n", "backfill", db.name], check=True, capture_output=True, text=True)
    return sorted(line for line in dump.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


@pytest.fixture(params=DUMPS, ids=version_of)
def old(request, db2):
    """A database as the program of that version left it."""
    db2.admin.execute("DROP SCHEMA backfill, public CASCADE; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO app, other")
    with open(request.param) as dump:
        text = dump.read().replace("CREATE SCHEMA public;", "")
    restored = subprocess.run([f"{db2.cluster.binaries}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", db2.cluster.directory, "-p",
                               str(db2.cluster.port), "-U", "postgres", db2.name], input=text, capture_output=True, text=True)
    assert restored.returncode == 0, restored.stderr
    assert installed(db2) == version_of(request.param)
    return db2


RELEASED = 2  # the last version that anybody may have; the next one's dump comes with it


def test_each_earlier_version_has_its_dump(db):
    assert set(map(version_of, DUMPS)) >= set(range(1, RELEASED + 1))
    assert installed(db) in (RELEASED, RELEASED + 1)


def test_upgrade_makes_the_schema_that_a_new_install_makes(db, old):
    upgraded = run("-d", old.conninfo(), "--install")
    assert upgraded.returncode == 0, upgraded.stderr
    assert installed(old) == installed(db)
    assert definitions(old) == definitions(db)
    assert run("-d", old.conninfo(), "--check").returncode == 0


def test_upgrade_keeps_jobs_and_each_goes_on_where_it_stood(old):
    assert (old.state("done"), old.state("half"), old.cursor("half")) == ("succeeded", "paused", ["599"])
    assert run("-d", old.conninfo(), "--install").returncode == 0
    assert (old.state("done"), old.state("half"), old.cursor("half")) == ("succeeded", "paused", ["599"])
    assert old.left_behind("error") == [(["5"],)]
    old.app.execute("SELECT backfill.resume('half'); SELECT backfill.resume('new')")
    old.daemon()
    old.finish("half")
    old.finish("new")
    assert old.counts() == {2: 100, 1: 900}  # done and half: each row of each once
    assert old.job("done")["report"] is not None
    old.submit(name="after", set_clause="n = n + 1")
    assert old.finish("after")["id"] > old.job("new")["id"]


def test_a_publication_of_all_tables_is_no_trouble(db2):
    """Its tables must say which row is meant, also those of the control schema."""
    db2.admin.execute(f"DROP SCHEMA backfill CASCADE; GRANT CREATE ON DATABASE {db2.name} TO backfilld; CREATE PUBLICATION everything FOR ALL TABLES")
    for _ in range(2):
        ended = run("-d", db2.conninfo(), "--install")
        assert ended.returncode == 0, ended.stderr
        db2.admin.execute("UPDATE backfill.installed SET checksum = 'of an earlier build'")
    assert run("-d", db2.conninfo(), "--install").returncode == 0
    db2.table(rows=100)
    db2.daemon()
    db2.finish(db2.submit(set_clause="n = 1", where_clause="n = 0", on_error="quarantine"))
    assert db2.counts() == {1: 100}


# ---- Beside others

def other_build(db):
    """So that --install makes all anew."""
    db.admin.execute("UPDATE backfill.installed SET checksum = 'of an earlier build'")


def wait_for_lock(db):
    wait_until(lambda: db.one("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'backfilld --install' AND a.datname = current_database() AND NOT l.granted"),
               what="--install waits for a lock")


@pytest.mark.parametrize("earlier", [False, True])
def test_install_beside_somebody_who_writes_jobs_takes_turns_with_them(db, earlier):
    """Who has read the table and then writes to it would meet a lock that is made stronger in a deadlock."""
    db.table(rows=10)
    name = db.submit(set_clause="n = n + 1")
    if earlier:
        other_build(db)
    with db.connect() as session:
        session.autocommit = False
        session.execute("SELECT FROM backfill.job")
        installer = subprocess.Popen([PROGRAM, "-d", db.conninfo(), "--install"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for_lock(db)
        session.execute("UPDATE backfill.job SET priority = 1")
        db.submit(session=session, set_clause="n = n + 2")
        session.commit()
    output = installer.communicate(timeout=20)
    assert installer.returncode == 0 and output[1] == "", output
    assert db.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    assert db.job(name)["priority"] == 1


def test_install_that_is_held_up_says_by_whom(db):
    with db.connect(application_name="a console") as session:
        session.autocommit = False
        session.execute("SELECT FROM backfill.job")
        ended = run("-d", db.conninfo(), "--install", timeout=30)
        assert ended.stderr.startswith(f"backfilld: {db.name}: waits, and tries again: the control schema is in use: pid {session.info.backend_pid} (role app, a console) since ")
        assert ended.stderr.count("waits, and tries again") == 1
        assert ended.returncode == 1 and f"the control schema is in use: pid {session.info.backend_pid} (role app, a console) since " in ended.stderr
        assert "HINT: Wait until that ends, or end it (SELECT pg_terminate_backend(pid)" in ended.stderr
    assert run("-d", db.conninfo(), "--install").returncode == 0


def test_nobody_else_holds_up_an_install(db2):
    """A number that anybody may lock is no lock."""
    for there in (True, False):
        if not there:
            db2.admin.execute(f"DROP SCHEMA backfill CASCADE; GRANT CREATE ON DATABASE {db2.name} TO backfilld")
        with db2.connect("stranger") as session:
            session.autocommit = False
            session.execute("SELECT pg_advisory_lock(7089054359331365996)")
            ended = run("-d", db2.conninfo(), "--install")
            assert ended.returncode == 0, ended.stderr


def test_two_first_installs_at_once_both_go_well(db2):
    db2.admin.execute(f"DROP SCHEMA backfill CASCADE; GRANT CREATE ON DATABASE {db2.name} TO backfilld")
    both = [subprocess.Popen([PROGRAM, "-d", db2.conninfo(), "--install"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(p.communicate(timeout=30)[1], p.returncode) for p in both] == [("", 0), ("", 0)]


@pytest.mark.parametrize("made", ["CREATE FUNCTION public.d() RETURNS boolean LANGUAGE sql BEGIN ATOMIC SELECT EXISTS (SELECT FROM backfill.key_of(NULL::oid, NULL::smallint[])); END",
                                  "CREATE TABLE public.c (x backfill.job)", "CREATE VIEW public.v AS SELECT * FROM backfill.key_of(NULL::oid, NULL::smallint[])",
                                  'CREATE TABLE public."c-on-backfill.x" (x backfill.job)', 'CREATE TABLE public."v on backfill.job" (x backfill.job)',
                                  "CREATE TABLE public.guarded (i int); CREATE POLICY p ON public.guarded USING (EXISTS (SELECT FROM backfill.key_of(NULL::oid, NULL::smallint[])))"])
def test_what_others_have_made_of_the_schema_is_named_where_it_is_in_the_way(old, made):
    if installed(old) == 1 and "key_of" in made:
        made = made.replace("backfill.key_of(NULL::oid, NULL::smallint[])", "backfill.key_of(NULL::oid)") if old.one("SELECT to_regprocedure('backfill.key_of(oid)') IS NOT NULL") else made
    old.session("other").execute(made)
    before = definitions(old)
    upgraded = run("-d", old.conninfo(), "--install")
    what = re.search(r"(FUNCTION|TABLE|VIEW) ([^ \"]+\"[^\"]+\"|[^ \"]+)", made)
    named = "policy p on public.guarded" if "POLICY" in made else f"{what[1].lower()} {what[2]}"
    assert upgraded.returncode == 1 and f"{named} of other" in upgraded.stderr and upgraded.stderr.count("HINT") == 1, upgraded.stderr
    assert definitions(old) == before
    old.session("other").execute(f"DROP {what[1]} {what[2]}")
    assert run("-d", old.conninfo(), "--install").returncode == 0
