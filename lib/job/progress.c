#include "job/progress.h"

#include <math.h>

#define FIRST_BUCKET_US 100.0
#define BUCKET_GROWTH   1.05
#define RATE_WINDOW_US  10e6   /* old speed fades with this time constant */
#define RATE_STEP_US    250000 /* shorter stretches are gathered first: one batch is no rate */
#define RATE_LEAST      0.01   /* keys a second; below it nothing moves, and soon a float could not hold it */
#define ETA_MOST_S      (365 * 86400.0)
#define ESTIMATE_OFF    1.1 /* so many times the estimate scanned: it was a wrong one */

static int bucket_of(uint64_t us)
{
    if ((double)us <= FIRST_BUCKET_US)
        return 0;
    int i = (int)ceil(log((double)us / FIRST_BUCKET_US) / log(BUCKET_GROWTH));
    return i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1;
}

const double histogram_bounds_s[HISTOGRAM_BOUNDS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

void histogram_add(struct histogram *h, uint64_t us)
{
    int wide = 0;

    while (wide < HISTOGRAM_BOUNDS && (double)us / 1e6 > histogram_bounds_s[wide])
        wide++;
    if (wide < HISTOGRAM_BOUNDS)
        h->wide[wide]++;
    h->sum_us += us;
    h->count++;
    h->buckets[bucket_of(us)]++;
    if (us > h->max_us)
        h->max_us = us;
}

void histogram_merge(struct histogram *h, const struct histogram *other)
{
    h->count += other->count;
    h->sum_us += other->sum_us;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->buckets[i] += other->buckets[i];
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
        h->wide[i] += other->wide[i];
    if (other->max_us > h->max_us)
        h->max_us = other->max_us;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    double rank = q * (double)h->count;
    uint64_t seen = 0;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > 0 && (double)seen >= rank) {
            uint64_t edge = (uint64_t)(FIRST_BUCKET_US * pow(BUCKET_GROWTH, i));
            return edge < h->max_us && i < HISTOGRAM_BUCKETS - 1 ? edge : h->max_us;
        }
    }
    return h->max_us;
}

void progress_init(struct progress *p, uint64_t keys, uint64_t estimate, uint64_t now_us)
{
    *p = (struct progress){.keys = keys, .estimate = estimate, .mark_us = now_us, .mark_keys = keys};
}

void progress_add(struct progress *p, uint64_t keys)
{
    p->keys += keys;
}

void progress_set(struct progress *p, uint64_t keys, uint64_t now_us)
{
    if (keys < p->keys) {
        p->mark_us = now_us;
        p->mark_keys = keys;
    } else /* what others have scanned is not this one's speed */
        p->mark_keys += keys - p->keys;
    p->keys = keys;
}

void progress_update(struct progress *p, uint64_t now_us)
{
    if (now_us < p->mark_us + RATE_STEP_US)
        return;
    double elapsed_us = (double)(now_us - p->mark_us);
    double seen = (double)(p->keys - p->mark_keys) / (elapsed_us / 1e6);
    p->rate = p->rate > 0 ? p->rate + (seen - p->rate) * (1 - exp(-elapsed_us / RATE_WINDOW_US)) : seen;
    if (p->rate < RATE_LEAST)
        p->rate = 0;
    p->mark_us = now_us;
    p->mark_keys = p->keys;
}

double progress_rate(const struct progress *p)
{
    return p->rate + p->others;
}

double progress_percent(const struct progress *p)
{
    if (p->estimate == 0 || (double)p->keys > ESTIMATE_OFF * (double)p->estimate)
        return -1;
    double percent = 100.0 * (double)p->keys / (double)p->estimate;
    return percent < 99.9 ? percent : 99.9;
}

double progress_eta_s(const struct progress *p)
{
    if (p->keys >= p->estimate || progress_rate(p) <= 0)
        return -1;
    double eta_s = (double)(p->estimate - p->keys) / progress_rate(p);
    return eta_s <= ETA_MOST_S ? eta_s : -1;
}
