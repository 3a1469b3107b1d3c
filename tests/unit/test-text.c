/* Texts from outside, made fit to go anywhere. */
#include "unit.h"

#include "mem.h"
#include "text/text.h"
#include "text/utf8.h"

static void expect_line(const char *from, size_t max, const char *wanted)
{
    _cleanup_free_ char *line = text_line(from, max);
    assert_string_equal(line, wanted);
    assert_true(strlen(line) <= max);

    char buffer[64];
    memset(buffer, 'x', sizeof(buffer));
    assert_true(max < sizeof(buffer));
    text_copy(buffer, max + 1, from);
    assert_string_equal(buffer, wanted);
}

static void test_what_is_plain_stays(void **state)
{
    (void)state;
    expect_line("", 10, "");
    expect_line("row 5", 10, "row 5");
    expect_line("Zeile 5: Länge, 長さ, 🐘", 40, "Zeile 5: Länge, 長さ, 🐘");
    assert_null(text_line(NULL, 10));
}

static void test_nothing_in_it_is_obeyed(void **state)
{
    (void)state;
    expect_line("x\nWATCHDOG=trigger\r\ny", 30, "x WATCHDOG=trigger  y");
    expect_line("\x1b[31m\t\x7f\x01", 30, " [31m   ");
    expect_line("\xC2\x9B" "31m\xC2\x80\xC2\x9F\xC2\xA0", 30, " 31m  \xC2\xA0"); /* C1; a no-break space is none */
    expect_line("a\xE2\x80\xA8" "b\xE2\x80\xA9" "c\xE2\x80\xAF", 30, "a b c\xE2\x80\xAF");
    expect_line("a\xE2\x80\xAE" "b\xE2\x80\xAA" "c\xE2\x81\xA6" "d\xE2\x81\xA9" "e\xE2\x80\x8F" "f\xD8\x9C", 30, "a b c d e f "); /* turns of direction */
    expect_line("\xE2\x81\xA5\xE2\x81\xAA\xE2\x80\x8D\xE2\x80\x90\xD8\x9B\xD8\x9D", 30, "\xE2\x81\xA5\xE2\x81\xAA\xE2\x80\x8D\xE2\x80\x90\xD8\x9B\xD8\x9D");
}

static void test_what_is_no_utf8_is_replaced(void **state)
{
    (void)state;
    expect_line("a\xC3", 30, "a" UTF8_REPLACEMENT);
    expect_line("\xC3:\xFF", 30, UTF8_REPLACEMENT ":" UTF8_REPLACEMENT);
    expect_line("\xED\xA0\x80", 30, UTF8_REPLACEMENT UTF8_REPLACEMENT UTF8_REPLACEMENT); /* a surrogate */
    expect_line("\xF0\x9F\x90", 30, UTF8_REPLACEMENT UTF8_REPLACEMENT UTF8_REPLACEMENT);
}

static void test_it_is_cut_between_characters(void **state)
{
    (void)state;
    expect_line("0123456789", 10, "0123456789");
    expect_line("0123456789a", 10, "0123456…");
    expect_line("ääääääää", 16, "ääääääää");
    expect_line("äääääääää", 16, "ääääää…");
    expect_line("äääääääää", 15, "ääääää…");
    expect_line("äääääääää", 14, "äääää…");
    expect_line("\xFF\xFF\xFF\xFF", 10, UTF8_REPLACEMENT UTF8_REPLACEMENT "…");
    expect_line("🐘🐘", 4, "…");
}

static void test_a_huge_text_is_not_copied(void **state)
{
    (void)state;
    size_t n = 20000000;
    char *huge = must(malloc(n + 1));
    memset(huge, '\n', n);
    huge[n] = '\0';
    _cleanup_free_ char *line = text_line(huge, TEXT_MESSAGE);
    assert_int_equal(strlen(line), TEXT_MESSAGE);
    assert_null(strchr(line, '\n'));
    free(huge);
}

static void test_a_formatted_text_is_cut_as_well(void **state)
{
    (void)state;
    char buffer[16];
    text_print(buffer, sizeof(buffer), "%s: %d", "Länge\n", 5);
    assert_string_equal(buffer, "Länge : 5");
    text_print(buffer, sizeof(buffer), "%s: %d", "ääääääää", 5);
    assert_string_equal(buffer, "ääääää…");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_plain_stays),
        cmocka_unit_test(test_nothing_in_it_is_obeyed),
        cmocka_unit_test(test_what_is_no_utf8_is_replaced),
        cmocka_unit_test(test_it_is_cut_between_characters),
        cmocka_unit_test(test_a_huge_text_is_not_copied),
        cmocka_unit_test(test_a_formatted_text_is_cut_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
