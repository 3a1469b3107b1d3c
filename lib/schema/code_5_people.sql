-- What people call and look at.

CREATE OR REPLACE FUNCTION backfill.job_named(name text) RETURNS backfill.job
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job backfill.job;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.name = job_named.name;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no job "%" that you may see', name
      USING ERRCODE = '02000', HINT = backfill.did_you_mean(name) || 'SELECT name, state FROM backfill.status lists them.';
  END IF;
  RETURN job;
END
$$;

CREATE OR REPLACE FUNCTION backfill.want(name text, wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job backfill.job := backfill.job_named(name);
BEGIN
  PERFORM backfill.take_row(name);
  UPDATE backfill.job j SET wanted = want.wanted WHERE j.id = job.id;
  IF NOT FOUND THEN
    PERFORM backfill.refuse_to_steer(job);
  ELSIF job.state IN ('failed', 'cancelled') AND want.wanted = job.wanted AND want.wanted = 'run' THEN  -- it doesn't go on, and nobody would notice
    PERFORM backfill.refuse('wanted', format('job %I has ended: it %s', name, CASE job.state WHEN 'cancelled' THEN 'was cancelled' ELSE job.state END), backfill.what_now(job), '55000');
  END IF;
END
$$;

CREATE OR REPLACE FUNCTION backfill.pause(name text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT backfill.want(name, 'pause') $$;
CREATE OR REPLACE FUNCTION backfill.resume(name text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT backfill.want(name, 'run') $$;
CREATE OR REPLACE FUNCTION backfill.cancel(name text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT backfill.want(name, 'cancel') $$;
CREATE OR REPLACE FUNCTION backfill.finish(name text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT backfill.want(name, 'finish') $$;
-- Takes back what a job has added: its trigger, its constraints, its column while nothing uses that. A job that runs is cancelled first.
CREATE OR REPLACE FUNCTION backfill.undo(name text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT backfill.want(name, 'undo') $$;

-- Pauses all jobs that the caller may pause: a line each. One whose row somebody has locked holds up none of the others; it is named, with
-- who has it, and the same call tries it again.
CREATE OR REPLACE FUNCTION backfill.pause_all() RETURNS TABLE (name text, outcome text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  candidate record;
BEGIN
  FOR candidate IN
    SELECT j.id, j.name, j.xmax AS holder
      FROM backfill.job j
     WHERE j.state IN ('queued', 'running') AND j.wanted = 'run'
       AND (NOT row_security_active('backfill.job') OR backfill.may_steer(j) OR backfill.owns_table(j.target) OR backfill.owns_table(j.root))
     ORDER BY j.state = 'queued', j.id
  LOOP
    name := candidate.name;
    BEGIN
      PERFORM FROM backfill.job j WHERE j.id = candidate.id FOR NO KEY UPDATE SKIP LOCKED;
      IF FOUND THEN
        UPDATE backfill.job j SET wanted = 'pause' WHERE j.id = candidate.id AND j.state IN ('queued', 'running') AND j.wanted = 'run';
        CONTINUE WHEN NOT FOUND;
        outcome := 'paused';
      ELSE
        outcome := 'not paused: its row is ' || backfill.locked_by(backfill.holders_of(ARRAY[candidate.holder]), true);
      END IF;
    EXCEPTION WHEN OTHERS THEN
      outcome := 'not paused: ' || SQLERRM;
    END;
    RETURN NEXT;
  END LOOP;
END
$$;

-- Forgets a job that has ended, and that has left nothing in its table: backfill.check_asked, backfill.job_forget.
CREATE OR REPLACE FUNCTION backfill.forget(name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM backfill.take_row(name);
  UPDATE backfill.job j SET asked = 'forget' WHERE j.name = forget.name;
  IF NOT FOUND THEN
    PERFORM backfill.refuse_to_steer(backfill.job_named(name));
  END IF;
END
$$;

-- Runs a job again: backfill.check_asked, backfill.job_retry. One whose login is gone is first taken over: backfill.change_job. Returns how
-- many rows it left behind and now tries again. Under the caller's search_path: in its names a job is read that is taken over.
CREATE OR REPLACE FUNCTION backfill.retry(name text) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
  n pg_catalog.int8;
BEGIN
  PERFORM backfill.take_row(name);
  UPDATE backfill.job AS j SET asked = 'retry' WHERE j.name OPERATOR(pg_catalog.=) retry.name RETURNING j.again INTO n;
  IF NOT FOUND THEN
    PERFORM backfill.refuse_to_steer(backfill.job_named(name));
  END IF;
  RETURN n;
END
$$;

CREATE OR REPLACE FUNCTION backfill.is_done(name text) RETURNS boolean
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (backfill.job_named(name)).state = 'succeeded'
$$;

-- What the server says, in its language, to a COMMIT inside a transaction that isn't the caller's to end: a function has no other.
CREATE OR REPLACE FUNCTION backfill.no_commit_here() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  COMMIT;
EXCEPTION WHEN invalid_transaction_termination THEN
  RETURN SQLERRM;
END
$$;

-- Waits until a job has succeeded, and says what of it is still to do: a warning where it has left rows behind. Raises with the job's error when it
-- failed or was cancelled, and when the time is up (the job goes on). It commits between looks, so that no snapshot is held meanwhile.
CREATE OR REPLACE PROCEDURE backfill.wait(name text, timeout interval DEFAULT '1 hour')
LANGUAGE plpgsql
AS $$
DECLARE
  until       pg_catalog.timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) timeout;
  job         backfill.job;
  left_behind bigint;
  told        pg_catalog.text;
  waits       pg_catalog.text;
  looks       integer := 0;
BEGIN
  BEGIN
    COMMIT;  -- never works here, but what it says tells whether it will below
  EXCEPTION WHEN invalid_transaction_termination THEN
    IF SQLERRM OPERATOR(pg_catalog.=) backfill.no_commit_here() THEN
      RAISE EXCEPTION 'backfill.wait cannot run inside a transaction block'
        USING ERRCODE = '25001', HINT = 'It would hold back vacuum for as long as it waits. Call it outside, or poll backfill.is_done(name).';
    END IF;  -- else: "cannot commit while a subtransaction is active", which this block is
  END;
  LOOP
    job := backfill.job_named(name);
    CASE
      WHEN job.state OPERATOR(pg_catalog.=) 'succeeded' THEN
        left_behind := (SELECT f.left_behind FROM backfill.figures_of(job.id) f);
        IF left_behind OPERATOR(pg_catalog.>) 0 THEN
          RAISE WARNING 'job "%" succeeded, but for % that it left behind', name, pg_catalog.concat(left_behind, CASE WHEN left_behind OPERATOR(pg_catalog.=) 1 THEN ' row' ELSE ' rows' END)
            USING HINT = CASE WHEN backfill.may_steer(job) THEN coalesce(job.hint, 'Rows were left behind: SELECT * FROM backfill.left_behind.') ELSE pg_catalog.format('Which and why is for %s to see, in backfill.left_behind.', job.submitted_by) END;
        ELSIF job.hint IS NOT NULL THEN
          RAISE NOTICE 'job "%" succeeded', name USING HINT = job.hint;
        END IF;
        RETURN;
      WHEN job.state OPERATOR(pg_catalog.=) 'failed' THEN
        RAISE EXCEPTION 'job "%" failed: %', name, job.error
          USING HINT = coalesce(job.hint, pg_catalog.format('When that is mended: SELECT backfill.retry(%L).', name));
      WHEN job.state OPERATOR(pg_catalog.=) 'cancelled' THEN
        RAISE EXCEPTION 'job "%" was cancelled%', name, coalesce(' by ' OPERATOR(pg_catalog.||) job.stopped_by OPERATOR(pg_catalog.||) ', who has the rights of the table''s owner', '')
          USING HINT = backfill.what_now(job);
      ELSE
        looks := looks OPERATOR(pg_catalog.+) 1;
        IF job.state OPERATOR(pg_catalog.<>) 'running' AND looks OPERATOR(pg_catalog.%) 50 OPERATOR(pg_catalog.=) 20 THEN  -- each five seconds
          waits := pg_catalog.concat_ws(': ', job.state, (SELECT s.throttled_by FROM backfill.status AS s WHERE s.name OPERATOR(pg_catalog.=) wait.name));
          IF waits OPERATOR(pg_catalog.<>) coalesce(told, '') THEN
            RAISE NOTICE 'job "%" is %', name, waits USING HINT = backfill.what_now(job);
            told := waits;
          END IF;
        END IF;
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>=) until THEN
          RAISE EXCEPTION 'job "%" is still % after %', name, job.state, timeout
            USING HINT = coalesce('It waits: ' OPERATOR(pg_catalog.||) (SELECT s.throttled_by FROM backfill.status AS s WHERE s.name OPERATOR(pg_catalog.=) wait.name) OPERATOR(pg_catalog.||) '.', CASE WHEN job.state OPERATOR(pg_catalog.=) 'paused' THEN backfill.what_now(job) END, 'It goes on; see backfill.status.');
        END IF;
    END CASE;
    COMMIT;
    PERFORM pg_catalog.pg_sleep(0.1);
  END LOOP;
END
$$;

-- The statements on a job's table, by pg_stat_statements: calls and mean time before the job, while it ran, and since it has ended.
-- No row: pg_stat_statements is not there, or the job has not begun.
CREATE OR REPLACE FUNCTION backfill.effect(name text)
RETURNS TABLE (query text, before_calls bigint, before_ms numeric, during_calls bigint, during_ms numeric, after_calls bigint, after_ms numeric)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.query, t.before_calls, t.before_ms, t.during_calls, t.during_ms, t.after_calls, t.after_ms
    FROM backfill.job_named(name) j, backfill.three_times(j, backfill.look_at(j.target, j.submitted_by)) t
   WHERE j.before IS NOT NULL
   ORDER BY coalesce(t.during_calls * t.during_ms, 0) + coalesce(t.after_calls * t.after_ms, 0) DESC
$$;

-- Whether a daemon is connected to this database, as the role whose schema this is.
CREATE OR REPLACE FUNCTION backfill.is_served() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_stat_activity a
                  WHERE a.datname = current_database() AND a.application_name = 'backfilld control'
                    AND a.usesysid = (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'backfill'))
$$;

-- One line a job, made for \watch. The rate is the daemon's own; it counts only while the range moves. That a job stalls is seen
-- here, by its last checkpoint, so that it is seen too when its daemon is cut off. What isn't known is NULL: the time left of more
-- than a year, how far it is when the estimate has shown itself wrong. A job that is queued is told what it is behind.
CREATE OR REPLACE VIEW backfill.status WITH (security_invoker = true) AS
  SELECT p.name,
         p.target::text AS target,
         p.state,
         p.phase,
         round(p.percent, 1) AS percent,
         CASE WHEN p.percent IS NULL THEN NULL
              ELSE '[' || repeat('#', (p.percent / 5)::integer) || repeat('.', 20 - (p.percent / 5)::integer) || ']' END AS bar,
         p.rows,
         p.rate::bigint AS rows_per_s,
         CASE WHEN p.estimate > p.keys AND (p.estimate - p.keys) / nullif(p.rate, 0) < 365 * 86400
              THEN make_interval(secs => round((p.estimate - p.keys) / p.rate)) END AS eta,
         CASE WHEN p.state = 'running' THEN
                CASE WHEN NOT p.held THEN 'no daemon runs it'
                     WHEN p.stands_s >= 10 THEN format('stalled for %s s%s', trunc(p.stands_s), CASE WHEN p.locked_by IS NOT NULL THEN ': ' || p.locked_by WHEN p.waiting_for !~ '^rate ' THEN ' by ' || p.waiting_for END)
                     ELSE p.waiting_for END
              WHEN p.state = 'queued' AND p.opens_at > clock_timestamp() THEN p.waiting_for
              WHEN p.state = 'queued' AND p.locked_by IS NOT NULL THEN p.locked_by
              WHEN p.state = 'queued' AND NOT (SELECT backfill.is_served()) THEN 'no daemon serves this database'
              WHEN p.state = 'queued' AND p.taken_by IS NOT NULL THEN coalesce('behind job ' || p.behind, 'behind another''s job on this table')
              WHEN p.state = 'queued' AND (SELECT backfill.is_busy()) THEN 'all workers are busy'
              WHEN p.state = 'paused' AND p.unfinished_items IS NOT NULL THEN p.unfinished_items || ' is in the table, NOT VALID'
              WHEN p.left_over THEN 'what it added is still in the table, until retry'
              WHEN p.state NOT IN ('succeeded', 'failed', 'cancelled') OR NOT p.tidy THEN NULL
              WHEN p.restored THEN format('restored from a dump: what it added stays in the table until backfill.retry(%L)', p.name)
              WHEN p.state = 'cancelled' OR p.wanted = 'finish' THEN
                coalesce(p.waiting_for, CASE WHEN (SELECT backfill.is_served()) THEN 'is being taken out of the table' ELSE 'no daemon serves this database' END)
              WHEN p.has_trigger THEN 'its trigger is in the table until finish'
              END AS throttled_by,
         p.left_behind,
         coalesce(p.error, 'its trigger ' || p.trouble, CASE WHEN p.state IN ('paused', 'cancelled') THEN p.state || ' by ' || p.stopped_by::text COLLATE "default" || ', who has the rights of the table''s owner' END) AS error,
         p.submitted_by,
         p.since,
         CASE WHEN p.state = 'running' AND p.held THEN 1 + p.helpers END AS workers
    FROM (
      SELECT j.id, j.name, j.target, j.state, j.phase, j.estimate, j.waiting_for, j.opens_at, j.error, CASE WHEN j.tidy THEN j.report ->> 'trouble' END AS trouble, j.stopped_by, j.keep_in_sync, j.tidy, j.wanted,
             j.submitted_by, coalesce(j.started_at, j.submitted_at) AS since,
             backfill.is_left_over(j) AS left_over,
             CASE WHEN j.tidy AND (j.state = 'cancelled' OR j.state IN ('succeeded', 'failed') AND j.wanted = 'finish') THEN NOT backfill.is_here(j) END AS restored,  -- it reads a file
             j.keep_in_sync AND j.tidy AND EXISTS (SELECT FROM backfill.sync_triggers(j)) AS has_trigger,
             CASE WHEN j.state = 'paused' AND j.enforce IS NOT NULL THEN backfill.not_valid_of(j) END AS unfinished_items,
             CASE WHEN j.state = 'succeeded' THEN 100
                  WHEN j.phase IN ('preflight', 'expand') THEN NULL
                  WHEN j.estimate > 0 AND r.keys <= 1.1 * j.estimate THEN least(99.9, 100.0 * r.keys / j.estimate) END AS percent,
             coalesce(r.keys, 0) AS keys, coalesce(r.rows, 0) AS rows,
             CASE WHEN j.state = 'running' AND r.rate BETWEEN 0.01 AND 1e12 THEN r.rate::double precision END AS rate,
             CASE WHEN j.phase IN ('backfill', 'verify') THEN extract(epoch FROM clock_timestamp() - greatest(r.moved_at, j.phase_at)) END AS stands_s,
             coalesce(r.left_behind, 0) AS left_behind, coalesce(r.helpers, 0) AS helpers,
             j.holder_pid IS NOT NULL  -- of NULL the server tells all sessions
             AND EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(j.holder_pid) a
                      JOIN pg_catalog.pg_database d ON d.oid = a.datid AND d.datname = current_database()) AS held,
             t.job_id AS taken_by, b.name || CASE WHEN b.submitted_by <> j.submitted_by THEN ' of ' || b.submitted_by::text COLLATE "default" ELSE '' END AS behind,
             CASE WHEN j.state IN ('queued', 'running') THEN 'its row is locked by ' || l.who END AS locked_by
        FROM backfill.job j
        LEFT JOIN backfill.taken_here t ON t.root = j.root AND j.state = 'queued'
        LEFT JOIN backfill.job b ON b.id = t.job_id
        LEFT JOIN (SELECT l.transactionid, coalesce('pid ' || l.pid || coalesce(' (' || nullif(a.application_name, '') || ')', ''), 'a prepared transaction') AS who
                     FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
                    WHERE l.locktype = 'transactionid' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()) l ON l.transactionid = j.xmax
        CROSS JOIN LATERAL backfill.figures_of(CASE WHEN j.started_at IS NOT NULL OR j.phase <> 'preflight' OR j.again IS NOT NULL THEN j.id END) r  -- else it never began
    ) p
   ORDER BY p.state NOT IN ('running', 'queued', 'paused'), p.id;

-- A time that is left, or has passed, in ten characters: 0:07, 59:59, 23:59 h, 364 d.
CREATE OR REPLACE FUNCTION backfill.short_time(t interval) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN s < 3600 THEN format('%s:%s', s / 60, lpad((s % 60)::text, 2, '0'))
              WHEN s < 86400 THEN format('%s:%s h', s / 3600, lpad((s / 60 % 60)::text, 2, '0'))
              ELSE format('%s d', s / 86400) END
    FROM (SELECT greatest(extract(epoch FROM t), 0)::bigint AS s) x
$$;

-- A text in lines of that many characters, cut between words; two at most.
CREATE OR REPLACE FUNCTION backfill.two_lines(t text, width integer) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN length(t) <= width THEN ARRAY[t]
              WHEN length(rest) <= width THEN ARRAY[line, rest]
              ELSE ARRAY[line, left(rest, width - 4) || ' ...'] END
    FROM (SELECT coalesce(substring(t FROM format('^(.{1,%s})\s', width)), left(t, width)) AS line) a,
         LATERAL (SELECT ltrim(substr(t, length(line) + 1)) AS rest) b
$$;

-- The same for a terminal of 80 columns, made for \watch: a line a job, and below it what is in its way. First what has failed within a day, then what
-- runs, is paused and is queued, then the last five that have ended otherwise. Of each ten at most, and how many more there are.
CREATE OR REPLACE VIEW backfill.watch WITH (security_invoker = true) AS
  WITH listed AS (
    SELECT j.id, j.name, j.finished_at, o.place, row_number() OVER (PARTITION BY o.place ORDER BY j.finished_at DESC, j.id) AS nth,
           count(*) OVER (PARTITION BY o.place) AS n
      FROM backfill.job j
     CROSS JOIN LATERAL (SELECT array_position('{failed, running, paused, queued}'::text[], j.state) AS place) o
     WHERE j.state IN ('running', 'paused', 'queued') OR (j.state = 'failed' AND j.finished_at > clock_timestamp() - interval '1 day')
    UNION ALL
    (SELECT j.id, j.name, j.finished_at, 5, row_number() OVER (ORDER BY j.finished_at DESC), 0
       FROM backfill.job j
      WHERE j.state IN ('succeeded', 'cancelled') AND j.finished_at > clock_timestamp() - interval '1 day'
      ORDER BY j.finished_at DESC
      LIMIT 5))
  SELECT l.line
    FROM (
      SELECT o.place, o.nth, 1 + t.ord AS part, t.line
        FROM listed o
       CROSS JOIN LATERAL (SELECT s.* FROM backfill.status s WHERE s.name = o.name) s
       CROSS JOIN LATERAL (
         SELECT v.*, s.state = 'queued' AND length(v.first) + 2 + length(v.why) <= 78 AS beside
           FROM (
             SELECT rpad(left(s.name, 20), 21) || rpad(CASE s.state WHEN 'running' THEN s.phase ELSE s.state END, 10)
                    || CASE WHEN s.state IN ('running', 'paused')
                            THEN rpad(coalesce('[' || repeat('#', (s.percent / 10)::integer) || repeat('.', 10 - (s.percent / 10)::integer) || ']', s.target), 13)
                                 || rpad(coalesce(s.percent || ' %', ''), 8)
                                 || CASE WHEN s.state = 'running'
                                         THEN lpad(coalesce(to_char(s.rows_per_s, 'FM999,999,990') || ' rows/s', ''), 15) || ' ' || coalesce(backfill.short_time(s.eta) || ' left', '')
                                         ELSE '' END
                            WHEN s.state IN ('succeeded', 'cancelled')
                            THEN format('%s, %s rows, %s ago', s.target, to_char(s.rows, 'FM999,999,999,990'), backfill.short_time(clock_timestamp() - o.finished_at))
                            ELSE s.target END AS first,
                    nullif(concat_ws('; ', s.error, s.throttled_by, CASE WHEN s.left_behind > 0 THEN s.left_behind || ' rows left behind' END), '') AS why) v) w
       CROSS JOIN LATERAL (
         SELECT CASE WHEN w.beside THEN format('%s: %s', w.first, w.why) ELSE rtrim(left(w.first, 78)) END AS line, 0::bigint AS ord
         UNION ALL
         SELECT '    ' || x.line, x.ord FROM unnest(backfill.two_lines(w.why, 74)) WITH ORDINALITY AS x(line, ord) WHERE w.why IS NOT NULL AND NOT w.beside) t
       WHERE o.nth <= 10
      UNION ALL
      SELECT o.place, 11, 0, format('... and %s more %s', o.n - 10, (ARRAY['failed', 'running', 'paused', 'queued'])[o.place])
        FROM listed o
       WHERE o.nth = 11
    ) l
   ORDER BY l.place, l.nth, l.part;
