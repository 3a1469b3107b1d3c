#include "pressure/vacuum.h"

double vacuum_dead_ratio(const struct vacuum_reading *reading)
{
    double rows = reading->dead_rows + reading->live_rows;
    return rows > 0 ? reading->dead_rows / rows : 0;
}

static enum vacuum_state next_state(const struct vacuum *v, const struct vacuum_reading *r, uint64_t now_us)
{
    uint64_t patience_us = (uint64_t)((r->naptime_s * VACUUM_NAPS + VACUUM_MARGIN_S) * 1e6);

    if (r->running)
        return VACUUM_RUNNING;
    switch (v->state) {
    case VACUUM_FINE: return r->enabled ? VACUUM_AWAITED : VACUUM_GIVEN_UP;
    case VACUUM_AWAITED:
        return r->enabled && now_us - v->since_us < patience_us ? VACUUM_AWAITED : VACUUM_GIVEN_UP;
    case VACUUM_RUNNING:
    case VACUUM_GIVEN_UP: break;
    }
    return VACUUM_GIVEN_UP;
}

bool vacuum_step(struct vacuum *vacuum, const struct vacuum_reading *reading, double limit,
    double least_bytes, uint64_t now_us)
{
    bool fine = vacuum_dead_ratio(reading) < limit || reading->bytes < least_bytes;
    enum vacuum_state next = fine ? VACUUM_FINE : next_state(vacuum, reading, now_us);

    if (next != vacuum->state)
        *vacuum = (struct vacuum){.state = next, .since_us = now_us};
    return next == VACUUM_AWAITED || next == VACUUM_RUNNING;
}
