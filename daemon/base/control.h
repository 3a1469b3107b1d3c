/* The control session of one database: the daemon's own role, for reading and writing the control schema. It
 * touches no table of a user. It connects again whenever it is lost, and then sends what was not answered
 * once more: every statement that it is asked to send may be sent twice.
 *
 *   CONNECTING ─► HELLO ─► INSTALLED ─► SETTINGS ─► LISTEN ─► READY      any of them ─► WAITING ─► CONNECTING
 */
#pragma once

#include "base/request.h"
#include "base/session.h"

struct control;

struct control_handlers {
    void (*ready)(void *arg); /* connected; requests asked first now go before those that wait */
    void (*lost)(void *arg, const char *message); /* or not even connected; it goes on trying */
    void (*unusable)(
        void *arg, const char *message, const char *hint); /* reached, but this can't work; tries again too */
    void (*notified)(void *arg);                           /* another session wrote to backfill.job */
};

/* Never lost. */
typedef request_answer control_answer;

/* conninfo and handlers must outlive it. */
struct control *control_open(
    struct event_base *base, const char *conninfo, const struct control_handlers *handlers, void *arg);

/* Queues a statement; parameters are copied. control_ask_first puts it before all others. payer: the login whose it is, which waits after it has had the session for long, while another
 * one's were there; NULL: nobody's, which doesn't count. Copied. */
void control_ask(
    struct control *control, const struct session_query *query, control_answer *answer, void *arg, const char *payer);
void control_ask_first(
    struct control *control, const struct session_query *query, control_answer *answer, void *arg);

/* From now on nobody waits for others, and no statement is waited for longer than a second or two. */
void control_hurry(struct control *control);

/* Requests of that arg are sent all the same, but nobody is told. */
void control_forget(struct control *control, const void *arg);

/* Where the database's sessions go: while this one is ready, where it is. Lives as long as control; what it holds changes. */
const struct place *control_place(const struct control *control);

bool control_is_ready(const struct control *control);

/* When the session that is ready began, as text: whose it was is known by that after it was lost. */
const char *control_start(const struct control *control);

/* Which session was ready before this one, pid and backend_start as text: it held this daemon's jobs. NULL: none was. */
const char *control_old_pid(const struct control *control);
const char *control_old_start(const struct control *control);

/* Takes NULL; returns NULL. */
struct control *control_close(struct control *control);
