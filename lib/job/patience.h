/* How a job waits: for how long after an error, why, and when it has only waited for so long that it gives its place to others. */
#pragma once

#include "job/retry.h"

#include <stdbool.h>
#include <stdint.h>

enum patience_kind {
    PATIENCE_ERROR,   /* of the server */
    PATIENCE_AWAY,    /* nobody lets it connect: a server that is back, or a standby that was promoted, is noticed soon */
    PATIENCE_LOGIN,   /* it is refused: who counts failed logins is not to shut it out */
    PATIENCE_LOCK,    /* somebody's row lock, or a conflict: soon again, for it lasts a transaction of theirs */
    PATIENCE_NO_ROOM, /* a step that found no room: it may have read a whole table before */
};

struct patience {
    struct backoff pause; /* the next one after an error; tries: errors in a row */
    struct backoff way;   /* away from its place; tries: how often in a row the job has given that back */
    char *waiting_for;    /* why it does not move, for status and journal: NULL, or what the last error said */
    char *sqlstate;
    uint64_t until_us; /* a wait is taken in rests: others may come to queue meanwhile */
    uint64_t since_us; /* nothing was done since; 0: it doesn't wait */
    uint64_t refused_us; /* since when a login is refused that never was let in; 0: it isn't */
    uint64_t asked_us; /* when it last began to give its place back; 0: it didn't since */
};

void patience_init(struct patience *p, uint64_t seed);
void patience_done(struct patience *p);

/* The next wait after an error, in us, which is why the job waits. sqlstate and message may be NULL: the connection was lost. */
uint64_t patience_note(struct patience *p, enum patience_kind kind, const char *sqlstate, const char *message);

/* It waits for something that is no error. why: copied; NULL: for nothing. */
void patience_say(struct patience *p, const char *why, const char *sqlstate);

/* Something was done: the job doesn't wait. */
void patience_moved(struct patience *p);

/* A wait begins. */
void patience_begin(struct patience *p, uint64_t until_us, uint64_t now_us);

/* How long its next rest is, in us. */
uint64_t patience_rest_us(const struct patience *p, uint64_t now_us);

/* A login was refused that never was let in: whether it is waited for longer, as a token that somebody renews by a clock may need. */
bool patience_has_for_login(struct patience *p, uint64_t now_us);

/* A job that only waits needs no place: whether it has waited for long enough to give it back. */
bool patience_may_give_way(const struct patience *p, uint64_t now_us);

/* It tries to. Until when it would be away; counted when it is done (*ret_tries, in a row, this one included). */
uint64_t patience_give_way(struct patience *p, uint32_t *ret_tries, uint64_t now_us);
