/* What linear.c, linear_base.c and linear_image.c share. */
#ifndef SOREX_WASM_LINEAR_PRIVATE_H
#define SOREX_WASM_LINEAR_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "wasm/linear.h"

/* Pages in a row. */
struct run {
    uint32_t first, count;
};

struct runs {
    struct run *items;
    size_t count, cap;
    size_t pages;
};

/* Its content changes in one place only, base_advance. */
struct base {
    atomic_uint refs; /* of memories and images */
    atomic_uint maps; /* memories that are mapped on it */
    int fd;
    size_t size;
    size_t pages;          /* not zero when it was made, about */
    pthread_rwlock_t lock; /* content, id, images' pages; who is mapped on it need not lock to read content */
    uint64_t id, parent;   /* of the base whose place it took; 0: of none */
    struct run *runs;      /* pages that may differ from the parent's */
    size_t runs_count;
    pthread_mutex_t images_lock;
    struct linear_image *images; /* that are on it */
};

struct linear_image {
    atomic_uint refs;
    atomic_bool forked; /* into another memory */
    struct base *base;
    struct linear_image *next, **link; /* base->images */
    size_t size;
    uint32_t pages_count;
    uint32_t *pages; /* ascending: those that differ from the base */
    uint8_t *content;
};

/* -- bases, linear_base.c */

enum sorex_status base_make(size_t size, struct base **out, struct sorex_error *err);
struct base *base_keep(struct base *base);
void base_drop(struct base *base); /* NULL is fine */
void base_read_begin(struct base *base);
void base_read_end(struct base *base);
enum sorex_status base_write(const struct base *base, size_t offset, const uint8_t *content, size_t len,
                             struct sorex_error *err);
/* What lies beyond the base is zero. */
enum sorex_status base_read(const struct base *base, size_t offset, uint8_t *out, size_t len, struct sorex_error *err);
/* The next range of the base that may hold bytes other than zero; false at the end. Offsets in bytes, whole pages. */
bool base_range(const struct base *base, size_t from, size_t *out_start, size_t *out_end);
bool page_is_zero(const uint8_t *page);
/* The base takes over the runs, which are pages of `data`, the memory of the caller, who is mapped on it. Its images
 * stay what they are: they get what it held there. *out_done is false when it cannot: another memory is mapped on it,
 * somebody reads an image just now, one was forked and may be again, there are too many, or one would hold more than
 * pages_max. Errors: SOREX_NOMEM, SOREX_IO: memory and images are what they were. */
enum sorex_status base_advance(struct base *base, const struct runs *runs, const uint8_t *data, size_t pages_max,
                               bool *out_done, struct sorex_error *err);

/* -- images */

/* With room for that many pages, none there yet. NULL: no memory. */
struct linear_image *image_make(struct base *base, size_t size, size_t pages);
static inline const uint8_t *image_page(const struct linear_image *image, uint32_t index)
{
    return image->content + (size_t)index * LINEAR_PAGE_BYTES;
}

#endif
