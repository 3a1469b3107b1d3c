/* A daemon of the simulation: it claims the job, does what the runner says and reports what came of it. It
 * stands for daemon/, without its sockets, and checks on the way what lib/run/runner.h promises to it. */
#include "world.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_US              100000
#define LOCK_TIMEOUT_US 20000 /* so long a statement waits for a lock before it fails of it */
#define LONGEST_REST_US      5000000 /* a server that is back is noticed so soon */
#define LONGEST_STEP_REST_US 300000000
#define SOONEST_STEP_US      1000000  /* after one that found no room */
#define LONGEST_IN_PLACE_US  60000000 /* of a job that only waits while others queue: 10 s, and some tries to give it back */

static void send_action(struct world *w, struct daemon *d, struct runner_action a);

/* ---- Positions as text, as the runner has them. ----------------------------------------------------- */

static int key_of(const char *position)
{
    return position ? atoi(position + 1) : 0;
}

static const char *position_of(int key, char text[16])
{
    if (key == 0)
        return NULL;
    snprintf(text, 16, "{%d}", key);
    return text;
}

/* ---- The process. ----------------------------------------------------------------------------------- */

static void end_runner(struct daemon *d)
{
    if (d->has_runner)
        runner_done(&d->runner);
    d->has_runner = false;
}

static void end_process(struct world *w, struct daemon *d)
{
    end_runner(d);
    model_close(&w->model, d->session);
    d->session = 0;
    d->alive = false;
    d->poll_us = d->notice_us = d->session_back_us = 0;
}

void daemon_start(struct world *w, struct daemon *d)
{
    *d = (struct daemon){.alive = true};
    d->session = model_open(&w->model);
    d->poll_us = w->now_us + random_between(&w->random, 1, 5000);
    world_trace(w, d, "starts, session %d", d->session);
}

static const char *event_text(const struct runner_event *e)
{
    switch (e->kind) {
    case RUNNER_START: return "start";
    case RUNNER_DONE: return "done";
    case RUNNER_ERROR: return e->sqlstate;
    case RUNNER_LOST: return "lost";
    case RUNNER_WANT: return "want";
    case RUNNER_RELIEVE: return "relieve";
    }
    return "?";
}

/* Work may begin neither after a stop nor while a pause or cancel is in force. */
static void check_leaving(struct world *w, const struct daemon *d, enum runner_action_kind kind)
{
    bool ends = kind == RUNNER_RELEASE || kind == RUNNER_FINISH || kind == RUNNER_REST || kind == RUNNER_END;
    if (d->must_leave && !ends)
        world_break(w, "a runner that was told to leave began something else");
}

/* Who learns that the job is another's begins nothing more. */
static void check_ours(
    struct world *w, const struct runner_event *e, enum runner_action_kind was, enum runner_action_kind kind)
{
    bool others = e->kind == RUNNER_DONE && ((was == RUNNER_TAKE && e->outcome == RUNNER_TAKE_NOT_OURS) ||
                                                e->look == RUNNER_LOOK_NOT_OURS);
    if (others && kind != RUNNER_END && kind != RUNNER_RELEASE && kind != RUNNER_FINISH)
        world_break(w, "a runner went on with another daemon's job");
}

/* A session that is gone is told of by RUNNER_LOST or by an error that says so. */
static void note_session(struct daemon *d, const struct runner_event *e, enum runner_action_kind was)
{
    if (e->kind == RUNNER_DONE && was == RUNNER_CONNECT) {
        d->session_open = true;
        d->session_gone = false;
    } else if (e->kind == RUNNER_LOST ||
               (e->kind == RUNNER_ERROR && retry_class(e->sqlstate) == RETRY_RECONNECT))
        d->session_open = false;
}

/* Since when it only waits, for something that is in the way. */
static void note_wait(const struct world *w, struct daemon *d, const struct runner_event *e, enum runner_action_kind was)
{
    bool shared = was == RUNNER_TAKE && e->outcome == RUNNER_TAKE_SHARED;
    bool did = e->kind == RUNNER_DONE && (shared || was == RUNNER_BATCH || was == RUNNER_PUT_ASIDE || (was == RUNNER_STEP && !d->clears) ||
                                             (was == RUNNER_RETRY && e->skipped < d->runner.walker.keys));
    bool hindered = e->kind == RUNNER_ERROR || e->kind == RUNNER_LOST ||
                    (e->kind == RUNNER_DONE && was == RUNNER_TAKE && e->outcome == RUNNER_TAKE_LOCKED);
    bool no_room = e->kind == RUNNER_ERROR && was == RUNNER_STEP && !d->clears && retry_class(e->sqlstate) == RETRY_LATER;

    if (did)
        d->waits_since_us = d->no_room_us = 0;
    else if (d->runner.walker.blame.looks > 0 || d->runner.walker.blame.slow > 0 || d->runner.walker.isolate > 0)
        d->waits_since_us = 0; /* for rows that fail it has a patience of its own, which ends */
    else if (hindered && d->waits_since_us == 0)
        d->waits_since_us = w->now_us;
    if (no_room)
        d->no_room_us = w->now_us;
}

/* A place is for who works; and what found no room doesn't look for it without a pause. */
static void check_wait(struct world *w, const struct daemon *d, enum runner_action_kind kind)
{
    enum runner_action_kind again = d->runner.again;
    bool only_waits = kind == RUNNER_REST && again != RUNNER_BATCH && again != RUNNER_RETRY && again != RUNNER_BOUND &&
                      again != RUNNER_FINISH && again != RUNNER_RELEASE;
    uint64_t since_us = d->waits_since_us > w->crowded_since_us ? d->waits_since_us : w->crowded_since_us;

    if (only_waits && !d->runner.helps && w->crowded && d->waits_since_us && w->outage_until_us == 0 && d->session &&
        w->now_us > since_us + LONGEST_IN_PLACE_US)
        world_break(w, "a job that only waits keeps its place while others queue");
    if (kind == RUNNER_STEP && !d->clears && d->no_room_us && w->now_us < d->no_room_us + SOONEST_STEP_US)
        world_break(w, "a step that found no room was tried again without a pause");
    if (kind == RUNNER_STEP && !d->clears && d->runner.migration.phase == PHASE_VALIDATE && w->model.leftover && d->session_open &&
        !d->session_gone && model_is_held(&w->model, d->session) && w->model.phase == PHASE_VALIDATE && d->no_room_us)
        world_break(w, "a step was tried again beside what it had left");
}

static void step(struct world *w, struct daemon *d, const struct runner_event *e)
{
    enum runner_action_kind was = d->runner.doing;
    note_session(d, e, was);
    note_wait(w, d, e, was);
    d->runner.crowded = w->crowded && d->session != 0; /* else it can't ask */
    struct runner_action a = runner_step(&d->runner, e, w->now_us);
    check_ours(w, e, was, a.kind);
    world_trace(w, d, "%s -> %s", event_text(e), runner_action_name(a.kind));

    if (a.kind == RUNNER_NONE || a.kind == RUNNER_ABORT) {
        if (e->kind != RUNNER_WANT)
            world_break(w, "an answer led to no action");
        else if (a.kind == RUNNER_ABORT)
            fault_abort(w, d);
        return;
    }
    if (d->statement.under_way && d->statement.action.kind != RUNNER_REST)
        world_break(w, "a second action while one is under way");
    check_leaving(w, d, a.kind);
    check_wait(w, d, a.kind);
    send_action(w, d, a);
}

/* The job has ended: neither pause nor cancel ends that. A failover may say otherwise: then the tidying finds nothing. */
static bool tidies(const struct daemon *d)
{
    return d->runner.migration.phase == PHASE_TIDY;
}

static void want(struct world *w, struct daemon *d, enum runner_want wish)
{
    bool ending = d->runner.doing == RUNNER_RELEASE || d->runner.doing == RUNNER_FINISH ||
                  d->runner.doing == RUNNER_REST;
    bool is_ended = tidies(d) && (wish == RUNNER_WANT_PAUSE || wish == RUNNER_WANT_CANCEL);
    if (wish != RUNNER_WANT_RUN && !is_ended)
        d->must_leave = true;
    else if (!d->stopping && !ending)
        d->must_leave = false;
    step(w, d, &(struct runner_event){.kind = RUNNER_WANT, .want = wish});
}

void daemon_stop(struct world *w, struct daemon *d, enum runner_want wish)
{
    world_trace(w, d, "is told to stop%s", wish == RUNNER_WANT_STOP_NOW ? " now" : "");
    d->stopping = true;
    if (d->has_runner)
        want(w, d, wish);
    else
        end_process(w, d);
}

/* Looks at what the user wants, as the control session does on a notification. */
static void notice(struct world *w, struct daemon *d)
{
    static const enum runner_want wants[] = {[WANTED_RUN] = RUNNER_WANT_RUN,
        [WANTED_PAUSE] = RUNNER_WANT_PAUSE,
        [WANTED_CANCEL] = RUNNER_WANT_CANCEL};

    d->notice_us = 0;
    if (d->has_runner && d->slot > 0) {
        if (!model_helps(&w->model, d->slot, d->session) || w->model.wanted != WANTED_RUN || w->model.state != JOB_RUNNING)
            want(w, d, RUNNER_WANT_STOP_NOW);
        return;
    }
    if (!d->has_runner || !model_is_held(&w->model, d->session) || d->heard == w->model.wanted)
        return;
    d->heard = w->model.wanted;
    world_trace(w, d, "hears %s", job_wanted_name(d->heard));
    want(w, d, wants[d->heard]);
}

static void help(struct world *w, struct daemon *d)
{
    struct model *m = &w->model;

    d->slot = model_help(m, d->session, w->last_token + 1);
    if (d->slot == 0)
        return;
    d->token = ++w->last_token;
    world_trace(w, d, "helps in slot %d", d->slot);
    runner_init(&d->runner, m->phase, m->estimate, 0, &w->limits, random_next(&w->random), w->now_us);
    runner_helps(&d->runner);
    d->has_runner = true;
    d->clears = d->must_leave = d->session_open = d->session_gone = false;
    d->no_room_us = d->waits_since_us = 0;
    d->altered = d->outage_tries = 0;
    step(w, d, &(struct runner_event){.kind = RUNNER_START});
}

static void claim(struct world *w, struct daemon *d)
{
    struct model *m = &w->model;
    uint64_t keys = 0;

    d->poll_us = (m->opens_us > w->now_us && m->state != JOB_RUNNING ? m->opens_us : w->now_us) + POLL_US;
    if (d->session == 0 || w->now_us < w->outage_until_us)
        return;
    if (!model_claim(m, d->session)) {
        help(w, d);
        return;
    }
    d->slot = 0;
    world_trace(w, d, "claims the job in phase %s", job_phase_name(m->phase));
    d->token = m->token = ++w->last_token;
    bool tidy = m->state != JOB_RUNNING;
    for (int i = 0; i < m->n_ranges; i++)
        keys += m->ranges[i].keys;
    runner_init(&d->runner, tidy ? PHASE_TIDY : m->phase, m->estimate, keys, &w->limits,
        random_next(&w->random), w->now_us);
    runner_plan(&d->runner, &m->plan, "a value");
    runner_gave_way(&d->runner, m->gave_way);
    d->clears = false;
    d->no_room_us = d->waits_since_us = 0;
    d->has_runner = true;
    d->must_leave = d->session_open = d->session_gone = false;
    d->altered = d->outage_tries = d->planned = 0;
    d->heard = tidy ? m->wanted : WANTED_RUN;
    step(w, d, &(struct runner_event){.kind = RUNNER_START});
    notice(w, d);
}

void daemon_lose_control(struct world *w, struct daemon *d)
{
    if (d->session == 0)
        return;
    world_trace(w, d, "loses its control session %d", d->session);
    model_close(&w->model, d->session);
    d->lost_session = d->session;
    d->session = 0;
    d->session_back_us =
        w->now_us + random_between(&w->random, 1000, random_chance(&w->random, 500) ? 20000 : 2000000);
}

static void regain_control(struct world *w, struct daemon *d)
{
    if (w->now_us < w->outage_until_us) {
        d->session_back_us = w->outage_until_us + random_between(&w->random, 1, 500000);
        return;
    }
    d->session_back_us = 0;
    d->session = model_open(&w->model);
    w->crowded_since_us = w->now_us; /* nothing could be asked before */
    if (d->has_runner && d->slot > 0)
        model_help_again(&w->model, d->slot, d->token, d->session);
    else if (d->has_runner) /* else the job was given back, even if the server has forgotten that */
        model_hold_again(&w->model, d->lost_session, d->session);
    world_trace(w, d, "has a control session again, %d, and %s the job", d->session,
        model_is_held(&w->model, d->session) ? "holds" : "does not hold");
    notice(w, d);
}

/* ---- An action: sent, executed, answered. ----------------------------------------------------------- */

/* The model counts its epochs. The runner gets numbers in no order, as the server draws them: it may compare none of them. */
static int64_t epoch_drawn(int64_t counted)
{
    return (int64_t)((uint64_t)counted * 0x5851F42D4C957F2D & INT64_MAX);
}

static int64_t epoch_counted(int64_t drawn)
{
    return (int64_t)((uint64_t)drawn * 0x4097EF87329E28A5 & INT64_MAX); /* the inverse of the factor above, modulo 2^63 */
}

static void check_cursor(struct world *w, const struct daemon *d, const struct model_batch *b)
{
    const struct model_range *g = &w->model.ranges[b->range - 1];
    if (d->session_gone) /* with the server, which may have gone back: nothing of it will be executed */
        return;
    if (b->lo > g->cursor && b->epoch >= g->walk_epoch)
        world_break(w, "the runner's cursor is ahead of the database's");
    if (b->lo != g->cursor && b->epoch == g->epoch && model_is_held(&w->model, d->session))
        world_break(w, "the runner that holds the range has an old cursor");
}

static void send_action(struct world *w, struct daemon *d, struct runner_action a)
{
    struct statement *s = &d->statement;
    const struct runner *r = &d->runner;

    if (a.kind == RUNNER_END) {
        s->under_way = false;
        end_runner(d);
        d->poll_us = w->now_us + random_between(&w->random, 1, 5000);
        if (d->stopping)
            end_process(w, d);
        return;
    }
    *s = (struct statement){.under_way = true, .action = a, .phase = r->migration.phase, .sent_us = w->now_us};
    if (a.kind == RUNNER_LAYOUT) {
        d->first = a.continues ? d->after : 0;
        d->slice = random_between(&w->random, 1, MODEL_RELATIONS);
    }
    s->batch = (struct model_batch){.range = r->walker.range,
        .epoch = epoch_counted(r->walker.epoch),
        .lo = key_of(r->walker.cursor),
        .hi = key_of(r->walker.hi),
        .keys = a.kind == RUNNER_RETRY ? r->walker.keys : a.keys,
        .skipping = a.skipping,
        .aside = a.aside,
        .row_above = r->walker.round.above,
        .left_behind = r->walker.round.last};
    if (a.kind == RUNNER_BOUND || a.kind == RUNNER_BATCH || (a.kind == RUNNER_PUT_ASIDE && r->walker.range)) {
        check_cursor(w, d, &s->batch);
        world_trace(w, d, "  range %d epoch %d (%d, %d], %u keys", (int)r->walker.range, (int)s->batch.epoch, s->batch.lo,
            a.kind == RUNNER_BOUND ? 0 : s->batch.hi, a.keys);
    }
    if ((a.kind == RUNNER_SURVEY || a.kind == RUNNER_BOUND || a.kind == RUNNER_BATCH ||
            a.kind == RUNNER_STEP || a.kind == RUNNER_RETRY || a.kind == RUNNER_COMPARE) &&
        !d->session_open)
        world_break(w, "a statement for a session that is gone");
    if (d->slot > 0 && a.kind != RUNNER_CONNECT && a.kind != RUNNER_TAKE && a.kind != RUNNER_BOUND && a.kind != RUNNER_BATCH && a.kind != RUNNER_HAND_OVER &&
        a.kind != RUNNER_REST && a.kind != RUNNER_RELEASE)
        world_break(w, "a helper does what is the holder's");
    if (a.kind == RUNNER_PUT_ASIDE && !w->model.quarantine)
        world_break(w, "a row was put aside of a job that wants to fail");
    if (a.kind == RUNNER_BATCH && (r->walker.reckoned ? (uint32_t)(s->batch.hi - s->batch.lo) : a.keys) > w->greatest_keys)
        world_break(w, "a batch has more keys than its limit");
    /* A step that found no room may have read a whole table: pauses grow to minutes. */
    uint64_t longest_us = r->again == RUNNER_NEXT_STEP ? LONGEST_STEP_REST_US : LONGEST_REST_US;
    if (a.kind == RUNNER_REST && d->slot == 0 && r->again == RUNNER_TAKE && r->walker.range && same_string(r->work.patience.waiting_for, "a lock") &&
        model_has_free_row(&w->model, r->walker.range))
        world_break(w, "rows that nobody has locked wait for a lock that others meet");
    if (a.kind == RUNNER_REST && (a.until_us < w->now_us || a.until_us > w->now_us + longest_us))
        world_break(w, "a rest is longer than the longest backoff");
    past_threaten(w, d);
    fault_decide(w, d);
}

static bool is_control(enum runner_action_kind kind)
{
    return kind == RUNNER_LAYOUT || kind == RUNNER_ADD_RANGE || kind == RUNNER_BEGIN || kind == RUNNER_TAKE ||
           kind == RUNNER_NEXT_STEP || kind == RUNNER_PUT_ASIDE || kind == RUNNER_HAND_OVER || kind == RUNNER_GIVE_WAY ||
           kind == RUNNER_FINISH || kind == RUNNER_RELEASE;
}

/* What the worker's session is for. */
static bool is_session(enum runner_action_kind kind)
{
    return kind == RUNNER_SURVEY || kind == RUNNER_STEP || kind == RUNNER_BOUND || kind == RUNNER_BATCH ||
           kind == RUNNER_RETRY;
}

static void take(struct world *w, struct daemon *d, struct runner_event *e)
{
    struct statement *s = &d->statement;
    struct model_taken t = model_take_range(&w->model, d->session, d->slot, s->phase, s->batch.left_behind, s->action.keys);
    static const enum runner_take outcomes[] = {[MODEL_TAKEN_RANGE] = RUNNER_TAKE_RANGE,
        [MODEL_TAKEN_ROWS] = RUNNER_TAKE_ROWS,
        [MODEL_TAKEN_LOCKED] = RUNNER_TAKE_LOCKED,
        [MODEL_TAKEN_UNPLANNED] = RUNNER_TAKE_UNPLANNED,
        [MODEL_TAKEN_SHARED] = RUNNER_TAKE_SHARED,
        [MODEL_TAKEN_NONE] = RUNNER_TAKE_NONE,
        [MODEL_TAKEN_NOT_OURS] = RUNNER_TAKE_NOT_OURS};

    e->outcome = outcomes[t.outcome];
    d->after = t.behind;
    e->left_behind = t.left_behind;
    e->n_rows = t.n_rows;
    e->locked = t.locked;
    if (t.outcome == MODEL_TAKEN_LOCKED) {
        e->sqlstate = SQLSTATE_LOCK;
        e->message = "locked";
    }
    e->range = t.range;
    e->epoch = epoch_drawn(t.epoch);
    e->cursor = position_of(t.cursor, s->cursor);
    e->upper = position_of(t.upper, s->upper);
    e->point = t.point;
    e->integers = w->integers;
    e->total_keys = t.keys;
    e->found = t.changed;
    e->walk = t.walk;
}

static const char *run_batch(struct world *w, struct daemon *d, struct runner_event *e)
{
    struct statement *s = &d->statement;
    const struct model_batch *b = &s->batch;
    bool fresh =
        b->epoch == w->model.ranges[b->range - 1].epoch && d->alive && model_is_held(&w->model, d->session);

    e->message = "a row cannot be computed";
    const char *error = model_run_batch(&w->model, b, &e->rows, &e->skipped);
    if (error && strcmp(error, SQLSTATE_LOCK) == 0)
        e->message = "a lock";
    if (!b->skipping && !b->aside && e->skipped)
        world_break(w, "a batch passed over rows that was not to");
    if (error && strcmp(error, SQLSTATE_STALE) == 0 && fresh)
        world_break(w, "a batch of the job's holder was stale");
    e->elapsed_us = s->execute_us - s->sent_us;
    e->wal_bytes = 200 * e->rows;
    if (s->action.reckons && !w->integers)
        world_break(w, "a bound was reckoned that can't be");
    if (!error && s->action.reckons)
        e->bound = position_of(b->hi + (int)s->action.next_keys < w->model.ranges[b->range - 1].upper ? b->hi + (int)s->action.next_keys : 0, s->bound);
    else if (!error && s->action.next_keys > 0)
        e->bound = position_of(model_bound(&w->model, b->range, b->hi, s->action.next_keys), s->bound);
    return error;
}

static const char *retry_rows(struct world *w, struct daemon *d, struct runner_event *e)
{
    struct statement *s = &d->statement;

    e->message = "a row cannot be computed";
    const char *error = model_retry_rows(&w->model, &s->batch, &e->rows, &e->skipped);
    e->elapsed_us = s->execute_us - s->sent_us;
    return error;
}

static void check_end(struct world *w, const struct daemon *d)
{
    struct model *m = &w->model;
    bool of_a_row = strstr(m->error, "row") != NULL;
    /* A fault may come at a bad row, and with what that row says: then the job ends with the fault's words. */
    bool may_fail = of_a_row ? !m->quarantine : w->may_fail || (strcmp(m->error, "fault") == 0 && m->compared_bad && !m->quarantine);
    bool of_constraint = strstr(m->error, "constraint") != NULL && (m->n_left_behind > 0 || !m->plan.fill);

    world_trace(w, NULL, "the job is %s, %d rows left behind %s", job_state_name(m->state), m->n_left_behind,
        m->error);
    if (strstr(m->error, "no row") && !w->may_fail)
        world_break(w, "a job failed of what would have passed");
    if (m->state == JOB_SUCCEEDED)
        model_check_succeeded(m, &d->runner.migration);
    if (m->state == JOB_CANCELLED && !m->was_cancelled)
        world_break(w, "a job was cancelled that nobody cancelled");
    if (m->state == JOB_FAILED && !of_constraint && !may_fail)
        world_break(w, "a job failed that should have gone on");
}

/* What the server makes of it; the answer is kept until it arrives. Returns an SQLSTATE or NULL. */
static const char *execute_on_server(struct world *w, struct daemon *d, struct runner_event *e)
{
    struct model *m = &w->model;
    struct statement *s = &d->statement;
    const struct runner_action *a = &s->action;
    bool held = model_is_held(m, d->session), none;
    int last, relation;

    switch (a->kind) {
    case RUNNER_LAYOUT:
        e->n_relations = m->plan.fill ? m->n_relations - d->first : 0;
        e->look = model_layout(m, d->session, s->phase, d->planned, a->continues);
        if (e->n_relations > d->slice)
            e->n_relations = d->slice;
        if (!a->continues || e->look == RUNNER_LOOK_FINE)
            d->planned = e->look == RUNNER_LOOK_FINE ? d->session : 0;
        return NULL;
    case RUNNER_SURVEY:
        relation = d->first + a->relation;
        d->surveyed[relation] = last = model_survey(m, relation, &e->estimate);
        e->moves = m->migrates && !m->relations[relation].too_large && model_rows_aside(m, -1) == 0;
        e->aside = model_rows_aside(m, relation);
        e->all_at_once = a->at_once && last > 0 && relation == 0 && random_chance(&w->random, 500);
        none = a->at_once && (e->all_at_once ? !model_is_to_do(m, -1)
                                             : !m->relations[relation].too_large && random_chance(&w->random, 900) && !model_is_to_do(m, relation));
        e->hidden = m->migrates && !e->moves && !none;
        if (none)
            d->surveyed[relation] = last = 0;
        e->empty = last == 0;
        model_cuts_of(m, relation, &w->random, &d->cuts[relation]);
        return NULL;
    case RUNNER_ADD_RANGE:
        relation = d->first + a->relation;
        model_add_ranges(m, d->session, relation, d->surveyed[relation], &d->cuts[relation], d->planned);
        return NULL;
    case RUNNER_BEGIN:
        last = a->planned && !a->proven && d->first + d->slice < m->n_relations ? d->first + d->slice : -1; /* of what is planned */
        e->look = a->continues ? model_plan_on(m, d->session, s->phase, d->planned, last)
                               : model_begin_phase(m, d->session, s->phase, a->phase, a->estimate, a->planned ? d->planned : 0, last, a->proven);
        e->walk = m->walk;
        if (e->look == RUNNER_LOOK_FINE && !a->continues)
            model_looked(m, s->phase, a->phase, &d->runner.migration);
        for (int i = 0; i < WORLD_DAEMONS; i++) /* who has a place free hears of it, and may help */
            if (w->daemons[i].alive && !w->daemons[i].has_runner)
                w->daemons[i].poll_us = w->now_us + random_between(&w->random, 1, 2000);
        return NULL;
    case RUNNER_NEXT_STEP:
        e->has_step = model_next_step(m, d->session, s->phase, &e->clears);
        d->clears = e->clears;
        return NULL;
    case RUNNER_STEP: e->message = "the constraint is broken"; return model_step(m, s->phase, d->clears);
    case RUNNER_GIVE_WAY:
        model_give_way(m, d->session, a->until_us, a->tries, w->crowded, e);
        return NULL;
    case RUNNER_TAKE: take(w, d, e); return NULL;
    case RUNNER_BOUND:
        e->bound = position_of(model_bound(m, s->batch.range, s->batch.lo, a->keys), s->bound);
        return NULL;
    case RUNNER_BATCH: return run_batch(w, d, e);
    case RUNNER_RETRY: return retry_rows(w, d, e);
    case RUNNER_COMPARE:
        e->compared = model_try_neighbours(m, &s->batch, d->runner.walker.row.sqlstate);
        return NULL;
    case RUNNER_PUT_ASIDE:
        return s->batch.range ? model_put_aside(m, &s->batch) : model_leave_row(m, s->batch.left_behind);
    case RUNNER_FINISH:
        if (s->phase == PHASE_TIDY) {
            e->look = model_end_tidy(m, d->session, a->state == JOB_FAILED);
            return NULL;
        }
        if (held && d->runner.work.ending.names_row && !model_is_bad(m, &s->batch))
            world_break(w, "a job failed for an innocent row");
        if (held && a->state != JOB_CANCELLED && random_chance(&w->random, 10)) /* its user's wish comes first, and the daemon can't know yet */
            user_wants(w, WANTED_CANCEL);
        e->look = model_end_job(m, d->session, s->phase, a->state, d->runner.work.ending.error);
        if (held && e->look == RUNNER_LOOK_FINE)
            check_end(w, d);
        return NULL;
    case RUNNER_HAND_OVER: model_hand_over(m, &s->batch); return NULL;
    case RUNNER_RELEASE:
        if (d->slot > 0)
            model_leave(m, d->slot, d->session, d->runner.work.troubled);
        else
            model_release_job(m, d->session);
        return NULL;
    case RUNNER_CONNECT: return d->token == (d->slot > 0 ? m->slots[d->slot].token : m->token) ? NULL : SQLSTATE_STALE;
    case RUNNER_NONE:
    case RUNNER_ABORT:
    case RUNNER_REST:
    case RUNNER_END: return NULL;
    }
    return NULL;
}

/* The control session is gone, and the statement is sent when there is one again: for the first time, or once
 * more. */
static void send_again(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;
    daemon_lose_control(w, d);
    world_trace(w, d, "  to be sent again");
    s->executed = false;
    s->fate = FATE_FINE;
    s->execute_us = d->session_back_us + random_between(&w->random, 1, 500);
    s->answer_us = s->execute_us + 100;
}

static void execute(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;
    struct runner_event e = {.kind = RUNNER_DONE};

    s->executed = true;
    if (d->session_gone && is_session(s->action.kind))
        s->fate = FATE_NEVER_SENT;
    if (s->fate == FATE_NEVER_SENT || s->fate == FATE_ROLLED_BACK) {
        e.kind = RUNNER_LOST;
    } else if (s->fate == FATE_REFUSED) {
        e = (struct runner_event){.kind = RUNNER_ERROR, .sqlstate = s->sqlstate, .message = s->message};
        if (s->action.kind == RUNNER_STEP && s->phase == PHASE_VALIDATE && !d->clears && retry_class(s->sqlstate) == RETRY_LATER &&
            w->model.phase == PHASE_VALIDATE && model_has_step(&w->model, PHASE_VALIDATE))
            w->model.leftover = true;
    } else if (is_control(s->action.kind) && d->session == 0) {
        if (random_chance(&w->random, 500)) {
            send_again(w, d);
            return;
        }
        e = (struct runner_event){
            .kind = RUNNER_ERROR, .sqlstate = SQLSTATE_LOST, .message = "no control session"};
    } else {
        past_note(w);
        const char *error = execute_on_server(w, d, &e);
        /* Batches commit with synchronous_commit off. */
        if (s->action.kind != RUNNER_BATCH && s->action.kind != RUNNER_RETRY)
            past_flush(w);
        if (error) {
            e.kind = RUNNER_ERROR;
            e.sqlstate = error;
            s->answer_us += strcmp(error, SQLSTATE_LOCK) == 0 ? LOCK_TIMEOUT_US : 0;
        }
        /* The control session's loss is told in either way, or hidden by sending again. */
        bool of_control = s->fate == FATE_ANSWER_LOST && is_control(s->action.kind) && d->alive;
        if (of_control && random_chance(&w->random, 500)) {
            send_again(w, d);
            return;
        }
        if (of_control && random_chance(&w->random, 500))
            e = (struct runner_event){.kind = RUNNER_ERROR, .sqlstate = SQLSTATE_LOST, .message = "lost"};
        else if (s->fate == FATE_ANSWER_LOST)
            e = (struct runner_event){.kind = RUNNER_LOST};
    }
    s->answer = e;
}

/* What it had sent to its control session it sends again; what went to the worker's is lost. */
void daemon_lose_server(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;

    if (!d->alive) { /* what a dead daemon had left behind on the server goes with it */
        s->under_way = false;
        return;
    }
    daemon_lose_control(w, d);
    d->session_gone = true;
    if (!s->under_way || s->action.kind == RUNNER_REST)
        return;
    if (!is_control(s->action.kind)) {
        if (s->executed)
            s->answer = (struct runner_event){.kind = RUNNER_LOST};
        else
            s->fate = FATE_ROLLED_BACK;
    } else if (random_chance(&w->random, 800))
        send_again(w, d);
    else if (s->executed)
        s->answer = (struct runner_event){.kind = RUNNER_ERROR, .sqlstate = SQLSTATE_LOST, .message = "lost"};
    else
        s->fate = FATE_NEVER_SENT;
}

static void answer(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;
    struct runner_event e = s->answer;

    bool moved = s->action.kind == RUNNER_BATCH || s->action.kind == RUNNER_PUT_ASIDE ||
                 (s->action.kind == RUNNER_RETRY && e.skipped < s->batch.keys);
    if (e.kind == RUNNER_DONE && moved)
        d->altered = 0;
    /* An end is written whatever was wished meanwhile; one that is not to be written leaves what is wished now. */
    if (e.kind == RUNNER_DONE && s->action.kind == RUNNER_FINISH && e.look == RUNNER_LOOK_NOT_OVER)
        d->must_leave = d->stopping || (d->heard != WANTED_RUN && !tidies(d));
    s->under_way = false;
    /* What the event points to lives in the statement, which the next action writes over only after the step.
     */
    step(w, d, &e);
}

void daemon_kill(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;
    bool runs = d->has_runner && s->under_way && !s->executed && s->action.kind != RUNNER_REST;

    world_trace(w, d, "is killed");
    /* Its session ends only after a statement that the server has received already; a batch may go on for
     * long. */
    if (runs && is_control(s->action.kind) && random_chance(&w->random, 500))
        execute(w, d);
    s->under_way =
        runs &&
        (s->action.kind == RUNNER_BATCH || s->action.kind == RUNNER_RETRY || s->action.kind == RUNNER_STEP) &&
        random_chance(&w->random, 500);
    if (s->under_way && s->action.kind == RUNNER_STEP) /* it stands in a lock's queue, or reads a big table */
        s->execute_us += random_below(&w->random, random_chance(&w->random, 500) ? 100000 : 3000000);
    end_process(w, d);
}

uint64_t daemon_next_us(const struct daemon *d)
{
    const struct statement *s = &d->statement;
    uint64_t next = UINT64_MAX;

    if (s->under_way)
        next = s->executed ? s->answer_us : s->execute_us;
    if (d->alive && !d->has_runner && d->poll_us && d->poll_us < next)
        next = d->poll_us;
    if (d->notice_us && d->notice_us < next)
        next = d->notice_us;
    if (d->session_back_us && d->session_back_us < next)
        next = d->session_back_us;
    return next;
}

void daemon_turn(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;

    if (d->session_back_us && d->session_back_us <= w->now_us)
        regain_control(w, d);
    else if (d->notice_us && d->notice_us <= w->now_us)
        notice(w, d);
    else if (s->under_way && !s->executed && s->execute_us <= w->now_us) {
        execute(w, d);
        if (!d->alive) /* nobody waits for the answer */
            s->under_way = false;
    } else if (s->under_way && s->executed && s->answer_us <= w->now_us)
        answer(w, d);
    else if (d->alive && !d->has_runner && d->poll_us <= w->now_us)
        claim(w, d);
}
