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


@pytest.mark.parametrize("foreign", ["UTF8", "LATIN1"], indirect=True)
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII"])
def test_what_the_environment_asks_for_changes_nothing(foreign, encoding, monkeypatch):
    db = foreign
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    db.admin.execute("UPDATE backfill.installed SET checksum = 'of an earlier build'")
    for mode in ("--install", "--check"):
        ended = run("-d", db.conninfo(), mode)
        assert ended.returncode == 0, (ended.stdout, ended.stderr)
    db.table(name='"größe"', rows=10, columns="n text")
    db.submit(target='"größe"', name="jö", set_clause="n = 'grün'")
    drained = db.drain()
    assert drained.returncode == 0 and "jö: succeeded: 10 rows done" in drained.stderr
    assert db.counts('"größe"') == {"grün": 10}


@pytest.mark.parametrize("role", ["app", "backfilld"])
def test_keys_are_read_back_whatever_encoding_a_role_asks_for(db, role):
    db.app.execute("CREATE TABLE t (id text PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT chr(200 + i % 56) || i FROM generate_series(1, 400) AS i; INSERT INTO t VALUES ('Ω'), ('zß€'), ('ÿÿ')")
    db.admin.execute(f"ALTER ROLE {role} IN DATABASE {db.name} SET client_encoding = 'LATIN1'")
    db.daemon(max_rows=30)
    with db.connect() as session:
        session.execute("SET client_encoding = 'UTF8'")
        name = db.submit(session=session, set_clause="n = n + 1", on_error="quarantine")
    db.finish(name)
    assert db.counts() == {1: 403}


def test_role_that_writes_in_another_encoding_fills_what_was_meant(db):
    db.table(rows=100, columns="n text")
    db.admin.execute("ALTER ROLE app SET client_encoding = 'LATIN1'")
    try:
        db.daemon()
        db.finish(db.submit(set_clause="n = 'grün'"))
    finally:
        db.admin.execute("ALTER ROLE app RESET client_encoding")
    assert db.counts() == {"grün": 100}
