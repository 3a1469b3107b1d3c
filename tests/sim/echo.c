/* A primary that a job and an application write to, and a standby that replays what it can; a monitor reads, twenty times a
 * second, where both are, and now and then nothing. All rates are bytes a microsecond.
 *
 * Steady: the standby replays at one speed, from a twenty-fifth of what the job could write to more. The job must settle below
 * the limit, pass it at no time by more than a batch and the time between two readings, and use what the standby can take.
 * Stalls: the standby stands still for a while now and then, and the monitor is deaf for a while, and others on the host come
 * and go. Nothing may be begun that the last reading forbids; once all is well the job must end.
 *
 * Some jobs have a target speed. It must be met where the standby would take more, and never be passed, whatever came
 * between. Timers are late by a little, as they are. */
#include "echo.h"
#include "pressure/pace.h"
#include "random.h"
#include "run/runner.h"
#include "pressure/standby.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_MS         1000
#define MONITOR_LIMIT_MS 1000
#define READ_EVERY_US    50000
#define TARGET_US        20000
#define KEYS             4000000
#define SETTLED_US       4000000   /* then it is judged */
#define JUDGED_US        12000000  /* for so long */
#define LONGEST_US       600000000 /* an end by then, however slow the standby */
#define LEAST_USE        0.85      /* of what the standby can replay */
#define MOST_OFF         0.02      /* from a target speed, over the time that is judged */
#define BURST            1.25 /* of it in any one second: what may be made up for, and the batch under way */
#define TARGET_FOR_US    40e6 /* a job with a target has work for so long */
#define LATE_US          3000 /* a timer may be */
#define STEP_US          2000 /* how finely the world moves while an action takes its time */

struct echo {
    struct random random;
    struct runner r;
    struct lag lag;
    struct standbys standbys;
    struct pressure pressure;
    struct pressure_limits limits;

    uint64_t now_us, read_at_us, deaf_until_us, stalled_until_us;
    double lsn, replayed;         /* bytes since the start */
    double application, capacity; /* rates */
    double us_per_key, wal_per_key;
    struct lag truth; /* the same memory, noted at every step */
    int64_t cursor, keys;
    bool stalls, yields;
    double load;   /* the host's pressure */
    double target; /* keys a second; 0: none */

    /* What is judged. */
    uint64_t busy_us; /* in actions that are no rest */
    double sum, squares, written_from, most_ms;
    uint64_t samples;
    int64_t judged_from, judged_to; /* keys */
    uint64_t second_began_us;
    int64_t second_from;
    bool verbose;
    const char *broken;
};

static void say(struct echo *e, const char *promise)
{
    if (!e->broken)
        e->broken = promise;
    if (e->verbose)
        printf("%12.6f BROKEN: %s\n", (double)e->now_us / 1e6, promise);
}

static bool is_judged(const struct echo *e)
{
    return !e->stalls && e->now_us >= SETTLED_US && e->now_us < SETTLED_US + JUDGED_US;
}

static double lag_ms(const struct echo *e)
{
    return (double)lag_us(&e->truth, (uint64_t)e->replayed, e->now_us) / 1e3;
}

static void read_all(struct echo *e)
{
    pressure_begin(&e->pressure, e->now_us);
    lag_note(&e->lag, (uint64_t)e->lsn, e->now_us);
    standby_begin(&e->standbys);
    standby_see(&e->standbys, "standby", true, (uint64_t)e->replayed, e->now_us);
    standby_press(&e->standbys, &e->lag, (uint64_t)e->lsn, false, e->now_us, &e->pressure);
}

/* Time passes, while the job writes at that rate. */
static void pass(struct echo *e, uint64_t us, double job)
{
    while (us > 0) {
        uint64_t step = us < STEP_US ? us : STEP_US;
        e->now_us += step;
        us -= step;
        e->lsn += (job + e->application) * (double)step;
        if (e->now_us >= e->stalled_until_us)
            e->replayed = fmin(e->lsn, e->replayed + e->capacity * (double)step);
        lag_note(&e->truth, (uint64_t)e->lsn, e->now_us);
        if (e->now_us >= e->read_at_us) {
            e->read_at_us = e->now_us + READ_EVERY_US;
            if (e->now_us >= e->deaf_until_us)
                read_all(e);
        }
        double late = lag_ms(e);
        e->most_ms = fmax(e->most_ms, late);
        if (is_judged(e)) {
            e->sum += late;
            e->squares += late * late;
            e->samples++;
            if (e->written_from <= 0) {
                e->written_from = e->lsn;
                e->judged_from = e->cursor;
            }
            e->judged_to = e->cursor;
        }
    }
}

/* Trouble comes, until half a minute in; then all is well. */
static void trouble(struct echo *e)
{
    e->r.work.pace.host = (struct pressure_verdict){.signal = SIGNAL_NONE};
    if (!e->stalls || e->now_us > 30000000)
        return;
    /* Others on the host come and go. */
    if (random_chance(&e->random, 20))
        e->load = 1.2 * random_fraction(&e->random);
    e->r.work.pace.host = (struct pressure_verdict){.signal = e->load > 0 ? SIGNAL_CPU : SIGNAL_NONE,
        .ratio = e->load,
        .value = e->load,
        .limit = 1,
        .known = true};
    if (e->now_us >= e->stalled_until_us && random_chance(&e->random, 10))
        e->stalled_until_us = e->now_us + random_below(&e->random, 3000000);
    if (e->now_us >= e->deaf_until_us && random_chance(&e->random, 10))
        e->deaf_until_us = e->now_us + random_below(&e->random, 3000000);
}

static void run_batch(struct echo *e, const struct runner_action *a, struct runner_event *event)
{
    int64_t keys = a->keys ? (int64_t)a->keys : e->keys - e->cursor;
    uint64_t us = 300 + (uint64_t)((double)keys * e->us_per_key * (0.8 + 0.4 * random_fraction(&e->random)));
    struct pressure_verdict v = pressure_judge(&e->pressure, &e->limits, false, e->now_us);

    if (v.ratio >= 1 || e->r.work.pace.host.ratio >= 1)
        say(e, "a batch was begun at the limit");
    uint64_t elapsed = a->yield_us && us > a->yield_us ? us + us / a->yield_us * PACE_YIELD_US : us;
    pass(e, elapsed, (double)keys * e->wal_per_key / (double)elapsed);
    e->busy_us += pace_worked_us(a->yield_us, (uint64_t)keys, elapsed);
    e->cursor += keys;
    if (e->now_us - e->second_began_us > 1000000) {
        e->second_began_us = e->now_us;
        e->second_from = e->cursor;
    }
    if (e->target > 0 && (double)(e->cursor - e->second_from) > BURST * e->target + 2)
        say(e, "a second had more than the target speed");
    *event = (struct runner_event){.kind = RUNNER_DONE, .rows = (uint64_t)keys, .elapsed_us = elapsed};
}

/* Does what the action says; false at the end. */
static bool perform(struct echo *e, const struct runner_action *a, struct runner_event *event, char bound[32])
{
    int64_t asked = 0;

    *event = (struct runner_event){.kind = RUNNER_DONE};
    if (a->kind == RUNNER_BATCH) {
        run_batch(e, a, event);
        asked = a->next_keys;
    } else if (a->kind == RUNNER_BOUND)
        asked = a->keys;
    else if (a->kind == RUNNER_REST)
        pass(e, a->until_us - e->now_us + (e->target > 0 ? random_below(&e->random, LATE_US) : 0), 0);
    else if (a->kind == RUNNER_TAKE) {
        event->outcome = e->cursor < e->keys ? RUNNER_TAKE_RANGE : RUNNER_TAKE_NONE;
        event->range = event->epoch = 1;
        event->upper = "{end}";
        event->yields = e->yields;
    } else if (a->kind == RUNNER_END)
        return false;
    if (asked && e->cursor + asked < e->keys) {
        snprintf(bound, 32, "{%lld}", (long long)(e->cursor + asked));
        event->bound = bound;
    }
    return true;
}

static void judge(struct echo *e)
{
    double most = e->wal_per_key / e->us_per_key, mean = e->sum / (double)e->samples;
    double can = fmin(e->capacity, most + e->application);
    double wanted = e->application + e->target / 1e6 * e->wal_per_key;
    double speed = (double)(e->judged_to - e->judged_from) / (JUDGED_US / 1e6);
    double used = (e->lsn - e->written_from) / JUDGED_US;
    /* What one batch writes, the standby is busy with for so long. */
    double one_batch_ms = TARGET_US / 1e3 * most / e->capacity;

    if (e->samples == 0)
        return;
    if (mean > LIMIT_MS)
        say(e, "the lag settled above its limit");
    if (e->most_ms > LIMIT_MS + one_batch_ms + READ_EVERY_US / 1e3)
        say(e, "the lag passed its limit by more than a batch");
    if (sqrt(fmax(0, e->squares / (double)e->samples - mean * mean)) > fmax(LIMIT_MS / 4.0, one_batch_ms))
        say(e, "the lag swings");
    /* Pressure is felt long before the standby is at its end. */
    if (e->target > 0 && wanted < 0.6 * can && speed < (1 - MOST_OFF) * e->target - 1)
        say(e, "the target speed was not met");
    if (e->target > 0 && speed > (1 + MOST_OFF) * e->target + 1)
        say(e, "the target speed was passed");
    if (e->target > 0)
        can = fmin(can, wanted);
    if (e->written_from > 0 && e->now_us >= SETTLED_US + JUDGED_US && used < LEAST_USE * can)
        say(e, "the standby could have taken more");
    if (e->verbose)
        printf(
            "capacity %.1f of %.1f, application %.1f, mean lag %.0f ms, most %.0f, used %.2f of it; %.1f keys/s of %.1f\n",
            e->capacity, most, e->application, mean, e->most_ms, used / can, speed, e->target);
}

static void check_account(struct echo *e)
{
    uint64_t throttled = 0;
    for (int i = 0; i < _SIGNAL_MAX; i++)
        throttled += e->r.work.counts.throttled_us[i];
    if (throttled + e->r.work.counts.rest_us + e->busy_us != e->now_us)
        say(e, "a moment was not accounted for");
}

static void set_up(struct echo *e, uint64_t seed, bool verbose)
{
    struct runner_limits limits = {.pace.target_us = TARGET_US,
        .pace.busy_us = TARGET_US / 10,
        .pace.busy_share = 0.5,
        .pace.min_keys = 1,
        .pace.max_keys = 100000};
    *e = (struct echo){.random = {.state = seed}, .verbose = verbose};

    e->stalls = random_chance(&e->random, 500);
    e->yields = random_chance(&e->random, 500);
    e->us_per_key = 2 + 8 * random_fraction(&e->random);
    e->wal_per_key = 100 + 300 * random_fraction(&e->random);
    e->capacity = (0.04 + 1.66 * random_fraction(&e->random)) * e->wal_per_key / e->us_per_key;
    e->application = 0.5 * random_fraction(&e->random) * e->capacity;
    e->limits.limit[SIGNAL_MONITOR] = MONITOR_LIMIT_MS;
    e->limits.limit[SIGNAL_LAG_MS] = LIMIT_MS;
    e->limits.limit[SIGNAL_LAG_MB] = e->limits.limit[SIGNAL_STANDBY] = e->limits.limit[SIGNAL_BLOCKED_MS] = 1;
    e->limits.off[SIGNAL_LAG_MB] = true;
    double free_share = (e->capacity - e->application) * e->us_per_key / e->wal_per_key;
    e->keys = (int64_t)(KEYS * fmin(1, 5 * free_share)); /* so that it can end in time */
    if (random_chance(&e->random, 500)) { /* from one key in a while to more than there is speed for */
        e->target = pow(10, 0.5 + 5 * random_fraction(&e->random));
        e->keys = (int64_t)fmin((double)e->keys, e->target * TARGET_FOR_US / 1e6);
        limits.pace.max_keys_per_s = e->target;
    }
    runner_init(&e->r, PHASE_BACKFILL, (uint64_t)e->keys, 0, &limits, seed, 0);
}

const char *echo_run(uint64_t seed, bool verbose)
{
    struct echo *e = malloc(sizeof(*e));
    struct runner_event event = {.kind = RUNNER_START};
    bool judged = false;
    char bound[32];

    if (!e)
        abort();
    set_up(e, seed, verbose);
    while (!e->broken && e->now_us < LONGEST_US) {
        trouble(e);
        e->r.work.pace.others = pressure_judge(&e->pressure, &e->limits, false, e->now_us);
        struct runner_action a = runner_step(&e->r, &event, e->now_us);
        if (verbose)
            printf(
                "%12.6f %s, lag %.0f ms\n", (double)e->now_us / 1e6, runner_action_name(a.kind), lag_ms(e));
        if (!perform(e, &a, &event, bound))
            break;
        if (!judged && e->now_us >= SETTLED_US + JUDGED_US) {
            judged = true;
            judge(e);
        }
    }
    if (e->cursor < e->keys)
        say(e, "the job did not end");
    check_account(e);
    const char *broken = e->broken;
    runner_done(&e->r);
    free(e);
    return broken;
}
