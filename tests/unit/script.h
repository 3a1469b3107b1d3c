/* A scripted run of a runner: each call is one event, and the action that came of it is kept for EXPECT. */
#pragma once

#include "unit.h"

#include "run/runner.h"

#define TARGET_US 20000

struct script {
    struct runner r;
    struct runner_action a;    /* under way */
    struct runner_action last; /* what the last event led to, NONE and ABORT included */
    uint64_t now_us;
};

#define EXPECT(s, expected)                                                                                  \
    do {                                                                                                     \
        if ((s)->last.kind != (expected))                                                                    \
            fail_msg("%s, not %s", runner_action_name((s)->last.kind), runner_action_name(expected));        \
    } while (0)

static inline void feed(struct script *s, const struct runner_event *e)
{
    s->last = runner_step(&s->r, e, s->now_us);
    if (s->last.kind != RUNNER_NONE && s->last.kind != RUNNER_ABORT)
        s->a = s->last;
}

static inline void done_with(struct script *s, struct runner_event e)
{
    e.kind = RUNNER_DONE;
    if (s->a.kind == RUNNER_REST)
        s->now_us = s->a.until_us;
    feed(s, &e);
}

static inline void done(struct script *s)
{
    done_with(s, (struct runner_event){0});
}

static inline void refused(struct script *s, const char *sqlstate)
{
    feed(s, &(struct runner_event){.kind = RUNNER_ERROR,
                .sqlstate = sqlstate,
                .message = "the message",
                .hint = "the hint",
                .detail = "the detail"});
}

static inline void lost(struct script *s)
{
    feed(s, &(struct runner_event){.kind = RUNNER_LOST});
}

static inline void wish(struct script *s, enum runner_want want)
{
    feed(s, &(struct runner_event){.kind = RUNNER_WANT, .want = want});
}

/* Of batches that can yield. */
static inline void taken(struct script *s, int64_t range, const char *cursor, const char *upper)
{
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_RANGE,
                     .range = range,
                     .epoch = 7,
                     .cursor = cursor,
                     .upper = upper,
                     .yields = true});
}

static inline void found(struct script *s, const char *bound)
{
    done_with(s, (struct runner_event){.bound = bound});
}

/* A batch at exactly the target time for its keys when a key takes us_per_key. */
static inline void batch_done(struct script *s, uint64_t elapsed_us, const char *bound)
{
    done_with(s, (struct runner_event){.rows = s->a.keys, .elapsed_us = elapsed_us, .bound = bound});
}

/* The row that failed is tried beside others, and it is its own fault, or nobody's. */
static inline void compared(struct script *s, bool its_own)
{
    done_with(s, (struct runner_event){
                     .compared = {.passed = its_own, .key_fails = true, .alike = its_own ? 0 : 5}});
}

static inline void start(struct script *s, enum job_phase phase, bool quarantine)
{
    const struct runner_limits limits = {
        .pace.target_us = TARGET_US, .pace.min_keys = 1, .pace.max_keys = 100000, .quarantine = quarantine};
    s->now_us = 1000000;
    runner_init(&s->r, phase, 1000, 0, &limits, 42, s->now_us);
    feed(s, &(struct runner_event){.kind = RUNNER_START});
}

/* From the start of a walk as far as the first batch of range 1, keys 1 to 100 of 1000. */
static inline void begin_to_walk(struct script *s)
{
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    taken(s, 1, NULL, "{1000}");
    EXPECT(s, RUNNER_BOUND);
    found(s, "{100}");
    EXPECT(s, RUNNER_BATCH);
}

static inline void start_filling(struct script *s, bool quarantine)
{
    start(s, PHASE_BACKFILL, quarantine);
    begin_to_walk(s);
}

/* A test with a script of its own, which is freed after it. */
static inline int script_new(void **state)
{
    *state = calloc(1, sizeof(struct script));
    return *state ? 0 : -1;
}

static inline int script_free(void **state)
{
    struct script *s = *state;
    runner_done(&s->r);
    free(s);
    return 0;
}

#define SCRIPTED(test) cmocka_unit_test_setup_teardown(test, script_new, script_free)
