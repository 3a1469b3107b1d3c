/* The file. From memory: the child that reads a file first (config_load) is for what libconfig's scanner makes of files. */
#include "../../daemon/base/config.c"

#include "fuzz.h"

/* Its scanner loses a string at some syntax errors; the daemon reads a broken file once, and ends. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = fuzz_string(data, size), *problem = NULL;
    struct reader r = {.path = "fuzz"};
    struct config *config = config_new();
    config_t file;

    if (strstr(text, "@include")) /* others' files are none of its business */
        *text = '\0';
    config_init(&file);
    if (config_read_string(&file, text) == CONFIG_TRUE) {
        bool ok = read_all(&r, config_root_setting(&file), config);
        MUST_HOLD(ok == !r.error);
        MUST_HOLD(!ok || (config->n_databases > 0 && config->throttle.n_standbys <= STANDBY_MAX));
        for (int i = 0; ok && i < config->n_databases; i++)
            MUST_HOLD(config->databases[i].workers >= 1 && config->databases[i].workers <= 64 && config->databases[i].name);
    }
    config_destroy(&file);
    free(r.error);
    config_free(config);
    if (config_look_at(text, &problem) == CONNINFO_BROKEN)
        MUST_HOLD(problem && strlen(problem) <= TEXT_MESSAGE);
    return 0;
}
