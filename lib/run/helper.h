/* A helper: a session beside that of the job's holder, of the same daemon or of another, which walks ranges and nothing else. Part of
 * lib/run/runner.
 *
 *   CONNECT ─► TAKE ─► BOUND ─► BATCH ─► … ─► TAKE ─► … ─► none is free: RELEASE ─► END
 *
 * It passes over locked rows, rests for pressure, and gives a batch up for who waits on it, as the holder does. Whatever else a batch meets is the
 * holder's to judge: HAND_OVER ─► TAKE. Without its session, or the server's room for it, it leaves. It fails no job and ends no phase. */
#pragma once

#include "run/walker.h"
#include "run/work.h"

#include <stdbool.h>

/* Its batch meets a lock that isn't on rows: as the holder, but for waiting. */
struct next helper_meets_lock(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us);

/* What it does about another error. relieving: the batch was cut short for somebody who waited. */
struct next helper_failed(
    struct walker *w, struct work *k, enum runner_action_kind doing, const struct runner_event *e, bool relieving, uint64_t now_us);
