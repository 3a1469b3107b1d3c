/* Whether a job waits for vacuum: a table whose dead rows are at their limit is given time for vacuum to come and to finish,
 * but a job never waits for a vacuum that will not come or could not help.
 *
 *              share < limit, or a small table
 *       ┌──────────────────────────────────────────┐
 *       ▼                                          │
 *   VACUUM_FINE ── at the limit ──► VACUUM_AWAITED ┤── one begins ──► VACUUM_RUNNING ── share < limit ──► FINE
 *                                       │                                  │
 *                                       │ none came in time,               │ it ended, and the share is
 *                                       │ or autovacuum is off             │ still at the limit
 *                                       └──────────► VACUUM_GIVEN_UP ◄─────┘
 *                                                          │ one begins, or the share falls
 *                                                          └──► RUNNING, FINE */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define VACUUM_NAPS     2  /* autovacuum_naptimes to wait for one: it looks at a database once in each, */
#define VACUUM_MARGIN_S 10 /* and may have something else to do first */

/* What the server says of a job's tables, together. */
struct vacuum_reading {
    double dead_rows, live_rows, bytes;
    bool running; /* a vacuum of one of them is at work */
    bool enabled; /* autovacuum would come */
    double naptime_s;
};

enum vacuum_state {
    VACUUM_FINE,
    VACUUM_AWAITED,
    VACUUM_RUNNING,
    VACUUM_GIVEN_UP,
};

struct vacuum {
    enum vacuum_state state;
    uint64_t since_us;
};

/* The share of dead rows, 0 to 1. */
double vacuum_dead_ratio(const struct vacuum_reading *reading);

/* A new reading. limit: of the share; least_bytes: of a table that is waited for. Returns whether the job has to wait. */
bool vacuum_step(struct vacuum *vacuum, const struct vacuum_reading *reading, double limit,
    double least_bytes, uint64_t now_us);
