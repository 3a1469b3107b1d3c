#include "text/text.h"
#include "mem.h"
#include "text/utf8.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#define ELLIPSIS "\xE2\x80\xA6"

/* Whether the character of n bytes at s is obeyed by somebody who shows it: C0, DEL, C1, a line's or paragraph's end, or what turns the
 * direction of writing, by which a text is read as another than it is (U+061C, 200E, 200F, 202A to 202E, 2066 to 2069). */
static bool is_control(const char *s, size_t n)
{
    const unsigned char *b = (const unsigned char *)s;

    if (n == 1)
        return b[0] < 0x20 || b[0] == 0x7F;
    if (n == 2)
        return (b[0] == 0xC2 && b[1] < 0xA0) || (b[0] == 0xD8 && b[1] == 0x9C);
    return n == 3 && b[0] == 0xE2 &&
           ((b[1] == 0x80 && (b[2] == 0x8E || b[2] == 0x8F || (b[2] >= 0xA8 && b[2] <= 0xAE))) ||
               (b[1] == 0x81 && b[2] >= 0xA6 && b[2] <= 0xA9));
}

/* What stands for the character at *from, which is passed over: *ret_n bytes. */
static const char *next(const char **from, size_t *ret_n)
{
    const char *at = *from;
    size_t n = utf8_length(at);

    *from += n ? n : 1;
    if (n == 0) {
        *ret_n = strlen(UTF8_REPLACEMENT);
        return UTF8_REPLACEMENT;
    }
    if (is_control(at, n)) {
        *ret_n = 1;
        return " ";
    }
    *ret_n = n;
    return at;
}

/* max: bytes without the final 0, for which there is room too. */
static void print_line(char *to, size_t max, const char *from)
{
    size_t used = 0, whole = 0; /* whole: so much of it leaves room for the ellipsis */

    while (*from) {
        size_t n;
        const char *character = next(&from, &n);
        if (used + n > max) {
            memcpy(to + whole, ELLIPSIS, strlen(ELLIPSIS));
            used = whole + strlen(ELLIPSIS);
            break;
        }
        memcpy(to + used, character, n);
        used += n;
        if (used + strlen(ELLIPSIS) <= max)
            whole = used;
    }
    to[used] = '\0';
}

char *text_line(const char *from, size_t max_bytes)
{
    if (!from)
        return NULL;
    /* A byte that is no UTF-8 becomes three. Not strlen of hundreds of megabytes times three. */
    size_t length = strnlen(from, max_bytes + 1), room = length * strlen(UTF8_REPLACEMENT);
    char *line = must(malloc((room < max_bytes ? room : max_bytes) + 1));

    print_line(line, room < max_bytes ? room : max_bytes, from);
    return line;
}

void text_copy(char *to, size_t size, const char *from)
{
    print_line(to, size - 1, from);
}

void text_print(char *to, size_t size, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    text_copy(to, size, text);
    free(text);
}
