/* How well a job keeps a standby from falling behind: lib/pressure/lag, standby, pressure, pace and runner in a closed loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One job beside one standby. NULL, or what broke. */
const char *echo_run(uint64_t seed, bool verbose);
