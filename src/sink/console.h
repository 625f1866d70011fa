/* Changes to standard output: readable on a terminal, JSON lines otherwise; a stream's dead letters to standard error.
 * Holds neither cursor nor positions: delivery is at least once. */
#ifndef SOREX_SINK_CONSOLE_H
#define SOREX_SINK_CONSOLE_H

#include "sink/sink.h"

enum console_pretty { CONSOLE_AUTO, CONSOLE_ON, CONSOLE_OFF };

struct console_settings {
    int pretty; /* enum console_pretty */
};

extern const struct sink_type sink_console;

#endif
