"""Mistakes: each gets one clear line that says what is wrong and where, and changes nothing."""

import os
import tempfile

import psycopg
import pytest

from daemon import PROGRAM, run

DATABASES = 'databases = ( { name = "app"; conninfo = "dbname=app"; } );\n'


@pytest.fixture
def config():
    """Writes a file; gives its name."""
    with tempfile.TemporaryDirectory(prefix="bf-") as directory:
        def write(text, name="backfilld.conf"):
            with open(f"{directory}/{name}", "w") as file:
                file.write(text)
            return file.name
        yield write


def refused(*arguments):
    """What it says on stderr; it must end with 2, the status of bad usage."""
    ended = run(*arguments)
    assert ended.returncode == 2 and ended.stdout == "", ended
    return ended.stderr


# ---- Configuration

BAD_FILES = {
    "unknown group": (DATABASES + "batsh = { target_ms = 3; };", 2, "unknown key batsh"),
    "unknown key": (DATABASES + "batch = {\n  target_ms = 3;\n  target_msec = 3;\n};", 4,
                    "unknown key batch.target_msec"),
    "unknown key of a database": ('databases = (\n { conninfo = "dbname=a";\n  wrokers = 2; } );', 3,
                                  "unknown key databases.wrokers"),
    "string for a number": (DATABASES + 'batch = { target_ms = "20"; };', 2,
                            "target_ms is a string; it takes an integer from 1 to"),
    "number for a string": (DATABASES + "log = { level = 3; };", 2, "level is an integer; it takes a string"),
    "fraction for an integer": (DATABASES + "batch = { target_ms = 1.5; };", 2,
                                "target_ms is a number with a decimal point"),
    "boolean for an integer": (DATABASES + "batch = { target_ms = true; };", 2, "target_ms is a boolean"),
    "group for an integer": (DATABASES + "batch = { target_ms = { }; };", 2, "target_ms is a group"),
    "too small": (DATABASES + "batch = { target_ms = 0; };", 2, "target_ms = 0 is out of range: 1 to"),
    "too large": (DATABASES + "\n\nbatch = { lock_timeout_ms = 1000; };", 4,
                  "lock_timeout_ms = 1000 is out of range: 1 to 900"),
    "negative": (DATABASES + "batch = { max_rows = -5; };", 2, "max_rows = -5 is out of range"),
    "wraps at 32 bits": (DATABASES + "batch = { target_ms = 4294967316; };", 2, "target_ms = 4294967316 is out of range: 1 to"),
    "wraps below 0": (DATABASES + "batch = { max_rows = 9; target_ms = -4294967276; };", 2, "target_ms = -4294967276 is out of range: 1 to"),
    "wraps, and would be refused": (DATABASES + "batch = { target_ms = 99999999999; };", 2, "target_ms = 99999999999 is out of range: 1 to"),
    "larger than an int": (DATABASES + "batch = { target_ms = 5000000000L; };", 2,
                           "target_ms = 5000000000 is out of range"),
    "too many workers": ('databases = ( { conninfo = "dbname=a"; workers = 65; } );', 1,
                         "workers = 65 is out of range: 1 to 64"),
    "negative speed": ('databases = ( { conninfo = "dbname=a";\n  max_rows_per_s = -1; } );', 2,
                       "max_rows_per_s = -1 is out of range: 0 to 100000000"),
    "fraction for a speed": ('databases = ( { conninfo = "dbname=a"; max_rows_per_s = 0.5; } );', 1,
                             "max_rows_per_s is a number with a decimal point"),
    "limits that cross": (DATABASES + "batch = { min_rows = 10; max_rows = 5; };", 2,
                          "min_rows = 10 is above batch.max_rows = 5"),
    "none of the words": (DATABASES + 'log = { level = "loud"; };', 2, 'level = "loud" is none of'),
    "not a group": (DATABASES + "batch = 3;", 2, "batch is an integer; it takes a group"),
    "not a list": ('databases = { name = "app"; };', 1, "databases is a group { }; it takes a list"),
    "a database that is no group": ("databases = ( 3 );", 1, "it takes a group"),
    "no databases": ("batch = { target_ms = 3; };", 1, "databases is missing"),
    "empty file": ("", 1, "databases is missing"),
    "empty list": ("databases = ( );", 1, "databases is empty"),
    "no conninfo": ('databases = ( { name = "app"; } );', 1, "no conninfo"),
    "bad conninfo": ('databases = (\n{ conninfo = "dbnam=app"; } );', 2, 'invalid connection option "dbnam"'),
    "password": ('databases = (\n{ conninfo = "dbname=app password=geheim"; } );', 2, "passfile"),
    "password in a URI": ('databases = ( { conninfo = "postgresql://u:geheim@/app"; } );', 1, "passfile"),
    "a name twice": ('databases = ( { conninfo = "dbname=a"; },\n { conninfo = "dbname=a host=x"; } );', 2,
                     'the name "a" stands twice'),
    "an address that others can reach": (DATABASES + 'metrics = {\n  listen = "0.0.0.0:9188"; };', 3,
                                         'metrics.listen = "0.0.0.0:9188": it is no loopback address. HINT: It takes'),
    "a path that is not absolute": (DATABASES + 'metrics = { listen = "unix:metrics.sock"; };', 2,
                                    "the path of a UNIX socket is absolute. HINT: "),
    "no port": (DATABASES + 'metrics = { listen = "127.0.0.1"; };', 2, "there is no port from 1 to 65535"),
    "a port alone": (DATABASES + "metrics = { listen = 9188; };", 2, "listen is an integer; it takes a string"),
    "unknown key of metrics": (DATABASES + "metrics = { port = 9188; };", 2, "unknown key metrics.port"),
    "syntax": (DATABASES + "batch = { target_ms 3; };", 2, "syntax error"),
    "not closed": (DATABASES + "batch = { target_ms = 3;", 2, "syntax error"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_refused_at_its_line(config, case):
    text, line, reason = BAD_FILES[case]
    path = config(text)
    for arguments in ([], ["--check"], ["--install"], ["--drain"]):
        said = refused("-c", path, *arguments)
        assert said.startswith(f"backfilld: {path}:{line}: ") and reason in said, said
        assert said.count("\n") == 1 and "geheim" not in said


def test_missing_file_is_named():
    assert refused("-c", "/not/there.conf") == "backfilld: /not/there.conf: No such file or directory\n"


def test_directory_for_a_file():
    assert refused("-c", "/tmp").startswith("backfilld: /tmp: ")


@pytest.mark.skipif(os.path.exists("/etc/backfilld/backfilld.conf"),
                    reason="this machine has a file of its own")
def test_without_a_file_it_says_what_to_give():
    said = refused()
    assert "/etc/backfilld/backfilld.conf: No such file" in said and "HINT: " in said and "--database" in said


def test_included_file_is_named_in_its_mistakes(config):
    inner = config("batch = { nonsense = 3; };", "inner.conf")
    assert f"{inner}:1: unknown key batch.nonsense" in refused("-c", config(DATABASES
                                                                            + f'@include "{inner}"\n'))


# ---- Command line

@pytest.mark.parametrize("arguments, reason", [
    (["--nonsense"], "unrecognized option '--nonsense'"),
    (["-x"], "invalid option -- 'x'"),
    (["--config"], "requires an argument"),
    (["serve"], "options only"),
    (["-c", "a.conf", "-d", "dbname=a"], "exclude each other"),
    (["--install", "--drain", "-d", "dbname=a"], "exclude each other"),
    (["-d", "dbnam=a"], 'invalid connection option "dbnam"'),
    (["-d", "dbname='a"], "unterminated quoted string"),
])
def test_misuse_is_refused_with_a_hint(arguments, reason):
    said = refused(*arguments)
    assert reason in said and "HINT: " in said


def test_help_and_version():
    for option in ("--help", "-h"):
        ended = run(option)
        assert ended.returncode == 0 and "--drain" in ended.stdout and ended.stderr == ""
    ended = run("--version")
    assert ended.returncode == 0 and ended.stdout.startswith("backfilld ")
    assert os.access(PROGRAM, os.X_OK)


# ---- Installing

def test_install_can_run_again_and_keeps_jobs(db):
    db.table()
    name = db.submit(set_clause="n = n + 1", wanted="pause")
    again = run("-d", db.conninfo(), "--install")
    assert again.returncode == 0, again.stderr
    assert db.state(name) == "paused"
    assert db.drain().returncode == 0


def test_install_without_the_right_names_the_grant(db):
    db.admin.execute("DROP SCHEMA backfill CASCADE")
    ended = run("-d", db.conninfo(), "--install")
    assert ended.returncode == 1 and "permission denied" in ended.stderr
    assert "HINT: As a superuser: GRANT CREATE ON DATABASE" in ended.stderr
    assert db.one("SELECT to_regnamespace('backfill') IS NULL")


# ---- Jobs

def prepare(db):
    """A table with 10 rows, another that must survive, and things that are no tables."""
    db.table(rows=10)
    db.table("x", rows=10)
    db.admin.execute("""
        CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
        CREATE FOREIGN TABLE foreign_t (id int, n int) SERVER nowhere; GRANT ALL ON foreign_t TO app""")
    db.app.execute("""
        CREATE VIEW v AS SELECT * FROM t;
        CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
        CREATE SEQUENCE s;
        CREATE TYPE pair AS (a int, b int);
        CREATE TEMP TABLE temporary (id int PRIMARY KEY, n int);
        CREATE TABLE keyless (id int, n int);
        CREATE TABLE nullable (id int UNIQUE, n int);
        CREATE TABLE partly (id int NOT NULL, n int); CREATE UNIQUE INDEX ON partly (id) WHERE id > 0;
        CREATE TABLE computed (id int NOT NULL, n int); CREATE UNIQUE INDEX ON computed ((id + 1));
        CREATE TABLE hashed (id int NOT NULL, n int); ALTER TABLE hashed ADD EXCLUDE USING hash (id WITH =);
        CREATE TABLE mixed (id int NOT NULL, l int NOT NULL, n int);
        CREATE UNIQUE INDEX ON mixed (id, l DESC);
        CREATE TABLE not_unique (id int NOT NULL, n int); CREATE INDEX ON not_unique (id);
        CREATE TABLE p (id int NOT NULL, n int) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (10);
        CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
        CREATE TABLE pf (id int NOT NULL, n int) PARTITION BY RANGE (id)""")
    db.admin.execute("ALTER TABLE pf OWNER TO postgres; GRANT ALL ON pf TO app;"
                     "CREATE FOREIGN TABLE pf1 PARTITION OF pf FOR VALUES FROM (0) TO (10) SERVER nowhere")


def refuse(db, column, **columns):
    """Submits what must be refused because of that column; returns the server's diagnosis."""
    with pytest.raises(psycopg.Error) as refused:
        db.submit(**columns)
    diag = refused.value.diag
    said = f"{columns}: {refused.value}"
    assert diag.severity == "ERROR" and diag.sqlstate != "XX000" and diag.message_hint, said
    assert diag.column_name == column and diag.message_primary.startswith(f"{column}: "), said
    assert "\n" not in diag.message_primary, said
    return diag


@pytest.fixture
def mistakes(db):
    """A database to make mistakes in. At the end nothing has changed."""
    prepare(db)
    yield db
    assert db.one("SELECT count(*) FROM backfill.job") == 0
    for table in ("t", "x"):
        assert db.counts(table) == {0: 10}


NO_KEY = "no key to walk by"
BAD_TARGETS = [
    ("v", "is a view"), ("m", "is a materialized view"), ("foreign_t", "is a foreign table"),
    ("s", "is a sequence"),
    ("t_pkey", "is an index"), ("pair", "is a composite type"), ("temporary", "is a temporary table"),
    ("pg_class", "is a system table"),
    ("backfill.job", "is a system table"), ("information_schema.sql_features", "is a system table"),
    ("keyless", NO_KEY),
    ("nullable", NO_KEY), ("partly", NO_KEY), ("computed", NO_KEY), ("hashed", NO_KEY), ("mixed", NO_KEY),
    ("not_unique", NO_KEY),
    ("p", "public.p2 has no key to walk by"), ("pf", "its partition public.pf1 is a foreign table"),
    ("999999", "no table with OID 999999"),
]


def test_targets_that_are_no_tables_to_fill(mistakes):
    for target, reason in BAD_TARGETS:
        diag = refuse(mistakes, "target", target=target, set_clause="n = 1")
        assert reason in diag.message_primary, (target, diag.message_primary)


def test_table_that_is_not_there(mistakes):
    with pytest.raises(psycopg.errors.UndefinedTable, match='"nonsense" does not exist'):
        mistakes.submit(target="nonsense", set_clause="n = 1")


SET_CLAUSES = [
    "n = 1; DROP TABLE x --", "n = 1; DELETE FROM x; --", "n = 1;", "n = 1 WHERE true --", "n = 1 WHERE true",
    "n = 1 WHERE true /*",
    "n = 1 /*", "n = 1 */", "n = 'a", "n = 1'", "n = $$1", "n = 1)", "n = (1", "n = 1) --", 'n = "1',
    "n = 1 RETURNING id", "n = 1 FROM x WHERE true --",
    "", " ", "--", "n", "n =", "n = ", "n == 1", "nonsense = 1", "n = nonsense", "n = 'text'",
    "n = nonsense(1)", "id = DEFAULT + 1", "n = 1, n = 2",
    "n = (SELECT n FROM keyless, nonsense)", "n = count(*)", "n = $3", "(n, id) = (1)",
    "n = 1 WHERE id IN (SELECT 1); DROP TABLE x; SELECT (1",
    "n = 1 WHERE CURRENT OF c", "ctid = '(0,1)'", "tableoid = 1",
]


def test_set_clauses_that_are_wrong_or_want_to_get_out(mistakes):
    for clause in SET_CLAUSES:
        refuse(mistakes, "set_clause", set_clause=clause)


WHERE_CLAUSES = [
    "true) OR (true", "true; DROP TABLE x", "true; DROP TABLE x --", "true)", "(true", "true /*", "true */",
    "'a", "n = 'a", "", "n", "nonsense = 1",
    "true LIMIT 1", "true ORDER BY 1", "true FOR UPDATE", "true UNION SELECT", "true GROUP BY id",
    "true RETURNING 1", "n = $5", "count(*) > 1",
    "true) --", "true) RETURNING (1", "id IN (SELECT id FROM x) )--(", "n IS NUL", "$$", "x.id = 1",
]


def test_where_clauses_that_are_wrong_or_want_to_get_out(mistakes):
    for clause in WHERE_CLAUSES:
        refuse(mistakes, "where_clause", set_clause="n = 1", where_clause=clause)


STATEMENTS = [
    "UPDATE t SET n = 1", "UPDATE t SET n = 1 WHERE true", "UPDATE t SET n = 1 WHERE {Batch}",
    "UPDATE t SET n = 1 WHERE {batches}",
    "UPDATE t SET n = 1 WHERE {batch}; DROP TABLE x", "UPDATE t SET n = 1 WHERE {batch};DROP TABLE x;--",
    "DROP TABLE x; UPDATE t SET n = 1 WHERE {batch}",
    "UPDATE t SET n = 1 -- WHERE {batch}", "UPDATE t SET n = 1 /* {batch} */",
    "UPDATE t SET n = length('{batch}')", "SELECT * FROM t WHERE {batch}",
    "DROP TABLE x -- {batch}", "TRUNCATE x /* {batch} */", "UPDATE t SET n = 1 WHERE {batch",
    "UPDATE t SET n = 1 WHERE {batch o}",
    'UPDATE t SET n = 1 WHERE {batch "o}', "UPDATE t SET n = 1 WHERE {batch t; DROP TABLE x}",
    "DO $$ BEGIN DELETE FROM x; END $$ -- {batch}",
    "EXPLAIN ANALYZE DELETE FROM x -- {batch}", "ANALYZE DELETE FROM x WHERE {batch}",
    "ANALYZE UPDATE t SET n = 1 WHERE {batch}", "VACUUM x -- {batch}",
    "ANALYZE) DELETE FROM x WHERE {batch}", "CREATE TABLE y AS SELECT * FROM t WHERE {batch}",
    "COPY t TO PROGRAM 'true' -- {batch}",
    "WITH d AS (DELETE FROM x RETURNING 1) SELECT * FROM d, t WHERE {batch}", "EXECUTE q ({batch})",
    "CALL backfill.wait('{batch}')", "{batch}", "VALUES ({batch})",
    "UPDATE nonsense SET n = 1 WHERE {batch}", "UPDATE x SET n = 1 WHERE {batch nonsense}",
]


def test_statements_that_are_wrong_or_want_to_get_out(mistakes):
    for statement in STATEMENTS:
        refuse(mistakes, "statement", statement=statement)


def test_jobs_that_say_too_much_or_too_little(mistakes):
    batch = "UPDATE t SET n = 1 WHERE {batch}"
    for column, columns in [
        ("set_clause", {}),
        ("statement", {"set_clause": "n = 1", "statement": batch}),
        ("where_clause", {"statement": batch, "where_clause": "true"}),
        ("wanted", {"set_clause": "n = 1", "wanted": "cancel"}),
        ("wanted", {"set_clause": "n = 1", "wanted": "finish"}),
        ("key", {"set_clause": "n = 1", "key": ["nonsense"]}),
        ("key", {"set_clause": "n = 1", "key": ["n"]}),
        ("key", {"set_clause": "n = 1", "key": ["id", "n"]}),
        ("key", {"set_clause": "n = 1", "key": ["id", "id"]}),
    ]:
        refuse(mistakes, column, **columns)


@pytest.mark.parametrize("column, value", [
    ("scan", "heap"), ("on_error", "ignore"), ("target_ms", 0), ("target_ms", 10001), ("workers", 0), ("workers", 65),
    ("max_rows_per_s", 0), ("max_rows_per_s", -1), ("max_rows_per_s", 5000000000),
    ("wanted", "stop"), ("name", ""),
    ("settings", [1]), ("settings", "x"),
])
def test_values_out_of_range_are_refused(db, column, value):
    db.table(rows=10)
    with pytest.raises(psycopg.Error):
        db.submit(set_clause="n = 1", **{column: value})
    assert db.one("SELECT count(*) FROM backfill.job") == 0


def test_malformed_interval_is_refused(db):
    db.table(rows=10)
    with pytest.raises(psycopg.errors.InvalidDatetimeFormat):
        db.submit(set_clause="n = 1", max_lag="soonish")


# ---- What only a session can know: refused in preflight, before anything is changed

def test_batch_that_would_read_the_whole_table_is_refused_in_preflight(db):
    db.table(rows=1000)
    db.app.execute("CREATE TABLE x (id bigint, n int)")
    db.daemon()
    for statement in ("UPDATE t SET n = n + 1 WHERE {batch} OR n >= 0",
                      "UPDATE t SET n = t.n + 1 FROM t AS o WHERE o.id = t.n AND {batch o}"):
        job = db.finish(db.submit(statement=statement), "failed")
        assert "would read the whole table" in job["error"] and job["hint"] and job["phase"] == "preflight"
    assert db.counts() == {0: 1000}


def test_table_that_lost_its_key_before_the_job_began(db):
    db.table(rows=100)
    name = db.submit(set_clause="n = n + 1")
    db.app.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    db.daemon()
    job = db.finish(name, "failed")
    assert NO_KEY in job["error"] and job["hint"] and db.counts() == {0: 100}


def test_table_that_is_gone_before_the_job_began(db):
    db.table(rows=100)
    name = db.submit(set_clause="n = n + 1")
    db.app.execute("DROP TABLE t")
    db.daemon()
    job = db.finish(name, "failed")
    assert job["error"] and job["hint"]


def test_column_that_is_gone_before_the_job_began(db):
    db.table(rows=100, columns="n int NOT NULL DEFAULT 0, m int")
    name = db.submit(set_clause="n = n + m")
    db.app.execute("ALTER TABLE t DROP COLUMN m")
    db.daemon()
    job = db.finish(name, "failed")
    assert 'column "m" of public.t, which job' in job["error"] and "was dropped" in job["error"] and db.counts() == {0: 100}


def test_password_on_the_command_line_is_refused():
    refused = run("-d", "host=/nowhere dbname=app password=geheim", "--check")
    assert refused.returncode == 2 and "holds a password" in refused.stderr and "HINT" in refused.stderr and "geheim" not in refused.stderr
