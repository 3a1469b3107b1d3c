-- What is seen of a relation before anything is changed, and the trial of a batch on it. Runs in the worker's session, by the names of
-- the job: operators and functions are qualified.

-- An empty copy of a relation, with the column that the job adds. It is meant where the statement's own table is; a sub-select that names the table again reads the table. Temporary
-- tables stay last in the path: code of others that has run in the session may have made some.
CREATE OR REPLACE FUNCTION backfill.make_copy(job backfill.job, relation oid) RETURNS regclass
LANGUAGE plpgsql
AS $$
DECLARE
  copy    pg_catalog.text := pg_catalog.format('pg_temp.%I', (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation));
  missing pg_catalog.jsonb;
BEGIN
  PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
  EXECUTE backfill.copy_statement(relation);
  missing := backfill.missing_column(job);
  EXECUTE pg_catalog.format('ALTER TABLE %s ADD COLUMN %I %s%s', copy, pg_catalog.jsonb_extract_path_text(missing, 'name'), pg_catalog.jsonb_extract_path_text(missing, 'type'),
                            ' COLLATE ' OPERATOR(pg_catalog.||) pg_catalog.jsonb_extract_path_text(missing, 'collation'));
  RETURN copy::pg_catalog.regclass;
END
$$;

-- Puts more rows of a relation into its copy, behind so many that it has; returns how many came.
CREATE OR REPLACE FUNCTION backfill.copy_more(relation oid, copy regclass, has bigint, more bigint) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
  came bigint;
  list pg_catalog.text := (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ')
                  FROM pg_catalog.pg_attribute a
                 WHERE a.attrelid OPERATOR(pg_catalog.=) relation AND a.attnum OPERATOR(pg_catalog.>) 0::smallint
                   AND NOT a.attisdropped AND a.attgenerated OPERATOR(pg_catalog.=) '');
BEGIN
  EXECUTE pg_catalog.format('INSERT INTO %s (%s) SELECT %s FROM ONLY %s OFFSET %s LIMIT %s', copy, list, list, backfill.relation_name(relation), has, more);
  GET DIAGNOSTICS came = ROW_COUNT;
  RETURN came;
END
$$;

-- Runs a batch up to a key and sees what it costs. on_copy: it runs on one, whose WAL is estimated from its size.
CREATE OR REPLACE FUNCTION backfill.measure_batch(batch text, keys_of text, hi text[], relation oid, on_copy boolean) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  changed   bigint;
  to_do     pg_catalog.text[];
  still     bigint;
  wal_bytes numeric;
  hot       bigint;
  started   pg_catalog.timestamptz;
  ms        numeric;
  start_lsn pg_catalog.pg_lsn;
BEGIN
  EXECUTE pg_catalog.format('SELECT pg_catalog.array_agg(k.key::pg_catalog.text) FROM (%s) AS k(key, holder)', keys_of) INTO to_do USING NULL::pg_catalog.text[], hi, NULL::pg_catalog.text[];
  start_lsn := pg_catalog.pg_current_wal_insert_lsn();
  hot := pg_catalog.pg_stat_get_xact_tuples_hot_updated(relation);
  started := pg_catalog.clock_timestamp();
  EXECUTE batch USING NULL::pg_catalog.text[], hi, NULL::pg_catalog.text[], NULL::bigint;
  GET DIAGNOSTICS changed = ROW_COUNT;
  ms := pg_catalog.round(extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) started) OPERATOR(pg_catalog.*) 1000::numeric, 3);
  wal_bytes := pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), start_lsn);
  hot := pg_catalog.pg_stat_get_xact_tuples_hot_updated(relation) OPERATOR(pg_catalog.-) hot;
  IF on_copy THEN  -- which has no indexes: a new version of the row, its header, and an entry in an index
    EXECUTE pg_catalog.format('SELECT pg_catalog.sum(pg_catalog.pg_column_size("backfilld row".*) OPERATOR(pg_catalog.+) 100) FROM %s AS "backfilld row"', relation::pg_catalog.regclass) INTO wal_bytes;
  END IF;
  -- Not those that an application has written meanwhile.
  EXECUTE pg_catalog.format('SELECT pg_catalog.count(*) FROM (%s) AS k(key, holder) WHERE k.key::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($4)', keys_of)
     INTO still USING NULL::pg_catalog.text[], hi, NULL::pg_catalog.text[], to_do;
  SET CONSTRAINTS ALL IMMEDIATE;  -- what is deferred fires, too
  RETURN pg_catalog.jsonb_build_object('rows', changed, 'ms', ms, 'wal_bytes', wal_bytes, 'still_to_do', still,
                                       CASE WHEN on_copy THEN 'on_copy' ELSE 'hot_rows' END, CASE WHEN on_copy THEN 'true' ELSE pg_catalog.to_jsonb(hot) END);
END
$$;

-- Whether each row of the first ones fails by itself, with one SQLSTATE: then a job of any of them fails. point: the statement on one key.
CREATE OR REPLACE FUNCTION backfill.all_fail(point text, keys_of text, hi text[], failed_with text) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
  started constant pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  k       pg_catalog.text[];
  n       integer := 0;
BEGIN
  FOR k IN EXECUTE pg_catalog.format('SELECT k.key FROM (%s) AS k(key, holder) LIMIT 10', keys_of) USING NULL::pg_catalog.text[], hi, NULL::pg_catalog.text[] LOOP
    IF backfill.try_row(point, k) OPERATOR(pg_catalog.<>) failed_with THEN
      RETURN false;
    END IF;
    n := n OPERATOR(pg_catalog.+) 1;
    EXIT WHEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) started OPERATOR(pg_catalog.>) interval '200 ms';
  END LOOP;
  RETURN n OPERATOR(pg_catalog.>) 0;
END
$$;

-- Whether something of a relation may refuse rows whatever is changed of them, and which a copy of it doesn't have: then they are tried
-- as they are, with the clause that this returns. Else NULL. Not by a column whose UPDATE alone fires a trigger.
CREATE OR REPLACE FUNCTION backfill.clause_that_changes_nothing(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I = %I', a.attname, a.attname)
    FROM pg_attribute a
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
     AND has_column_privilege(relation, a.attnum, 'UPDATE')
     AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = relation AND a.attnum = ANY (t.tgattr))
     AND (EXISTS (SELECT FROM pg_trigger t
                   WHERE t.tgrelid = relation AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype::integer & 16 <> 0 AND t.tgattr = '')
          OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = relation AND k.contype = 'c' AND NOT k.convalidated))
   ORDER BY EXISTS (SELECT FROM pg_index i WHERE i.indrelid = relation AND a.attnum = ANY (i.indkey)), a.attnum
   LIMIT 1
$$;

-- Whether only a look at all of a relation at once proves that none is to do: a row may move behind the scan, when others change its key, and by ctid when they update it at all. A trigger fills
-- each that is updated, but for one whose value can't be computed. hidden: the relation is too large for that look, or the job has rows that were put aside and are to do still: nothing
-- proves it, and the report says so (backfill.may_have_moved).
CREATE OR REPLACE FUNCTION backfill.may_move(job backfill.job, relation oid, ticket bigint, OUT moves boolean, OUT hidden boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  moves := job.where_clause IS NOT NULL AND pg_relation_size(relation) <= backfill.most_at_once() AND backfill.rows_aside(ticket, NULL) = 0;
  hidden := job.where_clause IS NOT NULL AND NOT moves;
END
$$;

-- How many rows of this session's job are put aside, of a relation, or (NULL) of all.
CREATE OR REPLACE FUNCTION backfill.rows_aside(ticket bigint, relation oid) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT count(*) FROM backfill.left_behind l JOIN backfill.token t ON t.job_id = l.job_id
   WHERE t.worker = pg_backend_pid() AND t.ticket = rows_aside.ticket AND l.reason = 'error' AND (rows_aside.relation IS NULL OR l.relation = rows_aside.relation)
$$;

-- Bytes of a relation, or of all partitions of a table by their statistics, that one statement may look at as a whole.
CREATE OR REPLACE FUNCTION backfill.most_at_once() RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 2147483648
$$;

-- What one look at all of a relation says (backfill.whole_look). 'some' of one that takes long to read: the statement holds its snapshot,
-- and works at a stretch. 2 GB are some seconds when they are cached; statement_timeout ends it where they are not. What fails on a row has met one that is to do, or may be, and a batch tells which;
-- but what ails the server, or the session, is no row's.
CREATE OR REPLACE FUNCTION backfill.look_at_all(whole text, relation oid) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
  said pg_catalog.text;
BEGIN
  IF NOT backfill.looks_at_all(whole) AND pg_catalog.pg_relation_size(relation) OPERATOR(pg_catalog.>) backfill.most_at_once() THEN
    RETURN 'some';
  END IF;
  PERFORM pg_catalog.set_config('enable_seqscan', 'on', true), pg_catalog.set_config('max_parallel_workers_per_gather', '0', true);
  EXECUTE whole INTO said;
  RETURN said;
EXCEPTION WHEN OTHERS THEN
  IF SQLSTATE OPERATOR(pg_catalog.=) ANY ('{55P03,55006}'::pg_catalog.text[]) OR pg_catalog."left"(SQLSTATE, 2) OPERATOR(pg_catalog.=) ANY ('{08,25,40,53,57,58,BF,XX}'::pg_catalog.text[]) THEN
    RAISE;
  END IF;
  RETURN 'some';
END
$$;

-- Whether a batch would read the whole table, as far as that can be planned when the column is still to be added: what its clauses read, of its rows. A clause
-- that names what a derived table doesn't have tells nothing here.
CREATE OR REPLACE FUNCTION backfill.check_batch_ahead(job backfill.job, relation oid, key backfill.walk_key, upper text[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM backfill.check_batch(pg_catalog.format(E'SELECT %s FROM %s WHERE %s AND (%s\n)',
                                                 (SELECT pg_catalog.string_agg(pg_catalog.format(E'(%s\n)', e), ', ') FROM backfill.computed_values(relation, job.set_clause) v, pg_catalog.unnest(v.expressions) e),
                                                 backfill.derived_table(relation, (SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target), NULL, backfill.missing_column(job)),
                                                 backfill.batch_condition('', key, false), coalesce(job.where_clause, 'true')), relation, upper);
EXCEPTION
  WHEN invalid_table_definition THEN
    RAISE;
  WHEN OTHERS THEN
    NULL;
END
$$;

-- Where a relation of so many rows is cut into ranges: the keys that end them, but for the last one, in their text form, at quantiles of a sample of 600
-- pages; NULL: it is one range. 250,000 rows are a second or two of work. In the mean a range has 100,000 or more: to take one costs its walker 10 ms.
-- They become smaller towards the end (i of n begins at 1 - (1 - i/n)^1.5 of the keys), so that all walkers end together: of two that share 20 equal
-- ranges one is idle for a twentieth of the time. A key that is longer than the index of ranges has room for cuts none.
CREATE OR REPLACE FUNCTION backfill.cuts_of(sample text, relation oid, upper text[], rows bigint) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
  ranges constant bigint := least(64, rows OPERATOR(pg_catalog./) 100000::bigint);
  pages  numeric;
  cuts   pg_catalog.text[];
BEGIN
  IF rows OPERATOR(pg_catalog.<) 250000::bigint THEN
    RETURN NULL;
  END IF;
  pages := (SELECT pg_catalog.sum(pg_catalog.pg_relation_size(o.oid)) OPERATOR(pg_catalog./) pg_catalog.current_setting('block_size')::numeric
              FROM (SELECT relation AS oid UNION SELECT t.relid FROM backfill.partitions_of(relation) AS t) AS o);
  EXECUTE pg_catalog.format('SELECT pg_catalog.array_agg(s.key ORDER BY s.n) FROM (%s) AS s WHERE s.n OPERATOR(pg_catalog.<) s.total AND pg_catalog.octet_length(s.key) OPERATOR(pg_catalog.<=) 1000'
                            ' AND pg_catalog.floor($4 OPERATOR(pg_catalog.*) (1 OPERATOR(pg_catalog.-) pg_catalog.power((s.total OPERATOR(pg_catalog.-) s.n)::pg_catalog.float8 OPERATOR(pg_catalog./) s.total::pg_catalog.float8, 2::pg_catalog.float8 OPERATOR(pg_catalog./) 3)))'
                            ' OPERATOR(pg_catalog.>) pg_catalog.floor($4 OPERATOR(pg_catalog.*) (1 OPERATOR(pg_catalog.-) pg_catalog.power((s.total OPERATOR(pg_catalog.-) s.n OPERATOR(pg_catalog.+) 1)::pg_catalog.float8 OPERATOR(pg_catalog./) s.total::pg_catalog.float8, 2::pg_catalog.float8 OPERATOR(pg_catalog./) 3)))', sample)
     INTO cuts USING NULL::pg_catalog.text[], upper, least(100, 60000 OPERATOR(pg_catalog./) greatest(pages, 1))::pg_catalog.float8, ranges::pg_catalog.float8;
  RETURN cuts;
EXCEPTION WHEN query_canceled THEN  -- the pages lie on a slow disk: one range is no reason to fail
  RETURN NULL;
END
$$;

-- Surveys one relation, and tries a batch, which is undone again: what it costs, and whether a row that is done still meets the
-- where_clause. keys: at most so many; 0 tries nothing. First it is one key, then ten, then a hundred, as long as the next will
-- probably end within 200 ms: rows stay locked meanwhile. on_copy: the column that it fills is still to be added, which would lock
-- everybody out while it is tried: it is tried on a copy of some rows, and the batch's plan is checked when the column is there. Where
-- the table itself may refuse its rows, one of them is tried there, as it is, and ten when that fails.
-- What every row meets is raised, for it would end the job later; what one row meets, or what cuts the trial short, is said.
-- whole: backfill.whole_look's, or NULL. moves, hidden: backfill.may_move. all_at_once: it was a look at all partitions. Returns the estimate of rows, what was seen, where it is cut (backfill.cuts_of),
-- and whether one look at the whole relation found nothing to do: then there is nothing to try, either. nothing_else: but rows that are done by their NULL. aside: backfill.rows_aside.
CREATE OR REPLACE FUNCTION backfill.survey(batch text, bound text, keys_of text, relation oid, name text, upper text[], on_copy boolean,
    keys bigint, whole text, OUT estimate bigint, OUT seen jsonb, OUT nothing_to_do boolean, OUT cuts text[], OUT moves boolean, OUT hidden boolean, OUT all_at_once boolean, OUT by_ctid boolean, OUT nothing_else boolean, OUT aside bigint)
LANGUAGE plpgsql
AS $$
DECLARE
  budget    constant interval := '200 ms';
  work      constant backfill.work := backfill.begin_work();
  job       backfill.job := backfill.own_job((work).ticket);
  key       backfill.walk_key;
  began     pg_catalog.timestamptz;
  round_at  pg_catalog.timestamptz;
  tried     pg_catalog.oid := relation;
  planned   pg_catalog.text := batch;
  point     pg_catalog.text;
  plan      pg_catalog.jsonb;
  hi        pg_catalog.text[];
  n         bigint;
  has       bigint := 0;
  came      bigint;
  code      pg_catalog.text;
  problem   pg_catalog.text;
  reason    pg_catalog.text;
  advice    pg_catalog.text;
  always    boolean := false;
  as_is     backfill.job;
  is_tried  boolean := false;
BEGIN
  PERFORM backfill.hold_name(relation, name, false);
  PERFORM backfill.check_leaf(relation, (work).target);
  PERFORM backfill.check_spelled(job);
  PERFORM backfill.check_key_names(relation, batch);
  PERFORM backfill.check_session(work);
  SELECT * INTO key FROM backfill.key_of(relation, backfill.key_numbers(relation, job.key));
  PERFORM backfill.check_operators(key);
  IF job.keep_in_sync AND NOT on_copy THEN  -- names in them beside the relation's may be another's since the layout: backfill.check_called
    PERFORM backfill.hold_beside(work);
    batch := (SELECT s.batch FROM backfill.statements(job, relation, key, false) s);
    whole := CASE WHEN whole IS NOT NULL THEN backfill.whole_look(job, CASE WHEN backfill.looks_at_all(whole) THEN job.target::pg_catalog.oid ELSE relation END) END;
  END IF;
  estimate := CASE WHEN key.attnums OPERATOR(pg_catalog.=) '{-1}'::smallint[] THEN (pg_catalog.jsonb_path_query_first(backfill.plan(pg_catalog.format('SELECT FROM ONLY %s', backfill.relation_name(relation))), 'lax $.**."Plan Rows"'))::bigint
                   ELSE backfill.check_bound(bound, relation, upper) END;
  IF on_copy THEN
    PERFORM backfill.check_batch_ahead(job, relation, key, upper);
  ELSE
    PERFORM backfill.check_batch(batch, relation, upper);
  END IF;
  all_at_once := backfill.looks_at_all(whole);
  SELECT m.moves, m.hidden INTO moves, hidden FROM backfill.may_move(job, relation, (work).ticket) m;
  aside := backfill.rows_aside((work).ticket, relation);
  whole := CASE WHEN whole IS NOT NULL THEN backfill.look_at_all(whole, relation) END;
  nothing_to_do := coalesce(whole OPERATOR(pg_catalog.=) 'none', false);
  nothing_else := coalesce(whole OPERATOR(pg_catalog.=) 'nulls', false);
  hidden := hidden AND NOT nothing_to_do;
  by_ctid := job.key OPERATOR(pg_catalog.=) '{ctid}'::pg_catalog.text[];
  IF NOT nothing_to_do THEN
    cuts := backfill.cuts_of((SELECT s.sample FROM backfill.statements(job, relation, key, false) s), relation, upper, estimate);
  END IF;
  PERFORM backfill.restore_session(work);
  IF keys OPERATOR(pg_catalog.=) 0::bigint THEN
    RETURN;
  END IF;
  IF job.keep_in_sync AND NOT EXISTS (SELECT FROM backfill.sync_functions(job)) THEN
    PERFORM backfill.try_sync((work).ticket);
    PERFORM backfill.restore_session(work);
  END IF;
  seen := '{}';
  BEGIN
    IF on_copy THEN
      BEGIN
        tried := backfill.make_copy(job, relation);
      EXCEPTION WHEN OTHERS THEN  -- nothing may be created here (no temporary tables, an event trigger): the rows as they are tell what they can
        seen := seen OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('not_tried', 'no copy of the table can be made: ' OPERATOR(pg_catalog.||) SQLERRM);
        RAISE EXCEPTION USING ERRCODE = 'BF900';
      END;
      SELECT s.batch, s.keys INTO batch, keys_of FROM backfill.statements(job, tried, key, false) s;
      -- How the rows of a batch will be reached; the rest of its statement can't be planned yet.
      planned := pg_catalog.format('SELECT FROM ONLY %s WHERE %s', backfill.relation_name(relation),
                                   backfill.batch_condition('', key, false));
    END IF;
    SELECT s.batch INTO point FROM backfill.statements(job, tried, key, true) s;
    began := pg_catalog.clock_timestamp();
    FOREACH n IN ARRAY '{1, 10, 100}'::bigint[] LOOP
      EXIT WHEN n OPERATOR(pg_catalog.>) keys;
      round_at := pg_catalog.clock_timestamp();
      hi := NULL;
      EXECUTE bound INTO hi USING NULL::pg_catalog.text[], upper, n;
      hi := coalesce(hi, upper);
      FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON) ' OPERATOR(pg_catalog.||) planned USING NULL::pg_catalog.text[], hi, NULL::pg_catalog.text[], NULL::bigint LOOP
        seen := seen OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('plan', backfill.plan_in_words(plan));
      END LOOP;
      IF on_copy THEN
        BEGIN
          came := backfill.copy_more(relation, tried::pg_catalog.regclass, has, n OPERATOR(pg_catalog.-) has);
        EXCEPTION WHEN insufficient_privilege THEN  -- an event trigger gives each new table row security
          seen := seen OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('not_tried', 'no row can be copied for a trial: ' OPERATOR(pg_catalog.||) SQLERRM);
          came := 0;
        END;
        EXIT WHEN came OPERATOR(pg_catalog.=) 0::bigint;
        has := has OPERATOR(pg_catalog.+) came;
        hi := upper;  -- whichever rows the copy has
      END IF;
      BEGIN
        seen := seen OPERATOR(pg_catalog.||) backfill.measure_batch(batch, keys_of, hi, tried, on_copy);
        RAISE EXCEPTION USING ERRCODE = 'BF900';
      EXCEPTION WHEN SQLSTATE 'BF900' THEN
        NULL;  -- nothing of it is left
      END;
      EXIT WHEN NOT on_copy AND hi OPERATOR(pg_catalog.=) upper;
      EXIT WHEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) began OPERATOR(pg_catalog.+)
                (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) round_at) OPERATOR(pg_catalog.*) 10::pg_catalog.float8 OPERATOR(pg_catalog.>) budget;
    END LOOP;
    RAISE EXCEPTION USING ERRCODE = 'BF900';
  EXCEPTION
    WHEN SQLSTATE 'BF900' THEN
      NULL;
    WHEN insufficient_privilege THEN
      RAISE;  -- as it is: a right that is missing is no row's, and the server says where in it that was found
    WHEN query_canceled OR assert_failure OR OTHERS THEN
      GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, reason = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
  END;
  IF on_copy AND code OPERATOR(pg_catalog.=) ANY ('{42P01,42703}'::pg_catalog.text[]) THEN
    code := NULL;
    seen := seen OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('not_tried', 'a clause names the table with its schema, which no copy of it has, or reads the new column in a sub-select');
  END IF;
  IF code IS NULL AND on_copy THEN
    as_is := job;
    as_is.set_clause := backfill.clause_that_changes_nothing(relation);
    as_is.plan := as_is.plan OPERATOR(pg_catalog.-) 'set';
    as_is.where_clause := NULL;
    IF as_is.set_clause IS NOT NULL THEN
      is_tried := true;
      SELECT s.batch INTO point FROM backfill.statements(as_is, relation, key, true) s;
      SELECT s.keys INTO keys_of FROM backfill.statements(as_is, relation, key, false) s;
      BEGIN
        EXECUTE bound INTO hi USING NULL::pg_catalog.text[], upper, 1::bigint;
        EXECUTE point USING NULL::pg_catalog.text[], coalesce(hi, upper), NULL::pg_catalog.text[], NULL::bigint;
        SET CONSTRAINTS ALL IMMEDIATE;
        RAISE EXCEPTION USING ERRCODE = 'BF900';
      EXCEPTION
        WHEN SQLSTATE 'BF900' THEN
          NULL;
        WHEN query_canceled OR assert_failure OR OTHERS THEN
          GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, reason = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
      END;
    END IF;
  END IF;
  PERFORM backfill.check_prepared();
  IF code IS NULL THEN
    RETURN;
  END IF;

  -- What ends any job whatever its rows, and what a job that fails at a row would fail of at the first.
  IF code OPERATOR(pg_catalog.~) '^(0A|21|22|23|38|39|42|44|54|55000|P0)' AND point IS NOT NULL
     AND (job.on_error OPERATOR(pg_catalog.=) 'fail' OR code OPERATOR(pg_catalog.!~) '^(21|22|23|44)') THEN
    BEGIN
      IF on_copy AND NOT is_tried THEN  -- the other one is gone again
        tried := backfill.make_copy(job, relation);
        PERFORM backfill.copy_more(relation, tried::pg_catalog.regclass, 0, 10);
        SELECT s.batch INTO point FROM backfill.statements(job, tried, key, true) s;
      END IF;
      EXECUTE bound INTO hi USING NULL::pg_catalog.text[], upper, 10::bigint;
      always := backfill.all_fail(point, keys_of, CASE WHEN on_copy AND NOT is_tried THEN upper ELSE coalesce(hi, upper) END, code);
      RAISE EXCEPTION USING ERRCODE = 'BF900';
    EXCEPTION
      WHEN SQLSTATE 'BF900' THEN
        NULL;
      WHEN query_canceled OR OTHERS THEN
        NULL;  -- then it isn't known
    END;
    PERFORM backfill.check_prepared();
  END IF;
  IF always THEN
    RAISE EXCEPTION USING ERRCODE = code, MESSAGE = problem, DETAIL = reason, HINT = coalesce(CASE WHEN advice OPERATOR(pg_catalog.<>) '' THEN advice END,
      'Every row that was tried fails so; nothing has been changed yet.' OPERATOR(pg_catalog.||) coalesce(
        ' Triggers that fire: ' OPERATOR(pg_catalog.||)
        (SELECT pg_catalog.string_agg(t.tgname, ', ' ORDER BY t.tgname) FROM pg_catalog.pg_trigger t
          WHERE t.tgrelid OPERATOR(pg_catalog.=) relation AND NOT t.tgisinternal AND t.tgenabled OPERATOR(pg_catalog.<>) 'D'
            AND (is_tried OR NOT on_copy)) OPERATOR(pg_catalog.||) '.', ''));
  END IF;
  IF is_tried THEN  -- what a row meets that isn't every row's is the batches' affair
    RETURN;
  END IF;
  -- The server's own words only where they can't be about a row's values.
  seen := seen OPERATOR(pg_catalog.||) CASE
    WHEN code OPERATOR(pg_catalog.=) '57014' AND seen OPERATOR(pg_catalog.?) 'rows' THEN '{}'
    ELSE pg_catalog.jsonb_build_object('not_tried', CASE
      WHEN code OPERATOR(pg_catalog.=) '57014' THEN 'it was cut short: a row takes too long, or somebody waited on it'
      WHEN code OPERATOR(pg_catalog.=) '55P03' THEN 'rows are locked by others'
      WHEN code OPERATOR(pg_catalog.~) '^(53|55)' THEN problem
      ELSE 'a row can''t be changed (SQLSTATE ' OPERATOR(pg_catalog.||) code OPERATOR(pg_catalog.||) ')' END) END;
END
$$;
