#include "service/install.h"
#include "mem.h"
#include "base/result.h"
#include "schema/schema.h"
#include "base/session.h"
#include "schema/sql.h"
#include "text/text.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static PGconn *finish(PGconn *conn)
{
    PQfinish(conn);
    return NULL;
}

#define CONNECT_TIMEOUT_MS 10000
#define TRIES 10 /* jobs that run lock the schema's tables in another order, and one of two must give way */
#define LOCK_TRIES    4      /* for somebody who has backfill.job in use; of 2 s each (SETTINGS_INSTALL) */
#define LOCK_PAUSE_US 500000 /* between them: who has queued behind has its turn */

struct attempt {
    PGconn *conn;
    const char *database;
    bool last, first_lock, last_lock;
    bool gave_way; /* the server has chosen this session to end a deadlock, or another --install was first: it is worth another try */
    bool locked;   /* and so it is when a lock wasn't to be had */
};

static bool sqlstate_is_any(const PGresult *result, const char *a, const char *b, const char *c, const char *d)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return state && (strcmp(state, a) == 0 || strcmp(state, b) == 0 || strcmp(state, c) == 0 || strcmp(state, d) == 0);
}

/* It gets no lock. Not only the name is told, but what to do: who would know that a console has forgotten a COMMIT? */
static void say_locked(struct attempt *a)
{
    PQclear(PQexec(a->conn, "ROLLBACK"));
    PGresult *result = PQexec(a->conn, SQL_SCHEMA_HOLDERS);
    bool known = PQntuples(result) == 1;
    _cleanup_free_ char *who = text_line(known ? result_text(result, 0, "who") : NULL, TEXT_MESSAGE);

    fprintf(stderr, "backfilld: %s: the control schema is in use%s%s\nHINT: Wait until that ends, or end it (SELECT pg_terminate_backend(pid); where it is a job's session, "
                    "SELECT backfill.pause(name)), then run --install again.\n",
        a->database, who ? ": " : ", and by whom isn't known", who ? who : "");
    PQclear(result);
}

/* It tries again, for some ten seconds in all: whom it waits for, is told at once. */
static void say_waiting(struct attempt *a)
{
    PQclear(PQexec(a->conn, "ROLLBACK"));
    PGresult *result = PQexec(a->conn, SQL_SCHEMA_HOLDERS);
    _cleanup_free_ char *who = text_line(PQntuples(result) == 1 ? result_text(result, 0, "who") : NULL, TEXT_MESSAGE);

    if (who)
        fprintf(stderr, "backfilld: %s: waits, and tries again: the control schema is in use: %s\n", a->database, who);
    PQclear(result);
}

/* What others have made of the schema's functions and types keeps them as they are: the server names neither. */
static bool say_users(struct attempt *a)
{
    PQclear(PQexec(a->conn, "ROLLBACK"));
    PGresult *result = PQexec(a->conn, SQL_SCHEMA_USERS);
    _cleanup_free_ char *users = text_line(PQntuples(result) == 1 ? result_text(result, 0, "users") : NULL, TEXT_MESSAGE);

    if (users)
        fprintf(stderr, "HINT: Nothing has been changed. What others have made of functions and types of the schema keeps it from being made anew: %s. Have that dropped, then run --install again.\n", users);
    PQclear(result);
    return users;
}

/* One or more statements; says what went wrong, and where. */
static bool run(struct attempt *a, const char *what, const char *sql)
{
    PGresult *result = PQexec(a->conn, sql);
    ExecStatusType status = PQresultStatus(result);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;

    if (!ok) {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        a->locked = sqlstate && strcmp(sqlstate, "55P03") == 0;
        a->gave_way = sqlstate && !a->last && (strcmp(sqlstate, "40P01") == 0 || strcmp(sqlstate, "23505") == 0 || strcmp(sqlstate, "42P06") == 0);
        if (a->locked && a->last_lock)
            say_locked(a);
        else if (a->locked && a->first_lock)
            say_waiting(a);
    }
    if (!ok && !a->gave_way && !a->locked) {
        _cleanup_free_ char *hint = text_line(PQresultErrorField(result, PG_DIAG_MESSAGE_HINT), TEXT_MESSAGE);
        const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        _cleanup_free_ char *message = text_line(primary ? primary : PQerrorMessage(a->conn), TEXT_MESSAGE);
        fprintf(stderr, "backfilld: %s: %s: %s\n", a->database, what, message);
        bool said = sqlstate_is_any(result, "42P13", "0A000", "2BP01", "42P16") && say_users(a);
        if (!said && hint)
            fprintf(stderr, "HINT: %s\n", hint);
        else if (!said && primary && strcmp(PQresultErrorField(result, PG_DIAG_SQLSTATE), "42501") == 0)
            fprintf(stderr, "HINT: As a superuser: GRANT CREATE ON DATABASE \"%s\" TO \"%s\";\n", PQdb(a->conn), PQuser(a->conn));
    }
    PQclear(result);
    return ok;
}

/* The version that is there: 0 for none, -1 when it can't be read; and whether it is this program's to the letter. */
static int installed_version(PGconn *conn, const char *database, bool *ret_same)
{
    PGresult *result = PQexec(conn, SQL_SCHEMA);
    bool answered = PQntuples(result) == 1, there = answered && result_is_true(result, 0, "is_there");
    const char *problem = answered ? result_text(result, 0, "problem") : PQerrorMessage(conn);
    int version = problem ? -1 : 0;

    *ret_same = false;
    if (problem)
        fprintf(stderr, "backfilld: %s: %s\nHINT: %s\n", database, problem, answered ? result_text(result, 0, "hint") : "");
    PQclear(result);
    if (problem || !there)
        return version;
    result = PQexec(conn, "SELECT version, checksum FROM backfill.installed");
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 0) {
        fprintf(stderr, "backfilld: %s: backfill.installed is empty: which version of the schema is there, nobody knows; a dump without rows (pg_dump --schema-only) brings it so\n"
            "HINT: Where no job is in it that is needed: DROP SCHEMA backfill CASCADE, then backfilld --install again.\n", database);
        version = -1;
    } else if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        fprintf(stderr, "backfilld: %s: can't read backfill.installed: %s", database, PQerrorMessage(conn));
        version = -1;
    } else {
        version = (int)result_number(result, 0, "version");
        *ret_same = same_string(result_text(result, 0, "checksum"), schema_checksum);
    }
    PQclear(result);
    return version;
}

/* same: what is there was made by these files. Then nothing has another signature, and no function is dropped under the jobs that
 * run it. */
static bool run_files(struct attempt *a, int version, bool same)
{
    char record[256];

    for (int i = 0; i < schema_n_files; i++)
        if ((schema_files[i].version == 0 || schema_files[i].version > version) &&
            !(same && strcmp(schema_files[i].name, "code_0_drop.sql") == 0) &&
            !run(a, schema_files[i].name, schema_files[i].sql))
            return false;
    snprintf(record, sizeof(record),
        "DELETE FROM backfill.installed; INSERT INTO backfill.installed (version, checksum) VALUES (%d, "
        "'%s')",
        schema_version, schema_checksum);
    return run(a, "backfill.installed", record);
}

/* Two installations at once take turns, by a lock that nobody can have for longer than a statement but who may write the schema. And it is the
 * strongest that what follows takes: who got it later, from a weaker one, would meet those who call a function just now in a deadlock. What
 * was read before that may be another's by now. */
static int lock_schema(struct attempt *a, bool *ret_same)
{
    int version = installed_version(a->conn, a->database, ret_same);

    if (version <= 0)
        return version;
    return run(a, "lock", "LOCK TABLE backfill.job IN ACCESS EXCLUSIVE MODE") ? installed_version(a->conn, a->database, ret_same) : -1;
}

static bool install_once(const struct config_database *database, bool last, bool first_lock, bool last_lock, bool *ret_again, bool *ret_locked)
{
    _cleanup_free_ char *problem = NULL, *hint = NULL;
    PGconn *conn = session_connect(
        database->conninfo, NULL, "backfilld --install", SETTINGS_INSTALL, CONNECT_TIMEOUT_MS, &problem, &hint);

    if (!conn) {
        fprintf(stderr, "backfilld: %s: %s\n", database->name, problem);
        if (hint)
            fprintf(stderr, "HINT: %s\n", hint);
        return false;
    }
    struct attempt a = {.conn = conn, .database = database->name, .last = last, .first_lock = first_lock, .last_lock = last_lock};
    bool same = false;
    int version = run(&a, "begin", "BEGIN") ? lock_schema(&a, &same) : -1;
    if (version > schema_version) {
        fprintf(stderr, "backfilld: %s: the schema is version %d, newer than this program's %d\n",
            database->name, version, schema_version);
        version = -1;
    }
    bool ok = version >= 0 && run_files(&a, version, same) && run(&a, "commit", "COMMIT");
    if (ok && version == 0)
        printf("%s: schema backfill installed, version %d\n", database->name, schema_version);
    else if (ok)
        printf("%s: schema backfill is version %d (was %d)\n", database->name, schema_version, version);
    finish(conn);
    *ret_again = a.gave_way;
    *ret_locked = a.locked;
    return ok;
}

static bool install(const struct config_database *database)
{
    bool again = true, locked = false, ok = false;
    for (int i = 1, locks = 1; again; i++) {
        again = locked = false;
        ok = install_once(database, i == TRIES, locks == 1, locks == LOCK_TRIES, &again, &locked);
        if (locked && locks++ < LOCK_TRIES) {
            again = true;
            usleep(LOCK_PAUSE_US);
        }
    }
    return ok;
}

int install_run(const struct config *config)
{
    bool ok = true;
    for (int i = 0; i < config->n_databases; i++)
        ok = install(&config->databases[i]) && ok;
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
