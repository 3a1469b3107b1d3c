#include "watch/flusher.h"
#include "base/clock.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_FILE_SYSTEMS 16

struct file_system {
    dev_t device;
    int directory;
};

/* at and n belong to the thread while it is at work, ended_us to it until it isn't. */
struct flusher {
    struct dirty dirty;
    uint64_t began_us, ended_us;
    bool started, asked; /* there is a thread; it has been asked */
    int n;
    struct file_system at[MOST_FILE_SYSTEMS];
    sem_t wake;
    atomic_bool at_work, quit;
};

static void *run(void *arg)
{
    struct flusher *f = arg;

    for (;;) {
        while (sem_wait(&f->wake) < 0)
            ;
        if (atomic_load(&f->quit))
            break;
        /* An error is the server's to learn, at its next fsync of the file. */
        for (int i = 0; i < f->n; i++)
            syncfs(f->at[i].directory);
        f->ended_us = now_us();
        atomic_store(&f->at_work, false);
    }
    for (int i = 0; i < f->n; i++)
        close(f->at[i].directory);
    sem_destroy(&f->wake);
    free(f);
    return NULL;
}

/* Signals stay the event loop's. */
static bool start(struct flusher *f)
{
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    f->started = pthread_create(&thread, NULL, run, f) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (f->started)
        pthread_detach(thread);
    return f->started;
}

struct flusher *flusher_new(void)
{
    struct flusher *f = must(calloc(1, sizeof(*f)));
    sem_init(&f->wake, 0, 0);
    return f;
}

/* Opens path, or the nearest directory above it that may be read, if that is in the same file system. -1: none. */
static int open_above(const char *path, dev_t device)
{
    _cleanup_free_ char *directory = realpath(path, NULL);
    struct stat s;

    while (directory) {
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char *slash = strrchr(directory, '/');

        if (fd >= 0 && fstat(fd, &s) == 0 && s.st_dev == device)
            return fd;
        if (fd >= 0)
            close(fd);
        if (fd >= 0 || errno != EACCES || slash[1] == '\0')
            return -1;
        slash[slash == directory] = '\0'; /* the last one above is / */
    }
    return -1;
}

const char *flusher_add(struct flusher *f, const char *path)
{
    struct stat s;

    if (stat(path, &s) < 0)
        return strerror(errno);
    for (int i = 0; i < f->n; i++)
        if (f->at[i].device == s.st_dev)
            return NULL;
    if (f->n == MOST_FILE_SYSTEMS)
        return "too many file systems";
    if (atomic_load(&f->at_work))
        return NULL; /* the next time */
    int directory = open_above(path, s.st_dev);
    if (directory < 0)
        return "this user may read no directory of its file system on the way to it";
    f->at[f->n++] = (struct file_system){.device = s.st_dev, .directory = directory};
    return NULL;
}

static bool read_dirty(uint64_t *ret_bytes)
{
    char text[4096];
    int file = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = file >= 0 ? read(file, text, sizeof(text) - 1) : -1;

    if (file >= 0)
        close(file);
    text[n > 0 ? n : 0] = '\0';
    return dirty_parse(text, ret_bytes);
}

void flusher_look(struct flusher *f, uint64_t after, bool others, uint64_t now_us)
{
    uint64_t bytes;

    if (f->n == 0 || after == 0 || atomic_load(&f->at_work))
        return;
    if (f->asked)
        dirty_written(&f->dirty, f->began_us, f->ended_us);
    f->asked = false;
    if (!read_dirty(&bytes) || !dirty_is_due(&f->dirty, bytes, after, others, now_us) ||
        (!f->started && !start(f)))
        return;
    f->began_us = now_us;
    f->asked = true;
    atomic_store(&f->at_work, true);
    sem_post(&f->wake);
}

struct flusher *flusher_free(struct flusher *f)
{
    if (!f)
        return NULL;
    if (f->started) {
        atomic_store(&f->quit, true);
        sem_post(&f->wake);
        return NULL; /* the thread frees it */
    }
    for (int i = 0; i < f->n; i++)
        close(f->at[i].directory);
    sem_destroy(&f->wake);
    free(f);
    return NULL;
}
