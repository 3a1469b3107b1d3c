/* What the daemon measures, as text for Prometheus: each family is a row of a table, and what it reads of a snapshot. */
#pragma once

#include "show/snapshot.h"

#include <stdbool.h>
#include <stddef.h>

/* older: in the format 0.0.4 instead of OpenMetrics. The caller frees. */
char *metrics_text(const struct snapshot *snapshot, bool older, size_t *ret_size);
