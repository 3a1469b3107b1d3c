#include "run/migration.h"
#include "mem.h"

#include <inttypes.h>
#include <stdio.h>

#define GIVEN_UP_BASE_US 50000
#define GIVEN_UP_CAP_US  300000000
#define GIVEN_UP_LONG    5 /* so often in a row it is the step itself */
#define NO_ROOM_STEP_US 500000 /* so often it is looked whether the disk has room */

static bool has_phase(const struct migration_plan *plan, enum job_phase phase)
{
    switch (phase) {
    case PHASE_PREFLIGHT: return true;
    case PHASE_EXPAND: return plan->expand;
    case PHASE_BACKFILL: return plan->fill;
    case PHASE_GUARD: return plan->guard;
    case PHASE_VERIFY: return plan->verify;
    case PHASE_VALIDATE: return plan->validate;
    case PHASE_TIDY:
    case _JOB_PHASE_MAX:
    case _JOB_PHASE_INVALID: break;
    }
    return false;
}

enum job_phase migration_phase_after(const struct migration_plan *plan, enum job_phase phase)
{
    if (phase >= PHASE_VALIDATE || plan->dry_run)
        return _JOB_PHASE_MAX;
    for (phase++; phase <= PHASE_VALIDATE; phase++)
        if (has_phase(plan, phase))
            return phase;
    return _JOB_PHASE_MAX;
}

bool migration_walks(enum job_phase phase)
{
    return phase == PHASE_BACKFILL || phase == PHASE_VERIFY;
}

uint32_t migration_lock_ms(uint32_t tries, uint32_t lock_timeout_ms, double blocked_ms)
{
    double most = blocked_ms > STEP_LOCK_MOST_MS ? STEP_LOCK_MOST_MS : blocked_ms;
    double wait = lock_timeout_ms;

    for (uint32_t i = 0; i < tries && wait < most; i++)
        wait *= 2;
    if (wait > most)
        wait = most;
    return wait > lock_timeout_ms ? (uint32_t)wait : lock_timeout_ms;
}

void quiet_note(struct quiet *q, uint64_t rows, uint64_t now_us)
{
    q->passes = rows > 0 ? 0 : q->passes + 1;
    if (q->n == QUIET_KEPT) {
        for (int i = 1; i < QUIET_KEPT; i++)
            q->found[i - 1] = q->found[i];
        q->n--;
    }
    q->found[q->n].at_us = now_us;
    q->found[q->n].rows = rows;
    q->n++;
}

bool quiet_is(const struct quiet *q)
{
    return q->passes >= QUIET_PASSES;
}

uint64_t quiet_recent(const struct quiet *q, uint64_t now_us)
{
    uint64_t rows = 0;

    for (int i = 0; i < q->n; i++)
        if (now_us - q->found[i].at_us <= QUIET_WINDOW_US)
            rows += q->found[i].rows;
    return rows;
}

/* ---- The machine --------------------------------------------------------------------------------------------------------- */

void migration_init(struct migration *m, enum job_phase phase, uint64_t estimate)
{
    *m = (struct migration){.phase = phase, .next_phase = phase, .plan = {.fill = true}, .estimate = estimate};
    backoff_init(&m->given_up, GIVEN_UP_BASE_US, GIVEN_UP_CAP_US, (uint64_t)estimate + 1);
}

void migration_done(struct migration *m)
{
    free(m->lacking);
}

void migration_use(struct migration *m, const struct migration_plan *plan, const char *lacking)
{
    m->plan = *plan;
    replace_string(&m->lacking, lacking);
}

/* A pass that proves that nothing is left reads each row twice by its key, for the bound and for the look; one statement that reads the
 * table as it lies takes a tenth of the time, and one snapshot sees each row once. But nothing slows it down, so not beside others that do, unless it alone proves. */
static bool looks_at_once(const struct migration *m, const struct work *k)
{
    return (m->next_phase == PHASE_GUARD || m->next_phase == PHASE_VERIFY) && !m->piecewise &&
           (m->moves || pace_slowed_by(&k->pace)->signal == SIGNAL_NONE);
}

void migration_survey_failed(struct migration *m, enum runner_action_kind doing)
{
    m->piecewise = m->piecewise || (doing == RUNNER_SURVEY && (m->next_phase == PHASE_GUARD || m->next_phase == PHASE_VERIFY));
}

void migration_enter(struct migration *m, const struct work *k, struct runner_action *action)
{
    switch (action->kind) {
    case RUNNER_LAYOUT:
        m->planning = true;
        action->continues = m->continues;
        break;
    case RUNNER_SURVEY:
        action->relation = m->relation;
        action->at_once = looks_at_once(m, k);
        break;
    case RUNNER_ADD_RANGE: action->relation = m->relation; break;
    case RUNNER_BEGIN:
        action->phase = m->next_phase;
        action->planned = m->planning && !m->surveyed_only;
        action->continues = m->continues;
        action->proven = m->proven && action->planned && !m->continues;
        action->estimate = m->planning && !m->continues ? m->estimate : 0;
        break;
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_CONNECT:
    case RUNNER_NEXT_STEP:
    case RUNNER_STEP:
    case RUNNER_TAKE:
    case RUNNER_BOUND:
    case RUNNER_BATCH:
    case RUNNER_RETRY:
    case RUNNER_COMPARE:
    case RUNNER_PUT_ASIDE:
    case RUNNER_HAND_OVER:
    case RUNNER_REST:
    case RUNNER_GIVE_WAY:
    case RUNNER_FINISH:
    case RUNNER_RELEASE:
    case RUNNER_END: break;
    }
}

/* Plans a walk of that phase, which begins then. */
static struct next plan_walk(struct migration *m, enum job_phase phase)
{
    m->next_phase = phase;
    m->surveyed_only = m->continues = false;
    return next_act(RUNNER_LAYOUT);
}

static struct next begin(struct migration *m, struct work *k, enum job_phase phase)
{
    if (phase == _JOB_PHASE_MAX)
        return next_finish(k, JOB_SUCCEEDED, NULL, NULL);
    if (migration_walks(phase))
        return plan_walk(m, phase);
    m->next_phase = phase;
    return next_act(RUNNER_BEGIN);
}

/* The phase's work is done. */
static struct next end_phase(struct migration *m, struct work *k)
{
    return begin(m, k, migration_phase_after(&m->plan, m->phase));
}

/* In preflight the relations are surveyed, and when the next phase walks it is planned in the same go. */
static struct next survey_first(struct migration *m, struct work *k)
{
    enum job_phase next = migration_phase_after(&m->plan, PHASE_PREFLIGHT);

    if (!m->plan.fill)
        return begin(m, k, next);
    m->next_phase = m->plan.dry_run ? PHASE_PREFLIGHT : next;
    m->surveyed_only = !migration_walks(m->next_phase);
    m->continues = false;
    return next_act(RUNNER_LAYOUT);
}

struct next migration_work(struct migration *m, struct work *k)
{
    if (m->planning)
        return next_act(RUNNER_LAYOUT);
    switch (m->phase) {
    case PHASE_PREFLIGHT: return survey_first(m, k);
    case PHASE_BACKFILL:
    case PHASE_VERIFY: return next_act(RUNNER_TAKE);
    case PHASE_GUARD: return next_act(m->walking ? RUNNER_TAKE : RUNNER_NEXT_STEP);
    case PHASE_EXPAND:
    case PHASE_VALIDATE:
    case PHASE_TIDY: return next_act(RUNNER_NEXT_STEP);
    case _JOB_PHASE_MAX:
    case _JOB_PHASE_INVALID: break;
    }
    return (struct next){.kind = NEXT_END};
}

enum runner_action_kind migration_where(const struct migration *m)
{
    if (m->phase == PHASE_PREFLIGHT)
        return RUNNER_LAYOUT;
    return migration_walks(m->phase) || m->phase == PHASE_GUARD ? RUNNER_TAKE : RUNNER_NEXT_STEP;
}

void migration_forget(struct migration *m)
{
    m->planning = m->walking = m->continues = m->proven = false;
    m->quiet.passes = 0; /* nor is it known which walk it was that ended */
}

/* ---- Plans --------------------------------------------------------------------------------------------------------------- */

struct next migration_laid_out(struct migration *m, struct work *k, const struct runner_event *e)
{
    if (m->continues || e->n_relations < m->n_relations)
        k->reread = false; /* a partition was dropped; the next one may be */
    m->relation = 0;
    m->n_relations = e->n_relations;
    if (!m->continues) {
        m->estimate = 0;
        m->unseen = m->hidden = m->all_at_once = m->proven = false;
        m->aside_planned = 0;
        m->aside_from = k->counts.put_aside;
    }
    m->estimate += e->rest;
    m->aside = m->aside_planned;
    return next_act(m->n_relations > 0 ? RUNNER_SURVEY : RUNNER_BEGIN);
}

static struct next survey_next(struct migration *m)
{
    return next_act(++m->relation < m->n_relations ? RUNNER_SURVEY : RUNNER_BEGIN);
}

/* Thousands of relations take minutes to plan: so a walk begins when the first are, and plans on when it has little left to do. */
struct next migration_plan_on(struct migration *m)
{
    m->continues = true;
    return next_act(RUNNER_LAYOUT);
}

struct next migration_surveyed(struct migration *m, const struct runner_event *e)
{
    m->estimate += e->empty ? 0 : e->estimate;
    m->moves = m->moves || e->moves;
    m->unseen = m->unseen || (e->moves && !e->empty && !e->nothing_else);
    m->aside += e->aside;
    m->hidden = m->hidden || e->hidden;
    m->all_at_once = m->all_at_once || e->all_at_once;
    m->by_ctid = m->by_ctid || e->by_ctid;
    m->proven = e->all_at_once && e->empty;
    if (m->proven) {
        m->estimate = 0;
        return next_act(RUNNER_BEGIN);
    }
    /* One that is empty by now has a range of an earlier walk, perhaps. */
    if (!m->surveyed_only && (!e->empty || m->phase != PHASE_PREFLIGHT))
        return next_act(RUNNER_ADD_RANGE);
    return survey_next(m);
}

struct next migration_range_added(struct migration *m)
{
    return survey_next(m);
}

/* The phase that was planned, or needed no plan, has begun; or one more walk of it. */
struct next migration_begun(struct migration *m, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    bool walks = m->planning && !m->surveyed_only, continues = m->continues;

    m->planning = m->continues = m->proven = false;
    m->aside_planned = m->aside;
    if (continues)
        return next_act(RUNNER_TAKE);
    if (m->plan.dry_run)
        return next_finish(k, JOB_SUCCEEDED, NULL, NULL);
    m->phase = m->next_phase;
    if (!walks)
        return migration_work(m, k);
    m->walking = true;
    m->walk = e->walk;
    progress_init(&k->progress, 0, m->estimate, now_us);
    return next_act(RUNNER_TAKE);
}

/* ---- Walks --------------------------------------------------------------------------------------------------------------- */

/* Another walk of the phase, after a while. */
static struct next walk_again(struct migration *m, struct work *k, const char *why, uint64_t wait_us)
{
    m->next_phase = m->phase;
    m->surveyed_only = m->continues = false;
    patience_say(&k->patience, why, NULL);
    return next_rest(RUNNER_LAYOUT, wait_us);
}

static struct next wait_until_quiet(struct migration *m, struct work *k, uint64_t now_us)
{
    _cleanup_free_ char *why = NULL;

    if (m->quiet.passes > 0)
        why = copy_string("waits a moment, to see that the application writes only rows that are right");
    else if (asprintf(&why, "rows without %s still come in (%" PRIu64 " in the last minute): written, moved, or attached",
                 m->lacking ? m->lacking : "what is to be enforced", quiet_recent(&m->quiet, now_us)) < 0)
        abort();
    return walk_again(m, k, why, QUIET_GAP_US);
}

/* Whoever reads "succeeded" may count on it that no row is to do. */
static struct next finish_open(const struct migration *m, struct work *k, uint64_t found)
{
    _cleanup_free_ char *error = NULL;

    if (asprintf(&error, "rows that are to do still come in: of %" PRIu32 " walks of verify the last one found %" PRIu64 " still", m->verified, found) < 0)
        abort();
    return next_finish(k, JOB_FAILED, error,
        m->plan.in_step ? "Older rows are done, but for those whose key others changed meanwhile. SELECT those that meet where_clause: the trigger has no value for them, or it is changed back. Mend them; then SELECT backfill.retry(name)."
                        : "Older rows are done, but for those whose key others changed meanwhile. Have the application write them as they should be, or keep them in step "
                          "(keep_in_sync); then SELECT backfill.retry(name).");
}

bool migration_leaves_unmet(const struct migration *m)
{
    return m->unmet >= (m->plan.in_step || m->by_ctid ? 4 * VERIFY_WALKS_MOST : UNMET_MOST);
}

struct next migration_walked(struct migration *m, struct work *k, int64_t walk, uint64_t found, uint64_t now_us)
{
    bool first = k->counts.walks++ == 0 && m->phase == PHASE_BACKFILL;
    bool whole = m->walking && walk == m->walk;

    m->walking = false;
    k->counts.found_again += first ? 0 : found;
    switch (m->phase) {
    case PHASE_GUARD:
        if (!whole) /* ranges of a plan that was not carried out: they are done, but that proves nothing */
            return next_act(RUNNER_NEXT_STEP);
        quiet_note(&m->quiet, found, now_us);
        return quiet_is(&m->quiet) ? next_act(RUNNER_NEXT_STEP) : wait_until_quiet(m, k, now_us);
    case PHASE_VERIFY:
        /* One that was only planned, or that another daemon had begun: which relations it was to look at isn't known. */
        if (!whole)
            return plan_walk(m, PHASE_VERIFY);
        m->verified++;
        /* A row that was put aside may have moved, too; one that was mended costs a walk. */
        bool vanished = k->counts.put_aside - m->aside_from < m->aside;
        bool proven = found == 0 && !vanished && (!m->unseen || m->piecewise || m->hidden);
        m->unmet = proven || found > 0 ? 0 : m->unmet + 1;
        if (proven || migration_leaves_unmet(m))
            return end_phase(m, k);
        if (found > 0 && m->verified >= (m->by_ctid ? 4 : 1) * VERIFY_WALKS_MOST)
            return finish_open(m, k, found);
        /* What turned up is done; whether there is more, another walk tells. At once, the first time. */
        return walk_again(m, k, found == 0 ? "verifies again: rows may have moved behind the scan" : "verifies again: there were rows to do", m->verified > 1 ? QUIET_GAP_US : 0);
    case PHASE_PREFLIGHT:
    case PHASE_EXPAND:
    case PHASE_BACKFILL:
    case PHASE_VALIDATE:
    case PHASE_TIDY:
    case _JOB_PHASE_MAX:
    case _JOB_PHASE_INVALID: break;
    }
    return end_phase(m, k);
}

bool migration_walks_for_check(struct migration *m, const struct runner_event *e, struct next *ret_next)
{
    if (m->phase != PHASE_GUARD || !m->plan.verify || m->guard_walked || !same_string(e->sqlstate, SQLSTATE_CHECK))
        return false;
    m->guard_walked = true;
    *ret_next = plan_walk(m, PHASE_GUARD);
    return true;
}

/* ---- Steps --------------------------------------------------------------------------------------------------------------- */

/* A step is to do, or none is left. One that fills the disk begins only where there is room; its pause grows to minutes, for what
 * is short of room seldom gets some soon. */
struct next migration_next_step(struct migration *m, struct work *k, const struct runner_event *e, const char *no_room, uint64_t now_us)
{
    if (!e->has_step)
        return end_phase(m, k);
    if (m->phase == PHASE_GUARD && m->plan.quiet && !quiet_is(&m->quiet))
        return plan_walk(m, PHASE_GUARD);
    if (!e->clears && now_us < m->step_due_us)
        return next_wait(RUNNER_NEXT_STEP, m->step_due_us - now_us);
    if (e->builds && no_room) {
        patience_say(&k->patience, no_room, SQLSTATE_NO_ROOM);
        return next_wait(RUNNER_NEXT_STEP, NO_ROOM_STEP_US);
    }
    m->clears = e->clears;
    return next_act(RUNNER_STEP);
}

struct next migration_step_done(struct migration *m, struct work *k)
{
    k->counts.steps++;
    if (!m->clears) { /* else the next try of what failed is no sooner for it */
        backoff_reset(&k->patience.pause);
        backoff_reset(&m->given_up);
        work_moved(k);
    }
    return next_act(RUNNER_NEXT_STEP);
}

uint64_t migration_step_given_up(struct migration *m, struct work *k)
{
    uint64_t wait_us = backoff_next(&m->given_up);

    patience_say(&k->patience,
        m->given_up.tries < GIVEN_UP_LONG ? "others waited on a step for max_blocked_ms: it was cut short"
                                          : "others waited on a step for max_blocked_ms, each time that it was tried: raise that key for a while",
        SQLSTATE_CANCELLED);
    return wait_us;
}

struct next migration_clear_away(struct migration *m, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    m->step_due_us = now_us + patience_note(&k->patience, PATIENCE_NO_ROOM, e->sqlstate, e->message);
    if (k->patience.since_us == 0)
        k->patience.since_us = now_us;
    return next_act(RUNNER_NEXT_STEP);
}
