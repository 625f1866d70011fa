/* JSON text, written from left to right: the commas are kept track of, the nesting is the caller's. */
#ifndef SOREX_SDK_JSON_H
#define SOREX_SDK_JSON_H

#include "sorex/bytes.h"

struct sx_json {
    struct sx_buf text;
    bool comma; /* a value stands in front */
};

static inline void sx_json_comma(struct sx_json *json, bool after)
{
    if (json->comma)
        sx_buf_u8(&json->text, ',');
    json->comma = after;
}

/* open: '{' or '['; close: '}' or ']'. */
static inline void sx_json_begin(struct sx_json *json, char open)
{
    sx_json_comma(json, false);
    sx_buf_u8(&json->text, (uint8_t)open);
}
static inline void sx_json_end(struct sx_json *json, char close)
{
    sx_buf_u8(&json->text, (uint8_t)close);
    json->comma = true;
}

/* A string; it must be UTF-8. */
static inline void sx_json_string(struct sx_json *json, struct sx_bytes text)
{
    static const char digits[] = "0123456789abcdef";
    sx_json_comma(json, true);
    sx_buf_u8(&json->text, '"');
    for (uint32_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c < 0x20) {
            sx_buf_str(&json->text, "\\u00");
            sx_buf_u8(&json->text, (uint8_t)digits[c >> 4]);
            sx_buf_u8(&json->text, (uint8_t)digits[c & 15]);
            continue;
        }
        if (c == '"' || c == '\\')
            sx_buf_u8(&json->text, '\\');
        sx_buf_u8(&json->text, c);
    }
    sx_buf_u8(&json->text, '"');
}
static inline void sx_json_text(struct sx_json *json, const char *text) { sx_json_string(json, sx_str(text)); }

/* A member's name; its value comes next. */
static inline void sx_json_name(struct sx_json *json, const char *name)
{
    sx_json_text(json, name);
    sx_buf_u8(&json->text, ':');
    json->comma = false;
}

static inline void sx_json_uint(struct sx_json *json, uint64_t value)
{
    sx_json_comma(json, true);
    sx_buf_decimal(&json->text, value);
}
static inline void sx_json_int(struct sx_json *json, int64_t value)
{
    sx_json_comma(json, true);
    if (value < 0)
        sx_buf_u8(&json->text, '-');
    sx_buf_decimal(&json->text, value < 0 ? -(uint64_t)value : (uint64_t)value);
}
static inline void sx_json_bool(struct sx_json *json, bool value)
{
    sx_json_comma(json, true);
    sx_buf_str(&json->text, value ? "true" : "false");
}
/* A string of hex digits. */
static inline void sx_json_hex(struct sx_json *json, struct sx_bytes bytes)
{
    sx_json_comma(json, true);
    sx_buf_u8(&json->text, '"');
    sx_buf_hex(&json->text, bytes);
    sx_buf_u8(&json->text, '"');
}

#endif
