"""The README's first migration, run as it stands there: old and new code beside each step, what goes wrong in another order, and steering."""

import re
import shutil
import subprocess

import psycopg
import pytest

from daemon import PROGRAM
from database import Database
from pages import README, readme_blocks, section
from waiting import wait_until

EXPAND, END = readme_blocks("The first migration", "sql")
STEER, = readme_blocks("Watch and steer", "sql")
UNDO = re.search(r"`(SELECT backfill\.undo[^`]+)`", section(README, "The first migration"))[1]
LAST = "SELECT {} FROM app.orders ORDER BY id DESC LIMIT 1"


@pytest.fixture(scope="module")
def served(cluster):
    database = Database(cluster)
    try:
        database.daemon().says("connected")
        yield database
    finally:
        database.destroy()


@pytest.fixture
def shop(served):
    if not shutil.which("psql"):
        pytest.skip("psql is not there")
    served.admin.execute("DROP SCHEMA IF EXISTS app CASCADE; TRUNCATE backfill.job CASCADE; CREATE SCHEMA app AUTHORIZATION app")
    served.app.execute("CREATE TABLE app.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount numeric(12,2) NOT NULL);"
                       "INSERT INTO app.orders (amount) SELECT i / 100.0 FROM generate_series(1, 1000) AS i")
    return served


def psql(db, text):
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", db.cluster.directory, "-p", str(db.cluster.port), "-U", "app", db.name],
                          input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout


def release(db, column):
    """What its code does; raises what the server says."""
    db.app.execute(f"INSERT INTO app.orders ({column}) VALUES (700)")
    db.app.execute(f"UPDATE app.orders SET {column} = 300 WHERE id = 1")
    db.app.execute(f"SELECT {column} FROM app.orders")


def triggers_are_gone(db):
    wait_until(lambda: db.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zz_backfilld%'") == 0, what="the triggers are gone")


def finish(db):
    db.app.execute("SELECT backfill.finish('orders-cents')")
    triggers_are_gone(db)


def first(db):
    return db.all("SELECT amount, amount_cents FROM app.orders WHERE id = 1")[0]


def test_first_migration(shop):
    said = psql(shop, EXPAND)
    assert re.search(r"^orders-cents\|succeeded\|", said, re.M), said
    release(shop, "amount")
    assert first(shop) == (300, 30000) and shop.all(LAST.format("amount, amount_cents")) == [(700, 70000)]
    release(shop, "amount_cents")
    assert first(shop) == (3, 300) and shop.all(LAST.format("amount, amount_cents")) == [(7, 700)]
    release(shop, "amount")
    assert shop.one("SELECT count(*) FROM app.orders WHERE amount_cents IS DISTINCT FROM amount * 100") == 0
    for statement in END.splitlines():
        psql(shop, statement)
        if "finish" in statement:
            triggers_are_gone(shop)
        release(shop, "amount_cents")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        release(shop, "amount")
    assert shop.one("SELECT count(*) FROM app.orders WHERE amount_cents IS NULL") == 0


def test_back_to_the_old_code(shop):
    psql(shop, EXPAND)
    release(shop, "amount_cents")
    psql(shop, UNDO)
    wait_until(lambda: shop.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attname = 'amount_cents'") == 0, what="the column is gone")
    release(shop, "amount")
    assert shop.one("SELECT count(*) FROM app.orders WHERE amount IS NULL") == 0 and shop.one("SELECT amount FROM app.orders WHERE id = 1001") == 7


def test_new_code_too_early(shop):
    with pytest.raises(psycopg.errors.UndefinedColumn):
        release(shop, "amount_cents")
    with shop.held_row(500, table="app.orders"):
        shop.app.execute(EXPAND.split("CALL")[0])
        wait_until(lambda: shop.job("orders-cents")["phase"] == "backfill", what="the column is there, and rows are not done")
        release(shop, "amount_cents")
        assert shop.one("SELECT amount_cents FROM app.orders WHERE id = 999") is None
    shop.finish("orders-cents")
    assert shop.one("SELECT count(*) FROM app.orders WHERE amount_cents IS DISTINCT FROM amount * 100") == 0


def test_without_sync_back(shop):
    psql(shop, EXPAND.replace(", sync_back", "").replace("true, 'amount = amount_cents / 100.0'", "true"))
    shop.app.execute("UPDATE app.orders SET amount_cents = 300 WHERE id = 2")
    assert shop.one("SELECT amount::text FROM app.orders WHERE id = 2") == "0.02"
    with pytest.raises(psycopg.errors.NotNullViolation, match='"amount"'):
        release(shop, "amount_cents")


def test_finish_and_drop_too_early(shop):
    psql(shop, EXPAND)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="zz_backfilld_keep_in_sync"):
        shop.app.execute("ALTER TABLE app.orders DROP COLUMN amount")
    with pytest.raises(psycopg.Error, match="fills amount of app.orders by sync_back, which may not be NULL"):
        finish(shop)
    shop.app.execute("ALTER TABLE app.orders ALTER COLUMN amount DROP NOT NULL")
    finish(shop)  # while old code runs
    shop.app.execute("UPDATE app.orders SET amount = 300 WHERE id = 1")
    assert first(shop) == (300, 1)
    with pytest.raises(psycopg.errors.NotNullViolation, match='"amount_cents"'):
        release(shop, "amount")
    release(shop, "amount_cents")


def test_each_order_that_is_told_has_a_test():
    rows = [row.strip("| ").split(" | ") for row in section(README, "The first migration").splitlines() if re.match(r"\| \d\. ", row)]
    assert [row[0] for row in rows] == ["1. expand", "2. wait", "3. release", "4. finish", "5. drop"]
    assert [len(re.findall(r"[a-z`,] [^.]+\.", row[3])) if len(row) > 3 else 0 for row in rows][2:] == [2, 2, 1], "another sentence wants another test"


def test_steering(shop):
    """In the middle of the job: each line of the block, in order."""
    status, pause, update, cancel = [line.split("--")[0].strip() for line in STEER.splitlines()]
    with shop.held_row(500, table="app.orders"):
        shop.app.execute(EXPAND.split("CALL")[0])
        wait_until(lambda: shop.job("orders-cents")["phase"] == "backfill", what="the job fills")
        wait_until(lambda: re.search(r"^orders-cents +backfill +\[#", psql(shop, status), re.M), what="its first batches stand in status")
        psql(shop, pause)
        shop.wait_state("orders-cents", "paused")
        psql(shop, pause.replace("pause", re.search(r"backfill\.(\w+) goes on", STEER)[1]))
        shop.wait_state("orders-cents", "running", "queued")
        psql(shop, update)
        psql(shop, cancel)
        shop.wait_state("orders-cents", "cancelled")


def test_drain_in_ci(shop, monkeypatch):
    """The command in the table of tools: 1 when a job fails, or 0."""
    command = re.search(r"`(backfilld -d [^`]+)`", section(README, "With your tool"))[1]
    shop.daemons.pop().destroy()
    monkeypatch.setenv("CONNINFO", shop.conninfo())
    for clause, status in (("amount = 1 / (id - 7)", 1), ("amount = 1", 0)):
        shop.app.execute("INSERT INTO backfill.job (target, set_clause) VALUES ('app.orders', %s)", [clause])
        done = subprocess.run(["sh", "-c", command.replace("backfilld", PROGRAM, 1)], timeout=60, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        shop.admin.execute("TRUNCATE backfill.job CASCADE")
