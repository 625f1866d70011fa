/* The types of source that source.c lists; private to this room. */
#ifndef SOREX_SOURCE_TYPES_H
#define SOREX_SOURCE_TYPES_H

#include "source/source.h"

extern const struct source_type source_blockfiles;
extern const struct source_type source_bitcoind;
extern const struct source_type source_blocks;
extern const struct source_type source_memory;

#endif
