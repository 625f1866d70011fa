/* Transform: the table `balances`, one row a script, from the view `changed` of the indexer guests/utxo.
 *
 *   key   the script in hex; when it is longer than 256 bytes: "sha256:" and the script's SHA-256, so that the key fits
 *         any database's index; "empty" for the empty script, since a key must not be empty
 *   row   {"kind": "p2pk" | "p2pkh" | "p2sh" | "p2wpkh" | "p2wsh" | "p2tr" | "other", "balance": satoshis},
 *         with "script": hex in front when the key is only its hash
 *
 * A script's first satoshi makes the row, its last one's leaving deletes it. */
#include "sorex/sha256.h"
#include "sorex/transform.h"

#define KEY_SCRIPT_BYTES_MAX 256

/* The standard forms: length, first bytes and last bytes are enough to tell them apart. */
static const char *kind(struct sx_bytes script)
{
    const uint8_t *s = script.data;
    uint32_t n = script.len;
    if ((n == 67 && s[0] == 65 && s[66] == 0xac) || (n == 35 && s[0] == 33 && s[34] == 0xac))
        return "p2pk";
    if (n == 25 && s[0] == 0x76 && s[1] == 0xa9 && s[2] == 20 && s[23] == 0x88 && s[24] == 0xac)
        return "p2pkh";
    if (n == 23 && s[0] == 0xa9 && s[1] == 20 && s[22] == 0x87)
        return "p2sh";
    if (n == 22 && s[0] == 0 && s[1] == 20)
        return "p2wpkh";
    if (n == 34 && s[0] == 0 && s[1] == 32)
        return "p2wsh";
    if (n == 34 && s[0] == 0x51 && s[1] == 32)
        return "p2tr";
    return "other";
}

/* Writes the row's key into buf, which is emptied first. */
static struct sx_bytes row_key(struct sx_buf *buf, struct sx_bytes script)
{
    uint8_t digest[32];
    buf->len = 0;
    if (script.len == 0)
        return sx_str("empty");
    if (script.len <= KEY_SCRIPT_BYTES_MAX) {
        sx_buf_hex(buf, script);
        return sx_buf_view(buf);
    }
    sx_sha256(script, digest);
    sx_buf_str(buf, "sha256:");
    sx_buf_hex(buf, sx_bytes_of(digest, sizeof digest));
    return sx_buf_view(buf);
}

static void row(struct sx_json *json, const char *image, struct sx_bytes script, uint64_t balance)
{
    sx_json_name(json, image);
    sx_json_begin(json, '{');
    if (script.len > KEY_SCRIPT_BYTES_MAX) {
        sx_json_name(json, "script");
        sx_json_hex(json, script);
    }
    sx_json_name(json, "kind");
    sx_json_text(json, kind(script));
    sx_json_name(json, "balance");
    sx_json_uint(json, balance);
    sx_json_end(json, '}');
}

static void transform_block(struct sx_context *context)
{
    struct sx_bytes changed = sx_view("changed", sx_bytes_of(NULL, 0)), script;
    struct sx_reader in = sx_reader_of(changed);
    struct sx_buf key = {0};
    uint64_t before, after;
    uint32_t count, len;
    context->source = "balances";
    sx_buf_reserve(&key, 2 * KEY_SCRIPT_BYTES_MAX);
    if (!sx_take_u64(&in, &context->timestamp_ms) || !sx_take_u32(&in, &count))
        sx_fail("balances: the view `changed` is not that of the guest utxo");
    for (; count > 0; count--) {
        if (!sx_take_u64(&in, &before) || !sx_take_u64(&in, &after) || !sx_take_u32(&in, &len) ||
            !sx_take(&in, len, &script))
            sx_fail("balances: the view `changed` is not that of the guest utxo");
        enum sx_operation operation = before == 0 ? SX_CREATE : after == 0 ? SX_DELETE : SX_UPDATE;
        sx_change_begin(context, operation, "balances", row_key(&key, script));
        if (before != 0)
            row(&context->changes, "before", script, before);
        if (after != 0)
            row(&context->changes, "after", script, after);
        sx_change_end(context);
    }
}
SOREX_TRANSFORM(transform_block)
