-- The ranges of a job: laid out, taken, and what is put aside in them.

-- Begins to plan a job that this session holds (a daemon that lost it must not touch another's plan), or its next pass over the
-- table: forgets ranges of an earlier try (nothing has been filled before the phase is backfill), and lists the relations to
-- survey with their statements. trial: so many keys of the relation, its largest, are tried in the survey, and undone; on_copy: its
-- column is still missing, then only the largest is surveyed.
-- planned: when the session began on which this daemon laid out before; NULL: it didn't. On this one: the ranges that are open are
-- its own plan's, which begins anew. Else the pass that it takes for done must be so, and is looked at, before its ranges go.
-- outcome: NULL, or in the only row 'not over' or 'not ours'.
-- after: NULL, or what is planned (job.behind): then the plan goes on behind those relations. It is listed in slices, for the session is everybody's: where relations are left, a row more says how far
-- it goes then, up to the last one that was listed, and the largest of all, which comes first; and about how many rows the rest has (rest, of a new plan).
CREATE OR REPLACE FUNCTION backfill.layout(job_id bigint, phase text, planned timestamptz, after oid[])
RETURNS TABLE (relation oid, name text, batch text, bound text, last text, keys_of text, on_copy boolean, trial bigint, data_directory text, outcome text, whole text, behind oid[], rest bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  job     backfill.job;
  r       oid;
  key     backfill.walk_key;
  trying  boolean;
  largest oid;
  all_of  oid[];
  size    bigint := 0;
  most    constant bigint := 8000000;  -- bytes: a control session takes in 10 MiB
  began   constant timestamptz := clock_timestamp();
  n       integer := 0;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  IF NOT FOUND OR NOT backfill.is_held(job) OR backfill.has_moved_back(job, phase) THEN
    outcome := 'not ours';
    RETURN NEXT;
    RETURN;
  ELSIF after IS NULL AND phase IN ('backfill', 'guard', 'verify') AND planned IS DISTINCT FROM backfill.session_start() AND backfill.is_open(job) THEN
    outcome := 'not over';
    RETURN NEXT;
    RETURN;
  END IF;
  IF job.set_clause IS NULL AND job.statement IS NULL THEN
    RETURN;
  END IF;
  IF after IS NULL THEN
    UPDATE backfill.job j SET planning = true, behind = NULL WHERE j.id = layout.job_id;
    DELETE FROM backfill.range g WHERE g.job_id = layout.job_id AND job.phase = 'preflight';
    IF job.phase IN ('preflight', 'expand') AND job.where_clause IS NULL THEN
      UPDATE backfill.job j
         SET laid_out = CASE WHEN backfill.walks_parent(job) THEN backfill.laid_out_now(job) ELSE ARRAY(SELECT ARRAY[o, pg_relation_filenode(o)] FROM backfill.relations_of(job) o ORDER BY o) END
       WHERE j.id = layout.job_id;
    END IF;
    PERFORM backfill.check_target(job) WHERE NOT backfill.turns_to_ctid(job, job.target);
  END IF;
  PERFORM backfill.catch_up_numbers();
  PERFORM backfill.check_columns(job);
  trying := job.phase = 'preflight' AND (job.dry_run OR job.plan - '{named,spelled,where,columns,drop}'::text[] <> '{}');
  largest := coalesce(after[2], (SELECT c.oid FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o ORDER BY c.relpages DESC, c.reltuples < 0 DESC, c.reltuples DESC LIMIT 1));
  on_copy := NOT backfill.has_column(job);
  data_directory := (SELECT coalesce(nullif(pg_tablespace_location(coalesce(nullif(c.reltablespace, 0), d.dattablespace)), ''),  -- where the largest is
                                     (SELECT s.setting FROM pg_settings s WHERE s.name = 'data_directory'))  -- NULL without pg_monitor
                       FROM pg_class c JOIN pg_database d ON d.datname = current_database() WHERE c.oid = largest);
  -- Without a where_clause those that there were when the job began: others may hold rows that were done elsewhere.
  all_of := ARRAY(SELECT o FROM backfill.relations_of(job) o
                   WHERE after IS NULL OR o > after[1] AND o <> largest
                   ORDER BY o <> largest, o);
  IF after IS NOT NULL AND job.where_clause IS NULL AND job.laid_out IS NOT NULL AND NOT backfill.walks_parent(job) THEN
    all_of := ARRAY(SELECT o FROM unnest(all_of) AS o WHERE o IN (SELECT unnest(job.laid_out[:][1:1])) ORDER BY o);
  END IF;
  FOREACH r IN ARRAY all_of LOOP
    IF on_copy AND r <> largest THEN
      CONTINUE;
    END IF;
    IF backfill.turn_to_ctid(job, r) THEN
      relation := NULL;
      outcome := 'not ours';
      RETURN NEXT;
      RETURN;
    END IF;
    key := backfill.key_for(job, r);
    relation := r;
    name := backfill.relation_name(r);
    SELECT s.batch, s.bound, s.last, s.keys INTO batch, bound, last, keys_of
      FROM backfill.statements(job, r, key, false) s;
    PERFORM backfill.check_is_there(r, job);
    trial := CASE WHEN trying AND r = largest THEN 100 ELSE 0 END;
    whole := backfill.whole_look(job, CASE WHEN r = largest AND r <> job.target AND backfill.fits_one_look(job) THEN job.target ELSE r END);  -- one that has rows
    size := size + octet_length(concat(name, batch, bound, last, keys_of, data_directory)) + 100;
    IF size > most THEN
      RAISE EXCEPTION 'the statements for the partitions of % come to more than % MB', backfill.relation_name(job.target), most / 1000000
        USING ERRCODE = 'BF005', HINT = 'Make the clauses shorter (what is long belongs into a function that they call), or insert a job for each partition, or for each part of the tree.';
    END IF;
    RETURN NEXT;
    n := n + 1;
    IF clock_timestamp() > began + (CASE WHEN n < 4 THEN interval '200 ms' ELSE interval '50 ms' END) AND r <> all_of[cardinality(all_of)] AND NOT on_copy THEN
      relation := NULL; name := NULL; batch := NULL; bound := NULL; last := NULL; keys_of := NULL; trial := NULL; whole := NULL;
      behind := ARRAY[CASE WHEN r = largest THEN 0 ELSE r END, largest];
      rest := CASE WHEN after IS NULL THEN (SELECT sum(greatest(c.reltuples, 0)) FROM pg_class c WHERE c.oid = ANY (all_of) AND c.oid > behind[1] AND c.oid <> largest) END;
      RETURN NEXT;
      EXIT;
    END IF;
  END LOOP;
END
$$;

-- The ranges of a relation, up to the greatest key that it has now, each from where the one before it ends: cuts. In a later pass those that are
-- there, from their start, as long as their key has its order. What a pass can't do it notes anew. upper NULL: the relation is empty by now, and its
-- ranges stay done.
-- planned: when the session of its layout began. Nothing happens on another: a server that has crashed, or failed over, since
-- may have lost ranges that were added before this one.
CREATE OR REPLACE FUNCTION backfill.add_ranges(job_id bigint, relation oid, upper text[], cuts text[], planned timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  job  backfill.job;
  k    backfill.walk_key;
  last bigint;   -- that ends with upper
  sums record;   -- of what was cut otherwise
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = add_ranges.job_id;
  IF NOT FOUND OR NOT backfill.is_held(job) OR planned IS DISTINCT FROM backfill.session_start() THEN
    RETURN;
  END IF;
  IF job.phase = 'backfill' AND NOT job.planning  -- the pass is under way
     AND EXISTS (SELECT FROM backfill.range g WHERE g.job_id = job.id AND g.relation = add_ranges.relation AND g.lower IS NULL AND (g.batches > 0 OR g.cursor IS DISTINCT FROM g.starts)) THEN
    RETURN;
  END IF;
  DELETE FROM backfill.left_behind l WHERE l.job_id = job.id AND l.relation = add_ranges.relation AND l.reason = 'error';
  IF upper IS NULL THEN
    UPDATE backfill.range g SET found = 0, nulls = 0 WHERE g.job_id = job.id AND g.relation = add_ranges.relation;
    RETURN;
  END IF;
  SELECT * INTO k FROM backfill.key_of(relation, backfill.key_numbers(relation, job.key));
  IF k.attnums IS NULL THEN
    RETURN;
  END IF;
  SELECT max(g.id) INTO last
    FROM backfill.range g
   WHERE g.job_id = job.id AND g.relation = add_ranges.relation AND g.lower IS NULL
  HAVING (count(*) > 1 OR cuts IS NULL) AND bool_and(g.starts IS NULL OR backfill.same_order(g.key_identity, k.identity));
  IF last IS NOT NULL THEN
    UPDATE backfill.range g
       SET key = k.attnums, key_identity = k.identity, home = backfill.home(add_ranges.relation),
           upper = CASE g.id WHEN last THEN add_ranges.upper ELSE g.upper END, cursor = g.starts, keys = 0, found = 0, nulls = 0, walker = NULL, for_holder = false,
           epoch = backfill.random_number(), submitted_by = job.submitted_by, submitted_by_oid = job.submitted_by_oid
     WHERE g.job_id = job.id AND g.relation = add_ranges.relation AND g.lower IS NULL;
    RETURN;
  END IF;
  SELECT coalesce(sum(g.rows), 0) AS rows, coalesce(sum(g.batches), 0) AS batches, coalesce(sum(g.wal_bytes), 0) AS wal_bytes, coalesce(sum(g.gone), 0) AS gone INTO sums
    FROM backfill.range g
   WHERE g.job_id = job.id AND g.relation = add_ranges.relation AND g.lower IS NULL;
  DELETE FROM backfill.range g WHERE g.job_id = job.id AND g.relation = add_ranges.relation AND g.lower IS NULL;
  INSERT INTO backfill.range (job_id, submitted_by, submitted_by_oid, epoch, relation, key, key_identity, home, starts, cursor, upper, rows, batches, wal_bytes, gone)
  SELECT job.id, job.submitted_by, job.submitted_by_oid, backfill.random_number(), add_ranges.relation, k.attnums, k.identity, backfill.home(add_ranges.relation),
         c.starts::text[], c.starts::text[], c.ends::text[],
         CASE c.ord WHEN 1 THEN sums.rows ELSE 0 END, CASE c.ord WHEN 1 THEN sums.batches ELSE 0 END, CASE c.ord WHEN 1 THEN sums.wal_bytes ELSE 0 END, CASE c.ord WHEN 1 THEN sums.gone ELSE 0 END
    FROM ROWS FROM (unnest(NULL::text || coalesce(cuts, '{}')), unnest(coalesce(cuts, '{}') || upper::text)) WITH ORDINALITY AS c(starts, ends, ord)
   ORDER BY c.ord;
END
$$;

-- A pass that is under way is planned so far by now: behind, as layout returned it. What is planned is what may be taken, so relations that were to be, when a daemon or the server went, are planned
-- anew by whoever takes the next range. planned: when the session began on which the ranges were added. outcome: 'begun'; 'not over': that session is gone, and they may be lost; 'not ours'.
CREATE OR REPLACE FUNCTION backfill.plan_on(job_id bigint, phase text, planned timestamptz, behind oid[]) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  job backfill.job;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  IF NOT FOUND OR NOT backfill.is_held(job) OR backfill.has_moved_back(job, phase) THEN
    RETURN 'not ours';
  ELSIF planned IS DISTINCT FROM backfill.session_start() OR job.behind IS NULL THEN
    RETURN 'not over';
  END IF;
  UPDATE backfill.job j SET behind = plan_on.behind WHERE j.id = job_id;
  RETURN 'begun';
END
$$;

-- Whether the pass of a job is planned so far that a range of that relation is one of its own. behind: of the job.
CREATE OR REPLACE FUNCTION backfill.is_planned(behind oid[], relation oid) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
  SELECT behind IS NULL OR relation OPERATOR(pg_catalog.<=) behind[1] OR relation OPERATOR(pg_catalog.=) behind[2]
$$;

-- A job stands in an earlier phase than the daemon that holds it thinks: the server has failed over to a standby that had not
-- heard of the rest. It goes back to the queue; whoever claims it begins where it stands.
CREATE OR REPLACE FUNCTION backfill.has_moved_back(job backfill.job, phase text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF job.state <> 'running' OR job.phase = phase OR NOT backfill.is_held(job) THEN
    RETURN false;
  END IF;
  PERFORM backfill.give_back(job);
  RETURN true;
END
$$;


-- Takes the first range of a job that is not done, and that no other walker has in hand, by another epoch: whoever had it can checkpoint no more.
-- slot: 0 the holder's, else a helper's, which gets ranges alone: 'none', there is nothing for it; 'not ours', it has no slot any more.
-- 'unplanned': so few are left for it and its helpers that it plans the next relations first, behind those of job.behind. 'shared': what is left is in helpers' hands.
-- When all are done: the first rows above number "above" that were put aside as locked, "at_most" of them, to be tried again.
-- One row, whose outcome is 'range', 'rows' (ids and row_keys, all of one range; the first key is upper), 'locked' (none above, but so many
-- that were tried before are locked still), 'none' (all is done; changed: rows of this pass, whose number is walk) or 'not ours' (another daemon holds the job).
-- locked: of 'rows' with above = 0, how many there are in all.
-- A range or row whose partition was dropped meanwhile has nothing left to do.
CREATE OR REPLACE FUNCTION backfill.take_range(job_id bigint, phase text, above bigint, at_most integer, slot integer,
    OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean,
    OUT relation oid, OUT name text, OUT key_columns text[], OUT batch text, OUT bound text, OUT reckoning text, OUT function oid, OUT signature text, OUT keys bigint,
    OUT keys_of text, OUT ids bigint[], OUT row_keys text[], OUT locked bigint, OUT changed bigint, OUT yields boolean, OUT proof jsonb, OUT walk bigint, OUT walkers integer, OUT behind oid[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job      backfill.job;
  r        backfill.range;
  left_row backfill.left_behind;
  k        backfill.walk_key;
  key      smallint[];
  was      jsonb;   -- what the key was when the range was made
  home     text;    -- and where
  by_now   text;    -- the key, in words
  free_id  bigint;  -- of a range
  mine     constant boolean := slot = 0 OR backfill.has_slot(job_id, slot);
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  IF NOT FOUND OR NOT mine OR (CASE slot WHEN 0 THEN NOT backfill.is_held(job) OR backfill.has_moved_back(job, phase) ELSE job.state <> 'running' END) THEN
    outcome := 'not ours';
    RETURN;
  ELSIF slot > 0 AND (job.phase <> phase OR job.planning) THEN
    outcome := 'none';
    RETURN;
  END IF;
  IF backfill.relation_name(job.target) IS NULL THEN
    PERFORM backfill.refuse_dropped(job);
  ELSIF backfill.relation_name(job.target) <> job.plan ->> 'named' THEN
    RAISE EXCEPTION 'the table of job "%" was % when its statement was written, and is called % now', job.name, job.plan ->> 'named', backfill.relation_name(job.target)
      USING ERRCODE = '42P01',
            HINT = format('The statement may mean another table. Give the table its name back, then SELECT backfill.retry(%1$L); or backfill.forget(%1$L), and insert a job with a statement for what is still to do.', job.name);
  END IF;
  PERFORM backfill.check_columns(job);

  walkers := 1 + cardinality(backfill.helpers_of(job_id));
  keys := (SELECT coalesce(sum(g.keys), 0) FROM backfill.range g WHERE g.job_id = take_range.job_id);
  IF slot = 0 AND job.behind IS NOT NULL
     AND (SELECT count(*)
            FROM (SELECT FROM backfill.range g
                   WHERE g.job_id = take_range.job_id AND NOT g.done AND backfill.is_planned(job.behind, g.relation) AND NOT backfill.is_walked(job, g, 0) AND backfill.is_of_target(job, g.relation)
                   LIMIT 2 * walkers - 1) AS f) < 2 * walkers - 1 THEN
    outcome := 'unplanned';
    behind := job.behind;
    RETURN;
  END IF;
  free_id := backfill.free_range(job, slot);  -- once: it is volatile
  UPDATE backfill.range g
     SET epoch = backfill.random_number(),
         walker = take_range.slot, walker_since = clock_timestamp(),
         submitted_by = job.submitted_by, submitted_by_oid = job.submitted_by_oid  -- whose login is gone, another may have taken the job over
   WHERE g.id = free_id
  RETURNING g.* INTO r;
  IF r.id IS NOT NULL THEN
    outcome := 'range';
    range := r.id;
    epoch := r.epoch;
    cursor := r.cursor;
    upper := r.upper;
    point := r.lower IS NOT NULL AND r.lower = r.upper;
    relation := r.relation;
    key := r.key;
    was := r.key_identity;
    home := r.home;
  ELSIF slot > 0 THEN
    outcome := 'none';
    RETURN;
  ELSIF EXISTS (SELECT FROM backfill.range g WHERE g.job_id = take_range.job_id AND NOT g.done AND backfill.is_of_target(job, g.relation)) THEN
    outcome := 'shared';
    RETURN;
  ELSE
    DELETE FROM backfill.left_behind l
     WHERE l.job_id = take_range.job_id AND l.reason = 'locked'
       AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = l.relation);
    SELECT * INTO left_row
      FROM backfill.left_behind l
     WHERE l.job_id = take_range.job_id AND l.reason = 'locked' AND l.id > above AND backfill.is_of_target(job, l.relation)
     ORDER BY l.id LIMIT 1;
    IF left_row.id IS NULL OR above = 0 THEN
      locked := (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = take_range.job_id AND l.reason = 'locked' AND backfill.is_of_target(job, l.relation));
    END IF;
    IF left_row.id IS NULL THEN
      outcome := CASE WHEN locked > 0 THEN 'locked' ELSE 'none' END;
      walk := job.walk;
      -- Rows that were tried again belong to no pass, and partitions that were taken out to no table.
      changed := (SELECT coalesce(sum(g.found), 0)
                    FROM backfill.range g
                   WHERE g.job_id = take_range.job_id AND g.lower IS NULL AND g.relation IN (SELECT backfill.relations_of(job)));
      RETURN;
    END IF;
    outcome := 'rows';
    epoch := backfill.random_number();
    -- Those behind each other that are of one range and one key: one statement does them, and none is passed over in this round. In a
    -- statement of the user's own each column stands alone (batch_condition): but for the last one they are all alike.
    SELECT array_agg(t.id ORDER BY t.id), array_agg(t.key::text ORDER BY t.id) INTO ids, row_keys
      FROM (SELECT l.id, l.key, l.id = left_row.id OR
                   sum(octet_length(l.key::text)) OVER (ORDER BY l.id) <= 1000000  -- as an answer they must fit in
                   AND bool_and((l.range_id, l.relation, l.key_columns, l.key_identity, l.home)
                            IS NOT DISTINCT FROM (left_row.range_id, left_row.relation, left_row.key_columns, left_row.key_identity, left_row.home)
                            AND (job.statement IS NULL OR l.key[:cardinality(l.key) - 1] = left_row.key[:cardinality(l.key) - 1]))
                     OVER (ORDER BY l.id) AS alike
              FROM (SELECT i.* FROM backfill.left_behind i
                     WHERE i.job_id = take_range.job_id AND i.reason = 'locked' AND i.id > above
                     ORDER BY i.id
                     LIMIT at_most) l) t
     WHERE t.alike;
    UPDATE backfill.left_behind l SET epoch = take_range.epoch WHERE l.id = ANY (ids);
    upper := left_row.key;
    point := false;
    relation := left_row.relation;
    key := left_row.key_columns;
    was := left_row.key_identity;
    home := left_row.home;
  END IF;

  IF home <> backfill.home(relation) THEN  -- restored: the columns are known by their names only
    key := backfill.key_numbers(relation, ARRAY(SELECT c ->> 'name' FROM jsonb_array_elements(was) WITH ORDINALITY AS x(c, ord) ORDER BY ord));
  END IF;
  SELECT * INTO k FROM backfill.key_of(relation, key);
  by_now := concat(backfill.key_in_words(k.identity), CASE WHEN backfill.key_in_words(k.identity) = backfill.key_in_words(was) THEN ', of which a name is another''s by now' END);
  IF k.columns IS NOT NULL AND job.where_clause IS NULL AND home = backfill.home(relation) AND backfill.rewritten(was, k.identity) IS NOT NULL THEN
    RAISE EXCEPTION 'key column % of % may have other values than when job "%" began: it was altered, and the table rewritten',
                    quote_ident(backfill.rewritten(was, k.identity)), backfill.relation_name(relation), job.name
      USING ERRCODE = '42P16',
            HINT = format('When each row has the key that it had, SELECT backfill.retry(%L); else nothing tells which rows are done: cancel the job, and insert one with a where_clause that only the rest meets.', job.name);
  ELSIF k.columns IS NOT NULL AND NOT backfill.same_order(was, k.identity) THEN
    PERFORM backfill.check_collations(k);
    IF job.where_clause IS NULL THEN
      RAISE EXCEPTION 'the key of % is ordered in another way than when job "%" began: it was %, and is %',
                      backfill.relation_name(relation), job.name, backfill.key_in_words(was), by_now
        USING ERRCODE = '42P16',
              HINT = format('What the cursors in backfill.range tell is done, the rest is not. Make the key what it was, then SELECT backfill.retry(%L); '
                            'or cancel the job, and insert one with a where_clause that only the rest meets.', job.name);
    END IF;
    IF slot > 0 THEN
      PERFORM backfill.hand_over(r.id, r.epoch);
      outcome := 'none';
      RETURN;
    END IF;
    PERFORM backfill.begin_anew(job, CASE WHEN key = '{-1}' THEN format('%s was written anew (VACUUM FULL, CLUSTER, TRUNCATE, a new type), and each row lies elsewhere', backfill.relation_name(relation))
                                          ELSE format('the key of %s was %s, and is %s', backfill.relation_name(relation), backfill.key_in_words(was), by_now) END);
    outcome := 'not ours';
    RETURN;
  ELSIF k.columns IS NOT NULL AND (home <> backfill.home(relation) OR was IS DISTINCT FROM k.identity) THEN
    UPDATE backfill.range g
       SET key = k.attnums, key_identity = k.identity, home = backfill.home(take_range.relation)
     WHERE g.id = r.id;
    UPDATE backfill.left_behind l
       SET key_columns = k.attnums, key_identity = k.identity, home = backfill.home(take_range.relation)
     WHERE l.id = ANY (ids);
  END IF;
  IF k.columns IS NOT NULL THEN
    key_columns := k.columns;
    PERFORM backfill.check_domains(relation, k.attnums, backfill.role_of(job));
    SELECT c.oid, c.signature INTO function, signature FROM backfill.called_function(job) c;
    IF job.keep_in_sync AND function IS NULL THEN
      PERFORM backfill.refuse_change(job, coalesce(c.change, 'is not there any more')) FROM backfill.sync_change(job) AS c(change) WHERE c.change IS DISTINCT FROM 'is an earlier version''s';
    END IF;
    yields := backfill.can_yield(job);
    name := CASE WHEN job.statement IS NULL THEN backfill.relation_name(relation) END;
    reckoning := CASE WHEN job.statement IS NULL THEN backfill.reckoning_of(k) END;
    SELECT s.batch, s.keys, s.bound, backfill.proof_of(job, relation, k.columns, s.look, job.phase) INTO batch, keys_of, bound, proof
      FROM backfill.statements(job, relation, k, point, CASE WHEN ids IS NOT NULL THEN CASE WHEN job.statement IS NULL THEN 'joined' ELSE 'each' END END) s;
  END IF;
  PERFORM backfill.check_is_there(relation, job);
  IF key_columns IS NULL THEN
    IF slot = 0 AND backfill.turn_to_ctid(job, relation) THEN
      outcome := 'not ours';
      RETURN;
    END IF;
    PERFORM backfill.key_for(job, relation) WHERE slot = 0;  -- why there is none, if there is none
    IF slot > 0 THEN
      PERFORM backfill.hand_over(r.id, r.epoch);
      outcome := 'none';
      RETURN;
    ELSIF job.where_clause IS NOT NULL THEN
      PERFORM backfill.begin_anew(job, format('the key of %s was %s, and there is another in its place', backfill.relation_name(relation), backfill.key_in_words(was)));
      outcome := 'not ours';
      RETURN;
    END IF;
    RAISE EXCEPTION 'the unique index that job "%" walks % by is gone', job.name, backfill.relation_name(relation)
      USING ERRCODE = '42P16', HINT = format('Create it again on the same columns (CREATE UNIQUE INDEX CONCURRENTLY), then SELECT backfill.retry(%L). Where these were dropped nothing tells which rows are done: cancel the job, and insert one with a where_clause that only the rest meets.', job.name);
  END IF;
END
$$;

-- A row that cannot be done is noted, and the cursor goes over it, in one transaction. lo and hi enclose just that row.
CREATE OR REPLACE FUNCTION backfill.put_aside(range bigint, epoch bigint, lo text[], hi text[], sqlstate text, message text, detail text)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  WITH moved AS (
    UPDATE backfill.range r
       SET cursor = put_aside.hi, keys = r.keys + 1, checkpoint_at = clock_timestamp()
     WHERE r.id = put_aside.range AND r.epoch = put_aside.epoch AND r.cursor IS NOT DISTINCT FROM put_aside.lo
    RETURNING r.*)
  INSERT INTO backfill.left_behind (job_id, range_id, relation, key_columns, key_identity, home, key, reason, sqlstate, message, detail)
  SELECT m.job_id, m.id, m.relation, m.key, m.key_identity, m.home, put_aside.hi, 'error', put_aside.sqlstate, put_aside.message, put_aside.detail
    FROM moved m;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'range % is no longer at this cursor and epoch', range USING ERRCODE = 'BF001';
  END IF;
END
$$;

-- A row that was locked, and now that it is free cannot be done: it stays left behind, for that reason.
CREATE OR REPLACE FUNCTION backfill.leave_row(id bigint, sqlstate text, message text, detail text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE backfill.left_behind l
     SET reason = 'error', sqlstate = leave_row.sqlstate, message = leave_row.message, detail = leave_row.detail,
         left_at = clock_timestamp()
   WHERE l.id = leave_row.id AND l.reason = 'locked';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'row % is not left behind as locked any more', id USING ERRCODE = 'BF001';
  END IF;
END
$$;
