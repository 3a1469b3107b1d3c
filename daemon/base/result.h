/* Reading a PGresult's text by row and the column's name. What isn't there is NULL, a column as well: a job's own statements may have put
 * other ones in the place of ours. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A value, owned by the result; NULL for NULL. */
static inline const char *result_text(const PGresult *result, int row, const char *column)
{
    int at = row < PQntuples(result) ? PQfnumber(result, column) : -1;
    return at < 0 || PQgetisnull(result, row, at) ? NULL : PQgetvalue(result, row, at);
}

/* The only value of a statement that is asked for one, whatever it calls it; NULL when there is no row, too. */
static inline const char *result_only(const PGresult *result)
{
    return PQntuples(result) > 0 && PQnfields(result) > 0 && !PQgetisnull(result, 0, 0) ? PQgetvalue(result, 0, 0) : NULL;
}

/* An integer; 0 for NULL. */
static inline int64_t result_number(const PGresult *result, int row, const char *column)
{
    const char *text = result_text(result, row, column);
    return text ? strtoll(text, NULL, 10) : 0;
}

static inline bool result_is_true(const PGresult *result, int row, const char *column)
{
    const char *text = result_text(result, row, column);
    return text && strcmp(text, "t") == 0;
}
