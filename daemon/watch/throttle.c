#include "watch/throttle.h"
#include "walk/cursor.h"
#include "mem.h"
#include "pressure/pace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MONITOR_SILENT_MS 1000 /* a reading older than this holds the job: who can't see must not run */

/* Where signals begin to count, as a share of their limits. Space that is used, WAL that is held back and old
 * snapshots are daily bread well below a limit; for vacuum a job waits or it doesn't. */
static const double counts_from[_SIGNAL_MAX] = {
    [SIGNAL_SLOT_MB] = 0.5, [SIGNAL_XMIN_S] = 0.5, [SIGNAL_DEAD] = 1, [SIGNAL_DISK] = 0.95};

/* And what counts as half of the limit. */
static const double counts_half[_SIGNAL_MAX] = {[SIGNAL_CPU] = PRESSURE_CPU_BUSY};

/* 0: the signal is off. */
static double limit_of(
    const struct job *job, const struct config_throttle *settings, enum pressure_signal signal)
{
    if (signal == SIGNAL_MONITOR)
        return MONITOR_SILENT_MS;
    if (signal == SIGNAL_STANDBY ||
        signal == SIGNAL_PROBE) /* their readings are shares of limits of their own */
        return 1;
    if (signal == SIGNAL_LAG_MS && job->max_lag_ms > 0)
        return job->max_lag_ms;
    return settings->limit[signal];
}

void throttle_set(struct throttle *t, const struct job *job, const struct config_throttle *settings)
{
    int n_off = 0;
    char **off = cursor_split(job->throttle_off, &n_off);

    t->job = job->id;
    t->dead_min_bytes = 1e6 * settings->dead_min_mb;
    for (int i = 0; i < _SIGNAL_MAX; i++) {
        double limit = limit_of(job, settings, (enum pressure_signal)i);
        t->limits.limit[i] = limit;
        t->limits.from[i] = limit * counts_from[i];
        t->limits.half[i] = limit * counts_half[i];
        t->limits.off[i] = limit <= 0 || (settings->none && i != SIGNAL_BLOCKED_MS);
    }
    t->limits.from[SIGNAL_LATENCY] = 1; /* as quick as ever */
    for (int i = 0; off && i < n_off; i++) {
        enum pressure_signal signal = off[i] ? signal_from_name(off[i]) : SIGNAL_NONE;
        if (signal != SIGNAL_NONE && signal != SIGNAL_MONITOR)
            t->limits.off[signal] = true;
        free(off[i]);
    }
    free(off);
}

/* Others may be at work on a server elsewhere, or whose kernel doesn't count, at the first look, and as long as the job has been
 * at work there for too short a time to show. */
static void ease_cpu(struct throttle *t, struct pressure *pressure, uint64_t now_us)
{
    struct pressure_reading *cpu = &pressure->readings[SIGNAL_CPU];
    double busy = t->limits.half[SIGNAL_CPU];

    if (!pressure->there[SIGNAL_CPU]) {
        double crowded = pressure_value_at(PACE_CROWDED, &t->limits, SIGNAL_CPU);
        pressure_note(pressure, SIGNAL_CPU, crowded, crowded, "not known: taken as busy");
    }
    if (!cpu->known)
        return;
    if (t->cpu_eased_at_us == 0)
        t->cpu_eased = busy;
    else
        t->cpu_eased = pace_ease(cpu->value, t->cpu_eased, busy, now_us - t->cpu_eased_at_us);
    t->cpu_eased_at_us = now_us;
    if (cpu->expected < t->cpu_eased) {
        cpu->expected = t->cpu_eased;
        snprintf(cpu->what, sizeof(cpu->what), "it counts for some seconds");
    }
}

void throttle_judge(struct throttle *t, const struct monitor *monitor, int pid, uint64_t now_us,
    struct pressure_verdict *ret_pressure, struct pressure_verdict *ret_host)
{
    struct pressure pressure = *monitor_pressure(monitor);
    const struct blocking *blocking = monitor_blocking(monitor, pid);
    struct vacuum_reading reading;

    if (blocking)
        pressure_note(&pressure, SIGNAL_BLOCKED_MS, blocking->waited_ms, blocking->waited_ms, blocking->who);
    if (!t->limits.off[SIGNAL_DEAD] && monitor_vacuum(monitor, t->job, &reading) &&
        vacuum_step(&t->vacuum, &reading, t->limits.limit[SIGNAL_DEAD], t->dead_min_bytes, now_us)) {
        double ratio = vacuum_dead_ratio(&reading);
        pressure_note(&pressure, SIGNAL_DEAD, ratio, ratio,
            t->vacuum.state == VACUUM_RUNNING ? "vacuum is at work" : "vacuum is to come");
    }
    ease_cpu(t, &pressure, now_us);
    t->pressure = pressure;
    *ret_pressure = pressure_judge(&pressure, &t->limits, false, now_us);
    *ret_host = pressure_judge(&pressure, &t->limits, true, now_us);
}

char *throttle_no_room(const struct throttle *t)
{
    const struct pressure_reading *disk = &t->pressure.readings[SIGNAL_DISK];
    double limit = t->limits.limit[SIGNAL_DISK];

    if (t->limits.off[SIGNAL_DISK])
        return NULL;
    if (t->pressure.read_at_us == 0)
        return copy_string("disk: nothing was read yet");
    if (!t->pressure.there[SIGNAL_DISK] || (disk->known && disk->value < limit))
        return NULL;
    struct pressure_verdict full = {
        .signal = SIGNAL_DISK, .ratio = 1, .value = disk->value, .limit = limit, .known = disk->known};
    memcpy(full.what, disk->what, sizeof(full.what));
    return pressure_describe(&full);
}
