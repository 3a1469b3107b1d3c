#include "service/database_inside.h"
#include "base/clock.h"
#include "base/journal.h"
#include "base/result.h"
#include "mem.h"
#include "schema/sql.h"
#include "service/helpers.h"
#include "service/aftercare.h"
#include "service/retention.h"
#include "show/snapshot.h"
#include "text/utf8.h"

#include <stdio.h>

#define KEEP_ALIVE_US     30000000 /* an idle daemon asks this often whether a notification was missed */
#define REACH_US          30000000  /* a drain gives a database up that it hasn't reached by then, */
#define REACH_AGAIN_US    600000000 /* or not again, once it had */

void database_turn_soon(struct database *db)
{
    event_active(db->turn, EV_TIMEOUT, 1);
}

/* ---- The turn
 * ------------------------------------------------------------------------------------------------------- */

static void on_turn(evutil_socket_t socket, short what, void *arg)
{
    struct database *db = arg;
    (void)socket;
    (void)what;

    workers_reap(db);
    if (db->stopping && db->n_workers == 0 && !db->stopped) {
        db->stopped = true;
        db->changed(db->arg);
    }
    claims_ask(db);
}

static void give_up(evutil_socket_t socket, short what, void *arg)
{
    struct database *db = arg;
    (void)socket;
    (void)what;
    db->hopeless = true;
    db->changed(db->arg);
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
    _cleanup_free_ char *jobs = workers_running(db), *tokens = helpers_tokens(db->workers, db->n_workers);

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
    aftercare_look(db->aftercare);
    if (db->monitor)
        monitor_follow(db->monitor);
    for (int i = 0; i < db->n_workers; i++)
        worker_reconnect(db->workers[i]);
    db->is_lost = false;
    forget_reasons(db);
    db->hopeless = false;
    db->look_for_jobs = db->look_for_wishes = db->look_for_share = true;
    db->look_again_us = LOOK_AGAIN_US;
    database_turn_soon(db);
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
    workers_end_hours_unasked(db);
    database_turn_soon(db);
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
    database_turn_soon(db);
    db->changed(db->arg);
}

static void on_notified(void *arg)
{
    struct database *db = arg;
    db->look_for_jobs = db->look_for_wishes = db->look_for_share = true;
    db->drained = false;
    database_turn_soon(db);
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
    db->opened_us = now_us();
    db->changed = changed;
    db->arg = arg;
    db->look_again_us = LOOK_AGAIN_US;
    db->turn = must(event_new(base, -1, 0, on_turn, db));
    db->look_again = must(event_new(base, -1, 0, claims_look, db));
    db->help_again = must(event_new(base, -1, 0, claims_help_again, db));
    db->opening = must(event_new(base, -1, 0, claims_look, db));
    db->holding = must(event_new(base, -1, 0, on_holding, db));
    db->keep_alive = must(event_new(base, -1, EV_PERSIST, claims_look, db));
    event_add(db->keep_alive, &keep_alive);
    db->giving_up = must(event_new(base, -1, 0, give_up, db));
    if (drain)
        event_add(db->giving_up, &reach);
    db->control = control_open(base, db->conninfo, &control_handlers, db);
    db->retention = retention_open(base, db->control, db->name);
    db->aftercare = aftercare_open(base, db->control, db->name, workers_all, db);
    return db;
}

void database_configure(struct database *db, const struct config_database *config)
{
    db->max_workers = config->workers;
    db->max_rows_per_s = config->max_rows_per_s;
    workers_share_rate(db);
    claims_look(-1, 0, db);
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
    database_turn_soon(db);
}

void database_keep(struct database *db, const struct config_jobs *jobs)
{
    retention_keep(db->retention, jobs->keep_ended_days);
}

void database_stop(struct database *db, bool at_once)
{
    db->stopping = true;
    control_hurry(db->control);
    for (int i = 0; i < db->n_workers; i++)
        worker_want(db->workers[i], at_once ? RUNNER_WANT_STOP_NOW : RUNNER_WANT_STOP);
    database_turn_soon(db);
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
    aftercare_close(db->aftercare);
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
    free(db->said_unhelped);
    free(db->name);
    free(db->conninfo);
    free(db);
    return NULL;
}
