#include "show/snapshot.h"
#include "base/clock.h"
#include "mem.h"
#include "pressure/pace.h"
#include "text/utf8.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#define PACE_SAID 0.9 /* a job that may work less than this share of the time is slowed down */

double snapshot_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* To a tenth of a second: the clocks drift, and the start of a job must not seem to move. */
double snapshot_time(uint64_t us)
{
    return round(10 * (snapshot_now() - (double)(now_us() - us) / 1e6)) / 10;
}

/* Held to a speed is who comes near it, or has its rests for it. */
static enum slow_reason reason_of(const struct job_view *view, const struct runner *r)
{
    if (r->work.patience.waiting_for)
        return SLOW_ERROR;
    if (view->by.signal != SIGNAL_NONE && view->pace < PACE_SAID)
        return SLOW_SIGNAL;
    if (r->work.pace.limits.max_keys_per_s > 0 && r->doing == RUNNER_REST && r->rests_for == SIGNAL_RATE)
        return SLOW_RATE;
    return SLOW_NOT;
}

void job_view_fill(struct job_view *view, const char *database, const struct job *job, const struct runner *r,
    const struct throttle *throttle)
{
    struct progress now = r->work.progress;
    const char *sqlstate = r->work.patience.waiting_for ? r->work.patience.sqlstate : r->work.ending.state == JOB_FAILED ? r->walker.row.sqlstate : NULL;

    utf8_cut(view->database, sizeof(view->database), database);
    utf8_cut(view->name, sizeof(view->name), job->name);
    utf8_cut(view->table, sizeof(view->table), job->target);
    view->id = job->id;
    view->state = JOB_RUNNING;
    view->phase = r->migration.phase;
    progress_update(&now, now_us());
    view->keys = now.keys;
    view->estimate = now.estimate;
    view->rate = progress_rate(&now);
    view->percent = progress_percent(&now);
    view->eta_s = migration_walks(r->migration.phase) || r->migration.walking ? progress_eta_s(&now) : -1;
    view->pace = pace_share_of(&r->work.pace);
    view->max_keys_per_s = r->work.pace.limits.max_keys_per_s;
    view->counts = r->work.counts;
    view->pressure = throttle->pressure;
    view->limits = throttle->limits;
    view->read_us_ago = throttle->pressure.read_at_us ? now_us() - throttle->pressure.read_at_us : 0;
    view->by = *pace_slowed_by(&r->work.pace);
    view->slow = reason_of(view, r);
    view->error = retry_class(sqlstate);
    snprintf(view->sqlstate, sizeof(view->sqlstate), "%s", sqlstate ? sqlstate : "");
}

uint64_t job_view_locked(const struct job_view *view)
{
    return view->counts.skipped > view->counts.retried ? view->counts.skipped - view->counts.retried : 0;
}

static void drop(struct ended_jobs *ended, int i)
{
    free(ended->at[i]);
    ended->n--;
    memmove(&ended->at[i], &ended->at[i + 1], (size_t)(ended->n - i) * sizeof(ended->at[0]));
}

void ended_jobs_keep(struct ended_jobs *ended, const struct job_view *job)
{
    for (int i = ended->n - 1; i >= 0; i--)
        if (ended->at[i]->id == job->id && strcmp(ended->at[i]->database, job->database) == 0)
            drop(ended, i);
    if (ended->n == SNAPSHOT_ENDED)
        drop(ended, 0);
    struct job_view *copy = must(malloc(sizeof(*copy)));
    *copy = *job;
    ended->at[ended->n++] = copy;
}

void ended_jobs_done(struct ended_jobs *ended)
{
    while (ended->n > 0)
        drop(ended, ended->n - 1);
}

struct database_view *snapshot_add_database(struct snapshot *s)
{
    s->databases = must(reallocarray(s->databases, (size_t)s->n_databases + 1, sizeof(*s->databases)));
    struct database_view *view = &s->databases[s->n_databases++];
    memset(view, 0, sizeof(*view));
    return view;
}

struct job_view *snapshot_add_job(struct snapshot *s)
{
    s->jobs = must(reallocarray(s->jobs, (size_t)s->n_jobs + 1, sizeof(*s->jobs)));
    struct job_view *view = &s->jobs[s->n_jobs++];
    memset(view, 0, sizeof(*view));
    return view;
}

void snapshot_join_job(struct snapshot *s, const struct job_view *job, bool holds)
{
    for (int i = 0; i < s->n_jobs; i++)
        if (s->jobs[i].id == job->id && strcmp(s->jobs[i].database, job->database) == 0) {
            struct runner_counts counts = holds ? job->counts : s->jobs[i].counts;
            counts_add(&counts, holds ? &s->jobs[i].counts : &job->counts);
            if (holds)
                s->jobs[i] = *job;
            s->jobs[i].counts = counts;
            return;
        }
    *snapshot_add_job(s) = *job;
}

static bool has_job(const struct snapshot *s, int n_jobs, const struct job_view *job)
{
    for (int i = 0; i < n_jobs; i++)
        if (s->jobs[i].id == job->id && strcmp(s->jobs[i].database, job->database) == 0)
            return true;
    return false;
}

void snapshot_add_ended(struct snapshot *s, struct ended_jobs *ended)
{
    int running = s->n_jobs;

    for (int i = ended->n - 1; i >= 0; i--)
        if (s->at - ended->at[i]->ended_at > SNAPSHOT_ENDED_S)
            drop(ended, i);
        else if (!has_job(s, running, ended->at[i]))
            *snapshot_add_job(s) = *ended->at[i];
}

void snapshot_done(struct snapshot *s)
{
    free(s->databases);
    free(s->jobs);
    *s = (struct snapshot){0};
}
