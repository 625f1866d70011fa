/* What linear.c and linear_image.c share. */
#ifndef SOREX_WASM_LINEAR_PRIVATE_H
#define SOREX_WASM_LINEAR_PRIVATE_H

#include <stdatomic.h>

#include "wasm/linear.h"

/* Pages in a row. */
struct run {
    uint32_t first, count;
};

struct base {
    atomic_uint refs;
    int fd;
    size_t size;
    uint64_t id, parent; /* of the base whose place it took; 0: of none */
    struct run *runs;    /* pages that may differ from the parent's */
    size_t runs_count;
};

struct linear_image {
    atomic_uint refs;
    struct base *base;
    size_t size;
    uint32_t pages_count;
    uint32_t *pages; /* ascending: those that differ from the base */
    uint8_t *content;
};

enum sorex_status base_make(size_t size, struct base **out, struct sorex_error *err);
void base_drop(struct base *base); /* NULL is fine */
enum sorex_status base_write(const struct base *base, size_t offset, const uint8_t *content, size_t len,
                             struct sorex_error *err);
/* What lies beyond the base is zero. */
enum sorex_status base_read(const struct base *base, size_t offset, uint8_t *out, size_t len, struct sorex_error *err);
/* The next range of the base that may hold bytes other than zero; false at the end. Offsets in bytes, whole pages. */
bool base_range(const struct base *base, size_t from, size_t *out_start, size_t *out_end);
bool page_is_zero(const uint8_t *page);
/* With room for that many pages, none there yet. NULL: no memory. */
struct linear_image *image_make(struct base *base, size_t size, size_t pages);
static inline const uint8_t *image_page(const struct linear_image *image, uint32_t index)
{
    return image->content + (size_t)index * LINEAR_PAGE_BYTES;
}

#endif
