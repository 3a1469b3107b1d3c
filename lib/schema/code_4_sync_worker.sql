-- Made in the worker's session, with the job's rights.

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

-- Tries a row function on some rows (behind: its arguments behind the row): one made like it, under the job's settings, as a batch computes it, and itself, called in a session that has others.
-- Raises when they differ. For a fifth of a second, and a hundred rows at most.
CREATE OR REPLACE FUNCTION backfill.compare_values(job backfill.job, function text, twin text, behind text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  here    pg_catalog.text := pg_catalog.format('SELECT * FROM %s($1%s)', twin, behind);
  there   pg_catalog.text := pg_catalog.format('SELECT * FROM %s($1%s)', function, behind);
  started pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  r       pg_catalog.record;
  value   pg_catalog.record;
  code    pg_catalog.text;
  other   pg_catalog.record;
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

-- Pins settings for a function of ours, as this session has them, which are those of the batches.
CREATE OR REPLACE FUNCTION backfill.pin_settings(signature text, settings text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  own_path pg_catalog.text := pg_catalog.current_setting('search_path');
  name     pg_catalog.text;
BEGIN
  FOREACH name IN ARRAY settings LOOP
    IF name OPERATOR(pg_catalog.=) 'search_path' THEN
      PERFORM pg_catalog.set_config('search_path', backfill.path_of_function(own_path), true);
    END IF;
    EXECUTE pg_catalog.format('ALTER FUNCTION %s SET %s FROM CURRENT', signature, name);
    PERFORM pg_catalog.set_config('search_path', own_path, true);
  END LOOP;
END
$$;

-- Takes the rights on what was just made from all but its owner: from PUBLIC, and from whom ALTER DEFAULT PRIVILEGES gave some. kind: FUNCTION or TYPE.
CREATE OR REPLACE FUNCTION backfill.keep_to_owner(kind text, name text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  who pg_catalog.text;
BEGIN
  FOR who IN
    SELECT DISTINCT CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::pg_catalog.text END
      FROM (SELECT p.proowner, coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) FROM pg_catalog.pg_proc p WHERE kind OPERATOR(pg_catalog.=) 'FUNCTION' AND p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure(name)::pg_catalog.oid
             UNION ALL
            SELECT t.typowner, coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner)) FROM pg_catalog.pg_type t WHERE kind OPERATOR(pg_catalog.=) 'TYPE' AND t.oid OPERATOR(pg_catalog.=) pg_catalog.to_regtype(name)::pg_catalog.oid) AS o(owner, acl),
           pg_catalog.aclexplode(o.acl) AS a
     WHERE a.grantee OPERATOR(pg_catalog.<>) o.owner
  LOOP
    EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, who);
  END LOOP;
END
$$;

-- Gives a function that was just made to the owner of a table, and to nobody else.
CREATE OR REPLACE FUNCTION backfill.give_to_owner(relation oid, signature text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  owner pg_catalog.text := (SELECT c.relowner::pg_catalog.regrole::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation);
BEGIN
  PERFORM backfill.keep_to_owner('FUNCTION', signature);
  IF owner OPERATOR(pg_catalog.<>) pg_catalog.quote_ident(current_user) THEN
    EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO %s', signature, owner);
  END IF;
END
$$;

-- Makes one row function, and gives it to the table's owner. token: its name's beginning, and its type's, with their schema. Returns the settings that are to be pinned when it is called, none when its
-- value depends on the row alone. by_wanted: it takes which expressions are wanted, and gives NULL for the others. When on more, it must be what batches compute: under these settings, and, where the role matters, in its name.
CREATE OR REPLACE FUNCTION backfill.make_row_function(job backfill.job, token text, ending text, types text[], expressions text[], missing jsonb, by_wanted boolean) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  class    pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  columns  pg_catalog.text[];
  owner    pg_catalog.text := class.relowner::pg_catalog.regrole::pg_catalog.text;
  name      pg_catalog.text := token OPERATOR(pg_catalog.||) ending;
  twin      pg_catalog.text := name OPERATOR(pg_catalog.||) '_twin';
  arguments pg_catalog.text := pg_catalog.format('(%s)', backfill.row_arguments(job.target, token, ARRAY[NULL::pg_catalog.text], by_wanted));
  signature pg_catalog.text := name OPERATOR(pg_catalog.||) arguments;
  traits    pg_catalog.record;
  by_role   boolean;
  moment    pg_catalog.text;
  danger    pg_catalog.record;
BEGIN
  BEGIN
    columns := backfill.columns_read(job.target, expressions);
  EXCEPTION WHEN undefined_column THEN  -- the one that is missing, perhaps: then any may be read
    IF missing IS NULL THEN
      RAISE;
    END IF;
    columns := ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) job.target AND a.attnum OPERATOR(pg_catalog.>) 0::smallint
                        AND NOT a.attisdropped ORDER BY a.attnum);
  END;
  -- What the server casts a result to is no part of a function's body, but of what its value depends on.
  EXECUTE backfill.row_function(twin, job.target, token, types,
    ARRAY(SELECT pg_catalog.format(E'(%s\n)::%s', u.e, u.t) FROM ROWS FROM (pg_catalog.unnest(expressions), pg_catalog.unnest(types)) WITH ORDINALITY AS u(e, t, ord) ORDER BY u.ord), columns, missing, by_wanted);
  SELECT * INTO traits FROM backfill.function_traits((twin OPERATOR(pg_catalog.||) arguments)::pg_catalog.regprocedure, backfill.custom_settings(job));
  by_role := backfill.depends_on_role((twin OPERATOR(pg_catalog.||) arguments)::pg_catalog.regprocedure);
  danger := backfill.danger_of(ARRAY[(twin OPERATOR(pg_catalog.||) arguments)::pg_catalog.regprocedure::pg_catalog.oid], '{}', job.target, pg_catalog.current_setting('search_path'));
  moment := (SELECT t.token FROM pg_catalog.unnest(expressions) AS e(expression), pg_catalog.unnest(backfill.tokens_of(e.expression)) AS t(token)
              WHERE pg_catalog.lower(t.token) OPERATOR(pg_catalog.~) '^e?''[\s\[({]*(now|today|tomorrow|yesterday)\M' LIMIT 1);
  IF moment IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) (twin OPERATOR(pg_catalog.||) arguments)::pg_catalog.regprocedure::pg_catalog.oid
                                           AND p.prosqlbody::pg_catalog.text OPERATOR(pg_catalog.~) ':consttype (1082|1083|1114|1184|1266|1182|1183|1115|1185|1270|390[89]|391[0-3]|453[345]) ') THEN  -- of dates and times, of their arrays and ranges
    moment := NULL;
  END IF;
  EXECUTE pg_catalog.format('DROP FUNCTION %s%s', twin, arguments);
  IF moment IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('the constant %s is a moment, which the trigger''s functions would keep as it was when they were made', moment),
                            'Write now(), or current_date, in its place.', '0A000');
  END IF;
  IF danger.problem IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', danger.problem, danger.advice, '42501');
  ELSIF traits.volatile AND ending OPERATOR(pg_catalog.=) '_value'
        AND EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(backfill.assignments_of(job.set_clause)) a WHERE pg_catalog.jsonb_array_length(a OPERATOR(pg_catalog.->) 'columns') OPERATOR(pg_catalog.>) 1) THEN
    PERFORM backfill.refuse('keep_in_sync', 'set_clause fills several columns by one sub-select, and gives another value each time: the trigger computes it for each column anew',
                            'Give each column an expression of its own.', '0A000');
  END IF;
  EXECUTE backfill.row_function(name, job.target, token, types, expressions, columns, missing, by_wanted);
  danger := backfill.danger_of(ARRAY[signature::pg_catalog.regprocedure::pg_catalog.oid], '{}', job.target, pg_catalog.current_setting('search_path'));  -- this one, too: it was read anew, and what it means stays
  IF danger.problem IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', danger.problem, danger.advice, '42501');
  END IF;
  IF traits.refused IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', 'set_clause ' OPERATOR(pg_catalog.||) traits.refused,
                            'Name a setting in settings of the job, with its value, or write the value into the clause.', '0A000');
  ELSIF traits.pinned OPERATOR(pg_catalog.<>) '{}'::pg_catalog.text[] AND owner OPERATOR(pg_catalog.<>) pg_catalog.quote_ident(current_user)
        AND by_role THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('the value of set_clause may depend on who computes it, and the trigger has the rights of %s, the table''s owner, where batches have those of %I', owner, current_user),
                            CASE WHEN class.relowner OPERATOR(pg_catalog.=) 'pg_database_owner'::pg_catalog.regrole::pg_catalog.oid
                                 THEN pg_catalog.format('ALTER TABLE %s OWNER TO %s, which owns the database, then insert the job as that role.', backfill.relation_name(job.target), backfill.acting_owner(class.relowner))
                                 ELSE pg_catalog.format('SET ROLE %s, then insert the job.', owner) END, '42501');
  END IF;
  IF traits.pinned OPERATOR(pg_catalog.<>) '{}'::pg_catalog.text[] AND NOT traits.volatile THEN
    EXECUTE backfill.row_function(twin, job.target, token, types, expressions, columns, missing, by_wanted);
    PERFORM backfill.pin_settings(signature, traits.pinned);
    PERFORM backfill.compare_values(job, name, twin, pg_catalog.format(', NULL::%s, NULL::%1$s%s', token,
      CASE WHEN by_wanted THEN pg_catalog.format(', pg_catalog.array_fill(true, ARRAY[%s])', pg_catalog.cardinality(expressions)) END));
    EXECUTE pg_catalog.format('DROP FUNCTION %s%s', twin, arguments);
    EXECUTE pg_catalog.format('ALTER FUNCTION %s RESET ALL', signature);  -- the triggers' function has them
  END IF;
  PERFORM backfill.give_to_owner(job.target, signature);
  RETURN traits.pinned;
END
$$;

-- Makes the row function that names a CHECK which the row breaks. Returns the settings that are to be pinned when it is called: no value depends on it, and
-- the server asks again.
CREATE OR REPLACE FUNCTION backfill.make_breaks(job backfill.job, token text) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  signature   pg_catalog.text := pg_catalog.format('%s_breaks(%s)', token, backfill.row_arguments(job.target, token, ARRAY[NULL::pg_catalog.text], false));
  own_path    pg_catalog.text := pg_catalog.current_setting('search_path');
  expressions pg_catalog.text[];
  danger      pg_catalog.record;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);  -- by which the server has written them
  SELECT pg_catalog.array_agg(c.value ORDER BY c.key) INTO expressions FROM pg_catalog.jsonb_each_text(job.plan OPERATOR(pg_catalog.->) 'sync' OPERATOR(pg_catalog.->) 'checks') c;
  EXECUTE backfill.row_function(token OPERATOR(pg_catalog.||) '_breaks', job.target, token, '{pg_catalog.text}',
    ARRAY[(SELECT pg_catalog.concat('CASE ', pg_catalog.string_agg(pg_catalog.format('WHEN NOT (%s) THEN %L', c.value, c.key), ' ' ORDER BY c.key), ' END')
             FROM pg_catalog.jsonb_each_text(job.plan OPERATOR(pg_catalog.->) 'sync' OPERATOR(pg_catalog.->) 'checks') c)],
    backfill.columns_read(job.target, expressions), NULL, false);
  PERFORM pg_catalog.set_config('search_path', own_path, true);
  danger := backfill.danger_of(ARRAY[signature::pg_catalog.regprocedure::pg_catalog.oid], '{}', job.target, own_path);
  IF danger.problem IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', danger.problem, danger.advice, '42501');
  END IF;
  PERFORM backfill.give_to_owner(job.target, signature);
  RETURN ARRAY(SELECT p FROM pg_catalog.unnest((backfill.function_traits(signature::pg_catalog.regprocedure, '{}')).pinned) p WHERE p OPERATOR(pg_catalog.=) 'search_path');
END
$$;

-- The expressions of a clause for a row function, each of the type that it is assigned to. A constant without a type, which the server reads as what it is
-- assigned to, would be a text there: it is told by what no function of any type takes.
CREATE OR REPLACE FUNCTION backfill.typed_values(job backfill.job, clause text, missing jsonb, OUT types text[], OUT expressions text[])
LANGUAGE plpgsql
AS $$
DECLARE
  derived pg_catalog.text := backfill.derived_table(job.target, (SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target), NULL, missing);
  v       pg_catalog.record;
  target  pg_catalog.record;
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

-- Makes the function of two rows that tells for each expression of set_clause, and of sync_back (b1, b2, ...), whether what it reads has changed: other
-- bytes count. token: with its schema.
CREATE OR REPLACE FUNCTION backfill.make_changed(job backfill.job, token text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  signature pg_catalog.text := pg_catalog.format('%s_changed(%s)', token, backfill.row_arguments(job.target, token, ARRAY[NULL, NULL]::pg_catalog.text[], false));
  answers  pg_catalog.text[] := '{}';
  results  pg_catalog.text[] := '{}';
  columns  pg_catalog.text[];
  one      pg_catalog.record;
BEGIN
  FOR one IN
    SELECT backfill.place_in(job, c.clause, u.ord) AS place, u.expression
      FROM pg_catalog.unnest(ARRAY[job.set_clause, job.sync_back]) AS c(clause), backfill.computed_values(job.target, c.clause) AS v, pg_catalog.unnest(v.expressions) WITH ORDINALITY AS u(expression, ord)
     WHERE c.clause IS NOT NULL
  LOOP
    columns := CASE WHEN backfill.has_column(job) THEN backfill.columns_read(job.target, ARRAY[one.expression]) ELSE '{}' END;  -- else it is only tried
    results := pg_catalog.array_append(results, pg_catalog.format('%I boolean', one.place));
    answers := pg_catalog.array_append(answers, CASE WHEN columns OPERATOR(pg_catalog.=) '{}' THEN 'false'
      ELSE pg_catalog.format('pg_catalog.record_image_ne(%s, %s)', backfill.row_of('was', columns), backfill.row_of('now', columns)) END);
  END LOOP;
  EXECUTE pg_catalog.format('CREATE FUNCTION %s_changed(%s) RETURNS TABLE ("0" integer, %s) LANGUAGE sql STABLE BEGIN ATOMIC SELECT 0, %s; END', token, backfill.row_arguments(job.target, token, '{was, now}', false),
    pg_catalog.array_to_string(results, ', '), pg_catalog.array_to_string(answers, ', '));
  PERFORM backfill.give_to_owner(job.target, signature);
END
$$;

-- Makes the function that gives the constants which columns have as a default, where there are some. The server follows a type, or a value of one, that is
-- renamed. token: with its schema.
CREATE OR REPLACE FUNCTION backfill.make_default(job backfill.job, token text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  own_path pg_catalog.text := pg_catalog.current_setting('search_path');
  command  pg_catalog.text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);  -- by which the server has written them
  command := (SELECT pg_catalog.format('CREATE FUNCTION %s_default(%1$s) RETURNS TABLE ("0" integer, %s) LANGUAGE sql STABLE BEGIN ATOMIC SELECT 0, %s; END', token,
                                       pg_catalog.string_agg(pg_catalog.format('%I %s', d.ord::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY d.ord), pg_catalog.string_agg(d.constant, ', ' ORDER BY d.ord))
                FROM backfill.default_places(job) d JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) job.target AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) d.name
              HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0);
  IF command IS NOT NULL THEN
    EXECUTE command;
    PERFORM backfill.give_to_owner(job.target, pg_catalog.format('%s_default(%1$s)', token));
  END IF;
  PERFORM pg_catalog.set_config('search_path', own_path, true);
END
$$;

-- Makes the function that tells whether an UPDATE moves the row in the scan: the server follows the columns when they change their names, as in the triggers' conditions. token: with its schema.
CREATE OR REPLACE FUNCTION backfill.make_moved(job backfill.job, token text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  moving    pg_catalog.text[] := ARRAY(SELECT pg_catalog.jsonb_array_elements_text(job.plan OPERATOR(pg_catalog.->) 'sync' OPERATOR(pg_catalog.->) 'moving'));
  signature pg_catalog.text := pg_catalog.format('%s_moved(%s)', token, backfill.row_arguments(job.target, token, ARRAY[NULL, NULL]::pg_catalog.text[], false));
BEGIN
  IF backfill.moved_by(job) IS NULL THEN
    RETURN;
  END IF;
  EXECUTE pg_catalog.format('CREATE FUNCTION %s_moved(%s) RETURNS TABLE ("0" integer, "1" boolean) LANGUAGE sql STABLE BEGIN ATOMIC SELECT 0, %s; END', token, backfill.row_arguments(job.target, token, '{was, now}', false),
                            CASE WHEN job.key OPERATOR(pg_catalog.=) '{ctid}'::pg_catalog.text[] THEN 'true' ELSE pg_catalog.format('pg_catalog.record_image_ne(%s, %s)', backfill.row_of('was', moving), backfill.row_of('now', moving)) END);
  PERFORM backfill.give_to_owner(job.target, signature);
END
$$;

-- Makes the function that tells the job's table from others. The table is in it as a constant, which the server keeps by OID and writes, in a dump, by its name.
-- token: with its schema. (A bigint: the type's name is the same along any search_path.)
CREATE OR REPLACE FUNCTION backfill.make_mine(job backfill.job, token text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  class pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
BEGIN
  EXECUTE pg_catalog.format('CREATE FUNCTION %s_mine(relation bigint, "backfilld 1" %1$s) RETURNS boolean LANGUAGE sql STABLE BEGIN ATOMIC SELECT %s; END', token,
    pg_catalog.format(CASE WHEN class.relkind OPERATOR(pg_catalog.=) 'p' THEN 'EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(relation::pg_catalog.oid::pg_catalog.regclass) AS a WHERE a.relid OPERATOR(pg_catalog.=) %L::pg_catalog.regclass)'
                           ELSE 'relation OPERATOR(pg_catalog.=) %L::pg_catalog.regclass::pg_catalog.oid::bigint' END, backfill.relation_name(job.target)));
  PERFORM backfill.give_to_owner(job.target, pg_catalog.format('%s_mine(bigint, %1$s)', token));
END
$$;

-- Makes the function that depends on all row functions of a job. token: with its schema.
CREATE OR REPLACE FUNCTION backfill.make_there(job backfill.job, token text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  EXECUTE pg_catalog.format('CREATE FUNCTION %s_there(%1$s) RETURNS boolean LANGUAGE sql STABLE BEGIN ATOMIC SELECT EXISTS (SELECT FROM %s); END', token,
    (SELECT pg_catalog.string_agg(pg_catalog.format('(SELECT %s.%I(%s)) AS "backfilld %s"', p.pronamespace::pg_catalog.regnamespace, p.proname,
                                                    (SELECT pg_catalog.string_agg(pg_catalog.format('NULL::%s', pg_catalog.format_type(a.type, NULL)), ', ' ORDER BY a.ord)
                                                       FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a(type, ord)), p.proname), ', ')
       FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.oid FROM backfill.sync_functions(job) f WHERE pg_catalog.starts_with(f.name, backfill.sync_token(job) OPERATOR(pg_catalog.||) '_')))));
  PERFORM backfill.give_to_owner(job.target, pg_catalog.format('%s_there(%1$s)', token));
END
$$;

-- The row functions that a job's clauses become: each one's ending, what its results are of, which clause it is made of, and whether it takes which ones are wanted.
CREATE OR REPLACE FUNCTION backfill.row_clauses(job backfill.job, missing jsonb) RETURNS TABLE (ending text, types text[], expressions text[], by_wanted boolean, of text)
LANGUAGE plpgsql
AS $$
DECLARE
  sync    pg_catalog.jsonb := job.plan OPERATOR(pg_catalog.->) 'sync';
  several pg_catalog.record := backfill.has_several(job);
  v       pg_catalog.record;
BEGIN
  SELECT * INTO v FROM backfill.typed_values(job, job.set_clause, missing);
  RETURN QUERY SELECT '_value', v.types, v.expressions, several.forth, 'set_clause';
  IF sync OPERATOR(pg_catalog.->>) 'mode' OPERATOR(pg_catalog.=) 'where' OR (sync OPERATOR(pg_catalog.->) 'self')::boolean
     OR job.where_clause IS NOT NULL AND (several.forth OR several.back) THEN
    RETURN QUERY SELECT '_todo', '{boolean}'::pg_catalog.text[], ARRAY[job.where_clause], false, 'where_clause';
  END IF;
  IF sync OPERATOR(pg_catalog.->) 'rest' OPERATOR(pg_catalog.<>) '[]'::pg_catalog.jsonb THEN
    RETURN QUERY SELECT '_rest', '{boolean}'::pg_catalog.text[],
      ARRAY[(SELECT pg_catalog.string_agg('(' OPERATOR(pg_catalog.||) c OPERATOR(pg_catalog.||) E'\n)', ' AND ') FROM pg_catalog.jsonb_array_elements_text(sync OPERATOR(pg_catalog.->) 'rest') c)], false, 'where_clause';
  END IF;
  IF job.sync_back IS NOT NULL THEN
    SELECT * INTO v FROM backfill.typed_values(job, job.sync_back, missing);
    RETURN QUERY SELECT '_back', v.types, v.expressions, several.back, 'sync_back';
  END IF;
END
$$;

-- The row functions of a job, and their type. Returns the settings that are to be pinned when they are called.
CREATE OR REPLACE FUNCTION backfill.make_row_functions(job backfill.job) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  schema  pg_catalog.text := (SELECT c.relnamespace::pg_catalog.regnamespace::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  token   pg_catalog.text := schema OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) backfill.sync_token(job);
  sync    pg_catalog.jsonb := job.plan OPERATOR(pg_catalog.->) 'sync';
  missing pg_catalog.jsonb := backfill.missing_column(job);
  pinned  pg_catalog.text[];
  clause  pg_catalog.record;
BEGIN
  EXECUTE pg_catalog.format('CREATE TYPE %s AS ENUM ()', token);
  PERFORM backfill.keep_to_owner('TYPE', token);
  FOR clause IN SELECT * FROM backfill.row_clauses(job, missing) LOOP
    pinned := pinned OPERATOR(pg_catalog.||) backfill.make_row_function(job, token, clause.ending, clause.types, clause.expressions, missing, clause.by_wanted);
  END LOOP;
  IF (backfill.has_several(job)).forth OR (backfill.has_several(job)).back THEN
    PERFORM backfill.make_changed(job, token);
  END IF;
  IF coalesce(sync OPERATOR(pg_catalog.->) 'checks', '{}') OPERATOR(pg_catalog.<>) '{}'::pg_catalog.jsonb THEN
    pinned := pinned OPERATOR(pg_catalog.||) backfill.make_breaks(job, token);
  END IF;
  PERFORM backfill.make_default(job, token);
  PERFORM backfill.make_moved(job, token);
  PERFORM backfill.make_mine(job, token);
  PERFORM backfill.make_there(job, token);
  PERFORM backfill.check_other_syncs(job);
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
  schema   pg_catalog.text := (SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=) class.relnamespace);
  body     pg_catalog.text;
  before   pg_catalog.text;
  known    pg_catalog.record;
BEGIN
  FOREACH command IN ARRAY backfill.drop_sync_commands(job) LOOP
    EXECUTE command;
  END LOOP;
  before := backfill.names_now(pg_catalog.current_schemas(true), (backfill.names_of(job)).words, '{}', '{}');
  pinned := backfill.make_row_functions(job);
  body := backfill.sync_body(job, schema);
  body := body OPERATOR(pg_catalog.||) E'\n-- '::pg_catalog.text OPERATOR(pg_catalog.||) backfill.sync_seal(job, schema, body);
  IF pg_catalog.strpos(body, E'\\') OPERATOR(pg_catalog.>) 0 THEN  -- a constant, or a name: the writer's setting says how it is read
    pinned := pg_catalog.array_append(pinned, 'standard_conforming_strings'::pg_catalog.text);
  END IF;
  EXECUTE pg_catalog.format('CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS %L', function, body);
  PERFORM backfill.pin_settings(function OPERATOR(pg_catalog.||) '()', pinned);
  -- Whoever may execute it could make it the trigger of a table of their own; that it fires here needs no right.
  PERFORM backfill.keep_to_owner('FUNCTION', function OPERATOR(pg_catalog.||) '()');
  EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s() IS %L', function,
                            pg_catalog.format('of backfilld''s job %s, which keeps rows in step: SELECT backfill.finish(%L) drops it', job.name, job.name));
  FOREACH command IN ARRAY backfill.trigger_commands(job, function) LOOP
    EXECUTE command;
  END LOOP;
  IF owner OPERATOR(pg_catalog.<>) pg_catalog.quote_ident(current_user) THEN
    EXECUTE pg_catalog.format('ALTER FUNCTION %s() OWNER TO %s', function, owner);
    EXECUTE pg_catalog.format('ALTER TYPE %s OWNER TO %s', function, owner);
  END IF;
  known := backfill.names_of(job);
  IF backfill.names_now(pg_catalog.current_schemas(true), known.words, '{}', '{}') OPERATOR(pg_catalog.=) before THEN  -- the tables that they read are locked since: batches of this session mean the same
    PERFORM backfill.note_meaning(ticket, known.words, known.reads, known.types, backfill.names_now(pg_catalog.current_schemas(true), known.words, known.reads, known.types));
  ELSE
    PERFORM backfill.note_meaning(ticket, NULL, NULL, NULL, NULL);
  END IF;
END
$$;
