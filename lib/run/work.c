#include "run/work.h"
#include "mem.h"

#include <stdio.h>

void counts_add(struct runner_counts *counts, const struct runner_counts *more)
{
    counts->batches += more->batches;
    counts->rows += more->rows;
    counts->keys += more->keys;
    counts->wal_bytes += more->wal_bytes;
    counts->skipping += more->skipping;
    counts->skipped += more->skipped;
    counts->rest_us += more->rest_us;
    counts->relieved += more->relieved;
    for (int i = 0; i <= RETRY_PERMANENT; i++)
        counts->retries[i] += more->retries[i];
    for (int i = 0; i < _SIGNAL_MAX; i++)
        counts->throttled_us[i] += more->throttled_us[i];
    histogram_merge(&counts->batch_us, &more->batch_us);
}

struct next next_act(enum runner_action_kind action)
{
    return (struct next){.kind = NEXT_ACT, .action = action};
}

struct next next_rest(enum runner_action_kind action, uint64_t rest_us)
{
    return (struct next){.kind = NEXT_REST, .action = action, .rest_us = rest_us};
}

struct next next_wait(enum runner_action_kind action, uint64_t rest_us)
{
    return (struct next){.kind = NEXT_WAIT, .action = action, .rest_us = rest_us};
}

struct next next_finish(struct work *k, enum job_state state, const char *error, const char *hint)
{
    k->ending.state = state;
    k->ending.names_row = false;
    replace_string(&k->ending.error, error);
    replace_string(&k->ending.hint, hint);
    return (struct next){.kind = NEXT_FINISH};
}

struct next next_finish_in_words(struct work *k, const struct runner_event *e)
{
    _cleanup_free_ char *message = retry_public_message(e->sqlstate, e->message), *both = NULL;
    bool with_detail = e->detail && *e->detail && (same_string(e->sqlstate, "55000") || same_string(e->sqlstate, "2BP01"));

    const char *hint = e->hint;

    if (!hint && (same_string(e->sqlstate, "42703") || same_string(e->sqlstate, "42P01")))
        hint = "Was a table or a column renamed that the job's texts name? Give it its name back; or forget the job, and insert it anew.";
    if (with_detail && asprintf(&both, "%s: %s", message, e->detail) < 0)
        abort();
    return next_finish(k, JOB_FAILED, both ? both : message, hint);
}

void work_moved(struct work *k)
{
    k->losses = 0;
    k->reread = k->stale = k->doubted = false;
    patience_moved(&k->patience);
}
