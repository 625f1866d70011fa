/* Text to settings. A value is checked completely before the field is touched, so that a failure leaves the settings as
 * they were. */
#include "config/option.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "config/node.h"
#include "config/scalar.h"

#define OPTION_WHERE_SIZE 256

static void *field_of(const struct option *option, void *settings) { return (uint8_t *)settings + option->offset; }

static bool is_string(const struct option *option)
{
    return option->type == OPTION_STRING || option->type == OPTION_PATH;
}

static uint64_t number_max(const struct option *option)
{
    uint64_t type_max = option->type == OPTION_U32 || option->type == OPTION_MS ? UINT32_MAX : UINT64_MAX;
    return option->max != 0 && option->max < type_max ? option->max : type_max;
}

static enum sorex_status number_set(const struct option *option, struct bytes text, const char *where, void *field,
                                    struct sorex_error *err)
{
    uint64_t value = 0;
    bool ok = false;
    const char *form = "a whole number";
    if (option->type == OPTION_BYTES) {
        ok = scalar_size(text, &value);
        form = "a size such as 4096, 64 KiB, 64 MiB or 1 GB";
    } else if (option->type == OPTION_MS) {
        ok = scalar_ms(text, &value);
        form = "a time such as 250 (milliseconds), 500ms, 2s or 1m";
    } else {
        ok = scalar_u64(text, &value);
    }
    if (!ok)
        return sorex_error_set(err, SOREX_INVALID, "%s: \"%.*s\" is not %s", where, BYTES_FMT(text), form);
    uint64_t max = number_max(option);
    if (value < option->min || value > max) {
        char low[OPTION_NUMBER_SIZE], high[OPTION_NUMBER_SIZE];
        option_number_text(option->type, option->min, low);
        option_number_text(option->type, max, high);
        if (option->max == 0 && value < option->min)
            return sorex_error_set(err, SOREX_INVALID, "%s: %.*s is not at least %s", where, BYTES_FMT(text), low);
        return sorex_error_set(err, SOREX_INVALID, "%s: %.*s is not between %s and %s", where, BYTES_FMT(text), low,
                               high);
    }
    if (option->type == OPTION_U32 || option->type == OPTION_MS)
        *(uint32_t *)field = (uint32_t)value;
    else
        *(uint64_t *)field = value;
    return SOREX_OK;
}

static enum sorex_status word_set(const struct option *option, struct bytes text, const char *where, int *field,
                                  struct sorex_error *err)
{
    if (scalar_word(text, option->choices, field))
        return SOREX_OK;
    char words[512];
    size_t used = 0;
    words[0] = '\0';
    for (size_t i = 0; option->choices[i] != NULL && used < sizeof words; i++)
        used += (size_t)snprintf(words + used, sizeof words - used, "%s%s", i == 0 ? "" : ", ", option->choices[i]);
    const char *near = nearest_name(text, option->choices);
    if (near != NULL)
        return sorex_error_set(err, SOREX_INVALID, "%s: \"%.*s\" is none of %s (did you mean \"%s\"?)", where,
                               BYTES_FMT(text), words, near);
    return sorex_error_set(err, SOREX_INVALID, "%s: \"%.*s\" is none of %s", where, BYTES_FMT(text), words);
}

/* base_dir/text for a relative path; the text itself otherwise. */
static enum sorex_status string_set(const struct option *option, struct bytes text, const char *where,
                                    const char *base_dir, char **field, struct sorex_error *err)
{
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL)
        return sorex_error_set(err, SOREX_INVALID, "%s: the text holds a NUL character", where);
    bool is_path = option->type == OPTION_PATH;
    if (is_path && text.len == 0)
        return sorex_error_set(err, SOREX_INVALID, "%s: the path is empty", where);
    bool join = is_path && text.data[0] != '/' && !bytes_is(text, "-") && base_dir != NULL && base_dir[0] != '\0' && strcmp(base_dir, ".") != 0;
    size_t dir_len = join ? strlen(base_dir) : 0;
    const char *slash = join && base_dir[dir_len - 1] != '/' ? "/" : "";
    char *copy = malloc(dir_len + 1 + text.len + 1);
    if (copy == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "%s: out of memory", where);
    size_t used = 0;
    if (join) {
        memcpy(copy, base_dir, dir_len);
        used = dir_len + strlen(slash);
        copy[dir_len] = '/';
    }
    if (text.len > 0)
        memcpy(copy + used, text.data, text.len);
    copy[used + text.len] = '\0';
    free(*field);
    *field = copy;
    return SOREX_OK;
}

enum sorex_status option_set(const struct option *option, struct bytes text, const char *where, const char *base_dir,
                             void *settings, struct sorex_error *err)
{
    void *field = field_of(option, settings);
    switch (option->type) {
    case OPTION_BOOL:
        if (!scalar_bool(text, field))
            return sorex_error_set(err, SOREX_INVALID, "%s: \"%.*s\" is neither true nor false", where,
                                   BYTES_FMT(text));
        return SOREX_OK;
    case OPTION_U32:
    case OPTION_U64:
    case OPTION_BYTES:
    case OPTION_MS:
        return number_set(option, text, where, field, err);
    case OPTION_STRING:
    case OPTION_PATH:
        return string_set(option, text, where, base_dir, field, err);
    case OPTION_ENUM:
        return word_set(option, text, where, field, err);
    case OPTION_NODE:
        return sorex_error_set(err, SOREX_INVALID, "%s: is a section; it can only be set in the pipeline file", where);
    }
    return sorex_error_set(err, SOREX_FATAL, "%s: option of unknown type", where);
}

void options_free(const struct option *options, void *settings)
{
    for (const struct option *option = options; option->name != NULL; option++) {
        if (!is_string(option))
            continue;
        char **field = field_of(option, settings);
        free(*field);
        *field = NULL;
    }
}

const struct option *option_find(const struct option *options, const char *name)
{
    for (const struct option *option = options; option->name != NULL; option++)
        if (strcmp(option->name, name) == 0)
            return option;
    return NULL;
}

/* "sinks[0].url", or "url" at the top. */
static void where_text(const char *path, const char *name, char out[OPTION_WHERE_SIZE])
{
    (void)snprintf(out, OPTION_WHERE_SIZE, "%s%s%s", path, path[0] == '\0' ? "" : ".", name);
}

static enum sorex_status reject_unknown(const struct option *options, const struct option *more,
                                        const struct config_node *child, const char *path, struct sorex_error *err)
{
    const struct option *const tables[] = {options, more};
    struct nearest nearest = {.word = bytes_str(child->key)};
    char known[SOREX_ERROR_TEXT_MAX / 2] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct option *option = tables[i]; option != NULL && option->name != NULL; option++) {
            (void)nearest_offer(&nearest, option->name);
            if (used < sizeof known)
                used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used == 0 ? "" : ", ", option->name);
        }
    const char *in = path[0] == '\0' ? "" : " in ";
    if (nearest.name != NULL)
        return config_error(err, child, SOREX_INVALID, "unknown key \"%.100s\"%s%s (did you mean \"%s\"?)", child->key,
                            in, path, nearest.name);
    return config_error(err, child, SOREX_INVALID, "unknown key \"%.100s\"%s%s (known: %s)", child->key, in, path,
                        known[0] == '\0' ? "none" : known);
}

enum sorex_status options_known(const struct option *options, const struct option *more, const struct config_node *node,
                                const char *path, struct sorex_error *err)
{
    for (const struct config_node *child = node->first; child != NULL; child = child->next)
        if (option_find(options, child->key) == NULL && option_find(more, child->key) == NULL)
            return reject_unknown(options, more, child, path, err);
    return SOREX_OK;
}

/* One key of the mapping. The row's own message has no line: config_error puts it in front. */
static enum sorex_status read_child(const struct option *option, const struct config_node *child, const char *path,
                                    const char *base_dir, void *settings, struct sorex_error *err)
{
    char where[OPTION_WHERE_SIZE];
    where_text(path, option->name, where);
    if (option->type == OPTION_NODE) {
        if (child->kind == CONFIG_SCALAR)
            return config_error(err, child, SOREX_INVALID, "%s: must be a mapping or a list, not \"%.100s\"", where,
                                child->text);
        *(const struct config_node **)field_of(option, settings) = child;
        return SOREX_OK;
    }
    if (child->kind != CONFIG_SCALAR)
        return config_error(err, child, SOREX_INVALID, "%s: must be one value, not %s", where,
                            config_kind_name(child->kind));
    if (child->quoted && (option->type == OPTION_BOOL || option->type == OPTION_U32 || option->type == OPTION_U64))
        return config_error(err, child, SOREX_INVALID, "%s: \"%.100s\" is quoted: write it without quotes", where,
                            child->text);
    struct sorex_error reason;
    enum sorex_status status = option_set(option, bytes_str(child->text), where, base_dir, settings, &reason);
    return status == SOREX_OK ? SOREX_OK : config_error(err, child, status, "%s", reason.text);
}

static enum sorex_status read_defaults(const struct option *options, const char *path, const char *base_dir,
                                       void *settings, struct sorex_error *err)
{
    for (const struct option *option = options; option->name != NULL; option++) {
        if (option->fallback == NULL)
            continue;
        CHECK(option->type != OPTION_NODE);
        char where[OPTION_WHERE_SIZE];
        where_text(path, option->name, where);
        enum sorex_status status = option_set(option, bytes_str(option->fallback), where, base_dir, settings, err);
        CHECK(status == SOREX_OK ||
              status == SOREX_NOMEM); /* a default that its own row refuses is a bug of the table */
        TRY(status);
    }
    return SOREX_OK;
}

static enum sorex_status read_mapping(const struct option *options, const struct config_node *node, const char *path,
                                      const char *base_dir, void *settings, struct sorex_error *err)
{
    if (node == NULL || config_is_null(node))
        return SOREX_OK;
    if (node->kind != CONFIG_MAPPING)
        return config_error(err, node, SOREX_INVALID, "%s: must be a mapping (name: value), not %s",
                            path[0] == '\0' ? "the document" : path, config_kind_name(node->kind));
    for (const struct config_node *child = node->first; child != NULL; child = child->next) {
        const struct option *option = option_find(options, child->key);
        if (option == NULL)
            return reject_unknown(options, NULL, child, path, err);
        if (!config_is_null(child))
            TRY(read_child(option, child, path, base_dir, settings, err));
    }
    return SOREX_OK;
}

static enum sorex_status check_required(const struct option *options, const struct config_node *node, const char *path,
                                        struct sorex_error *err)
{
    for (const struct option *option = options; option->name != NULL; option++) {
        const struct config_node *child = config_get(node, option->name);
        if (!option->required || (child != NULL && !config_is_null(child)))
            continue;
        char where[OPTION_WHERE_SIZE];
        where_text(path, option->name, where);
        if (node == NULL)
            return sorex_error_set(err, SOREX_INVALID, "%s is missing: %s", where, option->text);
        return config_error(err, node, SOREX_INVALID, "%s is missing: %s", where, option->text);
    }
    return SOREX_OK;
}

enum sorex_status options_read(const struct option *options, const struct config_node *node, const char *path,
                               const char *base_dir, void *settings, struct sorex_error *err)
{
    enum sorex_status status = read_defaults(options, path, base_dir, settings, err);
    if (status == SOREX_OK)
        status = read_mapping(options, node, path, base_dir, settings, err);
    if (status == SOREX_OK)
        status = check_required(options, node, path, err);
    if (status != SOREX_OK)
        options_free(options, settings);
    return status;
}
