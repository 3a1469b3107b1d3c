/* How many keys the next batch has (DESIGN section 6). Noisy servers are in tests/sim. */
#include "unit.h"

#include "pressure/batch_size.h"

#define TARGET_US 20000

static struct batch_size fresh(void)
{
    struct batch_size s;
    batch_size_init(&s, TARGET_US, 1, 100000);
    return s;
}

/* Batches of the size that is asked for, on a server without noise. */
static void run_batches(struct batch_size *s, int n, double us_per_key)
{
    for (int i = 0; i < n; i++)
        batch_size_observe(s, batch_size_keys(s), (uint64_t)(batch_size_keys(s) * us_per_key), 0);
}

static void test_the_first_batch_is_harmless(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    assert_int_equal(batch_size_keys(&s), BATCH_FIRST_KEYS);
}

static void test_it_settles_on_the_target_time(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    assert_between(batch_size_keys(&s), 4900, 5000);
}

static void test_a_step_grows_it_by_half_at_most(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    for (int i = 0; i < 20; i++) {
        uint32_t before = batch_size_keys(&s);
        run_batches(&s, 1, 0.01);
        assert_true(batch_size_keys(&s) <= before * 1.5 + 1);
    }
    assert_int_equal(batch_size_keys(&s), 100000);
}

static void test_a_short_batch_is_no_reason_to_grow_far_nor_to_shrink(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    uint32_t before = batch_size_keys(&s);
    batch_size_observe(&s, 10, 40, 0);
    assert_int_equal(batch_size_keys(&s), before);
}

static void test_five_times_the_target_is_believed_at_once(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    run_batches(&s, 1, 40.0);
    assert_between(batch_size_keys(&s), 490, 500);
}

static void test_a_somewhat_long_batch_is_believed_by_half(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    run_batches(&s, 1, 8.0);
    assert_between(batch_size_keys(&s), 3300, 3400); /* as at 6 us a key */
}

static void test_a_quick_batch_is_believed_by_a_quarter(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    run_batches(&s, 1, 2.0);
    assert_between(batch_size_keys(&s), 5650, 5750); /* as at 3.5 us a key */
}

static void test_wal_caps_it(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    for (int i = 0; i < 20; i++)
        batch_size_observe(&s, batch_size_keys(&s), batch_size_keys(&s), (uint64_t)batch_size_keys(&s) << 20);
    assert_between(batch_size_keys(&s), 15, 16);
}

static void test_too_much_wal_is_believed_at_once(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    batch_size_observe(&s, 5000, TARGET_US, UINT64_C(5000) << 20);
    assert_between(batch_size_keys(&s), 15, 16);
}

static void test_it_stays_between_its_limits(void **state)
{
    struct batch_size s;
    (void)state;
    batch_size_init(&s, TARGET_US, 50, 200);
    run_batches(&s, 10, 100000.0);
    assert_int_equal(batch_size_keys(&s), 50);
    run_batches(&s, 50, 0.001);
    assert_int_equal(batch_size_keys(&s), 200);
}

static void test_one_key_that_takes_too_long_is_still_tried(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 5, 10 * TARGET_US);
    assert_int_equal(batch_size_keys(&s), 1);
    batch_size_halve(&s);
    assert_int_equal(batch_size_keys(&s), 1);
}

static void test_it_grows_again_from_one(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 5, 10 * TARGET_US);
    run_batches(&s, 60, 4.0);
    assert_between(batch_size_keys(&s), 4900, 5000);
}

/* What a statement costs beside its rows may near the target, on a busy server: a batch of one key then takes nearly as long as one of thirty. */
static void test_it_leaves_one_key_where_a_statement_alone_takes_most_of_the_target(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    for (int i = 0; i < 60; i++)
        batch_size_observe(&s, batch_size_keys(&s), TARGET_US * 6 / 5, 0);
    assert_int_equal(batch_size_keys(&s), 1);
    for (int i = 0; i < 60; i++)
        batch_size_observe(&s, batch_size_keys(&s), TARGET_US * 4 / 5 + batch_size_keys(&s) * 100, 0);
    assert_between(batch_size_keys(&s), 30, 41);
}

static void test_a_batch_of_no_keys_says_nothing(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    batch_size_observe(&s, 0, 10 * TARGET_US, UINT64_C(1) << 40);
    assert_int_equal(batch_size_keys(&s), BATCH_FIRST_KEYS);
}

static void test_a_batch_that_took_no_time_divides_nothing_by_nought(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    batch_size_observe(&s, 100, 0, 0);
    assert_int_equal(batch_size_keys(&s), 151);
}

static void test_a_lock_halves_it(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    batch_size_halve(&s);
    assert_int_equal(batch_size_keys(&s), BATCH_FIRST_KEYS / 2);
}

static void test_a_batch_cut_short_at_once_halves_it(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    batch_size_cut_short(&s, batch_size_keys(&s), 2 * TARGET_US);
    assert_between(batch_size_keys(&s), 2450, 2500);
}

static void test_a_batch_cut_short_after_long_is_believed_at_once(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    batch_size_cut_short(&s, 5000, 5000000); /* at least a millisecond a key */
    assert_between(batch_size_keys(&s), 19, 20);
}

static void test_new_limits_keep_what_was_learnt(void **state)
{
    struct batch_size s = fresh();
    (void)state;
    run_batches(&s, 50, 4.0);
    batch_size_limit(&s, TARGET_US / 2, 1, 1000);
    assert_int_equal(batch_size_keys(&s), 1000);
    batch_size_limit(&s, TARGET_US / 2, 1, 100000);
    run_batches(&s, 20, 4.0);
    assert_between(batch_size_keys(&s), 2450, 2500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_batch_is_harmless),
        cmocka_unit_test(test_it_settles_on_the_target_time),
        cmocka_unit_test(test_a_step_grows_it_by_half_at_most),
        cmocka_unit_test(test_a_short_batch_is_no_reason_to_grow_far_nor_to_shrink),
        cmocka_unit_test(test_five_times_the_target_is_believed_at_once),
        cmocka_unit_test(test_a_somewhat_long_batch_is_believed_by_half),
        cmocka_unit_test(test_a_quick_batch_is_believed_by_a_quarter),
        cmocka_unit_test(test_wal_caps_it),
        cmocka_unit_test(test_too_much_wal_is_believed_at_once),
        cmocka_unit_test(test_it_stays_between_its_limits),
        cmocka_unit_test(test_one_key_that_takes_too_long_is_still_tried),
        cmocka_unit_test(test_it_grows_again_from_one),
        cmocka_unit_test(test_it_leaves_one_key_where_a_statement_alone_takes_most_of_the_target),
        cmocka_unit_test(test_a_batch_of_no_keys_says_nothing),
        cmocka_unit_test(test_a_batch_that_took_no_time_divides_nothing_by_nought),
        cmocka_unit_test(test_a_lock_halves_it),
        cmocka_unit_test(test_a_batch_cut_short_at_once_halves_it),
        cmocka_unit_test(test_a_batch_cut_short_after_long_is_believed_at_once),
        cmocka_unit_test(test_new_limits_keep_what_was_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
