#include "work/range.h"
#include "mem.h"
#include "base/result.h"
#include "schema/sql.h"

#include <inttypes.h>
#include <stdio.h>

void range_take(struct range *range, const PGresult *result, struct runner_event *event)
{
    static const char *const outcomes[] = {
        [RUNNER_TAKE_RANGE] = "range",
        [RUNNER_TAKE_ROWS] = "rows",
        [RUNNER_TAKE_LOCKED] = "locked",
        [RUNNER_TAKE_UNPLANNED] = "unplanned",
        [RUNNER_TAKE_SHARED] = "shared",
        [RUNNER_TAKE_NONE] = "none",
    };
    const char *outcome = result_text(result, 0, "outcome");

    event->outcome = RUNNER_TAKE_NOT_OURS;
    for (int i = RUNNER_TAKE_RANGE; i < RUNNER_TAKE_NOT_OURS; i++)
        if (same_string(outcome, outcomes[i]))
            event->outcome = (enum runner_take)i;
    event->total_keys = (uint64_t)result_number(result, 0, "keys");
    event->found = (uint64_t)result_number(result, 0, "changed");
    event->walk = result_number(result, 0, "walk");
    if (event->outcome != RUNNER_TAKE_RANGE && event->outcome != RUNNER_TAKE_ROWS)
        return;
    event->left_behind = result_number(result, 0, "left_behind");
    event->n_rows = (uint32_t)result_number(result, 0, "n_rows");
    event->locked = (uint64_t)result_number(result, 0, "locked");
    event->range = result_number(result, 0, "range");
    event->epoch = result_number(result, 0, "epoch");
    event->cursor = result_text(result, 0, "cursor");
    event->upper = result_text(result, 0, "upper");
    event->point = result_is_true(result, 0, "point");
    replace_string(&range->at, NULL);
    replace_string(&range->relation, result_text(result, 0, "relation"));
    replace_string(&range->key_columns, result_text(result, 0, "key_columns"));
    replace_string(&range->batch, result_text(result, 0, "batch"));
    replace_string(&range->bound, result_text(result, 0, "bound"));
    replace_string(&range->reckoning, result_text(result, 0, "reckoning"));
    event->integers = range->reckoning != NULL;
    replace_string(&range->keys_of, result_text(result, 0, "keys_of"));
    replace_string(&range->name, result_text(result, 0, "name"));
    event->yields = result_is_true(result, 0, "yields");
    replace_string(&range->proof, result_text(result, 0, "proof"));
    replace_string(&range->function, result_text(result, 0, "function"));
    replace_string(&range->signature, result_text(result, 0, "signature"));
    replace_string(&range->ids, result_text(result, 0, "ids"));
    replace_string(&range->keys, result_text(result, 0, "row_keys"));
}

static const char *number(struct range *range, int i, int64_t n)
{
    snprintf(range->numbers[i], sizeof(range->numbers[i]), "%" PRId64, n);
    return range->numbers[i];
}

struct session_query range_bound(struct range *range, const struct runner *r, uint32_t keys)
{
    return (struct session_query){
        SQL_FIND_KEY, 6, {range->bound, range->relation, range->name, r->walker.cursor, r->walker.upper, number(range, 0, keys)}};
}

struct session_query range_batch(struct range *range, const struct runner *r, const struct runner_action *a)
{
    const char *id = number(range, 0, r->walker.range), *epoch = number(range, 1, r->walker.epoch);
    const char *keys = a->keys ? number(range, 2, a->keys) : NULL;
    const char *yield_us = a->yield_us ? number(range, 4, a->yield_us) : NULL;

    const char *rate = r->work.progress.rate > 0 ? range->rate : NULL; /* never one that a float can't hold */

    snprintf(range->rate, sizeof(range->rate), "%.3g", r->work.progress.rate);
    return (struct session_query){SQL_RUN_BATCH, 19,
        {a->aside ? NULL : range->batch, range->relation, range->name, range->keys_of, id, epoch, range->at, r->walker.cursor, r->walker.hi,
            keys, rate, yield_us, a->skipping ? "true" : "false", range->proof, a->reckons ? range->reckoning : range->bound, r->walker.upper,
            a->next_keys ? number(range, 3, a->next_keys) : NULL, range->function, range->signature}};
}

struct session_query range_retry(struct range *range, const struct runner *r)
{
    return (struct session_query){SQL_RETRY_ROWS, 10,
        {range->batch, range->relation, range->name, range->keys_of, range->ids, number(range, 1, r->walker.epoch), range->keys,
            range->proof, range->function, range->signature}};
}

struct session_query range_compare(struct range *range, const struct runner *r)
{
    return (struct session_query){
        SQL_TRY_NEIGHBOURS, 4, {range->relation, range->key_columns, r->walker.hi, r->walker.row.sqlstate}};
}

void range_done(struct range *range)
{
    free(range->batch);
    free(range->bound);
    free(range->reckoning);
    free(range->keys_of);
    free(range->relation);
    free(range->name);
    free(range->key_columns);
    free(range->ids);
    free(range->keys);
    free(range->proof);
    free(range->function);
    free(range->signature);
    free(range->at);
    *range = (struct range){0};
}
