-- The phases of a migration, their steps, and which step is next. Where a migration stands is never written down: each question is put to the
-- catalog, so that a daemon which was killed, a step whose answer was lost, and a table that somebody else has changed
-- all lead to the same next step.

-- Which phases a job has: lib/run/migration.h says what each word means. lacking: what a row that is still to do lacks.
CREATE OR REPLACE FUNCTION backfill.phases_of(job backfill.job, OUT expand boolean, OUT fill boolean, OUT guard boolean, OUT quiet boolean,
    OUT verify boolean, OUT validate boolean, OUT in_step boolean, OUT dry_run boolean, OUT lacking text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT job.add_column IS NOT NULL OR job.keep_in_sync,
         f.fills,
         jsonb_path_exists(job.plan, '$.enforce[*] ? (@.kind != "unique")'),
         f.fills AND NOT job.keep_in_sync,
         f.fills AND job.where_clause IS NOT NULL,
         job.enforce IS NOT NULL OR job.drop_column IS NOT NULL OR job.keep_in_sync,  -- where it looks at its trigger once more
         job.keep_in_sync,
         job.dry_run,
         coalesce(job.plan -> 'column' ->> 'name', jsonb_path_query_first(job.plan, '$.enforce[*] ? (@.kind == "not null").column') #>> '{}',
                  'what where_clause asks for')
    FROM (SELECT job.set_clause IS NOT NULL OR job.statement IS NOT NULL AS fills) f
$$;

-- What each phase does, in order. For the manual, the journal and backfill.next_step, which finds the first that is to do.
--   lock: what it takes on the table, for as long as the catalog is changed, or as the comment says
CREATE OR REPLACE FUNCTION backfill.steps() RETURNS TABLE (phase text, step text, lock text, comment text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('expand',   'add column',        'ACCESS EXCLUSIVE, no scan',       'adds the column, nullable and without a default'),
    ('expand',   'keep in sync',      'SHARE ROW EXCLUSIVE, no scan',    'creates the trigger that computes the column in rows that are written'),
    ('guard',    'look',              'none beyond that of a SELECT',    'reads the table for rows that would break a constraint: then none is added'),
    ('guard',    'add constraint',    'ACCESS EXCLUSIVE, no scan; for a foreign key SHARE ROW EXCLUSIVE on both tables',
                                                                         'adds the constraint NOT VALID: rows that are written must meet it from now on'),
    ('validate', 'look',              'as in guard',                     'before that'),
    ('validate', 'add constraint',    'as in guard',                     'adds a constraint that somebody has dropped meanwhile'),
    ('validate', 'validate',          'SHARE UPDATE EXCLUSIVE',          'reads the table and finds that every row meets the constraint'),
    ('validate', 'set not null',      'ACCESS EXCLUSIVE, no scan',       'makes the column NOT NULL, which the validated constraint proves, and drops that'),
    ('validate', 'drop invalid index','SHARE UPDATE EXCLUSIVE',          'drops an index that an earlier try left behind unfinished'),
    ('validate', 'build index',       'SHARE UPDATE EXCLUSIVE',          'builds the unique index concurrently'),
    ('validate', 'use index',         'ACCESS EXCLUSIVE, no scan',       'makes the index a constraint'),
    ('validate', 'drop column',       'ACCESS EXCLUSIVE, no scan',       'drops the column, which nothing uses any more'),
    ('tidy',     'drop trigger',      'ACCESS EXCLUSIVE, no scan',       'drops the trigger and its function'),
    ('tidy',     'drop constraint',   'ACCESS EXCLUSIVE, no scan',       'drops a constraint that was never validated; of undo, any of the job'),
    ('tidy',     'drop not null',     'ACCESS EXCLUSIVE, no scan',       'of undo: the column may be NULL again'),
    ('tidy',     'drop index',        'SHARE UPDATE EXCLUSIVE',          'of undo: drops the index'),
    ('tidy',     'drop column',       'ACCESS EXCLUSIVE, no scan',       'of undo: drops the column that the job has added, unless something uses it'),
    ('tidy',     'drop invalid index','SHARE UPDATE EXCLUSIVE',          'drops an index that was never finished')
$$;

-- Whether the table had, when the job began, the column that it adds; and whether the column of an item was NOT NULL then.
CREATE OR REPLACE FUNCTION backfill.had_column(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM jsonb_array_elements_text(job.before -> 'definition') AS d(line)
                  WHERE starts_with(d.line, format('column %I ', job.plan -> 'column' ->> 'name')))
$$;

-- What uses the column that a job drops, but for some kinds, in words; NULL: nothing does. Anybody may have made any number of such, with words of any length.
CREATE OR REPLACE FUNCTION backfill.uses_in_words(job backfill.job, but text[]) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT string_agg(u.line, '; ' ORDER BY u.n) FILTER (WHERE u.n <= 50) || CASE WHEN count(*) > 50 THEN format('; and %s more', count(*) - 50) ELSE '' END
            FROM (SELECT left(format('%s: %s', a.kind, a.what), 500) AS line, row_number() OVER (ORDER BY a.kind, a.what) AS n FROM backfill.uses_of(job) a WHERE a.kind <> ALL (but)) u);
END
$$;

-- Refuses to take back a column that a job has added, where something has come to use it. with_trigger: before the job's trigger goes: while the column stays, that keeps it in step.
CREATE OR REPLACE FUNCTION backfill.check_undo_column(job backfill.job, with_trigger boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name  text := backfill.relation_name(job.target);
  stays constant text := CASE WHEN with_trigger THEN format('The trigger stays with it, and keeps it in step, until SELECT backfill.finish(%L). ', job.name) ELSE 'All else of the job is taken back. ' END;
  uses  text;
BEGIN
  job.drop_column := backfill.added_column(job);
  IF job.drop_column IS NULL THEN
    RETURN;
  END IF;
  IF job.drop_column <> job.plan -> 'column' ->> 'name' AND job.plan -> 'columns' ? job.drop_column THEN  -- a swap of names
    RAISE EXCEPTION 'column % of % was called % when the job added it, and bears the name of another one by now: the application has taken it into use', job.drop_column, name, quote_ident(job.plan -> 'column' ->> 'name')
      USING ERRCODE = '55000', HINT = stays || 'If nobody needs the column, drop it by hand.';
  END IF;
  uses := (SELECT min(format('"%s"', k.name)) FROM backfill.job k
            WHERE k.target = job.target AND k.id > job.id AND k.add_column IS NOT NULL AND k.plan -> 'column' ->> 'name' = job.drop_column AND k.state NOT IN ('cancelled', 'failed') AND k.started_at IS NOT NULL);
  IF uses IS NOT NULL THEN
    RAISE EXCEPTION 'column % of % is that of job % by now', job.drop_column, name, uses
      USING ERRCODE = '55000', HINT = stays || 'If nobody needs the column, drop it by hand.';
  ELSIF backfill.gone_columns(job) IS NOT NULL THEN
    RAISE EXCEPTION 'column % of % may have the only copy of what was in %', job.drop_column, name, backfill.gone_columns(job)
      USING ERRCODE = '55000', HINT = stays || 'If nobody needs the column, drop it by hand.';
  END IF;
  uses := backfill.uses_in_words(job, '{statements, columns}');  -- what a statement once read is no use any more that would stand in the way of whoever takes the column back
  IF uses IS NOT NULL THEN
    RAISE EXCEPTION 'column % of % is used by %', job.drop_column, name, uses
      USING ERRCODE = '2BP01', HINT = stays || format('Drop or change what is named, then SELECT backfill.undo(%1$L) again; or, where it only speaks of such a column, and nobody writes that any more: SELECT backfill.finish(%1$L), which takes out what keeps it in step, then ALTER TABLE %2$s DROP COLUMN %3$I.', job.name, name, job.drop_column);
  END IF;
END
$$;

-- A column that a job was to add, and that somebody else has added: it must be what add_column says.
CREATE OR REPLACE FUNCTION backfill.check_column_there(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name  constant text := job.plan -> 'column' ->> 'name';
  other text := (SELECT nullif(backfill.type_name(a.atttypid, format_type(a.atttypid, a.atttypmod)), job.plan -> 'column' ->> 'type')
                   FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = name AND NOT a.attisdropped);
BEGIN
  IF other IS NULL AND backfill.asks_only_null(job, name) AND job.set_clause IS NOT NULL AND backfill.default_of(job.target, name) IS NOT NULL THEN
    other := 'with a default, so that nothing tells which rows are to do';
  ELSIF other IS NOT NULL THEN
    other := 'of type ' || other;
  END IF;
  IF other IS NOT NULL THEN
    RAISE EXCEPTION 'column % of % is there, %', name, backfill.relation_name(job.target), other
      USING ERRCODE = '42701', HINT = CASE WHEN job.plan -> 'columns' ? name
        THEN format('It was there when the job was inserted, and what stands in it may be the application''s. SELECT backfill.forget(%L), then insert the job with a where_clause that is true of the rows that are still to do.', job.name)
        ELSE format('Somebody has added it since the job was inserted. Where nobody needs it, drop it, then SELECT backfill.retry(%L).', job.name) END;
  END IF;
END
$$;

-- The column that a job has added, as it is called by now; NULL: there is none. It is known by its number, since the step after it; a column that was made
-- anew under its name is somebody else's.
CREATE OR REPLACE FUNCTION backfill.added_column(job backfill.job) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.attname FROM pg_attribute a
   WHERE job.add_column IS NOT NULL AND a.attrelid = job.target AND a.attnum > 0 AND NOT a.attisdropped AND NOT backfill.had_column(job)
     AND CASE WHEN job.plan -> 'column' ? 'number' THEN a.attnum = (job.plan -> 'column' ->> 'number')::smallint ELSE a.attname = job.plan -> 'column' ->> 'name' END
$$;

-- Columns that the table had when the job began, and has no more, by name; NULL: none.
CREATE OR REPLACE FUNCTION backfill.gone_columns(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(quote_ident(c.key), ', ' ORDER BY c.key)  -- of those that its texts name
    FROM jsonb_each_text(job.plan -> 'columns') c
   WHERE backfill.column_now(job, c.key) IS NULL AND c.key <> ALL (ARRAY(SELECT unnest(backfill.filled_columns(job.set_clause))))
  HAVING count(*) > 0
   UNION ALL  -- of an earlier version's job all count
  SELECT string_agg(b.name, ', ')
    FROM jsonb_array_elements_text(CASE WHEN NOT job.plan ? 'columns' THEN job.before -> 'definition' END) AS d(line), LATERAL (SELECT (regexp_match(d.line, '^column ("(?:[^"]|"")+"|\S+) '))[1] AS name) b
   WHERE b.name IS NOT NULL
     AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attnum > 0 AND NOT a.attisdropped AND quote_ident(a.attname) = b.name)
  HAVING count(*) > 0
$$;

CREATE OR REPLACE FUNCTION backfill.was_not_null(job backfill.job, item jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM jsonb_array_elements_text(job.before -> 'definition') AS d(line)
                  WHERE item ->> 'kind' = 'not null' AND starts_with(d.line, format('column %I ', coalesce(item ->> 'was', item ->> 'column', ''))) AND d.line ~ ' NOT NULL( |$)')
$$;

-- What is to do next in a phase of a job that this session holds; no row: nothing. commands: to be run in one transaction
-- (backfill.run_step), or, when apart, the one command by itself. words: for the journal. waits_for: tables that it locks besides. Phase 'tidy' is that of jobs that have
-- ended.
CREATE OR REPLACE FUNCTION backfill.find_step(job_id bigint, phase text)
RETURNS TABLE (step text, commands text[], apart boolean, relation oid, name text, words text, waits_for text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  job   backfill.job;
  item  jsonb;
  it    record;
  existing boolean;
  newer boolean := current_setting('server_version_num')::integer >= 180000;
  uses  text;
  undoes boolean;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  IF NOT FOUND OR NOT backfill.is_held(job) OR (phase = 'tidy' AND NOT backfill.is_untidy(job))
     OR (phase <> 'tidy' AND backfill.has_moved_back(job, phase)) THEN
    RETURN;  -- whoever begins the next phase, or ends the job, is told so
  END IF;
  undoes := job.wanted = 'undo' AND backfill.takes_all(job);
  relation := job.target;
  name := backfill.relation_name(job.target);
  apart := false;
  IF name IS NULL THEN
    IF phase = 'tidy' THEN  -- all went with its table, but for the functions of its trigger
      commands := CASE WHEN job.keep_in_sync AND backfill.takes_all(job) THEN nullif(backfill.drop_sync_commands(job), '{}') END;
      IF commands IS NOT NULL THEN
        step := 'drop trigger';
        words := format('functions of trigger %s, whose table was dropped', backfill.sync_name(job));
        RETURN NEXT;
      END IF;
      RETURN;
    END IF;
    PERFORM backfill.refuse_dropped(job);
  END IF;

  IF phase <> 'tidy' THEN
    PERFORM backfill.check_columns(job);
  END IF;
  IF phase = 'expand' THEN
    IF NOT backfill.has_column(job) THEN
      step := 'add column';
      commands := CASE WHEN job.keep_in_sync THEN ARRAY['SELECT backfill.try_sync($1)'] END
               || ARRAY['SELECT backfill.check_new_column($1)',
                        format('ALTER TABLE %s ADD COLUMN %I %s%s', name, job.plan -> 'column' ->> 'name', job.plan -> 'column' ->> 'type',
                               coalesce(' COLLATE ' || (job.plan -> 'column' ->> 'collation'), '')),
                        'SELECT backfill.check_new_column($1)'];
      words := format('column %s %s', job.plan -> 'column' ->> 'name', job.plan -> 'column' ->> 'type');
      RETURN NEXT;
      RETURN;
    ELSIF job.add_column IS NOT NULL AND backfill.had_column(job) THEN  -- somebody may have added it since the job was inserted
      PERFORM backfill.check_column_there(job);
    ELSIF job.add_column IS NOT NULL AND NOT job.plan -> 'column' ? 'number' AND NOT backfill.had_column(job) THEN
      UPDATE backfill.job j
         SET plan = jsonb_set(j.plan, '{column,number}', to_jsonb((SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = j.target AND a.attname = j.plan -> 'column' ->> 'name')))
       WHERE j.id = job_id;
    END IF;
  END IF;

  -- What relies on the trigger looks at it again: nobody else may have taken it away, switched it off or changed it.
  IF job.keep_in_sync AND phase IN ('expand', 'guard', 'validate') THEN
    uses := backfill.sync_danger(job);
    IF uses IS NOT NULL THEN
      RAISE EXCEPTION 'the trigger of keep_in_sync on % %', name, uses
        USING ERRCODE = '55000', HINT = format('When that is mended, SELECT backfill.retry(%L).', job.name);
    END IF;
    uses := backfill.sync_change(job);
    IF uses IS NOT NULL AND (phase = 'expand' OR uses = 'is an earlier version''s') THEN
      step := 'keep in sync';
      commands := ARRAY['SELECT backfill.make_sync($1)'];
      words := format('trigger %s', backfill.sync_name(job));
      RETURN NEXT;
      RETURN;
    ELSIF uses IS NOT NULL THEN
      PERFORM backfill.refuse_change(job, uses);
    END IF;
  END IF;
  IF phase = 'expand' THEN
    RETURN;
  END IF;

  FOR item IN SELECT * FROM jsonb_array_elements(CASE WHEN phase = 'tidy' THEN backfill.items_now(job) ELSE job.plan -> 'enforce' END) LOOP
    SELECT * INTO it FROM backfill.find_item(job, item);
    words := format('%s %s', item ->> 'kind', item ->> 'name');
    existing := (item -> 'existing')::boolean;
    IF it.is_another AND phase = 'tidy' THEN
      CONTINUE;
    ELSIF it.is_another THEN
      RAISE EXCEPTION '% of % is not what enforce says', item ->> 'name', name
        USING ERRCODE = '42710', HINT = format('Somebody has made or changed it since the job was inserted. Drop or rename it, then SELECT backfill.retry(%L).', job.name);
    ELSIF phase IN ('guard', 'validate') AND item ->> 'kind' <> 'unique' AND it.constraint_name IS NULL AND it.is_not_null IS NOT TRUE
          AND (job.guard_looked_at IS NULL OR job.guard_looked_at < clock_timestamp() - interval '10 min') THEN
      PERFORM backfill.check_left_behind(job);
      step := 'look';
      commands := backfill.look_commands(job);
      words := format('rows that break %s', (SELECT string_agg(format('%s %s', i ->> 'kind', i ->> 'name'), ', ')
                                               FROM jsonb_array_elements(job.plan -> 'enforce') i WHERE i ->> 'kind' <> 'unique'));
    ELSIF phase IN ('guard', 'validate') AND item ->> 'kind' <> 'unique' AND it.constraint_name IS NULL AND it.is_not_null IS NOT TRUE THEN
      step := 'add constraint';
      commands := CASE WHEN item ->> 'kind' = 'check' THEN ARRAY['SELECT backfill.hold_tree($1)', format('SELECT backfill.check_item_names($1, %L)', item ->> 'name')] ELSE '{}' END
        || ARRAY[format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', name, item ->> 'name', CASE
        WHEN item ->> 'kind' <> 'not null' THEN item ->> 'definition'
        WHEN newer THEN format('NOT NULL %I', item ->> 'column')
        ELSE format('CHECK (%I IS NOT NULL)', item ->> 'column') END)]
        || CASE WHEN item ->> 'kind' = 'check' THEN ARRAY[format('SELECT backfill.check_item_names($1, %L)', item ->> 'name')] ELSE '{}' END
        || CASE WHEN item ->> 'kind' = 'foreign key' THEN ARRAY[format('SELECT backfill.check_reference($1, %L)', item ->> 'name')] ELSE '{}' END
        || CASE WHEN item ->> 'kind' <> 'not null' THEN ARRAY[format('SELECT backfill.note_constraint($1, %L)', item ->> 'name')] ELSE '{}' END;
    ELSIF phase = 'validate' AND it.constraint_name IS NOT NULL AND NOT it.validated THEN
      step := 'validate';
      commands := ARRAY[format('ALTER TABLE %s VALIDATE CONSTRAINT %I', name, it.constraint_name)];
    ELSIF phase = 'validate' AND item ->> 'kind' = 'not null' AND it.kind = 'c' AND NOT (existing AND it.is_not_null) THEN
      step := 'set not null';
      commands := ARRAY[format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', name, item ->> 'column')]
               || CASE WHEN existing THEN '{}' ELSE ARRAY[format('ALTER TABLE %s DROP CONSTRAINT %I', name, it.constraint_name)] END;
    ELSIF phase IN ('validate', 'tidy') AND item ->> 'kind' = 'unique' AND it.index_oid IS NOT NULL AND NOT it.index_valid THEN
      PERFORM backfill.check_builder(it.index_oid);
      step := 'drop invalid index';
      commands := ARRAY['DROP INDEX CONCURRENTLY ' || backfill.relation_name(it.index_oid)];
      apart := true;
    ELSIF phase = 'validate' AND item ->> 'kind' = 'unique' AND it.index_oid IS NULL THEN
      IF EXISTS (SELECT FROM pg_class c JOIN pg_class t ON t.oid = job.target WHERE c.relnamespace = t.relnamespace AND c.relname = item ->> 'name') AND item ? 'chosen' THEN
        item := backfill.choose_anew(job, item);
      END IF;
      IF EXISTS (SELECT FROM pg_class c JOIN pg_class t ON t.oid = job.target WHERE c.relnamespace = t.relnamespace AND c.relname = item ->> 'name') THEN
        RAISE EXCEPTION 'the name % that the constraint was to have is another relation''s by now', item ->> 'name'
          USING ERRCODE = '42P07', HINT = format('Rename that relation, then SELECT backfill.retry(%1$L); or SELECT backfill.forget(%1$L), and insert a job for what is still to enforce.', job.name);
      END IF;
      step := 'build index';
      commands := ARRAY[format('CREATE UNIQUE INDEX CONCURRENTLY %I ON ONLY %s USING %s', item ->> 'name', name, item ->> 'index')];
      apart := true;
    ELSIF phase = 'validate' AND item ->> 'kind' = 'unique' AND it.constraint_name IS NULL THEN
      step := 'use index';
      commands := ARRAY[format('ALTER TABLE %s ADD CONSTRAINT %I UNIQUE USING INDEX %I%s', name, item ->> 'name', item ->> 'name', coalesce(item ->> 'timing', ''))];
    ELSIF phase = 'tidy' AND it.constraint_name IS NOT NULL AND NOT existing AND (it.constraint_name = item ->> 'name' OR undoes)
          AND (undoes OR NOT it.validated AND job.state IN ('cancelled', 'failed') OR item ->> 'kind' IN ('not null', 'check') AND backfill.gives_up(job))
          AND NOT backfill.was_not_null(job, item) THEN
      step := 'drop constraint';
      commands := ARRAY[format('ALTER TABLE %s DROP CONSTRAINT %I', name, it.constraint_name)];
    ELSIF phase = 'tidy' AND (undoes OR backfill.gives_up(job)) AND item ->> 'kind' = 'not null' AND it.is_not_null AND NOT existing AND NOT backfill.was_not_null(job, item) THEN
      step := 'drop not null';
      commands := ARRAY[format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', name, item ->> 'column')];
    ELSIF phase = 'tidy' AND item ->> 'kind' = 'unique' AND it.index_oid IS NOT NULL AND NOT existing
          AND (undoes OR it.constraint_name IS NULL AND job.state <> 'succeeded') THEN  -- built, and not yet used: it refuses writers all the same
      step := 'drop index';
      commands := ARRAY['DROP INDEX CONCURRENTLY ' || backfill.relation_name(it.index_oid)];
      apart := true;
    ELSE
      CONTINUE;
    END IF;
    IF item ->> 'kind' = 'foreign key' THEN
      waits_for := coalesce((SELECT backfill.relation_name(k.confrelid) FROM pg_constraint k WHERE k.conrelid = job.target AND k.conname = item ->> 'name' AND k.contype = 'f'),
                            (SELECT p.other FROM backfill.parts_of_reference(item) p));
    END IF;
    IF step = 'build index' AND NOT job.unfinished THEN
      UPDATE backfill.job j SET unfinished = true WHERE j.id = job_id;
    END IF;
    RETURN NEXT;
    RETURN;
  END LOOP;

  IF phase = 'validate' AND job.drop_column IS NOT NULL THEN
    uses := (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = job.target AND a.attnum = (job.plan ->> 'drop')::smallint AND NOT a.attisdropped);
    IF job.plan ? 'drop' AND uses IS DISTINCT FROM job.drop_column
       AND (uses IS NOT NULL OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = job.drop_column AND a.attnum > 0 AND NOT a.attisdropped)) THEN
      RAISE EXCEPTION 'column % of % is another one than when the job was inserted%', job.drop_column, name, CASE WHEN uses IS NOT NULL THEN format(': that one is called %I now', uses) ELSE '' END
        USING ERRCODE = '42704', HINT = format('SELECT backfill.forget(%L), then insert a job that names the column which is to go.', job.name);
    END IF;
  END IF;
  IF phase = 'validate' AND job.drop_column IS NOT NULL
     AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = job.drop_column AND a.attnum > 0 AND NOT a.attisdropped) THEN
    uses := backfill.uses_in_words(job, coalesce(job.ignore, '{}'));
    IF uses IS NOT NULL THEN
      RAISE EXCEPTION 'column % of % is still used by %', job.drop_column, name, uses
        USING ERRCODE = '2BP01', HINT = format('Drop or change what is named, then SELECT backfill.retry(%L).', job.name)
          || coalesce((SELECT format(' pg_stat_statements keeps a statement that nobody runs any more until somebody who may (a superuser, as a rule) has called %s(); let the application run for a while then, before the retry.',
                                     (SELECT p.oid::regproc FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                                        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
                                       WHERE p.proname = 'pg_stat_statements_reset' AND e.extname = 'pg_stat_statements' ORDER BY p.oid LIMIT 1))
                        WHERE strpos('; ' || uses, '; statements: ') > 0), '')
          || coalesce((SELECT format(' What only looks as if it used the column can be passed over: SELECT backfill.forget(%L), then insert the job anew with ignore = ''{%s}''.', job.name, string_agg(DISTINCT u.kind, ', '))
                         FROM backfill.uses_of(job) u WHERE u.kind <> ALL (coalesce(job.ignore, '{}') || '{jobs, defaults, views, policies, generated, primary key}'::text[]) HAVING count(*) > 0), '');
    END IF;
    step := 'drop column';
    commands := ARRAY[format('ALTER TABLE %s%s DROP COLUMN %I', CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = job.target AND c.relkind = 'r') THEN 'ONLY ' END, name, job.drop_column)];
    words := format('column %s%s', job.drop_column,
                    CASE WHEN job.ignore IS NOT NULL THEN  -- else there were none
                      '; passed over: ' || backfill.uses_in_words(job, '{}') END);
    RETURN NEXT;
  ELSIF phase = 'tidy' AND job.keep_in_sync AND backfill.takes_all(job) AND backfill.drop_sync_commands(job) <> '{}' THEN
    IF undoes THEN
      PERFORM backfill.check_undo_column(job, true);
    END IF;
    step := 'drop trigger';
    commands := backfill.drop_sync_commands(job);
    IF (SELECT count(*) FROM backfill.partitions_of(job.target)) > 300 AND EXISTS (SELECT FROM backfill.sync_triggers(job)) THEN  -- each takes two locks for each partition
      commands := commands[1:1];
    END IF;
    words := format('trigger %s', backfill.sync_name(job));
    RETURN NEXT;
  ELSIF phase = 'tidy' AND undoes AND backfill.added_column(job) IS NOT NULL THEN
    PERFORM backfill.check_undo_column(job, false);
    job.drop_column := backfill.added_column(job);
    step := 'drop column';
    commands := ARRAY[format('ALTER TABLE %s DROP COLUMN %I', name, job.drop_column)];
    words := format('column %s', job.drop_column);
    RETURN NEXT;
  END IF;
END
$$;

-- The same as the worker's session gets it. What locks the table as a whole first waits for it where nobody queues behind: wait_aside.
-- apart: a command that comes by itself, right after the others have looked once more at the name, the state and who else is at it.
CREATE OR REPLACE FUNCTION backfill.next_step(job_id bigint, phase text)
RETURNS TABLE (step text, commands text[], apart text, relation oid, name text, words text)
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.step,
         CASE WHEN s.apart AND s.step LIKE 'drop%' THEN ARRAY[format('SELECT backfill.check_index(%L, %L, %L)', i.oid, (regexp_match(s.commands[1], '^DROP INDEX CONCURRENTLY (.*)$'))[1],
                                                                     s.step = 'drop invalid index')]
              WHEN s.apart THEN '{}'
              WHEN s.step = 'look' OR s.name IS NULL THEN s.commands
              ELSE ARRAY[format('SELECT backfill.wait_aside(%L, %L)', s.name, s.waits_for)] || s.commands END,
         CASE WHEN s.apart THEN s.commands[1] END, s.relation, s.name, s.words
    FROM backfill.find_step(job_id, phase) s
    LEFT JOIN LATERAL (SELECT backfill.named_relation((regexp_match(s.commands[1], '^DROP INDEX CONCURRENTLY (.*)$'))[1]) AS oid) i ON s.apart
$$;

-- A unique index could not be built: an example of the rows that share a value, for the job's owner alone.
CREATE OR REPLACE FUNCTION backfill.note_duplicate(job_id bigint, message text, detail text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO backfill.left_behind (job_id, range_id, relation, key_columns, key, reason, sqlstate, message, detail)
  SELECT j.id, 0, j.target, '{}', '{}', 'duplicate', '23505', note_duplicate.message, note_duplicate.detail
    FROM backfill.job j WHERE j.id = job_id AND backfill.is_held(j)
$$;
