#include "pressure/psi.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool psi_parse(const char *text, uint64_t *ret_stalled_us)
{
    const char *line = strncmp(text, "some ", 5) == 0 ? text : strstr(text, "\nsome ");
    const char *total = line ? strstr(line, "total=") : NULL;

    return total && sscanf(total, "total=%" SCNu64, ret_stalled_us) == 1;
}

void psi_note(struct psi *psi, uint64_t stalled_us, uint64_t now_us)
{
    int old = 0;

    if (psi->n > 0 &&
        (stalled_us < psi->samples[psi->n - 1].stalled_us || now_us <= psi->samples[psi->n - 1].at_us))
        psi->n = 0;
    /* One sample at or before the window's begin stays, and at most so many that there is room for this one. */
    while (old + 1 < psi->n && psi->samples[old + 1].at_us + PSI_WINDOW_US <= now_us)
        old++;
    if (psi->n - old == PSI_SAMPLES)
        old++;
    psi->n -= old;
    memmove(&psi->samples[0], &psi->samples[old], (size_t)psi->n * sizeof(psi->samples[0]));
    psi->samples[psi->n++] = (struct psi_sample){.stalled_us = stalled_us, .at_us = now_us};
}

double psi_share(const struct psi *psi)
{
    const struct psi_sample *first = &psi->samples[0], *last = &psi->samples[psi->n - 1];

    double share = (double)(last->stalled_us - first->stalled_us) / (double)(last->at_us - first->at_us);
    return share < 1 ? share : 1;
}
