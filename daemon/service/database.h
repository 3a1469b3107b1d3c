/* One served database: its control session, and a worker for each job that runs. It claims jobs while it has
 * room, and passes on what people want of them. Policy is decided in one place, at the end of a turn of the
 * loop. */
#pragma once

#include "base/config.h"

#include <event2/event.h>
#include <stdbool.h>

struct database;
struct ended_jobs;
struct snapshot;

/* changed is called from the loop whenever one of the questions below may have another answer. */
struct database *database_open(struct event_base *base, const struct config_database *config,
    const struct config_batch *batch, const struct config_throttle *throttle, bool drain,
    void (*changed)(void *arg), void *arg);

/* New settings: how many workers, and how they batch. */
void database_configure(struct database *db, const struct config_database *config);
void database_use(
    struct database *db, const struct config_batch *batch, const struct config_throttle *throttle);

void database_keep(struct database *db, const struct config_jobs *jobs);

/* Finishes batches, gives jobs back, then closes; at_once cancels the batches too. */
void database_stop(struct database *db, bool at_once);

const char *database_name(const struct database *db);
const char *database_conninfo(const struct database *db);
bool database_is_stopping(const struct database *db);
bool database_has_stopped(const struct database *db);
bool database_is_connected(const struct database *db); /* its control session is ready */
bool database_is_drained(const struct database *db);   /* nothing is queued or running */
bool database_is_hopeless(
    const struct database *db); /* it can't be served as things are; only told when draining */
bool database_has_failed(const struct database *db); /* a job has ended as failed */
int database_n_workers(const struct database *db);

/* The bar's text of the first of its jobs, or NULL. The caller frees. */
char *database_bar_text(struct database *db);

/* Adds the database, and its jobs that run. */
void database_snapshot(struct database *db, struct snapshot *snapshot);

/* From now on it notes there how its jobs end; NULL: nowhere. */
void database_remember(struct database *db, struct ended_jobs *ended);

/* Takes NULL; returns NULL. */
struct database *database_close(struct database *db);
