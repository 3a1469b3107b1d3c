/* How well batches keep to their target time, on a server whose rows and speed change. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One job on one big table. NULL, or what broke. */
const char *adaptive_run(uint64_t seed, bool verbose);
