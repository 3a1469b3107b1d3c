#include "service/manager.h"
#include "base/clock.h"
#include "service/database.h"
#include "mem.h"
#include "base/notify.h"
#include "show/web.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define BAR_EVERY_US   200000
#define STOP_AT_MOST_S 30 /* after SIGTERM; then jobs are left as they stand, which loses nothing */

struct manager {
    struct event_base *base;
    struct config *config;
    const char *config_path;
    bool drain, stopping;

    int n_databases;
    struct database *
        *databases;     /* those of the file, and any that were taken out of it and are still ending */
    struct event *reap; /* closes those that have ended */
    struct event *bar;
    struct notify *notify;
    struct event *stop_deadline;
    int exit_status;

    double started_at;
    struct web *web; /* for those who look on; NULL: off */
    struct ended_jobs ended;
};

static void on_changed(void *arg);

static struct database *find_database(const struct manager *m, const struct config_database *config)
{
    for (int i = 0; i < m->n_databases; i++)
        if (!database_is_stopping(m->databases[i]) &&
            strcmp(database_name(m->databases[i]), config->name) == 0 &&
            strcmp(database_conninfo(m->databases[i]), config->conninfo) == 0)
            return m->databases[i];
    return NULL;
}

static const struct config_database *find_config(const struct config *config, const struct database *db)
{
    for (int i = 0; i < config->n_databases; i++)
        if (strcmp(database_name(db), config->databases[i].name) == 0 &&
            strcmp(database_conninfo(db), config->databases[i].conninfo) == 0)
            return &config->databases[i];
    return NULL;
}

/* Serves what the configuration says from now on. Databases that left it give their jobs back. */
static void apply_config(struct manager *m)
{
    journal_set_level(m->config->log_level);
    for (int i = 0; i < m->n_databases; i++)
        if (!find_config(m->config, m->databases[i]))
            database_stop(m->databases[i], false);
    for (int i = 0; i < m->config->n_databases; i++) {
        const struct config_database *c = &m->config->databases[i];
        struct database *db = find_database(m, c);
        if (db)
            database_configure(db, c);
        else {
            m->databases =
                must(reallocarray(m->databases, (size_t)m->n_databases + 1, sizeof(*m->databases)));
            m->databases[m->n_databases++] =
                database_open(m->base, c, &m->config->batch, &m->config->throttle, m->drain, on_changed, m);
        }
    }
    for (int i = 0; i < m->n_databases; i++)
        database_keep(m->databases[i], &m->config->jobs);
}

/* ---- Those who look on
 * --------------------------------------------------------------------------------------------------- */

static void collect(void *arg, struct snapshot *snapshot)
{
    struct manager *m = arg;

    snapshot->started_at = m->started_at;
    for (int i = 0; i < m->n_databases; i++)
        if (!database_has_stopped(m->databases[i]))
            database_snapshot(m->databases[i], snapshot);
    snapshot_add_ended(snapshot, &m->ended);
}

/* Listens where a configuration says; what was open before is still open, and is closed by the caller. NULL: it says nowhere,
 * or it can't be (then *ret_error is set, which the caller frees). */
static struct web *open_web(struct manager *m, const struct config_metrics *metrics, char **ret_error)
{
    _cleanup_free_ char *reason = NULL;

    if (metrics->address.length == 0)
        return NULL;
    struct web *web = web_open(m->base, &metrics->address, collect, m, &reason);
    if (!web && asprintf(ret_error,
                    "metrics.listen = \"%s\": %s. HINT: See who listens there (ss -ltnpx), or name another",
                    metrics->listen, reason) < 0)
        abort();
    return web;
}

static void use_web(struct manager *m, struct web *web)
{
    if (m->web != web)
        web_close(m->web);
    m->web = web;
    for (int i = 0; i < m->n_databases; i++)
        database_remember(m->databases[i], web ? &m->ended : NULL);
    if (!web)
        ended_jobs_done(&m->ended);
}

/* ---- Signals
 * ------------------------------------------------------------------------------------------------------------- */

static void stop(struct manager *m, bool at_once)
{
    struct timeval deadline = {.tv_sec = STOP_AT_MOST_S};

    if (!m->stopping) {
        notify_stopping();
        event_add(m->stop_deadline, &deadline);
    }
    m->stopping = true;
    for (int i = 0; i < m->n_databases; i++)
        database_stop(m->databases[i], at_once);
}

static void on_term(evutil_socket_t signal, short what, void *arg)
{
    struct manager *m = arg;
    (void)what;
    journal_write(LEVEL_NOTICE, JOURNAL_SERVICE, NULL, "%s: %s", strsignal((int)signal),
        m->stopping ? "cancelling batches" : "finishing batches, then stopping");
    stop(m, m->stopping);
}

static void on_hup(evutil_socket_t signal, short what, void *arg)
{
    struct manager *m = arg;
    _cleanup_free_ char *error = NULL;
    (void)signal;
    (void)what;

    if (m->stopping) {
        journal_write(LEVEL_NOTICE, JOURNAL_CONFIG, NULL, "the file is not read again: stopping");
        return;
    }
    if (!m->config_path) {
        journal_write(
            LEVEL_NOTICE, JOURNAL_CONFIG, NULL, "there is no file to read again: running with --database");
        return;
    }
    notify_reloading();
    struct config *config = config_load(m->config_path, &error);
    struct web *web = m->web;
    if (config && !listen_is_same(&config->metrics.address, &m->config->metrics.address))
        web = open_web(m, &config->metrics, &error);
    if (error)
        config = config_free(config);
    if (!config)
        journal_write(LEVEL_ERROR, JOURNAL_CONFIG, NULL, "%s; the settings stay as they were", error);
    else {
        struct config *old = m->config;
        m->config = config;
        apply_config(m);
        for (int i = 0; i < m->n_databases; i++)
            database_use(m->databases[i], &config->batch, &config->throttle);
        use_web(m, web);
        config_free(old);
        journal_write(LEVEL_NOTICE, JOURNAL_CONFIG, NULL, "settings read again from %s", m->config_path);
    }
    notify_ready();
}

/* Something about a database has changed: is it over? */
static void on_changed(void *arg)
{
    struct manager *m = arg;
    int serving = 0, running = 0;
    bool drained = true, hopeless = false, failed = false;

    for (int i = 0; i < m->n_databases; i++) {
        const struct database *db = m->databases[i];
        serving += !database_has_stopped(db);
        running += database_n_workers(db);
        drained = drained && database_is_drained(db);
        hopeless = hopeless || database_is_hopeless(db);
        failed = failed || database_has_failed(db);
    }
    notify_changed(m->notify);
    if (running == 0)
        journal_bar("");
    else if (journal_has_bar() && !event_pending(m->bar, EV_TIMEOUT, NULL)) {
        struct timeval every = us_to_timeval(BAR_EVERY_US);
        event_add(m->bar, &every);
    }

    if (m->drain && (drained || hopeless) && !m->stopping) {
        m->exit_status = failed || hopeless ? EXIT_FAILURE : EXIT_SUCCESS;
        stop(m, false);
    }
    if (m->stopping && serving == 0)
        event_base_loopbreak(m->base);
    else if (serving < m->n_databases)
        event_active(m->reap, EV_TIMEOUT, 1);
}

/* Those that were taken out of the file and have ended. Not within on_changed, which they call. */
static void on_reap(evutil_socket_t socket, short what, void *arg)
{
    struct manager *m = arg;
    int kept = 0;
    (void)socket;
    (void)what;

    for (int i = 0; i < m->n_databases; i++)
        if (!m->stopping && database_has_stopped(m->databases[i]))
            database_close(m->databases[i]);
        else
            m->databases[kept++] = m->databases[i];
    m->n_databases = kept;
}

static void on_stop_deadline(evutil_socket_t socket, short what, void *arg)
{
    struct manager *m = arg;
    (void)socket;
    (void)what;
    journal_write(LEVEL_WARNING, JOURNAL_SERVICE, NULL,
        "jobs could not be given back in %d s; they go on where they stand", STOP_AT_MOST_S);
    event_base_loopbreak(m->base);
}

/* The first job's bar, and how many more run; NULL when none does. The caller frees. */
static char *bar_text(const struct manager *m)
{
    int running = 0;
    char *text = NULL, *line = NULL;

    for (int i = 0; i < m->n_databases; i++) {
        running += database_n_workers(m->databases[i]);
        if (!text)
            text = database_bar_text(m->databases[i]);
    }
    if (running < 2 || !text)
        return text;
    if (asprintf(&line, "%s  (and %d more)", text, running - 1) < 0)
        abort();
    free(text);
    return line;
}

static void on_bar(evutil_socket_t socket, short what, void *arg)
{
    struct manager *m = arg;
    _cleanup_free_ char *text = bar_text(m);
    (void)socket;
    (void)what;

    if (!text)
        event_del(m->bar);
    journal_bar(text ? text : "");
}

/* What systemctl status shows: what runs, else what it waits for. */
static char *status_line(void *arg, bool *ret_moves)
{
    const struct manager *m = arg;
    char *line = bar_text(m);
    int connected = 0;

    *ret_moves = line != NULL;
    if (line)
        return line;
    for (int i = 0; i < m->n_databases; i++)
        connected += database_is_connected(m->databases[i]);
    if (asprintf(&line, "no job runs; %d of %d %s connected", connected, m->n_databases,
            m->n_databases == 1 ? "database" : "databases") < 0)
        abort();
    return line;
}

/* With timers that end in microseconds. Else they are rounded up to milliseconds, and a job rests for one or two of them. */
static struct event_base *new_base(void)
{
    struct event_config *config = must(event_config_new());
    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
    struct event_base *base = must(event_base_new_with_config(config));
    event_config_free(config);
    return base;
}

/* libevent's own warnings and errors: from stderr into the journal. */
static void on_event_log(int severity, const char *message)
{
    if (severity >= EVENT_LOG_WARN)
        journal_write(severity == EVENT_LOG_WARN ? LEVEL_WARNING : LEVEL_ERROR, JOURNAL_SERVICE, NULL, "libevent: %s", message);
}

static void hangups(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigprocmask(how, &set, NULL);
}

void manager_hold_hangups(void)
{
    hangups(SIG_BLOCK);
}

int manager_run(struct config *config, const char *config_path, bool drain)
{
    struct manager m = {.config = config, .config_path = config_path, .drain = drain};
    struct event *signals[3];
    _cleanup_free_ char *error = NULL;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN); /* session_cancel_aside's children are reaped by the kernel */
    event_set_log_callback(on_event_log);
    m.base = new_base();
    signals[0] = must(evsignal_new(m.base, SIGTERM, on_term, &m));
    signals[1] = must(evsignal_new(m.base, SIGINT, on_term, &m));
    signals[2] = must(evsignal_new(m.base, SIGHUP, on_hup, &m));
    for (int i = 0; i < 3; i++)
        event_add(signals[i], NULL);
    hangups(SIG_UNBLOCK);
    m.reap = must(event_new(m.base, -1, 0, on_reap, &m));
    m.bar = must(event_new(m.base, -1, EV_PERSIST, on_bar, &m));
    m.stop_deadline = must(event_new(m.base, -1, 0, on_stop_deadline, &m));
    m.notify = notify_open(m.base, status_line, &m);

    journal_write(LEVEL_NOTICE, JOURNAL_SERVICE, NULL, "backfilld %s started, pid %d", BACKFILLD_VERSION,
        (int)getpid());
    m.started_at = snapshot_now();
    struct web *web = open_web(&m, &config->metrics, &error);
    if (error) /* one that only drains may well run beside one that serves */
        journal_write(drain ? LEVEL_WARNING : LEVEL_ERROR, JOURNAL_CONFIG, NULL, "%s", error);
    if (error && !drain)
        m.exit_status = EXIT_FAILURE;
    else {
        apply_config(&m);
        use_web(&m, web);
        notify_ready();
        if (event_base_dispatch(m.base) < 0) { /* it has said why */
            journal_write(LEVEL_ERROR, JOURNAL_SERVICE, NULL, "the event loop has failed; jobs go on where they stand");
            m.exit_status = EXIT_FAILURE;
        }
    }
    journal_write(LEVEL_NOTICE, JOURNAL_SERVICE, NULL, "stopped");
    use_web(&m, NULL);

    for (int i = 0; i < m.n_databases; i++)
        database_close(m.databases[i]);
    free(m.databases);
    for (int i = 0; i < 3; i++)
        event_free(signals[i]);
    event_free(m.reap);
    event_free(m.bar);
    event_free(m.stop_deadline);
    notify_close(m.notify);
    event_base_free(m.base);
    config_free(m.config);
    return m.exit_status;
}
