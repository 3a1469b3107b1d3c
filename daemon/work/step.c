#include "work/step.h"
#include "mem.h"
#include "base/result.h"
#include "schema/sql.h"

#include <stdio.h>

bool step_take(struct step *step, const PGresult *result)
{
    step_done(step);
    if (PQntuples(result) == 0)
        return false;
    *step = (struct step){
        .name = copy_string(result_text(result, 0, "step")),
        .commands = copy_string(result_text(result, 0, "commands")),
        .apart = copy_string(result_text(result, 0, "apart")),
        .relation = copy_string(result_text(result, 0, "relation")),
        .table = copy_string(result_text(result, 0, "name")),
        .words = copy_string(result_text(result, 0, "words")),
    };
    return true;
}

bool step_clears(const struct step *step)
{
    return step->name && strcmp(step->name, "drop invalid index") == 0;
}

bool step_builds(const struct step *step)
{
    return step->name && strcmp(step->name, "build index") == 0;
}

struct session_query step_query(const struct step *step, const char *phase)
{
    if (step->apart && step->looked)
        return (struct session_query){.sql = step->apart};
    return (struct session_query){SQL_RUN_STEP, 4, {phase, step->commands, step->relation, step->table}};
}

char *step_text(const struct step *step)
{
    char *text = NULL;

    if (step->name && asprintf(&text, "%s: %s%s%s", step->name, step->words, step->progress ? ", " : "",
                          step->progress ? step->progress : "") < 0)
        abort();
    return text;
}

const char *step_hint(const struct step *step, const char *sqlstate)
{
    if (!step->name || !sqlstate)
        return NULL;
    if (strcmp(sqlstate, "23505") == 0)
        return "Rows share a value: backfill.left_behind has an example. Correct them, then SELECT backfill.retry(name).";
    if (strncmp(sqlstate, "23", 2) == 0)
        return "Correct the rows that break it, then SELECT backfill.retry(name). Until then the constraint is taken out again.";
    if (strcmp(sqlstate, "2BP01") == 0)
        return "Drop or change what depends on it, then SELECT backfill.retry(name).";
    return NULL;
}

void step_done(struct step *step)
{
    free(step->name);
    free(step->commands);
    free(step->apart);
    free(step->relation);
    free(step->table);
    free(step->words);
    free(step->progress);
    *step = (struct step){0};
}
