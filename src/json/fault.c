#include "json/fault.h"

#include "json/utf8.h"

const char *json_fault_find(struct bytes text, size_t *out_offset)
{
    bool inside = false, escaped = false;
    size_t start = 0;
    for (size_t at = 0; at < text.len;) {
        uint8_t c = text.data[at];
        size_t len = utf8_sequence(text.data + at, text.len - at);
        *out_offset = at;
        if (len == 0)
            return "no UTF-8";
        if (inside && c < 0x20)
            return "a control character in a string, which has to be escaped";
        if (c == '"' && !escaped) {
            inside = !inside;
            start = at;
        }
        escaped = inside && c == '\\' && !escaped;
        at += len;
    }
    *out_offset = inside ? start : 0;
    return inside ? "a string without its end" : NULL;
}
