-- What the clauses of a job must be. All that is checked when a job is inserted or changed runs with the rights of whoever writes
-- the row: what it tries out, that person may do.

-- One way to refuse: which column, why, and what to do.
CREATE OR REPLACE FUNCTION backfill.refuse(column_name text, problem text, hint text, code text DEFAULT '22023') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION USING
    MESSAGE = format('%s: %s', column_name, problem), HINT = hint, ERRCODE = code,
    SCHEMA = 'backfill', TABLE = 'job', COLUMN = column_name;
END
$$;

-- Has the server parse and plan a statement without running it, and returns the plan's top node. EXECUTE in a FOR loop
-- opens a cursor, which takes one command only: a text that holds two is refused before either runs.
-- row_security = off: a policy that would hide rows from the job is an error, not a gap.
CREATE OR REPLACE FUNCTION backfill.plan(statement text, with_parameters boolean DEFAULT true) RETURNS jsonb
LANGUAGE plpgsql SET row_security = off
AS $$
DECLARE
  line pg_catalog.jsonb;
BEGIN
  IF with_parameters THEN
    FOR line IN EXECUTE pg_catalog.concat('EXPLAIN (FORMAT JSON, VERBOSE) ', statement) USING NULL::pg_catalog.text[], NULL::pg_catalog.text[], NULL::pg_catalog.text[], NULL::bigint LOOP
      RETURN backfill.check_lasting(line);
    END LOOP;
  ELSE
    FOR line IN EXECUTE pg_catalog.concat('EXPLAIN (FORMAT JSON, VERBOSE) ', statement) LOOP
      RETURN backfill.check_lasting(line);
    END LOOP;
  END IF;
END
$$;

-- A plan's top node; refuses one that reads a temporary table, which the worker's session won't see.
CREATE OR REPLACE FUNCTION backfill.check_lasting(explained jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF jsonb_path_exists(explained, '$.**.Schema ? (@ starts with "pg_temp")') THEN
    RAISE EXCEPTION '% is a temporary table of this session', jsonb_path_query_first(explained, '$.** ? (@.Schema starts with "pg_temp")."Relation Name"') #>> '{}'
      USING ERRCODE = '42P16', HINT = 'A job runs in other sessions, which can''t see it. Name the table that you mean with its schema.';
  END IF;
  RETURN explained -> 0 -> 'Plan';
END
$$;

-- Refuses a clause with the server's own words for what is wrong with it.
CREATE OR REPLACE FUNCTION backfill.check_plan(column_name text, statement text, with_parameters boolean DEFAULT true) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  problem  pg_catalog.text;
  advice   pg_catalog.text;
  details  pg_catalog.text;
  code     pg_catalog.text;
BEGIN
  RETURN backfill.plan(statement, with_parameters);
EXCEPTION
  WHEN invalid_cursor_definition THEN
    PERFORM backfill.refuse(column_name, 'holds more than one SQL command', 'One job is one command; insert a job for each.', '42601');
  WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT, details = PG_EXCEPTION_DETAIL, code = RETURNED_SQLSTATE;
    IF backfill.is_trouble(code) THEN
      RAISE;  -- the server's, not the clause's
    END IF;
    PERFORM backfill.refuse_clause(column_name, problem, advice, details, code);
END
$$;

-- Whether an error is the server's trouble of this moment, rather than a fault of what it was given.
CREATE OR REPLACE FUNCTION backfill.is_trouble(code text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT code ~ '^(?:08|40|53|57|58|XX)' OR code LIKE '55%' AND code <> '55000'
$$;

-- Refuses a clause with what the server has said of it. Of a table that can't be changed now, its detail says why.
CREATE OR REPLACE FUNCTION backfill.refuse_clause(column_name text, problem text, advice text, details text, code text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM backfill.refuse(column_name, problem || CASE WHEN code IN ('55000', '42P10') THEN coalesce(': ' || nullif(rtrim(details, '.'), ''), '') ELSE '' END,
    coalesce(CASE WHEN code = '42P01' AND column_name IN ('set_clause', 'where_clause') AND advice <> ''  -- a name of the table that it hasn't here
                  THEN advice || ' Name columns alone, or behind the table''s name without its schema.' END, nullif(advice, ''), CASE
      WHEN code = '42501' THEN format('Ask the table''s owner to GRANT what is missing to %I, or insert the job as that owner.', current_user)
      WHEN code = '55000' OR column_name = 'target' THEN 'Make the table one that can be updated (its publications and REPLICA IDENTITY tell), then insert the job again.'
      WHEN column_name = 'statement' THEN 'The statement must run as it stands once {batch} is replaced by a condition.'
      WHEN column_name = 'set_clause' THEN 'Write what stands after SET in an UPDATE of this table, and nothing after it.'
      WHEN column_name = 'add_column' THEN 'Write a name and a type: ''amount_cents bigint''.'
      WHEN column_name = 'enforce' THEN 'Items are ''NOT NULL column'', ''CHECK (…)'', ''FOREIGN KEY (…) REFERENCES …'' and ''UNIQUE (…)''.'
      ELSE 'Write what stands after WHERE in an UPDATE of this table, and nothing after it.' END), code);
END
$$;

-- What stands where nothing of the kind may, and which the server's own words would not tell, or too late: the job's own statements are written
-- around a clause, and have parameters of theirs.
CREATE OR REPLACE FUNCTION backfill.check_text(column_name text, clause text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  words   text[];
  depths  integer[];
  n       integer;
BEGIN
  SELECT array_agg(t.word ORDER BY t.ord), array_agg(t.depth ORDER BY t.ord) INTO words, depths FROM backfill.token_places(clause) t;
  n := (SELECT max(d) FROM unnest(depths) d);
  IF n * cardinality(words) > 60000 OR n > 5 AND backfill.is_read_slowly(clause) AND octet_length(clause) > 1000 THEN  -- the control session reads it again and again
    PERFORM backfill.refuse(column_name, format('is nested %s deep, too deep for its length', n), 'Put what is within into a function that it calls.', '54001');
  END IF;
  FOR i IN 1 .. coalesce(cardinality(words), 0) LOOP
    IF i = 1 AND words[i] = (CASE column_name WHEN 'where_clause' THEN 'where' WHEN 'statement' THEN '' ELSE 'set' END) AND words[i + 1] NOT IN ('=', '.', '[') THEN
      PERFORM backfill.refuse(column_name, format('syntax error at or near "%s"', upper(words[i])), format('Leave the word %s out: %s is what stands behind it.', upper(words[i]), column_name), '42601');
    ELSIF depths[i] > 50 THEN
      PERFORM backfill.refuse(column_name, 'is nested more than 50 deep', 'Put what is within into a function that it calls.', '54001');
    ELSIF words[i] ~* '^u&"' OR lower(words[i]) = 'u' AND words[i + 1] = '&' AND starts_with(words[i + 2], '"') THEN
      PERFORM backfill.refuse(column_name, 'holds a name written with U&', 'Write the name as it is, in quotes.', '0A000');
    ELSIF words[i] = '$' AND words[i + 1] ~ '^[0-9]' THEN
      PERFORM backfill.refuse(column_name, format('there is no parameter $%s', words[i + 1]), 'Nothing gives it a value: write the value itself.', '42P02');
    ELSIF words[i] = ';' AND i < cardinality(words) THEN
      PERFORM backfill.refuse(column_name, 'holds more than one SQL command (syntax error at or near ";")', 'One job is one command; insert a job for each.', '42601');
    ELSIF words[i] = ';' AND column_name <> 'statement' THEN
      PERFORM backfill.refuse(column_name, 'syntax error at or near ";"', 'Leave the semicolon at its end out: the clause is a part of a statement.', '42601');
    END IF;
    CONTINUE WHEN column_name NOT IN ('set_clause', 'sync_back') OR depths[i] > 0 OR words[i] NOT IN ('from', 'where', 'returning') OR words[i - 1] = '.' OR words[i] = 'from' AND words[i - 1] = 'distinct';
    PERFORM backfill.refuse(column_name, format('syntax error at or near "%s"', upper(words[i])),
      CASE words[i] WHEN 'where' THEN 'Which rows are to do, where_clause says: write the condition there.'
                    WHEN 'returning' THEN 'Leave it out: nobody would read what it returns.'
                    ELSE 'What another table has, a sub-select tells: ''amount = (SELECT o.amount FROM other AS o WHERE o.id = orders.id)''; or give the job a statement.' END, '42601');
  END LOOP;
END
$$;

-- The clauses of a job: each must parse alone, and again where it will stand. A text that does both closes nothing and
-- opens nothing. relation: the job's table, or a leaf of it.
CREATE OR REPLACE FUNCTION backfill.check_clauses(job backfill.job, relation oid, key backfill.walk_key) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  name  pg_catalog.text := (backfill.relation_in_clauses(job, relation)).source;
  plan  pg_catalog.jsonb;
BEGIN
  IF job.where_clause IS NOT NULL THEN
    PERFORM backfill.check_plan('where_clause', pg_catalog.format(E'SELECT FROM %s WHERE %s', name, job.where_clause), false);
    PERFORM backfill.check_plan('where_clause', pg_catalog.format(E'SELECT FROM %s WHERE (%s\n)', name, job.where_clause), false);
  END IF;
  IF job.set_clause IS NOT NULL THEN
    PERFORM backfill.check_plan('set_clause', pg_catalog.format(E'UPDATE %s SET %s', name, job.set_clause), false);
    PERFORM backfill.check_plan('set_clause', (backfill.statements(job, relation, key, false)).batch);
  END IF;
  IF job.statement IS NOT NULL THEN
    PERFORM backfill.check_places(job.statement);
    plan := backfill.check_plan('statement', backfill.place_batch(job.statement, key, false));
    IF pg_catalog.textne(pg_catalog.jsonb_extract_path_text(plan, 'Node Type'), 'ModifyTable') THEN
      PERFORM backfill.refuse('statement', 'is not an INSERT, UPDATE or DELETE', 'A job is there to change rows.', '42601');
    END IF;
    BEGIN
      PERFORM backfill.plan(backfill.place_batch(job.statement, key, false), with_parameters => false);
    EXCEPTION WHEN OTHERS THEN
      RETURN;  -- as it should be: without parameters there is no $1
    END;
    PERFORM backfill.refuse('statement', '{batch} stands in a comment or a string',
                            'Put {batch} into the WHERE clause, where the condition on the key belongs.', '42601');
  END IF;
END
$$;

-- Where a key's columns have their operators in several schemas, a comparison of rows can't name them: the search_path of whoever calls
-- this, which is the job's, must lead to them.
CREATE OR REPLACE FUNCTION backfill.check_operators(key backfill.walk_key) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  missing pg_catalog.record;
BEGIN
  IF backfill.row_operator(key, 5) OPERATOR(pg_catalog.~) '^OPERATOR' THEN
    RETURN;
  END IF;
  SELECT c.name, o.part[1] AS schema INTO missing
    FROM (SELECT key.columns[i] AS name, key.types[i] AS type, i AS ord FROM pg_catalog.generate_subscripts(key.columns, 1) AS i) AS c
   CROSS JOIN LATERAL pg_catalog.regexp_match(key.operators[c.ord][5], '^OPERATOR\((.*)\.([^."]+)\)$') AS o(part)
   WHERE o.part[1] OPERATOR(pg_catalog.<>) 'pg_catalog'
     AND (pg_catalog.to_regoperator(pg_catalog.format('%s(%s, %s)', o.part[2], c.type, c.type))::pg_catalog.oid
          OPERATOR(pg_catalog.=) pg_catalog.to_regoperator(pg_catalog.format('%s.%s(%s, %s)', o.part[1], o.part[2], c.type, c.type))::pg_catalog.oid) IS NOT TRUE
   LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('key', pg_catalog.format('the operators of %s are in schema %s, which the search_path doesn''t lead to', missing.name, missing.schema),
                            pg_catalog.format('Put %s into the search_path, then insert the job again; or walk by another unique index (key).', missing.schema), '42704');
  END IF;
END
$$;

-- Each {batch} is a condition and a list of keys that are passed over, in a statement that is planned for each batch.
CREATE OR REPLACE FUNCTION backfill.check_places(statement text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF backfill.count_places(statement) > 8 THEN
    PERFORM backfill.refuse('statement', format('holds {batch} %s times; 8 is the most', backfill.count_places(statement)),
                            'Once for each table that is to be read by its key is enough.', '54001');
  END IF;
END
$$;

-- What the columns of a table whose rows are changed may be: not those of the key that the job walks by, as a row would come again
-- with its new key, and not those that tell which partition a row belongs to.
CREATE OR REPLACE FUNCTION backfill.check_assigned(job backfill.job, columns text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  assigned text[] := CASE WHEN job.statement IS NULL
                          THEN ARRAY(SELECT c FROM jsonb_array_elements(backfill.assignments_of(job.set_clause)) a, jsonb_array_elements_text(a -> 'columns') c)
                          ELSE backfill.updated_by(job) END;
  changed  text;
  changed_by_batch boolean;
  other    text;
BEGIN
  assigned := assigned || ARRAY(  -- what is generated from them changes with them
    SELECT a.attname::text
      FROM pg_attribute a
      LEFT JOIN pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
      JOIN pg_depend d ON (d.classid, d.objid, d.objsubid) IN (('pg_class'::regclass, a.attrelid, a.attnum), ('pg_attrdef'::regclass, e.oid, 0))
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid <> a.attnum
      JOIN pg_attribute s ON s.attrelid = a.attrelid AND s.attnum = d.refobjsubid
     WHERE a.attrelid = job.target AND a.attgenerated <> '' AND s.attname = ANY (assigned));
  IF job.set_clause IS NOT NULL THEN
    SELECT format('%I of %s', a.attname, backfill.relation_name(r.oid)), a.attname = ANY (assigned) INTO changed, changed_by_batch
      FROM (SELECT t.relid AS oid FROM backfill.partitions_of(job.target) t UNION SELECT p.relid FROM pg_partition_ancestors(job.target) p(relid)) r
      JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.refclassid = d.classid AND d.refobjid = r.oid AND d.refobjsubid = 0 AND d.deptype = 'i'
      JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.objsubid
     WHERE a.attname = ANY (assigned || backfill.filled_columns(job.sync_back))
     ORDER BY a.attname = ANY (assigned) DESC, r.oid LIMIT 1;
    IF FOUND AND NOT changed_by_batch THEN
      PERFORM backfill.refuse('sync_back', format('writes %s, by which rows belong to partitions', changed), 'A trigger can''t move a row to another partition: new code must write that column itself.', '0A000');
    ELSIF FOUND THEN
      PERFORM backfill.refuse('set_clause', format('changes %s, by which rows belong to partitions', changed),
        format(CASE WHEN EXISTS (SELECT FROM pg_index i, backfill.key_of(job.target, (i.indkey::smallint[])[0:i.indnkeyatts - 1]) k
                                  WHERE i.indrelid = job.target AND i.indisunique AND NOT k.columns && ARRAY(SELECT quote_ident(a) FROM unnest(assigned) a))
                    THEN 'set_clause changes rows where they are. A statement moves them: ''UPDATE … SET … WHERE {batch}'' of the partitioned table, with key = a unique index''s columns that it leaves alone.'
                    ELSE 'set_clause changes rows where they are. A statement moves them, on the topmost table: '
                         '''WITH gone AS (DELETE FROM %1$s WHERE {batch} AND … RETURNING *) INSERT INTO %1$s SELECT … FROM gone'', in which … says which rows are still to do, so that one that was moved is left alone.' END,
               backfill.relation_name(coalesce(pg_partition_root(job.target), job.target))), '0A000');
    END IF;
  END IF;
  SELECT c INTO changed FROM unnest(columns) c WHERE c IN (SELECT quote_ident(a) FROM unnest(assigned) a) LIMIT 1;
  IF FOUND AND job.where_clause IS NULL THEN
    SELECT array_to_string(k.columns, ', ') INTO other
      FROM pg_index i, backfill.key_of(job.target, (i.indkey::smallint[])[0:i.indnkeyatts - 1]) k
     WHERE i.indrelid = job.target AND i.indisunique AND NOT k.columns && ARRAY(SELECT quote_ident(a) FROM unnest(assigned) a)
     ORDER BY i.indnkeyatts LIMIT 1;
    PERFORM backfill.refuse(CASE WHEN job.statement IS NULL THEN 'set_clause' ELSE 'statement' END,
      format('changes %s, which is of the key that the job walks by: a row that has moved ahead would be changed again', changed),
      format('%s, or give set_clause with a where_clause that a row which is done no longer meets.', CASE WHEN other IS NOT NULL
             THEN format('Walk by another key: key = ''{%s}''', other)
             WHEN EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = job.target) AND job.statement IS NOT NULL
             THEN 'No unique index leaves it out: move the rows by ''WITH gone AS (DELETE FROM … WHERE {batch} AND … RETURNING *) INSERT INTO … SELECT … FROM gone'', in which … says which rows are still to do'
             ELSE 'Walk by another key: name the columns of a unique index that the job leaves alone in key' END), '0A000');
  END IF;
END
$$;

-- The columns of the job's table, or of a partition or a parent of it, that a statement's UPDATEs assign: those with SET, of
-- INSERT … ON CONFLICT, of MERGE, and in WITH.
CREATE OR REPLACE FUNCTION backfill.updated_by(job backfill.job) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  family  oid[] := ARRAY(SELECT t.relid FROM backfill.partitions_of(job.target) t UNION SELECT p.relid FROM pg_partition_ancestors(job.target) p(relid) UNION SELECT job.target::oid);
  names   text[] := ARRAY(SELECT c.relname::text FROM pg_class c WHERE c.oid = ANY (family));
  words   text[];
  places  integer[];
  depths  integer[];
  result  text[] := '{}';
  table_name text;
  first   integer;
  last    integer;
  cases   integer;
BEGIN
  SELECT array_agg(t.word ORDER BY t.ord), array_agg(t.at ORDER BY t.ord), array_agg(t.depth ORDER BY t.ord) INTO words, places, depths
    FROM backfill.token_places(job.statement) t;
  FOR i IN 1 .. cardinality(words) LOOP
    CONTINUE WHEN words[i] <> 'update' OR words[i - 1] IN ('for', 'key', 'on');  -- FOR UPDATE, ON UPDATE
    -- The table: behind UPDATE, or behind the INTO of INSERT and MERGE.
    first := i + 1;
    IF words[i + 1] = 'set' THEN
      first := (SELECT max(n) + 1 FROM generate_series(1, i) n WHERE words[n] = 'into' AND depths[n] = depths[i]);
    END IF;
    first := first + CASE WHEN words[first] = 'only' THEN 1 ELSE 0 END;
    first := first + CASE WHEN words[first + 1] = '.' THEN 2 ELSE 0 END;
    table_name := backfill.assigned_column(words[first]);
    CONTINUE WHEN table_name IS NULL OR table_name <> ALL (names);
    first := (SELECT min(n) FROM generate_series(i + 1, cardinality(words)) n WHERE words[n] = 'set' AND depths[n] = depths[i]);
    CONTINUE WHEN first IS NULL;
    last := first + 1;
    cases := 0;
    WHILE last <= cardinality(words) AND depths[last] >= depths[i] LOOP
      IF depths[last] = depths[i] THEN
        cases := cases + CASE words[last] WHEN 'case' THEN 1 WHEN 'end' THEN -1 ELSE 0 END;
        EXIT WHEN words[last] IN ('where', 'returning', ';') OR words[last] = 'when' AND cases = 0 OR words[last] = 'from' AND words[last - 1] <> 'distinct';
      END IF;
      last := last + 1;
    END LOOP;
    result := result || ARRAY(
      SELECT c FROM jsonb_array_elements(backfill.assignments_of(substr(job.statement, places[first] + 3, coalesce(places[last], length(job.statement) + 1) - places[first] - 3))) a,
                    jsonb_array_elements_text(a -> 'columns') c);
  END LOOP;
  RETURN result;
END
$$;
