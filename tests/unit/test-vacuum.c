/* Whether a job waits for vacuum. */
#include "unit.h"

#include "pressure/vacuum.h"

#define S     UINT64_C(1000000)
#define LIMIT 0.2
#define LEAST 1e6
#define NAP_S 60

static struct vacuum_reading reading(double dead, bool running, bool enabled)
{
    return (struct vacuum_reading){.dead_rows = dead,
        .live_rows = 100 - dead,
        .bytes = 2e6,
        .running = running,
        .enabled = enabled,
        .naptime_s = NAP_S};
}

static bool step(struct vacuum *v, struct vacuum_reading r, uint64_t now_us)
{
    return vacuum_step(v, &r, LIMIT, LEAST, now_us);
}

static void test_a_job_waits_at_the_limit_until_vacuum_has_been(void **state)
{
    struct vacuum v = {0};

    (void)state;
    assert_false(step(&v, reading(19, false, true), 1 * S));
    assert_true(step(&v, reading(20, false, true), 2 * S));
    assert_true(step(&v, reading(20, true, true), 62 * S));
    assert_true(step(&v, reading(20, true, true), 100000 * S)); /* however long it takes */
    assert_false(step(&v, reading(1, false, true), 100001 * S));
    assert_true(step(&v, reading(30, false, true), 100002 * S)); /* and again */
}

static void test_a_job_does_not_wait_for_a_vacuum_that_does_not_come(void **state)
{
    struct vacuum v = {0};
    uint64_t patience_us = (VACUUM_NAPS * NAP_S + VACUUM_MARGIN_S) * S;

    (void)state;
    assert_true(step(&v, reading(30, false, true), 1 * S));
    assert_true(step(&v, reading(30, false, true), patience_us));
    assert_false(step(&v, reading(30, false, true), 1 * S + patience_us));
    assert_false(step(&v, reading(90, false, true), 9000 * S));
    assert_true(step(&v, reading(90, true, true), 9001 * S)); /* it has come after all */

    v = (struct vacuum){0};
    assert_false(step(&v, reading(30, false, false), 1 * S)); /* autovacuum is off */
    v = (struct vacuum){0};
    assert_true(step(&v, reading(30, false, true), 1 * S));
    assert_false(step(&v, reading(30, false, false), 2 * S)); /* it was switched off meanwhile */
}

static void test_a_job_does_not_wait_for_a_vacuum_that_could_not_help(void **state)
{
    struct vacuum v = {0};

    (void)state;
    assert_true(step(&v, reading(30, false, true), 1 * S));
    assert_true(step(&v, reading(30, true, true), 2 * S));
    assert_false(step(&v, reading(30, false, true), 3 * S)); /* an old snapshot held it back */
    assert_false(step(&v, reading(40, false, true), 4 * S));
    assert_false(step(&v, reading(10, false, true), 5 * S));
    assert_true(step(&v, reading(30, false, true), 6 * S));
}

static void test_a_small_or_empty_table_is_not_held(void **state)
{
    struct vacuum v = {0};
    struct vacuum_reading small = reading(90, false, true), empty = {.enabled = true};

    (void)state;
    small.bytes = LEAST - 1;
    assert_false(vacuum_step(&v, &small, LIMIT, LEAST, 1 * S));
    assert_false(vacuum_step(&v, &empty, LIMIT, 0, 1 * S));
    assert_true(vacuum_dead_ratio(&empty) <= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_waits_at_the_limit_until_vacuum_has_been),
        cmocka_unit_test(test_a_job_does_not_wait_for_a_vacuum_that_does_not_come),
        cmocka_unit_test(test_a_job_does_not_wait_for_a_vacuum_that_could_not_help),
        cmocka_unit_test(test_a_small_or_empty_table_is_not_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
