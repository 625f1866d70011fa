/* Images of memories by their pages: what differs between two of them, and one made from pages.
 *
 * Pages that can differ are those of the images themselves; when the bases differ, also those of which the newer base
 * remembers that they were written since the older one, or, when it is not the older one's child, all of both. */
#include <stdlib.h>

#include "base/check.h"
#include "wasm/linear_private.h"

struct linear_image *image_make(struct base *base, size_t size, size_t pages)
{
    struct linear_image *image = calloc(1, sizeof *image);
    if (image == NULL)
        return NULL;
    image->pages = malloc((pages + 1) * sizeof *image->pages);
    image->content = malloc(pages * LINEAR_PAGE_BYTES + 1);
    if (image->pages == NULL || image->content == NULL) {
        free(image->pages);
        free(image->content);
        free(image);
        return NULL;
    }
    atomic_init(&image->refs, 1);
    image->base = base_keep(base);
    image->size = size;
    (void)pthread_mutex_lock(&base->images_lock);
    image->next = base->images;
    image->link = &base->images;
    if (image->next != NULL)
        image->next->link = &image->next;
    base->images = image;
    (void)pthread_mutex_unlock(&base->images_lock);
    return image;
}

void linear_image_keep(struct linear_image *image) { atomic_fetch_add_explicit(&image->refs, 1, memory_order_relaxed); }

void linear_image_drop(struct linear_image *image)
{
    if (image == NULL || atomic_fetch_sub_explicit(&image->refs, 1, memory_order_acq_rel) != 1)
        return;
    (void)pthread_mutex_lock(&image->base->images_lock);
    *image->link = image->next;
    if (image->next != NULL)
        image->next->link = image->link;
    (void)pthread_mutex_unlock(&image->base->images_lock);
    base_drop(image->base);
    free(image->pages);
    free(image->content);
    free(image);
}

size_t linear_image_size(const struct linear_image *image) { return image->size; }

size_t linear_image_pages(const struct linear_image *image)
{
    base_read_begin(image->base);
    size_t pages = image->pages_count;
    base_read_end(image->base);
    return pages;
}

/* -- what differs */

/* Pages that are to be compared, a bit each. */
struct marks {
    uint64_t *words;
    size_t words_count;
};

static void mark(const struct marks *marks, uint32_t page) { marks->words[page / 64] |= (uint64_t)1 << page % 64; }

static void mark_base(const struct marks *marks, const struct base *base)
{
    size_t start, end = 0;
    while (base_range(base, end, &start, &end))
        for (size_t offset = start; offset < end; offset += LINEAR_PAGE_BYTES)
            mark(marks, (uint32_t)(offset / LINEAR_PAGE_BYTES));
}

static void mark_all(const struct marks *marks, const struct linear_image *from, const struct linear_image *to)
{
    for (uint32_t i = 0; from != NULL && i < from->pages_count; i++)
        mark(marks, from->pages[i]);
    for (uint32_t i = 0; i < to->pages_count; i++)
        mark(marks, to->pages[i]);
    if (from != NULL && from->base == to->base)
        return;
    if (from != NULL && from->base->id == to->base->parent) {
        for (size_t i = 0; i < to->base->runs_count; i++)
            for (uint32_t k = 0; k < to->base->runs[i].count; k++)
                mark(marks, to->base->runs[i].first + k);
        return;
    }
    if (from != NULL)
        mark_base(marks, from->base);
    mark_base(marks, to->base);
}

/* One image while its pages are asked for in ascending order. */
struct side {
    const struct linear_image *image; /* NULL: all zero */
    uint32_t at;                      /* in its pages */
    uint8_t room[LINEAR_PAGE_BYTES];
};

/* *out is NULL for a page of zeros. */
static enum sorex_status side_page(struct side *side, uint32_t page, const uint8_t **out, struct sorex_error *err)
{
    const struct linear_image *image = side->image;
    *out = NULL;
    if (image == NULL || page >= image->size / LINEAR_PAGE_BYTES)
        return SOREX_OK;
    while (side->at < image->pages_count && image->pages[side->at] < page)
        side->at++;
    const uint8_t *content = side->room;
    if (side->at < image->pages_count && image->pages[side->at] == page)
        content = image_page(image, side->at);
    else
        TRY(base_read(image->base, page * LINEAR_PAGE_BYTES, side->room, LINEAR_PAGE_BYTES, err));
    *out = page_is_zero(content) ? NULL : content;
    return SOREX_OK;
}

static enum sorex_status page_compare(struct side *from, struct side *to, uint32_t page, linear_diff_fn *fn,
                                      void *user_data, struct sorex_error *err)
{
    const uint8_t *before, *after;
    TRY(side_page(from, page, &before, err));
    TRY(side_page(to, page, &after, err));
    if (before == after || (before != NULL && after != NULL && memcmp(before, after, LINEAR_PAGE_BYTES) == 0))
        return SOREX_OK;
    return fn(user_data, page, before, after, err);
}

/* In one order, whichever of the two is from. */
static void both_read_begin(const struct linear_image *from, const struct linear_image *to)
{
    struct base *first = to->base, *second = from != NULL && from->base != to->base ? from->base : NULL;
    if (second != NULL && (uintptr_t)second < (uintptr_t)first) {
        first = from->base;
        second = to->base;
    }
    base_read_begin(first);
    if (second != NULL)
        base_read_begin(second);
}

static void both_read_end(const struct linear_image *from, const struct linear_image *to)
{
    if (from != NULL && from->base != to->base)
        base_read_end(from->base);
    base_read_end(to->base);
}

enum sorex_status linear_image_diff(const struct linear_image *from, const struct linear_image *to, linear_diff_fn *fn,
                                    void *user_data, struct sorex_error *err)
{
    struct side sides[2] = {{.image = from}, {.image = to}};
    size_t size = from != NULL && from->size > to->size ? from->size : to->size;
    struct marks marks = {.words_count = size / LINEAR_PAGE_BYTES / 64 + 1};
    marks.words = calloc(marks.words_count, sizeof *marks.words);
    if (marks.words == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "memory image: out of memory");
    both_read_begin(from, to);
    mark_all(&marks, from, to);
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < marks.words_count; i++)
        for (uint64_t word = marks.words[i]; word != 0 && status == SOREX_OK; word &= word - 1)
            status = page_compare(&sides[0], &sides[1], (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(word), fn,
                                  user_data, err);
    both_read_end(from, to);
    free(marks.words);
    return status;
}

struct visit {
    linear_page_fn *fn;
    void *user_data;
};

static enum sorex_status page_visit(void *user_data, uint32_t page, const uint8_t *before, const uint8_t *after,
                                    struct sorex_error *err)
{
    const struct visit *visit = user_data;
    (void)before;
    return visit->fn(visit->user_data, page, after, err);
}

enum sorex_status linear_image_visit(const struct linear_image *image, linear_page_fn *fn, void *user_data,
                                     struct sorex_error *err)
{
    struct visit visit = {fn, user_data};
    return linear_image_diff(NULL, image, page_visit, &visit, err);
}

enum sorex_status linear_image_make(size_t size, struct linear_image **out, struct sorex_error *err)
{
    struct base *base = NULL;
    TRY(base_make(size, &base, err));
    *out = image_make(base, size, 0);
    base_drop(base);
    return *out != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "memory image: out of memory");
}

enum sorex_status linear_image_put(struct linear_image *image, uint32_t page, const uint8_t content[LINEAR_PAGE_BYTES],
                                   struct sorex_error *err)
{
    if (page >= image->size / LINEAR_PAGE_BYTES)
        return sorex_error_set(err, SOREX_INVALID, "memory image: page %u is outside of it", (unsigned)page);
    image->base->pages++;
    return base_write(image->base, page * LINEAR_PAGE_BYTES, content, LINEAR_PAGE_BYTES, err);
}
