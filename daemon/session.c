#include "session.h"
#include "clock.h"
#include "mem.h"
#include "receive.h"
#include "result.h"
#include "retry.h"
#include "sql.h"
#include "text.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_AT_ONCE (128 * 1024) /* then others have their turn */
#define REACH_TIMEOUT_MS 2000 /* for an address to take a connection, where others may follow: two SYNs */
#define ANSWER_TIMEOUT_MS 3000 /* for a host that has taken it, where others are left */
#define TRIAL_TIMEOUT_MS 2000 /* for the server to end an idle session, which it was told to do after a tenth of a second */

enum session_state {
    STATE_CONNECTING,
    STATE_TRIAL, /* see try_pooler */
    STATE_IDLE,
    STATE_BUSY,
    STATE_CLOSED,
};

/* What the statement under way is for. */
enum session_opening {
    OPENING_PIN,   /* SQL_PIN */
    OPENING_TRIAL, /* SQL_TRIAL */
    OPENING_DONE,  /* the session is open: its owner's */
};

struct session {
    enum session_state state;
    enum session_opening opening;
    char *conninfo, *user, *application_name;
    const char *settings;
    uint32_t timeout_ms;

    char *hosts, *hostaddrs, *ports; /* of conninfo's hosts those that are left to try; NULL: all, or not given */
    char *tried;                     /* what became of those before, in libpq's words; NULL: nothing */
    bool reaching;                   /* an address has been asked, and has not answered yet */
    bool unanswered;                 /* one took no connection in time */
    bool ended_idle;                 /* the server, or a pooler for it, has said so in the trial */
    bool proven;                     /* a pooler is between, and this login has a session there */
    int pid;

    PGconn *conn;
    struct event_base *base;
    struct event *socket_event; /* of the socket as it is now: libpq changes it while it connects */
    struct event *deadline;
    int socket;
    short waits_for;

    int n_sent, n_needed, n_done; /* statements, those that must succeed, those whose commit was answered */
    PGresult *results[SESSION_MAX_QUERIES];
    uint64_t sent_us, elapsed_us[SESSION_MAX_QUERIES];
    struct kept {
        const char *sql;
        bool prepared;
    } kept[SESSION_MAX_KEPT];
    struct kept *preparing[SESSION_MAX_QUERIES]; /* of a statement under way, until it is prepared */
    bool doubted;       /* an error came: what is prepared may be another's by now, who raised it after that. Sent as they are, ours look (check_prepared) */
    bool sends_kept;    /* one of those is under way */
    uint64_t serial;    /* in their names: what a job runs in its session can't know them beforehand */
    size_t max_answer;
    struct receive_budget budget; /* of the answer under way */

    session_handler *handler;
    session_notify_handler *notify_handler;
    void *arg;
};

static void on_socket(evutil_socket_t socket, short what, void *arg);

static void clear_results(struct session *s)
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

static bool consume_input(struct session *s)
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

static PostgresPollingStatusType poll_connection(struct session *s)
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
static void give_back(struct session *s, size_t bytes)
{
    s->budget.left = s->budget.left + bytes < s->max_answer ? s->budget.left + bytes : s->max_answer;
}

/* ---- The socket
 * -------------------------------------------------------------------------------------------------------------- */

/* Waits for the socket, which may be another one than before. While it connects, libpq may have closed the last one and been given
 * its number again: of that one epoll knows nothing. */
static void wait_for(struct session *s, short what)
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

static void disconnect(struct session *s)
{
    if (s->socket_event)
        event_free(s->socket_event);
    s->socket_event = NULL;
    event_del(s->deadline);
    finish_connection(s);
    s->state = STATE_CLOSED;
}

/* The SQLSTATE in a verbose connection error ("FATAL:  28P01: password ..."): libpq keeps it nowhere else. */
static void find_sqlstate(const char *message, char ret_sqlstate[6])
{
    strcpy(ret_sqlstate, SQLSTATE_LOST);
    for (const char *colon = strchr(message, ':'); colon; colon = strchr(colon + 1, ':')) {
        const char *code = colon + 1 + strspn(colon + 1, " ");
        size_t n = 0;
        while (isdigit((unsigned char)code[n]) || isupper((unsigned char)code[n]))
            n++;
        if (n == 5 && code[5] == ':' && isdigit((unsigned char)code[0])) {
            memcpy(ret_sqlstate, code, 5);
            return;
        }
    }
}

/* libpq's words on one line, without its guesses and the position in the server's source that they end with.
 */
static char *tidy(const char *message)
{
    _cleanup_free_ char *text = copy_string(message && *message ? message : "the connection was lost");
    static const char *const tails[] = {"\nLOCATION:", "\n\tThis probably means"};
    for (int i = 0; i < 2; i++) {
        char *tail = strstr(text, tails[i]);
        if (tail)
            *tail = '\0';
    }
    for (size_t n = strlen(text); n > 0 && isspace((unsigned char)text[n - 1]); n--)
        text[n - 1] = '\0';
    return text_line(text, TEXT_MESSAGE);
}

static void report_lost(struct session *s, enum session_event_kind kind, const char *message)
{
    char sqlstate[6];
    _cleanup_free_ char *text = tidy(message);

    if (s->opening != OPENING_DONE)
        kind = SESSION_CONNECT_FAILED;
    find_sqlstate(text, sqlstate);
    disconnect(s);
    clear_results(s);
    struct session_event e = {.kind = kind, .lost = true, .sqlstate = sqlstate, .message = text};
    s->handler(s, &e, s->arg);
}

/* More than may came as an answer, and there may be more to come: nothing but to close the connection is left. */
static void report_too_large(struct session *s, enum session_event_kind kind)
{
    char message[128];

    snprintf(message, sizeof(message), "the server's answer to one statement, or the message of its error, is larger than %zu kB", s->max_answer / 1024);
    disconnect(s);
    clear_results(s);
    struct session_event e = {.kind = s->opening == OPENING_DONE ? kind : SESSION_CONNECT_FAILED,
        .lost = true,
        .sqlstate = SQLSTATE_TOO_LARGE,
        .message = message,
        .hint = "The session was closed. What a function, a trigger or a type's cast says or returns must be shorter."};
    s->handler(s, &e, s->arg);
}

/* It connects, but what it gets is no session of ours. */
static void refuse(struct session *s, const char *sqlstate, const char *message, const char *hint)
{
    _cleanup_free_ char *code = copy_string(sqlstate), *text = tidy(message), *advice = copy_string(hint);

    disconnect(s);
    clear_results(s);
    struct session_event e = {
        .kind = SESSION_CONNECT_FAILED, .sqlstate = code, .message = text, .hint = advice};
    s->handler(s, &e, s->arg);
}

static bool is_error(const PGresult *result)
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
    for (int i = 0; i < s->n_sent; i++)
        if (is_error(s->results[i])) {
            s->doubted = true;
            if (i < s->n_needed) {
                at = i;
                break;
            }
            PQclear(s->results[i]);
            s->results[i] = NULL;
        }
    if (at >= 0) {
        const PGresult *failed = s->results[at];
        e.kind = SESSION_ERROR;
        e.sqlstate = PQresultErrorField(failed, PG_DIAG_SQLSTATE);
        e.message = message = text_line(PQresultErrorField(failed, PG_DIAG_MESSAGE_PRIMARY), TEXT_MESSAGE);
        e.hint = hint = text_line(PQresultErrorField(failed, PG_DIAG_MESSAGE_HINT), TEXT_MESSAGE);
        e.detail = detail = text_line(PQresultErrorField(failed, PG_DIAG_MESSAGE_DETAIL), TEXT_MESSAGE);
        e.raised_by = PQresultErrorField(failed, PG_DIAG_SOURCE_FUNCTION);
        e.in_text = PQresultErrorField(failed, PG_DIAG_STATEMENT_POSITION) || PQresultErrorField(failed, PG_DIAG_INTERNAL_POSITION);
        if (!e.sqlstate)
            e.sqlstate = SQLSTATE_LOST;
        if (!e.message)
            e.message = message = tidy(PQresultErrorMessage(failed));
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

/* ---- Hosts
 * ----------------------------------------------------------------------------------------------------
 * libpq goes on to the next address or host where a connection is refused, but neither where nothing answers (connect_timeout is for
 * its blocking calls) nor where a server answers by an error. Both are done here. */

static void set_deadline(struct session *s, uint32_t ms)
{
    struct timeval deadline = us_to_timeval((uint64_t)ms * 1000);
    event_add(s->deadline, &deadline);
}

/* The value of a connection's option, whether it came from conninfo, a service file or the environment. The caller frees. */
static char *option_of(PGconn *conn, const char *keyword)
{
    PQconninfoOption *options = PQconninfo(conn);
    char *value = NULL;

    for (const PQconninfoOption *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0 && o->val && *o->val)
            value = copy_string(o->val);
    PQconninfoFree(options);
    return value;
}

/* Of a list with commas what stands behind entry at; NULL where the list has no more, or is one value for all hosts. */
static const char *behind(const char *list, int at)
{
    for (; list && at >= 0; at--) {
        list = strchr(list, ',');
        if (list)
            list++;
    }
    return list;
}

/* Whether entry at of a list is this text. */
static bool entry_is(const char *list, int at, const char *text)
{
    const char *entry = at == 0 ? list : behind(list, at - 1);
    size_t n = entry ? strcspn(entry, ",") : 0;
    return entry && text && strlen(text) == n && strncmp(entry, text, n) == 0;
}

/* The host that libpq has got to, in its own list. */
static int host_number(PGconn *conn, const char *hosts, const char *hostaddrs, const char *ports)
{
    int at = 0;

    for (; behind(hosts ? hosts : hostaddrs, at); at++) {
        bool same_port = !ports || !strchr(ports, ',') || entry_is(ports, at, PQport(conn));
        if (same_port && (entry_is(hosts, at, PQhost(conn)) || entry_is(hostaddrs, at, PQhost(conn))))
            break;
    }
    return at;
}

/* What is left of the lists behind the host that libpq has got to; all NULL: it is the last. */
struct hosts {
    char *hosts, *hostaddrs, *ports;
};

static struct hosts hosts_left(PGconn *conn)
{
    _cleanup_free_ char *hosts = option_of(conn, "host"), *hostaddrs = option_of(conn, "hostaddr"), *ports = option_of(conn, "port");
    int at = host_number(conn, hosts, hostaddrs, ports);

    return (struct hosts){.hosts = copy_string(behind(hosts, at)), .hostaddrs = copy_string(behind(hostaddrs, at)),
        .ports = ports && strchr(ports, ',') ? copy_string(behind(ports, at)) : NULL};
}

static void hosts_free(struct hosts *left)
{
    free(left->hosts);
    free(left->hostaddrs);
    free(left->ports);
}

/* How long the host that libpq has got to is waited for: connect_timeout where that is given, else less where others are left. */
static uint32_t patience_ms(const struct session *s)
{
    _cleanup_free_ char *text = option_of(s->conn, "connect_timeout");
    long seconds = text ? strtol(text, NULL, 10) : 0;

    if (seconds > 0 && seconds < 1000)
        return (uint32_t)seconds * 1000;
    if (s->reaching)
        return REACH_TIMEOUT_MS;
    struct hosts left = hosts_left(s->conn);
    bool last = !left.hosts && !left.hostaddrs;
    hosts_free(&left);
    return last || s->timeout_ms < ANSWER_TIMEOUT_MS ? s->timeout_ms : ANSWER_TIMEOUT_MS;
}

static void connect_to(struct session *s);

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
        disconnect(s);
        connect_to(s);
    }
    hosts_free(&left);
    return more;
}

/* A connection that was given up has libpq's word for it, and another is meant. */
static void name_silence(char *text)
{
    static const char reset[] = "failed: Connection reset by peer", silent[] = "failed: no answer in time";

    for (char *at = text; (at = strstr(at, reset)); at += strlen(silent)) {
        memcpy(at, silent, strlen(silent));
        memmove(at + strlen(silent), at + strlen(reset), strlen(at + strlen(reset)) + 1);
    }
}

static void host_failed(struct session *s, bool silent)
{
    if (try_next_host(s, silent))
        return;
    if (s->unanswered)
        name_silence(s->tried);
    report_lost(s, SESSION_CONNECT_FAILED, s->tried);
}

static void send_own(struct session *s, enum session_opening opening, const struct session_query *query)
{
    s->opening = opening;
    s->state = STATE_IDLE;
    session_send(s, query, 1, 1, s->timeout_ms);
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
    PostgresPollingStatusType wants = poll_connection(s);

    if (s->budget.left == 0) {
        report_too_large(s, SESSION_CONNECT_FAILED);
        return;
    }
    switch (wants) {
    case PGRES_POLLING_READING:
    case PGRES_POLLING_WRITING:
        wait_for(s, wants == PGRES_POLLING_READING ? EV_READ : EV_WRITE);
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
        report_lost(s, SESSION_CONNECT_FAILED, PQerrorMessage(s->conn));
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
    wait_for(s, EV_READ);
    set_deadline(s, TRIAL_TIMEOUT_MS);
}

static void on_trial_ended(struct session *s)
{
    if (!s->ended_idle) {
        report_lost(s, SESSION_CONNECT_FAILED, PQerrorMessage(s->conn));
        return;
    }
    s->proven = true;
    disconnect(s);
    connect_to(s);
}

static void refuse_pooler(struct session *s)
{
    refuse(s, SQLSTATE_POOLED, "a pooler is between that gives each transaction another session",
        "Name the server itself in conninfo, or a pool with pool_mode = session.");
}

/* The answer to a statement of the session's own. */
static void go_on_opening(struct session *s)
{
    PGresult *result = s->results[0];

    s->results[0] = NULL;
    event_del(s->deadline);
    s->state = STATE_IDLE;
    if (is_error(result)) {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE),
                   *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        refuse(s, sqlstate ? sqlstate : SQLSTATE_LOST, message ? message : PQresultErrorMessage(result),
            PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
        PQclear(result);
        return;
    }
    int pid = s->opening == OPENING_PIN ? (int)result_number(result, 0, "pid") : 0;
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
    s->opening = OPENING_DONE;
    struct session_event e = {.kind = SESSION_CONNECTED};
    s->handler(s, &e, s->arg);
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
        if (s->preparing[s->n_done] && !is_error(result)) {
            s->preparing[s->n_done]->prepared = true;
            s->preparing[s->n_done] = NULL;
            PQclear(result);
        } else if (s->results[s->n_done] && is_error(s->results[s->n_done]))
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
        give_back(s, strlen(notify->relname) + strlen(notify->extra) + 11); /* two ends, a type, a length, a pid */
        PQfreemem(notify);
        if (s->notify_handler)
            s->notify_handler(s, pid, s->arg);
    }
}

static void on_socket(evutil_socket_t socket, short what, void *arg)
{
    struct session *s = arg;
    (void)socket;

    if (s->state == STATE_CONNECTING) {
        go_on_connecting(s);
        return;
    }
    if (s->state == STATE_TRIAL) {
        bool ended = !consume_input(s);
        PQisBusy(s->conn); /* has libpq parse what came: the server's word comes before the end */
        if (ended || PQstatus(s->conn) == CONNECTION_BAD)
            on_trial_ended(s);
        return;
    }
    if (what & EV_READ && !consume_input(s)) {
        report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn));
        return;
    }
    if (s->state == STATE_BUSY) {
        int left = flush(s);
        if (left < 0) {
            report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn));
            return;
        }
        wait_for(s, left ? EV_READ | EV_WRITE : EV_READ);
        if (take_results(s)) {
            take_notifications(s);
            if (PQstatus(s->conn) == CONNECTION_BAD)
                report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn));
            else if (s->opening != OPENING_DONE)
                go_on_opening(s);
            else
                report_results(s);
            return;
        }
        if (s->budget.left == 0) {
            report_too_large(s, SESSION_ERROR);
            return;
        }
    } else
        PQisBusy(
            s->conn); /* has libpq parse what came unasked: notifications, or that the server goes away */
    take_notifications(s);
    if (PQstatus(s->conn) == CONNECTION_BAD)
        report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn));
}

static void on_deadline(evutil_socket_t socket, short what, void *arg)
{
    struct session *s = arg;
    (void)socket;
    (void)what;

    if (s->state == STATE_CONNECTING)
        stop_connecting(s);
    else if (s->state == STATE_TRIAL)
        refuse_pooler(s);
    else if (s->state == STATE_BUSY) {
        if (PQstatus(s->conn) == CONNECTION_BAD)
            report_lost(s, SESSION_ERROR, PQerrorMessage(s->conn)); /* it broke while sending */
        else {
            session_cancel_aside(s); /* else it would work on, for nobody */
            report_lost(s, SESSION_TIMED_OUT, "the server did not answer in time");
        }
    }
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
    give_back(s, bytes);
}

/* A number that nobody can guess. */
static uint64_t new_serial(void)
{
    uint64_t serial;
    if (getrandom(&serial, sizeof(serial), GRND_NONBLOCK) != (ssize_t)sizeof(serial))
        serial = now_us() * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)getpid();
    return serial;
}

static void connect_to(struct session *s)
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
        wait_for(s, EV_WRITE);
}

const char *number_text(char buffer[24], int64_t n)
{
    snprintf(buffer, 24, "%" PRId64, n);
    return buffer;
}

struct session *session_open(struct event_base *base, const char *conninfo, const char *user, const char *application_name,
    const char *settings, uint32_t timeout_ms, session_handler *handler, void *arg)
{
    struct session *s = must(calloc(1, sizeof(*s)));

    s->base = base;
    s->conninfo = copy_string(conninfo);
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
    connect_to(s);
    return s;
}

void session_send(
    struct session *s, const struct session_query *queries, int n_queries, int n_needed, uint32_t timeout_ms)
{
    assert(s->state == STATE_IDLE && n_queries >= 1 && n_queries <= SESSION_MAX_QUERIES && n_needed <= n_queries);
    bool sent = true;

    s->state = STATE_BUSY;
    s->n_sent = n_queries;
    s->n_needed = n_needed;
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
        wait_for(s, left ? EV_READ | EV_WRITE : EV_READ);
}

void session_on_notify(struct session *s, session_notify_handler *handler)
{
    s->notify_handler = handler;
}

bool session_is_idle(const struct session *s)
{
    return s->state == STATE_IDLE && s->opening == OPENING_DONE;
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
        disconnect(s);
    clear_results(s);
    event_free(s->deadline);
    free(s->conninfo);
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
    struct session *s = session_open(w.base, conninfo, user, application_name, settings, timeout_ms, on_waited, &w);
    event_base_dispatch(w.base);
    session_close(s);
    event_base_free(w.base);
    return w.conn;
}
