/* One job among everything that can go wrong: daemons that are killed, doubled, stopped and started,
 * connections that break at the worst moment, users who change their minds, rows that come and go. When it
 * has been enough the world turns calm, and then the job must end within a bounded number of steps, with
 * every row done once. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CALM_STEPS                                                                                           \
    200000 /* far above what the greatest model needs: the bound is there for a run that never ends */
#define CHAOS_RETRIES 3 /* the model has room for the ranges of so many */

static struct world world; /* too big for a stack */

void world_break(struct world *w, const char *promise)
{
    if (!w->broken)
        w->broken = promise;
    world_trace(w, NULL, "BROKEN: %s", promise);
}

void world_trace(const struct world *w, const struct daemon *d, const char *format, ...)
{
    va_list args;
    if (!w->verbose)
        return;
    printf("%12.6f ", (double)w->now_us / 1e6);
    if (d)
        printf("daemon %d ", (int)(d - w->daemons));
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* ---- The mixture of a run. -------------------------------------------------------------------------- */

static uint32_t draw_rate(struct random *r)
{
    static const uint32_t rates[] = {0, 0, 0, 5, 30, 150};
    return rates[random_below(r, sizeof(rates) / sizeof(rates[0]))];
}

static void init(struct world *w, uint64_t seed, bool verbose)
{
    static const uint32_t max_keys[] = {1, 2, 5, 20, 100, 10000};
    struct random *r = &w->random;

    *r = (struct random){.state = seed};
    w->verbose = verbose;
    model_init(&w->model, r);
    memset(w->daemons, 0, sizeof(w->daemons));
    w->rates = (struct fault_rates){
        .never_sent = draw_rate(r),
        .rolled_back = draw_rate(r),
        .answer_lost = draw_rate(r),
        .refused = draw_rate(r),
        .slow = draw_rate(r),
    };
    w->limits = (struct runner_limits){
        .pace.target_us = random_between(r, 500, 5000),
        .pace.min_keys = 1,
        .pace.max_keys = max_keys[random_below(r, sizeof(max_keys) / sizeof(max_keys[0]))],
        .quarantine = w->model.quarantine,
    };
    w->greatest_keys = w->limits.pace.max_keys;
    w->timeout_keys = random_chance(r, 800) ? 0 : random_between(r, 1, 10);
    for (int i = 0; i < _WORLD_EVENT_MAX; i++)
        w->event_shares[i] = random_chance(r, 500) ? random_between(r, 1, 10) : 0;
    w->event_shares[EVENT_NOTHING] = 1;
    w->event_shares[EVENT_START] += 2;
    w->event_shares[EVENT_RESUME] += 2;
    w->event_shares[EVENT_CANCEL] = random_chance(r, 100) ? 1 : 0;
    w->event_gap_us = random_between(r, 500, 20000);
    w->event_us = random_between(r, 1, w->event_gap_us);
    w->now_us = 1000000;
    w->event_us += w->now_us;
    w->due = EVENT_NOTHING;
    w->outage_began_us = w->outage_until_us = 0;
    w->crowded = random_chance(r, 300);
    w->integers = random_chance(r, 500);
    w->crowded_since_us = w->now_us;
    w->calm = w->may_fail = false;
    w->retries = w->n_pasts = 0;
    w->steps = w->calm_steps = 0;
    w->calm_after = random_below(r, 300);
    if (w->model.plan.verify && !w->model.plan.guard) { /* all that rows meet behind a pass is another: so there are many of both */
        w->event_shares[EVENT_WRITE] = random_between(r, 1, 10);
        w->event_shares[EVENT_MOVE] = random_between(r, 0, 10);
        w->event_shares[EVENT_KILL] = random_between(r, 1, 10);
        w->calm_after = random_below(r, 3000);
    }
    w->broken = NULL;
    world_trace(w, NULL, "%d relations, at most %u keys, target %u us, rows that fail are %s",
        w->model.n_relations, w->limits.pace.max_keys, w->limits.pace.target_us,
        w->limits.quarantine ? "put aside" : "the end");
    for (uint32_t n = random_chance(r, 500) ? 1 : random_between(r, 2, WORLD_DAEMONS), i = 0; i < n; i++)
        daemon_start(w, &w->daemons[i]);
}

/* ---- What happens beside the actions. --------------------------------------------------------------- */

static struct daemon *pick_daemon(struct world *w)
{
    struct daemon *d = &w->daemons[random_below(&w->random, WORLD_DAEMONS)];
    return d->alive ? d : NULL;
}

static void start_another(struct world *w)
{
    for (int i = 0; i < WORLD_DAEMONS; i++)
        if (!w->daemons[i].alive && !w->daemons[i].statement.under_way) {
            daemon_start(w, &w->daemons[i]);
            return;
        }
}

void user_wants(struct world *w, enum job_wanted wanted)
{
    if (w->model.wanted == wanted)
        return;
    world_trace(w, NULL, "the user wants %s", job_wanted_name(wanted));
    model_want(&w->model, wanted);
    for (int i = 0; i < WORLD_DAEMONS; i++)
        if (w->daemons[i].alive)
            w->daemons[i].notice_us =
                w->now_us + random_between(&w->random, 1, random_chance(&w->random, 500) ? 300 : 20000);
}

/* A runner that meets an absent server doubles its wait: 25 to 50 ms first, 0.5 to 1 s at last. */
static void end_outage(struct world *w)
{
    uint64_t lasted_us = w->outage_until_us - w->outage_began_us;
    for (int i = 0; i < WORLD_DAEMONS; i++)
        if (w->daemons[i].has_runner && (uint64_t)w->daemons[i].outage_tries > 10 + lasted_us / 500000)
            world_break(w, "a server that was away was asked too often");
    w->outage_until_us = 0;
    w->crowded_since_us = w->now_us;
    world_trace(w, NULL, "the server is back");
}

static void begin_outage(struct world *w, enum world_event why)
{
    static const uint32_t lengths_us[] = {1000, 20000, 300000, 20000000, 200000000};
    if (w->outage_until_us)
        return;
    if (why != EVENT_OUTAGE)
        past_return(w, why == EVENT_FAILOVER);
    w->outage_began_us = w->now_us;
    w->outage_until_us = w->now_us + random_between(&w->random, 1, lengths_us[random_below(&w->random, 5)]);
    world_trace(w, NULL, "the server goes away for %.3f s", (double)(w->outage_until_us - w->now_us) / 1e6);
    for (int i = 0; i < WORLD_DAEMONS; i++) {
        struct daemon *d = &w->daemons[i];
        struct statement *s = &d->statement;
        d->outage_tries = 0;
        if (d->alive)
            daemon_lose_control(w, d);
        if (why == EVENT_OUTAGE && s->under_way && !s->executed && s->action.kind != RUNNER_REST)
            s->fate = FATE_ROLLED_BACK;
    }
    w->event_us = w->outage_until_us + 1;
}

static void change_limits(struct world *w)
{
    w->limits.pace.max_keys = random_between(&w->random, 1, 100);
    w->limits.pace.target_us = random_between(&w->random, 500, 5000);
    for (int i = 0; i < WORLD_DAEMONS; i++)
        if (w->daemons[i].has_runner)
            runner_limit(&w->daemons[i].runner, &w->limits);
    /* A batch whose bound was found before may be greater than the new limit, but not than the greatest. */
    if (w->limits.pace.max_keys > w->greatest_keys)
        w->greatest_keys = w->limits.pace.max_keys;
}

static enum world_event draw_event(struct world *w)
{
    uint32_t total = 0;
    for (int i = 0; i < _WORLD_EVENT_MAX; i++)
        total += w->event_shares[i];
    uint32_t at = random_below(&w->random, total);
    int event = 0;
    while (at >= w->event_shares[event])
        at -= w->event_shares[event++];
    return (enum world_event)event;
}

static void happen(struct world *w)
{
    struct daemon *d = pick_daemon(w);

    w->event_us = w->now_us + random_between(&w->random, 1, w->event_gap_us);
    if (w->outage_until_us)
        end_outage(w);
    enum world_event event = w->due ? w->due : draw_event(w);
    if (w->due && w->daemons[w->due_to].alive)
        d = &w->daemons[w->due_to];
    w->due = EVENT_NOTHING;
    past_note(w);
    if (random_chance(&w->random, 300)) /* the WAL writer, or somebody's commit */
        past_flush(w);
    switch (event) {
    case EVENT_KILL:
        if (d)
            daemon_kill(w, d);
        break;
    case EVENT_CONTROL_LOST:
        if (d)
            daemon_lose_control(w, d);
        break;
    case EVENT_STOP:
        if (d)
            daemon_stop(w, d, RUNNER_WANT_STOP);
        break;
    case EVENT_STOP_NOW:
        if (d)
            daemon_stop(w, d, RUNNER_WANT_STOP_NOW);
        break;
    case EVENT_START: start_another(w); break;
    case EVENT_PAUSE: user_wants(w, WANTED_PAUSE); break;
    case EVENT_RESUME: user_wants(w, WANTED_RUN); break;
    case EVENT_CANCEL: user_wants(w, WANTED_CANCEL); break;
    case EVENT_DELETE: model_delete(&w->model, &w->random); break;
    case EVENT_INSERT: model_insert(&w->model, &w->random); break;
    case EVENT_OUTAGE:
    case EVENT_CRASH:
    case EVENT_FAILOVER: begin_outage(w, event); break;
    case EVENT_RETRY:
        if (w->retries++ < CHAOS_RETRIES)
            model_retry(&w->model);
        break;
    case EVENT_LIMITS: change_limits(w); break;
    case EVENT_WORKERS: w->model.workers = (int)random_between(&w->random, 1, MODEL_SLOTS + 2); break;
    case EVENT_LOCK: model_lock(&w->model, &w->random); break;
    case EVENT_WRITE:
        if (w->model.migrates)
            model_write(&w->model, &w->random);
        break;
    case EVENT_MOVE: model_move(&w->model, &w->random); break;
    case EVENT_REFUSE: model_refuse(&w->model, &w->random); break;
    case EVENT_QUEUE:
        w->crowded = !w->crowded;
        w->crowded_since_us = w->now_us;
        world_trace(w, NULL, "others %s", w->crowded ? "queue" : "queue no longer");
        break;
    case EVENT_NOTHING:
    case _WORLD_EVENT_MAX: break;
    }
}

/* ---- The end of a run. ------------------------------------------------------------------------------ */

static void become_calm(struct world *w)
{
    world_trace(w, NULL, "nothing goes wrong from now on");
    w->calm = true;
    if (w->outage_until_us)
        end_outage(w);
    if (w->model.wanted == WANTED_PAUSE)
        user_wants(w, WANTED_RUN);
}

/* What a service manager is for. */
static void keep_one_daemon(struct world *w)
{
    bool served = false;
    for (int i = 0; i < WORLD_DAEMONS; i++)
        served |= w->daemons[i].alive && !w->daemons[i].stopping;
    if (!served)
        start_another(w);
}

static bool is_quiet(const struct world *w)
{
    for (int i = 0; i < WORLD_DAEMONS; i++)
        if (w->daemons[i].has_runner || w->daemons[i].statement.under_way)
            return false;
    return true;
}

/* The job has ended and nobody works on it. True when there is nothing left to be wished for; else its user
 * mends what was wrong and tries again. */
static bool user_is_content(struct world *w)
{
    struct model *m = &w->model;

    if (m->state == JOB_CANCELLED || (m->state == JOB_SUCCEEDED && m->n_left_behind == 0)) {
        if (m->state == JOB_SUCCEEDED && m->wanted == WANTED_CANCEL)
            world_break(w, "a job succeeded that was to be cancelled: nobody takes its trigger out");
        if (m->state == JOB_SUCCEEDED && m->plan.in_step && !m->finished) {
            world_trace(w, NULL, "the user finishes the job");
            m->finished = true;
        }
        if (!model_is_untidy(m) && m->synced)
            world_break(w, "a job that is over left its trigger behind");
        return !model_is_untidy(m);
    }
    world_trace(w, NULL, "the user mends the rows and tries again");
    model_mend_rows(m);
    w->may_fail = false;
    model_retry(m);
    return false;
}

static void turn(struct world *w)
{
    struct daemon *next = NULL;
    uint64_t next_us = w->calm ? UINT64_MAX : w->event_us;

    for (int i = 0; i < WORLD_DAEMONS; i++)
        if (daemon_next_us(&w->daemons[i]) < next_us) {
            next = &w->daemons[i];
            next_us = daemon_next_us(next);
        }
    if (next_us == UINT64_MAX) {
        world_break(w, "nothing will ever happen again");
        return;
    }
    if (next_us > w->now_us)
        w->now_us = next_us;
    w->model.now_us = w->now_us;
    if (next)
        daemon_turn(w, next);
    else
        happen(w);
}

const char *chaos_run(uint64_t seed, bool verbose)
{
    struct world *w = &world;

    init(w, seed, verbose);
    while (!w->broken && !w->model.broken) {
        bool ended = w->model.state >= JOB_SUCCEEDED && is_quiet(w);
        if (!w->calm && (ended || ++w->steps > w->calm_after))
            become_calm(w);
        if (w->calm && ended && user_is_content(w))
            break;
        if (w->calm)
            keep_one_daemon(w);
        if (w->calm && ++w->calm_steps > CALM_STEPS)
            world_break(w, "the job did not end");
        turn(w);
    }
    for (int i = 0; i < WORLD_DAEMONS; i++)
        if (w->daemons[i].has_runner)
            runner_done(&w->daemons[i].runner);
    if (verbose && w->model.broken)
        world_trace(w, NULL, "BROKEN: %s", w->model.broken);
    return w->broken ? w->broken : w->model.broken;
}
