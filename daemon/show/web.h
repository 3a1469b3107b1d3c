/* What is served to those who look on: the page at /, its events at /events, and metrics at /metrics. It reads, and changes
 * nothing. When nobody asks it does nothing; events are made only while somebody has the page open. */
#pragma once

#include "text/listen.h"
#include "show/snapshot.h"

#include <event2/event.h>

struct web;

/* collect fills in a snapshot, which is empty, of now. Returns NULL when the address can't be listened to, and sets *ret_error,
 * which the caller frees. */
struct web *web_open(struct event_base *base, const struct listen_address *address,
    void (*collect)(void *arg, struct snapshot *snapshot), void *arg, char **ret_error);

/* Takes NULL; returns NULL. */
struct web *web_close(struct web *web);
