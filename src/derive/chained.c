#include "derive/chained_private.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "derive/verify.h"
#include "pg/saved.h"

#define NAME_PREFIX "derive/" /* others keep databases in the same store */
#define RECENT_MAX 16u

/* A state that was saved not long ago. It shares with the database what did not change since. */
struct recent {
    struct snapshot *snapshot; /* NULL: none */
    struct receipt receipt;
    uint8_t hash[HASH_BYTES];
};

struct chained {
    char name[CHAINED_NAME_BYTES_MAX + 1];
    char database[sizeof NAME_PREFIX + CHAINED_NAME_BYTES_MAX];
    struct derive_settings settings;
    struct derivation *derivation; /* NULL: a copy */
    struct database_program *program;
    struct buf identity; /* as it was noted */
    struct cache *cache;
    struct saved *saved;
    uint32_t first;
    struct receipt receipt;   /* of the database as it is now */
    uint8_t hash[HASH_BYTES]; /* of the entry that it is after */
    bool dirty;               /* it is further than what is saved */
    struct receipt committed;
    uint8_t committed_hash[HASH_BYTES];
    uint64_t committed_ms;
    struct cache_pace pace;
    struct buf canonical;
    struct recent recent[RECENT_MAX];
    size_t recent_next;
    pthread_mutex_t lock;    /* of these two */
    struct snapshot *newest; /* what is saved, for forks */
    uint32_t newest_height;
};

static uint32_t height_of(const struct chained *chained, uint64_t count)
{
    return count == 0 ? SOREX_HEIGHT_NONE : (uint32_t)(chained->first + count - 1);
}

struct chained_place chained_place(const struct chained *chained)
{
    struct chained_place place = {.height = height_of(chained, chained->receipt.count)};
    memcpy(place.hash, chained->hash, HASH_BYTES);
    return place;
}

uint32_t chained_next_height(const struct chained *chained)
{
    return (uint32_t)(chained->first + chained->receipt.count);
}

const struct receipt *chained_receipt(const struct chained *chained) { return &chained->receipt; }

struct database_program *chained_program(const struct chained *chained) { return chained->program; }

struct bytes chained_identity(const struct chained *chained)
{
    return chained->derivation != NULL ? derivation_identity(chained->derivation) : buf_view(&chained->identity);
}

uint32_t chained_newest_height(struct chained *chained)
{
    (void)pthread_mutex_lock(&chained->lock);
    uint32_t height = chained->newest_height;
    (void)pthread_mutex_unlock(&chained->lock);
    return height;
}

uint32_t chained_first_height(const struct chained *chained) { return chained->first; }

/* ---- the note ---- */

static enum sorex_status note_write(const struct chained *chained, struct buf *out, struct sorex_error *err)
{
    struct bytes identity = derivation_identity(chained->derivation);
    TRY(buf_append_u32le(out, (uint32_t)identity.len, err));
    TRY(buf_append(out, identity, err));
    TRY(buf_append_u32le(out, chained->first, err));
    TRY(buf_append(out, bytes_of(chained->hash, HASH_BYTES), err));
    return receipt_encode(&chained->receipt, out, err);
}

static enum sorex_status note_read(struct chained *chained, struct bytes note, struct sorex_error *err)
{
    struct reader reader = reader_of(note);
    uint32_t len;
    struct bytes identity, hash;
    if (!reader_u32le(&reader, &len) || !reader_take(&reader, len, &identity) ||
        !reader_u32le(&reader, &chained->first) || !reader_take(&reader, HASH_BYTES, &hash))
        return sorex_error_set(err, SOREX_CORRUPT, "the note of database %s does not decode", chained->database);
    memcpy(chained->hash, hash.data, HASH_BYTES);
    TRY(buf_append(&chained->identity, identity, err));
    return receipt_decode(bytes_of(reader.at, reader_left(&reader)), &chained->receipt, err);
}

/* ---- saving ---- */

static void newest_set(struct chained *chained, struct snapshot *snapshot)
{
    (void)pthread_mutex_lock(&chained->lock);
    struct snapshot *before = chained->newest;
    chained->newest = snapshot;
    chained->newest_height = height_of(chained, chained->receipt.count);
    (void)pthread_mutex_unlock(&chained->lock);
    snapshot_drop(before);
}

static void recent_add(struct chained *chained, struct snapshot *snapshot)
{
    struct recent *recent = &chained->recent[chained->recent_next];
    chained->recent_next = (chained->recent_next + 1) % RECENT_MAX;
    snapshot_drop(recent->snapshot);
    recent->snapshot = snapshot_keep(snapshot);
    recent->receipt = chained->receipt;
    memcpy(recent->hash, chained->hash, HASH_BYTES);
}

static void committed_set(struct chained *chained)
{
    chained->committed = chained->receipt;
    memcpy(chained->committed_hash, chained->hash, HASH_BYTES);
    chained->committed_ms = clock_ms();
    chained->dirty = false;
}

/* The state as it is, dirty or not. */
static enum sorex_status save(struct chained *chained, struct sorex_error *err)
{
    struct buf note = {0};
    struct snapshot *snapshot = NULL;
    enum sorex_status status = note_write(chained, &note, err);
    if (status == SOREX_OK)
        status = saved_commit(chained->saved, buf_view(&note), &snapshot, err);
    buf_deinit(&note);
    TRY(status);
    recent_add(chained, snapshot);
    newest_set(chained, snapshot);
    committed_set(chained);
    return SOREX_OK;
}

enum sorex_status chained_commit(struct chained *chained, struct sorex_error *err)
{
    return chained->dirty ? save(chained, err) : SOREX_OK;
}

static enum sorex_status restore(struct chained *chained, struct sorex_error *err)
{
    TRY(saved_restore(chained->saved, err));
    chained->receipt = chained->committed;
    memcpy(chained->hash, chained->committed_hash, HASH_BYTES);
    chained->dirty = false;
    return SOREX_OK;
}

static enum sorex_status snapshot_put(struct chained *chained, struct sorex_error *err)
{
    uint64_t began = clock_ms();
    TRY(cache_put_database(chained->cache, chained->derivation, saved_database(chained->saved), &chained->receipt,
                           chained->hash, err));
    cache_pace_kept(&chained->pace, began, chained->receipt.count);
    return SOREX_OK;
}

/* ---- another state ---- */

/* hash: of its place; NULL: before the first entry. */
static enum sorex_status become(struct chained *chained, const struct snapshot *snapshot, const struct receipt *receipt,
                                const uint8_t *hash, struct sorex_error *err)
{
    TRY(database_restore(saved_database(chained->saved), snapshot, err));
    chained->receipt = *receipt;
    memset(chained->hash, 0, HASH_BYTES);
    if (hash != NULL)
        memcpy(chained->hash, hash, HASH_BYTES);
    return save(chained, err);
}

static enum sorex_status become_recent(struct chained *chained, const struct recent *recent, struct sorex_error *err)
{
    struct recent copy = *recent; /* saving takes its place for another one */
    (void)snapshot_keep(copy.snapshot);
    enum sorex_status status = become(chained, copy.snapshot, &copy.receipt, copy.hash, err);
    snapshot_drop(copy.snapshot);
    return status;
}

static enum sorex_status become_database(struct chained *chained, struct database *database,
                                         const struct receipt *receipt, const uint8_t *hash, struct sorex_error *err)
{
    struct snapshot *snapshot = NULL;
    TRY(database_save(database, &snapshot, err));
    enum sorex_status status = become(chained, snapshot, receipt, hash, err);
    snapshot_drop(snapshot);
    return status;
}

static enum sorex_status become_cached(struct chained *chained, const struct cached *cached, struct sorex_error *err)
{
    struct database *database = NULL;
    struct receipt receipt;
    TRY(cache_get_database(chained->cache, chained->derivation, cached->key, &database, &receipt, err));
    enum sorex_status status = become_database(chained, database, &receipt, cached->head.place, err);
    database_close(database);
    return status;
}

static enum sorex_status become_first(struct chained *chained, struct sorex_error *err)
{
    struct database *database = NULL;
    struct receipt receipt;
    TRY(database_open(derivation_program(chained->derivation), derivation_database_options(chained->derivation),
                      &database, err));
    enum sorex_status status = derivation_begin(chained->derivation, database, &receipt, err);
    if (status == SOREX_OK)
        status = become_database(chained, database, &receipt, NULL, err);
    database_close(database);
    return status;
}

struct asking {
    chained_is_fn *is_on;
    void *user_data;
};

static enum sorex_status ask(const struct chained *chained, const struct asking *asking, uint64_t count,
                             const uint8_t hash[HASH_BYTES], bool *out, struct sorex_error *err)
{
    struct chained_place place = {.height = height_of(chained, count)};
    memcpy(place.hash, hash, HASH_BYTES);
    *out = false;
    return count != 0 ? asking->is_on(asking->user_data, &place, out, err) : SOREX_OK;
}

/* The one with the most messages; NULL: none. */
static enum sorex_status recent_find(const struct chained *chained, const struct asking *asking,
                                     const struct recent **out, struct sorex_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < RECENT_MAX; i++) {
        const struct recent *recent = &chained->recent[i];
        bool on;
        if (recent->snapshot == NULL || (*out != NULL && recent->receipt.count <= (*out)->receipt.count))
            continue;
        TRY(ask(chained, asking, recent->receipt.count, recent->hash, &on, err));
        if (on)
            *out = recent;
    }
    return SOREX_OK;
}

enum sorex_status chained_back(struct chained *chained, chained_is_fn *is_on, void *user_data, struct sorex_error *err)
{
    const struct asking asking = {is_on, user_data};
    const struct recent *recent;
    TRY(recent_find(chained, &asking, &recent, err));
    for (size_t i = cache_count(chained->cache); i-- > 0;) { /* one that is removed moves only those after it */
        struct cached cached;
        struct sorex_error why = {0};
        bool on;
        cache_at(chained->cache, i, &cached);
        if (recent != NULL && cached.head.count <= recent->receipt.count)
            break;
        TRY(ask(chained, &asking, cached.head.count, cached.head.place, &on, err));
        if (!on)
            continue;
        enum sorex_status status = become_cached(chained, &cached, &why);
        if (status == SOREX_OK)
            return SOREX_OK;
        if (status != SOREX_GONE && status != SOREX_MISMATCH) /* damaged, or of other settings: the next one will do */
            return sorex_error_set(err, status, "%s", why.text);
    }
    if (recent != NULL)
        return become_recent(chained, recent, err);
    log_line(LOG_WARN, "derive", "reducer %s: no snapshot is on the chain: every entry is derived again",
             chained->name);
    return become_first(chained, err);
}

/* ---- entries ---- */

enum sorex_status chained_entry_message(const struct entry *entry, struct buf *out, struct sorex_error *err)
{
    const struct message message = {.time_ms = (int64_t)entry->time_ms, .payload = entry->payload};
    buf_reset(out);
    return message_encode(&message, out, err);
}

enum sorex_status chained_step(struct derivation *derivation, struct database *database, struct receipt *receipt,
                               struct bytes canonical, log_end_add_fn *log_add, struct sorex_error *err)
{
    struct log_end end = {.count = receipt->count, .time_ms = receipt->time_ms};
    struct logged logged;
    memcpy(end.log, receipt->log, SHA256_BYTES);
    TRY(log_add(&end, canonical, &logged, err));
    return derivation_step(derivation, database, receipt, &logged, NULL, NULL, NULL, err);
}

static enum sorex_status keep(struct chained *chained, struct sorex_error *err)
{
    const struct derive_settings *settings = &chained->settings;
    bool snapshot = cache_pace_due(&chained->pace, settings, chained->receipt.count);
    if (snapshot || chained->receipt.count - chained->committed.count >= settings->checkpoint_messages ||
        clock_ms() - chained->committed_ms >= settings->checkpoint_ms)
        TRY(save(chained, err));
    return snapshot ? snapshot_put(chained, err) : SOREX_OK;
}

/* place: what it is after then. */
static enum sorex_status advance(struct chained *chained, struct bytes canonical, log_end_add_fn *log_add,
                                 const uint8_t place[HASH_BYTES], struct sorex_error *err)
{
    enum sorex_status status =
        chained_step(chained->derivation, saved_database(chained->saved), &chained->receipt, canonical, log_add, err);
    if (status != SOREX_OK) {
        struct sorex_error again = {0};
        return restore(chained, &again) == SOREX_OK ? status : sorex_error_set(err, again.status, "%s", again.text);
    }
    memcpy(chained->hash, place, HASH_BYTES);
    chained->dirty = true;
    return keep(chained, err);
}

enum sorex_status chained_apply(struct chained *chained, const struct entry *entry, struct sorex_error *err)
{
    CHECK(entry->height == chained_next_height(chained));
    if (chained->receipt.count != 0 && memcmp(entry->parent, chained->hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "height %u: the entry is no child of the one before",
                               entry->height);
    TRY(chained_entry_message(entry, &chained->canonical, err));
    enum sorex_status status = advance(chained, buf_view(&chained->canonical), log_end_add_entry, entry->hash, err);
    if (status != SOREX_OK && chained_next_height(chained) <= entry->height) /* else it could not be saved */
        return sorex_error_prefix(err, "height %u", entry->height);
    return status;
}

enum sorex_status chained_add(struct chained *chained, struct bytes canonical, const uint8_t place[HASH_BYTES],
                              struct sorex_error *err)
{
    if (chained->first + chained->receipt.count >= SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_LIMIT, "a stream's database has at most %u messages", SOREX_HEIGHT_NONE - 1);
    return advance(chained, canonical, log_end_add, place, err);
}

/* ---- forks ---- */

enum sorex_status chained_fork(struct chained *chained, uint32_t height, struct database **out, uint32_t *out_height,
                               struct sorex_error *err)
{
    (void)pthread_mutex_lock(&chained->lock);
    struct snapshot *snapshot = chained->newest;
    uint32_t newest = chained->newest_height;
    snapshot_keep(snapshot);
    (void)pthread_mutex_unlock(&chained->lock);
    enum sorex_status status = SOREX_OK;
    if (height != SOREX_HEIGHT_NONE && height != newest && newest == SOREX_HEIGHT_NONE)
        status = sorex_error_set(err, SOREX_GONE, "height %u: nothing was derived yet", height);
    else if (height != SOREX_HEIGHT_NONE && height != newest)
        status = sorex_error_set(err, SOREX_GONE,
                                 "height %u: the derived database is at height %u, and only that state is kept "
                                 "open",
                                 height, newest);
    if (status == SOREX_OK)
        status = database_fork(saved_database(chained->saved), snapshot, out, err);
    snapshot_drop(snapshot);
    if (status == SOREX_OK && out_height != NULL)
        *out_height = newest;
    return status;
}

enum sorex_status chained_prove(struct chained *chained, const char *query, struct receipt_file *out,
                                struct sorex_error *err)
{
    struct database *database = NULL;
    CHECK(chained->derivation == NULL); /* else the receipt may be ahead of what is saved */
    out->receipt = chained->receipt;
    TRY(buf_append(&out->identity, buf_view(&chained->identity), err));
    TRY(chained_fork(chained, SOREX_HEIGHT_NONE, &database, NULL, err));
    enum sorex_status status = derivation_prove(database, query, out, err);
    database_close(database);
    return status;
}

/* ---- open, close ---- */

static enum sorex_status name_set(struct chained *chained, const char *name, struct sorex_error *err)
{
    size_t len = strlen(name);
    bool good = len > 0 && len <= CHAINED_NAME_BYTES_MAX && name[0] != '.';
    for (size_t i = 0; i < len && good; i++)
        good = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
               (name[i] >= '0' && name[i] <= '9') || name[i] == '_' || name[i] == '-' || name[i] == '.';
    if (!good)
        return sorex_error_set(err, SOREX_INVALID,
                               "the reducer's name is to have 1 to %u letters, digits, '_', '-' or '.'",
                               CHAINED_NAME_BYTES_MAX);
    (void)snprintf(chained->name, sizeof chained->name, "%s", name);
    (void)snprintf(chained->database, sizeof chained->database, NAME_PREFIX "%s", name);
    return SOREX_OK;
}

static enum sorex_status chained_new(const char *name, struct chained **out, struct sorex_error *err)
{
    struct chained *chained = calloc(1, sizeof *chained);
    if (chained == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a derived database");
    CHECK(pthread_mutex_init(&chained->lock, NULL) == 0);
    buf_init(&chained->canonical, MESSAGE_BYTES_MAX);
    *out = chained;
    return name_set(chained, name, err);
}

/* A database that is there: is it this derivation's, and where does it stand? */
static enum sorex_status state_check(struct chained *chained, uint32_t first, struct sorex_error *err)
{
    TRY(note_read(chained, saved_note(chained->saved), err));
    if (identity_compare(buf_view(&chained->identity), derivation_identity(chained->derivation), err) != SOREX_OK)
        return sorex_error_prefix(err,
                                  "reducer %s (`sorex upgrade PIPELINE --program %s` derives it anew, from the first "
                                  "entry on)",
                                  chained->name, chained->name);
    if (chained->first != first)
        return sorex_error_set(err, SOREX_MISMATCH,
                               "reducer %s began at height %u, and start_height is %u: `sorex upgrade "
                               "PIPELINE --program %s` derives it anew",
                               chained->name, chained->first, first, chained->name);
    TRY(derivation_continue(chained->derivation, saved_database(chained->saved), err));
    struct snapshot *snapshot = NULL;
    TRY(database_save(saved_database(chained->saved), &snapshot, err));
    recent_add(chained, snapshot);
    newest_set(chained, snapshot);
    committed_set(chained);
    return SOREX_OK;
}

enum sorex_status chained_snapshots_open(const char *dir, const char *name, uint64_t bytes_max, bool tidy,
                                         struct cache **out, struct sorex_error *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/" NAME_PREFIX "%s", dir, name) >= (int)sizeof path - 128)
        return sorex_error_set(err, SOREX_INVALID, "the path of the data directory is too long");
    return cache_open(path, bytes_max, tidy, out, err);
}

static enum sorex_status open_all(const struct chained_options *options, struct chained *chained,
                                  struct sorex_error *err)
{
    char cache[PATH_MAX];
    struct derivation_options derivation = derive_settings_derivation(options->settings);
    chained->settings = *options->settings;
    chained->first = options->first_height;
    TRY(chained_snapshots_open(options->dir, chained->name, chained->settings.cache_bytes, true, &chained->cache, err));
    (void)snprintf(cache, sizeof cache, "%s/cache", options->dir);
    derivation.cache_dir = cache;
    TRY(derivation_new(options->wasm, &derivation, &chained->derivation, err));
    chained->program = derivation_program(chained->derivation);
    TRY(saved_open(options->store, derivation_program(chained->derivation), chained->database,
                   derivation_database_options(chained->derivation), &chained->saved, err));
    chained->committed_ms = chained->pace.at_ms = clock_ms();
    return saved_version(chained->saved) == 0 ? become_first(chained, err)
                                              : state_check(chained, options->first_height, err);
}

enum sorex_status chained_open(const struct chained_options *options, struct chained **out, struct sorex_error *err)
{
    struct chained *chained = NULL;
    enum sorex_status status = chained_new(options->name, &chained, err);
    if (status == SOREX_OK)
        status = open_all(options, chained, err);
    if (status != SOREX_OK) {
        chained_close(chained);
        return status;
    }
    *out = chained;
    return SOREX_OK;
}

static enum sorex_status open_copy(struct chained *chained, struct store *store, struct database_program *program,
                                   struct sorex_error *err)
{
    struct snapshot *snapshot = NULL;
    enum sorex_status status = saved_open(store, program, chained->database, NULL, &chained->saved, err);
    if (status == SOREX_GONE || (status == SOREX_OK && saved_version(chained->saved) == 0))
        return sorex_error_set(err, SOREX_GONE, "no reducer %s has derived a database here", chained->name);
    TRY(status);
    chained->program = program;
    TRY(note_read(chained, saved_note(chained->saved), err));
    TRY(database_save(saved_database(chained->saved), &snapshot, err));
    newest_set(chained, snapshot);
    return SOREX_OK;
}

enum sorex_status chained_open_copy(struct store *store, struct database_program *program, const char *name,
                                    struct chained **out, struct sorex_error *err)
{
    struct chained *chained = NULL;
    enum sorex_status status = chained_new(name, &chained, err);
    if (status == SOREX_OK)
        status = open_copy(chained, store, program, err);
    if (status != SOREX_OK) {
        chained_close(chained);
        return status;
    }
    *out = chained;
    return SOREX_OK;
}

enum sorex_status chained_open_note(struct store *store, const char *name, struct chained **out,
                                    struct sorex_error *err)
{
    struct chained *chained = NULL;
    struct buf note = {0};
    enum sorex_status status = chained_new(name, &chained, err);
    if (status == SOREX_OK)
        status = saved_note_read(store, chained->database, &note, err);
    if (status == SOREX_OK)
        status = note_read(chained, buf_view(&note), err);
    buf_deinit(&note);
    if (status != SOREX_OK) {
        chained_close(chained);
        return status;
    }
    *out = chained;
    return SOREX_OK;
}

void chained_close(struct chained *chained)
{
    if (chained == NULL)
        return;
    snapshot_drop(chained->newest);
    for (size_t i = 0; i < RECENT_MAX; i++)
        snapshot_drop(chained->recent[i].snapshot);
    saved_close(chained->saved);
    cache_close(chained->cache);
    derivation_free(chained->derivation);
    buf_deinit(&chained->canonical);
    buf_deinit(&chained->identity);
    (void)pthread_mutex_destroy(&chained->lock);
    free(chained);
}

enum sorex_status chained_drop(struct store *store, const char *dir, const char *name, struct sorex_error *err)
{
    struct chained *chained = NULL;
    enum sorex_status status = chained_new(name, &chained, err);
    if (status == SOREX_OK)
        status = chained_snapshots_open(dir, name, UINT64_MAX, true, &chained->cache, err);
    if (status == SOREX_OK) {
        cache_clear(chained->cache);
        status = saved_drop(store, chained->database, err);
    }
    chained_close(chained);
    return status;
}
