/* Whose fault it is that a row cannot be changed: its own, or nobody's.
 *
 * A server may refuse every row for a while: a trigger that says "frozen until six", a queue that is full, a table that is
 * being reloaded. So a row that failed alone is compared with others (backfill.try_neighbours), which are tried and undone:
 *
 *   another row passes, and this one fails again   it is this row's
 *   all fail alike                                 no row's fault: wait, and look again
 *   this one fails no more                         it was a passing trouble: the same
 *   there is no other row to change                wait a little, then it is this row's
 *
 * Nothing waits for ever. Errors that are about data by nature (classes 22, 23) are believed after a short time, however many
 * rows have them: a table may be full of bad rows, with good ones between. Of all others that every row meets the job fails at last, and no row
 * is named. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BLAME_SLOW_TRIES 3 /* of one key, each ended by statement_timeout, before others are looked at */

enum blame_verdict {
    BLAME_KEY,    /* it is this row's */
    BLAME_WAIT,   /* not known yet: a pause, then the same row again */
    BLAME_NOBODY, /* every row fails alike, and has for too long */
};

/* What a comparison saw. */
struct blame_look {
    bool passed;    /* another row can be changed */
    bool key_fails; /* this one fails again, with the same SQLSTATE */
    uint32_t alike;   /* other rows that do */
    uint32_t unclear; /* other rows that fail otherwise, or are locked */
    bool known;     /* what slows down every row is known */
};

struct blame {
    uint32_t slow;     /* tries of the key in hand that timed out */
    uint32_t looks;    /* since the last row that was changed, or blamed */
    uint64_t since_us; /* the first of those */
    uint64_t run_until_us; /* data: every row failed for long enough, and until then the next ones that do are believed at once; each of them
                              prolongs it. A row that passes doesn't end it: it tells that not all rows fail */
};

/* One more try of a single key has timed out. True when it is time to compare. */
bool blame_is_slow(struct blame *b);

/* What a comparison means for a key that failed with that SQLSTATE. */
enum blame_verdict blame_judge(
    struct blame *b, const char *sqlstate, const struct blame_look *look, uint64_t now_us);

/* Rows were changed. True when it had been waiting: what refused them has passed. */
bool blame_passed(struct blame *b);
