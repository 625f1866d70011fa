/* Messages as JSON objects, one a line. */
#include "derive/message.h"

#include "base/check.h"
#include "base/hex.h"
#include "json/canonical.h"
#include "json/utf8.h"

/* ---- times: RFC 3339, section 5.6 ---- */

static bool digits(struct bytes *text, size_t count, int64_t *out)
{
    int64_t value = 0;
    if (text->len < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (text->data[i] < '0' || text->data[i] > '9')
            return false;
        value = value * 10 + (text->data[i] - '0');
    }
    *text = bytes_of(text->data + count, text->len - count);
    *out = value;
    return true;
}

static bool sign(struct bytes *text, const char *any, char *out)
{
    if (text->len == 0 || text->data[0] == '\0' || strchr(any, text->data[0]) == NULL)
        return false;
    *out = (char)text->data[0];
    *text = bytes_of(text->data + 1, text->len - 1);
    return true;
}

/* Days since 1970-01-01; years begin in March, so that the leap day is the last one. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

static bool date_valid(int64_t year, int64_t month, int64_t day)
{
    static const int8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month >= 1 && month <= 12 && day >= 1 && day <= lengths[month - 1] + (month == 2 && leap);
}

/* ".5" is 500; false for more than three digits, which would be cut off. */
static bool fraction(struct bytes *text, int64_t *out)
{
    char point;
    int64_t digit, scale = 100;
    *out = 0;
    if (!sign(text, ".", &point))
        return true;
    while (digits(text, 1, &digit)) {
        *out += digit * scale;
        if (scale == 0)
            return false;
        scale /= 10;
    }
    return scale < 100;
}

static bool offset_minutes(struct bytes *text, int64_t *out)
{
    char c;
    int64_t hours, minutes;
    *out = 0;
    if (sign(text, "Zz", &c))
        return true;
    if (!sign(text, "+-", &c) || !digits(text, 2, &hours) || hours > 23)
        return false;
    char colon;
    if (!sign(text, ":", &colon) || !digits(text, 2, &minutes) || minutes > 59)
        return false;
    *out = (hours * 60 + minutes) * (c == '-' ? -1 : 1);
    return true;
}

static bool time_parse(struct bytes text, int64_t *out)
{
    int64_t year, month, day, hour, minute, second, ms, offset;
    char c;
    if (!digits(&text, 4, &year) || !sign(&text, "-", &c) || !digits(&text, 2, &month) || !sign(&text, "-", &c) ||
        !digits(&text, 2, &day) || !sign(&text, "Tt ", &c) || !digits(&text, 2, &hour) || !sign(&text, ":", &c) ||
        !digits(&text, 2, &minute) || !sign(&text, ":", &c) || !digits(&text, 2, &second) || !fraction(&text, &ms) ||
        !offset_minutes(&text, &offset) || text.len != 0)
        return false;
    if (!date_valid(year, month, day) || hour > 23 || minute > 59 || second > 59)
        return false;
    *out = (((days_of(year, month, day) * 24 + hour) * 60 + minute - offset) * 60 + second) * 1000 + ms;
    return true;
}

/* ---- payloads ---- */

static int base64_value(uint8_t c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;
    return at != NULL ? (int)(at - alphabet) : -1;
}

/* RFC 4648, section 4, padded; bits that are left over are zero. */
static enum sorex_status base64_decode(struct bytes text, struct buf *out, struct sorex_error *err)
{
    size_t pad = 0;
    uint32_t bits = 0;
    while (pad < 2 && pad < text.len && text.data[text.len - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < text.len; i++) {
        int value = i + pad < text.len ? base64_value(text.data[i]) : 0;
        if (text.len % 4 != 0 || value < 0)
            return sorex_error_set(err, SOREX_INVALID, "payload_base64 is no base64");
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 3)
            continue;
        const uint8_t three[3] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits};
        size_t keep = i + 1 == text.len ? 3 - pad : 3;
        for (size_t k = keep; k < 3; k++)
            if (three[k] != 0)
                return sorex_error_set(err, SOREX_INVALID, "payload_base64 is no base64: bits are left over");
        TRY(buf_append(out, bytes_of(three, keep), err));
    }
    return SOREX_OK;
}

/* Into scratch where the payload is no slice of the line. */
static enum sorex_status payload_read(const struct json_doc *doc, const struct json_node *node, struct buf *scratch,
                                      struct bytes *out, struct sorex_error *err)
{
    bool json = bytes_is(node->key, "payload");
    if (json && node->kind == JSON_STRING) {
        *out = node->text;
        return SOREX_OK;
    }
    if (json) {
        TRY(buf_reserve(scratch, node->raw.len, err));
        scratch->len = json_canonical_write(doc, node, scratch->data);
    } else if (node->kind != JSON_STRING) {
        return sorex_error_set(err, SOREX_INVALID, "%.*s has to be text", BYTES_FMT(node->key));
    } else if (bytes_is(node->key, "payload_base64")) {
        TRY(base64_decode(node->text, scratch, err));
    } else if (hex_decode(node->text, scratch, NULL) != SOREX_OK) {
        return sorex_error_set(err, SOREX_INVALID, "payload_hex is no hexadecimal text");
    }
    *out = buf_view(scratch);
    return SOREX_OK;
}

/* ---- lines ---- */

static enum sorex_status time_read(const struct json_node *node, int64_t *out, struct sorex_error *err)
{
    if (node == NULL)
        return sorex_error_set(err, SOREX_INVALID, "no \"time\"");
    if (node->kind == JSON_NUMBER ? json_i64(node, out) : node->kind == JSON_STRING && time_parse(node->text, out))
        return SOREX_OK;
    return sorex_error_set(err, SOREX_INVALID,
                           "time %.*s: wanted are whole milliseconds since 1970, or text like "
                           "\"2023-11-14T22:13:20.500Z\"",
                           BYTES_FMT(node->raw));
}

static enum sorex_status members_read(const struct json_doc *doc, struct message *message, struct buf *scratch,
                                      struct sorex_error *err)
{
    bool payload = false;
    const struct json_node *root = &doc->nodes[0];
    for (const struct json_node *node = json_first(doc, root); node != NULL; node = json_next(doc, node)) {
        if (bytes_is(node->key, "time"))
            continue;
        if (bytes_is(node->key, "author")) {
            if (node->kind != JSON_STRING)
                return sorex_error_set(err, SOREX_INVALID, "the author has to be text");
            message->author = node->text;
            continue;
        }
        if (!bytes_is(node->key, "payload") && !bytes_is(node->key, "payload_hex") &&
            !bytes_is(node->key, "payload_base64"))
            return sorex_error_set(err, SOREX_INVALID,
                                   "a message has no member \"%.*s\"; it has time, author, and payload, payload_hex or "
                                   "payload_base64",
                                   BYTES_FMT(node->key));
        if (payload)
            return sorex_error_set(err, SOREX_INVALID, "more than one payload");
        payload = true;
        TRY(payload_read(doc, node, scratch, &message->payload, err));
    }
    if (!payload)
        return sorex_error_set(err, SOREX_INVALID, "no \"payload\"");
    return time_read(json_member(doc, root, "time"), &message->time_ms, err);
}

enum sorex_status message_parse(struct json_parser *parser, struct bytes line, struct buf *out, struct sorex_error *err)
{
    struct json_doc doc;
    struct message message = {0};
    struct buf scratch = {0};
    TRY(json_parse(parser, line, &doc, err));
    if (doc.nodes[0].kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "a message is a JSON object");
    enum sorex_status status = members_read(&doc, &message, &scratch, err);
    if (status == SOREX_OK)
        status = message_encode(&message, out, err);
    buf_deinit(&scratch);
    return status;
}

/* Whether the payload is the canonical text of a JSON value, no string: then it reads back as it is. */
static bool payload_is_json(struct json_parser *parser, struct bytes payload)
{
    struct json_doc doc;
    if (payload.len == 0 || json_parse(parser, payload, &doc, NULL) != SOREX_OK)
        return false;
    const struct json_node *root = &doc.nodes[0];
    return root->kind != JSON_STRING && root->raw.len == payload.len && doc.depth < SOREX_JSON_DEPTH_MAX &&
           doc.compact && json_is_canonical(&doc, root);
}

enum sorex_status message_write(struct json_parser *parser, const struct message *message, struct json_writer *w)
{
    json_object_begin(w);
    json_name(w, "time");
    json_int(w, message->time_ms);
    if (message->author.len != 0) {
        json_name(w, "author");
        json_string(w, message->author);
    }
    if (payload_is_json(parser, message->payload)) {
        json_name(w, "payload");
        json_raw(w, message->payload);
    } else if (utf8_valid(message->payload)) {
        json_name(w, "payload");
        json_string(w, message->payload);
    } else {
        json_name(w, "payload_hex");
        json_hex(w, message->payload);
    }
    json_object_end(w);
    return w->status;
}
