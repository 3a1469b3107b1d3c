/* Quantiles of batch times, the rate, the percentage and the time that is left. */
#include "unit.h"

#include "job/progress.h"

static void test_a_quantile_is_right_to_5_percent(void **state)
{
    static struct histogram h;

    (void)state;
    for (uint64_t us = 1000; us <= 1000000; us += 1000)
        histogram_add(&h, us);
    assert_between(histogram_quantile(&h, 0.5), 500000, 525000);
    assert_between(histogram_quantile(&h, 0.99), 990000, 1000000);
    assert_between(histogram_quantile(&h, 0.01), 10000, 10500);
}

static void test_no_quantile_is_above_the_greatest_time(void **state)
{
    static struct histogram h;

    (void)state;
    histogram_add(&h, 20001);
    assert_int_equal(histogram_quantile(&h, 0.5), 20001);
    assert_int_equal(histogram_quantile(&h, 1), 20001);
}

static void test_the_longest_times_have_a_bucket_too(void **state)
{
    static struct histogram h;
    const uint64_t hour_us = UINT64_C(3600000000);

    (void)state;
    histogram_add(&h, 0);
    histogram_add(&h, hour_us);
    assert_int_equal(histogram_quantile(&h, 1), hour_us);
    assert_int_equal(histogram_quantile(&h, 0.5), 100);
    assert_int_equal(h.count, 2);
}

static void test_each_time_is_in_the_wide_bucket_whose_bound_it_does_not_pass(void **state)
{
    static struct histogram h;

    (void)state;
    histogram_add(&h, 1000);
    histogram_add(&h, 1001);
    histogram_add(&h, 25000);
    histogram_add(&h, 10000000);
    histogram_add(&h, 10000001);
    assert_int_equal(h.wide[0], 1);
    assert_int_equal(h.wide[1], 1);
    assert_between(histogram_bounds_s[4], 0.025, 0.025);
    assert_int_equal(h.wide[4], 1);
    assert_int_equal(h.wide[HISTOGRAM_BOUNDS - 1], 1);
    assert_int_equal(h.count, 5);
    assert_int_equal(h.sum_us, 1000 + 1001 + 25000 + 10000000 + 10000001);
}

static void test_of_nothing_every_quantile_is_nought(void **state)
{
    static struct histogram h;

    (void)state;
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
}

static void test_the_rate_is_keys_a_second(void **state)
{
    struct progress p;

    (void)state;
    progress_init(&p, 0, 1000000, 5000000);
    for (uint64_t ms = 20; ms <= 2000; ms += 20) {
        progress_add(&p, 100);
        progress_update(&p, 5000000 + ms * 1000);
    }
    assert_between(p.rate, 4950, 5050);
    assert_between(progress_eta_s(&p), 196, 200);
}

static void test_one_batch_alone_is_no_rate(void **state)
{
    struct progress p;

    (void)state;
    progress_init(&p, 0, 1000, 0);
    progress_add(&p, 100);
    progress_update(&p, 1000);
    assert_true(p.rate <= 0);
    assert_true(progress_eta_s(&p) < 0);
}

static void test_the_rate_falls_while_nothing_moves(void **state)
{
    struct progress p;

    (void)state;
    progress_init(&p, 0, 100000, 0);
    progress_add(&p, 10000);
    progress_update(&p, 1000000);
    double before = p.rate;
    progress_update(&p, 31000000);
    assert_between(p.rate, 0, before / 10);
}

static void test_what_was_done_before_is_no_speed_of_today(void **state)
{
    struct progress p;

    (void)state;
    progress_init(&p, 900000, 1000000, 0);
    progress_add(&p, 1000);
    progress_update(&p, 1000000);
    assert_between(p.rate, 999, 1001);
    assert_between(progress_percent(&p), 90.0, 90.2);
}

static void test_a_wrong_estimate_never_shows_100_percent_while_work_is_left(void **state)
{
    struct progress p;

    (void)state;
    progress_init(&p, 0, 1000, 0);
    progress_add(&p, 1050);
    progress_update(&p, 1000000);
    assert_between(progress_percent(&p), 99.89, 99.91);
    assert_true(progress_eta_s(&p) < 0);
    progress_add(&p, 4000);
    progress_update(&p, 2000000);
    assert_true(progress_percent(&p) < 0);
    assert_true(progress_eta_s(&p) < 0);
}

/* As a daemon does that shows it at each look. */
static void stand_still(struct progress *p, uint64_t *now_us, uint64_t until_us, uint64_t step_us)
{
    while (*now_us < until_us)
        progress_update(p, *now_us += step_us);
}

static void test_standing_still_is_no_speed_and_no_time_left(void **state)
{
    static const uint64_t steps_us[] = {250000, 2000000, 10000000}, second = 1000000,
                          week = 7 * 86400 * second;

    (void)state;
    for (size_t i = 0; i < sizeof(steps_us) / sizeof(steps_us[0]); i++) {
        uint64_t now_us = second;
        struct progress p;
        progress_init(&p, 0, 1000000, 0);
        progress_add(&p, 50000);
        progress_update(&p, now_us);

        stand_still(&p, &now_us, 2 * second, steps_us[i]);
        assert_between(p.rate, 1000, 50000);
        assert_between(progress_eta_s(&p), 10, 1000);
        while (p.rate > 0) { /* what is shown meanwhile is a number that its reader can hold */
            double eta_s = progress_eta_s(&p);
            assert_true(eta_s < 0 || eta_s <= 365 * 86400.0);
            assert_true((float)p.rate >= 0.01F);
            progress_update(&p, now_us += steps_us[i]);
            assert_true(now_us < 600 * second);
        }
        stand_still(&p, &now_us, 3600 * second, steps_us[i]);
        assert_between(p.rate, 0, 0);
        assert_true(progress_eta_s(&p) < 0);
        assert_between(progress_percent(&p), 4.99, 5.01);
        progress_update(&p, week);
        assert_between(p.rate, 0, 0);
        progress_add(&p, 500);
        progress_update(&p, week + second);
        assert_between(p.rate, 499, 501);
    }
}

static void test_without_an_estimate_nothing_is_claimed(void **state)
{
    struct progress p;

    (void)state;
    progress_init(&p, 0, 0, 0);
    progress_add(&p, 5000);
    progress_update(&p, 1000000);
    assert_true(progress_percent(&p) < 0);
    assert_true(progress_eta_s(&p) < 0);
}

static void test_what_the_database_says_counts(void **state)
{
    struct progress p;

    (void)state;
    progress_init(&p, 0, 1000, 1000000);
    progress_add(&p, 500);
    progress_update(&p, 2000000);
    progress_set(&p, 600, 2000000); /* an answer was lost */
    assert_int_equal(p.keys, 600);
    progress_set(&p, 100, 2500000); /* commits were lost */
    assert_int_equal(p.keys, 100);
    progress_add(&p, 500);
    progress_update(&p, 3500000);
    assert_between(p.rate, 499, 501);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_database_says_counts),
        cmocka_unit_test(test_a_quantile_is_right_to_5_percent),
        cmocka_unit_test(test_no_quantile_is_above_the_greatest_time),
        cmocka_unit_test(test_the_longest_times_have_a_bucket_too),
        cmocka_unit_test(test_each_time_is_in_the_wide_bucket_whose_bound_it_does_not_pass),
        cmocka_unit_test(test_of_nothing_every_quantile_is_nought),
        cmocka_unit_test(test_the_rate_is_keys_a_second),
        cmocka_unit_test(test_one_batch_alone_is_no_rate),
        cmocka_unit_test(test_the_rate_falls_while_nothing_moves),
        cmocka_unit_test(test_standing_still_is_no_speed_and_no_time_left),
        cmocka_unit_test(test_what_was_done_before_is_no_speed_of_today),
        cmocka_unit_test(test_a_wrong_estimate_never_shows_100_percent_while_work_is_left),
        cmocka_unit_test(test_without_an_estimate_nothing_is_claimed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
