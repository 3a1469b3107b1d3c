-- The steps of a migration, as the worker's session runs them: as the table's owner, with a lock_timeout of some milliseconds.

-- A job that has ended, and of which all is to be taken out of its table: it was cancelled, or its owner has finished it, or the table was dropped. Of a
-- restored one nothing is taken out before its owner wants it here.
CREATE OR REPLACE FUNCTION backfill.takes_all(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT job.tidy AND backfill.is_here(job) AND (job.state = 'cancelled' OR (job.state IN ('succeeded', 'failed') AND (job.wanted = 'finish' OR backfill.relation_name(job.target) IS NULL)))
$$;

-- Which login takes that out, and as which role: NULL when there is none any more.
CREATE OR REPLACE FUNCTION backfill.tidied_by(job backfill.job, OUT login_oid oid, OUT login name, OUT role name)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT w.login, backfill.role_name(w.login), backfill.role_name(w.role)
    FROM (SELECT CASE WHEN l.is_there THEN backfill.login_of(job) ELSE job.ended_by_oid END AS login,
                 CASE WHEN l.is_there THEN backfill.role_of(job) ELSE job.ended_as_oid END AS role
            FROM (SELECT job.ended_by IS NULL OR backfill.login_is_there(job) AS is_there) AS l) AS w
$$;

-- A job that doesn't run, but of which something is to be taken out of its table: all, or what it has left there unfinished. That would bind
-- the application to what nobody has yet: an index that isn't valid refuses duplicates all the same. What a constraint that is NOT VALID asks
-- of rows that are written stays while the job is only paused; status names it.
CREATE OR REPLACE FUNCTION backfill.is_untidy(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT backfill.takes_all(job)
      OR job.unfinished AND backfill.is_here(job) AND (job.state IN ('paused', 'failed') OR (job.state = 'queued' AND coalesce(job.opens_at > clock_timestamp(), false)))
$$;

-- Whether a job that kept rows in step is given up before it had succeeded: what it has enforced goes with its trigger, else old code's INSERTs would fail.
CREATE OR REPLACE FUNCTION backfill.gives_up(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT job.keep_in_sync AND backfill.takes_all(job) AND job.state IN ('failed', 'cancelled') AND NOT coalesce(job.report ? 'had_succeeded', false)
$$;

-- Whether something of an ended job is in its table, by the catalog, that tidy would take out: all of it for undo. Whoever asks an ended job
-- again and again makes no work by that. Where the catalog doesn't tell, there may be something.
CREATE OR REPLACE FUNCTION backfill.has_remains(job backfill.job) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF backfill.relation_name(job.target) IS NULL THEN
    RETURN job.keep_in_sync AND backfill.has_sync(job);
  END IF;
  RETURN job.keep_in_sync AND backfill.has_sync(job)
      OR job.enforce IS NOT NULL AND EXISTS (
           SELECT FROM jsonb_array_elements(backfill.items_now(job)) i
            WHERE EXISTS (SELECT FROM pg_constraint k
                           WHERE k.conrelid = job.target AND k.conname = i ->> 'name' AND (job.wanted = 'undo' OR NOT k.convalidated OR k.contype = 'c' AND backfill.gives_up(job)))
               OR EXISTS (SELECT FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
                           WHERE x.indrelid = job.target AND c.relname = i ->> 'name'
                             AND (job.wanted = 'undo' OR NOT x.indisvalid OR job.state <> 'succeeded' AND i ->> 'kind' = 'unique' AND NOT coalesce((i -> 'existing')::boolean, false)
                                                                             AND NOT EXISTS (SELECT FROM pg_constraint u WHERE u.conindid = x.indexrelid)))
               OR (job.wanted = 'undo' OR backfill.gives_up(job)) AND i ->> 'kind' = 'not null' AND backfill.is_not_null(job.target, (i ->> 'column')::name))
      OR job.wanted = 'undo' AND backfill.added_column(job) IS NOT NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN true;
END
$$;

-- Whether a step of a phase of this session's job is still to be done: the job may have been cancelled, or taken on, by now.
CREATE OR REPLACE FUNCTION backfill.step_is_wanted(ticket bigint, phase text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.token t JOIN backfill.job j ON j.id = t.job_id
                  WHERE t.worker = pg_backend_pid() AND t.ticket = step_is_wanted.ticket
                    AND backfill.role_oid(session_user) = CASE step_is_wanted.phase WHEN 'tidy' THEN (backfill.tidied_by(j)).login_oid ELSE j.submitted_by_oid END
                    AND CASE WHEN step_is_wanted.phase = 'tidy' THEN backfill.is_untidy(j) ELSE j.state = 'running' AND j.phase = step_is_wanted.phase END)
$$;

-- Waits for a table that is about to be locked, in a way that nobody who reads or writes it queues behind. Longer than deadlock_timeout,
-- for then the server cancels a plain autovacuum; one against wraparound, a VACUUM, an ANALYZE is waited for. The lock is kept, so that
-- none of these comes in between; what follows waits shortly, by the session's lock_timeout, well below deadlock_timeout: with a lock in
-- hand it would else be in the way of somebody who waits for it, and the server might choose that one. also: another table, or NULL; of
-- two tables only one is held. Who may not lock them so goes on without.
CREATE OR REPLACE FUNCTION backfill.wait_aside(target text, also text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  short constant text := current_setting('lock_timeout');
BEGIN
  PERFORM set_config('lock_timeout', 1000 + round(extract(epoch FROM current_setting('deadlock_timeout')::interval) * 1000) || 'ms', true);
  BEGIN
    IF also IS NOT NULL THEN
      EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', also);
      RAISE EXCEPTION USING ERRCODE = 'BF000', MESSAGE = 'lets go of it';
    END IF;
  EXCEPTION WHEN insufficient_privilege OR SQLSTATE 'BF000' THEN
    NULL;
  END;
  BEGIN
    EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', target);
  EXCEPTION WHEN insufficient_privilege THEN
    NULL;
  END;
  PERFORM set_config('lock_timeout', short, true);
END
$$;

-- Refuses to take an index away that another session is building: one of ours may go on without its daemon, and its index is good. Whose
-- work this session may not see may be at it.
CREATE OR REPLACE FUNCTION backfill.check_builder(index_oid oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  builder integer := (
    SELECT min(p.pid)
      FROM pg_stat_progress_create_index p
      JOIN pg_index i ON i.indexrelid = index_oid
      JOIN pg_locks l ON l.pid = p.pid AND l.locktype = 'relation' AND l.relation = i.indrelid AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
     WHERE p.pid <> pg_backend_pid() AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted AND coalesce(p.index_relid, 0) IN (0, index_oid));
BEGIN
  IF builder IS NOT NULL THEN
    RAISE EXCEPTION 'waits for index %, which pid % is building', backfill.relation_name(index_oid), builder USING ERRCODE = '55P03';
  END IF;
END
$$;

-- A last look at an index that is about to be dropped: it still has that name, is not valid if that is why it goes, and nobody builds it.
CREATE OR REPLACE FUNCTION backfill.check_index(index_oid oid, name text, invalid boolean) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF backfill.relation_name(index_oid) IS DISTINCT FROM name OR invalid AND EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = index_oid AND i.indisvalid) THEN
    RAISE EXCEPTION 'index % is not what it was a moment ago', name USING ERRCODE = 'BF001', HINT = 'It was not dropped.';
  END IF;
  PERFORM backfill.check_builder(index_oid);
END
$$;

-- A look at a table before a constraint is added: raises when a row would break it, with how many and the key of one. What the job's owner may not
-- read, or compare, isn't looked at: VALIDATE has other rights. number: of the item in enforce, from 1 on. As a whole: the planner's own choice is the best here.
CREATE OR REPLACE FUNCTION backfill.look_for_rows(ticket bigint, number integer) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = on SET enable_sort = on SET jit = off
AS $$
DECLARE
  job        backfill.job := backfill.own_job(ticket);
  item       pg_catalog.jsonb := pg_catalog.jsonb_extract_path(job.plan, 'enforce', (number OPERATOR(pg_catalog.-) 1)::pg_catalog.text);
  relation   pg_catalog.oid := job.target;
  referenced pg_catalog.oid := backfill.referenced_table(item);
  breaks     pg_catalog.text;
  alias pg_catalog.text := (SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation);
  key pg_catalog.text := (SELECT pg_catalog.string_agg(pg_catalog.format('%L OPERATOR(pg_catalog.||) %s', c.name OPERATOR(pg_catalog.||) ' = ', backfill.key_text(pg_catalog.concat(alias, '.', c.name), c.type)), ' OPERATOR(pg_catalog.||) '', '' OPERATOR(pg_catalog.||) ' ORDER BY c.ord)
                 FROM backfill.key_of(relation) k, ROWS FROM (pg_catalog.unnest(k.columns), pg_catalog.unnest(k.types)) WITH ORDINALITY AS c(name, type, ord));
  n   bigint;
  one pg_catalog.text;
BEGIN
  BEGIN
    PERFORM backfill.hold_name(referenced, backfill.relation_name(referenced), false);
    PERFORM backfill.hold_name(relation, backfill.relation_name(relation), false);
  EXCEPTION WHEN insufficient_privilege THEN
    RETURN;
  END;
  IF referenced IS NOT NULL THEN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.relation OPERATOR(pg_catalog.=) referenced AND l.granted) THEN
      RETURN;  -- who may read some columns alone can't hold it, and its owner puts a view in its place
    END IF;
    -- Its owner may have given its columns other types, which are compared by casts of his.
    PERFORM backfill.check_referenced(job, (SELECT pg_catalog.jsonb_build_object('columns', ARRAY(SELECT backfill.assigned_column(c) FROM pg_catalog.unnest(p.mine) c), 'referenced', ARRAY(SELECT backfill.assigned_column(c) FROM pg_catalog.unnest(p.theirs) c))
                                              FROM backfill.parts_of_reference(item) p), referenced);
  END IF;
  PERFORM backfill.check_item_names(ticket, item OPERATOR(pg_catalog.->>) 'name');
  breaks := backfill.breaks_item(item, alias);
  BEGIN
    EXECUTE pg_catalog.format('SELECT pg_catalog.count(*), pg_catalog.min(%s) FROM %s AS %s WHERE %s', coalesce(key, alias OPERATOR(pg_catalog.||) '.ctid::pg_catalog.text'),
                              backfill.relation_name(relation), alias, breaks) INTO n, one;
  EXCEPTION WHEN insufficient_privilege OR undefined_function THEN
    RETURN;
  END;
  IF n OPERATOR(pg_catalog.>) 0 THEN
    RAISE EXCEPTION '% in the way of %: row %', CASE WHEN n OPERATOR(pg_catalog.=) 1 THEN '1 row stands' ELSE pg_catalog.concat(n, ' rows stand') END, pg_catalog.jsonb_extract_path_text(item, 'name'), one
      USING ERRCODE = '23514',
            HINT = pg_catalog.format('It was not added. Correct them: SELECT * FROM %s AS %s WHERE %s; then SELECT backfill.retry(%L).', backfill.relation_name(relation), alias, breaks, job.name);
  END IF;
END
$$;

-- Before a step that looks names up: it has the lock that its command takes, of each partition too, which would look them up once more when it has waited for it.
CREATE OR REPLACE FUNCTION backfill.hold_tree(ticket bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', backfill.relation_name((backfill.own_job(ticket)).target));
EXCEPTION WHEN insufficient_privilege THEN  -- an owner who has taken UPDATE from himself, whose commands get it all the same
  NULL;
END
$$;

-- Beside the step that adds a column, in its transaction: backfill.check_added_type. Before it, with the lock that it takes: a statement that waits for it would look the type up when it has it. Behind it,
-- of each partition's column.
CREATE OR REPLACE FUNCTION backfill.check_new_column(ticket bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job   backfill.job := backfill.own_job(ticket);
BEGIN
  PERFORM backfill.hold_tree(ticket);
  PERFORM backfill.check_added_type(job, to_regtype(job.plan -> 'column' ->> 'type'));
  PERFORM backfill.check_added_type(job, a.atttypid)
     FROM pg_attribute a
    WHERE a.attrelid IN (SELECT job.target::oid UNION SELECT t.relid FROM backfill.partitions_of(job.target) t) AND a.attname = job.plan -> 'column' ->> 'name' AND NOT a.attisdropped;
END
$$;

-- Beside the step that adds a CHECK, before it and behind it, in its transaction: its names mean what they meant at INSERT. What another role has put under one of them stays in the table for good.
CREATE OR REPLACE FUNCTION backfill.check_item_names(ticket bigint, name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job  backfill.job := backfill.own_job(ticket);
  item jsonb := (SELECT i FROM jsonb_array_elements(job.plan -> 'enforce') i WHERE i ->> 'name' = check_item_names.name);
BEGIN
  IF item #>> '{names,home}' = backfill.home(0) AND item #>> '{names,mean}' <> backfill.names_here(job, item ->> 'definition') THEN
    RAISE EXCEPTION 'a name in % may mean something else by now than when the job was inserted', name
      USING ERRCODE = '42704', HINT = format('A function, an operator, a type or a schema of such a name was made, made anew or renamed. See that each is the one that you mean; then SELECT backfill.retry(%L).', job.name);
  END IF;
END
$$;

-- Beside a foreign key that a step has just added, in its transaction: it references the table that was meant at INSERT.
CREATE OR REPLACE FUNCTION backfill.check_reference(ticket bigint, name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job  backfill.job := backfill.own_job(ticket);
  item jsonb := (SELECT i FROM jsonb_array_elements(job.plan -> 'enforce') i WHERE i ->> 'name' = check_reference.name);
BEGIN
  IF backfill.referenced_table(item) <> (SELECT k.confrelid FROM pg_constraint k WHERE k.conrelid = job.target AND k.conname = check_reference.name) THEN
    RAISE EXCEPTION 'the table that is to be referenced has another name' USING ERRCODE = 'BF001', HINT = 'This step was undone.';
  END IF;
END
$$;

-- No row breaks what is to be added, as of now.
CREATE OR REPLACE FUNCTION backfill.note_look(ticket bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE backfill.job SET guard_looked_at = clock_timestamp() WHERE id = (backfill.own_job(note_look.ticket)).id
$$;

-- Runs the commands of one step in one transaction. They name the relation as it is called; when another one stands under that
-- name by now, or the step is not wanted any more, BF001 undoes them. Asked first, and again at the end, when the commands have locked
-- what they found. $1 in a command: the ticket.
CREATE OR REPLACE FUNCTION backfill.run_step(phase text, commands text[], relation oid, name text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  command pg_catalog.text;
  work    backfill.work;
  since   pg_catalog.xid;
BEGIN
  PERFORM backfill.check_brake();
  since := backfill.check_name(relation, name);
  work := backfill.begin_work();
  PERFORM backfill.check_session(work);
  FOREACH command IN ARRAY commands LOOP
    EXECUTE command USING (work).ticket;
    PERFORM backfill.restore_session(work);
  END LOOP;
  SET CONSTRAINTS ALL IMMEDIATE;
  PERFORM backfill.restore_session(work);
  PERFORM backfill.check_prepared();
  PERFORM backfill.check_name(relation, name, since);
  IF NOT backfill.step_is_wanted((work).ticket, phase) THEN
    RAISE EXCEPTION 'the job is not in phase % any more', phase USING ERRCODE = 'BF001', HINT = 'This step was undone.';
  END IF;
END
$$;

-- BEFORE UPDATE of a job that is asked to run again, when backfill.check_asked has said yes: the rows that it left behind because of an
-- error, each as a range of its own, and whatever it had not reached when it failed, with those that were locked. What is done is not
-- done twice.
CREATE OR REPLACE FUNCTION backfill.job_retry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM backfill.check_own_trigger(TG_RELID);
  NEW.asked := NULL;
  -- Whoever asks for that takes the type, which is the table's owner's, and what names mean, as of now (backfill.check_added_type, check_item_names).
  IF NEW.plan ? 'column' THEN
    NEW.plan := jsonb_set(NEW.plan, '{column}', (NEW.plan -> 'column') - 'noted' || jsonb_strip_nulls(jsonb_build_object(
                  'noted', (SELECT backfill.noted(t.oid) FROM pg_type t WHERE t.oid >= 16384 AND format_type(t.oid, NULL) = regexp_replace(NEW.plan -> 'column' ->> 'type', '\([^()"]*\)', '')),
                  'noted_collation', (SELECT backfill.noted(l.oid) FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                                       WHERE format('%I.%I', n.nspname, l.collname) = NEW.plan -> 'column' ->> 'collation' ORDER BY l.collencoding DESC LIMIT 1))));
  END IF;
  IF NEW.plan ? 'enforce' THEN
    NEW.plan := jsonb_set(NEW.plan, '{enforce}', coalesce((SELECT jsonb_agg(backfill.note_item_names(NEW, i) ORDER BY ord) FROM jsonb_array_elements(NEW.plan -> 'enforce') WITH ORDINALITY AS e(i, ord)), '[]'));
  END IF;
  DELETE FROM backfill.left_behind l WHERE l.job_id = NEW.id AND l.reason = 'duplicate';
  -- Whoever asks for that has the keys as they were (backfill.rewritten).
  UPDATE backfill.range g SET key_identity = backfill.without_traces(g.key_identity) WHERE g.job_id = NEW.id AND NOT g.done;
  UPDATE backfill.left_behind l SET key_identity = backfill.without_traces(l.key_identity) WHERE l.job_id = NEW.id;
  WITH again AS (
    DELETE FROM backfill.left_behind l WHERE l.job_id = NEW.id AND l.reason = 'error' RETURNING l.*)
  INSERT INTO backfill.range (job_id, submitted_by, submitted_by_oid, epoch, relation, key, key_identity, home, lower, upper)
  SELECT NEW.id, NEW.submitted_by, NEW.submitted_by_oid, backfill.random_number(), a.relation, a.key_columns, a.key_identity, a.home, a.key, a.key FROM again a;
  GET DIAGNOSTICS NEW.again = ROW_COUNT;
  NEW.again := NEW.again + (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = NEW.id);
  IF NEW.again = 0 AND NEW.state <> 'failed' THEN
    RETURN NEW;
  END IF;
  NEW.state := 'queued';
  NEW.wanted := 'run';
  NEW.phase := CASE WHEN NEW.again > 0 AND NEW.phase IN ('guard', 'verify', 'validate') THEN 'backfill' ELSE NEW.phase END;
  NEW.guard_looked_at := NULL; NEW.error := NULL; NEW.hint := NULL; NEW.started_at := NULL; NEW.finished_at := NULL;
  RETURN backfill.keep_hours(NEW);
END
$$;

-- AFTER UPDATE of one that is to be forgotten.
CREATE OR REPLACE FUNCTION backfill.job_forget() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM backfill.check_own_trigger(TG_RELID);
  DELETE FROM backfill.job j WHERE j.id = NEW.id;
  RETURN NULL;
END
$$;

-- They fire behind job_before_update: by name.
CREATE OR REPLACE TRIGGER job_retry BEFORE UPDATE OF asked ON backfill.job
  FOR EACH ROW WHEN (NEW.asked = 'retry') EXECUTE FUNCTION backfill.job_retry();
CREATE OR REPLACE TRIGGER job_forget AFTER UPDATE OF asked ON backfill.job
  FOR EACH ROW WHEN (NEW.asked = 'forget') EXECUTE FUNCTION backfill.job_forget();
