/* The standbys of a server, as rounds of readings show them: how late each is, and which have gone. */
#pragma once

#include "pressure/lag.h"
#include "pressure/pressure.h"

#include <stdbool.h>
#include <stdint.h>

#define STANDBY_MAX      32 /* more can't be named, and where there are more the lag isn't known */
#define STANDBY_GRACE_US 10000000 /* one that nobody named is waited for this long, then forgotten */

/* How fast one replays is known from so many rounds: a second's, at twenty a second. */
#define STANDBY_ROUNDS   20

struct standby {
    char name[PRESSURE_WHAT];
    bool named;   /* in the settings: it must be there */
    bool here;    /* in this round */
    bool has_lsn; /* it said at some time how far it was */
    uint64_t lsn; /* where, when it was last seen */
    int n_rounds; /* the last ones, in which it had a position */
    struct lag_sample rounds[STANDBY_ROUNDS];
    uint64_t seen_us; /* when that was; of one that is named and was never seen: when it was named */
};

struct standbys {
    int n;
    bool too_many; /* one of this round had no place */
    struct standby at[STANDBY_MAX];
};

/* A standby that must be there. */
void standby_name(struct standbys *standbys, const char *name, uint64_t now_us);
bool standby_is_named(const struct standbys *standbys, const char *name);

/* A round: begin, see each that is there (has_lsn false: it says no position), then press. */
void standby_begin(struct standbys *standbys);
void standby_see(struct standbys *standbys, const char *name, bool has_lsn, uint64_t lsn, uint64_t now_us);

/* Notes in pressure how late the standbys are, in ms and in MB behind primary_lsn, and those named that are
 * gone unless missing_is_fine. MB are those behind and as many more as were written since the last round, so that the limit isn't
 * passed until the next. One that has gone counts as standing where it was last seen. */
void standby_press(const struct standbys *standbys, const struct lag *lag, uint64_t primary_lsn,
    bool missing_is_fine, uint64_t now_us, struct pressure *pressure);

/* Forgets one that nobody named and that is gone for longer than the grace time; true, and its name, when
 * there was one. */
bool standby_forget(struct standbys *standbys, uint64_t now_us, char ret_name[PRESSURE_WHAT]);
