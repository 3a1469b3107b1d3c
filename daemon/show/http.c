#include "show/http.h"
#include "base/clock.h"
#include "mem.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_CONNECTIONS 32
#define MAX_STREAMS     8
#define HEAD_MAX        8192
#define SEND_BUFFER     65536    /* of the kernel, for each connection: what waits there is memory too */
#define HEAD_US         5000000  /* to send a head */
#define ANSWER_US       10000000 /* to take the answer */
#define CROWDED_US        200000 /* for a head, and to close, while all places are taken */
#define CROWDED_ANSWER_US 1000000
#define LINGER_US       1000000 /* to close after it; closed at once, a peer that still sends would lose it */
#define MISSED_MAX      10      /* pushes that a stream may go without, one after another */
#define ACCEPT_AGAIN_US 1000000 /* when there is no file descriptor left */

/* What a careful site sends with everything. The page has a policy of its own in addition. */
static const char always[] = "Cache-Control: no-store\r\n"
                             "X-Content-Type-Options: nosniff\r\n"
                             "X-Frame-Options: DENY\r\n"
                             "Referrer-Policy: no-referrer\r\n"
                             "Cross-Origin-Resource-Policy: same-origin\r\n"
                             "Cross-Origin-Opener-Policy: same-origin\r\n"
                             "Connection: close\r\n";
static const char no_content[] = "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n";

enum connection_state {
    CONNECTION_HEAD,
    CONNECTION_ANSWER,
    CONNECTION_LINGER,
    CONNECTION_STREAM,
};

struct connection {
    struct http *http;
    struct connection *next;
    enum connection_state state;
    struct bufferevent *peer;
    struct event *deadline;
    uint64_t entered_us; /* the state, now */
    int missed; /* STREAM: pushes, since the last that it took */
};

struct http {
    struct event_base *base;
    struct listen_address address;
    struct stat socket; /* the UNIX socket's file */
    struct evconnlistener *listener;
    struct event *accept_again;
    http_handler *handler;
    void *arg;
    int n_connections, n_streams;
    struct connection *connections;
};

static void disconnect(struct connection *c)
{
    struct http *http = c->http;
    struct connection **at = &http->connections;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    http->n_streams -= c->state == CONNECTION_STREAM;
    if (http->n_connections-- == MAX_CONNECTIONS)
        evconnlistener_enable(http->listener);
    bufferevent_free(c->peer);
    event_free(c->deadline);
    free(c);
}

static bool is_crowded(const struct http *http)
{
    return http->n_connections >= MAX_CONNECTIONS;
}

/* How long a connection still has. While others wait for its place it has less time: whoever is there first keeps nobody out
 * by sending half a request, or by not closing. */
static uint64_t left_us(const struct connection *c)
{
    static const uint64_t within_us[][2] = {
        [CONNECTION_HEAD] = {HEAD_US, CROWDED_US},
        [CONNECTION_ANSWER] = {ANSWER_US, CROWDED_ANSWER_US},
        [CONNECTION_LINGER] = {LINGER_US, CROWDED_US},
    };
    uint64_t at = c->entered_us + within_us[c->state][is_crowded(c->http)], now = now_us();

    return at > now ? at - now : 0;
}

static void set_deadline(struct connection *c)
{
    if (c->state == CONNECTION_STREAM) {
        event_del(c->deadline);
        return;
    }
    struct timeval deadline = us_to_timeval(left_us(c));
    event_add(c->deadline, &deadline);
}

static void enter(struct connection *c, enum connection_state state)
{
    c->state = state;
    c->entered_us = now_us();
    c->http->n_streams += state == CONNECTION_STREAM;
    set_deadline(c);
}

static void answer(struct connection *c, const struct http_answer *a, bool with_body)
{
    struct evbuffer *out = bufferevent_get_output(c->peer);

    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n%s%s", a->status, http_reason(a->status), always,
        a->headers ? a->headers : no_content);
    evbuffer_add_printf(out, "Content-Type: %s\r\n", a->type);
    if (!a->stream)
        evbuffer_add_printf(out, "Content-Length: %zu\r\n", a->size);
    evbuffer_add(out, "\r\n", 2);
    if (with_body)
        evbuffer_add(out, a->body, a->size);
    enter(c, a->stream && with_body ? CONNECTION_STREAM : CONNECTION_ANSWER);
}

static void refuse(struct connection *c, int status, const char *headers, const char *why, bool with_body)
{
    answer(c,
        &(struct http_answer){.status = status,
            .type = "text/plain; charset=utf-8",
            .headers = headers,
            .body = why,
            .size = strlen(why)},
        with_body);
}

/* Another site's page may link to ours, and that is all. Browsers say so; others send no such header. */
static bool is_strangers(const struct http_request *request)
{
    const char *site = request->fetch_site;
    return site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0 &&
           strcmp(request->path, "/") != 0;
}

static void on_head(struct connection *c, char *head, size_t n)
{
    struct http *http = c->http;
    struct http_request request;
    struct http_answer a = {0};
    int status = http_parse(head, n, &request);

    if (status) {
        refuse(c, status, NULL, "This is no request that can be answered here.\n", true);
        return;
    }
    bool with_body = request.method != HTTP_HEAD;
    /* Who may connect to a UNIX socket is its permissions' affair, and no browser does. */
    if (!listen_is_unix(&http->address) && !listen_is_host(request.host))
        refuse(c, 421, NULL, "This is served to localhost only: name it so.\n", with_body);
    else if (request.method == HTTP_OTHER)
        refuse(c, 405, "Allow: GET, HEAD\r\n", "There is nothing here but to look at.\n", true);
    else if (is_strangers(&request))
        refuse(c, 403, NULL, "Another site's pages may not read this.\n", with_body);
    else {
        http->handler(http->arg, &request, &a);
        answer(c, &a, with_body);
    }
}

static void on_readable(struct bufferevent *peer, void *arg)
{
    struct connection *c = arg;
    struct evbuffer *in = bufferevent_get_input(peer);
    size_t size = evbuffer_get_length(in);

    if (c->state != CONNECTION_HEAD) { /* whatever comes after the head is nobody's concern */
        evbuffer_drain(in, size);
        return;
    }
    char *text = (char *)evbuffer_pullup(in, -1);
    size_t n = http_head_length(text, size);
    if (n > 0 && n <= HEAD_MAX) {
        char head[HEAD_MAX + 1];
        memcpy(head, text, n);
        evbuffer_drain(in, size);
        on_head(c, head, n);
    } else if (size >= HEAD_MAX) {
        evbuffer_drain(in, size);
        refuse(c, 431, NULL, "So many headers are not read here.\n", true);
    }
}

/* All that there was to send is with the kernel. */
static void on_sent(struct bufferevent *peer, void *arg)
{
    struct connection *c = arg;

    if (c->state == CONNECTION_ANSWER) {
        shutdown(bufferevent_getfd(peer), SHUT_WR);
        enter(c, CONNECTION_LINGER);
    }
}

static void on_peer(struct bufferevent *peer, short what, void *arg)
{
    struct connection *c = arg;
    (void)peer;

    /* A peer that has said all it has to say may still listen. */
    if ((what & BEV_EVENT_EOF) && c->state == CONNECTION_ANSWER)
        return;
    disconnect(c);
}

static void on_deadline(evutil_socket_t socket, short what, void *arg)
{
    struct connection *c = arg;
    (void)socket;
    (void)what;

    if (left_us(c) > 0) /* nobody waits for its place any more */
        set_deadline(c);
    else if (c->state == CONNECTION_HEAD && !is_crowded(c->http))
        refuse(c, 408, NULL, "The request did not come in time.\n", true);
    else
        disconnect(c);
}

static void on_accept(
    struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int length, void *arg)
{
    struct http *http = arg;
    int size = SEND_BUFFER;
    (void)from;
    (void)length;

    struct connection *c = must(calloc(1, sizeof(*c)));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    c->http = http;
    c->peer = must(bufferevent_socket_new(http->base, fd, BEV_OPT_CLOSE_ON_FREE));
    c->deadline = must(event_new(http->base, -1, 0, on_deadline, c));
    c->next = http->connections;
    http->connections = c;
    http->n_connections++;
    bufferevent_setcb(c->peer, on_readable, on_sent, on_peer, c);
    bufferevent_setwatermark(c->peer, EV_READ, 0, HEAD_MAX);
    bufferevent_enable(c->peer, EV_READ | EV_WRITE);
    enter(c, CONNECTION_HEAD);
    if (is_crowded(http)) { /* the kernel keeps the next ones waiting */
        evconnlistener_disable(listener);
        for (c = http->connections; c; c = c->next)
            set_deadline(c);
    }
}

static void on_accept_failed(struct evconnlistener *listener, void *arg)
{
    struct http *http = arg;
    struct timeval wait = us_to_timeval(ACCEPT_AGAIN_US);

    evconnlistener_disable(listener); /* else the loop would turn for nothing else */
    event_add(http->accept_again, &wait);
}

static void on_accept_again(evutil_socket_t socket, short what, void *arg)
{
    struct http *http = arg;
    (void)socket;
    (void)what;
    if (!is_crowded(http))
        evconnlistener_enable(http->listener);
}

/* ---- Listening
 * --------------------------------------------------------------------------------------------------------- */

/* A socket's file that nobody listens to is what a daemon left behind that was killed. */
static bool is_left_over(const struct listen_address *address)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused = stat(address->at.un.sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && fd >= 0 &&
                   connect(fd, &address->at.any, address->length) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

static int bind_to(const struct listen_address *address)
{
    int one = 1, fd = socket(address->at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0117); /* the owner's and the group's */

    if (fd >= 0 &&
        !listen_is_unix(address)) /* else a restart would wait for old connections to be forgotten */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd >= 0 && (bind(fd, &address->at.any, address->length) != 0 || listen(fd, MAX_CONNECTIONS) != 0)) {
        int error = errno;
        close(fd);
        errno = error;
        fd = -1;
    }
    umask(mask);
    return fd;
}

/* Returns a socket that listens, or -1 with errno. */
static int listen_to(const struct listen_address *address)
{
    int fd = bind_to(address);

    if (fd >= 0 || errno != EADDRINUSE || !listen_is_unix(address))
        return fd;
    if (!is_left_over(address)) {
        errno = EADDRINUSE;
        return -1;
    }
    unlink(address->at.un.sun_path);
    return bind_to(address);
}

struct http *http_open(struct event_base *base, const struct listen_address *address, http_handler *handler,
    void *arg, char **ret_error)
{
    int fd = listen_to(address);

    if (fd < 0) {
        *ret_error = copy_string(strerror(errno));
        return NULL;
    }
    struct http *http = must(calloc(1, sizeof(*http)));
    http->base = base;
    http->address = *address;
    http->handler = handler;
    http->arg = arg;
    if (listen_is_unix(address))
        (void)!stat(address->at.un.sun_path, &http->socket);
    http->listener =
        must(evconnlistener_new(base, on_accept, http, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd));
    evconnlistener_set_error_cb(http->listener, on_accept_failed);
    http->accept_again = must(event_new(base, -1, 0, on_accept_again, http));
    return http;
}

/* Its file, if it is still ours. */
static void remove_file(const struct listen_address *address, const struct stat *ours)
{
    struct stat st;

    if (listen_is_unix(address) && stat(address->at.un.sun_path, &st) == 0 && st.st_ino == ours->st_ino &&
        st.st_dev == ours->st_dev)
        unlink(address->at.un.sun_path);
}

char *http_try(const struct listen_address *address)
{
    struct stat st = {0};
    int fd = listen_to(address);

    if (fd < 0)
        return copy_string(strerror(errno));
    if (listen_is_unix(address) && stat(address->at.un.sun_path, &st) == 0)
        remove_file(address, &st);
    close(fd);
    return NULL;
}

bool http_is_backfilld(const struct listen_address *address)
{
    static const char question[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const struct timeval patience = {.tv_sec = 1};
    char answer[4096] = "";
    size_t n = 0;
    int fd = socket(address->at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
        connect(fd, &address->at.any, address->length) == 0 && send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(question) - 1)
        while (n < sizeof(answer) - 1) {
            ssize_t more = recv(fd, answer + n, sizeof(answer) - 1 - n, 0);
            if (more <= 0)
                break;
            n += (size_t)more;
            answer[n] = '\0';
            if (strstr(answer, "\n# TYPE backfilld_"))
                break;
        }
    close(fd);
    return strstr(answer, "\n# TYPE backfilld_") != NULL;
}

int http_n_streams(const struct http *http)
{
    return http->n_streams;
}

bool http_has_room_for_stream(const struct http *http)
{
    return http->n_streams < MAX_STREAMS;
}

void http_push(struct http *http, const char *text, size_t size)
{
    struct connection *next;

    for (struct connection *c = http->connections; c; c = next) {
        next = c->next;
        if (c->state != CONNECTION_STREAM)
            continue;
        if (evbuffer_get_length(bufferevent_get_output(c->peer)) == 0) {
            c->missed = 0;
            bufferevent_write(c->peer, text, size);
        } else if (++c->missed > MISSED_MAX)
            disconnect(c);
    }
}

struct http *http_close(struct http *http)
{
    if (!http)
        return NULL;
    while (http->connections)
        disconnect(http->connections);
    evconnlistener_free(http->listener);
    event_free(http->accept_again);
    remove_file(&http->address, &http->socket);
    free(http);
    return NULL;
}
