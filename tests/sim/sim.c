/* The simulator: thousands of runs of the state machine in lib/run/runner among crashes, lost answers, doubled
 * daemons, standbys that fall behind and servers that change their speed. A seed decides everything; the seed of a run that broke a
 * promise plays it again. */
#include "adaptive.h"
#include "echo.h"
#include "world.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define DEFAULT_RUNS   20000
#define ADAPTIVE_SHARE 16  /* one run in so many is about batch sizes */
#define ECHO_SHARE     100 /* and one in so many about a standby's lag */
#define FAILURES_SHOWN 20

static int usage(FILE *out)
{
    fputs("usage: sim [--runs N] [--seed S] [--verbose]\n"
          "  --runs N    how many runs (20000)\n"
          "  --seed S    the seed of the first run, from which the others follow (a new one each time)\n"
          "  --verbose   print each event and action with the virtual time\n",
        out);
    return out == stdout ? 0 : 2;
}

static const char *run(uint64_t seed, bool verbose)
{
    struct random r = {.state = seed};
    if (random_below(&r, ADAPTIVE_SHARE) == 0)
        return adaptive_run(seed, verbose);
    if (random_below(&r, ECHO_SHARE) == 0)
        return echo_run(seed, verbose);
    return chaos_run(seed, verbose);
}

static double wall_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"runs", required_argument, NULL, 'r'},
        {"seed", required_argument, NULL, 's'}, {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'}, {0}};
    uint64_t runs = DEFAULT_RUNS, failed = 0, seed = 0;
    bool verbose = false;

    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        seed = (uint64_t)time(NULL);
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'r': runs = strtoull(optarg, NULL, 0); break;
        case 's': seed = strtoull(optarg, NULL, 0); break;
        case 'v': verbose = true; break;
        case 'h': return usage(stdout);
        default: return usage(stderr);
        }
    if (optind < argc)
        return usage(stderr);

    printf("seed %" PRIu64 "\n", seed);
    double began_s = wall_s();
    struct random seeds = {.state = seed};
    for (uint64_t i = 0; i < runs; i++, seed = random_next(&seeds)) {
        const char *broken = run(seed, verbose);
        if (broken && ++failed <= FAILURES_SHOWN)
            printf("FAILED: %s\n  again: %s --seed %" PRIu64 " --runs 1 --verbose\n", broken, argv[0], seed);
    }
    double took_s = wall_s() - began_s;
    printf("%.1f s, %.0f runs/s\n", took_s, (double)runs / took_s);
    printf("sim: %" PRIu64 " passed, %" PRIu64 " failed\n", runs - failed, failed);
    return failed ? 1 : 0;
}
