#include "pressure/pace.h"

#include <math.h>

#define PACE_STEP_US  50000 /* a rest is taken in steps, so that it ends when the pressure does */
#define KEYS_A_YIELD  1000  /* keys from one changed row to the next: so rarely it is no use to yield there */

/* Where x stands between from (0) and to (1). */
static double between(double x, double from, double to)
{
    if (x <= from)
        return 0;
    return x < to ? (x - from) / (to - from) : 1;
}

double pace_share(double pressure)
{
    double room = 1 - between(pressure, PACE_FREE, 1);
    return room * room * room;
}

double pace_share_on_host(double pressure, double busy_share)
{
    double first = (1 - PACE_KEEPS) * between(pressure, PACE_FREE, PACE_BUSY);
    double then = PACE_KEEPS * between(pressure, PACE_BUSY, PACE_CROWDED);
    double share = 1 - (1 - busy_share) * (first + then);
    return share * (1 - between(pressure, PACE_NEAR, 1));
}

double pace_ease(double reading, double eased, double busy, uint64_t ago_us)
{
    double least = (eased < busy ? eased : busy) - busy * (double)ago_us / PACE_EASE_US;
    return reading > least ? reading : least;
}

uint32_t pace_target_us(double pressure, uint32_t target_us, uint32_t busy_us)
{
    if (busy_us >= target_us)
        return target_us;
    return target_us - (uint32_t)((target_us - busy_us) * between(pressure, PACE_FREE, PACE_BUSY));
}

uint32_t pace_portion_us(double share, uint32_t aim_us)
{
    double portion = share * PACE_CYCLE_US;

    if (portion < PACE_LEAST_US)
        portion = PACE_LEAST_US;
    return portion < aim_us ? (uint32_t)portion : aim_us;
}

uint32_t pace_yield_after_us(double share)
{
    double after = share > 0 ? PACE_YIELD_US * share / (1 - share) : 1;

    if (share >= 1 || after > PACE_MAX_US)
        return 0;
    return after > 1 ? (uint32_t)after : 1;
}

uint64_t pace_worked_us(uint32_t yield_after_us, uint64_t rows, uint64_t batch_us)
{
    /* Rows that take long are met in either part of the cycle: at each it may yield once. */
    uint64_t cycles_us = rows < batch_us / PACE_YIELD_US ? rows * PACE_YIELD_US : batch_us;

    if (yield_after_us == 0 || yield_after_us >= batch_us)
        return batch_us;
    return batch_us - cycles_us * PACE_YIELD_US / (yield_after_us + PACE_YIELD_US);
}

uint64_t pace_rest_us(double share, uint64_t worked_us, uint64_t batch_us)
{
    if (share <= 0)
        return PACE_HOLD;
    double rest = (double)worked_us / share - (double)batch_us;
    if (share >= 1 || rest <= 0)
        return 0;
    return rest < PACE_MAX_US ? (uint64_t)rest : PACE_MAX_US;
}

uint32_t pace_rate_keys(double keys_per_s)
{
    double keys = keys_per_s * PACE_RATE_BATCH_US / 1e6;

    if (keys_per_s <= 0 || keys >= UINT32_MAX)
        return UINT32_MAX;
    return keys > 1 ? (uint32_t)keys : 1;
}

uint64_t pace_rate_due_us(uint64_t due_us, uint64_t began_us, uint64_t keys, double keys_per_s)
{
    uint64_t from_us = due_us;

    if (keys_per_s <= 0)
        return 0;
    if (due_us == 0)
        from_us = began_us;
    else if (due_us + PACE_RATE_CREDIT_US < began_us)
        from_us = began_us - PACE_RATE_CREDIT_US;
    return from_us + (uint64_t)((double)keys * 1e6 / keys_per_s);
}

/* ---- What came, what presses -> how much next, and when. ----------------------------------------------------------------- */

void pace_job_limit(struct pace_job *job, const struct pace_limits *limits)
{
    if (limits->max_keys_per_s < job->limits.max_keys_per_s || limits->max_keys_per_s > job->limits.max_keys_per_s)
        job->rate_due_us = 0; /* what was due was so at another speed */
    job->limits = *limits;
}

void pace_init(struct pace *p, const struct pace_limits *limits)
{
    *p = (struct pace){.yields_to = SIGNAL_NONE};
    batch_size_init(&p->size, limits->target_us, limits->min_keys, limits->max_keys);
}

void pace_limit(struct pace *p, const struct pace_limits *limits)
{
    batch_size_limit(&p->size, limits->target_us, limits->min_keys, limits->max_keys);
}

static double share_on_host(const struct pace_job *job)
{
    return job->host.signal == SIGNAL_NONE ? 1 : pace_share_on_host(job->host.ratio, job->limits.busy_share);
}

static double share_by_others(const struct pace_job *job)
{
    return job->others.signal == SIGNAL_NONE ? 1 : pace_share(job->others.ratio);
}

const struct pressure_verdict *pace_slowed_by(const struct pace_job *job)
{
    static const struct pressure_verdict nothing = {.signal = SIGNAL_NONE};
    double on_host = share_on_host(job), by_others = share_by_others(job);

    if (on_host >= 1 && by_others >= 1)
        return &nothing;
    return on_host < by_others ? &job->host : &job->others;
}

double pace_share_of(const struct pace_job *job)
{
    return fmin(share_on_host(job), share_by_others(job));
}

/* How much work the next batch should be. yields: it can, and what it sleeps comes on top. */
static void aim(struct pace *p, const struct pace_job *job, bool yields)
{
    double host = job->host.signal == SIGNAL_NONE ? 0 : job->host.ratio, share = yields ? share_on_host(job) : 1;
    uint32_t busy_us = job->limits.busy_us;
    if (!yields && busy_us > PACE_STRETCH_US)
        busy_us = PACE_STRETCH_US; /* others wait for all of it */
    uint32_t whole_us = pace_portion_us(share_by_others(job), pace_target_us(host, job->limits.target_us, busy_us));
    uint32_t work_us = (uint32_t)(whole_us * share);

    batch_size_aim(&p->size, work_us < PACE_LEAST_US && whole_us > PACE_LEAST_US ? PACE_LEAST_US : work_us);
}

uint64_t pace_note(struct pace *p, struct pace_job *job, const struct pace_came *came, uint64_t now_us)
{
    uint64_t keys = came->keys, most = pace_rate_keys(job->limits.max_keys_per_s), slept_us = 0;

    p->answered_us = now_us;
    if (came->piece == PACE_BOUND) {
        if (p->quickest_bound_us == 0 || came->elapsed_us < p->quickest_bound_us)
            p->quickest_bound_us = came->elapsed_us;
        return 0;
    }
    p->batch_us = p->worked_us = came->elapsed_us;
    p->batch_at_us = now_us;
    if (came->piece == PACE_BATCH) {
        bool often = p->yields && came->rows > keys / KEYS_A_YIELD;
        if (p->yield_us && often)
            p->worked_us = pace_worked_us(p->yield_us, came->rows, came->elapsed_us);
        slept_us = p->batch_us - p->worked_us;
        aim(p, job, often);
        if (came->tells)
            batch_size_observe(&p->size, came->tells, p->worked_us, came->wal_bytes);
        /* One that began before the speed was lowered counts for no more than one of today's. */
        keys = keys < most ? keys : most;
    }
    if (keys > 0)
        job->rate_due_us = pace_rate_due_us(job->rate_due_us, came->began_us, keys, job->limits.max_keys_per_s);
    return slept_us;
}

uint32_t pace_keys(const struct pace *p, const struct pace_job *job)
{
    uint32_t keys = batch_size_keys(&p->size), most = pace_rate_keys(job->limits.max_keys_per_s);
    return keys < most ? keys : most;
}

uint32_t pace_yield(struct pace *p, const struct pace_job *job)
{
    p->yield_us = p->yields ? pace_yield_after_us(share_on_host(job)) : 0;
    p->yields_to = job->host.signal;
    return p->yield_us;
}

bool pace_in_pieces(const struct pace *p, const struct pace_job *job)
{
    return job->host.signal == SIGNAL_CPU && share_on_host(job) < 1 && p->quickest_bound_us < PACE_STRETCH_US;
}

static uint64_t left_of(uint64_t due_us, uint64_t since_us, uint64_t now_us)
{
    return now_us - since_us < due_us ? due_us - (now_us - since_us) : 0;
}

struct pace_next pace_next(const struct pace *p, const struct pace_job *job, enum pace_piece piece, uint64_t now_us)
{
    const struct pressure_verdict *by = pace_slowed_by(job);
    double share = by == &job->host ? share_on_host(job) : share_by_others(job);
    bool works = piece != PACE_BOUND;
    uint64_t by_pressure =
        works && by->signal != SIGNAL_NONE ? left_of(pace_rest_us(share, p->worked_us, p->batch_us), p->batch_at_us, now_us) : 0;
    uint64_t by_others = share_on_host(job) < 1 ? left_of(PACE_YIELD_US, p->answered_us, now_us) : 0;
    uint64_t by_rate = works && now_us < job->rate_due_us ? job->rate_due_us - now_us : 0;
    struct pace_next next = {.rest_us = by_pressure, .why = by->signal};

    if (by_others > next.rest_us)
        next = (struct pace_next){.rest_us = by_others, .why = job->host.signal};
    if (by_rate > next.rest_us)
        next = (struct pace_next){.rest_us = by_rate, .why = SIGNAL_RATE};
    if (next.rest_us > PACE_STEP_US)
        next.rest_us = PACE_STEP_US;
    return next;
}
