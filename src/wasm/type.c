/* Function types from their text. The C API's own type listing is not used: it ends the process at a v128. */
#include "wasm/private.h"

static const char ARROW[] = ") ->";

static wasm_valtype_t *value_type(const char *text, size_t len)
{
    static const struct {
        const char *name;
        wasm_valkind_t kind;
    } kinds[] = {{"i32", WASM_I32}, {"i64", WASM_I64}, {"f32", WASM_F32}, {"f64", WASM_F64}};
    for (size_t i = 0; i < 4; i++)
        if (len == 3 && memcmp(text, kinds[i].name, 3) == 0)
            return wasm_valtype_new(kinds[i].kind);
    return NULL;
}

/* "i32, i64" up to end; false on anything but numbers. */
static bool list_parse(const char *text, const char *end, wasm_valtype_vec_t *out)
{
    wasm_valtype_t *types[TYPE_VALUES_MAX];
    size_t count = 0;
    bool ok = true;
    while (text < end && ok) {
        const char *stop = memchr(text, ',', (size_t)(end - text));
        stop = stop == NULL ? end : stop;
        wasm_valtype_t *type = count < TYPE_VALUES_MAX ? value_type(text, (size_t)(stop - text)) : NULL;
        ok = type != NULL;
        if (ok)
            types[count++] = type;
        text = stop == end ? end : stop + 2;
    }
    if (ok) {
        wasm_valtype_vec_new(out, count, types);
        return true;
    }
    while (count > 0)
        wasm_valtype_delete(types[--count]);
    return false;
}

/* Where params and results lie in the text; results may be in parentheses. False when it was cut. */
static bool parts_find(const char *text, const char **params_end, const char **results, const char **results_end)
{
    const char *arrow = strstr(text, ARROW);
    if (arrow == NULL || strstr(text, "...") != NULL)
        return false;
    *params_end = arrow;
    *results = arrow + sizeof ARROW - 1;
    *results += **results == ' ';
    *results += **results == '(';
    *results_end = *results + strcspn(*results, ")");
    return true;
}

wasm_functype_t *type_func_make(const char *text)
{
    const char *params_end, *results, *results_end;
    wasm_valtype_vec_t params_vec, results_vec;
    if (!parts_find(text, &params_end, &results, &results_end) || !list_parse(text + 1, params_end, &params_vec))
        return NULL;
    if (!list_parse(results, results_end, &results_vec)) {
        wasm_valtype_vec_delete(&params_vec);
        return NULL;
    }
    return wasm_functype_new(&params_vec, &results_vec);
}

static uint32_t list_count(const char *text, const char *end)
{
    uint32_t count = text < end;
    for (; text < end; text++)
        count += *text == ',';
    return count;
}

uint32_t type_func_slots(const char *text)
{
    const char *params_end, *results, *results_end;
    if (!parts_find(text, &params_end, &results, &results_end))
        return 0;
    uint32_t params = list_count(text + 1, params_end);
    uint32_t count = list_count(results, results_end);
    return params > count ? params : count > 0 ? count : 1;
}
