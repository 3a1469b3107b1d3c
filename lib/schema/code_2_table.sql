-- What the table of a job must be, and what is asked beside it: whoever is far, rules, rights, row-level security.

-- The publications of a table, of its partitions and of those that it is a partition of; all_columns: with whatever columns it has. By the catalog's rows of these tables:
-- pg_publication_tables looks through all tables of all publications, and who may make many of them would keep others' jobs waiting.
CREATE OR REPLACE FUNCTION backfill.publications_of(target oid) RETURNS TABLE (name name, all_columns boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH relations AS MATERIALIZED (
    SELECT c.oid, c.relnamespace
      FROM pg_class c
     WHERE c.oid IN (SELECT target UNION SELECT t.relid FROM backfill.partitions_of(target) t UNION SELECT p.relid FROM pg_partition_ancestors(target) p(relid)) AND c.relpersistence = 'p'
  ), published AS (
    SELECT p.oid, true AS all_columns FROM pg_publication p WHERE p.puballtables AND EXISTS (SELECT FROM relations)
     UNION ALL
    SELECT r.prpubid, r.prattrs IS NULL FROM relations c JOIN pg_publication_rel r ON r.prrelid = c.oid
     UNION ALL
    SELECT n.pnpubid, true FROM pg_publication_namespace n WHERE n.pnnspid IN (SELECT c.relnamespace FROM relations c)
  )
  SELECT p.pubname, bool_or(w.all_columns) FROM published w JOIN pg_publication p ON p.oid = w.oid GROUP BY p.pubname
$$;

-- Who is far from the table and would stand still: asked before anything is changed.
CREATE OR REPLACE FUNCTION backfill.check_elsewhere(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name  text := backfill.relation_name(job.target);
  whose text;
  slots text;
BEGIN
  IF job.drop_column IS NOT NULL THEN
    RETURN;  -- uses_of lists them
  END IF;
  SELECT string_agg(DISTINCT quote_ident(s.subname), ', ') INTO whose
    FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
   WHERE r.srrelid IN (SELECT job.target::oid UNION SELECT t.relid FROM backfill.partitions_of(job.target) t UNION SELECT p.relid FROM pg_partition_ancestors(job.target) p(relid));
  IF whose IS NOT NULL AND 'subscriptions' <> ALL (coalesce(job.ignore, '{}')) THEN
    PERFORM backfill.refuse('target', format('%s is written by subscription %s: what the job writes may be written over, and what it demands may stop the subscription', name, whose),
                            'Run the job where the rows come from; or, when you know better, insert it with ignore = ''{subscriptions}''.', '55000');
  END IF;
  IF NOT backfill.has_column(job) AND 'subscribers' <> ALL (coalesce(job.ignore, '{}')) THEN
    SELECT string_agg(quote_ident(p.name), ', ' ORDER BY p.name) INTO whose FROM backfill.publications_of(job.target) p WHERE p.all_columns;
    SELECT string_agg(quote_ident(s.slot_name), ', ' ORDER BY s.slot_name) INTO slots
      FROM pg_replication_slots s WHERE s.plugin = 'pgoutput' AND s.database = current_database();
    IF whose IS NOT NULL AND slots IS NOT NULL THEN
      PERFORM backfill.refuse('add_column', format('%s is published by %s with all its columns, and somebody subscribes (slot %s): where the column is missing, the subscription stops at the first row', name, whose, slots),
                              format('On each subscriber: ALTER TABLE %s ADD COLUMN %I %s. Then insert the job with ignore = ''{subscribers}''.', name, job.plan -> 'column' ->> 'name', job.plan -> 'column' ->> 'type'), '55000');
    END IF;
  END IF;
END
$$;

-- A rule that does something else instead of any UPDATE: no row would ever be changed.
CREATE OR REPLACE FUNCTION backfill.check_rules(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rule record;
BEGIN
  SELECT r.rulename AS name, backfill.relation_name(r.ev_class) AS relation INTO rule
    FROM pg_rewrite r
   WHERE job.set_clause IS NOT NULL AND r.ev_class IN (SELECT job.target::oid UNION SELECT * FROM backfill.relations_of(job))
     AND r.ev_type = '2' AND r.is_instead AND r.ev_qual = '<>' AND r.ev_enabled NOT IN ('D', 'R')
   ORDER BY r.ev_class, r.rulename LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('target', format('rule %I does something else instead of every UPDATE of %s', rule.name, rule.relation),
                            format('No row would be changed. ALTER TABLE %s DISABLE RULE %I, or give the job a statement, for what the rule does.', rule.relation, rule.name), '55000');
  END IF;
END
$$;

CREATE OR REPLACE FUNCTION backfill.refuse_hidden(column_name text, relation text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM backfill.refuse(column_name, format('row-level security may hide rows of %s from %I', relation, current_user),
                          format('Insert the job as a role with BYPASSRLS (ALTER ROLE %I BYPASSRLS, by a superuser), or as the owner of a table that is not under FORCE ROW LEVEL SECURITY.', current_user), '42501');
END
$$;

-- Whoever has a job on a table keeps others' jobs off it meanwhile: for that it takes a right to write it, whatever the statement changes
-- besides. What a set_clause needs is asked when its UPDATE is planned, what a step needs beside that step.
CREATE OR REPLACE FUNCTION backfill.check_may_write(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing record;
BEGIN
  IF job.statement IS NOT NULL AND NOT has_any_column_privilege(job.target, 'UPDATE') AND NOT has_any_column_privilege(job.target, 'INSERT')
     AND NOT has_table_privilege(job.target, 'DELETE') THEN
    PERFORM backfill.refuse('target', format('%I may not write %s, and a job keeps other jobs off its table', current_user, backfill.relation_name(job.target)),
                            format('GRANT UPDATE ON %s TO %I (or INSERT, or DELETE, whichever is the job''s), or make the table that the statement changes the job''s target.',
                                   backfill.relation_name(job.target), current_user), '42501');
  END IF;
  -- An UPDATE of the table as a whole needs no right on its partitions; batches are of one each.
  IF job.set_clause IS NOT NULL AND (SELECT c.relkind FROM pg_class c WHERE c.oid = job.target) = 'p' THEN
    SELECT * INTO missing FROM backfill.missing_right(job, backfill.role_oid(current_user), false);
    IF missing.problem IS NOT NULL THEN
      PERFORM backfill.refuse('target', missing.problem, format('%s then insert the job again.', missing.advice), '42501');
    END IF;
  END IF;
END
$$;

-- Row-level security would hide rows from the job.
CREATE OR REPLACE FUNCTION backfill.check_row_security(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  hides text;
BEGIN
  IF job.set_clause IS NOT NULL OR job.statement IS NOT NULL THEN
    SELECT backfill.relation_name(r.oid) INTO hides FROM (SELECT job.target::oid AS oid UNION SELECT * FROM backfill.relations_of(job)) r WHERE row_security_active(r.oid) LIMIT 1;
  END IF;
  IF hides IS NOT NULL THEN
    PERFORM backfill.refuse_hidden('target', hides);
  END IF;
END
$$;

-- Refuses a table whose rows can't be updated, as for want of a replica identity, when the job's own UPDATE can't be planned yet.
CREATE OR REPLACE FUNCTION backfill.check_can_update(job backfill.job) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  statement pg_catalog.text;
BEGIN
  FOR statement IN SELECT * FROM backfill.updates_nothing(job) LOOP
    PERFORM backfill.check_plan('target', statement, false);
  END LOOP;
END
$$;

-- For each relation that a job works on, an UPDATE that changes no row.
CREATE OR REPLACE FUNCTION backfill.updates_nothing(job backfill.job) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('UPDATE ONLY %s SET %I = %I WHERE false', backfill.relation_name(r.oid), a.attname, a.attname)
    FROM backfill.relations_of(job) r(oid),
         LATERAL (SELECT a.attname FROM pg_attribute a
                   WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = '' LIMIT 1) a
   LIMIT 100
$$;

CREATE OR REPLACE FUNCTION backfill.check_drop_column(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name text := backfill.relation_name(job.target);
BEGIN
  IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = job.drop_column AND a.attnum > 0 AND NOT a.attisdropped) THEN
    PERFORM backfill.refuse('drop_column', format('%s has no column %s', name, job.drop_column), 'Write its name as the catalog has it, without quotes.', '42703');
  ELSIF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = job.target), 'USAGE') THEN
    PERFORM backfill.refuse('drop_column', format('only the owner of %s can drop a column', name),
                            format('Insert the job as %1$s, or SET ROLE %1$s first.', backfill.acting_owner((SELECT c.relowner FROM pg_class c WHERE c.oid = job.target))), '42501');
  ELSIF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = job.drop_column AND a.attinhcount > 0) THEN
    PERFORM backfill.refuse('drop_column', format('%s has the column from a parent', name), 'Insert the job for the topmost table.', '42P16');
  END IF;
END
$$;

-- Refuses an index whose order is that of another version of the collation library: its scans miss rows, and so would the job and its
-- proof. The versions are what the server warns by.
CREATE OR REPLACE FUNCTION backfill.check_collations(key backfill.walk_key) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other record;
BEGIN
  SELECT l.name, l.recorded, l.actual, l.refresh INTO other
    FROM pg_index i
   CROSS JOIN LATERAL (
      SELECT format('collation %I.%I', n.nspname, c.collname) AS name, c.collversion AS recorded, pg_collation_actual_version(c.oid) AS actual,
             format('ALTER COLLATION %I.%I REFRESH VERSION', n.nspname, c.collname) AS refresh
        FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
       WHERE c.oid = ANY (i.indcollation::oid[]) AND c.collprovider <> 'd'
      UNION ALL
      SELECT 'the database''s collation', d.datcollversion, pg_database_collation_actual_version(d.oid),
             format('ALTER DATABASE %I REFRESH COLLATION VERSION', d.datname)
        FROM pg_database d
       WHERE d.datname = current_database()
         AND EXISTS (SELECT FROM pg_collation c WHERE c.oid = ANY (i.indcollation::oid[]) AND c.collprovider = 'd')) l
   WHERE i.indexrelid = key.index_oid AND l.recorded <> coalesce(l.actual, '')
   LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('target', format('index %s was built by version %s of %s, and the server compares by version %s now: it may miss rows',
                                             backfill.relation_name(key.index_oid), other.recorded, other.name, coalesce(other.actual, 'none')),
                            format('REINDEX INDEX CONCURRENTLY %s, and each other index that orders by it; then %s.', backfill.relation_name(key.index_oid), other.refresh),
                            '42P22');
  END IF;
END
$$;

-- How a job will walk its table: along a key, or as its rows lie, for which its key becomes {ctid}. A row moves when it is updated: so where_clause must tell which is to do, by NULL in what
-- set_clause fills, for no look at the same places tells whether a row that is done still meets it. What moves to pages that were passed is met by the next walk, and a look at all at once proves that none is left. auto does so where there is no key, or where the key's order has little to do with how the rows lie, and they don't fit into the server's memory.
CREATE OR REPLACE FUNCTION backfill.choose_scan(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  told constant boolean := job.set_clause IS NOT NULL AND CASE WHEN job.where_clause IS NULL THEN job.add_column IS NOT NULL ELSE backfill.columns_to_fill(job) IS NOT NULL END;
  -- Of a partitioned table with a primary key each partition has that: the largest one stands for all.
  looked constant oid[] := ARRAY(SELECT c.oid FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o WHERE told AND job.scan = 'auto' AND job.key IS NULL
                                ORDER BY c.relpages DESC LIMIT CASE WHEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = job.target AND i.indisprimary) THEN 1 END);
BEGIN
  IF job.scan = 'key' AND job.key = '{ctid}' OR job.scan = 'ctid' AND job.key <> '{ctid}' THEN
    PERFORM backfill.refuse('scan', format('is %s, and key is {%s}', job.scan, array_to_string(job.key, ', ')), 'Leave one of them out: key names a unique index''s columns; scan = ''ctid'' walks the table as its rows lie, by no index.', '22023');
  ELSIF (job.scan = 'ctid' OR job.key = '{ctid}') AND NOT told THEN
    PERFORM backfill.refuse('scan', 'ctid walks the table as its rows lie, and a row moves when it is updated: nothing tells which is still to do',
                            'Write set_clause, and a where_clause that asks for NULL in columns that it fills: ''amount_cents IS NULL''. Or leave scan out, to walk along a key.', '22023');
  ELSIF job.scan = 'ctid' OR job.scan = 'auto' AND job.key IS NULL AND told AND EXISTS (
      SELECT FROM unnest(looked) o, LATERAL (SELECT count(k) AS n, min(k.index_oid) AS index_oid, min(k.attnums[1]) AS attnum FROM backfill.key_of(o) k) AS k
       WHERE k.n = 0
          OR pg_relation_size(o) > pg_size_bytes(current_setting('shared_buffers'))
             AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                           JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
                          WHERE c.oid = o AND abs(s.correlation) < 0.5)) THEN
    job.key := '{ctid}';
  END IF;
  RETURN job;
END
$$;

-- Whether no table is walked by a column of that type (backfill.text_meaning).
CREATE OR REPLACE FUNCTION backfill.has_no_meaning(type oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  base constant oid := backfill.base_type(type);
BEGIN
  RETURN backfill.is_too_rich(ARRAY[base]) OR backfill.text_meaning(base) IS NULL;
END
$$;

-- The key of a job's table, or of a partition, or an error that says why there is none.
CREATE OR REPLACE FUNCTION backfill.key_for(job backfill.job, part oid) RETURNS backfill.walk_key
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key backfill.walk_key;
BEGIN
  IF (SELECT c.relkind FROM pg_class c WHERE c.oid = part) = 'f' THEN
    PERFORM backfill.refuse('target', format('its partition %s is a foreign table', backfill.relation_name(part)),
                            'Insert a job for each partition that is a table of this server.', '42809');
  END IF;
  SELECT * INTO key FROM backfill.key_of(part, backfill.key_numbers(part, job.key));
  PERFORM backfill.check_collations(key);
  IF EXISTS (SELECT FROM unnest(key.types) AS u(name) WHERE backfill.is_users_type(u.name)) THEN
    PERFORM backfill.check_domains(part, key.attnums, CASE WHEN job.state = 'running' THEN backfill.role_of(job) ELSE coalesce(job.owner_oid, backfill.role_oid(current_user)) END);
  END IF;
  IF key.attnums IS NULL THEN
    PERFORM backfill.check_is_there(part, job);
    PERFORM backfill.refuse(CASE WHEN job.key IS NULL THEN 'target' ELSE 'key' END,
      CASE WHEN job.key IS NULL
           THEN format('%s has no key to walk by', backfill.relation_name(part))
           ELSE format('%s has no unique index on (%s) to walk by', backfill.relation_name(part), array_to_string(job.key, ', ')) END
      || coalesce((SELECT format(' (not by %s: the text of a %s is a name of something else, or the type is made of domains, of a range with a function of users'' own, or of more than 100 types, 1,000 attributes, or 10,000 labels)', backfill.relation_name(i.indexrelid), i.types[1])
                     FROM (SELECT u.indexrelid, ARRAY(SELECT format_type(a.atttypid, -1) FROM pg_attribute a WHERE a.attrelid = part AND a.attnum = ANY (u.columns) AND backfill.has_no_meaning(a.atttypid)) AS types
                             FROM (SELECT i.indexrelid, (i.indkey::smallint[])[0:i.indnkeyatts - 1] AS columns
                                     FROM pg_index i
                                    WHERE i.indrelid = part AND i.indisunique AND i.indisvalid AND (job.key IS NULL OR (i.indkey::smallint[])[0:i.indnkeyatts - 1] = backfill.key_numbers(part, job.key))
                                    ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 3) u) i
                    WHERE cardinality(i.types) > 0
                    LIMIT 1), ''),
      'It needs a primary key, or a unique btree index on NOT NULL columns in their default order: CREATE UNIQUE INDEX CONCURRENTLY, then SET NOT NULL. Or set_clause with a where_clause that asks for NULL in columns that it fills: then the table is walked as its rows lie (scan = ''ctid'').'
      || CASE WHEN job.state = 'running' THEN format(' With it, SELECT backfill.retry(%1$L); or SELECT backfill.forget(%1$L), and insert the job with another key, for what is still to do.', job.name) ELSE '' END, '42P16');
  ELSIF 'off' IN (job.session ->> 'array_nulls', (SELECT s.value FROM jsonb_each_text(job.settings) s WHERE lower(s.key) = 'array_nulls'))
        AND EXISTS (SELECT FROM pg_attribute a, unnest(backfill.types_in(backfill.base_type(a.atttypid), 100)) AS i(oid) JOIN pg_type t ON t.oid = i.oid
                     WHERE a.attrelid = part AND a.attnum = ANY (key.attnums) AND t.typcategory = 'A') THEN
    PERFORM backfill.refuse('key', format('of %s holds arrays, and with array_nulls off a NULL in one can''t be read back from its text', backfill.relation_name(part)), 'SET array_nulls = on, then insert the job.', '0A000');
  END IF;
  RETURN key;
END
$$;

-- Checks the table and returns the key that the job will walk by; at INSERT, and again when the job begins: then the keys of partitions are looked at when these are laid out.
CREATE OR REPLACE FUNCTION backfill.check_target(job backfill.job) RETURNS backfill.walk_key
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name    text := backfill.relation_name(job.target);
  class   pg_class;
  part    oid;
  children text;
  missing text;
  key     backfill.walk_key;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = job.target;
  IF NOT FOUND AND job.state = 'running' THEN
    PERFORM backfill.refuse_dropped(job);
  ELSIF NOT FOUND THEN
    PERFORM backfill.refuse('target', format('there is no table with OID %s', job.target::oid),
                            'Write the table''s name: ''app.orders''.', '42P01');
  ELSIF class.relkind NOT IN ('r', 'p') THEN
    PERFORM backfill.refuse('target', format('%s is %s', name, CASE class.relkind
                              WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
                              WHEN 'i' THEN 'an index' WHEN 'I' THEN 'an index' WHEN 'S' THEN 'a sequence'
                              WHEN 't' THEN 'a TOAST table' ELSE 'a composite type' END),
                            'A job fills a plain or a partitioned table; name the table itself.', '42809');
  ELSIF class.oid < 16384 OR class.relnamespace = 'backfill'::regnamespace THEN
    PERFORM backfill.refuse('target', format('%s is a system table', name), 'A job fills a table of yours.', '42809');
  ELSIF class.relpersistence = 't' THEN
    PERFORM backfill.refuse('target', format('%s is a temporary table', name),
                            'Other sessions can''t see it; fill it with an UPDATE of your own.', '42809');
  END IF;
  SELECT string_agg(backfill.relation_name(i.inhrelid), ', ' ORDER BY i.inhrelid) INTO children
    FROM (SELECT * FROM pg_inherits i WHERE i.inhparent = job.target ORDER BY i.inhrelid LIMIT 5) i;
  IF class.relkind = 'r' AND children IS NOT NULL AND job.drop_column IS NOT NULL THEN
    PERFORM backfill.refuse('target', format('%s has inheritance children: %s', name, children),
      'Their column would go too, with what uses it there. Look at each of them, then drop the column by hand.', '0A000');
  ELSIF class.relkind = 'r' AND children IS NOT NULL THEN
    PERFORM backfill.refuse('target', format('%s has inheritance children: %s', name, children),
      'A column or a constraint of it would be theirs too, its batches would not reach them. Change the definition by hand, insert a job for each child, and fill the table''s own rows by UPDATE ONLY.', '0A000');
  ELSIF job.set_clause IS NULL AND job.statement IS NULL THEN
    RETURN key;  -- nothing to walk
  END IF;

  SELECT k INTO missing
    FROM unnest(job.key) AS u(k)
   WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = k AND a.attnum > 0 AND NOT a.attisdropped)
     AND job.key <> '{ctid}'
   LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('key', format('%s has no column %I', name, missing),
                            CASE WHEN job.state = 'running' THEN format('Give it its name back, then SELECT backfill.retry(%1$L); or SELECT backfill.forget(%1$L), and insert the job with another key, for what is still to do.', job.name)
                                 ELSE 'Name columns of the table, in the order of a unique index.' END, '42703');
  END IF;

  -- Of a partitioned table those that have rows: each has the table's own index, if it has one that is valid, and then one stands for all but foreign tables.
  FOR part IN
    SELECT o
      FROM (SELECT o, EXISTS (SELECT FROM backfill.key_of(job.target, backfill.key_numbers(job.target, job.key))) AS has_its, min(o) OVER () AS first FROM backfill.relations_of(job) o) p
     WHERE CASE WHEN job.state = 'running' THEN o = job.target
                ELSE NOT has_its OR o = first OR (SELECT c.relkind FROM pg_class c WHERE c.oid = o) = 'f' END
     ORDER BY o
  LOOP
    key := backfill.key_for(job, part);
  END LOOP;
  IF key.attnums IS NULL THEN  -- a partitioned table without a partition: nothing to walk, but its clauses are checked all the same
    key.attnums := '{-1}'; key.columns := '{ctid}'; key.types := '{tid}'; key.collations := '{""}';
    key.operators := '{{OPERATOR(pg_catalog.<), OPERATOR(pg_catalog.<=), OPERATOR(pg_catalog.=), OPERATOR(pg_catalog.>=), OPERATOR(pg_catalog.>)}}';
  END IF;
  RETURN key;
END
$$;

-- Whether the column that a job adds is in its table; true for one that adds none.
CREATE OR REPLACE FUNCTION backfill.has_column(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT job.add_column IS NULL
      OR EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = job.target AND a.attname = job.plan -> 'column' ->> 'name' AND a.attnum > 0 AND NOT a.attisdropped)
$$;
