/* The monitor session of one database, as the daemon's role: reads, many times a second while a job runs,
 * what may slow it down. What it can't read is said by its age: lib/pressure/pressure holds a job whose monitor is
 * silent. And what must not wait behind what the control session is at, which may take seconds, is asked here: that somebody's wait is ended. */
#pragma once

#include "base/config.h"
#include "pressure/pressure.h"
#include "pressure/vacuum.h"

#include <event2/event.h>

struct monitor;
struct session_query;
struct session_event;

struct monitor_setup {
    struct event_base *base;
    const char *database; /* its name, for the journal */
    const struct place *place;
    const struct config_throttle *throttle; /* may change: monitor_use */
    /* There is a new reading. From the event loop; it may not close the monitor. */
    void (*read)(void *arg);
    /* The pids of the workers' sessions, and the ids of their jobs, as array literals; the caller frees them. */
    char *(*pids)(void *arg);
    char *(*jobs)(void *arg);
    void *arg;
};

struct monitor *monitor_open(const struct monitor_setup *setup);
void monitor_use(struct monitor *monitor, const struct config_throttle *throttle);

/* The place is another: what is read at another server than that doesn't count. */
void monitor_follow(struct monitor *monitor);

/* The last reading. */
const struct pressure *monitor_pressure(const struct monitor *monitor);

/* Whether its session is there to read. */
bool monitor_is_open(const struct monitor *monitor);

/* Sends a statement, behind the reading that is under way. The answer is an error, lost, when the session goes. False: there is no session, and
 * nothing is sent. */
bool monitor_ask(struct monitor *monitor, const struct session_query *query, void (*answer)(void *arg, const struct session_event *event), void *arg);

/* Requests of that arg are sent all the same, but nobody is told. */
void monitor_forget(struct monitor *monitor, const void *arg);

/* Who waits on a session of ours: of several the one that has waited longest. */
struct blocking {
    int pid;
    double waited_ms;
    char who[PRESSURE_WHAT];
};

/* As of the last reading; NULL: nobody does. Others' jobs have no part in it. */
const struct blocking *monitor_blocking(const struct monitor *monitor, int pid);

/* Whether a session of ours waits for a transaction of others to end, as an index build does. */
bool monitor_sees_wait(const struct monitor *monitor, int pid);

/* Of a job's tables: what vacuum has to do there, as of the last look; false when that isn't known yet. */
bool monitor_vacuum(const struct monitor *monitor, int64_t job, struct vacuum_reading *ret_reading);

/* Takes NULL; returns NULL. */
struct monitor *monitor_close(struct monitor *monitor);
