/* Statements that wait for a session, and who is to have the answer. */
#pragma once

#include "base/session.h"

#include <sys/queue.h>

/* The answer to a request: SESSION_RESULT or SESSION_ERROR. */
typedef void request_answer(void *arg, const struct session_event *event);

struct request {
    TAILQ_ENTRY(request) entry;
    struct session_query query; /* sql is a constant, params are owned */
    request_answer *answer;     /* NULL: nobody is told */
    void *arg;
    char *payer; /* whose it is; NULL: nobody's, or the daemon's own */
};
TAILQ_HEAD(request_list, request);

/* Parameters are copied. */
struct request *request_new(const struct session_query *query, request_answer *answer, void *arg, const char *payer);

/* Takes it out of its list, tells who asked, and frees it. */
void request_answered(struct request_list *list, struct request *request, const struct session_event *event);

/* Requests of that arg are sent all the same, but nobody is told. */
void request_forget(struct request_list *list, const void *arg);

/* Frees all; nobody is told. */
void request_clear(struct request_list *list);
