/* Changes to a file of JSON lines, exactly once. Format and crash rules: docs/formats/sink-file.md. */
#ifndef SOREX_SINK_FILE_H
#define SOREX_SINK_FILE_H

#include "sink/sink.h"

struct file_settings {
    char *path;
    bool append;
    bool fsync;
    char *dead_letters; /* NULL: dead letters are left out */
};

extern const struct sink_type sink_file;

#endif
