/* What a job says of itself: its records in the journal, why it waits (backfill.status), and the numbers of its
 * report that only this daemon knows. It reads the runner and decides nothing. */
#pragma once

#include "job/job.h"
#include "base/journal.h"
#include "run/runner.h"
#include "work/step.h"

struct report {
    const char *database;
    const struct job *job;
    struct runner *runner;
    const struct step *step; /* in hand; its name is NULL when there is none */
    uint64_t started_us;
    int walkers; /* of the job */

    char *said_waiting;               /* the last error that the journal was told */
    char *said_step;                  /* and the last step */
    bool throttled;                   /* what it was told of that, */
    struct pressure_verdict by;       /* and of which signal */
    uint64_t throttle_said_us;        /* and when */
    uint64_t throttled_before_us;     /* at the last look */
    uint64_t rate_before_us;          /* the same, of SIGNAL_RATE, which is not in it */
    uint64_t moved_keys, moved_at_us; /* since when there is no progress */
    uint64_t progress_at_us;
    uint64_t said_retry_us; /* when the journal was told of a lock that was waited for last */

    uint64_t locked_rows,
        locked_naming; /* put aside: not said yet; being said, once their holders have names */
    uint64_t said_locked_us;
    const char *locked_by_now;           /* who holds rows that are tried again, in words: the worker's; NULL: not known */
    int locked_by[8], n_locked_by;       /* pids, and prepared transactions (see backfill.holders_of) */
    uint64_t total_rows, total_batches;
    bool knows_total;
    char *not_proven;
    uint64_t relieved, said_relieved_us; /* batches cancelled for somebody, not said yet */
};

/* All pointers must outlive the report. report_done frees what it keeps itself. */
void report_init(struct report *report, const char *database, const struct job *job, struct runner *runner,
    uint64_t now_us);
void report_done(struct report *report);

/* One record each. given_back: why it goes back to the queue, when that is not the daemon's end; else NULL. */
void report_start(struct report *report, bool goes_on);
void report_walkers(struct report *report, int walkers); /* so many sessions walk by now */
void report_helped(struct report *report);               /* a helper's end */
void report_phase(struct report *report, int n_relations, bool more);
void report_step(struct report *report, const struct step *step);
void report_slower(
    struct report *report, const char *statements);              /* text[] literal or NULL: one record each */
/* Of the whole job, as its end was written; before report_end. not_proven: what it can't know, NULL: nothing. */
void report_total(struct report *report, uint64_t rows, uint64_t batches, const char *not_proven);
void report_preflight(struct report *report, const char *words); /* NULL: it tells nothing */
void report_retry(struct report *report);
void report_keeps_place(struct report *report, const char *sqlstate, const char *why); /* it waits, and can't let another job have its place */
void report_put_aside(struct report *report, const char *key_columns);
char *report_key(const char *key_columns, const char *position); /* "id = 5", one line, of TEXT_NAME bytes at most; the caller frees */
void report_untangled(struct report *report, const char *who);
/* what: "a batch" or "a step" that was cut short for who. */
void report_relieved(
    struct report *report, const char *what, const char *who, double waited_ms, double limit_ms, uint64_t now_us);

/* Rows that others have locked were put aside: one record a second, which adds up. report_locked notes them; pids is an
 * integer[] literal or NULL. report_name_locked returns whose names are wanted for a record that is due, as such a
 * literal, which the caller frees; or NULL. at_once: it is due, the job ends. report_say_locked writes it. */
void report_locked(struct report *report, uint64_t rows, const char *pids);
char *report_name_locked(struct report *report, bool at_once, uint64_t now_us);
void report_say_locked(struct report *report, const char *names);
/* action: what the job was left by; NULL: it is not this daemon's any more, and what there is to say of that is said elsewhere. */
void report_end(struct report *report, const struct runner_action *action, const char *given_back);

/* It could not be given back, and the daemon stops. */
void report_left(struct report *report);

/* To be called every interval_us: a progress line now and then, and a signal that begins or ends to slow the job down.
 * Returns why the job is slow or stands still, for the status view; NULL when it isn't. The caller frees. */
char *report_look(struct report *report, uint64_t interval_us, uint64_t now_us);

/* As far as the job has come. */
struct journal_progress report_progress(struct report *report);

/* The numbers of the job's report that only this daemon knows, since it took the job up, as JSON. The caller frees. */
char *report_measured(const struct report *report);
char *report_looked(const struct report *report); /* what its looks at all rows have shown: backfill.may_have_moved; a JSON object, the caller frees */
