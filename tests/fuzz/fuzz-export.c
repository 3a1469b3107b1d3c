/* Names and words on their way out, to Prometheus and the page: one line each, in their quotes, whatever they hold. */
#include "fuzz.h"

#include "text/json.h"
#include "text/openmetrics.h"
#include "text/utf8.h"

#include <math.h>
#include <stdio.h>

static void must_be_utf8(const char *text)
{
    while (*text) {
        MUST_HOLD(utf8_length(text) > 0);
        text += utf8_length(text);
    }
}

static void write_json(const char *text)
{
    _cleanup_free_ char *out = NULL;
    size_t size = 0;
    FILE *file = must(open_memstream(&out, &size));
    size_t n = 0;

    json_string(file, text);
    fclose(file);
    MUST_HOLD(size >= 2 && out[0] == '"' && out[size - 1] == '"' && strlen(out) == size);
    must_be_utf8(out);
    for (size_t i = 1; i < size - 1; i++) {
        MUST_HOLD((unsigned char)out[i] >= ' ' && out[i] != '<');
        n = out[i] == '\\' ? n + 1 : 0;
        if (n == 2)
            n = 0;
        MUST_HOLD(out[i + 1] != '"' || i + 1 == size - 1 || n == 1);
    }
    MUST_HOLD(n == 0);
}

static void write_metrics(const char *text, bool older, double value)
{
    static const struct openmetrics_family family = {.name = "backfilld_fuzz", .kind = OPENMETRICS_GAUGE, .help = "Of a fuzzer."};
    const struct openmetrics_label labels[] = {{"job", text}, {"table", text}, {0}};
    _cleanup_free_ char *out = NULL;
    size_t size = 0, lines = 0;
    struct openmetrics om = {.out = must(open_memstream(&out, &size)), .older = older};

    openmetrics_begin(&om, &family);
    openmetrics_sample(&om, &family, labels, value);
    openmetrics_end(&om);
    fclose(om.out);
    must_be_utf8(out);
    for (const char *c = out; *c; c++)
        lines += *c == '\n';
    MUST_HOLD(lines == (older ? 3 : 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = fuzz_string(data, size);
    double value = 0;

    memcpy(&value, data, size < sizeof(value) ? size : sizeof(value));
    write_json(text);
    write_metrics(text, false, value);
    write_metrics(text, true, value);
    return 0;
}
