/* How long to rest between two batches, from pressure: a job runs for a share of the time, 1 - pressure of
 * it, so that it settles where what it writes is what the slowest can take, below the limit, instead of
 * running into the limit and back.
 *
 *   share   1 ├──────╮               No rest below FREE: what is far from its limit is nobody's trouble.
 *             │       ╲              From there the share falls in a straight line, to nothing at 1.
 *           0 └────────╲───────
 *             0  FREE  1   pressure */
#pragma once

#include <stdint.h>

#define PACE_FREE   0.2
#define PACE_HOLD   UINT64_MAX
#define PACE_MAX_US 1000000 /* a rest is never longer: then it is time to look again */

/* Microseconds to rest after a batch of batch_us; PACE_HOLD at a pressure of 1 or more: until it is less. */
uint64_t pace_rest_us(double pressure, uint64_t batch_us);
