/* The host functions of a process, one row each, and what their files share. Included by nothing outside syscall*.c.
 *
 * Numbers and layouts are those of Emscripten's C library (musl) on wasm32: "env.__syscall_X" returns a result or a
 * negative errno, "wasi_snapshot_preview1.X" an errno. No pointer of the guest is trusted. */
#ifndef SOREX_PG_SYSCALL_H
#define SOREX_PG_SYSCALL_H

#include "base/codec.h"
#include "pg/process.h"

#define WASI "wasi_snapshot_preview1"
#define I1 "(i32)"
#define I2 "(i32, i32)"
#define I3 "(i32, i32, i32)"
#define I4 "(i32, i32, i32, i32)"
#define I5 "(i32, i32, i32, i32, i32)"
#define I6 "(i32, i32, i32, i32, i32, i32)"
#define TO_I32 " -> i32"

/* X(module, name, type, function) */
#define SYSCALL_LIST(X)                                                                                                \
    /* syscall_path.c */                                                                                               \
    X("env", "__syscall_openat", I4 TO_I32, sys_openat)                                                                \
    X("env", "__syscall_stat64", I2 TO_I32, sys_stat)                                                                  \
    X("env", "__syscall_lstat64", I2 TO_I32, sys_lstat)                                                                \
    X("env", "__syscall_newfstatat", I4 TO_I32, sys_fstatat)                                                           \
    X("env", "__syscall_faccessat", I4 TO_I32, sys_faccessat)                                                          \
    X("env", "__syscall_chdir", I1 TO_I32, sys_chdir)                                                                  \
    X("env", "__syscall_getcwd", I2 TO_I32, sys_getcwd)                                                                \
    X("env", "__syscall_chmod", I2 TO_I32, sys_chmod)                                                                  \
    X("env", "__syscall_fchmodat2", I4 TO_I32, sys_fchmodat)                                                           \
    X("env", "__syscall_fchownat", I5 TO_I32, sys_nothing)                                                             \
    X("env", "__syscall_utimensat", I4 TO_I32, sys_nothing)                                                            \
    X("env", "__syscall_mkdirat", I3 TO_I32, sys_mkdirat)                                                              \
    X("env", "__syscall_unlinkat", I3 TO_I32, sys_unlinkat)                                                            \
    X("env", "__syscall_rmdir", I1 TO_I32, sys_rmdir)                                                                  \
    X("env", "__syscall_renameat", I4 TO_I32, sys_renameat)                                                            \
    X("env", "__syscall_symlinkat", I3 TO_I32, sys_symlinkat)                                                          \
    X("env", "__syscall_readlinkat", I4 TO_I32, sys_readlinkat)                                                        \
    X("env", "__syscall_linkat", I5 TO_I32, sys_linkat)                                                                \
    X("env", "__syscall_umask", I1 TO_I32, sys_umask)                                                                  \
    X("env", "__syscall_statfs64", I3 TO_I32, sys_statfs)                                                              \
    X("env", "__syscall_truncate64", "(i32, i64) -> i32", sys_truncate)                                                \
    /* syscall_file.c */                                                                                               \
    X(WASI, "fd_read", I4 TO_I32, sys_fd_read)                                                                         \
    X(WASI, "fd_write", I4 TO_I32, sys_fd_write)                                                                       \
    X(WASI, "fd_pread", "(i32, i32, i32, i64, i32) -> i32", sys_fd_pread)                                              \
    X(WASI, "fd_pwrite", "(i32, i32, i32, i64, i32) -> i32", sys_fd_pwrite)                                            \
    X(WASI, "fd_seek", "(i32, i64, i32, i32) -> i32", sys_fd_seek)                                                     \
    X(WASI, "fd_sync", I1 TO_I32, sys_fd_sync)                                                                         \
    X(WASI, "fd_close", I1 TO_I32, sys_fd_close)                                                                       \
    X(WASI, "fd_fdstat_get", I2 TO_I32, sys_fdstat)                                                                    \
    X("env", "__syscall_fstat64", I2 TO_I32, sys_fstat)                                                                \
    X("env", "__syscall_fchmod", I2 TO_I32, sys_fchmod)                                                                \
    X("env", "__syscall_fchown32", I3 TO_I32, sys_nothing)                                                             \
    X("env", "__syscall_fdatasync", I1 TO_I32, sys_fdatasync)                                                          \
    X("env", "__syscall_ftruncate64", "(i32, i64) -> i32", sys_ftruncate)                                              \
    X("env", "__syscall_fallocate", "(i32, i32, i64, i64) -> i32", sys_fallocate)                                      \
    X("env", "__syscall_fadvise64", "(i32, i64, i64, i32) -> i32", sys_nothing)                                        \
    X("env", "__syscall_dup", I1 TO_I32, sys_dup)                                                                      \
    X("env", "__syscall_dup3", I3 TO_I32, sys_dup3)                                                                    \
    X("env", "__syscall_fcntl64", I3 TO_I32, sys_fcntl)                                                                \
    X("env", "__syscall_ioctl", I3 TO_I32, sys_ioctl)                                                                  \
    X("env", "__syscall_getdents64", I3 TO_I32, sys_getdents)                                                          \
    X("env", "__syscall_pipe2", I2 TO_I32, sys_pipe)                                                                   \
    X("env", "__syscall_poll", I3 TO_I32, sys_poll)                                                                    \
    X("env", "_mmap_js", "(i32, i32, i32, i32, i64, i32, i32) -> i32", sys_mmap)                                       \
    X("env", "_munmap_js", "(i32, i32, i32, i32, i32, i64) -> i32", sys_munmap)                                        \
    /* syscall_system.c */                                                                                             \
    X("env", "exit", I1 " ->", sys_exit)                                                                               \
    X(WASI, "proc_exit", I1 " ->", sys_exit)                                                                           \
    X("env", "_abort_js", "() ->", sys_abort)                                                                          \
    X("env", "__assert_fail", I4 " ->", sys_assert)                                                                    \
    X("env", "_emscripten_runtime_keepalive_clear", "() ->", sys_void)                                                 \
    X("env", "__call_sighandler", I2 " ->", sys_sighandler)                                                            \
    X(WASI, "environ_sizes_get", I2 TO_I32, sys_environ_sizes)                                                         \
    X(WASI, "environ_get", I2 TO_I32, sys_environ)                                                                     \
    X(WASI, "random_get", I2 TO_I32, sys_random)                                                                       \
    X(WASI, "clock_time_get", "(i32, i64, i32) -> i32", sys_clock)                                                     \
    X("env", "emscripten_date_now", "() -> f64", sys_date_now)                                                         \
    X("env", "emscripten_get_now", "() -> f64", sys_get_now)                                                           \
    X("env", "_gmtime_js", "(i64, i32) -> i32", sys_gmtime)                                                                \
    X("env", "_localtime_js", "(i64, i32) -> i32", sys_localtime)                                                          \
    X("env", "_mktime_js", "(i32) -> i64", sys_mktime)                                                                 \
    X("env", "_tzset_js", I4 " ->", sys_tzset)                                                                         \
    X("env", "_setitimer_js", "(i32, f64) -> i32", sys_nothing)                                                        \
    X("env", "__syscall_getuid32", "() -> i32", sys_nothing)                                                           \
    X("env", "__syscall_geteuid32", "() -> i32", sys_nothing)                                                          \
    X("env", "__syscall_getgid32", "() -> i32", sys_nothing)                                                           \
    X("env", "__syscall_getegid32", "() -> i32", sys_nothing)                                                          \
    X("env", "emscripten_get_heap_max", "() -> i32", sys_heap_max)                                                     \
    X("env", "emscripten_resize_heap", I1 TO_I32, sys_resize_heap)                                                     \
    X("env", "_dlopen_js", I1 TO_I32, sys_dlopen)                                                                      \
    X("env", "_dlsym_js", I3 TO_I32, sys_dlsym)                                                                        \
    X("env", "getTempRet0", "() -> i32", sys_tempret_get)                                                              \
    X("env", "setTempRet0", "(i32) ->", sys_tempret_set)                                                               \
    /* syscall_net.c */                                                                                                \
    X("env", "__syscall_socket", I6 TO_I32, sys_socket)                                                                \
    X("env", "__syscall_accept4", I6 TO_I32, sys_not_socket)                                                           \
    X("env", "__syscall_bind", I6 TO_I32, sys_not_socket)                                                              \
    X("env", "__syscall_connect", I6 TO_I32, sys_not_socket)                                                           \
    X("env", "__syscall_listen", I6 TO_I32, sys_not_socket)                                                            \
    X("env", "__syscall_recvfrom", I6 TO_I32, sys_not_socket)                                                          \
    X("env", "__syscall_sendto", I6 TO_I32, sys_not_socket)                                                            \
    X("env", "getaddrinfo", I4 TO_I32, sys_getaddrinfo)                                                                \
    X("env", "getnameinfo", "(i32, i32, i32, i32, i32, i32, i32) -> i32", sys_getnameinfo)

#define SYSCALL_DECLARE(module, name, type, fn) machine_import_fn fn;
SYSCALL_LIST(SYSCALL_DECLARE)
#undef SYSCALL_DECLARE

/* -- what they share: syscall.c */

/* Ends a call of "__syscall_X": result, or an errno. */
enum machine_next syscall_give(struct machine *machine, union wasm_value *values, enum wasi_errno error,
                               uint32_t result);
/* Ends a call of "wasi_snapshot_preview1.X". */
enum machine_next syscall_errno(struct machine *machine, union wasm_value *values, enum wasi_errno error);
/* NULL when a byte of it is outside of the guest's memory. Valid until the guest runs. */
uint8_t *syscall_range(const struct machine *machine, uint32_t at, uint64_t len);
/* A NUL-terminated text; NULL when it does not end. */
const char *syscall_text(const struct machine *machine, uint32_t at);
/* False when it is outside. */
bool syscall_put_u32(const struct machine *machine, uint32_t at, uint32_t value);
/* struct stat. */
enum wasi_errno syscall_stat(const struct process *process, const struct machine *machine, uint32_t inode, uint32_t at);
/* Memory of the guest, from its own allocator, zeroed. */
enum machine_next syscall_alloc(struct machine *machine, uint32_t align, uint32_t len, uint32_t *out);
int64_t syscall_now(const struct process *process);

#endif
