/* What libpq says, for people. */
#pragma once

#include <stdbool.h>

/* The SQLSTATE in a verbose connection error ("FATAL:  28P01: password ..."): libpq keeps it nowhere else. */
void words_sqlstate(const char *message, char ret_sqlstate[6]);

/* Whether a method of authentication has refused the login: a token by PAM, a directory, a certificate. A password has a code of its own; these have that of
 * a role or a line of pg_hba.conf that isn't there, and pass no less. The place in the server's source tells them apart, in every language. */
bool words_refuse_login(const char *message, const char *sqlstate);

/* Its words on one line, without its guesses and the position in the server's source that they end with. NULL: the connection was lost. The caller
 * frees. */
char *words_tidy(const char *message);

/* A connection that was given up has libpq's word for it, and another is meant: replaces it in the text. */
void words_name_silence(char *text);
