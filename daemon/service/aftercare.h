/* What others do behind the daemon's back. The triggers of jobs that have ended and not been finished are looked at: when the database is connected, and each minute from then on, for a tenth of the time at most. What others have done to them meanwhile, or
 * could do by them, stands in the journal once, and in the job's row until it is mended: backfill.look_after. So does a job whose rows were restored under the daemon, which is paused. */
#pragma once

#include "base/control.h"

struct aftercare;

/* database: its name, for the journal; both must outlive it. jobs: those that this daemon runs, as an array's text, or NULL; to be freed. */
struct aftercare *aftercare_open(struct event_base *base, struct control *control, const char *database, char *(*jobs)(void *arg), void *arg);

/* The database is connected. */
void aftercare_look(struct aftercare *a);

/* Takes NULL; returns NULL. */
struct aftercare *aftercare_close(struct aftercare *a);
