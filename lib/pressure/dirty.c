#include "pressure/dirty.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool dirty_parse(const char *text, uint64_t *ret_bytes)
{
    const char *line = strncmp(text, "Dirty:", 6) == 0 ? text : strstr(text, "\nDirty:");
    uint64_t kb;

    if (!line || sscanf(line + (*line == '\n'), "Dirty: %" SCNu64 " kB", &kb) != 1)
        return false;
    *ret_bytes = kb * 1024;
    return true;
}

bool dirty_is_due(struct dirty *dirty, uint64_t bytes, uint64_t after, bool others, uint64_t now_us)
{
    dirty->begun = others && after > 0 && (dirty->begun || bytes <= DIRTY_MOST_BYTES);
    return dirty->begun && bytes > after && now_us >= dirty->not_before_us;
}

void dirty_written(struct dirty *dirty, uint64_t began_us, uint64_t ended_us)
{
    uint64_t rest_us = DIRTY_REST * (ended_us - began_us);
    dirty->not_before_us = ended_us + (rest_us < DIRTY_REST_US ? rest_us : DIRTY_REST_US);
}
