/* The phases of a job: which it has, which follows which, and when an application counts as quiet.
 *
 *   preflight ─► expand ─► backfill ─► guard ─► verify ─► validate      (a phase that a job has no use for is passed over)
 *                                                                       tidy: afterwards, of a job that has ended
 *
 * What is done in a phase is either a walk over the table in batches (backfill, verify), or steps that the catalog tells are
 * still to do (expand, guard, validate, tidy). In guard there are walks too: the constraint is placed when two of them, one
 * after the other, have found that the application no longer writes rows that would break it. */
#pragma once

#include "job.h"

#include <stdbool.h>
#include <stdint.h>

struct migration_plan {
    bool expand;   /* a column to add, or a trigger to create */
    bool fill;     /* rows to change */
    bool guard;    /* constraints that can be there before they are validated */
    bool quiet;    /* these only when the application is quiet: no trigger keeps its rows right */
    bool verify;   /* where_clause tells a row that is still to do */
    bool validate; /* constraints to validate, or a column to drop */
    bool in_step;  /* what is written meanwhile is right: a trigger computes it */
    bool dry_run;  /* nothing but the preflight */
};

/* The phase after this one; _JOB_PHASE_MAX: that was the last. */
enum job_phase migration_phase_after(const struct migration_plan *plan, enum job_phase phase);

/* Whether a phase walks over the table. */
bool migration_walks(enum job_phase phase);

/* So many walks of verify may find rows to do. After that it is no use to go on until there are none: somebody writes them, and what
 * would be called done has rows to do a moment later. */
#define VERIFY_WALKS_MOST 5

#define STEP_LOCK_MOST_MS 900 /* below the least usual deadlock_timeout, so that a step gives up first */

/* How long a step waits for its lock, in ms, after so many tries in a row: lock_timeout_ms at first, then twice as long each time,
 * but no longer than others may wait on this job (blocked_ms; below lock_timeout_ms it changes nothing): who queues behind it
 * waits as long. */
uint32_t migration_lock_ms(uint32_t tries, uint32_t lock_timeout_ms, double blocked_ms);

/* So many walks must find nothing, one after the other; from the end of one to the start of the next an application has the gap
 * to show itself. */
#define QUIET_PASSES    2
#define QUIET_GAP_US    5000000
#define QUIET_WINDOW_US 60000000 /* "in the last minute" */
#define QUIET_KEPT      16       /* more than fit into a window */

struct quiet {
    struct {
        uint64_t at_us, rows;
    } found[QUIET_KEPT];
    int n, passes; /* passes: that found nothing, since one did */
};

/* A walk has ended, and found so many rows to do. */
void quiet_note(struct quiet *q, uint64_t rows, uint64_t now_us);
bool quiet_is(const struct quiet *q);
/* Rows found in the last minute. */
uint64_t quiet_recent(const struct quiet *q, uint64_t now_us);
