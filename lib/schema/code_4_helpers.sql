-- Helpers of a job: sessions beside that of the daemon that holds it, of the same daemon or of others, which walk ranges and nothing else. Each has a
-- slot in backfill.token, from 1 on, which lives as long as its daemon's control session does. Whoever takes a range draws its epoch anew, so that
-- whoever had it can checkpoint no more: exactly once rests on that alone, and what is said here of who walks what only spares work.

-- A job's slots of helpers that live.
CREATE OR REPLACE FUNCTION backfill.helpers_of(job_id bigint) RETURNS integer[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(SELECT t.slot FROM backfill.token t
                WHERE t.job_id = helpers_of.job_id AND t.slot > 0 AND backfill.session_start(t.holder_pid) = t.holder_start
                ORDER BY t.slot);
END
$$;

-- Whether another walker than the one in that slot has a range in hand. One that is gone has none, nor, for the holder, a helper that has
-- done nothing for half a minute: its daemon may stand still, and its control session with it.
CREATE OR REPLACE FUNCTION backfill.is_walked(job backfill.job, range backfill.range, slot integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN range.walker IS NOT NULL AND range.walker <> slot
         AND CASE WHEN range.walker = 0 THEN coalesce(backfill.session_start(job.holder_pid) = job.holder_start, false)
                  ELSE range.walker = ANY (backfill.helpers_of(job.id))
                       AND (slot <> 0 OR greatest(range.checkpoint_at, range.walker_since) > clock_timestamp() - interval '30 s') END;
END
$$;

-- The range that the walker in a slot is to take: the one that it has, else the first that nobody has; NULL: there is none. Its row is locked.
-- What a helper met something in is left to the holder, who alone waits for somebody's lock on a range's row.
-- They are looked at one by one, as the index has them: of a table with thousands of partitions each question would else ask for all of them.
CREATE OR REPLACE FUNCTION backfill.free_range(job backfill.job, slot integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  candidate bigint;
  taken     bigint;
BEGIN
  SELECT r.id INTO taken
    FROM backfill.range r
   WHERE r.job_id = job.id AND r.walker = free_range.slot AND NOT r.done AND backfill.is_planned(job.behind, r.relation) AND (free_range.slot = 0 OR NOT r.for_holder)
     AND backfill.is_of_target(job, r.relation)
   ORDER BY r.id LIMIT 1
     FOR NO KEY UPDATE SKIP LOCKED;
  IF taken IS NULL THEN
    FOR candidate IN SELECT r.id FROM backfill.range r WHERE r.job_id = job.id AND NOT r.done AND backfill.is_planned(job.behind, r.relation) AND (free_range.slot = 0 OR NOT r.for_holder) ORDER BY r.id LOOP
      SELECT r.id INTO taken
        FROM backfill.range r
       WHERE r.id = candidate AND NOT r.done AND (free_range.slot = 0 OR NOT r.for_holder) AND NOT backfill.is_walked(job, r, free_range.slot)
         AND backfill.is_of_target(job, r.relation)
         FOR NO KEY UPDATE SKIP LOCKED;
      EXIT WHEN taken IS NOT NULL;
    END LOOP;
  END IF;
  IF taken IS NULL AND free_range.slot = 0 THEN
    FOR candidate IN SELECT r.id FROM backfill.range r WHERE r.job_id = job.id AND NOT r.done AND backfill.is_planned(job.behind, r.relation) ORDER BY r.id LOOP
      SELECT r.id INTO taken
        FROM backfill.range r
       WHERE r.id = candidate AND NOT r.done AND NOT backfill.is_walked(job, r, 0)
         AND backfill.is_of_target(job, r.relation)
         FOR NO KEY UPDATE;
      EXIT WHEN taken IS NOT NULL;
    END LOOP;
  END IF;
  RETURN taken;
END
$$;

-- Takes a slot at a job that walks, of which a range is free, and that has fewer walkers than it may: job.workers, or where that is NULL so many as the
-- caller's file says. One row; job is NULL when there is none. ask_again, opens_in_s: as of backfill.claim.
CREATE OR REPLACE FUNCTION backfill.help(file_workers integer, OUT job backfill.job, OUT ask_again boolean, OUT opens_in_s double precision, OUT token bigint, OUT slot integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  helpers integer[];
BEGIN
  ask_again := false;
  SELECT j.* INTO job
    FROM backfill.job j
   WHERE j.state = 'running' AND j.phase IN ('backfill', 'guard', 'verify') AND j.wanted = 'run' AND NOT j.planning AND coalesce(j.workers, file_workers) > 1
     AND coalesce(j.workers, file_workers) > 1 + cardinality(backfill.helpers_of(j.id))
     AND EXISTS (SELECT FROM backfill.range r WHERE r.job_id = j.id AND NOT r.done AND NOT r.for_holder AND backfill.is_planned(j.behind, r.relation) AND NOT backfill.is_walked(j, r, -1))
   ORDER BY j.priority DESC, cardinality(backfill.helpers_of(j.id)), j.id
   LIMIT 1
     FOR NO KEY UPDATE SKIP LOCKED;
  helpers := backfill.helpers_of(job.id);  -- as they are, now that nobody else gets one
  IF job.id IS NULL OR coalesce(job.workers, file_workers) <= 1 + cardinality(helpers) THEN
    job := NULL;
    RETURN;
  END IF;
  slot := (SELECT min(s) FROM generate_series(1, 63) AS s WHERE s <> ALL (helpers));
  UPDATE backfill.range r SET walker = NULL WHERE r.job_id = job.id AND r.walker = help.slot AND NOT r.done;  -- of one that is gone
  INSERT INTO backfill.token AS t (job_id, slot, token, mark, holder_pid, holder_start, words, reads, types, names)
  SELECT job.id, help.slot, backfill.random_number(), o.mark, pg_backend_pid(), backfill.session_start(), o.words, o.reads, o.types, o.names
    FROM backfill.token o WHERE o.job_id = job.id AND o.slot = 0
  ON CONFLICT ON CONSTRAINT token_pkey
  DO UPDATE SET token = excluded.token, mark = excluded.mark, holder_pid = excluded.holder_pid, holder_start = excluded.holder_start, worker = NULL, since = NULL, ticket = NULL,
                words = excluded.words, reads = excluded.reads, types = excluded.types, names = excluded.names
  RETURNING t.token INTO token;
  job.submitted_by := backfill.role_name(job.submitted_by_oid);  -- as they are called today
  job.owner := backfill.role_name(job.owner_oid);
  IF token IS NULL OR job.submitted_by IS NULL OR job.owner IS NULL THEN
    job := NULL;
  END IF;
END
$$;

-- Gives a slot back. troubled: for something that went wrong; then the range in hand is the holder's.
CREATE OR REPLACE FUNCTION backfill.leave(job_id bigint, slot integer, troubled boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM backfill.token t
   WHERE t.job_id = leave.job_id AND t.slot = leave.slot AND t.slot > 0 AND (t.holder_pid, t.holder_start) = (pg_backend_pid(), backfill.session_start());
  IF FOUND THEN
    UPDATE backfill.range r SET walker = NULL, for_holder = r.for_holder OR troubled WHERE r.job_id = leave.job_id AND r.walker = leave.slot AND NOT r.done;
  END IF;
END
$$;

-- A helper leaves its range to the holder.
CREATE OR REPLACE FUNCTION backfill.hand_over(range bigint, epoch bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE backfill.range r SET walker = NULL, for_holder = true WHERE r.id = hand_over.range AND r.epoch = hand_over.epoch
$$;

-- Nobody walks for a job any more: who did can checkpoint no more, and helpers have no slot. In this order: who takes a range for a slot has locked
-- that before.
CREATE OR REPLACE FUNCTION backfill.drop_walkers(job_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM backfill.token t WHERE t.job_id = drop_walkers.job_id AND t.slot > 0;
  UPDATE backfill.range r SET epoch = backfill.random_number(), walker = NULL WHERE r.job_id = drop_walkers.job_id AND NOT r.done;
END
$$;

-- Whether a helper's slot is its own still; then it is locked.
CREATE OR REPLACE FUNCTION backfill.has_slot(job_id bigint, slot integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM FROM backfill.token t
    WHERE t.job_id = has_slot.job_id AND t.slot = has_slot.slot AND (t.holder_pid, t.holder_start) = (pg_backend_pid(), backfill.session_start())
      FOR NO KEY UPDATE;
  RETURN FOUND;
END
$$;

-- What the walkers of a job do together: how many there are, the keys of all ranges, and how many a second others than the one in a slot scan.
CREATE OR REPLACE FUNCTION backfill.walkers_of(job_id bigint, slot integer, OUT walkers integer, OUT keys numeric, OUT rate real)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  walkers := 1 + cardinality(backfill.helpers_of(job_id));
  SELECT sum(r.keys), coalesce(sum(r.rate) FILTER (WHERE NOT r.done AND r.walker <> walkers_of.slot AND r.checkpoint_at > clock_timestamp() - interval '5 s'), 0)
    INTO keys, rate
    FROM backfill.range r WHERE r.job_id = walkers_of.job_id;
END
$$;
