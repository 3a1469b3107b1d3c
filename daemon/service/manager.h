/* The service: all databases, the signals, and when it is over. */
#pragma once

#include "base/config.h"

#include <stdbool.h>

/* A SIGHUP from here on waits until manager_run can answer it: whoever has just changed the file doesn't know how far a start is. */
void manager_hold_hangups(void);

/* Serves until SIGTERM, or with drain until no job is left. config_path: read again at SIGHUP; NULL: there is
 * no file. Owns config from here on. Returns the process's exit status. */
int manager_run(struct config *config, const char *config_path, bool drain);
