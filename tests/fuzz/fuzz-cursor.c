/* Keys as the server writes them, or whoever has put his statement in the place of ours; and other short texts of it and the kernel. */
#include "fuzz.h"

#include "walk/cursor.h"
#include "job/job.h"
#include "pressure/lag.h"
#include "pressure/psi.h"
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t half = size / 2;
    _cleanup_free_ char *columns = fuzz_string(data, half), *position = fuzz_string(data + half, size - half);
    uint64_t number;
    int n = 0;
    char **elements = cursor_split(position, &n);

    for (int i = 0; elements && i < n; i++)
        free(elements[i]);
    free(elements);
    _cleanup_free_ char *key = cursor_describe(columns, position), *line = text_line(key, TEXT_NAME);
    MUST_HOLD(strlen(line) <= TEXT_NAME && !strpbrk(line, "\r\n\x1b"));
    lsn_parse(position, &number);
    psi_parse(position, &number);
    job_phase_from_name(position);
    job_wanted_from_name(position);
    return 0;
}
