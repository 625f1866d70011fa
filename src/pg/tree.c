/* Inodes live in a trie by number, extents in a trie of each file. A change makes the inode, and below it the extent,
 * the tree's own: that copies a path of the trie when a copy of the tree shares it. */
#include "pg/tree.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

#define BYTES_MAX_DEFAULT ((uint64_t)8 << 30)
#define SIZE_MAX_BYTES ((uint64_t)TREE_EXTENT_BYTES << 31)
#define LINKS_FOLLOWED_MAX 16
#define PATH_BYTES_MAX 4096

struct extent {
    struct leaf leaf;
    uint8_t data[TREE_EXTENT_BYTES];
};

/* -- leaves */

static struct leaf *extent_copy(const struct leaf *leaf)
{
    struct extent *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    memcpy(copy->data, ((const struct extent *)leaf)->data, sizeof copy->data);
    atomic_init(&copy->leaf.refs, 1);
    return &copy->leaf;
}

static void extent_free(struct leaf *leaf) { free(leaf); }

static const struct leaf_type extent_type = {extent_copy, extent_free};

static struct leaf *inode_copy(const struct leaf *leaf)
{
    const struct inode *inode = (const struct inode *)leaf;
    struct inode *copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = (struct inode){.kind = inode->kind, /* all but the count of references, which others change meanwhile */
                           .mode = inode->mode,
                           .parent = inode->parent,
                           .links = inode->links,
                           .opens = inode->opens,
                           .mtime_ns = inode->mtime_ns,
                           .size = inode->size,
                           .read = inode->read};
    if (!names_copy(&copy->names, &inode->names)) {
        free(copy);
        return NULL;
    }
    trie_copy(&copy->extents, &inode->extents);
    atomic_init(&copy->leaf.refs, 1);
    return &copy->leaf;
}

static void inode_free(struct leaf *leaf)
{
    struct inode *inode = (struct inode *)leaf;
    trie_clear(&inode->extents);
    names_deinit(&inode->names);
    free(inode);
}

static const struct leaf_type inode_type = {inode_copy, inode_free};

/* -- inodes */

const struct inode *tree_inode(const struct tree *tree, uint32_t inode)
{
    return (const struct inode *)trie_get(&tree->inodes, inode);
}

/* NULL only when the host has no memory: the inode must be there. */
static struct inode *own(struct tree *tree, uint32_t number)
{
    bool nomem;
    struct inode *inode = (struct inode *)trie_own(&tree->inodes, number, &nomem);
    CHECK(inode != NULL || nomem);
    return inode;
}

static uint64_t extents_of(uint64_t size) { return (size + TREE_EXTENT_BYTES - 1) / TREE_EXTENT_BYTES; }

static enum sorex_status extent_count(void *user_data, uint32_t index, const struct leaf *leaf, struct sorex_error *err)
{
    (void)index;
    (void)leaf;
    (void)err;
    ++*(uint64_t *)user_data;
    return SOREX_OK;
}

static uint64_t extents_held(const struct inode *inode)
{
    uint64_t count = 0;
    (void)trie_visit(&inode->extents, extent_count, &count, NULL);
    return count;
}

/* Frees an inode that has neither a name nor an open description. */
static enum wasi_errno reap(struct tree *tree, uint32_t number)
{
    const struct inode *inode = tree_inode(tree, number);
    if (inode->links > 0 || inode->opens > 0)
        return W_SUCCESS;
    uint64_t held = extents_held(inode);
    if (!trie_put(&tree->inodes, number, NULL))
        return W_HOST_NOMEM;
    tree->extents -= held;
    if (number < tree->free_from)
        tree->free_from = number;
    return W_SUCCESS;
}

void tree_limit_set(struct tree *tree, uint64_t bytes_max)
{
    tree->extents_max = (bytes_max == 0 ? BYTES_MAX_DEFAULT : bytes_max) / TREE_EXTENT_BYTES;
}

enum sorex_status tree_init(struct tree *tree, uint64_t bytes_max, struct sorex_error *err)
{
    uint32_t root;
    *tree = (struct tree){.inodes.type = &inode_type, .free_from = TREE_ROOT};
    tree_limit_set(tree, bytes_max);
    if (tree_make(tree, 0, NULL, TREE_DIRECTORY, 0777, 0, &root) != W_SUCCESS)
        return sorex_error_set(err, SOREX_NOMEM, "files: out of memory");
    struct inode *inode = own(tree, root);
    inode->parent = root;
    inode->links = 1;
    return SOREX_OK;
}

void tree_deinit(struct tree *tree) { trie_clear(&tree->inodes); }

void tree_copy(struct tree *out, const struct tree *tree)
{
    struct tree copy = *tree;
    trie_copy(&copy.inodes, &tree->inodes);
    *out = copy;
}

/* -- paths */

struct walk {
    const struct tree *tree;
    struct tree_place *out;
    uint32_t links;
    char path[PATH_BYTES_MAX]; /* what is left of it, behind `at` */
    char *at;
};

/* Puts the link's target in front of what is left. */
static enum wasi_errno link_follow(struct walk *walk, uint32_t number)
{
    char rest[PATH_BYTES_MAX];
    size_t len;
    const struct inode *inode = tree_inode(walk->tree, number);
    if (++walk->links > LINKS_FOLLOWED_MAX)
        return W_ELOOP;
    size_t rest_len = strlen(walk->at);
    if (inode->size + 1 + rest_len + 1 > PATH_BYTES_MAX)
        return W_ENAMETOOLONG;
    memcpy(rest, walk->at, rest_len + 1);
    tree_read(walk->tree, number, 0, (uint8_t *)walk->path, inode->size, &len);
    walk->path[len] = '/';
    memcpy(walk->path + len + 1, rest, rest_len + 1);
    walk->at = walk->path;
    return W_SUCCESS;
}

/* Takes one name; *current is where it is looked up, then what it names (0: nothing). */
static enum wasi_errno walk_step(struct walk *walk, uint32_t *current, bool follow)
{
    size_t len = strcspn(walk->at, "/");
    struct bytes name = bytes_of(walk->at, len);
    const struct inode *directory = tree_inode(walk->tree, *current);
    walk->at += len;
    bool last = walk->at[strspn(walk->at, "/")] == '\0';
    if (directory->kind != TREE_DIRECTORY)
        return W_ENOTDIR;
    if (name.len > NAME_BYTES_MAX)
        return W_ENAMETOOLONG;
    walk->out->name[0] = '\0';
    walk->out->directory = *current;
    if (bytes_is(name, "."))
        return W_SUCCESS;
    if (bytes_is(name, "..")) {
        *current = directory->parent;
        return W_SUCCESS;
    }
    memcpy(walk->out->name, name.data, len);
    walk->out->name[len] = '\0';
    const struct name *found = names_find(&directory->names, name);
    if (found == NULL) {
        *current = 0;
        return last ? W_ENOENT : W_ENOTDIR;
    }
    if (tree_inode(walk->tree, found->inode)->kind == TREE_LINK && (!last || follow)) {
        enum wasi_errno error = link_follow(walk, found->inode);
        if (walk->path[0] == '/')
            *current = TREE_ROOT;
        return error;
    }
    *current = found->inode;
    return W_SUCCESS;
}

enum wasi_errno tree_walk(const struct tree *tree, uint32_t from, const char *path, bool follow, struct tree_place *out)
{
    struct walk walk = {.tree = tree, .out = out};
    uint32_t current = path[0] == '/' ? TREE_ROOT : from;
    size_t len = strlen(path);
    *out = (struct tree_place){.directory = current};
    if (len == 0)
        return W_ENOENT;
    if (len >= sizeof walk.path)
        return W_ENAMETOOLONG;
    memcpy(walk.path, path, len + 1);
    walk.at = walk.path;
    for (;;) {
        walk.at += strspn(walk.at, "/");
        if (*walk.at == '\0')
            break;
        bool missing = false;
        enum wasi_errno error = walk_step(&walk, &current, follow);
        missing = current == 0;
        if (error == W_ENOENT && missing)
            return W_ENOENT; /* out says where it would be */
        if (error != W_SUCCESS) {
            *out = (struct tree_place){0};
            return missing ? W_ENOENT : error;
        }
    }
    out->inode = current;
    return W_SUCCESS;
}

enum wasi_errno tree_path(const struct tree *tree, uint32_t directory, char *out, size_t cap)
{
    char path[PATH_BYTES_MAX];
    size_t at = sizeof path;
    while (directory != TREE_ROOT) {
        uint32_t parent = tree_inode(tree, directory)->parent;
        const struct names *names = &tree_inode(tree, parent)->names;
        const struct name *name = names_next(names, 0);
        while (name != NULL && name->inode != directory)
            name = names_next(names, name->number);
        if (name == NULL)
            return W_ENOENT; /* it was removed */
        struct bytes text = name_text(names, name);
        if (text.len + 1 > at)
            return W_ENAMETOOLONG;
        at -= text.len;
        memcpy(path + at, text.data, text.len);
        path[--at] = '/';
        directory = parent;
    }
    if (at == sizeof path)
        path[--at] = '/';
    size_t len = sizeof path - at;
    if (len + 1 > cap)
        return W_ERANGE;
    memcpy(out, path + at, len);
    out[len] = '\0';
    return W_SUCCESS;
}

/* -- names */

static enum wasi_errno name_add(struct tree *tree, uint32_t directory, const char *name, uint32_t number)
{
    struct inode *parent = own(tree, directory), *inode = own(tree, number);
    if (parent == NULL || inode == NULL || !names_add(&parent->names, bytes_str(name), number))
        return W_HOST_NOMEM;
    inode->parent = directory;
    inode->links = 1;
    return W_SUCCESS;
}

struct inode *tree_inode_put(struct tree *tree, uint32_t number)
{
    struct inode *inode = calloc(1, sizeof *inode);
    if (inode == NULL)
        return NULL;
    atomic_init(&inode->leaf.refs, 1);
    inode->extents.type = &extent_type;
    if (trie_put(&tree->inodes, number, &inode->leaf))
        return inode;
    free(inode);
    return NULL;
}

enum wasi_errno tree_make(struct tree *tree, uint32_t directory, const char *name, enum tree_kind kind, uint32_t mode,
                          int64_t now_ns, uint32_t *out)
{
    uint32_t number = tree->free_from;
    while (trie_get(&tree->inodes, number) != NULL)
        number++;
    struct inode *inode = tree_inode_put(tree, number);
    if (inode == NULL)
        return W_HOST_NOMEM;
    inode->kind = kind;
    inode->mode = mode;
    inode->mtime_ns = now_ns;
    tree->free_from = number + 1;
    *out = number;
    return name == NULL ? W_SUCCESS : name_add(tree, directory, name, number);
}

enum wasi_errno tree_unlink(struct tree *tree, uint32_t directory, const char *name)
{
    struct inode *parent = own(tree, directory);
    if (parent == NULL)
        return W_HOST_NOMEM;
    const struct name *found = names_find(&parent->names, bytes_str(name));
    if (found == NULL)
        return W_ENOENT;
    uint32_t number = found->inode;
    struct inode *inode = own(tree, number);
    if (inode == NULL)
        return W_HOST_NOMEM;
    if (inode->names.live > 0)
        return W_ENOTEMPTY;
    names_remove(&parent->names, found);
    inode->links = 0;
    return reap(tree, number);
}

/* A directory may not move below itself. */
static bool is_above(const struct tree *tree, uint32_t upper, uint32_t lower)
{
    while (lower != upper && lower != TREE_ROOT)
        lower = tree_inode(tree, lower)->parent;
    return lower == upper;
}

enum wasi_errno tree_rename(struct tree *tree, const struct tree_place *from, const struct tree_place *to)
{
    if (from->inode == to->inode)
        return W_SUCCESS;
    bool directory = tree_inode(tree, from->inode)->kind == TREE_DIRECTORY;
    if (from->name[0] == '\0' || to->name[0] == '\0' || (directory && is_above(tree, from->inode, to->directory)))
        return W_EINVAL;
    if (to->inode != 0) {
        bool onto_directory = tree_inode(tree, to->inode)->kind == TREE_DIRECTORY;
        if (directory != onto_directory)
            return directory ? W_ENOTDIR : W_EISDIR;
        enum wasi_errno error = tree_unlink(tree, to->directory, to->name);
        if (error != W_SUCCESS)
            return error;
    }
    struct inode *parent = own(tree, from->directory);
    if (parent == NULL)
        return W_HOST_NOMEM;
    names_remove(&parent->names, names_find(&parent->names, bytes_str(from->name)));
    return name_add(tree, to->directory, to->name, from->inode);
}

enum wasi_errno tree_hold(struct tree *tree, uint32_t number)
{
    struct inode *inode = own(tree, number);
    if (inode == NULL)
        return W_HOST_NOMEM;
    inode->opens++;
    return W_SUCCESS;
}

enum wasi_errno tree_release(struct tree *tree, uint32_t number)
{
    struct inode *inode = own(tree, number);
    if (inode == NULL)
        return W_HOST_NOMEM;
    CHECK(inode->opens > 0);
    inode->opens--;
    return reap(tree, number);
}

enum wasi_errno tree_mode_set(struct tree *tree, uint32_t number, uint32_t mode)
{
    struct inode *inode = own(tree, number);
    if (inode == NULL)
        return W_HOST_NOMEM;
    inode->mode = mode;
    return W_SUCCESS;
}

/* -- content */

void tree_read(const struct tree *tree, uint32_t number, uint64_t offset, uint8_t *out, size_t len, size_t *out_len)
{
    const struct inode *inode = tree_inode(tree, number);
    size_t left = offset >= inode->size ? 0 : inode->size - offset < len ? (size_t)(inode->size - offset) : len;
    *out_len = left;
    while (left > 0) {
        size_t within = offset % TREE_EXTENT_BYTES;
        size_t part = TREE_EXTENT_BYTES - within < left ? TREE_EXTENT_BYTES - within : left;
        const struct extent *extent =
            (const struct extent *)trie_get(&inode->extents, (uint32_t)(offset / TREE_EXTENT_BYTES));
        if (extent != NULL)
            memcpy(out, extent->data + within, part);
        else
            memset(out, 0, part);
        out += part;
        offset += part;
        left -= part;
    }
}

static bool all_zero(const uint8_t *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

bool tree_extent_put(struct tree *tree, struct inode *inode, uint32_t index, const uint8_t data[TREE_EXTENT_BYTES])
{
    struct extent *extent = malloc(sizeof *extent);
    if (extent == NULL)
        return false;
    memcpy(extent->data, data, sizeof extent->data);
    atomic_init(&extent->leaf.refs, 1);
    tree->extents += trie_get(&inode->extents, index) == NULL;
    if (trie_put(&inode->extents, index, &extent->leaf))
        return true;
    free(extent);
    return false;
}

const uint8_t *tree_extent_data(const struct leaf *leaf)
{
    const uint8_t *data = leaf != NULL ? ((const struct extent *)leaf)->data : NULL;
    return data != NULL && !all_zero(data, TREE_EXTENT_BYTES) ? data : NULL;
}

static enum wasi_errno extent_write(struct tree *tree, struct inode *inode, uint32_t index, size_t within,
                                    struct bytes part)
{
    bool nomem;
    struct extent *extent = (struct extent *)trie_own(&inode->extents, index, &nomem);
    if (extent == NULL && !nomem) {
        if (all_zero(part.data, part.len))
            return W_SUCCESS;
        extent = calloc(1, sizeof *extent);
        if (extent != NULL)
            atomic_init(&extent->leaf.refs, 1);
        if (extent == NULL || !trie_put(&inode->extents, index, &extent->leaf)) {
            free(extent);
            return W_HOST_NOMEM;
        }
        tree->extents++;
    }
    if (extent == NULL)
        return W_HOST_NOMEM;
    memcpy(extent->data + within, part.data, part.len);
    return W_SUCCESS;
}

/* Extents that a write would add at most. */
static uint64_t extents_wanted(const struct inode *inode, uint64_t offset, size_t len)
{
    uint64_t wanted = 0;
    for (uint64_t i = offset / TREE_EXTENT_BYTES; i < extents_of(offset + len); i++)
        wanted += trie_get(&inode->extents, (uint32_t)i) == NULL;
    return wanted;
}

enum wasi_errno tree_write(struct tree *tree, uint32_t number, uint64_t offset, struct bytes content, int64_t now_ns)
{
    struct inode *inode = own(tree, number);
    if (inode == NULL)
        return W_HOST_NOMEM;
    if (offset > SIZE_MAX_BYTES || content.len > SIZE_MAX_BYTES - offset ||
        tree->extents + extents_wanted(inode, offset, content.len) > tree->extents_max)
        return W_ENOSPC;
    inode->mtime_ns = now_ns;
    for (size_t done = 0; done < content.len;) {
        size_t within = (offset + done) % TREE_EXTENT_BYTES, left = content.len - done;
        size_t part = TREE_EXTENT_BYTES - within < left ? TREE_EXTENT_BYTES - within : left;
        enum wasi_errno error = extent_write(tree, inode, (uint32_t)((offset + done) / TREE_EXTENT_BYTES), within,
                                             bytes_of(content.data + done, part));
        if (error != W_SUCCESS)
            return error;
        done += part;
    }
    if (content.len > 0 && offset + content.len > inode->size)
        inode->size = offset + content.len;
    return W_SUCCESS;
}

enum wasi_errno tree_resize(struct tree *tree, uint32_t number, uint64_t size, int64_t now_ns)
{
    struct inode *inode = own(tree, number);
    bool nomem = false;
    if (inode == NULL)
        return W_HOST_NOMEM;
    if (size > SIZE_MAX_BYTES)
        return W_ENOSPC;
    inode->mtime_ns = now_ns;
    if (size < inode->size) {
        tree->extents -= extents_held(inode);
        bool cut = trie_cut(&inode->extents, (uint32_t)extents_of(size));
        tree->extents += extents_held(inode);
        size_t within = size % TREE_EXTENT_BYTES;
        struct extent *last =
            within == 0 ? NULL
                        : (struct extent *)trie_own(&inode->extents, (uint32_t)(size / TREE_EXTENT_BYTES), &nomem);
        if (last != NULL)
            memset(last->data + within, 0, TREE_EXTENT_BYTES - within);
        if (!cut || nomem)
            return W_HOST_NOMEM;
    }
    inode->size = size;
    return W_SUCCESS;
}

enum wasi_errno tree_pipe_read(struct tree *tree, uint32_t number, uint8_t *out, size_t len, size_t *out_len)
{
    struct inode *inode = own(tree, number);
    if (inode == NULL)
        return W_HOST_NOMEM;
    tree_read(tree, number, inode->read, out, len, out_len);
    if (*out_len == 0 && len > 0)
        return W_EAGAIN;
    inode->read += *out_len;
    if (inode->read < inode->size)
        return W_SUCCESS;
    inode->read = 0; /* empty: what was read goes */
    return tree_resize(tree, number, 0, inode->mtime_ns);
}

/* -- for the host */

static enum sorex_status host_error(enum wasi_errno error, const char *path, struct sorex_error *err)
{
    if (error == W_SUCCESS)
        return SOREX_OK;
    return sorex_error_set(err, error == W_HOST_NOMEM ? SOREX_NOMEM : SOREX_INVALID, "file %s: error %d", path,
                           (int)error);
}

/* Finds or makes it, with the directories on its way. */
static enum wasi_errno put_kind(struct tree *tree, const char *path, enum tree_kind kind, uint32_t mode, uint32_t *out)
{
    char part[PATH_BYTES_MAX];
    size_t len = strlen(path);
    if (len >= sizeof part)
        return W_ENAMETOOLONG;
    for (size_t end = 1; end <= len; end++) {
        if (path[end] != '/' && end != len)
            continue;
        struct tree_place place;
        memcpy(part, path, end);
        part[end] = '\0';
        enum wasi_errno error = tree_walk(tree, TREE_ROOT, part, true, &place);
        *out = place.inode;
        if (error == W_ENOENT && place.directory != 0)
            error = tree_make(tree, place.directory, place.name, end == len ? kind : TREE_DIRECTORY,
                              end == len ? mode : 0777, 0, out);
        if (error != W_SUCCESS)
            return error;
    }
    return tree_mode_set(tree, *out, mode);
}

enum sorex_status tree_put_kind(struct tree *tree, const char *path, enum tree_kind kind, uint32_t mode,
                                struct sorex_error *err)
{
    uint32_t inode;
    return host_error(put_kind(tree, path, kind, mode, &inode), path, err);
}

enum sorex_status tree_put(struct tree *tree, const char *path, struct bytes content, uint32_t mode,
                           struct sorex_error *err)
{
    uint32_t inode;
    enum wasi_errno error = put_kind(tree, path, TREE_FILE, mode, &inode);
    if (error == W_SUCCESS)
        error = tree_resize(tree, inode, 0, 0);
    if (error == W_SUCCESS)
        error = tree_write(tree, inode, 0, content, 0);
    return host_error(error, path, err);
}

enum sorex_status tree_take(const struct tree *tree, const char *path, struct buf *out, struct sorex_error *err)
{
    struct tree_place place;
    enum wasi_errno error = tree_walk(tree, TREE_ROOT, path, true, &place);
    if (error != W_SUCCESS || tree_inode(tree, place.inode)->kind != TREE_FILE)
        return sorex_error_set(err, SOREX_GONE, "file %s: there is none", path);
    size_t len = (size_t)tree_inode(tree, place.inode)->size;
    TRY(buf_reserve(out, len, err));
    tree_read(tree, place.inode, 0, out->data + out->len, len, &len);
    out->len += len;
    return SOREX_OK;
}
