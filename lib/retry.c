#include "retry.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* By the code itself first, then by its class of two characters; the first row that matches decides.
 * Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html */
static const struct {
    const char *prefix;
    enum retry_class kind;
} classes[] = {
    {SQLSTATE_STALE, RETRY_STALE},
    {SQLSTATE_OTHER_SCHEMA, RETRY_LATER},                        /* a daemon of that version will go on */
    {SQLSTATE_LOCK, RETRY_CONTENTION}, {"40", RETRY_CONTENTION}, /* serialization failure, deadlock */
    {"57014", RETRY_CANCELLED},                                  /* query_canceled */
    {"57P", RETRY_RECONNECT},   /* admin shutdown, crash shutdown, cannot connect now, idle timeout */
    {"08", RETRY_RECONNECT},    /* connection exceptions */
    {"25006", RETRY_RECONNECT}, /* read-only transaction: this server became, or is, a standby */
    {"25P03", RETRY_RECONNECT}, /* idle-in-transaction timeout */
    {"53", RETRY_LATER},        /* disk full, out of memory, too many connections */
    {"58030", RETRY_LATER},     /* io_error */
    {"0B000", RETRY_LATER}, {"42P01", RETRY_ALTERED}, /* undefined_table: renamed or moved meanwhile? */
    {"42703", RETRY_ALTERED},                         /* undefined_column */
    {"3F000", RETRY_ALTERED},                         /* invalid_schema_name */
    {"22", RETRY_ROW},                                /* data exceptions */
    {"23", RETRY_ROW},                                /* constraint violations */
    {"21000", RETRY_ROW},                             /* a subquery gave more than one row */
    {"54", RETRY_ROW},    /* program limits: a row too big, an index entry too large */
    {"P0", RETRY_ROW},    /* RAISE or ASSERT in a user's trigger or function */
    {"44000", RETRY_ROW}, /* WITH CHECK OPTION */
};

enum retry_class retry_class(const char *sqlstate)
{
    if (!sqlstate || strlen(sqlstate) != 5)
        return RETRY_PERMANENT;
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strncmp(sqlstate, classes[i].prefix, strlen(classes[i].prefix)) == 0)
            return classes[i].kind;
    return RETRY_PERMANENT;
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

/* xorshift64: good enough to spread sessions, and the simulator can replay it. */
char *retry_public_message(const char *sqlstate, const char *message)
{
    const char *first = message ? strchr(message, '"') : NULL, *last = message ? strrchr(message, '"') : NULL;
    bool quotes_a_value = sqlstate && strncmp(sqlstate, "22", 2) == 0 && first != last;
    char *text = NULL;

    if (!quotes_a_value)
        return copy_string(message);
    /* From the first quote to the last: a value may hold quotes itself. */
    if (asprintf(&text, "%.*s…%s", (int)(first - message + 1), message, last) < 0)
        abort();
    return text;
}

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
