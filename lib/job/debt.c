#include "job/debt.h"
#include "mem.h"

#include <stdlib.h>

#define FREE_US     100000
#define TIMES       9
#define MOST_US     60000000

struct debt {
    char *who;
    uint64_t until_us;
};

static void forget_paid(struct debts *d, uint64_t now_us)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < d->n; i++)
        if (d->all[i].until_us > now_us)
            d->all[kept++] = d->all[i];
        else
            free(d->all[i].who);
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
    if (took_us <= FREE_US)
        return;
    forget_paid(d, now_us);
    struct debt *debt = debt_of(d, who);
    if (!debt) {
        d->all = must(reallocarray(d->all, d->n + 1, sizeof(*d->all)));
        debt = &d->all[d->n++];
        *debt = (struct debt){.who = copy_string(who)};
    }
    uint64_t owed = took_us < MOST_US / TIMES ? took_us * TIMES : MOST_US;
    debt->until_us = now_us + owed;
}

uint64_t debts_until(struct debts *d, const char *who, uint64_t now_us)
{
    forget_paid(d, now_us);
    const struct debt *debt = debt_of(d, who);
    return debt ? debt->until_us : 0;
}

void debts_done(struct debts *d)
{
    for (unsigned i = 0; i < d->n; i++)
        free(d->all[i].who);
    free(d->all);
    *d = (struct debts){0};
}
