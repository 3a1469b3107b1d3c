/* Reading the head of an HTTP/1 request: as much of RFC 9112 as a server needs that only ever answers GET and HEAD, and closes
 * the connection after each answer. A head that is not quite right is refused, never repaired. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_OTHER, /* another one: there is a right way to refuse it */
};

/* Its strings are in the head that was parsed. */
struct http_request {
    enum http_method method;
    const char *path; /* without the query */
    const char *host;
    const char *accept;     /* NULL: there is none */
    const char *fetch_site; /* Sec-Fetch-Site: whose page asks, as a browser says; or NULL */
};

/* The length of the head that text begins with, the empty line included; 0: it isn't complete. */
size_t http_head_length(const char *text, size_t n);

/* Reads a head of n bytes, which it writes to; head[n] must be there, too. Returns 0, or the status to refuse it with. */
int http_parse(char *head, size_t n, struct http_request *ret_request);

/* "Not Found" */
const char *http_reason(int status);
