-- The key by which a table is walked: which it is, what its order and its texts mean, and whether they still do.

-- Whether the name of a type, or of a collation, as a key has it, is that of one of users' own. A type's owner makes casts, to text and from text, for whatever he likes, and at any time: what a batch writes of a key, or reads, goes by the
-- type's own functions, which none but a superuser makes (backfill.key_text, key_value).
CREATE OR REPLACE FUNCTION backfill.is_users_type(type text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN strpos(type, '.') > 0 AND type NOT LIKE 'pg\_catalog.%';
END
$$;

-- The text of a key's column in a statement. expression: the column.
CREATE OR REPLACE FUNCTION backfill.key_text(expression text, type text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN backfill.is_users_type(type) THEN format('pg_catalog.concat(%s)', expression) ELSE expression || '::pg_catalog.text' END;
END
$$;

-- The value that a text means, of the type of kind, whatever casts there are. Of the same text always the same, since the session's settings are pinned: a constant for the planner.
CREATE OR REPLACE FUNCTION backfill.key_value(value text, kind anyelement) RETURNS anyelement
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made record;
BEGIN
  EXECUTE format('SELECT %L::%s AS it', value, format_type(pg_typeof(kind), -1)) INTO made;
  IF pg_typeof(made.it) <> pg_typeof(kind) THEN
    RAISE EXCEPTION 'a type of the key has another name' USING ERRCODE = 'BF001', HINT = 'This statement was undone; the range is taken again.';
  END IF;
  kind := made.it;
  RETURN kind;
EXCEPTION WHEN data_exception THEN  -- a label that was renamed, an attribute that came, while it was on its way
  RAISE EXCEPTION 'a text of the key is no value of %: the type was altered', pg_typeof(kind) USING ERRCODE = 'BF001', HINT = 'This statement was undone; the range is taken again.';
END
$$;

-- A position in a relation, if reading its text gives it back: some types write less than they compare, and rows would lie beyond it.
CREATE OR REPLACE FUNCTION backfill.exact_key(key text[], is_read_back boolean, columns text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT is_read_back THEN
    RAISE EXCEPTION 'the text of a key (%) is not its value: what is read from it is another', columns
      USING ERRCODE = 'BF005', HINT = 'Walk by a unique index over columns of other types (key), or by none (scan = ''ctid'').';
  END IF;
  RETURN key;
END
$$;

-- Refuses a key over a domain of a type of users' own, of whose owner that role must not be: batches have to name that type, and a cast to another that comes under its name in that moment would run with the role's rights.
CREATE OR REPLACE FUNCTION backfill.check_domains(relation oid, attnums smallint[], role oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wrong record;
BEGIN
  SELECT a.attname, format_type(b.oid, -1) AS type, o.rolname AS owner INTO wrong
    FROM pg_attribute a, backfill.base_type(a.atttypid) AS b(oid), pg_type t JOIN pg_roles o ON o.oid = t.typowner
   WHERE a.attrelid = relation AND a.attnum = ANY (attnums) AND b.oid <> a.atttypid AND t.oid = b.oid AND backfill.is_users_type(format_type(b.oid, -1))
     AND NOT o.rolsuper AND NOT pg_has_role(o.oid, role, 'MEMBER')
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'key column % is a domain over %, a type of %, which lacks the rights of %', wrong.attname, wrong.type, wrong.owner, backfill.role_name(role)
      USING ERRCODE = '42501', COLUMN = 'key', HINT = 'Walk by a unique index over columns of other types (key), or by none (scan = ''ctid'').';
  END IF;
END
$$;

-- What a statement of a job's begins with, by which it is told from an application's in pg_stat_statements; and, where its key has types or collations of users' own, which columns it has, and what
-- was meant by their names: backfill.key_meaning.
CREATE OR REPLACE FUNCTION backfill.statement_tag(key backfill.walk_key) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF key.index_oid IS NULL
     OR NOT EXISTS (SELECT FROM unnest(key.types || ARRAY(SELECT jsonb_array_elements_text(jsonb_path_query_array(key.identity, '$[*].collation')))) AS u(name) WHERE backfill.is_users_type(u.name)) THEN
    RETURN '/* backfilld */ ';
  END IF;
  RETURN format('/* backfilld, key %s %s */ ', key.attnums, backfill.key_meaning(key));
END
$$;

-- What the names are that a statement has for a key's types, collations and operators: another stands under one of them when the type, say, was renamed, and somebody has made one in its place; and
-- what its composite types are made of, for ALTER TYPE makes no index anew.
CREATE OR REPLACE FUNCTION backfill.key_meaning(key backfill.walk_key) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN md5(concat(key.types, jsonb_path_query_array(key.identity, '$[*].collation'), key.operators, jsonb_path_query_array(key.identity, '$[*].made_of'), jsonb_path_query_array(key.identity, '$[*].here.attributes')));
END
$$;

-- Before a worker runs a statement that says by its tag that there is something to look at: its key's names mean what they meant.
CREATE OR REPLACE FUNCTION backfill.check_key_names(relation oid, statement text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found constant text[] := regexp_match(left(statement, 300), '^/\* backfilld, key (\{[0-9,]+\}) (\w+) \*/');
BEGIN
  IF found IS NULL THEN
    RETURN;
  ELSIF NOT EXISTS (SELECT FROM backfill.key_of(relation, found[1]::smallint[]) k WHERE backfill.key_meaning(k) = found[2]) THEN
    RAISE EXCEPTION 'a type of the key was altered, or a type or a collation of it has another name' USING ERRCODE = 'BF001', HINT = 'This statement was undone; the range is taken again.';
  END IF;
  PERFORM backfill.check_domains(relation, found[1]::smallint[], backfill.role_oid(current_user));
END
$$;

-- All types that a value of a type is made of: itself, elements, attributes, bounds, what domains are over. The first of them, up to one more than most.
CREATE OR REPLACE FUNCTION backfill.types_in(type oid, most bigint) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(
    WITH RECURSIVE inside(oid) AS (
      SELECT types_in.type
      UNION
      SELECT n.oid
        FROM inside i
       CROSS JOIN LATERAL (SELECT u.oid FROM pg_type t, unnest(ARRAY[t.typelem, t.typbasetype]) AS u(oid) WHERE t.oid = i.oid AND u.oid <> 0
                           UNION ALL
                           (SELECT a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped WHERE t.oid = i.oid AND t.typtype = 'c' LIMIT most + 1)
                           UNION ALL
                           SELECT r.rngsubtype FROM pg_range r WHERE i.oid IN (r.rngtypid, r.rngmultitypid)) n(oid)
    )
    SELECT i.oid FROM inside i LIMIT most + 1);
END
$$;

-- What tells, beside a type's name, that the text of a value still means that value. '{}' of most types. Of a composite type, or what holds some:
--   made_of  md5 of their attributes' types
-- of an enum, or what holds some:
--   enums    their names
--   written  md5 of their labels, each as enum_range gives them
--   labels   of each, in the order of their names, when they are up to 1,000: new ones between them are no change; of the only one without that list around it; else as written
-- of both:
--   here     what means nothing in another database: of, which it is; attributes, md5 of their numbers; ids, the labels' OIDs, which they keep under another name, in the order of labels
-- NULL: nothing tells, so that no table is walked by it: the text is a name that something else may get (regclass and its like); or there is a domain within it, whose CHECKs whoever reads such a text runs, or
-- a range with a subtype_diff of users' own, which the planner calls. Who asks has asked before whether it is too much (backfill.is_too_rich).
CREATE OR REPLACE FUNCTION backfill.text_meaning(type oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kind    "char" := (SELECT t.typtype FROM pg_type t WHERE t.oid = type);
  inside  oid[];
  found   record;
  parts   record;
  here    jsonb;
BEGIN
  IF kind = 'b' AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = type AND (t.typelem <> 0 OR t.typname LIKE 'reg%')) THEN
    RETURN '{}';
  END IF;
  inside := backfill.types_in(type, 100);
  IF EXISTS (SELECT FROM pg_type t WHERE t.oid = ANY (inside) AND t.typtype = 'd') OR EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = ANY (inside) AND r.rngsubdiff::oid >= 16384)
     OR inside && ARRAY['regproc', 'regprocedure', 'regoper', 'regoperator', 'regclass', 'regtype', 'regconfig', 'regdictionary', 'regrole', 'regnamespace', 'regcollation']::regtype[]::oid[] THEN
    RETURN NULL;
  END IF;
  SELECT md5(string_agg(concat_ws(' ', format_type(t.oid, -1), format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY format_type(t.oid, -1), a.attnum)) AS types,
         md5(string_agg(concat_ws(' ', t.oid, a.attnum), ', ' ORDER BY t.oid, a.attnum)) AS attributes INTO parts
    FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
   WHERE t.oid = ANY (inside) AND t.typtype = 'c';
  here := jsonb_build_object('of', backfill.home('pg_enum'::regclass)) || jsonb_strip_nulls(jsonb_build_object('attributes', parts.attributes));
  IF NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = ANY (inside) AND t.typtype = 'e') THEN
    RETURN CASE WHEN parts.types IS NULL THEN '{}' ELSE jsonb_build_object('made_of', parts.types, 'here', here) END;
  END IF;
  SELECT jsonb_agg(format_type(t.oid, -1) ORDER BY t.name) AS enums, md5(string_agg(t.labels::text, '' ORDER BY t.name)) AS written, jsonb_agg(t.labels ORDER BY t.name) AS labels, jsonb_agg(t.ids ORDER BY t.name) AS ids, sum(cardinality(t.labels)) AS n INTO found
    FROM (SELECT t.oid, format_type(t.oid, -1) AS name,
                 ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS labels,
                 ARRAY(SELECT e.oid FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS ids
            FROM pg_type t WHERE t.oid = ANY (inside) AND t.typtype = 'e') t;
  here := here || jsonb_build_object('ids', CASE WHEN found.n > 1000 THEN to_jsonb(md5(found.ids::text)) WHEN kind = 'e' THEN found.ids -> 0 ELSE found.ids END);
  RETURN jsonb_strip_nulls(jsonb_build_object('made_of', parts.types)) || jsonb_build_object('here', here, 'enums', found.enums, 'written', found.written,
                            'labels', CASE WHEN found.n > 1000 THEN to_jsonb(found.written) WHEN kind = 'e' THEN found.labels -> 0 ELSE found.labels END);
END
$$;

-- Whether a key over columns of those types is too much to be asked for by everybody's session: it is made of more than 100 types, 1,000 attributes, or 10,000 labels, each as often as it comes.
CREATE OR REPLACE FUNCTION backfill.is_too_rich(types oid[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  type   oid;
  inside oid[];
  parts  bigint := 0;
  labels bigint := 0;
  fields bigint := 0;
BEGIN
  FOREACH type IN ARRAY types LOOP
    CONTINUE WHEN type < 16384;  -- the server's own
    inside := backfill.types_in(type, 100);
    parts := parts + cardinality(inside);
    labels := labels + (SELECT count(*) FROM (SELECT FROM pg_enum e WHERE e.enumtypid = ANY (inside) LIMIT 10001) l);
    fields := fields + (SELECT count(*) FROM (SELECT FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid WHERE t.oid = ANY (inside) AND t.typtype = 'c' LIMIT 1001) a);
    IF parts > 100 OR labels > 10000 OR fields > 1000 THEN
      RETURN true;
    END IF;
  END LOOP;
  RETURN false;
END
$$;

-- The key to walk a table by: the columns of a unique, complete btree index over plain NOT NULL columns, whose order is
-- that of the type's own < operator, in one direction. The primary key if it is one; else the narrowest, of the first hundred; of those that are so, the first five are asked what their texts mean.
-- wanted: the columns that it must have, in this order, or NULL. No row: the table has no such key. {-1}: ctid, where the rows lie: any table has that.
--   index_oid, filenode         the index, of ctid the table, and its file (0: a partitioned one has none): both are others once its order may be
--   columns, types, collations  ready to stand in SQL; collations holds '' where the column's own applies
--   operators                   of each column <, <=, =, >= and > as the index has them, ready to stand in SQL whatever the search_path
--   identity                    what the order of the key rests on: backfill.same_order; cast: a domain whose operators are found for what it is over
-- In plpgsql, whose plans last as long as the session: it is asked several times for each job, and many may come in one INSERT.
CREATE OR REPLACE FUNCTION backfill.key_of(relation oid, wanted smallint[] DEFAULT NULL) RETURNS SETOF backfill.walk_key
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  candidate oid;
  users     boolean;  -- a column of it has a type of users' own, of which it may cost much to ask
  asked     integer := 0;
BEGIN
  IF wanted = '{-1}'::smallint[] THEN
    RETURN QUERY
    SELECT c.oid, c.relfilenode, wanted, '{ctid}'::text[], '{tid}'::text[], '{""}'::text[], '{{OPERATOR(pg_catalog.<), OPERATOR(pg_catalog.<=), OPERATOR(pg_catalog.=), OPERATOR(pg_catalog.>=), OPERATOR(pg_catalog.>)}}'::text[],
           jsonb_build_array(jsonb_build_object('name', 'ctid', 'type', 'tid', 'opclass', 'pg_catalog.tid_ops', 'file', c.relfilenode))
      FROM pg_class c WHERE c.oid = relation;
    RETURN;
  END IF;
  FOR candidate, users IN
    SELECT i.indexrelid, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = ANY (i.indkey::smallint[]) AND a.atttypid >= 16384)
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_am am ON am.oid = c.relam AND am.amname = 'btree'
     WHERE i.indrelid = relation
       AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
       AND (wanted IS NULL OR (i.indkey::smallint[])[0:i.indnkeyatts - 1] = wanted)
     ORDER BY i.indisprimary DESC, i.indnkeyatts, c.relpages, i.indexrelid
     LIMIT 100
  LOOP
    CONTINUE WHEN NOT (
      SELECT bool_and(backfill.is_not_null(relation, a.attname)) AND count(DISTINCT u.opt) = 1 AND bool_and(u.opt IN (0, 3))
             AND bool_and(EXISTS (
               SELECT FROM pg_opclass oc JOIN pg_opclass d ON d.opcmethod = oc.opcmethod AND d.opcintype = oc.opcintype AND d.opcfamily = oc.opcfamily AND d.opcdefault
                WHERE oc.oid = u.opc))
        FROM pg_index i
       CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[], i.indoption::smallint[]) WITH ORDINALITY AS u(attnum, opc, opt, ord)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
       WHERE i.indexrelid = candidate AND u.ord <= i.indnkeyatts);
    asked := asked + users::integer;
    EXIT WHEN asked > 5;
    CONTINUE WHEN users AND backfill.is_too_rich(ARRAY(SELECT backfill.base_type(a.atttypid) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1])
                                              WHERE i.indexrelid = candidate));
    RETURN QUERY
    SELECT i.indexrelid, c.relfilenode, k.attnums, k.columns, k.types, k.collations, k.operators, k.identity
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      CROSS JOIN LATERAL (
        SELECT array_agg(a.attnum ORDER BY u.ord) AS attnums,
               array_agg(quote_ident(a.attname) ORDER BY u.ord) AS columns,
               array_agg(format_type(b.type, -1) ORDER BY u.ord) AS types,
               array_agg(CASE WHEN u.coll IN (0, a.attcollation) THEN '' ELSE n.name END ORDER BY u.ord) AS collations,
               array_agg(ARRAY(SELECT format('OPERATOR(%I.%s)', pn.nspname, p.oprname)
                                 FROM pg_amop o
                                 JOIN pg_operator p ON p.oid = o.amopopr
                                 JOIN pg_namespace pn ON pn.oid = p.oprnamespace
                                WHERE o.amopfamily = oc.opcfamily AND o.amoplefttype = oc.opcintype AND o.amoprighttype = oc.opcintype
                                ORDER BY o.amopstrategy) ORDER BY u.ord) AS operators,
               jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                 'name', a.attname, 'type', format_type(b.type, -1), 'opclass', format('%I.%I', ocn.nspname, oc.opcname),
                 'collation', n.name, 'order', backfill.collation_order(nullif(u.coll, 0)), 'file', t.relfilenode, 'version', a.xmin::text,
                 'cast', CASE WHEN b.type <> a.atttypid AND (SELECT d.typtype IN ('e', 'c', 'r', 'm') OR d.typnamespace <> 'pg_catalog'::regnamespace FROM pg_type d WHERE d.oid = b.type) THEN true END)) || b.meaning ORDER BY u.ord) AS identity,
               bool_and(b.meaning IS NOT NULL) AS has_meaning
          FROM unnest(i.indkey::smallint[], i.indclass::oid[], i.indcollation::oid[]) WITH ORDINALITY AS u(attnum, opc, coll, ord)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
          JOIN pg_class t ON t.oid = i.indrelid
          JOIN pg_opclass oc ON oc.oid = u.opc
          JOIN pg_namespace ocn ON ocn.oid = oc.opcnamespace
         CROSS JOIN LATERAL (SELECT x.type, backfill.text_meaning(x.type) AS meaning FROM backfill.base_type(a.atttypid) AS x(type)) AS b
          LEFT JOIN LATERAL (SELECT format('%I.%I', cn.nspname, co.collname) AS name
                               FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = u.coll) n ON true
         WHERE u.ord <= i.indnkeyatts
      ) k
     WHERE i.indexrelid = candidate AND k.has_meaning;
    EXIT WHEN FOUND;
  END LOOP;
END
$$;

-- Whether labels of an enum still stand in the order in which they were, whatever has come between; of what isn't told by its labels, whether all is as it was (backfill.text_meaning).
CREATE OR REPLACE FUNCTION backfill.same_labels(was jsonb, now jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN jsonb_typeof(was -> 0) = 'array' AND jsonb_typeof(now -> 0) = 'array'
              THEN jsonb_array_length(was) = jsonb_array_length(now)
                   AND (SELECT bool_and(w.labels = (SELECT coalesce(jsonb_agg(l ORDER BY ord), '[]') FROM jsonb_array_elements_text(n.labels) WITH ORDINALITY AS x(l, ord) WHERE l IN (SELECT jsonb_array_elements_text(w.labels))))
                          FROM jsonb_array_elements(was) WITH ORDINALITY AS w(labels, ord) JOIN jsonb_array_elements(now) WITH ORDINALITY AS n(labels, ord) USING (ord))
              WHEN jsonb_typeof(was) = 'array' AND jsonb_typeof(now) = 'array'
              THEN was = (SELECT coalesce(jsonb_agg(l ORDER BY ord), '[]') FROM jsonb_array_elements_text(now) WITH ORDINALITY AS x(l, ord) WHERE l IN (SELECT jsonb_array_elements_text(was)))
              ELSE was = now END
$$;

-- Whether, in the database where both were looked at, composite types have the attributes that they had, and each label is the one that bore its name: another may have got it.
CREATE OR REPLACE FUNCTION backfill.same_here(was jsonb, now jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(was -> 'here' ->> 'of' <> now -> 'here' ->> 'of', true)
      OR was -> 'here' -> 'attributes' IS NOT DISTINCT FROM now -> 'here' -> 'attributes'
         AND CASE WHEN jsonb_typeof(was -> 'labels') = 'array' AND jsonb_typeof(now -> 'labels') = 'array'
                  THEN NOT EXISTS (
                    SELECT FROM (SELECT CASE WHEN jsonb_typeof(was -> 'labels' -> 0) = 'array' THEN was -> 'labels' ELSE jsonb_build_array(was -> 'labels') END AS w_labels,
                                        CASE WHEN jsonb_typeof(was -> 'here' -> 'ids' -> 0) = 'array' THEN was -> 'here' -> 'ids' ELSE jsonb_build_array(was -> 'here' -> 'ids') END AS w_ids,
                                        CASE WHEN jsonb_typeof(now -> 'labels' -> 0) = 'array' THEN now -> 'labels' ELSE jsonb_build_array(now -> 'labels') END AS n_labels,
                                        CASE WHEN jsonb_typeof(now -> 'here' -> 'ids' -> 0) = 'array' THEN now -> 'here' -> 'ids' ELSE jsonb_build_array(now -> 'here' -> 'ids') END AS n_ids) j,
                         ROWS FROM (jsonb_array_elements(j.w_labels), jsonb_array_elements(j.w_ids)) WITH ORDINALITY AS w(labels, ids, ord)
                    JOIN ROWS FROM (jsonb_array_elements(j.n_labels), jsonb_array_elements(j.n_ids)) WITH ORDINALITY AS n(labels, ids, ord) USING (ord),
                         ROWS FROM (jsonb_array_elements_text(w.labels), jsonb_array_elements_text(w.ids)) AS wl(label, id)
                    JOIN ROWS FROM (jsonb_array_elements_text(n.labels), jsonb_array_elements_text(n.ids)) AS nl(label, id) USING (label)
                   WHERE wl.id <> nl.id)
                  ELSE was -> 'here' -> 'ids' IS NOT DISTINCT FROM now -> 'here' -> 'ids' END
$$;

-- Whether what was walked in one order may go on in another: the same columns, of types whose values are written and ordered alike. An
-- integer that was widened is. The names don't matter, nor does a collation's.
CREATE OR REPLACE FUNCTION backfill.same_order(was jsonb, now jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_array_length(was) = jsonb_array_length(now)
     AND (SELECT bool_and((w ->> 'order') IS NOT DISTINCT FROM (n ->> 'order')
                          AND (w ->> 'type' <> 'tid' OR w -> 'file' = n -> 'file')  -- in another file each row lies elsewhere
                          AND coalesce(w ->> 'made_of' = n ->> 'made_of', true) AND backfill.same_here(w, n)
                          AND (NOT w ? 'labels' AND NOT n ? 'labels' OR backfill.same_labels(w -> 'labels', n -> 'labels') IS NOT FALSE)
                          AND (w -> 'type' = n -> 'type' AND w -> 'opclass' = n -> 'opclass'
                               OR w ->> 'type' IN ('text', 'character varying') AND n ->> 'type' IN ('text', 'character varying')
                               OR coalesce(array_position(t.widening, w ->> 'type') <= array_position(t.widening, n ->> 'type'), false)))
            FROM jsonb_array_elements(was) WITH ORDINALITY AS x(w, ord)
            JOIN jsonb_array_elements(now) WITH ORDINALITY AS y(n, ord) USING (ord),
                 (SELECT '{smallint, integer, bigint, numeric}'::text[] AS widening) t)
$$;

-- A column of a key whose values may be others than they were: its table was written anew, and so was what the catalog says of it. ALTER COLUMN TYPE … USING
-- leaves such a trace, CLUSTER and the like don't. NULL: there is none. An integer that was widened is taken for what it was.
CREATE OR REPLACE FUNCTION backfill.rewritten(was jsonb, now jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT min(n ->> 'name')
    FROM jsonb_array_elements(was) WITH ORDINALITY AS x(w, ord)
    JOIN jsonb_array_elements(now) WITH ORDINALITY AS y(n, ord) USING (ord)
   WHERE w ->> 'file' <> n ->> 'file' AND w ->> 'version' <> n ->> 'version' AND w -> 'type' = n -> 'type'
$$;

CREATE OR REPLACE FUNCTION backfill.without_traces(identity jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_agg(c - 'file' - 'version' ORDER BY ord) FROM jsonb_array_elements(identity) WITH ORDINALITY AS x(c, ord)
$$;

-- How a key's identity has changed, in words.
CREATE OR REPLACE FUNCTION backfill.key_in_words(identity jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(concat_ws(' ', quote_ident(c ->> 'name'), c ->> 'type', CASE WHEN c ? 'made_of' THEN format('(attributes %s)', left(c ->> 'made_of', 8)) END, CASE jsonb_typeof(c -> 'labels') WHEN 'array' THEN left(c ->> 'labels', 200) WHEN 'string' THEN format('(labels %s)', left(c ->> 'labels', 8)) END, 'COLLATE ' || (c ->> 'collation'), '(' || (c ->> 'order') || ')'), ', ' ORDER BY ord)
    FROM jsonb_array_elements(identity) WITH ORDINALITY AS x(c, ord)
$$;

-- Part of each condition on a key: true, as long as the index has the order in which the condition was written. Asked once a
-- statement, when that has locked its table. ALTER COLUMN TYPE makes the index anew; so do REINDEX, CLUSTER and others: the range is
-- then taken again, by what the key is by then.
CREATE OR REPLACE FUNCTION backfill.check_key(index_oid oid, filenode oid) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  -- Both read the catalog as it is now, whatever snapshot the statement has.
  IF (CASE WHEN filenode OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN pg_catalog.pg_index_has_property(index_oid::pg_catalog.regclass, 'clusterable') IS NOT NULL
          ELSE pg_catalog.pg_relation_filenode(index_oid::pg_catalog.regclass) OPERATOR(pg_catalog.=) filenode END) THEN
    RETURN true;
  END IF;
  RAISE EXCEPTION 'the index of the key, or the table, was made anew' USING ERRCODE = 'BF001', HINT = 'This statement was undone; the range is taken again.';
END
$$;

-- Part of each condition on a key with an enum: true, as long as its labels are those of when the statement was written (md5). labels: those of now.
CREATE OR REPLACE FUNCTION backfill.check_labels(labels text, written text) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  IF pg_catalog.md5(labels) OPERATOR(pg_catalog.=) written THEN
    RETURN true;
  END IF;
  RAISE EXCEPTION 'labels of an enum in the key were changed' USING ERRCODE = 'BF001', HINT = 'This statement was undone; the range is taken again.';
END
$$;

-- The part of a condition that asks so; empty: no column of the key is an enum, or holds one. Only who runs the batch needs a right to their schemas.
CREATE OR REPLACE FUNCTION backfill.labels_condition(key backfill.walk_key) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT coalesce(string_agg(format('backfill.check_labels(pg_catalog.concat(%s), %L) AND ', l.ranges, u.part ->> 'written'), '' ORDER BY u.ord), '')
          FROM jsonb_array_elements((key).identity) WITH ORDINALITY AS u(part, ord),
               LATERAL (SELECT string_agg(format('pg_catalog.enum_range(NULL::%s)', e.name), ', ' ORDER BY e.ord) FROM jsonb_array_elements_text(u.part -> 'enums') WITH ORDINALITY AS e(name, ord)) AS l(ranges)
         WHERE u.part ? 'enums');
END
$$;

-- The columns of a key, as its operators take them. prefix: what qualifies them.
CREATE OR REPLACE FUNCTION backfill.key_operands(prefix text, key backfill.walk_key) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT array_agg(prefix || u.col || CASE WHEN (key).identity -> (u.ord - 1)::integer ? 'cast' THEN '::' || backfill.whose_type(u.type) ELSE '' END || CASE u.coll WHEN '' THEN '' ELSE ' COLLATE ' || u.coll END ORDER BY u.ord)
          FROM unnest((key).columns, (key).types, (key).collations) WITH ORDINALITY AS u(col, type, coll, ord));
END
$$;

-- The operator that compares rows of a key: the one name for all of its columns. Where their operators live in several schemas, its bare
-- name, which the session's search_path must lead to all of them: backfill.check_operators. strategy: 1 <, 2 <=, 3 =, 4 >=, 5 >.
CREATE OR REPLACE FUNCTION backfill.row_operator(key backfill.walk_key, strategy integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT CASE WHEN count(DISTINCT o.operator) = 1 THEN min(o.operator) ELSE min(regexp_replace(o.operator, '^OPERATOR\(.*\.([^."]+)\)$', '\1')) END
          FROM (SELECT (key).operators[i][strategy] AS operator FROM generate_subscripts((key).operators, 1) AS i) o);
END
$$;
