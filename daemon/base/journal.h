/* What the daemon says: records with fields to the systemd journal, or the same as lines on stderr; and on a
 * terminal a progress bar below them. Nothing of a user's rows goes here but the key of one that failed.
 *
 * A record is one line of a bounded length, without anything that a terminal or a reader would obey (lib/text/text). It is written at once or
 * not at all: when nobody reads the other end, the event loop doesn't stand still; what is missing is counted, and said later. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

/* The kinds of record. Each has a MESSAGE_ID that never changes, and a text in the catalog. */
enum journal_kind {
    JOURNAL_SERVICE,     /* started, stopping, stopped */
    JOURNAL_CONFIG,      /* settings were read, or refused */
    JOURNAL_DATABASE,    /* a database is served, or can't be reached */
    JOURNAL_STATE,       /* a job's state changed */
    JOURNAL_PHASE,       /* a job's phase changed */
    JOURNAL_RETRY,       /* a job waits and tries again */
    JOURNAL_THROTTLE,    /* a signal slows a job down, or no longer */
    JOURNAL_LEFT_BEHIND, /* a row was put aside */
    JOURNAL_PROGRESS,    /* how a job goes */
    _JOURNAL_KIND_MAX,
};

enum journal_level {
    LEVEL_ERROR = 3, /* syslog's numbers */
    LEVEL_WARNING = 4,
    LEVEL_NOTICE = 5,
    LEVEL_INFO = 6,
    LEVEL_DEBUG = 7,
};

/* How far a job is. What is not known is negative, and left out. */
struct journal_progress {
    uint64_t rows;
    double rate, percent, eta_s;
};

/* What a record is about. What is NULL or 0 is left out. */
struct journal_about {
    const char *database;
    int64_t job;
    const char *name, *table, *phase, *sqlstate;
    const char *signal; /* that throttles; with its value and limit */
    double value, limit;
    const struct journal_progress *progress;
};

#define JOURNAL_ABOUT(...) (&(struct journal_about){__VA_ARGS__})

/* Finds out where to write. Call it first. */
void journal_open(enum journal_level level);
void journal_set_level(enum journal_level level);

/* One record. about may be NULL. */
void journal_write(enum journal_level level, enum journal_kind kind, const struct journal_about *about,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Whether stderr is a terminal that shows a bar. */
bool journal_has_bar(void);

/* Draws the bar's line anew; an empty text takes it away. */
void journal_bar(const char *text);

/* "61.3 %, 254,000 rows/s, 0:42 left", with that between them; "" when nothing is known. The caller frees. */
char *journal_progress_text(const struct journal_progress *progress, const char *between);

/* The bar's text, one line: "orders-cents  ######....  61.3 %  254,000 rows/s  0:42 left  (why it waits)". The caller
 * frees. */
char *journal_bar_text(const char *name, const struct journal_progress *progress, const char *waiting_for);
