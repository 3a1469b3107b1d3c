/* The service: all databases, the signals, and when it is over. */
#pragma once

#include "base/config.h"

#include <stdbool.h>

/* Serves until SIGTERM, or with drain until no job is left. config_path: read again at SIGHUP; NULL: there is
 * no file. Owns config from here on. Returns the process's exit status. */
int manager_run(struct config *config, const char *config_path, bool drain);
