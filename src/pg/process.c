#include "pg/process.h"

#include "base/check.h"

enum sorex_status process_begin(struct process *process, uint64_t time_us, uint64_t seed, struct sorex_error *err)
{
    static const struct {
        const char *path;
        uint32_t flags;
    } standard[] = {{"/dev/null", 0}, {"/dev/tty0", 1}, {"/dev/tty0", 1}};
    struct process_state *state = process->state;
    memset(state, 0, sizeof *state);
    state->clock_ns = time_us * 1000;
    state->monotonic_ns = 1000000000;
    state->random = seed;
    state->directory = TREE_ROOT;
    state->umask = 022;
    for (size_t i = 0; i < 3; i++) {
        struct tree_place place;
        if (tree_walk(process->tree, TREE_ROOT, standard[i].path, true, &place) != W_SUCCESS)
            return sorex_error_set(err, SOREX_INVALID, "files: no %s", standard[i].path);
        if (process_open(process, place.inode, standard[i].flags, 0) != (int32_t)i)
            return sorex_error_set(err, SOREX_NOMEM, "files: out of memory");
    }
    return SOREX_OK;
}

enum sorex_status process_end(struct process *process, struct sorex_error *err)
{
    for (uint32_t fd = 0; fd < PROCESS_FDS_MAX; fd++)
        if (process_file(process, fd) != NULL && process_close(process, fd) != W_SUCCESS)
            return sorex_error_set(err, SOREX_NOMEM, "files: out of memory");
    return SOREX_OK;
}

static int32_t fd_free(const struct process_state *state, uint32_t from)
{
    for (uint32_t fd = from; fd < PROCESS_FDS_MAX; fd++)
        if (state->fds[fd] == 0)
            return (int32_t)fd;
    return -W_EMFILE;
}

int32_t process_open(struct process *process, uint32_t inode, uint32_t flags, uint32_t from)
{
    struct process_state *state = process->state;
    int32_t fd = fd_free(state, from);
    if (fd < 0)
        return fd;
    uint32_t at = 0;
    while (state->files[at].inode != 0)
        at++; /* there are as many as descriptors, and one of these is free */
    enum wasi_errno error = tree_hold(process->tree, inode);
    if (error != W_SUCCESS)
        return -(int32_t)error;
    state->files[at] = (struct open_file){.inode = inode, .flags = flags, .refs = 1};
    state->fds[fd] = (uint16_t)(at + 1);
    return fd;
}

struct open_file *process_file(const struct process *process, uint32_t fd)
{
    struct process_state *state = process->state;
    return fd < PROCESS_FDS_MAX && state->fds[fd] != 0 ? &state->files[state->fds[fd] - 1] : NULL;
}

enum wasi_errno process_close(struct process *process, uint32_t fd)
{
    struct open_file *file = process_file(process, fd);
    if (file == NULL)
        return W_EBADF;
    process->state->fds[fd] = 0;
    if (--file->refs > 0)
        return W_SUCCESS;
    uint32_t inode = file->inode;
    *file = (struct open_file){0};
    return tree_release(process->tree, inode);
}

int32_t process_dup(struct process *process, uint32_t fd, uint32_t from)
{
    struct open_file *file = process_file(process, fd);
    if (file == NULL)
        return -W_EBADF;
    int32_t other = fd_free(process->state, from);
    if (other < 0)
        return other;
    process->state->fds[other] = process->state->fds[fd];
    file->refs++;
    return other;
}

/* splitmix64. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
uint64_t process_random(struct process *process)
{
    uint64_t z = process->state->random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
