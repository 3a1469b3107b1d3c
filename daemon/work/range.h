/* The range or the row that a worker has in hand, as backfill.take_range gave it: what is sent for it. */
#pragma once

#include "run/runner.h"
#include "base/session.h"

#include <libpq-fe.h>

struct range {
    char *batch, *bound, *keys_of; /* statements */
    char *reckoning;               /* in place of bound, or NULL: its key is no integer */
    char *relation, *name;         /* OID; the name that the statements call it by, or NULL */
    char *key_columns;             /* text[] literal */
    char *ids, *keys;              /* of rows that were locked: array literals */
    char *proof;                   /* what its batches are proven by, or NULL */
    char *function, *signature;    /* which one its statements call, OID, and by which name; or NULL */
    char *at;                      /* where its row is, as the last checkpoint said; NULL: not known */
    char numbers[5][24];           /* parameters of what was built last */
    char rate[32];
};

/* Takes over the row of SQL_TAKE_RANGE: the range or row in it, and what the runner is told. Texts of the event point into the
 * result. What a job waits for when all that is left is locked, is not in it. */
void range_take(struct range *range, const PGresult *result, struct runner_event *event);

/* The search for the end of a batch. Parameters point into range and runner. */
struct session_query range_bound(struct range *range, const struct runner *runner, uint32_t keys);

/* A batch, with the search for the next one's end. */
struct session_query range_batch(struct range *range, const struct runner *runner, const struct runner_action *action);

/* A portion of the rows that were left behind. */
struct session_query range_retry(struct range *range, const struct runner *runner);

/* Others beside the row that failed, which are undone. */
struct session_query range_compare(struct range *range, const struct runner *runner);

void range_done(struct range *range);
