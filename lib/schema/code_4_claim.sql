-- Who takes which job, holds it, and gives it back. What is in the files code_4 but for the steps' and the trigger's, the daemon's control session calls:
-- only the schema's owner may, and none of it touches a table of a user.

-- When this session began: with its pid, the holder of a job. NULL for a session of another database: a job that was restored into the
-- same cluster bears the pid of the daemon that serves the first one.
-- In plpgsql, whose plans last as long as the session: SQL would plan it anew for each statement that asks.
CREATE OR REPLACE FUNCTION backfill.session_start(pid integer DEFAULT pg_backend_pid()) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT a.backend_start
            FROM pg_stat_get_activity(pid) a
            JOIN pg_database d ON d.oid = a.datid AND d.datname = current_database());
END
$$;

-- Where a job goes that nobody runs any more. The row is locked. Outside its hours it is passed over until they begin. A worker
-- of a daemon that lost it can checkpoint no more.
CREATE OR REPLACE FUNCTION backfill.give_back(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  job.state := CASE job.wanted WHEN 'pause' THEN 'paused' WHEN 'cancel' THEN 'cancelled' WHEN 'undo' THEN 'cancelled' ELSE 'queued' END;
  job := backfill.keep_hours(job);
  UPDATE backfill.job j
     SET state = job.state, opens_at = job.opens_at, waiting_for = job.waiting_for,
         finished_at = CASE job.state WHEN 'cancelled' THEN clock_timestamp() END,
         tidy = j.tidy OR (j.wanted = 'undo' AND j.before IS NOT NULL),
         holder_pid = NULL, holder_start = NULL
   WHERE j.id = job.id;
  PERFORM backfill.drop_walkers(job.id);
END
$$;

-- BEFORE INSERT on installed: a dump's rows are restored into a schema that --install has made; what that wrote stays.
CREATE OR REPLACE FUNCTION backfill.installed_before_insert() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN NOT EXISTS (SELECT FROM backfill.installed) THEN NEW END;
END
$$;
CREATE OR REPLACE TRIGGER installed_before_insert BEFORE INSERT ON backfill.installed
  FOR EACH ROW EXECUTE FUNCTION backfill.installed_before_insert();

-- Jobs that nobody runs and that have something to be taken out of their table. Each claim asks several times, and those that only keep something there until they are finished or forgotten
-- may be thousands: what passes over them stands before what takes long.
CREATE OR REPLACE VIEW backfill.untidy_job AS
  SELECT j.id, coalesce(j.ended_by_oid, j.submitted_by_oid) AS login
    FROM backfill.job j
   WHERE CASE WHEN j.tidy AND j.state IN ('succeeded', 'failed', 'cancelled') AND (j.state = 'cancelled' OR j.wanted = 'finish' OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = j.target))
                   OR j.unfinished AND j.state IN ('paused', 'queued', 'failed')
              THEN backfill.is_untidy(j) ELSE false END
     AND (j.tidy AND j.state IN ('succeeded', 'failed', 'cancelled') OR j.unfinished AND j.state IN ('paused', 'queued', 'failed'))  -- by the indexes
     AND coalesce((j.report #>> '{waits,until}')::timestamptz <= statement_timestamp(), true)  -- else it has given its place back: give_way
     AND (j.holder_pid IS NULL OR backfill.session_start(j.holder_pid) IS DISTINCT FROM j.holder_start);

-- Tables that a job has for itself, by the topmost one, and the job: one that runs, or that is to be tidied up first, while something of it
-- is there: not while it waits for its next try, which may never go well. That is looked for only where somebody queues for the table: each claim asks.
CREATE OR REPLACE VIEW backfill.taken_table WITH (security_barrier = true) AS
  SELECT DISTINCT ON (t.root) t.root::oid AS root, t.id AS job_id
    FROM (SELECT j.root, j.id, 1 AS rank FROM backfill.job j WHERE j.state = 'running'
          UNION ALL
          SELECT j.root, j.id, 2 FROM backfill.job j
           WHERE j.tidy AND j.state IN ('succeeded', 'failed', 'cancelled') AND (j.state = 'cancelled' OR j.wanted = 'finish')
             AND coalesce((j.report #>> '{waits,until}')::timestamptz <= statement_timestamp(), true)
             AND CASE WHEN EXISTS (SELECT FROM backfill.job q WHERE q.state = 'queued' AND q.root = j.root AND q.id <> j.id) THEN backfill.is_untidy(j) AND backfill.has_remains(j) ELSE false END
          UNION ALL
          SELECT j.root, j.id, 2 FROM backfill.job j
           WHERE j.unfinished AND j.state IN ('paused', 'queued', 'failed')
             AND coalesce((j.report #>> '{waits,until}')::timestamptz <= statement_timestamp(), true)
             AND CASE WHEN EXISTS (SELECT FROM backfill.job q WHERE q.state = 'queued' AND q.root = j.root AND q.id <> j.id) THEN backfill.is_untidy(j) AND backfill.has_remains(j) ELSE false END) t
   ORDER BY t.root, t.rank, t.id;

CREATE OR REPLACE FUNCTION backfill.taken_tables() RETURNS TABLE (root oid, job_id bigint)
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY SELECT t.root, t.job_id FROM backfill.taken_table t;
END
$$;

-- Those that the caller may insert jobs for, and for pg_monitor all of them; whose jobs these are is asked elsewhere.
CREATE OR REPLACE VIEW backfill.taken_here WITH (security_barrier = true) AS
  SELECT t.root, t.job_id
    FROM backfill.taken_table t
   WHERE pg_has_role(current_user, 'pg_monitor', 'USAGE') OR pg_has_role(current_user, (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'backfill'), 'USAGE') OR backfill.may_write(t.root);

-- Whether any job runs, whosesoever: all that who queues is told of it.
CREATE OR REPLACE FUNCTION backfill.is_busy() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.job j WHERE j.state = 'running')
      OR EXISTS (SELECT FROM backfill.job j WHERE j.tidy AND j.state IN ('succeeded', 'failed', 'cancelled') AND j.holder_pid IS NOT NULL)
$$;

-- Queued jobs that may begin: their hours are thought to be open, and their table is free. Of one table and of conditions on its row alone,
-- so that the queue is read in its order, by its index, and never joined: ten thousand jobs may stand in it.
CREATE OR REPLACE VIEW backfill.free_job AS
  SELECT j.id, j.priority, j.submitted_by
    FROM backfill.job j
   WHERE j.state = 'queued'
     AND (j.opens_at IS NULL OR j.opens_at <= statement_timestamp())
     AND j.root::oid <> ALL (ARRAY(SELECT t.root FROM backfill.taken_tables() t))
     AND (j.holder_pid IS NULL OR backfill.session_start(j.holder_pid) IS DISTINCT FROM j.holder_start);  -- who tidied it up while it was paused

-- The end of a job that can't be claimed. If not even that can be written, its turn comes again.
CREATE OR REPLACE FUNCTION backfill.fail_unclaimed(job_id bigint, problem text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE backfill.job j
     SET state = 'failed', error = 'it can''t be begun: ' || left(problem, 1000), hint = format('When that is mended: SELECT backfill.retry(%L).', left(j.name, 200)),
         waiting_for = NULL, opens_at = NULL, holder_pid = NULL, holder_start = NULL, finished_at = clock_timestamp()
   WHERE j.id = job_id;
  PERFORM backfill.drop_walkers(job_id);
EXCEPTION WHEN OTHERS THEN
  NULL;
END
$$;

-- The token of a job that is claimed: a new one, which nobody has who had the job before; nor is their session its worker any more.
CREATE OR REPLACE FUNCTION backfill.new_token(job_id bigint) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO backfill.token AS t (job_id, token, mark)
  SELECT j.id, backfill.random_number(), CASE WHEN j.keep_in_sync THEN backfill.random_number()::text END FROM backfill.job j WHERE j.id = new_token.job_id
  ON CONFLICT ON CONSTRAINT token_pkey DO UPDATE SET token = excluded.token, mark = coalesce(t.mark, excluded.mark), worker = NULL, ticket = NULL
  RETURNING t.token
$$;

-- Whether a job's login and role still bear the names under which it was claimed.
CREATE OR REPLACE FUNCTION backfill.has_roles(job backfill.job, login name, role name) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(CASE WHEN job.state = 'running' THEN backfill.role_name(backfill.login_of(job)) = has_roles.login AND backfill.role_name(backfill.role_of(job)) = has_roles.role
                       ELSE t.login = has_roles.login AND t.role = has_roles.role END, false)
    FROM backfill.tidied_by(job) t
$$;

-- Whether a role may use the schema as whoever submits jobs does: --install gives that to backfill_submitter.
CREATE OR REPLACE FUNCTION backfill.may_submit(role oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT has_schema_privilege(role, 'backfill', 'USAGE')
         AND NOT EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'backfill'::regnamespace AND p.proname = ANY ('{begin_session,survey,find_key,run_batch,retry_rows,try_neighbours,run_step}')
                                               AND NOT has_function_privilege(role, p.oid, 'EXECUTE'))
$$;

-- Why the server may have refused a job's session something (42501), in words that say what is missing, and what gives it; NULL: it is none of
-- these, and the server's own words are all there is to say.
CREATE OR REPLACE FUNCTION backfill.why_denied(job_id bigint, OUT problem text, OUT advice text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job    backfill.job;
  role   oid;
  nobody text;  -- who may not use the schema
  place  text;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  role := backfill.role_of(job);
  IF backfill.relation_name(job.target) IS NULL THEN
    BEGIN
      PERFORM backfill.refuse_dropped(job);
    EXCEPTION WHEN undefined_table THEN
      GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
      RETURN;
    END;
  END IF;
  SELECT backfill.role_name(r.oid) INTO nobody
    FROM (VALUES (1, backfill.login_of(job)), (2, role)) AS r(ord, oid)
   WHERE backfill.role_name(r.oid) IS NOT NULL AND NOT backfill.may_submit(r.oid)
   ORDER BY r.ord LIMIT 1;
  place := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = job.target AND backfill.role_name(role) IS NOT NULL AND NOT has_schema_privilege(role, n.oid, 'USAGE'));
  IF nobody IS NOT NULL THEN
    problem := format(CASE WHEN pg_has_role(nobody, 'backfill_submitter', 'USAGE') THEN 'role %I may use schema backfill no more: backfill_submitter has lost its rights on it'
                           ELSE 'role %I may run no job any more: it was taken out of backfill_submitter' END, nobody);
    advice := CASE WHEN pg_has_role(nobody, 'backfill_submitter', 'USAGE') THEN 'Run backfilld --install, which grants them;' ELSE format('GRANT backfill_submitter TO %I;', nobody) END;
  ELSIF place IS NOT NULL THEN
    problem := format('role %I may not use schema %I any more, where the job''s table is', backfill.role_name(role), place);
    advice := format('GRANT USAGE ON SCHEMA %I TO %I;', place, backfill.role_name(role));
  ELSIF backfill.role_name(role) IS NOT NULL THEN
    SELECT m.problem, m.advice INTO problem, advice
      FROM (VALUES (1, true), (2, false)) AS d(ord, of_definition), backfill.missing_right(job, role, d.of_definition) m
     WHERE (d.of_definition <= (job.phase IN ('expand', 'guard', 'validate'))) AND m.problem IS NOT NULL
     ORDER BY d.ord LIMIT 1;
  END IF;
  advice := format('%s then SELECT backfill.retry(%L).', advice, job.name);
END
$$;

-- A job whose login, or role, was dropped: nobody can run it any more, least of all a new role of that name. It fails, and says what there
-- is to do.
CREATE OR REPLACE FUNCTION backfill.fail_for_roles(job backfill.job) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE backfill.job j
     SET state = 'failed', error = backfill.who_is_gone(j), hint = backfill.login_is_gone(j), waiting_for = NULL, opens_at = NULL,
         holder_pid = NULL, holder_start = NULL, finished_at = clock_timestamp(),
         unfinished = j.enforce IS NOT NULL AND j.phase IN ('guard', 'verify', 'validate')
   WHERE j.id = job.id;
  SELECT backfill.drop_walkers(job.id)
$$;

-- Logins for which a daemon is at work, by the names under which it claimed their jobs: not those whose daemon is gone.
CREATE OR REPLACE FUNCTION backfill.busy_logins() RETURNS name[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT coalesce(array_agg(DISTINCT coalesce(backfill.role_name(j.ended_by_oid), j.submitted_by)), '{}')
            FROM backfill.job j
           WHERE j.holder_pid IS NOT NULL AND backfill.session_start(j.holder_pid) IS NOT DISTINCT FROM j.holder_start);
END
$$;

-- Logins whose jobs this session leaves to other daemons for now, for it was refused their sessions: backfill.give_way.
CREATE OR REPLACE FUNCTION backfill.left_to_others() RETURNS name[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(SELECT l.key::name FROM jsonb_each_text(coalesce(nullif(current_setting('backfill.left_to_others', true), ''), '{}')::jsonb) l
                WHERE l.value::timestamptz > clock_timestamp())
$$;

-- The first of the queue, but for some: of the login that runs the fewest jobs, by priority and age. So no login has all workers while another queues.
-- newcomers: only of one that runs none. Nor of those that are left to others.
CREATE OR REPLACE FUNCTION backfill.next_in_queue(but bigint[], newcomers boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  busy    name[];  -- logins that run jobs
  left_to name[] := backfill.left_to_others();
  level   record;
  free_id bigint;
BEGIN
  busy := CASE WHEN newcomers THEN backfill.busy_logins()
               ELSE ARRAY(SELECT DISTINCT j.submitted_by FROM backfill.job j WHERE j.state = 'running') END;
  FOR level IN
    SELECT 0 AS jobs, NULL::name[] AS logins
    UNION ALL
    SELECT r.jobs, array_agg(r.login)
      FROM (SELECT j.submitted_by AS login, count(*) AS jobs FROM backfill.job j WHERE j.state = 'running' GROUP BY 1) r
     GROUP BY r.jobs
     ORDER BY 1
  LOOP
    SELECT f.id INTO free_id
      FROM backfill.free_job f
     WHERE f.id <> ALL (but) AND f.submitted_by <> ALL (left_to) AND CASE WHEN level.logins IS NULL THEN f.submitted_by <> ALL (busy) ELSE f.submitted_by = ANY (level.logins) END
     ORDER BY f.priority DESC, f.id
     LIMIT 1
       FOR UPDATE SKIP LOCKED;
    EXIT WHEN free_id IS NOT NULL OR newcomers;
  END LOOP;
  RETURN free_id;
END
$$;

-- The login for which a worker is at a job: of one that is tidied up, who has ended it. NULL: none is.
CREATE OR REPLACE FUNCTION backfill.at_work_for(job backfill.job) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN job.state = 'running' THEN job.submitted_by WHEN job.holder_pid IS NOT NULL THEN coalesce(job.ended_by, job.submitted_by) END
$$;

-- Of the jobs that a daemon runs and that take all its places, the one whose place another login's is to have: of a login that has
-- more than one of them, while one that runs nothing queues. The least wanted, and the last that began. NULL: there is none.
-- at_length: those of them that can't be given back soon, for they are in the middle of something long.
CREATE OR REPLACE FUNCTION backfill.over_share(mine bigint[], at_length bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found bigint;
  busy  name[];
BEGIN
  SELECT j.id INTO found
    FROM backfill.job j
   CROSS JOIN backfill.at_work_for(j) AS w(login)
    JOIN (SELECT o.login, count(*) AS jobs FROM backfill.job r CROSS JOIN backfill.at_work_for(r) AS o(login) WHERE r.id = ANY (mine) AND o.login IS NOT NULL GROUP BY 1) s
      ON s.login = w.login AND s.jobs > 1
   WHERE j.id = ANY (mine) AND j.id <> ALL (coalesce(at_length, '{}'))
   ORDER BY s.jobs DESC, j.state = 'running', j.priority, j.phase_at DESC, j.id DESC
   LIMIT 1;
  IF found IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT coalesce(array_agg(DISTINCT j.submitted_by), '{}') INTO busy FROM backfill.job j WHERE j.state = 'running';
  RETURN CASE WHEN EXISTS (SELECT FROM backfill.free_job f WHERE f.submitted_by <> ALL (busy)) THEN found END;
END
$$;

-- Takes the next job that is to be tidied up: of a login that has none at work, before others; of the logins in turn, from the one after
-- that of the last; its oldest. newcomers: only of a login that has none at work. is_one: there was one; job may be NULL all the same, when
-- its roles are gone and that was its end.
CREATE OR REPLACE FUNCTION backfill.claim_untidy(newcomers boolean, OUT job backfill.job, OUT token bigint, OUT is_one boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last      constant oid := coalesce(nullif(current_setting('backfill.tidied_login', true), ''), '0')::oid;
  busy      oid[];
  job_id    bigint;
  whose     oid;
  candidate backfill.job;
BEGIN
  is_one := false;
  IF NOT EXISTS (SELECT FROM backfill.untidy_job) THEN
    RETURN;
  END IF;
  SELECT coalesce(array_agg(DISTINCT coalesce(j.ended_by_oid, j.submitted_by_oid)), '{}') INTO busy FROM backfill.job j WHERE j.holder_pid IS NOT NULL;
  SELECT u.id, u.login INTO job_id, whose
    FROM backfill.untidy_job u
   WHERE NOT newcomers OR u.login <> ALL (busy)
   ORDER BY u.login = ANY (busy), u.login > last DESC, u.login, u.id
   LIMIT 1
     FOR UPDATE SKIP LOCKED;
  IF job_id IS NULL THEN
    RETURN;
  END IF;
  is_one := true;
  PERFORM set_config('backfill.tidied_login', coalesce(whose, 0)::text, false), set_config('backfill.tidied_last', 'on', false);
  UPDATE backfill.job j SET holder_pid = pg_backend_pid(), holder_start = backfill.session_start() WHERE j.id = job_id RETURNING j.* INTO job;
  SELECT t.login_oid, t.login, t.role INTO job.submitted_by_oid, job.submitted_by, job.owner FROM backfill.tidied_by(job) t;
  IF job.submitted_by IS NULL OR job.owner IS NULL THEN
    SELECT j.* INTO candidate FROM backfill.job j WHERE j.id = job_id;
    PERFORM backfill.end_tidy(job_id, 'what is left of it in the table stays: ' || coalesce(backfill.who_is_gone(candidate), 'who wanted it to go is gone'),
                              coalesce(backfill.login_is_gone(candidate),
                                       format('Whoever has the rights of the table''s owner takes it out by SELECT backfill.cancel(%L), or finish.', candidate.name)));
    job := NULL;
  ELSE
    token := backfill.new_token(job_id);
  END IF;
END
$$;

-- Stops a job that came with a dump: it waits for its owner.
CREATE OR REPLACE FUNCTION backfill.stop_restored(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stopped backfill.job := backfill.restored(job);
BEGIN
  UPDATE backfill.job j
     SET state = stopped.state, tidy = stopped.tidy, finished_at = stopped.finished_at, holder_pid = NULL, holder_start = NULL
   WHERE j.id = job.id AND stopped.state = 'cancelled';
  UPDATE backfill.job j
     SET state = stopped.state, wanted = stopped.wanted, error = stopped.error, hint = stopped.hint,
         waiting_for = NULL, opens_at = NULL, holder_pid = NULL, holder_start = NULL
   WHERE j.id = job.id AND stopped.state <> 'cancelled';
  PERFORM backfill.drop_walkers(job.id);
END
$$;

-- Takes the next job: one that has ended and must be tidied up, unless the last one was such, one whose daemon is gone, else the first of the queue (next_in_queue)
-- whose table is free and whose active hours are open. A table is not free while a job on it is to be tidied up: no column
-- is dropped under a trigger that reads it. What is found outside of its hours goes to the queue, until they begin; what was restored
-- with a dump is paused, until its owner wants it; and one whose roles were dropped fails. A role that was renamed keeps its jobs: they are
-- claimed under the names of today.
-- A job that can't be claimed fails, and stops nobody else's.
-- newcomers: only a job of a login for which no daemon is at work. For it the caller has a place that is none of the others'; to ask again,
-- a notification is enough.
-- One row: the job or NULL, whether it is worth asking again (other daemons hold jobs, or somebody had locked the row of one that could
-- have been taken, and whoever writes to a row doesn't always notify), and the seconds until the hours of a queued job begin, NULL when
-- none waits for that. The job as a whole: the statement that calls this sees an older state of the table, where a job of just now may
-- not be yet.
CREATE OR REPLACE FUNCTION backfill.claim(newcomers boolean DEFAULT false, OUT job backfill.job, OUT ask_again boolean, OUT opens_in_s double precision, OUT token bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  looked_at  timestamptz := statement_timestamp();  -- one moment for all: none opens between two looks
  mine_start timestamptz := backfill.session_start();
  at_once    constant integer := 20;   -- jobs looked at in one call, so that no number of them makes it long
  tidied     constant boolean := coalesce(current_setting('backfill.tidied_last', true) = 'on', false);  -- this session's last: now the queue comes first
  took       record;
  free_id    bigint;
  candidate  backfill.job;
  busy       name[] := backfill.left_to_others() || CASE WHEN newcomers THEN backfill.busy_logins() END;
  hopeless   bigint[] := '{}';  -- that can't be claimed: others are not to wait for them
  problem    text;
  code       text;
BEGIN
  IF NOT tidied THEN
    SELECT * INTO took FROM backfill.claim_untidy(newcomers);
    IF took.is_one THEN
      job := took.job;
      token := took.token;
      ask_again := true;
      RETURN;
    END IF;
  END IF;
  PERFORM set_config('backfill.tidied_last', '', false);

  FOR i IN 1 .. at_once LOOP
    SELECT j.* INTO candidate
      FROM backfill.job j
     WHERE j.state = 'running'
       AND (backfill.session_start(j.holder_pid) IS DISTINCT FROM j.holder_start OR NOT backfill.is_of_schema(j.home))
       AND j.id <> ALL (hopeless)
       AND j.submitted_by <> ALL (busy)
     ORDER BY j.priority DESC, j.id
     LIMIT 1
       FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      free_id := backfill.next_in_queue(hopeless, newcomers);  -- once: it is volatile
      SELECT j.* INTO candidate FROM backfill.job j WHERE j.id = free_id;
    END IF;
    EXIT WHEN NOT FOUND;
    BEGIN
      IF NOT backfill.is_here(candidate) THEN
        PERFORM backfill.stop_restored(candidate);
      ELSIF backfill.who_is_gone(candidate) IS NOT NULL THEN
        PERFORM backfill.fail_for_roles(candidate);
      ELSIF (backfill.hours_of(candidate)).open THEN
        token := backfill.new_token(candidate.id);
        UPDATE backfill.job j
           SET plan = CASE WHEN j.keep_in_sync
                           THEN jsonb_set(j.plan, '{sync,mark}', to_jsonb((SELECT encode(sha256(convert_to(t.mark, getdatabaseencoding())), 'hex') FROM backfill.token t WHERE t.job_id = j.id AND t.slot = 0)))
                           ELSE j.plan END,
               state = 'running', holder_pid = pg_backend_pid(), holder_start = mine_start,
               started_at = coalesce(j.started_at, clock_timestamp()), finished_at = NULL, phase_at = clock_timestamp(), planning = false,
               error = NULL, hint = NULL, waiting_for = NULL, opens_at = NULL,
               submitted_by = backfill.role_name(j.submitted_by_oid), owner = backfill.role_name(j.owner_oid)
         WHERE j.id = candidate.id
        RETURNING j.* INTO job;
        EXIT;
      ELSE
        PERFORM backfill.give_back(candidate);
      END IF;
    EXCEPTION WHEN OTHERS THEN  -- unique_violation: another daemon was first on this table
      GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
      hopeless := hopeless || candidate.id;
      IF code <> '23505' AND NOT backfill.is_trouble(code) THEN
        PERFORM backfill.fail_unclaimed(candidate.id, problem);
      END IF;
    END;
    opens_in_s := CASE i WHEN at_once THEN 0 END;
  END LOOP;
  IF tidied AND job.id IS NULL THEN
    SELECT * INTO took FROM backfill.claim_untidy(newcomers);
    IF took.is_one THEN
      job := took.job;
      token := took.token;
      ask_again := true;
      RETURN;
    END IF;
  END IF;
  ask_again := NOT newcomers AND (EXISTS (SELECT FROM backfill.job j WHERE j.state = 'running' AND ((j.holder_pid, j.holder_start) IS DISTINCT FROM (pg_backend_pid(), mine_start) OR NOT backfill.is_of_schema(j.home)))
            OR (job.id IS NULL AND (EXISTS (SELECT FROM backfill.untidy_job) OR EXISTS (SELECT FROM backfill.free_job))));
  opens_in_s := coalesce(opens_in_s, (SELECT greatest(extract(epoch FROM min(j.opens_at) - clock_timestamp()), 0)
                                        FROM backfill.job j
                                       WHERE j.state = 'queued' AND j.opens_at > looked_at
                                      HAVING count(*) > 0));  -- greatest passes over NULL
END
$$;

-- After the control session was lost: the jobs that this daemon was running are held by the new session from now on,
-- unless another daemon has claimed them meanwhile. One whose row somebody has locked is passed over, for the sake of the others. Returns
-- how many those are: the daemon asks again, until they are held, or claimed anew as those of a daemon that is gone. tokens: of its helpers,
-- whose slots go along. One that has left since may have a slot again, in a server that has lost that; nobody is in it.
CREATE OR REPLACE FUNCTION backfill.hold_again(jobs bigint[], tokens bigint[], old_pid integer, old_start timestamptz) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE backfill.token
     SET holder_pid = pg_backend_pid(), holder_start = backfill.session_start()
   WHERE token = ANY (ARRAY(SELECT t.token FROM backfill.token t WHERE t.token = ANY (tokens) AND t.slot > 0 AND (t.holder_pid, t.holder_start) = (old_pid, old_start)
                              FOR NO KEY UPDATE SKIP LOCKED));
  WITH held AS (
    UPDATE backfill.job
       SET holder_pid = pg_backend_pid(), holder_start = backfill.session_start()
     WHERE id = ANY (ARRAY(SELECT j.id FROM backfill.job j
                            WHERE j.id = ANY (jobs) AND (j.holder_pid, j.holder_start) = (old_pid, old_start) AND backfill.is_of_schema(j.home)
                              FOR UPDATE SKIP LOCKED))
    RETURNING id)
  SELECT count(*) FROM backfill.job j
   WHERE j.id = ANY (jobs) AND (j.holder_pid, j.holder_start) = (old_pid, old_start) AND j.id NOT IN (SELECT h.id FROM held h) AND backfill.is_of_schema(j.home)
$$;

-- Whether this session holds a job: a running one, or one that it tidies up; not one whose row says so because it was dumped under this session, and restored.
CREATE OR REPLACE FUNCTION backfill.is_held(job backfill.job) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (job.holder_pid, job.holder_start) IS NOT DISTINCT FROM (pg_backend_pid(), backfill.session_start()) AND backfill.is_of_schema(job.home)
$$;

-- Gives a job back to the queue because the daemon stops or its hours ended, or as its user wants it now: the wish may have
-- changed since the daemon read it.
CREATE OR REPLACE FUNCTION backfill.release_job(job_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job backfill.job;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  IF backfill.is_held(job) AND job.state = 'running' THEN
    PERFORM backfill.give_back(job);
  ELSIF backfill.is_held(job) THEN
    UPDATE backfill.job j SET holder_pid = NULL, holder_start = NULL, waiting_for = NULL WHERE j.id = job_id;
  END IF;
END
$$;

-- A job that has only waited for a while gives its place to others, and takes its turn again after so many ms. tries: so often in a
-- row by now, for whoever takes it next. words: what it waits for. apart: its login is refused: others go on on its table; where another daemon serves this database, that one
-- is to try, at once, and this one leaves the login's jobs to it meanwhile. outcome: 'given'; 'kept', nobody queues for the place; 'not ours'.
CREATE OR REPLACE FUNCTION backfill.give_way(job_id bigint, for_ms bigint, tries integer, words text, apart boolean) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job      backfill.job;
  others   constant boolean := apart AND EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = current_database() AND a.application_name = 'backfilld control' AND a.pid <> pg_backend_pid()
                                           AND a.usesysid = (SELECT m.usesysid FROM pg_stat_activity m WHERE m.pid = pg_backend_pid()));
  its_turn constant timestamptz := clock_timestamp() + for_ms * interval '1 ms';
  waiting  constant text := CASE WHEN others THEN format('another daemon is to try, after: %s', words)
                                 ELSE format('waits until %s after: %s', to_char(its_turn, 'YYYY-MM-DD HH24:MI:SS TZ'), words) END;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  IF NOT FOUND OR NOT backfill.is_held(job) THEN  -- it may be sent again
    RETURN CASE WHEN job.holder_pid IS NULL AND (job.report #>> '{waits,tries}')::integer = tries THEN 'given' ELSE 'not ours' END;
  ELSIF NOT others AND NOT EXISTS (SELECT FROM backfill.free_job) AND NOT EXISTS (SELECT FROM backfill.untidy_job)
        AND (job.state = 'running' AND NOT apart  -- else those that queue behind it on its own table are not free before it goes
             OR NOT EXISTS (SELECT FROM backfill.job q WHERE q.state = 'queued' AND q.root = job.root AND q.id <> job.id)) THEN
    RETURN 'kept';
  END IF;
  IF others THEN
    PERFORM set_config('backfill.left_to_others', (coalesce(nullif(current_setting('backfill.left_to_others', true), ''), '{}')::jsonb
                                                   || jsonb_build_object(job.submitted_by, its_turn + interval '30 s'))::text, false);
  END IF;
  IF job.state = 'running' THEN
    PERFORM backfill.give_back(job);
    UPDATE backfill.job j
       SET opens_at = CASE WHEN others THEN j.opens_at ELSE greatest(j.opens_at, its_turn) END, waiting_for = CASE WHEN j.opens_at > its_turn THEN j.waiting_for ELSE waiting END,
           report = coalesce(j.report, '{}') || jsonb_build_object('waits', jsonb_build_object('tries', tries))
     WHERE j.id = job_id AND j.state = 'queued';
  ELSE  -- it is being tidied up; a daemon looks for such jobs now and then
    UPDATE backfill.job j
       SET holder_pid = NULL, holder_start = NULL,
           report = coalesce(j.report, '{}') || jsonb_build_object('waits', jsonb_strip_nulls(jsonb_build_object('tries', tries, 'until', CASE WHEN NOT others THEN its_turn END)))
     WHERE j.id = job_id;
  END IF;
  RETURN 'given';
END
$$;

-- What an earlier version wrote without its identity is what the catalog says today.
UPDATE backfill.range r
   SET home = backfill.home(r.relation), key_identity = k.identity
  FROM backfill.range o
 CROSS JOIN LATERAL backfill.key_of(o.relation, o.key) k
 WHERE o.id = r.id AND r.key_identity IS NULL;
UPDATE backfill.left_behind l
   SET home = backfill.home(l.relation), key_identity = k.identity
  FROM backfill.left_behind o
 CROSS JOIN LATERAL backfill.key_of(o.relation, o.key_columns) k
 WHERE o.id = l.id AND l.key_identity IS NULL;
