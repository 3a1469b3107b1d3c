/* What libpq says, for people. */
#pragma once

#include <stdbool.h>

/* The SQLSTATE in a verbose connection error ("FATAL:  28P01: password ..."): libpq keeps it nowhere else. */
void words_sqlstate(const char *message, char ret_sqlstate[6]);

/* Its words on one line, without its guesses and the position in the server's source that they end with. NULL: the connection was lost. The caller
 * frees. */
char *words_tidy(const char *message);

/* A connection that was given up has libpq's word for it, and another is meant: replaces it in the text. */
void words_name_silence(char *text);
