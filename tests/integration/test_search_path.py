"""Nothing of ours is looked up along the caller's search_path, where somebody else's function, operator or type may be a better match."""

import concurrent.futures
import re

import psycopg
import pytest

from daemon import HOST_OFF, run
from database import Database
from qualified import unqualified
from waiting import wait_until

# A schema in which everything of pg_catalog that can be made anew is there again, and refuses: whoever has it first in the search_path, and
# doesn't say whose function, operator or type is meant, meets it.
HOSTILE = r"""
CREATE SCHEMA hostile;
DO $$
DECLARE
  f record;
  n integer := 0;
BEGIN
  FOR f IN SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
             FROM pg_proc p
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.prorettype NOT IN ('internal'::regtype, 'cstring'::regtype, 'trigger'::regtype)
              AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[]) t WHERE t::regtype::text IN ('internal', 'cstring', '"any"')) AND p.proargmodes IS NULL LOOP
    BEGIN
      EXECUTE format('CREATE FUNCTION hostile.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.proname, f.arguments, f.result, format('BEGIN RAISE EXCEPTION %L; END', 'not qualified: function ' || f.proname));
      n := n + 1;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END LOOP;
  FOR f IN SELECT name, repeat(', ' || type, i) AS arguments
             FROM unnest('{format, concat, concat_ws, jsonb_build_object, jsonb_build_array}'::text[]) name, unnest('{text, name, bigint, anyelement}'::text[]) type, generate_series(1, 6) i LOOP
    EXECUTE format('CREATE FUNCTION hostile.%I(text%s) RETURNS text LANGUAGE plpgsql AS %L', f.name, f.arguments, format('BEGIN RAISE EXCEPTION %L; END', 'not qualified: function ' || f.name));
  END LOOP;
  FOR f IN SELECT o.oid, o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprresult::regtype AS result, o.oprleft = 0 AS prefix
             FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace
            UNION ALL
           SELECT 0, name, type::regtype, type::regtype, 'boolean'::regtype, false
             FROM unnest('{=, <>, <, <=, >, >=}'::text[]) name, unnest('{regclass, regtype, regproc, regrole, regnamespace}'::text[]) type LOOP
    BEGIN
      EXECUTE format('CREATE FUNCTION hostile.op_%s_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.oid, n, concat_ws(', ', CASE WHEN NOT f.prefix THEN f.l END, f.r), f.result,
                     format('BEGIN RAISE EXCEPTION %L; END', format('not qualified: operator %s(%s, %s)', f.oprname, f.l, f.r)));
      EXECUTE format('CREATE OPERATOR hostile.%s (%s RIGHTARG = %s, FUNCTION = hostile.op_%s_%s)', f.oprname, CASE WHEN NOT f.prefix THEN format('LEFTARG = %s,', f.l) ELSE '' END, f.r, f.oid, n);
      n := n + 1;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END LOOP;
  FOR f IN SELECT t.typname FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typelem = 0 LOOP
    BEGIN
      EXECUTE format('CREATE DOMAIN hostile.%1$I AS pg_catalog.%1$I CONSTRAINT not_qualified CHECK (false)', f.typname);
      n := n + 1;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END LOOP;
  IF n < 2500 THEN RAISE EXCEPTION 'only % things', n; END IF;
END
$$;
GRANT USAGE ON SCHEMA hostile TO PUBLIC
"""

PLUS = "n OPERATOR(pg_catalog.+) 1"


@pytest.fixture(scope="module")
def hostile(cluster):
    """app's sessions have it first in their search_path."""
    db = Database(cluster)
    try:
        db.admin.execute(HOSTILE)
        db.admin.execute("""
            CREATE TABLE public.orders (id bigint PRIMARY KEY, amount int NOT NULL, n int NOT NULL DEFAULT 0, v int);
            INSERT INTO public.orders SELECT g, g % 50 + 1 FROM generate_series(1, 500) g;
            CREATE TABLE public.lines (id text COLLATE "C", at timestamptz, n int NOT NULL DEFAULT 0, PRIMARY KEY (id, at));
            INSERT INTO public.lines SELECT 'l' || g, now() FROM generate_series(1, 300) g;
            ALTER TABLE public.orders OWNER TO app; ALTER TABLE public.lines OWNER TO app; ANALYZE""")
        db.app.execute("SET search_path = hostile, pg_catalog, public")
        for unqualified_one in ("SELECT 'a'::pg_catalog.text || 'b'::pg_catalog.text", "SELECT 'a'::text", "SELECT lower('a'::pg_catalog.text)"):
            with pytest.raises(psycopg.Error, match="not.qualified"):
                db.app.execute(unqualified_one)
        db.daemon(max_rows=100)
        yield db
    finally:
        db.destroy()


def submit(db, target="public.orders", **columns):
    names = ", ".join(columns)
    return db.app.execute(f"INSERT INTO backfill.job (target, {names}) VALUES ('{target}', {', '.join(['%s'] * len(columns))}) RETURNING name", list(columns.values())).fetchone()[0]


PLAIN = [
    {"set_clause": f"n = {PLUS}"},
    {"set_clause": f"n = {PLUS}", "target": "public.lines", "on_error": "quarantine"},
    {"set_clause": "v = amount", "where_clause": "v IS NULL"},
    {"set_clause": "v = NULL"},
    {"set_clause": "v = CASE WHEN id OPERATOR(pg_catalog.>) 10 THEN amount END", "where_clause": "v IS NULL"},
    {"set_clause": f"v = {PLUS}", "where_clause": "v IS NULL", "on_error": "quarantine", "keep_in_sync": True},
    {"add_column": "c bigint", "set_clause": "c = (amount OPERATOR(pg_catalog.*) 100)::bigint", "keep_in_sync": True, "sync_back": "amount = (c OPERATOR(pg_catalog./) 100)::integer",
     "enforce": ["NOT NULL c", "CHECK (c OPERATOR(pg_catalog.>) 0)", "UNIQUE (id, c)"]},
    {"enforce": ["FOREIGN KEY (id) REFERENCES public.orders (id)", "NOT NULL v"]},
    {"statement": "DELETE FROM public.orders WHERE {batch} AND id OPERATOR(pg_catalog.>) 490"},
    {"drop_column": "v"},
    {"set_clause": f"n = {PLUS}", "dry_run": True},
]


def test_jobs_of_each_kind_name_whose_functions_operators_and_types_they_mean(hostile):
    for columns in PLAIN:
        name = submit(hostile, **columns)
        hostile.finish(name)
        if columns.get("keep_in_sync"):
            hostile.admin.execute("UPDATE public.orders SET amount = amount + 1 WHERE id = 7; INSERT INTO public.orders (id, amount, v) VALUES ((SELECT max(id) + 1 FROM public.orders), 3, 1)")
            hostile.app.execute("UPDATE public.orders SET amount = 9 WHERE id OPERATOR(pg_catalog.=) 8")
            if "sync_back" in columns:
                hostile.app.execute("ALTER TABLE public.orders ALTER amount DROP NOT NULL")
            hostile.app.execute("SELECT backfill.finish(%s::pg_catalog.text)", [name])
            wait_until(lambda: not hostile.job(name)["tidy"], what="it is finished")


def test_what_people_call_does_so_too(hostile):
    submit(hostile, name="one", set_clause="n = amount", wanted="pause")
    calls = ["SELECT backfill.resume('one')", "CALL backfill.wait('one')", "SELECT backfill.is_done('one')", "SELECT * FROM backfill.status", "SELECT * FROM backfill.effect('one')",
             "SELECT backfill.retry('one')", "SELECT backfill.forget('one')"]
    for call in calls:
        hostile.app.execute(call)
    submit(hostile, name="two", set_clause="n = amount", wanted="pause")
    for call in ("pause", "cancel"):
        hostile.app.execute(f"SELECT backfill.{call}('two')")
    submit(hostile, name="three", add_column="d int", set_clause="d = n")
    hostile.finish("three")
    hostile.app.execute("SELECT backfill.undo('three')")
    submit(hostile, name="four", set_clause="n = pg_catalog.int4div(1, (id OPERATOR(pg_catalog.-) 5)::integer)", on_error="quarantine")
    hostile.finish("four")
    assert hostile.left_behind("error") == [(["5"],)]
    submit(hostile, name="five", set_clause="n = 1", wanted="pause")
    with pytest.raises(psycopg.Error, match="is still paused after"):
        hostile.app.execute("CALL backfill.wait('five', pg_catalog.make_interval(secs => 0))")
    with pytest.raises(psycopg.Error, match="has no column"):
        submit(hostile, name="six", drop_column="nothing")


def test_locked_rows_too(hostile):
    with hostile.locked_rows("id = 250", table="orders"):
        name = submit(hostile, set_clause="n = 7", where_clause="n OPERATOR(pg_catalog.<>) 7")
        wait_until(lambda: hostile.left_behind("locked"), what="it is put aside")
    hostile.finish(name)


def test_each_session_of_ours_does_so_while_the_databases_path_is_still_its(hostile, tmp_path):
    """The owner of a database may put any path there: the first statements of a session run under it, and a probe's before all."""
    config = tmp_path / "c.conf"
    config.write_text(hostile.config(throttle={**HOST_OFF, "probes": [{"name": "p", "sql": "SELECT count(*) FROM orders WHERE 'a'::text = 'b'::text", "limit": 1.0}]}))
    hostile.admin.execute(f"GRANT SELECT ON public.orders TO backfilld; ALTER DATABASE {hostile.name} SET search_path = hostile, pg_catalog, public")
    try:
        checked, installed = run("-c", str(config), "--check"), run("-c", str(config), "--install")
        assert "not qualified" not in checked.stdout and re.search(r"probe p +ok", checked.stdout), checked.stdout
        assert installed.returncode == 0, installed.stderr
        name = submit(hostile, set_clause=f"n = {PLUS}")
        drained = run("-c", str(config), "--drain")
        assert drained.returncode == 0, drained.stderr
        assert hostile.job(name)["state"] == "succeeded"
    finally:
        hostile.admin.execute(f"ALTER DATABASE {hostile.name} RESET search_path")


def test_each_function_pins_its_search_path_or_qualifies_all_that_it_names(db):
    """By the catalog, so that a new one is not forgotten."""
    free = db.all("SELECT p.proname::text, p.prosrc FROM pg_proc p WHERE p.pronamespace = 'backfill'::regnamespace"
                  " AND NOT coalesce(p.proconfig::text LIKE '%search_path=pg_catalog, pg_temp%', false)")
    assert 30 < len(free) < 100 and {"run_batch", "plan", "job_before_insert"} <= {name for name, _ in free}
    found = {name: places for name, source in free if (places := unqualified(source))}
    assert found == {}


@pytest.mark.parametrize("source, places", [
    ("BEGIN RETURN a || b; END", 1), ("BEGIN IF x = 1 THEN y := 2; END IF; END", 1), ("BEGIN PERFORM format('%s', 1); END", 1), ("DECLARE x text; BEGIN END", 1), ("BEGIN x := y::oid; END", 1),
    ("BEGIN IF a IN (1, 2) THEN END IF; END", 1), ("BEGIN IF a IS DISTINCT FROM b THEN END IF; END", 1), ("BEGIN x := CASE a WHEN 1 THEN 2 END; END", 1),
    ("BEGIN x := pg_catalog.lower(a); UPDATE backfill.job j SET wanted = w WHERE j.id OPERATOR(pg_catalog.=) 1; RAISE EXCEPTION 'x = %', y USING HINT = 'a || b'; END", 0)])
def test_what_is_not_qualified_is_found(source, places):
    assert len(unqualified(source)) == places


def test_table_that_takes_the_place_of_another_runs_nothing(db):
    """Its trigger would run as the job's role, before the batch was undone: the name is asked for before the statement, too."""
    db.admin.execute("CREATE SCHEMA swapped; CREATE TABLE swapped.t (id int PRIMARY KEY, n int); INSERT INTO swapped.t VALUES (1, 1); ALTER TABLE swapped.t OWNER TO app;"
                     "GRANT USAGE ON SCHEMA swapped TO PUBLIC; CREATE SEQUENCE public.ran; GRANT ALL ON SEQUENCE public.ran TO PUBLIC")
    old = db.one("SELECT 'swapped.t'::regclass::oid")
    db.admin.execute("ALTER TABLE swapped.t RENAME TO was; CREATE TABLE swapped.t (id int PRIMARY KEY, n int); INSERT INTO swapped.t VALUES (1, 1); GRANT ALL ON swapped.t TO app;"
                     "CREATE FUNCTION public.bait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.ran'); RETURN NEW; END $$;"
                     "CREATE TRIGGER bait BEFORE UPDATE ON swapped.t FOR EACH ROW EXECUTE FUNCTION public.bait()")
    update = "UPDATE swapped.t SET n = 2"
    for call in (f"SELECT backfill.run_batch('{update}', {old}, 'swapped.t', NULL, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, NULL, NULL, NULL, NULL, NULL)",
                 f"SELECT backfill.retry_rows('{update}', {old}, 'swapped.t', 'SELECT 1', '{{1}}', 1, '{{1}}', NULL, NULL, NULL)",
                 f"SELECT backfill.run_step('expand', ARRAY['{update}'], {old}, 'swapped.t')"):
        with pytest.raises(psycopg.Error, match="is another table now"):
            db.app.execute(call)
    assert not db.one("SELECT is_called FROM public.ran"), "a sequence keeps what an undone transaction has drawn"


# ---- What has the rights of the table's owner, whoever writes

def kept_in_step(db):
    """A table with each kind of trigger on it; returns (name, source, settings) of their functions."""
    db.app.execute("CREATE FUNCTION is_low(text) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT $1 = lower($1)'; CREATE DOMAIN word AS text CHECK (is_low(VALUE));"
                   "CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE sql AS 'SELECT abs($1) < 900';"
                   "CREATE TABLE t (id bigint PRIMARY KEY, a numeric NOT NULL CHECK (a < 1000), k text DEFAULT 'x', b int CHECK (fits(b)), c int NOT NULL DEFAULT 0, live boolean, w word);"
                   "INSERT INTO t SELECT i, i, 'x', NULL, 0, true FROM generate_series(1, 100) i")
    db.daemon()
    for columns in ({"set_clause": "b = a * 2", "where_clause": "b IS NULL AND live", "sync_back": "a = b / 2.0", "settings": {"my.own": "1"}},
                    {"set_clause": "z = (a * 100)::bigint", "add_column": "z bigint", "enforce": ["NOT NULL z"]},
                    {"set_clause": "c = c + 1", "where_clause": "c = 0"}, {"set_clause": "k = 'y'", "where_clause": "k = 'x'"},
                    {"set_clause": "w = left('abc', a::int % 3)", "where_clause": "w IS NULL"}):
        db.finish(db.submit(keep_in_sync=True, **columns))
    return db.all("SELECT prosrc, coalesce(proconfig, '{}') FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace AND proname LIKE 'backfilld%' ORDER BY oid")


def test_the_triggers_functions_qualify_all_that_they_name(db):
    """Or they pin the search_path, which costs: for the function of a CHECK."""
    db.close_public()
    found = kept_in_step(db)
    assert [unqualified(source.replace("#variable_conflict use_column\n", "")) for source, _ in found] == [[]] * 5
    paths = [[s for s in settings if s.startswith("search_path=")] for _, settings in found]
    assert [len(path) for path in paths] == [1, 0, 0, 0, 0] and all(path[0].endswith("pg_temp") for path in paths if path)


@pytest.mark.parametrize("path", ["mine, pg_catalog", "pg_temp, pg_catalog", "pg_temp, mine, public, pg_catalog"])
def test_who_writes_a_table_runs_no_code_as_its_owner(db, path):
    """Types of the writer's own, whose CHECK is code: rows that are filled, that can't be, that a CHECK or NOT NULL refuses."""
    db.close_public()
    kept_in_step(db)
    db.admin.execute("CREATE SCHEMA mine AUTHORIZATION other; GRANT USAGE ON SCHEMA mine TO PUBLIC; GRANT TEMP ON DATABASE current TO other".replace("current", f'"{db.name}"'))
    db.app.execute("GRANT SELECT, INSERT, UPDATE ON t TO other")
    with db.connect("other") as session:
        for schema in ("mine", "pg_temp"):
            session.execute(f"""
                CREATE FUNCTION {schema}.evil(type text) RETURNS boolean LANGUAGE plpgsql AS
                  $$ BEGIN IF current_user <> 'other' THEN RAISE EXCEPTION 'ran as % for %', current_user, type USING ERRCODE = '40001'; END IF; RETURN true; END $$""")
            for type in ("text", "name", "regclass", "record", "bool", "numeric", "int8", "int4", "oid"):
                try:
                    session.execute(f"CREATE DOMAIN {schema}.{type} AS pg_catalog.{type} CHECK ({schema}.evil('{type}'))")
                except psycopg.errors.DatatypeMismatch:
                    assert type == "record"
            for body in ("lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM {}.evil('lower'); RETURN pg_catalog.lower($1); END $$",
                         "abs(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM {}.evil('abs'); RETURN pg_catalog.abs($1); END $$"):
                session.execute(f"CREATE FUNCTION {schema}." + body.format(schema))
        session.execute(f"SET search_path = {path}")
        for key, statement in enumerate(("INSERT INTO public.t (id, a, live) VALUES (%s, 5, true)", "INSERT INTO public.t (id, a) VALUES (%s, 'NaN')", "INSERT INTO public.t (id, a, z) VALUES (%s, 'NaN', 1)",
                                         "INSERT INTO public.t (id, a, live) VALUES (%s, 600, true)", "UPDATE public.t SET a = 1e30 WHERE id = %s - 1000", "UPDATE public.t SET a = 'NaN' WHERE id = %s - 1000",
                                         "UPDATE public.t SET a = 7 WHERE id = %s - 1000", "UPDATE public.t SET b = 10 WHERE id = %s - 1000", "UPDATE public.t SET b = 899, live = false WHERE id = %s - 1000",
                                         "UPDATE public.t SET k = 'x', c = 0 WHERE id = %s - 1000",
                                         "INSERT INTO public.t (id, a, b, z) VALUES (%s, 5, NULL, 1)", "UPDATE public.t SET w = NULL, a = 8 WHERE id = %s - 1000")):
            try:
                session.execute(statement, [1001 + key])
            except psycopg.Error as error:
                assert "ran as" not in str(error), (statement, error)


STEAL = """CREATE SCHEMA g AUTHORIZATION other; CREATE TABLE secret (s text); INSERT INTO secret VALUES ('x'); ALTER TABLE secret OWNER TO app;
    CREATE TABLE g.log (who text); ALTER TABLE g.log OWNER TO other; GRANT ALL ON g.log TO PUBLIC; GRANT USAGE ON SCHEMA g TO PUBLIC;
    CREATE FUNCTION g.steal() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO g.log SELECT current_user FROM public.secret; RETURN 7; END $$"""


@pytest.mark.parametrize("reaches, path", [("f(a)", "public"), ("(SELECT v.x FROM v WHERE v.k = 1)", "public"), ("parsed(a)", "public"), ("f(a)", "''"), ("f(a)", "pg_catalog"), ("f(a)", "'public, pg_temp'"), ("f(a)", "pg_temp, public, pg_temp")])
def test_a_function_whose_own_path_lets_temporary_tables_in_is_refused_under_a_trigger(db, reaches, path):
    """Who writes could put one in place of a table that it means, and it runs as the table's owner."""
    db.close_public()
    db.admin.execute(STEAL)
    db.app.execute("""CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); CREATE TABLE rates (k int, factor int); INSERT INTO rates VALUES (1, 3); INSERT INTO t SELECT g, g FROM generate_series(1, 20) g;
        GRANT INSERT, SELECT ON t TO other;
        CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql STABLE SET search_path = PATH AS 'DECLARE x text := 1; BEGIN RETURN $1 * (SELECT factor FROM public.rates WHERE k = x::int4); END';
        CREATE VIEW v AS SELECT k, f(k) AS x FROM rates; CREATE FUNCTION parsed(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT f($1); END""".replace("PATH", path))
    db.daemon()
    name = db.submit(set_clause=f"b = {reaches}", where_clause="b IS NULL", keep_in_sync=True)
    failed = db.finish(name, "failed")
    assert "f(integer) would run in the trigger with the rights of the table's owner" in failed["error"]
    db.app.execute("ALTER FUNCTION f(int) SET search_path = public, pg_temp")  # as the hint says
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)
    with db.connect("other") as session:
        session.execute("CREATE FUNCTION g.evil() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM g.steal(); RETURN true; END $$; CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (g.evil())")
        session.execute("INSERT INTO t (id, a) VALUES (1000, 1)")
    assert db.all("SELECT who FROM g.log") == [] and db.one("SELECT b FROM t WHERE id = 1000") == 3


def test_what_a_view_calls_is_computed_along_the_submitters_path(db):
    db.close_public()
    db.admin.execute(STEAL)
    db.app.execute("""CREATE TABLE t (id bigint PRIMARY KEY, a int, b text); CREATE TABLE names (k int, name text); INSERT INTO names SELECT g, 'N' FROM generate_series(0, 2000) g;
        INSERT INTO t SELECT g, g FROM generate_series(1, 20) g; GRANT INSERT, SELECT ON t TO other;
        CREATE FUNCTION norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)'; CREATE VIEW v AS SELECT k, norm(name) AS n FROM names""")
    db.daemon()
    db.finish(db.submit(set_clause="b = (SELECT v.n FROM v WHERE v.k = a)", where_clause="b IS NULL", keep_in_sync=True))
    with db.connect("other") as session:
        session.execute("CREATE FUNCTION g.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM g.steal(); RETURN 'stolen'; END $$")
        session.execute("SET search_path = g, pg_catalog; INSERT INTO public.t (id, a) VALUES (1000, 1)")
    assert db.all("SELECT who FROM g.log") == [] and db.one("SELECT b FROM t WHERE id = 1000") == "n"


def test_a_table_that_is_given_away_runs_nothing_of_its_new_owners_as_the_old_one(db):
    db.admin.execute(STEAL)
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); INSERT INTO t SELECT g, g FROM generate_series(1, 20) g")
    db.daemon()
    db.finish(db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True))
    db.app.execute("INSERT INTO t (id, a) VALUES (999, 1)")
    db.admin.execute("ALTER TABLE t OWNER TO other")
    with db.connect("other") as session:
        session.execute("CREATE FUNCTION g.evil(int) RETURNS boolean LANGUAGE plpgsql SET search_path = g, pg_temp AS 'BEGIN INSERT INTO log SELECT current_user; RETURN true; END'")
        session.execute("CREATE DOMAIN g.dom AS int CHECK (g.evil(VALUE)); ALTER TABLE t RENAME b TO old_b; ALTER TABLE t ADD b g.dom; GRANT ALL ON t TO app WITH GRANT OPTION")
        session.execute("INSERT INTO t (id, a) VALUES (1000, 1)")
    assert ("app",) not in db.all("SELECT who FROM g.log") and db.one("SELECT count(*) FROM t WHERE id >= 999") == 2
    assert db.one("SELECT old_b FROM t WHERE id = 999") == 1


@pytest.mark.parametrize("clause", ["q = ts_rewrite(w::tsquery, 'SELECT t, s FROM aliases')::text", "q = query_to_xml('SELECT factor FROM rates', false, false, '')::text || w"])
def test_a_text_that_a_builtin_function_runs_as_a_query_finds_no_tables_of_the_writers(db, clause):
    db.close_public()
    db.admin.execute(STEAL + "; CREATE FUNCTION g.stolen() RETURNS tsquery LANGUAGE plpgsql AS $$ BEGIN PERFORM g.steal(); RETURN 'x'; END $$")
    db.app.execute("""CREATE TABLE t (id bigint PRIMARY KEY, w text, q text); CREATE TABLE aliases (t tsquery, s tsquery); CREATE TABLE rates (factor int); INSERT INTO rates VALUES (1);
        INSERT INTO aliases VALUES ('a', 'b'); INSERT INTO t SELECT g, 'a' FROM generate_series(1, 20) g; GRANT INSERT, SELECT ON t TO other""")
    db.daemon()
    db.finish(db.submit(set_clause=clause, where_clause="q IS NULL", keep_in_sync=True))
    with db.connect("other") as session:
        session.execute("CREATE TEMP VIEW rates AS SELECT g.steal() AS factor; CREATE TEMP VIEW aliases AS SELECT 'a'::tsquery AS t, g.stolen() AS s; GRANT SELECT ON rates, aliases TO PUBLIC")
        session.execute("INSERT INTO public.t (id, w) VALUES (1000, 'a')")
    assert db.all("SELECT who FROM g.log") == [] and db.one("SELECT count(DISTINCT q) FROM t") == 1


def steals_rows_of(session, theirs, ours):
    """What makes a row of theirs one of ours steals on the way."""
    session.execute(f"""CREATE FUNCTION g.made({theirs}) RETURNS {ours} LANGUAGE plpgsql AS $$ BEGIN PERFORM g.steal(); RETURN NULL; END $$;
        CREATE CAST ({theirs} AS {ours}) WITH FUNCTION g.made({theirs}) AS IMPLICIT""")


def test_a_function_of_the_trigger_that_others_may_execute_does_nothing_for_a_table_of_theirs(db):
    """GRANT EXECUTE ON ALL FUNCTIONS is a habit."""
    db.admin.execute(STEAL)
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); INSERT INTO t SELECT g, g FROM generate_series(1, 20) g")
    db.daemon()
    db.finish(db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True))
    db.app.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO other")
    trigger = db.one("SELECT oid::regproc::text FROM pg_proc WHERE proname ~ '^backfilld_sync' AND prorettype = 'trigger'::regtype")
    db.app.execute("CREATE TABLE u (id bigint, a int, b int); GRANT INSERT, TRIGGER ON u TO other")  # another table of the owner's
    db.admin.execute("GRANT CREATE ON SCHEMA public TO other")
    with db.connect("other") as session:
        session.execute(f"""CREATE FUNCTION public.{trigger}_value(u, anyenum, anyenum) RETURNS TABLE ("0" int, "1" int) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT 0, g.steal(); END $$;
            CREATE TRIGGER x BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION {trigger}('forth'); INSERT INTO u VALUES (1, 1)""")
    with db.connect("other") as session:
        session.execute("CREATE TABLE g.u (id bigint, a int, b int); GRANT ALL ON g.u TO app WITH GRANT OPTION")
        steals_rows_of(session, "g.u", "public.t")
        session.execute("CREATE TRIGGER x BEFORE INSERT ON g.u FOR EACH ROW EXECUTE FUNCTION %s('forth')" % db.one("SELECT oid::regproc::text FROM pg_proc WHERE proname ~ '^backfilld_sync' AND prorettype = 'trigger'::regtype"))
        session.execute("INSERT INTO g.u VALUES (1, 1)")
    assert db.all("SELECT who FROM g.log") == [] and db.all("SELECT b FROM g.u") == [(None,)]


@pytest.mark.parametrize("path, schema", [("pg_catalog", "pg_temp"), ("public, pg_catalog", "public")])
def test_a_type_by_the_name_of_record_or_text_runs_nothing_as_who_inserts_a_job(db, path, schema):
    """By a function of the submitter's that inserts one, or along his own path."""
    db.admin.execute(STEAL + "; GRANT CREATE ON SCHEMA public TO other")
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b text CHECK (b <> 'z')); INSERT INTO t SELECT g, g FROM generate_series(1, 20) g")
    db.app.execute(f"""CREATE FUNCTION start_job() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = {path} AS $$
        BEGIN INSERT INTO backfill.job (name, target, add_column, set_clause, where_clause, keep_in_sync) VALUES ('nightly', 'public.t', 'c int', 'c = a OPERATOR(pg_catalog.+) 1, b = a::pg_catalog.text', 'c IS NULL OR b IS NULL', true); END $$""")
    with db.connect("other") as session:
        session.execute("CREATE FUNCTION g.evil() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM g.steal(); RETURN true; EXCEPTION WHEN insufficient_privilege THEN RETURN true; END $$")
        for name in ("record", "text", "int4", "jsonb", "oid"):
            session.execute(f"CREATE DOMAIN {schema}.{name} AS pg_catalog.{name if name != 'record' else 'text'} CHECK (g.evil())")
        session.execute("SELECT public.start_job()")
    db.daemon()
    db.finish("nightly")
    db.app.execute("INSERT INTO t (id, a) VALUES (1000, 5); UPDATE t SET a = 7 WHERE id = 1")
    assert db.all("SELECT who FROM g.log") == [] and db.all("SELECT b, c FROM t WHERE id IN (1, 1000) ORDER BY id") == [("7", 8), ("5", 6)]


def test_a_partition_that_is_given_away_runs_nothing_of_its_new_owners_as_the_old_one(db):
    db.admin.execute(STEAL)
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000); CREATE TABLE t2 PARTITION OF t DEFAULT;"
                   "INSERT INTO t SELECT g, g FROM generate_series(1, 20) g; GRANT INSERT ON t TO other")
    db.daemon()
    db.finish(db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True))
    db.admin.execute("ALTER TABLE t1 OWNER TO other")
    with db.connect("other") as session:
        session.execute("GRANT ALL ON t1 TO app WITH GRANT OPTION")
        steals_rows_of(session, "public.t1", "public.t")
        session.execute("INSERT INTO t (id, a) VALUES (500, 5), (5000, 6)")
    assert db.all("SELECT who FROM g.log") == [] and db.all("SELECT b FROM t WHERE id >= 500 ORDER BY id") == [(None,), (6,)]


def test_a_partitioned_table_that_is_renamed_stays_in_step_whoever_takes_its_name(db):
    db.admin.execute(STEAL)
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t DEFAULT; INSERT INTO t SELECT g, g FROM generate_series(1, 20) g")
    db.daemon()
    db.finish(db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True))
    db.app.execute("ALTER TABLE t RENAME TO moved")
    db.admin.execute("GRANT CREATE ON SCHEMA public TO other")
    with db.connect("other") as session:
        session.execute("CREATE TABLE t (id bigint, a int, b int)")
        steals_rows_of(session, "public.t1", "public.t")
    with db.connect("app") as session:
        session.execute("INSERT INTO moved (id, a) VALUES (500, 5); UPDATE moved SET a = 7 WHERE id = 1")
    assert db.all("SELECT who FROM g.log") == [] and db.all("SELECT b FROM moved WHERE id IN (1, 500) ORDER BY id") == [(7,), (5,)]


@pytest.mark.parametrize("table", ["place.t", "place.t PARTITION BY LIST (id)"])
def test_a_schema_that_is_renamed_and_whose_name_a_stranger_takes_gives_no_code_to_the_trigger(db, table):
    db.admin.execute(STEAL + f"; CREATE SCHEMA place AUTHORIZATION app; GRANT CREATE ON DATABASE {db.name} TO app, other")
    db.app.execute(f"CREATE TABLE {table.replace('place.t', 'place.t (id bigint PRIMARY KEY, a int, b int)')}; GRANT USAGE ON SCHEMA place TO other; GRANT INSERT, SELECT ON place.t TO other")
    if "PARTITION" in table:
        db.app.execute("CREATE SCHEMA parts; GRANT USAGE ON SCHEMA parts TO other; CREATE TABLE parts.t1 PARTITION OF place.t DEFAULT")
    db.app.execute("INSERT INTO place.t SELECT g, g FROM generate_series(1, 20) g")
    db.daemon()
    db.finish(db.submit(target="place.t", set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True))
    db.app.execute("INSERT INTO place.t (id, a) VALUES (999, 1)")
    assert db.one("SELECT b FROM place.t WHERE id = 999") == 1
    db.app.execute("ALTER SCHEMA place RENAME TO elsewhere")
    token = db.one("SELECT typname::text FROM pg_type WHERE typname ~ '^backfilld_sync'")
    with db.connect("other") as session:
        session.execute(f"""CREATE SCHEMA place; GRANT ALL ON SCHEMA place TO PUBLIC; CREATE TYPE place.{token} AS ENUM ();
            CREATE FUNCTION place.{token}_value(elsewhere.t, place.{token}, place.{token}) RETURNS TABLE ("0" int, "1" int) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT 0, g.steal(); END $$""")
    for user in ("other", "app"):
        with db.connect(user) as session:
            session.execute("INSERT INTO elsewhere.t (id, a) VALUES (%s, 1)", [1000 + len(user)])
    assert db.all("SELECT who FROM g.log") == [] and db.all("SELECT b FROM elsewhere.t WHERE id >= 1000") == [(None,), (None,)]


def test_what_others_make_of_the_triggers_functions_keeps_it_in_no_table(db):
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); INSERT INTO t SELECT g, g FROM generate_series(1, 20) g")
    db.admin.execute("CREATE SCHEMA g AUTHORIZATION other")
    db.daemon()
    name = db.finish(db.submit(set_clause="b = a", where_clause="b IS NULL", keep_in_sync=True))["name"]
    value = db.one("SELECT proname::text FROM pg_proc WHERE proname ~ '^backfilld.*_value$'")
    db.session("other").execute(f"CREATE VIEW g.dep AS SELECT * FROM public.{value}(NULL::public.t, NULL::public.{value.removesuffix('_value')}, NULL::public.{value.removesuffix('_value')})")
    db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_proc WHERE proname ~ '^backfilld' AND pronamespace = 'public'::regnamespace"), what="all of it is gone")


def test_default_privileges_give_nobody_the_triggers_functions(db):
    db.app.execute("""CREATE TABLE t (id bigint PRIMARY KEY, a int, b int, c int); INSERT INTO t SELECT g, g FROM generate_series(1, 20) g;
        ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO other; ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO other WITH GRANT OPTION""")
    db.daemon()
    db.finish(db.submit(set_clause="b = a, c = a", where_clause="b IS NULL", keep_in_sync=True, sync_back=None))
    assert db.one("SELECT count(*) FROM pg_proc WHERE proname ~ '^backfilld'") >= 5
    assert db.all("SELECT proname::text FROM pg_proc WHERE proname ~ '^backfilld' AND has_function_privilege('other', oid, 'EXECUTE')") == []
    assert not db.one("SELECT has_type_privilege('other', oid, 'USAGE') FROM pg_type WHERE typname ~ '^backfilld'")


def test_a_domain_whose_function_looks_names_up_anywhere_is_refused_under_a_trigger(db):
    """Its body may be in the domain's check as the writer's search_path has it, whatever the trigger pins."""
    db.close_public()
    db.app.execute("CREATE FUNCTION is_low(text) RETURNS boolean LANGUAGE sql AS 'SELECT $1 = lower($1)'; CREATE FUNCTION via(text) RETURNS boolean LANGUAGE sql BEGIN ATOMIC SELECT is_low($1); END;"
                   "CREATE DOMAIN word AS text CHECK (via(VALUE)); CREATE DOMAIN key AS word; CREATE TABLE t (id bigint PRIMARY KEY, a text, w key[])")
    job = {"set_clause": "w = ARRAY[a]", "where_clause": "w IS NULL", "keep_in_sync": True}
    with pytest.raises(psycopg.Error, match="public.is_low") as refused:
        db.submit(**job)
    db.app.execute(refused.value.diag.message_hint.split(":")[0].replace("…", "pg_catalog").replace("...", "pg_catalog"))
    db.daemon()
    db.finish(db.submit(**job))


def test_a_partition_of_another_owner_gets_no_trigger_with_the_rights_of_the_tables_owner(db):
    """A row of it becomes one of the table by a cast, which may be the partition's owner's own."""
    db.admin.execute("GRANT other TO app")
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int) PARTITION BY RANGE (id); CREATE TABLE t1 (id bigint NOT NULL, a int, b int); ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (1000)")
    db.admin.execute("ALTER TABLE t1 OWNER TO other")
    job = {"set_clause": "b = a", "where_clause": "b IS NULL", "keep_in_sync": True}
    with pytest.raises(psycopg.Error, match="partition public.t1 belongs to other") as refused:
        db.submit(**job)
    db.app.execute(refused.value.diag.message_hint.rstrip("."))
    db.daemon()
    name = db.finish(db.submit(**job))["name"]
    trouble = "SELECT backfill.sync_trouble(j) FROM backfill.job j WHERE j.name = %s"
    assert db.one(trouble, name) is None
    db.admin.execute("ALTER TABLE t1 OWNER TO other")
    assert "casts of other, who owns partition public.t1" in db.one(trouble, name)
    db.admin.execute("REVOKE other FROM app")


def test_nobody_else_makes_a_function_that_the_trigger_could_mean(db):
    """Who may create functions in the schema could make its calls ambiguous by one of the same name with a default, and by that fail each INSERT."""
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); INSERT INTO t SELECT g, g FROM generate_series(1, 50) g")
    db.daemon()
    name = db.finish(db.submit(set_clause="b = a", where_clause="b IS NULL", enforce=["NOT NULL b"], keep_in_sync=True))["name"]
    db.admin.execute("GRANT CREATE ON SCHEMA public TO other")
    token = db.one("SELECT typname::text FROM pg_type WHERE typname ~ '^backfilld_sync'")
    with db.connect("other") as session:
        for arguments in ("t, int DEFAULT 1", "t, anyelement", "t, anyelement, anyelement", "t, anyenum, anyenum, int DEFAULT 1", "t, VARIADIC anyarray", "anyelement"):
            session.execute(f"""CREATE FUNCTION public.{token}_value({arguments}) RETURNS TABLE ("0" int, "1" int) LANGUAGE sql AS 'SELECT 0, 666'""")
        session.execute(f"CREATE FUNCTION public.{token}_there(int DEFAULT 1) RETURNS boolean LANGUAGE sql AS 'SELECT true'; CREATE FUNCTION public.{token}(int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'")
        for arguments in (f"t, {token}, {token}, int DEFAULT 1", f"t, VARIADIC {token}[]"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
                session.execute(f"""CREATE FUNCTION public.{token}_value({arguments}) RETURNS TABLE ("0" int, "1" int) LANGUAGE sql AS 'SELECT 0, 666'""")
    db.app.execute("INSERT INTO t (id, a) VALUES (51, 7); UPDATE t SET a = 8 WHERE id = 1")
    assert db.all("SELECT b FROM t WHERE id IN (1, 51) ORDER BY id") == [(8,), (7,)]
    assert db.one("SELECT backfill.sync_trouble(j) FROM backfill.job j WHERE j.name = %s", name) is None
    db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_type WHERE typname = %s", token), what="its type is gone with it")


def test_nobody_else_makes_a_function_that_the_trigger_could_mean_in_a_partition(db):
    """There OLD and NEW are of the partition's type, which any function may take; and a polymorphic argument takes what nobody can name."""
    db.admin.execute(STEAL + "; GRANT CREATE ON SCHEMA public TO other")
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int, x int, y int, CHECK (y < 1000)) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t DEFAULT;"
                   "INSERT INTO t SELECT g, g, g FROM generate_series(1, 20) g")
    db.daemon()
    db.finish(db.submit(set_clause="x = a, y = b", where_clause="id > 0 AND (x IS NULL OR y IS NULL)", keep_in_sync=True, sync_back="a = x, b = y"))
    functions = db.all("SELECT proname::text, pronargs, proargtypes[pronargs - 1] = 'bool[]'::regtype FROM pg_proc WHERE proname ~ '^backfilld_sync_.*_(value|todo|rest|back|changed|breaks)$'")
    assert len(functions) == 6
    with db.connect("other") as session:
        for name, arguments, wanted in functions:
            rows = 2 if name.endswith("changed") else 1
            for kind in ("anyenum", "anyelement", "anynonarray"):
                taken = ["t1"] * rows + [kind] * (arguments - rows - wanted) + ["bool[]"] * wanted
                session.execute(f"""CREATE FUNCTION public.{name}({", ".join(taken)}) RETURNS TABLE ("0" int, "1" int, "2" int) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT 0, g.steal(), 7; END $$""")
    with db.connect("app") as session:
        session.execute("INSERT INTO t (id, a, b) VALUES (500, 5, 6); UPDATE t SET a = 7 WHERE id = 1; UPDATE t SET y = 8 WHERE id = 2; INSERT INTO t (id, x, y) VALUES (501, 5, 6)")
    assert db.all("SELECT who FROM g.log") == []
    assert db.all("SELECT a, b, x, y FROM t WHERE id IN (1, 2, 500, 501) ORDER BY id") == [(7, 1, 7, 1), (2, 8, 2, 8), (5, 6, 5, 6), (5, 6, 5, 6)]


def test_a_table_whose_name_a_stranger_takes_while_a_batch_waits_for_it_leads_no_batch_to_theirs(db):
    """What waits for a lock looks the name up again when it gets it."""
    db.admin.execute(STEAL + "; GRANT CREATE ON SCHEMA public TO other; GRANT USAGE ON SCHEMA g TO PUBLIC")
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, c int); INSERT INTO t SELECT g, g FROM generate_series(1, 2000) g; GRANT SELECT, UPDATE ON t TO other")
    db.session("other").execute("""CREATE VIEW g.v AS SELECT id FROM public.t; CREATE TABLE g.t (id bigint CONSTRAINT trap PRIMARY KEY, a int, c int); INSERT INTO g.t SELECT g, g FROM generate_series(1, 2000) g; GRANT ALL ON g.t TO PUBLIC;
        CREATE FUNCTION g.away() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN ALTER TABLE public.t RENAME TO away; END $$;
        CREATE FUNCTION g.evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF to_regclass('public.away') IS NULL THEN PERFORM g.steal(); PERFORM g.away(); ALTER TABLE public.moved RENAME TO t; END IF; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER e AFTER UPDATE ON g.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION g.evil()""")
    db.daemon(lock_timeout_ms=900)
    name = db.submit(set_clause="c = a * 100", where_clause="c IS NULL", max_rows_per_s=300)
    wait_until(lambda: db.one("SELECT count(c) FROM t") > 50, what="it runs")
    table = db.one("SELECT 't'::regclass::oid")
    waits = lambda mode: db.one("SELECT count(*) FROM pg_locks WHERE relation = %s AND mode = %s AND NOT granted", table, mode)
    with db.connect("other") as holder, db.connect("other") as taker, db.connect("app") as owner, concurrent.futures.ThreadPoolExecutor() as threads:
        holder.autocommit = False
        holder.execute("SELECT 1 FROM t LIMIT 1")
        renamed = threads.submit(owner.execute, "ALTER TABLE t RENAME TO moved")
        wait_until(lambda: waits("AccessExclusiveLock") == 1, what="the owner waits")
        taken = threads.submit(taker.execute, "BEGIN; LOCK TABLE g.v IN ACCESS EXCLUSIVE MODE; ALTER TABLE g.t SET SCHEMA public; COMMIT")
        wait_until(lambda: waits("AccessExclusiveLock") == 2 and waits("RowExclusiveLock"), what="the stranger waits, and a batch")
        holder.rollback()
        renamed.result()
        taken.result()
    db.finish(name)
    assert db.all("SELECT who FROM g.log") == [] and db.one("SELECT count(c) FROM t") == 0 and db.one("SELECT count(*) FROM moved WHERE c = a * 100") == 2000


@pytest.mark.parametrize("kind", ["batch", "step"])
def test_a_schema_whose_name_another_takes_for_a_moment_undoes_what_was_done_there(db, kind):
    """No lock keeps a schema from being renamed. Here it is while the statement waits, and back before it is looked at again."""
    db.admin.execute("""CREATE SCHEMA place AUTHORIZATION stranger; GRANT ALL ON SCHEMA place TO app; CREATE SCHEMA fake AUTHORIZATION stranger; GRANT ALL ON SCHEMA fake TO app;
                        GRANT CREATE ON DATABASE """ + db.name + """ TO stranger""")
    db.app.execute("CREATE TABLE place.t (id bigint PRIMARY KEY, n int, o int); INSERT INTO place.t SELECT i, 0, 0 FROM generate_series(1, 10) AS i; CREATE TABLE fake.t (LIKE place.t INCLUDING ALL); INSERT INTO fake.t SELECT * FROM place.t")
    relation = db.one("SELECT 'place.t'::regclass::oid")
    with db.connect("stranger") as stranger, db.connect("app") as mine:
        def swap():
            stranger.execute("BEGIN; ALTER SCHEMA place RENAME TO aside; ALTER SCHEMA fake RENAME TO place; ALTER SCHEMA aside RENAME TO fake; COMMIT")
        mine.execute("BEGIN")
        since = mine.execute("SELECT backfill.hold_name(%s, 'place.t', true)" if kind == "batch" else "SELECT backfill.check_name(%s, 'place.t')", [relation]).fetchone()[0]
        assert mine.execute("SELECT backfill.check_name(%s, 'place.t', %s::xid)", [relation, since]).fetchone()[0] == since
        swap()
        mine.execute("UPDATE place.t SET n = 1" if kind == "batch" else "ALTER TABLE place.t DROP COLUMN o")
        swap()
        with pytest.raises(psycopg.Error, match="the schema of place.t was changed in that moment"):
            mine.execute("SELECT backfill.check_name(%s, 'place.t', %s::xid)", [relation, since])
        mine.execute("ROLLBACK")


def test_a_cast_that_a_partition_had_before_gets_no_trigger_with_the_rights_of_the_tables_owner(db):
    db.admin.execute(STEAL + "; CREATE TABLE t1 (id bigint NOT NULL, a int, b int); ALTER TABLE t1 OWNER TO other")
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int) PARTITION BY RANGE (id)")
    steals_rows_of(db.session("other"), "public.t1", "public.t")
    db.admin.execute("ALTER TABLE t1 OWNER TO app")
    db.app.execute("ALTER TABLE t ATTACH PARTITION t1 DEFAULT; INSERT INTO t SELECT g, g FROM generate_series(1, 20) g")
    job = {"set_clause": "b = a", "where_clause": "b IS NULL", "keep_in_sync": True}
    with pytest.raises(psycopg.Error, match=r"the cast \(public.t1 AS public.t\) with function g.made\(public.t1\) would run in the trigger"):
        db.submit(**job)
    db.admin.execute("DROP CAST (t1 AS t)")
    db.daemon()
    name = db.finish(db.submit(**job))["name"]
    db.admin.execute("CREATE CAST (t1 AS t) WITH FUNCTION g.made(t1) AS IMPLICIT")
    assert "would run the cast" in db.one("SELECT backfill.sync_trouble(j) FROM backfill.job j WHERE j.name = %s", name)


def test_who_drops_a_function_of_the_trigger_drops_the_trigger(db):
    """By CASCADE, from what it reads: its name is free then, and what takes its place must not run as the table's owner."""
    db.close_public()
    db.app.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b int); CREATE TABLE secret (s text); INSERT INTO secret VALUES ('x'); GRANT SELECT, INSERT ON t TO other")
    db.app.execute("CREATE TABLE rates (k int, f int)")
    db.daemon()
    name = db.finish(db.submit(set_clause="b = (SELECT f FROM rates WHERE k = a)", where_clause="b IS NULL", keep_in_sync=True))["name"]
    db.admin.execute("ALTER TABLE rates OWNER TO other; GRANT CREATE ON SCHEMA public TO other")
    value = db.one("SELECT proname::text FROM pg_proc WHERE proname ~ '^backfilld.*_value$'")
    with db.connect("other") as session:
        session.execute("DROP TABLE rates CASCADE")
        session.execute(f"""CREATE FUNCTION {value}(t) RETURNS TABLE ("0" int, "1" int) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT 0, count(*)::int FROM secret; END $$""")
        session.execute("INSERT INTO t VALUES (1, 1)")
    assert db.one("SELECT b FROM t WHERE id = 1") is None
    assert db.one("SELECT backfill.sync_trouble(j) FROM backfill.job j WHERE j.name = %s", name) == "is not there any more"
    db.app.execute("SELECT backfill.finish(%s)", [name])
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_proc WHERE proname ~ '^backfilld' AND proowner = 'app'::regrole"), what="the rest of it is gone")


STRANGERS_THINGS = {
    "a function": ("m = os.f(n)", "FUNCTION os.f(integer)"),
    "a function that the parsed body of another calls": ("m = mine(n)", "FUNCTION os.f(integer)"),
    "an operator's function": ("m = n OPERATOR(os.@@@) 1", "FUNCTION os.g(integer,integer)"),
    "a domain that it casts to": ("m = (n::os.d)::int", "DOMAIN os.d"),
    "a filled column's domain": ("o = n", "DOMAIN os.d"),
    "a type that it writes as JSON": ("k = to_jsonb(e)", "TYPE os.e"),
    "a type whose array it writes as JSON": ("k = to_jsonb(es)", "TYPE os.e"),
    "a type in a row that it writes as JSON": ("k = to_jsonb(ROW(e, n))", "TYPE os.e"),
    "a composite type": ("m = (jsonb_populate_record(NULL::os.c, j)).x", "TYPE os.c"),
    "a range of a type of theirs": ("m = CASE WHEN os.r('[1,2)'::int4range, '[2,3)'::int4range) IS NOT NULL THEN n END", "TYPE os.r"),
    "a function in an index of another table": ("m = n + (SELECT a FROM x)", "FUNCTION os.f(integer)"),
    "a view": ("m = n + (SELECT a FROM os.v)", "VIEW os.v"),
    "a table": ("m = n + (SELECT a FROM os.t)", "TABLE os.t"),
    "the function of a CHECK": ("c = n", "FUNCTION os.f(integer)"),
    "the trigger of a table that it writes": ("m = writes(n)", "FUNCTION os.tr()"),
    "the default in a table that it writes": ("m = writes_default(n)", "FUNCTION os.f(integer)"),
    "a column of a table that it writes": ("m = writes_generated(n)", "FUNCTION os.f(integer)"),
    "an index of a partition of what it reads": ("m = n + (SELECT count(*) FROM parted)", "FUNCTION os.f(integer)"),
    "an index of a child of what it reads": ("m = n + (SELECT count(*) FROM parent)", "FUNCTION os.f(integer)"),
}


@pytest.mark.parametrize("what", STRANGERS_THINGS)
def test_what_others_could_replace_runs_in_no_trigger_with_the_rights_of_the_tables_owner(db, what):
    """They would have had their code run as the owner by one INSERT, as often as they liked."""
    clause, thing = STRANGERS_THINGS[what]
    db.close_public()
    db.admin.execute("CREATE SCHEMA os AUTHORIZATION other; GRANT USAGE ON SCHEMA os TO app")
    db.session("other").execute("""CREATE FUNCTION os.f(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 + 1; CREATE DOMAIN os.d AS int CHECK (VALUE > 0); CREATE VIEW os.v AS SELECT 1 AS a; CREATE TABLE os.t (a int);
        CREATE TYPE os.c AS (x int); CREATE TYPE os.e AS ENUM ('a'); CREATE TYPE os.r AS RANGE (SUBTYPE = int4range);
        CREATE FUNCTION os.tr() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NEW; END';
        CREATE FUNCTION os.g(int, int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 + $2; CREATE OPERATOR os.@@@ (FUNCTION = os.g, LEFTARG = int, RIGHTARG = int); GRANT SELECT ON os.v, os.t TO app""")
    db.app.execute("""CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN os.f($1); CREATE TABLE x (a int); CREATE INDEX ON x (a) WHERE a > os.f(1);
        CREATE TABLE log_1 (a int); CREATE TRIGGER log BEFORE INSERT ON log_1 FOR EACH ROW EXECUTE FUNCTION os.tr(); CREATE TABLE log_2 (a int, b int DEFAULT os.f(1)); CREATE TABLE log_3 (a int, b int GENERATED ALWAYS AS (os.f(a)) STORED);
        CREATE FUNCTION writes(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC INSERT INTO log_1 VALUES (i); SELECT i; END; CREATE FUNCTION writes_default(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC INSERT INTO log_2 VALUES (i); SELECT i; END;
        CREATE FUNCTION writes_generated(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC INSERT INTO log_3 VALUES (i); SELECT i; END;
        CREATE TABLE parted (a int) PARTITION BY LIST (a); CREATE TABLE leaf PARTITION OF parted DEFAULT; CREATE INDEX ON leaf (os.f(a)); CREATE TABLE parent (a int); CREATE TABLE child () INHERITS (parent); CREATE INDEX ON child (os.f(a));
        CREATE TABLE t (id int PRIMARY KEY, n int, m int, o os.d, j jsonb DEFAULT '{}', e os.e DEFAULT 'a', es os.e[] DEFAULT '{a}', k jsonb, c int CHECK (os.f(c) > 0)); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g""")
    db.daemon()
    column = clause.split()[0]

    def outcome():
        try:
            name = db.submit(set_clause=clause, where_clause=f"{column} IS NULL", keep_in_sync=True)
        except psycopg.Error as e:
            return {"state": "failed", "error": e.diag.message_primary, "hint": e.diag.message_hint}
        wait_until(lambda: db.state(name) in ("failed", "succeeded"), 30, "the job ends")
        return db.job(name)

    job = outcome()
    assert job["state"] == "failed" and thing.split(" ", 1)[1] in job["error"] and "belongs to other" in job["error"] and job["hint"].startswith(f"ALTER {thing} OWNER TO app"), job
    for owner in ("app", "other"):  # as the hint says; and back again, behind the job
        db.admin.execute(f"ALTER {thing} OWNER TO {owner}")
        if owner == "app":
            job = outcome()
            assert job["state"] == "succeeded", job
            assert db.one("SELECT backfill.sync_trouble(j) FROM backfill.job j WHERE j.id = %s", job["id"]) is None
    assert "belongs to other" in db.one("SELECT backfill.sync_trouble(j) FROM backfill.job j WHERE j.id = %s", job["id"])


@pytest.mark.parametrize("clause, makes, thing", [("m = n + (SELECT count(*) FROM t AS self WHERE self.id = 3)", "CREATE INDEX ON t (os.f(n))", "function os.f(integer)"),
                                                  ("m = coalesce((jsonb_populate_record(NULL::t, j)).n, n)", "ALTER TABLE t ADD o os.d", "domain os.d"),
                                                  ("m = writes(n)", "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION os.tr()", "function os.tr()")])
def test_a_clause_that_does_more_with_its_table_than_to_take_a_row_of_it_reaches_what_belongs_to_that(db, clause, makes, thing):
    db.close_public()
    db.admin.execute("CREATE SCHEMA os AUTHORIZATION other; GRANT USAGE ON SCHEMA os TO app")
    db.session("other").execute("""CREATE FUNCTION os.f(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 + 1; CREATE DOMAIN os.d AS int CHECK (VALUE > 0); CREATE FUNCTION os.tr() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NEW; END'""")
    db.app.execute("""CREATE TABLE t (id int PRIMARY KEY, n int, m int, j jsonb DEFAULT '{}', k int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g;
                      CREATE FUNCTION writes(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC INSERT INTO t VALUES (i + 1000, i) ON CONFLICT DO NOTHING; SELECT i; END""")
    db.app.execute(makes)
    db.daemon()
    db.finish(db.submit(set_clause="k = n", where_clause="k IS NULL", keep_in_sync=True))
    refused = db.finish(db.submit(set_clause=clause, where_clause="m IS NULL", keep_in_sync=True), "failed")
    assert f"keep_in_sync: {thing} belongs to other" in refused["error"]


def test_a_cast_by_which_json_is_made_is_looked_at_like_what_the_clause_calls(db):
    db.app.execute(r"""CREATE TYPE state AS ENUM ('new', 'old'); CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
                       CREATE FUNCTION shown(state) RETURNS json LANGUAGE sql IMMUTABLE AS 'SELECT to_json(helper($1::text))'; CREATE CAST (state AS json) WITH FUNCTION shown(state);
                       CREATE TABLE t (id int PRIMARY KEY, s state DEFAULT 'new', j jsonb); INSERT INTO t SELECT generate_series(1, 10)""")
    db.daemon()
    refused = db.finish(db.submit(set_clause="j = to_jsonb(s)", where_clause="j IS NULL", keep_in_sync=True), "failed")
    assert "shown(public.state) looks names up in schema public" in refused["error"], refused["error"]


@pytest.mark.parametrize("path, schema", [('"$user", public', "app"), ("$user, public", "app"), ("public, later", "later"), ("public, " + 70 * "x", 63 * "x")])
def test_nobody_makes_the_schema_that_a_path_has_and_that_is_not_there(db, path, schema):
    """Who may create in the database, but for its owner and the daemon's role."""
    db.close_public()
    db.admin.execute(f"GRANT CREATE ON DATABASE {db.name} TO other")
    db.app.execute(f"""CREATE FUNCTION helper(bigint) RETURNS int LANGUAGE sql AS 'SELECT $1::int'; CREATE FUNCTION g(int) RETURNS int LANGUAGE sql AS 'SELECT helper($1)';
                       CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g""")
    db.daemon()
    with db.connect() as session:
        session.execute("SELECT set_config('search_path', %s, false)", [path])
        refused = db.finish(db.submit(session=session, target="public.t", set_clause="m = g(n)", where_clause="m IS NULL", keep_in_sync=True), "failed")
        assert f"public.g(integer) looks names up in schema {schema} with the rights of the table's owner, and other may create some there" in refused["error"] and refused["hint"].startswith(f"REVOKE CREATE ON DATABASE {db.name} FROM other"), refused["error"]
        db.admin.execute(f"REVOKE CREATE ON DATABASE {db.name} FROM other")
        db.finish(db.submit(session=session, target="public.t", set_clause="m = g(n)", where_clause="m IS NULL", keep_in_sync=True))


@pytest.mark.parametrize("language, body", [("sql", "SELECT helper($1)"), ("sql SECURITY DEFINER", "SELECT helper($1)")])
def test_nobody_else_makes_a_function_that_one_of_the_owners_could_mean(db, language, body):
    """A schema of the path in which somebody else may create; public before PostgreSQL 15, say: a helper that fits better."""
    db.app.execute(f"""CREATE FUNCTION helper(bigint) RETURNS int LANGUAGE sql AS 'SELECT $1::int'; CREATE FUNCTION g(int) RETURNS int LANGUAGE {language} AS '{body}';
                       CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g""")
    job = dict(set_clause="m = g(n)", where_clause="m IS NULL", keep_in_sync=True)
    db.daemon()
    refused = db.finish(db.submit(**job), "failed")
    assert "public.g(integer) looks names up in schema public with the rights of the table's owner, and app_owner may create some there" in refused["error"] and "REVOKE CREATE ON SCHEMA public FROM app_owner" in refused["hint"]
    db.close_public()
    done = db.finish(db.submit(**job))
    db.admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    assert "anybody may create some there" in db.one("SELECT backfill.sync_trouble(j) FROM backfill.job j WHERE j.id = %s", done["id"])
    db.app.execute("ALTER FUNCTION g SET search_path = pg_catalog, pg_temp")
    assert db.one("SELECT backfill.sync_trouble(j) FROM backfill.job j WHERE j.id = %s", done["id"]) is None


@pytest.mark.parametrize("clause", ["m = length(query_to_xml('SELECT helper(' || n || ')', true, false, '')::text)", "m = length(ts_rewrite('a'::tsquery, 'SELECT t, s FROM helper(' || n || ')')::text)", "m = inner_text(n)"])
def test_a_text_that_the_server_runs_looks_names_up_too(db, clause):
    db.app.execute("""CREATE FUNCTION helper(int) RETURNS TABLE (t tsquery, s tsquery) LANGUAGE sql AS $$ SELECT 'a'::tsquery, 'b'::tsquery $$; CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g;
                      CREATE FUNCTION inner_text(n int) RETURNS int LANGUAGE sql STABLE BEGIN ATOMIC SELECT length(query_to_xml('SELECT helper(' || n || ')', true, false, '')::text); END""")
    db.daemon()
    job = dict(set_clause=clause, where_clause="m IS NULL", keep_in_sync=True)
    refused = db.finish(db.submit(**job), "failed")
    assert "looks names up in schema public with the rights of the table's owner, and app_owner may create some there" in refused["error"] and refused["hint"] == "REVOKE CREATE ON SCHEMA public FROM app_owner."
    db.close_public()
    db.finish(db.submit(**job))


@pytest.mark.parametrize("language, body", [("plpgsql", "DECLARE v text := $1; BEGIN RETURN length(v); END"), ("plpgsql STABLE", "BEGIN RETURN (SELECT length(x.v) FROM (SELECT $1::text AS v) x); END")])
def test_what_a_session_has_compiled_before_is_not_run_by_the_trigger(db, language, body):
    """Under a path of the writer's, in which "text" is a domain of his: PL/pgSQL compiles a function once for a session."""
    db.close_public()
    db.admin.execute(STEAL)
    db.app.execute(f"""CREATE FUNCTION f(int) RETURNS int LANGUAGE {language} AS $$ {body} $$; CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g; GRANT INSERT, SELECT ON t TO other""")
    db.daemon()
    job = outcome_of(db, set_clause="m = f(n)")
    assert job["state"] == "failed" and "f(integer) has no search_path of its own" in job["error"] and job["hint"].startswith("ALTER FUNCTION public.f(integer) SET search_path"), job
    db.app.execute("ALTER FUNCTION f(int) SET search_path = public, pg_temp")  # as the hint says
    assert outcome_of(db, set_clause="m = f(n)")["state"] == "succeeded"
    with db.connect("other") as session:
        session.execute("CREATE FUNCTION g.evil() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM g.steal(); RETURN true; EXCEPTION WHEN insufficient_privilege THEN RETURN true; END $$; CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (g.evil())")
        session.execute("SET search_path = pg_temp, pg_catalog, public; SELECT public.f(1)")
        session.execute("INSERT INTO public.t (id, n) VALUES (1000, 1)")
    assert db.all("SELECT who FROM g.log") == [] and db.one("SELECT m FROM t WHERE id = 1000") == 1


def outcome_of(db, **job):
    name = db.submit(where_clause="m IS NULL", keep_in_sync=True, **job)
    wait_until(lambda: db.state(name) in ("failed", "succeeded"), 30, "the job ends")
    return db.job(name)


@pytest.mark.parametrize("inner", ["text(n)", "(SELECT x FROM v)"])
def test_a_text_runs_under_the_path_of_whatever_function_has_called_it(db, inner):
    """Its own may have none, and the one that calls it may have a parsed body."""
    db.close_public()
    db.admin.execute("CREATE SCHEMA pub; GRANT ALL ON SCHEMA pub TO other, app")
    db.app.execute(f"""CREATE FUNCTION helper(bigint) RETURNS int LANGUAGE sql AS 'SELECT $1::int'; CREATE FUNCTION text(int) RETURNS int LANGUAGE sql AS 'SELECT helper($1)';
        CREATE VIEW v AS SELECT length(query_to_xml('SELECT helper(1) AS r', true, false, '')::text) AS x;
        CREATE FUNCTION g(n int) RETURNS int LANGUAGE sql SET search_path = public, pub, pg_temp BEGIN ATOMIC SELECT {inner}; END; CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g""")
    db.daemon()
    job = outcome_of(db, set_clause="m = g(n)")
    assert job["state"] == "failed" and "looks names up in schema pub with the rights of the table's owner, and other may create some there" in job["error"], job["error"]
    db.admin.execute("REVOKE CREATE ON SCHEMA pub FROM other")
    assert outcome_of(db, set_clause="m = g(n)")["state"] == "succeeded"


@pytest.mark.parametrize("made, thing", [("CREATE FUNCTION pub.helper(int) RETURNS int LANGUAGE sql AS 'SELECT 666'", "FUNCTION pub.helper(integer)"),
                                         ("CREATE OPERATOR pub.@@@ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int)", "OPERATOR pub.@@@(integer,integer)"), ("CREATE DOMAIN pub.number AS int", "DOMAIN pub.number"),
                                         ("CREATE TYPE pub.state AS ENUM ('a')", "TYPE pub.state"), ("CREATE TYPE pub.pair AS (x int)", "TYPE pub.pair"), ("CREATE VIEW pub.rates AS SELECT 1 AS f", "VIEW pub.rates"), ("CREATE TABLE pub.log (i int)", "TABLE pub.log")])
def test_what_others_have_made_in_a_schema_of_the_path_while_they_might_counts(db, made, thing):
    db.close_public()
    db.admin.execute("CREATE SCHEMA pub; GRANT ALL ON SCHEMA pub TO other, app")
    db.session("other").execute(made)
    db.admin.execute("REVOKE CREATE ON SCHEMA pub FROM other")
    db.app.execute("""CREATE FUNCTION helper(bigint) RETURNS int LANGUAGE sql AS 'SELECT $1::int'; CREATE FUNCTION g(int) RETURNS int LANGUAGE plpgsql SET search_path = public, pub, pg_temp AS 'BEGIN RETURN helper($1); END';
                      CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g""")
    db.daemon()
    job = outcome_of(db, set_clause="m = g(n)")
    kind, name = thing.split(" ", 1)
    assert job["state"] == "failed" and f"looks names up in schema pub with the rights of the table's owner, and other has {kind.lower()} {name} there" in job["error"] and job["hint"].startswith(f"DROP {thing}, or ALTER"), job
    db.admin.execute(f"DROP {thing}")  # as the hint says
    assert outcome_of(db, set_clause="m = g(n)")["state"] == "succeeded"


def test_the_users_schema_is_that_of_whoever_the_function_runs_as(db):
    """A function of a member of the owner's role, SECURITY DEFINER: $user is that member there."""
    db.close_public()
    db.admin.execute("CREATE SCHEMA app AUTHORIZATION other; GRANT ALL ON SCHEMA public TO app_owner")
    db.app.execute("""CREATE FUNCTION helper(bigint) RETURNS int LANGUAGE sql AS 'SELECT $1::int'; CREATE FUNCTION g(int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = "$user", public, pg_temp AS 'BEGIN RETURN helper($1); END';
                      GRANT EXECUTE ON FUNCTION g TO app_owner; CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g; ALTER TABLE t OWNER TO app_owner""")
    db.daemon()
    job = outcome_of(db, set_clause="m = g(n)")
    assert job["state"] == "failed" and "in schema app with the rights" in job["error"], job["error"]


def test_what_is_reached_in_two_ways_passes_no_bound_unseen(db):
    db.close_public()
    db.admin.execute("CREATE SCHEMA os AUTHORIZATION other; GRANT USAGE ON SCHEMA os TO app")
    db.session("other").execute("CREATE FUNCTION os.f(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1")
    db.app.execute("""CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g; CREATE TABLE x (id int, y int) PARTITION BY LIST (id); CREATE INDEX ON x (y);
        DO $do$ BEGIN FOR i IN 1 .. 700 LOOP EXECUTE format('CREATE TABLE x%s PARTITION OF x FOR VALUES IN (%s)', i, i); END LOOP; END $do$; CREATE TABLE w (id int);
        CREATE FUNCTION writes(int) RETURNS int LANGUAGE sql BEGIN ATOMIC INSERT INTO w SELECT id FROM x WHERE id = $1; SELECT 1; END;
        CREATE FUNCTION c0(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN os.f($1); DO $do$ BEGIN FOR i IN 1 .. 25 LOOP EXECUTE format('CREATE FUNCTION c%s(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN c%s($1)', i, i - 1); END LOOP; END $do$""")
    db.daemon()
    job = outcome_of(db, set_clause="m = writes(n) + c25(n) + (SELECT count(*) FROM x WHERE id = n)")
    assert job["state"] == "failed" and ("os.f(integer) belongs to other" in job["error"] or "reaches more than 3,000" in job["error"]), job["error"]


@pytest.mark.parametrize("n, path, problem", [(200, "s, pg_temp", "reaches functions with more than 40 search_paths of their own"), (3100, None, "reaches more than 3,000 functions, types, tables"), (3, "a" + ", a".join(map(str, range(900))) + ", pg_temp", "has a search_path of more than 1,000 bytes")], ids=["many texts", "many", "a long path"])
def test_what_the_trigger_reaches_is_looked_through_in_bounds(db, n, path, problem):
    """The control session's time is everybody's."""
    db.close_public()
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g")
    db.app.execute(f"""DO $do$ BEGIN FOR i IN 1 .. {n} LOOP EXECUTE format('CREATE FUNCTION f%s(int) RETURNS int IMMUTABLE LANGUAGE {"plpgsql SET search_path = " + path + " AS ''BEGIN RETURN $1; END''" if path else "sql RETURN $1"}', i); END LOOP;
                       EXECUTE 'CREATE FUNCTION g(int) RETURNS int IMMUTABLE LANGUAGE sql BEGIN ATOMIC ' || (SELECT string_agg(format('SELECT f%s($1);', i), ' ') FROM generate_series(1, {n}) i) || ' END'; END $do$""")
    if n == 200:
        db.app.execute("DO $do$ BEGIN FOR i IN 1 .. 200 LOOP EXECUTE format('ALTER FUNCTION f%s(int) SET search_path = s%s, pg_temp', i, i); END LOOP; END $do$")
    db.daemon()
    failed = db.finish(db.submit(set_clause="m = g(n)", where_clause="m IS NULL", keep_in_sync=True), "failed")
    assert problem in failed["error"], failed["error"]


def test_who_owns_the_schema_could_replace_the_functions_of_a_trigger_and_is_named(db):
    db.admin.execute("CREATE SCHEMA theirs AUTHORIZATION other; GRANT ALL ON SCHEMA theirs TO app; CREATE TABLE theirs.t (id bigint PRIMARY KEY, a int, b int); ALTER TABLE theirs.t OWNER TO app")
    job = {"target": "theirs.t", "set_clause": "b = a", "where_clause": "b IS NULL", "keep_in_sync": True}
    with pytest.raises(psycopg.Error, match="other, who owns schema theirs, could replace") as refused:
        db.submit(**job)
    assert "ALTER TABLE theirs.t SET SCHEMA" in refused.value.diag.message_hint and "GRANT app TO other" in refused.value.diag.message_hint
    db.admin.execute("ALTER SCHEMA theirs OWNER TO app")
    name = db.submit(**job)
    db.admin.execute("ALTER SCHEMA theirs OWNER TO other; GRANT ALL ON SCHEMA theirs TO app")  # behind the check
    db.daemon()
    assert "other, who owns schema theirs, could replace" in db.finish(name, "failed")["error"]
    db.admin.execute("ALTER SCHEMA theirs OWNER TO app")
    db.app.execute("SELECT backfill.retry(%s)", [name])
    db.finish(name)


@pytest.mark.parametrize("place, fine", [("arr[1 + 1]", False), ("j['a' || 'b']", False), ("j['n'::text]", False), ("arr[abs(1)]", False), ("arr[1:1 + 1]", False), ("arr[(SELECT 1)]", False), ("arr[2 - 1]", False), ("arr[-'1']", False), ("arr[- - 1]", False), ("arr[1:-'1']", False), ("j['a' - 1]", False), ("j['a'][2-1]", False), ("arr[1.0]", False),
                                         ("arr[1]", True), ("arr[-1]", True), ("j['n']", True), ("j['it''s']['b'][0]", True), ("arr[1:2]", True), ("arr[-1:-0]", True), ("j['a]b']['-']", True)])
def test_where_in_a_column_a_trigger_writes_is_a_constant(db, place, fine):
    """It stands in the trigger's function as it was written: an operator in it would be whoever's comes first in the writer's search_path, with the owner's rights."""
    db.app.execute("CREATE TABLE t (id int PRIMARY KEY, n int, arr int[], j jsonb); INSERT INTO t SELECT i, i, '{1, 2}', '{}' FROM generate_series(1, 10) AS i")
    job = {"set_clause": f"{place} = " + {"a": "'{5, 6}'" if ":" in place else "n", "j": "to_jsonb(n)"}[place[0]], "where_clause": f"{place.split('[')[0]} IS NOT NULL AND id > 0", "keep_in_sync": True}
    if fine:
        db.submit(**job)
        return
    with pytest.raises(psycopg.Error, match="no trigger can compute this set_clause") as refused:
        db.submit(**job)
    assert refused.value.diag.column_name == "keep_in_sync" and "between the brackets" in refused.value.diag.message_hint


def test_temporary_tables_that_others_have_made_in_the_session_come_last_in_a_trial_too(db):
    """The trial of a job with add_column is on a copy, which is temporary."""
    db.admin.execute("CREATE SCHEMA mine AUTHORIZATION stranger; GRANT USAGE ON SCHEMA mine TO public; CREATE SCHEMA own AUTHORIZATION app")
    db.session("stranger").execute("""CREATE TABLE mine.loot (who text, how text); GRANT INSERT ON mine.loot TO public; CREATE SEQUENCE mine.seen; GRANT ALL ON SEQUENCE mine.seen TO public;
      CREATE FUNCTION mine.evil() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('mine.seen'); RETURN 7; END $$;
      CREATE FUNCTION mine.plant() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        IF to_regclass('pg_temp.rates') IS NULL THEN CREATE TEMP VIEW rates AS SELECT 'eur'::text AS cur, mine.evil() AS rate; GRANT SELECT ON pg_temp.rates TO PUBLIC; END IF; EXCEPTION WHEN OTHERS THEN NULL; END $$;
      CREATE FUNCTION mine.rounded(n numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER AS $$ BEGIN PERFORM mine.plant(); RETURN round(n, 2); END $$""")
    db.app.execute("CREATE TABLE own.t (id bigint PRIMARY KEY, amount numeric); INSERT INTO own.t SELECT g, g FROM generate_series(1, 100) AS g; CREATE TABLE own.rates (cur text PRIMARY KEY, rate int); INSERT INTO own.rates VALUES ('eur', 2)")
    db.daemon()
    with db.connect("app") as session:
        session.execute("SET search_path = own")
        name = db.submit(session=session, target="own.t", add_column="c numeric", set_clause="c = mine.rounded(1.234) + (SELECT r.rate FROM rates r WHERE r.cur = 'eur')")
    db.finish(name)
    assert db.one("SELECT count(*) FROM own.t WHERE c = 3.23") == 100 and not db.one("SELECT is_called FROM mine.seen")
