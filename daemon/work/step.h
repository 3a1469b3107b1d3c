/* The step of a migration that a worker has in hand, as backfill.next_step has named it. */
#pragma once

#include "base/session.h"

#include <libpq-fe.h>
#include <stdbool.h>

struct step {
    char *name;             /* "add constraint"; NULL: there is none */
    char *commands;         /* text[] literal: one transaction */
    char *apart;            /* NULL, or the one command that must run by itself, right after them */
    bool looked;            /* and they have run */
    char *relation, *table; /* OID, and the name that the commands call it by */
    char *words;            /* "check orders_amount_cents_check" */
    char *progress;         /* how far it is, where the server tells */
};

/* Takes over the row of SQL_NEXT_STEP; no row: no step. Returns whether there is one. */
bool step_take(struct step *step, const PGresult *result);

/* Whether it only clears away what a step that failed has left. */
bool step_clears(const struct step *step);

/* Whether it takes room by the size of the table. */
bool step_builds(const struct step *step);

/* What is sent for it next; its parameters are pointers into the arguments. */
struct session_query step_query(const struct step *step, const char *phase);

/* "validate: check orders_amount_cents_check, 43 %". The caller frees; NULL when there is no step. */
char *step_text(const struct step *step);

/* What to do about an error of it, where the server says nothing better: a text, or NULL. */
const char *step_hint(const struct step *step, const char *sqlstate);

void step_done(struct step *step);
