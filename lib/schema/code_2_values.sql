-- What a job's columns may hold, each and together.

-- Whether a text closes all brackets and quotes that it opens, and perhaps more.
CREATE OR REPLACE FUNCTION backfill.is_closed(clause text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(sum(CASE WHEN t.token IN ('(', '[') THEN 1 WHEN t.token IN (')', ']') THEN -1 ELSE 0 END) <= 0
                  AND NOT bool_or(left(t.token, 1) IN ('''', '"') AND t.token !~ '^(?:''(?:[^'']|'''')*''|"(?:[^"]|"")*")$'), true)
    FROM unnest(backfill.tokens(clause)) AS t(token)
$$;

-- '{UNIQUE (a, b)}' is an array of two: its comma ends an item. The first item that only those behind it close, and the whole array as literals, with
-- such items put together again; both NULL when there is none.
CREATE OR REPLACE FUNCTION backfill.split_item(enforce text[], OUT first text, OUT whole text)
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  items text[] := '{}';
  piece text;
  item  text;
  began text;
BEGIN
  FOREACH item IN ARRAY enforce LOOP
    began := CASE WHEN piece IS NULL THEN item ELSE began END;
    piece := coalesce(piece || ', ', '') || item;
    IF backfill.is_closed(piece) THEN
      first := coalesce(first, CASE WHEN piece <> item THEN began END);
      items := items || quote_literal(piece);
      piece := NULL;
    END IF;
  END LOOP;
  whole := array_to_string(items, ', ');
  IF first IS NULL OR piece IS NOT NULL THEN  -- none, or what is open closes nowhere: that is another mistake
    first := NULL;
    whole := NULL;
  END IF;
END
$$;

-- Which columns of a job go together.
CREATE OR REPLACE FUNCTION backfill.check_combination(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
  ELSIF job.statement !~ '\{batch[[:space:]}]' THEN
    PERFORM backfill.refuse('statement', 'does not say where the batch goes',
                            'Write {batch} into its WHERE clause; {batch o} when the table has the alias o.', '42601');
  ELSIF job.add_column IS NOT NULL AND job.set_clause IS NULL THEN
    PERFORM backfill.refuse('add_column', 'goes with set_clause only', 'Add the column first (ALTER TABLE … ADD COLUMN), then insert the job.');
  ELSIF job.sync_back IS NOT NULL AND NOT job.keep_in_sync THEN
    PERFORM backfill.refuse('sync_back', 'goes with keep_in_sync only', 'It is the way back of the same trigger: what is written into the new column reaches the old one.');
  ELSIF job.keep_in_sync AND job.set_clause IS NULL THEN
    PERFORM backfill.refuse('keep_in_sync', 'goes with set_clause only', 'The trigger computes set_clause for each row that is written.');
  ELSIF fills AND job.enforce IS NOT NULL AND NOT job.keep_in_sync AND job.where_clause IS NULL AND job.add_column IS NULL THEN
    PERFORM backfill.refuse('enforce', 'nothing tells when the application has ceased to write rows that break it',
                            CASE WHEN job.statement IS NOT NULL THEN 'When that writes only rows that are right, insert a job of its own behind this one: target and enforce alone.'
                                 ELSE 'Give where_clause, by which rows that are still to do are found, or keep_in_sync.' END);
  ELSIF job.enforce = '{}' OR array_position(job.enforce, NULL) IS NOT NULL THEN
    PERFORM backfill.refuse('enforce', 'holds nothing, or NULL', 'Leave it out, or write ''{NOT NULL amount_cents}''.');
  ELSIF (SELECT s.first FROM backfill.split_item(job.enforce) s) IS NOT NULL THEN
    PERFORM backfill.refuse('enforce', format('%L is the beginning of an item: within {…} a comma ends one', s.first), format('Write ARRAY[%s].', s.whole), '42601')
       FROM backfill.split_item(job.enforce) s;
  ELSIF job.dry_run AND NOT fills THEN
    PERFORM backfill.refuse('dry_run', 'goes with set_clause or statement', 'It tries one batch; a job that changes no rows has none.');
  ELSIF job.wanted NOT IN ('run', 'pause') THEN
    PERFORM backfill.refuse('wanted', format('a new job can''t want %L', job.wanted), 'Insert it with run or pause.');
  END IF;
END
$$;

-- What ignore may name: with drop_column the kinds of things that may use a column, as backfill.uses_of calls them; else who is far
-- from here and is asked first.
CREATE OR REPLACE FUNCTION backfill.check_ignore(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kinds   constant text[] := '{views, functions, indexes, constraints, triggers, policies, publications, sequences, statistics, generated, statements, columns, subscriptions, subscribers}';
  unknown text := (SELECT u FROM unnest(job.ignore) u WHERE u IS NULL OR u <> ALL (kinds) LIMIT 1);
BEGIN
  IF NOT job.ignore <@ kinds THEN
    PERFORM backfill.refuse('ignore', format('there is nothing called %L to ignore', unknown), format('It may hold %s.', array_to_string(kinds, ', ')));
  ELSIF job.drop_column IS NULL AND NOT job.ignore <@ '{subscriptions, subscribers}' THEN
    PERFORM backfill.refuse('ignore', 'goes with drop_column only', 'It names what may still use a column that is dropped; with other jobs it may hold subscriptions and subscribers.');
  ELSIF job.drop_column IS NOT NULL AND 'subscribers' = ANY (job.ignore) THEN
    PERFORM backfill.refuse('ignore', 'subscribers goes with add_column', 'Leave it out: what a subscriber has more than it is sent does no harm.');
  END IF;
END
$$;

-- Settings of the worker's session that a job may not bring along: with another role of replication neither triggers nor foreign keys
-- would see what its batches write, and VALIDATE would find nothing wrong with it.
-- Each is set as the worker's session will set it, and taken back. What that session sets behind them (SQL_ROLE in lib/schema/sql.c) would be passed over.
CREATE OR REPLACE FUNCTION backfill.check_settings(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  setting record;
  problem text;
  advice  text;
  code    text;
BEGIN
  FOR setting IN SELECT s.key, s.value AS given, s.value #>> '{}' AS value FROM jsonb_each(job.settings) s LOOP
    IF lower(setting.key COLLATE "C") IN ('search_path', 'timezone', 'datestyle') THEN
      PERFORM backfill.refuse('settings', format('%s is that of the session that inserts the job', setting.key), format('SET %s = … there, then insert the job.', setting.key));
    ELSIF lower(setting.key COLLATE "C") = ANY ('{lock_timeout, statement_timeout, synchronous_commit, plan_cache_mode, client_encoding, standard_conforming_strings, backslash_quote,
            quote_all_identifiers, extra_float_digits, row_security, gin_fuzzy_search_limit, default_transaction_isolation, default_transaction_deferrable, idle_session_timeout,
            idle_in_transaction_session_timeout, transaction_timeout, exit_on_error, client_min_messages, log_parameter_max_length_on_error, client_connection_check_interval,
            tcp_keepalives_idle, tcp_keepalives_interval, tcp_keepalives_count, tcp_user_timeout, role, session_authorization, plpgsql.extra_errors, plpgsql.extra_warnings}'::text[]) THEN
      PERFORM backfill.refuse('settings', format('%s is set by the daemon, whatever a job says', setting.key), 'Leave it out; timeouts and synchronous_commit stand in the daemon''s file.');
    ELSIF jsonb_typeof(setting.given) IN ('object', 'array') THEN
      PERFORM backfill.refuse('settings', format('%s is no text, number, true or false', left(setting.key, 100)), 'Write its value as it stands in SET: ''{"work_mem": "64MB"}''.');
    END IF;
    BEGIN
      PERFORM set_config(setting.key, setting.value, true);
      RAISE EXCEPTION USING ERRCODE = 'BF009';  -- it takes back what was set
    EXCEPTION
      WHEN SQLSTATE 'BF009' THEN
        NULL;
      WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE;
        IF code <> '42501' OR session_user = current_user THEN  -- it is the login that sets it, before it sets its role
          PERFORM backfill.refuse('settings', problem,
            coalesce(nullif(advice, ''), CASE code WHEN '42704' THEN format('The server has no setting of that name: SELECT name FROM pg_settings WHERE name LIKE %L lists those like it.', '%' || left(split_part(setting.key, '_', 1), 60) || '%')
                                                   WHEN '42501' THEN format('%I may not set it: leave it out, or insert the job as a role that may.', session_user)
                                                   WHEN '55P02' THEN 'A session can''t change it: leave it out.'
                                                   ELSE format('SELECT setting, unit, min_val, max_val, enumvals FROM pg_settings WHERE name = %L tells what it takes.', lower(setting.key)) END), code);
        END IF;
    END;
  END LOOP;
  IF EXISTS (SELECT FROM jsonb_each_text(job.settings) s WHERE lower(s.key COLLATE "C") = 'default_transaction_read_only' AND lower(s.value COLLATE "C") NOT IN ('off', 'false', 'no', '0')) THEN
    PERFORM backfill.refuse('settings', 'default_transaction_read_only would let the job write nothing', 'Leave it out, or set it to off.');
  END IF;
  IF EXISTS (SELECT FROM jsonb_each_text(job.settings) s WHERE lower(s.key COLLATE "C") = 'session_replication_role' AND lower(s.value COLLATE "C") NOT IN ('origin', 'local')) THEN
    PERFORM backfill.refuse('settings', 'session_replication_role would switch off triggers and foreign keys for the rows that the job writes',
                            'Leave it out. A trigger of yours that is not to fire for a job can ask: WHEN (current_setting(''backfilld.batch'', true) IS NULL).');
  END IF;
END
$$;

-- The signals that a job may pass over; lib/pressure/pressure.c has the same names.
CREATE OR REPLACE FUNCTION backfill.check_throttle_off(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  signals constant text[] := '{lag, lag_mb, standby, blocked, slot, archive, xmin, dead, cpu, io, disk, latency, probe}';
  unknown text := (SELECT u FROM unnest(job.throttle_off) u WHERE u IS NULL OR u <> ALL (signals) LIMIT 1);
BEGIN
  IF array_ndims(job.throttle_off) > 1 OR array_lower(job.throttle_off, 1) <> 1 THEN
    PERFORM backfill.refuse('throttle_off', 'is no plain list', 'Write it as ''{lag, cpu}''.');
  ELSIF NOT job.throttle_off <@ signals THEN
    PERFORM backfill.refuse('throttle_off', format('there is no signal %L', unknown),
                            format('The signals are %s.', array_to_string(signals, ', ')));
  END IF;
END
$$;

-- Whether a name can be told from others by who reads it: nothing in it is unseen, or looks like a plain blank.
CREATE OR REPLACE FUNCTION backfill.can_be_told(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT name ~ '^[^[:cntrl:]]+$' AND name = btrim(name)
         AND CASE WHEN getdatabaseencoding() = 'UTF8'
                  THEN name !~ '[\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\U000e0000-\U000e0fff]' ELSE true END
$$;

-- What each column may hold: said here, in words, before the table's own constraints would say it in theirs.
CREATE OR REPLACE FUNCTION backfill.check_values(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wrong record;
BEGIN
  SELECT v.name, v.value, v.takes INTO wrong
    FROM (VALUES
      (1, 'target', NULL, job.target IS NOT NULL, 'Name the table: target = ''app.orders''.'),
      (2, 'name', job.name, backfill.can_be_told(job.name), 'Give a name that people can type, without line breaks, control characters, or what can''t be seen: blanks at its ends, a blank of no width; left out, it is job- and a number.'),
      (3, 'keep_in_sync', NULL, job.keep_in_sync IS NOT NULL, 'It takes true or false; left out, it is false.'),
      (4, 'dry_run', NULL, job.dry_run IS NOT NULL, 'It takes true or false; left out, it is false.'),
      (5, 'scan', job.scan, job.scan IN ('auto', 'key', 'ctid'), 'It takes auto, key or ctid; left out, it is auto.'),
      (6, 'workers', job.workers::text, coalesce(job.workers BETWEEN 1 AND 64, true), 'It takes 1 to 64 sessions; left out, it is what the daemon''s file says.'),
      (7, 'target_ms', job.target_ms::text, coalesce(job.target_ms BETWEEN 1 AND 10000, true), 'It takes 1 to 10000 milliseconds; left out, it is what the daemon''s file says.'),
      (8, 'max_rows_per_s', job.max_rows_per_s::text, coalesce(job.max_rows_per_s > 0, true), 'It takes a number of rows above 0; left out, there is no such limit. backfill.pause(name) stops a job.'),
      (9, 'max_lag', job.max_lag::text, coalesce(job.max_lag >= interval '1 ms', true), 'It takes an interval of a millisecond or more, ''5 s''; left out, it is what the daemon''s file says. throttle_off = ''{lag}'' is for a job that no standby is to slow down.'),
      (10, 'priority', job.priority::text, job.priority BETWEEN -100 AND 100, 'It takes -100 to 100, the higher the sooner; left out, it is 0.'),
      (11, 'on_error', job.on_error, job.on_error IN ('fail', 'quarantine'), 'It takes fail, which ends the job at a row that can''t be computed, or quarantine, which puts the row aside; left out, it is fail.'),
      (12, 'settings', job.settings::text, coalesce(jsonb_typeof(job.settings) = 'object', true), 'It takes a JSON object of names and values: ''{"work_mem": "64MB"}''.'),
      (13, 'wanted', job.wanted, job.wanted IN ('run', 'pause', 'cancel', 'finish', 'undo'), 'It takes run, pause, cancel, finish or undo.'),
      (14, 'asked', job.asked, coalesce(job.asked IN ('retry', 'forget'), true), 'Call backfill.retry(name) or backfill.forget(name).')) AS v(ord, name, value, is_right, takes)
   WHERE v.is_right IS NOT TRUE
   ORDER BY v.ord LIMIT 1;
  IF FOUND AND wrong.value IS NULL THEN
    PERFORM backfill.refuse(wrong.name, CASE wrong.name WHEN 'target' THEN 'is missing' ELSE 'may not be NULL' END, wrong.takes, '23502');
  ELSIF FOUND THEN
    PERFORM backfill.refuse(wrong.name, format('may not be %L', CASE WHEN length(wrong.value) > 60 THEN left(wrong.value, 57) || '...' ELSE wrong.value END), wrong.takes, '23514');
  END IF;
END
$$;

-- How long the texts of a job may be: a name is part of each notification, which has 8000 bytes; a clause of each statement of each partition,
-- which the daemon holds, and reads token by token.
CREATE OR REPLACE FUNCTION backfill.check_sizes(job backfill.job) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  text  record;
BEGIN
  FOR text IN
    SELECT c.name, c.most, octet_length(c.value) AS size
      FROM (VALUES ('name', 200, job.name), ('add_column', 4000, job.add_column), ('set_clause', 32000, job.set_clause), ('where_clause', 32000, job.where_clause),
                   ('statement', 16000, job.statement), ('sync_back', 32000, job.sync_back), ('enforce', 32000, job.enforce::text),
                   ('drop_column', 200, job.drop_column), ('key', 4000, job.key::text), ('throttle_off', 1000, job.throttle_off::text),
                   ('settings', 8000, job.settings::text), ('ignore', 8000, job.ignore::text), ('search_path', 4000, job.search_path)) AS c(name, most, value)
     WHERE octet_length(c.value) > c.most
  LOOP
    PERFORM backfill.refuse(text.name, format('has %s bytes, and may have %s', text.size, text.most),
      CASE text.name WHEN 'search_path' THEN 'The session''s search_path is part of the job: SET it to the schemas that its clauses need.'
                     WHEN 'name' THEN 'It is the handle by which people call the job.'
                     ELSE 'What is longer belongs into a function that it calls.' END, '54000');
  END LOOP;
  SELECT sum(octet_length(a ->> 'expression') * jsonb_array_length(a -> 'columns')) AS size, max(jsonb_array_length(a -> 'columns')) AS columns INTO text
    FROM jsonb_array_elements(backfill.assignments_of(job.set_clause)) a
   WHERE jsonb_array_length(a -> 'columns') > 1;
  IF text.size > 200000 THEN
    PERFORM backfill.refuse('set_clause', format('has a sub-select for %s columns, which is written once for each: %s bytes, and there may be %s', text.columns, text.size, 200000),
      'Put the long part into a function that the sub-select calls, or fill fewer columns by one job.', '54000');
  END IF;
END
$$;
