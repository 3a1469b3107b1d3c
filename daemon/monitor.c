#include "monitor.h"
#include "clock.h"
#include "journal.h"
#include "lag.h"
#include "mem.h"
#include "result.h"
#include "retry.h"
#include "session.h"
#include "sql.h"
#include "standby.h"

#include <unistd.h>

#define READ_EVERY_US                                                                                        \
    50000 /* a victim's wait is seen within this time; about 1 ms of work a second on the server */
#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_TIMEOUT_MS  5000
#define RETRY_BASE_US      100000
#define RETRY_CAP_US       2000000

struct monitor {
    struct monitor_setup setup;
    struct session *session;
    struct event *timer; /* the next reading, or the next try to connect */
    struct backoff backoff;
    bool settled, said_lost;
    struct lag lag;
    struct standbys standbys;
    struct pressure pressure;
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
        const char *kind = PQgetvalue(result, i, 0), *value = result_text(result, i, 2);
        if (strcmp(kind, "lsn") == 0 && lsn_parse(value, &primary))
            lag_note(&m->lag, primary, now);
        else if (strcmp(kind, "standby") == 0) {
            bool known = lsn_parse(value, &lsn);
            standby_see(&m->standbys, PQgetvalue(result, i, 1), known, lsn, now);
        }
    }
    standby_press(
        &m->standbys, &m->lag, primary, strcmp(throttle->missing_standby, "ignore") == 0, now, &m->pressure);
    while (standby_forget(&m->standbys, now, gone))
        journal_write(LEVEL_WARNING, JOURNAL_THROTTLE, JOURNAL_ABOUT(.database = m->setup.database),
            "standby %s is gone, and is waited for no longer; name it in throttle.standbys if it must be "
            "there",
            gone);
}

static void read_all(struct monitor *m, const PGresult *result)
{
    uint64_t now = now_us();

    pressure_begin(&m->pressure, now);
    read_standbys(m, result, now);
    for (int i = 0; i < PQntuples(result); i++)
        if (strcmp(PQgetvalue(result, i, 0), "blocked") == 0) {
            double waited_ms = (double)result_number(result, i, 2);
            pressure_note(&m->pressure, SIGNAL_BLOCKED_MS, waited_ms, waited_ms, PQgetvalue(result, i, 1));
        }
    m->setup.read(m->setup.arg);
}

static void lose(struct monitor *m, const char *message)
{
    struct timeval wait = us_to_timeval(backoff_next(&m->backoff));

    if (!m->said_lost)
        journal_write(LEVEL_WARNING, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = m->setup.database),
            "the monitor can't read, so jobs wait: %s", message);
    m->said_lost = true;
    m->session = session_close(m->session);
    event_add(m->timer, &wait);
}

static void read_next(struct monitor *m)
{
    _cleanup_free_ char *pids = m->setup.pids(m->setup.arg);
    session_send(m->session, &(struct session_query){SQL_MONITOR, 1, {pids}}, 1, ANSWER_TIMEOUT_MS);
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
    m->session = session_open(
        m->setup.base, m->setup.conninfo, NULL, "backfilld monitor", CONNECT_TIMEOUT_MS, on_session, m);
}

static void on_session(struct session *session, const struct session_event *e, void *arg)
{
    struct monitor *m = arg;
    struct timeval next = us_to_timeval(READ_EVERY_US);
    (void)session;

    if (e->kind == SESSION_CONNECTED)
        session_send(m->session, &(struct session_query){.sql = SQL_SESSION}, 1, ANSWER_TIMEOUT_MS);
    else if (e->kind != SESSION_RESULT)
        lose(m, e->message);
    else if (!m->settled) {
        m->settled = true;
        read_next(m);
    } else {
        m->said_lost = false;
        backoff_reset(&m->backoff);
        event_add(m->timer, &next);
        read_all(m, e->results[0]);
    }
}

struct monitor *monitor_open(const struct monitor_setup *setup)
{
    struct monitor *m = must(calloc(1, sizeof(*m)));

    m->setup = *setup;
    m->timer = must(event_new(setup->base, -1, 0, on_timer, m));
    backoff_init(&m->backoff, RETRY_BASE_US, RETRY_CAP_US, now_us() ^ (uint64_t)getpid());
    name_standbys(m);
    event_active(m->timer, EV_TIMEOUT, 1);
    return m;
}

void monitor_use(struct monitor *m, const struct config_throttle *throttle)
{
    m->setup.throttle = throttle;
    name_standbys(m);
}

const struct pressure *monitor_pressure(const struct monitor *m)
{
    return &m->pressure;
}

struct monitor *monitor_close(struct monitor *m)
{
    if (!m)
        return NULL;
    session_close(m->session);
    event_free(m->timer);
    free(m);
    return NULL;
}
