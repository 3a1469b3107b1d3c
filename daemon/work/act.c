#include "work/inside.h"
#include "base/clock.h"
#include "base/result.h"
#include "mem.h"
#include "schema/sql.h"
#include "watch/host.h"

#include <stdio.h>
#include <string.h>

#define ROUNDING_MS 1 /* a wait that the monitor read as at its limit may be that much below */

static const struct runner_event lost = {.kind = RUNNER_LOST, .message = "the connection was lost", .sqlstate = SQLSTATE_LOST};

/* Reports e from the event loop, after the handlers that run now. */
static void feed_later(struct worker *w, const struct runner_event *e)
{
    w->pending = *e;
    event_active(w->timer, EV_TIMEOUT, 1);
}

void act_on_timer(evutil_socket_t socket, short what, void *arg)
{
    struct worker *w = arg;
    struct runner_event e = w->pending;
    (void)socket;
    (void)what;
    w->pending = (struct runner_event){.kind = RUNNER_DONE};
    answer_feed(w, &e);
}

enum hand_limits act_limits(const struct worker *w, const struct runner_action *a)
{
    return a->kind != RUNNER_STEP ? HAND_BATCH : w->step.apart && w->step.looked ? HAND_APART : HAND_STEP;
}

/* The session's lock_timeout, in ms; 0: none. */
static uint32_t lock_ms_for(const struct worker *w, enum hand_limits limits)
{
    const struct pressure_limits *others = &w->throttle.limits;
    uint32_t first = (uint32_t)w->setup.batch->lock_timeout_ms;

    switch (limits) {
    case HAND_BATCH: return first;
    case HAND_STEP:
        return migration_lock_ms(w->runner.work.patience.pause.tries, first,
            others->off[SIGNAL_BLOCKED_MS] ? 0 : others->limit[SIGNAL_BLOCKED_MS]);
    case HAND_APART: break;
    }
    return 0;
}

/* Whether the session's limits have to be changed first: then that is under way, and the action comes after it. */
static bool limit_first(struct worker *w, const struct runner_action *a)
{
    enum hand_limits wanted = act_limits(w, a);
    bool sent;

    if (!action_has_session(a->kind) || a->kind == RUNNER_CONNECT || !hand_limit_first(&w->hand, wanted, lock_ms_for(w, wanted), &sent))
        return false;
    if (!sent)
        feed_later(w, &lost);
    return true;
}

void act_send_one(struct worker *w, struct session_query query)
{
    if (!hand_send(&w->hand, &query, 1))
        feed_later(w, &lost);
}

void act_ask(struct worker *w, const struct session_query *query, control_answer *answer)
{
    w->asked_us = now_us();
    control_ask(w->setup.control, query, answer, w, w->job->submitted_by);
}

static void ask(struct worker *w, const struct session_query *query)
{
    act_ask(w, query, answer_control);
}

static void on_named(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    report_say_locked(&w->report, e->kind == SESSION_RESULT ? result_only(e->results[0]) : NULL);
}

/* Who has locked the rows that were put aside is said when their names are known. */
void act_name_holders(struct worker *w, bool at_once)
{
    _cleanup_free_ char *pids = report_name_locked(&w->report, at_once, now_us());
    if (pids)
        control_ask(w->setup.control, &(struct session_query){SQL_SESSION_NAMES, 1, {pids}}, on_named, w, w->job->submitted_by);
}

/* Which row it was, before what it met; once, for the end may have to be written again. */
static void name_row(struct worker *w)
{
    struct runner *r = &w->runner;
    _cleanup_free_ char *key = report_key(w->range.key_columns, r->walker.hi), *which = NULL, *error = NULL;

    if (asprintf(&which, "row %s: ", key) < 0 || asprintf(&error, "%s%s", which, r->work.ending.error) < 0)
        abort();
    if (strncmp(r->work.ending.error, which, strlen(which)) != 0)
        replace_string(&r->work.ending.error, error);
}

static void ask_finish(struct worker *w)
{
    struct runner *r = &w->runner;
    char job[24];

    if (r->migration.phase == PHASE_TIDY) {
        ask(w, &(struct session_query){SQL_END_TIDY, 3, {number_text(job, w->job->id), r->work.ending.error, r->work.ending.hint}});
        return;
    }
    _cleanup_free_ char *json = report_measured(&w->report);

    if (r->work.ending.names_row)
        name_row(w);
    const char *hint = r->work.ending.hint;
    if (!hint && r->work.ending.names_row)
        hint = "Correct the row, or pass over such rows (UPDATE backfill.job SET on_error = 'quarantine' WHERE name = ...), then SELECT backfill.retry(name). "
               "For another clause SELECT backfill.forget(name), then insert the job anew; rows that are done stay as they are.";
    else if (!hint && r->migration.plan.in_step && r->migration.phase > PHASE_EXPAND && r->work.ending.state == JOB_FAILED)
        hint = "When that is mended: SELECT backfill.retry(name).";
    ask(w, &(struct session_query){SQL_END_JOB, 6,
               {number_text(job, w->job->id), job_phase_name(r->migration.phase), job_state_name(r->work.ending.state), r->work.ending.error,
                   hint, json}});
}

static void on_relieved(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    const char *who = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "who") : NULL;

    if (who)
        report_relieved(&w->report, w->cuts_step ? "a step" : "a batch", who, (double)result_number(e->results[0], 0, "ms"),
            w->throttle.limits.limit[SIGNAL_BLOCKED_MS], now_us());
    if (e->kind == SESSION_ERROR)
        hand_cancel_aside(&w->hand);
}

static void abort_action(struct worker *w)
{
    int64_t relieve_ms = (int64_t)w->throttle.limits.limit[SIGNAL_BLOCKED_MS] - ROUNDING_MS;

    w->cuts_step = w->action.kind == RUNNER_STEP;
    if (!hand_abort(&w->hand, w->action.kind == RUNNER_CONNECT, w->relieves ? on_relieved : NULL, relieve_ms, w))
        feed_later(w, &(struct runner_event){.kind = RUNNER_LOST, .message = "given up", .sqlstate = SQLSTATE_LOST});
}

/* What a preflight tells of the disk; -1: the server is elsewhere, or its files are out of sight. */
static int64_t free_bytes_of(const struct worker *w)
{
    const struct survey *s = &w->survey;
    bool local = s->seen && s->data_directory && w->hand.session && session_is_local(w->hand.session);
    return local ? host_free_bytes(s->data_directory) : -1;
}

/* The daemon stops, and the job can't be given back: the schema is gone, say. The next daemon finds it where it stands. What others have
 * locked is free in a moment. */
static bool has_nowhere_to_go(const struct worker *w)
{
    const struct runner *r = &w->runner;
    enum retry_class class = retry_class(r->work.patience.sqlstate);

    return r->stopping && (r->again == RUNNER_RELEASE || r->again == RUNNER_FINISH) && class != RETRY_CONTENTION && class != RETRY_CANCELLED;
}

static void end(struct worker *w)
{
    w->ended = true;
    event_del(w->timer);
    event_del(w->tick);
    event_del(w->hours);
    hand_close(&w->hand);
    w->setup.ended(w, w->setup.arg);
}

/* What the control session is to do. */
static void perform_by_control(struct worker *w, const struct runner_action *a)
{
    const struct runner *r = &w->runner;
    const struct walker_row *row = &r->walker.row;
    const char *phase = job_phase_name(r->migration.phase);
    const struct relation *relation = a->kind == RUNNER_ADD_RANGE ? &w->survey.relations[a->relation] : NULL;
    int64_t bytes = a->kind == RUNNER_BEGIN ? free_bytes_of(w) : -1;
    uint64_t now = now_us(), away_ms = a->until_us > now ? (a->until_us - now) / 1000 : 0;
    char job[24], slot[24], n[24], more[24];

    number_text(job, w->job->id);
    if (a->kind == RUNNER_LAYOUT)
        ask(w, &(struct session_query){SQL_LAYOUT, 4, {job, phase, w->planned, a->continues ? w->survey.after : NULL}});
    else if (a->kind == RUNNER_ADD_RANGE)
        ask(w, &(struct session_query){SQL_ADD_RANGE, 5, {job, relation->oid, relation->upper, relation->cuts, w->planned}});
    else if (a->kind == RUNNER_BEGIN && a->continues)
        ask(w, &(struct session_query){SQL_PLAN_ON, 4, {job, phase, w->planned, w->survey.behind}});
    else if (a->kind == RUNNER_BEGIN) {
        _cleanup_free_ char *looked = report_looked(&w->report);
        ask(w, &(struct session_query){SQL_BEGIN_PHASE, 10,
                   {job, phase, job_phase_name(a->phase), a->estimate ? number_text(n, (int64_t)a->estimate) : NULL, w->survey.seen,
                       bytes >= 0 ? number_text(more, bytes) : NULL, a->planned ? w->planned : NULL, a->planned && !a->proven ? w->survey.behind : NULL, a->proven ? "true" : "false", looked}});
    } else if (a->kind == RUNNER_NEXT_STEP)
        ask(w, &(struct session_query){SQL_NEXT_STEP, 2, {job, phase}});
    else if (a->kind == RUNNER_TAKE)
        ask(w, &(struct session_query){SQL_TAKE_RANGE, 5,
                   {job, phase, number_text(n, r->walker.round.last), number_text(more, a->keys), number_text(slot, w->job->slot)}});
    else if (a->kind == RUNNER_HAND_OVER)
        ask(w, &(struct session_query){SQL_HAND_OVER, 2, {number_text(n, r->walker.range), number_text(more, r->walker.epoch)}});
    else if (a->kind == RUNNER_PUT_ASIDE && !r->walker.range)
        ask(w, &(struct session_query){SQL_LEAVE_ROW, 4, {number_text(n, r->walker.round.last), row->sqlstate, row->message, row->detail}});
    else if (a->kind == RUNNER_PUT_ASIDE)
        ask(w, &(struct session_query){SQL_PUT_ASIDE, 7,
                   {number_text(n, r->walker.range), number_text(more, r->walker.epoch), r->walker.cursor, r->walker.hi, row->sqlstate,
                       row->message, row->detail}});
    else if (a->kind == RUNNER_GIVE_WAY)
        ask(w, &(struct session_query){SQL_GIVE_WAY, 5,
                   {job, number_text(n, (int64_t)away_ms), number_text(more, a->tries), r->work.patience.waiting_for, a->apart ? "true" : "false"}});
    else if (a->kind == RUNNER_RELEASE && r->helps)
        ask(w, &(struct session_query){SQL_LEAVE, 3, {job, number_text(slot, w->job->slot), r->work.troubled ? "true" : "false"}});
    else if (a->kind == RUNNER_RELEASE)
        ask(w, &(struct session_query){SQL_RELEASE_JOB, 1, {job}});
    else
        ask_finish(w);
}

static void rest(struct worker *w, const struct runner_action *a)
{
    uint64_t now = now_us();

    if (has_nowhere_to_go(w)) {
        report_left(&w->report);
        w->was_ours = true;
        end(w);
        return;
    }
    struct timeval wait = us_to_timeval(a->until_us > now ? a->until_us - now : 0);
    if (!action_is_work(w->runner.again) && !w->runner.helps)
        report_retry(&w->report);
    w->pending = (struct runner_event){.kind = RUNNER_DONE};
    event_add(w->timer, &wait);
}

void act_perform(struct worker *w, const struct runner_action *a)
{
    const struct runner *r = &w->runner;

    if (a->kind == RUNNER_ABORT)
        abort_action(w);
    if (a->kind == RUNNER_NONE || a->kind == RUNNER_ABORT)
        return;
    w->action = *a;
    w->acts_since_us = now_us();
    w->told_at_length = false;
    if (!runner_concludes(&w->runner))
        w->concludes_since_us = 0;
    else if (w->concludes_since_us == 0)
        w->concludes_since_us = w->acts_since_us;
    event_del(w->timer);
    if (limit_first(w, a))
        return;
    if (a->kind == RUNNER_STEP)
        report_step(&w->report, &w->step);
    if (a->kind == RUNNER_PUT_ASIDE)
        report_put_aside(&w->report, w->range.key_columns);
    if (a->kind == RUNNER_FINISH || a->kind == RUNNER_RELEASE)
        act_name_holders(w, true);

    switch (a->kind) {
    case RUNNER_CONNECT: hand_connect(&w->hand, w->job, answer_session, w); break;
    case RUNNER_SURVEY: act_send_one(w, survey_last(&w->survey, a->relation)); break;
    case RUNNER_STEP: act_send_one(w, step_query(&w->step, job_phase_name(r->migration.phase))); break;
    case RUNNER_BOUND: act_send_one(w, range_bound(&w->range, r, a->keys)); break;
    case RUNNER_BATCH: act_send_one(w, range_batch(&w->range, r, a)); break;
    case RUNNER_RETRY: act_send_one(w, range_retry(&w->range, r)); break;
    case RUNNER_COMPARE: act_send_one(w, range_compare(&w->range, r)); break;
    case RUNNER_LAYOUT:
    case RUNNER_ADD_RANGE:
    case RUNNER_BEGIN:
    case RUNNER_NEXT_STEP:
    case RUNNER_TAKE:
    case RUNNER_PUT_ASIDE:
    case RUNNER_HAND_OVER:
    case RUNNER_GIVE_WAY:
    case RUNNER_FINISH:
    case RUNNER_RELEASE: perform_by_control(w, a); break;
    case RUNNER_REST: rest(w, a); break;
    case RUNNER_END: end(w); break;
    case RUNNER_NONE:
    case RUNNER_ABORT: break;
    }
}
