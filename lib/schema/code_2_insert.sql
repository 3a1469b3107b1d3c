-- What INSERT makes of a job, and what a restored one becomes.

-- What a new job must be, column by column; raises at the first that is wrong. Returns it with what it left out.
CREATE OR REPLACE FUNCTION backfill.check_job(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql
AS $$
DECLARE
  key   backfill.walk_key;
  first pg_catalog.oid;
BEGIN
  PERFORM backfill.check_sizes(job);
  PERFORM backfill.check_values(job);
  PERFORM backfill.check_throttle_off(job);
  PERFORM backfill.check_active_hours(job);
  PERFORM backfill.check_settings(job);
  PERFORM backfill.check_combination(job);
  PERFORM backfill.check_ignore(job);
  job := backfill.choose_scan(job);
  key := backfill.check_target(job);
  PERFORM backfill.check_operators(key);
  IF job.drop_column IS NOT NULL THEN
    PERFORM backfill.check_drop_column(job);
  END IF;
  PERFORM backfill.check_may_write(job);
  PERFORM backfill.check_row_security(job);
  PERFORM backfill.check_rules(job);
  PERFORM backfill.check_text(c.name, c.clause)
     FROM (VALUES ('set_clause', job.set_clause), ('where_clause', job.where_clause), ('statement', job.statement), ('sync_back', job.sync_back)) AS c(name, clause);
  job := backfill.make_plan(job);
  PERFORM backfill.check_elsewhere(job);
  IF backfill.has_column(job) THEN
    first := coalesce((SELECT pg_catalog.min(o) FROM backfill.relations_of(job) o), job.target);  -- of a partitioned table a leaf, as a batch sees it
    PERFORM backfill.check_clauses(job, first, coalesce((SELECT k FROM backfill.key_of(first, backfill.key_numbers(first, job.key)) k), key));
  ELSE
    PERFORM backfill.check_can_update(job);
  END IF;
  PERFORM backfill.check_assigned(job, key.columns);
  RETURN job;
END
$$;

-- A job as it comes back with a dump: it keeps its state when it had ended, and else waits until its owner wants it here.
CREATE OR REPLACE FUNCTION backfill.restored(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  job.home := NULL;
  job.submitted_by_oid := NULL; job.owner_oid := NULL; job.ended_by_oid := NULL; job.ended_as_oid := NULL; job.laid_out := NULL;  -- of elsewhere
  job.behind := CASE WHEN job.behind IS NOT NULL THEN '{0,0}' END;  -- what has ranges that were begun keeps them
  job.holder_pid := NULL; job.holder_start := NULL; job.waiting_for := NULL; job.opens_at := NULL;
  IF job.state = 'running' AND job.wanted IN ('cancel', 'undo') THEN  -- as it would have ended
    job.state := 'cancelled';
    job.finished_at := clock_timestamp();
    job.tidy := job.before IS NOT NULL;
  ELSIF job.state IN ('queued', 'running', 'paused') THEN
    job.state := 'paused';
    job.wanted := 'pause';
    job.error := 'restored from a dump, or by pg_upgrade: it waits for its owner';
    job.hint := format('SELECT backfill.resume(%L) goes on with it here, SELECT backfill.cancel(%L) ends it.', job.name, job.name);
  END IF;
  RETURN job;
END
$$;

-- A job that another role has taken over, read in the names of this session: under the search_path of who has gone a name may be a function of theirs, a type, a table. What is planned is planned
-- anew while nothing of it is in the table; later it must be the same.
CREATE OR REPLACE FUNCTION backfill.read_anew(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql
AS $$
DECLARE
  anew  backfill.job := backfill.check_job(backfill.read_here(job, pg_catalog.current_setting('search_path')));
  was   pg_catalog.jsonb := pg_catalog.jsonb_path_query_array(job.plan, '$.enforce[*].definition');
  now   pg_catalog.jsonb := pg_catalog.jsonb_path_query_array(anew.plan, '$.enforce[*].definition');
BEGIN
  IF job.phase OPERATOR(pg_catalog.<>) 'preflight' THEN
    IF pg_catalog.record_image_ne(ROW(job.plan OPERATOR(pg_catalog.->) 'column' OPERATOR(pg_catalog.->>) 'type', job.plan OPERATOR(pg_catalog.->) 'column' OPERATOR(pg_catalog.->>) 'collation', was),
                                  ROW(anew.plan OPERATOR(pg_catalog.->) 'column' OPERATOR(pg_catalog.->>) 'type', anew.plan OPERATOR(pg_catalog.->) 'column' OPERATOR(pg_catalog.->>) 'collation', now)) THEN
      PERFORM backfill.refuse('add_column', pg_catalog.format('job "%s" means another type or another table under your search_path than under the one that it was inserted with: %s', job.name, job.search_path),
                              pg_catalog.format('SELECT backfill.undo(%1$L), or backfill.cancel(%1$L) where it has added nothing, and insert a job of your own.', job.name), '42501');
    END IF;
    anew.plan := job.plan;
  END IF;
  RETURN anew;
END
$$;

-- The plan of a job from a dump, with what its names mean here.
CREATE OR REPLACE FUNCTION backfill.noted_here(job backfill.job) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  plan jsonb := job.plan;
BEGIN
  IF plan ? 'column' THEN
    plan := jsonb_set(plan, '{column}', (plan -> 'column') || jsonb_build_object('noted', backfill.noted(to_regtype(plan -> 'column' ->> 'type')), 'noted_collation', backfill.noted(to_regcollation(plan -> 'column' ->> 'collation'))));
  END IF;
  IF plan ? 'enforce' THEN
    plan := jsonb_set(plan, '{enforce}', coalesce((SELECT jsonb_agg(CASE WHEN i ? 'referenced' THEN i || jsonb_build_object('referenced', backfill.noted((SELECT backfill.named_relation(p.other) FROM backfill.parts_of_reference(i) p))) ELSE backfill.note_item_names(job, i) END ORDER BY ord)
                                                     FROM jsonb_array_elements(plan -> 'enforce') WITH ORDINALITY AS e(i, ord)), '[]'));
  END IF;
  RETURN plan;
END
$$;

-- A restored job is its owner's wish here, and its roles are those that bear the names. Its clauses are checked anew, in the names that it
-- was inserted in; its ranges when they are taken.
CREATE OR REPLACE FUNCTION backfill.take_over(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql
AS $$
DECLARE
  own_path pg_catalog.text := pg_catalog.current_setting('search_path');
BEGIN
  job.submitted_by_oid := backfill.role_oid(job.submitted_by);
  job.owner_oid := backfill.role_oid(job.owner);
  job.ended_by_oid := backfill.role_oid(job.ended_by);
  job.ended_as_oid := backfill.role_oid(job.ended_as);
  job.home := backfill.home(job.target);
  job.root := coalesce(pg_catalog.pg_partition_root(job.target), job.target);
  job.holder_pid := NULL; job.holder_start := NULL; job.laid_out := NULL;
  job.plan := backfill.noted_here(job) OPERATOR(pg_catalog.#-) '{column,number}'::pg_catalog.text[] OPERATOR(pg_catalog.||) backfill.noted_drop(job) OPERATOR(pg_catalog.||) backfill.noted_columns(job);  -- of backfill.added_column: a dump numbers columns anew
  IF job.wanted OPERATOR(pg_catalog.=) 'run' OR (job.asked OPERATOR(pg_catalog.=) 'retry' AND job.wanted OPERATOR(pg_catalog.=) 'pause') THEN
    job.error := NULL; job.hint := NULL;
    IF job.owner_oid OPERATOR(pg_catalog.=) backfill.role_oid(current_user) THEN  -- another's rights tell nothing
      PERFORM pg_catalog.set_config('search_path', job.search_path, true);
      PERFORM backfill.check_job(job);
      PERFORM pg_catalog.set_config('search_path', own_path, true);
    END IF;
  END IF;
  RETURN job;
END
$$;

-- A job with the settings of this session that its clauses depend on. own_path: its search_path, which this function doesn't have.
CREATE OR REPLACE FUNCTION backfill.read_here(job backfill.job, own_path text) RETURNS backfill.job
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  job.search_path := own_path;
  job.time_zone   := current_setting('TimeZone');
  job.date_style  := 'ISO, ' || split_part(current_setting('DateStyle'), ', ', 2);
  job.session     := backfill.session_settings();
  RETURN job;
END
$$;

-- A new job, with what its session says of it: who, and how its clauses are read.
CREATE OR REPLACE FUNCTION backfill.captured(job backfill.job, own_path text) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM backfill.check_outside();
  job.name         := coalesce(job.name, 'job-' || job.id);
  job.submitted_by_oid := backfill.login();
  job.submitted_by := backfill.role_name(job.submitted_by_oid);
  job.owner_oid    := backfill.role_oid(current_user);
  job.owner        := current_user;
  job := backfill.read_here(job, own_path);
  job.root         := coalesce(pg_partition_root(job.target), job.target);
  job.home         := backfill.home(job.target);
  job.state        := CASE job.wanted WHEN 'pause' THEN 'paused' ELSE 'queued' END;
  job.phase        := 'preflight';
  job.submitted_at := clock_timestamp();
  job.error := NULL; job.hint := NULL; job.waiting_for := NULL; job.opens_at := NULL; job.report := NULL; job.estimate := NULL;
  job.holder_pid := NULL; job.holder_start := NULL; job.started_at := NULL; job.finished_at := NULL;
  job.plan := '{}'; job.tidy := false; job.before := NULL; job.after := NULL; job.laid_out := NULL; job.behind := NULL; job.asked := NULL; job.again := NULL;
  job.stopped_by := NULL;
  IF NOT backfill.is_plain_caller() AND NOT (SELECT r.rolcanlogin FROM pg_roles r WHERE r.oid = job.submitted_by_oid) THEN
    PERFORM backfill.refuse('submitted_by', format('a function that runs with the rights of %I has inserted the job, and that role can''t log in', current_user),
                            'What such a function inserts is a job of its own role, whoever calls it. Insert the job outside of it, by a login of your own.', '42501');
  END IF;
  RETURN job;
END
$$;

-- Whether a job has that name. Asked of one that the caller doesn't see: with ON CONFLICT DO NOTHING its own would be there for nobody, and no word said.
CREATE OR REPLACE FUNCTION backfill.is_taken(name text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.job j WHERE j.name = is_taken.name)
$$;

-- Whether the caller has a job of that name: one's own, not one that one only sees, as pg_monitor does. A stranger's of the same text would else be
-- taken for the caller's, and run under the stranger's names.
CREATE OR REPLACE FUNCTION backfill.is_own_name(name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.job j
                  WHERE j.name = is_own_name.name
                    AND CASE WHEN row_security_active('backfill.job') THEN backfill.may_steer(j)  -- who sees all, a superuser, has the rights of all roles
                             ELSE coalesce(backfill.login_of(j) = backfill.login() OR backfill.role_of(j) = backfill.role_oid(current_user), false) END)
$$;

-- A name that a job may give itself: not another's, nor one that a later job will get which gives itself none.
CREATE OR REPLACE FUNCTION backfill.check_own_name(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF job.name ~ '^job-[1-9][0-9]*$' AND substr(job.name, 5)::numeric > job.id THEN
    PERFORM backfill.refuse('name', format('"%s" is what a later job without a name is called', job.name), 'Give it another name, or none.', '42939');
  ELSIF backfill.is_taken(job.name) THEN
    PERFORM backfill.refuse('name', coalesce((SELECT format('"%s" is the name of another role''s job, which %s has submitted on %s', o.name, o.submitted_by, backfill.relation_name(o.target))
                                                FROM backfill.job o WHERE o.name = job.name), format('"%s" is the name of another role''s job', job.name)),
                            'Give it another name, or none. Whoever has the rights of pg_monitor sees whose it is.', '23505');
  END IF;
END
$$;

-- BEFORE INSERT: fills in who, and refuses what can be known to be wrong.
CREATE OR REPLACE FUNCTION backfill.job_before_insert() RETURNS trigger
LANGUAGE plpgsql SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
  again       pg_catalog.bool := false;
  own         pg_catalog.text := pg_catalog.current_setting('lock_timeout');
  message     pg_catalog.text;
  hint        pg_catalog.text;
  code        pg_catalog.text;
  column_name pg_catalog.text;
BEGIN
  IF NEW.submitted_by IS NOT NULL THEN
    RETURN backfill.restored(NEW);  -- nobody who submits jobs may write that column: a dump is being restored
  END IF;
  NEW := backfill.captured(NEW, pg_catalog.current_setting('search_path'));
  IF backfill.is_own_name(NEW.name) THEN
    again := true;  -- the unique constraint has its say, or ON CONFLICT DO NOTHING: a migration that runs again
  END IF;
  BEGIN
    IF again THEN
      PERFORM backfill.check_same(NEW);
      RETURN NEW;
    END IF;
    PERFORM backfill.check_own_name(NEW);
    IF own::pg_catalog.interval OPERATOR(pg_catalog.=) '0'::pg_catalog.interval THEN  -- what is planned locks the table: no longer than this without a word
      PERFORM pg_catalog.set_config('lock_timeout', '5s', true);
    END IF;
    NEW := backfill.check_job(NEW);
    PERFORM pg_catalog.set_config('lock_timeout', own, true);
  EXCEPTION WHEN OTHERS THEN
    -- Said again from here, without the call stack that only backfilld's authors would read.
    GET STACKED DIAGNOSTICS
      message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE, column_name = COLUMN_NAME;
    IF code OPERATOR(pg_catalog.=) '55P03' THEN
      message := pg_catalog.concat('target: ', coalesce(backfill.table_lock(NEW.target), message));
      hint := 'Nothing was inserted. Insert the job again when that lock is gone, or SET lock_timeout to wait for longer.';
    END IF;
    RAISE EXCEPTION USING
      MESSAGE = message, HINT = hint, ERRCODE = code,
      SCHEMA = 'backfill', TABLE = 'job', COLUMN = column_name;
  END;
  RETURN backfill.keep_hours(NEW);
END
$$;

-- BEFORE INSERT, and before the other, in which standard_conforming_strings is on: a session that has it off reads '\n' in a statement of its own as a
-- line feed, and the job reads a backslash and an n.
CREATE OR REPLACE FUNCTION backfill.check_backslashes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  backslash constant text := chr(92);
  wrong     text;
BEGIN
  IF NEW.submitted_by IS NOT NULL OR current_setting('standard_conforming_strings')::boolean THEN
    RETURN NEW;
  END IF;
  SELECT c.name INTO wrong
    FROM (VALUES (1, 'add_column', ARRAY[NEW.add_column]), (2, 'set_clause', ARRAY[NEW.set_clause]), (3, 'where_clause', ARRAY[NEW.where_clause]),
                 (4, 'statement', ARRAY[NEW.statement]), (5, 'sync_back', ARRAY[NEW.sync_back]), (6, 'enforce', NEW.enforce)) AS c(ord, name, texts)
   WHERE EXISTS (SELECT FROM unnest(c.texts) AS t(text), unnest(CASE WHEN strpos(t.text, backslash) > 0 AND octet_length(t.text) <= 32000 THEN backfill.tokens(t.text) END) AS x(token)
                  WHERE strpos(x.token, backslash) > 0 AND left(x.token, 1) = '''')
   ORDER BY c.ord LIMIT 1;
  IF wrong IS NOT NULL THEN
    PERFORM backfill.refuse(wrong, 'has a backslash within ''…'', which this session reads as an escape (standard_conforming_strings is off), and a job as itself',
                            'SET standard_conforming_strings = on and insert it again: then a backslash is one. What is to be an escape, write as E''…''.');
  END IF;
  RETURN NEW;
END
$$;
