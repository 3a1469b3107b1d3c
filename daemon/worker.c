#include "worker.h"
#include "clock.h"
#include "cursor.h"
#include "host.h"
#include "mem.h"
#include "range.h"
#include "report.h"
#include "result.h"
#include "schema.h"
#include "snapshot.h"
#include "sql.h"
#include "step.h"
#include "survey.h"
#include "text.h"
#include "throttle.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000
#define ANSWER_MARGIN_MS   5000 /* beyond statement_timeout: then the network is gone, not the query slow */
#define STEP_TIMEOUT_MS    604800000 /* a step that reads a table of terabytes, or indexes it: a week */
#define OBEYS_US           5000000   /* an action that is cut short and goes on for so long doesn't obey: its session is ended */
#define AT_LENGTH_US       3000000   /* a statement that goes on for so long keeps no place from a login that has none: most steps are shorter */
#define TICK_US            1000000   /* how often status and journal are looked after while a job runs */
#define TELL_EVERY_US                                                                                        \
    10000000 /* the same words with other numbers are written to the job so often at first, */
#define TELL_RARELY_US 600000000 /* and at last: each is a version of its row */
#define HOURS_SOON_MS  20        /* its hours are not asked for more often: the server's clock differs */
#define TOO_SLOW_TRIES 2         /* of a question about the job, ten seconds each, in which nobody else is answered */
#define ROUNDING_MS    1         /* a wait that the monitor read as at its limit may be that much below */

/* What a session's statements are held to. */
enum limits {
    LIMITS_BATCH, /* short */
    LIMITS_STEP,  /* it may take its time, but waits for a lock no longer than others may wait on it */
    LIMITS_APART, /* nor does it mind to wait: what builds an index concurrently waits for transactions, nobody for it */
};

struct worker {
    struct worker_setup setup;
    struct job *job;
    struct runner runner;
    struct throttle throttle;
    struct runner_action action; /* under way */
    uint64_t acts_since_us;
    bool told_at_length; /* that this one takes long */
    struct session *session;
    bool session_gone; /* it was lost while the runner waited for something else */
    enum limits limits;
    uint32_t lock_ms;     /* its lock_timeout */
    uint32_t limiting_ms; /* and what that is being changed to */
    bool limiting;        /* that is being changed; then comes the action */
    struct step step;     /* of STEP */
    struct survey survey;
    char *planned;      /* when the control session began on which the relations were laid out last */
    struct range range; /* or row, in hand */
    bool cut_short; /* the action under way is to be given up, also when a part of it was quicker */
    uint64_t cut_short_us; /* since when, or when its session was last told to end; 0: it isn't */
    int pid;               /* of the session, also when that is gone */
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

    bool unsure; /* it is asked whether the control schema is another version's, or a role another's; then this error is told */
    char *unsure_sqlstate, *unsure_message, *unsure_hint;
    struct report report;
};

static void feed(struct worker *w, const struct runner_event *e);

/* ---- Small things
 * -------------------------------------------------------------------------------------------------- */

/* A number as a parameter. */
static const char *number_text(char buffer[24], int64_t n)
{
    snprintf(buffer, 24, "%" PRId64, n);
    return buffer;
}

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
    if (w->session_gone || !w->session)
        feed_later(
            w, &(struct runner_event){
                   .kind = RUNNER_LOST, .message = "the connection was lost", .sqlstate = SQLSTATE_LOST});
    else
        session_send(w->session, queries, n, n_needed,
            w->limits != LIMITS_BATCH && !w->limiting
                ? STEP_TIMEOUT_MS
                : (uint32_t)(n * w->setup.batch->statement_timeout_ms) + ANSWER_MARGIN_MS); /* each has its own */
}

static enum limits limits_for(const struct worker *w, const struct runner_action *a)
{
    return a->kind != RUNNER_STEP ? LIMITS_BATCH : w->step.apart && w->step.looked ? LIMITS_APART : LIMITS_STEP;
}

/* The session's lock_timeout, in ms; 0: none. */
static uint32_t lock_ms_for(const struct worker *w, enum limits limits)
{
    const struct pressure_limits *others = &w->throttle.limits;
    uint32_t first = (uint32_t)w->setup.batch->lock_timeout_ms;

    switch (limits) {
    case LIMITS_BATCH: return first;
    case LIMITS_STEP:
        return migration_lock_ms(w->runner.work.patience.pause.tries, first,
            others->off[SIGNAL_BLOCKED_MS] ? 0 : others->limit[SIGNAL_BLOCKED_MS]);
    case LIMITS_APART: break;
    }
    return 0;
}

/* Whether the session's limits have to be changed first: then that is under way, and the action comes after it. */
static bool limit_first(struct worker *w, const struct runner_action *a)
{
    const struct config_batch *b = w->setup.batch;
    enum limits wanted = limits_for(w, a);
    uint32_t lock_ms = lock_ms_for(w, wanted);
    char statement_text[24], lock_text[24];

    if (!action_has_session(a->kind) || a->kind == RUNNER_CONNECT || (w->limits == wanted && w->lock_ms == lock_ms))
        return false;
    w->limiting_ms = lock_ms;
    w->limiting = true;
    send_queries(w,
        &(struct session_query){SQL_LIMIT_SESSION, 3,
            {number_text(statement_text, wanted == LIMITS_BATCH ? b->statement_timeout_ms : 0),
                b->synchronous_commit, number_text(lock_text, lock_ms)}},
        1, 1);
    return true;
}

static void send_role(struct worker *w)
{
    const struct job *job = w->job;
    const struct config_batch *b = w->setup.batch;
    char lock_timeout[24], statement_timeout[24];

    w->lock_ms = (uint32_t)b->lock_timeout_ms;
    const struct session_query queries[] = {{SQL_LOGIN, 1, {job->login}},
        {SQL_ROLE, 9,
            {job->settings, job->search_path, job->time_zone, job->date_style, number_text(lock_timeout, b->lock_timeout_ms),
                number_text(statement_timeout, b->statement_timeout_ms), b->synchronous_commit,
                strcmp(job->owner, job->submitted_by) == 0 ? NULL : job->owner, job->session}},
        {SQL_BEGIN_SESSION, 2, {job->token, job->settings}}};
    send_queries(w, queries, 3, 3);
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
        hint = "Correct the row or the clause, then SELECT backfill.retry(name); or insert the job with "
               "on_error = 'quarantine'.";
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

static void on_cancelled(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    /* pg_signal_backend may not cancel a superuser's batch. */
    if (e->kind == SESSION_ERROR && w->session && !w->session_gone)
        session_cancel_aside(w->session);
}

static void on_relieved(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    const char *who = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "who") : NULL;

    if (who)
        report_relieved(&w->report, who, (double)result_number(e->results[0], 0, "ms"),
            w->throttle.limits.limit[SIGNAL_BLOCKED_MS], now_us());
    on_cancelled(arg, e);
}

/* Its work would go on, for nobody, and hold its locks. */
static void terminate_session(struct worker *w)
{
    char pid[24];

    if (w->pid > 0 && control_is_ready(w->setup.control))
        control_ask_first(w->setup.control, &(struct session_query){SQL_TERMINATE, 1, {number_text(pid, w->pid)}}, NULL, w);
}

static void abort_action(struct worker *w)
{
    char pid[24], limit[24];

    if (w->cut_short_us == 0)
        w->cut_short_us = now_us();

    w->cut_short = w->cut_short || !w->relieves;
    if (w->action.kind == RUNNER_CONNECT) {
        w->session = session_close(w->session);
        feed_later(
            w, &(struct runner_event){.kind = RUNNER_LOST, .message = "given up", .sqlstate = SQLSTATE_LOST});
    } else if (control_is_ready(w->setup.control) && w->relieves)
        control_ask_first(w->setup.control,
            &(struct session_query){SQL_RELIEVE, 2,
                {number_text(pid, session_pid(w->session)),
                    number_text(limit, (int64_t)w->throttle.limits.limit[SIGNAL_BLOCKED_MS] - ROUNDING_MS)}},
            on_relieved, w);
    else if (control_is_ready(w->setup.control))
        control_ask_first(w->setup.control,
            &(struct session_query){SQL_CANCEL, 1, {number_text(pid, session_pid(w->session))}}, on_cancelled,
            w);
    else
        session_cancel_aside(w->session);
}

static void on_session(struct session *session, const struct session_event *e, void *arg);

/* Whatever it is at, nobody waits for the answer. */
static void close_session(struct worker *w)
{
    if (w->session && !w->session_gone && !session_is_idle(w->session) && session_pid(w->session) > 0) {
        session_cancel_aside(w->session); /* the control session may be away */
        terminate_session(w);
    }
    w->session = session_close(w->session);
}

static void connect_worker(struct worker *w)
{
    _cleanup_free_ char *name = NULL;

    if (asprintf(&name, "backfilld %s", w->job->name) < 0)
        abort();
    close_session(w);
    w->session_gone = w->limiting = false;
    w->limits = LIMITS_BATCH;
    w->session = session_open(
        w->setup.base, w->setup.conninfo, w->job->submitted_by, name, NULL, CONNECT_TIMEOUT_MS, on_session, w);
    session_keep(w->session, SQL_RUN_BATCH);
}

/* What a preflight tells of the disk; -1: the server is elsewhere, or its files are out of sight. */
static int64_t free_bytes_of(const struct worker *w)
{
    const struct survey *s = &w->survey;
    bool local = s->seen && s->data_directory && w->session && session_is_local(w->session);
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
    close_session(w);
    w->setup.ended(w, w->setup.arg);
}

static void perform(struct worker *w, const struct runner_action *a)
{
    const struct runner *r = &w->runner;
    char job[24], n[24], epoch[24], free_bytes[24], tries[24], at_most[24];

    if (a->kind == RUNNER_ABORT)
        abort_action(w);
    if (a->kind == RUNNER_NONE || a->kind == RUNNER_ABORT)
        return;
    w->action = *a;
    w->acts_since_us = now_us();
    w->told_at_length = false;
    event_del(w->timer);
    number_text(job, w->job->id);
    if (limit_first(w, a))
        return;

    switch (a->kind) {
    case RUNNER_NONE:
    case RUNNER_ABORT: break;
    case RUNNER_CONNECT: connect_worker(w); break;
    case RUNNER_LAYOUT:
        ask(w, &(struct session_query){SQL_LAYOUT, 3, {job, job_phase_name(r->migration.phase), w->planned}});
        break;
    case RUNNER_SURVEY: send_one(w, survey_last(&w->survey, a->relation)); break;
    case RUNNER_ADD_RANGE: {
        const struct relation *relation = &w->survey.relations[a->relation];
        ask(w, &(struct session_query){SQL_ADD_RANGE, 4, {job, relation->oid, relation->upper, w->planned}});
        break;
    }
    case RUNNER_BEGIN: {
        int64_t bytes = free_bytes_of(w);
        ask(w, &(struct session_query){SQL_BEGIN_PHASE, 7,
                   {job, job_phase_name(r->migration.phase), job_phase_name(a->phase),
                       a->estimate ? number_text(n, (int64_t)a->estimate) : NULL, w->survey.seen,
                       bytes >= 0 ? number_text(free_bytes, bytes) : NULL, a->planned ? w->planned : NULL}});
        break;
    }
    case RUNNER_NEXT_STEP:
        ask(w, &(struct session_query){SQL_NEXT_STEP, 2, {job, job_phase_name(r->migration.phase)}});
        break;
    case RUNNER_STEP:
        report_step(&w->report, &w->step);
        send_one(w, step_query(&w->step, job_phase_name(r->migration.phase)));
        break;
    case RUNNER_TAKE:
        ask(w, &(struct session_query){
                   SQL_TAKE_RANGE, 4, {job, job_phase_name(r->migration.phase), number_text(n, r->walker.round.last), number_text(at_most, a->keys)}});
        break;
    case RUNNER_BOUND: send_one(w, range_bound(&w->range, r, a->keys)); break;
    case RUNNER_BATCH: send_batch(w, a); break;
    case RUNNER_RETRY: send_one(w, range_retry(&w->range, r)); break;
    case RUNNER_COMPARE: send_one(w, range_compare(&w->range, r)); break;
    case RUNNER_PUT_ASIDE:
        report_put_aside(&w->report, w->range.key_columns);
        if (!r->walker.range) {
            ask(w, &(struct session_query){SQL_LEAVE_ROW, 4,
                       {number_text(n, r->walker.round.last), r->walker.row.sqlstate, r->walker.row.message, r->walker.row.detail}});
            break;
        }
        ask(w, &(struct session_query){SQL_PUT_ASIDE, 7,
                   {number_text(n, r->walker.range), number_text(epoch, r->walker.epoch), r->walker.cursor, r->walker.hi, r->walker.row.sqlstate,
                       r->walker.row.message, r->walker.row.detail}});
        break;
    case RUNNER_REST: {
        uint64_t now = now_us();
        if (has_nowhere_to_go(w)) {
            report_left(&w->report);
            w->was_ours = true;
            end(w);
            break;
        }
        struct timeval wait = us_to_timeval(a->until_us > now ? a->until_us - now : 0);
        if (r->again != RUNNER_BATCH && r->again != RUNNER_RETRY)
            report_retry(&w->report);
        w->pending = (struct runner_event){.kind = RUNNER_DONE};
        event_add(w->timer, &wait);
        break;
    }
    case RUNNER_GIVE_WAY: {
        uint64_t now = now_us();
        ask(w, &(struct session_query){SQL_GIVE_WAY, 4,
                   {job, number_text(n, a->until_us > now ? (int64_t)(a->until_us - now) / 1000 : 0),
                       number_text(tries, a->tries), r->work.patience.waiting_for}});
        break;
    }
    case RUNNER_FINISH:
        name_holders(w, true);
        ask_finish(w);
        break;
    case RUNNER_RELEASE:
        name_holders(w, true);
        ask(w, &(struct session_query){SQL_RELEASE_JOB, 1, {job}});
        break;
    case RUNNER_END: end(w); break;
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

    if (next.kind != RUNNER_NONE && next.kind != RUNNER_ABORT) {
        w->cut_short = false;
        w->cut_short_us = 0;
    }
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

/* An --install of another version changes functions under a daemon that runs: that is no fault of the job's. */
static void on_installed(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    bool ours = e->kind == SESSION_RESULT && PQntuples(e->results[0]) == 1 &&
                same_string(result_text(e->results[0], 0, "checksum"), schema_checksum);
    _cleanup_free_ char *message = w->unsure_message, *hint = w->unsure_hint;

    w->unsure_message = w->unsure_hint = NULL;
    w->unsure = false;
    if (w->ended)
        return;
    if (ours)
        feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = "42883", .message = message, .hint = hint});
    else
        feed(w, &(struct runner_event){.kind = RUNNER_ERROR,
                    .sqlstate = SQLSTATE_OTHER_SCHEMA,
                    .message = "the control schema is another version's: restart backfilld"});
}

/* It can't log in, or set its role. Where one of them was renamed, or dropped, it goes back to the queue, from which it is claimed under
 * the names of today, or failed. */
static void on_has_roles(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    bool renamed = e->kind == SESSION_RESULT && !same_string(result_only(e->results[0]), "t");
    _cleanup_free_ char *sqlstate = w->unsure_sqlstate, *message = w->unsure_message, *hint = w->unsure_hint;

    w->unsure_sqlstate = w->unsure_message = w->unsure_hint = NULL;
    w->unsure = false;
    if (w->ended)
        return;
    if (renamed)
        worker_give_back(w, "the role that it logs in as, or runs as, was renamed or dropped");
    feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = sqlstate, .message = message, .hint = hint});
}

/* The server has refused it something, of which it names the object at most: what is missing, the catalog tells. */
static void on_why_denied(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    const char *problem = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "problem") : NULL;
    _cleanup_free_ char *sqlstate = w->unsure_sqlstate, *message = w->unsure_message, *hint = w->unsure_hint;

    w->unsure_sqlstate = w->unsure_message = w->unsure_hint = NULL;
    w->unsure = false;
    if (!w->ended)
        feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = sqlstate, .message = problem ? problem : message,
                    .hint = problem ? result_text(e->results[0], 0, "advice") : hint});
}

static void keep_unsure(struct worker *w, const struct runner_event *event)
{
    w->unsure = true;
    replace_string(&w->unsure_sqlstate, event->sqlstate);
    replace_string(&w->unsure_message, event->message);
    replace_string(&w->unsure_hint, event->hint);
}

static void ask_why_denied(struct worker *w, const struct runner_event *event)
{
    char job[24];

    keep_unsure(w, event);
    ask_then(w, &(struct session_query){SQL_WHY_DENIED, 1, {number_text(job, w->job->id)}}, on_why_denied);
}

static void ask_roles(struct worker *w, const struct runner_event *event)
{
    char job[24];

    keep_unsure(w, event);
    ask_then(w, &(struct session_query){SQL_HAS_ROLES, 3, {number_text(job, w->job->id), w->job->submitted_by, w->job->owner}},
        on_has_roles);
}

/* What the server says of a name may be said of a row's value that was taken for one: then only what the statement itself names is told. A column's name
 * is none, as a rule: a trigger's own statement has it. */
static char *told_message(const struct worker *w, const struct session_event *e)
{
    const struct runner_action *a = &w->action;
    bool of_rows = a->kind == RUNNER_BATCH || a->kind == RUNNER_RETRY || a->kind == RUNNER_COMPARE || a->kind == RUNNER_SURVEY;

    if (e->kind != SESSION_ERROR || e->in_text || !of_rows || !retry_is_final(e->sqlstate) || strncmp(e->sqlstate, "BF", 2) == 0 ||
        same_string(e->sqlstate, "42703"))
        return copy_string(e->message);
    return retry_named_message(e->message, a->kind == RUNNER_SURVEY ? w->survey.relations[a->relation].batch : w->range.batch);
}

static void feed_error(struct worker *w, const struct session_event *e)
{
    _cleanup_free_ char *message = told_message(w, e);
    bool too_large = same_string(e->sqlstate, SQLSTATE_TOO_LARGE); /* an answer like another, though the session is closed */
    struct runner_event event = {.kind = e->lost && !too_large ? RUNNER_LOST : RUNNER_ERROR,
        .sqlstate = e->sqlstate,
        .message = message,
        .hint = e->hint,
        .detail = e->key ? e->key : e->detail};
    bool denied = e->kind == SESSION_ERROR && !e->lost && same_string(e->sqlstate, "42501") && !e->hint;

    w->session_gone = w->session_gone || (e->lost && too_large);

    if (e->kind == SESSION_ERROR && !e->lost && same_string(e->sqlstate, "42883")) {
        w->unsure = true;
        replace_string(&w->unsure_message, message);
        replace_string(&w->unsure_hint, e->hint);
        ask_then(w, &(struct session_query){.sql = SQL_INSTALLED}, on_installed);
        return;
    }
    /* The session's own beginning (SQL_PIN, SQL_ROLE): it sets a role, and one setting that takes a right. */
    if (!e->lost && same_string(e->sqlstate, "42501") && w->action.kind == RUNNER_CONNECT)
        event.hint = "The job's login must be let SET ROLE to the job's role, and must not begin its sessions with session_replication_role = "
                     "replica, in which neither triggers nor foreign keys see what is written: GRANT the role, or ALTER ROLE ... RESET the "
                     "setting. Then SELECT backfill.retry(name).";
    else if (e->kind == SESSION_ERROR && !e->lost && same_string(e->sqlstate, "42501") && same_string(e->raised_by, "check_enable_rls")) {
        denied = false;
        /* The server's own would open the table to all that its owner runs. */
        event.hint = "Row-level security may hide rows of that table from the job: insert the job as a role with BYPASSRLS "
                     "(ALTER ROLE ... BYPASSRLS, by a superuser).";
    } else if (denied)
        event.hint = "The job's role needs what it had when the job was inserted: membership in backfill_submitter, and rights on "
                     "what the job touches. Then SELECT backfill.retry(name).";
    /* The server says which statement is not let write; why, is a setting's doing, for a standby takes no session of ours. */
    if (e->kind == SESSION_ERROR && !e->lost && same_string(e->sqlstate, SQLSTATE_READ_ONLY))
        event.message = "default_transaction_read_only is on, and was off when the job was inserted: the job waits until it is off "
                        "again, and goes on by itself (is a disk full?)";
    /* Its name is drawn for each session, and would make each time another message. */
    if (e->kind == SESSION_ERROR && same_string(e->sqlstate, "26000") && strstr(e->message, SESSION_KEPT))
        event.message = "code of others that runs in the job's session, a trigger say, has deallocated its prepared statements: it is opened anew";
    if (e->kind == SESSION_CONNECT_FAILED) {
        event.kind = RUNNER_ERROR;
        if (strncmp(e->sqlstate, "28", 2) == 0)
            event.hint = "backfilld logs in as the role that submitted the job: allow that in pg_hba.conf, "
                         "with a pg_ident map or a passfile.";
    }
    if (w->action.kind == RUNNER_CONNECT && e->sqlstate && (strncmp(e->sqlstate, "28", 2) == 0 || same_string(e->sqlstate, "22023")))
        ask_roles(w, &event);
    else if (denied && action_has_session(w->action.kind))
        ask_why_denied(w, &event);
    else
        feed(w, &event);
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
    if (!named.hint)
        named.hint = step_hint(&w->step, e->sqlstate);
    feed_error(w, &named);
}

/* The worker's session has connected or answered. */
static void on_session(struct session *session, const struct session_event *e, void *arg)
{
    struct worker *w = arg;
    struct runner_event event = {.kind = RUNNER_DONE};
    const PGresult *first = e->results ? e->results[0] : NULL;
    (void)session;

    if (!action_has_session(w->action.kind) || w->unsure) {
        w->session_gone = w->session_gone || e->lost || e->kind == SESSION_TIMED_OUT;
        return;
    }
    switch (e->kind) {
    case SESSION_CONNECTED:
        w->pid = session_pid(session);
        send_role(w);
        return;
    case SESSION_ERROR:
        if (w->limiting) {
            w->limiting = false;
            feed_error(w, e);
            return;
        }
        if (w->action.kind == RUNNER_STEP && !e->lost) {
            on_step_error(w, e);
            return;
        }
        if (w->action.kind == RUNNER_SURVEY && !e->lost && same_string(e->sqlstate, SQLSTATE_LOCK)) {
            ask_holders(w, w->survey.relations[w->action.relation].oid);
            return;
        }
        feed_error(w, e);
        return;
    case SESSION_CONNECT_FAILED: feed_error(w, e); return;
    case SESSION_TIMED_OUT:
        terminate_session(w);
        event = (struct runner_event){.kind = RUNNER_LOST, .sqlstate = SQLSTATE_LOST, .message = e->message};
        feed(w, &event);
        return;
    case SESSION_RESULT: break;
    }

    bool is_part = w->limiting; /* the action's own statement is still to come */
    if (w->limiting) {
        w->limiting = false;
        w->limits = limits_for(w, &w->action);
        w->lock_ms = w->limiting_ms;
    } else if (w->action.kind == RUNNER_STEP && w->step.apart && !w->step.looked)
        is_part = w->step.looked = true;
    if (is_part && w->cut_short) {
        feed(w, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = "57014", .message = "given up before it began"});
        return;
    }
    if (is_part) {
        struct runner_action then = w->action;
        perform(w, &then);
        return;
    }

    if (w->action.kind == RUNNER_SURVEY && !w->survey.knows_last) {
        if (survey_take_last(&w->survey, w->action.relation, first)) {
            send_one(w, survey_query(&w->survey, w->action.relation, w->action.at_once));
            return;
        }
        event.empty = true;
    } else if (w->action.kind == RUNNER_SURVEY) {
        event.empty = !survey_take_seen(&w->survey, w->action.relation, first, &event.estimate);
    } else if (w->action.kind == RUNNER_BOUND)
        event.bound = result_only(first);
    else if (w->action.kind == RUNNER_BATCH)
        on_batch(w, e, &event);
    else if (w->action.kind == RUNNER_RETRY)
        on_rows(w, e, &event);
    else if (w->action.kind == RUNNER_COMPARE)
        on_compared(first, &event);
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
    if (w->cut_short_us > 0 && action_has_session(w->action.kind) && now - w->cut_short_us >= OBEYS_US) {
        terminate_session(w);
        w->cut_short_us = now;
    }
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
    w->setup.batch = batch;
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
    w->session_gone = w->session != NULL; /* it is no worker's any more */
}

int worker_pid(const struct worker *w)
{
    return w->session ? session_pid(w->session) : 0;
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
    close_session(w);
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
    free(w->unsure_sqlstate);
    free(w->unsure_message);
    free(w->unsure_hint);
    free(w->given_back);
    free(w->no_room);
    report_done(&w->report);
    runner_done(&w->runner);
    job_free(w->job);
    free(w);
    return NULL;
}
