-- What is asked of a job with keep_in_sync at INSERT.

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
                  array_nulls, transform_null_equals, timezone_abbreviations}'::text[]) n
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
  SELECT coalesce(jsonb_object_agg(a.attname, q.constant), '{}')
    FROM pg_attribute a, backfill.default_of(relation, a.attname) AS d(value),
         -- The types of the server's own are named as such: the text stands in the trigger's function.
         LATERAL (SELECT string_agg(CASE WHEN t.before = '::' AND t.after IS DISTINCT FROM '.' THEN backfill.whose_type(t.token) ELSE t.token END, '' ORDER BY t.ord) AS constant
                    FROM (SELECT u.token, u.ord, lag(u.token, 2, '') OVER w || lag(u.token, 1, '') OVER w AS before, lead(u.token) OVER w AS after
                            FROM unnest(backfill.tokens(format('(%s)::%s', d.value, format_type(a.atttypid, a.atttypmod)))) WITH ORDINALITY AS u(token, ord) WINDOW w AS (ORDER BY u.ord)) t) q
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
  k      pg_catalog.record;
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

-- Whether all that stands in brackets behind an assigned column is a whole number or a text, or two with a colon between: the trigger's function has it as it is written, and whatever else
-- it held, an operator, a type, would be looked up along the writer's search_path, with the rights of the table's owner. A minus is an operator, but for the sign of a number.
CREATE OR REPLACE FUNCTION backfill.has_constant_places(target text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_to_string((backfill.tokens_of(target))[2:], E'\x01')
         ~ E'^(\\.\x01([[:alnum:]_$]|[^\x01-\x7f]|"([^"]|"")*")+\x01?|\\[\x01((-\x01)?[0-9]+|''([^'']|'''')*'')?\x01?(:\x01((-\x01)?[0-9]+)?\x01?)?\\]\x01?)*$'
$$;

-- Refuses a clause that a trigger can't compute. column_name: keep_in_sync, whose clause is set_clause, or sync_back.
CREATE OR REPLACE FUNCTION backfill.check_sync_clause(job backfill.job, column_name text, clause text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  class     pg_catalog.pg_class := (SELECT c FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target);
  missing   pg_catalog.jsonb := backfill.missing_column(job);
  v         pg_catalog.record;
  found     pg_catalog.record;
  target    pg_catalog.text;
BEGIN
  SELECT * INTO v FROM backfill.computed_values(job.target, clause);
  target := (SELECT t FROM pg_catalog.unnest(v.targets) t  -- where in a column it writes may be no row's own affair
              WHERE NOT backfill.has_constant_places(t) OR (backfill.target_type(job.target, t, missing)).type IS NULL
                 OR t OPERATOR(pg_catalog.~) '\[' AND (backfill.breaks_on(ARRAY[pg_catalog.concat('(NULL::', (backfill.target_type(job.target, backfill.next_token(t), missing)).type, ')',
                                                                                pg_catalog.substr(t, pg_catalog.length(backfill.next_token(t)) OPERATOR(pg_catalog.+) 1))], '(SELECT) AS "backfilld row"')).code IS NOT NULL
              LIMIT 1);
  IF v.targets IS NULL OR target IS NOT NULL THEN
    PERFORM backfill.refuse(column_name, pg_catalog.concat('no trigger can compute this ', CASE WHEN column_name OPERATOR(pg_catalog.=) 'sync_back' THEN 'clause' ELSE 'set_clause' END, ': ' OPERATOR(pg_catalog.||) target),
                            'Write each column, or an element or a field of it, with an expression of its own; between the brackets a number, or a text in quotes, and nothing else.', '0A000');
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

-- The columns that a job's row functions read, once they are there: those of set_clause and of where_clause, but for those that it fills.
CREATE OR REPLACE FUNCTION backfill.sync_reads(job backfill.job) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(SELECT DISTINCT c FROM backfill.sync_functions(job) f, unnest(backfill.columns_of_function(f.oid, job.target)) AS c
                WHERE f.name = ANY (ARRAY(SELECT backfill.sync_token(job) || e FROM unnest('{_value, _todo, _rest}'::text[]) e)) AND c <> ALL (ARRAY(SELECT unnest(backfill.filled_columns(job.set_clause)))))
$$;

-- What jobs of all roles do to a table, or will, for who has a say in it: the rights of its owner, or a keep_in_sync job on it, which took those. A view, for in its query current_user is who acts; a SECURITY DEFINER
-- function would know no more than the session's login, and code of others runs there, too. filled, reads (once its trigger is there), back: columns, of a job that keeps rows in step; leaves: that is being taken
-- out; there: its triggers are in the table; may_read: columns whose names are words of its clauses; promised: names of constraints.
CREATE OR REPLACE VIEW backfill.job_beside WITH (security_barrier = true) AS
  SELECT j.id, j.name, j.target, j.keep_in_sync AND NOT j.dry_run AS keeps, j.state IN ('queued', 'running', 'paused') AS is_open, backfill.filled_columns(j.set_clause) AS filled, backfill.sync_reads(j) AS reads,
         coalesce(backfill.filled_columns(j.sync_back), '{}') AS back, backfill.takes_all(j) AS leaves, EXISTS (SELECT FROM backfill.sync_triggers(j)) AS there,
         ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = j.target AND a.attnum > 0 AND NOT a.attisdropped AND concat_ws(' ', j.set_clause, j.where_clause) ~* backfill.word_pattern(a.attname)) AS may_read,
         CASE WHEN NOT j.dry_run THEN ARRAY(SELECT i ->> 'name' FROM jsonb_array_elements(j.plan -> 'enforce') i WHERE NOT (i -> 'existing')::boolean) END AS promised
    FROM backfill.job j
   WHERE EXISTS (SELECT FROM pg_class t WHERE t.oid = j.target AND pg_has_role(current_user, t.relowner, 'MEMBER'))
      OR pg_has_role(current_user, (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'backfill'), 'USAGE')
      OR EXISTS (SELECT FROM backfill.job mine WHERE mine.target = j.target AND mine.keep_in_sync AND pg_has_role(current_user, mine.owner_oid, 'MEMBER'));

-- The columns of other jobs that keep rows of a job's table in step, or of partitions of it, or of what it is a partition of, or will: filled, read (once its trigger is there), and back, which sync_back writes.
-- older: its triggers fire before this one's; there: they are in the table.
CREATE OR REPLACE FUNCTION backfill.other_syncs(job backfill.job) RETURNS TABLE (name text, filled text[], reads text[], back text[], leaves boolean, older boolean, there boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT j.name, j.filled, j.reads, j.back, j.leaves, j.id < job.id, j.there
    FROM backfill.job_beside j
   WHERE j.id <> job.id AND j.keeps AND j.target::oid = ANY ((SELECT backfill.kin_of(job.target))::oid[]) AND (j.is_open OR j.there)
$$;

-- A job whose trigger computes from a column that this one fills, or will: of one that has none yet the words of its clauses tell. By its name; NULL: there is none.
CREATE OR REPLACE FUNCTION backfill.downstream_of(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT min(j.name)
    FROM backfill.job_beside j
   WHERE j.id > job.id AND j.keeps AND j.target::oid = ANY ((SELECT backfill.kin_of(job.target))::oid[]) AND NOT j.leaves
     AND CASE WHEN j.there THEN j.reads && backfill.filled_columns(job.set_clause)
              ELSE j.is_open AND j.may_read && backfill.filled_columns(job.set_clause) END
$$;

-- Triggers of keep_in_sync on a table whose jobs are not in this schema, one of each: they came with a dump, say, or the schema was made anew. commands: take all of it out. Whoever asks
-- sees jobs of others no more than that.
CREATE OR REPLACE FUNCTION backfill.orphaned_trigger(relation oid) RETURNS TABLE (trigger text, commands text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT ON (p.oid) t.tgname::text,
         concat(format('DROP FUNCTION %s CASCADE;', p.oid::regprocedure), (SELECT format(' DROP TYPE %s CASCADE;', y.oid::regtype) FROM pg_type y WHERE y.typname = p.proname AND y.typnamespace = p.pronamespace))
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
   WHERE t.tgrelid = relation AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgname ~ '^(zz|00)_backfilld_keep_in_sync_' AND p.proname ~ '^backfilld_sync_[0-9]+_[0-9a-f]{12}$'
     AND NOT EXISTS (SELECT FROM backfill.job j WHERE j.target = relation AND p.proname = backfill.sync_token(j))
   ORDER BY p.oid, t.tgname DESC
$$;

-- Jobs whose triggers and this one's would not see each other in rows that they share. same: both fill one column; upstream: that one reads what this one fills, or sends it back, and fires before it.
CREATE OR REPLACE FUNCTION backfill.clashes_of(job backfill.job) RETURNS TABLE (name text, leaves boolean, older boolean, there boolean, same boolean, upstream boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT o.name, o.leaves, o.older, o.there, o.filled && f.mine, o.reads && f.mine OR o.back && f.mine
    FROM (SELECT backfill.filled_columns(job.set_clause) AS mine, coalesce(backfill.filled_columns(job.sync_back), '{}') AS sent, backfill.sync_reads(job) AS reads) f, backfill.other_syncs(job) o
   WHERE o.filled && f.mine OR o.older AND (o.reads && f.mine OR o.back && f.mine OR (o.back <> '{}' AND o.filled && f.sent)) OR NOT o.older AND o.there AND o.filled && f.reads
   ORDER BY o.filled && f.mine DESC, o.name
$$;

-- The first of them whose trigger is there, which came with a partition, in words; NULL: there is none.
CREATE OR REPLACE FUNCTION backfill.sync_conflict(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('and that of job "%s" don''t see each other in rows that they share: %s', c.name, CASE WHEN c.same THEN 'both fill one column' ELSE 'one reads what the other writes, and fires before it' END)
    FROM backfill.clashes_of(job) c WHERE c.there AND NOT c.leaves LIMIT 1
$$;

-- Refuses a job whose trigger another's would not see: the triggers of the older job fire first, so the younger one may read what the older
-- fills, and no more. What the younger sends back into such a column, the older sends no further. Asked at INSERT, and again before anything is changed, when what both read is known:
-- of two jobs that are queued the one begins first whose turn it is.
CREATE OR REPLACE FUNCTION backfill.check_other_syncs(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other  record;
BEGIN
  SELECT c.* INTO other FROM backfill.clashes_of(job) c LIMIT 1;
  IF FOUND AND other.leaves THEN
    PERFORM backfill.refuse('keep_in_sync', format('the trigger of job "%s" is being taken out of the table', other.name), 'That takes a moment, where a daemon serves this database: insert the job again then.', '55000');
  ELSIF FOUND AND other.same THEN
    PERFORM backfill.refuse('keep_in_sync', format('job "%s" keeps a column that this one fills in step already', other.name), format('SELECT backfill.undo(%1$L) takes back all that it has added; backfill.finish(%1$L), when it has succeeded, takes out its trigger alone, and what it has computed stays; backfill.cancel(%1$L) ends one that has not ended.', other.name), '55000');
  ELSIF FOUND AND NOT other.older THEN
    PERFORM backfill.refuse('keep_in_sync', format('job "%s" fills a column that this one reads, by a trigger that fires behind this one''s', other.name),
      format('SELECT backfill.forget(%L), then insert this job again: of two jobs of which one reads what the other fills, that one comes later.', job.name), '55000');
  ELSIF FOUND THEN
    PERFORM backfill.refuse(CASE WHEN other.upstream THEN 'keep_in_sync' ELSE 'sync_back' END,
      CASE WHEN other.upstream THEN format('job "%s" computes from a column that this one fills, by a trigger that fires before this one''s', other.name)
           ELSE format('writes a column that job "%s" fills, and sends back itself by a trigger that fires before', other.name) END,
      format('First SELECT backfill.finish(%L).%s', other.name, CASE WHEN other.upstream THEN ' Of two jobs of which one reads what the other fills, insert that other one first.' ELSE '' END), '55000');
  END IF;
END
$$;

-- A function that the domains of columns call, and that looks names up along whatever search_path there is; NULL: none. The server may have put its body into
-- the domain's check under the writer's path before the trigger, with the owner's rights, comes to it.
CREATE OR REPLACE FUNCTION backfill.loose_function(relation oid, columns text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE held(oid) AS (
    SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = ANY (columns) AND a.attnum > 0 AND NOT a.attisdropped
     UNION
    SELECT n.oid
      FROM held h JOIN pg_type t ON t.oid = h.oid,
           LATERAL (SELECT t.typbasetype UNION ALL SELECT t.typelem
                     UNION ALL
                    SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS n(oid)
     WHERE n.oid <> 0
  ), called(oid) AS (
    SELECT f.oid
      FROM held h JOIN pg_constraint k ON k.contypid = h.oid JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid,
           LATERAL (SELECT p.oid FROM pg_proc p WHERE d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
                     UNION ALL
                    SELECT o.oprcode::oid FROM pg_operator o WHERE d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid) AS f(oid)
     UNION
    SELECT d.refobjid FROM called c JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_proc'::regclass
  )
  SELECT min(p.oid::regprocedure::text)
    FROM called c JOIN pg_proc p ON p.oid = c.oid JOIN pg_language l ON l.oid = p.prolang
   WHERE l.lanname NOT IN ('internal', 'c') AND p.prosqlbody IS NULL AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS s(setting) WHERE starts_with(s.setting, 'search_path=') AND NOT backfill.is_open_path(s.setting))
$$;

-- The columns by whose change a row moves in the scan, but for those whose change is seen anyway: one that is to do may get behind the place where the scan is, again
-- and again. Of a generated one those that it is made of: in a trigger it has no value yet.
CREATE OR REPLACE FUNCTION backfill.moving_columns(job backfill.job) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH keys AS (
    SELECT a.attnum, a.attgenerated
      FROM pg_attribute a
     WHERE a.attrelid = job.target AND a.attnum > 0 AND NOT a.attisdropped
       AND (a.attname = ANY (job.key)
            OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = job.target AND i.indisunique AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1])
                          AND (i.indisprimary OR NOT EXISTS (SELECT FROM pg_index p WHERE p.indrelid = job.target AND p.indisprimary)))))
  SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}')
    FROM pg_attribute a
   WHERE a.attrelid = job.target AND a.attname <> ALL (ARRAY(SELECT unnest(backfill.filled_columns(job.set_clause))::name))
     AND (a.attnum IN (SELECT k.attnum FROM keys k WHERE k.attgenerated = '')
          OR a.attnum IN (SELECT d.refobjsubid
                            FROM keys k JOIN pg_attrdef f ON f.adrelid = job.target AND f.adnum = k.attnum
                            JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = job.target
                           WHERE k.attgenerated <> '' AND d.refobjsubid <> k.attnum))
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
  v        pg_catalog.record;
  found    pg_catalog.record;
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
  IF self AND (SELECT pg_catalog.count(*) FROM pg_catalog.unnest(v.expressions) AS e, backfill.breaks_on(ARRAY[e], pg_catalog.format('(SELECT) AS %I', class.relname)) AS b WHERE b.code IS NOT NULL) OPERATOR(pg_catalog.>) 1 THEN
    PERFORM backfill.refuse('keep_in_sync', 'set_clause reads a column that it fills, and fills others: what such a column has of its own, and what of the others'' sources, a trigger can''t tell',
                            'Insert a job for each column.', '0A000');
  END IF;
  mode := CASE WHEN job.where_clause IS NULL THEN 'all' WHEN backfill.null_columns(job.where_clause, class.relname::pg_catalog.text) OPERATOR(pg_catalog.<@) filled THEN 'null' ELSE 'where' END;
  IF self AND mode OPERATOR(pg_catalog.=) 'all' THEN
    PERFORM backfill.refuse('keep_in_sync', 'set_clause reads the column that it fills, and would be applied again to a row that has it already',
                            'Give where_clause, which is true of rows that are still to do and of no other.', '22023');
  END IF;
  IF mode OPERATOR(pg_catalog.=) 'where' OR mode OPERATOR(pg_catalog.=) 'null' AND (pg_catalog.cardinality(filled) OPERATOR(pg_catalog.>) 1 OR pg_catalog.cardinality(back) OPERATOR(pg_catalog.>) 1) THEN
    SELECT * INTO found FROM backfill.breaks_on(ARRAY[job.where_clause], backfill.derived_table(job.target, class.relname, NULL, missing));
    IF found.code IS NOT NULL THEN
      PERFORM backfill.refuse('where_clause', found.problem, 'With keep_in_sync a trigger asks it of each row that is written: it may name the row''s columns only.', found.code);
    END IF;
    PERFORM backfill.check_columns_alone(job, 'where_clause', 'with keep_in_sync, a trigger asks it, and it', ARRAY[job.where_clause]);
  END IF;
  IF mode OPERATOR(pg_catalog.=) 'where' THEN
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
  one := (SELECT pg_catalog.min(t.tgname::pg_catalog.text) FROM pg_catalog.pg_trigger t
           WHERE job.sync_back IS NOT NULL AND t.tgrelid OPERATOR(pg_catalog.=) job.target AND NOT t.tgisinternal AND t.tgtype::integer OPERATOR(pg_catalog.&) 3 OPERATOR(pg_catalog.=) 3
             AND t.tgtype::integer OPERATOR(pg_catalog.&) 20 OPERATOR(pg_catalog.<>) 0 AND t.tgname OPERATOR(pg_catalog.<) '00_backfilld_keep_in_sync_'::pg_catalog.name);
  IF one IS NOT NULL THEN
    PERFORM backfill.refuse('sync_back', pg_catalog.format('trigger %I would fire before the triggers of sync_back, and not see what they write', one),
                            pg_catalog.format('Triggers fire by name: ALTER TRIGGER %I ON %s RENAME TO …, to a name behind 00_backfilld.', one, backfill.relation_name(job.target)), '55000');
  END IF;
  IF backfill.replacer_of(job) IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('%s could replace the functions that the trigger calls with the rights of %s, the owner of the table', backfill.replacer_of(job), class.relowner::pg_catalog.regrole),
                            pg_catalog.format('ALTER TABLE %s SET SCHEMA …, to one that %s owns; or, where the owner of schema %s may do all that %2$s may: GRANT %2$s TO %4$s.', backfill.relation_name(job.target), class.relowner::pg_catalog.regrole,
                                              class.relnamespace::pg_catalog.regnamespace, (SELECT n.nspowner::pg_catalog.regrole FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=) class.relnamespace)), '42501');
  END IF;
  -- NEW is made a row of the table by a cast, and the owner of a partition can make one of his own, which would run with the rights of the table's owner.
  SELECT backfill.relation_name(c.oid) AS name, c.relowner::pg_catalog.regrole::pg_catalog.text AS owner INTO v
    FROM backfill.partitions_of(job.target) p JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) p.relid
   WHERE NOT pg_catalog.pg_has_role(c.relowner, class.relowner, 'USAGE') ORDER BY c.oid LIMIT 1;
  IF v.name IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('partition %s belongs to %s, whose casts would run with the rights of %s, the owner of the table', v.name, v.owner, class.relowner::pg_catalog.regrole),
                            pg_catalog.format('ALTER TABLE %s OWNER TO %s.', v.name, class.relowner::pg_catalog.regrole), '42501');
  END IF;
  one := backfill.row_cast(job.target);
  IF one IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('%s would run in the trigger with the rights of the table''s owner', one), 'DROP CAST: a partition''s row needs none to become one of its table.', '42501');
  END IF;
  one := backfill.loose_function(job.target, pg_catalog.array_cat(filled, back));
  IF one IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('a domain of a column that is filled calls %s, which looks names up along the search_path of whoever writes, and the trigger has the rights of the table''s owner', one),
                            pg_catalog.format('ALTER FUNCTION %s SET search_path = …, pg_temp: the schemas that it means, and pg_temp behind them.', one), '42501');
  END IF;
  v := backfill.danger_of('{}', ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute a
                                       WHERE a.attrelid OPERATOR(pg_catalog.=) job.target AND a.attnum OPERATOR(pg_catalog.>) 0::smallint AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (pg_catalog.array_cat(filled, back))), job.target, NULL);
  IF v.problem IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', v.problem, v.advice, '42501');
  END IF;
  SELECT o.trigger AS name, o.commands AS owner INTO v FROM backfill.orphaned_trigger(job.target) o LIMIT 1;
  IF v.name IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('trigger %I on %s is of a job that this schema doesn''t know: nobody can tell what it keeps in step', v.name, backfill.relation_name(job.target)),
                            pg_catalog.format('It came with a dump, or the schema was made anew. When nobody needs it any more: %s', v.owner), '55000');
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
    'null_asked', pg_catalog.to_jsonb(ARRAY(SELECT DISTINCT n FROM pg_catalog.unnest(backfill.joined_by(job.where_clause, 'and')) AS p(part),
                                                   pg_catalog.unnest(backfill.null_columns(p.part, class.relname::pg_catalog.text)) AS n)),
    'checks', backfill.checks_on(job.target, pg_catalog.array_cat(filled, back)),
    'not_null', pg_catalog.to_jsonb(ARRAY(SELECT DISTINCT c FROM (SELECT job.target::pg_catalog.oid UNION SELECT o FROM backfill.relations_of(job) AS o) AS r(oid),
                                                 pg_catalog.unnest(backfill.never_null(r.oid, pg_catalog.array_cat(filled, back))) AS c ORDER BY c)),
    'defaults', backfill.constant_defaults(job.target, pg_catalog.array_cat(filled, back)),
    'moving', pg_catalog.to_jsonb(backfill.moving_columns(job)));
END
$$;
