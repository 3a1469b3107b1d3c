#include "journal.h"
#include "mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

#define MAX_FIELDS 20
#define BAR_WIDTH  30

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

void journal_open(enum journal_level level)
{
    struct stat st;
    unsigned long long device, inode;
    const char *stream = getenv("JOURNAL_STREAM");

    max_level = level;
    to_journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
                 fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
    has_bar = !to_journal && isatty(STDERR_FILENO);
}

void journal_set_level(enum journal_level level)
{
    max_level = level;
}

bool journal_has_bar(void)
{
    return has_bar;
}

struct fields {
    int n;
    struct iovec at[MAX_FIELDS];
};

__attribute__((format(printf, 2, 3))) static void add_field(struct fields *fields, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n >= 0 && fields->n < MAX_FIELDS)
        fields->at[fields->n++] = (struct iovec){.iov_base = text, .iov_len = (size_t)n};
}

static void add_progress(struct fields *fields, const struct journal_progress *p)
{
    add_field(fields, "BACKFILL_ROWS=%llu", (unsigned long long)p->rows);
    if (p->rate >= 0)
        add_field(fields, "BACKFILL_RATE=%.0f", p->rate);
    if (p->percent >= 0)
        add_field(fields, "BACKFILL_PERCENT=%.1f", p->percent);
    if (p->eta_s >= 0)
        add_field(fields, "BACKFILL_ETA_S=%.0f", p->eta_s);
}

static void write_journal(
    enum journal_level level, enum journal_kind kind, const struct journal_about *about, const char *message)
{
    struct fields fields = {0};

    add_field(&fields, "MESSAGE=%s", message);
    add_field(&fields, "MESSAGE_ID=%s", message_ids[kind]);
    add_field(&fields, "PRIORITY=%d", (int)level);
    add_field(&fields, "SYSLOG_IDENTIFIER=backfilld");
    if (about) {
        if (about->job)
            add_field(&fields, "BACKFILL_JOB=%lld", (long long)about->job);
        if (about->name)
            add_field(&fields, "BACKFILL_NAME=%s", about->name);
        if (about->database)
            add_field(&fields, "BACKFILL_DATABASE=%s", about->database);
        if (about->table)
            add_field(&fields, "BACKFILL_TABLE=%s", about->table);
        if (about->phase)
            add_field(&fields, "BACKFILL_PHASE=%s", about->phase);
        if (about->sqlstate)
            add_field(&fields, "BACKFILL_SQLSTATE=%s", about->sqlstate);
        if (about->signal) {
            add_field(&fields, "BACKFILL_SIGNAL=%s", about->signal);
            add_field(&fields, "BACKFILL_VALUE=%.3f", about->value);
            add_field(&fields, "BACKFILL_LIMIT=%.3f", about->limit);
        }
        if (about->progress)
            add_progress(&fields, about->progress);
    }
    sd_journal_sendv(fields.at, fields.n);
    for (int i = 0; i < fields.n; i++)
        free(fields.at[i].iov_base);
}

static void write_line(enum journal_level level, const struct journal_about *about, const char *message)
{
    char when[32];
    time_t now = time(NULL);
    struct tm tm;

    strftime(when, sizeof(when), "%F %T", localtime_r(&now, &tm));
    if (bar)
        fputs("\r\033[K", stderr);
    fprintf(stderr, "%s %s", when,
        level == LEVEL_ERROR     ? "error: "
        : level == LEVEL_WARNING ? "warning: "
                                 : "");
    if (about && about->database)
        fprintf(stderr, "%s: ", about->database);
    if (about && about->name)
        fprintf(stderr, "%s: ", about->name);
    for (const char *c = message; *c; c++) /* nothing that a terminal would obey */
        fputc((unsigned char)*c < ' ' ? ' ' : *c, stderr);
    fputc('\n', stderr);
    if (bar)
        fputs(bar, stderr);
}

void journal_write(enum journal_level level, enum journal_kind kind, const struct journal_about *about,
    const char *format, ...)
{
    _cleanup_free_ char *message = NULL;
    va_list args;

    if (level > max_level)
        return;
    va_start(args, format);
    int n = vasprintf(&message, format, args);
    va_end(args);
    if (n < 0)
        return;
    if (to_journal)
        write_journal(level, kind, about, message);
    else
        write_line(level, about, message);
}

void journal_bar(const char *text)
{
    struct winsize size;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;

    if (!has_bar || (!*text && !bar))
        return;
    free(bar);
    bar = NULL;
    if (*text && asprintf(&bar, "%.*s", columns - 1, text) < 0)
        bar = NULL;
    fprintf(stderr, "\r\033[K%s", bar ? bar : "");
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
    char *text = NULL;
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
    return text;
}
