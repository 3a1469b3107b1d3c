"""Each object of the control schema, with whose it is and who may what, stands in objects.txt. A new one, or other rights, are decided there."""

import os
import pathlib
import re

REPO = pathlib.Path(__file__).resolve().parents[2]
FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "objects.txt")
HEAD = """# What the control schema has, a line each: what it is, its owner, whose rights it runs with, whose search_path, who may what.
# Behind "#" stands the reason, where one is needed: of a function that is SECURITY DEFINER, has the caller's search_path, or is open to all.
# test_objects.py compares it with a schema that was just installed. BACKFILL_OBJECTS=write pytest test_objects.py writes it anew: read the
# difference, and give the reasons.
"""

WHO = """SELECT string_agg(CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || coalesce(' ' || nullif(string_agg, ''), ''), ', ' ORDER BY a.grantee::regrole::text)
           FROM (SELECT grantee, CASE WHEN %s THEN '' ELSE string_agg(lower(privilege_type), ' ' ORDER BY privilege_type) END FROM aclexplode(%s) WHERE grantee <> %s GROUP BY grantee) a"""

OBJECTS = f"""
SELECT format('%s %s | %s | %s | %s', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'c' THEN 'type' ELSE c.relkind::text END, c.relname,
              c.relowner::regrole, CASE WHEN c.relkind = 'r' AND c.relrowsecurity THEN 'row-level security' WHEN c.relkind = 'v' AND c.reloptions @> '{{security_invoker=true}}' THEN 'invoker'
                                        WHEN c.relkind = 'v' THEN 'definer' ELSE '-' END,
              coalesce(({WHO % ("false", "c.relacl", "c.relowner")}), '-'))
  FROM pg_class c WHERE c.relnamespace = 'backfill'::regnamespace
UNION ALL
SELECT format('column %s.%s | %s', c.relname, a.attname, ({WHO % ("false", "a.attacl", "c.relowner")}))
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = 'backfill'::regnamespace AND a.attacl IS NOT NULL
UNION ALL
SELECT format('%s %s | %s | %s | %s | %s', CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, replace(p.oid::regprocedure::text, 'backfill.', ''), p.proowner::regrole,
              CASE WHEN p.prosecdef THEN 'definer' ELSE 'invoker' END,
              CASE WHEN p.proconfig::text LIKE '%search_path=pg_catalog, pg_temp%' THEN 'pinned' WHEN p.proconfig::text LIKE '%search_path=%' THEN 'pinned otherwise' ELSE 'caller''s path' END,
              CASE WHEN p.proacl IS NULL THEN 'PUBLIC' ELSE coalesce(({WHO % ("true", "p.proacl", "p.proowner")}), '-') END)
  FROM pg_proc p WHERE p.pronamespace = 'backfill'::regnamespace
UNION ALL
SELECT format('trigger %s.%s | %s', t.tgrelid::regclass, t.tgname, replace(regexp_replace(pg_get_triggerdef(t.oid), '^CREATE TRIGGER \\S+ | ON backfill\\.\\S+|FOR EACH ROW ', '', 'g'), 'backfill.', ''))
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'backfill'::regnamespace AND NOT t.tgisinternal
UNION ALL
SELECT format('policy %s.%s | %s | %s', p.polrelid::regclass, p.polname, CASE p.polcmd WHEN '*' THEN 'all' WHEN 'r' THEN 'select' ELSE p.polcmd::text END,
              regexp_replace(replace(concat_ws(' check ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), 'backfill.', ''), '\\s+', ' ', 'g'))
  FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = 'backfill'::regnamespace
UNION ALL
SELECT format('event trigger %s', e.evtname) FROM pg_event_trigger e
UNION ALL
SELECT format('schema backfill | %s | %s', n.nspowner::regrole, ({WHO % ("false", "n.nspacl", "n.nspowner")})) FROM pg_namespace n WHERE n.nspname = 'backfill'
"""


def objects(db):
    session = db.connect("postgres")
    session.execute("SET search_path = pg_catalog")
    rows = [row[0].replace("backfill.", "") for row in session.execute(OBJECTS)]
    session.close()
    return sorted(rows)


def decided():
    """The lines of the file, each with its reason."""
    with open(FILE) as file:
        lines = [line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")]
    return {line.split(" # ")[0]: (line.split(" # ") + [""])[1] for line in lines}


def needs_reason(line):
    return bool(re.match(r"(function|procedure|view) ", line)) and (" | definer" in line or "caller's path" in line or "pinned otherwise" in line or "| PUBLIC" in line)


def test_each_object_of_the_schema_was_decided_on(db):
    there = objects(db)
    known = decided() if os.path.exists(FILE) else {}
    if os.environ.get("BACKFILL_OBJECTS") == "write":
        names = {line.split("(")[0]: reason for line, reason in known.items() if reason}
        with open(FILE, "w") as file:
            file.write(HEAD)
            for line in there:
                reason = known.get(line) or names.get(line.split("(")[0])
                file.write(line + (f" # {reason}" if reason and needs_reason(line) else "") + "\n")
        known = decided()
    new, gone = sorted(set(there) - set(known)), sorted(set(known) - set(there))
    assert not new and not gone, "decide who may what, and write it into objects.txt:\n" + "\n".join([f"+ {line}" for line in new] + [f"- {line}" for line in gone])
    assert [line for line, reason in known.items() if needs_reason(line) and not reason] == [], "these need a reason"


def test_schema_is_the_daemons_and_nothing_of_it_is_open_to_all(db):
    for line in objects(db):
        assert "PUBLIC" not in line, line
        if re.match(r"(table|view|sequence|index|type|function|procedure|schema) ", line):
            assert "| backfilld |" in line, line


def test_each_column_that_the_daemon_reads_is_one_of_a_statement():
    """A name that no statement gives would be read as NULL, without a word."""
    code = {path.name: path.read_text() for path in (REPO / "daemon").rglob("*.c")}
    read = {name for text in code.values() for name in re.findall(r'\bresult_(?:text|number|is_true)\([^;"]*?, "(\w+)"\)', text)}
    statements = (REPO / "lib/schema/sql.c").read_text() + code["check.c"] + code["install.c"]
    statements = re.sub(r'\\n"[\\\s]*"', " ", statements)
    given = set(re.findall(r"\bAS (\w+)|(?:SELECT|,) +(?:\w+[.])?(\w+)(?= *,| +FROM)", statements))
    given = {name for names in given for name in names}
    assert len(read) > 60 and read <= given, read - given
