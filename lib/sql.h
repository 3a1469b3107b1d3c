/* Every statement that the daemon sends: those that depend on a job's text and key are built here, the rest are
 * constants. Names that come in are quoted and schema-qualified already (the server did it); nothing else is put into a
 * statement but the job's own clauses, which the server has parsed alone and in place before (backfill.check_job).
 *
 * Parameters of a statement that is built: $1 the position below the batch (exclusive), $2 the one at its end
 * (inclusive), both text[]. */
#pragma once

#include "cursor.h"
#include "job.h"

enum sql_from {
    SQL_FROM_START, /* no lower bound: $1 is NULL */
    SQL_FROM_LOWER, /* key > $1 AND key <= $2 */
    SQL_POINT,      /* key = $2: one row, tried again */
};

/* A relation to work on. */
struct relation {
    char *name;       /* quoted and schema-qualified */
    bool partitioned; /* a parent whose statement reaches the leaves itself: no ONLY */
    struct key *key;
};

void relation_done(struct relation *relation);

/* The statement of one batch. The caller frees. */
char *sql_batch(const struct job *job, const struct relation *relation, enum sql_from from);

/* Finds the key that ends a batch: $1 the position below (or NULL), $2 the range's upper one, $3 how many keys.
 * One row with one text[], or none when fewer are left. The caller frees. */
char *sql_bound(const struct relation *relation, enum sql_from from);

/* The greatest key, as one text[]; no row when the table is empty. The caller frees. */
char *sql_last(const struct relation *relation);

/* The worker's session. */
extern const char SQL_SETTINGS[];    /* $1 settings as JSON or NULL, $2 lock_timeout, $3 statement_timeout, $4 synchronous_commit,
                                        $5 search_path, $6 TimeZone, $7 DateStyle, $8 the role to SET or NULL */
extern const char SQL_SURVEY[];      /* $1 batch statement, $2 bound statement, $3 relation, $4 upper -> rows estimated */
extern const char SQL_RUN_BATCH[];   /* $1 statement, $2 range, $3 epoch, $4 lo, $5 hi, $6 keys or NULL, $7 rate -> rows, wal_bytes */

/* The control session. */
extern const char SQL_HELLO[];       /* -> schema version, checksum, in recovery, pid, backend_start */
extern const char SQL_LISTEN[];
extern const char SQL_RELISTEN[];
extern const char SQL_CLAIM[];
