-- Whether where_clause still means to the batches of a keep_in_sync job what it does to its trigger. The trigger's functions keep what names meant when they were made, and batches call them (backfill.batch_values,
-- called_condition); but for a where_clause with a sub-select, which a function would hide from the planner: that they read anew, and in mid-job another table may take a name, or a function come that fits a call better. So
-- each batch asks then, before its statement and behind it, whether the catalog has for its words what it had. Only where it hasn't, the functions are made of the text once more, compared with those that stand, and undone.
-- Jobs without a trigger compute what their names mean when a batch does, as any UPDATE.

-- The words of a text that may be names, and more: whatever looks like a name, as it stands and in small letters, in constants, too, which may name an object; what stands in double quotes;
-- operators, and those that SQL's own words stand for.
CREATE OR REPLACE FUNCTION backfill.words_of(clause text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT w.word::name::text), '{}')
    FROM (SELECT unnest('{=,<>,<,>,<=,>=,~~,!~~,~~*,!~~*,~,!~}'::text[])
           UNION
          SELECT (m)[1] FROM regexp_matches(clause, '([-+*/<>=~!@#%^&|`?]+)', 'g') AS r(m)
           UNION
          SELECT replace((m)[1], '""', '"') FROM regexp_matches(clause, '"((?:[^"]|"")+)"', 'g') AS r(m)
           UNION
          SELECT x.word FROM regexp_matches(clause, '([^[:space:]''".,();:<>=+*/|&%^!~?@#`\[\]{}-]+)', 'g') AS r(m), LATERAL (VALUES ((m)[1]), (lower((m)[1] COLLATE "C")), (lower((m)[1]))) AS x(word)
           UNION
          SELECT (m)[1] FROM regexp_matches(clause, '([[:alpha:]_][[:alnum:]_]*)', 'g') AS r(m)  -- between dollars
           UNION
          SELECT (m)[1] FROM regexp_matches(clause, '''([^'']+)''', 'g') AS r(m)) AS w(word)
   WHERE w.word <> ''
$$;

-- A hash of all that the words may be names of in these schemas, those of the search_path, and in those that the words themselves name: while it stays, so does what a job's where_clause
-- means. reads: the tables and composite types that the trigger's functions read, whose columns and defaults count, for *, NATURAL and DEFAULT name none; types: those that they use, whose casts and labels do. What
-- others make elsewhere costs next to nothing. tables: all of it, else not tables of these names, the types of their rows, roles, labels and defaults of domains: nothing that a CHECK calls. Asked twice in each batch: 0.25 ms each (tests/README.md). A list, so not proven to be all: names that are spelled by escapes it doesn't know.
CREATE OR REPLACE FUNCTION backfill.names_now(schemas name[], words text[], reads oid[], types oid[], tables boolean DEFAULT true) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
  names constant name[] := words;
  those constant oid[] := ARRAY(SELECT n.oid FROM pg_namespace n WHERE n.nspname = ANY (schemas || names) AND n.nspname NOT IN ('pg_catalog', 'information_schema'));
BEGIN
  RETURN (
    SELECT md5(string_agg(s.what, ',' ORDER BY s.what))
      FROM (SELECT array_to_string(schemas, ',') AS what
             UNION ALL
            SELECT concat_ws(' ', 'schema', n.oid, n.nspname) FROM pg_namespace n WHERE n.oid = ANY (those)
             UNION ALL
            SELECT concat_ws(' ', 'relation', c.oid, c.relname, c.relnamespace) FROM pg_class c WHERE tables AND c.relname = ANY (names) AND c.relnamespace = ANY (those)
             UNION ALL
            SELECT concat_ws(' ', 'column', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation) FROM pg_attribute a WHERE a.attrelid = ANY (reads) AND a.attnum > 0 AND NOT a.attisdropped
             UNION ALL
            SELECT concat_ws(' ', 'default', d.oid, d.adrelid, d.adnum) FROM pg_attrdef d WHERE d.adrelid = ANY (reads)
             UNION ALL
            SELECT concat_ws(' ', 'function', p.oid, p.proname, p.pronamespace, p.pronargdefaults) FROM pg_proc p WHERE p.proname = ANY (names) AND p.pronamespace = ANY (those)
             UNION ALL
            SELECT concat_ws(' ', 'type', t.oid, t.typname, t.typnamespace) FROM pg_type t WHERE t.typname = ANY (names) AND t.typnamespace = ANY (those) AND (tables OR t.typtype <> 'c' OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
             UNION ALL
            SELECT concat_ws(' ', 'operator', o.oid, o.oprname, o.oprnamespace) FROM pg_operator o WHERE o.oprname = ANY (names) AND o.oprnamespace = ANY (those)
             UNION ALL
            SELECT concat_ws(' ', 'domain', y.oid, y.typdefault) FROM pg_type y WHERE tables AND y.oid = ANY (types) AND y.typtype = 'd'
             UNION ALL
            SELECT concat_ws(' ', 'label', e.oid, e.enumlabel) FROM pg_enum e WHERE tables AND e.enumtypid = ANY (types)
             UNION ALL
            SELECT concat_ws(' ', 'collation', c.oid, c.collname, c.collnamespace) FROM pg_collation c WHERE c.collname = ANY (names) AND c.collnamespace = ANY (those)
             UNION ALL
            SELECT concat_ws(' ', 'configuration', c.oid, c.cfgname, c.cfgnamespace) FROM pg_ts_config c WHERE c.cfgname = ANY (names) AND c.cfgnamespace = ANY (those)
             UNION ALL
            SELECT concat_ws(' ', 'dictionary', d.oid, d.dictname, d.dictnamespace) FROM pg_ts_dict d WHERE d.dictname = ANY (names) AND d.dictnamespace = ANY (those)
             UNION ALL
            SELECT concat_ws(' ', 'role', r.oid, r.rolname) FROM pg_roles r WHERE tables AND r.rolname = ANY (names)
             UNION ALL
            SELECT concat_ws(' ', 'cast', c.oid, c.castcontext) FROM pg_cast c WHERE c.castsource = ANY (types) AND c.oid >= 16384) AS s);
END
$$;

-- What a function with a parsed body comes to: its body with the names of today, and the OIDs of all that it means, in its order. What has been added to a table
-- that it reads doesn't count, unless the clause takes its columns by *, also where nothing depends on them; nor does how long its text is.
CREATE OR REPLACE FUNCTION backfill.meaning_of(function oid, OUT body text, OUT relations oid[], OUT functions oid[], OUT others text[])
LANGUAGE sql STABLE
AS $$
  SELECT pg_catalog.replace(pg_catalog.pg_get_function_sqlbody(function), pg_catalog.quote_ident(p.proname) OPERATOR(pg_catalog.||) '.', ''),
         ARRAY(SELECT (m)[1]::pg_catalog.oid FROM pg_catalog.regexp_matches(p.prosqlbody::pg_catalog.text, ':relid (\d+)', 'g') AS r(m)),
         ARRAY(SELECT (m)[1]::pg_catalog.oid FROM pg_catalog.regexp_matches(p.prosqlbody::pg_catalog.text, ':(?:funcid|aggfnoid|winfnoid) (\d+)', 'g') AS r(m)),
         ARRAY(SELECT (m)[1] FROM pg_catalog.regexp_matches(p.prosqlbody::pg_catalog.text, ':((?:opno|opfuncid|inputcollid|resulttype|consttype|resultcollid) \d+|opnos \(o [\d ]+\))', 'g') AS r(m))
    FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) function
$$;

-- Whether where_clause of a job means something else than its trigger's functions, and what, in words; NULL: no. With the job's rights and settings. Raises what is waited for when it can't be told:
-- a right to make functions that was revoked, an event trigger.
CREATE OR REPLACE FUNCTION backfill.other_meaning(job backfill.job) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
  arguments pg_catalog.text;
  token     pg_catalog.text := (SELECT c.relnamespace::pg_catalog.regnamespace::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target)
                               OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) backfill.sync_token(job);
  differs   boolean;
  clause    pg_catalog.record;
  there     pg_catalog.oid;
  twin      pg_catalog.text;
  was       pg_catalog.record;
  now       pg_catalog.record;
BEGIN
  FOR clause IN SELECT * FROM backfill.row_clauses(job, NULL) c WHERE c.of OPERATOR(pg_catalog.=) 'where_clause' LOOP
    there := (SELECT f.oid FROM backfill.sync_functions(job) f WHERE f.name OPERATOR(pg_catalog.=) (backfill.sync_token(job) OPERATOR(pg_catalog.||) clause.ending));
    CONTINUE WHEN there IS NULL;
    twin := token OPERATOR(pg_catalog.||) clause.ending OPERATOR(pg_catalog.||) '_twin';
    arguments := pg_catalog.format('(%s)', backfill.row_arguments(job.target, token, ARRAY[NULL::pg_catalog.text], clause.by_wanted));
    BEGIN
      EXECUTE backfill.row_function(twin, job.target, token, clause.types, clause.expressions,
        ARRAY(SELECT a.attname::pg_catalog.text
                FROM pg_catalog.pg_attribute a
               WHERE a.attrelid OPERATOR(pg_catalog.=) job.target AND a.attnum OPERATOR(pg_catalog.>) 0::smallint
                 AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT pg_catalog.unnest(backfill.columns_of_function(there, job.target))))
               ORDER BY a.attnum), NULL, clause.by_wanted);
      was := backfill.meaning_of(there);
      now := backfill.meaning_of((twin OPERATOR(pg_catalog.||) arguments)::pg_catalog.regprocedure::pg_catalog.oid);  -- another of that name may be there
      IF pg_catalog.record_image_ne(was, now) IS NOT FALSE THEN
        differs := true;
      END IF;
      RAISE EXCEPTION USING ERRCODE = 'BF900';
    EXCEPTION
      WHEN SQLSTATE 'BF900' THEN
        NULL;
      WHEN OTHERS THEN
        IF backfill.is_trouble(SQLSTATE) THEN
          RAISE;
        ELSIF SQLSTATE OPERATOR(pg_catalog.=) ANY ('{42703,42P01,42883,42704,3F000,22P02}'::pg_catalog.text[]) THEN
          RETURN pg_catalog.format('where_clause does not read as it did any more: %s', SQLERRM);
        END IF;
        RAISE EXCEPTION 'names that where_clause reads have changed, and whether it means the same can''t be told: %', SQLERRM
          USING ERRCODE = '58000', HINT = 'The trigger''s functions are made once more for it, beside the table, and undone.';
    END;
    CONTINUE WHEN differs IS NULL;
    RETURN pg_catalog.concat('where_clause means something else by now than to the trigger of keep_in_sync', coalesce(
      (SELECT pg_catalog.format(', which reads %s where it means %s', backfill.relation_name(u.was), backfill.relation_name(u.now))
         FROM ROWS FROM (pg_catalog.unnest(was.relations), pg_catalog.unnest(now.relations)) AS u(was, now)
        WHERE u.was OPERATOR(pg_catalog.<>) u.now LIMIT 1),
      (SELECT pg_catalog.format(', which calls %s where it means %s', u.was::pg_catalog.regprocedure, u.now::pg_catalog.regprocedure)
         FROM ROWS FROM (pg_catalog.unnest(was.functions), pg_catalog.unnest(now.functions)) AS u(was, now)
        WHERE u.was OPERATOR(pg_catalog.<>) u.now LIMIT 1)));
  END LOOP;
  RETURN NULL;
END
$$;

-- What a worker has seen of the names: backfill.token. It lasts for the job's next session, too.
CREATE OR REPLACE FUNCTION backfill.note_meaning(ticket bigint, words text[], reads oid[], types oid[], names text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE backfill.token t SET words = note_meaning.words, reads = note_meaning.reads, types = note_meaning.types, names = note_meaning.names
   WHERE t.worker = pg_backend_pid() AND t.ticket = note_meaning.ticket
$$;

-- The words of a job's where_clause, none where the trigger's functions are asked in its place; its table, and the tables and composite types that the trigger's functions of it read; and the types that they use, with what these are made of.
CREATE OR REPLACE FUNCTION backfill.names_of(job backfill.job, OUT words text[], OUT reads oid[], OUT types oid[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE functions AS MATERIALIZED (
    SELECT f.oid, p.prosqlbody::text AS body FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid WHERE f.name ~ '_(todo|rest)$'
  ), used AS (
    SELECT (m)[1]::oid AS oid FROM functions f, regexp_matches(f.body, ':\w*type(?:id)? (\d+)', 'g') AS t(m)
     UNION
    SELECT o.oid
      FROM used u JOIN pg_type y ON y.oid = u.oid,
           LATERAL (SELECT y.typbasetype UNION ALL SELECT y.typelem
                     UNION ALL
                    SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped AND y.typrelid <> job.target
                     UNION ALL
                    SELECT g.rngsubtype FROM pg_range g WHERE y.oid IN (g.rngtypid, g.rngmultitypid)) AS o(oid)
     WHERE o.oid <> 0
  )
  SELECT CASE WHEN backfill.asks_names(job) AND job.where_clause ~* '\mselect\M' THEN backfill.words_of(job.where_clause) ELSE '{}' END,
         ARRAY(SELECT job.target::oid
                UNION
               SELECT d.refobjid FROM functions f JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
                UNION
               SELECT y.typrelid FROM used u JOIN pg_type y ON y.oid = u.oid WHERE y.typrelid <> 0),
         ARRAY(SELECT DISTINCT u.oid FROM used u)
$$;

-- Before the statement of a batch, so that nothing runs that came to a name, and behind it, for what came between: undoes it, and stops the job, where its where_clause doesn't mean any more what it does to the
-- trigger.
CREATE OR REPLACE FUNCTION backfill.check_meaning(work backfill.work) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  schemas constant pg_catalog.name[] := pg_catalog.current_schemas(true);
  job     backfill.job;
  known   pg_catalog.record;
  names   pg_catalog.text;
  other   pg_catalog.text;
BEGIN
  IF pg_catalog.cardinality((work).words) OPERATOR(pg_catalog.=) 0 OR (work).names IS NOT NULL AND backfill.names_now(schemas, (work).words, (work).reads, (work).types) OPERATOR(pg_catalog.=) (work).names THEN
    RETURN;
  END IF;
  job := backfill.own_job((work).ticket);
  known := backfill.names_of(job);
  names := backfill.names_now(schemas, known.words, known.reads, known.types);
  other := backfill.other_meaning(job);
  PERFORM backfill.restore_session(work);
  IF other IS NOT NULL THEN
    RAISE EXCEPTION '%', other
      USING ERRCODE = 'BF010',
            HINT = pg_catalog.format('Give each thing the name that it had, or drop what has come (of a table whose columns the clause takes by *: a column), then SELECT backfill.retry(%1$L). Or, to go on with what the names mean today, SELECT backfill.finish(%1$L), then backfill.forget(%1$L); set the filled column to what is to do where in doubt, and insert the job again.', job.name);
  END IF;
  PERFORM backfill.note_meaning((work).ticket, known.words, known.reads, known.types, names);
END
$$;
