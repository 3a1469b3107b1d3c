-- What the row functions of a trigger compute, what they read, and what their value depends on.

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

-- The column that a job adds, when it is not in the table yet: as job.plan has it. Its type is looked at again: it may have got a default or a constraint since, or be another type, under the
-- name that the first one had.
CREATE OR REPLACE FUNCTION backfill.missing_column(job backfill.job) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing constant jsonb := CASE WHEN NOT backfill.has_column(job) THEN job.plan -> 'column' END;
BEGIN
  PERFORM backfill.check_added_type(job, to_regtype(missing ->> 'type')) WHERE missing IS NOT NULL;
  RETURN missing;
END
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
  type := backfill.whose_type(regexp_replace(format_type(t.oid, -1), '\[\]$', '')) || CASE WHEN format_type(t.oid, -1) LIKE '%[]' THEN '[]' ELSE '' END;
  literal := CASE WHEN t.oid <> 'interval'::regtype THEN type
                  WHEN typmod IS NULL THEN regexp_replace(missing ->> 'type', '\[\]$', '')
                  ELSE format_type(t.oid, typmod) END;
END
$$;

-- Which of the columns may not be NULL as the table stands: by themselves, by their domain, or by a CHECK of that column alone.
CREATE OR REPLACE FUNCTION backfill.never_null(relation oid, columns text[]) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  result pg_catalog.text[] := '{}';
  never  boolean;
  c      pg_catalog.record;
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

-- backfill.assigned_values of a relation, in which nothing says DEFAULT.
CREATE OR REPLACE FUNCTION backfill.computed_values(relation oid, set_clause text, OUT targets text[], OUT expressions text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT v.targets, ARRAY(SELECT backfill.value_of(relation, backfill.assigned_column(u.t), u.e)
                            FROM unnest(v.targets, v.expressions) WITH ORDINALITY AS u(t, e, ord) ORDER BY u.ord)
    FROM backfill.assigned_values(set_clause) v
$$;

-- A name for an argument of a row function beside its rows: no table or column has the token in its name. token: with its schema.
CREATE OR REPLACE FUNCTION backfill.argument_name(token text, what text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (parse_ident(token))[2] || ' ' || what
$$;

-- The arguments of a function of one or two rows of a job, with names for them (all of them: of one without a name beside others with some the server writes
-- a dump that can't be read), or none. token: their type, with its schema. Of that type, which nobody else can
-- use, there is one more than of rows: in a partition OLD and NEW are of the partition's type, and of the functions that a call could mean the server
-- takes the one with the most arguments of just the types that it is called with; a stranger's could have all but these. by_wanted: which expressions
-- are wanted comes last.
CREATE OR REPLACE FUNCTION backfill.row_arguments(relation oid, token text, names text[], by_wanted boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(concat_ws(' ', CASE WHEN names[1] IS NOT NULL THEN quote_ident(a.name) END, a.type), ', ' ORDER BY a.ord)
    FROM (SELECT u.ord, u.name, backfill.relation_name(relation) AS type FROM unnest(names) WITH ORDINALITY AS u(name, ord)
           UNION ALL
          SELECT 1000 + i, backfill.argument_name(token, i::text), token FROM generate_series(1, cardinality(names) + 1) AS i
           UNION ALL
          SELECT 2000, backfill.argument_name(token, 'wanted'), 'pg_catalog.bool[]' WHERE by_wanted) AS a
$$;

-- The command that creates a row function. token: as in backfill.row_arguments. by_wanted: its last argument says which expressions are wanted; the others give NULL, and can't fail. types: of its results, one for each expression. columns: those that it reads, of those
-- that the table has; missing: one that it has not yet. The row is its argument, called as the table, so that "orders.amount" and
-- "orders" mean what they mean in an UPDATE; "amount" is a column of the derived table.
-- It returns a table, of one row, and says that it is STABLE whatever it is: so the planner puts it into the trigger's own query, which
-- is planned once. (Its first column is there because one alone, of a composite type, would be taken apart.) Any other function in SQL would be planned anew for each row, as each is a subtransaction of its own there.
CREATE OR REPLACE FUNCTION backfill.row_function(name text, relation oid, token text, types text[], expressions text[], columns text[], missing jsonb, by_wanted boolean)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(E'CREATE FUNCTION %s(%s) RETURNS TABLE ("0" integer, %s) LANGUAGE sql STABLE BEGIN ATOMIC SELECT 0, %s%s; END',
           name, backfill.row_arguments(relation, token, ARRAY[c.relname::text], by_wanted),
           (SELECT string_agg(format('%I %s', ord::text, t), ', ' ORDER BY ord) FROM unnest(types) WITH ORDINALITY AS u(t, ord)),
           (SELECT string_agg(format(CASE WHEN by_wanted THEN E'CASE WHEN %4$I[%2$s] THEN (%1$s\n)::%3$s END' ELSE E'(%s\n)' END, e, ord, t, backfill.argument_name(token, 'wanted')), ', ' ORDER BY ord)
              FROM ROWS FROM (unnest(expressions), unnest(types)) WITH ORDINALITY AS u(e, t, ord)),
           coalesce((SELECT format(E'\nFROM (SELECT %s) AS "backfilld row"(%s)', string_agg(i.item, ', ' ORDER BY i.ord), string_agg(quote_ident(i.name), ', ' ORDER BY i.ord))
                       FROM (SELECT u.ord, format('%I.%I', c.relname, u.name) AS item, u.name FROM unnest(columns) WITH ORDINALITY AS u(name, ord)
                             UNION ALL
                             SELECT 2000, format('NULL::%s%s', missing ->> 'type', coalesce(' COLLATE ' || (missing ->> 'collation'), '')), missing ->> 'name'
                              WHERE missing IS NOT NULL) i
                     HAVING count(*) > 0), ''))
    FROM pg_class c WHERE c.oid = relation
$$;

-- The function by which batches of a job compute what they set, and how their statements call it; no row: there is none that is the table owner's.
CREATE OR REPLACE FUNCTION backfill.called_function(job backfill.job, OUT oid oid, OUT signature text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT p.oid, format('%s.%I(%s)', p.pronamespace::regnamespace, p.proname, backfill.row_arguments(job.target, format('%s.%I', p.pronamespace::regnamespace, backfill.sync_token(job)), ARRAY[NULL::text], p.pronargs = 4))
    FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid JOIN pg_class c ON c.oid = job.target
   WHERE job.keep_in_sync AND f.name = backfill.sync_token(job) || '_value' AND p.proowner = c.relowner AND p.proargtypes[0] = c.reltype AND p.proargtypes[1] IN (SELECT t.oid FROM backfill.sync_types(job) t)
   ORDER BY p.oid LIMIT 1
$$;

-- Before that is asked: holds the names of what a statement of a keep_in_sync job names beside its relation, the table above a partition, and what its where_clause reads. The server looks the function up when it has locked
-- all these, and who holds a lock there could else choose the moment between.
CREATE OR REPLACE FUNCTION backfill.hold_beside(work backfill.work) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  held record;
BEGIN
  FOR held IN
    SELECT c.oid, backfill.relation_name(c.oid) AS name
      FROM unnest(coalesce((work).reads, (SELECT n.reads FROM backfill.names_of(backfill.own_job((work).ticket)) n))) AS r(oid) JOIN pg_class c ON c.oid = r.oid
     WHERE c.relkind IN ('r', 'p', 'v') AND has_table_privilege(c.oid, 'SELECT')
     ORDER BY c.oid
  LOOP
    BEGIN
      EXECUTE format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', held.name);
    EXCEPTION
      WHEN lock_not_available THEN
        RAISE EXCEPTION '%', coalesce(backfill.table_lock(held.oid), SQLERRM) USING ERRCODE = 'BF008';
      WHEN insufficient_privilege OR undefined_table THEN
        NULL;  -- of what a view reads; the statement says so
    END;
  END LOOP;
END
$$;

-- Whether the function that a batch's statement calls is still the one that was meant, and the table owner's: the statement names it, the table's type and its own by their names, and nobody holds those of a schema, or of
-- the table above a partition. Else another's could run there with the job's rights. BF001: the range is taken again.
CREATE OR REPLACE FUNCTION backfill.check_called(ticket bigint, function oid, signature text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job backfill.job;
BEGIN
  IF to_regprocedure(signature)::oid = function AND EXISTS (SELECT FROM pg_proc p JOIN pg_type y ON y.oid = p.proargtypes[0] JOIN pg_class c ON c.oid = y.typrelid WHERE p.oid = function AND p.proowner = c.relowner) THEN
    RETURN;
  END IF;
  job := backfill.own_job(ticket);
  IF (backfill.called_function(job)).oid IS DISTINCT FROM function THEN
    PERFORM backfill.refuse_change(job, coalesce(backfill.sync_change(job), 'is not there any more'));
  END IF;
  RAISE EXCEPTION '% means another function now, or none', signature
    USING ERRCODE = 'BF001', HINT = 'The table, its schema or that of its functions was renamed; this batch was undone.';
END
$$;

-- A result of a row function of a job's trigger, as an expression over the rows of a relation, for batches: so they compute what the names in a clause meant when the function was made. The planner puts the call
-- into the batch's query, as into the trigger's. ctid: so that it is computed for each row, whatever it reads of it. A partition's row becomes the table's column by column: no cast that somebody has made
-- for the types is meant. NULL: there is no such function that is the table owner's, or it takes no row of that relation.
CREATE OR REPLACE FUNCTION backfill.called_value(job backfill.job, relation oid, ending text, ord integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  function pg_proc := (SELECT p FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid WHERE f.name = backfill.sync_token(job) || ending AND (backfill.called_function(job)).oid IS NOT NULL ORDER BY p.oid LIMIT 1);
  name     text := (backfill.relation_in_clauses(job, relation)).name;
  live     constant text := 'SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped';
  wanted   name[];
  columns  name[];
BEGIN
  IF function.oid IS NULL OR NOT backfill.is_of_target(job, relation) THEN
    RETURN NULL;
  END IF;
  EXECUTE live INTO wanted USING job.target;
  EXECUTE live INTO columns USING relation;
  RETURN format('(SELECT v.%I FROM %s.%I(ROW(%s)::%s, NULL::%2$s.%6$I, NULL::%2$s.%6$I%7$s) AS v WHERE pg_catalog.num_nulls(%8$s.ctid) OPERATOR(pg_catalog.=) 0)', ord::text, function.pronamespace::regnamespace, function.proname,
                CASE WHEN wanted = columns THEN name || '.*'  -- read when it is run: columns may come, and go
                     ELSE (SELECT string_agg(format('%s.%I', name, c), ', ' ORDER BY u.ord) FROM unnest(wanted) WITH ORDINALITY AS u(c, ord)) END,
                backfill.relation_name(job.target), backfill.sync_token(job), CASE WHEN function.pronargs = 4 THEN format(', %L::pg_catalog.bool[]', array_fill(false, ARRAY[ord - 1]) || true) END, name);
END
$$;

-- What set_clause assigns to, and what a batch of a relation assigns there, as expressions over its rows: by the trigger's function, or, where there is none, as the clause says.
CREATE OR REPLACE FUNCTION backfill.batch_values(job backfill.job, relation oid, OUT targets text[], OUT expressions text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT v.targets, ARRAY(SELECT coalesce(CASE WHEN job.keep_in_sync THEN backfill.called_value(job, relation, '_value', u.ord::integer) END, u.e) FROM unnest(v.expressions) WITH ORDINALITY AS u(e, ord) ORDER BY u.ord)
    FROM backfill.computed_values(job.target, job.set_clause) v
$$;

-- Which rows are to do, as a condition over the rows of a relation: what asks for more than NULL in filled columns is asked of the trigger's function. NULL: the clause's text is; so is one with a sub-select, which
-- the planner may join to the rows.
CREATE OR REPLACE FUNCTION backfill.called_condition(job backfill.job, relation oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT CASE WHEN s.sync ->> 'mode' = 'where' THEN backfill.called_value(job, relation, '_todo', 1) || ' IS TRUE'
                    ELSE array_to_string(ARRAY(SELECT format(E'(%s\n)', part) FROM unnest(backfill.null_parts(job.where_clause, c.relname::text, backfill.filled_columns(job.set_clause))) AS part), ' AND ')
                         || ' AND ' || backfill.called_value(job, relation, '_rest', 1) || ' IS TRUE' END
          FROM pg_class c, (SELECT job.plan -> 'sync' AS sync) s
         WHERE c.oid = job.target AND job.keep_in_sync AND backfill.asks_names(job) AND job.where_clause !~* '\mselect\M');
END
$$;

-- What stands behind SET in the batches of a job whose trigger is there; NULL: it has none.
CREATE OR REPLACE FUNCTION backfill.called_clause(job backfill.job, relation oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT string_agg(format(CASE WHEN job.plan -> 'kept' ? c.name THEN '%1$s = CASE WHEN %3$s.%4$I IS NULL THEN %2$s ELSE %3$s.%4$I END' ELSE '%1$s = %2$s' END, u.t, u.e, r.name, c.name), E'\n, ' ORDER BY u.ord)
          FROM backfill.batch_values(job, relation) v, unnest(v.targets, v.expressions) WITH ORDINALITY AS u(t, e, ord), LATERAL (SELECT backfill.assigned_column(u.t) AS name) c,
               backfill.relation_in_clauses(job, relation) r
         WHERE job.keep_in_sync AND v.expressions <> (SELECT o.expressions FROM backfill.computed_values(job.target, job.set_clause) o));
END
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
    EXECUTE pg_catalog.format(E'CREATE FUNCTION %s() RETURNS SETOF pg_catalog.record LANGUAGE sql BEGIN ATOMIC SELECT %s FROM ONLY %s AS %I; END', probe,
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
  theirs   boolean := body ~ ':rtekind 0 '  -- a view calls functions, too, and so may a policy
                      OR EXISTS (SELECT FROM pg_proc p WHERE p.oid = ANY (called) AND (p.oid >= 16384 OR p.pronamespace <> 'pg_catalog'::regnamespace))
                      OR EXISTS (SELECT FROM regexp_matches(body, ':resulttype (\d+)', 'g') AS t(m) WHERE (m)[1]::oid >= 16384);
  strength text := (SELECT max(CASE p.provolatile WHEN 'v' THEN '2' WHEN 's' THEN '1' ELSE '0' END) FROM pg_proc p WHERE p.oid = ANY (called));
  sources  text := (SELECT string_agg(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), E'\n') FROM pg_proc p WHERE p.oid = ANY (called) AND p.oid >= 16384);
  names    text := (SELECT string_agg(p.proname, ' ') FROM pg_proc p WHERE p.oid = ANY (called));
  known    text[] := settings || '{search_path, timezone, datestyle, intervalstyle, bytea_output, lc_monetary, lc_numeric, lc_time, default_text_search_config, xmlbinary, xmloption}'::text[];
  asked    text[];
BEGIN
  volatile := coalesce(strength, '0') = '2';
  -- A function of the user's may depend on any; of the server's own the type of a value and the name of a function tell.
  pinned := CASE WHEN theirs THEN '{search_path, row_security}'::text[] ELSE '{}' END;
  IF theirs OR coalesce(strength, '0') > '0' OR body ~ 'SQLVALUEFUNCTION|COERCEVIAIO|XMLEXPR' OR names ~ '\mage\M' THEN  -- age is immutable, says the server, and reckons in the session's time zone
    pinned := pinned || '{TimeZone, DateStyle, IntervalStyle, bytea_output, extra_float_digits}'::text[]
           || CASE WHEN theirs THEN '{standard_conforming_strings, backslash_quote, transform_null_equals}'::text[] ELSE '{search_path}' END  -- a text may be taken for a name, or a query
           || CASE WHEN theirs OR body ~ 'COERCEVIAIO' THEN '{array_nulls}'::text[] END
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

-- Whether what makes a value of a type, or tells it, may depend on the role that does so: an object's name, a type that an extension has brought, or one that is made of
-- such. A domain's conditions count where they call more than what the server has as immutable.
CREATE OR REPLACE FUNCTION backfill.type_depends_on_role(type oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  y pg_type;
BEGIN
  SELECT t.* INTO y FROM pg_type t WHERE t.oid = type;
  IF type < 16384 THEN
    RETURN y.typname ~ '^_?reg';
  END IF;
  RETURN CASE
    WHEN y.typtype = 'e' THEN false
    WHEN y.typtype = 'd' THEN
      backfill.type_depends_on_role(y.typbasetype)
      OR EXISTS (SELECT FROM pg_constraint k, regexp_matches(k.conbin::text, ':(?:funcid|opfuncid) (\d+)', 'g') AS c(m)
                  WHERE k.contypid = type AND NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = (c.m)[1]::oid AND p.oid < 16384 AND p.provolatile = 'i'))
      OR EXISTS (SELECT FROM pg_constraint k, regexp_matches(k.conbin::text, ':\w*type (\d+)', 'g') AS c(m)
                  WHERE k.contypid = type AND (c.m)[1]::oid <> type AND backfill.type_depends_on_role((c.m)[1]::oid))
      OR EXISTS (SELECT FROM pg_constraint k WHERE k.contypid = type AND k.conbin::text ~ 'SQLVALUEFUNCTION|XMLEXPR|COERCEVIAIO|ROWCOMPARE')
    WHEN y.typtype = 'c' THEN
      EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped AND backfill.type_depends_on_role(a.atttypid))
    WHEN y.typtype IN ('r', 'm') THEN
      EXISTS (SELECT FROM pg_range r WHERE type IN (r.rngtypid, r.rngmultitypid) AND (backfill.type_depends_on_role(r.rngsubtype) OR greatest(r.rngcanonical::oid::bigint, r.rngsubdiff::oid::bigint, r.rngsubopc::bigint) >= 16384))
    WHEN y.typelem <> 0 AND y.typlen = -1 THEN backfill.type_depends_on_role(y.typelem)
    ELSE true END;
END
$$;

-- Whether the value of a row function may also depend on the role that computes it: whose function of the user's, table, name in a catalog or right it
-- meets. Settings are pinned, whoever it is; of the server's own functions those that do no more than convert and reckon are known.
CREATE OR REPLACE FUNCTION backfill.depends_on_role(function oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH b AS (SELECT p.prosqlbody::text AS body FROM pg_proc p WHERE p.oid = function),
       types AS (SELECT DISTINCT (m)[1]::oid AS oid FROM b, regexp_matches(b.body, ':\w*type (\d+)', 'g') AS t(m)),
       called AS (SELECT (m)[1]::oid AS oid FROM b, regexp_matches(b.body, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') AS t(m)
                   UNION
                  SELECT o.oprcode::oid FROM b, regexp_matches(b.body, ':opno (\d+)', 'g') AS t(m) JOIN pg_operator o ON o.oid = (m)[1]::oid
                   UNION
                  SELECT o.oprcode::oid FROM b, regexp_matches(b.body, ':opnos \(o ([\d ]+)\)', 'g') AS t(m), regexp_split_to_table((m)[1], ' ') AS n(oid)
                    JOIN pg_operator o ON o.oid = n.oid::oid)
  SELECT (SELECT b.body ~ ':rtekind 0 |XMLEXPR|\{SQLVALUEFUNCTION :op (9|1\d) ' FROM b)  -- CURRENT_ROLE and what follows it
         OR EXISTS (SELECT FROM (SELECT t.oid FROM types t JOIN pg_type y ON y.oid = t.oid
                                  WHERE y.typrelid = 0 OR y.typrelid NOT IN (SELECT p.typrelid FROM pg_proc f JOIN pg_type p ON p.oid = f.proargtypes[0] WHERE f.oid = function)
                                 OFFSET 0) AS t  -- once each
                     WHERE backfill.type_depends_on_role(t.oid))
         OR EXISTS (SELECT FROM called k JOIN pg_proc p ON p.oid = k.oid
                     WHERE p.oid >= 16384 OR p.pronamespace <> 'pg_catalog'::regnamespace
                        OR p.provolatile <> 'i'
                       AND p.proname <> ALL ('{textanycat, anytextcat, concat, concat_ws, format, to_char, to_timestamp, to_date, array_to_string, to_json, to_jsonb, row_to_json,
                                               array_to_json, json_build_object, json_build_array, jsonb_build_object, jsonb_build_array,
                                               random, gen_random_uuid, now, transaction_timestamp, statement_timestamp, clock_timestamp}'::name[])
                       AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) a JOIN pg_type y ON y.oid = a WHERE y.typcategory IN ('D', 'T')))
$$;
