/* The text that Prometheus reads: both dialects, and whatever a label holds. */
#include "unit.h"

#include "text/openmetrics.h"
#include "text/utf8.h"

static const struct openmetrics_family gauge = {
    .name = "f_x_seconds", .kind = OPENMETRICS_GAUGE, .unit = "seconds", .help = "Of \"x\" \\ y."};
static const struct openmetrics_family counter = {
    .name = "f_n", .kind = OPENMETRICS_COUNTER, .help = "How many."};
static const struct openmetrics_family histogram = {
    .name = "f_t_seconds", .kind = OPENMETRICS_HISTOGRAM, .unit = "seconds", .help = "How long."};
static const struct openmetrics_family info = {.name = "f_build", .kind = OPENMETRICS_INFO, .help = "Which."};

static char *text;
static size_t size;

static struct openmetrics begin(bool older)
{
    return (struct openmetrics){.out = open_memstream(&text, &size), .older = older};
}

static void assert_written(struct openmetrics *om, const char *expected)
{
    fclose(om->out);
    assert_string_equal(text, expected);
    free(text);
}

static void write_all(struct openmetrics *om)
{
    const struct openmetrics_label labels[] = {{"a", "b"}, {NULL, NULL}};
    const double bounds[] = {0.5, 1};
    const uint64_t counts[] = {2, 1};

    openmetrics_begin(om, &gauge);
    openmetrics_sample(om, &gauge, labels, 0.1);
    openmetrics_begin(om, &counter);
    openmetrics_sample(om, &counter, NULL, 3);
    openmetrics_begin(om, &histogram);
    openmetrics_histogram(om, &histogram, labels, bounds, counts, 2, 4, 9.5);
    openmetrics_begin(om, &info);
    openmetrics_sample(om, &info, labels, 1);
    openmetrics_end(om);
}

static void test_openmetrics_names_families_without_suffix_and_ends(void **state)
{
    struct openmetrics om = begin(false);

    (void)state;
    write_all(&om);
    assert_written(&om, "# HELP f_x_seconds Of \\\"x\\\" \\\\ y.\n"
                        "# TYPE f_x_seconds gauge\n"
                        "# UNIT f_x_seconds seconds\n"
                        "f_x_seconds{a=\"b\"} 0.1\n"
                        "# HELP f_n How many.\n"
                        "# TYPE f_n counter\n"
                        "f_n_total 3\n"
                        "# HELP f_t_seconds How long.\n"
                        "# TYPE f_t_seconds histogram\n"
                        "# UNIT f_t_seconds seconds\n"
                        "f_t_seconds_bucket{a=\"b\",le=\"0.5\"} 2\n"
                        "f_t_seconds_bucket{a=\"b\",le=\"1.0\"} 3\n"
                        "f_t_seconds_bucket{a=\"b\",le=\"+Inf\"} 4\n"
                        "f_t_seconds_sum{a=\"b\"} 9.5\n"
                        "f_t_seconds_count{a=\"b\"} 4\n"
                        "# HELP f_build Which.\n"
                        "# TYPE f_build info\n"
                        "f_build_info{a=\"b\"} 1\n"
                        "# EOF\n");
}

static void test_the_older_format_names_what_is_sampled_and_has_no_end(void **state)
{
    struct openmetrics om = begin(true);

    (void)state;
    write_all(&om);
    assert_written(&om, "# HELP f_x_seconds Of \"x\" \\\\ y.\n"
                        "# TYPE f_x_seconds gauge\n"
                        "f_x_seconds{a=\"b\"} 0.1\n"
                        "# HELP f_n_total How many.\n"
                        "# TYPE f_n_total counter\n"
                        "f_n_total 3\n"
                        "# HELP f_t_seconds How long.\n"
                        "# TYPE f_t_seconds histogram\n"
                        "f_t_seconds_bucket{a=\"b\",le=\"0.5\"} 2\n"
                        "f_t_seconds_bucket{a=\"b\",le=\"1\"} 3\n"
                        "f_t_seconds_bucket{a=\"b\",le=\"+Inf\"} 4\n"
                        "f_t_seconds_sum{a=\"b\"} 9.5\n"
                        "f_t_seconds_count{a=\"b\"} 4\n"
                        "# HELP f_build_info Which.\n"
                        "# TYPE f_build_info gauge\n"
                        "f_build_info{a=\"b\"} 1\n");
}

static void test_no_label_can_break_out_of_its_quotes_or_its_line(void **state)
{
    const struct openmetrics_label labels[] = {
        {"a", "\"} 1\nevil 2\\"}, {"b", "\xff\xc3"}, {"c", "h\xc3\xa4"}, {NULL, NULL}};
    struct openmetrics om = begin(false);

    (void)state;
    openmetrics_sample(&om, &counter, labels, 1);
    assert_written(
        &om, "f_n_total{a=\"\\\"} 1\\nevil 2\\\\\",b=\"\xef\xbf\xbd\xef\xbf\xbd\",c=\"h\xc3\xa4\"} 1\n");
}

static void test_a_family_without_samples_leaves_no_trace(void **state)
{
    struct openmetrics om = begin(false);

    (void)state;
    openmetrics_begin(&om, &gauge);
    openmetrics_begin(&om, &counter);
    openmetrics_end(&om);
    assert_written(&om, "# EOF\n");
}

static void test_numbers_are_read_back_as_they_were(void **state)
{
    static const double values[] = {0, 1e9, 1795561623.5230777, 0.1, 1.0 / 3, 9007199254740993.0};

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct openmetrics om = begin(false);
        openmetrics_sample(&om, &counter, NULL, values[i]);
        fclose(om.out);
        double read = strtod(text + strlen("f_n_total "), NULL);
        assert_memory_equal(&read, &values[i], sizeof(read));
        free(text);
    }
}

static void test_who_asks_for_the_older_format_alone_gets_it(void **state)
{
    (void)state;
    assert_true(openmetrics_is_accepted(NULL));
    assert_true(openmetrics_is_accepted("*/*"));
    assert_true(
        openmetrics_is_accepted("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"));
    assert_false(openmetrics_is_accepted("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
}

static void test_a_long_text_is_cut_between_characters(void **state)
{
    char to[6];

    (void)state;
    assert_true(utf8_cut(to, sizeof(to), "abcde"));
    assert_string_equal(to, "abcde");
    assert_false(utf8_cut(to, sizeof(to), "abcd\xc3\xa4"));
    assert_string_equal(to, "abcd");
    assert_false(utf8_cut(to, sizeof(to), "\xe2\x82\xac\xe2\x82\xac"));
    assert_string_equal(to, "\xe2\x82\xac");
}

static void test_only_utf8_passes_for_utf8(void **state)
{
    (void)state;
    assert_int_equal(utf8_length("a"), 1);
    assert_int_equal(utf8_length("\xf4\x8f\xbf\xbf"), 4);
    assert_int_equal(utf8_length("\xf4\x90\x80\x80"), 0); /* above U+10FFFF */
    assert_int_equal(utf8_length("\xed\xa0\x80"), 0);     /* a surrogate */
    assert_int_equal(utf8_length("\xc0\xaf"), 0);         /* longer than need be */
    assert_int_equal(utf8_length("\xe0\x9f\xbf"), 0);
    assert_int_equal(utf8_length("\xf0\x8f\xbf\xbf"), 0);
    assert_int_equal(utf8_length("\xe2\x82"), 0); /* cut off by the end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openmetrics_names_families_without_suffix_and_ends),
        cmocka_unit_test(test_the_older_format_names_what_is_sampled_and_has_no_end),
        cmocka_unit_test(test_no_label_can_break_out_of_its_quotes_or_its_line),
        cmocka_unit_test(test_a_family_without_samples_leaves_no_trace),
        cmocka_unit_test(test_numbers_are_read_back_as_they_were),
        cmocka_unit_test(test_who_asks_for_the_older_format_alone_gets_it),
        cmocka_unit_test(test_a_long_text_is_cut_between_characters),
        cmocka_unit_test(test_only_utf8_passes_for_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
