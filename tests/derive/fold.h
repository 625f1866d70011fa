/* Derivations in tests: logs of SQL statements, directories, and what a fold from the beginning gives. */
#ifndef SOREX_TESTS_DERIVE_FOLD_H
#define SOREX_TESTS_DERIVE_FOLD_H

#include "derive/derive.h"
#include "derive/derived.h"
#include "pg/image.h"

static struct buf wasm;

static inline void fold_setup(void)
{
    struct sorex_error err = {0};
    const char *guests = getenv("SOREX_GUESTS");
    char path[PATH_MAX];
    assert_non_null(guests);
    (void)snprintf(path, sizeof path, "%s/derive_sql.wasm", guests);
    assert_ok(file_read(path, (size_t)1 << 20, &wasm, &err));
}

/* A log in memory. */
struct texts {
    const char *const *at;
    size_t count;
};

static inline void texts_write(const char *path, const char *const *texts, size_t count)
{
    struct sorex_error err = {0};
    struct buf out = {0};
    struct json_writer w;
    for (size_t i = 0; i < count; i++) {
        json_writer_init(&w, &out, false, &err);
        json_object_begin(&w);
        json_name(&w, "time");
        json_uint(&w, 1700000000000 + i * 1000);
        json_name(&w, "author");
        json_string_z(&w, "ann");
        json_name(&w, "payload");
        json_string_z(&w, texts[i]);
        json_object_end(&w);
        assert_ok(json_writer_finish(&w));
        assert_ok(buf_append_str(&out, "\n", &err));
    }
    write_file(path, buf_view(&out));
    buf_deinit(&out);
}

static inline struct derive_settings default_settings(void)
{
    struct sorex_error err = {0};
    struct derive_settings settings = {0};
    bool found;
    assert_ok(derived_settings("nowhere", &settings, &found, &err));
    assert_false(found);
    return settings;
}

static inline struct derived *directory(const char *dir, const struct derive_settings *settings)
{
    struct sorex_error err = {0};
    struct derived *derived = NULL;
    struct derived_options options = {.dir = dir, .wasm = buf_view(&wasm), .settings = settings};
    assert_ok(derived_open(&options, &derived, &err));
    return derived;
}

static inline enum sorex_status run_log(struct derived *derived, const char *log, struct derived_progress *out,
                                        struct sorex_error *err)
{
    struct messages *messages = NULL;
    if (log != NULL && messages_open(log, NULL, &messages, err) != SOREX_OK)
        return err->status;
    struct derived_run_options options = {.log = messages};
    enum sorex_status status = derived_run(derived, &options, out, err);
    messages_close(messages);
    return status;
}

/* What a state is: its receipt and its database. */
struct state {
    struct receipt receipt;
    uint8_t digest[SHA256_BYTES], image[SHA256_BYTES];
};

static inline void state_of(struct database *database, const struct receipt *receipt, bool image, struct state *out)
{
    struct sorex_error err = {0};
    memset(out, 0, sizeof *out);
    out->receipt = *receipt;
    if (image) {
        struct snapshot *snapshot = NULL;
        assert_ok(database_save(database, &snapshot, &err));
        assert_ok(image_hash(snapshot, out->image, &err));
        snapshot_drop(snapshot);
    }
    assert_ok(database_digest(database, out->digest, &err));
}

static inline void derived_state(struct derived *derived, uint64_t count, bool image, struct state *out)
{
    struct sorex_error err = {0};
    struct database *database = NULL;
    static struct receipt receipt;
    assert_ok(derived_at(derived, count, &database, &receipt, &err));
    state_of(database, &receipt, image, out);
    database_close(database);
}

/* Points, traces, digests: all of a receipt, by its bytes. */
static inline void assert_states(const struct state *a, const struct state *b)
{
    struct sorex_error err = {0};
    struct buf left = {0}, right = {0};
    assert_ok(receipt_encode(&a->receipt, &left, &err));
    assert_ok(receipt_encode(&b->receipt, &right, &err));
    assert_int_equal(a->receipt.count, b->receipt.count);
    assert_memory_equal(a->receipt.key, b->receipt.key, SHA256_BYTES);
    assert_memory_equal(a->receipt.trace, b->receipt.trace, SHA256_BYTES);
    assert_true(bytes_equal(buf_view(&left), buf_view(&right)));
    assert_memory_equal(a->digest, b->digest, SHA256_BYTES);
    assert_memory_equal(a->image, b->image, SHA256_BYTES);
    buf_deinit(&left);
    buf_deinit(&right);
}

/* Folds from the beginning in memory: states[i] is that after i messages, i from `first` to count. image: every seventh
 * has one, as assert_at wants it. */
static inline void fold(const char *log, const struct derive_settings *settings, bool image, struct state *states,
                        size_t first, size_t count)
{
    struct sorex_error err = {0};
    struct derivation *derivation = NULL;
    struct derivation_options options = derive_settings_derivation(settings);
    struct database *database = NULL;
    struct messages *messages = NULL;
    static struct receipt receipt;
    struct logged logged;
    enum messages_state next;
    assert_ok(derivation_new(buf_view(&wasm), &options, &derivation, &err));
    assert_ok(database_open(derivation_program(derivation), derivation_database_options(derivation), &database, &err));
    assert_ok(derivation_begin(derivation, database, &receipt, &err));
    assert_ok(messages_open(log, NULL, &messages, &err));
    for (size_t i = 0;; i++) {
        if (i >= first)
            state_of(database, &receipt, image && i % 7 == 3, &states[i]);
        if (i == count)
            break;
        assert_ok(messages_next(messages, 0, &next, &logged, &err));
        assert_int_equal(next, MESSAGES_ONE);
        assert_ok(derivation_step(derivation, database, &receipt, &logged, NULL, NULL, NULL, &err));
    }
    messages_close(messages);
    database_close(database);
    derivation_free(derivation);
}

#endif
