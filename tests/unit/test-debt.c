/* Nobody keeps the control session to themselves: who was answered for long lets the others go first. */
#include "unit.h"

#include "job/debt.h"

#define SECOND 1000000ULL

static void test_a_second_is_free(void **state)
{
    struct debts d = {0};
    (void)state;

    for (int i = 0; i < 10; i++)
        debts_note(&d, "app", SECOND / 10, SECOND);
    assert_int_equal(debts_until(&d, "app", SECOND), 0);
    debts_note(&d, "app", SECOND / 10, SECOND);
    assert_int_equal(debts_until(&d, "app", SECOND), SECOND + SECOND / 5);
    debts_done(&d);
}

static void test_who_was_answered_for_long_waits_twice_as_long_and_nobody_else_does(void **state)
{
    struct debts d = {0};
    (void)state;

    debts_note(&d, "app", 5 * SECOND, 10 * SECOND);
    assert_int_equal(debts_until(&d, "app", 10 * SECOND), 18 * SECOND);
    assert_int_equal(debts_until(&d, "app", 14 * SECOND), 18 * SECOND);
    assert_int_equal(debts_until(&d, "other", 10 * SECOND), 0);
    assert_int_equal(debts_until(&d, "app", 18 * SECOND), 0);
    assert_int_equal(debts_until(&d, "app", 20 * SECOND), 0);
    assert_int_equal(d.n, 0); /* what is paid is forgotten */
    debts_done(&d);
}

static void test_who_asks_without_end_has_half_of_the_time(void **state)
{
    struct debts d = {0};
    uint64_t now = SECOND, had = 0, until;
    (void)state;

    while (now < 1000 * SECOND) {
        now += SECOND / 4;
        had += SECOND / 4;
        debts_note(&d, "app", SECOND / 4, now);
        if ((until = debts_until(&d, "app", now)) > 0)
            now = until;
    }
    assert_in_range(had, 490 * SECOND, 510 * SECOND);
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
        cmocka_unit_test(test_a_second_is_free),
        cmocka_unit_test(test_who_was_answered_for_long_waits_twice_as_long_and_nobody_else_does),
        cmocka_unit_test(test_who_asks_without_end_has_half_of_the_time),
        cmocka_unit_test(test_nobody_waits_longer_than_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
