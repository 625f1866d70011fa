/* Numbers of the guest's C library: errno as WASI has them, open flags and modes as Emscripten (musl) has them. */
#ifndef SOREX_PG_WASI_H
#define SOREX_PG_WASI_H

enum wasi_errno {
    W_SUCCESS = 0,
    W_EACCES = 2,
    W_EAFNOSUPPORT = 5,
    W_EAGAIN = 6,
    W_EBADF = 8,
    W_EEXIST = 20,
    W_EFAULT = 21,
    W_EINVAL = 28,
    W_EISDIR = 31,
    W_ELOOP = 32,
    W_EMFILE = 33,
    W_EMLINK = 34,
    W_ENAMETOOLONG = 37,
    W_ENOENT = 44,
    W_ENOMEM = 48,
    W_ENOSPC = 51,
    W_ENOTDIR = 54,
    W_ENOTEMPTY = 55,
    W_ENOTSOCK = 57,
    W_ENOTTY = 59,
    W_ERANGE = 68,
    W_ESPIPE = 70,
    W_EOPNOTSUPP = 138,
    W_HOST_NOMEM = 1000, /* never shown to the guest: the host has no memory, and the machine fails */
};

#define W_O_ACCMODE 3u
#define W_O_CREAT 0100u
#define W_O_EXCL 0200u
#define W_O_TRUNC 01000u
#define W_O_APPEND 02000u
#define W_O_NONBLOCK 04000u
#define W_O_DIRECTORY 0200000u
#define W_O_NOFOLLOW 0400000u
#define W_O_SETTABLE 0x46c00u /* what fcntl(F_SETFL) changes: append, nonblock, async, direct, noatime */

#define W_AT_FDCWD (-100)
#define W_AT_SYMLINK_NOFOLLOW 0x100u
#define W_AT_REMOVEDIR 0x200u
#define W_AT_EMPTY_PATH 0x1000u

#define W_S_IFIFO 0010000u
#define W_S_IFCHR 0020000u
#define W_S_IFDIR 0040000u
#define W_S_IFREG 0100000u
#define W_S_IFLNK 0120000u

#endif
