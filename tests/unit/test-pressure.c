/* Signals to one verdict, the verdict to a rest, and the runner that rests. */
#include "script.h"

#include "pressure/pace.h"
#include "pressure/pressure.h"

#define MS UINT64_C(1000)

static const struct pressure_limits limits = {.limit = {[SIGNAL_MONITOR] = 1000,
                                                  [SIGNAL_LAG_MS] = 1000,
                                                  [SIGNAL_LAG_MB] = 64,
                                                  [SIGNAL_STANDBY] = 1,
                                                  [SIGNAL_BLOCKED_MS] = 50}};

static void test_the_verdict_names_the_signal_nearest_to_its_limit(void **state)
{
    struct pressure p;

    (void)state;
    pressure_begin(&p, 5000 * MS);
    pressure_note(&p, SIGNAL_LAG_MS, 300, 300, "a");
    pressure_note(&p, SIGNAL_LAG_MS, 500, 500, "b");
    pressure_note(&p, SIGNAL_LAG_MS, 400, 400, "c");
    pressure_note(&p, SIGNAL_LAG_MB, 48, 48, "a");
    struct pressure_verdict v = pressure_judge(&p, &limits, false, 5050 * MS);
    assert_int_equal(v.signal, SIGNAL_LAG_MB);
    assert_between(v.ratio, 0.749, 0.751);

    struct pressure_limits off = limits;
    off.off[SIGNAL_LAG_MB] = true;
    v = pressure_judge(&p, &off, false, 5050 * MS);
    assert_int_equal(v.signal, SIGNAL_LAG_MS);
    assert_string_equal(v.what, "b");
    char *text = pressure_describe(&v);
    assert_string_equal(text, "lag 500 ms, limit 1000 (b)");
    free(text);
}

static void test_the_pace_follows_what_is_expected_and_the_limit_holds_for_what_is(void **state)
{
    struct pressure p;

    (void)state;
    pressure_begin(&p, 5000 * MS);
    pressure_note(&p, SIGNAL_LAG_MS, 900, 300, "a"); /* late, but it will be better */
    assert_between(pressure_judge(&p, &limits, false, 5000 * MS).ratio, 0.299, 0.301);
    pressure_note(&p, SIGNAL_LAG_MS, 10, 700, "b"); /* not late yet */
    assert_between(pressure_judge(&p, &limits, false, 5000 * MS).ratio, 0.699, 0.701);
    pressure_note(
        &p, SIGNAL_LAG_MS, 20, 5000, "b"); /* nor now: a trickle goes on, for it to tell how far it is */
    assert_between(pressure_judge(&p, &limits, false, 5000 * MS).ratio, PRESSURE_TRICKLE - 0.001,
        PRESSURE_TRICKLE + 0.001);
    pressure_note(&p, SIGNAL_LAG_MS, 1200, 0, "c");
    assert_true(pressure_judge(&p, &limits, false, 5000 * MS).ratio >= 1);
}

static void test_nothing_there_is_no_pressure(void **state)
{
    struct pressure p;

    (void)state;
    pressure_begin(&p, 5000 * MS);
    struct pressure_verdict v = pressure_judge(&p, &limits, false, 5999 * MS);
    assert_int_equal(v.signal, SIGNAL_NONE);
    assert_null(pressure_describe(&v));
}

static void test_who_cannot_see_must_not_run(void **state)
{
    struct pressure p = {0};

    (void)state;
    assert_true(pressure_judge(&p, &limits, false, 1).ratio >= 1); /* nothing was read yet */
    pressure_begin(&p, 5000 * MS);
    struct pressure_verdict v = pressure_judge(&p, &limits, false, 6000 * MS);
    assert_int_equal(v.signal, SIGNAL_MONITOR);
    assert_true(v.ratio >= 1);
    pressure_begin(&p, 7000 * MS);
    pressure_fail(&p, SIGNAL_LAG_MS, "a says no position");
    pressure_note(&p, SIGNAL_LAG_MS, 5, 5, "b"); /* another that is well does not make up for it */
    v = pressure_judge(&p, &limits, false, 7000 * MS);
    assert_int_equal(v.signal, SIGNAL_LAG_MS);
    assert_false(v.known);
    assert_true(v.ratio >= 1);
}

static void test_a_signal_counts_from_where_it_is_said_to(void **state)
{
    struct pressure_limits l = limits;
    struct pressure p;

    (void)state;
    l.limit[SIGNAL_DISK] = 0.9;
    l.from[SIGNAL_DISK] = 0.8;
    l.limit[SIGNAL_DEAD] = l.from[SIGNAL_DEAD] = 0.2; /* all or nothing */
    pressure_begin(&p, 5000 * MS);
    pressure_note(&p, SIGNAL_DISK, 0.79, 0.79, "/data");
    pressure_note(&p, SIGNAL_DEAD, 0.19, 0.19, NULL);
    assert_int_equal(pressure_judge(&p, &l, false, 5000 * MS).signal, SIGNAL_NONE);
    pressure_note(&p, SIGNAL_DISK, 0.85, 0.85, "/data");
    assert_between(pressure_judge(&p, &l, false, 5000 * MS).ratio, 0.499, 0.501);
    pressure_note(&p, SIGNAL_DEAD, 0.2, 0.2, NULL);
    struct pressure_verdict v = pressure_judge(&p, &l, false, 5000 * MS);
    assert_int_equal(v.signal, SIGNAL_DEAD);
    assert_true(v.ratio >= 1);
}

static void test_a_value_can_count_as_half_of_its_limit(void **state)
{
    static const double values[] = {0.05, 0.1, 0.45, 0.799, 0.8}, ratios[] = {0.25, 0.5, 0.75, 0.98, 1};
    struct pressure_limits l = limits;
    struct pressure p;

    (void)state;
    l.limit[SIGNAL_CPU] = 0.8;
    l.half[SIGNAL_CPU] = 0.1;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        pressure_begin(&p, 5000 * MS);
        pressure_note(&p, SIGNAL_CPU, values[i], values[i], NULL);
        assert_between(pressure_judge(&p, &l, true, 5000 * MS).ratio, ratios[i] - 0.001, ratios[i] + 0.001);
        if (ratios[i] != PRESSURE_TRICKLE)
            assert_between(
                pressure_value_at(ratios[i], &l, SIGNAL_CPU), values[i] - 0.001, values[i] + 0.001);
    }
}

static void test_the_hosts_signals_are_judged_apart(void **state)
{
    struct pressure_limits l = limits;
    struct pressure p, slow;

    (void)state;
    l.limit[SIGNAL_CPU] = 0.8;
    pressure_begin(&p, 5000 * MS);
    pressure_note(&p, SIGNAL_LAG_MS, 900, 900, "a");
    pressure_begin(&slow, 4000 * MS);
    pressure_note(&slow, SIGNAL_CPU, 0.4, 0.4, NULL);
    pressure_fail(&slow, SIGNAL_SLOT_MB, "denied");
    pressure_add(&p, &slow);
    assert_int_equal(pressure_judge(&p, &l, false, 5000 * MS).signal, SIGNAL_SLOT_MB);
    struct pressure_verdict v = pressure_judge(&p, &l, true, 5000 * MS);
    assert_int_equal(v.signal, SIGNAL_CPU);
    assert_between(v.ratio, 0.499, 0.501);
    char *text = pressure_describe(&v);
    assert_string_equal(text, "cpu 0.40 of the time, limit 0.80");
    free(text);
}

static void test_a_name_is_its_signals(void **state)
{
    (void)state;
    for (int i = 0; i < _SIGNAL_MAX; i++)
        assert_int_equal(signal_from_name(signal_name((enum pressure_signal)i)), i);
    assert_int_equal(signal_from_name("tide"), SIGNAL_NONE);
}

static void test_the_pace_falls_smoothly_and_stops_at_the_limit(void **state)
{
    double before = 1;

    (void)state;
    assert_true(pace_share(0) >= 1 && pace_share(PACE_FREE) >= 1);
    for (double p = PACE_FREE; p < 0.999; p += 0.001) {
        double share = pace_share(p);
        assert_true(share <= before && before - share < 3 / (1 - PACE_FREE) * 0.001);
        before = share;
    }
    assert_between(pace_share(PACE_FREE + (1 - PACE_FREE) / 2), 0.124, 0.126);
    assert_true(pace_share(1) <= 0 && pace_share(7) <= 0);

    assert_int_equal(pace_rest_us(1, 20000, 20000), 0);
    assert_int_equal(pace_rest_us(0.5, 20000, 20000), 20000);
    assert_int_equal(pace_rest_us(0.0001, 20000, 20000), PACE_MAX_US);
    assert_true(pace_rest_us(0, 0, 0) == PACE_HOLD);
}

static void test_the_smaller_the_share_the_smaller_the_batches(void **state)
{
    (void)state;
    assert_int_equal(pace_portion_us(1, 20000), 20000);
    assert_int_equal(pace_portion_us(0.5, 20000), 20000);
    assert_int_equal(pace_portion_us(0.1, 20000), 10000); /* a batch and its rest: a tenth of a second */
    assert_int_equal(pace_portion_us(0.001, 20000), PACE_LEAST_US);
    assert_int_equal(pace_portion_us(0, 1000), 1000); /* never longer than asked for */
}

static void test_beside_others_batches_are_small_and_have_a_share_that_noise_does_not_move(void **state)
{
    double before = 1;

    (void)state;
    assert_true(pace_share_on_host(PACE_FREE, 0.4) >= 1);
    assert_int_equal(pace_target_us(PACE_FREE, 20000, 2000), 20000);
    for (double p = PACE_FREE; p < 0.999; p += 0.001) {
        double share = pace_share_on_host(p, 0.4);
        assert_true(share <= before && before - share < 0.005);
        before = share;
    }
    for (double p = PACE_BUSY; p <= PACE_NEAR; p += 0.01)
        assert_int_equal(pace_target_us(p, 20000, 2000), 2000);
    for (double p = PACE_CROWDED; p <= PACE_NEAR; p += 0.01)
        assert_between(pace_share_on_host(p, 0.4), 0.399, 0.401);
    assert_true(pace_share_on_host(1, 0.4) <= 0);
    assert_int_equal(pace_target_us(1, 1000, 2000), 1000); /* never longer than asked for */
}

static void test_where_others_wait_seldom_a_job_has_more_of_the_time(void **state)
{
    (void)state;
    assert_between(pace_share_on_host(PACE_BUSY, 0.4), 0.579, 0.581);
    assert_between(pace_share_on_host(PACE_BUSY, 1), 0.999, 1); /* not where it shall make no room */
}

static void test_a_gap_that_others_leave_is_used_slowly(void **state)
{
    (void)state;
    assert_between(pace_ease(0.7, 0, 0.12, 1), 0.699, 0.701); /* it rises at once */
    assert_between(
        pace_ease(0, 0.7, 0.12, 0), 0.119, 0.121); /* above what is busy there is nothing to ease */
    assert_between(pace_ease(0, 0.12, 0.12, PACE_EASE_US / 2), 0.059, 0.061);
    assert_between(pace_ease(0, 0.06, 0.12, PACE_EASE_US / 2), -0.001, 0.001);
    assert_between(pace_ease(0.1, 0.06, 0.12, PACE_EASE_US), 0.099, 0.101);
}

static void test_a_batch_that_yields_is_at_work_for_its_share(void **state)
{
    (void)state;
    assert_int_equal(pace_yield_after_us(1), 0);
    assert_int_equal(pace_yield_after_us(0.5), PACE_YIELD_US);
    assert_int_equal(pace_yield_after_us(0.2), PACE_YIELD_US / 4);
    assert_int_equal(pace_yield_after_us(0), 1);
    assert_int_equal(pace_worked_us(PACE_YIELD_US, 1000, 20000), 10000);
    assert_int_equal(pace_worked_us(PACE_YIELD_US / 4, 1000, 20000), 4000);
    assert_int_equal(pace_worked_us(PACE_YIELD_US, 1000, 1000), 1000); /* it was over before */
    assert_int_equal(pace_worked_us(0, 1000, 20000), 20000);
    assert_int_equal(
        pace_worked_us(PACE_YIELD_US, 2, 200000), 200000 - PACE_YIELD_US); /* 2 rows, half of a chance each */
    assert_int_equal(pace_rest_us(0.25, 10000, 20000), 20000);
    assert_int_equal(pace_rest_us(0.5, 10000, 20000), 0);
}

static struct pressure_verdict pressed(enum pressure_signal signal, double ratio)
{
    return (struct pressure_verdict){.signal = ratio > 0 ? signal : SIGNAL_NONE,
        .ratio = ratio,
        .known = true,
        .limit = 1000,
        .value = 1000 * ratio};
}

static void press_host(struct script *s, double ratio)
{
    s->r.work.pace.host = pressed(SIGNAL_CPU, ratio);
}

/* Until the next batch. */
static void rest_over(struct script *s)
{
    while (s->a.kind == RUNNER_REST || s->a.kind == RUNNER_BOUND)
        s->a.kind == RUNNER_REST ? done(s) : found(s, "{300}");
    EXPECT(s, RUNNER_BATCH);
}

static void test_on_a_busy_host_batches_yield_and_what_they_slept_is_accounted_for(void **state)
{
    struct script *s = *state;
    const uint64_t *throttled_us = s->r.work.counts.throttled_us;

    start_filling(s, false);
    s->r.work.pace.limits.busy_us = 10000;
    s->r.work.pace.limits.busy_share = 0.5;
    assert_int_equal(s->a.yield_us, 0);
    press_host(s, PACE_CROWDED);
    batch_done(s, TARGET_US, "{200}");
    /* That batch had not yielded: as long a rest as it was. Its bound is too far now, so another is asked for. */
    rest_over(s);
    assert_between(throttled_us[SIGNAL_CPU], TARGET_US + PACE_YIELD_US - 1, TARGET_US + PACE_YIELD_US + 1);
    assert_int_equal(s->a.yield_us, PACE_YIELD_US);

    uint64_t before = throttled_us[SIGNAL_CPU];
    s->now_us += 10000;
    batch_done(s, 10000, NULL);
    rest_over(s); /* half of it was slept; then one yield before the bound, and one behind it */
    assert_between(
        throttled_us[SIGNAL_CPU] - before, 5000 + 2 * PACE_YIELD_US - 1, 5000 + 2 * PACE_YIELD_US + 1);
    assert_int_equal(s->a.yield_us, PACE_YIELD_US);

    press_host(s, 0);
    batch_done(s, 10000, NULL);
    rest_over(s);
    assert_int_equal(s->a.yield_us, 0);
}

static void test_while_others_wait_for_the_cpu_a_bound_is_asked_for_apart(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    s->r.work.pace.limits.busy_share = 0.9;
    /* The server may be far: two statements in one round trip. */
    s->r.work.pace.host = pressed(SIGNAL_LATENCY, PACE_BUSY);
    batch_done(s, TARGET_US, "{200}");
    rest_over(s);
    assert_true(s->a.next_keys > 0);
    press_host(s, PACE_BUSY);
    batch_done(s, TARGET_US, "{300}");
    rest_over(s);
    assert_int_equal(s->a.next_keys, 0);
    for (int i = 0; i < 3; i++) {
        batch_done(s, TARGET_US, NULL);
        EXPECT(s, RUNNER_REST);
        assert_int_equal(s->a.until_us - s->now_us, PACE_YIELD_US);
        done(s);
        EXPECT(s, RUNNER_BOUND);
        s->now_us += 400;
        found(s, "{400}");
        EXPECT(s, RUNNER_REST);
        assert_int_equal(s->a.until_us - s->now_us, PACE_YIELD_US);
        done(s);
        EXPECT(s, RUNNER_BATCH);
    }
    press_host(s, 0);
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_BOUND);
    found(s, "{500}");
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->a.next_keys > 0);
}

static void test_over_a_slow_link_a_bound_comes_with_the_batch(void **state)
{
    struct script *s = *state;

    start(s, PHASE_BACKFILL, false);
    s->r.work.pace.limits.busy_share = 0.9;
    press_host(s, PACE_BUSY);
    done(s);
    taken(s, 1, NULL, "{1000}");
    EXPECT(s, RUNNER_BOUND);
    s->now_us += 20000;
    found(s, "{100}");
    rest_over(s);
    assert_true(s->a.next_keys > 0);
}

static void test_a_batch_that_changes_nothing_cannot_yield_so_it_is_short(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    s->r.work.pace.limits.busy_us = 15000;
    s->r.work.pace.limits.busy_share = 0.5;
    press_host(s, PACE_CROWDED);
    for (int i = 0; i < 60; i++) { /* a key takes 10 us; one with a row to change, and one without */
        bool changes = i < 30;
        uint64_t work_us = s->a.keys * 10, took_us = changes && s->a.yield_us ? 2 * work_us : work_us;
        if (i == 29) /* half of what it takes it sleeps */
            assert_between(took_us, 13000, 17000);
        s->now_us += took_us;
        done_with(s,
            (struct runner_event){.rows = changes ? s->a.keys : 0, .elapsed_us = took_us, .bound = "{300}"});
        rest_over(s);
    }
    assert_between(s->a.keys * 10, 4000, 6000);
}

static void press(struct script *s, double ratio)
{
    s->r.work.pace.others = pressed(SIGNAL_LAG_MS, ratio);
}

static void test_a_rest_before_a_bound_is_the_hosts_whatever_else_slows_the_job_down(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    s->r.work.pace.limits.busy_share = 0.9;
    press_host(s, PACE_BUSY);
    batch_done(s, TARGET_US, "{200}");
    rest_over(s);
    press(s, 0.5);
    assert_int_equal(pace_slowed_by(&s->r.work.pace)->signal, SIGNAL_LAG_MS);
    batch_done(s, TARGET_US, NULL);
    uint64_t before = s->r.work.counts.throttled_us[SIGNAL_CPU];
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->r.work.counts.throttled_us[SIGNAL_CPU] - before, PACE_YIELD_US);
    assert_int_equal(s->r.work.counts.throttled_us[SIGNAL_LAG_MS], 0);
}

static void test_a_job_rests_for_as_long_as_the_pressure_says(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    s->now_us += TARGET_US;
    press(s, PACE_FREE + (1 - PACE_FREE) / 2);
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_REST);
    done(s); /* half of the room: an eighth of the time, so seven parts of rest to one of work */
    while (s->a.kind == RUNNER_REST)
        done(s);
    EXPECT(s, RUNNER_BATCH);
    assert_between(s->r.work.counts.throttled_us[SIGNAL_LAG_MS], 7 * TARGET_US - 5, 7 * TARGET_US + 5);
    assert_int_equal(s->r.work.counts.rest_us, 0);
}

static void test_at_the_limit_it_holds_until_the_pressure_is_gone(void **state)
{
    struct script *s = *state;
    uint64_t began;

    start_filling(s, false);
    s->now_us += TARGET_US;
    press(s, 1.5);
    batch_done(s, TARGET_US, "{200}");
    began = s->now_us;
    for (int i = 0; i < 1000; i++) {
        EXPECT(s, RUNNER_REST);
        done(s);
    }
    press(s, 0);
    done(s);
    EXPECT(s, RUNNER_BOUND); /* what was asked for before is more than it should begin with */
    assert_int_equal(s->r.work.counts.throttled_us[SIGNAL_LAG_MS], s->now_us - began);
    found(s, "{120}");
    EXPECT(s, RUNNER_BATCH);
    assert_string_equal(s->r.walker.hi, "{120}");
}

static void test_a_held_job_is_paused_at_once(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    press(s, 2);
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_REST);
    wish(s, RUNNER_WANT_PAUSE);
    EXPECT(s, RUNNER_RELEASE);
}

static void test_a_batch_that_somebody_waits_on_is_cancelled_and_halved(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    uint32_t keys = batch_size_keys(&s->r.walker.pace.size);
    feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE});
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_REST);
    assert_int_equal(s->r.work.counts.relieved, 1);
    assert_int_equal(batch_size_keys(&s->r.walker.pace.size), keys / 2);
    feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE}); /* it does nothing now that could be given up */
    EXPECT(s, RUNNER_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_verdict_names_the_signal_nearest_to_its_limit),
        cmocka_unit_test(test_the_pace_follows_what_is_expected_and_the_limit_holds_for_what_is),
        cmocka_unit_test(test_nothing_there_is_no_pressure),
        cmocka_unit_test(test_who_cannot_see_must_not_run),
        cmocka_unit_test(test_a_signal_counts_from_where_it_is_said_to),
        cmocka_unit_test(test_a_value_can_count_as_half_of_its_limit),
        cmocka_unit_test(test_the_hosts_signals_are_judged_apart),
        cmocka_unit_test(test_a_name_is_its_signals),
        cmocka_unit_test(test_the_pace_falls_smoothly_and_stops_at_the_limit),
        cmocka_unit_test(test_the_smaller_the_share_the_smaller_the_batches),
        cmocka_unit_test(test_beside_others_batches_are_small_and_have_a_share_that_noise_does_not_move),
        cmocka_unit_test(test_a_gap_that_others_leave_is_used_slowly),
        cmocka_unit_test(test_where_others_wait_seldom_a_job_has_more_of_the_time),
        cmocka_unit_test(test_a_batch_that_yields_is_at_work_for_its_share),
        SCRIPTED(test_on_a_busy_host_batches_yield_and_what_they_slept_is_accounted_for),
        SCRIPTED(test_while_others_wait_for_the_cpu_a_bound_is_asked_for_apart),
        SCRIPTED(test_a_rest_before_a_bound_is_the_hosts_whatever_else_slows_the_job_down),
        SCRIPTED(test_over_a_slow_link_a_bound_comes_with_the_batch),
        SCRIPTED(test_a_batch_that_changes_nothing_cannot_yield_so_it_is_short),
        SCRIPTED(test_a_job_rests_for_as_long_as_the_pressure_says),
        SCRIPTED(test_at_the_limit_it_holds_until_the_pressure_is_gone),
        SCRIPTED(test_a_held_job_is_paused_at_once),
        SCRIPTED(test_a_batch_that_somebody_waits_on_is_cancelled_and_halved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
