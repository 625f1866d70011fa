/* Bases: memory files that memories are mapped on, and how one takes on what was written to the memory above it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "wasm/linear_private.h"

#define IMAGES_ADVANCED_MAX 2u /* images that are made to stay as they are: the last commit's, and the one in hand */

static uint64_t id_next(void)
{
    static atomic_ullong last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

enum sorex_status base_make(size_t size, struct base **out, struct sorex_error *err)
{
    struct base *base = calloc(1, sizeof *base);
    if (base == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "memory base: out of memory");
    base->fd = memfd_create("sorex-base", MFD_CLOEXEC);
    if (base->fd < 0 || ftruncate(base->fd, (off_t)size) != 0) {
        int code = errno;
        if (base->fd >= 0)
            (void)close(base->fd);
        free(base);
        return sorex_error_set_errno(err, SOREX_NOMEM, code, "memory base");
    }
    base->size = size;
    base->id = id_next();
    atomic_init(&base->refs, 1);
    CHECK(pthread_rwlock_init(&base->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&base->images_lock, NULL) == 0);
    *out = base;
    return SOREX_OK;
}

struct base *base_keep(struct base *base)
{
    atomic_fetch_add_explicit(&base->refs, 1, memory_order_relaxed);
    return base;
}

void base_drop(struct base *base)
{
    if (base == NULL || atomic_fetch_sub_explicit(&base->refs, 1, memory_order_acq_rel) != 1)
        return;
    (void)close(base->fd);
    (void)pthread_rwlock_destroy(&base->lock);
    (void)pthread_mutex_destroy(&base->images_lock);
    free(base->runs);
    free(base);
}

void base_read_begin(struct base *base) { (void)pthread_rwlock_rdlock(&base->lock); }

void base_read_end(struct base *base) { (void)pthread_rwlock_unlock(&base->lock); }

bool page_is_zero(const uint8_t *page) { return page[0] == 0 && memcmp(page, page + 1, LINEAR_PAGE_BYTES - 1) == 0; }

enum sorex_status base_write(const struct base *base, size_t offset, const uint8_t *content, size_t len,
                             struct sorex_error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(base->fd, content + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR)
            return sorex_error_set_errno(err, SOREX_NOMEM, errno, "memory base");
        done += n > 0 ? (size_t)n : 0;
    }
    return SOREX_OK;
}

enum sorex_status base_read(const struct base *base, size_t offset, uint8_t *out, size_t len, struct sorex_error *err)
{
    size_t inside = offset >= base->size ? 0 : base->size - offset < len ? base->size - offset : len;
    memset(out + inside, 0, len - inside);
    for (size_t done = 0; done < inside;) {
        ssize_t n = pread(base->fd, out + done, inside - done, (off_t)(offset + done));
        if (n == 0 || (n < 0 && errno != EINTR))
            return sorex_error_set_errno(err, SOREX_IO, n == 0 ? EIO : errno, "memory base");
        done += n > 0 ? (size_t)n : 0;
    }
    return SOREX_OK;
}

bool base_range(const struct base *base, size_t from, size_t *out_start, size_t *out_end)
{
    if (from >= base->size)
        return false;
    off_t start = lseek(base->fd, (off_t)from, SEEK_DATA);
    if (start < 0)
        return false;
    off_t end = lseek(base->fd, start, SEEK_HOLE);
    *out_start = (size_t)start / LINEAR_PAGE_BYTES * LINEAR_PAGE_BYTES;
    *out_end = end < 0 ? base->size : (size_t)end;
    return true;
}

/* -- advancing: the base takes pages over, the images on it keep what it held there */

/* What an image becomes. */
struct keeping {
    struct linear_image *image;
    uint32_t pages_count;
    uint32_t *pages;
    uint8_t *content;
};

/* content: NULL for the base's. */
static enum sorex_status keep_page(struct keeping *keeping, uint32_t page, const uint8_t *content,
                                   struct sorex_error *err)
{
    uint8_t *room = keeping->content + (size_t)keeping->pages_count * LINEAR_PAGE_BYTES;
    keeping->pages[keeping->pages_count++] = page;
    if (content == NULL)
        return base_read(keeping->image->base, page * LINEAR_PAGE_BYTES, room, LINEAR_PAGE_BYTES, err);
    memcpy(room, content, LINEAR_PAGE_BYTES);
    return SOREX_OK;
}

/* The image's own pages, and those of the runs from the base as it still is. */
static enum sorex_status keep(struct keeping *keeping, const struct runs *runs, struct sorex_error *err)
{
    const struct linear_image *image = keeping->image;
    uint32_t at = 0;
    keeping->pages = malloc((image->pages_count + runs->pages) * sizeof *keeping->pages);
    keeping->content = malloc((image->pages_count + runs->pages) * LINEAR_PAGE_BYTES);
    if (keeping->pages == NULL || keeping->content == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "memory image: out of memory");
    for (size_t i = 0; i < runs->count; i++)
        for (uint32_t page = runs->items[i].first; page < runs->items[i].first + runs->items[i].count; page++) {
            for (; at < image->pages_count && image->pages[at] < page; at++)
                TRY(keep_page(keeping, image->pages[at], image_page(image, at), err));
            if (at == image->pages_count || image->pages[at] != page)
                TRY(keep_page(keeping, page, NULL, err));
        }
    for (; at < image->pages_count; at++)
        TRY(keep_page(keeping, image->pages[at], image_page(image, at), err));
    return SOREX_OK;
}

static void keeping_swap(struct keeping *keeping)
{
    struct linear_image *image = keeping->image;
    uint32_t *pages = image->pages;
    uint8_t *content = image->content;
    image->pages = keeping->pages;
    image->content = keeping->content;
    image->pages_count = keeping->pages_count;
    keeping->pages = pages;
    keeping->content = content;
}

/* How many images are on the base; more than IMAGES_ADVANCED_MAX when one of them should not be made dearer. */
static size_t keepings_find(const struct base *base, size_t pages_more, size_t pages_max,
                            struct keeping out[IMAGES_ADVANCED_MAX])
{
    size_t count = 0;
    for (struct linear_image *image = base->images; image != NULL; image = image->next) {
        bool dear = atomic_load_explicit(&image->forked, memory_order_relaxed) ||
                    image->pages_count + pages_more > pages_max;
        if (dear || count == IMAGES_ADVANCED_MAX)
            return IMAGES_ADVANCED_MAX + 1;
        out[count++] = (struct keeping){.image = image};
    }
    return count;
}

static enum sorex_status advance_locked(struct base *base, const struct runs *runs, const uint8_t *data,
                                        struct keeping *keepings, size_t count, struct sorex_error *err)
{
    for (size_t i = 0; i < count; i++)
        TRY(keep(&keepings[i], runs, err));
    /* First the images, which may hold what the base holds too: when a write fails, all of it still is what it was. */
    for (size_t i = 0; i < count; i++)
        keeping_swap(&keepings[i]);
    base->id = id_next();
    base->parent = 0;
    free(base->runs);
    base->runs = NULL;
    base->runs_count = 0;
    for (size_t i = 0; i < runs->count; i++) {
        size_t offset = runs->items[i].first * LINEAR_PAGE_BYTES;
        TRY(base_write(base, offset, data + offset, runs->items[i].count * LINEAR_PAGE_BYTES, err));
    }
    return SOREX_OK;
}

enum sorex_status base_advance(struct base *base, const struct runs *runs, const uint8_t *data, size_t pages_max,
                               bool *out_done, struct sorex_error *err)
{
    struct keeping keepings[IMAGES_ADVANCED_MAX] = {{0}};
    const struct run *last = &runs->items[runs->count - 1];
    *out_done = false;
    if ((last->first + last->count) * LINEAR_PAGE_BYTES > base->size)
        return SOREX_OK;
    if (pthread_rwlock_trywrlock(&base->lock) != 0)
        return SOREX_OK; /* somebody is forking or reading, which may take a while */
    (void)pthread_mutex_lock(&base->images_lock);
    enum sorex_status status = SOREX_OK;
    /* Nobody else is mapped on it, nor can be now: nobody fills in an image. */
    if (atomic_load_explicit(&base->maps, memory_order_acquire) == 1) {
        size_t count = keepings_find(base, runs->pages, pages_max, keepings);
        if (count <= IMAGES_ADVANCED_MAX) {
            status = advance_locked(base, runs, data, keepings, count, err);
            *out_done = status == SOREX_OK;
        }
    }
    (void)pthread_mutex_unlock(&base->images_lock);
    (void)pthread_rwlock_unlock(&base->lock);
    for (size_t i = 0; i < IMAGES_ADVANCED_MAX; i++) {
        free(keepings[i].pages);
        free(keepings[i].content);
    }
    return status;
}
