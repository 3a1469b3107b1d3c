/* Who has kept to themselves for long what all share lets the others go first: a session that answers one question at a time is nobody's to fill. */
#pragma once

#include <stdint.h>

struct debt;

/* All zero: nobody owes anything. */
struct debts {
    struct debt *all;
    unsigned n;
};

/* A question for that one took so long while others waited. A second is free; what is more is paid back by waiting, twice as long: so who asks without end has
 * half of the time at most. who: copied. */
void debts_note(struct debts *d, const char *who, uint64_t took_us, uint64_t now_us);

/* When that one is next, a minute from now at most; 0: now. What is paid is forgotten. */
uint64_t debts_until(struct debts *d, const char *who, uint64_t now_us);

void debts_done(struct debts *d);
