"""The kernel is asked to write out what a job leaves in its cache, bit by bit, and nobody waits for that.

The kernel is played by a library loaded before libc: how much is dirty stands in a file, each syncfs is noted in another, and takes
as long as is told; directories below a secret one can't be read."""

import os
import subprocess

import pytest

from daemon import run
from waiting import wait_until

FLUSH = {"flush_after_kb": 1024}
KERNEL = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_other(const char *name, const char *path, int flags, int mode)
{
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    const char *secret = getenv("KERNEL_SECRET");
    if (flags & O_DIRECTORY && secret && strncmp(path, secret, strlen(secret)) == 0) {
        errno = EACCES;
        return -1;
    }
    return next(strcmp(path, "/proc/meminfo") == 0 ? getenv("KERNEL_DIRTY") : path, flags, mode);
}

int open(const char *path, int flags, ...) { return open_other("open", path, flags, 0600); }
int open64(const char *path, int flags, ...) { return open_other("open64", path, flags, 0600); }

int syncfs(int fd)
{
    struct stat s;
    int log = open(getenv("KERNEL_LOG"), O_WRONLY | O_APPEND);
    fstat(fd, &s);
    dprintf(log, "%lu\n", (unsigned long)s.st_dev);
    close(log);
    usleep(atoi(getenv("KERNEL_TAKES_US")));
    return 0;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    directory = tmp_path_factory.mktemp("kernel")
    (directory / "kernel.c").write_text(KERNEL)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", directory / "kernel.so", directory / "kernel.c", "-ldl"], check=True)
    return directory / "kernel.so"


class Kernel:
    def __init__(self, directory, library, monkeypatch):
        self.directory, self.monkeypatch = directory, monkeypatch
        (directory / "log").touch()
        self.dirty_kb(0)
        for name, value in {"LD_PRELOAD": library, "KERNEL_DIRTY": directory / "dirty", "KERNEL_LOG": directory / "log"}.items():
            monkeypatch.setenv(name, str(value))
        self.takes_us(1000)

    def dirty_kb(self, kb):
        (self.directory / "next").write_text(f"MemTotal: 1000000 kB\nDirty:    {kb} kB\nWriteback:  0 kB\n")
        (self.directory / "next").rename(self.directory / "dirty")

    def takes_us(self, us):
        self.monkeypatch.setenv("KERNEL_TAKES_US", str(us))

    def secret(self, directory):
        self.monkeypatch.setenv("KERNEL_SECRET", directory)

    def flushes(self):
        """The file system of each."""
        return (self.directory / "log").read_text().split()


@pytest.fixture
def kernel(tmp_path, library, monkeypatch):
    return Kernel(tmp_path, library, monkeypatch)


def slow_job(db, seconds=1):
    db.table(rows=1000 * seconds)
    return db.submit(target="t", set_clause="n = n + 1", max_rows_per_s=1000)


def test_what_a_job_writes_is_written_out_bit_by_bit(db, kernel):
    kernel.dirty_kb(1025)
    db.daemon(throttle=FLUSH)
    slow_job(db, seconds=10)
    wait_until(lambda: len(kernel.flushes()) >= 20, what="the kernel was asked twenty times")
    data = db.one("SHOW data_directory")
    assert set(kernel.flushes()) == {str(os.stat(data).st_dev)}


def test_more_than_was_kept_up_with_is_asked_for_all_the_same(db, kernel):
    kernel.dirty_kb(1025)
    db.daemon(throttle=FLUSH)
    slow_job(db, seconds=10)
    wait_until(kernel.flushes, what="the kernel was asked")
    kernel.dirty_kb(1000000)
    before = len(kernel.flushes())
    wait_until(lambda: len(kernel.flushes()) > before + 3, what="the kernel was asked for much")


@pytest.mark.parametrize("kb, flush_after_kb", [(1024, 1024), (65537, 1024), (1025, 0)], ids=["little", "much", "off"])
def test_what_needs_no_flush_gets_none(db, kernel, kb, flush_after_kb):
    """Little that is dirty; much, for to write that at once would be the standstill itself. And switched off."""
    kernel.dirty_kb(kb)
    db.daemon(throttle={"flush_after_kb": flush_after_kb})
    job = slow_job(db)
    db.finish(job)
    assert kernel.flushes() == []


def test_nobody_waits_for_a_disk_that_stalls(db, kernel):
    """The job goes on beside it, and the daemon ends when it is told to."""
    kernel.dirty_kb(2000)
    kernel.takes_us(600_000_000)
    daemon = db.daemon(throttle=FLUSH)
    job = slow_job(db)
    wait_until(kernel.flushes, what="the kernel was asked")
    db.finish(job)
    assert len(kernel.flushes()) == 1
    daemon.terminate()


def test_no_file_system_is_held_when_the_jobs_are_done(db, kernel):
    """An open directory would keep it from being unmounted."""
    def held():
        directory = f"/proc/{daemon.pid}/fd"
        return [path for path in (os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory) if os.path.exists(f"{directory}/{fd}"))
                if os.path.isdir(path)]

    kernel.dirty_kb(2000)
    daemon = db.daemon(throttle=FLUSH)
    db.finish(slow_job(db))
    wait_until(lambda: not held(), what="no directory is open")
    assert kernel.flushes()


def test_a_directory_above_will_do(db, kernel):
    """As Debian has it: the data directory is the server's own, the one above is everybody's."""
    kernel.dirty_kb(2000)
    kernel.secret(db.one("SHOW data_directory"))
    daemon = db.daemon(throttle=FLUSH)
    db.finish(slow_job(db))
    assert kernel.flushes() and "when the kernel likes" not in daemon.log()
    assert run("-d", db.conninfo(), "--check").returncode == 0


def test_who_may_read_no_directory_is_told(db, kernel):
    kernel.dirty_kb(2000)
    kernel.secret("/")
    daemon = db.daemon(throttle=FLUSH)
    db.finish(slow_job(db, seconds=3))
    assert kernel.flushes() == []
    assert daemon.log().count("goes to its disk when the kernel likes") == 1
    found = [line for line in run("-d", db.conninfo(), "--check").stdout.splitlines() if "HINT" in line]
    assert len(found) == 1 and "can't be written out bit by bit" in found[0] and "flush_after_kb = 0" in found[0], found
