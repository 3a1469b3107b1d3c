/* Memory that is there or ends the process. Running out is a crash here on purpose: the daemon can be killed
 * at any instruction and goes on where the data stands, so a crash is the one path that is tested best. */
#pragma once

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

/* A copy that the caller frees; NULL stays NULL. */
static inline char *copy_string(const char *s)
{
    return s ? must(strdup(s)) : NULL;
}

/* *to becomes a copy of from. */
static inline void replace_string(char **to, const char *from)
{
    char *copy = copy_string(from);
    free(*to);
    *to = copy;
}

/* NULL is the same as NULL alone. */
static inline bool same_string(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static inline void free_string(char **s)
{
    free(*s);
}

#define _cleanup_free_ __attribute__((cleanup(free_string)))
