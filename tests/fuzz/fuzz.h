/* What a target is: one function over bytes from outside. libFuzzer calls it with what it thinks of (meson option fuzz, clang), replay.c with the
 * files of its corpus, in the suite unit. It ends the process when a promise is broken, also with asserts off. */
#pragma once

#include "mem.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST_HOLD(condition)                                                                                 \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

/* The bytes as a string of C, up to their first 0. The caller frees. */
static inline char *fuzz_string(const uint8_t *data, size_t size)
{
    char *text = must(malloc(size + 1));
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}
