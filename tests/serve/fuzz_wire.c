/* libFuzzer: what a client sends to the PostgreSQL port. Only whole messages of known types reach a session, what is
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

static enum sorex_status side_exchange(void *session, struct bytes messages, struct buf *out, struct sorex_error *err)
{
    struct side *side = session;
    (void)out;
    CHECK(buf_append(&side->got, messages, NULL) == SOREX_OK);
    while (messages.len > 0) {
        CHECK(messages.len >= 5 && memchr("QPBFdCDEHScf", messages.data[0], 12) != NULL);
        uint32_t len = u32be_get(messages.data + 1);
        CHECK(len >= 4 && len < messages.len);
        if (messages.data[0] == 'F')
            return sorex_error_set(err, SOREX_FATAL, "broken");
        messages = bytes_of(messages.data + 1 + len, messages.len - 1 - len);
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
    const struct wire_backend backend = {side, side_open, side_exchange, side_close, side_cancel, NULL};
    struct wire wire;
    wire_init(&wire, &backend, WIRE_STARTUP_BYTES_MAX);
    while (input.len > 0) {
        size_t len = piece < input.len ? piece : input.len;
        CHECK(wire_feed(&wire, bytes_of(input.data, len), &side->out, NULL) == SOREX_OK);
        CHECK(wire.in.len <= WIRE_STARTUP_BYTES_MAX + 1);
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
    out_check(buf_view(&whole.out));
    buf_deinit(&whole.got);
    buf_deinit(&whole.out);
    buf_deinit(&pieces.got);
    buf_deinit(&pieces.out);
    return 0;
}
