/* Linux's pressure stall information: the share of the time in which something waited for the CPU, or for I/O. The kernel
 * counts microseconds; its own averages are over ten seconds and more, too slow to follow. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PSI_WINDOW_US 1000000 /* the share is of so long */
#define PSI_SAMPLES   64      /* enough for a window at twenty a second, and more */

struct psi_sample {
    uint64_t stalled_us, at_us;
};

struct psi {
    int n;
    struct psi_sample samples[PSI_SAMPLES]; /* both rise */
};

/* The count in the text of /proc/pressure/cpu or io: "total=" of its line "some"; false when there is none. */
bool psi_parse(const char *text, uint64_t *ret_stalled_us);

/* The count stands there now. A count below the last one is another kernel's: all is forgotten. */
void psi_note(struct psi *psi, uint64_t stalled_us, uint64_t now_us);

/* The share of the last window, 0 to 1. Two counts must have been noted. */
double psi_share(const struct psi *psi);
