#include "check.h"
#include "http.h"
#include "mem.h"
#include "schema.h"

#include <libpq-fe.h>
#include <stdio.h>

#define CONNECT_TIMEOUT_S "10"

struct check {
    const struct config_database *database;
    bool ok;
};

static void print_line(struct check *c, const char *what, const char *verdict, const char *hint)
{
    printf("%-16s %-28s %s\n", c->database->name, what, verdict);
    if (hint) {
        printf("%-16s %-28s HINT: %s\n", "", "", hint);
        c->ok = false;
    }
}

/* libpq's words, on one line. */
static char *one_line(const char *message)
{
    char *text = must(strdup(message));
    for (char *c = text; *c; c++)
        if (*c == '\n')
            *c = c[1] ? ' ' : '\0';
    return text;
}

static PGconn *connect_as(const struct config_database *database, const char *user)
{
    const char *const keywords[] = {
        "connect_timeout", "dbname", "application_name", "target_session_attrs", user ? "user" : NULL, NULL};
    const char *const values[] = {
        CONNECT_TIMEOUT_S, database->conninfo, "backfilld --check", "primary", user, NULL};
    return PQconnectdbParams(keywords, values, 1);
}

/* The first value of a query, or NULL. The caller frees. */
static char *ask(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    char *value =
        PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0 && !PQgetisnull(result, 0, 0)
            ? copy_string(PQgetvalue(result, 0, 0))
            : NULL;
    PQclear(result);
    return value;
}

static void check_right(struct check *c, PGconn *conn, const char *what, const char *sql, const char *hint)
{
    _cleanup_free_ char *value = ask(conn, sql);
    bool held = value && strcmp(value, "t") == 0;
    print_line(c, what, held ? "ok" : "missing", held ? NULL : hint);
}

/* Each role that may submit jobs and can log in must be let in. */
static void check_logins(struct check *c, PGconn *conn)
{
    PGresult *roles =
        PQexec(conn, "SELECT r.rolname FROM pg_catalog.pg_roles AS r WHERE r.rolcanlogin AND NOT r.rolsuper"
                     " AND pg_catalog.pg_has_role(r.oid, 'backfill_submitter', 'MEMBER') ORDER BY 1");
    for (int i = 0; i < PQntuples(roles); i++) {
        char what[100];
        PGconn *other = connect_as(c->database, PQgetvalue(roles, i, 0));
        _cleanup_free_ char *problem = one_line(PQerrorMessage(other));

        snprintf(what, sizeof(what), "login as %s", PQgetvalue(roles, i, 0));
        if (PQstatus(other) == CONNECTION_OK)
            print_line(c, what, "ok", NULL);
        else
            print_line(c, what, problem,
                "Let the daemon log in as that role: pg_hba.conf with a pg_ident map, or a passfile.");
        PQfinish(other);
    }
    PQclear(roles);
}

static void check_schema(struct check *c, PGconn *conn)
{
    char mine[80];
    _cleanup_free_ char *there = ask(conn, "SELECT pg_catalog.to_regclass('backfill.installed')");

    if (!there) {
        print_line(c, "schema", "not installed", "Run backfilld --install with the same options.");
        return;
    }
    _cleanup_free_ char *version = ask(conn, "SELECT version || ' ' || checksum FROM backfill.installed");
    snprintf(mine, sizeof(mine), "%d %s", schema_version, schema_checksum);
    bool same = version && strcmp(version, mine) == 0;
    print_line(c, "schema",
        !version ? "can't be read"
        : same   ? "ok"
                 : "of another version",
        same      ? NULL
        : version ? "Run backfilld --install with the same options."
                  : "The daemon's role must own the schema: run --install as that role.");
    check_right(c, conn, "owner of the schema",
        "SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') FROM pg_catalog.pg_namespace AS n WHERE "
        "n.nspname = 'backfill'",
        "ALTER SCHEMA backfill OWNER TO the daemon's role, and its tables and functions too.");
    check_logins(c, conn);
}

static void check_database(struct check *c)
{
    PGconn *conn = connect_as(c->database, NULL);

    if (PQstatus(conn) != CONNECTION_OK) {
        _cleanup_free_ char *problem = one_line(PQerrorMessage(conn));
        print_line(c, "connection", problem,
            "See conninfo, pg_hba.conf, and that the server runs and is no standby.");
    } else {
        char version[32];
        snprintf(version, sizeof(version), "ok, PostgreSQL %d", PQserverVersion(conn) / 10000);
        print_line(c, "connection", version,
            PQserverVersion(conn) < 150000 ? "It must be PostgreSQL 15 or newer." : NULL);
        check_right(c, conn, "pg_monitor", "SELECT pg_catalog.pg_has_role('pg_monitor', 'USAGE')",
            "GRANT pg_monitor TO the daemon's role.");
        check_right(c, conn, "pg_signal_backend",
            "SELECT pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')",
            "GRANT pg_signal_backend TO the daemon's role.");
        check_schema(c, conn);
    }
    PQfinish(conn);
}

static bool check_metrics(const struct config_metrics *metrics)
{
    _cleanup_free_ char *problem = metrics->address.length > 0 ? http_try(&metrics->address) : NULL;

    if (metrics->address.length == 0)
        return true;
    printf("%-16s %-28s %s\n", "metrics", metrics->listen, problem ? problem : "ok");
    if (problem)
        printf("%-16s %-28s HINT: %s\n", "", "",
            "See who listens there: ss -ltnpx. When it is a backfilld that runs, all is well.");
    return !problem;
}

int check_run(const struct config *config)
{
    bool ok = check_metrics(&config->metrics);
    for (int i = 0; i < config->n_databases; i++) {
        struct check c = {.database = &config->databases[i], .ok = true};
        check_database(&c);
        ok = ok && c.ok;
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
