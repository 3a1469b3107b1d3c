/* How long to rest between two batches, from pressure. A job runs for a share of the time, so that it settles where what it
 * writes is what the slowest can take, below the limit, instead of running into the limit and back.
 *
 *   share   1 ├────╮                    No rest below FREE: what is far from its limit is nobody's trouble. From
 *             │     ╲                   there the share falls with the cube of the room that is left, to nothing
 *             │      ╲_                 at 1: so it settles at half of the limit or so, and what a reading is late
 *           0 └────────‾‾──────         or wrong by stays below it. The smaller the share, the smaller the batches:
 *             0  FREE    1   pressure   what a slow standby is sent arrives evenly, not in lumps.
 *
 * When the host is short of something (its CPUs, its disks, the time in which the server answers), somebody else is at work
 * there. Then a job makes room: smaller batches, a smaller share, and a batch yields: now and then it sleeps for a millisecond
 * in the middle, because a kernel lets others wait for the CPU for as long as a process runs at a stretch. Where others wait
 * seldom, there is still something to spare: a job has somewhat more of the time than on a crowded host, where it has busy_share.
 * It doesn't go below that before the limit is near: how busy others are is theirs to say, and such a signal is noisy.
 *
 *   share   1 ├────╮
 *             │     ╲_                  with batches of busy_target_ms from BUSY on
 *             │       ╲________         busy_share
 *           0 └────────────────╲─
 *             0 FREE BUSY   NEAR 1      pressure of the host; CROWDED is between BUSY and NEAR */
#pragma once

#include "pressure/batch_size.h"
#include "pressure/pressure.h"

#include <stdbool.h>
#include <stdint.h>

#define PACE_FREE    0.2
#define PACE_BUSY    0.5
#define PACE_NEAR    0.9

/* On a busy host a job keeps this part of what it gives up on a crowded one: "Pairs" in tests/README.md. */
#define PACE_CROWDED 0.7
#define PACE_KEEPS   0.3

#define PACE_HOLD    UINT64_MAX
#define PACE_MAX_US  1000000 /* a rest is never longer: then it is time to look again */

/* The share of the time that a job may be at work, 1 to 0. */
double pace_share(double pressure);

/* The share for pressure of the host. */
double pace_share_on_host(double pressure, double busy_share);

/* How busy others keep the host's CPUs is a noisy signal, and what they feel most is a job's quickest moments. So a job doesn't
 * use each gap that they leave: a reading rises at once and falls slowly, from what counts as busy to nothing in no less than: */
#define PACE_EASE_US 5000000

/* The reading that counts, when it was eased so long ago. */
double pace_ease(double reading, double eased, double busy, uint64_t ago_us);

/* How long a batch should take under pressure of the host: from target_us down to busy_us, where that is less. */
uint32_t pace_target_us(double pressure, uint32_t target_us, uint32_t busy_us);

/* A batch and its rest take no longer than a cycle, unless the batch would be shorter than the least: then its own costs would
 * be most of it. */
#define PACE_CYCLE_US 100000
#define PACE_LEAST_US 2000

/* How long a batch should take that runs for a share of the time; aim_us at most. */
uint32_t pace_portion_us(double share, uint32_t aim_us);

/* How long a batch yields each time: the shortest sleep of PostgreSQL, which counts milliseconds, as it was measured. The same
 * number stands in backfill.yield_condition. */
#define PACE_YIELD_US   1060

/* On a busy host a batch that can't yield takes no longer. */
#define PACE_STRETCH_US 5000

/* After how much work a batch yields, so that it is at work for a share of the time; 0: it never does. */
uint32_t pace_yield_after_us(double share);

/* How much of a batch was work, when it yielded after so much of it, at some of its rows; 0: all. */
uint64_t pace_worked_us(uint32_t yield_after_us, uint64_t rows, uint64_t batch_us);

/* Microseconds to rest after a batch of batch_us, of which worked_us were work, for a share of the time in all; PACE_HOLD for a
 * share of 0: until it is more. */
uint64_t pace_rest_us(double share, uint64_t worked_us, uint64_t batch_us);

/* A batch has no more keys than a target speed allows in this time, and no more than the credit's keys are made up for, once
 * they were missed. */
#define PACE_RATE_BATCH_US  100000
#define PACE_RATE_CREDIT_US 100000

/* The most keys for one batch at a target speed in keys a second; at least 1. No limit when the speed is 0. */
uint32_t pace_rate_keys(double keys_per_s);

/* When the next batch may begin, after one that began at began_us, spanned that many keys, and was itself due at due_us (0:
 * the first). A batch that comes late by a little (timers, a slow batch) is made up for, so that the average is the target; a
 * long stop is not. */
uint64_t pace_rate_due_us(uint64_t due_us, uint64_t began_us, uint64_t keys, double keys_per_s);

/* ---- What came, what presses -> how much next, and when. ----------------------------------------------------------------- */

struct pace_limits {
    uint32_t target_us;
    uint32_t min_keys, max_keys;
    uint32_t busy_us;      /* how long a batch should take when the host is busy with others, if that is less */
    double busy_share;     /* and the share of the time, above 0 to 1 */
    double max_keys_per_s; /* 0: no limit */
};

/* What presses, and what is due: of the job, whoever walks for it. */
struct pace_job {
    struct pace_limits limits;
    struct pressure_verdict others, host; /* as of now: the driver sets them before each step */
    uint64_t rate_due_us;                 /* when the next work may begin, by max_keys_per_s; 0: at once */
};

/* What came: of one session that does the work. */
struct pace {
    struct batch_size size;
    bool yields;                    /* batches of the range in hand can */
    uint32_t yield_us;              /* the batch under way, or the last one, does */
    enum pressure_signal yields_to; /* to whom */
    uint64_t batch_us, batch_at_us; /* the last batch: how long it took, when it ended */
    uint64_t worked_us;             /* and how much of that was work */
    uint64_t answered_us;           /* when the last batch or bound was answered */
    uint64_t quickest_bound_us;     /* so far; 0: there was none */
};

enum pace_piece {
    PACE_BOUND, /* the search for a batch's end: it changes nothing */
    PACE_BATCH,
    PACE_ROWS, /* some that were locked before, by their keys */
};

struct pace_came {
    enum pace_piece piece;
    uint64_t began_us, elapsed_us; /* elapsed: of a batch, to its commit, without the bound that followed */
    uint64_t keys;                 /* that count for the target speed */
    uint32_t tells;                /* so many keys tell by their time what a key takes; 0: they were too few for that */
    uint64_t rows, wal_bytes;      /* BATCH: changed */
};

struct pace_next {
    uint64_t rest_us;         /* 0: now */
    enum pressure_signal why; /* of the rest */
};

void pace_job_limit(struct pace_job *job, const struct pace_limits *limits);

/* The first batch is a small one. */
void pace_init(struct pace *p, const struct pace_limits *limits);
void pace_limit(struct pace *p, const struct pace_limits *limits);

/* What slows the job down most just now; its signal is SIGNAL_NONE when nothing does. */
const struct pressure_verdict *pace_slowed_by(const struct pace_job *job);

/* How much of the time pressure leaves the job, 1 to 0. */
double pace_share_of(const struct pace_job *job);

/* Microseconds of it that a batch slept, for others. */
uint64_t pace_note(struct pace *p, struct pace_job *job, const struct pace_came *came, uint64_t now_us);

/* How much next: keys, when nothing is known of them but what the last ones took. */
uint32_t pace_keys(const struct pace *p, const struct pace_job *job);

/* After how much work a batch that begins now yields; 0: never. Kept for what is said of it when it is done. */
uint32_t pace_yield(struct pace *p, const struct pace_job *job);

/* While others wait for the host's CPUs, a batch and the bound of the next are sent apart, with a rest between them: each is
 * work at a stretch. Not where a round trip takes long. */
bool pace_in_pieces(const struct pace *p, const struct pace_job *job);

/* And when. */
struct pace_next pace_next(const struct pace *p, const struct pace_job *job, enum pace_piece piece, uint64_t now_us);
