-- That a phase is over, a daemon concludes from what it has seen, and what it has seen may be gone: batches commit with
-- synchronous_commit off, a standby that takes over may have heard of even less, and the control session sends again what was not
-- answered. So each conclusion (begin_phase, layout, end_job, end_tidy) looks again, in the transaction that writes it, and holds
-- the job's row meanwhile, so that nobody takes the job over in between. What it finds to do it leaves to the daemon, which goes on.
-- That is enough. A batch that the look sees has its commit record in the WAL already, before that of the conclusion: so no crash
-- and no standby has the conclusion without the batch. And the control session commits with synchronous_commit = local:
-- who sees that a job has succeeded sees what is on disk.

-- Whether something is left of the pass: a relation to plan, a range to do, or a row that was locked. As take_range would say: what was of a partition
-- that is gone counts no more. A table that was dropped is never over: whoever looks next says so.
CREATE OR REPLACE FUNCTION backfill.is_open(job backfill.job) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF job.behind IS NOT NULL
     OR EXISTS (SELECT FROM backfill.range r
                 WHERE r.job_id = job.id AND NOT r.done
                   AND backfill.is_of_target(job, r.relation))
     OR EXISTS (SELECT FROM backfill.left_behind l
                 WHERE l.job_id = job.id AND l.reason = 'locked'
                   AND backfill.is_of_target(job, l.relation)) THEN
    RETURN true;
  END IF;
  RETURN NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = job.target);  -- asked behind the others: dropped since, its ranges are nobody's
END
$$;

-- Whether the catalog still has a step of the phase to do.
CREATE OR REPLACE FUNCTION backfill.has_step(job backfill.job, phase text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN phase IN ('expand', 'guard', 'validate', 'tidy') AND EXISTS (SELECT FROM backfill.next_step(job.id, phase));
END
$$;

-- A phase begins, or a pass of it: all that it needs is there. from_phase: the one that ends with that. estimate: keys to walk, NULL leaves it. seen: what the survey saw
-- (backfill.survey), when it tried a batch; disk_free: bytes, NULL when not known. planned: when the session began on which its
-- ranges were laid out and added; NULL: it has none of its own. behind: of which relations they are (job.behind), NULL: of all. proven: one look at all relations has
-- seen that no row is to do: it has none to scan, and what an earlier pass has found, or left behind, is done. looked: what the looks of verify have shown (backfill.may_have_moved): it is kept
-- beyond its end, for the job may be ended by another daemon.
-- outcome: 'begun'; 'not over', and nothing was written: something of the phase before is to do, or ranges were planned on a session
-- that is gone, and may be lost; 'not ours', another daemon holds the job. preflight: what it found, in words, for the journal.
CREATE OR REPLACE FUNCTION backfill.begin_phase(job_id bigint, from_phase text, phase text, estimate bigint, seen jsonb, disk_free bigint,
    planned timestamptz, behind oid[], proven boolean, looked jsonb, OUT outcome text, OUT preflight text, OUT walk bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job   backfill.job;
  again boolean;  -- it has begun, and that is sent again
  result jsonb;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  again := job.phase = begin_phase.phase AND phase <> from_phase;
  IF NOT FOUND OR NOT backfill.is_held(job) OR (NOT again AND backfill.has_moved_back(job, from_phase)) THEN
    outcome := 'not ours';
    RETURN;
  ELSIF NOT again AND (CASE WHEN planned IS NULL THEN backfill.is_open(job) ELSE planned <> backfill.session_start() END
                       OR phase <> from_phase AND backfill.has_step(job, from_phase)) THEN
    outcome := 'not over';
    RETURN;
  END IF;
  outcome := 'begun';
  IF seen IS NOT NULL THEN
    result := backfill.preflight(job, estimate, seen, disk_free);
    preflight := backfill.preflight_in_words(result);
  END IF;
  IF proven THEN
    DELETE FROM backfill.left_behind l WHERE l.job_id = begin_phase.job_id AND l.reason = 'error';
    UPDATE backfill.range g SET found = 0, nulls = 0 WHERE g.job_id = begin_phase.job_id AND (g.found <> 0 OR g.nulls <> 0);
  END IF;
  UPDATE backfill.job j
     SET phase = begin_phase.phase, planning = false, behind = begin_phase.behind, phase_at = clock_timestamp(), walk = backfill.random_number(),
         estimate = coalesce(begin_phase.estimate, j.estimate),
         tidy = j.tidy OR (begin_phase.phase = 'expand' AND j.keep_in_sync) OR (begin_phase.phase IN ('guard', 'validate') AND j.enforce IS NOT NULL),
         before = coalesce(j.before, backfill.look_at(j.target, j.submitted_by, true)),  -- by it undo tells what was there
         plan = CASE WHEN from_phase = 'verify' AND begin_phase.phase <> 'verify' THEN j.plan || jsonb_build_object('looked', looked) ELSE j.plan END,
         report = CASE WHEN result IS NULL THEN j.report ELSE coalesce(j.report, '{}') || jsonb_build_object('preflight', result) END
   WHERE j.id = job_id
  RETURNING j.walk INTO walk;
END
$$;

-- The ranges of a job are worth nothing any more, and it has a where_clause, which tells what is done: it goes back to the queue, and
-- begins as if it were new.
CREATE OR REPLACE FUNCTION backfill.begin_anew(job backfill.job, reason text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM backfill.range g WHERE g.job_id = job.id;
  DELETE FROM backfill.left_behind l WHERE l.job_id = job.id AND l.reason <> 'duplicate';
  UPDATE backfill.job j
     SET phase = 'preflight', behind = NULL, estimate = NULL, report = coalesce(j.report, '{}') || jsonb_build_object('begun_anew', reason)
   WHERE j.id = job.id;
  PERFORM backfill.give_back(job);
END
$$;

-- Whether a job is one that would be walked as the rows of its tables lie, if it were inserted today: its INSERT found a key, and has left the choice, but this relation has none any more.
CREATE OR REPLACE FUNCTION backfill.turns_to_ctid(job backfill.job, relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN job.scan = 'auto' AND job.key IS NULL AND (SELECT c.relkind = 'r' FROM pg_class c WHERE c.oid = relation) AND NOT EXISTS (SELECT FROM backfill.key_of(relation))
     AND job.set_clause IS NOT NULL AND job.where_clause IS NOT NULL AND backfill.columns_to_fill(job) IS NOT NULL;
END
$$;

-- Has it begin anew in that way, if so. It goes back to the queue.
CREATE OR REPLACE FUNCTION backfill.turn_to_ctid(job backfill.job, relation oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT backfill.turns_to_ctid(job, relation) THEN
    RETURN false;
  END IF;
  UPDATE backfill.job j SET key = '{ctid}' WHERE j.id = job.id;
  PERFORM backfill.begin_anew(job, format('%s has no key to walk by any more, and is scanned as its rows lie', backfill.relation_name(relation)));
  RETURN true;
END
$$;

-- Numbers of rows to come are above those that are there: a restore of data alone may have put a sequence back.
CREATE OR REPLACE FUNCTION backfill.catch_up_numbers() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  SELECT setval('backfill.job_id_seq', j.id) FROM (SELECT max(id) AS id FROM backfill.job) j, backfill.job_id_seq s WHERE j.id > s.last_value;
  SELECT setval('backfill.range_id_seq', r.id) FROM (SELECT max(id) AS id FROM backfill.range) r, backfill.range_id_seq s WHERE r.id > s.last_value;
  SELECT setval('backfill.left_behind_id_seq', l.id) FROM (SELECT max(id) AS id FROM backfill.left_behind) l, backfill.left_behind_id_seq s WHERE l.id > s.last_value;
$$;

-- What was measured, with what the job's proof says of it: rows whose value the clause makes NULL, or why nothing was proven.
CREATE OR REPLACE FUNCTION backfill.add_proof(job backfill.job, state text, measured jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(measured, '{}') - '{unseen,unmet,all_at_once}'::text[]
         || CASE WHEN n.nulls > 0 THEN jsonb_build_object('verified', coalesce(measured -> 'verified', '{}') || jsonb_build_object('null', n.nulls)) ELSE '{}' END
         || jsonb_strip_nulls(jsonb_build_object('not_proven', CASE WHEN state = 'succeeded' THEN nullif(concat_ws(' ', backfill.not_proven(job), backfill.may_have_moved(job, measured)), '') END))
    FROM (SELECT sum(g.nulls) AS nulls FROM backfill.range g WHERE g.job_id = job.id) n
$$;

-- A hint of the daemon's, which calls a job "name", with that of this job. A job whose column may hold what another clause must not take for right is undone before it is forgotten.
CREATE OR REPLACE FUNCTION backfill.hint_for(job backfill.job, hint text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(regexp_replace(replace(hint, 'SELECT backfill.forget(name)', concat(backfill.undo_first(job), 'SELECT backfill.forget(name)')), '(backfill\.\w+)\(name\)', '\1(' || E'\x02' || ')', 'g'), E'\x02', quote_literal(job.name))
$$;

-- What to do about the column that a job has added and that nothing keeps in step any more; NULL: there is none.
CREATE OR REPLACE FUNCTION backfill.out_of_step(job backfill.job) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN job.keep_in_sync AND backfill.added_column(job) IS NOT NULL
              THEN format('Column %I stays, and nothing keeps it in step: SELECT backfill.undo(%L) drops it.', backfill.added_column(job), job.name) END;
END
$$;

-- What the trigger of a job that ends does from then on; NULL: it has none.
CREATE OR REPLACE FUNCTION backfill.sync_in_words(job backfill.job, state text, trouble text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT job.keep_in_sync OR job.dry_run OR job.phase IN ('preflight', 'expand') THEN
    RETURN NULL;
  ELSIF state = 'cancelled' THEN
    RETURN CASE WHEN job.wanted <> 'undo' THEN backfill.out_of_step(job) END;
  END IF;
  RETURN CASE WHEN trouble IS NULL THEN format('Its trigger keeps rows in step until %s.', CASE WHEN state = 'failed' THEN 'the job is finished or cancelled' ELSE format('SELECT backfill.finish(%L)', job.name) END)
              ELSE format('Its trigger keeps no row in step: it %s. What was written meanwhile may be out of step when that is mended, and no retry finds it.', trouble) END;
END
$$;

-- Writes the end of a job that is in that phase. measured: what the daemon that ran it last knows of its own batches, as JSON.
-- outcome: 'written', also when it is sent again; 'not over', and nothing was: what was to have succeeded has something to do; 'wished away', and nothing was: its user wants it
-- cancelled, or undone, which the daemon hasn't heard yet;
-- 'not ours': another daemon holds the job, or it stands in an earlier phase and was given back. slower: the statements on its table
-- that were slower while it ran. rows, batches: of the whole job, as they are on disk: what a crash has lost is not counted. not_proven: what it can't
-- know, of a job without a where_clause.
CREATE OR REPLACE FUNCTION backfill.end_job(job_id bigint, phase text, state text, error text, hint text, measured jsonb,
    OUT outcome text, OUT slower text[], OUT rows bigint, OUT batches bigint, OUT not_proven text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job backfill.job;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  IF NOT FOUND OR job.state <> 'running' OR NOT backfill.is_held(job) THEN
    outcome := CASE WHEN job.state = end_job.state THEN 'written' ELSE 'not ours' END;
    RETURN;
  ELSIF state <> 'cancelled' AND backfill.has_moved_back(job, phase) THEN
    outcome := 'not ours';
    RETURN;
  ELSIF state = 'succeeded' AND (backfill.is_open(job) OR backfill.has_step(job, phase)
                                 OR (job.dry_run AND job.before IS NULL AND coalesce(job.set_clause, job.statement) IS NOT NULL)) THEN
    outcome := 'not over';  -- of a dry run: its report
    RETURN;
  ELSIF state <> 'cancelled' AND job.wanted IN ('cancel', 'undo') THEN
    outcome := 'wished away';
    RETURN;
  END IF;
  IF job.phase = 'validate' AND job.plan ? 'looked' THEN
    measured := measured - '{unseen,unmet,all_at_once}'::text[] || ((job.plan -> 'looked') - 'walks');
  END IF;
  UPDATE backfill.job j
     SET after = l.now - 'definition', state = end_job.state,
         error = end_job.error,
         hint = nullif(concat_ws(' ', CASE WHEN end_job.state = 'failed' THEN coalesce(backfill.login_is_gone(j), backfill.hint_for(j, end_job.hint)) ELSE backfill.hint_for(j, end_job.hint) END,
                                 CASE WHEN end_job.state = 'succeeded' AND EXISTS (SELECT FROM backfill.left_behind l WHERE l.job_id = j.id)
                                      THEN backfill.hint_for(j, 'Rows were left behind: SELECT * FROM backfill.left_behind; then SELECT backfill.retry(name).') END,
                                 backfill.sync_in_words(j, end_job.state, t.trouble), CASE WHEN end_job.state = 'succeeded' AND NOT j.dry_run THEN concat_ws(' ', backfill.may_lack(j), backfill.may_have_moved(j, end_job.measured), backfill.taken_for_right(j), backfill.lapsed(j)) END), ''),
         plan = coalesce(CASE WHEN t.trouble IS NOT NULL THEN jsonb_set(j.plan, '{lapsed}', to_jsonb(backfill.sync_change(j))) END, j.plan),
         waiting_for = NULL, holder_pid = NULL, holder_start = NULL,
         finished_at = clock_timestamp(), wanted = CASE WHEN j.wanted = 'pause' THEN 'run' ELSE j.wanted END,  -- it came too late
         tidy = (j.tidy OR (j.wanted = 'undo' AND j.before IS NOT NULL)) AND (j.keep_in_sync OR end_job.state <> 'succeeded'),  -- what is left is wanted, or goes with finish
         unfinished = end_job.state = 'failed' AND j.enforce IS NOT NULL AND j.phase IN ('guard', 'verify', 'validate'),
         report = coalesce(j.report, '{}') - '{waits,not_proven}'::text[] || coalesce(backfill.compare(j, l.now), '{}') || jsonb_build_object(
                    'rows', r.rows, 'keys', r.keys, 'ranges', r.ranges, 'batches', r.batches, 'wal_bytes', r.wal_bytes,
                    'seconds', round(extract(epoch FROM greatest(clock_timestamp() - j.started_at, interval '0'))::numeric, 3),
                    'left_behind', (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = j.id))
                  || backfill.add_proof(j, end_job.state, measured)
    FROM (SELECT coalesce(sum(g.rows), 0) AS rows, coalesce(sum(g.keys), 0) AS keys, count(*) AS ranges,
                 coalesce(sum(g.batches), 0) AS batches, coalesce(sum(g.wal_bytes), 0) AS wal_bytes
            FROM backfill.range g WHERE g.job_id = end_job.job_id) r,
         (SELECT backfill.look_at(o.target, o.submitted_by) AS now FROM backfill.job o WHERE o.id = end_job.job_id) l,
         (SELECT CASE WHEN o.keep_in_sync AND NOT o.dry_run AND o.phase NOT IN ('preflight', 'expand') AND end_job.state <> 'cancelled' THEN backfill.sync_trouble(o) END AS trouble FROM backfill.job o WHERE o.id = end_job.job_id) t
   WHERE j.id = end_job.job_id
  RETURNING ARRAY(SELECT jsonb_array_elements_text(j.report -> 'slower')), r.rows, r.batches, j.report ->> 'not_proven' INTO slower, rows, batches, not_proven;
  PERFORM backfill.drop_walkers(job_id);
  outcome := 'written';
END
$$;

-- Whether an ended job has left something in its table, which goes by finish, undo or retry, and then the job may be forgotten.
CREATE OR REPLACE FUNCTION backfill.has_left_something(job backfill.job) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN backfill.is_untidy(job) OR job.keep_in_sync AND (job.tidy OR EXISTS (SELECT FROM backfill.sync_triggers(job)))
      OR job.wanted = 'undo' AND backfill.added_column(job) IS NOT NULL
      OR backfill.is_left_over(job) AND backfill.has_remains(job);
END
$$;

-- Forgets jobs that ended more than so many days ago and have left nothing, neither in their table nor rows behind: those behind the one that was looked at last
-- (NULL: from the oldest on), for 50 ms at most. last_at, last_id: the last one now; NULL: there is none behind it.
CREATE OR REPLACE FUNCTION backfill.forget_ended(days integer, after_at timestamptz, after_id bigint, OUT forgotten bigint, OUT last_at timestamptz, OUT last_id bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  began constant timestamptz := clock_timestamp();
  job   backfill.job;
BEGIN
  forgotten := 0;
  FOR job IN
    SELECT j.* FROM backfill.job j
     WHERE j.state IN ('succeeded', 'failed', 'cancelled') AND j.finished_at < began - make_interval(days => days)
       AND (after_at IS NULL OR (j.finished_at, j.id) > (after_at, after_id)) AND j.holder_pid IS NULL
     ORDER BY j.finished_at, j.id
       FOR UPDATE SKIP LOCKED
  LOOP
    IF NOT backfill.has_left_something(job) AND NOT EXISTS (SELECT FROM backfill.left_behind l WHERE l.job_id = job.id) THEN
      DELETE FROM backfill.job j WHERE j.id = job.id;
      forgotten := forgotten + 1;
    END IF;
    IF clock_timestamp() > began + interval '50 ms' THEN
      last_at := job.finished_at;
      last_id := job.id;
      RETURN;
    END IF;
  END LOOP;
END
$$;

-- Looks at the triggers of ended jobs that nobody has finished yet, behind the one that was looked at last (NULL: from the first on), for 50 ms at most, and not further than the next of which
-- something has changed: name, trouble (NULL: it is over), hint. It stands in the job's report as well, and in status. last_id: the last one now; NULL: there is none behind it. Between the end
-- and finish weeks may pass, in which rights change: a function's owner that was trusted, say. In a round's first looks (0, too), also at jobs that came with a dump, or whose rows did: by theirs
-- the caller's session holds them, and they are none of those that it runs (mine), nor has a session of theirs begun since.
CREATE OR REPLACE FUNCTION backfill.look_after(after_id bigint, mine bigint[], OUT last_id bigint, OUT name text, OUT trouble text, OUT hint text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  began constant timestamptz := clock_timestamp();
  job   backfill.job;
BEGIN
  last_id := coalesce(after_id, 0);
  IF last_id = 0 THEN  -- restored in place, under a daemon that goes on
    SELECT j.* INTO job
      FROM backfill.job j
     WHERE j.state = 'running'
       AND (NOT backfill.is_here(j)
            OR (j.holder_pid, j.holder_start) = (pg_backend_pid(), backfill.session_start()) AND j.id <> ALL (coalesce(mine, '{}')) AND j.phase_at < clock_timestamp() - interval '10 s'
               AND NOT EXISTS (SELECT FROM backfill.token t WHERE t.job_id = j.id AND backfill.session_start(t.worker) = t.since))
     ORDER BY j.id LIMIT 1
       FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
      PERFORM backfill.stop_restored(job);
      SELECT j.name, j.error, j.hint INTO name, trouble, hint FROM backfill.job j WHERE j.id = job.id AND j.state = 'paused';
      RETURN;
    END IF;
  END IF;
  WHILE clock_timestamp() < began + interval '50 ms' LOOP
    SELECT j.* INTO job FROM backfill.job j
     WHERE j.tidy AND j.state IN ('succeeded', 'failed', 'cancelled') AND j.state <> 'cancelled' AND j.wanted <> 'finish' AND j.keep_in_sync AND NOT j.dry_run
       AND j.id > last_id AND j.holder_pid IS NULL
     ORDER BY j.id LIMIT 1;
    IF NOT FOUND THEN
      last_id := NULL;
      RETURN;
    END IF;
    last_id := job.id;
    CONTINUE WHEN NOT backfill.is_here(job) OR backfill.relation_name(job.target) IS NULL OR NOT EXISTS (SELECT FROM backfill.sync_triggers(job));
    BEGIN
      trouble := backfill.sync_trouble(job);
    EXCEPTION WHEN OTHERS OR query_canceled THEN
      trouble := job.report ->> 'trouble';  -- as it was, for all that is known
    END;
    IF trouble IS DISTINCT FROM job.report ->> 'trouble' THEN
      PERFORM FROM backfill.job j WHERE j.id = job.id AND (j.state, j.wanted, j.holder_pid IS NULL) = (job.state, job.wanted, true) FOR NO KEY UPDATE SKIP LOCKED;
      CONTINUE WHEN NOT FOUND;  -- it is somebody's just now
      name := job.name;
      hint := CASE WHEN trouble IS NOT NULL THEN format('Until it is mended, rows may get out of step, or what others have made may run with the rights of the table''s owner. When no old code is left, SELECT backfill.finish(%L) takes the trigger out.', job.name) END;
      UPDATE backfill.job j
         SET plan = coalesce(CASE WHEN trouble IS NOT NULL THEN jsonb_set(j.plan, '{lapsed}', to_jsonb(backfill.sync_change(j))) END, j.plan),
             hint = CASE WHEN trouble IS NULL AND j.plan ? 'lapsed' AND strpos(coalesce(j.hint, ''), backfill.lapsed(j)) = 0 THEN concat_ws(' ', j.hint, backfill.lapsed(j)) ELSE j.hint END,
             report = coalesce(j.report, '{}') - 'trouble' || CASE WHEN trouble IS NULL THEN '{}' ELSE jsonb_build_object('trouble', trouble) END
       WHERE j.id = job.id;
      trouble := 'its trigger ' || trouble;
      RETURN;
    END IF;
    trouble := NULL;
  END LOOP;
END
$$;

-- A job that had ended is tidied up, or can't be: error says why, and its owner may want finish again. Returns an outcome as end_job does.
CREATE OR REPLACE FUNCTION backfill.end_tidy(job_id bigint, error text, hint text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job backfill.job;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  IF NOT FOUND OR NOT backfill.is_held(job) THEN
    RETURN CASE WHEN job.tidy THEN 'not ours' ELSE 'written' END;
  ELSIF NOT backfill.is_untidy(job) THEN  -- the server has lost that it ended
    PERFORM backfill.release_job(job_id);
    RETURN 'not ours';
  ELSIF error IS NULL AND backfill.has_step(job, 'tidy') THEN
    RETURN 'not over';
  END IF;
  UPDATE backfill.job j
     SET tidy = j.tidy AND NOT backfill.takes_all(j), unfinished = false, waiting_for = NULL, holder_pid = NULL, holder_start = NULL,
         report = (SELECT jsonb_build_object('rows', coalesce(sum(g.rows), 0), 'keys', coalesce(sum(g.keys), 0)) FROM backfill.range g WHERE g.job_id = j.id)  -- one that was cancelled while it was paused has none yet
                  || coalesce(j.report, '{}') - 'waits' - 'left_over' - 'trouble' || coalesce(backfill.compare(j, backfill.look_at(j.target, j.submitted_by)), '{}')
                  || CASE WHEN end_tidy.error IS NOT NULL AND backfill.takes_all(j) AND backfill.has_remains(j) THEN '{"left_over": true}'::jsonb ELSE '{}' END,
         error = coalesce(end_tidy.error, CASE WHEN j.state <> 'cancelled' THEN j.error END), hint = coalesce(backfill.hint_for(j, end_tidy.hint), CASE WHEN j.state = 'failed' THEN j.hint END)
   WHERE j.id = end_tidy.job_id;
  RETURN 'written';
END
$$;
