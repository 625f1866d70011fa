#include "source/types.h"

const struct source_type *const source_types[] = {
    &source_blockfiles,
    &source_bitcoind,
    &source_blocks,
    &source_memory,
    NULL,
};

const struct source_type *source_type_find(const char *name)
{
    for (size_t i = 0; source_types[i] != NULL; i++) {
        if (strcmp(source_types[i]->name, name) == 0)
            return source_types[i];
    }
    return NULL;
}
