/* What the state machine makes of errors: what is tried again, what ends the job, and the search for a row
 * that cannot be computed. */
#include "script.h"

/* ---- Tried again. ----------------------------------------------------------------------------------- */

static void test_a_conflict_is_tried_again_soon_with_half_the_keys(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, "40P01");
    EXPECT(s, RUNNER_REST);
    assert_between(s->a.until_us - s->now_us, 2500, 5000);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    taken(s, 1, NULL, "{1000}");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS / 2);
}

static void test_a_batch_that_timed_out_is_tried_again_much_smaller(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    s->now_us += 5000000;
    refused(s, "57014");
    done(s);
    taken(s, 1, NULL, "{1000}");
    assert_int_equal(s->a.keys, 1); /* 50 ms a key, at least */
}

static void test_a_lost_connection_reads_the_cursor_back(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    lost(s);
    EXPECT(s, RUNNER_REST);
    assert_between(s->a.until_us - s->now_us, 25000, 50000);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_RANGE,
                     .range = 1,
                     .epoch = 8,
                     .cursor = "{100}",
                     .upper = "{1000}",
                     .total_keys = 100}); /* it had been done */
    EXPECT(s, RUNNER_BOUND);
    assert_string_equal(s->r.walker.cursor, "{100}");
    assert_int_equal(s->r.walker.epoch, 8);
    assert_int_equal(s->r.work.progress.keys, 100);
}

static void test_a_session_that_the_server_ended_is_opened_again(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, "57P01");
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
}

static void test_an_error_while_planning_begins_the_plan_anew(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    done_with(s, (struct runner_event){.n_relations = 1});
    done_with(s, (struct runner_event){.estimate = 300});
    EXPECT(s, RUNNER_ADD_RANGE);
    lost(s);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 1});
    done_with(s, (struct runner_event){.estimate = 300});
    done(s);
    EXPECT(s, RUNNER_BEGIN);
    assert_int_equal(s->a.estimate, 300);
}

static void test_a_server_that_is_away_is_asked_ever_more_rarely_but_each_second(void **state)
{
    struct script *s = *state;
    uint64_t began_us;
    int tries = 0;

    start_filling(s, false);
    began_us = s->now_us;
    lost(s);
    while (s->now_us - began_us < 600000000) {
        done(s);
        EXPECT(s, RUNNER_CONNECT);
        refused(s, "08006");
        EXPECT(s, RUNNER_REST);
        assert_true(s->a.until_us - s->now_us <= 1000000); /* one that is back, or was promoted, is noticed by then */
        tries++;
    }
    assert_between(tries, 600, 1200);
    assert_string_equal(s->r.work.patience.waiting_for, "the message");
    assert_string_equal(s->r.work.patience.sqlstate, "08006");
}

static void test_a_session_that_breaks_again_and_again_is_opened_ever_more_rarely(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    for (int i = 0; i < 7; i++) {
        lost(s);
        assert_between(s->a.until_us - s->now_us, 25000 << i, 50000 << i);
        done(s);
        EXPECT(s, RUNNER_CONNECT);
        done(s);
        taken(s, 1, NULL, "{1000}");
        found(s, "{100}");
        EXPECT(s, RUNNER_BATCH);
    }
}

/* Connects, takes the range where it stands, and loses the batch, so often. */
static void lose_batches(struct script *s, int n)
{
    for (int i = 0; i < n; i++) {
        lost(s);
        EXPECT(s, RUNNER_REST);
        done(s);
        EXPECT(s, RUNNER_CONNECT);
        done(s);
        taken(s, 1, NULL, "{1000}");
        found(s, "{100}");
        EXPECT(s, RUNNER_BATCH);
    }
}

static void test_a_batch_that_costs_its_session_each_time_ends_the_job(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    lose_batches(s, 19);
    lost(s);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
    assert_non_null(strstr(s->r.work.ending.error, "lost 20 times in a row"));
}

static void test_a_batch_that_is_done_between_sessions_that_go_is_no_end(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    for (int i = 0; i < 5; i++) {
        lose_batches(s, 15);
        batch_done(s, TARGET_US, "{200}");
        EXPECT(s, RUNNER_BATCH);
    }
}

static void test_the_next_batch_that_is_done_ends_the_waiting(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    for (int i = 0; i < 12; i++) {
        refused(s, "53300");
        EXPECT(s, RUNNER_REST);
        done(s);
        EXPECT(s, RUNNER_CONNECT); /* what the session was short of may be a limit of its login's, and mended since */
        done(s);
        taken(s, 1, NULL, "{1000}");
        found(s, "{100}");
    }
    assert_non_null(s->r.work.patience.waiting_for);
    batch_done(s, TARGET_US, "{200}");
    assert_null(s->r.work.patience.waiting_for);
    refused(s, "53300");
    assert_between(s->a.until_us - s->now_us, 25000, 50000);
}

static void test_rests_and_retries_are_counted(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, "40001");
    uint64_t wait_us = s->a.until_us - s->now_us;
    done(s);
    assert_int_equal(s->r.work.counts.rest_us, wait_us);
    assert_int_equal(s->r.work.counts.retries[RETRY_CONTENTION], 1);
}

/* A token that wasn't renewed in time, a line that another daemon has and this one hasn't: tried again as long as that takes, less and less often, and no longer. */
static void test_a_login_refused_at_first_has_a_quarter_of_an_hour(void **state)
{
    static const char *const codes[] = {"28000", "28P01"};
    for (int i = 0; i < 2; i++) {
        struct script *s = *state;
        start(s, PHASE_PREFLIGHT, false);
        uint64_t began_us = s->now_us;
        int tries = 0;
        for (refused(s, codes[i]); s->a.kind != RUNNER_FINISH; refused(s, codes[i]), tries++) {
            assert_non_null(s->r.work.patience.waiting_for);
            while (s->a.kind == RUNNER_REST || s->a.kind == RUNNER_GIVE_WAY)
                done(s);
            EXPECT(s, RUNNER_CONNECT);
        }
        assert_int_equal(s->a.state, JOB_FAILED);
        assert_string_equal(s->r.work.ending.error, "the message");
        assert_between(s->now_us - began_us, 900000000, 915000000);
        assert_between(tries, 80, 250);
        if (i == 0)
            runner_done(&s->r);
    }
}

static void test_a_login_that_is_right_again_lets_the_job_in(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    refused(s, "28P01");
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_LAYOUT);
    assert_int_equal(s->r.work.patience.refused_us, 0);
}

/* By its phase a daemon that has just been started knows that the login was let in before. */
static void test_a_job_that_was_let_in_before_waits_for_its_login(void **state)
{
    static const char *const codes[] = {"28000", "28P01"};
    for (int i = 0; i < 2; i++) {
        struct script *s = *state;
        start(s, PHASE_BACKFILL, false);
        for (int n = 0; n < 400; n++) {
            refused(s, codes[i]);
            while (s->a.kind == RUNNER_REST || s->a.kind == RUNNER_GIVE_WAY)
                done(s);
            EXPECT(s, RUNNER_CONNECT);
        }
        assert_true(s->now_us > 2 * UINT64_C(900000000));
        if (i == 0)
            runner_done(&s->r);
    }
}

static void test_a_login_refused_later_is_tried_again(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    lost(s);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    refused(s, "28P01");
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
}

static void test_a_server_that_is_not_there_yet_is_waited_for(void **state)
{
    static const char *const passing[] = {"08001", "57P03", "53300", "57014", "55P03"};
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        EXPECT(s, RUNNER_CONNECT);
        refused(s, passing[i]);
        EXPECT(s, RUNNER_REST);
        done(s);
    }
}

static void test_the_end_is_written_however_long_it_takes(void **state)
{
    static const char *const errors[] = {"57P03", "42501", "22012", "BF001", "42P01", "40001"};
    struct script *s = *state;
    start_filling(s, false);
    wish(s, RUNNER_WANT_STOP);
    batch_done(s, TARGET_US, NULL);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        EXPECT(s, RUNNER_RELEASE);
        refused(s, errors[i]);
        EXPECT(s, RUNNER_REST);
        done(s);
    }
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_QUEUED);
}

/* ---- Somebody else. --------------------------------------------------------------------------------- */

static void test_a_stale_batch_asks_whose_the_job_is(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, SQLSTATE_STALE);
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NOT_OURS});
    EXPECT(s, RUNNER_END);
}

static void test_a_batch_that_stays_stale_is_no_busy_loop(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, SQLSTATE_STALE);
    taken(s, 1, NULL, "{1000}");
    found(s, "{100}");
    refused(s, SQLSTATE_STALE);
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_TAKE);
}

static void test_no_plan_succeeds_without_having_begun(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    refused(s, SQLSTATE_STALE);
    EXPECT(s, RUNNER_LAYOUT);
}

/* ---- The end. --------------------------------------------------------------------------------------- */

static void find_bad_row_as(struct script *s, const char *sqlstate);

/* A value that is taken for a name, a row that a policy refuses. */
static void test_a_permanent_error_may_be_a_rows(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    find_bad_row_as(s, "42704");
    refused(s, "42704");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_PUT_ASIDE);
    assert_string_equal(s->r.walker.row.sqlstate, "42704");
}

static void test_nothing_more_is_sent_to_a_session_that_runs_anothers_statement(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    refused(s, SQLSTATE_HIJACKED);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
}

static void test_a_permanent_error_of_all_rows_fails_the_job_in_the_servers_words(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    find_bad_row_as(s, "42501");
    refused(s, "42501");
    EXPECT(s, RUNNER_COMPARE);
    done_with(s, (struct runner_event){.compared = {.key_fails = true, .alike = 1}});
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
    assert_false(s->r.work.ending.names_row);
    assert_string_equal(s->r.work.ending.error, "the message");
    assert_string_equal(s->r.work.ending.hint, "the hint");
}

static void test_an_undefined_table_is_read_anew_once(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    refused(s, "42P01");
    EXPECT(s, RUNNER_TAKE);
    taken(s, 1, NULL, "{1000}");
    found(s, "{100}");
    refused(s, "42P01");
    EXPECT(s, RUNNER_BOUND); /* the name may be a row's value */
    for (uint32_t keys = s->a.keys; keys > 1; keys /= 2) {
        found(s, "{50}");
        refused(s, "42P01");
        EXPECT(s, RUNNER_BOUND);
    }
    found(s, "{1}");
    refused(s, "42P01");
    EXPECT(s, RUNNER_COMPARE);
    refused(s, "42P01");
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
}

static void test_a_table_may_be_renamed_twice(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    for (int i = 0; i < 3; i++) {
        refused(s, "42P01");
        EXPECT(s, RUNNER_TAKE);
        taken(s, 1, NULL, "{1000}");
        found(s, "{100}");
        batch_done(s, TARGET_US, "{200}");
        EXPECT(s, RUNNER_BATCH);
    }
}

static void test_partitions_may_be_dropped_one_after_another_while_a_job_is_planned(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    for (int n = 5; n > 1; n--) {
        EXPECT(s, RUNNER_LAYOUT);
        done_with(s, (struct runner_event){.n_relations = n});
        EXPECT(s, RUNNER_SURVEY);
        refused(s, "42P01");
    }
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 2});
    refused(s, "42P01"); /* it is still there, and yet unknown */
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
}

static void test_a_name_that_is_unknown_while_planning_fails_the_job(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    refused(s, "42P01");
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
}

/* ---- A row that cannot be computed. ----------------------------------------------------------------- */

/* The batch fails, and each half that holds its first row, down to one key, which is the batch under way. */
static void find_bad_row_as(struct script *s, const char *sqlstate)
{
    static const uint32_t halves[] = {50, 25, 12, 6, 3, 1};
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        refused(s, sqlstate);
        EXPECT(s, RUNNER_BOUND);
        assert_int_equal(s->a.keys, halves[i]);
        found(s, halves[i] == 1 ? "{1}" : "{some}");
        EXPECT(s, RUNNER_BATCH);
        assert_int_equal(s->a.keys, halves[i]);
        assert_int_equal(s->a.next_keys, 0);
    }
}

static void find_bad_row(struct script *s)
{
    find_bad_row_as(s, "22012");
}

static void test_a_row_that_fails_is_found_by_halves_and_put_aside(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    find_bad_row(s);
    refused(s, "22012");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_PUT_ASIDE);
    assert_null(s->r.walker.cursor);
    assert_string_equal(s->r.walker.hi, "{1}");
    assert_string_equal(s->r.walker.row.sqlstate, "22012");
    assert_string_equal(s->r.walker.row.message, "the message");
    assert_string_equal(s->r.walker.row.detail, "the detail");
    done(s);
    EXPECT(s, RUNNER_BOUND);
    assert_string_equal(s->r.walker.cursor, "{1}");
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS); /* at full size again */
    assert_int_equal(s->r.work.counts.put_aside, 1);
}

static void test_a_row_that_fails_ends_a_job_that_wants_that(void **state)
{
    struct script *s = *state;
    start_filling(s, false);
    find_bad_row(s);
    refused(s, "22012");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
    assert_string_equal(s->r.walker.hi, "{1}");
    assert_string_equal(s->r.walker.row.sqlstate, "22012");
}

/* The session goes with each answer, so nobody is asked about it. */
static void test_a_row_whose_error_is_too_large_is_found_without_a_comparison(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    uint32_t half = s->a.keys / 2;
    refused(s, SQLSTATE_TOO_LARGE);
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, half);
    lost(s);
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    taken(s, 1, NULL, "{1000}");
    assert_int_equal(s->a.keys, half);
    for (; half > 1; half /= 2) {
        found(s, "{50}");
        refused(s, SQLSTATE_TOO_LARGE);
        EXPECT(s, RUNNER_BOUND);
    }
    found(s, "{1}");
    refused(s, SQLSTATE_TOO_LARGE);
    EXPECT(s, RUNNER_PUT_ASIDE);
    assert_string_equal(s->r.walker.row.sqlstate, SQLSTATE_TOO_LARGE);
}

static void test_an_answer_about_a_job_that_is_too_large_or_too_slow_fails_it(void **state)
{
    struct script *s = *state;
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    EXPECT(s, RUNNER_LAYOUT);
    refused(s, SQLSTATE_TOO_LARGE);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
    runner_done(&s->r);
    start(s, PHASE_PREFLIGHT, false);
    done(s);
    refused(s, SQLSTATE_TOO_SLOW);
    EXPECT(s, RUNNER_FINISH);
    assert_string_equal(s->r.work.ending.hint, "the hint");
}

static void test_halves_that_are_done_say_nothing_of_the_batch_size(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    find_bad_row(s);
    batch_done(s, TARGET_US / 2, NULL);
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(batch_size_keys(&s->r.walker.pace.size), BATCH_FIRST_KEYS);
}

static void test_a_search_ends_when_its_batch_is_passed(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    refused(s, "22012");
    found(s, "{50}");
    batch_done(s, TARGET_US / 2, NULL);
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, 50);
    found(s, "{100}");
    batch_done(s, TARGET_US / 2, NULL);
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS);
}

static void test_a_search_goes_on_after_a_lost_connection(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    refused(s, "22012");
    found(s, "{50}");
    lost(s);
    done(s);
    done(s);
    EXPECT(s, RUNNER_TAKE);
    taken(s, 1, NULL, "{1000}");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, 50);
}

static void test_a_search_does_not_go_on_in_another_range(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    refused(s, "22012");
    found(s, "{50}");
    lost(s);
    done(s);
    done(s);
    taken(s, 2, NULL, "{9000}");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS);
}

static void test_a_search_whose_halves_take_too_long_goes_on_with_smaller_ones(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    refused(s, "22012");
    found(s, "{50}");
    s->now_us += 5000000;
    refused(s, "57014");
    done(s);
    taken(s, 1, NULL, "{1000}");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, 25);
}

static void test_a_row_at_the_end_of_a_range_is_found_too(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    batch_done(s, TARGET_US, NULL);
    assert_int_equal(s->a.keys, 0);
    for (uint32_t half = BATCH_FIRST_KEYS / 2; half >= 1; half /= 2) {
        refused(s, "23505");
        EXPECT(s, RUNNER_BOUND);
        assert_int_equal(s->a.keys, half);
        found(s, half > 1 ? NULL : "{1000}");
        EXPECT(s, RUNNER_BATCH);
    }
    assert_int_equal(s->a.keys, 1);
    refused(s, "23505");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_PUT_ASIDE);
    done(s);
    EXPECT(s, RUNNER_TAKE); /* it was the last */
}

static void test_a_batch_that_fails_without_a_row_fails_the_job(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    find_bad_row(s);
    lost(s);
    done(s);
    done(s);
    taken(s, 1, "{1}", "{1000}");
    assert_int_equal(s->a.keys, 1);
    found(s, NULL); /* no key is left */
    refused(s, "P0001");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
}

static void test_a_point_that_still_fails_is_put_aside_again(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, true);
    done(s);
    done_with(s, (struct runner_event){
                     .outcome = RUNNER_TAKE_RANGE, .range = 5, .epoch = 1, .upper = "{77}", .point = true});
    refused(s, "22012");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_PUT_ASIDE);
    assert_string_equal(s->r.walker.hi, "{77}");
    done(s);
    EXPECT(s, RUNNER_TAKE);
}

static void test_a_row_put_aside_without_an_answer_is_not_put_aside_twice(void **state)
{
    struct script *s = *state;
    start_filling(s, true);
    find_bad_row(s);
    refused(s, "22012");
    EXPECT(s, RUNNER_COMPARE);
    compared(s, true);
    EXPECT(s, RUNNER_PUT_ASIDE);
    lost(s);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_TAKE); /* which tells */
}

static void test_what_refuses_every_row_is_waited_for(void **state)
{
    struct script *s = *state;
    uint64_t began_us;

    start_filling(s, true);
    find_bad_row_as(s, "P0001");
    began_us = s->now_us;
    while (s->now_us < began_us + 300000000) {
        refused(s, "P0001");
        EXPECT(s, RUNNER_COMPARE);
        compared(s, false);
        EXPECT(s, RUNNER_REST);
        assert_string_equal(s->r.work.patience.waiting_for, "every row that was tried fails, so none is to blame: the message");
        done(s);
        EXPECT(s, RUNNER_TAKE);
        taken(s, 1, NULL, "{1000}");
        assert_int_equal(s->a.keys, 1);
        found(s, "{1}");
        EXPECT(s, RUNNER_BATCH);
    }
    batch_done(s, TARGET_US, NULL);
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS); /* there is no row to search for */
    assert_null(s->r.work.patience.waiting_for);
    assert_int_equal(s->r.work.counts.put_aside, 0);
}

static void test_what_refuses_every_row_for_too_long_fails_the_job_without_naming_one(void **state)
{
    struct script *s = *state;

    start_filling(s, true);
    find_bad_row_as(s, "P0001");
    for (int tries = 0; tries < 1000; tries++) {
        refused(s, "P0001");
        compared(s, false);
        if (s->last.kind == RUNNER_FINISH)
            break;
        done(s);
        taken(s, 1, NULL, "{1000}");
        found(s, "{1}");
    }
    EXPECT(s, RUNNER_FINISH);
    assert_false(s->r.work.ending.names_row);
    assert_string_equal(s->r.work.ending.error, "no row that was tried can be changed: the message");
    assert_int_equal(s->r.work.counts.put_aside, 0);
}

static void test_a_row_that_can_be_changed_by_now_is_not_blamed(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    find_bad_row(s);
    refused(s, "22012");
    done_with(s, (struct runner_event){.compared = {.passed = true}});
    EXPECT(s, RUNNER_REST);
}

static void test_a_comparison_that_is_given_up_for_others_says_nothing(void **state)
{
    struct script *s = *state;

    start_filling(s, true);
    find_bad_row(s);
    refused(s, "22012");
    feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE});
    EXPECT(s, RUNNER_ABORT);
    compared(s, true);
    EXPECT(s, RUNNER_REST);
}

static void test_one_key_that_times_out_again_and_again_is_blamed(void **state)
{
    struct script *s = *state;
    int tries = 0;

    start_filling(s, true);
    while (s->last.kind != RUNNER_COMPARE && tries++ < 20) {
        s->now_us += 5000000;
        refused(s, "57014");
        if (s->last.kind != RUNNER_REST)
            continue;
        done(s);
        taken(s, 1, NULL, "{1000}");
        found(s, s->a.keys == 1 ? "{1}" : "{some}");
    }
    EXPECT(s, RUNNER_COMPARE);
    assert_between(tries, 3, 5);
    compared(s, true);
    EXPECT(s, RUNNER_PUT_ASIDE);
    assert_string_equal(s->r.walker.hi, "{1}");
}

static void test_batches_that_time_out_get_below_the_least_size(void **state)
{
    struct script *s = *state;
    struct runner_limits limits = {.pace.target_us = TARGET_US, .pace.min_keys = 80, .pace.max_keys = 100000};
    uint32_t least = UINT32_MAX;

    start_filling(s, false);
    runner_limit(&s->r, &limits);
    for (int i = 0; i < 20 && s->last.kind != RUNNER_COMPARE; i++) {
        s->now_us += 5000000;
        refused(s, "57014");
        if (s->last.kind == RUNNER_REST) {
            done(s);
            taken(s, 1, NULL, "{1000}");
            least = s->a.keys < least ? s->a.keys : least;
            found(s, "{1}");
        }
    }
    EXPECT(s, RUNNER_COMPARE);
    assert_int_equal(least, 1);
}

static void test_one_key_that_was_given_up_for_others_is_not_slow(void **state)
{
    struct script *s = *state;

    start_filling(s, true);
    find_bad_row(s);
    for (int i = 0; i < 20; i++) {
        feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE});
        refused(s, "57014");
        EXPECT(s, RUNNER_REST);
        done(s);
        taken(s, 1, NULL, "{1000}");
        found(s, "{1}");
    }
}

static void test_an_error_that_may_be_anybodys_is_met_twice_before_a_row_is_searched_for(void **state)
{
    struct script *s = *state;

    start_filling(s, true);
    refused(s, "XX000");
    EXPECT(s, RUNNER_REST);
    done(s);
    taken(s, 1, NULL, "{1000}");
    found(s, "{100}");
    refused(s, "XX000");
    EXPECT(s, RUNNER_BOUND);
    assert_int_equal(s->a.keys, BATCH_FIRST_KEYS / 2);
}

static void test_an_error_that_may_be_anybodys_ends_no_job_outside_of_a_batch(void **state)
{
    struct script *s = *state;

    start(s, PHASE_EXPAND, false);
    done(s);
    done_with(s, (struct runner_event){.has_step = true});
    for (int i = 0; i < 10; i++) {
        EXPECT(s, RUNNER_STEP);
        refused(s, "XX000");
        EXPECT(s, RUNNER_REST);
        done(s);
        done_with(s, (struct runner_event){.has_step = true});
    }
}

static void test_the_next_build_waits_longer_though_what_was_left_is_cleared_away(void **state)
{
    struct script *s = *state;

    start(s, PHASE_VALIDATE, false);
    done(s);
    for (int i = 0; i < 12; i++) {
        done_with(s, (struct runner_event){.has_step = true});
        EXPECT(s, RUNNER_STEP);
        uint64_t failed_us = s->now_us;
        refused(s, i % 2 ? "53400" : "53100");
        EXPECT(s, RUNNER_NEXT_STEP); /* what is left takes room: it goes before the pause */
        done_with(s, (struct runner_event){.has_step = true, .clears = true});
        EXPECT(s, RUNNER_STEP);
        done(s);
        assert_non_null(s->r.work.patience.waiting_for);
        EXPECT(s, RUNNER_NEXT_STEP);
        done_with(s, (struct runner_event){.has_step = true});
        while (s->a.kind == RUNNER_REST)
            done(s);
        EXPECT(s, RUNNER_CONNECT);
        done(s);
        EXPECT(s, RUNNER_NEXT_STEP);
        uint64_t most = UINT64_C(2000000) << i < 300000000 ? UINT64_C(2000000) << i : 300000000;
        assert_between(s->now_us - failed_us, most / 2, most);
    }
}

static void test_what_cannot_be_cleared_away_is_tried_after_a_pause(void **state)
{
    struct script *s = *state;

    start(s, PHASE_VALIDATE, false);
    done(s);
    done_with(s, (struct runner_event){.has_step = true, .clears = true});
    EXPECT(s, RUNNER_STEP);
    refused(s, "53100");
    EXPECT(s, RUNNER_REST);
}

static void test_a_build_does_not_begin_while_the_disk_is_above_its_limit(void **state)
{
    struct script *s = *state;

    start(s, PHASE_VALIDATE, false);
    done(s);
    s->r.no_room = "disk 95 %";
    for (int i = 0; i < 3; i++) {
        done_with(s, (struct runner_event){.has_step = true, .builds = true});
        EXPECT(s, RUNNER_REST);
        assert_string_equal(s->r.work.patience.waiting_for, "disk 95 %");
        done(s);
        EXPECT(s, RUNNER_NEXT_STEP);
    }
    done_with(s, (struct runner_event){.has_step = true}); /* what takes no room */
    EXPECT(s, RUNNER_STEP);
    done(s);
    s->r.no_room = NULL;
    done_with(s, (struct runner_event){.has_step = true, .builds = true});
    EXPECT(s, RUNNER_STEP);
}

/* ---- Places. ---------------------------------------------------------------------------------------- */

/* The same error again and again, from a batch on, until so much later or until it wants to give its place back. */
static void wait_on(struct script *s, const char *sqlstate, uint64_t for_us)
{
    uint64_t until_us = s->now_us + for_us;

    while (s->now_us < until_us && s->last.kind != RUNNER_GIVE_WAY)
        switch (s->a.kind) {
        case RUNNER_TAKE: taken(s, 1, NULL, "{1000}"); break;
        case RUNNER_BOUND: found(s, "{100}"); break;
        case RUNNER_REST: done(s); break;
        default: refused(s, sqlstate); break;
        }
}

static void test_a_job_that_only_waits_gives_its_place_to_others(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    uint64_t began_us = s->now_us;
    wait_on(s, "53300", 60000000);
    assert_true(s->last.kind != RUNNER_GIVE_WAY); /* as long as nobody needs it, it stays */
    s->r.crowded = true;
    wait_on(s, "53300", 60000000);
    EXPECT(s, RUNNER_GIVE_WAY);
    assert_in_range(s->now_us - began_us, 60000000, 70000000);
    assert_int_equal(s->a.tries, 1);
    assert_between(s->a.until_us - s->now_us, 5000000, 10000000);
    done(s); /* nobody queued */
    EXPECT(s, RUNNER_REST);
    uint64_t asked_us = s->now_us;
    wait_on(s, "53300", 60000000);
    EXPECT(s, RUNNER_GIVE_WAY);
    assert_true(s->now_us - asked_us >= 2000000);
    done_with(s, (struct runner_event){.gave_way = true});
    EXPECT(s, RUNNER_END);
}

static void test_who_gave_its_place_back_before_does_so_sooner_and_for_longer(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    runner_gave_way(&s->r, 3);
    s->r.crowded = true;
    uint64_t began_us = s->now_us;
    wait_on(s, "53300", 60000000);
    EXPECT(s, RUNNER_GIVE_WAY);
    assert_in_range(s->now_us - began_us, 2000000, 8000000);
    assert_int_equal(s->a.tries, 4);
    assert_between(s->a.until_us - s->now_us, 40000000, 80000000);
}

static void test_who_has_done_something_waits_anew(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    runner_gave_way(&s->r, 3);
    batch_done(s, TARGET_US, "{200}");
    EXPECT(s, RUNNER_BATCH);
    s->r.crowded = true;
    uint64_t began_us = s->now_us;
    wait_on(s, "53300", 60000000);
    EXPECT(s, RUNNER_GIVE_WAY);
    assert_true(s->now_us - began_us >= 10000000);
    assert_int_equal(s->a.tries, 1);
}

static void test_a_place_that_cannot_be_given_back_is_kept_and_the_wait_goes_on(void **state)
{
    struct script *s = *state;

    start_filling(s, false);
    s->r.crowded = true;
    wait_on(s, "53300", 60000000);
    EXPECT(s, RUNNER_GIVE_WAY);
    refused(s, "53300");
    EXPECT(s, RUNNER_REST);
    wait_on(s, "53300", 60000000);
    EXPECT(s, RUNNER_GIVE_WAY);
    lost(s); /* and the session with it */
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
}

static void test_a_step_that_has_begun_ends_when_the_hours_do(void **state)
{
    struct script *s = *state;

    start(s, PHASE_VALIDATE, false);
    done(s);
    done_with(s, (struct runner_event){.has_step = true});
    EXPECT(s, RUNNER_STEP);
    wish(s, RUNNER_WANT_LEAVE);
    EXPECT(s, RUNNER_NONE);
    done(s);
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_QUEUED);
}

static void test_a_stop_cuts_short_a_step_whose_hours_are_over(void **state)
{
    struct script *s = *state;

    start(s, PHASE_VALIDATE, false);
    done(s);
    done_with(s, (struct runner_event){.has_step = true});
    wish(s, RUNNER_WANT_LEAVE);
    EXPECT(s, RUNNER_NONE);
    wish(s, RUNNER_WANT_STOP);
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_RELEASE);
}

static void test_somebody_who_waits_on_a_trial_gets_through(void **state)
{
    struct script *s = *state;

    start(s, PHASE_PREFLIGHT, false);
    done(s);
    done_with(s, (struct runner_event){.n_relations = 1});
    EXPECT(s, RUNNER_SURVEY);
    feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE});
    EXPECT(s, RUNNER_ABORT);
}

static void test_a_row_error_outside_of_a_batch_fails_the_job(void **state)
{
    struct script *s = *state;
    start(s, PHASE_BACKFILL, true);
    done(s);
    taken(s, 1, NULL, "{1000}");
    EXPECT(s, RUNNER_BOUND);
    refused(s, "22P02");
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRIPTED(test_a_conflict_is_tried_again_soon_with_half_the_keys),
        SCRIPTED(test_a_batch_that_timed_out_is_tried_again_much_smaller),
        SCRIPTED(test_a_lost_connection_reads_the_cursor_back),
        SCRIPTED(test_a_session_that_the_server_ended_is_opened_again),
        SCRIPTED(test_an_error_while_planning_begins_the_plan_anew),
        SCRIPTED(test_a_server_that_is_away_is_asked_ever_more_rarely_but_each_second),
        SCRIPTED(test_a_session_that_breaks_again_and_again_is_opened_ever_more_rarely),
        SCRIPTED(test_a_batch_that_costs_its_session_each_time_ends_the_job),
        SCRIPTED(test_a_batch_that_is_done_between_sessions_that_go_is_no_end),
        SCRIPTED(test_the_next_batch_that_is_done_ends_the_waiting),
        SCRIPTED(test_rests_and_retries_are_counted),
        SCRIPTED(test_a_login_refused_at_first_has_a_quarter_of_an_hour),
        SCRIPTED(test_a_login_that_is_right_again_lets_the_job_in),
        SCRIPTED(test_a_job_that_was_let_in_before_waits_for_its_login),
        SCRIPTED(test_a_login_refused_later_is_tried_again),
        SCRIPTED(test_a_server_that_is_not_there_yet_is_waited_for),
        SCRIPTED(test_the_end_is_written_however_long_it_takes),
        SCRIPTED(test_a_stale_batch_asks_whose_the_job_is),
        SCRIPTED(test_a_batch_that_stays_stale_is_no_busy_loop),
        SCRIPTED(test_no_plan_succeeds_without_having_begun),
        SCRIPTED(test_a_permanent_error_may_be_a_rows),
        SCRIPTED(test_nothing_more_is_sent_to_a_session_that_runs_anothers_statement),
        SCRIPTED(test_a_permanent_error_of_all_rows_fails_the_job_in_the_servers_words),
        SCRIPTED(test_an_undefined_table_is_read_anew_once),
        SCRIPTED(test_a_table_may_be_renamed_twice),
        SCRIPTED(test_partitions_may_be_dropped_one_after_another_while_a_job_is_planned),
        SCRIPTED(test_a_name_that_is_unknown_while_planning_fails_the_job),
        SCRIPTED(test_a_row_that_fails_is_found_by_halves_and_put_aside),
        SCRIPTED(test_a_row_that_fails_ends_a_job_that_wants_that),
        SCRIPTED(test_a_row_whose_error_is_too_large_is_found_without_a_comparison),
        SCRIPTED(test_an_answer_about_a_job_that_is_too_large_or_too_slow_fails_it),
        SCRIPTED(test_halves_that_are_done_say_nothing_of_the_batch_size),
        SCRIPTED(test_a_search_ends_when_its_batch_is_passed),
        SCRIPTED(test_a_search_goes_on_after_a_lost_connection),
        SCRIPTED(test_a_search_does_not_go_on_in_another_range),
        SCRIPTED(test_a_search_whose_halves_take_too_long_goes_on_with_smaller_ones),
        SCRIPTED(test_a_row_at_the_end_of_a_range_is_found_too),
        SCRIPTED(test_a_batch_that_fails_without_a_row_fails_the_job),
        SCRIPTED(test_a_point_that_still_fails_is_put_aside_again),
        SCRIPTED(test_a_row_put_aside_without_an_answer_is_not_put_aside_twice),
        SCRIPTED(test_what_refuses_every_row_is_waited_for),
        SCRIPTED(test_what_refuses_every_row_for_too_long_fails_the_job_without_naming_one),
        SCRIPTED(test_a_row_that_can_be_changed_by_now_is_not_blamed),
        SCRIPTED(test_a_comparison_that_is_given_up_for_others_says_nothing),
        SCRIPTED(test_one_key_that_times_out_again_and_again_is_blamed),
        SCRIPTED(test_batches_that_time_out_get_below_the_least_size),
        SCRIPTED(test_one_key_that_was_given_up_for_others_is_not_slow),
        SCRIPTED(test_an_error_that_may_be_anybodys_is_met_twice_before_a_row_is_searched_for),
        SCRIPTED(test_an_error_that_may_be_anybodys_ends_no_job_outside_of_a_batch),
        SCRIPTED(test_the_next_build_waits_longer_though_what_was_left_is_cleared_away),
        SCRIPTED(test_what_cannot_be_cleared_away_is_tried_after_a_pause),
        SCRIPTED(test_a_build_does_not_begin_while_the_disk_is_above_its_limit),
        SCRIPTED(test_a_job_that_only_waits_gives_its_place_to_others),
        SCRIPTED(test_who_gave_its_place_back_before_does_so_sooner_and_for_longer),
        SCRIPTED(test_who_has_done_something_waits_anew),
        SCRIPTED(test_a_place_that_cannot_be_given_back_is_kept_and_the_wait_goes_on),
        SCRIPTED(test_a_step_that_has_begun_ends_when_the_hours_do),
        SCRIPTED(test_a_stop_cuts_short_a_step_whose_hours_are_over),
        SCRIPTED(test_somebody_who_waits_on_a_trial_gets_through),
        SCRIPTED(test_a_row_error_outside_of_a_batch_fails_the_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
