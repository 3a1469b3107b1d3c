/* Writing JSON: a string, whatever it holds, and a number, if there is one. */
#pragma once

#include <stdio.h>

/* With its quotes; NULL is null. What is no UTF-8 becomes U+FFFD. */
void json_string(FILE *out, const char *text);

/* Up to three decimals; null for what is no number, and for what is negative: so this program marks what it doesn't know. */
void json_number(FILE *out, double value);
