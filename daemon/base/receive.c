#include "base/receive.h"

#include <errno.h>
#include <sys/socket.h>

static struct receive_budget *current;

void receive_limit(struct receive_budget *budget)
{
    current = budget;
}

/* In place of libc's, also for libpq (and libevent's signals, for which no budget is set). */
ssize_t recv(int socket, void *to, size_t n, int flags)
{
    if (current && current->at_once == 0) {
        errno = EAGAIN;
        return -1;
    }
    if (current && n > current->at_once)
        n = current->at_once;
    ssize_t got = recvfrom(socket, to, n, flags, NULL, NULL);
    if (current && got > 0) {
        current->at_once -= (size_t)got;
        current->left -= (size_t)got < current->left ? (size_t)got : current->left;
    }
    return got;
}
