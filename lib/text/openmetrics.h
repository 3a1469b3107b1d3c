/* The text that Prometheus reads, in its two dialects: OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/),
 * and the older format 0.0.4, which "promtool check metrics" and simple tools know. They differ in where a suffix stands and
 * in how they end. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum openmetrics_kind {
    OPENMETRICS_GAUGE,
    OPENMETRICS_COUNTER,   /* its samples end in _total */
    OPENMETRICS_HISTOGRAM, /* _bucket, _sum, _count */
    OPENMETRICS_INFO,      /* _info; what it says is in its labels */
};

struct openmetrics_family {
    const char *name; /* without the suffix; it ends in the unit, if there is one */
    enum openmetrics_kind kind;
    const char *unit; /* "seconds", or NULL */
    const char *help;
};

struct openmetrics_label {
    const char *name, *value;
};

struct openmetrics {
    FILE *out;
    bool older;                               /* the format 0.0.4 */
    const struct openmetrics_family *heading; /* of the family that has no sample yet */
};

/* What to send as Content-Type. */
const char *openmetrics_type(bool older);

/* Whether a client that sends this Accept header (NULL: none) can be given OpenMetrics. Who names the older format alone wants
 * that one. */
bool openmetrics_is_accepted(const char *accept);

/* A family begins: all its samples follow. One without any leaves no trace. */
void openmetrics_begin(struct openmetrics *om, const struct openmetrics_family *family);

/* Labels end with one whose name is NULL; their values may hold anything. */
void openmetrics_sample(struct openmetrics *om, const struct openmetrics_family *family,
    const struct openmetrics_label *labels, double value);

/* counts[i] observations were at most bounds[i], the bounds before it excluded; of count in all. */
void openmetrics_histogram(struct openmetrics *om, const struct openmetrics_family *family,
    const struct openmetrics_label *labels, const double *bounds, const uint64_t *counts, int n,
    uint64_t count, double sum);

void openmetrics_end(struct openmetrics *om);
