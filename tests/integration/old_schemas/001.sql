--
-- PostgreSQL database dump
--

\restrict lNqMwzODQfTveIlugilZodigdcNnOOEomdJBTu8bIoyE0No8dAIfYwlpKFAjkzK

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: backfill; Type: SCHEMA; Schema: -; Owner: backfilld
--

CREATE SCHEMA backfill;


ALTER SCHEMA backfill OWNER TO backfilld;

--
-- Name: SCHEMA backfill; Type: COMMENT; Schema: -; Owner: backfilld
--

COMMENT ON SCHEMA backfill IS 'backfilld: jobs that fill columns of live tables';


--
-- Name: active_hours_now(text, text, timestamp with time zone); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.active_hours_now(hours text, default_zone text, at timestamp with time zone, OUT open boolean, OUT changes_at timestamp with time zone, OUT zone text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET jit TO 'off'
    AS $$
DECLARE
  -- The pattern is a week's; one that the clocks' change leaves out opens a week later.
  horizon constant interval := '15 days';
BEGIN
  WITH windows AS MATERIALIZED (
    SELECT * FROM backfill.parse_active_hours(hours, default_zone)
  ), z AS MATERIALIZED (
    SELECT min(w.zone) AS zone FROM windows w
  ), clock AS MATERIALIZED (  -- what clocks on the wall are ahead of UTC, hour by hour
    SELECT h, (h AT TIME ZONE z.zone) - (h AT TIME ZONE 'UTC') AS ahead
      FROM z, generate_series(at - interval '1 hour', at + horizon, interval '1 hour') AS h
  ), moments AS (  -- where it may change: a window's start or end on the wall, or the wall clock itself is put
    SELECT ((d + make_interval(mins => b.minute)) - c.ahead) AT TIME ZONE 'UTC' AS moment
      FROM generate_series(((at AT TIME ZONE 'UTC')::date - 3)::timestamp, (at AT TIME ZONE 'UTC') + horizon, interval '1 day') AS d,
           (SELECT w.starts FROM windows w UNION SELECT w.ends FROM windows w) AS b(minute),
           (SELECT DISTINCT ahead FROM clock) AS c
    UNION
    SELECT m
      FROM (SELECT h, ahead, lag(ahead) OVER (ORDER BY h) AS before FROM clock) AS c,
           generate_series(date_trunc('minute', c.h) - interval '1 hour', c.h, interval '1 minute') AS m
     WHERE c.ahead <> c.before
  ), states AS (
    SELECT moment, EXISTS (
             SELECT FROM windows w
              WHERE (strpos(w.days, extract(isodow FROM wall)::text) > 0 AND minute >= w.starts AND minute < w.ends)
                 OR (strpos(w.days, extract(isodow FROM wall - interval '1 day')::text) > 0 AND minute + 1440 < w.ends)) AS is_open
      FROM (SELECT moment, wall, extract(hour FROM wall) * 60 + extract(minute FROM wall) AS minute
              FROM (SELECT at AS moment UNION SELECT moment FROM moments WHERE moment > at) AS m,
                   z, LATERAL (SELECT m.moment AT TIME ZONE z.zone AS wall) AS l) AS s
  ), now AS (
    SELECT s.is_open FROM states s WHERE s.moment = at
  )
  SELECT (SELECT is_open FROM now), min(s.moment) FILTER (WHERE s.is_open <> (SELECT is_open FROM now)), (SELECT z.zone FROM z)
    INTO open, changes_at, zone
    FROM states s;
END
$$;


ALTER FUNCTION backfill.active_hours_now(hours text, default_zone text, at timestamp with time zone, OUT open boolean, OUT changes_at timestamp with time zone, OUT zone text) OWNER TO backfilld;

--
-- Name: add_range(bigint, oid, text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.add_range(job_id bigint, relation oid, upper text[]) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  INSERT INTO backfill.range (job_id, submitted_by, relation, key, upper)
  SELECT j.id, j.submitted_by, add_range.relation, k.attnums, add_range.upper
    FROM backfill.job j,
         backfill.key_of(add_range.relation, backfill.key_numbers(add_range.relation, j.key)) k
   WHERE j.id = add_range.job_id AND backfill.is_held(j)
  ON CONFLICT (job_id, relation) WHERE lower IS NULL DO NOTHING  -- sent again after its answer was lost
$$;


ALTER FUNCTION backfill.add_range(job_id bigint, relation oid, upper text[]) OWNER TO backfilld;

--
-- Name: base_type(oid); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.base_type(type oid) RETURNS oid
    LANGUAGE sql STABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  WITH RECURSIVE below AS (
    SELECT base_type.type AS oid, 0 AS depth
    UNION ALL
    SELECT t.typbasetype, below.depth + 1
      FROM below
      JOIN pg_type t ON t.oid = below.oid AND t.typtype = 'd'
  )
  SELECT oid FROM below ORDER BY depth DESC LIMIT 1
$$;


ALTER FUNCTION backfill.base_type(type oid) OWNER TO backfilld;

--
-- Name: batch_condition(text, text[], text[], text[], boolean); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.batch_condition(prefix text, columns text[], types text[], collations text[], point boolean) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT CASE WHEN point
              THEN format('%s = %s', mine.key, hi.key)
              ELSE format('($1::text[] IS NULL OR %s > %s) AND %s <= %s', mine.key, lo.key, mine.key, hi.key) END
    FROM (SELECT CASE WHEN cardinality(columns) = 1 THEN max(col) ELSE 'ROW(' || string_agg(col, ', ' ORDER BY ord) || ')' END AS key
            FROM (SELECT u.ord, prefix || u.col || CASE u.coll WHEN '' THEN '' ELSE ' COLLATE ' || u.coll END AS col
                    FROM unnest(columns, collations) WITH ORDINALITY AS u(col, coll, ord)) c) mine,
         (SELECT CASE WHEN cardinality(columns) = 1 THEN max(val) ELSE 'ROW(' || string_agg(val, ', ' ORDER BY ord) || ')' END AS key
            FROM (SELECT ord, format('($1::text[])[%s]::%s', ord, type) AS val FROM unnest(types) WITH ORDINALITY AS u(type, ord)) v) lo,
         (SELECT CASE WHEN cardinality(columns) = 1 THEN max(val) ELSE 'ROW(' || string_agg(val, ', ' ORDER BY ord) || ')' END AS key
            FROM (SELECT ord, format('($2::text[])[%s]::%s', ord, type) AS val FROM unnest(types) WITH ORDINALITY AS u(type, ord)) v) hi
$_$;


ALTER FUNCTION backfill.batch_condition(prefix text, columns text[], types text[], collations text[], point boolean) OWNER TO backfilld;

--
-- Name: begin_phase(bigint, text, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.begin_phase(job_id bigint, phase text, estimate bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  UPDATE backfill.job j
     SET phase = begin_phase.phase, estimate = begin_phase.estimate
   WHERE j.id = job_id AND backfill.is_held(j);
  RETURN FOUND;
END
$$;


ALTER FUNCTION backfill.begin_phase(job_id bigint, phase text, estimate bigint) OWNER TO backfilld;

--
-- Name: cancel(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.cancel(name text) RETURNS void
    LANGUAGE sql
    AS $$ SELECT backfill.want(name, 'cancel') $$;


ALTER FUNCTION backfill.cancel(name text) OWNER TO backfilld;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: job; Type: TABLE; Schema: backfill; Owner: backfilld
--

CREATE TABLE backfill.job (
    id bigint NOT NULL,
    name text NOT NULL,
    target regclass NOT NULL,
    add_column text,
    set_clause text,
    where_clause text,
    statement text,
    keep_in_sync boolean DEFAULT false NOT NULL,
    enforce text[],
    drop_column text,
    scan text DEFAULT 'auto'::text NOT NULL,
    key text[],
    dry_run boolean DEFAULT false NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    workers integer,
    target_ms integer,
    max_rows_per_s integer,
    max_lag interval,
    throttle_off text[],
    on_error text DEFAULT 'fail'::text NOT NULL,
    active_hours text,
    settings jsonb,
    ignore text[],
    wanted text DEFAULT 'run'::text NOT NULL,
    submitted_by name NOT NULL,
    owner name NOT NULL,
    search_path text NOT NULL,
    time_zone text NOT NULL,
    date_style text NOT NULL,
    root regclass NOT NULL,
    state text DEFAULT 'queued'::text NOT NULL,
    phase text DEFAULT 'preflight'::text NOT NULL,
    error text,
    hint text,
    waiting_for text,
    opens_at timestamp with time zone,
    report jsonb,
    estimate bigint,
    holder_pid integer,
    holder_start timestamp with time zone,
    submitted_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT job_max_lag_check CHECK ((max_lag > '00:00:00'::interval)),
    CONSTRAINT job_max_rows_per_s_check CHECK ((max_rows_per_s > 0)),
    CONSTRAINT job_name_check CHECK ((name ~ '^[^[:cntrl:]]+$'::text)),
    CONSTRAINT job_on_error_check CHECK ((on_error = ANY (ARRAY['fail'::text, 'quarantine'::text]))),
    CONSTRAINT job_phase_check CHECK ((phase = ANY (ARRAY['preflight'::text, 'expand'::text, 'backfill'::text, 'guard'::text, 'verify'::text, 'validate'::text]))),
    CONSTRAINT job_scan_check CHECK ((scan = ANY (ARRAY['auto'::text, 'key'::text, 'ctid'::text]))),
    CONSTRAINT job_settings_check CHECK ((jsonb_typeof(settings) = 'object'::text)),
    CONSTRAINT job_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'paused'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT job_target_ms_check CHECK (((target_ms >= 1) AND (target_ms <= 10000))),
    CONSTRAINT job_wanted_check CHECK ((wanted = ANY (ARRAY['run'::text, 'pause'::text, 'cancel'::text, 'finish'::text]))),
    CONSTRAINT job_workers_check CHECK (((workers >= 1) AND (workers <= 64)))
);


ALTER TABLE backfill.job OWNER TO backfilld;

--
-- Name: check_active_hours(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_active_hours(job backfill.job) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  its_zone text;
BEGIN
  IF job.active_hours IS NULL THEN
    RETURN;
  END IF;
  SELECT w.zone INTO its_zone FROM backfill.parse_active_hours(job.active_hours, NULL) w LIMIT 1;
  IF its_zone IS NOT NULL AND NOT EXISTS (SELECT FROM pg_timezone_names t WHERE lower(t.name) = lower(its_zone)) THEN
    PERFORM backfill.refuse('active_hours', format('%L at character %s is no time zone''s full name', its_zone,
                                                   length(regexp_replace(job.active_hours, '\s+$', '')) - length(its_zone) + 1),
                            'Write Europe/Berlin, not CET or CEST; SELECT name FROM pg_timezone_names lists them.');
  END IF;
END
$_$;


ALTER FUNCTION backfill.check_active_hours(job backfill.job) OWNER TO backfilld;

--
-- Name: check_clauses(backfill.job, text[], text[], text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_clauses(job backfill.job, columns text[], types text[], collations text[]) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
  name  text := 'ONLY ' || backfill.relation_name(job.target);
  plan  jsonb;
BEGIN
  IF job.where_clause IS NOT NULL THEN
    PERFORM backfill.check_plan('where_clause', format(E'SELECT FROM %s WHERE %s', name, job.where_clause));
    PERFORM backfill.check_plan('where_clause', format(E'SELECT FROM %s WHERE (%s\n)', name, job.where_clause));
  END IF;
  IF job.set_clause IS NOT NULL THEN
    PERFORM backfill.check_plan('set_clause', format(E'UPDATE %s SET %s', name, job.set_clause));
    PERFORM backfill.check_plan('set_clause', (backfill.statements(job, job.target, columns, types, collations, false)).batch);
  END IF;
  IF job.statement IS NOT NULL THEN
    plan := backfill.check_plan('statement', backfill.place_batch(job.statement, columns, types, collations, false));
    IF plan ->> 'Node Type' <> 'ModifyTable' THEN
      PERFORM backfill.refuse('statement', 'is not an INSERT, UPDATE or DELETE', 'A job is there to change rows.', '42601');
    END IF;
    BEGIN
      PERFORM backfill.plan(backfill.place_batch(job.statement, columns, types, collations, false), with_parameters => false);
    EXCEPTION WHEN OTHERS THEN
      RETURN;  -- as it should be: without parameters there is no $1
    END;
    PERFORM backfill.refuse('statement', '{batch} stands in a comment or a string',
                            'Put {batch} into the WHERE clause, where the condition on the key belongs.', '42601');
  END IF;
END
$_$;


ALTER FUNCTION backfill.check_clauses(job backfill.job, columns text[], types text[], collations text[]) OWNER TO backfilld;

--
-- Name: check_job(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_job(job backfill.job) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  k record;
BEGIN
  PERFORM backfill.check_not_yet(job);
  PERFORM backfill.check_throttle_off(job);
  PERFORM backfill.check_active_hours(job);
  IF job.set_clause IS NULL AND job.statement IS NULL THEN
    PERFORM backfill.refuse('set_clause', 'the job says nothing to do',
                            'Give set_clause (''amount_cents = (amount * 100)::bigint'') or statement.', '23502');
  ELSIF job.set_clause IS NOT NULL AND job.statement IS NOT NULL THEN
    PERFORM backfill.refuse('statement', 'stands beside set_clause', 'Give one of set_clause and statement.');
  ELSIF job.statement IS NOT NULL AND job.where_clause IS NOT NULL THEN
    PERFORM backfill.refuse('where_clause', 'goes with set_clause only', 'Write the condition into the statement, beside {batch}.');
  ELSIF job.statement IS NOT NULL AND job.statement !~ '\{batch[ }]' THEN
    PERFORM backfill.refuse('statement', 'does not say where the batch goes',
                            'Write {batch} into its WHERE clause; {batch o} when the table has the alias o.', '42601');
  ELSIF job.wanted NOT IN ('run', 'pause') THEN
    PERFORM backfill.refuse('wanted', format('a new job can''t want %L', job.wanted), 'Insert it with run or pause.');
  END IF;
  SELECT * INTO k FROM backfill.check_target(job);
  PERFORM backfill.check_clauses(job, k.columns, k.types, k.collations);
END
$$;


ALTER FUNCTION backfill.check_job(job backfill.job) OWNER TO backfilld;

--
-- Name: check_not_yet(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_not_yet(job backfill.job) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  column_name text := (
    SELECT v.name
      FROM (VALUES ('add_column', job.add_column IS NOT NULL), ('keep_in_sync', job.keep_in_sync),
                   ('enforce', job.enforce IS NOT NULL), ('drop_column', job.drop_column IS NOT NULL),
                   ('scan', job.scan = 'ctid'), ('dry_run', job.dry_run), ('workers', job.workers > 1),
                   ('ignore', job.ignore IS NOT NULL)) AS v(name, used)
     WHERE v.used LIMIT 1);
BEGIN
  IF column_name IS NOT NULL THEN
    PERFORM backfill.refuse(column_name, format('not supported yet%s', CASE column_name
                              WHEN 'scan' THEN ' (scan = ''ctid'')' WHEN 'workers' THEN ' (workers above 1)' ELSE '' END),
                            format('Leave %s out; this version of backfilld would not act on it.', column_name), '0A000');
  END IF;
END
$$;


ALTER FUNCTION backfill.check_not_yet(job backfill.job) OWNER TO backfilld;

--
-- Name: check_plan(text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_plan(column_name text, statement text) RETURNS jsonb
    LANGUAGE plpgsql
    AS $$
DECLARE
  problem  text;
  advice   text;
  code     text;
BEGIN
  RETURN backfill.plan(statement);
EXCEPTION
  WHEN invalid_cursor_definition THEN
    PERFORM backfill.refuse(column_name, 'holds more than one SQL command', 'One job is one command; insert a job for each.', '42601');
  WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE;
    IF left(code, 2) IN ('08', '40', '53', '55', '57', '58', 'XX') THEN
      RAISE;  -- the server's trouble, not the clause's
    END IF;
    PERFORM backfill.refuse(column_name, problem, coalesce(nullif(advice, ''), CASE
      WHEN code = '42501' THEN format('Ask the table''s owner to GRANT what is missing to %I, or insert the job as that owner.', current_user)
      WHEN column_name = 'statement' THEN 'The statement must run as it stands once {batch} is replaced by a condition.'
      WHEN column_name = 'set_clause' THEN 'Write what stands after SET in an UPDATE of this table, and nothing after it.'
      ELSE 'Write what stands after WHERE in an UPDATE of this table, and nothing after it.' END), code);
END
$$;


ALTER FUNCTION backfill.check_plan(column_name text, statement text) OWNER TO backfilld;

--
-- Name: check_target(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_target(job backfill.job, OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  name    text := backfill.relation_name(job.target);
  class   pg_class;
  part    oid;
  missing text;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = job.target;
  IF NOT FOUND THEN
    PERFORM backfill.refuse('target', format('there is no table with OID %s', job.target::oid),
                            'Write the table''s name: ''app.orders''.', '42P01');
  ELSIF class.relkind NOT IN ('r', 'p') THEN
    PERFORM backfill.refuse('target', format('%s is %s', name, CASE class.relkind
                              WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
                              WHEN 'i' THEN 'an index' WHEN 'I' THEN 'an index' WHEN 'S' THEN 'a sequence'
                              WHEN 't' THEN 'a TOAST table' ELSE 'a composite type' END),
                            'A job fills a plain or a partitioned table; name the table itself.', '42809');
  ELSIF class.oid < 16384 OR class.relnamespace = 'backfill'::regnamespace THEN
    PERFORM backfill.refuse('target', format('%s is a system table', name), 'A job fills a table of yours.', '42809');
  ELSIF class.relpersistence = 't' THEN
    PERFORM backfill.refuse('target', format('%s is a temporary table', name),
                            'Other sessions can''t see it; fill it with an UPDATE of your own.', '42809');
  END IF;

  SELECT k INTO missing
    FROM unnest(job.key) AS u(k)
   WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = k AND a.attnum > 0 AND NOT a.attisdropped)
   LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('key', format('%s has no column %I', name, missing), 'Name columns of the table, in the order of a unique index.', '42703');
  END IF;

  FOR part IN SELECT job.target::oid UNION ALL SELECT * FROM backfill.relations_of(job) LOOP
    SELECT relkind INTO class.relkind FROM pg_class WHERE oid = part;
    IF class.relkind = 'f' THEN
      PERFORM backfill.refuse('target', format('its partition %s is a foreign table', backfill.relation_name(part)),
                              'Insert a job for each partition that is a table of this server.', '42809');
    END IF;
    IF class.relkind = 'p' AND job.statement IS NULL THEN
      CONTINUE;  -- the leaves' keys count, unless there are none
    END IF;
    SELECT * INTO attnums, columns, types, collations FROM backfill.key_of(part, backfill.key_numbers(part, job.key));
    IF attnums IS NULL THEN
      PERFORM backfill.refuse(CASE WHEN job.key IS NULL THEN 'target' ELSE 'key' END,
        CASE WHEN job.key IS NULL
             THEN format('%s has no key to walk by', backfill.relation_name(part))
             ELSE format('%s has no unique index on (%s) to walk by', backfill.relation_name(part), array_to_string(job.key, ', ')) END,
        'It needs a primary key, or a unique btree index on NOT NULL columns in their default order: CREATE UNIQUE INDEX CONCURRENTLY, then SET NOT NULL.',
        '42P16');
    END IF;
  END LOOP;
  IF attnums IS NULL THEN  -- a partitioned table without a partition: nothing to walk, but its clauses are checked all the same
    attnums := '{-1}'; columns := '{ctid}'; types := '{tid}'; collations := '{""}';
  END IF;
END
$$;


ALTER FUNCTION backfill.check_target(job backfill.job, OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]) OWNER TO backfilld;

--
-- Name: check_throttle_off(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_throttle_off(job backfill.job) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  signals constant text[] := '{lag, lag_mb, standby, blocked, slot, archive, xmin, dead, cpu, io, disk, latency, probe}';
  unknown text := (SELECT u FROM unnest(job.throttle_off) u WHERE u IS NULL OR u <> ALL (signals) LIMIT 1);
BEGIN
  IF NOT job.throttle_off <@ signals THEN
    PERFORM backfill.refuse('throttle_off', format('there is no signal %L', unknown),
                            format('The signals are %s.', array_to_string(signals, ', ')));
  END IF;
END
$$;


ALTER FUNCTION backfill.check_throttle_off(job backfill.job) OWNER TO backfilld;

--
-- Name: checkpoint(bigint, bigint, tid, text[], text[], bigint, bigint, bigint, real); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.checkpoint(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real) RETURNS tid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
DECLARE
  now_at tid;
BEGIN
  IF NOT EXISTS (SELECT FROM backfill.range r WHERE r.ctid = checkpoint.at AND r.id = checkpoint.range) THEN
    at := (SELECT r.ctid FROM backfill.range r WHERE r.id = checkpoint.range);
  END IF;
  UPDATE backfill.range r
     SET cursor = checkpoint.hi,
         keys = r.keys + greatest(coalesce(checkpoint.keys, checkpoint.rows), 0),
         rows = r.rows + greatest(checkpoint.rows, 0),
         batches = r.batches + 1,
         wal_bytes = r.wal_bytes + greatest(checkpoint.wal_bytes, 0),
         rate = checkpoint.rate,
         checkpoint_at = clock_timestamp()
   WHERE r.ctid = checkpoint.at
     AND r.id = checkpoint.range
     AND r.epoch = checkpoint.epoch
     AND r.cursor IS NOT DISTINCT FROM checkpoint.lo
     AND r.submitted_by = session_user
  RETURNING r.ctid INTO now_at;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'range % is no longer at this cursor and epoch', range
      USING ERRCODE = 'BF001', HINT = 'Another worker has taken it; this batch was undone.';
  END IF;
  RETURN now_at;
END
$$;


ALTER FUNCTION backfill.checkpoint(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real) OWNER TO backfilld;

--
-- Name: checkpoint_skipping(bigint, bigint, tid, text[], text[], bigint, bigint, bigint, real, text[], text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.checkpoint_skipping(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real, held text[], message text) RETURNS tid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  now_at tid := backfill.checkpoint(range, epoch, at, lo, hi, keys, rows, wal_bytes, rate);
BEGIN
  INSERT INTO backfill.left_behind (job_id, range_id, relation, key_columns, key, reason, sqlstate, message)
  SELECT r.job_id, r.id, r.relation, r.key, h.key::text[], 'locked', '55P03', checkpoint_skipping.message
    FROM backfill.range r, unnest(held) AS h(key)
   WHERE r.ctid = now_at AND r.id = checkpoint_skipping.range;
  RETURN now_at;
END
$$;


ALTER FUNCTION backfill.checkpoint_skipping(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real, held text[], message text) OWNER TO backfilld;

--
-- Name: claim(); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.claim(OUT job backfill.job, OUT held_elsewhere boolean, OUT opens_in_s double precision) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  looked_at  timestamptz := clock_timestamp();  -- one moment for all: none opens between two looks
  mine_start timestamptz := backfill.session_start();
  at_once    constant integer := 20;   -- jobs looked at in one call, so that no number of them makes it long
  job_id     bigint;
  candidate  backfill.job;
BEGIN
  FOR i IN 1 .. at_once LOOP
    SELECT j.* INTO candidate
      FROM backfill.job j
     WHERE j.state = 'running'
       AND backfill.session_start(j.holder_pid) IS DISTINCT FROM j.holder_start
     ORDER BY j.priority DESC, j.id
     LIMIT 1
       FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      SELECT j.* INTO candidate
        FROM backfill.job j
       WHERE j.state = 'queued'
         AND (j.opens_at IS NULL OR j.opens_at <= looked_at)
         AND NOT EXISTS (SELECT FROM backfill.job r WHERE r.state = 'running' AND r.root = j.root)
       ORDER BY j.priority DESC, j.id
       LIMIT 1
         FOR UPDATE SKIP LOCKED;
    END IF;
    EXIT WHEN NOT FOUND;
    IF (backfill.hours_of(candidate)).open THEN
      job_id := candidate.id;
      EXIT;
    END IF;
    PERFORM backfill.give_back(candidate);
    opens_in_s := CASE i WHEN at_once THEN 0 END;
  END LOOP;

  BEGIN
    UPDATE backfill.job j
       SET state = 'running', holder_pid = pg_backend_pid(), holder_start = mine_start,
           started_at = coalesce(j.started_at, clock_timestamp()), finished_at = NULL,
           error = NULL, hint = NULL, waiting_for = NULL, opens_at = NULL
     WHERE j.id = job_id
    RETURNING j.* INTO job;
  EXCEPTION WHEN unique_violation THEN
    job := NULL;  -- another daemon was first on this table
  END;
  held_elsewhere := EXISTS (SELECT FROM backfill.job j
                             WHERE j.state = 'running'
                               AND (j.holder_pid, j.holder_start) IS DISTINCT FROM (pg_backend_pid(), mine_start));
  opens_in_s := coalesce(opens_in_s, (SELECT greatest(extract(epoch FROM min(j.opens_at) - clock_timestamp()), 0)
                                        FROM backfill.job j
                                       WHERE j.state = 'queued' AND j.opens_at > looked_at
                                      HAVING count(*) > 0));  -- greatest passes over NULL
END
$$;


ALTER FUNCTION backfill.claim(OUT job backfill.job, OUT held_elsewhere boolean, OUT opens_in_s double precision) OWNER TO backfilld;

--
-- Name: end_job(bigint, text, text, text, jsonb); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.end_job(job_id bigint, state text, error text, hint text, measured jsonb) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  UPDATE backfill.job j
     SET state = end_job.state,
         error = end_job.error,
         hint = end_job.hint,
         waiting_for = NULL, holder_pid = NULL, holder_start = NULL,
         finished_at = clock_timestamp(),
         report = jsonb_build_object(
                    'rows', r.rows, 'keys', r.keys, 'ranges', r.ranges, 'batches', r.batches, 'wal_bytes', r.wal_bytes,
                    'seconds', round(extract(epoch FROM clock_timestamp() - j.started_at)::numeric, 3),
                    'left_behind', (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = j.id))
                  || measured
    FROM (SELECT coalesce(sum(g.rows), 0) AS rows, coalesce(sum(g.keys), 0) AS keys, count(*) AS ranges,
                 coalesce(sum(g.batches), 0) AS batches, coalesce(sum(g.wal_bytes), 0) AS wal_bytes
            FROM backfill.range g WHERE g.job_id = end_job.job_id) r
   WHERE j.id = end_job.job_id AND backfill.is_held(j)
$$;


ALTER FUNCTION backfill.end_job(job_id bigint, state text, error text, hint text, measured jsonb) OWNER TO backfilld;

--
-- Name: finish(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.finish(name text) RETURNS void
    LANGUAGE sql
    AS $$ SELECT backfill.want(name, 'finish') $$;


ALTER FUNCTION backfill.finish(name text) OWNER TO backfilld;

--
-- Name: give_back(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.give_back(job backfill.job) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  job.state := CASE job.wanted WHEN 'pause' THEN 'paused' WHEN 'cancel' THEN 'cancelled' ELSE 'queued' END;
  job := backfill.keep_hours(job);
  UPDATE backfill.job j
     SET state = job.state, opens_at = job.opens_at, waiting_for = job.waiting_for,
         finished_at = CASE job.state WHEN 'cancelled' THEN clock_timestamp() END,
         holder_pid = NULL, holder_start = NULL
   WHERE j.id = job.id;
  UPDATE backfill.range r SET epoch = r.epoch + 1 WHERE r.job_id = job.id AND NOT r.done;
END
$$;


ALTER FUNCTION backfill.give_back(job backfill.job) OWNER TO backfilld;

--
-- Name: hold_again(bigint[], integer, timestamp with time zone); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.hold_again(jobs bigint[], old_pid integer, old_start timestamp with time zone) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  UPDATE backfill.job
     SET holder_pid = pg_backend_pid(), holder_start = backfill.session_start()
   WHERE id = ANY (jobs) AND state = 'running' AND (holder_pid, holder_start) = (old_pid, old_start)
$$;


ALTER FUNCTION backfill.hold_again(jobs bigint[], old_pid integer, old_start timestamp with time zone) OWNER TO backfilld;

--
-- Name: holders_of(xid[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.holders_of(xids xid[]) RETURNS integer[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  holding xid[] := xids;
  x       xid;
BEGIN
  FOREACH x IN ARRAY xids LOOP
    BEGIN
      holding := holding || ARRAY(SELECT m.xid FROM pg_get_multixact_members(x) m);
    EXCEPTION WHEN OTHERS THEN
      NULL;  -- not a multixact's number
    END;
  END LOOP;
  RETURN ARRAY(SELECT DISTINCT l.pid FROM pg_locks l
                WHERE l.locktype = 'transactionid' AND l.granted AND l.transactionid = ANY (holding)
                  AND l.pid <> pg_backend_pid()
                ORDER BY l.pid);
END
$$;


ALTER FUNCTION backfill.holders_of(xids xid[]) OWNER TO backfilld;

--
-- Name: hours_of(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.hours_of(job backfill.job, OUT open boolean, OUT changes_at timestamp with time zone, OUT opens text, OUT outside text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
  its_zone text;
BEGIN
  open := true;
  IF job.active_hours IS NULL THEN
    RETURN;
  END IF;
  SELECT h.open, h.changes_at, h.zone INTO open, changes_at, its_zone
    FROM backfill.active_hours_now(job.active_hours, job.time_zone, clock_timestamp()) h;
  IF NOT open THEN
    PERFORM set_config('TimeZone', its_zone, true);
    opens := to_char(changes_at, 'YYYY-MM-DD HH24:MI TZ');
    outside := 'outside active_hours until ' || opens;
  END IF;
EXCEPTION WHEN OTHERS THEN
  open := false;
  changes_at := clock_timestamp() + interval '1 minute';  -- then it is worth another look
  outside := SQLERRM;
END
$$;


ALTER FUNCTION backfill.hours_of(job backfill.job, OUT open boolean, OUT changes_at timestamp with time zone, OUT opens text, OUT outside text) OWNER TO backfilld;

--
-- Name: is_done(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.is_done(name text) RETURNS boolean
    LANGUAGE sql
    AS $$
  SELECT (backfill.job_named(name)).state = 'succeeded'
$$;


ALTER FUNCTION backfill.is_done(name text) OWNER TO backfilld;

--
-- Name: is_held(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.is_held(job backfill.job) RETURNS boolean
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT job.state = 'running' AND job.holder_pid = pg_backend_pid() AND job.holder_start = backfill.session_start()
$$;


ALTER FUNCTION backfill.is_held(job backfill.job) OWNER TO backfilld;

--
-- Name: job_before_insert(); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.job_before_insert() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
  message     text;
  hint        text;
  code        text;
  column_name text;
BEGIN
  NEW.name         := coalesce(NEW.name, 'job-' || NEW.id);
  NEW.submitted_by := session_user;
  NEW.owner        := current_user;
  NEW.search_path  := current_setting('search_path');
  NEW.time_zone    := current_setting('TimeZone');
  NEW.date_style   := 'ISO, ' || split_part(current_setting('DateStyle'), ', ', 2);
  NEW.root         := coalesce(pg_catalog.pg_partition_root(NEW.target), NEW.target);
  NEW.state        := CASE NEW.wanted WHEN 'pause' THEN 'paused' ELSE 'queued' END;
  NEW.phase        := 'preflight';
  NEW.submitted_at := clock_timestamp();
  NEW.error := NULL; NEW.hint := NULL; NEW.waiting_for := NULL; NEW.opens_at := NULL; NEW.report := NULL; NEW.estimate := NULL;
  NEW.holder_pid := NULL; NEW.holder_start := NULL; NEW.started_at := NULL; NEW.finished_at := NULL;

  IF EXISTS (SELECT FROM backfill.job j WHERE j.name = NEW.name) THEN
    RETURN NEW;  -- the unique constraint has its say, or ON CONFLICT DO NOTHING: a migration that runs again
  END IF;
  BEGIN
    PERFORM backfill.check_job(NEW);
  EXCEPTION WHEN OTHERS THEN
    -- Said again from here, without the call stack that only backfilld's authors would read.
    GET STACKED DIAGNOSTICS
      message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE, column_name = COLUMN_NAME;
    RAISE EXCEPTION USING
      MESSAGE = message, HINT = hint, ERRCODE = code,
      SCHEMA = 'backfill', TABLE = 'job', COLUMN = column_name;
  END;
  RETURN backfill.keep_hours(NEW);
END
$$;


ALTER FUNCTION backfill.job_before_insert() OWNER TO backfilld;

--
-- Name: job_before_update(); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.job_before_update() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM backfill.check_not_yet(NEW);
  PERFORM backfill.check_throttle_off(NEW);
  IF NEW.active_hours IS DISTINCT FROM OLD.active_hours THEN
    PERFORM backfill.check_active_hours(NEW);
  END IF;
  IF NEW.wanted = OLD.wanted THEN
    RETURN backfill.keep_hours(NEW);
  END IF;
  IF OLD.wanted = 'cancel' AND OLD.state = 'running' THEN
    PERFORM backfill.refuse('wanted', format('job %I is being cancelled', OLD.name), 'Insert a new job.', '55000');
  ELSIF NEW.wanted = 'finish' THEN
    PERFORM backfill.refuse('wanted', format('job %I keeps nothing in step, so there is nothing to finish', OLD.name),
                            'finish is for jobs with keep_in_sync.', '55000');
  ELSIF OLD.state IN ('succeeded', 'failed', 'cancelled') AND NEW.state = OLD.state THEN
    PERFORM backfill.refuse('wanted', format('job %I has ended: it %s', OLD.name, CASE OLD.state WHEN 'cancelled' THEN 'was cancelled' ELSE OLD.state END),
                            format('SELECT backfill.retry(%L) runs what failed or was left behind again.', OLD.name), '55000');
  ELSIF OLD.state IN ('queued', 'paused') THEN
    NEW.state := CASE NEW.wanted WHEN 'run' THEN 'queued' WHEN 'pause' THEN 'paused' ELSE 'cancelled' END;
    IF NEW.state = 'cancelled' THEN
      NEW.finished_at := clock_timestamp();
    END IF;
  END IF;
  RETURN backfill.keep_hours(NEW);
END
$$;


ALTER FUNCTION backfill.job_before_update() OWNER TO backfilld;

--
-- Name: job_named(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.job_named(name text) RETURNS backfill.job
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
  job backfill.job;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.name = job_named.name;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no job "%" that you may see', name
      USING ERRCODE = '02000', HINT = 'SELECT name, state FROM backfill.status lists them.';
  END IF;
  RETURN job;
END
$$;


ALTER FUNCTION backfill.job_named(name text) OWNER TO backfilld;

--
-- Name: job_notify(); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.job_notify() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM pg_notify('backfill', jsonb_build_object(
    'job', NEW.id, 'name', NEW.name, 'target', backfill.relation_name(NEW.target),
    'state', NEW.state, 'phase', NEW.phase, 'wanted', NEW.wanted)::text);
  RETURN NULL;
END
$$;


ALTER FUNCTION backfill.job_notify() OWNER TO backfilld;

--
-- Name: keep_hours(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.keep_hours(job backfill.job) RETURNS backfill.job
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  h record;
BEGIN
  IF job.state <> 'running' THEN
    job.opens_at := NULL;
    job.waiting_for := NULL;
  END IF;
  IF job.state = 'queued' AND job.active_hours IS NOT NULL THEN
    SELECT * INTO h FROM backfill.hours_of(job);
    IF NOT h.open THEN
      job.opens_at := h.changes_at;
      job.waiting_for := h.outside;
    END IF;
  END IF;
  RETURN job;
END
$$;


ALTER FUNCTION backfill.keep_hours(job backfill.job) OWNER TO backfilld;

--
-- Name: key_numbers(oid, text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.key_numbers(relation oid, key text[]) RETURNS smallint[]
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT array_agg(a.attnum ORDER BY u.ord)
    FROM unnest(key) WITH ORDINALITY AS u(name, ord)
    LEFT JOIN pg_attribute a ON a.attrelid = relation AND a.attname = u.name AND a.attnum > 0 AND NOT a.attisdropped
$$;


ALTER FUNCTION backfill.key_numbers(relation oid, key text[]) OWNER TO backfilld;

--
-- Name: key_of(oid, smallint[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.key_of(relation oid, wanted smallint[] DEFAULT NULL::smallint[], OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT k.attnums, k.columns, k.types, k.collations
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am am ON am.oid = c.relam AND am.amname = 'btree'
    CROSS JOIN LATERAL (
      SELECT array_agg(a.attnum ORDER BY u.ord) AS attnums,
             array_agg(quote_ident(a.attname) ORDER BY u.ord) AS columns,
             array_agg(format_type(backfill.base_type(a.atttypid), -1) ORDER BY u.ord) AS types,
             array_agg(CASE WHEN u.coll IN (0, a.attcollation) THEN ''
                            ELSE (SELECT format('%I.%I', cn.nspname, co.collname)
                                    FROM pg_collation co
                                    JOIN pg_namespace cn ON cn.oid = co.collnamespace
                                   WHERE co.oid = u.coll) END ORDER BY u.ord) AS collations,
             bool_and(a.attnotnull) AS not_null,
             count(DISTINCT u.opt) = 1 AND bool_and(u.opt IN (0, 3)) AS one_direction,
             bool_and(EXISTS (
               SELECT FROM pg_opclass oc
                 JOIN pg_opclass d ON d.opcmethod = oc.opcmethod AND d.opcintype = oc.opcintype
                                  AND d.opcfamily = oc.opcfamily AND d.opcdefault
                WHERE oc.oid = u.opc)) AS default_order
        FROM unnest(i.indkey::smallint[], i.indclass::oid[], i.indcollation::oid[], i.indoption::smallint[])
             WITH ORDINALITY AS u(attnum, opc, coll, opt, ord)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
       WHERE u.ord <= i.indnkeyatts
    ) k
   WHERE i.indrelid = relation
     AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
     AND k.not_null AND k.one_direction AND k.default_order
     AND (wanted IS NULL OR k.attnums = wanted)
   ORDER BY i.indisprimary DESC, i.indnkeyatts, c.relpages, i.indexrelid
   LIMIT 1
$$;


ALTER FUNCTION backfill.key_of(relation oid, wanted smallint[], OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]) OWNER TO backfilld;

--
-- Name: layout(bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.layout(job_id bigint) RETURNS TABLE(relation oid, name text, batch text, bound text, last text)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  job backfill.job;
  r   oid;
  k   record;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  DELETE FROM backfill.range g WHERE g.job_id = layout.job_id AND job.phase = 'preflight' AND backfill.is_held(job);
  PERFORM backfill.check_target(job);
  FOR r IN SELECT * FROM backfill.relations_of(job) LOOP
    SELECT * INTO k FROM backfill.key_of(r, backfill.key_numbers(r, job.key));
    RETURN QUERY SELECT r, backfill.relation_name(r), s.batch, s.bound, s.last
                   FROM backfill.statements(job, r, k.columns, k.types, k.collations, false) s;
  END LOOP;
END
$$;


ALTER FUNCTION backfill.layout(job_id bigint) OWNER TO backfilld;

--
-- Name: leave_row(bigint, text, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.leave_row(id bigint, sqlstate text, message text, detail text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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


ALTER FUNCTION backfill.leave_row(id bigint, sqlstate text, message text, detail text) OWNER TO backfilld;

--
-- Name: lock_free_rows(text, text, oid, text[], text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.lock_free_rows(statement text, keys_of text, relation oid, lo text[], hi text[], OUT held text[], OUT holders integer[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  in_the_way text := backfill.table_lock(relation);
  strength   text;
  xids       xid[];
BEGIN
  IF in_the_way IS NULL THEN
    strength := backfill.row_lock(backfill.plan(statement),
                                  (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = relation));
    IF strength IS NULL OR NOT pg_catalog.has_any_column_privilege(relation, 'UPDATE')
       OR NOT pg_catalog.has_column_privilege(relation, 'xmax', 'SELECT') THEN  -- which no right to single columns gives
      in_the_way := pg_catalog.format('the statement needs a lock that isn''t on rows of %s', backfill.relation_name(relation));
    END IF;
  END IF;
  IF in_the_way IS NOT NULL THEN
    RAISE EXCEPTION '%', in_the_way USING ERRCODE = '55P03';
  END IF;
  EXECUTE 'WITH "free rows of the batch" AS MATERIALIZED (' || keys_of || E'\n' || strength || ' SKIP LOCKED) '
          'SELECT pg_catalog.array_agg(k.key::text), pg_catalog.array_agg(DISTINCT k.holder::text)::xid[] '
          '  FROM (' || keys_of || ') AS k(key, holder) '
          ' WHERE k.key NOT IN (SELECT f.key FROM "free rows of the batch" AS f(key, holder))'
     INTO held, xids USING lo, hi;
  holders := CASE WHEN held IS NOT NULL THEN backfill.holders_of(xids[1:20]) END;
END
$$;


ALTER FUNCTION backfill.lock_free_rows(statement text, keys_of text, relation oid, lo text[], hi text[], OUT held text[], OUT holders integer[]) OWNER TO backfilld;

--
-- Name: locked_by(integer[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.locked_by(holders integer[]) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT 'locked by ' || coalesce((SELECT string_agg('pid ' || pid, ', ') FROM unnest(holders) pid), 'another session')
$$;


ALTER FUNCTION backfill.locked_by(holders integer[]) OWNER TO backfilld;

--
-- Name: parse_active_hours(text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.parse_active_hours(hours text, default_zone text) RETURNS TABLE(zone text, days text, starts integer, ends integer)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  longest   constant integer := 300;  -- a claim may read it: 2 ms as a rule, 50 at that length
  pattern   constant text := ';|(?:[^\s;]*,\s+)*[^\s;]+';  -- a word; blanks behind a comma don't end it
  names     constant text[] := '{mon,tue,wed,thu,fri,sat,sun}';
  time      constant text := '([01][0-9]|2[0-3]):[0-5][0-9]';
  examples  constant text := 'Write ''22:00-06:00 Europe/Berlin'', ''sat,sun'' or ''mon-fri 22:00-06:00; sat,sun''; NULL is always.';
  word      text;
  at        integer;  -- where the word stands, from 1
  n         integer := 0;
  my_days   text;
  my_starts integer;
  my_ends   integer;
  piece     text;
  piece_at  integer;
  bounds    text[];
  first     integer;
  last      integer;
  all_days  text[] := '{}';
  all_starts integer[] := '{}';
  all_ends  integer[] := '{}';
BEGIN
  IF length(hours) > longest THEN
    PERFORM backfill.refuse('active_hours', format('has %s characters, and may have %s', length(hours), longest), examples);
  END IF;
  LOOP
    n := n + 1;
    at := regexp_instr(hours, pattern, 1, n);
    word := regexp_substr(hours, pattern, 1, n);

    IF word IS NULL OR word = ';' THEN  -- the end of a window
      IF n = 1 AND word IS NULL THEN
        PERFORM backfill.refuse('active_hours', 'is empty', examples);
      ELSIF my_days IS NULL AND my_starts IS NULL THEN
        PERFORM backfill.refuse('active_hours', format('a window is missing at character %s', coalesce(nullif(at, 0), length(hours) + 1)), examples);
      END IF;
      all_days   := all_days || coalesce(my_days, '1234567');
      all_starts := all_starts || coalesce(my_starts, 0);
      all_ends   := all_ends || coalesce(my_ends, 1440);
      my_days := NULL; my_starts := NULL; my_ends := NULL;
      EXIT WHEN word IS NULL;
      IF zone IS NOT NULL THEN
        PERFORM backfill.refuse('active_hours', format('%L at character %s stands behind the time zone', word, at),
                                'The time zone is for all windows, and stands once, at the end. ' || examples);
      END IF;

    ELSIF zone IS NOT NULL THEN
      PERFORM backfill.refuse('active_hours', format('%L at character %s stands behind the time zone', word, at), examples);

    ELSIF word ~ '^[0-9]' THEN
      IF my_starts IS NOT NULL THEN
        PERFORM backfill.refuse('active_hours', format('%L at character %s: the window has its hours already', word, at),
                                'Put ; between windows. ' || examples);
      ELSIF word !~ '^[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}$' THEN
        PERFORM backfill.refuse('active_hours', format('%L at character %s is not HH:MM-HH:MM', word, at), examples);
      ELSIF left(word, 5) !~ ('^' || time || '$') THEN
        PERFORM backfill.refuse('active_hours', format('%L at character %s is no time of day that a window can start at', left(word, 5), at), examples);
      ELSIF right(word, 5) !~ ('^(' || time || '|24:00)$') THEN
        PERFORM backfill.refuse('active_hours', format('%L at character %s is no time of day', right(word, 5), at + 6), examples);
      ELSIF left(word, 5) = right(word, 5) THEN
        PERFORM backfill.refuse('active_hours', format('%L at character %s ends when it starts', word, at),
                                'The whole day is 00:00-24:00. ' || examples);
      END IF;
      my_starts := left(word, 2)::integer * 60 + substr(word, 4, 2)::integer;
      my_ends := substr(word, 7, 2)::integer * 60 + right(word, 2)::integer;
      my_ends := my_ends + CASE WHEN my_ends < my_starts THEN 1440 ELSE 0 END;

    ELSIF my_days IS NULL AND my_starts IS NULL THEN
      my_days := '';
      FOREACH piece IN ARRAY string_to_array(word, ',') LOOP
        piece_at := at + length(piece) - length(regexp_replace(piece, '^\s+', ''));
        at := at + length(piece) + 1;
        piece := regexp_replace(piece, '^\s+', '');
        bounds := string_to_array(lower(piece COLLATE "C"), '-');
        first := array_position(names, bounds[1]);
        last := array_position(names, bounds[cardinality(bounds)]);
        IF piece = '' THEN
          PERFORM backfill.refuse('active_hours', format('a day is missing at character %s', piece_at), examples);
        ELSIF first IS NULL OR last IS NULL OR cardinality(bounds) > 2 THEN
          PERFORM backfill.refuse('active_hours', format('%L at character %s is no day and no range of days', piece, piece_at),
                                  'Days are mon, tue, wed, thu, fri, sat, sun. ' || examples);
        ELSIF cardinality(bounds) = 2 AND first = last THEN
          PERFORM backfill.refuse('active_hours', format('%L at character %s ends on the day on which it starts', piece, piece_at),
                                  'Name one day, or leave the days out for all of them. ' || examples);
        END IF;
        my_days := my_days || (
          SELECT string_agg(d::text, '')
            FROM generate_series(1, 7) AS d
           WHERE CASE WHEN first <= last THEN d BETWEEN first AND last ELSE d >= first OR d <= last END);
      END LOOP;

    ELSE
      zone := word;
      BEGIN
        PERFORM now() AT TIME ZONE zone;
      EXCEPTION WHEN invalid_parameter_value THEN
        PERFORM backfill.refuse('active_hours', format('there is no time zone %L, at character %s', zone, at),
                                'Days stand before hours, the time zone at the end; SELECT name FROM pg_timezone_names lists them. ' || examples);
      END;
    END IF;
  END LOOP;
  RETURN QUERY
    SELECT coalesce(zone, default_zone), w.days, w.starts, w.ends
      FROM unnest(all_days, all_starts, all_ends) AS w(days, starts, ends);
END
$_$;


ALTER FUNCTION backfill.parse_active_hours(hours text, default_zone text) OWNER TO backfilld;

--
-- Name: pause(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.pause(name text) RETURNS void
    LANGUAGE sql
    AS $$ SELECT backfill.want(name, 'pause') $$;


ALTER FUNCTION backfill.pause(name text) OWNER TO backfilld;

--
-- Name: place_batch(text, text[], text[], text[], boolean); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.place_batch(statement text, columns text[], types text[], collations text[], point boolean) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  place   constant text := '\{batch(?:\s+("(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*))?\s*\}';
  result  text := '';
  rest    text := statement;
  found   text[];
  at      integer;
BEGIN
  LOOP
    at := regexp_instr(rest, place);
    EXIT WHEN at = 0;
    found := regexp_match(rest, place);
    result := result || left(rest, at - 1)
           || '(' || backfill.batch_condition(coalesce(found[1] || '.', ''), columns, types, collations, point)
           || ' AND ' || backfill.skip_condition(coalesce(found[1] || '.', ''), columns, types, collations) || ')';
    rest := substr(rest, regexp_instr(rest, place, 1, 1, 1));
  END LOOP;
  RETURN result || rest;
END
$_$;


ALTER FUNCTION backfill.place_batch(statement text, columns text[], types text[], collations text[], point boolean) OWNER TO backfilld;

--
-- Name: plan(text, boolean); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.plan(statement text, with_parameters boolean DEFAULT true) RETURNS jsonb
    LANGUAGE plpgsql
    SET row_security TO 'off'
    AS $$
DECLARE
  line jsonb;
BEGIN
  IF with_parameters THEN
    FOR line IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || statement USING NULL::text[], NULL::text[], NULL::text[] LOOP
      RETURN line -> 0 -> 'Plan';
    END LOOP;
  ELSE
    FOR line IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || statement LOOP
      RETURN line -> 0 -> 'Plan';
    END LOOP;
  END IF;
END
$$;


ALTER FUNCTION backfill.plan(statement text, with_parameters boolean) OWNER TO backfilld;

--
-- Name: plan_reads_all(jsonb, name); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.plan_reads_all(plan jsonb, relation_name name) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT EXISTS (
    SELECT FROM jsonb_path_query(plan, 'lax $.** ? (@."Node Type" == "Seq Scan")') AS node
     WHERE node ->> 'Relation Name' = relation_name)
$_$;


ALTER FUNCTION backfill.plan_reads_all(plan jsonb, relation_name name) OWNER TO backfilld;

--
-- Name: put_aside(bigint, bigint, text[], text[], text, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.put_aside(range bigint, epoch bigint, lo text[], hi text[], sqlstate text, message text, detail text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  WITH moved AS (
    UPDATE backfill.range r
       SET cursor = put_aside.hi, keys = r.keys + 1, checkpoint_at = clock_timestamp()
     WHERE r.id = put_aside.range AND r.epoch = put_aside.epoch AND r.cursor IS NOT DISTINCT FROM put_aside.lo
    RETURNING r.*)
  INSERT INTO backfill.left_behind (job_id, range_id, relation, key_columns, key, reason, sqlstate, message, detail)
  SELECT m.job_id, m.id, m.relation, m.key, put_aside.hi, 'error', put_aside.sqlstate, put_aside.message, put_aside.detail
    FROM moved m;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'range % is no longer at this cursor and epoch', range USING ERRCODE = 'BF001';
  END IF;
END
$$;


ALTER FUNCTION backfill.put_aside(range bigint, epoch bigint, lo text[], hi text[], sqlstate text, message text, detail text) OWNER TO backfilld;

--
-- Name: refuse(text, text, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.refuse(column_name text, problem text, hint text, code text DEFAULT '22023'::text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RAISE EXCEPTION USING
    MESSAGE = format('%s: %s', column_name, problem), HINT = hint, ERRCODE = code,
    SCHEMA = 'backfill', TABLE = 'job', COLUMN = column_name;
END
$$;


ALTER FUNCTION backfill.refuse(column_name text, problem text, hint text, code text) OWNER TO backfilld;

--
-- Name: relation_name(oid); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.relation_name(relation oid) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.oid = relation
$$;


ALTER FUNCTION backfill.relation_name(relation oid) OWNER TO backfilld;

--
-- Name: relations_of(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.relations_of(job backfill.job) RETURNS SETOF oid
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT job.target::oid
   WHERE job.statement IS NOT NULL
      OR (SELECT relkind FROM pg_class WHERE oid = job.target) <> 'p'
  UNION ALL
  SELECT t.relid::oid
    FROM pg_partition_tree(job.target) t
   WHERE t.isleaf
     AND job.statement IS NULL
     AND (SELECT relkind FROM pg_class WHERE oid = job.target) = 'p'
$$;


ALTER FUNCTION backfill.relations_of(job backfill.job) OWNER TO backfilld;

--
-- Name: release_job(bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.release_job(job_id bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  job backfill.job;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  IF backfill.is_held(job) THEN
    PERFORM backfill.give_back(job);
  END IF;
END
$$;


ALTER FUNCTION backfill.release_job(job_id bigint) OWNER TO backfilld;

--
-- Name: resume(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.resume(name text) RETURNS void
    LANGUAGE sql
    AS $$ SELECT backfill.want(name, 'run') $$;


ALTER FUNCTION backfill.resume(name text) OWNER TO backfilld;

--
-- Name: retry(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.retry(name text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  job backfill.job;
  n   bigint;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.name = retry.name FOR UPDATE;
  IF NOT FOUND OR NOT (job.submitted_by = session_user
                       OR pg_has_role(session_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'backfill'), 'MEMBER')) THEN
    RAISE EXCEPTION 'there is no job "%" that you may retry', name
      USING ERRCODE = '02000', HINT = 'SELECT name, state FROM backfill.status lists yours.';
  ELSIF job.state NOT IN ('succeeded', 'failed') THEN
    RAISE EXCEPTION 'job "%" is %', name, job.state
      USING ERRCODE = '55000', HINT = 'retry is for jobs that failed, or that left rows behind.';
  END IF;
  WITH again AS (
    DELETE FROM backfill.left_behind l WHERE l.job_id = job.id AND l.reason = 'error' RETURNING l.*)
  INSERT INTO backfill.range (job_id, submitted_by, relation, key, lower, upper)
  SELECT job.id, job.submitted_by, a.relation, a.key_columns, a.key, a.key FROM again a;
  GET DIAGNOSTICS n = ROW_COUNT;
  n := n + (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = job.id);
  IF n > 0 OR job.state = 'failed' THEN
    UPDATE backfill.job j
       SET state = 'queued', wanted = 'run', error = NULL, hint = NULL, started_at = NULL, finished_at = NULL
     WHERE j.id = job.id;
  END IF;
  RETURN n;
END
$$;


ALTER FUNCTION backfill.retry(name text) OWNER TO backfilld;

--
-- Name: retry_row(text, text, oid, bigint, text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.retry_row(statement text, keys_of text, relation oid, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  start_lsn pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
BEGIN
  SELECT f.held IS NULL, f.holders INTO done, holders
    FROM backfill.lock_free_rows(statement, keys_of, relation, NULL, key) f;
  rows := 0;
  IF done THEN
    EXECUTE statement USING NULL::text[], key, NULL::text[];
    GET DIAGNOSTICS rows = ROW_COUNT;
    wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
    PERFORM backfill.row_done(id, rows, wal_bytes);
  END IF;
END
$$;


ALTER FUNCTION backfill.retry_row(statement text, keys_of text, relation oid, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]) OWNER TO backfilld;

--
-- Name: row_done(bigint, bigint, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.row_done(id bigint, rows bigint, wal_bytes bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  range_id bigint;
BEGIN
  DELETE FROM backfill.left_behind l
   USING backfill.job j
   WHERE l.id = row_done.id AND l.reason = 'locked' AND j.id = l.job_id AND j.submitted_by = session_user
  RETURNING l.range_id INTO range_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'row % is not left behind any more', id
      USING ERRCODE = 'BF001', HINT = 'Another worker has done it; this one was undone.';
  END IF;
  UPDATE backfill.range r
     SET rows = r.rows + greatest(row_done.rows, 0), wal_bytes = r.wal_bytes + greatest(row_done.wal_bytes, 0),
         checkpoint_at = clock_timestamp()
   WHERE r.id = range_id;
END
$$;


ALTER FUNCTION backfill.row_done(id bigint, rows bigint, wal_bytes bigint) OWNER TO backfilld;

--
-- Name: row_lock(jsonb, name); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.row_lock(plan jsonb, relation_name name) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT CASE min(CASE node ->> 'Operation' WHEN 'Update' THEN 2 WHEN 'Insert' THEN NULL ELSE 1 END)
           WHEN 1 THEN 'FOR UPDATE' WHEN 2 THEN 'FOR NO KEY UPDATE' END
    FROM jsonb_path_query(plan, 'lax $.** ? (@."Node Type" == "ModifyTable")') AS node
   WHERE node ->> 'Relation Name' = relation_name
$_$;


ALTER FUNCTION backfill.row_lock(plan jsonb, relation_name name) OWNER TO backfilld;

--
-- Name: run_batch(text, bigint, bigint, tid, text[], text[], bigint, real); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.run_batch(statement text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  start_lsn pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
BEGIN
  EXECUTE statement USING lo, hi, NULL::text[];
  GET DIAGNOSTICS rows = ROW_COUNT;
  wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
  now_at := backfill.checkpoint(range, epoch, at, lo, hi, keys, rows, wal_bytes, rate);
END
$$;


ALTER FUNCTION backfill.run_batch(statement text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid) OWNER TO backfilld;

--
-- Name: run_batch_skipping(text, text, oid, bigint, bigint, tid, text[], text[], bigint, real); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.run_batch_skipping(statement text, keys_of text, relation oid, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  start_lsn pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
  held      text[];
BEGIN
  SELECT f.held, f.holders INTO held, holders FROM backfill.lock_free_rows(statement, keys_of, relation, lo, hi) f;
  skipped := coalesce(pg_catalog.cardinality(held), 0);
  EXECUTE statement USING lo, hi, held;
  GET DIAGNOSTICS rows = ROW_COUNT;
  wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
  now_at := backfill.checkpoint_skipping(range, epoch, at, lo, hi, coalesce(keys, rows + skipped), rows, wal_bytes, rate,
                                         held, backfill.locked_by(holders));
END
$$;


ALTER FUNCTION backfill.run_batch_skipping(statement text, keys_of text, relation oid, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]) OWNER TO backfilld;

--
-- Name: session_start(integer); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.session_start(pid integer DEFAULT pg_backend_pid()) RETURNS timestamp with time zone
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT backend_start FROM pg_stat_get_activity(pid)
$$;


ALTER FUNCTION backfill.session_start(pid integer) OWNER TO backfilld;

--
-- Name: skip_condition(text, text[], text[], text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.skip_condition(prefix text, columns text[], types text[], collations text[]) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT format(CASE WHEN cardinality(columns) = 1 THEN '($3::text[] IS NULL OR %s NOT IN (%s))'
                     ELSE '($3::text[] IS NULL OR ROW(%s) NOT IN (%s))' END,
                string_agg(prefix || u.col || CASE u.coll WHEN '' THEN '' ELSE ' COLLATE ' || u.coll END, ', ' ORDER BY u.ord),
                format('SELECT %s FROM pg_catalog.unnest($3::text[]) AS skipped(key)',
                       string_agg(format('(skipped.key::text[])[%s]::%s', u.ord, u.type), ', ' ORDER BY u.ord)))
    FROM unnest(columns, types, collations) WITH ORDINALITY AS u(col, type, coll, ord)
$_$;


ALTER FUNCTION backfill.skip_condition(prefix text, columns text[], types text[], collations text[]) OWNER TO backfilld;

--
-- Name: statements(backfill.job, oid, text[], text[], text[], boolean); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  name      text := backfill.relation_name(relation);
  is_parent boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = relation);
  only_name text := CASE WHEN is_parent THEN name ELSE 'ONLY ' || name END;
  position  text := (SELECT 'ARRAY[' || string_agg(format('%s.%s::text', name, c), ', ' ORDER BY ord) || ']'
                       FROM unnest(columns) WITH ORDINALITY AS u(c, ord));
  ordering  text[] := ARRAY(SELECT format('%s.%s', name, c) || CASE coll WHEN '' THEN '' ELSE ' COLLATE ' || coll END
                              FROM unnest(columns, collations) WITH ORDINALITY AS u(c, coll, ord) ORDER BY ord);
BEGIN
  IF job.statement IS NOT NULL THEN
    batch := backfill.place_batch(job.statement, columns, types, collations, point);
  ELSE
    batch := format(E'UPDATE %s\nSET %s\nWHERE %s', only_name, job.set_clause,
                    backfill.batch_condition(name || '.', columns, types, collations, point)
                    || ' AND ' || backfill.skip_condition(name || '.', columns, types, collations))
          || coalesce(E'\nAND (' || job.where_clause || E'\n)', '');
  END IF;
  keys := format('SELECT %s, %s.xmax FROM %s WHERE %s', position, name, only_name,
                 backfill.batch_condition(name || '.', columns, types, collations, point))
       || coalesce(E'\nAND (' || job.where_clause || E'\n)', '');
  bound := format('SELECT %s FROM %s WHERE %s ORDER BY %s OFFSET $3::bigint - 1 LIMIT 1', position, only_name,
                  backfill.batch_condition(name || '.', columns, types, collations, point),
                  array_to_string(ordering, ', '));
  last := format('SELECT %s FROM %s ORDER BY %s LIMIT 1', position, only_name,
                 array_to_string(ARRAY(SELECT o || ' DESC' FROM unnest(ordering) WITH ORDINALITY AS u(o, ord) ORDER BY ord), ', '));
END
$_$;


ALTER FUNCTION backfill.statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text) OWNER TO backfilld;

--
-- Name: survey(text, text, oid, text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.survey(batch text, bound text, relation oid, upper text[]) RETURNS bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
  short text := (SELECT relname FROM pg_catalog.pg_class WHERE oid = relation);
  rows  bigint;
  live  bigint;
  plan  jsonb;
BEGIN
  FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || batch USING upper, upper, NULL::text[] LOOP
    IF backfill.plan_reads_all(plan, short) THEN
      RAISE EXCEPTION 'a batch of % would read the whole table', backfill.relation_name(relation)
        USING ERRCODE = '42P16', DETAIL = plan::text,
              HINT = 'Its statement must reach the table by the key: put {batch} where the condition on this table stands.';
    END IF;
  END LOOP;
  FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || bound USING NULL::text[], upper, 1000::bigint LOOP
    IF backfill.plan_reads_all(plan, short) OR jsonb_path_exists(plan, 'strict $.**."Node Type" ? (@ == "Sort")', silent => true) THEN
      RAISE EXCEPTION 'the next batch of % would be found by reading the whole table', backfill.relation_name(relation)
        USING ERRCODE = '42P16', DETAIL = plan::text,
              HINT = 'The index of the key is not used: see whether the settings of the job switch index scans off.';
    END IF;
    rows := (jsonb_path_query_first(plan, 'strict $.**."Plans"[*]."Plan Rows"', silent => true))::text::numeric::bigint;
  END LOOP;
  -- After a whole-table UPDATE the planner counts pages of dead rows too, until vacuum has been there; the statistics of
  -- live rows know better, unless they were reset.
  live := pg_catalog.pg_stat_get_live_tuples(relation);
  RETURN CASE WHEN live BETWEEN rows / 3 AND rows THEN live ELSE rows END;
END
$_$;


ALTER FUNCTION backfill.survey(batch text, bound text, relation oid, upper text[]) OWNER TO backfilld;

--
-- Name: table_lock(oid); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.table_lock(relation oid) RETURNS text
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT format('pid %s %s %s on %s', l.pid, CASE WHEN l.granted THEN 'holds' ELSE 'waits for' END, l.mode,
                backfill.relation_name(l.relation))
    FROM pg_locks l
   WHERE l.locktype = 'relation' AND l.relation = table_lock.relation
     AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
     AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
     AND l.pid IS DISTINCT FROM pg_backend_pid()
   ORDER BY l.granted DESC, l.pid
   LIMIT 1
$$;


ALTER FUNCTION backfill.table_lock(relation oid) OWNER TO backfilld;

--
-- Name: take_range(bigint, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.take_range(job_id bigint, above bigint, OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean, OUT relation oid, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint, OUT keys_of text, OUT row_id bigint, OUT locked bigint) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  job      backfill.job;
  r        backfill.range;
  left_row backfill.left_behind;
  k        record;
  key      smallint[];
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  IF NOT FOUND OR NOT backfill.is_held(job) THEN
    outcome := 'not ours';
    RETURN;
  END IF;
  IF backfill.relation_name(job.target) IS NULL THEN
    RAISE EXCEPTION 'the table of job "%" was dropped', job.name USING ERRCODE = '42P01', HINT = 'There is nothing left to fill.';
  END IF;

  UPDATE backfill.range g
     SET epoch = g.epoch + 1
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
  ELSE
    DELETE FROM backfill.left_behind l
     WHERE l.job_id = take_range.job_id AND l.reason = 'locked'
       AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = l.relation);
    SELECT * INTO left_row
      FROM backfill.left_behind l
     WHERE l.job_id = take_range.job_id AND l.reason = 'locked' AND l.id > above
     ORDER BY l.id LIMIT 1;
    IF NOT FOUND THEN
      locked := (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = take_range.job_id AND l.reason = 'locked');
      outcome := CASE WHEN locked > 0 THEN 'locked' ELSE 'none' END;
      RETURN;
    END IF;
    outcome := 'row';
    row_id := left_row.id;
    upper := left_row.key;
    point := true;
    relation := left_row.relation;
    key := left_row.key_columns;
  END IF;

  SELECT * INTO k FROM backfill.key_of(relation, key);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the unique index that job "%" walks % by is gone', job.name, backfill.relation_name(relation)
      USING ERRCODE = '42P16', HINT = 'Create it again (CREATE UNIQUE INDEX CONCURRENTLY), then SELECT backfill.retry(' || quote_literal(job.name) || ').';
  END IF;
  key_columns := k.columns;
  SELECT s.batch, s.keys, s.bound INTO batch, keys_of, bound
    FROM backfill.statements(job, relation, k.columns, k.types, k.collations, point) s;
  IF backfill.relation_name(relation) IS NULL THEN
    RAISE EXCEPTION 'a table of job "%" was dropped just now', job.name USING ERRCODE = '40001';  -- the next try passes it over
  END IF;
END
$$;


ALTER FUNCTION backfill.take_range(job_id bigint, above bigint, OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean, OUT relation oid, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint, OUT keys_of text, OUT row_id bigint, OUT locked bigint) OWNER TO backfilld;

--
-- Name: wait(text, interval); Type: PROCEDURE; Schema: backfill; Owner: backfilld
--

CREATE PROCEDURE backfill.wait(IN name text, IN timeout interval DEFAULT '01:00:00'::interval)
    LANGUAGE plpgsql
    AS $$
DECLARE
  until timestamptz := clock_timestamp() + timeout;
  job   backfill.job;
BEGIN
  BEGIN
    COMMIT;  -- never works here, but what it says tells whether it will below
  EXCEPTION WHEN invalid_transaction_termination THEN
    IF SQLERRM = 'invalid transaction termination' THEN
      RAISE EXCEPTION 'backfill.wait cannot run inside a transaction block'
        USING ERRCODE = '25001', HINT = 'It would hold back vacuum for as long as it waits. Call it outside, or poll backfill.is_done(name).';
    END IF;  -- else: "cannot commit while a subtransaction is active", which this block is
  END;
  LOOP
    job := backfill.job_named(name);
    CASE job.state
      WHEN 'succeeded' THEN
        RETURN;
      WHEN 'failed' THEN
        RAISE EXCEPTION 'job "%" failed: %', name, job.error
          USING HINT = coalesce(job.hint || ' ', '') || format('Then: SELECT backfill.retry(%L)', name);
      WHEN 'cancelled' THEN
        RAISE EXCEPTION 'job "%" was cancelled', name;
      ELSE
        IF clock_timestamp() >= until THEN
          RAISE EXCEPTION 'job "%" is still % after %', name, job.state, timeout
            USING HINT = coalesce('It waits: ' || job.waiting_for || '.', 'It goes on; see backfill.status.');
        END IF;
    END CASE;
    COMMIT;
    PERFORM pg_catalog.pg_sleep(0.1);
  END LOOP;
END
$$;


ALTER PROCEDURE backfill.wait(IN name text, IN timeout interval) OWNER TO backfilld;

--
-- Name: want(text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.want(name text, wanted text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  job backfill.job := backfill.job_named(name);
BEGIN
  UPDATE backfill.job j SET wanted = want.wanted WHERE j.id = job.id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'job "%" belongs to %', name, job.submitted_by
      USING ERRCODE = '42501', HINT = 'Only the role that submitted a job, or its owner, may change it.';
  END IF;
END
$$;


ALTER FUNCTION backfill.want(name text, wanted text) OWNER TO backfilld;

--
-- Name: installed; Type: TABLE; Schema: backfill; Owner: backfilld
--

CREATE TABLE backfill.installed (
    version integer NOT NULL,
    checksum text NOT NULL,
    installed_at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE backfill.installed OWNER TO backfilld;

--
-- Name: TABLE installed; Type: COMMENT; Schema: backfill; Owner: backfilld
--

COMMENT ON TABLE backfill.installed IS 'one row: which version of the schema this is';


--
-- Name: job_id_seq; Type: SEQUENCE; Schema: backfill; Owner: backfilld
--

ALTER TABLE backfill.job ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME backfill.job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: left_behind; Type: TABLE; Schema: backfill; Owner: backfilld
--

CREATE TABLE backfill.left_behind (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    range_id bigint NOT NULL,
    relation regclass NOT NULL,
    key_columns smallint[] NOT NULL,
    key text[] NOT NULL,
    reason text NOT NULL,
    sqlstate text,
    message text,
    detail text,
    left_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT left_behind_reason_check CHECK ((reason = ANY (ARRAY['locked'::text, 'error'::text])))
);


ALTER TABLE backfill.left_behind OWNER TO backfilld;

--
-- Name: left_behind_id_seq; Type: SEQUENCE; Schema: backfill; Owner: backfilld
--

ALTER TABLE backfill.left_behind ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME backfill.left_behind_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: range; Type: TABLE; Schema: backfill; Owner: backfilld
--

CREATE TABLE backfill.range (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    submitted_by name NOT NULL,
    relation regclass NOT NULL,
    key smallint[] NOT NULL,
    lower text[],
    upper text[] NOT NULL,
    cursor text[],
    keys bigint DEFAULT 0 NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    batches bigint DEFAULT 0 NOT NULL,
    wal_bytes bigint DEFAULT 0 NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    rate real,
    checkpoint_at timestamp with time zone,
    done boolean GENERATED ALWAYS AS (((cursor IS NOT NULL) AND (cursor = upper))) STORED NOT NULL
)
WITH (fillfactor='50');


ALTER TABLE backfill.range OWNER TO backfilld;

--
-- Name: COLUMN range.lower; Type: COMMENT; Schema: backfill; Owner: backfilld
--

COMMENT ON COLUMN backfill.range.lower IS 'exclusive; equal to upper, the range is that one key: a row that was left behind and is tried again';


--
-- Name: range_id_seq; Type: SEQUENCE; Schema: backfill; Owner: backfilld
--

ALTER TABLE backfill.range ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME backfill.range_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: status; Type: VIEW; Schema: backfill; Owner: backfilld
--

CREATE VIEW backfill.status WITH (security_invoker='true') AS
 SELECT p.name,
    (p.target)::text AS target,
    p.state,
    p.phase,
    round(p.percent, 1) AS percent,
        CASE
            WHEN (p.percent IS NULL) THEN NULL::text
            ELSE ((('['::text || repeat('#'::text, ((p.percent / (5)::numeric))::integer)) || repeat('.'::text, (20 - ((p.percent / (5)::numeric))::integer))) || ']'::text)
        END AS bar,
    p.rows,
    (p.rate)::bigint AS rows_per_s,
        CASE
            WHEN ((p.rate > (0)::double precision) AND ((p.estimate)::numeric >= p.keys)) THEN make_interval(secs => (round((((p.estimate)::numeric - p.keys) / (p.rate)::numeric)))::double precision)
            ELSE NULL::interval
        END AS eta,
        CASE
            WHEN (p.state = 'running'::text) THEN
            CASE
                WHEN p.held THEN p.waiting_for
                ELSE 'no daemon runs it'::text
            END
            WHEN ((p.state = 'queued'::text) AND (p.opens_at > clock_timestamp())) THEN p.waiting_for
            ELSE NULL::text
        END AS throttled_by,
    p.left_behind,
    p.error
   FROM ( SELECT j.id,
            j.name,
            j.target,
            j.state,
            j.phase,
            j.estimate,
            j.waiting_for,
            j.opens_at,
            j.error,
                CASE
                    WHEN (j.state = 'succeeded'::text) THEN (100)::numeric
                    WHEN (j.phase = 'preflight'::text) THEN NULL::numeric
                    WHEN (j.estimate > 0) THEN LEAST(99.9, ((100.0 * r.keys) / (j.estimate)::numeric))
                    ELSE NULL::numeric
                END AS percent,
            r.keys,
            r.rows,
                CASE
                    WHEN (j.state = 'running'::text) THEN r.rate
                    ELSE NULL::real
                END AS rate,
            ( SELECT count(*) AS count
                   FROM backfill.left_behind l
                  WHERE (l.job_id = j.id)) AS left_behind,
            (EXISTS ( SELECT
                   FROM pg_stat_get_activity(j.holder_pid) a(datid, pid, usesysid, application_name, state, query, wait_event_type, wait_event, xact_start, query_start, backend_start, state_change, client_addr, client_hostname, client_port, backend_xid, backend_xmin, backend_type, ssl, sslversion, sslcipher, sslbits, ssl_client_dn, ssl_client_serial, ssl_issuer_dn, gss_auth, gss_princ, gss_enc, leader_pid, query_id))) AS held
           FROM (backfill.job j
             CROSS JOIN LATERAL ( SELECT COALESCE(sum(g.keys), (0)::numeric) AS keys,
                    COALESCE(sum(g.rows), (0)::numeric) AS rows,
                    sum(g.rate) FILTER (WHERE ((NOT g.done) AND (g.checkpoint_at > (clock_timestamp() - '00:00:05'::interval)))) AS rate
                   FROM backfill.range g
                  WHERE (g.job_id = j.id)) r)) p
  ORDER BY (p.state <> ALL (ARRAY['running'::text, 'queued'::text, 'paused'::text])), p.id;


ALTER TABLE backfill.status OWNER TO backfilld;

--
-- Name: q; Type: TABLE; Schema: public; Owner: app
--

CREATE TABLE public.q (
    id bigint NOT NULL,
    n integer DEFAULT 0 NOT NULL
);


ALTER TABLE public.q OWNER TO app;

--
-- Name: t; Type: TABLE; Schema: public; Owner: app
--

CREATE TABLE public.t (
    id bigint NOT NULL,
    n integer DEFAULT 0 NOT NULL
);


ALTER TABLE public.t OWNER TO app;

--
-- Data for Name: installed; Type: TABLE DATA; Schema: backfill; Owner: backfilld
--

COPY backfill.installed (version, checksum, installed_at) FROM stdin;
1	5552cd9c1dae7ee42d3c2d4e2ed11825	2026-11-24 23:31:12.917971+00
\.


--
-- Data for Name: job; Type: TABLE DATA; Schema: backfill; Owner: backfilld
--

COPY backfill.job (id, name, target, add_column, set_clause, where_clause, statement, keep_in_sync, enforce, drop_column, scan, key, dry_run, priority, workers, target_ms, max_rows_per_s, max_lag, throttle_off, on_error, active_hours, settings, ignore, wanted, submitted_by, owner, search_path, time_zone, date_style, root, state, phase, error, hint, waiting_for, opens_at, report, estimate, holder_pid, holder_start, submitted_at, started_at, finished_at) FROM stdin;
1	done	public.t	\N	n = n + 1	id <= 100	\N	f	\N	\N	auto	\N	f	0	\N	\N	\N	\N	\N	fail	\N	\N	\N	run	app	app	"$user", public	Etc/UTC	ISO, MDY	public.t	succeeded	backfill	\N	\N	\N	\N	{"keys": 956, "rows": 100, "locked": {"rows": 0, "batches": 0, "done_later": 0, "cancelled_for_others": 0}, "ranges": 1, "batches": 7, "retries": {}, "seconds": 0.141, "batch_ms": {"max": 9.1, "p50": 0.6, "p99": 9.1, "timed": 7}, "waited_s": 0.000, "wal_bytes": 24608, "left_behind": 0, "throttled_s": {}}	680	\N	\N	2026-11-24 23:31:13.314156+00	2026-11-24 23:31:13.364737+00	2026-11-24 23:31:13.505728+00
2	put-aside	public.q	\N	n = n + 1 / (id - 5)::int	\N	\N	f	\N	\N	auto	\N	f	0	\N	\N	\N	\N	\N	quarantine	\N	\N	\N	run	app	app	"$user", public	Etc/UTC	ISO, MDY	public.q	succeeded	backfill	\N	Rows were left behind: SELECT * FROM backfill.left_behind; then SELECT backfill.retry(name).	\N	\N	{"keys": 10, "rows": 9, "locked": {"rows": 0, "batches": 0, "done_later": 0, "cancelled_for_others": 0}, "ranges": 1, "batches": 3, "retries": {"row": 7}, "seconds": 0.124, "batch_ms": {"max": 5.1, "p50": 1.3, "p99": 5.1, "timed": 3}, "waited_s": 0.000, "wal_bytes": 648, "left_behind": 1, "throttled_s": {}}	680	\N	\N	2026-11-24 23:31:13.511998+00	2026-11-24 23:31:13.539604+00	2026-11-24 23:31:13.663775+00
3	half	public.t	\N	n = n + 1	\N	\N	f	\N	\N	auto	\N	f	0	\N	\N	\N	\N	\N	fail	\N	\N	\N	pause	app	app	"$user", public	Etc/UTC	ISO, MDY	public.t	paused	backfill	\N	\N	\N	\N	\N	680	\N	\N	2026-11-24 23:31:13.68263+00	2026-11-24 23:31:13.705451+00	\N
4	new	public.q	\N	n = n + 1	id <> 5 AND n = 0	\N	f	\N	\N	auto	\N	f	0	\N	\N	\N	\N	\N	fail	\N	\N	\N	pause	app	app	"$user", public	Etc/UTC	ISO, MDY	public.q	paused	preflight	\N	\N	\N	\N	\N	\N	\N	\N	2026-11-24 23:31:14.626419+00	\N	\N
\.


--
-- Data for Name: left_behind; Type: TABLE DATA; Schema: backfill; Owner: backfilld
--

COPY backfill.left_behind (id, job_id, range_id, relation, key_columns, key, reason, sqlstate, message, detail, left_at) FROM stdin;
1	2	2	public.q	{1}	{5}	error	22012	division by zero	\N	2026-11-24 23:31:13.657048+00
\.


--
-- Data for Name: range; Type: TABLE DATA; Schema: backfill; Owner: backfilld
--

COPY backfill.range (id, job_id, submitted_by, relation, key, lower, upper, cursor, keys, rows, batches, wal_bytes, epoch, rate, checkpoint_at) FROM stdin;
1	1	app	public.t	{1}	\N	{1000}	{1000}	956	100	7	24608	1	0	2026-11-24 23:31:13.502401+00
3	3	app	public.t	{1}	\N	{1000}	{599}	599	599	9	134536	12	1860	2026-11-24 23:31:14.589073+00
2	2	app	public.q	{1}	\N	{10}	{10}	10	9	3	648	1	0	2026-11-24 23:31:13.658269+00
\.


--
-- Data for Name: q; Type: TABLE DATA; Schema: public; Owner: app
--

COPY public.q (id, n) FROM stdin;
5	0
1	0
2	0
3	0
4	-1
6	1
7	0
8	0
9	0
10	0
\.


--
-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: app
--

COPY public.t (id, n) FROM stdin;
101	1
102	1
103	1
104	1
105	1
106	1
107	1
108	1
109	1
110	1
111	1
112	1
113	1
114	1
115	1
116	1
117	1
118	1
119	1
120	1
121	1
122	1
123	1
124	1
125	1
126	1
127	1
128	1
129	1
130	1
131	1
132	1
133	1
134	1
135	1
136	1
137	1
138	1
139	1
140	1
141	1
142	1
143	1
144	1
145	1
146	1
147	1
148	1
149	1
150	1
151	1
152	1
153	1
154	1
155	1
156	1
157	1
158	1
159	1
160	1
161	1
162	1
163	1
164	1
165	1
166	1
167	1
168	1
169	1
170	1
171	1
172	1
173	1
174	1
175	1
176	1
177	1
178	1
179	1
180	1
181	1
182	1
183	1
184	1
185	1
201	1
202	1
203	1
204	1
205	1
206	1
207	1
208	1
209	1
210	1
211	1
212	1
213	1
214	1
352	1
353	1
354	1
355	1
356	1
357	1
358	1
359	1
360	1
361	1
362	1
363	1
364	1
365	1
366	1
367	1
368	1
369	1
370	1
503	1
504	1
505	1
506	1
507	1
508	1
509	1
510	1
511	1
512	1
513	1
514	1
515	1
516	1
517	1
518	1
519	1
520	1
521	1
522	1
523	1
524	1
525	1
526	1
527	1
528	1
529	1
530	1
531	1
532	1
533	1
534	1
535	1
536	1
537	1
538	1
539	1
540	1
541	1
542	1
543	1
544	1
545	1
546	1
547	1
548	1
549	1
550	1
551	1
552	1
553	1
554	1
555	1
600	0
601	0
602	0
603	0
604	0
605	0
606	0
607	0
608	0
609	0
610	0
611	0
612	0
613	0
614	0
615	0
616	0
617	0
618	0
619	0
620	0
621	0
622	0
623	0
624	0
625	0
626	0
627	0
628	0
629	0
630	0
631	0
632	0
633	0
634	0
635	0
636	0
637	0
638	0
639	0
640	0
641	0
642	0
643	0
644	0
645	0
646	0
647	0
648	0
649	0
650	0
651	0
652	0
653	0
654	0
655	0
656	0
657	0
658	0
659	0
660	0
661	0
662	0
663	0
664	0
665	0
666	0
667	0
668	0
669	0
670	0
671	0
672	0
673	0
674	0
675	0
676	0
677	0
678	0
679	0
680	0
681	0
682	0
683	0
684	0
685	0
686	0
687	0
688	0
689	0
690	0
691	0
692	0
693	0
694	0
695	0
696	0
697	0
698	0
699	0
700	0
701	0
702	0
703	0
704	0
705	0
706	0
707	0
708	0
709	0
710	0
711	0
712	0
713	0
714	0
715	0
716	0
717	0
718	0
719	0
720	0
721	0
722	0
723	0
724	0
725	0
726	0
727	0
728	0
729	0
730	0
731	0
732	0
733	0
734	0
735	0
736	0
737	0
738	0
739	0
740	0
559	1
560	1
561	1
580	1
581	1
582	1
583	1
584	1
585	1
586	1
587	1
588	1
589	1
590	1
591	1
592	1
593	1
594	1
595	1
596	1
597	1
598	1
599	1
741	0
742	0
743	0
744	0
745	0
746	0
747	0
748	0
749	0
750	0
751	0
752	0
753	0
754	0
755	0
756	0
757	0
758	0
759	0
760	0
761	0
762	0
763	0
764	0
765	0
766	0
767	0
768	0
769	0
770	0
771	0
772	0
773	0
774	0
775	0
776	0
777	0
778	0
779	0
780	0
781	0
782	0
783	0
784	0
785	0
786	0
787	0
788	0
789	0
790	0
791	0
792	0
793	0
794	0
795	0
796	0
797	0
798	0
799	0
800	0
801	0
802	0
803	0
804	0
805	0
806	0
807	0
808	0
809	0
810	0
811	0
812	0
813	0
814	0
815	0
816	0
817	0
818	0
819	0
820	0
821	0
822	0
823	0
824	0
825	0
826	0
827	0
828	0
829	0
830	0
831	0
832	0
833	0
834	0
835	0
836	0
837	0
838	0
839	0
840	0
841	0
842	0
843	0
844	0
845	0
846	0
847	0
848	0
849	0
850	0
851	0
852	0
853	0
854	0
855	0
856	0
857	0
858	0
859	0
860	0
861	0
862	0
863	0
864	0
865	0
866	0
867	0
868	0
869	0
870	0
871	0
872	0
873	0
874	0
875	0
876	0
877	0
878	0
879	0
880	0
881	0
882	0
883	0
884	0
885	0
886	0
887	0
888	0
889	0
890	0
891	0
892	0
893	0
894	0
895	0
896	0
897	0
898	0
899	0
900	0
901	0
902	0
903	0
904	0
905	0
906	0
907	0
908	0
909	0
910	0
911	0
912	0
913	0
914	0
915	0
916	0
917	0
918	0
919	0
920	0
921	0
922	0
923	0
924	0
925	0
926	0
927	0
928	0
929	0
930	0
931	0
932	0
933	0
934	0
935	0
936	0
937	0
938	0
939	0
940	0
941	0
942	0
943	0
944	0
945	0
946	0
947	0
948	0
949	0
950	0
951	0
952	0
953	0
954	0
955	0
956	0
957	0
958	0
959	0
960	0
961	0
962	0
963	0
964	0
965	0
966	0
967	0
968	0
969	0
970	0
971	0
972	0
973	0
974	0
975	0
976	0
977	0
978	0
979	0
980	0
981	0
982	0
983	0
984	0
985	0
986	0
987	0
988	0
989	0
990	0
991	0
992	0
993	0
994	0
995	0
996	0
997	0
998	0
999	0
1000	0
1	2
2	2
3	2
4	2
5	2
6	2
7	2
8	2
9	2
10	2
11	2
12	2
13	2
14	2
15	2
16	2
17	2
18	2
19	2
20	2
21	2
22	2
23	2
24	2
25	2
26	2
27	2
28	2
29	2
30	2
31	2
32	2
33	2
34	2
35	2
36	2
37	2
38	2
39	2
40	2
41	2
42	2
43	2
44	2
45	2
46	2
47	2
48	2
49	2
50	2
51	2
52	2
53	2
54	2
55	2
56	2
57	2
58	2
59	2
60	2
61	2
62	2
63	2
64	2
65	2
66	2
67	2
68	2
69	2
70	2
71	2
72	2
73	2
74	2
75	2
76	2
77	2
78	2
79	2
80	2
81	2
82	2
83	2
84	2
85	2
86	2
87	2
88	2
89	2
90	2
91	2
92	2
93	2
94	2
95	2
96	2
97	2
98	2
99	2
100	2
186	1
187	1
188	1
189	1
190	1
191	1
192	1
193	1
194	1
195	1
196	1
197	1
198	1
199	1
200	1
215	1
216	1
217	1
218	1
219	1
220	1
221	1
222	1
223	1
224	1
225	1
226	1
227	1
228	1
229	1
230	1
231	1
232	1
233	1
234	1
235	1
236	1
237	1
238	1
239	1
240	1
241	1
242	1
243	1
244	1
245	1
246	1
247	1
248	1
249	1
250	1
251	1
252	1
253	1
254	1
255	1
256	1
257	1
258	1
259	1
260	1
261	1
262	1
263	1
264	1
265	1
266	1
267	1
268	1
269	1
270	1
271	1
272	1
273	1
274	1
275	1
276	1
277	1
278	1
279	1
280	1
281	1
282	1
283	1
284	1
285	1
286	1
287	1
288	1
289	1
290	1
291	1
292	1
293	1
294	1
295	1
296	1
297	1
298	1
299	1
300	1
301	1
302	1
303	1
304	1
305	1
306	1
307	1
308	1
309	1
310	1
311	1
312	1
313	1
314	1
315	1
316	1
317	1
318	1
319	1
320	1
321	1
322	1
323	1
324	1
325	1
326	1
327	1
328	1
329	1
330	1
331	1
332	1
333	1
334	1
335	1
336	1
337	1
338	1
339	1
340	1
341	1
342	1
343	1
344	1
345	1
346	1
347	1
348	1
349	1
350	1
351	1
371	1
372	1
373	1
374	1
375	1
376	1
377	1
378	1
379	1
380	1
381	1
382	1
383	1
384	1
385	1
386	1
387	1
388	1
389	1
390	1
391	1
392	1
393	1
394	1
395	1
396	1
397	1
398	1
399	1
400	1
401	1
402	1
403	1
404	1
405	1
406	1
407	1
408	1
409	1
410	1
411	1
412	1
413	1
414	1
415	1
416	1
417	1
418	1
419	1
420	1
421	1
422	1
423	1
424	1
425	1
426	1
427	1
428	1
429	1
430	1
431	1
432	1
433	1
434	1
435	1
436	1
437	1
438	1
439	1
440	1
441	1
442	1
443	1
444	1
445	1
446	1
447	1
448	1
449	1
450	1
451	1
452	1
453	1
454	1
455	1
456	1
457	1
458	1
459	1
460	1
461	1
462	1
463	1
464	1
465	1
466	1
467	1
468	1
469	1
470	1
471	1
472	1
473	1
474	1
475	1
476	1
477	1
478	1
479	1
480	1
481	1
482	1
483	1
484	1
485	1
486	1
487	1
488	1
489	1
490	1
491	1
492	1
493	1
494	1
495	1
496	1
497	1
498	1
499	1
500	1
501	1
502	1
556	1
557	1
558	1
562	1
563	1
564	1
565	1
566	1
567	1
568	1
569	1
570	1
571	1
572	1
573	1
574	1
575	1
576	1
577	1
578	1
579	1
\.


--
-- Name: job_id_seq; Type: SEQUENCE SET; Schema: backfill; Owner: backfilld
--

SELECT pg_catalog.setval('backfill.job_id_seq', 4, true);


--
-- Name: left_behind_id_seq; Type: SEQUENCE SET; Schema: backfill; Owner: backfilld
--

SELECT pg_catalog.setval('backfill.left_behind_id_seq', 1, true);


--
-- Name: range_id_seq; Type: SEQUENCE SET; Schema: backfill; Owner: backfilld
--

SELECT pg_catalog.setval('backfill.range_id_seq', 3, true);


--
-- Name: job job_name_key; Type: CONSTRAINT; Schema: backfill; Owner: backfilld
--

ALTER TABLE ONLY backfill.job
    ADD CONSTRAINT job_name_key UNIQUE (name);


--
-- Name: job job_pkey; Type: CONSTRAINT; Schema: backfill; Owner: backfilld
--

ALTER TABLE ONLY backfill.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);


--
-- Name: left_behind left_behind_pkey; Type: CONSTRAINT; Schema: backfill; Owner: backfilld
--

ALTER TABLE ONLY backfill.left_behind
    ADD CONSTRAINT left_behind_pkey PRIMARY KEY (id);


--
-- Name: range range_pkey; Type: CONSTRAINT; Schema: backfill; Owner: backfilld
--

ALTER TABLE ONLY backfill.range
    ADD CONSTRAINT range_pkey PRIMARY KEY (id);


--
-- Name: q q_pkey; Type: CONSTRAINT; Schema: public; Owner: app
--

ALTER TABLE ONLY public.q
    ADD CONSTRAINT q_pkey PRIMARY KEY (id);


--
-- Name: t t_pkey; Type: CONSTRAINT; Schema: public; Owner: app
--

ALTER TABLE ONLY public.t
    ADD CONSTRAINT t_pkey PRIMARY KEY (id);


--
-- Name: installed_once; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE UNIQUE INDEX installed_once ON backfill.installed USING btree ((true));


--
-- Name: job_opening; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE INDEX job_opening ON backfill.job USING btree (opens_at) WHERE ((state = 'queued'::text) AND (opens_at IS NOT NULL));


--
-- Name: job_queue; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE INDEX job_queue ON backfill.job USING btree (priority DESC, id) WHERE (state = 'queued'::text);


--
-- Name: job_running; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE UNIQUE INDEX job_running ON backfill.job USING btree (root) WHERE (state = 'running'::text);


--
-- Name: left_behind_locked; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE INDEX left_behind_locked ON backfill.left_behind USING btree (job_id, id) WHERE (reason = 'locked'::text);


--
-- Name: left_behind_of_job; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE INDEX left_behind_of_job ON backfill.left_behind USING btree (job_id);


--
-- Name: range_of_job; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE INDEX range_of_job ON backfill.range USING btree (job_id);


--
-- Name: range_once; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE UNIQUE INDEX range_once ON backfill.range USING btree (job_id, relation) WHERE (lower IS NULL);


--
-- Name: range_to_do; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE INDEX range_to_do ON backfill.range USING btree (job_id, id) WHERE (NOT done);


--
-- Name: job job_before_insert; Type: TRIGGER; Schema: backfill; Owner: backfilld
--

CREATE TRIGGER job_before_insert BEFORE INSERT ON backfill.job FOR EACH ROW EXECUTE FUNCTION backfill.job_before_insert();


--
-- Name: job job_before_update; Type: TRIGGER; Schema: backfill; Owner: backfilld
--

CREATE TRIGGER job_before_update BEFORE UPDATE OF wanted, priority, workers, target_ms, max_rows_per_s, max_lag, throttle_off, on_error, active_hours ON backfill.job FOR EACH ROW EXECUTE FUNCTION backfill.job_before_update();


--
-- Name: job job_notify_insert; Type: TRIGGER; Schema: backfill; Owner: backfilld
--

CREATE TRIGGER job_notify_insert AFTER INSERT ON backfill.job FOR EACH ROW EXECUTE FUNCTION backfill.job_notify();


--
-- Name: job job_notify_update; Type: TRIGGER; Schema: backfill; Owner: backfilld
--

CREATE TRIGGER job_notify_update AFTER UPDATE ON backfill.job FOR EACH ROW WHEN ((((((((((old.state IS DISTINCT FROM new.state) OR (old.phase IS DISTINCT FROM new.phase)) OR (old.wanted IS DISTINCT FROM new.wanted)) OR (old.target_ms IS DISTINCT FROM new.target_ms)) OR (old.max_rows_per_s IS DISTINCT FROM new.max_rows_per_s)) OR (old.on_error IS DISTINCT FROM new.on_error)) OR (old.max_lag IS DISTINCT FROM new.max_lag)) OR (old.throttle_off IS DISTINCT FROM new.throttle_off)) OR (old.active_hours IS DISTINCT FROM new.active_hours))) EXECUTE FUNCTION backfill.job_notify();


--
-- Name: left_behind left_behind_job_id_fkey; Type: FK CONSTRAINT; Schema: backfill; Owner: backfilld
--

ALTER TABLE ONLY backfill.left_behind
    ADD CONSTRAINT left_behind_job_id_fkey FOREIGN KEY (job_id) REFERENCES backfill.job(id) ON DELETE CASCADE;


--
-- Name: range range_job_id_fkey; Type: FK CONSTRAINT; Schema: backfill; Owner: backfilld
--

ALTER TABLE ONLY backfill.range
    ADD CONSTRAINT range_job_id_fkey FOREIGN KEY (job_id) REFERENCES backfill.job(id) ON DELETE CASCADE;


--
-- Name: job; Type: ROW SECURITY; Schema: backfill; Owner: backfilld
--

ALTER TABLE backfill.job ENABLE ROW LEVEL SECURITY;

--
-- Name: left_behind; Type: ROW SECURITY; Schema: backfill; Owner: backfilld
--

ALTER TABLE backfill.left_behind ENABLE ROW LEVEL SECURITY;

--
-- Name: job own_jobs; Type: POLICY; Schema: backfill; Owner: backfilld
--

CREATE POLICY own_jobs ON backfill.job USING (((submitted_by = SESSION_USER) OR (owner = CURRENT_USER)));


--
-- Name: range own_ranges; Type: POLICY; Schema: backfill; Owner: backfilld
--

CREATE POLICY own_ranges ON backfill.range FOR SELECT USING ((EXISTS ( SELECT
   FROM backfill.job j
  WHERE (j.id = range.job_id))));


--
-- Name: left_behind own_rows; Type: POLICY; Schema: backfill; Owner: backfilld
--

CREATE POLICY own_rows ON backfill.left_behind FOR SELECT USING ((EXISTS ( SELECT
   FROM backfill.job j
  WHERE ((j.id = left_behind.job_id) AND ((j.submitted_by = SESSION_USER) OR (j.owner = CURRENT_USER))))));


--
-- Name: range; Type: ROW SECURITY; Schema: backfill; Owner: backfilld
--

ALTER TABLE backfill.range ENABLE ROW LEVEL SECURITY;

--
-- Name: job see_all; Type: POLICY; Schema: backfill; Owner: backfilld
--

CREATE POLICY see_all ON backfill.job FOR SELECT USING (pg_has_role(CURRENT_USER, 'pg_monitor'::name, 'USAGE'::text));


--
-- Name: SCHEMA backfill; Type: ACL; Schema: -; Owner: backfilld
--

GRANT USAGE ON SCHEMA backfill TO backfill_submitter;
GRANT USAGE ON SCHEMA backfill TO pg_monitor;


--
-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: pg_database_owner
--

GRANT ALL ON SCHEMA public TO app;
GRANT ALL ON SCHEMA public TO other;
GRANT ALL ON SCHEMA public TO app_owner;
GRANT ALL ON SCHEMA public TO ghost;


--
-- Name: FUNCTION active_hours_now(hours text, default_zone text, at timestamp with time zone, OUT open boolean, OUT changes_at timestamp with time zone, OUT zone text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.active_hours_now(hours text, default_zone text, at timestamp with time zone, OUT open boolean, OUT changes_at timestamp with time zone, OUT zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.active_hours_now(hours text, default_zone text, at timestamp with time zone, OUT open boolean, OUT changes_at timestamp with time zone, OUT zone text) TO backfill_submitter;


--
-- Name: FUNCTION add_range(job_id bigint, relation oid, upper text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.add_range(job_id bigint, relation oid, upper text[]) FROM PUBLIC;


--
-- Name: FUNCTION base_type(type oid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.base_type(type oid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.base_type(type oid) TO backfill_submitter;


--
-- Name: FUNCTION batch_condition(prefix text, columns text[], types text[], collations text[], point boolean); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.batch_condition(prefix text, columns text[], types text[], collations text[], point boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.batch_condition(prefix text, columns text[], types text[], collations text[], point boolean) TO backfill_submitter;


--
-- Name: FUNCTION begin_phase(job_id bigint, phase text, estimate bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.begin_phase(job_id bigint, phase text, estimate bigint) FROM PUBLIC;


--
-- Name: FUNCTION cancel(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.cancel(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.cancel(name text) TO backfill_submitter;


--
-- Name: TABLE job; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT SELECT ON TABLE backfill.job TO backfill_submitter;
GRANT SELECT ON TABLE backfill.job TO pg_monitor;


--
-- Name: COLUMN job.name; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(name) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.target; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(target) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.add_column; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(add_column) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.set_clause; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(set_clause) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.where_clause; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(where_clause) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.statement; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(statement) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.keep_in_sync; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(keep_in_sync) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.enforce; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(enforce) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.drop_column; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(drop_column) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.scan; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(scan) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.key; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(key) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.dry_run; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(dry_run) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.priority; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(priority),UPDATE(priority) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.workers; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(workers),UPDATE(workers) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.target_ms; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(target_ms),UPDATE(target_ms) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.max_rows_per_s; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(max_rows_per_s),UPDATE(max_rows_per_s) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.max_lag; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(max_lag),UPDATE(max_lag) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.throttle_off; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(throttle_off),UPDATE(throttle_off) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.on_error; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(on_error),UPDATE(on_error) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.active_hours; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(active_hours),UPDATE(active_hours) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.settings; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(settings) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.ignore; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(ignore) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: COLUMN job.wanted; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT INSERT(wanted),UPDATE(wanted) ON TABLE backfill.job TO backfill_submitter;


--
-- Name: FUNCTION check_active_hours(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_active_hours(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_active_hours(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION check_clauses(job backfill.job, columns text[], types text[], collations text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_clauses(job backfill.job, columns text[], types text[], collations text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_clauses(job backfill.job, columns text[], types text[], collations text[]) TO backfill_submitter;


--
-- Name: FUNCTION check_job(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_job(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_job(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION check_not_yet(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_not_yet(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_not_yet(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION check_plan(column_name text, statement text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_plan(column_name text, statement text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_plan(column_name text, statement text) TO backfill_submitter;


--
-- Name: FUNCTION check_target(job backfill.job, OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_target(job backfill.job, OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_target(job backfill.job, OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]) TO backfill_submitter;


--
-- Name: FUNCTION check_throttle_off(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_throttle_off(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_throttle_off(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION checkpoint(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.checkpoint(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.checkpoint(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real) TO backfill_submitter;


--
-- Name: FUNCTION checkpoint_skipping(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real, held text[], message text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.checkpoint_skipping(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real, held text[], message text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.checkpoint_skipping(range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rows bigint, wal_bytes bigint, rate real, held text[], message text) TO backfill_submitter;


--
-- Name: FUNCTION claim(OUT job backfill.job, OUT held_elsewhere boolean, OUT opens_in_s double precision); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.claim(OUT job backfill.job, OUT held_elsewhere boolean, OUT opens_in_s double precision) FROM PUBLIC;


--
-- Name: FUNCTION end_job(job_id bigint, state text, error text, hint text, measured jsonb); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.end_job(job_id bigint, state text, error text, hint text, measured jsonb) FROM PUBLIC;


--
-- Name: FUNCTION finish(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.finish(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.finish(name text) TO backfill_submitter;


--
-- Name: FUNCTION give_back(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.give_back(job backfill.job) FROM PUBLIC;


--
-- Name: FUNCTION hold_again(jobs bigint[], old_pid integer, old_start timestamp with time zone); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.hold_again(jobs bigint[], old_pid integer, old_start timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION holders_of(xids xid[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.holders_of(xids xid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.holders_of(xids xid[]) TO backfill_submitter;


--
-- Name: FUNCTION hours_of(job backfill.job, OUT open boolean, OUT changes_at timestamp with time zone, OUT opens text, OUT outside text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.hours_of(job backfill.job, OUT open boolean, OUT changes_at timestamp with time zone, OUT opens text, OUT outside text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.hours_of(job backfill.job, OUT open boolean, OUT changes_at timestamp with time zone, OUT opens text, OUT outside text) TO backfill_submitter;


--
-- Name: FUNCTION is_done(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.is_done(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.is_done(name text) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.is_done(name text) TO pg_monitor;


--
-- Name: FUNCTION is_held(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.is_held(job backfill.job) FROM PUBLIC;


--
-- Name: FUNCTION job_before_insert(); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.job_before_insert() FROM PUBLIC;


--
-- Name: FUNCTION job_before_update(); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.job_before_update() FROM PUBLIC;


--
-- Name: FUNCTION job_named(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.job_named(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.job_named(name text) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.job_named(name text) TO pg_monitor;


--
-- Name: FUNCTION job_notify(); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.job_notify() FROM PUBLIC;


--
-- Name: FUNCTION keep_hours(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.keep_hours(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.keep_hours(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION key_numbers(relation oid, key text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.key_numbers(relation oid, key text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.key_numbers(relation oid, key text[]) TO backfill_submitter;


--
-- Name: FUNCTION key_of(relation oid, wanted smallint[], OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.key_of(relation oid, wanted smallint[], OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.key_of(relation oid, wanted smallint[], OUT attnums smallint[], OUT columns text[], OUT types text[], OUT collations text[]) TO backfill_submitter;


--
-- Name: FUNCTION layout(job_id bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.layout(job_id bigint) FROM PUBLIC;


--
-- Name: FUNCTION leave_row(id bigint, sqlstate text, message text, detail text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.leave_row(id bigint, sqlstate text, message text, detail text) FROM PUBLIC;


--
-- Name: FUNCTION lock_free_rows(statement text, keys_of text, relation oid, lo text[], hi text[], OUT held text[], OUT holders integer[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.lock_free_rows(statement text, keys_of text, relation oid, lo text[], hi text[], OUT held text[], OUT holders integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.lock_free_rows(statement text, keys_of text, relation oid, lo text[], hi text[], OUT held text[], OUT holders integer[]) TO backfill_submitter;


--
-- Name: FUNCTION locked_by(holders integer[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.locked_by(holders integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.locked_by(holders integer[]) TO backfill_submitter;


--
-- Name: FUNCTION parse_active_hours(hours text, default_zone text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.parse_active_hours(hours text, default_zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.parse_active_hours(hours text, default_zone text) TO backfill_submitter;


--
-- Name: FUNCTION pause(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.pause(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.pause(name text) TO backfill_submitter;


--
-- Name: FUNCTION place_batch(statement text, columns text[], types text[], collations text[], point boolean); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.place_batch(statement text, columns text[], types text[], collations text[], point boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.place_batch(statement text, columns text[], types text[], collations text[], point boolean) TO backfill_submitter;


--
-- Name: FUNCTION plan(statement text, with_parameters boolean); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.plan(statement text, with_parameters boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.plan(statement text, with_parameters boolean) TO backfill_submitter;


--
-- Name: FUNCTION plan_reads_all(plan jsonb, relation_name name); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.plan_reads_all(plan jsonb, relation_name name) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.plan_reads_all(plan jsonb, relation_name name) TO backfill_submitter;


--
-- Name: FUNCTION put_aside(range bigint, epoch bigint, lo text[], hi text[], sqlstate text, message text, detail text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.put_aside(range bigint, epoch bigint, lo text[], hi text[], sqlstate text, message text, detail text) FROM PUBLIC;


--
-- Name: FUNCTION refuse(column_name text, problem text, hint text, code text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.refuse(column_name text, problem text, hint text, code text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.refuse(column_name text, problem text, hint text, code text) TO backfill_submitter;


--
-- Name: FUNCTION relation_name(relation oid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.relation_name(relation oid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.relation_name(relation oid) TO backfill_submitter;


--
-- Name: FUNCTION relations_of(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.relations_of(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.relations_of(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION release_job(job_id bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.release_job(job_id bigint) FROM PUBLIC;


--
-- Name: FUNCTION resume(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.resume(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.resume(name text) TO backfill_submitter;


--
-- Name: FUNCTION retry(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.retry(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.retry(name text) TO backfill_submitter;


--
-- Name: FUNCTION retry_row(statement text, keys_of text, relation oid, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.retry_row(statement text, keys_of text, relation oid, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.retry_row(statement text, keys_of text, relation oid, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]) TO backfill_submitter;


--
-- Name: FUNCTION row_done(id bigint, rows bigint, wal_bytes bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.row_done(id bigint, rows bigint, wal_bytes bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.row_done(id bigint, rows bigint, wal_bytes bigint) TO backfill_submitter;


--
-- Name: FUNCTION row_lock(plan jsonb, relation_name name); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.row_lock(plan jsonb, relation_name name) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.row_lock(plan jsonb, relation_name name) TO backfill_submitter;


--
-- Name: FUNCTION run_batch(statement text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.run_batch(statement text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.run_batch(statement text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid) TO backfill_submitter;


--
-- Name: FUNCTION run_batch_skipping(statement text, keys_of text, relation oid, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.run_batch_skipping(statement text, keys_of text, relation oid, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.run_batch_skipping(statement text, keys_of text, relation oid, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]) TO backfill_submitter;


--
-- Name: FUNCTION session_start(pid integer); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.session_start(pid integer) FROM PUBLIC;


--
-- Name: FUNCTION skip_condition(prefix text, columns text[], types text[], collations text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.skip_condition(prefix text, columns text[], types text[], collations text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.skip_condition(prefix text, columns text[], types text[], collations text[]) TO backfill_submitter;


--
-- Name: FUNCTION statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text) TO backfill_submitter;


--
-- Name: FUNCTION survey(batch text, bound text, relation oid, upper text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.survey(batch text, bound text, relation oid, upper text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.survey(batch text, bound text, relation oid, upper text[]) TO backfill_submitter;


--
-- Name: FUNCTION table_lock(relation oid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.table_lock(relation oid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.table_lock(relation oid) TO backfill_submitter;


--
-- Name: FUNCTION take_range(job_id bigint, above bigint, OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean, OUT relation oid, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint, OUT keys_of text, OUT row_id bigint, OUT locked bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.take_range(job_id bigint, above bigint, OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean, OUT relation oid, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint, OUT keys_of text, OUT row_id bigint, OUT locked bigint) FROM PUBLIC;


--
-- Name: PROCEDURE wait(IN name text, IN timeout interval); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON PROCEDURE backfill.wait(IN name text, IN timeout interval) FROM PUBLIC;
GRANT ALL ON PROCEDURE backfill.wait(IN name text, IN timeout interval) TO backfill_submitter;
GRANT ALL ON PROCEDURE backfill.wait(IN name text, IN timeout interval) TO pg_monitor;


--
-- Name: FUNCTION want(name text, wanted text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.want(name text, wanted text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.want(name text, wanted text) TO backfill_submitter;


--
-- Name: TABLE installed; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT SELECT ON TABLE backfill.installed TO backfill_submitter;
GRANT SELECT ON TABLE backfill.installed TO pg_monitor;


--
-- Name: TABLE left_behind; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT SELECT ON TABLE backfill.left_behind TO backfill_submitter;
GRANT SELECT ON TABLE backfill.left_behind TO pg_monitor;


--
-- Name: TABLE range; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT SELECT ON TABLE backfill.range TO backfill_submitter;
GRANT SELECT ON TABLE backfill.range TO pg_monitor;


--
-- Name: TABLE status; Type: ACL; Schema: backfill; Owner: backfilld
--

GRANT SELECT ON TABLE backfill.status TO backfill_submitter;
GRANT SELECT ON TABLE backfill.status TO pg_monitor;


--
-- PostgreSQL database dump complete
--

\unrestrict lNqMwzODQfTveIlugilZodigdcNnOOEomdJBTu8bIoyE0No8dAIfYwlpKFAjkzK

