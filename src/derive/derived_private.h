/* What the files of derived share. */
#ifndef SOREX_DERIVE_DERIVED_PRIVATE_H
#define SOREX_DERIVE_DERIVED_PRIVATE_H

#include <limits.h>

#include "derive/cache.h"
#include "derive/derived.h"
#include "pg/saved.h"
#include "store/store.h"

/* A place in messages.log. */
struct log_place {
    uint64_t offset;
    struct log_end end;
};

struct derived {
    char messages[PATH_MAX]; /* path of messages.log */
    bool read_only;
    struct derive_settings settings;
    struct derivation *derivation;
    struct store *store;
    struct saved *saved;
    struct cache *cache;
    bool begun;             /* the saved database is a state, receipt's */
    struct receipt receipt; /* of the saved database as it is now */
    bool dirty;             /* it is further than what is saved */
    /* The log that was given last, up to its end: as long as the state is the one that it gave, it need not be read as
     * messages again. */
    struct {
        bool there;
        struct messages_mark mark;
        struct log_place place;
        uint8_t key[SHA256_BYTES];
    } given;
    /* While running. */
    struct receipt committed;
    struct messages_writer writer;
    uint64_t committed_ms;
    struct cache_pace pace;
};

/* The best state to begin with. */
struct known {
    bool tip, cached; /* neither: from the beginning */
    struct receipt_point point;
    struct log_place place;
};

/* Walks over the directory's log, or makes it that which is given, and finds the newest known state on its way.
 * at_most: how far. out_end: where the walk ended. log_error: what is wrong with the given log, SOREX_OK before; all
 * that comes before it was taken. */
enum sorex_status derived_scan(struct derived *derived, uint64_t at_most, struct known *out, struct log_place *out_end,
                               struct sorex_error *err);
enum sorex_status derived_ingest(struct derived *derived, struct messages *log, bool follow, struct known *out,
                                 struct log_place *out_end, struct sorex_error *log_error, struct sorex_error *err);
/* Saves the state as it is, with its receipt. */
enum sorex_status derived_commit(struct derived *derived, struct sorex_error *err);
/* Begins the saved database anew. */
enum sorex_status derived_begin(struct derived *derived, struct sorex_error *err);
/* Puts another database in the place of the saved one, and saves it. */
enum sorex_status derived_become(struct derived *derived, struct database *database, const struct receipt *receipt,
                                 struct sorex_error *err);

#endif
