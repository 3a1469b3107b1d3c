/* What the two machines of a job share: the migration (lib/run/migration: phases, steps, plans; it sees no batch) and the walker (lib/run/walker: a
 * range, its batches, rows that fail; it sees no phase). And what each of them answers to an event. */
#pragma once

#include "run/action.h"
#include "pressure/pace.h"
#include "job/patience.h"
#include "job/progress.h"

#include <stdbool.h>
#include <stdint.h>

/* What was counted; the report and the journal read it. */
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

/* What a helper has counted comes to its job's. */
void counts_add(struct runner_counts *counts, const struct runner_counts *more);

/* How the job ends. */
struct ending {
    enum job_state state;
    char *error, *hint;
    bool names_row; /* the row at the walker's hi is why */
};

struct work {
    struct pace_job pace;
    struct progress progress;
    struct patience patience;
    struct runner_counts counts;
    struct ending ending;
    bool quarantine; /* a row that fails is put aside */
    bool reread;     /* names were read anew because one was gone; the second time is final */
    bool stale;      /* a batch was refused as another's; the second time there is a rest before the next */
    bool troubled;   /* a helper leaves for something that went wrong */
    bool doubted;    /* a batch met what may be anybody's error; the second time it is searched for a row */
    uint32_t losses;       /* so often in a row the session went in the middle of a batch, and nothing was done between */
    uint64_t lost_at_keys; /* scanned in all ranges, as it was then */
};

/* What comes next. */
enum next_kind {
    NEXT_ACT,    /* the action */
    NEXT_PACE,   /* a rest of the pace, rest_us, then it is asked again */
    NEXT_REST,   /* rest_us, then the action */
    NEXT_WAIT,   /* the same, for what work.patience says: long enough, and the job gives its place back */
    NEXT_PLAN,   /* the plan of the walk goes on */
    NEXT_WALKED, /* no range is open, no row is left: the walk is over, and has changed found rows */
    NEXT_FINISH, /* work.ending says how */
    NEXT_LEAVE,  /* a helper gives its place back */
    NEXT_END,    /* the job is another's */
};

struct next {
    enum next_kind kind;
    enum runner_action_kind action;
    uint64_t rest_us;
    enum pressure_signal why; /* PACE */
    uint64_t found;
    int64_t walk; /* WALKED: which */
};

struct next next_act(enum runner_action_kind action);
struct next next_rest(enum runner_action_kind action, uint64_t rest_us);
struct next next_wait(enum runner_action_kind action, uint64_t rest_us);

/* The job ends. error, hint: copied; NULL: none. */
struct next next_finish(struct work *k, enum job_state state, const char *error, const char *hint);

/* It fails of what the server said, but for values of rows. Why a table that is published can't be updated, stands in the detail alone. */
struct next next_finish_in_words(struct work *k, const struct runner_event *e);

/* Something was done. */
void work_moved(struct work *k);
