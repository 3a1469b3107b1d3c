/* One job being worked on: the glue between a runner (lib/run/runner), which decides, and the worker's session
 * and the control session, which do. It makes no decision of its own but what to tell the journal. */
#pragma once

#include "base/config.h"
#include "base/control.h"
#include "job/job.h"
#include "watch/monitor.h"
#include "run/runner.h"

struct worker;
struct job_view;

struct worker_setup {
    struct event_base *base;
    struct control *control; /* the worker logs in where that is, as the job's submitter */
    const char *database;             /* its name, for the journal */
    const struct config_batch *batch; /* may change while the worker runs: worker_use */
    const struct config_throttle *throttle;
    struct monitor *monitor; /* what presses on the database; it lives longer than the worker */
    void (*ended)(
        struct worker *worker, void *arg); /* from the event loop; it may not free the worker at once */
    void (*hours_over)(struct worker *worker, void *arg); /* by the daemon's clock; it may ask the server */
    bool (*crowded)(void *arg);                           /* whether all places for jobs are taken */
    void (*walks)(void *arg);     /* a walk over the table has begun: others may help */
    void (*at_length)(void *arg); /* worker_is_at_length has become true */
    void *arg;
};

/* Takes over the job. keys_done and estimate as the control schema has them. */
struct worker *worker_start(
    const struct worker_setup *setup, struct job *job, uint64_t keys_done, uint64_t estimate);

void worker_want(struct worker *worker, enum runner_want want);

/* The job's overrides, as they are now. 0 and NULL: the file's. */
struct worker_overrides {
    uint32_t target_ms;
    uint32_t max_rows_per_s;
    double max_lag_ms;
    const char *throttle_off; /* text[] literal */
    bool quarantine;
    uint32_t workers;
};
void worker_limit(struct worker *worker, const struct worker_overrides *overrides);

/* How many rows a second the database's limit leaves for this job; 0: no limit. */
void worker_share(struct worker *worker, double rows_per_s);

/* The job's active hours, as the server counts: they end in that many milliseconds; WORKER_NO_END: never. */
#define WORKER_NO_END INT64_MAX
void worker_end_hours_in(struct worker *worker, int64_t ms);

/* They have ended, or others are to have the place, and what to say of it: the batch or step is finished, and the job given back to
 * the queue. */
void worker_give_back(struct worker *worker, const char *why);
bool worker_is_given_back(const struct worker *worker);

/* It is in the middle of a statement that takes long (an index is built, a constraint validated), and can't be given back before that ends; or
 * somebody has locked the job's row, and that it has ended or goes back can't be written. */
bool worker_is_at_length(const struct worker *worker);

/* By the daemon's clock they have ended, and the server has not said otherwise. */
bool worker_hours_are_over(const struct worker *worker);

/* The file was changed. Timeouts count from the worker's next session on. */
void worker_use(
    struct worker *worker, const struct config_batch *batch, const struct config_throttle *throttle);

/* The server answers the control session again: one that waits before it tries to connect does so now. */
void worker_reconnect(struct worker *worker);

/* There is a new reading of what presses: when somebody waits on the batch, it is cancelled. */
void worker_press(struct worker *worker);

/* The pid of its session at the server, 0 when there is none. */
/* Its job was claimed once more by its own daemon, under another token: it begins a session anew. */
void worker_renew(struct worker *worker, const char *token);

int worker_pid(const struct worker *worker);

int64_t worker_job(const struct worker *worker);

/* A helper's slot at its job, 0: it holds the job; and how it shows that it is in it. */
int worker_slot(const struct worker *worker);
const char *worker_token(const struct worker *worker);
/* How many workers its job may have. */
uint32_t worker_may_have(const struct worker *worker);
/* A helper that has done nothing, or leaves for something that went wrong. */
bool worker_was_no_help(const struct worker *worker);
/* What a helper of its job has counted comes to the job's own. */
void worker_absorb(struct worker *worker, const struct worker *helper);

bool worker_has_ended(const struct worker *worker);
bool worker_was_ours(const struct worker *worker);   /* it ended by writing how: no other has the job */
bool worker_has_failed(const struct worker *worker); /* its job ended as failed */
bool worker_is_leaving(const struct worker *worker); /* all that is left is to write the job's end */

/* Its job, and the phase in which that is. */
const struct job *worker_of(const struct worker *worker, enum job_phase *ret_phase);

/* The bar's text of this job. away: why its server can't be asked; NULL: it can. The caller frees. */
char *worker_bar_text(struct worker *worker, const char *away);

/* How the job goes, or how it ended; false when there is nothing to tell: another daemon has it. */
bool worker_view(struct worker *worker, struct job_view *ret_view);

/* Ends the session, whatever is under way. Takes NULL; returns NULL. */
struct worker *worker_free(struct worker *worker);
