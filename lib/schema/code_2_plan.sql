-- What a job's add_column, keep_in_sync and enforce mean. The server reads them, by planning statements that are never
-- run: nothing is made, and nothing is asked for that the job itself does not need. It runs with the rights of whoever inserts
-- the job. What was read is kept in job.plan:
--   column   {name, type, collation}: what add_column adds
--   sync     what the trigger of keep_in_sync computes: code_4_sync.sql
--   enforce  [{kind, name, definition, column | columns, existing, in_catalog, index, timing}]: kind is 'not null', 'check', 'foreign key'
--            or 'unique'; definition: of a CHECK as it was written, else as the catalog writes it; existing: the table had the
--            constraint before, it is not the job's; in_catalog: what the catalog says of a CHECK that is there; index: what stands
--            after USING; timing: DEFERRABLE, of a unique one
--   columns  {name: number} of the table's columns that its texts name: another may bear the name later
--   named    with statement: what its table was called when it was written; spelled: the names in it that mean that table along the search_path
--   where    {fills, parts} of where_clause: backfill.columns_to_fill, and how many conditions AND joins in it
--   drop     the number of the column of drop_column: another one may bear its name later
--   kept     backfill.kept_columns, and set: set_clause as batches run it because of them; left out where there are none

-- The table of a job as it stands after FROM and UPDATE, called as in its batches: a partitioned one without its schema, as leaves are.
CREATE OR REPLACE FUNCTION backfill.table_in_clauses(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE c.relkind WHEN 'p' THEN format('ONLY %s AS %I', backfill.relation_name(c.oid), c.relname) ELSE 'ONLY ' || backfill.relation_name(c.oid) END
    FROM pg_class c WHERE c.oid = job.target
$$;

-- Checks the clauses of a job whose column is still to be added: each expression alone and in brackets, and each target of SET. What
-- reads the new column is planned on what stands in for the table, all else on the table itself, whose rows have a type of their own.
CREATE OR REPLACE FUNCTION backfill.check_clauses_ahead(job backfill.job) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  source pg_catalog.text := backfill.stand_in(job, system => true);
  own    pg_catalog.text := backfill.table_in_clauses(job);
  a      pg_catalog.record;
  fits   pg_catalog.text;
  type   pg_catalog.oid;
BEGIN
  PERFORM backfill.check_ahead('where_clause', 'SELECT FROM ', pg_catalog.concat(' WHERE ', job.where_clause), source, own);
  PERFORM backfill.check_ahead('where_clause', 'SELECT FROM ', pg_catalog.concat(' WHERE (', job.where_clause, E'\n)'), source, own);
  BEGIN
    PERFORM backfill.plan(pg_catalog.format('UPDATE %s SET %s', own, job.set_clause), false);
  EXCEPTION
    WHEN syntax_error THEN
      PERFORM backfill.check_plan('set_clause', pg_catalog.format('UPDATE %s SET %s', own, job.set_clause), false);
    WHEN OTHERS THEN
      NULL;  -- it lacks the column, at least
  END;
  FOR a IN SELECT * FROM backfill.assignments_ahead(job) LOOP
    IF NOT a.is_new THEN
      PERFORM backfill.check_plan('set_clause', pg_catalog.format('UPDATE %s SET %s = NULL', own, a.target), false);
    END IF;
    IF a.is_row THEN
      PERFORM backfill.check_ahead('set_clause', 'SELECT FROM ', pg_catalog.concat(', LATERAL ', a.expression, E'\n AS "backfilld row"'), source, own);
    ELSIF NOT a.is_default THEN
      fits := backfill.check_ahead('set_clause', pg_catalog.concat('SELECT ', a.expression, E'\nFROM '), '', source, own);
      PERFORM backfill.check_ahead('set_clause', 'SELECT FROM ', pg_catalog.concat(' WHERE (', a.expression, E'\n) IS NOT NULL'), source, own);
      IF a.is_new AND a.is_whole THEN
        PERFORM backfill.check_plan('set_clause', pg_catalog.format(E'SELECT CAST((%s\n) AS %s) FROM %s', a.expression, a.type, fits), false);
        EXECUTE pg_catalog.format(E'SELECT pg_catalog.pg_typeof((SELECT q.e FROM (SELECT (%s\n) AS e FROM %s) AS q LIMIT 0))::pg_catalog.oid', a.expression, fits) INTO type;
        PERFORM backfill.check_assignable(a.target, a.type, a.expression, type);
      END IF;
    END IF;
  END LOOP;
END
$$;

-- Plans a statement on the table, or else on what stands in for it; refuses it when neither goes. Returns which did.
CREATE OR REPLACE FUNCTION backfill.check_ahead(column_name text, head text, tail text, source text, own text) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM backfill.plan(pg_catalog.concat(head, own, tail), false);
  RETURN own;
EXCEPTION
  WHEN insufficient_privilege THEN
    PERFORM backfill.check_plan(column_name, pg_catalog.concat(head, own, tail), false);
  WHEN OTHERS THEN
    PERFORM backfill.check_plan(column_name, pg_catalog.concat(head, source, tail), false);
    RETURN source;
END
$$;

-- What set_clause assigns when the column is still to be added. is_new: to it; is_whole: not to an element or a field of it.
CREATE OR REPLACE FUNCTION backfill.assignments_ahead(job backfill.job)
RETURNS TABLE (target text, expression text, type text, is_new boolean, is_whole boolean, is_row boolean, is_default boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  all_of  jsonb := backfill.assignments_of(job.set_clause);
  new_one text := job.plan -> 'column' ->> 'name';
  twice   text;
BEGIN
  IF all_of IS NULL THEN
    PERFORM backfill.refuse('set_clause', 'is no list of assignments', 'Write what stands after SET in an UPDATE of this table: ''amount_cents = (amount * 100)::bigint''.', '42601');
  END IF;
  SELECT c INTO twice FROM jsonb_array_elements(all_of) a, jsonb_array_elements_text(a -> 'columns') c
   WHERE a ->> 'to' !~ '[.\[]' GROUP BY c HAVING count(*) > 1 LIMIT 1;
  IF FOUND THEN
    PERFORM backfill.refuse('set_clause', format('multiple assignments to same column "%s"', twice), 'Write each column once.', '42601');
  END IF;
  RETURN QUERY
  SELECT CASE WHEN jsonb_array_length(a -> 'columns') = 1 THEN a ->> 'to' ELSE quote_ident(c.name) END, a ->> 'expression', job.plan -> 'column' ->> 'type', c.name = new_one,
         (SELECT count(*) FROM backfill.token_places(a ->> 'to')) = 1, jsonb_array_length(a -> 'columns') > 1, backfill.normal_sql(a ->> 'expression') = 'default'
    FROM jsonb_array_elements(all_of) a, jsonb_array_elements_text(a -> 'columns') AS c(name);
END
$$;

-- Whether a value of one type may be written into a column of another without a cast, as far as the catalog tells; true where it doesn't.
CREATE OR REPLACE FUNCTION backfill.can_assign(source oid, target oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.oid = t.oid OR t.typcategory = 'S' OR s.typtype IN ('p', 'c') OR t.typtype = 'c' OR s.typcategory = 'A'
         OR EXISTS (SELECT FROM pg_cast c WHERE c.castsource = s.oid AND c.casttarget = t.oid AND c.castcontext IN ('i', 'a'))
    FROM pg_type s, pg_type t
   WHERE s.oid = backfill.base_type(source) AND t.oid = backfill.base_type(target)
$$;

-- Refuses an expression that can't be written into the new column without a cast. A string, or NULL, has no type before it is written.
CREATE OR REPLACE FUNCTION backfill.check_assignable(column_name text, type text, expression text, source oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT backfill.can_assign(source, type::regtype) AND EXISTS (SELECT FROM backfill.token_places(expression) t WHERE t.word NOT IN ('(', ')', 'null') AND t.word !~ '^([eEbBxXuU]?&?''|\$)') THEN
    PERFORM backfill.refuse('set_clause', format('column %s is of type %s but expression is of type %s', column_name, type, format_type(source, NULL)),
                            'You will need to rewrite or cast the expression.', '42804');
  END IF;
END
$$;

-- The filled columns of which where_clause asks whether one or the other is NULL: "first IS NULL OR last IS NULL". A row is to do for one of them, and
-- what stands in the other is somebody's.
CREATE OR REPLACE FUNCTION backfill.kept_columns(job backfill.job) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT c.name), '{}')
    FROM pg_class t, unnest(backfill.joined_by(job.where_clause, 'and')) AS part, backfill.null_columns(part, t.relname::text) AS n(columns), unnest(n.columns) AS c(name)
   WHERE t.oid = job.target AND cardinality(n.columns) > 1
     AND EXISTS (SELECT FROM jsonb_array_elements(backfill.assignments_of(job.set_clause)) a WHERE a -> 'columns' ? c.name AND a ->> 'to' !~ '[.\[]')
$$;

-- set_clause as batches run it, where it has such columns: it fills those that are NULL, and leaves the others as they are. NULL: it is run as it was
-- written. A value is cast only where CASE finds no type for it and the column: an UPDATE makes of it what the column is.
CREATE OR REPLACE FUNCTION backfill.kept_clause(job backfill.job, kept text[]) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
  missing pg_catalog.jsonb := backfill.missing_column(job);
  derived pg_catalog.text := backfill.derived_table(job.target, (SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) job.target), NULL, missing);
  result  pg_catalog.text[] := '{}';
  a       pg_catalog.jsonb;
  one     pg_catalog.record;
  names   pg_catalog.text;  -- of a sub-select's columns
  several boolean;
  parts pg_catalog.text[];
  asked   pg_catalog.text;
  type    pg_catalog.record;
BEGIN
  FOR a IN SELECT e FROM pg_catalog.jsonb_array_elements(backfill.assignments_of(job.set_clause)) AS e LOOP
    several := pg_catalog.jsonb_array_length(a OPERATOR(pg_catalog.->) 'columns') OPERATOR(pg_catalog.>) 1;
    names := (SELECT pg_catalog.string_agg(pg_catalog.format('"backfilld %s"', g::pg_catalog.text), ', ')
                FROM pg_catalog.generate_series(1, pg_catalog.jsonb_array_length(a OPERATOR(pg_catalog.->) 'columns')) AS g);
    parts := '{}';
    FOR one IN
      SELECT c.name, c.ord, CASE WHEN several THEN pg_catalog.format('"backfilld many"."backfilld %s"', c.ord::pg_catalog.text)
                                 ELSE backfill.value_of(job.target, c.name, a OPERATOR(pg_catalog.->>) 'expression') END AS expression
        FROM pg_catalog.jsonb_array_elements_text(a OPERATOR(pg_catalog.->) 'columns') WITH ORDINALITY AS c(name, ord) ORDER BY c.ord
    LOOP
      IF NOT pg_catalog.jsonb_exists(pg_catalog.to_jsonb(kept), one.name) THEN
        parts := pg_catalog.array_append(parts, CASE WHEN several THEN one.expression ELSE a OPERATOR(pg_catalog.->>) 'expression' END);
        CONTINUE;
      END IF;
      SELECT * INTO type FROM backfill.target_type(job.target, pg_catalog.quote_ident(one.name), missing);
      IF NOT several AND (backfill.breaks_on(ARRAY[pg_catalog.format(E'pg_catalog.to_jsonb((%s\n))', one.expression)], derived)).code OPERATOR(pg_catalog.=) '42804' THEN
        one.expression := pg_catalog.format(E'(%s\n)::%s', one.expression, type.literal);  -- a constant without a type
      END IF;
      asked := pg_catalog.format(E'CASE WHEN %1$I IS NULL THEN (%2$s\n) ELSE %1$I END', one.name, one.expression);
      IF (backfill.breaks_on(ARRAY[CASE WHEN several THEN pg_catalog.format(E'(SELECT %s FROM %s\n AS "backfilld many"(%s))', asked, a OPERATOR(pg_catalog.->>) 'expression', names) ELSE asked END], derived)).code IS NOT NULL THEN
        asked := pg_catalog.format(E'CASE WHEN %1$I IS NULL THEN (%2$s\n)::%3$s ELSE %1$I END', one.name, one.expression, type.type);
      END IF;
      parts := pg_catalog.array_append(parts, asked);
    END LOOP;
    result := pg_catalog.array_append(result, CASE
      WHEN several THEN pg_catalog.format(E'%s = (SELECT %s FROM (SELECT) AS "backfilld one" LEFT JOIN LATERAL %s\n AS "backfilld many"(%s) ON true)',
                                          a OPERATOR(pg_catalog.->>) 'to', pg_catalog.array_to_string(parts, ', '), a OPERATOR(pg_catalog.->>) 'expression', names)
      ELSE pg_catalog.concat(a OPERATOR(pg_catalog.->>) 'to', ' = ', parts[1]) END);
  END LOOP;
  RETURN pg_catalog.array_to_string(result, E'\n, ');
END
$$;

-- What the plan notes of drop_column; '{}': nothing.
CREATE OR REPLACE FUNCTION backfill.noted_drop(job backfill.job) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce((SELECT jsonb_build_object('drop', a.attnum) FROM pg_attribute a WHERE a.attrelid = job.target AND a.attname = job.drop_column AND a.attnum > 0 AND NOT a.attisdropped), '{}')
$$;

-- What the plan notes of the columns that a job's texts name; '{}': nothing. Any word of them that is a column's name counts, but for what stands where a type, a function, or another table's
-- column does.
CREATE OR REPLACE FUNCTION backfill.noted_columns(job backfill.job) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce((SELECT jsonb_build_object('columns', jsonb_object_agg(a.attname, a.attnum))
                     FROM pg_attribute a
                    WHERE a.attrelid = job.target AND a.attnum > 0 AND NOT a.attisdropped AND job.dry_run IS NOT TRUE
                      AND a.attname::text = ANY (ARRAY(SELECT backfill.assigned_column(t.word) FROM (
                            SELECT t.word, lag(t.word, 1, '') OVER w AS before, lag(t.word, 2, '') OVER w AS qualifier, lead(t.word, 1, '') OVER w AS behind FROM backfill.token_places(concat_ws(' ', job.set_clause, job.where_clause, job.sync_back, job.statement, array_to_string(job.enforce, ' '))) t WINDOW w AS (ORDER BY t.ord)) t
                            WHERE t.word !~ '^[0-9'']' AND t.behind NOT IN ('(', '.') AND t.before NOT IN ('::', ':', 'as')
                              AND (t.before <> '.' OR backfill.assigned_column(t.qualifier) = (SELECT c.relname::text FROM pg_class c WHERE c.oid = job.target))))
                   HAVING count(*) > 0), '{}')
$$;

-- A column that a job's texts name, and that is called otherwise, or is gone, while another may bear its name: what became of it, in words; NULL: each is what it was.
CREATE OR REPLACE FUNCTION backfill.other_column(job backfill.job, OUT name text, OUT what text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.key, CASE WHEN a.attisdropped IS NOT FALSE THEN 'was dropped' ELSE format('is called %I now', a.attname) END
    FROM jsonb_each_text(job.plan -> 'columns') c LEFT JOIN pg_attribute a ON a.attrelid = job.target AND a.attnum = c.value::smallint
   WHERE a.attname IS DISTINCT FROM c.key OR a.attisdropped
   ORDER BY c.key LIMIT 1
$$;

-- What a column that a job's texts name is called now; its name, where its number is not known here; NULL: it was dropped.
CREATE OR REPLACE FUNCTION backfill.column_now(job backfill.job, name text) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN n.number IS NULL OR NOT backfill.is_here(job) THEN column_now.name::name ELSE (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = job.target AND a.attnum = n.number AND NOT a.attisdropped) END
    FROM (SELECT CASE WHEN column_now.name = job.plan -> 'column' ->> 'name' AND job.plan -> 'column' ? 'number' THEN job.plan -> 'column' ->> 'number' ELSE job.plan -> 'columns' ->> column_now.name END::smallint AS number) n
$$;

-- The items of enforce, a column of NOT NULL by the name that it bears now; was: that of the INSERT.
CREATE OR REPLACE FUNCTION backfill.items_now(job backfill.job) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_agg(CASE WHEN i.item ->> 'kind' = 'not null' THEN i.item || jsonb_build_object('column', coalesce(backfill.column_now(job, i.item ->> 'column'), i.item ->> 'column'), 'was', i.item -> 'column') ELSE i.item END ORDER BY i.ord)
    FROM jsonb_array_elements(job.plan -> 'enforce') WITH ORDINALITY AS i(item, ord)
$$;

-- Stops a job of which a column is another one by now.
CREATE OR REPLACE FUNCTION backfill.check_columns(job backfill.job) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other record;
BEGIN
  SELECT o.name, o.what INTO other FROM backfill.other_column(job) o;
  IF other.name IS NOT NULL AND backfill.relation_name(job.target) IS NULL THEN
    PERFORM backfill.refuse_dropped(job);
  ELSIF other.name IS NOT NULL THEN
    RAISE EXCEPTION 'column "%" of %, which job "%" names, %', other.name, backfill.relation_name(job.target), job.name, other.what
      USING ERRCODE = '42703',
            HINT = format('What was computed since may be of another column of that name, or stand in it. Give each column the name that it had, then SELECT backfill.retry(%1$L); or %2$sSELECT backfill.forget(%1$L), and insert a job that names the columns of today.',
                          job.name, backfill.undo_first(job));
  END IF;
END
$$;

-- What stands behind SET in a batch of a relation: the clause, or what is run in its place because of columns that are kept. In a partition DEFAULT is the table's default, as in an UPDATE of that, and not
-- the partition's own.
CREATE OR REPLACE FUNCTION backfill.clause_for(job backfill.job, relation oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  clause constant text := coalesce(job.plan ->> 'set', job.set_clause);
BEGIN
  IF relation = job.target OR clause !~* '\mdefault\M' THEN
    RETURN clause;
  END IF;
  RETURN coalesce((SELECT string_agg(format(E'%s = %s\n', a ->> 'to', CASE WHEN jsonb_array_length(a -> 'columns') = 1 THEN backfill.value_of(job.target, a -> 'columns' ->> 0, a ->> 'expression') ELSE a ->> 'expression' END), ', ' ORDER BY ord)
                     FROM jsonb_array_elements(backfill.assignments_of(clause)) WITH ORDINALITY AS x(a, ord)), clause);
END
$$;

-- The names in a job's statement that mean its table along the search_path; NULL: none does.
CREATE OR REPLACE FUNCTION backfill.spelled_names(job backfill.job) RETURNS text[]
LANGUAGE plpgsql
AS $$
BEGIN
  RETURN (SELECT pg_catalog.array_agg(DISTINCT t.word)
            FROM (SELECT p.word, pg_catalog.lag(p.word, 1, '') OVER (ORDER BY p.ord) AS before FROM backfill.token_places(job.statement) p) t
           WHERE t.word OPERATOR(pg_catalog.~) '^("([^"]|"")+"|(_|[^[:space:][:punct:][:digit:]])(_|[$]|[^[:space:][:punct:]])*)$' AND t.before OPERATOR(pg_catalog.<>) '.'
             AND pg_catalog.to_regclass(t.word)::pg_catalog.oid OPERATOR(pg_catalog.=) job.target::pg_catalog.oid);
END
$$;

-- Makes job.plan, and checks the clauses of a job whose column is still to be added. Returns the job with what it left out.
CREATE OR REPLACE FUNCTION backfill.make_plan(job backfill.job) RETURNS backfill.job
LANGUAGE plpgsql
AS $$
DECLARE
  items pg_catalog.jsonb := '[]';
  taken pg_catalog.text[] := '{}';
  kept  pg_catalog.text[];
  item  pg_catalog.text;
  read  pg_catalog.jsonb;
BEGIN
  job.plan := pg_catalog.jsonb_strip_nulls(backfill.noted_drop(job) OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('named', CASE WHEN job.statement IS NOT NULL THEN backfill.relation_name(job.target) END, 'spelled', backfill.spelled_names(job)));
  IF job.add_column IS NOT NULL THEN
    read := backfill.read_column(job);
    job.plan := pg_catalog.jsonb_set(job.plan, '{column}', read);
    job.where_clause := coalesce(job.where_clause, pg_catalog.concat(pg_catalog.quote_ident(pg_catalog.jsonb_extract_path_text(read, 'name')), ' IS NULL'));
  END IF;
  IF NOT backfill.has_column(job) THEN
    PERFORM backfill.check_clauses_ahead(job);
  END IF;
  kept := backfill.kept_columns(job);
  IF kept OPERATOR(pg_catalog.<>) '{}' THEN
    job.plan := pg_catalog.jsonb_set(pg_catalog.jsonb_set(job.plan, '{kept}', pg_catalog.to_jsonb(kept)), '{set}', pg_catalog.to_jsonb(backfill.kept_clause(job, kept)));
  END IF;
  IF job.keep_in_sync THEN
    job.plan := pg_catalog.jsonb_set(job.plan, '{sync}', backfill.read_sync(job));
  END IF;
  FOREACH item IN ARRAY coalesce(job.enforce, '{}') LOOP
    read := backfill.read_constraint(job, item, taken);
    items := pg_catalog.jsonb_insert(items, '{-1}', read, true);
    taken := pg_catalog.array_append(taken, pg_catalog.jsonb_extract_path_text(read, 'name'));
  END LOOP;
  IF job.enforce IS NOT NULL THEN
    job.plan := pg_catalog.jsonb_set(job.plan, '{enforce}', items);
  END IF;
  job.plan := job.plan OPERATOR(pg_catalog.||) backfill.noted_columns(job) OPERATOR(pg_catalog.||) backfill.noted_where(job);
  RETURN job;
END
$$;
