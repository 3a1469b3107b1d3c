/* What slows a job down. Each signal is a value and a limit; a job's verdict is the signal that is nearest to
 * its limit, or furthest beyond. The values are a database's, read by its monitor; limits are a job's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum pressure_signal {
    SIGNAL_MONITOR, /* the monitor itself: how long it has read nothing */
    SIGNAL_LAG_MS,  /* the latest standby */
    SIGNAL_LAG_MB,
    SIGNAL_STANDBY,    /* a standby that is named in the file is gone */
    SIGNAL_BLOCKED_MS, /* the longest wait of another session on one of ours */
    SIGNAL_SLOT_MB,    /* WAL that a replication slot holds back */
    SIGNAL_ARCHIVE,    /* WAL files that wait to be archived */
    SIGNAL_XMIN_S,     /* age of the oldest snapshot: what it may see, vacuum can't remove */
    SIGNAL_DEAD,    /* share of dead rows in the job's table, as long as vacuum can do something about it */
    SIGNAL_CPU,     /* share of the time in which something waited for a CPU of this host */
    SIGNAL_IO,      /* and for its disks */
    SIGNAL_DISK,    /* the fullest file system that the server writes to, share of it */
    SIGNAL_LATENCY, /* how many times slower the server answers than at its best */
    SIGNAL_PROBE,   /* a query of the user's, as a share of its own limit */
    SIGNAL_RATE,    /* no reading: the speed that the job is held to, for what is counted and said of it */
    _SIGNAL_MAX,
    SIGNAL_NONE = -1,
};

/* "lag": what settings, throttle_off, journal, status and report call it. */
const char *signal_name(enum pressure_signal signal);

/* The signal of a name, or SIGNAL_NONE. */
enum pressure_signal signal_from_name(const char *name);

/* What stands behind a value: "ms", "MB", "of the time". */
const char *signal_unit(enum pressure_signal signal);

/* Whether it says that the server's host is short of something (see lib/pressure/pace.h). */
bool signal_is_hosts(enum pressure_signal signal);

/* A host whose CPUs something waits for during this share of their limit is busy. On two cores it was 0 to 5 % of the time while a
 * job was alone, and 18 to 45 % beside an application that did 40 % of what it can (9 to 16 % without the job). */
#define PRESSURE_CPU_BUSY 0.15

#define PRESSURE_WHAT     96

struct pressure_reading {
    bool known;
    double value;
    double
        expected; /* what the value is on its way to, where that is known before it is felt; else the same */
    char what[PRESSURE_WHAT]; /* whose it is: "standby2", "pid 4711"; one line, cut between characters */
};

/* One reading a signal, the worst of all that were noted. A signal that has none doesn't exist here. */
struct pressure {
    bool there[_SIGNAL_MAX];
    struct pressure_reading readings[_SIGNAL_MAX];
    uint64_t read_at_us; /* 0: never */
};

struct pressure_limits {
    double limit[_SIGNAL_MAX]; /* above 0 */
    double from[_SIGNAL_MAX];  /* below its limit, or at it: a value counts from here on */
    double half[_SIGNAL_MAX];  /* between them: a value that counts as half of the limit; 0: the middle */
    bool off[_SIGNAL_MAX];
};

struct pressure_verdict {
    enum pressure_signal signal; /* SIGNAL_NONE: nothing presses */
    double ratio; /* 0 where a value begins to count, 0.5 at half, 1 at the limit and above it: stop */
    double value, limit;
    bool known; /* false: it could not be read, and counts as at its limit */
    char what[PRESSURE_WHAT];
};

/* What is only expected never stops a job quite. A standby says how far it has replayed when WAL arrives, or when it has replayed
 * all: to a job that stood still it would seem to stand still too, until it had nothing left to do. */
#define PRESSURE_TRICKLE 0.98

/* A new round of readings begins. */
void pressure_begin(struct pressure *pressure, uint64_t now_us);

/* One reading; of several for a signal the greatest value and the greatest expectation stay. The pace follows what is
 * expected, as long as the value is below its limit. */
void pressure_note(
    struct pressure *pressure, enum pressure_signal signal, double value, double expected, const char *what);

/* The signal can't be read, and why. It stays so for this round. */
void pressure_fail(struct pressure *pressure, enum pressure_signal signal, const char *why);

/* Adds all that is in other to a round. */
void pressure_add(struct pressure *pressure, const struct pressure *other);

/* What a job with these limits is told at now_us: by the signals of the host, or by all others. A round that is older than the limit of SIGNAL_MONITOR
 * counts as a signal of its own (no host's): who can't see must not run. */
struct pressure_verdict pressure_judge(
    const struct pressure *pressure, const struct pressure_limits *limits, bool hosts, uint64_t now_us);

/* The value of a signal whose ratio is this, 0 to 1. */
double pressure_value_at(double ratio, const struct pressure_limits *limits, enum pressure_signal signal);

/* "lag 812 ms, limit 1000 (standby2)", for status and journal. The caller frees. */
char *pressure_describe(const struct pressure_verdict *verdict);
