-- The triggers' function, and when each of them fires.

-- A name in quotes: PL/pgSQL reserves words that quote_ident leaves as they are.
CREATE OR REPLACE FUNCTION backfill.in_quotes(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '"' || replace(name, '"', '""') || '"'
$$;

-- The columns that have a constant as a default, in the order of <token>_default's results.
CREATE OR REPLACE FUNCTION backfill.default_places(job backfill.job) RETURNS TABLE (ord bigint, name text, constant text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT row_number() OVER (ORDER BY d.key COLLATE "C"), d.key, d.value FROM jsonb_each_text(coalesce(job.plan -> 'sync' -> 'defaults', '{}')) d
$$;

-- Whether NEW's column was left out by whoever inserts the row, as a condition: of a trigger, or of its function, where the record defaults has the constants.
CREATE OR REPLACE FUNCTION backfill.left_out(job backfill.job, column_name text, of_trigger boolean DEFAULT false) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('(NEW.%s IS NULL', backfill.in_quotes(column_name))
      || coalesce((SELECT format(' OR pg_catalog.record_image_eq(ROW(NEW.%s), ROW(%s))', backfill.in_quotes(column_name), CASE WHEN of_trigger THEN d.constant ELSE format('defaults.%I', d.ord::text) END)
                     FROM backfill.default_places(job) d WHERE d.name = column_name), '') || ')'
$$;

-- The same of what a clause assigns, as it is written there. A part of a column is left out by itself, in a row that is to do, unless where_clause asks for that column to be NULL.
CREATE OR REPLACE FUNCTION backfill.left_out_of(job backfill.job, target text, of_trigger boolean DEFAULT false) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN p.part = '' OR s.mode = 'null' AND s.asked ? c.name THEN backfill.left_out(job, c.name, of_trigger)
              WHEN s.mode = 'null' THEN format('((%s) AND (NEW.%s)%s IS NULL)', (SELECT string_agg(backfill.left_out(job, n, of_trigger), ' OR ') FROM jsonb_array_elements_text(s.asked) n),
                                               backfill.in_quotes(c.name), p.part)
              ELSE format('((NEW.%s)%s IS NULL)', backfill.in_quotes(c.name), p.part) END
    FROM (SELECT substr(target, length(backfill.next_token(target)) + 1) AS part) p, (SELECT backfill.assigned_column(target) AS name) c,
         (SELECT job.plan -> 'sync' ->> 'mode' AS mode, job.plan -> 'sync' -> 'null_asked' AS asked) s
$$;

-- The name of an expression's place in a clause, in what <token>_changed tells.
CREATE OR REPLACE FUNCTION backfill.place_in(job backfill.job, clause text, ord bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN clause = job.set_clause THEN '' ELSE 'b' END || ord
$$;

-- Whether the trigger must tell of each column whether the clause gives something else than before: where there are several. What new code has written
-- into one is not computed anew because another one's source has changed, and what old code has written not because another column's has come back.
CREATE OR REPLACE FUNCTION backfill.has_several(job backfill.job, OUT forth boolean, OUT back boolean)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT s.self AND s.filled > 1, NOT s.self AND s.back > 0 AND s.filled + s.back > 2
    FROM (SELECT (job.plan -> 'sync' -> 'self')::boolean AS self, (SELECT cardinality(v.targets) FROM backfill.assigned_values(job.set_clause) v) AS filled,
                 coalesce((SELECT cardinality(v.targets) FROM backfill.assigned_values(job.sync_back) v), 0) AS back) AS s
$$;

-- Whether who writes old columns and new ones may leave some of a row that is still to do.
CREATE OR REPLACE FUNCTION backfill.fills_beside(job backfill.job) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT job.sync_back IS NOT NULL AND job.where_clause IS NOT NULL AND (backfill.has_several(job)).forth
$$;

-- Whether what new code leaves as it is must be asked of a CHECK of before, when it has written sources of it.
CREATE OR REPLACE FUNCTION backfill.asks_beside(job backfill.job) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT job.sync_back IS NOT NULL AND coalesce(job.plan -> 'sync' -> 'checks', '{}') <> '{}' AND (backfill.has_several(job)).forth
$$;

-- What a clause assigns, of a record: a column, or the part of it that the clause names, whose other parts are others'. What stands in brackets is a constant:
-- backfill.has_constant_places.
CREATE OR REPLACE FUNCTION backfill.part_of(record text, target text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN p.part = '' THEN format('%s.%s', record, c.name) ELSE format('(%s.%s)%s', record, c.name, p.part) END
    FROM (SELECT backfill.in_quotes(backfill.assigned_column(target)) AS name) c, (SELECT substr(target, length(backfill.next_token(target)) + 1) AS part) p
$$;

-- All that a clause assigns, as a row; of some columns alone, where those are named. NULL: that is nothing.
CREATE OR REPLACE FUNCTION backfill.row_of_clause(record text, clause text, columns text[] DEFAULT NULL) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('ROW(%s)', string_agg(backfill.part_of(record, u.t), ', ' ORDER BY u.ord))
    FROM backfill.assigned_values(clause) v, unnest(v.targets) WITH ORDINALITY AS u(t, ord) WHERE columns IS NULL OR backfill.assigned_column(u.t) = ANY (columns)
  HAVING count(*) > 0
$$;

-- Whether some of it was not written, as a condition.
CREATE OR REPLACE FUNCTION backfill.some_unwritten(clause text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(format('pg_catalog.record_image_eq(ROW(%s), ROW(%s))', backfill.part_of('OLD', t), backfill.part_of('NEW', t)), ' OR ') FROM backfill.assigned_values(clause) v, unnest(v.targets) AS t
$$;

-- ROW(OLD.a, OLD.b) of columns, for the condition of a trigger.
CREATE OR REPLACE FUNCTION backfill.row_of(record text, columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('ROW(%s)', string_agg(format('%s.%I', record, c), ', ' ORDER BY ord)) FROM unnest(columns) WITH ORDINALITY AS u(c, ord)
$$;

-- When an UPDATE leaves a row to do for what a clause assigns, by writing that: as a condition; NULL: its column may be NULL in a row that is done. Without a where_clause of one's own.
CREATE OR REPLACE FUNCTION backfill.undone(job backfill.job, target text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN job.plan -> 'sync' ->> 'mode' = 'all' OR job.plan -> 'sync' -> 'null_asked' ? c.name
              THEN format('(NEW.%1$s)%2$s IS NULL AND pg_catalog.record_image_ne(ROW(OLD.%1$s), ROW(NEW.%1$s))', backfill.in_quotes(c.name), CASE WHEN job.where_clause IS NULL THEN p.part END) END
    FROM (SELECT backfill.assigned_column(target) AS name) c, (SELECT substr(target, length(backfill.next_token(target)) + 1) AS part) p
$$;

-- When an UPDATE by others may leave a row to do by what it writes into a filled column, as a condition of NEW and OLD: where it writes NULL for what where_clause
-- asks to be NULL (without one: for anything), or leaves a part out; with a where_clause of one's own that asks for filled columns, whatever it writes: then the trigger's function
-- asks. NULL: it can't, or is seen anyway.
CREATE OR REPLACE FUNCTION backfill.undone_by(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN (job.plan -> 'sync' -> 'self')::boolean THEN NULL
              WHEN job.plan -> 'sync' ->> 'mode' = 'where'
                THEN (SELECT 'pg_catalog.record_image_ne(' || backfill.row_of('OLD', a.columns) || ', ' || backfill.row_of('NEW', a.columns) || ')'
                        FROM (SELECT array_agg(c ORDER BY ord) AS columns FROM jsonb_array_elements_text(job.plan -> 'sync' -> 'asked') WITH ORDINALITY AS u(c, ord)) a)
              ELSE (SELECT string_agg(DISTINCT backfill.undone(job, t), ' OR ') FROM backfill.assigned_values(job.set_clause) v, unnest(v.targets) AS t) END
$$;

-- Whether a row was to do as far as NULL tells, as a condition behind another; empty: it doesn't.
CREATE OR REPLACE FUNCTION backfill.was_null(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(' AND (' || CASE WHEN job.plan -> 'sync' ->> 'mode' <> 'where'
                                   THEN (SELECT string_agg(format('OLD.%s IS NULL', backfill.in_quotes(c)), ' OR ') FROM unnest(backfill.filled_columns(job.set_clause)) c
                                          WHERE job.plan -> 'sync' ->> 'mode' = 'all' OR job.plan -> 'sync' -> 'null_asked' ? c) END || ')', '')
$$;

-- When an UPDATE moves a row in the scan that is to do, as far as a condition can tell: the function asks. NULL: no UPDATE does, or it is seen anyway.
CREATE OR REPLACE FUNCTION backfill.moved_by(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN (m.columns <> '{}' OR job.key = '{ctid}') AND backfill.undone_by(job) IS NOT NULL
              THEN CASE WHEN job.key = '{ctid}' THEN 'true'  -- each does
                        ELSE format('pg_catalog.record_image_ne(%s, %s)', backfill.row_of('OLD', m.columns), backfill.row_of('NEW', m.columns)) END
                   || backfill.was_null(job) END
    FROM (SELECT ARRAY(SELECT jsonb_array_elements_text(job.plan -> 'sync' -> 'moving')) AS columns) m
$$;

-- The variable in which the trigger's function has which expressions of a clause are wanted; NULL: all are, of a clause for one column.
CREATE OR REPLACE FUNCTION backfill.wanted_in(job backfill.job, clause text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN clause = job.set_clause AND s.forth THEN 'wanted' WHEN clause = job.sync_back AND s.back THEN 'wanted_back' END FROM backfill.has_several(job) s
$$;

-- All of a clause's, as an expression.
CREATE OR REPLACE FUNCTION backfill.all_wanted(clause text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('pg_catalog.array_fill(true, ARRAY[%s])', cardinality(v.targets)) FROM backfill.assigned_values(clause) v
$$;

-- A call of a row function, of OLD or NEW. function: its name, with its schema; behind: what stands behind the row.
CREATE OR REPLACE FUNCTION backfill.row_call(job backfill.job, clause text, function text, record text, behind text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s(%s%s)', function, record, concat(behind, ', ' || backfill.wanted_in(job, clause)))
$$;

-- What a clause assigns, and when, as a condition. at: 'insert', to the columns that were left out, and those by which a where_clause of one's own tells
-- that they are to do; 'update' to those that were not written, or in a batch of the job to all; 'changed' to those of them whose source is another one, in the
-- record moved, and where to_do is set; 'missing' to those others that are NULL; 'always', to all; 'undone', to those by which the row is to do. What stands in one of backfill.kept_columns stays in a row that
-- is to do for another.
CREATE OR REPLACE FUNCTION backfill.sync_places(job backfill.job, clause text, at text)
RETURNS TABLE (ord bigint, target text, name text, quoted text, kept boolean, own text, condition text, assigned text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT u.ord, u.t, n.name, q.quoted, k.kept, o.own,
         CASE at WHEN 'insert' THEN CASE WHEN job.plan -> 'sync' -> 'asked' ? n.name AND NOT k.kept THEN 'true' ELSE backfill.left_out_of(job, u.t) END
                 WHEN 'undone' THEN CASE WHEN k.kept THEN format('NEW.%s IS NULL', q.quoted)
                                         WHEN job.plan -> 'sync' ->> 'mode' <> 'where' THEN coalesce(backfill.undone(job, u.t), 'false')
                                         WHEN job.plan -> 'sync' -> 'asked' ? n.name THEN 'true'
                                         ELSE 'false' END
                 WHEN 'always' THEN CASE WHEN k.kept THEN format('NEW.%s IS NULL', q.quoted) ELSE 'true' END
                 WHEN 'changed' THEN format('(%s) AND (moved.%I%s) OR %s', w.unwritten, backfill.place_in(job, clause, u.ord), CASE WHEN clause = job.set_clause AND NOT k.kept THEN ' OR to_do' END, o.own)
                 WHEN 'missing' THEN format('%4$s IS NULL AND pg_catalog.record_image_eq(ROW(%1$s), ROW(%4$s)) AND NOT moved.%2$I%3$s', backfill.part_of('OLD', u.t), backfill.place_in(job, clause, u.ord),
                                            CASE WHEN clause = job.set_clause AND NOT k.kept THEN ' AND NOT to_do' END, backfill.part_of('NEW', u.t))
                 ELSE CASE WHEN k.kept AND at = 'update' THEN format(E'(CASE WHEN TG_ARGV[0] OPERATOR(pg_catalog.<>) \'forth\' THEN NEW.%s IS NULL ELSE %s END)', q.quoted, w.unwritten)
                           ELSE w.unwritten END END,
         -- A NULL that the row would be refused for is not assigned, nor one in place of a default: what stands there stays.
         format(CASE WHEN (job.plan -> 'sync' -> 'not_null' ? n.name OR at = 'insert' AND job.plan -> 'sync' -> 'defaults' ? n.name) AND cardinality(backfill.tokens_of(u.t)) = 1
                     THEN 'IF pg_catalog.num_nulls(computed.%3$I) OPERATOR(pg_catalog.=) 0 THEN NEW.%1$s%2$s := computed.%3$I; END IF;'
                     ELSE 'NEW.%s%s := computed.%I;' END,
                q.quoted, substr(u.t, length(backfill.next_token(u.t)) + 1), u.ord::text)
    FROM backfill.assigned_values(clause) v, unnest(v.targets) WITH ORDINALITY AS u(t, ord),
         LATERAL (SELECT backfill.assigned_column(u.t) AS name) n, LATERAL (SELECT backfill.in_quotes(n.name) AS quoted) q,
         LATERAL (SELECT coalesce(job.plan -> 'kept' ? n.name, false) AS kept) k,
         LATERAL (SELECT backfill.own_batch(job) || ' AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.=) 1' AS own) o,
         LATERAL (SELECT format('pg_catalog.record_image_eq(ROW(%s), ROW(%s)) OR %s', backfill.part_of('OLD', u.t), backfill.part_of('NEW', u.t), o.own) AS unwritten) w
$$;

-- The line that says which expressions of a clause are wanted: one that nobody needs may fail for the row. Empty, where all are.
CREATE OR REPLACE FUNCTION backfill.sync_wanted(job backfill.job, clause text, at text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce('    ' || w.name || format(E' := ARRAY[%s];\n', (SELECT string_agg(p.condition, ', ' ORDER BY p.ord) FROM backfill.sync_places(job, clause, at) p)), '')
           || CASE w.name WHEN 'wanted' THEN E'    aimed := true;\n' WHEN 'wanted_back' THEN E'    aimed_back := true;\n' ELSE '' END
    FROM backfill.wanted_in(job, clause) AS w(name)
$$;

-- A call with one expression alone wanted.
CREATE OR REPLACE FUNCTION backfill.alone(call text, ord bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT regexp_replace(call, ', wanted(_back)?\)$', format(', %L::pg_catalog.bool[])', array_fill(false, ARRAY[ord::integer - 1]) || true))
$$;

-- Lines that assign to a row, that is to do by what its writer gave, what makes it one that is not: one thing, if that will do, and else all that where_clause asks
-- for. call: of the row function; todo: of <token>_todo. NULL: where_clause asks for one thing alone.
CREATE OR REPLACE FUNCTION backfill.sync_least(job backfill.job, clause text, call text, todo text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT E'    kept := NEW;\n    to_do := true;\n'
      || string_agg(format(E'    IF to_do THEN\n      NEW := kept;\n      SELECT v.* INTO computed FROM %s AS v;\n      %s\n      to_do := EXISTS (SELECT FROM %s AS v WHERE v."1");\n    END IF;\n',
                           backfill.alone(call, p.ord), p.assigned, todo), '' ORDER BY p.ord)
      || format(E'    IF to_do THEN\n      NEW := kept;\n      %s := %L;\n      SELECT v.* INTO computed FROM %s AS v;\n      %s\n    END IF;\n', backfill.wanted_in(job, clause),
                (SELECT array_agg(a.condition = 'true' ORDER BY a.ord) FROM backfill.sync_places(job, clause, 'undone') a), call, string_agg(p.assigned, ' ' ORDER BY p.ord))
    FROM backfill.sync_places(job, clause, 'undone') p
   WHERE p.condition = 'true'
  HAVING count(*) > 1
$$;

-- Lines of the trigger's function that assign what a row function computes, after those of sync_wanted. at: as in sync_places; 'changed': only that for
-- which the clause gives something else than it gave, in the record before, and where to_do is set. todo: a call of <token>_todo, of a where_clause of one's own.
-- call: of the row function.
CREATE OR REPLACE FUNCTION backfill.sync_assignments(job backfill.job, clause text, call text, at text, todo text DEFAULT NULL) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(E'    SELECT v.* INTO computed FROM %s AS v;\n', call)
      || CASE WHEN at = 'changed' THEN E'    IF NOT known THEN before := computed; END IF;\n' ELSE '' END  -- it is read where it is planned
      || (SELECT string_agg(CASE WHEN g.condition = 'true' THEN format(E'    %s\n', g.parts) ELSE format(E'    IF %s THEN %s END IF;\n', g.condition, g.parts) END, '' ORDER BY g.whole, g.ord)  -- whether a part is wanted, what where_clause asks for tells
            FROM (SELECT w.condition, min(p.ord) AS ord, p.target ~ '^([[:alnum:]_]+|"([^"]|"")*")$' OR job.plan -> 'sync' ->> 'mode' = 'null' AND job.plan -> 'sync' -> 'null_asked' ? p.name AS whole,  -- asked once a column: its first part makes it one that is written
                         string_agg(CASE WHEN at = 'changed' THEN format('IF %s THEN %s END IF;', c.changed, p.assigned) ELSE p.assigned END, ' ' ORDER BY p.ord) AS parts
                    FROM (SELECT backfill.wanted_in(job, clause) AS wanted OFFSET 0) v, backfill.sync_places(job, clause, at) p,
                         LATERAL (SELECT CASE WHEN at = 'insert' THEN backfill.left_out_of(job, p.target) ELSE coalesce(v.wanted || format('[%s]', p.ord), p.condition) END AS condition) w,
                         LATERAL (SELECT concat(format('NOT known OR pg_catalog.record_image_ne(ROW(before.%1$I), ROW(computed.%1$I))', p.ord::text),
                                                CASE WHEN clause = job.set_clause THEN ' OR to_do' || CASE WHEN p.kept THEN format(' AND NEW.%s IS NULL', p.quoted) ELSE '' END END, ' OR ' || p.own) AS changed) c
                   GROUP BY p.name, w.condition, whole) g)
      || CASE WHEN at = 'insert' AND todo IS NOT NULL  -- what was given stays, unless it is by that that the row is to do
              THEN coalesce((SELECT format(E'    IF EXISTS (SELECT FROM %s AS v WHERE v."1") THEN %s END IF;\n', todo,
                                           coalesce(E'\n' || backfill.sync_least(job, clause, call, todo), string_agg(p.assigned, ' ' ORDER BY p.ord)))
                               FROM backfill.sync_places(job, clause, at) p WHERE p.condition = 'true' HAVING count(*) > 0), '') ELSE '' END
$$;

-- What a row function gave for the row before, into the record of that name; known: it gave something. preparation: lines before its call.
CREATE OR REPLACE FUNCTION backfill.given_before(preparation text, function text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(E'    known := false;\n    BEGIN\n%s      SELECT v.* INTO before FROM %s AS v;\n      known := true;\n'
                '    EXCEPTION WHEN OTHERS OR assert_failure THEN\n      IF SQLSTATE OPERATOR(pg_catalog.~) \'^(40|53|55P03|57|58|XX)\' THEN RAISE; END IF;\n    END;\n', preparation, function)
$$;

-- Lines behind those at 'changed': a column that is NULL is tried by itself, and stays so when it can't be computed: where the row is to do for it, and where
-- one column has kept all of them from being computed: then the row as it was can't be.
CREATE OR REPLACE FUNCTION backfill.sync_missing(job backfill.job, clause text, call text, old_call text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(E'    IF %s THEN\n%s', string_agg(p.condition, ' OR ' ORDER BY p.ord),
                backfill.given_before('', regexp_replace(old_call, ', wanted(_back)?\)$', ', ' || backfill.all_wanted(clause) || ')')))
         || string_agg(format(E'    IF %s AND (NOT known%s) THEN\n      BEGIN\n        SELECT v.* INTO computed FROM %s AS v;\n        %s\n'
                              '      EXCEPTION WHEN OTHERS OR assert_failure THEN\n        IF SQLSTATE OPERATOR(pg_catalog.~) \'^(40|53|55P03|57|58|XX)\' THEN RAISE; END IF;\n      END;\n    END IF;\n',
                              p.condition, CASE WHEN clause = job.set_clause AND p.kept THEN ' OR to_do' END, backfill.alone(call, p.ord),
                              p.assigned), '' ORDER BY p.ord)
         || E'    END IF;\n'
    FROM backfill.sync_places(job, clause, 'missing') p
$$;

-- Lines behind the question whether an inserted row is to do: one whose mark was left out, and is by default what the clause gives, is done as it stands, and gets what else was
-- left out. call: of the row function; rest: of <token>_rest, NULL: there is none. Empty: where_clause asks for no such mark, or for another one.
CREATE OR REPLACE FUNCTION backfill.sync_marked(job backfill.job, call text, rest text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(format(E'      IF NOT of_row AND %s THEN\n        kept := NEW;\n        SELECT v.* INTO computed FROM %s AS v;\n        %s\n        of_row := pg_catalog.record_image_eq(ROW(%s), ROW(%s));\n        NEW := kept;\n      END IF;\n',
                         string_agg(backfill.left_out(job, p.name), ' AND ' ORDER BY p.ord) || CASE WHEN rest IS NOT NULL THEN format(' AND EXISTS (SELECT FROM %s AS v WHERE v."1")', rest) ELSE '' END,
                         regexp_replace(call, ', wanted\)$', format(', %L::pg_catalog.bool[])', (SELECT array_agg(a.name = ANY (array_agg(p.name)) ORDER BY a.ord) FROM backfill.sync_places(job, job.set_clause, 'always') a))),
                         string_agg(p.assigned, ' ' ORDER BY p.ord), string_agg(backfill.part_of('kept', p.target), ', ' ORDER BY p.ord), string_agg(backfill.part_of('NEW', p.target), ', ' ORDER BY p.ord)), '')
    FROM backfill.sync_places(job, job.set_clause, 'always') p
   WHERE job.plan -> 'sync' -> 'asked' ? p.name
  HAVING bool_and(job.plan -> 'sync' -> 'defaults' ? p.name)
$$;

-- Both: which expressions are wanted, and what they are assigned to.
CREATE OR REPLACE FUNCTION backfill.sync_lines(job backfill.job, clause text, call text, at text, todo text DEFAULT NULL) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT backfill.sync_wanted(job, clause, at) || backfill.sync_assignments(job, clause, call, at, todo)
$$;

-- Whether it is by that column, among others perhaps, that where_clause tells what is to do.
CREATE OR REPLACE FUNCTION backfill.is_asked(job backfill.job, column_name text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(CASE job.plan -> 'sync' ->> 'mode' WHEN 'where' THEN job.plan -> 'sync' -> 'asked' WHEN 'null' THEN job.plan -> 'sync' -> 'null_asked' END ? column_name, false)
$$;

-- Of several columns those that were wanted, each by itself, when all together could not be computed, or a CHECK refuses one; but none by which where_clause would take the row for
-- done while another is not: those only when it does so without them, too (thorough). On the way back, too. call: of the row function, of NEW; look, broken: lines that ask
-- for a CHECK that the row breaks, and whether it does; none: ''.
CREATE OR REPLACE FUNCTION backfill.sync_rescue(job backfill.job, clause text, call text, look text, broken text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(E'    IF aimed%s THEN\n', s.ending)
      || string_agg(format(E'      IF wanted%9$s[%1$s] AND NOT rescued%9$s[%1$s]%8$s THEN\n        kept := NEW;\n        BEGIN\n          SELECT v.* INTO computed FROM %2$s AS v;\n          IF known IS NOT TRUE THEN before := computed; END IF;\n'
                           '          IF (CASE WHEN TG_OP OPERATOR(pg_catalog.=) ''INSERT'' THEN %3$s ELSE known IS NOT TRUE OR pg_catalog.record_image_ne(ROW(before.%4$I), ROW(computed.%4$I)) %5$s END) THEN %6$s END IF;\n'
                           '          rescued%9$s[%1$s] := true;\n%7$s'
                           '        EXCEPTION WHEN OTHERS OR assert_failure THEN\n          IF SQLSTATE OPERATOR(pg_catalog.~) \'^(40|53|55P03|57|58|XX)\' THEN RAISE; END IF;\n        END;\n      END IF;\n',
                           p.ord, backfill.alone(call, p.ord), backfill.left_out_of(job, p.target), p.ord::text,
                           CASE WHEN clause = job.set_clause THEN ' OR to_do IS TRUE' || CASE WHEN p.kept THEN format(' AND NEW.%s IS NULL', p.quoted) ELSE '' END END,
                           CASE WHEN job.plan -> 'sync' -> 'defaults' ? p.name THEN format('IF TG_OP OPERATOR(pg_catalog.<>) ''INSERT'' OR pg_catalog.num_nulls(computed.%I) OPERATOR(pg_catalog.=) 0 THEN %s END IF;', p.ord::text, p.assigned) ELSE p.assigned END,
                           CASE WHEN broken <> '' THEN format(E'      %s          IF %s THEN NEW := kept; rescued%s[%s] := false; END IF;\n', look, broken, s.ending, p.ord) ELSE '' END,
                           CASE WHEN clause = job.set_clause AND NOT p.kept AND backfill.is_asked(job, p.name) THEN ' AND thorough' END, s.ending), '' ORDER BY p.ord)
      || E'    END IF;\n'
    FROM (SELECT CASE WHEN clause = job.set_clause THEN '' ELSE '_back' END AS ending) s, backfill.sync_places(job, clause, 'always') p
   GROUP BY s.ending
$$;

-- What happens when a row function fails. What is the row's own fault (data, and what the clause raises): the row is written all the
-- same, with NULL where an UPDATE has made the old value wrong, unless the column could not be NULL before the job, or its domain takes none by now; when the job's own
-- constraint forbids NULL, the writer gets the clause's error. What is the server's goes on. Any other error says nothing of the
-- row: it is written as it came. empties: lines that do that; forbidden: the condition under which the writer gets the error; raises: lines that see to it.
-- A column that was there before the job has values that are nobody's to take: what stands there is wrong only where it is what the clause gives for the
-- row as it was. A clause that reads what it fills has its source there, which stays. Of several columns those stay whose own source has not changed.
-- was: the row function, of OLD.
CREATE OR REPLACE FUNCTION backfill.row_fault(job backfill.job, clause text, was text, OUT empties text, OUT forbidden text, OUT raises text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
           (SELECT E'      IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' THEN\n        kept := NEW;\n'
                   || coalesce(string_agg(format(E'        BEGIN\n          SELECT v.* INTO computed FROM %s AS v;\n          NEW := OLD;\n          NEW.%s := computed.%I;\n%s'
                                                  '        EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;\n        END;\n', p.was_alone, p.target, p.ord::text, p.emptied), '' ORDER BY p.ord) FILTER (WHERE NOT p.added), '')
                   || coalesce(string_agg(p.emptied, '' ORDER BY p.ord) FILTER (WHERE p.added), '')
                   || E'        NEW := kept;\n      END IF;\n'
              FROM (SELECT u.ord, t.target, a.added,
                           backfill.alone(was, u.ord) AS was_alone,
                           format(E'        IF pg_catalog.record_image_eq(ROW(%1$s), ROW(%5$s))%3$s%4$s THEN BEGIN kept.%2$s := NULL; EXCEPTION WHEN OTHERS THEN NULL; END; END IF;\n',
                                  backfill.part_of('OLD', u.t), t.target, CASE WHEN NOT a.added THEN format(' AND pg_catalog.record_image_eq(ROW(OLD.%1$s), ROW(NEW.%1$s))', backfill.in_quotes(c.name)) END,
                                  CASE WHEN s.forth OR s.back THEN format(' AND moved.%I', backfill.place_in(job, clause, u.ord)) END || CASE WHEN s.forth AND clause = job.set_clause THEN format(' AND NOT rescued[%s]', u.ord)
                                                                                                                                                WHEN s.back AND clause = job.sync_back THEN format(' AND NOT rescued_back[%s]', u.ord) ELSE '' END,
                                  backfill.part_of('kept', u.t)) AS emptied
                      FROM backfill.assigned_values(clause) v, unnest(v.targets) WITH ORDINALITY AS u(t, ord),
                           LATERAL (SELECT backfill.assigned_column(u.t) AS name) c,
                           LATERAL (SELECT backfill.in_quotes(c.name) || substr(u.t, length(backfill.next_token(u.t)) + 1) AS target) t,
                           LATERAL (SELECT coalesce(job.plan -> 'column' ->> 'name' = c.name, false) AS added) a,
                           backfill.has_several(job) s
                     WHERE NOT job.plan -> 'sync' -> 'not_null' ? c.name) p
             WHERE NOT coalesce((job.plan -> 'sync' -> 'self')::boolean, false)
            HAVING count(*) > 0), ''),
         f.forbidden, format(E'      IF %s THEN\n        RAISE;\n      END IF;\n', f.forbidden)
    FROM (SELECT string_agg(format(E'NEW.%s IS NULL AND (\n'
                                   '           EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) TG_RELID AND a.attname OPERATOR(pg_catalog.=) %L AND a.attnotnull)\n'
                                   '           OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) TG_RELID AND k.conname OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.name[])))',
                                   backfill.in_quotes(c), c, ARRAY(SELECT e ->> 'name' FROM jsonb_array_elements(job.plan -> 'enforce') e WHERE e ->> 'kind' = 'not null' AND e ->> 'column' = c)),
                            E'\n         OR ' ORDER BY ord) AS forbidden
            FROM unnest(backfill.filled_columns(clause)) WITH ORDINALITY AS u(c, ord)) f
$$;

-- The settings of an extension or an application that a job names. A function can't have them pinned, so the trigger sets them for the
-- moment in which it computes.
CREATE OR REPLACE FUNCTION backfill.custom_settings(job backfill.job) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(SELECT k FROM jsonb_object_keys(job.settings) k WHERE strpos(k, '.') > 0 ORDER BY k)
$$;

-- The body of the triggers' function. schema: where the row functions are.
CREATE OR REPLACE FUNCTION backfill.sync_body(job backfill.job, schema text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  sync    jsonb := job.plan -> 'sync';
  prefix  text := format('%I.', schema);
  token   text := backfill.sync_token(job);
  filled  text[] := backfill.filled_columns(job.set_clause);
  by_null boolean := sync ->> 'mode' <> 'where';
  has_defaults boolean := EXISTS (SELECT FROM backfill.default_places(job));
  by_default text[] := ARRAY(SELECT c FROM unnest(filled) c WHERE sync -> 'defaults' ? c AND sync -> 'null_asked' ? c);
  -- What stands behind the row in a call: backfill.row_arguments.
  behind  text := format(', NULL::%s%I, NULL::%1$s%2$I', prefix, token);
  none    constant text := '(SELECT n.r FROM (SELECT NEW AS r) AS n WHERE false)';
  value   text := backfill.row_call(job, job.set_clause, format('%s%I', prefix, token || '_value'), 'NEW', behind);
  old_value text := backfill.row_call(job, job.set_clause, format('%s%I', prefix, token || '_value'), 'OLD', behind);
  no_value text := backfill.row_call(job, job.set_clause, format('%s%I', prefix, token || '_value'), none, behind);
  back    text := backfill.row_call(job, job.sync_back, format('%s%I', prefix, token || '_back'), 'NEW', behind);
  old_back text := backfill.row_call(job, job.sync_back, format('%s%I', prefix, token || '_back'), 'OLD', behind);
  no_back text := backfill.row_call(job, job.sync_back, format('%s%I', prefix, token || '_back'), none, behind);
  todo    text := format('%s%I(NEW%s)', prefix, token || '_todo', behind);
  rest    text := format('%s%I(NEW%s)', prefix, token || '_rest', behind);
  old_todo  text := format('%s%I(OLD%s)', prefix, token || '_todo', behind);
  was     text := format('%s%I(OLD%s)', prefix, token || '_rest', behind);
  custom  text[] := backfill.custom_settings(job);
  pin     text := coalesce((SELECT string_agg(format(E'    saved := saved || pg_catalog.current_setting(%L, true);\n    PERFORM pg_catalog.set_config(%L, %L, true);\n',
                                                     k, k, job.settings ->> k), '' ORDER BY ord)
                              FROM unnest(custom) WITH ORDINALITY AS u(k, ord)), '');
  unpin   text := coalesce((SELECT string_agg(format(E'    PERFORM pg_catalog.set_config(%L, coalesce(saved[%s], \'\'), true);\n', k, ord), '' ORDER BY ord)
                              FROM unnest(custom) WITH ORDINALITY AS u(k, ord)), '')
                || E'    IF zones IS NOT NULL THEN PERFORM pg_catalog.set_config(\'timezone_abbreviations\', zones, true); END IF;\n';
  -- A file of the server's, which is read each time that the setting is made: 60 us a row. So not by the function's SET, and only for who has another.
  zones   text := format(E'    IF pg_catalog.current_setting(\'timezone_abbreviations\') OPERATOR(pg_catalog.<>) %1$L THEN\n'
                         '      zones := pg_catalog.current_setting(\'timezone_abbreviations\');\n      PERFORM pg_catalog.set_config(\'timezone_abbreviations\', %1$L, true);\n    END IF;\n',
                         job.session ->> 'timezone_abbreviations');
  leave   text := E'\n' || unpin || E'    RETURN NEW;\n    END IF;\n';
  breaks  text := format('%s%I(NEW%s)', prefix, token || '_breaks', behind);
  checks  boolean := coalesce(sync -> 'checks', '{}') <> '{}';
  -- Which CHECK the row breaks as it is now, and whether the table still has that.
  look    text := CASE WHEN checks THEN format(E'    broken := (SELECT v."1" FROM %s AS v);\n', breaks) ELSE '' END;
  there   constant text := 'broken IS NOT NULL AND EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) TG_RELID AND k.conname OPERATOR(pg_catalog.=) broken::pg_catalog.name)';
  refuse  text := CASE WHEN checks THEN look || format(E'    IF %s THEN\n      RAISE check_violation USING CONSTRAINT = broken, MESSAGE = pg_catalog.format(''what the clause of backfilld''''s job %%s gives violates check constraint %%I'', %L::pg_catalog.text, broken);\n    END IF;\n', there, job.name) ELSE '' END;
  restore text := CASE WHEN checks THEN E'    NEW := came;\n' ELSE '' END;
  hold    text := CASE WHEN checks THEN E'    held := NEW;\n' ELSE '' END;
  at_last text := CASE WHEN checks THEN look || format(E'    IF %1$s THEN\n      NEW := held;\n  %2$s      IF %1$s THEN NEW := came; END IF;\n    END IF;\n', there, look) ELSE '' END;  -- without what was emptied, and if that won't do, as it came
  -- The row as it was, or none (by no name of the table, which may change), computed: names and rights that a value has no part in; and the columns that are filled, which may be gone.
  tried   constant text := E'        IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' THEN\n          SELECT * INTO computed FROM %s AS v;\n        ELSE\n          SELECT * INTO computed FROM %s AS v;\n        END IF;\n        computed := ROW(%s);\n';
  several record := backfill.has_several(job);
  fault   record := backfill.row_fault(job, job.set_clause, old_value);
  -- Before what can't be computed is emptied, and after it: a CHECK may refuse the others beside the one or the other.
  rescue  text := CASE WHEN several.forth THEN backfill.sync_rescue(job, job.set_clause, value, look, CASE WHEN checks THEN there ELSE '' END) ELSE '' END;
  rescue_back text := CASE WHEN several.back THEN backfill.sync_rescue(job, job.sync_back, back, look, CASE WHEN checks THEN there ELSE '' END) ELSE '' END;
  -- When where_clause takes the row for done without what was emptied, that was in vain: once more, and only what can't be computed is.
  twice   boolean := several.forth AND job.where_clause IS NOT NULL AND EXISTS (SELECT FROM unnest(filled) c WHERE backfill.is_asked(job, c));
  -- So must all others that the body calls: an error of theirs is no row's, either.
  others_tried text := coalesce((SELECT string_agg(format(E'        IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' THEN PERFORM v.* FROM %1$s%2$I(OLD%3$s) AS v; ELSE PERFORM v.* FROM %1$s%2$I(%4$s%3$s) AS v; END IF;\n',
                                                          prefix, token || f.ending, behind, none), '' ORDER BY f.ending)
                                   FROM (VALUES ('_todo', sync ->> 'mode' = 'where' OR (sync -> 'self')::boolean OR job.where_clause IS NOT NULL AND (several.forth OR several.back)),
                                                ('_rest', sync -> 'rest' <> '[]'), ('_breaks', checks)) AS f(ending, is_there) WHERE f.is_there), '')
               || CASE WHEN several.forth OR several.back THEN format(E'        IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' THEN PERFORM v.* FROM %s%I(OLD, OLD%s, NULL::%1$s%4$I) AS v; END IF;\n', prefix, token || '_changed', behind, token) ELSE '' END;
  named   text := (SELECT string_agg('NEW.' || backfill.in_quotes(c), ', ') FROM unnest(filled || coalesce(backfill.filled_columns(job.sync_back), '{}')) c);
  -- Whether a row that is inserted is to do: where a constant default stands in place of the NULL that where_clause asks for, it was left out.
  meant   text := format(E'    IF TG_OP OPERATOR(pg_catalog.=) \'INSERT\' THEN\n%s      of_row := EXISTS (SELECT FROM %s AS v WHERE v."1");\n%s    END IF;\n',
                         E'      kept := NEW;\n' || (SELECT string_agg(format(E'      IF %s THEN NEW.%s := NULL; END IF;\n', backfill.left_out(job, c), backfill.in_quotes(c)), '') FROM unnest(by_default) c), todo,
                         CASE WHEN by_default <> '{}' THEN E'      NEW := kept;\n' ELSE '' END
                         || CASE WHEN by_null OR (sync -> 'self')::boolean THEN '' ELSE coalesce(backfill.sync_marked(job, value, CASE WHEN sync -> 'rest' <> '[]' THEN rest END), '') END);
  -- Whether the row was to do, before or as it is now: who writes one of its columns finds the others as if the batch had been there already.
  asks    text := coalesce('    to_do := ' || CASE WHEN job.where_clause IS NOT NULL THEN format('EXISTS (SELECT FROM %s AS v WHERE v."1")', old_todo) END, '    to_do := false');
  -- The new columns that were not written, on the way back: when they can't be computed, what was written goes back all the same.
  -- Which sources have changed could not be asked: all may have.
  all_moved text := CASE WHEN several.forth OR several.back THEN (SELECT format(E'    IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' AND moved IS NULL THEN SELECT %s INTO moved; END IF;\n', string_agg(format('true AS %I', backfill.place_in(job, c.clause, u.ord)), ', '))
                                                                       FROM unnest(ARRAY[job.set_clause, job.sync_back]) AS c(clause), backfill.assigned_values(c.clause) v, unnest(v.targets) WITH ORDINALITY AS u(t, ord) WHERE c.clause IS NOT NULL) ELSE '' END;
  others  text := E'    BEGIN\n%s    EXCEPTION WHEN OTHERS OR assert_failure THEN\n      IF SQLSTATE OPERATOR(pg_catalog.!~) \'^(21|22|23|38|39|44|54|P0)\' THEN RAISE; END IF;\n'
                  || replace(fault.empties || fault.raises, '%', '%%') || E'    END;\n';
  -- What the action of a foreign key has written into a filled column stays: it is right by the other table, and the server looks for no row that the key would need. Its statement, which the context
  -- names behind this function, is the server's own; what other triggers write is no more than what anybody writes.
  by_key  constant text := format(E'    by_key := false;\n    IF pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 1 AND EXISTS (SELECT FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) k.conrelid AND a.attnum OPERATOR(pg_catalog.=) ANY (k.conkey)'
                                  ' WHERE k.conrelid OPERATOR(pg_catalog.=) TG_RELID AND k.contype OPERATOR(pg_catalog.=) ''f'' AND (k.confdeltype OPERATOR(pg_catalog.=) ANY (''{n,d}'') OR k.confupdtype OPERATOR(pg_catalog.=) ANY (''{c,n,d}'')) AND (%s)) THEN\n'
                                  '      GET DIAGNOSTICS places = PG_CONTEXT;\n      by_key := pg_catalog.split_part(places, E\'\\n\', 2) OPERATOR(pg_catalog.~) \'UPDATE (ONLY )?"([^"]|"")+"[.]"([^"]|"")+" SET .* WHERE [$][0-9]+ OPERATOR[(]\';\n    END IF;\n',
                                  (SELECT string_agg(format('a.attname OPERATOR(pg_catalog.=) %L AND pg_catalog.record_image_ne(ROW(OLD.%s), ROW(NEW.%2$s))', c, backfill.in_quotes(c)), ' OR ') FROM unnest(filled) c));
  by_op   constant text := E'    IF TG_OP OPERATOR(pg_catalog.=) \'INSERT\' THEN\n%s    ELSE\n%s    END IF;\n';
BEGIN
  pin := replace(pin, 'saved || ', 'saved OPERATOR(pg_catalog.||) ');
  IF job.session ? 'timezone_abbreviations' THEN  -- else it was inserted by an earlier version
    pin := zones || pin;
  END IF;
  RETURN E'#variable_conflict use_column\nDECLARE\n  computed pg_catalog.record;\n  saved    pg_catalog.text[] := \'{}\';\n  zones    pg_catalog.text;\n  goes_back boolean := false;\n  by_key   boolean;\n  places   pg_catalog.text;\n  of_row   boolean;\n  kept     pg_catalog.record;\n'
      || CASE WHEN several.forth OR several.back THEN E'  to_do    boolean;\n  known    boolean;\n  before   pg_catalog.record;\n  moved    pg_catalog.record;\n  aimed    boolean := false;\n  aimed_back boolean := false;\n  stood    pg_catalog.record;\n  thorough boolean := false;\n  comes_back boolean;\n'
           || format(E'  rescued  pg_catalog.bool[] := %L;\n  rescued_back pg_catalog.bool[] := %L;\n', array_fill(false, ARRAY[(SELECT cardinality(v.targets) FROM backfill.assigned_values(job.set_clause) v)]),
                     CASE WHEN job.sync_back IS NULL THEN '{}' ELSE array_fill(false, ARRAY[(SELECT cardinality(v.targets) FROM backfill.assigned_values(job.sync_back) v)]) END)
           || format(E'  wanted   pg_catalog.bool[] := %s;\n  wanted_back pg_catalog.bool[] := %s;\n', backfill.all_wanted(job.set_clause), coalesce(backfill.all_wanted(job.sync_back), '''{}''')) ELSE '' END
      || CASE WHEN has_defaults THEN E'  defaults pg_catalog.record;\n' ELSE '' END
      || CASE WHEN checks THEN E'  came     pg_catalog.record := NEW;\n  held     pg_catalog.record := NEW;\n  broken   pg_catalog.text;\n' ELSE '' END || E'BEGIN\n'
      -- A table that was given to somebody else, or another that its new trigger is on: what is theirs must not run with the rights of the function's owner. Privileges
      -- wouldn't tell: who owns the table can grant them all.
      || E'  IF (SELECT pg_catalog.pg_get_userbyid(c.relowner) OPERATOR(pg_catalog.<>) current_user FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) TG_RELID) THEN\n'
         '    RAISE WARNING \'backfilld keeps no row of % in step: the trigger is not its owner\'\'s\', TG_RELID::pg_catalog.regclass;\n    RETURN NEW;\n  END IF;\n'
      -- A schema that was renamed: whose is its name now? (The table is in it, or the trigger's function is.)
      || format(E'  IF TG_TABLE_SCHEMA OPERATOR(pg_catalog.<>) %1$L THEN\n'
                '    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) g.tgfoid JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace\n'
                '                    WHERE g.tgrelid OPERATOR(pg_catalog.=) TG_RELID AND g.tgname OPERATOR(pg_catalog.=) TG_NAME AND n.nspname OPERATOR(pg_catalog.=) %1$L) THEN\n'
                '      RAISE WARNING \'backfilld keeps no row of %% in step: the schema of its functions was renamed\', TG_RELID::pg_catalog.regclass;\n      RETURN NEW;\n    END IF;\n  END IF;\n', schema)
      -- Another table of the same owner, which others may give triggers.
      || format(E'  IF NOT %s%I(TG_RELID::bigint, NULL::%1$s%3$I) THEN RETURN NEW; END IF;\n', prefix, token || '_mine', token)
      || E'  BEGIN\n' || pin
      || CASE WHEN has_defaults THEN format(E'    SELECT v.* INTO defaults FROM %s%I(NULL::%1$s%3$I) AS v;\n', prefix, token || '_default', token) ELSE '' END
      || CASE WHEN several.forth OR several.back THEN format(E'    IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' THEN SELECT v.* INTO moved FROM %s%I(OLD, NEW%s, NULL::%1$s%4$I) AS v; END IF;\n',
                                                             prefix, token || '_changed', behind, token) ELSE '' END
      -- The way back: at UPDATE by a trigger of its own; at INSERT when the new columns were given and the old ones left out.
      || CASE WHEN job.sync_back IS NULL THEN '' ELSE
           format(E'    goes_back := TG_ARGV[0] OPERATOR(pg_catalog.=) \'back\'\n      OR TG_OP OPERATOR(pg_catalog.=) \'INSERT\' AND NOT (%s)\n         AND (%s);\n    IF goes_back THEN\n',
                  (SELECT string_agg(backfill.left_out(job, c), ' AND ' ORDER BY ord) FROM unnest(filled) WITH ORDINALITY AS u(c, ord)),
                  (SELECT string_agg(backfill.left_out(job, c), ' OR ' ORDER BY ord) FROM unnest(backfill.filled_columns(job.sync_back)) WITH ORDINALITY AS u(c, ord)))
           || format(by_op,
                     coalesce(CASE WHEN several.forth
                          THEN CASE WHEN by_null THEN '' ELSE meant END || format(E'    IF %s%s THEN\n%s    END IF;\n', (SELECT '(' || string_agg(backfill.left_out(job, c), ' OR ' ORDER BY ord) || ')' FROM unnest(filled) WITH ORDINALITY AS u(c, ord)),
                                      CASE WHEN NOT by_null THEN ' AND of_row' END, format(others, backfill.sync_lines(job, job.set_clause, value, 'insert', CASE WHEN NOT by_null THEN todo END))) END, '')
                     || backfill.sync_lines(job, job.sync_back, back, 'insert'),
                     CASE WHEN several.back
                          THEN concat(asks, CASE WHEN job.where_clause IS NOT NULL THEN format(' OR EXISTS (SELECT FROM %s AS v WHERE v."1")', todo) END, format(E';\n    IF to_do AND (%s) THEN\n', backfill.some_unwritten(job.set_clause)), format(others, backfill.sync_lines(job, job.set_clause, value, 'update')), E'    END IF;\n    kept := NEW;\n', backfill.sync_wanted(job, job.sync_back, 'changed'),
                                      backfill.given_before((SELECT string_agg(format(E'      NEW.%1$s := OLD.%1$s;\n', backfill.in_quotes(c)), '') FROM unnest(filled) c)
                                                            || E'      IF to_do THEN\n' || backfill.sync_lines(job, job.set_clause, value, 'always') || E'      END IF;\n', back),
                                      E'    NEW := kept;\n', backfill.sync_assignments(job, job.sync_back, back, 'changed'), backfill.sync_missing(job, job.sync_back, back, old_back))
                          ELSE backfill.sync_lines(job, job.sync_back, back, 'always') END) || refuse || leave END
      -- Who has written old columns and new ones means them, and the others as if the batch had been there.
      || CASE WHEN backfill.fills_beside(job) THEN
           format(E'    IF TG_ARGV[0] OPERATOR(pg_catalog.=) \'both\' THEN\n    IF EXISTS (SELECT FROM %s AS v WHERE v."1") THEN\n%s    END IF;\n', old_todo,
                  backfill.sync_lines(job, job.set_clause, old_value, 'update')) || refuse || leave ELSE '' END
      -- Who has written a filled column, and left the row to do by that; or has moved one that is to do, where the scan may not come any more.
      || CASE WHEN backfill.undone_by(job) IS NOT NULL THEN
           E'    IF TG_ARGV[0] OPERATOR(pg_catalog.=) \'undone\' THEN\n'
           || CASE WHEN backfill.moved_by(job) IS NOT NULL
                   THEN format(E'    IF EXISTS (SELECT FROM %s%I(OLD, NEW%s, NULL::%1$s%4$I) AS v WHERE v."1")%5$s THEN\n%6$s    END IF;\n', prefix, token || '_moved', behind, token, backfill.was_null(job) || CASE WHEN NOT by_null OR jsonb_array_length(sync -> 'null_asked') > 1 THEN format(' AND EXISTS (SELECT FROM %s AS v WHERE v."1")', old_todo) ELSE '' END,
                               backfill.sync_lines(job, job.set_clause, value, 'update')) ELSE '' END
           || by_key || E'    IF NOT by_key THEN\n'
           || CASE WHEN by_null AND jsonb_array_length(sync -> 'null_asked') < 2 THEN backfill.sync_lines(job, job.set_clause, value, 'undone')
                   WHEN by_null THEN format(E'    IF EXISTS (SELECT FROM %s AS v WHERE v."1") THEN\n%s    END IF;\n', todo, backfill.sync_lines(job, job.set_clause, value, 'undone'))
                   ELSE format(E'    IF EXISTS (SELECT FROM %s AS v WHERE v."1") AND NOT EXISTS (SELECT FROM %s AS v WHERE v."1") THEN\n%s    END IF;\n', todo, old_todo,
                               coalesce(backfill.sync_least(job, job.set_clause, value, todo), backfill.sync_lines(job, job.set_clause, value, 'undone'))) END
           || E'    END IF;\n' || refuse || leave ELSE '' END
      -- New code that writes old columns, too, means the others to stay, unless a CHECK of before refuses them beside that.
      || CASE WHEN backfill.asks_beside(job) THEN
           format(E'    IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' AND TG_ARGV[0] OPERATOR(pg_catalog.=) \'forth\' AND pg_catalog.record_image_ne(%s, %s) AND (%s AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.=) 1) IS NOT TRUE THEN\n%s    IF %s THEN\n%s    END IF;\n',
                  backfill.row_of_clause('OLD', job.set_clause), backfill.row_of_clause('NEW', job.set_clause), backfill.own_batch(job), look, there, backfill.sync_lines(job, job.set_clause, value, 'update')) || refuse || leave ELSE '' END
      || CASE WHEN (sync -> 'self')::boolean THEN E'    IF TG_OP OPERATOR(pg_catalog.=) \'UPDATE\' THEN\n' || by_key || '    IF by_key THEN' || leave || format(E'    END IF;\n    IF NOT EXISTS (SELECT FROM %s AS v WHERE v."1") THEN', todo) || leave
              ELSE concat(
                CASE WHEN NOT by_null THEN meant || E'    IF TG_OP OPERATOR(pg_catalog.=) \'INSERT\' AND NOT of_row THEN' || leave END,
                CASE WHEN sync -> 'rest' <> '[]' THEN
                  format('    IF TG_ARGV[0] OPERATOR(pg_catalog.=) ''meant'' AND NOT EXISTS (SELECT FROM %s AS v WHERE v."1") THEN', todo) || leave
                  -- A row that was meant until now has a value, which follows its source a last time.
                  || format('    IF TG_OP OPERATOR(pg_catalog.=) ''UPDATE'' AND NOT EXISTS (SELECT FROM %s AS v WHERE v."1") AND NOT EXISTS (SELECT FROM %s AS v WHERE v."1") THEN', rest, was) || leave END) END
      || CASE WHEN (sync -> 'self')::boolean THEN backfill.sync_lines(job, job.set_clause, value, 'always')
              ELSE format(by_op, backfill.sync_lines(job, job.set_clause, value, 'insert', CASE WHEN NOT by_null THEN todo END),
                          CASE WHEN several.forth
                               THEN concat(E'    IF TG_ARGV[0] OPERATOR(pg_catalog.=) \'meant\' THEN\n', backfill.sync_lines(job, job.set_clause, value, 'update'), E'    ELSE\n',
                                           asks, CASE WHEN job.where_clause IS NOT NULL THEN format(' OR EXISTS (SELECT FROM %s AS v WHERE v."1")', todo) END, E';\n',
                                           backfill.sync_wanted(job, job.set_clause, 'changed'), backfill.given_before('', old_value), backfill.sync_assignments(job, job.set_clause, value, 'changed'), backfill.sync_missing(job, job.set_clause, value, old_value), E'    END IF;\n')
                               ELSE backfill.sync_lines(job, job.set_clause, value, 'update') END) END
      || refuse || unpin
      || E'  EXCEPTION WHEN OTHERS OR assert_failure THEN\n'
         '    IF SQLSTATE OPERATOR(pg_catalog.~) \'^(40|53|55P03|57|58|XX)\' THEN RAISE; END IF;\n' || all_moved ||
         E'    -- Of the row: data, and what the clause raises, with whatever code. All other codes say that something is wrong with a function or a right,\n'
         '    -- or with a value that is taken for a name (a regclass, a query of text search): then the row as it was, or none, can be computed.\n'
         '    of_row := SQLSTATE OPERATOR(pg_catalog.~) \'^(21|22|23|38|39|44|54|P0)\' OR SQLSTATE OPERATOR(pg_catalog.!~) \'^(0[0-9ABFLPZ]|2[0-9BDF]|3[48BDF]|4[024]|5[3-8]|72|F0|HV)\';\n'
         '    IF NOT of_row THEN\n      BEGIN\n'
      || others_tried
      || CASE WHEN job.sync_back IS NULL THEN format(tried, old_value, no_value, named)
              ELSE format(E'        IF goes_back THEN\n%s        ELSE\n%s        END IF;\n', format(tried, old_back, no_back, named), format(tried, old_value, no_value, named)) END
      || E'        of_row := true;\n      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;\n      END;\n    END IF;\n'
         '    IF NOT of_row THEN RAISE WARNING \'backfilld can\'\'t keep a row of % in step: %\', TG_RELID::pg_catalog.regclass, SQLERRM USING ERRCODE = SQLSTATE; END IF;\n'
      || CASE WHEN job.sync_back IS NULL THEN '' ELSE
           E'    IF of_row AND goes_back THEN\n' || restore
           || rescue_back || hold || (SELECT f.empties || CASE WHEN checks THEN rescue_back ELSE '' END || f.raises FROM backfill.row_fault(job, job.sync_back, old_back) f) || at_last || E'      RETURN NEW;\n    END IF;\n' END
      || E'    IF of_row THEN\n' || restore
      || CASE WHEN twice THEN E'    stood := NEW;\n    LOOP\n' ELSE '' END
      || rescue || hold
      -- What an UPDATE has undone is NULL, or its own; the others are the next trigger's, which would take what is emptied here for written.
      || CASE WHEN backfill.undone_by(job) IS NULL OR fault.empties = '' THEN fault.empties ELSE E'    IF TG_ARGV[0] OPERATOR(pg_catalog.<>) \'undone\' THEN\n' || fault.empties || E'    END IF;\n' END || CASE WHEN checks THEN rescue ELSE '' END
      || CASE WHEN twice THEN format(E'      EXIT WHEN thorough OR NOT aimed;\n'
                                     '      BEGIN\n        comes_back := EXISTS (SELECT FROM %s AS v WHERE v."1") AND NOT (%s);\n'
                                     '      EXCEPTION WHEN OTHERS OR assert_failure THEN\n        IF SQLSTATE OPERATOR(pg_catalog.~) \'^(40|53|55P03|57|58|XX)\' THEN RAISE; END IF;\n        comes_back := true;\n      END;\n'
                                     '      EXIT WHEN comes_back;\n      NEW := stood;\n      rescued := %L;\n      thorough := true;\n    END LOOP;\n',
                                     todo, fault.forbidden, array_fill(false, ARRAY[(SELECT cardinality(v.targets) FROM backfill.assigned_values(job.set_clause) v)])) ELSE '' END
      || fault.raises || at_last || E'    END IF;\n'
         '  END;\n  RETURN NEW;\nEND';
END
$$;

-- The columns whose change at UPDATE calls for a new value: those that the row functions read, but for the filled ones.
CREATE OR REPLACE FUNCTION backfill.watched_columns(job backfill.job, endings text[], filled text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT c), '{}')
    FROM backfill.sync_functions(job) f, unnest(backfill.columns_of_function(f.oid, job.target)) AS u(c)
   WHERE f.name = ANY (ARRAY(SELECT backfill.sync_token(job) || e FROM unnest(endings) e)) AND c <> ALL (filled)
$$;

-- The columns of each trigger at UPDATE: those that set_clause reads; those that only the conditions of where_clause read.
CREATE OR REPLACE FUNCTION backfill.sync_sources(job backfill.job, OUT sources text[], OUT meant text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  filled text[] := backfill.filled_columns(job.set_clause);
BEGIN
  IF (job.plan -> 'sync' -> 'self')::boolean THEN  -- where_clause alone says what is to do
    sources := ARRAY(SELECT DISTINCT c FROM unnest(backfill.watched_columns(job, '{_value, _todo}', '{}') || ARRAY(SELECT jsonb_array_elements_text(job.plan -> 'sync' -> 'moving'))) c ORDER BY c);
    meant := '{}';
  ELSE
    sources := backfill.watched_columns(job, '{_value}', filled);
    meant := ARRAY(SELECT c FROM unnest(backfill.watched_columns(job, '{_rest}', filled)) c WHERE c <> ALL (sources));
  END IF;
END
$$;

-- The commands that create the triggers, when the functions are there.
CREATE OR REPLACE FUNCTION backfill.trigger_commands(job backfill.job, function text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  sync     jsonb := job.plan -> 'sync';
  name     text := backfill.relation_name(job.target);
  filled   text[] := backfill.filled_columns(job.set_clause);
  back     text[] := backfill.filled_columns(job.sync_back);
  own      constant text := backfill.own_batch(job) || ' AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.=) 0';
  self     boolean := (sync -> 'self')::boolean;
  watched  text[];
  meant    text[];
  given    text[];
  left_out text;
  same     constant text := backfill.some_unwritten(job.set_clause);
  old_row  constant text := backfill.row_of_clause('OLD', job.set_clause);
  new_row  constant text := backfill.row_of_clause('NEW', job.set_clause);
  old_back constant text := backfill.row_of_clause('OLD', job.sync_back);
  new_back constant text := backfill.row_of_clause('NEW', job.sync_back);
  there    constant text := format('(true OR %s_there(NULL::%1$s))', function);  -- never asked: backfill.make_there
  commands text[] := '{}';
BEGIN
  SELECT s.sources, s.meant INTO watched, meant FROM backfill.sync_sources(job) s;
  IF NOT self AND sync ->> 'mode' <> 'where' THEN
    left_out := (SELECT string_agg(DISTINCT l.condition, ' OR ')
                   FROM unnest(ARRAY[job.set_clause, job.sync_back]) AS c(clause), backfill.assigned_values(c.clause) v, unnest(v.targets) AS t(target),
                        LATERAL (SELECT backfill.left_out_of(job, t.target, true) AS condition) l
                  WHERE c.clause IS NOT NULL);
  END IF;
  commands := commands || format('CREATE TRIGGER %I BEFORE INSERT ON %s FOR EACH ROW%s EXECUTE FUNCTION %s(''forth'')',
                                 backfill.sync_name(job) || '_insert', name, format(' WHEN (%s%s)', '(' || left_out || ') AND ', there), function);
  IF watched <> '{}' THEN
    commands := commands || format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW WHEN ((pg_catalog.record_image_ne(%s, %s)%s%s) AND %s) EXECUTE FUNCTION %s(''forth'')',
                                   backfill.sync_name(job) || '_update', name, backfill.row_of('OLD', watched), backfill.row_of('NEW', watched),
                                   CASE WHEN self THEN '' ELSE format(' AND (%s OR %s)', CASE WHEN back IS NOT NULL AND NOT backfill.asks_beside(job)  -- new code writes some of the new columns, and what it leaves is what it means
                                                                                                THEN format('pg_catalog.record_image_eq(%s, %s)', old_row, new_row)
                                                                                                ELSE same END, own) END,
                                   CASE WHEN back IS NULL AND job.where_clause IS NOT NULL AND (backfill.has_several(job)).forth  -- it may no longer be to do, and have a column undone
                                        THEN format(' OR pg_catalog.record_image_ne(%s, %s) AND (%s) AND (%s) IS NOT TRUE', old_row, new_row, same, own) ELSE '' END,
                                   there, function);
  END IF;
  IF meant <> '{}' THEN
    commands := commands || format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW WHEN (pg_catalog.record_image_ne(%s, %s) AND pg_catalog.record_image_eq(%s, %s) AND %s) EXECUTE FUNCTION %s(''meant'')',
                                   backfill.sync_name(job) || '_meant', name, backfill.row_of('OLD', meant), backfill.row_of('NEW', meant),
                                   backfill.row_of('OLD', filled || watched), backfill.row_of('NEW', filled || watched), there, function);
  END IF;
  IF back IS NOT NULL THEN
    -- What old code writes may stand in sync_back, too: only a column that new code writes calls for the way back.
    given := CASE WHEN (backfill.has_several(job)).back THEN filled ELSE ARRAY(SELECT c FROM unnest(backfill.watched_columns(job, '{_back}', back)) c WHERE c = ANY (filled)) END;
    commands := commands || format('CREATE TRIGGER %I BEFORE INSERT ON %s FOR EACH ROW WHEN (NOT (%s) AND (%s) AND %s) EXECUTE FUNCTION %s(''back'')',
                                   backfill.back_name(job) || '_given', name, (SELECT string_agg(backfill.left_out(job, c, true), ' AND ') FROM unnest(filled) c),
                                   (SELECT string_agg(backfill.left_out(job, c, true), ' OR ') FROM unnest(back) c), there, function);
    commands := commands || format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW WHEN (pg_catalog.record_image_ne(%s, %s) AND pg_catalog.record_image_eq(%s, %s)'
                                   ' AND (%s) IS NOT TRUE AND %s) EXECUTE FUNCTION %s(''back'')',
                                   backfill.back_name(job) || '_back', name, backfill.row_of_clause('OLD', job.set_clause, given), backfill.row_of_clause('NEW', job.set_clause, given),
                                   old_back, new_back, own, there, function);
  END IF;
  IF backfill.fills_beside(job) THEN
    commands := commands || format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW WHEN (pg_catalog.record_image_ne(%s, %s) AND pg_catalog.record_image_ne(%s, %s) AND (%s) AND (%s) IS NOT TRUE AND %s) EXECUTE FUNCTION %s(''both'')',
                                   backfill.sync_name(job) || '_both', name, old_row, new_row, old_back, new_back, same, own, there, function);
  END IF;
  IF backfill.undone_by(job) IS NOT NULL THEN
    commands := commands || format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW WHEN (((%s)%s%s) AND (%s) IS NOT TRUE AND %s) EXECUTE FUNCTION %s(''undone'')',
                                   backfill.sync_name(job) || '_undone', name, backfill.undone_by(job),
                                   CASE WHEN back IS NOT NULL  -- else it goes back
                                        THEN format(' AND pg_catalog.record_image_ne(%s, %s)', old_back, new_back) ELSE '' END, coalesce(' OR ' || backfill.moved_by(job), ''), own, there, function);
  END IF;
  RETURN commands || ARRAY(SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %s', name, (regexp_match(c, '^CREATE TRIGGER ("(?:[^"]|"")+"|\S+)'))[1]) FROM unnest(commands) c);
END
$$;
