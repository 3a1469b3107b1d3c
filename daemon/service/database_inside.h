/* What a served database is made of: its own part (database.c), the workers that run in it (workers.c), and how it comes to them (claims.c). */
#pragma once

#include "base/control.h"
#include "service/database.h"
#include "watch/monitor.h"
#include "work/worker.h"

#define LOOK_AGAIN_US     100000  /* while another daemon holds jobs: is it still there? Soon at first, */
#define LOOK_AGAIN_CAP_US 2000000 /* then less and less often */
#define REASONS_SAID      8 /* hosts of a conninfo may have one each, and say them in turn */

struct database {
    struct event_base *base;
    char *name, *conninfo;
    int max_workers;
    int max_rows_per_s;
    const struct config_batch *batch;
    const struct config_throttle *throttle;
    void (*changed)(void *arg);
    void *arg;

    struct control *control;
    struct monitor *monitor; /* open while a job runs */
    struct event *turn;      /* decides, at the end of a turn of the loop */
    struct retention *retention;
    struct aftercare *aftercare;
    struct event *keep_alive;
    struct event *giving_up; /* of a drain, while it isn't connected */
    struct event *look_again;
    uint64_t look_again_us;
    struct event *help_again; /* after a while, one may be offered to a job again */
    uint64_t help_pause_us;   /* how long that is; 0: at once */
    struct event *opening; /* the hours of a queued job begin */
    struct event *holding; /* jobs whose rows somebody had locked are to be held again, */
    char *held_by_pid, *held_by_start; /* that bear this session of ours, which was lost */

    int n_workers;
    struct worker **workers; /* up to max_workers; more while that is being lowered, and for newcomers: may_take_newcomer */

    bool look_for_jobs;   /* there may be one to claim */
    bool look_for_share;  /* all places are taken, and a login that has none, a newcomer, may queue */
    bool look_for_help;   /* a job may have room for one of the places that are free, */
    bool others_may;      /* and when it was last looked one was to have several workers */
    bool look_for_wishes; /* somebody may want something of a running one */
    bool asking;          /* a claim or a look is under way */
    bool is_lost;
    char *said_unclaimed;     /* why no job can be claimed, as the journal was told; NULL: one can */
    char *said_unhelped;      /* the same of help for one that runs */
    char *lost_for;           /* why, the last time that it was tried */
    char *said[REASONS_SAID]; /* why, as the journal was told since it is */
    int n_said;
    uint64_t opened_us;
    bool drain, stopping, stopped, drained, hopeless, failed, said_unfinished;

    uint64_t n_ended[_JOB_STATE_MAX];
    struct ended_jobs *ended; /* NULL: nobody looks on */
};

/* It decides what is next, at the end of a turn of the loop. */
void database_turn_soon(struct database *db);

/* ---- Its workers (workers.c) */

/* The one that holds a job; NULL: none here does. */
struct worker *workers_find(const struct database *db, int64_t job);

/* The ids of the jobs of those workers (NULL: of all) as an array literal; NULL when there are none. The caller frees. */
char *workers_jobs(const struct database *db, bool (*which)(const struct worker *));
char *workers_all(void *arg); /* a struct database */

/* Of the jobs that are held here. */
char *workers_running(const struct database *db);

/* A worker for the job in a claim's row; or, where that runs here already, its new claim. */
void workers_start(struct database *db, const PGresult *row);

/* The jobs that run here share the database's speed evenly. */
void workers_share_rate(struct database *db);

/* Those that have ended go. */
void workers_reap(struct database *db);

/* The server's clock counts, so it is asked; if it can't be, hours that should be over are over. */
void workers_end_hours_unasked(struct database *db);

/* What people want of the jobs that run here: the rows of SQL_WANTED. */
void workers_heed(struct database *db, const PGresult *wanted);

/* ---- Claims (claims.c) */

/* Asks for what is next: a job, a place to help, a place for others, the end of a drain. One question at a time: db->asking. */
void claims_ask(struct database *db);

/* Handlers of events; arg: the database. */
void claims_look(evutil_socket_t socket, short what, void *arg);
void claims_help_again(evutil_socket_t socket, short what, void *arg);
