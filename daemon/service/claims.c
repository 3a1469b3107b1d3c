/* How a served database comes to its jobs: claims, help for jobs that others hold, places for newcomers. */
#include "service/database_inside.h"
#include "base/clock.h"
#include "base/journal.h"
#include "base/result.h"
#include "mem.h"
#include "schema/sql.h"
#include "service/helpers.h"

#include <inttypes.h>
#include <stdio.h>

#define HELP_AGAIN_US     1000000  /* while a job of ours might have room for one more walker */

static void say_unclaimed(struct database *db, const char *sqlstate, const char *why)
{
    if (same_string(db->said_unclaimed, why))
        return;
    replace_string(&db->said_unclaimed, why);
    journal_write(LEVEL_ERROR, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name, .sqlstate = sqlstate), "can't claim a job: %s%s", why,
        same_string(sqlstate, "3F000") || same_string(sqlstate, "42883") || same_string(sqlstate, "42P01") ? ". HINT: Was the control schema dropped? Run backfilld --install with the same options." : "");
}

/* Who has locked what a claim needs. A lock that is gone by now is not worth a line. */
static void on_job_holders(void *arg, const struct session_event *e)
{
    struct database *db = arg;
    const char *who = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "who") : NULL;
    _cleanup_free_ char *why = NULL;

    if (!who)
        return;
    if (asprintf(&why, "the control schema is locked: %s", who) < 0)
        abort();
    say_unclaimed(db, SQLSTATE_LOCK, why);
}

static void on_claimed(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    event_del(db->opening);
    if (e->kind != SESSION_ERROR)
        replace_string(&db->said_unclaimed, NULL);
    if (e->kind == SESSION_ERROR) {
        if (same_string(e->sqlstate, SQLSTATE_LOCK))
            control_ask(db->control, &(struct session_query){.sql = SQL_JOB_HOLDERS}, on_job_holders, db, NULL);
        else
            say_unclaimed(db, e->sqlstate, e->message);
        struct timeval wait = us_to_timeval(LOOK_AGAIN_CAP_US);
        event_add(db->look_again, &wait);
    } else if (result_text(e->results[0], 0, "id")) {
        workers_start(db, e->results[0]);
        if (db->stopping) /* it was asked before that: the job goes back at once */
            worker_want(db->workers[db->n_workers - 1], RUNNER_WANT_STOP);
        db->look_for_jobs = db->look_for_share = true;
        db->look_again_us = LOOK_AGAIN_US;
    } else
        db->look_for_help = true;
    if (e->kind == SESSION_RESULT)
        db->others_may = result_number(e->results[0], 0, "most_workers") > 1;
    if (e->kind == SESSION_RESULT && !result_text(e->results[0], 0, "id") && result_is_true(e->results[0], 0, "ask_again")) {
        struct timeval wait = us_to_timeval(db->look_again_us);
        event_add(db->look_again, &wait);
        db->look_again_us =
            db->look_again_us * 2 < LOOK_AGAIN_CAP_US ? db->look_again_us * 2 : LOOK_AGAIN_CAP_US;
    }
    if (e->kind == SESSION_RESULT && result_text(e->results[0], 0, "opens_in_ms")) {
        struct timeval wait = us_to_timeval((uint64_t)result_number(e->results[0], 0, "opens_in_ms") * 1000);
        event_add(db->opening, &wait);
    }
    database_turn_soon(db);
}

/* A place is free, and nobody queues for it: it is a helper's. */
static void on_helped(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    if (e->kind != SESSION_ERROR)
        replace_string(&db->said_unhelped, NULL);
    else if (!same_string(e->sqlstate, SQLSTATE_LOCK) && !same_string(db->said_unhelped, e->message)) {
        replace_string(&db->said_unhelped, e->message);
        journal_write(LEVEL_ERROR, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name, .sqlstate = e->sqlstate), "can't help with a job: %s", e->message);
    }
    if (e->kind == SESSION_RESULT && result_text(e->results[0], 0, "id")) {
        workers_start(db, e->results[0]);
        if (db->stopping)
            worker_want(db->workers[db->n_workers - 1], RUNNER_WANT_STOP);
        db->look_for_help = true;
    } else if (db->n_workers > 0 && !event_pending(db->help_again, EV_TIMEOUT, NULL)) { /* another daemon may have had the job's row */
        struct timeval wait = us_to_timeval(HELP_AGAIN_US);
        event_add(db->help_again, &wait);
    }
    database_turn_soon(db);
}

void claims_help_again(evutil_socket_t socket, short what, void *arg)
{
    struct database *db = arg;
    (void)socket;
    (void)what;
    db->look_for_help = true;
    database_turn_soon(db);
}

static void on_is_queued(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    if (e->kind == SESSION_RESULT && same_string(result_only(e->results[0]), "t"))
        helpers_make_room(db->workers, db->n_workers);
    database_turn_soon(db);
}

/* One login has more than one of the places, another none. */
static void on_over_share(void *arg, const struct session_event *e)
{
    struct database *db = arg;
    struct worker *worker = NULL;

    db->asking = false;
    if (e->kind == SESSION_ERROR)
        journal_write(LEVEL_ERROR, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name, .sqlstate = e->sqlstate),
            "can't share the workers: %s", e->message);
    else if (result_text(e->results[0], 0, "job"))
        worker = workers_find(db, result_number(e->results[0], 0, "job"));
    if (worker)
        worker_give_back(worker, "all workers are busy, and another login's job is to have one");
    database_turn_soon(db);
}

/* All places are taken, but some by what takes long and can't be given back (worker_is_at_length): those are kept from the other jobs
 * of their login, and not from a login that has none. There are twice as many workers at most. */
static bool may_take_newcomer(const struct database *db)
{
    int n = 0;

    for (int i = 0; i < db->n_workers; i++)
        n += !worker_is_at_length(db->workers[i]);
    return n < db->max_workers && db->n_workers < 2 * db->max_workers;
}

/* Whether a job may have more than one worker: else there is nothing to ask. */
static bool may_help(const struct database *db)
{
    bool may = db->batch->workers_per_job > 1 || db->others_may;

    for (int i = 0; i < db->n_workers; i++)
        may = may || worker_may_have(db->workers[i]) > 1;
    return may && !(db->help_pause_us > 0 && event_pending(db->help_again, EV_TIMEOUT, NULL));
}

static bool is_one_given_back(const struct database *db)
{
    for (int i = 0; i < db->n_workers; i++)
        if (worker_is_given_back(db->workers[i]))
            return true;
    return false;
}

/* Of a drain that has nothing to run: it is over, or waits for others. A job that failed meanwhile counts, whoever ran it. */
static void heed_unfinished(struct database *db, const PGresult *answer)
{
    int64_t unfinished = result_number(answer, 0, "unfinished"), elsewhere = result_number(answer, 0, "elsewhere");
    const char *failed = result_text(answer, 0, "failed");

    if (unfinished == 0) {
        db->drained = true;
        if (failed && !db->failed)
            journal_write(LEVEL_ERROR, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name), "failed meanwhile, run by another daemon: %s", failed);
        db->failed = db->failed || failed;
        if (result_number(answer, 0, "paused") > 0)
            journal_write(LEVEL_NOTICE, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name), "paused, and not waited for: %s job(s)", result_text(answer, 0, "paused"));
    } else if (!db->said_unfinished) {
        db->said_unfinished = true;
        if (elsewhere > 0)
            journal_write(LEVEL_NOTICE, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name),
                "waits for what another daemon runs (jobs: %" PRId64 ")", elsewhere);
        if (unfinished > elsewhere)
            journal_write(LEVEL_NOTICE, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name),
                "what is left can't go on now (jobs: %" PRId64 "); throttled_by in backfill.status says what it waits for", unfinished - elsewhere);
    }
}

static void on_unfinished(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    if (e->kind == SESSION_RESULT && db->n_workers == 0 && !db->look_for_jobs)
        heed_unfinished(db, e->results[0]);
    if (db->look_for_jobs) /* a notification came while this was asked */
        database_turn_soon(db);
    db->changed(db->arg);
}

/* ---- The question */

static void ask(struct database *db, const struct session_query *query, control_answer *answer)
{
    db->asking = true;
    control_ask(db->control, query, answer, db, NULL);
}

static void on_wishes(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    if (e->kind == SESSION_RESULT)
        workers_heed(db, e->results[0]);
    workers_end_hours_unasked(db); /* of those that the answer left out */
    database_turn_soon(db);
}

void claims_ask(struct database *db)
{
    if (db->asking || !control_is_ready(db->control))
        return;
    if (db->look_for_wishes && db->n_workers > 0) {
        _cleanup_free_ char *jobs = workers_running(db);
        db->look_for_wishes = false;
        char per_job[24];
        ask(db, &(struct session_query){SQL_WANTED, 2, {jobs, number_text(per_job, db->batch->workers_per_job)}}, on_wishes);
    } else if (db->look_for_jobs && db->n_workers < db->max_workers && !db->stopping) {
        db->look_for_jobs = false; /* now, not when it is answered: a notification may come before the answer */
        ask(db, &(struct session_query){.sql = SQL_CLAIM}, on_claimed);
    } else if (db->look_for_help && may_help(db) && db->n_workers < db->max_workers && !db->stopping) {
        char per_job[24];
        db->look_for_help = false;
        ask(db, &(struct session_query){SQL_HELP, 1, {number_text(per_job, db->batch->workers_per_job)}}, on_helped);
    } else if (db->look_for_share && db->n_workers >= db->max_workers && !db->stopping && helpers_count(db->workers, db->n_workers) > 0) {
        db->look_for_share = false;
        ask(db, &(struct session_query){.sql = SQL_IS_QUEUED}, on_is_queued);
    } else if (db->look_for_share && db->n_workers >= db->max_workers && !db->stopping && may_take_newcomer(db)) {
        db->look_for_share = false;
        ask(db, &(struct session_query){.sql = SQL_CLAIM_NEWCOMER}, on_claimed);
    } else if (db->look_for_share && db->n_workers >= db->max_workers && db->n_workers > 1 && !db->stopping &&
               !is_one_given_back(db)) {
        _cleanup_free_ char *jobs = workers_running(db), *at_length = workers_jobs(db, worker_is_at_length);
        db->look_for_share = false;
        ask(db, &(struct session_query){SQL_OVER_SHARE, 2, {jobs, at_length}}, on_over_share);
    } else if (db->drain && db->n_workers == 0 && !db->look_for_jobs && !db->drained && !db->stopping) {
        char since_us[24];
        ask(db, &(struct session_query){SQL_UNFINISHED, 1, {number_text(since_us, (int64_t)(now_us() - db->opened_us))}}, on_unfinished);
    }
}

void claims_look(evutil_socket_t socket, short what, void *arg)
{
    struct database *db = arg;
    (void)socket;
    (void)what;
    db->look_for_jobs = db->look_for_share = true;
    database_turn_soon(db);
}
