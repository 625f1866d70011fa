/* A library is linked by the machine; here is its place: memory from the guest's own allocator, and the record that
 * Emscripten's C library keeps of it, struct dso: memory allocated 8 (a byte), its address 12, its size 16, first table
 * slot 20, slots 24, the path 36. */
#include "pg/library.h"

#include "base/check.h"
#include "base/log.h"
#include "pg/guest.h"
#include "pg/postgres.h"
#include "pg/syscall.h"

#define ALIGN_MIN 16u

static enum sorex_status place(struct machine *machine, const struct machine_library_needs *needs, uint32_t *out,
                               struct sorex_error *err)
{
    uint32_t align = needs->memory_align < ALIGN_MIN ? ALIGN_MIN : needs->memory_align;
    TRY(guest_invoke(machine, PROCESS_MALLOC, needs->memory_bytes + align, 0, out, err));
    if (*out == 0)
        return sorex_error_set(err, SOREX_INVALID, "library: the guest has no memory for it");
    *out = (*out + align - 1) / align * align;
    uint8_t *bytes = syscall_range(machine, *out, needs->memory_bytes);
    if (bytes == NULL)
        return sorex_error_set(err, SOREX_GUEST, "a pointer is outside of its memory");
    memset(bytes, 0, needs->memory_bytes);
    return SOREX_OK;
}

static enum sorex_status code_find(struct process *process, const char *path, const struct machine_code **out,
                                   struct sorex_error *err)
{
    struct buf wasm = {0};
    enum sorex_status status = tree_take(process->tree, path, &wasm, err);
    if (status == SOREX_OK)
        status = postgres_library(process->postgres, buf_view(&wasm), out, err);
    buf_deinit(&wasm);
    return status;
}

static enum sorex_status library_link(struct process *process, struct machine *machine, uint32_t handle,
                                      struct sorex_error *err)
{
    const struct machine_code *code;
    uint32_t memory_base, slots = 0;
    size_t library;
    const char *path = syscall_text(machine, handle + 36);
    if (path == NULL || syscall_range(machine, handle, 36) == NULL)
        return sorex_error_set(err, SOREX_GUEST, "a pointer is outside of its memory");
    TRY(code_find(process, path, &code, err));
    struct machine_library_needs needs = machine_code_needs(code);
    TRY(place(machine, &needs, &memory_base, err));
    uint32_t table_base = machine_table_size(machine);
    if (needs.table_slots > 0)
        slots = needs.table_slots;
    TRY(machine_library_add(machine, code, memory_base, &library, err));
    uint8_t *record = syscall_range(machine, handle, 36);
    record[8] = 1;
    u32le_put(record + 12, memory_base);
    u32le_put(record + 16, needs.memory_bytes);
    u32le_put(record + 20, table_base);
    u32le_put(record + 24, slots);
    return SOREX_OK;
}

/* What is wrong with the library is PostgreSQL's to report; what is wrong with the machine ends it. */
static enum machine_next on_open(struct process *process, struct machine *machine, uint32_t handle, bool *out_ok)
{
    struct sorex_error err = {0};
    enum sorex_status status = library_link(process, machine, handle, &err);
    *out_ok = status == SOREX_OK;
    if (status != SOREX_OK)
        log_line(LOG_DEBUG, "postgres", "library: %s", err.text);
    return status == SOREX_OK || status == SOREX_INVALID || status == SOREX_GONE ? MACHINE_GO
                                                                                 : machine_fail_with(machine, &err);
}

static enum machine_next on_symbol(struct process *process, struct machine *machine, uint32_t handle, const char *name,
                                   uint32_t *out)
{
    (void)process;
    struct sorex_error err = {0};
    size_t library;
    const uint8_t *record = syscall_range(machine, handle, 36);
    if (record == NULL || !machine_library_at(machine, u32le_get(record + 12), &library))
        return MACHINE_GO;
    enum sorex_status status = machine_library_symbol(machine, library, name, out, &err);
    return status == SOREX_OK || status == SOREX_GONE ? MACHINE_GO : machine_fail_with(machine, &err);
}

const struct process_host library_host = {on_open, on_symbol};
