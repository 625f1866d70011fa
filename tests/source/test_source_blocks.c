/* Single blocks, and the list of sources. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/node.h"
#include "config/option.h"
#include "source/source.h"

/* Opens source `name` with settings in YAML. */
static enum sorex_status open_yaml(const char *name, const char *yaml, struct source **out, struct sorex_error *err)
{
    _Alignas(16) uint8_t settings[1024] = {0};
    const struct source_type *type = source_type_find(name);
    struct config_node *root = NULL;
    char file[4096];
    assert_non_null(type);
    assert_true(type->settings_size <= sizeof settings);
    (void)snprintf(file, sizeof file, "%s/tests/data/pipeline.yaml", getenv("SOREX_SOURCE_DIR"));
    *out = NULL;
    assert_int_equal(config_parse(bytes_str(yaml), file, &root, err), SOREX_OK);
    enum sorex_status status = options_read(type->options, root, "source", NULL, settings, err);
    if (status == SOREX_OK)
        status = type->open(settings, out, err);
    options_free(type->options, settings);
    config_free(root);
    return status;
}

static void assert_refused(const char *yaml, const char *text)
{
    struct source *source;
    struct sorex_error err = {0};
    assert_int_equal(open_yaml("blocks", yaml, &source, &err), SOREX_INVALID);
    assert_null(source);
    if (strstr(err.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void assert_two_blocks(struct source *source)
{
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    struct entry entry;
    struct buf block = {0};
    assert_int_equal(source->type->tip(source, &height, hash, NULL), SOREX_OK);
    assert_int_equal(height, 840243);
    assert_int_equal(source->type->hash_at(source, 767430, hash, NULL), SOREX_OK);
    assert_int_equal(source->type->fetch(source, 767430, hash, &block, NULL), SOREX_OK);
    assert_int_equal(block.len, 1582942);
    assert_int_equal(block_header_parse(buf_view(&block), &entry, NULL), SOREX_OK);
    assert_memory_equal(entry.hash, hash, HASH_BYTES);
    assert_int_equal(source->type->hash_at(source, 767431, hash, NULL), SOREX_GONE);
    assert_int_equal(source->type->fetch(source, 840243, entry.hash, &block, NULL), SOREX_GONE);
    buf_deinit(&block);
    source->type->close(source);
}

static void a_list(void **state)
{
    struct source *source;
    struct sorex_error err = {0};
    (void)state;
    if (open_yaml("blocks", "files:\n  - blocks/840243.bin@840243\n  - blocks/767430.bin@767430\n", &source, &err) !=
        SOREX_OK)
        fail_msg("%s", err.text);
    assert_two_blocks(source);
}

static void a_directory(void **state)
{
    char yaml[4096];
    struct source *source;
    struct sorex_error err = {0};
    (void)state;
    (void)snprintf(yaml, sizeof yaml, "path: %s/tests/data/blocks", getenv("SOREX_SOURCE_DIR"));
    if (open_yaml("blocks", yaml, &source, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    assert_two_blocks(source);
}

static void what_is_refused(void **state)
{
    (void)state;
    assert_refused("{}", "one of `path` and `files`");
    assert_refused("path: /no/such/place", "/no/such/place");
    assert_refused("files: []", "no block");
    assert_refused("files: blocks/840243.bin@840243", "a list");
    assert_refused("files: [blocks/840243.bin]", "FILE@HEIGHT");
    assert_refused("files: [blocks/840243.bin@-1]", "FILE@HEIGHT");
    assert_refused("files: [blocks/840243.bin@4294967295]", "FILE@HEIGHT");
    assert_refused("files: [blocks/840243.bin@7, blocks/767430.bin@7]", "height 7 is given twice");
}

static void a_file_that_is_no_block(void **state)
{
    struct source *source;
    struct sorex_error err = {0};
    (void)state;
    assert_int_equal(open_yaml("blocks", "files: [/dev/null@5]", &source, &err), SOREX_CORRUPT);
    assert_non_null(strstr(err.text, "/dev/null"));
    assert_int_equal(open_yaml("blocks", "files: [/no/such/file@5]", &source, &err), SOREX_IO);
}

static void every_type_is_complete(void **state)
{
    (void)state;
    for (size_t i = 0; source_types[i] != NULL; i++) {
        const struct source_type *type = source_types[i];
        assert_ptr_equal(source_type_find(type->name), type);
        assert_true(type->summary != NULL && type->options != NULL && type->settings_size > 0);
        assert_true(type->open != NULL && type->close != NULL && type->tip != NULL && type->hash_at != NULL &&
                    type->fetch != NULL);
        for (const struct option *option = type->options; option->name != NULL; option++)
            assert_true(option->text != NULL && option->offset < type->settings_size);
    }
    assert_null(source_type_find("bitcoin"));
}

static void made_up_blocks_from_settings(void **state)
{
    struct source *source;
    struct sorex_error err = {0};
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    (void)state;
    assert_int_equal(open_yaml("memory", "blocks: 12", &source, &err), SOREX_OK);
    assert_int_equal(source->type->tip(source, &height, hash, NULL), SOREX_OK);
    assert_int_equal(height, 11);
    source->type->close(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list),
        cmocka_unit_test(a_directory),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(a_file_that_is_no_block),
        cmocka_unit_test(every_type_is_complete),
        cmocka_unit_test(made_up_blocks_from_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
