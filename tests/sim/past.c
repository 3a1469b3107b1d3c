/* What the server has not written out yet, or not sent to its standby: a crash goes back to a moment after the last flush, a
 * failover to any. All commits up to that moment are there and none after it, as in a WAL that ends somewhere. */
#include "world.h"

#include <string.h>

static void forget(struct world *w, int first, int n)
{
    for (int i = first; i + n < w->n_pasts; i++) {
        model_copy(&w->pasts[i], &w->pasts[i + n]);
        w->past_is_flushed[i] = w->past_is_flushed[i + n];
    }
    w->n_pasts -= n;
}

static bool forgets(const struct world *w)
{
    return !w->calm && (w->event_shares[EVENT_CRASH] > 0 || w->event_shares[EVENT_FAILOVER] > 0);
}

/* The worst moments: a conclusion is being sent, a plan is written but for a part, a pass has gone by a row, or will. */
void past_threaten(struct world *w, const struct daemon *d)
{
    static const enum world_event ends[] = {EVENT_CRASH, EVENT_FAILOVER, EVENT_KILL, EVENT_CONTROL_LOST};
    enum runner_action_kind kind = d->statement.action.kind;
    bool verifies = d->runner.migration.phase == PHASE_VERIFY && (kind == RUNNER_BATCH || kind == RUNNER_BOUND || kind == RUNNER_TAKE);
    bool concludes = kind == RUNNER_FINISH || kind == RUNNER_BEGIN || kind == RUNNER_LAYOUT || kind == RUNNER_ADD_RANGE;
    enum world_event event = verifies ? (random_chance(&w->random, 400) ? EVENT_WRITE : EVENT_MOVE) : ends[random_below(&w->random, sizeof(ends) / sizeof(ends[0]))];

    if (w->calm || (!verifies && !concludes) || w->event_shares[event] == 0 || w->outage_until_us || !random_chance(&w->random, verifies ? 200 : d->runner.migration.phase != PHASE_VERIFY ? 60 : 500))
        return;
    w->due = event;
    w->due_to = (int)(d - w->daemons);
    w->event_us = w->now_us + random_below(&w->random, 1500);
}

void past_note(struct world *w)
{
    if (!forgets(w) || !random_chance(&w->random, 200))
        return;
    if (w->n_pasts == WORLD_PASTS)
        forget(w, (int)random_below(&w->random, WORLD_PASTS), 1);
    w->past_is_flushed[w->n_pasts] = false;
    model_copy(&w->pasts[w->n_pasts++], &w->model);
}

void past_flush(struct world *w)
{
    for (int i = 0; i < w->n_pasts; i++)
        w->past_is_flushed[i] = true;
}

void past_return(struct world *w, bool failover)
{
    int first = 0, at;

    while (!failover && first < w->n_pasts && w->past_is_flushed[first])
        first++;
    at = first + (int)random_below(&w->random, (uint32_t)(w->n_pasts - first + 1));
    world_trace(w, NULL, "%s, and %d of %d pasts are forgotten",
        failover ? "a standby takes over" : "the server crashes", w->n_pasts - at, w->n_pasts);
    for (int i = 0; i < WORLD_DAEMONS; i++)
        daemon_lose_server(w, &w->daemons[i]);
    if (at < w->n_pasts)
        model_go_back(&w->model, &w->pasts[at]);
    else
        memset(w->model.sessions, 0, sizeof(w->model.sessions));
    w->n_pasts = at;
    past_flush(w);
}
