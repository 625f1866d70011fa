/* Identity of a program (docs/formats/data-directory.md): SHA-256 over the text below, one "name=value" a line, of everything that
 * changes results:
 *
 *     contract, module (hex of its SHA-256), memory, before, inverse, fuel, memory_max, stack_max, start_height
 *
 * Limits that are 0 are written as the defaults they stand for. */
#include "pipeline/program.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/sha256.h"

static enum sorex_status identity_make(struct program *program, uint32_t start_height, struct sorex_error *err)
{
    const struct program_settings *s = program->settings;
    char module[HASH_HEX_SIZE];
    hash_hex(program->module_hash, module);
    struct buf text = {0};
    bool indexer = program->contract == PROGRAM_INDEXER;
    uint64_t memory_max = s->limits.memory_bytes_max != 0 ? s->limits.memory_bytes_max : SOREX_MEMORY_BYTES_DEFAULT;
    uint64_t stack_max = s->limits.stack_bytes_max != 0 ? s->limits.stack_bytes_max : SOREX_STACK_BYTES_DEFAULT;
    enum sorex_status status = buf_printf(
        &text, err,
        "contract=%s\nmodule=%s\nmemory=%d\nbefore=%d\ninverse=%d\nfuel=%llu\nmemory_max=%llu\nstack_max=%llu\nstart_height=%u\n",
        indexer ? "indexer" : "transform", module, s->memory, s->before, s->inverse, (unsigned long long)s->limits.fuel,
        (unsigned long long)memory_max, (unsigned long long)stack_max, start_height);
    if (status == SOREX_OK)
        sha256_once(buf_view(&text), program->identity);
    buf_deinit(&text);
    return status;
}

static enum sorex_status compile(struct program *program, const struct program_context *context, struct sorex_error *err)
{
    char cache[PATH_MAX];
    const char *cache_dir = NULL;
    if (context->data_dir != NULL) {
        if (snprintf(cache, sizeof cache, "%s/cache", context->data_dir) >= (int)sizeof cache)
            return sorex_error_set(err, SOREX_INVALID, "path too long: %s", context->data_dir);
        cache_dir = cache;
    }
    if (program->contract == PROGRAM_INDEXER) {
        struct indexer_options options = {.name = program->settings->name,
                                          .limits = program->settings->limits,
                                          .cache_dir = cache_dir,
                                          .interruptible = context->interruptible,
                                          .stop = context->stop,
                                          .stop_user_data = context->stop_user_data};
        return indexer_new(buf_view(&program->wasm), &options, &program->indexer, err);
    }
    struct transform_options options = {.name = program->settings->name,
                                        .limits = program->settings->limits,
                                        .cache_dir = cache_dir,
                                        .memory = (enum guest_memory_mode)program->settings->memory,
                                        .stop = context->stop,
                                        .stop_user_data = context->stop_user_data};
    return transform_new(buf_view(&program->wasm), &options, &program->transform, err);
}

enum sorex_status program_load(struct program *program, enum program_contract contract, const struct program_settings *settings,
                               const struct program_context *context, struct sorex_error *err)
{
    *program = (struct program){.contract = contract, .settings = settings};
    enum sorex_status status = file_read(settings->wasm, SOREX_MODULE_BYTES_MAX, &program->wasm, err);
    if (status == SOREX_OK) {
        sha256_once(buf_view(&program->wasm), program->module_hash);
        if (context->module_hash != NULL && memcmp(context->module_hash, program->module_hash, HASH_BYTES) != 0)
            status = sorex_error_set(err, SOREX_CORRUPT,
                                     "%s is damaged: its name is not its SHA-256; `sorex run` with the module writes it again",
                                     settings->wasm);
    }
    if (status == SOREX_OK) {
        status = identity_make(program, context->start_height, err);
    }
    if (status == SOREX_OK) {
        status = compile(program, context, err);
        if (status != SOREX_OK) /* which names the program itself */
            return sorex_error_prefix(err, "%s", settings->wasm);
    }
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "program %s", settings->name);
    return SOREX_OK;
}

void program_unload(struct program *program)
{
    if (program->indexer != NULL)
        indexer_free(program->indexer);
    if (program->transform != NULL)
        transform_free(program->transform);
    buf_deinit(&program->wasm);
    *program = (struct program){0};
}

static enum sorex_status module_path(const char *data_dir, const uint8_t hash[HASH_BYTES], char out[PATH_MAX],
                                     struct sorex_error *err)
{
    char hex[HASH_HEX_SIZE];
    hash_hex(hash, hex);
    if (snprintf(out, PATH_MAX, "%s/modules/%s.wasm", data_dir, hex) >= PATH_MAX)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", data_dir);
    return SOREX_OK;
}

/* Is the module's copy there, and whole? */
static bool copy_intact(const struct program *program, const char *path)
{
    struct buf copy = {0};
    struct sorex_error err;
    bool intact = access(path, R_OK) == 0 && file_read(path, SOREX_MODULE_BYTES_MAX, &copy, &err) == SOREX_OK &&
                  bytes_equal(buf_view(&copy), buf_view(&program->wasm));
    buf_deinit(&copy);
    return intact;
}

enum sorex_status program_register(struct program *program, struct store *store, const char *data_dir, bool adopt,
                                   struct sorex_error *err)
{
    char path[PATH_MAX], dir[PATH_MAX];
    TRY(module_path(data_dir, program->module_hash, path, err));
    if (!copy_intact(program, path)) {
        (void)snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
        TRY(file_mkdirs(dir, err));
        TRY(file_replace(path, buf_view(&program->wasm), err));
    }
    TRY(store_program(store, program->settings->name, program->identity, program->module_hash, adopt, &program->stored, err));
    if (program->settings->inverse == INVERSE_GUEST && program->stored.id >= PROGRAM_GUEST_INVERSE_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "program %s: only the first %d programs of a store may say inverse: guest",
                               program->settings->name, PROGRAM_GUEST_INVERSE_MAX);
    return SOREX_OK;
}

enum sorex_status program_load_stored(struct program *program, const struct store_program *stored,
                                      struct program_settings *settings, const struct program_context *context,
                                      struct sorex_error *err)
{
    char path[PATH_MAX];
    TRY(module_path(context->data_dir, stored->module_hash, path, err));
    char name[sizeof stored->name]; /* for errors of loading */
    memcpy(name, stored->name, sizeof name);
    *settings = (struct program_settings){.name = name, .wasm = path, .limits = settings->limits};
    struct program_context this_module = *context;
    this_module.module_hash = stored->module_hash;
    enum sorex_status status = program_load(program, PROGRAM_INDEXER, settings, &this_module, err);
    program->stored = *stored;
    settings->name = program->stored.name;
    settings->wasm = NULL;
    return status;
}
