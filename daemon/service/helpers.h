/* The helpers among a database's workers: those that walk for a job whose holder is another of them, or another daemon. Whole jobs come before
 * them, so they leave when one queues for their place. */
#pragma once

#include "work/worker.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* How many of n workers are helpers. */
int helpers_count(struct worker *const *workers, int n);

/* What shows that they are in their slots: an array literal, which the caller frees. */
char *helpers_tokens(struct worker *const *workers, int n);

/* The rows of SQL_WANTED that are of helpers: they go on by their job's overrides, or leave after their batch. One that isn't there leaves at once. */
void helpers_heed(struct worker *const *workers, int n, const PGresult *wanted);

/* One of them leaves, unless one does already. */
void helpers_make_room(struct worker *const *workers, int n);

/* A helper has ended: what it has counted comes to its job, if that is held here. */
void helpers_absorb(struct worker *const *workers, int n, const struct worker *helper);

/* How long to wait, after one has ended, before the next is offered: the more, the more of them in a row were of no use. us: what it was before. */
uint64_t helpers_pause_us(const struct worker *helper, uint64_t us);

/* The overrides in a row of SQL_WANTED. */
struct worker_overrides helpers_overrides(const PGresult *wanted, int row);
