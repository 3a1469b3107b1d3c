#include "work/inside.h"
#include "base/clock.h"
#include "base/result.h"
#include "mem.h"
#include "schema/sql.h"
#include "show/snapshot.h"
#include "text/text.h"

#include <string.h>
#include <unistd.h>

#define AT_LENGTH_US   3000000   /* a statement that goes on for so long keeps no place from a login that has none: most steps are shorter */
#define TICK_US        1000000   /* how often status and journal are looked after while a job runs */
#define TELL_EVERY_US  10000000  /* the same words with other numbers are written to the job so often at first, */
#define TELL_RARELY_US 600000000 /* and at last: each is a version of its row */
#define HOURS_SOON_MS  20        /* its hours are not asked for more often: the server's clock differs */

static void on_progress(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    w->asking_progress = false;
    if (e->kind == SESSION_RESULT && PQntuples(e->results[0]) > 0)
        replace_string(&w->step.progress, result_only(e->results[0]));
}

static void on_told(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    (void)e;
    w->telling = false;
}

/* But for the numbers in it. */
static bool same_words(const char *a, const char *b)
{
    static const char numbers[] = "0123456789.";

    if (!a || !b)
        return a == b;
    for (;;) {
        a += strspn(a, numbers);
        b += strspn(b, numbers);
        if (*a != *b || *a == '\0')
            return *a == *b;
        a++;
        b++;
    }
}

/* Writes why the job waits to its row. */
static void tell_waiting(struct worker *w, const char *text, uint64_t now_us)
{
    char job[24];
    _cleanup_free_ char *waiting = text_line(text, TEXT_MESSAGE);
    bool same = same_words(w->shown_waiting, waiting);

    if (w->telling || !control_is_ready(w->setup.control) ||
        (!w->retell && (same_string(w->shown_waiting, waiting) || (same && now_us - w->told_us < w->tell_every_us))))
        return;
    w->retell = false;
    w->tell_every_us = !same                               ? TELL_EVERY_US
                       : w->tell_every_us < TELL_RARELY_US ? 2 * w->tell_every_us
                                                           : TELL_RARELY_US;
    w->told_us = now_us;
    w->telling = true;
    replace_string(&w->shown_waiting, waiting);
    act_ask(
        w, &(struct session_query){SQL_WAITING_FOR, 2, {number_text(job, w->job->id), waiting}}, on_told);
}

/* How many walk now, and how fast, as the database has it. */
static void on_walkers(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    struct progress *p = &w->runner.work.progress;

    w->asking_walkers = false;
    if (e->kind != SESSION_RESULT || w->ended || PQntuples(e->results[0]) == 0)
        return;
    const char *rate = result_text(e->results[0], 0, "rate");
    uint64_t keys = (uint64_t)result_number(e->results[0], 0, "keys");

    p->others = rate ? strtod(rate, NULL) : 0;
    if (keys > p->keys)
        progress_set(p, keys, now_us());
    worker_walkers(w, (int)result_number(e->results[0], 0, "walkers"));
}

uint32_t worker_may_have(const struct worker *w)
{
    return w->job->workers ? w->job->workers : (uint32_t)w->setup.batch->workers_per_job;
}

static void ask_walkers(struct worker *w)
{
    uint32_t may = worker_may_have(w);
    bool walks = migration_walks(w->runner.migration.phase) || w->runner.migration.walking;
    char job[24], slot[24];

    if (w->asking_walkers || !walks || (may == 1 && w->walkers == 1) || !control_is_ready(w->setup.control))
        return;
    w->asking_walkers = true;
    act_ask(w, &(struct session_query){SQL_WALKERS, 2, {number_text(job, w->job->id), number_text(slot, w->job->slot)}}, on_walkers);
}

static void on_tick(evutil_socket_t socket, short what, void *arg)
{
    struct worker *w = arg;
    uint64_t now = now_us();
    char pid[24];
    (void)socket;
    (void)what;

    act_name_holders(w, false);
    if (action_has_session(w->action.kind))
        hand_look(&w->hand, now);
    ask_walkers(w);
    if (w->job->slot > 0) /* the job's holder tells of it */
        return;
    _cleanup_free_ char *waiting = report_look(&w->report, TICK_US, now);
    if (w->action.kind == RUNNER_STEP && same_string(w->step.name, "build index") && !w->asking_progress &&
        control_is_ready(w->setup.control)) {
        w->asking_progress = true;
        act_ask(w, &(struct session_query){SQL_INDEX_PROGRESS, 1, {number_text(pid, worker_pid(w))}},
            on_progress);
    }
    tell_waiting(w, waiting, now);
    if (!w->told_at_length && worker_is_at_length(w)) {
        w->told_at_length = true;
        w->setup.at_length(w->setup.arg);
    }
}

static void on_hours(evutil_socket_t socket, short what, void *arg)
{
    struct worker *w = arg;
    (void)socket;
    (void)what;
    if (worker_hours_are_over(w))
        w->setup.hours_over(w, w->setup.arg);
    else /* the server's clock is not ours, and the timer may be early */
        event_add(w->hours, &(struct timeval){.tv_usec = HOURS_SOON_MS * 1000});
}

/* Puts the file's settings and the job's overrides together, for the runner and for the pressure. */
static void apply_limits(struct worker *w)
{
    const struct config_batch *batch = w->setup.batch;
    const struct job *job = w->job;
    double rate = (double)job->max_rows_per_s / w->walkers;
    const struct runner_limits limits = {
        .pace.target_us = (job->target_ms ? job->target_ms : (uint32_t)batch->target_ms) * 1000,
        .pace.busy_us = (uint32_t)batch->busy_target_ms * 1000,
        .pace.busy_share = batch->busy_share / w->walkers, /* what pressure leaves is the job's, divided */
        .pace.min_keys = (uint32_t)batch->min_rows,
        .pace.max_keys = (uint32_t)batch->max_rows,
        .pace.max_keys_per_s = rate > 0 && (w->share <= 0 || rate < w->share) ? rate : w->share,
        .quarantine = job->quarantine,
    };

    runner_limit(&w->runner, &limits);
    throttle_set(&w->throttle, job, w->setup.throttle);
}

void worker_walkers(struct worker *w, int walkers)
{
    if (walkers < 1 || walkers == w->walkers)
        return;
    w->walkers = walkers;
    if (walkers == 1)
        w->runner.work.progress.others = 0;
    if (w->job->slot == 0)
        report_walkers(&w->report, walkers);
    apply_limits(w);
}

struct worker *worker_start(
    const struct worker_setup *setup, struct job *job, uint64_t keys_done, uint64_t estimate)
{
    struct worker *w = must(calloc(1, sizeof(*w)));
    struct timeval tick = us_to_timeval(TICK_US);

    w->setup = *setup;
    w->job = job;
    w->hand = (struct hand){.base = setup->base, .control = setup->control, .monitor = setup->monitor, .batch = setup->batch};
    w->doubt = (struct doubt){.control = setup->control, .job = job, .settled = answer_settled, .roles_changed = answer_roles_changed, .arg = w};
    uint64_t now = now_us();
    w->timer = must(event_new(setup->base, -1, 0, act_on_timer, w));
    w->tick = must(event_new(setup->base, -1, EV_PERSIST, on_tick, w));
    w->hours = must(event_new(setup->base, -1, 0, on_hours, w));
    event_add(w->tick, &tick);
    runner_init(&w->runner, job->phase, estimate, keys_done,
        &(struct runner_limits){.pace.min_keys = 1, .pace.max_keys = BATCH_FIRST_KEYS},
        now ^ ((uint64_t)getpid() << 32) ^ (uint64_t)job->id, now);
    runner_plan(&w->runner, job->plan, job->lacking);
    runner_gave_way(&w->runner, job->gave_way);
    if (job->slot > 0)
        runner_helps(&w->runner);
    w->walkers = 1;
    apply_limits(w);
    report_init(&w->report, setup->database, job, &w->runner, now);
    w->report.step = &w->step;
    report_start(&w->report, keys_done > 0);
    answer_feed(w, &(struct runner_event){.kind = RUNNER_START});
    return w;
}

void worker_want(struct worker *w, enum runner_want want)
{
    if (!w->ended && w->runner.want != want)
        answer_feed(w, &(struct runner_event){.kind = RUNNER_WANT, .want = want});
}

void worker_limit(struct worker *w, const struct worker_overrides *overrides)
{
    w->job->target_ms = overrides->target_ms;
    w->job->max_rows_per_s = overrides->max_rows_per_s;
    w->job->max_lag_ms = overrides->max_lag_ms;
    w->job->quarantine = overrides->quarantine;
    w->job->workers = overrides->workers;
    replace_string(&w->job->throttle_off, overrides->throttle_off);
    apply_limits(w);
}

void worker_share(struct worker *w, double rows_per_s)
{
    w->share = rows_per_s;
    apply_limits(w);
}

void worker_end_hours_in(struct worker *w, int64_t ms)
{
    if (ms == WORKER_NO_END || w->ended) {
        w->hours_end_us = 0;
        event_del(w->hours);
        return;
    }
    uint64_t left_us = (uint64_t)(ms > HOURS_SOON_MS ? ms : HOURS_SOON_MS) * 1000;
    struct timeval wait = us_to_timeval(left_us);
    w->hours_end_us = now_us() + left_us;
    event_add(w->hours, &wait);
}

void worker_give_back(struct worker *w, const char *why)
{
    if (w->ended || w->given_back)
        return;
    worker_end_hours_in(w, WORKER_NO_END);
    w->given_back = copy_string(why);
    worker_want(w, RUNNER_WANT_LEAVE);
}

bool worker_is_given_back(const struct worker *w)
{
    return w->given_back != NULL;
}

bool worker_is_at_length(const struct worker *w)
{
    bool acts = action_has_session(w->action.kind) && w->action.kind != RUNNER_CONNECT;
    /* Whoever may see the job may lock its row. */
    uint64_t since_us = acts ? w->acts_since_us : w->concludes_since_us;

    return !w->ended && since_us > 0 && now_us() - since_us >= AT_LENGTH_US;
}

bool worker_hours_are_over(const struct worker *w)
{
    return w->hours_end_us > 0 && now_us() >= w->hours_end_us;
}

void worker_use(struct worker *w, const struct config_batch *batch, const struct config_throttle *throttle)
{
    w->setup.batch = w->hand.batch = batch;
    w->setup.throttle = throttle;
    apply_limits(w);
}

static void on_untangled(void *arg, const struct session_event *e)
{
    struct worker *w = arg;
    const char *who = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "who") : NULL;

    w->untangling = false;
    if (who)
        report_untangled(&w->report, who);
}

/* An index build that waits for who waits for it: its session is the server's to end, within a deadlock_timeout. */
static void untangle(struct worker *w)
{
    char pid[24];

    if (w->action.kind != RUNNER_STEP || !w->step.apart || !w->step.looked || w->untangling || !control_is_ready(w->setup.control) ||
        !monitor_sees_wait(w->setup.monitor, worker_pid(w)))
        return;
    w->untangling = true;
    act_ask(w, &(struct session_query){SQL_UNTANGLE, 1, {number_text(pid, worker_pid(w))}}, on_untangled);
}

void worker_reconnect(struct worker *w)
{
    w->retell = true;
    if (hand_follow(&w->hand) && !w->ended && action_has_session(w->action.kind) && !w->doubt.asking) {
        answer_feed(w, &(struct runner_event){.kind = RUNNER_LOST, .message = "the control session has gone to another server", .sqlstate = SQLSTATE_LOST});
        return;
    }
    if (!w->ended && w->action.kind == RUNNER_REST && worker_pid(w) == 0 && event_pending(w->timer, EV_TIMEOUT, NULL))
        event_active(w->timer, EV_TIMEOUT, 1);
}

void worker_press(struct worker *w)
{
    const struct blocking *blocking = monitor_blocking(w->setup.monitor, worker_pid(w));

    if (!w->ended)
        untangle(w);
    /* The verdict may name another signal, which is worse; who waits is let through all the same. */
    if (w->ended || !blocking || w->throttle.limits.off[SIGNAL_BLOCKED_MS] ||
        blocking->waited_ms < w->throttle.limits.limit[SIGNAL_BLOCKED_MS] || !action_has_session(w->action.kind) || w->action.kind == RUNNER_CONNECT || w->action.kind == RUNNER_BOUND)
        return;
    w->relieves = true;
    answer_feed(w, &(struct runner_event){.kind = RUNNER_RELIEVE});
    w->relieves = false;
}

void worker_renew(struct worker *w, const char *token)
{
    replace_string(&w->job->token, token);
    w->hand.gone = w->hand.session != NULL; /* it is no worker's any more */
}

int worker_pid(const struct worker *w)
{
    return w->hand.session ? session_pid(w->hand.session) : 0;
}

int64_t worker_job(const struct worker *w)
{
    return w->job->id;
}

int worker_slot(const struct worker *w)
{
    return w->job->slot;
}

const char *worker_token(const struct worker *w)
{
    return w->job->token;
}

bool worker_was_no_help(const struct worker *w)
{
    return w->runner.work.troubled || w->runner.work.counts.batches == 0;
}

void worker_absorb(struct worker *w, const struct worker *helper)
{
    counts_add(&w->runner.work.counts, &helper->runner.work.counts);
}

bool worker_has_ended(const struct worker *w)
{
    return w->ended;
}

bool worker_was_ours(const struct worker *w)
{
    return w->was_ours;
}

const struct job *worker_of(const struct worker *w, enum job_phase *ret_phase)
{
    *ret_phase = w->runner.migration.phase;
    return w->job;
}

bool worker_has_failed(const struct worker *w)
{
    return w->failed;
}

bool worker_is_leaving(const struct worker *w)
{
    return w->action.kind == RUNNER_RELEASE || w->action.kind == RUNNER_FINISH;
}

char *worker_bar_text(struct worker *w, const char *away)
{
    struct journal_progress p = report_progress(&w->report);
    return journal_bar_text(w->job->name, &p, away ? away : w->runner.work.patience.waiting_for);
}

bool worker_view(struct worker *w, struct job_view *ret_view)
{
    if (w->ended && (!w->was_ours || w->job->slot > 0))
        return false;
    job_view_fill(ret_view, w->setup.database, w->job, &w->runner, &w->throttle);
    ret_view->started_at = snapshot_time(w->report.started_us);
    ret_view->workers = w->walkers;
    ret_view->max_keys_per_s *= w->walkers;
    ret_view->moved_at = snapshot_time(w->report.moved_at_us);
    if (w->ended) {
        ret_view->state = w->runner.work.ending.state;
        ret_view->slow = SLOW_NOT;
        ret_view->ended_at = snapshot_now();
    }
    return true;
}

struct worker *worker_free(struct worker *w)
{
    if (!w)
        return NULL;
    control_forget(w->setup.control, w);
    control_forget(w->setup.control, &w->hand);
    control_forget(w->setup.control, &w->doubt);
    monitor_forget(w->setup.monitor, w);
    monitor_forget(w->setup.monitor, &w->hand);
    hand_close(&w->hand);
    event_free(w->timer);
    event_free(w->tick);
    event_free(w->hours);
    free(w->holders);
    free(w->met);
    free(w->locked);
    free(w->planned);
    survey_done(&w->survey);
    range_done(&w->range);
    step_done(&w->step);
    free(w->shown_waiting);
    doubt_done(&w->doubt);
    free(w->given_back);
    free(w->no_room);
    report_done(&w->report);
    runner_done(&w->runner);
    job_free(w->job);
    free(w);
    return NULL;
}
