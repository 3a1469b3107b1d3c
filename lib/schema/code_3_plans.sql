-- What a worker asks of the planner before anything is changed: a batch, and the search for the next one, read no more than what they are for.

-- Whether a plan (EXPLAIN VERBOSE) reads a relation, or a partition of it, as a whole where a batch should read a part of it.
CREATE OR REPLACE FUNCTION backfill.plan_reads_all(plan jsonb, relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (
    SELECT FROM jsonb_path_query(plan, 'lax $.** ? (@."Node Type" == "Seq Scan")') AS node, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE (c.oid = relation OR pg_partition_root(c.oid) = relation AND c.relpages > 100) AND node ->> 'Relation Name' = c.relname AND node ->> 'Schema' = n.nspname)
$$;

-- Whether a plan reads relations, and none of them is this one, or one of the same partitioned table.
CREATE OR REPLACE FUNCTION backfill.plan_leaves_out(plan jsonb, relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT count(*) > 0 AND NOT bool_or(EXISTS (SELECT FROM pg_class c WHERE c.relname = n.name #>> '{}' AND (c.oid = relation OR pg_partition_root(c.oid) = pg_partition_root(relation))))
    FROM jsonb_path_query(plan, 'lax $.**."Relation Name"') AS n(name)
$$;

-- Whether the statement of a first batch, which begins before all keys, doesn't read the relation: between two keys that are the same no row lies, and of a partitioned table the planner sees that.
CREATE OR REPLACE FUNCTION backfill.leaves_out_first(batch text, relation oid, upper text[]) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
  plan pg_catalog.jsonb;
BEGIN
  EXECUTE pg_catalog.concat('EXPLAIN (FORMAT JSON, VERBOSE) ', batch) INTO plan USING NULL::pg_catalog.text[], upper, NULL::pg_catalog.text[], NULL::bigint;
  RETURN backfill.plan_leaves_out(plan, relation);
END
$$;

-- Before anything is changed: the batch's statement is planned as it will be sent, and may not read the whole table. Runs in the
-- worker's session, so rights and settings are those of the batches. upper: the relation's greatest key.
CREATE OR REPLACE FUNCTION backfill.check_batch(batch text, relation oid, upper text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  plan pg_catalog.jsonb;
BEGIN
  FOR plan IN EXECUTE pg_catalog.concat('EXPLAIN (FORMAT JSON, VERBOSE) ', batch) USING upper, upper, NULL::pg_catalog.text[], NULL::bigint LOOP
    IF backfill.plan_reads_all(plan, relation) THEN
      RAISE EXCEPTION 'a batch of % would read the whole table', backfill.relation_name(relation)
        USING ERRCODE = '42P16', DETAIL = plan::pg_catalog.text,
              HINT = 'Its statement must reach the table by the key: put {batch} where the condition on this table stands.';
    ELSIF backfill.plan_leaves_out(plan, relation) AND backfill.leaves_out_first(batch, relation, upper) THEN
      RAISE EXCEPTION 'a batch of % does not read that table', backfill.relation_name(relation)
        USING ERRCODE = '42P16', DETAIL = plan::pg_catalog.text,
              HINT = 'Its ranges are those of target''s key: name in target the table whose condition {batch} is.';
    END IF;
  END LOOP;
END
$$;

-- Nor may the search for the next bound. Returns the rows that the planner thinks the relation has.
CREATE OR REPLACE FUNCTION backfill.check_bound(bound text, relation oid, upper text[]) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
  rows bigint;
  live bigint;
  plan pg_catalog.jsonb;
BEGIN
  FOR plan IN EXECUTE pg_catalog.concat('EXPLAIN (FORMAT JSON, VERBOSE) ', bound) USING NULL::pg_catalog.text[], upper, 1000::bigint LOOP
    IF backfill.plan_reads_all(plan, relation)
       OR pg_catalog.jsonb_path_exists(plan, 'strict $.**."Node Type" ? (@ == "Sort")', silent => true) THEN
      RAISE EXCEPTION 'the next batch of % would be found by reading the whole table', backfill.relation_name(relation)
        USING ERRCODE = '42P16', DETAIL = plan::pg_catalog.text,
              HINT = 'The index of the key is not used: see whether the settings of the job switch index scans off.';
    END IF;
    rows := (SELECT pg_catalog.max(n::pg_catalog.text::numeric) FROM pg_catalog.jsonb_path_query(plan, 'strict $.**."Plan Rows"', silent => true) AS n)::bigint;
  END LOOP;
  -- After a whole-table UPDATE the planner counts pages of dead rows too, until vacuum has been there; the statistics of
  -- live rows know better, unless they were reset.
  live := pg_catalog.pg_stat_get_live_tuples(relation);
  RETURN CASE WHEN live OPERATOR(pg_catalog.>=) (rows OPERATOR(pg_catalog./) 3) AND live OPERATOR(pg_catalog.<=) rows THEN live ELSE rows END;
END
$$;

-- The plan's nodes in a line: "Update on orders, Index Scan using orders_pkey".
CREATE OR REPLACE FUNCTION backfill.plan_in_words(plan jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(CASE WHEN node ->> 'Node Type' = 'ModifyTable' THEN node ->> 'Operation' ELSE node ->> 'Node Type' END
                    || coalesce(' using ' || (node ->> 'Index Name'), ' on ' || (node ->> 'Relation Name'), ''), ', ' ORDER BY ord)
    FROM jsonb_path_query(plan, 'strict $.** ? (exists (@."Node Type"))', silent => true) WITH ORDINALITY AS n(node, ord)
   WHERE node ->> 'Node Type' <> 'Result'  -- backfill.check_key, asked once
$$;
