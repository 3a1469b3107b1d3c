#include "pressure.h"
#include "mem.h"

#include <stdio.h>

static const struct {
    const char *name, *unit;
} signals[_SIGNAL_MAX] = {
    [SIGNAL_MONITOR] = {"monitor", "ms"},
    [SIGNAL_LAG_MS] = {"lag", "ms"},
    [SIGNAL_LAG_MB] = {"lag_mb", "MB"},
    [SIGNAL_STANDBY] = {"standby", "s"},
    [SIGNAL_BLOCKED_MS] = {"blocked", "ms"},
};

const char *signal_name(enum pressure_signal signal)
{
    return signals[signal].name;
}

enum pressure_signal signal_from_name(const char *name)
{
    for (int i = 0; i < _SIGNAL_MAX; i++)
        if (strcmp(signals[i].name, name) == 0)
            return (enum pressure_signal)i;
    return SIGNAL_NONE;
}

const char *signal_unit(enum pressure_signal signal)
{
    return signals[signal].unit;
}

void pressure_begin(struct pressure *pressure, uint64_t now_us)
{
    *pressure = (struct pressure){.read_at_us = now_us};
}

void pressure_note(
    struct pressure *pressure, enum pressure_signal signal, double value, double expected, const char *what)
{
    struct pressure_reading *r = &pressure->readings[signal];
    bool first = !pressure->there[signal];

    if (!first && !r->known)
        return;
    if (first || value > r->value || expected > r->expected)
        snprintf(r->what, sizeof(r->what), "%s", what ? what : "");
    r->value = first || value > r->value ? value : r->value;
    r->expected = first || expected > r->expected ? expected : r->expected;
    r->known = pressure->there[signal] = true;
}

void pressure_fail(struct pressure *pressure, enum pressure_signal signal, const char *why)
{
    struct pressure_reading *r = &pressure->readings[signal];

    pressure->there[signal] = true;
    r->known = false;
    snprintf(r->what, sizeof(r->what), "%s", why);
}

static void weigh(struct pressure_verdict *worst, enum pressure_signal signal,
    const struct pressure_reading *r, double limit)
{
    double value = r->value >= limit ? r->value : r->expected;
    double ratio = r->known ? value / limit : 1;

    if (worst->signal != SIGNAL_NONE && ratio <= worst->ratio)
        return;
    *worst = (struct pressure_verdict){
        .signal = signal, .ratio = ratio, .value = value, .limit = limit, .known = r->known};
    memcpy(worst->what, r->what, sizeof(worst->what));
}

struct pressure_verdict pressure_judge(
    const struct pressure *pressure, const struct pressure_limits *limits, uint64_t now_us)
{
    struct pressure_verdict worst = {.signal = SIGNAL_NONE};

    for (int i = SIGNAL_MONITOR + 1; i < _SIGNAL_MAX; i++)
        if (pressure->there[i] && !limits->off[i])
            weigh(&worst, (enum pressure_signal)i, &pressure->readings[i], limits->limit[i]);

    /* It counts from the limit on only: a round that is a little old is no reason to go slower. */
    struct pressure_reading age = {
        .known = pressure->read_at_us > 0, .value = (double)(now_us - pressure->read_at_us) / 1e3};
    if (!age.known)
        snprintf(age.what, sizeof(age.what), "nothing was read yet");
    if (!limits->off[SIGNAL_MONITOR] && (!age.known || age.value >= limits->limit[SIGNAL_MONITOR]))
        weigh(&worst, SIGNAL_MONITOR, &age, limits->limit[SIGNAL_MONITOR]);
    return worst;
}

char *pressure_describe(const struct pressure_verdict *v)
{
    char *text = NULL;
    int n;

    if (v->signal == SIGNAL_NONE)
        return NULL;
    if (!v->known)
        n = asprintf(&text, "%s: %s", signal_name(v->signal), v->what);
    else
        n = asprintf(&text, "%s %.0f %s of %.0f%s%s%s", signal_name(v->signal), v->value,
            signal_unit(v->signal), v->limit, *v->what ? " (" : "", v->what, *v->what ? ")" : "");
    if (n < 0)
        abort();
    return text;
}
