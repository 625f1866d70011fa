/* Stands in for libFuzzer where it is not built in: runs a target over every file of the folders given, so that the
 * kept corpus is a regression test of every build. Fails when there is no file. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly this size, so that reading past it is seen. */
static void input_run(struct bytes input)
{
    uint8_t *copy = malloc(input.len);
    CHECK(copy != NULL || input.len == 0);
    if (input.len != 0)
        memcpy(copy, input.data, input.len);
    (void)LLVMFuzzerTestOneInput(copy, input.len);
    free(copy);
}

static int folder_run(const char *folder)
{
    struct dirent **files = NULL;
    struct sorex_error err = {0};
    int count = scandir(folder, &files, NULL, alphasort);
    int runs = 0;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        struct buf content = {0};
        bool hidden = files[i]->d_name[0] == '.';
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
        free(files[i]);
        if (hidden)
            continue;
        if (file_read(path, (size_t)64 << 20, &content, &err) != SOREX_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
        (void)fprintf(stderr, "%s\n", path); /* the last one printed is the one that failed */
        input_run(buf_view(&content));
        buf_deinit(&content);
        runs++;
    }
    free(files);
    return runs;
}

int main(int argc, char **argv)
{
    int runs = 0;
    for (int i = 1; i < argc; i++)
        runs += folder_run(argv[i]);
    printf("%d inputs\n", runs);
    return runs > 0 ? 0 : 1;
}
