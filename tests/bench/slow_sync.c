/* For LD_PRELOAD: fdatasync takes SYNC_US microseconds longer, as on a volume over a network. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int fdatasync(int file)
{
    static int (*real)(int);
    const char *us = getenv("SYNC_US");
    struct timespec longer = {.tv_nsec = us ? atol(us) * 1000 : 0};

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    int result = real(file);
    nanosleep(&longer, NULL);
    return result;
}
