/* A response time against its own baseline: how many times slower something is than it was at its best.
 *
 * recent follows the times smoothed; best is the least that recent has been. best is forgotten slowly, so that a server that is
 * slower for good (a larger table, a cold cache) is not held against a past that will not come back. */
#pragma once

#include <stdint.h>

#define LATENCY_WEIGHT 0.1 /* of a new time: half of a change is seen after seven */
#define LATENCY_LEAST  20  /* times, before a baseline is believed */

struct latency {
    uint64_t forget_us; /* best doubles in so long */
    uint64_t n;
    double recent, best;
    uint64_t at_us;
};

void latency_init(struct latency *l, uint64_t forget_us);

/* It took that long; any unit, as long as it is one. */
void latency_note(struct latency *l, double time, uint64_t now_us);

/* recent/best, at least 1; 1 until enough times were noted. */
double latency_ratio(const struct latency *l);
