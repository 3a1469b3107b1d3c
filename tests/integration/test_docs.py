"""The man pages, the README, the sample file and the catalog say what the code has, and nothing that it has not."""

import json
import os
import re

import pytest

from daemon import ROOT, run
from pages import BOLD, CONF, DAEMON, INTERNALS, PAGES, README, RECIPES, SCHEMA, read, section

SQL_FUNCTIONS = "".join(read(f"lib/schema/{name}") for name in sorted(os.listdir(f"{ROOT}/lib/schema")) if name.startswith("code_"))

CATALOG, SAMPLE = read("systemd/backfilld.catalog"), read("conf/backfilld.conf")


# ---- What a page says

def without_examples(text):
    return re.sub(r"^```$.*?^```$", "", text, flags=re.M | re.S)


def before_subsections(text):
    return re.split(r"^## ", text, maxsplit=1, flags=re.M)[0]


def terms(text):
    """What a list of definitions defines: the bold words that begin a line which has one below that is indented once more."""
    found = []
    for line in re.findall(r"^(\*.*)\n(?=\t\S)|^\t(\*.*)\n(?=\t\t\S)", without_examples(text), re.M):
        beginning = re.match(rf"{BOLD}(?: \(\w+\))?(?:, {BOLD}(?: \(\w+\))?)*", "".join(line))
        found += re.findall(BOLD, beginning[0])
    return found


def table(text):
    """The first bold words of a table's rows."""
    return re.findall(rf"^\|  {BOLD}$", text, re.M)


def same(documented, there, what):
    documented, there = set(documented), set(there)
    assert there, f"the code has no {what}: this test looks for them in the wrong place"
    assert documented == there, (f"{what}: not documented: {sorted(there - documented)};"
                                 f" documented, but not there: {sorted(documented - there)}")


# ---- What the code says

def strings_of_table(path, name):
    """The strings of a C table of names: [JOB_QUEUED] = "queued"."""
    body = re.search(rf"\b{name}\b[^=;]*= \{{(.*?)^\}};", read(path), re.M | re.S)[1]
    return re.findall(r'\[\w+\] = \{?"(\w+)"', body)


def config_keys():
    """group -> key -> (kind, least, most, default): the rows of daemon/base/config.c's tables."""
    source = read("daemon/base/config.c")
    words = {name: re.findall(r'"(\w+)"', names)
             for name, names in re.findall(r"static const char \*const (\w+)\[\] = \{(.*?)\};", source)}
    groups = {}
    for name, rows in re.findall(r"static const struct key (\w+)_keys\[\] = \{(.*?)^\};", source, re.M | re.S):
        groups[name] = {}
        for key, kind, numbers, names in re.findall(
                r'\{"(\w+)", VALUE_(\w+),\s*(?:offsetof\([^;]*?\)|LIMIT\(\w+\)|0),\s*([-\w.,\s]+?),\s*(\w+)\}', rows):
            least, most, default = (float(number) for number in numbers.split(","))
            if kind == "NAME":
                default = words[names][0]
            groups[name][key] = (kind, least, most, default)
        assert len(groups[name]) == len(re.findall(r'\{"', rows)), f"some rows of {name}_keys were not read"
    return groups


KEYS = config_keys()
GROUPS = {"database": "databases", "batch": "batch", "throttle": "throttle", "jobs": "jobs", "metrics": "metrics", "log": "log"}
SIGNALS = strings_of_table("lib/pressure/pressure.c", "signals")
JOURNAL = read("daemon/base/journal.c")
MESSAGE_IDS = re.findall(r'\[JOURNAL_\w+\] = "([0-9a-f]{32})"', JOURNAL)
ERROR_CLASSES = re.findall(r'case RETRY_\w+: return "(\w+)"', read("lib/job/retry.c"))


# ---- The command line, the file, the journal, metrics: without a server

def test_options():
    same([word for word in terms(section(DAEMON, "OPTIONS")) if word.startswith("-")],
         re.findall(r"(?<![\w-])(--?[a-z]+(?:-[a-z]+)*)\b", run("--help").stdout.split("\n\n")[1]) + ["-h"], "options")
    same(re.findall(r"--[a-z-]+", section(DAEMON, "SYNOPSIS")), ["--install", "--check", "--drain", "--no-throttle"], "modes")


def test_default_file():
    path = re.search(r"default (/\S+)", run("--help").stdout)[1]
    assert path in section(DAEMON, "FILES") and path in section(DAEMON, "OPTIONS") and path in CONF and path in README


def test_signals_that_are_caught():
    caught = re.findall(r"evsignal_new\(m\.?\S* ?(?:\w+, )?(SIG\w+)", read("daemon/service/manager.c"))
    same([word for word in terms(section(DAEMON, "SIGNALS"))], caught, "signals that are caught")


def test_groups_of_settings():
    named = re.findall(r'strcmp\(name, "(\w+)"\) == 0', read("daemon/base/config.c"))
    same(GROUPS.values(), named, "groups of settings")
    assert set(GROUPS) | {"probe"} == set(KEYS)
    for group in GROUPS.values():
        assert group.upper() in CONF


@pytest.mark.parametrize("group", GROUPS)
def test_keys_in_the_manual(group):
    defined = terms(section(CONF, GROUPS[group].upper()))
    same(defined, set(KEYS[group]) | (set(KEYS["probe"]) if group == "throttle" else set()), f"keys of {group}")


def test_defaults_and_ranges_in_the_manual():
    lines = {}
    for group, name in GROUPS.items():
        for key, default, least, most in re.findall(
                r"^\*(\w+)\* = (.+?)(?: \(([\d.]+) to ([\d.]+)\))?$", section(CONF, name.upper()), re.M):
            lines[group, key] = (default, least, most)
    for group in GROUPS:
        for key, (kind, least, most, default) in KEYS[group].items():
            if kind in ("INT", "LIMIT", "WHOLE_LIMIT"):
                says = lines[group, key]
                assert (float(says[1]), float(says[2]), float(says[0])) == (least, most, default), f"{group}.{key}: {says}"
            elif kind == "NAME":
                assert lines[group, key][0] == f'"{default}"', f"{group}.{key}"
            elif kind in ("STANDBYS", "PROBES"):
                assert re.fullmatch(r"\[ \]|\( \)", lines[group, key][0]), f"{group}.{key}"


def test_words_that_a_key_may_have():
    source = read("daemon/base/config.c")
    for group, key, table_name in (("BATCH", "synchronous_commit", "commit_names"), ("THROTTLE", "missing_standby", "missing_names"),
                                   ("LOG", "level", "level_names")):
        text = section(CONF, group)
        text = text[text.index(f"*{key}*"):].split("\n\n")[0]
        words = re.findall(r'"(\w+)"', re.search(rf"{table_name}\[\] = \{{(.*?)\}}", source)[1])
        same(re.findall(BOLD, text.split("\n", 1)[1]), set(words) | ({"log"} if group == "LOG" else set()), f"words of {key}")


@pytest.mark.parametrize("group", GROUPS)
def test_sample_file(group):
    """Each key stands there, with its default; what is off by default stands in a comment."""
    name = GROUPS[group]
    body = re.search(rf"^(?:# )?{name} *= *(\{{[^\n]*\}}|[({{].*?^[)}}]);", SAMPLE, re.M | re.S)[1]
    found = dict(re.findall(r"(\w+) *= *([^;\n]+);", re.sub(r"#.*", "", body)))
    same(found, KEYS[group], f"keys of {name} in the sample file")
    for key, (kind, _, _, default) in KEYS[group].items():
        if kind in ("INT", "LIMIT", "WHOLE_LIMIT"):
            assert float(found[key]) == default, f"{name}.{key}"
        elif kind == "NAME":
            assert found[key].strip('"') == default, f"{name}.{key}"


def test_examples_of_the_file_are_taken(tmp_path):
    examples = re.findall(r"^```\n(.*?)^```$", section(CONF, "EXAMPLES"), re.M | re.S)
    metrics, = re.findall(r"`(metrics = [^`]+)`", README)
    examples.append('databases = ( { conninfo = "dbname=app"; } );' + metrics)
    for text in examples:
        (tmp_path / "conf").write_text(text)
        assert run("-c", str(tmp_path / "conf"), "--check").returncode != 2, text  # 2: the file is refused


def test_signals_that_slow_a_job():
    """Those with a setting are named there, the other two below."""
    throttle = section(CONF, "THROTTLE")
    same(re.findall(r"^\tSignal \*(\w+)\*", throttle, re.M), set(SIGNALS) - {"monitor", "rate"}, "signals")
    assert "*monitor*" in throttle and "*rate*" in throttle
    settings = dict(re.findall(r"^\*(\w+)\* = .*\n\tSignal \*(\w+)\*", throttle, re.M))
    limits = dict(re.findall(r'\{"(max_\w+)", VALUE_\w+, LIMIT\(SIGNAL_(\w+)\)', read("daemon/base/config.c")))
    enum = dict(re.findall(r'\[SIGNAL_(\w+)\] = \{"(\w+)"', read("lib/pressure/pressure.c")))
    assert limits and {key: enum[signal] for key, signal in limits.items()} == {key: settings.get(key) for key in limits}


def test_signals_in_the_guide():
    same(terms(section(SCHEMA, "Signals")), SIGNALS, "signals in the guide to trouble")
    assert f"{len(SIGNALS) - 2} signals" in INTERNALS  # and rate, monitor


def code():
    """All that can say something: C, and SQL as it comes out of its quotes."""
    files = [f"{at}/{name}" for folder in ("lib", "daemon") for at, _, names in sorted(os.walk(f"{ROOT}/{folder}")) for name in sorted(names) if name.endswith((".c", ".sql"))]
    return " ".join(read(os.path.relpath(path, ROOT)).replace("''", "'") for path in files)


def test_reasons_in_the_guide():
    """Each is what the code says, word by word; in the README too."""
    said = code()
    reasons = terms(section(SCHEMA, "Other reasons"))
    assert len(reasons) > 9
    for words in reasons + ["is still used by", "no daemon serves this database"]:
        assert words in said, f"nothing says {words!r}"
    for row in section(README, "When it is slow or fails").splitlines():
        for words in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
            words = words.rstrip(" …")
            assert words in said or words in SIGNALS or words in ("backfill.status", "man backfill-schema", "pid"), f"nothing says {words!r}"
    assert set(terms(section(SCHEMA, "By state"))) <= set(strings_of_table("lib/job/job.c", "state_names"))


def test_journal_fields():
    there = re.findall(r'add_field\(\s*&?\w+, "([A-Z_]+)=', JOURNAL)
    same(table(section(DAEMON, "JOURNAL")), there, "journal fields")
    same(re.findall(r"@(\w+)@", CATALOG), set(re.findall(r"@(\w+)@", CATALOG)) & set(there), "fields in the catalog")


def test_message_ids():
    assert len(MESSAGE_IDS) == len(set(MESSAGE_IDS)) == len(re.findall(r"^    JOURNAL_\w+,", read("daemon/base/journal.h"), re.M))
    same(re.findall(rf"^\*([0-9a-f]{{32}})\*$", section(DAEMON, "JOURNAL"), re.M), MESSAGE_IDS, "MESSAGE_IDs")
    same(re.findall(r"^-- ([0-9a-f]{32})$", CATALOG, re.M), MESSAGE_IDS, "entries of the catalog")
    same(re.findall(r"\b[0-9a-f]{32}\b", DAEMON), MESSAGE_IDS, "MESSAGE_IDs in examples")


def metric_names():
    """As they stand in what is served: a counter ends with _total, an info with _info."""
    ending = {"COUNTER": "_total", "INFO": "_info"}
    return [name + ending.get(kind, "") for name, kind in re.findall(
        r'FAMILY\(\s*"(\w+)",\s*(\w+),', read("daemon/show/metrics.c"))]


def test_metrics():
    text = section(DAEMON, "METRICS")
    documented = [f"backfilld_{name}" for name in terms(text) if not name.startswith("/")]
    documented += re.findall(r"\*(process_\w+)\*", text)
    same(documented, metric_names(), "metrics")
    same(re.findall(r"^\*(/\w*)\*", text, re.M), re.findall(r'strcmp\(request->path, "(/\w*)"\)', read("daemon/show/web.c")), "paths")


def test_states_phases_and_wishes():
    same(terms(section(SCHEMA, "States")), strings_of_table("lib/job/job.c", "state_names"), "states")
    phases = strings_of_table("lib/job/job.c", "phase_names")
    same(terms(section(SCHEMA, "Phases")), set(phases) - {"tidy"}, "phases")
    row = re.search(r"\|  \*BACKFILL_PHASE\*\n(.*?)\n\|", DAEMON, re.S)[1]
    same(re.findall(BOLD, row), phases, "phases in the journal's table")
    wanted = re.search(r"^\*wanted\* text.*?\n\n", SCHEMA, re.M | re.S)[0]
    same(re.findall(BOLD, wanted)[2:], strings_of_table("lib/job/job.c", "wanted_names"), "wishes")


def test_classes_of_errors():
    text = re.search(r"^\*retries\*\n.*?(?=^\*)", section(SCHEMA, "REPORT"), re.M | re.S)[0]
    same(set(re.findall(BOLD, text)) - {"retries"}, ERROR_CLASSES, "classes of errors in the report")
    text = section(DAEMON, "METRICS")
    same(re.findall(BOLD, text[text.index("Classes:"):].split("\n\n")[0]), ERROR_CLASSES, "classes of errors of the metrics")


def test_errors_that_are_explained():
    """Each is what the code says, word by word."""
    said = SQL_FUNCTIONS.replace("''", "'")
    for words in terms(section(SCHEMA, "ERRORS")):
        if words not in ("row-level security",):  # the server's own
            assert words in said, f"no error says {words!r}"


def test_pages_name_each_other_and_fit_80_columns():
    for name, page in PAGES.items():
        assert page.startswith(f"{name}\n")
        for other in PAGES:
            base, number_of = other[:-3], other[-3:]
            assert other == name or f"*{base}*{number_of}" in section(page, "SEE ALSO"), f"{name} doesn't name {other}"
        for line in "\n".join(re.findall(r"^```\n(.*?)^```$", page, re.M | re.S)).splitlines():
            assert len(line) <= 69, f"{name}: too long for 80 columns: {line}"


# ---- The schema, as it is installed

def columns_of(db, table_name):
    return [name for name, in db.all("SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                                     " AND NOT attisdropped", f"backfill.{table_name}")]


def settable(db):
    return [name for name, in db.all("SELECT column_name::text FROM information_schema.column_privileges WHERE grantee ="
                                     " 'backfill_submitter' AND table_schema = 'backfill' AND table_name = 'job' AND"
                                     " privilege_type = 'INSERT'")]


def test_columns_of_a_job(db):
    mine = set(settable(db))
    same(terms(before_subsections(section(SCHEMA, "WHAT A JOB SAYS"))), mine, "columns that a job says")
    same(terms(before_subsections(section(SCHEMA, "WHAT A JOB TELLS"))), set(columns_of(db, "job")) - mine, "columns that a job tells")


def test_which_columns_may_be_changed(db):
    text = before_subsections(section(SCHEMA, "WHAT A JOB SAYS"))
    there = [name for name, in db.all("SELECT column_name::text FROM information_schema.column_privileges WHERE grantee ="
                                      " 'backfill_submitter' AND table_name = 'job' AND privilege_type = 'UPDATE'")]
    there.remove("asked")  # by which retry and forget ask
    same(terms(text[text.index("These may be changed"):]), there, "columns that may be changed")


def test_types_of_columns(db):
    types = dict(db.all("SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
                        " WHERE attrelid = 'backfill.job'::regclass AND attnum > 0 AND NOT attisdropped"))
    for name, type_name in re.findall(r"^\*(\w+)\* ([a-z]+(?:\[\])?)[,\n]", section(SCHEMA, "WHAT A JOB SAYS"), re.M):
        assert types[name] == type_name, name


# Names in a text that are no names of ours.
TAKEN = {
    "the server's": {"pg_stat_replication", "pg_stat_statements", "pg_stat_statements_reset", "pg_hba", "pg_ident", "pg_cron", "pg_monitor", "pg_signal_backend", "pg_upgrade", "pg_recvlogical",
                     "pg_receivewal", "deadlock_timeout", "synchronous_commit", "pg_replication_slots", "pg_terminate_backend", "rds_iam"},
    "an example's": {"amount_cents", "qty_old", "first_name", "last_name"},
    "a tool's": {"--changeset", "disable_ddl_transaction", "get_context", "autocommit_block", "maintenance_tasks", "online_migrations", "dirty_background_bytes"},
}


def names(text):
    """What looks like a name of the schema, of a setting or of an option."""
    return set(re.findall(r"(?<![\w/.-])(--[a-z][a-z-]+[a-z]|[a-z]+(?:_[a-z]+)+)(?![\w/-])", text))


def test_names_in_readme_recipes_and_internals_are_there(db):
    """Columns, functions, settings, signals, options: what a text calls by name, the code has."""
    there = {name for name, in db.all("SELECT attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'backfill'::regnamespace UNION"
                                      " SELECT proname::text FROM pg_proc WHERE pronamespace = 'backfill'::regnamespace")}
    there |= {key for group in KEYS.values() for key in group} | set(SIGNALS) | {"backfill_submitter"}
    there |= set(re.findall(r"--[a-z-]+", run("--help").stdout))
    others = set().union(*TAKEN.values())
    for name, text in (("README", " ".join(re.findall(r"`[^`]+`", re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S)))),
                       ("recipes", " ".join(re.findall(BOLD, without_examples(RECIPES)))), ("internals", " ".join(re.findall(BOLD, INTERNALS)))):
        found = {word for word in names(text) if not word.startswith("test_")}
        assert found & there, f"this test finds no name in {name}"
        assert found <= there | others, f"{name}: not there: {sorted(found - there - others)}"


def test_unit_names_the_pages():
    unit = read("systemd/backfilld.service.in")
    same(re.findall(r"man:(\S+)", " ".join(re.findall(r"^Documentation=(.*)$", unit, re.M))), PAGES, "pages that the unit names")


def test_paths_in_the_readme_are_there():
    paths = re.findall(r"(?<![\w/])((?:tests|conf|lib|daemon)/[\w./-]*\w)", README + INTERNALS) + re.findall(r"\]\((\w[^)]+)\)", README)
    assert len(paths) > 8
    for path in paths:
        assert os.path.exists(f"{ROOT}/{path}"), path


def test_readme_is_read_in_one_go():
    assert len(README.splitlines()) <= 150
    for page in PAGES:
        assert f"man {page[:-3]}" in README, f"the README doesn't name {page}"


@pytest.mark.parametrize("table_name, marker", [("left_behind", "*backfill.left_behind* holds"), ("range", "*backfill.range* holds")])
def test_columns_of_other_tables(db, table_name, marker):
    text = section(SCHEMA, "OTHER TABLES")
    text = text[text.index(marker):]
    text = re.split(r"^\*backfill\.\w+\* holds", text[len(marker):], maxsplit=1, flags=re.M)[0]
    same(terms(text), columns_of(db, table_name), f"columns of {table_name}")


def test_columns_of_installed_and_reasons(db):
    text = section(SCHEMA, "OTHER TABLES")
    same(re.findall(BOLD, text[text.index("*backfill.installed* holds"):])[1:], columns_of(db, "installed"), "columns of installed")
    check = db.one("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'left_behind_reason_check'")
    reasons = re.search(r"^\*reason\*\n(.*?)^\*", text, re.M | re.S)[1]
    same(re.findall(BOLD, reasons), re.findall(r"'(\w+)'", check), "reasons")


def test_columns_of_status(db):
    same(terms(section(SCHEMA, "STATUS")), columns_of(db, "status"), "columns of status")


INNER = {"short_time", "two_lines", "is_served", "job_named", "no_commit_here", "want"}  # of what people call, shared by several


def test_functions(db):
    names = re.findall(r"CREATE OR REPLACE (?:FUNCTION|PROCEDURE) backfill\.(\w+)", read("lib/schema/code_5_people.sql"))
    documented = re.findall(r"^(?:.*[,*])?\*?(?:CALL )?backfill\.(\w+)\*\(", section(SCHEMA, "FUNCTIONS"), re.M)
    documented += re.findall(r"\*backfill\.(\w+)\*\(", section(SCHEMA, "FUNCTIONS"))
    same(documented, (set(names) - INNER) | {"steps"}, "functions for people")
    for name, arguments in re.findall(r"\*(?:CALL )?backfill\.(\w+)\*\(([\w, ]*)\)", section(SCHEMA, "FUNCTIONS")):
        there = db.one("SELECT proargnames[1:pronargs]::text[] FROM pg_proc WHERE proname = %s AND pronamespace = 'backfill'::regnamespace", name)
        assert (there or []) == [word for word in arguments.split(", ") if word], name
        assert db.one("SELECT has_function_privilege('backfill_submitter', oid, 'EXECUTE') FROM pg_proc WHERE proname = %s"
                      " AND pronamespace = 'backfill'::regnamespace", name), f"who submits a job may not call {name}"


def test_functions_and_tables_that_are_named_are_there(db):
    there = {name for name, in db.all("SELECT proname::text FROM pg_proc WHERE pronamespace = 'backfill'::regnamespace UNION"
                                      " SELECT relname::text FROM pg_class WHERE relnamespace = 'backfill'::regnamespace")}
    for text in (*PAGES.values(), README, CATALOG):
        named = set(re.findall(r"\bbackfill\.([a-z_]+)", text))
        assert named <= there, f"named, but not there: {sorted(named - there)}"


def test_columns_of_results(db):
    text = section(SCHEMA, "FUNCTIONS")
    for name in ("effect", "steps"):
        says = text[text.index(f"*backfill.{name}*("):].split("\n\n")[0]
        there = db.one("SELECT array_agg(n ORDER BY ord) FROM pg_proc, unnest(proargnames::text[], proargmodes::text[]) WITH ORDINALITY AS a(n, m, ord)"
                       " WHERE proname = %s AND pronamespace = 'backfill'::regnamespace AND m = 't'", name)
        same(re.findall(BOLD, says.split("\n", 1)[1]), there, f"columns of {name}()")


def test_steps(db):
    rows = [(phase, step, " ".join(lock.split())) for phase, step, lock in re.findall(
        r"^\|  (\w+)\n:  ([\w ]+)\n:  (.*?)(?=\n\||\n\n)", section(SCHEMA, "Phases"), re.M | re.S)]
    assert rows == db.all("SELECT phase, step, lock FROM backfill.steps()")


def test_what_is_ignored_and_switched_off(db):
    for column, name in (("ignore", "kinds"), ("throttle_off", "signals")):
        says = re.search(rf"^\*{column}\* text\[\]\n.*?\n\n", SCHEMA, re.M | re.S)[0]
        words = re.search(rf"{name} +constant text\[\] := '\{{(.*?)\}}'", SQL_FUNCTIONS)[1].split(", ")
        others = {column, "drop_column", "backfilld.conf"}
        same(set(re.findall(BOLD, says)) - others, words, f"what {column} may hold")


def test_notifications(db):
    with db.connect() as listener:
        listener.execute("LISTEN backfill")
        db.table(rows=10)
        db.submit(set_clause="n = 1", wanted="pause")
        payload = json.loads(next(listener.notifies()).payload)
    same(terms(section(SCHEMA, "NOTIFICATIONS")), payload, "keys of a notification")


def keys_of(value):
    """All keys of an object and of objects in it, but not those that are names of signals, classes or statements."""
    found = set()
    for key, inner in value.items():
        found.add(key)
        if isinstance(inner, dict) and key not in ("throttled_s", "retries"):
            found |= keys_of(inner)
    return found


def test_report(db):
    """Each key of real reports is in the manual; each in the manual is in the code."""
    db.admin.execute("CREATE TABLE public.p (id bigint PRIMARY KEY, n int, m int); ALTER TABLE public.p OWNER TO app;"
                     "INSERT INTO p SELECT i FROM generate_series(1, 3000) i; ANALYZE p;"
                     "CREATE PUBLICATION all_of_it FOR TABLE p")
    names = [db.submit(target="p", set_clause="n = 1", dry_run=True),
             db.submit(target="p", add_column="k int", set_clause="k = 1", keep_in_sync=True, enforce=["NOT NULL k"])]
    assert db.drain().returncode == 0
    reported = set()
    for name in names:
        reported |= keys_of(db.job(name)["report"])
    text = section(SCHEMA, "REPORT")
    documented = set(re.findall(BOLD, text)) - {"backfill.job.report", "backfill.effect", "+", "-", "verify", *ERROR_CLASSES}
    assert reported and reported <= documented, f"not documented: {sorted(reported - documented)}"
    code = read("daemon/work/report.c") + SQL_FUNCTIONS
    missing = {key for key in documented if not re.search(rf"['\"\\]{key}['\"\\]", code)}
    assert not missing, f"documented, but not in the code: {sorted(missing)}"


def test_examples_of_jobs_are_taken(db):
    """Those of the manual and of the README, each in a transaction that is undone."""
    db.admin.execute("CREATE SCHEMA app AUTHORIZATION app")
    db.app.execute("CREATE TABLE app.orders (id bigint PRIMARY KEY, amount numeric, amount_cents bigint, created timestamptz)")
    texts = re.findall(r"^```(?:sql)?\n(.*?)^```$", SCHEMA + README, re.M | re.S)
    jobs = [job for text in texts for job in re.findall(r"INSERT INTO backfill\.job.*?;(?=[ ]*(?:--[^\n]*)?$)", text, re.M | re.S)]
    assert len(jobs) >= 6
    for job in jobs:
        with db.app.transaction(force_rollback=True):
            db.app.execute(job)
