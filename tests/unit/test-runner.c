/* The state machine of a job, cell by cell: planning, filling, and what people wish meanwhile. Errors are in
 * test-runner_errors.c; what comes of it all together is in tests/sim. */
#include "script.h"

/* ---- Planning. -------------------------------------------------------------------------------------- */

static void test_a_new_job_is_planned_relation_by_relation(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 2});
    EXPECT(s, RUNNER_SURVEY);
    assert_int_equal(s->a.relation, 0);
    done_with(s, (struct runner_event){.estimate = 300});
    EXPECT(s, RUNNER_ADD_RANGE);
    assert_int_equal(s->a.relation, 0);
    done(s);
    EXPECT(s, RUNNER_SURVEY);
    assert_int_equal(s->a.relation, 1);
    done_with(s, (struct runner_event){.estimate = 500});
    done(s);
    EXPECT(s, RUNNER_BEGIN);
    assert_int_equal(s->a.estimate, 800);
    assert_int_equal(s->a.phase, PHASE_BACKFILL);
    done_with(s, (struct runner_event){.look = RUNNER_LOOK_FINE});
    EXPECT(s, RUNNER_TAKE);
}

static void test_an_empty_relation_gets_no_range(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    done_with(s, (struct runner_event){.n_relations = 2});
    done_with(s, (struct runner_event){.empty = true, .estimate = 10});
    EXPECT(s, RUNNER_SURVEY);
    assert_int_equal(s->a.relation, 1);
    done_with(s, (struct runner_event){.empty = true, .estimate = 10});
    EXPECT(s, RUNNER_BEGIN);
    assert_int_equal(s->a.estimate, 0);
}

static void test_a_job_without_relations_succeeds(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    done_with(s, (struct runner_event){.n_relations = 0});
    EXPECT(s, RUNNER_BEGIN);
    done_with(s, (struct runner_event){.look = RUNNER_LOOK_FINE});
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NONE});
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
    done(s);
    EXPECT(s, RUNNER_END);
}

static void test_a_plan_of_another_daemons_job_is_dropped(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    done_with(s, (struct runner_event){.n_relations = 0});
    done_with(s, (struct runner_event){.look = RUNNER_LOOK_NOT_OURS});
    EXPECT(s, RUNNER_END);
}

static void test_a_planned_job_goes_on_where_it_stood(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, false);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    taken(s, 3, "{500}", "{1000}");
    EXPECT(s, RUNNER_BOUND);
    assert_string_equal(s->r.walker.cursor, "{500}");
}

/* ---- Filling. --------------------------------------------------------------------------------------- */

static void test_a_batch_brings_the_bound_of_the_next(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS);
    assert_int_equal(s->a.next_keys, BATCH_FIRST_KEYS);
    assert_null(s->r.walker.cursor);
    assert_string_equal(s->r.walker.hi, "{100}");
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_BATCH);
    assert_string_equal(s->r.walker.cursor, "{100}");
    assert_string_equal(s->r.walker.hi, "{200}");
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS);
}

static void take_integers(struct script *s, const char *upper)
{
    start(s, PHASE_BACKFILL, false);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_RANGE, .range = 1, .epoch = 7, .cursor = "{0}", .upper = upper, .yields = true, .integers = true});
    EXPECT(s, RUNNER_BOUND);
    found(s, "{100}");
    EXPECT(s, RUNNER_BATCH);
}

static void test_where_integers_stand_side_by_side_no_bound_is_searched(void **state)
{
    struct script *s = *state;
    take_integers(s, "{9000}");
    assert_false(s->a.reckons); /* it is not known yet */
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS);
    assert_true(s->a.reckons && s->a.next_keys > 0);
    done_with(s, (struct runner_event){.rows = 100, .elapsed_us = TARGET_US, .bound = "{300}"});
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.keys, 0); /* at most 100: how many, its rows will tell */
    assert_true(s->a.reckons);
    uint64_t before = s->r.work.progress.keys;
    done_with(s, (struct runner_event){.rows = 90, .elapsed_us = TARGET_US, .bound = "{400}"});
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->r.work.progress.keys - before, 90);
    assert_false(s->a.reckons); /* they stand farther apart */
    done_with(s, (struct runner_event){.rows = 10, .elapsed_us = TARGET_US / 10, .bound = "{2000}"});
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->a.keys > 0);
    assert_false(s->a.reckons);
}

static void test_a_row_is_searched_for_by_bounds_that_are_keys(void **state)
{
    struct script *s = *state;
    take_integers(s, "{9000}");
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_BATCH);
    batch_done(s, TARGET_US, "{300}");
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.keys, 0);
    refused(s, "23514");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS / 2);
    found(s, "{250}");
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS / 2);
    assert_false(s->a.reckons);
}

static void test_where_fewer_keys_are_left_the_batch_goes_to_the_end(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_BATCH);
    assert_string_equal(s->r.walker.hi, "{1000}");
    assert_int_equal(s->a.keys, 0);
    assert_int_equal(s->a.next_keys, 0);
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_TAKE);
}

static void test_a_bound_at_the_end_of_the_range_ends_it(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, TARGET_US, "{1000}");
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_TAKE);
}

static void test_when_no_range_is_left_the_job_has_succeeded(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, TARGET_US, "{1000}");
    batch_done(s, TARGET_US, NULL);
    taken(s, 2, NULL, "{9}");
    EXPECT(s, RUNNER_BOUND);
    found(s, NULL);
    batch_done(s, TARGET_US, NULL);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NONE});
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
}

static void test_a_point_is_one_key_and_needs_no_bound(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, false);
    done(s);
    done_with(s, (struct runner_event){
                     .outcome = RUNNER_TAKE_RANGE, .range = 5, .epoch = 1, .upper = "{77}", .point = true});
    EXPECT(s, RUNNER_BATCH);
    assert_string_equal(s->r.walker.hi, "{77}");
    assert_int_equal(s->a.keys, 1);
    batch_done(s, 900, NULL);
    EXPECT(s, RUNNER_TAKE);
}

static void test_points_say_nothing_of_the_batch_size(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, false);
    done(s);
    for (int i = 0; i < 10; i++) {
        done_with(s, (struct runner_event){
                         .outcome = RUNNER_TAKE_RANGE, .range = i + 1, .upper = "{77}", .point = true});
        batch_done(s, TARGET_US / 4, NULL);
    }
    taken(s, 11, NULL, "{1000}");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS);
}

static void test_a_bound_that_is_too_far_is_thrown_away(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, 10 * TARGET_US, "{200}");
    EXPECT(s, RUNNER_BOUND);
    assert_between(s->a.keys, 9, 10);
}

static void test_a_bound_that_is_a_little_far_is_used(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, TARGET_US * 3 / 2, "{200}");
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS);
}

/* The size goes from one to three and back with each batch: a search for each of them would cost more than the two rows. */
static void test_of_slow_rows_one_more_is_not_too_far(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, 100 * TARGET_US, "{200}");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, 1);
    done_with(s, (struct runner_event){.bound = "{101}"});
    batch_done(s, TARGET_US / 2, "{102}");
    batch_done(s, TARGET_US / 2, "{104}");
    batch_done(s, TARGET_US / 2, "{106}");
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.next_keys, 3);
    batch_done(s, TARGET_US * 3, "{109}");
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.next_keys, 1);
}

static void test_after_a_batch_that_was_cut_short_the_next_bound_is_searched_for_apart_from_one(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    assert_int_equal(s->a.next_keys, BATCH_FIRST_KEYS);
    refused(s, "57014"); /* keys that are gone, millions of them, may stand before the next bound */
    done(s);
    taken(s, 1, NULL, "{1000}");
    found(s, "{50}");
    EXPECT(s, RUNNER_BATCH);
    assert_int_equal(s->a.next_keys, 0);
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_BOUND);
    assert_string_equal(s->r.walker.cursor, "{50}");
    found(s, "{100}");
    assert_true(s->a.next_keys > 0);
}

static void test_new_limits_hold_from_the_next_bound_on(void **state)
{
    struct script *s = *state;
    const struct runner_limits limits = {.pace.target_us = TARGET_US, .pace.min_keys = 1, .pace.max_keys = 10};
    start_filling(s, false);
    runner_limit(&s->r, &limits);
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, 10);
}

static void test_what_was_done_is_counted(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    done_with(
        s, (struct runner_event){.rows = 60, .elapsed_us = TARGET_US, .wal_bytes = 5000, .bound = "{200}"});
    done_with(
        s, (struct runner_event){.rows = 70, .elapsed_us = TARGET_US, .wal_bytes = 6000, .bound = "{300}"});
    assert_int_equal(s->r.work.counts.batches, 2);
    assert_int_equal(s->r.work.counts.rows, 130);
    assert_int_equal(s->r.work.counts.keys, 200);
    assert_int_equal(s->r.work.counts.wal_bytes, 11000);
    assert_int_equal(s->r.work.counts.batch_us.count, 2);
    assert_int_equal(s->r.work.progress.keys, 200);
}

/* ---- Wishes. ---------------------------------------------------------------------------------------- */

static void test_a_paused_batch_is_aborted_and_released(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_PAUSE);
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_PAUSED);
    done(s);
    EXPECT(s, RUNNER_END);
}

static void test_a_batch_that_was_quicker_than_its_abort_counts(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_PAUSE);
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->r.work.counts.batches, 1);
}

static void test_a_stop_waits_for_the_batch(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_STOP);
    EXPECT(s, RUNNER_NONE);
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_QUEUED);
    assert_int_equal(s->r.work.counts.batches, 1);
}

static void test_a_second_stop_aborts_the_batch(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_STOP);
    wish(s, RUNNER_WANT_STOP_NOW);
    EXPECT(s, RUNNER_ABORT);
    lost(s);
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_QUEUED);
}

static void test_a_cancelled_batch_is_aborted_and_the_job_ends_cancelled(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_CANCEL);
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_CANCELLED);
    assert_null(s->r.work.ending.error);
}

static void test_a_rest_is_cut_by_a_wish(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    lost(s);
    EXPECT(s, RUNNER_REST);
    wish(s, RUNNER_WANT_PAUSE);
    EXPECT(s, RUNNER_RELEASE);
}

static void test_a_login_and_a_survey_are_aborted_by_a_wish(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    wish(s, RUNNER_WANT_PAUSE);
    EXPECT(s, RUNNER_ABORT);
    wish(s, RUNNER_WANT_RUN);
    done(s);
    done_with(s, (struct runner_event){.n_relations = 1});
    EXPECT(s, RUNNER_SURVEY);
    wish(s, RUNNER_WANT_STOP);
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_RELEASE);
}

static void test_what_the_control_session_writes_is_let_be(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, false);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    wish(s, RUNNER_WANT_PAUSE);
    EXPECT(s, RUNNER_NONE);
    taken(s, 1, NULL, "{1000}");
    EXPECT(s, RUNNER_RELEASE);
}

static void test_a_pause_that_is_taken_back_in_time_goes_on(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_PAUSE);
    wish(s, RUNNER_WANT_RUN);
    EXPECT(s, RUNNER_NONE);
    refused(s, "57014");
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_TAKE);
}

static void test_no_wish_of_the_user_takes_back_a_stop(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_PAUSE);
    wish(s, RUNNER_WANT_STOP);
    wish(s, RUNNER_WANT_RUN);
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_QUEUED);
}

static void test_a_pause_is_remembered_by_a_stop(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_STOP);
    wish(s, RUNNER_WANT_PAUSE);
    refused(s, "57014");
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_PAUSED);
}

static void test_a_cancel_is_final(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_CANCEL);
    wish(s, RUNNER_WANT_RUN);
    wish(s, RUNNER_WANT_PAUSE);
    EXPECT(s, RUNNER_NONE);
    refused(s, "57014");
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_CANCELLED);
}

static void test_an_end_that_is_being_written_is_not_up_for_discussion(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    refused(s, "42501");
    EXPECT(s, RUNNER_FINISH);
    wish(s, RUNNER_WANT_PAUSE);
    EXPECT(s, RUNNER_NONE);
    lost(s);
    EXPECT(s, RUNNER_REST);
    wish(s, RUNNER_WANT_CANCEL);
    EXPECT(s, RUNNER_NONE);
    done(s);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
    done(s);
    EXPECT(s, RUNNER_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRIPTED(test_a_new_job_is_planned_relation_by_relation),
        SCRIPTED(test_an_empty_relation_gets_no_range),
        SCRIPTED(test_a_job_without_relations_succeeds),
        SCRIPTED(test_a_plan_of_another_daemons_job_is_dropped),
        SCRIPTED(test_a_planned_job_goes_on_where_it_stood),
        SCRIPTED(test_a_batch_brings_the_bound_of_the_next),
        SCRIPTED(test_where_integers_stand_side_by_side_no_bound_is_searched),
        SCRIPTED(test_a_row_is_searched_for_by_bounds_that_are_keys),
        SCRIPTED(test_where_fewer_keys_are_left_the_batch_goes_to_the_end),
        SCRIPTED(test_a_bound_at_the_end_of_the_range_ends_it),
        SCRIPTED(test_when_no_range_is_left_the_job_has_succeeded),
        SCRIPTED(test_a_point_is_one_key_and_needs_no_bound),
        SCRIPTED(test_points_say_nothing_of_the_batch_size),
        SCRIPTED(test_a_bound_that_is_too_far_is_thrown_away),
        SCRIPTED(test_a_bound_that_is_a_little_far_is_used),
        SCRIPTED(test_of_slow_rows_one_more_is_not_too_far),
        SCRIPTED(test_after_a_batch_that_was_cut_short_the_next_bound_is_searched_for_apart_from_one),
        SCRIPTED(test_new_limits_hold_from_the_next_bound_on),
        SCRIPTED(test_what_was_done_is_counted),
        SCRIPTED(test_a_paused_batch_is_aborted_and_released),
        SCRIPTED(test_a_batch_that_was_quicker_than_its_abort_counts),
        SCRIPTED(test_a_stop_waits_for_the_batch),
        SCRIPTED(test_a_second_stop_aborts_the_batch),
        SCRIPTED(test_a_cancelled_batch_is_aborted_and_the_job_ends_cancelled),
        SCRIPTED(test_a_rest_is_cut_by_a_wish),
        SCRIPTED(test_a_login_and_a_survey_are_aborted_by_a_wish),
        SCRIPTED(test_what_the_control_session_writes_is_let_be),
        SCRIPTED(test_a_pause_that_is_taken_back_in_time_goes_on),
        SCRIPTED(test_no_wish_of_the_user_takes_back_a_stop),
        SCRIPTED(test_a_pause_is_remembered_by_a_stop),
        SCRIPTED(test_a_cancel_is_final),
        SCRIPTED(test_an_end_that_is_being_written_is_not_up_for_discussion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
