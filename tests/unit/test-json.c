/* Strings and numbers of the page's events. */
#include "unit.h"

#include "text/json.h"

#include <math.h>

static void assert_string_is(const char *given, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    json_string(out, given);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void assert_number_is(double given, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    json_number(out, given);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void test_a_string_keeps_to_its_quotes_and_its_line(void **state)
{
    (void)state;
    assert_string_is("h\xc3\xa4", "\"h\xc3\xa4\"");
    assert_string_is("a\"b\\c", "\"a\\\"b\\\\c\"");
    assert_string_is("a\r\n\x01", "\"a\\u000d\\u000a\\u0001\"");
    assert_string_is("</script>", "\"\\u003c/script>\"");
    assert_string_is("\xff", "\"\xef\xbf\xbd\"");
    assert_string_is("", "\"\"");
    assert_string_is(NULL, "null");
}

static void test_what_is_not_known_is_null(void **state)
{
    (void)state;
    assert_number_is(0, "0.000");
    assert_number_is(12.3456, "12.346");
    assert_number_is(-1, "null");
    assert_number_is(NAN, "null");
    assert_number_is(INFINITY, "null");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_string_keeps_to_its_quotes_and_its_line),
        cmocka_unit_test(test_what_is_not_known_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
