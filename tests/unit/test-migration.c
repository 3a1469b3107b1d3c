#include "unit.h"

#include "run/migration.h"

static const struct migration_plan whole = {
    .expand = true, .fill = true, .guard = true, .verify = true, .validate = true, .in_step = true};

static void assert_phases(const struct migration_plan *plan, const enum job_phase *expected)
{
    enum job_phase phase = PHASE_PREFLIGHT;
    for (int i = 0;; i++) {
        phase = migration_phase_after(plan, phase);
        assert_int_equal(phase, expected[i]);
        if (phase == _JOB_PHASE_MAX)
            return;
    }
}

static void test_a_whole_migration_goes_through_each_phase_in_order(void **state)
{
    (void)state;
    assert_phases(&whole, (const enum job_phase[]){PHASE_EXPAND, PHASE_BACKFILL, PHASE_GUARD, PHASE_VERIFY,
                              PHASE_VALIDATE, _JOB_PHASE_MAX});
}

static void test_a_job_has_only_the_phases_that_it_has_a_use_for(void **state)
{
    (void)state;
    assert_phases(&(const struct migration_plan){.fill = true},
        (const enum job_phase[]){PHASE_BACKFILL, _JOB_PHASE_MAX});
    assert_phases(&(const struct migration_plan){.guard = true, .validate = true},
        (const enum job_phase[]){PHASE_GUARD, PHASE_VALIDATE, _JOB_PHASE_MAX});
    assert_phases(&(const struct migration_plan){.validate = true},
        (const enum job_phase[]){PHASE_VALIDATE, _JOB_PHASE_MAX});
}

static void test_a_dry_run_has_nothing_but_its_preflight(void **state)
{
    struct migration_plan plan = whole;
    (void)state;
    plan.dry_run = true;
    assert_phases(&plan, (const enum job_phase[]){_JOB_PHASE_MAX});
}

static void test_nothing_follows_tidying_up(void **state)
{
    (void)state;
    assert_int_equal(migration_phase_after(&whole, PHASE_TIDY), _JOB_PHASE_MAX);
}

static void test_an_application_is_quiet_after_two_walks_in_a_row_that_found_nothing(void **state)
{
    struct quiet q = {.n = 0};
    (void)state;
    quiet_note(&q, 0, 1);
    assert_false(quiet_is(&q));
    quiet_note(&q, 3, 2);
    quiet_note(&q, 0, 3);
    assert_false(quiet_is(&q));
    quiet_note(&q, 0, 4);
    assert_true(quiet_is(&q));
    quiet_note(&q, 1, 5);
    assert_false(quiet_is(&q));
}

static void test_rows_found_are_counted_for_a_minute(void **state)
{
    struct quiet q = {.n = 0};
    (void)state;
    quiet_note(&q, 10, 1000000);
    quiet_note(&q, 7, 31000000);
    assert_int_equal(quiet_recent(&q, 31000000), 17);
    assert_int_equal(quiet_recent(&q, 1000000 + QUIET_WINDOW_US), 17);
    assert_int_equal(quiet_recent(&q, 1000001 + QUIET_WINDOW_US), 7);
    for (uint64_t i = 0; i < 100; i++) /* more than it keeps: the latest count */
        quiet_note(&q, 1, 40000000 + i);
    assert_int_equal(quiet_recent(&q, 40000100), QUIET_KEPT);
}

static void test_a_step_waits_longer_for_its_lock_each_time_but_no_longer_than_others_may_wait_on_it(
    void **state)
{
    (void)state;
    assert_int_equal(migration_lock_ms(0, 20, 100), 20);
    assert_int_equal(migration_lock_ms(1, 20, 100), 40);
    assert_int_equal(migration_lock_ms(2, 20, 100), 80);
    assert_int_equal(migration_lock_ms(3, 20, 100), 100);
    assert_int_equal(migration_lock_ms(UINT32_MAX, 20, 100), 100);
    assert_int_equal(migration_lock_ms(UINT32_MAX, 20, 60000), STEP_LOCK_MOST_MS);
    assert_int_equal(migration_lock_ms(5, 20, 10), 20); /* that is how long a batch waits anyway */
    assert_int_equal(migration_lock_ms(5, 20, 0), 20);
    assert_int_equal(migration_lock_ms(5, 1, 0.5), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_migration_goes_through_each_phase_in_order),
        cmocka_unit_test(test_a_job_has_only_the_phases_that_it_has_a_use_for),
        cmocka_unit_test(test_a_dry_run_has_nothing_but_its_preflight),
        cmocka_unit_test(test_nothing_follows_tidying_up),
        cmocka_unit_test(test_an_application_is_quiet_after_two_walks_in_a_row_that_found_nothing),
        cmocka_unit_test(
            test_a_step_waits_longer_for_its_lock_each_time_but_no_longer_than_others_may_wait_on_it),
        cmocka_unit_test(test_rows_found_are_counted_for_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
