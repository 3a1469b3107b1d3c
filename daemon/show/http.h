/* A small HTTP server for those who look on: GET and HEAD, an answer at once, then the connection is closed; or a stream, to
 * which is pushed. It is libevent's sockets and buffers, and not its evhttp: that has no bound on connections, its timeout begins
 * anew with each byte, and it reads on without end while it answers.
 *
 *   accepted ─► HEAD ─► ANSWER ─► LINGER (the peer is let read it) ─► closed
 *                 └───► STREAM ─► closed, when the peer is gone or doesn't read
 *
 * Bounded are: connections and streams, the size of a head, the time for each state, what waits to be sent (one answer, or one
 * push). Whoever is slow is left behind; nothing ever waits for a client. */
#pragma once

#include "text/http_request.h"
#include "text/listen.h"

#include <event2/event.h>

struct http;

/* What to answer. body is copied. */
struct http_answer {
    int status; /* 200 or one of http_reason's */
    const char *type;
    const char *headers; /* more of them, each with its "\r\n"; or NULL */
    const char *body;
    size_t size;
    bool stream; /* the body is the first push */
};

/* Its head is well formed, its host is ours and its method is GET or HEAD. Must set *ret_answer; what that points to must live
 * until the next call. */
typedef void http_handler(void *arg, const struct http_request *request, struct http_answer *ret_answer);

/* Listens. On failure returns NULL and sets *ret_error (the reason), which the caller frees. */
struct http *http_open(struct event_base *base, const struct listen_address *address, http_handler *handler,
    void *arg, char **ret_error);

/* Whether it could be listened to: the same, without a server. Returns NULL, or why not, which the caller frees. */
char *http_try(const struct listen_address *address);

/* Whether a backfilld serves its metrics there. Waits for two seconds at most: for a process that has no event loop yet. */
bool http_is_backfilld(const struct listen_address *address);

int http_n_streams(const struct http *http);
bool http_has_room_for_stream(const struct http *http);

/* To all streams; one that has not taken the last push goes without this one, and after a few it is closed. */
void http_push(struct http *http, const char *text, size_t size);

/* Ends all connections. Takes NULL; returns NULL. */
struct http *http_close(struct http *http);
