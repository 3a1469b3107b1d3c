/* Where to listen, from the file, and whom a client thinks it talks to. */
#include "fuzz.h"

#include "text/listen.h"

#include <arpa/inet.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = fuzz_string(data, size);
    struct listen_address address = {0};

    listen_is_host(text);
    if (listen_parse(text, &address))
        return 0;
    MUST_HOLD(address.length > 0 && address.length <= sizeof(address.at) && listen_is_same(&address, &address));
    if (listen_is_unix(&address))
        return 0;
    /* Nobody but this host. */
    MUST_HOLD(address.at.any.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&address.at.in6.sin6_addr)
                                                   : ntohl(address.at.in.sin_addr.s_addr) >> 24 == 127);
    return 0;
}
