/* How much libpq takes from a socket. It takes in a whole message, however long, before anybody sees it, and all rows of an answer, and has
 * no limit to set: an error of 200 MB would make this program one of a gigabyte. But it reads by recv(), which the linker finds here
 * first. While a budget is set, so much is read as it allows, and behind that there is nothing to be had: libpq waits for more, as if the
 * network were slow, and whoever set the budget looks at it and decides. With TLS it is the bytes on the wire that count. */
#pragma once

#include <stddef.h>

struct receive_budget {
    size_t at_once; /* what may be read until receive_limit is called again */
    size_t left;    /* what may be read in all; 0: it was too much */
};

/* For the libpq calls that follow, until receive_limit(NULL). */
void receive_limit(struct receive_budget *budget);
