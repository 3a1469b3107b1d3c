#include "text/http_request.h"

#include <string.h>
#include <strings.h>

size_t http_head_length(const char *text, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (text[i] == '\n' && text[i + 1] == '\n')
            return i + 2;
        else if (i + 2 < n && text[i] == '\n' && text[i + 1] == '\r' && text[i + 2] == '\n')
            return i + 3;
    return 0;
}

/* What a method and a header's name are made of: RFC 9110, 5.6.2. */
static size_t token_length(const char *text)
{
    return strspn(text, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 127)
            return true;
    return false;
}

/* Cuts the line off, its end included. Returns what follows it. */
static char *cut_line(char *line)
{
    char *end = strchr(line, '\n');

    if (!end)
        return line + strlen(line);
    *end = '\0';
    if (end > line && end[-1] == '\r')
        end[-1] = '\0';
    return end + 1;
}

static int parse_request_line(char *line, struct http_request *ret)
{
    size_t n = token_length(line);

    if (n == 0 || line[n] != ' ' || has_control(line))
        return 400;
    char *target = line + n + 1, *version = strchr(target, ' ');
    if (!version)
        return 400;
    line[n] = *version++ = '\0';
    if (strncmp(version, "HTTP/", 5) != 0)
        return 400;
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return 505;
    ret->method = strcmp(line, "GET") == 0 ? HTTP_GET : strcmp(line, "HEAD") == 0 ? HTTP_HEAD : HTTP_OTHER;
    if (*target != '/' && (ret->method != HTTP_OTHER || strcmp(target, "*") != 0))
        return 400;
    target[strcspn(target, "?")] = '\0';
    ret->path = target;
    return 0;
}

static int parse_header(char *line, struct http_request *ret)
{
    size_t n = token_length(line);

    /* A line that goes on from the one before begins with a space, and so is refused here as well. */
    if (n == 0 || line[n] != ':' || has_control(line))
        return 400;
    char *value = line + n + 1;
    line[n] = '\0';
    value += strspn(value, " \t");
    for (size_t end = strlen(value); end > 0 && strchr(" \t", value[end - 1]); end--)
        value[end - 1] = '\0';
    if (strcasecmp(line, "Host") == 0) {
        if (ret->host)
            return 400;
        ret->host = value;
    } else if (strcasecmp(line, "Accept") == 0)
        ret->accept = value;
    else if (strcasecmp(line, "Sec-Fetch-Site") == 0)
        ret->fetch_site = value;
    return 0;
}

int http_parse(char *head, size_t n, struct http_request *ret_request)
{
    struct http_request r = {0};

    head[n] = '\0';
    if (strlen(head) != n)
        return 400;
    char *line = head + strspn(head, "\r\n"); /* an empty line before a request is to be passed over */
    char *next = cut_line(line);
    int status = parse_request_line(line, &r);
    for (line = next; status == 0 && *line; line = next) {
        next = cut_line(line);
        if (*line)
            status = parse_header(line, &r);
    }
    if (status == 0 && !r.host)
        status = 400;
    if (status == 0)
        *ret_request = r;
    return status;
}

const char *http_reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 421: return "Misdirected Request";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Error";
    }
}
