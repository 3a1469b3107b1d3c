-- What a job's texts name without a schema is looked for along its search_path, at each batch anew. Where others may create something in one of its schemas, a table, a function or the like
-- of theirs may come to be meant in mid-job, and would run with the job's rights. What of that kind was there at the INSERT, the job's user took as it was. (A trigger's functions keep what they
-- meant: lib/schema/code_4_sync_meaning.sql.)

-- The names in a text that are looked for so: {relations, functions, types, operators}. More than there are, no qualified one.
CREATE OR REPLACE FUNCTION backfill.looked_up(clause text) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_build_object(
           'relations', coalesce(jsonb_agg(DISTINCT t.name) FILTER (WHERE t.before IN ('from', 'join', 'into', 'update', 'using', 'only', 'table', ',') AND (t.behind <> '(' OR t.before = 'into')), '[]'),
           'functions', coalesce(jsonb_agg(DISTINCT t.name) FILTER (WHERE t.behind = '('), '[]'),
           'types', coalesce(jsonb_agg(DISTINCT t.name) FILTER (WHERE t.before IN (':', 'as') OR t.behind ~ '^[''$]'), '[]'),
           'operators', (SELECT jsonb_agg(o.name) FROM (SELECT unnest('{=,<>,<,>,<=,>=,~~,!~~,~~*,!~~*,~,!~}'::text[]) UNION SELECT (m)[1] FROM regexp_matches(clause, '([-+*/<>=~!@#%^&|`?]+)', 'g') AS r(m)) AS o(name)))
    FROM (SELECT CASE WHEN p.word ~ '^"' THEN replace(substr(p.word, 2, length(p.word) - 2), '""', '"') ELSE p.word END AS name,
                 p.word, lag(p.word, 1, '') OVER w AS before, lead(p.word, 1, '') OVER w AS behind
            FROM backfill.token_places(clause) p
          WINDOW w AS (ORDER BY p.ord)) t
   WHERE t.word ~ '^("|_|[^[:space:][:punct:][:digit:]])' AND t.before <> '.' AND t.behind <> '.'
$$;

-- Whether a role is another's: it has not the rights of this one, nor is it a group that this one is in, nor the database's owner. 0: anybody.
CREATE OR REPLACE FUNCTION backfill.is_stranger(who oid, role oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN who = 0 OR who <> 'pg_database_owner'::regrole AND NOT pg_has_role(who, role, 'USAGE') AND NOT pg_has_role(role, who, 'MEMBER')
                        AND who <> (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database());
END
$$;

-- Whether others than a role, its groups, and who may do everything may create something in one of these schemas.
CREATE OR REPLACE FUNCTION backfill.strangers_create(schemas name[], role oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (
        SELECT FROM pg_namespace n,
                    LATERAL (SELECT n.nspowner UNION ALL SELECT a.grantee FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE') AS c(who)
         WHERE n.nspname = ANY (schemas) AND n.nspname !~ '^pg_' AND backfill.is_stranger(c.who, role));
END
$$;

-- What strangers to a role have in these schemas that such names may mean, in words: "table shared.orders of other".
CREATE OR REPLACE FUNCTION backfill.strangers_in(schemas name[], names jsonb, role oid) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
  those     constant oid[] := ARRAY(SELECT n.oid FROM pg_namespace n WHERE n.nspname = ANY (schemas) AND n.nspname !~ '^pg_');
  relations constant name[] := ARRAY(SELECT jsonb_array_elements_text(names -> 'relations'));
  functions constant name[] := ARRAY(SELECT jsonb_array_elements_text(names -> 'functions'));
  types     constant name[] := ARRAY(SELECT jsonb_array_elements_text(names -> 'types'));
  operators constant name[] := ARRAY(SELECT jsonb_array_elements_text(names -> 'operators'));
BEGIN
  RETURN ARRAY(
    SELECT left(format('%s of %s', s.what, s.owner::regrole), 300)
      FROM (SELECT 'table ' || backfill.relation_name(c.oid) AS what, c.relowner AS owner FROM pg_class c WHERE c.relname = ANY (relations) AND c.relnamespace = ANY (those) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
             UNION ALL
            SELECT 'function ' || p.oid::regprocedure, p.proowner FROM pg_proc p WHERE p.proname = ANY (functions) AND p.pronamespace = ANY (those)
             UNION ALL
            SELECT 'type ' || t.oid::regtype, t.typowner FROM pg_type t WHERE t.typname = ANY (types) AND t.typnamespace = ANY (those)
             UNION ALL
            SELECT 'operator ' || o.oid::regoperator, o.oprowner FROM pg_operator o WHERE o.oprname = ANY (operators) AND o.oprnamespace = ANY (those)) s
     WHERE backfill.is_stranger(s.owner, role)
     ORDER BY s.what
     LIMIT 1000);
END
$$;

-- Notes the names, and what of strangers they may mean already: job.plan.
CREATE OR REPLACE FUNCTION backfill.noted_names(job backfill.job) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  names   pg_catalog.jsonb := backfill.looked_up(pg_catalog.concat_ws(E'\n', job.set_clause, job.where_clause, job.statement));
BEGIN
  RETURN CASE WHEN job.keep_in_sync OR coalesce(job.set_clause, job.statement) IS NULL THEN '{}'::pg_catalog.jsonb
              ELSE pg_catalog.jsonb_build_object('names', pg_catalog.jsonb_set(names, '{known}', pg_catalog.to_jsonb(backfill.strangers_in(pg_catalog.current_schemas(false), names, backfill.role_oid(current_user))))) END;
END
$$;

-- Before a statement of a job: nobody has come into its search_path with something that its texts may mean since it was inserted.
CREATE OR REPLACE FUNCTION backfill.check_strangers(names jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  schemas constant pg_catalog.name[] := pg_catalog.current_schemas(false);
  role    constant pg_catalog.oid := backfill.role_oid(current_user);
  came    pg_catalog.text;
BEGIN
  IF names IS NULL OR NOT backfill.strangers_create(schemas, role) THEN
    RETURN;
  END IF;
  SELECT s.what INTO came
    FROM pg_catalog.unnest(backfill.strangers_in(schemas, names, role)) AS s(what)
   WHERE NOT pg_catalog.jsonb_exists(names OPERATOR(pg_catalog.->) 'known', s.what)
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the job''s text may mean % by now, which came into a schema of its search_path after it was inserted', came
      USING ERRCODE = 'BF010',
            HINT = 'No row was changed by it. When that is gone, or has another name: SELECT backfill.retry(name). To take it as it is: SELECT backfill.forget(name), and insert the job again; with its names qualified by their schemas nobody else comes in.';
  END IF;
END
$$;
