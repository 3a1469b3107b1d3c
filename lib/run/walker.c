#include "run/walker.h"
#include "mem.h"
#include "text/text.h"
#include "walk/cursor.h"

#include <inttypes.h>
#include <stdio.h>

#define LOSSES_MOST   20      /* a minute and more, with the waits between */
#define PORTION_MOST  1000    /* rows that were locked are looked up by their keys, one by one */
#define ROUND_MOST_US 5000000 /* the next round over rows that are locked comes no later for it that this one took long */
#define SHARED_REST_US 50000  /* other walkers are at the last ranges: so often it is looked whether they are done */
#define GROUP_LEAST   16      /* keys put aside at once for a lock that isn't on rows */
#define DIVES_MOST    64      /* portions of a round that are halved at once for such a lock */
#define ASIDE_MOST    10000   /* rows, and nothing done between: then everybody meets that lock */
#define DENSE_LEAST   32      /* of fewer integers, that all are keys says little; of more, one in sixteen may be missing: rows are counted for keys then */
#define BOUND_TOO_FAR 2.0     /* a bound found for this many times today's size is thrown away */

void walker_init(struct walker *w, const struct pace_limits *limits)
{
    *w = (struct walker){.lock.group = GROUP_LEAST};
    pace_init(&w->pace, limits);
}

static void forget_row(struct walker_row *row)
{
    free(row->sqlstate);
    free(row->message);
    free(row->detail);
    free(row->hint);
    *row = (struct walker_row){0};
}

void walker_done(struct walker *w)
{
    free(w->cursor);
    free(w->upper);
    free(w->hi);
    forget_row(&w->row);
}

void walker_forget(struct walker *w)
{
    w->range = 0;
    w->isolate = 0;
    w->lock = (struct walker_lock){.group = GROUP_LEAST};
}

bool walker_is_searching(const struct walker *w)
{
    return w->isolate || w->blame.looks > 0 || w->blame.slow > 0;
}

/* Batches are small for another reason than the time that they take. */
static bool is_narrow(const struct walker *w)
{
    return w->isolate > 0 || w->lock.keys > 0;
}

/* ---- Sizes --------------------------------------------------------------------------------------------------------------- */

static uint32_t next_keys(const struct walker *w, const struct work *k)
{
    uint32_t most = w->isolate ? pace_rate_keys(k->pace.limits.max_keys_per_s) : pace_keys(&w->pace, &k->pace);
    if (w->lock.keys && w->lock.keys < most)
        most = w->lock.keys;
    return w->isolate && w->isolate < most ? w->isolate : most;
}

/* Of rows that were locked. What one takes, a batch's rows have told; what a portion takes beside them is no reason to make it smaller. */
static uint32_t next_portion(const struct walker *w, const struct work *k)
{
    uint32_t keys = w->range ? batch_size_keys(&w->pace.size) : next_keys(w, k);
    uint32_t most = w->round.portion ? w->round.portion : PORTION_MOST;
    return keys < most ? keys : most;
}

void walker_enter(struct walker *w, const struct work *k, struct runner_action *action)
{
    switch (action->kind) {
    case RUNNER_TAKE: action->keys = next_portion(w, k); break;
    case RUNNER_BOUND:
        action->keys = w->asked = next_keys(w, k);
        w->reckons = false;
        break;
    case RUNNER_BATCH:
        action->keys = w->reckoned ? 0 : w->keys;
        action->skipping = w->skipping;
        action->aside = w->lock.aside;
        action->yield_us = pace_yield(&w->pace, &k->pace);
        /* While a row or a lock is searched for, the next size depends on how this batch ends, so there is nothing to
         * ask yet; in pieces, the bound is a piece of its own. */
        action->next_keys = w->asked = w->keys == 0 || w->apart || is_narrow(w) || pace_in_pieces(&w->pace, &k->pace) ? 0 : next_keys(w, k);
        action->reckons = w->reckons = w->asked > 0 && w->dense;
        break;
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_CONNECT:
    case RUNNER_LAYOUT:
    case RUNNER_SURVEY:
    case RUNNER_ADD_RANGE:
    case RUNNER_BEGIN:
    case RUNNER_NEXT_STEP:
    case RUNNER_STEP:
    case RUNNER_RETRY:
    case RUNNER_COMPARE:
    case RUNNER_PUT_ASIDE:
    case RUNNER_HAND_OVER:
    case RUNNER_REST:
    case RUNNER_GIVE_WAY:
    case RUNNER_FINISH:
    case RUNNER_RELEASE:
    case RUNNER_END: break;
    }
}

struct next walker_pace(struct walker *w, struct work *k, enum runner_action_kind action, uint64_t now_us)
{
    enum pace_piece piece = action == RUNNER_BATCH ? PACE_BATCH : action == RUNNER_RETRY ? PACE_ROWS : PACE_BOUND;
    struct pace_next next = pace_next(&w->pace, &k->pace, piece, now_us);

    if (next.rest_us > 0)
        return (struct next){.kind = NEXT_PACE, .action = action, .rest_us = next.rest_us, .why = next.why};
    /* Sizes change while it rests, and the bound was asked for before. Of rows so slow that one or two fill a batch, one more is no reason. */
    bool too_far = action == RUNNER_BATCH && !w->point && !is_narrow(w) && w->asked > BOUND_TOO_FAR * next_keys(w, k) + 1;
    return next_act(too_far ? RUNNER_BOUND : action);
}

struct next walker_skip_locked(struct walker *w, struct work *k, uint64_t now_us)
{
    w->skipping = true;
    return walker_pace(w, k, RUNNER_BATCH, now_us);
}

void walker_begin_anew(struct walker *w)
{
    w->skipping = w->lock.aside = false;
}

struct next walker_meets_lock(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    struct walker_lock *l = &w->lock;
    uint32_t of = w->keys ? w->keys : next_keys(w, k);

    if (of > l->group) {
        l->keys = of / 2 > l->group ? of / 2 : l->group;
        w->skipping = true;
        return next_act(RUNNER_BOUND);
    }
    l->keys = of;
    if (l->rows >= ASIDE_MOST)
        return next_wait(RUNNER_TAKE, patience_note(&k->patience, PATIENCE_LOCK, e->sqlstate, e->message));
    l->aside = true;
    return walker_pace(w, k, RUNNER_BATCH, now_us);
}

/* A batch is done. */
static void pass_lock(struct walker *w, const struct work *k, const struct runner_event *e)
{
    struct walker_lock *l = &w->lock;

    if (l->aside) { /* is the next one free? Such rows may stand side by side, or here and there */
        bool one = w->keys == 1;
        l->rows += e->skipped;
        if (!one)
            l->group = l->group < ASIDE_MOST ? 2 * l->group : ASIDE_MOST;
        l->keys = one ? l->group : 1;
    } else {
        if (e->rows > 0) {
            l->rows = 0;
            l->group = GROUP_LEAST;
        }
        l->keys *= 2;
    }
    l->aside = false;
    if (l->keys >= pace_keys(&w->pace, &k->pace))
        l->keys = 0;
}

/* ---- A range ------------------------------------------------------------------------------------------------------------- */

/* A bound was found, or none because fewer keys are left: then the batch goes to the end of the range. */
static struct next start_batch(struct walker *w, struct work *k, const char *bound, uint64_t now_us)
{
    replace_string(&w->hi, bound ? bound : w->upper);
    w->keys = w->point ? 1 : bound ? w->asked : 0;
    w->reckoned = bound && (w->reckons || cursor_ends_page(bound));
    return walker_pace(w, k, RUNNER_BATCH, now_us);
}

struct next walker_bound_found(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    pace_note(&w->pace, &k->pace, &(struct pace_came){.piece = PACE_BOUND, .elapsed_us = now_us - w->began_us}, now_us);
    return start_batch(w, k, e->bound, now_us);
}

static struct next take_range(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    w->round.last = 0;
    if (w->range != e->range)
        walker_forget(w);
    if (e->total_keys != k->lost_at_keys) /* the answer alone was lost */
        k->losses = 0;
    w->range = e->range;
    w->epoch = e->epoch;
    w->point = e->point;
    w->integers = e->integers;
    w->dense = false;
    w->pace.yields = e->yields && !e->point;
    replace_string(&w->cursor, e->cursor);
    replace_string(&w->upper, e->upper);
    progress_update(&k->progress, now_us);
    progress_set(&k->progress, e->total_keys, now_us);
    return w->point ? start_batch(w, k, NULL, now_us) : next_act(RUNNER_BOUND);
}

/* So many keys of a search for a row that fails are behind it. */
static void search_passed(struct walker *w, uint64_t keys)
{
    w->isolate_left -= keys < w->isolate_left ? keys : w->isolate_left;
    if (w->isolate_left == 0)
        w->isolate = 0;
}

/* The cursor has moved to hi. */
static void advance(struct walker *w, struct work *k, uint64_t keys, uint64_t now_us)
{
    free(w->cursor);
    w->cursor = w->hi;
    w->hi = NULL;
    k->counts.keys += keys;
    progress_add(&k->progress, keys);
    progress_update(&k->progress, now_us);
    backoff_reset(&k->patience.pause);
    work_moved(k);
    search_passed(w, keys);
}

struct next walker_batch_done(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    uint64_t keys = w->keys && !w->reckoned ? w->keys : e->rows + e->skipped;
    uint64_t span = w->integers ? cursor_distance(w->cursor, w->hi) : 0;
    struct pace_came came = {.piece = PACE_BATCH,
        .began_us = w->began_us,
        .elapsed_us = e->elapsed_us,
        .keys = keys,
        /* One key, or the few of a search, cost a whole statement each: what they took says nothing of a full batch. */
        .tells = is_narrow(w) || w->point ? 0 : w->keys ? (uint32_t)keys : 0,
        .rows = e->rows,
        .wal_bytes = e->wal_bytes};
    enum pressure_signal yielded_to = w->pace.yields_to;
    uint64_t slept_us = pace_note(&w->pace, &k->pace, &came, now_us);

    if (slept_us > 0)
        k->counts.throttled_us[yielded_to] += slept_us;
    k->counts.batches++;
    k->counts.rows += e->rows;
    k->counts.wal_bytes += e->wal_bytes;
    k->counts.skipping += e->skipped > 0;
    k->counts.skipped += e->skipped;
    histogram_add(&k->counts.batch_us, e->elapsed_us);
    /* Where rows are locked the next ones are likely to be, and to pass over them costs nobody a wait. */
    pass_lock(w, k, e);
    w->apart = false;
    w->dense = span >= DENSE_LEAST && e->rows + e->skipped >= span - span / 16;
    w->skipping = e->skipped > 0 || w->lock.keys > 0;
    if (blame_passed(&w->blame)) /* it was no row's fault: there is none to search for */
        w->isolate = 0;
    advance(w, k, keys, now_us);

    if (strcmp(w->cursor, w->upper) == 0)
        return next_act(RUNNER_TAKE);
    if (is_narrow(w) || w->asked == 0)
        return pace_in_pieces(&w->pace, &k->pace) ? walker_pace(w, k, RUNNER_BOUND, now_us) : next_act(RUNNER_BOUND);
    return start_batch(w, k, e->bound, now_us);
}

/* ---- Rows that were locked ----------------------------------------------------------------------------------------------- */

static struct next take_rows(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    if (w->range)
        walker_forget(w);
    if (w->round.last == 0) {
        w->round.began_us = now_us;
        w->round.left = e->locked;
    }
    w->round.above = w->round.last;
    w->round.last = e->left_behind;
    w->epoch = e->epoch;
    w->keys = e->n_rows;
    replace_string(&w->hi, e->upper);
    progress_set(&k->progress, e->total_keys, now_us);
    return walker_pace(w, k, RUNNER_RETRY, now_us);
}

/* Without a pause, for each try has waited for lock_timeout: its first half is next. Where many meet that lock, all of it waits for the next round, and each of them is
 * tried alone only when round after round finds nothing else to do. */
struct next walker_rows_meet_lock(struct walker *w)
{
    bool dives = w->round.met++ < DIVES_MOST && w->keys > 1;
    uint32_t least = dives || w->round.idle >= 4 ? 1 : GROUP_LEAST >> w->round.idle, half = w->keys / 2;

    if (dives)
        w->round.last = w->round.above;
    w->round.portion = half > least ? half : least;
    return next_act(RUNNER_TAKE);
}

/* Every row that is left was tried. The next round follows soon as long as rounds get something done; but no sooner than this one took, for
 * many rows that others hold for long are not worth a CPU. */
static struct next end_round(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    uint64_t took_us = w->round.moved ? 0 : now_us - w->round.began_us;

    w->round.idle = w->round.moved ? 0 : w->round.idle + 1;
    if (w->round.moved)
        backoff_reset(&k->patience.pause);
    if (took_us > ROUND_MOST_US)
        took_us = ROUND_MOST_US;
    w->round.moved = false;
    w->round.last = w->round.met = 0;
    w->isolate = 0;
    uint64_t wait_us = patience_note(&k->patience, PATIENCE_LOCK, e->sqlstate, e->message);
    return next_wait(RUNNER_TAKE, took_us > wait_us ? took_us : wait_us);
}

struct next walker_taken(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    walker_begin_anew(w);
    switch (e->outcome) {
    case RUNNER_TAKE_NOT_OURS: break;
    case RUNNER_TAKE_RANGE: return take_range(w, k, e, now_us);
    case RUNNER_TAKE_ROWS: return take_rows(w, k, e, now_us);
    case RUNNER_TAKE_LOCKED: return end_round(w, k, e, now_us);
    case RUNNER_TAKE_UNPLANNED:
        w->round.last = 0;
        walker_forget(w);
        return (struct next){.kind = NEXT_PLAN};
    case RUNNER_TAKE_SHARED:
        w->round.last = 0;
        walker_forget(w);
        progress_set(&k->progress, e->total_keys, now_us);
        work_moved(k);
        return next_rest(RUNNER_TAKE, SHARED_REST_US);
    case RUNNER_TAKE_NONE:
        w->round.last = 0;
        walker_forget(w);
        return (struct next){.kind = NEXT_WALKED, .found = e->found, .walk = e->walk};
    }
    return (struct next){.kind = NEXT_END};
}

/* Of rows that were left behind as locked some are done, the rest is locked still. */
struct next walker_rows_done(struct walker *w, struct work *k, const struct runner_event *e, uint64_t now_us)
{
    uint64_t done = w->keys - e->skipped;

    pace_note(&w->pace, &k->pace,
        &(struct pace_came){.piece = PACE_ROWS, .began_us = w->began_us, .elapsed_us = e->elapsed_us, .keys = done}, now_us);
    w->round.portion = w->round.portion < PORTION_MOST ? 2 * w->round.portion : 0;
    w->isolate *= 2; /* so many were passed; which of the rest it is, isn't known */
    search_passed(w, w->keys);
    if (done > 0) {
        k->counts.retried += done;
        k->counts.rows += e->rows;
        k->counts.wal_bytes += e->wal_bytes;
        w->round.left -= done < w->round.left ? done : w->round.left;
        w->round.moved = true;
        if (blame_passed(&w->blame))
            w->isolate = 0;
        work_moved(k);
    }
    return next_act(RUNNER_TAKE);
}

/* ---- A row that fails ---------------------------------------------------------------------------------------------------- */

void walker_row_put_aside(struct walker *w, struct work *k, uint64_t now_us)
{
    k->counts.put_aside++;
    w->isolate = 0;
    forget_row(&w->row);
    if (w->range)
        advance(w, k, 1, now_us);
    else {
        w->round.moved = true;
        w->round.left -= w->round.left > 0;
    }
}

struct next walker_after_put_aside(const struct walker *w)
{
    return next_act(!w->range || strcmp(w->cursor, w->upper) == 0 ? RUNNER_TAKE : RUNNER_BOUND);
}

/* What to do about it: what a comparison has found, what the server said, what is likely. */
static const char *row_hint(const struct walker *w, const struct runner_event *e, const char *likely)
{
    bool slow = retry_class(w->row.sqlstate) == RETRY_CANCELLED;
    return e->hint       ? e->hint
           : w->row.hint ? w->row.hint
           : slow ? "It takes longer than batch.statement_timeout_ms by itself: a slow function or trigger, or a foreign key "
                    "that has no index? Then SELECT backfill.retry(name)."
                  : likely;
}

static struct next finish_for_row(const struct walker *w, struct work *k, const struct runner_event *e)
{
    _cleanup_free_ char *message = retry_public_message(w->row.sqlstate, w->row.message);
    struct next next = next_finish(k, JOB_FAILED, message, row_hint(w, e, NULL));
    k->ending.names_row = true;
    return next;
}

/* Every row fails alike, and has for long: no row is named. */
static struct next finish_for_all(const struct walker *w, struct work *k, const struct runner_event *e)
{
    _cleanup_free_ char *message = retry_public_message(w->row.sqlstate, w->row.message), *error = NULL;

    if (retry_is_final(w->row.sqlstate))
        return next_finish_in_words(
            k, &(struct runner_event){.sqlstate = w->row.sqlstate, .message = w->row.message, .detail = w->row.detail, .hint = w->row.hint});
    if (asprintf(&error, "no row that was tried can be changed: %s", message) < 0)
        abort();
    return next_finish(k, JOB_FAILED, error,
        row_hint(w, e, "A trigger, a limit or the server refuses every row alike. When that has passed: SELECT backfill.retry(name)."));
}

/* It is the row's fault that failed alone. */
static struct next blame_row(const struct walker *w, struct work *k, const struct runner_event *e)
{
    if (w->keys == 1 && k->quarantine)
        return next_act(RUNNER_PUT_ASIDE);
    return w->keys == 1 ? finish_for_row(w, k, e) : finish_for_all(w, k, e);
}

/* The row that failed alone was tried beside others: what now? */
struct next walker_compared(struct walker *w, struct work *k, const struct runner_event *e, bool relieved, uint64_t now_us)
{
    _cleanup_free_ char *message = retry_public_message(w->row.sqlstate, w->row.message), *text = NULL;
    enum blame_verdict verdict = relieved ? BLAME_WAIT : blame_judge(&w->blame, w->row.sqlstate, &e->compared, now_us);

    k->counts.relieved += relieved;
    switch (verdict) {
    case BLAME_KEY: return blame_row(w, k, e);
    case BLAME_NOBODY: /* where all are slow, one of them is named */
        return w->keys == 1 && retry_class(w->row.sqlstate) == RETRY_CANCELLED ? finish_for_row(w, k, e) : finish_for_all(w, k, e);
    case BLAME_WAIT: break;
    }
    if (!w->range) /* the same row again */
        w->round.last = w->round.above;
    if (asprintf(&text, "%s%s", e->compared.alike > 0 ? "every row that was tried fails, so none is to blame: " : "", message) < 0)
        abort();
    return next_wait(RUNNER_TAKE, patience_note(&k->patience, PATIENCE_ERROR, w->row.sqlstate, text));
}

/* A batch fails: half its keys, or half of those that were searched last, until one is left. */
static void search(struct walker *w)
{
    if (!w->isolate)
        w->isolate_left = w->keys ? w->keys : UINT64_MAX; /* not known: it ends with the range */
    uint32_t of = w->isolate ? w->isolate : w->keys ? w->keys : batch_size_keys(&w->pace.size);
    if (w->keys && of > w->keys)
        of = w->keys;
    w->isolate = of > 1 ? of / 2 : 1;
}

static bool is_alone(const struct walker *w)
{
    return w->keys == 1 || (w->isolate == 1 && w->keys == 0);
}

/* A row that was done is still to do, and the server has said which: there is nothing to search for, and no other row to ask. */
static struct next finish_unproven(struct work *k, const struct runner_event *e)
{
    _cleanup_free_ char *error = NULL, *key = text_line(e->detail, TEXT_NAME);

    if (asprintf(&error, "row %s: %s", key ? key : "?", e->message) < 0)
        abort();
    return next_finish(k, JOB_FAILED, error, e->hint);
}

struct next walker_row_failed(struct walker *w, struct work *k, enum runner_action_kind doing, const struct runner_event *e)
{
    bool unproven = same_string(e->sqlstate, SQLSTATE_UNPROVEN);

    if (unproven && (!k->quarantine || (is_alone(w) && w->keys != 1)))
        return finish_unproven(k, e);
    if (!is_alone(w)) {
        search(w);
        if (doing == RUNNER_BATCH)
            return next_act(RUNNER_BOUND);
        w->round.last = w->round.above;
        return next_act(RUNNER_TAKE);
    }
    _cleanup_free_ char *hint = retry_public_message(e->sqlstate, e->hint);
    replace_string(&w->row.sqlstate, e->sqlstate);
    replace_string(&w->row.message, e->message);
    replace_string(&w->row.detail, e->detail);
    replace_string(&w->row.hint, hint);
    if (same_string(e->sqlstate, SQLSTATE_TOO_LARGE)) /* nobody can be asked: it cost the session */
        return blame_row(w, k, e);
    return next_act(unproven ? RUNNER_PUT_ASIDE : RUNNER_COMPARE);
}

bool walker_cut_short(struct walker *w, const struct work *k, enum runner_action_kind doing, bool by_time, uint64_t now_us)
{
    if (by_time && action_is_work(doing) && is_alone(w) && blame_is_slow(&w->blame))
        return true;
    if (doing == RUNNER_RETRY)
        w->round.portion = w->keys > 1 ? w->keys / 2 : 1;
    if (doing != RUNNER_BATCH)
        return false;
    w->apart = by_time;
    if (w->isolate)
        search(w);
    else if (by_time) {
        uint32_t least = k->pace.limits.min_keys;
        batch_size_cut_short(&w->pace.size, w->keys, now_us - w->began_us);
        if (!is_alone(w) && batch_size_keys(&w->pace.size) <= least && least > 1)
            search(w); /* below batch.min_rows, as for a row that fails */
    } else if (!w->lock.keys)
        batch_size_halve(&w->pace.size);
    return false;
}

/* Once it is the network, or a restart. Again and again in one batch, it is something that the batch sets off: a trigger that ends the session, a
 * function that crashes the server under everybody. */
bool walker_lost(struct work *k, enum runner_action_kind doing)
{
    if (!action_is_work(doing))
        return false;
    k->lost_at_keys = k->progress.keys;
    return ++k->losses >= LOSSES_MOST;
}

struct next walker_finish_lost(struct work *k, const struct runner_event *e)
{
    _cleanup_free_ char *error = NULL;

    if (asprintf(&error, "the session was lost %d times in a row in the same batch%s%s", LOSSES_MOST, e->message ? ": " : "", e->message ? e->message : "") < 0)
        abort();
    return next_finish(k, JOB_FAILED, error,
        "Something that the batch sets off ends its session, or crashes the server: the server's log says what. Then SELECT backfill.retry(name).");
}
