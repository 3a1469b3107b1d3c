-- What a job finds before it begins, and what it has changed when it ends.

-- The definition of a table in lines, sorted: what psql's \d shows, without what changes by itself. Of an expression as large as 50,000 bytes, and of those beyond two million
-- in all, there are no words: whoever owns the table makes them, and the control session would write them out. What octet_length says of them is what they are, without
-- unpacking them; as they are stored, they may be a hundredth of that. What has no expression has a name.
CREATE OR REPLACE FUNCTION backfill.definition_of(relation oid) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH parts AS (
    SELECT 1 AS kind, a.attname::text AS name, d.oid, coalesce(octet_length(d.adbin::text), 0) AS size,
           format('column %I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN backfill.is_not_null(relation, a.attname) THEN ' NOT NULL' END,
                  CASE WHEN d.oid IS NOT NULL THEN CASE a.attgenerated WHEN '' THEN ' DEFAULT ' ELSE ' GENERATED ALWAYS AS ' END END) AS head
      FROM pg_attribute a
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 2, k.conname, k.oid, 200 + coalesce(octet_length(k.conbin::text), 0)
           + CASE WHEN k.contype = 'x' THEN coalesce((SELECT coalesce(octet_length(i.indexprs::text), 0) + coalesce(octet_length(i.indpred::text), 0) FROM pg_index i WHERE i.indexrelid = k.conindid), 0) ELSE 0 END, format('constraint %I ', k.conname) FROM pg_constraint k
     WHERE k.conrelid = relation AND NOT (k.contype = 'n' AND k.convalidated)  -- the column's own line has it
    UNION ALL
    SELECT 3, c.relname, c.oid, 200 + coalesce(octet_length(i.indexprs::text), 0) + coalesce(octet_length(i.indpred::text), 0), '' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = relation
    UNION ALL
    SELECT 4, t.tgname, t.oid, 200 + coalesce(octet_length(t.tgqual::text), 0) + octet_length(t.tgargs), '' FROM pg_trigger t WHERE t.tgrelid = relation AND NOT t.tgisinternal
  )
  SELECT array_agg(line ORDER BY kind, line)
    FROM (SELECT p.kind,
                 p.head || CASE WHEN p.size > 50000 OR sum(p.size) OVER (ORDER BY p.size, p.kind, p.name) > 2000000
                                THEN CASE p.kind WHEN 3 THEN format('index %I …', p.name) WHEN 4 THEN format('trigger %I …', p.name) ELSE '…' END
                                ELSE CASE p.kind WHEN 1 THEN coalesce((SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.oid = p.oid), '')
                                                 WHEN 2 THEN pg_get_constraintdef(p.oid)
                                                 WHEN 3 THEN pg_get_indexdef(p.oid) || CASE WHEN (SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = p.oid) THEN '' ELSE ' INVALID' END
                                                 ELSE pg_get_triggerdef(p.oid) END END AS line
            FROM parts p) AS lines
$$;

-- A pattern that finds a name as a word, whatever it begins and ends with.
CREATE OR REPLACE FUNCTION backfill.word_pattern(name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '(?<![[:alnum:]_])' || regexp_replace(name, '([^[:alnum:]_])', '\\\1', 'g') || '(?![[:alnum:]_])'
$$;

-- Whether a role may see what pg_stat_statements has of another: as there.
CREATE OR REPLACE FUNCTION backfill.may_see_statements(role name, of oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce((SELECT pg_has_role(r.oid, of, 'USAGE') OR pg_has_role(r.oid, 'pg_read_all_stats', 'USAGE') FROM pg_roles r WHERE r.rolname = role), false)
$$;

-- The answer to a question about what pg_stat_statements has counted in this database, as JSON; NULL when that isn't there. question: SQL with %s for a table of userid,
-- queryid, query (its beginning), calls, ms, rows; $1 a text, $2 a role. The view is found by the extension, not by its name: who owns its schema, as any
-- owner of a database does, could put another in its place between two looks, whose functions would run as the daemon. A function with a parsed body means what it meant
-- when it was made; it is made, looked at, asked, and is gone again. A caller who may not create one gets an error.
CREATE OR REPLACE FUNCTION backfill.ask_statements(question text, pattern text, for_role name) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  counted constant oid := (SELECT c.oid FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
                             JOIN pg_class c ON c.oid = d.objid WHERE e.extname = 'pg_stat_statements' AND c.relname = 'pg_stat_statements' AND c.relkind = 'v');
  name    constant text := format('%s.%I', CASE WHEN has_schema_privilege('backfill', 'CREATE') THEN 'backfill' ELSE 'pg_temp' END, 'backfilld ' || gen_random_uuid());
  result  jsonb;
BEGIN
  IF counted IS NULL THEN
    RETURN NULL;
  END IF;
  BEGIN
    EXECUTE format('CREATE FUNCTION %s() RETURNS TABLE (userid oid, queryid bigint, query text, calls bigint, ms double precision, rows bigint) LANGUAGE sql STABLE BEGIN ATOMIC'
                   ' SELECT s.userid, s.queryid, left(s.query, 4000), s.calls, s.total_exec_time, s.rows FROM %s AS s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database(); END',
                   name, backfill.relation_name(counted));
    IF EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = to_regprocedure(name || '()')::oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> counted) THEN
      RAISE EXCEPTION 'another view is in the place of pg_stat_statements' USING ERRCODE = '55000';
    END IF;
    EXECUTE format(question, name || '()') INTO result USING pattern, for_role;
    RAISE EXCEPTION USING ERRCODE = 'BF900';
  EXCEPTION WHEN SQLSTATE 'BF900' THEN
    NULL;
  END;
  RETURN result;
END
$$;

-- The statements on a table, as pg_stat_statements has counted them; NULL when that isn't there. Those that name the table, the
-- hundred that have taken the most time. for_role: who will read them; others' are left out. Anybody may write statements of any length,
-- and as many as the counters hold: of a thousand the beginning is looked at, and what is still too slow is left out. The extension reads all their texts for that: when it has taken longer than
-- 250 ms, this session doesn't ask again for ten minutes.
CREATE OR REPLACE FUNCTION backfill.statements_on(relation oid, for_role name) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  began  constant float8 := extract(epoch FROM clock_timestamp());
  result jsonb;
BEGIN
  IF began < coalesce(nullif(current_setting('backfilld.statements_from', true), ''), '0')::float8 THEN
    RETURN NULL;
  END IF;
  BEGIN
    result := backfill.ask_statements(
    'SELECT coalesce(jsonb_object_agg(t.queryid, jsonb_build_object(''query'', t.query, ''calls'', t.calls, ''ms'', t.ms, ''rows'', t.rows)), ''{}'')'
    '  FROM (SELECT s.queryid, left(min(regexp_replace(s.query, ''\s+'', '' '', ''g'')), 200) AS query, sum(s.calls) AS calls, sum(s.ms) AS ms, sum(s.rows) AS rows'
    '          FROM (SELECT o.queryid, o.query, o.calls, o.ms, o.rows FROM %s AS o'
    '                 WHERE o.queryid IS NOT NULL AND backfill.may_see_statements($2, o.userid) ORDER BY o.ms DESC LIMIT 1000) AS s'
    '         WHERE s.query ~* $1 AND s.query !~ ''\mbackfill\.|/\* backfilld[ ,]'''
    '           AND s.query ~* ''^\s*(select|insert|update|delete|merge|with|copy)\M'''
    '         GROUP BY s.queryid ORDER BY ms DESC LIMIT 100) AS t', (SELECT backfill.word_pattern(c.relname) FROM pg_class c WHERE c.oid = relation), for_role);
  EXCEPTION WHEN query_canceled OR OTHERS THEN
    result := NULL;  -- it may take too long, its library may not be loaded, its columns may be others': no reason for a job not to begin or to end
  END;
  IF extract(epoch FROM clock_timestamp()) > began + 0.25 THEN
    PERFORM set_config('backfilld.statements_from', (began + 600)::text, false);
  END IF;
  RETURN result;
END
$$;

-- How a table looks now: for comparing it later. Where it isn't needed, what can't be had soon, as somebody has the table locked, is left out: no reason for a job not to end.
CREATE OR REPLACE FUNCTION backfill.look_at(relation oid, for_role name, needed boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  definition text[];
BEGIN
  BEGIN
    definition := backfill.definition_of(relation);
  EXCEPTION WHEN query_canceled OR lock_not_available THEN
    IF needed THEN
      RAISE;
    END IF;
  END;
  RETURN jsonb_strip_nulls(jsonb_build_object('at', clock_timestamp(), 'definition', definition, 'statements', backfill.statements_on(relation, for_role)));
END
$$;

-- Per statement: calls, mean ms and rows a call of what was counted between two looks. from_look NULL: since the counters began.
CREATE OR REPLACE FUNCTION backfill.between_looks(from_look jsonb, to_look jsonb)
RETURNS TABLE (queryid text, query text, calls bigint, mean_ms numeric, rows_a_call numeric)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.queryid, t.query, t.calls, round(t.ms / t.calls, 3), round(t.rows::numeric / t.calls, 1)
    FROM (SELECT b.key AS queryid, b.value ->> 'query' AS query,
                 (b.value -> 'calls')::bigint - coalesce((a.value -> 'calls')::bigint, 0) AS calls,
                 (b.value -> 'ms')::numeric - coalesce((a.value -> 'ms')::numeric, 0) AS ms,
                 (b.value -> 'rows')::bigint - coalesce((a.value -> 'rows')::bigint, 0) AS rows
            FROM jsonb_each(to_look -> 'statements') b
            LEFT JOIN jsonb_each(from_look -> 'statements') a ON a.key = b.key) t
   WHERE t.calls > 0
$$;

-- A job's statements before it began, while it ran and since it has ended, each as far as there were any. now: a look of this
-- moment. Slower: by half and a tenth of a millisecond at least, with ten calls or more on both sides.
CREATE OR REPLACE FUNCTION backfill.three_times(job backfill.job, now jsonb)
RETURNS TABLE (query text, before_calls bigint, before_ms numeric, during_calls bigint, during_ms numeric, after_calls bigint, after_ms numeric,
               slower_during boolean, slower_after boolean)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(a.query, d.query, b.query), b.calls, b.mean_ms, d.calls, d.mean_ms, a.calls, a.mean_ms,
         coalesce(least(b.calls, d.calls) >= 10 AND d.mean_ms > 1.5 * b.mean_ms AND d.mean_ms - b.mean_ms > 0.1, false),
         coalesce(least(b.calls, a.calls) >= 10 AND a.mean_ms > 1.5 * b.mean_ms AND a.mean_ms - b.mean_ms > 0.1, false)
    FROM backfill.between_looks(NULL, job.before) b
    FULL JOIN backfill.between_looks(job.before, coalesce(job.after, now)) d USING (queryid)
    FULL JOIN (SELECT * FROM backfill.between_looks(job.after, now) WHERE job.after IS NOT NULL) a USING (queryid)
$$;

-- What of a job's beginning differs from now, for its report: the definition as a diff, and the statements.
CREATE OR REPLACE FUNCTION backfill.compare(job backfill.job, now jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'definition', (SELECT jsonb_agg(d.line ORDER BY substr(d.line, 3), d.line DESC)
                     FROM (SELECT '- ' || line AS line FROM (SELECT jsonb_array_elements_text(job.before -> 'definition') AS line
                                                             EXCEPT SELECT jsonb_array_elements_text(now -> 'definition')) gone
                           UNION ALL
                           SELECT '+ ' || line FROM (SELECT jsonb_array_elements_text(now -> 'definition') AS line
                                                     EXCEPT SELECT jsonb_array_elements_text(job.before -> 'definition')) new) d),
    'statements', (SELECT jsonb_agg(to_jsonb(t) - '{slower_during, slower_after}'::text[] ORDER BY t.during_calls * t.during_ms DESC NULLS LAST)
                     FROM backfill.three_times(job, now) t),
    'slower', (SELECT jsonb_agg(format('%s: %s ms before, %s ms while the job ran', t.query, t.before_ms, t.during_ms)) FROM backfill.three_times(job, now) t WHERE t.slower_during),
    'slower_after', (SELECT jsonb_agg(format('%s: %s ms before, %s ms after the job', t.query, t.before_ms, t.after_ms)) FROM backfill.three_times(job, now) t WHERE t.slower_after)))
   WHERE job.before ? 'definition' AND now ? 'definition'
$$;

-- What the preflight tells of a job. seen: what a trial of its first batch saw. Totals are those of the rows that such a batch
-- stands for; the time is from half to four times what the trial took a row: alone on the machine, or making room for others.
CREATE OR REPLACE FUNCTION backfill.preflight(job backfill.job, estimate bigint, seen jsonb, disk_free bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tried     numeric := nullif((seen -> 'rows')::numeric, 0);
  ms        numeric := (seen -> 'ms')::numeric / tried;
  wal       numeric := (seen -> 'wal_bytes')::numeric / tried;
  hot       numeric := (seen -> 'hot_rows')::numeric / tried;
  rows      bigint := greatest(estimate, (SELECT sum(greatest(c.reltuples, 0)) FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o));
  forbids   text;
  row_bytes numeric := (SELECT sum(c.relpages) * current_setting('block_size')::numeric / nullif(sum(greatest(c.reltuples, 0)), 0)::numeric
                          FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o);
  result    jsonb;
BEGIN
  result := jsonb_strip_nulls(jsonb_build_object(
    'plan', seen -> 'plan', 'on_copy', seen -> 'on_copy', 'not_tried', seen -> 'not_tried', 'tried_rows', tried, 'rows', rows,
    'ms_a_row', round(ms, 4), 'wal_bytes_a_row', round(wal), 'hot_share', round(hot, 2),
    'seconds_from', round(rows * ms / 2000), 'seconds_to', round(rows * ms / 250),
    'wal_bytes', round(rows * wal),
    'table_grows_bytes', CASE WHEN hot < 1 THEN round(rows * (1 - hot) * row_bytes) END,
    'disk_free_bytes', disk_free,
    'triggers', (SELECT jsonb_agg(t.tgname ORDER BY t.tgname) FROM pg_trigger t
                  WHERE t.tgrelid = job.target AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 16 <> 0
                    AND NOT starts_with(t.tgname, backfill.sync_name(job) || '_') AND NOT starts_with(t.tgname, backfill.back_name(job) || '_')),
    'publications', (SELECT jsonb_agg(p.name ORDER BY p.name) FROM backfill.publications_of(job.target) p),
    'replica_identity_full', (SELECT CASE WHEN c.relreplident = 'f' THEN true END FROM pg_class c WHERE c.oid = job.target)));
  -- A NULL that the clause gives is done when nothing forbids it: how many there are, the batches count.
  IF job.where_clause IS NOT NULL AND (seen -> 'still_to_do')::bigint > 0 AND (seen -> 'rows')::bigint > 0 AND NOT backfill.null_is_done(job) THEN
    forbids := backfill.forbids_null(job, backfill.columns_to_fill(job));
    RAISE EXCEPTION '%', CASE WHEN forbids IS NULL THEN format('where_clause: of %s rows that set_clause filled in a trial, %s still meet it', seen ->> 'rows', seen ->> 'still_to_do')
                              ELSE format('set_clause gives NULL for %s of %s rows in a trial, which %s forbids', seen ->> 'still_to_do', seen ->> 'rows', forbids) END
      USING ERRCODE = '22023',
            HINT = CASE WHEN forbids IS NULL THEN format('It must be true of rows that are still to do, and of no row that is done: by it the job verifies that nothing is left. SELECT backfill.forget(%L), then insert it with another.', job.name)
                        ELSE format('Correct what it is computed from, then SELECT backfill.retry(%1$L). Or SELECT backfill.forget(%1$L), then insert it with a set_clause that gives a value (coalesce); to leave such rows NULL: where_clause = %2$L, without %3$s.',
                                    job.name, backfill.clause_without_nulls(job), forbids) END;
  END IF;
  RETURN result;
END
$$;

-- The same in a line.
CREATE OR REPLACE FUNCTION backfill.preflight_in_words(found jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat_ws('; ',
    format('about %s rows', to_char((found -> 'rows')::bigint, 'FM999,999,999,999')),
    'a batch is ' || (found ->> 'plan'),
    CASE WHEN found ? 'ms_a_row'
         THEN format('a row takes %s ms and %s%s bytes of WAL%s', found ->> 'ms_a_row', CASE WHEN found ? 'on_copy' THEN 'about ' END, found ->> 'wal_bytes_a_row',
                     coalesce(' (' || round(100 * (found -> 'hot_share')::numeric) || ' % HOT)', '')) || CASE WHEN found ? 'on_copy' THEN ', tried on a copy' ELSE '' END END,
    CASE WHEN found ? 'seconds_to'
         THEN format('in all %s to %s, %s of WAL', make_interval(secs => (found -> 'seconds_from')::double precision), make_interval(secs => (found -> 'seconds_to')::double precision),
                     pg_size_pretty((found -> 'wal_bytes')::numeric)) END,
    CASE WHEN found ? 'table_grows_bytes' THEN format('the table grows by up to %s', pg_size_pretty((found -> 'table_grows_bytes')::numeric)) END,
    CASE WHEN found ? 'disk_free_bytes' THEN format('%s of disk are free', pg_size_pretty((found -> 'disk_free_bytes')::numeric)) END,
    CASE WHEN (found -> 'wal_bytes')::numeric + coalesce((found -> 'table_grows_bytes')::numeric, 0) > (found -> 'disk_free_bytes')::numeric
         THEN 'which is less than both together: watch the disk' END,
    'not tried: ' || (found ->> 'not_tried'),
    CASE WHEN (found -> 'tried_rows') IS NULL AND NOT found ? 'not_tried' THEN 'the rows that were tried had nothing to do' END,
    'triggers that fire: ' || (SELECT string_agg(t, ', ') FROM jsonb_array_elements_text(found -> 'triggers') t),
    'published by ' || (SELECT string_agg(t, ', ') FROM jsonb_array_elements_text(found -> 'publications') t)
      || CASE WHEN found ? 'replica_identity_full' THEN ' with REPLICA IDENTITY FULL: each change carries the whole row' ELSE '' END)
$$;

-- ---- Of which backfill.status is made

-- How far jobs are that the caller sees, and how many rows they have left behind. Which those are is for fewer: their messages may hold values. A view
-- that reads with its owner's rights; what it asks of the caller is asked with the caller's.
CREATE OR REPLACE VIEW backfill.job_figures WITH (security_barrier = true) AS
  SELECT j.id AS job_id, r.keys, r.rows, r.moved_at, r.rate, (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = j.id) AS left_behind,
         (SELECT count(*) FROM backfill.token t  -- when it began, the server tells not everybody
           WHERE t.job_id = j.id AND t.slot > 0
             AND EXISTS (SELECT FROM pg_stat_get_activity(t.holder_pid) a JOIN pg_database d ON d.oid = a.datid AND d.datname = current_database())) AS helpers
    FROM backfill.job j
   CROSS JOIN LATERAL (
         SELECT coalesce(sum(g.keys), 0) AS keys, coalesce(sum(g.rows), 0) AS rows, max(g.checkpoint_at) AS moved_at,
                sum(g.rate) FILTER (WHERE NOT g.done AND g.checkpoint_at > clock_timestamp() - interval '5 s') AS rate
           FROM backfill.range g
          WHERE g.job_id = j.id) r
   WHERE backfill.sees(j.id);

-- What the ranges of a job say of it, and how many rows it has left behind. A function, so that a list of ten thousand jobs isn't thought to
-- be worth a compiler, which took longer than the list.
CREATE OR REPLACE FUNCTION backfill.figures_of(job_id bigint, OUT keys numeric, OUT rows numeric, OUT moved_at timestamptz, OUT rate real, OUT left_behind bigint, OUT helpers bigint)
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT f.keys, f.rows, f.moved_at, f.rate, f.left_behind, f.helpers INTO keys, rows, moved_at, rate, left_behind, helpers
    FROM backfill.job_figures f
   WHERE f.job_id = figures_of.job_id;
END
$$;

-- What of a job's constraints is in its table and isn't validated, in words; NULL: nothing.
CREATE OR REPLACE FUNCTION backfill.not_valid_of(job backfill.job) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT string_agg(format('%s %s', i ->> 'kind', i ->> 'name'), ', ')
            FROM jsonb_array_elements(job.plan -> 'enforce') i
            JOIN pg_constraint k ON k.conrelid = job.target AND k.conname = i ->> 'name' AND NOT k.convalidated
           WHERE NOT (i -> 'existing')::boolean);
END
$$;
