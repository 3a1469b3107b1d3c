#include "watch/host.h"
#include "text/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void read_psi(const char *path, struct psi *psi, enum pressure_signal signal, uint64_t now_us,
    struct pressure *pressure)
{
    char text[512], why[PRESSURE_WHAT];
    uint64_t stalled_us;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = file >= 0 ? read(file, text, sizeof(text) - 1) : -1;
    int error = n < 0 ? errno : 0;

    if (file >= 0)
        close(file);
    if (error == ENOENT || error == EOPNOTSUPP) /* built without, or switched off at boot */
        return;
    text[n > 0 ? n : 0] = '\0';
    if (error || !psi_parse(text, &stalled_us)) {
        text_print(why, sizeof(why), "%s: %s", path, error ? strerror(error) : "not understood");
        pressure_fail(pressure, signal, why);
        return;
    }
    psi_note(psi, stalled_us, now_us);
    if (psi->n > 1)
        pressure_note(pressure, signal, psi_share(psi), psi_share(psi), NULL);
}

void host_read_pressure(struct host *host, uint64_t now_us, struct pressure *pressure)
{
    read_psi("/proc/pressure/cpu", &host->cpu, SIGNAL_CPU, now_us, pressure);
    read_psi("/proc/pressure/io", &host->io, SIGNAL_IO, now_us, pressure);
}

int64_t host_free_bytes(const char *path)
{
    struct statvfs fs;
    return statvfs(path, &fs) == 0 ? (int64_t)(fs.f_bavail * fs.f_frsize) : -1;
}

void host_read_disk(const char *path, bool optional, struct pressure *pressure)
{
    struct statvfs fs;
    char why[PRESSURE_WHAT], name[64];

    if (statvfs(path, &fs) < 0) {
        if (optional && (errno == EACCES || errno == ENOENT))
            return;
        const char *problem = strerror(errno);
        text_copy(name, sizeof(name), path);
        text_print(why, sizeof(why), "%s: %s", name, problem);
        pressure_fail(pressure, SIGNAL_DISK, why);
    } else if (fs.f_blocks > 0) {
        /* As df counts: what is kept for root is neither used nor free. */
        double used = (double)(fs.f_blocks - fs.f_bfree);
        double share = used / (used + (double)fs.f_bavail);
        pressure_note(pressure, SIGNAL_DISK, share, share, path);
    }
}
