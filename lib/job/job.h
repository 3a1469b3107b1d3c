/* What a job is: what people asked for, and the names of its states and phases as the control schema,
 * the journal and the status view write them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct migration_plan;

enum job_state {
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_PAUSED,
    JOB_SUCCEEDED,
    JOB_FAILED,
    JOB_CANCELLED,
    _JOB_STATE_MAX,
    _JOB_STATE_INVALID = -1,
};

enum job_phase {
    PHASE_PREFLIGHT,
    PHASE_EXPAND,
    PHASE_BACKFILL,
    PHASE_GUARD,
    PHASE_VERIFY,
    PHASE_VALIDATE,
    PHASE_TIDY, /* of a job that has ended: it is never in job.phase */
    _JOB_PHASE_MAX,
    _JOB_PHASE_INVALID = -1,
};

/* What the user last asked for, in job.wanted. */
enum job_wanted {
    WANTED_RUN,
    WANTED_PAUSE,
    WANTED_CANCEL,
    WANTED_FINISH,
    WANTED_UNDO,
    _JOB_WANTED_MAX,
    _JOB_WANTED_INVALID = -1,
};

const char *job_state_name(enum job_state state);
const char *job_phase_name(enum job_phase phase);
const char *job_wanted_name(enum job_wanted wanted);

/* The enum of a name, or the _INVALID of its kind. */
enum job_state job_state_from_name(const char *name);
enum job_phase job_phase_from_name(const char *name);
enum job_wanted job_wanted_from_name(const char *name);

/* One row of backfill.job, as far as the daemon acts on it. All strings are owned; those that are NULL in the
 * row are NULL here. */
struct job {
    int64_t id;
    char *name;
    char *target;       /* quoted and schema-qualified, for messages */
    char *submitted_by; /* the role that workers log in as */
    char *owner;        /* the role that they then SET, often the same */
    int slot;           /* 0: the daemon holds the job; else a helper's, of somebody's job */
    char *login;        /* the OID of submitted_by, which the session that has logged in under the name must be */
    char *token;        /* a number, as text, that tells the control schema who is the job's worker: nobody else's to know */
    char *search_path;
    char *time_zone;
    char *date_style;
    char *settings;              /* JSON object of settings for the worker's session, or NULL */
    char *session;               /* those of the inserting session that values depend on, likewise */
    enum job_phase phase;        /* PHASE_TIDY: it has ended, and something of it must go */
    struct migration_plan *plan; /* which phases it has */
    char *lacking;               /* what a row that is to do lacks, for messages; or NULL */
    bool quarantine;             /* on_error: put a row that fails aside instead of stopping */
    uint32_t target_ms;          /* 0: the file's */
    uint32_t max_rows_per_s;     /* 0: no limit of its own */
    double max_lag_ms;           /* 0: the file's */
    uint32_t workers;            /* sessions that it may have; 0: the file's */
    uint32_t gave_way;           /* how often in a row it has given its place back */
    char *throttle_off;          /* text[] literal of signals that this job passes over, or NULL */
};

/* Frees the job and what it owns; takes NULL; returns NULL. */
struct job *job_free(struct job *job);
