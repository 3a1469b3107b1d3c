/* Nobody keeps the control session to themselves: who was answered for long lets the others go first. */
#include "unit.h"

#include "job/debt.h"

#define SECOND 1000000ULL

static void test_short_questions_are_free(void **state)
{
    struct debts d = {0};
    (void)state;

    for (int i = 0; i < 1000; i++)
        debts_note(&d, "app", 100000, SECOND);
    assert_int_equal(debts_until(&d, "app", SECOND), 0);
    debts_done(&d);
}

static void test_who_was_answered_for_long_waits_nine_times_as_long_and_nobody_else_does(void **state)
{
    struct debts d = {0};
    (void)state;

    debts_note(&d, "app", 2 * SECOND, 10 * SECOND);
    assert_int_equal(debts_until(&d, "app", 10 * SECOND), 28 * SECOND);
    assert_int_equal(debts_until(&d, "other", 10 * SECOND), 0);
    assert_int_equal(debts_until(&d, "app", 28 * SECOND), 0);
    assert_int_equal(d.n, 0); /* what is paid is forgotten */
    debts_done(&d);
}

static void test_nobody_waits_longer_than_a_minute(void **state)
{
    struct debts d = {0};
    (void)state;

    debts_note(&d, "app", UINT64_MAX, SECOND);
    assert_int_equal(debts_until(&d, "app", SECOND), 61 * SECOND);
    debts_done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_questions_are_free),
        cmocka_unit_test(test_who_was_answered_for_long_waits_nine_times_as_long_and_nobody_else_does),
        cmocka_unit_test(test_nobody_waits_longer_than_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
