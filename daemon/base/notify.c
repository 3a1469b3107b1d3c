#include "base/notify.h"
#include "base/clock.h"
#include "mem.h"
#include "text/text.h"

#include <inttypes.h>
#include <systemd/sd-daemon.h>

#define STATUS_EVERY_US 2000000 /* while a job runs: for people who look, not a record */
#define STATUS_REST_US  1000000 /* many short jobs change it more often than anybody reads it */

struct notify {
    notify_status *status;
    void *arg;
    char *told; /* the line as it was sent last */
    uint64_t told_at_us;
    struct event *status_timer;
    struct event *watchdog_timer; /* NULL: the unit has no WatchdogSec */
};

/* Sent from a timer of the loop and from nowhere else: a loop that hangs in a handler, in libpq or in a stopped process sends
 * nothing, whatever the reason. */
static void on_watchdog(evutil_socket_t socket, short what, void *arg)
{
    (void)socket;
    (void)what;
    (void)arg;
    sd_notify(0, "WATCHDOG=1");
}

static void on_status(evutil_socket_t socket, short what, void *arg)
{
    struct notify *n = arg;
    bool moves = false;
    _cleanup_free_ char *text = n->status(n->arg, &moves);
    _cleanup_free_ char *line = text_line(text, TEXT_MESSAGE); /* what stands behind a line break systemd would obey */
    (void)socket;
    (void)what;

    n->told_at_us = now_us();
    if (!same_string(line, n->told))
        sd_notifyf(0, "STATUS=%s", line);
    replace_string(&n->told, line);
    if (moves) {
        struct timeval every = us_to_timeval(STATUS_EVERY_US);
        event_add(n->status_timer, &every);
    }
}

struct notify *notify_open(struct event_base *base, notify_status *status, void *arg)
{
    struct notify *n = must(calloc(1, sizeof(*n)));
    uint64_t watchdog_us = 0;

    n->status = status;
    n->arg = arg;
    if (getenv("NOTIFY_SOCKET"))
        n->status_timer = must(event_new(base, -1, 0, on_status, n));
    if (sd_watchdog_enabled(0, &watchdog_us) > 0) {
        struct timeval half = us_to_timeval(watchdog_us / 2); /* as sd_watchdog_enabled(3) recommends */
        n->watchdog_timer = must(event_new(base, -1, EV_PERSIST, on_watchdog, n));
        event_add(n->watchdog_timer, &half);
    }
    return n;
}

void notify_ready(void)
{
    sd_notify(0, "READY=1");
}

/* The time is what a unit of Type=notify-reload waits for (systemd 253 and newer); older ones pass it over. */
void notify_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_us());
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

void notify_changed(struct notify *n)
{
    uint64_t now = now_us(), next = n->told_at_us + STATUS_REST_US;
    struct timeval wait = us_to_timeval(n->told && next > now ? next - now : 0);

    if (n->status_timer)
        event_add(n->status_timer, &wait); /* sooner than the next look while a job runs */
}

struct notify *notify_close(struct notify *n)
{
    if (!n)
        return NULL;
    if (n->status_timer)
        event_free(n->status_timer);
    if (n->watchdog_timer)
        event_free(n->watchdog_timer);
    free(n->told);
    free(n);
    return NULL;
}
