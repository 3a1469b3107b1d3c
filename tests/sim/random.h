/* Numbers that look random and depend on the seed alone, so that a run can be played again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

/* splitmix64: any seed is good, also 0 and its neighbours. */
static inline uint64_t random_next(struct random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* 0 to n - 1; n at least 1. */
static inline uint32_t random_below(struct random *r, uint32_t n)
{
    return (uint32_t)(random_next(r) % n);
}

/* From low to high, both included. */
static inline uint32_t random_between(struct random *r, uint32_t low, uint32_t high)
{
    return low + random_below(r, high - low + 1);
}

/* True in that many of 1000 cases. */
static inline bool random_chance(struct random *r, uint32_t permille)
{
    return random_below(r, 1000) < permille;
}

/* 0 to 1. */
static inline double random_fraction(struct random *r)
{
    return (double)(random_next(r) >> 11) / (double)(UINT64_C(1) << 53);
}
