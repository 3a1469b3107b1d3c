/* What an error of a job's session means: what the runner is told of it, without values of rows, and with what its reader can do. Where the
 * catalog knows more than the session does (another version's schema, a role that was renamed, a right that is missing, an event trigger, who holds a lock) it is asked first. */
#pragma once

#include "base/control.h"
#include "job/job.h"
#include "run/runner.h"
#include "base/session.h"

#include <stdbool.h>

struct doubt {
    struct control *control;
    const struct job *job;
    void (*settled)(void *arg, const struct runner_event *event); /* the error, as far as it is known by now */
    void (*roles_changed)(void *arg);                              /* before that: the job's login or role was renamed, or dropped */
    void *arg;
    bool asking; /* nothing else may be told meanwhile */
    char *sqlstate, *message, *hint, *detail;
};

/* Tells settled, at once or when the catalog has been asked. doing: what met the error; statement: what it ran that is the job's own, or NULL. */
void doubt_error(struct doubt *d, const struct session_event *e, enum runner_action_kind doing, const char *statement);

void doubt_done(struct doubt *d);
