#include "pg/syscall.h"

#include "base/check.h"

#define SYSCALL_ROW(module, name, type, fn) {module, name, type, fn},
const struct machine_import process_imports[] = {SYSCALL_LIST(SYSCALL_ROW)};
#undef SYSCALL_ROW
const size_t process_imports_count = sizeof process_imports / sizeof *process_imports;

static enum machine_next host_nomem(struct machine *machine)
{
    return machine_fail(machine, SOREX_NOMEM, "files: out of memory");
}

enum machine_next syscall_give(struct machine *machine, union wasm_value *values, enum wasi_errno error,
                               uint32_t result)
{
    if (error == W_HOST_NOMEM)
        return host_nomem(machine);
    values[0].i32 = error == W_SUCCESS ? (int32_t)result : -(int32_t)error;
    return MACHINE_GO;
}

enum machine_next syscall_errno(struct machine *machine, union wasm_value *values, enum wasi_errno error)
{
    if (error == W_HOST_NOMEM)
        return host_nomem(machine);
    values[0].i32 = (int32_t)error;
    return MACHINE_GO;
}

uint8_t *syscall_range(const struct machine *machine, uint32_t at, uint64_t len)
{
    struct wasm_memory memory = machine_memory(machine);
    return at <= memory.len && len <= memory.len - at ? memory.data + at : NULL;
}

const char *syscall_text(const struct machine *machine, uint32_t at)
{
    struct wasm_memory memory = machine_memory(machine);
    if (at >= memory.len || memchr(memory.data + at, '\0', memory.len - at) == NULL)
        return NULL;
    return (const char *)memory.data + at;
}

bool syscall_put_u32(const struct machine *machine, uint32_t at, uint32_t value)
{
    uint8_t *p = syscall_range(machine, at, 4);
    if (p != NULL)
        u32le_put(p, value);
    return p != NULL;
}

int64_t syscall_now(const struct process *process) { return (int64_t)process->state->clock_ns; }

/* struct stat of musl on wasm32, 96 bytes: dev 0, mode 4, nlink 8, uid 12, gid 16, rdev 20, size 24, blksize 32, blocks
 * 36, three times of 16 bytes from 40, ino 88. */
enum wasi_errno syscall_stat(const struct process *process, const struct machine *machine, uint32_t number, uint32_t at)
{
    static const uint32_t kinds[] = {0, W_S_IFREG, W_S_IFDIR, W_S_IFLNK, W_S_IFIFO, W_S_IFCHR, W_S_IFCHR, W_S_IFCHR};
    const struct inode *inode = tree_inode(process->tree, number);
    uint8_t *p = syscall_range(machine, at, 96);
    if (p == NULL)
        return W_EFAULT;
    memset(p, 0, 96);
    u32le_put(p, 1);
    u32le_put(p + 4, kinds[inode->kind] | inode->mode);
    u32le_put(p + 8, inode->links);
    u64le_put(p + 24, inode->kind == TREE_DIRECTORY ? 4096 : inode->size);
    u32le_put(p + 32, 4096);
    u32le_put(p + 36, (uint32_t)((inode->size + 511) / 512));
    for (size_t i = 0; i < 3; i++) {
        u64le_put(p + 40 + 16 * i, (uint64_t)(inode->mtime_ns / 1000000000));
        u32le_put(p + 48 + 16 * i, (uint32_t)(inode->mtime_ns % 1000000000));
    }
    u64le_put(p + 88, number);
    return W_SUCCESS;
}

enum machine_next syscall_alloc(struct machine *machine, uint32_t align, uint32_t len, uint32_t *out)
{
    struct sorex_error err = {0};
    union wasm_value values[2] = {{.u32 = align}, {.u32 = len}};
    if (machine_call(machine, PROCESS_MEMALIGN, values, NULL, &err) != SOREX_OK)
        return machine_fail_with(machine, &err);
    *out = values[0].u32;
    uint8_t *p = *out == 0 ? NULL : syscall_range(machine, *out, len);
    if (p != NULL)
        memset(p, 0, len);
    else
        *out = 0;
    return MACHINE_GO;
}
