/* One job being worked on: the glue between a runner (lib/runner), which decides, and the worker's session
 * and the control session, which do. It makes no decision of its own but what to tell the journal. */
#pragma once

#include "config.h"
#include "control.h"
#include "job.h"
#include "runner.h"

struct worker;

struct worker_setup {
    struct event_base *base;
    struct control *control;
    const char *database;             /* its name, for the journal */
    const char *conninfo;             /* the worker logs in by it, but as the job's submitter */
    const struct config_batch *batch; /* may change while the worker runs: worker_limit */
    void (*ended)(
        struct worker *worker, void *arg); /* from the event loop; it may not free the worker at once */
    void *arg;
};

/* Takes over the job. keys_done and estimate as the control schema has them. */
struct worker *worker_start(
    const struct worker_setup *setup, struct job *job, uint64_t keys_done, uint64_t estimate);

void worker_want(struct worker *worker, enum runner_want want);

/* The job's overrides were changed. target_ms 0: the file's. */
void worker_limit(struct worker *worker, uint32_t target_ms, bool quarantine);

/* The file was changed. Timeouts count from the worker's next session on. */
void worker_use(struct worker *worker, const struct config_batch *batch);

int64_t worker_job(const struct worker *worker);
bool worker_has_ended(const struct worker *worker);
bool worker_has_failed(const struct worker *worker); /* its job ended as failed */
bool worker_is_leaving(const struct worker *worker); /* all that is left is to write the job's end */

/* The bar's text of this job. The caller frees. */
char *worker_bar_text(struct worker *worker);

/* Ends the session, whatever is under way. Takes NULL; returns NULL. */
struct worker *worker_free(struct worker *worker);
