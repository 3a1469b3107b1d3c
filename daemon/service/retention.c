#include "service/retention.h"
#include "base/clock.h"
#include "base/journal.h"
#include "base/result.h"
#include "mem.h"
#include "schema/sql.h"

#include <inttypes.h>

#define EVERY_US 3600000000

struct retention {
    struct control *control;
    const char *database;
    int days;
    struct event *timer;
    bool asking;
    char *after_at, *after_id; /* the ended job that was looked at last; NULL: none in this round */
    int64_t forgotten;         /* in this round */
};

static void ask(struct retention *r);

static void end_round(struct retention *r)
{
    struct timeval every = us_to_timeval(EVERY_US);

    if (r->forgotten > 0)
        journal_write(LEVEL_NOTICE, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = r->database),
            "forgot %" PRId64 " %s that had ended more than %d %s ago", r->forgotten, r->forgotten == 1 ? "job" : "jobs", r->days, r->days == 1 ? "day" : "days");
    r->forgotten = 0;
    replace_string(&r->after_at, NULL);
    replace_string(&r->after_id, NULL);
    event_add(r->timer, &every);
}

static void on_answer(void *arg, const struct session_event *e)
{
    struct retention *r = arg;

    r->asking = false;
    if (e->kind != SESSION_RESULT) {
        journal_write(LEVEL_WARNING, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = r->database, .sqlstate = e->sqlstate), "can't forget ended jobs: %s", e->message);
        end_round(r);
        return;
    }
    r->forgotten += result_number(e->results[0], 0, "forgotten");
    replace_string(&r->after_at, result_text(e->results[0], 0, "last_at"));
    replace_string(&r->after_id, result_text(e->results[0], 0, "last_id"));
    if (r->after_id && r->days > 0)
        ask(r);
    else
        end_round(r);
}

static void ask(struct retention *r)
{
    char days[24];

    r->asking = true;
    control_ask(r->control, &(struct session_query){SQL_FORGET_ENDED, 3, {number_text(days, r->days), r->after_at, r->after_id}}, on_answer, r, NULL);
}

void retention_look(struct retention *r)
{
    if (r->days > 0 && !r->asking && control_is_ready(r->control))
        ask(r);
}

static void on_timer(evutil_socket_t socket, short what, void *arg)
{
    (void)socket;
    (void)what;
    retention_look(arg);
}

struct retention *retention_open(struct event_base *base, struct control *control, const char *database)
{
    struct retention *r = must(calloc(1, sizeof(*r)));

    r->control = control;
    r->database = database;
    r->timer = must(event_new(base, -1, 0, on_timer, r));
    return r;
}

void retention_keep(struct retention *r, int days)
{
    if (days == r->days)
        return;
    r->days = days;
    retention_look(r);
}

struct retention *retention_close(struct retention *r)
{
    if (!r)
        return NULL;
    control_forget(r->control, r);
    event_free(r->timer);
    free(r->after_at);
    free(r->after_id);
    free(r);
    return NULL;
}
