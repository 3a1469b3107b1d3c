/* The file (libconfig), read as a whole: either every key is right, or it is refused with "file:line:
 * reason". */
#pragma once

#include "base/journal.h"
#include "text/listen.h"
#include "pressure/pressure.h"

#include <stdbool.h>
#include <stdint.h>

struct config_database {
    char *name;
    char *conninfo;
    int workers;
    int max_rows_per_s; /* of all its jobs together; 0: no limit */
};

struct config_batch {
    int target_ms, min_rows, max_rows;
    int busy_target_ms; /* when the host is busy with others */
    double busy_share;  /* of the time, then */
    int workers_per_job;
    int lock_timeout_ms, statement_timeout_ms;
    char *synchronous_commit;
};

/* A query of the user's: its only value slows jobs down as it comes near the limit. */
struct config_probe {
    char *name, *sql;
    double limit;
};

struct config_throttle {
    double limit[_SIGNAL_MAX]; /* 0 switches a signal off; those without a key are 0 */
    bool none;                 /* all are off but that of others who wait on the job */
    int dead_min_mb;           /* smaller tables are not held for vacuum */
    int flush_after_kb;        /* the kernel is asked to write out when more is dirty; 0: never */
    char *missing_standby;     /* "wait" or "ignore" */
    int n_standbys;
    char **standbys; /* those that must be there */
    int n_probes;
    struct config_probe *probes;
};

struct config_metrics {
    char *listen; /* as it stands in the file; NULL: off */
    struct listen_address address;
};

struct config_jobs {
    int keep_ended_days; /* then they are forgotten; 0: never */
};

struct config {
    int n_databases;
    struct config_database *databases;
    struct config_batch batch;
    struct config_throttle throttle;
    struct config_jobs jobs;
    struct config_metrics metrics;
    enum journal_level log_level;
};

/* Reads a file. On failure returns NULL and sets *ret_error, which the caller frees. */
struct config *config_load(const char *path, char **ret_error);

enum conninfo_state {
    CONNINFO_FINE,
    CONNINFO_SECRET, /* it holds a password, or another secret, where more than the daemon can read it */
    CONNINFO_BROKEN, /* *ret_problem: libpq's words, which quote it, but for what may be a password; the caller frees */
};
enum conninfo_state config_look_at(const char *conninfo, char **ret_problem);

/* One database, the defaults for all else. */
struct config *config_for(const char *conninfo);

/* Takes NULL; returns NULL. */
struct config *config_free(struct config *config);
