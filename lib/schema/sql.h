/* Every statement that the daemon sends. What depends on a job's table and clauses is written by the control schema's
 * functions (lib/schema/code_1_statements.sql), where the server's own quoting is at hand; nothing is glued together here.
 *
 * Parameters and results are named behind each, in order. */
#pragma once

/* clang-format off */

/* Each session, when it is connected (session.c). */
extern const char SQL_PIN[]; /* pid that it must be of (NULL: any), more settings (JSON or NULL) -> pid, and all is set if it is that one */
extern const char SQL_TRIAL[]; /* the server ends the session when it has been idle for a tenth of a second -> nothing of use */
extern const char SETTINGS_CONTROL[], SETTINGS_PROBE[], SETTINGS_INSTALL[]; /* JSON: of the control session, the monitor's and that of
    --check; of the probes'; of --install */

extern const char SQL_FORGET_ENDED[]; /* days, the job that was looked at last (ended at, id; NULL: none) -> forgotten, last_at, last_id (NULL: all were looked at) */
extern const char SQL_LOOK_AFTER[]; /* the job that was looked at last (id; NULL: none) -> last_id (NULL: all were looked at), name (NULL: nothing has changed), trouble (NULL: it is over), hint */
extern const char SQL_PIN_PROBE[]; /* before each probe -> nothing of use */

/* A worker's session, as the role that submitted the job. */
extern const char SQL_LOGIN[]; /* OID of the job's login -> nothing; fails in a session of another role */
extern const char SQL_ROLE[]; /* settings (JSON or NULL), search_path, time zone, date style, lock_timeout ms,
    statement_timeout ms, synchronous_commit, role to SET or NULL, settings of the inserting session (JSON) -> nothing of use */
extern const char SQL_BEGIN_SESSION[]; /* token, settings of the job (JSON or NULL) -> nothing */
extern const char SQL_FIND_KEY[]; /* bound or last, relation oid, its name or NULL, below, upper, keys -> the key, no row where there is none */
extern const char SQL_SURVEY[]; /* batch, bound, keys_of, relation oid, its name, upper, whether on a copy, keys to try -> rows estimated, what was seen (JSON) or NULL */
extern const char SQL_RUN_BATCH[]; /* batch, relation oid, its name or NULL, keys_of, range, epoch, at or NULL, lo, hi, keys or NULL,
    rate, yields after microseconds or NULL, whether it passes over locked rows, proof (JSON) or NULL -> rows, wal_bytes, now at, rows
    passed over, pids that hold them or NULL */
extern const char SQL_RETRY_ROWS[]; /* batch, relation oid, its name or NULL, keys_of, ids, epoch, keys, proof (JSON) or NULL -> rows, wal_bytes,
                                       how many are locked still, and by whom */
extern const char SQL_TRY_NEIGHBOURS[]; /* relation oid, key columns, key, SQLSTATE -> another row passes, that one fails again, how many
    others fail alike, how many otherwise, what may make it slow or NULL */
extern const char SQL_LIMIT_SESSION[]; /* statement_timeout ms (0: of a step), synchronous_commit of batches, lock_timeout ms -> nothing of use */
extern const char SQL_RUN_STEP[]; /* phase, commands (text[]), relation oid, its name -> nothing */

/* The control session, as the daemon's role. */
extern const char SQL_HELLO[]; /* -> server version number, in recovery, pid, backend start */
extern const char SQL_SCHEMA_USERS[]; /* -> what outside of the schema rests on its functions and types, and whose it is: NULL, nothing does */
extern const char SQL_SCHEMA[]; /* -> whether the schema is there, and its table installed; why neither may be read or NULL, hint */
extern const char SQL_JOB_HOLDERS[]; /* -> who keeps the control session waiting, in words; NULL: nobody by now */
extern const char SQL_SCHEMA_HOLDERS[]; /* -> who has the control schema's tables in use, in words */
extern const char SQL_INSTALLED[]; /* -> version, checksum */
extern const char SQL_LISTEN[];
extern const char SQL_CLAIM[]; /* -> job id or NULL, held elsewhere, then the job's columns as database.c reads them; ms until the hours of a
    queued job begin, ms until those of this job end (NULL: never); whether it is running (else it has ended and
    is tidied up), and its phases in the order of struct migration_plan, what rows lack, settings of the inserting session, how often in a
    row it has given its place back, OID of its login, token */
extern const char SQL_CLAIM_NEWCOMER[]; /* the same, of a login for which no daemon is at work */
extern const char SQL_HELP[];      /* workers of a job by the file -> a row as of SQL_CLAIM, of a job to help with, slot */
extern const char SQL_LEAVE[];     /* job, slot, whether something went wrong */
extern const char SQL_HAND_OVER[]; /* range, epoch */
extern const char SQL_WALKERS[];   /* job, slot -> walkers, keys of all ranges, keys a second of the others */
extern const char SQL_IS_QUEUED[]; /* -> whether a job waits for a place */
extern const char SQL_WANTED[]; /* job ids, workers of a job by the file -> of these, and of this daemon's helpers: id, slot, wanted, target_ms, on_error, max_lag ms, throttle_off, max_rows_per_s, ms until its hours
    change (NULL: never), what keeps it from running by its hours (NULL: nothing) */
extern const char SQL_WHOSE[]; /* job, its name, table, phase -> the same, its state (NULL: its row is gone), pid of who holds it and what that
    calls itself (NULL: nobody there) */
extern const char SQL_UNFINISHED[]; /* us -> unfinished: jobs that are queued or running, or must be tidied up; elsewhere: that another daemon runs; paused: that are; failed: names, since then */
extern const char SQL_HOLD_AGAIN[]; /* job ids, tokens of helpers, old pid, old backend start */
extern const char SQL_LAYOUT[]; /* job, phase, when the session of the last one began or NULL, what is planned or NULL (a new plan)
    -> relation oid, name, batch, bound, last, keys_of, on_copy, keys to try, data_directory, outcome, whole; and a row of what is planned then, and how many rows the rest has, about */
extern const char SQL_ADD_RANGE[]; /* job, relation oid, upper, cuts, when the session of its layout began */
extern const char SQL_BEGIN_PHASE[]; /* job, phase that ends, phase, estimate or NULL, what the survey saw or NULL, free bytes of the disk or NULL, when the session of its layout began or NULL,
    what is planned or NULL (all), whether it needs no range -> whether the job is ours, the preflight in words or NULL */
extern const char SQL_PLAN_ON[]; /* job, phase, when the session of its layout began, what is planned by now or NULL (all) -> outcome */
extern const char SQL_NEXT_STEP[]; /* job, phase -> step, commands, a command that comes after them apart or NULL, relation oid, name, words; or no row */
extern const char SQL_HOLDERS_BESIDE[]; /* relation oid -> who may hold a lock that its rows meet elsewhere, in words */
extern const char SQL_TABLE_HOLDERS[]; /* relation oid, pid that doesn't count -> who holds locks on it, or NULL */
extern const char SQL_INDEX_PROGRESS[]; /* pid -> how far its CREATE INDEX is; or no row */
extern const char SQL_DUPLICATE[]; /* job, message, detail */
extern const char SQL_END_TIDY[]; /* job, error or NULL, hint or NULL */
extern const char SQL_TAKE_RANGE[]; /* job, phase, row id above which, how many rows at most, slot -> outcome, range, epoch, cursor, upper, point, relation oid,
           key columns, batch, bound, keys, keys_of, id of the last row, how many are locked, name or NULL, rows changed in this pass, yields, proof,
           how many rows, their ids, their keys, how many walkers the job has */
extern const char SQL_PUT_ASIDE[]; /* range, epoch, lo, hi, sqlstate, message, detail */
extern const char SQL_LEAVE_ROW[]; /* row id, sqlstate, message, detail */
extern const char SQL_SESSION_NAMES[]; /* pids -> "pid 12 (psql), pid 34" */
extern const char SQL_END_JOB[]; /* job, phase, state, error, hint, measured -> outcome, statements that were slower (text[]), rows and batches of the whole job */
extern const char SQL_EVENT_TRIGGER[]; /* where an error came from, the job's name -> what to do, when it was an event trigger; else NULL */
extern const char SQL_WHY_DENIED[]; /* job -> what its session lacks, in words, and what to do; NULL, when nothing is known to be missing */
extern const char SQL_HAS_ROLES[]; /* job, its login, its role -> whether these are their names still */
extern const char SQL_RELEASE_JOB[]; /* job */
extern const char SQL_GIVE_WAY[]; /* job, for so many ms, so often in a row, what it waits for, whether its login is refused -> 'given', 'kept' or 'not ours' */
extern const char SQL_OVER_SHARE[]; /* ids of the jobs that this daemon runs, and of those that can't be given back soon -> the one that is to make room for another login's, or NULL */
extern const char SQL_WAITING_FOR[]; /* job, what or NULL */
extern const char SQL_CANCEL[];    /* pid of a worker -> whether a signal was sent */
extern const char SQL_TERMINATE[]; /* the same; no row when that session isn't a worker's any more */
extern const char SQL_RELIEVE[]; /* pid of a worker, ms -> who has waited on it so long or NULL, ms, whether a signal was sent */

extern const char SQL_UNTANGLE[]; /* pid of a worker that builds an index -> who waited for that while it waited for them, and was cancelled, or NULL */

/* The monitor's session, as the daemon's role. */
extern const char SQL_MONITOR[]; /* pids of workers -> kind, whose, value: lsn, standby (its LSN or NULL), blocked (ms), waits (a worker's pid) */
extern const char SQL_MONITOR_SLOWLY[]; /* job ids -> kind, whose, value: slot, archive, archiver, xid, xmin, xmin_of,
    dead, path; see lib/schema/sql.c */

