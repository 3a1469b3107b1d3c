/*
 * inside.h: what worker.c, act.c and answer.c share of a worker. Nobody else includes it.
 *
 * act.c does what the runner's action says; answer.c tells the runner what came of it, which says the next; worker.c is what others see
 * and want of it.
 */
#pragma once

#include "work/doubt.h"
#include "work/hand.h"
#include "work/range.h"
#include "work/report.h"
#include "work/step.h"
#include "work/survey.h"
#include "work/worker.h"
#include "base/control.h"
#include "run/runner.h"
#include "watch/throttle.h"

#include <event2/event.h>

struct worker {
    struct worker_setup setup;
    struct job *job;
    struct runner runner;
    struct throttle throttle;
    struct runner_action action; /* under way */
    uint64_t acts_since_us;
    uint64_t concludes_since_us; /* its end, or that it goes back, is to be written; 0: it isn't */
    bool told_at_length; /* that this one takes long */
    struct hand hand;
    struct step step;     /* of STEP */
    struct survey survey;
    char *planned;      /* when the control session began on which the relations were laid out last */
    struct range range; /* or row, in hand */
    char *no_room;  /* what the runner is told of the disk */
    bool ended, failed;
    bool was_ours;       /* it ended by writing how; else another daemon has it */
    struct event *timer; /* the end of a rest, or something that must be reported from the loop */
    struct event *tick;
    struct event *hours;         /* the end of the job's active hours */
    uint64_t hours_end_us;       /* 0: none */
    char *given_back;            /* why the job goes back to the queue, when its hours ended */
    double share;                /* of the database's max_rows_per_s; 0: no limit */
    int walkers;                 /* of the job, this one included */
    bool asking_walkers;         /* how many there are */
    struct runner_event pending; /* what the timer reports */

    char *met;     /* what was said of the lock that a batch met, where that is more than that it waited in vain; NULL: nothing */
    char *holders; /* of the rows that were tried again last and are locked still: "locked by pid 4711 (app)" */
    char *locked;  /* what the job waits for, when those are all that is left */
    bool relieves; /* an abort is for somebody who waits on the batch */
    bool cuts_step; /* the last abort was of a step */

    char *shown_waiting; /* what job.waiting_for says, or will when the request is answered */
    bool retell;         /* the server may have lost it */
    bool telling;        /* that is being written; never two at once, nor any while the server is away */
    uint64_t told_us, tell_every_us;
    bool asking_progress; /* of a step */
    bool untangling;      /* it is asked who waits for a build that waits for them */
    int too_slow;         /* answers in a row that the control session didn't get in time */
    uint64_t asked_us;    /* when it was last asked */

    struct doubt doubt; /* about an error */
    struct report report;
};

/* So many walk for the job, this one included: its speed is divided. */
void worker_walkers(struct worker *w, int walkers);

/* Begins what an action says. What it asks ends in answer_control or answer_session; a rest, in act_on_timer. */
void act_perform(struct worker *w, const struct runner_action *a);

/* The end of a rest, or something that must be reported from the loop: w->pending. */
void act_on_timer(evutil_socket_t socket, short what, void *arg);

/* Sends one statement on the job's session. */
void act_send_one(struct worker *w, struct session_query query);

/* Asks the control session; answer gets w. */
void act_ask(struct worker *w, const struct session_query *query, control_answer *answer);

/* The limits of the session that an action wants. */
enum hand_limits act_limits(const struct worker *w, const struct runner_action *a);

/* Who has locked the rows that were put aside is said when their names are known, or at_once without them. */
void act_name_holders(struct worker *w, bool at_once);

/* Tells the runner what came, and begins what it says then. */
void answer_feed(struct worker *w, const struct runner_event *e);

/* The control session has answered. */
void answer_control(void *arg, const struct session_event *e);

/* The job's session has connected or answered. */
void answer_session(struct session *session, const struct session_event *e, void *arg);

/* What an error means is known: struct doubt. */
void answer_settled(void *arg, const struct runner_event *event);
void answer_roles_changed(void *arg);
