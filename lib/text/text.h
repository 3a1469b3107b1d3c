/* Texts that come from outside (a server's message, a name in a table, a probe's answer) as a text that may go anywhere: to systemd, whose
 * notifications end at a line break, to a terminal, into a log, into a statement. */
#pragma once

#include <stddef.h>

/* The most of a message, a hint or a detail. A server's own words need some hundred bytes; what is longer quotes somebody's data. And so a
 * line with names, a message and what the daemon says of it stays below what a pipe takes at once or not at all (PIPE_BUF, 4096). */
#define TEXT_MESSAGE 2000

/* The most of one that is shown beside others: a table, a job's name (200 bytes, and older ones), who holds a lock. */
#define TEXT_NAME    400

/* One line of at most max_bytes (the final 0 not counted, at least 4): each control character (C0, DEL, C1, U+2028, U+2029) is a blank, each byte that is no
 * UTF-8 U+FFFD. What is longer is cut between characters, and ends in "…". NULL stays NULL. The caller frees. */
char *text_line(const char *from, size_t max_bytes);

/* The same into a buffer of that size, at least 5. */
void text_copy(char *to, size_t size, const char *from);

/* "what: text", formatted, as text_copy does. */
void text_print(char *to, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
