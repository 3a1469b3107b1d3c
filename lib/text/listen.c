#include "text/listen.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TAKES                                                                                                \
    "HINT: It takes a loopback address and a port, \"127.0.0.1:9188\" or \"[::1]:9188\", or a UNIX socket, " \
    "\"unix:/run/backfilld/metrics.sock\""

/* ":9188" -> 9188; 0 for anything else. */
static int parse_port(const char *text)
{
    size_t n = *text == ':' ? strlen(text + 1) : 0;

    if (n == 0 || n > 5 || strspn(text + 1, "0123456789") != n)
        return 0;
    int port = atoi(text + 1);
    return port <= 65535 ? port : 0;
}

/* Splits off the host, whose brackets are dropped. Returns what follows it, or NULL when it is too long or not closed. */
static const char *split_host(const char *text, char host[64])
{
    const char *begin = *text == '[' ? text + 1 : text;
    size_t n = strcspn(begin, *text == '[' ? "]" : ":");

    if (n >= 64 || (*text == '[' && begin[n] != ']'))
        return NULL;
    memcpy(host, begin, n);
    host[n] = '\0';
    return begin + n + (*text == '[');
}

static bool parse_loopback(const char *host, bool bracketed, struct listen_address *ret)
{
    struct listen_address a = {0};

    if (!bracketed &&
        inet_pton(AF_INET, strcasecmp(host, "localhost") == 0 ? "127.0.0.1" : host, &a.at.in.sin_addr) == 1) {
        a.at.in.sin_family = AF_INET;
        a.length = sizeof(a.at.in);
        *ret = a;
        return ntohl(a.at.in.sin_addr.s_addr) >> 24 == 127;
    }
    if (!bracketed || inet_pton(AF_INET6, host, &a.at.in6.sin6_addr) != 1)
        return false;
    a.at.in6.sin6_family = AF_INET6;
    a.length = sizeof(a.at.in6);
    *ret = a;
    return IN6_IS_ADDR_LOOPBACK(&a.at.in6.sin6_addr);
}

static const char *parse_unix(const char *path, struct listen_address *ret)
{
    struct listen_address a = {.length = sizeof(a.at.un)};

    if (*path != '/')
        return "the path of a UNIX socket is absolute. " TAKES;
    if (strlen(path) >= sizeof(a.at.un.sun_path))
        return "the path of a UNIX socket has at most 107 bytes. " TAKES;
    a.at.un.sun_family = AF_UNIX;
    strcpy(a.at.un.sun_path, path);
    *ret = a;
    return NULL;
}

const char *listen_parse(const char *text, struct listen_address *ret_address)
{
    struct listen_address a;
    char host[64];

    if (strncmp(text, "unix:", 5) == 0 || *text == '/')
        return parse_unix(*text == '/' ? text : text + 5, ret_address);
    const char *port = split_host(text, host);
    if (!port || !parse_loopback(host, *text == '[', &a))
        return "it is no loopback address. " TAKES;
    if (parse_port(port) == 0)
        return "there is no port from 1 to 65535 in it. " TAKES;
    if (a.at.any.sa_family == AF_INET)
        a.at.in.sin_port = htons((uint16_t)parse_port(port));
    else
        a.at.in6.sin6_port = htons((uint16_t)parse_port(port));
    *ret_address = a;
    return NULL;
}

bool listen_is_unix(const struct listen_address *address)
{
    return address->length > 0 && address->at.any.sa_family == AF_UNIX;
}

bool listen_is_same(const struct listen_address *a, const struct listen_address *b)
{
    return a->length == b->length && memcmp(&a->at, &b->at, a->length) == 0;
}

bool listen_is_host(const char *host)
{
    struct listen_address a;
    char name[64];
    const char *port = split_host(host, name);

    return port && parse_loopback(name, *host == '[', &a) && (*port == '\0' || parse_port(port) > 0);
}
