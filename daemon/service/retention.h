/* Ended jobs are forgotten after so many days (jobs.keep_ended_days): when the database is connected, and each hour from then on. A job that has left
 * something behind, in its table or as rows, stays: backfill.forget_ended. */
#pragma once

#include "base/control.h"

struct retention;

/* database: its name, for the journal; both must outlive it. */
struct retention *retention_open(struct event_base *base, struct control *control, const char *database);

/* days: 0 keeps them for ever. */
void retention_keep(struct retention *r, int days);

/* The database is connected. */
void retention_look(struct retention *r);

/* Takes NULL; returns NULL. */
struct retention *retention_close(struct retention *r);
