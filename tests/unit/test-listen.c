/* Where the daemon may be listened to, and which names of hosts are its own. */
#include "unit.h"

#include "text/listen.h"

#include <arpa/inet.h>

static void test_loopback_addresses_and_unix_sockets_are_taken(void **state)
{
    struct listen_address a;

    (void)state;
    assert_null(listen_parse("127.0.0.1:9188", &a));
    assert_int_equal(ntohs(a.at.in.sin_port), 9188);
    assert_int_equal(ntohl(a.at.in.sin_addr.s_addr), 0x7f000001);
    assert_false(listen_is_unix(&a));
    assert_null(listen_parse("localhost:1", &a));
    assert_int_equal(ntohl(a.at.in.sin_addr.s_addr), 0x7f000001);
    assert_null(listen_parse("127.9.9.9:65535", &a));
    assert_null(listen_parse("[::1]:9188", &a));
    assert_int_equal(a.at.any.sa_family, AF_INET6);
    assert_null(listen_parse("unix:/run/x.sock", &a));
    assert_true(listen_is_unix(&a));
    assert_string_equal(a.at.un.sun_path, "/run/x.sock");
    assert_null(listen_parse("/run/x.sock", &a));
    assert_string_equal(a.at.un.sun_path, "/run/x.sock");
}

static void test_an_address_that_others_can_reach_is_refused(void **state)
{
    static const char *const refused[] = {"0.0.0.0:9188", "192.168.0.1:9188", "[::]:9188", "[fe80::1]:9188",
        "::1:9188", "example.org:9188", "*:9188", ":9188", "9188", "", "[::1:9188", "[127.0.0.1]:9188",
        "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:99999999999", "127.0.0.1:-1",
        "127.0.0.1:80x", "127.1:80", "unix:", "unix:run/x.sock", "[::ffff:127.0.0.1]:80"};
    char path[200] = "/";
    struct listen_address a = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const char *why = listen_parse(refused[i], &a);
        if (!why || !strstr(why, "HINT: "))
            fail_msg("\"%s\" is taken, or refused without a hint", refused[i]);
        assert_int_equal(a.length, 0);
    }
    memset(path + 1, 'x', 107);
    assert_non_null(listen_parse(path, &a));
    path[107] = '\0';
    assert_null(listen_parse(path, &a));
}

static void test_the_same_address_written_otherwise_is_the_same(void **state)
{
    struct listen_address a, b, none = {0};

    (void)state;
    listen_parse("127.0.0.1:9188", &a);
    listen_parse("localhost:9188", &b);
    assert_true(listen_is_same(&a, &b));
    listen_parse("127.0.0.1:9189", &b);
    assert_false(listen_is_same(&a, &b));
    assert_false(listen_is_same(&a, &none));
    assert_true(listen_is_same(&none, &(struct listen_address){0}));
}

static void test_only_this_hosts_names_are_its_own(void **state)
{
    static const char *const ours[] = {
        "localhost", "LOCALHOST:9188", "127.0.0.1", "127.0.0.1:9999", "[::1]", "[::1]:9188"};
    static const char *const strangers[] = {"evil.example", "evil.example:9188", "localhost.evil.example",
        "127.0.0.1.evil.example", "localhost:x", "localhost:", "192.168.0.1:9188", "0.0.0.0", "::1", "",
        "[::1", "user@localhost", "localhost:9188/", "xlocalhost"};

    (void)state;
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (!listen_is_host(ours[i]))
            fail_msg("\"%s\" is refused", ours[i]);
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
        if (listen_is_host(strangers[i]))
            fail_msg("\"%s\" is taken", strangers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loopback_addresses_and_unix_sockets_are_taken),
        cmocka_unit_test(test_an_address_that_others_can_reach_is_refused),
        cmocka_unit_test(test_the_same_address_written_otherwise_is_the_same),
        cmocka_unit_test(test_only_this_hosts_names_are_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
