-- What a worker's session calls. It is logged in as the role that submitted the job, and runs code of others: nothing here may trust its caller
-- (code_1_callers.sql).

-- Moves a range's cursor from lo to hi, in the transaction that did the rows between. It does so only for the job's worker, in a transaction that
-- run_batch has begun (ticket), at the epoch under which the range was last taken, and from where the cursor
-- stands; otherwise it raises BF001 and the batch is undone with it. That is what makes a batch happen exactly once.
-- keys: how many keys the batch spans, NULL when not known (then its rows); rate: keys a second, for the status view.
-- nulls: rows whose value the clause makes NULL, so many of them written by this batch. held: keys of rows that others have locked, which are noted as put aside, for the reason in message.
-- at: where the last checkpoint left the range's row; returns where it is now. Found by its key, the row would be looked for
-- among all versions that vacuum may not remove yet: 8,000 batches beside one old snapshot made that 1 ms.
-- Its own statements have generic plans, unlike the batch's: planning them anew was 60 us of a batch's 290 us of overhead.
CREATE OR REPLACE FUNCTION backfill.checkpoint(ticket bigint, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint,
    wal_bytes bigint, rate real, nulls bigint DEFAULT 0, written bigint DEFAULT 0, held text[] DEFAULT NULL, message text DEFAULT NULL) RETURNS tid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  now_at tid;
BEGIN
  FOR tries IN 1 .. 2 LOOP
    UPDATE backfill.range r
       SET cursor = checkpoint.hi,
           keys = r.keys + greatest(coalesce(checkpoint.keys, checkpoint.rows), 0),
           rows = r.rows + greatest(checkpoint.rows, 0),
           found = r.found + greatest(checkpoint.rows - checkpoint.written, 0),
           nulls = r.nulls + greatest(checkpoint.nulls, 0),
           batches = r.batches + 1,
           wal_bytes = r.wal_bytes + greatest(checkpoint.wal_bytes, 0),
           rate = CASE WHEN checkpoint.rate BETWEEN 0 AND 1e9 THEN checkpoint.rate END,
           checkpoint_at = clock_timestamp()
     WHERE r.ctid = checkpoint.at
       AND r.id = checkpoint.range
       AND r.epoch = checkpoint.epoch
       AND r.cursor IS NOT DISTINCT FROM checkpoint.lo
       AND r.submitted_by_oid = quote_ident(session_user)::regrole
       AND r.job_id = ANY (ARRAY(SELECT t.job_id FROM backfill.token t WHERE t.worker = pg_backend_pid() AND t.ticket = checkpoint.ticket))  -- no join: looked up first
    RETURNING r.ctid INTO now_at;
    EXIT WHEN FOUND OR tries = 2;
    at := (SELECT r.ctid FROM backfill.range r WHERE r.id = checkpoint.range);  -- the first batch, or somebody else has written to the row
  END LOOP;
  IF now_at IS NULL THEN
    RAISE EXCEPTION 'range % is no longer at this cursor and epoch', range
      USING ERRCODE = 'BF001', HINT = 'Another worker has taken it; this batch was undone.';
  END IF;
  IF held IS NOT NULL THEN
    INSERT INTO backfill.left_behind (job_id, range_id, relation, key_columns, key_identity, home, key, reason, sqlstate, message)
    SELECT r.job_id, r.id, r.relation, r.key, r.key_identity, r.home, h.key::text[], 'locked', '55P03', checkpoint.message
      FROM backfill.range r, unnest(checkpoint.held) AS h(key)
     WHERE r.ctid = now_at AND r.id = checkpoint.range;
  END IF;
  RETURN now_at;
END
$$;

-- The statements of a batch name the relation as it was called when the range was taken: when another table stands under that name by
-- now, BF001 undoes the batch. Asked before them, so that nothing of another's table runs (backfill.hold_name), and after them: they have locked what they
-- found under the name, so that nobody can rename it any more. Their schema can be renamed, for which no lock is waited: each time its row in the catalog gets another
-- number, which is returned, and of which since was the first. name: NULL in a job with a statement of its own, where the user's text says which table is meant.
CREATE OR REPLACE FUNCTION backfill.check_name(relation oid, name text, since xid DEFAULT NULL) RETURNS xid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  version constant xid := (SELECT n.xmin FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
BEGIN
  IF to_regclass(name)::oid <> relation THEN
    RAISE EXCEPTION '% is another table now', name
      USING ERRCODE = 'BF001', HINT = 'The one that the job is for was renamed; this batch was undone.';
  ELSIF name IS NOT NULL AND version <> since THEN
    RAISE EXCEPTION 'the schema of % was changed in that moment', name
      USING ERRCODE = 'BF001', HINT = 'Another table may have stood under its name; this batch was undone.';
  END IF;
  RETURN version;
END
$$;

-- The same, and keeps the name where it is until the transaction's end: a statement that waits for a lock looks its name up again when it gets it, and what
-- a stranger has put there meanwhile, a view, a trigger, would run with the job's rights. writes: as a batch locks it. LOCK TABLE wants a right on the table as a whole; who has
-- some columns' alone is asked without it. Returns what backfill.check_name does.
CREATE OR REPLACE FUNCTION backfill.hold_name(relation oid, name text, writes boolean) RETURNS xid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  mode  text;
  since xid;
BEGIN
  IF name IS NULL THEN
    RETURN NULL;
  END IF;
  since := backfill.check_name(relation, name);
  mode := CASE WHEN writes AND has_table_privilege(relation, 'UPDATE, DELETE') THEN 'ROW EXCLUSIVE' WHEN has_table_privilege(relation, 'SELECT') THEN 'ACCESS SHARE' END;
  IF mode IS NOT NULL THEN
    BEGIN
      EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', name, mode);
    EXCEPTION WHEN lock_not_available THEN
      RAISE EXCEPTION '%', coalesce(backfill.table_lock(relation), SQLERRM) USING ERRCODE = 'BF008';
    END;
    PERFORM backfill.check_name(relation, name, since);
  END IF;
  RETURN since;
END
$$;

-- Whether the names in a statement of the user's own still mean the job's table: who creates another one in a schema before it in the search_path would have it filled in its place, and its triggers run.
CREATE OR REPLACE FUNCTION backfill.check_spelled(job backfill.job) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  name pg_catalog.text;
BEGIN
  SELECT s.name INTO name
    FROM pg_catalog.jsonb_array_elements_text(job.plan OPERATOR(pg_catalog.->) 'spelled') AS s(name)
   WHERE pg_catalog.to_regclass(s.name)::pg_catalog.oid OPERATOR(pg_catalog.<>) job.target::pg_catalog.oid
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '% in the statement means % by now, and not %', name, backfill.relation_name(pg_catalog.to_regclass(name)::pg_catalog.oid), backfill.relation_name(job.target)
      USING ERRCODE = 'BF010',
            HINT = 'It stands before the job''s table in the search_path. No row of it was changed. When it is gone, or has another name: SELECT backfill.retry(name). Or SELECT backfill.forget(name), and insert the job for the rest, with the table''s schema in its statement.';
  END IF;
END
$$;

-- Whether the table of a statement of the user's own is still called as it was when that was written: else the batch, which reaches another one's rows, is undone, with BF001. hold:
-- before it, so that it keeps its name to the transaction's end.
CREATE OR REPLACE FUNCTION backfill.check_place(ticket bigint, hold boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job  backfill.job := backfill.own_job(ticket);
  mode text := CASE WHEN has_table_privilege(job.target, 'UPDATE, DELETE') THEN 'ROW EXCLUSIVE' WHEN has_table_privilege(job.target, 'SELECT') THEN 'ACCESS SHARE' END;
BEGIN
  IF hold AND mode IS NOT NULL THEN
    BEGIN
      EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', backfill.relation_name(job.target), mode);
    EXCEPTION WHEN lock_not_available THEN
      RAISE EXCEPTION '%', coalesce(backfill.table_lock(job.target), SQLERRM) USING ERRCODE = 'BF008';
    END;
  END IF;
  IF backfill.relation_name(job.target) <> job.plan ->> 'named' THEN
    RAISE EXCEPTION '% was renamed', backfill.relation_name(job.target)
      USING ERRCODE = 'BF001', HINT = 'The statement may mean another table by now; this batch was undone.';
  END IF;
END
$$;

-- A key that a statement finds, of backfill.statements: bound (keys: how many above lo, up to upper) or last. No row: there is none.
CREATE OR REPLACE FUNCTION backfill.find_key(statement text, relation oid, name text, lo text[], upper text[], keys bigint) RETURNS SETOF text[]
LANGUAGE plpgsql
AS $$
DECLARE
  since pg_catalog.xid := backfill.hold_name(relation, name, false);
BEGIN
  PERFORM backfill.check_key_names(relation, statement);
  RETURN QUERY EXECUTE statement USING lo, upper, keys;
  PERFORM backfill.check_name(relation, name, since);
END
$$;

-- A session goes on to write when default_transaction_read_only is switched on for its role or its database: only what connects then is held
-- to it. A provider does so when a disk is nearly full, and a job would fill it. So a batch looks, as the server does it: the setting of the role
-- in the database first. One that is switched on in the file, the server itself holds against each session. backfilld.brake: on, unless the job
-- was inserted by a session that wrote in spite of it, or says itself how it is to be. By the index: what others have set for themselves may be megabytes.
CREATE OR REPLACE FUNCTION backfill.check_brake() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
  IF current_setting('backfilld.brake', true) = 'on'
     AND (SELECT substr(c, strpos(c, '=') + 1)::boolean
            FROM pg_db_role_setting s, unnest(s.setconfig) AS c
           WHERE s.setdatabase = ANY (ARRAY[0::oid, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())])
             AND s.setrole = ANY (ARRAY[0::oid, (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user)])
             AND starts_with(c, 'default_transaction_read_only=')
           ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1) THEN
    RAISE EXCEPTION 'default_transaction_read_only is on, and was off when the job was inserted' USING ERRCODE = '25006';
  END IF;
END
$$;

-- Runs the statement of a batch, with all that is deferred to its end, so that nothing of it comes after what is looked at, and returns the rows
-- that it changed. Who calls it has asked check_brake, and held the table's name, and checks it once more at the end of the transaction.
-- With synchronous_commit off it is the WAL writer that writes the batch's WAL out. Where that has fallen behind (a disk that
-- stalls for a moment), a batch waits until its own is written: what isn't, is sent to no standby, so that none seems late.
-- Seen was 17 MB within 0.3 s, and then a lag of two seconds behind a link of 10 MB/s. 4 MB: the WAL writer's own measure is 1 MB.
CREATE OR REPLACE FUNCTION backfill.run_statement(statement text, lo text[], hi text[], held text[], yield_us bigint, work backfill.work) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
  rows bigint;
BEGIN
  EXECUTE statement USING lo, hi, held, yield_us;
  GET DIAGNOSTICS rows = ROW_COUNT;
  SET CONSTRAINTS ALL IMMEDIATE;
  IF NOT pg_catalog.array_eq(backfill.main_settings_now(), (work).pinned[1:8]) OR (work).own IS NOT NULL THEN
    PERFORM backfill.restore_session(work);
  END IF;
  IF pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_wal_lsn()) OPERATOR(pg_catalog.>) 4000000
     AND pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off' THEN
    PERFORM pg_catalog.set_config('synchronous_commit', 'local', true);  -- of this transaction
  END IF;
  RETURN rows;
END
$$;

-- ---- The proof: no row that a batch was for still meets where_clause

-- A row still meets where_clause though the batch was for it: the batch is undone, and says why. why: 'kept back', 'changed back', 'null' or
-- 'unchanged'. The key is the DETAIL, in words.
CREATE OR REPLACE FUNCTION backfill.refuse_row(why text, key text, proof jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  retry constant text := 'then SELECT backfill.retry(name)';
BEGIN
  RAISE EXCEPTION USING
    ERRCODE = 'BF003',
    MESSAGE = CASE why
      WHEN 'kept back' THEN format('%s keeps the row from being changed: it still meets where_clause', coalesce(proof ->> 'keepers', 'something'))
      WHEN 'changed back' THEN format('%s changes the row back: it still meets where_clause', proof ->> 'changers')
      WHEN 'null' THEN format('set_clause gives NULL%s', coalesce(', which ' || (proof ->> 'forbids') || ' forbids', ''))
      ELSE 'the row still meets where_clause after set_clause has changed it' END,
    HINT = CASE why
      WHEN 'null' THEN format('Correct what it is computed from, %s. Or SELECT backfill.forget(name), then insert the job with a set_clause that gives a value (coalesce); to leave such rows NULL: where_clause = %L, without %s.',
                              retry, proof ->> 'clause', proof ->> 'forbids')
      WHEN 'unchanged' THEN 'where_clause must be true of rows that are still to do, and of no row that is done: by it the job knows that nothing is left. SELECT backfill.forget(name), then insert the job with another.'
      ELSE format('Have it let the rows through (a trigger can ask for the job''s login), %s; or leave them out in where_clause.', retry) END,
    DETAIL = (SELECT string_agg(format('%s = %s', c.name, k.value), ', ' ORDER BY c.ord)
                FROM jsonb_array_elements_text(proof -> 'columns') WITH ORDINALITY AS c(name, ord)
                JOIN unnest(key::text[]) WITH ORDINALITY AS k(value, ord) USING (ord));
END
$$;

-- A batch of a later pass reads before it writes. to_do: there are rows that meet where_clause, but for those for which the clause gives NULL,
-- which are done. known: their keys, NULL when there is none.
CREATE OR REPLACE FUNCTION backfill.read_batch(proof jsonb, lo text[], hi text[], OUT to_do boolean, OUT known text[])
LANGUAGE plpgsql
AS $$
DECLARE
  n bigint;
BEGIN
  EXECUTE pg_catalog.concat('SELECT pg_catalog.count(*) FROM (', proof OPERATOR(pg_catalog.->>) 'look', ') AS k(key, version)') INTO n USING lo, hi;
  to_do := n OPERATOR(pg_catalog.>) 0;
  IF to_do AND proof OPERATOR(pg_catalog.->>) 'nulls' IS NOT NULL THEN
    EXECUTE pg_catalog.concat('SELECT pg_catalog.array_agg(k.key::pg_catalog.text) FROM (', proof OPERATOR(pg_catalog.->>) 'nulls', ') AS k(key, version)') INTO known USING lo, hi;
    to_do := n OPERATOR(pg_catalog.>) coalesce(pg_catalog.cardinality(known), 0);
  END IF;
END
$$;

-- Runs the statement of a batch, and looks whether a row of it still meets where_clause: proof, of backfill.proof_of. Returns the rows that it
-- changed, and how many of them the clause has made NULL, which is done. Any other that is left raises BF003.
-- passed: keys that it passes over, in their text form, or NULL.
CREATE OR REPLACE FUNCTION backfill.run_rows(statement text, lo text[], hi text[], passed text[], yield_us bigint, proof jsonb,
    work backfill.work, OUT rows bigint, OUT nulls bigint)
LANGUAGE plpgsql
AS $$
DECLARE
  rows_left pg_catalog.text := pg_catalog.concat('FROM (', proof OPERATOR(pg_catalog.->>) 'look', ') AS k(key, version) WHERE ($3::pg_catalog.text[] IS NULL OR k.key::pg_catalog.text OPERATOR(pg_catalog.<>) ALL ($3))');
  n         bigint;
  mine      pg_catalog.text;
  changed   pg_catalog.text[];
  others    pg_catalog.text[];
  kept      pg_catalog.text;
BEGIN
  rows := backfill.run_statement(statement, lo, hi, passed, yield_us, work);
  nulls := 0;
  IF proof IS NULL OR NOT (proof OPERATOR(pg_catalog.->>) 'looks')::boolean THEN
    RETURN;
  END IF;
  EXECUTE pg_catalog.concat('SELECT pg_catalog.count(*) ', rows_left) INTO n USING lo, hi, passed;
  IF n OPERATOR(pg_catalog.=) 0 THEN
    RETURN;
  END IF;
  -- A row that this transaction hasn't written: an application's, come after the statement had begun, or one that was kept back. The second
  -- time, what had been there at the first is of the second kind.
  mine := pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.xid::pg_catalog.text;
  EXECUTE pg_catalog.concat(
    'SELECT pg_catalog.array_agg(k.key::pg_catalog.text) FILTER (WHERE (k.version::pg_catalog.text OPERATOR(pg_catalog.=) $4) IS TRUE),'
    '       pg_catalog.array_agg(pg_catalog.concat(k.key::pg_catalog.text, '' '', k.version::pg_catalog.text)) FILTER (WHERE (k.version::pg_catalog.text OPERATOR(pg_catalog.=) $4) IS NOT TRUE) ', rows_left)
     INTO changed, others USING lo, hi, passed, mine;
  IF NOT (proof OPERATOR(pg_catalog.->>) 'versions')::boolean THEN  -- it can't tell them apart: those that were counted as changed are taken for that
    changed := CASE WHEN rows OPERATOR(pg_catalog.>=) n THEN changed END;
    EXECUTE pg_catalog.concat('SELECT pg_catalog.array_agg(k.key::pg_catalog.text) ', rows_left) INTO others USING lo, hi, passed;
    IF rows OPERATOR(pg_catalog.>=) n THEN
      changed := others;
      others := NULL;
    END IF;
  END IF;
  IF others IS NOT NULL THEN
    rows := rows OPERATOR(pg_catalog.+) backfill.run_statement(statement, lo, hi, pg_catalog.array_cat(passed, changed), yield_us, work);
    IF (proof OPERATOR(pg_catalog.->>) 'versions')::boolean THEN
      EXECUTE pg_catalog.concat(
        'SELECT (pg_catalog.array_agg(k.key::pg_catalog.text) FILTER (WHERE pg_catalog.concat(k.key::pg_catalog.text, '' '', k.version::pg_catalog.text) OPERATOR(pg_catalog.=) ANY ($5)))[1],'
        '       pg_catalog.array_agg(k.key::pg_catalog.text) FILTER (WHERE (k.version::pg_catalog.text OPERATOR(pg_catalog.=) $4) IS TRUE) ', rows_left)
         INTO kept, changed USING lo, hi, passed, mine, others;
    ELSE
      EXECUTE pg_catalog.concat('SELECT (pg_catalog.array_agg(k.key::pg_catalog.text) FILTER (WHERE k.key::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($4)))[1] ', rows_left)
         INTO kept USING lo, hi, passed, others;
    END IF;
    IF kept IS NOT NULL THEN
      PERFORM backfill.refuse_row('kept back', kept, proof);
    END IF;
  END IF;
  IF changed IS NULL THEN
    RETURN;
  END IF;
  IF proof OPERATOR(pg_catalog.->>) 'changed_back' IS NOT NULL THEN
    EXECUTE pg_catalog.concat('SELECT (pg_catalog.array_agg(k.key::pg_catalog.text))[1] FROM (', proof OPERATOR(pg_catalog.->>) 'changed_back', ') AS k(key, version) WHERE k.key::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3)')
       INTO kept USING lo, hi, changed;
    IF kept IS NOT NULL THEN
      PERFORM backfill.refuse_row('changed back', kept, proof);
    END IF;
  END IF;
  IF NOT (proof OPERATOR(pg_catalog.->>) 'null')::boolean THEN
    PERFORM backfill.refuse_row('unchanged', changed[1], proof);
  END IF;
  IF proof OPERATOR(pg_catalog.->>) 'forbidden' IS NOT NULL THEN
    EXECUTE pg_catalog.concat('SELECT (pg_catalog.array_agg(k.key::pg_catalog.text))[1] FROM (', proof OPERATOR(pg_catalog.->>) 'forbidden', ') AS k(key, version) WHERE k.key::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3)')
       INTO kept USING lo, hi, changed;
    IF kept IS NOT NULL THEN
      PERFORM backfill.refuse_row('null', kept, proof);
    END IF;
  END IF;
  nulls := pg_catalog.cardinality(changed);
END
$$;

-- Microseconds since then.
CREATE OR REPLACE FUNCTION backfill.us_since(began timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (date_part('epoch', clock_timestamp() - began) * 1000000)::bigint;
END
$$;

-- Runs one batch and its checkpoint: one statement, so one transaction. next_keys: before it, while no row is locked, the bound so many keys above hi, up to upper, is found by bound, or reckoned (backfill.reckoning_of);
-- NULL: none. yield_us: it yields after so much work (yield_condition).
-- function, signature: backfill.check_called. skipping: rows that others have locked are put aside. statement: NULL: all rows that are to do are, for it meets a lock elsewhere. proof: of backfill.proof_of.
-- Returns the rows changed, the WAL that all sessions wrote meanwhile (so an upper bound of its own), where the range's
-- row is now, for the next checkpoint, how many rows were put aside, who holds them, and how long it took what is no matter of how many rows they are (aside_us: the search, looks at settings and names).
CREATE OR REPLACE FUNCTION backfill.run_batch(statement text, relation oid, name text, keys_of text, range bigint, epoch bigint, at tid,
    lo text[], hi text[], keys bigint, rate real, yield_us bigint, skipping boolean, proof jsonb, bound text, upper text[], next_keys bigint,
    function oid, signature text, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[], OUT next text[], OUT aside_us bigint)
LANGUAGE plpgsql
AS $$
DECLARE
  start_lsn pg_catalog.pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
  to_do     boolean := true;
  known     pg_catalog.text[];   -- rows whose value the clause makes NULL: by an earlier pass,
  nulls     bigint;   -- and by this batch
  held      pg_catalog.text[];
  work      backfill.work;
  since     pg_catalog.xid;
  began     pg_catalog.timestamptz;
BEGIN
  since := backfill.hold_name(relation, name, true);
  work := backfill.begin_work();
  PERFORM backfill.check_leaf(relation, (work).target);
  PERFORM backfill.check_key_names(relation, coalesce(statement, keys_of));
  IF name IS NULL THEN
    PERFORM backfill.check_place((work).ticket, true);
    PERFORM backfill.check_spelled(backfill.own_job((work).ticket));
  END IF;
  IF function IS NOT NULL THEN
    PERFORM backfill.hold_beside(work);
    PERFORM backfill.check_called((work).ticket, function, signature);
  END IF;
  IF NOT pg_catalog.array_eq(backfill.settings_now(), (work).pinned) OR (work).own IS NOT NULL THEN
    PERFORM backfill.check_session(work);
  END IF;
  began := pg_catalog.clock_timestamp();
  PERFORM backfill.check_brake();
  IF (work).in_step THEN
    PERFORM backfill.check_meaning(work);
  END IF;
  IF next_keys IS NOT NULL THEN
    EXECUTE bound INTO next USING hi, upper, next_keys;
  END IF;
  aside_us := backfill.us_since(began);
  rows := 0;
  nulls := 0;
  IF (proof OPERATOR(pg_catalog.->>) 'reads')::boolean THEN
    SELECT r.to_do, r.known INTO to_do, known FROM backfill.read_batch(proof, lo, hi) r;
  END IF;
  IF to_do AND statement IS NULL THEN
    EXECUTE pg_catalog.concat('SELECT pg_catalog.array_agg(k.key::pg_catalog.text) FROM (', keys_of, ') AS k(key, holder)') INTO held USING lo, hi;
    holders := backfill.holders_beside(relation);
  ELSIF to_do AND skipping THEN
    SELECT f.held, f.holders INTO held, holders FROM backfill.lock_free_rows(statement, keys_of, relation, lo, hi, work) f;
  END IF;
  IF held IS NOT NULL AND known IS NOT NULL THEN
    held := (SELECT pg_catalog.array_agg(h.key) FROM pg_catalog.unnest(held) AS h(key) WHERE h.key OPERATOR(pg_catalog.<>) ALL (known));
  END IF;
  skipped := coalesce(pg_catalog.cardinality(held), 0);
  IF NOT to_do OR skipping OR (proof OPERATOR(pg_catalog.->>) 'reads')::boolean THEN
    PERFORM backfill.restore_session(work);
  END IF;
  IF to_do AND statement IS NOT NULL THEN
    SELECT w.rows, w.nulls INTO rows, nulls FROM backfill.run_rows(statement, lo, hi, pg_catalog.array_cat(held, known), yield_us, proof, work) w;
    IF proof IS NOT NULL OR (work).in_step THEN
      PERFORM backfill.restore_session(work);
    END IF;
    IF (work).in_step THEN
      began := pg_catalog.clock_timestamp();
      PERFORM backfill.check_meaning(work);
      aside_us := aside_us OPERATOR(pg_catalog.+) backfill.us_since(began);
    END IF;
  END IF;
  PERFORM backfill.check_name(relation, name, since);
  IF name IS NULL THEN
    PERFORM backfill.check_place((work).ticket, false);
    PERFORM backfill.check_spelled(backfill.own_job((work).ticket));
  END IF;
  IF function IS NOT NULL THEN
    PERFORM backfill.check_called((work).ticket, function, signature);
  END IF;
  wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
  IF EXISTS (SELECT FROM pg_catalog.pg_prepared_statement() AS p WHERE p.from_sql) THEN
    PERFORM backfill.check_prepared();
  END IF;
  now_at := backfill.checkpoint((work).ticket, range, epoch, at, lo, hi, coalesce(keys, rows OPERATOR(pg_catalog.+) skipped), rows, wal_bytes, rate,
                                nulls OPERATOR(pg_catalog.+) coalesce(pg_catalog.cardinality(known), 0), nulls, held, CASE WHEN held IS NOT NULL THEN backfill.locked_by(holders) END);
END
$$;

-- Rows that were put aside as locked are done: they are left behind no longer. ids: all of one range. epoch: under which take_range gave them
-- to the worker. Raises BF001, and undoes the rows, when another worker was first at one of them, or for who isn't the job's worker (ticket).
CREATE OR REPLACE FUNCTION backfill.rows_done(ticket bigint, ids bigint[], epoch bigint, rows bigint, wal_bytes bigint, nulls bigint DEFAULT 0) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n     bigint;
  whose bigint;
BEGIN
  WITH done AS (
    DELETE FROM backfill.left_behind l
     USING backfill.job j
     WHERE l.id = ANY (ids) AND l.reason = 'locked' AND l.epoch = rows_done.epoch
       AND j.id = l.job_id AND j.id = (backfill.own_job(rows_done.ticket)).id
    RETURNING l.range_id)
  SELECT count(*), min(d.range_id) INTO n, whose FROM done d;
  IF n < cardinality(ids) THEN
    RAISE EXCEPTION 'rows are not left behind any more'
      USING ERRCODE = 'BF001', HINT = 'Another worker has done them; this batch was undone.';
  END IF;
  UPDATE backfill.range r
     SET gone = r.gone + CASE WHEN own.set_clause IS NOT NULL AND own.where_clause IS NULL THEN greatest(n - rows_done.rows, 0) ELSE 0 END,
         rows = r.rows + greatest(rows_done.rows, 0), found = r.found + greatest(rows_done.rows - rows_done.nulls, 0),
         nulls = r.nulls + greatest(rows_done.nulls, 0), wal_bytes = r.wal_bytes + greatest(rows_done.wal_bytes, 0),
         checkpoint_at = clock_timestamp()
    FROM backfill.job own
   WHERE r.id = whose AND own.id = r.job_id;
END
$$;

-- Which of the keys of a portion are held still, by their numbers. held: keys as the table has them now; NULL: none. One that is written
-- otherwise than when it was put aside (1.0, 1.00) can't be told by its text: then all are taken for held, until it is free.
CREATE OR REPLACE FUNCTION backfill.held_ids(ids bigint[], keys text[], held text[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN held IS NULL THEN '{}' WHEN count(DISTINCT u.key) < cardinality(held) THEN ids ELSE array_agg(u.id) END
    FROM unnest(ids, keys) AS u(id, key)
    JOIN (SELECT DISTINCT k FROM unnest(held) AS k) AS h ON h.k = u.key
$$;

-- Does a portion of the rows that were put aside as locked: one statement, so one transaction, once. Those that are locked still
-- it passes over: skipped, and held_by says who holds them. statement, keys_of and proof are those of several keys (backfill.statements).
CREATE OR REPLACE FUNCTION backfill.retry_rows(statement text, relation oid, name text, keys_of text, ids bigint[], epoch bigint, keys text[], proof jsonb, function oid, signature text,
    OUT rows bigint, OUT wal_bytes bigint, OUT skipped bigint, OUT held_by text)
LANGUAGE plpgsql
AS $$
DECLARE
  start_lsn pg_catalog.pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
  nulls     bigint;
  held      pg_catalog.text[];
  holders   integer[];
  still     bigint[];
  free      bigint[];
  work      backfill.work;
  since     pg_catalog.xid;
BEGIN
  since := backfill.hold_name(relation, name, true);
  work := backfill.begin_work();
  PERFORM backfill.check_leaf(relation, (work).target);
  PERFORM backfill.check_key_names(relation, coalesce(statement, keys_of));
  IF name IS NULL THEN
    PERFORM backfill.check_place((work).ticket, true);
    PERFORM backfill.check_spelled(backfill.own_job((work).ticket));
  END IF;
  IF function IS NOT NULL THEN
    PERFORM backfill.hold_beside(work);
    PERFORM backfill.check_called((work).ticket, function, signature);
  END IF;
  PERFORM backfill.check_session(work);
  PERFORM backfill.check_brake();
  IF (work).in_step THEN
    PERFORM backfill.check_meaning(work);
  END IF;
  SELECT f.held, f.holders INTO held, holders
    FROM backfill.lock_free_rows(statement, keys_of, relation, NULL, keys, work) f;
  PERFORM backfill.restore_session(work);
  still := backfill.held_ids(ids, keys, held);
  skipped := pg_catalog.cardinality(still);
  IF skipped OPERATOR(pg_catalog.>) 0 THEN
    held_by := backfill.locked_by(holders, true);
  END IF;
  rows := 0;
  IF skipped OPERATOR(pg_catalog.<) pg_catalog.cardinality(ids) THEN
    free := ARRAY(SELECT u.id FROM pg_catalog.unnest(ids) AS u(id) EXCEPT SELECT s.id FROM pg_catalog.unnest(still) AS s(id));
    SELECT w.rows, w.nulls INTO rows, nulls FROM backfill.run_rows(statement, NULL, keys, held, NULL, proof, work) w;
    PERFORM backfill.restore_session(work);
    IF (work).in_step THEN
      PERFORM backfill.check_meaning(work);
    END IF;
    wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
    PERFORM backfill.rows_done((work).ticket, free, epoch, rows, wal_bytes, nulls);
  END IF;
  PERFORM backfill.check_name(relation, name, since);
  IF name IS NULL THEN
    PERFORM backfill.check_place((work).ticket, false);
    PERFORM backfill.check_spelled(backfill.own_job((work).ticket));
  END IF;
  IF function IS NOT NULL THEN
    PERFORM backfill.check_called((work).ticket, function, signature);
  END IF;
  PERFORM backfill.check_prepared();
END
$$;
