/* One linear memory that can be saved, restored and forked in time that depends on the pages written, not on its size.
 *
 * A memory lies at one place for its life, with guards around it. Saving makes an image: a base, which is a memory file
 * that is mapped privately (copy on write) under every memory that descends from it, and the pages that differ from it.
 * Which pages differ is what Linux knows: those that are private. Images and bases are shared by reference. What an
 * image stands for never changes; when many pages were written, a base that no other memory needs takes them over, and
 * the images on it get what it held. A memory and its images may be used by different threads.
 *
 * Thread: a memory by one at a time; images by any. */
#ifndef SOREX_WASM_LINEAR_H
#define SOREX_WASM_LINEAR_H

#include "wasm/wasm.h"

#define LINEAR_PAGE_BYTES ((size_t)4096) /* of images; not WebAssembly's, which has 64 KiB */

/* Addresses from a memory's beginning on that are its own, whatever its size: touching them harms nobody. */
#define LINEAR_RESERVED_BYTES ((size_t)1 << 32)

struct linear;
struct linear_image;

/* Sizes in bytes, multiples of 64 KiB; all zero at first. Errors: SOREX_NOMEM. */
enum sorex_status linear_open(size_t size, size_t size_max, struct linear **out, struct sorex_error *err);
void linear_close(struct linear *linear);

/* data never moves. */
struct wasm_memory linear_memory(const struct linear *linear);
size_t linear_size_max(const struct linear *linear);
/* Errors: SOREX_LIMIT above size_max; SOREX_NOMEM. */
enum sorex_status linear_grow(struct linear *linear, size_t size, struct sorex_error *err);

/* Takes an image of the content, in O(pages written since the memory's base); when these became many, the base takes
 * them over, or the content becomes a new one. Ownership: *out by linear_image_drop. Errors: SOREX_NOMEM; SOREX_IO. */
enum sorex_status linear_save(struct linear *linear, struct linear_image **out, struct sorex_error *err);
/* Makes the content that of the image, in O(pages that differ) when the memory descends from the same base.
 * Errors: SOREX_MISMATCH  the memory is larger than the image: it cannot shrink. SOREX_NOMEM, SOREX_IO: the content is
 *         undefined. */
enum sorex_status linear_restore(struct linear *linear, struct linear_image *image, struct sorex_error *err);

void linear_image_keep(struct linear_image *image);
void linear_image_drop(struct linear_image *image); /* NULL is fine */
size_t linear_image_size(const struct linear_image *image);
/* Pages that are held besides the base, now. */
size_t linear_image_pages(const struct linear_image *image);
/* Calls fn for each page that is not all zero, in order. Stops at an error of fn and returns it.
 * Errors: SOREX_IO, SOREX_NOMEM. */
typedef enum sorex_status linear_page_fn(void *user_data, uint32_t page, const uint8_t content[LINEAR_PAGE_BYTES],
                                         struct sorex_error *err);
enum sorex_status linear_image_visit(const struct linear_image *image, linear_page_fn *fn, void *user_data,
                                     struct sorex_error *err);

/* Calls fn for each page whose content differs, in order; NULL stands for zeros, as does what is beyond an image's
 * size, and `from` may be NULL. Costs as many pages as were written in between when `from` was taken of the same memory
 * not long before, at most all that are not zero. As linear_image_visit otherwise. */
typedef enum sorex_status linear_diff_fn(void *user_data, uint32_t page, const uint8_t *before, const uint8_t *after,
                                         struct sorex_error *err);
enum sorex_status linear_image_diff(const struct linear_image *from, const struct linear_image *to, linear_diff_fn *fn,
                                    void *user_data, struct sorex_error *err);

/* An image from its pages: made all zero, then filled, then used. */
enum sorex_status linear_image_make(size_t size, struct linear_image **out, struct sorex_error *err);
/* Errors: SOREX_INVALID outside; SOREX_NOMEM. */
enum sorex_status linear_image_put(struct linear_image *image, uint32_t page, const uint8_t content[LINEAR_PAGE_BYTES],
                                   struct sorex_error *err);

/* For tests: look for private pages as kernels before 6.7 allow. */
void linear_scan_plain(bool plain);

#endif
