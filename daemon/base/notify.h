/* What the service manager is told (sd_notify): ready, reloading, stopping, a line on what is being done, and that the event
 * loop still turns. Without a service manager nothing is sent and no timer runs. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>

struct notify;

/* The line; *ret_moves: whether it changes by itself, because a job runs. notify frees it. */
typedef char *notify_status(void *arg, bool *ret_moves);

struct notify *notify_open(struct event_base *base, notify_status *status, void *arg);

void notify_ready(void); /* also: has reloaded */
void notify_reloading(void);
void notify_stopping(void);

/* The line may read otherwise now. It is sent soon, and at most once a second. */
void notify_changed(struct notify *notify);

/* Takes NULL; returns NULL. */
struct notify *notify_close(struct notify *notify);
