/* System calls on paths. */
#include "base/check.h"
#include "pg/syscall.h"

/* Finds what a call means by a directory descriptor and a path. */
static enum wasi_errno find(const struct process *process, const struct machine *machine, int32_t dirfd, uint32_t path,
                            bool follow, struct tree_place *out)
{
    const char *text = syscall_text(machine, path);
    uint32_t from = process->state->directory;
    *out = (struct tree_place){0};
    if (text == NULL)
        return W_EFAULT;
    if (dirfd != W_AT_FDCWD && text[0] != '/') {
        const struct open_file *file = process_file(process, (uint32_t)dirfd);
        if (file == NULL)
            return W_EBADF;
        from = file->inode;
    }
    return tree_walk(process->tree, from, text, follow, out);
}

static enum wasi_errno make(struct process *process, const struct tree_place *place, enum tree_kind kind, uint32_t mode,
                            uint32_t *out)
{
    if (place->name[0] == '\0')
        return W_ENOENT;
    return tree_make(process->tree, place->directory, place->name, kind, mode & ~process->state->umask & 0777,
                     syscall_now(process), out);
}

static enum wasi_errno open_place(struct process *process, const struct machine *machine, union wasm_value *values,
                                  struct tree_place *place)
{
    uint32_t flags = values[2].u32;
    enum wasi_errno error = find(process, machine, values[0].i32, values[1].u32, (flags & W_O_NOFOLLOW) == 0, place);
    if (error == W_SUCCESS && (flags & W_O_CREAT) != 0 && (flags & W_O_EXCL) != 0)
        return W_EEXIST;
    if (error == W_ENOENT && (flags & W_O_CREAT) != 0 && place->directory != 0) {
        uint8_t *mode = values[3].u32 == 0 ? NULL : syscall_range(machine, values[3].u32, 4);
        error = make(process, place, TREE_FILE, mode == NULL ? 0 : u32le_get(mode), &place->inode);
    }
    if (error != W_SUCCESS)
        return error;
    enum tree_kind kind = tree_inode(process->tree, place->inode)->kind;
    if (kind == TREE_DIRECTORY && (flags & W_O_ACCMODE) != 0)
        return W_EISDIR;
    if (kind != TREE_DIRECTORY && (flags & W_O_DIRECTORY) != 0)
        return W_ENOTDIR;
    if (kind == TREE_LINK)
        return W_ELOOP;
    if (kind == TREE_FILE && (flags & W_O_TRUNC) != 0)
        return tree_resize(process->tree, place->inode, 0, syscall_now(process));
    return W_SUCCESS;
}

enum machine_next sys_openat(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    struct tree_place place;
    enum wasi_errno error = open_place(process, machine, values, &place);
    int32_t fd = 0;
    if (error == W_SUCCESS) {
        fd = process_open(process, place.inode, values[2].u32 & ~(W_O_CREAT | W_O_EXCL | W_O_TRUNC), 0);
        if (fd < 0)
            error = (enum wasi_errno)(-fd);
    }
    return syscall_give(machine, values, error, (uint32_t)fd);
}

static enum machine_next stat_at(struct process *process, struct machine *machine, union wasm_value *values,
                                 int32_t dirfd, uint32_t path, bool follow, uint32_t out)
{
    struct tree_place place;
    enum wasi_errno error = find(process, machine, dirfd, path, follow, &place);
    if (error == W_SUCCESS)
        error = syscall_stat(process, machine, place.inode, out);
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_stat(void *user_data, struct machine *machine, union wasm_value *values)
{
    return stat_at(user_data, machine, values, W_AT_FDCWD, values[0].u32, true, values[1].u32);
}

enum machine_next sys_lstat(void *user_data, struct machine *machine, union wasm_value *values)
{
    return stat_at(user_data, machine, values, W_AT_FDCWD, values[0].u32, false, values[1].u32);
}

enum machine_next sys_fstatat(void *user_data, struct machine *machine, union wasm_value *values)
{
    const char *path = syscall_text(machine, values[1].u32);
    if (path != NULL && path[0] == '\0' && (values[3].u32 & W_AT_EMPTY_PATH) != 0) {
        values[1].u32 = values[2].u32;
        return sys_fstat(user_data, machine, values);
    }
    return stat_at(user_data, machine, values, values[0].i32, values[1].u32,
                   (values[3].u32 & W_AT_SYMLINK_NOFOLLOW) == 0, values[2].u32);
}

enum machine_next sys_faccessat(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    struct tree_place place;
    enum wasi_errno error = find(process, machine, values[0].i32, values[1].u32, true, &place);
    if (error == W_SUCCESS) {
        uint32_t mode = tree_inode(process->tree, place.inode)->mode, wanted = values[2].u32;
        if (((wanted & 4) != 0 && (mode & 0444) == 0) || ((wanted & 2) != 0 && (mode & 0222) == 0) ||
            ((wanted & 1) != 0 && (mode & 0111) == 0))
            error = W_EACCES;
    }
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_chdir(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    struct tree_place place;
    enum wasi_errno error = find(process, machine, W_AT_FDCWD, values[0].u32, true, &place);
    if (error == W_SUCCESS && tree_inode(process->tree, place.inode)->kind != TREE_DIRECTORY)
        error = W_ENOTDIR;
    if (error == W_SUCCESS)
        process->state->directory = place.inode;
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_getcwd(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    uint8_t *out = syscall_range(machine, values[0].u32, values[1].u32);
    enum wasi_errno error =
        out == NULL ? W_EFAULT : tree_path(process->tree, process->state->directory, (char *)out, values[1].u32);
    return syscall_give(machine, values, error, error == W_SUCCESS ? (uint32_t)strlen((const char *)out) + 1 : 0);
}

static enum machine_next mode_at(struct process *process, struct machine *machine, union wasm_value *values,
                                 int32_t dirfd, uint32_t path, uint32_t mode)
{
    struct tree_place place;
    enum wasi_errno error = find(process, machine, dirfd, path, true, &place);
    if (error == W_SUCCESS)
        error = tree_mode_set(process->tree, place.inode, mode & 07777);
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_chmod(void *user_data, struct machine *machine, union wasm_value *values)
{
    return mode_at(user_data, machine, values, W_AT_FDCWD, values[0].u32, values[1].u32);
}

enum machine_next sys_fchmodat(void *user_data, struct machine *machine, union wasm_value *values)
{
    return mode_at(user_data, machine, values, values[0].i32, values[1].u32, values[2].u32);
}

enum machine_next sys_mkdirat(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    struct tree_place place;
    uint32_t inode;
    enum wasi_errno error = find(process, machine, values[0].i32, values[1].u32, true, &place);
    if (error == W_SUCCESS)
        error = W_EEXIST;
    else if (error == W_ENOENT && place.directory != 0)
        error = make(process, &place, TREE_DIRECTORY, values[2].u32, &inode);
    return syscall_give(machine, values, error, 0);
}

static enum machine_next unlink_at(struct process *process, struct machine *machine, union wasm_value *values,
                                   int32_t dirfd, uint32_t path, bool directory)
{
    struct tree_place place;
    enum wasi_errno error = find(process, machine, dirfd, path, false, &place);
    if (error == W_SUCCESS) {
        bool is = tree_inode(process->tree, place.inode)->kind == TREE_DIRECTORY;
        if (is != directory)
            error = directory ? W_ENOTDIR : W_EISDIR;
        else if (place.name[0] == '\0')
            error = W_EINVAL;
        else
            error = tree_unlink(process->tree, place.directory, place.name);
    }
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_unlinkat(void *user_data, struct machine *machine, union wasm_value *values)
{
    return unlink_at(user_data, machine, values, values[0].i32, values[1].u32, (values[2].u32 & W_AT_REMOVEDIR) != 0);
}

enum machine_next sys_rmdir(void *user_data, struct machine *machine, union wasm_value *values)
{
    return unlink_at(user_data, machine, values, W_AT_FDCWD, values[0].u32, true);
}

enum machine_next sys_renameat(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    struct tree_place from, to;
    enum wasi_errno error = find(process, machine, values[0].i32, values[1].u32, false, &from);
    if (error == W_SUCCESS) {
        error = find(process, machine, values[2].i32, values[3].u32, false, &to);
        if (error == W_SUCCESS || (error == W_ENOENT && to.directory != 0))
            error = tree_rename(process->tree, &from, &to);
    }
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_symlinkat(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    struct tree_place place;
    uint32_t inode;
    const char *target = syscall_text(machine, values[0].u32);
    enum wasi_errno error = find(process, machine, values[1].i32, values[2].u32, false, &place);
    if (target == NULL)
        error = W_EFAULT;
    else if (error == W_SUCCESS)
        error = W_EEXIST;
    else if (error == W_ENOENT && place.directory != 0)
        error = make(process, &place, TREE_LINK, 0777, &inode);
    if (error == W_SUCCESS)
        error = tree_write(process->tree, inode, 0, bytes_str(target), syscall_now(process));
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_readlinkat(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    struct tree_place place;
    size_t len = 0;
    uint8_t *out = syscall_range(machine, values[2].u32, values[3].u32);
    enum wasi_errno error = find(process, machine, values[0].i32, values[1].u32, false, &place);
    if (error == W_SUCCESS && tree_inode(process->tree, place.inode)->kind != TREE_LINK)
        error = W_EINVAL;
    else if (error == W_SUCCESS && out == NULL)
        error = W_EFAULT;
    else if (error == W_SUCCESS)
        tree_read(process->tree, place.inode, 0, out, values[3].u32, &len);
    return syscall_give(machine, values, error, (uint32_t)len);
}

/* There are no hard links: PostgreSQL renames instead. */
enum machine_next sys_linkat(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    return syscall_give(machine, values, W_EMLINK, 0);
}

enum machine_next sys_umask(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    uint32_t before = process->state->umask;
    process->state->umask = values[0].u32 & 0777;
    return syscall_give(machine, values, W_SUCCESS, before);
}

/* struct statfs of musl on wasm32, 88 bytes: a file system that is half full, whatever the host's. */
enum machine_next sys_statfs(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    uint8_t *p = values[1].u32 < 72 ? NULL : syscall_range(machine, values[2].u32, values[1].u32);
    if (p == NULL)
        return syscall_give(machine, values, W_EFAULT, 0);
    memset(p, 0, values[1].u32);
    u32le_put(p + 4, 4096);
    u64le_put(p + 8, 1000000);
    u64le_put(p + 16, 500000);
    u64le_put(p + 24, 500000);
    u64le_put(p + 32, 100000);
    u64le_put(p + 40, 99999);
    u32le_put(p + 48, 42);
    u32le_put(p + 56, NAME_BYTES_MAX);
    u32le_put(p + 60, 4096);
    u32le_put(p + 64, 2);
    return syscall_give(machine, values, W_SUCCESS, 0);
}

enum machine_next sys_truncate(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    struct tree_place place;
    enum wasi_errno error = find(process, machine, W_AT_FDCWD, values[0].u32, true, &place);
    if (error == W_SUCCESS && tree_inode(process->tree, place.inode)->kind != TREE_FILE)
        error = W_EINVAL;
    if (error == W_SUCCESS)
        error = tree_resize(process->tree, place.inode, values[1].u64, syscall_now(process));
    return syscall_give(machine, values, error, 0);
}
