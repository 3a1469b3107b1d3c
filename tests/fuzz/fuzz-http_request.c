/* The head of a request, from whoever reaches the port. */
#include "fuzz.h"

#include "text/http_request.h"
#include "text/listen.h"
#include "text/openmetrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *head = fuzz_string(data, size);
    struct http_request request = {0};
    size_t n = http_head_length(head, size);

    MUST_HOLD(n <= size);
    if (n == 0)
        return 0;
    int status = http_parse(head, n, &request);
    MUST_HOLD(status == 0 || http_reason(status));
    if (status != 0)
        return 0;
    MUST_HOLD(request.path >= head && request.path <= head + n && (request.path[0] == '/' || request.method == HTTP_OTHER)); /* OPTIONS * */
    MUST_HOLD(!strchr(request.path, '?') && !strpbrk(request.path, "\r\n"));
    if (request.host)
        listen_is_host(request.host);
    openmetrics_is_accepted(request.accept);
    return 0;
}
