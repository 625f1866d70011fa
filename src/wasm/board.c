/* The board of a machine: a module that is made for the main module's imports. It owns the memory and the table and has
 * what unwinds: Emscripten's invoke_* functions and the throw behind long-jump.
 *
 * invoke_T(f, ...) calls table slot f; when a long-jump comes by, it puts the stack pointer back, says so by
 * setThrew(1, 0) and returns 0. Written with exceptions of WebAssembly it costs no host frame, so deep recursion stays
 * in one place and an SQL error costs microseconds. The three functions that it needs are exports of the main module,
 * which is made after the board: they come through a small table of their own. */
#include <stdio.h>

#include "base/check.h"
#include "wasm/machine_private.h"

#define THROW "_emscripten_throw_longjmp"

bool board_has(const char *name) { return strcmp(name, THROW) == 0 || strncmp(name, "invoke_", 7) == 0; }

/* "i32, i64" of "(i32, i32, i64) -> f64": the callee's parameters. */
static enum sorex_status params_take(const char *type, char *out, size_t cap, const char **out_result,
                                     struct sorex_error *err)
{
    const char *end = strchr(type, ')');
    if (strncmp(type, "(i32", 4) != 0 || end == NULL || strncmp(end, ") ->", 4) != 0)
        return sorex_error_set(err, SOREX_INVALID, "an invoke function of type %s", type);
    const char *at = type + 4;
    size_t len = 0;
    for (; at < end && len + 1 < cap; at++)
        if (*at != ',')
            out[len++] = *at;
    out[len] = '\0';
    *out_result = end[4] == ' ' ? end + 5 : "";
    return len + 1 < cap ? SOREX_OK : sorex_error_set(err, SOREX_INVALID, "an invoke function of type %s", type);
}

static enum sorex_status invoke_write(const struct code_item *item, struct buf *out, struct sorex_error *err)
{
    char params[256], result[32] = "", zero[32] = "";
    const char *value = "";
    TRY(params_take(item->type, params, sizeof params, &value, err));
    if (*value != '\0') {
        (void)snprintf(result, sizeof result, " (result %s)", value);
        (void)snprintf(zero, sizeof zero, " (%s.const 0)", value);
    }
    TRY(buf_printf(out, err,
                   "(func (export \"%s\") (param i32%s)%s (local $sp i32)\n"
                   " (local.set $sp (call_indirect $host (result i32) (i32.const 0)))\n"
                   " (block $jumped (try_table%s (catch $jump $jumped)",
                   item->name, params, result, result));
    uint32_t count = 0;
    for (const char *at = params; *at != '\0'; at++)
        if (*at == ' ')
            TRY(buf_printf(out, err, " (local.get %u)", (unsigned)++count));
    return buf_printf(out, err,
                      " (local.get 0) (call_indirect $table (param%s)%s)) (return))\n"
                      " (call_indirect $host (param i32) (local.get $sp) (i32.const 1))\n"
                      " (call_indirect $host (param i32 i32) (i32.const 1) (i32.const 0) (i32.const 2))%s)\n",
                      params, result, zero);
}

enum sorex_status board_write(const struct machine_code *code, struct buf *out, struct sorex_error *err)
{
    TRY(buf_printf(out, err,
                   "(module (tag $jump) (memory (export \"memory\") %llu %llu)\n"
                   "(table $table (export \"table\") %llu %u funcref) (table $host (export \"host\") 3 3 funcref)\n"
                   "(func (export \"" THROW "\") (throw $jump))\n",
                   (unsigned long long)code->memory_pages_min, (unsigned long long)code->memory_pages_max,
                   (unsigned long long)code->table_min, (unsigned)MACHINE_TABLE_MAX));
    for (size_t i = 0; i < code->imports_count; i++)
        if (strncmp(code->imports[i].name, "invoke_", 7) == 0)
            TRY(invoke_write(&code->imports[i], out, err));
    return buf_append_str(out, ")", err);
}
