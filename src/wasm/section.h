/* The outer layer of a module: header and sections. Shared by inspect.c and rewrite.c. */
#ifndef SOREX_WASM_SECTION_H
#define SOREX_WASM_SECTION_H

#include "base/codec.h"

#define SECTION_HEADER_BYTES 8

enum section_id {
    SECTION_CUSTOM,
    SECTION_TYPE,
    SECTION_IMPORT,
    SECTION_FUNCTION,
    SECTION_TABLE,
    SECTION_MEMORY,
    SECTION_GLOBAL,
    SECTION_EXPORT,
    SECTION_START,
    SECTION_ELEMENT,
    SECTION_CODE,
    SECTION_DATA,
    SECTION_DATA_COUNT,
    SECTION_TAG,
};

const char *section_name(uint32_t id);

/* Takes the eight bytes in front. False when they are not those of a module of version 1. */
bool section_header_take(struct reader *r);
/* Takes one section. False at the end and when it does not decode: reader_left tells which. */
bool section_take(struct reader *r, uint8_t *out_id, struct bytes *out_body);

/* u32 length, then that many bytes. */
bool section_bytes(struct reader *r, struct bytes *out);
/* A count of things that have at least one byte each, so that nothing is allocated for more than there can be. */
bool section_count(struct reader *r, uint32_t *out);

/* A value type: its byte, and for typed references (0x63, 0x64) the heap type behind it. */
bool section_value_type(struct reader *r, uint8_t *out);
const char *section_value_type_name(uint8_t type);

/* Steps over an initialiser up to and with its end. *out_unknown: an instruction that the list lacks. */
bool section_expression(struct reader *r, bool *out_unknown);

#endif
