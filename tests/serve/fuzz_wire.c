/* libFuzzer: what a client sends to the PostgreSQL port. Only what follows a startup reaches a session, what is
 * answered can be read by a client, and in which pieces the bytes came makes no difference. The first byte says how
 * long the pieces are. */
#include "base/check.h"
#include "serve/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct side {
    struct buf got, out;
    int sessions;
    uint32_t cancelled;
};

static enum sorex_status side_open(void *user_data, const struct wire_startup *startup, void **out_session,
                                   struct buf *out, struct sorex_error *err)
{
    struct side *side = user_data;
    CHECK(startup->user.len > 0 && startup->settings_count <= WIRE_SETTINGS_MAX);
    if (bytes_is(startup->user, "nobody"))
        return sorex_error_set(err, SOREX_GONE, "no");
    side->sessions++;
    *out_session = side;
    return buf_append(out, bytes_of("Z\0\0\0\5I", 6), err);
}

static enum sorex_status side_converse(void *session, struct bytes bytes, struct buf *out, bool *out_ended,
                                       struct sorex_error *err)
{
    struct side *side = session;
    (void)out;
    CHECK(bytes.len > 0);
    for (size_t i = 0; i < bytes.len && !*out_ended; i++) {
        if (bytes.data[i] == 'F')
            return sorex_error_set(err, SOREX_FATAL, "broken");
        *out_ended = bytes.data[i] == 'X';
        CHECK(buf_append_u8(&side->got, bytes.data[i], NULL) == SOREX_OK);
    }
    return SOREX_OK;
}

static void side_close(void *session) { ((struct side *)session)->sessions--; }

static void side_cancel(void *user_data, uint32_t process, struct bytes secret)
{
    ((struct side *)user_data)->cancelled = process ^ (uint32_t)secret.len;
}

static void run(struct side *side, struct bytes input, size_t piece)
{
    const struct wire_backend backend = {side, side_open, side_converse, side_close, side_cancel};
    struct wire wire;
    wire_init(&wire, &backend);
    while (input.len > 0) {
        size_t len = piece < input.len ? piece : input.len;
        CHECK(wire_feed(&wire, bytes_of(input.data, len), &side->out, NULL) == SOREX_OK);
        CHECK(wire.in.len <= WIRE_STARTUP_BYTES_MAX);
        input = bytes_of(input.data + len, input.len - len);
    }
    wire_deinit(&wire);
    CHECK(side->sessions == 0);
}

/* 'N' for each offer of encryption that was declined, then messages. */
static void out_check(struct bytes out)
{
    bool whole = true;
    for (int i = 0; i < 2 && out.len > 0 && out.data[0] == 'N'; i++)
        out = bytes_of(out.data + 1, out.len - 1);
    while (whole) {
        struct protocol_message message;
        CHECK(protocol_take(&out, &message, &whole, NULL) == SOREX_OK);
    }
    CHECK(out.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct side whole = {0}, pieces = {0};
    if (size == 0)
        return 0;
    struct bytes input = bytes_of(data + 1, size - 1);
    run(&whole, input, input.len + 1);
    run(&pieces, input, 1 + (size_t)data[0]);
    CHECK(bytes_equal(buf_view(&whole.out), buf_view(&pieces.out)) && whole.cancelled == pieces.cancelled);
    CHECK(bytes_equal(buf_view(&whole.got), buf_view(&pieces.got)));
    out_check(buf_view(&whole.out));
    buf_deinit(&whole.got);
    buf_deinit(&whole.out);
    buf_deinit(&pieces.got);
    buf_deinit(&pieces.out);
    return 0;
}
