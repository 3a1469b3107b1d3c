/* A job that is a whole migration, as the server sees it: the steps of each phase, the trigger, the constraint, and an
 * application that goes on writing rows that are to do. What backfill.next_step, run_step and end_tidy do. */
#include "model.h"
#include "job/retry.h"

#include <stddef.h>

void model_init_migration(struct model *m, struct random *random)
{
    struct migration_plan *p = &m->plan;

    for (int i = 0; i < _JOB_PHASE_MAX; i++)
        m->steps[i] = m->steps_done[i] = 0;
    m->synced = m->guarded = m->leftover = m->untidy = m->finished = m->walk_counted = m->has_looked = false;
    m->quiet_walks = 0;
    m->migrates = random_chance(random, 400);
    *p = (struct migration_plan){.fill = true};
    if (!m->migrates)
        return;
    p->fill = random_chance(random, 900);
    p->in_step = p->fill && random_chance(random, 500);
    p->expand = p->in_step || (p->fill && random_chance(random, 500));
    p->guard = !p->fill || random_chance(random, 600);
    p->quiet = p->fill && !p->in_step;
    p->verify = p->fill && ((p->guard && !p->in_step) || random_chance(random, 700));
    p->validate = p->guard || random_chance(random, 200);
    p->dry_run = p->fill && random_chance(random, 50);
    m->steps[PHASE_EXPAND] = p->expand ? (int)random_between(random, 1, 2) : 0;
    m->steps[PHASE_GUARD] = p->guard ? (int)random_between(random, 1, 3) : 0;
    m->steps[PHASE_VALIDATE] = p->validate ? (int)random_between(random, 1, 4) : 0;
    for (int i = 0; i < m->n_relations; i++)
        for (int k = 0; k < m->relations[i].n_rows; k++)
            m->relations[i].rows[k].to_do = true;
}

bool model_is_untidy(const struct model *m)
{
    return m->untidy && (m->state == JOB_CANCELLED ||
                            ((m->state == JOB_SUCCEEDED || m->state == JOB_FAILED) && m->finished));
}

/* A row that others moved while the last walk went on, which the report says may have been missed. */
static bool may_be_missed(const struct model *m, const struct model_row *row, const struct migration *told)
{
    bool hides = model_rows_aside(m, -1) > 0; /* else a look at once can tell */
    for (int i = 0; i < m->n_relations; i++)
        hides |= m->relations[i].too_large;
    bool unseen = (told->hidden && hides) || (told->unseen && told->piecewise) || migration_leaves_unmet(told);
    bool apart = m->n_relations > 1 && !(told->all_at_once && !told->hidden);

    return row->was_moved && ((unseen && row->moved >= m->layouts) || (apart && row->crossed >= m->layouts));
}

/* Rows that are to do and were so before that layout, but for those that were put aside because they can't be, and (told, or NULL) those that the report
 * says may have been missed. */
static bool is_anything_due(const struct model *m, uint32_t before, bool with_left_behind, const struct migration *told)
{
    for (int i = 0; i < m->n_relations; i++)
        for (int k = 0; k < m->relations[i].n_rows; k++) {
            const struct model_row *row = &m->relations[i].rows[k];
            bool left = false;
            for (int l = 0; l < m->n_left_behind; l++)
                left |= m->left_behind[l].relation == i && m->left_behind[l].key == row->key;
            if (row->to_do && row->due < before && !row->deleted && (with_left_behind || !left) && !(told && may_be_missed(m, row, told)))
                return true;
        }
    return false;
}

static bool is_anything_to_do(const struct model *m, bool with_left_behind)
{
    return is_anything_due(m, UINT32_MAX, with_left_behind, NULL);
}

bool model_is_to_do(const struct model *m, int relation)
{
    for (int i = relation < 0 ? 0 : relation; i < (relation < 0 ? m->n_relations : relation + 1); i++)
        for (int k = 0; k < m->relations[i].n_rows; k++)
            if (m->relations[i].rows[k].to_do && !m->relations[i].rows[k].deleted)
                return true;
    return false;
}

static bool tidy_has_step(const struct model *m)
{
    return m->synced || (m->guarded && m->state == JOB_CANCELLED &&
                            m->steps_done[PHASE_VALIDATE] < m->steps[PHASE_VALIDATE]);
}

bool model_has_step(const struct model *m, enum job_phase phase)
{
    if (phase == PHASE_TIDY)
        return model_is_untidy(m) && tidy_has_step(m);
    return m->steps_done[phase] < m->steps[phase];
}

bool model_next_step(struct model *m, int session, enum job_phase phase, bool *ret_clears)
{
    *ret_clears = false;
    if (!model_is_held(m, session) || (phase != PHASE_TIDY && model_has_moved_back(m, session, phase)))
        return false;
    *ret_clears = phase == PHASE_VALIDATE && m->leftover && model_has_step(m, phase);
    return model_has_step(m, phase);
}

static const char *tidy_step(struct model *m)
{
    if (!model_is_untidy(m))
        return SQLSTATE_STALE;
    if (m->synced)
        m->synced = false;
    else
        m->guarded = false;
    return NULL;
}

const char *model_step(struct model *m, enum job_phase phase, bool clears)
{
    if (phase == PHASE_TIDY)
        return tidy_step(m);
    if (m->state != JOB_RUNNING || m->phase != phase)
        return SQLSTATE_STALE;
    if (clears) {
        m->leftover = false;
        return NULL;
    }
    if (phase == PHASE_VALIDATE && m->leftover)
        return "42P07"; /* it is in the way */
    if (m->steps_done[phase] == m->steps[phase])
        return "42701"; /* somebody else has done it meanwhile: what it would make is there */
    if (phase == PHASE_GUARD && m->plan.quiet && m->quiet_walks < QUIET_PASSES)
        model_break(m, "a constraint was placed before the application was quiet");
    if (phase == PHASE_VALIDATE && m->plan.guard) {
        if (!m->guarded)
            model_break(m, "a constraint was validated that is not there");
        if (m->plan.verify && is_anything_to_do(m, false))
            model_break(m, "a constraint was validated while a row was to do");
        if (is_anything_to_do(m, true))
            return "23514";
    }
    m->steps_done[phase]++;
    if (phase == PHASE_EXPAND && m->plan.in_step && m->steps_done[phase] == m->steps[phase])
        m->synced = true;
    if (phase == PHASE_GUARD && m->steps_done[phase] == m->steps[phase])
        m->guarded = true;
    return NULL;
}

/* A phase begins: from when on something may be in the table that must go with the job. */
void model_begin_steps(struct model *m, enum job_phase phase)
{
    m->walk_counted = false;
    if ((phase == PHASE_EXPAND && m->plan.in_step) || phase == PHASE_GUARD || phase == PHASE_VALIDATE)
        m->untidy = true;
    if (phase == PHASE_BACKFILL && m->plan.in_step && !m->synced)
        model_break(m, "the filling began before the trigger was there");
}

/* All ranges are done, and that many rows of them were changed in this walk. */
void model_end_walk(struct model *m, uint64_t changed)
{
    if (m->phase == PHASE_GUARD && !m->walk_counted)
        m->quiet_walks = changed == 0 ? m->quiet_walks + 1 : 0;
    m->walk_counted = true;
}

enum runner_look model_end_tidy(struct model *m, int session, bool failed)
{
    if (!model_is_held(m, session))
        return m->untidy ? RUNNER_LOOK_NOT_OURS : RUNNER_LOOK_FINE;
    if (!model_is_untidy(m)) {
        model_release_job(m, session);
        return RUNNER_LOOK_NOT_OURS;
    }
    if (!failed && tidy_has_step(m))
        return RUNNER_LOOK_NOT_OVER;
    m->untidy = failed; /* whoever finished it tries again */
    m->holder = 0;
    return RUNNER_LOOK_FINE;
}

void model_looked(struct model *m, enum job_phase from, enum job_phase phase, const struct migration *told)
{
    if (from != PHASE_VERIFY || phase == PHASE_VERIFY)
        return;
    m->has_looked = true;
    m->looked = *told;
    m->looked.lacking = NULL;
}

void model_check_migration(struct model *m, const struct migration *told)
{
    if (m->phase == PHASE_VALIDATE && m->has_looked)
        told = &m->looked;
    const struct migration_plan *p = &m->plan;

    if (p->dry_run) {
        for (int i = 0; i < _JOB_PHASE_MAX; i++)
            if (m->steps_done[i] > 0)
                model_break(m, "a dry run took a step");
        return;
    }
    for (int i = 0; i < _JOB_PHASE_MAX; i++)
        if (m->steps_done[i] < m->steps[i])
            model_break(m, "a job succeeded with a step to do");
    if ((p->in_step || (p->guard && p->verify)) && is_anything_due(m, UINT32_MAX, false, told))
        model_break(m, "a migration succeeded with a row to do");
    if (p->verify && is_anything_due(m, m->layouts, false, told))
        model_break(m, "a migration succeeded with a row that was to do before its last pass of verify");
    if (m->synced != p->in_step)
        model_break(m, "a migration succeeded without its trigger, or with one that nobody wants");
}
