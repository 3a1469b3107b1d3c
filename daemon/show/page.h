/* The page (page.html), embedded in the program, and its headers: a policy that allows its own script and style, by their
 * hashes, and nothing else. */
#pragma once

#include <stddef.h>

extern const char page[];
extern const size_t page_size;
extern const char page_headers[];
