#include "migration.h"

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
