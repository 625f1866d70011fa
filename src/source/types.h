/* The types of source that source.c and events.c list; private to this room. */
#ifndef SOREX_SOURCE_TYPES_H
#define SOREX_SOURCE_TYPES_H

#include "source/events.h"
#include "source/source.h"

extern const struct source_type source_blockfiles;
extern const struct source_type source_bitcoind;
extern const struct source_type source_blocks;
extern const struct source_type source_memory;

extern const struct event_source_type event_source_lines;
extern const struct event_source_type event_source_kafka;

#endif
