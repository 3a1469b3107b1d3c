#include "text/openmetrics.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

const char *openmetrics_type(bool older)
{
    return older ? "text/plain; version=0.0.4; charset=utf-8"
                 : "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

bool openmetrics_is_accepted(const char *accept)
{
    return !accept || strstr(accept, "application/openmetrics-text") || !strstr(accept, "text/plain");
}

static const char *suffix(enum openmetrics_kind kind)
{
    switch (kind) {
    case OPENMETRICS_COUNTER: return "_total";
    case OPENMETRICS_INFO: return "_info";
    case OPENMETRICS_GAUGE:
    case OPENMETRICS_HISTOGRAM: break;
    }
    return "";
}

static const char *kind_name(enum openmetrics_kind kind, bool older)
{
    switch (kind) {
    case OPENMETRICS_COUNTER: return "counter";
    case OPENMETRICS_HISTOGRAM: return "histogram";
    case OPENMETRICS_INFO: return older ? "gauge" : "info";
    case OPENMETRICS_GAUGE: break;
    }
    return "gauge";
}

/* Both dialects escape so, in help and labels; in the older one's help a quote stands for itself. */
static void write_escaped(FILE *out, const char *text, bool quotes)
{
    while (*text) {
        size_t n = utf8_length(text);
        if (n == 0)
            fputs(UTF8_REPLACEMENT, out);
        else if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '\\' || (*text == '"' && quotes))
            fprintf(out, "\\%c", *text);
        else
            fwrite(text, 1, n, out);
        text += n ? n : 1;
    }
}

/* As short as it can be to be read back as the same number. */
static void write_number(FILE *out, double value)
{
    char text[32];

    if (isnan(value))
        fputs("NaN", out);
    else if (isinf(value))
        fputs(value > 0 ? "+Inf" : "-Inf", out);
    else {
        snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) < value || strtod(text, NULL) > value)
            snprintf(text, sizeof(text), "%.17g", value);
        fputs(text, out);
    }
}

static void write_heading(struct openmetrics *om)
{
    const struct openmetrics_family *f = om->heading;
    const char *more = om->older && f ? suffix(f->kind) : "";

    om->heading = NULL;
    if (!f)
        return;
    fprintf(om->out, "# HELP %s%s ", f->name, more);
    write_escaped(om->out, f->help, !om->older);
    fprintf(om->out, "\n# TYPE %s%s %s\n", f->name, more, kind_name(f->kind, om->older));
    if (f->unit && !om->older)
        fprintf(om->out, "# UNIT %s %s\n", f->name, f->unit);
}

/* le: the bound of a histogram's bucket, NULL elsewhere. */
static void write_sample(struct openmetrics *om, const char *name, const char *more,
    const struct openmetrics_label *labels, const double *le, double value)
{
    const char *between = "{";

    write_heading(om);
    fprintf(om->out, "%s%s", name, more);
    for (const struct openmetrics_label *l = labels; l && l->name; l++) {
        fprintf(om->out, "%s%s=\"", between, l->name);
        write_escaped(om->out, l->value, true);
        fputc('"', om->out);
        between = ",";
    }
    if (le) {
        fprintf(om->out, "%sle=\"", between);
        write_number(om->out, *le);
        /* OpenMetrics writes a whole bound as 1.0, so that all agree on the label's text. */
        fputs(isfinite(*le) && floor(*le) >= *le && !om->older ? ".0\"" : "\"", om->out);
        between = ",";
    }
    fputs(*between == ',' ? "} " : " ", om->out);
    write_number(om->out, value);
    fputc('\n', om->out);
}

void openmetrics_begin(struct openmetrics *om, const struct openmetrics_family *family)
{
    om->heading = family;
}

void openmetrics_sample(struct openmetrics *om, const struct openmetrics_family *family,
    const struct openmetrics_label *labels, double value)
{
    write_sample(om, family->name, suffix(family->kind), labels, NULL, value);
}

void openmetrics_histogram(struct openmetrics *om, const struct openmetrics_family *family,
    const struct openmetrics_label *labels, const double *bounds, const uint64_t *counts, int n,
    uint64_t count, double sum)
{
    const double no_bound = INFINITY;
    uint64_t so_far = 0;

    for (int i = 0; i < n; i++) {
        so_far += counts[i];
        write_sample(om, family->name, "_bucket", labels, &bounds[i], (double)so_far);
    }
    write_sample(om, family->name, "_bucket", labels, &no_bound, (double)count);
    write_sample(om, family->name, "_sum", labels, NULL, sum);
    write_sample(om, family->name, "_count", labels, NULL, (double)count);
}

void openmetrics_end(struct openmetrics *om)
{
    if (!om->older)
        fputs("# EOF\n", om->out);
}
