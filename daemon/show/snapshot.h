/* What the daemon does at one moment, for those who look on (metrics, the page): copies, so that they hold on to nothing. No text
 * in it comes from a user's row: of an error there is the class and the SQLSTATE, not the server's words. */
#pragma once

#include "job/job.h"
#include "pressure/pressure.h"
#include "run/runner.h"
#include "watch/throttle.h"

#define SNAPSHOT_NAME    128 /* longer names are cut: a label has an end */
#define SNAPSHOT_ENDED   32  /* jobs that have ended and are still told of, */
#define SNAPSHOT_ENDED_S 300 /* for so long: a scrape or two, or twenty, see how it ended */

enum session_kind {
    SESSION_CONTROL,
    SESSION_MONITOR,
    SESSION_WORKER,
    _SESSION_KIND_MAX,
};

struct database_view {
    char name[SNAPSHOT_NAME];
    bool up;
    int running;
    int sessions[_SESSION_KIND_MAX];
    uint64_t ended[_JOB_STATE_MAX]; /* how many jobs came to this state, since the daemon serves it */
};

/* Why a job is slower than it could be. */
enum slow_reason {
    SLOW_NOT,
    SLOW_SIGNAL, /* the verdict says which */
    SLOW_RATE,   /* it is held to the speed that its user asked for */
    SLOW_ERROR,  /* it waits, and tries again */
};

struct job_view {
    char database[SNAPSHOT_NAME];
    int64_t id;
    char name[SNAPSHOT_NAME], table[SNAPSHOT_NAME];
    enum job_state state;
    enum job_phase phase;
    double started_at, moved_at, ended_at; /* Unix time; ended_at 0: it runs */

    int workers;                 /* sessions that walk for it */
    uint64_t keys, estimate;     /* over the job's life; estimate 0: not known */
    double rate, percent, eta_s; /* negative: not known */
    double pace, max_keys_per_s; /* share of the time; 0: no such limit */
    struct runner_counts counts; /* since this daemon took it up */
    struct pressure pressure;    /* as of the last look, the job's own table included */
    struct pressure_limits limits;
    uint64_t read_us_ago; /* how old that is */

    enum slow_reason slow;
    struct pressure_verdict by; /* SLOW_SIGNAL */
    enum retry_class error;     /* SLOW_ERROR */
    char sqlstate[6];           /* SLOW_ERROR, or a job that has failed; else empty */
};

struct snapshot {
    double at, started_at; /* now, and when the daemon was started: Unix time */
    int n_databases, n_jobs;
    struct database_view *databases;
    struct job_view *jobs; /* those that run, then those that have ended lately */
};

/* Those that have ended lately. */
struct ended_jobs {
    int n;
    struct job_view *at[SNAPSHOT_ENDED];
};

/* The wall clock: of now, and of a time of now_us(). */
double snapshot_now(void);
double snapshot_time(uint64_t us);

/* What runner and throttle know of a job, as one that runs; when it began and came on is left to the caller. */
void job_view_fill(struct job_view *view, const char *database, const struct job *job,
    const struct runner *runner, const struct throttle *throttle);

/* Rows that were locked, and are not done yet. */
uint64_t job_view_locked(const struct job_view *view);

/* Takes a job in; the oldest makes room. */
void ended_jobs_keep(struct ended_jobs *ended, const struct job_view *job);
void ended_jobs_done(struct ended_jobs *ended);

/* Each returns a place to fill in, good until the next call. */
struct database_view *snapshot_add_database(struct snapshot *s);
struct job_view *snapshot_add_job(struct snapshot *s);

/* A job that several workers of this daemon walk for stands there once, with what they have counted together; else as what its holder says. */
void snapshot_join_job(struct snapshot *s, const struct job_view *job, bool holds);

/* Adds those that have ended, are not too long gone and do not run again; forgets those that are. */
void snapshot_add_ended(struct snapshot *s, struct ended_jobs *ended);

void snapshot_done(struct snapshot *s);
