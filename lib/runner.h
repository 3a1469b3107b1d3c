/* The state machine of one job: an event and the time go in, one action comes out.
 *
 * The runner knows no server, no clock and no log. Whoever drives it (daemon/worker, tests/sim) does what the
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
 *   CONNECT ─► where the job's phase says ─► BEGIN (of the next phase, lib/migration) ─► … ─► FINISH ─► END
 *   preflight surveys: LAYOUT ─► SURVEY; with no step before backfill it plans the walk at once.
 *
 *   LAYOUT, BEGIN, FINISH that find something to do after all (the server crashed, or failed over, and has lost what the
 *   phase did): REST, then TAKE or NEXT_STEP;
 *   an error: REST, then the same again (a new session first when the old one is gone);
 *   pressure: REST before a BATCH, in short steps, as long as lib/pace says;
 *   a row that cannot be computed: BOUND with half the keys, down to one; then COMPARE with others: it is that row's, and
 *   PUT_ASIDE or FINISH (failed), or nobody's, and REST (lib/blame); so with one key that timed out a few times;
 *   a batch that met a lock: the same at once, passing over locked rows; REST when it met one all the same;
 *   when no range is left, the rows that were passed over, in portions: TAKE ─► RETRY ─► TAKE; after a round of them REST; a portion in
 *   which a row fails is tried again with half the rows, down to one;
 *   a step that failed for want of room: NEXT_STEP at once, for what it has left is cleared away; then REST before the next try;
 *   a session that goes again and again in one batch: FINISH (failed);
 *   a job that has only waited for a while, where all places are taken: GIVE_WAY ─► END, or back to REST: nobody queues for it;
 *   pause, stop: RELEASE ─► END;  cancel: FINISH (cancelled) ─► END;  another daemon's job: END.
 *
 * True in each state: at most one action is under way; the cursor in memory is the one in the database, or
 * older (a connection was lost), and then the range is taken anew, which reads it back, before anything else
 * is done. */
#pragma once

#include "batch_size.h"
#include "blame.h"
#include "job.h"
#include "migration.h"
#include "pressure.h"
#include "progress.h"
#include "retry.h"

#include <stdbool.h>
#include <stdint.h>

enum runner_action_kind {
    RUNNER_NONE,    /* keep waiting for the action under way */
    RUNNER_ABORT,   /* keep waiting, but cut it short */
    RUNNER_CONNECT, /* a worker session, logged in and set up; an open one is closed first */
    RUNNER_LAYOUT,  /* list the job's relations -> n_relations */
    RUNNER_SURVEY, /* relation: check the batch's plan, find the last key -> upper (NULL: empty), estimate; in preflight
                       a batch may be tried too; at_once: look whether any row is to do */
    RUNNER_ADD_RANGE, /* relation: write its range, up to the last key that the survey found, if it found one */
    RUNNER_BEGIN,     /* phase: write that it begins, or one more walk of it, and estimate -> ours */
    RUNNER_NEXT_STEP, /* ask the catalog which step of the phase is to do -> has_step */
    RUNNER_STEP,      /* do that */
    RUNNER_TAKE,  /* take the first range to do, or so many (keys) rows above left_behind -> outcome, and the range or rows */
    RUNNER_BOUND, /* find the key that ends a batch of keys above the cursor -> bound (NULL: fewer are left) */
    RUNNER_BATCH,     /* run (cursor, hi], then find the bound next_keys above hi -> rows, elapsed, bound */
    RUNNER_RETRY,     /* run the rows that were taken, as far as they are free -> skipped, rows, elapsed */
    RUNNER_COMPARE,   /* try other rows than the one at hi, then that one again, and undo all -> compared, hint */
    RUNNER_PUT_ASIDE, /* note the row at hi as left behind, move the cursor over it; no range in hand: note why
                         the row left_behind, which was locked, stays so */
    RUNNER_REST,      /* wait until until_us, then report RUNNER_DONE */
    RUNNER_GIVE_WAY,  /* give the job back to the queue until until_us, tries in a row, if others queue -> gave_way */
    RUNNER_FINISH,    /* write the job's end: state, error, hint */
    RUNNER_RELEASE,   /* give the job back: state */
    RUNNER_END,       /* nothing more will come; forget the runner */
};

struct runner_action {
    enum runner_action_kind kind;
    int relation;         /* SURVEY, ADD_RANGE: 0 to n_relations - 1 */
    bool at_once;         /* SURVEY: one statement may look at all of it -> empty, when no row is to do */
    uint32_t keys;        /* BOUND, BATCH, TAKE: how many; BATCH: 0 when not known (the last batch of a range) */
    uint32_t next_keys;   /* BATCH: for the bound that follows; 0 when none is wanted */
    uint32_t yield_us;    /* BATCH: sleep for PACE_YIELD_US after so much work; 0: never */
    bool skipping;        /* BATCH: pass over rows that others have locked, and note them -> skipped */
    uint64_t estimate;    /* BEGIN: keys to walk; 0: it doesn't walk */
    uint64_t until_us;    /* REST, GIVE_WAY */
    uint32_t tries;       /* GIVE_WAY: so often in a row, this time included */
    enum job_phase phase; /* BEGIN */
    bool planned;         /* BEGIN: ranges were written for it, and must all be there */
    enum job_state state; /* FINISH, RELEASE */
};

enum runner_event_kind {
    RUNNER_START,   /* once, first */
    RUNNER_DONE,    /* the action did what it should; its results are in the event */
    RUNNER_ERROR,   /* the server refused it, or could not be reached: sqlstate, message */
    RUNNER_LOST,    /* the worker's session is gone, and whether the action was done is not known */
    RUNNER_WANT,    /* somebody wishes: want */
    RUNNER_RELIEVE, /* another session has waited on our batch for too long */
};

enum runner_want {
    RUNNER_WANT_RUN,
    RUNNER_WANT_STOP,     /* finish the batch, then give the job back */
    RUNNER_WANT_LEAVE,    /* finish the batch, or the step however long it takes, then give the job back */
    RUNNER_WANT_STOP_NOW, /* give it back, batch or no batch */
    RUNNER_WANT_PAUSE,
    RUNNER_WANT_CANCEL,
};

enum runner_take {
    RUNNER_TAKE_RANGE,
    RUNNER_TAKE_ROWS,   /* no range is left, but these rows that were locked */
    RUNNER_TAKE_LOCKED, /* nor other rows above left_behind; some below are locked still: message says so */
    RUNNER_TAKE_NONE,   /* all is done */
    RUNNER_TAKE_NOT_OURS, /* another daemon holds the job */
};

/* What LAYOUT, BEGIN and FINISH found when they looked again, in the transaction that would have written. */
enum runner_look {
    RUNNER_LOOK_FINE,
    RUNNER_LOOK_NOT_OVER, /* some of what was done is to do, and nothing was written: the server has lost it */
    RUNNER_LOOK_NOT_OURS, /* another daemon holds the job, or it is where this one didn't leave it */
};

struct runner_event {
    enum runner_event_kind kind;
    enum runner_want want;
    enum runner_look look;

    const char *sqlstate, *message, *hint, *detail; /* ERROR; hint and detail may be NULL */

    int n_relations;          /* LAYOUT */
    bool empty;               /* SURVEY: no key, no row; at_once: or none to do */
    uint64_t estimate;        /* SURVEY: rows, as the planner guesses */
    bool has_step;            /* NEXT_STEP */
    bool clears;              /* NEXT_STEP: it only clears away what a step that failed has left */
    bool builds;              /* NEXT_STEP: it fills the disk */
    bool gave_way;            /* GIVE_WAY */
    struct blame_look compared; /* COMPARE */
    uint64_t found;           /* TAKE_NONE: rows that this walk has changed */
    enum runner_take outcome; /* TAKE, and with RUNNER_TAKE_RANGE: */
    int64_t range, epoch;
    const char *cursor, *upper;
    bool point;
    bool yields;         /* its batches can yield */
    int64_t left_behind; /* TAKE_ROWS: the last one's number; upper is the first one's key */
    uint32_t n_rows;     /* so many */
    uint64_t locked;     /* and in all, at the begin of a round */
    uint64_t total_keys; /* TAKE: scanned in all ranges so far */
    const char *bound;   /* BOUND, BATCH */
    bool bound_unknown;  /* BATCH: the batch is done, but the search for the next bound failed */
    uint64_t rows;       /* BATCH, RETRY: changed */
    uint64_t skipped; /* BATCH: rows that were locked and are left behind now; RETRY: that are locked still */
    uint64_t elapsed_us; /* BATCH: from sending to its commit, without the bound that followed */
    uint64_t wal_bytes;  /* BATCH */
};

struct runner_limits {
    uint32_t target_us;
    uint32_t min_keys, max_keys;
    uint32_t busy_us;  /* how long a batch should take when the host is busy with others, if that is less */
    double busy_share; /* and the share of the time, above 0 to 1 */
    double max_keys_per_s; /* 0: no limit */
    bool quarantine;
};

/* What the state machine counted; the report and the journal read it. */
struct runner_counts {
    uint64_t batches, rows, keys, wal_bytes, put_aside;
    uint64_t skipping, skipped, retried; /* batches that passed over rows; those rows; done later */
    uint64_t retries[RETRY_PERMANENT + 1];
    uint64_t rest_us;                   /* after errors */
    uint64_t throttled_us[_SIGNAL_MAX]; /* for each signal */
    uint64_t relieved;                  /* batches cut short because somebody waited on them */
    uint64_t steps, walks, found_again; /* walks that have ended; rows found to do by those after the first */
    struct histogram batch_us;
};

struct runner {
    enum runner_action_kind doing; /* the action under way is the state */
    enum runner_want want;         /* the user's: RUN, PAUSE or CANCEL */
    bool stopping;                 /* the daemon's */
    struct runner_limits limits;

    struct batch_size size;
    uint32_t portion;       /* of rows that were locked: no more, for larger ones failed; 0: as many as a batch has */
    struct backoff backoff;
    struct progress progress;
    struct runner_counts counts;

    enum job_phase phase;
    enum job_phase next_phase; /* that is being planned, or begun */
    struct migration_plan plan;
    bool planning;      /* from LAYOUT to the end of BEGIN */
    bool surveyed_only; /* LAYOUT in preflight: no ranges are written */
    bool walking;       /* from the end of a walk's BEGIN to the walk's end */
    struct quiet quiet;
    bool guard_walked; /* what stood in the way of a constraint was walked for */
    uint32_t verified; /* walks in verify */
    bool piecewise;    /* a look at all of a relation at once was cut short, or failed: it is walked by its key */
    char *lacking;     /* what rows that are still to do lack, in words: "amount_cents" */
    int relation, n_relations;
    uint64_t estimate;

    bool connected; /* a session is open and set up */
    bool ever_connected;
    bool reread;   /* names were read anew because one was gone; the second time is final */
    bool doubted;  /* a batch met what may be anybody's error; the second time it is searched for a row */
    bool clears;   /* the step that is next or under way: when it is done, the one after it has failed all the same */
    uint32_t losses;       /* so often in a row the session went in the middle of a batch, and nothing was done between */
    uint64_t lost_at_keys; /* scanned in all ranges, as it was then */
    bool stale;    /* a batch was refused as another's; the second time there is a rest before the next */
    bool skipping; /* the batch that is next or under way passes over locked rows */
    int64_t range, epoch; /* of the range in hand; 0: none. A row that was put aside has an epoch, too */
    int64_t left_behind;  /* the row that was tried last in this round; 0: none yet */
    int64_t row_above;    /* what it was before the portion that is next or under way */
    uint64_t locked_left; /* rows that were locked and are to do, as far as is known */
    bool round_moved;     /* a row of this round was done */
    uint64_t round_began_us;
    char *cursor, *upper;
    char *hi; /* the end of the batch that is next or under way */
    bool point;
    uint32_t keys;         /* of that batch; 0: not known, it is the range's last */
    uint32_t asked;        /* keys that the bound under way was asked for */
    uint32_t isolate;      /* above 0: a row fails; batches of that many keys until it is found */
    uint64_t isolate_left; /* keys until the batch that failed first is passed, and the search is over */
    struct blame blame;

    enum runner_action_kind again; /* after the rest; BATCH, RETRY, BOUND: it is one of the pace */
    uint64_t rest_began_us, batch_began_us;
    struct pressure_verdict pressure, host; /* as of now: the driver sets them before each step */
    const char *no_room;                    /* and this: NULL, or how full the disk is, above its limit */
    bool crowded;                           /* and this: all places for jobs are taken */
    uint64_t wait_until_us;                 /* a wait is taken in rests: others may come to queue meanwhile */
    uint64_t waits_since_us;                /* nothing was done since; 0: it doesn't wait */
    uint64_t asked_way_us;                  /* when GIVE_WAY last began; 0: it didn't since */
    struct backoff way;                     /* tries: how often in a row the job has given its place back */
    uint64_t step_due_us;                   /* no step before, but one that clears */
    enum pressure_signal rests_for;
    bool relieving;                 /* the batch under way is being given up for somebody who waits on it */
    bool yields;                    /* batches of the range in hand can */
    uint32_t yield_us;              /* the batch under way, or the last one, does */
    enum pressure_signal yields_to; /* to whom */
    uint64_t batch_us, batch_at_us; /* the last batch: how long it took, when it ended */
    uint64_t worked_us;             /* and how much of that was work */
    uint64_t answered_us;           /* when the last batch or bound was answered */
    uint64_t bound_began_us, quickest_bound_us; /* the last bound; the quickest so far, 0: there was none */
    uint64_t rate_due_us;                       /* when the next may begin, by max_keys_per_s; 0: at once */

    /* Why it does not move, for status and journal: NULL, or what the last error said. */
    char *waiting_for;
    char *sqlstate;
    /* How the job ends. */
    enum job_state end_state;
    char *error, *hint;
    bool names_row; /* the row at hi is why */
    /* The row that failed alone. */
    char *row_sqlstate, *row_message, *row_detail, *row_hint;
};

/* A runner for a job in that phase. seed: any number, for the jitter of retries. */
void runner_init(struct runner *r, enum job_phase phase, uint64_t estimate, uint64_t keys_done,
    const struct runner_limits *limits, uint64_t seed, uint64_t now_us);
void runner_done(struct runner *r);

/* Which phases the job has, before its start; a runner that isn't told only fills. lacking: copied. */
void runner_plan(struct runner *r, const struct migration_plan *plan, const char *lacking);

/* It has given its place back so often in a row, before its start. */
void runner_gave_way(struct runner *r, uint32_t tries);

/* New limits, from the next batch on. */
void runner_limit(struct runner *r, const struct runner_limits *limits);

/* The next action. Strings of the event are copied as needed. */
struct runner_action runner_step(struct runner *r, const struct runner_event *event, uint64_t now_us);

/* What slows the job down most just now; its signal is SIGNAL_NONE when nothing does. */
const struct pressure_verdict *runner_slowed_by(const struct runner *r);

/* For logs and tests. */
const char *runner_action_name(enum runner_action_kind kind);
