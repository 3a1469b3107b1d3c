/* What the state machine makes of rows that others have locked: passed over, tried again until they are done. */
#include "script.h"

static void skipped(struct script *s, uint64_t n, const char *bound)
{
    done_with(s,
        (struct runner_event){.rows = s->a.keys - n, .skipped = n, .elapsed_us = TARGET_US, .bound = bound});
}

static void row_taken(struct script *s, int64_t id, const char *key)
{
    done_with(s, (struct runner_event){
                     .outcome = RUNNER_TAKE_ROWS, .left_behind = id, .n_rows = 1, .upper = key, .total_keys = 1000});
}

static void locked_still(struct script *s)
{
    done_with(s, (struct runner_event){
                     .outcome = RUNNER_TAKE_LOCKED, .message = "locked by pid 5", .sqlstate = SQLSTATE_LOCK});
}

static void retried(struct script *s, bool locked)
{
    done_with(s, (struct runner_event){.rows = !locked, .skipped = locked, .elapsed_us = 500});
}

static void portion_taken(struct script *s, int64_t last, uint32_t n, uint64_t locked)
{
    done_with(s, (struct runner_event){
                     .outcome = RUNNER_TAKE_ROWS, .left_behind = last, .n_rows = n, .locked = locked, .upper = "{50}"});
}

static void portion_retried(struct script *s, uint64_t skipped)
{
    done_with(s, (struct runner_event){.rows = s->r.walker.keys - skipped, .skipped = skipped, .elapsed_us = TARGET_US / 10});
}

/* As far as the first row that was locked: row 3, key 50. */
static void start_retrying(struct script *s, bool quarantine)
{
    start(s, PHASE_BACKFILL, quarantine);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    row_taken(s, 3, "{50}");
    EXPECT(s, RUNNER_RETRY);
}

/* ---- Passed over. ----------------------------------------------------------------------------------- */

static void test_a_batch_that_met_a_lock_is_tried_once_more_at_once_without_the_locked_rows(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    assert_false(s->a.skipping);
    refused(s, SQLSTATE_LOCK);
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->a.skipping);
    assert_string_equal(s->r.walker.hi, "{100}");
    refused(s, SQLSTATE_TABLE_LOCK);
    EXPECT(s, RUNNER_REST);
    assert_string_equal(s->r.work.patience.sqlstate, SQLSTATE_LOCK); /* as it is told */
    assert_between(s->a.until_us - s->now_us, 2500, 5000);
    done(s);
    taken(s, 1, NULL, "{1000}");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS / 2);
    found(s, "{50}");
    assert_false(s->a.skipping);
}

static void test_a_batch_that_passed_over_rows_is_done_and_the_next_does_not_wait_for_locks_either(
    void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, SQLSTATE_LOCK);
    skipped(s, 2, "{200}");
    EXPECT(s, RUNNER_BATCH);
    assert_string_equal(s->r.walker.cursor, "{100}");
    assert_true(s->a.skipping);
    skipped(s, 0, "{300}");
    EXPECT(s, RUNNER_BATCH);
    assert_false(s->a.skipping);
    assert_int_equal(s->r.work.counts.keys, 200);
    assert_int_equal(s->r.work.counts.skipped, 2);
    assert_int_equal(s->r.work.counts.skipping, 1);
}

static void test_rows_passed_over_count_as_scanned_also_in_a_ranges_last_batch(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, TARGET_US, NULL);
    assert_int_equal(s->a.keys, 0); /* it goes to the range's end */
    refused(s, SQLSTATE_LOCK);
    done_with(s, (struct runner_event){.rows = 40, .skipped = 2});
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->r.work.counts.keys, 142);
}

static void test_a_lock_is_no_reason_to_begin_under_pressure(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    batch_done(s, TARGET_US, "{200}");
    s->r.work.pace.others = (struct pressure_verdict){.signal = SIGNAL_BLOCKED_MS, .ratio = 2};
    refused(s, SQLSTATE_LOCK);
    EXPECT(s, RUNNER_REST);
    s->r.work.pace.others = (struct pressure_verdict){.signal = SIGNAL_NONE};
    done(s);
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->a.skipping);
}

static void test_another_error_forgets_that_rows_were_to_be_passed_over(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, SQLSTATE_LOCK);
    lost(s);
    done(s);
    done(s);
    taken(s, 1, NULL, "{1000}");
    found(s, "{100}");
    EXPECT(s, RUNNER_BATCH);
    assert_false(s->a.skipping);
}

/* ---- A lock that isn't on the rows. ------------------------------------------------------------------ */

/* The batch that is next, of so many keys, meets the lock, though it passes over rows that are locked. */
static void meets_lock(struct script *s, uint32_t keys, const char *hi)
{
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, keys);
    found(s, hi);
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->a.skipping);
    assert_false(s->a.aside);
    refused(s, SQLSTATE_LOCK);
}

static void test_a_lock_that_is_not_on_the_rows_is_searched_for_and_a_few_rows_are_put_aside(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, SQLSTATE_LOCK);
    refused(s, SQLSTATE_LOCK);
    meets_lock(s, 50, "{50}");
    meets_lock(s, 25, "{25}");
    meets_lock(s, 16, "{16}");
    EXPECT(s, RUNNER_BATCH);
    assert_true(s->a.aside);
    assert_string_equal(s->r.walker.hi, "{16}");
    done_with(s, (struct runner_event){.skipped = 16});
    int hi = 16;
    for (uint32_t keys = 1; keys <= 64; keys *= 2) { /* the next one may be free, and more of them */
        char bound[16];
        EXPECT(s, RUNNER_BOUND);
        assert_int_equal(s->a.keys, keys);
        snprintf(bound, sizeof(bound), "{%d}", hi += (int)keys);
        found(s, bound);
        assert_false(s->a.aside);
        done_with(s, (struct runner_event){.rows = keys, .elapsed_us = TARGET_US / 3});
    }
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS); /* it is over, and has told nothing of a batch's size */
    found(s, "{212}");
    assert_false(s->a.skipping);
    assert_int_equal(s->r.work.counts.skipped, 16);
}

/* One of twenty parents is locked, say, and its children stand among all others. */
static void test_rows_that_meet_a_lock_here_and_there_hold_few_others_up(void **state)
{
    struct script *s = *state;
    uint32_t at = 0, aside = 0, filled = 0;
    int refusals = 0;
    char hi[24];

    start_filling(s, false);
    while (at < 20000) {
        if (s->a.kind == RUNNER_BOUND) {
            snprintf(hi, sizeof(hi), "{%u}", at + s->a.keys);
            found(s, hi);
            continue;
        }
        EXPECT(s, RUNNER_BATCH);
        uint32_t keys = s->r.walker.keys;
        bool meets = keys >= 20 || (at + keys) / 20 > at / 20;
        if (s->a.aside || !meets) {
            *(s->a.aside ? &aside : &filled) += keys;
            at += keys;
            done_with(s, (struct runner_event){.rows = s->a.aside ? 0 : keys, .skipped = s->a.aside ? keys : 0, .elapsed_us = 1000});
        } else {
            refused(s, SQLSTATE_LOCK);
            refusals++;
        }
    }
    assert_between(filled, at / 3, at);
    assert_between(refusals, 1, at / 10);
}

static void test_rows_that_meet_a_lock_side_by_side_are_put_aside_in_ever_larger_groups_and_not_without_end(void **state)
{
    struct script *s = *state;
    uint64_t aside = 0, tries = 0;
    char hi[24];

    start_filling(s, false);
    s->r.walker.pace.size.keys = 100000;
    while (s->a.kind == RUNNER_BOUND || s->a.kind == RUNNER_BATCH) {
        if (s->a.kind == RUNNER_BOUND) {
            snprintf(hi, sizeof(hi), "{%d}", (int)(aside + s->a.keys));
            found(s, hi);
        } else if (s->a.aside) {
            aside += s->r.walker.keys;
            done_with(s, (struct runner_event){.skipped = s->r.walker.keys});
        } else {
            tries++;
            refused(s, SQLSTATE_LOCK);
        }
    }
    EXPECT(s, RUNNER_REST);
    assert_between(aside, 10000, 20000);
    assert_between(tries, 10, 60);
    done(s);
    taken(s, 1, hi, "{1000000}");
    done_with(s, (struct runner_event){.bound = "{99999}"});
    EXPECT(s, RUNNER_BATCH);
    done_with(s, (struct runner_event){.rows = 10, .elapsed_us = TARGET_US}); /* the lock is gone */
    assert_int_equal(s->r.walker.lock.rows, 0);
}

static void test_rows_left_behind_that_meet_such_a_lock_are_halved_at_once(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, false);
    done(s);
    portion_taken(s, 16, 16, 16);
    refused(s, SQLSTATE_LOCK);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->r.walker.round.last, 0); /* the same again, */
    assert_int_equal(s->a.keys, 8);              /* the first half */
    portion_taken(s, 8, 8, 0);
    portion_retried(s, 0);
    assert_int_equal(s->a.keys, 16);
    portion_taken(s, 9, 1, 0);
    refused(s, SQLSTATE_LOCK);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->r.walker.round.last, 9); /* that one waits for the next round */
    locked_still(s);
    EXPECT(s, RUNNER_REST);
}

/* ---- Tried again. ----------------------------------------------------------------------------------- */

static void test_the_job_ends_only_when_no_row_is_locked(void **state)
{
    struct script *s = *state;
    start_retrying(s, false);
    assert_string_equal(s->r.walker.hi, "{50}");
    retried(s, true);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->r.walker.round.last, 3); /* the next one above it */
    row_taken(s, 8, "{90}");
    retried(s, false);
    EXPECT(s, RUNNER_TAKE);
    locked_still(s);
    EXPECT(s, RUNNER_REST);
    assert_string_equal(s->r.work.patience.waiting_for, "locked by pid 5");
    done(s);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->r.walker.round.last, 0); /* from the first again */
    row_taken(s, 3, "{50}");
    retried(s, false);
    assert_null(s->r.work.patience.waiting_for);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NONE});
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
    assert_int_equal(s->r.work.counts.retried, 2);
    assert_int_equal(s->r.work.counts.rows, 2);
    assert_int_equal(s->r.work.counts.keys, 0); /* they were counted when they were passed over */
}

static void test_rounds_that_get_nothing_done_come_ever_more_rarely(void **state)
{
    struct script *s = *state;
    start_retrying(s, false);
    for (int i = 0; i < 12; i++) {
        retried(s, true);
        locked_still(s);
        EXPECT(s, RUNNER_REST);
        if (i < 7)
            assert_between(s->a.until_us - s->now_us, 2500 << i, 5000 << i);
        assert_between(s->a.until_us - s->now_us, 2500, 1000000);
        done(s);
        row_taken(s, 3, "{50}");
    }
    retried(s, false);
    locked_still(s);
    assert_between(s->a.until_us - s->now_us, 2500, 5000);
}

static void test_a_row_that_was_locked_and_cannot_be_computed_is_left_behind_for_that(void **state)
{
    struct script *s = *state;
    start_retrying(s, true);
    refused(s, "22012");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_PUT_ASIDE);
    assert_int_equal(s->r.walker.range, 0);
    assert_string_equal(s->r.walker.row.message, "the message");
    done(s);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->r.work.counts.put_aside, 1);
    assert_int_equal(s->r.work.counts.keys, 0);
}

static void test_a_row_that_was_locked_and_cannot_be_computed_ends_a_job_that_wants_that(void **state)
{
    struct script *s = *state;
    start_retrying(s, false);
    refused(s, "22012");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
    assert_string_equal(s->r.walker.row.sqlstate, "22012");
    assert_int_equal(s->r.walker.keys, 1); /* so its key is named */
}

static void test_a_row_that_another_worker_has_done_is_no_error(void **state)
{
    struct script *s = *state;
    start_retrying(s, false);
    refused(s, SQLSTATE_STALE);
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NONE});
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
}

static void test_wishes_pressure_and_waiting_sessions_count_there_too(void **state)
{
    struct script *s = *state;
    start_retrying(s, false);
    feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE});
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_REST);
    assert_int_equal(s->r.work.counts.relieved, 1);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    s->r.work.pace.others = (struct pressure_verdict){.signal = SIGNAL_LAG_MS, .ratio = 2};
    s->r.walker.pace.batch_at_us = s->now_us;
    s->r.walker.pace.batch_us = TARGET_US;
    row_taken(s, 3, "{50}");
    EXPECT(s, RUNNER_REST);
    s->r.work.pace.others = (struct pressure_verdict){.signal = SIGNAL_NONE};
    done(s);
    EXPECT(s, RUNNER_RETRY);
    assert_true(s->r.work.counts.throttled_us[SIGNAL_LAG_MS] > 0);
    wish(s, RUNNER_WANT_PAUSE);
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_PAUSED);
}

static void test_rows_that_are_done_later_keep_to_the_jobs_rate(void **state)
{
    struct script *s = *state;
    start_retrying(s, false);
    s->r.work.pace.limits.max_keys_per_s = 100;
    retried(s, false);
    row_taken(s, 8, "{90}");
    EXPECT(s, RUNNER_REST);
    assert_between(s->a.until_us - s->now_us, 9000, 10000);
    done(s);
    EXPECT(s, RUNNER_RETRY);
}

static void test_rows_are_tried_again_in_portions_of_a_batch_and_in_smaller_ones_when_those_fail(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, false);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS);
    portion_taken(s, 100, 100, 5000);
    EXPECT(s, RUNNER_RETRY);
    assert_int_equal(s->r.walker.round.left, 5000);
    portion_retried(s, 40);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS); /* however long it took: it is no batch */
    assert_int_equal(s->r.walker.round.left, 4940);
    assert_int_equal(s->r.work.counts.retried, 60);
    portion_taken(s, 200, 100, 0);
    refused(s, "57014"); /* by statement_timeout, say, or somebody's table lock */
    done(s);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->a.keys, 50);
    assert_int_equal(s->r.walker.round.last, 200); /* others first */
    portion_taken(s, 250, 50, 0);
    refused(s, SQLSTATE_TABLE_LOCK);
    done(s);
    assert_int_equal(s->a.keys, 25);
    portion_taken(s, 275, 25, 0);
    portion_retried(s, 0);
    assert_int_equal(s->a.keys, 50);
    s->r.walker.pace.size.keys = 100000;
    for (int i = 1; i < 20; i++) {
        portion_taken(s, 1000 * i, s->a.keys, 0);
        portion_retried(s, 0);
    }
    assert_int_equal(s->a.keys, 1000);
}

static void test_in_a_portion_that_fails_the_row_is_found_by_halves_and_the_others_are_done(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, true);
    done(s);
    portion_taken(s, 100, 64, 64);
    for (int tries = 0; s->a.kind == RUNNER_RETRY; tries++) { /* row 41 is bad */
        int64_t above = s->r.walker.round.above ? s->r.walker.round.above : 36;
        bool fails = above < 77 && s->r.walker.round.last >= 77;
        assert_true(tries < 30);
        if (!fails)
            portion_retried(s, 0);
        else
            refused(s, "22012");
        if (s->a.kind == RUNNER_TAKE) {
            int64_t from = s->r.walker.round.last ? s->r.walker.round.last : 36;
            portion_taken(s, from + s->a.keys, s->a.keys, 64);
        }
    }
    EXPECT(s, RUNNER_COMPARE);
    assert_int_equal(s->r.walker.keys, 1);
    assert_int_equal(s->r.walker.round.last, 77);
    compared(s, true);
    EXPECT(s, RUNNER_PUT_ASIDE);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    assert_int_equal(s->r.walker.round.last, 77);
    assert_int_equal(s->r.walker.isolate, 0);
}

static void test_a_round_that_got_nothing_done_is_followed_by_a_rest_as_long_as_it_took(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, false);
    done(s);
    portion_taken(s, 100, 100, 100);
    s->now_us += 3000000;
    portion_retried(s, 100);
    locked_still(s);
    EXPECT(s, RUNNER_REST);
    assert_between(s->a.until_us - s->now_us, 3000000, 3100000);
    done(s);
    portion_taken(s, 100, 100, 100);
    s->now_us += 60000000;
    portion_retried(s, 100);
    locked_still(s);
    assert_between(s->a.until_us - s->now_us, 4000000, 5000000); /* but what is free again waits no longer than that */
    done(s);
    portion_taken(s, 100, 100, 100);
    s->now_us += 60000000;
    portion_retried(s, 99);
    locked_still(s);
    assert_between(s->a.until_us - s->now_us, 2500, 5000);
}

static void test_a_stop_lets_the_row_be_done_first(void **state)
{
    struct script *s = *state;
    start_retrying(s, false);
    wish(s, RUNNER_WANT_STOP);
    EXPECT(s, RUNNER_NONE);
    retried(s, false);
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_QUEUED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRIPTED(test_a_batch_that_met_a_lock_is_tried_once_more_at_once_without_the_locked_rows),
        SCRIPTED(test_a_batch_that_passed_over_rows_is_done_and_the_next_does_not_wait_for_locks_either),
        SCRIPTED(test_rows_passed_over_count_as_scanned_also_in_a_ranges_last_batch),
        SCRIPTED(test_a_lock_is_no_reason_to_begin_under_pressure),
        SCRIPTED(test_another_error_forgets_that_rows_were_to_be_passed_over),
        SCRIPTED(test_a_lock_that_is_not_on_the_rows_is_searched_for_and_a_few_rows_are_put_aside),
        SCRIPTED(test_rows_that_meet_a_lock_here_and_there_hold_few_others_up),
        SCRIPTED(test_rows_that_meet_a_lock_side_by_side_are_put_aside_in_ever_larger_groups_and_not_without_end),
        SCRIPTED(test_rows_left_behind_that_meet_such_a_lock_are_halved_at_once),
        SCRIPTED(test_the_job_ends_only_when_no_row_is_locked),
        SCRIPTED(test_rounds_that_get_nothing_done_come_ever_more_rarely),
        SCRIPTED(test_a_row_that_was_locked_and_cannot_be_computed_is_left_behind_for_that),
        SCRIPTED(test_a_row_that_was_locked_and_cannot_be_computed_ends_a_job_that_wants_that),
        SCRIPTED(test_a_row_that_another_worker_has_done_is_no_error),
        SCRIPTED(test_wishes_pressure_and_waiting_sessions_count_there_too),
        SCRIPTED(test_rows_that_are_done_later_keep_to_the_jobs_rate),
        SCRIPTED(test_rows_are_tried_again_in_portions_of_a_batch_and_in_smaller_ones_when_those_fail),
        SCRIPTED(test_in_a_portion_that_fails_the_row_is_found_by_halves_and_the_others_are_done),
        SCRIPTED(test_a_round_that_got_nothing_done_is_followed_by_a_rest_as_long_as_it_took),
        SCRIPTED(test_a_stop_lets_the_row_be_done_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
