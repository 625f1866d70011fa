/* The files of one database: a tree in memory whose copies share everything that neither side has written since.
 *
 * Files consist of extents of 8 KiB, which is PostgreSQL's block; what was never written, or only with zeros, takes
 * none. A file is named by its inode number. Every call that can fail returns one of wasi.h's numbers, which are what
 * the guest gets, but for W_HOST_NOMEM.
 *
 * Thread: a tree by one at a time; trees that share by any. */
#ifndef SOREX_PG_TREE_H
#define SOREX_PG_TREE_H

#include "base/codec.h"
#include "pg/names.h"
#include "pg/trie.h"
#include "pg/wasi.h"

#define TREE_EXTENT_BYTES 8192u
#define TREE_ROOT 1u

enum tree_kind {
    TREE_FILE = 1,
    TREE_DIRECTORY,
    TREE_LINK,
    TREE_PIPE,
    TREE_NULL,   /* /dev/null */
    TREE_RANDOM, /* /dev/urandom */
    TREE_TTY,    /* swallows what is written */
};

struct inode {
    struct leaf leaf;
    enum tree_kind kind;
    uint32_t mode;   /* permission bits */
    uint32_t parent; /* inode of the directory that has it */
    uint32_t links;  /* names: 0 or 1 */
    uint32_t opens;  /* open descriptions: without a name it lives as long as these */
    int64_t mtime_ns;
    uint64_t size;       /* of files and pipes; of links: of the target */
    uint64_t read;       /* pipes: up to where it was read */
    struct trie extents; /* files, pipes and the target of links */
    struct names names;  /* directories */
};

/* Changed by tree's functions only. */
struct tree {
    struct trie inodes;
    uint32_t free_from; /* no free inode number below it */
    uint64_t extents;   /* of all files */
    uint64_t extents_max;
};

/* An empty root directory. bytes_max: of all extents; 0 = 8 GiB. Errors: SOREX_NOMEM. */
enum sorex_status tree_init(struct tree *tree, uint64_t bytes_max, struct sorex_error *err);
void tree_deinit(struct tree *tree);
/* Shares everything. out is overwritten. */
void tree_copy(struct tree *out, const struct tree *tree);

/* bytes_max as in tree_init; what is there stays. */
void tree_limit_set(struct tree *tree, uint64_t bytes_max);

/* Borrowed until the tree changes; NULL: no such inode. */
const struct inode *tree_inode(const struct tree *tree, uint32_t inode);

struct tree_place {
    uint32_t inode;                /* 0: there is none of that name */
    uint32_t directory;            /* that has it or would have it */
    char name[NAME_BYTES_MAX + 1]; /* its last name; empty for the root, "." and ".." */
};
/* Finds what a path names, from a directory on. follow: also where the last name is a symbolic link.
 * W_ENOENT with out->directory set: all but the last name are there; otherwise it is 0. */
enum wasi_errno tree_walk(const struct tree *tree, uint32_t from, const char *path, bool follow,
                          struct tree_place *out);
/* The absolute path of a directory. W_ERANGE: does not fit. */
enum wasi_errno tree_path(const struct tree *tree, uint32_t directory, char *out, size_t cap);

/* Makes something with a name, or (directory 0) without one. */
enum wasi_errno tree_make(struct tree *tree, uint32_t directory, const char *name, enum tree_kind kind, uint32_t mode,
                          int64_t now_ns, uint32_t *out);
/* Takes the name away; directories must be empty. */
enum wasi_errno tree_unlink(struct tree *tree, uint32_t directory, const char *name);
/* Replaces what is at the new place, as rename(2). */
enum wasi_errno tree_rename(struct tree *tree, const struct tree_place *from, const struct tree_place *to);

/* Open descriptions that hold it: +1 and -1. */
enum wasi_errno tree_hold(struct tree *tree, uint32_t inode);
enum wasi_errno tree_release(struct tree *tree, uint32_t inode);
enum wasi_errno tree_mode_set(struct tree *tree, uint32_t inode, uint32_t mode);

/* Files, pipes and links. Read stops at the end; *out_len is what was read. */
void tree_read(const struct tree *tree, uint32_t inode, uint64_t offset, uint8_t *out, size_t len, size_t *out_len);
/* W_ENOSPC: bytes_max; nothing was written. */
enum wasi_errno tree_write(struct tree *tree, uint32_t inode, uint64_t offset, struct bytes content, int64_t now_ns);
enum wasi_errno tree_resize(struct tree *tree, uint32_t inode, uint64_t size, int64_t now_ns);
/* Pipes: reads from where the last reader stopped. W_EAGAIN: empty. */
enum wasi_errno tree_pipe_read(struct tree *tree, uint32_t inode, uint8_t *out, size_t len, size_t *out_len);

/* For the host: a file with all directories on its way, content replaced. */
enum sorex_status tree_put(struct tree *tree, const char *path, struct bytes content, uint32_t mode,
                           struct sorex_error *err);
enum sorex_status tree_put_kind(struct tree *tree, const char *path, enum tree_kind kind, uint32_t mode,
                                struct sorex_error *err);
/* Appends the content of a file. Errors: SOREX_GONE no such file. */
enum sorex_status tree_take(const struct tree *tree, const char *path, struct buf *out, struct sorex_error *err);

/* -- as bytes (docs/formats/database-image.md): canonical, equal trees give equal bytes */

typedef enum sorex_status tree_out_fn(void *user_data, struct bytes bytes, struct sorex_error *err);
enum sorex_status tree_encode(const struct tree *tree, tree_out_fn *fn, void *user_data, struct sorex_error *err);
/* Into a tree made by tree_init; takes what belongs to it from the reader. Errors: SOREX_CORRUPT, SOREX_NOMEM. */
enum sorex_status tree_decode(struct tree *tree, struct reader *r, struct sorex_error *err);
/* The same in pieces. An inode without its number and extents: */
enum sorex_status tree_inode_encode(const struct inode *inode, tree_out_fn *fn, void *user_data,
                                    struct sorex_error *err);
/* Errors: also SOREX_CORRUPT when there is one of that number. */
enum sorex_status tree_inode_decode(struct tree *tree, uint32_t inode, struct reader *r, struct sorex_error *err);
/* The content of an extent, of the leaves of an inode's extents; NULL: all zero, as one that is not there. */
const uint8_t *tree_extent_data(const struct leaf *leaf);
/* Errors: SOREX_CORRUPT when there is no such inode or it is not that large. */
enum sorex_status tree_extent_decode(struct tree *tree, uint32_t inode, uint32_t index,
                                     const uint8_t data[TREE_EXTENT_BYTES], struct sorex_error *err);
/* Whether what refers to inodes refers to some. Errors: SOREX_CORRUPT. */
enum sorex_status tree_check(const struct tree *tree, struct sorex_error *err);

/* For decoding. NULL, false: no memory. */
struct inode *tree_inode_put(struct tree *tree, uint32_t inode);
bool tree_extent_put(struct tree *tree, struct inode *inode, uint32_t index, const uint8_t data[TREE_EXTENT_BYTES]);

#endif
