/* Types as text: one form for checking imports, listing exports and messages. */
#include <stdio.h>

#include "wasm/private.h"

static const char *value_name(const wasm_valtype_t *type)
{
    switch (wasm_valtype_kind(type)) {
    case WASM_I32:
        return "i32";
    case WASM_I64:
        return "i64";
    case WASM_F32:
        return "f32";
    case WASM_F64:
        return "f64";
    case WASM_FUNCREF:
        return "funcref";
    case WASM_EXTERNREF:
        return "externref";
    default: /* Wasmtime's own kinds follow those of the standard header */
        return "v128";
    }
}

struct text {
    char *out;
    size_t len;
    bool cut;
};

static void text_add(struct text *text, const char *part)
{
    size_t len = strlen(part);
    if (text->len + len >= TYPE_TEXT_MAX) {
        text->cut = true;
        return;
    }
    memcpy(text->out + text->len, part, len + 1);
    text->len += len;
}

static void text_add_list(struct text *text, const wasm_valtype_vec_t *types)
{
    for (size_t i = 0; i < types->size; i++) {
        text_add(text, i == 0 ? "" : ", ");
        text_add(text, value_name(types->data[i]));
    }
}

bool type_func_text(const wasm_functype_t *type, char out[TYPE_TEXT_MAX])
{
    struct text text = {out, 0, false};
    const wasm_valtype_vec_t *results = wasm_functype_results(type);
    text_add(&text, "(");
    text_add_list(&text, wasm_functype_params(type));
    text_add(&text, ") ->");
    if (results->size == 1) {
        text_add(&text, " ");
        text_add_list(&text, results);
    } else if (results->size > 1) {
        text_add(&text, " (");
        text_add_list(&text, results);
        text_add(&text, ")");
    }
    return !text.cut;
}

void type_global_text(const wasm_globaltype_t *type, char out[TYPE_TEXT_MAX])
{
    (void)snprintf(out, TYPE_TEXT_MAX, "%s%s", wasm_globaltype_mutability(type) == WASM_VAR ? "mut " : "",
                   value_name(wasm_globaltype_content(type)));
}
