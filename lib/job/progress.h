/* How a job goes: keys a second, percent, the time that is left; and how long its batches took. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Batch times in buckets that grow by 5 %, from 100 us to past two minutes: a quantile is right to 5 %. */
#define HISTOGRAM_BUCKETS 288

/* And in a few wide ones, whose bounds are round: for whoever reads them over time (metrics). */
#define HISTOGRAM_BOUNDS  13
extern const double histogram_bounds_s[HISTOGRAM_BOUNDS];

struct histogram {
    uint64_t count;
    uint64_t max_us, sum_us;
    uint32_t buckets[HISTOGRAM_BUCKETS];
    uint64_t wide[HISTOGRAM_BOUNDS]; /* up to that bound and above the one before */
};

void histogram_add(struct histogram *h, uint64_t us);

/* What another one has counted comes to this one. */
void histogram_merge(struct histogram *h, const struct histogram *other);

/* The q-quantile (0 < q <= 1) in microseconds: the upper edge of its bucket, at most the greatest time seen;
 * 0 when nothing was added. */
uint64_t histogram_quantile(const struct histogram *h, double q);

struct progress {
    uint64_t keys;     /* scanned, over the job's whole life */
    uint64_t estimate; /* keys there are, as the planner guessed when the job was planned; 0: not known */
    double rate;       /* keys a second over the last RATE_WINDOW_US or so; 0: it stands still */
    double others;     /* of other walkers of the job: keys a second, as the database last had it */
    uint64_t mark_us;  /* the rate is known up to here; 0: not started */
    uint64_t mark_keys;
};

/* keys and estimate as the job stands when this process takes it up. */
void progress_init(struct progress *p, uint64_t keys, uint64_t estimate, uint64_t now_us);

/* That many keys more are done. */
void progress_add(struct progress *p, uint64_t keys);

/* So many are done in all, as the database has it: more than was thought when an answer was lost, less when the server
 * lost commits in a crash. */
void progress_set(struct progress *p, uint64_t keys, uint64_t now_us);

/* Brings the rate up to now; call it whenever it is about to be shown. */
void progress_update(struct progress *p, uint64_t now_us);

/* Keys a second of all walkers together. */
double progress_rate(const struct progress *p);

/* 0 to 99.9 while work is left; negative when the estimate is not known, or far from right. */
double progress_percent(const struct progress *p);

/* Seconds to go at today's rate; negative when not known: it stands still, would need a year, or all that was estimated is done. */
double progress_eta_s(const struct progress *p);
