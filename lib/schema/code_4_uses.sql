-- What uses a column that is to be dropped.

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
