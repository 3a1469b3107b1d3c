/* The relations of a job, as backfill.layout lists them, and what a survey of them has found. */
#pragma once

#include "base/session.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct relation {
    char *oid, *name, *batch, *bound, *last, *keys_of;
    char *whole;           /* asks whether no row is to do; NULL: no statement can tell */
    char *on_copy, *trial; /* whether the survey tries a batch on a copy; of how many keys */
    char *upper;           /* the last key; NULL: empty, or not looked for yet */
    char *cuts;            /* the keys between its ranges, text[]; NULL: it is one */
};

struct survey {
    struct relation *relations;
    int n_relations;
    bool knows_last; /* of the relation in hand: its last key was looked for, its plans are being checked */
    char *seen;      /* what a trial of a batch saw, JSON; NULL: none was tried */
    char *data_directory; /* where the server keeps its files; NULL: it doesn't tell */
    char *after;          /* what is planned, for a SQL_LAYOUT that continues the plan */
    char *behind;         /* what is planned when these are; NULL: all of it */
};

/* Takes over the relations of SQL_LAYOUT, instead of what it had; when it continues a plan, what was seen of that stays. ret_rest: about so many rows have those that it left out. */
void survey_take(struct survey *survey, const PGresult *result, bool continues, uint64_t *ret_rest);

/* What is sent first for a relation, and when its last key is known. at_once: it may look at all of it. */
struct session_query survey_last(struct survey *survey, int relation);
struct session_query survey_query(const struct survey *survey, int relation, bool at_once);

/* The answer to the first: false when the relation is empty, and there is nothing to survey. */
bool survey_take_last(struct survey *survey, int relation, const PGresult *result);

/* The answer to the second: rows, as the planner guesses, or false when none is to do. */
bool survey_take_seen(struct survey *survey, int relation, const PGresult *result, uint64_t *ret_estimate);

void survey_done(struct survey *survey);
