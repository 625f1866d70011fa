/* The programs of a store: their numbers, names, and the identities they had from which height on. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "store/internal.h"

#define PROGRAM_RECORD_VERSION 1
#define IDENTITY_BYTES (4 + 2 * HASH_BYTES)

static struct bytes program_key(uint8_t out[sizeof META_PROGRAM - 1 + 2], uint16_t id)
{
    memcpy(out, META_PROGRAM, sizeof META_PROGRAM - 1);
    u16be_put(out + sizeof META_PROGRAM - 1, id);
    return bytes_of(out, sizeof META_PROGRAM - 1 + 2);
}

static const struct store_program *program_now(const struct program *program)
{
    return &program->identities[program->identity_count - 1];
}

static enum sorex_status program_encode(struct buf *out, const struct program *program, struct sorex_error *err)
{
    const char *name = program->identities[0].name;
    buf_reset(out);
    TRY(buf_append_u8(out, PROGRAM_RECORD_VERSION, err));
    TRY(buf_append_varint(out, strlen(name), err));
    TRY(buf_append_str(out, name, err));
    TRY(buf_append_varint(out, program->identity_count, err));
    for (size_t i = 0; i < program->identity_count; i++) {
        const struct store_program *identity = &program->identities[i];
        TRY(buf_append_u32le(out, identity->from_height, err));
        TRY(buf_append(out, bytes_of(identity->identity, HASH_BYTES), err));
        TRY(buf_append(out, bytes_of(identity->module_hash, HASH_BYTES), err));
    }
    return SOREX_OK;
}

static enum sorex_status program_decode(struct bytes record, uint16_t id, struct program *out, struct sorex_error *err)
{
    struct reader r = reader_of(record);
    uint8_t version = 0;
    uint64_t count = 0;
    struct bytes name, bytes;
    struct store_program program = {.id = id};
    if (!reader_u8(&r, &version) || version != PROGRAM_RECORD_VERSION || !reader_bytes(&r, &name) || name.len == 0 ||
        name.len >= sizeof program.name || !reader_varint(&r, &count) || count == 0 ||
        count != reader_left(&r) / IDENTITY_BYTES || reader_left(&r) % IDENTITY_BYTES != 0)
        return store_corrupt(err, "record of program", id);
    memcpy(program.name, name.data, name.len);
    out->identities = calloc((size_t)count, sizeof *out->identities);
    if (out->identities == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for program %u of the store", id);
    for (uint64_t i = 0; i < count && reader_take(&r, IDENTITY_BYTES, &bytes); i++) {
        program.from_height = u32le_get(bytes.data);
        memcpy(program.identity, bytes.data + 4, HASH_BYTES);
        memcpy(program.module_hash, bytes.data + 4 + HASH_BYTES, HASH_BYTES);
        out->identities[out->identity_count++] = program;
    }
    return SOREX_OK;
}

/* Puts a program in the table; takes its identities on success. */
static enum sorex_status program_keep(struct store *store, const struct program *program, struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    pthread_mutex_lock(store->lock);
    struct program *programs = realloc(store->programs, (store->program_count + 1) * sizeof *programs);
    if (programs == NULL) {
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory: table of programs");
    } else {
        store->programs = programs;
        store->programs[store->program_count++] = *program;
    }
    pthread_mutex_unlock(store->lock);
    return status;
}

enum sorex_status programs_load(struct store *store, struct sorex_error *err)
{
    struct db_value value = {0};
    for (uint32_t id = 0; id <= UINT16_MAX; id++) {
        uint8_t key[sizeof META_PROGRAM - 1 + 2];
        struct program program = {0};
        TRY(db_get(store->db, NULL, DB_META, program_key(key, (uint16_t)id), &value, err));
        if (!value.found)
            return SOREX_OK;
        enum sorex_status status = program_decode(value.bytes, (uint16_t)id, &program, err);
        db_value_release(&value);
        if (status == SOREX_OK)
            status = program_keep(store, &program, err);
        if (status != SOREX_OK) {
            free(program.identities);
            return status;
        }
    }
    return SOREX_OK;
}

void programs_free(struct store *store)
{
    for (size_t i = 0; i < store->program_count; i++)
        free(store->programs[i].identities);
    free(store->programs);
}

void programs_commitments(struct store *store, const struct entry_record *record)
{
    for (size_t i = 0; i < store->program_count; i++) {
        const uint8_t *commitment = record != NULL ? entry_commitment(record, (uint16_t)i) : NULL;
        if (commitment != NULL)
            memcpy(store->programs[i].commitment, commitment, HASH_BYTES);
        else
            memset(store->programs[i].commitment, 0, HASH_BYTES);
    }
}

static struct program *program_find(const struct store *store, const char *name)
{
    for (size_t i = 0; i < store->program_count; i++) {
        if (strcmp(store->programs[i].identities[0].name, name) == 0)
            return &store->programs[i];
    }
    return NULL;
}

static enum sorex_status program_write(struct store *store, const struct program *program, struct sorex_error *err)
{
    uint8_t key[sizeof META_PROGRAM - 1 + 2];
    TRY(program_encode(&store->scratch, program, err));
    db_batch_clear(store->batch);
    db_batch_put(store->batch, DB_META, program_key(key, program->identities[0].id), buf_view(&store->scratch));
    return db_write(store->db, store->batch, store->sync, err);
}

static enum sorex_status program_add(struct store *store, const struct store_program *wanted, struct store_program *out,
                                     struct sorex_error *err)
{
    if (store->program_count > UINT16_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "a store holds at most 65536 programs");
    struct program program = {.identities = calloc(1, sizeof *program.identities), .identity_count = 1};
    if (program.identities == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: program %s", wanted->name);
    program.identities[0] = *wanted;
    program.identities[0].id = (uint16_t)store->program_count;
    enum sorex_status status = program_write(store, &program, err);
    if (status == SOREX_OK)
        status = program_keep(store, &program, err);
    if (status != SOREX_OK) {
        free(program.identities);
        return status;
    }
    *out = *program_now(&store->programs[store->program_count - 1]);
    return SOREX_OK;
}

static enum sorex_status program_adopt(struct store *store, struct program *program, const struct store_program *wanted,
                                       struct store_program *out, struct sorex_error *err)
{
    size_t count = program->identity_count;
    struct program next = {.identities = calloc(count + 1, sizeof *next.identities), .identity_count = count + 1};
    if (next.identities == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: program %s", wanted->name);
    memcpy(next.identities, program->identities, count * sizeof *next.identities);
    next.identities[count] = *wanted;
    next.identities[count].id = program->identities[0].id;
    enum sorex_status status = program_write(store, &next, err);
    if (status != SOREX_OK) {
        free(next.identities);
        return status;
    }
    pthread_mutex_lock(store->lock);
    free(program->identities);
    program->identities = next.identities;
    program->identity_count = next.identity_count;
    pthread_mutex_unlock(store->lock);
    *out = *program_now(program);
    return SOREX_OK;
}

/* It was taken out of the pipeline, and is there again. */
static enum sorex_status program_left_out(const struct store *store, const struct store_program *program,
                                          struct sorex_error *err)
{
    char missed[160] = "and missed what came since; take it in again from the next entry on";
    if (head_is_empty(&store->head) || store->head.tip < program->from_height)
        (void)snprintf(missed, sizeof missed,
                       "; nothing is left of what it missed (it was undone, or never came), but only you can say that it is "
                       "to go on: take it in again");
    return sorex_error_set(err, SOREX_MISMATCH,
                           "program %s was not in the pipeline from height %u on%s%s with `sorex upgrade PIPELINE --program "
                           "%s`, or index again into a new data directory",
                           program->name, program->from_height, missed[0] == ';' ? "" : " ", missed, program->name);
}

enum sorex_status store_program(struct store *store, const char *name, const uint8_t identity[HASH_BYTES],
                                const uint8_t module_hash[HASH_BYTES], bool adopt, struct store_program *out,
                                struct sorex_error *err)
{
    CHECK(!store->staging.active);
    struct store_program wanted = {0};
    size_t len = strlen(name);
    if (len == 0 || len >= sizeof wanted.name)
        return sorex_error_set(err, SOREX_INVALID, "the name of a program must have 1 to %zu bytes: '%s'",
                               sizeof wanted.name - 1, name);
    memcpy(wanted.name, name, len);
    memcpy(wanted.identity, identity, HASH_BYTES);
    memcpy(wanted.module_hash, module_hash, HASH_BYTES);
    struct program *program = program_find(store, name);
    if (program != NULL && memcmp(program_now(program)->identity, identity, HASH_BYTES) == 0) {
        *out = *program_now(program);
        return SOREX_OK;
    }
    static const uint8_t left_out[HASH_BYTES];
    if (program != NULL && !adopt && memcmp(program_now(program)->identity, left_out, sizeof left_out) == 0)
        return program_left_out(store, program_now(program), err);
    if (program != NULL && !adopt) {
        char before[HASH_HEX_SIZE], now[HASH_HEX_SIZE];
        hash_hex(program_now(program)->module_hash, before);
        hash_hex(module_hash, now);
        char what[120];
        if (strcmp(before, now) != 0)
            (void)snprintf(what, sizeof what, "module %.16s here, %.16s now", before, now);
        else
            (void)snprintf(what, sizeof what, "its module %.16s is, its limits, modes or start_height are not", now);
        return sorex_error_set(
            err, SOREX_MISMATCH,
            "program %s is not the one that wrote this store (%s); either go on with the old module and settings, or "
            "adopt the new ones from the next entry on with `sorex upgrade PIPELINE --program %s`, or index again into a "
            "new data directory",
            name, what, name);
    }
    TRY(store_writable(store, err));
    TRY(store_flush(store, err));
    wanted.from_height = head_is_empty(&store->head) ? 0 : store->head.tip + 1;
    return program != NULL ? program_adopt(store, program, &wanted, out, err) : program_add(store, &wanted, out, err);
}

enum sorex_status store_program_find(const struct store *store, const char *name, struct store_program *out,
                                     struct sorex_error *err)
{
    pthread_mutex_lock(store->lock);
    const struct program *program = program_find(store, name);
    if (program != NULL)
        *out = *program_now(program);
    pthread_mutex_unlock(store->lock);
    return program != NULL ? SOREX_OK : sorex_error_set(err, SOREX_GONE, "no program '%s' in this store", name);
}

enum sorex_status store_programs(const struct store *store,
                                 void (*each)(void *user_data, const struct store_program *program), void *user_data,
                                 struct sorex_error *err)
{
    (void)err;
    for (size_t i = 0;; i++) {
        struct store_program copy;
        pthread_mutex_lock(store->lock);
        bool more = i < store->program_count;
        if (more)
            copy = *program_now(&store->programs[i]);
        pthread_mutex_unlock(store->lock);
        if (!more)
            return SOREX_OK;
        each(user_data, &copy);
    }
}
