"""Databases in other encodings, and roles that ask for one."""

import pytest

from daemon import run


@pytest.fixture
def foreign(request, db):
    """A database in that encoding, with the schema."""
    name = f"{db.name}_{request.param.lower()}"
    db.admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{request.param}' LOCALE 'C'")
    db.admin.execute(f"GRANT CREATE ON DATABASE {name} TO backfilld, app")
    own, db.name = db.name, name
    closed = db.sessions
    db.sessions = {}
    for session in (db.admin, db.app):
        session.execute("SET client_encoding = 'UTF8'")
    db.admin.execute("GRANT ALL ON SCHEMA public TO app")
    installed = run("-d", db.conninfo(), "--install")
    assert installed.returncode == 0, installed.stderr
    yield db
    for daemon in db.daemons:
        daemon.terminate()
    for session in db.sessions.values():
        session.close()
    db.name, db.sessions = own, closed
    db.admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("foreign", ["LATIN1", "WIN1252", "EUC_JP", "SQL_ASCII"], indirect=True)
def test_schema_installs_and_jobs_run_in_databases_of_other_encodings(foreign):
    db = foreign
    db.table(rows=300)
    daemon = db.daemon()
    name = db.submit(name="plain", set_clause="n = 1 / (id - 200)", on_error="quarantine")
    db.finish(name)
    assert db.counts() == {0: 298, 1: 1, -1: 1} and db.left_behind("error") == [(["200"],)]
    daemon.says("row id = 200 is left behind")


@pytest.mark.parametrize("foreign", ["LATIN1"], indirect=True)
def test_names_that_are_no_ascii_are_told_in_utf8(foreign):
    db = foreign
    db.table(name='"größe"', rows=100)
    daemon = db.daemon()
    db.finish(db.submit(target='"größe"', name="jö", set_clause="n = 1"))
    daemon.says("jö: succeeded")


def test_role_that_writes_in_another_encoding_fills_what_was_meant(db):
    db.table(rows=100, columns="n text")
    db.admin.execute("ALTER ROLE app SET client_encoding = 'LATIN1'")
    try:
        db.daemon()
        db.finish(db.submit(set_clause="n = 'grün'", settings={"client_encoding": "LATIN1"}))
    finally:
        db.admin.execute("ALTER ROLE app RESET client_encoding")
    assert db.counts() == {"grün": 100}
