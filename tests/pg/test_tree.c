/* Files: tries, directories, paths, contents, copies that share, bytes. */
#include "pg/pg.h"

#include <stdio.h>
#include <stdlib.h>

#include "pg/process.h"

#define EXTENT ((size_t)TREE_EXTENT_BYTES)

static struct tree tree_of(uint64_t bytes_max)
{
    struct sorex_error err = {0};
    struct tree tree;
    assert_ok(tree_init(&tree, bytes_max, &err));
    return tree;
}

static uint32_t find(const struct tree *tree, const char *path)
{
    struct tree_place place;
    return tree_walk(tree, TREE_ROOT, path, true, &place) == W_SUCCESS ? place.inode : 0;
}

static enum wasi_errno error_of(const struct tree *tree, const char *path)
{
    struct tree_place place;
    return tree_walk(tree, TREE_ROOT, path, true, &place);
}

static uint32_t make(struct tree *tree, const char *path, enum tree_kind kind)
{
    struct tree_place place;
    uint32_t inode = 0;
    assert_int_equal(tree_walk(tree, TREE_ROOT, path, true, &place), W_ENOENT);
    assert_int_equal(tree_make(tree, place.directory, place.name, kind, 0644, 5, &inode), W_SUCCESS);
    return inode;
}

static void content_check(const struct tree *tree, uint32_t inode, const uint8_t *wanted, size_t len)
{
    uint8_t *got = malloc(len + 10);
    size_t got_len;
    assert_non_null(got);
    assert_int_equal(tree_inode(tree, inode)->size, len);
    tree_read(tree, inode, 0, got, len + 10, &got_len);
    assert_int_equal(got_len, len);
    if (len > 0)
        assert_memory_equal(got, wanted, len);
    free(got);
}

static enum sorex_status collect(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    return buf_append(user_data, bytes, err);
}

static void tree_bytes(const struct tree *tree, uint8_t out[SHA256_BYTES])
{
    struct sorex_error err = {0};
    struct buf bytes = {0};
    assert_ok(tree_encode(tree, collect, &bytes, &err));
    sha256_once(buf_view(&bytes), out);
    buf_deinit(&bytes);
}

/* -- tries */

struct number {
    struct leaf leaf;
    uint32_t value;
};

static int numbers_alive;

static struct leaf *number_copy(const struct leaf *leaf)
{
    struct number *copy = malloc(sizeof *copy);
    assert_non_null(copy);
    copy->value = ((const struct number *)leaf)->value;
    atomic_init(&copy->leaf.refs, 1);
    numbers_alive++;
    return &copy->leaf;
}

static void number_free(struct leaf *leaf)
{
    numbers_alive--;
    free(leaf);
}

static const struct leaf_type number_type = {number_copy, number_free};

static void number_put(struct trie *trie, uint32_t index, uint32_t value)
{
    struct number *number = malloc(sizeof *number);
    assert_non_null(number);
    number->value = value;
    atomic_init(&number->leaf.refs, 1);
    numbers_alive++;
    assert_true(trie_put(trie, index, &number->leaf));
}

/* Random puts, writes, removals and cuts on tries that are copies of each other, against plain arrays. */
static void test_trie_against_arrays(void **state)
{
    (void)state;
    enum { TRIES = 4, SIZE = 5000, STEPS = 40000 };
    static uint32_t model[TRIES][SIZE]; /* 0: none */
    struct trie tries[TRIES];
    uint64_t seed = 1;
    bool nomem;
    for (int i = 0; i < TRIES; i++)
        tries[i] = (struct trie){.type = &number_type};
    for (int step = 1; step <= STEPS; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t at = (uint32_t)(seed >> 33) % SIZE, t = (uint32_t)(seed >> 20) % TRIES,
                 what = (uint32_t)(seed >> 50) % 100;
        if (what < 50) {
            number_put(&tries[t], at, (uint32_t)step);
            model[t][at] = (uint32_t)step;
        } else if (what < 70) {
            struct number *number = (struct number *)trie_own(&tries[t], at, &nomem);
            assert_int_equal(number != NULL, model[t][at] != 0);
            if (number != NULL)
                number->value = model[t][at] = (uint32_t)step;
        } else if (what < 97) {
            assert_true(trie_put(&tries[t], at, NULL));
            model[t][at] = 0;
        } else if (what < 98) {
            assert_true(trie_cut(&tries[t], at));
            memset(&model[t][at], 0, (SIZE - at) * sizeof model[t][at]);
        } else {
            uint32_t other = (t + 1) % TRIES;
            trie_clear(&tries[other]);
            trie_copy(&tries[other], &tries[t]);
            memcpy(model[other], model[t], sizeof model[t]);
        }
        if (step % 500 != 0)
            continue;
        for (uint32_t i = 0; i < TRIES; i++)
            for (uint32_t k = 0; k < SIZE; k++) {
                const struct number *number = (const struct number *)trie_get(&tries[i], k);
                assert_int_equal(number == NULL ? 0 : number->value, model[i][k]);
            }
    }
    for (int i = 0; i < TRIES; i++) {
        assert_true(trie_cut(&tries[i], 0));
        assert_null(tries[i].root);
    }
    assert_int_equal(numbers_alive, 0);
}

/* -- paths */

static void test_paths(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct tree tree = tree_of(0);
    char path[64];
    assert_ok(tree_put(&tree, "/a/b/file", bytes_str("content"), 0600, &err));
    uint32_t link = make(&tree, "/a/link", TREE_LINK), up = make(&tree, "/a/b/up", TREE_LINK);
    assert_int_equal(tree_write(&tree, link, 0, bytes_str("/a/b"), 0), W_SUCCESS);
    assert_int_equal(tree_write(&tree, up, 0, bytes_str("../b/./file"), 0), W_SUCCESS);
    uint32_t file = find(&tree, "/a/b/file");
    assert_int_not_equal(file, 0);
    static const char *const same[] = {"a/b/file", "/a//b/../b/./file", "/a/link/file",
                                       "/a/b/up",  "/a/link/up",        "/../../a/b/file"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_int_equal(find(&tree, same[i]), file);
    assert_int_equal(find(&tree, "/a/b/"), find(&tree, "/a/link"));
    assert_int_equal(error_of(&tree, ""), W_ENOENT);
    assert_int_equal(error_of(&tree, "/a/none"), W_ENOENT);
    assert_int_equal(error_of(&tree, "/none/file"), W_ENOENT);
    assert_int_equal(error_of(&tree, "/a/b/file/x"), W_ENOTDIR);
    struct tree_place place;
    assert_int_equal(tree_walk(&tree, TREE_ROOT, "/a/link", false, &place), W_SUCCESS);
    assert_int_equal(place.inode, link);
    assert_int_equal(tree_walk(&tree, TREE_ROOT, "/none/file", true, &place), W_ENOENT);
    assert_int_equal(place.directory, 0); /* not the last name that is missing */
    assert_int_equal(tree_walk(&tree, TREE_ROOT, "/a/none", true, &place), W_ENOENT);
    assert_string_equal(place.name, "none");
    assert_int_equal(place.directory, find(&tree, "/a"));
    assert_int_equal(tree_path(&tree, find(&tree, "/a/b"), path, sizeof path), W_SUCCESS);
    assert_string_equal(path, "/a/b");
    assert_int_equal(tree_path(&tree, TREE_ROOT, path, sizeof path), W_SUCCESS);
    assert_string_equal(path, "/");
    assert_int_equal(tree_path(&tree, find(&tree, "/a/b"), path, 4), W_ERANGE);
    uint32_t loop = make(&tree, "/loop", TREE_LINK);
    assert_int_equal(tree_write(&tree, loop, 0, bytes_str("/loop"), 0), W_SUCCESS);
    assert_int_equal(error_of(&tree, "/loop"), W_ELOOP);
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    assert_int_equal(error_of(&tree, name), W_ENAMETOOLONG);
    name[255] = '\0';
    assert_int_not_equal(make(&tree, name, TREE_FILE), 0);
    assert_int_not_equal(find(&tree, name), 0);
    tree_deinit(&tree);
}

static void test_rename_and_unlink(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct tree tree = tree_of(0);
    struct tree_place from, to;
    assert_ok(tree_put(&tree, "/d/x", bytes_str("x"), 0600, &err));
    assert_ok(tree_put(&tree, "/d/e/y", bytes_str("y"), 0600, &err));
    uint32_t x = find(&tree, "/d/x"), y = find(&tree, "/d/e/y");
    assert_int_equal(tree_hold(&tree, y), W_SUCCESS); /* open: lives on without a name */
    assert_int_equal(tree_walk(&tree, TREE_ROOT, "/d/x", false, &from), W_SUCCESS);
    assert_int_equal(tree_walk(&tree, TREE_ROOT, "/d/e/y", false, &to), W_SUCCESS);
    assert_int_equal(tree_rename(&tree, &from, &to), W_SUCCESS);
    assert_int_equal(find(&tree, "/d/x"), 0);
    assert_int_equal(find(&tree, "/d/e/y"), x);
    content_check(&tree, y, (const uint8_t *)"y", 1);
    assert_int_equal(tree_release(&tree, y), W_SUCCESS);
    assert_null(tree_inode(&tree, y));
    assert_int_equal(tree_unlink(&tree, find(&tree, "/d"), "e"), W_ENOTEMPTY);
    assert_int_equal(tree_walk(&tree, TREE_ROOT, "/d", false, &from), W_SUCCESS); /* not below itself */
    assert_int_equal(tree_walk(&tree, TREE_ROOT, "/d/e/d", false, &to), W_ENOENT);
    assert_int_equal(tree_rename(&tree, &from, &to), W_EINVAL);
    assert_int_equal(tree_walk(&tree, TREE_ROOT, "/d/e", false, &to), W_SUCCESS);
    assert_int_equal(tree_rename(&tree, &from, &to), W_EINVAL);
    assert_int_equal(tree_unlink(&tree, find(&tree, "/d/e"), "y"), W_SUCCESS);
    assert_int_equal(tree_unlink(&tree, find(&tree, "/d"), "e"), W_SUCCESS);
    assert_int_equal(tree_unlink(&tree, find(&tree, "/d"), "e"), W_ENOENT);
    assert_int_equal(tree.extents, 0);
    tree_deinit(&tree);
}

/* A reader of a directory sees every name that is there all the time once, though others come and go. */
static void test_directory_while_it_changes(void **state)
{
    (void)state;
    struct tree tree = tree_of(0);
    char path[32];
    bool seen[200] = {false};
    uint32_t directory = make(&tree, "/d", TREE_DIRECTORY), number = 0, more = 1000;
    for (int i = 0; i < 200; i++) {
        (void)snprintf(path, sizeof path, "/d/%d", i);
        (void)make(&tree, path, TREE_FILE);
    }
    for (;;) {
        const struct names *names = &tree_inode(&tree, directory)->names;
        const struct name *name = names_next(names, number);
        if (name == NULL)
            break;
        number = name->number;
        long at = strtol((const char *)name_text(names, name).data, NULL, 10);
        if (at < 200) {
            assert_false(seen[at]);
            seen[at] = true;
            (void)snprintf(path, sizeof path, "%ld", at); /* what was read is removed, as rm -r does */
            assert_int_equal(tree_unlink(&tree, directory, path), W_SUCCESS);
        }
        if (more < 1100) {
            (void)snprintf(path, sizeof path, "/d/%u", (unsigned)more++);
            (void)make(&tree, path, TREE_FILE);
        }
    }
    for (int i = 0; i < 200; i++)
        assert_true(seen[i]);
    assert_int_equal(tree_inode(&tree, directory)->names.live, 100);
    tree_deinit(&tree);
}

/* -- contents */

/* Random writes, truncations and copies of a tree, against plain memory. */
static void test_contents_against_memory(void **state)
{
    (void)state;
    enum { TREES = 3, SIZE = 300000, STEPS = 3000 };
    static uint8_t model[TREES][SIZE], data[3 * TREE_EXTENT_BYTES];
    size_t sizes[TREES] = {0};
    struct tree trees[TREES];
    struct process_state unused = {.random = 7};
    struct process process = {.state = &unused};
    for (int i = 0; i < TREES; i++)
        trees[i] = tree_of(0);
    uint32_t inode = make(&trees[0], "/f", TREE_FILE);
    for (int i = 1; i < TREES; i++)
        assert_int_equal(make(&trees[i], "/f", TREE_FILE), inode);
    for (int step = 0; step < STEPS; step++) {
        uint64_t dice = process_random(&process);
        uint32_t t = (uint32_t)dice % TREES;
        size_t at = (size_t)(dice >> 8) % SIZE, len = (size_t)(dice >> 32) % sizeof data;
        if ((dice >> 60) < 11) {
            len = len < SIZE - at ? len : SIZE - at;
            memset(data, (dice >> 60) < 2 ? 0 : step | 1, len);
            assert_int_equal(tree_write(&trees[t], inode, at, bytes_of(data, len), step), W_SUCCESS);
            memcpy(model[t] + at, data, len);
            if (len > 0 && at + len > sizes[t])
                sizes[t] = at + len;
        } else if ((dice >> 60) < 14) {
            assert_int_equal(tree_resize(&trees[t], inode, at, step), W_SUCCESS);
            if (at < sizes[t])
                memset(model[t] + at, 0, SIZE - at);
            sizes[t] = at;
        } else {
            uint32_t other = (t + 1) % TREES;
            tree_deinit(&trees[other]);
            tree_copy(&trees[other], &trees[t]);
            memcpy(model[other], model[t], SIZE);
            sizes[other] = sizes[t];
        }
        if (step % 100 == 0)
            for (int i = 0; i < TREES; i++)
                content_check(&trees[i], inode, model[i], sizes[i]);
    }
    for (int i = 0; i < TREES; i++) {
        assert_int_equal(tree_unlink(&trees[i], TREE_ROOT, "f"), W_SUCCESS);
        assert_int_equal(trees[i].extents, 0);
        tree_deinit(&trees[i]);
    }
}

static void test_zeros_and_limit(void **state)
{
    (void)state;
    static const uint8_t zeros[4 * TREE_EXTENT_BYTES];
    struct tree tree = tree_of(2 * EXTENT);
    uint32_t inode = make(&tree, "/f", TREE_FILE);
    assert_int_equal(tree_resize(&tree, inode, (uint64_t)1 << 40, 0), W_SUCCESS); /* sparse */
    assert_int_equal(tree_resize(&tree, inode, 0, 0), W_SUCCESS);
    assert_int_equal(tree.extents, 0);
    assert_int_equal(tree_write(&tree, inode, EXTENT - 1, bytes_str("xy"), 0), W_SUCCESS);
    assert_int_equal(tree.extents, 2);
    assert_int_equal(tree_write(&tree, inode, 2 * EXTENT, bytes_str("z"), 0), W_ENOSPC);
    assert_int_equal(tree_inode(&tree, inode)->size, EXTENT + 1);
    assert_int_equal(tree_write(&tree, inode, 0, bytes_of(zeros, 2 * EXTENT), 0), W_SUCCESS); /* onto what is there */
    assert_int_equal(tree_resize(&tree, inode, EXTENT, 0), W_SUCCESS);
    assert_int_equal(tree.extents, 1);
    assert_int_equal(tree_write(&tree, inode, (uint64_t)1 << 62, bytes_str("z"), 0), W_ENOSPC);
    tree_deinit(&tree);
}

static void test_pipe(void **state)
{
    (void)state;
    struct tree tree = tree_of(0);
    uint32_t pipe;
    uint8_t bytes[8];
    size_t len;
    assert_int_equal(tree_make(&tree, 0, NULL, TREE_PIPE, 0600, 0, &pipe), W_SUCCESS);
    assert_int_equal(tree_hold(&tree, pipe), W_SUCCESS);
    assert_int_equal(tree_pipe_read(&tree, pipe, bytes, 8, &len), W_EAGAIN);
    assert_int_equal(tree_write(&tree, pipe, 0, bytes_str("abc"), 0), W_SUCCESS);
    assert_int_equal(tree_pipe_read(&tree, pipe, bytes, 2, &len), W_SUCCESS);
    assert_int_equal(len, 2);
    assert_int_equal(tree_write(&tree, pipe, tree_inode(&tree, pipe)->size, bytes_str("d"), 0), W_SUCCESS);
    assert_int_equal(tree_pipe_read(&tree, pipe, bytes + 2, 6, &len), W_SUCCESS);
    assert_int_equal(len, 2);
    assert_memory_equal(bytes, "abcd", 4);
    assert_int_equal(tree_inode(&tree, pipe)->size, 0); /* what was read is gone */
    assert_int_equal(tree_release(&tree, pipe), W_SUCCESS);
    assert_null(tree_inode(&tree, pipe));
    tree_deinit(&tree);
}

/* -- bytes */

static void test_bytes(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct tree tree = tree_of(0), copy = tree_of(0), again;
    struct buf bytes = {0};
    uint8_t hash[SHA256_BYTES], other[SHA256_BYTES];
    assert_ok(tree_put(&tree, "/a/b", bytes_str("content"), 0600, &err));
    assert_ok(tree_put(&tree, "/a/c", bytes_str(""), 0644, &err));
    assert_int_equal(tree_write(&tree, find(&tree, "/a/c"), 5 * EXTENT, bytes_str("far"), 9), W_SUCCESS);
    assert_ok(tree_put_kind(&tree, "/dev/null", TREE_NULL, 0666, &err));
    assert_int_equal(tree_unlink(&tree, find(&tree, "/a"), "b"), W_SUCCESS);
    assert_ok(tree_encode(&tree, collect, &bytes, &err));
    struct reader r = reader_of(buf_view(&bytes));
    assert_ok(tree_decode(&copy, &r, &err));
    assert_int_equal(reader_left(&r), 0);
    tree_bytes(&tree, hash);
    tree_bytes(&copy, other);
    assert_memory_equal(hash, other, SHA256_BYTES);
    assert_int_equal(copy.extents, tree.extents);
    /* Both go on alike: the next inode, the next number of a name. */
    assert_ok(tree_put(&tree, "/a/d", bytes_str("d"), 0600, &err));
    assert_ok(tree_put(&copy, "/a/d", bytes_str("d"), 0600, &err));
    tree_bytes(&tree, hash);
    tree_bytes(&copy, other);
    assert_memory_equal(hash, other, SHA256_BYTES);
    /* Cut anywhere, or with any byte changed, it does not decode or decodes to something that encodes again. */
    for (size_t at = 0; at < bytes.len; at += at < 600 ? 1 : 997) {
        again = tree_of(0);
        r = reader_of(bytes_of(bytes.data, at));
        assert_int_equal(tree_decode(&again, &r, &err), SOREX_CORRUPT);
        bytes.data[at] ^= 0x11;
        r = reader_of(buf_view(&bytes));
        if (tree_decode(&again, &r, &err) == SOREX_OK)
            tree_bytes(&again, other);
        bytes.data[at] ^= 0x11;
        tree_deinit(&again);
    }
    buf_deinit(&bytes);
    tree_deinit(&tree);
    tree_deinit(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trie_against_arrays),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_rename_and_unlink),
        cmocka_unit_test(test_directory_while_it_changes),
        cmocka_unit_test(test_contents_against_memory),
        cmocka_unit_test(test_zeros_and_limit),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
