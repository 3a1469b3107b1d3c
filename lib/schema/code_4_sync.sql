-- The trigger of keep_in_sync, and of sync_back.
--
-- What stands in and beside the table, owned by the table's owner; <token> is a name that nobody can guess:
--   <token>_value, _todo, _rest, _back, _breaks   functions of a row, in SQL with a parsed body: what set_clause computes; where_clause; its
--          conditions that don't ask for a filled column; what sync_back computes; which CHECK of before the job the row breaks. The server follows a column that is renamed in
--          them, and refuses to drop one.
--   <token>   the triggers' function. It calls those with the owner's rights, and qualifies all that it names.
--   zz_backfilld_keep_in_sync_<id>_insert, _update, _meant, _back   the triggers. They fire for every writer (ENABLE ALWAYS), and by their name
--          after the table's other ones.
--
-- An INSERT gets what its writer left out. An UPDATE gets a new value when a column that set_clause reads has changed and no filled one
-- has: what somebody wrote there stays. When only a column of where_clause has changed, a row that is done stays as it is; one that now
-- meets where_clause gets a value. Changed means other bytes (record_image_ne): 1.0 and 1.00 differ.
-- In a batch of the job itself a source that another trigger changes counts although the filled column has changed, and nothing goes
-- back. It is known by backfilld.batch, which is set for its transaction alone (backfill.begin_work).
--
-- job.plan -> 'sync', made at INSERT:
--   token; mark: the hash of what a batch shows, since a daemon has taken the job; mode: 'null' (where_clause asks for NULL in filled columns), 'where' (another one), 'all' (none); rest: those conditions of
--   where_clause that don't ask for a filled column; asked: filled columns that it asks for, with mode 'where'; self: set_clause reads what it fills; not_null: columns that could not be
--   NULL before (backfill.never_null); checks: {name: expression} of CHECKs of before that read filled columns; defaults: {column: constant} of columns that may be left out.

CREATE OR REPLACE FUNCTION backfill.sync_token(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('backfilld_sync_%s_%s', job.id, job.plan -> 'sync' ->> 'token')
$$;

-- What the names of the triggers begin with.
CREATE OR REPLACE FUNCTION backfill.sync_name(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'zz_backfilld_keep_in_sync_' || lpad(job.id::text, 6, '0')  -- of two jobs on a table the older comes first: the younger may read what it fills
$$;

-- The name of an earlier version's trigger and function.
CREATE OR REPLACE FUNCTION backfill.old_sync_name(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'zz_backfilld_keep_in_sync_' || job.id
$$;

-- Its triggers on the table itself.
CREATE OR REPLACE FUNCTION backfill.sync_triggers(job backfill.job) RETURNS TABLE (oid oid, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.oid, t.tgname::text FROM pg_trigger t
   WHERE t.tgrelid = job.target AND NOT t.tgisinternal
     AND t.tgname = ANY (backfill.old_sync_name(job) || ARRAY(SELECT backfill.sync_name(job) || ending FROM unnest('{_insert, _update, _meant, _back}'::text[]) AS e(ending)))
$$;

-- The functions of a job's trigger that are there, wherever they are: those of the table's owner, or of whoever's the trigger's own function
-- is. Others may have given theirs the names.
CREATE OR REPLACE FUNCTION backfill.sync_functions(job backfill.job) RETURNS TABLE (oid oid, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT p.oid, p.proname::text FROM pg_proc p
   WHERE (p.proname IN (backfill.old_sync_name(job), backfill.sync_token(job)) OR p.proname = ANY (ARRAY(
           SELECT backfill.sync_token(job) || ending FROM unnest('{_value, _todo, _rest, _back, _breaks}'::text[]) AS e(ending))))
     AND p.proowner IN (SELECT c.relowner FROM pg_class c WHERE c.oid = job.target
                         UNION ALL
                        SELECT f.proowner FROM backfill.sync_triggers(job) s JOIN pg_trigger t ON t.oid = s.oid JOIN pg_proc f ON f.oid = t.tgfoid
                         UNION ALL  -- the table was dropped, and left them behind: whose it was, nobody knows any more
                        SELECT r.oid FROM pg_roles r WHERE backfill.relation_name(job.target) IS NULL AND pg_has_role(backfill.role_of(job), r.oid, 'USAGE'))
$$;

-- The condition by which the triggers know a batch of the job. They hold the hash of what it shows: who reads them, which anybody may, can't show it.
-- What the batch itself sets off could, later: what it then writes is out of step, its own rows, which verify finds.
CREATE OR REPLACE FUNCTION backfill.own_batch(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.current_setting(''backfilld.batch'', true), pg_catalog.getdatabaseencoding())), ''hex'')'
                ' OPERATOR(pg_catalog.=) %L', job.plan -> 'sync' ->> 'mark')
$$;

-- ---- The row functions

-- A derived table in place of the job's: its columns, but for some, and those that the job will add, as NULL. What a row of it gives
-- is what a row of the table gives; system columns are missing, as in a trigger.
CREATE OR REPLACE FUNCTION backfill.derived_table(relation oid, alias text, without text[], missing jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('(SELECT %s FROM ONLY %s AS t) AS %I', string_agg(c.item, ', ' ORDER BY c.ord), backfill.relation_name(relation), alias)
    FROM (SELECT a.attnum AS ord, format('t.%I', a.attname) AS item FROM pg_attribute a
           WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (coalesce(without, '{}'))
          UNION ALL
          SELECT 2000, format('NULL::%s%s AS %I', missing ->> 'type', coalesce(' COLLATE ' || (missing ->> 'collation'), ''), missing ->> 'name')
           WHERE missing IS NOT NULL AND missing ->> 'name' <> ALL (coalesce(without, '{}'))) c
$$;

-- The column that a job adds, when it is not in the table yet: as job.plan has it.
CREATE OR REPLACE FUNCTION backfill.missing_column(job backfill.job) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN NOT backfill.has_column(job) THEN job.plan -> 'column' END
$$;

-- The types of what is assigned; NULL when they can't be told. type: of the value, under domains and without its length: where the trigger writes
-- it into the row, the server makes it what the column is, as in an UPDATE. literal: what a constant without a type is read as, which is
-- the same but for an interval, whose fields say what a bare number counts.
CREATE OR REPLACE FUNCTION backfill.target_type(relation oid, target text, missing jsonb, OUT type text, OUT literal text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  words  text[] := backfill.tokens_of(target);
  col    text := backfill.assigned_column(target);
  i      integer := 2;
  depth  integer;
  slice  boolean;
  typmod integer;
  kind   oid;
  t      pg_type;
BEGIN
  SELECT a.atttypid, a.atttypmod INTO kind, typmod FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = col AND a.attnum > 0 AND NOT a.attisdropped;
  IF kind IS NULL AND missing ->> 'name' = col THEN
    kind := to_regtype(missing ->> 'type');
  END IF;
  LOOP
    SELECT * INTO t FROM pg_type y WHERE y.oid = kind;
    WHILE t.typtype = 'd' LOOP
      typmod := CASE WHEN t.typtypmod <> -1 THEN t.typtypmod ELSE typmod END;
      SELECT * INTO t FROM pg_type y WHERE y.oid = t.typbasetype;
    END LOOP;
    EXIT WHEN i > cardinality(words);
    IF words[i] = '.' AND t.typrelid <> 0 THEN
      SELECT a.atttypid, a.atttypmod INTO kind, typmod FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attname = backfill.assigned_column(words[i + 1]) AND a.attnum > 0 AND NOT a.attisdropped;
      i := i + 2;
    ELSIF words[i] = '[' AND (t.oid = 'jsonb'::regtype OR t.typelem <> 0) THEN  -- those behind each other are one
      slice := false;
      depth := 0;
      WHILE words[i] = '[' OR depth > 0 LOOP
        depth := depth + CASE WHEN words[i] IN ('[', '(') THEN 1 WHEN words[i] IN (']', ')') THEN -1 ELSE 0 END;
        slice := slice OR depth = 1 AND words[i] = ':' AND words[i - 1] <> ':' AND words[i + 1] IS DISTINCT FROM ':';
        i := i + 1;
        EXIT WHEN i > cardinality(words);
      END LOOP;
      kind := CASE WHEN slice OR t.oid = 'jsonb'::regtype THEN t.oid ELSE t.typelem END;
    ELSE
      kind := NULL;
    END IF;
    EXIT WHEN kind IS NULL;
  END LOOP;
  IF kind IS NULL OR t.oid IS NULL THEN
    RETURN;
  END IF;
  type := format_type(t.oid, -1);
  literal := CASE WHEN t.oid <> 'interval'::regtype THEN type
                  WHEN typmod IS NULL THEN regexp_replace(missing ->> 'type', '\[\]$', '')
                  ELSE format_type(t.oid, typmod) END;
END
$$;

-- The default of a column as an expression: its own, or its type's; NULL: it has none.
CREATE OR REPLACE FUNCTION backfill.default_of(relation oid, column_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(regexp_replace(coalesce(pg_get_expr(d.adbin, d.adrelid), pg_get_expr(t.typdefaultbin, 0)), '^NULL(::.*)?$', ''), '')
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
$$;

-- Which of the columns may not be NULL as the table stands: by themselves, by their domain, or by a CHECK of that column alone.
CREATE OR REPLACE FUNCTION backfill.never_null(relation oid, columns text[]) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  result pg_catalog.text[] := '{}';
  never  boolean;
  c      record;
  rule   pg_catalog.text;
BEGIN
  FOR c IN
    SELECT a.attname::pg_catalog.text AS name, a.attnum, a.attnotnull, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type, r.relname
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) a.attrelid
     WHERE a.attrelid OPERATOR(pg_catalog.=) relation AND a.attnum OPERATOR(pg_catalog.>) 0::smallint AND NOT a.attisdropped AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (columns)
     ORDER BY a.attnum
  LOOP
    never := c.attnotnull;
    IF NOT never THEN
      BEGIN
        EXECUTE pg_catalog.format('SELECT NULL::%s', c.type);
        FOR rule IN
          SELECT pg_catalog.pg_get_expr(k.conbin, k.conrelid) FROM pg_catalog.pg_constraint k
           WHERE k.conrelid OPERATOR(pg_catalog.=) relation AND k.contype OPERATOR(pg_catalog.=) 'c' AND k.conkey OPERATOR(pg_catalog.=) ARRAY[c.attnum]
        LOOP
          EXECUTE pg_catalog.format('SELECT (%s) IS FALSE FROM (SELECT NULL::%s) AS %I(%I)', rule, c.type, c.relname, c.name) INTO never;
          EXIT WHEN never;
        END LOOP;
      EXCEPTION WHEN OTHERS THEN
        IF backfill.is_trouble(SQLSTATE) THEN
          RAISE;
        END IF;
        never := true;
      END;
    END IF;
    IF never THEN
      result := pg_catalog.array_append(result, c.name);
    END IF;
  END LOOP;
  RETURN result;
END
$$;

-- One expression for each column that a set_clause assigns. A sub-select for several columns is written once for each.
CREATE OR REPLACE FUNCTION backfill.assigned_values(set_clause text, OUT targets text[], OUT expressions text[])
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  item text[];
  n    integer;
BEGIN
  FOR item, n IN SELECT ARRAY[a ->> 'to', a ->> 'expression'], jsonb_array_length(a -> 'columns') FROM jsonb_array_elements(backfill.assignments_of(set_clause)) a LOOP
    IF n = 1 THEN
      targets := targets || item[1];
      expressions := expressions || item[2];
      CONTINUE;
    END IF;
    targets := targets || ARRAY(SELECT backfill.trim_sql(t) FROM unnest(backfill.split_at(backfill.within_brackets(item[1]), ',')) WITH ORDINALITY AS u(t, ord) ORDER BY ord);
    FOR i IN 1 .. n LOOP
      expressions := expressions || format(E'(SELECT "backfilld many".%I FROM %s\n AS "backfilld many"(%s))', i::text, item[2],
                                           (SELECT string_agg(quote_ident(g::text), ', ' ORDER BY g) FROM generate_series(1, n) g));
    END LOOP;
  END LOOP;
END
$$;

-- What is assigned to a column, as an expression; where it says DEFAULT, what that is in the relation.
CREATE OR REPLACE FUNCTION backfill.value_of(relation oid, column_name text, expression text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN lower(expression COLLATE "C") = 'default' THEN coalesce(backfill.default_of(relation, column_name), 'NULL') ELSE expression END
$$;

-- backfill.assigned_values of a relation, in which nothing says DEFAULT.
CREATE OR REPLACE FUNCTION backfill.computed_values(relation oid, set_clause text, OUT targets text[], OUT expressions text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT v.targets, ARRAY(SELECT backfill.value_of(relation, backfill.assigned_column(u.t), u.e)
                            FROM unnest(v.targets, v.expressions) WITH ORDINALITY AS u(t, e, ord) ORDER BY u.ord)
    FROM backfill.assigned_values(set_clause) v
$$;

-- The command that creates a row function. types: of its results, one for each expression. columns: those that it reads, of those
-- that the table has; missing: one that it has not yet. The row is its argument, called as the table, so that "orders.amount" and
-- "orders" mean what they mean in an UPDATE; "amount" is a column of the derived table.
-- It returns a table, of one row, and says that it is STABLE whatever it is: so the planner puts it into the trigger's own query, which
-- is planned once. (Its first column is there because one alone, of a composite type, would be taken apart.) Any other function in SQL would be planned anew for each row, as each is a subtransaction of its own there.
CREATE OR REPLACE FUNCTION backfill.row_function(name text, relation oid, types text[], expressions text[], columns text[], missing jsonb)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(E'CREATE FUNCTION %s(%I %s) RETURNS TABLE ("0" integer, %s) LANGUAGE sql STABLE BEGIN ATOMIC SELECT 0, %s%s; END',
           name, c.relname, backfill.relation_name(relation),
           (SELECT string_agg(format('%I %s', ord::text, t), ', ' ORDER BY ord) FROM unnest(types) WITH ORDINALITY AS u(t, ord)),
           (SELECT string_agg(E'(' || e || E'\n)', ', ' ORDER BY ord) FROM unnest(expressions) WITH ORDINALITY AS u(e, ord)),
           coalesce((SELECT format(E'\nFROM (SELECT %s) AS "backfilld row"(%s)', string_agg(i.item, ', ' ORDER BY i.ord), string_agg(quote_ident(i.name), ', ' ORDER BY i.ord))
                       FROM (SELECT u.ord, format('%I.%I', c.relname, u.name) AS item, u.name FROM unnest(columns) WITH ORDINALITY AS u(name, ord)
                             UNION ALL
                             SELECT 2000, format('NULL::%s%s', missing ->> 'type', coalesce(' COLLATE ' || (missing ->> 'collation'), '')), missing ->> 'name'
                              WHERE missing IS NOT NULL) i
                     HAVING count(*) > 0), ''))
    FROM pg_class c WHERE c.oid = relation
$$;

-- The columns of a relation that expressions read, by name, as they stand in an UPDATE of it; all, when one reads the row as a whole.
-- The server tells, of a function that is gone again. Runs as, and under the search_path of, whoever wrote the expressions.
CREATE OR REPLACE FUNCTION backfill.columns_read(relation oid, expressions text[]) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  class  pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation);
  probe  pg_catalog.text;
  result pg_catalog.text[];
BEGIN
  probe := pg_catalog.format('%s.%I', class.relnamespace::pg_catalog.regnamespace, 'backfilld ' OPERATOR(pg_catalog.||) pg_catalog.gen_random_uuid()::pg_catalog.text);
  BEGIN
    EXECUTE pg_catalog.format(E'CREATE FUNCTION %s() RETURNS SETOF record LANGUAGE sql BEGIN ATOMIC SELECT %s FROM ONLY %s AS %I; END', probe,
                              (SELECT pg_catalog.string_agg('(' OPERATOR(pg_catalog.||) e OPERATOR(pg_catalog.||) E'\n)', ', ') FROM pg_catalog.unnest(expressions) e),
                              backfill.relation_name(relation), class.relname);
    result := backfill.columns_of_function(pg_catalog.to_regproc(probe)::pg_catalog.oid, relation);
    RAISE EXCEPTION USING ERRCODE = 'BF900';
  EXCEPTION WHEN SQLSTATE 'BF900' THEN
    NULL;
  END;
  RETURN result;
END
$$;

CREATE OR REPLACE FUNCTION backfill.columns_of_function(function oid, relation oid) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}')
    FROM pg_attribute a
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
     AND (EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = function AND d.refclassid = 'pg_class'::regclass
                     AND d.refobjid = relation AND d.refobjsubid = a.attnum)
          OR EXISTS (SELECT FROM pg_proc p WHERE p.oid = function AND p.prosqlbody::text ~ '\{VAR :varno \d+ :varattno 0 '))
$$;

-- What the value of a row function depends on beside the row. pinned: settings, none when it depends on the row alone (row_security, for the
-- other tables that it reads); volatile: it gives another value each time; refused: why no other session can be sure to get the same value, or NULL.
-- settings: those that the job names itself.
CREATE OR REPLACE FUNCTION backfill.function_traits(function oid, settings text[], OUT pinned text[], OUT volatile boolean, OUT refused text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  body     text := (SELECT p.prosqlbody::text FROM pg_proc p WHERE p.oid = function);
  called   oid[] := ARRAY(SELECT (m)[1]::oid FROM regexp_matches(body, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') AS t(m)
                           UNION
                          SELECT o.oprcode::oid FROM regexp_matches(body, ':opno (\d+)', 'g') AS t(m) JOIN pg_operator o ON o.oid = (m)[1]::oid
                           UNION
                          SELECT o.oprcode::oid FROM regexp_matches(body, ':opnos \(o ([\d ]+)\)', 'g') AS t(m), regexp_split_to_table((m)[1], ' ') AS n(oid) JOIN pg_operator o ON o.oid = n.oid::oid);
  theirs   boolean := EXISTS (SELECT FROM pg_proc p WHERE p.oid = ANY (called) AND (p.oid >= 16384 OR p.pronamespace <> 'pg_catalog'::regnamespace))
                      OR EXISTS (SELECT FROM regexp_matches(body, ':resulttype (\d+)', 'g') AS t(m) WHERE (m)[1]::oid >= 16384);
  strength text := (SELECT max(CASE p.provolatile WHEN 'v' THEN '2' WHEN 's' THEN '1' ELSE '0' END) FROM pg_proc p WHERE p.oid = ANY (called));
  sources  text := (SELECT string_agg(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), E'\n') FROM pg_proc p WHERE p.oid = ANY (called) AND p.oid >= 16384);
  names    text := (SELECT string_agg(p.proname, ' ') FROM pg_proc p WHERE p.oid = ANY (called));
  known    text[] := settings || '{search_path, timezone, datestyle, intervalstyle, bytea_output, lc_monetary, lc_numeric, lc_time, default_text_search_config, xmlbinary, xmloption}'::text[];
  asked    text[];
BEGIN
  volatile := coalesce(strength, '0') = '2';
  -- A function of the user's may depend on any; of the server's own the type of a value and the name of a function tell.
  pinned := CASE WHEN theirs THEN '{search_path, row_security}'::text[] WHEN body ~ ':rtekind 0 ' THEN '{row_security}' ELSE '{}' END;
  IF theirs OR coalesce(strength, '0') > '0' OR body ~ 'SQLVALUEFUNCTION|COERCEVIAIO|XMLEXPR' THEN
    pinned := pinned || '{TimeZone, DateStyle, IntervalStyle, bytea_output, extra_float_digits}'::text[]
           || CASE WHEN theirs OR names ~ '\mto_' THEN '{lc_numeric, lc_time}'::text[] END
           || CASE WHEN theirs OR names ~ 'ts|text_search' THEN '{default_text_search_config}'::text[] END
           || CASE WHEN theirs OR body ~ ' 790\M' THEN '{lc_monetary}'::text[] END  -- money
           || CASE WHEN theirs OR body ~ ' 142\M|XMLEXPR' THEN '{xmlbinary, xmloption}'::text[] END;  -- xml
  END IF;
  IF body ~ '\{SQLVALUEFUNCTION :op 12 ' OR sources ~* '\msession_user\M' THEN
    refused := 'reads session_user, which each writer has its own';
  ELSIF 'pg_catalog.current_setting(text)'::regprocedure = ANY (called) OR 'pg_catalog.current_setting(text, boolean)'::regprocedure = ANY (called)
        OR sources ~* '\mcurrent_setting\M' THEN
    sources := concat_ws(E'\n', pg_get_function_sqlbody(function), sources);
    asked := ARRAY(SELECT lower((m)[1] COLLATE "C") FROM regexp_matches(sources, '\mcurrent_setting\s*\(\s*''([^'']*)''', 'gi') AS t(m));
    IF cardinality(asked) < (SELECT count(*) FROM regexp_matches(sources, '\mcurrent_setting\s*\(', 'gi')) THEN
      refused := 'reads a setting whose name can''t be told beforehand';
    ELSE
      refused := (SELECT format('reads the setting %s, which each writer has its own', a) FROM unnest(asked) a WHERE a <> ALL (SELECT lower(k COLLATE "C") FROM unnest(known) k) LIMIT 1);
    END IF;
  END IF;
END
$$;

-- Whether the value of a row function may also depend on the role that computes it: whose function of the user's, table, name in a catalog or right it
-- meets. Settings are pinned, whoever it is; of the server's own functions those that do no more than convert and reckon are known.
CREATE OR REPLACE FUNCTION backfill.depends_on_role(function oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH b AS (SELECT p.prosqlbody::text AS body FROM pg_proc p WHERE p.oid = function),
       types AS (SELECT (m)[1]::oid AS oid FROM b, regexp_matches(b.body, ':\w*type (\d+)', 'g') AS t(m)),
       called AS (SELECT (m)[1]::oid AS oid FROM b, regexp_matches(b.body, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') AS t(m)
                   UNION
                  SELECT o.oprcode::oid FROM b, regexp_matches(b.body, ':opno (\d+)', 'g') AS t(m) JOIN pg_operator o ON o.oid = (m)[1]::oid
                   UNION
                  SELECT o.oprcode::oid FROM b, regexp_matches(b.body, ':opnos \(o ([\d ]+)\)', 'g') AS t(m), regexp_split_to_table((m)[1], ' ') AS n(oid)
                    JOIN pg_operator o ON o.oid = n.oid::oid)
  SELECT (SELECT b.body ~ ':rtekind 0 |XMLEXPR|\{SQLVALUEFUNCTION :op (9|1\d) ' FROM b)  -- CURRENT_ROLE and what follows it
         OR EXISTS (SELECT FROM types t JOIN pg_type y ON y.oid = t.oid
                     WHERE y.typname ~ '^_?reg' OR t.oid >= 16384 AND coalesce(nullif(y.typelem, 0), y.oid) NOT IN (SELECT e.oid FROM pg_type e WHERE e.typtype = 'e')
                       AND y.typrelid NOT IN (SELECT p.typrelid FROM pg_proc f JOIN pg_type p ON p.oid = f.proargtypes[0] WHERE f.oid = function))
         OR EXISTS (SELECT FROM called k JOIN pg_proc p ON p.oid = k.oid
                     WHERE p.oid >= 16384 OR p.pronamespace <> 'pg_catalog'::regnamespace
                        OR p.provolatile <> 'i'
                       AND p.proname <> ALL ('{textanycat, anytextcat, concat, concat_ws, format, to_char, to_timestamp, to_date, array_to_string, to_json, to_jsonb, row_to_json,
                                               array_to_json, json_build_object, json_build_array, jsonb_build_object, jsonb_build_array,
                                               random, gen_random_uuid, now, transaction_timestamp, statement_timestamp, clock_timestamp}'::name[])
                       AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) a JOIN pg_type y ON y.oid = a WHERE y.typcategory IN ('D', 'T')))
$$;

-- ---- At INSERT

-- The settings of this session that values depend on, beside search_path, TimeZone and DateStyle: a clause gives in each batch what it
-- gave here. extra_float_digits is 1 in batches and in the trigger, for the sake of keys.
-- A session that writes although it would begin read-only has been told to, and so is its job's.
CREATE OR REPLACE FUNCTION backfill.session_settings() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(n, current_setting(n))
         || CASE WHEN (SELECT s.reset_val = 'on' FROM pg_settings s WHERE s.name = 'default_transaction_read_only')
                 THEN '{"default_transaction_read_only": "off"}'::jsonb ELSE '{}' END
    FROM unnest('{IntervalStyle, bytea_output, lc_monetary, lc_numeric, lc_time, default_text_search_config, xmlbinary, xmloption,
                  array_nulls, transform_null_equals}'::text[]) n
$$;

-- What an expression breaks on when it stands over a derived table; NULL: nothing. Errors of the server's own are raised.
CREATE OR REPLACE FUNCTION backfill.breaks_on(expressions text[], derived text, OUT code text, OUT problem text)
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM backfill.plan(pg_catalog.format('SELECT %s FROM %s', (SELECT pg_catalog.string_agg('(' OPERATOR(pg_catalog.||) e OPERATOR(pg_catalog.||) E'\n)', ', ') FROM pg_catalog.unnest(expressions) e), derived), false);
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
  IF pg_catalog."left"(code, 2) OPERATOR(pg_catalog.=) ANY ('{08,40,53,55,57,58,XX}'::pg_catalog.text[]) THEN
    RAISE;
  END IF;
END
$$;

-- Refuses expressions that read of a row what no trigger has of it: generated columns, which are computed after it has run, and the row as a whole, of
-- which they and what the job fills are a part. column_name, what: where they stand. The row as a whole is told by a column of the
-- table's name, which comes before it, and breaks whatever reads it.
CREATE OR REPLACE FUNCTION backfill.check_columns_alone(job backfill.job, column_name text, what text, expressions text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  name      pg_catalog.text := (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  missing   pg_catalog.jsonb := backfill.missing_column(job);
  generated pg_catalog.text[] := ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) job.target AND a.attgenerated OPERATOR(pg_catalog.<>) '' AND NOT a.attisdropped);
BEGIN
  IF generated OPERATOR(pg_catalog.<>) '{}' AND (backfill.breaks_on(expressions, backfill.derived_table(job.target, name, generated, missing))).code OPERATOR(pg_catalog.=) ANY ('{42703,42P01}'::pg_catalog.text[]) THEN
    PERFORM backfill.refuse(column_name, pg_catalog.format('%s reads the generated column %s', what, pg_catalog.array_to_string(generated, ' or ')),
      'Generated columns are computed after a trigger has run; write out what it is generated from.', '0A000');
  ELSIF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) job.target AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) name AND NOT a.attisdropped)
        AND (backfill.breaks_on(expressions, pg_catalog.format('(SELECT "backfilld row".*, 1 OPERATOR(pg_catalog./) 0 AS %I FROM %s) AS %1$I', name,
                                                               backfill.derived_table(job.target, 'backfilld row', NULL, missing)))).code IS NOT NULL THEN
    PERFORM backfill.refuse(column_name, pg_catalog.format('%s reads the row as a whole, and the column that the job fills with it', what),
      'A trigger would compute another value each time. Name the columns that it is to read: to_jsonb(ROW(a, b)) instead of to_jsonb(table).', '0A000');
  END IF;
END
$$;

-- The constants that columns have as a default: what stands in a row when its writer left the column out.
CREATE OR REPLACE FUNCTION backfill.constant_defaults(relation oid, columns text[]) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_object_agg(a.attname, format('(%s)::%s', d.value, format_type(a.atttypid, a.atttypmod))), '{}')
    FROM pg_attribute a, backfill.default_of(relation, a.attname) AS d(value)
   WHERE a.attrelid = relation AND a.attname = ANY (columns)
     AND d.value ~ '^\(?(''([^'']|'''')*''|-?[0-9.]+|true|false)\)?(::[[:alpha:]_"][[:alnum:]_". ]*(\([0-9, ]+\))?(\[\])*)*$|^ARRAY\[\](::[[:alpha:]_"][[:alnum:]_". ]*(\[\])+)+$'
$$;

-- A clause that says DEFAULT: it must be one, of each partition, that the trigger computes like any expression.
CREATE OR REPLACE FUNCTION backfill.check_default(job backfill.job, column_name text, clause text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wrong record;
BEGIN
  SELECT c.name, a.attidentity, a.attgenerated, backfill.relation_name(r.oid) AS relation INTO wrong
    FROM backfill.assigned_values(clause) v,
         unnest(v.targets, v.expressions) AS u(target, expression),
         backfill.assigned_column(u.target) AS c(name),
         (SELECT job.target::oid UNION SELECT o FROM backfill.relations_of(job) AS o) AS r(oid)
    JOIN pg_attribute a ON a.attrelid = r.oid
   WHERE lower(u.expression COLLATE "C") = 'default' AND a.attname = c.name
     AND (a.attidentity <> '' OR a.attgenerated <> '' OR backfill.default_of(r.oid, c.name) IS DISTINCT FROM backfill.default_of(job.target, c.name))
   ORDER BY r.oid LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse(column_name, format('no trigger can compute DEFAULT for %I, which %s', wrong.name,
                                                CASE WHEN wrong.attidentity <> '' THEN 'is an identity column' WHEN wrong.attgenerated <> '' THEN 'is a generated column'
                                                     ELSE 'is another one in ' || wrong.relation END),
                            'Write an expression instead of DEFAULT.', '0A000');
  END IF;
END
$$;

-- The CHECKs of a table that read some of its columns, as far as a trigger can ask them: none that reads a generated column, or what only a table has.
CREATE OR REPLACE FUNCTION backfill.checks_on(relation oid, columns text[]) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  result pg_catalog.jsonb := '{}';
  k      record;
BEGIN
  FOR k IN
    SELECT c.name, c.expression, r.relname::pg_catalog.text AS relname
      FROM backfill.checks_of(relation, NULL) c
      JOIN pg_catalog.pg_constraint o ON o.conrelid OPERATOR(pg_catalog.=) relation AND o.conname OPERATOR(pg_catalog.=) c.name
      JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) relation
     WHERE EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) relation AND a.attnum OPERATOR(pg_catalog.=) ANY (o.conkey) AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (columns))
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) relation AND a.attnum OPERATOR(pg_catalog.=) ANY (o.conkey) AND a.attgenerated OPERATOR(pg_catalog.<>) '')
  LOOP
    IF (backfill.breaks_on(ARRAY[k.expression], backfill.derived_table(relation, k.relname, NULL, NULL))).code IS NULL THEN
      result := pg_catalog.jsonb_set(result, ARRAY[k.name::pg_catalog.text], pg_catalog.to_jsonb(k.expression));
    END IF;
  END LOOP;
  RETURN result;
END
$$;

-- Refuses a clause that a trigger can't compute. column_name: keep_in_sync, whose clause is set_clause, or sync_back.
CREATE OR REPLACE FUNCTION backfill.check_sync_clause(job backfill.job, column_name text, clause text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  class     pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  missing   pg_catalog.jsonb := backfill.missing_column(job);
  v         record;
  found     record;
  target    pg_catalog.text;
BEGIN
  SELECT * INTO v FROM backfill.computed_values(job.target, clause);
  target := (SELECT t FROM pg_catalog.unnest(v.targets) t  -- where in a column it writes may be no row's own affair
              WHERE (backfill.target_type(job.target, t, missing)).type IS NULL
                 OR t OPERATOR(pg_catalog.~) '\[' AND (backfill.breaks_on(ARRAY[pg_catalog.concat('(NULL::', (backfill.target_type(job.target, backfill.next_token(t), missing)).type, ')',
                                                                                pg_catalog.substr(t, pg_catalog.length(backfill.next_token(t)) OPERATOR(pg_catalog.+) 1))], '(SELECT) AS "backfilld row"')).code IS NOT NULL
              LIMIT 1);
  IF v.targets IS NULL OR target IS NOT NULL THEN
    PERFORM backfill.refuse(column_name, pg_catalog.concat('no trigger can compute this ', CASE WHEN column_name OPERATOR(pg_catalog.=) 'sync_back' THEN 'clause' ELSE 'set_clause' END, ': ' OPERATOR(pg_catalog.||) target),
                            'Write each column, or an element or a field of it, with an expression of its own.', '0A000');
  END IF;
  PERFORM backfill.check_default(job, column_name, clause);
  SELECT * INTO found FROM backfill.breaks_on(v.expressions, backfill.derived_table(job.target, class.relname, NULL, missing));
  IF found.code IS NOT NULL THEN
    PERFORM backfill.refuse(column_name, found.problem,
      'A trigger computes the clause for each row that is written: it may name the row''s columns, alone or behind the table''s name without its schema, but none of the system''s.', found.code);
  END IF;
  PERFORM backfill.check_columns_alone(job, column_name, CASE WHEN column_name OPERATOR(pg_catalog.=) 'sync_back' THEN 'it' ELSE 'set_clause' END, v.expressions);
END
$$;

-- The columns of other jobs that keep rows of a job's table in step, or will: filled, read by set_clause (once its trigger is there), and back, which sync_back writes.
-- Jobs of all roles, for who has the rights of the table's owner.
CREATE OR REPLACE FUNCTION backfill.other_syncs(job backfill.job) RETURNS TABLE (name text, filled text[], reads text[], back text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT j.name, backfill.filled_columns(j.set_clause),
         ARRAY(SELECT DISTINCT c FROM backfill.sync_functions(j) f, unnest(backfill.columns_of_function(f.oid, j.target)) AS c WHERE f.name = backfill.sync_token(j) || '_value'),
         coalesce(backfill.filled_columns(j.sync_back), '{}')
    FROM backfill.job j JOIN pg_class t ON t.oid = j.target
   WHERE j.target = job.target AND j.id <> job.id AND j.keep_in_sync AND NOT j.dry_run AND pg_has_role(session_user, t.relowner, 'MEMBER')
     AND (j.state IN ('queued', 'running', 'paused') OR EXISTS (SELECT FROM backfill.sync_triggers(j)))
$$;

-- Refuses a job whose trigger another's would not see: the triggers of the older job fire first, so the younger one may read what the older
-- fills, and no more. What the younger sends back into such a column, the older sends no further.
CREATE OR REPLACE FUNCTION backfill.check_other_syncs(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  mine   text[] := backfill.filled_columns(job.set_clause);
  sent   text[] := coalesce(backfill.filled_columns(job.sync_back), '{}');
  other  record;
BEGIN
  SELECT o.name, o.reads && mine OR o.back && mine AS upstream INTO other
    FROM backfill.other_syncs(job) o
   WHERE o.reads && mine OR o.back && mine OR (o.back <> '{}' AND o.filled && sent)
   LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse(CASE WHEN other.upstream THEN 'keep_in_sync' ELSE 'sync_back' END,
      CASE WHEN other.upstream THEN format('job "%s" computes from a column that this one fills, by a trigger that fires before this one''s', other.name)
           ELSE format('writes a column that job "%s" fills, and sends back itself by a trigger that fires before', other.name) END,
      format('First SELECT backfill.finish(%L).%s', other.name, CASE WHEN other.upstream THEN ' Of two jobs of which one reads what the other fills, insert that other one first.' ELSE '' END), '55000');
  END IF;
END
$$;

-- Refuses what a trigger can't compute, and returns job.plan -> 'sync'.
CREATE OR REPLACE FUNCTION backfill.read_sync(job backfill.job) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  class    pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  missing  pg_catalog.jsonb := backfill.missing_column(job);
  filled   pg_catalog.text[] := backfill.filled_columns(job.set_clause);
  back     pg_catalog.text[] := backfill.filled_columns(job.sync_back);
  others   pg_catalog.text;
  v        record;
  found    record;
  self     boolean;
  mode     pg_catalog.text;
  rest     pg_catalog.text[] := '{}';
  asked    pg_catalog.text[] := '{}';
  one      pg_catalog.text;
BEGIN
  IF NOT pg_catalog.pg_has_role(class.relowner, 'USAGE') THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('only the owner of %s can give it a trigger', backfill.relation_name(job.target)),
                            pg_catalog.format('Insert the job as %1$s, or SET ROLE %1$s first.', backfill.acting_owner(class.relowner)), '42501');
  END IF;
  PERFORM backfill.check_schema_right(job, 'keep_in_sync', 'a function');
  IF NOT pg_catalog.has_schema_privilege(class.relowner, class.relnamespace, 'CREATE') THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('%s, to whom the table belongs, may not create a function in schema %s', class.relowner::pg_catalog.regrole, class.relnamespace::pg_catalog.regnamespace),
                            pg_catalog.format('GRANT CREATE ON SCHEMA %s TO %s.', class.relnamespace::pg_catalog.regnamespace, class.relowner::pg_catalog.regrole), '42501');
  END IF;
  PERFORM backfill.check_sync_clause(job, 'keep_in_sync', job.set_clause);
  SELECT * INTO v FROM backfill.computed_values(job.target, job.set_clause);

  others := backfill.derived_table(job.target, class.relname, filled, missing);
  SELECT * INTO found FROM backfill.breaks_on(v.expressions, others);
  self := found.code IS NOT NULL;
  mode := CASE WHEN job.where_clause IS NULL THEN 'all' WHEN backfill.null_columns(job.where_clause, class.relname::pg_catalog.text) OPERATOR(pg_catalog.<@) filled THEN 'null' ELSE 'where' END;
  IF self AND mode OPERATOR(pg_catalog.=) 'all' THEN
    PERFORM backfill.refuse('keep_in_sync', 'set_clause reads the column that it fills, and would be applied again to a row that has it already',
                            'Give where_clause, which is true of rows that are still to do and of no other.', '22023');
  END IF;
  IF mode OPERATOR(pg_catalog.=) 'where' THEN
    SELECT * INTO found FROM backfill.breaks_on(ARRAY[job.where_clause], backfill.derived_table(job.target, class.relname, NULL, missing));
    IF found.code IS NOT NULL THEN
      PERFORM backfill.refuse('where_clause', found.problem, 'With keep_in_sync a trigger asks it of each row that is written: it may name the row''s columns only.', found.code);
    END IF;
    PERFORM backfill.check_columns_alone(job, 'where_clause', 'with keep_in_sync, a trigger asks it, and it', ARRAY[job.where_clause]);
    FOREACH one IN ARRAY backfill.joined_by(job.where_clause, 'and') LOOP
      SELECT * INTO found FROM backfill.breaks_on(ARRAY[one], others);
      IF found.code IS NULL THEN
        rest := pg_catalog.array_append(rest, one);
      END IF;
    END LOOP;
    FOREACH one IN ARRAY filled LOOP
      SELECT * INTO found FROM backfill.breaks_on(ARRAY[job.where_clause], backfill.derived_table(job.target, class.relname, ARRAY[one], missing));
      IF found.code IS NOT NULL THEN
        asked := pg_catalog.array_append(asked, one);
      END IF;
    END LOOP;
  END IF;
  one := (SELECT pg_catalog.min(t.tgname::pg_catalog.text) FROM pg_catalog.pg_trigger t
           WHERE t.tgrelid OPERATOR(pg_catalog.=) job.target AND NOT t.tgisinternal AND t.tgtype::integer OPERATOR(pg_catalog.&) 3 OPERATOR(pg_catalog.=) 3
             AND t.tgtype::integer OPERATOR(pg_catalog.&) 20 OPERATOR(pg_catalog.<>) 0 AND t.tgname OPERATOR(pg_catalog.>) 'zz_backfilld_keep_in_sync_'::pg_catalog.name AND NOT pg_catalog.starts_with(t.tgname::pg_catalog.text, 'zz_backfilld_keep_in_sync_'));
  IF one IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('trigger %I would fire after the triggers of keep_in_sync, which would not see what it makes of a row', one),
                            pg_catalog.format('Triggers fire by name: ALTER TRIGGER %I ON %s RENAME TO …, to a name before zz_backfilld.', one, backfill.relation_name(job.target)), '55000');
  END IF;
  PERFORM backfill.check_other_syncs(job);
  IF job.sync_back IS NOT NULL THEN
    PERFORM backfill.check_sync_clause(job, 'sync_back', job.sync_back);
    one := (SELECT pg_catalog.min(a.attname::pg_catalog.text) FROM pg_catalog.pg_attribute a
             WHERE a.attrelid OPERATOR(pg_catalog.=) job.target AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (pg_catalog.array_cat(back, filled)) AND (backfill.default_of(job.target, a.attname) IS NOT NULL OR a.attidentity OPERATOR(pg_catalog.<>) '')
               AND NOT pg_catalog.jsonb_exists(backfill.constant_defaults(job.target, pg_catalog.array_cat(back, filled)), a.attname::pg_catalog.text));
    IF one IS NOT NULL THEN
      PERFORM backfill.refuse('sync_back', pg_catalog.format('the default of %I is no constant: nothing tells of a new row whether it was given or left out', one),
                              'Drop that default, or give it where the row is written.', '0A000');
    END IF;
    IF back OPERATOR(pg_catalog.&&) filled THEN
      PERFORM backfill.refuse('sync_back', pg_catalog.format('writes %s, which set_clause fills', (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(b), ', ') FROM pg_catalog.unnest(back) b WHERE b OPERATOR(pg_catalog.=) ANY (filled))),
                              'It writes the old column from the new one: ''amount = amount_cents / 100.0''.', '22023');
    END IF;
    SELECT * INTO v FROM backfill.computed_values(job.target, job.sync_back);
    SELECT * INTO found FROM backfill.breaks_on(v.expressions, others);
    IF found.code IS NULL THEN
      PERFORM backfill.refuse('sync_back', 'reads no column that set_clause fills', 'It writes the old column from the new one: ''amount = amount_cents / 100.0''.', '22023');
    END IF;
  END IF;
  RETURN pg_catalog.jsonb_build_object(
    'token', pg_catalog."left"(pg_catalog.replace(pg_catalog.gen_random_uuid()::pg_catalog.text, '-', ''), 12),
    'mode', mode, 'rest', pg_catalog.to_jsonb(rest), 'asked', pg_catalog.to_jsonb(asked), 'self', self,
    'checks', backfill.checks_on(job.target, pg_catalog.array_cat(filled, back)),
    'not_null', pg_catalog.to_jsonb(ARRAY(SELECT DISTINCT c FROM (SELECT job.target::pg_catalog.oid UNION SELECT o FROM backfill.relations_of(job) AS o) AS r(oid),
                                                 pg_catalog.unnest(backfill.never_null(r.oid, pg_catalog.array_cat(filled, back))) AS c ORDER BY c)),
    'defaults', backfill.constant_defaults(job.target, pg_catalog.array_cat(filled, back)));
END
$$;

-- ---- The trigger

-- A name in quotes: PL/pgSQL reserves words that quote_ident leaves as they are.
CREATE OR REPLACE FUNCTION backfill.in_quotes(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '"' || replace(name, '"', '""') || '"'
$$;

-- Whether NEW's column was left out by whoever inserts the row, as a condition.
CREATE OR REPLACE FUNCTION backfill.left_out(job backfill.job, column_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('(NEW.%s IS NULL', backfill.in_quotes(column_name))
      || CASE WHEN job.plan -> 'sync' -> 'defaults' ? column_name
              THEN format(' OR pg_catalog.record_image_eq(ROW(NEW.%s), ROW(%s))', backfill.in_quotes(column_name), job.plan -> 'sync' -> 'defaults' ->> column_name) ELSE '' END || ')'
$$;

-- Lines of the trigger's function that assign what a row function computes. at: 'insert', to the columns that were left out, and those by which a
-- where_clause of one's own tells that they are to do; 'update', to those that
-- were not written, or in a batch of the job to all; 'always', to all. What stands in one of backfill.kept_columns stays in a row that is to do
-- for another. A NULL that the row would be refused for is not assigned, nor one in place of a default: what stands there stays.
CREATE OR REPLACE FUNCTION backfill.sync_assignments(job backfill.job, clause text, function text, at text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(E'    SELECT v.* INTO computed FROM %s AS v;\n', function)
      || (SELECT string_agg(format(CASE WHEN at = 'always' AND NOT p.kept THEN E'    %2$s\n' ELSE E'    IF %1$s THEN %2$s END IF;\n' END,
                                   CASE at WHEN 'insert' THEN CASE WHEN job.plan -> 'sync' -> 'asked' ? p.name AND NOT p.kept THEN 'true' ELSE backfill.left_out(job, p.name) END
                                           WHEN 'update' THEN format(CASE WHEN p.kept THEN E'(CASE WHEN TG_ARGV[0] OPERATOR(pg_catalog.=) \'meant\' THEN NEW.%1$s IS NULL ELSE %2$s END)' ELSE '%2$s' END, backfill.in_quotes(p.name),
                                                                     format('pg_catalog.record_image_eq(ROW(OLD.%1$s), ROW(NEW.%1$s)) OR %2$s', backfill.in_quotes(p.name), backfill.own_batch(job)))
                                           ELSE format('NEW.%s IS NULL', backfill.in_quotes(p.name)) END,
                                   p.parts), '' ORDER BY p.ord)
            FROM (SELECT c.name, coalesce(job.plan -> 'kept' ? c.name, false) AS kept, min(u.ord) AS ord,  -- asked once a column: its first part makes it one that is written
                         string_agg(format(CASE WHEN (job.plan -> 'sync' -> 'not_null' ? c.name OR at = 'insert' AND job.plan -> 'sync' -> 'defaults' ? c.name) AND cardinality(backfill.tokens_of(u.t)) = 1
                                                THEN 'IF pg_catalog.num_nulls(computed.%3$I) OPERATOR(pg_catalog.=) 0 THEN NEW.%1$s%2$s := computed.%3$I; END IF;'
                                                ELSE 'NEW.%s%s := computed.%I;' END,
                                           backfill.in_quotes(c.name), substr(u.t, length(backfill.next_token(u.t)) + 1), u.ord::text), ' ' ORDER BY u.ord) AS parts
                    FROM unnest(v.targets) WITH ORDINALITY AS u(t, ord), LATERAL (SELECT backfill.assigned_column(u.t) AS name) c
                   GROUP BY c.name) p)
    FROM backfill.assigned_values(clause) v
$$;

-- What happens when a row function fails. What is the row's own fault (data, and what the clause raises): the row is written all the
-- same, with NULL where an UPDATE has made the old value wrong, unless the column could not be NULL before the job, or its domain takes none by now; when the job's own
-- constraint forbids NULL, the writer gets the clause's error. What is the server's goes on. Any other error says nothing of the
-- row: it is written as it came.
-- A column that was there before the job has values that are nobody's to take: what stands there is wrong only where it is what the clause gives for the
-- row as it was. A clause that reads what it fills has its source there, which stays. was: the row function, of OLD.
CREATE OR REPLACE FUNCTION backfill.row_fault(job backfill.job, clause text, was text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
           (SELECT E'      IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' THEN\n        kept := NEW;\n'
                   || coalesce(string_agg(p.emptied, '' ORDER BY p.ord) FILTER (WHERE p.added), '')
                   || coalesce(format(E'        BEGIN\n          SELECT v.* INTO computed FROM %s AS v;\n          NEW := OLD;\n', was)
                               || string_agg(format(E'          NEW.%s := computed.%I;\n', p.target, p.ord::text), '' ORDER BY p.ord) FILTER (WHERE NOT p.added)
                               || format(E'          is_ours := pg_catalog.record_image_eq(ROW(%s), ROW(%s));\n          NEW := kept;\n          IF is_ours THEN\n',
                                         string_agg('OLD.' || p.quoted, ', ' ORDER BY p.ord) FILTER (WHERE NOT p.added), string_agg('NEW.' || p.quoted, ', ' ORDER BY p.ord) FILTER (WHERE NOT p.added))
                               || string_agg(p.emptied, '' ORDER BY p.ord) FILTER (WHERE NOT p.added)
                               || E'          END IF;\n        EXCEPTION WHEN OTHERS OR assert_failure THEN NEW := kept;\n        END;\n', '')
                   || E'      END IF;\n'
              FROM (SELECT u.ord, backfill.in_quotes(c.name) AS quoted, t.target, coalesce(job.plan -> 'column' ->> 'name' = c.name, false) AS added,
                           format(E'        IF pg_catalog.record_image_eq(ROW(OLD.%1$s), ROW(kept.%1$s)) THEN BEGIN NEW.%2$s := NULL; EXCEPTION WHEN OTHERS THEN NULL; END; END IF;\n',
                                  backfill.in_quotes(c.name), t.target) AS emptied
                      FROM backfill.assigned_values(clause) v, unnest(v.targets) WITH ORDINALITY AS u(t, ord),
                           LATERAL (SELECT backfill.assigned_column(u.t) AS name) c,
                           LATERAL (SELECT backfill.in_quotes(c.name) || substr(u.t, length(backfill.next_token(u.t)) + 1) AS target) t
                     WHERE NOT job.plan -> 'sync' -> 'not_null' ? c.name) p
             WHERE NOT coalesce((job.plan -> 'sync' -> 'self')::boolean, false)
            HAVING count(*) > 0), '')
      || coalesce(string_agg(format(E'      IF NEW.%s IS NULL AND (\n'
                                    '           EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) TG_RELID AND a.attname OPERATOR(pg_catalog.=) %L AND a.attnotnull)\n'
                                    '           OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) TG_RELID AND k.conname OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.name[]))) THEN\n'
                                    '        RAISE;\n'
                                    '      END IF;\n', backfill.in_quotes(c), c,
                                    ARRAY(SELECT e ->> 'name' FROM jsonb_array_elements(job.plan -> 'enforce') e WHERE e ->> 'kind' = 'not null' AND e ->> 'column' = c)), '' ORDER BY ord), '')
    FROM unnest(backfill.filled_columns(clause)) WITH ORDINALITY AS u(c, ord)
$$;

-- The settings of an extension or an application that a job names. A function can't have them pinned, so the trigger sets them for the
-- moment in which it computes.
CREATE OR REPLACE FUNCTION backfill.custom_settings(job backfill.job) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(SELECT k FROM jsonb_object_keys(job.settings) k WHERE strpos(k, '.') > 0 ORDER BY k)
$$;

-- The body of the triggers' function. schema: where the row functions are.
CREATE OR REPLACE FUNCTION backfill.sync_body(job backfill.job, schema text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  sync    jsonb := job.plan -> 'sync';
  prefix  text := format('%I.', schema);
  token   text := backfill.sync_token(job);
  filled  text[] := backfill.filled_columns(job.set_clause);
  by_null boolean := sync ->> 'mode' <> 'where';
  -- In a partition NEW is of the partition's type: as it stands, a function of that name over that type would be nearer than ours, and anybody who may
  -- create functions in the schema could put one there.
  new_row text := CASE WHEN (SELECT c.relkind FROM pg_class c WHERE c.oid = job.target) = 'p' THEN 'NEW::' || backfill.relation_name(job.target) ELSE 'NEW' END;
  value   text := format('%s%I(%s)', prefix, token || '_value', new_row);
  back    text := format('%s%I(%s)', prefix, token || '_back', new_row);
  todo    text := format('%s%I(%s)', prefix, token || '_todo', new_row);
  rest    text := format('%s%I(%s)', prefix, token || '_rest', new_row);
  was     text := format('%s%I(%s)', prefix, token || '_rest', 'OLD' || substr(new_row, 4));
  custom  text[] := backfill.custom_settings(job);
  pin     text := coalesce((SELECT string_agg(format(E'    saved := saved || pg_catalog.current_setting(%L, true);\n    PERFORM pg_catalog.set_config(%L, %L, true);\n',
                                                     k, k, job.settings ->> k), '' ORDER BY ord)
                              FROM unnest(custom) WITH ORDINALITY AS u(k, ord)), '');
  unpin   text := coalesce((SELECT string_agg(format(E'    PERFORM pg_catalog.set_config(%L, coalesce(saved[%s], \'\'), true);\n', k, ord), '' ORDER BY ord)
                              FROM unnest(custom) WITH ORDINALITY AS u(k, ord)), '');
  leave   text := E'\n' || unpin || E'    RETURN NEW;\n    END IF;\n';
  breaks  text := format('%s%I(%s)', prefix, token || '_breaks', new_row);
  checks  boolean := coalesce(sync -> 'checks', '{}') <> '{}';
  -- Which CHECK the row breaks as it is now, and whether the table still has that.
  look    text := CASE WHEN checks THEN format(E'    broken := (SELECT v."1" FROM %s AS v);\n', breaks) ELSE '' END;
  there   constant text := 'broken IS NOT NULL AND EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) TG_RELID AND k.conname OPERATOR(pg_catalog.=) broken::pg_catalog.name)';
  refuse  text := CASE WHEN checks THEN look || format(E'    IF %s THEN\n      RAISE check_violation USING CONSTRAINT = broken, MESSAGE = pg_catalog.format(''what the clause of backfilld''''s job %%s gives violates check constraint %%I'', %L::pg_catalog.text, broken);\n    END IF;\n', there, job.name) ELSE '' END;
  restore text := CASE WHEN checks THEN E'    NEW := came;\n' ELSE '' END;
  at_last text := CASE WHEN checks THEN look || format(E'    IF %s THEN NEW := came; END IF;\n', there) ELSE '' END;
  -- The row as it was, or none (by no name of the table, which may change), computed: names and rights that a value has no part in; and the columns that are filled, which may be gone.
  tried   constant text := E'        IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' THEN\n          SELECT * INTO computed FROM %1$s(OLD%2$s) AS v;\n        ELSE\n          SELECT * INTO computed FROM %1$s((SELECT n.r FROM (SELECT NEW AS r) AS n WHERE false)%2$s) AS v;\n        END IF;\n        computed := ROW(%3$s);\n';
  named   text := (SELECT string_agg('NEW.' || backfill.in_quotes(c), ', ') FROM unnest(filled || coalesce(backfill.filled_columns(job.sync_back), '{}')) c);
  by_op   constant text := E'    IF TG_OP OPERATOR(pg_catalog.=) \'INSERT\' THEN\n%s    ELSE\n%s    END IF;\n';
BEGIN
  pin := replace(pin, 'saved || ', 'saved OPERATOR(pg_catalog.||) ');
  RETURN E'#variable_conflict use_column\nDECLARE\n  computed pg_catalog.record;\n  saved    pg_catalog.text[] := \'{}\';\n  goes_back boolean := false;\n  of_row   boolean;\n  kept     pg_catalog.record;\n  is_ours  boolean;\n'
      || CASE WHEN checks THEN E'  came     pg_catalog.record := NEW;\n  broken   pg_catalog.text;\n' ELSE '' END || E'BEGIN\n  BEGIN\n' || pin
      -- The way back: at UPDATE by a trigger of its own; at INSERT when the new columns were given and the old ones left out.
      || CASE WHEN job.sync_back IS NULL THEN '' ELSE
           format(E'    goes_back := TG_ARGV[0] OPERATOR(pg_catalog.=) \'back\'\n      OR TG_OP OPERATOR(pg_catalog.=) \'INSERT\' AND NOT (%s)\n         AND (%s);\n    IF goes_back THEN\n',
                  (SELECT string_agg(backfill.left_out(job, c), ' OR ' ORDER BY ord) FROM unnest(filled) WITH ORDINALITY AS u(c, ord)),
                  (SELECT string_agg(backfill.left_out(job, c), ' OR ' ORDER BY ord) FROM unnest(backfill.filled_columns(job.sync_back)) WITH ORDINALITY AS u(c, ord)))
           || format(by_op, backfill.sync_assignments(job, job.sync_back, back, 'insert'), backfill.sync_assignments(job, job.sync_back, back, 'always')) || refuse || leave END
      || CASE WHEN (sync -> 'self')::boolean THEN format('    IF NOT EXISTS (SELECT FROM %s AS v WHERE v."1") THEN', todo) || leave
              ELSE concat(
                CASE WHEN NOT by_null THEN format('    IF TG_OP OPERATOR(pg_catalog.=) ''INSERT'' AND NOT EXISTS (SELECT FROM %s AS v WHERE v."1") THEN', todo) || leave END,
                CASE WHEN sync -> 'rest' <> '[]' THEN
                  format('    IF TG_ARGV[0] OPERATOR(pg_catalog.=) ''meant'' AND NOT EXISTS (SELECT FROM %s AS v WHERE v."1") THEN', todo) || leave
                  -- A row that was meant until now has a value, which follows its source a last time.
                  || format('    IF TG_OP OPERATOR(pg_catalog.=) ''UPDATE'' AND NOT EXISTS (SELECT FROM %s AS v WHERE v."1") AND NOT EXISTS (SELECT FROM %s AS v WHERE v."1") THEN', rest, was) || leave END) END
      || CASE WHEN (sync -> 'self')::boolean THEN backfill.sync_assignments(job, job.set_clause, value, 'always')
              ELSE format(by_op, backfill.sync_assignments(job, job.set_clause, value, 'insert'), backfill.sync_assignments(job, job.set_clause, value, 'update')) END
      || refuse || unpin
      || E'  EXCEPTION WHEN OTHERS OR assert_failure THEN\n'
         '    IF SQLSTATE OPERATOR(pg_catalog.~) \'^(40|53|55P03|57|58|XX)\' THEN RAISE; END IF;\n'
         '    -- Of the row: data, and what the clause raises, with whatever code. All other codes say that something is wrong with a function or a right,\n'
         '    -- or with a value that is taken for a name (a regclass, a query of text search): then the row as it was, or none, can be computed.\n'
         '    of_row := SQLSTATE OPERATOR(pg_catalog.~) \'^(21|22|23|38|39|44|54|P0)\' OR SQLSTATE OPERATOR(pg_catalog.!~) \'^(0[0-9ABFLPZ]|2[0-9BDF]|3[48BDF]|4[024]|5[3-8]|72|F0|HV)\';\n'
         '    IF NOT of_row THEN\n      BEGIN\n'
      || CASE WHEN job.sync_back IS NULL THEN format(tried, format('%s%I', prefix, token || '_value'), substr(new_row, 4), named)
              ELSE format(E'        IF goes_back THEN\n%s        ELSE\n%s        END IF;\n',
                          format(tried, format('%s%I', prefix, token || '_back'), substr(new_row, 4), named),
                          format(tried, format('%s%I', prefix, token || '_value'), substr(new_row, 4), named)) END
      || E'        of_row := true;\n      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;\n      END;\n    END IF;\n'
         '    IF NOT of_row THEN RAISE WARNING \'backfilld can\'\'t keep a row of % in step: %\', TG_RELID::pg_catalog.regclass, SQLERRM USING ERRCODE = SQLSTATE; END IF;\n'
      || CASE WHEN job.sync_back IS NULL THEN '' ELSE
           E'    IF of_row AND goes_back THEN\n' || restore || backfill.row_fault(job, job.sync_back, format('%s%I(OLD%s)', prefix, token || '_back', substr(new_row, 4))) || at_last || E'      RETURN NEW;\n    END IF;\n' END
      || E'    IF of_row THEN\n' || restore || backfill.row_fault(job, job.set_clause, format('%s%I(OLD%s)', prefix, token || '_value', substr(new_row, 4))) || at_last || E'    END IF;\n'
         '  END;\n  RETURN NEW;\nEND';
END
$$;

-- ROW(OLD.a, OLD.b) of columns, for the condition of a trigger.
CREATE OR REPLACE FUNCTION backfill.row_of(record text, columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('ROW(%s)', string_agg(format('%s.%I', record, c), ', ' ORDER BY ord)) FROM unnest(columns) WITH ORDINALITY AS u(c, ord)
$$;

-- The columns whose change at UPDATE calls for a new value: those that the row functions read, but for the filled ones.
CREATE OR REPLACE FUNCTION backfill.watched_columns(job backfill.job, endings text[], filled text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT c), '{}')
    FROM backfill.sync_functions(job) f, unnest(backfill.columns_of_function(f.oid, job.target)) AS u(c)
   WHERE f.name = ANY (ARRAY(SELECT backfill.sync_token(job) || e FROM unnest(endings) e)) AND c <> ALL (filled)
$$;

-- The columns of each trigger at UPDATE: those that set_clause reads; those that only the conditions of where_clause read.
CREATE OR REPLACE FUNCTION backfill.sync_sources(job backfill.job, OUT sources text[], OUT meant text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  filled text[] := backfill.filled_columns(job.set_clause);
BEGIN
  IF (job.plan -> 'sync' -> 'self')::boolean THEN  -- where_clause alone says what is to do
    sources := backfill.watched_columns(job, '{_value, _todo}', '{}');
    meant := '{}';
  ELSE
    sources := backfill.watched_columns(job, '{_value}', filled);
    meant := ARRAY(SELECT c FROM unnest(backfill.watched_columns(job, '{_rest}', filled)) c WHERE c <> ALL (sources));
  END IF;
END
$$;

-- The commands that create the triggers, when the functions are there.
CREATE OR REPLACE FUNCTION backfill.trigger_commands(job backfill.job, function text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  sync     jsonb := job.plan -> 'sync';
  name     text := backfill.relation_name(job.target);
  filled   text[] := backfill.filled_columns(job.set_clause);
  back     text[] := backfill.filled_columns(job.sync_back);
  own      constant text := backfill.own_batch(job) || ' AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.=) 0';
  self     boolean := (sync -> 'self')::boolean;
  watched  text[];
  meant    text[];
  given    text[];
  left_out text;
  commands text[] := '{}';
BEGIN
  SELECT s.sources, s.meant INTO watched, meant FROM backfill.sync_sources(job) s;
  IF NOT self AND sync ->> 'mode' <> 'where' THEN
    left_out := (SELECT string_agg(CASE sync ->> 'mode' WHEN 'null' THEN format('NEW.%I IS NULL', c) ELSE backfill.left_out(job, c) END, ' OR ') FROM unnest(filled) c)
             || coalesce(' OR ' || (SELECT string_agg(backfill.left_out(job, c), ' OR ') FROM unnest(back) c), '');
  END IF;
  commands := commands || format('CREATE TRIGGER %I BEFORE INSERT ON %s FOR EACH ROW%s EXECUTE FUNCTION %s(''forth'')',
                                 backfill.sync_name(job) || '_insert', name, coalesce(' WHEN (' || left_out || ')', ''), function);
  IF watched <> '{}' THEN
    commands := commands || format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW WHEN (pg_catalog.record_image_ne(%s, %s)%s) EXECUTE FUNCTION %s(''forth'')',
                                   backfill.sync_name(job) || '_update', name, backfill.row_of('OLD', watched), backfill.row_of('NEW', watched),
                                   CASE WHEN self THEN '' ELSE format(' AND (%s OR %s)', CASE WHEN back IS NOT NULL  -- new code writes some of the new columns, and what it leaves is what it means
                                                                                                THEN format('pg_catalog.record_image_eq(%s, %s)', backfill.row_of('OLD', filled), backfill.row_of('NEW', filled))
                                                                                                ELSE (SELECT string_agg(format('pg_catalog.record_image_eq(ROW(OLD.%1$I), ROW(NEW.%1$I))', c), ' OR ') FROM unnest(filled) c) END, own) END,
                                   function);
  END IF;
  IF meant <> '{}' THEN
    commands := commands || format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW WHEN (pg_catalog.record_image_ne(%s, %s) AND pg_catalog.record_image_eq(%s, %s)) EXECUTE FUNCTION %s(''meant'')',
                                   backfill.sync_name(job) || '_meant', name, backfill.row_of('OLD', meant), backfill.row_of('NEW', meant),
                                   backfill.row_of('OLD', filled || watched), backfill.row_of('NEW', filled || watched), function);
  END IF;
  IF back IS NOT NULL THEN
    -- What old code writes may stand in sync_back, too: only a column that new code writes calls for the way back.
    given := ARRAY(SELECT c FROM unnest(backfill.watched_columns(job, '{_back}', back)) c WHERE c = ANY (filled));
    commands := commands || format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW WHEN (pg_catalog.record_image_ne(%s, %s) AND pg_catalog.record_image_eq(%s, %s)'
                                   ' AND (%s) IS NOT TRUE) EXECUTE FUNCTION %s(''back'')',
                                   backfill.sync_name(job) || '_back', name, backfill.row_of('OLD', given), backfill.row_of('NEW', given),
                                   backfill.row_of('OLD', back), backfill.row_of('NEW', back), own, function);
  END IF;
  RETURN commands || ARRAY(SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', name, (regexp_match(c, '^CREATE TRIGGER ("(?:[^"]|"")+"|\S+)'))[1]) FROM unnest(commands) c);
END
$$;

-- ---- In the worker's session

-- The value of a call with a row, in a session that has other settings than the job's.
CREATE OR REPLACE FUNCTION backfill.called_elsewhere(call text, r anyelement, OUT code text, OUT value record)
LANGUAGE plpgsql
SET TimeZone = 'Pacific/Chatham' SET DateStyle = 'German' SET IntervalStyle = 'sql_standard' SET bytea_output = 'escape' SET extra_float_digits = -4
SET lc_monetary = 'C' SET lc_numeric = 'C' SET lc_time = 'C' SET default_text_search_config = 'pg_catalog.simple' SET xmlbinary = 'hex' SET xmloption = 'document'
SET search_path = ''
AS $$
BEGIN
  EXECUTE call INTO value USING r;
EXCEPTION WHEN OTHERS THEN
  code := SQLSTATE;
END
$$;

-- Tries a row function on some rows: one made like it, under the job's settings, as a batch computes it, and itself, called in a session that has others.
-- Raises when they differ. For a fifth of a second, and a hundred rows at most.
CREATE OR REPLACE FUNCTION backfill.compare_values(job backfill.job, function text, twin text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  here    pg_catalog.text := pg_catalog.format('SELECT * FROM %s($1)', twin);
  there   pg_catalog.text := pg_catalog.format('SELECT * FROM %s($1)', function);
  started pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  r       record;
  value   record;
  code    pg_catalog.text;
  other   record;
BEGIN
  FOR r IN EXECUTE pg_catalog.format('SELECT ("backfilld row".*)::%s AS t FROM %1$s AS "backfilld row" LIMIT 100', backfill.relation_name(job.target)) LOOP  -- a column may be called t
    code := NULL;
    BEGIN
      EXECUTE here INTO value USING r.t;
    EXCEPTION WHEN OTHERS THEN
      code := SQLSTATE;
    END;
    SELECT * INTO other FROM backfill.called_elsewhere(there, r.t);
    IF (code OPERATOR(pg_catalog.=) other.code OR code IS NULL AND other.code IS NULL) IS NOT TRUE OR (code IS NULL AND NOT pg_catalog.record_image_eq(value, other.value)) THEN
      PERFORM backfill.refuse('keep_in_sync', 'set_clause gives another value in another session',
        'It depends on a setting, perhaps in a function that it calls. Give that function a SET clause, or name the setting in settings.', '0A000');
    END IF;
    EXIT WHEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) started OPERATOR(pg_catalog.>) interval '0.2 s';
  END LOOP;
END
$$;

-- A search_path with the session's own schema at its end, wherever it stood: else it would come first, and is the writer's.
CREATE OR REPLACE FUNCTION backfill.path_of_function(path text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(s.part, ', ' ORDER BY s.ord) || ', ', '') || 'pg_temp'
    FROM (SELECT backfill.trim_sql(u.part) AS part, u.ord FROM unnest(backfill.split_at(path, ',')) WITH ORDINALITY AS u(part, ord)) s
   WHERE s.part <> '' AND backfill.assigned_column(s.part) IS DISTINCT FROM 'pg_temp'
$$;

-- Pins settings for a function of ours, as this session has them, which are those of the batches. The search_path always is: to whose code a name leads,
-- be it in a CHECK or a domain of the table, must not be the writer's to say.
CREATE OR REPLACE FUNCTION backfill.pin_settings(signature text, settings text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  own_path pg_catalog.text := pg_catalog.current_setting('search_path');
  name     pg_catalog.text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', backfill.path_of_function(own_path), true);
  EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path FROM CURRENT', signature);
  PERFORM pg_catalog.set_config('search_path', own_path, true);
  FOREACH name IN ARRAY settings LOOP
    IF name OPERATOR(pg_catalog.<>) 'search_path' THEN
      EXECUTE pg_catalog.format('ALTER FUNCTION %s SET %s FROM CURRENT', signature, name);
    END IF;
  END LOOP;
END
$$;

-- Makes one row function, and gives it to the table's owner. Returns the settings that are to be pinned when it is called, none when its
-- value depends on the row alone. When on more, it must be what batches compute: under these settings, and, where the role matters, in its name.
CREATE OR REPLACE FUNCTION backfill.make_row_function(job backfill.job, name text, types text[], expressions text[], missing jsonb) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  class    pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  columns  pg_catalog.text[] := CASE WHEN missing IS NULL THEN backfill.columns_read(job.target, expressions)
                          ELSE ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) job.target AND a.attnum OPERATOR(pg_catalog.>) 0::smallint
                                        AND NOT a.attisdropped ORDER BY a.attnum) END;
  owner    pg_catalog.text := class.relowner::pg_catalog.regrole::pg_catalog.text;
  twin     pg_catalog.text := name OPERATOR(pg_catalog.||) '_twin';
  traits   record;
  signature pg_catalog.text;
BEGIN
  EXECUTE backfill.row_function(name, job.target, types, expressions, columns, missing);
  signature := pg_catalog.format('%s(%s)', name, backfill.relation_name(job.target));
  SELECT * INTO traits FROM backfill.function_traits(pg_catalog.to_regproc(name), backfill.custom_settings(job));
  IF traits.refused IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', 'set_clause ' OPERATOR(pg_catalog.||) traits.refused,
                            'Name a setting in settings of the job, with its value, or write the value into the clause.', '0A000');
  ELSIF traits.pinned OPERATOR(pg_catalog.<>) '{}'::pg_catalog.text[] AND owner OPERATOR(pg_catalog.<>) pg_catalog.quote_ident(current_user)
        AND backfill.depends_on_role(pg_catalog.to_regproc(name)) THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('the value of set_clause may depend on who computes it, and the trigger has the rights of %s, the table''s owner, where batches have those of %I', owner, current_user),
                            CASE WHEN class.relowner OPERATOR(pg_catalog.=) 'pg_database_owner'::pg_catalog.regrole::pg_catalog.oid
                                 THEN pg_catalog.format('ALTER TABLE %s OWNER TO %s, which owns the database, then insert the job as that role.', backfill.relation_name(job.target), backfill.acting_owner(class.relowner))
                                 ELSE pg_catalog.format('SET ROLE %s, then insert the job.', owner) END, '42501');
  END IF;
  IF traits.pinned OPERATOR(pg_catalog.<>) '{}'::pg_catalog.text[] AND NOT traits.volatile THEN
    EXECUTE backfill.row_function(twin, job.target, types, expressions, columns, missing);
    PERFORM backfill.pin_settings(signature, traits.pinned);
    PERFORM backfill.compare_values(job, name, twin);
    EXECUTE pg_catalog.format('DROP FUNCTION %s(%s)', twin, backfill.relation_name(job.target));
    EXECUTE pg_catalog.format('ALTER FUNCTION %s RESET ALL', signature);  -- the triggers' function has them
  END IF;
  EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  IF owner OPERATOR(pg_catalog.<>) pg_catalog.quote_ident(current_user) THEN
    EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO %s', signature, owner);
  END IF;
  RETURN traits.pinned;
END
$$;

-- Makes the row function that names a CHECK which the row breaks. It is asked under the settings of the triggers' function: the server asks again.
CREATE OR REPLACE FUNCTION backfill.make_breaks(job backfill.job, name text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  class       pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  owner       pg_catalog.text := class.relowner::pg_catalog.regrole::pg_catalog.text;
  signature   pg_catalog.text := pg_catalog.format('%s(%s)', name, backfill.relation_name(job.target));
  expressions pg_catalog.text[];
BEGIN
  SELECT pg_catalog.array_agg(c.value ORDER BY c.key) INTO expressions FROM pg_catalog.jsonb_each_text(job.plan OPERATOR(pg_catalog.->) 'sync' OPERATOR(pg_catalog.->) 'checks') c;
  EXECUTE backfill.row_function(name, job.target, '{text}',
    ARRAY[(SELECT pg_catalog.concat('CASE ', pg_catalog.string_agg(pg_catalog.format('WHEN NOT (%s) THEN %L', c.value, c.key), ' ' ORDER BY c.key), ' END')
             FROM pg_catalog.jsonb_each_text(job.plan OPERATOR(pg_catalog.->) 'sync' OPERATOR(pg_catalog.->) 'checks') c)],
    backfill.columns_read(job.target, expressions), NULL);
  EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  IF owner OPERATOR(pg_catalog.<>) pg_catalog.quote_ident(current_user) THEN
    EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO %s', signature, owner);
  END IF;
END
$$;

-- The expressions of a clause for a row function, each of the type that it is assigned to. A constant without a type, which the server reads as what it is
-- assigned to, would be a text there: it is told by what no function of any type takes.
CREATE OR REPLACE FUNCTION backfill.typed_values(job backfill.job, clause text, missing jsonb, OUT types text[], OUT expressions text[])
LANGUAGE plpgsql
AS $$
DECLARE
  derived pg_catalog.text := backfill.derived_table(job.target, (SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target), NULL, missing);
  v       record;
  target  record;
BEGIN
  SELECT * INTO v FROM backfill.computed_values(job.target, clause);
  expressions := v.expressions;
  FOR i IN 1 .. pg_catalog.cardinality(v.targets) LOOP
    SELECT * INTO target FROM backfill.target_type(job.target, v.targets[i], missing);
    types := pg_catalog.array_append(types, target.type);
    IF (backfill.breaks_on(ARRAY[pg_catalog.format(E'pg_catalog.to_jsonb((%s\n))', v.expressions[i])], derived)).code OPERATOR(pg_catalog.=) '42804' THEN
      expressions[i] := pg_catalog.format(E'(%s\n)::%s', v.expressions[i], target.literal);
    END IF;
  END LOOP;
END
$$;

-- The row functions of a job. Returns the settings that are to be pinned when they are called.
CREATE OR REPLACE FUNCTION backfill.make_row_functions(job backfill.job) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  schema  pg_catalog.text := (SELECT c.relnamespace::pg_catalog.regnamespace::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  token   pg_catalog.text := schema OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) backfill.sync_token(job);
  sync    pg_catalog.jsonb := job.plan OPERATOR(pg_catalog.->) 'sync';
  missing pg_catalog.jsonb := backfill.missing_column(job);
  pinned  pg_catalog.text[];
  v       record;
BEGIN
  SELECT * INTO v FROM backfill.typed_values(job, job.set_clause, missing);
  pinned := backfill.make_row_function(job, token OPERATOR(pg_catalog.||) '_value', v.types, v.expressions, missing);
  IF sync OPERATOR(pg_catalog.->>) 'mode' OPERATOR(pg_catalog.=) 'where' OR (sync OPERATOR(pg_catalog.->) 'self')::boolean THEN
    pinned := pinned OPERATOR(pg_catalog.||) backfill.make_row_function(job, token OPERATOR(pg_catalog.||) '_todo', '{boolean}', ARRAY[job.where_clause], missing);
  END IF;
  IF sync OPERATOR(pg_catalog.->) 'rest' OPERATOR(pg_catalog.<>) '[]'::pg_catalog.jsonb THEN
    pinned := pinned OPERATOR(pg_catalog.||) backfill.make_row_function(job, token OPERATOR(pg_catalog.||) '_rest', '{boolean}',
      ARRAY[(SELECT pg_catalog.string_agg('(' OPERATOR(pg_catalog.||) c OPERATOR(pg_catalog.||) E'\n)', ' AND ') FROM pg_catalog.jsonb_array_elements_text(sync OPERATOR(pg_catalog.->) 'rest') c)], missing);
  END IF;
  IF job.sync_back IS NOT NULL THEN
    SELECT * INTO v FROM backfill.typed_values(job, job.sync_back, missing);
    pinned := pinned OPERATOR(pg_catalog.||) backfill.make_row_function(job, token OPERATOR(pg_catalog.||) '_back', v.types, v.expressions, missing);
  END IF;
  IF coalesce(sync OPERATOR(pg_catalog.->) 'checks', '{}') OPERATOR(pg_catalog.<>) '{}'::pg_catalog.jsonb THEN
    PERFORM backfill.make_breaks(job, token OPERATOR(pg_catalog.||) '_breaks');
  END IF;
  RETURN ARRAY(SELECT DISTINCT p FROM pg_catalog.unnest(pinned) p);
END
$$;

-- Before anything is changed: makes the row functions, tries them, and undoes them.
CREATE OR REPLACE FUNCTION backfill.try_sync(ticket bigint) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM backfill.make_row_functions(backfill.own_job(ticket));
  RAISE EXCEPTION USING ERRCODE = 'BF900';
EXCEPTION WHEN SQLSTATE 'BF900' THEN
  NULL;
END
$$;

-- Makes all of it: row functions, the triggers' function, the triggers. What is there of an earlier try goes first.
CREATE OR REPLACE FUNCTION backfill.make_sync(ticket bigint) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  job      backfill.job := backfill.own_job(ticket);
  class    pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  function pg_catalog.text := pg_catalog.format('%s.%I', class.relnamespace::pg_catalog.regnamespace, backfill.sync_token(job));
  owner    pg_catalog.text := class.relowner::pg_catalog.regrole::pg_catalog.text;
  pinned   pg_catalog.text[];
  command  pg_catalog.text;
BEGIN
  FOREACH command IN ARRAY backfill.drop_sync_commands(job) LOOP
    EXECUTE command;
  END LOOP;
  pinned := backfill.make_row_functions(job);
  EXECUTE pg_catalog.format('CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS %L', function,
                            backfill.sync_body(job, (SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=) class.relnamespace)));
  PERFORM backfill.pin_settings(function OPERATOR(pg_catalog.||) '()', pinned);
  -- Whoever may execute it could make it the trigger of a table of their own; that it fires here needs no right.
  EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s() FROM PUBLIC', function);
  EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s() IS %L', function,
                            pg_catalog.format('of backfilld''s job %s, which keeps rows in step: SELECT backfill.finish(%L) drops it', job.name, job.name));
  FOREACH command IN ARRAY backfill.trigger_commands(job, function) LOOP
    EXECUTE command;
  END LOOP;
  IF owner OPERATOR(pg_catalog.<>) pg_catalog.quote_ident(current_user) THEN
    EXECUTE pg_catalog.format('ALTER FUNCTION %s() OWNER TO %s', function, owner);
  END IF;
END
$$;

-- ---- Looked at again

-- The commands that take it out of the table.
CREATE OR REPLACE FUNCTION backfill.drop_sync_commands(job backfill.job) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(SELECT format('DROP TRIGGER %I ON %s', t.name, backfill.relation_name(job.target)) FROM backfill.sync_triggers(job) t ORDER BY t.name)
      || ARRAY(SELECT format('DROP FUNCTION %s', f.oid::regprocedure) FROM backfill.sync_functions(job) f ORDER BY f.name)
$$;

-- What is wrong with a job's trigger, in words; NULL: nothing. It must be there, fire for everybody, be the table owner's, and be as it was made.
CREATE OR REPLACE FUNCTION backfill.sync_trouble(job backfill.job) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  class    pg_class := (SELECT c FROM pg_class c WHERE c.oid = job.target);
  token    text := backfill.sync_token(job);
  function pg_proc := (SELECT p FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid WHERE f.name = token LIMIT 1);
  wanted   text[] := ARRAY['_insert']
                  || (SELECT CASE WHEN s.sources <> '{}' THEN '{_update}'::text[] END || CASE WHEN s.meant <> '{}' THEN '{_meant}'::text[] END FROM backfill.sync_sources(job) s)
                  || CASE WHEN job.sync_back IS NOT NULL THEN '{_back}'::text[] END;
  problem  text;
BEGIN
  IF EXISTS (SELECT FROM backfill.sync_triggers(job) t WHERE t.name = backfill.old_sync_name(job)) THEN
    RETURN 'is an earlier version''s';
  ELSIF function.oid IS NULL OR EXISTS (
      SELECT FROM unnest(wanted) w WHERE NOT EXISTS (SELECT FROM backfill.sync_triggers(job) t JOIN pg_trigger g ON g.oid = t.oid AND g.tgfoid = function.oid
                                                      WHERE t.name = backfill.sync_name(job) || w)) THEN
    RETURN 'is not there any more';
  END IF;
  problem := (SELECT format('calls %I, which is not there any more', token || ending)
                FROM unnest('{_value, _todo, _rest, _back, _breaks}'::text[]) AS e(ending)
               WHERE strpos(function.prosrc, token || ending) > 0
                 AND NOT EXISTS (SELECT FROM backfill.sync_functions(job) f WHERE f.name = token || ending) LIMIT 1);
  IF problem IS NOT NULL THEN
    RETURN problem;
  END IF;
  problem := (SELECT format('is switched off on %s (ALTER TABLE … DISABLE TRIGGER)', backfill.relation_name(g.tgrelid))
                FROM pg_trigger g
               WHERE g.tgfoid = function.oid AND g.tgenabled <> 'A' LIMIT 1);
  IF problem IS NOT NULL THEN
    RETURN problem;
  ELSIF EXISTS (SELECT FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid WHERE p.proowner <> class.relowner) THEN
    RETURN 'belongs to another role than the table';
  ELSIF function.prosrc <> backfill.sync_body(job, (SELECT n.nspname FROM pg_namespace n WHERE n.oid = function.pronamespace)) OR NOT function.prosecdef
        OR NOT EXISTS (SELECT FROM unnest(function.proconfig) AS c(setting) WHERE starts_with(c.setting, 'search_path=')) THEN
    RETURN 'was changed, or its schema or a partitioned table was renamed';
  END IF;
  problem := (SELECT format('writes column %I, which is not there any more', c)
                FROM unnest(backfill.filled_columns(job.set_clause) || backfill.filled_columns(job.sync_back)) c
               WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped) LIMIT 1);
  RETURN problem;
END
$$;
