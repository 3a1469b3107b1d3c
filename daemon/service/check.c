#include "service/check.h"
#include "watch/flusher.h"
#include "show/http.h"
#include "mem.h"
#include "base/result.h"
#include "schema/schema.h"
#include "base/session.h"
#include "schema/sql.h"
#include "text/text.h"
#include "base/words.h"
#include "watch/probe.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000

struct check {
    const struct config_database *database;
    const struct config_throttle *throttle;
    const struct config_batch *batch;
    bool ok;
};

/* Names of jobs, tables and roles are anybody's, and this goes to a terminal. */
__attribute__((format(printf, 1, 2))) static void print_line(const char *format, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    _cleanup_free_ char *line = text_line(text, 2 * TEXT_MESSAGE);
    puts(line);
}

static void print_ok(const struct check *c, const char *what, const char *more)
{
    print_line("%-16s %-28s ok%s", c->database->name, what, more);
}

/* One line for each problem, so that scripts can count them: what is wrong, and what to do. */
__attribute__((format(printf, 4, 5))) static void print_problem(
    struct check *c, const char *what, const char *problem, const char *hint, ...)
{
    _cleanup_free_ char *advice = NULL;
    va_list args;

    c->ok = false;
    va_start(args, hint);
    if (vasprintf(&advice, hint, args) < 0)
        abort();
    va_end(args);
    print_line("%-16s %-28s %s. HINT: %s", c->database->name, what, problem, advice);
}

/* ---- Connecting ---- */

/* On failure NULL, *ret_problem says why, and *ret_hint what to do when that is known; the caller frees both. */
static PGconn *connect_as(const struct config_database *database, const char *user, char **ret_problem, char **ret_hint)
{
    PGconn *conn = session_connect(
        database->conninfo, user, "backfilld --check", SETTINGS_CONTROL, CONNECT_TIMEOUT_MS, ret_problem, ret_hint);

    for (size_t n = *ret_problem ? strlen(*ret_problem) : 0; n > 0 && (*ret_problem)[n - 1] == '.'; n--)
        (*ret_problem)[n - 1] = '\0';
    return conn;
}

/* What libpq or the server says, and what to do about it. What has no code is libpq's, in English: this program sets no
 * locale. The last one is for all else. */
static const struct remedy {
    const char *says, *hint;
} remedies[] = {
    {" 3D000: ", "Correct dbname in conninfo, or create the database."},
    {" 28000: ",
        "The role must exist and have LOGIN; and pg_hba.conf must let it in from here, with a map in pg_ident.conf for peer."},
    {" 28P01: ", "Correct its password in the passfile."},
    {" 42501: ", "GRANT CONNECT ON the database to it."},
    {" 53300: ",
        "The server has too many sessions: raise max_connections, or lower workers. Or the database or the role has its CONNECTION LIMIT: raise that."},
    {" 55000: ", "ALTER DATABASE ... ALLOW_CONNECTIONS true, as somebody connected to another database."},
    {"SSL", "sslmode in conninfo, and ssl of the server, must go together."},
    {"channel binding", "channel_binding in conninfo, and what pg_hba.conf asks of it, must go together."},
    {" 42704: ", "Correct options in conninfo."},
    {"definition of service", "Correct service in conninfo, or the service file."},
    {" 57P03: ", "The server starts or stops: try again when it is up."},
    {"no password supplied",
        "Put its password into the passfile, readable for its owner only; or let it in by peer and a map."},
    {"hot standby", "Name the primary in conninfo too: host=one,two."},
    {"session is read-only", "Name the primary in conninfo too: host=one,two."},
    {"could not translate host name", "Correct host in conninfo, or the name service."},
    {"FATAL:  ", "The server is there, and refuses the session: mend what it says."},
    {"", "Start the server, or correct host and port in conninfo."},
};

static const char *remedy_for(const char *problem, const char *hint)
{
    const struct remedy *r = remedies;
    if (hint)
        return hint;
    while (!strstr(problem, r->says))
        r++;
    return r->hint;
}

/* libpq passes over such a file, and says so on stderr only. */
static void check_passfile(struct check *c)
{
    /* Which it is, libpq tells only of a connection: this one goes nowhere. */
    const char *const keywords[] = {"dbname", "host", "port", NULL}, *const values[] = {c->database->conninfo, "/nowhere", "1", NULL};
    PGconn *conn = must(PQconnectStartParams(keywords, values, 1));
    PQconninfoOption *options = PQconninfo(conn);
    struct stat st;

    for (const PQconninfoOption *o = options; o && o->keyword; o++) {
        char problem[300];
        if (strcmp(o->keyword, "passfile") != 0 || !o->val || stat(o->val, &st) < 0)
            continue;
        if (S_ISREG(st.st_mode) && st.st_mode & (S_IRWXG | S_IRWXO)) {
            snprintf(problem, sizeof(problem), "%s is open to others (mode %04o), so libpq passes it over",
                o->val, (unsigned)st.st_mode & 07777);
            print_problem(c, "passfile", problem, "chmod 600 %s", o->val);
        } else if (access(o->val, R_OK) < 0) {
            snprintf(problem, sizeof(problem), "%s: %s", o->val, strerror(errno));
            print_problem(c, "passfile", problem, "It must belong to the user that the daemon runs as.");
        }
    }
    PQconninfoFree(options);
    PQfinish(conn);
}

/* ---- What the daemon's role may ---- */

/* The first value of a query, or NULL. The caller frees. */
static char *ask(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    char *value = copy_string(result_only(result));
    PQclear(result);
    return value;
}

/* The rows of a query; one that fails is a problem, and then there are none. The caller clears them. */
static PGresult *rows(struct check *c, PGconn *conn, const char *what, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        print_problem(c, what, PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : PQerrorMessage(conn), "%s",
            same_string(code, "55P03") ? "This could not be looked at: somebody has a table of schema backfill locked. Try again when that transaction is over."
                                       : "This could not be looked at. Mend what it says, then try again.");
    return result;
}

static void check_role(struct check *c, PGconn *conn, const char *role)
{
    char sql[200];

    snprintf(sql, sizeof(sql), "SELECT pg_catalog.concat(pg_catalog.pg_has_role('%1$s', 'USAGE'), pg_catalog.pg_has_role('%1$s', 'MEMBER'))", role);
    _cleanup_free_ char *held = ask(conn, sql); /* whether it has the rights, and whether it may */
    if (held && strcmp(held, "tt") == 0)
        print_ok(c, role, "");
    else if (held && strcmp(held, "ft") == 0)
        print_problem(c, role, "not inherited", "ALTER ROLE %s INHERIT;", PQuser(conn));
    else
        print_problem(c, role, "missing", "GRANT %s TO %s;", role, PQuser(conn));
}

/* Whoever is to submit jobs needs what --install gave. */
static void check_submitters(struct check *c, PGconn *conn)
{
    PGresult *result = rows(c, conn, "backfill_submitter",
        "SELECT CASE WHEN r.oid IS NULL THEN 'is not there'"
        "            WHEN NOT backfill.may_submit(r.oid) OR NOT pg_catalog.has_any_column_privilege(r.oid, 'backfill.job', 'INSERT')"
        "              THEN 'has lost its rights on schema backfill' END AS problem,"
        "       r.oid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m WHERE m.roleid = r.oid) AS is_empty"
        "  FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = 'backfill_submitter'");
    if (PQntuples(result) == 1 && result_text(result, 0, "problem"))
        print_problem(c, "backfill_submitter", result_text(result, 0, "problem"), "Run backfilld --install with the same options.");
    else if (PQntuples(result) == 1)
        print_ok(c, "backfill_submitter", result_is_true(result, 0, "is_empty") ? ", but nobody may submit jobs yet: GRANT backfill_submitter TO a role" : "");
    PQclear(result);
}

/* Each role that may submit jobs and can log in, and each that has a job here, must be let in. */
static void check_logins(struct check *c, PGconn *conn)
{
    PGresult *roles =
        rows(c, conn, "logins", "SELECT r.rolname AS login FROM pg_catalog.pg_roles AS r WHERE r.rolcanlogin AND NOT r.rolsuper"
                     " AND pg_catalog.pg_has_role(r.oid, 'backfill_submitter', 'MEMBER') UNION"
                     " SELECT coalesce(backfill.role_name(backfill.login_of(j)), j.submitted_by) FROM backfill.job AS j"
                     " WHERE j.state IN ('queued', 'running', 'paused') ORDER BY 1");
    for (int i = 0; i < PQntuples(roles); i++) {
        char what[100];
        _cleanup_free_ char *problem = NULL, *hint = NULL;
        PGconn *other = connect_as(c->database, result_text(roles, i, "login"), &problem, &hint);

        snprintf(what, sizeof(what), "login as %s", result_text(roles, i, "login"));
        if (problem)
            print_problem(c, what, problem, "%s", remedy_for(problem, hint));
        else
            print_ok(c, what, "");
        PQfinish(other);
    }
    PQclear(roles);
}

/* A job that was inserted under another role runs as that role: its submitter must still be let. */
static void check_owners(struct check *c, PGconn *conn)
{
    PGresult *jobs = rows(c, conn, "roles of jobs",
        "SELECT j.name, pg_catalog.quote_ident(s.rolname) AS submitter, pg_catalog.quote_ident(coalesce(o.rolname, j.owner)) AS owner FROM backfill.job AS j"
        "  LEFT JOIN pg_catalog.pg_roles AS s ON s.oid = backfill.login_of(j)"
        "  LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = backfill.role_of(j)"
        " WHERE j.state IN ('queued', 'running', 'paused') AND s.oid IS NOT NULL"
        "   AND pg_catalog.pg_has_role(s.oid, o.oid,"
        "     CASE WHEN pg_catalog.current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END)"
        "   IS NOT TRUE ORDER BY j.id");
    for (int i = 0; i < PQntuples(jobs); i++) {
        char what[100], problem[200];
        const char *submitter = result_text(jobs, i, "submitter"), *owner = result_text(jobs, i, "owner");

        snprintf(what, sizeof(what), "job %s", result_text(jobs, i, "name"));
        snprintf(problem, sizeof(problem), "%s may not SET ROLE %s", submitter, owner);
        print_problem(c, what, problem, "GRANT %s TO %s; or cancel the job.", owner, submitter);
    }
    PQclear(jobs);
}

/* A trigger of keep_in_sync that doesn't do its work lets rows get out of step. */
static void check_triggers(struct check *c, PGconn *conn)
{
    PGresult *jobs = rows(c, conn, "triggers",
        "SELECT j.id, j.name FROM backfill.job AS j"
        " WHERE j.keep_in_sync AND (j.tidy OR backfill.is_left_over(j)) AND j.phase NOT IN ('preflight', 'expand')"
        "   AND backfill.relation_name(j.target) IS NOT NULL AND NOT backfill.is_untidy(j) ORDER BY j.id");
    for (int i = 0; i < PQntuples(jobs); i++) { /* each by itself: one that takes too long hides no other */
        char what[100], sql[300];

        snprintf(what, sizeof(what), "job %s", result_text(jobs, i, "name"));
        snprintf(sql, sizeof(sql),
            "SELECT pg_catalog.format('the trigger of keep_in_sync on %%s %%s', j.target, t.trouble) AS trouble"
            "  FROM backfill.job AS j, LATERAL (SELECT backfill.sync_trouble(j)) AS t(trouble) WHERE j.id = %lld AND t.trouble IS NOT NULL",
            (long long)result_number(jobs, i, "id"));
        PGresult *job = rows(c, conn, what, sql);
        if (PQntuples(job) == 1)
            print_problem(c, what, result_text(job, 0, "trouble"),
                "Put it right, or end it by backfill.finish(name); rows that were written meanwhile may be out of step.");
        PQclear(job);
    }
    PQclear(jobs);

    PGresult *orphans = rows(c, conn, "orphaned triggers",
        "SELECT pg_catalog.format('trigger %I on %s', o.trigger, c.oid::pg_catalog.regclass) AS what, o.commands AS commands"
        "  FROM pg_catalog.pg_class AS c, LATERAL backfill.orphaned_trigger(c.oid) AS o"
        " WHERE c.relkind IN ('r', 'p') AND c.relhastriggers ORDER BY 1");
    for (int i = 0; i < PQntuples(orphans); i++)
        print_problem(c, result_text(orphans, i, "what"), "is of a job that this schema doesn't know",
            "It keeps rows in step, and no job will take it out. When nobody needs that any more: %s", result_text(orphans, i, "commands"));
    PQclear(orphans);
}

/* No fault of the server's: whoever subscribes to all tables has to know. */
static void check_publications(struct check *c, PGconn *conn)
{
    _cleanup_free_ char *words =
        ask(conn, "SELECT ', but ' || pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(t.pubname), ', ')\n"
                  "       || ' publishes schema backfill, too: without it a subscription stops at the first job'\n"
                  "  FROM pg_catalog.pg_publication_tables AS t\n"
                  " WHERE t.schemaname = 'backfill'");
    if (words && *words)
        print_ok(c, "publications", words);
}

/* A batch that waits for a lock gives up before the server looks for a deadlock, which it may end at the application's cost. */
static void check_deadlocks(struct check *c, PGconn *conn)
{
    _cleanup_free_ char *ms = ask(conn, "SELECT p.setting FROM pg_catalog.pg_settings AS p WHERE p.name = 'deadlock_timeout'");
    char problem[200];

    if (!ms || atoi(ms) > c->batch->lock_timeout_ms)
        return;
    snprintf(problem, sizeof(problem), "deadlock_timeout is %s ms, and batch.lock_timeout_ms %d: the server may end the application's transactions for a batch's lock",
        ms, c->batch->lock_timeout_ms);
    print_problem(c, "deadlock_timeout", problem, "Raise deadlock_timeout (1 s by default), or lower batch.lock_timeout_ms.");
}

/* Nor this: the daemon's own sessions and jobs that were inserted under it write all the same. */
static void check_read_only(struct check *c, PGconn *conn)
{
    _cleanup_free_ char *words =
        ask(conn, "SELECT pg_catalog.format(', but default_transaction_read_only is on for %s: jobs that were inserted before wait until it is off',\n"
                  "         coalesce(nullif(pg_catalog.concat_ws(' in ', s.role, s.database), ''), 'the server'))\n"
                  "  FROM (SELECT 'setting' AS source, 'role ' || r.rolname AS role, 'database ' || d.datname AS database\n"
                  "          FROM pg_catalog.pg_db_role_setting AS s\n"
                  "          LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole\n"
                  "          LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase\n"
                  "         WHERE (s.setdatabase = 0 OR d.datname = pg_catalog.current_database())\n"
                  "           AND EXISTS (SELECT FROM pg_catalog.unnest(s.setconfig) AS c\n"
                  "                        WHERE c LIKE 'default_transaction_read_only=%' AND pg_catalog.split_part(c, '=', 2)::boolean)\n"
                  "        UNION ALL\n"
                  "        SELECT 'file', NULL, NULL FROM pg_catalog.pg_settings AS p\n"
                  "         WHERE p.name = 'default_transaction_read_only' AND p.reset_val = 'on') AS s\n"
                  " ORDER BY s.source = 'file' LIMIT 1");
    if (words)
        print_ok(c, "read-only default", words);
}

/* Whether there is a schema that may be read. */
static bool check_schema_owner(struct check *c, PGconn *conn)
{
    PGresult *result = PQexec(conn, SQL_SCHEMA);
    bool answered = PQntuples(result) == 1;
    const char *problem = answered ? result_text(result, 0, "problem") : PQerrorMessage(conn);
    bool ok = false;

    if (problem)
        print_problem(c, "schema", problem, "%s", answered ? result_text(result, 0, "hint") : "");
    else if (!result_is_true(result, 0, "is_there"))
        print_problem(c, "schema", "not installed", "Run backfilld --install with the same options.");
    else
        ok = true;
    PQclear(result);
    return ok;
}

static void check_schema(struct check *c, PGconn *conn)
{
    if (!check_schema_owner(c, conn))
        return;
    char mine[80];
    PGresult *installed = PQexec(conn, "SELECT version || ' ' || checksum FROM backfill.installed");
    _cleanup_free_ char *version = copy_string(result_only(installed)), *problem = copy_string(PQresultErrorField(installed, PG_DIAG_MESSAGE_PRIMARY));
    bool unreadable = same_string(PQresultErrorField(installed, PG_DIAG_SQLSTATE), "55P03") || same_string(PQresultErrorField(installed, PG_DIAG_SQLSTATE), "57014");

    PQclear(installed);
    snprintf(mine, sizeof(mine), "%d %s", schema_version, schema_checksum);
    if (unreadable)
        print_problem(c, "schema", problem, "Somebody has backfill.installed locked: SELECT pid FROM pg_locks WHERE relation = 'backfill.installed'::regclass.");
    else if (version && strcmp(version, mine) == 0)
        print_ok(c, "schema", "");
    else if (version && atoi(version) > schema_version)
        print_problem(c, "schema", "newer than this program", "Run the backfilld that installed it.");
    else
        print_problem(c, "schema", "of another version", "Run backfilld --install with the same options.");
    check_publications(c, conn);
    check_read_only(c, conn);
    check_submitters(c, conn);
    check_logins(c, conn);
    check_owners(c, conn);
    check_triggers(c, conn);
}

/* ---- What the daemon's user sees of the server's host ---- */

static void check_path(struct check *c, const char *path, struct flusher *flusher)
{
    char problem[300];
    struct statvfs fs = {0};

    if (c->throttle->limit[SIGNAL_DISK] > 0 && statvfs(path, &fs) < 0) {
        snprintf(problem, sizeof(problem), "%s: %s", path, strerror(errno));
        print_problem(c, "disk", problem,
            "Let the daemon's user search the directories above it (chmod o+x; in the unit ProtectHome=read-only), or"
            " set throttle.max_disk_used = 0.");
        return;
    }
    double used = (double)(fs.f_blocks - fs.f_bfree), share = used > 0 ? used / (used + (double)fs.f_bavail) : 0;
    if (c->throttle->limit[SIGNAL_DISK] > 0 && share > c->throttle->limit[SIGNAL_DISK]) {
        snprintf(problem, sizeof(problem), "%s: %.0f%% of the space is used, limit %.0f%%", path, 100 * share, 100 * c->throttle->limit[SIGNAL_DISK]);
        print_problem(c, "disk", problem, "Make room: jobs wait until then. Or raise throttle.max_disk_used.");
        return;
    }
    const char *unflushed = c->throttle->flush_after_kb > 0 ? flusher_add(flusher, path) : NULL;
    if (unflushed) {
        snprintf(problem, sizeof(problem), "%s can't be written out bit by bit: %s", path, unflushed);
        print_problem(c, "disk", problem,
            "Let the daemon's user read a directory of that file system (chmod o+r), or set throttle.flush_after_kb = 0 and"
            " vm.dirty_background_bytes on this host.");
        return;
    }
    print_ok(c, "disk", "");
}

static void check_disk(struct check *c, PGconn *conn)
{
    const char *host = PQhost(conn);
    bool is_local = host && (*host == '/' || *host == '@'); /* as the monitor */

    if (!is_local || (c->throttle->limit[SIGNAL_DISK] <= 0 && c->throttle->flush_after_kb == 0))
        return;
    struct flusher *flusher = flusher_new();
    PGresult *paths =
        PQexec(conn, "SELECT pg_catalog.current_setting('data_directory') AS path UNION"
                     " SELECT pg_catalog.pg_tablespace_location(t.oid) FROM pg_catalog.pg_tablespace AS t"
                     " WHERE pg_catalog.pg_tablespace_location(t.oid) <> '' ORDER BY 1");
    for (int i = 0; i < PQntuples(paths); i++)
        check_path(c, result_text(paths, i, "path"), flusher);
    flusher_free(flusher);
    PQclear(paths);
}

/* One that fails holds each job, for ever. */
static void check_probes(struct check *c)
{
    _cleanup_free_ char *problem = NULL, *hint = NULL;

    if (c->throttle->n_probes == 0)
        return;
    PGconn *conn = session_connect(c->database->conninfo, NULL, "backfilld --check", SETTINGS_PROBE, CONNECT_TIMEOUT_MS, &problem, &hint);
    for (int i = 0; conn && i < c->throttle->n_probes; i++) {
        const struct config_probe *probe = &c->throttle->probes[i];
        char what[80];
        double value;
        PQclear(PQexec(conn, SQL_PIN_PROBE));
        PGresult *result = PQexec(conn, probe->sql);
        _cleanup_free_ char *said = PQresultStatus(result) == PGRES_TUPLES_OK ? NULL : words_tidy(PQresultErrorMessage(result));
        const char *wrong = said ? said : probe_read(result, &value);

        snprintf(what, sizeof(what), "probe %s", probe->name);
        if (wrong)
            print_problem(c, what, wrong, "Jobs would wait for it. Correct its sql: one number, read within a second by the daemon's role; or take it out of throttle.probes.");
        else
            print_ok(c, what, "");
        PQclear(result);
    }
    PQfinish(conn);
}

static void check_database(struct check *c)
{
    _cleanup_free_ char *problem = NULL, *hint = NULL;
    PGconn *conn = connect_as(c->database, NULL, &problem, &hint);

    check_passfile(c);
    if (problem)
        print_problem(c, "connection", problem, "%s", remedy_for(problem, hint));
    else if (PQserverVersion(conn) < 150000)
        print_problem(c, "connection", "the server is older than PostgreSQL 15", "Upgrade it.");
    else {
        char version[32];
        snprintf(version, sizeof(version), ", PostgreSQL %d", PQserverVersion(conn) / 10000);
        print_ok(c, "connection", version);
        check_role(c, conn, "pg_monitor");
        check_role(c, conn, "pg_signal_backend");
        check_schema(c, conn);
        check_deadlocks(c, conn);
        check_disk(c, conn);
        check_probes(c);
    }
    PQfinish(conn);
}

static bool check_metrics(const struct config_metrics *metrics)
{
    if (metrics->address.length == 0)
        return true;
    _cleanup_free_ char *problem = http_try(&metrics->address);
    bool ours = problem && http_is_backfilld(&metrics->address);
    printf("%-16s %-28s %s\n", "metrics", metrics->listen, ours ? "ok, a backfilld serves them" : problem ? problem : "ok");
    if (problem && !ours)
        printf("%-16s %-28s HINT: %s\n", "", "",
            "See who listens there: ss -ltnpx; of a socket, whether its directory is there, and writable for the daemon's user. Or choose another metrics.listen.");
    return !problem || ours;
}

int check_run(const struct config *config)
{
    bool ok = check_metrics(&config->metrics);
    for (int i = 0; i < config->n_databases; i++) {
        struct check c = {.database = &config->databases[i], .throttle = &config->throttle, .batch = &config->batch, .ok = true};
        check_database(&c);
        ok = ok && c.ok;
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
