/* A target speed: the size of a batch, when the next is due, and the runner that keeps to it. The rests that pressure
 * demands are in test-pressure. */
#include "pressure/pace.h"
#include "script.h"

static void test_a_batch_has_a_tenth_of_a_seconds_keys_and_at_least_one(void **state)
{
    (void)state;
    assert_int_equal(pace_rate_keys(10000), 1000);
    assert_int_equal(pace_rate_keys(19), 1);
    assert_int_equal(pace_rate_keys(0.5), 1);
    assert_int_equal(pace_rate_keys(1e12), UINT32_MAX);
    assert_int_equal(pace_rate_keys(0), UINT32_MAX); /* no limit */
}

static void test_without_a_target_a_batch_is_due_at_once(void **state)
{
    (void)state;
    assert_int_equal(pace_rate_due_us(0, 5000000, 1000, 0), 0);
    assert_int_equal(pace_rate_due_us(9000000, 5000000, 1000, 0), 0);
}

static void test_the_next_batch_is_due_when_the_keys_of_the_last_have_had_their_time(void **state)
{
    (void)state;
    assert_int_equal(pace_rate_due_us(0, 5000000, 1000, 10000), 5100000);
    assert_int_equal(pace_rate_due_us(5100000, 5100000, 1000, 10000), 5200000);
}

static void test_a_little_lateness_is_made_up_for_and_a_stop_is_not(void **state)
{
    (void)state;
    assert_int_equal(pace_rate_due_us(5100000, 5107000, 1000, 10000), 5200000);
    assert_int_equal(pace_rate_due_us(5100000, 9000000, 1000, 10000), 9000000 - PACE_RATE_CREDIT_US + 100000);
}

static void limit_to(struct script *s, double keys_per_s)
{
    runner_limit(
        &s->r, &(struct runner_limits){
                   .pace.target_us = TARGET_US, .pace.min_keys = 50, .pace.max_keys = 100000, .pace.max_keys_per_s = keys_per_s});
}

/* In the middle of a long range, held to that speed; the last event led to a batch. */
static void run_at(struct script *s, double keys_per_s)
{
    start(s, PHASE_BACKFILL, false);
    limit_to(s, keys_per_s);
    done(s);
    taken(s, 1, NULL, "{1000000}");
    EXPECT(s, RUNNER_BOUND);
    found(s, "{1}");
    EXPECT(s, RUNNER_BATCH);
}

/* Batches and rests for that long, timers late_us late; the keys that were done. */
static uint64_t run_for(struct script *s, uint64_t us, uint64_t late_us)
{
    uint64_t until_us = s->now_us + us, keys = s->r.work.counts.keys;

    while (s->now_us < until_us) {
        if (s->a.kind == RUNNER_REST) {
            s->a.until_us += late_us;
            done(s);
        } else if (s->a.kind == RUNNER_BOUND)
            found(s, "{2}");
        else {
            EXPECT(s, RUNNER_BATCH);
            s->now_us += 1000;
            batch_done(s, 1000, "{2}");
        }
    }
    return s->r.work.counts.keys - keys;
}

static void test_the_average_is_the_target_though_timers_are_late(void **state)
{
    struct script *s = *state;

    run_at(s, 5000);
    run_for(s, 1000000, 3000);
    assert_between(run_for(s, 10000000, 3000), 49000, 51000);
    assert_between(s->r.work.counts.throttled_us[SIGNAL_RATE], 8000000, 11000000);
    assert_int_equal(s->r.work.counts.rest_us, 0);
}

static void test_a_slow_target_takes_key_by_key(void **state)
{
    struct script *s = *state;

    run_at(s, 4);
    assert_int_equal(s->a.keys, 1);
    assert_int_equal(s->a.next_keys, 1);
    run_for(s, 1000000, 0);
    assert_between(run_for(s, 20000000, 0), 79, 81);
}

static void test_time_lost_otherwise_is_not_made_up_for(void **state)
{
    struct script *s = *state;

    run_at(s, 5000);
    run_for(s, 2000000, 0);
    s->now_us += 30000000; /* the batch or the rest under way took that long */
    assert_between(run_for(s, 1000000, 0), 4500, 6500);
}

static void test_a_speed_that_is_lowered_throws_a_bound_away_that_is_too_far(void **state)
{
    struct script *s = *state;

    run_at(s, 100000);
    run_for(s, 1000000, 0);
    while (s->a.kind != RUNNER_REST)
        run_for(s, 1, 0);
    limit_to(s, 50);
    done(s);
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, 5);
    found(s, "{3}");
    while (s->a.kind == RUNNER_REST)
        done(s);
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.keys, 5);
}

static void test_a_speed_that_is_taken_back_ends_the_rest(void **state)
{
    struct script *s = *state;

    run_at(s, 1);
    batch_done(s, 1000, "{2}");
    EXPECT(s, RUNNER_REST);
    limit_to(s, 0);
    done(s);
    EXPECT(s, RUNNER_BATCH);
    assert_between(s->now_us, 1000000, 1000000 + 100000);
}

static void test_a_batch_from_before_the_speed_was_lowered_does_not_stop_the_job_for_long(void **state)
{
    struct script *s = *state;

    run_at(s, 100000);
    run_for(s, 1000000, 0);
    while (s->a.kind != RUNNER_BATCH)
        done(s);
    assert_true(s->a.keys > 1000); /* at 1 a second they would be due for a quarter of an hour */
    limit_to(s, 1);
    uint64_t began = s->now_us;
    batch_done(s, 1000, "{2}");
    while (s->a.kind == RUNNER_REST)
        done(s);
    EXPECT(s, RUNNER_BOUND);
    found(s, "{3}");
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->now_us - began < 3000000);
}

static void test_the_one_that_asks_for_more_rest_is_named(void **state)
{
    struct script *s = *state;

    run_at(s, 5000);
    s->r.work.pace.others = (struct pressure_verdict){.signal = SIGNAL_LAG_MS, .ratio = 1, .known = true, .limit = 1};
    batch_done(s, 1000, "{2}");
    done(s);
    assert_int_equal(s->r.work.counts.throttled_us[SIGNAL_RATE], 0);
    assert_true(s->r.work.counts.throttled_us[SIGNAL_LAG_MS] > 0);
    s->r.work.pace.others =
        (struct pressure_verdict){.signal = SIGNAL_LAG_MS, .ratio = 0.3, .known = true, .limit = 1};
    uint64_t by_lag = s->r.work.counts.throttled_us[SIGNAL_LAG_MS];
    run_for(s, 1000000, 0);
    assert_true(s->r.work.counts.throttled_us[SIGNAL_RATE] > 500000);
    assert_true(s->r.work.counts.throttled_us[SIGNAL_LAG_MS] < by_lag + 200000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_batch_has_a_tenth_of_a_seconds_keys_and_at_least_one),
        cmocka_unit_test(test_without_a_target_a_batch_is_due_at_once),
        cmocka_unit_test(test_the_next_batch_is_due_when_the_keys_of_the_last_have_had_their_time),
        cmocka_unit_test(test_a_little_lateness_is_made_up_for_and_a_stop_is_not),
        SCRIPTED(test_the_average_is_the_target_though_timers_are_late),
        SCRIPTED(test_a_slow_target_takes_key_by_key),
        SCRIPTED(test_time_lost_otherwise_is_not_made_up_for),
        SCRIPTED(test_a_speed_that_is_lowered_throws_a_bound_away_that_is_too_far),
        SCRIPTED(test_a_speed_that_is_taken_back_ends_the_rest),
        SCRIPTED(test_a_batch_from_before_the_speed_was_lowered_does_not_stop_the_job_for_long),
        SCRIPTED(test_the_one_that_asks_for_more_rest_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
