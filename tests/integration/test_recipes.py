"""Each recipe of backfilld-recipes(7) does what the page says: its blocks are run as they stand there, by psql."""

import os
import re
import shutil
import subprocess
import threading

import pytest

from daemon import PROGRAM
from database import Database
from pages import RECIPES, blocks, section
from waiting import wait_until

TABLES = blocks(section(RECIPES, "DESCRIPTION"))[0]
ROWS = """
INSERT INTO app.customers SELECT i, CASE i % 2 WHEN 0 THEN 'NL' ELSE 'PT' END FROM generate_series(1, 20) AS i;
INSERT INTO app.orders (customer_id, name, amount, qty, data, created)
SELECT i % 20 + 1, 'Ann Smith' || i, i / 100.0, i, jsonb_build_object('sku', 'S' || i), now() - i * interval '10 days'
  FROM generate_series(1, 500) AS i;
"""
TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zz_backfilld%'"
OTHERS = {"NAME", "DESCRIPTION", "SEE ALSO"}  # sections that are no recipe


def recipe(title):
    """The test is that of a recipe."""
    def note(test):
        test.recipe = title
        return test
    return note


class Recipe:
    """The blocks of a section, to be run one after another."""

    def __init__(self, db, title):
        self.db, self.rest = db, blocks(section(RECIPES, title))

    def psql(self, text, user="app"):
        return subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.db.cluster.directory, "-p", str(self.db.cluster.port), "-U", user,
                               "-d", self.db.name], input=text, capture_output=True, text=True, timeout=60)

    def next(self, beginning):
        """The next block, which must begin so."""
        assert self.rest and self.rest[0].startswith(beginning), self.rest[:1]
        return self.rest.pop(0)

    def run(self, beginning):
        """Returns what psql prints."""
        text = self.next(beginning)
        done = self.psql(text)
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        return done.stdout

    def run_until_it_passes(self, beginning):
        """A transaction that the page says to run again."""
        text = self.next(beginning)

        def passes():
            done = self.psql(text)
            assert done.returncode == 0 or "lock timeout" in done.stderr, done.stderr
            return done.returncode == 0
        wait_until(passes, what="the transaction gets its lock")


@pytest.fixture(scope="module")
def served(cluster):
    """One database, one daemon: the recipes follow one another, each with new tables."""
    database = Database(cluster)
    try:
        database.daemon().says("connected")
        yield database
    finally:
        database.destroy()


def open_shop(db):
    db.admin.execute("DROP SCHEMA IF EXISTS app CASCADE; TRUNCATE backfill.job CASCADE; CREATE SCHEMA app AUTHORIZATION app")
    db.app.execute(TABLES)
    db.app.execute(ROWS)
    return db


@pytest.fixture
def shop(served):
    return open_shop(served)


@pytest.fixture
def page(request):
    if not shutil.which("psql"):
        pytest.skip("psql is not there")
    recipe = Recipe(request.getfixturevalue("shop" if "shop" in request.fixturenames else "db"), request.function.recipe)
    yield recipe
    assert not recipe.rest, "a block of the page is not run"


class Writer:
    """An application that writes all the while, and whose every statement must go through."""

    def __init__(self, db, *statements):
        self.db, self.statements, self.done, self.error, self.stop = db, statements, 0, None, threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        try:
            with self.db.connect("app") as session:
                while not self.stop.wait(0.002):
                    for statement in self.statements:
                        session.execute(statement, {"n": self.done}, prepare=False)
                        self.done += 1
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        wait_until(lambda: self.done or self.error, what="the application writes")
        return self

    def __exit__(self, *problem):
        if not problem[0]:
            now = self.done
            wait_until(lambda: self.done > now + 4 or self.error, what="the application goes on")
        self.stop.set()
        self.thread.join()
        assert problem[0] or self.error is None, self.error


def triggers_are_gone(db):
    wait_until(lambda: db.one(TRIGGERS) == 0, what="the triggers are gone")


OLD = ("INSERT INTO app.orders (name, amount, qty, created) VALUES ('old', %(n)s, 1, now())", "UPDATE app.orders SET amount = amount + 1 WHERE id = %(n)s %% 400 + 1")
NEW = ("INSERT INTO app.orders (name, amount_cents, qty, created) VALUES ('new', %(n)s, 1, now())",
       "UPDATE app.orders SET amount_cents = amount_cents + 1 WHERE id = %(n)s %% 400 + 1")


@recipe("A COMPUTED COLUMN")
def test_computed_column(shop, page):
    with Writer(shop, *OLD):
        page.run("INSERT")
        with Writer(shop, *NEW):
            pass
    assert shop.one("SELECT count(*) FROM app.orders WHERE amount * 100 IS DISTINCT FROM amount_cents") == 0
    with Writer(shop, *NEW):
        page.run("SET lock_timeout")
        triggers_are_gone(shop)
        later = Recipe(shop, "THE OLD COLUMN DROPPED")
        later.run("INSERT")
    assert shop.one("SELECT count(*) FROM app.orders WHERE amount_cents IS NULL") == 0


@recipe("A TYPE CHANGED")
def test_type_changed(shop, page):
    with Writer(shop, "INSERT INTO app.orders (name, amount, qty, created) VALUES ('x', 1, %(n)s, now())", "UPDATE app.orders SET qty = qty + 1 WHERE id = %(n)s %% 400 + 1"):
        page.run("INSERT")
        page.run_until_it_passes("BEGIN")
    triggers_are_gone(shop)
    assert shop.one("SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attname = 'qty' AND attnotnull") == "bigint"
    assert shop.one("SELECT sum(qty) FROM app.orders WHERE id > 400 AND id <= 500") == sum(range(401, 501))
    assert shop.one("SELECT count(*) FROM app.orders WHERE name = 'x' AND qty_old <> qty AND id <= 400") == 0
    shop.app.execute("UPDATE app.orders SET qty = 3000000000 WHERE id = 1")


LARGER = "SELECT max(id) - count(*) <= 1 AND min(id) = 1 FROM app.orders"


@recipe("A LARGER PRIMARY KEY")
def test_larger_primary_key(shop, page):
    shop.app.execute("INSERT INTO app.lines SELECT id, id FROM app.orders")
    order = "INSERT INTO app.orders (name, amount, qty, created) VALUES ('x', 1, 1, now())"
    with Writer(shop, order, "INSERT INTO app.lines VALUES (1000 + %(n)s, %(n)s %% 400 + 1)"):
        page.run("INSERT")
        page.run("INSERT")
        page.run_until_it_passes("BEGIN")
    serial = page.next("ALTER SEQUENCE")
    assert serial  # test_larger_primary_key_of_a_serial_column
    triggers_are_gone(shop)
    assert shop.one("SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attname = 'id'") == "bigint"
    assert shop.all("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid IN ('app.orders'::regclass, 'app.lines'::regclass) AND contype IN ('p', 'f') ORDER BY 1") \
        == [("FOREIGN KEY (order_id) REFERENCES app.orders(id)",), ("PRIMARY KEY (id)",), ("PRIMARY KEY (id)",)]
    assert shop.one("SELECT count(*) FROM app.orders WHERE id <> id_old") == 0 and shop.one(LARGER)


def test_larger_primary_key_of_a_serial_column(shop):
    """The transaction with the statements that the page gives for it."""
    shop.app.execute("DROP TABLE app.lines, app.orders;" + TABLES[TABLES.index("CREATE TABLE app.orders"):].replace("integer GENERATED BY DEFAULT AS IDENTITY", "serial") + ROWS.split(";")[1])
    page = Recipe(shop, "A LARGER PRIMARY KEY")
    order = "INSERT INTO app.orders (name, amount, qty, created) VALUES ('x', 1, 1, now())"
    with Writer(shop, order):
        page.run("INSERT")
        page.run("INSERT")
        swap, serial = page.next("BEGIN"), page.next("ALTER SEQUENCE")
        page.rest = [re.sub(r"ALTER TABLE[^;]*ADD GENERATED.*?DROP IDENTITY[^;]*;\n", serial, swap, flags=re.S)]
        assert "IDENTITY" not in page.rest[0]
        page.run_until_it_passes("BEGIN")
    triggers_are_gone(shop)
    shop.app.execute("SELECT setval('app.orders_id_seq', 3000000000);" + order)
    assert shop.one("SELECT max(id) FROM app.orders") == 3000000001 and shop.one("SELECT count(*) FROM app.orders WHERE id <> id_old") == 0


@recipe("A COLUMN SPLIT")
def test_column_split(shop, page):
    page.run("ALTER TABLE")
    assert shop.one("SELECT count(*) FROM app.orders WHERE first_name = 'Ann' AND last_name = 'Smith' || id") == 500
    shop.app.execute("UPDATE app.orders SET name = 'Eva Kay' WHERE id = 1; UPDATE app.orders SET last_name = 'Lee' WHERE id = 2")
    assert shop.all("SELECT name, first_name, last_name FROM app.orders WHERE id < 3 ORDER BY id") == [("Eva Kay", "Eva", "Kay"), ("Ann Lee", "Ann", "Lee")]


@recipe("A COLUMN FROM ANOTHER TABLE")
def test_column_from_another_table(shop, page):
    page.run("INSERT")
    wrong = "SELECT count(*) FROM app.orders AS o JOIN app.customers AS c ON c.id = o.customer_id WHERE o.country IS DISTINCT FROM c.country"
    assert shop.one(wrong) == 0
    shop.app.execute("INSERT INTO app.orders (customer_id, amount, qty, created) VALUES (7, 1, 1, now()); UPDATE app.orders SET customer_id = 8 WHERE id = 1;"
                     "INSERT INTO app.orders (amount, qty, created) VALUES (1, 1, now())")
    assert shop.one(wrong) == 0
    shop.app.execute("UPDATE app.customers SET country = 'NZ' WHERE id = 8")
    assert shop.one(wrong) > 0
    assert shop.one("SELECT count(*) FROM app.orders WHERE country IS NULL") == 1


@recipe("OLD ROWS DELETED")
def test_old_rows_deleted(shop, page):
    page.run("INSERT")
    kept = "SELECT min(created) > now() - interval '{} years', count(*) FROM app.orders"
    (all_young, left), = shop.all(kept.format(7))
    assert all_young and 250 < left < 260
    page.run("CREATE TABLE")
    (all_young, fewer), = shop.all(kept.format(2))
    assert all_young and fewer + shop.one("SELECT count(*) FROM app.orders_archive WHERE created < now() - interval '2 years'") == left


@recipe("OLD ROWS DELETED EVERY NIGHT")
def test_old_rows_deleted_every_night(shop, page):
    """pg_cron sends what it was given, as the role that gave it."""
    shop.admin.execute("CREATE SCHEMA cron; CREATE TABLE cron.job (name text, schedule text, command text); GRANT ALL ON SCHEMA cron TO app;"
                       "GRANT ALL ON cron.job TO app; CREATE FUNCTION cron.schedule(text, text, text) RETURNS bigint LANGUAGE sql AS"
                       " 'INSERT INTO cron.job VALUES ($1, $2, $3) RETURNING 1::bigint'")
    page.run("SELECT")
    page.run("SELECT")
    (schedule, purge), (_, forget) = shop.all("SELECT schedule, command FROM cron.job ORDER BY name DESC")
    assert schedule == "0 20 * * *"
    for _ in range(2):
        assert page.psql(purge).returncode == 0
    name = shop.one("SELECT name FROM backfill.job")
    assert name.startswith("purge-20")
    shop.app.execute("UPDATE backfill.job SET active_hours = 'mon-sun'")
    shop.finish(name)
    assert shop.one("SELECT min(created) > now() - interval '7 years' AND count(*) > 250 FROM app.orders")
    assert page.psql(forget).returncode == 0 and shop.one("SELECT count(*) FROM backfill.job") == 1
    shop.admin.execute("UPDATE backfill.job SET finished_at = now() - interval '31 days'")
    assert page.psql(forget).returncode == 0 and shop.one("SELECT count(*) FROM backfill.job") == 0


@recipe("A KEY OF JSON WITH AN INDEX")
def test_key_of_json_with_an_index(shop, page):
    shop.app.execute("UPDATE app.orders SET data = '{}' WHERE id = 1")
    page.run("INSERT")
    shop.app.execute("UPDATE app.orders SET data = jsonb_set(data, '{sku}', '\"T2\"') WHERE id = 2")
    assert shop.one("SELECT count(*) FROM app.orders WHERE sku = 'S' || id") == 498
    assert shop.all("SELECT sku FROM app.orders WHERE id < 3 ORDER BY id") == [(None,), ("T2",)]
    assert shop.one("SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.orders_sku'::regclass")


@recipe("A FOREIGN KEY")
def test_foreign_key(shop, page):
    page.run("INSERT")
    assert shop.one("SELECT convalidated FROM pg_constraint WHERE conname = 'orders_customer'")
    assert shop.one("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attname = 'customer_id'")


def test_foreign_key_that_a_row_breaks(shop):
    shop.app.execute("UPDATE app.orders SET customer_id = 99 WHERE id = 77")
    shop.app.execute(blocks(section(RECIPES, "A FOREIGN KEY"))[0].split("CALL")[0])
    assert "77" in shop.finish("orders-customer", "failed")["error"]


@recipe("A UNIQUE CONSTRAINT")
def test_unique_constraint(shop, page):
    shop.app.execute("INSERT INTO app.orders (customer_id, name, amount, qty, created) SELECT customer_id, 'twice', 1, 1, created FROM app.orders WHERE id = 5")
    text = page.next("INSERT")
    failed = page.psql(text)
    assert failed.returncode != 0 and "left_behind" in failed.stderr, failed.stderr
    given = page.run("SELECT")
    assert "(customer_id, created)=" in given, given
    shop.app.execute("DELETE FROM app.orders WHERE name = 'twice'")
    shop.app.execute(re.search(r"\*(SELECT backfill\.retry\('orders-once'\))\*", section(RECIPES, "A UNIQUE CONSTRAINT"))[1])
    shop.finish("orders-once")
    assert shop.one("SELECT count(*) FROM pg_constraint WHERE conrelid = 'app.orders'::regclass AND contype = 'u'") == 1


@recipe("THE OLD COLUMN DROPPED")
def test_old_column_dropped(shop, page):
    shop.app.execute("CREATE VIEW app.sums AS SELECT sum(amount) FROM app.orders")
    failed = page.psql(page.next("INSERT"))
    assert failed.returncode != 0 and "app.sums" in failed.stderr
    shop.app.execute("DROP VIEW app.sums")
    page.run("SELECT")
    shop.finish("orders-drop-amount")
    assert shop.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attname = 'amount'") == 0


@recipe("ALL TAKEN BACK")
def test_all_taken_back(shop, page):
    definition = "SELECT array_agg(attname || attnotnull::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attnum > 0 AND NOT attisdropped"
    before = shop.one(definition)
    Recipe(shop, "A COMPUTED COLUMN").run("INSERT")
    shop.app.execute("UPDATE app.orders SET amount_cents = 777 WHERE id = 1")
    assert shop.one(definition) != before
    page.run("SELECT")
    wait_until(lambda: shop.one(definition) == before, what="the column is gone")
    triggers_are_gone(shop)
    assert shop.one("SELECT amount::text FROM app.orders WHERE id = 1") == "7.77"


@recipe("ONE JOB FOR EACH TENANT")
def test_one_job_for_each_tenant(shop, page):
    for tenant in ("tenant_a", "tenant_b", "Tenant"):
        shop.admin.execute(f'CREATE SCHEMA "{tenant}" AUTHORIZATION app')
        shop.app.execute(f'CREATE TABLE "{tenant}".orders (id bigint PRIMARY KEY, amount numeric); INSERT INTO "{tenant}".orders SELECT i, i FROM generate_series(1, 50) AS i')
    page.run("INSERT")
    page.run("SELECT")
    assert shop.all("SELECT target::text, state FROM backfill.job ORDER BY id") == [("tenant_a.orders", "succeeded"), ("tenant_b.orders", "succeeded")]
    for tenant in ("tenant_a", "tenant_b"):
        assert shop.one(f"SELECT count(*) FROM {tenant}.orders WHERE amount_cents = amount * 100") == 50
    triggers_are_gone(shop)


@recipe("WITH A MIGRATION TOOL")
def test_with_a_migration_tool(db, page, monkeypatch):
    """Each statement is sent by itself, in the tool's own session, and a pipeline's daemon runs between."""
    open_shop(db)
    expand, wait, contract, own, drain = [page.next(beginning) for beginning in ("INSERT", "CALL", "SET lock_timeout", "ALTER TABLE", "backfilld")]
    monkeypatch.setenv("CONNINFO", db.conninfo())
    db.app.execute("SELECT CAST(%t AS text[])", ["{NOT NULL amount_cents}"])  # a text that is bound
    for change in (expand, wait, "BEGIN;" + contract + "COMMIT;", own):
        assert page.psql("SET search_path = app;" + change).returncode == 0
        subprocess.run(["sh", "-c", drain.replace("backfilld", PROGRAM, 1)], check=True, timeout=60, capture_output=True)
    assert db.one("SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attname IN ('amount', 'amount_cents')") == ["amount_cents"]
    assert db.one("SELECT count(*) FROM app.orders WHERE qty_new = qty") == 500
    assert "transaction block" in page.psql("BEGIN; CALL backfill.wait('orders-cents')").stderr


@recipe("THE LAG OF AURORA")
def test_lag_of_aurora(db, page):
    open_shop(db)
    db.admin.execute("CREATE TABLE lag AS SELECT 300.0 AS ms; CREATE FUNCTION aurora_replica_status() RETURNS TABLE (server_id text, replica_lag_in_msec float8)"
                     " LANGUAGE sql AS $$ SELECT 'reader', ms FROM lag UNION ALL SELECT 'writer', NULL $$; GRANT SELECT ON lag TO backfilld")
    probes = re.search(r"probes = .*?\);\n", page.next("throttle"), re.S)[0]  # beside what tests switch off
    db.start(config=db.config().replace("throttle = {", "throttle = { " + probes))
    name = db.submit(target="app.orders", set_clause="qty = qty + 1")
    wait_until(lambda: "aurora-lag" in db.throttled_by(name), what="the probe holds the job")
    assert db.one("SELECT sum(qty) FROM app.orders") == 500 * 501 / 2
    db.admin.execute("UPDATE lag SET ms = 10")
    db.finish(name)


@recipe("PASSWORDS THAT EXPIRE")
def test_passwords_that_expire(db, page, tmp_path):
    """In aws's place a command that gives the roles their passwords anew, each with what a passfile must quote."""
    aws, passfile, hba = tmp_path / "aws", tmp_path / "passfile", f"{db.cluster.data}/pg_hba.conf"
    aws.write_text('#!/bin/sh -e\n[ "$1 $2" = "rds generate-db-auth-token" ]\nread -r t <"$TOKENS"\nprintf "%s\\n" "$4:$6/?DBUser=$8&$t"\n')
    aws.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TOKENS": f"{tmp_path}/token", "DBHOST": db.cluster.directory,
                   "DBPORT": str(db.cluster.port), "PASSFILE": str(passfile)}
    script = page.next("set -eu")
    db.admin.execute("CREATE ROLE migrator LOGIN IN ROLE backfill_submitter; GRANT ALL ON SCHEMA public TO migrator")

    def rotate(token):
        (tmp_path / "token").write_text(token + "\n")
        for role in ("backfilld", "migrator"):
            password = f"{db.cluster.directory}:{db.cluster.port}/?DBUser={role}&{token}"
            db.admin.execute(f"ALTER ROLE {role} PASSWORD '{password}'")

    def write_passfile():
        subprocess.run(["sh", "-c", script], check=True, env=environment)
        assert passfile.stat().st_mode & 0o777 == 0o600

    with open(hba) as file:
        trusting = file.read()
    try:
        db.table(user="migrator")
        rotate("X-Amz:first\\\\")
        with open(hba, "w") as file:
            file.write("local all backfilld,migrator scram-sha-256\n" + trusting)
        db.admin.execute("SELECT pg_reload_conf()")
        write_passfile()
        db.start("-d", f"{db.conninfo()} passfile={passfile}", "--no-throttle").says("connected")
        db.finish(db.submit(user="migrator", set_clause="n = n + 1"))
        rotate("X-Amz:second")
        name = db.submit(user="migrator", set_clause="n = n + 1")
        wait_until(lambda: re.fullmatch("the server refuses the login: .*password authentication failed for user .migrator.", db.throttled_by(name)), what="status says why it waits")
        write_passfile()
        db.finish(name)  # one token that was renewed late fails no job
        assert db.counts() == {2: 1000}
    finally:
        with open(hba, "w") as file:
            file.write(trusting)
        db.admin.execute("SELECT pg_reload_conf()")
        db.admin.execute("ALTER ROLE backfilld PASSWORD NULL; DROP OWNED BY migrator; DROP ROLE migrator")


def test_each_recipe_has_a_test():
    tried = {test.recipe for name, test in globals().items() if name.startswith("test_") and hasattr(test, "recipe")}
    assert tried == set(re.findall(r"^# (.+)$", RECIPES, re.M)) - OTHERS
