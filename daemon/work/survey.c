#include "work/survey.h"
#include "mem.h"
#include "base/result.h"
#include "schema/sql.h"

static void forget_relations(struct survey *s)
{
    for (int i = 0; i < s->n_relations; i++) {
        free(s->relations[i].oid);
        free(s->relations[i].batch);
        free(s->relations[i].bound);
        free(s->relations[i].last);
        free(s->relations[i].name);
        free(s->relations[i].keys_of);
        free(s->relations[i].on_copy);
        free(s->relations[i].trial);
        free(s->relations[i].whole);
        free(s->relations[i].upper);
        free(s->relations[i].cuts);
    }
    free(s->relations);
    s->relations = NULL;
    s->n_relations = 0;
}

void survey_take(struct survey *s, const PGresult *result, bool continues, uint64_t *ret_rest)
{
    int n = PQntuples(result);

    forget_relations(s);
    replace_string(&s->behind, n > 0 ? result_text(result, n - 1, "behind") : NULL);
    *ret_rest = s->behind ? (uint64_t)result_number(result, n - 1, "rest") : 0;
    s->n_relations = s->behind ? n - 1 : n;
    s->relations = must(calloc((size_t)s->n_relations + 1, sizeof(*s->relations)));
    for (int i = 0; i < s->n_relations; i++)
        s->relations[i] = (struct relation){
            .oid = copy_string(result_text(result, i, "relation")),
            .name = copy_string(result_text(result, i, "name")),
            .batch = copy_string(result_text(result, i, "batch")),
            .bound = copy_string(result_text(result, i, "bound")),
            .last = copy_string(result_text(result, i, "last")),
            .keys_of = copy_string(result_text(result, i, "keys_of")),
            .on_copy = copy_string(result_text(result, i, "on_copy")),
            .trial = copy_string(result_text(result, i, "trial")),
            .whole = copy_string(result_text(result, i, "whole")),
        };
    if (!continues) {
        replace_string(&s->seen, NULL);
        replace_string(&s->data_directory, s->n_relations > 0 ? result_text(result, 0, "data_directory") : NULL);
    }
}

struct session_query survey_last(struct survey *s, int relation)
{
    const struct relation *r = &s->relations[relation];

    s->knows_last = false;
    return (struct session_query){SQL_FIND_KEY, 6, {r->last, r->oid, r->name}};
}

struct session_query survey_query(const struct survey *s, int relation, bool at_once)
{
    const struct relation *r = &s->relations[relation];
    return (struct session_query){
        SQL_SURVEY, 9, {r->batch, r->bound, r->keys_of, r->oid, r->name, r->upper, r->on_copy, r->trial, at_once ? r->whole : NULL}};
}

bool survey_take_last(struct survey *s, int relation, const PGresult *result)
{
    s->knows_last = true;
    replace_string(&s->relations[relation].upper, result_only(result));
    return s->relations[relation].upper != NULL;
}

bool survey_take_seen(struct survey *s, int relation, const PGresult *result, uint64_t *ret_estimate)
{
    if (result_text(result, 0, "seen"))
        replace_string(&s->seen, result_text(result, 0, "seen"));
    *ret_estimate = (uint64_t)result_number(result, 0, "estimate");
    replace_string(&s->relations[relation].cuts, result_text(result, 0, "cuts"));
    if (result_is_true(result, 0, "nothing_to_do"))
        replace_string(&s->relations[relation].upper, NULL);
    return s->relations[relation].upper != NULL;
}

void survey_done(struct survey *s)
{
    forget_relations(s);
    free(s->seen);
    free(s->data_directory);
    free(s->after);
    free(s->behind);
    *s = (struct survey){0};
}
