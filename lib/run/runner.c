#include "run/runner.h"
#include "run/helper.h"
#include "mem.h"

#define TRIALS 7 /* 6 s in all */

void runner_init(struct runner *r, enum job_phase phase, uint64_t estimate, uint64_t keys_done,
    const struct runner_limits *limits, uint64_t seed, uint64_t now_us)
{
    *r = (struct runner){0};
    r->work.pace.others.signal = r->work.pace.host.signal = SIGNAL_NONE;
    r->work.quarantine = limits->quarantine;
    pace_job_limit(&r->work.pace, &limits->pace);
    patience_init(&r->work.patience, seed);
    progress_init(&r->work.progress, keys_done, estimate, now_us);
    migration_init(&r->migration, phase, estimate);
    walker_init(&r->walker, &limits->pace);
}

void runner_done(struct runner *r)
{
    migration_done(&r->migration);
    walker_done(&r->walker);
    patience_done(&r->work.patience);
    free(r->work.ending.error);
    free(r->work.ending.hint);
    *r = (struct runner){0};
}

void runner_plan(struct runner *r, const struct migration_plan *plan, const char *lacking)
{
    migration_use(&r->migration, plan, lacking);
}

void runner_gave_way(struct runner *r, uint32_t tries)
{
    r->work.patience.way.tries = tries;
}

void runner_helps(struct runner *r)
{
    r->helps = true;
}

void runner_limit(struct runner *r, const struct runner_limits *limits)
{
    r->work.quarantine = limits->quarantine;
    pace_job_limit(&r->work.pace, &limits->pace);
    pace_limit(&r->walker.pace, &limits->pace);
}

/* What was begun is written however long it takes. */
static bool concludes(enum runner_action_kind kind)
{
    return kind == RUNNER_FINISH || kind == RUNNER_RELEASE;
}

bool runner_concludes(const struct runner *r)
{
    return concludes(r->doing) || (r->doing == RUNNER_REST && concludes(r->again));
}

/* ---- What is sent ------------------------------------------------------------------------------------------------------- */

static struct runner_action enter(struct runner *r, enum runner_action_kind kind)
{
    struct runner_action a = {.kind = kind};

    r->doing = kind;
    if (kind == RUNNER_CONNECT)
        r->connected = false;
    if (concludes(kind))
        a.state = r->work.ending.state;
    migration_enter(&r->migration, &r->work, &a);
    walker_enter(&r->walker, &r->work, &a);
    return a;
}

static struct runner_action rest(struct runner *r, enum runner_action_kind again, uint64_t wait_us, uint64_t now_us)
{
    r->again = again;
    r->rest_began_us = now_us;
    struct runner_action a = enter(r, RUNNER_REST);
    a.until_us = now_us + wait_us;
    return a;
}

static bool is_refused(const struct runner *r)
{
    return !r->connected && r->work.patience.sqlstate && strncmp(r->work.patience.sqlstate, "28", 2) == 0;
}

/* A job that only waits needs no place; one whose login is refused here may be let in from another host. What must be written at its end it writes first. */
static bool may_give_way(const struct runner *r, uint64_t now_us)
{
    return (r->crowded || is_refused(r)) && !r->helps && r->want == RUNNER_WANT_RUN && !r->stopping && !walker_is_searching(&r->walker) && !concludes(r->again) &&
           patience_may_give_way(&r->work.patience, now_us);
}

/* Goes on with a wait. */
static struct runner_action go_on_waiting(struct runner *r, uint64_t now_us)
{
    if (!may_give_way(r, now_us))
        return rest(r, r->again, patience_rest_us(&r->work.patience, now_us), now_us);
    struct runner_action a = enter(r, RUNNER_GIVE_WAY);
    a.until_us = patience_give_way(&r->work.patience, &a.tries, now_us);
    a.apart = is_refused(r);
    return a;
}

static struct runner_action release(struct runner *r, enum job_state state)
{
    r->work.ending.state = state;
    return enter(r, RUNNER_RELEASE);
}

/* Does what one of the machines has decided. */
static struct runner_action follow(struct runner *r, struct next next, uint64_t now_us)
{
    switch (next.kind) {
    case NEXT_ACT: return enter(r, next.action);
    case NEXT_PACE:
        r->rests_for = next.why;
        return rest(r, next.action, next.rest_us, now_us);
    case NEXT_REST:
        r->work.patience.until_us = 0;
        return rest(r, next.action, next.rest_us, now_us);
    case NEXT_WAIT:
        r->again = next.action;
        patience_begin(&r->work.patience, now_us + next.rest_us, now_us);
        return go_on_waiting(r, now_us);
    case NEXT_LEAVE: return release(r, JOB_QUEUED);
    case NEXT_PLAN: return follow(r, migration_plan_on(&r->migration), now_us);
    case NEXT_WALKED:
        if (r->helps)
            return release(r, JOB_QUEUED);
        return follow(r, migration_walked(&r->migration, &r->work, next.walk, next.found, now_us), now_us);
    case NEXT_FINISH: return enter(r, RUNNER_FINISH);
    case NEXT_END: break;
    }
    return enter(r, RUNNER_END);
}

static struct next wait_for(struct runner *r, const struct runner_event *e, enum patience_kind kind, enum runner_action_kind again)
{
    return next_wait(again, patience_note(&r->work.patience, kind, e->sqlstate, e->message));
}

/* Between two actions: what somebody wished meanwhile comes first. */
static bool leave(struct runner *r, struct runner_action *ret_action)
{
    switch ((r->want == RUNNER_WANT_RUN || r->helps) && r->stopping ? RUNNER_WANT_STOP : r->want) {
    case RUNNER_WANT_RUN: return false;
    case RUNNER_WANT_LEAVE:
    case RUNNER_WANT_STOP:
    case RUNNER_WANT_STOP_NOW: *ret_action = release(r, JOB_QUEUED); return true;
    case RUNNER_WANT_PAUSE: *ret_action = release(r, JOB_PAUSED); return true;
    case RUNNER_WANT_CANCEL:
        next_finish(&r->work, JOB_CANCELLED, NULL, NULL);
        *ret_action = enter(r, RUNNER_FINISH);
        return true;
    }
    return false;
}

/* ---- Answers ------------------------------------------------------------------------------------------------------------ */

static struct next resume(struct runner *r)
{
    if (r->helps && r->connected)
        return next_act(RUNNER_TAKE);
    return r->connected ? migration_work(&r->migration, &r->work) : next_act(RUNNER_CONNECT);
}

/* What this daemon took for done, the server doesn't have any more. Where the phase's work stands is read back, after a rest:
 * whatever it is that doesn't stay done, is not tried without a pause. */
static struct next look_again(struct runner *r, const struct runner_event *e)
{
    migration_forget(&r->migration);
    walker_forget(&r->walker);
    return wait_for(r,
        &(struct runner_event){.sqlstate = SQLSTATE_STALE,
            .message = e->message ? e->message : "some of what was done is to do again: the server has lost it, or somebody has undone it"},
        PATIENCE_ERROR, r->connected ? migration_where(&r->migration) : RUNNER_CONNECT);
}

static void end_rest(struct runner *r, uint64_t now_us)
{
    uint64_t rested = now_us - r->rest_began_us;

    if (action_is_paced(r->again))
        r->work.counts.throttled_us[r->rests_for] += rested;
    else
        r->work.counts.rest_us += rested;
}

/* A rest is over, or nobody queued for the job's place. */
static struct runner_action after_rest(struct runner *r, enum runner_action_kind was, uint64_t now_us)
{
    if (was == RUNNER_GIVE_WAY || (!action_is_paced(r->again) && now_us < r->work.patience.until_us))
        return go_on_waiting(r, now_us);
    if (r->renew && r->connected && !action_is_paced(r->again)) {
        r->migration.planning = false;
        return enter(r, RUNNER_CONNECT);
    }
    return follow(r, action_is_paced(r->again) ? walker_pace(&r->walker, &r->work, r->again, now_us) : next_act(r->again), now_us);
}

static struct next on_begun(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    struct next next = migration_begun(&r->migration, &r->work, e, now_us);

    if (r->migration.walking)
        walker_forget(&r->walker);
    return next;
}

/* What the machine says whose action it was. */
static struct next on_answer(struct runner *r, enum runner_action_kind was, const struct runner_event *e, uint64_t now_us)
{
    struct migration *m = &r->migration;
    struct walker *w = &r->walker;
    struct work *k = &r->work;

    switch (was) {
    case RUNNER_CONNECT: return resume(r);
    case RUNNER_LAYOUT: return migration_laid_out(m, k, e);
    case RUNNER_SURVEY: return migration_surveyed(m, e);
    case RUNNER_ADD_RANGE: return migration_range_added(m);
    case RUNNER_BEGIN: return on_begun(r, e, now_us);
    case RUNNER_NEXT_STEP: return migration_next_step(m, k, e, r->no_room, now_us);
    case RUNNER_STEP: return migration_step_done(m, k);
    case RUNNER_TAKE:
        if (m->phase == PHASE_PREFLIGHT && e->outcome != RUNNER_TAKE_NOT_OURS)
            return migration_work(m, k); /* ours after all, and its ranges may not be complete */
        return walker_taken(w, k, e, now_us);
    case RUNNER_BOUND: return walker_bound_found(w, k, e, now_us);
    case RUNNER_BATCH: return walker_batch_done(w, k, e, now_us);
    case RUNNER_RETRY: return walker_rows_done(w, k, e, now_us);
    case RUNNER_COMPARE: return walker_compared(w, k, e, r->relieving, now_us);
    case RUNNER_PUT_ASIDE: return walker_after_put_aside(w);
    case RUNNER_HAND_OVER:
        walker_forget(w);
        return next_act(RUNNER_TAKE);
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_REST:
    case RUNNER_GIVE_WAY:
    case RUNNER_FINISH:
    case RUNNER_RELEASE:
    case RUNNER_END: break;
    }
    return (struct next){.kind = NEXT_END};
}

/* Its end, or its return, is written; or it is not over. */
static struct runner_action on_ended(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    struct runner_action away;

    if (r->doing == RUNNER_RELEASE || e->look != RUNNER_LOOK_NOT_OVER)
        return enter(r, RUNNER_END);
    if (leave(r, &away))
        return away;
    return follow(r, look_again(r, e), now_us);
}

static struct runner_action on_done(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    enum runner_action_kind was = r->doing;
    struct runner_action away;
    struct next next;

    /* The end of a job, once it is being written, is not up for discussion; nor is a batch that is done. */
    if (concludes(was))
        return on_ended(r, e, now_us);
    if (action_is_work(was)) {
        next = on_answer(r, was, e, now_us);
        return leave(r, &away) ? away : follow(r, next, now_us);
    }
    if (was == RUNNER_CONNECT) {
        r->connected = r->ever_connected = true;
        r->renew = false;
        r->work.patience.refused_us = 0;
    } else if (was == RUNNER_REST)
        end_rest(r, now_us);
    else if (was == RUNNER_PUT_ASIDE)
        walker_row_put_aside(&r->walker, &r->work, now_us);
    else if (was == RUNNER_GIVE_WAY && (e->gave_way || e->look == RUNNER_LOOK_NOT_OURS)) {
        r->work.ending.state = JOB_QUEUED;
        return enter(r, RUNNER_END);
    }
    if (was == RUNNER_REST && concludes(r->again))
        return enter(r, r->again);
    if (leave(r, &away))
        return away;
    if (e->look == RUNNER_LOOK_NOT_OURS)
        return enter(r, RUNNER_END);
    /* Ours after all, but by another claim than the one that this daemon remembers: the server has lost that. */
    bool tells_whose = was == RUNNER_LAYOUT || was == RUNNER_NEXT_STEP || (was == RUNNER_TAKE && e->outcome != RUNNER_TAKE_NOT_OURS);
    if (e->look != RUNNER_LOOK_NOT_OVER && !r->connected && tells_whose)
        return release(r, JOB_QUEUED);
    if (was == RUNNER_REST || was == RUNNER_GIVE_WAY)
        return after_rest(r, was, now_us);
    next = e->look == RUNNER_LOOK_NOT_OVER ? look_again(r, e) : on_answer(r, was, e, now_us);
    return follow(r, next, now_us);
}

/* ---- Errors ------------------------------------------------------------------------------------------------------------- */

/* Where to go on after a wait: the same action, unless it was a batch or its bound. Then the range is taken
 * anew, which reads back where it stands. */
static enum runner_action_kind after_error(const struct runner *r)
{
    if (concludes(r->doing))
        return r->doing;
    if (!r->connected)
        return RUNNER_CONNECT;
    if (r->doing == RUNNER_GIVE_WAY) /* the wait goes on, for what it was */
        return r->again;
    if (action_is_work(r->doing) || r->doing == RUNNER_BOUND || r->doing == RUNNER_COMPARE || r->doing == RUNNER_PUT_ASIDE)
        return RUNNER_TAKE;
    if (r->doing == RUNNER_STEP)
        return RUNNER_NEXT_STEP;
    return r->migration.planning ? RUNNER_LAYOUT : r->doing;
}

static struct next wait_and_retry(struct runner *r, const struct runner_event *e, enum patience_kind kind)
{
    return wait_for(r, e, kind, after_error(r));
}

/* What cannot be set up the first time is a mistake of the job's; later it is somebody's trouble, and passes. A daemon that has just been started
 * knows by the phase that the login was let in before. At first, too, a token may not have been renewed in time, or another daemon be let in. */
static bool may_be_let_in(struct runner *r, bool login, uint64_t now_us)
{
    bool begun = r->migration.phase != PHASE_PREFLIGHT && r->migration.phase != PHASE_TIDY;

    if (r->ever_connected || (login && begun))
        return true;
    return login && patience_has_for_login(&r->work.patience, now_us);
}

static struct next on_connect_error(struct runner *r, const struct runner_event *e, enum retry_class class, uint64_t now_us)
{
    bool login = e->sqlstate && strncmp(e->sqlstate, "28", 2) == 0;
    bool passes = class == RETRY_RECONNECT || class == RETRY_LATER || class == RETRY_CONTENTION || class == RETRY_CANCELLED ||
                  class == RETRY_UNKNOWN;

    r->connected = false;
    if (class == RETRY_STALE) /* another daemon has claimed the job since, as a rule */
        return wait_for(r, e, PATIENCE_LOCK, migration_where(&r->migration));
    if (!passes && !may_be_let_in(r, login, now_us))
        return next_finish(&r->work, JOB_FAILED, e->message, e->hint);
    return wait_and_retry(r, e, login ? PATIENCE_LOGIN : PATIENCE_AWAY);
}

/* Cut short by statement_timeout, by somebody, or for somebody: smaller and soon; one key that takes too long again and
 * again is compared with others. */
static struct next on_cut_short(struct runner *r, const struct runner_event *e, bool by_time, uint64_t now_us)
{
    r->work.counts.relieved += r->relieving;
    if (r->relieving && r->doing == RUNNER_STEP && same_string(e->sqlstate, SQLSTATE_CANCELLED))
        return next_wait(after_error(r), migration_step_given_up(&r->migration, &r->work));
    if (walker_cut_short(&r->walker, &r->work, r->doing, by_time, now_us))
        return walker_row_failed(&r->walker, &r->work, r->doing, e);
    struct next next = wait_and_retry(r, e, PATIENCE_LOCK);
    if (r->relieving && same_string(e->sqlstate, SQLSTATE_CANCELLED))
        patience_say(&r->work.patience, "others waited on a batch for max_blocked_ms: it was cut short", e->sqlstate);
    return next;
}

/* To ask at once is right, but a second time without a batch between it would be a busy loop. */
static struct next on_stale(struct runner *r, const struct runner_event *e)
{
    if (r->work.stale)
        return wait_and_retry(r, e, PATIENCE_LOCK);
    r->work.stale = true;
    return next_act(after_error(r));
}

static struct next on_altered(struct runner *r, const struct runner_event *e)
{
    bool by_name = action_is_felt(r->doing) || r->doing == RUNNER_BOUND; /* it names what is the user's */

    if (r->work.reread && action_is_work(r->doing))
        return walker_row_failed(&r->walker, &r->work, r->doing, e);
    if (r->work.reread || !by_name)
        return next_finish_in_words(&r->work, e);
    r->work.reread = true;
    return next_act(after_error(r));
}

static struct next on_refused_row(struct runner *r, const struct runner_event *e, enum retry_class class)
{
    struct next walk;

    if (action_is_work(r->doing))
        return walker_row_failed(&r->walker, &r->work, r->doing, e);
    /* What every row of a trial meets may pass in a moment, and ends the job else, before anything is changed. */
    if (r->doing == RUNNER_SURVEY ? r->work.patience.pause.tries < TRIALS : class == RETRY_RAISED && r->doing != RUNNER_STEP)
        return wait_and_retry(r, e, PATIENCE_ERROR);
    if (r->doing == RUNNER_STEP && migration_walks_for_check(&r->migration, e, &walk))
        return walk;
    return next_finish_in_words(&r->work, e);
}

static struct next on_permanent(struct runner *r, const struct runner_event *e)
{
    /* A value may be taken for a name, or a policy may refuse one row: where others fail alike, it is no row's, and final. */
    if (action_is_work(r->doing) && strncmp(e->sqlstate, "BF", 2) != 0)
        return walker_row_failed(&r->walker, &r->work, r->doing, e);
    /* A step that somebody else has done meanwhile fails: the catalog is asked once more. */
    if (r->doing != RUNNER_STEP || r->work.reread)
        return next_finish_in_words(&r->work, e);
    r->work.reread = true;
    return next_act(RUNNER_NEXT_STEP);
}

static struct next on_class(struct runner *r, const struct runner_event *e, enum retry_class class, uint64_t now_us)
{
    switch (class) {
    case RETRY_LATER:
        if (r->doing == RUNNER_STEP && !r->migration.clears)
            return migration_clear_away(&r->migration, &r->work, e, now_us);
        return wait_and_retry(r, e, r->doing == RUNNER_STEP ? PATIENCE_NO_ROOM : PATIENCE_ERROR);
    case RETRY_RECONNECT:
        return walker_lost(&r->work, r->doing) ? walker_finish_lost(&r->work, e) : wait_and_retry(r, e, PATIENCE_ERROR);
    case RETRY_CONTENTION:
    case RETRY_CANCELLED: return on_cut_short(r, e, class == RETRY_CANCELLED && !r->relieving, now_us);
    case RETRY_STALE: return on_stale(r, e);
    case RETRY_ALTERED: return on_altered(r, e);
    case RETRY_ROW:
    case RETRY_RAISED: return on_refused_row(r, e, class);
    case RETRY_UNKNOWN:
        if (action_is_work(r->doing) && (r->work.doubted || r->walker.isolate))
            return walker_row_failed(&r->walker, &r->work, r->doing, e);
        r->work.doubted = true;
        return wait_and_retry(r, e, PATIENCE_ERROR);
    case RETRY_PERMANENT: return on_permanent(r, e);
    }
    return next_finish_in_words(&r->work, e);
}

static struct runner_action on_error(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    struct runner_action away;
    enum retry_class class = retry_class(e->sqlstate);
    bool meets_lock = r->doing == RUNNER_BATCH && !r->walker.lock.aside && same_string(e->sqlstate, SQLSTATE_LOCK);
    bool first_lock = meets_lock && !r->walker.skipping;
    struct next next;

    r->work.counts.retries[class]++;
    walker_begin_anew(&r->walker);
    migration_survey_failed(&r->migration, r->doing);
    if (class == RETRY_RECONNECT)
        r->connected = r->migration.planning = false;
    r->renew = r->renew || (class == RETRY_LATER && action_has_session(r->doing));
    if (concludes(r->doing)) /* the end of a job is written however long it takes */
        next = wait_and_retry(r, e, PATIENCE_ERROR);
    else if (leave(r, &away))
        return away;
    else if (r->helps && !meets_lock)
        next = helper_failed(&r->walker, &r->work, r->doing, e, r->relieving, now_us);
    else if (r->doing == RUNNER_CONNECT)
        next = on_connect_error(r, e, class, now_us);
    else if (first_lock)
        next = walker_skip_locked(&r->walker, &r->work, now_us);
    else if (meets_lock)
        next = r->helps ? helper_meets_lock(&r->walker, &r->work, e, now_us) : walker_meets_lock(&r->walker, &r->work, e, now_us);
    else if (r->doing == RUNNER_RETRY && same_string(e->sqlstate, SQLSTATE_LOCK))
        next = walker_rows_meet_lock(&r->walker);
    else if (r->doing == RUNNER_GIVE_WAY) {
        r->again = after_error(r);
        return go_on_waiting(r, now_us);
    } else
        next = on_class(r, e, class, now_us);
    return follow(r, next, now_us);
}

static struct runner_action on_lost(struct runner *r, const struct runner_event *e, uint64_t now_us)
{
    bool ends = concludes(r->doing);
    struct runner_action away;

    r->connected = false;
    walker_begin_anew(&r->walker);
    migration_survey_failed(&r->migration, r->doing);
    /* The server may have crashed: what the phase has done is looked at again, if it isn't written that it is over. */
    r->migration.planning = false;
    r->work.counts.retries[RETRY_RECONNECT]++;
    if (!ends && leave(r, &away))
        return away;
    if (r->helps && !ends) {
        r->work.troubled = true;
        return release(r, JOB_QUEUED);
    }
    enum patience_kind kind = r->doing == RUNNER_CONNECT ? PATIENCE_AWAY : PATIENCE_ERROR;
    struct next next = !ends && walker_lost(&r->work, r->doing) ? walker_finish_lost(&r->work, e) : wait_and_retry(r, e, kind);
    return follow(r, next, now_us);
}

/* ---- Wishes ------------------------------------------------------------------------------------------------------------- */

/* Somebody wishes the job away. Sessions' statements and waits are cut short; what the control session writes is let be, it is quick. */
static struct runner_action interrupt(struct runner *r, enum runner_want want)
{
    struct runner_action away;
    bool finishes_batch = action_is_work(r->doing) && (want == RUNNER_WANT_STOP || want == RUNNER_WANT_LEAVE);
    bool finishes_step = r->doing == RUNNER_STEP && want == RUNNER_WANT_LEAVE; /* it may take hours, and would begin anew the next time */

    if (r->doing == RUNNER_REST && !concludes(r->again) && leave(r, &away))
        return away; /* what is left of the rest is forgotten */
    return (struct runner_action){.kind = action_has_session(r->doing) && !finishes_batch && !finishes_step ? RUNNER_ABORT : RUNNER_NONE};
}

/* A stop is the daemon's: no wish of the user's takes it back, and a pause or cancel only says how the job is left. A cancel is final. */
static struct runner_action on_want(struct runner *r, enum runner_want want)
{
    if (want == RUNNER_WANT_STOP || want == RUNNER_WANT_STOP_NOW || want == RUNNER_WANT_LEAVE)
        r->stopping = true;
    else if (r->want == RUNNER_WANT_CANCEL || r->migration.phase == PHASE_TIDY) /* a job that has ended */
        return (struct runner_action){.kind = RUNNER_NONE};
    else
        r->want = want;
    return want == RUNNER_WANT_RUN ? (struct runner_action){.kind = RUNNER_NONE} : interrupt(r, want);
}

/* Somebody waits on us: the batch is given up, and comes back as cancelled, which halves it. So is a step, however long it
 * has been at it: behind an ALTER TABLE that waits, everybody else waits too. */
static struct runner_action on_relieve(struct runner *r)
{
    if (!action_is_felt(r->doing))
        return (struct runner_action){.kind = RUNNER_NONE};
    r->relieving = true;
    return (struct runner_action){.kind = RUNNER_ABORT};
}

static struct runner_action on_event(struct runner *r, const struct runner_event *event, uint64_t now_us)
{
    switch (event->kind) {
    case RUNNER_START: return follow(r, resume(r), now_us);
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

    if (action_is_felt(a.kind) || a.kind == RUNNER_BOUND)
        r->walker.began_us = now_us;
    if (action_is_felt(a.kind))
        r->relieving = false;
    return a;
}
