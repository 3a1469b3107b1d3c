/* Asks the kernel to write out file systems (syncfs), from a thread of its own: that takes milliseconds, and seconds on a disk that
 * stalls. It needs no right to any file in them, only a directory there that may be read. */
#pragma once

#include "pressure/dirty.h"

struct flusher;

struct flusher *flusher_new(void);

/* It is to write out the file system of path, too. NULL, or why it can't: no directory from there upwards can be opened by this
 * user, or it is one too many; a text that stays. */
const char *flusher_add(struct flusher *flusher, const char *path);

/* To be called often. Reads how much is dirty, and when it is due (lib/pressure/dirty) the kernel is asked. after: bytes; 0: never. others:
 * whether others are at work on this host. */
void flusher_look(struct flusher *flusher, uint64_t after, bool others, uint64_t now_us);

/* Doesn't wait for the kernel. Takes NULL; returns NULL. */
struct flusher *flusher_free(struct flusher *flusher);
