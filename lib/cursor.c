#include "cursor.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char **free_strings(char **strings, int n)
{
    for (int i = 0; strings && i < n; i++)
        free(strings[i]);
    free(strings);
    return NULL;
}

/* One element, from *text up to its ',' or '}', which it leaves; false when the literal is broken. */
static bool read_element(const char **text, char **ret_element)
{
    const char *s = *text;
    bool quoted = *s == '"';
    char *element = must(malloc(strlen(s) + 1)), *to = element;

    if (quoted)
        s++;
    while (*s && (quoted ? *s != '"' : *s != ',' && *s != '}')) {
        if (*s == '\\' && *++s == '\0')
            break;
        *to++ = *s++;
    }
    *to = '\0';
    if (*s == '\0' || (!quoted && to == element)) {
        free(element);
        return false;
    }
    if (quoted)
        s++;
    else if (strcasecmp(element, "NULL") == 0) {
        free(element);
        element = NULL;
    }
    *text = s;
    *ret_element = element;
    return true;
}

char **cursor_split(const char *literal, int *ret_n)
{
    if (!literal || *literal != '{')
        return NULL;
    const char *s = literal + 1;
    char **elements = must(calloc(strlen(literal), sizeof(char *)));
    int n = 0;

    while (*s != '}' || n > 0) {
        if (!read_element(&s, &elements[n]))
            return free_strings(elements, n);
        n++;
        if (*s == '}')
            break;
        if (*s++ != ',')
            return free_strings(elements, n);
    }
    if (s[1] != '\0')
        return free_strings(elements, n);
    *ret_n = n;
    return elements;
}

struct key *key_parse(const char *columns, const char *types, const char *collations)
{
    struct key *key = must(calloc(1, sizeof(*key)));
    int n_columns = 0, n_types = 0, n_collations = 0;

    key->columns = cursor_split(columns, &n_columns);
    key->types = cursor_split(types, &n_types);
    key->collations = cursor_split(collations, &n_collations);
    key->n = n_columns;
    if (n_columns > 0 && n_columns == n_types && n_columns == n_collations)
        return key;
    free_strings(key->columns, n_columns);
    free_strings(key->types, n_types);
    free_strings(key->collations, n_collations);
    free(key);
    return NULL;
}

struct key *key_free(struct key *key)
{
    if (!key)
        return NULL;
    free_strings(key->columns, key->n);
    free_strings(key->types, key->n);
    free_strings(key->collations, key->n);
    free(key);
    return NULL;
}

char *cursor_describe(const struct key *key, const char *position)
{
    int n = 0;
    char **values = cursor_split(position, &n);
    char *text = NULL;
    size_t size = 0;
    FILE *out = must(open_memstream(&text, &size));

    if (values && n == key->n)
        for (int i = 0; i < n; i++)
            fprintf(out, "%s%s = %s", i ? ", " : "", key->columns[i], values[i] ? values[i] : "NULL");
    else
        fputs(position ? position : "the start", out);
    if (fclose(out) != 0)
        abort();
    free_strings(values, n);
    return text;
}
