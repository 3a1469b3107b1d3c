/* The hosts of a conninfo, as libpq has them: lists with commas, of which one after another is tried. */
#pragma once

#include <libpq-fe.h>

/* What is left of the lists; all NULL: none. */
struct hosts {
    char *hosts, *hostaddrs, *ports;
};

/* Behind the host that libpq has got to. The caller calls hosts_done. */
struct hosts hosts_left(PGconn *conn);

/* The host that libpq has got to, by the address that answered. The caller calls hosts_done. */
struct hosts hosts_reached(PGconn *conn);

/* Frees the lists, and leaves none. */
void hosts_done(struct hosts *hosts);

/* The value of a connection's option, whether it came from conninfo, a service file or the environment. The caller frees. */
char *hosts_option(PGconn *conn, const char *keyword);
