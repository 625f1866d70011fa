/* libFuzzer target: any bytes parse or fail with a text; what parses can be walked and read through a table. */
#include <stdlib.h>

#include "config/node.h"
#include "config/option.h"

struct fuzz_settings {
    bool flag;
    uint32_t count, wait_ms;
    uint64_t size;
    char *text, *path;
    const struct config_node *node;
};

#define FIELD(name) offsetof(struct fuzz_settings, name)

static const struct option options[] = {
    {.name = "flag", .type = OPTION_BOOL, .offset = FIELD(flag), .text = "t"},
    {.name = "count", .type = OPTION_U32, .offset = FIELD(count), .min = 1, .max = 9, .fallback = "1", .text = "t"},
    {.name = "wait", .type = OPTION_MS, .offset = FIELD(wait_ms), .text = "t"},
    {.name = "size", .type = OPTION_BYTES, .offset = FIELD(size), .text = "t"},
    {.name = "text", .type = OPTION_STRING, .offset = FIELD(text), .text = "t"},
    {.name = "path", .type = OPTION_PATH, .offset = FIELD(path), .text = "t"},
    {.name = "node", .type = OPTION_NODE, .offset = FIELD(node), .text = "t"},
    {.name = NULL},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_node *root = NULL;
    struct sorex_error err = {.status = SOREX_OK};
    enum sorex_status status = config_parse(bytes_of(data, size), "fuzz", &root, &err);
    if ((status == SOREX_OK) != (root != NULL) || (status != SOREX_OK && err.text[0] == '\0'))
        abort();
    if (root == NULL)
        return 0;
    struct fuzz_settings settings = {.flag = false};
    status = options_read(options, root, "", "/base", &settings, &err);
    if (status == SOREX_OK && (settings.count < 1 || settings.count > 9))
        abort();
    options_free(options, &settings);
    config_free(root);
    return 0;
}
