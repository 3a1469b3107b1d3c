-- Whose fault an error is: a row's, or everybody's. Rows are tried one by one, and undone. What runs here is the job's own statement,
-- so under the job's names: functions and operators are qualified.

-- Tries a statement on one key as a batch would do it, up to what its commit would fire, and undoes it.
-- 'passes': it changed a row; 'nothing': it found none to change; else the SQLSTATE.
CREATE OR REPLACE FUNCTION backfill.try_row(statement text, key text[]) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
  rows bigint;
BEGIN
  EXECUTE statement USING NULL::pg_catalog.text[], key, NULL::pg_catalog.text[], NULL::bigint;
  GET DIAGNOSTICS rows = ROW_COUNT;
  SET CONSTRAINTS ALL IMMEDIATE;  -- what is deferred fires now
  RAISE EXCEPTION USING ERRCODE = 'BF900';
EXCEPTION
  WHEN SQLSTATE 'BF900' THEN
    RETURN CASE WHEN rows OPERATOR(pg_catalog.>) 0::bigint THEN 'passes' ELSE 'nothing' END;
  WHEN query_canceled OR assert_failure OR OTHERS THEN
    RETURN SQLSTATE;
END
$$;

-- What makes a statement slow that looks right, in words; NULL: nothing that the catalog knows. A deleted row is looked for in each
-- table that refers to it: without an index there, that reads all of it.
CREATE OR REPLACE FUNCTION backfill.slow_cause(relation oid, deletes boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(format('%s has no index on (%s), which its foreign key %I needs', backfill.relation_name(k.conrelid),
                           (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.ord)
                              FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, ord)
                              JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum),
                           k.conname), '; ' ORDER BY k.conname) || '. Create it (CREATE INDEX CONCURRENTLY), then SELECT backfill.retry(name).'
    FROM pg_constraint k
   WHERE deletes AND k.contype = 'f'
     AND (k.confrelid = relation OR k.confrelid IN (SELECT h.inhparent FROM pg_inherits h WHERE h.inhrelid = relation))
     AND k.conparentid = 0
     AND NOT EXISTS (SELECT FROM pg_index i
                      WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
                        AND (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)
$$;

-- A key failed alone with an SQLSTATE: others are tried until one passes, then that one again. Others are those behind it, near and
-- far, the first of the relation, and its last; of these the where_clause isn't asked, so that rows which are done count, too.
--   passed     another row passes                         alike, unclear   so many fail with the same SQLSTATE, or otherwise
--   key_fails  the key fails again, with that SQLSTATE    cause            why it may be slow, in words
--              (or with another that is no passing trouble: of two expressions that fail, either may be the first)
CREATE OR REPLACE FUNCTION backfill.try_neighbours(relation oid, key_columns text[], key text[], failed_with text,
    OUT passed boolean, OUT key_fails boolean, OUT alike integer, OUT unclear integer, OUT cause text)
LANGUAGE plpgsql
AS $$
DECLARE
  started constant pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  budget  constant interval := '1 s';
  work    constant backfill.work := backfill.begin_work();
  job     backfill.job := backfill.own_job((work).ticket);
  numbers smallint[] := backfill.key_numbers(relation, ARRAY(SELECT (pg_catalog.parse_ident(c))[1] FROM pg_catalog.unnest(key_columns) AS c));
  k       backfill.walk_key;
  mine    pg_catalog.record;
  walk    pg_catalog.record;
  others  pg_catalog.record;
  step    integer;
  at      pg_catalog.text[] := key;
  upper   pg_catalog.text[];
  tried   pg_catalog.text[];
  outcome pg_catalog.text;
BEGIN
  passed := false;
  key_fails := true;
  alike := 0;
  unclear := 0;
  PERFORM backfill.hold_name(relation, backfill.relation_name(relation), true);
  PERFORM backfill.check_leaf(relation, (work).target);
  IF job.keep_in_sync THEN
    PERFORM backfill.hold_beside(work);
  END IF;
  PERFORM backfill.check_session(work);
  SELECT * INTO k FROM backfill.key_of(relation, numbers);
  IF NOT FOUND THEN
    RETURN;  -- the next batch says so
  END IF;
  SELECT s.* INTO mine FROM backfill.statements(job, relation, k, true) s;
  job.where_clause := NULL;
  SELECT s.* INTO others FROM backfill.statements(job, relation, k, true) s;
  SELECT s.* INTO walk FROM backfill.statements(job, relation, k, false) s;
  PERFORM backfill.check_spelled(job);
  PERFORM backfill.check_key_names(relation, walk.last);
  EXECUTE walk.last INTO upper;

  -- How many keys on from the last one; 0: from the first of all; -1: the last.
  FOREACH step IN ARRAY '{1, 1, 8, 90, 900, 9000, 0, 1, 8, -1}'::integer[] LOOP
    IF step OPERATOR(pg_catalog.=) 0 THEN
      at := NULL;
      CONTINUE;
    END IF;
    CONTINUE WHEN (at OPERATOR(pg_catalog.=) upper OR at IS NULL AND upper IS NULL) AND step OPERATOR(pg_catalog.>) 0;
    IF step OPERATOR(pg_catalog.<) 0 THEN
      at := upper;
    ELSE
      EXECUTE walk.bound INTO tried USING at, upper, step::bigint;
      at := coalesce(tried, upper);
    END IF;
    CONTINUE WHEN at IS NULL OR at OPERATOR(pg_catalog.=) key;
    outcome := backfill.try_row(others.batch, at);
    passed := outcome OPERATOR(pg_catalog.=) 'passes';
    IF outcome OPERATOR(pg_catalog.=) failed_with THEN
      alike := alike OPERATOR(pg_catalog.+) 1;
    ELSIF outcome OPERATOR(pg_catalog.<>) ALL ('{passes, nothing}'::pg_catalog.text[]) THEN
      unclear := unclear OPERATOR(pg_catalog.+) 1;
    END IF;
    EXIT WHEN passed OR outcome OPERATOR(pg_catalog.=) '57014'
           OR pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) started OPERATOR(pg_catalog.>) budget;
  END LOOP;
  IF (outcome OPERATOR(pg_catalog.=) '57014') IS NOT TRUE THEN  -- what cut the last one short may have been a wish: no more is begun
    outcome := backfill.try_row(mine.batch, key);
  END IF;
  PERFORM backfill.check_prepared();
  key_fails := outcome OPERATOR(pg_catalog.=) failed_with
               OR outcome OPERATOR(pg_catalog.<>) ALL ('{passes, nothing}'::pg_catalog.text[]) AND NOT backfill.is_trouble(outcome) AND NOT backfill.is_trouble(failed_with);
  IF failed_with OPERATOR(pg_catalog.=) '57014' THEN
    cause := backfill.slow_cause(relation, EXISTS (
      SELECT FROM pg_catalog.jsonb_path_query(backfill.plan(mine.batch), 'lax $.** ? (@."Operation" == "Delete")')));
  END IF;
END
$$;
