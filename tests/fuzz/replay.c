/* Gives a target each file of a directory. Without clang, with and without sanitizers. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>

static void replay(const char *path)
{
    FILE *file = must(fopen(path, "re"));
    uint8_t *data = must(malloc(1 << 20));
    size_t size = fread(data, 1, 1 << 20, file);

    fclose(file);
    uint8_t *exact = must(malloc(size ? size : 1)); /* what is read behind its end, a sanitizer sees */
    memcpy(exact, data, size);
    free(data);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int main(int argc, char *argv[])
{
    int n = 0;
    DIR *directory = must(argc == 2 ? opendir(argv[1]) : NULL);

    for (struct dirent *entry; (entry = readdir(directory));) {
        _cleanup_free_ char *path = NULL;
        if (entry->d_name[0] == '.')
            continue;
        if (asprintf(&path, "%s/%s", argv[1], entry->d_name) < 0)
            abort();
        replay(path);
        n++;
    }
    closedir(directory);
    printf("%d inputs\n", n);
    return n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
