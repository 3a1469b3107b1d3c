"""Migration tools run a migration in two changes: one inserts the job, the other waits for it and goes on.

What stands in the directories beside this file is run as it is, by each tool's own command. TOOLS: the directory that
tests/run.sh tools has installed npm packages into.
"""

import os
import shutil
import subprocess

import pytest
from daemon import die_with_parent, run
from waiting import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = f"{os.environ.get('TOOLS', '')}/node_modules"
EXPAND, CONTRACT = "orders-cents", "orders-amount"


class Tool:
    """An example, copied as a user would; how the tool is called in it, and what it remembers."""

    needs = ()      # programs
    history = ""    # the changes that it takes for done

    def __init__(self, db, directory):
        self.db, self.directory = db, f"{directory}/{self.name}"
        for program in self.needs:
            if not shutil.which(program):
                pytest.skip(f"{os.path.basename(program)} is not there: tests/run.sh tools installs it")
        shutil.copytree(f"{HERE}/{self.name}", self.directory)

    @property
    def url(self):
        return f"postgres://app@127.0.0.1:{self.db.cluster.port}/{self.db.name}"

    def start(self, *arguments):
        return subprocess.Popen(arguments, cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env={**os.environ, "HOME": self.directory, "DATABASE_URL": f"{self.url}?sslmode=disable"},
                                stdin=subprocess.DEVNULL, preexec_fn=die_with_parent(9))

    def everything(self):
        """Starts what is not done yet of the example."""
        raise NotImplementedError

    def expand(self):
        """Starts the first of its changes alone."""
        raise NotImplementedError

    def applied(self):
        return [change for change, in self.db.all(self.history)]


class Dbmate(Tool):
    name, needs = "dbmate", (f"{MODULES}/.bin/dbmate", "node")
    history = "SELECT version::text FROM schema_migrations ORDER BY 1"
    changes = ["20260105100000", "20260105100001", "20260105100002"]

    def everything(self):
        return self.start(self.needs[0], "up")

    def expand(self):
        """A release that has but this migration."""
        later = [f"{self.directory}/db/migrations/{name}" for name in os.listdir(f"{self.directory}/db/migrations") if "expand" not in name]
        for path in later:
            os.rename(path, f"{self.directory}/{os.path.basename(path)}")
        process = self.everything()
        process.wait(60)
        for path in later:
            os.rename(f"{self.directory}/{os.path.basename(path)}", path)
        return process


class NodePgMigrate(Tool):
    name, needs = "node-pg-migrate", (f"{MODULES}/.bin/node-pg-migrate", "node")
    history = "SELECT name FROM pgmigrations ORDER BY id"
    changes = ["1767607200000_orders-cents-expand", "1767607200001_orders-cents-contract"]

    def everything(self):
        return self.start(self.needs[0], "up")

    def expand(self):
        return self.start(self.needs[0], "up", "1")


class Liquibase(Tool):
    name, needs = "liquibase", (f"{MODULES}/liquibase/dist/liquibase/liquibase", "java")
    history = "SELECT id FROM databasechangelog ORDER BY orderexecuted"
    changes = ["orders-cents-expand", "orders-cents-contract"]

    def command(self, *arguments):
        return self.start("sh", self.needs[0], f"--url=jdbc:postgresql://127.0.0.1:{self.db.cluster.port}/{self.db.name}", "--username=app",
                          "--changelog-file=changelog.sql", *arguments)

    def everything(self):
        return self.command("update")

    def expand(self):
        return self.command("update-count", "--count=1")


class Sqitch(Tool):
    name, needs = "sqitch", ("sqitch", "psql")
    history = "SELECT change FROM sqitch.changes ORDER BY committed_at"
    changes = ["orders-cents-expand", "orders-cents-contract"]

    def command(self, *arguments):
        return self.start("sqitch", "deploy", f"db:pg://app@127.0.0.1:{self.db.cluster.port}/{self.db.name}", *arguments)

    def everything(self):
        return self.command()

    def expand(self):
        return self.command("--to-change", "orders-cents-expand")


@pytest.fixture(params=[Dbmate, NodePgMigrate, Liquibase, Sqitch], ids=lambda tool: tool.name)
def tool(request, db, tmp_path):
    return request.param(db, tmp_path)


def end(process, status=0):
    """Waits until a tool has ended as it should; returns what it printed."""
    output = process.communicate(timeout=90)[0]
    print(output)
    assert (process.returncode == 0) == (status == 0), output
    return output


def columns(db):
    """The table's columns, and which are NOT NULL."""
    return dict(db.all("SELECT attname::text, attnotnull FROM pg_attribute"
                       " WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped"))


def jobs(db):
    return db.all("SELECT id, name, state, started_at, finished_at FROM backfill.job ORDER BY id")


def spoil(db):
    """A row that the job can't compute."""
    db.app.execute("UPDATE orders SET amount = 1e20 WHERE id = 2500")


def test_two_changes_take_a_column_from_nothing_to_not_null(db, tool):
    db.app.execute("CREATE TABLE amounts AS SELECT * FROM orders")
    db.daemon()
    end(tool.everything())
    assert tool.applied() == tool.changes
    db.finish(EXPAND)
    db.finish(CONTRACT)
    assert columns(db) == {"id": True, "amount_cents": True}
    assert db.one("SELECT count(*) FROM orders JOIN amounts a USING (id) WHERE amount_cents = a.amount * 100") == 5000
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass") == 0


def test_again_changes_nothing(db, tool):
    """Neither for a tool that knows what it has done, nor for one that has lost its history."""
    db.daemon()
    end(tool.everything())
    db.finish(CONTRACT)
    before = jobs(db), columns(db)
    end(tool.everything())
    assert tool.applied() == tool.changes and (jobs(db), columns(db)) == before
    forget(db, tool)
    end(tool.everything())
    assert tool.applied() == tool.changes and (jobs(db), columns(db)) == before


def forget(db, tool):
    if tool.name == "sqitch":
        db.app.execute("DROP SCHEMA sqitch CASCADE")
    else:
        db.app.execute(f"DELETE FROM {tool.history.split()[3]}")
    assert tool.name == "sqitch" or tool.applied() == []


def test_contract_waits_and_holds_no_snapshot(db, tool):
    """Else the table could not be vacuumed for as long as the job runs."""
    db.daemon()
    with db.held_row(2500, "orders"):
        process = tool.everything()
        db.wait_at(2500, EXPAND)
        began = wait_until(lambda: waiting(db), what="the tool waits")
        wait_until(lambda: waiting(db) and waiting(db) != began, what="it begins another transaction")
        assert process.poll() is None and tool.applied() == tool.changes[:1]
        assert db.one("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND datname = current_database()"
                      " AND application_name !~ 'backfilld' AND pid <> ALL (%s)"
                      " AND (backend_xid IS NOT NULL OR state = 'idle in transaction' AND backend_xmin IS NOT NULL)", [db.app.info.backend_pid]) == 0
    end(process)
    assert tool.applied() == tool.changes


def waiting(db):
    """When the transaction of the session in wait() began."""
    found = db.all("SELECT xact_start FROM pg_stat_activity WHERE query ~ 'CALL backfill.wait' AND state = 'active'"
                   " AND datname = current_database() AND pid <> pg_backend_pid()")
    return found[0][0] if found else None


def test_contract_fails_with_the_jobs_own_error_and_goes_on_after_retry(db, tool):
    spoil(db)
    db.daemon()
    output = end(tool.everything(), 1)
    assert f'job "{EXPAND}" failed: ' in output and "bigint out of range" in output
    assert tool.applied() == tool.changes[:1] and "amount" in columns(db)
    db.app.execute("UPDATE orders SET amount = 1 WHERE id = 2500")
    db.app.execute("SELECT backfill.retry(%s)", [EXPAND])
    end(tool.everything())
    db.finish(CONTRACT)
    assert tool.applied() == tool.changes and columns(db) == {"id": True, "amount_cents": True}


def test_drain_between_two_changes_tells_the_pipeline_whether_to_go_on(db, tool):
    """Expand; backfilld --drain; contract. No daemon serves."""
    spoil(db)
    end(tool.expand())
    assert tool.applied() == tool.changes[:1]
    assert db.drain().returncode == 1
    db.app.execute("UPDATE orders SET amount = 1 WHERE id = 2500")
    db.app.execute("SELECT backfill.retry(%s)", [EXPAND])
    assert db.drain().returncode == 0
    end(tool.everything())
    assert db.drain().returncode == 0
    assert tool.applied() == tool.changes and columns(db) == {"id": True, "amount_cents": True}


def test_wait_beside_another_statement_is_refused_by_dbmate_with_what_to_do(db, tmp_path):
    """Why the CALL has a file of its own there."""
    tool = Dbmate(db, tmp_path)
    with open(f"{tool.directory}/db/migrations/20260105100001_orders_cents_wait.sql") as file:
        migration = file.read()
    with open(file.name, "w") as file:
        file.write(migration.replace("'2 hours');", "'2 hours');\nSELECT backfill.finish('orders-cents');"))
    output = end(tool.everything(), 1)
    assert "backfill.wait cannot run inside a transaction block" in output
    assert tool.applied() == tool.changes[:1]
