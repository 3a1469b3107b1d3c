-- The trigger of keep_in_sync, and of sync_back.
--
-- What stands in and beside the table, owned by the table's owner; <token> is a name that nobody can guess:
--   <token>_value, _todo, _rest, _back, _breaks   functions of a row, in SQL with a parsed body: what set_clause computes; where_clause; its
--          conditions that don't ask for a filled column; what sync_back computes; which CHECK of before the job the row breaks. The server follows a column that is renamed in
--          them, and refuses to drop one.
--   <token>_changed   of two rows: for each expression of set_clause and of sync_back, whether a column that it reads is another one in them. Where there are several.
--   <token>_default the constants that columns have as a default. Where there are some.
--   <token>_moved   of two rows: whether the row has moved in the scan. The server follows the columns, as in the triggers' conditions, when they change their names.
--   <token>_mine    whether a relation is the job's table, or a partition of it.
--   <token>_there   a function in SQL that calls all those, and is never called: it stands in the triggers' conditions, so that who drops one of them, or
--          what it reads, with CASCADE drops the triggers, too; else that name would be free, and what takes its place would run with the owner's rights.
--   <token>   a type without values, the owner's alone to use: each row function takes some beside its rows, so that nobody else can make a function that
--          would be meant by the same call: backfill.row_arguments. Of several columns _value and _back take which are wanted, too: what nobody needs may fail for the row.
--   <token>   the triggers' function. It calls those with the owner's rights, and qualifies all that it names.
--   zz_backfilld_keep_in_sync_<id>_insert, _update, _meant, _both, _undone   the triggers. They fire for every writer (ENABLE ALWAYS), and by their name after the table's
--          other ones, which may change what set_clause reads.
--   00_backfilld_keep_in_sync_<id>_back, _given   those of the way back, at UPDATE and INSERT, before the table's other ones, which were written for
--          the old column.
--
-- An INSERT gets what its writer left out. An UPDATE gets a new value when a column that set_clause reads has changed and no filled one
-- has: what somebody wrote there stays, unless it makes the row one that is to do, as code does that writes all columns of an object, or a document as a whole. When only a column of where_clause has changed, a row that is done stays as it is; one that now
-- meets where_clause gets a value. Of several columns only those do for which the clause gives something else than before (backfill.has_several); a row
-- that is still to do, and of which some are written, is first filled as by its batch. Changed means other bytes (record_image_ne): 1.0 and 1.00 differ.
-- In a batch of the job itself a source that another trigger changes counts although the filled column has changed, and nothing goes
-- back. It is known by backfilld.batch, which is set for its transaction alone (backfill.begin_work).
--
-- job.plan -> 'sync', made at INSERT:
--   token; mark: the hash of what a batch shows, since a daemon has taken the job; mode: 'null' (where_clause asks for NULL in filled columns), 'where' (another one), 'all' (none); rest: those conditions of
--   where_clause that don't ask for a filled column; asked: filled columns that it asks for, with mode 'where'; null_asked: columns that it asks whether they are NULL; self: set_clause reads what it fills; not_null: columns that could not be
--   NULL before (backfill.never_null); checks: {name: expression} of CHECKs of before that read filled columns; defaults: {column: constant} of columns that may be left out.

-- The schemas that a search_path names, read as the server does it: what stands in quotes is one name, of others capitals are small ones, a name ends after 63 bytes, and $user is the
-- user's, in quotes or without. What lower() makes of other letters than ASCII's depends on the server's locale: such a name stands there in both ways. Of the first 1,000 bytes: who asks refuses a longer one.
CREATE OR REPLACE FUNCTION backfill.path_names(path text) RETURNS TABLE (ord bigint, name text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT u.ord, v.name::name::text
    FROM regexp_matches(left(path, 1000), '"((?:[^"]|"")*)"|([^[:space:],"]+)', 'g') WITH ORDINALITY AS u(m, ord),
         LATERAL (SELECT replace(m[1], '""', '"') WHERE m[1] IS NOT NULL
                   UNION
                  SELECT translate(m[2], 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') WHERE m[2] IS NOT NULL
                   UNION
                  SELECT lower(m[2]) WHERE m[2] IS NOT NULL) AS v(name)
$$;

-- Whether a setting of a function is a search_path in which the temporary tables, views and types of whoever calls it come before what it means: the
-- server looks there first, where pg_temp isn't named, and in an empty path, too: "text" may be a domain of theirs. It must be named once, at the end.
CREATE OR REPLACE FUNCTION backfill.is_open_path(setting text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT starts_with(setting, 'search_path=')
     AND (SELECT min(n.ord) FILTER (WHERE n.name = 'pg_temp') = max(n.ord) FROM backfill.path_names(substr(setting, length('search_path=') + 1)) n) IS NOT TRUE
$$;

CREATE OR REPLACE FUNCTION backfill.sync_token(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('backfilld_sync_%s_%s', job.id, job.plan -> 'sync' ->> 'token')
$$;

-- A job's number in names, which stand in its order: of two jobs on a table the older comes first, for the younger may read what it fills. Behind 999999 a letter says how long it is.
CREATE OR REPLACE FUNCTION backfill.number_in_names(id bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN id < 1000000 THEN lpad(id::text, 6, '0') ELSE chr(90 + length(id::text)) || id END
$$;

-- Whether where_clause asks for more than NULL in filled columns.
CREATE OR REPLACE FUNCTION backfill.asks_names(job backfill.job) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(job.plan -> 'sync' ->> 'mode' = 'where' OR job.plan -> 'sync' -> 'rest' <> '[]', false)
$$;

-- What the names of the triggers begin with.
CREATE OR REPLACE FUNCTION backfill.sync_name(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'zz_backfilld_keep_in_sync_' || backfill.number_in_names(job.id)
$$;

-- What the names of those of the way back begin with.
CREATE OR REPLACE FUNCTION backfill.back_name(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '00_backfilld_keep_in_sync_' || backfill.number_in_names(job.id)
$$;

-- The name of an earlier version's trigger and function.
CREATE OR REPLACE FUNCTION backfill.old_sync_name(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'zz_backfilld_keep_in_sync_' || job.id
$$;

-- Its triggers on the table itself; not those of another job that bore the number, in a schema that is gone.
CREATE OR REPLACE FUNCTION backfill.sync_triggers(job backfill.job) RETURNS TABLE (oid oid, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.oid, t.tgname::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid AND p.proname IN (backfill.old_sync_name(job), backfill.sync_token(job))
   WHERE t.tgrelid = job.target AND NOT t.tgisinternal
     AND t.tgname = ANY (backfill.old_sync_name(job) || ARRAY(SELECT backfill.sync_name(job) || ending FROM unnest('{_insert, _update, _meant, _both, _undone}'::text[]) AS e(ending))
                                                     || ARRAY(SELECT backfill.back_name(job) || ending FROM unnest('{_back, _given}'::text[]) AS e(ending)))
$$;

-- Whose a job's trigger is: the table's owner's, or whoever's its own function is.
CREATE OR REPLACE FUNCTION backfill.sync_owners(job backfill.job) RETURNS TABLE (oid oid)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.relowner FROM pg_class c WHERE c.oid = job.target
   UNION ALL
  SELECT f.proowner FROM backfill.sync_triggers(job) s JOIN pg_trigger t ON t.oid = s.oid JOIN pg_proc f ON f.oid = t.tgfoid
   WHERE s.name = backfill.sync_name(job) || '_insert'  -- each job has that one; what else somebody has called so is not ours
   UNION ALL  -- the table was dropped, and left it behind: whose it was, nobody knows any more
  SELECT r.oid FROM pg_roles r WHERE backfill.relation_name(job.target) IS NULL AND pg_has_role(backfill.role_of(job), r.oid, 'USAGE')
$$;

-- The functions of a job's trigger that are there, wherever they are. Others may have given theirs the names.
CREATE OR REPLACE FUNCTION backfill.sync_functions(job backfill.job) RETURNS TABLE (oid oid, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT p.oid, p.proname::text FROM pg_proc p
   WHERE p.proname = ANY (ARRAY(
           SELECT backfill.old_sync_name(job)::name
            UNION ALL
           SELECT (backfill.sync_token(job) || ending)::name FROM unnest('{"", _value, _todo, _rest, _changed, _back, _breaks, _default, _moved, _mine, _there}'::text[]) AS e(ending)))
     AND p.proowner IN (SELECT o.oid FROM backfill.sync_owners(job) o)
$$;

-- Their type, which is there once.
CREATE OR REPLACE FUNCTION backfill.sync_types(job backfill.job) RETURNS TABLE (oid oid)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.oid FROM pg_type t WHERE t.typname = backfill.sync_token(job) AND t.typtype = 'e' AND t.typowner IN (SELECT o.oid FROM backfill.sync_owners(job) o)
$$;

-- The condition by which the triggers know a batch of the job. They hold the hash of what it shows: who reads them, which anybody may, can't show it.
-- What the batch itself sets off could, later: what it then writes is out of step, its own rows, which verify finds.
CREATE OR REPLACE FUNCTION backfill.own_batch(job backfill.job) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.current_setting(''backfilld.batch'', true), pg_catalog.getdatabaseencoding())), ''hex'')'
                ' OPERATOR(pg_catalog.=) %L', job.plan -> 'sync' ->> 'mark')
$$;

-- Who could put a function of theirs in place of a job's row functions, which the trigger calls by name with the rights of the table's owner: the owner of
-- the schema, by another schema of its name. NULL: that one has those rights; the database's owner, as such, is trusted. Who drops a row function, or
-- what it reads, by CASCADE, drops the triggers with it: backfill.trigger_commands.
CREATE OR REPLACE FUNCTION backfill.replacer_of(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s, who owns schema %I,', n.nspowner::regrole, n.nspname)
    FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
   WHERE t.oid = job.target AND n.nspowner <> 'pg_database_owner'::regrole AND NOT pg_has_role(n.nspowner, t.relowner, 'USAGE')
$$;

-- The commands that take it out of the table. What somebody else has made of its functions, by a view, say, keeps none of them there. Who has no right to the table any more, for it was given away, drops
-- the functions, which are his still, and the triggers go with them.
CREATE OR REPLACE FUNCTION backfill.drop_sync_commands(job backfill.job) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(SELECT format('DROP TRIGGER %I ON %s', t.name, backfill.relation_name(job.target)) FROM backfill.sync_triggers(job) t
                WHERE (SELECT pg_has_role((backfill.tidied_by(job)).role, c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = job.target) ORDER BY t.name)
      || ARRAY(SELECT format('DROP FUNCTION %s CASCADE', f.oid::regprocedure) FROM backfill.sync_functions(job) f ORDER BY f.name <> backfill.sync_token(job) || '_there', f.name)
      || ARRAY(SELECT format('DROP TYPE %s CASCADE', t.oid::regtype) FROM backfill.sync_types(job) t)
$$;

-- Whether something of a job's trigger is there.
CREATE OR REPLACE FUNCTION backfill.has_sync(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM backfill.sync_functions(job)) OR EXISTS (SELECT FROM backfill.sync_types(job)) OR EXISTS (SELECT FROM backfill.sync_triggers(job))
$$;

-- A cast by which a partition's row would become one of the table, in words: its function runs with the rights of the table's owner, and whoever made it may
-- have owned the partition once. NULL: there is none.
CREATE OR REPLACE FUNCTION backfill.row_cast(target oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('the cast (%s AS %s) with function %s', backfill.relation_name(l.oid), backfill.relation_name(t.oid), k.castfunc::regprocedure)
    FROM pg_class t, backfill.partitions_of(target) p JOIN pg_class l ON l.oid = p.relid, pg_cast k
   WHERE t.oid = target AND k.castsource = l.reltype AND k.casttarget = t.reltype AND k.castfunc <> 0
   ORDER BY l.oid LIMIT 1
$$;

-- The parsed text of what has one and may call something: a function, a rule, a policy.
CREATE OR REPLACE FUNCTION backfill.tree_of(classid oid, objid oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE classid WHEN 'pg_proc'::regclass THEN (SELECT p.prosqlbody::text FROM pg_proc p WHERE p.oid = objid)
                      WHEN 'pg_rewrite'::regclass THEN (SELECT w.ev_action::text FROM pg_rewrite w WHERE w.oid = objid)
                      WHEN 'pg_policy'::regclass THEN (SELECT concat(y.polqual::text, ' ', y.polwithcheck::text) FROM pg_policy y WHERE y.oid = objid) END
$$;

-- A function of the server that runs a text as a query, or reads a table by its name, and that a parsed text calls; NULL: none.
CREATE OR REPLACE FUNCTION backfill.runs_text(tree text) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  numbers constant text := (SELECT string_agg(p.oid::text, '|') FROM pg_proc p
                             WHERE p.pronamespace = 'pg_catalog'::regnamespace
                               AND p.proname IN ('query_to_xml', 'query_to_xmlschema', 'query_to_xml_and_xmlschema', 'table_to_xml', 'table_to_xmlschema', 'table_to_xml_and_xmlschema', 'schema_to_xml', 'schema_to_xmlschema',
                                                 'schema_to_xml_and_xmlschema', 'database_to_xml', 'database_to_xmlschema', 'database_to_xml_and_xmlschema', 'cursor_to_xml', 'cursor_to_xmlschema', 'ts_stat', 'ts_rewrite'));
BEGIN
  RETURN (SELECT p.proname FROM pg_proc p WHERE p.oid = (regexp_match(tree, format('[:]funcid (%s)\M', numbers)))[1]::oid);
END
$$;

-- Whether a parsed text reads or writes the table target, or makes rows of it: then more of it counts than the columns of a row that it is given.
CREATE OR REPLACE FUNCTION backfill.uses_table(tree text, target oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce((SELECT regexp_replace(tree, format(':(paramtype|vartype|consttype|argtype) (%s|%s)\M', c.reltype, y.typarray), '', 'g') ~ format('[ (](%s|%s|%s)[ )]', c.reltype, y.typarray, c.oid)
                     FROM pg_class c JOIN pg_type y ON y.oid = c.reltype WHERE c.oid = target), false)
$$;

-- What functions and types reach: themselves, and by operators, domains, views, policies, and the parsed bodies of functions; of tables all that belongs to them, for the planner
-- computes what stands in indexes and CHECKs; what triggers and defaults call where something writes. Of the table target, whose row the function takes, only what it reads, unless
-- it does more than that: uses_table. What the text of a body calls nobody can tell. Level by level, and within bounds: who asks waits for it, and others behind. too_much: there is more, of which nothing is known.
CREATE OR REPLACE FUNCTION backfill.reached_by(functions oid[], types oid[], target oid, OUT classes oid[], OUT objects oid[], OUT too_much boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  c       oid[] := array_fill('pg_proc'::regclass::oid, ARRAY[cardinality(functions)]) || array_fill('pg_type'::regclass::oid, ARRAY[cardinality(types)]);
  o       oid[] := functions || types;
  w       boolean[] := array_fill(false, ARRAY[cardinality(functions) + cardinality(types)]);  -- reached by what writes
  writing boolean[] := '{}';
  packed  bigint := 0;  -- bytes of parsed texts, as they are stored,
  bytes   bigint := 0;  -- and as they are read
BEGIN
  classes := '{}';
  objects := '{}';
  too_much := false;
  FOR level IN 1 .. 100 LOOP
    IF coalesce(cardinality(o), 0) = 0 THEN
      RETURN;
    END IF;
    classes := classes || c;
    objects := objects || o;
    writing := writing || w;
    packed := packed + (SELECT coalesce(sum(pg_column_size(p.prosqlbody)), 0) FROM unnest(c, o) AS f(c, o) JOIN pg_proc p ON p.oid = f.o AND f.c = 'pg_proc'::regclass)
                     + (SELECT coalesce(sum(pg_column_size(r.ev_action)), 0) FROM unnest(c, o) AS f(c, o) JOIN pg_rewrite r ON r.oid = f.o AND f.c = 'pg_rewrite'::regclass);
    EXIT WHEN cardinality(objects) > 3000 OR packed > 1000000;
    bytes := bytes + (SELECT coalesce(sum(octet_length(backfill.tree_of(f.c, f.o))), 0) FROM unnest(c, o) AS f(c, o));
    EXIT WHEN bytes > 4000000;
    SELECT array_agg(g.classid), array_agg(g.objid), array_agg(g.writes) INTO c, o, w
      FROM (SELECT n.classid, n.objid, r.writes OR t.writes AS writes
      FROM unnest(c, o, w) AS r(classid, objid, writes),
           LATERAL (SELECT t.tree ~ ':commandType [2345]' IS TRUE AS writes, backfill.uses_table(t.tree, target) AS uses_table FROM backfill.tree_of(r.classid, r.objid) AS t(tree) OFFSET 0) AS t,  -- once each: the text may be long
           LATERAL (SELECT d.refclassid, d.refobjid FROM pg_depend d WHERE d.classid = r.classid AND d.objid = r.objid AND NOT (r.classid = 'pg_class'::regclass AND r.objid = target)
                     UNION ALL
                    SELECT 'pg_rewrite'::regclass, w.oid
                      FROM (SELECT r.objid WHERE r.classid = 'pg_class'::regclass AND r.objid <> target UNION ALL SELECT target WHERE t.uses_table) AS o(oid)
                      JOIN pg_rewrite w ON w.ev_class = o.oid AND (w.ev_type = '1' OR r.writes OR t.writes)
                     UNION ALL  -- JSON is made by these, which are looked up when it is
                    SELECT 'pg_proc'::regclass, k.castfunc FROM pg_cast k WHERE r.classid = 'pg_type'::regclass AND k.castsource = r.objid AND k.castfunc <> 0 AND k.casttarget IN ('json'::regtype, 'jsonb'::regtype)
                     UNION ALL  -- what belongs to a table: indexes, CHECKs, statistics, policies, partitions; triggers and defaults
                    SELECT d.classid, d.objid
                      FROM (SELECT r.objid WHERE r.classid = 'pg_class'::regclass AND r.objid <> target UNION ALL SELECT target WHERE t.uses_table) AS o(oid)
                      JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid AND d.deptype IN ('a', 'i', 'P', 'S')
                     WHERE d.classid <> 'pg_rewrite'::regclass
                       AND (r.writes OR t.writes OR d.classid <> 'pg_trigger'::regclass AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (
                              SELECT FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum WHERE f.oid = d.objid AND a.attgenerated = '')))
                       AND NOT EXISTS (SELECT FROM pg_constraint k WHERE d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.contype = 'f')
                     UNION ALL
                    SELECT 'pg_class'::regclass, i.inhrelid
                      FROM (SELECT r.objid WHERE r.classid = 'pg_class'::regclass AND r.objid <> target UNION ALL SELECT target WHERE t.uses_table) AS o(oid) JOIN pg_inherits i ON i.inhparent = o.oid
                     UNION ALL
                    SELECT 'pg_type'::regclass, a.atttypid FROM pg_attribute a WHERE t.uses_table AND a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped
                     UNION ALL
                    SELECT 'pg_proc'::regclass, o.oprcode::oid FROM pg_operator o WHERE r.classid = 'pg_operator'::regclass AND o.oid = r.objid
                     UNION ALL
                    SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k WHERE r.classid = 'pg_type'::regclass AND k.contypid = r.objid) AS n(classid, objid)
     WHERE n.classid NOT IN ('pg_namespace'::regclass, 'pg_extension'::regclass)
            EXCEPT
            SELECT * FROM unnest(classes, objects, writing)) AS g(classid, objid, writes);
  END LOOP;
  too_much := true;
END
$$;

-- A schema of paths in which a role that has not the rights of owner may create what code under them could mean, or has (thing: a function, an operator, a type, a table or a view, NULL: it only may);
-- NULL: there is none. users: whose names $user may stand for. A schema that isn't there may be made by whoever may create in the database; its owner is trusted. A path of more than 1,000
-- bytes is looked through by nobody, so it counts as one.
CREATE OR REPLACE FUNCTION backfill.who_creates_in(paths text[], owner oid, users oid[], OUT schema text, OUT who text, OUT thing text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH named AS MATERIALIZED (
    SELECT u.name, s.oid, s.nspacl, s.nspowner
      FROM (SELECT DISTINCT x.name FROM unnest(paths) AS p(path), backfill.path_names(p.path) n, LATERAL (SELECT n.name WHERE n.name <> '$user' UNION ALL SELECT pg_get_userbyid(o)::text FROM unnest(users) o WHERE n.name = '$user') AS x(name)) u
      LEFT JOIN pg_namespace s ON s.nspname = u.name
  ), trusted AS MATERIALIZED (
    SELECT b.nspowner FROM pg_namespace b WHERE b.nspname = 'backfill'  -- which logs in as anybody who submits
  )
  SELECT '…', 'anybody', NULL FROM unnest(paths) AS p(path) WHERE octet_length(p.path) > 1000
   UNION ALL  -- one that is a session's own
  SELECT n.name, 'anybody', NULL FROM named n WHERE n.name ~ '^pg_temp_'
   UNION ALL
  (SELECT n.name, CASE a.grantee WHEN 0 THEN 'anybody' ELSE a.grantee::regrole::text END, NULL
     FROM named n,
          LATERAL (SELECT n.nspacl AS acl, n.nspowner AS whose WHERE n.oid IS NOT NULL
                    UNION ALL
                   SELECT d.datacl, d.datdba FROM pg_database d WHERE n.oid IS NULL AND n.name NOT LIKE 'pg\_%' AND d.datname = current_database()) o,
          LATERAL (SELECT x.grantee FROM aclexplode(o.acl) x WHERE x.privilege_type = 'CREATE' AND x.grantee <> 'pg_database_owner'::regrole
                    UNION ALL
                   SELECT o.whose WHERE n.oid IS NOT NULL AND o.whose <> 'pg_database_owner'::regrole) a
    WHERE (a.grantee = 0 OR NOT pg_has_role(a.grantee, owner, 'USAGE')) AND (n.oid IS NOT NULL OR a.grantee <> o.whose) AND a.grantee <> (SELECT t.nspowner FROM trusted t)
    ORDER BY n.name, a.grantee)
   UNION ALL  -- what somebody has made there while they might
  SELECT n.name, o.whose::regrole::text, o.thing
    FROM named n,
         LATERAL (SELECT p.proowner, 'FUNCTION ' || p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = n.oid
                   UNION ALL
                  SELECT p.oprowner, 'OPERATOR ' || p.oid::regoperator FROM pg_operator p WHERE p.oprnamespace = n.oid
                   UNION ALL
                  SELECT y.typowner, CASE y.typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || y.oid::regtype FROM pg_type y
                   WHERE y.typnamespace = n.oid AND (y.typtype IN ('d', 'e', 'r', 'm') OR y.typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = y.typrelid AND c.relkind = 'c'))
                   UNION ALL
                  SELECT c.relowner, CASE c.relkind WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW ' WHEN 'f' THEN 'FOREIGN TABLE ' ELSE 'TABLE ' END || backfill.relation_name(c.oid) FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')) AS o(whose, thing)
   WHERE n.name NOT LIKE 'pg\_%' AND n.name <> 'information_schema' AND NOT pg_has_role(o.whose, owner, 'USAGE') AND o.whose <> (SELECT t.nspowner FROM trusted t)
   LIMIT 1
$$;

-- Why what row functions, or filled columns' types, reach must not run in the trigger with the rights of the table's owner, and what mends it; NULL: it may. Others could replace
-- it, or make what it means by a name. path: the search_path of the trigger, NULL: it has none, and its columns' domains are checked under that of whoever writes. A text looks names up along
-- its own path, else along that of whatever function has called it.
CREATE OR REPLACE FUNCTION backfill.danger_of(functions oid[], types oid[], target oid, path text, OUT problem text, OUT advice text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner   constant oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = target);
  held    constant oid[] := types || ARRAY(SELECT DISTINCT a.atttypid FROM unnest(functions) f, unnest(backfill.columns_of_function(f, target)) c JOIN pg_attribute a ON a.attrelid = target AND a.attname = c);
  classes oid[];
  objects oid[];
  too_much boolean;
  users   oid[];
  paths   text[];  -- of all that may call a text
  v       record;
  made    record;
  loose   text;         -- a text without a path of its own
  own     text[] := '{}';  -- the paths of those that have one, and their names
  own_of  text[] := '{}';
  one     text;
BEGIN
  SELECT r.too_much, r.classes, r.objects INTO too_much, classes, objects FROM backfill.reached_by(functions, held, target) r;
  users := ARRAY(SELECT DISTINCT p.proowner FROM unnest(classes, objects) AS r(classid, objid) JOIN pg_proc p ON r.classid = 'pg_proc'::regclass AND p.oid = r.objid AND p.prosecdef) || owner;
  paths := ARRAY(SELECT DISTINCT substr(s.setting, length('search_path=') + 1) FROM unnest(classes, objects) AS r(classid, objid) JOIN pg_proc p ON r.classid = 'pg_proc'::regclass AND p.oid = r.objid, unnest(p.proconfig) AS s(setting)
                  WHERE starts_with(s.setting, 'search_path=')) || path;
  IF too_much THEN
    problem := 'reaches more than 3,000 functions, types, tables and what belongs to them, or parsed bodies of more than some megabytes';
  ELSIF cardinality(paths) > 40 THEN
    problem := 'reaches functions with more than 40 search_paths of their own';
  END IF;
  IF problem IS NOT NULL THEN
    advice := 'Who looked through them would hold up others'' jobs. Have the clause read and call less.';
    RETURN;
  END IF;
  FOR v IN
    SELECT o.kind, o.name, o.whose, o.own_path, o.is_text, o.runs, o.compiled
      FROM (SELECT DISTINCT * FROM unnest(classes, objects)) AS r(classid, objid),
           LATERAL (SELECT 'FUNCTION' AS kind, p.oid::regprocedure::text AS name, p.proowner AS whose,
                           (SELECT s.setting FROM unnest(p.proconfig) AS s(setting) WHERE starts_with(s.setting, 'search_path=')) AS own_path,
                           p.prosqlbody IS NULL AND l.lanname <> 'internal' AND NOT (l.lanname = 'c' AND NOT p.proargtypes::oid[] && '{text,varchar,bpchar}'::regtype[]::oid[]) AS is_text,  -- one of an extension in C may run a text that it is given (crosstab)
                           NULL AS runs, l.lanname NOT IN ('sql', 'internal', 'c') AS compiled
                      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE r.classid = 'pg_proc'::regclass AND p.oid = r.objid AND p.oid >= 16384 AND p.oid <> ALL (functions)
                     UNION ALL  -- a text that the server runs
                    SELECT 'FUNCTION', t.name, owner, NULL, true, t.name, false
                      FROM backfill.runs_text(backfill.tree_of(r.classid, r.objid)) AS t(name) WHERE t.name IS NOT NULL
                     UNION ALL
                    SELECT CASE y.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, y.oid::regtype::text, y.typowner, NULL, false, NULL, false
                      FROM pg_type y  -- whose it is may make casts of it at any time, which JSON is made by, or add a domain to a row
                     WHERE r.classid = 'pg_type'::regclass AND y.oid = r.objid AND y.oid >= 16384 AND NOT (y.typelem <> 0 AND y.typlen = -1)
                       AND (y.typtype <> 'c' OR EXISTS (SELECT FROM pg_class c WHERE c.oid = y.typrelid AND c.relkind = 'c'))
                     UNION ALL
                    SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, backfill.relation_name(c.oid), c.relowner, NULL, false, NULL, false FROM pg_class c
                     WHERE r.classid = 'pg_class'::regclass AND c.oid = r.objid AND c.oid <> target AND c.oid >= 16384 AND c.relkind IN ('v', 'r', 'p', 'm', 'f')) o
     ORDER BY pg_has_role(o.whose, owner, 'USAGE'), o.name
  LOOP
    IF NOT pg_has_role(v.whose, owner, 'USAGE') THEN
      problem := format('%s %s belongs to %s, whose code would run by it in the trigger, with the rights of %s, the owner of the table', lower(v.kind), v.name, v.whose::regrole, owner::regrole);
      advice := format('ALTER %s %s OWNER TO %s; or, if %s may do all that %3$s may: GRANT %3$s TO %4$s.', v.kind, v.name, owner::regrole, v.whose::regrole);
    ELSIF v.kind <> 'FUNCTION' THEN
      CONTINUE;
    ELSIF octet_length(v.own_path) > 1000 THEN
      problem := format('%s has a search_path of more than 1,000 bytes', v.name);
      advice := format('ALTER FUNCTION %s SET search_path = …, pg_temp: the schemas that it means.', v.name);
    ELSIF backfill.is_open_path(v.own_path) THEN
      problem := format('%s would run in the trigger with the rights of the table''s owner, and whoever writes could put temporary tables in the way of its search_path', v.name);
      advice := format('ALTER FUNCTION %s SET search_path = …, pg_temp: named last, they come last.', v.name);
    ELSIF v.compiled AND v.own_path IS NULL THEN
      problem := format('%s has no search_path of its own: a session compiles it once, and whoever has called it there before gives its names a meaning that the trigger would run with the rights of the table''s owner', v.name);
      advice := format('ALTER FUNCTION %s SET search_path = …, pg_temp: the schemas that it means.', v.name);
    ELSIF v.is_text AND v.own_path IS NULL THEN
      loose := coalesce(loose, v.name);
    ELSIF v.is_text THEN
      own := own || substr(v.own_path, length('search_path=') + 1);
      own_of := own_of || v.name;
    END IF;
    EXIT WHEN problem IS NOT NULL;
  END LOOP;
  IF problem IS NOT NULL OR loose IS NULL AND own = '{}' THEN
    RETURN;
  END IF;
  SELECT w.* INTO made FROM backfill.who_creates_in(ARRAY(SELECT DISTINCT u FROM unnest(own || CASE WHEN loose IS NOT NULL THEN paths END) u), owner, users) w;
  IF made.schema IS NOT NULL THEN
    SELECT u.name INTO one FROM unnest(own, own_of) AS u(path, name) WHERE made.schema IN (SELECT CASE n.name WHEN '$user' THEN made.schema ELSE n.name END FROM backfill.path_names(u.path) n) ORDER BY u.name LIMIT 1;
    one := coalesce(one, loose);
    problem := format('%s looks names up in schema %I with the rights of the table''s owner, and %s %s', one, made.schema, made.who, coalesce('has ' || regexp_replace(made.thing, '^[A-Z]+', lower(split_part(made.thing, ' ', 1))) || ' there', 'may create some there'));
    advice := CASE WHEN made.thing IS NOT NULL THEN format('DROP %s, or ALTER %1$s OWNER TO %s', made.thing, owner::regrole)
                   ELSE format('REVOKE CREATE ON %s %I FROM %s', CASE WHEN to_regnamespace(quote_ident(made.schema)) IS NULL THEN 'DATABASE' ELSE 'SCHEMA' END,
                               CASE WHEN to_regnamespace(quote_ident(made.schema)) IS NULL THEN current_database() ELSE made.schema END, CASE made.who WHEN 'anybody' THEN 'PUBLIC' ELSE made.who END) END
              || CASE WHEN strpos(one, '(') > 0 THEN format('; or ALTER FUNCTION %s SET search_path = …, pg_temp: schemas of nobody else''s; or write it with a parsed body (BEGIN ATOMIC).', one) ELSE '.' END;
  END IF;
END
$$;

-- Whether the functions of a job's trigger are longer than what is made for it: their owner may put anything in their place, and to read it would take the control session. By
-- what they take unpacked, without unpacking them. What is made is some 50 kB; of a parsed clause 4 MB are read (backfill.reached_by).
CREATE OR REPLACE FUNCTION backfill.is_sync_too_long(job backfill.job) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(sum(octet_length(p.prosrc) + coalesce(octet_length(p.prosqlbody::text), 0)) > 8000000 OR max(pg_column_size(p.proconfig)) > 10000, false)
    FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid
$$;

-- Why a job's trigger can't be relied on, however often it is made anew, in words; NULL: it can. Others could put code in its way, which would run with the
-- rights of the table's owner.
CREATE OR REPLACE FUNCTION backfill.sync_danger(job backfill.job) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    (SELECT 'was changed: its functions are longer than any that are made' WHERE backfill.is_sync_too_long(job)),
    (SELECT format('calls functions that %s could replace', backfill.replacer_of(job)) WHERE backfill.replacer_of(job) IS NOT NULL),
    (SELECT format('would run casts of %s, who owns partition %s', c.relowner::regrole, backfill.relation_name(c.oid))
       FROM pg_class t, backfill.partitions_of(job.target) p JOIN pg_class c ON c.oid = p.relid
      WHERE t.oid = job.target AND NOT pg_has_role(c.relowner, t.relowner, 'USAGE') ORDER BY c.oid LIMIT 1),
    'would run ' || backfill.row_cast(job.target),
    (SELECT format('is not safe: %s', d.problem)
       FROM backfill.danger_of(
              ARRAY(SELECT f.oid FROM backfill.sync_functions(job) f WHERE f.name <> backfill.sync_token(job)),
              ARRAY(SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = job.target AND a.attnum > 0 AND a.attname = ANY (ARRAY(SELECT unnest(backfill.filled_columns(job.set_clause) || backfill.filled_columns(job.sync_back))::name))), job.target,
              (SELECT substr(s.setting, length('search_path=') + 1) FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid, unnest(p.proconfig) AS s(setting)
                WHERE f.name = backfill.sync_token(job) AND starts_with(s.setting, 'search_path='))) d
      WHERE d.problem IS NOT NULL LIMIT 1))
$$;

-- What the last line of the triggers' function holds: the hash of the body before it, and of all that it was made of. So that it is as it was made is known without making it
-- anew, which takes 40 to 200 ms, and a later version, which would make another, takes it for what it is. Who forges it has the rights of the table's owner.
CREATE OR REPLACE FUNCTION backfill.sync_seal(job backfill.job, schema text, body text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT encode(sha256(convert_to(jsonb_build_array(body, schema, job.id, job.name, job.set_clause, job.where_clause, job.sync_back, job.settings, job.session -> 'timezone_abbreviations',
                                                    job.plan -> 'sync', job.plan -> 'kept', job.plan -> 'column' -> 'name', job.plan -> 'enforce')::text, getdatabaseencoding())), 'hex')
$$;

-- What was done to a job's trigger, in words; NULL: nothing. It must be there, fire for everybody, be the table owner's, and be as it was made.
CREATE OR REPLACE FUNCTION backfill.sync_change(job backfill.job) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner    oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = job.target);
  token    text := backfill.sync_token(job);
  function record;
  wanted   text[] := ARRAY[backfill.sync_name(job) || '_insert']
                  || (SELECT CASE WHEN s.sources <> '{}' THEN ARRAY[backfill.sync_name(job) || '_update'] END || CASE WHEN s.meant <> '{}' THEN ARRAY[backfill.sync_name(job) || '_meant'] END
                        FROM backfill.sync_sources(job) s)
                  || CASE WHEN job.sync_back IS NOT NULL THEN ARRAY[backfill.back_name(job) || '_back', backfill.back_name(job) || '_given'] END
                  || CASE WHEN backfill.fills_beside(job) THEN ARRAY[backfill.sync_name(job) || '_both'] END
                  || CASE WHEN backfill.undone_by(job) IS NOT NULL THEN ARRAY[backfill.sync_name(job) || '_undone'] END;
  schema   text;
  seal     text;
  body     text;  -- before it
  problem  text;
BEGIN
  IF backfill.is_sync_too_long(job) THEN
    RETURN 'was changed, or its schema was renamed';
  END IF;
  SELECT p.oid, p.proowner, p.prosecdef, p.prosrc, n.nspname INTO function
    FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid JOIN pg_namespace n ON n.oid = p.pronamespace WHERE f.name = token LIMIT 1;
  schema := function.nspname;
  seal := substring(right(function.prosrc, 68) FROM '^\n-- ([0-9a-f]{64})$');
  body := CASE WHEN seal IS NULL THEN function.prosrc ELSE left(function.prosrc, -68) END;
  IF EXISTS (SELECT FROM backfill.sync_triggers(job) t WHERE t.name = backfill.old_sync_name(job)) THEN
    RETURN 'is an earlier version''s';
  ELSIF function.oid IS NULL OR EXISTS (
      SELECT FROM unnest(wanted) w WHERE NOT EXISTS (SELECT FROM backfill.sync_triggers(job) t JOIN pg_trigger g ON g.oid = t.oid AND g.tgfoid = function.oid
                                                      WHERE t.name = w)) THEN
    RETURN 'is not there any more';
  END IF;
  problem := (SELECT format('calls %I, which is not there any more', token || ending)
                FROM unnest('{_value, _todo, _rest, _changed, _back, _breaks, _default, _moved, _mine}'::text[]) AS e(ending)
               WHERE strpos(function.prosrc, token || ending) > 0
                 AND NOT EXISTS (SELECT FROM backfill.sync_functions(job) f WHERE f.name = token || ending) LIMIT 1);
  IF problem IS NOT NULL THEN
    RETURN problem;
  END IF;
  problem := (SELECT format(CASE g.tgenabled WHEN 'D' THEN 'is switched off on %s: ALTER TABLE … DISABLE TRIGGER' ELSE 'does not fire for every writer on %s: it takes ALTER TABLE … ENABLE ALWAYS TRIGGER %I' END, backfill.relation_name(g.tgrelid), g.tgname)
                FROM pg_trigger g
               WHERE g.tgfoid = function.oid AND g.tgenabled <> 'A' LIMIT 1);
  IF problem IS NOT NULL THEN
    RETURN problem;
  ELSIF EXISTS (SELECT FROM backfill.sync_functions(job) f JOIN pg_proc p ON p.oid = f.oid WHERE p.proowner <> owner) THEN
    RETURN 'belongs to another role than the table';
  ELSIF NOT function.prosecdef OR seal IS DISTINCT FROM backfill.sync_seal(job, schema, body) AND body <> backfill.sync_body(job, schema) THEN
    RETURN 'was changed, or its schema was renamed';
  END IF;
  problem := (SELECT format('writes column %I, which is %s', c, CASE WHEN a.attnum IS NULL THEN 'not there any more' ELSE 'another one now' END)
                FROM unnest(backfill.filled_columns(job.set_clause) || backfill.filled_columns(job.sync_back)) c
                LEFT JOIN pg_attribute a ON a.attrelid = job.target AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped
               WHERE a.attnum IS NULL OR a.attnum <> CASE WHEN c = job.plan -> 'column' ->> 'name' AND job.plan -> 'column' ? 'number' THEN job.plan -> 'column' ->> 'number' ELSE job.plan -> 'columns' ->> c END::integer AND backfill.is_here(job)
               LIMIT 1);
  RETURN problem;
END
$$;

-- Ends a job to whose trigger something was done.
CREATE OR REPLACE FUNCTION backfill.refuse_change(job backfill.job, change text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'the trigger of keep_in_sync on % %', backfill.relation_name(job.target), change
    USING ERRCODE = '55000', HINT = format('Rows that were written without it may be out of step. SELECT backfill.finish(%1$L), then backfill.forget(%1$L); set the filled column to what is to do where in doubt, and insert the job again.', job.name);
END
$$;

-- What is wrong with a job's trigger, in words; NULL: nothing.
CREATE OR REPLACE FUNCTION backfill.sync_trouble(job backfill.job) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce(backfill.sync_danger(job), backfill.sync_change(job), backfill.sync_conflict(job));
END
$$;
