#include "pace.h"

uint64_t pace_rest_us(double pressure, uint64_t batch_us)
{
    if (pressure >= 1)
        return PACE_HOLD;
    if (pressure <= PACE_FREE)
        return 0;
    double share = (1 - pressure) / (1 - PACE_FREE);
    double rest = (double)batch_us * (1 - share) / share;
    return rest < PACE_MAX_US ? (uint64_t)rest : PACE_MAX_US;
}
