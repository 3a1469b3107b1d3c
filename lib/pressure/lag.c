#include "pressure/lag.h"

#include <stdio.h>
#include <string.h>

/* Makes room: the sample goes whose absence matters least, by the gap that it leaves and how long that is past. So the gaps
 * grow with their age, and what is long past is known less exactly, in proportion. */
static void thin_out(struct lag *lag, uint64_t now_us)
{
    int least = 1;
    double least_error = 0;

    for (int i = 1; i < lag->n - 1; i++) {
        double gap = (double)(lag->samples[i + 1].at_us - lag->samples[i - 1].at_us);
        double error = gap / (double)(now_us - lag->samples[i].at_us);
        if (i == 1 || error < least_error) {
            least = i;
            least_error = error;
        }
    }
    memmove(&lag->samples[least], &lag->samples[least + 1],
        (size_t)(lag->n - least - 1) * sizeof(lag->samples[0]));
    lag->n--;
}

void lag_note(struct lag *lag, uint64_t lsn, uint64_t now_us)
{
    if (lag->n > 0 && lsn == lag->samples[lag->n - 1].lsn)
        return;
    if (lag->n > 0 && lsn < lag->samples[lag->n - 1].lsn)
        lag->n = 0;
    if (lag->n == LAG_SAMPLES)
        thin_out(lag, now_us);
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

uint64_t lag_growth(const struct lag *lag, uint64_t now_us)
{
    const struct lag_sample *samples = lag->samples;
    int last = lag->n - 1;

    return last > 0 && samples[last].at_us == now_us ? samples[last].lsn - samples[last - 1].lsn : 0;
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
