#include "base/hosts.h"
#include "mem.h"

#include <string.h>

char *hosts_option(PGconn *conn, const char *keyword)
{
    PQconninfoOption *options = PQconninfo(conn);
    char *value = NULL;

    for (const PQconninfoOption *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0 && o->val && *o->val)
            value = copy_string(o->val);
    PQconninfoFree(options);
    return value;
}

/* Of a list with commas what stands behind entry at; NULL where the list has no more, or is one value for all hosts. */
static const char *behind(const char *list, int at)
{
    for (; list && at >= 0; at--) {
        list = strchr(list, ',');
        if (list)
            list++;
    }
    return list;
}

/* Whether entry at of a list is this text. */
static bool entry_is(const char *list, int at, const char *text)
{
    const char *entry = at == 0 ? list : behind(list, at - 1);
    size_t n = entry ? strcspn(entry, ",") : 0;
    return entry && text && strlen(text) == n && strncmp(entry, text, n) == 0;
}

/* The host that libpq has got to, in its own list. */
static int host_number(PGconn *conn, const char *hosts, const char *hostaddrs, const char *ports)
{
    int at = 0;

    for (; behind(hosts ? hosts : hostaddrs, at); at++) {
        bool same_port = !ports || !strchr(ports, ',') || entry_is(ports, at, PQport(conn));
        if (same_port && (entry_is(hosts, at, PQhost(conn)) || entry_is(hostaddrs, at, PQhost(conn))))
            break;
    }
    return at;
}

struct hosts hosts_left(PGconn *conn)
{
    _cleanup_free_ char *hosts = hosts_option(conn, "host"), *hostaddrs = hosts_option(conn, "hostaddr"), *ports = hosts_option(conn, "port");
    int at = host_number(conn, hosts, hostaddrs, ports);

    return (struct hosts){.hosts = copy_string(behind(hosts, at)), .hostaddrs = copy_string(behind(hostaddrs, at)),
        .ports = ports && strchr(ports, ',') ? copy_string(behind(ports, at)) : NULL};
}

struct hosts hosts_reached(PGconn *conn)
{
    const char *address = PQhostaddr(conn);

    return (struct hosts){.hosts = copy_string(PQhost(conn)), .hostaddrs = address && *address ? copy_string(address) : NULL, .ports = copy_string(PQport(conn))};
}

void hosts_done(struct hosts *hosts)
{
    free(hosts->hosts);
    free(hosts->hostaddrs);
    free(hosts->ports);
    *hosts = (struct hosts){0};
}
