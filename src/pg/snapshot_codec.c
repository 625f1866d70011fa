#include "pg/snapshot_codec.h"

#include <stdlib.h>

#include "base/check.h"

struct snapshot *snapshot_make(struct postgres *postgres)
{
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        return NULL;
    atomic_init(&snapshot->refs, 1);
    snapshot->postgres = postgres;
    return snapshot;
}

enum sorex_status snapshot_copy(const struct snapshot *snapshot, struct snapshot **out, struct sorex_error *err)
{
    struct snapshot *copy = snapshot_make(snapshot->postgres);
    if (copy == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "snapshot: out of memory");
    enum sorex_status status = machine_image_copy(&copy->machine, &snapshot->machine, err);
    if (status != SOREX_OK) {
        free(copy);
        return status;
    }
    tree_copy(&copy->tree, &snapshot->tree);
    copy->state = snapshot->state;
    *out = copy;
    return SOREX_OK;
}

/* -- writing */

enum sorex_status snapshot_globals_encode(const struct snapshot *snapshot, struct buf *out, struct sorex_error *err)
{
    const struct machine_image *machine = &snapshot->machine;
    TRY(buf_append_u64le(out, linear_image_size(machine->memory), err));
    TRY(buf_append_u32le(out, machine->globals_count, err));
    for (uint32_t i = 0; i < machine->globals_count; i++)
        TRY(buf_append_u64le(out, machine->globals[i], err));
    return SOREX_OK;
}

static uint32_t callback_number(const struct machine_import *callback)
{
    uint32_t number = 0;
    while (instance_callback(number) != callback)
        number++;
    return number;
}

static enum sorex_status addition_encode(struct postgres *postgres, const struct machine_addition *addition,
                                         struct buf *out, struct sorex_error *err)
{
    struct bytes bytes = {NULL, 0};
    TRY(buf_append_u32le(out, (uint32_t)addition->kind, err));
    switch (addition->kind) {
    case MACHINE_CALLBACK:
        return buf_append_u32le(out, callback_number(addition->callback), err);
    case MACHINE_LIBRARY:
        TRY(buf_append_u32le(out, addition->memory_base, err));
        bytes = postgres_library_bytes(postgres, addition->code);
        break;
    case MACHINE_SLOT:
        TRY(buf_append_u32le(out, addition->library, err));
        bytes = bytes_str(addition->name);
        break;
    }
    TRY(buf_append_u32le(out, (uint32_t)bytes.len, err));
    return buf_append(out, bytes, err);
}

enum sorex_status snapshot_table_encode(const struct snapshot *snapshot, struct buf *out, struct sorex_error *err)
{
    const struct machine_image *machine = &snapshot->machine;
    TRY(buf_append_u32le(out, machine->table_slots, err));
    TRY(buf_append_u32le(out, (uint32_t)machine->additions_count, err));
    for (size_t i = 0; i < machine->additions_count; i++)
        TRY(addition_encode(snapshot->postgres, &machine->additions[i], out, err));
    TRY(buf_append_u32le(out, (uint32_t)machine->got_count, err));
    for (size_t i = 0; i < machine->got_count; i++)
        TRY(buf_append_u32le(out, machine->got[i], err));
    return SOREX_OK;
}

bool snapshot_table_equal(const struct snapshot *a, const struct snapshot *b)
{
    const struct machine_image *x = &a->machine, *y = &b->machine;
    if (x->table_slots != y->table_slots || x->additions_count != y->additions_count || x->got_count != y->got_count)
        return false;
    for (size_t i = 0; i < x->got_count; i++)
        if (x->got[i] != y->got[i])
            return false;
    for (size_t i = 0; i < x->additions_count; i++) {
        const struct machine_addition *p = &x->additions[i], *q = &y->additions[i];
        if (p->kind != q->kind || p->callback != q->callback || p->code != q->code ||
            p->memory_base != q->memory_base || p->library != q->library || p->name != q->name)
            return false;
    }
    return true;
}

enum sorex_status snapshot_process_encode(const struct snapshot *snapshot, struct buf *out, struct sorex_error *err)
{
    const struct process_state *state = &snapshot->state;
    TRY(buf_append_u64le(out, state->clock_ns, err));
    TRY(buf_append_u64le(out, state->monotonic_ns, err));
    TRY(buf_append_u64le(out, state->random, err));
    TRY(buf_append_u32le(out, state->directory, err));
    TRY(buf_append_u32le(out, state->umask, err));
    for (uint32_t i = 0; i < PROCESS_FDS_MAX; i++) {
        const struct open_file *file = &state->files[i];
        if (file->inode == 0)
            continue;
        TRY(buf_append_u32le(out, i + 1, err));
        TRY(buf_append_u32le(out, file->inode, err));
        TRY(buf_append_u32le(out, file->flags, err));
        TRY(buf_append_u64le(out, file->position, err));
    }
    TRY(buf_append_u32le(out, 0, err));
    for (uint32_t i = 0; i < PROCESS_FDS_MAX; i++)
        if (state->fds[i] != 0) {
            TRY(buf_append_u32le(out, i + 1, err));
            TRY(buf_append_u32le(out, state->fds[i], err));
        }
    return buf_append_u32le(out, 0, err);
}

/* -- reading */

static enum sorex_status broken(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_CORRUPT, "a database's state does not decode");
}

static enum sorex_status nomem(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_NOMEM, "a database's state: out of memory");
}

enum sorex_status snapshot_globals_decode(struct snapshot *snapshot, struct reader *r, struct sorex_error *err)
{
    struct machine_image *machine = &snapshot->machine;
    uint64_t size;
    if (!reader_u64le(r, &size) || size % 65536 != 0 || size > LINEAR_RESERVED_BYTES ||
        !reader_u32le(r, &machine->globals_count) || machine->globals_count > MACHINE_GLOBALS_MAX)
        return broken(err);
    for (uint32_t i = 0; i < machine->globals_count; i++)
        if (!reader_u64le(r, &machine->globals[i]))
            return broken(err);
    return linear_image_make((size_t)size, &machine->memory, err);
}

/* Libraries are compiled, or found in the cache; names of functions are those of their code. */
static enum sorex_status addition_decode(struct snapshot *snapshot, struct machine_addition *out, struct reader *r,
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

enum sorex_status snapshot_table_decode(struct snapshot *snapshot, struct reader *r, struct sorex_error *err)
{
    struct machine_image *machine = &snapshot->machine;
    uint32_t count;
    if (!reader_u32le(r, &machine->table_slots) || !reader_u32le(r, &count) || count > reader_left(r))
        return broken(err);
    machine->additions = calloc((size_t)count + 1, sizeof *machine->additions);
    if (machine->additions == NULL)
        return nomem(err);
    for (uint32_t i = 0; i < count; i++) {
        TRY(addition_decode(snapshot, &machine->additions[i], r, err));
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

enum sorex_status snapshot_process_decode(struct snapshot *snapshot, struct reader *r, struct sorex_error *err)
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

enum sorex_status snapshot_check(const struct snapshot *snapshot, struct sorex_error *err)
{
    const struct process_state *state = &snapshot->state;
    const struct inode *directory = tree_inode(&snapshot->tree, state->directory);
    if (directory == NULL || directory->kind != TREE_DIRECTORY)
        return broken(err);
    for (uint32_t i = 0; i < PROCESS_FDS_MAX; i++)
        if (state->files[i].inode != 0 && tree_inode(&snapshot->tree, state->files[i].inode) == NULL)
            return broken(err);
    return tree_check(&snapshot->tree, err);
}
