#include "run/helper.h"
#include "mem.h"

#define TRIES_MOST 4 /* of a batch that meets locks: half a second in all. The holder has a longer patience, which status tells of */

static struct next leave_in_trouble(struct work *k)
{
    k->troubled = true;
    return (struct next){.kind = NEXT_LEAVE};
}

static struct next hand_over(const struct walker *w)
{
    return next_act(w->range ? RUNNER_HAND_OVER : RUNNER_TAKE);
}

/* Somebody holds a lock, or waited on us; two walkers of one job may meet in a foreign key's or a unique index's rows. */
static struct next wait_for_lock(struct walker *w, struct work *k, enum runner_action_kind doing, const struct runner_event *e, uint64_t now_us)
{
    uint64_t wait_us = patience_note(&k->patience, PATIENCE_LOCK, e->sqlstate, e->message);

    if (doing == RUNNER_BATCH)
        walker_cut_short(w, k, doing, false, now_us);
    if (doing != RUNNER_TAKE && k->patience.pause.tries >= TRIES_MOST)
        return same_string(e->sqlstate, SQLSTATE_TABLE_LOCK) ? (struct next){.kind = NEXT_LEAVE} : hand_over(w); /* of the table it is no range's trouble */
    return next_rest(RUNNER_TAKE, wait_us);
}

struct next helper_meets_lock(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    struct next next = walker_meets_lock(w, k, e, now_us);

    return next.kind == NEXT_WAIT ? hand_over(w) : next;
}

struct next helper_failed(
    struct walker *w, struct work *k, enum runner_action_kind doing, const struct runner_event *e, bool relieving, uint64_t now_us)
{
    bool in_range = doing == RUNNER_BATCH || doing == RUNNER_BOUND;
    bool again = !k->stale; /* a second time without a batch between it would be a busy loop */

    if (doing == RUNNER_CONNECT || doing == RUNNER_HAND_OVER)
        return leave_in_trouble(k);
    k->stale = true;
    if (same_string(e->sqlstate, SQLSTATE_CHANGED) && in_range) /* TAKE tells whether the job has been given back meanwhile */
        return again ? next_act(RUNNER_TAKE) : leave_in_trouble(k);
    switch (retry_class(e->sqlstate)) {
    case RETRY_CONTENTION: return wait_for_lock(w, k, doing, e, now_us);
    case RETRY_CANCELLED: return relieving ? wait_for_lock(w, k, doing, e, now_us) : in_range ? hand_over(w) : leave_in_trouble(k);
    case RETRY_STALE: return again ? next_act(RUNNER_TAKE) : leave_in_trouble(k);
    case RETRY_ROW:
    case RETRY_RAISED:
    case RETRY_UNKNOWN: return in_range ? hand_over(w) : leave_in_trouble(k);
    case RETRY_LATER:
    case RETRY_RECONNECT:
    case RETRY_ALTERED:
    case RETRY_PERMANENT: break;
    }
    return leave_in_trouble(k);
}
