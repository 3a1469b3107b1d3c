#include "work/hand.h"
#include "base/clock.h"
#include "mem.h"
#include "schema/sql.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 10000
#define ANSWER_MARGIN_MS   5000      /* beyond statement_timeout: then the network is gone, not the query slow */
#define STEP_TIMEOUT_MS    604800000 /* a step that reads a table of terabytes, or indexes it: a week */
#define OBEYS_US           5000000   /* an action that is cut short and goes on for so long doesn't obey: its session is ended */

void hand_connect(struct hand *h, const struct job *job, session_handler *handler, void *arg)
{
    _cleanup_free_ char *name = NULL;

    if (asprintf(&name, "backfilld %s", job->name) < 0)
        abort();
    hand_close(h);
    h->gone = h->limiting = false;
    h->limits = HAND_BATCH;
    h->session = session_open(h->base, control_place(h->control), job->submitted_by, name, NULL, CONNECT_TIMEOUT_MS, handler, arg);
    session_keep(h->session, SQL_RUN_BATCH);
}

bool hand_send(struct hand *h, const struct session_query *queries, int n)
{
    bool at_length = h->limits != HAND_BATCH && !h->limiting;

    if (h->gone || !h->session)
        return false;
    session_send(h->session, queries, n,
        at_length ? STEP_TIMEOUT_MS : (uint32_t)(n * h->batch->statement_timeout_ms) + ANSWER_MARGIN_MS); /* each has its own */
    return true;
}

void hand_log_in(struct hand *h, const struct job *job)
{
    const struct config_batch *b = h->batch;
    char lock_timeout[24], statement_timeout[24];

    h->pid = session_pid(h->session);
    h->lock_ms = (uint32_t)b->lock_timeout_ms;
    const struct session_query queries[] = {{SQL_LOGIN, 1, {job->login}},
        {SQL_ROLE, 9,
            {job->settings, job->search_path, job->time_zone, job->date_style, number_text(lock_timeout, b->lock_timeout_ms),
                number_text(statement_timeout, b->statement_timeout_ms), b->synchronous_commit,
                strcmp(job->owner, job->submitted_by) == 0 ? NULL : job->owner, job->session}},
        {SQL_BEGIN_SESSION, 2, {job->token, job->settings}}};
    hand_send(h, queries, 3); /* it is there: it has just connected */
}

bool hand_limit_first(struct hand *h, enum hand_limits wanted, uint32_t lock_ms, bool *ret_sent)
{
    const struct config_batch *b = h->batch;
    char statement_text[24], lock_text[24];

    if (h->limits == wanted && h->lock_ms == lock_ms)
        return false;
    h->limiting_ms = lock_ms;
    h->limiting = true;
    *ret_sent = hand_send(h,
        &(struct session_query){SQL_LIMIT_SESSION, 3,
            {number_text(statement_text, wanted == HAND_BATCH ? b->statement_timeout_ms : 0), b->synchronous_commit,
                number_text(lock_text, lock_ms)}},
        1);
    return true;
}

void hand_limited(struct hand *h, enum hand_limits now)
{
    h->limiting = false;
    h->limits = now;
    h->lock_ms = h->limiting_ms;
}

void hand_begin(struct hand *h)
{
    h->cut_short = false;
    h->cut_short_us = 0;
}

void hand_cancel_aside(const struct hand *h)
{
    if (h->session && !h->gone)
        session_cancel_aside(h->session);
}

/* Of a cancel that the control session was asked for. */
static void on_cancelled(void *arg, const struct session_event *e)
{
    if (e->kind == SESSION_ERROR)
        hand_cancel_aside(arg);
}

/* By the session that is quickest. */
static void ask_at_once(struct hand *h, const struct session_query *query, control_answer *answer, void *arg)
{
    if (!monitor_ask(h->monitor, query, answer, arg))
        control_ask_first(h->control, query, answer, arg);
}

bool hand_abort(struct hand *h, bool connecting, control_answer *relieved, int64_t relieve_ms, void *arg)
{
    char pid[24], limit[24];

    if (h->cut_short_us == 0)
        h->cut_short_us = now_us();
    h->cut_short = h->cut_short || !relieved;
    if (connecting) {
        h->session = session_close(h->session);
        return false;
    }
    number_text(pid, session_pid(h->session));
    if (!control_is_ready(h->control) && !monitor_is_open(h->monitor))
        session_cancel_aside(h->session);
    else if (relieved)
        ask_at_once(h, &(struct session_query){SQL_RELIEVE, 2, {pid, number_text(limit, relieve_ms)}}, relieved, arg);
    else
        ask_at_once(h, &(struct session_query){SQL_CANCEL, 1, {pid}}, on_cancelled, h);
    return true;
}

void hand_terminate(struct hand *h)
{
    char pid[24];

    if (h->pid > 0 && control_is_ready(h->control))
        control_ask_first(h->control, &(struct session_query){SQL_TERMINATE, 1, {number_text(pid, h->pid)}}, NULL, h);
}

void hand_look(struct hand *h, uint64_t now_us)
{
    if (h->cut_short_us > 0 && now_us - h->cut_short_us >= OBEYS_US) {
        hand_terminate(h);
        h->cut_short_us = now_us;
    }
}

bool hand_follow(struct hand *h)
{
    bool busy = h->session && !h->gone && !session_is_idle(h->session);

    if (!h->session || !session_is_elsewhere(h->session, control_place(h->control)))
        return false;
    if (busy)
        session_cancel_aside(h->session);
    h->session = session_close(h->session);
    return busy;
}

void hand_close(struct hand *h)
{
    if (h->session && !h->gone && !session_is_idle(h->session) && session_pid(h->session) > 0) {
        session_cancel_aside(h->session); /* the control session may be away */
        hand_terminate(h);
    }
    h->session = session_close(h->session);
}
