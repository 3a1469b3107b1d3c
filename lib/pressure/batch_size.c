#include "pressure/batch_size.h"

#define GROWTH        1.5  /* DESIGN section 6: at most 1.5 times a step */
#define WEIGHT_SLOWER 0.5  /* weight of a batch that took longer than thought */
#define WEIGHT_FASTER 0.25 /* and of one that took less */
#define TOO_LONG      5.0  /* times the target: believe it at once */

static uint32_t clamp(double keys, uint32_t min, uint32_t max)
{
    if (keys < (double)min)
        return min;
    if (keys > (double)max)
        return max;
    return (uint32_t)keys;
}

void batch_size_init(struct batch_size *s, uint32_t target_us, uint32_t min_keys, uint32_t max_keys)
{
    *s = (struct batch_size){.keys = BATCH_FIRST_KEYS};
    batch_size_limit(s, target_us, min_keys, max_keys);
}

void batch_size_limit(struct batch_size *s, uint32_t target_us, uint32_t min_keys, uint32_t max_keys)
{
    s->target_us = s->aim_us = target_us;
    s->min_keys = min_keys;
    s->max_keys = max_keys;
    s->keys = clamp(s->keys, min_keys, max_keys);
}

void batch_size_aim(struct batch_size *s, uint32_t aim_us)
{
    s->aim_us = aim_us;
}

uint32_t batch_size_keys(const struct batch_size *s)
{
    return s->keys;
}

static double smooth(double old, double seen, bool at_once)
{
    if (old <= 0 || at_once)
        return seen;
    return old + (seen - old) * (seen > old ? WEIGHT_SLOWER : WEIGHT_FASTER);
}

void batch_size_observe(struct batch_size *s, uint32_t keys, uint64_t elapsed_us, uint64_t wal_bytes)
{
    if (keys == 0)
        return;
    bool too_long = (double)elapsed_us > TOO_LONG * (double)s->target_us;
    s->us_per_key = smooth(s->us_per_key, (double)elapsed_us / keys, too_long);
    s->wal_per_key = smooth(s->wal_per_key, (double)wal_bytes / keys, wal_bytes > BATCH_MAX_WAL_BYTES);

    double next = s->us_per_key > 0 ? s->aim_us / s->us_per_key : (double)s->max_keys;
    if (elapsed_us < s->aim_us && next < keys + 1.0)
        next = keys + 1.0; /* what is short of the aim is no reason to shrink; and of one key a quarter more is none: it would stay at one */
    if (s->wal_per_key > 0 && next * s->wal_per_key > BATCH_MAX_WAL_BYTES)
        next = BATCH_MAX_WAL_BYTES / s->wal_per_key;
    if (next > s->keys) {
        /* It grows from what ran, not from what was asked for: a batch cut short says nothing of a long one.
         */
        double most = keys * GROWTH + 1;
        if (next > most)
            next = most > s->keys ? most : s->keys;
    }
    s->keys = clamp(next, s->min_keys, s->max_keys);
}

void batch_size_halve(struct batch_size *s)
{
    s->keys = clamp(s->keys / 2.0, s->min_keys, s->max_keys);
}

void batch_size_cut_short(struct batch_size *s, uint32_t keys, uint64_t elapsed_us)
{
    batch_size_halve(s);
    if (keys == 0 || (double)elapsed_us <= TOO_LONG * (double)s->target_us)
        return;
    double at_least = (double)elapsed_us / keys;
    if (s->us_per_key < at_least)
        s->us_per_key = at_least;
    if (s->target_us / s->us_per_key < s->keys)
        s->keys = clamp(s->target_us / s->us_per_key, s->min_keys, s->max_keys);
}
