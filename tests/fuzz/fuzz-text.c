/* What a server, a user's function or a name says. */
#include "fuzz.h"

#include "pressure/pressure.h"
#include "job/retry.h"
#include "pressure/standby.h"
#include "text/text.h"
#include "text/utf8.h"

/* Everything in it is a character, and none is obeyed by anybody. */
static void must_be_harmless(const char *text, size_t most)
{
    MUST_HOLD(strlen(text) <= most);
    while (*text) {
        size_t n = utf8_length(text);
        const unsigned char *b = (const unsigned char *)text;
        MUST_HOLD(n > 0 && b[0] >= ' ' && b[0] != 127 && !(b[0] == 0xC2 && b[1] < 0xA0));
        MUST_HOLD(!(b[0] == 0xE2 && b[1] == 0x80 && (b[2] == 0xA8 || b[2] == 0xA9)));
        text += n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const codes[] = {"22P02", "P0001", "23505", "XX000", "42601", "BF004", ""};
    _cleanup_free_ char *text = fuzz_string(data, size);
    size_t most = 4 + (size > 0 ? data[0] : 0);
    _cleanup_free_ char *line = text_line(text, most), *again = text_line(line, most);
    char buffer[PRESSURE_WHAT], cut[8];

    must_be_harmless(line, most);
    MUST_HOLD(strcmp(line, again) == 0);
    text_copy(buffer, sizeof(buffer), text);
    must_be_harmless(buffer, sizeof(buffer) - 1);
    text_print(buffer, sizeof(buffer), "%s: %s", text, text);
    must_be_harmless(buffer, sizeof(buffer) - 1);
    utf8_cut(cut, sizeof(cut), line);
    must_be_harmless(cut, sizeof(cut) - 1);
    /* One of them an input: seven would make it seven times as slow. */
    _cleanup_free_ char *message = retry_public_message(codes[size > 1 ? data[1] % (sizeof(codes) / sizeof(codes[0])) : 0], text);
    _cleanup_free_ char *shown = text_line(message, TEXT_MESSAGE);
    MUST_HOLD(strlen(message) <= strlen(text) + 3);
    must_be_harmless(shown, TEXT_MESSAGE);
    retry_class(text);
    signal_from_name(text);

    struct standbys standbys = {0};
    struct lag lag = {0};
    struct pressure pressure = {0};
    standby_begin(&standbys);
    standby_see(&standbys, text, true, 1, 1);
    standby_see(&standbys, text, true, 2, 2);
    MUST_HOLD(standbys.n == 1);
    standby_press(&standbys, &lag, 5, false, 3, &pressure);
    must_be_harmless(pressure.readings[SIGNAL_LAG_MS].what, PRESSURE_WHAT - 1);
    return 0;
}
