#include "work/report.h"
#include "base/clock.h"
#include "walk/cursor.h"
#include "mem.h"
#include "text/text.h"

#include <inttypes.h>
#include <stdio.h>

#define PROGRESS_EVERY_US 10000000
#define STANDS_US         5000000 /* no key for so long, which is more than a batch may take: it has no speed, as in backfill.status */
#define LOCKS_EVERY_US    900000 /* locks come by the hundred: a record of each kind so often */

/* Of the time since the last look, that a signal cost: */
#define SHARE_SAID        0.1 /* from here on status names it */
#define SHARE_BEGIN       0.5 /* and the journal says that it begins */
#define SHARE_END         0.1 /* and below this that it is over */

#define ABOUT(report, ...)                                                                                   \
    JOURNAL_ABOUT(.database = (report)->database, .job = (report)->job->id, .name = (report)->job->name,     \
        .table = (report)->job->target, .phase = job_phase_name((report)->runner->migration.phase), __VA_ARGS__)

void report_init(struct report *report, const char *database, const struct job *job, struct runner *runner,
    uint64_t now_us)
{
    *report = (struct report){
        .database = database,
        .job = job,
        .runner = runner,
        .started_us = now_us,
        .walkers = 1,
        .progress_at_us = now_us,
        .moved_keys = runner->work.progress.keys,
        .moved_at_us = now_us,
    };
}

void report_done(struct report *report)
{
    free(report->said_waiting);
    free(report->said_step);
    free(report->not_proven);
}

struct journal_progress report_progress(struct report *report)
{
    const struct runner *r = report->runner;
    struct progress *p = &report->runner->work.progress;
    bool walks = migration_walks(r->migration.phase) || r->migration.walking;

    uint64_t now = now_us();
    bool stands = p->keys == report->moved_keys && now - report->moved_at_us > STANDS_US; /* its speed is that of before */

    progress_update(p, now);
    return (struct journal_progress){.rows = p->keys,
        .rate = !walks ? -1 : stands ? 0 : progress_rate(p),
        .percent = progress_percent(p),
        .eta_s = walks && !stands ? progress_eta_s(p) : -1};
}

void report_start(struct report *report, bool goes_on)
{
    if (report->runner->helps)
        journal_write(LEVEL_INFO, JOURNAL_STATE, ABOUT(report, .sqlstate = NULL), "helps with %s, as %s", report->job->target, report->job->submitted_by);
    else if (report->runner->migration.phase == PHASE_TIDY)
        journal_write(LEVEL_INFO, JOURNAL_STATE, ABOUT(report, .sqlstate = NULL), "is to be tidied up: %s",
            report->job->target);
    else
        journal_write(LEVEL_NOTICE, JOURNAL_STATE, ABOUT(report, .sqlstate = NULL), "running: %s, as %s%s",
            report->job->target, report->job->submitted_by, goes_on ? "; goes on where it stood" : "");
}

void report_walkers(struct report *report, int walkers)
{
    report->walkers = walkers;
    journal_write(LEVEL_INFO, JOURNAL_STATE, ABOUT(report, .sqlstate = NULL), walkers == 1 ? "%d worker" : "%d workers", walkers);
}

void report_helped(struct report *report)
{
    const struct work *k = &report->runner->work;

    journal_write(LEVEL_INFO, JOURNAL_STATE, ABOUT(report, .sqlstate = k->troubled ? k->patience.sqlstate : NULL), "helped: %" PRIu64 " rows done, %" PRIu64 " batches in %.1f s%s",
        k->counts.rows, k->counts.batches, (double)(now_us() - report->started_us) / 1e6, k->troubled ? "; what it met is left to the job's holder" : "");
}

void report_phase(struct report *report, int n_relations, bool more)
{
    const struct runner *r = report->runner;
    if (migration_walks(r->migration.phase) && r->migration.phase != PHASE_BACKFILL && r->migration.estimate == 0)
        journal_write(LEVEL_INFO, JOURNAL_PHASE, ABOUT(report, .sqlstate = NULL), "%s: no row is to do", job_phase_name(r->migration.phase));
    else if (migration_walks(r->migration.phase))
        journal_write(LEVEL_INFO, JOURNAL_PHASE, ABOUT(report, .sqlstate = NULL),
            "%s: about %" PRIu64 " rows in %d %s", job_phase_name(r->migration.phase), r->migration.estimate, n_relations,
            more ? n_relations == 1 ? "partition, and in more" : "partitions, and in more" : n_relations == 1 ? "table" : "partitions");
    else
        journal_write(
            LEVEL_INFO, JOURNAL_PHASE, ABOUT(report, .sqlstate = NULL), "%s", job_phase_name(r->migration.phase));
}

void report_step(struct report *report, const struct step *step)
{
    _cleanup_free_ char *text = step_text(step);

    if (same_string(report->said_step, text)) /* tried again */
        return;
    replace_string(&report->said_step, text);
    journal_write(LEVEL_INFO, JOURNAL_PHASE, ABOUT(report, .sqlstate = NULL), "%s: %s",
        job_phase_name(report->runner->migration.phase), text);
}

void report_slower(struct report *report, const char *statements)
{
    int n = 0;
    char **each = cursor_split(statements, &n);

    for (int i = 0; each && i < n; i++) {
        journal_write(LEVEL_WARNING, JOURNAL_PHASE, ABOUT(report, .sqlstate = NULL), "slower: %s", each[i]);
        free(each[i]);
    }
    free(each);
}

void report_total(struct report *report, uint64_t rows, uint64_t batches, const char *not_proven)
{
    report->knows_total = true;
    report->total_rows = rows;
    report->total_batches = batches;
    replace_string(&report->not_proven, not_proven);
}

void report_preflight(struct report *report, const char *words)
{
    if (words)
        journal_write(LEVEL_INFO, JOURNAL_PHASE, ABOUT(report, .sqlstate = NULL), "preflight: %s", words);
}

void report_retry(struct report *report)
{
    const struct runner *r = report->runner;
    /* A lock that is busy for a moment is daily bread; what keeps a job from its session is not. */
    bool lock = retry_class(r->work.patience.sqlstate) == RETRY_CONTENTION;
    enum journal_level level = lock ? LEVEL_INFO : LEVEL_WARNING;
    uint64_t now = now_us();

    if (!r->work.patience.waiting_for || same_string(report->said_waiting, r->work.patience.waiting_for) ||
        (lock && now - report->said_retry_us < LOCKS_EVERY_US))
        return;
    replace_string(&report->said_waiting, r->work.patience.waiting_for);
    if (lock)
        report->said_retry_us = now;
    journal_write(level, JOURNAL_RETRY, ABOUT(report, .sqlstate = r->work.patience.sqlstate), "waits, and tries again: %s",
        r->work.patience.waiting_for);
}

void report_keeps_place(struct report *report, const char *sqlstate, const char *why)
{
    journal_write(LEVEL_WARNING, JOURNAL_RETRY, ABOUT(report, .sqlstate = sqlstate), "can't give its place to another job: %s", why);
}

char *report_key(const char *key_columns, const char *position)
{
    _cleanup_free_ char *key = cursor_describe(key_columns, position);
    return text_line(key, TEXT_NAME);
}

void report_put_aside(struct report *report, const char *key_columns)
{
    const struct runner *r = report->runner;
    _cleanup_free_ char *key = report_key(key_columns, r->walker.hi);
    _cleanup_free_ char *message = retry_public_message(r->walker.row.sqlstate, r->walker.row.message);

    journal_write(LEVEL_WARNING, JOURNAL_LEFT_BEHIND, ABOUT(report, .sqlstate = r->walker.row.sqlstate),
        "row %s is left behind: %s", key, message);
}

void report_untangled(struct report *report, const char *who)
{
    journal_write(LEVEL_NOTICE, JOURNAL_THROTTLE, ABOUT(report, .sqlstate = NULL),
        "%s was cancelled: an ANALYZE that waited for the index build, which waited for it", who);
}

void report_relieved(
    struct report *report, const char *what, const char *who, double waited_ms, double limit_ms, uint64_t now_us)
{
    char more[48] = "";

    report->relieved++;
    if (now_us - report->said_relieved_us < LOCKS_EVERY_US)
        return;
    if (report->relieved > 1)
        snprintf(more, sizeof(more), "; so were %" PRIu64 " others since", report->relieved - 1);
    journal_write(LEVEL_INFO, JOURNAL_THROTTLE,
        ABOUT(report, .signal = signal_name(SIGNAL_BLOCKED_MS), .value = waited_ms, .limit = limit_ms),
        "%s has waited %.0f ms on %s: it was cut short%s", who, waited_ms, what, more);
    report->relieved = 0;
    report->said_relieved_us = now_us;
}

void report_locked(struct report *report, uint64_t rows, const char *pids)
{
    int room = (int)(sizeof(report->locked_by) / sizeof(report->locked_by[0]));

    report->locked_rows += rows;
    while (pids && *pids) {
        char *end;
        int pid = (int)strtol(pids, &end, 10), i = 0;
        while (i < report->n_locked_by && report->locked_by[i] != pid)
            i++;
        if (end != pids && i == report->n_locked_by && i < room)
            report->locked_by[report->n_locked_by++] = pid;
        pids = end != pids ? end : pids + 1;
    }
}

char *report_name_locked(struct report *report, bool at_once, uint64_t now_us)
{
    char *pids = NULL;
    size_t size = 0;

    if (report->locked_rows == 0 || report->locked_naming ||
        (!at_once && now_us - report->said_locked_us < LOCKS_EVERY_US))
        return NULL;
    FILE *out = must(open_memstream(&pids, &size));
    for (int i = 0; i < report->n_locked_by; i++)
        fprintf(out, "%s%d", i ? "," : "{", report->locked_by[i]);
    fputs(report->n_locked_by ? "}" : "{}", out);
    if (fclose(out) != 0)
        abort();
    report->locked_naming = report->locked_rows;
    report->locked_rows = 0;
    report->n_locked_by = 0;
    report->said_locked_us = now_us;
    return pids;
}

void report_say_locked(struct report *report, const char *names)
{
    uint64_t n = report->locked_naming;

    report->locked_naming = 0;
    if (n > 0)
        journal_write(LEVEL_INFO, JOURNAL_LEFT_BEHIND, ABOUT(report, .sqlstate = SQLSTATE_LOCK),
            "%" PRIu64 " %s locked by %s: put aside, tried again later", n, n == 1 ? "row is" : "rows are",
            names && *names ? names : "another session");
}

void report_end(struct report *report, const struct runner_action *action, const char *given_back)
{
    const struct runner *r = report->runner;

    /* What was put aside at last, or while the control session was away. */
    report->locked_naming += report->locked_rows;
    report->locked_rows = 0;
    report_say_locked(report, NULL);

    struct journal_progress p = report_progress(report);
    if (action && action->kind == RUNNER_FINISH && r->work.ending.state == JOB_SUCCEEDED)
        p.percent = 100; /* whatever was estimated */

    if (!action) /* the database says whose it is by now (database.c) */
        return;
    if (action->kind == RUNNER_GIVE_WAY)
        journal_write(LEVEL_NOTICE, JOURNAL_STATE, ABOUT(report, .progress = &p, .sqlstate = r->work.patience.sqlstate),
            "gives its place to others, and waits for %.0f s: %s",
            (double)(action->until_us > now_us() ? action->until_us - now_us() : 0) / 1e6, r->work.patience.waiting_for);
    else if (action->kind == RUNNER_RELEASE)
        journal_write(LEVEL_NOTICE, JOURNAL_STATE, ABOUT(report, .progress = &p), "%s%s%s",
            r->work.ending.state == JOB_PAUSED ? "paused" : "given back to the queue",
            r->work.ending.state != JOB_PAUSED && given_back ? ": " : "",
            r->work.ending.state != JOB_PAUSED && given_back ? given_back : "");
    else if (r->migration.phase == PHASE_TIDY)
        journal_write(r->work.ending.error ? LEVEL_ERROR : LEVEL_NOTICE, JOURNAL_STATE, ABOUT(report, .sqlstate = NULL),
            r->work.ending.error ? "can't be tidied up: %s" : "is tidied up%s", r->work.ending.error ? r->work.ending.error : "");
    else
        journal_write(r->work.ending.state == JOB_FAILED ? LEVEL_ERROR : LEVEL_NOTICE, JOURNAL_STATE,
            ABOUT(report, .progress = &p, .sqlstate = r->walker.row.sqlstate),
            "%s%s%s: %" PRIu64 " rows done, %" PRIu64 " batches%s %.1f s since this start%s%s",
            job_state_name(r->work.ending.state), r->work.ending.error ? ": " : "", r->work.ending.error ? r->work.ending.error : "",
            report->knows_total ? report->total_rows : r->work.counts.rows, report->knows_total ? report->total_batches : r->work.counts.batches,
            report->knows_total ? " in all;" : " in", (double)(now_us() - report->started_us) / 1e6,
            report->not_proven ? ". " : "", report->not_proven ? report->not_proven : "");
}

void report_left(struct report *report)
{
    struct journal_progress p = report_progress(report);
    journal_write(LEVEL_WARNING, JOURNAL_STATE, ABOUT(report, .progress = &p, .sqlstate = report->runner->work.patience.sqlstate), "left as it stands: %s",
        report->runner->work.patience.waiting_for);
}

/* What else it waits for: rows that others had locked, which it comes back to. */
static char *describe_waiting(const struct report *report)
{
    const struct runner *r = report->runner;
    char *text = NULL;

    if (r->work.patience.waiting_for || r->walker.round.last == 0 || r->walker.round.left == 0)
        return copy_string(r->work.patience.waiting_for);
    if (asprintf(&text, r->walker.round.left == 1 ? "%" PRIu64 " row that was locked is tried again%s%s" : "%" PRIu64 " rows that were locked are tried again%s%s",
            r->walker.round.left, report->locked_by_now ? ": some are still " : "", report->locked_by_now ? report->locked_by_now : "") < 0)
        abort();
    return text;
}

static void say_progress(struct report *report)
{
    struct journal_progress p = report_progress(report);
    _cleanup_free_ char *waiting = describe_waiting(report);
    _cleanup_free_ char *how_far = journal_progress_text(&p, ", ");

    _cleanup_free_ char *pressure = report->throttled ? pressure_describe(pace_slowed_by(&report->runner->work.pace)) : NULL;

    if (*how_far)
        journal_write(LEVEL_INFO, JOURNAL_PROGRESS, ABOUT(report, .progress = &p), "%s%s%s", how_far,
            pressure ? ", slowed down by " : waiting ? ", waiting: " : "", pressure ? pressure : waiting ? waiting : "");
}

/* Another signal that has taken over is told, too, but not each time that two take turns. */
static void say_throttle(struct report *report, double share, uint64_t now_us)
{
    const struct pressure_verdict *v = pace_slowed_by(&report->runner->work.pace);
    _cleanup_free_ char *text = pressure_describe(v);

    bool another = report->throttled && v->signal != report->by.signal && now_us - report->throttle_said_us >= PROGRESS_EVERY_US;
    if ((!report->throttled || another) && share > SHARE_BEGIN && text) {
        report->throttled = true;
        report->throttle_said_us = now_us;
        report->by = *v;
        journal_write(LEVEL_NOTICE, JOURNAL_THROTTLE,
            ABOUT(report, .signal = signal_name(v->signal), .value = v->value, .limit = v->limit),
            "slowed down by %s", text);
    } else if (report->throttled && share < SHARE_END) {
        report->throttled = false;
        journal_write(LEVEL_NOTICE, JOURNAL_THROTTLE,
            ABOUT(report, .signal = signal_name(report->by.signal), .value = report->by.value,
                .limit = report->by.limit),
            "slowed down no longer");
    }
}

/* A speed that the job is held to is what its user wants, and not worth a record: status alone names it. */
static char *describe_rate(const struct report *report)
{
    const struct work *k = &report->runner->work;
    return pressure_describe(&(struct pressure_verdict){
        .signal = SIGNAL_RATE, .value = progress_rate(&k->progress), .limit = report->walkers * k->pace.limits.max_keys_per_s, .known = true});
}

/* share of the time since the last look that pressure has cost, and that the target speed has. */
static char *why_waiting(struct report *report, double share, double rate_share, uint64_t now_us)
{
    const struct runner *r = report->runner;
    _cleanup_free_ char *pressure =
        share > SHARE_SAID && share >= rate_share ? pressure_describe(pace_slowed_by(&r->work.pace)) : NULL;
    _cleanup_free_ char *step = r->doing == RUNNER_STEP ? step_text(report->step) : NULL;
    _cleanup_free_ char *rate =
        rate_share > SHARE_SAID && r->work.pace.limits.max_keys_per_s > 0 ? describe_rate(report) : NULL;

    if (r->work.progress.keys != report->moved_keys) {
        report->moved_keys = r->work.progress.keys;
        report->moved_at_us = now_us;
    }
    _cleanup_free_ char *waiting = describe_waiting(report), *both = NULL;
    if (step && waiting && asprintf(&both, "%s; the last try: %s", step, waiting) < 0)
        abort();
    return copy_string(pressure ? pressure : rate ? rate : both ? both : waiting ? waiting : step);
}

char *report_look(struct report *report, uint64_t interval_us, uint64_t now_us)
{
    const uint64_t *throttled_us = report->runner->work.counts.throttled_us;
    uint64_t throttled = 0, rate = throttled_us[SIGNAL_RATE];

    for (int i = 0; i < _SIGNAL_MAX; i++)
        throttled += i == SIGNAL_RATE ? 0 : throttled_us[i];
    double rate_share = (double)(rate - report->rate_before_us) / (double)interval_us;
    report->rate_before_us = rate;
    double share = (double)(throttled - report->throttled_before_us) / (double)interval_us;
    report->throttled_before_us = throttled;
    say_throttle(report, share, now_us);
    if (now_us - report->progress_at_us >= PROGRESS_EVERY_US) {
        report->progress_at_us = now_us;
        say_progress(report);
        replace_string(&report->said_waiting, NULL); /* what still stands in the way may be said again */
    }
    return why_waiting(report, share, rate_share, now_us);
}

/* What looks at all rows have shown, as members that follow others. */
static void write_looks(FILE *out, const struct migration *m)
{
    fprintf(out, "%s%s%s", m->unseen || m->hidden ? ", \"unseen\": true" : "", migration_leaves_unmet(m) ? ", \"unmet\": true" : "",
        m->all_at_once && !m->hidden ? ", \"all_at_once\": true" : "");
}

char *report_looked(const struct report *report)
{
    const struct migration *m = &report->runner->migration;
    char *text = NULL;
    size_t size = 0;
    FILE *out = must(open_memstream(&text, &size));

    fprintf(out, "{\"walks\": %" PRIu32, m->verified);
    write_looks(out, m);
    fputc('}', out);
    if (fclose(out) != 0)
        abort();
    return text;
}

/* Names and numbers alone, so nothing needs escaping. */
char *report_measured(const struct report *report)
{
    const struct runner_counts *counts = &report->runner->work.counts;
    char *text = NULL;
    size_t size = 0;
    const char *comma = "";
    FILE *out = must(open_memstream(&text, &size));

    fprintf(out, "{\"waited_s\": %.3f", (double)counts->rest_us / 1e6);
    fprintf(out, ", \"batch_ms\": {\"timed\": %" PRIu64 ", \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}",
        counts->batches, (double)histogram_quantile(&counts->batch_us, 0.5) / 1e3,
        (double)histogram_quantile(&counts->batch_us, 0.99) / 1e3, (double)counts->batch_us.max_us / 1e3);
    fputs(", \"retries\": {", out);
    for (int kind = 0; kind <= RETRY_PERMANENT; kind++)
        if (counts->retries[kind]) {
            fprintf(out, "%s\"%s\": %" PRIu64, comma, retry_class_name((enum retry_class)kind),
                counts->retries[kind]);
            comma = ", ";
        }
    fprintf(out,
        "}, \"locked\": {\"batches\": %" PRIu64 ", \"rows\": %" PRIu64 ", \"done_later\": %" PRIu64
        ", \"cancelled_for_others\": %" PRIu64,
        counts->skipping, counts->skipped, counts->retried, counts->relieved);
    fputs("}", out);
    if (report->runner->migration.plan.verify)
        fprintf(out, ", \"verified\": {\"walks\": %" PRIu32 ", \"found\": %" PRIu64 "}",
            report->runner->migration.verified, counts->found_again);
    write_looks(out, &report->runner->migration);
    fputs(", \"throttled_s\": {", out);
    comma = "";
    for (int i = 0; i < _SIGNAL_MAX; i++)
        if (counts->throttled_us[i]) {
            fprintf(out, "%s\"%s\": %.3f", comma, signal_name((enum pressure_signal)i),
                (double)counts->throttled_us[i] / 1e6);
            comma = ", ";
        }
    fputs("}}", out);
    if (fclose(out) != 0)
        abort();
    return text;
}
