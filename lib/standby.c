#include "standby.h"

#include <stdio.h>
#include <string.h>

static struct standby *find(struct standbys *standbys, const char *name)
{
    for (int i = 0; i < standbys->n; i++)
        if (strncmp(standbys->at[i].name, name, PRESSURE_WHAT - 1) == 0)
            return &standbys->at[i];
    return NULL;
}

/* The standby of that name, new if need be; NULL when there are too many. */
static struct standby *find_or_add(struct standbys *standbys, const char *name)
{
    struct standby *s = find(standbys, name);

    if (s || standbys->n == STANDBY_MAX)
        return s;
    s = &standbys->at[standbys->n++];
    *s = (struct standby){.named = false};
    snprintf(s->name, sizeof(s->name), "%s", name);
    return s;
}

void standby_name(struct standbys *standbys, const char *name, uint64_t now_us)
{
    struct standby *s = find_or_add(standbys, name);

    if (!s)
        return;
    if (!s->named && s->seen_us == 0)
        s->seen_us = now_us;
    s->named = true;
}

void standby_begin(struct standbys *standbys)
{
    for (int i = 0; i < standbys->n; i++)
        standbys->at[i].here = false;
}

void standby_see(struct standbys *standbys, const char *name, bool has_lsn, uint64_t lsn, uint64_t now_us)
{
    struct standby *s = find_or_add(standbys, name);

    if (!s)
        return;
    /* Two of one name: the one that is further behind counts. */
    if (s->here && (!has_lsn || (s->has_lsn && s->lsn < lsn)))
        return;
    s->here = true;
    s->seen_us = now_us;
    if (has_lsn) {
        s->has_lsn = true;
        s->lsn = lsn;
    }
}

void standby_press(const struct standbys *standbys, const struct lag *lag, uint64_t primary_lsn,
    bool missing_is_fine, uint64_t now_us, struct pressure *pressure)
{
    char text[PRESSURE_WHAT];

    for (int i = 0; i < standbys->n; i++) {
        const struct standby *s = &standbys->at[i];
        if (!s->here && s->named) {
            if (missing_is_fine)
                continue;
            snprintf(
                text, sizeof(text), "%.40s is gone for %.0f s", s->name, (double)(now_us - s->seen_us) / 1e6);
            pressure_fail(pressure, SIGNAL_STANDBY, text);
            continue;
        }
        if (!s->has_lsn) {
            snprintf(text, sizeof(text), "%.40s says no position", s->name);
            pressure_fail(pressure, SIGNAL_LAG_MS, text);
            continue;
        }
        pressure_note(pressure, SIGNAL_LAG_MS, (double)lag_us(lag, s->lsn, now_us) / 1e3, s->name);
        pressure_note(pressure, SIGNAL_LAG_MB,
            primary_lsn > s->lsn ? (double)(primary_lsn - s->lsn) / 1e6 : 0, s->name);
    }
}

bool standby_forget(struct standbys *standbys, uint64_t now_us, char ret_name[PRESSURE_WHAT])
{
    for (int i = 0; i < standbys->n; i++) {
        struct standby *s = &standbys->at[i];
        if (s->here || s->named || now_us - s->seen_us < STANDBY_GRACE_US)
            continue;
        memcpy(ret_name, s->name, PRESSURE_WHAT);
        *s = standbys->at[--standbys->n];
        return true;
    }
    return false;
}
