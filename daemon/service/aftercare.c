#include "service/aftercare.h"
#include "base/clock.h"
#include "base/journal.h"
#include "base/result.h"
#include "mem.h"
#include "schema/sql.h"

#define EVERY_US 60000000
#define REST     10 /* times what a look took: the session is everybody's */

struct aftercare {
    struct control *control;
    const char *database;
    char *(*jobs)(void *arg);
    void *arg;
    struct event *timer;
    bool asking;
    char *after; /* the job that was looked at last; NULL: none in this round */
    uint64_t asked_us;
};

static void on_answer(void *arg, const struct session_event *e)
{
    struct aftercare *a = arg;
    struct timeval every = us_to_timeval(EVERY_US), rest = us_to_timeval((now_us() - a->asked_us) * REST);

    a->asking = false;
    if (e->kind != SESSION_RESULT) {
        journal_write(LEVEL_WARNING, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = a->database, .sqlstate = e->sqlstate),
            "can't look after the triggers of ended jobs: %s", e->message);
        event_add(a->timer, &every);
        return;
    }
    const char *name = result_text(e->results[0], 0, "name"), *trouble = result_text(e->results[0], 0, "trouble");
    replace_string(&a->after, result_text(e->results[0], 0, "last_id"));
    event_add(a->timer, a->after ? &rest : &every);
    if (name && trouble)
        journal_write(LEVEL_WARNING, JOURNAL_STATE, JOURNAL_ABOUT(.database = a->database, .job = (int64_t)result_number(e->results[0], 0, "last_id"), .name = name),
            "%s. HINT: %s", trouble, result_text(e->results[0], 0, "hint"));
    else if (name)
        journal_write(LEVEL_NOTICE, JOURNAL_STATE, JOURNAL_ABOUT(.database = a->database, .job = (int64_t)result_number(e->results[0], 0, "last_id"), .name = name),
            "its trigger is as it should be again");
}

void aftercare_look(struct aftercare *a)
{
    if (a->asking || !control_is_ready(a->control))
        return;
    a->asking = true;
    a->asked_us = now_us();
    _cleanup_free_ char *jobs = a->jobs(a->arg);
    control_ask(a->control, &(struct session_query){SQL_LOOK_AFTER, 2, {a->after, jobs}}, on_answer, a, NULL);
}

static void on_timer(evutil_socket_t socket, short what, void *arg)
{
    (void)socket;
    (void)what;
    aftercare_look(arg);
}

struct aftercare *aftercare_open(struct event_base *base, struct control *control, const char *database, char *(*jobs)(void *arg), void *arg)
{
    struct aftercare *a = must(calloc(1, sizeof(*a)));

    a->control = control;
    a->database = database;
    a->jobs = jobs;
    a->arg = arg;
    a->timer = must(event_new(base, -1, 0, on_timer, a));
    return a;
}

struct aftercare *aftercare_close(struct aftercare *a)
{
    if (!a)
        return NULL;
    control_forget(a->control, a);
    event_free(a->timer);
    free(a->after);
    free(a);
    return NULL;
}
