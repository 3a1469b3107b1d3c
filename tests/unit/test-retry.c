/* What an SQLSTATE means for the work (DESIGN section 9), and how long the next try waits. */
#include "unit.h"

#include "job/retry.h"

static void expect_class(const char *const codes[], size_t n, enum retry_class expected)
{
    for (size_t i = 0; i < n; i++)
        if (retry_class(codes[i]) != expected)
            fail_msg("%s is %s, not %s", codes[i], retry_class_name(retry_class(codes[i])),
                retry_class_name(expected));
}

#define EXPECT(expected, ...)                                                                                \
    expect_class((const char *const[]){__VA_ARGS__},                                                         \
        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), expected)

static void test_conflicts_and_locks_are_tried_again_soon(void **state)
{
    (void)state;
    EXPECT(RETRY_CONTENTION, "40001", "40P01", "55P03");
    EXPECT(RETRY_CANCELLED, "57014");
}

static void test_a_session_that_is_gone_is_opened_again(void **state)
{
    (void)state;
    EXPECT(RETRY_RECONNECT, SQLSTATE_LOST, "08001", "08P01", "57P01", "57P02", "57P03", "57P05", "25006",
        "25P03",
        "25P04");
}

static void test_a_server_that_is_short_of_something_is_waited_for(void **state)
{
    (void)state;
    EXPECT(RETRY_LATER, "53000", "53100", "53200", "53300", "53400", "58000", "58030", "58P01");
}

static void test_a_row_that_cannot_be_computed_is_looked_for(void **state)
{
    (void)state;
    EXPECT(RETRY_ROW, "22012", "22P02", "23502", "23505", "23514", "21000", "44000");
}

static void test_what_a_trigger_or_a_limit_says_may_be_of_every_row(void **state)
{
    (void)state;
    EXPECT(RETRY_RAISED, "P0001", "P0004", "54000", "54001", "38000", "39004");
}

static void test_what_nobody_knows_is_tried_again(void **state)
{
    (void)state;
    EXPECT(RETRY_UNKNOWN, "XX000", "XX001", "55006", "72000", "HV00N", "MY001", "F0000");
}

static void test_names_that_are_gone_are_read_anew(void **state)
{
    (void)state;
    EXPECT(RETRY_ALTERED, "42P01", "42703", "42883", "3F000", "0A000");
}

static void test_another_workers_range_is_told_apart_from_an_error(void **state)
{
    (void)state;
    EXPECT(RETRY_STALE, SQLSTATE_STALE);
    EXPECT(RETRY_PERMANENT, "BF000", "BF009");
}

static void test_what_no_try_will_help_is_permanent(void **state)
{
    (void)state;
    EXPECT(RETRY_PERMANENT, "42501", "42601", "28P01", "28000", "3D000", "25001", "55000", "42P16", "2BP01");
}

static void test_what_is_no_code_is_permanent(void **state)
{
    (void)state;
    EXPECT(RETRY_PERMANENT, "", "4000", "400010", "22");
    assert_int_equal(retry_class(NULL), RETRY_PERMANENT);
}

static void test_every_class_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i <= RETRY_PERMANENT; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(
                retry_class_name((enum retry_class)i), retry_class_name((enum retry_class)k));
}

static void test_each_wait_is_about_twice_the_last_up_to_the_cap(void **state)
{
    struct backoff b;
    uint64_t expected = 50000;

    (void)state;
    backoff_init(&b, 50000, 5000000, 42);
    for (int i = 0; i < 100; i++) {
        assert_between(backoff_next(&b), expected / 2, expected);
        expected = expected * 2 < 5000000 ? expected * 2 : 5000000;
    }
}

static void test_waits_are_spread(void **state)
{
    struct backoff b;
    uint64_t least = UINT64_MAX, most = 0;

    (void)state;
    backoff_init(&b, 1000000, 1000000, 7);
    for (int i = 0; i < 1000; i++) {
        uint64_t wait = backoff_next(&b);
        least = wait < least ? wait : least;
        most = wait > most ? wait : most;
    }
    assert_between(least, 500000, 520000);
    assert_between(most, 980000, 1000000);
}

static void test_sessions_with_other_seeds_wait_otherwise(void **state)
{
    struct backoff a, b;

    (void)state;
    backoff_init(&a, 1000000, 1000000, 1);
    backoff_init(&b, 1000000, 1000000, 2);
    int same = 0;
    for (int i = 0; i < 20; i++)
        same += backoff_next(&a) == backoff_next(&b);
    assert_true(same <= 2);
}

static void test_a_seed_of_nought_is_no_less_random(void **state)
{
    struct backoff b;

    (void)state;
    backoff_init(&b, 1000000, 1000000, 0);
    backoff_next(&b);
    assert_int_not_equal(backoff_next(&b), backoff_next(&b));
}

static void test_success_begins_again_with_the_shortest_wait(void **state)
{
    struct backoff b;

    (void)state;
    backoff_init(&b, 50000, 5000000, 42);
    for (int i = 0; i < 10; i++)
        backoff_next(&b);
    backoff_reset(&b);
    assert_between(backoff_next(&b), 25000, 50000);
}

static void assert_public(const char *sqlstate, const char *message, const char *expected)
{
    char *text = retry_public_message(sqlstate, message);
    assert_string_equal(text, expected);
    free(text);
}

static void test_a_message_about_a_row_does_not_tell_its_value(void **state)
{
    (void)state;
    assert_public("22P02", "invalid input syntax for type integer: \"secret\"",
        "invalid input syntax for type integer: \"...\"");
    assert_public("22003", "value \"a \"b\" c\" is out of range", "value \"...\" is out of range");
    assert_public("22012", "division by zero", "division by zero");
    assert_public("22P02", "ungültige Eingabesyntax für Typ integer: »geheim«", "ungültige Eingabesyntax für Typ integer: »...«");
    assert_public("22P02", "syntaxe en entrée invalide pour le type integer : « le « secret » »",
        "syntaxe en entrée invalide pour le type integer : «...»");
    assert_public("22P02", "型integerの入力構文が不正です: \"秘密\"", "型integerの入力構文が不正です: \"...\"");
    assert_public("22P02", "„sekret” is no number", "„...” is no number");
    assert_public("22P02", "not a number: \"secr", "not a number: \"...");
    assert_public("22012", "can't divide", "can't divide");
    assert_public("22P02", "it's 'secret'", "it'...'");
    assert_public("22P05", "character with byte sequence 0xe2 0x80 in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
        "character with byte sequence 0x 0x in encoding \"...\"");
    assert_public("P0001", "customer \"Smith\" is frozen", "customer \"...\" is frozen");
    assert_public("MY001", "customer »Smith« is frozen", "customer »...« is frozen");
    assert_public("P0001", "frozen until six", "frozen until six");
    assert_public("22008", "date out of range: 5874898-01-01", "date out of range: ...");
    assert_public("42501", "permission denied for table \"t\"", "permission denied for table \"t\"");
    assert_public("23505", "duplicate key value violates unique constraint \"t_pkey\"",
        "duplicate key value violates unique constraint \"t_pkey\"");
}

static void assert_named(const char *message, const char *expected)
{
    char *text = retry_named_message(message, "UPDATE ONLY app.t SET kind = rel::regclass::text || lookup(code) WHERE kind IS NULL");
    assert_string_equal(text, expected);
    free(text);
}

static void test_a_message_about_a_name_tells_those_of_the_statement_alone(void **state)
{
    (void)state;
    assert_named("relation \"secret\" does not exist", "relation \"...\" does not exist");
    assert_named("column \"kind\" of relation \"app.t\" does not exist", "column \"kind\" of relation \"app.t\" does not exist");
    assert_named("column \"kind\" of relation \"secret\" does not exist", "column \"...\" does not exist");
    assert_named("Relation »secret« existiert nicht", "Relation »...« existiert nicht");
    assert_named("syntax error in tsquery: \"jane doe\"", "syntax error in tsquery: \"...\"");
    assert_named("cut \"kin", "cut \"...");
    assert_named("permission denied for table x", "permission denied for table x");
    assert_null(retry_named_message(NULL, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_about_a_name_tells_those_of_the_statement_alone),
        cmocka_unit_test(test_conflicts_and_locks_are_tried_again_soon),
        cmocka_unit_test(test_a_session_that_is_gone_is_opened_again),
        cmocka_unit_test(test_a_server_that_is_short_of_something_is_waited_for),
        cmocka_unit_test(test_a_row_that_cannot_be_computed_is_looked_for),
        cmocka_unit_test(test_what_a_trigger_or_a_limit_says_may_be_of_every_row),
        cmocka_unit_test(test_what_nobody_knows_is_tried_again),
        cmocka_unit_test(test_names_that_are_gone_are_read_anew),
        cmocka_unit_test(test_another_workers_range_is_told_apart_from_an_error),
        cmocka_unit_test(test_what_no_try_will_help_is_permanent),
        cmocka_unit_test(test_what_is_no_code_is_permanent),
        cmocka_unit_test(test_every_class_has_a_name_of_its_own),
        cmocka_unit_test(test_each_wait_is_about_twice_the_last_up_to_the_cap),
        cmocka_unit_test(test_waits_are_spread),
        cmocka_unit_test(test_sessions_with_other_seeds_wait_otherwise),
        cmocka_unit_test(test_a_seed_of_nought_is_no_less_random),
        cmocka_unit_test(test_success_begins_again_with_the_shortest_wait),
        cmocka_unit_test(test_a_message_about_a_row_does_not_tell_its_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
