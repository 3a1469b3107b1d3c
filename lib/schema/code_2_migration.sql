-- What a job's add_column, keep_in_sync and enforce mean. The server reads them, by planning statements that are never
-- run: nothing is made, and nothing is asked for that the job itself does not need. It runs with the rights of whoever inserts
-- the job. What was read is kept in job.plan:
--   column   {name, type, collation}: what add_column adds
--   sync     what the trigger of keep_in_sync computes: code_4_sync.sql
--   enforce  [{kind, name, definition, column | columns, existing, in_catalog, index, timing}]: kind is 'not null', 'check', 'foreign key'
--            or 'unique'; definition: of a CHECK as it was written, else as the catalog writes it; existing: the table had the
--            constraint before, it is not the job's; in_catalog: what the catalog says of a CHECK that is there; index: what stands
--            after USING; timing: DEFERRABLE, of a unique one

-- The statement that makes an empty copy of a table, called as the table is, so that its own name may stand in clauses.
CREATE OR REPLACE FUNCTION backfill.copy_statement(target oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('CREATE TEMPORARY TABLE %I (LIKE %s INCLUDING GENERATED)', c.relname, backfill.relation_name(c.oid))
    FROM pg_class c WHERE c.oid = target
$$;

-- The tokens of an SQL text, without white space and comments. word: an unquoted name in lower case, whatever the locale, else as
-- written; at: where it begins; depth: in how many brackets it stands, both brackets of a pair in as many.
CREATE OR REPLACE FUNCTION backfill.token_places(clause text) RETURNS TABLE (ord integer, word text, at integer, depth integer)
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS $$
DECLARE
  token text;
  place integer := 1;
  level integer := 0;
BEGIN
  ord := 0;
  FOREACH token IN ARRAY backfill.tokens(clause) LOOP
    IF btrim(token, E' \n\r\t\f\x0b') <> '' AND left(token, 2) NOT IN ('--', '/*') THEN
      ord := ord + 1;
      word := CASE WHEN token !~ '[''"]' AND left(token, 1) <> '$' THEN lower(token COLLATE "C") ELSE token END;
      at := place;
      level := level - CASE WHEN token IN (')', ']') THEN 1 ELSE 0 END;
      depth := level;
      level := level + CASE WHEN token IN ('(', '[') THEN 1 ELSE 0 END;
      RETURN NEXT;
    END IF;
    place := place + length(token);
  END LOOP;
END
$$;

-- The same in a line, one blank between two.
CREATE OR REPLACE FUNCTION backfill.normal_sql(clause text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(t.word, ' ' ORDER BY t.ord), '') FROM backfill.token_places(clause) t
$$;

-- The names in a list of columns, as the catalog has them; NULL where one is no name.
CREATE OR REPLACE FUNCTION backfill.names_in(list text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(backfill.assigned_column(n) ORDER BY ord) FROM unnest(backfill.split_at(list, ',')) WITH ORDINALITY AS u(n, ord)
$$;

-- Stands for a table in a FROM clause: a function's rows with all the table's columns, and the one that add_column says, called as
-- the table is. What is planned on it needs no table, no right to it and no row of it, and its names are the server's to look up.
-- system: with the columns that each row of a table has besides.
CREATE OR REPLACE FUNCTION backfill.stand_in(job backfill.job, system boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('pg_catalog.json_to_record(''{}'') AS %I(%s)', c.relname, string_agg(format('%I %s%s', a.name, a.type, ' COLLATE ' || a.collation), ', ' ORDER BY a.ord))
    FROM pg_class c,
         LATERAL (
           SELECT a.attnum AS ord, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
                  CASE WHEN a.attcollation NOT IN (0, y.typcollation) THEN (SELECT format('%I.%I', n.nspname, l.collname)
                                                                     FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                                                                    WHERE l.oid = a.attcollation) END AS collation
             FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
            WHERE a.attrelid = c.oid AND NOT a.attisdropped AND (a.attnum > 0 OR system)
           UNION ALL
           SELECT 2000, job.plan -> 'column' ->> 'name', job.plan -> 'column' ->> 'type', job.plan -> 'column' ->> 'collation'
            WHERE NOT backfill.has_column(job)) a
   WHERE c.oid = job.target
   GROUP BY c.relname
$$;

-- What add_column says, taken apart: a name, a type and perhaps a collation, as written.
CREATE OR REPLACE FUNCTION backfill.split_column(add_column text, OUT name text, OUT type text, OUT collation_name text)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  hint   constant text := 'Write a name and a type: ''amount_cents bigint''.';
  first  integer := (SELECT t.at FROM backfill.token_places(add_column) t WHERE t.ord = 2);
  mark   integer;
  more   text;
BEGIN
  name := backfill.assigned_column(add_column);
  IF name IS NULL OR first IS NULL THEN
    PERFORM backfill.refuse('add_column', 'is not one column', hint, '42601');
  ELSIF cardinality(backfill.split_at(add_column, ',')) > 1 THEN
    PERFORM backfill.refuse('add_column', 'is not one column', 'Add the further ones yourself (ALTER TABLE … ADD COLUMN …), or by jobs of their own.', '42601');
  END IF;
  SELECT t.word INTO more FROM backfill.token_places(add_column) t
   WHERE t.ord > 2 AND t.depth = 0
     AND t.word IN ('not', 'null', 'default', 'primary', 'unique', 'check', 'references', 'generated', 'constraint', 'compression', 'storage', 'options')
   LIMIT 1;
  IF more IS NOT NULL THEN
    PERFORM backfill.refuse('add_column', format('%I says more than a type', name),
      format('The column is added nullable and without a default, so that nobody waits; write constraints into enforce, as ''{NOT NULL %I}''.', name), '0A000');
  END IF;
  SELECT t.at INTO mark FROM backfill.token_places(add_column) t WHERE t.ord > 2 AND t.depth = 0 AND t.word = 'collate' ORDER BY t.ord LIMIT 1;
  type := backfill.trim_sql(substr(add_column, first, coalesce(mark - first, length(add_column))));
  collation_name := backfill.trim_sql(substr(add_column, mark + length('collate')));
  IF collation_name IS NOT NULL AND backfill.normal_sql(collation_name) !~ '^(?:"(?:[^"]|"")+"|[^ "().,]+)(?: \. (?:"(?:[^"]|"")+"|[^ "().,]+))?$' THEN
    PERFORM backfill.refuse('add_column', format('syntax error at or near "%s"', collation_name), hint, '42601');
  END IF;
END
$$;

-- What makes a column of that type more than nullable and empty: a default, or a constraint of the type itself or of a domain under
-- it. Every row would have the default, and be done; or the table is written anew while everybody waits.
CREATE OR REPLACE FUNCTION backfill.rule_of_type(type oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE chain AS (
    SELECT rule_of_type.type AS oid, 0 AS depth
    UNION ALL
    SELECT t.typbasetype, chain.depth + 1 FROM chain JOIN pg_type t ON t.oid = chain.oid AND t.typtype = 'd'
  )
  SELECT CASE WHEN t.typdefault IS NOT NULL OR t.typdefaultbin IS NOT NULL THEN 'a default' WHEN t.typnotnull THEN 'a NOT NULL' ELSE 'a CHECK' END
         || ' of its own' || CASE depth WHEN 0 THEN '' ELSE ', by ' || format_type(t.oid, NULL) END
    FROM chain JOIN pg_type t ON t.oid = chain.oid
   WHERE t.typdefault IS NOT NULL OR t.typdefaultbin IS NOT NULL OR t.typnotnull OR EXISTS (SELECT FROM pg_constraint k WHERE k.contypid = t.oid)
   ORDER BY depth LIMIT 1
$$;

-- The type under a chain of domains as SQL has it, with its length.
CREATE OR REPLACE FUNCTION backfill.type_under(type oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE chain AS (
    SELECT t.typbasetype AS oid, t.typtypmod AS typmod, 0 AS depth FROM pg_type t WHERE t.oid = type_under.type AND t.typtype = 'd'
    UNION ALL
    SELECT t.typbasetype, greatest(t.typtypmod, chain.typmod), chain.depth + 1 FROM chain JOIN pg_type t ON t.oid = chain.oid AND t.typtype = 'd'
  )
  SELECT format_type(oid, typmod) FROM chain ORDER BY depth DESC LIMIT 1
$$;

-- A type as any session may write it. written: as the server has written it for the session that asks, with its length.
CREATE OR REPLACE FUNCTION backfill.type_name(type oid, written text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN t.typtype = 'd' THEN format_type(t.oid, NULL)
              WHEN coalesce(e.typnamespace, t.typnamespace) = 'pg_catalog'::regnamespace THEN written
              ELSE format_type(coalesce(e.oid, t.oid), NULL) || coalesce(substring(written, '\([^()"]*\)(?:\[\])?$'), CASE WHEN e.oid IS NULL THEN '' ELSE '[]' END) END
    FROM pg_type t
    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
   WHERE t.oid = type
$$;

-- Whether the catalog lets a job add the column: refuses it otherwise, with what to write instead. written: the type as the server
-- writes it for the session that inserts the job.
CREATE OR REPLACE FUNCTION backfill.check_column(job backfill.job, name text, type oid, written text, collation_oid oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  table_name text := backfill.relation_name(job.target);
  full_name  text := backfill.type_name(type, written);
  rule       text := backfill.rule_of_type(type);
  class      pg_class;
  had        record;
  full_one   oid;
BEGIN
  SELECT * INTO class FROM pg_class c WHERE c.oid = job.target;
  SELECT a.atttypid, a.attgenerated, backfill.type_name(a.atttypid, format_type(a.atttypid, a.atttypmod)) AS type INTO had
    FROM pg_attribute a
   WHERE a.attrelid = job.target AND a.attname = name AND NOT a.attisdropped;
  IF had.type IS NOT NULL AND had.type <> full_name THEN
    PERFORM backfill.refuse('add_column', format('%s has a column %I already, of type %s', table_name, name, had.type),
                            'Choose another name, or the type that it has.', '42701');
  ELSIF had.attgenerated <> '' THEN
    PERFORM backfill.refuse('add_column', format('%I is a generated column', name), 'The server computes it itself.', '42601');
  ELSIF had.type IS NOT NULL THEN
    NULL;  -- it is there, whoever has added it
  ELSIF NOT pg_has_role(class.relowner, 'USAGE') THEN
    PERFORM backfill.refuse('add_column', format('only the owner of %s can add a column', table_name),
                            format('Insert the job as %1$s, or SET ROLE %1$s first.', backfill.acting_owner(class.relowner)), '42501');
  ELSIF (SELECT t.typtype = 'p' FROM pg_type t WHERE t.oid = type) THEN
    PERFORM backfill.refuse('add_column', format('column %I has pseudo-type %s', name, full_name), 'Choose a type of values.', '42P16');
  ELSIF (SELECT t.typnamespace = pg_my_temp_schema() FROM pg_type t WHERE t.oid = type) THEN
    PERFORM backfill.refuse('add_column', format('type %s is temporary', full_name), 'Other sessions can''t see it; choose another.', '42P16');
  ELSIF NOT has_type_privilege(type, 'USAGE') THEN
    PERFORM backfill.refuse('add_column', format('%I may not use type %s', current_user, full_name), format('GRANT USAGE ON TYPE %s TO %I.', full_name, current_user), '42501');
  ELSIF rule IS NOT NULL AND backfill.type_under(type) IS NULL THEN
    PERFORM backfill.refuse('add_column', format('type %s has %s', full_name, rule), 'Every row would have it at once. Choose a type without a default.', '0A000');
  ELSIF rule IS NOT NULL THEN
    PERFORM backfill.refuse('add_column', format('type %s has %s', full_name, rule),
      format('Every row would have the default, or be written anew while everybody waits. Write the type under it, ''%I %s'', and what the domain demands into enforce.',
             name, backfill.type_under(type)), '0A000');
  ELSIF class.relispartition THEN
    PERFORM backfill.refuse('add_column', format('%s is a partition, which has the columns of its parent', table_name),
                            format('Insert the job for %s.', backfill.relation_name(pg_partition_root(job.target))), '42P16');
  ELSIF class.reloftype <> 0 THEN
    PERFORM backfill.refuse('add_column', format('%s is a table of type %s, which has its columns', table_name, format_type(class.reloftype, NULL)),
                            format('ALTER TYPE %s ADD ATTRIBUTE %I %s CASCADE, and insert the job without add_column.', format_type(class.reloftype, NULL), name, full_name), '42809');
  END IF;
  IF had.type IS NULL THEN
    SELECT c.oid INTO full_one
      FROM (SELECT job.target::oid AS oid UNION SELECT t.relid FROM pg_partition_tree(job.target) t) r JOIN pg_class c ON c.oid = r.oid
     WHERE c.relnatts >= 1600 LIMIT 1;
    IF FOUND THEN
      PERFORM backfill.refuse('add_column', format('%s has had 1600 columns, those that were dropped among them: there is room for no more', backfill.relation_name(full_one)),
                              'Only a new table has: CREATE TABLE … (LIKE …), copy the rows, and rename it.', '54011');
    END IF;
  END IF;
  RETURN jsonb_build_object('name', name, 'type', full_name,
                            'collation', (SELECT format('%I.%I', n.nspname, l.collname)
                                            FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace JOIN pg_type y ON y.oid = type
                                           WHERE l.oid = collation_oid AND l.oid <> y.typcollation));
END
$$;

-- Reads add_column: the server reads the type, in two places where a type may stand: a text that fits both is one and nothing else.
CREATE OR REPLACE FUNCTION backfill.read_column(job backfill.job) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  said          record;
  written       pg_catalog.text;
  type          pg_catalog.oid;
  collation_oid pg_catalog.oid;
BEGIN
  SELECT * INTO said FROM backfill.split_column(job.add_column);
  written := pg_catalog.jsonb_extract_path_text(backfill.check_plan('add_column', pg_catalog.format(E'SELECT CAST(NULL AS %s\n)', said.type), false), 'Output', '0');
  PERFORM backfill.check_plan('add_column', pg_catalog.format(E'SELECT NULL::%s\n', said.type), false);
  PERFORM backfill.check_plan('add_column', pg_catalog.format(E'SELECT FROM pg_catalog.json_to_record(''{}'') AS x(c %s\n)', said.type), false);
  EXECUTE pg_catalog.format(E'SELECT pg_catalog.pg_typeof((SELECT x.c FROM pg_catalog.json_to_record(''{}'') AS x(c %s\n) LIMIT 0))::pg_catalog.oid', said.type) INTO type;
  IF said.collation_name IS NOT NULL THEN
    PERFORM backfill.check_plan('add_column', pg_catalog.format(E'SELECT CAST(NULL AS %s\n) COLLATE %s', said.type, said.collation_name), false);
    collation_oid := pg_catalog.to_regcollation(said.collation_name);
  END IF;
  RETURN backfill.check_column(job, said.name, type, pg_catalog.regexp_replace(written, '^NULL::', ''), collation_oid);
END
$$;

-- Refuses a job that would create something beside the table in a schema where its owner may not.
CREATE OR REPLACE FUNCTION backfill.check_schema_right(job backfill.job, column_name text, what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  schema regnamespace := (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = job.target);
BEGIN
  IF NOT pg_catalog.has_schema_privilege(schema::oid, 'CREATE') THEN
    PERFORM backfill.refuse(column_name, pg_catalog.format('%I may not create %s in schema %s', current_user, what, schema),
                            pg_catalog.format('GRANT CREATE ON SCHEMA %s TO %I.', schema, current_user), '42501');
  END IF;
END
$$;

-- What pg_get_constraintdef says of a constraint, but for its being NOT VALID.
CREATE OR REPLACE FUNCTION backfill.constraint_says(constraint_oid oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT regexp_replace(pg_get_constraintdef(constraint_oid), ' NOT VALID$', '')
$$;

-- The definition of a table's constraint of that name, when it is another than this one.
CREATE OR REPLACE FUNCTION backfill.other_constraint(target oid, name text, definition text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pg_get_constraintdef(k.oid)
    FROM pg_constraint k
   WHERE k.conrelid = target AND k.conname = name AND backfill.constraint_says(k.oid) <> definition
$$;

-- Whether another job, which has not ended, will give a constraint of the table that name. It sees jobs of all roles, and tells no more.
CREATE OR REPLACE FUNCTION backfill.is_promised(job backfill.job, name text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.job j, jsonb_array_elements(j.plan -> 'enforce') i
                  WHERE j.target = job.target AND j.id <> job.id AND j.state IN ('queued', 'running', 'paused') AND NOT j.dry_run
                    AND NOT (i -> 'existing')::boolean AND i ->> 'name' = is_promised.name)
$$;

-- A name for a constraint, as the server would choose it; a number behind it when another constraint or index has it, or will have
-- it. taken: the names of the job's other items.
CREATE OR REPLACE FUNCTION backfill.constraint_name(job backfill.job, middle text, ending text, definition text, taken text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  class pg_class;
  stem  text;
  name  text;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = job.target;
  stem := class.relname || coalesce('_' || middle, '');
  WHILE octet_length(stem) > 63 - length(ending) - 4 LOOP  -- the server counts bytes; four for "_" and a number
    stem := left(stem, -1);
  END LOOP;
  FOR n IN 0 .. 999 LOOP
    name := stem || '_' || ending || coalesce(nullif(n, 0)::text, '');
    EXIT WHEN backfill.other_constraint(job.target, name, definition) IS NULL
          AND name <> ALL (taken)
          AND NOT backfill.is_promised(job, name)
          AND NOT EXISTS (SELECT FROM pg_class i
                           WHERE i.relnamespace = class.relnamespace AND i.relname = name
                             AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.conrelid = job.target));
  END LOOP;
  RETURN name;
END
$$;

-- Refuses a name that an item gives itself when another constraint or index has it, or will have it.
CREATE OR REPLACE FUNCTION backfill.check_given_name(job backfill.job, given text, definition text, taken text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other text := backfill.other_constraint(job.target, given, definition);
BEGIN
  IF other IS NOT NULL THEN
    PERFORM backfill.refuse('enforce', format('constraint %I of %s is another: %s', given, backfill.relation_name(job.target), other),
                            'Give it another name, or none.', '42710');
  ELSIF given = ANY (taken) OR backfill.is_promised(job, given) THEN
    PERFORM backfill.refuse('enforce', format('%s gets another constraint %I already, by %s', backfill.relation_name(job.target), given,
                                              CASE WHEN given = ANY (taken) THEN 'this job' ELSE 'a job that has not ended' END),
                            'Give it another name, or none.', '42710');
  ELSIF EXISTS (SELECT FROM pg_class i
                 WHERE i.relname = given AND i.relnamespace = (SELECT c.relnamespace FROM pg_class c WHERE c.oid = job.target)
                   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.conrelid = job.target)) THEN
    PERFORM backfill.refuse('enforce', format('%I is the name of an index or a table that is there', given),
                            'Give it another name, or none; drop an index that was left behind invalid.', '42P07');
  END IF;
END
$$;

-- Whether a table has a constraint of that name and definition.
CREATE OR REPLACE FUNCTION backfill.has_constraint(target oid, name text, definition text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = target AND k.conname = name AND backfill.constraint_says(k.oid) = definition)
$$;

-- Takes one item of enforce apart, by its tokens. {given, kind}, and
--   not null     columns, of one
--   check        expression, as written; inherit: false with NO INHERIT
--   foreign key  columns, references, referenced, actions: as the catalog writes what stands behind
--   unique       columns, include, distinct: false with NULLS NOT DISTINCT, parameters: as the catalog writes WITH
--   and of the last two timing: DEFERRABLE and INITIALLY DEFERRED, as the catalog writes them
CREATE OR REPLACE FUNCTION backfill.parse_item(item text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS $$
DECLARE
  hint    constant text := 'Items are ''NOT NULL column'', ''CHECK (…)'', ''FOREIGN KEY (…) REFERENCES …'' and ''UNIQUE (…)''.';
  one     constant text := '(?:"(?:[^"]|"")+"|[^] "''().,;[]+)';
  many    constant text := one || '(?: , ' || one || ')*';
  timings constant text := '(?: (?:not )?deferrable| initially (?:deferred|immediate)| not valid)*';
  action  constant text := ' on (?:delete|update) (?:no action|restrict|cascade|set (?:null|default)(?: \( ' || many || ' \))?)';
  rest    text := backfill.trim_sql(item);
  given   text;
  said    text;
  tail    text;
  found   text[];
  opens   integer;
  closes  integer;
  strange text;
  result  jsonb;
BEGIN
  IF (SELECT t.word FROM backfill.token_places(rest) t WHERE t.ord = 1) = 'constraint' THEN
    rest := substr(rest, (SELECT t.at FROM backfill.token_places(rest) t WHERE t.ord = 2));
    given := backfill.assigned_column(rest);
    rest := substr(rest, (SELECT t.at FROM backfill.token_places(rest) t WHERE t.ord = 2));
    IF given IS NULL OR rest IS NULL THEN
      PERFORM backfill.refuse('enforce', format('%L is no constraint', item), hint, '42601');
    END IF;
  END IF;
  said := backfill.normal_sql(rest);
  result := jsonb_build_object('given', given);
  IF said ~ ' not enforced$' OR said ~ ' without overlaps \)' THEN
    PERFORM backfill.refuse('enforce', format('%L can''t be added first and validated later', item), hint, '0A000');
  END IF;

  IF said ~ '^not null\M' THEN
    found := regexp_match(said, '^not null (' || one || ')$');
    IF found IS NULL THEN
      PERFORM backfill.refuse('enforce', format('%L does not name one column', item), 'Name one column of the table: ''NOT NULL amount_cents''.', '42601');
    END IF;
    RETURN result || jsonb_build_object('kind', 'not null', 'columns', backfill.names_in(found[1]));

  ELSIF said ~ '^check \(' THEN
    SELECT t.at INTO opens FROM backfill.token_places(rest) t WHERE t.ord = 2;
    SELECT t.at INTO closes FROM backfill.token_places(rest) t WHERE t.ord > 2 AND t.depth = 0 AND t.word = ')' ORDER BY t.ord LIMIT 1;
    IF closes IS NULL THEN
      PERFORM backfill.refuse('enforce', format('a bracket of %L is not closed', item), hint, '42601');
    END IF;
    tail := substr(rest, closes + 1);
    said := backfill.normal_sql(tail);
    IF said !~ '^(?:no inherit|not valid| )*$' THEN
      PERFORM backfill.refuse('enforce', format('syntax error at or near "%s"', (SELECT t.word FROM backfill.token_places(tail) t WHERE t.ord = 1)), hint, '42601');
    END IF;
    rest := backfill.trim_sql(substr(rest, opens + 1, closes - opens - 1));
    SELECT t.word INTO strange FROM backfill.token_places(rest) t
     WHERE t.word IN ('select', 'table')
        OR t.word = 'values' AND (SELECT p.word FROM backfill.token_places(rest) p WHERE p.ord = t.ord - 1) = '(';
    IF strange IS NOT NULL THEN
      PERFORM backfill.refuse('enforce', 'cannot use subquery in check constraint', 'A CHECK is about one row of the table; it may call a function.', '0A000');
    END IF;
    RETURN result || jsonb_build_object('kind', 'check', 'expression', rest, 'inherit', said !~ 'no inherit');

  ELSIF said ~ '^foreign key\M' THEN
    found := regexp_match(said, '^foreign key \( (' || many || ') \) references (' || one || '(?: \. ' || one || ')?)(?: \( (' || many || ') \))?'
                                '((?: match (?:full|simple)|' || action || ')*)(' || timings || ')$');
    IF found IS NULL THEN
      PERFORM backfill.refuse('enforce', format('syntax error in %L', item), 'Write ''FOREIGN KEY (customer_id) REFERENCES app.customer (id)''.', '42601');
    END IF;
    result := result || jsonb_build_object('kind', 'foreign key', 'columns', backfill.names_in(found[1]), 'references', replace(found[2], ' . ', '.'),
      'referenced', backfill.names_in(found[3]),
      'actions', CASE WHEN found[4] ~ ' match full' THEN ' MATCH FULL' ELSE '' END
                 || coalesce(' ON UPDATE ' || upper(nullif(substring(found[4], ' on update (no action|restrict|cascade|set null|set default)'), 'no action') COLLATE "C"), '')
                 || coalesce(' ON DELETE ' || upper(nullif(substring(found[4], ' on delete (no action|restrict|cascade|set null|set default)'), 'no action') COLLATE "C"), '')
                 || coalesce((SELECT ' (' || string_agg(quote_ident(n), ', ' ORDER BY ord) || ')'
                                FROM unnest(backfill.names_in(substring(found[4], ' on delete set (?:null|default) \( (' || many || ') \)'))) WITH ORDINALITY AS u(n, ord)), ''));
    tail := found[5];

  ELSIF said ~ '^unique\M' THEN
    found := regexp_match(said, '^unique( nulls not distinct| nulls distinct)? \( (' || many || ') \)(?: include \( (' || many || ') \))?(?: with \( ([^()]+) \))?(' || timings || ')$');
    IF found IS NULL THEN
      PERFORM backfill.refuse('enforce', format('syntax error in %L', item),
        'Write ''UNIQUE (email)''; INCLUDE (…), WITH (…) and DEFERRABLE may stand behind it. A tablespace is told by settings: {"default_tablespace": "fast"}.', '42601');
    END IF;
    SELECT p INTO strange FROM regexp_split_to_table(found[4], ' , ') p WHERE p !~ '^(?:fillfactor = (?:1 0 0|[1-9] [0-9])|deduplicate_items = (?:on|off|true|false))$';
    IF strange IS NOT NULL THEN
      PERFORM backfill.refuse('enforce', format('WITH (%s): an index of a constraint has no such parameter', replace(strange, ' ', '')), 'There are fillfactor = 10 to 100, and deduplicate_items = on or off.');
    END IF;
    result := result || jsonb_build_object('kind', 'unique', 'columns', backfill.names_in(found[2]), 'include', backfill.names_in(found[3]),
      'distinct', found[1] IS DISTINCT FROM ' nulls not distinct',
      'parameters', (SELECT ' WITH (' || string_agg(v[1] || '=' || CASE WHEN quote_ident(v[2]) = v[2] THEN v[2] ELSE quote_literal(v[2]) END, ', ' ORDER BY ord) || ')'
                       FROM regexp_split_to_table(found[4], ' , ') WITH ORDINALITY AS u(p, ord), regexp_split_to_array(replace(p, ' ', ''), '=') v));
    tail := found[5];

  ELSE
    PERFORM backfill.refuse('enforce', format('%L is no constraint', item), hint, '42601');
  END IF;
  IF tail ~ 'not deferrable' AND tail ~ 'initially deferred' THEN
    PERFORM backfill.refuse('enforce', format('%L is NOT DEFERRABLE and INITIALLY DEFERRED', item), 'Leave one of them out.', '42601');
  END IF;
  RETURN result || jsonb_build_object('timing', CASE WHEN tail ~ 'initially deferred' THEN ' DEFERRABLE INITIALLY DEFERRED'
                                                     WHEN tail ~ '(?<!not )deferrable' THEN ' DEFERRABLE' ELSE '' END);
END
$$;

-- The column that an item of enforce names, as the table has it or will have it: its type, and that its name is right.
CREATE OR REPLACE FUNCTION backfill.column_type(job backfill.job, name text) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  type oid := (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped);
BEGIN
  IF type IS NULL AND name = job.plan -> 'column' ->> 'name' THEN
    RETURN (job.plan -> 'column' ->> 'type')::regtype;
  ELSIF type IS NULL THEN
    PERFORM backfill.refuse('enforce', format('%s has no column %s', backfill.relation_name(job.target), name),
                            'Name columns of the table: ''NOT NULL amount_cents''.', '42703');
  END IF;
  RETURN type;
END
$$;

-- What a foreign key must find in the table that it references; returns the columns there.
CREATE OR REPLACE FUNCTION backfill.check_referenced(job backfill.job, parsed jsonb, referenced oid) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name    text := backfill.relation_name(referenced);
  mine    text[] := ARRAY(SELECT jsonb_array_elements_text(parsed -> 'columns'));
  theirs  text[];
  class   pg_class;
  own     "char" := (SELECT c.relpersistence FROM pg_class c WHERE c.oid = job.target);
  index   pg_index;
  wrong   record;
BEGIN
  SELECT * INTO class FROM pg_class c WHERE c.oid = referenced;
  IF referenced IS NULL OR class.relkind NOT IN ('r', 'p') THEN
    PERFORM backfill.refuse('enforce', format('%s references no table that is there', parsed ->> 'references'), 'Write ''FOREIGN KEY (customer_id) REFERENCES app.customer (id)''.', '42P01');
  ELSIF class.relpersistence = 't' OR own = 'p' AND class.relpersistence = 'u' THEN
    PERFORM backfill.refuse('enforce', format('%s is %s', name, CASE class.relpersistence WHEN 't' THEN 'a temporary table' ELSE 'an unlogged table' END),
                            'A table that stays can reference only one that does: name it with its schema.', '42P16');
  END IF;
  theirs := coalesce((SELECT array_agg(n ORDER BY ord) FROM jsonb_array_elements_text(nullif(parsed -> 'referenced', 'null')) WITH ORDINALITY AS u(n, ord)),
                     (SELECT array_agg(a.attname::text ORDER BY u.ord)
                        FROM pg_index i, unnest(i.indkey::smallint[]) WITH ORDINALITY AS u(attnum, ord)
                        JOIN pg_attribute a ON a.attrelid = referenced AND a.attnum = u.attnum
                       WHERE i.indrelid = referenced AND i.indisprimary AND u.ord <= i.indnkeyatts));
  IF theirs IS NULL THEN
    PERFORM backfill.refuse('enforce', format('%s has no primary key', name), format('Name the columns that are unique there: REFERENCES %s (…).', name), '42704');
  ELSIF cardinality(theirs) <> cardinality(mine) THEN
    PERFORM backfill.refuse('enforce', format('%s columns reference %s', cardinality(mine), cardinality(theirs)), 'Name as many on both sides.', '42830');
  END IF;
  SELECT t INTO wrong FROM unnest(theirs) t
   WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = referenced AND a.attname = t AND a.attnum > 0 AND NOT a.attisdropped) LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('enforce', format('%s has no column %s', name, wrong.t), 'Name columns of the table that is referenced.', '42703');
  END IF;
  SELECT t INTO wrong FROM unnest(theirs) t WHERE NOT has_column_privilege(referenced, t, 'REFERENCES') LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('enforce', format('%I may not reference %s', current_user, name), format('GRANT REFERENCES ON %s TO %I.', name, current_user), '42501');
  END IF;
  IF row_security_active(job.target) OR row_security_active(referenced) THEN  -- the server's own proof would not see all rows
    PERFORM backfill.refuse_hidden('enforce', CASE WHEN row_security_active(job.target) THEN backfill.relation_name(job.target) ELSE name END);
  END IF;
  SELECT i.* INTO index FROM pg_index i
   WHERE i.indrelid = referenced AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
     AND i.indnkeyatts = cardinality(theirs)
     AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS u(attnum, ord)
            JOIN pg_attribute a ON a.attrelid = referenced AND a.attnum = u.attnum WHERE u.ord <= i.indnkeyatts)
         = (SELECT array_agg(t ORDER BY t::name) FROM unnest(theirs) t)
   ORDER BY i.indisprimary DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM backfill.refuse('enforce', format('nothing says that (%s) is unique in %s', array_to_string(theirs, ', '), name),
                            'There must be a primary key or a UNIQUE of just these columns, not deferrable; a job with enforce = ''{UNIQUE (…)}'' makes one.', '42830');
  END IF;
  SELECT u.m, u.t, backfill.base_type(backfill.column_type(job, u.m)) AS mine, backfill.base_type(a.atttypid) AS theirs INTO wrong
    FROM unnest(mine, theirs) AS u(m, t)
    JOIN pg_attribute a ON a.attrelid = referenced AND a.attname = u.t
    JOIN unnest(index.indkey::smallint[], index.indclass::oid[]) AS k(attnum, opclass) ON k.attnum = a.attnum
    JOIN pg_opclass o ON o.oid = k.opclass
   WHERE backfill.base_type(backfill.column_type(job, u.m)) NOT IN (o.opcintype, backfill.base_type(a.atttypid))
     AND NOT EXISTS (SELECT FROM pg_amop p WHERE p.amopfamily = o.opcfamily AND p.amopstrategy = 3 AND p.amoplefttype = o.opcintype
                                             AND p.amoprighttype = backfill.base_type(backfill.column_type(job, u.m)))
     AND NOT EXISTS (SELECT FROM pg_cast c WHERE c.castsource = backfill.base_type(backfill.column_type(job, u.m)) AND c.casttarget = o.opcintype AND c.castcontext = 'i')
   LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('enforce', format('%I is of type %s, and %I of %s is of type %s', wrong.m, format_type(wrong.mine, NULL), wrong.t, name, format_type(wrong.theirs, NULL)),
                            'A foreign key compares both sides: give the column the type of what it references.', '42804');
  END IF;
  RETURN theirs;
END
$$;

-- How the server writes a CHECK out when it has read and simplified it: two that say the same have the same text here. NULL: it can't be read.
CREATE OR REPLACE FUNCTION backfill.normal_check(source text, expression text) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
  RETURN pg_catalog.jsonb_extract_path_text(backfill.plan(pg_catalog.format(E'SELECT (%s\n) FROM %s', expression, source), false), 'Output', '0');
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
$$;

-- The table's CHECK that says the same as this one, by the name that was given or by any: the catalog's text for it, for find_item.
CREATE OR REPLACE FUNCTION backfill.same_check(job backfill.job, source text, expression text, given text) RETURNS name
LANGUAGE plpgsql
AS $$
DECLARE
  mine pg_catalog.text := backfill.normal_check(source, expression);
  k    record;
BEGIN
  FOR k IN SELECT c.name, c.expression FROM backfill.checks_of(job.target, given) c LOOP
    IF pg_catalog.texteq(backfill.normal_check(source, k.expression), mine) THEN
      RETURN k.name;
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;

-- The CHECKs of a table, or the one of that name. Their names are written in full, so that any session can read them.
CREATE OR REPLACE FUNCTION backfill.checks_of(target oid, given text) RETURNS TABLE (name name, expression text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.conname, pg_get_expr(k.conbin, k.conrelid) FROM pg_constraint k
   WHERE k.conrelid = target AND k.contype = 'c' AND (given IS NULL OR k.conname = given)
   ORDER BY k.conname
$$;

-- An item of enforce, as job.plan has it. same: the CHECK that says the same already.
CREATE OR REPLACE FUNCTION backfill.make_item(job backfill.job, parsed jsonb, referenced oid, same name, taken text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kind       text := parsed ->> 'kind';
  given      text := parsed ->> 'given';
  names      text[] := ARRAY(SELECT jsonb_array_elements_text(parsed -> 'columns'));
  list       text := (SELECT string_agg(quote_ident(n), ', ' ORDER BY ord) FROM unnest(names) WITH ORDINALITY AS u(n, ord));
  include    text := (SELECT ' INCLUDE (' || string_agg(quote_ident(n), ', ' ORDER BY ord) || ')'
                        FROM jsonb_array_elements_text(nullif(parsed -> 'include', 'null')) WITH ORDINALITY AS u(n, ord));
  theirs     text[];
  definition text;
  middle     text := array_to_string(names, '_');
  n          text;
BEGIN
  FOR n IN SELECT unnest(names) UNION ALL SELECT jsonb_array_elements_text(nullif(parsed -> 'include', 'null')) LOOP
    PERFORM backfill.column_type(job, n);
  END LOOP;
  IF cardinality(names) > (SELECT count(DISTINCT u) FROM unnest(names) u) THEN
    PERFORM backfill.refuse('enforce', format('a column appears twice in (%s)', list), 'Name each column once.', '42701');
  END IF;
  CASE kind
    WHEN 'not null' THEN
      definition := format(CASE WHEN current_setting('server_version_num')::integer >= 180000 THEN 'NOT NULL %I' ELSE 'CHECK ((%I IS NOT NULL))' END, names[1]);
    WHEN 'check' THEN
      definition := format(CASE WHEN parsed ->> 'expression' ~ '--' THEN E'CHECK (%s\n)' ELSE 'CHECK (%s)' END, parsed ->> 'expression')
                    || CASE WHEN (parsed -> 'inherit')::boolean THEN '' ELSE ' NO INHERIT' END;
      -- As the server names it: by its column when it is about one.
      SELECT CASE WHEN count(DISTINCT a.attname) = 1 THEN min(a.attname::text) END INTO middle
        FROM backfill.token_places(parsed ->> 'expression') t
        JOIN (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = job.target AND a.attnum > 0 AND NOT a.attisdropped
              UNION SELECT job.plan -> 'column' ->> 'name') a ON a.attname = backfill.assigned_column(t.word)
       WHERE t.word ~ '^["[:alpha:]_]' AND coalesce((SELECT f.word FROM backfill.token_places(parsed ->> 'expression') f WHERE f.ord = t.ord + 1), '') NOT IN ('.', '(');
    WHEN 'foreign key' THEN
      theirs := backfill.check_referenced(job, parsed, referenced);
      definition := format('FOREIGN KEY (%s) REFERENCES %s(%s)%s%s', list, backfill.relation_name(referenced),
                           (SELECT string_agg(quote_ident(t), ', ' ORDER BY ord) FROM unnest(theirs) WITH ORDINALITY AS u(t, ord)),
                           parsed ->> 'actions', parsed ->> 'timing');
    WHEN 'unique' THEN
      definition := format('UNIQUE%s (%s)%s%s', CASE WHEN (parsed -> 'distinct')::boolean THEN '' ELSE ' NULLS NOT DISTINCT' END, list, coalesce(include, ''), parsed ->> 'timing');
  END CASE;
  IF same IS NOT NULL THEN
    given := same;
  ELSE
    PERFORM backfill.check_given_name(job, given, definition, taken);
    given := coalesce(given,
      (SELECT k.conname::text FROM pg_constraint k
        WHERE kind IN ('foreign key', 'unique') AND k.conrelid = job.target AND backfill.constraint_says(k.oid) = definition ORDER BY k.conname LIMIT 1),
      backfill.constraint_name(job, middle, CASE kind WHEN 'check' THEN 'check' WHEN 'unique' THEN 'key' WHEN 'not null' THEN 'not_null' ELSE 'fkey' END, definition, taken));
  END IF;
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'kind', kind, 'name', given, 'definition', definition,
    'column', CASE WHEN kind = 'not null' THEN names[1] END,
    'columns', CASE WHEN kind <> 'not null' THEN coalesce(array_to_string(nullif(names, '{}'), '_'), middle) END,
    'index', CASE WHEN kind = 'unique' THEN format('btree (%s)%s%s%s', list, coalesce(include, ''), CASE WHEN (parsed -> 'distinct')::boolean THEN '' ELSE ' NULLS NOT DISTINCT' END,
                                                   coalesce(parsed ->> 'parameters', '')) END,
    'timing', CASE WHEN kind = 'unique' THEN nullif(parsed ->> 'timing', '') END,
    'in_catalog', (SELECT backfill.constraint_says(k.oid) FROM pg_constraint k WHERE same IS NOT NULL AND k.conrelid = job.target AND k.conname = same),
    'existing', same IS NOT NULL OR backfill.has_constraint(job.target, given, definition)));
END
$$;

-- Reads one item of enforce. Expressions and the names of tables are the server's to read, for the session that inserts the job.
CREATE OR REPLACE FUNCTION backfill.read_constraint(job backfill.job, item text, taken text[]) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  parsed     pg_catalog.jsonb := backfill.parse_item(item);
  kind       pg_catalog.text := pg_catalog.jsonb_extract_path_text(parsed, 'kind');
  expression pg_catalog.text := pg_catalog.jsonb_extract_path_text(parsed, 'expression');
  source     pg_catalog.text := backfill.stand_in(job, system => false);
  referenced pg_catalog.oid;
  same       pg_catalog.name;
  n          pg_catalog.text;
BEGIN
  PERFORM backfill.check_may_constrain(job, kind);
  CASE
    WHEN kind OPERATOR(pg_catalog.=) 'check' THEN
      PERFORM backfill.check_plan('enforce', pg_catalog.format(E'SELECT FROM %s WHERE %s\n', source, expression), false);
      PERFORM backfill.check_plan('enforce', pg_catalog.format(E'SELECT FROM %s WHERE (%s\n)', source, expression), false);
      same := backfill.same_check(job, source, expression, pg_catalog.jsonb_extract_path_text(parsed, 'given'));
    WHEN kind OPERATOR(pg_catalog.=) 'foreign key' THEN
      referenced := pg_catalog.to_regclass(pg_catalog.jsonb_extract_path_text(parsed, 'references'));
    WHEN kind OPERATOR(pg_catalog.=) 'unique' THEN
      FOR n IN SELECT pg_catalog.jsonb_array_elements_text(pg_catalog.jsonb_extract_path(parsed, 'columns')) LOOP
        PERFORM backfill.column_type(job, n);
        PERFORM backfill.check_plan('enforce', pg_catalog.format('SELECT FROM %s ORDER BY %I', source, n), false);
      END LOOP;
    ELSE NULL;
  END CASE;
  RETURN backfill.make_item(job, parsed, referenced, same, taken);
END
$$;

-- Who may give the table a constraint of that kind, and how.
CREATE OR REPLACE FUNCTION backfill.check_may_constrain(job backfill.job, kind text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  class pg_class;
BEGIN
  SELECT * INTO class FROM pg_class c WHERE c.oid = job.target;
  IF NOT pg_has_role(class.relowner, 'USAGE') THEN
    PERFORM backfill.refuse('enforce', format('only the owner of %s can give it a constraint', backfill.relation_name(job.target)),
                            format('Insert the job as %1$s, or SET ROLE %1$s first.', backfill.acting_owner(class.relowner)), '42501');
  ELSIF kind = 'foreign key' AND class.relkind = 'p' THEN
    PERFORM backfill.refuse('enforce', 'a foreign key of a partitioned table can''t be added without a long lock',
                            'Insert a job for each partition; then add it to the table itself.', '0A000');
  ELSIF kind = 'unique' AND class.relkind = 'p' THEN
    PERFORM backfill.refuse('enforce', 'an index on a partitioned table can''t be built concurrently',
                            'Build it on each partition: insert a job for each.', '0A000');
  ELSIF kind = 'unique' THEN
    PERFORM backfill.check_schema_right(job, 'enforce', 'an index');
  END IF;
END
$$;

-- Beside a CHECK that a step has just added, in its transaction: what the catalog has made of the text, by which it is known from one
-- that somebody else makes under its name.
CREATE OR REPLACE FUNCTION backfill.note_constraint(ticket bigint, name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE backfill.job j
     SET plan = jsonb_set(j.plan, ARRAY['enforce', (i.ord - 1)::text, 'in_catalog'], to_jsonb(backfill.constraint_says(k.oid)))
    FROM backfill.own_job(note_constraint.ticket) own,
         jsonb_array_elements(own.plan -> 'enforce') WITH ORDINALITY AS i(item, ord),
         pg_constraint k
   WHERE j.id = own.id
     AND i.item ->> 'name' = note_constraint.name AND k.conrelid = own.target AND k.conname = note_constraint.name
$$;

-- The table of a job as it stands after FROM and UPDATE, called as in its batches: a partitioned one without its schema, as leaves are.
CREATE OR REPLACE FUNCTION backfill.table_in_clauses(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE c.relkind WHEN 'p' THEN format('ONLY %s AS %I', backfill.relation_name(c.oid), c.relname) ELSE 'ONLY ' || backfill.relation_name(c.oid) END
    FROM pg_class c WHERE c.oid = job.target
$$;

-- Checks the clauses of a job whose column is still to be added: each expression alone and in brackets, and each target of SET. What
-- reads the new column is planned on what stands in for the table, all else on the table itself, whose rows have a type of their own.
CREATE OR REPLACE FUNCTION backfill.check_clauses_ahead(job backfill.job) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  source pg_catalog.text := backfill.stand_in(job, system => true);
  own    pg_catalog.text := backfill.table_in_clauses(job);
  a      record;
  fits   pg_catalog.text;
  type   pg_catalog.oid;
BEGIN
  PERFORM backfill.check_ahead('where_clause', 'SELECT FROM ', pg_catalog.concat(' WHERE ', job.where_clause), source, own);
  PERFORM backfill.check_ahead('where_clause', 'SELECT FROM ', pg_catalog.concat(' WHERE (', job.where_clause, E'\n)'), source, own);
  BEGIN
    PERFORM backfill.plan(pg_catalog.format('UPDATE %s SET %s', own, job.set_clause), false);
  EXCEPTION
    WHEN syntax_error THEN
      PERFORM backfill.check_plan('set_clause', pg_catalog.format('UPDATE %s SET %s', own, job.set_clause), false);
    WHEN OTHERS THEN
      NULL;  -- it lacks the column, at least
  END;
  FOR a IN SELECT * FROM backfill.assignments_ahead(job) LOOP
    IF NOT a.is_new THEN
      PERFORM backfill.check_plan('set_clause', pg_catalog.format('UPDATE %s SET %s = NULL', own, a.target), false);
    END IF;
    IF a.is_row THEN
      PERFORM backfill.check_ahead('set_clause', 'SELECT FROM ', pg_catalog.concat(', LATERAL ', a.expression, E'\n AS "backfilld row"'), source, own);
    ELSIF NOT a.is_default THEN
      fits := backfill.check_ahead('set_clause', pg_catalog.concat('SELECT ', a.expression, E'\nFROM '), '', source, own);
      PERFORM backfill.check_ahead('set_clause', 'SELECT FROM ', pg_catalog.concat(' WHERE (', a.expression, E'\n) IS NOT NULL'), source, own);
      IF a.is_new AND a.is_whole THEN
        PERFORM backfill.check_plan('set_clause', pg_catalog.format(E'SELECT CAST((%s\n) AS %s) FROM %s', a.expression, a.type, fits), false);
        EXECUTE pg_catalog.format(E'SELECT pg_catalog.pg_typeof((SELECT q.e FROM (SELECT (%s\n) AS e FROM %s) AS q LIMIT 0))::pg_catalog.oid', a.expression, fits) INTO type;
        PERFORM backfill.check_assignable(a.target, a.type, a.expression, type);
      END IF;
    END IF;
  END LOOP;
END
$$;

-- Plans a statement on the table, or else on what stands in for it; refuses it when neither goes. Returns which did.
CREATE OR REPLACE FUNCTION backfill.check_ahead(column_name text, head text, tail text, source text, own text) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM backfill.plan(pg_catalog.concat(head, own, tail), false);
  RETURN own;
EXCEPTION
  WHEN insufficient_privilege THEN
    PERFORM backfill.check_plan(column_name, pg_catalog.concat(head, own, tail), false);
  WHEN OTHERS THEN
    PERFORM backfill.check_plan(column_name, pg_catalog.concat(head, source, tail), false);
    RETURN source;
END
$$;

-- What set_clause assigns when the column is still to be added. is_new: to it; is_whole: not to an element or a field of it.
CREATE OR REPLACE FUNCTION backfill.assignments_ahead(job backfill.job)
RETURNS TABLE (target text, expression text, type text, is_new boolean, is_whole boolean, is_row boolean, is_default boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  all_of  jsonb := backfill.assignments_of(job.set_clause);
  new_one text := job.plan -> 'column' ->> 'name';
  twice   text;
BEGIN
  IF all_of IS NULL THEN
    PERFORM backfill.refuse('set_clause', 'is no list of assignments', 'Write what stands after SET in an UPDATE of this table: ''amount_cents = (amount * 100)::bigint''.', '42601');
  END IF;
  SELECT c INTO twice FROM jsonb_array_elements(all_of) a, jsonb_array_elements_text(a -> 'columns') c
   WHERE a ->> 'to' !~ '[.\[]' GROUP BY c HAVING count(*) > 1 LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('set_clause', format('multiple assignments to same column "%s"', twice), 'Write each column once.', '42601');
  END IF;
  RETURN QUERY
  SELECT CASE WHEN jsonb_array_length(a -> 'columns') = 1 THEN a ->> 'to' ELSE quote_ident(c.name) END, a ->> 'expression', job.plan -> 'column' ->> 'type', c.name = new_one,
         (SELECT count(*) FROM backfill.token_places(a ->> 'to')) = 1, jsonb_array_length(a -> 'columns') > 1, backfill.normal_sql(a ->> 'expression') = 'default'
    FROM jsonb_array_elements(all_of) a, jsonb_array_elements_text(a -> 'columns') AS c(name);
END
$$;

-- Whether a value of one type may be written into a column of another without a cast, as far as the catalog tells; true where it doesn't.
CREATE OR REPLACE FUNCTION backfill.can_assign(source oid, target oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.oid = t.oid OR t.typcategory = 'S' OR s.typtype IN ('p', 'c') OR t.typtype = 'c' OR s.typcategory = 'A'
         OR EXISTS (SELECT FROM pg_cast c WHERE c.castsource = s.oid AND c.casttarget = t.oid AND c.castcontext IN ('i', 'a'))
    FROM pg_type s, pg_type t
   WHERE s.oid = backfill.base_type(source) AND t.oid = backfill.base_type(target)
$$;

-- Refuses an expression that can't be written into the new column without a cast. A string, or NULL, has no type before it is written.
CREATE OR REPLACE FUNCTION backfill.check_assignable(column_name text, type text, expression text, source oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT backfill.can_assign(source, type::regtype) AND EXISTS (SELECT FROM backfill.token_places(expression) t WHERE t.word NOT IN ('(', ')', 'null') AND t.word !~ '^([eEbBxXuU]?&?''|\$)') THEN
    PERFORM backfill.refuse('set_clause', format('column %s is of type %s but expression is of type %s', column_name, type, format_type(source, NULL)),
                            'You will need to rewrite or cast the expression.', '42804');
  END IF;
END
$$;

-- The filled columns of which where_clause asks whether one or the other is NULL: "first IS NULL OR last IS NULL". A row is to do for one of them, and
-- what stands in the other is somebody's.
CREATE OR REPLACE FUNCTION backfill.kept_columns(job backfill.job) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT c.name), '{}')
    FROM pg_class t, unnest(backfill.joined_by(job.where_clause, 'and')) AS part, backfill.null_columns(part, t.relname::text) AS n(columns), unnest(n.columns) AS c(name)
   WHERE t.oid = job.target AND cardinality(n.columns) > 1
     AND EXISTS (SELECT FROM jsonb_array_elements(backfill.assignments_of(job.set_clause)) a WHERE a -> 'columns' ? c.name AND a ->> 'to' !~ '[.\[]')
$$;

-- set_clause as batches run it, where it has such columns: it fills those that are NULL, and leaves the others as they are. NULL: it is run as it was
-- written. A value is cast only where CASE finds no type for it and the column: an UPDATE makes of it what the column is.
CREATE OR REPLACE FUNCTION backfill.kept_clause(job backfill.job, kept text[]) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
  missing pg_catalog.jsonb := backfill.missing_column(job);
  derived pg_catalog.text := backfill.derived_table(job.target, (SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target), NULL, missing);
  result  pg_catalog.text[] := '{}';
  a       pg_catalog.jsonb;
  one     record;
  names   pg_catalog.text;  -- of a sub-select's columns
  several boolean;
  parts pg_catalog.text[];
  asked   pg_catalog.text;
  type    record;
BEGIN
  FOR a IN SELECT e FROM pg_catalog.jsonb_array_elements(backfill.assignments_of(job.set_clause)) AS e LOOP
    several := pg_catalog.jsonb_array_length(a OPERATOR(pg_catalog.->) 'columns') OPERATOR(pg_catalog.>) 1;
    names := (SELECT pg_catalog.string_agg(pg_catalog.format('"backfilld %s"', g::pg_catalog.text), ', ')
                FROM pg_catalog.generate_series(1, pg_catalog.jsonb_array_length(a OPERATOR(pg_catalog.->) 'columns')) AS g);
    parts := '{}';
    FOR one IN
      SELECT c.name, c.ord, CASE WHEN several THEN pg_catalog.format('"backfilld many"."backfilld %s"', c.ord::pg_catalog.text)
                                 ELSE backfill.value_of(job.target, c.name, a OPERATOR(pg_catalog.->>) 'expression') END AS expression
        FROM pg_catalog.jsonb_array_elements_text(a OPERATOR(pg_catalog.->) 'columns') WITH ORDINALITY AS c(name, ord) ORDER BY c.ord
    LOOP
      IF NOT pg_catalog.jsonb_exists(pg_catalog.to_jsonb(kept), one.name) THEN
        parts := pg_catalog.array_append(parts, CASE WHEN several THEN one.expression ELSE a OPERATOR(pg_catalog.->>) 'expression' END);
        CONTINUE;
      END IF;
      SELECT * INTO type FROM backfill.target_type(job.target, pg_catalog.quote_ident(one.name), missing);
      IF NOT several AND (backfill.breaks_on(ARRAY[pg_catalog.format(E'pg_catalog.to_jsonb((%s\n))', one.expression)], derived)).code OPERATOR(pg_catalog.=) '42804' THEN
        one.expression := pg_catalog.format(E'(%s\n)::%s', one.expression, type.literal);  -- a constant without a type
      END IF;
      asked := pg_catalog.format(E'CASE WHEN %1$I IS NULL THEN (%2$s\n) ELSE %1$I END', one.name, one.expression);
      IF (backfill.breaks_on(ARRAY[CASE WHEN several THEN pg_catalog.format(E'(SELECT %s FROM %s\n AS "backfilld many"(%s))', asked, a OPERATOR(pg_catalog.->>) 'expression', names) ELSE asked END], derived)).code IS NOT NULL THEN
        asked := pg_catalog.format(E'CASE WHEN %1$I IS NULL THEN (%2$s\n)::%3$s ELSE %1$I END', one.name, one.expression, type.type);
      END IF;
      parts := pg_catalog.array_append(parts, asked);
    END LOOP;
    result := pg_catalog.array_append(result, CASE
      WHEN several THEN pg_catalog.format(E'%s = (SELECT %s FROM (SELECT) AS "backfilld one" LEFT JOIN LATERAL %s\n AS "backfilld many"(%s) ON true)',
                                          a OPERATOR(pg_catalog.->>) 'to', pg_catalog.array_to_string(parts, ', '), a OPERATOR(pg_catalog.->>) 'expression', names)
      ELSE pg_catalog.concat(a OPERATOR(pg_catalog.->>) 'to', ' = ', parts[1]) END);
  END LOOP;
  RETURN pg_catalog.array_to_string(result, E'\n, ');
END
$$;

-- Makes job.plan, and checks the clauses of a job whose column is still to be added. Returns the job with what it left out.
CREATE OR REPLACE FUNCTION backfill.make_plan(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql
AS $$
DECLARE
  items pg_catalog.jsonb := '[]';
  taken pg_catalog.text[] := '{}';
  kept  pg_catalog.text[];
  item  pg_catalog.text;
  read  pg_catalog.jsonb;
BEGIN
  job.plan := '{}';
  IF job.add_column IS NOT NULL THEN
    read := backfill.read_column(job);
    job.plan := pg_catalog.jsonb_build_object('column', read);
    job.where_clause := coalesce(job.where_clause, pg_catalog.concat(pg_catalog.quote_ident(pg_catalog.jsonb_extract_path_text(read, 'name')), ' IS NULL'));
  END IF;
  IF NOT backfill.has_column(job) THEN
    PERFORM backfill.check_clauses_ahead(job);
  END IF;
  kept := backfill.kept_columns(job);
  IF kept OPERATOR(pg_catalog.<>) '{}' THEN
    job.plan := pg_catalog.jsonb_set(pg_catalog.jsonb_set(job.plan, '{kept}', pg_catalog.to_jsonb(kept)), '{set}', pg_catalog.to_jsonb(backfill.kept_clause(job, kept)));
  END IF;
  IF job.keep_in_sync THEN
    job.plan := pg_catalog.jsonb_set(job.plan, '{sync}', backfill.read_sync(job));
  END IF;
  FOREACH item IN ARRAY coalesce(job.enforce, '{}') LOOP
    read := backfill.read_constraint(job, item, taken);
    items := pg_catalog.jsonb_insert(items, '{-1}', read, true);
    taken := pg_catalog.array_append(taken, pg_catalog.jsonb_extract_path_text(read, 'name'));
  END LOOP;
  IF job.enforce IS NOT NULL THEN
    job.plan := pg_catalog.jsonb_set(job.plan, '{enforce}', items);
  END IF;
  RETURN job;
END
$$;
