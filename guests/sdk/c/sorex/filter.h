/* Contract 3: a guest that takes one change event and gives none, the same or another one.
 *
 *     static enum sx_verdict no_truncates(struct sx_bytes event, struct sx_buf *out)
 *     {
 *         struct sx_bytes op;
 *         (void)out;
 *         return sx_json_member(event, "op", &op) && sx_json_is(op, "truncate") ? SX_DROP : SX_PASS;
 *     }
 *     SOREX_FILTER(no_truncates)
 *
 * Compiled as version 2 of the contract, or as version 1 with -DSOREX_FILTER_V1. Events come in canonical form: no white space,
 * members of rows sorted. The memory of an instance lives on from event to event, except for what sx_alloc gave during one:
 * that is gone with the next. What init allocated stays.
 *
 * Without wasm (tests, benchmarks) the reading and editing of JSON is here, and no contract. */
#ifndef SOREX_SDK_FILTER_H
#define SOREX_SDK_FILTER_H

#include "sorex/bytes.h"

enum sx_verdict {
    SX_PASS,    /* the event as it came */
    SX_CHANGED, /* the event in out */
    SX_DROP,    /* none */
    SX_FAIL     /* this event is an error */
};

/* ---- reading JSON ----
 * A value is a view of its own text, quotes and brackets included. The text is trusted to be well-formed: the host wrote it. */

/* Where the string that begins at `at` ends, behind its quote. Eight bytes at a time while none of them is a quote or a backslash. */
static inline uint32_t sx_json_string_end(struct sx_bytes text, uint32_t at)
{
    for (at++; at < text.len;) {
        if (text.len - at >= 8) {
            const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
            uint64_t word = sx_u64_get(text.data + at), quote = word ^ ones * '"', slash = word ^ ones * '\\';
            uint64_t hit = (((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & high;
            if (hit == 0) {
                at += 8;
                continue;
            }
            at += (uint32_t)__builtin_ctzll(hit) / 8; /* the lowest one is exact */
        }
        if (text.data[at] == '"')
            return at + 1;
        at += text.data[at] == '\\' ? 2 : 1;
    }
    return text.len;
}

/* One value at `at` of the text; the view is empty at its end. */
static inline struct sx_bytes sx_json_value(struct sx_bytes text, uint32_t at)
{
    uint32_t begin = at, depth = 0;
    if (at < text.len && text.data[at] == '"') {
        at = sx_json_string_end(text, at);
        return sx_bytes_of(text.data + begin, at - begin);
    }
    while (at < text.len) {
        uint8_t c = text.data[at];
        if (c == '"') {
            at = sx_json_string_end(text, at);
            continue;
        }
        if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                break;
            if (--depth == 0) {
                at++;
                break;
            }
        } else if (depth == 0 && c == ',') {
            break;
        }
        at++;
    }
    return sx_bytes_of(text.data + begin, at - begin);
}

/* Members of an object, elements of an array, one after the other:
 *     struct sx_json_walk walk = sx_json_walk_of(row);
 *     while (sx_json_next(&walk)) ... walk.name (with its quotes; objects only), walk.value */
struct sx_json_walk {
    struct sx_bytes text;
    uint32_t at; /* after the last one: where the closing bracket is */
    bool object;
    struct sx_bytes name, value;
};

/* The container that begins at `at` of a text. */
static inline struct sx_json_walk sx_json_walk_at(struct sx_bytes text, uint32_t at)
{
    return (struct sx_json_walk){.text = text, .at = at + 1, .object = text.data[at] == '{'};
}

static inline struct sx_json_walk sx_json_walk_of(struct sx_bytes container) { return sx_json_walk_at(container, 0); }

static inline bool sx_json_next(struct sx_json_walk *walk)
{
    uint32_t at = walk->at;
    if (at >= walk->text.len || walk->text.data[at] == '}' || walk->text.data[at] == ']')
        return false;
    if (walk->text.data[at] == ',')
        at++;
    if (walk->object) {
        walk->name = sx_json_value(walk->text, at);
        at += walk->name.len + 1;
    }
    walk->value = sx_json_value(walk->text, at);
    walk->at = at + walk->value.len;
    return walk->value.len > 0;
}

/* True when the value is this string, which needs no escapes. */
static inline bool sx_json_is(struct sx_bytes value, const char *text)
{
    uint32_t i = 0;
    if (value.len < 2 || value.data[0] != '"')
        return false;
    for (; text[i] != 0; i++)
        if (i + 2 >= value.len || value.data[i + 1] != (uint8_t)text[i])
            return false;
    return i + 2 == value.len;
}

/* The value of a member; false when there is none, or no object. */
static inline bool sx_json_member(struct sx_bytes object, const char *name, struct sx_bytes *out)
{
    struct sx_json_walk walk = sx_json_walk_of(object);
    if (object.len == 0 || object.data[0] != '{')
        return false;
    while (sx_json_next(&walk))
        if (sx_json_is(walk.name, name)) {
            *out = walk.value;
            return true;
        }
    return false;
}

/* ---- editing: parts of a text replaced, from left to right ---- */

struct sx_edit {
    struct sx_bytes text;
    uint32_t at; /* copied so far */
    struct sx_buf *out;
};

static inline struct sx_edit sx_edit_of(struct sx_bytes text, struct sx_buf *out)
{
    out->len = 0;
    return (struct sx_edit){.text = text, .out = out};
}

/* part is a view into the text, behind what was replaced before. */
static inline void sx_edit_replace(struct sx_edit *edit, struct sx_bytes part, struct sx_bytes with)
{
    uint32_t begin = (uint32_t)(part.data - edit->text.data);
    sx_buf_bytes(edit->out, sx_bytes_of(edit->text.data + edit->at, begin - edit->at));
    sx_buf_bytes(edit->out, with);
    edit->at = begin + part.len;
}

static inline void sx_edit_end(struct sx_edit *edit)
{
    sx_buf_bytes(edit->out, sx_bytes_of(edit->text.data + edit->at, edit->text.len - edit->at));
    edit->at = edit->text.len;
}

/* ---- the host ---- */

#if defined(__wasm__)

enum sx_level { SX_TRACE, SX_DEBUG, SX_INFO, SX_WARN, SX_ERROR };

__attribute__((import_module("env"), import_name("log"))) void sx_host_log(uint32_t level, const uint8_t *text, uint32_t len);
__attribute__((import_module("env"), import_name("get_metric"))) int64_t sx_metric_get(const char *name);
__attribute__((import_module("env"), import_name("record_metric"))) void sx_metric_set(const char *name, int64_t value);

static inline void sx_log(enum sx_level level, struct sx_bytes text) { sx_host_log(level, text.data, text.len); }

/* ---- the contract ---- */

__attribute__((weak)) uint8_t *sx_filter_mark; /* the heap's end when no event is in hand */
__attribute__((weak)) struct sx_buf sx_filter_out;
__attribute__((weak)) uint32_t sx_filter_out_len;

/* The host asks once for each event, and before init. */
SOREX_EXPORT("alloc") uint8_t *sx_filter_alloc(uint32_t len);
__attribute__((weak)) uint8_t *sx_filter_alloc(uint32_t len)
{
    if (sx_filter_mark != 0)
        sx_heap_end = sx_filter_mark;
    /* The output's buffer stays below the mark. One that was too short for an output grew above it: then it is made anew,
     * in that size. */
    uint32_t room = len + len / 4 + 256;
    bool above = sx_filter_out.data + sx_filter_out.cap > sx_heap_end;
    if (sx_filter_out.cap < room || above) {
        if (sx_filter_out.cap > room)
            room = sx_filter_out.cap;
        sx_filter_out = (struct sx_buf){0};
        sx_buf_reserve(&sx_filter_out, room);
    }
    sx_filter_mark = sx_heap_end;
    return (uint8_t *)sx_alloc(len);
}

/* The output where the host looks for it. */
static inline struct sx_bytes sx_filter_output(enum sx_verdict verdict, struct sx_bytes event, struct sx_buf *out)
{
    if (verdict == SX_PASS) { /* not the input itself: that is given back before the output is read */
        out->len = 0;
        sx_buf_bytes(out, event);
    }
    return sx_buf_view(out);
}

#define SOREX_FILTER_INIT(function)                                                              \
    SOREX_EXPORT("init") int32_t sx_filter_init(const uint8_t *json, uint32_t len);              \
    int32_t sx_filter_init(const uint8_t *json, uint32_t len)                                    \
    {                                                                                            \
        int32_t result = function(sx_bytes_of(json, len));                                       \
        sx_filter_mark = sx_heap_end;                                                            \
        return result;                                                                           \
    }

#if defined(SOREX_FILTER_V1)

#define SOREX_FILTER(function)                                                                   \
    SOREX_EXPORT("output_len") uint32_t sx_filter_output_len(void);                              \
    uint32_t sx_filter_output_len(void) { return sx_filter_out_len; }                            \
    SOREX_EXPORT("transform") const uint8_t *sx_filter_transform(const uint8_t *at, uint32_t n); \
    const uint8_t *sx_filter_transform(const uint8_t *at, uint32_t n)                            \
    {                                                                                            \
        struct sx_bytes event = sx_bytes_of(at, n);                                              \
        enum sx_verdict verdict = function(event, &sx_filter_out);                               \
        if (verdict == SX_DROP || verdict == SX_FAIL)                                            \
            return (const uint8_t *)(verdict == SX_DROP ? -1 : -2);                              \
        if (verdict == SX_CHANGED)                                                               \
            event = sx_buf_view(&sx_filter_out);                                                 \
        sx_filter_out_len = event.len;                                                           \
        return event.data;                                                                       \
    }

#else

#define SOREX_FILTER(function)                                                                   \
    SOREX_EXPORT("rustcdc_abi_version") int32_t sx_filter_version(void);                         \
    int32_t sx_filter_version(void) { return 2; }                                                \
    SOREX_EXPORT("dealloc") void sx_filter_dealloc(uint8_t *at, uint32_t n);                     \
    void sx_filter_dealloc(uint8_t *at, uint32_t n) { (void)at, (void)n; }                       \
    SOREX_EXPORT("transform") uint64_t sx_filter_transform(const uint8_t *at, uint32_t n);       \
    uint64_t sx_filter_transform(const uint8_t *at, uint32_t n)                                  \
    {                                                                                            \
        struct sx_bytes event = sx_bytes_of(at, n);                                              \
        enum sx_verdict verdict = function(event, &sx_filter_out);                               \
        if (verdict == SX_FAIL)                                                                  \
            __builtin_trap(); /* this version has no other word for it */                        \
        if (verdict == SX_DROP)                                                                  \
            return 0;                                                                            \
        struct sx_bytes output = sx_filter_output(verdict, event, &sx_filter_out);               \
        return (uint64_t)(size_t)output.data << 32 | output.len;                                 \
    }

#endif
#endif /* __wasm__ */

#endif
