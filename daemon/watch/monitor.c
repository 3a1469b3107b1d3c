#include "watch/monitor.h"
#include "base/clock.h"
#include "watch/flusher.h"
#include "watch/host.h"
#include "base/journal.h"
#include "pressure/lag.h"
#include "pressure/latency.h"
#include "mem.h"
#include "pressure/pace.h"
#include "watch/probe.h"
#include "base/request.h"
#include "base/result.h"
#include "job/retry.h"
#include "base/session.h"
#include "schema/sql.h"
#include "pressure/standby.h"
#include "text/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* A victim's wait is seen within this time, and read again when it reaches its limit. */
#define READ_EVERY_US      50000
#define SLOWLY_EVERY_US    1000000             /* what changes slowly */
#define FORGET_US          UINT64_C(600000000) /* a server that answers slower for ten minutes is a slower one */
#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_TIMEOUT_MS  5000
#define RETRY_BASE_US      100000
#define WAITING_MAX        64 /* sessions of ours that wait for transactions; the next reading sees others */
#define RETRY_CAP_US       500000 /* nothing goes on without it */

struct watched {
    int64_t job;
    struct vacuum_reading vacuum;
};

struct monitor {
    struct monitor_setup setup;
    struct session *session;
    struct event *timer; /* the next reading, or the next try to connect */
    struct request_list requests; /* the first is under way, when one is */
    bool asks;                    /* one is under way */
    bool due;                     /* and a reading is to follow it */
    struct backoff backoff;
    bool settled, said_lost;
    bool slowly;           /* under way is SQL_MONITOR_SLOWLY */
    uint64_t slowly_at_us; /* when it was last sent */
    struct lag lag, xids;  /* the primary's LSN, and its next transaction, over time */
    struct standbys standbys;
    struct host host;
    struct flusher *flusher; /* there is one while there is a session */
    bool said_unflushed;
    struct latency latency;
    struct probe *probe;
    struct pressure slow; /* of the last slow reading */
    struct pressure pressure;
    int n_watched;
    struct watched *watched;
    int n_waiting, waiting[WAITING_MAX];
    int n_blocking;
    struct blocking *blocking; /* sessions of ours, on each of which somebody waits */
};

static void on_session(struct session *session, const struct session_event *e, void *arg);

static void name_standbys(struct monitor *m)
{
    for (int i = 0; i < m->standbys.n; i++)
        m->standbys.at[i].named = false;
    for (int i = 0; i < m->setup.throttle->n_standbys; i++)
        standby_name(&m->standbys, m->setup.throttle->standbys[i], now_us());
}

static void read_standbys(struct monitor *m, const PGresult *result, uint64_t now)
{
    const struct config_throttle *throttle = m->setup.throttle;
    char gone[PRESSURE_WHAT];
    uint64_t primary = 0, lsn = 0;

    standby_begin(&m->standbys);
    for (int i = 0; i < PQntuples(result); i++) {
        const char *kind = result_text(result, i, "kind"), *value = result_text(result, i, "value");
        if (strcmp(kind, "lsn") == 0 && lsn_parse(value, &primary))
            lag_note(&m->lag, primary, now);
        else if (strcmp(kind, "standby") == 0 || strcmp(kind, "if_named") == 0) {
            const char *name = result_text(result, i, "name");
            bool known = lsn_parse(value, &lsn);
            if (strcmp(kind, "standby") == 0 || standby_is_named(&m->standbys, name))
                standby_see(&m->standbys, name, known, lsn, now);
        }
    }
    standby_press(
        &m->standbys, &m->lag, primary, strcmp(throttle->missing_standby, "ignore") == 0, now, &m->pressure);
    while (standby_forget(&m->standbys, now, gone))
        journal_write(LEVEL_WARNING, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = m->setup.database),
            "standby %s is gone, and is waited for no longer; name it in throttle.standbys if it must be "
            "there",
            gone);
}

/* Of several who wait on a session of ours, the one that has waited longest. */
static void note_blocking(struct monitor *m, int pid, double waited_ms, const char *who)
{
    struct blocking *b = NULL;

    for (int i = 0; i < m->n_blocking && !b; i++)
        if (m->blocking[i].pid == pid)
            b = &m->blocking[i];
    if (!b) {
        m->blocking = must(reallocarray(m->blocking, (size_t)m->n_blocking + 1, sizeof(*m->blocking)));
        b = &m->blocking[m->n_blocking++];
        *b = (struct blocking){.pid = pid, .waited_ms = -1};
    }
    if (waited_ms > b->waited_ms) {
        b->waited_ms = waited_ms;
        snprintf(b->who, sizeof(b->who), "%s", who);
    }
}

/* Notes who waits on us. Returns when to read next: sooner than usual when somebody's wait would reach the limit before. */
static uint64_t read_blocked(struct monitor *m, const PGresult *result)
{
    double limit_ms = m->setup.throttle->limit[SIGNAL_BLOCKED_MS], soonest_ms = READ_EVERY_US / 1e3;

    m->n_waiting = m->n_blocking = 0;
    for (int i = 0; i < PQntuples(result); i++)
        if (strcmp(result_text(result, i, "kind"), "waits") == 0 && m->n_waiting < WAITING_MAX)
            m->waiting[m->n_waiting++] = (int)strtol(result_text(result, i, "name"), NULL, 10);
        else if (strcmp(result_text(result, i, "kind"), "blocked") == 0) {
            int pid = 0;
            double waited_ms = 0;
            if (sscanf(result_text(result, i, "value"), "%d %lf", &pid, &waited_ms) != 2)
                continue;
            note_blocking(m, pid, waited_ms, result_text(result, i, "name"));
            if (waited_ms < limit_ms && limit_ms - waited_ms < soonest_ms)
                soonest_ms = limit_ms - waited_ms;
        }
    return (uint64_t)(soonest_ms * 1e3);
}

/* Not by the disks: who waits for them may be the job, or its flush. Where that can't be told they may be. */
static bool others_are_at_work(const struct monitor *m)
{
    double limit = m->setup.throttle->limit[SIGNAL_CPU];
    const struct pressure_reading *cpu = &m->pressure.readings[SIGNAL_CPU];

    return limit <= 0 || !m->pressure.there[SIGNAL_CPU] || !cpu->known ||
           cpu->value > PACE_FREE / PACE_BUSY * PRESSURE_CPU_BUSY * limit;
}

/* What changes quickly, and what was last read of the rest. */
static void read_all(struct monitor *m, const PGresult *result, uint64_t elapsed_us)
{
    uint64_t now = now_us();

    pressure_begin(&m->pressure, now);
    pressure_add(&m->pressure, &m->slow);
    read_standbys(m, result, now);
    struct timeval next = us_to_timeval(read_blocked(m, result));
    event_add(m->timer, &next);
    if (session_is_local(m->session)) {
        host_read_pressure(&m->host, now, &m->pressure);
        flusher_look(
            m->flusher, (uint64_t)m->setup.throttle->flush_after_kb * 1024, others_are_at_work(m), now);
    }
    latency_note(&m->latency, (double)elapsed_us, now);
    double ratio = latency_ratio(&m->latency);
    pressure_note(&m->pressure, SIGNAL_LATENCY, ratio, ratio, "of the server's answers");
    probe_press(m->probe, &m->pressure);
    m->setup.read(m->setup.arg);
}

/* An age in transactions, in seconds: since when they were seen to be begun. */
static double seconds_since(const struct monitor *m, uint64_t xid, uint64_t now)
{
    return (double)lag_us(&m->xids, xid, now) / 1e6;
}

static void read_vacuum(struct monitor *m, const char *job, const char *text)
{
    struct vacuum_reading r = {0};
    int running = 0, enabled = 0;

    if (sscanf(text, "%lf %lf %lf %d %d %lf", &r.dead_rows, &r.live_rows, &r.bytes, &running, &enabled,
            &r.naptime_s) != 6)
        return;
    r.running = running;
    r.enabled = enabled;
    m->watched = must(reallocarray(m->watched, (size_t)m->n_watched + 1, sizeof(*m->watched)));
    m->watched[m->n_watched++] = (struct watched){.job = strtoll(job, NULL, 10), .vacuum = r};
}

/* A directory of the server's on this host. Of optional ones, WAL, the server writes everything out itself. */
static void read_path(struct monitor *m, const char *path, bool optional)
{
    host_read_disk(path, optional, &m->slow);
    if (optional || m->setup.throttle->flush_after_kb == 0)
        return;
    const char *problem = flusher_add(m->flusher, path);
    if (problem && !m->said_unflushed) {
        journal_write(LEVEL_NOTICE, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = m->setup.database),
            "what is written to %s goes to its disk when the kernel likes: %s; let the daemon's user read one (chmod o+r), or "
            "set throttle.flush_after_kb = 0 and vm.dirty_background_bytes on this host",
            path, problem);
        m->said_unflushed = true;
    }
}

static void read_slow_row(
    struct monitor *m, const char *kind, const char *whose, const char *value, uint64_t now)
{
    struct pressure *p = &m->slow;
    double number = value ? strtod(value, NULL) : 0;
    char text[PRESSURE_WHAT], name[48];

    text_copy(name, sizeof(name), whose ? whose : "");
    if (strcmp(kind, "slot") == 0 && value)
        pressure_note(p, SIGNAL_SLOT_MB, number, number, whose);
    else if (strcmp(kind, "slot") == 0) {
        text_print(text, sizeof(text), "%s is about to lose its WAL", name);
        pressure_fail(p, SIGNAL_SLOT_MB, text);
    } else if (strcmp(kind, "archive") == 0)
        pressure_note(p, SIGNAL_ARCHIVE, number, number, NULL);
    else if (strcmp(kind, "archiver") == 0) {
        text_print(text, sizeof(text), "%.64s could not be archived", value ? value : "a file");
        pressure_fail(p, SIGNAL_ARCHIVE, text);
    } else if (strcmp(kind, "xid") == 0)
        lag_note(&m->xids, (uint64_t)number, now);
    else if (strcmp(kind, "xmin_of") == 0) {
        double age_s = seconds_since(m, (uint64_t)number, now);
        pressure_note(p, SIGNAL_XMIN_S, age_s, age_s, whose);
    } else if (strcmp(kind, "xmin") == 0)
        pressure_note(p, SIGNAL_XMIN_S, number, number, whose);
    else if (strcmp(kind, "dead") == 0 && value)
        read_vacuum(m, whose, value);
    else if (strcmp(kind, "path") == 0 && session_is_local(m->session))
        read_path(m, whose, strcmp(value, "true") == 0);
}

static void read_slowly(struct monitor *m, const PGresult *result)
{
    uint64_t now = now_us();

    pressure_begin(&m->slow, now);
    m->n_watched = 0;
    for (int i = 0; i < PQntuples(result); i++)
        read_slow_row(m, result_text(result, i, "kind"), result_text(result, i, "name"), result_text(result, i, "value"), now);
}

/* The statement reads several signals, so all of them are in doubt. */
static void fail_slowly(struct monitor *m, const char *sqlstate, const char *words)
{
    static const enum pressure_signal read[] = {SIGNAL_SLOT_MB, SIGNAL_ARCHIVE, SIGNAL_XMIN_S, SIGNAL_DISK};
    const char *message = strcmp(sqlstate, "42501") == 0 ? "the daemon's role is no member of pg_monitor: GRANT pg_monitor TO it" : words;

    pressure_begin(&m->slow, now_us());
    for (size_t i = 0; i < sizeof(read) / sizeof(read[0]); i++)
        pressure_fail(&m->slow, read[i], message);
}

static void lose(struct monitor *m, const struct session_event *e)
{
    struct timeval wait = us_to_timeval(backoff_next(&m->backoff));
    struct session_event lost = *e;
    struct request *request;
    _cleanup_free_ char *message = copy_string(e->message);

    m->asks = m->due = m->settled = false;
    lost.kind = SESSION_ERROR;
    lost.lost = true;
    while ((request = TAILQ_FIRST(&m->requests)))
        request_answered(&m->requests, request, &lost);

    if (!m->said_lost)
        journal_write(LEVEL_WARNING, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = m->setup.database),
            "the monitor can't read, so jobs wait: %s", message);
    m->said_lost = true;
    m->session = session_close(m->session);
    m->flusher = flusher_free(m->flusher); /* it holds directories open, and so their file systems */
    event_add(m->timer, &wait);
}

static void read_next(struct monitor *m)
{
    uint64_t now = now_us();

    m->due = m->asks;
    if (m->due)
        return;
    m->slowly = now - m->slowly_at_us >= SLOWLY_EVERY_US;
    if (m->slowly)
        m->slowly_at_us = now;
    _cleanup_free_ char *ids = m->slowly ? m->setup.jobs(m->setup.arg) : m->setup.pids(m->setup.arg);
    session_send(m->session, &(struct session_query){m->slowly ? SQL_MONITOR_SLOWLY : SQL_MONITOR, 1, {ids}},
        1, ANSWER_TIMEOUT_MS);
}

/* What is asked comes before the next reading: somebody waits for it. */
static bool ask_next(struct monitor *m)
{
    struct request *first = TAILQ_FIRST(&m->requests);

    if (!m->settled || !first || !session_is_idle(m->session))
        return false;
    m->asks = true;
    session_send(m->session, &first->query, 1, ANSWER_TIMEOUT_MS);
    return true;
}

static void on_answer(struct monitor *m, const struct session_event *e)
{
    m->asks = false;
    request_answered(&m->requests, TAILQ_FIRST(&m->requests), e);
    if (!ask_next(m) && m->due)
        read_next(m);
}

static void on_timer(evutil_socket_t socket, short what, void *arg)
{
    struct monitor *m = arg;
    (void)socket;
    (void)what;

    if (m->session) {
        read_next(m);
        return;
    }
    m->settled = false;
    m->flusher = flusher_new();
    m->session = session_open(
        m->setup.base, m->setup.place, NULL, "backfilld monitor", SETTINGS_CONTROL, CONNECT_TIMEOUT_MS, on_session, m);
    /* To parse and to plan them anew each time was seven tenths of what they took. */
    session_keep(m->session, SQL_MONITOR);
    session_keep(m->session, SQL_MONITOR_SLOWLY);
}

static void on_session(struct session *session, const struct session_event *e, void *arg)
{
    struct monitor *m = arg;
    (void)session;

    if (e->kind == SESSION_CONNECTED) {
        m->settled = true;
        m->slowly_at_us = 0;
        read_next(m);
        return;
    }
    if (m->asks && !e->lost && e->kind != SESSION_TIMED_OUT) {
        on_answer(m, e);
        return;
    }
    if (m->settled && !m->asks && m->slowly && (e->kind == SESSION_RESULT || (e->kind == SESSION_ERROR && !e->lost))) {
        if (e->kind == SESSION_RESULT)
            read_slowly(m, e->results[0]);
        else
            fail_slowly(m, e->sqlstate, e->message);
        m->slowly_at_us = now_us(); /* from its answer on: one that takes long leaves time for the others */
        m->slowly = false;
        m->due = true;
        if (!ask_next(m))
            read_next(m);
    } else if (e->kind != SESSION_RESULT)
        lose(m, e);
    else {
        m->said_lost = false;
        backoff_reset(&m->backoff);
        read_all(m, e->results[0], e->elapsed_us[0]);
        ask_next(m);
    }
}

struct monitor *monitor_open(const struct monitor_setup *setup)
{
    struct monitor *m = must(calloc(1, sizeof(*m)));

    m->setup = *setup;
    TAILQ_INIT(&m->requests);
    m->timer = must(event_new(setup->base, -1, 0, on_timer, m));
    backoff_init(&m->backoff, RETRY_BASE_US, RETRY_CAP_US, now_us() ^ (uint64_t)getpid());
    latency_init(&m->latency, FORGET_US);
    m->probe = probe_open(setup->base, setup->place, setup->throttle);
    name_standbys(m);
    event_active(m->timer, EV_TIMEOUT, 1);
    return m;
}

void monitor_use(struct monitor *m, const struct config_throttle *throttle)
{
    m->setup.throttle = throttle;
    name_standbys(m);
    probe_use(m->probe, throttle);
}

void monitor_follow(struct monitor *m)
{
    if (m->session && session_is_elsewhere(m->session, m->setup.place))
        lose(m, &(struct session_event){.sqlstate = SQLSTATE_ELSEWHERE, .message = "its session is at another server than the control session"});
    probe_follow(m->probe);
}

const struct pressure *monitor_pressure(const struct monitor *m)
{
    return &m->pressure;
}

bool monitor_is_open(const struct monitor *m)
{
    return m->session && m->settled;
}

bool monitor_ask(struct monitor *m, const struct session_query *query, request_answer *answer, void *arg)
{
    if (!monitor_is_open(m))
        return false;
    struct request *request = request_new(query, answer, arg, NULL);
    TAILQ_INSERT_TAIL(&m->requests, request, entry);
    ask_next(m);
    return true;
}

void monitor_forget(struct monitor *m, const void *arg)
{
    request_forget(&m->requests, arg);
}

bool monitor_sees_wait(const struct monitor *m, int pid)
{
    for (int i = 0; i < m->n_waiting; i++)
        if (m->waiting[i] == pid)
            return true;
    return false;
}

const struct blocking *monitor_blocking(const struct monitor *m, int pid)
{
    for (int i = 0; i < m->n_blocking; i++)
        if (m->blocking[i].pid == pid)
            return &m->blocking[i];
    return NULL;
}

bool monitor_vacuum(const struct monitor *m, int64_t job, struct vacuum_reading *ret_reading)
{
    for (int i = 0; i < m->n_watched; i++)
        if (m->watched[i].job == job) {
            *ret_reading = m->watched[i].vacuum;
            return true;
        }
    return false;
}

struct monitor *monitor_close(struct monitor *m)
{
    if (!m)
        return NULL;
    request_clear(&m->requests);
    session_close(m->session);
    flusher_free(m->flusher);
    probe_close(m->probe);
    event_free(m->timer);
    free(m->watched);
    free(m->blocking);
    free(m);
    return NULL;
}
