/* Reading a PGresult's text. What isn't there is NULL: a job's own statements may have put other ones in the place of ours. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A value, owned by the result; NULL for NULL. */
static inline const char *result_text(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

/* The first row's first column; NULL when there is no row, too. */
static inline const char *result_only(const PGresult *result)
{
    return PQntuples(result) > 0 ? result_text(result, 0, 0) : NULL;
}

/* An integer; 0 for NULL. */
static inline int64_t result_number(const PGresult *result, int row, int column)
{
    const char *text = result_text(result, row, column);
    return text ? strtoll(text, NULL, 10) : 0;
}

static inline bool result_is_true(const PGresult *result, int row, int column)
{
    const char *text = result_text(result, row, column);
    return text && strcmp(text, "t") == 0;
}
