#include "runner.h"
#include "mem.h"
#include "pace.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>

#define BACKOFF_BASE_US    50000   /* the first wait after an error */
#define BACKOFF_CAP_US     5000000 /* and the longest */
#define AWAY_CAP_US        1000000 /* while nobody lets it connect: so soon a server that is back, or a standby that was promoted, is noticed */
#define LOSSES_MOST        20 /* a minute and more, with the waits between */
#define TRIALS             7       /* 6 s in all */
#define STEP_BASE_US       2000000   /* a step that found no room: it may have read a whole table before */
#define STEP_CAP_US        300000000
#define CONTENTION_BASE_US 5000    /* somebody's row lock: soon again, for it lasts a transaction of theirs */
#define CONTENTION_CAP_US  1000000
#define WAIT_STEP_US       5000000 /* so soon a job that waits hears that others queue */
#define NO_ROOM_STEP_US    500000 /* so often it is looked whether the disk has room */
#define WAY_AFTER_US       10000000 /* a job that has only waited for so long gives its place back */
#define WAY_AGAIN_AFTER_US 2000000  /* and so long when it has done so before, or nobody queued */
#define WAY_BASE_US        10000000 /* and takes its turn again after so long at first, */
#define WAY_CAP_US         600000000 /* and at last */
#define PORTION_MOST       1000 /* rows that were locked are looked up by their keys, one by one */
#define PACE_STEP_US       50000 /* a rest is taken in steps, so that it ends when the pressure does */
#define KEYS_A_YIELD       1000 /* keys from one changed row to the next: so rarely it is no use to yield there */
#define BOUND_TOO_FAR      2.0 /* a bound found for this many times today's size is thrown away */

static const char *const action_names[] = {
    [RUNNER_NONE] = "none",
    [RUNNER_ABORT] = "abort",
    [RUNNER_CONNECT] = "connect",
    [RUNNER_LAYOUT] = "layout",
    [RUNNER_SURVEY] = "survey",
    [RUNNER_ADD_RANGE] = "add range",
    [RUNNER_BEGIN] = "begin",
    [RUNNER_NEXT_STEP] = "next step",
    [RUNNER_STEP] = "step",
    [RUNNER_TAKE] = "take",
    [RUNNER_BOUND] = "bound",
    [RUNNER_BATCH] = "batch",
    [RUNNER_RETRY] = "retry",
    [RUNNER_COMPARE] = "compare",
    [RUNNER_PUT_ASIDE] = "put aside",
    [RUNNER_REST] = "rest",
    [RUNNER_GIVE_WAY] = "give way",
    [RUNNER_FINISH] = "finish",
    [RUNNER_RELEASE] = "release",
    [RUNNER_END] = "end",
};

const char *runner_action_name(enum runner_action_kind kind)
{
    return action_names[kind];
}

void runner_init(struct runner *r, enum job_phase phase, uint64_t estimate, uint64_t keys_done,
    const struct runner_limits *limits, uint64_t seed, uint64_t now_us)
{
    *r = (struct runner){
        .phase = phase,
        .next_phase = phase,
        .plan = {.fill = true},
        .estimate = estimate,
        .limits = *limits,
        .pressure = {.signal = SIGNAL_NONE},
        .host = {.signal = SIGNAL_NONE},
    };
    batch_size_init(&r->size, limits->target_us, limits->min_keys, limits->max_keys);
    backoff_init(&r->backoff, BACKOFF_BASE_US, BACKOFF_CAP_US, seed);
    backoff_init(&r->way, WAY_BASE_US, WAY_CAP_US, seed);
    progress_init(&r->progress, keys_done, estimate, now_us);
}

void runner_done(struct runner *r)
{
    free(r->cursor);
    free(r->upper);
    free(r->hi);
    free(r->waiting_for);
    free(r->sqlstate);
    free(r->error);
    free(r->hint);
    free(r->row_sqlstate);
    free(r->row_message);
    free(r->row_detail);
    free(r->row_hint);
    free(r->lacking);
    *r = (struct runner){0};
}

void runner_plan(struct runner *r, const struct migration_plan *plan, const char *lacking)
{
    r->plan = *plan;
    replace_string(&r->lacking, lacking);
}

void runner_gave_way(struct runner *r, uint32_t tries)
{
    r->way.tries = tries;
}

void runner_limit(struct runner *r, const struct runner_limits *limits)
{
    if (limits->max_keys_per_s < r->limits.max_keys_per_s ||
        limits->max_keys_per_s > r->limits.max_keys_per_s)
        r->rate_due_us = 0; /* what was due was so at another speed */
    r->limits = *limits;
    batch_size_limit(&r->size, limits->target_us, limits->min_keys, limits->max_keys);
}

/* ---- What is sent on entering a state.
 * --------------------------------------------------------------------------- */

static uint32_t next_keys(const struct runner *r)
{
    uint32_t keys = r->isolate ? r->isolate : batch_size_keys(&r->size);
    uint32_t most = pace_rate_keys(r->limits.max_keys_per_s);
    return keys < most ? keys : most;
}

/* Of rows that were locked. What one takes, a batch's rows have told; what a portion takes beside them is no reason to make it smaller. */
static uint32_t next_portion(const struct runner *r)
{
    uint32_t keys = r->range ? batch_size_keys(&r->size) : next_keys(r);
    uint32_t most = r->portion ? r->portion : PORTION_MOST;
    return keys < most ? keys : most;
}

static double share_on_host(const struct runner *r)
{
    return r->host.signal == SIGNAL_NONE ? 1 : pace_share_on_host(r->host.ratio, r->limits.busy_share);
}

/* While others wait for the host's CPUs, a batch and the bound of the next are sent apart, with a rest between them: each is
 * work at a stretch. Not where a round trip takes long. */
static bool in_pieces(const struct runner *r)
{
    return r->host.signal == SIGNAL_CPU && share_on_host(r) < 1 && r->quickest_bound_us < PACE_STRETCH_US;
}

/* A pass that proves that nothing is left reads each row twice by its key, for the bound and for the look; one statement that reads the
 * table as it lies takes a tenth of the time, and one snapshot sees each row once. But nothing slows it down, so not beside others that do. */
static bool looks_at_once(const struct runner *r)
{
    return (r->next_phase == PHASE_GUARD || r->next_phase == PHASE_VERIFY) && !r->piecewise &&
           runner_slowed_by(r)->signal == SIGNAL_NONE;
}

static struct runner_action enter(struct runner *r, enum runner_action_kind kind)
{
    r->doing = kind;
    struct runner_action a = {.kind = kind};

    switch (kind) {
    case RUNNER_SURVEY:
        a.relation = r->relation;
        a.at_once = looks_at_once(r);
        break;
    case RUNNER_ADD_RANGE: a.relation = r->relation; break;
    case RUNNER_LAYOUT: r->planning = true; break;
    case RUNNER_BEGIN:
        a.phase = r->next_phase;
        a.planned = r->planning && !r->surveyed_only;
        a.estimate = r->planning ? r->estimate : 0;
        break;
    case RUNNER_BOUND: a.keys = r->asked = next_keys(r); break;
    case RUNNER_BATCH:
        a.keys = r->keys;
        a.skipping = r->skipping;
        a.yield_us = r->yield_us = r->yields && !r->point ? pace_yield_after_us(share_on_host(r)) : 0;
        r->yields_to = r->host.signal;
        /* While a row is searched for, the next size depends on how this batch ends, so there is nothing to
         * ask yet; in pieces, the bound is a piece of its own. */
        a.next_keys = r->asked = r->keys == 0 || r->isolate || in_pieces(r) ? 0 : next_keys(r);
        break;
    case RUNNER_FINISH:
    case RUNNER_RELEASE: a.state = r->end_state; break;
    case RUNNER_CONNECT: r->connected = false; break;
    case RUNNER_TAKE: a.keys = next_portion(r); break;
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_NEXT_STEP:
    case RUNNER_STEP:
    case RUNNER_RETRY:
    case RUNNER_COMPARE:
    case RUNNER_PUT_ASIDE:
    case RUNNER_REST:
    case RUNNER_GIVE_WAY:
    case RUNNER_END: break;
    }
    return a;
}

static struct runner_action rest(
    struct runner *r, enum runner_action_kind again, uint64_t wait_us, uint64_t now_us)
{
    r->again = again;
    r->rest_began_us = now_us;
    struct runner_action a = enter(r, RUNNER_REST);
    a.until_us = now_us + wait_us;
    return a;
}

static struct runner_action finish(
    struct runner *r, enum job_state state, const char *error, const char *hint)
{
    r->end_state = state;
    r->names_row = false;
    replace_string(&r->error, error);
    replace_string(&r->hint, hint);
    return enter(r, RUNNER_FINISH);
}

static struct runner_action release(struct runner *r, enum job_state state)
{
    r->end_state = state;
    return enter(r, RUNNER_RELEASE);
}

/* Plans a walk of that phase, which begins then. */
static struct runner_action plan_walk(struct runner *r, enum job_phase phase)
{
    r->next_phase = phase;
    r->surveyed_only = false;
    return enter(r, RUNNER_LAYOUT);
}

static struct runner_action begin(struct runner *r, enum job_phase phase)
{
    if (phase == _JOB_PHASE_MAX)
        return finish(r, JOB_SUCCEEDED, NULL, NULL);
    if (migration_walks(phase))
        return plan_walk(r, phase);
    r->next_phase = phase;
    return enter(r, RUNNER_BEGIN);
}

/* The phase's work is done. */
static struct runner_action end_phase(struct runner *r)
{
    return begin(r, migration_phase_after(&r->plan, r->phase));
}

/* In preflight the relations are surveyed, and when the next phase walks it is planned in the same go. */
static struct runner_action survey_first(struct runner *r)
{
    enum job_phase next = migration_phase_after(&r->plan, PHASE_PREFLIGHT);

    if (!r->plan.fill)
        return begin(r, next);
    r->next_phase = r->plan.dry_run ? PHASE_PREFLIGHT : next;
    r->surveyed_only = !migration_walks(r->next_phase);
    return enter(r, RUNNER_LAYOUT);
}

/* The work of a phase begins, or goes on where the database says. */
static struct runner_action work(struct runner *r)
{
    if (r->planning)
        return enter(r, RUNNER_LAYOUT);
    switch (r->phase) {
    case PHASE_PREFLIGHT: return survey_first(r);
    case PHASE_BACKFILL:
    case PHASE_VERIFY: return enter(r, RUNNER_TAKE);
    case PHASE_GUARD: return enter(r, r->walking ? RUNNER_TAKE : RUNNER_NEXT_STEP);
    case PHASE_EXPAND:
    case PHASE_VALIDATE:
    case PHASE_TIDY: return enter(r, RUNNER_NEXT_STEP);
    case _JOB_PHASE_MAX:
    case _JOB_PHASE_INVALID: break;
    }
    return enter(r, RUNNER_END);
}

static struct runner_action resume(struct runner *r)
{
    return r->connected ? work(r) : enter(r, RUNNER_CONNECT);
}

/* Between two actions: what somebody wished meanwhile comes first. */
static bool leave(struct runner *r, struct runner_action *ret_action)
{
    switch (r->want == RUNNER_WANT_RUN && r->stopping ? RUNNER_WANT_STOP : r->want) {
    case RUNNER_WANT_RUN: return false;
    case RUNNER_WANT_LEAVE:
    case RUNNER_WANT_STOP:
    case RUNNER_WANT_STOP_NOW: *ret_action = release(r, JOB_QUEUED); return true;
    case RUNNER_WANT_PAUSE: *ret_action = release(r, JOB_PAUSED); return true;
    case RUNNER_WANT_CANCEL: *ret_action = finish(r, JOB_CANCELLED, NULL, NULL); return true;
    }
    return false;
}

/* ---- What is decided on the answer.
 * -------------------------------------------------------------------------------- */

static void forget_range(struct runner *r)
{
    r->range = 0;
    r->isolate = 0;
}

static double share_by_others(const struct runner *r)
{
    return r->pressure.signal == SIGNAL_NONE ? 1 : pace_share(r->pressure.ratio);
}

const struct pressure_verdict *runner_slowed_by(const struct runner *r)
{
    static const struct pressure_verdict nothing = {.signal = SIGNAL_NONE};
    double on_host = share_on_host(r), by_others = share_by_others(r);

    if (on_host >= 1 && by_others >= 1)
        return &nothing;
    return on_host < by_others ? &r->host : &r->pressure;
}

/* What changes rows. */
static bool is_work(enum runner_action_kind kind)
{
    return kind == RUNNER_BATCH || kind == RUNNER_RETRY;
}

/* What others may wait on, and so is given up for them. */
static bool is_felt(enum runner_action_kind kind)
{
    return is_work(kind) || kind == RUNNER_STEP || kind == RUNNER_SURVEY || kind == RUNNER_COMPARE;
}

/* What a rest of the pace comes before. */
static bool is_paced(enum runner_action_kind kind)
{
    return is_work(kind) || kind == RUNNER_BOUND;
}

static uint64_t left_of(uint64_t due_us, uint64_t since_us, uint64_t now_us)
{
    return now_us - since_us < due_us ? due_us - (now_us - since_us) : 0;
}

/* The next batch or row is known, or its bound is to be asked for: now, or after a rest? */
static struct runner_action pace(struct runner *r, enum runner_action_kind work, uint64_t now_us)
{
    const struct pressure_verdict *by = runner_slowed_by(r);
    double share = by == &r->host ? share_on_host(r) : share_by_others(r);
    uint64_t by_pressure = 0, by_rate = 0;
    if (by->signal != SIGNAL_NONE && is_work(work))
        by_pressure = left_of(pace_rest_us(share, r->worked_us, r->batch_us), r->batch_at_us, now_us);
    uint64_t by_others = share_on_host(r) < 1 ? left_of(PACE_YIELD_US, r->answered_us, now_us) : 0;
    if (by_others > by_pressure) {
        by = &r->host;
        by_pressure = by_others;
    }
    if (is_work(work) && now_us < r->rate_due_us)
        by_rate = r->rate_due_us - now_us;
    uint64_t wait = by_rate > by_pressure ? by_rate : by_pressure;

    if (wait == 0) {
        /* Sizes change while it rests, and the bound was asked for before. */
        bool too_far =
            work == RUNNER_BATCH && !r->point && !r->isolate && r->asked > BOUND_TOO_FAR * next_keys(r);
        return enter(r, too_far ? RUNNER_BOUND : work);
    }
    r->rests_for = by_rate > by_pressure ? SIGNAL_RATE : by->signal;
    return rest(r, work, wait < PACE_STEP_US ? wait : PACE_STEP_US, now_us);
}

/* A bound was found, or none because fewer keys are left: then the batch goes to the end of the range. */
static struct runner_action start_batch(struct runner *r, const char *bound, uint64_t now_us)
{
    replace_string(&r->hi, bound ? bound : r->upper);
    r->keys = r->point ? 1 : bound ? r->asked : 0;
    return pace(r, RUNNER_BATCH, now_us);
}

static struct runner_action on_bound(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    uint64_t took_us = now_us - r->bound_began_us;

    if (r->quickest_bound_us == 0 || took_us < r->quickest_bound_us)
        r->quickest_bound_us = took_us;
    r->answered_us = now_us;
    return start_batch(r, e->bound, now_us);
}

/* Something was done: the job doesn't wait. */
static void move_on(struct runner *r)
{
    r->losses = 0;
    replace_string(&r->waiting_for, NULL);
    replace_string(&r->sqlstate, NULL);
    r->waits_since_us = r->asked_way_us = 0;
    backoff_reset(&r->way);
}

/* A job that only waits needs no place. What must be written at its end it writes first; and for rows that fail it has a patience of
 * its own (lib/blame), which ends, and which nobody remembers for it. */
static bool may_give_way(const struct runner *r, uint64_t now_us)
{
    uint64_t after_us = r->way.tries > 0 ? WAY_AGAIN_AFTER_US : WAY_AFTER_US;

    return r->crowded && r->want == RUNNER_WANT_RUN && !r->stopping && !r->isolate && r->blame.looks == 0 &&
           r->blame.slow == 0 && r->again != RUNNER_FINISH && r->again != RUNNER_RELEASE && now_us - r->waits_since_us >= after_us &&
           (r->asked_way_us == 0 || now_us - r->asked_way_us >= WAY_AGAIN_AFTER_US);
}

/* Goes on with a wait that lasts until wait_until_us. */
static struct runner_action go_on_waiting(struct runner *r, uint64_t now_us)
{
    uint64_t left_us = r->wait_until_us > now_us ? r->wait_until_us - now_us : 0;

    if (may_give_way(r, now_us)) {
        struct backoff way = r->way; /* counted when it is done */
        uint64_t pause_us = backoff_next(&way);
        r->asked_way_us = now_us;
        struct runner_action a = enter(r, RUNNER_GIVE_WAY);
        a.until_us = now_us + (pause_us > left_us ? pause_us : left_us);
        a.tries = way.tries;
        return a;
    }
    return rest(r, r->again, left_us < WAIT_STEP_US ? left_us : WAIT_STEP_US, now_us);
}

static struct runner_action start_waiting(
    struct runner *r, enum runner_action_kind again, uint64_t until_us, uint64_t now_us)
{
    if (r->waits_since_us == 0)
        r->waits_since_us = now_us;
    r->again = again;
    r->wait_until_us = until_us;
    return go_on_waiting(r, now_us);
}

/* The next wait after an error, and why the job waits. */
static uint64_t note_wait(struct runner *r, const struct runner_event *e, bool contention)
{
    bool step = r->doing == RUNNER_STEP && retry_class(e->sqlstate) == RETRY_LATER;
    _cleanup_free_ char *message = retry_public_message(e->sqlstate, e->message);

    r->backoff.base_us = contention ? CONTENTION_BASE_US : step ? STEP_BASE_US : BACKOFF_BASE_US;
    r->backoff.cap_us = contention ? CONTENTION_CAP_US : step ? STEP_CAP_US : r->doing == RUNNER_CONNECT ? AWAY_CAP_US : BACKOFF_CAP_US;
    replace_string(&r->waiting_for, message ? message : "the connection was lost");
    replace_string(&r->sqlstate, e->sqlstate ? e->sqlstate : SQLSTATE_LOST);
    return backoff_next(&r->backoff);
}

static struct runner_action wait_for(struct runner *r, const struct runner_event *e, bool contention,
    enum runner_action_kind again, uint64_t now_us)
{
    return start_waiting(r, again, now_us + note_wait(r, e, contention), now_us);
}

static struct runner_action take_rows(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    if (r->range)
        forget_range(r);
    if (r->left_behind == 0) {
        r->round_began_us = now_us;
        r->locked_left = e->locked;
    }
    r->row_above = r->left_behind;
    r->left_behind = e->left_behind;
    r->epoch = e->epoch;
    r->keys = e->n_rows;
    replace_string(&r->hi, e->upper);
    progress_set(&r->progress, e->total_keys, now_us);
    return pace(r, RUNNER_RETRY, now_us);
}

/* Every row that is left was tried. The next round follows soon as long as rounds get something done; but no sooner than this one took, for
 * many rows that others hold for long are not worth a CPU. */
static struct runner_action end_round(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    uint64_t took_us = now_us - r->round_began_us;

    if (r->round_moved)
        backoff_reset(&r->backoff);
    if (took_us > BACKOFF_CAP_US)
        took_us = BACKOFF_CAP_US;
    if (r->round_moved)
        took_us = 0;
    r->round_moved = false;
    r->left_behind = 0;
    r->isolate = 0;
    uint64_t wait_us = note_wait(r, e, true);
    return start_waiting(r, RUNNER_TAKE, now_us + (took_us > wait_us ? took_us : wait_us), now_us);
}

/* Another walk of the phase, after a while. */
static struct runner_action walk_again(struct runner *r, const char *why, uint64_t wait_us, uint64_t now_us)
{
    r->next_phase = r->phase;
    r->surveyed_only = false;
    r->wait_until_us = 0;
    replace_string(&r->waiting_for, why);
    return rest(r, RUNNER_LAYOUT, wait_us, now_us);
}

static struct runner_action wait_until_quiet(struct runner *r, uint64_t now_us)
{
    _cleanup_free_ char *why = NULL;
    uint64_t recent = quiet_recent(&r->quiet, now_us);

    if (r->quiet.passes > 0)
        why = copy_string("waits a moment, to see that the application writes only rows that are right");
    else if (asprintf(&why, "the application still writes rows without %s (%" PRIu64 " in the last minute)",
                 r->lacking ? r->lacking : "what is to be enforced", recent) < 0)
        abort();
    return walk_again(r, why, QUIET_GAP_US, now_us);
}

/* The control session's question whose answer tells where the job stands, and whose it is. */
static enum runner_action_kind where_it_stands(const struct runner *r)
{
    if (r->phase == PHASE_PREFLIGHT)
        return RUNNER_LAYOUT;
    return migration_walks(r->phase) || r->phase == PHASE_GUARD ? RUNNER_TAKE : RUNNER_NEXT_STEP;
}

/* What this daemon took for done, the server doesn't have any more. Where the phase's work stands is read back, after a rest:
 * whatever it is that doesn't stay done, is not tried without a pause. */
static struct runner_action look_again(struct runner *r, uint64_t now_us)
{
    r->planning = r->walking = false;
    r->quiet.passes = 0; /* nor is it known which walk it was that ended */
    forget_range(r);
    return wait_for(r,
        &(struct runner_event){.sqlstate = SQLSTATE_STALE,
            .message =
                "some of what was done is to do again: the server has lost it, or somebody has undone it"},
        false, r->connected ? where_it_stands(r) : RUNNER_CONNECT, now_us);
}

/* Whoever reads "succeeded" may count on it that no row is to do. */
static struct runner_action finish_open(struct runner *r, uint64_t found)
{
    _cleanup_free_ char *error = NULL;

    if (asprintf(&error,
            "rows that are to do still come in: each of %d walks of verify found some, the last one %" PRIu64,
            VERIFY_WALKS_MOST, found) < 0)
        abort();
    return finish(r, JOB_FAILED, error,
        "All older rows are done. Have the application write them as they should be, or keep them in step "
        "(keep_in_sync); then SELECT backfill.retry(name).");
}

/* A walk has come to its end. */
static struct runner_action end_walk(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    bool first = r->counts.walks++ == 0 && r->phase == PHASE_BACKFILL;
    bool whole = r->walking;

    r->walking = false;
    r->counts.found_again += first ? 0 : e->found;
    forget_range(r);
    switch (r->phase) {
    case PHASE_GUARD:
        if (!whole) /* ranges of a plan that was not carried out: they are done, but that proves nothing */
            return enter(r, RUNNER_NEXT_STEP);
        quiet_note(&r->quiet, e->found, now_us);
        return quiet_is(&r->quiet) ? enter(r, RUNNER_NEXT_STEP) : wait_until_quiet(r, now_us);
    case PHASE_VERIFY:
        /* One that was only planned, or that another daemon had begun: which relations it was to look at isn't known. */
        if (!whole)
            return plan_walk(r, PHASE_VERIFY);
        r->verified++;
        if (e->found == 0)
            return end_phase(r);
        if (r->verified >= VERIFY_WALKS_MOST)
            return finish_open(r, e->found);
        /* What turned up is done; whether there is more, another walk tells. At once, the first time. */
        return walk_again(
            r, "verifies again: there were rows to do", r->verified > 1 ? QUIET_GAP_US : 0, now_us);
    case PHASE_PREFLIGHT:
    case PHASE_EXPAND:
    case PHASE_BACKFILL:
    case PHASE_VALIDATE:
    case PHASE_TIDY:
    case _JOB_PHASE_MAX:
    case _JOB_PHASE_INVALID: break;
    }
    return end_phase(r);
}

static struct runner_action on_taken(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    switch (e->outcome) {
    case RUNNER_TAKE_NOT_OURS: return enter(r, RUNNER_END);
    case RUNNER_TAKE_NONE:
    case RUNNER_TAKE_ROWS:
    case RUNNER_TAKE_LOCKED:
    case RUNNER_TAKE_RANGE: break;
    }
    if (r->phase == PHASE_PREFLIGHT) /* ours after all, and its ranges may not be complete */
        return work(r);
    r->skipping = false;
    if (e->outcome == RUNNER_TAKE_NONE) {
        r->left_behind = 0;
        return end_walk(r, e, now_us);
    }
    if (e->outcome == RUNNER_TAKE_ROWS)
        return take_rows(r, e, now_us);
    if (e->outcome == RUNNER_TAKE_LOCKED)
        return end_round(r, e, now_us);
    r->left_behind = 0;
    if (r->range != e->range)
        forget_range(r);
    if (e->total_keys != r->lost_at_keys) /* the answer alone was lost */
        r->losses = 0;
    r->range = e->range;
    r->epoch = e->epoch;
    r->point = e->point;
    r->yields = e->yields;
    replace_string(&r->cursor, e->cursor);
    replace_string(&r->upper, e->upper);
    progress_update(&r->progress, now_us);
    progress_set(&r->progress, e->total_keys, now_us);
    if (r->point)
        return start_batch(r, NULL, now_us);
    return enter(r, RUNNER_BOUND);
}

/* So many keys of a search for a row that fails are behind it. */
static void search_passed(struct runner *r, uint64_t keys)
{
    r->isolate_left -= keys < r->isolate_left ? keys : r->isolate_left;
    if (r->isolate_left == 0)
        r->isolate = 0;
}

/* The cursor has moved to hi. */
static void advance(struct runner *r, uint64_t keys, uint64_t now_us)
{
    free(r->cursor);
    r->cursor = r->hi;
    r->hi = NULL;
    r->counts.keys += keys;
    /* A batch that began before the speed was lowered counts for no more than one of today's. */
    uint64_t counted = pace_rate_keys(r->limits.max_keys_per_s);
    if (keys < counted)
        counted = keys;
    r->rate_due_us = pace_rate_due_us(r->rate_due_us, r->batch_began_us, counted, r->limits.max_keys_per_s);
    progress_add(&r->progress, keys);
    progress_update(&r->progress, now_us);
    backoff_reset(&r->backoff);
    r->reread = r->stale = r->doubted = false;
    move_on(r);
    search_passed(r, keys);
}

/* How much work the next batch should be. yields: it can, and what it sleeps comes on top. */
static void aim(struct runner *r, bool yields)
{
    double host = r->host.signal == SIGNAL_NONE ? 0 : r->host.ratio, share = yields ? share_on_host(r) : 1;
    uint32_t busy_us = r->limits.busy_us;
    if (!yields && busy_us > PACE_STRETCH_US)
        busy_us = PACE_STRETCH_US; /* others wait for all of it */
    uint32_t whole_us =
        pace_portion_us(share_by_others(r), pace_target_us(host, r->limits.target_us, busy_us));
    uint32_t work_us = (uint32_t)(whole_us * share);

    batch_size_aim(&r->size, work_us < PACE_LEAST_US && whole_us > PACE_LEAST_US ? PACE_LEAST_US : work_us);
}

static struct runner_action on_batch_done(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    uint64_t keys = r->keys ? r->keys : e->rows + e->skipped;
    struct runner_action away;

    r->counts.batches++;
    r->counts.rows += e->rows;
    r->counts.wal_bytes += e->wal_bytes;
    r->counts.skipping += e->skipped > 0;
    r->counts.skipped += e->skipped;
    /* Where rows are locked the next ones are likely to be, and to pass over them costs nobody a wait. */
    r->skipping = e->skipped > 0;
    histogram_add(&r->counts.batch_us, e->elapsed_us);
    bool often = r->yields && e->rows > keys / KEYS_A_YIELD, yielded = r->yield_us && often;
    r->batch_us = e->elapsed_us;
    r->worked_us = pace_worked_us(yielded ? r->yield_us : 0, e->rows, e->elapsed_us);
    r->batch_at_us = r->answered_us = now_us;
    if (yielded)
        r->counts.throttled_us[r->yields_to] += r->batch_us - r->worked_us;
    aim(r, often);
    /* One key, or the few of a search, cost a whole statement each: what they took says nothing of a full
     * batch. */
    if (r->keys && !r->isolate && !r->point)
        batch_size_observe(&r->size, r->keys, r->worked_us, e->wal_bytes);
    if (blame_passed(&r->blame)) /* it was no row's fault: there is none to search for */
        r->isolate = 0;
    advance(r, keys, now_us);

    if (leave(r, &away))
        return away;
    if (strcmp(r->cursor, r->upper) == 0)
        return enter(r, RUNNER_TAKE);
    if (e->bound_unknown || r->isolate || r->asked == 0)
        return in_pieces(r) ? pace(r, RUNNER_BOUND, now_us) : enter(r, RUNNER_BOUND);
    return start_batch(r, e->bound, now_us);
}

/* Of rows that were left behind as locked some are done, the rest is locked still. */
static struct runner_action on_retry_done(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    struct runner_action away;
    uint64_t done = r->keys - e->skipped;

    r->batch_us = r->worked_us = e->elapsed_us;
    r->batch_at_us = r->answered_us = now_us;
    r->portion = r->portion < PORTION_MOST ? 2 * r->portion : 0;
    r->isolate *= 2; /* so many were passed; which of the rest it is, isn't known */
    search_passed(r, r->keys);
    if (done > 0) {
        r->counts.retried += done;
        r->locked_left -= done < r->locked_left ? done : r->locked_left;
        r->rate_due_us = pace_rate_due_us(r->rate_due_us, r->batch_began_us, done, r->limits.max_keys_per_s);
        r->counts.rows += e->rows;
        r->counts.wal_bytes += e->wal_bytes;
        r->round_moved = true;
        r->reread = r->stale = r->doubted = false;
        if (blame_passed(&r->blame))
            r->isolate = 0;
        move_on(r);
    }
    return leave(r, &away) ? away : enter(r, RUNNER_TAKE);
}

/* A step is to do, or none is left. One that fills the disk begins only where there is room; its pause grows to minutes, for what
 * is short of room seldom gets some soon. */
static struct runner_action on_next_step(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    if (!e->has_step)
        return end_phase(r);
    if (r->phase == PHASE_GUARD && r->plan.quiet && !quiet_is(&r->quiet))
        return plan_walk(r, PHASE_GUARD);
    if (!e->clears && now_us < r->step_due_us)
        return start_waiting(r, RUNNER_NEXT_STEP, r->step_due_us, now_us);
    if (e->builds && r->no_room) {
        replace_string(&r->waiting_for, r->no_room);
        replace_string(&r->sqlstate, SQLSTATE_NO_ROOM);
        return start_waiting(r, RUNNER_NEXT_STEP, now_us + NO_ROOM_STEP_US, now_us);
    }
    r->clears = e->clears;
    return enter(r, RUNNER_STEP);
}

static struct runner_action on_step_done(struct runner *r)
{
    r->counts.steps++;
    if (r->clears) /* the next try of what failed is no sooner for it */
        return enter(r, RUNNER_NEXT_STEP);
    backoff_reset(&r->backoff);
    r->reread = r->stale = false;
    move_on(r);
    return enter(r, RUNNER_NEXT_STEP);
}

/* The job fails of what the server said, but for values of rows. Why a table that is published can't be updated, stands in the
 * detail alone. */
static struct runner_action finish_in_its_words(struct runner *r, const struct runner_event *e)
{
    _cleanup_free_ char *message = retry_public_message(e->sqlstate, e->message), *both = NULL;
    bool with_detail = e->detail && *e->detail && same_string(e->sqlstate, "55000");

    if (with_detail && asprintf(&both, "%s: %s", message, e->detail) < 0)
        abort();
    return finish(r, JOB_FAILED, both ? both : message, e->hint);
}

/* What to do about it: what a comparison has found, what the server said, what is likely. */
static const char *row_hint(const struct runner *r, const struct runner_event *e, const char *likely)
{
    bool slow = retry_class(r->row_sqlstate) == RETRY_CANCELLED;
    return e->hint       ? e->hint
           : r->row_hint ? r->row_hint
           : slow ? "It takes longer than batch.statement_timeout_ms by itself: a slow function or trigger, or a foreign key "
                    "that has no index? Then SELECT backfill.retry(name)."
                  : likely;
}

static struct runner_action finish_for_row(struct runner *r, const struct runner_event *e)
{
    _cleanup_free_ char *message = retry_public_message(r->row_sqlstate, r->row_message);
    struct runner_action a = finish(r, JOB_FAILED, message, row_hint(r, e, NULL));
    r->names_row = true;
    return a;
}

/* Every row fails alike, and has for long: no row is named. */
static struct runner_action finish_for_all(struct runner *r, const struct runner_event *e)
{
    _cleanup_free_ char *message = retry_public_message(r->row_sqlstate, r->row_message), *error = NULL;

    if (retry_is_final(r->row_sqlstate))
        return finish_in_its_words(r, &(struct runner_event){.sqlstate = r->row_sqlstate, .message = r->row_message, .detail = r->row_detail, .hint = r->row_hint});
    if (asprintf(&error, "no row that was tried can be changed: %s", message) < 0)
        abort();
    return finish(r, JOB_FAILED, error,
        row_hint(r, e, "A trigger, a limit or the server refuses every row alike. When that has passed: SELECT backfill.retry(name)."));
}

/* It is the row's fault that failed alone. */
static struct runner_action blame_row(struct runner *r, const struct runner_event *e)
{
    if (r->keys == 1 && r->limits.quarantine)
        return enter(r, RUNNER_PUT_ASIDE);
    return r->keys == 1 ? finish_for_row(r, e) : finish_for_all(r, e);
}

/* The row that failed alone was tried beside others: what now? */
static struct runner_action on_compared(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    _cleanup_free_ char *message = retry_public_message(r->row_sqlstate, r->row_message), *text = NULL;
    enum blame_verdict verdict =
        r->relieving ? BLAME_WAIT : blame_judge(&r->blame, r->row_sqlstate, &e->compared, now_us);

    r->counts.relieved += r->relieving;
    switch (verdict) {
    case BLAME_KEY: return blame_row(r, e);
    case BLAME_NOBODY: /* where all are slow, one of them is named */
        return r->keys == 1 && retry_class(r->row_sqlstate) == RETRY_CANCELLED ? finish_for_row(r, e) : finish_for_all(r, e);
    case BLAME_WAIT: break;
    }
    if (!r->range) /* the same row again */
        r->left_behind = r->row_above;
    if (asprintf(&text, "%s%s", e->compared.alike > 0 ? "every row that was tried fails, so none is to blame: " : "", message) < 0)
        abort();
    return wait_for(r, &(struct runner_event){.sqlstate = r->row_sqlstate, .message = text}, false, RUNNER_TAKE, now_us);
}

/* The phase that was planned, or needed no plan, has begun; or one more walk of it. */
static struct runner_action on_begun(struct runner *r, uint64_t now_us)
{
    bool walks = r->planning && !r->surveyed_only;

    r->planning = false;
    if (r->plan.dry_run)
        return finish(r, JOB_SUCCEEDED, NULL, NULL);
    r->phase = r->next_phase;
    if (!walks)
        return work(r);
    forget_range(r);
    r->walking = true;
    progress_init(&r->progress, 0, r->estimate, now_us);
    return enter(r, RUNNER_TAKE);
}

static void end_rest(struct runner *r, uint64_t now_us)
{
    uint64_t rested = now_us - r->rest_began_us;

    if (is_paced(r->again))
        r->counts.throttled_us[r->rests_for] += rested;
    else
        r->counts.rest_us += rested;
}

static struct runner_action on_done(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    struct runner_action away;
    enum runner_action_kind was = r->doing;

    /* The end of a job, once it is being written, is not up for discussion; nor is a batch that is done. */
    switch (was) {
    case RUNNER_FINISH:
        if (e->look == RUNNER_LOOK_NOT_OVER)
            return leave(r, &away) ? away : look_again(r, now_us);
        return enter(r, RUNNER_END);
    case RUNNER_RELEASE: return enter(r, RUNNER_END);
    case RUNNER_BATCH: return on_batch_done(r, e, now_us);
    case RUNNER_RETRY: return on_retry_done(r, e, now_us);
    case RUNNER_CONNECT: r->connected = r->ever_connected = true; break;
    case RUNNER_REST: end_rest(r, now_us); break;
    case RUNNER_GIVE_WAY:
        if (e->gave_way || e->look == RUNNER_LOOK_NOT_OURS) {
            r->end_state = JOB_QUEUED;
            return enter(r, RUNNER_END);
        }
        break;
    case RUNNER_PUT_ASIDE:
        r->counts.put_aside++;
        r->isolate = 0;
        replace_string(&r->row_sqlstate, NULL);
        replace_string(&r->row_message, NULL);
        replace_string(&r->row_detail, NULL);
        if (r->range)
            advance(r, 1, now_us);
        else {
            r->round_moved = true;
            r->locked_left -= r->locked_left > 0;
        }
        break;
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_LAYOUT:
    case RUNNER_SURVEY:
    case RUNNER_ADD_RANGE:
    case RUNNER_BEGIN:
    case RUNNER_NEXT_STEP:
    case RUNNER_STEP:
    case RUNNER_TAKE:
    case RUNNER_BOUND:
    case RUNNER_COMPARE:
    case RUNNER_END: break;
    }
    if (was == RUNNER_REST && (r->again == RUNNER_FINISH || r->again == RUNNER_RELEASE))
        return enter(r, r->again);
    if (leave(r, &away))
        return away;
    if (e->look == RUNNER_LOOK_NOT_OURS)
        return enter(r, RUNNER_END);
    if (e->look == RUNNER_LOOK_NOT_OVER)
        return look_again(r, now_us);
    /* Ours after all, but by another claim than the one that this daemon remembers: the server has lost that. */
    if (!r->connected && (was == RUNNER_LAYOUT || was == RUNNER_NEXT_STEP || (was == RUNNER_TAKE && e->outcome != RUNNER_TAKE_NOT_OURS)))
        return release(r, JOB_QUEUED);

    switch (was) {
    case RUNNER_CONNECT: return resume(r);
    case RUNNER_REST:
        if (is_paced(r->again))
            return pace(r, r->again, now_us);
        return now_us < r->wait_until_us ? go_on_waiting(r, now_us) : enter(r, r->again);
    case RUNNER_GIVE_WAY: return go_on_waiting(r, now_us);
    case RUNNER_LAYOUT:
        if (e->n_relations < r->n_relations)
            r->reread = false; /* a partition was dropped; the next one may be */
        r->relation = 0;
        r->n_relations = e->n_relations;
        r->estimate = 0;
        return enter(r, r->n_relations > 0 ? RUNNER_SURVEY : RUNNER_BEGIN);
    case RUNNER_SURVEY:
        r->estimate += e->empty ? 0 : e->estimate;
        /* One that is empty by now has a range of an earlier walk, perhaps. */
        if (!r->surveyed_only && (!e->empty || r->phase != PHASE_PREFLIGHT))
            return enter(r, RUNNER_ADD_RANGE);
        return enter(r, ++r->relation < r->n_relations ? RUNNER_SURVEY : RUNNER_BEGIN);
    case RUNNER_ADD_RANGE: return enter(r, ++r->relation < r->n_relations ? RUNNER_SURVEY : RUNNER_BEGIN);
    case RUNNER_BEGIN: return on_begun(r, now_us);
    case RUNNER_NEXT_STEP: return on_next_step(r, e, now_us);
    case RUNNER_STEP: return on_step_done(r);
    case RUNNER_TAKE: return on_taken(r, e, now_us);
    case RUNNER_BOUND: return on_bound(r, e, now_us);
    case RUNNER_COMPARE: return on_compared(r, e, now_us);
    case RUNNER_PUT_ASIDE:
        return enter(r, !r->range || strcmp(r->cursor, r->upper) == 0 ? RUNNER_TAKE : RUNNER_BOUND);
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_BATCH:
    case RUNNER_RETRY:
    case RUNNER_FINISH:
    case RUNNER_RELEASE:
    case RUNNER_END: break;
    }
    return enter(r, RUNNER_END);
}

/* ---- What is decided on an error.
 * ---------------------------------------------------------------------------------- */

/* Where to go on after a wait: the same action, unless it was a batch or its bound. Then the range is taken
 * anew, which reads back where it stands. */
static enum runner_action_kind after_error(const struct runner *r)
{
    if (r->doing == RUNNER_FINISH || r->doing == RUNNER_RELEASE)
        return r->doing;
    if (!r->connected)
        return RUNNER_CONNECT;
    if (r->doing == RUNNER_GIVE_WAY) /* the wait goes on, for what it was */
        return r->again;
    if (is_work(r->doing) || r->doing == RUNNER_BOUND || r->doing == RUNNER_COMPARE || r->doing == RUNNER_PUT_ASIDE)
        return RUNNER_TAKE;
    if (r->doing == RUNNER_STEP)
        return RUNNER_NEXT_STEP;
    return r->planning ? RUNNER_LAYOUT : r->doing;
}

static struct runner_action wait_and_retry(
    struct runner *r, const struct runner_event *e, bool contention, uint64_t now_us)
{
    return wait_for(r, e, contention, after_error(r), now_us);
}

/* A batch fails: half its keys, or half of those that were searched last, until one is left. */
static void search(struct runner *r)
{
    if (!r->isolate)
        r->isolate_left = r->keys ? r->keys : UINT64_MAX; /* not known: it ends with the range */
    uint32_t of = r->isolate ? r->isolate : r->keys ? r->keys : batch_size_keys(&r->size);
    if (r->keys && of > r->keys)
        of = r->keys;
    r->isolate = of > 1 ? of / 2 : 1;
}

static bool is_alone(const struct runner *r)
{
    return r->keys == 1 || (r->isolate == 1 && r->keys == 0);
}

/* A row that was done is still to do, and the server has said which: there is nothing to search for, and no other row to ask. */
static struct runner_action finish_unproven(struct runner *r, const struct runner_event *e)
{
    _cleanup_free_ char *error = NULL, *key = text_line(e->detail, TEXT_NAME);

    if (asprintf(&error, "row %s: %s", key ? key : "?", e->message) < 0)
        abort();
    return finish(r, JOB_FAILED, error, e->hint);
}

/* A row of the batch cannot be changed, or none can. */
static struct runner_action on_row_error(struct runner *r, const struct runner_event *e)
{
    bool unproven = same_string(e->sqlstate, SQLSTATE_UNPROVEN);

    if (unproven && (!r->limits.quarantine || (is_alone(r) && r->keys != 1)))
        return finish_unproven(r, e);
    if (!is_alone(r)) {
        search(r);
        if (r->doing == RUNNER_BATCH)
            return enter(r, RUNNER_BOUND);
        r->left_behind = r->row_above;
        return enter(r, RUNNER_TAKE);
    }
    replace_string(&r->row_sqlstate, e->sqlstate);
    replace_string(&r->row_message, e->message);
    replace_string(&r->row_detail, e->detail);
    _cleanup_free_ char *hint = retry_public_message(e->sqlstate, e->hint);
    replace_string(&r->row_hint, hint);
    if (same_string(e->sqlstate, SQLSTATE_TOO_LARGE)) /* nobody can be asked: it cost the session */
        return blame_row(r, e);
    return enter(r, unproven ? RUNNER_PUT_ASIDE : RUNNER_COMPARE);
}

/* Cut short by statement_timeout, by somebody, or for somebody: smaller and soon; one key that takes too long again and
 * again is compared with others. */
static struct runner_action on_cut_short(struct runner *r, const struct runner_event *e, bool by_time, uint64_t now_us)
{
    r->counts.relieved += r->relieving;
    if (by_time && is_work(r->doing) && is_alone(r) && blame_is_slow(&r->blame))
        return on_row_error(r, e);
    if (r->doing == RUNNER_BATCH && r->isolate)
        search(r);
    else if (r->doing == RUNNER_BATCH && by_time) {
        batch_size_cut_short(&r->size, r->keys, now_us - r->batch_began_us);
        if (!is_alone(r) && batch_size_keys(&r->size) <= r->limits.min_keys && r->limits.min_keys > 1)
            search(r); /* below batch.min_rows, as for a row that fails */
    } else if (r->doing == RUNNER_BATCH)
        batch_size_halve(&r->size);
    else if (r->doing == RUNNER_RETRY)
        r->portion = r->keys > 1 ? r->keys / 2 : 1;
    return wait_and_retry(r, e, true, now_us);
}

/* A step found no room, or not enough of something else. What it has left, an index that is full and not valid, takes room until it
 * is cleared away: that is asked for at once, and the pause comes before the next try. */
static struct runner_action clear_away(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    r->step_due_us = now_us + note_wait(r, e, false);
    if (r->waits_since_us == 0)
        r->waits_since_us = now_us;
    return enter(r, RUNNER_NEXT_STEP);
}

/* The session went while rows were changed. Once it is the network, or a restart. Again and again in one batch, it is something that the batch sets
 * off: a trigger that ends it, a function that crashes the server under everybody. */
static bool is_lost_for_good(struct runner *r)
{
    if (!is_work(r->doing))
        return false;
    r->lost_at_keys = r->progress.keys;
    return ++r->losses >= LOSSES_MOST;
}

static struct runner_action finish_lost(struct runner *r, const struct runner_event *e)
{
    _cleanup_free_ char *error = NULL;

    if (asprintf(&error, "the session was lost %d times in a row in the same batch%s%s", LOSSES_MOST, e->message ? ": " : "", e->message ? e->message : "") < 0)
        abort();
    return finish(r, JOB_FAILED, error,
        "Something that the batch sets off ends its session, or crashes the server: the server's log says what. Then SELECT backfill.retry(name).");
}

static struct runner_action on_error(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    struct runner_action away;
    enum retry_class class = retry_class(e->sqlstate);
    bool first_lock = r->doing == RUNNER_BATCH && !r->skipping && same_string(e->sqlstate, SQLSTATE_LOCK);

    r->counts.retries[class]++;
    r->skipping = false;
    r->piecewise = r->piecewise || r->doing == RUNNER_SURVEY;
    if (class == RETRY_RECONNECT)
        r->connected = r->planning = false;

    /* The end of a job is written however long it takes. */
    if (r->doing == RUNNER_FINISH || r->doing == RUNNER_RELEASE)
        return wait_and_retry(r, e, false, now_us);
    if (leave(r, &away))
        return away;
    /* What cannot be set up the first time is a mistake of the job's; later it is somebody's trouble, and
     * passes. */
    if (r->doing == RUNNER_CONNECT) {
        bool passes = class == RETRY_RECONNECT || class == RETRY_LATER || class == RETRY_CONTENTION ||
                      class == RETRY_CANCELLED || class == RETRY_UNKNOWN;
        r->connected = false;
        if (class == RETRY_STALE) /* another daemon has claimed the job since, as a rule */
            return wait_for(r, e, true, where_it_stands(r), now_us);
        if (!passes && !r->ever_connected)
            return finish(r, JOB_FAILED, e->message, e->hint);
        return wait_and_retry(r, e, false, now_us);
    }

    if (first_lock) {
        r->skipping = true;
        return pace(r, RUNNER_BATCH, now_us);
    }
    if (r->doing == RUNNER_GIVE_WAY) {
        r->again = after_error(r);
        return go_on_waiting(r, now_us);
    }
    switch (class) {
    case RETRY_LATER:
        if (r->doing == RUNNER_STEP && !r->clears)
            return clear_away(r, e, now_us);
        return wait_and_retry(r, e, false, now_us);
    case RETRY_RECONNECT: return is_lost_for_good(r) ? finish_lost(r, e) : wait_and_retry(r, e, false, now_us);
    case RETRY_CONTENTION:
    case RETRY_CANCELLED: return on_cut_short(r, e, class == RETRY_CANCELLED && !r->relieving, now_us);
    case RETRY_STALE:
        /* To ask at once is right, but a second time without a batch between it would be a busy loop. */
        if (r->stale)
            return wait_for(r, e, true, after_error(r), now_us);
        r->stale = true;
        return enter(r, after_error(r));
    case RETRY_ALTERED:
        if (r->reread && is_work(r->doing))
            return on_row_error(r, e);
        if (r->reread || (!is_work(r->doing) && r->doing != RUNNER_BOUND && r->doing != RUNNER_COMPARE && r->doing != RUNNER_STEP &&
                             r->doing != RUNNER_SURVEY))
            return finish(r, JOB_FAILED, e->message, e->hint);
        r->reread = true;
        return enter(r, after_error(r));
    case RETRY_ROW:
    case RETRY_RAISED:
        if (is_work(r->doing))
            return on_row_error(r, e);
        /* What every row of a trial meets may pass in a moment, and ends the job else, before anything is changed. */
        if (r->doing == RUNNER_SURVEY ? r->backoff.tries < TRIALS : class == RETRY_RAISED && r->doing != RUNNER_STEP)
            return wait_and_retry(r, e, false, now_us);
        /* Rows that break what is to be enforced may only be to do still: one that was moved by its key while the table was
         * walked was met by no batch. One walk tells. */
        if (r->doing == RUNNER_STEP && r->phase == PHASE_GUARD && r->plan.verify && !r->guard_walked &&
            same_string(e->sqlstate, SQLSTATE_CHECK)) {
            r->guard_walked = true;
            return plan_walk(r, PHASE_GUARD);
        }
        return finish_in_its_words(r, e);
    case RETRY_UNKNOWN:
        if (!is_work(r->doing) || (!r->doubted && !r->isolate)) {
            r->doubted = true;
            return wait_and_retry(r, e, false, now_us);
        }
        return on_row_error(r, e);
    case RETRY_PERMANENT:
        /* A value may be taken for a name, or a policy may refuse one row: where others fail alike, it is no row's, and final. */
        if (is_work(r->doing) && strncmp(e->sqlstate, "BF", 2) != 0)
            return on_row_error(r, e);
        /* A step that somebody else has done meanwhile fails: the catalog is asked once more. */
        if (r->doing != RUNNER_STEP || r->reread)
            return finish_in_its_words(r, e);
        r->reread = true;
        return enter(r, RUNNER_NEXT_STEP);
    }
    return finish_in_its_words(r, e);
}

static struct runner_action on_lost(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    struct runner_action away;

    r->connected = r->skipping = false;
    r->piecewise = r->piecewise || r->doing == RUNNER_SURVEY;
    /* The server may have crashed: what the phase has done is looked at again, if it isn't written that it is over. */
    r->planning = false;
    r->counts.retries[RETRY_RECONNECT]++;
    if (r->doing == RUNNER_FINISH || r->doing == RUNNER_RELEASE)
        return wait_and_retry(r, e, false, now_us);
    if (leave(r, &away))
        return away;
    return is_lost_for_good(r) ? finish_lost(r, e) : wait_and_retry(r, e, false, now_us);
}

/* A wish. Sessions' statements and waits are cut short; what the control session writes is let be, it is
 * quick. */
static struct runner_action on_want(struct runner *r, enum runner_want want)
{
    struct runner_action away;

    /* A stop is the daemon's: no wish of the user's takes it back, and a pause or cancel only says how the
     * job is left. A cancel is final. */
    if (want == RUNNER_WANT_STOP || want == RUNNER_WANT_STOP_NOW || want == RUNNER_WANT_LEAVE)
        r->stopping = true;
    else if (r->want == RUNNER_WANT_CANCEL || r->phase == PHASE_TIDY) /* a job that has ended */
        return (struct runner_action){.kind = RUNNER_NONE};
    else
        r->want = want;
    if (want == RUNNER_WANT_RUN)
        return (struct runner_action){.kind = RUNNER_NONE};

    switch (r->doing) {
    case RUNNER_REST:
        if (r->again != RUNNER_FINISH && r->again != RUNNER_RELEASE && leave(r, &away))
            return away; /* what is left of the rest is forgotten */
        break;
    case RUNNER_BATCH:
    case RUNNER_RETRY:
        if (want == RUNNER_WANT_STOP || want == RUNNER_WANT_LEAVE)
            break;
        return (struct runner_action){.kind = RUNNER_ABORT};
    case RUNNER_STEP: /* it may take hours, and would begin anew the next time */
        if (want == RUNNER_WANT_LEAVE)
            break;
        return (struct runner_action){.kind = RUNNER_ABORT};
    case RUNNER_CONNECT:
    case RUNNER_SURVEY:
    case RUNNER_COMPARE:
    case RUNNER_BOUND: return (struct runner_action){.kind = RUNNER_ABORT};
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_LAYOUT:
    case RUNNER_ADD_RANGE:
    case RUNNER_BEGIN:
    case RUNNER_NEXT_STEP:
    case RUNNER_TAKE:
    case RUNNER_PUT_ASIDE:
    case RUNNER_GIVE_WAY:
    case RUNNER_FINISH:
    case RUNNER_RELEASE:
    case RUNNER_END: break;
    }
    return (struct runner_action){.kind = RUNNER_NONE};
}

/* Somebody waits on us: the batch is given up, and comes back as cancelled, which halves it. So is a step, however long it
 * has been at it: behind an ALTER TABLE that waits, everybody else waits too. */
static struct runner_action on_relieve(struct runner *r)
{
    if (!is_felt(r->doing))
        return (struct runner_action){.kind = RUNNER_NONE};
    r->relieving = true;
    return (struct runner_action){.kind = RUNNER_ABORT};
}

static struct runner_action on_event(struct runner *r, const struct runner_event *event, uint64_t now_us)
{
    switch (event->kind) {
    case RUNNER_START: return resume(r);
    case RUNNER_DONE: return on_done(r, event, now_us);
    case RUNNER_ERROR: return on_error(r, event, now_us);
    case RUNNER_LOST: return on_lost(r, event, now_us);
    case RUNNER_WANT: return on_want(r, event->want);
    case RUNNER_RELIEVE: return on_relieve(r);
    }
    return (struct runner_action){.kind = RUNNER_NONE};
}

struct runner_action runner_step(struct runner *r, const struct runner_event *event, uint64_t now_us)
{
    struct runner_action a = on_event(r, event, now_us);
    if (is_felt(a.kind)) {
        r->batch_began_us = now_us;
        r->relieving = false;
    } else if (a.kind == RUNNER_BOUND)
        r->bound_began_us = now_us;
    return a;
}
