/* What the state machine makes of a whole migration: its phases, their steps, and walks that find something. */
#include "script.h"

static const struct migration_plan whole = {
    .expand = true, .fill = true, .guard = true, .verify = true, .validate = true, .in_step = true};

static void begin(struct script *s, enum job_phase phase, const struct migration_plan *plan)
{
    const struct runner_limits limits = {.pace.target_us = TARGET_US, .pace.min_keys = 1, .pace.max_keys = 100000};
    s->now_us = 1000000;
    runner_init(&s->r, phase, 1000, 0, &limits, 42, s->now_us);
    runner_plan(&s->r, plan, "amount_cents");
    feed(s, &(struct runner_event){.kind = RUNNER_START});
    EXPECT(s, RUNNER_CONNECT);
    done(s);
}

static void next_step(struct script *s, bool there_is_one)
{
    EXPECT(s, RUNNER_NEXT_STEP);
    done_with(s, (struct runner_event){.has_step = there_is_one});
}

static void begun(struct script *s, enum job_phase phase)
{
    EXPECT(s, RUNNER_BEGIN);
    assert_int_equal(s->a.phase, phase);
    done_with(s, (struct runner_event){.look = RUNNER_LOOK_FINE});
    assert_int_equal(s->r.migration.phase, phase);
}

/* One relation of 1000 rows: planned, begun, and walked to its end in which so many rows were changed. */
static void planned(struct script *s, enum job_phase phase)
{
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 1});
    EXPECT(s, RUNNER_SURVEY);
    done_with(s, (struct runner_event){.estimate = 1000});
    EXPECT(s, RUNNER_ADD_RANGE);
    done(s);
    assert_int_equal(s->a.estimate, 1000);
    begun(s, phase);
    EXPECT(s, RUNNER_TAKE);
}

static void walked(struct script *s, uint64_t changed)
{
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NONE, .found = changed, .total_keys = 1000});
}

static void test_a_whole_migration(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_PREFLIGHT, &whole);
    EXPECT(s, RUNNER_LAYOUT); /* surveyed only: ranges are planned when the trigger is there */
    done_with(s, (struct runner_event){.n_relations = 1});
    EXPECT(s, RUNNER_SURVEY);
    done_with(s, (struct runner_event){.estimate = 1000});
    begun(s, PHASE_EXPAND);
    for (int i = 0; i < 2; i++) {
        next_step(s, true);
        EXPECT(s, RUNNER_STEP);
        done(s);
    }
    next_step(s, false);
    planned(s, PHASE_BACKFILL);
    walked(s, 1000);
    begun(s, PHASE_GUARD);
    next_step(s, true); /* at once: a trigger keeps what is written right */
    EXPECT(s, RUNNER_STEP);
    done(s);
    next_step(s, false);
    planned(s, PHASE_VERIFY);
    walked(s, 0);
    begun(s, PHASE_VALIDATE);
    next_step(s, false);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
    assert_int_equal(s->r.work.counts.steps, 3);
}

static void test_a_dry_run_surveys_and_ends(void **state)
{
    struct script *s = *state;
    struct migration_plan plan = whole;
    plan.dry_run = true;
    begin(s, PHASE_PREFLIGHT, &plan);
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 1});
    done_with(s, (struct runner_event){.estimate = 1000});
    EXPECT(s, RUNNER_BEGIN);
    assert_int_equal(s->a.phase, PHASE_PREFLIGHT);
    done_with(s, (struct runner_event){.look = RUNNER_LOOK_FINE});
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
}

static void test_without_a_trigger_a_constraint_waits_for_two_quiet_walks(void **state)
{
    struct script *s = *state;
    struct migration_plan plan = whole;
    plan.in_step = false;
    plan.quiet = true;
    begin(s, PHASE_GUARD, &plan);
    next_step(s, true);
    planned(s, PHASE_GUARD);
    walked(s, 17);
    EXPECT(s, RUNNER_REST);
    assert_string_equal(
        s->r.work.patience.waiting_for, "rows without amount_cents still come in (17 in the last minute): written, moved, or attached");
    assert_int_equal(s->a.until_us - s->now_us, QUIET_GAP_US);
    done(s);
    planned(s, PHASE_GUARD);
    walked(s, 0);
    EXPECT(s, RUNNER_REST);
    done(s);
    planned(s, PHASE_GUARD);
    walked(s, 0);
    next_step(s, true);
    EXPECT(s, RUNNER_STEP);
}

static void test_a_session_that_is_refused_as_anothers_asks_whose_the_job_is(void **state)
{
    struct script *s = *state;
    const struct {
        enum job_phase phase;
        enum runner_action_kind asks;
    } phases[] = {{PHASE_PREFLIGHT, RUNNER_LAYOUT}, {PHASE_EXPAND, RUNNER_NEXT_STEP}, {PHASE_BACKFILL, RUNNER_TAKE}, {PHASE_TIDY, RUNNER_NEXT_STEP}};

    for (int i = 0; i < 8; i++) {
        bool ours = i % 2;
        runner_done(&s->r);
        begin(s, phases[i / 2].phase, &whole);
        feed(s, &(struct runner_event){.kind = RUNNER_LOST, .sqlstate = SQLSTATE_LOST, .message = "lost"});
        EXPECT(s, RUNNER_REST);
        done(s);
        EXPECT(s, RUNNER_CONNECT);
        feed(s, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = SQLSTATE_STALE, .message = "another's"});
        EXPECT(s, RUNNER_REST);
        done(s);
        EXPECT(s, phases[i / 2].asks);
        done_with(s, (struct runner_event){.look = ours ? RUNNER_LOOK_FINE : RUNNER_LOOK_NOT_OURS,
                         .outcome = ours ? RUNNER_TAKE_NONE : RUNNER_TAKE_NOT_OURS, .has_step = true, .n_relations = 1});
        EXPECT(s, ours ? RUNNER_RELEASE : RUNNER_END);
    }
}

static void surveyed_in_verify(struct script *s, bool at_once)
{
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 1});
    EXPECT(s, RUNNER_SURVEY);
    assert_int_equal(s->a.at_once, at_once);
}

static void test_what_proves_looks_at_a_relation_at_once(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(const struct migration_plan){.fill = true, .verify = true});
    walked(s, 1000);
    surveyed_in_verify(s, true);
    done_with(s, (struct runner_event){.estimate = 1000, .empty = true}); /* no row is to do */
    EXPECT(s, RUNNER_ADD_RANGE); /* which resets what an earlier walk has found */
    done(s);
    assert_int_equal(s->a.estimate, 0);
    begun(s, PHASE_VERIFY);
    walked(s, 0);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
}

static void laid_out(struct script *s, int n, uint64_t rest, bool continues)
{
    EXPECT(s, RUNNER_LAYOUT);
    assert_true(s->a.continues == continues);
    done_with(s, (struct runner_event){.n_relations = n, .rest = rest});
}

static void one_planned(struct script *s)
{
    EXPECT(s, RUNNER_SURVEY);
    done_with(s, (struct runner_event){.estimate = 10});
    EXPECT(s, RUNNER_ADD_RANGE);
    done(s);
}

static void runs_out(struct script *s)
{
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_UNPLANNED});
}

static void planned_on(struct script *s)
{
    EXPECT(s, RUNNER_BEGIN);
    assert_true(s->a.continues);
    assert_int_equal(s->a.estimate, 0);
    done_with(s, (struct runner_event){0});
}

/* Thousands of partitions take minutes to plan: the first batch doesn't wait for that, nor does the control session, which is everybody's. */
static void test_a_walk_begins_with_the_first_relations_and_plans_on_when_they_are_walked(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_PREFLIGHT, &(const struct migration_plan){.fill = true});
    laid_out(s, 2, 2000, false);
    one_planned(s);
    one_planned(s);
    EXPECT(s, RUNNER_BEGIN);
    assert_false(s->a.continues);
    assert_int_equal(s->a.estimate, 2020);
    done_with(s, (struct runner_event){.walk = 7});
    for (int i = 0; i < 3; i++) {
        runs_out(s);
        laid_out(s, 1, 0, true);
        one_planned(s);
        planned_on(s);
    }
    walked(s, 2020);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
}

/* What was planned of the relations that are next is planned anew; what was planned before stays, for it may be done. */
static void test_a_plan_that_is_broken_off_goes_on_where_the_walk_is(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_PREFLIGHT, &(const struct migration_plan){.fill = true});
    laid_out(s, 1, 10, false);
    EXPECT(s, RUNNER_SURVEY);
    refused(s, "40P01");
    EXPECT(s, RUNNER_REST);
    done(s);
    laid_out(s, 1, 10, false);
    one_planned(s);
    EXPECT(s, RUNNER_BEGIN);
    done_with(s, (struct runner_event){.walk = 7});
    runs_out(s);
    laid_out(s, 1, 0, true);
    EXPECT(s, RUNNER_SURVEY);
    refused(s, "40P01");
    EXPECT(s, RUNNER_REST);
    done(s);
    laid_out(s, 1, 0, true);
    EXPECT(s, RUNNER_SURVEY);
    feed(s, &(struct runner_event){.kind = RUNNER_LOST, .sqlstate = "08006", .message = "gone"});
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    runs_out(s); /* the server tells how far the plan goes */
    laid_out(s, 1, 0, true);
    one_planned(s);
    planned_on(s);
    walked(s, 20);
    EXPECT(s, RUNNER_FINISH);
}

/* One look at thousands of partitions tells what as many surveys would. */
static void test_where_one_look_at_all_sees_no_row_to_do_nothing_is_planned(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(const struct migration_plan){.fill = true, .verify = true});
    walked(s, 1000);
    laid_out(s, 10, 50000, false);
    EXPECT(s, RUNNER_SURVEY);
    done_with(s, (struct runner_event){.estimate = 1000, .empty = true, .all_at_once = true});
    EXPECT(s, RUNNER_BEGIN);
    assert_true(s->a.proven && s->a.planned);
    assert_int_equal(s->a.estimate, 0);
    done_with(s, (struct runner_event){.walk = 8});
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NONE, .walk = 8});
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
}

/* What was proven of a walk that the server then doesn't know of is said of no later one: rows that were left behind would be forgotten. */
static void test_what_one_look_has_proven_is_of_its_own_walk(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_GUARD, &(const struct migration_plan){.fill = true, .guard = true, .quiet = true, .validate = true});
    next_step(s, true);
    laid_out(s, 10, 50000, false);
    EXPECT(s, RUNNER_SURVEY);
    done_with(s, (struct runner_event){.estimate = 1000, .empty = true, .all_at_once = true});
    EXPECT(s, RUNNER_BEGIN);
    assert_true(s->a.proven);
    done_with(s, (struct runner_event){.look = RUNNER_LOOK_NOT_OVER});
    EXPECT(s, RUNNER_REST);
    done(s);
    walked(s, 0);
    next_step(s, false);
    EXPECT(s, RUNNER_BEGIN);
    assert_int_equal(s->a.phase, PHASE_VALIDATE);
    assert_false(s->a.proven);
}

/* By ctid: others move a row from ahead of the walk to behind it. */
static void test_where_rows_may_move_behind_a_walk_only_a_look_at_once_proves(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(const struct migration_plan){.fill = true, .verify = true});
    walked(s, 1000);
    surveyed_in_verify(s, true);
    done_with(s, (struct runner_event){.estimate = 1000, .moves = true}); /* some row is to do */
    done(s);
    begun(s, PHASE_VERIFY);
    walked(s, 0); /* and the walk has missed it */
    EXPECT(s, RUNNER_REST);
    done(s);
    surveyed_in_verify(s, true);
    done_with(s, (struct runner_event){.estimate = 1000, .moves = true, .empty = true});
    done(s);
    begun(s, PHASE_VERIFY);
    walked(s, 0);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
    assert_false(s->r.migration.unseen);
}

static void test_where_such_a_look_is_cut_short_the_end_says_so(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(const struct migration_plan){.fill = true, .verify = true});
    walked(s, 1000);
    surveyed_in_verify(s, true);
    refused(s, "57014");
    EXPECT(s, RUNNER_REST);
    done(s);
    surveyed_in_verify(s, false);
    done_with(s, (struct runner_event){.estimate = 1000, .moves = true});
    done(s);
    begun(s, PHASE_VERIFY);
    walked(s, 0);
    EXPECT(s, RUNNER_FINISH);
    assert_true(s->r.migration.unseen);
}

static void test_where_no_look_could_prove_the_job_ends_and_says_so(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(const struct migration_plan){.fill = true, .verify = true});
    walked(s, 1000);
    surveyed_in_verify(s, true);
    done_with(s, (struct runner_event){.estimate = 1000, .hidden = true}); /* a row that was put aside is to do still */
    done(s);
    begun(s, PHASE_VERIFY);
    walked(s, 0);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
    assert_true(s->r.migration.hidden);
}

/* Along a key, of a table that nothing keeps in step: others write such rows behind the walk, and fill them a moment later. */
static void test_rows_that_each_look_sees_and_no_walk_meets_keep_no_job_for_ever(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(const struct migration_plan){.fill = true, .verify = true});
    walked(s, 1000);
    for (int i = 0; i < UNMET_MOST; i++) {
        surveyed_in_verify(s, true);
        done_with(s, (struct runner_event){.estimate = 1000, .moves = true});
        done(s);
        begun(s, PHASE_VERIFY);
        walked(s, 0);
        if (i + 1 < UNMET_MOST) {
            EXPECT(s, RUNNER_REST);
            done(s);
        }
    }
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
    assert_true(migration_leaves_unmet(&s->r.migration));
}

static void test_a_look_at_once_that_was_cut_short_or_lost_is_not_tried_again(void **state)
{
    struct script *s = *state;
    const struct runner_event cut[] = {{.kind = RUNNER_ERROR, .sqlstate = "57014", .message = "canceled"},
        {.kind = RUNNER_ERROR, .sqlstate = "22012", .message = "division by zero"},
        {.kind = RUNNER_LOST, .sqlstate = SQLSTATE_LOST, .message = "lost"}};

    for (int i = 0; i < 3; i++) {
        runner_done(&s->r);
        begin(s, PHASE_BACKFILL, &(const struct migration_plan){.fill = true, .verify = true});
        walked(s, 1000);
        surveyed_in_verify(s, true);
        feed(s, &cut[i]);
        EXPECT(s, RUNNER_REST);
        done(s);
        if (cut[i].kind == RUNNER_LOST) { /* then the ranges of backfill are looked at again */
            EXPECT(s, RUNNER_CONNECT);
            done(s);
            walked(s, 1000);
        }
        surveyed_in_verify(s, false);
    }
}

static void test_nothing_looks_at_once_beside_others_that_the_job_slows_down_for(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(const struct migration_plan){.fill = true, .verify = true});
    EXPECT(s, RUNNER_TAKE);
    s->r.work.pace.others = (struct pressure_verdict){.signal = SIGNAL_LAG_MS, .ratio = 1.5};
    walked(s, 1000);
    surveyed_in_verify(s, false);
}

/* Another daemon had begun the walk, or planned a part of it: its end proves nothing. */
static void taken_over(struct script *s, const struct migration_plan *plan)
{
    begin(s, PHASE_VERIFY, plan);
    walked(s, 0);
    planned(s, PHASE_VERIFY);
}

static void test_verify_walks_again_until_it_finds_nothing(void **state)
{
    struct script *s = *state;
    taken_over(s, &whole);
    walked(s, 3);
    EXPECT(s, RUNNER_REST);
    assert_int_equal(s->a.until_us, s->now_us);
    done(s);
    planned(s, PHASE_VERIFY);
    walked(s, 1);
    EXPECT(s, RUNNER_REST);
    assert_int_equal(s->a.until_us - s->now_us, QUIET_GAP_US);
    done(s);
    planned(s, PHASE_VERIFY);
    walked(s, 0);
    begun(s, PHASE_VALIDATE);
    assert_int_equal(s->r.work.counts.found_again, 4);
}

/* The server has lost this walk, in a failover, and shows the one before it as done: what came since then was looked at by nobody. */
static void test_a_walk_of_another_number_proves_nothing(void **state)
{
    struct script *s = *state;
    taken_over(s, &whole);
    walked(s, 1);
    done(s);
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 1});
    done_with(s, (struct runner_event){.estimate = 1000});
    done(s);
    EXPECT(s, RUNNER_BEGIN);
    done_with(s, (struct runner_event){.walk = 2});
    EXPECT(s, RUNNER_TAKE);
    done_with(s, (struct runner_event){.outcome = RUNNER_TAKE_NONE, .walk = 1});
    planned(s, PHASE_VERIFY);
    walked(s, 0);
    begun(s, PHASE_VALIDATE);
}

static void test_a_job_beside_an_application_that_writes_rows_to_do_does_not_succeed(void **state)
{
    struct script *s = *state;
    taken_over(s, &(const struct migration_plan){.expand = true, .fill = true, .verify = true});
    for (int i = 1; i < VERIFY_WALKS_MOST; i++) {
        walked(s, 3);
        EXPECT(s, RUNNER_REST);
        done(s);
        planned(s, PHASE_VERIFY);
    }
    walked(s, 2);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
    assert_string_equal(s->r.work.ending.error, "rows that are to do still come in: of 5 walks of verify the last one found 2 still");
}

static void test_a_relation_that_has_become_empty_is_told_to_the_next_walk(void **state)
{
    struct script *s = *state;
    taken_over(s, &whole);
    walked(s, 3);
    done(s);
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 1});
    done_with(s, (struct runner_event){.empty = true});
    EXPECT(s, RUNNER_ADD_RANGE);
}

static void test_a_step_that_meets_a_lock_is_asked_for_again_after_a_moment(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_EXPAND, &whole);
    next_step(s, true);
    refused(s, SQLSTATE_LOCK);
    EXPECT(s, RUNNER_REST);
    assert_string_equal(s->r.work.patience.waiting_for, "the message");
    done(s);
    EXPECT(s, RUNNER_NEXT_STEP);
}

static void test_a_step_that_somebody_else_has_done_is_no_failure(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_EXPAND, &whole);
    next_step(s, true);
    refused(s, "42701");
    next_step(s, true);
    EXPECT(s, RUNNER_STEP);
    refused(s, "42701"); /* and again: then it is one */
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
}

static void test_rows_that_break_a_constraint_fail_the_job_in_the_servers_words(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_VALIDATE, &whole);
    next_step(s, true);
    refused(s, "23514");
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_FAILED);
    assert_string_equal(s->r.work.ending.error, "the message");
}

static void test_a_lost_session_asks_the_catalog_again(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_VALIDATE, &whole);
    next_step(s, true);
    lost(s);
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_NEXT_STEP);
}

static void test_a_lost_session_in_a_quiet_walk_goes_on_with_it(void **state)
{
    struct script *s = *state;
    struct migration_plan plan = whole;
    plan.in_step = false;
    plan.quiet = true;
    begin(s, PHASE_GUARD, &plan);
    next_step(s, true);
    planned(s, PHASE_GUARD);
    taken(s, 1, NULL, "{1000}");
    lost(s);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    walked(s, 17);
    EXPECT(s, RUNNER_REST);
}

/* A crash may have undone the phase's last step, which is not written to be over. */
static void test_a_lost_session_while_a_walk_is_planned_asks_the_catalog_again(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_EXPAND, &whole);
    next_step(s, false);
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 1});
    EXPECT(s, RUNNER_SURVEY);
    lost(s);
    done(s);
    EXPECT(s, RUNNER_CONNECT);
    done(s);
    next_step(s, false);
    planned(s, PHASE_BACKFILL);
}

static void test_a_step_that_alone_makes_others_wait_for_too_long_is_tried_ever_more_seldom(void **state)
{
    struct script *s = *state;
    uint64_t waited = 0;

    begin(s, PHASE_VALIDATE, &whole);
    for (int i = 0; i < 14; i++) {
        uint64_t began = s->now_us;
        next_step(s, true);
        feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE});
        EXPECT(s, RUNNER_ABORT);
        refused(s, "57014");
        assert_non_null(strstr(s->r.work.patience.waiting_for, i < 4 ? "it was cut short" : "raise that key for a while"));
        while (s->a.kind == RUNNER_REST)
            done(s);
        waited = s->now_us - began;
    }
    assert_in_range(waited, 150000000, 301000000);
    next_step(s, true); /* done: the next one begins anew */
    done(s);
    next_step(s, true);
    feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE});
    refused(s, "57014");
    assert_in_range(s->a.until_us - s->now_us, 0, 50000);
}

static void test_a_step_is_cut_short_for_whoever_waits_on_it_and_for_any_wish(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_VALIDATE, &whole);
    next_step(s, true);
    feed(s, &(struct runner_event){.kind = RUNNER_RELIEVE});
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_REST);
    assert_int_equal(s->r.work.counts.relieved, 1);
    done(s);
    next_step(s, true);
    wish(s, RUNNER_WANT_STOP);
    EXPECT(s, RUNNER_ABORT);
    refused(s, "57014");
    EXPECT(s, RUNNER_RELEASE);
    assert_int_equal(s->a.state, JOB_QUEUED);
}

static void test_a_job_that_has_ended_is_tidied_up_whatever_is_wished(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_TIDY, &whole);
    next_step(s, true);
    wish(s, RUNNER_WANT_CANCEL);
    EXPECT(s, RUNNER_NONE);
    done(s);
    next_step(s, false);
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_SUCCEEDED);
}

/* The server has lost some of what the phase did: nothing was written, and the phase's work is read back after a rest. */
static void not_over(struct script *s, enum runner_action_kind then)
{
    done_with(s, (struct runner_event){.look = RUNNER_LOOK_NOT_OVER});
    EXPECT(s, RUNNER_REST);
    assert_true(s->a.until_us > s->now_us);
    done(s);
    assert_int_equal(s->a.kind, then);
}

static void test_an_end_that_rests_on_what_was_lost_is_not_insisted_on(void **state)
{
    static const struct {
        enum job_phase phase;
        enum runner_action_kind then;
    } ends[] = {{PHASE_BACKFILL, RUNNER_TAKE}, {PHASE_VERIFY, RUNNER_TAKE},
        {PHASE_VALIDATE, RUNNER_NEXT_STEP}, {PHASE_TIDY, RUNNER_NEXT_STEP}};
    struct script *s = *state;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        runner_done(&s->r);
        begin(s, ends[i].phase,
            &(struct migration_plan){.fill = true, .verify = ends[i].phase == PHASE_VERIFY});
        if (s->a.kind == RUNNER_TAKE)
            walked(s, 0);
        else
            next_step(s, false);
        if (ends[i].phase == PHASE_VERIFY) {
            planned(s, PHASE_VERIFY);
            walked(s, 0);
        }
        EXPECT(s, RUNNER_FINISH);
        refused(s, SQLSTATE_LOCK);
        EXPECT(s, RUNNER_REST);
        done(s);
        EXPECT(s, RUNNER_FINISH);
        not_over(s, ends[i].then);
    }
}

static void test_a_phase_that_is_not_over_is_gone_on_with(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_EXPAND, &whole);
    next_step(s, false);
    EXPECT(s, RUNNER_LAYOUT);
    done_with(s, (struct runner_event){.n_relations = 1});
    done_with(s, (struct runner_event){.estimate = 1000});
    done(s);
    EXPECT(s, RUNNER_BEGIN); /* the server has failed over since the ranges were added, perhaps */
    assert_true(s->a.planned);
    not_over(s, RUNNER_NEXT_STEP);
    next_step(s, false);
    planned(s, PHASE_BACKFILL);
    walked(s, 1000);
    EXPECT(s, RUNNER_BEGIN);
    assert_false(s->a.planned);
    not_over(s, RUNNER_TAKE);
    walked(s, 1000);
    begun(s, PHASE_GUARD);
    next_step(s, false);
    EXPECT(s, RUNNER_LAYOUT); /* its ranges of the walk before are open again */
    not_over(s, RUNNER_TAKE);
    walked(s, 10);
    next_step(s, false);
    planned(s, PHASE_VERIFY);
}

static void test_a_walk_that_was_lost_is_no_sign_of_quiet(void **state)
{
    struct script *s = *state;
    struct migration_plan plan = whole;
    plan.in_step = false;
    plan.quiet = true;
    begin(s, PHASE_GUARD, &plan);
    next_step(s, true);
    planned(s, PHASE_GUARD);
    walked(s, 0);
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_LAYOUT);
    not_over(s, RUNNER_TAKE);
    walked(s, 0); /* what was left of it */
    next_step(s, true);
    planned(s, PHASE_GUARD);
    walked(s, 0);
    EXPECT(s, RUNNER_REST);
    done(s);
    planned(s, PHASE_GUARD);
    walked(s, 0);
    next_step(s, true);
    EXPECT(s, RUNNER_STEP);
}

static void test_a_cancel_comes_before_another_look(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(struct migration_plan){.fill = true});
    walked(s, 1000);
    EXPECT(s, RUNNER_FINISH);
    wish(s, RUNNER_WANT_CANCEL);
    EXPECT(s, RUNNER_NONE);
    done_with(s, (struct runner_event){.look = RUNNER_LOOK_NOT_OVER});
    EXPECT(s, RUNNER_FINISH);
    assert_int_equal(s->a.state, JOB_CANCELLED);
}

static void test_an_end_that_met_a_lost_connection_connects_anew_before_it_goes_on(void **state)
{
    struct script *s = *state;
    begin(s, PHASE_BACKFILL, &(struct migration_plan){.fill = true});
    walked(s, 1000);
    EXPECT(s, RUNNER_FINISH);
    refused(s, "57P01");
    EXPECT(s, RUNNER_REST);
    done(s);
    EXPECT(s, RUNNER_FINISH);
    not_over(s, RUNNER_CONNECT);
    done(s);
    EXPECT(s, RUNNER_TAKE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRIPTED(test_a_whole_migration),
        SCRIPTED(test_a_dry_run_surveys_and_ends),
        SCRIPTED(test_without_a_trigger_a_constraint_waits_for_two_quiet_walks),
        SCRIPTED(test_a_session_that_is_refused_as_anothers_asks_whose_the_job_is),
        SCRIPTED(test_what_proves_looks_at_a_relation_at_once),
        SCRIPTED(test_where_rows_may_move_behind_a_walk_only_a_look_at_once_proves),
        SCRIPTED(test_where_such_a_look_is_cut_short_the_end_says_so),
        SCRIPTED(test_a_walk_begins_with_the_first_relations_and_plans_on_when_they_are_walked),
        SCRIPTED(test_a_plan_that_is_broken_off_goes_on_where_the_walk_is),
        SCRIPTED(test_where_one_look_at_all_sees_no_row_to_do_nothing_is_planned),
        SCRIPTED(test_what_one_look_has_proven_is_of_its_own_walk),
        SCRIPTED(test_rows_that_each_look_sees_and_no_walk_meets_keep_no_job_for_ever),
        SCRIPTED(test_where_no_look_could_prove_the_job_ends_and_says_so),
        SCRIPTED(test_a_look_at_once_that_was_cut_short_or_lost_is_not_tried_again),
        SCRIPTED(test_nothing_looks_at_once_beside_others_that_the_job_slows_down_for),
        SCRIPTED(test_verify_walks_again_until_it_finds_nothing),
        SCRIPTED(test_a_walk_of_another_number_proves_nothing),
        SCRIPTED(test_a_job_beside_an_application_that_writes_rows_to_do_does_not_succeed),
        SCRIPTED(test_a_relation_that_has_become_empty_is_told_to_the_next_walk),
        SCRIPTED(test_a_step_that_meets_a_lock_is_asked_for_again_after_a_moment),
        SCRIPTED(test_a_step_that_somebody_else_has_done_is_no_failure),
        SCRIPTED(test_rows_that_break_a_constraint_fail_the_job_in_the_servers_words),
        SCRIPTED(test_a_lost_session_asks_the_catalog_again),
        SCRIPTED(test_a_lost_session_in_a_quiet_walk_goes_on_with_it),
        SCRIPTED(test_a_lost_session_while_a_walk_is_planned_asks_the_catalog_again),
        SCRIPTED(test_a_step_that_alone_makes_others_wait_for_too_long_is_tried_ever_more_seldom),
        SCRIPTED(test_a_step_is_cut_short_for_whoever_waits_on_it_and_for_any_wish),
        SCRIPTED(test_a_job_that_has_ended_is_tidied_up_whatever_is_wished),
        SCRIPTED(test_an_end_that_rests_on_what_was_lost_is_not_insisted_on),
        SCRIPTED(test_a_phase_that_is_not_over_is_gone_on_with),
        SCRIPTED(test_a_walk_that_was_lost_is_no_sign_of_quiet),
        SCRIPTED(test_a_cancel_comes_before_another_look),
        SCRIPTED(test_an_end_that_met_a_lost_connection_connects_anew_before_it_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
