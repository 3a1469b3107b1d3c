-- Rows and tables that others have locked: who they are, and which rows a batch can have all the same.

-- A prepared transaction in words, of one line, whatever it was called. NULL: it isn't known which.
CREATE OR REPLACE FUNCTION backfill.prepared_name(gid text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce('prepared transaction ' || quote_literal(regexp_replace(gid, '[[:cntrl:]]+', ' ', 'g')), 'a prepared transaction')
$$;

-- Who stands in the way of anybody who would change the table, in words; NULL: nobody. A lock that is only waited for
-- counts: the batch would stand in the queue behind it.
CREATE OR REPLACE FUNCTION backfill.table_lock(relation oid) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s %s %s on %s',
                CASE WHEN l.pid IS NULL THEN backfill.prepared_name(t.gid)
                     ELSE 'pid ' || l.pid END,
                CASE WHEN l.granted THEN 'holds' ELSE 'waits for' END, l.mode, backfill.relation_name(l.relation))
    FROM pg_locks l
    LEFT JOIN LATERAL (SELECT min(p.gid) AS gid FROM pg_locks x JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
                        WHERE x.locktype = 'transactionid' AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
                       HAVING count(*) = 1) AS t ON l.pid IS NULL  -- two of different sessions' may have one number there
   WHERE l.locktype = 'relation' AND l.relation = table_lock.relation
     AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
     AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
     AND l.pid IS DISTINCT FROM pg_backend_pid()
   ORDER BY l.granted DESC, l.pid
   LIMIT 1
$$;

-- Whether a set_clause writes a column of a unique index that a foreign key could refer to: such an UPDATE meets those, too, who only keep the row's key,
-- as does an INSERT of a row that refers to it.
CREATE OR REPLACE FUNCTION backfill.changes_key(relation oid, set_clause text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_index i
                  WHERE i.indrelid = relation AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
                    AND i.indkey::smallint[] && backfill.key_numbers(relation, backfill.filled_columns(set_clause)))
$$;

-- The lock that a statement takes on the rows of a relation, as it stands in a SELECT; NULL: it doesn't change them.
CREATE OR REPLACE FUNCTION backfill.row_lock(plan jsonb, relation_name name) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE min(CASE node ->> 'Operation' WHEN 'Update' THEN 2 WHEN 'Insert' THEN NULL ELSE 1 END)
           WHEN 1 THEN 'FOR UPDATE' WHEN 2 THEN 'FOR NO KEY UPDATE' END
    FROM jsonb_path_query(plan, 'lax $.** ? (@."Node Type" == "ModifyTable")') AS node
   WHERE node ->> 'Relation Name' = relation_name
$$;

-- The sessions behind the xmax of locked rows. That is a transaction's number, or a multixact's where several hold a row;
-- nothing in the row tells which, so it is looked up as both: what isn't running any more is nobody's.
-- A prepared transaction has no pid: it is minus the last 31 bits of its number.
CREATE OR REPLACE FUNCTION backfill.holders_of(xids xid[]) RETURNS integer[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  holding xid[] := xids;
  x       xid;
BEGIN
  FOREACH x IN ARRAY xids LOOP
    BEGIN
      holding := holding || ARRAY(SELECT m.xid FROM pg_get_multixact_members(x) m);
    EXCEPTION WHEN OTHERS THEN
      NULL;  -- not a multixact's number
    END;
  END LOOP;
  RETURN ARRAY(SELECT DISTINCT coalesce(l.pid, -(l.transactionid::text::bigint & 2147483647)::integer) AS holder FROM pg_locks l
                WHERE l.locktype = 'transactionid' AND l.granted AND l.transactionid = ANY (holding)
                  AND l.pid IS DISTINCT FROM pg_backend_pid()
                ORDER BY holder);
END
$$;

-- Who may hold a lock that an UPDATE of a relation's rows meets elsewhere than on them: transactions that write there, or in tables of its foreign keys, where there are
-- any, else in the database; not the job's own workers. As backfill.holders_of has them, three at most.
CREATE OR REPLACE FUNCTION backfill.holders_beside(relation oid) RETURNS integer[]
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH near AS MATERIALIZED (
    SELECT relation AS id
    UNION ALL
    SELECT unnest(ARRAY[c.confrelid, c.conrelid]) FROM pg_constraint c WHERE c.contype = 'f' AND relation IN (c.conrelid, c.confrelid)),
  writing AS MATERIALIZED (
    SELECT coalesce(x.pid, -(x.transactionid::text::bigint & 2147483647)::integer) AS holder,
           bool_or(l.relation IN (SELECT n.id FROM near n) AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock', 'ShareLock')) AS is_near
      FROM pg_locks x
      JOIN pg_locks l ON l.virtualtransaction = x.virtualtransaction AND l.pid IS NOT DISTINCT FROM x.pid
     WHERE x.locktype = 'transactionid' AND x.granted AND x.mode = 'ExclusiveLock'
       AND l.locktype = 'relation' AND l.granted
       AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
       AND x.pid IS DISTINCT FROM pg_backend_pid()
       AND NOT EXISTS (SELECT FROM pg_stat_get_activity(x.pid) a WHERE starts_with(a.application_name, 'backfilld ') AND (a.usesysid = (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'backfill') OR pg_has_role(a.usesysid, to_regrole('backfill_submitter')::oid, 'MEMBER')))
     GROUP BY holder)
  SELECT (array_agg(w.holder ORDER BY w.is_near DESC, w.holder) FILTER (WHERE w.is_near OR NOT near_ones.are_there))[1:3]
    FROM writing w, (SELECT coalesce(bool_or(is_near), false) AS are_there FROM writing) near_ones
$$;

-- Locks those rows of a batch that are free, as its statement will, so that the statement waits for none of them. Returns
-- the keys of those that others hold, each in its text form, NULL when there is none, and who holds them. Where it can't lock rows as the statement does, for want
-- of a right, or because that locks none of the relation, it returns nothing.
-- A row that changes between this and the statement is no trouble: the statement passes over exactly the keys returned.
CREATE OR REPLACE FUNCTION backfill.lock_free_rows(statement text, keys_of text, relation oid, lo text[], hi text[], work backfill.work,
    OUT held text[], OUT holders integer[])
LANGUAGE plpgsql
AS $$
DECLARE
  in_the_way pg_catalog.text := backfill.table_lock(relation);
  strength   pg_catalog.text;
  xids       pg_catalog.xid[];
BEGIN
  IF in_the_way IS NULL THEN
    strength := backfill.row_lock(backfill.plan(statement),
                                  (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation));
    IF strength OPERATOR(pg_catalog.=) 'FOR NO KEY UPDATE' AND backfill.changes_key(relation, (backfill.own_job((work).ticket)).set_clause) THEN
      strength := 'FOR UPDATE';
    END IF;
    IF strength IS NULL OR NOT pg_catalog.has_any_column_privilege(relation, 'UPDATE')
       OR NOT pg_catalog.has_column_privilege(relation, 'xmax', 'SELECT') THEN  -- which no right to single columns gives
      RETURN;
    END IF;
  ELSE
    RAISE EXCEPTION '%', in_the_way USING ERRCODE = 'BF008';
  END IF;
  EXECUTE pg_catalog.concat(
    'WITH "free rows of the batch" AS MATERIALIZED (', keys_of, E'\n', strength, ' SKIP LOCKED) '
    'SELECT pg_catalog.array_agg(k.key::pg_catalog.text), pg_catalog.array_agg(DISTINCT k.holder::pg_catalog.text)::pg_catalog.xid[] '
    '  FROM (', keys_of, ') AS k(key, holder) '
    ' WHERE NOT (k.key::pg_catalog.text OPERATOR(pg_catalog.=) ANY (SELECT f.key::pg_catalog.text FROM "free rows of the batch" AS f(key, holder)))')  -- hashed, whatever is estimated
     INTO held, xids USING lo, hi;
  holders := CASE WHEN held IS NOT NULL THEN backfill.holders_of(xids[1:20]) END;
END
$$;

-- named: with what the sessions are called.
CREATE OR REPLACE FUNCTION backfill.locked_by(holders integer[], named boolean DEFAULT false) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'locked by ' ||
         coalesce((SELECT string_agg(CASE WHEN h.holder > 0
                                          THEN concat('pid ', h.holder, CASE WHEN named THEN (SELECT ' (' || nullif(a.application_name, '') || ')'
                                                                                                FROM pg_stat_get_activity(h.holder) a) END)
                                          ELSE backfill.prepared_name(t.gid) END, ', ')
                     FROM unnest(holders) AS h(holder)
                     LEFT JOIN pg_prepared_xacts t ON t.transaction::text::bigint & 2147483647 = -h.holder), 'another session')
$$;
