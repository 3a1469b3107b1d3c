/* A helper walks ranges, and leaves all else to the job's holder: lib/run/helper. */
#include "script.h"

static void start_helping(struct script *s)
{
    const struct runner_limits limits = {.pace.target_us = TARGET_US, .pace.min_keys = 1, .pace.max_keys = 100000, .quarantine = true};

    s->now_us = 1000000;
    runner_init(&s->r, PHASE_BACKFILL, 1000, 0, &limits, 42, s->now_us);
    runner_helps(&s->r);
    feed(s, &(struct runner_event){.kind = RUNNER_START});
    begin_to_walk(s);
}

static void test_it_takes_range_after_range_and_leaves_when_none_is_free(void **state)
{
    struct script *s = *state;
    start_helping(s);
    batch_done(s, TARGET_US, NULL);
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_TAKE);
    taken(s, 2, "{2000}", "{3000}");
    EXPECT(s, RUNNER_BOUND);
    found(s, NULL);
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NONE});
    EXPECT(s, RUNNER_RELEASE);
    assert_false(s->r.work.troubled);
    done(s);
    EXPECT(s, RUNNER_END);
}

static void test_a_row_that_fails_is_the_holders_to_judge_and_the_next_range_is_taken(void **state)
{
    static const char *const errors[] = {"22012", "P0001", "XX000", "57014"};
    struct script *s = *state;

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        start_helping(s);
        refused(s, errors[i]);
        EXPECT(s, RUNNER_HAND_OVER);
        done(s);
        EXPECT(s, RUNNER_TAKE);
        runner_done(&s->r);
    }
    start_helping(s);
}

static void test_what_passes_for_nobody_alone_makes_it_leave(void **state)
{
    static const char *const errors[] = {"53100", "57P01", "42501", "42P01"};
    struct script *s = *state;

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        start_helping(s);
        refused(s, errors[i]);
        EXPECT(s, RUNNER_RELEASE);
        assert_true(s->r.work.troubled);
        runner_done(&s->r);
    }
    start_helping(s);
    lost(s);
    EXPECT(s, RUNNER_RELEASE);
    assert_true(s->r.work.troubled);
}

static void test_a_login_that_is_refused_fails_no_job(void **state)
{
    struct script *s = *state;
    const struct runner_limits limits = {.pace.target_us = TARGET_US, .pace.min_keys = 1, .pace.max_keys = 100};

    runner_init(&s->r, PHASE_BACKFILL, 1000, 0, &limits, 42, 1000000);
    runner_helps(&s->r);
    feed(s, &(struct runner_event){.kind = RUNNER_START});
    refused(s, "28000");
    EXPECT(s, RUNNER_RELEASE);
}

static void test_a_deadlock_with_another_walker_is_tried_again_quietly(void **state)
{
    struct script *s = *state;
    start_helping(s);
    refused(s, "40P01");
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    taken(s, 1, NULL, "{1000}");
    found(s, "{50}");
    EXPECT(s, RUNNER_BATCH);
    batch_done(s, TARGET_US, "{100}");
    EXPECT(s, RUNNER_BATCH);
}

static void test_locked_rows_are_passed_over_and_a_lock_on_the_table_that_stays_is_not_waited_for(void **state)
{
    struct script *s = *state;
    start_helping(s);
    refused(s, SQLSTATE_LOCK);
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->a.skipping);
    for (int i = 0; i < 3; i++) { /* on the table */
        refused(s, SQLSTATE_TABLE_LOCK);
        EXPECT(s, RUNNER_REST);
        done(s);
        EXPECT(s, RUNNER_TAKE);
        taken(s, 1, NULL, "{1000}");
        found(s, "{50}");
        refused(s, SQLSTATE_LOCK);
    }
    refused(s, SQLSTATE_TABLE_LOCK);
    EXPECT(s, RUNNER_RELEASE); /* its range is free, for whoever comes */
    assert_false(s->r.work.troubled);
}

static void test_rows_that_meet_a_lock_elsewhere_are_put_aside_and_too_many_are_left_to_the_holder(void **state)
{
    struct script *s = *state;
    start_helping(s);
    refused(s, SQLSTATE_LOCK);
    refused(s, SQLSTATE_LOCK);
    for (uint32_t keys = s->a.keys; s->a.kind == RUNNER_BOUND; keys = s->a.keys) {
        assert_true(keys >= 16);
        found(s, "{50}");
        refused(s, SQLSTATE_LOCK);
    }
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->a.aside);
    done_with(s, (struct runner_event){.skipped = 10000});
    EXPECT(s, RUNNER_BOUND);
    found(s, "{80}");
    refused(s, SQLSTATE_LOCK);
    EXPECT(s, RUNNER_HAND_OVER);
}

static void test_a_range_that_was_taken_away_is_asked_for_once_more(void **state)
{
    struct script *s = *state;
    start_helping(s);
    refused(s, SQLSTATE_STALE);
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NOT_OURS});
    EXPECT(s, RUNNER_END);
}

static void test_any_wish_makes_it_leave_after_its_batch_and_a_stop_at_once_within_it(void **state)
{
    struct script *s = *state;
    start_helping(s);
    wish(s, RUNNER_WANT_STOP);
    EXPECT(s, RUNNER_NONE);
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_RELEASE);
    runner_done(&s->r);
    start_helping(s);
    wish(s, RUNNER_WANT_STOP_NOW);
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_RELEASE);
}

static void test_the_holder_waits_for_helpers_before_it_comes_back_to_locked_rows(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, TARGET_US, NULL);
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_SHARED, .total_keys = 1500});
    EXPECT(s, RUNNER_REST);
    assert_true(s->a.until_us - s->now_us <= 100000);
    assert_int_equal(s->r.work.progress.keys, 1500);
    assert_null(s->r.work.patience.waiting_for);
    done(s);
    EXPECT(s, RUNNER_TAKE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRIPTED(test_it_takes_range_after_range_and_leaves_when_none_is_free),
        SCRIPTED(test_a_row_that_fails_is_the_holders_to_judge_and_the_next_range_is_taken),
        SCRIPTED(test_what_passes_for_nobody_alone_makes_it_leave),
        SCRIPTED(test_a_login_that_is_refused_fails_no_job),
        SCRIPTED(test_a_deadlock_with_another_walker_is_tried_again_quietly),
        SCRIPTED(test_locked_rows_are_passed_over_and_a_lock_on_the_table_that_stays_is_not_waited_for),
        SCRIPTED(test_rows_that_meet_a_lock_elsewhere_are_put_aside_and_too_many_are_left_to_the_holder),
        SCRIPTED(test_a_range_that_was_taken_away_is_asked_for_once_more),
        SCRIPTED(test_any_wish_makes_it_leave_after_its_batch_and_a_stop_at_once_within_it),
        SCRIPTED(test_the_holder_waits_for_helpers_before_it_comes_back_to_locked_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
