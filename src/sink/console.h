/* Changes to standard output: readable on a terminal, JSON lines otherwise. Holds no cursor: delivery is at least once.
 */
#ifndef SOREX_SINK_CONSOLE_H
#define SOREX_SINK_CONSOLE_H

#include "sink/sink.h"

enum console_pretty { CONSOLE_AUTO, CONSOLE_ON, CONSOLE_OFF };

struct console_settings {
    int pretty; /* enum console_pretty */
};

extern const struct sink_type sink_console;

/* Appends the change's object as one line: white space between tokens that would break the line becomes a space. */
enum sorex_status change_line(const struct change *change, struct buf *out, struct sorex_error *err);

#endif
