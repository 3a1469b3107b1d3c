/* LSN echo: how far behind a standby is, in time, without asking it and without writing heartbeats.
 *
 * The daemon remembers when it saw the primary at which LSN. A standby that has replayed up to some LSN is as
 * late as the first moment at which the primary was seen beyond it. A primary that writes nothing has no
 * standby that is late; a receiver that hangs is later every second. (pg_stat_replication.replay_lag does
 * neither: it is NULL when idle and stands still while a receiver hangs.) */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* At twenty a second: an hour back to within 10 %, and longer, ever more coarsely. */
#define LAG_SAMPLES 256

struct lag_sample {
    uint64_t lsn;
    uint64_t at_us; /* when the primary was first seen there */
};

struct lag {
    int n;
    struct lag_sample samples[LAG_SAMPLES]; /* both rise */
};

/* The primary stands at lsn now. An LSN below the last one is another timeline's: all is forgotten. */
void lag_note(struct lag *lag, uint64_t lsn, uint64_t now_us);

/* How late one is that stands at lsn, in microseconds, right to the time between two notes; 0 when it is
 * where the primary was last seen, or beyond. When the memory does not reach back that far, its own age: at
 * least that late. */
uint64_t lag_us(const struct lag *lag, uint64_t lsn, uint64_t now_us);

/* The bytes between the last two notes, when the last one is of now: what may come again until the next. */
uint64_t lag_growth(const struct lag *lag, uint64_t now_us);

/* "16/B374D848" as pg_lsn prints it -> 64 bits; false when it is no LSN. */
bool lsn_parse(const char *text, uint64_t *ret_lsn);
