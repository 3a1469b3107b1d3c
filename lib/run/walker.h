/* A session that walks: it takes a range, finds bounds, runs batches, searches for a row that fails, puts it aside, and comes back to rows that
 * were locked. It sees no phase. Part of lib/run/runner, whose header says how one thing follows another.
 *
 * True between two actions: the cursor in memory is the one in the database, or older (a connection was lost), and then the range is taken anew,
 * which reads it back, before anything else is done. */
#pragma once

#include "run/work.h"

/* The rows that were passed over as locked, in portions, one round after another. */
struct walker_round {
    int64_t last;     /* the row that was tried last; 0: none yet */
    int64_t above;    /* what it was before the portion that is next or under way */
    uint64_t left;    /* are to do, as far as is known */
    uint64_t began_us;
    uint32_t portion; /* no more rows, for larger ones failed; 0: as many as a batch has */
    bool moved;       /* a row of this round was done */
    uint32_t idle;    /* rounds in a row that did none */
    uint32_t met;     /* portions of this round that met a lock which isn't on their rows */
};

/* A lock that isn't on rows of the table: the statement itself meets it, in a foreign key's row, or an equal value that a transaction has not committed. It is
 * searched for by halving, and a group of rows with it is put aside as locked. Such rows stand side by side: a group is twice as large as the
 * one just before it. */
struct walker_lock {
    uint32_t keys;   /* above 0: batches of that many keys, twice as many after each that is done */
    uint32_t group;  /* so many keys may be put aside at once */
    uint64_t rows;   /* put aside since a batch has changed some */
    bool aside;      /* the batch that is next or under way puts its rows aside */
};

/* The row that failed alone. */
struct walker_row {
    char *sqlstate, *message, *detail, *hint;
};

struct walker {
    struct pace pace;
    int64_t range, epoch; /* of the range in hand; 0: none. A portion of rows has an epoch, too */
    char *cursor, *upper;
    bool point;
    char *hi;         /* the end of the batch that is next or under way */
    uint32_t keys;    /* of that batch; 0: not known, it is the range's last */
    uint32_t asked;   /* keys that the bound under way was asked for */
    bool integers;    /* the range's key is one integer */
    bool dense;       /* most of the integers that the last batch spanned were keys of rows to do: a search finds no better bound than to add */
    bool reckons;     /* the bound under way is found so */
    bool reckoned;    /* that of the batch, or it is a page's end: its keys are at most so many */
    bool apart;       /* a batch was cut short: the next one doesn't search for a bound, which may be what took the time */
    bool skipping;    /* the batch that is next or under way passes over locked rows */
    struct walker_lock lock;
    uint64_t began_us;     /* the action under way */
    uint32_t isolate;      /* above 0: a row fails; batches of that many keys until it is found */
    uint64_t isolate_left; /* keys until the batch that failed first is passed, and the search is over */
    struct walker_round round;
    struct walker_row row;
    struct blame blame;
};

void walker_init(struct walker *w, const struct pace_limits *limits);
void walker_done(struct walker *w);

/* An action of the walker's begins: fills in its sizes. */
void walker_enter(struct walker *w, const struct work *k, struct runner_action *action);

/* Answers. */
struct next walker_taken(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us);
struct next walker_bound_found(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us);
struct next walker_batch_done(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us);
struct next walker_rows_done(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us);
/* relieved: it was given up for somebody who waited. */
struct next walker_compared(struct walker *w, struct work *k, const struct runner_event *e, bool relieved, uint64_t now_us);
void walker_row_put_aside(struct walker *w, struct work *k, uint64_t now_us);
struct next walker_after_put_aside(const struct walker *w);

/* The next piece of work is known: now, or after a rest? */
struct next walker_pace(struct walker *w, struct work *k, enum runner_action_kind action, uint64_t now_us);

/* A batch met a lock: the same again, passing over locked rows. */
struct next walker_skip_locked(struct walker *w, struct work *k, uint64_t now_us);

/* The portion under way met a lock that isn't on its rows. */
struct next walker_rows_meet_lock(struct walker *w);

/* A batch met one that isn't on rows. */
struct next walker_meets_lock(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us);

/* The batch under way is over, whatever comes: the next one begins as any. */
void walker_begin_anew(struct walker *w);

/* A row of the batch or portion under way cannot be changed, or none can. */
struct next walker_row_failed(struct walker *w, struct work *k, enum runner_action_kind doing, const struct runner_event *e);

/* What is under way was cut short; what comes is smaller. True when it is to be looked for a row that takes too long, as for one that fails. */
bool walker_cut_short(struct walker *w, const struct work *k, enum runner_action_kind doing, bool by_time, uint64_t now_us);

/* The session went while rows were changed. True when that was once too often: it is something that the batch sets off. */
bool walker_lost(struct work *k, enum runner_action_kind doing);
struct next walker_finish_lost(struct work *k, const struct runner_event *e);

/* The range in hand is not ours any more, or another walk begins. */
void walker_forget(struct walker *w);

/* For rows that fail it has a patience of its own (lib/walk/blame), which ends, and which nobody remembers for it. */
bool walker_is_searching(const struct walker *w);
