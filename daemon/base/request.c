#include "base/request.h"
#include "mem.h"

struct request *request_new(const struct session_query *query, request_answer *answer, void *arg, const char *payer)
{
    struct request *request = must(calloc(1, sizeof(*request)));

    request->query = *query;
    for (int i = 0; i < query->n_params; i++)
        request->query.params[i] = copy_string(query->params[i]);
    request->answer = answer;
    request->arg = arg;
    request->payer = copy_string(payer);
    return request;
}

static void request_free(struct request *request)
{
    for (int i = 0; i < request->query.n_params; i++)
        free((char *)(uintptr_t)request->query.params[i]);
    free(request->payer);
    free(request);
}

void request_answered(struct request_list *list, struct request *request, const struct session_event *event)
{
    TAILQ_REMOVE(list, request, entry);
    if (request->answer)
        request->answer(request->arg, event);
    request_free(request);
}

void request_forget(struct request_list *list, const void *arg)
{
    struct request *request;

    TAILQ_FOREACH(request, list, entry)
        if (request->arg == arg)
            request->answer = NULL;
}

void request_clear(struct request_list *list)
{
    struct request *request;

    while ((request = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, request, entry);
        request_free(request);
    }
}
