#include "work/doubt.h"
#include "mem.h"
#include "base/result.h"
#include "schema/schema.h"
#include "schema/sql.h"

#include <stdio.h>
#include <string.h>

static void keep(struct doubt *d, const struct runner_event *event)
{
    d->asking = true;
    replace_string(&d->sqlstate, event->sqlstate);
    replace_string(&d->message, event->message);
    replace_string(&d->hint, event->hint);
    replace_string(&d->detail, event->detail);
}

static void settle(struct doubt *d, const struct runner_event *event)
{
    d->asking = false;
    d->settled(d->arg, event);
}

/* An --install of another version changes functions under a daemon that runs: that is no fault of the job's. */
static void on_installed(void *arg, const struct session_event *e)
{
    struct doubt *d = arg;
    bool ours = e->kind == SESSION_RESULT && PQntuples(e->results[0]) == 1 &&
                same_string(result_text(e->results[0], 0, "checksum"), schema_checksum);
    _cleanup_free_ char *message = copy_string(d->message), *hint = copy_string(d->hint);

    if (ours)
        settle(d, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = "42883", .message = message, .hint = hint});
    else
        settle(d, &(struct runner_event){.kind = RUNNER_ERROR,
                      .sqlstate = SQLSTATE_OTHER_SCHEMA,
                      .message = "the control schema is another version's: restart backfilld"});
}

/* It can't log in, or set its role. Where one of them was renamed, or dropped, it goes back to the queue, from which it is claimed under
 * the names of today, or failed. */
static void on_has_roles(void *arg, const struct session_event *e)
{
    struct doubt *d = arg;
    bool renamed = e->kind == SESSION_RESULT && !same_string(result_only(e->results[0]), "t");
    _cleanup_free_ char *sqlstate = copy_string(d->sqlstate), *message = copy_string(d->message), *hint = copy_string(d->hint);

    d->asking = false;
    if (renamed)
        d->roles_changed(d->arg);
    settle(d, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = sqlstate, .message = message, .hint = hint});
}

/* The server has refused it something, of which it names the object at most: what is missing, the catalog tells. */
static void on_why_denied(void *arg, const struct session_event *e)
{
    struct doubt *d = arg;
    const char *problem = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "problem") : NULL;
    _cleanup_free_ char *sqlstate = copy_string(d->sqlstate), *message = copy_string(d->message), *hint = copy_string(d->hint);

    settle(d, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = sqlstate, .message = problem ? problem : message,
                  .hint = problem ? result_text(e->results[0], 0, "advice") : hint});
}

/* The control session met a lock: whose, is said rather than that it did. */
static void on_job_holders(void *arg, const struct session_event *e)
{
    struct doubt *d = arg;
    const char *who = e->kind == SESSION_RESULT ? result_text(e->results[0], 0, "who") : NULL;
    _cleanup_free_ char *message = NULL;

    if (asprintf(&message, "the control schema is locked: %s", who ? who : "somebody held a lock on it") < 0)
        abort();
    settle(d, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = SQLSTATE_LOCK, .message = message});
}

/* What fires at commands knows nothing of this job: an event trigger of the house. */
static void on_event_trigger(void *arg, const struct session_event *e)
{
    struct doubt *d = arg;
    const char *hint = e->kind == SESSION_RESULT ? result_only(e->results[0]) : NULL;
    _cleanup_free_ char *sqlstate = copy_string(d->sqlstate), *message = copy_string(d->message), *own = copy_string(d->hint),
                        *detail = copy_string(d->detail);
    char job[24];

    if (!hint && same_string(sqlstate, "42501"))
        control_ask(d->control, &(struct session_query){SQL_WHY_DENIED, 1, {number_text(job, d->job->id)}}, on_why_denied, d, d->job->submitted_by);
    else if (!hint && same_string(sqlstate, "42883"))
        control_ask(d->control, &(struct session_query){.sql = SQL_INSTALLED}, on_installed, d, NULL);
    else
        settle(d, &(struct runner_event){.kind = RUNNER_ERROR, .sqlstate = sqlstate, .message = message, .hint = hint ? hint : own, .detail = detail});
}

/* Whether code that isn't ours has raised it, in the innermost place. */
static bool is_of_others(const struct session_event *e)
{
    size_t n = e->context ? strcspn(e->context, "\n") : 0;
    const char *ours = n > 0 ? strstr(e->context, "backfill.") : NULL;
    return n > 0 && !(ours && ours < e->context + n);
}

/* What the server says of a name may be said of a row's value that was taken for one: then only what the statement itself names is told. A column's name
 * is none, as a rule: a trigger's own statement has it. */
static char *told_message(const struct session_event *e, const char *statement)
{
    if (e->kind != SESSION_ERROR || e->in_text || (e->of_job && !is_of_others(e)) || !statement || !retry_is_final(e->sqlstate) || strncmp(e->sqlstate, "BF", 2) == 0 ||
        same_string(e->sqlstate, "42703"))
        return copy_string(e->message);
    return retry_named_message(e->message, statement);
}

/* A lock that the server itself did not get: a function of ours that raises this says already what it waits for. */
static bool is_lock_of_server(const struct session_event *e)
{
    return same_string(e->sqlstate, SQLSTATE_LOCK) && !same_string(e->raised_by, "exec_stmt_raise");
}

/* What to do about it, where the server says nothing, or what its reader can't follow; NULL: as it says. */
static const char *hint_for(const struct session_event *e, bool connecting)
{
    bool denied = e->kind != SESSION_CONNECT_FAILED && !e->lost && same_string(e->sqlstate, "42501");

    if (e->kind == SESSION_CONNECT_FAILED && strncmp(e->sqlstate, "28", 2) == 0)
        return "backfilld logs in as the role that submitted the job: allow that in pg_hba.conf, "
               "with a pg_ident map or a passfile. Then SELECT backfill.retry(name).";
    /* The session's own beginning (SQL_PIN, SQL_ROLE): it sets a role, and one setting that takes a right. */
    if (!e->lost && connecting && same_string(e->sqlstate, "42501"))
        return "The job's login must be let SET ROLE to the job's role, and must not begin its sessions with session_replication_role = "
               "replica, in which neither triggers nor foreign keys see what is written: GRANT the role, or ALTER ROLE ... RESET the "
               "setting. Then SELECT backfill.retry(name).";
    /* The server's own would open the table to all that its owner runs. */
    if (denied && same_string(e->raised_by, "check_enable_rls"))
        return "Row-level security may hide rows of that table from the job: insert the job as a role with BYPASSRLS "
               "(ALTER ROLE ... BYPASSRLS, by a superuser).";
    if (denied && !e->hint)
        return "The job's role needs what it had when the job was inserted: membership in backfill_submitter, and rights on "
               "what the job touches. Then SELECT backfill.retry(name).";
    return NULL;
}

/* What is said instead of the server's message; NULL: nothing. */
static const char *message_for(const struct session_event *e)
{
    if (e->kind != SESSION_ERROR)
        return NULL;
    /* The server says which statement is not let write; why, is a setting's doing, for a standby takes no session of ours. */
    if (!e->lost && same_string(e->sqlstate, SQLSTATE_READ_ONLY) && same_string(e->raised_by, "PreventCommandIfReadOnly"))
        return "default_transaction_read_only is on, and was off when the job was inserted: the job waits until it is off "
               "again, and goes on by itself (is a disk full?)";
    /* Its name is drawn for each session, and would make each time another message. */
    if (same_string(e->sqlstate, "26000") && strstr(e->message, SESSION_KEPT))
        return "code of others that runs in the job's session, a trigger say, has deallocated its prepared statements: it is opened anew";
    return NULL;
}

/* What is said before the server's message. */
static char *refused_login(const struct session_event *e)
{
    char *message = NULL;

    if (e->kind == SESSION_CONNECT_FAILED && strncmp(e->sqlstate, "28", 2) == 0 && asprintf(&message, "the server refuses the login: %s", e->message) < 0)
        abort();
    return message;
}

void doubt_error(struct doubt *d, const struct session_event *e, enum runner_action_kind doing, const char *statement)
{
    _cleanup_free_ char *message = told_message(e, statement), *refused = refused_login(e);
    const char *hint = hint_for(e, doing == RUNNER_CONNECT), *instead = message_for(e);
    bool too_large = same_string(e->sqlstate, SQLSTATE_TOO_LARGE); /* an answer like another, though the session is closed */
    bool lost = e->lost && !too_large && e->kind != SESSION_CONNECT_FAILED;
    bool denied = e->kind == SESSION_ERROR && !e->lost && same_string(e->sqlstate, "42501") && !e->hint &&
                  !same_string(e->raised_by, "check_enable_rls");
    struct runner_event event = {.kind = lost ? RUNNER_LOST : RUNNER_ERROR,
        .sqlstate = e->sqlstate,
        .message = refused ? refused : instead ? instead : message,
        .hint = hint ? hint : e->hint,
        .detail = e->key ? e->key : e->detail};
    bool by_command = e->kind == SESSION_ERROR && !e->lost && (doing == RUNNER_STEP || doing == RUNNER_SURVEY) && !e->hint && is_of_others(e) &&
                      !same_string(e->raised_by, "check_enable_rls");
    char job[24];

    if (e->kind == SESSION_ERROR && !e->lost && !action_has_session(doing) && is_lock_of_server(e)) {
        keep(d, &event);
        control_ask(d->control, &(struct session_query){.sql = SQL_JOB_HOLDERS}, on_job_holders, d, d->job->submitted_by);
    } else if (by_command) {
        keep(d, &event);
        control_ask(d->control, &(struct session_query){SQL_EVENT_TRIGGER, 2, {e->context, number_text(job, d->job->id)}}, on_event_trigger, d, d->job->submitted_by);
    } else if (e->kind == SESSION_ERROR && !e->lost && same_string(e->sqlstate, "42883")) {
        keep(d, &event);
        control_ask(d->control, &(struct session_query){.sql = SQL_INSTALLED}, on_installed, d, NULL);
    } else if (doing == RUNNER_CONNECT && e->sqlstate && (strncmp(e->sqlstate, "28", 2) == 0 || same_string(e->sqlstate, "22023"))) {
        keep(d, &event);
        control_ask(d->control,
            &(struct session_query){SQL_HAS_ROLES, 3, {number_text(job, d->job->id), d->job->submitted_by, d->job->owner}}, on_has_roles, d, d->job->submitted_by);
    } else if (denied && action_has_session(doing)) {
        keep(d, &event);
        control_ask(d->control, &(struct session_query){SQL_WHY_DENIED, 1, {number_text(job, d->job->id)}}, on_why_denied, d, d->job->submitted_by);
    } else
        d->settled(d->arg, &event);
}

void doubt_done(struct doubt *d)
{
    free(d->sqlstate);
    free(d->message);
    free(d->hint);
    free(d->detail);
}
