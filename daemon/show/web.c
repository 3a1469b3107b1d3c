#include "show/web.h"
#include "show/http.h"
#include "text/json.h"
#include "mem.h"
#include "show/metrics.h"
#include "text/openmetrics.h"
#include "show/page.h"

#include <inttypes.h>
#include <stdio.h>

#define PUSH_EVERY_S 1

struct web {
    struct http *http;
    struct event *push; /* while somebody has the page open */
    void (*collect)(void *arg, struct snapshot *snapshot);
    void *arg;
    char *answer; /* the last one's body, which must outlive the handler */
};

/* ---- Events
 * --------------------------------------------------------------------------------------------------------- */

/* ,"lag":{"value":812.000,"limit":1000.000,"whose":"standby2"}: what the chart draws; nothing when no standby is there. */
static void write_lag(FILE *out, const struct job_view *job)
{
    const struct pressure_reading *lag = &job->pressure.readings[SIGNAL_LAG_MS];

    if (!job->pressure.there[SIGNAL_LAG_MS] || !lag->known)
        return;
    fputs(",\"lag\":{\"value\":", out);
    json_number(out, lag->value);
    fputs(",\"limit\":", out);
    json_number(out, job->limits.off[SIGNAL_LAG_MS] ? -1 : job->limits.limit[SIGNAL_LAG_MS]);
    fputs(",\"whose\":", out);
    json_string(out, lag->what);
    fputc('}', out);
}

/* Why it is slow; the words are the page's. What a signal that can't be read says may be a server's message, and those of a
 * user's own queries may hold values: of probes nothing is told but that. */
static void write_slow(FILE *out, const struct job_view *job)
{
    switch (job->slow) {
    case SLOW_NOT: return;
    case SLOW_ERROR:
        fprintf(out, ",\"slow\":{\"by\":\"error\",\"class\":\"%s\"}", retry_class_name(job->error));
        return;
    case SLOW_RATE:
        fputs(",\"slow\":{\"by\":\"rate\",\"limit\":", out);
        json_number(out, job->max_keys_per_s);
        fputc('}', out);
        return;
    case SLOW_SIGNAL: break;
    }
    fprintf(out, ",\"slow\":{\"by\":\"%s\",\"value\":", signal_name(job->by.signal));
    json_number(out, job->by.known ? job->by.value : -1);
    fputs(",\"limit\":", out);
    json_number(out, job->by.limit);
    fputs(",\"whose\":", out);
    json_string(out, job->by.signal == SIGNAL_PROBE && !job->by.known ? "" : job->by.what);
    fputc('}', out);
}

static void write_job(FILE *out, const struct job_view *job, double now)
{
    fprintf(out, "{\"id\":%" PRId64 ",\"database\":", job->id);
    json_string(out, job->database);
    fputs(",\"name\":", out);
    json_string(out, job->name);
    fputs(",\"table\":", out);
    json_string(out, job->table);
    fprintf(out, ",\"state\":\"%s\",\"phase\":\"%s\",\"running\":%s", job_state_name(job->state),
        job_phase_name(job->phase), job->ended_at > 0 ? "false" : "true");
    fprintf(out, ",\"keys\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"percent\":", job->keys, job->counts.rows);
    json_number(out, job->state == JOB_SUCCEEDED ? 100 : job->percent);
    fputs(",\"rate\":", out);
    json_number(out, job->rate);
    fputs(",\"eta_s\":", out);
    json_number(out, job->eta_s);
    fprintf(out, ",\"workers\":%d,\"pace\":", job->workers);
    json_number(out, job->pace);
    fputs(",\"still_s\":", out);
    json_number(out, now > job->moved_at ? now - job->moved_at : 0);
    fputs(",\"ended_s\":", out);
    json_number(out, job->ended_at > 0 ? (now > job->ended_at ? now - job->ended_at : 0) : -1);
    fprintf(out, ",\"left_behind\":%" PRIu64 ",\"sqlstate\":", job->counts.put_aside + job_view_locked(job));
    json_string(out, job->sqlstate);
    write_slow(out, job);
    write_lag(out, job);
    fputc('}', out);
}

/* One event: all that the page shows. */
static char *event_text(const struct snapshot *s, size_t *ret_size)
{
    char *text = NULL;
    FILE *out = must(open_memstream(&text, ret_size));

    fputs("data: {\"version\":\"" BACKFILLD_VERSION "\",\"databases\":[", out);
    for (int i = 0; i < s->n_databases; i++) {
        fputs(i ? ",{\"name\":" : "{\"name\":", out);
        json_string(out, s->databases[i].name);
        fprintf(out, ",\"up\":%s}", s->databases[i].up ? "true" : "false");
    }
    fputs("],\"jobs\":[", out);
    for (int i = 0; i < s->n_jobs; i++) {
        fputs(i ? "," : "", out);
        write_job(out, &s->jobs[i], s->at);
    }
    fputs("]}\n\n", out);
    if (fclose(out) != 0)
        abort();
    return text;
}

/* ---- Answers
 * -------------------------------------------------------------------------------------------------------- */

static char *collect_event(struct web *web, size_t *ret_size)
{
    struct snapshot s = {.at = snapshot_now()};

    web->collect(web->arg, &s);
    char *text = event_text(&s, ret_size);
    snapshot_done(&s);
    return text;
}

static void on_push(evutil_socket_t socket, short what, void *arg)
{
    struct web *web = arg;
    size_t size = 0;
    (void)socket;
    (void)what;

    if (http_n_streams(web->http) == 0) {
        event_del(web->push);
        return;
    }
    _cleanup_free_ char *text = collect_event(web, &size);
    http_push(web->http, text, size);
}

static void answer_events(struct web *web, const struct http_request *request, struct http_answer *ret)
{
    static const struct timeval every = {.tv_sec = PUSH_EVERY_S};

    if (!http_has_room_for_stream(web->http)) {
        *ret = (struct http_answer){.status = 503,
            .type = "text/plain; charset=utf-8",
            .headers = "Retry-After: 10\r\n",
            .body = "So many have the page open that there is no room for one more.\n"};
        ret->size = strlen(ret->body);
        return;
    }
    *ret = (struct http_answer){.status = 200, .type = "text/event-stream", .stream = true};
    web->answer = collect_event(web, &ret->size);
    ret->body = web->answer;
    if (request->method == HTTP_GET && !event_pending(web->push, EV_TIMEOUT, NULL))
        event_add(web->push, &every);
}

static void answer_metrics(struct web *web, const struct http_request *request, struct http_answer *ret)
{
    struct snapshot s = {.at = snapshot_now()};
    bool older = !openmetrics_is_accepted(request->accept);

    web->collect(web->arg, &s);
    *ret = (struct http_answer){.status = 200, .type = openmetrics_type(older)};
    web->answer = metrics_text(&s, older, &ret->size);
    ret->body = web->answer;
    snapshot_done(&s);
}

static void answer(void *arg, const struct http_request *request, struct http_answer *ret_answer)
{
    struct web *web = arg;

    free(web->answer);
    web->answer = NULL;
    if (strcmp(request->path, "/") == 0)
        *ret_answer = (struct http_answer){.status = 200,
            .type = "text/html; charset=utf-8",
            .headers = page_headers,
            .body = page,
            .size = page_size};
    else if (strcmp(request->path, "/events") == 0)
        answer_events(web, request, ret_answer);
    else if (strcmp(request->path, "/metrics") == 0)
        answer_metrics(web, request, ret_answer);
    else {
        *ret_answer = (struct http_answer){.status = 404,
            .type = "text/plain; charset=utf-8",
            .body = "There is /, /events and /metrics.\n"};
        ret_answer->size = strlen(ret_answer->body);
    }
}

struct web *web_open(struct event_base *base, const struct listen_address *address,
    void (*collect)(void *arg, struct snapshot *snapshot), void *arg, char **ret_error)
{
    struct web *web = must(calloc(1, sizeof(*web)));

    web->collect = collect;
    web->arg = arg;
    web->push = must(event_new(base, -1, EV_PERSIST, on_push, web));
    web->http = http_open(base, address, answer, web, ret_error);
    return web->http ? web : web_close(web);
}

struct web *web_close(struct web *web)
{
    if (!web)
        return NULL;
    http_close(web->http);
    event_free(web->push);
    free(web->answer);
    free(web);
    return NULL;
}
