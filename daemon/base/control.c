#include "base/control.h"
#include "base/clock.h"
#include "mem.h"
#include "base/result.h"
#include "job/debt.h"
#include "job/retry.h"
#include "schema/schema.h"
#include "schema/sql.h"

#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000
#define IMPATIENCE_S       1ULL  /* so long may one statement keep a daemon that stops */
#define ANSWER_TIMEOUT_MS  15000 /* above the session's statement_timeout of 10 s */
#define RETRY_BASE_US      100000
#define RETRY_CAP_US       500000 /* a server that was promoted is found soon */
#define MAX_ANSWER         (10 * 1024 * 1024) /* the statements of some thousand partitions; they are held twice for a moment */
#define OLDEST_SERVER      150000 /* security_invoker views, regexp_instr */

enum control_state {
    CONTROL_WAITING,
    CONTROL_CONNECTING,
    CONTROL_HELLO,
    CONTROL_SCHEMA,
    CONTROL_INSTALLED,
    CONTROL_LISTEN,
    CONTROL_READY,
};

struct control {
    enum control_state state;
    struct event_base *base;
    struct place place;
    const struct control_handlers *handlers;
    void *arg;
    struct session *session;
    struct event *retry;
    struct backoff backoff;
    struct request_list requests; /* the first is under way when the session is busy */
    struct request_list later;    /* of who has had the session for long; in the order in which they came */
    struct debts debts;
    struct event *due, *impatience;
    uint64_t sent_us; /* when the first was */
    bool hurries;     /* nobody waits any more: the daemon stops */
    char *pid, *start, *old_pid, *old_start;
};

static void on_session(struct session *session, const struct session_event *e, void *arg);
static void on_impatience(evutil_socket_t socket, short what, void *arg);
static void on_notify(struct session *session, int from_pid, void *arg);

static void connect_now(struct control *c)
{
    c->session = session_close(c->session);
    c->state = CONTROL_CONNECTING;
    c->session =
        session_open(c->base, &c->place, NULL, "backfilld control", SETTINGS_CONTROL, CONNECT_TIMEOUT_MS, on_session, c);
    session_on_notify(c->session, on_notify);
    session_limit(c->session, MAX_ANSWER);
}

static void on_retry(evutil_socket_t socket, short what, void *arg)
{
    (void)socket;
    (void)what;
    connect_now(arg);
}

/* Any of conninfo's hosts will do again. */
static void leave_place(struct control *c)
{
    hosts_done(&c->place.at);
    replace_string(&c->place.server, NULL);
}

/* Closes, and tries again later; the caller says why. */
static void wait_and_connect(struct control *c)
{
    struct timeval wait = us_to_timeval(backoff_next(&c->backoff));

    leave_place(c);
    c->session = session_close(c->session);
    c->state = CONTROL_WAITING;
    event_add(c->retry, &wait);
}

static void unusable(struct control *c, const char *message, const char *hint)
{
    _cleanup_free_ char *text = copy_string(message), *advice = copy_string(hint);
    wait_and_connect(c);
    c->handlers->unusable(c->arg, text, advice);
}

/* ---- Who has had the session for long, while others waited, goes behind them: job/debt.h. */

/* When a request may be sent; 0: now. */
static uint64_t due_us(struct control *c, const struct request *request)
{
    return request->payer && !c->hurries ? debts_until(&c->debts, request->payer, now_us()) : 0;
}

static bool others_wait(const struct control *c, const struct request *first)
{
    const struct request *request;

    TAILQ_FOREACH(request, &c->requests, entry)
        if (request->payer && !same_string(request->payer, first->payer))
            return true;
    return false;
}

static void note_debt(struct control *c)
{
    struct request *first = TAILQ_FIRST(&c->requests);

    if (first->payer && others_wait(c, first))
        debts_note(&c->debts, first->payer, now_us() - c->sent_us, now_us());
}

static void wait_until_due(struct control *c)
{
    uint64_t next_us = 0, now = now_us();
    struct request *request;

    TAILQ_FOREACH(request, &c->later, entry)
        if (next_us == 0 || due_us(c, request) < next_us)
            next_us = due_us(c, request);
    struct timeval wait = us_to_timeval(next_us > now ? next_us - now : 0);
    event_add(c->due, &wait);
}

static void send_next(struct control *c)
{
    struct request *first;

    if (c->state != CONTROL_READY || !session_is_idle(c->session))
        return;
    while ((first = TAILQ_FIRST(&c->requests)) && due_us(c, first) > 0) {
        TAILQ_REMOVE(&c->requests, first, entry);
        TAILQ_INSERT_TAIL(&c->later, first, entry);
        wait_until_due(c);
    }
    if (first) {
        c->sent_us = now_us();
        session_send(c->session, &first->query, 1, ANSWER_TIMEOUT_MS);
    }
}

static void on_due(evutil_socket_t socket, short what, void *arg)
{
    struct control *c = arg;
    struct request *request, *after;
    (void)socket;
    (void)what;

    for (request = TAILQ_FIRST(&c->later); request; request = after) {
        after = TAILQ_NEXT(request, entry);
        if (due_us(c, request) == 0) {
            TAILQ_REMOVE(&c->later, request, entry);
            TAILQ_INSERT_TAIL(&c->requests, request, entry);
        }
    }
    if (!TAILQ_EMPTY(&c->later))
        wait_until_due(c);
    send_next(c);
}

static void ask(struct control *c, enum control_state state, const char *sql)
{
    c->state = state;
    session_send(c->session, &(struct session_query){.sql = sql}, 1, ANSWER_TIMEOUT_MS);
}

static void on_hello(struct control *c, const PGresult *hello)
{
    free(c->pid);
    free(c->start);
    c->pid = copy_string(result_text(hello, 0, "pid"));
    c->start = copy_string(result_text(hello, 0, "start"));
    if (result_number(hello, 0, "server_version") < OLDEST_SERVER)
        unusable(c, "the server is older than PostgreSQL 15", "Upgrade it; backfilld works from 15 on.");
    else
        ask(c, CONTROL_SCHEMA, SQL_SCHEMA);
}

static void on_schema(struct control *c, const PGresult *schema)
{
    const char *problem = result_text(schema, 0, "problem");

    if (problem)
        unusable(c, problem, result_text(schema, 0, "hint"));
    else if (!result_is_true(schema, 0, "is_there"))
        unusable(c, "the control schema is not installed", "Run backfilld --install with the same options.");
    else
        ask(c, CONTROL_INSTALLED, SQL_INSTALLED);
}

static void on_installed(struct control *c, const PGresult *installed)
{
    int version = (int)result_number(installed, 0, "version");

    if (version > schema_version)
        unusable(c, "the control schema is newer than this program", "Run the backfilld that installed it.");
    else if (version < schema_version || !same_string(result_text(installed, 0, "checksum"), schema_checksum))
        unusable(
            c, "the control schema is another version's", "Run backfilld --install with the same options.");
    else
        ask(c, CONTROL_LISTEN, SQL_LISTEN);
}

/* Jobs are held by the last session that was ready, not by one that was lost on the way there. */
static void remember_session(struct control *c)
{
    free(c->old_pid);
    free(c->old_start);
    c->old_pid = copy_string(c->pid);
    c->old_start = copy_string(c->start);
}

static void on_answer(struct control *c, const struct session_event *e)
{
    note_debt(c);
    request_answered(&c->requests, TAILQ_FIRST(&c->requests), e);
    send_next(c);
}

/* Sent again it would be as large again: it is whoever asked who is told, and only the others wait for the next session. */
static void on_too_large(struct control *c, const struct session_event *e)
{
    struct request *request = TAILQ_FIRST(&c->requests);
    struct session_event error = *e;

    error.lost = false;
    wait_and_connect(c);
    c->handlers->lost(c->arg, e->message);
    request_answered(&c->requests, request, &error);
}

static void on_session(struct session *session, const struct session_event *e, void *arg)
{
    struct control *c = arg;
    (void)session;

    if (c->state == CONTROL_READY && e->lost && strcmp(e->sqlstate, SQLSTATE_TOO_LARGE) == 0) {
        on_too_large(c, e);
        return;
    }
    if (e->kind == SESSION_CONNECT_FAILED && e->hint) {
        unusable(c, e->message, e->hint);
        return;
    }
    if (e->lost || e->kind == SESSION_TIMED_OUT || e->kind == SESSION_CONNECT_FAILED) {
        _cleanup_free_ char *message = copy_string(e->message);
        wait_and_connect(c);
        c->handlers->lost(c->arg, message);
        return;
    }
    if (e->kind == SESSION_ERROR && c->state != CONTROL_READY) {
        unusable(c, e->message, "The daemon's role must own the schema: --check says what is missing.");
        return;
    }
    switch (c->state) {
    case CONTROL_CONNECTING: ask(c, CONTROL_HELLO, SQL_HELLO); break;
    case CONTROL_HELLO: on_hello(c, e->results[0]); break;
    case CONTROL_SCHEMA: on_schema(c, e->results[0]); break;
    case CONTROL_INSTALLED: on_installed(c, e->results[0]); break;
    case CONTROL_LISTEN:
        c->state = CONTROL_READY;
        c->place.at = session_reached(c->session);
        replace_string(&c->place.server, session_server(c->session));
        backoff_reset(&c->backoff);
        c->handlers->ready(c->arg);
        remember_session(c);
        send_next(c);
        break;
    case CONTROL_READY: on_answer(c, e); break;
    case CONTROL_WAITING: break;
    }
}

static void on_notify(struct session *session, int from_pid, void *arg)
{
    struct control *c = arg;
    if (from_pid != session_pid(session))
        c->handlers->notified(c->arg);
}

struct control *control_open(
    struct event_base *base, const char *conninfo, const struct control_handlers *handlers, void *arg)
{
    struct control *c = must(calloc(1, sizeof(*c)));

    c->base = base;
    c->place.conninfo = conninfo;
    c->handlers = handlers;
    c->arg = arg;
    TAILQ_INIT(&c->requests);
    TAILQ_INIT(&c->later);
    c->retry = must(event_new(base, -1, 0, on_retry, c));
    c->due = must(event_new(base, -1, 0, on_due, c));
    c->impatience = must(event_new(base, -1, 0, on_impatience, c));
    backoff_init(&c->backoff, RETRY_BASE_US, RETRY_CAP_US, now_us() ^ (uint64_t)getpid());
    connect_now(c);
    return c;
}

void control_ask(struct control *c, const struct session_query *query, control_answer *answer, void *arg, const char *payer)
{
    struct request *request = request_new(query, answer, arg, payer);

    TAILQ_INSERT_TAIL(&c->requests, request, entry);
    send_next(c);
}

void control_ask_first(
    struct control *c, const struct session_query *query, control_answer *answer, void *arg)
{
    struct request *request = request_new(query, answer, arg, NULL);
    struct request *first = TAILQ_FIRST(&c->requests);

    if (first && c->state == CONTROL_READY && !session_is_idle(c->session))
        TAILQ_INSERT_AFTER(&c->requests, first, request, entry); /* behind the one that is under way */
    else
        TAILQ_INSERT_HEAD(&c->requests, request, entry);
    send_next(c);
}

void control_forget(struct control *c, const void *arg)
{
    request_forget(&c->requests, arg);
    request_forget(&c->later, arg);
}

void control_hurry(struct control *c)
{
    c->hurries = true;
    on_due(-1, 0, c);
    event_add(c->impatience, &(struct timeval){.tv_sec = IMPATIENCE_S});
}

/* Who stops waits for no long question: it is sent again, or not any more. */
static void on_impatience(evutil_socket_t socket, short what, void *arg)
{
    struct control *c = arg;

    (void)socket;
    (void)what;
    if (c->state == CONTROL_READY && !session_is_idle(c->session) && now_us() - c->sent_us >= IMPATIENCE_S * 1000000)
        session_cancel_aside(c->session);
    event_add(c->impatience, &(struct timeval){.tv_sec = IMPATIENCE_S});
}

const struct place *control_place(const struct control *c)
{
    return &c->place;
}

bool control_is_ready(const struct control *c)
{
    return c->state == CONTROL_READY;
}

const char *control_start(const struct control *c)
{
    return c->start;
}

const char *control_old_pid(const struct control *c)
{
    return c->old_pid;
}

const char *control_old_start(const struct control *c)
{
    return c->old_start;
}

struct control *control_close(struct control *c)
{
    if (!c)
        return NULL;
    request_clear(&c->requests);
    request_clear(&c->later);
    debts_done(&c->debts);
    leave_place(c);
    session_close(c->session);
    event_free(c->retry);
    event_free(c->due);
    event_free(c->impatience);
    free(c->pid);
    free(c->start);
    free(c->old_pid);
    free(c->old_start);
    free(c);
    return NULL;
}
