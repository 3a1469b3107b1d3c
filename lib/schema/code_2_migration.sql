-- What a job's add_column, keep_in_sync and enforce mean. The server reads them, on a copy of the table that has no rows and
-- is gone again before the INSERT goes on: nothing here tries to parse SQL. All of it runs with the rights of whoever inserts
-- the job. What was read is kept in job.plan:
--   column   {name, type, collation}: what add_column adds
--   sync     {assignments: [{to, expression}], where, plain}: what the trigger computes, and for which rows (left out: all);
--            plain: of the row's columns and the server's own functions alone, so that whoever writes the row may compute it
--   enforce  [{kind, name, definition, column | columns | index, existing}]: kind is 'not null', 'check', 'foreign key' or
--            'unique'; index: what stands after USING; existing: the table had the constraint before, it is not the job's

-- The statement that makes an empty copy of a table, called as the table is, so that its own name may stand in clauses.
CREATE OR REPLACE FUNCTION backfill.copy_statement(target oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('CREATE TEMPORARY TABLE %I (LIKE %s INCLUDING GENERATED)', c.relname, backfill.relation_name(c.oid))
    FROM pg_class c WHERE c.oid = target
$$;

-- Runs a command of which a clause is a part; refuses the clause with the server's own words when that fails.
CREATE OR REPLACE FUNCTION backfill.try_command(column_name text, command text, hint text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  problem text;
  advice  text;
  code    text;
BEGIN
  EXECUTE command;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE;
  PERFORM backfill.refuse(column_name, problem, coalesce(nullif(advice, ''), hint), code);
END
$$;

-- Reads add_column: one column, nullable, with nothing but a type and a collation. It must parse where a column is added and
-- where a table is made: a text that does both holds one column and nothing else.
CREATE OR REPLACE FUNCTION backfill.read_column(job backfill.job, copy text) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  hint constant text := 'Write a name and a type: ''amount_cents bigint''.';
  a    record;
  had  record;
BEGIN
  PERFORM backfill.try_command('add_column', format(E'CREATE TEMPORARY TABLE "backfilld column" (%s\n)', job.add_column), hint);
  SELECT t.*, pg_catalog.count(*) OVER () AS n INTO a
    FROM (SELECT c.attname, pg_catalog.format_type(c.atttypid, c.atttypmod) AS type, c.attnotnull, c.atthasdef, c.attidentity,
                 CASE WHEN c.attcollation <> y.typcollation THEN l.collname END AS collname, n.nspname
            FROM pg_catalog.pg_attribute c
            JOIN pg_catalog.pg_type y ON y.oid = c.atttypid
            LEFT JOIN pg_catalog.pg_collation l ON l.oid = c.attcollation
            LEFT JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
           WHERE c.attrelid = 'pg_temp."backfilld column"'::regclass AND c.attnum > 0) t;
  IF a IS NULL OR a.n <> 1 THEN
    PERFORM backfill.refuse('add_column', 'is not one column', hint, '42601');
  ELSIF a.attnotnull OR a.atthasdef OR a.attidentity <> ''
     OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = 'pg_temp."backfilld column"'::regclass) THEN
    PERFORM backfill.refuse('add_column', pg_catalog.format('%I says more than a type', a.attname),
      'The column is added nullable and without a default, so that nobody waits; write constraints into enforce, as ''{NOT NULL '
      || pg_catalog.quote_ident(a.attname) || '}''.', '0A000');
  END IF;

  SELECT pg_catalog.format_type(c.atttypid, c.atttypmod) AS type, c.attgenerated INTO had
    FROM pg_catalog.pg_attribute c
   WHERE c.attrelid = job.target AND c.attname = a.attname AND c.attnum > 0 AND NOT c.attisdropped;
  IF had.type <> a.type THEN
    PERFORM backfill.refuse('add_column', pg_catalog.format('%s has a column %I already, of type %s', backfill.relation_name(job.target), a.attname, had.type),
                            'Choose another name, or the type that it has.', '42701');
  ELSIF had.attgenerated <> '' THEN
    PERFORM backfill.refuse('add_column', pg_catalog.format('%I is a generated column', a.attname), 'The server computes it itself.', '42601');
  ELSIF had.type IS NULL AND NOT pg_catalog.pg_has_role((SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = job.target), 'USAGE') THEN
    PERFORM backfill.refuse('add_column', pg_catalog.format('only the owner of %s can add a column', backfill.relation_name(job.target)),
                            'Insert the job as that role, or SET ROLE to it first.', '42501');
  END IF;
  IF had.type IS NULL THEN
    PERFORM backfill.try_command('add_column', pg_catalog.format(E'ALTER TABLE %s ADD COLUMN %s\n', copy, job.add_column), hint);
  END IF;
  RETURN pg_catalog.jsonb_build_object('name', a.attname, 'type', a.type,
                                       'collation', pg_catalog.quote_ident(a.nspname) || '.' || pg_catalog.quote_ident(a.collname));
END
$$;

-- Refuses a job that would create something beside the table in a schema where its owner may not.
CREATE OR REPLACE FUNCTION backfill.check_schema_right(job backfill.job, column_name text, what text) RETURNS void
LANGUAGE plpgsql
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

-- The definition of a table's constraint of that name, when it is another than this one.
CREATE OR REPLACE FUNCTION backfill.other_constraint(target oid, name text, definition text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pg_get_constraintdef(k.oid)
    FROM pg_constraint k
   WHERE k.conrelid = target AND k.conname = name AND replace(pg_get_constraintdef(k.oid), ' NOT VALID', '') <> definition
$$;

-- A name for a constraint, as the server would choose it; a number behind it when another constraint or index has it.
CREATE OR REPLACE FUNCTION backfill.constraint_name(target oid, middle text, ending text, definition text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  class pg_class;
  stem  text;
  name  text;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = target;
  stem := class.relname || coalesce('_' || middle, '');
  WHILE octet_length(stem) > 63 - length(ending) - 4 LOOP  -- the server counts bytes; four for "_" and a number
    stem := left(stem, -1);
  END LOOP;
  FOR n IN 0 .. 999 LOOP
    name := stem || '_' || ending || coalesce(nullif(n, 0)::text, '');
    EXIT WHEN backfill.other_constraint(target, name, definition) IS NULL
          AND NOT EXISTS (SELECT FROM pg_class i
                           WHERE i.relnamespace = class.relnamespace AND i.relname = name
                             AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.conrelid = target));
  END LOOP;
  RETURN name;
END
$$;

-- Refuses a name that an item gives itself when another constraint or index has it.
CREATE OR REPLACE FUNCTION backfill.check_given_name(target oid, given text, definition text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  other text := backfill.other_constraint(target, given, definition);
BEGIN
  IF other IS NOT NULL THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('constraint %I of %s is another: %s', given, backfill.relation_name(target), other),
                            'Give it another name, or none.', '42710');
  ELSIF EXISTS (SELECT FROM pg_catalog.pg_class i
                 WHERE i.relname = given AND i.relnamespace = (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = target)
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.oid AND k.conrelid = target)) THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('%I is the name of an index or a table that is there', given),
                            'Give it another name, or none; drop an index that was left behind invalid.', '42P07');
  END IF;
END
$$;

-- Whether a table has a constraint of that name and definition.
CREATE OR REPLACE FUNCTION backfill.has_constraint(target oid, name text, definition text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_constraint k
                  WHERE k.conrelid = target AND k.conname = name AND replace(pg_get_constraintdef(k.oid), ' NOT VALID', '') = definition)
$$;

-- Reads one item of enforce. The copy takes what it can of it; a foreign key, which a temporary table can't have to a
-- permanent one, is tried on an empty table like the one that it references.
CREATE OR REPLACE FUNCTION backfill.read_constraint(job backfill.job, copy text, item text) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  hint       constant text := 'Items are ''NOT NULL column'', ''CHECK (…)'', ''FOREIGN KEY (…) REFERENCES …'' and ''UNIQUE (…)''.';
  parts      text[] := pg_catalog.regexp_match(item, '^\s*(?:CONSTRAINT\s+("(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*)\s+)?(NOT\s+NULL|CHECK|FOREIGN\s+KEY|UNIQUE)\M(.*)$', 'i');
  given      text := (pg_catalog.parse_ident(parts[1]))[1]::name;
  kind       text := pg_catalog.lower(pg_catalog.regexp_replace(parts[2], '\s+', ' '));
  own_path   text := pg_catalog.current_setting('search_path');
  partitioned boolean := (SELECT c.relkind = 'p' FROM pg_catalog.pg_class c WHERE c.oid = job.target);
  class      pg_catalog.pg_class;
  k          pg_catalog.pg_constraint;
  found_name text;
  definition text;
  tried      text;
  index_part text;
  referenced text[];
  foreign_oid oid;
BEGIN
  IF parts IS NULL THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('%L is no constraint', item), hint, '42601');
  ELSIF NOT pg_catalog.pg_has_role((SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = job.target), 'USAGE') THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('only the owner of %s can give it a constraint', backfill.relation_name(job.target)),
                            'Insert the job as that role, or SET ROLE to it first.', '42501');
  END IF;

  IF kind = 'not null' THEN
    found_name := (pg_catalog.parse_ident(parts[3]))[1];
    IF pg_catalog.cardinality(pg_catalog.parse_ident(parts[3])) <> 1
       OR NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = copy::regclass AND a.attname = found_name AND a.attnum > 0) THEN
      PERFORM backfill.refuse('enforce', pg_catalog.format('%s has no column %s', backfill.relation_name(job.target), pg_catalog.btrim(parts[3])),
                              'Name one column of the table: ''NOT NULL amount_cents''.', '42703');
    END IF;
    definition := pg_catalog.format(CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 180000 THEN 'NOT NULL %I'
                                         ELSE 'CHECK ((%I IS NOT NULL))' END, found_name);
    PERFORM backfill.check_given_name(job.target, given, definition);
    given := coalesce(given, backfill.constraint_name(job.target, found_name, 'not_null', definition));
    RETURN pg_catalog.jsonb_build_object('kind', kind, 'column', found_name, 'name', given, 'definition', definition,
                                         'existing', backfill.has_constraint(job.target, given, definition));
  END IF;

  IF kind = 'foreign key' THEN
    IF partitioned THEN
      PERFORM backfill.refuse('enforce', 'a foreign key of a partitioned table can''t be added without a long lock',
                              'Insert a job for each partition; then add it to the table itself.', '0A000');
    END IF;
    referenced := pg_catalog.regexp_match(parts[3], '^(\s*\(.*\)\s*REFERENCES\s+)((?:"(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*)(?:\s*\.\s*(?:"(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*))?)(.*)$', 'i');
    IF referenced IS NULL OR pg_catalog.to_regclass(referenced[2]) IS NULL THEN
      PERFORM backfill.refuse('enforce', pg_catalog.format('%L references no table that is there', item), 'Write ''FOREIGN KEY (customer_id) REFERENCES app.customer (id)''.', '42P01');
    END IF;
    foreign_oid := pg_catalog.to_regclass(referenced[2]);
    IF NOT pg_catalog.has_any_column_privilege(foreign_oid, 'REFERENCES') THEN
      PERFORM backfill.refuse('enforce', pg_catalog.format('%I may not reference %s', current_user, backfill.relation_name(foreign_oid)),
                              pg_catalog.format('GRANT REFERENCES ON %s TO %I.', backfill.relation_name(foreign_oid), current_user), '42501');
    END IF;
    PERFORM backfill.try_command('enforce', pg_catalog.format('CREATE TEMPORARY TABLE "backfilld referenced" (LIKE %s INCLUDING INDEXES)', backfill.relation_name(foreign_oid)), hint);
    tried := pg_catalog.format('FOREIGN KEY %s pg_temp."backfilld referenced" %s', referenced[1], referenced[3]);
  ELSE
    IF kind = 'unique' AND partitioned THEN
      PERFORM backfill.refuse('enforce', 'an index on a partitioned table can''t be built concurrently',
                              'Build it on each partition: insert a job for each.', '0A000');
    END IF;
    tried := parts[2] || parts[3];
    IF kind = 'unique' THEN
      PERFORM backfill.check_schema_right(job, 'enforce', 'an index');
    END IF;
  END IF;
  -- What parses in both places is one constraint and nothing else.
  PERFORM backfill.try_command('enforce', pg_catalog.format(E'ALTER TABLE %s ADD CONSTRAINT "backfilld item" %s\n', copy, tried), hint);
  PERFORM backfill.try_command('enforce', pg_catalog.format(E'CREATE TEMPORARY TABLE "backfilld copy" (LIKE %s, CONSTRAINT "backfilld other" %s\n)', copy, tried), hint);
  EXECUTE 'DROP TABLE pg_temp."backfilld copy"';
  SELECT * INTO k FROM pg_catalog.pg_constraint c WHERE c.conrelid = copy::regclass AND c.conname = 'backfilld item';
  IF k.oid IS NULL OR k.condeferrable THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('%L is not what it begins with', item), hint, '0A000');
  END IF;
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
  definition := pg_catalog.replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT VALID', '');
  index_part := pg_catalog.substring(pg_catalog.pg_get_indexdef(k.conindid), ' USING (.*)$');
  IF kind = 'foreign key' THEN
    definition := pg_catalog.replace(definition, (SELECT pg_catalog.format('%I."backfilld referenced"', n.nspname) FROM pg_catalog.pg_namespace n WHERE n.oid = pg_catalog.pg_my_temp_schema()),
                                     backfill.relation_name(foreign_oid));
    definition := pg_catalog.replace(definition, 'REFERENCES "backfilld referenced"', 'REFERENCES ' || backfill.relation_name(foreign_oid));
    EXECUTE 'DROP TABLE pg_temp."backfilld referenced" CASCADE';
  ELSE
    EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT "backfilld item"', copy);
  END IF;
  PERFORM pg_catalog.set_config('search_path', own_path, true);
  IF definition ~ ' NOT ENFORCED$' OR kind = 'unique' AND definition ~ ' WITHOUT OVERLAPS\)' THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('%L can''t be added first and validated later', item), hint, '0A000');
  END IF;

  found_name := (SELECT pg_catalog.string_agg(a.attname, '_' ORDER BY u.ord)
                   FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u(attnum, ord)
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum);
  PERFORM backfill.check_given_name(job.target, given, definition);
  given := coalesce(given, backfill.constraint_name(job.target, CASE WHEN kind <> 'check' OR pg_catalog.cardinality(k.conkey) = 1 THEN found_name END,
                                                    CASE kind WHEN 'check' THEN 'check' WHEN 'unique' THEN 'key' ELSE 'fkey' END, definition));
  RETURN pg_catalog.jsonb_build_object('kind', kind, 'definition', definition, 'columns', found_name, 'name', given,
                                       'index', CASE WHEN kind = 'unique' THEN index_part END,
                                       'existing', backfill.has_constraint(job.target, given, definition));
END
$$;

-- Makes job.plan, on the copy, and checks the clauses there when the column that they fill is not in the table yet.
-- What was made to read them is undone.
CREATE OR REPLACE FUNCTION backfill.make_plan(job backfill.job, key backfill.walk_key) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  copy text := pg_catalog.format('pg_temp.%I', (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = job.target));
  plan jsonb := '{}';
  item text;
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'r' WHERE i.inhparent = job.target) THEN
    PERFORM backfill.refuse('target', pg_catalog.format('%s has inheritance children', backfill.relation_name(job.target)),
                            'They would get its column and constraints, but not its batches: fill each with a job of its own, and change the definition by hand.', '0A000');
  END IF;
  BEGIN
    PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
    PERFORM backfill.try_command('target', backfill.copy_statement(job.target), 'A job of this kind is checked on a temporary copy of the table, which has no rows.');
    IF job.add_column IS NOT NULL THEN
      plan := plan || pg_catalog.jsonb_build_object('column', backfill.read_column(job, copy));
      job.where_clause := coalesce(job.where_clause, pg_catalog.quote_ident(plan -> 'column' ->> 'name') || ' IS NULL');
    END IF;
    IF job.set_clause IS NOT NULL THEN
      PERFORM backfill.check_clauses(job, copy::regclass, key);
    END IF;
    IF job.keep_in_sync THEN
      job.plan := plan;
      plan := plan || pg_catalog.jsonb_build_object('sync', backfill.read_sync(job));
    END IF;
    FOREACH item IN ARRAY coalesce(job.enforce, '{}') LOOP
      plan := pg_catalog.jsonb_insert(CASE WHEN plan ? 'enforce' THEN plan ELSE plan || '{"enforce": []}' END,
                                      '{enforce, -1}', backfill.read_constraint(job, copy, item), true);
    END LOOP;
    RAISE EXCEPTION USING ERRCODE = 'BF900';
  EXCEPTION WHEN SQLSTATE 'BF900' THEN
    NULL;  -- all that was made is gone
  END;
  RETURN plan;
END
$$;
