/* System calls on descriptors. */
#include "base/check.h"
#include "base/log.h"
#include "pg/syscall.h"

#define DIRENT_BYTES 280u
#define WASM_PAGE 65536u

/* -- reading and writing */

static enum wasi_errno read_some(struct process *process, struct open_file *file, uint8_t *out, size_t len,
                                 uint64_t *position, size_t *out_len)
{
    *out_len = 0;
    switch (tree_inode(process->tree, file->inode)->kind) {
    case TREE_RANDOM:
        for (size_t i = 0; i < len; i++)
            out[i] = (uint8_t)process_random(process);
        *out_len = len;
        return W_SUCCESS;
    case TREE_PIPE:
        return tree_pipe_read(process->tree, file->inode, out, len, out_len);
    case TREE_FILE:
        tree_read(process->tree, file->inode, *position, out, len, out_len);
        *position += *out_len;
        return W_SUCCESS;
    case TREE_DIRECTORY:
        return W_EISDIR;
    case TREE_NULL:
    case TREE_TTY:
    case TREE_LINK:
        break;
    }
    return W_SUCCESS;
}

static enum wasi_errno write_some(struct process *process, struct open_file *file, struct bytes content,
                                  uint64_t *position)
{
    const struct inode *inode = tree_inode(process->tree, file->inode);
    if (inode->kind == TREE_PIPE)
        return tree_write(process->tree, file->inode, inode->size, content, syscall_now(process));
    if (inode->kind == TREE_TTY && log_enabled(LOG_DEBUG))
        log_line(LOG_DEBUG, "postgres", "%.*s", BYTES_FMT(content));
    if (inode->kind != TREE_FILE)
        return W_SUCCESS; /* devices swallow it */
    if ((file->flags & W_O_APPEND) != 0)
        *position = inode->size;
    enum wasi_errno error = tree_write(process->tree, file->inode, *position, content, syscall_now(process));
    if (error == W_SUCCESS)
        *position += content.len;
    return error;
}

struct transfer {
    uint32_t fd, vectors, count, out; /* as the guest gave them */
    bool writes;
    uint64_t *position; /* NULL: the file's own */
};

static enum wasi_errno transfer_run(struct process *process, const struct machine *machine, const struct transfer *t)
{
    struct open_file *file = process_file(process, t->fd);
    const uint8_t *vectors = syscall_range(machine, t->vectors, (uint64_t)8 * t->count);
    uint32_t total = 0;
    if (file == NULL)
        return W_EBADF;
    if (vectors == NULL)
        return W_EFAULT;
    uint64_t *position = t->position != NULL ? t->position : &file->position;
    for (uint32_t i = 0; i < t->count; i++) {
        size_t len = u32le_get(vectors + 8 * i + 4), done = len;
        uint8_t *data = syscall_range(machine, u32le_get(vectors + 8 * i), len);
        if (data == NULL)
            return W_EFAULT;
        if (len == 0)
            continue;
        enum wasi_errno error = t->writes ? write_some(process, file, bytes_of(data, len), position)
                                          : read_some(process, file, data, len, position, &done);
        if (error != W_SUCCESS && total == 0)
            return error;
        if (error != W_SUCCESS)
            break;
        total += (uint32_t)done;
        if (done < len)
            break;
    }
    return syscall_put_u32(machine, t->out, total) ? W_SUCCESS : W_EFAULT;
}

static enum machine_next transfer(struct process *process, struct machine *machine, union wasm_value *values,
                                  bool writes)
{
    struct transfer t = {values[0].u32, values[1].u32, values[2].u32, values[3].u32, writes, NULL};
    return syscall_errno(machine, values, transfer_run(process, machine, &t));
}

static enum machine_next transfer_at(struct process *process, struct machine *machine, union wasm_value *values,
                                     bool writes)
{
    uint64_t position = values[3].u64;
    struct transfer t = {values[0].u32, values[1].u32, values[2].u32, values[4].u32, writes, &position};
    return syscall_errno(machine, values, transfer_run(process, machine, &t));
}

enum machine_next sys_fd_read(void *user_data, struct machine *machine, union wasm_value *values)
{
    return transfer(user_data, machine, values, false);
}

enum machine_next sys_fd_write(void *user_data, struct machine *machine, union wasm_value *values)
{
    return transfer(user_data, machine, values, true);
}

enum machine_next sys_fd_pread(void *user_data, struct machine *machine, union wasm_value *values)
{
    return transfer_at(user_data, machine, values, false);
}

enum machine_next sys_fd_pwrite(void *user_data, struct machine *machine, union wasm_value *values)
{
    return transfer_at(user_data, machine, values, true);
}

/* -- descriptors */

static enum wasi_errno seek(struct process *process, const struct machine *machine, const union wasm_value *values)
{
    struct open_file *file = process_file(process, values[0].u32);
    uint8_t *out = syscall_range(machine, values[3].u32, 8);
    if (file == NULL)
        return W_EBADF;
    const struct inode *inode = tree_inode(process->tree, file->inode);
    if (inode->kind != TREE_FILE && inode->kind != TREE_DIRECTORY && inode->kind != TREE_NULL)
        return W_ESPIPE;
    uint64_t base = values[2].u32 == 1 ? file->position : values[2].u32 == 2 ? inode->size : 0;
    int64_t position = (int64_t)(base + values[1].u64);
    if (values[2].u32 > 2 || position < 0)
        return W_EINVAL;
    if (out == NULL)
        return W_EFAULT;
    file->position = (uint64_t)position;
    u64le_put(out, file->position);
    return W_SUCCESS;
}

enum machine_next sys_fd_seek(void *user_data, struct machine *machine, union wasm_value *values)
{
    return syscall_errno(machine, values, seek(user_data, machine, values));
}

enum machine_next sys_fd_sync(void *user_data, struct machine *machine, union wasm_value *values)
{
    bool open = process_file(user_data, values[0].u32) != NULL;
    return syscall_errno(machine, values, open ? W_SUCCESS : W_EBADF);
}

enum machine_next sys_fdatasync(void *user_data, struct machine *machine, union wasm_value *values)
{
    bool open = process_file(user_data, values[0].u32) != NULL;
    return syscall_give(machine, values, open ? W_SUCCESS : W_EBADF, 0);
}

enum machine_next sys_fd_close(void *user_data, struct machine *machine, union wasm_value *values)
{
    return syscall_errno(machine, values, process_close(user_data, values[0].u32));
}

/* 24 bytes; file type: 2 character device, 3 directory, 4 regular file. */
enum machine_next sys_fdstat(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    const struct open_file *file = process_file(process, values[0].u32);
    uint8_t *p = syscall_range(machine, values[1].u32, 24);
    if (file == NULL || p == NULL)
        return syscall_errno(machine, values, file == NULL ? W_EBADF : W_EFAULT);
    enum tree_kind kind = tree_inode(process->tree, file->inode)->kind;
    memset(p, 0, 24);
    p[0] = kind == TREE_DIRECTORY ? 3 : kind == TREE_FILE || kind == TREE_PIPE ? 4 : 2;
    return syscall_errno(machine, values, W_SUCCESS);
}

enum machine_next sys_fstat(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct open_file *file = process_file(user_data, values[0].u32);
    enum wasi_errno error = file == NULL ? W_EBADF : syscall_stat(user_data, machine, file->inode, values[1].u32);
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_fchmod(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    const struct open_file *file = process_file(process, values[0].u32);
    enum wasi_errno error = file == NULL ? W_EBADF : tree_mode_set(process->tree, file->inode, values[1].u32 & 07777);
    return syscall_give(machine, values, error, 0);
}

enum machine_next sys_ftruncate(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    const struct open_file *file = process_file(process, values[0].u32);
    enum wasi_errno error = file == NULL ? W_EBADF : W_SUCCESS;
    if (file != NULL && tree_inode(process->tree, file->inode)->kind != TREE_FILE)
        error = W_EINVAL;
    if (error == W_SUCCESS)
        error = tree_resize(process->tree, file->inode, values[1].u64, syscall_now(process));
    return syscall_give(machine, values, error, 0);
}

/* Mode 0 only. Files are sparse, so that it is a matter of the size. */
enum machine_next sys_fallocate(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    const struct open_file *file = process_file(process, values[0].u32);
    uint64_t end = values[2].u64 + values[3].u64;
    enum wasi_errno error = file == NULL ? W_EBADF : W_SUCCESS;
    if (error == W_SUCCESS && values[1].u32 != 0)
        error = W_EOPNOTSUPP;
    if (error == W_SUCCESS && (tree_inode(process->tree, file->inode)->kind != TREE_FILE || end < values[2].u64))
        error = W_EINVAL;
    if (error == W_SUCCESS && end > tree_inode(process->tree, file->inode)->size)
        error = tree_resize(process->tree, file->inode, end, syscall_now(process));
    return syscall_give(machine, values, error, 0);
}

static enum machine_next give_fd(struct machine *machine, union wasm_value *values, int32_t fd)
{
    return syscall_give(machine, values, fd < 0 ? (enum wasi_errno)(-fd) : W_SUCCESS, (uint32_t)fd);
}

enum machine_next sys_dup(void *user_data, struct machine *machine, union wasm_value *values)
{
    return give_fd(machine, values, process_dup(user_data, values[0].u32, 0));
}

enum machine_next sys_dup3(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    uint32_t from = values[0].u32, to = values[1].u32;
    enum wasi_errno error = process_file(process, from) == NULL || to >= PROCESS_FDS_MAX ? W_EBADF : W_SUCCESS;
    if (error == W_SUCCESS && from == to)
        error = W_EINVAL;
    if (error == W_SUCCESS && process_file(process, to) != NULL)
        error = process_close(process, to);
    return error != W_SUCCESS ? syscall_give(machine, values, error, 0)
                              : give_fd(machine, values, process_dup(process, from, to));
}

/* Commands of musl: 0 dup, 1 and 2 close-on-exec, 3 and 4 flags, 12 to 14 locks, which nobody else could hold. */
enum machine_next sys_fcntl(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    struct open_file *file = process_file(process, values[0].u32);
    const uint8_t *arg = values[2].u32 == 0 ? NULL : syscall_range(machine, values[2].u32, 4);
    uint32_t value = arg == NULL ? 0 : u32le_get(arg);
    if (file == NULL)
        return syscall_give(machine, values, W_EBADF, 0);
    switch (values[1].u32) {
    case 0:
        return give_fd(machine, values, process_dup(process, values[0].u32, value));
    case 1:
    case 2:
    case 13:
    case 14:
        return syscall_give(machine, values, W_SUCCESS, 0);
    case 3:
        return syscall_give(machine, values, W_SUCCESS, file->flags);
    case 4:
        file->flags = (file->flags & ~W_O_SETTABLE) | (value & W_O_SETTABLE);
        return syscall_give(machine, values, W_SUCCESS, 0);
    case 12: {
        uint8_t *lock = syscall_range(machine, value, 2);
        if (lock != NULL)
            u16le_put(lock, 2); /* F_UNLCK */
        return syscall_give(machine, values, lock == NULL ? W_EFAULT : W_SUCCESS, 0);
    }
    default:
        return syscall_give(machine, values, W_EINVAL, 0);
    }
}

enum machine_next sys_ioctl(void *user_data, struct machine *machine, union wasm_value *values)
{
    bool open = process_file(user_data, values[0].u32) != NULL;
    return syscall_give(machine, values, open ? W_ENOTTY : W_EBADF, 0);
}

/* -- directories */

/* struct dirent of musl: ino 0, off 8, record length 16, type 18, name 19; always 280 bytes. */
static void dirent_put(uint8_t *p, uint64_t inode, uint64_t offset, enum tree_kind kind, struct bytes name)
{
    static const uint8_t types[] = {0, 8, 4, 10, 1, 2, 2, 2};
    memset(p, 0, DIRENT_BYTES);
    u64le_put(p, inode);
    u64le_put(p + 8, offset);
    u16le_put(p + 16, DIRENT_BYTES);
    p[18] = types[kind];
    memcpy(p + 19, name.data, name.len);
}

/* Position 0 is ".", 1 is "..", n + 2 what comes behind the name with number n. */
enum machine_next sys_getdents(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    struct open_file *file = process_file(process, values[0].u32);
    uint8_t *out = syscall_range(machine, values[1].u32, values[2].u32);
    if (file == NULL || out == NULL)
        return syscall_give(machine, values, file == NULL ? W_EBADF : W_EFAULT, 0);
    const struct inode *directory = tree_inode(process->tree, file->inode);
    if (directory->kind != TREE_DIRECTORY)
        return syscall_give(machine, values, W_ENOTDIR, 0);
    uint32_t len = 0;
    for (; values[2].u32 - len >= DIRENT_BYTES; len += DIRENT_BYTES) {
        if (file->position < 2) {
            bool self = file->position++ == 0;
            dirent_put(out + len, self ? file->inode : directory->parent, file->position, TREE_DIRECTORY,
                       bytes_str(self ? "." : ".."));
            continue;
        }
        const struct name *name = names_next(&directory->names, (uint32_t)(file->position - 2));
        if (name == NULL)
            break;
        file->position = (uint64_t)name->number + 2;
        dirent_put(out + len, name->inode, file->position, tree_inode(process->tree, name->inode)->kind,
                   name_text(&directory->names, name));
    }
    return syscall_give(machine, values, W_SUCCESS, len);
}

/* -- pipes and poll */

enum machine_next sys_pipe(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    uint32_t inode, flags = values[1].u32 & W_O_NONBLOCK;
    uint8_t *out = syscall_range(machine, values[0].u32, 8);
    if (out == NULL)
        return syscall_give(machine, values, W_EFAULT, 0);
    enum wasi_errno error = tree_make(process->tree, 0, NULL, TREE_PIPE, 0600, syscall_now(process), &inode);
    if (error != W_SUCCESS)
        return syscall_give(machine, values, error, 0);
    int32_t reader = process_open(process, inode, flags, 0);
    int32_t writer = reader < 0 ? reader : process_open(process, inode, flags | 1, 0);
    if (writer < 0) {
        if (reader >= 0)
            error = process_close(process, (uint32_t)reader);
        return error != W_SUCCESS ? syscall_give(machine, values, error, 0) : give_fd(machine, values, writer);
    }
    u32le_put(out, (uint32_t)reader);
    u32le_put(out + 4, (uint32_t)writer);
    return syscall_give(machine, values, W_SUCCESS, 0);
}

/* Never waits: nobody else could make anything happen. Events: 1 readable, 4 writable, 32 not open. */
enum machine_next sys_poll(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    uint32_t count = values[1].u32, ready = 0;
    uint8_t *p = syscall_range(machine, values[0].u32, (uint64_t)8 * count);
    if (p == NULL)
        return syscall_give(machine, values, W_EFAULT, 0);
    for (uint32_t i = 0; i < count; i++, p += 8) {
        const struct open_file *file = process_file(process, u32le_get(p));
        const struct inode *inode = file == NULL ? NULL : tree_inode(process->tree, file->inode);
        uint16_t events = inode == NULL ? 32 : u16le_get(p + 4) & 5;
        if (inode != NULL && inode->kind == TREE_PIPE && inode->size == inode->read)
            events &= 4;
        u16le_put(p + 6, events);
        ready += events != 0;
    }
    return syscall_give(machine, values, W_SUCCESS, ready);
}

/* -- mapping: a copy of the file in memory of the guest's own */

enum machine_next sys_mmap(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    const struct open_file *file = process_file(process, values[3].u32);
    uint32_t len = values[0].u32, place = 0;
    uint64_t offset = values[4].u64;
    size_t got;
    if (file == NULL || len > INT32_MAX || tree_inode(process->tree, file->inode)->kind != TREE_FILE)
        return syscall_give(machine, values, file == NULL ? W_EBADF : W_EINVAL, 0);
    uint32_t rounded = (len + WASM_PAGE - 1) / WASM_PAGE * WASM_PAGE;
    enum machine_next next = syscall_alloc(machine, WASM_PAGE, rounded, &place);
    if (next != MACHINE_GO)
        return next;
    if (place == 0)
        return syscall_give(machine, values, W_ENOMEM, 0);
    tree_read(process->tree, file->inode, offset, syscall_range(machine, place, rounded), len, &got);
    bool ok = syscall_put_u32(machine, values[5].u32, 1) && syscall_put_u32(machine, values[6].u32, place);
    return syscall_give(machine, values, ok ? W_SUCCESS : W_EFAULT, 0);
}

/* A shared writable mapping goes back into its file. */
enum machine_next sys_munmap(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    const struct open_file *file = process_file(process, values[4].u32);
    const uint8_t *data = syscall_range(machine, values[0].u32, values[1].u32);
    enum wasi_errno error = file == NULL ? W_EBADF : data == NULL ? W_EFAULT : W_SUCCESS;
    bool shared = (values[2].u32 & 2) != 0 && (values[3].u32 & 2) == 0;
    if (error == W_SUCCESS && shared && tree_inode(process->tree, file->inode)->kind == TREE_FILE)
        error =
            tree_write(process->tree, file->inode, values[5].u64, bytes_of(data, values[1].u32), syscall_now(process));
    return syscall_give(machine, values, error, 0);
}
