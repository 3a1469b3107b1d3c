-- What is checked and captured when a job is inserted or changed. These triggers run with the rights of whoever writes
-- the row: what they try out, that person may do.

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
  FOR i IN 1 .. coalesce(cardinality(words), 0) LOOP
    IF i = 1 AND words[i] = (CASE column_name WHEN 'where_clause' THEN 'where' WHEN 'statement' THEN '' ELSE 'set' END) AND words[i + 1] NOT IN ('=', '.', '[') THEN
      PERFORM backfill.refuse(column_name, format('syntax error at or near "%s"', upper(words[i])), format('Leave the word %s out: %s is what stands behind it.', upper(words[i]), column_name), '42601');
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
  missing record;
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
    SELECT format('%I of %s', a.attname, backfill.relation_name(r.oid)) INTO changed
      FROM (SELECT t.relid::oid AS oid FROM pg_partition_tree(job.target) t UNION SELECT p.relid FROM pg_partition_ancestors(job.target) p(relid)) r
      JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.refclassid = d.classid AND d.refobjid = r.oid AND d.refobjsubid = 0 AND d.deptype = 'i'
      JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.objsubid
     WHERE a.attname = ANY (assigned)
     ORDER BY r.oid LIMIT 1;
    IF FOUND THEN
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
  family  oid[] := ARRAY(SELECT t.relid::oid FROM pg_partition_tree(job.target) t UNION SELECT p.relid FROM pg_partition_ancestors(job.target) p(relid) UNION SELECT job.target::oid);
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
    WHILE last <= cardinality(words) AND depths[last] >= depths[i] AND NOT (depths[last] = depths[i] AND words[last] = ')') LOOP
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

CREATE OR REPLACE FUNCTION backfill.check_not_yet(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  column_name text := (
    SELECT v.name
      FROM (VALUES ('scan', job.scan = 'ctid'), ('workers', job.workers > 1)) AS v(name, used)
     WHERE v.used LIMIT 1);
BEGIN
  IF column_name IS NOT NULL THEN
    PERFORM backfill.refuse(column_name, format('not supported yet%s', CASE column_name
                              WHEN 'scan' THEN ' (scan = ''ctid'')' WHEN 'workers' THEN ' (workers above 1)' ELSE '' END),
                            format('Leave %s out; this version of backfilld would not act on it.', column_name), '0A000');
  END IF;
END
$$;

-- Whether a text closes all brackets and quotes that it opens, and perhaps more.
CREATE OR REPLACE FUNCTION backfill.is_closed(clause text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(sum(CASE WHEN t.token IN ('(', '[') THEN 1 WHEN t.token IN (')', ']') THEN -1 ELSE 0 END) <= 0
                  AND NOT bool_or(left(t.token, 1) IN ('''', '"') AND t.token !~ '^(?:''(?:[^'']|'''')*''|"(?:[^"]|"")*")$'), true)
    FROM unnest(backfill.tokens(clause)) AS t(token)
$$;

-- '{UNIQUE (a, b)}' is an array of two: its comma ends an item. The first item that only those behind it close, and the whole array as literals, with
-- such items put together again; both NULL when there is none.
CREATE OR REPLACE FUNCTION backfill.split_item(enforce text[], OUT first text, OUT whole text)
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  items text[] := '{}';
  piece text;
  item  text;
  began text;
BEGIN
  FOREACH item IN ARRAY enforce LOOP
    began := CASE WHEN piece IS NULL THEN item ELSE began END;
    piece := coalesce(piece || ', ', '') || item;
    IF backfill.is_closed(piece) THEN
      first := coalesce(first, CASE WHEN piece <> item THEN began END);
      items := items || quote_literal(piece);
      piece := NULL;
    END IF;
  END LOOP;
  whole := array_to_string(items, ', ');
  IF first IS NULL OR piece IS NOT NULL THEN  -- none, or what is open closes nowhere: that is another mistake
    first := NULL;
    whole := NULL;
  END IF;
END
$$;

-- Which columns of a job go together.
CREATE OR REPLACE FUNCTION backfill.check_combination(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fills boolean := job.set_clause IS NOT NULL OR job.statement IS NOT NULL;
BEGIN
  IF job.drop_column IS NOT NULL AND (fills OR job.add_column IS NOT NULL OR job.enforce IS NOT NULL OR job.where_clause IS NOT NULL) THEN
    PERFORM backfill.refuse('drop_column', 'stands beside other work',
                            'Insert a job of its own for it, when the application uses the column no more.');
  ELSIF NOT fills AND job.enforce IS NULL AND job.drop_column IS NULL THEN
    PERFORM backfill.refuse('set_clause', 'the job says nothing to do',
                            'Give set_clause (''amount_cents = (amount * 100)::bigint''), statement, enforce or drop_column.', '23502');
  ELSIF job.set_clause IS NOT NULL AND job.statement IS NOT NULL THEN
    PERFORM backfill.refuse('statement', 'stands beside set_clause', 'Give one of set_clause and statement.');
  ELSIF job.where_clause IS NOT NULL AND job.set_clause IS NULL THEN
    PERFORM backfill.refuse('where_clause', 'goes with set_clause only', CASE WHEN job.statement IS NULL
      THEN 'Leave it out: a job without set_clause changes no rows.' ELSE 'Write the condition into the statement, beside {batch}.' END);
  ELSIF job.statement !~ '\{batch[[:space:]}]' THEN
    PERFORM backfill.refuse('statement', 'does not say where the batch goes',
                            'Write {batch} into its WHERE clause; {batch o} when the table has the alias o.', '42601');
  ELSIF job.add_column IS NOT NULL AND job.set_clause IS NULL THEN
    PERFORM backfill.refuse('add_column', 'goes with set_clause only', 'Add the column first (ALTER TABLE … ADD COLUMN), then insert the job.');
  ELSIF job.sync_back IS NOT NULL AND NOT job.keep_in_sync THEN
    PERFORM backfill.refuse('sync_back', 'goes with keep_in_sync only', 'It is the way back of the same trigger: what is written into the new column reaches the old one.');
  ELSIF job.keep_in_sync AND job.set_clause IS NULL THEN
    PERFORM backfill.refuse('keep_in_sync', 'goes with set_clause only', 'The trigger computes set_clause for each row that is written.');
  ELSIF fills AND job.enforce IS NOT NULL AND NOT job.keep_in_sync AND job.where_clause IS NULL AND job.add_column IS NULL THEN
    PERFORM backfill.refuse('enforce', 'nothing tells when the application has ceased to write rows that break it',
                            'Give where_clause, by which rows that are still to do are found, or keep_in_sync.');
  ELSIF job.enforce = '{}' OR array_position(job.enforce, NULL) IS NOT NULL THEN
    PERFORM backfill.refuse('enforce', 'holds nothing, or NULL', 'Leave it out, or write ''{NOT NULL amount_cents}''.');
  ELSIF (SELECT s.first FROM backfill.split_item(job.enforce) s) IS NOT NULL THEN
    PERFORM backfill.refuse('enforce', format('%L is the beginning of an item: within {…} a comma ends one', s.first), format('Write ARRAY[%s].', s.whole), '42601')
       FROM backfill.split_item(job.enforce) s;
  ELSIF job.dry_run AND NOT fills THEN
    PERFORM backfill.refuse('dry_run', 'goes with set_clause or statement', 'It tries one batch; a job that changes no rows has none.');
  ELSIF job.wanted NOT IN ('run', 'pause') THEN
    PERFORM backfill.refuse('wanted', format('a new job can''t want %L', job.wanted), 'Insert it with run or pause.');
  END IF;
END
$$;

-- What ignore may name: with drop_column the kinds of things that may use a column, as backfill.uses_of calls them; else who is far
-- from here and is asked first.
CREATE OR REPLACE FUNCTION backfill.check_ignore(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kinds   constant text[] := '{views, functions, indexes, constraints, triggers, policies, publications, sequences, statistics, generated, statements, columns, subscriptions, subscribers}';
  unknown text := (SELECT u FROM unnest(job.ignore) u WHERE u IS NULL OR u <> ALL (kinds) LIMIT 1);
BEGIN
  IF NOT job.ignore <@ kinds THEN
    PERFORM backfill.refuse('ignore', format('there is nothing called %L to ignore', unknown), format('It may hold %s.', array_to_string(kinds, ', ')));
  ELSIF job.drop_column IS NULL AND NOT job.ignore <@ '{subscriptions, subscribers}' THEN
    PERFORM backfill.refuse('ignore', 'goes with drop_column only', 'It names what may still use a column that is dropped; with other jobs it may hold subscriptions and subscribers.');
  ELSIF job.drop_column IS NOT NULL AND 'subscribers' = ANY (job.ignore) THEN
    PERFORM backfill.refuse('ignore', 'subscribers goes with add_column', 'Leave it out: what a subscriber has more than it is sent does no harm.');
  END IF;
END
$$;

-- Settings of the worker's session that a job may not bring along: with another role of replication neither triggers nor foreign keys
-- would see what its batches write, and VALIDATE would find nothing wrong with it.
-- Each is set as the worker's session will set it, and taken back.
CREATE OR REPLACE FUNCTION backfill.check_settings(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  setting record;
  problem text;
  advice  text;
  code    text;
BEGIN
  FOR setting IN SELECT s.key, s.value AS given, s.value #>> '{}' AS value FROM jsonb_each(job.settings) s LOOP
    IF jsonb_typeof(setting.given) IN ('object', 'array') THEN
      PERFORM backfill.refuse('settings', format('%s is no text, number, true or false', left(setting.key, 100)), 'Write its value as it stands in SET: ''{"work_mem": "64MB"}''.');
    END IF;
    BEGIN
      PERFORM set_config(setting.key, setting.value, true);
      RAISE EXCEPTION USING ERRCODE = 'BF009';  -- it takes back what was set
    EXCEPTION
      WHEN SQLSTATE 'BF009' THEN
        NULL;
      WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE;
        IF code <> '42501' OR session_user = current_user THEN  -- it is the login that sets it, before it sets its role
          PERFORM backfill.refuse('settings', problem,
            coalesce(nullif(advice, ''), CASE code WHEN '42704' THEN format('The server has no setting of that name: SELECT name FROM pg_settings WHERE name LIKE %L lists those like it.', '%' || left(split_part(setting.key, '_', 1), 60) || '%')
                                                   WHEN '42501' THEN format('%I may not set it: leave it out, or insert the job as a role that may.', session_user)
                                                   WHEN '55P02' THEN 'A session can''t change it: leave it out.'
                                                   ELSE format('SELECT setting, unit, min_val, max_val, enumvals FROM pg_settings WHERE name = %L tells what it takes.', lower(setting.key)) END), code);
        END IF;
    END;
  END LOOP;
  IF EXISTS (SELECT FROM jsonb_each_text(job.settings) s WHERE lower(s.key COLLATE "C") = 'session_replication_role' AND lower(s.value COLLATE "C") NOT IN ('origin', 'local')) THEN
    PERFORM backfill.refuse('settings', 'session_replication_role would switch off triggers and foreign keys for the rows that the job writes',
                            'Leave it out. A trigger of yours that is not to fire for a job can ask: WHEN (current_setting(''backfilld.batch'', true) IS NULL).');
  END IF;
END
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
   WHERE r.srrelid IN (SELECT job.target::oid UNION SELECT t.relid FROM pg_partition_tree(job.target) t UNION SELECT p.relid FROM pg_partition_ancestors(job.target) p(relid));
  IF whose IS NOT NULL AND 'subscriptions' <> ALL (coalesce(job.ignore, '{}')) THEN
    PERFORM backfill.refuse('target', format('%s is written by subscription %s: what the job writes may be written over, and what it demands may stop the subscription', name, whose),
                            'Run the job where the rows come from; or, when you know better, insert it with ignore = ''{subscriptions}''.', '55000');
  END IF;
  IF NOT backfill.has_column(job) AND 'subscribers' <> ALL (coalesce(job.ignore, '{}')) THEN
    SELECT string_agg(DISTINCT quote_ident(p.pubname), ', ') INTO whose
      FROM pg_publication_tables t
      JOIN pg_publication p ON p.pubname = t.pubname
      JOIN pg_class c ON c.relname = t.tablename
      JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = t.schemaname
     WHERE c.oid IN (SELECT job.target::oid UNION SELECT t.relid FROM pg_partition_tree(job.target) t UNION SELECT p.relid FROM pg_partition_ancestors(job.target) p(relid))
       AND NOT EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid AND r.prattrs IS NOT NULL);
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

-- The signals that a job may pass over; lib/pressure/pressure.c has the same names.
CREATE OR REPLACE FUNCTION backfill.check_throttle_off(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  signals constant text[] := '{lag, lag_mb, standby, blocked, slot, archive, xmin, dead, cpu, io, disk, latency, probe}';
  unknown text := (SELECT u FROM unnest(job.throttle_off) u WHERE u IS NULL OR u <> ALL (signals) LIMIT 1);
BEGIN
  IF NOT job.throttle_off <@ signals THEN
    PERFORM backfill.refuse('throttle_off', format('there is no signal %L', unknown),
                            format('The signals are %s.', array_to_string(signals, ', ')));
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

-- Checks the table and returns the key that the job will walk by.
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
  IF NOT FOUND THEN
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
  IF class.relkind = 'r' AND children IS NOT NULL AND job.drop_column IS NULL THEN
    PERFORM backfill.refuse('target', format('%s has inheritance children: %s', name, children),
      'A column or a constraint of it would be theirs too, its batches would not reach them. Change the definition by hand, insert a job for each child, and fill the table''s own rows by UPDATE ONLY.', '0A000');
  ELSIF job.set_clause IS NULL AND job.statement IS NULL THEN
    RETURN key;  -- nothing to walk
  END IF;

  SELECT k INTO missing
    FROM unnest(job.key) AS u(k)
   WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = k AND a.attnum > 0 AND NOT a.attisdropped)
   LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('key', format('%s has no column %I', name, missing), 'Name columns of the table, in the order of a unique index.', '42703');
  END IF;

  FOR part IN SELECT job.target::oid UNION ALL SELECT * FROM backfill.relations_of(job) LOOP
    SELECT relkind INTO class.relkind FROM pg_class WHERE oid = part;
    IF class.relkind = 'f' THEN
      PERFORM backfill.refuse('target', format('its partition %s is a foreign table', backfill.relation_name(part)),
                              'Insert a job for each partition that is a table of this server.', '42809');
    END IF;
    IF class.relkind = 'p' AND job.statement IS NULL THEN
      CONTINUE;  -- the leaves' keys count, unless there are none
    END IF;
    SELECT * INTO key FROM backfill.key_of(part, backfill.key_numbers(part, job.key));
    PERFORM backfill.check_collations(key);
    IF key.attnums IS NULL THEN
      PERFORM backfill.check_is_there(part, job);
      PERFORM backfill.refuse(CASE WHEN job.key IS NULL THEN 'target' ELSE 'key' END,
        CASE WHEN job.key IS NULL
             THEN format('%s has no key to walk by', backfill.relation_name(part))
             ELSE format('%s has no unique index on (%s) to walk by', backfill.relation_name(part), array_to_string(job.key, ', ')) END,
        'It needs a primary key, or a unique btree index on NOT NULL columns in their default order: CREATE UNIQUE INDEX CONCURRENTLY, then SET NOT NULL.',
        '42P16');
    END IF;
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

-- Whether a name can be told from others by who reads it: nothing in it is unseen, or looks like a plain blank.
CREATE OR REPLACE FUNCTION backfill.can_be_told(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT name ~ '^[^[:cntrl:]]+$' AND name = btrim(name)
         AND CASE WHEN getdatabaseencoding() = 'UTF8'
                  THEN name !~ '[\u00a0\u00ad\u034f\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]' ELSE true END
$$;

-- What each column may hold: said here, in words, before the table's own constraints would say it in theirs.
CREATE OR REPLACE FUNCTION backfill.check_values(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wrong record;
BEGIN
  SELECT v.name, v.value, v.takes INTO wrong
    FROM (VALUES
      (1, 'target', NULL, job.target IS NOT NULL, 'Name the table: target = ''app.orders''.'),
      (2, 'name', job.name, backfill.can_be_told(job.name), 'Give a name that people can type, without line breaks, control characters, or what can''t be seen: blanks at its ends, a blank of no width; left out, it is job- and a number.'),
      (3, 'keep_in_sync', NULL, job.keep_in_sync IS NOT NULL, 'It takes true or false; left out, it is false.'),
      (4, 'dry_run', NULL, job.dry_run IS NOT NULL, 'It takes true or false; left out, it is false.'),
      (5, 'scan', job.scan, job.scan IN ('auto', 'key', 'ctid'), 'It takes auto, key or ctid; left out, it is auto.'),
      (6, 'workers', job.workers::text, coalesce(job.workers BETWEEN 1 AND 64, true), 'It takes 1 to 64 sessions; left out, it is what the daemon''s file says.'),
      (7, 'target_ms', job.target_ms::text, coalesce(job.target_ms BETWEEN 1 AND 10000, true), 'It takes 1 to 10000 milliseconds; left out, it is what the daemon''s file says.'),
      (8, 'max_rows_per_s', job.max_rows_per_s::text, coalesce(job.max_rows_per_s > 0, true), 'It takes a number of rows above 0; left out, there is no such limit. backfill.pause(name) stops a job.'),
      (9, 'max_lag', job.max_lag::text, coalesce(job.max_lag > interval '0', true), 'It takes an interval above 0, ''5 s''; left out, it is what the daemon''s file says. throttle_off = ''{lag}'' is for a job that no standby is to slow down.'),
      (10, 'priority', job.priority::text, job.priority BETWEEN -100 AND 100, 'It takes -100 to 100, the higher the sooner; left out, it is 0.'),
      (11, 'on_error', job.on_error, job.on_error IN ('fail', 'quarantine'), 'It takes fail, which ends the job at a row that can''t be computed, or quarantine, which puts the row aside; left out, it is fail.'),
      (12, 'settings', job.settings::text, coalesce(jsonb_typeof(job.settings) = 'object', true), 'It takes a JSON object of names and values: ''{"work_mem": "64MB"}''.'),
      (13, 'wanted', job.wanted, job.wanted IN ('run', 'pause', 'cancel', 'finish', 'undo'), 'It takes run, pause, cancel, finish or undo.'),
      (14, 'asked', job.asked, coalesce(job.asked IN ('retry', 'forget'), true), 'Call backfill.retry(name) or backfill.forget(name).')) AS v(ord, name, value, is_right, takes)
   WHERE v.is_right IS NOT TRUE
   ORDER BY v.ord LIMIT 1;
  IF FOUND AND wrong.value IS NULL THEN
    PERFORM backfill.refuse(wrong.name, CASE wrong.name WHEN 'target' THEN 'is missing' ELSE 'may not be NULL' END, wrong.takes, '23502');
  ELSIF FOUND THEN
    PERFORM backfill.refuse(wrong.name, format('may not be %L', CASE WHEN length(wrong.value) > 60 THEN left(wrong.value, 57) || '...' ELSE wrong.value END), wrong.takes, '23514');
  END IF;
END
$$;

-- How long the texts of a job may be: a name is part of each notification, which has 8000 bytes; a clause of each statement of each partition,
-- which the daemon holds, and reads token by token.
CREATE OR REPLACE FUNCTION backfill.check_sizes(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  text  record;
BEGIN
  FOR text IN
    SELECT c.name, c.most, octet_length(c.value) AS size
      FROM (VALUES ('name', 200, job.name), ('add_column', 4000, job.add_column), ('set_clause', 32000, job.set_clause), ('where_clause', 32000, job.where_clause),
                   ('statement', 16000, job.statement), ('sync_back', 32000, job.sync_back), ('enforce', 32000, job.enforce::text),
                   ('drop_column', 200, job.drop_column), ('key', 4000, job.key::text), ('throttle_off', 1000, job.throttle_off::text),
                   ('settings', 8000, job.settings::text), ('ignore', 8000, job.ignore::text), ('search_path', 4000, job.search_path)) AS c(name, most, value)
     WHERE octet_length(c.value) > c.most
  LOOP
    PERFORM backfill.refuse(text.name, format('has %s bytes, and may have %s', text.size, text.most),
      CASE text.name WHEN 'search_path' THEN 'The session''s search_path is part of the job: SET it to the schemas that its clauses need.'
                     WHEN 'name' THEN 'It is the handle by which people call the job.'
                     ELSE 'What is longer belongs into a function that it calls.' END, '54000');
  END LOOP;
END
$$;

-- What a new job must be, column by column; raises at the first that is wrong. Returns it with what it left out.
CREATE OR REPLACE FUNCTION backfill.check_job(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql
AS $$
DECLARE
  key   backfill.walk_key;
  first pg_catalog.oid;
BEGIN
  PERFORM backfill.check_sizes(job);
  PERFORM backfill.check_values(job);
  PERFORM backfill.check_not_yet(job);
  PERFORM backfill.check_throttle_off(job);
  PERFORM backfill.check_active_hours(job);
  PERFORM backfill.check_settings(job);
  PERFORM backfill.check_combination(job);
  PERFORM backfill.check_ignore(job);
  key := backfill.check_target(job);
  PERFORM backfill.check_operators(key);
  IF job.drop_column IS NOT NULL THEN
    PERFORM backfill.check_drop_column(job);
  END IF;
  PERFORM backfill.check_may_write(job);
  PERFORM backfill.check_row_security(job);
  PERFORM backfill.check_rules(job);
  PERFORM backfill.check_text(c.name, c.clause)
     FROM (VALUES ('set_clause', job.set_clause), ('where_clause', job.where_clause), ('statement', job.statement), ('sync_back', job.sync_back)) AS c(name, clause);
  job := backfill.make_plan(job);
  PERFORM backfill.check_elsewhere(job);
  IF backfill.has_column(job) THEN
    first := coalesce((SELECT pg_catalog.min(o) FROM backfill.relations_of(job) o), job.target);  -- of a partitioned table a leaf, as a batch sees it
    PERFORM backfill.check_clauses(job, first, coalesce((SELECT k FROM backfill.key_of(first, backfill.key_numbers(first, job.key)) k), key));
  ELSE
    PERFORM backfill.check_can_update(job);
  END IF;
  PERFORM backfill.check_assigned(job, key.columns);
  RETURN job;
END
$$;

-- A job as it comes back with a dump: it keeps its state when it had ended, and else waits until its owner wants it here.
CREATE OR REPLACE FUNCTION backfill.restored(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  job.home := NULL;
  job.submitted_by_oid := NULL; job.owner_oid := NULL; job.ended_by_oid := NULL; job.ended_as_oid := NULL; job.laid_out := NULL;  -- of elsewhere
  job.holder_pid := NULL; job.holder_start := NULL; job.waiting_for := NULL; job.opens_at := NULL;
  IF job.state IN ('queued', 'running', 'paused') THEN
    job.state := 'paused';
    job.wanted := 'pause';
    job.error := 'restored from a dump, or by pg_upgrade: it waits for its owner';
    job.hint := format('SELECT backfill.resume(%L) goes on with it here, SELECT backfill.cancel(%L) ends it.', job.name, job.name);
  END IF;
  RETURN job;
END
$$;

-- A restored job is its owner's wish here, and its roles are those that bear the names. Its clauses are checked anew, in the names that it
-- was inserted in; its ranges when they are taken.
CREATE OR REPLACE FUNCTION backfill.take_over(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql
AS $$
DECLARE
  own_path pg_catalog.text := pg_catalog.current_setting('search_path');
BEGIN
  job.submitted_by_oid := backfill.role_oid(job.submitted_by);
  job.owner_oid := backfill.role_oid(job.owner);
  job.ended_by_oid := backfill.role_oid(job.ended_by);
  job.ended_as_oid := backfill.role_oid(job.ended_as);
  job.home := backfill.home(job.target);
  job.root := coalesce(pg_catalog.pg_partition_root(job.target), job.target);
  job.holder_pid := NULL; job.holder_start := NULL;
  IF job.wanted OPERATOR(pg_catalog.=) 'run' OR job.asked OPERATOR(pg_catalog.=) 'retry' THEN
    job.error := NULL; job.hint := NULL;
    IF job.owner_oid OPERATOR(pg_catalog.=) backfill.role_oid(current_user) THEN  -- another's rights tell nothing
      PERFORM pg_catalog.set_config('search_path', job.search_path, true);
      PERFORM backfill.check_job(job);
      PERFORM pg_catalog.set_config('search_path', own_path, true);
    END IF;
  END IF;
  RETURN job;
END
$$;

-- A new job, with what its session says of it: who, and the settings that its clauses depend on. own_path: its search_path, which this
-- function doesn't have.
CREATE OR REPLACE FUNCTION backfill.captured(job backfill.job, own_path text) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM backfill.check_outside();
  job.name         := coalesce(job.name, 'job-' || job.id);
  job.submitted_by_oid := backfill.login();
  job.submitted_by := backfill.role_name(job.submitted_by_oid);
  job.owner_oid    := backfill.role_oid(current_user);
  job.owner        := current_user;
  job.search_path  := own_path;
  job.time_zone    := current_setting('TimeZone');
  job.date_style   := 'ISO, ' || split_part(current_setting('DateStyle'), ', ', 2);
  job.session      := backfill.session_settings();
  job.root         := coalesce(pg_partition_root(job.target), job.target);
  job.home         := backfill.home(job.target);
  job.state        := CASE job.wanted WHEN 'pause' THEN 'paused' ELSE 'queued' END;
  job.phase        := 'preflight';
  job.submitted_at := clock_timestamp();
  job.error := NULL; job.hint := NULL; job.waiting_for := NULL; job.opens_at := NULL; job.report := NULL; job.estimate := NULL;
  job.holder_pid := NULL; job.holder_start := NULL; job.started_at := NULL; job.finished_at := NULL;
  job.plan := '{}'; job.tidy := false; job.before := NULL; job.after := NULL; job.laid_out := NULL; job.asked := NULL; job.again := NULL;
  job.stopped_by := NULL;
  IF NOT backfill.is_plain_caller() AND NOT (SELECT r.rolcanlogin FROM pg_roles r WHERE r.oid = job.submitted_by_oid) THEN
    PERFORM backfill.refuse('submitted_by', format('a function that runs with the rights of %I has inserted the job, and that role can''t log in', current_user),
                            'What such a function inserts is a job of its own role, whoever calls it. Insert the job outside of it, by a login of your own.', '42501');
  END IF;
  RETURN job;
END
$$;

-- Whether a job has that name. Asked of one that the caller doesn't see: with ON CONFLICT DO NOTHING its own would be there for nobody, and no word said.
CREATE OR REPLACE FUNCTION backfill.is_taken(name text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.job j WHERE j.name = is_taken.name)
$$;

-- Whether the caller has a job of that name: one's own, not one that one only sees, as pg_monitor does. A stranger's of the same text would else be
-- taken for the caller's, and run under the stranger's names.
CREATE OR REPLACE FUNCTION backfill.is_own_name(name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.job j WHERE j.name = is_own_name.name AND (NOT row_security_active('backfill.job') OR backfill.may_steer(j)))
$$;

-- A name that a job may give itself: not another's, nor one that a later job will get which gives itself none.
CREATE OR REPLACE FUNCTION backfill.check_own_name(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF job.name ~ '^job-[1-9][0-9]*$' AND substr(job.name, 5)::numeric > job.id THEN
    PERFORM backfill.refuse('name', format('"%s" is what a later job without a name is called', job.name), 'Give it another name, or none.', '42939');
  ELSIF backfill.is_taken(job.name) THEN
    PERFORM backfill.refuse('name', coalesce((SELECT format('"%s" is the name of another role''s job, which %s has submitted on %s', o.name, o.submitted_by, backfill.relation_name(o.target))
                                                FROM backfill.job o WHERE o.name = job.name), format('"%s" is the name of another role''s job', job.name)),
                            'Give it another name, or none. Whoever has the rights of pg_monitor sees whose it is.', '23505');
  END IF;
END
$$;

-- BEFORE INSERT: fills in who, and refuses what can be known to be wrong.
CREATE OR REPLACE FUNCTION backfill.job_before_insert() RETURNS trigger
LANGUAGE plpgsql SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
  again       pg_catalog.bool := false;
  message     pg_catalog.text;
  hint        pg_catalog.text;
  code        pg_catalog.text;
  column_name pg_catalog.text;
BEGIN
  IF NEW.submitted_by IS NOT NULL THEN
    RETURN backfill.restored(NEW);  -- nobody who submits jobs may write that column: a dump is being restored
  END IF;
  NEW := backfill.captured(NEW, pg_catalog.current_setting('search_path'));
  PERFORM backfill.claim_name(NEW.name);
  IF backfill.is_own_name(NEW.name) THEN
    again := true;  -- the unique constraint has its say, or ON CONFLICT DO NOTHING: a migration that runs again
  END IF;
  BEGIN
    IF again THEN
      PERFORM backfill.check_same(NEW);
      RETURN NEW;
    END IF;
    PERFORM backfill.check_own_name(NEW);
    NEW := backfill.check_job(NEW);
  EXCEPTION WHEN OTHERS THEN
    -- Said again from here, without the call stack that only backfilld's authors would read.
    GET STACKED DIAGNOSTICS
      message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE, column_name = COLUMN_NAME;
    RAISE EXCEPTION USING
      MESSAGE = message, HINT = hint, ERRCODE = code,
      SCHEMA = 'backfill', TABLE = 'job', COLUMN = column_name;
  END;
  RETURN backfill.keep_hours(NEW);
END
$$;

-- BEFORE INSERT, and before the other, in which standard_conforming_strings is on: a session that has it off reads '\n' in a statement of its own as a
-- line feed, and the job reads a backslash and an n.
CREATE OR REPLACE FUNCTION backfill.check_backslashes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  backslash constant text := chr(92);
  wrong     text;
BEGIN
  IF NEW.submitted_by IS NOT NULL OR current_setting('standard_conforming_strings')::boolean THEN
    RETURN NEW;
  END IF;
  SELECT c.name INTO wrong
    FROM (VALUES (1, 'add_column', ARRAY[NEW.add_column]), (2, 'set_clause', ARRAY[NEW.set_clause]), (3, 'where_clause', ARRAY[NEW.where_clause]),
                 (4, 'statement', ARRAY[NEW.statement]), (5, 'sync_back', ARRAY[NEW.sync_back]), (6, 'enforce', NEW.enforce)) AS c(ord, name, texts)
   WHERE EXISTS (SELECT FROM unnest(c.texts) AS t(text), unnest(CASE WHEN strpos(t.text, backslash) > 0 AND octet_length(t.text) <= 32000 THEN backfill.tokens(t.text) END) AS x(token)
                  WHERE strpos(x.token, backslash) > 0 AND left(x.token, 1) = '''')
   ORDER BY c.ord LIMIT 1;
  IF wrong IS NOT NULL THEN
    PERFORM backfill.refuse(wrong, 'has a backslash within ''…'', which this session reads as an escape (standard_conforming_strings is off), and a job as itself',
                            'SET standard_conforming_strings = on and insert it again: then a backslash is one. What is to be an escape, write as E''…''.');
  END IF;
  RETURN NEW;
END
$$;

-- Refuses to take the trigger out while it alone fills a column that must not be NULL: of an INSERT by code that knows the new column alone, which is
-- what the end of a migration is for.
CREATE OR REPLACE FUNCTION backfill.check_finish(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name  text := backfill.relation_name(job.target);
  needs text[] := ARRAY(
    SELECT quote_ident(a.attname) FROM pg_attribute a
     WHERE a.attrelid = job.target AND a.attname = ANY (backfill.filled_columns(job.sync_back)) AND NOT a.attisdropped
       AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
       AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey::smallint[]))
     ORDER BY a.attnum);
BEGIN
  IF needs <> '{}' THEN
    PERFORM backfill.refuse('wanted', format('job %I fills %s of %s by sync_back, which may not be NULL and has no default: once its trigger is gone, an INSERT that leaves it out fails',
                                             job.name, array_to_string(needs, ', '), name),
      format('ALTER TABLE %s %s, then finish it. Where all code goes on writing it, SET DEFAULT does as well, and can go afterwards.', name,
             (SELECT string_agg(format('ALTER COLUMN %s DROP NOT NULL', n), ', ' ORDER BY ord) FROM unnest(needs) WITH ORDINALITY AS u(n, ord))), '55000');
  END IF;
END
$$;

-- What the owner of a table may ask of another's job on it: to let go of the table. It runs with the rights of who chose its text, so it is
-- for them to have it go on.
CREATE OR REPLACE FUNCTION backfill.check_stop(old backfill.job, new backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF OLD.state = 'running' AND OLD.wanted IN ('cancel', 'undo') AND NEW.wanted <> OLD.wanted THEN
    RAISE EXCEPTION 'job "%" is being cancelled', OLD.name USING ERRCODE = '55000', HINT = 'When backfill.status says "cancelled", the table is free.';
  ELSIF NEW.wanted = 'pause' AND OLD.state IN ('succeeded', 'failed', 'cancelled') THEN
    RAISE EXCEPTION 'job "%" of % has ended: it %', OLD.name, OLD.submitted_by, CASE OLD.state WHEN 'cancelled' THEN 'was cancelled' ELSE OLD.state END
      USING ERRCODE = '55000', HINT = format('SELECT backfill.cancel(%L) takes out of the table what it may have left there.', OLD.name);
  END IF;
END
$$;

-- What a changed job becomes: what a user wants of one that no daemon holds is done here and now. Whose login is gone, it is ended by whoever
-- asks for that, with our own commands alone; and run again by whoever asks for that, by their own login, for then they mean its text.
-- cancel and undo of a job that has ended take back what it left, so that a migration's way down works whenever it is called. The owner of its table,
-- who has no say in it else, may have it paused or cancelled: backfill.check_stop.
CREATE OR REPLACE FUNCTION backfill.change_job(old backfill.job, new backfill.job) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  ends  constant boolean := NEW.asked IS NULL AND NEW.wanted IN ('cancel', 'finish', 'undo');
  ended constant boolean := OLD.state IN ('succeeded', 'failed', 'cancelled');
BEGIN
  PERFORM backfill.check_outside();
  IF row_security_active('backfill.job') AND NOT backfill.may_steer(OLD) THEN  -- as the owner of its table
    PERFORM backfill.check_stop(OLD, NEW);
    NEW.stopped_by := CASE NEW.wanted WHEN OLD.wanted THEN OLD.stopped_by ELSE backfill.role_name(backfill.login()) END;
  ELSIF NEW.wanted <> OLD.wanted THEN
    NEW.stopped_by := NULL;
  END IF;
  PERFORM backfill.check_values(NEW);
  PERFORM backfill.check_not_yet(NEW);
  IF NEW.throttle_off IS DISTINCT FROM OLD.throttle_off THEN
    PERFORM backfill.check_sizes(NEW);
  END IF;
  PERFORM backfill.check_throttle_off(NEW);
  IF NEW.active_hours IS DISTINCT FROM OLD.active_hours THEN
    PERFORM backfill.check_active_hours(NEW);
  END IF;
  IF OLD.state <> 'running' AND NEW.state = OLD.state AND NOT backfill.login_is_there(OLD)
     AND (backfill.login_of(OLD) IS DISTINCT FROM backfill.login() OR backfill.role_name(backfill.role_of(OLD)) IS NULL)
     AND backfill.is_plain_caller() AND backfill.may_end(OLD) THEN
    IF ends THEN
      NEW.ended_by := session_user;
      NEW.ended_as := current_user;
      NEW.ended_by_oid := backfill.role_oid(session_user);
      NEW.ended_as_oid := backfill.role_oid(current_user);
    ELSIF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) THEN
      NEW.submitted_by := session_user;
      NEW.owner := current_user;
      NEW.submitted_by_oid := backfill.role_oid(session_user);
      NEW.owner_oid := backfill.role_oid(current_user);
    END IF;
  END IF;

  IF NEW.asked IS NOT NULL THEN
    RETURN backfill.check_asked(OLD, NEW);
  END IF;

  IF ends AND ended AND NEW.state = OLD.state THEN
    IF NEW.wanted = 'finish' AND OLD.state <> 'cancelled' AND NOT OLD.keep_in_sync AND NOT OLD.tidy THEN
      PERFORM backfill.refuse('wanted', format('job %I keeps nothing in step, so there is nothing to finish', OLD.name),
                              'finish is for jobs with keep_in_sync.', '55000');
    END IF;
    IF NEW.wanted = 'finish' AND OLD.wanted <> 'finish' AND OLD.state = 'succeeded' THEN
      PERFORM backfill.check_finish(OLD);
    END IF;
    IF NEW.wanted = 'undo' AND OLD.wanted = 'finish' AND OLD.state = 'succeeded' THEN
      PERFORM backfill.refuse('wanted', format('job %I was finished: what it added is the application''s', OLD.name),
                              'Take it out by hand, or by a job with drop_column, which looks for what still uses it.', '55000');
    ELSIF NEW.wanted = 'undo' AND OLD.add_column IS NULL AND NOT OLD.keep_in_sync AND OLD.enforce IS NULL THEN
      PERFORM backfill.refuse('wanted', format('job %I has added nothing to its table', OLD.name),
                              'undo takes back a column, a trigger and constraints; values that were filled, rows and columns that are gone do not come back.', '55000');
    END IF;
    NEW.state := CASE NEW.wanted WHEN 'finish' THEN OLD.state ELSE 'cancelled' END;
    IF NEW.state = 'cancelled' THEN  -- why it failed before is no concern of it any more
      NEW.error := NULL;
      NEW.hint := NULL;
    END IF;
    NEW.tidy := OLD.tidy OR (OLD.before IS NOT NULL AND backfill.has_remains(NEW));  -- asked again, it is looked for again
    RETURN backfill.keep_hours(NEW);
  END IF;

  IF NEW.wanted = OLD.wanted THEN
    RETURN backfill.keep_hours(NEW);
  END IF;
  IF OLD.wanted IN ('cancel', 'undo') AND OLD.state = 'running' AND NOT (OLD.wanted = 'cancel' AND NEW.wanted = 'undo') THEN
    PERFORM backfill.refuse('wanted', format('job %I is being cancelled', OLD.name),
                            format('When it is: SELECT backfill.forget(%L) and insert it again, or insert one of another name.', OLD.name), '55000');
  ELSIF NEW.wanted = 'finish' THEN
    PERFORM backfill.refuse('wanted', format('job %I is %s', OLD.name, OLD.state),
                            'finish is for a job that has succeeded or failed; cancel ends one that has not.', '55000');
  ELSIF ended AND NEW.state = OLD.state THEN
    PERFORM backfill.refuse('wanted', format('job %I has ended: it %s', OLD.name, CASE OLD.state WHEN 'cancelled' THEN 'was cancelled' ELSE OLD.state END),
                            backfill.what_now(OLD), '55000');
  ELSIF OLD.state IN ('queued', 'paused') THEN
    NEW.state := CASE NEW.wanted WHEN 'run' THEN 'queued' WHEN 'pause' THEN 'paused' ELSE 'cancelled' END;
    IF NEW.state = 'cancelled' THEN
      NEW.finished_at := clock_timestamp();
      NEW.tidy := OLD.tidy OR (NEW.wanted = 'undo' AND OLD.before IS NOT NULL);
    END IF;
  END IF;
  RETURN backfill.keep_hours(NEW);
END
$$;

-- What can be done with a job as it stands, for who wished for something else.
CREATE OR REPLACE FUNCTION backfill.what_now(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE job.state
    WHEN 'queued' THEN 'It is in the queue already: throttled_by in backfill.status says what it waits for.'
    WHEN 'running' THEN 'It runs already: throttled_by in backfill.status says what it waits for.'
    WHEN 'paused' THEN format('SELECT backfill.resume(%L) goes on with it.', job.name)
    WHEN 'cancelled' THEN format('A cancelled job doesn''t go on: SELECT backfill.forget(%L) and insert it again, or insert one of another name.', job.name)
    ELSE CASE
      WHEN job.wanted = 'finish' THEN format('What was finished doesn''t run again: SELECT backfill.forget(%L) and insert it again, or insert one of another name.', job.name)
      WHEN job.state = 'failed' THEN format('SELECT backfill.retry(%L) runs it again, from where it stood; error and hint in backfill.job say what to mend first.', job.name)
      WHEN EXISTS (SELECT FROM backfill.left_behind l WHERE l.job_id = job.id) THEN format('SELECT backfill.retry(%L) runs the rows again that it left behind.', job.name)
      ELSE 'It has done all that it was for.' || CASE WHEN job.keep_in_sync THEN format(' Its trigger goes with SELECT backfill.finish(%L).', job.name) ELSE '' END END END
$$;

-- Whether a job may be run again, or forgotten; what it is asked for is done by triggers of the schema's owner: job_retry, job_forget.
CREATE OR REPLACE FUNCTION backfill.check_asked(old backfill.job, new backfill.job) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  NEW.wanted := OLD.wanted;  -- one wish at a time
  IF NEW.asked = 'retry' THEN
    IF OLD.state NOT IN ('succeeded', 'failed') OR OLD.wanted = 'finish' THEN
      RAISE EXCEPTION 'job "%" %', OLD.name, CASE WHEN OLD.wanted = 'finish' THEN 'was finished' ELSE 'is ' || OLD.state END
        USING ERRCODE = '55000', HINT = backfill.what_now(OLD);
    ELSIF backfill.who_is_gone(NEW) IS NOT NULL THEN
      RAISE EXCEPTION 'job "%": %', OLD.name, backfill.who_is_gone(NEW) USING ERRCODE = '42704', HINT = backfill.login_is_gone(NEW);
    END IF;
  ELSIF OLD.state NOT IN ('succeeded', 'failed', 'cancelled') THEN
    RAISE EXCEPTION 'job "%" is %', OLD.name, OLD.state USING ERRCODE = '55000', HINT = 'forget is for a job that has ended; cancel ends one.';
  ELSIF backfill.is_untidy(OLD) OR (OLD.keep_in_sync AND OLD.tidy)
        OR (OLD.wanted = 'undo' AND OLD.add_column IS NOT NULL AND backfill.has_column(OLD) AND NOT backfill.had_column(OLD)) THEN
    RAISE EXCEPTION 'job "%" has left something in its table', OLD.name USING ERRCODE = '55000', 
      HINT = CASE WHEN OLD.wanted IN ('cancel', 'finish', 'undo') THEN 'A daemon takes it out, and backfill.status says what it waits for; then the job can be forgotten.'
                  ELSE format('First SELECT backfill.finish(%L), which takes its trigger out, or backfill.undo(%L), which takes out all that it added.', OLD.name, OLD.name) END;
  END IF;
  RETURN NEW;
END
$$;

-- Whether an UPDATE of a restored job is the wish to have it here.
CREATE OR REPLACE FUNCTION backfill.is_wanted_here(old backfill.job, new backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (new.wanted = 'finish' OR new.asked = 'retry' OR new.wanted <> 'pause' AND (new.wanted <> old.wanted OR new.state <> old.state))
     AND NOT backfill.is_here(old)
$$;

-- Whether what is wanted of a job is not the caller's to ask, who only sees it as the owner of its table: anything but to pause and to cancel it. What
-- is wanted of all that one sees then passes it by: a stranger's job is no reason to fail.
CREATE OR REPLACE FUNCTION backfill.is_not_asked(old backfill.job, new backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT row_security_active('backfill.job') AND NOT backfill.may_steer(old)
     AND (new.wanted NOT IN ('pause', 'cancel') OR to_jsonb(new) - 'wanted' <> to_jsonb(old) - 'wanted')
$$;

-- BEFORE UPDATE. A refusal is said again from here, without the call stack.
CREATE OR REPLACE FUNCTION backfill.job_before_update() RETURNS trigger
LANGUAGE plpgsql SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
  message     pg_catalog.text;
  hint        pg_catalog.text;
  code        pg_catalog.text;
  column_name pg_catalog.text;
BEGIN
  IF backfill.is_not_asked(OLD, NEW) THEN
    RETURN NULL;
  END IF;
  IF backfill.is_wanted_here(OLD, NEW) THEN
    NEW := backfill.take_over(NEW);
  END IF;
  RETURN backfill.change_job(OLD, NEW);
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS
    message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE, column_name = COLUMN_NAME;
  RAISE EXCEPTION USING
    MESSAGE = message, HINT = hint, ERRCODE = code,
    SCHEMA = 'backfill', TABLE = 'job', COLUMN = column_name;
END
$$;

-- AFTER INSERT OR UPDATE: tells daemons and applications. Row contents and errors stay out: any role may LISTEN. A name that is longer
-- than a notification may be (check_sizes refuses it; an earlier version didn't) is left out: nobody's change fails for it.
CREATE OR REPLACE FUNCTION backfill.job_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pg_notify('backfill', jsonb_strip_nulls(jsonb_build_object(
    'job', NEW.id, 'name', CASE WHEN octet_length(NEW.name) <= 1000 THEN NEW.name END, 'target', backfill.relation_name(NEW.target),
    'state', NEW.state, 'phase', NEW.phase, 'wanted', NEW.wanted))::text);
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER job_backslashes BEFORE INSERT ON backfill.job  -- by its name it is the first
  FOR EACH ROW EXECUTE FUNCTION backfill.check_backslashes();
CREATE OR REPLACE TRIGGER job_before_insert BEFORE INSERT ON backfill.job
  FOR EACH ROW EXECUTE FUNCTION backfill.job_before_insert();
CREATE OR REPLACE TRIGGER job_before_update
  BEFORE UPDATE OF wanted, priority, workers, target_ms, max_rows_per_s, max_lag, throttle_off, on_error, active_hours, asked ON backfill.job
  FOR EACH ROW EXECUTE FUNCTION backfill.job_before_update();
CREATE OR REPLACE TRIGGER job_notify_insert AFTER INSERT ON backfill.job
  FOR EACH ROW EXECUTE FUNCTION backfill.job_notify();
CREATE OR REPLACE TRIGGER job_notify_update AFTER UPDATE ON backfill.job
  FOR EACH ROW WHEN ((OLD.state, OLD.phase, OLD.wanted, OLD.target_ms, OLD.max_rows_per_s, OLD.on_error, OLD.max_lag, OLD.throttle_off, OLD.active_hours)
                     IS DISTINCT FROM
                     (NEW.state, NEW.phase, NEW.wanted, NEW.target_ms, NEW.max_rows_per_s, NEW.on_error, NEW.max_lag, NEW.throttle_off, NEW.active_hours)
        OR (NEW.tidy AND NOT OLD.tidy))
  EXECUTE FUNCTION backfill.job_notify();
