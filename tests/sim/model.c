#include "model.h"
#include "job/retry.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

void model_break(struct model *m, const char *promise)
{
    if (!m->broken)
        m->broken = promise;
}

void model_init(struct model *m, struct random *random)
{
    /* The big arrays are left as they are: what lies beyond their n_ is never read. */
    m->n_relations = (int)random_between(random, random_chance(random, 50) ? 0 : 1, MODEL_RELATIONS);
    for (int i = 0; i < m->n_relations; i++) {
        struct model_relation *r = &m->relations[i];
        uint32_t bad_permille = random_chance(random, 500) ? 0 : random_chance(random, 900) ? 30 : 500;
        uint32_t run_permille = random_chance(random, 800) ? 0 : 50; /* bad rows that stand side by side, or all of them */
        uint32_t run = random_chance(random, 20) ? MODEL_ROWS : 0;
        uint32_t gap = random_chance(random, 300) ? 1 : 5; /* bounds are reckoned where there is next to none */
        int key = 0;
        r->too_large = random_chance(random, 250);
        r->n_rows = random_chance(random, 150) ? 0 : (int)random_between(random, 1, MODEL_ROWS / 2);
        for (int k = 0; k < r->n_rows; k++) {
            key += (int)random_between(random, 1, gap);
            if (run > 0)
                run--;
            else if (random_chance(random, run_permille))
                run = random_between(random, 1, 60);
            r->rows[k] = (struct model_row){.key = key, .bad = run > 0 || random_chance(random, bad_permille)};
        }
    }
    m->n_ranges = m->n_left_behind = 0;
    m->planning = false;
    m->behind = -1;
    m->workers = (int)random_between(random, 1, MODEL_SLOTS + 2);
    memset(m->slots, 0, sizeof(m->slots));
    m->last_left_behind = 0;
    m->now_us = m->refuses_until_us = m->opens_us = 0;
    m->gave_way = 0;
    m->state = JOB_QUEUED;
    m->phase = PHASE_PREFLIGHT;
    m->wanted = WANTED_RUN;
    m->holder = 0;
    m->quarantine = random_chance(random, 700);
    m->estimate = 0;
    m->error[0] = '\0';
    m->layouts = 0;
    memset(m->sessions, 0, sizeof(m->sessions));
    m->compared_bad = false;
    m->last_session = 0;
    m->was_cancelled = false;
    m->broken = NULL;
    model_init_migration(m, random);
}

/* ---- What the server has forgotten. ------------------------------------------------------------------ */

void model_copy(struct model *to, const struct model *from)
{
    size_t after_arrays = offsetof(struct model, last_left_behind);

    for (int i = 0; i < from->n_relations; i++) {
        to->relations[i].n_rows = from->relations[i].n_rows;
        to->relations[i].too_large = from->relations[i].too_large;
        memcpy(to->relations[i].rows, from->relations[i].rows,
            (size_t)from->relations[i].n_rows * sizeof(from->relations[i].rows[0]));
    }
    memcpy(to->ranges, from->ranges, (size_t)from->n_ranges * sizeof(from->ranges[0]));
    for (int i = from->n_ranges; i < to->n_ranges; i++) /* a batch of one of these may be on its way */
        to->ranges[i] = (struct model_range){.forgotten = true, .relation = to->ranges[i].relation};
    memcpy(to->left_behind, from->left_behind, (size_t)from->n_left_behind * sizeof(from->left_behind[0]));
    to->n_relations = from->n_relations;
    to->n_ranges = from->n_ranges;
    to->n_left_behind = from->n_left_behind;
    memcpy((char *)to + after_arrays, (const char *)from + after_arrays, sizeof(*to) - after_arrays);
}

void model_go_back(struct model *m, const struct model *then)
{
    uint64_t now_us = m->now_us;
    int last_session = m->last_session, last_walk = m->last_walk, quiet_walks = m->quiet_walks;
    bool was_cancelled = m->was_cancelled, walk_counted = m->walk_counted;
    const char *broken = m->broken;
    int64_t drawn = m->drawn;

    model_copy(m, then);
    m->drawn = drawn;
    m->now_us = now_us;
    m->last_session = last_session;
    m->last_walk = last_walk;
    m->was_cancelled = was_cancelled;
    m->broken = broken;
    m->quiet_walks = quiet_walks;
    m->walk_counted = walk_counted;
    memset(m->sessions, 0, sizeof(m->sessions));
}

/* ---- Sessions and holders. -------------------------------------------------------------------------- */

int model_open(struct model *m)
{
    for (int i = 0; i < MODEL_SESSIONS; i++)
        if (m->sessions[i] == 0)
            return m->sessions[i] = ++m->last_session;
    model_break(m, "the simulator opened too many sessions");
    return 0;
}

static bool is_open(const struct model *m, int session)
{
    for (int i = 0; session != 0 && i < MODEL_SESSIONS; i++)
        if (m->sessions[i] == session)
            return true;
    return false;
}

void model_close(struct model *m, int session)
{
    for (int i = 0; session != 0 && i < MODEL_SESSIONS; i++)
        if (m->sessions[i] == session)
            m->sessions[i] = 0;
}

bool model_is_held(const struct model *m, int session)
{
    return session != 0 && m->holder == session;
}

bool model_claim(struct model *m, int session)
{
    bool abandoned = m->state == JOB_RUNNING && !is_open(m, m->holder);
    if (!abandoned && m->now_us < m->opens_us)
        return false;
    if (model_is_untidy(m) && !is_open(m, m->holder)) {
        m->holder = session;
        return true;
    }
    if (!abandoned && m->state != JOB_QUEUED)
        return false;
    m->opens_us = 0;
    m->planning = false;
    m->state = JOB_RUNNING;
    m->holder = session;
    m->error[0] = '\0';
    return true;
}

void model_hold_again(struct model *m, int old_session, int session)
{
    if (old_session != 0 && m->holder == old_session)
        m->holder = session;
}

/* ---- Helpers. ---------------------------------------------------------------------------------------- */

static bool is_walking(enum job_phase phase)
{
    return phase == PHASE_BACKFILL || phase == PHASE_GUARD || phase == PHASE_VERIFY;
}

static bool is_done(const struct model_range *g)
{
    return g->forgotten || g->cursor == g->upper;
}

/* backfill.is_walked: by another than the slot. */
static bool is_walked(const struct model *m, const struct model_range *g, int slot)
{
    if (g->walker < 0 || g->walker == slot || (slot == 0 && m->now_us > g->walker_us + MODEL_QUIET_US))
        return false;
    return is_open(m, g->walker == 0 ? m->holder : m->slots[g->walker].session);
}

static bool is_planned(const struct model *m, int relation)
{
    return m->behind < 0 || relation < m->behind;
}

static bool is_free(const struct model *m, const struct model_range *g, int slot)
{
    return !is_done(g) && is_planned(m, g->relation) && !is_walked(m, g, slot) && (slot == 0 || !g->for_holder);
}

int model_help(struct model *m, int session, int token)
{
    int walkers = 1, slot = 0;
    bool wanted = false;

    if (m->state != JOB_RUNNING || !is_walking(m->phase) || m->wanted != WANTED_RUN || m->planning || m->holder == session)
        return 0;
    for (int i = MODEL_SLOTS; i > 0; i--)
        if (is_open(m, m->slots[i].session))
            walkers++;
        else
            slot = i;
    for (int i = 0; i < m->n_ranges; i++)
        wanted |= is_free(m, &m->ranges[i], slot) && !(m->ranges[i].walker == slot);
    if (!wanted || walkers >= m->workers || slot == 0)
        return 0;
    for (int i = 0; i < m->n_ranges; i++) /* whoever had the slot before is gone */
        if (m->ranges[i].walker == slot)
            m->ranges[i].walker = -1;
    m->slots[slot].session = session;
    m->slots[slot].token = token;
    return slot;
}

bool model_helps(const struct model *m, int slot, int session)
{
    return slot > 0 && session != 0 && m->slots[slot].session == session;
}

void model_help_again(struct model *m, int slot, int token, int session)
{
    if (slot > 0 && m->slots[slot].token == token)
        m->slots[slot].session = session;
}

static void free_slot(struct model *m, int slot, bool for_holder)
{
    m->slots[slot].session = m->slots[slot].token = 0;
    for (int i = 0; i < m->n_ranges; i++)
        if (m->ranges[i].walker == slot) {
            m->ranges[i].walker = -1;
            m->ranges[i].for_holder |= for_holder;
        }
}

void model_leave(struct model *m, int slot, int session, bool troubled)
{
    if (model_helps(m, slot, session))
        free_slot(m, slot, troubled);
}

void model_hand_over(struct model *m, const struct model_batch *b)
{
    struct model_range *g = &m->ranges[b->range - 1];

    if (g->epoch == b->epoch) {
        g->for_holder = true;
        g->walker = -1;
    }
}

/* backfill.drop_walkers: whoever walks can checkpoint no more. */
static void drop_walkers(struct model *m)
{
    for (int i = 1; i <= MODEL_SLOTS; i++)
        m->slots[i].session = m->slots[i].token = 0;
    for (int i = 0; i < m->n_ranges; i++)
        if (!is_done(&m->ranges[i])) {
            m->ranges[i].epoch = ++m->drawn;
            m->ranges[i].walker = -1;
        }
}

/* Where a job goes that nobody runs any more, as its user wants it by now; the daemon may not have heard of it. */
static void give_back(struct model *m)
{
    m->state = m->wanted == WANTED_PAUSE    ? JOB_PAUSED
               : m->wanted == WANTED_CANCEL ? JOB_CANCELLED
                                            : JOB_QUEUED;
    m->holder = 0;
    drop_walkers(m);
}

bool model_has_moved_back(struct model *m, int session, enum job_phase phase)
{
    if (m->state != JOB_RUNNING || m->phase == phase || !model_is_held(m, session))
        return false;
    give_back(m);
    return true;
}

/* backfill.is_open. */
static bool is_open_job(const struct model *m)
{
    if (m->behind >= 0)
        return true;
    for (int i = 0; i < m->n_left_behind; i++)
        if (m->left_behind[i].locked)
            return true;
    for (int i = 0; i < m->n_ranges; i++)
        if (!is_done(&m->ranges[i]))
            return true;
    return false;
}

/* ---- Planning. -------------------------------------------------------------------------------------- */

/* A daemon that lost the job while its control session was away sends once more what it had asked for. If
 * that were done, the plan of the daemon that holds the job by now would lose its ranges, and rows would be
 * missed. */
enum runner_look model_layout(struct model *m, int session, enum job_phase phase, int planned, bool continues)
{
    bool walks = is_walking(phase);

    if (!model_is_held(m, session) || model_has_moved_back(m, session, phase))
        return RUNNER_LOOK_NOT_OURS;
    if (continues)
        return RUNNER_LOOK_FINE;
    if (walks && planned != session && is_open_job(m))
        return RUNNER_LOOK_NOT_OVER;
    for (int i = 0; i < m->n_ranges && m->phase == PHASE_PREFLIGHT; i++)
        m->ranges[i].forgotten = true;
    m->layouts++;
    m->planning = true;
    m->behind = -1;
    return RUNNER_LOOK_FINE;
}

int model_survey(const struct model *m, int relation, uint64_t *ret_estimate)
{
    const struct model_relation *r = &m->relations[relation];
    int last = 0;

    *ret_estimate = 0;
    for (int i = 0; i < r->n_rows; i++)
        if (!r->rows[i].deleted) {
            last = r->rows[i].key;
            ++*ret_estimate;
        }
    return last;
}

struct model_range *model_new_range(struct model *m, int relation, int upper)
{
    if (m->n_ranges == MODEL_RANGES) {
        model_break(m, "the simulator ran out of ranges");
        return NULL;
    }
    struct model_range *g = &m->ranges[m->n_ranges++];
    *g = (struct model_range){.relation = relation, .upper = upper, .walker = -1};
    return g;
}

/* What a walk can't do it notes anew. */
static void forget_errors(struct model *m, int relation)
{
    int kept = 0;
    for (int i = 0; i < m->n_left_behind; i++)
        if (m->left_behind[i].locked || m->left_behind[i].relation != relation)
            m->left_behind[kept++] = m->left_behind[i];
    m->n_left_behind = kept;
}

/* backfill.rows_aside. */
uint64_t model_rows_aside(const struct model *m, int relation)
{
    uint64_t n = 0;
    for (int i = 0; i < m->n_left_behind; i++)
        n += !m->left_behind[i].locked && (relation < 0 || m->left_behind[i].relation == relation);
    return n;
}

/* Keys of some rows, in their order, or none: backfill.cuts_of. */
void model_cuts_of(const struct model *m, int relation, struct random *random, struct model_cuts *ret_cuts)
{
    const struct model_relation *r = &m->relations[relation];
    uint32_t permille = random_chance(random, 300) ? 0 : random_between(random, 10, 200);

    ret_cuts->n = 0;
    for (int i = 0; i < r->n_rows && ret_cuts->n < MODEL_CUTS; i++)
        if (!r->rows[i].deleted && random_chance(random, permille))
            ret_cuts->at[ret_cuts->n++] = r->rows[i].key;
}

static bool is_of_walk(const struct model_range *g, int relation)
{
    return !g->forgotten && !g->point && g->relation == relation;
}

void model_add_ranges(struct model *m, int session, int relation, int upper, const struct model_cuts *cuts, int planned)
{
    struct model_range *last = NULL;
    int n = 0, n_ranges = m->n_ranges;

    if (!model_is_held(m, session) || planned != session)
        return;
    for (int i = 0; i < n_ranges && m->phase == PHASE_BACKFILL && !m->planning; i++)
        if (is_of_walk(&m->ranges[i], relation) && m->ranges[i].cursor != m->ranges[i].starts)
            return;
    forget_errors(m, relation);
    for (int i = 0; i < n_ranges; i++)
        if (is_of_walk(&m->ranges[i], relation)) {
            last = &m->ranges[i];
            last->changed = 0;
            n++;
        }
    if (upper == 0)
        return;
    if (n > 1 || (n == 1 && cuts->n == 0)) {
        for (int i = 0; i < n_ranges; i++) {
            struct model_range *g = &m->ranges[i];
            if (!is_of_walk(g, relation))
                continue;
            g->cursor = g->starts;
            g->keys = 0;
            g->walker = -1;
            g->for_holder = false;
            g->walk_epoch = g->epoch = ++m->drawn;
        }
        last->upper = upper;
        return;
    }
    for (int i = 0; i < n_ranges; i++)
        m->ranges[i].forgotten |= is_of_walk(&m->ranges[i], relation);
    for (int i = 0; i <= cuts->n; i++) {
        struct model_range *g = model_new_range(m, relation, i < cuts->n ? cuts->at[i] : upper);
        if (g)
            g->starts = g->cursor = i > 0 ? cuts->at[i - 1] : 0;
    }
}

static int ranges_with(const struct model *m, int relation, int key)
{
    int n = 0;

    for (int i = 0; i < m->n_ranges; i++)
        n += is_of_walk(&m->ranges[i], relation) && key > m->ranges[i].starts && key <= m->ranges[i].upper;
    return n;
}

/* From here on each row of a range is owed, of the relations that are planned by now. A row that was there before the layout, in a relation that was not
 * empty, must be in reach of one. */
static void note_debts(struct model *m, int from, int behind)
{
    for (int i = from; i < (behind < 0 ? m->n_relations : behind); i++)
        for (int k = 0; k < m->relations[i].n_rows; k++) {
            struct model_row *row = &m->relations[i].rows[k];
            int n = ranges_with(m, i, row->key);
            row->owed = !row->deleted && n > 0;
            if (!row->deleted && !row->owed && row->born < m->layouts)
                model_break(m, "a row that was there before the layout is in no range");
            if (n > 1)
                model_break(m, "a row is in two ranges");
        }
}

enum runner_look model_begin_phase(
    struct model *m, int session, enum job_phase from, enum job_phase phase, uint64_t estimate, int planned, int behind, bool proven)
{
    if (!model_is_held(m, session) || (m->phase != phase && model_has_moved_back(m, session, from)))
        return RUNNER_LOOK_NOT_OURS;
    if ((m->phase != phase || from == phase) && (planned ? planned != session : is_open_job(m)))
        return RUNNER_LOOK_NOT_OVER;
    if (m->phase != phase && model_has_step(m, from))
        return RUNNER_LOOK_NOT_OVER;
    if (m->phase == PHASE_PREFLIGHT && !m->migrates)
        note_debts(m, 0, behind);
    for (int i = 0; i < m->n_relations && proven; i++)
        forget_errors(m, i);
    for (int i = 0; i < m->n_ranges && proven; i++)
        m->ranges[i].changed = 0;
    m->phase = phase;
    m->planning = false;
    m->behind = behind;
    m->walk = ++m->last_walk;
    m->estimate = estimate ? estimate : m->estimate;
    model_begin_steps(m, phase);
    return RUNNER_LOOK_FINE;
}

enum runner_look model_plan_on(struct model *m, int session, enum job_phase phase, int planned, int behind)
{
    if (!model_is_held(m, session) || model_has_moved_back(m, session, phase))
        return RUNNER_LOOK_NOT_OURS;
    if (planned != session || m->behind < 0)
        return RUNNER_LOOK_NOT_OVER;
    if (m->phase == PHASE_BACKFILL && !m->migrates)
        note_debts(m, m->behind, behind);
    m->behind = behind;
    return RUNNER_LOOK_FINE;
}

/* ---- Filling. --------------------------------------------------------------------------------------- */

bool model_is_locked(const struct model *m, const struct model_row *row)
{
    return row->locked_until_us > m->now_us;
}

bool model_meets_lock(const struct model *m, const struct model_row *row)
{
    return row->met_until_us > m->now_us;
}

static void leave_behind(struct model *m, int64_t range, int key, bool locked)
{
    if (m->n_left_behind == MODEL_RELATIONS * MODEL_ROWS) {
        model_break(m, "more rows were left behind than there are");
        return;
    }
    m->left_behind[m->n_left_behind++] = (struct model_left_behind){.id = ++m->last_left_behind,
        .range = range,
        .relation = m->ranges[range - 1].relation,
        .key = key,
        .locked = locked};
}

static struct model_left_behind *find_locked(struct model *m, int64_t id)
{
    for (int i = 0; i < m->n_left_behind; i++)
        if (m->left_behind[i].id == id && m->left_behind[i].locked)
            return &m->left_behind[i];
    return NULL;
}

/* The first ones above that number, all of one range. */
static void take_left_behind(const struct model *m, int64_t above, uint32_t at_most, struct model_taken *t)
{
    int64_t range = 0;

    for (int i = 0; i < m->n_left_behind; i++) {
        const struct model_left_behind *left = &m->left_behind[i];
        if (!left->locked)
            continue;
        t->locked++;
        if (t->outcome == MODEL_TAKEN_NONE)
            t->outcome = MODEL_TAKEN_LOCKED;
        if (left->id <= above || range < 0)
            continue;
        if (range == 0) {
            t->outcome = MODEL_TAKEN_ROWS;
            t->upper = left->key;
            range = left->range;
        } else if (range != left->range || t->n_rows == at_most) {
            range = -1;
            continue;
        }
        t->n_rows++;
        t->left_behind = left->id;
    }
}

struct model_taken model_take_range(struct model *m, int session, int slot, enum job_phase phase, int64_t above, uint32_t at_most)
{
    struct model_taken t = {.outcome = MODEL_TAKEN_NOT_OURS};
    bool shared = false;
    int n_free = 0, walkers = 1;

    if (slot > 0 && (!model_helps(m, slot, session) || m->state != JOB_RUNNING))
        return t;
    if (slot == 0 && (!model_is_held(m, session) || model_has_moved_back(m, session, phase)))
        return t;
    t.outcome = MODEL_TAKEN_NONE;
    if (slot > 0 && (m->phase != phase || m->planning))
        return t;
    t.walk = m->walk;
    for (int i = 1; i <= MODEL_SLOTS; i++)
        walkers += is_open(m, m->slots[i].session);
    for (int i = 0; i < m->n_ranges; i++)
        n_free += is_free(m, &m->ranges[i], slot);
    if (slot == 0 && m->behind >= 0 && n_free < 2 * walkers - 1) {
        t.outcome = MODEL_TAKEN_UNPLANNED;
        t.behind = m->behind;
        return t;
    }
    for (int i = m->n_ranges - 1; i >= 0; i--) {
        struct model_range *g = &m->ranges[i];
        t.keys += g->keys;
        t.changed += g->forgotten || g->point ? 0 : g->changed;
        shared |= !is_done(g);
        if (!is_free(m, g, slot))
            continue;
        t.outcome = MODEL_TAKEN_RANGE;
        t.range = i + 1;
        t.epoch = 0;
        t.cursor = g->cursor;
        t.upper = g->upper;
        t.point = g->point;
    }
    if (t.outcome == MODEL_TAKEN_RANGE) {
        m->ranges[t.range - 1].epoch = t.epoch = ++m->drawn;
        m->ranges[t.range - 1].walker = slot;
        m->ranges[t.range - 1].walker_us = m->now_us;
    } else if (slot > 0)
        return t;
    else if (shared)
        t.outcome = MODEL_TAKEN_SHARED;
    else
        take_left_behind(m, above, at_most, &t);
    if (t.outcome == MODEL_TAKEN_NONE)
        model_end_walk(m, t.changed);
    return t;
}

static bool in_batch(const struct model_row *row, const struct model_range *g, int lo, int hi)
{
    return !row->deleted && (g->point ? row->key == hi : row->key > lo && row->key <= hi);
}

int model_bound(const struct model *m, int64_t range, int lo, uint32_t keys)
{
    const struct model_range *g = &m->ranges[range - 1];
    const struct model_relation *r = &m->relations[g->relation];

    for (int i = 0; i < r->n_rows; i++)
        if (in_batch(&r->rows[i], g, lo, g->upper) && --keys == 0)
            return r->rows[i].key;
    return 0;
}

/* backfill.checkpoint, and the same check in put_aside. */
static bool move_cursor(struct model *m, const struct model_batch *b, uint64_t keys)
{
    struct model_range *g = &m->ranges[b->range - 1];
    if (g->forgotten || g->epoch != b->epoch || g->cursor != b->lo)
        return false;
    if (b->hi <= g->cursor && b->hi != g->upper) /* the last one of a relation may end before it starts: rows were deleted */
        model_break(m, "a cursor did not move forward");
    if (b->hi > g->upper)
        model_break(m, "a cursor moved past its range");
    g->cursor = b->hi;
    g->keys += keys;
    g->walker_us = m->now_us;
    return true;
}

static bool is_to_do(const struct model *m, const struct model_row *row, const struct model_range *g,
    const struct model_batch *b)
{
    return in_batch(row, g, b->lo, b->hi) && (!m->migrates || row->to_do);
}

static void do_row(struct model *m, struct model_range *g, struct model_row *row)
{
    if (m->plan.dry_run)
        model_break(m, "a dry run changed a row");
    if (!m->migrates && row->counter > 0 && !row->was_moved) /* else it was met twice, perhaps, as the report says */
        model_break(m, "a row was done twice");
    row->counter++;
    row->to_do = false;
    g->changed++;
}

static bool is_refusing(const struct model *m)
{
    return m->now_us < m->refuses_until_us;
}

const char *model_run_batch(
    struct model *m, const struct model_batch *b, uint64_t *ret_rows, uint64_t *ret_skipped)
{
    struct model_range *g = &m->ranges[b->range - 1];
    struct model_relation *r = &m->relations[g->relation];
    uint64_t rows = 0, skipped = 0;

    /* The rows come first and the checkpoint after them, so a bad row is reported even of a batch that is
     * stale. */
    for (int i = 0; i < r->n_rows; i++)
        if (is_to_do(m, &r->rows[i], g, b)) {
            if (b->aside || model_is_locked(m, &r->rows[i])) {
                if (!b->skipping && !b->aside)
                    return SQLSTATE_LOCK;
                skipped++;
                continue;
            }
            if (model_meets_lock(m, &r->rows[i]))
                return SQLSTATE_LOCK;
            if (is_refusing(m))
                return m->refuses_with;
            if (r->rows[i].bad)
                return "22012";
            rows++;
        }
    if (!move_cursor(m, b, b->keys ? b->keys : rows + skipped))
        return SQLSTATE_STALE;
    if (m->state != JOB_RUNNING)
        model_break(m, "a batch was done of a job that nobody runs");
    for (int i = 0; i < r->n_rows; i++) {
        if (!is_to_do(m, &r->rows[i], g, b))
            continue;
        if (b->aside || model_is_locked(m, &r->rows[i]))
            leave_behind(m, b->range, r->rows[i].key, true);
        else
            do_row(m, g, &r->rows[i]);
    }
    *ret_rows = rows;
    *ret_skipped = skipped;
    return NULL;
}

bool model_has_free_row(const struct model *m, int64_t range)
{
    const struct model_range *g = &m->ranges[range - 1];
    const struct model_relation *r = &m->relations[g->relation];

    for (int i = 0; i < r->n_rows; i++)
        if (in_batch(&r->rows[i], g, g->cursor, g->upper) && (!m->migrates || r->rows[i].to_do) && !model_is_locked(m, &r->rows[i]) &&
            !model_meets_lock(m, &r->rows[i]))
            return true;
    return false;
}

static struct model_row *row_of(struct model *m, const struct model_left_behind *left)
{
    struct model_relation *r = &m->relations[left->relation];

    for (int i = 0; i < r->n_rows; i++)
        if (r->rows[i].key == left->key && !r->rows[i].deleted)
            return &r->rows[i];
    return NULL;
}

static bool in_portion(const struct model_left_behind *left, const struct model_batch *b)
{
    return left->id > b->row_above && left->id <= b->left_behind;
}

const char *model_retry_rows(struct model *m, const struct model_batch *b, uint64_t *ret_rows, uint64_t *ret_skipped)
{
    uint64_t n = 0, skipped = 0, rows = 0;
    int kept = 0;

    /* The rows come first, as in a batch; the number of a row that is done is never used again. */
    for (int i = 0; i < m->n_left_behind; i++) {
        const struct model_left_behind *left = &m->left_behind[i];
        const struct model_row *row = row_of(m, left);
        if (!in_portion(left, b) || !left->locked)
            continue;
        n++;
        if (row && model_is_locked(m, row)) {
            skipped++;
            continue;
        }
        if (row && model_meets_lock(m, row) && (!m->migrates || row->to_do))
            return SQLSTATE_LOCK;
        if (row && is_refusing(m) && (!m->migrates || row->to_do))
            return m->refuses_with;
        if (row && row->bad && (!m->migrates || row->to_do))
            return "22012";
    }
    if (n < b->keys)
        return SQLSTATE_STALE;
    for (int i = 0; i < m->n_left_behind; i++) {
        struct model_row *row = row_of(m, &m->left_behind[i]);
        if (!in_portion(&m->left_behind[i], b) || !m->left_behind[i].locked || (row && model_is_locked(m, row))) {
            m->left_behind[kept++] = m->left_behind[i];
            continue;
        }
        if (!row || (m->migrates && !row->to_do))
            continue;
        do_row(m, &m->ranges[m->left_behind[i].range - 1], row);
        rows++;
    }
    m->n_left_behind = kept;
    *ret_rows = rows;
    *ret_skipped = skipped;
    return NULL;
}

/* The row at hi; NULL: it is gone. */
static const struct model_row *row_at_hi(const struct model *m, const struct model_batch *b)
{
    int relation = -1;

    if (b->range)
        relation = m->ranges[b->range - 1].relation;
    for (int i = 0; i < m->n_left_behind && !b->range; i++)
        if (m->left_behind[i].id == b->left_behind)
            relation = m->left_behind[i].relation;
    for (int i = 0; relation >= 0 && i < m->relations[relation].n_rows; i++)
        if (m->relations[relation].rows[i].key == b->hi && !m->relations[relation].rows[i].deleted)
            return &m->relations[relation].rows[i];
    return NULL;
}

bool model_is_bad(const struct model *m, const struct model_batch *b)
{
    const struct model_row *row = row_at_hi(m, b);
    int rows = 0;

    for (int i = 0; i < MODEL_RELATIONS && row; i++)
        if (row >= m->relations[i].rows && row < m->relations[i].rows + MODEL_ROWS)
            for (int k = 0; k < m->relations[i].n_rows; k++)
                rows += !m->relations[i].rows[k].deleted;
    return !row || row->bad || rows == 1; /* beside which nothing can be tried */
}

/* One that nothing could be compared with counts as bad from then on. */
static void note_blamed(struct model *m, const struct model_batch *b)
{
    const struct model_row *row = row_at_hi(m, b);
    for (int i = 0; i < MODEL_RELATIONS && row; i++)
        if (row >= m->relations[i].rows && row < m->relations[i].rows + MODEL_ROWS)
            m->relations[i].rows[row - m->relations[i].rows].bad = true;
}

/* What a row says that is tried by itself. */
static const char *try_row(const struct model *m, const struct model_row *row)
{
    return model_is_locked(m, row) || model_meets_lock(m, row) ? SQLSTATE_LOCK : is_refusing(m) ? m->refuses_with : row->bad ? "22012" : NULL;
}

/* backfill.try_neighbours: rows behind the key, the first ones, the last. */
struct blame_look model_try_neighbours(struct model *m, const struct model_batch *b, const char *sqlstate)
{
    static const int steps[] = {1, 1, 8, 90, 0, 1, 8, 1000000};
    struct blame_look look = {0};
    const struct model_row *row = row_at_hi(m, b), *rows[MODEL_ROWS];
    int n = 0, at = -1;

    if (!row)
        return look;
    for (int i = 0; i < MODEL_RELATIONS; i++)
        if (row >= m->relations[i].rows && row < m->relations[i].rows + MODEL_ROWS)
            for (int k = 0; k < m->relations[i].n_rows; k++)
                if (!m->relations[i].rows[k].deleted) {
                    at = &m->relations[i].rows[k] == row ? n : at;
                    rows[n++] = &m->relations[i].rows[k];
                }
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !look.passed; i++) {
        at = steps[i] == 0 ? -1 : at + steps[i] < n ? at + steps[i] : n - 1;
        if (at < 0 || rows[at] == row)
            continue;
        const char *error = try_row(m, rows[at]);
        look.passed = !error;
        look.alike += error && strcmp(error, sqlstate) == 0;
        look.unclear += error && strcmp(error, sqlstate) != 0;
    }
    const char *error = try_row(m, row);
    look.key_fails = error && strcmp(error, sqlstate) == 0;
    m->compared_bad = look.key_fails && row->bad;
    return look;
}

const char *model_put_aside(struct model *m, const struct model_batch *b)
{
    bool innocent = !model_is_bad(m, b);
    if (!move_cursor(m, b, 1))
        return SQLSTATE_STALE;
    if (innocent)
        model_break(m, "an innocent row was put aside");
    note_blamed(m, b);
    leave_behind(m, b->range, b->hi, false);
    return NULL;
}

const char *model_leave_row(struct model *m, int64_t left_behind)
{
    struct model_left_behind *left = find_locked(m, left_behind);
    if (!left)
        return SQLSTATE_STALE;
    if (!model_is_bad(m, &(struct model_batch){.left_behind = left_behind, .hi = left->key}))
        model_break(m, "an innocent row that was locked was put aside");
    left->locked = false;
    note_blamed(m, &(struct model_batch){.left_behind = left_behind, .hi = left->key});
    return NULL;
}

/* ---- The end. --------------------------------------------------------------------------------------- */

enum runner_look model_end_job(
    struct model *m, int session, enum job_phase phase, enum job_state state, const char *error)
{
    if (!model_is_held(m, session) || m->state != JOB_RUNNING)
        return m->state == state ? RUNNER_LOOK_FINE : RUNNER_LOOK_NOT_OURS; /* it may be sent again */
    if (state != JOB_CANCELLED && model_has_moved_back(m, session, phase))
        return RUNNER_LOOK_NOT_OURS;
    if (state == JOB_SUCCEEDED && (is_open_job(m) || model_has_step(m, phase)))
        return RUNNER_LOOK_NOT_OVER;
    if (state != JOB_CANCELLED && m->wanted == WANTED_CANCEL)
        return RUNNER_LOOK_NOT_OVER; /* it was wished away, which the daemon hasn't heard yet */
    m->state = state;
    m->untidy = m->untidy && (m->plan.in_step || state != JOB_SUCCEEDED);
    m->holder = 0;
    drop_walkers(m);
    snprintf(m->error, sizeof(m->error), "%s", error ? error : "");
    return RUNNER_LOOK_FINE;
}

void model_release_job(struct model *m, int session)
{
    if (!model_is_held(m, session))
        return;
    if (m->state != JOB_RUNNING) {
        m->holder = 0;
        return;
    }
    give_back(m);
}

void model_give_way(
    struct model *m, int session, uint64_t until_us, uint32_t tries, bool others, struct runner_event *e)
{
    if (!model_is_held(m, session)) {
        e->gave_way = m->holder == 0 && m->gave_way == tries; /* it may be sent again */
        e->look = e->gave_way ? RUNNER_LOOK_FINE : RUNNER_LOOK_NOT_OURS;
        return;
    }
    if (!others)
        return;
    e->gave_way = true;
    model_release_job(m, session);
    m->opens_us = until_us;
    m->gave_way = tries;
}

/* ---- What must be true. ----------------------------------------------------------------------------- */

static int times_left_behind(const struct model *m, int relation, int key)
{
    int n = 0;
    for (int i = 0; i < m->n_left_behind; i++)
        n += m->left_behind[i].relation == relation && m->left_behind[i].key == key;
    return n;
}

void model_check_succeeded(struct model *m, const struct migration *told)
{
    if (m->behind >= 0)
        model_break(m, "a job succeeded with relations that were not planned");
    for (int i = 0; i < m->n_relations; i++)
        for (int k = 0; k < m->relations[i].n_rows; k++) {
            const struct model_row *row = &m->relations[i].rows[k];
            int left = times_left_behind(m, i, row->key);
            if (left > 1)
                model_break(m, "a row was put aside twice");
            if (left > 0 && row->counter > 0 && !m->migrates && !row->was_moved)
                model_break(m, "a row that is done was put aside");
            if (left > 0 && !row->bad)
                model_break(m, "a row that can be computed was put aside");
            if (row->owed && !row->deleted && row->counter == 0 && left == 0)
                model_break(m, "a row was missed");
        }
    if (m->migrates)
        model_check_migration(m, told);
    for (int i = 0; i < m->n_left_behind; i++)
        if (m->left_behind[i].locked)
            model_break(m, "a job succeeded with a row that was only locked left behind");
    for (int i = 0; i < m->n_ranges; i++)
        if (!is_done(&m->ranges[i]))
            model_break(m, "a job succeeded with a range to do");
}
