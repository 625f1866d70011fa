#include "source/types.h"

const struct event_source_type *const event_source_types[] = {
    &event_source_lines,
    &event_source_kafka,
    NULL,
};

const struct event_source_type *event_source_type_find(const char *name)
{
    for (size_t i = 0; event_source_types[i] != NULL; i++) {
        if (strcmp(event_source_types[i]->name, name) == 0)
            return event_source_types[i];
    }
    return NULL;
}
