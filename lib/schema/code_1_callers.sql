-- Whose rights count. Whoever chose the text runs it: the login that ran INSERT, and SET ROLE from it. What a function of somebody else
-- did in between (SECURITY DEFINER), or the server in the name of a table's owner (ANALYZE, autovacuum, REINDEX, an index's function),
-- is the deed of the role whose code that was: current_user, as if it had logged in itself.
--
-- That is one rule, here: backfill.login() says who counts as logged in, current_user is who acts. INSERT, UPDATE, the policies and all
-- that steers a job ask it, and therefore run with the caller's rights. In a SECURITY DEFINER function of ours current_user is the
-- schema's owner, and session_user says nothing of who calls: so those steer nothing. They are trigger functions, which nobody can call,
-- and what a worker's session needs, which is known for one by itself (below).

CREATE OR REPLACE FUNCTION backfill.role_oid(name name) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (SELECT r.oid FROM pg_roles r WHERE r.rolname = role_oid.name);
END
$$;

CREATE OR REPLACE FUNCTION backfill.role_name(role oid) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.rolname FROM pg_roles r WHERE r.oid = role_name.role
$$;

-- As whom somebody acts as an owner: pg_database_owner can be granted nothing, not even the right to submit jobs, so who owns the database.
CREATE OR REPLACE FUNCTION backfill.acting_owner(owner oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT quote_ident(r.rolname)
    FROM pg_roles r
   WHERE r.oid = CASE acting_owner.owner::regrole WHEN 'pg_database_owner'::regrole THEN (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database()) ELSE acting_owner.owner END
$$;

-- What to do when an event trigger of the database has refused a command to a session (whose: which). That it was one, only the place tells where the
-- error came from, its CONTEXT: the function's name stands in it in every language. NULL: it was none.
CREATE OR REPLACE FUNCTION backfill.event_trigger_hint(context text, whose text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('Event trigger %I of this database (function %s) refuses it. Have its owner let %s pass, or ALTER EVENT TRIGGER %I DISABLE meanwhile.',
                e.evtname, e.evtfoid::regprocedure, whose, e.evtname)
    FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace,
         -- with its schema, or without where the session's path has that; never another's of that name in a schema of theirs
         LATERAL (SELECT least(nullif(strpos(context, format(' %I.%I()', n.nspname, p.proname)), 0), nullif(strpos(context, format(' %I()', p.proname)), 0)) AS place) AS f
   WHERE e.evtenabled <> 'D' AND f.place IS NOT NULL
   ORDER BY f.place, e.evtname
   LIMIT 1
$$;

-- Whether the current user came from the session's login by SET ROLE alone. Under SET ROLE the names alone don't tell: ANALYZE of a table
-- of that very role runs its code as it, too. There the server is asked, which refuses SET ROLE inside of both. What is set is undone.
CREATE OR REPLACE FUNCTION backfill.is_plain_caller() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  role text := current_setting('role');
BEGIN
  IF role = 'none' THEN
    RETURN current_user = session_user;
  ELSIF current_user::text <> role THEN
    RETURN false;
  END IF;
  BEGIN
    PERFORM set_config('role', role, true);
    RAISE EXCEPTION USING ERRCODE = 'BF900';
  EXCEPTION
    WHEN SQLSTATE 'BF900' THEN
      RETURN true;
    WHEN insufficient_privilege THEN
      RETURN false;
  END;
END
$$;

-- Who counts as logged in.
CREATE OR REPLACE FUNCTION backfill.login() RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT backfill.role_oid(CASE WHEN backfill.is_plain_caller() THEN session_user ELSE current_user END)
$$;

-- A role of a job as it is known here: by its OID, though it may be gone by now; of a restored job by its name, NULL when there is none.
-- Where both fit there is nothing to ask: is_here reads a file.
CREATE OR REPLACE FUNCTION backfill.role_here(noted oid, name name, job backfill.job) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN backfill.role_name(noted) = name OR backfill.is_here(job) THEN noted ELSE backfill.role_oid(name) END
$$;

-- Who logs in for a job, and the role that its session then sets.
CREATE OR REPLACE FUNCTION backfill.login_of(job backfill.job) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT backfill.role_here(job.submitted_by_oid, job.submitted_by, job)
$$;

CREATE OR REPLACE FUNCTION backfill.role_of(job backfill.job) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT backfill.role_here(job.owner_oid, job.owner, job)
$$;

-- Whether the login that submitted a job is there still, and may become the role that the job runs as.
CREATE OR REPLACE FUNCTION backfill.login_is_there(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_roles l JOIN pg_roles o ON o.oid = backfill.role_of(job)
                  WHERE l.oid = backfill.login_of(job) AND l.rolcanlogin AND pg_has_role(l.oid, o.oid, 'MEMBER'))
$$;

-- A trigger's function has the rights of its owner on whatever table it is a trigger of: who may execute it, by GRANT ... ON ALL FUNCTIONS, could make it one
-- of theirs.
CREATE OR REPLACE FUNCTION backfill.check_own_trigger(relation oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF relation <> 'backfill.job'::regclass THEN
    RAISE EXCEPTION '% is no table of backfilld''s', relation::regclass USING ERRCODE = '42501', HINT = 'Drop this trigger: its function is backfill.job''s.';
  END IF;
END
$$;

-- Which role of a job was dropped, in words; NULL: none.
CREATE OR REPLACE FUNCTION backfill.who_is_gone(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I, %s, is gone%s', g.name, g.what, CASE WHEN backfill.role_oid(g.name) IS NOT NULL THEN ': who bears the name now is another role' ELSE '' END)
    FROM (VALUES (1, job.submitted_by, 'who submitted the job', backfill.login_of(job)),
                 (2, job.owner, 'as whom the job runs', backfill.role_of(job))) AS g(ord, name, what, oid)
   WHERE backfill.role_name(g.oid) IS NULL
   ORDER BY g.ord LIMIT 1
$$;

-- What there is to do then.
CREATE OR REPLACE FUNCTION backfill.login_is_gone(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s. Whoever has the rights of the table''s owner%s goes on with it by SELECT backfill.retry(%L), or ends it by SELECT backfill.cancel(%L).',
                g.who, (SELECT format(', %s,', c.relowner::regrole) FROM pg_class c WHERE c.oid = job.target), job.name, job.name)
    FROM backfill.who_is_gone(job) AS g(who)
   WHERE g.who IS NOT NULL
$$;

-- Whether who acts has a say in a job by its role; or, when its login is gone, by the rights of the table's owner.
CREATE OR REPLACE FUNCTION backfill.may_end(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(backfill.role_of(job) = backfill.role_oid(current_user), false)
      OR (NOT backfill.login_is_there(job) AND EXISTS (SELECT FROM pg_class c WHERE c.oid = job.target AND pg_has_role(current_user, c.relowner, 'USAGE')))
$$;

-- Whether who acts may see and steer a job: its login may, too.
CREATE OR REPLACE FUNCTION backfill.may_steer(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(backfill.login_of(job) = backfill.login(), false) OR backfill.may_end(job)
$$;

-- Whether who acts has the rights of the owner of a job's table, or of the partitioned one above it. He sees the job, and may have it paused or
-- cancelled, whoever submitted it: it keeps his own jobs off the table. He can't have it run, for the code of his triggers would run with the
-- rights of that login, as often as he likes.
CREATE OR REPLACE FUNCTION backfill.owns_table(target regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_class c WHERE c.oid = target AND pg_has_role(current_user, c.relowner, 'USAGE'))
$$;

-- Whether who acts may write to a table, or to a partition of it, and so insert jobs there.
CREATE OR REPLACE FUNCTION backfill.may_write(root oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM (SELECT root AS relid UNION ALL SELECT p.relid FROM backfill.partitions_of(root) p) r
                  WHERE has_any_column_privilege(r.relid, 'UPDATE') OR has_any_column_privilege(r.relid, 'INSERT') OR has_table_privilege(r.relid, 'DELETE'));
END
$$;

-- Whether who acts sees a job's row.
CREATE OR REPLACE FUNCTION backfill.sees(job_id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM backfill.job j WHERE j.id = sees.job_id);
END
$$;

-- Of the tables and partitions that a job works on, the first on which its role lacks a right: in words, and what gives it; NULL: none. What
-- single columns need is the server's to say. of_definition: what a step needs, which changes the definition of all of them.
CREATE OR REPLACE FUNCTION backfill.missing_right(job backfill.job, role oid, of_definition boolean, OUT problem text, OUT advice text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT format('role %I %s on %s, which belongs to %s', backfill.role_name(role),
                CASE WHEN of_definition THEN 'lacks the owner''s rights' ELSE 'has no right to ' || array_to_string(t.lacks, ' and ') END,
                t.what, t.owner),
         CASE WHEN of_definition THEN format('ALTER TABLE %s OWNER TO %I, or GRANT %s TO %I;', t.name, backfill.role_name(role), t.owner, backfill.role_name(role))
              ELSE format('As %s: GRANT %s ON %s TO %I;', t.owner, array_to_string(t.lacks, ', '), t.name, backfill.role_name(role)) END
    INTO problem, advice
    FROM (SELECT r.oid, backfill.relation_name(r.oid) AS name, c.relowner::regrole::text AS owner,
                 CASE WHEN r.oid = job.target THEN backfill.relation_name(r.oid)
                      ELSE format('partition %s of %s', backfill.relation_name(r.oid), backfill.relation_name(job.target)) END AS what,
                 CASE WHEN of_definition THEN CASE WHEN NOT pg_has_role(role, c.relowner, 'USAGE') THEN '{}'::text[] END
                      ELSE nullif(array_remove(ARRAY[CASE WHEN NOT has_any_column_privilege(role, r.oid, 'SELECT') THEN 'SELECT' END,
                                                     CASE WHEN NOT has_any_column_privilege(role, r.oid, 'UPDATE') THEN 'UPDATE' END], NULL), '{}') END AS lacks
            FROM (SELECT job.target::oid AS oid WHERE of_definition
                  UNION SELECT p.relid FROM backfill.partitions_of(job.target) p WHERE of_definition
                  UNION SELECT o FROM backfill.relations_of(job) o WHERE NOT of_definition AND job.set_clause IS NOT NULL) r
            JOIN pg_class c ON c.oid = r.oid) t
   WHERE t.lacks IS NOT NULL
   ORDER BY t.oid <> job.target, t.oid
   LIMIT 1;
END
$$;

-- ---- Refusals

-- Names like one that there is no job of, of those that the caller may see: "Did you mean a, b? ".
CREATE OR REPLACE FUNCTION backfill.did_you_mean(name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce((SELECT format('Did you mean %s? ', string_agg(quote_literal(n.name), ', ' ORDER BY n.name))
    FROM (SELECT left(j.name, 100) AS name
            FROM backfill.job j, regexp_replace(lower(j.name), '[^[:alnum:]]', '', 'g') AS has, regexp_replace(lower(left(did_you_mean.name, 200)), '[^[:alnum:]]', '', 'g') AS said
           WHERE said <> '' AND (has = said OR strpos(has, said) > 0 OR strpos(said, has) > 0 AND length(has) > 2
                 OR left(has, greatest(length(said) / 2, 3)) = left(said, greatest(length(said) / 2, 3))
                 OR right(has, greatest(length(said) / 2, 3)) = right(said, greatest(length(said) / 2, 3)))
           ORDER BY has <> said, abs(length(has) - length(said)), j.id DESC LIMIT 3) n
  HAVING count(*) > 0), '')
$$;

-- Somebody else's job, which the caller may only see.
CREATE OR REPLACE FUNCTION backfill.refuse_to_steer(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'job "%" on % belongs to %', job.name, coalesce(backfill.relation_name(job.target), 'a table that was dropped'), job.submitted_by
    USING ERRCODE = '42501', HINT = CASE
      WHEN backfill.owns_table(job.target) OR backfill.owns_table(job.root)
      THEN format('As the owner of its table you may pause and cancel it: SELECT backfill.pause(%L), or backfill.cancel(%L). The rest is %s''s.', job.name, job.name, job.submitted_by)
      ELSE format('Only the role that submitted a job, or that it runs as, may change it: log in as %I%s, or ask whoever may.%s', job.submitted_by,
                  CASE WHEN job.owner <> job.submitted_by THEN format(', or SET ROLE %I', job.owner) ELSE '' END,
                  (SELECT format(' The owner of its table, %s, may pause and cancel it.', c.relowner::regrole) FROM pg_class c WHERE c.oid = job.target)) END;
END
$$;

-- ---- Numbers

-- A number that nobody can guess: the epoch of a range, the token of a job.
CREATE OR REPLACE FUNCTION backfill.random_number() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ('x' || encode(substr(sha256(uuid_send(gen_random_uuid())), 1, 8), 'hex'))::bit(64)::bigint & 9223372036854775807
$$;

-- ---- A worker's session

-- Whether the session's login is the role that a job was submitted by: it was looked up by its name.
CREATE OR REPLACE FUNCTION backfill.check_login(login oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF backfill.role_oid(session_user) IS DISTINCT FROM login THEN
    RAISE EXCEPTION '% is another role than the one that submitted the job', session_user
      USING ERRCODE = '28000', HINT = 'The role was dropped, and made again under its name. Insert the job again.';
  END IF;
END
$$;

-- The session of a job's worker runs code of others: triggers, cascades of a foreign key, functions in the clauses, some of it with another
-- role's rights, some at COMMIT. Such code may call whatever the session may call, read what the server tells of it (the text of a statement,
-- the context of an error), and change its settings. So nothing here relies on a secret that passes through the session:
--
-- - Who is the worker? The process that has shown the job's token, once, as the first that it did (begin_session). From then on it is known
--   by its pid, which no other session has.
-- - Does the daemon call, or code of others within what it has called? What the daemon calls begins a transaction and is its only statement.
--   So begin_work asks that no statement has written before, and writes itself: once in a transaction, before any code of others has run,
--   and not at its COMMIT. And the client's own statement has to be a plain call: a prepared one of the daemon's may have been replaced.
-- - begin_work gives its caller a ticket, which stays in variables of plpgsql: it stands in no statement's text and is no statement's
--   parameter. Whatever concludes something asks for it.
-- - What the session's settings are is noted when it begins. They are compared before each transaction, and set again after all code of others.

-- The names of the settings that a worker's session rests on, and what they are: in the same order. Written out, since it is asked in each batch.
-- The first eight are what triggers leave behind now and then (main_settings_now): that costs no session.
CREATE OR REPLACE FUNCTION backfill.setting_names() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '{role, search_path, row_security, client_min_messages, statement_timeout, lock_timeout, DateStyle, TimeZone,
           client_encoding, standard_conforming_strings, quote_all_identifiers, default_transaction_isolation, idle_session_timeout,
           idle_in_transaction_session_timeout, synchronous_commit, IntervalStyle, bytea_output, extra_float_digits, transform_null_equals, xmlbinary,
           xmloption, lc_monetary, lc_numeric, lc_time, default_text_search_config, plan_cache_mode, enable_seqscan, enable_sort, default_tablespace,
           log_parameter_max_length_on_error, backfilld.brake, default_transaction_read_only, exit_on_error, array_nulls, timezone_abbreviations, backslash_quote,
           gin_fuzzy_search_limit, default_transaction_deferrable, enable_indexscan, enable_indexonlyscan, enable_bitmapscan, enable_tidscan, enable_nestloop, jit, backend_flush_after,
           check_function_bodies, restrict_nonsystem_relation_kind}'::text[]
$$;

CREATE OR REPLACE FUNCTION backfill.main_settings_now() RETURNS text[]
LANGUAGE sql STABLE
AS $$
  SELECT ARRAY[
    pg_catalog.current_setting('role'), pg_catalog.current_setting('search_path'), pg_catalog.current_setting('row_security'),
    pg_catalog.current_setting('client_min_messages'), pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('lock_timeout'),
    pg_catalog.current_setting('DateStyle'), pg_catalog.current_setting('TimeZone')]
$$;

CREATE OR REPLACE FUNCTION backfill.settings_now() RETURNS text[]
LANGUAGE sql STABLE
AS $$
  SELECT ARRAY[
    pg_catalog.current_setting('role'), pg_catalog.current_setting('search_path'), pg_catalog.current_setting('row_security'),
    pg_catalog.current_setting('client_min_messages'), pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('lock_timeout'),
    pg_catalog.current_setting('DateStyle'), pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('client_encoding'),
    pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('quote_all_identifiers'),
    pg_catalog.current_setting('default_transaction_isolation'), pg_catalog.current_setting('idle_session_timeout'),
    pg_catalog.current_setting('idle_in_transaction_session_timeout'), pg_catalog.current_setting('synchronous_commit'),
    pg_catalog.current_setting('IntervalStyle'), pg_catalog.current_setting('bytea_output'), pg_catalog.current_setting('extra_float_digits'),
    pg_catalog.current_setting('transform_null_equals'), pg_catalog.current_setting('xmlbinary'), pg_catalog.current_setting('xmloption'),
    pg_catalog.current_setting('lc_monetary'), pg_catalog.current_setting('lc_numeric'), pg_catalog.current_setting('lc_time'),
    pg_catalog.current_setting('default_text_search_config'), pg_catalog.current_setting('plan_cache_mode'),
    pg_catalog.current_setting('enable_seqscan'), pg_catalog.current_setting('enable_sort'), pg_catalog.current_setting('default_tablespace'),
    pg_catalog.current_setting('log_parameter_max_length_on_error'), pg_catalog.current_setting('backfilld.brake', true), pg_catalog.current_setting('default_transaction_read_only'),
    pg_catalog.current_setting('exit_on_error'), pg_catalog.current_setting('array_nulls'), pg_catalog.current_setting('timezone_abbreviations'), pg_catalog.current_setting('backslash_quote'),
    pg_catalog.current_setting('gin_fuzzy_search_limit'), pg_catalog.current_setting('default_transaction_deferrable'), pg_catalog.current_setting('enable_indexscan'),
    pg_catalog.current_setting('enable_indexonlyscan'), pg_catalog.current_setting('enable_bitmapscan'), pg_catalog.current_setting('enable_tidscan'), pg_catalog.current_setting('enable_nestloop'),
    pg_catalog.current_setting('jit'), pg_catalog.current_setting('backend_flush_after'), pg_catalog.current_setting('check_function_bodies'), pg_catalog.current_setting('restrict_nonsystem_relation_kind', true)]
$$;

-- Of settings that a job names itself, those that stand not among these, as they are.
CREATE OR REPLACE FUNCTION backfill.own_settings_now(settings jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  RETURN (SELECT pg_catalog.jsonb_object_agg(k.name, pg_catalog.current_setting(k.name, true))
            FROM pg_catalog.jsonb_object_keys(settings) AS k(name)
           WHERE NOT pg_catalog.starts_with(pg_catalog.lower(k.name), 'backfilld.')
             AND pg_catalog.lower(k.name) OPERATOR(pg_catalog.<>) ALL (pg_catalog.lower(backfill.setting_names()::pg_catalog.text)::pg_catalog.text[]));
END
$$;

-- This session is the worker of the job that a token is of: the first that it does. pinned, own: what its settings are.
CREATE OR REPLACE FUNCTION backfill.begin_session(token bigint, pinned text[], own jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE backfill.token t SET worker = NULL, ticket = NULL WHERE t.worker = pg_backend_pid();  -- of a session that is gone
  UPDATE backfill.token t
     SET worker = pg_backend_pid(), since = backfill.session_start(), ticket = backfill.random_number(), pinned = begin_session.pinned, own = begin_session.own
    FROM backfill.job j
   WHERE t.token = begin_session.token AND j.id = t.job_id
     AND backfill.role_oid(session_user) IN (j.submitted_by_oid, (backfill.tidied_by(j)).login_oid);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the job is not this daemon''s any more' USING ERRCODE = 'BF001';
  END IF;
END
$$;

-- Whether this session is not a job's worker: what a job sets off neither inserts jobs nor steers them. Whoever wrote that has not chosen to, and
-- whoever inserted the job has not chosen that.
CREATE OR REPLACE FUNCTION backfill.check_outside() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM backfill.token t WHERE t.worker = pg_backend_pid() AND t.since IS NOT DISTINCT FROM backfill.session_start()) THEN
    RAISE EXCEPTION 'what a job sets off, a trigger or a function, wants to insert a job or to steer one'
      USING ERRCODE = '42501', HINT = 'Jobs are inserted and steered in sessions of their own, not by the rows that another one writes.';
  END IF;
END
$$;

-- Begins what a worker does in one transaction. Read-only looks end it without a trace, but for the transaction's number. in_step: a batch has to ask backfill.check_meaning.
CREATE OR REPLACE FUNCTION backfill.begin_work() RETURNS backfill.work
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  mine   backfill.token;
  target oid;
  lost   text[];
BEGIN
  SELECT t.* INTO mine FROM backfill.token t WHERE t.worker = pg_backend_pid();
  SELECT j.target INTO target FROM backfill.job j WHERE j.id = mine.job_id AND backfill.is_of_schema(j.home);
  IF NOT FOUND THEN  -- nor is it that of a dump's
    RAISE EXCEPTION 'this session is not, or no more, the worker of a job' USING ERRCODE = 'BF006';  -- the job was taken anew: the daemon that has done so begins one
  ELSIF pg_current_xact_id_if_assigned() IS NOT NULL OR current_query() !~ '^SELECT [a-z_, \n]*?(?:FROM )?backfill\.[a-z_]+\([$0-9, ]*\)$' THEN
    RAISE EXCEPTION 'what a job''s worker calls was called from within its own session'
      USING ERRCODE = '42501', HINT = 'A trigger, a function or a foreign key''s cascade that the job sets off has done so. See which, and take the call out of it.';
  END IF;
  -- A session that has become a role stays it, whatever is revoked meanwhile.
  lost := (SELECT ARRAY[o.rolname::text, j.name] FROM backfill.job j JOIN pg_roles o ON o.oid = j.owner_oid WHERE j.id = mine.job_id AND NOT pg_has_role(session_user, o.oid, 'MEMBER'));
  IF lost IS NOT NULL AND NOT EXISTS (  -- what is taken out of the table is by the role of who asked for it, where the job's login is gone
       SELECT FROM backfill.job j, backfill.tidied_by(j) t WHERE j.id = mine.job_id AND backfill.takes_all(j) AND t.login = session_user AND pg_has_role(session_user, t.role, 'MEMBER')) THEN
    RAISE EXCEPTION '% may not become % any more, the role of the job', quote_ident(session_user), quote_ident(lost[1])
      USING ERRCODE = '42501', HINT = format('GRANT %I TO %I, then SELECT backfill.retry(%L).', lost[1], session_user, lost[2]);
  END IF;
  PERFORM pg_current_xact_id();  -- who comes later finds it
  PERFORM set_config('backfilld.batch', coalesce(mine.mark, 'on'), true);  -- for triggers that ask
  RETURN ROW(mine.ticket, mine.pinned, mine.own, mine.mark IS NOT NULL, mine.words, mine.reads, mine.types, mine.names, target);
END
$$;

-- Whether a ticket is this session's, for a job. Its functions can't read the table themselves: row_security is off there, by which a policy is an error.
CREATE OR REPLACE FUNCTION backfill.own_job(ticket bigint) RETURNS backfill.job
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT j
    FROM backfill.token t JOIN backfill.job j ON j.id = t.job_id
   WHERE t.worker = pg_backend_pid() AND t.ticket = own_job.ticket AND j.submitted_by_oid = backfill.role_oid(session_user)
$$;

-- The name of a setting that is another than it was when the session began; NULL: none.
CREATE OR REPLACE FUNCTION backfill.changed_settings(work backfill.work) RETURNS TABLE (name text, was text)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  now pg_catalog.text[] := backfill.settings_now();
BEGIN
  RETURN QUERY
  SELECT u.name, u.was
    FROM ROWS FROM (pg_catalog.unnest(backfill.setting_names()), pg_catalog.unnest((work).pinned), pg_catalog.unnest(now)) AS u(name, was, now)
   WHERE pg_catalog.record_image_ne(ROW(u.was), ROW(u.now))
   UNION ALL
  SELECT o.key, o.value
    FROM pg_catalog.jsonb_each_text((work).own) AS o
   WHERE pg_catalog.record_image_ne(ROW(o.value), ROW(pg_catalog.current_setting(o.key, true)));
END
$$;

-- Before a worker's transaction: nobody has changed what the session rests on since the last one was looked at, at its COMMIT. Then nothing
-- of the session is worth keeping.
CREATE OR REPLACE FUNCTION backfill.check_session(work backfill.work) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  name pg_catalog.text;
BEGIN
  IF pg_catalog.array_eq(backfill.settings_now(), (work).pinned) AND (work).own IS NULL THEN
    RETURN;
  END IF;
  SELECT c.name INTO name FROM backfill.changed_settings(work) c LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'something has changed % of the job''s session at the end of a batch: it is opened anew', name USING ERRCODE = 'BF006';
  END IF;
END
$$;

-- After code of others has run: what the session rests on is set again. A trigger that sets a search_path, and leaves it so, is common.
CREATE OR REPLACE FUNCTION backfill.restore_session(work backfill.work) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  changed pg_catalog.record;
BEGIN
  IF pg_catalog.array_eq(backfill.settings_now(), (work).pinned) AND (work).own IS NULL THEN
    RETURN;
  END IF;
  FOR changed IN SELECT c.name, c.was FROM backfill.changed_settings(work) c WHERE c.was IS NOT NULL LOOP
    PERFORM pg_catalog.set_config(changed.name, changed.was, false);
  END LOOP;
END
$$;

-- The statement that the daemon has prepared for its batches: who puts another in its place has it run with the job's rights. BF007 ends the
-- job at once: nothing is sent to such a session any more, not even to look for a row whose fault it is.
CREATE OR REPLACE FUNCTION backfill.check_prepared() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_prepared_statement() p WHERE p.from_sql AND starts_with(p.name, 'kept ')) THEN
    RAISE EXCEPTION 'something that the job sets off has prepared a statement under the name of the daemon''s'
      USING ERRCODE = 'BF007', HINT = 'A trigger, a function or a foreign key''s cascade has done so: it is after the job''s rights.';
  END IF;
END
$$;

-- Other limits for what comes next in a worker's session. A batch may be lost with its checkpoint when the server crashes, a step not: the daemon
-- goes on from it.
CREATE OR REPLACE FUNCTION backfill.limit_session(statement_timeout text, synchronous_commit text, lock_timeout text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  work backfill.work := backfill.begin_work();
BEGIN
  PERFORM backfill.check_session(work);
  PERFORM pg_catalog.set_config('statement_timeout', statement_timeout, false),
          pg_catalog.set_config('synchronous_commit', CASE WHEN statement_timeout OPERATOR(pg_catalog.=) '0' AND synchronous_commit OPERATOR(pg_catalog.=) 'off' THEN 'local' ELSE synchronous_commit END, false),
          pg_catalog.set_config('lock_timeout', lock_timeout, false);
  PERFORM backfill.note_limits((work).ticket, backfill.settings_now());
END
$$;

CREATE OR REPLACE FUNCTION backfill.note_limits(ticket bigint, pinned text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE backfill.token t SET pinned = note_limits.pinned WHERE t.worker = pg_backend_pid() AND t.ticket = note_limits.ticket
$$;
