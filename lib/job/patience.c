#include "job/patience.h"
#include "mem.h"
#include "text/text.h"

#define REST_MOST_US       5000000  /* so soon a job that waits hears that others queue */
#define WAY_AFTER_US       10000000 /* a job that has only waited for so long gives its place back */
#define WAY_AGAIN_AFTER_US 2000000  /* and so long when it has done so before, or nobody queued */
#define WAY_BASE_US        10000000 /* and takes its turn again after so long at first, */
#define WAY_CAP_US         600000000 /* and at last */
#define LOGIN_US           900000000 /* as long as a token that serves as a password is valid, as a rule */
#define LOGIN_WAYS         7 /* and so often its place is given back meanwhile, which nobody remembers for it, and takes as long */

static const struct {
    uint64_t base_us, cap_us; /* the first wait, and the longest */
} pauses[] = {
    [PATIENCE_ERROR] = {50000, 5000000},
    [PATIENCE_AWAY] = {50000, 1000000},
    [PATIENCE_LOGIN] = {50000, 10000000},
    [PATIENCE_LOCK] = {5000, 1000000},
    [PATIENCE_NO_ROOM] = {2000000, 300000000},
};

void patience_init(struct patience *p, uint64_t seed)
{
    *p = (struct patience){0};
    backoff_init(&p->pause, pauses[PATIENCE_ERROR].base_us, pauses[PATIENCE_ERROR].cap_us, seed);
    backoff_init(&p->way, WAY_BASE_US, WAY_CAP_US, seed);
}

void patience_done(struct patience *p)
{
    free(p->waiting_for);
    free(p->sqlstate);
}

uint64_t patience_note(struct patience *p, enum patience_kind kind, const char *sqlstate, const char *message)
{
    _cleanup_free_ char *public = retry_public_message(sqlstate, message);

    p->pause.base_us = pauses[kind].base_us;
    p->pause.cap_us = pauses[kind].cap_us;
    patience_say(p, public ? public : "the connection was lost", sqlstate ? sqlstate : SQLSTATE_LOST);
    return backoff_next(&p->pause);
}

void patience_say(struct patience *p, const char *why, const char *sqlstate)
{
    replace_string(&p->waiting_for, why);
    replace_string(&p->sqlstate, same_string(sqlstate, SQLSTATE_TABLE_LOCK) ? SQLSTATE_LOCK : sqlstate);
}

void patience_moved(struct patience *p)
{
    patience_say(p, NULL, NULL);
    p->since_us = p->asked_us = 0;
    backoff_reset(&p->way);
}

void patience_begin(struct patience *p, uint64_t until_us, uint64_t now_us)
{
    if (p->since_us == 0)
        p->since_us = now_us;
    p->until_us = until_us;
}

static uint64_t left_us(const struct patience *p, uint64_t now_us)
{
    return p->until_us > now_us ? p->until_us - now_us : 0;
}

uint64_t patience_rest_us(const struct patience *p, uint64_t now_us)
{
    uint64_t left = left_us(p, now_us);
    return left < REST_MOST_US ? left : REST_MOST_US;
}

bool patience_has_for_login(struct patience *p, uint64_t now_us)
{
    if (p->refused_us == 0)
        p->refused_us = now_us;
    return now_us - p->refused_us < LOGIN_US && p->way.tries < LOGIN_WAYS;
}

bool patience_may_give_way(const struct patience *p, uint64_t now_us)
{
    uint64_t after_us = p->way.tries > 0 ? WAY_AGAIN_AFTER_US : WAY_AFTER_US;

    return now_us - p->since_us >= after_us && (p->asked_us == 0 || now_us - p->asked_us >= WAY_AGAIN_AFTER_US);
}

uint64_t patience_give_way(struct patience *p, uint32_t *ret_tries, uint64_t now_us)
{
    struct backoff way = p->way;
    uint64_t pause_us = backoff_next(&way), left = left_us(p, now_us);

    p->asked_us = now_us;
    *ret_tries = way.tries;
    return now_us + (pause_us > left ? pause_us : left);
}
