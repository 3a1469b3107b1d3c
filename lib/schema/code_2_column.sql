-- The column that a job adds.

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

-- Whether a job's where_clause asks for no more than NULL in that column.
CREATE OR REPLACE FUNCTION backfill.asks_only_null(job backfill.job, column_name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(backfill.null_columns(job.where_clause, (SELECT c.relname::text FROM pg_class c WHERE c.oid = job.target)) = ARRAY[column_name], false)
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

-- To whom the type of a column to add belongs, or its schema, if that role lacks the rights of the table's owner; NULL: it has them. A statement finds a type by its name, and nothing keeps that where it
-- is. Whose is the table's own schema, or the database, is trusted with names anyway.
CREATE OR REPLACE FUNCTION backfill.stranger_of_type(type oid, target oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT backfill.role_name(CASE WHEN pg_has_role(t.typowner, c.relowner, 'USAGE') THEN n.nspowner ELSE t.typowner END)
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace, pg_class c
   WHERE t.oid = type AND c.oid = target
     AND (NOT pg_has_role(t.typowner, c.relowner, 'USAGE')
          OR n.oid <> c.relnamespace AND n.nspowner <> 'pg_database_owner'::regrole AND NOT pg_has_role(n.nspowner, c.relowner, 'USAGE'))
$$;

-- That the type of the column that a job adds is the one that its INSERT read, and makes the column still no more than nullable and empty. type: what bears its name by now, or what the column has.
CREATE OR REPLACE FUNCTION backfill.check_added_type(job backfill.job, type oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  added constant jsonb := job.plan -> 'column';
  wrong constant text := CASE WHEN type IS NULL THEN 'is gone'
                              WHEN NOT backfill.is_noted(added -> 'noted', type) THEN 'is another one by now: the type was renamed, or made anew'
                              WHEN NOT backfill.is_noted(added -> 'noted_collation', to_regcollation(added ->> 'collation')) THEN format('has another collation by now: %s was renamed, or made anew', added ->> 'collation')
                              WHEN backfill.stranger_of_type(type, job.target) IS NOT NULL THEN format('belongs by now to %s, or its schema does, who lacks the rights of the table''s owner', backfill.stranger_of_type(type, job.target))
                              ELSE 'has by now ' || backfill.rule_of_type(type) END;
BEGIN
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'type % of the column % that is to be added %', added ->> 'type', quote_ident(added ->> 'name'), wrong
      USING ERRCODE = '42704',
            HINT = CASE WHEN wrong LIKE '%another%' THEN format('If the one of today is what the job is to add: SELECT backfill.retry(%L). Else give the first one its name back before.', job.name)
                        ELSE format('Have the type as it was, then SELECT backfill.retry(%1$L); or SELECT backfill.forget(%1$L), and insert the job with another type.', job.name) END;
  END IF;
END
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
  SELECT a.atttypid, a.attgenerated, CASE WHEN a.attgenerated = '' THEN backfill.default_of(job.target, name::name) END AS default_is, backfill.type_name(a.atttypid, format_type(a.atttypid, a.atttypmod)) AS type INTO had
    FROM pg_attribute a
   WHERE a.attrelid = job.target AND a.attname = name AND NOT a.attisdropped;
  IF had.type IS NOT NULL AND had.type <> full_name THEN
    PERFORM backfill.refuse('add_column', format('%s has a column %I already, of type %s', table_name, name, had.type),
                            'Choose another name, or the type that it has.', '42701');
  ELSIF had.default_is IS NOT NULL AND (job.where_clause IS NULL OR backfill.asks_only_null(job, name)) AND job.set_clause IS NOT NULL THEN
    PERFORM backfill.refuse('add_column', format('%s has a column %I already, with a default: every row has a value there, and nothing tells which are to do', table_name, name),
                            format('ALTER TABLE %s ALTER %I DROP DEFAULT, and set it to NULL where nobody has written it; or give a where_clause that is true of the rows that are still to do, and says more than NULL.', table_name, name), '42701');
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
  ELSIF backfill.stranger_of_type(type, job.target) IS NOT NULL THEN
    PERFORM backfill.refuse('add_column', format('type %s, or its schema, belongs to %s, who lacks the rights of %s, the owner of %s, and could put a domain under its name, whose code would run with those', full_name, backfill.stranger_of_type(type, job.target), backfill.role_name(class.relowner), table_name),
                            format('ALTER TABLE %s ADD COLUMN %I %s, then insert the job without add_column; or have both belong to a role that has these rights: ALTER TYPE %3$s OWNER TO %4$I.', table_name, name, full_name, backfill.role_name(class.relowner)), '42501');
  ELSIF class.relispartition THEN
    PERFORM backfill.refuse('add_column', format('%s is a partition, which has the columns of its parent', table_name),
                            format('Insert the job for %s.', backfill.relation_name(pg_partition_root(job.target))), '42P16');
  ELSIF class.reloftype <> 0 THEN
    PERFORM backfill.refuse('add_column', format('%s is a table of type %s, which has its columns', table_name, format_type(class.reloftype, NULL)),
                            format('ALTER TYPE %s ADD ATTRIBUTE %I %s CASCADE, and insert the job without add_column.', format_type(class.reloftype, NULL), name, full_name), '42809');
  END IF;
  IF had.type IS NULL THEN
    SELECT c.oid INTO full_one
      FROM (SELECT job.target::oid AS oid UNION SELECT t.relid FROM backfill.partitions_of(job.target) t) r JOIN pg_class c ON c.oid = r.oid
     WHERE c.relnatts >= 1600 LIMIT 1;
    IF FOUND THEN
      PERFORM backfill.refuse('add_column', format('%s has had 1600 columns, those that were dropped among them: there is room for no more', backfill.relation_name(full_one)),
                              'Only a new table has: CREATE TABLE … (LIKE …), copy the rows, and rename it.', '54011');
    END IF;
  END IF;
  RETURN jsonb_build_object('name', name, 'type', full_name, 'noted', backfill.noted(type), 'noted_collation', backfill.noted(collation_oid),
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
  said          pg_catalog.record;
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

-- The default of a column as an expression: its own, or its type's; NULL: it has none.
CREATE OR REPLACE FUNCTION backfill.default_of(relation oid, column_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET quote_all_identifiers = off
AS $$
  SELECT nullif(regexp_replace(coalesce(pg_get_expr(d.adbin, d.adrelid), pg_get_expr(t.typdefaultbin, 0)), '^NULL(::.*)?$', ''), '')
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
$$;

-- What is assigned to a column, as an expression; where it says DEFAULT, what that is in the relation.
CREATE OR REPLACE FUNCTION backfill.value_of(relation oid, column_name text, expression text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN lower(expression COLLATE "C") = 'default' THEN coalesce(backfill.default_of(relation, column_name), 'NULL') ELSE expression END
$$;
