#include "job/retry.h"
#include "mem.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* By the code itself first, then by its class of two characters; the first row that matches decides. What stands nowhere may
 * be anybody's: a trigger raises codes of its own, an extension has some.
 * Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html */
static const struct {
    const char *prefix;
    enum retry_class kind;
} classes[] = {
    {SQLSTATE_STALE, RETRY_STALE},
    {SQLSTATE_UNPROVEN, RETRY_ROW},
    {SQLSTATE_TOO_LARGE, RETRY_ROW}, /* a row's value that a message quotes, as a rule */
    {SQLSTATE_OTHER_SCHEMA, RETRY_LATER}, /* a daemon of that version will go on */
    {SQLSTATE_CHANGED, RETRY_RECONNECT},
    {SQLSTATE_TABLE_LOCK, RETRY_CONTENTION},
    {"BF", RETRY_PERMANENT},
    {SQLSTATE_LOCK, RETRY_CONTENTION},
    {"40", RETRY_CONTENTION},   /* serialization failure, deadlock */
    {"57014", RETRY_CANCELLED}, /* query_canceled */
    {"57P", RETRY_RECONNECT},   /* admin shutdown, crash shutdown, cannot connect now, idle timeout */
    {"08", RETRY_RECONNECT},    /* connection exceptions */
    {"25006", RETRY_RECONNECT}, /* read-only transaction: this server became, or is, a standby */
    {"25P03", RETRY_RECONNECT}, /* idle-in-transaction timeout */
    {"26000", RETRY_RECONNECT}, /* a statement that was prepared is gone: code of others has said DEALLOCATE */
    {"25P04", RETRY_RECONNECT}, /* transaction timeout */
    {"53", RETRY_LATER},        /* disk full, out of memory, too many connections, temp_file_limit */
    {"58", RETRY_LATER},        /* errors of the system: io_error, a file that can't be opened */
    {"0B000", RETRY_LATER},
    {"42P01", RETRY_ALTERED}, /* undefined_table: renamed or moved meanwhile? */
    {"42703", RETRY_ALTERED}, /* undefined_column */
    {"42883", RETRY_ALTERED}, /* undefined_function: the key has another type by now? */
    {"3F000", RETRY_ALTERED}, /* invalid_schema_name */
    {"0A000", RETRY_ALTERED}, /* cached plan must not change result type */
    {"22", RETRY_ROW},        /* data exceptions */
    {"23", RETRY_ROW},        /* constraint violations */
    {"21000", RETRY_ROW},     /* a subquery gave more than one row */
    {"44000", RETRY_ROW},     /* WITH CHECK OPTION */
    {"P0", RETRY_RAISED},     /* RAISE or ASSERT in a user's trigger or function */
    {"54", RETRY_RAISED},     /* program limits: an index entry too large, but also a NOTIFY queue that is full */
    {"38", RETRY_RAISED},     /* external routine exceptions */
    {"39", RETRY_RAISED},
    {"42", RETRY_PERMANENT},    /* syntax, rights */
    {"55006", RETRY_UNKNOWN},   /* object_in_use */
    {"55", RETRY_PERMANENT},    /* object not in prerequisite state: a table that publishes without an identity */
    {"28", RETRY_PERMANENT},    /* authorization */
    {"3D", RETRY_PERMANENT},    /* no such database */
    {"0L", RETRY_PERMANENT},    /* grantor, role */
    {"0P", RETRY_PERMANENT},
    {"2B", RETRY_PERMANENT},    /* others depend on it */
    {"25", RETRY_PERMANENT},    /* transaction states */
    {"2F", RETRY_PERMANENT},    /* what a function may not do */
};

enum retry_class retry_class(const char *sqlstate)
{
    if (!sqlstate || strlen(sqlstate) != 5)
        return RETRY_PERMANENT;
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strncmp(sqlstate, classes[i].prefix, strlen(classes[i].prefix)) == 0)
            return classes[i].kind;
    return RETRY_UNKNOWN;
}

const char *retry_class_name(enum retry_class kind)
{
    switch (kind) {
    case RETRY_LATER: return "resources";
    case RETRY_RECONNECT: return "connection";
    case RETRY_CONTENTION: return "contention";
    case RETRY_CANCELLED: return "cancelled";
    case RETRY_STALE: return "stale";
    case RETRY_ALTERED: return "altered";
    case RETRY_ROW: return "row";
    case RETRY_RAISED: return "raised";
    case RETRY_UNKNOWN: return "unknown";
    case RETRY_PERMANENT: return "permanent";
    }
    return "permanent";
}

void backoff_init(struct backoff *b, uint64_t base_us, uint64_t cap_us, uint64_t seed)
{
    *b = (struct backoff){.base_us = base_us, .cap_us = cap_us, .random = seed ? seed : 1};
}

void backoff_reset(struct backoff *b)
{
    b->tries = 0;
}

/* ---- Messages without values.
 * ---------------------------------------------------------------------------------------------------- */

/* What languages put a value between. The apostrophe is last: it stands within words, too. */
static const char *const marks[] = {"\"", "«", "»", "„", "“", "”", "‚", "‘", "‹", "›", "「", "」", "『", "』", "《", "》", "〈",
    "〉", "＂", "`", "’", "'"};
#define N_MARKS       (sizeof(marks) / sizeof(marks[0]))
#define N_APOSTROPHES 2

/* The length of the mark that s begins with; 0: none. */
static size_t mark_at(const char *s, bool *ret_apostrophe)
{
    for (size_t i = 0; i < N_MARKS; i++)
        if (*s == *marks[i] && strncmp(s, marks[i], strlen(marks[i])) == 0) {
            *ret_apostrophe = i >= N_MARKS - N_APOSTROPHES;
            return strlen(marks[i]);
        }
    return 0;
}

/* Bytes that no encoding has are told in hexadecimal, outside of marks: cut each "0xe4". */
static char *without_bytes(char *text)
{
    char *to = text;

    for (const char *from = text; *from;)
        if (from[0] == '0' && from[1] == 'x' && isxdigit((unsigned char)from[2])) {
            *to++ = '0';
            *to++ = 'x';
            for (from += 2; isxdigit((unsigned char)*from); from++) {
            }
        } else
            *to++ = *from++;
    *to = '\0';
    return text;
}

/* From the first mark to the last, whatever they are: a value may hold some itself. After a mark without a partner, to the
 * end: the message was cut off. */
static char *without_quotes(const char *message)
{
    const char *first = NULL, *behind = NULL, *last = NULL;
    bool apostrophe = false, lonely = false;
    char *text = NULL;

    for (const char *s = message; *s;) {
        size_t length = mark_at(s, &apostrophe);
        if (length == 0) {
            s++;
            continue;
        }
        if (!first) {
            first = s;
            behind = s + length;
            lonely = !apostrophe;
        } else
            last = s;
        s += length;
    }
    if (!last && !lonely)
        return copy_string(message);
    if (asprintf(&text, "%.*s...%s", (int)(behind - message), message, last ? last : "") < 0)
        abort();
    return text;
}

/* A number or a date behind the last colon stands there without marks: "date out of range: 5874898-01-01". */
static char *without_number(char *text)
{
    char *last = text;

    for (char *s = text; (s = strstr(s, ": ")); s += 2)
        last = s + 2;
    const char *digits = *last == '-' || *last == '+' ? last + 1 : last;
    if (last > text && isdigit((unsigned char)*digits) && strncmp(digits, "0x", 2) != 0 && strlen(last) > 3)
        strcpy(last, "...");
    return text;
}

char *retry_public_message(const char *sqlstate, const char *message)
{
    if (!message)
        return NULL;
    enum retry_class class = retry_class(sqlstate);
    bool of_data = class == RETRY_RAISED || class == RETRY_UNKNOWN || (sqlstate && strncmp(sqlstate, "22", 2) == 0);
    return of_data ? without_number(without_bytes(without_quotes(message))) : copy_string(message);
}

/* Whether all that stands between a mark and the next stands in the text. */
static bool names_only(const char *message, const char *text)
{
    const char *from = NULL;
    bool apostrophe = false;

    for (const char *s = message; *s;) {
        size_t length = mark_at(s, &apostrophe);
        if (length == 0) {
            s++;
            continue;
        }
        if (from) {
            _cleanup_free_ char *quoted = strndup(from, (size_t)(s - from));
            if (!text || !quoted || !*quoted || !strstr(text, quoted))
                return false;
        }
        s += length;
        from = from ? NULL : s;
    }
    return !from;
}

char *retry_named_message(const char *message, const char *text)
{
    return !message ? NULL : names_only(message, text) ? copy_string(message) : without_quotes(message);
}

bool retry_is_final(const char *sqlstate)
{
    enum retry_class class = retry_class(sqlstate);
    return class == RETRY_PERMANENT || class == RETRY_ALTERED;
}

/* ---- Waits.
 * ---------------------------------------------------------------------------------------------------- */

/* xorshift64: good enough to spread sessions, and the simulator can replay it. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

uint64_t backoff_next(struct backoff *b)
{
    uint64_t wait = b->base_us;
    for (uint32_t i = 0; i < b->tries && wait < b->cap_us; i++)
        wait *= 2;
    if (wait > b->cap_us)
        wait = b->cap_us;
    b->tries++;
    return wait / 2 + next_random(&b->random) % (wait / 2 + 1);
}
