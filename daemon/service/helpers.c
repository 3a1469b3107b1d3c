#include "service/helpers.h"
#include "base/result.h"
#include "mem.h"

#include <inttypes.h>
#include <stdio.h>

#define PAUSE_FIRST_US 1000000
#define PAUSE_MOST_US  300000000

int helpers_count(struct worker *const *workers, int n)
{
    int helpers = 0;

    for (int i = 0; i < n; i++)
        helpers += worker_slot(workers[i]) > 0;
    return helpers;
}

char *helpers_tokens(struct worker *const *workers, int n)
{
    char *text = NULL;
    size_t size = 0;
    const char *comma = "{";
    FILE *out = must(open_memstream(&text, &size));

    for (int i = 0; i < n; i++)
        if (worker_slot(workers[i]) > 0) {
            fprintf(out, "%s%s", comma, worker_token(workers[i]));
            comma = ",";
        }
    fputs(*comma == ',' ? "}" : "{}", out);
    if (fclose(out) != 0)
        abort();
    return text;
}

struct worker_overrides helpers_overrides(const PGresult *wanted, int row)
{
    return (struct worker_overrides){
        .target_ms = (uint32_t)result_number(wanted, row, "target_ms"),
        .max_rows_per_s = (uint32_t)result_number(wanted, row, "max_rows_per_s"),
        .quarantine = same_string(result_text(wanted, row, "on_error"), "quarantine"),
        .max_lag_ms = (double)result_number(wanted, row, "max_lag_ms"),
        .throttle_off = result_text(wanted, row, "throttle_off"),
        .workers = (uint32_t)result_number(wanted, row, "workers"),
    };
}

void helpers_heed(struct worker *const *workers, int n, const PGresult *wanted)
{
    for (int i = 0; i < n; i++) {
        int row = 0;
        if (worker_slot(workers[i]) == 0)
            continue;
        while (row < PQntuples(wanted) &&
               (result_number(wanted, row, "id") != worker_job(workers[i]) || result_number(wanted, row, "slot") != worker_slot(workers[i])))
            row++;
        if (row == PQntuples(wanted)) { /* what it does would be undone */
            worker_want(workers[i], RUNNER_WANT_STOP_NOW);
            continue;
        }
        if (!same_string(result_text(wanted, row, "wanted"), "run"))
            worker_want(workers[i], RUNNER_WANT_STOP);
        const struct worker_overrides overrides = helpers_overrides(wanted, row);
        worker_limit(workers[i], &overrides);
    }
}

void helpers_make_room(struct worker *const *workers, int n)
{
    struct worker *last = NULL;

    for (int i = 0; i < n; i++)
        if (worker_slot(workers[i]) > 0) {
            if (worker_is_given_back(workers[i]) || worker_has_ended(workers[i]))
                return;
            last = workers[i];
        }
    if (last)
        worker_give_back(last, "a job waits for a place");
}

void helpers_absorb(struct worker *const *workers, int n, const struct worker *helper)
{
    for (int i = 0; i < n; i++)
        if (worker_slot(workers[i]) == 0 && worker_job(workers[i]) == worker_job(helper) && !worker_has_ended(workers[i]))
            worker_absorb(workers[i], helper);
}

uint64_t helpers_pause_us(const struct worker *helper, uint64_t us)
{
    if (!worker_was_no_help(helper))
        return 0;
    us = us ? 2 * us : PAUSE_FIRST_US;
    return us < PAUSE_MOST_US ? us : PAUSE_MOST_US;
}
