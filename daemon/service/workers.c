/* The workers of a served database: begun by claims, reaped when they have ended. */
#include "service/database_inside.h"
#include "base/clock.h"
#include "base/journal.h"
#include "base/result.h"
#include "mem.h"
#include "schema/sql.h"
#include "service/helpers.h"
#include "show/snapshot.h"
#include "text/text.h"

#include <inttypes.h>
#include <stdio.h>

void workers_share_rate(struct database *db)
{
    for (int i = 0; i < db->n_workers; i++)
        worker_share(db->workers[i], (double)db->max_rows_per_s / db->n_workers);
}

struct worker *workers_find(const struct database *db, int64_t job)
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

char *workers_jobs(const struct database *db, bool (*which)(const struct worker *))
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

char *workers_running(const struct database *db)
{
    return workers_jobs(db, holds);
}

char *workers_all(void *arg)
{
    return workers_jobs(arg, NULL);
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
        .jobs = workers_all,
        .arg = db,
    };
    if (!db->monitor)
        db->monitor = monitor_open(&setup);
}

static char *said_of_lost_job(const PGresult *whose)
{
    const char *state = result_text(whose, 0, "state"), *pid = result_text(whose, 0, "holder_pid"), *holder = result_text(whose, 0, "holder"),
               *anew = result_text(whose, 0, "begun_anew");
    char *text = NULL;
    int n;

    if (!state)
        n = asprintf(&text, "its row is gone from backfill.job, so it ends here; what it has done to the table stays");
    else if (anew)
        n = asprintf(&text, "begins anew: %s", anew);
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
    control_ask(db->control, &(struct session_query){SQL_WHOSE, 4, {id, job->name, job->target, job_phase_name(phase)}}, on_whose, db, NULL);
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
    database_turn_soon(db);
}

static void on_at_length(void *arg)
{
    struct database *db = arg;

    db->look_for_share = true;
    database_turn_soon(db);
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
    database_turn_soon(db);
}

/* ---- Active hours
 * ----------------------------------------------------------------------------------------------------- */

void workers_end_hours_unasked(struct database *db)
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
        workers_end_hours_unasked(db);
        return;
    }
    db->look_for_wishes = true;
    database_turn_soon(db);
}

/* hours_end_in_ms: NULL when they never end. */
static void keep_hours(struct worker *worker, const PGresult *result, int row)
{
    worker_end_hours_in(
        worker, result_text(result, row, "hours_end_in_ms") ? result_number(result, row, "hours_end_in_ms") : WORKER_NO_END);
}

/* ---- Begin and end
 * ------------------------------------------------------------------------------------------------------- */

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

void workers_start(struct database *db, const PGresult *row)
{
    bool helps = result_number(row, 0, "slot") > 0;
    struct worker *ours = workers_find(db, result_number(row, 0, "id"));
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
    workers_share_rate(db);
    db->look_for_wishes = true; /* one may have been made between the claim and now */
    db->changed(db->arg);
}

static void remember(struct database *db, struct worker *worker)
{
    struct job_view view = {0};

    if (!worker_has_ended(worker) || worker_slot(worker) > 0 || !worker_view(worker, &view))
        return;
    db->n_ended[view.state]++;
    if (db->ended)
        ended_jobs_keep(db->ended, &view);
}

void workers_reap(struct database *db)
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
        workers_share_rate(db);
        if (kept == 0)
            db->monitor = monitor_close(db->monitor);
        db->changed(db->arg);
    }
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

void workers_heed(struct database *db, const PGresult *wanted)
{
    helpers_heed(db->workers, db->n_workers, wanted);
    for (int i = 0; i < PQntuples(wanted); i++) {
        struct worker *worker = workers_find(db, result_number(wanted, i, "id"));
        if (!worker || result_number(wanted, i, "slot") > 0)
            continue;
        const struct worker_overrides overrides = helpers_overrides(wanted, i);
        worker_limit(worker, &overrides);
        if (result_text(wanted, i, "outside"))
            worker_give_back(worker, result_text(wanted, i, "outside"));
        else
            keep_hours(worker, wanted, i);
        if (!db->stopping)
            worker_want(worker, want_of(job_wanted_from_name(result_text(wanted, i, "wanted"))));
    }
}
