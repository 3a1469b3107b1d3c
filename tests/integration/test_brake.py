"""default_transaction_read_only: a default that was there when a job was inserted, and a brake that comes later."""

import pytest

from daemon import run
from waiting import let_pass, wait_until

SAYS = "default_transaction_read_only is on"


@pytest.fixture
def writable(db):
    """Whatever a test switches on is off at its end; its own sessions may write."""
    for session in (db.admin, db.app):
        session.execute("SET default_transaction_read_only = off")
    yield db
    with db.cluster.connect() as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        admin.execute("SELECT pg_reload_conf()")
        for role in ("app", "backfilld"):
            admin.execute(f"ALTER ROLE {role} RESET default_transaction_read_only")


def at_database(db):
    return f"ALTER DATABASE {db.name} SET default_transaction_read_only = on"


def in_file(db):
    return "ALTER SYSTEM SET default_transaction_read_only = on"


def at_role(db):
    return "ALTER ROLE app SET default_transaction_read_only = true"


def put_on(db, how):
    db.admin.execute(how(db))
    db.admin.execute("SELECT pg_reload_conf()")


def take_off(db, how):
    db.admin.execute(how(db).replace("= on", "= off").replace("= true", "= off"))
    db.admin.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("how", [at_database, in_file, at_role])
def test_a_brake_that_comes_in_mid_job_stops_it_is_named_and_it_goes_on_after(writable, how):
    db = writable
    db.table(rows=10000)
    db.daemon(max_rows=100)
    name = db.submit(set_clause="n = n + 1", max_rows_per_s=2000)
    wait_until(lambda: db.counts().get(1, 0) > 500, what="it is at work")
    put_on(db, how)
    wait_until(lambda: SAYS in db.throttled_by(name), 5, "status names it")
    done = db.counts()
    let_pass(2)
    assert db.counts() == done, "nothing is written any more"
    assert SAYS in db.job(name)["waiting_for"]
    db.app.execute("SELECT backfill.pause(%s)", [name])
    db.wait_state(name, "paused", timeout=10)
    db.app.execute("SELECT backfill.resume(%s)", [name])
    wait_until(lambda: SAYS in db.throttled_by(name), 10, "status names it again")
    assert db.counts() == done
    take_off(db, how)
    db.finish(name)
    assert db.counts() == {1: 10000}


def test_a_brake_holds_a_step_and_a_job_that_was_queued(writable):
    db = writable
    db.table(rows=1000)
    name = db.submit(add_column="c int", set_clause="c = n", enforce=["NOT NULL c"])
    put_on(db, at_database)
    daemon = db.daemon()
    wait_until(lambda: SAYS in (db.job(name)["waiting_for"] or ""), what="it waits, and says why")
    daemon.says(SAYS)
    assert not db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'c'")
    take_off(db, at_database)
    db.finish(name)


@pytest.mark.parametrize("how", [at_database, in_file, at_role])
def test_a_default_that_was_there_when_the_job_was_inserted_is_no_matter_to_it(writable, how):
    """Whoever inserts a job has switched it off for the session."""
    db = writable
    db.table(rows=1000)
    put_on(db, how)
    db.daemon()
    with db.connect() as session:
        assert session.execute("SHOW default_transaction_read_only").fetchone()[0] == "on"
        session.execute("SET default_transaction_read_only = off")
        name = db.submit(session=session, add_column="c int", set_clause="c = n", keep_in_sync=True, enforce=["NOT NULL c"])
    db.finish(name)
    assert db.counts(column="c") == {0: 1000}


def test_a_job_may_say_that_it_goes_on_over_the_brake(writable):
    db = writable
    db.table(rows=1000)
    put_on(db, at_database)
    db.daemon()
    db.finish(db.submit(set_clause="n = 1", settings={"default_transaction_read_only": "off"}))
    assert db.counts() == {1: 1000}


@pytest.mark.parametrize("change", ["ALTER DATABASE {db} SET default_transaction_read_only = on",
                                    "ALTER ROLE backfilld SET default_transaction_read_only = on"])
def test_a_read_only_default_of_the_daemon_is_no_matter_to_install_check_and_serve(writable, change):
    db = writable
    db.table(rows=1000)
    db.admin.execute(change.format(db=db.name))
    installed = run("-d", db.conninfo(), "--install")
    assert installed.returncode == 0, installed.stderr
    db.admin.execute(f"DROP SCHEMA backfill CASCADE; GRANT CREATE ON DATABASE {db.name} TO backfilld")
    installed = run("-d", db.conninfo(), "--install")
    assert installed.returncode == 0, installed.stderr
    checked = run("-d", db.conninfo(), "--check")
    assert checked.returncode == 0 and "but default_transaction_read_only is on for" in checked.stdout, checked.stdout
    with db.connect() as session:
        session.execute("SET default_transaction_read_only = off")
        name = db.submit(session=session, set_clause="n = 1")
    ended = db.drain()
    assert ended.returncode == 0, ended.stderr
    assert db.state(name) == "succeeded" and db.counts() == {1: 1000}
