#include "base/session_inside.h"
#include "base/clock.h"
#include "mem.h"
#include "base/result.h"
#include "job/retry.h"
#include "schema/sql.h"
#include "text/text.h"
#include "base/words.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define READ_AT_ONCE (128 * 1024) /* then others have their turn */

static void on_socket(evutil_socket_t socket, short what, void *arg);

void session_clear_results(struct session *s)
{
    for (int i = 0; i < SESSION_MAX_QUERIES; i++) {
        PQclear(s->results[i]);
        s->results[i] = NULL;
    }
}

/* ---- libpq's calls that read, so much at a time
 * -------------------------------------------------------------------------------------------------------------- */

static void begin_reading(struct session *s)
{
    s->budget.at_once = READ_AT_ONCE;
    receive_limit(&s->budget);
}

bool session_consume_input(struct session *s)
{
    begin_reading(s);
    int ok = PQconsumeInput(s->conn);
    receive_limit(NULL);
    return ok;
}

/* It reads when it can't write. */
static int flush(struct session *s)
{
    begin_reading(s);
    int left = PQflush(s->conn);
    receive_limit(NULL);
    return left;
}

PostgresPollingStatusType session_poll_connection(struct session *s)
{
    begin_reading(s);
    PostgresPollingStatusType status = PQconnectPoll(s->conn);
    receive_limit(NULL);
    return status;
}

static void finish_connection(struct session *s)
{
    begin_reading(s);
    PQfinish(s->conn);
    receive_limit(NULL);
    s->conn = NULL;
}

/* What was read and is held no more: that many bytes count as not read. */
void session_give_back(struct session *s, size_t bytes)
{
    s->budget.left = s->budget.left + bytes < s->max_answer ? s->budget.left + bytes : s->max_answer;
}

/* ---- The socket
 * -------------------------------------------------------------------------------------------------------------- */

/* Waits for the socket, which may be another one than before. While it connects, libpq may have closed the last one and been given
 * its number again: of that one epoll knows nothing. */
void session_wait_for(struct session *s, short what)
{
    if (s->state != STATE_CONNECTING && s->socket_event && s->socket == PQsocket(s->conn) && s->waits_for == what)
        return;
    if (s->socket_event)
        event_free(s->socket_event);
    s->socket = PQsocket(s->conn);
    s->waits_for = what;
    s->socket_event = must(event_new(s->base, s->socket, what | EV_PERSIST, on_socket, s));
    event_add(s->socket_event, NULL);
}

void session_disconnect(struct session *s)
{
    if (s->socket_event)
        event_free(s->socket_event);
    s->socket_event = NULL;
    event_del(s->deadline);
    finish_connection(s);
    s->state = STATE_CLOSED;
}

void session_report_lost(struct session *s, enum session_event_kind kind, const char *message)
{
    char sqlstate[6];
    _cleanup_free_ char *text = words_tidy(message);

    if (s->opening != OPENING_DONE)
        kind = SESSION_CONNECT_FAILED;
    words_sqlstate(text, sqlstate);
    session_disconnect(s);
    session_clear_results(s);
    struct session_event e = {.kind = kind, .lost = true, .sqlstate = sqlstate, .message = text};
    s->handler(s, &e, s->arg);
}

/* More than may came as an answer, and there may be more to come: nothing but to close the connection is left. */
void session_report_too_large(struct session *s, enum session_event_kind kind)
{
    char message[128];

    snprintf(message, sizeof(message), "the server's answer to one statement, or the message of its error, is larger than %zu kB", s->max_answer / 1024);
    session_disconnect(s);
    session_clear_results(s);
    struct session_event e = {.kind = s->opening == OPENING_DONE ? kind : SESSION_CONNECT_FAILED,
        .lost = true,
        .sqlstate = SQLSTATE_TOO_LARGE,
        .message = message,
        .hint = "The session was closed. What a function, a trigger or a type's cast says or returns must be shorter."};
    s->handler(s, &e, s->arg);
}

bool session_is_error(const PGresult *result)
{
    return PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK;
}

static void report_results(struct session *s)
{
    int at = -1;
    struct session_event e = {.kind = SESSION_RESULT, .results = s->results, .elapsed_us = s->elapsed_us};
    PGresult *mine[SESSION_MAX_QUERIES];
    _cleanup_free_ char *message = NULL, *hint = NULL, *detail = NULL;

    event_del(s->deadline);
    s->state = STATE_IDLE;
    s->doubted = s->doubted && !s->sends_kept;
    for (int i = 0; i < s->n_sent && at < 0; i++)
        if (session_is_error(s->results[i]))
            at = i;
    if (at >= 0) {
        s->doubted = true;
        const PGresult *failed = s->results[at];
        e.kind = SESSION_ERROR;
        e.sqlstate = PQresultErrorField(failed, PG_DIAG_SQLSTATE);
        e.message = message = text_line(PQresultErrorField(failed, PG_DIAG_MESSAGE_PRIMARY), TEXT_MESSAGE);
        e.hint = hint = text_line(PQresultErrorField(failed, PG_DIAG_MESSAGE_HINT), TEXT_MESSAGE);
        e.detail = detail = text_line(PQresultErrorField(failed, PG_DIAG_MESSAGE_DETAIL), TEXT_MESSAGE);
        e.raised_by = PQresultErrorField(failed, PG_DIAG_SOURCE_FUNCTION);
        e.context = PQresultErrorField(failed, PG_DIAG_CONTEXT);
        e.of_job = same_string(PQresultErrorField(failed, PG_DIAG_SCHEMA_NAME), "backfill") && same_string(PQresultErrorField(failed, PG_DIAG_TABLE_NAME), "job");
        e.in_text = PQresultErrorField(failed, PG_DIAG_STATEMENT_POSITION) || PQresultErrorField(failed, PG_DIAG_INTERNAL_POSITION);
        if (!e.sqlstate)
            e.sqlstate = SQLSTATE_LOST;
        if (!e.message)
            e.message = message = words_tidy(PQresultErrorMessage(failed));
        if (strcmp(e.sqlstate, SQLSTATE_UNPROVEN) == 0)
            e.key = PQresultErrorField(failed, PG_DIAG_MESSAGE_DETAIL);
    }
    /* The handler may close the session or send again, so the results are no longer the session's. */
    memcpy(mine, s->results, sizeof(mine));
    memset(s->results, 0, sizeof(s->results));
    e.results = mine;
    s->handler(s, &e, s->arg);
    for (int i = 0; i < SESSION_MAX_QUERIES; i++)
        PQclear(mine[i]);
}

void session_keep(struct session *s, const char *sql)
{
    int at = 0;

    while (s->kept[at].sql)
        at++;
    assert(at < SESSION_MAX_KEPT);
    s->kept[at].sql = sql;
}

void session_limit(struct session *s, size_t max_answer)
{
    s->max_answer = s->budget.left = max_answer;
}

static bool send_query(struct session *s, int i, const struct session_query *q)
{
    char name[48];
    int at = 0;

    s->preparing[i] = NULL;
    while (at < SESSION_MAX_KEPT && s->kept[at].sql != q->sql)
        at++;
    s->sends_kept = s->sends_kept || at < SESSION_MAX_KEPT;
    if (at == SESSION_MAX_KEPT || s->doubted)
        return PQsendQueryParams(s->conn, q->sql, q->n_params, NULL, q->params, NULL, NULL, 0);
    snprintf(name, sizeof(name), SESSION_KEPT "%d %016" PRIx64, at, s->serial);
    if (!s->kept[at].prepared) {
        s->preparing[i] = &s->kept[at];
        if (!PQsendPrepare(s->conn, name, q->sql, q->n_params, NULL))
            return false;
    }
    return PQsendQueryPrepared(s->conn, name, q->n_params, q->params, NULL, NULL, 0);
}

/* Takes what has arrived; true when the answers to all statements are there. */
static bool take_results(struct session *s)
{
    while (s->n_done < s->n_sent && !PQisBusy(s->conn) && PQstatus(s->conn) == CONNECTION_OK) {
        PGresult *result = PQgetResult(s->conn);
        if (!result) /* the end of one statement's results */
            continue;
        if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) { /* it is committed */
            s->elapsed_us[s->n_done++] = now_us() - s->sent_us;
            PQclear(result);
            continue;
        }
        if (s->preparing[s->n_done] && !session_is_error(result)) {
            s->preparing[s->n_done]->prepared = true;
            s->preparing[s->n_done] = NULL;
            PQclear(result);
        } else if (s->results[s->n_done] && session_is_error(s->results[s->n_done]))
            PQclear(result); /* passed over, because of that error */
        else {
            PQclear(s->results[s->n_done]); /* a commit may fail after the statement's own result */
            s->results[s->n_done] = result;
        }
    }
    return s->n_done == s->n_sent;
}

static void take_notifications(struct session *s)
{
    PGnotify *notify;
    while ((notify = PQnotifies(s->conn))) {
        int pid = notify->be_pid;
        session_give_back(s, strlen(notify->relname) + strlen(notify->extra) + 11); /* two ends, a type, a length, a pid */
        PQfreemem(notify);
        if (s->notify_handler)
            s->notify_handler(s, pid, s->arg);
    }
}

static void on_socket(evutil_socket_t socket, short what, void *arg)
{
    struct session *s = arg;
    (void)socket;

    if (s->state == STATE_CONNECTING || s->state == STATE_TRIAL) {
        opening_on_socket(s);
        return;
    }
    if (what & EV_READ && !session_consume_input(s)) {
        session_report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn));
        return;
    }
    if (s->state == STATE_BUSY) {
        int left = flush(s);
        if (left < 0) {
            session_report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn));
            return;
        }
        session_wait_for(s, left ? EV_READ | EV_WRITE : EV_READ);
        if (take_results(s)) {
            take_notifications(s);
            if (PQstatus(s->conn) == CONNECTION_BAD)
                session_report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn));
            else if (s->opening != OPENING_DONE)
                opening_on_results(s);
            else
                report_results(s);
            return;
        }
        if (s->budget.left == 0) {
            session_report_too_large(s, SESSION_ERROR);
            return;
        }
    } else
        PQisBusy(
            s->conn); /* has libpq parse what came unasked: notifications, or that the server goes away */
    take_notifications(s);
    if (PQstatus(s->conn) == CONNECTION_BAD)
        session_report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn));
}

static void on_deadline(evutil_socket_t socket, short what, void *arg)
{
    struct session *s = arg;
    (void)socket;
    (void)what;

    if (s->state == STATE_CONNECTING || s->state == STATE_TRIAL)
        opening_on_deadline(s);
    else if (s->state == STATE_BUSY) {
        if (PQstatus(s->conn) == CONNECTION_BAD)
            session_report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn)); /* it broke while sending */
        else {
            session_cancel_aside(s); /* else it would work on, for nobody */
            session_report_lost(s, SESSION_TIMED_OUT, "the server did not answer in time");
        }
    }
}

/* A number that nobody can guess. */
static uint64_t new_serial(void)
{
    uint64_t serial;
    if (getrandom(&serial, sizeof(serial), GRND_NONBLOCK) != (ssize_t)sizeof(serial))
        serial = now_us() * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)getpid();
    return serial;
}

const char *number_text(char buffer[24], int64_t n)
{
    snprintf(buffer, 24, "%" PRId64, n);
    return buffer;
}

struct session *session_open(struct event_base *base, const struct place *place, const char *user, const char *application_name,
    const char *settings, uint32_t timeout_ms, session_handler *handler, void *arg)
{
    struct session *s = must(calloc(1, sizeof(*s)));

    s->base = base;
    s->conninfo = copy_string(place->conninfo);
    s->hosts = copy_string(place->at.hosts);
    s->hostaddrs = copy_string(place->at.hostaddrs);
    s->ports = copy_string(place->at.ports);
    s->wanted_server = copy_string(place->server);
    s->user = copy_string(user);
    s->application_name = copy_string(application_name);
    s->settings = settings;
    s->timeout_ms = timeout_ms;
    s->handler = handler;
    s->arg = arg;
    s->socket = -1;
    s->serial = new_serial();
    session_limit(s, SESSION_MAX_ANSWER);
    s->deadline = must(event_new(base, -1, 0, on_deadline, s));
    opening_begin(s);
    return s;
}

void session_send(struct session *s, const struct session_query *queries, int n_queries, uint32_t timeout_ms)
{
    assert(s->state == STATE_IDLE && n_queries >= 1 && n_queries <= SESSION_MAX_QUERIES);
    bool sent = true;

    s->state = STATE_BUSY;
    s->n_sent = n_queries;
    s->n_done = 0;
    s->sends_kept = false;
    s->sent_us = now_us();
    s->budget.left = s->max_answer;
    for (int i = 0; i < n_queries && sent; i++)
        sent = send_query(s, i, &queries[i]) && PQpipelineSync(s->conn);
    int left = sent ? flush(s) : -1;

    struct timeval deadline = us_to_timeval((uint64_t)timeout_ms * 1000);
    event_add(s->deadline, &deadline);
    if (left < 0)
        event_active(s->deadline, EV_TIMEOUT, 1); /* reported from the loop, not from here */
    else
        session_wait_for(s, left ? EV_READ | EV_WRITE : EV_READ);
}

void session_on_notify(struct session *s, session_notify_handler *handler)
{
    s->notify_handler = handler;
}

bool session_is_idle(const struct session *s)
{
    return s->state == STATE_IDLE && s->opening == OPENING_DONE;
}

struct hosts session_reached(const struct session *session)
{
    return session->conn ? hosts_reached(session->conn) : (struct hosts){0};
}

const char *session_server(const struct session *session)
{
    return session->server;
}

bool session_is_elsewhere(const struct session *session, const struct place *place)
{
    return session->server && place->server && strcmp(session->server, place->server) != 0;
}

bool session_is_local(const struct session *session)
{
    const char *host = session->conn ? PQhost(session->conn) : NULL;
    return host && (*host == '/' || *host == '@');
}

int session_pid(const struct session *s)
{
    return s->conn ? s->pid : 0;
}

void session_cancel_aside(const struct session *s)
{
    PGcancel *cancel = s->conn ? PQgetCancel(s->conn) : NULL;
    char error[256];

    if (cancel && fork() == 0) { /* main() ignores SIGCHLD, so that the child is reaped by the kernel */
        alarm(10);
        close_range(3, ~0U, 0); /* those who are connected to this process see it go when it does */
        PQcancel(cancel, error, sizeof(error));
        _exit(0);
    }
    PQfreeCancel(cancel);
}

struct session *session_close(struct session *s)
{
    if (!s)
        return NULL;
    if (s->state != STATE_CLOSED)
        session_disconnect(s);
    session_clear_results(s);
    event_free(s->deadline);
    free(s->conninfo);
    free(s->server);
    free(s->wanted_server);
    free(s->user);
    free(s->application_name);
    free(s->hosts);
    free(s->hostaddrs);
    free(s->ports);
    free(s->tried);
    free(s);
    return NULL;
}

/* ---- For what has no event loop ---- */

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

struct wait {
    struct event_base *base;
    PGconn *conn;
    char **problem, **hint;
};

static void on_waited(struct session *s, const struct session_event *e, void *arg)
{
    struct wait *w = arg;

    if (e->kind == SESSION_CONNECTED && PQexitPipelineMode(s->conn) && PQsetnonblocking(s->conn, 0) == 0) {
        w->conn = s->conn;
        PQsetNoticeReceiver(w->conn, ignore_notice, NULL);
        PQsetErrorVerbosity(w->conn, PQERRORS_DEFAULT);
        event_free(s->socket_event);
        s->socket_event = NULL;
        s->conn = NULL;
        s->state = STATE_CLOSED;
    } else {
        *w->problem = copy_string(e->message ? e->message : "the connection can't be used");
        *w->hint = copy_string(e->hint);
    }
    event_base_loopbreak(w->base);
}

PGconn *session_connect(const char *conninfo, const char *user, const char *application_name, const char *settings,
    uint32_t timeout_ms, char **ret_problem, char **ret_hint)
{
    struct wait w = {.base = must(event_base_new()), .problem = ret_problem, .hint = ret_hint};

    *ret_problem = *ret_hint = NULL;
    struct session *s = session_open(w.base, &(struct place){.conninfo = conninfo}, user, application_name, settings, timeout_ms, on_waited, &w);
    event_base_dispatch(w.base);
    session_close(s);
    event_base_free(w.base);
    return w.conn;
}
