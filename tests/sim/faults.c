/* What befalls an action: whether it is executed, what is answered, and how long that takes. */
#include "world.h"

#include <string.h>

static const struct {
    const char *sqlstate;
    enum retry_class retry;
} errors[] = {
    {"53100", RETRY_LATER},
    {"53300", RETRY_LATER},
    {"58030", RETRY_LATER},
    {"57P01", RETRY_RECONNECT},
    {"08006", RETRY_RECONNECT},
    {"25006", RETRY_RECONNECT},
    {"55P03", RETRY_CONTENTION},
    {"40P01", RETRY_CONTENTION},
    {"40001", RETRY_CONTENTION},
    {"57014", RETRY_CANCELLED},
    {"BF001", RETRY_STALE},
    {"42P01", RETRY_ALTERED},
    {"42703", RETRY_ALTERED},
    {"22012", RETRY_ROW},
    {"P0001", RETRY_RAISED},
    {"54000", RETRY_RAISED},
    {"XX000", RETRY_UNKNOWN},
    {"MY001", RETRY_UNKNOWN},
    {"42501", RETRY_PERMANENT},
};

static bool is_end(enum runner_action_kind kind)
{
    return kind == RUNNER_FINISH || kind == RUNNER_RELEASE;
}

/* Whether the job may fail of an error, as the promises of lib/run/runner.h have it. */
static bool may_fail_of(struct daemon *d, enum retry_class retry)
{
    enum runner_action_kind kind = d->statement.action.kind;
    bool passes = retry <= RETRY_CANCELLED;

    if (is_end(kind) || passes)
        return false;
    if (kind == RUNNER_CONNECT)
        return !d->runner.ever_connected && retry != RETRY_UNKNOWN;
    switch (retry) {
    case RETRY_STALE: return d->runner.migration.phase == PHASE_PREFLIGHT;
    case RETRY_ALTERED:
        return (kind != RUNNER_BATCH && kind != RUNNER_BOUND && kind != RUNNER_RETRY && kind != RUNNER_COMPARE) ||
               ++d->altered > 1;
    case RETRY_ROW: return kind != RUNNER_BATCH && kind != RUNNER_RETRY;
    case RETRY_RAISED: return kind == RUNNER_STEP || kind == RUNNER_SURVEY;
    case RETRY_UNKNOWN: return false;
    case RETRY_LATER:
    case RETRY_RECONNECT:
    case RETRY_CONTENTION:
    case RETRY_CANCELLED:
    case RETRY_PERMANENT: return true;
    }
    return true;
}

static void refuse(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;
    uint32_t n = sizeof(errors) / sizeof(errors[0]);
    uint32_t i = random_below(&w->random, n);

    /* Those that end a job stand at the end of the table, and are rarer. */
    if (errors[i].retry >= RETRY_STALE && random_chance(&w->random, 700))
        i = random_below(&w->random, 10);
    s->fate = FATE_REFUSED;
    s->sqlstate = errors[i].sqlstate;
    s->message = "fault";
    if (may_fail_of(d, errors[i].retry))
        w->may_fail = true;
}

static enum fate draw_fate(struct world *w)
{
    const struct fault_rates *r = &w->rates;
    if (w->calm)
        return FATE_FINE;
    if (random_chance(&w->random, r->never_sent))
        return FATE_NEVER_SENT;
    if (random_chance(&w->random, r->rolled_back))
        return FATE_ROLLED_BACK;
    if (random_chance(&w->random, r->answer_lost))
        return FATE_ANSWER_LOST;
    if (random_chance(&w->random, r->refused))
        return FATE_REFUSED;
    return FATE_FINE;
}

static uint32_t work_us(struct world *w, const struct runner_action *a)
{
    if (a->kind == RUNNER_CONNECT)
        return random_between(&w->random, 2000, 20000);
    if (a->kind == RUNNER_BATCH)
        return random_between(&w->random, 300, 600) +
               (a->keys ? a->keys : 20) * random_between(&w->random, 20, 60);
    if (a->kind == RUNNER_STEP)
        return random_between(&w->random, 300, random_chance(&w->random, 500) ? 2000 : 60000);
    return random_between(&w->random, 100, 1000);
}

void fault_decide(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;
    uint32_t us = work_us(w, &s->action);

    if (s->action.kind == RUNNER_REST) {
        s->fate = FATE_FINE;
        s->execute_us = s->answer_us = s->action.until_us + random_below(&w->random, 100);
        return;
    }
    s->fate = draw_fate(w);
    if (s->fate == FATE_REFUSED)
        refuse(w, d);
    if (s->fate == FATE_FINE && w->timeout_keys && s->action.kind == RUNNER_BATCH &&
        (d->runner.walker.reckoned ? (uint32_t)(s->batch.hi - s->batch.lo) : s->action.keys) > w->timeout_keys) {
        s->fate = FATE_REFUSED;
        s->sqlstate = "57014";
        s->message = "statement timeout";
    }
    if (w->now_us < w->outage_until_us) {
        s->fate = s->action.kind == RUNNER_CONNECT ? FATE_REFUSED : FATE_NEVER_SENT;
        s->sqlstate = random_chance(&w->random, 500) ? "57P03" : SQLSTATE_LOST;
        s->message = "the server is not there";
        d->outage_tries++;
    }
    if (!w->calm && random_chance(&w->random, w->rates.slow))
        us *= 10;
    s->execute_us = w->now_us + us;
    s->answer_us = s->execute_us + random_between(&w->random, 10, 200);
}

void fault_abort(struct world *w, struct daemon *d)
{
    struct statement *s = &d->statement;
    uint32_t draw = random_below(&w->random, 10);

    if (s->executed) { /* it was quicker, and its answer arrives or not */
        if (draw == 0)
            s->answer = (struct runner_event){.kind = RUNNER_LOST};
        return;
    }
    if (draw < 3)
        return;
    s->fate = draw < 6 ? FATE_ROLLED_BACK : FATE_REFUSED;
    s->sqlstate = "57014";
    s->message = "cancelled";
    s->execute_us = w->now_us + random_between(&w->random, 1, 100);
    s->answer_us = s->execute_us + random_between(&w->random, 1, 100);
}
