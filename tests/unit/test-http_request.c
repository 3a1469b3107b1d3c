/* The head of a request: what is right is read, and what is not quite right is refused. */
#include "unit.h"

#include "text/http_request.h"

static char head[512];

static int parse(const char *text, struct http_request *r)
{
    snprintf(head, sizeof(head), "%s", text);
    return http_parse(head, strlen(head), r);
}

static void test_a_request_is_read(void **state)
{
    struct http_request r;

    (void)state;
    assert_int_equal(parse("GET /metrics?x=1 HTTP/1.1\r\nhost:  localhost:9188 \r\nAccept: text/plain\r\n"
                           "Sec-Fetch-Site: none\r\nX: y\r\n\r\n",
                         &r),
        0);
    assert_int_equal(r.method, HTTP_GET);
    assert_string_equal(r.path, "/metrics");
    assert_string_equal(r.host, "localhost:9188");
    assert_string_equal(r.accept, "text/plain");
    assert_string_equal(r.fetch_site, "none");
}

static void test_methods_are_told_apart(void **state)
{
    struct http_request r;

    (void)state;
    assert_int_equal(parse("HEAD / HTTP/1.0\nHost: a\n\n", &r), 0);
    assert_int_equal(r.method, HTTP_HEAD);
    assert_null(r.accept);
    assert_int_equal(parse("get / HTTP/1.1\r\nHost: a\r\n\r\n", &r), 0);
    assert_int_equal(r.method, HTTP_OTHER);
    assert_int_equal(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &r), 0);
    assert_int_equal(r.method, HTTP_OTHER);
}

static void test_what_is_not_quite_right_is_refused(void **state)
{
    static const struct {
        const char *text;
        int status;
    } refused[] = {
        {"", 400},
        {"\r\n\r\n", 400},
        {"GET\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"G<T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / FTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400},
        {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    };
    struct http_request r;

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (parse(refused[i].text, &r) != refused[i].status)
            fail_msg("\"%s\" gives %d", refused[i].text, parse(refused[i].text, &r));
    memcpy(head, "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 30);
    assert_int_equal(http_parse(head, 30, &r), 400);
}

static void test_a_head_ends_with_an_empty_line(void **state)
{
    static const char *const unfinished[] = {"", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nA: b\r\n\r"};

    (void)state;
    for (size_t i = 0; i < sizeof(unfinished) / sizeof(unfinished[0]); i++)
        assert_int_equal(http_head_length(unfinished[i], strlen(unfinished[i])), 0);
    assert_int_equal(http_head_length("a\r\n\r\nbody", 9), 5);
    assert_int_equal(http_head_length("a\n\nbody", 7), 3);
}

/* Whatever comes: nothing is read or written outside of the head (the sanitizers look on), and it ends. */
static void test_no_bytes_do_harm(void **state)
{
    static const char seed[] = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    struct http_request r;
    unsigned random = 1;
    int taken = 0;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        size_t n = sizeof(seed) - 1;
        char *copy = malloc(n + 1);
        memcpy(copy, seed, n);
        for (int change = 0; change < 3; change++) {
            random = random * 1664525 + 1013904223;
            copy[(random >> 8) % n] = (char)(random >> 24);
        }
        n = http_head_length(copy, n);
        taken += n > 0 && http_parse(copy, n, &r) == 0 && strlen(r.path) + strlen(r.host) > 0;
        free(copy);
    }
    assert_between(taken, 1000, 199000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_read),
        cmocka_unit_test(test_methods_are_told_apart),
        cmocka_unit_test(test_what_is_not_quite_right_is_refused),
        cmocka_unit_test(test_a_head_ends_with_an_empty_line),
        cmocka_unit_test(test_no_bytes_do_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
