/* Whose fault an error is: the row's, or nobody's, and how long it is waited to know. */
#include "unit.h"

#include "walk/blame.h"

static const struct blame_look its_own = {.passed = true, .key_fails = true};
static const struct blame_look all_alike = {.key_fails = true, .alike = 6};
static const struct blame_look no_other = {.key_fails = true};
static const struct blame_look no_more = {.passed = true};

#define S UINT64_C(1000000)

/* Looks each second until the verdict is another than to wait; returns after how many seconds, -1: after no hour. */
static int seconds_to(struct blame *b, const char *sqlstate, const struct blame_look *look, enum blame_verdict expected)
{
    for (int s = 0; s < 3600; s++) {
        enum blame_verdict v = blame_judge(b, sqlstate, look, 100 * S + (uint64_t)s * S);
        if (v != BLAME_WAIT) {
            assert_int_equal(v, expected);
            return s;
        }
    }
    return -1;
}

static void test_a_row_that_fails_beside_one_that_passes_is_blamed_at_once(void **state)
{
    static const char *const codes[] = {"22012", "23505", "P0001", "54000", "57014", "XX001"};
    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        assert_int_equal(seconds_to(&(struct blame){0}, codes[i], &its_own, BLAME_KEY), 0);
}

static void test_a_name_or_a_right_that_every_row_lacks_is_waited_for_by_nobody(void **state)
{
    static const char *const codes[] = {"42501", "42P01", "42883", "3F000", "55000", "0A000"};
    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_int_equal(seconds_to(&(struct blame){0}, codes[i], &its_own, BLAME_KEY), 0);
        assert_int_equal(seconds_to(&(struct blame){0}, codes[i], &all_alike, BLAME_NOBODY), 0);
        assert_int_equal(seconds_to(&(struct blame){0}, codes[i], &no_other, BLAME_NOBODY), 0);
    }
}

static void test_what_meets_every_row_is_waited_for_and_blames_none(void **state)
{
    (void)state;
    assert_int_equal(seconds_to(&(struct blame){0}, "P0001", &all_alike, BLAME_NOBODY), 600);
    assert_int_equal(seconds_to(&(struct blame){0}, "54000", &all_alike, BLAME_NOBODY), 600);
    assert_int_equal(seconds_to(&(struct blame){0}, "57014", &all_alike, BLAME_NOBODY), 120);
}

static void test_a_table_full_of_bad_rows_is_believed_soon_and_then_at_once(void **state)
{
    struct blame b = {0};
    (void)state;
    assert_int_equal(seconds_to(&b, "22012", &all_alike, BLAME_KEY), 5);
    for (int i = 0; i < 100; i++)
        assert_int_equal(seconds_to(&b, "22012", &all_alike, BLAME_KEY), 0);
    assert_true(!blame_passed(&b));
    assert_int_equal(seconds_to(&(struct blame){0}, "23503", &all_alike, BLAME_KEY), 30);
}

static void test_a_row_without_others_is_blamed_after_a_while(void **state)
{
    (void)state;
    assert_int_equal(seconds_to(&(struct blame){0}, "22012", &no_other, BLAME_KEY), 3);
    assert_int_equal(seconds_to(&(struct blame){0}, "P0001", &no_other, BLAME_KEY), 30);
    assert_int_equal(seconds_to(&(struct blame){0}, "57014", &no_other, BLAME_KEY), 0);
}

static void test_others_that_are_locked_are_no_reason_to_blame_it(void **state)
{
    const struct blame_look unclear = {.key_fails = true, .unclear = 3};
    (void)state;
    assert_int_equal(seconds_to(&(struct blame){0}, "P0001", &unclear, BLAME_NOBODY), 600);
}

static void test_a_row_that_fails_no_more_is_not_blamed(void **state)
{
    (void)state;
    assert_int_equal(blame_judge(&(struct blame){0}, "22012", &no_more, S), BLAME_WAIT);
    assert_int_equal(blame_judge(&(struct blame){.run_until_us = UINT64_MAX}, "22012", &no_more, S), BLAME_WAIT);
}

static void test_good_rows_between_bad_ones_make_nobody_wait_again(void **state)
{
    struct blame b = {0};
    (void)state;
    assert_int_equal(seconds_to(&b, "22012", &all_alike, BLAME_KEY), 5);
    blame_passed(&b);
    assert_int_equal(blame_judge(&b, "22012", &all_alike, 20 * S), BLAME_KEY);
    blame_passed(&b);
    assert_int_equal(blame_judge(&b, "P0001", &all_alike, 21 * S), BLAME_WAIT);
    assert_int_equal(blame_judge(&b, "22012", &all_alike, 70 * S), BLAME_KEY);
    blame_passed(&b);
    assert_int_equal(blame_judge(&b, "22012", &all_alike, 3600 * S), BLAME_WAIT);
}

static void test_a_daemon_that_stood_still_has_not_looked_meanwhile(void **state)
{
    struct blame b = {0};
    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(blame_judge(&b, "22012", &all_alike, (1 + 1000 * i) * S), BLAME_WAIT);
}

static void test_a_known_cause_ends_the_waiting(void **state)
{
    const struct blame_look known = {.key_fails = true, .alike = 1, .known = true};
    (void)state;
    assert_int_equal(blame_judge(&(struct blame){0}, "57014", &known, S), BLAME_NOBODY);
}

static void test_a_key_is_slow_from_its_third_try_on(void **state)
{
    struct blame b = {0};
    (void)state;
    assert_false(blame_is_slow(&b));
    assert_false(blame_is_slow(&b));
    assert_true(blame_is_slow(&b));
    blame_passed(&b);
    assert_false(blame_is_slow(&b));
}

static void test_it_is_told_when_what_refused_rows_has_passed(void **state)
{
    struct blame b = {0};
    (void)state;
    assert_false(blame_passed(&b));
    blame_judge(&b, "P0001", &all_alike, S);
    assert_true(blame_passed(&b));
    assert_false(blame_passed(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_that_fails_beside_one_that_passes_is_blamed_at_once),
        cmocka_unit_test(test_a_name_or_a_right_that_every_row_lacks_is_waited_for_by_nobody),
        cmocka_unit_test(test_what_meets_every_row_is_waited_for_and_blames_none),
        cmocka_unit_test(test_a_table_full_of_bad_rows_is_believed_soon_and_then_at_once),
        cmocka_unit_test(test_a_row_without_others_is_blamed_after_a_while),
        cmocka_unit_test(test_others_that_are_locked_are_no_reason_to_blame_it),
        cmocka_unit_test(test_a_row_that_fails_no_more_is_not_blamed),
        cmocka_unit_test(test_good_rows_between_bad_ones_make_nobody_wait_again),
        cmocka_unit_test(test_a_daemon_that_stood_still_has_not_looked_meanwhile),
        cmocka_unit_test(test_a_known_cause_ends_the_waiting),
        cmocka_unit_test(test_a_key_is_slow_from_its_third_try_on),
        cmocka_unit_test(test_it_is_told_when_what_refused_rows_has_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
