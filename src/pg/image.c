#include "pg/image.h"

#include <stdlib.h>

#include <zstd.h>

#include "base/check.h"

#define MAGIC "SOREXPG1"
#define HEADER_BYTES (8 + SHA256_BYTES + 8)
#define CONTENT_BYTES_MAX ((uint64_t)16 << 30)

/* -- writing: the content goes to a function, which hashes or collects it */

struct content {
    const struct snapshot *snapshot;
    tree_out_fn *fn;
    void *user_data;
    struct sorex_error *err;
};

static enum sorex_status put(const struct content *c, struct bytes bytes) { return c->fn(c->user_data, bytes, c->err); }

static enum sorex_status put_u32(const struct content *c, uint32_t value)
{
    uint8_t bytes[4];
    u32le_put(bytes, value);
    return put(c, bytes_of(bytes, 4));
}

static enum sorex_status put_u64(const struct content *c, uint64_t value)
{
    uint8_t bytes[8];
    u64le_put(bytes, value);
    return put(c, bytes_of(bytes, 8));
}

static uint32_t callback_number(const struct machine_import *callback)
{
    uint32_t number = 0;
    while (instance_callback(number) != callback)
        number++;
    return number;
}

static enum sorex_status addition_put(const struct content *c, const struct machine_addition *addition)
{
    struct bytes bytes = {NULL, 0};
    TRY(put_u32(c, (uint32_t)addition->kind));
    switch (addition->kind) {
    case MACHINE_CALLBACK:
        return put_u32(c, callback_number(addition->callback));
    case MACHINE_LIBRARY:
        TRY(put_u32(c, addition->memory_base));
        bytes = postgres_library_bytes(c->snapshot->postgres, addition->code);
        break;
    case MACHINE_SLOT:
        TRY(put_u32(c, addition->library));
        bytes = bytes_str(addition->name);
        break;
    }
    TRY(put_u32(c, (uint32_t)bytes.len));
    return put(c, bytes);
}

static enum sorex_status page_put(void *user_data, uint32_t page, const uint8_t content[LINEAR_PAGE_BYTES],
                                  struct sorex_error *err)
{
    const struct content *c = user_data;
    (void)err;
    TRY(put_u32(c, page + 1));
    return put(c, bytes_of(content, LINEAR_PAGE_BYTES));
}

static enum sorex_status machine_put(struct content *c)
{
    const struct machine_image *machine = &c->snapshot->machine;
    TRY(put_u64(c, linear_image_size(machine->memory)));
    TRY(put_u32(c, machine->globals_count));
    for (uint32_t i = 0; i < machine->globals_count; i++)
        TRY(put_u64(c, machine->globals[i]));
    TRY(put_u32(c, machine->table_slots));
    TRY(put_u32(c, (uint32_t)machine->additions_count));
    for (size_t i = 0; i < machine->additions_count; i++)
        TRY(addition_put(c, &machine->additions[i]));
    TRY(put_u32(c, (uint32_t)machine->got_count));
    for (size_t i = 0; i < machine->got_count; i++)
        TRY(put_u32(c, machine->got[i]));
    TRY(linear_image_visit(machine->memory, page_put, c, c->err));
    return put_u32(c, 0);
}

static enum sorex_status state_put(const struct content *c)
{
    const struct process_state *state = &c->snapshot->state;
    TRY(put_u64(c, state->clock_ns));
    TRY(put_u64(c, state->monotonic_ns));
    TRY(put_u64(c, state->random));
    TRY(put_u32(c, state->directory));
    TRY(put_u32(c, state->umask));
    for (uint32_t i = 0; i < PROCESS_FDS_MAX; i++) {
        const struct open_file *file = &state->files[i];
        if (file->inode == 0)
            continue;
        TRY(put_u32(c, i + 1));
        TRY(put_u32(c, file->inode));
        TRY(put_u32(c, file->flags));
        TRY(put_u64(c, file->position));
    }
    TRY(put_u32(c, 0));
    for (uint32_t i = 0; i < PROCESS_FDS_MAX; i++)
        if (state->fds[i] != 0) {
            TRY(put_u32(c, i + 1));
            TRY(put_u32(c, state->fds[i]));
        }
    return put_u32(c, 0);
}

static enum sorex_status content_put(const struct snapshot *snapshot, tree_out_fn *fn, void *user_data,
                                     struct sorex_error *err)
{
    struct content c = {snapshot, fn, user_data, err};
    TRY(put(&c, bytes_of(postgres_module_hash(), SHA256_BYTES)));
    TRY(machine_put(&c));
    TRY(state_put(&c));
    return tree_encode(&snapshot->tree, fn, user_data, err);
}

static enum sorex_status hash_bytes(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    (void)err;
    sha256_update(user_data, bytes);
    return SOREX_OK;
}

enum sorex_status image_hash(const struct snapshot *snapshot, uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    struct sha256 hash;
    TRY(sha256_init(&hash, err));
    sha256_start(&hash);
    enum sorex_status status = content_put(snapshot, hash_bytes, &hash, err);
    if (status == SOREX_OK)
        sha256_finish(&hash, out);
    sha256_deinit(&hash);
    return status;
}

static enum sorex_status collect_bytes(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    return buf_append(user_data, bytes, err);
}

enum sorex_status image_write(const struct snapshot *snapshot, int level, struct buf *out, struct sorex_error *err)
{
    struct buf content = {0};
    uint8_t header[HEADER_BYTES] = MAGIC;
    size_t written = 0;
    enum sorex_status status = content_put(snapshot, collect_bytes, &content, err);
    if (status == SOREX_OK)
        status = buf_reserve(out, HEADER_BYTES + ZSTD_compressBound(content.len), err);
    if (status == SOREX_OK) {
        sha256_once(buf_view(&content), header + 8);
        u64le_put(header + 8 + SHA256_BYTES, content.len);
        memcpy(out->data + out->len, header, HEADER_BYTES);
        written = ZSTD_compress(out->data + out->len + HEADER_BYTES, out->cap - out->len - HEADER_BYTES, content.data,
                                content.len, level);
        if (ZSTD_isError(written))
            status = sorex_error_set(err, SOREX_NOMEM, "image: %s", ZSTD_getErrorName(written));
        else
            out->len += HEADER_BYTES + written;
    }
    buf_deinit(&content);
    return status;
}

/* -- reading */

static enum sorex_status broken(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_CORRUPT, "database image: it does not decode");
}

static enum sorex_status nomem(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_NOMEM, "database image: out of memory");
}

/* Libraries are compiled, or found in the cache; names of functions are those of their code. */
static enum sorex_status addition_take(struct snapshot *snapshot, struct machine_addition *out, struct reader *r,
                                       struct sorex_error *err)
{
    struct machine_image *machine = &snapshot->machine;
    uint32_t kind, number, len;
    struct bytes bytes;
    if (!reader_u32le(r, &kind) || kind > MACHINE_SLOT || !reader_u32le(r, &number))
        return broken(err);
    *out = (struct machine_addition){.kind = (enum machine_addition_kind)kind};
    if (kind == MACHINE_CALLBACK) {
        out->callback = number < 64 ? instance_callback(number) : NULL;
        return out->callback != NULL ? SOREX_OK : broken(err);
    }
    if (!reader_u32le(r, &len) || !reader_take(r, len, &bytes))
        return broken(err);
    if (kind == MACHINE_LIBRARY) {
        out->memory_base = number;
        return postgres_library(snapshot->postgres, bytes, &out->code, err);
    }
    const struct machine_code *code = number == UINT32_MAX ? postgres_code(snapshot->postgres) : NULL;
    for (size_t i = 0, libraries = 0; code == NULL && i < machine->additions_count; i++)
        if (machine->additions[i].kind == MACHINE_LIBRARY && libraries++ == number)
            code = machine->additions[i].code;
    out->library = number;
    out->name = code == NULL ? NULL : machine_code_name(code, bytes);
    return out->name != NULL ? SOREX_OK : broken(err);
}

static enum sorex_status tables_take(struct snapshot *snapshot, struct reader *r, struct sorex_error *err)
{
    struct machine_image *machine = &snapshot->machine;
    uint32_t count;
    if (!reader_u32le(r, &machine->globals_count) || machine->globals_count > MACHINE_GLOBALS_MAX)
        return broken(err);
    for (uint32_t i = 0; i < machine->globals_count; i++)
        if (!reader_u64le(r, &machine->globals[i]))
            return broken(err);
    if (!reader_u32le(r, &machine->table_slots) || !reader_u32le(r, &count) || count > reader_left(r))
        return broken(err);
    machine->additions = calloc((size_t)count + 1, sizeof *machine->additions);
    if (machine->additions == NULL)
        return nomem(err);
    for (uint32_t i = 0; i < count; i++) {
        TRY(addition_take(snapshot, &machine->additions[i], r, err));
        machine->additions_count = i + 1;
    }
    if (!reader_u32le(r, &count) || count > reader_left(r) / 4)
        return broken(err);
    machine->got = calloc((size_t)count + 1, sizeof *machine->got);
    if (machine->got == NULL)
        return nomem(err);
    for (; machine->got_count < count; machine->got_count++)
        if (!reader_u32le(r, &machine->got[machine->got_count]))
            return broken(err);
    return SOREX_OK;
}

static enum sorex_status pages_take(struct linear_image *memory, struct reader *r, struct sorex_error *err)
{
    for (;;) {
        uint32_t page;
        struct bytes content;
        if (!reader_u32le(r, &page))
            return broken(err);
        if (page == 0)
            return SOREX_OK;
        if (!reader_take(r, LINEAR_PAGE_BYTES, &content))
            return broken(err);
        TRY(linear_image_put(memory, page - 1, content.data, err));
    }
}

static enum sorex_status state_take(struct snapshot *snapshot, struct reader *r, struct sorex_error *err)
{
    struct process_state *state = &snapshot->state;
    uint32_t at, value;
    if (!reader_u64le(r, &state->clock_ns) || !reader_u64le(r, &state->monotonic_ns) ||
        !reader_u64le(r, &state->random) || !reader_u32le(r, &state->directory) || !reader_u32le(r, &state->umask))
        return broken(err);
    for (;;) {
        if (!reader_u32le(r, &at) || at > PROCESS_FDS_MAX)
            return broken(err);
        if (at == 0)
            break;
        struct open_file *file = &state->files[at - 1];
        if (!reader_u32le(r, &file->inode) || !reader_u32le(r, &file->flags) || !reader_u64le(r, &file->position) ||
            file->inode == 0)
            return broken(err);
    }
    for (;;) {
        if (!reader_u32le(r, &at) || at > PROCESS_FDS_MAX)
            return broken(err);
        if (at == 0)
            return SOREX_OK;
        if (!reader_u32le(r, &value) || value == 0 || value > PROCESS_FDS_MAX || state->files[value - 1].inode == 0)
            return broken(err);
        state->fds[at - 1] = (uint16_t)value;
        state->files[value - 1].refs++;
    }
}

static enum sorex_status files_check(const struct snapshot *snapshot, struct sorex_error *err)
{
    const struct process_state *state = &snapshot->state;
    const struct inode *directory = tree_inode(&snapshot->tree, state->directory);
    if (directory == NULL || directory->kind != TREE_DIRECTORY)
        return broken(err);
    for (uint32_t i = 0; i < PROCESS_FDS_MAX; i++)
        if (state->files[i].inode != 0 && tree_inode(&snapshot->tree, state->files[i].inode) == NULL)
            return broken(err);
    return SOREX_OK;
}

static enum sorex_status content_take(struct snapshot *snapshot, struct reader *r, struct sorex_error *err)
{
    struct bytes module;
    uint64_t size;
    if (!reader_take(r, SHA256_BYTES, &module))
        return broken(err);
    if (memcmp(module.data, postgres_module_hash(), SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "database image: it was made by another PostgreSQL");
    if (!reader_u64le(r, &size) || size % 65536 != 0 || size > LINEAR_RESERVED_BYTES)
        return broken(err);
    TRY(linear_image_make((size_t)size, &snapshot->machine.memory, err));
    TRY(tables_take(snapshot, r, err));
    TRY(pages_take(snapshot->machine.memory, r, err));
    TRY(state_take(snapshot, r, err));
    TRY(tree_init(&snapshot->tree, 0, err));
    TRY(tree_decode(&snapshot->tree, r, err));
    TRY(files_check(snapshot, err));
    return reader_left(r) == 0 ? SOREX_OK : broken(err);
}

static enum sorex_status content_unpack(struct bytes image, struct buf *out, struct sorex_error *err)
{
    uint8_t hash[SHA256_BYTES];
    if (image.len < HEADER_BYTES || memcmp(image.data, MAGIC, 8) != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "database image: it does not begin with " MAGIC);
    uint64_t len = u64le_get(image.data + 8 + SHA256_BYTES);
    if (len > CONTENT_BYTES_MAX)
        return broken(err);
    buf_init(out, (size_t)CONTENT_BYTES_MAX);
    TRY(buf_reserve(out, (size_t)len, err));
    size_t got = ZSTD_decompress(out->data, (size_t)len, image.data + HEADER_BYTES, image.len - HEADER_BYTES);
    if (ZSTD_isError(got) || got != len)
        return broken(err);
    out->len = got;
    sha256_once(buf_view(out), hash);
    return memcmp(hash, image.data + 8, SHA256_BYTES) == 0
               ? SOREX_OK
               : sorex_error_set(err, SOREX_CORRUPT, "database image: its hash is wrong");
}

enum sorex_status image_read(struct postgres *postgres, struct bytes image, struct snapshot **out,
                             struct sorex_error *err)
{
    struct buf content = {0};
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        return nomem(err);
    atomic_init(&snapshot->refs, 1);
    snapshot->postgres = postgres;
    enum sorex_status status = content_unpack(image, &content, err);
    if (status == SOREX_OK) {
        struct reader r = reader_of(buf_view(&content));
        status = content_take(snapshot, &r, err);
    }
    buf_deinit(&content);
    if (status != SOREX_OK) {
        snapshot_drop(snapshot);
        return status;
    }
    *out = snapshot;
    return SOREX_OK;
}
