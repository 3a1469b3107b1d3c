-- The key by which a table is walked: which it is, what its order and its texts mean, and whether they still do.

-- Refuses a key whose columns are cast to text, or back, by a function of somebody who lacks the rights of that role: batches write keys as text, so that it would run with its rights. Such a cast
-- is its type's owner's to make, at any time, also by a function of the server's own that gives no value's text.
CREATE OR REPLACE FUNCTION backfill.check_casts(relation oid, attnums smallint[], role oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wrong record;
BEGIN
  SELECT a.attname, format('(%s AS %s)', k.castsource::regtype, k.casttarget::regtype) AS kind, f.oid::regprocedure AS function, o.rolname AS owner INTO wrong
    FROM pg_attribute a, backfill.base_type(a.atttypid) AS b(oid), pg_cast k JOIN pg_proc f ON f.oid = k.castfunc,
         pg_type y JOIN pg_roles o ON true
   WHERE a.attrelid = relation AND a.attnum = ANY (attnums)
     AND (k.castsource IN (a.atttypid, b.oid) AND k.casttarget = 'text'::regtype OR k.castsource = 'text'::regtype AND k.casttarget IN (a.atttypid, b.oid))
     AND k.oid >= 16384 AND y.oid = CASE k.casttarget WHEN 'text'::regtype THEN k.castsource ELSE k.casttarget END
     AND o.oid IN (y.typowner, f.proowner) AND NOT o.rolsuper AND NOT pg_has_role(role, o.oid, 'USAGE')
   ORDER BY o.oid <> f.proowner
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'key column % is cast % by function %, which is of % and would run with the rights of %', wrong.attname, wrong.kind, wrong.function, wrong.owner, backfill.role_name(role)
      USING ERRCODE = '42501', COLUMN = 'key', HINT = 'DROP CAST, or walk by a unique index over columns of other types (key).';
  END IF;
END
$$;

-- What a statement of a job's begins with, by which it is told from an application's in pg_stat_statements; and, where its key has types or collations of users' own, which columns it has, and what
-- was meant by their names: backfill.key_meaning. (Who owns neither type makes no cast: nobody else's need be looked at.)
CREATE OR REPLACE FUNCTION backfill.statement_tag(key backfill.walk_key) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF key.index_oid IS NULL OR NOT EXISTS (SELECT FROM unnest(key.types || key.collations) AS u(name) WHERE strpos(u.name, '.') > 0 AND u.name NOT LIKE 'pg\_catalog.%') THEN
    RETURN '/* backfilld */ ';
  END IF;
  RETURN format('/* backfilld, key %s %s */ ', key.attnums, backfill.key_meaning(key));
END
$$;

-- What the names are that a statement has for a key's types, collations and operators: another stands under one of them when the type, say, was renamed, and somebody has made one in its place.
CREATE OR REPLACE FUNCTION backfill.key_meaning(key backfill.walk_key) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN md5(concat(key.types, key.collations, key.operators));
END
$$;

-- Before a worker runs a statement that says by its tag that there is something to look at: its key's names mean what they meant, and nobody else's casts are in them.
CREATE OR REPLACE FUNCTION backfill.check_key_casts(relation oid, statement text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found constant text[] := regexp_match(left(statement, 300), '^/\* backfilld, key (\{[0-9,]+\}) (\w+) \*/');
BEGIN
  IF found IS NULL THEN
    RETURN;
  ELSIF EXISTS (SELECT FROM backfill.key_of(relation, found[1]::smallint[]) k WHERE backfill.key_meaning(k) <> found[2]) THEN
    RAISE EXCEPTION 'a type or a collation of the key has another name' USING ERRCODE = 'BF001', HINT = 'This statement was undone; the range is taken again.';
  END IF;
  PERFORM backfill.check_casts(relation, found[1]::smallint[], backfill.role_oid(current_user));
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

-- What tells, beside a type's name, that the text of a value still means that value. '{}' of most types. Of an enum, or what holds some:
--   enums    their names
--   written  md5 of their labels, each as enum_range gives them
--   labels   of each, in the order of their names, when they are up to 1,000: new ones between them are no change; of the only one without that list around it; else as written
-- NULL: nothing tells, so that no table is walked by it: the text is a name that something else may get (regclass and its like); or what it is made of is more than 100 types, or 10,000 labels.
CREATE OR REPLACE FUNCTION backfill.text_meaning(type oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kind    "char" := (SELECT t.typtype FROM pg_type t WHERE t.oid = type);
  most    constant bigint := 100;
  inside  oid[];
  found   record;
BEGIN
  IF kind = 'b' AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = type AND (t.typelem <> 0 OR t.typname LIKE 'reg%')) THEN
    RETURN '{}';
  END IF;
  inside := backfill.types_in(type, most);
  IF kind = 'd' OR cardinality(inside) > most OR inside && ARRAY['regproc', 'regprocedure', 'regoper', 'regoperator', 'regclass', 'regtype', 'regconfig', 'regdictionary', 'regrole', 'regnamespace', 'regcollation']::regtype[]::oid[] THEN
    RETURN NULL;
  ELSIF NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = ANY (inside) AND t.typtype = 'e') THEN
    RETURN '{}';
  ELSIF (SELECT count(*) FROM (SELECT FROM pg_enum e WHERE e.enumtypid = ANY (inside) LIMIT 10001) l) > 10000 THEN
    RETURN NULL;
  END IF;
  SELECT jsonb_agg(format_type(t.oid, -1) ORDER BY t.name) AS enums, md5(string_agg(t.labels::text, '' ORDER BY t.name)) AS written, jsonb_agg(t.labels ORDER BY t.name) AS labels, sum(cardinality(t.labels)) AS n INTO found
    FROM (SELECT t.oid, format_type(t.oid, -1) AS name,
                 ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS labels
            FROM pg_type t WHERE t.oid = ANY (inside) AND t.typtype = 'e') t;
  RETURN jsonb_build_object('enums', found.enums, 'written', found.written,
                            'labels', CASE WHEN found.n > 1000 THEN to_jsonb(found.written) WHEN kind = 'e' THEN found.labels -> 0 ELSE found.labels END);
END
$$;

-- The key to walk a table by: the columns of a unique, complete btree index over plain NOT NULL columns, whose order is
-- that of the type's own < operator, in one direction. The primary key if it is one; else the narrowest, of the first hundred.
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
BEGIN
  IF wanted = '{-1}'::smallint[] THEN
    RETURN QUERY
    SELECT c.oid, c.relfilenode, wanted, '{ctid}'::text[], '{tid}'::text[], '{""}'::text[], '{{OPERATOR(pg_catalog.<), OPERATOR(pg_catalog.<=), OPERATOR(pg_catalog.=), OPERATOR(pg_catalog.>=), OPERATOR(pg_catalog.>)}}'::text[],
           jsonb_build_array(jsonb_build_object('name', 'ctid', 'type', 'tid', 'opclass', 'pg_catalog.tid_ops', 'file', c.relfilenode))
      FROM pg_class c WHERE c.oid = relation;
    RETURN;
  END IF;
  FOR candidate IN
    SELECT i.indexrelid
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_am am ON am.oid = c.relam AND am.amname = 'btree'
     WHERE i.indrelid = relation
       AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
       AND (wanted IS NULL OR (i.indkey::smallint[])[0:i.indnkeyatts - 1] = wanted)
     ORDER BY i.indisprimary DESC, i.indnkeyatts, c.relpages, i.indexrelid
     LIMIT 100
  LOOP
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
               bool_and(backfill.is_not_null(relation, a.attname)) AS not_null,
               bool_and(b.meaning IS NOT NULL) AS has_meaning,
               count(DISTINCT u.opt) = 1 AND bool_and(u.opt IN (0, 3)) AS one_direction,
               bool_and(EXISTS (
                 SELECT FROM pg_opclass d
                  WHERE d.opcmethod = oc.opcmethod AND d.opcintype = oc.opcintype AND d.opcfamily = oc.opcfamily AND d.opcdefault)) AS default_order
          FROM unnest(i.indkey::smallint[], i.indclass::oid[], i.indcollation::oid[], i.indoption::smallint[])
               WITH ORDINALITY AS u(attnum, opc, coll, opt, ord)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
          JOIN pg_class t ON t.oid = i.indrelid
          JOIN pg_opclass oc ON oc.oid = u.opc
          JOIN pg_namespace ocn ON ocn.oid = oc.opcnamespace
         CROSS JOIN LATERAL (SELECT x.type, backfill.text_meaning(x.type) AS meaning FROM backfill.base_type(a.atttypid) AS x(type)) AS b
          LEFT JOIN LATERAL (SELECT format('%I.%I', cn.nspname, co.collname) AS name
                               FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = u.coll) n ON true
         WHERE u.ord <= i.indnkeyatts
      ) k
     WHERE i.indexrelid = candidate AND k.not_null AND k.has_meaning AND k.one_direction AND k.default_order;
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

-- Whether what was walked in one order may go on in another: the same columns, of types whose values are written and ordered alike. An
-- integer that was widened is. The names don't matter, nor does a collation's.
CREATE OR REPLACE FUNCTION backfill.same_order(was jsonb, now jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_array_length(was) = jsonb_array_length(now)
     AND (SELECT bool_and((w ->> 'order') IS NOT DISTINCT FROM (n ->> 'order')
                          AND (w ->> 'type' <> 'tid' OR w -> 'file' = n -> 'file')  -- in another file each row lies elsewhere
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
  SELECT string_agg(concat_ws(' ', quote_ident(c ->> 'name'), c ->> 'type', CASE jsonb_typeof(c -> 'labels') WHEN 'array' THEN left(c ->> 'labels', 200) WHEN 'string' THEN format('(labels %s)', left(c ->> 'labels', 8)) END, 'COLLATE ' || (c ->> 'collation'), '(' || (c ->> 'order') || ')'), ', ' ORDER BY ord)
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
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT array_agg(prefix || u.col || CASE WHEN (key).identity -> (u.ord - 1)::integer ? 'cast' THEN '::' || u.type ELSE '' END || CASE u.coll WHEN '' THEN '' ELSE ' COLLATE ' || u.coll END ORDER BY u.ord)
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
