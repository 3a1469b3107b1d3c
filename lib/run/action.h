/* What a job's state machine (lib/run/runner) asks for, and what it is told of it: one action, one event. */
#pragma once

#include "walk/blame.h"
#include "job/job.h"

#include <stdbool.h>
#include <stdint.h>

enum runner_action_kind {
    RUNNER_NONE,    /* keep waiting for the action under way */
    RUNNER_ABORT,   /* keep waiting, but cut it short */
    RUNNER_CONNECT, /* a worker session, logged in and set up; an open one is closed first */
    RUNNER_LAYOUT,  /* list the job's relations, or the first of them -> n_relations, rest */
    RUNNER_SURVEY, /* relation: check the batch's plan, find the last key -> upper (NULL: empty), estimate; in preflight
                       a batch may be tried too; at_once: look whether any row is to do */
    RUNNER_ADD_RANGE, /* relation: write its ranges, up to the last key that the survey found, if it found one */
    RUNNER_BEGIN,     /* phase: write that it begins, or one more walk of it, and estimate -> ours; continues: that its plan goes so far by now */
    RUNNER_NEXT_STEP, /* ask the catalog which step of the phase is to do -> has_step */
    RUNNER_STEP,      /* do that */
    RUNNER_TAKE,  /* take the first range to do, or so many (keys) rows above left_behind -> outcome, and the range or rows */
    RUNNER_BOUND, /* find the key that ends a batch of keys above the cursor -> bound (NULL: fewer are left) */
    RUNNER_BATCH,     /* find the bound next_keys above hi, or reckon it, then run (cursor, hi] -> rows, elapsed, bound */
    RUNNER_RETRY,     /* run the rows that were taken, as far as they are free -> skipped, rows, elapsed */
    RUNNER_COMPARE,   /* try other rows than the one at hi, then that one again, and undo all -> compared, hint */
    RUNNER_PUT_ASIDE, /* note the row at hi as left behind, move the cursor over it; no range in hand: note why
                         the row left_behind, which was locked, stays so */
    RUNNER_HAND_OVER, /* a helper: leave the range in hand to the job's holder */
    RUNNER_REST,      /* wait until until_us, then report RUNNER_DONE */
    RUNNER_GIVE_WAY,  /* give the job back to the queue until until_us, tries in a row, if others queue -> gave_way */
    RUNNER_FINISH,    /* write the job's end: state, error, hint */
    RUNNER_RELEASE,   /* give the job back: state; a helper: its place */
    RUNNER_END,       /* nothing more will come; forget the runner */
};

struct runner_action {
    enum runner_action_kind kind;
    bool continues;       /* LAYOUT: the relations behind those that are planned; BEGIN: these are, too */
    int relation;         /* SURVEY, ADD_RANGE: 0 to n_relations - 1, of the last LAYOUT */
    bool at_once;         /* SURVEY: one statement may look at all of it -> empty, when no row is to do */
    uint32_t keys;        /* BOUND, BATCH, TAKE: how many; BATCH: 0 when not known (the last batch of a range, one to a bound that was reckoned) */
    uint32_t next_keys;   /* BATCH: for the bound that follows; 0 when none is wanted */
    bool reckons;         /* BATCH: that bound is hi + next_keys, no matter which of the integers between are keys */
    uint32_t yield_us;    /* BATCH: sleep for PACE_YIELD_US after so much work; 0: never */
    bool skipping;        /* BATCH: pass over rows that others have locked, and note them -> skipped */
    bool aside;           /* BATCH: note all its rows as locked, and change none: its statement meets a lock that isn't on them -> skipped */
    uint64_t estimate;    /* BEGIN: keys to walk; 0: it doesn't walk */
    uint64_t until_us;    /* REST, GIVE_WAY */
    uint32_t tries;       /* GIVE_WAY: so often in a row, this time included */
    bool apart;           /* GIVE_WAY: also where nobody queues, to another daemon, if there is one */
    enum job_phase phase; /* BEGIN */
    bool planned;         /* BEGIN: ranges were written for it, and must all be there */
    bool proven;          /* BEGIN: one look at all relations saw that none has a row to do: it needs no range */
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
    RUNNER_TAKE_UNPLANNED, /* few ranges are left, but there are relations that aren't planned yet */
    RUNNER_TAKE_SHARED, /* all that is left is in other walkers' hands */
    RUNNER_TAKE_NONE,   /* all is done; a helper: there is nothing for it */
    RUNNER_TAKE_NOT_OURS, /* another daemon holds the job */
};

/* What LAYOUT, BEGIN and FINISH found when they looked again, in the transaction that would have written. */
enum runner_look {
    RUNNER_LOOK_FINE,
    RUNNER_LOOK_NOT_OVER, /* some of what was done is to do, and nothing was written: the server has lost it; message: or why else */
    RUNNER_LOOK_NOT_OURS, /* another daemon holds the job, or it is where this one didn't leave it */
};

struct runner_event {
    enum runner_event_kind kind;
    enum runner_want want;
    enum runner_look look;

    const char *sqlstate, *message, *hint, *detail; /* ERROR; hint and detail may be NULL */

    int n_relations;          /* LAYOUT */
    uint64_t rest;            /* LAYOUT: about so many rows have the relations behind these, which a walk plans as it goes on */
    bool empty;               /* SURVEY: no key, no row; at_once: or none to do */
    bool moves;               /* SURVEY: a row may move behind the walk: that none is to do, only a look at once proves, */
    bool hidden;              /* or nothing does: what is put aside would be seen by it, or it is too large */
    bool all_at_once;         /* SURVEY: the look was at all relations at once */
    bool nothing_else;        /* SURVEY: at once: none but rows that are done by their NULL, which the walk counts */
    uint64_t aside;           /* SURVEY: rows of it that an earlier walk has put aside */
    bool by_ctid;             /* SURVEY: each update moves a row, not only one of its key */
    uint64_t estimate;        /* SURVEY: rows, as the planner guesses */
    bool has_step;            /* NEXT_STEP */
    bool clears;              /* NEXT_STEP: it only clears away what a step that failed has left */
    bool builds;              /* NEXT_STEP: it fills the disk */
    bool gave_way;            /* GIVE_WAY */
    struct blame_look compared; /* COMPARE */
    int64_t walk;             /* BEGIN, TAKE_NONE: the number of the walk, as the server has it; another for each */
    uint64_t found;           /* TAKE_NONE: rows that this walk has changed */
    enum runner_take outcome; /* TAKE, and with RUNNER_TAKE_RANGE: */
    int64_t range, epoch;
    const char *cursor, *upper;
    bool point;
    bool yields;         /* its batches can yield */
    bool integers;       /* its key is one integer: bounds may be reckoned */
    int64_t left_behind; /* TAKE_ROWS: the last one's number; upper is the first one's key */
    uint32_t n_rows;     /* so many */
    uint64_t locked;     /* and in all, at the begin of a round */
    uint64_t total_keys; /* TAKE: scanned in all ranges so far */
    const char *bound;   /* BOUND, BATCH */
    uint64_t rows;       /* BATCH, RETRY: changed */
    uint64_t skipped; /* BATCH: rows that were locked and are left behind now; RETRY: that are locked still */
    uint64_t elapsed_us; /* BATCH: from sending to its commit, without the search for the bound */
    uint64_t wal_bytes;  /* BATCH */
};

/* For logs and tests. */
const char *runner_action_name(enum runner_action_kind kind);

/* What changes rows. */
bool action_is_work(enum runner_action_kind kind);

/* What others may wait on, and so is given up for them. */
bool action_is_felt(enum runner_action_kind kind);

/* What a rest of the pace comes before. */
bool action_is_paced(enum runner_action_kind kind);

/* What the worker's session does, not the control session or a clock. */
bool action_has_session(enum runner_action_kind kind);
