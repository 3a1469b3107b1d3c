/* A session with a PostgreSQL server. All of libpq and libevent's sockets is in session.c; out come five
 * events. A session knows nothing of jobs.
 *
 *   connecting ── SESSION_CONNECTED ──► idle ── session_send ──► busy ── SESSION_RESULT or SESSION_ERROR ──►
 * idle └─ SESSION_CONNECT_FAILED ──► closed  ◄── SESSION_ERROR with lost, SESSION_TIMED_OUT ──┘
 *
 * One thing at a time: session_send on a session that isn't idle is a bug and ends the process. The handler
 * is never called from within session_open, session_send or session_close; it may call any of them. */
#pragma once

#include "base/hosts.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#define SESSION_MAX_QUERIES 3
#define SESSION_MAX_PARAMS  19
#define SESSION_MAX_KEPT    4

/* What may come as the answer to a statement, rows and error together. A worker's session runs what its user likes, which may answer
 * with a gigabyte, or fail with as much: libpq holds an error some seven times. Nor does anything that is asked there need more than some
 * keys, of which an index takes few kB. Above it the session is closed: SESSION_ERROR, lost, SQLSTATE_TOO_LARGE. */
#define SESSION_MAX_ANSWER (1024 * 1024)

/* One statement. Parameters are text, NULL is NULL; they need to live only until session_send returns. */
struct session_query {
    const char *sql;
    int n_params;
    const char *params[SESSION_MAX_PARAMS];
};

/* A number as a parameter: returns buffer. */
const char *number_text(char buffer[24], int64_t n);

enum session_event_kind {
    SESSION_CONNECTED,
    SESSION_CONNECT_FAILED, /* closed: sqlstate, message; not lost: it answers, but is no session that can be used */
    SESSION_RESULT,    /* every statement succeeded */
    SESSION_ERROR,     /* one failed: sqlstate, message, ...; lost: the session is closed */
    SESSION_TIMED_OUT, /* no answer by the deadline: closed, and what was sent may or may not have been done
                        */
};

struct session_event {
    enum session_event_kind kind;
    bool lost;
    const char *sqlstate; /* never NULL with an error */
    const char *message, *hint, *detail; /* one line each, of TEXT_MESSAGE bytes at most (lib/text/text) */
    bool of_job;  /* ERROR: it says that it is of a job's column (backfill.refuse): what its message quotes is a name, or the job's own text */
    bool in_text; /* ERROR: the server's parser found it in a statement's text: what the message quotes is a name there, and no value */
    const char *raised_by; /* the function of the server's source that found it, the same in every language; may be NULL */
    const char *context; /* through which functions the server came to the error; may be NULL */
    const char *key; /* the detail as it came, of SQLSTATE_UNPROVEN alone, where it is a key */
    PGresult *const *results;                       /* owned by the session, gone when the handler returns */
    const uint64_t *elapsed_us;                     /* from sending to each statement's commit */
};

struct session;
typedef void session_handler(struct session *session, const struct session_event *event, void *arg);
typedef void session_notify_handler(struct session *session, int from_pid, void *arg);

/* Where a database is. Of conninfo's hosts several may take writes, a primary of yesterday that has come back among them, and one address may lead to
 * several servers: all sessions go where the control session is. */
struct place {
    const char *conninfo;
    struct hosts at; /* in place of conninfo's hosts: the one that the control session has got to; all NULL: any of them */
    char *server;    /* that server, by when it began; NULL: not known */
};

/* Starts to connect to a place, as a user (NULL: conninfo's), for a primary only: the hosts are tried in turn, each for
 * timeout_ms at most. The place may change or go meanwhile; it counts as it is now. Another server than the place's is no session. It is connected when all is pinned that our statements, their texts and their values depend on (SQL_PIN), and
 * settings besides: JSON that lives on, or NULL. A pooler that isn't in session mode is refused. Never NULL: what fails, fails by event.
 * Close it with session_close, also after it failed. Names of hosts are looked up by libpq, which blocks: use sockets, addresses or
 * /etc/hosts. */
struct session *session_open(struct event_base *base, const struct place *place, const char *user, const char *application_name,
    const char *settings, uint32_t timeout_ms, session_handler *handler, void *arg);

/* This statement comes often: it is prepared at its first time. Known by the text's address, so that must live as long as the
 * session. SESSION_MAX_KEPT at most. Its name at the server begins with SESSION_KEPT. */
#define SESSION_KEPT "kept "
void session_keep(struct session *session, const char *sql);

/* So many bytes may an answer have, in place of SESSION_MAX_ANSWER. */
void session_limit(struct session *session, size_t max_answer);

/* Sends up to SESSION_MAX_QUERIES statements in one round trip, each a transaction of its own. */
void session_send(struct session *session, const struct session_query *queries, int n_queries, uint32_t timeout_ms);

/* Called for each NOTIFY that arrives, with the pid of the session that sent it. It may neither send nor
 * close. */
void session_on_notify(struct session *session, session_notify_handler *handler);

bool session_is_idle(const struct session *session);
int session_pid(const struct session *session);       /* of the server's process; 0 when closed */
/* Which host it has got to, and which server that is (place.server), once it is connected. The caller calls hosts_done. */
struct hosts session_reached(const struct session *session);
const char *session_server(const struct session *session);
/* Whether it is at another server than the place by now. */
bool session_is_elsewhere(const struct session *session, const struct place *place);
bool session_is_local(const struct session *session); /* over a Unix socket: the server is on this host */

/* Asks the server to cancel what the session runs, from a process of its own, for libpq's call blocks. For
 * when no other session has the right to pg_cancel_backend. */
void session_cancel_aside(const struct session *session);

/* Ends it at once, whatever is under way, and frees it. Takes NULL; returns NULL. */
struct session *session_close(struct session *session);

/* As session_open, but waits, and gives the connection away: for what has no event loop (--check, --install). NULL: *ret_problem says
 * why, in one line, *ret_hint what to do about it, or NULL. The caller frees both, and finishes the connection. */
PGconn *session_connect(const char *conninfo, const char *user, const char *application_name, const char *settings,
    uint32_t timeout_ms, char **ret_problem, char **ret_hint);
