/* What is read of the host and of the server's answers: pressure stall information, dirty pages, response times against their
 * best. */
#include "unit.h"

#include "pressure/dirty.h"
#include "pressure/latency.h"
#include "pressure/psi.h"

#define MS UINT64_C(1000)
#define S  UINT64_C(1000000)

static void test_the_kernels_count_is_found(void **state)
{
    uint64_t stalled = 7;

    (void)state;
    assert_true(psi_parse(
        "some avg10=0.00 avg60=1.50 avg300=0.44 total=163901484\nfull avg10=0.00 total=5\n", &stalled));
    assert_int_equal(stalled, 163901484);
    assert_true(psi_parse("full avg10=0.00 total=5\nsome avg10=0.00 total=6\n", &stalled));
    assert_int_equal(stalled, 6);
    assert_false(psi_parse("", &stalled));
    assert_false(psi_parse("some avg10=0.00", &stalled));
    assert_false(psi_parse("full avg10=0.00 total=5\n", &stalled));
}

static void test_the_share_is_of_the_last_second(void **state)
{
    struct psi psi = {0};
    uint64_t stalled = 1000 * S, now = 50 * S;

    (void)state;
    for (int i = 0; i < 200; i++) { /* idle for ten seconds */
        psi_note(&psi, stalled, now);
        now += 50 * MS;
    }
    assert_true(psi_share(&psi) <= 0);
    for (int i = 0; i < 10; i++) { /* half a second of stalls */
        stalled += 50 * MS;
        psi_note(&psi, stalled, now);
        now += 50 * MS;
    }
    assert_between(psi_share(&psi), 0.45, 0.55);
    for (int i = 0; i < 25; i++) { /* and more than a second of peace */
        psi_note(&psi, stalled, now);
        now += 50 * MS;
    }
    assert_true(psi_share(&psi) <= 0);
}

static void test_many_readings_and_another_kernel_do_no_harm(void **state)
{
    struct psi psi = {0};

    (void)state;
    for (uint64_t i = 1; i <= 1000; i++) /* a thousand a second, half of the time stalled */
        psi_note(&psi, i * 500, i * MS);
    assert_between(psi_share(&psi), 0.49, 0.51);
    psi_note(&psi, 10, 1001 * MS); /* counted anew */
    psi_note(&psi, 10 + 100, 1002 * MS);
    assert_between(psi_share(&psi), 0.09, 0.11);
}

static void test_a_slower_server_is_seen_and_in_time_forgiven(void **state)
{
    struct latency l;
    uint64_t now = S;

    (void)state;
    latency_init(&l, 600 * S);
    for (int i = 0; i < LATENCY_LEAST - 1; i++, now += 50 * MS) {
        latency_note(&l, i == 0 ? 9000 : 1000, now); /* the first answer is slow, as ever */
        assert_between(latency_ratio(&l), 0.999, 1.001);
    }
    for (int i = 0; i < 100; i++, now += 50 * MS)
        latency_note(&l, 1000, now);
    assert_between(latency_ratio(&l), 0.999, 1.01);
    for (int i = 0; i < 40; i++, now += 50 * MS)
        latency_note(&l, 3000, now);
    assert_between(latency_ratio(&l), 2.9, 3.01);
    for (int i = 0; i < 40; i++, now += 50 * MS)
        latency_note(&l, 1000, now);
    assert_between(latency_ratio(&l), 0.999, 1.1);
    for (int i = 0; i < 12000; i++, now += 50 * MS) /* for ten minutes */
        latency_note(&l, 3000, now);
    assert_between(latency_ratio(&l), 1.0, 1.6);
}

static void test_one_slow_answer_is_no_slow_server(void **state)
{
    struct latency l;
    uint64_t now = S;

    (void)state;
    latency_init(&l, 600 * S);
    for (int i = 0; i < 100; i++, now += 50 * MS)
        latency_note(&l, 1000, now);
    latency_note(&l, 5000, now);
    assert_true(latency_ratio(&l) < 1.5);
}

static void test_what_is_dirty_is_found(void **state)
{
    uint64_t bytes = 7;

    (void)state;
    assert_true(
        dirty_parse("MemTotal:  24683212 kB\nDirty:              1036 kB\nWriteback:  8 kB\n", &bytes));
    assert_int_equal(bytes, 1036 * 1024);
    assert_true(dirty_parse("Dirty: 0 kB\n", &bytes));
    assert_int_equal(bytes, 0);
    assert_false(dirty_parse("", &bytes));
    assert_false(dirty_parse("NotDirty: 5 kB\n", &bytes));
    assert_false(dirty_parse("MemFree: 1 kB\nDirty: much\n", &bytes));
}

static void test_little_is_left_to_the_kernel_and_much_that_was_there_before(void **state)
{
    struct dirty dirty = {0};
    const uint64_t after = 1 << 20;

    (void)state;
    assert_false(dirty_is_due(&dirty, DIRTY_MOST_BYTES + 1, after, true, S));
    assert_true(dirty_is_due(&dirty, DIRTY_MOST_BYTES, after, true, S));
    assert_false(dirty_is_due(&dirty, after, after, true, S));
    assert_true(dirty_is_due(&dirty, after + 1, after, true, S));
    assert_false(dirty_is_due(&dirty, after + 1, 0, true, S)); /* switched off */
}

/* Else, once it got so much, it would be left to grow until the kernel writes it. */
static void test_much_that_has_grown_is_asked_for(void **state)
{
    struct dirty dirty = {0};

    (void)state;
    assert_true(dirty_is_due(&dirty, 2 << 20, 1 << 20, true, S));
    assert_true(dirty_is_due(&dirty, 20 * DIRTY_MOST_BYTES, 1 << 20, true, S));
}

static void test_a_job_that_is_alone_is_not_slowed_down(void **state)
{
    struct dirty dirty = {0};
    const uint64_t after = 1 << 20;

    (void)state;
    assert_true(dirty_is_due(&dirty, 2 * after, after, true, S));
    assert_false(dirty_is_due(&dirty, 2 * after, after, false, S));
    /* What has gathered meanwhile is not asked for at once when others come. */
    assert_false(dirty_is_due(&dirty, DIRTY_MOST_BYTES + 1, after, true, S));
    assert_true(dirty_is_due(&dirty, 2 * after, after, true, S));
}

/* How often it is asked in a minute when it takes so long each time. */
static double asked_in_a_minute(uint64_t takes_us)
{
    struct dirty dirty = {0};
    uint64_t asked = 0;

    for (uint64_t now = 0; now < 60 * S; now += 1 * MS)
        if (dirty_is_due(&dirty, 2 << 20, 1 << 20, true, now)) {
            dirty_written(&dirty, now, now + takes_us);
            asked++;
        }
    return (double)asked;
}

static void test_the_kernel_is_at_it_a_fifth_of_the_time_at_most(void **state)
{
    (void)state;
    assert_between(asked_in_a_minute(40 * MS), 299, 301);
}

/* What gathers in a rest four times as long as a flush would take longer the next time, and so on. */
static void test_a_slow_disk_is_not_left_to_gather_more(void **state)
{
    (void)state;
    assert_between(asked_in_a_minute(400 * MS), 99, 101);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_kernels_count_is_found),
        cmocka_unit_test(test_the_share_is_of_the_last_second),
        cmocka_unit_test(test_many_readings_and_another_kernel_do_no_harm),
        cmocka_unit_test(test_a_slower_server_is_seen_and_in_time_forgiven),
        cmocka_unit_test(test_one_slow_answer_is_no_slow_server),
        cmocka_unit_test(test_what_is_dirty_is_found),
        cmocka_unit_test(test_little_is_left_to_the_kernel_and_much_that_was_there_before),
        cmocka_unit_test(test_much_that_has_grown_is_asked_for),
        cmocka_unit_test(test_a_job_that_is_alone_is_not_slowed_down),
        cmocka_unit_test(test_the_kernel_is_at_it_a_fifth_of_the_time_at_most),
        cmocka_unit_test(test_a_slow_disk_is_not_left_to_gather_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
