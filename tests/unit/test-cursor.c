/* Positions are the server's text[] literals; here they are only taken apart for people to read. */
#include "unit.h"

#include "walk/cursor.h"
#include "mem.h"

static void expect_elements(const char *literal, int n, const char *const expected[])
{
    int n_seen = -1;
    char **seen = cursor_split(literal, &n_seen);

    assert_non_null(seen);
    assert_int_equal(n_seen, n);
    for (int i = 0; i < n; i++) {
        if (expected[i])
            assert_string_equal(seen[i], expected[i]);
        else
            assert_null(seen[i]);
        free(seen[i]);
    }
    free(seen);
}

static void test_a_literal_is_split_at_its_commas(void **state)
{
    (void)state;
    expect_elements("{42}", 1, (const char *const[]){"42"});
    expect_elements("{42,2024-01-01,x}", 3, (const char *const[]){"42", "2024-01-01", "x"});
    expect_elements("{}", 0, NULL);
}

static void test_quotes_and_backslashes_are_undone(void **state)
{
    (void)state;
    expect_elements("{\"Main St, 5\"}", 1, (const char *const[]){"Main St, 5"});
    expect_elements("{\"a\\\"b\\\\c\",\"{}\"}", 2, (const char *const[]){"a\"b\\c", "{}"});
    expect_elements("{\"\",1}", 2, (const char *const[]){"", "1"});
}

static void test_null_is_an_element_unless_it_is_quoted(void **state)
{
    (void)state;
    expect_elements("{NULL,\"NULL\",null}", 3, (const char *const[]){NULL, "NULL", NULL});
}

static void test_what_is_no_literal_is_refused(void **state)
{
    static const char *const broken[] = {NULL, "", "42", "{", "{42", "{42,", "{42,}", "{,}", "{\"42}",
        "{\"42\\", "{42}x", "{\"42\"x}", "{{1,2},{3,4}}"};
    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        int n = 7;
        assert_null(cursor_split(broken[i], &n));
        assert_int_equal(n, 7);
    }
}

static void expect_description(const char *columns, const char *position, const char *expected)
{
    _cleanup_free_ char *text = cursor_describe(columns, position);
    assert_string_equal(text, expected);
}

static void test_a_position_is_shown_with_its_columns(void **state)
{
    (void)state;
    expect_description("{id}", "{42}", "id = 42");
    expect_description("{id,street}", "{42,\"Main St\"}", "id = 42, street = Main St");
    expect_description("{id,street}", "{42,NULL}", "id = 42, street = NULL");
}

static void test_what_does_not_fit_together_is_shown_as_it_is(void **state)
{
    (void)state;
    expect_description("{id,street}", "{42}", "{42}");
    expect_description(NULL, "{42}", "{42}");
    expect_description("{id}", "42", "42");
    expect_description("{id}", NULL, "the start");
}

static void test_the_distance_of_integers_is_known_of_no_other_position(void **state)
{
    (void)state;
    assert_int_equal(cursor_distance("{42}", "{50}"), 8);
    assert_int_equal(cursor_distance("{-3}", "{4}"), 7);
    assert_true(cursor_distance("{-9223372036854775808}", "{9223372036854775807}") == UINT64_MAX);
    static const char *const others[][2] = {{NULL, "{5}"}, {"{5}", NULL}, {"{50}", "{42}"}, {"{5}", "{5}"}, {"{1,2}", "{1,9}"}, {"{1}", "{9223372036854775808}"}, {"{\"1\"}", "{\"2\"}"},
        {"{ 1}", "{2}"}, {"1", "2"}, {"{}", "{2}"}, {"{1}", "{2}x"}, {"{1.0}", "{2.0}"}, {"{NULL}", "{2}"}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(cursor_distance(others[i][0], others[i][1]), 0);
}

static void test_the_end_of_a_page_is_no_row(void **state)
{
    (void)state;
    assert_true(cursor_ends_page("{\"(12,65535)\"}"));
    assert_false(cursor_ends_page("{\"(12,6)\"}"));
    assert_false(cursor_ends_page("{65535}"));
    assert_false(cursor_ends_page("{\"a (12,65535)\"}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_literal_is_split_at_its_commas),
        cmocka_unit_test(test_quotes_and_backslashes_are_undone),
        cmocka_unit_test(test_null_is_an_element_unless_it_is_quoted),
        cmocka_unit_test(test_what_is_no_literal_is_refused),
        cmocka_unit_test(test_a_position_is_shown_with_its_columns),
        cmocka_unit_test(test_what_does_not_fit_together_is_shown_as_it_is),
        cmocka_unit_test(test_the_end_of_a_page_is_no_row),
        cmocka_unit_test(test_the_distance_of_integers_is_known_of_no_other_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
