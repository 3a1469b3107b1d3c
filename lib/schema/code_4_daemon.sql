-- What the daemon's control session calls. Only the schema's owner may. None of it touches a table of a user.

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
  UPDATE backfill.range r SET epoch = backfill.random_number() WHERE r.job_id = job.id AND NOT r.done;
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

-- Jobs that nobody runs and that have something to be taken out of their table.
CREATE OR REPLACE VIEW backfill.untidy_job AS
  SELECT j.id, coalesce(j.ended_by_oid, j.submitted_by_oid) AS login
    FROM backfill.job j
   WHERE (j.tidy AND j.state IN ('succeeded', 'failed', 'cancelled') OR j.unfinished AND j.state IN ('paused', 'queued', 'failed'))
     AND backfill.is_untidy(j)
     AND coalesce((j.report #>> '{waits,until}')::timestamptz <= statement_timestamp(), true)  -- else it has given its place back: give_way
     AND (j.holder_pid IS NULL OR backfill.session_start(j.holder_pid) IS DISTINCT FROM j.holder_start);

-- Tables that a job has for itself, by the topmost one, and the job: one that runs, or that is to be tidied up first, while something of it
-- is there: not while it waits for its next try, which may never go well.
CREATE OR REPLACE VIEW backfill.taken_table WITH (security_barrier = true) AS
  SELECT DISTINCT ON (t.root) t.root::oid AS root, t.id AS job_id
    FROM (SELECT j.root, j.id, 1 AS rank FROM backfill.job j WHERE j.state = 'running'
          UNION ALL
          SELECT j.root, j.id, 2 FROM backfill.job j
           WHERE j.tidy AND j.state IN ('succeeded', 'failed', 'cancelled') AND (j.state = 'cancelled' OR j.wanted = 'finish') AND backfill.is_untidy(j)
             AND coalesce((j.report #>> '{waits,until}')::timestamptz <= statement_timestamp(), true) AND backfill.has_remains(j)
          UNION ALL
          SELECT j.root, j.id, 2 FROM backfill.job j
           WHERE j.unfinished AND j.state IN ('paused', 'queued', 'failed') AND backfill.is_untidy(j)
             AND coalesce((j.report #>> '{waits,until}')::timestamptz <= statement_timestamp(), true) AND backfill.has_remains(j)) t
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
  SELECT EXISTS (SELECT FROM backfill.taken_tables())
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
   WHERE backfill.role_name(r.oid) IS NOT NULL AND NOT has_schema_privilege(r.oid, 'backfill', 'USAGE')
   ORDER BY r.ord LIMIT 1;
  place := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = job.target AND backfill.role_name(role) IS NOT NULL AND NOT has_schema_privilege(role, n.oid, 'USAGE'));
  IF nobody IS NOT NULL THEN
    problem := format('role %I may run no job any more: it was taken out of backfill_submitter', nobody);
    advice := format('GRANT backfill_submitter TO %I;', nobody);
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
  UPDATE backfill.range r SET epoch = backfill.random_number() WHERE r.job_id = job.id AND NOT r.done
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

-- The first of the queue, but for some: of the login that runs the fewest jobs, by priority and age. So no login has all workers while another queues.
-- newcomers: only of one that runs none.
CREATE OR REPLACE FUNCTION backfill.next_in_queue(but bigint[], newcomers boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  busy    name[];  -- logins that run jobs
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
     WHERE f.id <> ALL (but) AND CASE WHEN level.logins IS NULL THEN f.submitted_by <> ALL (busy) ELSE f.submitted_by = ANY (level.logins) END
     ORDER BY f.priority DESC, f.id
     LIMIT 1
       FOR UPDATE SKIP LOCKED;
    EXIT WHEN free_id IS NOT NULL OR newcomers;
  END LOOP;
  RETURN free_id;
END
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
    JOIN (SELECT r.submitted_by AS login, count(*) AS jobs FROM backfill.job r WHERE r.id = ANY (mine) AND r.state = 'running' GROUP BY 1) s
      ON s.login = j.submitted_by AND s.jobs > 1
   WHERE j.id = ANY (mine) AND j.id <> ALL (coalesce(at_length, '{}')) AND j.state = 'running'
   ORDER BY s.jobs DESC, j.priority, j.phase_at DESC, j.id DESC
   LIMIT 1;
  IF found IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT array_agg(DISTINCT j.submitted_by) INTO busy FROM backfill.job j WHERE j.state = 'running';
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
  busy       name[] := CASE WHEN newcomers THEN backfill.busy_logins() ELSE '{}' END;
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
       AND backfill.session_start(j.holder_pid) IS DISTINCT FROM j.holder_start
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
        candidate := backfill.restored(candidate);
        UPDATE backfill.job j
           SET state = candidate.state, wanted = candidate.wanted, error = candidate.error, hint = candidate.hint,
               waiting_for = NULL, opens_at = NULL, holder_pid = NULL, holder_start = NULL
         WHERE j.id = candidate.id;
      ELSIF backfill.who_is_gone(candidate) IS NOT NULL THEN
        PERFORM backfill.fail_for_roles(candidate);
      ELSIF (backfill.hours_of(candidate)).open THEN
        token := backfill.new_token(candidate.id);
        UPDATE backfill.job j
           SET plan = CASE WHEN j.keep_in_sync
                           THEN jsonb_set(j.plan, '{sync,mark}', to_jsonb((SELECT encode(sha256(convert_to(t.mark, getdatabaseencoding())), 'hex') FROM backfill.token t WHERE t.job_id = j.id)))
                           ELSE j.plan END,
               state = 'running', holder_pid = pg_backend_pid(), holder_start = mine_start,
               started_at = coalesce(j.started_at, clock_timestamp()), finished_at = NULL, phase_at = clock_timestamp(),
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
  ask_again := NOT newcomers AND (EXISTS (SELECT FROM backfill.job j WHERE j.state = 'running' AND (j.holder_pid, j.holder_start) IS DISTINCT FROM (pg_backend_pid(), mine_start))
            OR (job.id IS NULL AND (EXISTS (SELECT FROM backfill.untidy_job) OR EXISTS (SELECT FROM backfill.free_job))));
  opens_in_s := coalesce(opens_in_s, (SELECT greatest(extract(epoch FROM min(j.opens_at) - clock_timestamp()), 0)
                                        FROM backfill.job j
                                       WHERE j.state = 'queued' AND j.opens_at > looked_at
                                      HAVING count(*) > 0));  -- greatest passes over NULL
END
$$;

-- After the control session was lost: the jobs that this daemon was running are held by the new session from now on,
-- unless another daemon has claimed them meanwhile. One whose row somebody has locked is passed over, for the sake of the others. Returns
-- how many those are: the daemon asks again, until they are held, or claimed anew as those of a daemon that is gone.
CREATE OR REPLACE FUNCTION backfill.hold_again(jobs bigint[], old_pid integer, old_start timestamptz) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  WITH held AS (
    UPDATE backfill.job
       SET holder_pid = pg_backend_pid(), holder_start = backfill.session_start()
     WHERE id = ANY (ARRAY(SELECT j.id FROM backfill.job j
                            WHERE j.id = ANY (jobs) AND (j.holder_pid, j.holder_start) = (old_pid, old_start)
                              FOR UPDATE SKIP LOCKED))
    RETURNING id)
  SELECT count(*) FROM backfill.job j
   WHERE j.id = ANY (jobs) AND (j.holder_pid, j.holder_start) = (old_pid, old_start) AND j.id NOT IN (SELECT h.id FROM held h)
$$;

-- Whether this session holds a job: a running one, or one that it tidies up.
CREATE OR REPLACE FUNCTION backfill.is_held(job backfill.job) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (job.holder_pid, job.holder_start) IS NOT DISTINCT FROM (pg_backend_pid(), backfill.session_start())
$$;

-- Begins to plan a job that this session holds (a daemon that lost it must not touch another's plan), or its next pass over the
-- table: forgets ranges of an earlier try (nothing has been filled before the phase is backfill), and lists the relations to
-- survey with their statements. trial: so many keys of the relation, its largest, are tried in the survey, and undone; on_copy: its
-- column is still missing, then only the largest is surveyed.
-- planned: when the session began on which this daemon laid out before; NULL: it didn't. On this one: the ranges that are open are
-- its own plan's, which begins anew. Else the pass that it takes for done must be so, and is looked at, before its ranges go.
-- outcome: NULL, or in the only row 'not over' or 'not ours'.
CREATE OR REPLACE FUNCTION backfill.layout(job_id bigint, phase text, planned timestamptz)
RETURNS TABLE (relation oid, name text, batch text, bound text, last text, keys_of text, on_copy boolean, trial bigint, data_directory text, outcome text, whole text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  job     backfill.job;
  r       oid;
  key     backfill.walk_key;
  trying  boolean;
  largest oid;
  size    bigint := 0;
  most    constant bigint := 8000000;  -- bytes: a control session takes in 10 MiB
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  IF NOT FOUND OR NOT backfill.is_held(job) OR backfill.has_moved_back(job, phase) THEN
    outcome := 'not ours';
    RETURN NEXT;
    RETURN;
  ELSIF phase IN ('backfill', 'guard', 'verify') AND planned IS DISTINCT FROM backfill.session_start() AND backfill.is_open(job) THEN
    outcome := 'not over';
    RETURN NEXT;
    RETURN;
  END IF;
  IF job.set_clause IS NULL AND job.statement IS NULL THEN
    RETURN;
  END IF;
  DELETE FROM backfill.range g WHERE g.job_id = layout.job_id AND job.phase = 'preflight';
  IF backfill.relation_name(job.target) IS NULL THEN
    PERFORM backfill.refuse_dropped(job);
  END IF;
  IF job.phase = 'preflight' AND job.where_clause IS NULL THEN
    UPDATE backfill.job j SET laid_out = ARRAY(SELECT o FROM backfill.relations_of(job) o) WHERE j.id = layout.job_id;
  END IF;
  PERFORM backfill.check_target(job);
  trying := job.phase = 'preflight' AND (job.dry_run OR job.plan <> '{}');
  largest := (SELECT c.oid FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o ORDER BY c.relpages DESC, c.reltuples DESC LIMIT 1);
  on_copy := NOT backfill.has_column(job);
  FOR r IN SELECT * FROM backfill.relations_of(job) LOOP
    IF on_copy AND r <> largest THEN
      CONTINUE;
    END IF;
    SELECT * INTO key FROM backfill.key_of(r, backfill.key_numbers(r, job.key));
    relation := r;
    name := backfill.relation_name(r);
    SELECT s.batch, s.bound, s.last, s.keys INTO batch, bound, last, keys_of
      FROM backfill.statements(job, r, key, false) s;
    PERFORM backfill.check_is_there(r, job);
    trial := CASE WHEN trying AND r = largest THEN 100 ELSE 0 END;
    whole := backfill.whole_look(job, r);
    data_directory := (SELECT coalesce(nullif(pg_tablespace_location(coalesce(nullif(c.reltablespace, 0), d.dattablespace)), ''),  -- where the largest is
                                       (SELECT s.setting FROM pg_settings s WHERE s.name = 'data_directory'))  -- NULL without pg_monitor
                         FROM pg_class c JOIN pg_database d ON d.datname = current_database() WHERE c.oid = largest);
    size := size + octet_length(concat(name, batch, bound, last, keys_of, data_directory)) + 100;
    IF size > most THEN
      RAISE EXCEPTION 'the statements for the partitions of % come to more than % MB', backfill.relation_name(job.target), most / 1000000
        USING ERRCODE = 'BF005', HINT = 'Make the clauses shorter (what is long belongs into a function that they call), or insert a job for each partition, or for each part of the tree.';
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;

-- One range over all of a relation, up to the greatest key that it has now; in a later pass the one that is there, from its
-- start. What a pass can't do it notes anew. upper NULL: the relation is empty by now, and its range stays done.
-- planned: when the session of its layout began. Nothing happens on another: a server that has crashed, or failed over, since
-- may have lost ranges that were added before this one.
CREATE OR REPLACE FUNCTION backfill.add_range(job_id bigint, relation oid, upper text[], planned timestamptz) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM backfill.left_behind l
   USING backfill.job j
   WHERE l.job_id = add_range.job_id AND l.relation = add_range.relation AND l.reason = 'error'
     AND j.id = l.job_id AND backfill.is_held(j) AND add_range.planned = backfill.session_start();
  UPDATE backfill.range g
     SET found = 0, nulls = 0
    FROM backfill.job j
   WHERE add_range.upper IS NULL AND g.job_id = add_range.job_id AND g.relation = add_range.relation
     AND j.id = g.job_id AND backfill.is_held(j) AND add_range.planned = backfill.session_start();
  INSERT INTO backfill.range (job_id, submitted_by, submitted_by_oid, epoch, relation, key, key_identity, home, upper)
  SELECT j.id, j.submitted_by, j.submitted_by_oid, backfill.random_number(), add_range.relation, k.attnums, k.identity, backfill.home(add_range.relation), add_range.upper
    FROM backfill.job j,
         backfill.key_of(add_range.relation, backfill.key_numbers(add_range.relation, j.key)) k
   WHERE j.id = add_range.job_id AND backfill.is_held(j) AND add_range.planned = backfill.session_start() AND add_range.upper IS NOT NULL
  ON CONFLICT (job_id, relation) WHERE lower IS NULL
  DO UPDATE SET key = excluded.key, key_identity = excluded.key_identity, home = excluded.home, upper = excluded.upper,
                cursor = NULL, keys = 0, found = 0, nulls = 0, epoch = excluded.epoch, submitted_by = excluded.submitted_by, submitted_by_oid = excluded.submitted_by_oid
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

-- ---- Conclusions
--
-- That a phase is over, a daemon concludes from what it has seen, and what it has seen may be gone: batches commit with
-- synchronous_commit off, a standby that takes over may have heard of even less, and the control session sends again what was not
-- answered. So each conclusion (begin_phase, layout, end_job, end_tidy) looks again, in the transaction that writes it, and holds
-- the job's row meanwhile, so that nobody takes the job over in between. What it finds to do it leaves to the daemon, which goes on.
-- That is enough. A batch that the look sees has its commit record in the WAL already, before that of the conclusion: so no crash
-- and no standby has the conclusion without the batch. And the control session commits with synchronous_commit at least "local":
-- who sees that a job has succeeded sees what is on disk.

-- Whether something is left of the pass: a range to do, or a row that was locked. As take_range would say: what was of a partition
-- that is gone counts no more.
CREATE OR REPLACE FUNCTION backfill.is_open(job backfill.job) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.range r
                  WHERE r.job_id = job.id AND NOT r.done
                    AND EXISTS (SELECT FROM pg_class c WHERE c.oid = r.relation))
      OR EXISTS (SELECT FROM backfill.left_behind l
                  WHERE l.job_id = job.id AND l.reason = 'locked'
                    AND EXISTS (SELECT FROM pg_class c WHERE c.oid = l.relation))
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
-- ranges were laid out and added; NULL: it has none of its own.
-- outcome: 'begun'; 'not over', and nothing was written: something of the phase before is to do, or ranges were planned on a session
-- that is gone, and may be lost; 'not ours', another daemon holds the job. preflight: what it found, in words, for the journal.
CREATE OR REPLACE FUNCTION backfill.begin_phase(job_id bigint, from_phase text, phase text, estimate bigint, seen jsonb, disk_free bigint,
    planned timestamptz, OUT outcome text, OUT preflight text, OUT walk bigint)
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
  UPDATE backfill.job j
     SET phase = begin_phase.phase, phase_at = clock_timestamp(), walk = backfill.random_number(),
         estimate = coalesce(begin_phase.estimate, j.estimate),
         tidy = j.tidy OR (begin_phase.phase = 'expand' AND j.keep_in_sync) OR (begin_phase.phase IN ('guard', 'validate') AND j.enforce IS NOT NULL),
         before = coalesce(j.before, backfill.look_at(j.target, j.submitted_by)),
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
     SET phase = 'preflight', estimate = NULL, report = coalesce(j.report, '{}') || jsonb_build_object('begun_anew', reason)
   WHERE j.id = job.id;
  PERFORM backfill.give_back(job);
END
$$;

-- Takes the first range of a job that is not done, by another epoch: whoever had it can checkpoint no more.
-- When all are done: the first rows above number "above" that were put aside as locked, "at_most" of them, to be tried again.
-- One row, whose outcome is 'range', 'rows' (ids and row_keys, all of one range; the first key is upper), 'locked' (none above, but so many
-- that were tried before are locked still), 'none' (all is done; changed: rows of this pass, whose number is walk) or 'not ours' (another daemon holds the job).
-- locked: of 'rows' with above = 0, how many there are in all.
-- A range or row whose partition was dropped meanwhile has nothing left to do.
CREATE OR REPLACE FUNCTION backfill.take_range(job_id bigint, phase text, above bigint, at_most integer,
    OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean,
    OUT relation oid, OUT name text, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint,
    OUT keys_of text, OUT ids bigint[], OUT row_keys text[], OUT locked bigint, OUT changed bigint, OUT yields boolean, OUT proof jsonb, OUT walk bigint)
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
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  IF NOT FOUND OR NOT backfill.is_held(job) OR backfill.has_moved_back(job, phase) THEN
    outcome := 'not ours';
    RETURN;
  END IF;
  IF backfill.relation_name(job.target) IS NULL THEN
    PERFORM backfill.refuse_dropped(job);
  END IF;

  UPDATE backfill.range g
     SET epoch = backfill.random_number(),
         submitted_by = job.submitted_by, submitted_by_oid = job.submitted_by_oid  -- whose login is gone, another may have taken the job over
   WHERE g.id = (SELECT i.id
                   FROM backfill.range i
                  WHERE i.job_id = take_range.job_id AND NOT i.done
                    AND EXISTS (SELECT FROM pg_class c WHERE c.oid = i.relation)
                  ORDER BY i.id LIMIT 1)
  RETURNING g.* INTO r;
  keys := (SELECT coalesce(sum(g.keys), 0) FROM backfill.range g WHERE g.job_id = take_range.job_id);
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
  ELSE
    DELETE FROM backfill.left_behind l
     WHERE l.job_id = take_range.job_id AND l.reason = 'locked'
       AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = l.relation);
    SELECT * INTO left_row
      FROM backfill.left_behind l
     WHERE l.job_id = take_range.job_id AND l.reason = 'locked' AND l.id > above
     ORDER BY l.id LIMIT 1;
    IF left_row.id IS NULL OR above = 0 THEN
      locked := (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = take_range.job_id AND l.reason = 'locked');
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
  IF FOUND AND job.where_clause IS NULL AND home = backfill.home(relation) AND backfill.rewritten(was, k.identity) IS NOT NULL THEN
    RAISE EXCEPTION 'key column % of % may have other values than when job "%" began: it was altered, and the table rewritten',
                    quote_ident(backfill.rewritten(was, k.identity)), backfill.relation_name(relation), job.name
      USING ERRCODE = '42P16',
            HINT = format('When each row has the key that it had, SELECT backfill.retry(%L); else nothing tells which rows are done: cancel the job, and insert one with a where_clause that only the rest meets.', job.name);
  ELSIF k.columns IS NOT NULL AND NOT backfill.same_order(was, k.identity) THEN
    PERFORM backfill.check_collations(k);
    IF job.where_clause IS NULL THEN
      RAISE EXCEPTION 'the key of % is ordered in another way than when job "%" began: it was %, and is %',
                      backfill.relation_name(relation), job.name, backfill.key_in_words(was), backfill.key_in_words(k.identity)
        USING ERRCODE = '42P16',
              HINT = format('What the cursors in backfill.range tell is done, the rest is not. Make the key what it was, then SELECT backfill.retry(%L); '
                            'or cancel the job, and insert one with a where_clause that only the rest meets.', job.name);
    END IF;
    PERFORM backfill.begin_anew(job, format('the key of %s was %s, and is %s', backfill.relation_name(relation), backfill.key_in_words(was), backfill.key_in_words(k.identity)));
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
    yields := backfill.can_yield(job);
    name := CASE WHEN job.statement IS NULL THEN backfill.relation_name(relation) END;
    SELECT s.batch, s.keys, s.bound, backfill.proof_of(job, relation, k.columns, s.look, job.phase) INTO batch, keys_of, bound, proof
      FROM backfill.statements(job, relation, k, point, CASE WHEN ids IS NOT NULL THEN CASE WHEN job.statement IS NULL THEN 'joined' ELSE 'each' END END) s;
  END IF;
  PERFORM backfill.check_is_there(relation, job);
  IF key_columns IS NULL THEN
    RAISE EXCEPTION 'the unique index that job "%" walks % by is gone', job.name, backfill.relation_name(relation)
      USING ERRCODE = '42P16', HINT = 'Create it again (CREATE UNIQUE INDEX CONCURRENTLY), then SELECT backfill.retry(' || quote_literal(job.name) || ').';
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

-- What was measured, with what the job's proof says of it: rows whose value the clause makes NULL, or why nothing was proven.
CREATE OR REPLACE FUNCTION backfill.add_proof(job backfill.job, state text, measured jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(measured, '{}')
         || CASE WHEN n.nulls > 0 THEN jsonb_build_object('verified', coalesce(measured -> 'verified', '{}') || jsonb_build_object('null', n.nulls)) ELSE '{}' END
         || jsonb_strip_nulls(jsonb_build_object('not_proven', CASE WHEN state = 'succeeded' THEN backfill.not_proven(job) END))
    FROM (SELECT sum(g.nulls) AS nulls FROM backfill.range g WHERE g.job_id = job.id) n
$$;

-- Writes the end of a job that is in that phase. measured: what the daemon that ran it last knows of its own batches, as JSON.
-- outcome: 'written', also when it is sent again; 'not over', and nothing was: what was to have succeeded has something to do;
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
  END IF;
  UPDATE backfill.job j
     SET after = l.now - 'definition', state = end_job.state,
         error = end_job.error,
         hint = nullif(concat_ws(' ', CASE WHEN end_job.state = 'failed' THEN coalesce(backfill.login_is_gone(j), end_job.hint) ELSE end_job.hint END, CASE WHEN end_job.state = 'succeeded' AND NOT j.dry_run THEN backfill.may_lack(j) END), ''),
         waiting_for = NULL, holder_pid = NULL, holder_start = NULL,
         finished_at = clock_timestamp(),
         tidy = (j.tidy OR (j.wanted = 'undo' AND j.before IS NOT NULL)) AND (j.keep_in_sync OR end_job.state <> 'succeeded'),  -- what is left is wanted, or goes with finish
         unfinished = end_job.state = 'failed' AND j.enforce IS NOT NULL AND j.phase IN ('guard', 'verify', 'validate'),
         report = coalesce(j.report, '{}') - 'waits' || coalesce(backfill.compare(j, l.now), '{}') || jsonb_build_object(
                    'rows', r.rows, 'keys', r.keys, 'ranges', r.ranges, 'batches', r.batches, 'wal_bytes', r.wal_bytes,
                    'seconds', round(extract(epoch FROM clock_timestamp() - j.started_at)::numeric, 3),
                    'left_behind', (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = j.id))
                  || backfill.add_proof(j, end_job.state, measured)
    FROM (SELECT coalesce(sum(g.rows), 0) AS rows, coalesce(sum(g.keys), 0) AS keys, count(*) AS ranges,
                 coalesce(sum(g.batches), 0) AS batches, coalesce(sum(g.wal_bytes), 0) AS wal_bytes
            FROM backfill.range g WHERE g.job_id = end_job.job_id) r,
         (SELECT backfill.look_at(o.target, o.submitted_by) AS now FROM backfill.job o WHERE o.id = end_job.job_id) l
   WHERE j.id = end_job.job_id
  RETURNING ARRAY(SELECT jsonb_array_elements_text(j.report -> 'slower')), r.rows, r.batches, j.report ->> 'not_proven' INTO slower, rows, batches, not_proven;
  outcome := 'written';
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
                  || coalesce(j.report, '{}') - 'waits' || coalesce(backfill.compare(j, backfill.look_at(j.target, j.submitted_by)), '{}'),
         error = coalesce(end_tidy.error, CASE WHEN j.state <> 'cancelled' THEN j.error END), hint = coalesce(end_tidy.hint, CASE WHEN j.state = 'failed' THEN j.hint END)
   WHERE j.id = end_tidy.job_id;
  RETURN 'written';
END
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
-- row by now, for whoever takes it next. words: what it waits for. outcome: 'given'; 'kept', nobody queues for the place; 'not ours'.
CREATE OR REPLACE FUNCTION backfill.give_way(job_id bigint, for_ms bigint, tries integer, words text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job      backfill.job;
  its_turn constant timestamptz := clock_timestamp() + for_ms * interval '1 ms';
  waiting  constant text := format('waits until %s after: %s', to_char(its_turn, 'YYYY-MM-DD HH24:MI:SS TZ'), words);
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  IF NOT FOUND OR NOT backfill.is_held(job) THEN  -- it may be sent again
    RETURN CASE WHEN job.holder_pid IS NULL AND (job.report #>> '{waits,tries}')::integer = tries THEN 'given' ELSE 'not ours' END;
  ELSIF NOT EXISTS (SELECT FROM backfill.free_job) AND NOT EXISTS (SELECT FROM backfill.untidy_job)
        AND (job.state = 'running'  -- else those that queue behind it on its own table are not free before it goes
             OR NOT EXISTS (SELECT FROM backfill.job q WHERE q.state = 'queued' AND q.root = job.root AND q.id <> job.id)) THEN
    RETURN 'kept';
  END IF;
  IF job.state = 'running' THEN
    PERFORM backfill.give_back(job);
    UPDATE backfill.job j
       SET opens_at = greatest(j.opens_at, its_turn), waiting_for = CASE WHEN j.opens_at > its_turn THEN j.waiting_for ELSE waiting END,
           report = coalesce(j.report, '{}') || jsonb_build_object('waits', jsonb_build_object('tries', tries))
     WHERE j.id = job_id AND j.state = 'queued';
  ELSE  -- it is being tidied up; a daemon looks for such jobs now and then
    UPDATE backfill.job j
       SET holder_pid = NULL, holder_start = NULL,
           report = coalesce(j.report, '{}') || jsonb_build_object('waits', jsonb_build_object('tries', tries, 'until', its_turn))
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
