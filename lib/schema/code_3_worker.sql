-- What a worker's session calls. It is logged in as the role that submitted the job, so nothing here may trust its caller.

-- Moves a range's cursor from lo to hi, in the transaction that did the rows between. It does so only for the login that
-- submitted the job, at the epoch under which the range was last taken, and from where the cursor stands; otherwise it
-- raises BF001 and the batch is undone with it. That is what makes a batch happen exactly once.
-- keys: how many keys the batch spans, NULL when not known (then its rows); rate: keys a second, for the status view.
-- at: where the last checkpoint left the range's row; returns where it is now. Found by its key, the row would be looked for
-- among all versions that vacuum may not remove yet: 8,000 batches beside one old snapshot made that 1 ms.
-- Its own statements have generic plans, unlike the batch's: planning them anew was 60 us of a batch's 290 us of overhead.
CREATE OR REPLACE FUNCTION backfill.checkpoint(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint,
    wal_bytes bigint, rate real) RETURNS tid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  now_at tid;
BEGIN
  IF NOT EXISTS (SELECT FROM backfill.range r WHERE r.ctid = checkpoint.at AND r.id = checkpoint.range) THEN
    at := (SELECT r.ctid FROM backfill.range r WHERE r.id = checkpoint.range);
  END IF;
  UPDATE backfill.range r
     SET cursor = checkpoint.hi,
         keys = r.keys + greatest(coalesce(checkpoint.keys, checkpoint.rows), 0),
         rows = r.rows + greatest(checkpoint.rows, 0),
         batches = r.batches + 1,
         wal_bytes = r.wal_bytes + greatest(checkpoint.wal_bytes, 0),
         rate = checkpoint.rate,
         checkpoint_at = clock_timestamp()
   WHERE r.ctid = checkpoint.at
     AND r.id = checkpoint.range
     AND r.epoch = checkpoint.epoch
     AND r.cursor IS NOT DISTINCT FROM checkpoint.lo
     AND r.submitted_by = session_user
  RETURNING r.ctid INTO now_at;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'range % is no longer at this cursor and epoch', range
      USING ERRCODE = 'BF001', HINT = 'Another worker has taken it; this batch was undone.';
  END IF;
  RETURN now_at;
END
$$;

-- Runs one batch and its checkpoint: one statement, so one transaction.
-- Returns the rows changed, the WAL that all sessions wrote meanwhile (so an upper bound of its own), and where the range's
-- row is now, for the next checkpoint.
CREATE OR REPLACE FUNCTION backfill.run_batch(statement text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint,
    rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid)
LANGUAGE plpgsql
AS $$
DECLARE
  start_lsn pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
BEGIN
  EXECUTE statement USING lo, hi;
  GET DIAGNOSTICS rows = ROW_COUNT;
  wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
  now_at := backfill.checkpoint(range, epoch, at, lo, hi, keys, rows, wal_bytes, rate);
END
$$;

-- Whether a plan reads a relation as a whole where a batch should read a part of it.
CREATE OR REPLACE FUNCTION backfill.plan_reads_all(plan jsonb, relation_name name) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (
    SELECT FROM jsonb_path_query(plan, 'lax $.** ? (@."Node Type" == "Seq Scan")') AS node
     WHERE node ->> 'Relation Name' = relation_name)
$$;

-- Before anything is changed: the batch's statement is planned as it will be sent, and neither it nor the search for the
-- next bound may read the whole table. Runs in the worker's session, so rights and settings are those of the batches.
-- upper: the relation's greatest key. Returns the rows that the planner thinks the relation has.
CREATE OR REPLACE FUNCTION backfill.survey(batch text, bound text, relation oid, upper text[]) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
  short text := (SELECT relname FROM pg_catalog.pg_class WHERE oid = relation);
  rows  bigint;
  live  bigint;
  plan  jsonb;
BEGIN
  FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || batch USING upper, upper LOOP
    IF backfill.plan_reads_all(plan, short) THEN
      RAISE EXCEPTION 'a batch of % would read the whole table', backfill.relation_name(relation)
        USING ERRCODE = '42P16', DETAIL = plan::text,
              HINT = 'Its statement must reach the table by the key: put {batch} where the condition on this table stands.';
    END IF;
  END LOOP;
  FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || bound USING NULL::text[], upper, 1000::bigint LOOP
    IF backfill.plan_reads_all(plan, short) OR jsonb_path_exists(plan, 'strict $.**."Node Type" ? (@ == "Sort")', silent => true) THEN
      RAISE EXCEPTION 'the next batch of % would be found by reading the whole table', backfill.relation_name(relation)
        USING ERRCODE = '42P16', DETAIL = plan::text,
              HINT = 'The index of the key is not used: see whether the settings of the job switch index scans off.';
    END IF;
    rows := (jsonb_path_query_first(plan, 'strict $.**."Plans"[*]."Plan Rows"', silent => true))::text::numeric::bigint;
  END LOOP;
  -- After a whole-table UPDATE the planner counts pages of dead rows too, until vacuum has been there; the statistics of
  -- live rows know better, unless they were reset.
  live := pg_catalog.pg_stat_get_live_tuples(relation);
  RETURN CASE WHEN live BETWEEN rows / 3 AND rows THEN live ELSE rows END;
END
$$;
