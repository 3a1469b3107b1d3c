/* The server as one job sees it: its relations, its ranges, its row in backfill.job, what it left behind.
 *
 * Each function is one statement of lib/schema/sql.h, so one transaction, and does what the function of the same
 * name in lib/schema/code_3_worker.sql, code_4_*.sql or code_5_people.sql does. Keys are numbers from 1
 * on; 0 is the position before the first row (NULL). What must never happen is noted in broken, with the
 * first that did. */
#pragma once

#include "walk/blame.h"
#include "job/job.h"
#include "run/migration.h"
#include "random.h"
#include "run/runner.h"

#include <stdbool.h>
#include <stdint.h>

#define MODEL_RELATIONS 3
#define MODEL_ROWS      160 /* of one relation, rows inserted later included */
#define MODEL_RANGES    (MODEL_RELATIONS * MODEL_ROWS * 8)
#define MODEL_CUTS      5
#define MODEL_SESSIONS  8
#define MODEL_SLOTS     4       /* helpers of the job at once */
#define MODEL_QUIET_US  30000000 /* a walker that has done nothing for so long has its range taken by the holder */

struct model_row {
    int key;
    uint32_t born;            /* when, in layouts of the job */
    uint32_t due;             /* and when it became to do, of a migration */
    uint16_t counter;         /* what the job increments: SET n = n + 1 */
    bool bad;                 /* the job's expression raises on it */
    uint64_t locked_until_us; /* somebody else holds it until then */
    uint64_t met_until_us;    /* its statement meets a lock elsewhere, in a foreign key's row, say */
    bool deleted;
    bool to_do; /* of a migration: it meets the where_clause */
    bool owed;  /* was there when the filling began, so it must be done or put aside */
    bool was_moved;          /* its key, or its partition, was changed */
    uint32_t moved, crossed; /* when, in layouts: its key last; its partition last */
};

struct model_relation {
    struct model_row rows[MODEL_ROWS]; /* by key */
    int n_rows;
    bool too_large; /* to be looked at at once */
};

struct model_range {
    int relation, starts, cursor, upper;
    bool point, forgotten;  /* forgotten: deleted by a new layout */
    int walker;             /* who has taken it: 0 the holder, else a helper's slot; -1: nobody */
    uint64_t walker_us;     /* when it took it, or came on last */
    bool for_holder;        /* a helper has met something there */
    uint64_t keys, changed; /* in this walk */
    int64_t epoch;
    int64_t walk_epoch; /* at which this walk began: a worker of an older one is in the walk before */
};

/* Keys between the ranges of a relation. */
struct model_cuts {
    int n, at[MODEL_CUTS];
};

struct model_left_behind {
    int64_t id, range;
    int relation, key;
    bool locked; /* its reason; else an error */
};

struct model {
    struct model_relation relations[MODEL_RELATIONS];
    int n_relations;
    struct model_range ranges[MODEL_RANGES]; /* a range's id is its index + 1 */
    int n_ranges;
    struct model_left_behind left_behind[MODEL_RELATIONS * MODEL_ROWS];
    int n_left_behind;
    int64_t last_left_behind;
    int64_t drawn; /* epochs: no server draws one twice, whatever it has forgotten */

    enum job_state state;
    enum job_phase phase;
    enum job_wanted wanted;
    int holder; /* a control session; 0: nobody */
    int token;  /* of the last claim: a session that shows it is the worker's */
    int workers; /* sessions that the job may have */
    bool planning; /* a walk is laid out and has not begun */
    int behind;    /* relations that it is planned for; -1: all */
    struct {
        int session, token; /* of control; 0: free */
    } slots[MODEL_SLOTS + 1]; /* from 1 on */
    bool quarantine;
    uint64_t estimate;
    char error[64];
    uint64_t opens_us; /* no daemon takes the job before: it has given its place back */
    uint32_t gave_way; /* so often in a row */

    uint64_t now_us;
    uint64_t refuses_until_us; /* every row, with that SQLSTATE */
    const char *refuses_with;
    bool compared_bad;        /* the row that was compared last fails by itself */
    uint32_t layouts;
    int walk, last_walk; /* the number of the walk that was begun last; those were given, also to walks that are forgotten */
    int sessions[MODEL_SESSIONS]; /* control sessions that are open; 0: free */
    int last_session;
    bool was_cancelled; /* ever: the wish itself may be forgotten */
    const char *broken; /* NULL, or the promise that was broken */

    /* A migration; else the job fills each row that is owed once. */
    bool migrates;
    struct migration_plan plan;
    int steps[_JOB_PHASE_MAX], steps_done[_JOB_PHASE_MAX];
    bool synced, guarded;  /* the trigger, the constraint is there */
    bool leftover;         /* of a step that found no room: it takes some until it is cleared away */
    bool untidy, finished; /* something of it may be in the table; its owner wants no more of it */
    int quiet_walks;       /* of guard, one after the other, that found nothing */
    bool walk_counted;
    bool has_looked; /* verify is over, and this is what its looks have shown: whoever ends the job says it */
    struct migration looked;
};

struct model_taken {
    enum {
        MODEL_TAKEN_RANGE,
        MODEL_TAKEN_ROWS,
        MODEL_TAKEN_LOCKED,
        MODEL_TAKEN_UNPLANNED,
        MODEL_TAKEN_SHARED,
        MODEL_TAKEN_NONE,
        MODEL_TAKEN_NOT_OURS
    } outcome;
    int64_t range, epoch, left_behind;
    int cursor, upper;
    uint32_t n_rows;
    uint64_t locked;
    bool point;
    uint64_t keys, changed;
    int walk, behind;
};

struct model_batch {
    int64_t range, epoch;
    int lo, hi;
    uint32_t keys;
    bool skipping, aside;
    int64_t row_above, left_behind; /* of RETRY: the rows above the one, up to the other */
};

/* A queued job and its tables, as the seed wants them. */
void model_init(struct model *m, struct random *random);

/* A server that has crashed, or a standby that was promoted, knows what was so then. What is not the server's stays: the time,
 * the sessions' numbers, what was broken, and which walks there were. model_copy leaves out what is never read. */
void model_copy(struct model *to, const struct model *from);
void model_go_back(struct model *m, const struct model *then);

/* Sessions. */
int model_open(struct model *m);
void model_close(struct model *m, int session);
bool model_is_held(const struct model *m, int session);

/* What control sessions call. Those that return a string return an SQLSTATE, or NULL when all went well. */
bool model_claim(struct model *m, int session);
void model_hold_again(struct model *m, int old_session, int session);
/* A slot, or 0: there is nothing to help with. */
int model_help(struct model *m, int session, int token);
void model_help_again(struct model *m, int slot, int token, int session);
bool model_helps(const struct model *m, int slot, int session);
void model_leave(struct model *m, int slot, int session, bool troubled);
void model_hand_over(struct model *m, const struct model_batch *b);
enum runner_look model_layout(struct model *m, int session, enum job_phase phase, int planned, bool continues); /* continues: the plan of a walk, which goes on */
void model_add_ranges(struct model *m, int session, int relation, int upper, const struct model_cuts *cuts, int planned);
enum runner_look model_begin_phase(
    struct model *m, int session, enum job_phase from, enum job_phase phase, uint64_t estimate, int planned, int behind, bool proven);
enum runner_look model_plan_on(struct model *m, int session, enum job_phase phase, int planned, int behind);
/* slot: a helper's; 0: it is the holder's. */
struct model_taken model_take_range(struct model *m, int session, int slot, enum job_phase phase, int64_t above, uint32_t at_most);
bool model_has_moved_back(struct model *m, int session, enum job_phase phase);
const char *model_put_aside(struct model *m, const struct model_batch *b);
const char *model_leave_row(struct model *m, int64_t left_behind);
enum runner_look model_end_job(
    struct model *m, int session, enum job_phase phase, enum job_state state, const char *error);
void model_release_job(struct model *m, int session);
/* others: some queue for the place. gave_way and look of the event. */
void model_give_way(
    struct model *m, int session, uint64_t until_us, uint32_t tries, bool others, struct runner_event *e);

/* What worker sessions call. */
bool model_is_to_do(const struct model *m, int relation); /* whether a row of it is; -1: of any */
int model_survey(const struct model *m, int relation, uint64_t *ret_estimate); /* the last key, or 0 */
void model_cuts_of(const struct model *m, int relation, struct random *random, struct model_cuts *ret_cuts);
int model_bound(
    const struct model *m, int64_t range, int lo, uint32_t keys); /* a key, or 0: fewer are left */
const char *model_run_batch(
    struct model *m, const struct model_batch *b, uint64_t *ret_rows, uint64_t *ret_skipped);
/* Whether the holder could do a row of the range now. */
bool model_is_locked(const struct model *m, const struct model_row *row);
bool model_meets_lock(const struct model *m, const struct model_row *row);
uint64_t model_rows_aside(const struct model *m, int relation); /* for an error; relation -1: all */
struct model_range *model_new_range(struct model *m, int relation, int upper);
void model_break(struct model *m, const char *promise); /* the first one is kept */

bool model_has_free_row(const struct model *m, int64_t range);

const char *model_retry_rows(struct model *m, const struct model_batch *b, uint64_t *ret_rows, uint64_t *ret_skipped);

struct blame_look model_try_neighbours(struct model *m, const struct model_batch *b, const char *sqlstate);
bool model_is_bad(const struct model *m, const struct model_batch *b); /* the row at hi */

/* model_people.c: what people and applications do. */
void model_want(struct model *m, enum job_wanted wanted);
void model_retry(struct model *m);
void model_delete(struct model *m, struct random *random);
void model_insert(struct model *m, struct random *random);
void model_lock(struct model *m, struct random *random); /* a transaction holds rows for a while */
void model_refuse(struct model *m, struct random *random); /* a trigger, or a limit, refuses all for a while */
void model_move(struct model *m, struct random *random);   /* a row's key changes, or its partition */
void model_write(struct model *m, struct random *random);  /* rows are written the old way */
void model_mend_rows(struct model *m);                     /* none is bad any more */

/* model_migration.c: a job that is a whole migration. */
void model_init_migration(struct model *m, struct random *random);
bool model_is_untidy(const struct model *m); /* it has ended, and must be tidied up */
bool model_next_step(struct model *m, int session, enum job_phase phase, bool *ret_clears);
const char *model_step(struct model *m, enum job_phase phase, bool clears);
void model_begin_steps(struct model *m, enum job_phase phase);
void model_end_walk(struct model *m, uint64_t changed);
enum runner_look model_end_tidy(struct model *m, int session, bool failed);
bool model_has_step(const struct model *m, enum job_phase phase);
void model_check_migration(struct model *m, const struct migration *told);

void model_looked(struct model *m, enum job_phase from, enum job_phase phase, const struct migration *told); /* of BEGIN, when that was done */

/* A job that succeeded: every row that was owed is done, or left behind because it is bad. told: what its report rests on; it says which rows
 * may have been missed, and no others may. */
void model_check_succeeded(struct model *m, const struct migration *told);
