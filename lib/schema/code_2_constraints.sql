-- The items of enforce.

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

-- What pg_get_constraintdef says of a constraint, but for its being NOT VALID; in every session the same: constants are written by settings. One that takes the server more
-- than 2 MB has no words but its size: whoever owns the table makes it, and the control session would write it out.
CREATE OR REPLACE FUNCTION backfill.constraint_says(constraint_oid oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET quote_all_identifiers = off
AS $$
  SELECT CASE WHEN s.size <= 2000000 THEN regexp_replace(pg_get_constraintdef(constraint_oid), ' NOT VALID$', '') ELSE format('... (%s bytes)', s.size) END
    FROM (SELECT coalesce(octet_length(k.conbin::text), 0) + coalesce((SELECT coalesce(octet_length(i.indexprs::text), 0) + coalesce(octet_length(i.indpred::text), 0)
                                                                          FROM pg_index i WHERE i.indexrelid = k.conindid AND k.contype = 'x'), 0) AS size
            FROM pg_constraint k WHERE k.oid = constraint_oid) s
$$;

-- The definition of a table's constraint of that name, when it is another than this one.
CREATE OR REPLACE FUNCTION backfill.other_constraint(target oid, name text, definition text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.says || CASE WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
    FROM (SELECT k.convalidated, backfill.constraint_says(k.oid) AS says FROM pg_constraint k WHERE k.conrelid = target AND k.conname = name) k
   WHERE k.says <> definition
$$;

-- Whether another job, which has not ended, will give a constraint of the table that name.
CREATE OR REPLACE FUNCTION backfill.is_promised(job backfill.job, name text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM backfill.job_beside j WHERE j.target::oid = job.target AND j.id <> job.id AND j.is_open AND is_promised.name = ANY (j.promised));
END
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
  k    pg_catalog.record;
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
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET quote_all_identifiers = off
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
      IF EXISTS (SELECT FROM pg_type t WHERE t.oid = backfill.base_type(backfill.column_type(job, names[1])) AND t.typtype = 'c') THEN
        PERFORM backfill.refuse('enforce', format('NOT NULL of %I, whose type is a row: a CHECK says it of each field, and the server proves nothing by that and reads the table under an exclusive lock', names[1]),
                                format('Write ''CHECK (%I IS DISTINCT FROM NULL)''.', names[1]), '0A000');
      END IF;
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
    'chosen', CASE WHEN kind = 'unique' AND parsed ->> 'given' IS NULL AND same IS NULL THEN true END,
    'referenced', CASE WHEN kind = 'foreign key' THEN backfill.noted(referenced) END,
    'column', CASE WHEN kind = 'not null' THEN names[1] END,
    'columns', CASE WHEN kind <> 'not null' THEN coalesce(array_to_string(nullif(names, '{}'), '_'), middle) END,
    'index', CASE WHEN kind = 'unique' THEN format('btree (%s)%s%s%s', list, coalesce(include, ''), CASE WHEN (parsed -> 'distinct')::boolean THEN '' ELSE ' NULLS NOT DISTINCT' END,
                                                   coalesce(parsed ->> 'parameters', '')) END,
    'timing', CASE WHEN kind = 'unique' THEN nullif(parsed ->> 'timing', '') END,
    'in_catalog', (SELECT backfill.constraint_says(k.oid) FROM pg_constraint k WHERE same IS NOT NULL AND k.conrelid = job.target AND k.conname = same),
    'existing', same IS NOT NULL OR backfill.has_constraint(job.target, given, definition)));
END
$$;

-- A hash of what the names in a CHECK may mean under the job's search_path, whoever asks: backfill.names_now. A table, a role or a constant is nothing that a CHECK calls.
CREATE OR REPLACE FUNCTION backfill.names_here(job backfill.job, expression text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  words text[];
  types oid[];  -- whose owners may make casts of them
BEGIN
  expression := (SELECT string_agg(t.word, ' ' ORDER BY t.ord) FROM backfill.token_places(expression) t WHERE t.word !~* '^([ebxn]|u&)?''' AND t.word !~ '^\$[^$]*\$');
  words := backfill.words_of(expression);
  types := ARRAY(SELECT u.oid FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid, unnest(ARRAY[t.oid, t.typelem, backfill.base_type(t.oid)]) AS u(oid)
                  WHERE a.attrelid = job.target AND a.attnum > 0 AND NOT a.attisdropped AND u.oid >= 16384
                  UNION SELECT t.oid FROM pg_type t WHERE t.typname = ANY (words::name[]) AND t.oid >= 16384);
  RETURN backfill.names_now(ARRAY(SELECT CASE n.name WHEN '$user' THEN job.owner ELSE n.name::name END FROM backfill.path_names(job.search_path) n ORDER BY n.ord), words, '{}', types, false);
END
$$;

-- An item of enforce with what the names in its CHECK mean as of now.
CREATE OR REPLACE FUNCTION backfill.note_item_names(job backfill.job, item jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN item ->> 'kind' = 'check' THEN item || jsonb_build_object('names', jsonb_build_object('home', backfill.home(0), 'mean', backfill.names_here(job, item ->> 'definition'))) ELSE item END;
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
  RETURN backfill.note_item_names(job, backfill.make_item(job, parsed, referenced, same, taken));
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
                            'Build it on each partition: insert a job for each. Then ALTER TABLE … ADD UNIQUE on the table itself takes those indexes.', '0A000');
  ELSIF kind = 'unique' THEN
    PERFORM backfill.check_schema_right(job, 'enforce', 'an index');
  END IF;
END
$$;

-- Beside a constraint that a step has just added, in its transaction: which it is, and what the catalog has made of the text, by which it is known from one
-- that somebody else makes under its name.
CREATE OR REPLACE FUNCTION backfill.note_constraint(ticket bigint, name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE backfill.job j
     SET plan = jsonb_set(j.plan, ARRAY['enforce', (i.ord - 1)::text], i.item || jsonb_build_object('in_catalog', backfill.constraint_says(k.oid), 'made', backfill.noted(k.oid)))
    FROM backfill.own_job(note_constraint.ticket) own,
         jsonb_array_elements(own.plan -> 'enforce') WITH ORDINALITY AS i(item, ord),
         pg_constraint k
   WHERE j.id = own.id
     AND i.item ->> 'name' = note_constraint.name AND k.conrelid = own.target AND k.conname = note_constraint.name
$$;
