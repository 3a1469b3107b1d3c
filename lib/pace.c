#include "pace.h"

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
