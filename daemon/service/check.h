/* --check: tries each connection and each right that the daemon needs, and prints a table. Blocking: nothing
 * else runs. */
#pragma once

#include "base/config.h"

/* Returns the process's exit status: 0 when everything is there. */
int check_run(const struct config *config);
