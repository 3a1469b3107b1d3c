/* How many keys the next batch spans, so that it takes target_us (DESIGN section 6).
 *
 * The estimate is the time a key took, smoothed; it rises faster than it falls, because a batch that is too
 * long is felt by others and one that is too short only by us. A step grows the size by at most GROWTH. A
 * batch of more than five times the target is believed at once, unsmoothed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BATCH_FIRST_KEYS    100        /* small enough to be harmless on rows of a megabyte */
#define BATCH_MAX_WAL_BYTES (16 << 20) /* one WAL segment: what a standby is sent in one piece */

struct batch_size {
    uint32_t target_us; /* how long a batch may take */
    uint32_t aim_us;    /* how long the next should: the target, or less */
    uint32_t min_keys, max_keys;
    double us_per_key;  /* smoothed; 0 until the first batch */
    double wal_per_key; /* bytes, smoothed; of all sessions meanwhile, so an upper bound */
    uint32_t keys;      /* the size now */
};

/* min_keys <= max_keys, both at least 1. */
void batch_size_init(struct batch_size *s, uint32_t target_us, uint32_t min_keys, uint32_t max_keys);

/* New limits for a running job; what was learnt stays. */
void batch_size_limit(struct batch_size *s, uint32_t target_us, uint32_t min_keys, uint32_t max_keys);

/* Aim at so long, up to the target, from the next batch that is observed. */
void batch_size_aim(struct batch_size *s, uint32_t aim_us);

/* Keys for the next batch. */
uint32_t batch_size_keys(const struct batch_size *s);

/* A batch of that many keys took elapsed_us (without lock waits, and what it slept) and wal_bytes. keys = 0 is ignored. */
void batch_size_observe(struct batch_size *s, uint32_t keys, uint64_t elapsed_us, uint64_t wal_bytes);

/* The batch met a lock: half of it next. */
void batch_size_halve(struct batch_size *s);

/* A batch of that many keys was cut short after elapsed_us, so it would have taken longer still: half of it
 * next, or less when the time it had says so. */
void batch_size_cut_short(struct batch_size *s, uint32_t keys, uint64_t elapsed_us);
