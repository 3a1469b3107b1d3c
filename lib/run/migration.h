/* The phases of a job: which it has, which follows which, and when an application counts as quiet.
 *
 *   preflight ─► expand ─► backfill ─► guard ─► verify ─► validate      (a phase that a job has no use for is passed over)
 *                                                                       tidy: afterwards, of a job that has ended
 *
 * What is done in a phase is either a walk over the table in batches (backfill, verify), or steps that the catalog tells are
 * still to do (expand, guard, validate, tidy). In guard there are walks too: the constraint is placed when two of them, one
 * after the other, have found that the application no longer writes rows that would break it. */
#pragma once

#include "job/job.h"
#include "run/work.h"

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
#define UNMET_MOST        3 /* then others write such rows behind the walk, and finish them; more where each row is to be in step, or an update of any kind moves it */

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

/* ---- The machine: phases, steps, plans. It sees no batch. Part of lib/run/runner, whose header says how one thing follows another. */

struct migration {
    enum job_phase phase;
    enum job_phase next_phase; /* that is being planned, or begun */
    struct migration_plan plan;
    char *lacking;      /* what rows that are still to do lack, in words: "amount_cents" */
    bool planning;      /* from LAYOUT to the end of BEGIN */
    bool surveyed_only; /* LAYOUT in preflight: no ranges are written */
    bool walking;       /* from the end of a walk's BEGIN to the walk's end */
    int64_t walk;       /* its number */
    bool moves;         /* rows may move behind a walk */
    bool unseen;        /* and no look at once has seen, of this one, that none is to do; */
    bool hidden;        /* or none could: it ends without, and its report says so */
    bool all_at_once;   /* one look has seen all relations of this one, */
    bool proven;        /* and no row to do in any: there is nothing to plan */
    bool by_ctid;
    uint64_t aside, aside_planned, aside_from; /* rows that were put aside before this walk: in what was surveyed, in what is planned; and the count of all from which on it puts some aside */
    uint32_t unmet;     /* looks that saw rows to do, and walks that met none, in a row */
    bool piecewise;     /* a look at all of a relation at once was cut short, or failed: it is walked by its key */
    bool guard_walked;  /* what stood in the way of a constraint was walked for */
    bool clears;        /* the step that is next or under way: when it is done, the one after it has failed all the same */
    uint32_t verified;  /* walks in verify */
    int relation, n_relations;
    bool continues;     /* what is being planned are the relations behind those that a walk has begun with */
    uint64_t estimate;
    uint64_t step_due_us; /* no step before, but one that clears */
    struct backoff given_up; /* tries: how often in a row a step was cut short for somebody who waited on it */
    struct quiet quiet;
};

void migration_init(struct migration *m, enum job_phase phase, uint64_t estimate);

/* Whether it ends though looks at all at once saw rows to do: no walk meets those that others write, or move, behind it. Its report says so. */
bool migration_leaves_unmet(const struct migration *m);

void migration_done(struct migration *m);

/* Which phases it has; one that isn't told only fills. lacking: copied. */
void migration_use(struct migration *m, const struct migration_plan *plan, const char *lacking);

/* A step was cut short for somebody who waited on it. Alone it may need longer than others may be made to wait: the pause before the next try grows to
 * minutes. Returns it, in us. */
uint64_t migration_step_given_up(struct migration *m, struct work *k);

/* An action of the migration's begins: fills in what it is about. */
void migration_enter(struct migration *m, const struct work *k, struct runner_action *action);

/* The work of the phase begins, or goes on where the database says. */
struct next migration_work(struct migration *m, struct work *k);

/* Answers. */
struct next migration_laid_out(struct migration *m, struct work *k, const struct runner_event *e);
/* What went wrong was this action: a look at all of a relation at once, perhaps, which is not tried again. */
void migration_survey_failed(struct migration *m, enum runner_action_kind doing);
struct next migration_surveyed(struct migration *m, const struct runner_event *e);
struct next migration_range_added(struct migration *m);
struct next migration_plan_on(struct migration *m); /* a walk has little left of what is planned */
struct next migration_begun(struct migration *m, struct work *k, const struct runner_event *e, uint64_t now_us);
/* no_room: NULL, or how full the disk is. */
struct next migration_next_step(struct migration *m, struct work *k, const struct runner_event *e, const char *no_room, uint64_t now_us);
struct next migration_step_done(struct migration *m, struct work *k);

/* A walk has come to its end: of that number, and has changed so many rows. Another's, or an earlier one that a server shows which has lost the last
 * one in a crash or a failover, proves nothing. */
struct next migration_walked(struct migration *m, struct work *k, int64_t walk, uint64_t found, uint64_t now_us);

/* A step found no room, or not enough of something else. What it has left, an index that is full and not valid, takes room until it
 * is cleared away: that is asked for at once, and the pause comes before the next try. */
struct next migration_clear_away(struct migration *m, struct work *k, const struct runner_event *e, uint64_t now_us);

/* Rows break what is to be enforced. True when they may only be to do still: one that was moved by its key while the table was
 * walked was met by no batch. One walk (ret_next) tells. */
bool migration_walks_for_check(struct migration *m, const struct runner_event *e, struct next *ret_next);

/* The control session's question whose answer tells where the job stands, and whose it is. */
enum runner_action_kind migration_where(const struct migration *m);

/* What this daemon took for done, the server doesn't have any more; or it isn't known what it has. */
void migration_forget(struct migration *m);
