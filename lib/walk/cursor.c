#include "walk/cursor.h"
#include "mem.h"

#include <errno.h>
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

static bool read_integer(const char *position, int64_t *ret)
{
    char *end;

    if (!position || position[0] != '{' || !(position[1] == '-' || (position[1] >= '0' && position[1] <= '9')))
        return false;
    errno = 0;
    *ret = strtoll(position + 1, &end, 10);
    return errno == 0 && strcmp(end, "}") == 0;
}

uint64_t cursor_distance(const char *from, const char *position)
{
    int64_t a, b;

    return read_integer(from, &a) && read_integer(position, &b) && b > a ? (uint64_t)b - (uint64_t)a : 0;
}

bool cursor_ends_page(const char *position)
{
    const char *end = strstr(position, ",65535)");

    return end && position[0] == '{' && position[1] == '"' && position[2] == '(' && strcmp(end, ",65535)\"}") == 0;
}

char *cursor_describe(const char *columns, const char *position)
{
    int n_columns = 0, n_values = 0;
    char **names = cursor_split(columns, &n_columns);
    char **values = cursor_split(position, &n_values);
    char *text = NULL;
    size_t size = 0;
    FILE *out = must(open_memstream(&text, &size));

    if (names && values && n_columns == n_values)
        for (int i = 0; i < n_values; i++)
            fprintf(
                out, "%s%s = %s", i ? ", " : "", names[i] ? names[i] : "?", values[i] ? values[i] : "NULL");
    else
        fputs(position ? position : "the start", out);
    if (fclose(out) != 0)
        abort();
    free_strings(names, n_columns);
    free_strings(values, n_values);
    return text;
}
