-- What a job's batches are held to: that no row which they were for still meets where_clause. By what is read here a batch tells a row whose
-- value the clause makes NULL from one that somebody keeps back, and says what to do.

-- The columns whose NULL is what is to do, when set_clause fills each of them, and nothing else that where_clause asks for can change with them; else NULL.
CREATE OR REPLACE FUNCTION backfill.columns_to_fill(job backfill.job) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF job.plan ? 'where' THEN
    RETURN (SELECT array_agg(f.name) FROM jsonb_array_elements_text(job.plan -> 'where' -> 'fills') AS f(name));
  END IF;
  RETURN (SELECT array_agg(DISTINCT n.name)
          FROM pg_class c, unnest(backfill.null_parts(job.where_clause, c.relname::text, backfill.filled_columns(job.set_clause))) AS part,
               unnest(backfill.null_columns(part, c.relname::text)) AS n(name)
         WHERE c.oid = job.target);
END
$$;

-- What is asked of a job's where_clause for each of its partitions, noted once: job.plan.
CREATE OR REPLACE FUNCTION backfill.noted_where(job backfill.job) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN job.where_clause IS NULL OR job.set_clause IS NULL THEN '{}'
              ELSE jsonb_build_object('where', jsonb_strip_nulls(jsonb_build_object('fills', backfill.columns_to_fill(job), 'parts', cardinality(backfill.joined_by(job.where_clause, 'and'))))) END;
END
$$;

-- Which of these columns enforce forbids to be NULL.
CREATE OR REPLACE FUNCTION backfill.forbidden_columns(job backfill.job, columns text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT c.name), '{}')
    FROM jsonb_array_elements(job.plan -> 'enforce') item, unnest(columns) AS c(name)
   WHERE item ->> 'kind' = 'not null' AND item ->> 'column' = c.name
      OR item ->> 'definition' = format('CHECK ((%I IS NOT NULL))', c.name)
$$;

-- What of enforce forbids that one of these columns is NULL, in words; NULL when nothing does.
CREATE OR REPLACE FUNCTION backfill.forbids_null(job backfill.job, columns text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('NOT NULL %I', (backfill.forbidden_columns(job, columns))[1]) WHERE backfill.forbidden_columns(job, columns) <> '{}'
$$;

-- Whether a row whose value the clause makes NULL may be done: not where each of its columns is forbidden to be NULL.
CREATE OR REPLACE FUNCTION backfill.null_is_done(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT f.columns IS NOT NULL AND NOT (backfill.forbidden_columns(job, f.columns) <> '{}' AND f.columns <@ backfill.forbidden_columns(job, f.columns)) FROM (SELECT backfill.columns_to_fill(job) AS columns) f
$$;

-- The where_clause that passes over rows for which the clause gives NULL: "b IS NULL AND a IS NOT NULL". NULL where none can be written.
CREATE OR REPLACE FUNCTION backfill.clause_without_nulls(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(CASE WHEN cardinality(f.columns) = 1 THEN '%s' ELSE '(%s)' END, job.where_clause)
         || string_agg(DISTINCT CASE WHEN cardinality(s.names) = 1 AND a ->> 'expression' !~* '\mselect\M'
                                     THEN format(' AND %I IS NOT NULL', s.names[1])
                                     ELSE format(' AND (%s) IS NOT NULL', backfill.value_of(job.target, a -> 'columns' ->> 0, a ->> 'expression')) END, '')
    FROM (SELECT backfill.columns_to_fill(job) AS columns) f,
         jsonb_array_elements(backfill.assignments_of(job.set_clause)) a
   CROSS JOIN LATERAL (SELECT array_agg(c.attname) AS names
                         FROM pg_attribute c
                        WHERE c.attrelid = job.target AND c.attnum > 0 AND NOT c.attisdropped
                          AND a ->> 'expression' ~* backfill.word_pattern(c.attname)) s
   WHERE a -> 'columns' ->> 0 = ANY (f.columns)
   GROUP BY f.columns
$$;

-- Who may keep an UPDATE from a row, or change it back, in words: "trigger hold, rule no_update"; NULL when nobody does. Triggers of
-- backfilld itself are none.
CREATE OR REPLACE FUNCTION backfill.keepers_of(relation oid, event text DEFAULT 'UPDATE') RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT string_agg(k.who, ', ' ORDER BY k.who)
    FROM (SELECT format('trigger %I', t.tgname) AS who
            FROM pg_trigger t
           WHERE t.tgrelid = relation AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgname !~ 'backfilld'
             AND t.tgtype::integer & 3 = 3 AND t.tgtype::integer & CASE event WHEN 'DELETE' THEN 8 ELSE 16 END <> 0  -- BEFORE, FOR EACH ROW
          UNION ALL
          SELECT format('rule %I', r.rulename)
            FROM pg_rewrite r
           WHERE r.ev_class = relation AND r.is_instead AND r.ev_enabled <> 'D' AND r.ev_type = CASE event WHEN 'DELETE' THEN '4' ELSE '2' END) k);
END
$$;

-- Who else may change a row back, in words: what fires after the UPDATE, or is deferred, by an UPDATE of its own. NULL when nobody does.
CREATE OR REPLACE FUNCTION backfill.changers_of(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(format('trigger %I', t.tgname), ', ' ORDER BY t.tgname)
    FROM pg_trigger t
   WHERE t.tgrelid = relation AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgname !~ 'backfilld'
     AND t.tgtype::integer & 3 <> 3 AND t.tgtype::integer & 16 <> 0
$$;

-- That for each NULL of a row that is to do the clause gives NULL, as a condition over the rows of a relation. (A composite that is NULL in part is neither NULL nor NOT NULL.)
CREATE OR REPLACE FUNCTION backfill.gives_null(job backfill.job, relation oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT string_agg(CASE WHEN strpos(u.t, '[') > 0 THEN format('NOT (%I IS NULL)', backfill.assigned_column(u.t))  -- an element makes it a value, whatever it is
                                 ELSE format(E'(NOT (%I IS NULL) OR (%s\n) IS NULL)', backfill.assigned_column(u.t), u.e) END, ' AND ')
            FROM backfill.batch_values(job, relation) v, unnest(v.targets, v.expressions) AS u(t, e));
END
$$;

-- What a batch of one relation is proven by; NULL for a job that no where_clause tells of. look: of backfill.statements.
--   look      lists the rows of the batch that still meet where_clause: key, and xmin where the job's owner may read that
--   columns   of the key, for messages
--   reads     a pass after the first: it reads before it writes
--   looks     a batch looks at its rows after it has written them. Not in the first pass where nothing can be found but a NULL that is done:
--             the next one reads the table. Then the rest is left out
--   null      a row whose value the clause makes NULL is done, unless forbidden lists it
--   nulls     lists those of the rows that meet where_clause for which the clause gives NULL wherever one of its columns is NULL
--   forbidden lists those with a NULL that enforce forbids; left out where it forbids none
--   changed_back  lists those of the rows that meet where_clause for which the clause gives a value; left out when nobody changes rows back
--   keepers   who may keep a row from being changed, changers who may change it back
--   forbids, clause   for messages: what forbids a NULL, and the where_clause that passes over such rows
CREATE OR REPLACE FUNCTION backfill.proof_of(job backfill.job, relation oid, columns text[], look text, phase text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  filled   text[] := backfill.columns_to_fill(job);
  keepers  text := backfill.keepers_of(relation);
  changers text := concat_ws(', ', keepers, backfill.changers_of(relation));
  forbids  text := backfill.forbids_null(job, filled);
  forbidden text := (SELECT string_agg(format('%I IS NULL', c), ' OR ') FROM unnest(backfill.forbidden_columns(job, filled)) c);
  computed text;
  versions boolean := coalesce((SELECT has_column_privilege(r.oid, relation, 'xmin', 'SELECT') FROM pg_roles r WHERE r.rolname = job.owner), false);
  reads    constant boolean := phase IN ('guard', 'verify');
  looks    constant boolean := reads OR keepers IS NOT NULL OR forbids IS NOT NULL OR filled IS NULL;
BEGIN
  IF job.where_clause IS NULL OR job.set_clause IS NULL THEN
    RETURN NULL;
  ELSIF NOT looks THEN  -- a batch asks for nothing else then
    RETURN jsonb_build_object('reads', false, 'looks', false);
  END IF;
  computed := backfill.gives_null(job, relation);
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'look', look, 'columns', to_jsonb(columns), 'reads', reads, 'versions', versions, 'looks', true, 'null', filled IS NOT NULL,
    'nulls', CASE WHEN filled IS NOT NULL THEN look || E'\nAND (' || computed || ')' || coalesce(E'\nAND NOT (' || forbidden || ')', '') END,
    'forbidden', look || E'\nAND (' || forbidden || ')',
    'keepers', keepers, 'changers', changers,
    'changed_back', CASE WHEN changers <> '' AND filled IS NOT NULL THEN
      (SELECT look || E'\nAND (' || string_agg(format(E'%I IS NULL AND NOT ((%s\n) IS NULL)', c.name, u.e), E'\nOR ') || ')'
         FROM backfill.batch_values(job, relation) v, unnest(v.targets, v.expressions) AS u(t, e), backfill.assigned_column(u.t) AS c(name)
        WHERE c.name = ANY (filled)) END,
    'forbids', forbids,
    'clause', CASE WHEN filled IS NOT NULL THEN backfill.clause_without_nulls(job) END));
END
$$;

-- Whether a relation has pages; somebody may have it locked: then it counts as one that has.
CREATE OR REPLACE FUNCTION backfill.has_pages(relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN pg_relation_size(relation) > 0;
EXCEPTION WHEN lock_not_available THEN
  RETURN true;
END
$$;

-- What a job without a where_clause knows that it may have missed, in words; NULL when there is nothing: who may have kept rows back, rows that weren't
-- there when they were tried again, partitions that came after its ranges had been laid out, tables that were emptied or written anew since.
CREATE OR REPLACE FUNCTION backfill.may_lack(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(concat_ws(' ',
    (SELECT format('Its %s may keep rows back.', string_agg(DISTINCT k.who, ', '))
       FROM backfill.relations_of(job) AS relation,
            backfill.keepers_of(relation, CASE WHEN job.statement ~* '^\s*delete\M' THEN 'DELETE' ELSE 'UPDATE' END) AS k(who)
      WHERE k.who IS NOT NULL
     HAVING count(*) > 0),
    (SELECT format('%s put aside %s not changed when it was %s turn: deleted, under another key, or kept back.',
                   CASE g.n WHEN 1 THEN '1 row that was' ELSE g.n || ' rows that were' END, CASE g.n WHEN 1 THEN 'was' ELSE 'were' END, CASE g.n WHEN 1 THEN 'its' ELSE 'their' END)
       FROM (SELECT coalesce(sum(r.gone), 0)
                    + (SELECT count(*)  -- tried again by their keys, and never changed by that
                         FROM (SELECT t.relation, t.lower FROM backfill.range t
                                WHERE t.job_id = job.id AND t.lower = t.upper AND job.set_clause IS NOT NULL
                                GROUP BY t.relation, t.lower HAVING bool_and(t.done AND t.rows = 0)) t
                        WHERE NOT EXISTS (SELECT FROM backfill.left_behind l WHERE l.job_id = job.id AND l.relation = t.relation AND l.key = t.lower)) AS n
               FROM backfill.range r WHERE r.job_id = job.id) g
      WHERE g.n > 0),
    (SELECT format('%s came to the table while the job ran, and %s not scanned.', string_agg(backfill.relation_name(o), ', ' ORDER BY o), CASE count(*) WHEN 1 THEN 'was' ELSE 'were' END)
       FROM (SELECT r FROM backfill.relations_of(job) AS r WHERE NOT backfill.walks_parent(job)
              UNION
             SELECT p.relid FROM backfill.partitions_of(job.target) p WHERE p.isleaf AND backfill.walks_parent(job)
              UNION SELECT i.inhrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent AND c.relkind = 'r' WHERE i.inhparent = job.target) AS came(o)
      WHERE o <> ALL (CASE array_ndims(job.laid_out) WHEN 2 THEN job.laid_out[:][1:1] ELSE job.laid_out END) AND (backfill.has_pages(o) OR (SELECT c.relkind FROM pg_class c WHERE c.oid = o) = 'f')
     HAVING count(*) > 0),
    (SELECT format('%s left the table while the job ran, perhaps for a moment: what was scanned meanwhile reached no row of %s.', string_agg(backfill.relation_name(job.laid_out[i][1]), ', ' ORDER BY i), CASE count(*) WHEN 1 THEN 'it' ELSE 'them' END)
       FROM generate_subscripts(job.laid_out, 1) AS i
      WHERE backfill.walks_parent(job) AND backfill.relation_name(job.laid_out[i][1]) IS NOT NULL
        AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = job.laid_out[i][1] AND h.xmin::text::oid = job.laid_out[i][2])
     HAVING count(*) > 0),
    (SELECT format('%s got a new file while the job ran (TRUNCATE, VACUUM FULL, CLUSTER, or a new type): rows that were put in after a TRUNCATE may not have been scanned.',
                   string_agg(backfill.relation_name(job.laid_out[i][1]), ', ' ORDER BY i))
       FROM generate_subscripts(job.laid_out, 1) AS i
      WHERE array_ndims(job.laid_out) = 2 AND NOT backfill.walks_parent(job) AND pg_relation_filenode(job.laid_out[i][1]) <> job.laid_out[i][2]
     HAVING count(*) > 0)), '')
   WHERE job.where_clause IS NULL AND (job.set_clause IS NOT NULL OR job.statement IS NOT NULL)
$$;

-- What a job took for right whose column was there before it, in words; NULL: nothing. A job with a where_clause of its own has said what is to do.
CREATE OR REPLACE FUNCTION backfill.taken_for_right(job backfill.job) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT format('Column %I was there before the job: what stood in it was taken for right.', job.plan -> 'column' ->> 'name')
           WHERE job.add_column IS NOT NULL AND job.set_clause IS NOT NULL AND job.where_clause = quote_ident(job.plan -> 'column' ->> 'name') || ' IS NULL' AND backfill.had_column(job));
END
$$;

-- Whether all partitions of a job's table may be looked at by one statement.
CREATE OR REPLACE FUNCTION backfill.fits_one_look(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT sum(greatest(c.relpages, 0)::bigint) * current_setting('block_size')::bigint <= backfill.most_at_once() FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o
$$;

-- What the proof of a job with a where_clause can't know, in words; NULL: nothing. measured: what its daemon knows: unseen: no look at once has seen that no row is to do;
-- unmet: looks at once saw rows to do that no scan met; all_at_once: one look has seen all partitions, else rows that go from one to another may be in none. A trigger fills rows that move, but for those whose value can't be computed.
CREATE OR REPLACE FUNCTION backfill.may_have_moved(job backfill.job, measured jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(concat_ws(' ',
           CASE WHEN coalesce(measured ? 'unseen', false)
                THEN format('Rows of %s' || w.which || CASE WHEN job.key = '{ctid}' THEN ' that others updated while it was verified may have moved behind the scan, which was by ctid'
                                                            WHEN job.keep_in_sync THEN ' whose key others changed while it was verified may have moved behind the scan'
                                                            ELSE ', whose key others changed while it was verified, may have moved behind the scan' END
                            || ': a look at all of it at once would take too long, or meet what was left behind.', backfill.relation_name(job.target)) END,
           CASE WHEN coalesce(measured ? 'unmet', false)
                THEN 'At the end rows met where_clause that no scan met: others write them, or move them, behind it.' END,
           CASE WHEN (SELECT c.relkind FROM pg_class c WHERE c.oid = job.target) = 'p' AND NOT coalesce(measured ? 'all_at_once', false) AND EXISTS (SELECT FROM backfill.relations_of(job))
                THEN 'Rows' || w.which || ' that others moved from one partition to another while it was verified may have been missed: each was looked at by itself.' END), '')
    FROM (SELECT CASE WHEN job.keep_in_sync THEN ' for which the clause has no value, and' ELSE '' END) AS w(which)
   WHERE job.where_clause IS NOT NULL AND job.set_clause IS NOT NULL AND NOT job.dry_run
$$;

-- That its trigger kept no row in step for a while, as a look saw it, in words; NULL: none saw that.
CREATE OR REPLACE FUNCTION backfill.lapsed(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('For a while its trigger kept no row in step: it %s. What was written then may be out of step.', job.plan ->> 'lapsed') WHERE job.plan ? 'lapsed'
$$;

-- What such a job can't know, in words; NULL for one with a where_clause, which reads the table at its end.
CREATE OR REPLACE FUNCTION backfill.not_proven(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(concat_ws(' ', CASE WHEN job.where_clause IS NULL THEN 'It can''t know whether each row was changed, and once: there is no where_clause. A row whose key or partition was changed meanwhile may have been missed, or met twice.' END,
                          backfill.may_lack(job), backfill.taken_for_right(job), backfill.lapsed(job)), '')
   WHERE (job.set_clause IS NOT NULL OR job.statement IS NOT NULL) AND NOT job.dry_run
$$;
