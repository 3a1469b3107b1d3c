#include "show/metrics.h"
#include "mem.h"
#include "text/openmetrics.h"

#include <inttypes.h>
#include <math.h>
#include <sys/resource.h>

#define FAMILY(name_, kind_, unit_, help_)                                                                   \
    {                                                                                                        \
        .name = name_, .kind = OPENMETRICS_##kind_, .unit = unit_, .help = help_                             \
    }

typedef const struct openmetrics_family family;

/* Of a job: its database, its id, which two jobs of a long name never share, its name, and one more. */
#define MAX_LABELS 5

struct labels {
    char id[24];
    struct openmetrics_label at[MAX_LABELS];
};

static const struct openmetrics_label *label_job(
    struct labels *labels, const struct job_view *job, const char *name, const char *value)
{
    snprintf(labels->id, sizeof(labels->id), "%" PRId64, job->id);
    labels->at[0] = (struct openmetrics_label){"database", job->database};
    labels->at[1] = (struct openmetrics_label){"id", labels->id};
    labels->at[2] = (struct openmetrics_label){"name", job->name};
    labels->at[3] = (struct openmetrics_label){name, value};
    labels->at[4] = (struct openmetrics_label){NULL, NULL};
    return labels->at;
}

static void write_for_job(struct openmetrics *om, family *f, const struct job_view *job, const char *name,
    const char *value, double number)
{
    struct labels labels;
    openmetrics_sample(om, f, label_job(&labels, job, name, value), number);
}

/* ---- The daemon and its databases
 * -------------------------------------------------------------------------------------- */

static family build = FAMILY("backfilld_build", INFO, NULL, "The daemon's version.");
static family process_start =
    FAMILY("process_start_time_seconds", GAUGE, "seconds", "When the daemon was started, Unix time.");
static family process_cpu =
    FAMILY("process_cpu_seconds", COUNTER, "seconds", "CPU time that the daemon has used.");
static family database_up = FAMILY("backfilld_database_up", GAUGE, NULL,
    "Whether the daemon is connected to the database and can serve it: 1 or 0.");
static family sessions = FAMILY("backfilld_sessions", GAUGE, NULL, "Sessions open in the database, by kind.");
static family running_jobs = FAMILY("backfilld_running_jobs", GAUGE, NULL, "Jobs that run.");
static family ended_jobs = FAMILY("backfilld_ended_jobs", COUNTER, NULL,
    "Jobs that this daemon has ended or given back, by the state that they came to.");

static void write_daemon(struct openmetrics *om, const struct snapshot *s)
{
    struct rusage used;

    openmetrics_begin(om, &build);
    openmetrics_sample(
        om, &build, (const struct openmetrics_label[]){{"version", BACKFILLD_VERSION}, {NULL, NULL}}, 1);
    openmetrics_begin(om, &process_start);
    openmetrics_sample(om, &process_start, NULL, s->started_at);
    getrusage(RUSAGE_SELF, &used);
    openmetrics_begin(om, &process_cpu);
    openmetrics_sample(om, &process_cpu, NULL,
        (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
            (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

static void write_for_database(struct openmetrics *om, family *f, const struct database_view *database,
    const char *name, const char *value, double number)
{
    const struct openmetrics_label labels[] = {{"database", database->name}, {name, value}, {NULL, NULL}};
    openmetrics_sample(om, f, labels, number);
}

static void write_databases(struct openmetrics *om, const struct snapshot *s)
{
    static const char *const kinds[] = {
        [SESSION_CONTROL] = "control", [SESSION_MONITOR] = "monitor", [SESSION_WORKER] = "worker"};

    openmetrics_begin(om, &database_up);
    for (const struct database_view *d = s->databases; d < s->databases + s->n_databases; d++)
        write_for_database(om, &database_up, d, NULL, NULL, d->up);
    openmetrics_begin(om, &sessions);
    for (const struct database_view *d = s->databases; d < s->databases + s->n_databases; d++)
        for (int kind = 0; kind < _SESSION_KIND_MAX; kind++)
            write_for_database(om, &sessions, d, "kind", kinds[kind], d->sessions[kind]);
    openmetrics_begin(om, &running_jobs);
    for (const struct database_view *d = s->databases; d < s->databases + s->n_databases; d++)
        write_for_database(om, &running_jobs, d, NULL, NULL, d->running);
    openmetrics_begin(om, &ended_jobs);
    for (const struct database_view *d = s->databases; d < s->databases + s->n_databases; d++)
        for (int state = 0; state < _JOB_STATE_MAX; state++)
            if (state != JOB_RUNNING)
                write_for_database(om, &ended_jobs, d, "state", job_state_name((enum job_state)state),
                    (double)d->ended[state]);
}

/* ---- Jobs: one number each
 * --------------------------------------------------------------------------------------------- */

/* NaN: there is no such number, and no sample. */
static double if_known(double value)
{
    return value >= 0 ? value : NAN;
}

static double while_it_runs(const struct job_view *job, double value)
{
    return job->ended_at > 0 ? NAN : if_known(value);
}

static double started_at(const struct job_view *job)
{
    return job->started_at;
}

static double moved_at(const struct job_view *job)
{
    return job->moved_at;
}

static double ended_at(const struct job_view *job)
{
    return job->ended_at > 0 ? job->ended_at : NAN;
}

static double rows(const struct job_view *job)
{
    return (double)job->counts.rows;
}

static double keys(const struct job_view *job)
{
    return (double)job->counts.keys;
}

static double scanned(const struct job_view *job)
{
    return (double)job->keys;
}

static double estimated(const struct job_view *job)
{
    return job->estimate ? (double)job->estimate : NAN;
}

/* What is done is done, whatever was estimated. */
static double progress(const struct job_view *job)
{
    return job->state == JOB_SUCCEEDED ? 1 : if_known(job->percent / 100);
}

static double eta_s(const struct job_view *job)
{
    return while_it_runs(job, job->eta_s);
}

static double rate(const struct job_view *job)
{
    return while_it_runs(job, job->rate);
}

static double max_rate(const struct job_view *job)
{
    return job->max_keys_per_s > 0 ? while_it_runs(job, job->max_keys_per_s) : NAN;
}

static double workers(const struct job_view *job)
{
    return while_it_runs(job, job->workers);
}

static double pace(const struct job_view *job)
{
    return while_it_runs(job, job->pace);
}

static double wal_bytes(const struct job_view *job)
{
    return (double)job->counts.wal_bytes;
}

static double relieved(const struct job_view *job)
{
    return (double)job->counts.relieved;
}

static double waited_s(const struct job_view *job)
{
    return (double)job->counts.rest_us / 1e6;
}

static const struct {
    family family;
    double (*read)(const struct job_view *job);
} job_families[] = {
    {FAMILY("backfilld_job_start_timestamp_seconds", GAUGE, "seconds",
         "When this daemon took the job up, Unix time."),
        started_at},
    {FAMILY("backfilld_job_last_progress_timestamp_seconds", GAUGE, "seconds",
         "When the job last came on, Unix time."),
        moved_at},
    {FAMILY("backfilld_job_end_timestamp_seconds", GAUGE, "seconds",
         "When the job ended or was given back, Unix time. Its series are gone five minutes later."),
        ended_at},
    {FAMILY(
         "backfilld_job_rows", COUNTER, NULL, "Rows that the job has changed since this daemon took it up."),
        rows},
    {FAMILY("backfilld_job_keys", COUNTER, NULL, "Keys that it has scanned since then."), keys},
    {FAMILY("backfilld_job_scanned_keys", GAUGE, NULL, "Keys that it has scanned in its whole life."),
        scanned},
    {FAMILY("backfilld_job_estimated_keys", GAUGE, NULL, "Keys that there are, as the planner guessed."),
        estimated},
    {FAMILY("backfilld_job_progress_ratio", GAUGE, "ratio", "How much of the estimate is done, 0 to 1."),
        progress},
    {FAMILY("backfilld_job_eta_seconds", GAUGE, "seconds", "How long it will take at the rate of now."),
        eta_s},
    {FAMILY("backfilld_job_keys_per_second", GAUGE, NULL, "Its rate over the last ten seconds or so."), rate},
    {FAMILY("backfilld_job_max_keys_per_second", GAUGE, NULL,
         "The rate that it is held to (max_rows_per_s), if it is."),
        max_rate},
    {FAMILY("backfilld_job_workers", GAUGE, NULL, "Sessions that are at work for it, of all daemons."), workers},
    {FAMILY("backfilld_job_pace_ratio", GAUGE, "ratio",
         "The share of the time that it may be at work, by what presses on it: 0 holds it."),
        pace},
    {FAMILY("backfilld_job_wal_bytes", COUNTER, "bytes",
         "WAL that was written during its batches, by whomever."),
        wal_bytes},
    {FAMILY("backfilld_job_relieved_batches", COUNTER, NULL,
         "Batches that were cancelled because another session waited on them."),
        relieved},
    {FAMILY("backfilld_job_error_wait_seconds", COUNTER, "seconds", "Time that it rested after errors."),
        waited_s},
};

static void write_numbers(struct openmetrics *om, const struct snapshot *s)
{
    for (size_t i = 0; i < sizeof(job_families) / sizeof(job_families[0]); i++) {
        openmetrics_begin(om, &job_families[i].family);
        for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++) {
            double value = job_families[i].read(job);
            if (!isnan(value))
                write_for_job(om, &job_families[i].family, job, NULL, NULL, value);
        }
    }
}

/* ---- Jobs: several each
 * ------------------------------------------------------------------------------------------------ */

static family job_info = FAMILY("backfilld_job", INFO, NULL, "The job's table.");
static family job_state =
    FAMILY("backfilld_job_state", GAUGE, NULL, "1 for the state that the job is in, else 0.");
static family job_phase =
    FAMILY("backfilld_job_phase", GAUGE, NULL, "1 for the phase that the job is in, else 0.");
static family batch_duration = FAMILY("backfilld_job_batch_duration_seconds", HISTOGRAM, "seconds",
    "How long its batches took, from sending to the answer.");
static family throttled = FAMILY("backfilld_job_throttled_seconds", COUNTER, "seconds",
    "Time that it rested between batches, by the signal that it rested for.");
static family errors =
    FAMILY("backfilld_job_errors", COUNTER, NULL, "Errors that it met, by what they mean for it.");
static family left_behind = FAMILY("backfilld_job_left_behind_rows", GAUGE, NULL,
    "Rows that this daemon has put aside for it and not done since, by reason.");

static void write_states(struct openmetrics *om, const struct snapshot *s)
{
    openmetrics_begin(om, &job_info);
    for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++)
        write_for_job(om, &job_info, job, "table", job->table, 1);
    openmetrics_begin(om, &job_state);
    for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++)
        for (int i = 0; i < _JOB_STATE_MAX; i++)
            write_for_job(
                om, &job_state, job, "state", job_state_name((enum job_state)i), (int)job->state == i);
    openmetrics_begin(om, &job_phase);
    for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++)
        for (int i = 0; i < _JOB_PHASE_MAX; i++)
            write_for_job(
                om, &job_phase, job, "phase", job_phase_name((enum job_phase)i), (int)job->phase == i);
}

static void write_counts(struct openmetrics *om, const struct snapshot *s)
{
    struct labels labels;

    openmetrics_begin(om, &batch_duration);
    for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++) {
        const struct histogram *h = &job->counts.batch_us;
        openmetrics_histogram(om, &batch_duration, label_job(&labels, job, NULL, NULL), histogram_bounds_s,
            h->wide, HISTOGRAM_BOUNDS, h->count, (double)h->sum_us / 1e6);
    }
    openmetrics_begin(om, &throttled);
    for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++)
        for (int i = 0; i < _SIGNAL_MAX; i++)
            write_for_job(om, &throttled, job, "signal", signal_name((enum pressure_signal)i),
                (double)job->counts.throttled_us[i] / 1e6);
    openmetrics_begin(om, &errors);
    for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++)
        for (int i = 0; i <= RETRY_PERMANENT; i++)
            write_for_job(om, &errors, job, "class", retry_class_name((enum retry_class)i),
                (double)job->counts.retries[i]);
    openmetrics_begin(om, &left_behind);
    for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++) {
        write_for_job(om, &left_behind, job, "reason", "error", (double)job->counts.put_aside);
        write_for_job(om, &left_behind, job, "reason", "locked", (double)job_view_locked(job));
    }
}

/* ---- Signals
 * ------------------------------------------------------------------------------------------------------- */

enum reading_unit {
    IN_SECONDS,
    IN_BYTES,
    IN_RATIO,
    IN_FILES,
    _READING_UNIT_MAX,
    IN_NOTHING = -1,
};

/* What to multiply a value and its limit by, and then it is in what. */
static double in_base_unit(enum pressure_signal signal, enum reading_unit *ret_unit)
{
    switch (signal) {
    case SIGNAL_MONITOR:
    case SIGNAL_LAG_MS:
    case SIGNAL_BLOCKED_MS: *ret_unit = IN_SECONDS; return 1e-3;
    case SIGNAL_XMIN_S: *ret_unit = IN_SECONDS; return 1;
    case SIGNAL_LAG_MB:
    case SIGNAL_SLOT_MB: *ret_unit = IN_BYTES; return 1e6;
    case SIGNAL_STANDBY:
    case SIGNAL_DEAD:
    case SIGNAL_CPU:
    case SIGNAL_IO:
    case SIGNAL_DISK:
    case SIGNAL_LATENCY:
    case SIGNAL_PROBE: *ret_unit = IN_RATIO; return 1;
    case SIGNAL_ARCHIVE: *ret_unit = IN_FILES; return 1;
    case SIGNAL_RATE:
    case _SIGNAL_MAX:
    case SIGNAL_NONE: break;
    }
    *ret_unit = IN_NOTHING;
    return 0;
}

#define READING "What a signal reads for the job: the worst of its database, or of its own table."
#define LIMIT   "The limit of that signal for the job, at which it stops."

static const struct {
    family value, limit;
} readings[_READING_UNIT_MAX] = {
    [IN_SECONDS] = {FAMILY("backfilld_job_signal_seconds", GAUGE, "seconds", READING),
        FAMILY("backfilld_job_signal_limit_seconds", GAUGE, "seconds", LIMIT)},
    [IN_BYTES] = {FAMILY("backfilld_job_signal_bytes", GAUGE, "bytes", READING),
        FAMILY("backfilld_job_signal_limit_bytes", GAUGE, "bytes", LIMIT)},
    [IN_RATIO] = {FAMILY("backfilld_job_signal_ratio", GAUGE, "ratio", READING),
        FAMILY("backfilld_job_signal_limit_ratio", GAUGE, "ratio", LIMIT)},
    [IN_FILES] = {FAMILY("backfilld_job_signal_files", GAUGE, "files", READING),
        FAMILY("backfilld_job_signal_limit_files", GAUGE, "files", LIMIT)},
};
static family signal_pressure = FAMILY("backfilld_job_signal_pressure_ratio", GAUGE, "ratio",
    "A signal's value as a share of its limit; 1 when it can't be read, for then it counts as at its limit.");
static family signal_readable =
    FAMILY("backfilld_job_signal_readable", GAUGE, NULL, "Whether the signal can be read: 1 or 0.");

/* A reading of the job, in the signal's own unit; false when there is none. */
static bool read_signal(
    const struct job_view *job, enum pressure_signal signal, double *ret_value, bool *ret_known)
{
    *ret_known = job->pressure.readings[signal].known;
    *ret_value = job->pressure.readings[signal].value;
    if (signal == SIGNAL_MONITOR) { /* no reading, but how old they are */
        *ret_known = job->pressure.read_at_us > 0;
        *ret_value = (double)job->read_us_ago / 1e3;
    }
    return signal == SIGNAL_MONITOR || job->pressure.there[signal];
}

/* Of a signal of a job: what the family says, or NaN. */
typedef double signal_number(const struct job_view *job, enum pressure_signal signal, family *f);

static void write_signals(struct openmetrics *om, const struct snapshot *s, family *f, signal_number *number)
{
    openmetrics_begin(om, f);
    for (const struct job_view *job = s->jobs; job < s->jobs + s->n_jobs; job++)
        for (int i = 0; i < _SIGNAL_MAX; i++) {
            bool counts = job->ended_at <= 0 && !job->limits.off[i];
            double n = counts ? number(job, (enum pressure_signal)i, f) : NAN;
            if (!isnan(n))
                write_for_job(om, f, job, "signal", signal_name((enum pressure_signal)i), n);
        }
}

static double value_in(const struct job_view *job, enum pressure_signal signal, family *f)
{
    enum reading_unit unit;
    double value, factor = in_base_unit(signal, &unit);
    bool known, there = read_signal(job, signal, &value, &known);
    return there && known && unit != IN_NOTHING && f == &readings[unit].value ? value * factor : NAN;
}

static double limit_in(const struct job_view *job, enum pressure_signal signal, family *f)
{
    enum reading_unit unit;
    double factor = in_base_unit(signal, &unit);
    return unit != IN_NOTHING && f == &readings[unit].limit ? job->limits.limit[signal] * factor : NAN;
}

static double pressure_of(const struct job_view *job, enum pressure_signal signal, family *f)
{
    double value;
    bool known;
    (void)f;
    if (!read_signal(job, signal, &value, &known))
        return NAN;
    return known ? value / job->limits.limit[signal] : 1;
}

static double readable(const struct job_view *job, enum pressure_signal signal, family *f)
{
    double value;
    bool known;
    (void)f;
    return read_signal(job, signal, &value, &known) ? known : NAN;
}

char *metrics_text(const struct snapshot *s, bool older, size_t *ret_size)
{
    char *text = NULL;
    struct openmetrics om = {.out = must(open_memstream(&text, ret_size)), .older = older};

    write_daemon(&om, s);
    write_databases(&om, s);
    write_states(&om, s);
    write_numbers(&om, s);
    write_counts(&om, s);
    for (int i = 0; i < _READING_UNIT_MAX; i++) {
        write_signals(&om, s, &readings[i].value, value_in);
        write_signals(&om, s, &readings[i].limit, limit_in);
    }
    write_signals(&om, s, &signal_pressure, pressure_of);
    write_signals(&om, s, &signal_readable, readable);
    openmetrics_end(&om);
    if (fclose(om.out) != 0)
        abort();
    return text;
}
