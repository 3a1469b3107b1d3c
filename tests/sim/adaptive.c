/* A job on one big table, whose batches must keep to their target time while the server answers with a fixed
 * cost, a cost a row, and noise. In a scenario the rows or the server change; each stretch between changes is
 * judged on its own, after the first SETTLED_AFTER batches. Positions are row numbers. */
#include "adaptive.h"
#include "random.h"
#include "run/runner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLED_AFTER        60 /* batches */
#define STRETCH_BATCHES      400
#define MAX_STRETCHES        3
#define MAX_LONG             3 /* batches of more than 5 times the target, a change */
/* Cut short at the first great row, batches grow again on the small rows before it, and may meet it twice: of
 * 100,000 such tables 5 had 4 long batches, and none had more. */
#define MAX_LONG_GROWING     5
#define STATEMENT_TIMEOUT_US 5000000
#define END_OF_TABLE         INT64_C(1000000000000)

enum scenario {
    SMALL_ROWS,  /* 100 bytes */
    BIG_ROWS,    /* a megabyte */
    GROWING,     /* from the second stretch on rows are a thousand times greater */
    SLOW_SERVER, /* the second of three stretches takes ten times as long */
    BAD_ROWS,    /* some cannot be computed, and are put aside */
    _SCENARIO_MAX,
};

static const char *const scenario_names[_SCENARIO_MAX] = {
    "small rows", "big rows", "growing rows", "slow server", "bad rows"};

struct stretch {
    double us_per_row, fixed_us;
    double wal_per_row;
    int batches, asked_bounds, too_long;
    int wal_too_much; /* batches above the cap, once it is known what a row costs */
    double us[STRETCH_BATCHES];
    double keys[STRETCH_BATCHES];
};

struct table {
    enum scenario scenario;
    struct random random;
    struct stretch stretches[MAX_STRETCHES];
    int n_stretches, now;       /* the stretch that we are in */
    int64_t cursor, changes_at; /* GROWING: the first row of the second stretch */
    int64_t next_bad, bad_every;
    struct runner_limits limits;
    uint64_t now_us;
    double greatest_keys; /* of a batch so far */
    bool verbose;
    const char *broken;
};

static void say(struct table *t, const char *promise)
{
    if (!t->broken)
        t->broken = promise;
    if (t->verbose)
        printf("%12.6f BROKEN: %s\n", (double)t->now_us / 1e6, promise);
}

/* ---- What a batch costs. ---------------------------------------------------------------------------- */

/* Most batches take what they should to 40 %, one in fifty takes two or three times that. */
static double noise(struct table *t)
{
    double usual = 0.7 + 0.7 * random_fraction(&t->random);
    return random_chance(&t->random, 20) ? usual * (2 + random_fraction(&t->random)) : usual;
}

/* Without the noise. */
static void cost_of(const struct table *t, int64_t lo, int64_t hi, double *ret_us, double *ret_wal)
{
    const struct stretch *last = &t->stretches[t->now],
                         *first = t->scenario == GROWING ? &t->stretches[0] : last;
    double rows = (double)(hi - lo), before = 0; /* rows of the first stretch */

    if (t->scenario == GROWING && lo + 1 < t->changes_at)
        before = hi < t->changes_at ? rows : (double)(t->changes_at - 1 - lo);
    *ret_us = last->fixed_us + before * first->us_per_row + (rows - before) * last->us_per_row;
    *ret_wal = before * first->wal_per_row + (rows - before) * last->wal_per_row;
}

/* How many rows a batch should have: what the target, the WAL cap and the limits allow. */
static double ideal_keys(const struct table *t, const struct stretch *s)
{
    double keys = (t->limits.pace.target_us - s->fixed_us) / s->us_per_row;
    keys = fmin(keys, BATCH_MAX_WAL_BYTES / s->wal_per_row);
    return fmax(fmin(keys, t->limits.pace.max_keys), t->limits.pace.min_keys);
}

/* ---- The server. ------------------------------------------------------------------------------------ */

static void count_batch(struct table *t, double us, double keys, double wal)
{
    struct stretch *s = &t->stretches[t->now];
    /* Of rows whole: where the target is 1.3 of them, batches of one and of two are both right. */
    double worst = fmax(t->limits.pace.target_us, s->fixed_us + ceil(ideal_keys(t, s)) * s->us_per_row);

    if (keys > BATCH_FIRST_KEYS && keys > 1.5 * t->greatest_keys + 1)
        say(t, "a batch is more than half as great again as those before");
    t->greatest_keys = fmax(t->greatest_keys, keys);
    if (s->batches == STRETCH_BATCHES) {
        say(t, "batches are much smaller than they could be");
        return;
    }
    if (us > 5 * worst)
        s->too_long++;
    if (s->batches > 10 && keys > 1 && wal > 1.25 * BATCH_MAX_WAL_BYTES)
        s->wal_too_much++;
    if (t->verbose)
        printf("%12.6f batch of %.0f keys, %.3f ms, %.0f bytes of WAL\n", (double)t->now_us / 1e6, keys,
            us / 1e3, wal);
    s->us[s->batches] = us;
    s->keys[s->batches] = keys;
    if (++s->batches == STRETCH_BATCHES)
        t->now++;
}

static bool in_isolation(const struct runner *r)
{
    return r->walker.isolate > 0;
}

static struct runner_event run_batch(
    struct table *t, struct runner *r, const struct runner_action *a, char bound[24])
{
    int64_t hi = strtoll(r->walker.hi, NULL, 10), keys = hi - t->cursor;
    double us, wal;

    if (t->scenario == GROWING)
        t->now = hi >= t->changes_at;
    cost_of(t, t->cursor, hi, &us, &wal);
    us *= noise(t);
    wal *= 0.9 + 0.2 * random_fraction(&t->random);
    if (hi <= t->cursor)
        say(t, "a cursor did not move forward");
    if (us > STATEMENT_TIMEOUT_US) {
        t->now_us += STATEMENT_TIMEOUT_US;
        t->stretches[t->now].too_long++;
        return (struct runner_event){
            .kind = RUNNER_ERROR, .sqlstate = "57014", .message = "statement timeout"};
    }
    t->now_us += (uint64_t)us;
    if (t->bad_every && hi >= t->next_bad)
        return (struct runner_event){
            .kind = RUNNER_ERROR, .sqlstate = "22012", .message = "division by zero"};
    if (!in_isolation(r))
        count_batch(t, us, (double)keys, wal);
    t->cursor = hi;
    snprintf(bound, 24, "%lld", (long long)(hi + a->next_keys));
    return (struct runner_event){.rows = (uint64_t)keys,
        .kind = RUNNER_DONE,
        .elapsed_us = (uint64_t)us,
        .wal_bytes = (uint64_t)wal,
        .bound = bound};
}

/* Does what the action says. */
static struct runner_event perform(
    struct table *t, struct runner *r, const struct runner_action *a, char text[24])
{
    struct runner_event e = {.kind = RUNNER_DONE};

    t->now_us += 200;
    switch (a->kind) {
    case RUNNER_TAKE:
        e.range = e.epoch = 1;
        snprintf(text, 24, "%lld", (long long)t->cursor);
        e.cursor = text;
        e.upper = "1000000000000";
        break;
    case RUNNER_BOUND:
        t->stretches[t->now].asked_bounds += !in_isolation(r);
        snprintf(text, 24, "%lld", (long long)(t->cursor + a->keys));
        e.bound = text;
        break;
    case RUNNER_BATCH: return run_batch(t, r, a, text);
    case RUNNER_COMPARE:
        e.compared = (struct blame_look){.passed = true, .key_fails = t->cursor + 1 == t->next_bad};
        break;
    case RUNNER_PUT_ASIDE:
        if (t->cursor + 1 != t->next_bad)
            say(t, "a row that can be computed was put aside");
        t->cursor++;
        t->next_bad += t->bad_every;
        break;
    case RUNNER_REST: t->now_us = a->until_us; break;
    case RUNNER_CONNECT: break;
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_LAYOUT:
    case RUNNER_SURVEY:
    case RUNNER_ADD_RANGE:
    case RUNNER_BEGIN:
    case RUNNER_NEXT_STEP:
    case RUNNER_STEP:
    case RUNNER_HAND_OVER:
    case RUNNER_RETRY:
    case RUNNER_GIVE_WAY:
    case RUNNER_FINISH:
    case RUNNER_RELEASE:
    case RUNNER_END: say(t, "a job that only fills did something else"); break;
    }
    return e;
}

/* ---- The verdict. ----------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void judge(struct table *t, struct stretch *s)
{
    double ideal = ideal_keys(t, s), ideal_us = s->fixed_us + ideal * s->us_per_row, keys = 0;
    double few = ideal < 4 ? 0.7 : 1; /* of two or three keys a half cannot be taken */
    double enough = ideal < 20 ? 0.45 : 0.7;
    int settled = s->batches - SETTLED_AFTER;

    if (settled <= 0)
        return;
    for (int i = SETTLED_AFTER; i < s->batches; i++)
        keys += s->keys[i] / settled;
    qsort(&s->us[SETTLED_AFTER], (size_t)settled, sizeof(double), by_size);
    double median_us = s->us[SETTLED_AFTER + settled / 2];
    if (t->verbose)
        printf("%12.6f stretch: median %.3f ms, ideal %.3f ms, target %.3f ms, mean keys %.1f, ideal %.1f, "
               "%d too long, %d bounds\n",
            (double)t->now_us / 1e6, median_us / 1e3, ideal_us / 1e3, t->limits.pace.target_us / 1e3, keys, ideal,
            s->too_long, s->asked_bounds);

    if (median_us < few * 0.5 * ideal_us || median_us > 1.5 * fmax(ideal_us, s->fixed_us + s->us_per_row))
        say(t, "the median batch is not near its target");
    if (s->too_long > (t->scenario == GROWING ? MAX_LONG_GROWING : MAX_LONG))
        say(t, "too many batches took more than five times the target");
    if (s->wal_too_much > 0)
        say(t, "a batch wrote more WAL than its cap");
    if (keys < enough * ideal)
        say(t, "batches are much smaller than they could be");
    if (s->asked_bounds > s->batches / 10)
        say(t, "bounds that came with a batch were thrown away");
}

/* ---- The mixture of a run. -------------------------------------------------------------------------- */

static void init(struct table *t, uint64_t seed, bool verbose)
{
    struct random *r = &t->random;

    *t = (struct table){.random = {.state = seed}, .verbose = verbose, .now_us = 1000000};
    t->scenario = (enum scenario)random_below(r, _SCENARIO_MAX);
    t->limits = (struct runner_limits){
        .pace.target_us = random_between(r, 10000, 50000), .pace.min_keys = 1, .pace.max_keys = 100000, .quarantine = true};
    t->n_stretches = t->scenario == SLOW_SERVER ? 3 : t->scenario == GROWING ? 2 : 1;

    double bytes = t->scenario == BIG_ROWS ? 1e6 : 100;
    double us_per_byte =
        exp(log(0.0003) + random_fraction(r) * log(20)); /* to 0.006: a megabyte in 0.3 to 6 ms */
    double base_us = 2 + 8 * random_fraction(r), fixed_us = 200 + 1000 * random_fraction(r);
    for (int i = 0; i < t->n_stretches; i++) {
        double bytes_now = t->scenario == GROWING && i == 1 ? bytes * 1000 : bytes;
        double slow = t->scenario == SLOW_SERVER && i == 1 ? 10 : 1;
        /* A row a thousand times greater takes a thousand times as long: the worst case. */
        double row_us =
            t->scenario == GROWING ? base_us * (i == 1 ? 1000 : 1) : base_us + bytes_now * us_per_byte;
        t->stretches[i].us_per_row = slow * row_us;
        t->stretches[i].fixed_us = fmin(slow * fixed_us, t->limits.pace.target_us / 4.0);
        t->stretches[i].wal_per_row = 100 + bytes_now;
    }
    t->changes_at =
        (int64_t)(ideal_keys(t, &t->stretches[0]) * (STRETCH_BATCHES / 2.0)) + random_between(r, 1, 5000);
    if (t->scenario == BAD_ROWS)
        t->next_bad = t->bad_every = (int64_t)(ideal_keys(t, &t->stretches[0]) * random_between(r, 50, 100));
    if (verbose)
        printf("%s, target %.3f ms, %.3f ms + %.3f ms a row\n", scenario_names[t->scenario],
            t->limits.pace.target_us / 1e3, t->stretches[0].fixed_us / 1e3, t->stretches[0].us_per_row / 1e3);
}

const char *adaptive_run(uint64_t seed, bool verbose)
{
    static struct table table; /* too big for a stack */
    struct table *t = &table;
    struct runner r;
    char text[24];
    int steps = 0;

    init(t, seed, verbose);
    runner_init(&r, PHASE_BACKFILL, 0, 0, &t->limits, seed, t->now_us);
    struct runner_event e = {.kind = RUNNER_START};
    while (!t->broken && t->now < t->n_stretches) {
        struct runner_action a = runner_step(&r, &e, t->now_us);
        e = perform(t, &r, &a, text);
        if (++steps > 20 * STRETCH_BATCHES * MAX_STRETCHES)
            say(t, "batches are much smaller than they could be");
    }
    for (int i = 0; i < t->n_stretches && !t->broken; i++)
        judge(t, &t->stretches[i]);
    runner_done(&r);
    return t->broken;
}
