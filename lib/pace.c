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
    return 1 - between(pressure, PACE_FREE, 1);
}

double pace_share_on_host(double pressure, double busy_share)
{
    double room = between(pressure, PACE_FREE, PACE_BUSY) * (1 - busy_share);
    return (1 - room) * (1 - between(pressure, PACE_NEAR, 1));
}

uint32_t pace_target_us(double pressure, uint32_t target_us, uint32_t busy_us)
{
    if (busy_us >= target_us)
        return target_us;
    return target_us - (uint32_t)((target_us - busy_us) * between(pressure, PACE_FREE, PACE_BUSY));
}

uint64_t pace_rest_us(double share, uint64_t batch_us)
{
    if (share <= 0)
        return PACE_HOLD;
    if (share >= 1)
        return 0;
    double rest = (double)batch_us * (1 - share) / share;
    return rest < PACE_MAX_US ? (uint64_t)rest : PACE_MAX_US;
}
