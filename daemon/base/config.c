#include "base/config.h"
#include "mem.h"
#include "job/retry.h"
#include "pressure/standby.h"
#include "text/text.h"

#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <libpq-fe.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_AT_MOST_S 10 /* a file */

enum value_kind {
    VALUE_INT,
    VALUE_LIMIT,       /* a number, stored as double */
    VALUE_WHOLE_LIMIT, /* a whole one */
    VALUE_NAME,        /* one of a list of words */
    VALUE_TEXT,
    VALUE_STANDBYS, /* an array of strings */
    VALUE_PROBES,   /* a list of groups */
};

/* A key of a group: its place in the struct, its range, its default. */
struct key {
    const char *name;
    enum value_kind kind;
    size_t offset;
    double min, max, initial;
    const char *const *names; /* VALUE_NAME: the words, NULL at the end; the first is the default */
};

static const char *const commit_names[] = {"off", "local", "on", "remote_write", "remote_apply", NULL};
static const char *const level_names[] = {"info", "error", "warning", "notice", "debug", NULL};
static const enum journal_level levels[] = {
    LEVEL_INFO, LEVEL_ERROR, LEVEL_WARNING, LEVEL_NOTICE, LEVEL_DEBUG};

static const struct key database_keys[] = {
    {"name", VALUE_TEXT, offsetof(struct config_database, name), 0, 0, 0, NULL},
    {"conninfo", VALUE_TEXT, offsetof(struct config_database, conninfo), 0, 0, 0, NULL},
    {"workers", VALUE_INT, offsetof(struct config_database, workers), 1, 64, 2, NULL},
    {"max_rows_per_s", VALUE_INT, offsetof(struct config_database, max_rows_per_s), 0, 100000000, 0, NULL},
    {0},
};

static const struct key batch_keys[] = {
    {"target_ms", VALUE_INT, offsetof(struct config_batch, target_ms), 1, 10000, 20, NULL},
    {"busy_target_ms", VALUE_INT, offsetof(struct config_batch, busy_target_ms), 1, 10000, 20, NULL},
    {"busy_share", VALUE_LIMIT, offsetof(struct config_batch, busy_share), 0.01, 1, 0.35, NULL},
    {"min_rows", VALUE_INT, offsetof(struct config_batch, min_rows), 1, 1000000, 1, NULL},
    {"max_rows", VALUE_INT, offsetof(struct config_batch, max_rows), 1, 1000000, 100000, NULL},
    {"workers_per_job", VALUE_INT, offsetof(struct config_batch, workers_per_job), 1, 64, 1, NULL},
    {"lock_timeout_ms", VALUE_INT, offsetof(struct config_batch, lock_timeout_ms), 1, 900, 20, NULL},
    {"statement_timeout_ms", VALUE_INT, offsetof(struct config_batch, statement_timeout_ms), 100, 600000,
        5000, NULL},
    {"synchronous_commit", VALUE_NAME, offsetof(struct config_batch, synchronous_commit), 0, 0, 0,
        commit_names},
    {0},
};

static const char *const missing_names[] = {"wait", "ignore", NULL};

#define LIMIT(signal) offsetof(struct config_throttle, limit[signal])

static const struct key throttle_keys[] = {
    {"max_lag_ms", VALUE_WHOLE_LIMIT, LIMIT(SIGNAL_LAG_MS), 0, 3600000, 1000, NULL},
    {"max_lag_mb", VALUE_WHOLE_LIMIT, LIMIT(SIGNAL_LAG_MB), 0, 1000000, 64, NULL},
    {"max_blocked_ms", VALUE_WHOLE_LIMIT, LIMIT(SIGNAL_BLOCKED_MS), 0, 60000, 50, NULL},
    {"missing_standby", VALUE_NAME, offsetof(struct config_throttle, missing_standby), 0, 0, 0,
        missing_names},
    {"standbys", VALUE_STANDBYS, 0, 0, 0, 0, NULL},
    {"max_slot_mb", VALUE_WHOLE_LIMIT, LIMIT(SIGNAL_SLOT_MB), 0, 100000000, 4096, NULL},
    {"max_archive_backlog", VALUE_WHOLE_LIMIT, LIMIT(SIGNAL_ARCHIVE), 0, 1000000, 32, NULL},
    {"max_xmin_age_s", VALUE_WHOLE_LIMIT, LIMIT(SIGNAL_XMIN_S), 0, 1000000, 600, NULL},
    {"max_dead_ratio", VALUE_LIMIT, LIMIT(SIGNAL_DEAD), 0, 1, 0.2, NULL},
    {"dead_min_mb", VALUE_INT, offsetof(struct config_throttle, dead_min_mb), 0, 1000000, 1024, NULL},
    {"max_cpu_pressure", VALUE_LIMIT, LIMIT(SIGNAL_CPU), 0, 1, 0.8, NULL},
    {"max_io_pressure", VALUE_LIMIT, LIMIT(SIGNAL_IO), 0, 1, 0.8, NULL},
    {"max_disk_used", VALUE_LIMIT, LIMIT(SIGNAL_DISK), 0, 1, 0.9, NULL},
    {"max_latency_ratio", VALUE_LIMIT, LIMIT(SIGNAL_LATENCY), 0, 1000, 3, NULL},
    {"flush_after_kb", VALUE_INT, offsetof(struct config_throttle, flush_after_kb), 0, 1000000, 128, NULL},
    {"probes", VALUE_PROBES, 0, 0, 0, 0, NULL},
    {0},
};

/* Where their places are is read_probes' affair. */
static const struct key probe_keys[] = {
    {"name", VALUE_TEXT, offsetof(struct config_probe, name), 0, 0, 0, NULL},
    {"sql", VALUE_TEXT, offsetof(struct config_probe, sql), 0, 0, 0, NULL},
    {"limit", VALUE_LIMIT, offsetof(struct config_probe, limit), 0, 1e15, 0, NULL},
    {0},
};

static const struct key jobs_keys[] = {
    {"keep_ended_days", VALUE_INT, offsetof(struct config_jobs, keep_ended_days), 0, 36500, 0, NULL},
    {0},
};

static const struct key metrics_keys[] = {
    {"listen", VALUE_TEXT, offsetof(struct config_metrics, listen), 0, 0, 0, NULL},
    {0},
};

struct log_group {
    char *level;
};

static const struct key log_keys[] = {
    {"level", VALUE_NAME, offsetof(struct log_group, level), 0, 0, 0, level_names},
    {0},
};

/* What is being read, for messages; error is set once, by the first mistake. */
struct reader {
    const char *path;
    char *error;
};

__attribute__((format(printf, 3, 4))) static bool refuse(
    struct reader *r, const config_setting_t *at, const char *format, ...)
{
    _cleanup_free_ char *reason = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&reason, format, args) < 0)
        abort();
    va_end(args);
    const char *file = at ? config_setting_source_file(at) : NULL;
    unsigned line = at ? config_setting_source_line(at) : 1;
    if (!r->error && asprintf(&r->error, "%s:%u: %s", file ? file : r->path, line ? line : 1, reason) < 0)
        abort();
    return false;
}

static const char *kind_name(const config_setting_t *setting)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64: return "an integer";
    case CONFIG_TYPE_FLOAT: return "a number with a decimal point";
    case CONFIG_TYPE_STRING: return "a string";
    case CONFIG_TYPE_BOOL: return "a boolean";
    case CONFIG_TYPE_GROUP: return "a group { }";
    case CONFIG_TYPE_LIST: return "a list ( )";
    case CONFIG_TYPE_ARRAY: return "an array [ ]";
    default: return "nothing";
    }
}

static void set_defaults(const struct key *keys, void *group)
{
    for (const struct key *k = keys; k->name; k++) {
        void *field = (char *)group + k->offset;
        if (k->kind == VALUE_INT)
            *(int *)field = (int)k->initial;
        else if (k->kind == VALUE_LIMIT || k->kind == VALUE_WHOLE_LIMIT)
            *(double *)field = k->initial;
        else if (k->kind != VALUE_STANDBYS && k->kind != VALUE_PROBES)
            *(char **)field = copy_string(k->names ? k->names[0] : NULL);
    }
}

static bool read_standbys(struct reader *r, const config_setting_t *setting, struct config_throttle *throttle)
{
    int n = config_setting_length(setting);

    if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
        return refuse(
            r, setting, "standbys is %s; it takes an array of names [ \"standby1\" ]", kind_name(setting));
    if (n > STANDBY_MAX)
        return refuse(r, setting, "standbys has %d names; %d can be watched", n, STANDBY_MAX);
    throttle->standbys = must(calloc((size_t)n + 1, sizeof(char *)));
    for (int i = 0; i < n; i++) {
        const char *name = config_setting_get_string_elem(setting, i);
        if (!name)
            return refuse(r, setting, "standbys: entry %d is no string", i + 1);
        throttle->standbys[throttle->n_standbys++] = copy_string(name);
    }
    return true;
}

static bool read_probes(struct reader *r, const config_setting_t *setting, struct config_throttle *throttle);

static bool is_whole(int type)
{
    return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

/* libconfig cuts a number to 32 bits. The number as it stands behind the key, in the line where the key does; 0: it doesn't stand there. */
static double number_as_written(const struct reader *r, const struct key *k, const config_setting_t *setting)
{
    const char *file = config_setting_source_file(setting);
    FILE *f = fopen(file ? file : r->path, "re");
    _cleanup_free_ char *line = NULL;
    size_t size = 0;
    double number = 0;

    for (unsigned n = config_setting_source_line(setting); f && n > 0; n--)
        if (getline(&line, &size, f) < 0)
            break;
    for (const char *s = line; s && (s = strstr(s, k->name)); s++) {
        const char *value = s + strlen(k->name);
        value += strspn(value, " \t");
        if (*value != '=' && *value != ':')
            continue;
        value += 1 + strspn(value + 1, " \t");
        number = strtod(value, NULL);
        break;
    }
    if (f)
        fclose(f);
    return number;
}

static bool read_number(struct reader *r, const struct key *k, const config_setting_t *setting, double *ret)
{
    int type = config_setting_type(setting);
    bool whole = k->kind != VALUE_LIMIT;

    if (!is_whole(type) && (whole || type != CONFIG_TYPE_FLOAT))
        return refuse(r, setting, "%s is %s; it takes %s from %.15g to %.15g", k->name, kind_name(setting),
            whole ? "an integer" : "a number", k->min, k->max);
    double value = type == CONFIG_TYPE_FLOAT ? config_setting_get_float(setting)
                   : type == CONFIG_TYPE_INT ? config_setting_get_int(setting)
                                             : (double)config_setting_get_int64(setting);
    double written = type == CONFIG_TYPE_INT ? number_as_written(r, k, setting) : value;
    if (written > INT32_MAX || written < INT32_MIN)
        value = written;
    if (value == -1 && k->min > -1) /* so libconfig reads it */
        return refuse(r, setting, "%s = -1 is out of range: %.15g to %.15g; so is a number that is too large to be read", k->name, k->min, k->max);
    if (!(value >= k->min && value <= k->max))
        return refuse(
            r, setting, "%s = %.15g is out of range: %.15g to %.15g", k->name, value, k->min, k->max);
    *ret = value;
    return true;
}

static bool read_value(struct reader *r, const struct key *k, const config_setting_t *setting, void *group)
{
    void *field = (char *)group + k->offset;
    int type = config_setting_type(setting);
    double number;

    switch (k->kind) {
    case VALUE_LIMIT:
    case VALUE_WHOLE_LIMIT: return read_number(r, k, setting, field);
    case VALUE_INT:
        if (!read_number(r, k, setting, &number))
            return false;
        *(int *)field = (int)number;
        return true;
    case VALUE_STANDBYS: return read_standbys(r, setting, group);
    case VALUE_PROBES: return read_probes(r, setting, group);
    case VALUE_NAME:
    case VALUE_TEXT: break;
    }
    if (type != CONFIG_TYPE_STRING)
        return refuse(r, setting, "%s is %s; it takes a string", k->name, kind_name(setting));
    const char *text = config_setting_get_string(setting);
    if (k->kind == VALUE_NAME) {
        const char *const *name = k->names;
        while (*name && strcmp(*name, text) != 0)
            name++;
        if (!*name) {
            char words[128] = "";
            for (name = k->names; *name; name++)
                snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s",
                    name == k->names ? "" : ", ", *name);
            return refuse(r, setting, "%s = \"%s\" is none of %s", k->name, text, words);
        }
    }
    free(*(char **)field);
    *(char **)field = copy_string(text);
    return true;
}

/* Reads the keys of one group, each of which must be known; the rest have their defaults already. */
static bool read_group(
    struct reader *r, const char *path, const config_setting_t *setting, const struct key *keys, void *group)
{
    if (!config_setting_is_group(setting))
        return refuse(r, setting, "%s is %s; it takes a group { }", path, kind_name(setting));
    for (int i = 0; i < config_setting_length(setting); i++) {
        const config_setting_t *value = config_setting_get_elem(setting, (unsigned)i);
        const struct key *k = keys;
        while (k->name && strcmp(k->name, config_setting_name(value)) != 0)
            k++;
        if (!k->name)
            return refuse(r, value, "unknown key %s.%s", path, config_setting_name(value));
        if (!read_value(r, k, value, group))
            return false;
    }
    return true;
}

static bool read_probes(struct reader *r, const config_setting_t *list, struct config_throttle *throttle)
{
    if (!config_setting_is_list(list))
        return refuse(r, list, "probes is %s; it takes a list ( { name = ...; sql = ...; limit = ...; } )",
            kind_name(list));
    int n = config_setting_length(list);
    throttle->probes = must(calloc((size_t)n + 1, sizeof(*throttle->probes)));
    for (int i = 0; i < n; i++) {
        const config_setting_t *setting = config_setting_get_elem(list, (unsigned)i);
        struct config_probe *probe = &throttle->probes[throttle->n_probes++];

        if (!read_group(r, "throttle.probes", setting, probe_keys, probe))
            return false;
        if (!probe->name || !probe->sql)
            return refuse(r, setting, "probes: an entry has no %s", probe->name ? "sql" : "name");
        if (probe->limit <= 0)
            return refuse(r, setting, "probes: %s has no limit above 0", probe->name);
        for (int j = 0; j < i; j++)
            if (strcmp(throttle->probes[j].name, probe->name) == 0)
                return refuse(r, setting, "probes: the name \"%s\" stands twice", probe->name);
    }
    return true;
}

enum conninfo_state config_look_at(const char *conninfo, char **ret_problem)
{
    char *words = NULL;
    enum conninfo_state state = CONNINFO_FINE;
    PQconninfoOption *options = PQconninfoParse(conninfo, &words);

    for (const PQconninfoOption *o = options; o && o->keyword; o++)
        if (o->val && o->dispchar && *o->dispchar == '*') /* password, sslpassword, and what may come */
            state = CONNINFO_SECRET;
    if (!options) {
        /* What was to be a password, or part of it, where that is anything: as of a row's value, what stands in quotes is left out. */
        bool secret = strcasestr(conninfo, "password") || strchr(conninfo, '@');
        _cleanup_free_ char *line = text_line(words ? words : "it can't be understood", TEXT_MESSAGE);
        for (size_t n = strlen(line); n > 0 && line[n - 1] == ' '; n--)
            line[n - 1] = '\0';
        *ret_problem = secret ? retry_public_message("22000", line) : copy_string(line);
        PQfreemem(words);
        state = CONNINFO_BROKEN;
    }
    PQconninfoFree(options);
    return state;
}

/* The dbname of a conninfo; NULL: it has none. */
static char *database_of(const char *conninfo)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    char *name = NULL;

    for (const PQconninfoOption *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, "dbname") == 0)
            name = copy_string(o->val);
    PQconninfoFree(options);
    return name;
}

static bool read_databases(struct reader *r, const config_setting_t *list, struct config *config)
{
    if (!config_setting_is_list(list))
        return refuse(
            r, list, "databases is %s; it takes a list ( { name = ...; conninfo = ...; } )", kind_name(list));
    int n = config_setting_length(list);
    if (n == 0)
        return refuse(r, list, "databases is empty: there is nothing to serve");
    config->databases = must(calloc((size_t)n, sizeof(*config->databases)));
    for (int i = 0; i < n; i++) {
        const config_setting_t *setting = config_setting_get_elem(list, (unsigned)i);
        struct config_database *d = &config->databases[config->n_databases++];

        set_defaults(database_keys, d);
        if (!read_group(r, "databases", setting, database_keys, d))
            return false;
        if (!d->conninfo)
            return refuse(r, setting, "databases: an entry has no conninfo");
        const config_setting_t *at = config_setting_get_member(setting, "conninfo");
        _cleanup_free_ char *problem = NULL;
        switch (config_look_at(d->conninfo, &problem)) {
        case CONNINFO_FINE: break;
        case CONNINFO_BROKEN: return refuse(r, at, "conninfo: %s", problem);
        case CONNINFO_SECRET:
            return refuse(r, at,
                "conninfo holds a password; put it into a passfile (~/.pgpass) and name that with "
                "passfile=");
        }
        if (!d->name)
            d->name = database_of(d->conninfo);
        if (!d->name)
            d->name = copy_string(d->conninfo);
        for (int j = 0; j < i; j++)
            if (strcmp(config->databases[j].name, d->name) == 0)
                return refuse(r, setting, "databases: the name \"%s\" stands twice", d->name);
    }
    return true;
}

static bool read_metrics(struct reader *r, const config_setting_t *setting, struct config_metrics *metrics)
{
    if (!read_group(r, "metrics", setting, metrics_keys, metrics))
        return false;
    const char *problem = metrics->listen ? listen_parse(metrics->listen, &metrics->address) : NULL;
    return !problem || refuse(r, config_setting_get_member(setting, "listen"), "metrics.listen = \"%s\": %s",
                           metrics->listen, problem);
}

static bool read_all(struct reader *r, const config_setting_t *root, struct config *config)
{
    struct log_group log;
    bool ok = true, has_databases = false;

    set_defaults(log_keys, &log);
    for (int i = 0; ok && i < config_setting_length(root); i++) {
        const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(setting);
        if (strcmp(name, "databases") == 0)
            ok = has_databases = read_databases(r, setting, config);
        else if (strcmp(name, "batch") == 0)
            ok = read_group(r, name, setting, batch_keys, &config->batch);
        else if (strcmp(name, "throttle") == 0)
            ok = read_group(r, name, setting, throttle_keys, &config->throttle);
        else if (strcmp(name, "jobs") == 0)
            ok = read_group(r, name, setting, jobs_keys, &config->jobs);
        else if (strcmp(name, "metrics") == 0)
            ok = read_metrics(r, setting, &config->metrics);
        else if (strcmp(name, "log") == 0)
            ok = read_group(r, name, setting, log_keys, &log);
        else
            ok = refuse(r, setting, "unknown key %s", name);
    }
    if (ok && !has_databases)
        ok = refuse(r, root, "databases is missing: databases = ( { conninfo = \"dbname=app\"; } );");
    double ratio = config->throttle.limit[SIGNAL_LATENCY];
    if (ok && ratio > 0 && ratio <= 1)
        ok = refuse(r,
            config_setting_get_member(config_setting_get_member(root, "throttle"), "max_latency_ratio"),
            "max_latency_ratio = %g: at 1 the server is as quick as it can be; it takes 0 (off), or more than 1",
            ratio);
    if (ok && config->batch.min_rows > config->batch.max_rows)
        ok = refuse(r, config_setting_get_member(root, "batch"),
            "batch.min_rows = %d is above batch.max_rows = %d", config->batch.min_rows,
            config->batch.max_rows);
    for (int i = 0; level_names[i]; i++)
        if (strcmp(level_names[i], log.level) == 0)
            config->log_level = levels[i];
    free(log.level);
    return ok;
}

static struct config *config_new(void)
{
    struct config *config = must(calloc(1, sizeof(*config)));
    set_defaults(batch_keys, &config->batch);
    set_defaults(throttle_keys, &config->throttle);
    set_defaults(jobs_keys, &config->jobs);
    config->log_level = LEVEL_INFO;
    return config;
}

/* The first @include of a file that names what is no file, as "file:line: ..."; NULL: none is seen. */
static char *bad_include(const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL, *problem = NULL;
    size_t size = 0;

    for (int n = 1; file && !problem && getline(&line, &size, file) >= 0; n++) {
        struct stat st;
        char name[PATH_MAX];
        if (sscanf(line, " @include \"%4095[^\"]\"", name) == 1 && stat(name, &st) == 0 && !S_ISREG(st.st_mode) &&
            asprintf(&problem, "%s:%d: @include \"%s\" is no file%s", path, n, name, S_ISDIR(st.st_mode) ? ", but a directory: name the files in it" : "") < 0)
            abort();
    }
    free(line);
    if (file)
        fclose(file);
    return problem;
}

/* libconfig's scanner ends the process when a read fails, as of a directory that is included, and trusts a file not to be endless. So a
 * child reads it first. */
static bool survives_reading(const char *path)
{
    int ends[2];
    char answer = '\0';
    config_t file;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return true;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        alarm(READ_AT_MOST_S);
        config_init(&file);
        config_read_file(&file, path);
        _exit(write(ends[1], "y", 1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    close(ends[1]);
    while (child > 0 && read(ends[0], &answer, 1) < 0 && errno == EINTR) {
    }
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0); /* of no use where SIGCHLD is ignored, and no harm */
    return child < 0 || answer == 'y';
}

/* Why a file can't be read, before libconfig tries; NULL: it can. */
static char *file_problem(const char *path)
{
    struct stat st;
    char *problem = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe that nobody writes to would be waited for */
    int error = fd < 0 || fstat(fd, &st) < 0 ? errno : S_ISDIR(st.st_mode) ? EISDIR : 0;

    if (fd >= 0)
        close(fd);
    if (error) {
        if (asprintf(&problem, "%s: %s", path, strerror(error)) < 0)
            abort();
        return problem;
    }
    if (survives_reading(path))
        return NULL;
    problem = bad_include(path);
    if (!problem && asprintf(&problem, "%s: it, or a file that it includes, can't be read: is it a directory, or endless?", path) < 0)
        abort();
    return problem;
}

struct config *config_load(const char *path, char **ret_error)
{
    struct reader r = {.path = path};
    struct config *config = config_new();
    config_t file;
    bool ok;

    char *problem = file_problem(path);
    if (problem) {
        *ret_error = problem;
        return config_free(config);
    }
    config_init(&file);
    errno = 0;
    if (config_read_file(&file, path) == CONFIG_TRUE)
        ok = read_all(&r, config_root_setting(&file), config);
    else {
        ok = false;
        if (config_error_type(&file) == CONFIG_ERR_PARSE
                ? asprintf(&r.error, "%s:%d: %s", path, config_error_line(&file), config_error_text(&file)) <
                      0
                : asprintf(&r.error, "%s: %s", path, errno ? strerror(errno) : "it can't be read") < 0)
            abort();
    }
    config_destroy(&file);
    if (ok)
        return config;
    *ret_error = r.error;
    return config_free(config);
}

struct config *config_for(const char *conninfo)
{
    struct config *config = config_new();
    config->databases = must(calloc(1, sizeof(*config->databases)));
    config->n_databases = 1;

    struct config_database *d = &config->databases[0];
    set_defaults(database_keys, d);
    d->conninfo = copy_string(conninfo);
    d->name = database_of(conninfo);
    if (!d->name)
        d->name = copy_string("database");
    return config;
}

struct config *config_free(struct config *config)
{
    if (!config)
        return NULL;
    for (int i = 0; i < config->n_databases; i++) {
        free(config->databases[i].name);
        free(config->databases[i].conninfo);
    }
    free(config->databases);
    free(config->batch.synchronous_commit);
    free(config->throttle.missing_standby);
    for (int i = 0; i < config->throttle.n_standbys; i++)
        free(config->throttle.standbys[i]);
    free(config->throttle.standbys);
    for (int i = 0; i < config->throttle.n_probes; i++) {
        free(config->throttle.probes[i].name);
        free(config->throttle.probes[i].sql);
    }
    free(config->throttle.probes);
    free(config->metrics.listen);
    free(config);
    return NULL;
}
