/* The Unix process that the guest believes to be: open files, current directory, clock, random numbers. Everything that
 * changes is in its state, which is plain bytes, and in the tree, so that both can be saved and put back.
 *
 * Thread: one at a time. */
#ifndef SOREX_PG_PROCESS_H
#define SOREX_PG_PROCESS_H

#include "pg/tree.h"
#include "wasm/machine.h"

#define PROCESS_FDS_MAX 1024u

struct open_file {
    uint32_t inode; /* 0: free */
    uint32_t flags; /* of open(2) */
    uint32_t refs;  /* descriptors */
    uint32_t unused;
    uint64_t position; /* of directories: the number of the last name that was read, plus 2 */
};

struct process_state {
    uint64_t clock_ns;     /* time of day; every look at it is a microsecond later */
    uint64_t monotonic_ns; /* the same for the other clock */
    uint64_t random;       /* of splitmix64 */
    uint32_t directory;    /* the current one */
    uint32_t umask;
    struct open_file files[PROCESS_FDS_MAX];
    uint16_t fds[PROCESS_FDS_MAX]; /* 0: closed; else a place in files, plus 1 */
};

struct process;
struct postgres;

/* What a process asks of whoever runs it. */
struct process_host {
    /* dlopen: a library's handle lies at `handle`. False: it could not be loaded. */
    enum machine_next (*library_open)(struct process *process, struct machine *machine, uint32_t handle, bool *out_ok);
    enum machine_next (*library_symbol)(struct process *process, struct machine *machine, uint32_t handle,
                                        const char *name, uint32_t *out);
};

struct process {
    struct tree *tree;               /* may be shared with another process that runs in turn */
    const char *const *environment;  /* "NAME=VALUE", NULL at the end; borrowed */
    const struct process_host *host; /* NULL: no libraries */
    struct process_state *state;
    int32_t exit_code;
    void *owner;               /* whoever runs it */
    struct postgres *postgres; /* for libraries */
};

/* The state of a process that just began: descriptors 0 (/dev/null), 1 and 2 (/dev/tty0), which the tree must have.
 * time_us: since 1970. Errors: SOREX_NOMEM; SOREX_INVALID the tree lacks them. */
enum sorex_status process_begin(struct process *process, uint64_t time_us, uint64_t seed, struct sorex_error *err);

/* Closes what is open. Errors: SOREX_NOMEM. */
enum sorex_status process_end(struct process *process, struct sorex_error *err);

/* All host functions; user_data of the machine is the process. */
extern const struct machine_import process_imports[];
extern const size_t process_imports_count;

/* The exports that these functions call, which every main module lists first. */
enum process_export { PROCESS_MALLOC, PROCESS_MEMALIGN, PROCESS_EXPORTS };
/* For initialisers of export lists. */
#define PROCESS_EXPORT_LIST {"malloc", "(i32) -> i32"}, {"emscripten_builtin_memalign", "(i32, i32) -> i32"}

/* -- for system calls */

/* Descriptor or -W_EMFILE, -W_HOST_NOMEM. */
int32_t process_open(struct process *process, uint32_t inode, uint32_t flags, uint32_t from);
enum wasi_errno process_close(struct process *process, uint32_t fd);
/* Another descriptor of the same file, the first free one from `from` on. */
int32_t process_dup(struct process *process, uint32_t fd, uint32_t from);
/* NULL: not open. */
struct open_file *process_file(const struct process *process, uint32_t fd);
uint64_t process_random(struct process *process);

#endif
