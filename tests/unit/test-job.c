/* The names of states, phases and wishes are the control schema's: what SQL writes, the daemon reads, and
 * back. */
#include "unit.h"

#include "job/job.h"
#include "mem.h"

static void test_every_state_is_found_by_its_name(void **state)
{
    (void)state;
    for (int i = 0; i < _JOB_STATE_MAX; i++)
        assert_int_equal(job_state_from_name(job_state_name((enum job_state)i)), i);
    assert_string_equal(job_state_name(JOB_QUEUED), "queued");
    assert_string_equal(job_state_name(JOB_SUCCEEDED), "succeeded");
}

static void test_every_phase_is_found_by_its_name(void **state)
{
    (void)state;
    for (int i = 0; i < _JOB_PHASE_MAX; i++)
        assert_int_equal(job_phase_from_name(job_phase_name((enum job_phase)i)), i);
    assert_string_equal(job_phase_name(PHASE_BACKFILL), "backfill");
}

static void test_every_wish_is_found_by_its_name(void **state)
{
    (void)state;
    for (int i = 0; i < _JOB_WANTED_MAX; i++)
        assert_int_equal(job_wanted_from_name(job_wanted_name((enum job_wanted)i)), i);
    assert_string_equal(job_wanted_name(WANTED_PAUSE), "pause");
}

static void test_an_unknown_name_is_invalid(void **state)
{
    (void)state;
    assert_int_equal(job_state_from_name("Queued"), _JOB_STATE_INVALID);
    assert_int_equal(job_state_from_name(""), _JOB_STATE_INVALID);
    assert_int_equal(job_state_from_name(NULL), _JOB_STATE_INVALID);
    assert_int_equal(job_phase_from_name("finish"), _JOB_PHASE_INVALID);
    assert_int_equal(job_wanted_from_name("stop"), _JOB_WANTED_INVALID);
}

static void test_a_job_owns_its_strings_and_nothing_is_a_job_too(void **state)
{
    (void)state;
    struct job *job = must(calloc(1, sizeof(*job)));
    job->name = copy_string("fill");
    job->target = copy_string("app.orders");
    job->settings = copy_string("{}");
    assert_null(job_free(job));
    assert_null(job_free(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_state_is_found_by_its_name),
        cmocka_unit_test(test_every_phase_is_found_by_its_name),
        cmocka_unit_test(test_every_wish_is_found_by_its_name),
        cmocka_unit_test(test_an_unknown_name_is_invalid),
        cmocka_unit_test(test_a_job_owns_its_strings_and_nothing_is_a_job_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
