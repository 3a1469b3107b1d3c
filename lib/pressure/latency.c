#include "pressure/latency.h"

void latency_init(struct latency *l, uint64_t forget_us)
{
    *l = (struct latency){.forget_us = forget_us};
}

void latency_note(struct latency *l, double time, uint64_t now_us)
{
    /* The first ones are smoothed over as many as there are. */
    double weight = l->n * LATENCY_WEIGHT < 1 ? 1.0 / (double)(l->n + 1) : LATENCY_WEIGHT;

    l->recent += (time - l->recent) * weight;
    l->n++;
    if (l->n < LATENCY_LEAST) {
        l->at_us = now_us;
        return;
    }
    if (l->best > 0)
        l->best *= 1 + (double)(now_us - l->at_us) / (double)l->forget_us;
    if (l->best <= 0 || l->recent < l->best)
        l->best = l->recent;
    l->at_us = now_us;
}

double latency_ratio(const struct latency *l)
{
    return l->best > 0 ? l->recent / l->best : 1;
}
