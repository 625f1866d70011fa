/* A tree as bytes: docs/formats/database-image.md. Inodes by number, names in their order, extents by index; extents
 * that are all zero are left out, as a tree need not have them. */
#include <stdlib.h>

#include "base/check.h"
#include "pg/tree.h"

struct sink {
    tree_out_fn *fn;
    void *user_data;
};

static enum sorex_status put(const struct sink *out, const void *bytes, size_t len, struct sorex_error *err)
{
    return out->fn(out->user_data, bytes_of(bytes, len), err);
}

static enum sorex_status put_u32(const struct sink *out, uint32_t value, struct sorex_error *err)
{
    uint8_t bytes[4];
    u32le_put(bytes, value);
    return put(out, bytes, 4, err);
}

static enum sorex_status put_u64(const struct sink *out, uint64_t value, struct sorex_error *err)
{
    uint8_t bytes[8];
    u64le_put(bytes, value);
    return put(out, bytes, 8, err);
}

static enum sorex_status extent_put(void *user_data, uint32_t index, const struct leaf *leaf, struct sorex_error *err)
{
    const uint8_t *data = tree_extent_data(leaf);
    if (data == NULL)
        return SOREX_OK;
    TRY(put_u32(user_data, index + 1, err));
    return put(user_data, data, TREE_EXTENT_BYTES, err);
}

enum sorex_status tree_inode_encode(const struct inode *inode, tree_out_fn *fn, void *user_data,
                                    struct sorex_error *err)
{
    const struct sink sink = {fn, user_data}, *out = &sink;
    const uint32_t fields[] = {(uint32_t)inode->kind, inode->mode,          inode->parent,    inode->links,
                               inode->opens,          inode->names.numbers, inode->names.live};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        TRY(put_u32(out, fields[i], err));
    TRY(put_u64(out, (uint64_t)inode->mtime_ns, err));
    TRY(put_u64(out, inode->size, err));
    TRY(put_u64(out, inode->read, err));
    for (const struct name *name = names_next(&inode->names, 0); name != NULL;
         name = names_next(&inode->names, name->number)) {
        struct bytes text = name_text(&inode->names, name);
        TRY(put_u32(out, name->number, err));
        TRY(put_u32(out, name->inode, err));
        TRY(put_u32(out, (uint32_t)text.len, err));
        TRY(put(out, text.data, text.len, err));
    }
    return SOREX_OK;
}

static enum sorex_status inode_put(void *user_data, uint32_t number, const struct leaf *leaf, struct sorex_error *err)
{
    const struct sink *out = user_data;
    const struct inode *inode = (const struct inode *)leaf;
    TRY(put_u32(out, number, err));
    TRY(tree_inode_encode(inode, out->fn, out->user_data, err));
    TRY(trie_visit(&inode->extents, extent_put, user_data, err));
    return put_u32(out, 0, err);
}

enum sorex_status tree_encode(const struct tree *tree, tree_out_fn *fn, void *user_data, struct sorex_error *err)
{
    struct sink out = {fn, user_data};
    TRY(put_u64(&out, tree->extents_max, err));
    TRY(trie_visit(&tree->inodes, inode_put, &out, err));
    return put_u32(&out, 0, err);
}

/* -- the other way */

static enum sorex_status broken(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_CORRUPT, "files: they do not decode");
}

static enum sorex_status names_take(struct names *names, uint32_t live, struct reader *r, struct sorex_error *err)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < live; i++) {
        uint32_t number, inode, len;
        struct bytes text;
        if (!reader_u32le(r, &number) || !reader_u32le(r, &inode) || !reader_u32le(r, &len) || len == 0 ||
            len > NAME_BYTES_MAX || !reader_take(r, len, &text) || number <= last || inode == 0 ||
            memchr(text.data, '\0', len) != NULL)
            return broken(err);
        if (!names_put(names, text, inode, number))
            return sorex_error_set(err, SOREX_NOMEM, "files: out of memory");
        last = number;
    }
    return last <= names->numbers ? SOREX_OK : broken(err);
}

enum sorex_status tree_extent_decode(struct tree *tree, uint32_t number, uint32_t index,
                                     const uint8_t data[TREE_EXTENT_BYTES], struct sorex_error *err)
{
    bool nomem;
    struct inode *inode = (struct inode *)trie_own(&tree->inodes, number, &nomem);
    if (!nomem && (inode == NULL || (uint64_t)index * TREE_EXTENT_BYTES >= inode->size))
        return sorex_error_set(err, SOREX_CORRUPT, "files: no inode %u with an extent %u", (unsigned)number,
                               (unsigned)index);
    if (nomem || !tree_extent_put(tree, inode, index, data))
        return sorex_error_set(err, SOREX_NOMEM, "files: out of memory");
    return SOREX_OK;
}

static enum sorex_status extents_take(struct tree *tree, uint32_t number, struct reader *r, struct sorex_error *err)
{
    uint32_t index;
    struct bytes data;
    for (;;) {
        if (!reader_u32le(r, &index))
            return broken(err);
        if (index == 0)
            return SOREX_OK;
        if (!reader_take(r, TREE_EXTENT_BYTES, &data))
            return broken(err);
        TRY(tree_extent_decode(tree, number, index - 1, data.data, err));
    }
}

enum sorex_status tree_inode_decode(struct tree *tree, uint32_t number, struct reader *r, struct sorex_error *err)
{
    uint32_t kind, mode, parent, links, opens, numbers, live;
    uint64_t mtime, size, read;
    if (!reader_u32le(r, &kind) || !reader_u32le(r, &mode) || !reader_u32le(r, &parent) || !reader_u32le(r, &links) ||
        !reader_u32le(r, &opens) || !reader_u32le(r, &numbers) || !reader_u32le(r, &live) || !reader_u64le(r, &mtime) ||
        !reader_u64le(r, &size) || !reader_u64le(r, &read) || kind < TREE_FILE || kind > TREE_TTY || links > 1 ||
        number == 0 || tree_inode(tree, number) != NULL)
        return broken(err);
    struct inode *inode = tree_inode_put(tree, number);
    if (inode == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "files: out of memory");
    inode->kind = (enum tree_kind)kind;
    inode->mode = mode;
    inode->parent = parent;
    inode->links = links;
    inode->opens = opens;
    inode->names.numbers = numbers;
    inode->mtime_ns = (int64_t)mtime;
    inode->size = size;
    inode->read = read;
    return names_take(&inode->names, live, r, err);
}

static enum sorex_status inode_check(void *user_data, uint32_t number, const struct leaf *leaf, struct sorex_error *err)
{
    const struct tree *tree = user_data;
    const struct inode *inode = (const struct inode *)leaf;
    const struct inode *parent = tree_inode(tree, inode->parent);
    (void)number;
    if (inode->links > 0 && (parent == NULL || parent->kind != TREE_DIRECTORY))
        return broken(err);
    for (const struct name *name = names_next(&inode->names, 0); name != NULL;
         name = names_next(&inode->names, name->number))
        if (tree_inode(tree, name->inode) == NULL)
            return broken(err);
    return SOREX_OK;
}

enum sorex_status tree_decode(struct tree *tree, struct reader *r, struct sorex_error *err)
{
    uint32_t number;
    trie_clear(&tree->inodes);
    tree->extents = 0;
    tree->free_from = TREE_ROOT;
    if (!reader_u64le(r, &tree->extents_max))
        return broken(err);
    for (;;) {
        if (!reader_u32le(r, &number))
            return broken(err);
        if (number == 0)
            break;
        TRY(tree_inode_decode(tree, number, r, err));
        TRY(extents_take(tree, number, r, err));
    }
    return tree_check(tree, err);
}

enum sorex_status tree_check(const struct tree *tree, struct sorex_error *err)
{
    struct tree look = *tree;
    const struct inode *root = tree_inode(tree, TREE_ROOT);
    if (root == NULL || root->kind != TREE_DIRECTORY || root->parent != TREE_ROOT)
        return broken(err);
    return trie_visit(&tree->inodes, inode_check, &look, err);
}
