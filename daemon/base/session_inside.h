/* The inside of a session, for the two files that it is made of: session.c (one that is open) and opening.c (until it is). */
#pragma once

#include "base/receive.h"
#include "base/session.h"

enum session_state {
    STATE_CONNECTING,
    STATE_TRIAL, /* see try_pooler */
    STATE_IDLE,
    STATE_BUSY,
    STATE_CLOSED,
};

/* What the statement under way is for. */
enum session_opening {
    OPENING_PIN,   /* SQL_PIN */
    OPENING_TRIAL, /* SQL_TRIAL */
    OPENING_DONE,  /* the session is open: its owner's */
};

struct session {
    enum session_state state;
    enum session_opening opening;
    char *conninfo, *user, *application_name;
    const char *settings;
    uint32_t timeout_ms;

    char *hosts, *hostaddrs, *ports; /* of conninfo's hosts those that are left to try; NULL: all, or not given */
    char *tried;                     /* what became of those before, in libpq's words; NULL: nothing */
    bool reaching;                   /* an address has been asked, and has not answered yet */
    bool unanswered;                 /* one took no connection in time */
    bool ended_idle;                 /* the server, or a pooler for it, has said so in the trial */
    bool proven;                     /* a pooler is between, and this login has a session there */
    int pid;
    char *server, *wanted_server; /* which it is at, and which it is to be at: place.server */

    PGconn *conn;
    struct event_base *base;
    struct event *socket_event; /* of the socket as it is now: libpq changes it while it connects */
    struct event *deadline;
    int socket;
    short waits_for;

    int n_sent, n_done; /* statements, and those whose commit was answered */
    PGresult *results[SESSION_MAX_QUERIES];
    uint64_t sent_us, elapsed_us[SESSION_MAX_QUERIES];
    struct kept {
        const char *sql;
        bool prepared;
    } kept[SESSION_MAX_KEPT];
    struct kept *preparing[SESSION_MAX_QUERIES]; /* of a statement under way, until it is prepared */
    bool doubted;       /* an error came: what is prepared may be another's by now, who raised it after that. Sent as they are, ours look (check_prepared) */
    bool sends_kept;    /* one of those is under way */
    uint64_t serial;    /* in their names: what a job runs in its session can't know them beforehand */
    size_t max_answer;
    struct receive_budget budget; /* of the answer under way */

    session_handler *handler;
    session_notify_handler *notify_handler;
    void *arg;
};

/* session.c */
void session_clear_results(struct session *s);
void session_wait_for(struct session *s, short what);
void session_disconnect(struct session *s);
void session_report_lost(struct session *s, enum session_event_kind kind, const char *message);
void session_report_too_large(struct session *s, enum session_event_kind kind);
bool session_consume_input(struct session *s);
PostgresPollingStatusType session_poll_connection(struct session *s);
bool session_is_error(const PGresult *result);
/* What libpq makes a notice of and holds no more counts as not read. */
void session_give_back(struct session *s, size_t bytes);

/* opening.c */
/* Begins with the hosts that are left. */
void opening_begin(struct session *s);
/* The socket has something, or takes something, while it connects or a pooler is tried. */
void opening_on_socket(struct session *s);
/* Nothing has come in time. */
void opening_on_deadline(struct session *s);
/* The answer to a statement of the session's own. */
void opening_on_results(struct session *s);
