/* What presses on one job: the readings of its database's monitor against the limits of the file and the job's own. */
#pragma once

#include "base/config.h"
#include "job/job.h"
#include "watch/monitor.h"

struct throttle {
    int64_t job;
    struct pressure_limits limits;
    double dead_min_bytes;
    struct vacuum vacuum;     /* whether the job waits for it */
    struct pressure pressure; /* what was judged last */
    double cpu_eased;         /* the reading of the CPUs that counts (pace_ease) */
    uint64_t cpu_eased_at_us; /* 0: never */
};

/* The limits as the file and the job have them now. */
void throttle_set(struct throttle *throttle, const struct job *job, const struct config_throttle *settings);

/* How full the disk is by the last verdict, where that is above its limit; NULL: there is room. The caller frees. */
char *throttle_no_room(const struct throttle *throttle);

/* The verdicts of now: of the server's host, and of all else, the job's own table and who waits on its session (pid) included. */
void throttle_judge(struct throttle *throttle, const struct monitor *monitor, int pid, uint64_t now_us,
    struct pressure_verdict *ret_pressure, struct pressure_verdict *ret_host);
