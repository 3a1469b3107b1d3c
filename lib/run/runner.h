/* The state machine of one job: an event and the time go in, one action comes out.
 *
 * The runner knows no server, no clock and no log. Whoever drives it (the daemon's worker, tests/sim) does what the
 * action says and reports what came of it, with one event an action. While an action is under way the only
 * other events are wishes (pause, cancel, stop); the answer to those is RUNNER_NONE (keep waiting) or
 * RUNNER_ABORT (keep waiting, and cut the action short: it then reports an error or is lost, or its result if
 * it was quicker).
 *
 *   a walk over the table (backfill, verify, and in guard) is planned, then made:
 *
 *     LAYOUT ─► SURVEY ─► ADD_RANGE ─► BEGIN ─► TAKE ─► BOUND ─► BATCH ─► BATCH ─► …
 *                 ▲───────────┘ a relation       ▲────── range done ────────┘
 *                                                └─► none left: the phase is over, or another walk begins
 *
 *   steps (expand, guard, validate, tidy):       NEXT_STEP ─► STEP ─► NEXT_STEP ─► … ─► none left: the phase is over
 *
 *   CONNECT ─► where the job's phase says ─► BEGIN (of the next phase, lib/run/migration) ─► … ─► FINISH ─► END
 *   preflight surveys: LAYOUT ─► SURVEY; with no step before backfill it plans the walk at once.
 *
 *   LAYOUT, BEGIN, FINISH that find something to do after all (the server crashed, or failed over, and has lost what the
 *   phase did): REST, then TAKE or NEXT_STEP;
 *   an error: REST, then the same again (a new session first when the old one is gone);
 *   pressure: REST before a BATCH, in short steps, as long as lib/pressure/pace says;
 *   a row that cannot be computed: BOUND with half the keys, down to one; then COMPARE with others: it is that row's, and
 *   PUT_ASIDE or FINISH (failed), or nobody's, and REST (lib/walk/blame); so with one key that timed out a few times;
 *   a batch that met a lock: the same at once, passing over locked rows; REST when it met one all the same;
 *   when no range is left, the rows that were passed over, in portions: TAKE ─► RETRY ─► TAKE; after a round of them REST; a portion in
 *   which a row fails is tried again with half the rows, down to one;
 *   a step that failed for want of room: NEXT_STEP at once, for what it has left is cleared away; then REST before the next try;
 *   a session that goes again and again in one batch: FINISH (failed);
 *   a job that has only waited for a while, where all places are taken: GIVE_WAY ─► END, or back to REST: nobody queues for it;
 *   where other walkers have the last ranges: REST, then TAKE again; a helper (lib/run/helper) only takes ranges and walks them
 *   pause, stop: RELEASE ─► END;  cancel: FINISH (cancelled) ─► END;  another daemon's job: END.
 *
 * Who decides: phases, plans and steps lib/run/migration; ranges, batches and rows lib/run/walker; how much and when lib/pressure/pace; how long to wait
 * lib/job/patience. Here are sessions, wishes, errors, and the one action that is under way: at most one at a time. */
#pragma once

#include "run/action.h"
#include "run/migration.h"
#include "run/walker.h"
#include "run/work.h"

struct runner_limits {
    struct pace_limits pace;
    bool quarantine;
};

struct runner {
    enum runner_action_kind doing; /* the action under way is the state */
    enum runner_action_kind again; /* after the rest; a batch, rows or a bound: it is one of the pace */
    enum runner_want want;         /* the user's: RUN, PAUSE or CANCEL */
    bool stopping;                 /* the daemon's */
    bool helps;                    /* it is no holder of the job, and walks ranges alone */
    bool connected;                /* a session is open and set up */
    bool ever_connected;
    bool renew;             /* the session was short of something, perhaps by a setting of its login that has been mended since: the next try is in another */
    bool relieving;         /* what is under way is being given up for somebody who waits on it */
    bool crowded;           /* all places for jobs are taken: the driver says so before each step */
    const char *no_room;    /* and this: NULL, or how full the disk is, above its limit */
    uint64_t rest_began_us;
    enum pressure_signal rests_for;
    struct migration migration;
    struct walker walker;
    struct work work;
};

/* Whether all that is left is to write how it ended, or that it is given back. */
bool runner_concludes(const struct runner *r);

/* A runner for a job in that phase. seed: any number, for the jitter of retries. */
void runner_init(struct runner *r, enum job_phase phase, uint64_t estimate, uint64_t keys_done,
    const struct runner_limits *limits, uint64_t seed, uint64_t now_us);
void runner_done(struct runner *r);

/* Which phases the job has, before its start; a runner that isn't told only fills. lacking: copied. */
void runner_plan(struct runner *r, const struct migration_plan *plan, const char *lacking);

/* It has given its place back so often in a row, before its start. */
void runner_gave_way(struct runner *r, uint32_t tries);

/* It is a helper's, before its start: of a job that walks in that phase. */
void runner_helps(struct runner *r);

/* New limits, from the next batch on. */
void runner_limit(struct runner *r, const struct runner_limits *limits);

/* The next action. Strings of the event are copied as needed. */
struct runner_action runner_step(struct runner *r, const struct runner_event *event, uint64_t now_us);
