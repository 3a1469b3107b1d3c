#include "pressure/pressure.h"
#include "mem.h"
#include "text/text.h"

#include <stdio.h>

static const struct {
    const char *name, *unit;
    int decimals; /* of a value in a text */
} signals[_SIGNAL_MAX] = {
    [SIGNAL_MONITOR] = {"monitor", "ms", 0},
    [SIGNAL_LAG_MS] = {"lag", "ms", 0},
    [SIGNAL_LAG_MB] = {"lag_mb", "MB", 0},
    [SIGNAL_STANDBY] = {"standby", "s", 0},
    [SIGNAL_BLOCKED_MS] = {"blocked", "ms", 0},
    [SIGNAL_SLOT_MB] = {"slot", "MB", 0},
    [SIGNAL_ARCHIVE] = {"archive", "files", 0},
    [SIGNAL_XMIN_S] = {"xmin", "s", 0},
    [SIGNAL_DEAD] = {"dead", "of the rows", 2},
    [SIGNAL_CPU] = {"cpu", "of the time", 2},
    [SIGNAL_IO] = {"io", "of the time", 2},
    [SIGNAL_DISK] = {"disk", "of the space", 2},
    [SIGNAL_LATENCY] = {"latency", "times", 1},
    [SIGNAL_PROBE] = {"probe", "", 2},
    [SIGNAL_RATE] = {"rate", "rows/s", 0},
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

bool signal_is_hosts(enum pressure_signal signal)
{
    return signal == SIGNAL_CPU || signal == SIGNAL_IO || signal == SIGNAL_LATENCY;
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
        text_copy(r->what, sizeof(r->what), what ? what : "");
    r->value = first || value > r->value ? value : r->value;
    r->expected = first || expected > r->expected ? expected : r->expected;
    r->known = pressure->there[signal] = true;
}

void pressure_fail(struct pressure *pressure, enum pressure_signal signal, const char *why)
{
    struct pressure_reading *r = &pressure->readings[signal];

    pressure->there[signal] = true;
    r->known = false;
    text_copy(r->what, sizeof(r->what), why);
}

void pressure_add(struct pressure *pressure, const struct pressure *other)
{
    for (int i = 0; i < _SIGNAL_MAX; i++) {
        const struct pressure_reading *r = &other->readings[i];
        if (other->there[i] && r->known)
            pressure_note(pressure, (enum pressure_signal)i, r->value, r->expected, r->what);
        else if (other->there[i])
            pressure_fail(pressure, (enum pressure_signal)i, r->what);
    }
}

/* How near a value is to its limit: 0 where it begins to count, 1 at the limit. */
static double ratio_of(double value, double from, double half, double limit)
{
    if (value >= limit)
        return limit > from ? (value - from) / (limit - from) : 1;
    if (value <= from)
        return 0;
    if (half <= from)
        return (value - from) / (limit - from);
    return value < half ? (value - from) / (half - from) / 2 : 0.5 + (value - half) / (limit - half) / 2;
}

double pressure_value_at(double ratio, const struct pressure_limits *limits, enum pressure_signal signal)
{
    double from = limits->from[signal], half = limits->half[signal], limit = limits->limit[signal];

    if (half <= from)
        return from + ratio * (limit - from);
    return ratio < 0.5 ? from + ratio * 2 * (half - from) : half + (ratio - 0.5) * 2 * (limit - half);
}

static void weigh(struct pressure_verdict *worst, const struct pressure_limits *limits,
    enum pressure_signal signal, const struct pressure_reading *r)
{
    double limit = limits->limit[signal];
    double value = r->value >= limit ? r->value : r->expected;
    double ratio = r->known ? ratio_of(value, limits->from[signal], limits->half[signal], limit) : 1;

    if (r->known && r->value < limit && ratio > PRESSURE_TRICKLE)
        ratio = PRESSURE_TRICKLE;

    if (ratio <= 0 || (worst->signal != SIGNAL_NONE && ratio <= worst->ratio))
        return;
    *worst = (struct pressure_verdict){
        .signal = signal, .ratio = ratio, .value = value, .limit = limit, .known = r->known};
    memcpy(worst->what, r->what, sizeof(worst->what));
}

struct pressure_verdict pressure_judge(
    const struct pressure *pressure, const struct pressure_limits *limits, bool hosts, uint64_t now_us)
{
    struct pressure_verdict worst = {.signal = SIGNAL_NONE};

    for (int i = SIGNAL_MONITOR + 1; i < _SIGNAL_MAX; i++)
        if (pressure->there[i] && !limits->off[i] && signal_is_hosts((enum pressure_signal)i) == hosts)
            weigh(&worst, limits, (enum pressure_signal)i, &pressure->readings[i]);

    if (hosts)
        return worst;
    /* It counts from the limit on only: a round that is a little old is no reason to go slower. */
    struct pressure_reading age = {
        .known = pressure->read_at_us > 0, .value = (double)(now_us - pressure->read_at_us) / 1e3};
    if (!age.known)
        snprintf(age.what, sizeof(age.what), "nothing was read yet");
    if (!limits->off[SIGNAL_MONITOR] && (!age.known || age.value >= limits->limit[SIGNAL_MONITOR]))
        weigh(&worst, limits, SIGNAL_MONITOR, &age);
    return worst;
}

char *pressure_describe(const struct pressure_verdict *v)
{
    const char *unit = v->signal == SIGNAL_NONE ? "" : signal_unit(v->signal);
    char *text = NULL;
    int n;

    if (v->signal == SIGNAL_NONE)
        return NULL;
    if (!v->known)
        n = asprintf(&text, "%s: %s", signal_name(v->signal), v->what);
    else
        n = asprintf(&text, "%s %.*f%s%s, limit %.*f%s%s%s", signal_name(v->signal),
            signals[v->signal].decimals, v->value, *unit ? " " : "", unit, signals[v->signal].decimals,
            v->limit, *v->what ? " (" : "", v->what, *v->what ? ")" : "");
    if (n < 0)
        abort();
    return text;
}
