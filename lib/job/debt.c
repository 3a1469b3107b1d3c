#include "job/debt.h"
#include "mem.h"

#define FREE_US 1000000
#define TIMES   2
#define MOST_US 60000000

struct debt {
    char *who;
    uint64_t used_us, at_us; /* of what is free, or beyond it, at that time; it is paid back from then on */
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What is used of the time that is free is given back, too. */
static void pay_back(struct debts *d, uint64_t now_us)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < d->n; i++) {
        struct debt debt = d->all[i];
        uint64_t paid = (now_us - debt.at_us) / TIMES;
        if (paid >= debt.used_us) {
            free(debt.who);
            continue;
        }
        debt.used_us -= paid;
        debt.at_us = now_us;
        d->all[kept++] = debt;
    }
    d->n = kept;
}

static struct debt *debt_of(struct debts *d, const char *who)
{
    for (unsigned i = 0; i < d->n; i++)
        if (same_string(d->all[i].who, who))
            return &d->all[i];
    return NULL;
}

void debts_note(struct debts *d, const char *who, uint64_t took_us, uint64_t now_us)
{
    pay_back(d, now_us);
    struct debt *debt = debt_of(d, who);
    if (!debt) {
        d->all = must(reallocarray(d->all, d->n + 1, sizeof(*d->all)));
        debt = &d->all[d->n++];
        *debt = (struct debt){.who = copy_string(who), .at_us = now_us};
    }
    debt->used_us = least(debt->used_us + least(took_us, MOST_US), FREE_US + MOST_US / TIMES);
}

uint64_t debts_until(struct debts *d, const char *who, uint64_t now_us)
{
    pay_back(d, now_us);
    const struct debt *debt = debt_of(d, who);
    return debt && debt->used_us > FREE_US ? now_us + (debt->used_us - FREE_US) * TIMES : 0;
}

void debts_done(struct debts *d)
{
    for (unsigned i = 0; i < d->n; i++)
        free(d->all[i].who);
    free(d->all);
    *d = (struct debts){0};
}
