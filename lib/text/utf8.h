/* Text that goes to others, who refuse all of it for one byte that is no UTF-8. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define UTF8_REPLACEMENT "\xEF\xBF\xBD"

/* How many bytes the character at s has, 1 to 4; 0 when they are no UTF-8 (RFC 3629: no surrogate, nothing longer than need
 * be, nothing above U+10FFFF). At the end of the string it is 1. */
static inline size_t utf8_length(const char *s)
{
    const unsigned char *b = (const unsigned char *)s;
    size_t n = b[0] < 0x80 ? 1 : b[0] < 0xC2 ? 0 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : b[0] < 0xF5 ? 4 : 0;

    for (size_t i = 1; i < n; i++)
        if ((b[i] & 0xC0) != 0x80)
            return 0;
    if (n > 2 && ((b[0] == 0xE0 && b[1] < 0xA0) || (b[0] == 0xED && b[1] > 0x9F) ||
                     (b[0] == 0xF0 && b[1] < 0x90) || (b[0] == 0xF4 && b[1] > 0x8F)))
        return 0;
    return n;
}

/* Copies as much as has room, at least the final 0, and no part of a character. Returns whether that was all. */
static inline bool utf8_cut(char *to, size_t size, const char *from)
{
    size_t used = 0;

    while (*from) {
        size_t n = utf8_length(from);
        n = n ? n : 1;
        if (used + n >= size)
            break;
        memcpy(to + used, from, n);
        used += n;
        from += n;
    }
    to[used] = '\0';
    return *from == '\0';
}
