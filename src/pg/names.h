/* The names of one directory, in the order in which they were made. Every name has a number that grows, so that a
 * reader who stopped behind one finds the next, whatever was added or removed meanwhile. */
#ifndef SOREX_PG_NAMES_H
#define SOREX_PG_NAMES_H

#include "base/bytes.h"

#define NAME_BYTES_MAX 255

struct name {
    uint32_t number; /* from 1 */
    uint32_t inode;  /* 0: removed */
    uint32_t hash;
    uint32_t at; /* in text: a length byte, the name, a NUL */
};

/* Zero-initialise. */
struct names {
    struct name *items; /* by number */
    uint32_t count;     /* with removed ones */
    uint32_t cap;
    uint32_t live;
    uint32_t numbers; /* given so far */
    uint8_t *text;
    uint32_t text_len, text_cap;
};

void names_deinit(struct names *names);
/* Without removed ones. False: no memory. */
bool names_copy(struct names *out, const struct names *names);

/* NULL: not there. */
const struct name *names_find(const struct names *names, struct bytes name);
/* The first live one whose number is above `number`; NULL: the end. */
const struct name *names_next(const struct names *names, uint32_t number);
/* Borrowed until the names change; NUL-terminated. */
struct bytes name_text(const struct names *names, const struct name *name);
/* The name must not be there and have 1 to NAME_BYTES_MAX bytes. False: no memory. */
bool names_add(struct names *names, struct bytes name, uint32_t inode);
/* The same with a number that is above all others; names->numbers is left alone. */
bool names_put(struct names *names, struct bytes name, uint32_t inode, uint32_t number);
void names_remove(struct names *names, const struct name *name);

#endif
