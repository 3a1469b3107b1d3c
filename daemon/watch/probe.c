#include "watch/probe.h"
#include "base/clock.h"
#include "mem.h"
#include "base/result.h"
#include "base/session.h"
#include "schema/sql.h"
#include "text/text.h"

#include <stdio.h>

#define EVERY_US           1000000
#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_TIMEOUT_MS  5000 /* beyond the session's statement_timeout, a second */

struct answer {
    bool known;
    double value;
    char why[PRESSURE_WHAT];
};

struct probe {
    struct event_base *base;
    const struct place *place;
    const struct config_throttle *throttle;
    struct session *session;
    struct event *timer;
    int next; /* the probe that is asked, or is to be */
    struct answer *answers;
};

static void on_session(struct session *session, const struct session_event *e, void *arg);

static void wait_for_next(struct probe *p)
{
    /* Each once a second. */
    struct timeval wait =
        us_to_timeval(EVERY_US / (uint64_t)(p->throttle->n_probes ? p->throttle->n_probes : 1));
    event_add(p->timer, &wait);
}

static void answered(struct probe *p, const struct answer *answer)
{
    p->answers[p->next] = *answer;
    p->next = (p->next + 1) % p->throttle->n_probes;
    wait_for_next(p);
}

static struct answer failed(const char *why)
{
    struct answer answer = {.known = false};
    text_copy(answer.why, sizeof(answer.why), why);
    return answer;
}

const char *probe_read(const PGresult *result, double *ret_value)
{
    const char *text = PQntuples(result) == 1 && PQnfields(result) == 1 ? result_only(result) : NULL;
    char *end = NULL;

    *ret_value = text ? strtod(text, &end) : 0;
    return !text || end == text || *end || *ret_value != *ret_value ? "it does not return one number" : NULL;
}

static struct answer read_answer(const PGresult *result)
{
    struct answer answer = {.known = true};
    const char *problem = probe_read(result, &answer.value);

    return problem ? failed(problem) : answer;
}

static void on_timer(evutil_socket_t socket, short what, void *arg)
{
    struct probe *p = arg;
    (void)socket;
    (void)what;

    if (p->throttle->n_probes == 0)
        return;
    if (!p->session)
        p->session =
            session_open(p->base, p->place, NULL, "backfilld probe", SETTINGS_PROBE, CONNECT_TIMEOUT_MS, on_session, p);
    else
        session_send(p->session, (struct session_query[]){{.sql = SQL_PIN_PROBE}, {.sql = p->throttle->probes[p->next].sql}}, 2,
            ANSWER_TIMEOUT_MS);
}

static void on_session(struct session *session, const struct session_event *e, void *arg)
{
    struct probe *p = arg;
    struct answer answer;
    (void)session;

    switch (e->kind) {
    case SESSION_CONNECTED: on_timer(-1, 0, p); return;
    case SESSION_RESULT: answer = read_answer(e->results[1]); break;
    case SESSION_CONNECT_FAILED:
    case SESSION_ERROR:
    case SESSION_TIMED_OUT:
        answer = failed(e->message);
        if (e->kind != SESSION_ERROR || e->lost)
            p->session = session_close(p->session);
        break;
    }
    answered(p, &answer);
}

static void begin(struct probe *p)
{
    free(p->answers);
    p->answers = must(calloc((size_t)p->throttle->n_probes + 1, sizeof(*p->answers)));
    for (int i = 0; i < p->throttle->n_probes; i++)
        p->answers[i] = failed("not answered yet");
    p->next = 0;
    p->session = session_close(p->session);
    event_active(p->timer, EV_TIMEOUT, 1);
}

struct probe *probe_open(
    struct event_base *base, const struct place *place, const struct config_throttle *throttle)
{
    struct probe *p = must(calloc(1, sizeof(*p)));

    *p = (struct probe){.base = base, .place = place, .throttle = throttle};
    p->timer = must(event_new(base, -1, 0, on_timer, p));
    begin(p);
    return p;
}

void probe_follow(struct probe *p)
{
    if (p->session && session_is_elsewhere(p->session, p->place))
        begin(p);
}

void probe_use(struct probe *p, const struct config_throttle *throttle)
{
    p->throttle = throttle;
    begin(p);
}

void probe_press(const struct probe *p, struct pressure *pressure)
{
    char what[PRESSURE_WHAT], name[32];

    for (int i = 0; i < p->throttle->n_probes; i++) {
        const struct config_probe *probe = &p->throttle->probes[i];
        const struct answer *a = &p->answers[i];
        double share = a->value / probe->limit;
        text_copy(name, sizeof(name), probe->name);

        if (a->known) {
            text_print(what, sizeof(what), "%s: %.6g of %.6g", name, a->value, probe->limit);
            pressure_note(pressure, SIGNAL_PROBE, share, share, what);
        } else {
            text_print(what, sizeof(what), "%s: %s", name, a->why);
            pressure_fail(pressure, SIGNAL_PROBE, what);
        }
    }
}

struct probe *probe_close(struct probe *p)
{
    if (!p)
        return NULL;
    session_close(p->session);
    event_free(p->timer);
    free(p->answers);
    free(p);
    return NULL;
}
