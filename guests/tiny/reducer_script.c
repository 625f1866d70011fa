/* Contract 4: a message is a script, a line each: what a test wants done.
 *
 *   SQL               runs it; the first column of each row goes into the table out, as text
 *   ?SQLSTATE SQL     runs it, and rejects with code 99 and what came instead unless it fails so
 *   !ACTION           see below; !i64 N SQL and its siblings run SQL with one parameter, !column SQL says what the first
 *                     column of the first row is: type, integer, float times 4, length, text */
#include "sorex/reducer.h"

static int32_t result;
static int64_t lines;

static void schema(void)
{
    sx_run(sx_prepare("create table out (message bigint, line bigint, value text)"));
    sx_run(sx_prepare("create table t (id bigint primary key, note text)"));
}
SOREX_SCHEMA(schema)

static void out_write(struct sx_bytes value)
{
    int32_t s = sx_prepare("insert into out values ($1, $2, $3)");
    sx_bind_i64(s, 1, sx_message_index());
    sx_bind_i64(s, 2, lines);
    sx_bind_text_or_null(s, 3, value);
    sx_run(s);
}

static void sql(struct sx_bytes text)
{
    int32_t s = sx_prepare_bytes(text);
    while (sx_step(s))
        out_write(sx_column_text(s, 0));
}

static void sql_fails(struct sx_bytes text)
{
    struct sx_bytes statement = sx_bytes_of(text.data + 6, text.len - 6);
    char want[6] = {0}, why[256] = "no error";
    for (int i = 0; i < 5; i++)
        want[i] = (char)text.data[i];
    int32_t s = sorex_prepare(statement.data, (int32_t)statement.len);
    for (int32_t step = SX_ROW; s > 0 && step == SX_ROW;)
        if ((step = sorex_step(s)) < 0)
            s = step;
    if (s < 0 && sx_sqlstate_is(want))
        return;
    if (s < 0) {
        (void)sorex_sqlstate(why);
        why[5] = ' ';
        int32_t len = sorex_error_len();
        (void)sorex_error_read(why + 6, 249);
        why[len < 249 ? 6 + len : 255] = '\0';
    }
    sx_reject(99, why);
}

static int32_t number(struct sx_bytes *text)
{
    int32_t n = 0;
    while (text->len > 0 && text->data[0] == ' ')
        *text = sx_bytes_of(text->data + 1, text->len - 1);
    while (text->len > 0 && text->data[0] >= '0' && text->data[0] <= '9') {
        n = n * 10 + (text->data[0] - '0');
        *text = sx_bytes_of(text->data + 1, text->len - 1);
    }
    return n;
}

static bool directive(struct sx_bytes *text, const char *name)
{
    uint32_t len = sx_str(name).len;
    if (text->len < len || !sx_bytes_equal(sx_bytes_of(text->data, len), sx_str(name)))
        return false;
    *text = sx_bytes_of(text->data + len, text->len - len);
    return true;
}

static __attribute__((noinline)) int32_t recurse(volatile int32_t depth)
{
    return depth == -1 ? 0 : recurse(depth + 1) + depth;
}

static void fill(int32_t len)
{
    uint8_t *text = sx_alloc((size_t)len);
    memset(text, 'x', (size_t)len);
    int32_t s = sx_prepare("select length($1)");
    sx_bind_text(s, 1, sx_bytes_of(text, (uint32_t)len));
    sx_step(s);
    out_write(sx_column_text(s, 0));
}

/* Two statements of one text at once. */
static void same(void)
{
    int32_t a = sx_prepare("select generate_series(1, 3)"), b;
    while (sx_step(a)) {
        b = sx_prepare("select generate_series(1, 3)");
        if (a == b)
            __builtin_trap();
        while (sx_step(b))
            out_write(sx_column_text(b, 0));
    }
}

/* So many texts. */
static void many(int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        struct sx_buf text = {0};
        sx_buf_str(&text, "select ");
        sx_buf_decimal(&text, (uint64_t)i);
        int32_t s = sx_prepare_bytes(sx_buf_view(&text));
        if (!sx_step(s) || sx_column_i64(s, 0) != i)
            __builtin_trap();
        sx_reset(s);
    }
}

static void run_bound(int32_t s)
{
    while (sx_step(s))
        out_write(sx_column_text(s, 0));
}

/* A decimal number, with its sign. */
static int64_t integer(struct sx_bytes *text)
{
    while (text->len > 0 && text->data[0] == ' ')
        *text = sx_bytes_of(text->data + 1, text->len - 1);
    bool negative = text->len > 0 && text->data[0] == '-';
    uint64_t n = 0;
    uint32_t at = negative;
    for (; at < text->len && text->data[at] >= '0' && text->data[at] <= '9'; at++)
        n = n * 10 + (uint64_t)(text->data[at] - '0');
    *text = sx_bytes_of(text->data + at, text->len - at);
    return (int64_t)(negative ? 0 - n : n);
}

static bool bound(struct sx_bytes text)
{
    if (directive(&text, "i64")) {
        int64_t value = integer(&text);
        int32_t s = sx_prepare_bytes(text);
        sx_bind_i64(s, 1, value);
        run_bound(s);
    } else if (directive(&text, "f64")) { /* quarters */
        double value = (double)integer(&text) / 4;
        int32_t s = sx_prepare_bytes(text);
        sx_bind_f64(s, 1, value);
        run_bound(s);
    } else if (directive(&text, "text") || directive(&text, "blob")) { /* up to a comma */
        bool blob = text.data[-1] == 'b';
        uint32_t len = 1;
        while (len < text.len && text.data[len] != ',')
            len++;
        int32_t s = sx_prepare_bytes(sx_bytes_of(text.data + len + 1, text.len - len - 1));
        struct sx_bytes value = sx_bytes_of(text.data + 1, len - 1);
        if (blob)
            sx_bind_blob(s, 1, value);
        else
            sx_bind_text(s, 1, value);
        run_bound(s);
    } else if (directive(&text, "unbound")) {
        run_bound(sx_prepare_bytes(text));
    } else {
        return false;
    }
    return true;
}

static void decimal(struct sx_buf *out, int64_t n)
{
    if (n < 0)
        sx_buf_u8(out, '-');
    sx_buf_decimal(out, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
    sx_buf_u8(out, ' ');
}

static void column(struct sx_bytes text)
{
    struct sx_buf out = {0};
    int32_t s = sx_prepare_bytes(text);
    if (!sx_step(s))
        __builtin_trap();
    decimal(&out, sorex_column_type(s, 0));
    decimal(&out, sorex_column_i64(s, 0));
    decimal(&out, (int64_t)(sorex_column_f64(s, 0) * 4));
    decimal(&out, sorex_column_len(s, 0));
    sx_buf_bytes(&out, sx_column_text(s, 0));
    out_write(sx_buf_view(&out));
}

static void rows(struct sx_bytes text)
{
    struct sx_buf out = {0};
    int64_t count = 0;
    int32_t s = sx_prepare_bytes(text);
    while (sx_step(s))
        count++;
    decimal(&out, count);
    decimal(&out, sx_changes());
    out_write(sx_buf_view(&out));
}

static void act(struct sx_bytes text)
{
    if (bound(text))
        return;
    if (directive(&text, "column "))
        column(text);
    else if (directive(&text, "rows "))
        rows(text);
    else if (directive(&text, "repeat "))
        for (int32_t count = number(&text), i = 0; i < count; i++)
            sx_run(sx_prepare_bytes(text));
    else if (directive(&text, "fuel"))
        for (volatile int32_t i = 0; i < 100000000; i = i + 1)
            ;
    else if (directive(&text, "trap"))
        __builtin_trap();
    else if (directive(&text, "loop"))
        for (volatile int32_t i = 0;; i = i + 1)
            ;
    else if (directive(&text, "recurse"))
        result = recurse(0);
    else if (directive(&text, "grow"))
        while (true)
            ((uint8_t *)sx_alloc(1 << 20))[0] = 1;
    else if (directive(&text, "reject")) {
        int32_t code = number(&text);
        sorex_reject(code, text.data, (int32_t)text.len);
    } else if (directive(&text, "return-"))
        result = -number(&text);
    else if (directive(&text, "return"))
        result = number(&text);
    else if (directive(&text, "log"))
        sx_log(SX_INFO, text);
    else if (directive(&text, "fill"))
        fill(number(&text));
    else if (directive(&text, "same"))
        same();
    else if (directive(&text, "many"))
        many(number(&text));
    else if (directive(&text, "changes")) {
        struct sx_buf count = {0};
        sx_buf_decimal(&count, (uint64_t)sx_changes());
        out_write(sx_buf_view(&count));
    } else
        __builtin_trap();
}

static void line(struct sx_bytes text)
{
    lines++;
    if (text.len == 0)
        return;
    struct sx_bytes rest = sx_bytes_of(text.data + 1, text.len - 1);
    if (text.data[0] == '!')
        act(rest);
    else if (text.data[0] == '?')
        sql_fails(rest);
    else
        sql(text);
}

SOREX_EXPORT("reduce") int32_t reduce(void);
int32_t reduce(void)
{
    struct sx_bytes text = sx_message();
    uint32_t from = 0;
    for (uint32_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.data[i] != '\n')
            continue;
        line(sx_bytes_of(text.data + from, i - from));
        from = i + 1;
    }
    return result;
}
