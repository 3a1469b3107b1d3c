/* What people do to the job, and applications to its rows. */
#include "model.h"

#include <string.h>

void model_want(struct model *m, enum job_wanted wanted)
{
    bool ended = m->state == JOB_SUCCEEDED || m->state == JOB_FAILED || m->state == JOB_CANCELLED;
    if (m->wanted == wanted || ended || (m->wanted == WANTED_CANCEL && m->state == JOB_RUNNING))
        return;
    m->wanted = wanted;
    m->opens_us = 0;
    m->was_cancelled |= wanted == WANTED_CANCEL;
    if (m->state == JOB_QUEUED || m->state == JOB_PAUSED)
        m->state = wanted == WANTED_RUN ? JOB_QUEUED : wanted == WANTED_PAUSE ? JOB_PAUSED : JOB_CANCELLED;
}

void model_retry(struct model *m)
{
    if ((m->state != JOB_SUCCEEDED && m->state != JOB_FAILED) || m->finished)
        return;
    int n = m->n_left_behind, kept = 0;
    for (int i = 0; i < n; i++) {
        if (m->left_behind[i].locked) {
            m->left_behind[kept++] = m->left_behind[i];
            continue;
        }
        struct model_range *g = model_new_range(m, m->left_behind[i].relation, m->left_behind[i].key);
        if (g)
            g->point = true;
    }
    m->n_left_behind = kept;
    if (n > kept && (m->phase == PHASE_GUARD || m->phase == PHASE_VERIFY || m->phase == PHASE_VALIDATE))
        m->phase = PHASE_BACKFILL;
    if (n > 0 || m->state == JOB_FAILED) {
        m->state = JOB_QUEUED;
        m->wanted = WANTED_RUN;
    }
}

void model_delete(struct model *m, struct random *random)
{
    if (m->n_relations == 0)
        return;
    struct model_relation *r = &m->relations[random_below(random, (uint32_t)m->n_relations)];
    if (r->n_rows > 0)
        r->rows[random_below(random, (uint32_t)r->n_rows)].deleted = true;
}

static int new_key(const struct model *m, int relation, struct random *random)
{
    const struct model_relation *r = &m->relations[relation];
    int last = r->n_rows > 0 ? r->rows[r->n_rows - 1].key : 0;

    return (int)random_between(random, 1, (uint32_t)last + 3);
}

/* False: there is no room, or there is, or was, another with its key. */
static bool put_row(struct model *m, int relation, struct model_row row)
{
    struct model_relation *r = &m->relations[relation];
    int at = 0;

    while (at < r->n_rows && r->rows[at].key < row.key)
        at++;
    if (r->n_rows == MODEL_ROWS || (at < r->n_rows && r->rows[at].key == row.key))
        return false;
    memmove(&r->rows[at + 1], &r->rows[at], (size_t)(r->n_rows - at) * sizeof(r->rows[0]));
    r->rows[at] = row;
    r->n_rows++;
    return true;
}

void model_insert(struct model *m, struct random *random)
{
    if (m->n_relations == 0 || (m->guarded && !m->synced))
        return;
    int relation = (int)random_below(random, (uint32_t)m->n_relations);
    put_row(m, relation,
        (struct model_row){
            .key = new_key(m, relation, random), .born = m->layouts, .due = m->layouts, .to_do = m->migrates && !m->synced});
}

/* Somebody changes a row's key, or its partition. The trigger fills it, or fails; the constraint refuses one that is to do. */
void model_move(struct model *m, struct random *random)
{
    if (m->n_relations == 0)
        return;
    int from = (int)random_below(random, (uint32_t)m->n_relations), to = random_chance(random, 500) ? from : (int)random_below(random, (uint32_t)m->n_relations);
    struct model_relation *r = &m->relations[from];
    if (r->n_rows == 0)
        return;
    struct model_row *row = &r->rows[random_below(random, (uint32_t)r->n_rows)];
    for (int i = 0; i < r->n_rows && !row->to_do && random_chance(random, 990); i++) /* most others tell nothing */
        row = &r->rows[i];
    struct model_row moved = *row;
    moved.to_do = row->to_do && !m->synced;
    if (row->deleted || model_is_locked(m, row) || (m->synced && row->bad) || (m->guarded && moved.to_do))
        return;
    row->deleted = true; /* before the new one pushes it aside; its key is never used again */
    moved.key = new_key(m, to, random);
    moved.born = moved.moved = m->layouts;
    moved.crossed = to != from ? m->layouts : moved.crossed;
    moved.owed = false;
    moved.was_moved = true;
    if (!put_row(m, to, moved))
        row->deleted = false;
}

void model_lock(struct model *m, struct random *random)
{
    if (m->n_relations == 0)
        return;
    struct model_relation *r = &m->relations[random_below(random, (uint32_t)m->n_relations)];
    uint64_t until_us = m->now_us + (random_chance(random, 950) ? random_between(random, 1, random_chance(random, 800) ? 20000 : 3000000)
                                                                : random_between(random, 50000000, 400000000)); /* somebody went home */
    bool elsewhere = random_chance(random, 300);
    uint32_t run = random_chance(random, 200) ? MODEL_ROWS : 1; /* all that refer to a row */
    for (uint32_t n = random_between(random, 1, 5); n > 0 && r->n_rows > 0; n--)
        for (uint32_t at = random_below(random, (uint32_t)r->n_rows), end = at + random_between(random, 1, run); at < end && at < (uint32_t)r->n_rows; at++) {
            struct model_row *row = &r->rows[at];
            if (elsewhere && !model_meets_lock(m, row))
                row->met_until_us = until_us;
            else if (!elsewhere && run == 1 && !model_is_locked(m, row))
                row->locked_until_us = until_us;
        }
}

/* Once a run: two that follow each other would be a longer one, and patience has an end. */
void model_refuse(struct model *m, struct random *random)
{
    if (m->refuses_until_us)
        return;
    bool data = random_chance(random, 300);
    m->refuses_with = data ? random_chance(random, 500) ? "22012" : "23503" : random_chance(random, 500) ? "P0001" : "54000";
    m->refuses_until_us = m->now_us + (data ? random_between(random, 1000, 4000000) : random_between(random, 1000, 400000000));
}

static struct model_row mended(const struct model *m, struct model_row row)
{
    row.bad = false;
    row.to_do = row.to_do && m->plan.fill; /* what no job fills, its owner does */
    return row;
}

void model_mend_rows(struct model *m)
{
    for (int i = 0; i < m->n_relations; i++)
        for (int k = 0; k < m->relations[i].n_rows; k++)
            m->relations[i].rows[k] = mended(m, m->relations[i].rows[k]);
}

/* An application writes rows the old way: they are to do, unless the trigger sees to it; the constraint refuses them. */
void model_write(struct model *m, struct random *random)
{
    if (m->n_relations == 0 || (m->guarded && !m->synced))
        return;
    for (uint32_t n = random_between(random, 1, 3); n > 0; n--) {
        struct model_relation *r = &m->relations[random_below(random, (uint32_t)m->n_relations)];
        if (r->n_rows == 0)
            continue;
        struct model_row *row = &r->rows[random_below(random, (uint32_t)r->n_rows)];
        if (!row->to_do)
            row->due = m->layouts;
        row->to_do = !m->synced;
    }
}
