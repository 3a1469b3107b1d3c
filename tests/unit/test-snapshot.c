/* Jobs that have ended: for how long, and how many of them, are told of. */
#include "unit.h"

#include "show/snapshot.h"

static struct job_view job(int64_t id, const char *database, double ended_at)
{
    struct job_view view = {.id = id, .state = JOB_SUCCEEDED, .ended_at = ended_at};

    snprintf(view.database, sizeof(view.database), "%s", database);
    return view;
}

static void keep(struct ended_jobs *ended, int64_t id, const char *database, double ended_at)
{
    struct job_view view = job(id, database, ended_at);
    ended_jobs_keep(ended, &view);
}

static void test_an_end_is_told_for_five_minutes_and_then_forgotten(void **state)
{
    struct ended_jobs ended = {0};
    struct snapshot s = {.at = 1000 + SNAPSHOT_ENDED_S};

    (void)state;
    keep(&ended, 1, "a", 1000);
    snapshot_add_ended(&s, &ended);
    assert_int_equal(s.n_jobs, 1);
    snapshot_done(&s);
    s.at = 1000 + SNAPSHOT_ENDED_S + 1;
    snapshot_add_ended(&s, &ended);
    assert_int_equal(s.n_jobs, 0);
    assert_int_equal(ended.n, 0);
    snapshot_done(&s);
}

static void test_only_the_last_ones_are_kept(void **state)
{
    struct ended_jobs ended = {0};
    struct snapshot s = {.at = 1000};

    (void)state;
    for (int i = 0; i < SNAPSHOT_ENDED + 5; i++)
        keep(&ended, i, "a", 1000);
    snapshot_add_ended(&s, &ended);
    assert_int_equal(s.n_jobs, SNAPSHOT_ENDED);
    for (int i = 0; i < s.n_jobs; i++)
        assert_true(s.jobs[i].id >= 5);
    snapshot_done(&s);
    ended_jobs_done(&ended);
}

static void test_a_job_that_runs_again_or_ended_twice_is_told_of_once(void **state)
{
    struct ended_jobs ended = {0};
    struct snapshot s = {.at = 1000};

    (void)state;
    keep(&ended, 1, "a", 999);
    keep(&ended, 1, "a", 1000);
    keep(&ended, 1, "b", 1000); /* another one */
    snapshot_add_ended(&s, &ended);
    assert_int_equal(s.n_jobs, 2);
    snapshot_done(&s);
    s.at = 1000;
    *snapshot_add_job(&s) = job(1, "a", 0);
    snapshot_add_ended(&s, &ended);
    assert_int_equal(s.n_jobs, 2);
    assert_between(s.jobs[0].ended_at, 0, 0);
    assert_string_equal(s.jobs[1].database, "b");
    snapshot_done(&s);
    ended_jobs_done(&ended);
}

static void test_a_sum_of_locked_rows_is_never_below_nought(void **state)
{
    struct job_view view = {.counts = {.skipped = 5, .retried = 2}};

    (void)state;
    assert_int_equal(job_view_locked(&view), 3);
    view.counts.retried = 7; /* rows that an earlier daemon put aside */
    assert_int_equal(job_view_locked(&view), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_end_is_told_for_five_minutes_and_then_forgotten),
        cmocka_unit_test(test_only_the_last_ones_are_kept),
        cmocka_unit_test(test_a_job_that_runs_again_or_ended_twice_is_told_of_once),
        cmocka_unit_test(test_a_sum_of_locked_rows_is_never_below_nought),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
