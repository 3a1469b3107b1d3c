/* The probes of the settings: queries of the user's, asked in turn, once a second each, in a session of their own, so that a slow
 * one delays no other reading. Read-only, as the daemon's role. */
#pragma once

#include "base/config.h"

#include <event2/event.h>
#include <libpq-fe.h>

struct probe;
struct place;

struct probe *probe_open(
    struct event_base *base, const struct place *place, const struct config_throttle *throttle);

/* The place is another: all are asked anew where the session is at another server than that. */
void probe_follow(struct probe *probe);

/* Other settings: all are asked anew. */
void probe_use(struct probe *probe, const struct config_throttle *throttle);

/* The only value of an answer, as a number. What is wrong with it, in words; NULL: nothing. */
const char *probe_read(const PGresult *result, double *ret_value);

/* Notes the last answers: each as a share of its limit. One that failed, or has not been answered yet, is at its limit. */
void probe_press(const struct probe *probe, struct pressure *pressure);

/* Takes NULL; returns NULL. */
struct probe *probe_close(struct probe *probe);
