/* Where a range stands: the key's columns, and a position among them.
 *
 * A position is the text of a PostgreSQL text[] with one element a key column, as the server wrote it: '{42}' or
 * '{42,"Main St"}'. It is handed back unread; only the server compares positions, so any ordered type and collation
 * works. NULL is the position before the first row. */
#pragma once

#include <stdbool.h>

/* Key columns in index order. Every string is ready to stand in SQL: quoted, schema-qualified. */
struct key {
    int n;
    char **columns;    /* "id" */
    char **types;      /* the base type without its modifier: bigint, app.mood */
    char **collations; /* the index's collation where it isn't the column's own; "" otherwise */
};

/* A key that owns copies; from three text[] literals of one length. Returns NULL when they are no such thing. */
struct key *key_parse(const char *columns, const char *types, const char *collations);

/* Frees the key; takes NULL; returns NULL. */
struct key *key_free(struct key *key);

/* "id = 42, street = Main St": a position for people. The caller frees. A position that does not fit the key is
 * shown as it is. */
char *cursor_describe(const struct key *key, const char *position);

/* The elements of a one-dimensional text[] literal; *ret_n says how many. The caller frees each and the array.
 * NULL elements are NULL. Returns NULL when the text is no such literal. */
char **cursor_split(const char *literal, int *ret_n);
