-- How the statements of a job are written: the batch, the bound of the next batch, looks.

-- The type under a chain of domains, of twenty at most; a type itself otherwise.
CREATE OR REPLACE FUNCTION backfill.base_type(type oid) RETURNS oid
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  above oid;
BEGIN
  FOR i IN 1 .. 20 LOOP
    SELECT t.typbasetype INTO above FROM pg_type t WHERE t.oid = base_type.type AND t.typtype = 'd';
    EXIT WHEN NOT FOUND;
    type := above;
  END LOOP;
  RETURN type;
END
$$;

-- schema.table, quoted, whatever the search_path; NULL when it is gone.
CREATE OR REPLACE FUNCTION backfill.relation_name(relation oid) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
END
$$;

-- The relation of a name with its schema, as the server writes it; NULL: there is none. By the catalog: the daemon needs no right to a schema to
-- know what is there, and to_regclass fails without one.
CREATE OR REPLACE FUNCTION backfill.named_relation(name text) RETURNS oid
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.oid
    FROM parse_ident(name) AS p(parts)
    JOIN pg_namespace n ON n.nspname = p.parts[1]
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.parts[2]
   WHERE cardinality(p.parts) = 2
$$;

-- A job is of the table that it was inserted for, and not of whatever bears its name.
CREATE OR REPLACE FUNCTION backfill.refuse_dropped(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'the table of job "%" was dropped', job.name
    USING ERRCODE = '42P01', HINT = 'There is nothing left to fill. A table that was made anew under its name is another one: insert a job of another name for that.';
END
$$;

-- A partition may go between two statements, which see the catalog of their own time each. The next try passes it over.
CREATE OR REPLACE FUNCTION backfill.check_is_there(relation oid, job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF backfill.relation_name(relation) IS NULL THEN
    RAISE EXCEPTION 'a table of job "%" was dropped just now', job.name USING ERRCODE = '40001';
  END IF;
END
$$;

-- Whether no row can lack the column. PostgreSQL 18 marks a column before every row is known to meet it: the constraint tells.
CREATE OR REPLACE FUNCTION backfill.is_not_null(relation oid, column_name name) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k
                                             WHERE k.conrelid = relation AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated)
          FROM pg_attribute a
         WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped);
END
$$;

-- Which cluster, database, table and schema something belongs to. The schema by its table of jobs: one that was restored is another.
CREATE OR REPLACE FUNCTION backfill.home(relation oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN format('%s/%s/%s/%s', (SELECT c.system_identifier FROM pg_control_system() c),
                    (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()), relation, 'backfill.job'::regclass::oid);
END
$$;

-- Which object was meant by a name when a job was inserted: a text names another one when somebody has renamed the first. home: where its number means it.
CREATE OR REPLACE FUNCTION backfill.noted(object oid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_build_object('home', backfill.home(0), 'oid', object)
$$;

-- Whether it is the object that was noted. One that was noted in another database tells nothing.
CREATE OR REPLACE FUNCTION backfill.is_noted(noted jsonb, object oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(noted ->> 'home' <> backfill.home(0) OR noted ->> 'oid' = object::text, true)
$$;

-- Whether something belongs to this schema, and not to one that was dumped: by its home.
CREATE OR REPLACE FUNCTION backfill.is_of_schema(home text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce(split_part(home, '/', 4) = 'backfill.job'::regclass::oid::text, false);
END
$$;

-- Whether a job was inserted in this database, for this table, or taken over here: else it was restored.
CREATE OR REPLACE FUNCTION backfill.is_here(job backfill.job) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce(job.home = backfill.home(job.target), false);
END
$$;

-- What a collation orders by: provider, locale and the version of the library that compares. Two collations of one such text order alike.
CREATE OR REPLACE FUNCTION backfill.collation_order(collation_oid oid) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat_ws(' ', l.provider, l.locale, l.rules, l.version)
    FROM (SELECT c.collprovider AS provider, concat_ws('/', j.c ->> 'collcollate', j.c ->> 'colliculocale', j.c ->> 'colllocale') AS locale,
                 j.c ->> 'collicurules' AS rules, pg_collation_actual_version(c.oid) AS version
            FROM pg_collation c
           CROSS JOIN LATERAL (SELECT to_jsonb(c) AS c) j
           WHERE c.oid = collation_oid AND c.collprovider <> 'd'
          UNION ALL
          SELECT d.datlocprovider, concat_ws('/', CASE WHEN d.datlocprovider = 'c' THEN j.d ->> 'datcollate' END, j.d ->> 'daticulocale', j.d ->> 'datlocale'),
                 j.d ->> 'daticurules', pg_database_collation_actual_version(d.oid)
            FROM pg_collation c
            JOIN pg_database d ON c.collprovider = 'd' AND d.datname = current_database()
           CROSS JOIN LATERAL (SELECT to_jsonb(d) AS d) j
           WHERE c.oid = collation_oid) l
$$;

-- Before a statement on one of a table's relations, which holds it, and part of the condition of a batch on a partition, for who may not lock it before: true, as long as it is one of the table.
-- Another owner's triggers would run with the job's rights, and its rows are not the job's any more.
CREATE OR REPLACE FUNCTION backfill.check_leaf(relation oid, target oid) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  IF relation OPERATOR(pg_catalog.=) target OR EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(relation::pg_catalog.regclass) AS a(relid) WHERE a.relid::pg_catalog.oid OPERATOR(pg_catalog.=) target) THEN
    RETURN true;
  END IF;
  RAISE EXCEPTION '% is no partition of % any more', backfill.relation_name(relation), backfill.relation_name(target) USING ERRCODE = 'BF001', HINT = 'It was detached; this statement was undone.';
END
$$;

-- A part of a key from its text, where the server thinks that it depends on settings: a date's text does, but the session's are pinned. What
-- is immutable is a constant for the planner, by which it sees that both ends of a batch are of one day (backfill.between_positions rests on it). kind: any value of the type.
CREATE OR REPLACE FUNCTION backfill.constant(value text, kind anyelement) RETURNS anyelement
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  kind := value;
  RETURN kind;
END
$$;

-- A type's name as it stands in a text that runs under the job's search_path, where pg_catalog may come behind a schema in which others make types. Those that SQL's grammar knows stand for themselves.
CREATE OR REPLACE FUNCTION backfill.whose_type(type text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  element constant text := regexp_replace(type, '(\[\])+$', '');
BEGIN
  RETURN CASE WHEN EXISTS (SELECT FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND element IN (t.typname, quote_ident(t.typname))) AND element <> 'char' THEN 'pg_catalog.' || type ELSE type END;
END
$$;

-- An expression of the type of a key's column, by the column itself: a type's name may be another's by the time it is read. Of a domain over a type of users' own there is the name alone (backfill.check_domains).
CREATE OR REPLACE FUNCTION backfill.key_kind(key backfill.walk_key, ord bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT format('(NULL::%s).%s', backfill.relation_name(i.indrelid), key.columns[ord])
            FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.attnums[ord] JOIN pg_type t ON t.oid = a.atttypid
           WHERE i.indexrelid = key.index_oid AND t.typtype <> 'd'
           UNION ALL
          SELECT format('NULL::%s', key.types[ord])
           LIMIT 1);
END
$$;

-- The parts of the positions in a parameter, or in a column of such, each with its type.
CREATE OR REPLACE FUNCTION backfill.key_values(parameter text, key backfill.walk_key) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT array_agg(format(CASE WHEN backfill.is_users_type(u.type) THEN 'backfill.key_value((%1$s::pg_catalog.text[])[%2$s], %4$s)'
                                       WHEN cardinality((key).types) > 1 AND starts_with(parameter, '$') AND (SELECT p.provolatile <> 'i' FROM pg_type t JOIN pg_proc p ON p.oid = t.typinput WHERE t.oid = to_regtype(u.type))
                                       THEN 'backfill.constant((%1$s::pg_catalog.text[])[%2$s], NULL::%3$s)'
                                       ELSE '(%1$s::pg_catalog.text[])[%2$s]::%3$s' END, parameter, u.ord, backfill.whose_type(u.type), CASE WHEN backfill.is_users_type(u.type) THEN backfill.key_kind(key, u.ord) END) ORDER BY u.ord)
          FROM unnest((key).types) WITH ORDINALITY AS u(type, ord));
END
$$;

-- The condition that a key stands between two positions, from its column i on; those before it are the same in both, and asked for already. An index scan ends at a comparison of rows only
-- where its FIRST column is past: of a million rows of one tenant each batch would read all that lie behind it. So what is the same at both ends is asked for as equal, which is decided before the plan is
-- chosen; and where the ends differ, each part of what lies between has bounds of its own: the rest of the first, whole ones, the begin of the last. Six columns deep: the text grows with their number's cube.
-- mine, lo, hi: the columns and the positions' parts. same: of each column, whether both ends are alike, as the index compares. op: of each column <, <=, =, >= and >. greater, most: > and <= for rows. ordered: for a scan in the key's order, which ends by itself: no parts.
CREATE OR REPLACE FUNCTION backfill.between_positions(mine text[], lo text[], hi text[], same text[], op text[], greater text, most text, i integer, ordered boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n     constant integer := cardinality(mine);
  rows  constant text := format('ROW(%1$s) %2$s ROW(%3$s) AND ROW(%1$s) %4$s ROW(%5$s) AND %6$s %7$s %8$s AND %6$s %9$s %10$s', array_to_string(mine[i:], ', '), greater, array_to_string(lo[i:], ', '),
                                most, array_to_string(hi[i:], ', '), mine[i], op[i][4], lo[i], op[i][2], hi[i]);
  parts text;
BEGIN
  IF i = n THEN
    RETURN format('%s %s %s AND %s %s %s', mine[i], op[i][5], lo[i], mine[i], op[i][2], hi[i]);
  ELSIF i = 6 THEN
    RETURN rows;
  END IF;
  parts := CASE WHEN ordered THEN rows
                ELSE format('(%s %s %s AND %s OR %s %s %s AND %s %s %s OR %s)', mine[i], op[i][3], lo[i],
                            CASE WHEN i + 1 = n THEN format('%s %s %s', mine[n], op[n][5], lo[n]) ELSE format('ROW(%s) %s ROW(%s)', array_to_string(mine[i + 1:], ', '), greater, array_to_string(lo[i + 1:], ', ')) END,
                            mine[i], op[i][5], lo[i], mine[i], op[i][1], hi[i], backfill.up_to_position(mine, hi, op, most, i, true)) END;
  RETURN format('(NOT %1$s OR %2$s %3$s %4$s AND %5$s) AND (%1$s OR %6$s)', same[i], mine[i], op[i][3], lo[i],
                backfill.between_positions(mine, lo, hi, same, op, greater, most, i + 1, ordered), parts);
END
$$;

-- The condition that a key stands at a position or before it, from its column i on, in parts of which each ends by itself. alike: only where column i is the position's.
CREATE OR REPLACE FUNCTION backfill.up_to_position(mine text[], hi text[], op text[], most text, i integer, alike boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n     constant integer := cardinality(mine);
  same  text := '';
  parts text[] := '{}';
BEGIN
  FOR j IN i .. least(n, 6) LOOP
    IF j = n THEN
      parts := parts || format('%s%s %s %s', same, mine[j], op[j][2], hi[j]);
    ELSIF j = 6 THEN
      parts := parts || format('%sROW(%s) %s ROW(%s) AND %s %s %s', same, array_to_string(mine[j:], ', '), most, array_to_string(hi[j:], ', '), mine[j], op[j][2], hi[j]);
    ELSIF j > i OR NOT alike THEN
      parts := parts || format('%s%s %s %s', same, mine[j], op[j][1], hi[j]);
    END IF;
    same := same || format('%s %s %s AND ', mine[j], op[j][3], hi[j]);
  END LOOP;
  RETURN array_to_string(parts, ' OR ');
END
$$;

-- The condition that a row's key stands in a batch. $1 is the position below it or NULL, $2 the one at its end, both
-- text[]. What is executed as a text is planned with its parameters, so "$1 IS NULL" is decided before the plan is chosen.
-- So is how far both ends are alike: the planner sees how little the batch spans, and takes the key's index however many others there are.
-- prefix: what qualifies the columns, '' or 'app.orders.'. point: the one key $2. several: $2 is a text[] of positions in their text form;
-- 'joined': the condition stands where the planner can make it a join; 'each': anywhere, and then it means those keys alone only when they
-- differ in no more than one column. ordered: for a scan in the key's order.
CREATE OR REPLACE FUNCTION backfill.batch_condition(prefix text, key backfill.walk_key, point boolean, several text DEFAULT NULL, ordered boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n      constant integer := cardinality(key.columns);
  op     constant text[] := key.operators;
  mine   text[] := backfill.key_operands(prefix, key);
  lo     text[] := backfill.key_values('$1', key);
  hi     text[] := backfill.key_values('$2', key);
  one    text[] := backfill.key_values('wanted.key', key);
  alike  text[] := ARRAY(SELECT format('%s%s %s %s', lo[i], ' COLLATE ' || (key.identity -> (i - 1) ->> 'collation'), op[i][3], hi[i]) FROM generate_series(1, n) AS i ORDER BY i);  -- two parameters have the database's collation
  checked constant text := CASE WHEN key.index_oid IS NULL THEN '' ELSE format('backfill.check_key(%s, %s) AND ', key.index_oid, key.filenode) END 
                            || backfill.labels_condition(key);
BEGIN
  IF several = 'joined' AND n > 1 THEN
    RETURN checked || format('ROW(%s) %s ANY (SELECT %s FROM pg_catalog.unnest($2::pg_catalog.text[]) AS wanted(key))', array_to_string(mine, ', '),
                             backfill.row_operator(key, 3),
                             array_to_string(one, ', '));
  ELSIF several IS NOT NULL THEN
    RETURN checked || (SELECT string_agg(format(CASE WHEN a.is_array THEN '%s %s ANY (%s)' ELSE '%s %s ANY (ARRAY(%s))' END, mine[u.ord], op[u.ord][3],  -- an array of arrays has their elements
                                                format('SELECT %s FROM pg_catalog.unnest($2::pg_catalog.text[]) AS wanted(key)', one[u.ord])), ' AND ' ORDER BY u.ord)
                         FROM unnest(key.types) WITH ORDINALITY AS u(type, ord),
                              LATERAL (SELECT u.type LIKE '%[]' AS is_array) a);
  ELSIF point THEN
    RETURN checked || (SELECT string_agg(format('%s %s %s', mine[i], op[i][3], hi[i]), ' AND ' ORDER BY i) FROM generate_series(1, n) AS i);
  ELSIF n = 1 THEN
    RETURN checked || format('($1::pg_catalog.text[] IS NULL OR %s %s %s) AND %s %s %s', mine[1], op[1][5], lo[1], mine[1], op[1][2], hi[1]);
  END IF;
  RETURN checked || format('($1::pg_catalog.text[] IS NULL OR %s) AND ($1::pg_catalog.text[] IS NOT NULL OR %s)',
                backfill.between_positions(mine, lo, hi, alike, op, backfill.row_operator(key, 5), backfill.row_operator(key, 2), 1, ordered),
                CASE WHEN ordered THEN format('ROW(%s) %s ROW(%s) AND %s %s %s', array_to_string(mine, ', '), backfill.row_operator(key, 2), array_to_string(hi, ', '), mine[1], op[1][2], hi[1])
                     ELSE backfill.up_to_position(mine, hi, op, backfill.row_operator(key, 2), 1, false) END);
END
$$;

-- The condition that a row's key is none of those in $3, a text[] of positions in their text form, or NULL. Values are
-- compared, not their texts: 1.0 and 1.00 are one key. Where $3 is NULL, nothing of this is left in the plan.
CREATE OR REPLACE FUNCTION backfill.skip_condition(prefix text, key backfill.walk_key) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN format(CASE WHEN cardinality((key).columns) = 1 THEN '($3::pg_catalog.text[] IS NULL OR NOT (%s %s ANY (%s)))'
                           ELSE '($3::pg_catalog.text[] IS NULL OR NOT (ROW(%s) %s ANY (%s)))' END,
                      array_to_string(backfill.key_operands(prefix, key), ', '),
                      backfill.row_operator(key, 3),
                      format('SELECT %s FROM pg_catalog.unnest($3::pg_catalog.text[]) AS skipped(key)',
                             array_to_string(backfill.key_values('skipped.key', key), ', ')));
END
$$;

-- The condition by which a batch yields at a row that it is about to change: true, and now and then a millisecond later. Others
-- wait for a CPU for as long as a process runs at a stretch, and a kernel may leave it there for 3 ms. $4: after how many
-- microseconds of work, NULL: never, and then nothing of this is left in the plan. The clock's phase tells when, so nothing needs
-- to be kept; a sleep ends in the next phase of work. pg_sleep counts whole milliseconds: asked for 0.9 it takes 1.06 (PACE_YIELD_US).
CREATE OR REPLACE FUNCTION backfill.yield_condition() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '($4::bigint IS NULL OR CASE WHEN (pg_catalog.date_part(''epoch'', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8)::bigint'
         ' OPERATOR(pg_catalog.%) ($4::bigint OPERATOR(pg_catalog.+) 1060::bigint) OPERATOR(pg_catalog.<) $4::bigint'
         ' THEN true ELSE pg_catalog.pg_sleep(0.0009::pg_catalog.float8) IS NOT NULL END)'
$$;

-- Whether a job's batches can yield: not in a statement of the user's own, where the condition might hide what the planner
-- looks for, nor where its owner may not call pg_sleep.
CREATE OR REPLACE FUNCTION backfill.can_yield(job backfill.job) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN job.statement IS NULL
             AND coalesce((SELECT has_function_privilege(r.oid, 'pg_catalog.pg_sleep(double precision)', 'EXECUTE') FROM pg_roles r WHERE r.rolname = job.owner), false);
END
$$;

-- How {batch} is written, at the beginning of a text: with the alias, if there is one.
CREATE OR REPLACE FUNCTION backfill.batch_place(rest text, OUT place text, OUT alias text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS $$
  SELECT m[1], m[2] FROM regexp_match(rest, '^(\{batch(?:\s+("(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*))?\s*\})') m
$$;

-- How many {batch} a statement holds, those in strings, comments and quoted names left out.
CREATE OR REPLACE FUNCTION backfill.count_places(statement text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tokens constant text[] := backfill.tokens(statement);
BEGIN
  RETURN (SELECT count(p.place) FROM generate_subscripts(tokens, 1) i, backfill.batch_place(array_to_string(tokens[i:i + 5], '')) p WHERE tokens[i] = '{');
END
$$;

-- Puts the condition where {batch} stands, but for strings, comments and quoted names; {batch o} qualifies its columns with the alias o.
CREATE OR REPLACE FUNCTION backfill.place_batch(statement text, key backfill.walk_key, point boolean, several text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tokens text[] := backfill.tokens(statement);
  i      integer := 1;
  left_over integer;
  found  record;
BEGIN
  WHILE i <= cardinality(tokens) LOOP
    IF tokens[i] = '{' THEN
      SELECT * INTO found FROM backfill.batch_place(array_to_string(tokens[i:i + 5], ''));  -- {, batch, a blank, an alias, a blank, }
      left_over := length(found.place);
      IF left_over > 0 THEN
        tokens[i] := '(' || backfill.batch_condition(coalesce(found.alias || '.', ''), key, point, several)
                  || ' AND ' || backfill.skip_condition(coalesce(found.alias || '.', ''), key) || ')';
        left_over := left_over - 1;
        WHILE left_over > 0 LOOP
          i := i + 1;
          left_over := left_over - length(tokens[i]);
          tokens[i] := '';
        END LOOP;
      END IF;
    END IF;
    i := i + 1;
  END LOOP;
  RETURN array_to_string(tokens, '');
END
$$;

-- A relation of a job as it stands after UPDATE and FROM, and what qualifies its columns there. A leaf bears the name of the table that
-- the job is for, so that clauses may name that; with a schema before it they can't.
CREATE OR REPLACE FUNCTION backfill.relation_in_clauses(job backfill.job, relation oid, OUT source text, OUT name text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT CASE WHEN c.relkind = 'p' AND job.statement IS NOT NULL THEN n.name
              WHEN t.relkind = 'p' THEN format('ONLY %s AS %I', n.name, t.relname)
              ELSE 'ONLY ' || n.name END,
         CASE WHEN t.relkind = 'p' AND job.statement IS NULL THEN quote_ident(t.relname) ELSE n.name END
    INTO source, name
    FROM pg_class c, pg_class t, backfill.relation_name(relation) AS n(name)
   WHERE c.oid = relation AND t.oid = job.target;
END
$$;

-- A where_clause beside the condition of a batch. No index but the key's is to serve it: one on what is to do looks good to the planner
-- where little is left, and each batch would read all of it. A subquery is left as it is: it may be joined to the rows.
CREATE OR REPLACE FUNCTION backfill.condition_of(where_clause text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN format(E'(%s\n)', where_clause) || CASE WHEN where_clause ~* '\mselect\M' THEN '' ELSE ' IS TRUE' END;
END
$$;

-- The position of a row in a statement, text[]. name: what qualifies its columns.
CREATE OR REPLACE FUNCTION backfill.position_text(name text, key backfill.walk_key) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT 'ARRAY[' || string_agg(backfill.key_text(position_text.name || '.' || c, type), ', ' ORDER BY ord) || ']'
            FROM unnest((key).columns, (key).types) WITH ORDINALITY AS u(c, type, ord));
END
$$;

-- The same of one at which a batch ends, or a range: of types of users' own it is looked at whether it is exact (backfill.exact_key).
CREATE OR REPLACE FUNCTION backfill.position_of(name text, key backfill.walk_key) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  position  constant text := backfill.position_text(name, key);
  read_back constant text := (SELECT string_agg(format('%s %s %s', u.mine, (key).operators[u.ord][3], u.value), ' AND ' ORDER BY u.ord)
                                FROM unnest((key).types, backfill.key_operands(position_of.name || '.', key), backfill.key_values(position, key)) WITH ORDINALITY AS u(type, mine, value, ord)
                               WHERE backfill.is_users_type(u.type));
BEGIN
  RETURN CASE WHEN read_back IS NULL THEN position ELSE format('backfill.exact_key(%s, %s, %L)', position, read_back, array_to_string((key).columns, ', ')) END;
END
$$;

-- The statements of a job on one of its relations. Parameters: $1 below, $2 end (text[] each); of batch also $3, keys to
-- pass over, or NULL, and $4, after how many microseconds it yields, or NULL; of bound also $3, the number of keys (bigint).
-- Clauses stand on lines of their own, so that a comment
-- in one ends with it.
-- The comment tells them from an application's in pg_stat_statements.
--   batch  changes the rows of one batch
--   keys   lists the rows of one batch, as far as the clauses tell: key, and xmax, by which a lock's holder is found
--   look   the same, with xmin in its place, which tells who wrote them. Either is NULL for a role that may read single columns only
--   bound  the key that ends a batch of $3 keys above $1, at most $2; no row when fewer are left
--   last   the greatest key
--   sample the keys up to $2 on $3 percent of the pages, in their text form, with their place n among so many (total)
-- several: $2 is a text[] of positions, which are the batch: backfill.batch_condition.
CREATE OR REPLACE FUNCTION backfill.statements(job backfill.job, relation oid, key backfill.walk_key, point boolean, several text DEFAULT NULL,
    OUT batch text, OUT keys text, OUT bound text, OUT last text, OUT look text, OUT sample text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  named     record := backfill.relation_in_clauses(job, relation);  -- NULL: it was dropped just now, which the caller asks (check_is_there)
  source    text := named.source;
  name      text := named.name;
  position  text := backfill.position_text(name, key);
  to_do     text := coalesce(backfill.called_condition(job, relation), backfill.condition_of(job.where_clause));
  ordering  text[] := ARRAY(SELECT format('%s.%s', name, c) || CASE coll WHEN '' THEN '' ELSE ' COLLATE ' || coll END
                              FROM unnest(key.columns, key.collations) WITH ORDINALITY AS u(c, coll, ord) ORDER BY ord);
  walked    text := backfill.batch_condition(name || '.', key, point, ordered => true);
  wanted    text := backfill.batch_condition(name || '.', key, point, several);
  tag       text := backfill.statement_tag(key);
  rows      text := tag || format('SELECT %s, %%s FROM %s WHERE %s', replace(position, '%', '%%'), replace(source, '%', '%%'), replace(wanted, '%', '%%'))
                    || coalesce(E'\nAND ' || replace(to_do, '%', '%%'), '');
  owner     oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = job.owner);
BEGIN
  IF job.statement IS NOT NULL THEN
    batch := tag || backfill.place_batch(job.statement, key, point, several);
  ELSE
    batch := tag || format(E'UPDATE %s\nSET %s\nWHERE %s', source, coalesce(backfill.called_clause(job, relation), backfill.clause_for(job, relation)),
                    CASE WHEN relation <> job.target AND (SELECT c.relispartition FROM pg_class c WHERE c.oid = relation) THEN format('backfill.check_leaf(%s, %s) AND ', relation, job.target::oid) ELSE '' END || wanted || ' AND ' || backfill.skip_condition(name || '.', key))
          || coalesce(E'\nAND ' || to_do, '')
          || CASE WHEN NOT point AND several IS NULL AND backfill.can_yield(job) THEN E'\nAND ' || backfill.yield_condition() ELSE '' END;
  END IF;
  keys := format(rows, CASE WHEN has_column_privilege(owner, relation, 'xmax', 'SELECT') THEN name || '.xmax' ELSE 'NULL::pg_catalog.xid' END);
  look := format(rows, CASE WHEN has_column_privilege(owner, relation, 'xmin', 'SELECT') THEN name || '.xmin' ELSE 'NULL::pg_catalog.xid' END);
  IF key.attnums = '{-1}' THEN
    -- Rows come as they lie; the planner knows no such order, and none is asked for: whichever row it is, a batch ends there. Of some pages, at whose end it ends where they hold fewer.
    bound := tag || format('SELECT b.key FROM (SELECT coalesce((SELECT ARRAY[r.ctid::pg_catalog.text] FROM (SELECT %1$s.ctid FROM %2$s WHERE ($1::pg_catalog.text[] IS NULL OR %1$s.ctid OPERATOR(pg_catalog.>) ($1::pg_catalog.text[])[1]::pg_catalog.tid)'
                    ' AND %1$s.ctid OPERATOR(pg_catalog.<=) coalesce(w.ahead, ($2::pg_catalog.text[])[1]::pg_catalog.tid) OFFSET $3::bigint OPERATOR(pg_catalog.-) 1 LIMIT 1) AS r), ARRAY[w.ahead::pg_catalog.text]) AS key'
                    ' FROM (SELECT backfill.pages_ahead($1, $2, greatest(pg_catalog.ceil($3::numeric OPERATOR(pg_catalog./) %3$s OPERATOR(pg_catalog.*) 2) OPERATOR(pg_catalog.+) 8, least($3, 2000))) AS ahead) AS w) AS b WHERE b.key[1] IS NOT NULL',
                    name, source, backfill.rows_per_page(relation));
    last := tag || format('SELECT ARRAY[pg_catalog.format(''(%%s,65535)'', s.pages OPERATOR(pg_catalog.-) 1)] FROM (SELECT pg_catalog.pg_relation_size(%s) OPERATOR(pg_catalog./) pg_catalog.current_setting(''block_size'')::bigint AS pages) AS s WHERE s.pages OPERATOR(pg_catalog.>) 0', relation);
  ELSE
  -- The key is made text outside: inside that would be done of each key that is passed, which took longer than the scan.
  bound := tag || format('SELECT %s FROM (SELECT %s FROM %s WHERE %s ORDER BY %s OFFSET $3::bigint OPERATOR(pg_catalog.-) 1 LIMIT 1) AS bound',
                  backfill.position_of('bound', key),
                  (SELECT string_agg(format('%s.%s', name, c), ', ' ORDER BY ord) FROM unnest(key.columns) WITH ORDINALITY AS u(c, ord)),
                  source, walked, array_to_string(ordering, ', '));
  last := tag || format('SELECT %s FROM %s ORDER BY %s LIMIT 1', backfill.position_of(name, key), source,
                 array_to_string(ARRAY(SELECT o || ' DESC' FROM unnest(ordering) WITH ORDINALITY AS u(o, ord) ORDER BY ord), ', '));
  END IF;
  sample := tag || format('SELECT %s::pg_catalog.text AS key, pg_catalog.row_number() OVER (ORDER BY %s) AS n, pg_catalog.count(*) OVER () AS total'
                   ' FROM %s TABLESAMPLE pg_catalog.system ($3::pg_catalog.float8) WHERE %s', position, array_to_string(ordering, ', '), source, walked);
END
$$;

-- How many rows the statistics know on a page of a relation; where they know nothing, so many as in a table of a few columns.
CREATE OR REPLACE FUNCTION backfill.rows_per_page(relation oid) RETURNS numeric
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT least(greatest(CASE WHEN c.reltuples > 0 AND c.relpages > 0 THEN c.reltuples / c.relpages ELSE 60 END, 1), 300)::numeric(10, 3) FROM pg_class c WHERE c.oid = relation
$$;

-- The end of the page that is so many pages behind a position (NULL: before the first); NULL when upper is not above it.
CREATE OR REPLACE FUNCTION backfill.pages_ahead(lo text[], upper text[], pages numeric) RETURNS tid
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  page bigint := coalesce(pg_catalog.split_part(pg_catalog.substr(lo[1], 2), ',', 1)::bigint, -1::bigint) OPERATOR(pg_catalog.+) greatest(pages, 1)::bigint;
BEGIN
  RETURN CASE WHEN page OPERATOR(pg_catalog.<) pg_catalog.split_part(pg_catalog.substr(upper[1], 2), ',', 1)::bigint THEN pg_catalog.format('(%s,65535)', page)::pg_catalog.tid END;
END
$$;

-- A statement in place of bound (backfill.statements), of a key that is one integer: $3 above $1, whichever of the integers between are keys, so that none is searched; no row when that is $2 or more. NULL: of another key.
CREATE OR REPLACE FUNCTION backfill.reckoning_of(key backfill.walk_key) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'SELECT ARRAY[k.n::pg_catalog.text] FROM (SELECT ($1)[1]::numeric OPERATOR(pg_catalog.+) $3::numeric AS n) AS k WHERE k.n OPERATOR(pg_catalog.<) ($2)[1]::numeric'
   WHERE cardinality(key.columns) = 1 AND key.types[1] IN ('smallint', 'integer', 'bigint') AND key.identity -> 0 ->> 'opclass' IN ('pg_catalog.int2_ops', 'pg_catalog.int4_ops', 'pg_catalog.int8_ops')
$$;

-- Asks what is to do in a relation, by one look at all of it: 'none'; 'nulls', rows alone whose value the clause makes NULL, and which are done by that; else 'some', also where that relation is not
-- called so any more. NULL for a job that no where_clause tells of. Of a partitioned table at all partitions at once, for a row may go from one to another: backfill.looks_at_all.
CREATE OR REPLACE FUNCTION backfill.whole_look(job backfill.job, relation oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kind   constant "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = relation);
  source text := (backfill.relation_in_clauses(job, relation)).source;
  -- Its parts in their order, as in a batch: one may guard another. One alone may be served by an index.
  to_do  constant text := coalesce(backfill.called_condition(job, relation),
                                   CASE WHEN coalesce((job.plan -> 'where' ->> 'parts')::integer, cardinality(backfill.joined_by(job.where_clause, 'and'))) = 1 THEN job.where_clause ELSE backfill.condition_of(job.where_clause) END);
BEGIN
  IF job.where_clause IS NULL OR job.set_clause IS NULL OR source IS NULL THEN
    RETURN NULL;
  END IF;
  source := CASE kind WHEN 'p' THEN regexp_replace(source, '^ONLY ', '') ELSE source END;
  RETURN format(E'/* backfilld%s */ SELECT CASE WHEN pg_catalog.to_regclass(%L)::pg_catalog.oid OPERATOR(pg_catalog.<>) %s::pg_catalog.oid THEN ''some'' WHEN NOT EXISTS (SELECT FROM %s WHERE (%s\n)) THEN ''none''',
                CASE kind WHEN 'p' THEN ', all' ELSE '' END, backfill.relation_name(relation), relation, source, to_do)
         || CASE WHEN backfill.null_is_done(job)  -- the clause is computed of rows that are to do alone: of another it may fail
                 THEN format(E' WHEN NOT EXISTS (SELECT FROM %s WHERE (%s\n) AND (CASE WHEN (%2$s\n) THEN NOT (%s) ELSE false END)) THEN ''nulls''', source, to_do, backfill.gives_null(job, relation)) ELSE '' END
         || ' ELSE ''some'' END';
END
$$;

-- Whether such a look is at a partitioned table as a whole.
CREATE OR REPLACE FUNCTION backfill.looks_at_all(whole text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(starts_with(whole, '/* backfilld, all */'), false)
$$;

-- A partitioned table, or a partition, and all partitions below it; nothing of any other table. As pg_partition_tree, which takes a lock on each of them: a look at
-- somebody else's table must not wait for who holds one.
CREATE OR REPLACE FUNCTION backfill.partitions_of(root oid) RETURNS TABLE (relid oid, isleaf boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
  WITH RECURSIVE tree AS (
    SELECT c.oid, c.relkind FROM pg_class c WHERE c.oid = root AND (c.relkind = 'p' OR c.relkind IN ('r', 'f') AND c.relispartition)
    UNION ALL
    SELECT c.oid, c.relkind FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending JOIN pg_class c ON c.oid = i.inhrelid WHERE t.relkind = 'p'
  )
  SELECT t.oid, t.relkind <> 'p' FROM tree t;
END
$$;

-- The tables that a table's rows may be in: itself, what it is a partition of, and its partitions.
CREATE OR REPLACE FUNCTION backfill.kin_of(relation oid) RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(SELECT relation UNION SELECT a.relid::oid FROM pg_partition_ancestors(relation) a(relid) UNION SELECT p.relid FROM backfill.partitions_of(relation) p)
$$;

-- Whether it walks a partitioned table as one, by a statement of the user's own.
CREATE OR REPLACE FUNCTION backfill.walks_parent(job backfill.job) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN job.statement IS NOT NULL AND EXISTS (SELECT FROM pg_class c WHERE c.oid = job.target AND c.relkind = 'p');
END
$$;

-- The relations that a job works on: the table itself, or the leaves of a partitioned one. A job with a statement of its
-- own reaches the leaves through that statement, so its relation is the parent.
CREATE OR REPLACE FUNCTION backfill.relations_of(job backfill.job) RETURNS SETOF oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT job.target::oid
   WHERE job.statement IS NOT NULL
      OR (SELECT relkind FROM pg_class WHERE oid = job.target) <> 'p'
  UNION ALL
  SELECT t.relid
    FROM backfill.partitions_of(job.target) t
   WHERE t.isleaf
     AND job.statement IS NULL
     AND (SELECT relkind FROM pg_class WHERE oid = job.target) = 'p'
$$;

-- Whether a relation is a job's table, or a partition of it: not one that was dropped, nor one that was detached, which is somebody's own.
CREATE OR REPLACE FUNCTION backfill.is_of_target(job backfill.job, relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM pg_class c WHERE c.oid = relation) AND (relation = job.target OR EXISTS (SELECT FROM pg_partition_ancestors(relation) a WHERE a.relid = job.target));
END
$$;

-- The partitions of a job's table whose rows a statement of the user's own reaches by the table, as long as they belong to it: each with the transaction that has made it one.
CREATE OR REPLACE FUNCTION backfill.laid_out_now(job backfill.job) RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(SELECT ARRAY[i.inhrelid, i.xmin::text::oid] FROM backfill.partitions_of(job.target) p JOIN pg_inherits i ON i.inhrelid = p.relid WHERE p.relid <> job.target)
$$;

-- The key's column numbers in one relation (a partition numbers its columns in its own way), or NULL for "any key".
CREATE OR REPLACE FUNCTION backfill.key_numbers(relation oid, key text[]) RETURNS smallint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT array_agg(a.attnum ORDER BY u.ord)
          FROM unnest(key) WITH ORDINALITY AS u(name, ord)
          LEFT JOIN pg_attribute a ON a.attrelid = relation AND a.attname = u.name AND (a.attnum > 0 OR u.name = 'ctid') AND NOT a.attisdropped);
END
$$;
