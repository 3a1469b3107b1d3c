-- When a job may run: job.active_hours.
--
--   active_hours = window { ";" window } [ zone ]
--   window       = days [ hours ] | hours
--   days         = range { "," range }
--   range        = day [ "-" day ]              mon tue wed thu fri sat sun, in any case; fri-mon goes over the week's end
--   hours        = HH:MM "-" HH:MM              00:00 to 24:00; an end before the start is on the next day
--   zone         = an IANA name (Europe/Berlin); left out, the time zone that the job was inserted under
--
-- Blanks stand between the parts of a window; they may stand around ";" and behind ",". Without days a window is for every
-- day, without hours for the whole day. A window over midnight belongs to the day on which it starts.
--
-- A window is open while the clock on the wall of its zone shows a time in it. So a night in which clocks are put forward is
-- an hour shorter and the other one an hour longer; of a window in the hour that is left out only what is outside of it
-- opens, which may be nothing, and one in the hour that comes twice opens twice.
--
-- These functions run as whoever inserts a job, and in the daemon's session; they read nothing but their arguments.

-- The windows of a text; raises what is wrong with it. days: the numbers (1: Monday) of those on which it starts, '67';
-- starts, ends: minutes from midnight of that day, ends up to 2880.
CREATE OR REPLACE FUNCTION backfill.parse_active_hours(hours text, default_zone text)
RETURNS TABLE (zone text, days text, starts integer, ends integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

-- Refuses what can't be read. A zone must be one that follows the law of a place: 'CEST' or 'FOO-2' would pass for the
-- server, and be wrong for half of the year.
CREATE OR REPLACE FUNCTION backfill.check_active_hours(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  its_zone text;
BEGIN
  IF job.active_hours IS NULL THEN
    RETURN;
  END IF;
  SELECT w.zone INTO its_zone FROM backfill.parse_active_hours(job.active_hours, NULL) w LIMIT 1;
  IF its_zone IS NOT NULL AND NOT EXISTS (SELECT FROM pg_timezone_names t WHERE lower(t.name COLLATE "C") = lower(its_zone COLLATE "C")) THEN
    PERFORM backfill.refuse('active_hours', format('%L at character %s is no time zone''s full name', its_zone,
                                                   length(regexp_replace(job.active_hours, '\s+$', '')) - length(its_zone) + 1),
                            'Write Europe/Berlin, not CET or CEST; SELECT name FROM pg_timezone_names lists them.');
  END IF;
END
$$;

-- Whether a window is open at a moment, and when that changes next; NULL: never. 2 ms, and half a second with the compiler
-- that the planner would start for it.
CREATE OR REPLACE FUNCTION backfill.active_hours_now(hours text, default_zone text, at timestamptz,
    OUT open boolean, OUT changes_at timestamptz, OUT zone text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' SET jit = off
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

-- A job's hours now. outside: what keeps it from running, NULL when they are open; opens: when they begin again, on the
-- wall. Hours that can't be read any more (a server may lose a time zone's name in an upgrade) keep the job from running,
-- and nobody else's: a claim looks at all.
CREATE OR REPLACE FUNCTION backfill.hours_of(job backfill.job,
    OUT open boolean, OUT changes_at timestamptz, OUT opens text, OUT outside text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC'
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

-- A job that comes to stand in the queue, or changes its hours there, is passed over until they begin.
CREATE OR REPLACE FUNCTION backfill.keep_hours(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
