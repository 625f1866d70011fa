/* What a table says about itself: aligned lines for --help, a Markdown table for the reference. */
#include "config/option.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "config/scalar.h"

_Static_assert(OPTION_NUMBER_SIZE >= SCALAR_TEXT_SIZE, "scalar.h writes into it");

static const char *type_name(enum option_type type)
{
    switch (type) {
    case OPTION_BOOL:
        return "BOOL";
    case OPTION_U32:
    case OPTION_U64:
        return "NUMBER";
    case OPTION_BYTES:
        return "SIZE";
    case OPTION_MS:
        return "TIME";
    case OPTION_STRING:
        return "TEXT";
    case OPTION_PATH:
        return "PATH";
    case OPTION_ENUM:
        return "WORD";
    case OPTION_NODE:
        return "SECTION";
    }
    return "?";
}

void option_number_text(enum option_type type, uint64_t value, char out[OPTION_NUMBER_SIZE])
{
    if (type == OPTION_BYTES)
        scalar_size_text(value, out);
    else if (type == OPTION_MS)
        scalar_ms_text(value, out);
    else
        (void)snprintf(out, OPTION_NUMBER_SIZE, "%" PRIu64, value);
}

/* Appends what may be written: "fresh, kept", "1 to 64", "at least 1"; nothing when anything may. */
static enum sorex_status append_values(const struct option *option, struct buf *out, struct sorex_error *err)
{
    if (option->type == OPTION_ENUM) {
        for (size_t i = 0; option->choices[i] != NULL; i++)
            TRY(buf_printf(out, err, "%s%s", i == 0 ? "" : ", ", option->choices[i]));
        return SOREX_OK;
    }
    char low[OPTION_NUMBER_SIZE], high[OPTION_NUMBER_SIZE];
    option_number_text(option->type, option->min, low);
    option_number_text(option->type, option->max, high);
    if (option->max != 0)
        return buf_printf(out, err, "%s to %s", low, high);
    return option->min != 0 ? buf_printf(out, err, "at least %s", low) : SOREX_OK;
}

/* Appends " (fresh, kept; default: fresh)" or nothing. */
static enum sorex_status append_notes(const struct option *option, struct buf *out, struct sorex_error *err)
{
    size_t start = out->len;
    TRY(buf_append_str(out, " (", err));
    size_t inside = out->len;
    TRY(append_values(option, out, err));
    if (option->fallback != NULL && option->fallback[0] != '\0')
        TRY(buf_printf(out, err, "%sdefault: %s", out->len > inside ? "; " : "", option->fallback));
    if (out->len == inside) {
        out->len = start;
        return SOREX_OK;
    }
    return buf_append_str(out, ")", err);
}

void option_flag_name(const struct option *option, char out[OPTION_FLAG_SIZE])
{
    (void)snprintf(out, OPTION_FLAG_SIZE, "--%s", option->name);
    for (char *c = out; *c != '\0'; c++)
        if (*c == '_')
            *c = '-';
}

enum sorex_status options_help(const struct option *options, struct buf *out, struct sorex_error *err)
{
    char left[OPTION_FLAG_SIZE + 16], flag[OPTION_FLAG_SIZE];
    for (const struct option *option = options; option->name != NULL; option++) {
        if (option->type == OPTION_NODE)
            continue;
        option_flag_name(option, flag);
        (void)snprintf(left, sizeof left, "%s %s", flag, type_name(option->type));
        TRY(buf_printf(out, err, "  %-24s %s", left, option->text));
        TRY(append_notes(option, out, err));
        TRY(buf_append_str(out, "\n", err));
    }
    return SOREX_OK;
}

/* A cell: a vertical bar would end it. */
static enum sorex_status append_cell(const char *text, struct buf *out, struct sorex_error *err)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '|')
            TRY(buf_append_str(out, "\\", err));
        TRY(buf_append_u8(out, (uint8_t)*at, err));
    }
    return SOREX_OK;
}

enum sorex_status options_markdown(const struct option *options, struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_str(out, "| key | type | default | values | meaning |\n|---|---|---|---|---|\n", err));
    for (const struct option *option = options; option->name != NULL; option++) {
        TRY(buf_printf(out, err, "| `%s` | %s | ", option->name, type_name(option->type)));
        if (option->required)
            TRY(buf_append_str(out, "required", err));
        else if (option->fallback != NULL && option->fallback[0] != '\0')
            TRY(buf_printf(out, err, "`%s`", option->fallback));
        TRY(buf_append_str(out, " | ", err));
        TRY(append_values(option, out, err));
        TRY(buf_append_str(out, " | ", err));
        TRY(append_cell(option->text, out, err));
        TRY(buf_append_str(out, " |\n", err));
    }
    return SOREX_OK;
}
