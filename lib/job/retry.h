/* What an error means for the work (DESIGN section 9), and how long to wait before the next try. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum retry_class {
    RETRY_LATER,      /* the server is short of something; the same again after a while */
    RETRY_RECONNECT,  /* the session is gone or useless: a new one, then read the cursor back */
    RETRY_CONTENTION, /* somebody else's lock or a conflict: smaller and soon */
    RETRY_CANCELLED,  /* statement_timeout, or somebody cancelled it: smaller and soon */
    RETRY_STALE,      /* another worker holds the range: ask whose it is */
    RETRY_ALTERED,    /* a name is gone: read the names anew once, then it is permanent */
    RETRY_ROW,        /* one of the batch's rows cannot be computed: find it */
    RETRY_RAISED,     /* a function, a trigger or a limit refuses one row, or all of them: find out (lib/walk/blame) */
    RETRY_UNKNOWN,    /* anything: the same again after a while; a batch that meets it again is searched for a row */
    RETRY_PERMANENT,  /* no try will help */
};

#define SQLSTATE_LOST  "08006" /* what this program itself calls a connection that went away */
#define SQLSTATE_ELSEWHERE "08004" /* the server's for a connection that it doesn't want: it is another one than that of the control session */
#define SQLSTATE_POOLED                                                                                      \
    "08P01" /* protocol_violation: what this program calls a connection that isn't one session of the server's */
#define SQLSTATE_READ_ONLY "25006" /* read_only_sql_transaction */
#define SQLSTATE_CANCELLED "57014" /* query_canceled: by whoever may, by statement_timeout, or by us for somebody who waits */
#define SQLSTATE_LOCK  "55P03" /* lock_not_available: our lock_timeout, or a lock that is not waited for */
#define SQLSTATE_TABLE_LOCK "BF008" /* raised for one on the job's table, by backfill.hold_name and lock_free_rows; told as SQLSTATE_LOCK */
#define SQLSTATE_NO_ROOM "53100" /* disk_full: also what this program calls a disk above its limit */
#define SQLSTATE_CHECK "23514" /* check_violation: also of the look that guard takes before it adds a constraint */
#define SQLSTATE_STALE "BF001" /* raised by backfill.checkpoint */
#define SQLSTATE_UNPROVEN                                                                                    \
    "BF003" /* raised by backfill.run_rows: a row is still to do after it was done; its key is the detail */
#define SQLSTATE_TOO_LARGE                                                                                    \
    "BF004" /* what this program calls an answer, or an error, that it doesn't take in: its session is gone */
#define SQLSTATE_TOO_SLOW                                                                                    \
    "BF005" /* what it calls a question about a job's texts or tables that takes the control session too long, again and again */
#define SQLSTATE_CHANGED "BF006" /* raised by backfill.begin_work and check_session: the session isn't, or isn't as, it was */
#define SQLSTATE_HIJACKED "BF007" /* raised by backfill.check_prepared: the session runs another's statement in place of ours */
#define SQLSTATE_MEANS_OTHER "BF010" /* raised by backfill.check_meaning, check_spelled: a clause means something else than the trigger, or a statement another table; no row's fault, and final */
#define SQLSTATE_OTHER_SCHEMA                                                                                \
    "BF002" /* what this program calls a function of the control schema that isn't there: it was upgraded */

/* sqlstate: five characters; anything else counts as permanent. */
enum retry_class retry_class(const char *sqlstate);

/* A server's message without the values of rows that it may quote, in any language: 'invalid input syntax for type integer:
 * "..."'. What a class of error quotes that isn't about data is names. Never NULL for a message; the caller frees. */
char *retry_public_message(const char *sqlstate, const char *message);

/* A message of which isn't known whether it quotes a name or a value ('relation "..." does not exist', of a value that was taken for a name): quotes
 * of what stands in the text, the job's own words, stay. Never NULL for a message; the caller frees. */
char *retry_named_message(const char *message, const char *text);

/* Whether no try helps against an error of that code, be it a row's fault or nobody's. */
bool retry_is_final(const char *sqlstate);

/* The name that report and journal use: "contention", "connection", ... */
const char *retry_class_name(enum retry_class kind);

/* Capped exponential backoff with jitter, so that many sessions that failed together don't return together.
 */
struct backoff {
    uint64_t base_us, cap_us;
    uint64_t random; /* state of the jitter; any seed but 0 */
    uint32_t tries;
};

void backoff_init(struct backoff *b, uint64_t base_us, uint64_t cap_us, uint64_t seed);
void backoff_reset(struct backoff *b);

/* The next wait in microseconds: base * 2^tries, at most cap, of which a random 50 to 100 % is taken. */
uint64_t backoff_next(struct backoff *b);
