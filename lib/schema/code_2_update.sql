-- What an UPDATE of a job may wish, and what becomes of it.

-- Refuses to take the trigger out while it alone fills a column that must not be NULL: of an INSERT by code that knows the new column alone, which is
-- what the end of a migration is for.
CREATE OR REPLACE FUNCTION backfill.check_finish(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name  text := backfill.relation_name(job.target);
  needs text[] := ARRAY(
    SELECT quote_ident(n.now) FROM unnest(backfill.filled_columns(job.sync_back)) WITH ORDINALITY AS u(c, ord), LATERAL (SELECT backfill.column_now(job, u.c) AS now) n
     WHERE backfill.takes_no_null(job.target, n.now)
     ORDER BY u.ord);
BEGIN
  IF needs <> '{}' THEN
    PERFORM backfill.refuse('wanted', format('job %I fills %s of %s by sync_back, which may not be NULL and has no default: once its trigger is gone, an INSERT that leaves it out fails',
                                             job.name, array_to_string(needs, ', '), name),
      format('ALTER TABLE %s %s, then finish it. Where all code goes on writing it, SET DEFAULT does as well, and can go afterwards.', name,
             (SELECT string_agg(format('ALTER COLUMN %s DROP NOT NULL', n), ', ' ORDER BY ord) FROM unnest(needs) WITH ORDINALITY AS u(n, ord))), '55000');
  END IF;
END
$$;

-- Whether the caller's transaction has the table for itself.
CREATE OR REPLACE FUNCTION backfill.holds_alone(relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.relation = holds_alone.relation AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted)
$$;

-- Takes a job's trigger out at once: who changes names of columns in the transaction in which he finishes the job has the table for himself, and no write after it may meet the trigger. Where he may not,
-- or there are too many partitions for one transaction, a daemon does it.
CREATE OR REPLACE FUNCTION backfill.take_out_now(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  command text;
BEGIN
  IF (SELECT count(*) FROM backfill.partitions_of(job.target)) <= 300 THEN
    FOREACH command IN ARRAY backfill.drop_sync_commands(job) LOOP
      EXECUTE command;
    END LOOP;
  END IF;
EXCEPTION WHEN insufficient_privilege THEN
  NULL;
END
$$;

-- Whether a column of a table, or of a partition of it, may not be NULL, by NOT NULL or by a CHECK that says no more than that; but where the primary key does it, and has no default. By the
-- catalog alone: who steers a job evaluates nothing of its table's.
CREATE OR REPLACE FUNCTION backfill.takes_no_null(target oid, column_name name) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (
    SELECT FROM (SELECT target AS oid UNION SELECT p.relid FROM backfill.partitions_of(target) p) r JOIN pg_attribute a ON a.attrelid = r.oid
     WHERE a.attname = column_name AND NOT a.attisdropped AND NOT a.atthasdef AND a.attidentity = ''
       AND (a.attnotnull OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = r.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
                                           AND CASE WHEN octet_length(k.conbin::text) < 5000 THEN starts_with(pg_get_constraintdef(k.oid), format('CHECK ((%I IS NOT NULL))', a.attname)) ELSE false END))
       AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey::smallint[])))
$$;

-- What the owner of a table may ask of another's job on it: to let go of the table. It runs with the rights of who chose its text, so it is
-- for them to have it go on.
CREATE OR REPLACE FUNCTION backfill.check_stop(old backfill.job, new backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF OLD.state = 'running' AND OLD.wanted IN ('cancel', 'undo') AND NEW.wanted <> OLD.wanted THEN
    RAISE EXCEPTION 'job "%" is being cancelled', OLD.name USING ERRCODE = '55000', HINT = 'When backfill.status says "cancelled", the table is free.';
  ELSIF NEW.wanted = 'pause' AND OLD.state IN ('succeeded', 'failed', 'cancelled') THEN
    RAISE EXCEPTION 'job "%" of % has ended: it %', OLD.name, OLD.submitted_by, CASE OLD.state WHEN 'cancelled' THEN 'was cancelled' ELSE OLD.state END
      USING ERRCODE = '55000', HINT = format('SELECT backfill.cancel(%L) takes out of the table what it may have left there.', OLD.name);
  END IF;
END
$$;

-- Refuses to take out a trigger whose column another job's trigger computes from: what that one has enforced would fail old code.
CREATE OR REPLACE FUNCTION backfill.check_chain(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  next text;
BEGIN
  IF job.keep_in_sync AND EXISTS (SELECT FROM backfill.sync_triggers(job)) THEN
    next := backfill.downstream_of(job);
  END IF;
  IF next IS NOT NULL THEN
    PERFORM backfill.refuse('wanted', format('job "%s" keeps a column in step with one that this job fills', next),
                            format('First SELECT backfill.cancel(%1$L), or backfill.undo(%1$L); or backfill.finish(%1$L), when old code is gone.', next), '55000');
  END IF;
END
$$;

-- Whoever steers a job, a superuser, say, runs nothing that is its submitter's or its table's here: what is asked is the catalog.
-- What a changed job becomes: what a user wants of one that no daemon holds is done here and now. Whose login is gone, it is ended by whoever
-- asks for that, with our own commands alone; and run again by whoever asks for that, by their own login, for then they mean its text.
-- cancel and undo of a job that has ended take back what it left, so that a migration's way down works whenever it is called. The owner of its table,
-- who has no say in it else, may have it paused or cancelled: backfill.check_stop.
CREATE OR REPLACE FUNCTION backfill.change_job(old backfill.job, new backfill.job) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  ends  constant boolean := NEW.asked IS NULL AND NEW.wanted IN ('cancel', 'finish', 'undo');
  ended constant boolean := OLD.state IN ('succeeded', 'failed', 'cancelled');
  behind bigint;
BEGIN
  PERFORM backfill.check_outside();
  IF row_security_active('backfill.job') AND NOT backfill.may_steer(OLD) THEN  -- as the owner of its table
    PERFORM backfill.check_stop(OLD, NEW);
    NEW.stopped_by := CASE NEW.wanted WHEN OLD.wanted THEN OLD.stopped_by ELSE backfill.role_name(backfill.login()) END;
  ELSIF NEW.wanted <> OLD.wanted THEN
    NEW.stopped_by := NULL;
  END IF;
  PERFORM backfill.check_values(NEW);
  IF NEW.throttle_off IS DISTINCT FROM OLD.throttle_off THEN
    PERFORM backfill.check_sizes(NEW);
  END IF;
  PERFORM backfill.check_throttle_off(NEW);
  IF NEW.active_hours IS DISTINCT FROM OLD.active_hours THEN
    PERFORM backfill.check_active_hours(NEW);
  END IF;
  IF NEW.state = OLD.state AND NOT backfill.login_is_there(OLD)
     AND (backfill.login_of(OLD) IS DISTINCT FROM backfill.login() OR backfill.role_name(backfill.role_of(OLD)) IS NULL)
     AND backfill.is_plain_caller() AND backfill.may_end(OLD) THEN
    IF ends THEN
      NEW.ended_by := session_user;
      NEW.ended_as := current_user;
      NEW.ended_by_oid := backfill.role_oid(session_user);
      NEW.ended_as_oid := backfill.role_oid(current_user);
    ELSIF NEW.asked = 'retry' AND OLD.state <> 'running' AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) THEN
      NEW.submitted_by := session_user;
      NEW.owner := current_user;
      NEW.submitted_by_oid := backfill.role_oid(session_user);
      NEW.owner_oid := backfill.role_oid(current_user);
    END IF;
  END IF;

  IF NEW.asked IS NOT NULL THEN
    RETURN backfill.check_asked(OLD, NEW);
  END IF;

  IF NEW.wanted IN ('cancel', 'undo') AND NEW.wanted <> OLD.wanted THEN  -- also of one that is paused, or runs: its trigger goes with it
    PERFORM backfill.check_chain(OLD);
  END IF;
  IF ends AND ended AND OLD.wanted = 'undo' AND NEW.wanted <> 'undo' AND OLD.tidy THEN
    PERFORM backfill.refuse('wanted', format('job %I is being undone', OLD.name), 'A daemon takes out all that it added; what it waits for, or why it can''t, backfill.status says in throttled_by or error.', '55000');
  ELSIF ends AND ended AND NEW.state = OLD.state THEN
    IF NEW.wanted = 'finish' AND OLD.state <> 'cancelled' AND (NOT OLD.keep_in_sync OR OLD.dry_run) AND NOT OLD.tidy THEN
      PERFORM backfill.refuse('wanted', format('job %I keeps nothing in step, so there is nothing to finish', OLD.name),
                              'finish is for jobs with keep_in_sync that have run; a dry_run has changed nothing.', '55000');
    END IF;
    IF NEW.wanted = 'cancel' AND OLD.state = 'succeeded' AND NOT OLD.tidy AND OLD.wanted = 'run' AND (OLD.before IS NULL OR NOT backfill.has_remains(NEW)) THEN
      RAISE NOTICE 'job "%" has succeeded, and has nothing more to do', OLD.name USING HINT = format('There is nothing to cancel. To have it forgotten: SELECT backfill.forget(%L).', OLD.name);
      NEW.wanted := OLD.wanted;  -- one of many, perhaps
      RETURN backfill.keep_hours(NEW);
    END IF;
    IF NEW.wanted = 'cancel' AND OLD.keep_in_sync AND (OLD.wanted = 'run' AND OLD.state = 'succeeded' AND OLD.tidy OR OLD.wanted = 'undo' AND coalesce(OLD.report ? 'had_succeeded', false) AND EXISTS (SELECT FROM backfill.sync_triggers(OLD)))
       AND EXISTS (SELECT FROM unnest(backfill.filled_columns(OLD.set_clause)) c WHERE NOT OLD.plan -> 'sync' -> 'not_null' ? c AND backfill.takes_no_null(OLD.target, backfill.column_now(OLD, c))) THEN
      PERFORM backfill.refuse('wanted', format('job %I has succeeded, and its column may not be NULL any more: without its trigger the INSERTs of old code would fail', OLD.name),
                              format('SELECT backfill.undo(%1$L) takes back all that it added. When old code is gone, SELECT backfill.finish(%1$L) takes out the trigger alone.', OLD.name), '55000');
    END IF;
    IF NEW.wanted IN ('finish', 'cancel') AND OLD.wanted <> 'finish' AND OLD.state = 'succeeded' THEN
      PERFORM backfill.check_finish(OLD);
      behind := (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = OLD.id);
      IF behind > 0 THEN
        RAISE WARNING 'job "%" has left % rows behind, which no retry computes any more', OLD.name, behind
          USING HINT = 'SELECT * FROM backfill.left_behind names them, and why: fill them by an UPDATE, or by a job with a where_clause.';
      END IF;
    END IF;
    IF NEW.wanted IN ('undo', 'cancel') AND OLD.wanted = 'finish' THEN  -- nor by way of the one to the other
      PERFORM backfill.refuse('wanted', format('job %I was finished: what it added is the application''s', OLD.name),
                              CASE NEW.wanted WHEN 'undo' THEN 'Take it out by hand, or by a job with drop_column, which looks for what still uses it.' ELSE format('There is nothing to cancel: SELECT backfill.forget(%L).', OLD.name) END, '55000');
    ELSIF NEW.wanted = 'undo' AND OLD.add_column IS NULL AND NOT OLD.keep_in_sync AND OLD.enforce IS NULL THEN
      PERFORM backfill.refuse('wanted', format('job %I has added nothing to its table', OLD.name),
                              'undo takes back a column, a trigger and constraints; values that were filled, rows and columns that are gone do not come back.', '55000');
    END IF;
    NEW.state := CASE NEW.wanted WHEN 'finish' THEN OLD.state ELSE 'cancelled' END;
    IF OLD.state = 'succeeded' AND NEW.state = 'cancelled' THEN
      NEW.report := coalesce(NEW.report, '{}') || '{"had_succeeded": true}';
    END IF;
    IF NEW.state = 'cancelled' OR backfill.is_left_over(OLD) THEN  -- why it failed before is no concern of it any more
      NEW.error := NULL;
      NEW.hint := NULL;
    END IF;
    NEW.report := NEW.report - 'left_over';
    IF NEW.wanted IN ('finish', 'cancel') AND OLD.keep_in_sync AND backfill.holds_alone(OLD.target) THEN
      PERFORM backfill.take_out_now(OLD);
    END IF;
    NEW.tidy := OLD.tidy OR (OLD.before IS NOT NULL AND backfill.has_remains(NEW));  -- asked again, it is looked for again
    RETURN backfill.keep_hours(NEW);
  END IF;

  IF NEW.wanted = OLD.wanted THEN
    RETURN backfill.keep_hours(NEW);
  END IF;
  IF OLD.wanted IN ('cancel', 'undo') AND OLD.state = 'running' AND NOT (OLD.wanted = 'cancel' AND NEW.wanted = 'undo') THEN
    PERFORM backfill.refuse('wanted', format('job %I is being cancelled', OLD.name),
                            format('When it is: SELECT backfill.forget(%L) and insert it again, or insert one of another name.', OLD.name), '55000');
  ELSIF NEW.wanted = 'finish' THEN
    PERFORM backfill.refuse('wanted', format('job %I is %s', OLD.name, OLD.state),
                            'finish is for a job that has succeeded or failed; cancel ends one that has not.', '55000');
  ELSIF ended AND NEW.state = OLD.state THEN
    PERFORM backfill.refuse('wanted', format('job %I has ended: it %s', OLD.name, CASE OLD.state WHEN 'cancelled' THEN 'was cancelled' ELSE OLD.state END),
                            backfill.what_now(OLD), '55000');
  ELSIF OLD.state IN ('queued', 'paused') THEN
    NEW.state := CASE NEW.wanted WHEN 'run' THEN 'queued' WHEN 'pause' THEN 'paused' ELSE 'cancelled' END;
    IF NEW.state = 'cancelled' THEN
      NEW.finished_at := clock_timestamp();
      NEW.tidy := OLD.tidy OR (NEW.wanted = 'undo' AND OLD.before IS NOT NULL);
    END IF;
  END IF;
  RETURN backfill.keep_hours(NEW);
END
$$;

-- Whether a daemon has tried to take out of the table what an ended job added, and could not: it tries no more before somebody asks again.
CREATE OR REPLACE FUNCTION backfill.is_left_over(job backfill.job) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(job.report ? 'left_over', false) AND NOT job.tidy AND job.state IN ('succeeded', 'failed', 'cancelled')
$$;

-- Waits for a job's row, as long as the caller's lock_timeout says, or for some seconds: then it is said who has it.
CREATE OR REPLACE FUNCTION backfill.take_row(name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own constant text := current_setting('lock_timeout');
BEGIN
  IF own::interval = interval '0' THEN
    PERFORM set_config('lock_timeout', '5s', true);
  END IF;
  PERFORM FROM backfill.job j WHERE j.name = take_row.name FOR NO KEY UPDATE;
  PERFORM set_config('lock_timeout', own, true);
EXCEPTION WHEN lock_not_available THEN
  RAISE EXCEPTION 'the row of job "%" is %', name, (SELECT backfill.locked_by(backfill.holders_of(ARRAY[j.xmax]), true) FROM backfill.job j WHERE j.name = take_row.name)
    USING ERRCODE = '55P03', HINT = 'Nothing was changed. Ask again when that transaction is over.';
END
$$;

-- Before a job is inserted again whose trigger is gone: what it has filled may be out of step.
CREATE OR REPLACE FUNCTION backfill.undo_first(job backfill.job) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN job.state = 'succeeded' OR backfill.added_column(job) IS NULL THEN NULL
              WHEN job.wanted = 'finish' THEN format('where column %I is to be filled anew, ALTER TABLE %s DROP COLUMN %1$I; then ', backfill.added_column(job), backfill.relation_name(job.target))
              ELSE format('SELECT backfill.undo(%L), which drops the column that it has filled; then ', job.name) END;
END
$$;

-- What can be done with a job as it stands, for who wished for something else.
CREATE OR REPLACE FUNCTION backfill.what_now(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE job.state
    WHEN 'queued' THEN 'It is in the queue already: throttled_by in backfill.status says what it waits for.'
    WHEN 'running' THEN 'It runs already: throttled_by in backfill.status says what it waits for.'
    WHEN 'paused' THEN format('SELECT backfill.resume(%L) goes on with it.', job.name)
    WHEN CASE WHEN backfill.is_left_over(job) OR job.tidy AND NOT backfill.is_here(job) THEN job.state END THEN format('SELECT backfill.retry(%L) tries again to take out of the table what it added; error says what stood in the way.', job.name)
    WHEN 'cancelled' THEN format('A cancelled job doesn''t go on: %sSELECT backfill.forget(%L) and insert it again, or insert one of another name.', backfill.undo_first(job), job.name)
    ELSE CASE
      WHEN job.wanted = 'finish' AND job.state = 'succeeded' THEN 'What was finished doesn''t run again. Rows that it has left behind are filled by an UPDATE, or by a job of another name with a where_clause.'
      WHEN job.wanted = 'finish' THEN format('What was finished doesn''t run again: %sSELECT backfill.forget(%L) and insert it again, or insert one of another name.', backfill.undo_first(job), job.name)
      WHEN job.state = 'failed' THEN format('SELECT backfill.retry(%L) runs it again, from where it stood; error and hint in backfill.job say what to mend first.', job.name)
      WHEN EXISTS (SELECT FROM backfill.left_behind l WHERE l.job_id = job.id) THEN format('SELECT backfill.retry(%L) runs the rows again that it left behind.', job.name)
      ELSE 'It has done all that it was for.' || CASE WHEN job.keep_in_sync THEN format(' Its trigger goes with SELECT backfill.finish(%L).', job.name) ELSE '' END END END
$$;

-- Whether a job may be run again, or forgotten; what it is asked for is done by triggers of the schema's owner: job_retry, job_forget.
CREATE OR REPLACE FUNCTION backfill.check_asked(old backfill.job, new backfill.job) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  NEW.wanted := OLD.wanted;  -- one wish at a time
  IF NEW.asked = 'retry' THEN
    IF backfill.is_left_over(OLD) OR OLD.tidy AND (OLD.state = 'cancelled' OR OLD.wanted = 'finish') AND NOT backfill.is_here(OLD) THEN  -- what was wanted is wanted again
      NEW.asked := NULL;
      NEW.again := 0;
      NEW.error := NULL;
      NEW.hint := NULL;
      NEW.tidy := backfill.has_remains(OLD);
      NEW.report := NEW.report - 'left_over';
    ELSIF OLD.state NOT IN ('succeeded', 'failed') OR OLD.wanted = 'finish' THEN
      RAISE EXCEPTION 'job "%" %', OLD.name, CASE WHEN OLD.wanted = 'finish' THEN 'was finished' ELSE 'is ' || OLD.state END
        USING ERRCODE = '55000', HINT = backfill.what_now(OLD);
    ELSIF backfill.who_is_gone(NEW) IS NOT NULL THEN
      RAISE EXCEPTION 'job "%": %', OLD.name, backfill.who_is_gone(NEW) USING ERRCODE = '42704', HINT = backfill.login_is_gone(NEW);
    END IF;
  ELSIF OLD.state NOT IN ('succeeded', 'failed', 'cancelled') THEN
    RAISE EXCEPTION 'job "%" is %', OLD.name, OLD.state USING ERRCODE = '55000', HINT = 'forget is for a job that has ended; cancel ends one.';
  ELSIF backfill.has_left_something(OLD) THEN
    RAISE EXCEPTION 'job "%" has left something in its table', OLD.name USING ERRCODE = '55000', 
      HINT = CASE WHEN backfill.is_left_over(OLD) THEN format('Why it could not be taken out, backfill.status says in error; SELECT backfill.retry(%L) tries again. Then the job can be forgotten.', OLD.name)
                  WHEN OLD.wanted IN ('cancel', 'finish', 'undo') THEN 'A daemon takes it out; what it waits for, or why it can''t, backfill.status says in throttled_by or error. Then the job can be forgotten.'
                  WHEN OLD.state <> 'succeeded' AND backfill.added_column(OLD) IS NOT NULL
                  THEN format('First SELECT backfill.undo(%L), which takes out all that it added. backfill.finish takes out its trigger alone, and leaves column %I, which nothing keeps in step then.', OLD.name, backfill.added_column(OLD))
                  ELSE format('Where the job is to be done anew, with another clause, say, first SELECT backfill.undo(%1$L), which takes out all that it added. Where what it has computed is to stay, SELECT backfill.finish(%1$L), which takes out its trigger alone.', OLD.name) END;
  END IF;
  RETURN NEW;
END
$$;

-- Whether an UPDATE of a restored job is the wish to have it here.
CREATE OR REPLACE FUNCTION backfill.is_wanted_here(old backfill.job, new backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (new.wanted = 'finish' OR new.asked = 'retry' OR new.wanted <> 'pause' AND (new.wanted <> old.wanted OR new.state <> old.state)
          OR new.wanted IN ('cancel', 'undo') AND new IS NOT DISTINCT FROM old)  -- the same once more: what was wanted before the dump is wanted here
     AND NOT backfill.is_here(old)
$$;

-- Whether what is wanted of a job is not the caller's to ask, who only sees it as the owner of its table: anything but to pause and to cancel it. What
-- is wanted of all that one sees then passes it by: a stranger's job is no reason to fail.
CREATE OR REPLACE FUNCTION backfill.is_not_asked(old backfill.job, new backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT row_security_active('backfill.job') AND NOT backfill.may_steer(old)
     AND (new.wanted NOT IN ('pause', 'cancel') OR to_jsonb(new) - 'wanted' <> to_jsonb(old) - 'wanted')
$$;

-- BEFORE UPDATE. A refusal is said again from here, without the call stack.
CREATE OR REPLACE FUNCTION backfill.job_before_update() RETURNS trigger
LANGUAGE plpgsql SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
  message     pg_catalog.text;
  hint        pg_catalog.text;
  code        pg_catalog.text;
  column_name pg_catalog.text;
  is_theirs   pg_catalog.bool;
BEGIN
  IF backfill.is_not_asked(OLD, NEW) THEN
    RETURN NULL;
  END IF;
  IF backfill.is_wanted_here(OLD, NEW) THEN
    NEW := backfill.take_over(NEW);
  END IF;
  is_theirs := NEW.owner_oid OPERATOR(pg_catalog.=) backfill.role_oid(current_user) AND NEW.submitted_by_oid OPERATOR(pg_catalog.=) backfill.role_oid(session_user);
  NEW := backfill.change_job(OLD, NEW);
  IF NOT is_theirs AND NEW.owner_oid OPERATOR(pg_catalog.=) backfill.role_oid(current_user) AND NEW.submitted_by_oid OPERATOR(pg_catalog.=) backfill.role_oid(session_user) THEN
    NEW := backfill.read_anew(NEW);
  END IF;
  RETURN NEW;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS
    message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE, column_name = COLUMN_NAME;
  RAISE EXCEPTION USING
    MESSAGE = message, HINT = hint, ERRCODE = code,
    SCHEMA = 'backfill', TABLE = 'job', COLUMN = column_name;
END
$$;

-- AFTER INSERT OR UPDATE: tells daemons and applications. Row contents and errors stay out: any role may LISTEN. A name that is longer
-- than a notification may be (check_sizes refuses it; an earlier version didn't) is left out: nobody's change fails for it.
CREATE OR REPLACE FUNCTION backfill.job_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM pg_notify('backfill', jsonb_strip_nulls(jsonb_build_object(
    'job', NEW.id, 'name', CASE WHEN octet_length(NEW.name) <= 1000 THEN NEW.name END, 'target', backfill.relation_name(NEW.target),
    'state', NEW.state, 'phase', NEW.phase, 'wanted', NEW.wanted))::text);
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER job_backslashes BEFORE INSERT ON backfill.job  -- by its name it is the first
  FOR EACH ROW EXECUTE FUNCTION backfill.check_backslashes();
CREATE OR REPLACE TRIGGER job_before_insert BEFORE INSERT ON backfill.job
  FOR EACH ROW EXECUTE FUNCTION backfill.job_before_insert();
CREATE OR REPLACE TRIGGER job_before_update
  BEFORE UPDATE OF wanted, priority, workers, target_ms, max_rows_per_s, max_lag, throttle_off, on_error, active_hours, asked ON backfill.job
  FOR EACH ROW EXECUTE FUNCTION backfill.job_before_update();
ALTER TABLE backfill.job ENABLE ALWAYS TRIGGER job_before_update;  -- who may only pause or cancel does so as a replica, too
CREATE OR REPLACE TRIGGER job_notify_insert AFTER INSERT ON backfill.job
  FOR EACH ROW EXECUTE FUNCTION backfill.job_notify();
CREATE OR REPLACE TRIGGER job_notify_update AFTER UPDATE ON backfill.job
  FOR EACH ROW WHEN ((OLD.state, OLD.phase, OLD.wanted, OLD.target_ms, OLD.max_rows_per_s, OLD.on_error, OLD.max_lag, OLD.throttle_off, OLD.active_hours, OLD.workers)
                     IS DISTINCT FROM
                     (NEW.state, NEW.phase, NEW.wanted, NEW.target_ms, NEW.max_rows_per_s, NEW.on_error, NEW.max_lag, NEW.throttle_off, NEW.active_hours, NEW.workers)
        OR (NEW.tidy AND NOT OLD.tidy) OR NEW.home IS DISTINCT FROM OLD.home)
  EXECUTE FUNCTION backfill.job_notify();
