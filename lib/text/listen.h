/* Where the daemon may be listened to: a loopback address and a port, or a UNIX socket. What it shows is for nobody but this
 * host, and there is neither a password nor encryption: so no other address is taken. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/un.h>

struct listen_address {
    socklen_t length; /* 0: none, it doesn't listen */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } at;
};

/* "127.0.0.1:9188", "[::1]:9188", "localhost:9188", "unix:/run/x.sock", "/run/x.sock". Returns NULL, or why it can't be taken
 * and what can. */
const char *listen_parse(const char *text, struct listen_address *ret_address);

bool listen_is_unix(const struct listen_address *address);
bool listen_is_same(const struct listen_address *a, const struct listen_address *b);

/* Whether a Host header names this host: localhost or a loopback address, with any port (a tunnel has one of its own). A name
 * that a stranger's DNS points to 127.0.0.1 is none of them, which is what this is for. */
bool listen_is_host(const char *host);
