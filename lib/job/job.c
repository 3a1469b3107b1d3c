#include "job/job.h"

#include <stdlib.h>
#include <string.h>

static const char *const state_names[_JOB_STATE_MAX] = {
    [JOB_QUEUED] = "queued",
    [JOB_RUNNING] = "running",
    [JOB_PAUSED] = "paused",
    [JOB_SUCCEEDED] = "succeeded",
    [JOB_FAILED] = "failed",
    [JOB_CANCELLED] = "cancelled",
};

static const char *const phase_names[_JOB_PHASE_MAX] = {
    [PHASE_PREFLIGHT] = "preflight",
    [PHASE_EXPAND] = "expand",
    [PHASE_BACKFILL] = "backfill",
    [PHASE_GUARD] = "guard",
    [PHASE_VERIFY] = "verify",
    [PHASE_VALIDATE] = "validate",
    [PHASE_TIDY] = "tidy",
};

static const char *const wanted_names[_JOB_WANTED_MAX] = {
    [WANTED_RUN] = "run",
    [WANTED_PAUSE] = "pause",
    [WANTED_CANCEL] = "cancel",
    [WANTED_FINISH] = "finish",
    [WANTED_UNDO] = "undo",
};

/* The index of a name in its table, or -1, which is every kind's _INVALID. */
static int find_name(const char *const names[], int n_names, const char *name)
{
    for (int i = 0; name && i < n_names; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

const char *job_state_name(enum job_state state)
{
    return state_names[state];
}

const char *job_phase_name(enum job_phase phase)
{
    return phase_names[phase];
}

const char *job_wanted_name(enum job_wanted wanted)
{
    return wanted_names[wanted];
}

enum job_state job_state_from_name(const char *name)
{
    return (enum job_state)find_name(state_names, _JOB_STATE_MAX, name);
}

enum job_phase job_phase_from_name(const char *name)
{
    return (enum job_phase)find_name(phase_names, _JOB_PHASE_MAX, name);
}

enum job_wanted job_wanted_from_name(const char *name)
{
    return (enum job_wanted)find_name(wanted_names, _JOB_WANTED_MAX, name);
}

struct job *job_free(struct job *job)
{
    if (!job)
        return NULL;
    free(job->name);
    free(job->target);
    free(job->submitted_by);
    free(job->owner);
    free(job->login);
    free(job->token);
    free(job->search_path);
    free(job->time_zone);
    free(job->date_style);
    free(job->settings);
    free(job->session);
    free(job->throttle_off);
    free(job->plan);
    free(job->lacking);
    free(job);
    return NULL;
}
