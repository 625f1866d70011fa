/* A block here has one transaction with one input and one output. The input's script, where a coinbase has free space,
 * holds height and branch, so equal blocks have equal bytes. Bits ask for no work (207fffff, as on regtest) and none is
 * proven. */
#include "source/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "source/types.h"

#define BLOCK_BYTES 152 /* header 80, count 1, transaction 71 */
#define BITS 0x207fffff
#define EPOCH 1300000000u

struct memory_settings {
    uint32_t blocks;
};

static const struct option memory_options[] = {
    {"blocks", OPTION_U32, offsetof(struct memory_settings, blocks), "0", false, 0, 0, NULL,
     "number of made-up blocks to start with"},
    {NULL, OPTION_BOOL, 0, NULL, false, 0, 0, NULL, NULL},
};

struct memory_block {
    uint8_t *data; /* owned */
    size_t len;
    uint8_t hash[HASH_BYTES];
};

struct failure {
    uint32_t skip, count;
    enum sorex_status status;
    const char *text;
};

struct memory {
    struct source source;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t changed;
    struct memory_block *blocks; /* by height */
    uint32_t count, cap;
    struct failure failures[MEMORY_CALLS];
    bool stalled[MEMORY_CALLS];
    uint32_t waiting[MEMORY_CALLS];
    uint64_t calls[MEMORY_CALLS];
    uint64_t interrupts;
    uint32_t spoilt_height;
    enum memory_damage damage;
};

static struct memory *of(struct source *source)
{
    CHECK(source->type == &source_memory);
    return (struct memory *)source;
}

/* version 1, one input (outpoint of a coinbase, a script of 8 bytes), one output of 50 coins with a script of 3 bytes.
 */
static void make_block(const uint8_t parent[HASH_BYTES], uint32_t height, uint32_t branch, uint8_t out[BLOCK_BYTES])
{
    uint8_t *tx = out + 81;
    memset(out, 0, BLOCK_BYTES);
    u32le_put(tx, 1);
    tx[4] = 1;
    u32le_put(tx + 37, UINT32_MAX);
    tx[41] = 8;
    u32le_put(tx + 42, height);
    u32le_put(tx + 46, branch);
    u32le_put(tx + 50, UINT32_MAX);
    tx[54] = 1;
    u64le_put(tx + 55, 5000000000u);
    tx[63] = 3;
    u16le_put(tx + 64, (uint16_t)branch);
    tx[66] = 0x51;

    u32le_put(out, 1);
    memcpy(out + 4, parent, HASH_BYTES);
    sha256_double(bytes_of(tx, BLOCK_BYTES - 81), out + 36);
    u32le_put(out + 68, EPOCH + height * 600);
    u32le_put(out + 72, BITS);
    u32le_put(out + 76, branch);
    out[80] = 1;
}

static enum sorex_status push(struct memory *self, struct bytes block, struct sorex_error *err)
{
    struct entry entry;
    TRY(block_header_parse(block, &entry, err));
    if (self->count == self->cap) {
        uint32_t cap = self->cap == 0 ? 64 : self->cap * 2;
        struct memory_block *blocks = realloc(self->blocks, cap * sizeof *blocks);
        if (blocks == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for %u blocks", cap);
        self->blocks = blocks;
        self->cap = cap;
    }
    uint8_t *copy = malloc(block.len);
    if (copy == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a block");
    memcpy(copy, block.data, block.len);
    struct memory_block *added = &self->blocks[self->count++];
    *added = (struct memory_block){.data = copy, .len = block.len};
    memcpy(added->hash, entry.hash, HASH_BYTES);
    return SOREX_OK;
}

static enum sorex_status extend(struct memory *self, uint32_t count, uint32_t branch, struct sorex_error *err)
{
    static const uint8_t zero[HASH_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        uint8_t block[BLOCK_BYTES];
        make_block(self->count == 0 ? zero : self->blocks[self->count - 1].hash, self->count, branch, block);
        TRY(push(self, bytes_of(block, sizeof block), err));
    }
    return SOREX_OK;
}

static void cut(struct memory *self, uint32_t count)
{
    while (self->count > count)
        free(self->blocks[--self->count].data);
}

enum sorex_status memory_open(struct source **out, struct sorex_error *err)
{
    return source_memory.open(&(struct memory_settings){0}, out, err);
}

enum sorex_status memory_extend(struct source *source, uint32_t count, uint32_t branch, struct sorex_error *err)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    enum sorex_status status = extend(self, count, branch, err);
    pthread_mutex_unlock(&self->lock);
    return status;
}

enum sorex_status memory_fork(struct source *source, uint32_t height, uint32_t count, uint32_t branch,
                              struct sorex_error *err)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    cut(self, height == SOREX_HEIGHT_NONE ? 0 : height + 1);
    enum sorex_status status = extend(self, count, branch, err);
    pthread_mutex_unlock(&self->lock);
    return status;
}

enum sorex_status memory_push(struct source *source, struct bytes block, struct sorex_error *err)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    enum sorex_status status = push(self, block, err);
    pthread_mutex_unlock(&self->lock);
    return status;
}

void memory_fail(struct source *source, enum memory_call call, uint32_t skip, uint32_t count, enum sorex_status status,
                 const char *text)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    self->failures[call] = (struct failure){skip, count, status, text};
    pthread_mutex_unlock(&self->lock);
}

enum sorex_status memory_spoil(struct source *source, uint32_t height, enum memory_damage damage,
                               struct sorex_error *err)
{
    struct memory *self = of(source);
    enum sorex_status status = SOREX_OK;
    pthread_mutex_lock(&self->lock);
    CHECK(height < self->count);
    self->spoilt_height = height;
    self->damage = damage;
    if (damage == MEMORY_WRONG_PARENT) {
        uint8_t block[BLOCK_BYTES];
        uint8_t stranger[HASH_BYTES];
        CHECK(height == self->count - 1);
        memset(stranger, 0xee, sizeof stranger);
        make_block(stranger, height, 0, block);
        cut(self, height);
        status = push(self, bytes_of(block, sizeof block), err);
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

void memory_stall(struct source *source, enum memory_call call, bool stalled)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    self->stalled[call] = stalled;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static struct timespec deadline_in(uint32_t timeout_ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += timeout_ms / 1000;
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

bool memory_stalled(struct source *source, enum memory_call call, uint32_t count, uint32_t timeout_ms)
{
    struct memory *self = of(source);
    struct timespec deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&self->lock);
    while (self->waiting[call] < count && pthread_cond_timedwait(&self->changed, &self->lock, &deadline) != ETIMEDOUT) {
    }
    bool reached = self->waiting[call] >= count;
    pthread_mutex_unlock(&self->lock);
    return reached;
}

uint64_t memory_calls(struct source *source, enum memory_call call)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    uint64_t calls = self->calls[call];
    pthread_mutex_unlock(&self->lock);
    return calls;
}

/* Counts a call, stalls or fails it as scripted. The lock is held. */
static enum sorex_status enter(struct memory *self, enum memory_call call, struct sorex_error *err)
{
    uint64_t interrupts = self->interrupts;
    struct failure *failure = &self->failures[call];
    self->calls[call]++;
    self->waiting[call]++;
    pthread_cond_broadcast(&self->changed);
    while (self->stalled[call] && self->interrupts == interrupts)
        pthread_cond_wait(&self->changed, &self->lock);
    self->waiting[call]--;
    if (self->interrupts != interrupts)
        return sorex_error_set(err, SOREX_STOPPED, "interrupted");
    if (failure->count == 0)
        return SOREX_OK;
    if (failure->skip != 0) {
        failure->skip--;
        return SOREX_OK;
    }
    failure->count--;
    return sorex_error_set(err, failure->status, "%s", failure->text);
}

static enum sorex_status memory_open_settings(const void *settings, struct source **out, struct sorex_error *err)
{
    const struct memory_settings *given = settings;
    pthread_condattr_t attributes;
    struct memory *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    self->source.type = &source_memory;
    CHECK(pthread_mutex_init(&self->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&self->changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    enum sorex_status status = extend(self, given->blocks, 0, err);
    if (status != SOREX_OK) {
        source_memory.close(&self->source);
        return status;
    }
    *out = &self->source;
    return SOREX_OK;
}

static void memory_close(struct source *source)
{
    struct memory *self = of(source);
    cut(self, 0);
    free(self->blocks);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static enum sorex_status memory_tip(struct source *source, uint32_t *out_height, uint8_t out_hash[HASH_BYTES],
                                    struct sorex_error *err)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    enum sorex_status status = enter(self, MEMORY_TIP, err);
    if (status == SOREX_OK && self->count == 0)
        status = sorex_error_set(err, SOREX_GONE, "no block yet");
    if (status == SOREX_OK) {
        *out_height = self->count - 1;
        memcpy(out_hash, self->blocks[self->count - 1].hash, HASH_BYTES);
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

static enum sorex_status memory_hash_at(struct source *source, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                        struct sorex_error *err)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    enum sorex_status status = enter(self, MEMORY_HASH_AT, err);
    if (status == SOREX_OK && height >= self->count)
        status = sorex_error_set(err, SOREX_GONE, "height %u is above the tip", height);
    if (status == SOREX_OK)
        memcpy(out_hash, self->blocks[height].hash, HASH_BYTES);
    pthread_mutex_unlock(&self->lock);
    return status;
}

/* Appends the block at a height, spoilt as scripted. The lock is held. */
static enum sorex_status give(struct memory *self, uint32_t height, struct buf *out, struct sorex_error *err)
{
    const struct memory_block *block = &self->blocks[height];
    enum memory_damage damage = height == self->spoilt_height ? self->damage : MEMORY_SOUND;
    if (damage == MEMORY_MISSING)
        return sorex_error_set(err, SOREX_GONE, "block at height %u is missing", height);
    if (damage == MEMORY_WRONG_HASH)
        block = &self->blocks[height == 0 ? self->count - 1 : height - 1];
    TRY(buf_append(out, bytes_of(block->data, damage == MEMORY_TORN ? block->len - 10 : block->len), err));
    if (damage == MEMORY_BAD_MERKLE)
        out->data[out->len - 1] ^= 1;
    return SOREX_OK;
}

static enum sorex_status memory_fetch(struct source *source, uint32_t height, const uint8_t hash[HASH_BYTES],
                                      struct buf *out, struct sorex_error *err)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    enum sorex_status status = enter(self, MEMORY_FETCH, err);
    if (status == SOREX_OK) {
        bool there = height < self->count && memcmp(self->blocks[height].hash, hash, HASH_BYTES) == 0;
        status = there ? give(self, height, out, err)
                       : sorex_error_set(err, SOREX_GONE, "no such block at height %u", height);
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

static void memory_interrupt(struct source *source)
{
    struct memory *self = of(source);
    pthread_mutex_lock(&self->lock);
    self->interrupts++;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

const struct source_type source_memory = {
    .name = "memory",
    .summary = "made-up blocks in memory, for tests",
    .options = memory_options,
    .settings_size = sizeof(struct memory_settings),
    .open = memory_open_settings,
    .close = memory_close,
    .tip = memory_tip,
    .hash_at = memory_hash_at,
    .fetch = memory_fetch,
    .interrupt = memory_interrupt,
};
