/* A position in a table, in the order of its key.
 *
 * It is the text of a PostgreSQL text[] with one element a key column, as the server wrote it: '{42}' or
 * '{42,"Main St"}', and it is handed back unread: only the server compares positions, so any ordered type and
 * collation works. NULL is the position before the first row. What is here is for people to read, but for the distance of integers, and the end of a page. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* "id = 42, street = Main St", from the key's column names and a position, both text[] literals. What doesn't
 * fit together is shown as it is. The caller frees. */
char *cursor_describe(const char *columns, const char *position);

/* How far position is above from, of two positions of a key that is one integer; 0: not above it, or one is no such position. */
uint64_t cursor_distance(const char *from, const char *position);

/* Whether it is the end of a page, of a scan by ctid: no row was found that ends the batch. */
bool cursor_ends_page(const char *position);

/* The elements of a one-dimensional text[] literal; *ret_n says how many. NULL elements are NULL. Returns
 * NULL, and leaves *ret_n alone, when the text is no such literal. The caller frees each and the array. */
char **cursor_split(const char *literal, int *ret_n);
