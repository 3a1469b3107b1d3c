#include "base/words.h"
#include "mem.h"
#include "job/retry.h"
#include "text/text.h"

#include <ctype.h>
#include <string.h>

void words_sqlstate(const char *message, char ret_sqlstate[6])
{
    strcpy(ret_sqlstate, SQLSTATE_LOST);
    for (const char *colon = strchr(message, ':'); colon; colon = strchr(colon + 1, ':')) {
        const char *code = colon + 1 + strspn(colon + 1, " ");
        size_t n = 0;
        while (isdigit((unsigned char)code[n]) || isupper((unsigned char)code[n]))
            n++;
        if (n == 5 && code[5] == ':' && isdigit((unsigned char)code[0])) {
            memcpy(ret_sqlstate, code, 5);
            return;
        }
    }
}

char *words_tidy(const char *message)
{
    _cleanup_free_ char *text = copy_string(message && *message ? message : "the connection was lost");
    static const char *const tails[] = {"\nLOCATION:", "\n\tThis probably means"};
    for (int i = 0; i < 2; i++) {
        char *tail = strstr(text, tails[i]);
        if (tail)
            *tail = '\0';
    }
    for (size_t n = strlen(text); n > 0 && isspace((unsigned char)text[n - 1]); n--)
        text[n - 1] = '\0';
    return text_line(text, TEXT_MESSAGE);
}

void words_name_silence(char *text)
{
    static const char reset[] = "failed: Connection reset by peer", silent[] = "failed: no answer in time";

    for (char *at = text; (at = strstr(at, reset)); at += strlen(silent)) {
        memcpy(at, silent, strlen(silent));
        memmove(at + strlen(silent), at + strlen(reset), strlen(at + strlen(reset)) + 1);
    }
}
