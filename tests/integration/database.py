"""One database with the control schema, its sessions and its daemons; gone at the end of a test."""

import contextlib

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from daemon import HOST_OFF, Daemon, config_text, run
from waiting import wait_until

TEMPLATE = "template_backfill"
ENDED = ("succeeded", "failed", "cancelled")

# The daemon's role is no superuser. app and other submit jobs, app also for its group; watcher only looks on;
# stranger may nothing; ghost may submit, but not log in.
ROLES = """
CREATE ROLE backfilld LOGIN IN ROLE pg_monitor, pg_signal_backend;
CREATE ROLE backfill_submitter;
CREATE ROLE app_owner IN ROLE backfill_submitter;
CREATE ROLE app LOGIN IN ROLE backfill_submitter, app_owner;
CREATE ROLE other LOGIN IN ROLE backfill_submitter;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE ROLE stranger LOGIN;
CREATE ROLE ghost IN ROLE backfill_submitter;
"""

# What a cluster's databases share of it: a test that changes it and leaves it so changes the tests behind it.
SHARED = """
SELECT setrole::regrole::text, setconfig::text FROM pg_db_role_setting WHERE setdatabase = 0
UNION ALL SELECT parname, paracl::text FROM pg_parameter_acl
UNION ALL SELECT rolname, row(rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit)::text
  FROM pg_roles WHERE rolname IN ('backfilld', 'backfill_submitter', 'app_owner', 'app', 'other', 'watcher', 'stranger', 'ghost')
UNION ALL SELECT roleid::regrole::text, 'of ' || member::regrole::text FROM pg_auth_members
 WHERE (roleid::regrole::text, member::regrole::text) IN (SELECT a, b FROM unnest('{backfilld, app_owner, app, other, ghost}'::text[]) a, unnest('{backfilld, app, other, ghost}'::text[]) b)
ORDER BY 1, 2
"""


def prepare(cluster):
    """The roles, and a template that has the schema, for each test's database to be copied from."""
    with cluster.connect() as admin:
        admin.execute(ROLES)
        admin.execute(f"CREATE DATABASE {TEMPLATE}")
        admin.execute(f"GRANT CREATE ON DATABASE {TEMPLATE} TO backfilld")
    with cluster.connect(TEMPLATE) as admin:
        admin.execute("GRANT ALL ON SCHEMA public TO app, other, app_owner, ghost")
    installed = run("-d", cluster.conninfo(TEMPLATE), "--install")
    assert installed.returncode == 0, installed.stderr


class Database:
    serial = iter(range(100000))

    def __init__(self, cluster):
        self.cluster = cluster
        self.name = f"t{next(Database.serial)}"
        self.daemons = []
        self.sessions = {}
        with cluster.connect() as admin:
            admin.execute(f"CREATE DATABASE {self.name} TEMPLATE {TEMPLATE} STRATEGY file_copy")  # a third quicker than by WAL
            self.shared = admin.execute(SHARED).fetchall()

    def destroy(self):
        problems = [problem for problem in [daemon.destroy() for daemon in self.daemons] if problem]
        for session in self.sessions.values():
            session.close()
        with self.cluster.connect() as admin:
            admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
            shared = admin.execute(SHARED).fetchall()
        assert shared == self.shared, f"the test leaves the roles of the server changed: {set(shared) ^ set(self.shared)}"
        assert not problems, f"a daemon was not well: {problems}"

    # ---- Sessions

    def connect(self, user="app", **arguments):
        return self.cluster.connect(self.name, user, **arguments)

    def session(self, user):
        """One for each role, opened when first needed, and again when the server has been restarted."""
        if user not in self.sessions or self.sessions[user].closed:
            self.sessions[user] = self.connect(user)
        return self.sessions[user]

    @property
    def app(self):
        return self.session("app")

    @property
    def admin(self):
        return self.session("postgres")

    def one(self, sql, *parameters, user="postgres"):
        """The only value of a query."""
        return self.session(user).execute(sql, parameters or None).fetchone()[0]

    def all(self, sql, *parameters, user="postgres"):
        return self.session(user).execute(sql, parameters or None).fetchall()

    # ---- Tables

    def table(self, name="t", rows=1000, columns="n int NOT NULL DEFAULT 0", user="app"):
        session = self.session(user)
        session.execute(f"CREATE TABLE {name} (id bigint PRIMARY KEY, {columns})")
        session.execute(f"INSERT INTO {name} (id) SELECT generate_series(1, {rows})")

    def close_public(self):
        """Nobody but app may create what its functions could mean by a name."""
        self.admin.execute("REVOKE CREATE ON SCHEMA public FROM other, app_owner, ghost")

    def counts(self, table="t", column="n"):
        """How many rows have each value."""
        return dict(self.all(f"SELECT {column}, count(*) FROM {table} GROUP BY 1"))

    def sleep_at(self, key, seconds, table="t"):
        """The batch that holds this row takes that long."""
        self.admin.execute(f"""
            CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql
              AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
            CREATE TRIGGER sleep BEFORE UPDATE ON {table}
              FOR EACH ROW WHEN (NEW.id = {key}) EXECUTE FUNCTION sleep()""")

    def wait_asleep(self):
        wait_until(lambda: self.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
                   what="a batch sleeps")

    @contextlib.contextmanager
    def held_row(self, key, table="t", user="postgres"):
        """Whoever updates a row is refused as in a conflict with another transaction, which passes by itself, so that
        the row can't be put aside: a job on the table comes to stand just below it."""
        gate = f"gate_{table}_{key}".replace(".", "_")
        self.admin.execute(f"""
            CREATE OR REPLACE FUNCTION public.{gate}() RETURNS trigger LANGUAGE plpgsql
              AS $$ BEGIN
                IF to_jsonb(OLD) ->> 'id' = '{key}' AND NOT pg_try_advisory_xact_lock(hashtext('{gate}')) THEN
                  RAISE EXCEPTION 'row {key} is not let through' USING ERRCODE = 'serialization_failure';
                END IF;
                RETURN NEW; END $$;
            CREATE OR REPLACE TRIGGER {gate} BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION public.{gate}()""")
        with self.connect(user) as session:
            session.autocommit = False
            session.execute(f"SELECT pg_advisory_xact_lock(hashtext('{gate}'))")
            yield session
            session.commit()

    @contextlib.contextmanager
    def locked_rows(self, condition, table="t", user="postgres", mode="FOR UPDATE", name="holder"):
        """Somebody else's transaction holds rows."""
        with self.connect(user, application_name=name) as session:
            session.autocommit = False
            session.execute(f"SELECT FROM {table} WHERE {condition} {mode}")
            yield session
            if not session.closed:
                session.commit()

    def left_behind(self, reason="locked"):
        return self.all("SELECT key FROM backfill.left_behind WHERE reason = %s ORDER BY id", reason)

    def wait_at(self, key, job):
        """Until the job has done all rows below that key."""
        wait_until(lambda: self.cursor(job) == [str(key - 1)], what=f"job {job} stands below {key}")

    # ---- Jobs

    def submit(self, user="app", session=None, **columns):
        """Inserts a job; returns its name."""
        columns = {key: Jsonb(value) if key == "settings" else value for key, value in columns.items()}
        columns.setdefault("target", "t")
        names = ", ".join(columns)
        places = ", ".join("%s::regclass" if key == "target" else "%s" for key in columns)
        return (session or self.session(user)).execute(
            f"INSERT INTO backfill.job ({names}) VALUES ({places}) RETURNING name",
            list(columns.values())).fetchone()[0]

    def job(self, name):
        cursor = self.admin.cursor(row_factory=dict_row)
        return cursor.execute("SELECT * FROM backfill.job WHERE name = %s", [name]).fetchone()

    def state(self, name):
        return self.one("SELECT state FROM backfill.job WHERE name = %s", name)

    def wait_state(self, name, *states, timeout=20):
        return wait_until(lambda: self.state(name) in states, timeout, f"job {name} is {' or '.join(states)}")

    def finish(self, name, state="succeeded", timeout=30):
        """Waits for a job's end, which must be the one that is named; returns its row."""
        wait_until(lambda: self.state(name) in ENDED, timeout, f"job {name} ends")
        job = self.job(name)
        assert job["state"] == state, (job["error"], job["hint"])
        return job

    def throttled_by(self, name):
        return self.one("SELECT throttled_by FROM backfill.status WHERE name = %s", name) or ""

    def cursor(self, name):
        """Where the job's first range stands."""
        rows = self.all("SELECT r.cursor FROM backfill.range r JOIN backfill.job j ON j.id = r.job_id"
                        " WHERE j.name = %s ORDER BY r.id LIMIT 1", name)
        return rows[0][0] if rows else None

    def as_worker(self, user, job):
        """Notes a role's session as the worker of a job, in place of the daemon's; returns the ticket."""
        session = self.session(user)
        pinned = session.execute("SELECT backfill.settings_now()").fetchone()[0]
        return self.one("INSERT INTO backfill.token AS t (job_id, token, worker, ticket, pinned) SELECT j.id, 4711, %s, 4712, %s FROM backfill.job j WHERE j.name = %s"
                        " ON CONFLICT (job_id, slot) DO UPDATE SET worker = excluded.worker, ticket = excluded.ticket, pinned = excluded.pinned RETURNING ticket",
                        session.info.backend_pid, pinned, job)

    # ---- Daemons

    def conninfo(self):
        return self.cluster.conninfo(self.name)

    def config(self, workers=None, log=None, throttle=None, listen=None, jobs=None, **batch):
        database = {"name": self.name, "conninfo": self.conninfo()}
        if workers:
            database["workers"] = workers
        return config_text([database], batch=batch, throttle={**HOST_OFF, **(throttle or {})}, log={"level": log} if log else None,
                           jobs=jobs, metrics={"listen": str(listen)} if listen else None)

    def daemon(self, workers=None, log=None, throttle=None, listen=None, jobs=None, **batch):
        return self.start(config=self.config(workers, log, throttle, listen, jobs, **batch))

    def start(self, *arguments, **options):
        daemon = Daemon(*arguments, **options)
        self.daemons.append(daemon)
        return daemon

    def drain(self, *arguments):
        """The machine is busy with tests: what slows jobs down is no subject of those who drain."""
        return run("-d", self.conninfo(), "--drain", "--no-throttle", *arguments)
