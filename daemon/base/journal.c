#include "base/journal.h"
#include "mem.h"
#include "text/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH    30
#define MAX_MESSAGE  3000 /* with the time and two names it is below PIPE_BUF */
#define MAX_BAR      1000
#define PATIENCE_MS  100 /* for a reader who is a little behind; once, until he has read something */
#define JOURNAL_PATH "/run/systemd/journal/socket"

/* Made once with systemd-id128 new; also in systemd/backfilld.catalog. */
static const char *const message_ids[_JOURNAL_KIND_MAX] = {
    [JOURNAL_SERVICE] = "c017e9b6b5ac4ddb8002d8874e0db66c",
    [JOURNAL_CONFIG] = "04ba481905484e27a1e1a48c92978929",
    [JOURNAL_DATABASE] = "bcc3fb9119094082935e46cda34cf682",
    [JOURNAL_STATE] = "2de0b26690c84ab08ce939da26da6a74",
    [JOURNAL_PHASE] = "606a892ccc9d4f6ebd5c968cd61654ba",
    [JOURNAL_RETRY] = "fa6a52a7bf2e44e5994ac69b65173d8c",
    [JOURNAL_THROTTLE] = "e1d3a05c6222419f9af1df5575092cc1",
    [JOURNAL_LEFT_BEHIND] = "55b314eff6754c5f901b73eb0fc029c8",
    [JOURNAL_PROGRESS] = "c43106ddc1854217a0e4702961030913",
};

static enum journal_level max_level = LEVEL_INFO;
static bool to_journal, has_bar;
static char *bar; /* what stands on the terminal's last line */

/* Where it goes: whoever reads there may have stopped, and the loop must turn. */
struct sink {
    int fd;
    bool is_socket;
    bool stuck;                     /* it took nothing the last time: it is waited for no longer */
    uint64_t dropped;               /* records, since it last took one */
    char rest[PIPE_BUF + MAX_BAR]; /* of a line that a terminal took a part of */
    size_t n_rest;
};
static struct sink errors = {.fd = STDERR_FILENO}, journal = {.fd = -1, .is_socket = true};

/* ---- What never blocks
 * -------------------------------------------------------------------------------------------------------------- */

/* stderr is shared with whoever started this: to make it nonblocking would do so for them, too. But the same pipe or terminal can be
 * opened once more. A file never blocks, a socket can be asked not to each time. */
static void open_errors(const struct stat *st)
{
    if (S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode)) {
        int again = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        errors.fd = again >= 0 ? again : STDERR_FILENO;
    }
    errors.is_socket = S_ISSOCK(st->st_mode);
}

/* What was taken; -1: nothing, and errno says why. */
static ssize_t put(struct sink *sink, const char *text, size_t n)
{
    for (;;) {
        ssize_t taken = -1;
        struct pollfd ready = {.fd = sink->fd, .events = POLLOUT};
        /* The descriptor may block all the same, where /proc isn't there. */
        if (sink->is_socket)
            taken = send(sink->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (sink->fd != STDERR_FILENO || poll(&ready, 1, 0) > 0)
            taken = write(sink->fd, text, n);
        else
            errno = EAGAIN;
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken >= 0 || errno != EAGAIN || sink->stuck)
            return taken;
        sink->stuck = true;
        poll(&ready, 1, PATIENCE_MS);
    }
}

static bool put_rest(struct sink *sink)
{
    ssize_t taken = sink->n_rest ? put(sink, sink->rest, sink->n_rest) : 0;

    if (taken > 0)
        memmove(sink->rest, sink->rest + taken, sink->n_rest - (size_t)taken);
    sink->n_rest -= taken > 0 ? (size_t)taken : 0;
    return sink->n_rest == 0;
}

/* All of it, now or with what comes later; or nothing of it: false. */
static bool put_whole(struct sink *sink, const char *text, size_t n)
{
    if (!put_rest(sink)) {
        errno = EAGAIN;
        return false;
    }
    ssize_t taken = put(sink, text, n);
    if (taken < 0)
        return false;
    sink->stuck = false;
    sink->n_rest = n - (size_t)taken < sizeof(sink->rest) ? n - (size_t)taken : 0;
    memcpy(sink->rest, text + taken, sink->n_rest);
    return true;
}

void journal_open(enum journal_level level)
{
    struct stat st = {0};
    unsigned long long device, inode;
    const char *stream = getenv("JOURNAL_STREAM");

    max_level = level;
    bool known = fstat(STDERR_FILENO, &st) == 0;
    to_journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && known && st.st_dev == device &&
                 st.st_ino == inode;
    has_bar = !to_journal && isatty(STDERR_FILENO);
    if (known)
        open_errors(&st);
}

void journal_set_level(enum journal_level level)
{
    max_level = level;
}

bool journal_has_bar(void)
{
    return has_bar;
}

/* ---- The systemd journal (systemd.io/JOURNAL_NATIVE_PROTOCOL)
 * -------------------------------------------------------------------------------------------------------------- */

static bool open_journal(void)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL_PATH};

    if (journal.fd >= 0)
        return true;
    journal.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (journal.fd >= 0 && connect(journal.fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        close(journal.fd);
        journal.fd = -1;
    }
    return journal.fd >= 0;
}

/* A datagram. False: nobody is there. */
static bool send_record(const char *record, size_t n)
{
    for (int tries = 0; tries < 2 && open_journal(); tries++) {
        if (put_whole(&journal, record, n))
            return true;
        if (errno == EAGAIN || errno == ENOBUFS || errno == EMSGSIZE) {
            journal.dropped++;
            return true;
        }
        close(journal.fd); /* another one listens there by now, perhaps */
        journal.fd = -1;
    }
    return false;
}

__attribute__((format(printf, 2, 3))) static void add_field(FILE *out, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    _cleanup_free_ char *line = text_line(text, MAX_MESSAGE + 64 + TEXT_NAME); /* with its name, and whose it is */
    free(text);
    fprintf(out, "%s\n", line);
}

static void add_progress(FILE *out, const struct journal_progress *p)
{
    add_field(out, "BACKFILL_ROWS=%llu", (unsigned long long)p->rows);
    if (p->rate >= 0)
        add_field(out, "BACKFILL_RATE=%.0f", p->rate);
    if (p->percent >= 0)
        add_field(out, "BACKFILL_PERCENT=%.1f", p->percent);
    if (p->eta_s >= 0)
        add_field(out, "BACKFILL_ETA_S=%.0f", p->eta_s);
}

static bool write_journal(
    enum journal_level level, enum journal_kind kind, const struct journal_about *about, const char *message)
{
    _cleanup_free_ char *record = NULL;
    size_t n = 0;
    FILE *out = must(open_memstream(&record, &n));
    _cleanup_free_ char *whose = text_line(about && about->name ? about->name : about ? about->database : NULL, TEXT_NAME);

    add_field(out, "MESSAGE=%s%s%s", whose ? whose : "", whose ? ": " : "", message);
    add_field(out, "MESSAGE_ID=%s", message_ids[kind]);
    add_field(out, "PRIORITY=%d", (int)level);
    add_field(out, "SYSLOG_IDENTIFIER=backfilld");
    if (about) {
        if (about->job)
            add_field(out, "BACKFILL_JOB=%lld", (long long)about->job);
        if (about->name)
            add_field(out, "BACKFILL_NAME=%s", about->name);
        if (about->database)
            add_field(out, "BACKFILL_DATABASE=%s", about->database);
        if (about->table)
            add_field(out, "BACKFILL_TABLE=%s", about->table);
        if (about->phase)
            add_field(out, "BACKFILL_PHASE=%s", about->phase);
        if (about->sqlstate)
            add_field(out, "BACKFILL_SQLSTATE=%s", about->sqlstate);
        if (about->signal) {
            add_field(out, "BACKFILL_SIGNAL=%s", about->signal);
            add_field(out, "BACKFILL_VALUE=%.3f", about->value);
            add_field(out, "BACKFILL_LIMIT=%.3f", about->limit);
        }
        if (about->progress)
            add_progress(out, about->progress);
    }
    if (fclose(out) != 0)
        abort();
    return send_record(record, n);
}

/* ---- Lines on stderr
 * -------------------------------------------------------------------------------------------------------------- */

static void write_line(enum journal_level level, const struct journal_about *about, const char *message)
{
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    _cleanup_free_ char *database = text_line(about ? about->database : NULL, TEXT_NAME);
    _cleanup_free_ char *name = text_line(about ? about->name : NULL, TEXT_NAME), *line = NULL;

    strftime(when, sizeof(when), "%F %T", localtime_r(&now, &tm));
    int n = asprintf(&line, "%s%s %s%s%s%s%s%s\n%s", bar ? "\r\033[K" : "", when,
        level == LEVEL_ERROR     ? "error: "
        : level == LEVEL_WARNING ? "warning: "
                                 : "",
        database ? database : "", database ? ": " : "", name ? name : "", name ? ": " : "", message, bar ? bar : "");
    if (n < 0)
        abort();
    if (!put_whole(&errors, line, (size_t)n))
        errors.dropped++;
}

static bool write_record(enum journal_level level, enum journal_kind kind, const struct journal_about *about, const char *message)
{
    if (to_journal && write_journal(level, kind, about, message))
        return journal.dropped == 0;
    write_line(level, about, message);
    return errors.dropped == 0;
}

/* Once there is somebody to read it. */
static void tell_dropped(struct sink *sink)
{
    _cleanup_free_ char *message = NULL;
    uint64_t dropped = sink->dropped;

    if (dropped == 0)
        return;
    if (asprintf(&message, "%llu records are missing here: nobody took them in time", (unsigned long long)dropped) < 0)
        abort();
    sink->dropped = 0;
    if (!write_record(LEVEL_WARNING, JOURNAL_SERVICE, NULL, message))
        sink->dropped = dropped;
}

void journal_write(enum journal_level level, enum journal_kind kind, const struct journal_about *about,
    const char *format, ...)
{
    char *text = NULL;
    va_list args;

    if (level > max_level)
        return;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        return;
    _cleanup_free_ char *message = text_line(text, MAX_MESSAGE);
    free(text);
    tell_dropped(to_journal ? &journal : &errors);
    write_record(level, kind, about, message);
}

void journal_bar(const char *text)
{
    struct winsize size;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;

    if (!has_bar || (!*text && !bar))
        return;
    _cleanup_free_ char *line = NULL;
    free(bar);
    bar = *text ? text_line(text, (size_t)(columns <= 5 ? 4 : columns > MAX_BAR ? MAX_BAR : columns - 1)) : NULL;
    int n = asprintf(&line, "\r\033[K%s", bar ? bar : "");
    if (n > 0)
        put_whole(&errors, line, (size_t)n);
}

/* 1234567 -> "1,234,567" */
static void print_grouped(FILE *out, double value)
{
    char digits[32];
    int n = snprintf(digits, sizeof(digits), "%.0f", value);
    for (int i = 0; i < n; i++)
        fprintf(out, "%s%c", i && (n - i) % 3 == 0 ? "," : "", digits[i]);
}

/* Of a walk it is said, too, that the time is not known. */
static void print_progress(FILE *out, const struct journal_progress *p, const char *between)
{
    const char *then = "";

    if (p->percent >= 0) {
        fprintf(out, "%.1f %%", p->percent);
        then = between;
    }
    if (p->rate < 0)
        return;
    fputs(then, out);
    print_grouped(out, p->rate);
    fprintf(out, " rows/s%s", between);
    long s = (long)p->eta_s; /* a year at most */
    if (p->eta_s < 0)
        fputs("time left unknown", out);
    else if (s >= 3600)
        fprintf(out, "%ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
    else
        fprintf(out, "%ld:%02ld left", s / 60, s % 60);
}

char *journal_progress_text(const struct journal_progress *p, const char *between)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = must(open_memstream(&text, &size));

    print_progress(out, p, between);
    if (fclose(out) != 0)
        abort();
    return text;
}

char *journal_bar_text(const char *name, const struct journal_progress *p, const char *waiting_for)
{
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    FILE *out = must(open_memstream(&text, &size));

    fprintf(out, "%s  ", name);
    if (p->percent >= 0) {
        for (int i = 0; i < BAR_WIDTH; i++)
            fputc(p->percent * BAR_WIDTH >= 100.0 * (i + 1) ? '#' : '.', out);
        fputs("  ", out);
    }
    print_progress(out, p, "  ");
    if (waiting_for)
        fprintf(out, "  (%s)", waiting_for);
    if (fclose(out) != 0)
        abort();
    return text_line(text, MAX_BAR);
}
