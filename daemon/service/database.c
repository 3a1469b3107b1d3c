#include "service/database.h"
#include "service/retention.h"
#include "service/helpers.h"
#include "base/clock.h"
#include "base/control.h"
#include "base/journal.h"
#include "mem.h"
#include "watch/monitor.h"
#include "base/result.h"
#include "job/retry.h"
#include "show/snapshot.h"
#include "schema/sql.h"
#include "text/text.h"
#include "text/utf8.h"
#include "work/worker.h"

#include <inttypes.h>
#include <stdio.h>

#define REASONS_SAID      8 /* hosts of a conninfo may have one each, and say them in turn */
#define KEEP_ALIVE_US     30000000 /* an idle daemon asks this often whether a notification was missed */
#define LOOK_AGAIN_US     100000   /* while another daemon holds jobs: is it still there? Soon at first, */
#define LOOK_AGAIN_CAP_US 2000000  /* then less and less often */
#define HELP_AGAIN_US     1000000  /* while a job of ours might have room for one more walker */
#define REACH_US          30000000  /* a drain gives a database up that it hasn't reached by then, */
#define REACH_AGAIN_US    600000000 /* or not again, once it had */

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
    char *lost_for;           /* why, the last time that it was tried */
    char *said[REASONS_SAID]; /* why, as the journal was told since it is */
    int n_said;
    bool drain, stopping, stopped, drained, hopeless, failed;

    uint64_t n_ended[_JOB_STATE_MAX];
    struct ended_jobs *ended; /* NULL: nobody looks on */
};

static void turn_soon(struct database *db)
{
    event_active(db->turn, EV_TIMEOUT, 1);
}

static char *said_of_lost_job(const PGresult *whose)
{
    const char *state = result_text(whose, 0, "state"), *pid = result_text(whose, 0, "holder_pid"), *holder = result_text(whose, 0, "holder");
    char *text = NULL;
    int n;

    if (!state)
        n = asprintf(&text, "its row is gone from backfill.job, so it ends here; what it has done to the table stays");
    else if (strcmp(state, "running") == 0 && result_is_true(whose, 0, "ours"))
        n = asprintf(&text, "this daemon has begun the job anew meanwhile");
    else if (strcmp(state, "running") == 0 && pid && holder)
        n = asprintf(&text, "another daemon has taken the job over: pid %s (%s)", pid, holder);
    else if (strcmp(state, "running") == 0 || strcmp(state, "queued") == 0)
        n = asprintf(&text, "the job is %s, and not by this daemon: another gave it back, or the server has lost in a crash or a failover what came later; it goes on from where it stands",
            state);
    else
        n = asprintf(&text, "the job is %s by now, and not by this daemon", state);
    if (n < 0)
        abort();
    return text;
}

static void on_whose(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    if (e->kind != SESSION_RESULT) {
        journal_write(LEVEL_WARNING, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name, .sqlstate = e->sqlstate),
            "a job is not this daemon's any more, and whose it is can't be read: %s", e->message);
        return;
    }
    const PGresult *whose = e->results[0];
    _cleanup_free_ char *text = said_of_lost_job(whose);
    journal_write(LEVEL_WARNING, JOURNAL_STATE,
        JOURNAL_ABOUT(.database = db->name, .job = result_number(whose, 0, "id"), .name = result_text(whose, 0, "name"),
            .table = result_text(whose, 0, "target"), .phase = result_text(whose, 0, "phase")),
        "%s", text);
}

/* A job that slipped away: to whom, or why, is asked. */
static void ask_whose(struct database *db, const struct worker *worker)
{
    char id[24];
    enum job_phase phase;
    const struct job *job = worker_of(worker, &phase);

    snprintf(id, sizeof(id), "%" PRId64, job->id);
    control_ask(db->control, &(struct session_query){SQL_WHOSE, 4, {id, job->name, job->target, job_phase_name(phase)}}, on_whose, db);
}

static bool is_crowded(void *arg)
{
    const struct database *db = arg;
    return db->n_workers - helpers_count(db->workers, db->n_workers) >= db->max_workers;
}

static void on_walks(void *arg)
{
    struct database *db = arg;

    db->look_for_help = true;
    turn_soon(db);
}

static void on_at_length(void *arg)
{
    struct database *db = arg;

    db->look_for_share = true;
    turn_soon(db);
}

static void on_worker_ended(struct worker *worker, void *arg)
{
    struct database *db = arg;

    if (worker_slot(worker) > 0) {
        db->help_pause_us = helpers_pause_us(worker, db->help_pause_us);
        struct timeval wait = us_to_timeval(db->help_pause_us);
        event_add(db->help_again, &wait);
    } else if (!worker_was_ours(worker))
        ask_whose(db, worker);
    db->look_for_jobs = true;
    turn_soon(db);
}

/* The jobs that run here share the database's speed evenly. */
static void share_rate(struct database *db)
{
    for (int i = 0; i < db->n_workers; i++)
        worker_share(db->workers[i], (double)db->max_rows_per_s / db->n_workers);
}

/* ---- Active hours
 * ----------------------------------------------------------------------------------------------------- */

/* The server's clock counts, so it is asked; if it can't be, hours that should be over are over. */
static void end_hours_unasked(struct database *db)
{
    for (int i = 0; i < db->n_workers; i++)
        if (worker_hours_are_over(db->workers[i]))
            worker_give_back(db->workers[i], "its active hours ended");
}

static void on_hours_over(struct worker *worker, void *arg)
{
    struct database *db = arg;
    (void)worker;
    if (!control_is_ready(db->control)) {
        end_hours_unasked(db);
        return;
    }
    db->look_for_wishes = true;
    turn_soon(db);
}

/* hours_end_in_ms: NULL when they never end. */
static void keep_hours(struct worker *worker, const PGresult *result, int row)
{
    worker_end_hours_in(
        worker, result_text(result, row, "hours_end_in_ms") ? result_number(result, row, "hours_end_in_ms") : WORKER_NO_END);
}

/* ---- Claiming a job
 * -------------------------------------------------------------------------------------------------- */

static struct worker *find_worker(const struct database *db, int64_t job)
{
    for (int i = 0; i < db->n_workers; i++)
        if (worker_job(db->workers[i]) == job && worker_slot(db->workers[i]) == 0 && !worker_has_ended(db->workers[i]))
            return db->workers[i];
    return NULL;
}

static void on_read(void *arg)
{
    struct database *db = arg;
    for (int i = 0; i < db->n_workers; i++)
        worker_press(db->workers[i]);
}

static char *worker_pids(void *arg)
{
    const struct database *db = arg;
    char *text = NULL;
    size_t size = 0;
    FILE *out = must(open_memstream(&text, &size));

    const char *comma = "{";
    for (int i = 0; i < db->n_workers; i++)
        if (worker_pid(db->workers[i])) { /* 0 would stand for any prepared transaction */
            fprintf(out, "%s%d", comma, worker_pid(db->workers[i]));
            comma = ",";
        }
    fputs(*comma == ',' ? "}" : "{}", out);
    if (fclose(out) != 0)
        abort();
    return text;
}

/* The ids of those workers' jobs as an array; NULL when there are none. The caller frees. */
static char *jobs_of(const struct database *db, bool (*which)(const struct worker *))
{
    char *text = NULL;
    size_t size = 0;
    int n = 0;

    FILE *out = must(open_memstream(&text, &size));
    for (int i = 0; i < db->n_workers; i++)
        if (!which || which(db->workers[i]))
            fprintf(out, "%s%" PRId64, n++ ? "," : "{", worker_job(db->workers[i]));
    fputc('}', out);
    if (fclose(out) != 0)
        abort();
    if (n > 0)
        return text;
    free(text);
    return NULL;
}

static bool holds(const struct worker *worker)
{
    return worker_slot(worker) == 0;
}

static char *running_jobs(const struct database *db)
{
    return jobs_of(db, holds);
}

static char *worker_jobs(void *arg)
{
    return jobs_of(arg, NULL);
}

static void open_monitor(struct database *db)
{
    const struct monitor_setup setup = {
        .base = db->base,
        .database = db->name,
        .place = control_place(db->control),
        .throttle = db->throttle,
        .read = on_read,
        .pids = worker_pids,
        .jobs = worker_jobs,
        .arg = db,
    };
    if (!db->monitor)
        db->monitor = monitor_open(&setup);
}

/* The row of SQL_CLAIM. */
/* The job of a claim's row. */
static struct job *job_of(const PGresult *row)
{
    struct job *job = must(calloc(1, sizeof(*job)));
    const char *target = result_text(row, 0, "target");

    job->id = result_number(row, 0, "id");
    job->name = text_line(result_text(row, 0, "name"), TEXT_NAME);
    job->target = text_line(target ? target : "a dropped table", TEXT_NAME);
    job->submitted_by = copy_string(result_text(row, 0, "submitted_by"));
    job->owner = copy_string(result_text(row, 0, "owner"));
    job->search_path = copy_string(result_text(row, 0, "search_path"));
    job->time_zone = copy_string(result_text(row, 0, "time_zone"));
    job->date_style = copy_string(result_text(row, 0, "date_style"));
    job->settings = copy_string(result_text(row, 0, "settings"));
    job->phase = job_phase_from_name(result_text(row, 0, "phase"));
    job->quarantine = same_string(result_text(row, 0, "on_error"), "quarantine");
    job->target_ms = (uint32_t)result_number(row, 0, "target_ms");
    job->max_lag_ms = (double)result_number(row, 0, "max_lag_ms");
    job->throttle_off = copy_string(result_text(row, 0, "throttle_off"));
    job->max_rows_per_s = (uint32_t)result_number(row, 0, "max_rows_per_s");
    if (!result_is_true(row, 0, "runs"))
        job->phase = PHASE_TIDY;
    job->plan = must(malloc(sizeof(*job->plan)));
    *job->plan = (struct migration_plan){
        .expand = result_is_true(row, 0, "expand"),
        .fill = result_is_true(row, 0, "fill"),
        .guard = result_is_true(row, 0, "guard"),
        .quiet = result_is_true(row, 0, "quiet"),
        .verify = result_is_true(row, 0, "verify"),
        .validate = result_is_true(row, 0, "validate"),
        .in_step = result_is_true(row, 0, "in_step"),
        .dry_run = result_is_true(row, 0, "dry_run"),
    };
    job->lacking = copy_string(result_text(row, 0, "lacking"));
    job->session = copy_string(result_text(row, 0, "session"));
    job->gave_way = (uint32_t)result_number(row, 0, "gave_way");
    job->login = copy_string(result_text(row, 0, "login"));
    job->token = copy_string(result_text(row, 0, "token"));
    job->slot = (int)result_number(row, 0, "slot");
    job->workers = (uint32_t)result_number(row, 0, "workers");
    return job;
}

static void start_worker(struct database *db, const PGresult *row)
{
    bool helps = result_number(row, 0, "slot") > 0;
    struct worker *ours = find_worker(db, result_number(row, 0, "id"));
    if (ours && !helps) { /* held again by this claim */
        worker_renew(ours, result_text(row, 0, "token"));
        return;
    }
    open_monitor(db);
    const struct worker_setup setup = {
        .base = db->base,
        .control = db->control,
        .database = db->name,
        .batch = db->batch,
        .throttle = db->throttle,
        .monitor = db->monitor,
        .ended = on_worker_ended,
        .hours_over = on_hours_over,
        .crowded = is_crowded,
        .walks = on_walks,
        .at_length = on_at_length,
        .arg = db,
    };
    db->workers = must(reallocarray(db->workers, (size_t)db->n_workers + 1, sizeof(*db->workers)));
    struct worker *worker =
        worker_start(&setup, job_of(row), (uint64_t)result_number(row, 0, "keys_done"), (uint64_t)result_number(row, 0, "estimate"));
    db->workers[db->n_workers++] = worker;
    if (!helps)
        keep_hours(worker, row, 0);
    share_rate(db);
    db->look_for_wishes = true; /* one may have been made between the claim and now */
    db->changed(db->arg);
}

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
            control_ask(db->control, &(struct session_query){.sql = SQL_JOB_HOLDERS}, on_job_holders, db);
        else
            say_unclaimed(db, e->sqlstate, e->message);
        struct timeval wait = us_to_timeval(LOOK_AGAIN_CAP_US);
        event_add(db->look_again, &wait);
    } else if (result_text(e->results[0], 0, "id")) {
        start_worker(db, e->results[0]);
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
    turn_soon(db);
}

/* A place is free, and nobody queues for it: it is a helper's. */
static void on_helped(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    if (e->kind == SESSION_ERROR && !same_string(e->sqlstate, SQLSTATE_LOCK))
        journal_write(LEVEL_ERROR, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name, .sqlstate = e->sqlstate), "can't help with a job: %s", e->message);
    if (e->kind == SESSION_RESULT && result_text(e->results[0], 0, "id")) {
        start_worker(db, e->results[0]);
        if (db->stopping)
            worker_want(db->workers[db->n_workers - 1], RUNNER_WANT_STOP);
        db->look_for_help = true;
    } else if (db->n_workers > 0 && !event_pending(db->help_again, EV_TIMEOUT, NULL)) { /* another daemon may have had the job's row */
        struct timeval wait = us_to_timeval(HELP_AGAIN_US);
        event_add(db->help_again, &wait);
    }
    turn_soon(db);
}

static void on_help_again(evutil_socket_t socket, short what, void *arg)
{
    struct database *db = arg;
    (void)socket;
    (void)what;
    db->look_for_help = true;
    turn_soon(db);
}

static void on_is_queued(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    if (e->kind == SESSION_RESULT && same_string(result_only(e->results[0]), "t"))
        helpers_make_room(db->workers, db->n_workers);
    turn_soon(db);
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
        worker = find_worker(db, result_number(e->results[0], 0, "job"));
    if (worker)
        worker_give_back(worker, "all workers are busy, and another login's job is to have one");
    turn_soon(db);
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

static void on_unfinished(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    if (e->kind == SESSION_RESULT && same_string(result_only(e->results[0]), "0") && db->n_workers == 0 &&
        !db->look_for_jobs)
        db->drained = true;
    db->changed(db->arg);
}

/* ---- What people want of running jobs
 * -------------------------------------------------------------------------------- */

static enum runner_want want_of(enum job_wanted wanted)
{
    switch (wanted) {
    case WANTED_PAUSE: return RUNNER_WANT_PAUSE;
    case WANTED_CANCEL:
    case WANTED_UNDO: return RUNNER_WANT_CANCEL;
    case WANTED_RUN:
    case WANTED_FINISH:
    case _JOB_WANTED_MAX:
    case _JOB_WANTED_INVALID: break;
    }
    return RUNNER_WANT_RUN;
}

static void on_wishes(void *arg, const struct session_event *e)
{
    struct database *db = arg;

    db->asking = false;
    if (e->kind == SESSION_RESULT) {
        const PGresult *result = e->results[0];
        helpers_heed(db->workers, db->n_workers, result);
        for (int i = 0; i < PQntuples(result); i++) {
            struct worker *worker = find_worker(db, result_number(result, i, "id"));
            if (!worker || result_number(result, i, "slot") > 0)
                continue;
            const struct worker_overrides overrides = helpers_overrides(result, i);
            worker_limit(worker, &overrides);
            if (result_text(result, i, "outside"))
                worker_give_back(worker, result_text(result, i, "outside"));
            else
                keep_hours(worker, result, i);
            if (!db->stopping)
                worker_want(worker, want_of(job_wanted_from_name(result_text(result, i, "wanted"))));
        }
    }
    end_hours_unasked(db); /* of those that the answer left out */
    turn_soon(db);
}

/* ---- The turn
 * ----------------------------------------------------------------------------------------------------------
 */

static void remember(struct database *db, struct worker *worker)
{
    struct job_view view = {0};

    if (!worker_has_ended(worker) || worker_slot(worker) > 0 || !worker_view(worker, &view))
        return;
    db->n_ended[view.state]++;
    if (db->ended)
        ended_jobs_keep(db->ended, &view);
}

static void reap_workers(struct database *db)
{
    int kept = 0;

    for (int i = 0; i < db->n_workers; i++) {
        struct worker *worker = db->workers[i];
        bool gone = worker_has_ended(worker);
        /* A job's end can't be written without the server; the next daemon finds the job where it stands. */
        if (db->stopping && !control_is_ready(db->control) && worker_is_leaving(worker))
            gone = true;
        if (gone) {
            db->failed = db->failed || worker_has_failed(worker);
            remember(db, worker);
            if (worker_slot(worker) > 0)
                helpers_absorb(db->workers, kept, worker);
            worker_free(worker);
        } else
            db->workers[kept++] = worker;
    }
    if (kept != db->n_workers) {
        db->n_workers = kept;
        share_rate(db);
        if (kept == 0)
            db->monitor = monitor_close(db->monitor);
        db->changed(db->arg);
    }
}

static void ask(struct database *db, const struct session_query *query, control_answer *answer)
{
    db->asking = true;
    control_ask(db->control, query, answer, db);
}

static void on_turn(evutil_socket_t socket, short what, void *arg)
{
    struct database *db = arg;
    (void)socket;
    (void)what;

    reap_workers(db);
    if (db->stopping && db->n_workers == 0 && !db->stopped) {
        db->stopped = true;
        db->changed(db->arg);
    }
    if (db->asking || !control_is_ready(db->control))
        return;
    if (db->look_for_wishes && db->n_workers > 0) {
        _cleanup_free_ char *jobs = running_jobs(db);
        db->look_for_wishes = false;
        char per_job[24];
        ask(db, &(struct session_query){SQL_WANTED, 2, {jobs, number_text(per_job, db->batch->workers_per_job)}}, on_wishes);
    } else if (db->look_for_jobs && db->n_workers < db->max_workers && !db->stopping) {
        db->look_for_jobs =
            false; /* now, not when it is answered: a notification may come before the answer */
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
        _cleanup_free_ char *jobs = running_jobs(db), *at_length = jobs_of(db, worker_is_at_length);
        db->look_for_share = false;
        ask(db, &(struct session_query){SQL_OVER_SHARE, 2, {jobs, at_length}}, on_over_share);
    } else if (db->drain && db->n_workers == 0 && !db->look_for_jobs && !db->drained && !db->stopping)
        ask(db, &(struct session_query){.sql = SQL_UNFINISHED}, on_unfinished);
}

static void give_up(evutil_socket_t socket, short what, void *arg)
{
    struct database *db = arg;
    (void)socket;
    (void)what;
    db->hopeless = true;
    db->changed(db->arg);
}

static void look_for_jobs(evutil_socket_t socket, short what, void *arg)
{
    struct database *db = arg;
    (void)socket;
    (void)what;
    db->look_for_jobs = db->look_for_share = true;
    turn_soon(db);
}

/* ---- The control session's news
 * ----------------------------------------------------------------------------------------- */

static void forget_reasons(struct database *db)
{
    while (db->n_said > 0)
        free(db->said[--db->n_said]);
}

/* Whether the journal has to be told that reason: once, as long as the connection is lost. */
static bool is_news(struct database *db, const char *reason)
{
    for (int i = 0; i < db->n_said; i++)
        if (strcmp(db->said[i], reason) == 0)
            return false;
    if (db->n_said == REASONS_SAID)
        return false;
    db->said[db->n_said++] = copy_string(reason);
    return true;
}

static void on_held_again(void *arg, const struct session_event *e)
{
    struct database *db = arg;
    struct timeval wait = us_to_timeval(LOOK_AGAIN_US);

    if (e->kind == SESSION_RESULT && !same_string(result_only(e->results[0]), "0"))
        event_add(db->holding, &wait);
}

static void hold_again(struct database *db)
{
    _cleanup_free_ char *jobs = running_jobs(db), *tokens = helpers_tokens(db->workers, db->n_workers);

    if (db->n_workers > 0 && db->held_by_pid && control_is_ready(db->control))
        control_ask_first(db->control,
            &(struct session_query){SQL_HOLD_AGAIN, 4, {jobs, tokens, db->held_by_pid, db->held_by_start}}, on_held_again, db);
}

static void on_holding(evutil_socket_t socket, short what, void *arg)
{
    (void)socket;
    (void)what;
    hold_again(arg);
}

static void on_ready(void *arg)
{
    struct database *db = arg;

    event_del(db->holding);
    event_del(db->giving_up);
    replace_string(&db->held_by_pid, control_old_pid(db->control));
    replace_string(&db->held_by_start, control_old_start(db->control));
    hold_again(db);
    if (db->is_lost)
        journal_write(LEVEL_NOTICE, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name), "connected again");
    else
        journal_write(LEVEL_INFO, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name), "connected");
    retention_look(db->retention);
    if (db->monitor)
        monitor_follow(db->monitor);
    for (int i = 0; i < db->n_workers; i++)
        worker_reconnect(db->workers[i]);
    db->is_lost = false;
    forget_reasons(db);
    db->hopeless = false;
    db->look_for_jobs = db->look_for_wishes = db->look_for_share = true;
    db->look_again_us = LOOK_AGAIN_US;
    turn_soon(db);
    db->changed(db->arg);
}

static void on_lost(void *arg, const char *message)
{
    struct database *db = arg;

    replace_string(&db->lost_for, message);
    if (!db->stopping && is_news(db, message))
        journal_write(LEVEL_WARNING, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name),
            "not connected, trying again: %s", message);
    if (db->drain && !db->is_lost && control_old_start(db->control)) {
        struct timeval again = us_to_timeval(REACH_AGAIN_US);
        event_add(db->giving_up, &again);
    }
    db->is_lost = true;
    end_hours_unasked(db);
    turn_soon(db);
    db->changed(db->arg);
}

static void on_unusable(void *arg, const char *message, const char *hint)
{
    struct database *db = arg;

    replace_string(&db->lost_for, message);
    if (is_news(db, message))
        journal_write(LEVEL_ERROR, JOURNAL_DATABASE, JOURNAL_ABOUT(.database = db->name), "%s. HINT: %s",
            message, hint);
    db->is_lost = true;
    db->hopeless = db->drain;
    turn_soon(db);
    db->changed(db->arg);
}

static void on_notified(void *arg)
{
    struct database *db = arg;
    db->look_for_jobs = db->look_for_wishes = db->look_for_share = true;
    db->drained = false;
    turn_soon(db);
}

static const struct control_handlers control_handlers = {
    .ready = on_ready,
    .lost = on_lost,
    .unusable = on_unusable,
    .notified = on_notified,
};

/* ---- From outside
 * ----------------------------------------------------------------------------------------------------------
 */

struct database *database_open(struct event_base *base, const struct config_database *config,
    const struct config_batch *batch, const struct config_throttle *throttle, bool drain,
    void (*changed)(void *arg), void *arg)
{
    struct database *db = must(calloc(1, sizeof(*db)));
    struct timeval keep_alive = us_to_timeval(KEEP_ALIVE_US), reach = us_to_timeval(REACH_US);

    db->base = base;
    db->name = copy_string(config->name);
    db->conninfo = copy_string(config->conninfo);
    db->max_workers = config->workers;
    db->max_rows_per_s = config->max_rows_per_s;
    db->batch = batch;
    db->throttle = throttle;
    db->drain = drain;
    db->changed = changed;
    db->arg = arg;
    db->look_again_us = LOOK_AGAIN_US;
    db->turn = must(event_new(base, -1, 0, on_turn, db));
    db->look_again = must(event_new(base, -1, 0, look_for_jobs, db));
    db->help_again = must(event_new(base, -1, 0, on_help_again, db));
    db->opening = must(event_new(base, -1, 0, look_for_jobs, db));
    db->holding = must(event_new(base, -1, 0, on_holding, db));
    db->keep_alive = must(event_new(base, -1, EV_PERSIST, look_for_jobs, db));
    event_add(db->keep_alive, &keep_alive);
    db->giving_up = must(event_new(base, -1, 0, give_up, db));
    if (drain)
        event_add(db->giving_up, &reach);
    db->control = control_open(base, db->conninfo, &control_handlers, db);
    db->retention = retention_open(base, db->control, db->name);
    return db;
}

void database_configure(struct database *db, const struct config_database *config)
{
    db->max_workers = config->workers;
    db->max_rows_per_s = config->max_rows_per_s;
    share_rate(db);
    look_for_jobs(-1, 0, db);
}

void database_use(
    struct database *db, const struct config_batch *batch, const struct config_throttle *throttle)
{
    db->look_for_wishes = db->look_for_wishes || batch->workers_per_job != db->batch->workers_per_job; /* helpers may be too many */
    db->batch = batch;
    db->throttle = throttle;
    if (db->monitor)
        monitor_use(db->monitor, throttle);
    for (int i = 0; i < db->n_workers; i++)
        worker_use(db->workers[i], batch, throttle);
    db->look_for_help = true;
    turn_soon(db);
}

void database_keep(struct database *db, const struct config_jobs *jobs)
{
    retention_keep(db->retention, jobs->keep_ended_days);
}

void database_stop(struct database *db, bool at_once)
{
    db->stopping = true;
    for (int i = 0; i < db->n_workers; i++)
        worker_want(db->workers[i], at_once ? RUNNER_WANT_STOP_NOW : RUNNER_WANT_STOP);
    turn_soon(db);
}

const char *database_name(const struct database *db)
{
    return db->name;
}

const char *database_conninfo(const struct database *db)
{
    return db->conninfo;
}

bool database_is_stopping(const struct database *db)
{
    return db->stopping;
}

bool database_has_stopped(const struct database *db)
{
    return db->stopped;
}

bool database_is_connected(const struct database *db)
{
    return control_is_ready(db->control);
}

bool database_is_drained(const struct database *db)
{
    return db->drained;
}

bool database_is_hopeless(const struct database *db)
{
    return db->hopeless;
}

bool database_has_failed(const struct database *db)
{
    return db->failed;
}

int database_n_workers(const struct database *db)
{
    return db->n_workers;
}

char *database_bar_text(struct database *db)
{
    _cleanup_free_ char *away = NULL;

    /* What a job last waited for may be long over: nobody can tell now. */
    if (!control_is_ready(db->control) && asprintf(&away, "not connected: %s", db->lost_for ? db->lost_for : "trying again") < 0)
        abort();
    return db->n_workers > 0 ? worker_bar_text(db->workers[0], away) : NULL;
}

void database_snapshot(struct database *db, struct snapshot *snapshot)
{
    struct database_view *view = snapshot_add_database(snapshot);

    utf8_cut(view->name, sizeof(view->name), db->name);
    view->sessions[SESSION_CONTROL] = control_is_ready(db->control);
    view->up = control_is_ready(db->control) && !db->said_unclaimed;
    view->sessions[SESSION_MONITOR] = db->monitor && monitor_is_open(db->monitor);
    memcpy(view->ended, db->n_ended, sizeof(view->ended));
    for (int i = 0; i < db->n_workers; i++) {
        struct job_view job = {0};
        view->sessions[SESSION_WORKER] += worker_pid(db->workers[i]) != 0;
        if (worker_has_ended(db->workers[i]) || !worker_view(db->workers[i], &job))
            continue;
        view->running += worker_slot(db->workers[i]) == 0;
        snapshot_join_job(snapshot, &job, worker_slot(db->workers[i]) == 0);
    }
}

void database_remember(struct database *db, struct ended_jobs *ended)
{
    db->ended = ended;
}

struct database *database_close(struct database *db)
{
    if (!db)
        return NULL;
    for (int i = 0; i < db->n_workers; i++)
        worker_free(db->workers[i]);
    free(db->workers);
    monitor_close(db->monitor);
    retention_close(db->retention);
    control_close(db->control);
    event_free(db->turn);
    event_free(db->keep_alive);
    event_free(db->giving_up);
    event_free(db->look_again);
    event_free(db->help_again);
    event_free(db->opening);
    event_free(db->holding);
    free(db->held_by_pid);
    free(db->held_by_start);
    forget_reasons(db);
    free(db->lost_for);
    free(db->said_unclaimed);
    free(db->name);
    free(db->conninfo);
    free(db);
    return NULL;
}
