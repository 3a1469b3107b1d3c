#include "walk/blame.h"
#include "job/retry.h"

#include <stddef.h>
#include <string.h>

#define LEAST_LOOKS 4 /* a daemon that was stopped for an hour hasn't looked for an hour */
#define RUN_US 60000000 /* a table that is loaded anew refuses rows that were believed before, an hour later */

/* How long it is waited when all rows fail alike, and when there is no other row. The first that matches decides. A foreign
 * key may be broken while its table is loaded anew, so class 23 has more time than a division by zero. One that waits for a
 * trigger or a limit to let go is the application's affair, and takes as long as a person takes to notice. */
static const struct {
    const char *prefix;
    bool data;
    uint64_t all_us, alone_us;
} patience[] = {
    {"22", true, 5000000, 1000000},       {"21", true, 5000000, 1000000}, {"44", true, 5000000, 1000000},
    {"23", true, 30000000, 5000000},      {"57014", false, 120000000, 0},
    {"", false, 600000000, 30000000},
};

bool blame_is_slow(struct blame *b)
{
    return ++b->slow >= BLAME_SLOW_TRIES;
}

/* The key is blamed: the next one is judged by itself. */
static enum blame_verdict blame_it(struct blame *b)
{
    b->slow = b->looks = 0;
    b->since_us = 0;
    return BLAME_KEY;
}

enum blame_verdict blame_judge(
    struct blame *b, const char *sqlstate, const struct blame_look *look, uint64_t now_us)
{
    size_t i = 0;
    while (strncmp(sqlstate, patience[i].prefix, strlen(patience[i].prefix)) != 0)
        i++;

    if (look->passed && look->key_fails)
        return blame_it(b);
    if (retry_is_final(sqlstate) && look->key_fails) /* a name or a right that is missing: no row has it, and none will soon */
        return BLAME_NOBODY;
    if (now_us < b->run_until_us && patience[i].data && look->key_fails) {
        b->run_until_us = now_us + RUN_US;
        return blame_it(b);
    }
    if (b->looks++ == 0)
        b->since_us = now_us;
    bool alone = look->alike == 0 && look->unclear == 0 && look->key_fails;
    uint64_t waited_us = now_us - b->since_us;
    if (alone && patience[i].alone_us == 0)
        return blame_it(b);
    if (look->known && look->key_fails)
        return BLAME_NOBODY;
    if (b->looks < LEAST_LOOKS || waited_us < (alone ? patience[i].alone_us : patience[i].all_us))
        return BLAME_WAIT;
    if (alone)
        return blame_it(b);
    if (!patience[i].data || !look->key_fails)
        return BLAME_NOBODY;
    b->run_until_us = now_us + RUN_US;
    return blame_it(b);
}

bool blame_passed(struct blame *b)
{
    bool waited = b->looks > 0;
    *b = (struct blame){.run_until_us = b->run_until_us};
    return waited;
}
