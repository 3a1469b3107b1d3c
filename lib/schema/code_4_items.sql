-- The items of enforce: what the catalog has of each, what a foreign key references, and which rows break one.

-- The constraint, index and column of an item of enforce, as the catalog has them. kind: pg_constraint's contype. A column has
-- one NOT NULL at most, so in PostgreSQL 18, where it is a constraint, it counts by whatever name it has. is_another: what bears
-- the name is not what the item says, nor what the job has made, of which a table or a column may have got another name since.
CREATE OR REPLACE FUNCTION backfill.find_item(job backfill.job, item jsonb,
    OUT constraint_name name, OUT kind "char", OUT validated boolean, OUT index_oid oid, OUT index_valid boolean, OUT is_not_null boolean,
    OUT is_another boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.conname, k.contype, k.convalidated, i.indexrelid, i.indisvalid, backfill.is_not_null(job.target, (item ->> 'column')::name),
         k.conname = item ->> 'name' AND NOT coalesce(item -> 'made' ->> 'home' = backfill.home(0) AND item -> 'made' ->> 'oid' = k.oid::text, false)
         AND backfill.other_constraint(job.target, item ->> 'name', coalesce(item ->> 'in_catalog', item ->> 'definition')) IS NOT NULL
         OR CASE WHEN coalesce(octet_length(i.indexprs::text), 0) + coalesce(octet_length(i.indpred::text), 0) <= 2000000
                 THEN pg_get_indexdef(i.indexrelid) !~ (' USING ' || regexp_replace(item ->> 'index', '([^[:alnum:]_ ])', '\\\1', 'g') || '$') ELSE true END
    FROM (SELECT 1) one
    LEFT JOIN LATERAL (
      SELECT c.oid, c.conname, c.contype, c.convalidated
        FROM pg_constraint c
       WHERE c.conrelid = job.target
         AND (c.conname = item ->> 'name'
              OR c.contype = 'n' AND c.conkey = ARRAY[(SELECT a.attnum FROM pg_attribute a
                                                        WHERE a.attrelid = job.target AND a.attname = item ->> 'column')])
       ORDER BY c.contype <> 'n' LIMIT 1) k ON true
    LEFT JOIN (pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND i.indisunique)
           ON i.indrelid = job.target AND c.relname = item ->> 'name'
$$;

-- ---- Guard looks before it adds: no constraint comes while a row breaks it, for then the application's next UPDATE of that row fails

-- Refuses to go on while rows are put aside: what they hold, nobody has computed.
CREATE OR REPLACE FUNCTION backfill.check_left_behind(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n   bigint := (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = job.id AND l.reason IN ('error', 'locked'));
  key text := (SELECT (SELECT string_agg(format('%s = %s', a.attname, k.value), ', ' ORDER BY k.ord)
                         FROM unnest(l.key_columns, l.key) WITH ORDINALITY AS k(attnum, value, ord)
                         JOIN pg_attribute a ON a.attrelid = l.relation AND a.attnum = k.attnum)
                 FROM backfill.left_behind l WHERE l.job_id = job.id AND l.reason IN ('error', 'locked') ORDER BY l.id LIMIT 1);
BEGIN
  IF n > 0 THEN
    RAISE EXCEPTION '% left behind and % in the way of %: row %', CASE n WHEN 1 THEN '1 row was' ELSE n || ' rows were' END, CASE n WHEN 1 THEN 'stands' ELSE 'stand' END,
      (SELECT string_agg(CASE i ->> 'kind' WHEN 'not null' THEN format('NOT NULL %s', i ->> 'column') ELSE i ->> 'name' END, ', ')
         FROM jsonb_array_elements(job.plan -> 'enforce') i WHERE i ->> 'kind' <> 'unique'), key
      USING ERRCODE = '23514',
            HINT = format('No constraint was added. SELECT * FROM backfill.left_behind says why; correct these rows, then SELECT backfill.retry(%L).', job.name);
  END IF;
END
$$;

-- The operator by which a foreign key compares with a column that it refers to, behind the column: that of the column's unique index, and the column's own collation, whichever the other side has.
CREATE OR REPLACE FUNCTION backfill.equality_of(relation oid, column_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat((SELECT format('COLLATE %I.%I ', n.nspname, l.collname)
                   FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation JOIN pg_namespace n ON n.oid = l.collnamespace
                  WHERE a.attrelid = equality_of.relation AND quote_ident(a.attname) = equality_of.column_name AND a.attnum > 0),
                coalesce((SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
                     FROM pg_index i
                    CROSS JOIN unnest(i.indkey::smallint[], i.indclass::oid[]) AS u(attnum, opclass)
                     JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = u.attnum AND quote_ident(t.attname) = equality_of.column_name
                     JOIN pg_opclass c ON c.oid = u.opclass
                     JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype AND a.amopstrategy = 3
                     JOIN pg_operator o ON o.oid = a.amopopr
                     JOIN pg_namespace n ON n.oid = o.oprnamespace
                    WHERE i.indrelid = equality_of.relation AND i.indisunique
                    ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1), 'OPERATOR(pg_catalog.=)'))
$$;

-- A foreign key's definition taken apart: its columns, the table, the columns there, as written; what follows. NULL: it is none.
CREATE OR REPLACE FUNCTION backfill.parts_of_reference(item jsonb, OUT mine text[], OUT other text, OUT theirs text[], OUT more text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names constant text := '((?:"(?:[^"]|"")*"|[^"()])*)';
  parts constant text[] := regexp_match(item ->> 'definition', format('^FOREIGN KEY \(%s\) REFERENCES %s\(%s\)(.*)$', names, names, names));
BEGIN
  mine := ARRAY(SELECT btrim(c) FROM unnest(backfill.split_at(parts[1], ',')) AS c);
  other := parts[2];
  theirs := ARRAY(SELECT btrim(c) FROM unnest(backfill.split_at(parts[3], ',')) AS c);
  more := parts[4];
END
$$;

-- The table that a foreign key refers to; NULL: it is no foreign key, or no table stands under the name. Another than the one that was meant at INSERT is refused: its owner deletes, by it, rows of the job's table.
CREATE OR REPLACE FUNCTION backfill.referenced_table(item jsonb) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  referenced constant oid := (SELECT c.oid FROM backfill.parts_of_reference(item) p JOIN pg_class c ON c.oid = backfill.named_relation(p.other) AND c.relkind IN ('r', 'p'));
BEGIN
  IF NOT backfill.is_noted(item -> 'referenced', coalesce(referenced, 0)) THEN
    RAISE EXCEPTION 'table % that % is to reference is another one by now: the first was renamed, or dropped', (SELECT p.other FROM backfill.parts_of_reference(item) p), item ->> 'name'
      USING ERRCODE = '42P01', HINT = 'Give the table its name back, then SELECT backfill.retry(name); or have the constraint by a job of its own, for the table of today.';
  END IF;
  RETURN referenced;
END
$$;

-- The condition of rows that break an item of enforce; NULL where none can be written: then VALIDATE tells. alias: what the table is called in
-- it, in quotes where it needs them; a CHECK calls it by its own name.
CREATE OR REPLACE FUNCTION backfill.breaks_item(item jsonb, alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other constant text := CASE alias WHEN 'r' THEN 's' ELSE 'r' END;
  parts record;
BEGIN
  IF item ->> 'kind' = 'not null' THEN
    RETURN format('%s.%I IS NULL', alias, item ->> 'column');
  ELSIF item ->> 'kind' = 'check' THEN
    RETURN format('NOT (%s)', (regexp_match(item ->> 'definition', '^CHECK \((.*)\)(?: NO INHERIT)?$'))[1]);
  END IF;
  IF backfill.referenced_table(item) IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO parts FROM backfill.parts_of_reference(item);
  RETURN (SELECT format('(%s AND NOT EXISTS (SELECT FROM %s AS %s WHERE %s)%s)',
                        string_agg(format('%s.%s IS NOT NULL', alias, m), ' AND '), parts.other, other,
                        string_agg(format('%s.%s %s %s.%s', other, u, backfill.equality_of(backfill.referenced_table(item), u), alias, m), ' AND '),
                        CASE WHEN parts.more ~ ' MATCH FULL' THEN format(' OR pg_catalog.num_nulls(%1$s) OPERATOR(pg_catalog.>) 0 AND pg_catalog.num_nulls(%1$s) OPERATOR(pg_catalog.<) %2$s', string_agg(format('%s.%s', alias, m), ', '), count(*)) ELSE '' END)
            FROM unnest(parts.mine, parts.theirs) AS c(m, u));
END
$$;

-- Another name for a unique constraint whose name the job has chosen itself, for another relation bears it by now. Returns the item.
CREATE OR REPLACE FUNCTION backfill.choose_anew(job backfill.job, item jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  others constant text[] := ARRAY(SELECT i ->> 'name' FROM jsonb_array_elements(job.plan -> 'enforce') i);
  anew   constant jsonb := item || jsonb_build_object('name', backfill.constraint_name(job, item ->> 'columns', 'key', item ->> 'definition', others));
BEGIN
  UPDATE backfill.job j
     SET plan = jsonb_set(j.plan, '{enforce}', (SELECT jsonb_agg(CASE WHEN i = item THEN anew ELSE i END ORDER BY ord) FROM jsonb_array_elements(j.plan -> 'enforce') WITH ORDINALITY AS e(i, ord)))
   WHERE j.id = job.id;
  RETURN anew;
END
$$;

-- The commands that look for rows that break what is to be added: one that reads the table once for each item, and one that notes it. What walks
-- without a trigger have just proven twice is not read again.
CREATE OR REPLACE FUNCTION backfill.look_commands(job backfill.job) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(format('SELECT backfill.look_for_rows($1, %s)', ord) ORDER BY ord)
                    FILTER (WHERE backfill.breaks_item(i, quote_ident(c.relname)) IS NOT NULL
                              AND NOT (i ->> 'kind' = 'not null' AND job.set_clause IS NOT NULL AND NOT job.keep_in_sync
                                       AND backfill.null_columns(job.where_clause, c.relname::text) = ARRAY[i ->> 'column'])), '{}')
         || 'SELECT backfill.note_look($1)'::text
    FROM jsonb_array_elements(job.plan -> 'enforce') WITH ORDINALITY AS e(i, ord)
    JOIN pg_class c ON c.oid = job.target
   WHERE i ->> 'kind' <> 'unique'
     AND NOT EXISTS (SELECT FROM backfill.find_item(job, i) f WHERE f.constraint_name IS NOT NULL OR f.is_not_null)
$$;
