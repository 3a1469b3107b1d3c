/* A job's session at the server: it logs in as the job's role, is held to the limits of what it does next (a batch is short, a step may take its
 * time), is cut short when somebody waits on it, and ended when it doesn't obey. What it does, and what came of it, its worker knows. */
#pragma once

#include "base/config.h"
#include "base/control.h"
#include "job/job.h"
#include "watch/monitor.h"
#include "base/session.h"

#include <stdbool.h>
#include <stdint.h>

/* What a session's statements are held to. */
enum hand_limits {
    HAND_BATCH, /* short */
    HAND_STEP,  /* it may take its time, but waits for a lock no longer than others may wait on it */
    HAND_APART, /* nor does it mind to wait: what builds an index concurrently waits for transactions, nobody for it */
};

struct hand {
    struct event_base *base;
    struct control *control;
    struct monitor *monitor; /* by whose session a cancel goes first: the control session may be busy for seconds */
    const struct config_batch *batch; /* may be another from one call to the next */
    struct session *session;          /* NULL: none */
    bool gone;                        /* it was lost, perhaps while its worker waited for something else */
    int pid;                          /* of the session, also when that is gone; 0: there was none */
    enum hand_limits limits;
    uint32_t lock_ms;     /* its lock_timeout */
    uint32_t limiting_ms; /* and what that is being changed to */
    bool limiting;        /* that is being changed; then comes the action */
    bool cut_short;        /* the action under way is to be given up, also when a part of it was quicker */
    uint64_t cut_short_us; /* since when, or when its session was last told to end; 0: it isn't */
};

/* A new session, connecting; an open one is closed first. */
void hand_connect(struct hand *h, const struct job *job, session_handler *handler, void *arg);

/* It has connected: logs in as the job's role, and begins. */
void hand_log_in(struct hand *h, const struct job *job);

/* Sends up to SESSION_MAX_QUERIES. False: the session is gone, and nobody will answer. */
bool hand_send(struct hand *h, const struct session_query *queries, int n);

/* Whether its limits have to be changed first: then that is under way (*ret_sent, as hand_send), and the action comes after it. */
bool hand_limit_first(struct hand *h, enum hand_limits wanted, uint32_t lock_ms, bool *ret_sent);

/* The answer to that. */
void hand_limited(struct hand *h, enum hand_limits now);

/* An action begins. */
void hand_begin(struct hand *h);

/* Cuts what is under way short. relieved: NULL, or who is told whether somebody was waiting for relieve_ms or longer, in which case alone it is
 * cut short. False: it was connecting, and is closed. */
bool hand_abort(struct hand *h, bool connecting, control_answer *relieved, int64_t relieve_ms, void *arg);

/* A cancel by the control session was refused: pg_signal_backend may not cancel a superuser's batch. */
void hand_cancel_aside(const struct hand *h);

/* Now and then, while something of the session is under way: what doesn't obey is ended. */
void hand_look(struct hand *h, uint64_t now_us);

/* Its work would go on, for nobody, and hold its locks. */
void hand_terminate(struct hand *h);

/* The control session is at another server by now: what is under way here is for nobody. True: something was, and is lost. */
bool hand_follow(struct hand *h);

/* Whatever it is at, nobody waits for the answer. */
void hand_close(struct hand *h);
