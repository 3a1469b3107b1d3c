#include "text/json.h"
#include "text/utf8.h"

#include <math.h>

void json_string(FILE *out, const char *text)
{
    if (!text) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    while (*text) {
        size_t n = utf8_length(text);
        if (n == 0)
            fputs(UTF8_REPLACEMENT, out);
        else if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ' || *text == '<') /* '<': not even by mistake a tag */
            fprintf(out, "\\u%04x", (unsigned)*text);
        else
            fwrite(text, 1, n, out);
        text += n ? n : 1;
    }
    fputc('"', out);
}

void json_number(FILE *out, double value)
{
    if (!isfinite(value) || value < 0)
        fputs("null", out);
    else
        fprintf(out, "%.3f", value);
}
