#include "schema/sql.h"

/* SQL keeps the lines that it is written in. */
/* clang-format off */

/* ---- What a session is pinned to ----
 * Every setting that a user may set has its decision in tests/integration/test_pins.py: it is pinned here, a job brings it along, or
 * there is a reason to leave it as the role, the database or the file has it.
 * set_config's third argument: for the session, not the transaction. A setting that the server doesn't know is passed over. */

/* What our statements, the text of keys and the life of a session rest on: nobody has it otherwise. Our statements write E'' and \' as the
 * standard does; a batch has a transaction of its own that sees what others commit, and no row is hidden by a policy without an error.
 * A statement that goes on when its daemon is gone ends its work, which the next daemon finds done: a daemon's host that is cut off is known
 * by its sessions that are idle, after 25 s. A database in SQL_ASCII keeps bytes: there is nothing to convert. Notices are read by nobody,
 * and may be of any size. */
#define PINNED \
    "('client_encoding', CASE WHEN pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.=) 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END),\n" \
    "('standard_conforming_strings', 'on'), ('backslash_quote', 'safe_encoding'), ('quote_all_identifiers', 'off'),\n" \
    "('extra_float_digits', '1'), ('row_security', 'off'), ('gin_fuzzy_search_limit', '0'),\n" \
    "('default_transaction_isolation', 'read committed'), ('default_transaction_deferrable', 'off'),\n" \
    "('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),\n" \
    "('exit_on_error', 'off'), ('client_min_messages', 'error'), ('log_parameter_max_length_on_error', '0'),\n" \
    "('client_connection_check_interval', '0'), ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'),\n" \
    "('tcp_keepalives_count', '3'), ('tcp_user_timeout', '20000'),\n" \
    "('plpgsql.extra_errors', 'none'), ('plpgsql.extra_warnings', 'none')"

/* What values depend on: so they are for all that is ours; a job has its own, of the session that inserted it. */
#define PINNED_FORMS \
    "('search_path', 'pg_catalog'), ('DateStyle', 'ISO, MDY'), ('IntervalStyle', 'postgres'), ('bytea_output', 'hex'),\n" \
    "('array_nulls', 'on'), ('transform_null_equals', 'off'), ('xmlbinary', 'base64'), ('xmloption', 'content'),\n" \
    "('check_function_bodies', 'on'), ('plan_cache_mode', 'auto'), ('statement_timeout', '0')"

#define PIN_REPLICATION_ROLE \
    "SELECT 4, 'session_replication_role', 'origin'\n" \
    " WHERE pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica'\n"

/* The first that a session runs, while its search_path is still that of the role or the database, whose owner may have put an operator of his before the
 * server's: CASE x WHEN and IN look theirs up, too. A pooler may be between: settings would stay with the session that it has for us just now, so they are set only in one whose pid we know. */
const char SQL_PIN[] =
    "SELECT pg_catalog.pg_backend_pid() AS pid, extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text AS server,\n"
    "       (SELECT pg_catalog.count(pg_catalog.set_config(s.name, s.value, false))\n"
    "          FROM (SELECT 1 AS step, 'role' AS name, 'none' AS value\n"
    "                UNION ALL\n"
    "                SELECT 2, v.name, v.value FROM (VALUES " PINNED ",\n" PINNED_FORMS ",\n"
    "                       ('synchronous_commit', 'local'), ('jit', 'off')) AS v(name, value)\n"
    "                 WHERE coalesce(pg_catalog.jsonb_typeof($2::pg_catalog.jsonb OPERATOR(pg_catalog.->) v.name) OPERATOR(pg_catalog.<>) 'null', true)\n"
    "                UNION ALL\n"
    "                SELECT 3, e.key, e.value FROM pg_catalog.jsonb_each_text($2::pg_catalog.jsonb) AS e WHERE e.value IS NOT NULL\n"
    "                UNION ALL\n" PIN_REPLICATION_ROLE
    "                ORDER BY 1) AS s\n"
    "         WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) coalesce($1::integer, pg_catalog.pg_backend_pid())\n"
    "           AND pg_catalog.current_setting(s.name, true) IS NOT NULL)";

/* What it commits is on disk when it is seen (synchronous_commit above): who is told that a job has succeeded relies on it
 * (code_4_conclusions.sql). For no standby it waits: while a synchronous one is gone, a job can be paused, and its state told. A read-only default of the role or the database isn't meant for its own few rows: a job must be
 * paused, and its state told, also while nothing else may be written. */
const char SETTINGS_CONTROL[] =
    "{\"statement_timeout\": \"10s\", \"lock_timeout\": \"200ms\", \"default_transaction_read_only\": \"off\", \"restrict_nonsystem_relation_kind\": \"\"}";

const char SETTINGS_PROBE[] =
    "{\"statement_timeout\": \"1s\", \"lock_timeout\": \"200ms\", \"default_transaction_read_only\": \"on\"}";

/* A probe's statement is the administrator's: it finds its tables where the role does, and the server's own functions and operators before them. Set
 * again before each: what one calls may have changed it. */
const char SQL_PIN_PROBE[] =
    "SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog', CASE WHEN s.reset_val OPERATOR(pg_catalog.<>) '' THEN s.reset_val END, 'pg_temp'), false),\n"
    "       pg_catalog.set_config('default_transaction_read_only', 'on', false), pg_catalog.set_config('statement_timeout', '1s', false),\n"
    "       pg_catalog.set_config('lock_timeout', '200ms', false)\n"
    "  FROM pg_catalog.pg_settings AS s\n"
    " WHERE s.name OPERATOR(pg_catalog.=) 'search_path'";

/* What it makes is made where the database begins its sessions read-only, too. All who insert or ask for a job wait behind the lock that it
 * waits for: it waits shortly, and tries again. */
const char SETTINGS_INSTALL[] =
    "{\"statement_timeout\": \"0\", \"lock_timeout\": \"2s\", \"default_transaction_read_only\": \"off\", \"restrict_nonsystem_relation_kind\": \"\"}";

/* See try_pooler in session.c. */
const char SQL_TRIAL[] = "SELECT pg_catalog.set_config('idle_session_timeout', '100', false)";

const char SQL_LOGIN[] = "SELECT backfill.check_login($1)";

/* Behind SQL_PIN. Temporary tables come last in the path: code of others that runs in the session could put one in a table's place. The last word has what the promises rest on: what is pinned, short locks, plans as they are by default: what a batch is given as a text is planned for its keys each time, our own statements aren't. Before it stand a job's own
 * settings, before those the inserting session's on which values depend, and first what is only good advice: a table is never read as a
 * whole because the planner's statistics are stale, or because a role or a database was told to do without indexes, and no batch waits for a compiler. What a batch writes out of the server's buffers
 * is handed to the disk soon: left to the kernel it goes out by the gigabyte, and commits of others wait behind it.
 * default_transaction_read_only stays what it is now, unless the job says otherwise: see backfill.check_brake. */
const char SQL_ROLE[] =
    "SELECT pg_catalog.set_config(s.name, s.value, false)\n"
    "  FROM (SELECT 1 AS step, v.name, v.value\n"
    "          FROM (VALUES ('enable_seqscan', 'off'), ('enable_sort', 'off'), ('enable_indexscan', 'on'), ('enable_indexonlyscan', 'on'), ('enable_bitmapscan', 'on'),\n"
    "                       ('enable_tidscan', 'on'), ('enable_nestloop', 'on'), ('jit', 'off'), ('backend_flush_after', '256kB')) AS v(name, value)\n"
    "        UNION ALL\n"
    "        SELECT 2, e.key, e.value\n"
    "          FROM pg_catalog.jsonb_each_text($9::jsonb) AS e\n"
    "        UNION ALL\n"
    "        SELECT 3, e.key, e.value\n"
    "          FROM pg_catalog.jsonb_each_text($1::jsonb) AS e\n"
    "        UNION ALL\n"
    "        SELECT 4, v.name, v.value\n"
    "          FROM (VALUES ('search_path', CASE WHEN $2::text OPERATOR(pg_catalog.~) '\\mpg_temp\\M' THEN $2\n"
    "                                      ELSE pg_catalog.concat_ws(', ', CASE WHEN $2 OPERATOR(pg_catalog.<>) '' THEN $2 END, 'pg_temp') END), ('TimeZone', $3::text), ('DateStyle', $4::text), ('lock_timeout', $5::text),\n"
    "                       ('statement_timeout', $6::text), ('synchronous_commit', $7::text), ('plan_cache_mode', 'auto'),\n"
    "                       ('backfilld.brake', CASE WHEN pg_catalog.jsonb_exists($9::jsonb, 'default_transaction_read_only')\n"
    "                                                  OR pg_catalog.jsonb_exists($1::jsonb, 'default_transaction_read_only') THEN 'off' ELSE 'on' END),\n"
    "                       " PINNED ") AS v(name, value)\n"
    "         WHERE pg_catalog.starts_with(v.name, 'backfilld.') OR pg_catalog.current_setting(v.name, true) IS NOT NULL\n"
    "        UNION ALL\n" PIN_REPLICATION_ROLE
    "        UNION ALL\n"
    "        SELECT 5, 'role', $8::text\n"
    "         WHERE $8::text IS NOT NULL\n"
    "        ORDER BY 1) AS s";

/* Code of others has not run in the session yet: see code_1_callers.sql. */
const char SQL_BEGIN_SESSION[] = "SELECT backfill.begin_session($1, backfill.settings_now(), backfill.own_settings_now($2))";

/* What a worker's session runs is a plain call, and the only statement of its transaction: backfill.begin_work asks for that. */
const char SQL_SURVEY[] = "SELECT estimate, seen, nothing_to_do, cuts, moves, hidden, all_at_once, by_ctid, nothing_else, aside FROM backfill.survey($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const char SQL_FIND_KEY[] = "SELECT k FROM backfill.find_key($1, $2, $3, $4, $5, $6) AS k";

const char SQL_RUN_BATCH[] =
    "SELECT rows, wal_bytes, now_at, skipped, holders, next, aside_us\n"
    "  FROM backfill.run_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";

const char SQL_RETRY_ROWS[] =
    "SELECT rows, wal_bytes, skipped, held_by\n"
    "  FROM backfill.retry_rows($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const char SQL_TRY_NEIGHBOURS[] =
    "SELECT passed, key_fails, alike, unclear, cause FROM backfill.try_neighbours($1, $2, $3, $4)";

const char SQL_HELLO[] =
    "SELECT pg_catalog.current_setting('server_version_num') AS server_version,\n"
    "       a.pid, pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') AS start\n"
    "  FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a";

/* Before anything of the schema is read: whoever may create a schema in the database could have made one of this name, whose views and
 * functions would run as the daemon's role. Its own, and no other: membership in the owner's role is no sign of trust (a superuser has all
 * of them). */
const char SQL_SCHEMA[] =
    "SELECT c.oid IS NOT NULL AS is_there,\n"
    "       CASE WHEN n.nspowner OPERATOR(pg_catalog.<>) me.oid\n"
    "            THEN pg_catalog.format('schema backfill belongs to role %s, not to %s', n.nspowner::pg_catalog.regrole, me.oid::pg_catalog.regrole)\n"
    "            WHEN c.relowner OPERATOR(pg_catalog.<>) me.oid OR c.relkind OPERATOR(pg_catalog.<>) 'r'\n"
    "            THEN 'backfill.installed is no table of the schema''s owner' END AS problem,\n"
    "       'Run backfilld as the role that has installed the schema. If nobody knows where it comes from, look at it, then '\n"
    "       'DROP SCHEMA backfill CASCADE, and run backfilld --install.' AS hint\n"
    "  FROM (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) current_user) AS me\n"
    "  LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) 'backfill'\n"
    "  LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid AND c.relname OPERATOR(pg_catalog.=) 'installed'";

/* Functions, columns and views of others: what they rest on can't be made anew. Five of them. */
const char SQL_SCHEMA_USERS[] =
    "SELECT pg_catalog.string_agg(u.what, ', ' ORDER BY u.what) FILTER (WHERE u.n <= 5) || CASE WHEN pg_catalog.count(*) > 5 THEN ', …' ELSE '' END AS users\n"
    "  FROM (SELECT x.what, pg_catalog.row_number() OVER (ORDER BY x.what) AS n\n"
    "          FROM (SELECT DISTINCT pg_catalog.concat(i.type, ' ', i.identity, ' of ' || coalesce(r.relowner, s.refobjid)::pg_catalog.regrole) AS what\n"
    "                  FROM (SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS class, p.oid FROM pg_catalog.pg_proc p WHERE p.pronamespace = pg_catalog.to_regnamespace('backfill')\n"
    "                         UNION ALL\n"
    "                        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid FROM pg_catalog.pg_type t WHERE t.typnamespace = pg_catalog.to_regnamespace('backfill')) AS o\n"
    "                  JOIN pg_catalog.pg_depend d ON d.refclassid = o.class AND d.refobjid = o.oid AND d.deptype = 'n'\n"
    "                  LEFT JOIN pg_catalog.pg_rewrite w ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = d.objid\n"
    "                  LEFT JOIN pg_catalog.pg_policy y ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND y.oid = d.objid\n"
    "                  LEFT JOIN pg_catalog.pg_trigger g ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND g.oid = d.objid\n"
    "                  LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid\n"
    "                  LEFT JOIN pg_catalog.pg_attrdef f ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = d.objid\n"
    "                  LEFT JOIN pg_catalog.pg_class r ON r.oid = coalesce(w.ev_class, y.polrelid, g.tgrelid, k.conrelid, f.adrelid)\n"
    "                 CROSS JOIN LATERAL (SELECT CASE WHEN w.oid IS NULL THEN d.classid ELSE 'pg_catalog.pg_class'::pg_catalog.regclass END AS class, coalesce(w.ev_class, d.objid) AS oid) AS e\n"
    "                 CROSS JOIN LATERAL pg_catalog.pg_identify_object(e.class, e.oid, 0) AS i\n"
    "                  LEFT JOIN pg_catalog.pg_shdepend s ON s.classid = e.class AND s.objid = e.oid AND s.deptype = 'o'\n"
    "                   AND s.dbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database())\n"
    "                 WHERE coalesce(r.relnamespace::pg_catalog.regnamespace::text, pg_catalog.quote_ident(i.schema)) IS DISTINCT FROM 'backfill') AS x) AS u";

/* Who holds up an --install: the oldest transactions that have a table of the schema in use. */
const char SQL_SCHEMA_HOLDERS[] =
    "SELECT pg_catalog.string_agg(pg_catalog.format('%s (role %s%s)%s', coalesce('pid ' || h.pid, 'a prepared transaction'), coalesce(h.usename, '?'),\n"
    "                                               coalesce(', ' || nullif(h.application_name, ''), ''), coalesce(' since ' || pg_catalog.to_char(h.xact_start, 'YYYY-MM-DD HH24:MI:SS'), '')), ', '\n"
    "                             ORDER BY h.xact_start) AS who\n"
    "  FROM (SELECT DISTINCT l.pid, a.usename, a.application_name, a.xact_start\n"
    "          FROM pg_catalog.pg_locks AS l\n"
    "          JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'backfill')\n"
    "          LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid\n"
    "         WHERE l.granted AND l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()\n"
    "           AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())\n"
    "         ORDER BY a.xact_start LIMIT 3) AS h";

/* Who keeps the control session from a row of backfill.job, or from a table of the schema: who only reads doesn't. */
const char SQL_JOB_HOLDERS[] =
    "SELECT pg_catalog.string_agg(pg_catalog.format('%s%s holds %s on backfill.%I', coalesce('pid ' || h.pid, 'a prepared transaction'),\n"
    "                                               coalesce(' (' || nullif(h.application_name, '') || ')', ''), h.mode, h.relname), ', '\n"
    "                             ORDER BY h.xact_start) AS who\n"
    "  FROM (SELECT l.pid, a.application_name, pg_catalog.min(l.mode) AS mode, c.relname, a.xact_start\n"
    "          FROM pg_catalog.pg_locks AS l\n"
    "          JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND c.relkind = 'r' AND c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'backfill')\n"
    "          LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid\n"
    "         WHERE l.granted AND l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()\n"
    "           AND l.mode <> 'AccessShareLock' AND (c.relname = 'job' OR l.mode NOT IN ('RowShareLock', 'RowExclusiveLock'))\n"
    "           AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())\n"
    "         GROUP BY l.pid, a.application_name, c.relname, a.xact_start\n"
    "         ORDER BY a.xact_start LIMIT 3) AS h";

const char SQL_INSTALLED[] = "SELECT version, checksum FROM backfill.installed";

/* What has become of a job that isn't this daemon's any more. What is known of it comes back, for the record. */
const char SQL_WHOSE[] =
    "SELECT $1::bigint AS id, $2::text AS name, $3::text AS target, $4::text AS phase, j.state, j.holder_pid, j.holder_pid = pg_catalog.pg_backend_pid() AS ours,\n"
    "       (SELECT a.application_name FROM pg_catalog.pg_stat_get_activity(j.holder_pid) AS a WHERE a.backend_start = j.holder_start) AS holder,\n"
    "       CASE WHEN j.phase = 'preflight' THEN j.report ->> 'begun_anew' END AS begun_anew\n"
    "  FROM (VALUES (1)) AS one\n"
    "  LEFT JOIN backfill.job AS j ON j.id = $1::bigint";

const char SQL_LISTEN[] = "LISTEN backfill";

#define JOB_OF(call, slot) \
    "SELECT j.id, c.ask_again, j.name, backfill.relation_name(j.target) AS target,\n" \
    "       j.submitted_by, j.owner, j.search_path, j.time_zone, j.date_style, j.settings,\n" \
    "       j.phase, j.on_error, j.target_ms, j.estimate,\n" \
    "       (SELECT pg_catalog.sum(r.keys) FROM backfill.range AS r WHERE r.job_id = j.id) AS keys_done,\n" \
    "       pg_catalog.round(extract(epoch FROM j.max_lag) * 1000) AS max_lag_ms, j.throttle_off, j.max_rows_per_s, j.workers,\n" \
    "       pg_catalog.ceil(c.opens_in_s * 1000) AS opens_in_ms,\n" \
    "       CASE WHEN j.state = 'running' THEN pg_catalog.ceil(extract(epoch FROM h.changes_at - pg_catalog.clock_timestamp()) * 1000) END AS hours_end_in_ms,\n" \
    "       j.state = 'running' AS runs, p.expand, p.fill, p.guard, p.quiet, p.verify, p.validate, p.in_step, p.dry_run, p.lacking, j.session,\n" \
    "       j.report #>> '{waits,tries}' AS gave_way, j.submitted_by_oid AS login, c.token, " slot " AS slot,\n" \
    "       (SELECT pg_catalog.max(o.workers) FROM backfill.job AS o WHERE o.state = 'running') AS most_workers\n" \
    "  FROM backfill." call " AS c\n" \
    " CROSS JOIN LATERAL backfill.hours_of(c.job) AS h\n" \
    " CROSS JOIN LATERAL (SELECT (c.job).*) AS j\n" \
    " CROSS JOIN LATERAL backfill.phases_of(c.job) AS p"

const char SQL_CLAIM[] = JOB_OF("claim()", "0");

/* Only of a login for which no daemon is at work. */
const char SQL_CLAIM_NEWCOMER[] = JOB_OF("claim(newcomers => true)", "0");

const char SQL_HELP[] = JOB_OF("help($1)", "c.slot");

const char SQL_LEAVE[] = "SELECT backfill.leave($1, $2, $3)";

const char SQL_HAND_OVER[] = "SELECT backfill.hand_over($1, $2)";

const char SQL_WALKERS[] = "SELECT walkers, keys, rate FROM backfill.walkers_of($1, $2)";

const char SQL_FORGET_ENDED[] = "SELECT forgotten, last_at, last_id FROM backfill.forget_ended($1, $2, $3)";

const char SQL_LOOK_AFTER[] = "SELECT last_id, name, trouble, hint FROM backfill.look_after($1, $2)";

const char SQL_IS_QUEUED[] =
    "SELECT EXISTS (SELECT FROM backfill.free_job) OR EXISTS (SELECT FROM backfill.untidy_job)\n"
    "       OR EXISTS (SELECT FROM backfill.job AS j WHERE j.state = 'running' AND backfill.session_start(j.holder_pid) IS DISTINCT FROM j.holder_start)";

/* Hours are a running job's: what one has left in its table is taken out whenever it is. And the helpers of this session's daemon, but for those whose job
 * is nobody's any more, or soon: "pause" where it has more than it may, of which $2 is what the file says. */
const char SQL_WANTED[] =
    "SELECT j.id, 0 AS slot, j.wanted, j.target_ms, j.on_error, j.workers,\n"
    "       pg_catalog.round(extract(epoch FROM j.max_lag) * 1000) AS max_lag_ms, j.throttle_off, j.max_rows_per_s,\n"
    "       CASE WHEN j.state = 'running' THEN pg_catalog.ceil(extract(epoch FROM h.changes_at - pg_catalog.clock_timestamp()) * 1000) END AS hours_end_in_ms,\n"
    "       CASE WHEN j.state = 'running' AND NOT h.open THEN coalesce('its active hours ended; they begin again at ' || h.opens, h.outside) END AS outside\n"
    "  FROM backfill.job AS j\n"
    " CROSS JOIN LATERAL backfill.hours_of(j) AS h\n"
    " WHERE j.id = ANY ($1::bigint[]) AND backfill.is_held(j)\n"
    "UNION ALL\n"
    "SELECT j.id, t.slot,\n"
    "       CASE WHEN coalesce(j.workers, $2::integer) > (SELECT pg_catalog.count(*) FROM pg_catalog.unnest(backfill.helpers_of(j.id)) AS s WHERE s <= t.slot)\n"
    "            THEN 'run' ELSE 'pause' END, j.target_ms, j.on_error, j.workers,\n"
    "       pg_catalog.round(extract(epoch FROM j.max_lag) * 1000), j.throttle_off, j.max_rows_per_s, NULL, NULL\n"
    "  FROM backfill.token AS t\n"
    "  JOIN backfill.job AS j ON j.id = t.job_id\n"
    " WHERE t.slot > 0 AND (t.holder_pid, t.holder_start) = (pg_catalog.pg_backend_pid(), backfill.session_start())\n"
    "   AND j.state = 'running' AND j.wanted = 'run'";

const char SQL_UNFINISHED[] =
    "SELECT pg_catalog.count(*) AS unfinished,\n"
    "       pg_catalog.count(*) FILTER (WHERE j.state = 'running' AND backfill.session_start(j.holder_pid) = j.holder_start) AS elsewhere,\n"
    "       (SELECT pg_catalog.count(*) FROM backfill.job AS p WHERE p.state = 'paused') AS paused,\n"
    "       (SELECT pg_catalog.left(pg_catalog.string_agg(f.name, ', ' ORDER BY f.finished_at), 1000) FROM backfill.job AS f\n"
    "         WHERE f.state = 'failed' AND f.finished_at >= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1::double precision / 1000000)) AS failed\n"
    "  FROM backfill.job AS j WHERE j.state IN ('queued', 'running') OR backfill.is_untidy(j)";

const char SQL_HOLD_AGAIN[] = "SELECT backfill.hold_again($1, $2, $3, $4)";

const char SQL_LAYOUT[] = "SELECT relation, batch, bound, last, keys_of, on_copy, trial, data_directory, outcome, whole, behind, rest FROM backfill.layout($1, $2, $3, $4)";

const char SQL_ADD_RANGE[] = "SELECT backfill.add_ranges($1, $2, $3, $4, $5)";

const char SQL_BEGIN_PHASE[] = "SELECT outcome, preflight, walk FROM backfill.begin_phase($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const char SQL_PLAN_ON[] = "SELECT backfill.plan_on($1, $2, $3, $4) AS outcome";

const char SQL_TAKE_RANGE[] =
    "SELECT outcome, range, epoch, cursor, upper, point, relation, key_columns, batch, bound, reckoning, function, signature, keys, keys_of, ids[pg_catalog.cardinality(ids)] AS left_behind, locked, name,\n"
    "       changed, yields, proof, walk, pg_catalog.cardinality(ids) AS n_rows, ids, row_keys, walkers, behind\n"
    "  FROM backfill.take_range($1, $2, $3, $4, $5)";

const char SQL_PUT_ASIDE[] = "SELECT backfill.put_aside($1, $2, $3, $4, $5, $6, $7)";

const char SQL_LEAVE_ROW[] = "SELECT backfill.leave_row($1, $2, $3, $4)";

const char SQL_SESSION_NAMES[] =
    "SELECT pg_catalog.string_agg(\n"
    "         CASE WHEN p.pid > 0 THEN 'pid ' || p.pid || coalesce(' (' || nullif(a.application_name, '') || ')', '')\n"
    "              ELSE backfill.prepared_name(t.gid) END,\n"
    "         ', ' ORDER BY p.pid)\n"
    "  FROM pg_catalog.unnest($1::integer[]) AS p(pid)\n"
    "  LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(p.pid) AS a ON p.pid > 0\n"
    "  LEFT JOIN pg_catalog.pg_prepared_xacts AS t ON t.transaction::text::bigint & 2147483647 = -p.pid";

const char SQL_LIMIT_SESSION[] = "SELECT backfill.limit_session($1, $2, $3)";

const char SQL_RUN_STEP[] = "SELECT backfill.run_step($1, $2, $3, $4)";

const char SQL_NEXT_STEP[] =
    "SELECT step, commands, apart, relation, name, words FROM backfill.next_step($1, $2)";

/* Autovacuum is named by what it does. A lock that is only waited for is no reason yet. */
const char SQL_TABLE_HOLDERS[] =
    "SELECT pg_catalog.string_agg(h.who, ', ' ORDER BY h.since)\n"
    "  FROM (SELECT pg_catalog.format('%s%s holds %s', coalesce('pid ' || l.pid, 'a prepared transaction'),\n"
    "                                 coalesce(' (' || CASE WHEN a.backend_type = 'autovacuum worker' THEN a.query ELSE nullif(a.application_name, '') END || ')', ''),\n"
    "                                 pg_catalog.string_agg(DISTINCT l.mode, ', ')) AS who, pg_catalog.min(a.xact_start) AS since\n"
    "          FROM pg_catalog.pg_locks AS l\n"
    "          LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid\n"
    "         WHERE l.locktype = 'relation' AND l.relation = $1::oid AND l.granted AND l.pid IS DISTINCT FROM $2::integer\n"
    "           AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())\n"
    "         GROUP BY l.pid, a.backend_type, a.query, a.application_name\n"
    "         ORDER BY since LIMIT 3) AS h";

const char SQL_HOLDERS_BESIDE[] = "SELECT backfill.locked_by(backfill.holders_beside($1), true)";

const char SQL_INDEX_PROGRESS[] =
    "SELECT p.phase || coalesce(' ' || 100 * p.blocks_done / nullif(p.blocks_total, 0) || ' %', '') || coalesce(': pid ' || nullif(p.current_locker_pid, 0), '')\n"
    "  FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.pid = $1::integer";

const char SQL_DUPLICATE[] = "SELECT backfill.note_duplicate($1, $2, $3)";

const char SQL_END_TIDY[] = "SELECT backfill.end_tidy($1, $2, $3) AS outcome";

const char SQL_END_JOB[] = "SELECT outcome, slower, rows, batches, not_proven FROM backfill.end_job($1, $2, $3, $4, $5, $6)";

const char SQL_EVENT_TRIGGER[] =
    "SELECT backfill.event_trigger_hint($1, pg_catalog.format('the job''s sessions (application_name ''backfilld %s'', %s)', j.name, j.owner))\n"
    "       || pg_catalog.format(' Then SELECT backfill.retry(%L).', j.name) AS hint\n"
    "  FROM backfill.job AS j WHERE j.id = $2";

const char SQL_WHY_DENIED[] = "SELECT problem, advice FROM backfill.why_denied($1)";

const char SQL_HAS_ROLES[] = "SELECT backfill.has_roles(j, $2, $3) FROM backfill.job AS j WHERE j.id = $1";

const char SQL_RELEASE_JOB[] = "SELECT backfill.release_job($1)";

const char SQL_GIVE_WAY[] = "SELECT backfill.give_way($1, $2, $3, $4, $5) AS outcome";

const char SQL_OVER_SHARE[] = "SELECT backfill.over_share($1::bigint[], $2::bigint[]) AS job";

const char SQL_WAITING_FOR[] =
    "UPDATE backfill.job AS j SET waiting_for = $2 WHERE j.id = $1 AND backfill.is_held(j)";

const char SQL_CANCEL[] = "SELECT pg_catalog.pg_cancel_backend($1)";

/* What catches a cancel and goes on, ends with its session. Only while that is the worker's: its pid may be another's by now. */
const char SQL_TERMINATE[] =
    "SELECT pg_catalog.pg_terminate_backend(a.pid)\n"
    "  FROM pg_catalog.pg_stat_get_activity($1::integer) AS a JOIN backfill.token AS t ON t.worker = a.pid AND t.since = a.backend_start";

/* Two walkers of one job that wait for each other hurt nobody. They are known by their name and login: whoever else bears that name is let wait. */
#define WALKS_BESIDE(others) \
    "EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS o\n" \
    "         WHERE o.pid = ANY (" others ") AND o.pid = ANY (pg_catalog.pg_blocking_pids(a.pid))\n" \
    "           AND pg_catalog.starts_with(a.application_name, 'backfilld ') AND o.application_name = a.application_name AND o.usesysid = a.usesysid)"

/* Who waits is looked up first: once the batch is cancelled, nobody does. A batch that nobody has waited on for so long is
 * another by now, or another job's is meant: it is let be.
 * Only who is hurt counts: who reads or writes (rows, transactions, relations, advisory locks of a trigger), and who wants a lock that
 * those queue behind (CREATE INDEX, ALTER TABLE, LOCK). Nobody queues behind SHARE UPDATE EXCLUSIVE (VACUUM, ANALYZE, VALIDATE, CREATE
 * INDEX CONCURRENTLY), nor behind who waits for a virtual transaction (the same CREATE INDEX): they are let wait. */
const char SQL_RELIEVE[] =
    "WITH waiting AS MATERIALIZED (\n"
    "  SELECT pg_catalog.string_agg('pid ' || a.pid || coalesce(' (' || nullif(a.application_name, '') || ')', ''), ', '\n"
    "                               ORDER BY l.waitstart) AS who,\n"
    "         pg_catalog.round(extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(l.waitstart)) * 1000) AS ms\n"
    "    FROM pg_catalog.pg_stat_activity AS a\n"
    "   CROSS JOIN LATERAL (SELECT pg_catalog.min(k.waitstart) AS waitstart\n"
    "                         FROM pg_catalog.pg_locks AS k\n"
    "                        WHERE k.pid = a.pid AND NOT k.granted AND k.locktype <> 'virtualxid'\n"
    "                          AND NOT (k.locktype = 'relation' AND k.mode = 'ShareUpdateExclusiveLock')) AS l\n"
    "   WHERE a.wait_event_type = 'Lock'\n"
    "     AND l.waitstart <= pg_catalog.clock_timestamp() - $2::float8 * interval '1 ms'\n"
    "     AND $1::integer = ANY (pg_catalog.pg_blocking_pids(a.pid)) AND NOT " WALKS_BESIDE("ARRAY[$1::integer]") ")\n"
    "SELECT w.who, w.ms, CASE WHEN w.who IS NOT NULL THEN pg_catalog.pg_cancel_backend($1::integer) END FROM waiting AS w";

/* Who builds an index concurrently waits at last for older snapshots, and an ANALYZE of the table that waits for the build has one: neither
 * ever ends, and the server ends the build, hours of it, for that ANALYZE, which has not begun. So that is cancelled, as far as it may be. What
 * else waits so is somebody's change of the table: that it fails is not for us to choose. */
const char SQL_UNTANGLE[] =
    "WITH tangled AS MATERIALIZED (\n"
    "  SELECT DISTINCT a.pid, a.application_name\n"
    "    FROM pg_catalog.pg_locks AS mine\n"
    "    JOIN pg_catalog.pg_locks AS held ON held.locktype = 'virtualxid' AND held.granted AND held.virtualxid = mine.virtualxid\n"
    "    JOIN pg_catalog.pg_locks AS wanted ON wanted.pid = held.pid AND NOT wanted.granted AND wanted.locktype = 'relation'\n"
    "                                      AND wanted.mode = 'ShareUpdateExclusiveLock'\n"
    "    JOIN pg_catalog.pg_stat_activity AS a ON a.pid = held.pid AND a.query ~* '^\\s*(analy[sz]e|vacuum)\\M'\n"
    "   WHERE mine.pid = $1::integer AND mine.locktype = 'virtualxid' AND NOT mine.granted\n"
    "     AND $1::integer = ANY (pg_catalog.pg_blocking_pids(held.pid)))\n"
    "SELECT (SELECT pg_catalog.string_agg('pid ' || t.pid || coalesce(' (' || nullif(t.application_name, '') || ')', ''), ', ') FROM tangled AS t) AS who,\n"
    "       (SELECT pg_catalog.bool_or(pg_catalog.pg_cancel_backend(t.pid)) FROM tangled AS t) AS cancelled";

/* How far whoever receives WAL is. A logical one: by what it has applied, where it tells that, or has confirmed.
 *   standby   counts; in the state "startup" (a subscription that copies a table) or "backup" it is none
 *   if_named  counts when the settings name it: a receiver that only stores WAL (pg_receivewal, the WAL of a pg_basebackup), for it
 *             tells where it is every ten seconds, and where it has flushed at the end of a file; and each slot, by its name
 * A walreceiver without a name of its own is called by its slot, or by where it comes from.
 * Who waits on whom is looked up only for sessions that do wait for a lock; whose wait counts, SQL_RELIEVE says. */
const char SQL_MONITOR[] =
    "SELECT 'lsn' AS kind, NULL AS name, pg_catalog.pg_current_wal_lsn()::text AS value\n"
    "UNION ALL\n"
    "SELECT n.kind, n.name, p.lsn::text\n"
    "  FROM pg_catalog.pg_stat_replication AS r\n"
    "  LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.active_pid = r.pid\n"
    " CROSS JOIN LATERAL (SELECT CASE WHEN s.slot_type = 'logical' THEN greatest(r.replay_lsn, s.confirmed_flush_lsn)\n"
    "                                 ELSE coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn) END AS lsn,\n"
    "                            CASE WHEN r.application_name <> 'walreceiver' THEN r.application_name\n"
    "                                 ELSE coalesce(s.slot_name::text, r.client_addr::text, 'walreceiver') END AS name,\n"
    "                            r.replay_lsn IS NULL AND r.sync_state = 'async' AND s.slot_type IS DISTINCT FROM 'logical'\n"
    "                              AND (r.write_lsn IS NOT NULL OR r.application_name IN ('pg_basebackup', 'pg_receivewal'))\n"
    "                              AS only_receives) AS p\n"
    " CROSS JOIN LATERAL (VALUES (CASE WHEN p.only_receives THEN 'if_named' ELSE 'standby' END, p.name),\n"
    "                            ('if_named', nullif(s.slot_name::text, p.name))) AS n(kind, name)\n"
    " WHERE r.state NOT IN ('backup', 'startup') AND n.name IS NOT NULL\n"
    "UNION ALL\n"
    "SELECT 'blocked', 'pid ' || a.pid,\n"
    "       pg_catalog.concat(ours.pid, ' ', pg_catalog.round(extract(epoch FROM pg_catalog.clock_timestamp() - l.waitstart) * 1000))\n"
    "  FROM pg_catalog.pg_stat_activity AS a\n"
    " CROSS JOIN LATERAL (SELECT pg_catalog.min(k.waitstart) AS waitstart\n"
    "                       FROM pg_catalog.pg_locks AS k\n"
    "                      WHERE k.pid = a.pid AND NOT k.granted AND k.locktype <> 'virtualxid'\n"
    "                        AND NOT (k.locktype = 'relation' AND k.mode = 'ShareUpdateExclusiveLock')) AS l\n"
    " CROSS JOIN LATERAL (SELECT DISTINCT b.pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) AS b(pid) WHERE b.pid = ANY ($1::integer[])) AS ours\n"
    " WHERE a.wait_event_type = 'Lock' AND l.waitstart IS NOT NULL AND NOT " WALKS_BESIDE("$1::integer[]") "\n"
    "UNION ALL\n"
    "SELECT 'waits', u.pid::text, NULL\n"
    "  FROM pg_catalog.unnest($1::integer[]) AS u(pid), pg_catalog.pg_stat_get_activity(u.pid) AS a\n"
    " WHERE a.wait_event = 'virtualxid'";

/* What needs no reading twenty times a second.
 *   slot      MB of WAL that a slot holds back; of one that is about to lose its WAL: NULL
 *   archive   files that wait; archiver: the file that could not be archived the last time
 *   xid       the next transaction; xmin_of: the oldest that a slot or a standby may still see
 *   xmin      seconds since the oldest transaction with a snapshot began, of sessions whose snapshots hold vacuum back here
 *   dead      whose: a job; of its tables together: dead rows, live rows, bytes, whether a vacuum is at work, whether autovacuum
 *             would come, its naptime in seconds
 *   path      where the server keeps files; pg_wal may be out of sight
 * A slot whose WAL is lost holds nothing back. Sizes of tables are as of their last vacuum: asking for the files of a table of
 * terabytes takes long. */
const char SQL_MONITOR_SLOWLY[] =
    "SELECT 'slot' AS kind, s.slot_name::text AS name,\n"
    "       CASE WHEN s.wal_status <> 'unreserved'\n"
    "            THEN pg_catalog.round(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn) / 1000000, 3)::text END AS value\n"
    "  FROM pg_catalog.pg_replication_slots AS s\n"
    " WHERE s.restart_lsn IS NOT NULL AND s.wal_status <> 'lost'\n"
    "UNION ALL\n"
    "SELECT 'archive', NULL, a.waiting::text\n"
    "  FROM (SELECT pg_catalog.count(*) AS waiting FROM pg_catalog.pg_ls_archive_statusdir() AS f WHERE f.name LIKE '%.ready') AS a\n"
    " WHERE pg_catalog.current_setting('archive_mode') <> 'off'\n"
    "UNION ALL\n"
    "SELECT 'archiver', NULL, r.last_failed_wal\n"
    "  FROM pg_catalog.pg_stat_archiver AS r\n"
    " WHERE pg_catalog.current_setting('archive_mode') <> 'off'\n"
    "   AND (r.last_archived_time IS NULL OR r.last_failed_time > r.last_archived_time) AND r.last_failed_time IS NOT NULL\n"
    "UNION ALL\n"
    "SELECT 'xid', NULL, pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text\n"
    "UNION ALL\n"
    "SELECT 'xmin_of', x.whose, (pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint - pg_catalog.age(x.xmin))::text\n"
    "  FROM (SELECT 'slot ' || s.slot_name AS whose, s.xmin FROM pg_catalog.pg_replication_slots AS s\n"
    "        UNION ALL\n"
    "        SELECT 'standby ' || r.application_name, r.backend_xmin FROM pg_catalog.pg_stat_replication AS r) AS x\n"
    " WHERE x.xmin IS NOT NULL\n"
    "UNION ALL\n"
    "SELECT 'xmin', x.whose, pg_catalog.round(extract(epoch FROM pg_catalog.clock_timestamp() - x.since), 3)::text\n"
    "  FROM (SELECT 'pid ' || a.pid AS whose, a.xact_start AS since\n"
    "          FROM pg_catalog.pg_stat_activity AS a\n"
    "         WHERE a.datname = pg_catalog.current_database() AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)\n"
    "           AND a.pid <> pg_catalog.pg_backend_pid()\n"
    "           AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum AS v WHERE v.pid = a.pid)\n"
    "        UNION ALL\n"
    "        SELECT 'prepared ' || t.gid, t.prepared FROM pg_catalog.pg_prepared_xacts AS t\n"
    "         WHERE t.database = pg_catalog.current_database()) AS x\n"
    "UNION ALL\n"
    "SELECT 'dead', d.job_id::text,\n"
    "       pg_catalog.format('%s %s %s %s %s %s', pg_catalog.sum(d.dead), pg_catalog.sum(d.live), pg_catalog.sum(d.bytes),\n"
    "                         pg_catalog.bool_or(d.running)::integer, pg_catalog.bool_or(d.enabled)::integer,\n"
    "                         extract(epoch FROM pg_catalog.current_setting('autovacuum_naptime')::interval))\n"
    "  FROM (SELECT r.job_id, pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead, pg_catalog.pg_stat_get_live_tuples(c.oid) AS live,\n"
    "               c.relpages::bigint * pg_catalog.current_setting('block_size')::bigint AS bytes,\n"
    "               EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum AS v WHERE v.relid = c.oid) AS running,\n"
    "               pg_catalog.current_setting('autovacuum')::boolean\n"
    "               AND coalesce((SELECT o.option_value::boolean FROM pg_catalog.pg_options_to_table(c.reloptions) AS o\n"
    "                              WHERE o.option_name = 'autovacuum_enabled'), true) AS enabled\n"
    "          FROM (SELECT DISTINCT g.job_id, g.relation FROM backfill.range AS g WHERE g.job_id = ANY ($1::bigint[])) AS r\n"
    "          JOIN pg_catalog.pg_class AS c ON c.oid = r.relation) AS d\n"
    " GROUP BY d.job_id\n"
    "UNION ALL\n"
    "SELECT 'path', p.path, p.optional::text\n"
    "  FROM (SELECT pg_catalog.current_setting('data_directory') AS path, false AS optional\n"
    "        UNION ALL\n"
    "        SELECT pg_catalog.current_setting('data_directory') || '/pg_wal', true\n"
    "        UNION ALL\n"
    "        SELECT pg_catalog.pg_tablespace_location(t.oid), false FROM pg_catalog.pg_tablespace AS t) AS p\n"
    " WHERE p.path <> ''";
