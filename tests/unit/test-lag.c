/* LSN echo: how late a standby is, and the standbys of a server. */
#include "unit.h"

#include "pressure/lag.h"
#include "pressure/standby.h"

#define MS UINT64_C(1000)

static void test_a_standby_is_as_late_as_the_first_moment_beyond_it(void **state)
{
    static struct lag lag;

    (void)state;
    lag = (struct lag){0};
    for (uint64_t i = 1; i <= 20; i++)
        lag_note(&lag, i * 1000, i * 100 * MS);
    assert_int_equal(lag_us(&lag, 20000, 2000 * MS), 0);
    assert_int_equal(lag_us(&lag, 25000, 2000 * MS), 0);
    assert_int_equal(lag_us(&lag, 19999, 2000 * MS), 0);
    assert_int_equal(lag_us(&lag, 15000, 2000 * MS), 400 * MS);  /* the primary was beyond it at 1600 ms */
    assert_int_equal(lag_us(&lag, 15000, 9000 * MS), 7400 * MS); /* and it hangs */
}

static void test_an_idle_primary_makes_nobody_late(void **state)
{
    static struct lag lag;

    (void)state;
    lag = (struct lag){0};
    lag_note(&lag, 5000, 1 * MS);
    lag_note(&lag, 5000, 3600000 * MS);
    assert_int_equal(lag_us(&lag, 5000, 7200000 * MS), 0);
    lag_note(&lag, 6000, 7200000 * MS); /* it writes again: late from now on, not from an hour ago */
    assert_int_equal(lag_us(&lag, 5000, 7200010 * MS), 10 * MS);
}

static void test_what_was_written_since_the_last_look_may_come_again(void **state)
{
    static struct lag lag;
    struct standbys standbys = {0};
    struct pressure p;

    (void)state;
    lag = (struct lag){0};
    lag_note(&lag, 10000000, 100 * MS);
    assert_int_equal(lag_growth(&lag, 100 * MS), 0);
    lag_note(&lag, 15000000, 150 * MS);
    assert_int_equal(lag_growth(&lag, 150 * MS), 5000000);
    assert_int_equal(lag_growth(&lag, 200 * MS), 0); /* nothing since */

    pressure_begin(&p, 150 * MS);
    standby_see(&standbys, "a", true, 12000000, 150 * MS);
    standby_press(&standbys, &lag, 15000000, false, 150 * MS, &p);
    assert_between(p.readings[SIGNAL_LAG_MB].value, 7.999, 8.001);
}

static void test_the_memory_reaches_back_an_hour_to_a_tenth(void **state)
{
    static struct lag lag;
    uint64_t now = 0, lsn = 0;

    (void)state;
    lag = (struct lag){0};
    for (int i = 0; i < 72000; i++) { /* an hour at 50 ms */
        now += 50 * MS;
        lag_note(&lag, ++lsn, now);
    }
    for (uint64_t late = 20; late < 70000; late += 7) { /* from a second to nearly the hour */
        double us = (double)lag_us(&lag, lsn - late, now);
        assert_between(us, 0.9 * (double)late * 50 * MS, 1.0 * (double)late * 50 * MS);
    }
}

static void test_another_timeline_forgets_the_old_one(void **state)
{
    static struct lag lag;

    (void)state;
    lag = (struct lag){0};
    lag_note(&lag, 9000, 1000 * MS);
    lag_note(&lag, 8000, 2000 * MS);
    assert_int_equal(lag.n, 1);
    assert_int_equal(lag_us(&lag, 7000, 2500 * MS), 500 * MS);
}

static void test_an_lsn_is_read_as_the_server_prints_it(void **state)
{
    uint64_t lsn = 0;

    (void)state;
    assert_true(lsn_parse("16/B374D848", &lsn));
    assert_int_equal(lsn, UINT64_C(0x16B374D848));
    assert_false(lsn_parse("16", &lsn));
    assert_false(lsn_parse("16/B374D848 ", &lsn));
    assert_false(lsn_parse(NULL, &lsn));
}

static struct pressure press(
    struct standbys *s, const struct lag *lag, uint64_t primary, bool fine, uint64_t now)
{
    struct pressure p;
    pressure_begin(&p, now);
    standby_press(s, lag, primary, fine, now, &p);
    return p;
}

static void test_the_latest_standby_counts(void **state)
{
    static struct lag lag;
    struct standbys s = {0};

    (void)state;
    lag = (struct lag){0};
    for (uint64_t i = 1; i <= 10; i++)
        lag_note(&lag, i * 1000000, i * 100 * MS);
    standby_begin(&s);
    standby_see(&s, "near", true, 9500000, 1000 * MS);
    standby_see(&s, "far", true, 5000000, 1000 * MS);
    struct pressure p = press(&s, &lag, 10000000, false, 1000 * MS);
    assert_true(p.there[SIGNAL_LAG_MS] && p.readings[SIGNAL_LAG_MS].known);
    assert_string_equal(p.readings[SIGNAL_LAG_MS].what, "far");
    assert_between(p.readings[SIGNAL_LAG_MS].value, 399, 401);
    assert_between(p.readings[SIGNAL_LAG_MB].value, 5.9, 6.1); /* 5 behind, and 1 since the last look */
}

static void test_more_standbys_than_have_a_place_are_no_secret(void **state)
{
    static struct lag lag;
    struct standbys s = {0};
    struct pressure p;

    (void)state;
    lag = (struct lag){0};
    for (int n = STANDBY_MAX; n <= STANDBY_MAX + 1; n++) {
        standby_begin(&s);
        for (int i = 0; i < n; i++) {
            char name[16];
            snprintf(name, sizeof(name), "s%d", i);
            standby_see(&s, name, true, 1000, 1000 * MS);
        }
        p = press(&s, &lag, 1000, false, 1000 * MS);
        assert_true(p.there[SIGNAL_LAG_MS]);
        assert_int_equal(p.readings[SIGNAL_LAG_MS].known, n <= STANDBY_MAX);
    }
    assert_string_equal(p.readings[SIGNAL_LAG_MS].what, "there are more than 32 standbys and subscriptions");
    standby_begin(&s);
    p = press(&s, &lag, 1000, false, 1000 * MS);
    assert_true(p.readings[SIGNAL_LAG_MS].known);
}

static void test_a_long_name_is_one_standby_cut_between_characters(void **state)
{
    static struct lag lag;
    struct standbys s = {0};
    const char *name = "Länge ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää";

    (void)state;
    lag = (struct lag){0};
    standby_name(&s, name, 0);
    for (uint64_t now = 1; now < 3; now++) {
        standby_begin(&s);
        standby_see(&s, name, false, 0, now);
        assert_int_equal(s.n, 1);
        assert_true(standby_is_named(&s, name));
    }
    struct pressure p = press(&s, &lag, 1000, false, 3);
    assert_non_null(strstr(p.readings[SIGNAL_LAG_MS].what, "ä… says no position"));
}

static void test_one_that_goes_stays_late_for_the_grace_time_and_is_forgotten_after_it(void **state)
{
    static struct lag lag;
    struct standbys s = {0};
    char name[PRESSURE_WHAT];

    (void)state;
    lag = (struct lag){0};
    lag_note(&lag, 1000, 1000 * MS);
    standby_begin(&s);
    standby_see(&s, "a", true, 1000, 1000 * MS);
    lag_note(&lag, 2000, 1100 * MS);
    standby_begin(&s);
    struct pressure p = press(&s, &lag, 2000, false, 3100 * MS);
    assert_between(p.readings[SIGNAL_LAG_MS].value, 1999, 2001);
    assert_string_equal(p.readings[SIGNAL_LAG_MS].what, "a, gone");
    assert_false(standby_forget(&s, 3100 * MS, name));
    assert_true(standby_forget(&s, 1000 * MS + STANDBY_GRACE_US, name));
    assert_string_equal(name, "a");
    p = press(&s, &lag, 2000, false, 20000 * MS);
    assert_false(p.there[SIGNAL_LAG_MS]);
}

static void test_what_is_written_now_will_be_as_late_as_what_lies_before_it(void **state)
{
    static struct lag lag;
    struct standbys s = {0};

    (void)state;
    lag = (struct lag){0};
    for (uint64_t i = 1; i <= 10; i++) { /* it replays 1 MB in 100 ms, and 3 MB lie before it */
        lag_note(&lag, i * 1000000 + 3000000, i * 100 * MS);
        standby_begin(&s);
        standby_see(&s, "a", true, i * 1000000, i * 100 * MS);
    }
    struct pressure p = press(&s, &lag, 13000000, false, 1000 * MS);
    assert_between(p.readings[SIGNAL_LAG_MS].expected, 299, 301);
    for (int i = 0; i < STANDBY_ROUNDS; i++) { /* it hangs: as late as it is */
        standby_begin(&s);
        standby_see(&s, "a", true, 10000000, 5000 * MS + (uint64_t)i);
    }
    p = press(&s, &lag, 13000000, false, 6000 * MS);
    assert_between(
        p.readings[SIGNAL_LAG_MS].expected, p.readings[SIGNAL_LAG_MS].value, p.readings[SIGNAL_LAG_MS].value);
    standby_begin(&s);
    standby_see(&s, "a", true, 13000000, 6100 * MS); /* nothing lies before it */
    p = press(&s, &lag, 13000000, false, 6100 * MS);
    assert_int_equal(p.readings[SIGNAL_LAG_MS].expected, 0);
}

static void test_a_named_standby_must_be_there(void **state)
{
    static struct lag lag;
    struct standbys s = {0};
    char name[PRESSURE_WHAT];

    (void)state;
    lag = (struct lag){0};
    lag_note(&lag, 1000, 1000 * MS);
    standby_name(&s, "a", 1000 * MS);
    standby_begin(&s);
    standby_see(&s, "b", true, 1000, 13000 * MS);
    assert_true(standby_is_named(&s, "a"));
    assert_false(standby_is_named(&s, "b"));
    assert_false(standby_is_named(&s, "c"));
    struct pressure p = press(&s, &lag, 1000, false, 13000 * MS);
    assert_true(p.there[SIGNAL_STANDBY] && !p.readings[SIGNAL_STANDBY].known);
    assert_string_equal(p.readings[SIGNAL_STANDBY].what, "a is gone for 12 s");
    assert_false(standby_forget(&s, 3600000 * MS, name));
    p = press(&s, &lag, 1000, true, 13000 * MS);
    assert_false(p.there[SIGNAL_STANDBY]);
    standby_see(&s, "a", true, 1000, 14000 * MS);
    p = press(&s, &lag, 1000, false, 14000 * MS);
    assert_false(p.there[SIGNAL_STANDBY]);
}

static void test_a_standby_without_a_position_holds(void **state)
{
    static struct lag lag;
    struct standbys s = {0};

    (void)state;
    lag = (struct lag){0};
    standby_begin(&s);
    standby_see(&s, "mute", false, 0, 1000 * MS);
    struct pressure p = press(&s, &lag, 1000, false, 1000 * MS);
    assert_true(p.there[SIGNAL_LAG_MS] && !p.readings[SIGNAL_LAG_MS].known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_standby_is_as_late_as_the_first_moment_beyond_it),
        cmocka_unit_test(test_an_idle_primary_makes_nobody_late),
        cmocka_unit_test(test_what_was_written_since_the_last_look_may_come_again),
        cmocka_unit_test(test_the_memory_reaches_back_an_hour_to_a_tenth),
        cmocka_unit_test(test_another_timeline_forgets_the_old_one),
        cmocka_unit_test(test_an_lsn_is_read_as_the_server_prints_it),
        cmocka_unit_test(test_the_latest_standby_counts),
        cmocka_unit_test(test_more_standbys_than_have_a_place_are_no_secret),
        cmocka_unit_test(test_a_long_name_is_one_standby_cut_between_characters),
        cmocka_unit_test(test_one_that_goes_stays_late_for_the_grace_time_and_is_forgotten_after_it),
        cmocka_unit_test(test_what_is_written_now_will_be_as_late_as_what_lies_before_it),
        cmocka_unit_test(test_a_named_standby_must_be_there),
        cmocka_unit_test(test_a_standby_without_a_position_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
