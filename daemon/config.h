/* The file (libconfig), read as a whole: either every key is right, or it is refused with "file:line:
 * reason". */
#pragma once

#include "journal.h"

#include <stdint.h>

struct config_database {
    char *name;
    char *conninfo;
    int workers;
};

struct config_batch {
    int target_ms, min_rows, max_rows;
    int lock_timeout_ms, statement_timeout_ms;
    char *synchronous_commit;
};

/* Limits of the signals that slow a job down; 0 switches one off. */
struct config_throttle {
    int max_lag_ms, max_lag_mb, max_blocked_ms;
    char *missing_standby; /* "wait" or "ignore" */
    int n_standbys;
    char **standbys; /* those that must be there */
};

struct config {
    int n_databases;
    struct config_database *databases;
    struct config_batch batch;
    struct config_throttle throttle;
    enum journal_level log_level;
};

/* Reads a file. On failure returns NULL and sets *ret_error, which the caller frees. */
struct config *config_load(const char *path, char **ret_error);

/* One database, the defaults for all else. */
struct config *config_for(const char *conninfo);

/* Takes NULL; returns NULL. */
struct config *config_free(struct config *config);
