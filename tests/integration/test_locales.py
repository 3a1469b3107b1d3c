"""Databases whose language folds letters in its own way, whose encoding is another, and whose settings read SQL in another way."""

import os
import shutil
import subprocess

import psycopg
import pytest

from cluster import Cluster
from daemon import run
from database import Database, prepare
from in_step import in_step
from waiting import wait_until

MAKE = {
    "tr-TR (ICU)": "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LOCALE 'C'",
    "tr_TR (libc)": "TEMPLATE template0 ENCODING 'UTF8' LOCALE 'tr_TR.UTF-8'",
    "LATIN1": "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    "EUC_JP": "TEMPLATE template0 ENCODING 'EUC_JP' LOCALE 'C'",
    "SQL_ASCII": "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
}
# As a database's defaults, for --install, the daemon and whoever submits.
SETTINGS = {
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "quote_all_identifiers": "on",
    "plpgsql.extra_errors": "all",
    "plpgsql.extra_warnings": "all",
    "transform_null_equals": "on",
    "check_function_bodies": "off",
    "array_nulls": "off",
}


def server_with(tmp_path_factory, locale):
    """A server that has the locale, whether the system has it or not."""
    directory = tmp_path_factory.mktemp("locales")
    for place in (directory, *directory.parents[:-2]):
        place.chmod(0o755)
    made = shutil.which("localedef") and subprocess.run(["localedef", "-i", locale, "-f", "UTF-8", directory / f"{locale}.UTF-8"], capture_output=True, text=True)
    if not made or made.returncode:
        pytest.skip(f"the locale can't be made here: {made.stderr.strip() if made else 'localedef is missing'} (package locales)")
    os.environ["LOCPATH"] = str(directory)
    try:
        cluster = Cluster()
    finally:
        del os.environ["LOCPATH"]
    try:
        prepare(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture(scope="module")
def turkish(tmp_path_factory):
    yield from server_with(tmp_path_factory, "tr_TR")


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    yield from server_with(tmp_path_factory, "de_DE")


@pytest.fixture
def made(request, db):
    """A database made so, in which the schema is installed anew."""
    how, settings = request.param
    home = db.cluster
    if "tr_TR" in how:
        for session in db.sessions.values():
            session.close()
        db.cluster, db.sessions = request.getfixturevalue("turkish"), {}
        db.sessions["postgres"] = db.cluster.connect()
    name = f"{db.name}_made"
    db.admin.execute(f"CREATE DATABASE {name} {how}")
    db.admin.execute(f"GRANT CREATE ON DATABASE {name} TO backfilld, app")
    for setting, value in settings.items():
        db.admin.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    own, db.name = db.name, name
    closed, db.sessions = db.sessions, {}
    for user in ("postgres", "app"):
        db.session(user).execute("SET client_encoding = 'UTF8'")
    db.admin.execute("GRANT ALL ON SCHEMA public TO app")
    assert "tr" not in how or db.one("SELECT lower('I')") == "ı"
    installed = run("-d", db.conninfo(), "--install")
    assert installed.returncode == 0, installed.stderr
    yield db
    for daemon in db.daemons:
        daemon.terminate()
    for session in (*db.sessions.values(), *closed.values()):
        session.close()
    with db.cluster.connect() as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    db.cluster, db.name, db.sessions = home, own, {}


PLACES = [pytest.param((how, {}), id=name) for name, how in MAKE.items()]
PLACES += [pytest.param(("TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'", SETTINGS), id="foreign settings")]
PLACES += [pytest.param((MAKE["tr-TR (ICU)"], SETTINGS), id="all at once")]


@pytest.mark.parametrize("made", PLACES, indirect=True)
def test_the_same_jobs_are_done_everywhere(made):
    """Each word that SQL folds, in capitals; each function that takes text apart."""
    db = made
    db.app.execute("""
        CREATE TABLE BUYER (ID bigint PRIMARY KEY);
        CREATE TABLE DEAL (ID bigint PRIMARY KEY, BUYER_ID bigint, CODE text, SIZE int, WIDTH int, NOTE text, INDEXED text, HI int, ID2 int, PRICE numeric DEFAULT 1.25);
        INSERT INTO BUYER VALUES (1);
        INSERT INTO DEAL (ID, BUYER_ID, CODE, SIZE, WIDTH, NOTE) SELECT g, 1, 'c' || g, g, g, 'n' FROM generate_series(1, 300) g""")
    checked = run("-d", db.conninfo(), "--check")
    assert checked.returncode == 0, checked.stdout
    daemon = db.daemon()
    jobs = {
        "keys": dict(enforce=["FOREIGN KEY (BUYER_ID) REFERENCES BUYER", "UNIQUE (CODE)", "CHECK (SIZE IS NOT NULL)", "NOT NULL WIDTH"]),
        "sync": dict(add_column="CENTS bigint", set_clause="CENTS = (PRICE * 100)::bigint", keep_in_sync=True, enforce=["NOT NULL CENTS"]),
        "pair": dict(set_clause="(HI, ID2) = ROW(SIZE, WIDTH)", where_clause="HI IS NULL AND SIZE BETWEEN 1 AND 400",
                     keep_in_sync=True),
        "rows": dict(set_clause="NOTE = 'it''s ' || ID", where_clause="NOTE = 'n' AND INDEXED IS NULL", active_hours="MON-FRI 00:00-24:00; sat,sun"),
        "free": dict(statement="UPDATE DEAL I SET INDEXED = 'i' || I.ID WHERE {batch I} AND I.INDEXED IS NULL"),
        "bad": dict(set_clause="SIZE = 1 / (ID - 200)", on_error="quarantine"),
    }
    for name, columns in jobs.items():
        db.submit(target="deal", name=name, **columns)
    for name in jobs:
        db.finish(name)
    assert db.all("SELECT count(*), count(CENTS), count(HI), count(ID2), min(CENTS), count(*) FILTER (WHERE NOTE = 'it''s ' || ID AND INDEXED = 'i' || ID)"
                  " FROM DEAL") == [(300, 300, 300, 300, 125, 300)]
    assert db.left_behind("error") == [(["200"],)]
    assert dict(db.all("SELECT contype::text, count(*) FROM pg_constraint WHERE conrelid = 'deal'::regclass GROUP BY 1")) == {"p": 1, "f": 1, "u": 1, "c": 1}
    db.app.execute("INSERT INTO DEAL (ID, BUYER_ID, SIZE, WIDTH, PRICE, CODE) VALUES (1000, 1, 7, 8, 9.5, 'x')")
    assert db.all("SELECT CENTS, HI, ID2 FROM DEAL WHERE ID = 1000") == [(950, 7, 8)]
    assert db.all("SELECT name, state FROM backfill.status WHERE state <> 'succeeded'", user="app") == []
    assert len(db.all("SELECT * FROM backfill.status", user="app")) == len(jobs)
    assert sum(" succeeded " in line for line, in db.all("SELECT line FROM backfill.watch", user="app")) == 5
    checked = run("-d", db.conninfo(), "--check")
    assert checked.returncode == 0, checked.stdout
    assert "error" not in daemon.log()
    for name in ("sync", "pair"):
        db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'deal'::regclass AND NOT tgisinternal"), what="the triggers are gone")


@pytest.mark.parametrize("made", [PLACES[0], PLACES[1], PLACES[-1]], indirect=True)
def test_a_column_that_something_uses_by_a_name_in_capitals_is_not_dropped(made):
    db = made
    db.app.execute("CREATE TABLE deal (id bigint PRIMARY KEY, idle int, kind int);"
                   "CREATE FUNCTION look() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT max(IDLE) FROM DEAL); END'")
    db.daemon()
    job = db.finish(db.submit(target="deal", drop_column="idle"), "failed")
    assert "look()" in job["error"]
    db.finish(db.submit(target="deal", drop_column="kind"))


def test_a_foreign_keys_action_is_known_whatever_language_the_server_speaks(german):
    """By the server's own statement in the trigger's context, which stands between other marks there."""
    db = Database(german)
    try:
        db.admin.execute(f"ALTER DATABASE {db.name} SET lc_messages = 'de_DE.UTF-8'")
        db.session("postgres").close()
        with pytest.raises(psycopg.Error, match="nicht|existiert"):
            db.admin.execute("SELECT no_such_column")
        db.app.execute("CREATE TABLE parent (id bigint PRIMARY KEY)")
        db.app.execute("INSERT INTO parent SELECT generate_series(1, 20)")
        db.app.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b bigint REFERENCES parent (id) ON DELETE SET NULL); INSERT INTO t SELECT g, g % 20 + 1 FROM generate_series(1, 100) g")
        in_step(db, "b = a")
        db.app.execute("DELETE FROM parent WHERE id = 7")
        assert db.all("SELECT DISTINCT b FROM t WHERE a = 7") == [(None,)]
    finally:
        db.destroy()
