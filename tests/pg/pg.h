/* What the tests of this folder share: PostgreSQL from the build's image, statements and their replies as text. */
#ifndef SOREX_TESTS_PG_H
#define SOREX_TESTS_PG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/limits.h"
#include "pg/image.h"
#include "pg/protocol.h"

#define assert_ok(call)                                                                 \
    do {                                                                                \
        enum sorex_status assert_status_ = (call);                                      \
        if (assert_status_ != SOREX_OK)                                                 \
            fail_msg("%s: %s: %s", #call, sorex_status_name(assert_status_), err.text); \
    } while (0)

/* Tests run in the build directory. */
#define PG_DIR "postgres"
#define PG_CACHE "postgres-cache"

static inline struct postgres *pg_open(void)
{
    struct sorex_error err = {0};
    struct buf wasm = {0};
    struct postgres *postgres = NULL;
    assert_ok(file_read(PG_DIR "/pglite.wasm", SOREX_MODULE_BYTES_MAX, &wasm, &err));
    assert_ok(postgres_open(buf_view(&wasm), &(struct postgres_options){.cache_dir = PG_CACHE}, &postgres, &err));
    buf_deinit(&wasm);
    return postgres;
}

static inline struct snapshot *pg_base(struct postgres *postgres)
{
    struct sorex_error err = {0};
    struct buf image = {0};
    struct snapshot *snapshot = NULL;
    assert_ok(file_read(PG_DIR "/cluster.image", SOREX_MODULE_BYTES_MAX, &image, &err));
    assert_ok(image_read(postgres, buf_view(&image), &snapshot, &err));
    buf_deinit(&image);
    return snapshot;
}

static inline struct instance *pg_fork(const struct snapshot *snapshot)
{
    struct sorex_error err = {0};
    struct instance *instance = NULL;
    assert_ok(instance_fork(snapshot, 0, &instance, &err));
    return instance;
}

static inline struct snapshot *pg_save(struct instance *instance)
{
    struct sorex_error err = {0};
    struct snapshot *snapshot = NULL;
    assert_ok(instance_save(instance, &snapshot, &err));
    return snapshot;
}

static inline void pg_row_text(struct protocol_row row, struct buf *out)
{
    for (uint16_t i = 0; i < row.count; i++) {
        struct protocol_value value = protocol_value_next(&row);
        assert_int_equal(buf_append(out, value.null ? bytes_str("NULL") : value.bytes, NULL), SOREX_OK);
        assert_int_equal(buf_append_str(out, " | ", NULL), SOREX_OK);
    }
    assert_int_equal(buf_append_str(out, "\n", NULL), SOREX_OK);
}

/* Rows as "a | b | ", errors and notices as "E: SQLSTATE text", ends as "-> SELECT 1"; a line each, at most 8 rows. */
static inline void pg_reply_text(struct bytes reply, struct buf *out)
{
    struct sorex_error err = {0};
    struct protocol_message message;
    bool whole = true;
    for (int rows = 8; reply.len > 0;) {
        assert_ok(protocol_take(&reply, &message, &whole, &err));
        assert_true(whole);
        if (message.type == PROTOCOL_ROW && rows-- > 0) {
            pg_row_text(message.row, out);
        } else if (message.type == PROTOCOL_ERROR || message.type == PROTOCOL_NOTICE) {
            const struct bytes *fields = message.notice.fields;
            assert_ok(buf_printf(out, &err, "%c: %.*s %.*s\n", (char)message.type,
                                 BYTES_FMT(fields[PROTOCOL_FIELD_SQLSTATE]),
                                 BYTES_FMT(fields[PROTOCOL_FIELD_MESSAGE])));
        } else if (message.type == PROTOCOL_COMPLETE) {
            assert_ok(buf_printf(out, &err, "-> %.*s\n", BYTES_FMT(message.text)));
        }
    }
}

/* Runs a statement; the reply's text is appended to out, which may be NULL. */
static inline enum sorex_status pg_try(struct instance *instance, const char *sql, struct buf *out,
                                       struct sorex_error *err)
{
    struct buf in = {0}, reply = {0};
    assert_int_equal(protocol_query(&in, bytes_str(sql), err), SOREX_OK);
    enum sorex_status status = instance_exchange(instance, buf_view(&in), &reply, err);
    if (out != NULL)
        pg_reply_text(buf_view(&reply), out);
    buf_deinit(&in);
    buf_deinit(&reply);
    return status;
}

/* The reply's text, NUL-terminated, in a buffer that the next call overwrites. */
static inline const char *pg_run(struct instance *instance, const char *sql)
{
    static char text[65536];
    struct sorex_error err = {0};
    struct buf out = {0};
    assert_ok(pg_try(instance, sql, &out, &err));
    assert_true(out.len < sizeof text);
    if (out.len > 0)
        memcpy(text, out.data, out.len);
    text[out.len] = '\0';
    buf_deinit(&out);
    return text;
}

static inline void pg_hash(struct instance *instance, char out[HASH_HEX_SIZE])
{
    struct sorex_error err = {0};
    uint8_t hash[SHA256_BYTES];
    struct snapshot *snapshot = pg_save(instance);
    assert_ok(image_hash(snapshot, hash, &err));
    snapshot_drop(snapshot);
    hash_hex(hash, out);
}

#endif
