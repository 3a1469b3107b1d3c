#include "base/clock.h"
#include "base/hosts.h"
#include "mem.h"
#include "base/result.h"
#include "job/retry.h"
#include "base/session_inside.h"
#include "schema/sql.h"
#include "base/words.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define REACH_TIMEOUT_MS 2000 /* for an address to take a connection, where others may follow: two SYNs */
#define ANSWER_TIMEOUT_MS 3000 /* for a host that has taken it, where others are left */
#define TRIAL_TIMEOUT_MS 2000 /* for the server to end an idle session, which it was told to do after a tenth of a second */

/* It connects, but what it gets is no session of ours. */
static void refuse(struct session *s, const char *sqlstate, const char *message, const char *hint)
{
    _cleanup_free_ char *code = copy_string(sqlstate), *text = words_tidy(message), *advice = copy_string(hint);

    session_disconnect(s);
    session_clear_results(s);
    struct session_event e = {
        .kind = SESSION_CONNECT_FAILED, .sqlstate = code, .message = text, .hint = advice};
    s->handler(s, &e, s->arg);
}

/* ---- Hosts
 * ----------------------------------------------------------------------------------------------------
 * libpq goes on to the next address or host where a connection is refused, but neither where nothing answers (connect_timeout is for
 * its blocking calls) nor where a server answers by an error. Both are done here. */

static void set_deadline(struct session *s, uint32_t ms)
{
    struct timeval deadline = us_to_timeval((uint64_t)ms * 1000);
    event_add(s->deadline, &deadline);
}

/* How long the host that libpq has got to is waited for: connect_timeout where that is given, else less where others are left. */
static uint32_t patience_ms(const struct session *s)
{
    _cleanup_free_ char *text = hosts_option(s->conn, "connect_timeout");
    long seconds = text ? strtol(text, NULL, 10) : 0;

    if (seconds > 0 && seconds < 1000)
        return (uint32_t)seconds * 1000;
    if (s->reaching)
        return REACH_TIMEOUT_MS;
    struct hosts left = hosts_left(s->conn);
    bool last = !left.hosts && !left.hostaddrs;
    hosts_done(&left);
    return last || s->timeout_ms < ANSWER_TIMEOUT_MS ? s->timeout_ms : ANSWER_TIMEOUT_MS;
}

static void on_notice(void *arg, const PGresult *result);

void opening_begin(struct session *s)
{
    /* Before dbname: defaults that conninfo may change; behind it: what it may not. A dead network is noticed within 15 s.
     * "primary" tries the hosts of conninfo until one is no standby. */
    const char *keywords[13] = {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "dbname",
        "application_name", "target_session_attrs"};
    const char *values[13] = {"5", "3", "3", "10000", s->conninfo, s->application_name, "primary"};
    const struct {
        const char *keyword, *value;
    } given[] = {{"user", s->user}, {"host", s->hosts}, {"hostaddr", s->hostaddrs}, {"port", s->ports}};
    int n = 7;

    for (int i = 0; i < 4; i++)
        if (given[i].value) {
            keywords[n] = given[i].keyword;
            values[n++] = given[i].value;
        }
    s->state = STATE_CONNECTING;
    s->opening = OPENING_PIN;
    s->budget.left = s->max_answer;
    s->conn = must(PQconnectStartParams(keywords, values, 1));
    PQsetErrorVerbosity(s->conn, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(s->conn, on_notice, s);
    s->reaching = PQstatus(s->conn) == CONNECTION_STARTED;
    set_deadline(s, patience_ms(s));
    if (PQstatus(s->conn) == CONNECTION_BAD || PQsocket(s->conn) < 0)
        event_active(s->deadline, EV_TIMEOUT, 1); /* reported from the loop, not from here */
    else
        session_wait_for(s, EV_WRITE);
}

/* This host is no use; silent: it has not answered in time. True when another is tried. */
static bool try_next_host(struct session *s, bool silent)
{
    _cleanup_free_ char *before = s->tried;
    struct hosts left = hosts_left(s->conn);
    const char *said = PQerrorMessage(s->conn);
    bool more = left.hosts || left.hostaddrs;

    s->tried = NULL;
    if ((silent ? asprintf(&s->tried, "%s%sconnection to server at \"%s\", port %s failed: no answer in time\n", before ? before : "", said,
                      PQhost(s->conn), PQport(s->conn))
                : asprintf(&s->tried, "%s%s", before ? before : "", said)) < 0)
        abort();
    if (more) {
        replace_string(&s->hosts, left.hosts);
        replace_string(&s->hostaddrs, left.hostaddrs);
        replace_string(&s->ports, left.ports);
        session_disconnect(s);
        opening_begin(s);
    }
    hosts_done(&left);
    return more;
}

static void host_failed(struct session *s, bool silent)
{
    if (try_next_host(s, silent))
        return;
    if (s->unanswered)
        words_name_silence(s->tried);
    session_report_lost(s, SESSION_CONNECT_FAILED, s->tried);
}

static void send_own(struct session *s, enum session_opening opening, const struct session_query *query)
{
    s->opening = opening;
    s->state = STATE_IDLE;
    session_send(s, query, 1, s->timeout_ms);
}

static void pin(struct session *s)
{
    char pid[16];

    /* In the same transaction, so that it is the one's that pins: a role's own may be too short for that. */
    PQsendQueryParams(s->conn, "SELECT pg_catalog.set_config('statement_timeout', '0', true)", 0, NULL, NULL, NULL, NULL, 0);
    /* Behind a pooler that was tried any pid will do: it is not known to this end. */
    snprintf(pid, sizeof(pid), "%d", PQbackendPID(s->conn));
    send_own(s, OPENING_PIN, &(struct session_query){SQL_PIN, 2, {s->proven ? NULL : pid, s->settings}});
}

static void go_on_connecting(struct session *s)
{
    PostgresPollingStatusType wants = session_poll_connection(s);

    if (s->budget.left == 0) {
        session_report_too_large(s, SESSION_CONNECT_FAILED);
        return;
    }
    switch (wants) {
    case PGRES_POLLING_READING:
    case PGRES_POLLING_WRITING:
        session_wait_for(s, wants == PGRES_POLLING_READING ? EV_READ : EV_WRITE);
        if (PQstatus(s->conn) == CONNECTION_STARTED) { /* at another address */
            s->reaching = true;
            set_deadline(s, patience_ms(s));
        } else if (s->reaching) {
            s->reaching = false;
            set_deadline(s, patience_ms(s));
        }
        return;
    case PGRES_POLLING_OK: break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE: host_failed(s, false); return;
    }
    if (PQsetnonblocking(s->conn, 1) != 0 || !PQenterPipelineMode(s->conn)) {
        session_report_lost(s, SESSION_CONNECT_FAILED, PQerrorMessage(s->conn));
        return;
    }
    event_del(s->deadline);
    pin(s);
}

/* Nothing has come in time. */
static void stop_connecting(struct session *s)
{
    if (s->reaching && PQstatus(s->conn) == CONNECTION_STARTED) {
        s->unanswered = true; /* libpq sees it refused, and goes on to the next address */
        shutdown(PQsocket(s->conn), SHUT_RDWR);
        go_on_connecting(s);
    } else
        host_failed(s, PQstatus(s->conn) != CONNECTION_BAD);
}

/* ---- Poolers
 * ----------------------------------------------------------------------------------------------------
 * A pid that is not the server's tells of a pooler between. One in session mode is as good as none; in any other mode the server's process
 * is ours for one transaction or statement, and settings, LISTEN, prepared statements would stay with whoever has it next. What tells them apart
 * for sure: the process is told to end when it has been idle for a tenth of a second. If it was ours, so has this connection ended. If
 * not, it ends in the pool: nothing is left there. */

static void try_pooler(struct session *s)
{
    s->state = STATE_TRIAL;
    session_wait_for(s, EV_READ);
    set_deadline(s, TRIAL_TIMEOUT_MS);
}

static void on_trial_ended(struct session *s)
{
    if (!s->ended_idle) {
        session_report_lost(s, SESSION_CONNECT_FAILED, PQerrorMessage(s->conn));
        return;
    }
    s->proven = true;
    session_disconnect(s);
    opening_begin(s);
}

static void refuse_pooler(struct session *s)
{
    refuse(s, SQLSTATE_POOLED, "a pooler is between that gives each transaction another session",
        "Name the server itself in conninfo, or a pool with pool_mode = session.");
}

static bool refuse_elsewhere(struct session *s)
{
    _cleanup_free_ char *message = NULL;

    if (!s->wanted_server || !s->server || strcmp(s->server, s->wanted_server) == 0)
        return false;
    if (asprintf(&message, "%s, port %s, leads to another server than the one at which the daemon's control session is", PQhost(s->conn), PQport(s->conn)) < 0)
        abort();
    refuse(s, SQLSTATE_ELSEWHERE, message, "Does one address lead to several servers that take writes, or was one replaced just now? Only one may take writes.");
    return true;
}

void opening_on_results(struct session *s)
{
    PGresult *result = s->results[0];

    s->results[0] = NULL;
    event_del(s->deadline);
    s->state = STATE_IDLE;
    if (session_is_error(result)) {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE),
                   *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
        if (!hint && sqlstate && (strcmp(sqlstate, "42501") == 0 || strcmp(sqlstate, SQLSTATE_CANCELLED) == 0))
            hint = "A setting of the login's own stands in the way: see what ALTER ROLE ... SET and ALTER DATABASE ... SET have made, and RESET it.";
        refuse(s, sqlstate ? sqlstate : SQLSTATE_LOST, message ? message : PQresultErrorMessage(result), hint);
        PQclear(result);
        return;
    }
    int pid = s->opening == OPENING_PIN ? (int)result_number(result, 0, "pid") : 0;
    if (s->opening == OPENING_PIN)
        replace_string(&s->server, result_text(result, 0, "server"));
    PQclear(result);
    if (s->opening == OPENING_TRIAL) {
        try_pooler(s);
        return;
    }
    s->pid = pid;
    if (s->pid != PQbackendPID(s->conn) && !s->proven) {
        send_own(s, OPENING_TRIAL, &(struct session_query){.sql = SQL_TRIAL});
        return;
    }
    if (refuse_elsewhere(s))
        return;
    s->opening = OPENING_DONE;
    struct session_event e = {.kind = SESSION_CONNECTED};
    s->handler(s, &e, s->arg);
}

/* Nobody wants it, and libpq forgets it at once. But of what comes while nothing is asked it makes a notice, too: of the server's last word. */
static void on_notice(void *arg, const PGresult *result)
{
    struct session *s = arg;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    static const char fields[] = "SVCMDHPpqWstcdnFLR";
    size_t bytes = 6; /* its type, its length, its end */

    for (const char *field = fields; *field; field++) {
        const char *text = PQresultErrorField(result, *field);
        bytes += text ? strlen(text) + 2 : 0;
    }
    if (s->state == STATE_TRIAL && sqlstate && (strcmp(sqlstate, "57P05") == 0 || strcmp(sqlstate, "08P01") == 0))
        s->ended_idle = true;
    session_give_back(s, bytes);
}

void opening_on_socket(struct session *s)
{
    if (s->state == STATE_CONNECTING) {
        go_on_connecting(s);
        return;
    }
    bool ended = !session_consume_input(s);
    PQisBusy(s->conn); /* has libpq parse what came: the server's word comes before the end */
    if (ended || PQstatus(s->conn) == CONNECTION_BAD)
        on_trial_ended(s);
}

void opening_on_deadline(struct session *s)
{
    if (s->state == STATE_CONNECTING)
        stop_connecting(s);
    else
        refuse_pooler(s);
}
