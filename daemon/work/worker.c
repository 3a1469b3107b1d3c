#include "work/worker.h"
#include "base/clock.h"
#include "walk/cursor.h"
#include "work/doubt.h"
#include "work/hand.h"
#include "watch/host.h"
#include "mem.h"
#include "work/range.h"
#include "work/report.h"
#include "base/result.h"
#include "schema/schema.h"
#include "show/snapshot.h"
#include "schema/sql.h"
#include "work/step.h"
#include "work/survey.h"
#include "text/text.h"
#include "watch/throttle.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define AT_LENGTH_US       3000000   /* a statement that goes on for so long keeps no place from a login that has none: most steps are shorter */
#define TICK_US            1000000   /* how often status and journal are looked after while a job runs */
#define TELL_EVERY_US                                                                                        \
    10000000 /* the same words with other numbers are written to the job so often at first, */
#define TELL_RARELY_US 600000000 /* and at last: each is a version of its row */
#define HOURS_SOON_MS  20        /* its hours are not asked for more often: the server's clock differs */
#define TOO_SLOW_TRIES 2         /* of a question about the job, ten seconds each, in which nobody else is answered */
#define ROUNDING_MS    1         /* a wait that the monitor read as at its limit may be that much below */

struct worker {
    struct worker_setup setup;
    struct job *job;
    struct runner runner;
    struct throttle throttle;
    struct runner_action action; /* under way */
    uint64_t acts_since_us;
    bool told_at_length; /* that this one takes long */
    struct hand hand;
    struct step step;     /* of STEP */
    struct survey survey;
    char *planned;      /* when the control session began on which the relations were laid out last */
    struct range range; /* or row, in hand */
    char *no_room;  /* what the runner is told of the disk */
    bool ended, failed;
    bool was_ours;       /* it ended by writing how; else another daemon has it */
    struct event *timer; /* the end of a rest, or something that must be reported from the loop */
    struct event *tick;
    struct event *hours;         /* the end of the job's active hours */
    uint64_t hours_end_us;       /* 0: none */
    char *given_back;            /* why the job goes back to the queue, when its hours ended */
    double share;                /* of the database's max_rows_per_s; 0: no limit */
    struct runner_event pending; /* what the timer reports */

    char *holders; /* of the rows that were tried again last and are locked still: "locked by pid 4711 (app)" */
    char *locked;  /* what the job waits for, when those are all that is left */
    bool relieves; /* an abort is for somebody who waits on the batch */

    char *shown_waiting; /* what job.waiting_for says, or will when the request is answered */
    bool retell;         /* the server may have lost it */
    bool telling;        /* that is being written; never two at once, nor any while the server is away */
    uint64_t told_us, tell_every_us;
    bool asking_progress; /* of a step */
    bool untangling;      /* it is asked who waits for a build that waits for them */
    int too_slow;         /* answers in a row that the control session didn't get in time */

    struct doubt doubt; /* about an error */
    struct report report;
};

static void feed(struct worker *w, const struct runner_event *e);

static const struct runner_event lost = {.kind = RUNNER_LOST, .message = "the connection was lost", .sqlstate = SQLSTATE_LOST};

/* ---- Small things
 * -------------------------------------------------------------------------------------------------- */

/* ---- What a runner's action means
 * ---------------------------------------------------------------------------------- */

/* Reports e from the event loop, after the handlers that run now. */
static void feed_later(struct worker *w, const struct runner_event *e)
{
    w->pending = *e;
    event_active(w->timer, EV_TIMEOUT, 1);
}

static void on_timer(evutil_socket_t socket, short what, void *arg)
{
    struct worker *w = arg;
    struct runner_event e = w->pending;
    (void)socket;
    (void)what;
    w->pending = (struct runner_event){.kind = RUNNER_DONE};
    feed(w, &e);
}

static void send_queries(struct worker *w, const struct session_query *queries, int n, int n_needed)
{
    if (!hand_send(&w->hand, queries, n, n_needed))
        feed_later(w, &lost);
}

static enum hand_limits limits_for(const struct worker *w, const struct runner_action *a)
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
    enum hand_limits wanted = limits_for(w, a);
    bool sent;

    if (!action_has_session(a->kind) || a->kind == RUNNER_CONNECT || !hand_limit_first(&w->hand, wanted, lock_ms_for(w, wanted), &sent))
        return false;
    if (!sent)
        feed_later(w, &lost);
    return true;
}

static void send_batch(struct worker *w, const struct runner_action *a)
{
    struct session_query queries[2];
    int n = range_batch(&w->range, &w->runner, a, queries);
    send_queries(w, queries, n, 1); /* the next bound is found again */
}

static void send_one(struct worker *w, struct session_query query)
{
    send_queries(w, &query, 1, 1);
}

static void on_control(void *arg, const struct session_event *e);

static void ask_then(struct worker *w, const struct session_query *query, control_answer *answer)
{
    control_ask(w->setup.control, query, answer, w);
}

static void ask(struct worker *w, const struct session_query *query)
{
    ask_then(w, query, on_control);
}

static void on_named(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    report_say_locked(&w->report, e->kind == SESSION_RESULT ? result_only(e->results[0]) : NULL);
}

/* Who has locked the rows that were put aside is said when their names are known. */
static void name_holders(struct worker *w, bool at_once)
{
    _cleanup_free_ char *pids = report_name_locked(&w->report, at_once, now_us());
    if (pids)
        control_ask(w->setup.control, &(struct session_query){SQL_SESSION_NAMES, 1, {pids}}, on_named, w);
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
    _cleanup_free_ char *both = NULL;
    if (!hint && r->work.ending.names_row)
        hint = "Correct the row, or pass over such rows (UPDATE backfill.job SET on_error = 'quarantine'), then SELECT backfill.retry(name). "
               "For another clause SELECT backfill.forget(name), then insert the job anew.";
    else if (r->work.ending.state == JOB_SUCCEEDED && r->work.counts.put_aside > 0)
        hint = "Rows were left behind: SELECT * FROM backfill.left_behind; then SELECT backfill.retry(name).";
    if (r->migration.plan.in_step && r->migration.phase > PHASE_EXPAND && r->work.ending.state != JOB_CANCELLED) {
        if (asprintf(&both, "%s%sIts trigger keeps rows in step until SELECT backfill.finish(name).",
                hint ? hint : "", hint ? " " : "") < 0)
            abort();
        hint = both;
    }
    ask(w, &(struct session_query){SQL_END_JOB, 6,
               {number_text(job, w->job->id), job_phase_name(r->migration.phase), job_state_name(r->work.ending.state), r->work.ending.error,
                   hint, json}});
}

static void on_relieved(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    const char *who = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "who") : NULL;

    if (who)
        report_relieved(&w->report, who, (double)result_number(e->results[0], 0, "ms"),
            w->throttle.limits.limit[SIGNAL_BLOCKED_MS], now_us());
    if (e->kind == SESSION_ERROR)
        hand_cancel_aside(&w->hand);
}

static void abort_action(struct worker *w)
{
    int64_t relieve_ms = (int64_t)w->throttle.limits.limit[SIGNAL_BLOCKED_MS] - ROUNDING_MS;

    if (!hand_abort(&w->hand, w->action.kind == RUNNER_CONNECT, w->relieves ? on_relieved : NULL, relieve_ms, w))
        feed_later(w, &(struct runner_event){.kind = RUNNER_LOST, .message = "given up", .sqlstate = SQLSTATE_LOST});
}

static void on_session(struct session *session, const struct session_event *e, void *arg);

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
    char job[24], n[24], more[24];

    number_text(job, w->job->id);
    if (a->kind == RUNNER_LAYOUT)
        ask(w, &(struct session_query){SQL_LAYOUT, 3, {job, phase, w->planned}});
    else if (a->kind == RUNNER_ADD_RANGE)
        ask(w, &(struct session_query){SQL_ADD_RANGE, 4, {job, relation->oid, relation->upper, w->planned}});
    else if (a->kind == RUNNER_BEGIN)
        ask(w, &(struct session_query){SQL_BEGIN_PHASE, 7,
                   {job, phase, job_phase_name(a->phase), a->estimate ? number_text(n, (int64_t)a->estimate) : NULL, w->survey.seen,
                       bytes >= 0 ? number_text(more, bytes) : NULL, a->planned ? w->planned : NULL}});
    else if (a->kind == RUNNER_NEXT_STEP)
        ask(w, &(struct session_query){SQL_NEXT_STEP, 2, {job, phase}});
    else if (a->kind == RUNNER_TAKE)
        ask(w, &(struct session_query){SQL_TAKE_RANGE, 4, {job, phase, number_text(n, r->walker.round.last), number_text(more, a->keys)}});
    else if (a->kind == RUNNER_PUT_ASIDE && !r->walker.range)
        ask(w, &(struct session_query){SQL_LEAVE_ROW, 4, {number_text(n, r->walker.round.last), row->sqlstate, row->message, row->detail}});
    else if (a->kind == RUNNER_PUT_ASIDE)
        ask(w, &(struct session_query){SQL_PUT_ASIDE, 7,
                   {number_text(n, r->walker.range), number_text(more, r->walker.epoch), r->walker.cursor, r->walker.hi, row->sqlstate,
                       row->message, row->detail}});
    else if (a->kind == RUNNER_GIVE_WAY)
        ask(w, &(struct session_query){SQL_GIVE_WAY, 4, {job, number_text(n, (int64_t)away_ms), number_text(more, a->tries), r->work.patience.waiting_for}});
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
    if (!action_is_work(w->runner.again))
        report_retry(&w->report);
    w->pending = (struct runner_event){.kind = RUNNER_DONE};
    event_add(w->timer, &wait);
}

static void perform(struct worker *w, const struct runner_action *a)
{
    const struct runner *r = &w->runner;

    if (a->kind == RUNNER_ABORT)
        abort_action(w);
    if (a->kind == RUNNER_NONE || a->kind == RUNNER_ABORT)
        return;
    w->action = *a;
    w->acts_since_us = now_us();
    w->told_at_length = false;
    event_del(w->timer);
    if (limit_first(w, a))
        return;
    if (a->kind == RUNNER_STEP)
        report_step(&w->report, &w->step);
    if (a->kind == RUNNER_PUT_ASIDE)
        report_put_aside(&w->report, w->range.key_columns);
    if (a->kind == RUNNER_FINISH || a->kind == RUNNER_RELEASE)
        name_holders(w, true);

    switch (a->kind) {
    case RUNNER_CONNECT: hand_connect(&w->hand, w->setup.conninfo, w->job, on_session, w); break;
    case RUNNER_SURVEY: send_one(w, survey_last(&w->survey, a->relation)); break;
    case RUNNER_STEP: send_one(w, step_query(&w->step, job_phase_name(r->migration.phase))); break;
    case RUNNER_BOUND: send_one(w, range_bound(&w->range, r, a->keys)); break;
    case RUNNER_BATCH: send_batch(w, a); break;
    case RUNNER_RETRY: send_one(w, range_retry(&w->range, r)); break;
    case RUNNER_COMPARE: send_one(w, range_compare(&w->range, r)); break;
    case RUNNER_LAYOUT:
    case RUNNER_ADD_RANGE:
    case RUNNER_BEGIN:
    case RUNNER_NEXT_STEP:
    case RUNNER_TAKE:
    case RUNNER_PUT_ASIDE:
    case RUNNER_GIVE_WAY:
    case RUNNER_FINISH:
    case RUNNER_RELEASE: perform_by_control(w, a); break;
    case RUNNER_REST: rest(w, a); break;
    case RUNNER_END: end(w); break;
    case RUNNER_NONE:
    case RUNNER_ABORT: break;
    }
}

/* ---- What came of it
 * ------------------------------------------------------------------------------------------------ */

static void feed(struct worker *w, const struct runner_event *e)
{
    enum job_phase phase = w->runner.migration.phase;
    uint64_t now = now_us();

    throttle_judge(&w->throttle, w->setup.monitor, now, &w->runner.work.pace.others, &w->runner.work.pace.host);
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
        report_end(&w->report, w->was_ours ? &w->action : NULL, w->given_back);
    }
    if (w->runner.migration.phase != phase)
        report_phase(&w->report, w->survey.n_relations);
    perform(w, &next);
}

static void on_settled(void *arg, const struct runner_event *event)
{
    struct worker *w = arg;
    if (!w->ended)
        feed(w, event);
}

static void on_roles_changed(void *arg)
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

    return of_job && same_string(e->sqlstate, "57014") && ++w->too_slow >= TOO_SLOW_TRIES;
}

/* The control session has answered. */
static void on_control(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    struct runner_event event = {.kind = RUNNER_DONE};

    if (w->ended)
        return;
    if (e->kind == SESSION_ERROR && is_too_slow(w, e)) {
        feed(w, &(struct runner_event){.kind = RUNNER_ERROR,
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
            survey_take(&w->survey, layout);
            event.n_relations = w->survey.n_relations;
            replace_string(&w->planned, control_start(w->setup.control));
        }
    } else if (w->action.kind == RUNNER_TAKE) {
        range_take(&w->range, e->results[0], &event);
        if (event.outcome == RUNNER_TAKE_LOCKED)
            say_locked_still(w, result_number(e->results[0], 0, "locked"), &event);
    } else if (w->action.kind == RUNNER_NEXT_STEP) {
        event.has_step = step_take(&w->step, e->results[0]);
        event.clears = step_clears(&w->step);
        event.builds = step_builds(&w->step);
    } else if (w->action.kind == RUNNER_BEGIN) {
        event.look = look_of(result_text(e->results[0], 0, "outcome"));
        event.walk = result_number(e->results[0], 0, "walk");
        report_preflight(&w->report, result_text(e->results[0], 0, "preflight"));
        replace_string(&w->survey.seen, NULL);
    } else if (w->action.kind == RUNNER_GIVE_WAY) {
        event.look = look_of(result_text(e->results[0], 0, "outcome"));
        event.gave_way = same_string(result_text(e->results[0], 0, "outcome"), "given");
    } else if (w->action.kind == RUNNER_FINISH) {
        event.look = look_of(result_text(e->results[0], 0, "outcome"));
        if (w->runner.migration.phase != PHASE_TIDY) {
            report_slower(&w->report, result_text(e->results[0], 0, "slower"));
            if (result_text(e->results[0], 0, "rows"))
                report_total(&w->report, (uint64_t)result_number(e->results[0], 0, "rows"), (uint64_t)result_number(e->results[0], 0, "batches"),
                             result_text(e->results[0], 0, "not_proven"));
        }
    }
    feed(w, &event);
}

static void on_batch(struct worker *w, const struct session_event *e, struct runner_event *event)
{
    const PGresult *batch = e->results[0];

    event->rows = (uint64_t)result_number(batch, 0, "rows");
    event->wal_bytes = (uint64_t)result_number(batch, 0, "wal_bytes");
    event->elapsed_us = e->elapsed_us[0];
    event->bound_unknown = w->action.next_keys && !e->results[1];
    event->bound = w->action.next_keys && e->results[1] ? result_only(e->results[1]) : NULL;
    replace_string(&w->range.at, result_text(batch, 0, "now_at"));
    if (w->action.skipping) {
        event->skipped = (uint64_t)result_number(batch, 0, "skipped");
        report_locked(&w->report, event->skipped, result_text(batch, 0, "holders"));
        name_holders(w, false);
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
    if (asprintf(&message, "%s waits for a lock on %s: %s",
            w->action.kind == RUNNER_STEP ? w->step.name : "preflight", w->job->target,
            who ? who : "somebody held one") < 0)
        abort();
    feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = SQLSTATE_LOCK, .message = message});
}

static void ask_holders(struct worker *w, const char *relation)
{
    char pid[24];
    ask_then(w, &(struct session_query){SQL_TABLE_HOLDERS, 2, {relation, number_text(pid, worker_pid(w))}},
        on_holders);
}

static void on_step_error(struct worker *w, const struct session_event *e)
{
    char job[24];
    struct session_event named = *e;

    if (same_string(e->sqlstate, SQLSTATE_LOCK)) {
        ask_holders(w, w->step.relation);
        return;
    }
    if (same_string(e->sqlstate, "23505"))
        ask_then(w,
            &(struct session_query){SQL_DUPLICATE, 3, {number_text(job, w->job->id), e->message, e->detail}},
            NULL);
    if (!named.hint || same_string(e->sqlstate, "2BP01")) /* the server's own is CASCADE */
        named.hint = step_hint(&w->step, e->sqlstate);
    feed_error(w, &named);
}

static void on_session_error(struct worker *w, const struct session_event *e)
{
    bool of_limits = w->hand.limiting;

    w->hand.limiting = false;
    if (of_limits || e->lost)
        feed_error(w, e);
    else if (w->action.kind == RUNNER_STEP)
        on_step_error(w, e);
    else if (w->action.kind == RUNNER_SURVEY && same_string(e->sqlstate, SQLSTATE_LOCK))
        ask_holders(w, w->survey.relations[w->action.relation].oid);
    else
        feed_error(w, e);
}

/* Whether the action's own statement is still to come: then it is sent, unless the action is to be given up. */
static bool go_on_after_part(struct worker *w)
{
    bool is_part = w->hand.limiting;
    struct runner_action then = w->action;

    if (is_part)
        hand_limited(&w->hand, limits_for(w, &w->action));
    else if (w->action.kind == RUNNER_STEP && w->step.apart && !w->step.looked)
        is_part = w->step.looked = true;
    if (is_part && w->hand.cut_short)
        feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = "57014", .message = "given up before it began"});
    else if (is_part)
        perform(w, &then);
    return is_part;
}

/* What a session's action answered. False: there is more to ask first, and that is sent. */
static bool read_answer(struct worker *w, const struct session_event *e, struct runner_event *event)
{
    const PGresult *first = e->results[0];

    if (w->action.kind == RUNNER_SURVEY && !w->survey.knows_last) {
        if (survey_take_last(&w->survey, w->action.relation, first)) {
            send_one(w, survey_query(&w->survey, w->action.relation, w->action.at_once));
            return false;
        }
        event->empty = true;
    } else if (w->action.kind == RUNNER_SURVEY)
        event->empty = !survey_take_seen(&w->survey, w->action.relation, first, &event->estimate);
    else if (w->action.kind == RUNNER_BOUND)
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
static void on_session(struct session *session, const struct session_event *e, void *arg)
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
        feed(w, &(struct runner_event){.kind = RUNNER_LOST, .sqlstate = SQLSTATE_LOST, .message = e->message});
        return;
    case SESSION_RESULT: break;
    }
    if (!go_on_after_part(w) && read_answer(w, e, &event))
        feed(w, &event);
}

/* ---- From outside
 * ---------------------------------------------------------------------------------------------------- */

static void on_progress(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    w->asking_progress = false;
    if (e->kind == SESSION_RESULT && PQntuples(e->results[0]) > 0)
        replace_string(&w->step.progress, result_only(e->results[0]));
}

static void on_told(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    (void)e;
    w->telling = false;
}

/* But for the numbers in it. */
static bool same_words(const char *a, const char *b)
{
    static const char numbers[] = "0123456789.";

    if (!a || !b)
        return a == b;
    for (;;) {
        a += strspn(a, numbers);
        b += strspn(b, numbers);
        if (*a != *b || *a == '\0')
            return *a == *b;
        a++;
        b++;
    }
}

/* Writes why the job waits to its row. */
static void tell_waiting(struct worker *w, const char *text, uint64_t now_us)
{
    char job[24];
    _cleanup_free_ char *waiting = text_line(text, TEXT_MESSAGE);
    bool same = same_words(w->shown_waiting, waiting);

    if (w->telling || !control_is_ready(w->setup.control) ||
        (!w->retell && (same_string(w->shown_waiting, waiting) || (same && now_us - w->told_us < w->tell_every_us))))
        return;
    w->retell = false;
    w->tell_every_us = !same                               ? TELL_EVERY_US
                       : w->tell_every_us < TELL_RARELY_US ? 2 * w->tell_every_us
                                                           : TELL_RARELY_US;
    w->told_us = now_us;
    w->telling = true;
    replace_string(&w->shown_waiting, waiting);
    ask_then(
        w, &(struct session_query){SQL_WAITING_FOR, 2, {number_text(job, w->job->id), waiting}}, on_told);
}

static void on_tick(evutil_socket_t socket, short what, void *arg)
{
    struct worker *w = arg;
    uint64_t now = now_us();
    _cleanup_free_ char *waiting = report_look(&w->report, TICK_US, now);
    char pid[24];
    (void)socket;
    (void)what;

    name_holders(w, false);
    if (action_has_session(w->action.kind))
        hand_look(&w->hand, now);
    if (w->action.kind == RUNNER_STEP && same_string(w->step.name, "build index") && !w->asking_progress &&
        control_is_ready(w->setup.control)) {
        w->asking_progress = true;
        ask_then(w, &(struct session_query){SQL_INDEX_PROGRESS, 1, {number_text(pid, worker_pid(w))}},
            on_progress);
    }
    tell_waiting(w, waiting, now);
    if (!w->told_at_length && worker_is_at_length(w)) {
        w->told_at_length = true;
        w->setup.at_length(w->setup.arg);
    }
}

static void on_hours(evutil_socket_t socket, short what, void *arg)
{
    struct worker *w = arg;
    (void)socket;
    (void)what;
    if (worker_hours_are_over(w))
        w->setup.hours_over(w, w->setup.arg);
    else /* the server's clock is not ours, and the timer may be early */
        event_add(w->hours, &(struct timeval){.tv_usec = HOURS_SOON_MS * 1000});
}

/* Puts the file's settings and the job's overrides together, for the runner and for the pressure. */
static void apply_limits(struct worker *w)
{
    const struct config_batch *batch = w->setup.batch;
    const struct job *job = w->job;
    double rate = job->max_rows_per_s;
    const struct runner_limits limits = {
        .pace.target_us = (job->target_ms ? job->target_ms : (uint32_t)batch->target_ms) * 1000,
        .pace.busy_us = (uint32_t)batch->busy_target_ms * 1000,
        .pace.busy_share = batch->busy_share,
        .pace.min_keys = (uint32_t)batch->min_rows,
        .pace.max_keys = (uint32_t)batch->max_rows,
        .pace.max_keys_per_s = rate > 0 && (w->share <= 0 || rate < w->share) ? rate : w->share,
        .quarantine = job->quarantine,
    };

    runner_limit(&w->runner, &limits);
    throttle_set(&w->throttle, job, w->setup.throttle);
}

struct worker *worker_start(
    const struct worker_setup *setup, struct job *job, uint64_t keys_done, uint64_t estimate)
{
    struct worker *w = must(calloc(1, sizeof(*w)));
    struct timeval tick = us_to_timeval(TICK_US);

    w->setup = *setup;
    w->job = job;
    w->hand = (struct hand){.base = setup->base, .control = setup->control, .monitor = setup->monitor, .batch = setup->batch};
    w->doubt = (struct doubt){.control = setup->control, .job = job, .settled = on_settled, .roles_changed = on_roles_changed, .arg = w};
    uint64_t now = now_us();
    w->timer = must(event_new(setup->base, -1, 0, on_timer, w));
    w->tick = must(event_new(setup->base, -1, EV_PERSIST, on_tick, w));
    w->hours = must(event_new(setup->base, -1, 0, on_hours, w));
    event_add(w->tick, &tick);
    runner_init(&w->runner, job->phase, estimate, keys_done,
        &(struct runner_limits){.pace.min_keys = 1, .pace.max_keys = BATCH_FIRST_KEYS},
        now ^ ((uint64_t)getpid() << 32) ^ (uint64_t)job->id, now);
    runner_plan(&w->runner, job->plan, job->lacking);
    runner_gave_way(&w->runner, job->gave_way);
    apply_limits(w);
    report_init(&w->report, setup->database, job, &w->runner, now);
    w->report.step = &w->step;
    report_start(&w->report, keys_done > 0);
    feed(w, &(struct runner_event){.kind = RUNNER_START});
    return w;
}

void worker_want(struct worker *w, enum runner_want want)
{
    if (!w->ended && w->runner.want != want)
        feed(w, &(struct runner_event){.kind = RUNNER_WANT, .want = want});
}

void worker_limit(struct worker *w, const struct worker_overrides *overrides)
{
    w->job->target_ms = overrides->target_ms;
    w->job->max_rows_per_s = overrides->max_rows_per_s;
    w->job->max_lag_ms = overrides->max_lag_ms;
    w->job->quarantine = overrides->quarantine;
    replace_string(&w->job->throttle_off, overrides->throttle_off);
    apply_limits(w);
}

void worker_share(struct worker *w, double rows_per_s)
{
    w->share = rows_per_s;
    apply_limits(w);
}

void worker_end_hours_in(struct worker *w, int64_t ms)
{
    if (ms == WORKER_NO_END || w->ended) {
        w->hours_end_us = 0;
        event_del(w->hours);
        return;
    }
    uint64_t left_us = (uint64_t)(ms > HOURS_SOON_MS ? ms : HOURS_SOON_MS) * 1000;
    struct timeval wait = us_to_timeval(left_us);
    w->hours_end_us = now_us() + left_us;
    event_add(w->hours, &wait);
}

void worker_give_back(struct worker *w, const char *why)
{
    if (w->ended || w->given_back)
        return;
    worker_end_hours_in(w, WORKER_NO_END);
    w->given_back = copy_string(why);
    worker_want(w, RUNNER_WANT_LEAVE);
}

bool worker_is_given_back(const struct worker *w)
{
    return w->given_back != NULL;
}

bool worker_is_at_length(const struct worker *w)
{
    return !w->ended && action_has_session(w->action.kind) && w->action.kind != RUNNER_CONNECT && now_us() - w->acts_since_us >= AT_LENGTH_US;
}

bool worker_hours_are_over(const struct worker *w)
{
    return w->hours_end_us > 0 && now_us() >= w->hours_end_us;
}

void worker_use(struct worker *w, const struct config_batch *batch, const struct config_throttle *throttle)
{
    w->setup.batch = w->hand.batch = batch;
    w->setup.throttle = throttle;
    apply_limits(w);
}

static void on_untangled(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    const char *who = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "who") : NULL;

    w->untangling = false;
    if (who)
        report_untangled(&w->report, who);
}

/* An index build that waits for who waits for it: its session is the server's to end, within a deadlock_timeout. */
static void untangle(struct worker *w)
{
    char pid[24];

    if (w->action.kind != RUNNER_STEP || !w->step.apart || !w->step.looked || w->untangling || !control_is_ready(w->setup.control) ||
        !monitor_sees_wait(w->setup.monitor, worker_pid(w)))
        return;
    w->untangling = true;
    ask_then(w, &(struct session_query){SQL_UNTANGLE, 1, {number_text(pid, worker_pid(w))}}, on_untangled);
}

void worker_reconnect(struct worker *w)
{
    w->retell = true;
    if (!w->ended && w->action.kind == RUNNER_REST && worker_pid(w) == 0 && event_pending(w->timer, EV_TIMEOUT, NULL))
        event_active(w->timer, EV_TIMEOUT, 1);
}

void worker_press(struct worker *w)
{
    const struct pressure *pressure = monitor_pressure(w->setup.monitor);

    if (!w->ended)
        untangle(w);
    /* The verdict may name another signal, which is worse; who waits is let through all the same. */
    if (w->ended || !pressure->there[SIGNAL_BLOCKED_MS] || w->throttle.limits.off[SIGNAL_BLOCKED_MS] ||
        pressure->readings[SIGNAL_BLOCKED_MS].value < w->throttle.limits.limit[SIGNAL_BLOCKED_MS] ||
        !action_has_session(w->action.kind) || w->action.kind == RUNNER_CONNECT || w->action.kind == RUNNER_BOUND)
        return;
    w->relieves = true;
    feed(w, &(struct runner_event){.kind = RUNNER_RELIEVE});
    w->relieves = false;
}

void worker_renew(struct worker *w, const char *token)
{
    replace_string(&w->job->token, token);
    w->hand.gone = w->hand.session != NULL; /* it is no worker's any more */
}

int worker_pid(const struct worker *w)
{
    return w->hand.session ? session_pid(w->hand.session) : 0;
}

int64_t worker_job(const struct worker *w)
{
    return w->job->id;
}

bool worker_has_ended(const struct worker *w)
{
    return w->ended;
}

bool worker_was_ours(const struct worker *w)
{
    return w->was_ours;
}

const struct job *worker_of(const struct worker *w, enum job_phase *ret_phase)
{
    *ret_phase = w->runner.migration.phase;
    return w->job;
}

bool worker_has_failed(const struct worker *w)
{
    return w->failed;
}

bool worker_is_leaving(const struct worker *w)
{
    return w->action.kind == RUNNER_RELEASE || w->action.kind == RUNNER_FINISH;
}

char *worker_bar_text(struct worker *w, const char *away)
{
    struct journal_progress p = report_progress(&w->report);
    return journal_bar_text(w->job->name, &p, away ? away : w->runner.work.patience.waiting_for);
}

bool worker_view(struct worker *w, struct job_view *ret_view)
{
    if (w->ended && !w->was_ours)
        return false;
    job_view_fill(ret_view, w->setup.database, w->job, &w->runner, &w->throttle);
    ret_view->started_at = snapshot_time(w->report.started_us);
    ret_view->moved_at = snapshot_time(w->report.moved_at_us);
    if (w->ended) {
        ret_view->state = w->runner.work.ending.state;
        ret_view->slow = SLOW_NOT;
        ret_view->ended_at = snapshot_now();
    }
    return true;
}

struct worker *worker_free(struct worker *w)
{
    if (!w)
        return NULL;
    control_forget(w->setup.control, w);
    control_forget(w->setup.control, &w->hand);
    control_forget(w->setup.control, &w->doubt);
    monitor_forget(w->setup.monitor, w);
    monitor_forget(w->setup.monitor, &w->hand);
    hand_close(&w->hand);
    event_free(w->timer);
    event_free(w->tick);
    event_free(w->hours);
    free(w->holders);
    free(w->locked);
    free(w->planned);
    survey_done(&w->survey);
    range_done(&w->range);
    step_done(&w->step);
    free(w->shown_waiting);
    doubt_done(&w->doubt);
    free(w->given_back);
    free(w->no_room);
    report_done(&w->report);
    runner_done(&w->runner);
    job_free(w->job);
    free(w);
    return NULL;
}
