#include "map.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "wasm/wasm.h"

static struct map_entry *find(const struct map *map, struct bytes key)
{
    for (size_t i = 0; i < map->count; i++)
        if (bytes_equal(bytes_of(map->entries[i].key, map->entries[i].key_len), key))
            return &map->entries[i];
    return NULL;
}

static uint8_t *copy_of(struct bytes bytes)
{
    uint8_t *copy =
        malloc(bytes.len + 1); /* exactly this long to sanitizers, but for the one byte that makes malloc(0) plain */
    CHECK(copy != NULL);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return copy;
}

static void put(struct map *map, struct bytes key, struct bytes value)
{
    struct map_entry *entry = find(map, key);
    if (entry == NULL) {
        map->entries = realloc(map->entries, (map->count + 1) * sizeof *map->entries);
        CHECK(map->entries != NULL);
        entry = &map->entries[map->count++];
        *entry = (struct map_entry){.key = copy_of(key), .key_len = key.len};
    } else {
        free(entry->value);
    }
    entry->value = copy_of(value);
    entry->value_len = value.len;
}

static enum sorex_status map_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                 struct sorex_error *err)
{
    struct map *map = user_data;
    if (++map->gets == map->fail_get_at)
        return sorex_error_set(err, SOREX_IO, "the disk is gone");
    const struct map_entry *entry = find(map, key);
    *out_found = entry != NULL;
    *out_value = entry != NULL ? bytes_of(entry->value, entry->value_len) : bytes_of(NULL, 0);
    return SOREX_OK;
}

static enum sorex_status map_put(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct map *map = user_data;
    if (++map->puts == map->fail_put_at)
        return sorex_error_set(err, SOREX_IO, "the disk is full");
    put(map, key, value);
    return SOREX_OK;
}

static enum sorex_status map_del(void *user_data, struct bytes key, struct sorex_error *err)
{
    (void)err;
    struct map *map = user_data;
    struct map_entry *entry = find(map, key);
    map->dels++;
    if (entry == NULL)
        return SOREX_OK;
    free(entry->key);
    free(entry->value);
    *entry = map->entries[--map->count];
    return SOREX_OK;
}

struct state_reader map_reader(struct map *map) { return (struct state_reader){.get = map_get, .user_data = map}; }

struct state_writer map_writer(struct map *map)
{
    return (struct state_writer){.put = map_put, .del = map_del, .user_data = map};
}

void map_free(struct map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        free(map->entries[i].key);
        free(map->entries[i].value);
    }
    free(map->entries);
    *map = (struct map){0};
}

struct map map_copy(const struct map *map)
{
    struct map copy = {0};
    for (size_t i = 0; i < map->count; i++)
        put(&copy, bytes_of(map->entries[i].key, map->entries[i].key_len),
            bytes_of(map->entries[i].value, map->entries[i].value_len));
    return copy;
}

void map_set(struct map *map, const char *key, struct bytes value) { put(map, bytes_str(key), value); }

struct bytes map_value(const struct map *map, const char *key)
{
    const struct map_entry *entry = find(map, bytes_str(key));
    return entry != NULL ? bytes_of(entry->value, entry->value_len) : bytes_of(NULL, 0);
}

bool map_equal(const struct map *a, const struct map *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct map_entry *entry = find(b, bytes_of(a->entries[i].key, a->entries[i].key_len));
        if (entry == NULL || !bytes_equal(bytes_of(entry->value, entry->value_len),
                                          bytes_of(a->entries[i].value, a->entries[i].value_len)))
            return false;
    }
    return true;
}

static const int trap_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction trap_actions[4];

void traps_keep(void)
{
    struct buf wasm = {0};
    struct wasm_program *program = NULL;
    struct wasm_program_options options = {.name = "first", .settings = {.memory_bytes_max = 16 << 20}};
    CHECK(wasm_from_text(bytes_str("(module (memory (export \"memory\") 1))"), &wasm, NULL) == SOREX_OK);
    CHECK(wasm_program_open(buf_view(&wasm), &options, &program, NULL) == SOREX_OK);
    for (size_t i = 0; i < 4; i++)
        CHECK(sigaction(trap_signals[i], NULL, &trap_actions[i]) == 0);
    wasm_program_close(program);
    buf_deinit(&wasm);
}

void traps_restore(void)
{
    for (size_t i = 0; i < 4; i++)
        CHECK(sigaction(trap_signals[i], &trap_actions[i], NULL) == 0);
}

struct bytes guest_load(const char *name)
{
    traps_restore();
    const char *folder = getenv("SOREX_GUESTS");
    char path[1024];
    struct buf content = {0};
    struct sorex_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s.wasm", folder != NULL ? folder : "guests", name);
    if (file_read(path, SOREX_MODULE_BYTES_MAX, &content, &err) != SOREX_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    size_t len = 0;
    const uint8_t *data = buf_steal(&content, &len);
    return bytes_of(data, len);
}

char log_seen[65536];

static void log_remember(enum log_level level, const char *component, const char *text, void *user_data)
{
    (void)user_data;
    size_t used = strlen(log_seen);
    (void)snprintf(log_seen + used, sizeof log_seen - used, "%s %s: %s\n", log_level_name(level), component, text);
}

void log_watch(void)
{
    log_seen[0] = '\0';
    log_level_set(LOG_DEBUG);
    log_sink_set(log_remember, NULL);
}
