#include "pressure/standby.h"
#include "text/text.h"

#include <stdio.h>
#include <string.h>

/* Its place, or -1. */
static int find(const struct standbys *standbys, const char *name)
{
    char cut[PRESSURE_WHAT];

    text_copy(cut, sizeof(cut), name);
    for (int i = 0; i < standbys->n; i++)
        if (strcmp(standbys->at[i].name, cut) == 0)
            return i;
    return -1;
}

/* The standby of that name, new if need be; NULL when there are too many. */
static struct standby *find_or_add(struct standbys *standbys, const char *name)
{
    int i = find(standbys, name);

    if (i >= 0)
        return &standbys->at[i];
    if (standbys->n == STANDBY_MAX) {
        standbys->too_many = true;
        return NULL;
    }
    struct standby *s = &standbys->at[standbys->n++];
    *s = (struct standby){.named = false};
    text_copy(s->name, sizeof(s->name), name);
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

bool standby_is_named(const struct standbys *standbys, const char *name)
{
    int i = find(standbys, name);
    return i >= 0 && standbys->at[i].named;
}

void standby_begin(struct standbys *standbys)
{
    standbys->too_many = false;
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
    if (!has_lsn)
        return;
    s->has_lsn = true;
    s->lsn = lsn;
    if (s->n_rounds == STANDBY_ROUNDS)
        memmove(&s->rounds[0], &s->rounds[1], (size_t)--s->n_rounds * sizeof(s->rounds[0]));
    s->rounds[s->n_rounds++] = (struct lag_sample){.lsn = lsn, .at_us = now_us};
}

/* How long it needs for behind bytes, in ms, at the speed of the last rounds; late_ms when that isn't known. */
static double expected_ms(const struct standby *s, double behind, double late_ms)
{
    const struct lag_sample *first = &s->rounds[0], *last = &s->rounds[s->n_rounds - 1];

    if (s->n_rounds < 2 || last->at_us == first->at_us || last->lsn < first->lsn)
        return late_ms;
    double bytes_per_ms = (double)(last->lsn - first->lsn) / ((double)(last->at_us - first->at_us) / 1e3);
    return bytes_per_ms > 0 ? behind / bytes_per_ms : late_ms;
}

void standby_press(const struct standbys *standbys, const struct lag *lag, uint64_t primary_lsn,
    bool missing_is_fine, uint64_t now_us, struct pressure *pressure)
{
    char text[PRESSURE_WHAT], name[48];

    if (standbys->too_many) { /* who isn't watched may be late */
        text_print(text, sizeof(text), "there are more than %d standbys and subscriptions", STANDBY_MAX);
        pressure_fail(pressure, SIGNAL_LAG_MS, text);
    }
    for (int i = 0; i < standbys->n; i++) {
        const struct standby *s = &standbys->at[i];
        text_copy(name, sizeof(name), s->name);
        if (!s->here && s->named) {
            if (missing_is_fine)
                continue;
            text_print(text, sizeof(text), "%s is gone for %.0f s", name, (double)(now_us - s->seen_us) / 1e6);
            pressure_fail(pressure, SIGNAL_STANDBY, text);
            continue;
        }
        if (!s->has_lsn) {
            text_print(text, sizeof(text), "%s says no position", name);
            pressure_fail(pressure, SIGNAL_LAG_MS, text);
            continue;
        }
        text_print(text, sizeof(text), s->here ? "%s" : "%s, gone", s->here ? s->name : name);
        double late_ms = (double)lag_us(lag, s->lsn, now_us) / 1e3;
        double behind = primary_lsn > s->lsn ? (double)(primary_lsn - s->lsn) : 0;
        double expected = behind > 0 ? expected_ms(s, behind, late_ms) : 0;
        double ahead_mb = (behind + (double)lag_growth(lag, now_us)) / 1e6;
        pressure_note(pressure, SIGNAL_LAG_MS, late_ms, expected, text);
        pressure_note(pressure, SIGNAL_LAG_MB, ahead_mb, ahead_mb, text);
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
