#include "work/inside.h"
#include "base/clock.h"
#include "base/result.h"
#include "mem.h"
#include "schema/sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TOO_SLOW_US    5000000 /* a statement that was cancelled sooner was so by somebody */
#define TOO_SLOW_TRIES 2 /* of a question about the job, ten seconds each, in which nobody else is answered */

void answer_feed(struct worker *w, const struct runner_event *e)
{
    enum job_phase phase = w->runner.migration.phase;
    uint64_t now = now_us();

    throttle_judge(&w->throttle, w->setup.monitor, worker_pid(w), now, &w->runner.work.pace.others, &w->runner.work.pace.host);
    free(w->no_room);
    w->runner.no_room = w->no_room = throttle_no_room(&w->throttle);
    /* What is being tidied up keeps others off its table, however many places are free. */
    w->runner.crowded = control_is_ready(w->setup.control) && (w->runner.migration.phase == PHASE_TIDY || w->setup.crowded(w->setup.arg));
    struct runner_action next = runner_step(&w->runner, e, now);

    if (next.kind != RUNNER_NONE && next.kind != RUNNER_ABORT)
        hand_begin(&w->hand);
    if (next.kind == RUNNER_END) {
        bool leaves = worker_is_leaving(w) || w->action.kind == RUNNER_GIVE_WAY;
        w->was_ours = leaves && e->look != RUNNER_LOOK_NOT_OURS;
        w->failed = w->was_ours && w->action.kind == RUNNER_FINISH && w->runner.work.ending.state == JOB_FAILED;
        if (w->runner.helps)
            report_helped(&w->report);
        else
            report_end(&w->report, w->was_ours ? &w->action : NULL, w->given_back);
    }
    if (w->runner.migration.phase != phase)
        report_phase(&w->report, w->survey.n_relations, w->survey.behind != NULL);
    act_perform(w, &next);
}

void answer_settled(void *arg, const struct runner_event *event)
{
    struct worker *w = arg;
    if (!w->ended)
        answer_feed(w, event);
}

void answer_roles_changed(void *arg)
{
    struct worker *w = arg;
    if (!w->ended)
        worker_give_back(w, "the role that it logs in as, or runs as, was renamed or dropped");
}

static void feed_error(struct worker *w, const struct session_event *e)
{
    const struct runner_action *a = &w->action;
    bool of_rows = action_is_work(a->kind) || a->kind == RUNNER_COMPARE;
    const char *statement = a->kind == RUNNER_SURVEY ? w->survey.relations[a->relation].batch : of_rows ? w->range.batch : NULL;

    w->hand.gone = w->hand.gone || (e->lost && same_string(e->sqlstate, SQLSTATE_TOO_LARGE));
    doubt_error(&w->doubt, e, a->kind, statement);
}

/* What the job waits for at the end of a round of rows that were locked. */
static void say_locked_still(struct worker *w, int64_t rows, struct runner_event *event)
{
    _cleanup_free_ char *by = w->holders;
    const char *who = by ? by + strlen("locked by ") : "another session";

    w->holders = NULL;
    w->report.locked_by_now = NULL;
    free(w->locked);
    if (asprintf(&w->locked,
            rows == 1 ? "%" PRId64 " row is locked by %s" : "%" PRId64 " rows are locked, one of them by %s",
            rows, who) < 0)
        abort();
    event->message = w->locked;
    event->sqlstate = SQLSTATE_LOCK;
}

static enum runner_look look_of(const char *outcome)
{
    return same_string(outcome, "not over")   ? RUNNER_LOOK_NOT_OVER
           : same_string(outcome, "not ours") ? RUNNER_LOOK_NOT_OURS
                                              : RUNNER_LOOK_FINE;
}

/* Nobody cancels what the control session asks but its statement_timeout, and while it asks, all other jobs wait: not for ever. */
static bool is_too_slow(struct worker *w, const struct session_event *e)
{
    enum runner_action_kind kind = w->action.kind;
    bool of_job = kind == RUNNER_LAYOUT || kind == RUNNER_BEGIN || kind == RUNNER_NEXT_STEP || kind == RUNNER_TAKE || kind == RUNNER_ADD_RANGE;

    return of_job && same_string(e->sqlstate, "57014") && now_us() - w->asked_us >= TOO_SLOW_US && ++w->too_slow >= TOO_SLOW_TRIES;
}

/* The control session has answered. */
void answer_control(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    struct runner_event event = {.kind = RUNNER_DONE};

    if (w->ended)
        return;
    if (e->kind == SESSION_ERROR && is_too_slow(w, e)) {
        answer_feed(w, &(struct runner_event){.kind = RUNNER_ERROR,
                    .sqlstate = SQLSTATE_TOO_SLOW,
                    .message = "to write down what is to be done takes the server longer than 10 s, again and again",
                    .hint = "A table with a great many partitions, or a very long clause? Make it shorter, or insert a job for each "
                            "partition; or, if the server was only busy, SELECT backfill.retry(name)."});
        return;
    }
    if (e->kind == SESSION_ERROR) {
        if (w->action.kind == RUNNER_GIVE_WAY)
            report_keeps_place(&w->report, e->sqlstate, e->message);
        feed_error(w, e);
        return;
    }
    w->too_slow = 0;
    if (w->action.kind == RUNNER_LAYOUT) {
        const PGresult *layout = e->results[0];
        event.look = PQntuples(layout) > 0 ? look_of(result_text(layout, 0, "outcome")) : RUNNER_LOOK_FINE;
        if (event.look == RUNNER_LOOK_FINE) {
            survey_take(&w->survey, layout, w->action.continues, &event.rest);
            event.n_relations = w->survey.n_relations;
            replace_string(&w->planned, control_start(w->setup.control));
        }
    } else if (w->action.kind == RUNNER_TAKE) {
        range_take(&w->range, e->results[0], &event);
        replace_string(&w->survey.after, result_text(e->results[0], 0, "behind"));
        worker_walkers(w, (int)result_number(e->results[0], 0, "walkers"));
        if (event.outcome == RUNNER_TAKE_LOCKED)
            say_locked_still(w, result_number(e->results[0], 0, "locked"), &event);
    } else if (w->action.kind == RUNNER_NEXT_STEP) {
        event.has_step = step_take(&w->step, e->results[0]);
        event.clears = step_clears(&w->step);
        event.builds = step_builds(&w->step);
    } else if (w->action.kind == RUNNER_BEGIN) {
        event.look = look_of(result_text(e->results[0], 0, "outcome"));
        event.walk = result_number(e->results[0], 0, "walk");
        if (!w->action.continues)
            report_preflight(&w->report, result_text(e->results[0], 0, "preflight"));
        replace_string(&w->survey.seen, NULL);
    } else if (w->action.kind == RUNNER_GIVE_WAY) {
        event.look = look_of(result_text(e->results[0], 0, "outcome"));
        event.gave_way = same_string(result_text(e->results[0], 0, "outcome"), "given");
    } else if (w->action.kind == RUNNER_FINISH) {
        event.look = look_of(result_text(e->results[0], 0, "outcome"));
        if (same_string(result_text(e->results[0], 0, "outcome"), "wished away")) {
            event.look = RUNNER_LOOK_NOT_OVER;
            event.message = "its user wants it to be cancelled, or undone";
        }
        if (w->runner.migration.phase != PHASE_TIDY) {
            report_slower(&w->report, result_text(e->results[0], 0, "slower"));
            if (result_text(e->results[0], 0, "rows"))
                report_total(&w->report, (uint64_t)result_number(e->results[0], 0, "rows"), (uint64_t)result_number(e->results[0], 0, "batches"),
                             result_text(e->results[0], 0, "not_proven"));
        }
    }
    bool begins = w->action.kind == RUNNER_BEGIN;

    answer_feed(w, &event);
    if (begins && w->runner.migration.walking)
        w->setup.walks(w->setup.arg);
}

static void on_batch(struct worker *w, const struct session_event *e, struct runner_event *event)
{
    const PGresult *batch = e->results[0];

    event->rows = (uint64_t)result_number(batch, 0, "rows");
    event->wal_bytes = (uint64_t)result_number(batch, 0, "wal_bytes");
    uint64_t aside_us = (uint64_t)result_number(batch, 0, "aside_us");
    event->elapsed_us = e->elapsed_us[0] > aside_us ? e->elapsed_us[0] - aside_us : 0;
    event->bound = result_text(batch, 0, "next");
    replace_string(&w->range.at, result_text(batch, 0, "now_at"));
    if (w->action.skipping || w->action.aside) {
        event->skipped = (uint64_t)result_number(batch, 0, "skipped");
        report_locked(&w->report, event->skipped, result_text(batch, 0, "holders"));
        act_name_holders(w, false);
    }
}

static void on_rows(struct worker *w, const struct session_event *e, struct runner_event *event)
{
    const PGresult *row = e->results[0];

    event->rows = (uint64_t)result_number(row, 0, "rows");
    event->wal_bytes = (uint64_t)result_number(row, 0, "wal_bytes");
    event->elapsed_us = e->elapsed_us[0];
    event->skipped = (uint64_t)result_number(row, 0, "skipped");
    if (event->skipped) {
        replace_string(&w->holders, result_text(row, 0, "held_by"));
        w->report.locked_by_now = w->holders;
    }
}

static void on_compared(const PGresult *result, struct runner_event *event)
{
    const char *cause = result_text(result, 0, "cause");

    event->compared = (struct blame_look){
        .passed = result_is_true(result, 0, "passed"),
        .key_fails = result_is_true(result, 0, "key_fails"),
        .alike = (uint32_t)result_number(result, 0, "alike"),
        .unclear = (uint32_t)result_number(result, 0, "unclear"),
        .known = cause != NULL,
    };
    event->hint = cause;
}

/* A step met a lock on the table: whose, is asked before it is said. */
static void on_holders(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    const char *who = e->kind == SESSION_RESULT ? result_only(e->results[0]) : NULL;
    _cleanup_free_ char *message = NULL;

    if (w->ended || (w->action.kind != RUNNER_STEP && w->action.kind != RUNNER_SURVEY))
        return;
    bool surveys = w->action.kind == RUNNER_SURVEY;
    const char *relation = surveys ? w->survey.relations[w->action.relation].name : NULL;
    if (asprintf(&message, "%s waits for a lock on %s: %s", surveys ? job_phase_name(w->runner.migration.phase) : w->step.name,
            relation ? relation : w->job->target, who ? who : "somebody held one") < 0)
        abort();
    answer_feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = SQLSTATE_LOCK, .message = message});
}

static void ask_holders(struct worker *w, const char *relation)
{
    char pid[24];
    act_ask(w, &(struct session_query){SQL_TABLE_HOLDERS, 2, {relation, number_text(pid, worker_pid(w))}},
        on_holders);
}

static bool is_lock(const struct session_event *e)
{
    return same_string(e->sqlstate, SQLSTATE_LOCK) || same_string(e->sqlstate, SQLSTATE_TABLE_LOCK);
}

static void on_step_error(struct worker *w, const struct session_event *e)
{
    char job[24];
    struct session_event named = *e;

    if (is_lock(e)) {
        ask_holders(w, w->step.relation);
        return;
    }
    if (same_string(e->sqlstate, "23505"))
        act_ask(w,
            &(struct session_query){SQL_DUPLICATE, 3, {number_text(job, w->job->id), e->message, e->detail}},
            NULL);
    if (!named.hint || same_string(e->sqlstate, "2BP01")) /* the server's own is CASCADE */
        named.hint = step_hint(&w->step, e->sqlstate);
    feed_error(w, &named);
}

/* A batch, or rows that were left behind, met a lock that isn't on them: whose it may be, the catalog tells. */
static void on_holders_beside(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    const char *who = e->kind == SESSION_RESULT ? result_only(e->results[0]) : NULL;
    _cleanup_free_ char *holders = NULL, *message = NULL;

    if (w->ended || !action_is_work(w->action.kind))
        return;
    if (asprintf(&holders, "%s%s%s", who ? who : "locked by another session", w->met ? ": " : "", w->met ? w->met : "") < 0 ||
        asprintf(&message, "rows of %s are %s", w->job->target, holders) < 0)
        abort();
    if (w->action.kind == RUNNER_RETRY) {
        replace_string(&w->holders, holders);
        w->report.locked_by_now = w->holders;
    }
    answer_feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = SQLSTATE_LOCK, .message = message});
}

static void ask_holders_beside(struct worker *w, const struct session_event *e)
{
    replace_string(&w->met, same_string(e->raised_by, "ProcessInterrupts") ? NULL : e->message); /* by lock_timeout: it says no more than that */
    act_ask(w, &(struct session_query){SQL_HOLDERS_BESIDE, 1, {w->range.relation}}, on_holders_beside);
}

static void on_session_error(struct worker *w, const struct session_event *e)
{
    bool of_limits = w->hand.limiting;

    w->hand.limiting = false;
    if (of_limits || e->lost)
        feed_error(w, e);
    else if (w->action.kind == RUNNER_STEP)
        on_step_error(w, e);
    else if (w->action.kind == RUNNER_SURVEY && is_lock(e))
        ask_holders(w, w->survey.relations[w->action.relation].oid);
    else if (same_string(e->sqlstate, SQLSTATE_LOCK) && (w->action.kind == RUNNER_RETRY || (w->action.kind == RUNNER_BATCH && w->action.skipping)))
        ask_holders_beside(w, e);
    else
        feed_error(w, e);
}

/* Whether the action's own statement is still to come: then it is sent, unless the action is to be given up. */
static bool go_on_after_part(struct worker *w)
{
    bool is_part = w->hand.limiting;
    struct runner_action then = w->action;

    if (is_part)
        hand_limited(&w->hand, act_limits(w, &w->action));
    else if (w->action.kind == RUNNER_STEP && w->step.apart && !w->step.looked)
        is_part = w->step.looked = true;
    if (is_part && w->hand.cut_short)
        answer_feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = "57014", .message = "given up before it began"});
    else if (is_part)
        act_perform(w, &then);
    return is_part;
}

/* What a session's action answered. False: there is more to ask first, and that is sent. */
static bool read_answer(struct worker *w, const struct session_event *e, struct runner_event *event)
{
    const PGresult *first = e->results[0];

    if (w->action.kind == RUNNER_SURVEY && !w->survey.knows_last) {
        if (survey_take_last(&w->survey, w->action.relation, first)) {
            act_send_one(w, survey_query(&w->survey, w->action.relation, w->action.at_once));
            return false;
        }
        event->empty = true;
    } else if (w->action.kind == RUNNER_SURVEY) {
        event->empty = !survey_take_seen(&w->survey, w->action.relation, first, &event->estimate);
        event->moves = result_is_true(first, 0, "moves");
        event->hidden = result_is_true(first, 0, "hidden");
        event->all_at_once = result_is_true(first, 0, "all_at_once");
        event->by_ctid = result_is_true(first, 0, "by_ctid");
        event->nothing_else = result_is_true(first, 0, "nothing_else");
        event->aside = (uint64_t)result_number(first, 0, "aside");
    } else if (w->action.kind == RUNNER_BOUND)
        event->bound = result_only(first);
    else if (w->action.kind == RUNNER_BATCH)
        on_batch(w, e, event);
    else if (w->action.kind == RUNNER_RETRY)
        on_rows(w, e, event);
    else if (w->action.kind == RUNNER_COMPARE)
        on_compared(first, event);
    return true;
}

/* The worker's session has connected or answered. */
void answer_session(struct session *session, const struct session_event *e, void *arg)
{
    struct worker *w = arg;
    struct runner_event event = {.kind = RUNNER_DONE};
    (void)session;

    if (!action_has_session(w->action.kind) || w->doubt.asking) {
        w->hand.gone = w->hand.gone || e->lost || e->kind == SESSION_TIMED_OUT;
        return;
    }
    switch (e->kind) {
    case SESSION_CONNECTED: hand_log_in(&w->hand, w->job); return;
    case SESSION_CONNECT_FAILED: feed_error(w, e); return;
    case SESSION_ERROR: on_session_error(w, e); return;
    case SESSION_TIMED_OUT:
        hand_terminate(&w->hand);
        answer_feed(w, &(struct runner_event){.kind = RUNNER_LOST, .sqlstate = SQLSTATE_LOST, .message = e->message});
        return;
    case SESSION_RESULT: break;
    }
    if (!go_on_after_part(w) && read_answer(w, e, &event))
        answer_feed(w, &event);
}
