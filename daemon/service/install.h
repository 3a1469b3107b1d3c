/* --install: creates or upgrades the control schema, one database after the other, in one transaction each.
 * Blocking: nothing else runs. */
#pragma once

#include "base/config.h"

/* Says on stdout and stderr what it did; returns the process's exit status. */
int install_run(const struct config *config);
