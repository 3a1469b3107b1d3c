/* When the kernel is to write out what it keeps of files that were written ("dirty" pages). Left alone it collects them for thirty
 * seconds and writes them in one go, and who commits meanwhile waits for all of it: an application's p99 was 168 to 335 ms in the
 * seconds in which it wrote 180 MB. Asked often, it has little to write each time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define DIRTY_MOST_BYTES                                                                                     \
    (UINT64_C(64) << 20) /* more is others', with a rhythm of its own: to ask would be the jolt itself */
#define DIRTY_REST 4     /* times as long as it took the kernel, it isn't asked again */

struct dirty {
    uint64_t not_before_us;
};

/* The bytes in the text of /proc/meminfo, "Dirty:"; false when there is none. Other file systems' are among them. */
bool dirty_parse(const char *text, uint64_t *ret_bytes);

/* Whether the kernel is to be asked now. after: only of more bytes than that; 0: never. */
bool dirty_is_due(const struct dirty *dirty, uint64_t bytes, uint64_t after, uint64_t now_us);

/* It was asked then, and had written all by then. */
void dirty_written(struct dirty *dirty, uint64_t began_us, uint64_t ended_us);
