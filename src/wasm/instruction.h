/* Steps over instructions without running them. */
#ifndef SOREX_WASM_INSTRUCTION_H
#define SOREX_WASM_INSTRUCTION_H

#include "base/codec.h"

enum instruction_read {
    INSTRUCTION_OK,
    INSTRUCTION_CUT,     /* the bytes end inside of it, or a number is too long */
    INSTRUCTION_UNKNOWN, /* not in the list of instruction.c */
};

struct instruction {
    uint8_t prefix;     /* 0 or 0xfc, 0xfd, 0xfe */
    uint32_t code;      /* the opcode, behind the prefix where there is one */
    uint32_t index;     /* its first index immediate (local, function, table, segment, ...), else 0 */
    int64_t block_type; /* block, loop, if: a negative value type or a type index; else -64 (no result) */
};

/* Takes one instruction with its immediates. */
enum instruction_read instruction_take(struct reader *r, struct instruction *out);

/* True for the instruction that closes a block or an expression. */
bool instruction_is_end(const struct instruction *instruction);

/* LEB128 of at most 5 bytes that fits 32 bits; of at most 10 bytes, signed. */
bool leb_u32(struct reader *r, uint32_t *out);
bool leb_s64(struct reader *r, int64_t *out);

#endif
