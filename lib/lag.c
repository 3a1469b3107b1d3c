#include "lag.h"

#include <stdio.h>

/* Makes room: of the older half every second sample is dropped, so that what is long past is known less
 * exactly. */
static void thin_out(struct lag *lag)
{
    int kept = 0;

    for (int i = 0; i < lag->n; i++)
        if (i >= LAG_SAMPLES / 2 || i % 2 == 0)
            lag->samples[kept++] = lag->samples[i];
    lag->n = kept;
}

void lag_note(struct lag *lag, uint64_t lsn, uint64_t now_us)
{
    if (lag->n > 0 && lsn == lag->samples[lag->n - 1].lsn)
        return;
    if (lag->n > 0 && lsn < lag->samples[lag->n - 1].lsn)
        lag->n = 0;
    if (lag->n == LAG_SAMPLES)
        thin_out(lag);
    lag->samples[lag->n++] = (struct lag_sample){.lsn = lsn, .at_us = now_us};
}

uint64_t lag_us(const struct lag *lag, uint64_t lsn, uint64_t now_us)
{
    int low = 0, high = lag->n; /* the first sample beyond lsn is in [low, high] */

    while (low < high) {
        int middle = (low + high) / 2;
        if (lag->samples[middle].lsn > lsn)
            high = middle;
        else
            low = middle + 1;
    }
    return low < lag->n && now_us > lag->samples[low].at_us ? now_us - lag->samples[low].at_us : 0;
}

bool lsn_parse(const char *text, uint64_t *ret_lsn)
{
    unsigned high, low;
    char rest;

    if (!text || sscanf(text, "%X/%X%c", &high, &low, &rest) != 2)
        return false;
    *ret_lsn = (uint64_t)high << 32 | low;
    return true;
}
