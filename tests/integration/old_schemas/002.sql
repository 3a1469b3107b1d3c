--
-- PostgreSQL database dump
--

\restrict lJRnDUWAV7oA7aBKJJJtWwSmvb01W6RM8Tdja1t0KqRdJFHdievIwL7tfpadfIK

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
  DELETE FROM backfill.left_behind l
   USING backfill.job j
   WHERE l.job_id = add_range.job_id AND l.relation = add_range.relation AND l.reason = 'error'
     AND j.id = l.job_id AND backfill.is_held(j);
  UPDATE backfill.range g
     SET found = 0
    FROM backfill.job j
   WHERE add_range.upper IS NULL AND g.job_id = add_range.job_id AND g.relation = add_range.relation
     AND j.id = g.job_id AND backfill.is_held(j);
  INSERT INTO backfill.range (job_id, submitted_by, relation, key, upper)
  SELECT j.id, j.submitted_by, add_range.relation, k.attnums, add_range.upper
    FROM backfill.job j,
         backfill.key_of(add_range.relation, backfill.key_numbers(add_range.relation, j.key)) k
   WHERE j.id = add_range.job_id AND backfill.is_held(j) AND add_range.upper IS NOT NULL
  ON CONFLICT (job_id, relation) WHERE lower IS NULL
  DO UPDATE SET key = excluded.key, upper = excluded.upper, cursor = NULL, keys = 0, found = 0, epoch = range.epoch + 1
$$;


ALTER FUNCTION backfill.add_range(job_id bigint, relation oid, upper text[]) OWNER TO backfilld;

--
-- Name: assigned_column(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.assigned_column(target text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN (parse_ident(backfill.next_token(backfill.trim_sql(target))))[1]::name;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN NULL;
END
$$;


ALTER FUNCTION backfill.assigned_column(target text) OWNER TO backfilld;

--
-- Name: assignments_of(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.assignments_of(set_clause text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  result  jsonb := '[]';
  item    text;
  sides   text[];
  targets text[];
  sources text[];
  inner_text text;
BEGIN
  FOREACH item IN ARRAY backfill.split_at(set_clause, ',') LOOP
    sides := backfill.split_at(item, '=');
    IF cardinality(sides) <> 2 THEN
      RETURN NULL;
    END IF;
    sides := ARRAY[backfill.trim_sql(sides[1]), backfill.trim_sql(sides[2])];
    targets := backfill.split_at(backfill.within_brackets(sides[1]), ',');
    IF targets IS NULL THEN
      targets := ARRAY[sides[1]];
      sources := ARRAY[sides[2]];
    ELSE
      inner_text := backfill.within_brackets(CASE WHEN lower(backfill.next_token(sides[2])) = 'row' THEN substr(sides[2], 4) ELSE sides[2] END);
      sources := CASE WHEN lower(backfill.next_token(backfill.trim_sql(inner_text))) IN ('select', 'with', 'values', 'table') THEN ARRAY[sides[2]]
                      ELSE backfill.split_at(inner_text, ',') END;
    END IF;
    targets := ARRAY(SELECT backfill.trim_sql(t) FROM unnest(targets) WITH ORDINALITY AS u(t, ord) ORDER BY ord);
    IF cardinality(sources) = cardinality(targets) THEN
      result := result || (SELECT jsonb_agg(jsonb_build_object('to', t, 'columns', jsonb_build_array(backfill.assigned_column(t)), 'expression', backfill.trim_sql(s)) ORDER BY ord)
                             FROM unnest(targets, sources) WITH ORDINALITY AS u(t, s, ord));
    ELSIF cardinality(sources) = 1 THEN
      result := result || jsonb_build_object('to', sides[1], 'expression', sides[2],
                                             'columns', (SELECT jsonb_agg(backfill.assigned_column(t) ORDER BY ord) FROM unnest(targets) WITH ORDINALITY AS u(t, ord)));
    ELSE
      RETURN NULL;
    END IF;
  END LOOP;
  RETURN CASE WHEN NOT jsonb_path_exists(result, '$[*] ? (@.columns[*] == null || @.expression == "")') THEN result END;
END
$_$;


ALTER FUNCTION backfill.assignments_of(set_clause text) OWNER TO backfilld;

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
-- Name: begin_phase(bigint, text, text, bigint, jsonb, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.begin_phase(job_id bigint, from_phase text, phase text, estimate bigint, seen jsonb, disk_free bigint, OUT ours boolean, OUT preflight text) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  job   backfill.job;
  result jsonb;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id FOR UPDATE;
  ours := FOUND AND backfill.is_held(job)
          AND (job.phase = begin_phase.phase OR NOT backfill.has_moved_back(job, from_phase));  -- it may be sent again
  IF NOT ours THEN
    RETURN;
  END IF;
  IF seen IS NOT NULL THEN
    result := backfill.preflight(job, estimate, seen, disk_free);
    preflight := backfill.preflight_in_words(result);
  END IF;
  UPDATE backfill.job j
     SET phase = begin_phase.phase,
         estimate = coalesce(begin_phase.estimate, j.estimate),
         tidy = j.tidy OR (begin_phase.phase = 'expand' AND j.keep_in_sync) OR (begin_phase.phase IN ('guard', 'validate') AND j.enforce IS NOT NULL),
         before = coalesce(j.before, backfill.look_at(j.target, j.submitted_by)),
         report = CASE WHEN result IS NULL THEN j.report ELSE coalesce(j.report, '{}') || jsonb_build_object('preflight', result) END
   WHERE j.id = job_id;
END
$$;


ALTER FUNCTION backfill.begin_phase(job_id bigint, from_phase text, phase text, estimate bigint, seen jsonb, disk_free bigint, OUT ours boolean, OUT preflight text) OWNER TO backfilld;

--
-- Name: between_looks(jsonb, jsonb); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.between_looks(from_look jsonb, to_look jsonb) RETURNS TABLE(queryid text, query text, calls bigint, mean_ms numeric, rows_a_call numeric)
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT t.queryid, t.query, t.calls, round(t.ms / t.calls, 3), round(t.rows::numeric / t.calls, 1)
    FROM (SELECT b.key AS queryid, b.value ->> 'query' AS query,
                 (b.value -> 'calls')::bigint - coalesce((a.value -> 'calls')::bigint, 0) AS calls,
                 (b.value -> 'ms')::numeric - coalesce((a.value -> 'ms')::numeric, 0) AS ms,
                 (b.value -> 'rows')::bigint - coalesce((a.value -> 'rows')::bigint, 0) AS rows
            FROM jsonb_each(to_look -> 'statements') b
            LEFT JOIN jsonb_each(from_look -> 'statements') a ON a.key = b.key) t
   WHERE t.calls > 0
$$;


ALTER FUNCTION backfill.between_looks(from_look jsonb, to_look jsonb) OWNER TO backfilld;

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
    plan jsonb DEFAULT '{}'::jsonb NOT NULL,
    tidy boolean DEFAULT false NOT NULL,
    before jsonb,
    after jsonb,
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
-- Name: can_yield(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.can_yield(job backfill.job) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT job.statement IS NULL
         AND coalesce((SELECT has_function_privilege(r.oid, 'pg_catalog.pg_sleep(double precision)', 'EXECUTE') FROM pg_roles r WHERE r.rolname = job.owner), false)
$$;


ALTER FUNCTION backfill.can_yield(job backfill.job) OWNER TO backfilld;

--
-- Name: cancel(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.cancel(name text) RETURNS void
    LANGUAGE sql
    AS $$ SELECT backfill.want(name, 'cancel') $$;


ALTER FUNCTION backfill.cancel(name text) OWNER TO backfilld;

--
-- Name: change_job(backfill.job, backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.change_job(old backfill.job, new backfill.job) RETURNS backfill.job
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM backfill.check_not_yet(NEW);
  PERFORM backfill.check_throttle_off(NEW);
  IF NEW.active_hours IS DISTINCT FROM OLD.active_hours THEN
    PERFORM backfill.check_active_hours(NEW);
  END IF;
  IF NEW.wanted = 'finish' AND OLD.wanted = 'finish' AND OLD.keep_in_sync AND OLD.holder_pid IS NULL THEN
    NEW.tidy := true;  -- it could not be tidied up before
  END IF;
  IF NEW.wanted = OLD.wanted THEN
    RETURN backfill.keep_hours(NEW);
  END IF;
  IF OLD.wanted = 'cancel' AND OLD.state = 'running' THEN
    PERFORM backfill.refuse('wanted', format('job %I is being cancelled', OLD.name), 'Insert a new job.', '55000');
  ELSIF NEW.wanted = 'finish' AND NOT OLD.keep_in_sync AND NOT OLD.tidy THEN
    PERFORM backfill.refuse('wanted', format('job %I keeps nothing in step, so there is nothing to finish', OLD.name),
                            'finish is for jobs with keep_in_sync.', '55000');
  ELSIF NEW.wanted = 'finish' AND OLD.state NOT IN ('succeeded', 'failed') THEN
    PERFORM backfill.refuse('wanted', format('job %I is %s', OLD.name, OLD.state),
                            'finish is for a job that has succeeded or failed; cancel ends one that has not.', '55000');
  ELSIF NEW.wanted = 'finish' THEN
    NULL;  -- a daemon takes out what is still in the table
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


ALTER FUNCTION backfill.change_job(old backfill.job, new backfill.job) OWNER TO backfilld;

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
-- Name: check_batch(text, oid, text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_batch(batch text, relation oid, upper text[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  plan jsonb;
BEGIN
  FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || batch USING upper, upper, NULL::text[], NULL::bigint LOOP
    IF backfill.plan_reads_all(plan, (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = relation)) THEN
      RAISE EXCEPTION 'a batch of % would read the whole table', backfill.relation_name(relation)
        USING ERRCODE = '42P16', DETAIL = plan::text,
              HINT = 'Its statement must reach the table by the key: put {batch} where the condition on this table stands.';
    END IF;
  END LOOP;
END
$$;


ALTER FUNCTION backfill.check_batch(batch text, relation oid, upper text[]) OWNER TO backfilld;

--
-- Name: check_bound(text, oid, text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_bound(bound text, relation oid, upper text[]) RETURNS bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
  rows bigint;
  live bigint;
  plan jsonb;
BEGIN
  FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || bound USING NULL::text[], upper, 1000::bigint LOOP
    IF backfill.plan_reads_all(plan, (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = relation))
       OR jsonb_path_exists(plan, 'strict $.**."Node Type" ? (@ == "Sort")', silent => true) THEN
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


ALTER FUNCTION backfill.check_bound(bound text, relation oid, upper text[]) OWNER TO backfilld;

--
-- Name: check_clauses(backfill.job, oid, text[], text[], text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_clauses(job backfill.job, relation oid, columns text[], types text[], collations text[]) RETURNS void
    LANGUAGE plpgsql
    AS $_$
DECLARE
  name  text := 'ONLY ' || backfill.relation_name(relation);
  plan  jsonb;
BEGIN
  IF job.where_clause IS NOT NULL THEN
    PERFORM backfill.check_plan('where_clause', format(E'SELECT FROM %s WHERE %s', name, job.where_clause));
    PERFORM backfill.check_plan('where_clause', format(E'SELECT FROM %s WHERE (%s\n)', name, job.where_clause));
  END IF;
  IF job.set_clause IS NOT NULL THEN
    PERFORM backfill.check_plan('set_clause', format(E'UPDATE %s SET %s', name, job.set_clause));
    PERFORM backfill.check_plan('set_clause', (backfill.statements(job, relation, columns, types, collations, false)).batch);
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


ALTER FUNCTION backfill.check_clauses(job backfill.job, relation oid, columns text[], types text[], collations text[]) OWNER TO backfilld;

--
-- Name: check_combination(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_combination(job backfill.job) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  fills boolean := job.set_clause IS NOT NULL OR job.statement IS NOT NULL;
BEGIN
  IF job.drop_column IS NOT NULL AND (fills OR job.add_column IS NOT NULL OR job.enforce IS NOT NULL OR job.where_clause IS NOT NULL) THEN
    PERFORM backfill.refuse('drop_column', 'stands beside other work',
                            'Insert a job of its own for it, when the application uses the column no more.');
  ELSIF NOT fills AND job.enforce IS NULL AND job.drop_column IS NULL THEN
    PERFORM backfill.refuse('set_clause', 'the job says nothing to do',
                            'Give set_clause (''amount_cents = (amount * 100)::bigint''), statement, enforce or drop_column.', '23502');
  ELSIF job.set_clause IS NOT NULL AND job.statement IS NOT NULL THEN
    PERFORM backfill.refuse('statement', 'stands beside set_clause', 'Give one of set_clause and statement.');
  ELSIF job.where_clause IS NOT NULL AND job.set_clause IS NULL THEN
    PERFORM backfill.refuse('where_clause', 'goes with set_clause only', CASE WHEN job.statement IS NULL
      THEN 'Leave it out: a job without set_clause changes no rows.' ELSE 'Write the condition into the statement, beside {batch}.' END);
  ELSIF job.statement IS NOT NULL AND job.statement !~ '\{batch[ }]' THEN
    PERFORM backfill.refuse('statement', 'does not say where the batch goes',
                            'Write {batch} into its WHERE clause; {batch o} when the table has the alias o.', '42601');
  ELSIF job.add_column IS NOT NULL AND job.set_clause IS NULL THEN
    PERFORM backfill.refuse('add_column', 'goes with set_clause only', 'Add the column first (ALTER TABLE … ADD COLUMN), then insert the job.');
  ELSIF job.keep_in_sync AND job.set_clause IS NULL THEN
    PERFORM backfill.refuse('keep_in_sync', 'goes with set_clause only', 'The trigger computes set_clause for each row that is written.');
  ELSIF fills AND job.enforce IS NOT NULL AND NOT job.keep_in_sync AND job.where_clause IS NULL AND job.add_column IS NULL THEN
    PERFORM backfill.refuse('enforce', 'nothing tells when the application has ceased to write rows that break it',
                            'Give where_clause, by which rows that are still to do are found, or keep_in_sync.');
  ELSIF job.enforce = '{}' OR array_position(job.enforce, NULL) IS NOT NULL THEN
    PERFORM backfill.refuse('enforce', 'holds nothing, or NULL', 'Leave it out, or write ''{NOT NULL amount_cents}''.');
  ELSIF job.dry_run AND NOT fills THEN
    PERFORM backfill.refuse('dry_run', 'goes with set_clause or statement', 'It tries one batch; a job that changes no rows has none.');
  ELSIF job.wanted NOT IN ('run', 'pause') THEN
    PERFORM backfill.refuse('wanted', format('a new job can''t want %L', job.wanted), 'Insert it with run or pause.');
  END IF;
END
$$;


ALTER FUNCTION backfill.check_combination(job backfill.job) OWNER TO backfilld;

--
-- Name: check_drop_column(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_drop_column(job backfill.job) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  name text := backfill.relation_name(job.target);
BEGIN
  IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = job.drop_column AND a.attnum > 0 AND NOT a.attisdropped) THEN
    PERFORM backfill.refuse('drop_column', format('%s has no column %s', name, job.drop_column), 'Write its name as the catalog has it, without quotes.', '42703');
  ELSIF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = job.target), 'USAGE') THEN
    PERFORM backfill.refuse('drop_column', format('only the owner of %s can drop a column', name), 'Insert the job as that role, or SET ROLE to it first.', '42501');
  ELSIF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = job.drop_column AND a.attinhcount > 0) THEN
    PERFORM backfill.refuse('drop_column', format('%s has the column from a parent', name), 'Insert the job for the topmost table.', '42P16');
  END IF;
END
$$;


ALTER FUNCTION backfill.check_drop_column(job backfill.job) OWNER TO backfilld;

--
-- Name: check_given_name(oid, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_given_name(target oid, given text, definition text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  other text := backfill.other_constraint(target, given, definition);
BEGIN
  IF other IS NOT NULL THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('constraint %I of %s is another: %s', given, backfill.relation_name(target), other),
                            'Give it another name, or none.', '42710');
  ELSIF EXISTS (SELECT FROM pg_catalog.pg_class i
                 WHERE i.relname = given AND i.relnamespace = (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = target)
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.oid AND k.conrelid = target)) THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('%I is the name of an index or a table that is there', given),
                            'Give it another name, or none; drop an index that was left behind invalid.', '42P07');
  END IF;
END
$$;


ALTER FUNCTION backfill.check_given_name(target oid, given text, definition text) OWNER TO backfilld;

--
-- Name: check_ignore(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_ignore(job backfill.job) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  kinds   constant text[] := '{views, functions, indexes, constraints, triggers, policies, publications, generated, statements}';
  unknown text := (SELECT u FROM unnest(job.ignore) u WHERE u IS NULL OR u <> ALL (kinds) LIMIT 1);
BEGIN
  IF NOT job.ignore <@ kinds THEN
    PERFORM backfill.refuse('ignore', format('there is nothing called %L to ignore', unknown), format('It may hold %s.', array_to_string(kinds, ', ')));
  ELSIF job.ignore IS NOT NULL AND job.drop_column IS NULL THEN
    PERFORM backfill.refuse('ignore', 'goes with drop_column only', 'It names what may still use a column that is dropped.');
  END IF;
END
$$;


ALTER FUNCTION backfill.check_ignore(job backfill.job) OWNER TO backfilld;

--
-- Name: check_is_there(oid, backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_is_there(relation oid, job backfill.job) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF backfill.relation_name(relation) IS NULL THEN
    RAISE EXCEPTION 'a table of job "%" was dropped just now', job.name USING ERRCODE = '40001';
  END IF;
END
$$;


ALTER FUNCTION backfill.check_is_there(relation oid, job backfill.job) OWNER TO backfilld;

--
-- Name: check_job(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_job(job backfill.job) RETURNS backfill.job
    LANGUAGE plpgsql
    AS $$
DECLARE
  k record;
BEGIN
  PERFORM backfill.check_not_yet(job);
  PERFORM backfill.check_throttle_off(job);
  PERFORM backfill.check_active_hours(job);
  PERFORM backfill.check_combination(job);
  PERFORM backfill.check_ignore(job);
  SELECT * INTO k FROM backfill.check_target(job);
  IF job.drop_column IS NOT NULL THEN
    PERFORM backfill.check_drop_column(job);
  END IF;
  IF job.add_column IS NOT NULL OR job.keep_in_sync OR job.enforce IS NOT NULL THEN
    job.plan := backfill.make_plan(job, k.columns, k.types, k.collations);
  END IF;
  IF job.add_column IS NOT NULL THEN
    job.where_clause := coalesce(job.where_clause, quote_ident(job.plan -> 'column' ->> 'name') || ' IS NULL');
  END IF;
  IF backfill.has_column(job) THEN
    PERFORM backfill.check_clauses(job, job.target, k.columns, k.types, k.collations);
  END IF;
  RETURN job;
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
      FROM (VALUES ('scan', job.scan = 'ctid'), ('workers', job.workers > 1)) AS v(name, used)
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
-- Name: check_schema_right(backfill.job, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.check_schema_right(job backfill.job, column_name text, what text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  schema regnamespace := (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = job.target);
BEGIN
  IF NOT pg_catalog.has_schema_privilege(schema::oid, 'CREATE') THEN
    PERFORM backfill.refuse(column_name, pg_catalog.format('%I may not create %s in schema %s', current_user, what, schema),
                            pg_catalog.format('GRANT CREATE ON SCHEMA %s TO %I.', schema, current_user), '42501');
  END IF;
END
$$;


ALTER FUNCTION backfill.check_schema_right(job backfill.job, column_name text, what text) OWNER TO backfilld;

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
  ELSIF job.set_clause IS NULL AND job.statement IS NULL THEN
    RETURN;  -- nothing to walk
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
      PERFORM backfill.check_is_there(part, job);
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
         found = r.found + greatest(checkpoint.rows, 0),
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
  SELECT j.id INTO job_id
    FROM backfill.job j
   WHERE j.tidy AND j.state IN ('succeeded', 'failed', 'cancelled') AND backfill.is_untidy(j)
     AND (j.holder_pid IS NULL OR backfill.session_start(j.holder_pid) IS DISTINCT FROM j.holder_start)
   ORDER BY j.id
   LIMIT 1
     FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    UPDATE backfill.job j SET holder_pid = pg_backend_pid(), holder_start = mine_start WHERE j.id = job_id RETURNING j.* INTO job;
    held_elsewhere := true;  -- worth another look soon
    RETURN;
  END IF;

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
         AND NOT EXISTS (SELECT FROM backfill.job r  -- apart, for each has an index of its own
                          WHERE r.tidy AND r.state IN ('succeeded', 'failed', 'cancelled') AND r.root = j.root AND backfill.is_untidy(r))
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
-- Name: compare(backfill.job, jsonb); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.compare(job backfill.job, now jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'definition', (SELECT jsonb_agg(d.line ORDER BY substr(d.line, 3), d.line DESC)
                     FROM (SELECT '- ' || line AS line FROM (SELECT jsonb_array_elements_text(job.before -> 'definition') AS line
                                                             EXCEPT SELECT jsonb_array_elements_text(now -> 'definition')) gone
                           UNION ALL
                           SELECT '+ ' || line FROM (SELECT jsonb_array_elements_text(now -> 'definition') AS line
                                                     EXCEPT SELECT jsonb_array_elements_text(job.before -> 'definition')) new) d),
    'statements', (SELECT jsonb_agg(to_jsonb(t) - '{slower_during, slower_after}'::text[] ORDER BY t.during_calls * t.during_ms DESC NULLS LAST)
                     FROM backfill.three_times(job, now) t),
    'slower', (SELECT jsonb_agg(format('%s: %s ms before, %s ms while the job ran', t.query, t.before_ms, t.during_ms)) FROM backfill.three_times(job, now) t WHERE t.slower_during),
    'slower_after', (SELECT jsonb_agg(format('%s: %s ms before, %s ms after the job', t.query, t.before_ms, t.after_ms)) FROM backfill.three_times(job, now) t WHERE t.slower_after)))
   WHERE job.before IS NOT NULL AND now ? 'definition'
$$;


ALTER FUNCTION backfill.compare(job backfill.job, now jsonb) OWNER TO backfilld;

--
-- Name: constraint_name(oid, text, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.constraint_name(target oid, middle text, ending text, definition text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  class pg_class;
  stem  text;
  name  text;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = target;
  stem := class.relname || coalesce('_' || middle, '');
  WHILE octet_length(stem) > 63 - length(ending) - 4 LOOP  -- the server counts bytes; four for "_" and a number
    stem := left(stem, -1);
  END LOOP;
  FOR n IN 0 .. 999 LOOP
    name := stem || '_' || ending || coalesce(nullif(n, 0)::text, '');
    EXIT WHEN backfill.other_constraint(target, name, definition) IS NULL
          AND NOT EXISTS (SELECT FROM pg_class i
                           WHERE i.relnamespace = class.relnamespace AND i.relname = name
                             AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.conrelid = target));
  END LOOP;
  RETURN name;
END
$$;


ALTER FUNCTION backfill.constraint_name(target oid, middle text, ending text, definition text) OWNER TO backfilld;

--
-- Name: copy_statement(oid); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.copy_statement(target oid) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT format('CREATE TEMPORARY TABLE %I (LIKE %s INCLUDING GENERATED)', c.relname, backfill.relation_name(c.oid))
    FROM pg_class c WHERE c.oid = target
$$;


ALTER FUNCTION backfill.copy_statement(target oid) OWNER TO backfilld;

--
-- Name: definition_of(oid); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.definition_of(relation oid) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT array_agg(line ORDER BY kind, line)
    FROM (SELECT 1 AS kind, format('column %I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN backfill.is_not_null(relation, a.attname) THEN ' NOT NULL' END,
                                   CASE a.attgenerated WHEN '' THEN ' DEFAULT ' ELSE ' GENERATED ALWAYS AS ' END || pg_get_expr(d.adbin, d.adrelid)) AS line
            FROM pg_attribute a
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
           WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
          UNION ALL
          SELECT 2, format('constraint %I %s', k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint k
           WHERE k.conrelid = relation AND NOT (k.contype = 'n' AND k.convalidated)  -- the column's own line has it
          UNION ALL
          SELECT 3, pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END FROM pg_index i WHERE i.indrelid = relation
          UNION ALL
          SELECT 4, pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = relation AND NOT t.tgisinternal) AS lines
$$;


ALTER FUNCTION backfill.definition_of(relation oid) OWNER TO backfilld;

--
-- Name: effect(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.effect(name text) RETURNS TABLE(query text, before_calls bigint, before_ms numeric, during_calls bigint, during_ms numeric, after_calls bigint, after_ms numeric)
    LANGUAGE sql STABLE
    AS $$
  SELECT t.query, t.before_calls, t.before_ms, t.during_calls, t.during_ms, t.after_calls, t.after_ms
    FROM backfill.job_named(name) j, backfill.three_times(j, backfill.look_at(j.target, j.submitted_by)) t
   WHERE j.before IS NOT NULL
   ORDER BY coalesce(t.during_calls * t.during_ms, 0) + coalesce(t.after_calls * t.after_ms, 0) DESC
$$;


ALTER FUNCTION backfill.effect(name text) OWNER TO backfilld;

--
-- Name: end_job(bigint, text, text, text, jsonb); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.end_job(job_id bigint, state text, error text, hint text, measured jsonb) RETURNS text[]
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  UPDATE backfill.job j
     SET after = l.now - 'definition', state = end_job.state,
         error = end_job.error,
         hint = end_job.hint,
         waiting_for = NULL, holder_pid = NULL, holder_start = NULL,
         finished_at = clock_timestamp(),
         tidy = j.tidy AND (j.keep_in_sync OR end_job.state <> 'succeeded'),  -- what is left is wanted, or goes with finish
         report = coalesce(j.report, '{}') || coalesce(backfill.compare(j, l.now), '{}') || jsonb_build_object(
                    'rows', r.rows, 'keys', r.keys, 'ranges', r.ranges, 'batches', r.batches, 'wal_bytes', r.wal_bytes,
                    'seconds', round(extract(epoch FROM clock_timestamp() - j.started_at)::numeric, 3),
                    'left_behind', (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = j.id))
                  || measured
    FROM (SELECT coalesce(sum(g.rows), 0) AS rows, coalesce(sum(g.keys), 0) AS keys, count(*) AS ranges,
                 coalesce(sum(g.batches), 0) AS batches, coalesce(sum(g.wal_bytes), 0) AS wal_bytes
            FROM backfill.range g WHERE g.job_id = end_job.job_id) r,
         (SELECT backfill.look_at(o.target, o.submitted_by) AS now FROM backfill.job o WHERE o.id = end_job.job_id) l
   WHERE j.id = end_job.job_id AND backfill.is_held(j)
  RETURNING ARRAY(SELECT jsonb_array_elements_text(j.report -> 'slower'))
$$;


ALTER FUNCTION backfill.end_job(job_id bigint, state text, error text, hint text, measured jsonb) OWNER TO backfilld;

--
-- Name: end_tidy(bigint, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.end_tidy(job_id bigint, error text, hint text) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  UPDATE backfill.job j
     SET tidy = false, waiting_for = NULL, holder_pid = NULL, holder_start = NULL,
         report = coalesce(j.report, '{}') || coalesce(backfill.compare(j, backfill.look_at(j.target, j.submitted_by)), '{}'),
         error = coalesce(end_tidy.error, j.error), hint = coalesce(end_tidy.hint, CASE WHEN j.state = 'failed' THEN j.hint END)
   WHERE j.id = end_tidy.job_id AND backfill.is_held(j)
$$;


ALTER FUNCTION backfill.end_tidy(job_id bigint, error text, hint text) OWNER TO backfilld;

--
-- Name: find_item(backfill.job, jsonb); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.find_item(job backfill.job, item jsonb, OUT constraint_name name, OUT kind "char", OUT validated boolean, OUT index_oid oid, OUT index_valid boolean, OUT is_not_null boolean, OUT is_another boolean) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT k.conname, k.contype, k.convalidated, i.indexrelid, i.indisvalid, backfill.is_not_null(job.target, (item ->> 'column')::name),
         k.conname = item ->> 'name' AND backfill.other_constraint(job.target, item ->> 'name', item ->> 'definition') IS NOT NULL
         OR pg_get_indexdef(i.indexrelid) !~ (' USING ' || regexp_replace(item ->> 'index', '([^[:alnum:]_ ])', '\\\1', 'g') || '$')
    FROM (SELECT 1) one
    LEFT JOIN LATERAL (
      SELECT c.conname, c.contype, c.convalidated
        FROM pg_constraint c
       WHERE c.conrelid = job.target
         AND (c.conname = item ->> 'name'
              OR c.contype = 'n' AND c.conkey = ARRAY[(SELECT a.attnum FROM pg_attribute a
                                                        WHERE a.attrelid = job.target AND a.attname = item ->> 'column')])
       ORDER BY c.contype <> 'n' LIMIT 1) k ON true
    LEFT JOIN (pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND i.indisunique)
           ON i.indrelid = job.target AND c.relname = item ->> 'name'
$_$;


ALTER FUNCTION backfill.find_item(job backfill.job, item jsonb, OUT constraint_name name, OUT kind "char", OUT validated boolean, OUT index_oid oid, OUT index_valid boolean, OUT is_not_null boolean, OUT is_another boolean) OWNER TO backfilld;

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
-- Name: has_column(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.has_column(job backfill.job) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT job.add_column IS NULL
      OR EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = job.target AND a.attname = job.plan -> 'column' ->> 'name' AND a.attnum > 0 AND NOT a.attisdropped)
$$;


ALTER FUNCTION backfill.has_column(job backfill.job) OWNER TO backfilld;

--
-- Name: has_constraint(oid, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.has_constraint(target oid, name text, definition text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM pg_constraint k
                  WHERE k.conrelid = target AND k.conname = name AND replace(pg_get_constraintdef(k.oid), ' NOT VALID', '') = definition)
$$;


ALTER FUNCTION backfill.has_constraint(target oid, name text, definition text) OWNER TO backfilld;

--
-- Name: has_moved_back(backfill.job, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.has_moved_back(job backfill.job, phase text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF job.state <> 'running' OR job.phase = phase OR NOT backfill.is_held(job) THEN
    RETURN false;
  END IF;
  PERFORM backfill.give_back(job);
  RETURN true;
END
$$;


ALTER FUNCTION backfill.has_moved_back(job backfill.job, phase text) OWNER TO backfilld;

--
-- Name: hold_again(bigint[], integer, timestamp with time zone); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.hold_again(jobs bigint[], old_pid integer, old_start timestamp with time zone) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  UPDATE backfill.job
     SET holder_pid = pg_backend_pid(), holder_start = backfill.session_start()
   WHERE id = ANY (jobs) AND (holder_pid, holder_start) = (old_pid, old_start)
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
  RETURN ARRAY(SELECT DISTINCT coalesce(l.pid, -(l.transactionid::text::bigint & 2147483647)::integer) AS holder FROM pg_locks l
                WHERE l.locktype = 'transactionid' AND l.granted AND l.transactionid = ANY (holding)
                  AND l.pid IS DISTINCT FROM pg_backend_pid()
                ORDER BY holder);
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
  SELECT (job.holder_pid, job.holder_start) IS NOT DISTINCT FROM (pg_backend_pid(), backfill.session_start())
$$;


ALTER FUNCTION backfill.is_held(job backfill.job) OWNER TO backfilld;

--
-- Name: is_not_null(oid, name); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.is_not_null(relation oid, column_name name) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k
                                       WHERE k.conrelid = relation AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated)
    FROM pg_attribute a
   WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
$$;


ALTER FUNCTION backfill.is_not_null(relation oid, column_name name) OWNER TO backfilld;

--
-- Name: is_untidy(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.is_untidy(job backfill.job) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT job.tidy AND (job.state = 'cancelled' OR (job.state IN ('succeeded', 'failed') AND job.wanted = 'finish'))
$$;


ALTER FUNCTION backfill.is_untidy(job backfill.job) OWNER TO backfilld;

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
  NEW.plan := '{}'; NEW.tidy := false; NEW.before := NULL; NEW.after := NULL;

  IF EXISTS (SELECT FROM backfill.job j WHERE j.name = NEW.name) THEN
    RETURN NEW;  -- the unique constraint has its say, or ON CONFLICT DO NOTHING: a migration that runs again
  END IF;
  BEGIN
    NEW := backfill.check_job(NEW);
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
    AS $$
DECLARE
  message     text;
  hint        text;
  code        text;
  column_name text;
BEGIN
  RETURN backfill.change_job(OLD, NEW);
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS
    message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE, column_name = COLUMN_NAME;
  RAISE EXCEPTION USING
    MESSAGE = message, HINT = hint, ERRCODE = code,
    SCHEMA = 'backfill', TABLE = 'job', COLUMN = column_name;
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
             bool_and(backfill.is_not_null(relation, a.attname)) AS not_null,
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

CREATE FUNCTION backfill.layout(job_id bigint) RETURNS TABLE(relation oid, name text, batch text, bound text, last text, keys_of text, on_copy boolean, trial bigint, data_directory text)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  job     backfill.job;
  r       oid;
  k       record;
  trying  boolean;
  largest oid;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  IF job.set_clause IS NULL AND job.statement IS NULL THEN
    RETURN;
  END IF;
  DELETE FROM backfill.range g WHERE g.job_id = layout.job_id AND job.phase = 'preflight' AND backfill.is_held(job);
  PERFORM backfill.check_target(job);
  trying := job.phase = 'preflight' AND (job.dry_run OR job.plan <> '{}');
  largest := (SELECT c.oid FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o ORDER BY c.relpages DESC, c.reltuples DESC LIMIT 1);
  on_copy := NOT backfill.has_column(job);
  FOR r IN SELECT * FROM backfill.relations_of(job) LOOP
    IF on_copy AND r <> largest THEN
      CONTINUE;
    END IF;
    SELECT * INTO k FROM backfill.key_of(r, backfill.key_numbers(r, job.key));
    relation := r;
    name := backfill.relation_name(r);
    SELECT s.batch, s.bound, s.last, s.keys INTO batch, bound, last, keys_of
      FROM backfill.statements(job, r, k.columns, k.types, k.collations, false) s;
    PERFORM backfill.check_is_there(r, job);
    trial := CASE WHEN trying AND r = largest THEN 100 ELSE 0 END;
    data_directory := (SELECT s.setting FROM pg_settings s WHERE s.name = 'data_directory');  -- NULL without pg_monitor
    RETURN NEXT;
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
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT 'locked by ' ||
         coalesce((SELECT string_agg(CASE WHEN h.holder > 0 THEN 'pid ' || h.holder
                                          ELSE coalesce('prepared transaction ' || quote_literal(t.gid), 'a prepared transaction') END, ', ')
                     FROM unnest(holders) AS h(holder)
                     LEFT JOIN pg_prepared_xacts t ON t.transaction::text::bigint & 2147483647 = -h.holder), 'another session')
$$;


ALTER FUNCTION backfill.locked_by(holders integer[]) OWNER TO backfilld;

--
-- Name: look_at(oid, name); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.look_at(relation oid, for_role name) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object('at', clock_timestamp(), 'definition', backfill.definition_of(relation),
                                              'statements', backfill.statements_on(relation, for_role)))
$$;


ALTER FUNCTION backfill.look_at(relation oid, for_role name) OWNER TO backfilld;

--
-- Name: make_copy(backfill.job, oid, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.make_copy(job backfill.job, relation oid, keys bigint) RETURNS regclass
    LANGUAGE plpgsql
    AS $$
DECLARE
  copy text := pg_catalog.format('pg_temp.%I', (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = relation));
  list text := (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ')
                  FROM pg_catalog.pg_attribute a
                 WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '');
BEGIN
  PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
  EXECUTE backfill.copy_statement(relation);
  EXECUTE pg_catalog.format('ALTER TABLE %s ADD COLUMN %s', copy, job.add_column);
  EXECUTE pg_catalog.format('INSERT INTO %s (%s) SELECT %s FROM ONLY %s LIMIT %s', copy, list, list, backfill.relation_name(relation), keys);
  RETURN copy::regclass;
END
$$;


ALTER FUNCTION backfill.make_copy(job backfill.job, relation oid, keys bigint) OWNER TO backfilld;

--
-- Name: make_plan(backfill.job, text[], text[], text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.make_plan(job backfill.job, columns text[], types text[], collations text[]) RETURNS jsonb
    LANGUAGE plpgsql
    AS $$
DECLARE
  copy text := pg_catalog.format('pg_temp.%I', (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = job.target));
  plan jsonb := '{}';
  item text;
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'r' WHERE i.inhparent = job.target) THEN
    PERFORM backfill.refuse('target', pg_catalog.format('%s has inheritance children', backfill.relation_name(job.target)),
                            'They would get its column and constraints, but not its batches: fill each with a job of its own, and change the definition by hand.', '0A000');
  END IF;
  BEGIN
    PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
    PERFORM backfill.try_command('target', backfill.copy_statement(job.target), 'A job of this kind is checked on a temporary copy of the table, which has no rows.');
    IF job.add_column IS NOT NULL THEN
      plan := plan || pg_catalog.jsonb_build_object('column', backfill.read_column(job, copy));
      job.where_clause := coalesce(job.where_clause, pg_catalog.quote_ident(plan -> 'column' ->> 'name') || ' IS NULL');
    END IF;
    IF job.set_clause IS NOT NULL THEN
      PERFORM backfill.check_clauses(job, copy::regclass, columns, types, collations);
    END IF;
    IF job.keep_in_sync THEN
      plan := plan || pg_catalog.jsonb_build_object('sync', backfill.read_assignments(job, copy));
    END IF;
    FOREACH item IN ARRAY coalesce(job.enforce, '{}') LOOP
      plan := pg_catalog.jsonb_insert(CASE WHEN plan ? 'enforce' THEN plan ELSE plan || '{"enforce": []}' END,
                                      '{enforce, -1}', backfill.read_constraint(job, copy, item), true);
    END LOOP;
    RAISE EXCEPTION USING ERRCODE = 'BF900';
  EXCEPTION WHEN SQLSTATE 'BF900' THEN
    NULL;  -- all that was made is gone
  END;
  RETURN plan;
END
$$;


ALTER FUNCTION backfill.make_plan(job backfill.job, columns text[], types text[], collations text[]) OWNER TO backfilld;

--
-- Name: may_see_statements(name, oid); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.may_see_statements(role name, of oid) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT coalesce((SELECT pg_has_role(r.oid, of, 'USAGE') OR pg_has_role(r.oid, 'pg_read_all_stats', 'USAGE') FROM pg_roles r WHERE r.rolname = role), false)
$$;


ALTER FUNCTION backfill.may_see_statements(role name, of oid) OWNER TO backfilld;

--
-- Name: next_step(bigint, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.next_step(job_id bigint, phase text) RETURNS TABLE(step text, commands text[], apart boolean, relation oid, name text, words text)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  job   backfill.job;
  item  jsonb;
  it    record;
  existing boolean;
  newer boolean := current_setting('server_version_num')::integer >= 180000;
  uses  text;
BEGIN
  SELECT * INTO job FROM backfill.job j WHERE j.id = job_id;
  IF NOT backfill.is_held(job) OR (phase <> 'tidy' AND backfill.has_moved_back(job, phase)) THEN
    RETURN;  -- whoever begins the next phase is told so
  END IF;
  relation := job.target;
  name := backfill.relation_name(job.target);
  apart := false;
  IF name IS NULL THEN
    IF phase = 'tidy' THEN
      RETURN;  -- went with its table
    END IF;
    RAISE EXCEPTION 'the table of job "%" was dropped', job.name USING ERRCODE = '42P01', HINT = 'There is nothing left to fill.';
  END IF;

  IF phase = 'expand' THEN
    IF NOT backfill.has_column(job) THEN
      step := 'add column';
      commands := ARRAY[format('ALTER TABLE %s ADD COLUMN %I %s%s', name, job.plan -> 'column' ->> 'name', job.plan -> 'column' ->> 'type',
                               coalesce(' COLLATE ' || (job.plan -> 'column' ->> 'collation'), ''))];
      words := format('column %s %s', job.plan -> 'column' ->> 'name', job.plan -> 'column' ->> 'type');
      RETURN NEXT;
      RETURN;
    END IF;
    IF job.keep_in_sync AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = job.target AND t.tgname = backfill.sync_name(job)) THEN
      step := 'keep in sync';
      commands := backfill.sync_commands(job);
      words := format('trigger %s', backfill.sync_name(job));
      RETURN NEXT;
    END IF;
    RETURN;
  END IF;

  FOR item IN SELECT * FROM jsonb_array_elements(job.plan -> 'enforce') LOOP
    SELECT * INTO it FROM backfill.find_item(job, item);
    words := format('%s %s', item ->> 'kind', item ->> 'name');
    existing := (item -> 'existing')::boolean;
    IF it.is_another AND phase = 'tidy' THEN
      CONTINUE;
    ELSIF it.is_another THEN
      RAISE EXCEPTION '% of % is not what enforce says', item ->> 'name', name
        USING ERRCODE = '42710', HINT = format('Somebody has made or changed it since the job was inserted. Drop or rename it, then SELECT backfill.retry(%L).', job.name);
    ELSIF phase IN ('guard', 'validate') AND item ->> 'kind' <> 'unique' AND it.constraint_name IS NULL AND it.is_not_null IS NOT TRUE THEN
      step := 'add constraint';
      commands := ARRAY[format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', name, item ->> 'name', CASE
        WHEN item ->> 'kind' <> 'not null' THEN item ->> 'definition'
        WHEN newer THEN format('NOT NULL %I', item ->> 'column')
        ELSE format('CHECK (%I IS NOT NULL)', item ->> 'column') END)];
    ELSIF phase = 'validate' AND it.constraint_name IS NOT NULL AND NOT it.validated THEN
      step := 'validate';
      commands := ARRAY[format('ALTER TABLE %s VALIDATE CONSTRAINT %I', name, it.constraint_name)];
    ELSIF phase = 'validate' AND item ->> 'kind' = 'not null' AND it.kind = 'c' AND NOT (existing AND it.is_not_null) THEN
      step := 'set not null';
      commands := ARRAY[format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', name, item ->> 'column')]
               || CASE WHEN existing THEN '{}' ELSE ARRAY[format('ALTER TABLE %s DROP CONSTRAINT %I', name, it.constraint_name)] END;
    ELSIF phase IN ('validate', 'tidy') AND item ->> 'kind' = 'unique' AND it.index_oid IS NOT NULL AND NOT it.index_valid THEN
      step := 'drop invalid index';
      commands := ARRAY['DROP INDEX CONCURRENTLY ' || backfill.relation_name(it.index_oid)];
      apart := true;
    ELSIF phase = 'validate' AND item ->> 'kind' = 'unique' AND it.index_oid IS NULL THEN
      step := 'build index';
      commands := ARRAY[format('CREATE UNIQUE INDEX CONCURRENTLY %I ON ONLY %s USING %s', item ->> 'name', name, item ->> 'index')];
      apart := true;
    ELSIF phase = 'validate' AND item ->> 'kind' = 'unique' AND it.constraint_name IS NULL THEN
      step := 'use index';
      commands := ARRAY[format('ALTER TABLE %s ADD CONSTRAINT %I UNIQUE USING INDEX %I', name, item ->> 'name', item ->> 'name')];
    ELSIF phase = 'tidy' AND it.constraint_name = item ->> 'name' AND NOT it.validated AND NOT existing AND job.state IN ('cancelled', 'failed') THEN
      step := 'drop constraint';
      commands := ARRAY[format('ALTER TABLE %s DROP CONSTRAINT %I', name, item ->> 'name')];
    ELSE
      CONTINUE;
    END IF;
    RETURN NEXT;
    RETURN;
  END LOOP;

  IF phase = 'validate' AND job.drop_column IS NOT NULL
     AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = job.drop_column AND a.attnum > 0 AND NOT a.attisdropped) THEN
    SELECT string_agg(format('%s: %s', u.kind, u.what), '; ' ORDER BY u.kind, u.what) INTO uses
      FROM backfill.uses_of(job) u WHERE u.kind <> ALL (coalesce(job.ignore, '{}'));
    IF uses IS NOT NULL THEN
      RAISE EXCEPTION 'column % of % is still used by %', job.drop_column, name, uses
        USING ERRCODE = '2BP01', HINT = format('Drop or change what is named, then SELECT backfill.retry(%L). What only looks as if it used the column can be passed over: '
                                               'insert the job with ignore = ''{%s}''.', job.name,
                                               (SELECT string_agg(DISTINCT u.kind, ', ') FROM backfill.uses_of(job) u WHERE u.kind <> ALL (coalesce(job.ignore, '{}'))));
    END IF;
    step := 'drop column';
    commands := ARRAY[format('ALTER TABLE %s DROP COLUMN %I', name, job.drop_column)];
    words := format('column %s%s', job.drop_column,
                    (SELECT '; passed over: ' || string_agg(format('%s: %s', u.kind, u.what), '; ' ORDER BY u.kind, u.what)
                       FROM backfill.uses_of(job) u));
    RETURN NEXT;
  ELSIF phase = 'tidy' AND job.keep_in_sync
        AND (EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = job.target AND t.tgname = backfill.sync_name(job))
             OR EXISTS (SELECT FROM pg_proc p WHERE p.proname = backfill.sync_name(job)
                          AND p.pronamespace = (SELECT c.relnamespace FROM pg_class c WHERE c.oid = job.target))) THEN
    step := 'drop trigger';
    commands := ARRAY[format('DROP TRIGGER IF EXISTS %I ON %s', backfill.sync_name(job), name),
                      format('DROP FUNCTION IF EXISTS %s()', backfill.sync_function(job))];
    words := format('trigger %s', backfill.sync_name(job));
    RETURN NEXT;
  END IF;
END
$$;


ALTER FUNCTION backfill.next_step(job_id bigint, phase text) OWNER TO backfilld;

--
-- Name: next_token(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.next_token(rest text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET standard_conforming_strings TO 'on'
    AS $_$
DECLARE
  token text := (regexp_match(rest,
    '^(\s+|--[^\r\n]*|[eE]''(?:[^''\\]|\\.|'''')*''|(?:[uU]&|[nNbBxX])?''(?:[^'']|'''')*''|(?:[uU]&)?"(?:[^"]|"")*"'
    '|(?:[[:alpha:]_]|[^\x01-\x7f])(?:[[:alnum:]_$]|[^\x01-\x7f])*)'))[1];
  tag   text;
  depth integer := 0;
  at    integer := 1;
BEGIN
  IF token IS NOT NULL THEN
    RETURN token;
  ELSIF left(rest, 2) = '/*' THEN  -- comments nest
    LOOP
      CASE substr(rest, at, 2)
        WHEN '/*' THEN depth := depth + 1; at := at + 2;
        WHEN '*/' THEN depth := depth - 1; at := at + 2;
        WHEN '' THEN RETURN rest;
        ELSE at := at + 1;
      END CASE;
      IF depth = 0 THEN
        RETURN left(rest, at - 1);
      END IF;
    END LOOP;
  END IF;
  tag := (regexp_match(rest, '^(\$(?:(?:[[:alpha:]_]|[^\x01-\x7f])(?:[[:alnum:]_]|[^\x01-\x7f])*)?\$)'))[1];
  IF tag IS NOT NULL THEN
    at := strpos(substr(rest, length(tag) + 1), tag);
    RETURN CASE at WHEN 0 THEN rest ELSE left(rest, 2 * length(tag) + at - 1) END;
  ELSIF left(rest, 1) IN ('''', '"') THEN
    RETURN rest;
  END IF;
  RETURN left(rest, 1);
END
$_$;


ALTER FUNCTION backfill.next_token(rest text) OWNER TO backfilld;

--
-- Name: note_duplicate(bigint, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.note_duplicate(job_id bigint, message text, detail text) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  INSERT INTO backfill.left_behind (job_id, range_id, relation, key_columns, key, reason, sqlstate, message, detail)
  SELECT j.id, 0, j.target, '{}', '{}', 'duplicate', '23505', note_duplicate.message, note_duplicate.detail
    FROM backfill.job j WHERE j.id = job_id AND backfill.is_held(j)
$$;


ALTER FUNCTION backfill.note_duplicate(job_id bigint, message text, detail text) OWNER TO backfilld;

--
-- Name: other_constraint(oid, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.other_constraint(target oid, name text, definition text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT pg_get_constraintdef(k.oid)
    FROM pg_constraint k
   WHERE k.conrelid = target AND k.conname = name AND replace(pg_get_constraintdef(k.oid), ' NOT VALID', '') <> definition
$$;


ALTER FUNCTION backfill.other_constraint(target oid, name text, definition text) OWNER TO backfilld;

--
-- Name: own_job(bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.own_job(job_id bigint) RETURNS backfill.job
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT j FROM backfill.job j WHERE j.id = job_id AND j.submitted_by = session_user
$$;


ALTER FUNCTION backfill.own_job(job_id bigint) OWNER TO backfilld;

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
-- Name: phases_of(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.phases_of(job backfill.job, OUT expand boolean, OUT fill boolean, OUT guard boolean, OUT quiet boolean, OUT verify boolean, OUT validate boolean, OUT in_step boolean, OUT dry_run boolean, OUT lacking text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT job.add_column IS NOT NULL OR job.keep_in_sync,
         f.fills,
         jsonb_path_exists(job.plan, '$.enforce[*] ? (@.kind != "unique")'),
         f.fills AND NOT job.keep_in_sync,
         f.fills AND job.plan <> '{}' AND job.where_clause IS NOT NULL,
         job.enforce IS NOT NULL OR job.drop_column IS NOT NULL,
         job.keep_in_sync,
         job.dry_run,
         coalesce(job.plan -> 'column' ->> 'name', jsonb_path_query_first(job.plan, '$.enforce[*] ? (@.kind == "not null").column') #>> '{}',
                  'what where_clause asks for')
    FROM (SELECT job.set_clause IS NOT NULL OR job.statement IS NOT NULL AS fills) f
$_$;


ALTER FUNCTION backfill.phases_of(job backfill.job, OUT expand boolean, OUT fill boolean, OUT guard boolean, OUT quiet boolean, OUT verify boolean, OUT validate boolean, OUT in_step boolean, OUT dry_run boolean, OUT lacking text) OWNER TO backfilld;

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
    FOR line IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || statement USING NULL::text[], NULL::text[], NULL::text[], NULL::bigint LOOP
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
-- Name: plan_in_words(jsonb); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.plan_in_words(plan jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT string_agg(CASE WHEN node ->> 'Node Type' = 'ModifyTable' THEN node ->> 'Operation' ELSE node ->> 'Node Type' END
                    || coalesce(' using ' || (node ->> 'Index Name'), ' on ' || (node ->> 'Relation Name'), ''), ', ' ORDER BY ord)
    FROM jsonb_path_query(plan, 'strict $.** ? (exists (@."Node Type"))', silent => true) WITH ORDINALITY AS n(node, ord)
$_$;


ALTER FUNCTION backfill.plan_in_words(plan jsonb) OWNER TO backfilld;

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
-- Name: preflight(backfill.job, bigint, jsonb, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.preflight(job backfill.job, estimate bigint, seen jsonb, disk_free bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  tried     numeric := nullif((seen -> 'rows')::numeric, 0);
  ms        numeric := (seen -> 'ms')::numeric / tried;
  wal       numeric := (seen -> 'wal_bytes')::numeric / tried;
  hot       numeric := (seen -> 'hot_rows')::numeric / tried;
  rows      bigint := greatest(estimate, (SELECT sum(greatest(c.reltuples, 0)) FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o));
  row_bytes numeric := (SELECT sum(c.relpages) * current_setting('block_size')::numeric / nullif(sum(greatest(c.reltuples, 0)), 0)::numeric
                          FROM backfill.relations_of(job) o JOIN pg_class c ON c.oid = o);
  result    jsonb;
BEGIN
  result := jsonb_strip_nulls(jsonb_build_object(
    'plan', seen -> 'plan', 'on_copy', seen -> 'on_copy', 'not_tried', seen -> 'not_tried', 'tried_rows', tried, 'rows', rows,
    'ms_a_row', round(ms, 4), 'wal_bytes_a_row', round(wal), 'hot_share', round(hot, 2),
    'seconds_from', round(rows * ms / 2000), 'seconds_to', round(rows * ms / 250),
    'wal_bytes', round(rows * wal),
    'table_grows_bytes', CASE WHEN hot < 1 THEN round(rows * (1 - hot) * row_bytes) END,
    'disk_free_bytes', disk_free,
    'triggers', (SELECT jsonb_agg(t.tgname ORDER BY t.tgname) FROM pg_trigger t
                  WHERE t.tgrelid = job.target AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 16 <> 0
                    AND t.tgname <> backfill.sync_name(job)),
    'publications', (SELECT jsonb_agg(p.pubname ORDER BY p.pubname) FROM pg_publication_tables p
                       JOIN pg_class c ON c.oid = job.target
                       JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname AND c.relname = p.tablename),
    'replica_identity_full', (SELECT CASE WHEN c.relreplident = 'f' THEN true END FROM pg_class c WHERE c.oid = job.target)));
  IF job.plan <> '{}' AND (seen -> 'still_to_do')::bigint > 0 AND (seen -> 'rows')::bigint > 0 THEN
    RAISE EXCEPTION 'where_clause: of % rows that set_clause filled in a trial, % still meet it', seen ->> 'rows', seen ->> 'still_to_do'
      USING ERRCODE = '22023',
            HINT = 'It must be true of rows that are still to do, and of no row that is done: by it the job verifies that nothing is left.';
  END IF;
  RETURN result;
END
$$;


ALTER FUNCTION backfill.preflight(job backfill.job, estimate bigint, seen jsonb, disk_free bigint) OWNER TO backfilld;

--
-- Name: preflight_in_words(jsonb); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.preflight_in_words(found jsonb) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT concat_ws('; ',
    format('about %s rows', to_char((found -> 'rows')::bigint, 'FM999,999,999,999')),
    'a batch is ' || (found ->> 'plan'),
    CASE WHEN found ? 'ms_a_row'
         THEN format('a row takes %s ms and %s%s bytes of WAL%s', found ->> 'ms_a_row', CASE WHEN found ? 'on_copy' THEN 'about ' END, found ->> 'wal_bytes_a_row',
                     coalesce(' (' || round(100 * (found -> 'hot_share')::numeric) || ' % HOT)', '')) || CASE WHEN found ? 'on_copy' THEN ', tried on a copy' ELSE '' END END,
    CASE WHEN found ? 'seconds_to'
         THEN format('in all %s to %s, %s of WAL', make_interval(secs => (found -> 'seconds_from')::double precision), make_interval(secs => (found -> 'seconds_to')::double precision),
                     pg_size_pretty((found -> 'wal_bytes')::numeric)) END,
    CASE WHEN found ? 'table_grows_bytes' THEN format('the table grows by up to %s', pg_size_pretty((found -> 'table_grows_bytes')::numeric)) END,
    CASE WHEN found ? 'disk_free_bytes' THEN format('%s of disk are free', pg_size_pretty((found -> 'disk_free_bytes')::numeric)) END,
    CASE WHEN (found -> 'wal_bytes')::numeric + coalesce((found -> 'table_grows_bytes')::numeric, 0) > (found -> 'disk_free_bytes')::numeric
         THEN 'which is less than both together: watch the disk' END,
    'not tried: ' || (found ->> 'not_tried'),
    CASE WHEN (found -> 'tried_rows') IS NULL AND NOT found ? 'not_tried' THEN 'the rows that were tried had nothing to do' END,
    'triggers that fire: ' || (SELECT string_agg(t, ', ') FROM jsonb_array_elements_text(found -> 'triggers') t),
    'published by ' || (SELECT string_agg(t, ', ') FROM jsonb_array_elements_text(found -> 'publications') t)
      || CASE WHEN found ? 'replica_identity_full' THEN ' with REPLICA IDENTITY FULL: each change carries the whole row' ELSE '' END)
$$;


ALTER FUNCTION backfill.preflight_in_words(found jsonb) OWNER TO backfilld;

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
-- Name: read_assignments(backfill.job, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.read_assignments(job backfill.job, copy text) RETURNS jsonb
    LANGUAGE plpgsql
    AS $_$
DECLARE
  own_path  text := pg_catalog.current_setting('search_path');
  body      text;
  parts     text[];
  generated text;
  result    jsonb;
BEGIN
  IF NOT pg_catalog.pg_has_role((SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = job.target), 'USAGE') THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('only the owner of %s can give it a trigger', backfill.relation_name(job.target)),
                            'Insert the job as that role, or SET ROLE to it first.', '42501');
  END IF;
  PERFORM backfill.check_schema_right(job, 'keep_in_sync', 'a function');
  -- A second relation, so that each of the row's columns is written with the table's name before it.
  PERFORM backfill.try_command('set_clause', pg_catalog.format(E'CREATE FUNCTION pg_temp."backfilld clause"() RETURNS void LANGUAGE sql BEGIN ATOMIC\n'
    'UPDATE ONLY %s SET %s\nFROM (VALUES (1)) AS "backfilld none"("backfilld none") WHERE (%s\n); END', copy, job.set_clause, coalesce(job.where_clause, 'true')),
    'With keep_in_sync a trigger computes the clause for each row that is written: it may name the row''s columns only.');
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
  body := pg_catalog.pg_get_function_sqlbody(pg_catalog.to_regproc('pg_temp."backfilld clause"'));
  PERFORM pg_catalog.set_config('search_path', own_path, true);

  SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ') INTO generated
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attgenerated <> ''
   WHERE d.classid = 'pg_proc'::regclass AND d.objid = pg_catalog.to_regproc('pg_temp."backfilld clause"')
     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = copy::regclass;
  IF generated IS NOT NULL THEN
    PERFORM backfill.refuse('keep_in_sync', pg_catalog.format('set_clause reads the generated column %s', generated),
      'Generated columns are computed after a trigger has run; write out what it is generated from.', '0A000');
  END IF;

  parts := pg_catalog.regexp_match(body, '^\s*BEGIN ATOMIC\s+UPDATE ONLY (?:"(?:[^"]|"")*"|[^" ])+ SET (.*)\s+FROM \( VALUES \(1\)\) "backfilld none"\("backfilld none"\)\s+WHERE (.*);\s+END\s*$');
  result := backfill.split_assignments(parts[1]);
  IF result IS NULL OR pg_catalog.jsonb_path_exists(result, '$[*] ? (@.to == null || @.expression == null || @.expression == "DEFAULT")') THEN
    PERFORM backfill.refuse('keep_in_sync', 'no trigger can compute this set_clause', 'Write each column with an expression of its own; DEFAULT is none.', '0A000');
  END IF;
  -- A row that the clause has filled is one that the trigger keeps right: it computes whatever would be to do if it were not.
  IF job.where_clause IS NULL
     OR parts[2] IN (SELECT pg_catalog.format('(%s.%s IS NULL)', pg_catalog.quote_ident(c.relname), a ->> 'to')
                       FROM pg_catalog.jsonb_array_elements(result) a, pg_catalog.pg_class c WHERE c.oid = copy::regclass) THEN
    parts[2] := NULL;
  END IF;
  RETURN pg_catalog.jsonb_build_object(
    'assignments', result,
    'where', parts[2],
    'plain', NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d
       WHERE d.classid = 'pg_proc'::regclass AND d.objid = pg_catalog.to_regproc('pg_temp."backfilld clause"') AND d.deptype = 'n'
         AND NOT (d.refclassid = 'pg_namespace'::regclass OR (d.refclassid = 'pg_class'::regclass AND d.refobjid = copy::regclass))));
END
$_$;


ALTER FUNCTION backfill.read_assignments(job backfill.job, copy text) OWNER TO backfilld;

--
-- Name: read_column(backfill.job, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.read_column(job backfill.job, copy text) RETURNS jsonb
    LANGUAGE plpgsql
    AS $$
DECLARE
  hint constant text := 'Write a name and a type: ''amount_cents bigint''.';
  a    record;
  had  record;
BEGIN
  PERFORM backfill.try_command('add_column', format(E'CREATE TEMPORARY TABLE "backfilld column" (%s\n)', job.add_column), hint);
  SELECT t.*, pg_catalog.count(*) OVER () AS n INTO a
    FROM (SELECT c.attname, pg_catalog.format_type(c.atttypid, c.atttypmod) AS type, c.attnotnull, c.atthasdef, c.attidentity,
                 CASE WHEN c.attcollation <> y.typcollation THEN l.collname END AS collname, n.nspname
            FROM pg_catalog.pg_attribute c
            JOIN pg_catalog.pg_type y ON y.oid = c.atttypid
            LEFT JOIN pg_catalog.pg_collation l ON l.oid = c.attcollation
            LEFT JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
           WHERE c.attrelid = 'pg_temp."backfilld column"'::regclass AND c.attnum > 0) t;
  IF a IS NULL OR a.n <> 1 THEN
    PERFORM backfill.refuse('add_column', 'is not one column', hint, '42601');
  ELSIF a.attnotnull OR a.atthasdef OR a.attidentity <> ''
     OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = 'pg_temp."backfilld column"'::regclass) THEN
    PERFORM backfill.refuse('add_column', pg_catalog.format('%I says more than a type', a.attname),
      'The column is added nullable and without a default, so that nobody waits; write constraints into enforce, as ''{NOT NULL '
      || pg_catalog.quote_ident(a.attname) || '}''.', '0A000');
  END IF;

  SELECT pg_catalog.format_type(c.atttypid, c.atttypmod) AS type, c.attgenerated INTO had
    FROM pg_catalog.pg_attribute c
   WHERE c.attrelid = job.target AND c.attname = a.attname AND c.attnum > 0 AND NOT c.attisdropped;
  IF had.type <> a.type THEN
    PERFORM backfill.refuse('add_column', pg_catalog.format('%s has a column %I already, of type %s', backfill.relation_name(job.target), a.attname, had.type),
                            'Choose another name, or the type that it has.', '42701');
  ELSIF had.attgenerated <> '' THEN
    PERFORM backfill.refuse('add_column', pg_catalog.format('%I is a generated column', a.attname), 'The server computes it itself.', '42601');
  ELSIF had.type IS NULL AND NOT pg_catalog.pg_has_role((SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = job.target), 'USAGE') THEN
    PERFORM backfill.refuse('add_column', pg_catalog.format('only the owner of %s can add a column', backfill.relation_name(job.target)),
                            'Insert the job as that role, or SET ROLE to it first.', '42501');
  END IF;
  IF had.type IS NULL THEN
    PERFORM backfill.try_command('add_column', pg_catalog.format(E'ALTER TABLE %s ADD COLUMN %s\n', copy, job.add_column), hint);
  END IF;
  RETURN pg_catalog.jsonb_build_object('name', a.attname, 'type', a.type,
                                       'collation', pg_catalog.quote_ident(a.nspname) || '.' || pg_catalog.quote_ident(a.collname));
END
$$;


ALTER FUNCTION backfill.read_column(job backfill.job, copy text) OWNER TO backfilld;

--
-- Name: read_constraint(backfill.job, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.read_constraint(job backfill.job, copy text, item text) RETURNS jsonb
    LANGUAGE plpgsql
    AS $_$
DECLARE
  hint       constant text := 'Items are ''NOT NULL column'', ''CHECK (…)'', ''FOREIGN KEY (…) REFERENCES …'' and ''UNIQUE (…)''.';
  parts      text[] := pg_catalog.regexp_match(item, '^\s*(?:CONSTRAINT\s+("(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*)\s+)?(NOT\s+NULL|CHECK|FOREIGN\s+KEY|UNIQUE)\M(.*)$', 'i');
  given      text := (pg_catalog.parse_ident(parts[1]))[1]::name;
  kind       text := pg_catalog.lower(pg_catalog.regexp_replace(parts[2], '\s+', ' '));
  own_path   text := pg_catalog.current_setting('search_path');
  partitioned boolean := (SELECT c.relkind = 'p' FROM pg_catalog.pg_class c WHERE c.oid = job.target);
  class      pg_catalog.pg_class;
  k          pg_catalog.pg_constraint;
  found_name text;
  definition text;
  tried      text;
  index_part text;
  referenced text[];
  foreign_oid oid;
BEGIN
  IF parts IS NULL THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('%L is no constraint', item), hint, '42601');
  ELSIF NOT pg_catalog.pg_has_role((SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = job.target), 'USAGE') THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('only the owner of %s can give it a constraint', backfill.relation_name(job.target)),
                            'Insert the job as that role, or SET ROLE to it first.', '42501');
  END IF;

  IF kind = 'not null' THEN
    found_name := (pg_catalog.parse_ident(parts[3]))[1];
    IF pg_catalog.cardinality(pg_catalog.parse_ident(parts[3])) <> 1
       OR NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = copy::regclass AND a.attname = found_name AND a.attnum > 0) THEN
      PERFORM backfill.refuse('enforce', pg_catalog.format('%s has no column %s', backfill.relation_name(job.target), pg_catalog.btrim(parts[3])),
                              'Name one column of the table: ''NOT NULL amount_cents''.', '42703');
    END IF;
    definition := pg_catalog.format(CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 180000 THEN 'NOT NULL %I'
                                         ELSE 'CHECK ((%I IS NOT NULL))' END, found_name);
    PERFORM backfill.check_given_name(job.target, given, definition);
    given := coalesce(given, backfill.constraint_name(job.target, found_name, 'not_null', definition));
    RETURN pg_catalog.jsonb_build_object('kind', kind, 'column', found_name, 'name', given, 'definition', definition,
                                         'existing', backfill.has_constraint(job.target, given, definition));
  END IF;

  IF kind = 'foreign key' THEN
    IF partitioned THEN
      PERFORM backfill.refuse('enforce', 'a foreign key of a partitioned table can''t be added without a long lock',
                              'Insert a job for each partition; then add it to the table itself.', '0A000');
    END IF;
    referenced := pg_catalog.regexp_match(parts[3], '^(\s*\(.*\)\s*REFERENCES\s+)((?:"(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*)(?:\s*\.\s*(?:"(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*))?)(.*)$', 'i');
    IF referenced IS NULL OR pg_catalog.to_regclass(referenced[2]) IS NULL THEN
      PERFORM backfill.refuse('enforce', pg_catalog.format('%L references no table that is there', item), 'Write ''FOREIGN KEY (customer_id) REFERENCES app.customer (id)''.', '42P01');
    END IF;
    foreign_oid := pg_catalog.to_regclass(referenced[2]);
    IF NOT pg_catalog.has_any_column_privilege(foreign_oid, 'REFERENCES') THEN
      PERFORM backfill.refuse('enforce', pg_catalog.format('%I may not reference %s', current_user, backfill.relation_name(foreign_oid)),
                              pg_catalog.format('GRANT REFERENCES ON %s TO %I.', backfill.relation_name(foreign_oid), current_user), '42501');
    END IF;
    PERFORM backfill.try_command('enforce', pg_catalog.format('CREATE TEMPORARY TABLE "backfilld referenced" (LIKE %s INCLUDING INDEXES)', backfill.relation_name(foreign_oid)), hint);
    tried := pg_catalog.format('FOREIGN KEY %s pg_temp."backfilld referenced" %s', referenced[1], referenced[3]);
  ELSE
    IF kind = 'unique' AND partitioned THEN
      PERFORM backfill.refuse('enforce', 'an index on a partitioned table can''t be built concurrently',
                              'Build it on each partition: insert a job for each.', '0A000');
    END IF;
    tried := parts[2] || parts[3];
    IF kind = 'unique' THEN
      PERFORM backfill.check_schema_right(job, 'enforce', 'an index');
    END IF;
  END IF;
  -- What parses in both places is one constraint and nothing else.
  PERFORM backfill.try_command('enforce', pg_catalog.format(E'ALTER TABLE %s ADD CONSTRAINT "backfilld item" %s\n', copy, tried), hint);
  PERFORM backfill.try_command('enforce', pg_catalog.format(E'CREATE TEMPORARY TABLE "backfilld copy" (LIKE %s, CONSTRAINT "backfilld other" %s\n)', copy, tried), hint);
  EXECUTE 'DROP TABLE pg_temp."backfilld copy"';
  SELECT * INTO k FROM pg_catalog.pg_constraint c WHERE c.conrelid = copy::regclass AND c.conname = 'backfilld item';
  IF k.oid IS NULL OR k.condeferrable THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('%L is not what it begins with', item), hint, '0A000');
  END IF;
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
  definition := pg_catalog.replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT VALID', '');
  index_part := pg_catalog.substring(pg_catalog.pg_get_indexdef(k.conindid), ' USING (.*)$');
  IF kind = 'foreign key' THEN
    definition := pg_catalog.replace(definition, (SELECT pg_catalog.format('%I."backfilld referenced"', n.nspname) FROM pg_catalog.pg_namespace n WHERE n.oid = pg_catalog.pg_my_temp_schema()),
                                     backfill.relation_name(foreign_oid));
    definition := pg_catalog.replace(definition, 'REFERENCES "backfilld referenced"', 'REFERENCES ' || backfill.relation_name(foreign_oid));
    EXECUTE 'DROP TABLE pg_temp."backfilld referenced" CASCADE';
  ELSE
    EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT "backfilld item"', copy);
  END IF;
  PERFORM pg_catalog.set_config('search_path', own_path, true);
  IF definition ~ ' NOT ENFORCED$' OR kind = 'unique' AND definition ~ ' WITHOUT OVERLAPS\)' THEN
    PERFORM backfill.refuse('enforce', pg_catalog.format('%L can''t be added first and validated later', item), hint, '0A000');
  END IF;

  found_name := (SELECT pg_catalog.string_agg(a.attname, '_' ORDER BY u.ord)
                   FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u(attnum, ord)
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum);
  PERFORM backfill.check_given_name(job.target, given, definition);
  given := coalesce(given, backfill.constraint_name(job.target, CASE WHEN kind <> 'check' OR pg_catalog.cardinality(k.conkey) = 1 THEN found_name END,
                                                    CASE kind WHEN 'check' THEN 'check' WHEN 'unique' THEN 'key' ELSE 'fkey' END, definition));
  RETURN pg_catalog.jsonb_build_object('kind', kind, 'definition', definition, 'columns', found_name, 'name', given,
                                       'index', CASE WHEN kind = 'unique' THEN index_part END,
                                       'existing', backfill.has_constraint(job.target, given, definition));
END
$_$;


ALTER FUNCTION backfill.read_constraint(job backfill.job, copy text, item text) OWNER TO backfilld;

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
  IF backfill.is_held(job) AND job.state = 'running' THEN
    PERFORM backfill.give_back(job);
  ELSIF backfill.is_held(job) THEN
    UPDATE backfill.job j SET holder_pid = NULL, holder_start = NULL, waiting_for = NULL WHERE j.id = job_id;
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
  ELSIF job.state NOT IN ('succeeded', 'failed') OR job.wanted = 'finish' THEN
    RAISE EXCEPTION 'job "%" %', name, CASE WHEN job.wanted = 'finish' THEN 'was finished' ELSE 'is ' || job.state END
      USING ERRCODE = '55000', HINT = 'retry is for jobs that failed, or that left rows behind.';
  END IF;
  DELETE FROM backfill.left_behind l WHERE l.job_id = job.id AND l.reason = 'duplicate';
  WITH again AS (
    DELETE FROM backfill.left_behind l WHERE l.job_id = job.id AND l.reason = 'error' RETURNING l.*)
  INSERT INTO backfill.range (job_id, submitted_by, relation, key, lower, upper)
  SELECT job.id, job.submitted_by, a.relation, a.key_columns, a.key, a.key FROM again a;
  GET DIAGNOSTICS n = ROW_COUNT;
  n := n + (SELECT count(*) FROM backfill.left_behind l WHERE l.job_id = job.id);
  IF n > 0 OR job.state = 'failed' THEN
    UPDATE backfill.job j
       SET state = 'queued', wanted = 'run', error = NULL, hint = NULL, started_at = NULL, finished_at = NULL,
           phase = CASE WHEN n > 0 AND j.phase IN ('guard', 'verify', 'validate') THEN 'backfill' ELSE j.phase END
     WHERE j.id = job.id;
  END IF;
  RETURN n;
END
$$;


ALTER FUNCTION backfill.retry(name text) OWNER TO backfilld;

--
-- Name: retry_row(text, oid, text, text, bigint, text[]); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.retry_row(statement text, relation oid, name text, keys_of text, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  start_lsn pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
BEGIN
  SELECT f.held IS NULL, f.holders INTO done, holders
    FROM backfill.lock_free_rows(statement, keys_of, relation, NULL, key) f;
  rows := 0;
  IF done THEN
    rows := backfill.run_statement(statement, relation, name, NULL, key, NULL, NULL);
    wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
    PERFORM backfill.row_done(id, rows, wal_bytes);
  END IF;
END
$$;


ALTER FUNCTION backfill.retry_row(statement text, relation oid, name text, keys_of text, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]) OWNER TO backfilld;

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
     SET rows = r.rows + greatest(row_done.rows, 0), found = r.found + greatest(row_done.rows, 0), wal_bytes = r.wal_bytes + greatest(row_done.wal_bytes, 0),
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
-- Name: run_batch(text, oid, text, bigint, bigint, tid, text[], text[], bigint, real, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.run_batch(statement text, relation oid, name text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  start_lsn pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
BEGIN
  rows := backfill.run_statement(statement, relation, name, lo, hi, NULL, yield_us);
  wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
  now_at := backfill.checkpoint(range, epoch, at, lo, hi, keys, rows, wal_bytes, rate);
END
$$;


ALTER FUNCTION backfill.run_batch(statement text, relation oid, name text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid) OWNER TO backfilld;

--
-- Name: run_batch_skipping(text, oid, text, text, bigint, bigint, tid, text[], text[], bigint, real, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.run_batch_skipping(statement text, relation oid, name text, keys_of text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  start_lsn pg_lsn := pg_catalog.pg_current_wal_insert_lsn();
  held      text[];
BEGIN
  SELECT f.held, f.holders INTO held, holders FROM backfill.lock_free_rows(statement, keys_of, relation, lo, hi) f;
  skipped := coalesce(pg_catalog.cardinality(held), 0);
  rows := backfill.run_statement(statement, relation, name, lo, hi, held, yield_us);
  wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
  now_at := backfill.checkpoint_skipping(range, epoch, at, lo, hi, coalesce(keys, rows + skipped), rows, wal_bytes, rate,
                                         held, backfill.locked_by(holders));
END
$$;


ALTER FUNCTION backfill.run_batch_skipping(statement text, relation oid, name text, keys_of text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]) OWNER TO backfilld;

--
-- Name: run_statement(text, oid, text, text[], text[], text[], bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.run_statement(statement text, relation oid, name text, lo text[], hi text[], held text[], yield_us bigint) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
  rows bigint;
BEGIN
  EXECUTE statement USING lo, hi, held, yield_us;
  GET DIAGNOSTICS rows = ROW_COUNT;
  IF pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_wal_lsn()) > 4000000
     AND pg_catalog.current_setting('synchronous_commit') = 'off' THEN
    PERFORM pg_catalog.set_config('synchronous_commit', 'local', true);  -- of this transaction
  END IF;
  IF pg_catalog.to_regclass(name) <> relation::regclass THEN
    RAISE EXCEPTION '% is another table now', name
      USING ERRCODE = 'BF001', HINT = 'The one that the job is for was renamed; this batch was undone.';
  END IF;
  RETURN rows;
END
$$;


ALTER FUNCTION backfill.run_statement(statement text, relation oid, name text, lo text[], hi text[], held text[], yield_us bigint) OWNER TO backfilld;

--
-- Name: run_step(bigint, text, text[], oid, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.run_step(job_id bigint, phase text, commands text[], relation oid, name text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  command text;
BEGIN
  FOREACH command IN ARRAY commands LOOP
    EXECUTE command;
  END LOOP;
  IF pg_catalog.to_regclass(name) <> relation::regclass THEN
    RAISE EXCEPTION '% is another table now', name
      USING ERRCODE = 'BF001', HINT = 'The one that the job is for was renamed; this step was undone.';
  ELSIF NOT backfill.step_is_wanted(job_id, phase) THEN
    RAISE EXCEPTION 'job % is not in phase % any more', job_id, phase USING ERRCODE = 'BF001', HINT = 'This step was undone.';
  END IF;
END
$$;


ALTER FUNCTION backfill.run_step(job_id bigint, phase text, commands text[], relation oid, name text) OWNER TO backfilld;

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
-- Name: split_assignments(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.split_assignments(clause text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  WITH tokens AS (
    SELECT m[1] AS token, ord,
           sum(CASE WHEN m[1] IN ('(', '[') THEN 1 WHEN m[1] IN (')', ']') THEN -1 ELSE 0 END) OVER (ORDER BY ord) AS depth
      FROM regexp_matches(clause, '(''(?:[^'']|'''')*''|"(?:[^"]|"")*"|[][(),=]|[^][''"(),=]+)', 'g') WITH ORDINALITY AS t(m, ord)
  ), parts AS (
    SELECT token, ord, depth, count(*) FILTER (WHERE token = ',' AND depth = 0) OVER (ORDER BY ord) AS part FROM tokens
  ), sides AS (
    SELECT token, ord, part, token = ',' AND depth = 0 AS separator,
           count(*) FILTER (WHERE token = '=' AND depth = 0) OVER (PARTITION BY part ORDER BY ord) AS equals
      FROM parts
  ), first_equals AS (
    SELECT part, min(ord) FILTER (WHERE equals = 1) AS at FROM sides GROUP BY part
  )
  SELECT jsonb_agg(jsonb_build_object('to', s.target, 'expression', s.expression) ORDER BY s.part)
    FROM (SELECT s.part,
                 btrim(string_agg(s.token, '' ORDER BY s.ord) FILTER (WHERE s.ord < f.at AND NOT s.separator), E' \n') AS target,
                 btrim(string_agg(s.token, '' ORDER BY s.ord) FILTER (WHERE s.ord > f.at), E' \n') AS expression
            FROM sides s JOIN first_equals f USING (part) GROUP BY s.part) s
$$;


ALTER FUNCTION backfill.split_assignments(clause text) OWNER TO backfilld;

--
-- Name: split_at(text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.split_at(clause text, separator text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  rest   text := clause;
  piece  text := '';
  pieces text[] := '{}';
  depth  integer := 0;
  token  text;
BEGIN
  WHILE rest <> '' LOOP
    token := backfill.next_token(rest);
    rest := substr(rest, length(token) + 1);
    IF token = separator AND depth = 0 AND (separator <> '=' OR pieces = '{}') THEN
      pieces := pieces || piece;
      piece := '';
      CONTINUE;
    END IF;
    depth := depth + CASE WHEN token IN ('(', '[') THEN 1 WHEN token IN (')', ']') THEN -1 ELSE 0 END;
    piece := piece || token;
  END LOOP;
  RETURN pieces || piece;
END
$$;


ALTER FUNCTION backfill.split_at(clause text, separator text) OWNER TO backfilld;

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
    batch := '/* backfilld */ ' || backfill.place_batch(job.statement, columns, types, collations, point);
  ELSE
    batch := format(E'/* backfilld */ UPDATE %s\nSET %s\nWHERE %s', only_name, job.set_clause,
                    backfill.batch_condition(name || '.', columns, types, collations, point)
                    || ' AND ' || backfill.skip_condition(name || '.', columns, types, collations))
          || coalesce(E'\nAND (' || job.where_clause || E'\n)', '')
          || CASE WHEN NOT point AND backfill.can_yield(job) THEN E'\nAND ' || backfill.yield_condition() ELSE '' END;
  END IF;
  keys := format('SELECT %s, %s.xmax FROM %s WHERE %s', position, name, only_name,
                 backfill.batch_condition(name || '.', columns, types, collations, point))
       || coalesce(E'\nAND (' || job.where_clause || E'\n)', '');
  bound := format('/* backfilld */ SELECT %s FROM %s WHERE %s ORDER BY %s OFFSET $3::bigint - 1 LIMIT 1', position, only_name,
                  backfill.batch_condition(name || '.', columns, types, collations, point),
                  array_to_string(ordering, ', '));
  last := format('/* backfilld */ SELECT %s FROM %s ORDER BY %s LIMIT 1', position, only_name,
                 array_to_string(ARRAY(SELECT o || ' DESC' FROM unnest(ordering) WITH ORDINALITY AS u(o, ord) ORDER BY ord), ', '));
END
$_$;


ALTER FUNCTION backfill.statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text) OWNER TO backfilld;

--
-- Name: statements_on(oid, name); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.statements_on(relation oid, for_role name) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  view   text;
  word   text := (SELECT backfill.word_pattern(c.relname) FROM pg_class c WHERE c.oid = relation);
  result jsonb;
BEGIN
  SELECT format('%I.pg_stat_statements', n.nspname) INTO view
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements';
  IF view IS NULL THEN
    RETURN NULL;
  END IF;
  EXECUTE format(
    'SELECT coalesce(jsonb_object_agg(t.queryid, jsonb_build_object(''query'', t.query, ''calls'', t.calls, ''ms'', t.ms, ''rows'', t.rows)), ''{}'')'
    '  FROM (SELECT s.queryid, left(min(regexp_replace(s.query, ''\s+'', '' '', ''g'')), 200) AS query, sum(s.calls) AS calls,'
    '               sum(s.total_exec_time) AS ms, sum(s.rows) AS rows'
    '          FROM %s AS s JOIN pg_catalog.pg_database d ON d.oid = s.dbid AND d.datname = current_database()'
    '         WHERE s.query ~* $1 AND s.query !~ ''\mbackfill\.|/\* backfilld \*/'' AND s.queryid IS NOT NULL'
    '           AND backfill.may_see_statements($2, s.userid)'
    '           AND s.query ~* ''^\s*(select|insert|update|delete|merge|with|copy)\M'''
    '         GROUP BY s.queryid ORDER BY ms DESC LIMIT 100) AS t', view) INTO result USING word, for_role;
  RETURN result;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;  -- its library may not be loaded, its columns may be others': no reason for a job not to begin or to end
END
$_$;


ALTER FUNCTION backfill.statements_on(relation oid, for_role name) OWNER TO backfilld;

--
-- Name: step_is_wanted(bigint, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.step_is_wanted(job_id bigint, phase text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM backfill.job j
                  WHERE j.id = job_id AND j.submitted_by = session_user
                    AND CASE WHEN step_is_wanted.phase = 'tidy' THEN backfill.is_untidy(j) ELSE j.state = 'running' AND j.phase = step_is_wanted.phase END)
$$;


ALTER FUNCTION backfill.step_is_wanted(job_id bigint, phase text) OWNER TO backfilld;

--
-- Name: steps(); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.steps() RETURNS TABLE(phase text, step text, lock text, comment text)
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  VALUES
    ('expand',   'add column',        'ACCESS EXCLUSIVE, no scan',       'adds the column, nullable and without a default'),
    ('expand',   'keep in sync',      'SHARE ROW EXCLUSIVE, no scan',    'creates the trigger that computes the column in rows that are written'),
    ('guard',    'add constraint',    'ACCESS EXCLUSIVE, no scan; for a foreign key SHARE ROW EXCLUSIVE on both tables',
                                                                         'adds the constraint NOT VALID: rows that are written must meet it from now on'),
    ('validate', 'add constraint',    'as in guard',                     'adds a constraint that somebody has dropped meanwhile'),
    ('validate', 'validate',          'SHARE UPDATE EXCLUSIVE',          'reads the table and finds that every row meets the constraint'),
    ('validate', 'set not null',      'ACCESS EXCLUSIVE, no scan',       'makes the column NOT NULL, which the validated constraint proves, and drops that'),
    ('validate', 'drop invalid index','SHARE UPDATE EXCLUSIVE',          'drops an index that an earlier try left behind unfinished'),
    ('validate', 'build index',       'SHARE UPDATE EXCLUSIVE',          'builds the unique index concurrently'),
    ('validate', 'use index',         'ACCESS EXCLUSIVE, no scan',       'makes the index a constraint'),
    ('validate', 'drop column',       'ACCESS EXCLUSIVE, no scan',       'drops the column, which nothing uses any more'),
    ('tidy',     'drop trigger',      'ACCESS EXCLUSIVE, no scan',       'drops the trigger and its function'),
    ('tidy',     'drop constraint',   'ACCESS EXCLUSIVE, no scan',       'drops a constraint that was never validated'),
    ('tidy',     'drop invalid index','SHARE UPDATE EXCLUSIVE',          'drops an index that was never finished')
$$;


ALTER FUNCTION backfill.steps() OWNER TO backfilld;

--
-- Name: survey(bigint, text, text, text, oid, text[], boolean, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.survey(job_id bigint, batch text, bound text, keys_of text, relation oid, upper text[], on_copy boolean, keys bigint, OUT estimate bigint, OUT seen jsonb) RETURNS record
    LANGUAGE plpgsql
    AS $_$
DECLARE
  job       backfill.job;
  k         record;
  tried     oid := relation;
  planned   text := batch;
  plan      jsonb;
  hi        text[];
  changed   bigint;
  to_do     text[];
  still     bigint;
  hot       bigint;
  wal_bytes numeric;
  started   timestamptz;
  start_lsn pg_lsn;
BEGIN
  estimate := backfill.check_bound(bound, relation, upper);
  IF NOT on_copy THEN
    PERFORM backfill.check_batch(batch, relation, upper);
  END IF;
  IF keys = 0 THEN
    RETURN;
  END IF;
  seen := '{}';
  BEGIN
    IF on_copy THEN
      job := backfill.own_job(job_id);
      tried := backfill.make_copy(job, relation, keys);
      SELECT * INTO k FROM backfill.key_of(relation, backfill.key_numbers(relation, job.key));
      SELECT s.batch, s.keys INTO batch, keys_of FROM backfill.statements(job, tried, k.columns, k.types, k.collations, false) s;
      -- How the rows of a batch will be reached; the rest of its statement can't be planned yet.
      planned := pg_catalog.format('SELECT FROM ONLY %s WHERE %s', backfill.relation_name(relation),
                                   backfill.batch_condition('', k.columns, k.types, k.collations, false));
    END IF;
    EXECUTE bound INTO hi USING NULL::text[], upper, keys;
    hi := coalesce(hi, upper);
    FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON) ' || planned USING NULL::text[], hi, NULL::text[], NULL::bigint LOOP
      seen := pg_catalog.jsonb_build_object('plan', backfill.plan_in_words(plan));
    END LOOP;
    hi := CASE WHEN on_copy THEN upper ELSE hi END;  -- whichever rows the copy has
    EXECUTE 'SELECT pg_catalog.array_agg(k.key::text) FROM (' || keys_of || ') AS k(key, holder)' INTO to_do USING NULL::text[], hi, NULL::text[];
    start_lsn := pg_catalog.pg_current_wal_insert_lsn();
    hot := pg_catalog.pg_stat_get_xact_tuples_hot_updated(tried);
    started := pg_catalog.clock_timestamp();
    EXECUTE batch USING NULL::text[], hi, NULL::text[], NULL::bigint;
    GET DIAGNOSTICS changed = ROW_COUNT;
    seen := seen || pg_catalog.jsonb_build_object(
      'rows', changed, 'ms', pg_catalog.round(extract(epoch FROM pg_catalog.clock_timestamp() - started) * 1000, 3));
    wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
    IF on_copy THEN  -- which has none: a new version of the row, its header, and an entry in an index
      EXECUTE pg_catalog.format('SELECT pg_catalog.sum(pg_catalog.pg_column_size(t) + 100) FROM %s AS t', tried::regclass) INTO wal_bytes;
      seen := seen || '{"on_copy": true}';
    ELSE
      seen := seen || pg_catalog.jsonb_build_object('hot_rows', pg_catalog.pg_stat_get_xact_tuples_hot_updated(relation) - hot);
    END IF;
    EXECUTE 'SELECT pg_catalog.count(*) FROM (' || keys_of || ') AS k(key, holder) WHERE k.key::text = ANY ($4)'
       INTO still USING NULL::text[], hi, NULL::text[], to_do;  -- not those that an application has written meanwhile
    seen := seen || pg_catalog.jsonb_build_object('wal_bytes', wal_bytes, 'still_to_do', still);
    RAISE EXCEPTION USING ERRCODE = 'BF900';
  EXCEPTION
    WHEN SQLSTATE 'BF900' THEN
      NULL;  -- nothing of it is left
    WHEN OTHERS THEN
      seen := seen || pg_catalog.jsonb_build_object('not_tried', SQLERRM);
  END;
END
$_$;


ALTER FUNCTION backfill.survey(job_id bigint, batch text, bound text, keys_of text, relation oid, upper text[], on_copy boolean, keys bigint, OUT estimate bigint, OUT seen jsonb) OWNER TO backfilld;

--
-- Name: sync_body(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.sync_body(job backfill.job) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  row_name    text := (SELECT quote_ident(c.relname) FROM pg_class c WHERE c.oid = job.target);
  plain       boolean := (job.plan -> 'sync' -> 'plain')::boolean;
  assignments jsonb := job.plan -> 'sync' -> 'assignments';
  condition   text := job.plan -> 'sync' ->> 'where';
  compute     text;
  forget      text;
BEGIN
  SELECT string_agg(CASE WHEN a ->> 'to' LIKE '(%'
                         THEN format(E'  SELECT * FROM %s AS "backfilld" INTO %s;\n', a ->> 'expression',
                                     regexp_replace(btrim(a ->> 'to', '()'), '(^|, *)', '\1NEW.', 'g'))
                         ELSE format(E'  NEW.%s := %s;\n', a ->> 'to', a ->> 'expression') END, '' ORDER BY ord),
         string_agg(CASE WHEN a ->> 'to' LIKE '(%'
                         THEN regexp_replace(btrim(a ->> 'to', '()'), '(?:^|, *)("(?:[^"]|"")*"|[^,]+)', E'  NEW.\\1 := NULL;\n', 'g')
                         ELSE format(E'  NEW.%s := NULL;\n', a ->> 'to') END, '' ORDER BY ord)
    INTO compute, forget
    FROM jsonb_array_elements(assignments) WITH ORDINALITY AS t(a, ord);
  RETURN E'#variable_conflict use_column\nDECLARE\n'
      || format(E'  %s record := NEW;\n', row_name)
      || E'BEGIN\n'
      -- With the owner's rights it computes for the owner's table alone.
      || CASE WHEN plain THEN '' ELSE
           format(E'  IF TG_RELID <> %s AND pg_catalog.pg_partition_root(TG_RELID) IS DISTINCT FROM %s THEN\n'
                  '    RAISE EXCEPTION ''this function is for another table'' USING ERRCODE = ''42501'';\n  END IF;\n  BEGIN\n', job.target::oid, job.root::oid) END
      || CASE WHEN condition IS NULL THEN '' ELSE
           format(E'  IF %s IS NOT TRUE THEN\n', condition)
           || replace(forget, '  NEW.', format('    %s.', row_name))
           || format(E'    IF %s IS NOT TRUE THEN RETURN NEW; END IF;\n    %s := NEW;\n  END IF;\n', condition, row_name) END
      || compute
      || E'  RETURN NEW;\n'
      || E'EXCEPTION WHEN OTHERS THEN\n'
      || E'  IF SQLSTATE ~ ''^(40|53|57|58|XX)'' THEN RAISE; END IF;\n'
      || forget
      || E'  RETURN NEW;\nEND'
      || CASE WHEN plain THEN '' ELSE E';\nEND' END;
END
$$;


ALTER FUNCTION backfill.sync_body(job backfill.job) OWNER TO backfilld;

--
-- Name: sync_commands(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.sync_commands(job backfill.job) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT ARRAY[
    format('CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql%s AS %L', backfill.sync_function(job),
           CASE WHEN (job.plan -> 'sync' -> 'plain')::boolean THEN '' ELSE ' SECURITY DEFINER SET search_path = pg_catalog, pg_temp' END,
           backfill.sync_body(job)),
    -- Whoever may execute it could make it the trigger of a table of their own; that it fires here needs no right.
    format('REVOKE ALL ON FUNCTION %s() FROM PUBLIC', backfill.sync_function(job)),
    format('COMMENT ON FUNCTION %s() IS %L', backfill.sync_function(job),
           format('of backfilld''s job %s, which keeps rows in step: SELECT backfill.finish(%L) drops it', job.name, job.name)),
    format('CREATE OR REPLACE TRIGGER %I BEFORE INSERT OR UPDATE ON %s FOR EACH ROW'
           ' WHEN (pg_catalog.current_setting(''backfilld.batch'', true) IS DISTINCT FROM %L) EXECUTE FUNCTION %s()',
           backfill.sync_name(job), backfill.relation_name(job.target), job.id, backfill.sync_function(job))]
$$;


ALTER FUNCTION backfill.sync_commands(job backfill.job) OWNER TO backfilld;

--
-- Name: sync_function(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.sync_function(job backfill.job) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT format('%I.%I', n.nspname, backfill.sync_name(job))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = job.target
$$;


ALTER FUNCTION backfill.sync_function(job backfill.job) OWNER TO backfilld;

--
-- Name: sync_name(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.sync_name(job backfill.job) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT 'zz_backfilld_keep_in_sync_' || job.id  -- triggers fire by name: this one sees what the others have made of the row
$$;


ALTER FUNCTION backfill.sync_name(job backfill.job) OWNER TO backfilld;

--
-- Name: table_lock(oid); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.table_lock(relation oid) RETURNS text
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT format('%s %s %s on %s',
                CASE WHEN l.pid IS NULL THEN coalesce('prepared transaction ' || quote_literal(t.gid), 'a prepared transaction')
                     ELSE 'pid ' || l.pid END,
                CASE WHEN l.granted THEN 'holds' ELSE 'waits for' END, l.mode, backfill.relation_name(l.relation))
    FROM pg_locks l
    LEFT JOIN LATERAL (SELECT min(p.gid) AS gid FROM pg_locks x JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
                        WHERE x.locktype = 'transactionid' AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
                       HAVING count(*) = 1) AS t ON l.pid IS NULL  -- two of different sessions' may have one number there
   WHERE l.locktype = 'relation' AND l.relation = table_lock.relation
     AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
     AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
     AND l.pid IS DISTINCT FROM pg_backend_pid()
   ORDER BY l.granted DESC, l.pid
   LIMIT 1
$$;


ALTER FUNCTION backfill.table_lock(relation oid) OWNER TO backfilld;

--
-- Name: take_range(bigint, text, bigint); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.take_range(job_id bigint, phase text, above bigint, OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean, OUT relation oid, OUT name text, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint, OUT keys_of text, OUT row_id bigint, OUT locked bigint, OUT changed bigint, OUT yields boolean) RETURNS record
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
  IF NOT FOUND OR NOT backfill.is_held(job) OR backfill.has_moved_back(job, phase) THEN
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
      -- Rows that were tried again belong to no pass, and partitions that were taken out to no table.
      changed := (SELECT coalesce(sum(g.found), 0)
                    FROM backfill.range g
                   WHERE g.job_id = take_range.job_id AND g.lower IS NULL AND g.relation IN (SELECT backfill.relations_of(job)));
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
  IF FOUND THEN
    key_columns := k.columns;
    yields := backfill.can_yield(job);
    name := CASE WHEN job.statement IS NULL THEN backfill.relation_name(relation) END;
    SELECT s.batch, s.keys, s.bound INTO batch, keys_of, bound
      FROM backfill.statements(job, relation, k.columns, k.types, k.collations, point) s;
  END IF;
  PERFORM backfill.check_is_there(relation, job);
  IF key_columns IS NULL THEN
    RAISE EXCEPTION 'the unique index that job "%" walks % by is gone', job.name, backfill.relation_name(relation)
      USING ERRCODE = '42P16', HINT = 'Create it again (CREATE UNIQUE INDEX CONCURRENTLY), then SELECT backfill.retry(' || quote_literal(job.name) || ').';
  END IF;
END
$$;


ALTER FUNCTION backfill.take_range(job_id bigint, phase text, above bigint, OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean, OUT relation oid, OUT name text, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint, OUT keys_of text, OUT row_id bigint, OUT locked bigint, OUT changed bigint, OUT yields boolean) OWNER TO backfilld;

--
-- Name: three_times(backfill.job, jsonb); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.three_times(job backfill.job, now jsonb) RETURNS TABLE(query text, before_calls bigint, before_ms numeric, during_calls bigint, during_ms numeric, after_calls bigint, after_ms numeric, slower_during boolean, slower_after boolean)
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT coalesce(a.query, d.query, b.query), b.calls, b.mean_ms, d.calls, d.mean_ms, a.calls, a.mean_ms,
         coalesce(least(b.calls, d.calls) >= 10 AND d.mean_ms > 1.5 * b.mean_ms AND d.mean_ms - b.mean_ms > 0.1, false),
         coalesce(least(b.calls, a.calls) >= 10 AND a.mean_ms > 1.5 * b.mean_ms AND a.mean_ms - b.mean_ms > 0.1, false)
    FROM backfill.between_looks(NULL, job.before) b
    FULL JOIN backfill.between_looks(job.before, coalesce(job.after, now)) d USING (queryid)
    FULL JOIN (SELECT * FROM backfill.between_looks(job.after, now) WHERE job.after IS NOT NULL) a USING (queryid)
$$;


ALTER FUNCTION backfill.three_times(job backfill.job, now jsonb) OWNER TO backfilld;

--
-- Name: trim_sql(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.trim_sql(clause text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  rest   text := clause;
  result text := '';
  spaces text := '';
  token  text;
BEGIN
  WHILE rest <> '' LOOP
    token := backfill.next_token(rest);
    rest := substr(rest, length(token) + 1);
    IF btrim(token, E' \n\r\t\f\v') = '' OR left(token, 2) IN ('--', '/*') THEN
      spaces := spaces || token;
    ELSE
      result := result || CASE WHEN result = '' THEN '' ELSE spaces END || token;
      spaces := '';
    END IF;
  END LOOP;
  RETURN result;
END
$$;


ALTER FUNCTION backfill.trim_sql(clause text) OWNER TO backfilld;

--
-- Name: try_command(text, text, text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.try_command(column_name text, command text, hint text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  problem text;
  advice  text;
  code    text;
BEGIN
  EXECUTE command;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE;
  PERFORM backfill.refuse(column_name, problem, coalesce(nullif(advice, ''), hint), code);
END
$$;


ALTER FUNCTION backfill.try_command(column_name text, command text, hint text) OWNER TO backfilld;

--
-- Name: uses_of(backfill.job); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.uses_of(job backfill.job) RETURNS TABLE(kind text, what text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT DISTINCT u.kind, u.what
    FROM (SELECT job.target::oid AS relation UNION SELECT t.relid FROM pg_partition_tree(job.target) t) r,
         backfill.uses_of_relation(r.relation, job.drop_column, job.submitted_by) u
$$;


ALTER FUNCTION backfill.uses_of(job backfill.job) OWNER TO backfilld;

--
-- Name: uses_of_relation(oid, name, name); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.uses_of_relation(target oid, column_name name, for_role name) RETURNS TABLE(kind text, what text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
  class      pg_class;
  col        smallint;
  extension  text;
  statement  text;
  word       text;
  table_word text;
BEGIN
  SELECT * INTO class FROM pg_class c WHERE c.oid = target;
  SELECT a.attnum INTO col FROM pg_attribute a WHERE a.attrelid = target AND a.attname = column_name;
  word := backfill.word_pattern(column_name);
  table_word := backfill.word_pattern(class.relname);

  RETURN QUERY
  WITH found AS (
    SELECT DISTINCT d.classid, d.objid, d.objsubid
      FROM pg_depend d
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = target AND d.refobjsubid = col AND d.deptype <> 'i'
  )
  SELECT 'views', CASE c.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || backfill.relation_name(c.oid)
    FROM found f JOIN pg_rewrite r ON f.classid = 'pg_rewrite'::regclass AND r.oid = f.objid JOIN pg_class c ON c.oid = r.ev_class
   GROUP BY c.oid, c.relkind
  UNION ALL
  SELECT 'indexes', 'index ' || backfill.relation_name(i.indexrelid)
    FROM pg_index i
   WHERE i.indrelid = target
     AND (col = ANY (i.indkey::smallint[]) OR EXISTS (SELECT FROM found f WHERE f.classid = 'pg_class'::regclass AND f.objid = i.indexrelid))
     AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
  UNION ALL
  SELECT 'constraints', format('constraint %I on %s', k.conname, backfill.relation_name(k.conrelid))
    FROM pg_constraint k
   WHERE ((k.conrelid = target AND col = ANY (k.conkey)) OR (k.confrelid = target AND col = ANY (k.confkey))) AND k.contype <> 'n'
  UNION ALL
  SELECT 'triggers', format('trigger %I', t.tgname)
    FROM pg_trigger t
   WHERE t.tgrelid = target AND NOT t.tgisinternal
     AND (col = ANY (t.tgattr::smallint[]) OR EXISTS (SELECT FROM found f WHERE f.classid = 'pg_trigger'::regclass AND f.objid = t.oid))
  UNION ALL
  SELECT 'policies', format('policy %I', p.polname)
    FROM found f JOIN pg_policy p ON f.classid = 'pg_policy'::regclass AND p.oid = f.objid
  UNION ALL
  SELECT 'generated', format('column %I', a.attname)
    FROM found f
    JOIN pg_attrdef e ON f.classid = 'pg_attrdef'::regclass AND e.oid = f.objid
    JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum AND a.attnum <> col
  UNION ALL
  SELECT 'generated', format('column %I', a.attname)  -- the server notes this the other way round
    FROM pg_depend d
    JOIN pg_attribute a ON a.attrelid = target AND a.attnum = d.objsubid AND a.attgenerated <> ''
   WHERE d.classid = 'pg_class'::regclass AND d.objid = target AND d.objsubid <> col
     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = target AND d.refobjsubid = col
  UNION ALL
  SELECT 'publications', format('publication %I', p.pubname)
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
   WHERE r.prrelid = target AND (col = ANY (r.prattrs::smallint[])
         OR EXISTS (SELECT FROM found f WHERE f.classid = 'pg_publication_rel'::regclass AND f.objid = r.oid))
  UNION ALL
  SELECT 'functions', format('%s %s', CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, p.oid::regprocedure)
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'backfill')
     AND (EXISTS (SELECT FROM found f WHERE f.classid = 'pg_proc'::regclass AND f.objid = p.oid)
          OR (p.prosrc ~* word
              AND (p.prosrc ~* table_word OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = target AND t.tgfoid = p.oid))));

  -- Statements, by this database's counters since they were reset; what the server wrote for constants has no names in it.
  SELECT format('%I.pg_stat_statements', n.nspname) INTO extension
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements';
  IF extension IS NOT NULL THEN
    BEGIN
      FOR statement IN EXECUTE format(
        'SELECT DISTINCT CASE WHEN backfill.may_see_statements($3, s.userid) THEN format(''"%%s"'', left(regexp_replace(s.query, ''\s+'', '' '', ''g''), 100))'
        '                     ELSE ''a statement of another role'' END'
        '  FROM %s AS s JOIN pg_catalog.pg_database d ON d.oid = s.dbid AND d.datname = current_database()'
        ' WHERE s.query ~* $1 AND s.query ~* $2 AND s.query ~* ''^\s*(--[^\n]*\n|/\*.*?\*/|\s)*(select|insert|update|delete|merge|with|copy)\M'''
        '   AND s.query !~ ''\mbackfill\.|/\* backfilld \*/''', extension) USING word, table_word, for_role LOOP
        kind := 'statements';
        what := statement;
        RETURN NEXT;
      END LOOP;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
      NULL;  -- the extension is there, but its library is not loaded
    END;
  END IF;
END
$_$;


ALTER FUNCTION backfill.uses_of_relation(target oid, column_name name, for_role name) OWNER TO backfilld;

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
-- Name: within_brackets(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.within_brackets(clause text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  rest  text := backfill.trim_sql(clause);
  whole text := rest;
  depth integer := 0;
  token text;
BEGIN
  WHILE rest <> '' LOOP
    token := backfill.next_token(rest);
    rest := substr(rest, length(token) + 1);
    depth := depth + CASE token WHEN '(' THEN 1 WHEN ')' THEN -1 ELSE 0 END;
    IF depth = 0 THEN
      RETURN CASE WHEN rest = '' AND token = ')' THEN substr(whole, 2, length(whole) - 2) END;
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;


ALTER FUNCTION backfill.within_brackets(clause text) OWNER TO backfilld;

--
-- Name: word_pattern(text); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.word_pattern(name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT '(?<![[:alnum:]_])' || regexp_replace(name, '([^[:alnum:]_])', '\\\1', 'g') || '(?![[:alnum:]_])'
$$;


ALTER FUNCTION backfill.word_pattern(name text) OWNER TO backfilld;

--
-- Name: yield_condition(); Type: FUNCTION; Schema: backfill; Owner: backfilld
--

CREATE FUNCTION backfill.yield_condition() RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
  SELECT '($4::bigint IS NULL OR CASE WHEN (pg_catalog.date_part(''epoch'', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000::float8)::bigint'
         ' OPERATOR(pg_catalog.%) ($4::bigint OPERATOR(pg_catalog.+) 1060::bigint) OPERATOR(pg_catalog.<) $4::bigint'
         ' THEN true ELSE pg_catalog.pg_sleep(0.0009::float8) IS NOT NULL END)'
$_$;


ALTER FUNCTION backfill.yield_condition() OWNER TO backfilld;

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
    CONSTRAINT left_behind_reason_check CHECK ((reason = ANY (ARRAY['locked'::text, 'error'::text, 'duplicate'::text])))
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
    done boolean GENERATED ALWAYS AS (((cursor IS NOT NULL) AND (cursor = upper))) STORED NOT NULL,
    found bigint DEFAULT 0 NOT NULL
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
                    WHEN (j.phase = ANY (ARRAY['preflight'::text, 'expand'::text])) THEN NULL::numeric
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
2	1776100f056306f669712f55828ec31c	2026-11-27 16:41:58.753362+00
\.


--
-- Data for Name: job; Type: TABLE DATA; Schema: backfill; Owner: backfilld
--

COPY backfill.job (id, name, target, add_column, set_clause, where_clause, statement, keep_in_sync, enforce, drop_column, scan, key, dry_run, priority, workers, target_ms, max_rows_per_s, max_lag, throttle_off, on_error, active_hours, settings, ignore, wanted, submitted_by, owner, search_path, time_zone, date_style, root, state, phase, error, hint, waiting_for, opens_at, report, estimate, holder_pid, holder_start, submitted_at, started_at, finished_at, plan, tidy, before, after) FROM stdin;
1	done	public.t	\N	n = n + 1	id <= 100	\N	f	\N	\N	auto	\N	f	0	\N	\N	\N	\N	\N	fail	\N	\N	\N	run	app	app	"$user", public	Etc/UTC	ISO, MDY	public.t	succeeded	backfill	\N	\N	\N	\N	{"keys": 944, "rows": 100, "locked": {"rows": 0, "batches": 0, "done_later": 0, "cancelled_for_others": 0}, "ranges": 1, "batches": 7, "retries": {}, "seconds": 0.202, "batch_ms": {"max": 13.6, "p50": 1.1, "p99": 13.6, "timed": 7}, "waited_s": 0.000, "wal_bytes": 24608, "left_behind": 0, "throttled_s": {}}	680	\N	\N	2026-11-27 16:41:59.068619+00	2026-11-27 16:41:59.161382+00	2026-11-27 16:41:59.36311+00	{}	f	{"at": "2026-11-27T16:41:59.270851+00:00", "definition": ["column id bigint NOT NULL", "column n integer NOT NULL DEFAULT 0", "constraint t_pkey PRIMARY KEY (id)", "CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)"]}	{"at": "2026-11-27T16:41:59.363183+00:00"}
2	put-aside	public.q	\N	n = n + 1 / (id - 5)::int	\N	\N	f	\N	\N	auto	\N	f	0	\N	\N	\N	\N	\N	quarantine	\N	\N	\N	run	app	app	"$user", public	Etc/UTC	ISO, MDY	public.q	succeeded	backfill	\N	Rows were left behind: SELECT * FROM backfill.left_behind; then SELECT backfill.retry(name).	\N	\N	{"keys": 10, "rows": 9, "locked": {"rows": 0, "batches": 0, "done_later": 0, "cancelled_for_others": 0}, "ranges": 1, "batches": 3, "retries": {"row": 7}, "seconds": 0.189, "batch_ms": {"max": 14.7, "p50": 0.8, "p99": 14.7, "timed": 3}, "waited_s": 0.000, "wal_bytes": 648, "left_behind": 1, "throttled_s": {}}	680	\N	\N	2026-11-27 16:41:59.39041+00	2026-11-27 16:41:59.435441+00	2026-11-27 16:41:59.62442+00	{}	f	{"at": "2026-11-27T16:41:59.546194+00:00", "definition": ["column id bigint NOT NULL", "column n integer NOT NULL DEFAULT 0", "constraint q_pkey PRIMARY KEY (id)", "CREATE UNIQUE INDEX q_pkey ON public.q USING btree (id)"]}	{"at": "2026-11-27T16:41:59.624476+00:00"}
3	half	public.t	\N	n = n + 1	\N	\N	f	\N	\N	auto	\N	f	0	\N	\N	\N	\N	\N	fail	\N	\N	\N	pause	app	app	"$user", public	Etc/UTC	ISO, MDY	public.t	paused	backfill	\N	\N	\N	\N	\N	680	\N	\N	2026-11-27 16:41:59.666792+00	2026-11-27 16:41:59.717075+00	\N	{}	f	{"at": "2026-11-27T16:41:59.785951+00:00", "definition": ["column id bigint NOT NULL", "column n integer NOT NULL DEFAULT 0", "constraint t_pkey PRIMARY KEY (id)", "CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)", "CREATE TRIGGER gate_t_600 BEFORE UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION public.gate_t_600()"]}	\N
4	new	public.q	\N	n = n + 1	id <> 5 AND n = 0	\N	f	\N	\N	auto	\N	f	0	\N	\N	\N	\N	\N	fail	\N	\N	\N	pause	app	app	"$user", public	Etc/UTC	ISO, MDY	public.q	paused	preflight	\N	\N	\N	\N	\N	\N	\N	\N	2026-11-27 16:42:00.538299+00	\N	\N	{}	f	\N	\N
\.


--
-- Data for Name: left_behind; Type: TABLE DATA; Schema: backfill; Owner: backfilld
--

COPY backfill.left_behind (id, job_id, range_id, relation, key_columns, key, reason, sqlstate, message, detail, left_at) FROM stdin;
1	2	2	public.q	{1}	{5}	error	22012	division by zero	\N	2026-11-27 16:41:59.604092+00
\.


--
-- Data for Name: range; Type: TABLE DATA; Schema: backfill; Owner: backfilld
--

COPY backfill.range (id, job_id, submitted_by, relation, key, lower, upper, cursor, keys, rows, batches, wal_bytes, epoch, rate, checkpoint_at, found) FROM stdin;
1	1	app	public.t	{1}	\N	{1000}	{1000}	944	100	7	24608	1	0	2026-11-27 16:41:59.339314+00	100
2	2	app	public.q	{1}	\N	{10}	{10}	10	9	3	648	1	0	2026-11-27 16:41:59.605755+00	9
3	3	app	public.t	{1}	\N	{1000}	{599}	599	599	8	127984	10	1820	2026-11-27 16:42:00.487155+00	599
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
560	1
561	1
562	1
563	1
598	1
599	1
595	1
596	1
597	1
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
554	1
555	1
556	1
557	1
558	1
559	1
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
-- Name: job_untidy; Type: INDEX; Schema: backfill; Owner: backfilld
--

CREATE INDEX job_untidy ON backfill.job USING btree (id) WHERE (tidy AND (state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'cancelled'::text])));


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

CREATE TRIGGER job_notify_update AFTER UPDATE ON backfill.job FOR EACH ROW WHEN (((((((((((old.state IS DISTINCT FROM new.state) OR (old.phase IS DISTINCT FROM new.phase)) OR (old.wanted IS DISTINCT FROM new.wanted)) OR (old.target_ms IS DISTINCT FROM new.target_ms)) OR (old.max_rows_per_s IS DISTINCT FROM new.max_rows_per_s)) OR (old.on_error IS DISTINCT FROM new.on_error)) OR (old.max_lag IS DISTINCT FROM new.max_lag)) OR (old.throttle_off IS DISTINCT FROM new.throttle_off)) OR (old.active_hours IS DISTINCT FROM new.active_hours)) OR (new.tidy AND (NOT old.tidy)))) EXECUTE FUNCTION backfill.job_notify();


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
-- Name: FUNCTION assigned_column(target text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.assigned_column(target text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.assigned_column(target text) TO backfill_submitter;


--
-- Name: FUNCTION assignments_of(set_clause text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.assignments_of(set_clause text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.assignments_of(set_clause text) TO backfill_submitter;


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
-- Name: FUNCTION begin_phase(job_id bigint, from_phase text, phase text, estimate bigint, seen jsonb, disk_free bigint, OUT ours boolean, OUT preflight text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.begin_phase(job_id bigint, from_phase text, phase text, estimate bigint, seen jsonb, disk_free bigint, OUT ours boolean, OUT preflight text) FROM PUBLIC;


--
-- Name: FUNCTION between_looks(from_look jsonb, to_look jsonb); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.between_looks(from_look jsonb, to_look jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.between_looks(from_look jsonb, to_look jsonb) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.between_looks(from_look jsonb, to_look jsonb) TO pg_monitor;


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
-- Name: FUNCTION can_yield(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.can_yield(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.can_yield(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION cancel(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.cancel(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.cancel(name text) TO backfill_submitter;


--
-- Name: FUNCTION change_job(old backfill.job, new backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.change_job(old backfill.job, new backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.change_job(old backfill.job, new backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION check_active_hours(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_active_hours(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_active_hours(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION check_batch(batch text, relation oid, upper text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_batch(batch text, relation oid, upper text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_batch(batch text, relation oid, upper text[]) TO backfill_submitter;


--
-- Name: FUNCTION check_bound(bound text, relation oid, upper text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_bound(bound text, relation oid, upper text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_bound(bound text, relation oid, upper text[]) TO backfill_submitter;


--
-- Name: FUNCTION check_clauses(job backfill.job, relation oid, columns text[], types text[], collations text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_clauses(job backfill.job, relation oid, columns text[], types text[], collations text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_clauses(job backfill.job, relation oid, columns text[], types text[], collations text[]) TO backfill_submitter;


--
-- Name: FUNCTION check_combination(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_combination(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_combination(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION check_drop_column(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_drop_column(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_drop_column(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION check_given_name(target oid, given text, definition text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_given_name(target oid, given text, definition text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_given_name(target oid, given text, definition text) TO backfill_submitter;


--
-- Name: FUNCTION check_ignore(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_ignore(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_ignore(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION check_is_there(relation oid, job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_is_there(relation oid, job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_is_there(relation oid, job backfill.job) TO backfill_submitter;


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
-- Name: FUNCTION check_schema_right(job backfill.job, column_name text, what text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.check_schema_right(job backfill.job, column_name text, what text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.check_schema_right(job backfill.job, column_name text, what text) TO backfill_submitter;


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
-- Name: FUNCTION compare(job backfill.job, now jsonb); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.compare(job backfill.job, now jsonb) FROM PUBLIC;


--
-- Name: FUNCTION constraint_name(target oid, middle text, ending text, definition text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.constraint_name(target oid, middle text, ending text, definition text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.constraint_name(target oid, middle text, ending text, definition text) TO backfill_submitter;


--
-- Name: FUNCTION copy_statement(target oid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.copy_statement(target oid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.copy_statement(target oid) TO backfill_submitter;


--
-- Name: FUNCTION definition_of(relation oid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.definition_of(relation oid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.definition_of(relation oid) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.definition_of(relation oid) TO pg_monitor;


--
-- Name: FUNCTION effect(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.effect(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.effect(name text) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.effect(name text) TO pg_monitor;


--
-- Name: FUNCTION end_job(job_id bigint, state text, error text, hint text, measured jsonb); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.end_job(job_id bigint, state text, error text, hint text, measured jsonb) FROM PUBLIC;


--
-- Name: FUNCTION end_tidy(job_id bigint, error text, hint text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.end_tidy(job_id bigint, error text, hint text) FROM PUBLIC;


--
-- Name: FUNCTION find_item(job backfill.job, item jsonb, OUT constraint_name name, OUT kind "char", OUT validated boolean, OUT index_oid oid, OUT index_valid boolean, OUT is_not_null boolean, OUT is_another boolean); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.find_item(job backfill.job, item jsonb, OUT constraint_name name, OUT kind "char", OUT validated boolean, OUT index_oid oid, OUT index_valid boolean, OUT is_not_null boolean, OUT is_another boolean) FROM PUBLIC;


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
-- Name: FUNCTION has_column(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.has_column(job backfill.job) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.has_column(job backfill.job) TO backfill_submitter;


--
-- Name: FUNCTION has_constraint(target oid, name text, definition text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.has_constraint(target oid, name text, definition text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.has_constraint(target oid, name text, definition text) TO backfill_submitter;


--
-- Name: FUNCTION has_moved_back(job backfill.job, phase text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.has_moved_back(job backfill.job, phase text) FROM PUBLIC;


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
-- Name: FUNCTION is_not_null(relation oid, column_name name); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.is_not_null(relation oid, column_name name) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.is_not_null(relation oid, column_name name) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.is_not_null(relation oid, column_name name) TO pg_monitor;


--
-- Name: FUNCTION is_untidy(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.is_untidy(job backfill.job) FROM PUBLIC;


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
-- Name: FUNCTION look_at(relation oid, for_role name); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.look_at(relation oid, for_role name) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.look_at(relation oid, for_role name) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.look_at(relation oid, for_role name) TO pg_monitor;


--
-- Name: FUNCTION make_copy(job backfill.job, relation oid, keys bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.make_copy(job backfill.job, relation oid, keys bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.make_copy(job backfill.job, relation oid, keys bigint) TO backfill_submitter;


--
-- Name: FUNCTION make_plan(job backfill.job, columns text[], types text[], collations text[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.make_plan(job backfill.job, columns text[], types text[], collations text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.make_plan(job backfill.job, columns text[], types text[], collations text[]) TO backfill_submitter;


--
-- Name: FUNCTION may_see_statements(role name, of oid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.may_see_statements(role name, of oid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.may_see_statements(role name, of oid) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.may_see_statements(role name, of oid) TO pg_monitor;


--
-- Name: FUNCTION next_step(job_id bigint, phase text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.next_step(job_id bigint, phase text) FROM PUBLIC;


--
-- Name: FUNCTION next_token(rest text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.next_token(rest text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.next_token(rest text) TO backfill_submitter;


--
-- Name: FUNCTION note_duplicate(job_id bigint, message text, detail text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.note_duplicate(job_id bigint, message text, detail text) FROM PUBLIC;


--
-- Name: FUNCTION other_constraint(target oid, name text, definition text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.other_constraint(target oid, name text, definition text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.other_constraint(target oid, name text, definition text) TO backfill_submitter;


--
-- Name: FUNCTION own_job(job_id bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.own_job(job_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.own_job(job_id bigint) TO backfill_submitter;


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
-- Name: FUNCTION phases_of(job backfill.job, OUT expand boolean, OUT fill boolean, OUT guard boolean, OUT quiet boolean, OUT verify boolean, OUT validate boolean, OUT in_step boolean, OUT dry_run boolean, OUT lacking text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.phases_of(job backfill.job, OUT expand boolean, OUT fill boolean, OUT guard boolean, OUT quiet boolean, OUT verify boolean, OUT validate boolean, OUT in_step boolean, OUT dry_run boolean, OUT lacking text) FROM PUBLIC;


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
-- Name: FUNCTION plan_in_words(plan jsonb); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.plan_in_words(plan jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.plan_in_words(plan jsonb) TO backfill_submitter;


--
-- Name: FUNCTION plan_reads_all(plan jsonb, relation_name name); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.plan_reads_all(plan jsonb, relation_name name) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.plan_reads_all(plan jsonb, relation_name name) TO backfill_submitter;


--
-- Name: FUNCTION preflight(job backfill.job, estimate bigint, seen jsonb, disk_free bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.preflight(job backfill.job, estimate bigint, seen jsonb, disk_free bigint) FROM PUBLIC;


--
-- Name: FUNCTION preflight_in_words(found jsonb); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.preflight_in_words(found jsonb) FROM PUBLIC;


--
-- Name: FUNCTION put_aside(range bigint, epoch bigint, lo text[], hi text[], sqlstate text, message text, detail text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.put_aside(range bigint, epoch bigint, lo text[], hi text[], sqlstate text, message text, detail text) FROM PUBLIC;


--
-- Name: FUNCTION read_assignments(job backfill.job, copy text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.read_assignments(job backfill.job, copy text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.read_assignments(job backfill.job, copy text) TO backfill_submitter;


--
-- Name: FUNCTION read_column(job backfill.job, copy text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.read_column(job backfill.job, copy text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.read_column(job backfill.job, copy text) TO backfill_submitter;


--
-- Name: FUNCTION read_constraint(job backfill.job, copy text, item text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.read_constraint(job backfill.job, copy text, item text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.read_constraint(job backfill.job, copy text, item text) TO backfill_submitter;


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
-- Name: FUNCTION retry_row(statement text, relation oid, name text, keys_of text, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.retry_row(statement text, relation oid, name text, keys_of text, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.retry_row(statement text, relation oid, name text, keys_of text, id bigint, key text[], OUT rows bigint, OUT wal_bytes bigint, OUT done boolean, OUT holders integer[]) TO backfill_submitter;


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
-- Name: FUNCTION run_batch(statement text, relation oid, name text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.run_batch(statement text, relation oid, name text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.run_batch(statement text, relation oid, name text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid) TO backfill_submitter;


--
-- Name: FUNCTION run_batch_skipping(statement text, relation oid, name text, keys_of text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.run_batch_skipping(statement text, relation oid, name text, keys_of text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.run_batch_skipping(statement text, relation oid, name text, keys_of text, range bigint, epoch bigint, at tid, lo text[], hi text[], keys bigint, rate real, yield_us bigint, OUT rows bigint, OUT wal_bytes bigint, OUT now_at tid, OUT skipped bigint, OUT holders integer[]) TO backfill_submitter;


--
-- Name: FUNCTION run_statement(statement text, relation oid, name text, lo text[], hi text[], held text[], yield_us bigint); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.run_statement(statement text, relation oid, name text, lo text[], hi text[], held text[], yield_us bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.run_statement(statement text, relation oid, name text, lo text[], hi text[], held text[], yield_us bigint) TO backfill_submitter;


--
-- Name: FUNCTION run_step(job_id bigint, phase text, commands text[], relation oid, name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.run_step(job_id bigint, phase text, commands text[], relation oid, name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.run_step(job_id bigint, phase text, commands text[], relation oid, name text) TO backfill_submitter;


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
-- Name: FUNCTION split_assignments(clause text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.split_assignments(clause text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.split_assignments(clause text) TO backfill_submitter;


--
-- Name: FUNCTION split_at(clause text, separator text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.split_at(clause text, separator text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.split_at(clause text, separator text) TO backfill_submitter;


--
-- Name: FUNCTION statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.statements(job backfill.job, relation oid, columns text[], types text[], collations text[], point boolean, OUT batch text, OUT keys text, OUT bound text, OUT last text) TO backfill_submitter;


--
-- Name: FUNCTION statements_on(relation oid, for_role name); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.statements_on(relation oid, for_role name) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.statements_on(relation oid, for_role name) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.statements_on(relation oid, for_role name) TO pg_monitor;


--
-- Name: FUNCTION step_is_wanted(job_id bigint, phase text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.step_is_wanted(job_id bigint, phase text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.step_is_wanted(job_id bigint, phase text) TO backfill_submitter;


--
-- Name: FUNCTION steps(); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.steps() FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.steps() TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.steps() TO pg_monitor;


--
-- Name: FUNCTION survey(job_id bigint, batch text, bound text, keys_of text, relation oid, upper text[], on_copy boolean, keys bigint, OUT estimate bigint, OUT seen jsonb); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.survey(job_id bigint, batch text, bound text, keys_of text, relation oid, upper text[], on_copy boolean, keys bigint, OUT estimate bigint, OUT seen jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.survey(job_id bigint, batch text, bound text, keys_of text, relation oid, upper text[], on_copy boolean, keys bigint, OUT estimate bigint, OUT seen jsonb) TO backfill_submitter;


--
-- Name: FUNCTION sync_body(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.sync_body(job backfill.job) FROM PUBLIC;


--
-- Name: FUNCTION sync_commands(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.sync_commands(job backfill.job) FROM PUBLIC;


--
-- Name: FUNCTION sync_function(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.sync_function(job backfill.job) FROM PUBLIC;


--
-- Name: FUNCTION sync_name(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.sync_name(job backfill.job) FROM PUBLIC;


--
-- Name: FUNCTION table_lock(relation oid); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.table_lock(relation oid) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.table_lock(relation oid) TO backfill_submitter;


--
-- Name: FUNCTION take_range(job_id bigint, phase text, above bigint, OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean, OUT relation oid, OUT name text, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint, OUT keys_of text, OUT row_id bigint, OUT locked bigint, OUT changed bigint, OUT yields boolean); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.take_range(job_id bigint, phase text, above bigint, OUT outcome text, OUT range bigint, OUT epoch bigint, OUT cursor text[], OUT upper text[], OUT point boolean, OUT relation oid, OUT name text, OUT key_columns text[], OUT batch text, OUT bound text, OUT keys bigint, OUT keys_of text, OUT row_id bigint, OUT locked bigint, OUT changed bigint, OUT yields boolean) FROM PUBLIC;


--
-- Name: FUNCTION three_times(job backfill.job, now jsonb); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.three_times(job backfill.job, now jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.three_times(job backfill.job, now jsonb) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.three_times(job backfill.job, now jsonb) TO pg_monitor;


--
-- Name: FUNCTION trim_sql(clause text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.trim_sql(clause text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.trim_sql(clause text) TO backfill_submitter;


--
-- Name: FUNCTION try_command(column_name text, command text, hint text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.try_command(column_name text, command text, hint text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.try_command(column_name text, command text, hint text) TO backfill_submitter;


--
-- Name: FUNCTION uses_of(job backfill.job); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.uses_of(job backfill.job) FROM PUBLIC;


--
-- Name: FUNCTION uses_of_relation(target oid, column_name name, for_role name); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.uses_of_relation(target oid, column_name name, for_role name) FROM PUBLIC;


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
-- Name: FUNCTION within_brackets(clause text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.within_brackets(clause text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.within_brackets(clause text) TO backfill_submitter;


--
-- Name: FUNCTION word_pattern(name text); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.word_pattern(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.word_pattern(name text) TO backfill_submitter;
GRANT ALL ON FUNCTION backfill.word_pattern(name text) TO pg_monitor;


--
-- Name: FUNCTION yield_condition(); Type: ACL; Schema: backfill; Owner: backfilld
--

REVOKE ALL ON FUNCTION backfill.yield_condition() FROM PUBLIC;
GRANT ALL ON FUNCTION backfill.yield_condition() TO backfill_submitter;


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

\unrestrict lJRnDUWAV7oA7aBKJJJtWwSmvb01W6RM8Tdja1t0KqRdJFHdievIwL7tfpadfIK

