#include "sink/outbox.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "json/writer.h"

static struct sorex_error err;

#define MUST(call)                               \
    do {                                         \
        err.text[0] = '\0';                      \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

static void store_start(struct outbox *outbox)
{
    struct store_options options = {
        .dir = outbox->dir, .create = true, .history = STORE_HISTORY_FULL, .fail_fast_sync = true};
    uint8_t identity[HASH_BYTES] = {1};
    struct store_program program;
    MUST(store_open(&options, &outbox->store, &err));
    MUST(store_program(outbox->store, "balances", identity, identity, false, &program, &err));
    outbox->program = program.id;
}

void outbox_open(struct outbox *outbox)
{
    *outbox = (struct outbox){.seed = 1};
    (void)snprintf(outbox->dir, sizeof outbox->dir, "/tmp/sorex-outbox-XXXXXX");
    assert_non_null(mkdtemp(outbox->dir));
    store_start(outbox);
    /* As sink_runner_start does: without a sink's bound, the store trims what is below the horizon. */
    uint8_t none[HASH_BYTES] = {0};
    MUST(store_cursor_set(outbox->store, "out", 0, none, &err));
}

static int entry_remove(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void outbox_close(struct outbox *outbox)
{
    store_close(outbox->store);
    buf_deinit(&outbox->text);
    (void)nftw(outbox->dir, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

void outbox_reopen(struct outbox *outbox)
{
    if (outbox->store != NULL)
        store_close(outbox->store);
    store_start(outbox);
}

static void entry_begin(struct outbox *outbox)
{
    struct entry entry = {.height = outbox->height + 1, .time_ms = 1231006505000u + outbox->height * 600000u};
    uint64_t seed[2] = {entry.height, outbox->nonce++};
    sha256_once(bytes_of(seed, sizeof seed), entry.hash);
    struct entry tip;
    if (outbox->height > 0) {
        MUST(store_entry(outbox->store, outbox->height, &tip, &err));
        memcpy(entry.parent, tip.hash, HASH_BYTES);
    }
    MUST(store_begin(outbox->store, &entry, &err));
}

void outbox_entry(struct outbox *outbox, const char *const *changes, size_t count)
{
    entry_begin(outbox);
    for (size_t i = 0; i < count; i++)
        MUST(store_emit(outbox->store, outbox->program, bytes_str(changes[i]), bytes_str(changes[i]), &err));
    MUST(store_commit(outbox->store, true, &err));
    outbox->height++;
}

void outbox_undo(struct outbox *outbox)
{
    MUST(store_undo(outbox->store, NULL, &err));
    outbox->height--;
}

char *outbox_change(const char *operation, const char *table, const char *key, const char *before, const char *after,
                    uint32_t height)
{
    struct sorex_error failed; /* own: threads make changes, too */
    struct buf out = {0};
    struct json_writer w;
    json_writer_init(&w, &out, false, &failed);
    json_object_begin(&w);
    json_name(&w, "header");
    json_object_begin(&w);
    json_name(&w, "source");
    json_string_z(&w, "test");
    json_name(&w, "block_height");
    json_uint(&w, height);
    json_object_end(&w);
    json_name(&w, "payload");
    json_object_begin(&w);
    json_name(&w, "operation");
    json_string_z(&w, operation);
    json_name(&w, "table");
    json_string_z(&w, table);
    json_name(&w, "key");
    json_string_z(&w, key);
    if (before != NULL) {
        json_name(&w, "before");
        json_raw(&w, bytes_str(before));
    }
    if (after != NULL) {
        json_name(&w, "after");
        json_raw(&w, bytes_str(after));
    }
    json_object_end(&w);
    json_object_end(&w);
    assert_int_equal(json_writer_finish(&w), SOREX_OK);
    assert_int_equal(buf_append_u8(&out, 0, &failed), SOREX_OK);
    size_t len;
    return (char *)buf_steal(&out, &len);
}

void outbox_single(struct outbox *outbox, const char *operation, const char *table, const char *key, const char *before,
                   const char *after)
{
    char *text = outbox_change(operation, table, key, before, after, outbox->height + 1);
    const char *const changes[] = {text};
    outbox_entry(outbox, changes, 1);
    free(text);
}

/* SplitMix64. */
uint64_t outbox_random(struct outbox *outbox, uint64_t below)
{
    uint64_t x = outbox->seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) % below;
}

static void random_change(struct outbox *outbox, char (*rows)[32])
{
    size_t k = (size_t)outbox_random(outbox, OUTBOX_KEYS);
    char key[16];
    char before[64] = "";
    char after[64] = "";
    (void)snprintf(key, sizeof key, "k%zu", k);
    if (rows[k][0] != '\0')
        (void)snprintf(before, sizeof before, "{\"v\":\"%s\"}", rows[k]);
    if (rows[k][0] == '\0' || outbox_random(outbox, 3) != 0) {
        (void)snprintf(rows[k], sizeof rows[k], "v%u", (unsigned)outbox_random(outbox, 100000));
        (void)snprintf(after, sizeof after, "{\"v\":\"%s\"}", rows[k]);
    } else {
        rows[k][0] = '\0';
    }
    char *text =
        outbox_change(before[0] == '\0'  ? "create"
                      : after[0] == '\0' ? "delete"
                                         : "update",
                      "t", key, before[0] == '\0' ? NULL : before, after[0] == '\0' ? NULL : after, outbox->height + 1);
    MUST(store_emit(outbox->store, outbox->program, bytes_str(text), bytes_str(text), &err));
    free(text);
}

void outbox_random_entry(struct outbox *outbox, size_t count)
{
    uint32_t height = outbox->height + 1;
    char(*rows)[32] = outbox->rows[height % OUTBOX_DEPTH];
    memcpy(rows, outbox->rows[outbox->height % OUTBOX_DEPTH], sizeof outbox->rows[0]);
    entry_begin(outbox);
    for (size_t i = 0; i < count; i++)
        random_change(outbox, rows);
    MUST(store_commit(outbox->store, true, &err));
    outbox->height = height;
}

void outbox_random_undo(struct outbox *outbox) { outbox_undo(outbox); }

const char *outbox_row(const struct outbox *outbox, size_t key)
{
    return outbox->rows[outbox->height % OUTBOX_DEPTH][key];
}

uint64_t outbox_head(const struct outbox *outbox)
{
    uint64_t first;
    uint64_t head;
    store_outbox_range(outbox->store, &first, &head);
    return head;
}
