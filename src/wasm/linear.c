/* The reservation: a guard, the memory up to its maximum, a guard. What is beyond the size is inaccessible.
 *
 * A base is a memory file (memfd) with holes where pages are zero. Mapped MAP_PRIVATE, a page of it is the file's until
 * it is written and private from then on. So "private" is "written since the base was mapped", which PAGEMAP_SCAN
 * (Linux 6.7) lists in time that depends on the pages that are there; older kernels say it page by page in
 * /proc/self/pagemap (present or swapped out, and bit 61, "file or shared", clear). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/codec.h"
#include "wasm/linear_private.h"

#define GUARD_BYTES ((size_t)32 << 20)
/* Pages that differ from the base: every image and every fork copies them. Above the first number the base takes them
 * over, where it can; where it cannot, there is a new base as soon as the images copied an eighth of what that takes.
 * Above the second (16 MiB) there is one always. */
#define DELTA_PAGES_MANY 256u
#define DELTA_PAGES_MAX 4096u
/* Private pages in a row from which dropping them, so that the base's are mapped when they are looked at again, is
 * cheaper than copying them back. */
#define DROP_PAGES_MIN 32u

struct linear {
    uint8_t *map;
    size_t map_bytes;
    uint8_t *data;
    size_t size, size_max;
    struct base *base; /* NULL: the memory is anonymous */
    size_t copied;     /* pages, into images on this base */
    bool reverted;     /* pages were given the base's content by copying: they are private and may be as it is */
    int pagemap;       /* /proc/self/pagemap, opened when it is first read; -1 */
};

/* -- private pages */

static bool runs_add(struct runs *runs, uint32_t first, uint32_t count)
{
    runs->pages += count;
    if (runs->count > 0) {
        struct run *last = &runs->items[runs->count - 1];
        if (last->first + last->count == first) {
            last->count += count;
            return true;
        }
    }
    if (runs->count == runs->cap) {
        size_t cap = runs->cap == 0 ? 64 : runs->cap * 2;
        struct run *items = realloc(runs->items, cap * sizeof *items);
        if (items == NULL)
            return false;
        runs->items = items;
        runs->cap = cap;
    }
    runs->items[runs->count++] = (struct run){first, count};
    return true;
}

/* As linux/fs.h has them since 6.7. */
struct scan_region {
    uint64_t start, end, categories;
};
struct scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_FILE ((uint64_t)1 << 2)
#define SCAN_PRESENT ((uint64_t)1 << 3)
#define SCAN_SWAPPED ((uint64_t)1 << 4)
#define SCAN_REGIONS 256

static atomic_bool scan_plain;

void linear_scan_plain(bool plain) { atomic_store(&scan_plain, plain); }

/* False with errno; ENOTTY and EINVAL: the kernel has no such call. */
static bool scan_kernel(const struct linear *linear, struct runs *out)
{
    struct scan_region regions[SCAN_REGIONS];
    uint64_t at = (uint64_t)(uintptr_t)linear->data, end = at + linear->size, data = at;
    while (at < end) {
        struct scan_arg arg = {.size = sizeof arg,
                               .start = at,
                               .end = end,
                               .vec = (uint64_t)(uintptr_t)regions,
                               .vec_len = SCAN_REGIONS,
                               .category_inverted = SCAN_FILE,
                               .category_mask = SCAN_FILE,
                               .category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
                               .return_mask = SCAN_PRESENT};
        int found = ioctl(linear->pagemap, SCAN_IOCTL, &arg);
        if (found < 0)
            return false;
        for (int i = 0; i < found; i++)
            if (!runs_add(out, (uint32_t)((regions[i].start - data) / LINEAR_PAGE_BYTES),
                          (uint32_t)((regions[i].end - regions[i].start) / LINEAR_PAGE_BYTES))) {
                errno = ENOMEM;
                return false;
            }
        at = arg.walk_end;
    }
    return true;
}

static bool scan_pagemap(const struct linear *linear, struct runs *out)
{
    enum { ENTRIES = 1024 };
    uint8_t entries[8 * ENTRIES];
    size_t pages = linear->size / LINEAR_PAGE_BYTES;
    off_t origin = (off_t)((uintptr_t)linear->data / LINEAR_PAGE_BYTES * 8);
    for (size_t page = 0; page < pages;) {
        size_t want = pages - page < ENTRIES ? pages - page : ENTRIES;
        ssize_t got = pread(linear->pagemap, entries, 8 * want, origin + (off_t)(8 * page));
        if (got <= 0 || got % 8 != 0) {
            errno = got < 0 ? errno : EIO;
            return false;
        }
        for (size_t i = 0; i < (size_t)got / 8; i++, page++) {
            uint64_t entry = u64le_get(entries + 8 * i);
            bool there = (entry >> 63 & 1) != 0 || (entry >> 62 & 1) != 0;
            if (there && (entry >> 61 & 1) == 0 && !runs_add(out, (uint32_t)page, 1)) {
                errno = ENOMEM;
                return false;
            }
        }
    }
    return true;
}

static enum sorex_status private_pages(struct linear *linear, struct runs *out, struct sorex_error *err)
{
    *out = (struct runs){0};
    if (linear->pagemap < 0 && (linear->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "/proc/self/pagemap");
    bool plain = atomic_load_explicit(&scan_plain, memory_order_relaxed);
    bool ok = !plain && scan_kernel(linear, out);
    if (!ok && (plain || errno == ENOTTY || errno == EINVAL)) {
        out->count = out->pages = 0;
        ok = scan_pagemap(linear, out);
    }
    if (ok)
        return SOREX_OK;
    int code = errno;
    free(out->items);
    return sorex_error_set_errno(err, code == ENOMEM ? SOREX_NOMEM : SOREX_IO, code,
                                 "memory: which pages were written");
}

/* -- on a base */

/* Writes the pages of a run as they are in the memory, leaving out those that are zero. */
static enum sorex_status base_write_run(struct base *base, const struct linear *linear, size_t first, size_t count,
                                        struct sorex_error *err)
{
    size_t at = first;
    while (at < first + count) {
        while (at < first + count && page_is_zero(linear->data + at * LINEAR_PAGE_BYTES))
            at++;
        size_t end = at;
        while (end < first + count && !page_is_zero(linear->data + end * LINEAR_PAGE_BYTES))
            end++;
        TRY(base_write(base, at * LINEAR_PAGE_BYTES, linear->data + at * LINEAR_PAGE_BYTES,
                       (end - at) * LINEAR_PAGE_BYTES, err));
        base->pages += end - at;
        at = end;
    }
    return SOREX_OK;
}

static void base_leave(struct linear *linear)
{
    if (linear->base != NULL)
        atomic_fetch_sub_explicit(&linear->base->maps, 1, memory_order_acq_rel);
    base_drop(linear->base);
    linear->base = NULL;
}

/* Maps it over the memory: what was there is gone, what is beyond the base is zero. */
static enum sorex_status base_map(struct linear *linear, struct base *base, struct sorex_error *err)
{
    void *at =
        mmap(linear->data, base->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, base->fd, 0);
    if (at == MAP_FAILED)
        return sorex_error_set_errno(err, SOREX_NOMEM, errno, "memory: map the base");
    linear->copied = 0;
    linear->reverted = false;
    if (linear->base != base) {
        base_leave(linear);
        linear->base = base_keep(base);
        atomic_fetch_add_explicit(&base->maps, 1, memory_order_acq_rel);
    }
    if (linear->size > base->size && mmap(linear->data + base->size, linear->size - base->size, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        return sorex_error_set_errno(err, SOREX_NOMEM, errno, "memory");
    return SOREX_OK;
}

/* -- memories */

enum sorex_status linear_open(size_t size, size_t size_max, struct linear **out, struct sorex_error *err)
{
    CHECK(size <= size_max && size_max <= LINEAR_RESERVED_BYTES);
    struct linear *linear = calloc(1, sizeof *linear);
    if (linear == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "memory: out of memory");
    linear->pagemap = -1;
    linear->map_bytes = GUARD_BYTES + LINEAR_RESERVED_BYTES + GUARD_BYTES;
    linear->map = mmap(NULL, linear->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    linear->size_max = size_max;
    enum sorex_status status = SOREX_OK;
    if (linear->map == MAP_FAILED)
        status = sorex_error_set_errno(err, SOREX_NOMEM, errno, "memory: reserve");
    if (status == SOREX_OK) {
        linear->data = linear->map + GUARD_BYTES;
        status = linear_grow(linear, size, err);
    }
    if (status != SOREX_OK) {
        linear_close(linear);
        return status;
    }
    *out = linear;
    return SOREX_OK;
}

void linear_close(struct linear *linear)
{
    if (linear == NULL)
        return;
    if (linear->map != MAP_FAILED)
        (void)munmap(linear->map, linear->map_bytes);
    if (linear->pagemap >= 0)
        (void)close(linear->pagemap);
    base_leave(linear);
    free(linear);
}

struct wasm_memory linear_memory(const struct linear *linear)
{
    return (struct wasm_memory){linear->data, linear->size};
}

size_t linear_size_max(const struct linear *linear) { return linear->size_max; }

enum sorex_status linear_grow(struct linear *linear, size_t size, struct sorex_error *err)
{
    if (size > linear->size_max)
        return sorex_error_set(err, SOREX_LIMIT, "memory: %zu bytes, the limit is %zu", size, linear->size_max);
    if (size <= linear->size)
        return SOREX_OK;
    if (mprotect(linear->data + linear->size, size - linear->size, PROT_READ | PROT_WRITE) != 0)
        return sorex_error_set_errno(err, SOREX_NOMEM, errno, "memory: grow");
    linear->size = size;
    return SOREX_OK;
}

/* -- saving and restoring */

/* The content becomes a base, which takes over the runs, and the memory goes on on top of it. */
static enum sorex_status rebase(struct linear *linear, struct runs *runs, struct sorex_error *err)
{
    struct base *base = NULL;
    TRY(base_make(linear->size, &base, err));
    enum sorex_status status = SOREX_OK;
    size_t start, end = 0;
    while (status == SOREX_OK && linear->base != NULL && base_range(linear->base, end, &start, &end))
        status = base_write_run(base, linear, start / LINEAR_PAGE_BYTES, (end - start) / LINEAR_PAGE_BYTES, err);
    for (size_t i = 0; i < runs->count && status == SOREX_OK; i++)
        status = base_write_run(base, linear, runs->items[i].first, runs->items[i].count, err);
    uint64_t parent = linear->base != NULL ? linear->base->id : 0;
    if (status == SOREX_OK)
        status = base_map(linear, base, err);
    if (status == SOREX_OK) {
        base->parent = parent;
        base->runs = runs->items;
        base->runs_count = runs->count;
        *runs = (struct runs){0};
    }
    base_drop(base);
    return status;
}

static void image_add(struct linear_image *image, const struct linear *linear, uint32_t first, uint32_t count)
{
    memcpy(image->content + image->pages_count * LINEAR_PAGE_BYTES, linear->data + first * LINEAR_PAGE_BYTES,
           count * LINEAR_PAGE_BYTES);
    for (uint32_t k = 0; k < count; k++)
        image->pages[image->pages_count++] = first + k;
}

/* Adds those pages of the run that differ from the base. */
static enum sorex_status image_add_differing(struct linear_image *image, const struct linear *linear,
                                             const struct run *run, struct sorex_error *err)
{
    uint8_t content[LINEAR_PAGE_BYTES];
    for (uint32_t page = run->first; page < run->first + run->count; page++) {
        TRY(base_read(linear->base, page * LINEAR_PAGE_BYTES, content, sizeof content, err));
        if (memcmp(content, linear->data + page * LINEAR_PAGE_BYTES, sizeof content) != 0)
            image_add(image, linear, page, 1);
    }
    return SOREX_OK;
}

static bool new_base_pays(const struct linear *linear, size_t pages)
{
    const struct base *base = linear->base;
    return base == NULL || pages > DELTA_PAGES_MAX ||
           (pages > DELTA_PAGES_MANY && linear->copied + pages > base->pages / 8);
}

/* The base takes over what was written, when it can: then no page differs. */
static enum sorex_status advance(struct linear *linear, struct runs *runs, struct sorex_error *err)
{
    bool done;
    TRY(base_advance(linear->base, runs, linear->data, DELTA_PAGES_MAX, &done, err));
    if (!done)
        return SOREX_OK;
    linear->reverted = false;
    for (size_t i = 0; i < runs->count; i++)
        if (madvise(linear->data + runs->items[i].first * LINEAR_PAGE_BYTES, runs->items[i].count * LINEAR_PAGE_BYTES,
                    MADV_DONTNEED) != 0)
            linear->reverted = true;
    linear->copied = runs->count = runs->pages = 0;
    return SOREX_OK;
}

enum sorex_status linear_save(struct linear *linear, struct linear_image **out, struct sorex_error *err)
{
    struct runs runs;
    TRY(private_pages(linear, &runs, err));
    enum sorex_status status = SOREX_OK;
    if (linear->base != NULL && runs.pages > DELTA_PAGES_MANY)
        status = advance(linear, &runs, err);
    if (status == SOREX_OK && new_base_pays(linear, runs.pages))
        status = rebase(linear, &runs, err);
    linear->copied += runs.pages;
    struct linear_image *image = status == SOREX_OK ? image_make(linear->base, linear->size, runs.pages) : NULL;
    if (status == SOREX_OK && image == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "memory image: out of memory");
    for (size_t i = 0; i < runs.count && status == SOREX_OK; i++) {
        if (linear->reverted)
            status = image_add_differing(image, linear, &runs.items[i], err);
        else
            image_add(image, linear, runs.items[i].first, runs.items[i].count);
    }
    free(runs.items);
    if (status == SOREX_OK)
        *out = image;
    else if (image != NULL)
        linear_image_drop(image);
    return status;
}

/* Gives private pages the base's content again. */
static enum sorex_status pages_revert(struct linear *linear, uint32_t first, uint32_t count, struct sorex_error *err)
{
    uint8_t *at = linear->data + (size_t)first * LINEAR_PAGE_BYTES;
    size_t len = (size_t)count * LINEAR_PAGE_BYTES;
    if (count < DROP_PAGES_MIN) {
        linear->reverted = true;
        return base_read(linear->base, (size_t)first * LINEAR_PAGE_BYTES, at, len, err);
    }
    if (madvise(at, len, MADV_DONTNEED) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "memory: drop pages");
    return SOREX_OK;
}

/* Brings back the pages of one private run; *at walks along the image's pages. */
static enum sorex_status run_restore(struct linear *linear, const struct linear_image *image, const struct run *run,
                                     uint32_t *at, struct sorex_error *err)
{
    uint32_t page = run->first, end = run->first + run->count;
    for (; *at < image->pages_count && image->pages[*at] < page; ++*at)
        memcpy(linear->data + image->pages[*at] * LINEAR_PAGE_BYTES, image_page(image, *at), LINEAR_PAGE_BYTES);
    while (page < end) {
        uint32_t next = *at < image->pages_count && image->pages[*at] < end ? image->pages[*at] : end;
        if (next > page)
            TRY(pages_revert(linear, page, next - page, err));
        page = next;
        if (page < end) {
            memcpy(linear->data + page * LINEAR_PAGE_BYTES, image_page(image, *at), LINEAR_PAGE_BYTES);
            ++*at;
            page++;
        }
    }
    return SOREX_OK;
}

static enum sorex_status image_restore(struct linear *linear, struct linear_image *image, struct sorex_error *err)
{
    struct runs runs = {0};
    enum sorex_status status;
    if (linear->base == image->base) {
        status = private_pages(linear, &runs, err);
    } else {
        atomic_store_explicit(&image->forked, true, memory_order_relaxed);
        status = base_map(linear, image->base, err);
    }
    uint32_t at = 0;
    for (size_t i = 0; i < runs.count && status == SOREX_OK; i++)
        status = run_restore(linear, image, &runs.items[i], &at, err);
    for (; at < image->pages_count && status == SOREX_OK; at++)
        memcpy(linear->data + image->pages[at] * LINEAR_PAGE_BYTES, image_page(image, at), LINEAR_PAGE_BYTES);
    free(runs.items);
    return status;
}

enum sorex_status linear_restore(struct linear *linear, struct linear_image *image, struct sorex_error *err)
{
    if (linear->size > image->size)
        return sorex_error_set(err, SOREX_MISMATCH, "memory: it has %zu bytes, the image %zu", linear->size,
                               image->size);
    TRY(linear_grow(linear, image->size, err));
    base_read_begin(image->base);
    enum sorex_status status = image_restore(linear, image, err);
    base_read_end(image->base);
    return status;
}
