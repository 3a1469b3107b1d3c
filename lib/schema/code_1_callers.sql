-- Whose rights count. Whoever chose the text runs it: the login that ran INSERT, and SET ROLE from it. What a function of somebody else
-- did in between (SECURITY DEFINER), or the server in the name of a table's owner (ANALYZE, autovacuum, REINDEX, an index's function),
-- is the deed of the role whose code that was: current_user, as if it had logged in itself.
--
-- That is one rule, here: backfill.login() says who counts as logged in, current_user is who acts. INSERT, UPDATE, the policies and all
-- that steers a job ask it, and therefore run with the caller's rights. In a SECURITY DEFINER function of ours current_user is the
-- schema's owner, and session_user says nothing of who calls: so those steer nothing. They are trigger functions, which nobody can call,
-- and what a worker's session needs, which shows its job's token, or an epoch, that nobody else can know.

CREATE OR REPLACE FUNCTION backfill.role_oid(name name) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.oid FROM pg_roles r WHERE r.rolname = role_oid.name
$$;

CREATE OR REPLACE FUNCTION backfill.role_name(role oid) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.rolname FROM pg_roles r WHERE r.oid = role_name.role
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
  RAISE EXCEPTION 'job "%" belongs to %', job.name, job.submitted_by
    USING ERRCODE = '42501', HINT = format('Only the role that submitted a job, or its owner, may change it: log in as %I%s, or ask whoever may.', job.submitted_by,
                                           CASE WHEN job.owner <> job.submitted_by THEN format(', or SET ROLE %I', job.owner) ELSE '' END);
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

-- The job that a token is of. The worker's session can't read the table itself: row_security is off there, by which a policy is an error.
CREATE OR REPLACE FUNCTION backfill.own_job(token bigint) RETURNS backfill.job
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT j
    FROM backfill.token t JOIN backfill.job j ON j.id = t.job_id
   WHERE t.token = own_job.token AND j.submitted_by_oid = backfill.role_oid(session_user)
$$;
