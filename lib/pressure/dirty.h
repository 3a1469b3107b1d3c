/* When the kernel is to write out what it keeps of files that were written ("dirty" pages). Left alone it collects them for half a
 * minute and writes them in one go, and who commits meanwhile waits for all of it: with 138 to 208 MB within a second the p99 of
 * an application over a whole job was 108 to 335 ms. Asked often, it has little to write each time (tests/README.md). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* As long as there is more it doesn't begin: to ask for so much at once would be that very standstill (797 MB: a p50 of 185 to 236 ms
 * for half a second), and beside others who write that much it was no gentler afterwards. Once it has begun it goes on, however much
 * there is: it only gets more. */
#define DIRTY_MOST_BYTES (UINT64_C(64) << 20)

/* It isn't asked again for so many times as long as it took, and no longer than that: what gathers meanwhile on a slow disk would take
 * it longer each time. */
#define DIRTY_REST       4
#define DIRTY_REST_US    200000

struct dirty {
    bool begun;
    uint64_t not_before_us;
};

/* The bytes in the text of /proc/meminfo, "Dirty:"; false when there is none. Other file systems' are among them. */
bool dirty_parse(const char *text, uint64_t *ret_bytes);

/* So much is dirty: whether the kernel is to be asked now. after: only of more bytes than that; 0: never. others: whether others
 * are at work; a job that is alone is only slowed down by it (to 0.52 and 0.85 of its speed, on a slow disk). */
bool dirty_is_due(struct dirty *dirty, uint64_t bytes, uint64_t after, bool others, uint64_t now_us);

/* It was asked then, and had written all by then. */
void dirty_written(struct dirty *dirty, uint64_t began_us, uint64_t ended_us);
