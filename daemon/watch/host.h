/* What this host says of itself, for a server that runs on it: pressure stall information and file systems. Reads of /proc and
 * statvfs don't block on anything but a dead network file system. */
#pragma once

#include "pressure/pressure.h"
#include "pressure/psi.h"

struct host {
    struct psi cpu, io;
};

/* Notes cpu and io. A kernel that doesn't count pressure has neither; what can't be read is at its limit. */
void host_read_pressure(struct host *host, uint64_t now_us, struct pressure *pressure);

/* Bytes that are free for a server in the file system of a path; -1 when that can't be told. */
int64_t host_free_bytes(const char *path);

/* Notes how full the file system of a path is. optional: a path that this user may not reach doesn't count. */
void host_read_disk(const char *path, bool optional, struct pressure *pressure);
