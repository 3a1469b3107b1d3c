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

-- The constraint, index and column of an item of enforce, as the catalog has them. kind: pg_constraint's contype. A column has
-- one NOT NULL at most, so in PostgreSQL 18, where it is a constraint, it counts by whatever name it has. is_another: what bears
-- the name is not what the item says, nor what the job has made, of which a table or a column may have got another name since.
CREATE OR REPLACE FUNCTION backfill.find_item(job backfill.job, item jsonb,
    OUT constraint_name name, OUT kind "char", OUT validated boolean, OUT index_oid oid, OUT index_valid boolean, OUT is_not_null boolean,
    OUT is_another boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.conname, k.contype, k.convalidated, i.indexrelid, i.indisvalid, backfill.is_not_null(job.target, (item ->> 'column')::name),
         k.conname = item ->> 'name' AND NOT coalesce(item -> 'made' ->> 'home' = backfill.home(0) AND item -> 'made' ->> 'oid' = k.oid::text, false)
         AND backfill.other_constraint(job.target, item ->> 'name', coalesce(item ->> 'in_catalog', item ->> 'definition')) IS NOT NULL
         OR CASE WHEN coalesce(octet_length(i.indexprs::text), 0) + coalesce(octet_length(i.indpred::text), 0) <= 2000000
                 THEN pg_get_indexdef(i.indexrelid) !~ (' USING ' || regexp_replace(item ->> 'index', '([^[:alnum:]_ ])', '\\\1', 'g') || '$') ELSE true END
    FROM (SELECT 1) one
    LEFT JOIN LATERAL (
      SELECT c.oid, c.conname, c.contype, c.convalidated
        FROM pg_constraint c
       WHERE c.conrelid = job.target
         AND (c.conname = item ->> 'name'
              OR c.contype = 'n' AND c.conkey = ARRAY[(SELECT a.attnum FROM pg_attribute a
                                                        WHERE a.attrelid = job.target AND a.attname = item ->> 'column')])
       ORDER BY c.contype <> 'n' LIMIT 1) k ON true
    LEFT JOIN (pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND i.indisunique)
           ON i.indrelid = job.target AND c.relname = item ->> 'name'
$$;

-- ---- Guard looks before it adds: no constraint comes while a row breaks it, for then the application's next UPDATE of that row fails

-- Refuses to go on while rows are put aside: what they hold, nobody has computed.
CREATE OR REPLACE FUNCTION backfill.check_left_behind(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n   bigint := (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = job.id AND l.reason IN ('error', 'locked'));
  key text := (SELECT (SELECT string_agg(format('%s = %s', a.attname, k.value), ', ' ORDER BY k.ord)
                         FROM unnest(l.key_columns, l.key) WITH ORDINALITY AS k(attnum, value, ord)
                         JOIN pg_attribute a ON a.attrelid = l.relation AND a.attnum = k.attnum)
                 FROM backfill.left_behind l WHERE l.job_id = job.id AND l.reason IN ('error', 'locked') ORDER BY l.id LIMIT 1);
BEGIN
  IF n > 0 THEN
    RAISE EXCEPTION '% left behind and % in the way of %: row %', CASE n WHEN 1 THEN '1 row was' ELSE n || ' rows were' END, CASE n WHEN 1 THEN 'stands' ELSE 'stand' END,
      (SELECT string_agg(CASE i ->> 'kind' WHEN 'not null' THEN format('NOT NULL %s', i ->> 'column') ELSE i ->> 'name' END, ', ')
         FROM jsonb_array_elements(job.plan -> 'enforce') i WHERE i ->> 'kind' <> 'unique'), key
      USING ERRCODE = '23514',
            HINT = format('No constraint was added. SELECT * FROM backfill.left_behind says why; correct these rows, then SELECT backfill.retry(%L).', job.name);
  END IF;
END
$$;

-- The operator by which a foreign key compares with a column that it refers to, behind the column: that of the column's unique index, and the column's own collation, whichever the other side has.
CREATE OR REPLACE FUNCTION backfill.equality_of(relation oid, column_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat((SELECT format('COLLATE %I.%I ', n.nspname, l.collname)
                   FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation JOIN pg_namespace n ON n.oid = l.collnamespace
                  WHERE a.attrelid = equality_of.relation AND quote_ident(a.attname) = equality_of.column_name AND a.attnum > 0),
                coalesce((SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
                     FROM pg_index i
                    CROSS JOIN unnest(i.indkey::smallint[], i.indclass::oid[]) AS u(attnum, opclass)
                     JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = u.attnum AND quote_ident(t.attname) = equality_of.column_name
                     JOIN pg_opclass c ON c.oid = u.opclass
                     JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype AND a.amopstrategy = 3
                     JOIN pg_operator o ON o.oid = a.amopopr
                     JOIN pg_namespace n ON n.oid = o.oprnamespace
                    WHERE i.indrelid = equality_of.relation AND i.indisunique
                    ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1), 'OPERATOR(pg_catalog.=)'))
$$;

-- A foreign key's definition taken apart: its columns, the table, the columns there, as written; what follows. NULL: it is none.
CREATE OR REPLACE FUNCTION backfill.parts_of_reference(item jsonb, OUT mine text[], OUT other text, OUT theirs text[], OUT more text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names constant text := '((?:"(?:[^"]|"")*"|[^"()])*)';
  parts constant text[] := regexp_match(item ->> 'definition', format('^FOREIGN KEY \(%s\) REFERENCES %s\(%s\)(.*)$', names, names, names));
BEGIN
  mine := ARRAY(SELECT btrim(c) FROM unnest(backfill.split_at(parts[1], ',')) AS c);
  other := parts[2];
  theirs := ARRAY(SELECT btrim(c) FROM unnest(backfill.split_at(parts[3], ',')) AS c);
  more := parts[4];
END
$$;

-- The table that a foreign key refers to; NULL: it is no foreign key, or no table stands under the name. Another than the one that was meant at INSERT is refused: its owner deletes, by it, rows of the job's table.
CREATE OR REPLACE FUNCTION backfill.referenced_table(item jsonb) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  referenced constant oid := (SELECT c.oid FROM backfill.parts_of_reference(item) p JOIN pg_class c ON c.oid = backfill.named_relation(p.other) AND c.relkind IN ('r', 'p'));
BEGIN
  IF NOT backfill.is_noted(item -> 'referenced', referenced) THEN
    RAISE EXCEPTION 'table % that % is to reference is another one by now: the first was renamed, or dropped', (SELECT p.other FROM backfill.parts_of_reference(item) p), item ->> 'name'
      USING ERRCODE = '42P01', HINT = 'Give the table its name back, then SELECT backfill.retry(name); or have the constraint by a job of its own, for the table of today.';
  END IF;
  RETURN referenced;
END
$$;

-- The condition of rows that break an item of enforce; NULL where none can be written: then VALIDATE tells. alias: what the table is called in
-- it, in quotes where it needs them; a CHECK calls it by its own name.
CREATE OR REPLACE FUNCTION backfill.breaks_item(item jsonb, alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other constant text := CASE alias WHEN 'r' THEN 's' ELSE 'r' END;
  parts record;
BEGIN
  IF item ->> 'kind' = 'not null' THEN
    RETURN format('%s.%I IS NULL', alias, item ->> 'column');
  ELSIF item ->> 'kind' = 'check' THEN
    RETURN format('NOT (%s)', (regexp_match(item ->> 'definition', '^CHECK \((.*)\)(?: NO INHERIT)?$'))[1]);
  END IF;
  IF backfill.referenced_table(item) IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO parts FROM backfill.parts_of_reference(item);
  RETURN (SELECT format('(%s AND NOT EXISTS (SELECT FROM %s AS %s WHERE %s)%s)',
                        string_agg(format('%s.%s IS NOT NULL', alias, m), ' AND '), parts.other, other,
                        string_agg(format('%s.%s %s %s.%s', other, u, backfill.equality_of(backfill.referenced_table(item), u), alias, m), ' AND '),
                        CASE WHEN parts.more ~ ' MATCH FULL' THEN format(' OR pg_catalog.num_nulls(%1$s) OPERATOR(pg_catalog.>) 0 AND pg_catalog.num_nulls(%1$s) OPERATOR(pg_catalog.<) %2$s', string_agg(format('%s.%s', alias, m), ', '), count(*)) ELSE '' END)
            FROM unnest(parts.mine, parts.theirs) AS c(m, u));
END
$$;

-- Another name for a unique constraint whose name the job has chosen itself, for another relation bears it by now. Returns the item.
CREATE OR REPLACE FUNCTION backfill.choose_anew(job backfill.job, item jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  others constant text[] := ARRAY(SELECT i ->> 'name' FROM jsonb_array_elements(job.plan -> 'enforce') i);
  anew   constant jsonb := item || jsonb_build_object('name', backfill.constraint_name(job, item ->> 'columns', 'key', item ->> 'definition', others));
BEGIN
  UPDATE backfill.job j
     SET plan = jsonb_set(j.plan, '{enforce}', (SELECT jsonb_agg(CASE WHEN i = item THEN anew ELSE i END ORDER BY ord) FROM jsonb_array_elements(j.plan -> 'enforce') WITH ORDINALITY AS e(i, ord)))
   WHERE j.id = job.id;
  RETURN anew;
END
$$;

-- The commands that look for rows that break what is to be added: one that reads the table once for each item, and one that notes it. What walks
-- without a trigger have just proven twice is not read again.
CREATE OR REPLACE FUNCTION backfill.look_commands(job backfill.job) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(format('SELECT backfill.look_for_rows($1, %s)', ord) ORDER BY ord)
                    FILTER (WHERE backfill.breaks_item(i, quote_ident(c.relname)) IS NOT NULL
                              AND NOT (i ->> 'kind' = 'not null' AND job.set_clause IS NOT NULL AND NOT job.keep_in_sync
                                       AND backfill.null_columns(job.where_clause, c.relname::text) = ARRAY[i ->> 'column'])), '{}')
         || 'SELECT backfill.note_look($1)'::text
    FROM jsonb_array_elements(job.plan -> 'enforce') WITH ORDINALITY AS e(i, ord)
    JOIN pg_class c ON c.oid = job.target
   WHERE i ->> 'kind' <> 'unique'
     AND NOT EXISTS (SELECT FROM backfill.find_item(job, i) f WHERE f.constraint_name IS NOT NULL OR f.is_not_null)
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

-- The functions that name a column, whatever table's. Strangers write texts of any length: in a body of more than 100,000 bytes the name is looked
-- for as it is written. What a session has made for itself is passed over, as it goes with it; and what belongs to a job that keeps rows of a table
-- in step: as far as it reads the column, the server knows it, and its comments and the names in it are the job's. Nor may they hold up whoever waits behind this one: first come those
-- of the table's owner, of its schema and of its triggers; after two seconds, and after 20 MB in bodies of such a length, the others are only counted.
CREATE OR REPLACE FUNCTION backfill.functions_that_name(relation oid, column_name name, OUT named oid[], OUT passed_over bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  word   constant text := backfill.word_pattern(column_name);
  folded constant text := lower(column_name::text COLLATE "C");
  until  constant timestamptz := clock_timestamp() + interval '2 s';
  long_bytes bigint := 0;
  p      record;
BEGIN
  named := '{}';
  passed_over := 0;
  FOR p IN
    SELECT f.oid, f.proname, f.prosrc, f.proowner
      FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace, pg_class c
     WHERE c.oid = relation AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'backfill') AND n.nspname !~ '^pg_temp_'
     ORDER BY f.proowner = c.relowner DESC, f.pronamespace = c.relnamespace DESC, EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = f.oid AND t.tgrelid = relation) DESC, f.oid
  LOOP
    long_bytes := long_bytes + CASE WHEN octet_length(p.prosrc) > 100000 THEN octet_length(p.prosrc) ELSE 0 END;
    IF long_bytes > 20000000 OR clock_timestamp() > until THEN
      passed_over := passed_over + 1;
      CONTINUE;
    END IF;
    CONTINUE WHEN p.proname ~ '^backfilld_sync_\d{1,18}_' AND EXISTS (SELECT FROM backfill.job j JOIN pg_class c ON c.oid = j.target AND c.relowner = p.proowner
                                                                      WHERE j.id = (regexp_match(p.proname, '^backfilld_sync_(\d{1,18})_'))[1]::bigint AND starts_with(p.proname, backfill.sync_token(j)));
    CONTINUE WHEN CASE WHEN octet_length(p.prosrc) > 100000 THEN strpos(p.prosrc, column_name) = 0
                       WHEN strpos(lower(p.prosrc COLLATE "C"), folded) > 0 THEN p.prosrc !~* word ELSE true END;
    named := named || p.oid;
  END LOOP;
END
$$;

-- The statements that name a column, whatever table's, by this database's counters since they were reset; what the server wrote for constants
-- has no names in it. Of each the beginning is looked at. for_role: whose may be shown; of others it is said that there are some.
CREATE OR REPLACE FUNCTION backfill.statements_that_name(column_name name, for_role name) RETURNS TABLE (query text, shown text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY SELECT s.query, s.shown FROM jsonb_to_recordset(backfill.ask_statements(
    'SELECT jsonb_agg(jsonb_build_object(''query'', s.query, ''shown'', CASE WHEN backfill.may_see_statements($2, s.userid) THEN format(''"%%s"'', left(regexp_replace(s.query, ''\s+'', '' '', ''g''), 100))'
    '                                                                           ELSE ''a statement of another role'' END))'
    '  FROM (SELECT o.userid, o.query FROM %s AS o OFFSET 0) AS s'
    ' WHERE s.query ~* $1 AND s.query ~* ''^\s*(--[^\n]*\n|/\*.*?\*/|\s)*(select|insert|update|delete|merge|with|copy)\M'''
    '   AND s.query !~ ''\mbackfill\.|/\* backfilld[ ,]''', backfill.word_pattern(column_name), for_role)) AS s(query text, shown text);
EXCEPTION WHEN object_not_in_prerequisite_state THEN
  NULL;  -- the extension is there, but its library is not loaded
END
$$;

-- What uses the column that a job drops, as far as the server can tell, in its table and in all partitions of that: kind (a word of job.ignore) and what, with
-- its name. Function bodies and statements are text: those are listed that name both a table and the column, and of the tables' trigger functions, and those
-- that take or give rows, those that name the column. Of what a partition has from its parent, the parent's is named. One query: the catalog of a
-- thousand partitions is read once.
CREATE OR REPLACE FUNCTION backfill.uses_of(job backfill.job) RETURNS TABLE (kind text, what text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  word      constant text := backfill.word_pattern(job.drop_column);
  bodies    constant record := backfill.functions_that_name(job.target, job.drop_column);
  in_step   bigint[];  -- jobs that keep rows of these tables in step
  functions oid[];     -- theirs, which are named as such
  triggers  text[];
  named     constant jsonb := (SELECT jsonb_agg(s) FROM backfill.statements_that_name(job.drop_column, job.submitted_by) s);
BEGIN
  in_step := ARRAY(SELECT j.id FROM backfill.job j WHERE j.keep_in_sync AND j.target IN (
    SELECT job.target UNION SELECT t.relid FROM backfill.partitions_of(job.target) t UNION SELECT a.relid FROM pg_partition_ancestors(job.target) a(relid)));
  functions := ARRAY(SELECT f.oid FROM backfill.job j, backfill.sync_functions(j) f WHERE j.id = ANY (in_step));
  triggers := ARRAY(SELECT t.name FROM backfill.job j, backfill.sync_triggers(j) t WHERE j.id = ANY (in_step));
  RETURN QUERY
  WITH tree AS MATERIALIZED (  -- with the column's number, which may be another in each
    SELECT c.oid, a.attnum AS col, c.relname::text, c.oid = job.target AS is_target
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = job.drop_column AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.oid IN (SELECT job.target UNION SELECT t.relid FROM backfill.partitions_of(job.target) t)
  ), rows AS MATERIALIZED (
    SELECT y.oid, y.typarray FROM tree r JOIN pg_class c ON c.oid = r.oid JOIN pg_type y ON y.oid = c.reltype
  ), row_types AS MATERIALIZED (  -- of their rows, of domains over those, and of arrays of them
    SELECT t.oid FROM (SELECT * FROM rows UNION SELECT d.oid, d.typarray FROM pg_type d WHERE d.typtype = 'd' AND d.typbasetype IN (SELECT unnest(ARRAY[r.oid, r.typarray]) FROM rows r)) y,
                      LATERAL (VALUES (y.oid), (y.typarray)) AS t(oid)
  ), found AS MATERIALIZED (
    SELECT DISTINCT r.oid AS relation, d.classid, d.objid, d.objsubid
      FROM tree r JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid AND d.refobjsubid = r.col AND d.deptype <> 'i'
  ), texts AS MATERIALIZED (  -- of functions that name the column
    SELECT p.oid, p.prosrc, CASE WHEN octet_length(p.prosrc) <= 100000 THEN lower(p.prosrc COLLATE "C") END AS folded, p.proargtypes::oid[] || p.prorettype AS types FROM pg_proc p WHERE p.oid = ANY (bodies.named)
  ), used AS (
    SELECT 'views' AS kind, CASE c.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || backfill.relation_name(c.oid) AS what
      FROM found f JOIN pg_rewrite w ON f.classid = 'pg_rewrite'::regclass AND w.oid = f.objid JOIN pg_class c ON c.oid = w.ev_class
    UNION ALL
    SELECT 'indexes', 'index ' || backfill.relation_name(i.indexrelid)
      FROM tree r JOIN pg_index i ON i.indrelid = r.oid
     WHERE (r.col = ANY (i.indkey::smallint[]) OR EXISTS (SELECT FROM found f WHERE f.classid = 'pg_class'::regclass AND f.objid = i.indexrelid))
       AND (r.is_target OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid))
       AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT CASE k.contype WHEN 'p' THEN 'primary key' ELSE 'constraints' END, format('constraint %I on %s', k.conname, backfill.relation_name(k.conrelid))
      FROM (SELECT k.* FROM tree r JOIN pg_constraint k ON k.conrelid = r.oid AND r.col = ANY (k.conkey)
             WHERE r.is_target OR k.conparentid = 0 AND (k.conislocal OR k.coninhcount = 0)
             UNION ALL
            SELECT k.* FROM tree r JOIN pg_constraint k ON k.confrelid = r.oid AND r.col = ANY (k.confkey) WHERE r.is_target OR k.conparentid = 0) k
     WHERE k.contype <> 'n'
    UNION ALL
    SELECT 'jobs', format('job %s, whose trigger keeps rows in step: SELECT backfill.%s(%L)', j.name, CASE WHEN j.state IN ('succeeded', 'failed') THEN 'finish' ELSE 'cancel' END, j.name)
      FROM backfill.job j
     WHERE j.id = ANY (in_step) AND j.id <> job.id AND EXISTS (SELECT FROM backfill.sync_triggers(j))
       AND (concat_ws(' ', j.add_column, j.set_clause, j.where_clause, j.sync_back) ~* word OR EXISTS (SELECT FROM found f JOIN backfill.sync_functions(j) s ON f.classid = 'pg_proc'::regclass AND f.objid = s.oid))
    UNION ALL
    SELECT 'jobs', format('job %s, which is %s', j.name, j.state)
      FROM backfill.job j JOIN tree r ON r.oid = j.target
     WHERE j.id <> job.id AND (j.state IN ('queued', 'running', 'paused') OR j.state = 'failed' AND j.wanted <> 'finish') AND NOT EXISTS (SELECT FROM backfill.sync_triggers(j)) AND concat_ws(' ', j.set_clause, j.where_clause, j.statement) ~* word
    UNION ALL
    SELECT 'jobs', format('job %s, which has left %s rows behind that are still to be computed: SELECT backfill.retry(%3$L), or, when they are not, backfill.forget(%3$L)', j.name, b.n, j.name)
      FROM backfill.job j JOIN tree r ON r.oid = j.target, LATERAL (SELECT count(*) AS n FROM backfill.left_behind l WHERE l.job_id = j.id) b
     WHERE j.id <> job.id AND b.n > 0 AND concat_ws(' ', j.set_clause, j.where_clause) ~* word
    UNION ALL
    SELECT 'sequences', format('sequence %s, which goes with the column that owns it (ALTER SEQUENCE … OWNED BY NONE keeps it)', backfill.relation_name(c.oid))
      FROM found f JOIN pg_class c ON f.classid = 'pg_class'::regclass AND c.oid = f.objid AND c.relkind = 'S'
    UNION ALL
    SELECT 'defaults', format('default of column %I of %s, which calls sequence %s', a.attname, backfill.relation_name(a.attrelid), backfill.relation_name(c.oid))
      FROM found f JOIN pg_class c ON f.classid = 'pg_class'::regclass AND c.oid = f.objid AND c.relkind = 'S'
      JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_attrdef'::regclass
      JOIN pg_attrdef e ON e.oid = d.objid
      JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
     WHERE NOT EXISTS (SELECT FROM tree r WHERE r.oid = a.attrelid AND r.col = a.attnum)
    UNION ALL
    SELECT 'statistics', format('statistics %I.%I', n.nspname, x.stxname)
      FROM tree r JOIN pg_statistic_ext x ON x.stxrelid = r.oid JOIN pg_namespace n ON n.oid = x.stxnamespace
     WHERE r.col = ANY (x.stxkeys::smallint[]) OR EXISTS (SELECT FROM found f WHERE f.classid = 'pg_statistic_ext'::regclass AND f.objid = x.oid)
    UNION ALL
    SELECT 'subscriptions', format('subscription %I, which writes the table', s.subname)
      FROM tree r JOIN pg_subscription_rel l ON l.srrelid = r.oid JOIN pg_subscription s ON s.oid = l.srsubid
    UNION ALL
    SELECT 'triggers', format('trigger %I', t.tgname)
      FROM tree r JOIN pg_trigger t ON t.tgrelid = r.oid
     WHERE NOT t.tgisinternal AND t.tgname <> ALL (triggers)
       AND (r.col = ANY (t.tgattr::smallint[]) OR EXISTS (SELECT FROM found f WHERE f.classid = 'pg_trigger'::regclass AND f.objid = t.oid)
            OR CASE WHEN octet_length(t.tgargs) > 100000 THEN true  -- too long to be looked through
                    ELSE t.tgnargs > 0 AND replace(encode(t.tgargs, 'escape'), '\000', ' ') ~* word END)
    UNION ALL
    SELECT 'policies', format('policy %I', p.polname)
      FROM found f JOIN pg_policy p ON f.classid = 'pg_policy'::regclass AND p.oid = f.objid
    UNION ALL
    SELECT 'generated', format('column %I', a.attname)
      FROM found f JOIN pg_attrdef e ON f.classid = 'pg_attrdef'::regclass AND e.oid = f.objid
      JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
     WHERE NOT EXISTS (SELECT FROM tree r WHERE r.oid = a.attrelid AND r.col = a.attnum)
    UNION ALL
    SELECT 'generated', format('column %I', a.attname)  -- the server notes this the other way round
      FROM tree r JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid AND d.refobjsubid = r.col
       AND d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.objsubid <> r.col
      JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.objsubid AND a.attgenerated <> ''
    UNION ALL
    SELECT 'publications', format('publication %I', p.pubname)
      FROM tree r JOIN pg_publication_rel l ON l.prrelid = r.oid JOIN pg_publication p ON p.oid = l.prpubid
     WHERE r.col = ANY (l.prattrs::smallint[]) OR EXISTS (SELECT FROM found f WHERE f.classid = 'pg_publication_rel'::regclass AND f.objid = l.oid)
    UNION ALL
    SELECT 'functions', format('%s %s', CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, p.oid::regprocedure)
      FROM (SELECT f.objid FROM found f WHERE f.classid = 'pg_proc'::regclass
            UNION
            SELECT b.oid FROM texts b
             WHERE EXISTS (SELECT FROM tree r WHERE CASE WHEN octet_length(b.prosrc) > 100000 THEN strpos(b.prosrc, r.relname) > 0
                                                         WHEN strpos(b.folded, lower(r.relname COLLATE "C")) > 0 THEN b.prosrc ~* backfill.word_pattern(r.relname) ELSE false END)
                OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = b.oid AND t.tgrelid IN (SELECT r.oid FROM tree r))
                OR EXISTS (SELECT FROM row_types t WHERE t.oid = ANY (b.types))) AS c(oid)
      JOIN pg_proc p ON p.oid = c.oid JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'backfill') AND n.nspname !~ '^pg_temp_' AND p.oid <> ALL (functions)
    UNION ALL
    SELECT 'functions', format('perhaps, as they are too many, or too long, to be looked through: %s others of the database', bodies.passed_over)
     WHERE bodies.passed_over > 0 AND job.add_column IS NULL  -- what takes too long to be known holds no undo up
    UNION ALL
    SELECT 'columns', format('column %I of %s, which holds rows of the table', a.attname, backfill.relation_name(a.attrelid))
      FROM row_types t JOIN pg_attribute a ON a.atttypid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'm', 'f')
    UNION ALL
    SELECT 'statements', s.shown
      FROM jsonb_to_recordset(named) AS s(query text, shown text)
     WHERE EXISTS (SELECT FROM tree r WHERE CASE WHEN strpos(lower(s.query COLLATE "C"), lower(r.relname COLLATE "C")) > 0 THEN s.query ~* backfill.word_pattern(r.relname) ELSE false END)
  )
  SELECT DISTINCT u.kind, u.what FROM used u;
END
$$;

-- A unique index could not be built: an example of the rows that share a value, for the job's owner alone.
CREATE OR REPLACE FUNCTION backfill.note_duplicate(job_id bigint, message text, detail text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO backfill.left_behind (job_id, range_id, relation, key_columns, key, reason, sqlstate, message, detail)
  SELECT j.id, 0, j.target, '{}', '{}', 'duplicate', '23505', note_duplicate.message, note_duplicate.detail
    FROM backfill.job j WHERE j.id = job_id AND backfill.is_held(j)
$$;
