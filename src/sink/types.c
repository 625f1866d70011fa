#include "sink/sink.h"

#include "sink/console.h"
#include "sink/database.h"
#include "sink/file.h"
#include "sink/kafka.h"
#include "sink/memory.h"
#include "sink/postgres.h"

const struct sink_type *const sink_types[] = {&sink_console, &sink_file, &sink_postgres, &sink_database, &sink_kafka, &sink_memory, NULL};

const struct sink_type *sink_type_find(const char *name)
{
    for (size_t i = 0; sink_types[i] != NULL; i++)
        if (strcmp(sink_types[i]->name, name) == 0)
            return sink_types[i];
    return NULL;
}
