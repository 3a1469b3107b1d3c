/* Arguments, settings, and off it goes. */
#include "service/check.h"
#include "base/config.h"
#include "service/install.h"
#include "base/journal.h"
#include "service/manager.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/backfilld/backfilld.conf"

enum mode {
    MODE_SERVE,
    MODE_INSTALL,
    MODE_CHECK,
    MODE_DRAIN,
};

static const char usage[] =
    "backfilld [-c FILE | -d CONNINFO] [--install | --check | --drain] [--no-throttle]\n"
    "Fills columns of live PostgreSQL tables: runs the jobs that are inserted into backfill.job.\n"
    "\n"
    "  -c, --config FILE    settings; default " DEFAULT_CONFIG "\n"
    "  -d, --database INFO  one database by its libpq conninfo, without a file\n"
    "      --install        create or upgrade the schema \"backfill\" in each database, then exit\n"
    "      --check          try each connection and right that is needed, print a table, exit 0 or 1\n"
    "      --drain          run until no job is queued or running, then exit: 0, or 1 if one failed\n"
    "      --no-throttle    with -d: no signal slows jobs down; locks of others are respected all the same\n"
    "      --version\n"
    "      --help\n"
    "\n"
    "Without one of the three it serves until SIGTERM. SIGHUP reads the file again.\n";

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"database", required_argument, NULL, 'd'},
    {"install", no_argument, NULL, 'I'},
    {"check", no_argument, NULL, 'C'},
    {"drain", no_argument, NULL, 'D'},
    {"no-throttle", no_argument, NULL, 'N'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* Bad usage is 2, so that scripts can tell it from a job that failed. */
#define EXIT_USAGE 2

static int refuse(const char *problem)
{
    fprintf(stderr, "backfilld: %s\nHINT: backfilld --help lists the options.\n", problem);
    return EXIT_USAGE;
}

static struct config *read_config(const char *path, const char *conninfo)
{
    char *error = NULL;

    if (!conninfo) {
        struct config *config = config_load(path ? path : DEFAULT_CONFIG, &error);
        if (!config)
            fprintf(stderr, "backfilld: %s\n", error);
        if (!config && !path && access(DEFAULT_CONFIG, F_OK) != 0)
            fprintf(stderr, "HINT: Name a file with --config, or one database with --database.\n");
        free(error);
        return config;
    }
    switch (config_look_at(conninfo, &error)) {
    case CONNINFO_FINE: return config_for(conninfo);
    case CONNINFO_SECRET:
        fputs("backfilld: --database: it holds a password, which everybody on this host can read there\n"
              "HINT: Put it into a passfile (~/.pgpass), and name that with passfile=.\n",
            stderr);
        break;
    case CONNINFO_BROKEN:
        fprintf(stderr, "backfilld: --database: %s\nHINT: Write it as for psql: \"host=/run/postgresql dbname=app\".\n", error);
        break;
    }
    free(error);
    return NULL;
}

/* What is opened first would else be 0, 1 or 2, and somebody's protocol be written into by whoever means stderr. */
static bool open_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
    return fd >= 0;
}

/* A table that a full disk has swallowed was told to nobody, and whoever asks by the exit status would take it for told. The journal on stderr is
 * another matter: jobs are done whether somebody reads it or not. */
static int end(int status)
{
    bool lost = fflush(stdout) != 0;

    if (!lost && !ferror(stdout))
        return status;
    fprintf(stderr, "backfilld: not all of its output could be written%s%s\n", lost ? ": " : "", lost ? strerror(errno) : "");
    return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
}

static int run(int argc, char *argv[])
{
    const char *path = NULL, *conninfo = NULL;
    enum mode mode = MODE_SERVE;
    bool no_throttle = false;
    int option, modes = 0;

    if (!open_standard_descriptors())
        return EXIT_FAILURE;
    while ((option = getopt_long(argc, argv, "c:d:h", options, NULL)) != -1)
        switch (option) {
        case 'c': path = optarg; break;
        case 'd': conninfo = optarg; break;
        case 'I':
            mode = MODE_INSTALL;
            modes++;
            break;
        case 'C':
            mode = MODE_CHECK;
            modes++;
            break;
        case 'D':
            mode = MODE_DRAIN;
            modes++;
            break;
        case 'N': no_throttle = true; break;
        case 'V': printf("backfilld %s\n", BACKFILLD_VERSION); return EXIT_SUCCESS;
        case 'h': fputs(usage, stdout); return EXIT_SUCCESS;
        default: fprintf(stderr, "HINT: backfilld --help lists the options.\n"); return EXIT_USAGE;
        }
    if (optind < argc)
        return refuse("it takes options only");
    if (path && conninfo)
        return refuse("--config and --database exclude each other");
    if (modes > 1)
        return refuse("--install, --check and --drain exclude each other");

    if (no_throttle && (!conninfo || mode == MODE_INSTALL || mode == MODE_CHECK))
        return refuse("--no-throttle goes with --database, and with --drain or alone");

    if (mode == MODE_SERVE || mode == MODE_DRAIN)
        manager_hold_hangups();
    struct config *config = read_config(path, conninfo);
    if (!config)
        return EXIT_USAGE;
    config->throttle.none = no_throttle;
    journal_open(config->log_level);
    if (mode == MODE_SERVE || mode == MODE_DRAIN)
        return manager_run(config, conninfo ? NULL : path ? path : DEFAULT_CONFIG, mode == MODE_DRAIN);
    int status = mode == MODE_INSTALL ? install_run(config) : check_run(config);
    config_free(config);
    return status;
}

int main(int argc, char *argv[])
{
    return end(run(argc, argv));
}
