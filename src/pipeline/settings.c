/* The pipeline file. Each section is read by options_read from a copy of its mapping in which flags and environment have replaced
 * or added scalars, so that one parser checks every value whatever its origin. */
#include "pipeline/settings.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "store/store.h"

static const char *const log_level_words[] = {"trace", "debug", "info", "warn", "error", "off", NULL};
static const char *const memory_words[] = {"fresh", "kept", NULL};
static const char *const before_words[] = {"engine", "guest", NULL};
static const char *const inverse_words[] = {"host", "guest", NULL};

#define TOP(field) offsetof(struct pipeline_scalars, field)
#define PROGRAM(field) offsetof(struct program_settings, field)

const struct option pipeline_options[] = {
    {.name = "name", .type = OPTION_STRING, .offset = TOP(name), .text = "name of the pipeline, part of every sink's cursor (default: the file's name)"},
    {.name = "data", .type = OPTION_PATH, .offset = TOP(data), .required = true, .text = "data directory: store, socket, compiled modules"},
    {.name = "history", .type = OPTION_STRING, .offset = TOP(history), .fallback = "full", .text = "entries that stay undoable and viewable: full, or a number"},
    {.name = "finality", .type = OPTION_U32, .offset = TOP(finality), .fallback = "0", .max = 1000000, .text = "confirmations that sinks wait for"},
    {.name = "start_height", .type = OPTION_U32, .offset = TOP(start_height), .fallback = "0", .max = UINT32_MAX - 1, .text = "first height of a new store"},
    {.name = "log_level", .type = OPTION_ENUM, .offset = TOP(log_level), .fallback = "info", .choices = log_level_words, .text = "least level that is logged"},
    {.name = "outbox_max", .type = OPTION_BYTES, .offset = TOP(outbox_max), .fallback = "1 GiB", .min = 65536, .text = "changes that may wait for sinks before indexing waits too"},
    {.name = "group_ms", .type = OPTION_MS, .offset = TOP(group_ms), .fallback = "1s", .min = 1, .max = 60000, .text = "far behind the tip: time between durable writes"},
    {.name = "group_max", .type = OPTION_BYTES, .offset = TOP(group_max), .fallback = "64 MiB", .min = 65536, .max = (uint64_t)4 << 30, .text = "far behind the tip: bytes between durable writes"},
    {.name = "cache", .type = OPTION_BYTES, .offset = TOP(cache), .fallback = "256 MiB", .min = (uint64_t)1 << 20, .text = "memory for cached state"},
    {.name = "read_ahead", .type = OPTION_U32, .offset = TOP(read_ahead), .fallback = "64", .min = 1, .max = 10000, .text = "blocks fetched ahead of execution"},
    {.name = "fetch_threads", .type = OPTION_U32, .offset = TOP(fetch_threads), .fallback = "4", .min = 1, .max = 64, .text = "blocks fetched at the same time"},
    {.name = "poll_ms", .type = OPTION_MS, .offset = TOP(poll_ms), .fallback = "500ms", .min = 10, .max = 3600000, .text = "at the tip: time between looks at the source"},
    {.name = "source", .type = OPTION_NODE, .offset = TOP(source), .required = true, .text = "where entries come from: {type: ..., ...}"},
    {.name = "indexer", .type = OPTION_NODE, .offset = TOP(indexer), .text = "the indexer guest: {wasm: ..., ...}"},
    {.name = "transform", .type = OPTION_NODE, .offset = TOP(transform), .text = "one transform guest: {wasm: ..., ...}"},
    {.name = "transforms", .type = OPTION_NODE, .offset = TOP(transforms), .text = "several transform guests, run in this order"},
    {.name = "sink", .type = OPTION_NODE, .offset = TOP(sink), .text = "one place where changes go: {type: ..., ...}"},
    {.name = "sinks", .type = OPTION_NODE, .offset = TOP(sinks), .text = "several places where changes go"},
    {.name = NULL},
};

#define PROGRAM_OPTIONS(default_name)                                                                                                   \
    {.name = "name", .type = OPTION_STRING, .offset = PROGRAM(name), .fallback = default_name, .text = "program name, its place in the store"}, \
    {.name = "wasm", .type = OPTION_PATH, .offset = PROGRAM(wasm), .required = true, .text = "the module's file"},                      \
    {.name = "fuel", .type = OPTION_U64, .offset = PROGRAM(limits.fuel), .fallback = "0", .text = "fuel per call; 0: not metered (metering costs about a quarter)"}, \
    {.name = "memory_max", .type = OPTION_BYTES, .offset = PROGRAM(limits.memory_bytes_max), .fallback = "0", .text = "linear memory limit; 0: 4 GiB less one page"}, \
    {.name = "stack_max", .type = OPTION_BYTES, .offset = PROGRAM(limits.stack_bytes_max), .fallback = "0", .text = "wasm stack limit; 0: 1 MiB"}, \
    {.name = "resident", .type = OPTION_BYTES, .offset = PROGRAM(limits.resident_bytes), .fallback = "0", .text = "memory kept resident between entries; 0: chosen by the engine"}, \
    {.name = "watchdog", .type = OPTION_U64, .offset = PROGRAM(limits.watchdog_ms), .fallback = "0", .text = "milliseconds after which a running guest is reported; 0: 30,000"}, \
    {.name = "view_result_max", .type = OPTION_BYTES, .offset = PROGRAM(limits.view_result_bytes_max), .fallback = "0", .text = "largest result of a view; 0: 64 MiB"}

const struct option indexer_options_table[] = {PROGRAM_OPTIONS("indexer"), {.name = NULL}};

const struct option transform_options_table[] = {
    PROGRAM_OPTIONS("transform"),
    {.name = "memory", .type = OPTION_ENUM, .offset = PROGRAM(memory), .fallback = "fresh", .choices = memory_words, .text = "fresh for every entry, or kept (in the store) between entries"},
    {.name = "before", .type = OPTION_ENUM, .offset = PROGRAM(before), .fallback = "engine", .choices = before_words, .text = "who supplies a change's before image"},
    {.name = "inverse", .type = OPTION_ENUM, .offset = PROGRAM(inverse), .fallback = "host", .choices = inverse_words, .text = "who makes inverse changes; guest: outside the guarantees"},
    {.name = NULL},
};

struct sink_common {
    char *name;
    char *type;
    uint32_t finality;
};
const struct option sink_common_options[] = {
    {.name = "type", .type = OPTION_STRING, .offset = offsetof(struct sink_common, type), .required = true, .text = "the kind of sink"},
    {.name = "name", .type = OPTION_STRING, .offset = offsetof(struct sink_common, name), .text = "name of the sink (default: its type)"},
    {.name = "finality", .type = OPTION_U32, .offset = offsetof(struct sink_common, finality), .fallback = "0", .max = 1000000, .text = "confirmations that this sink waits for"},
    {.name = NULL},
};
static const struct option source_common_options[] = {
    {.name = "type", .type = OPTION_STRING, .offset = 0, .required = true, .text = "the kind of source"},
    {.name = NULL},
};

/* What a section is read with. */
struct section {
    struct pipeline_settings *settings;
    struct pipeline_override *overrides;
    size_t override_count;
};

static size_t option_count(const struct option *options)
{
    size_t n = 0;
    while (options[n].name != NULL)
        n++;
    return n;
}

/* Bytes of a settings struct: its last field ends within eight bytes of its offset. */
static size_t options_size(const struct option *options)
{
    size_t size = 16;
    for (; options->name != NULL; options++)
        if (options->offset + 16 > size)
            size = options->offset + 16;
    return size;
}

static const char *environment_value(const char *path, const char *option, char *name, size_t size)
{
    int n = snprintf(name, size, "SOREX_%s%s%s", path, path[0] != '\0' ? "_" : "", option);
    if (n < 0 || (size_t)n >= size)
        return NULL;
    for (char *c = name; *c != '\0'; c++)
        *c = (char)(isalnum((unsigned char)*c) ? toupper((unsigned char)*c) : '_');
    return getenv(name);
}

/* A path from flags or environment is relative to where the user stands, not to the pipeline file. */
static const char *absolute_path(struct arena *arena, const char *value)
{
    char cwd[PATH_MAX], joined[2 * PATH_MAX];
    if (value[0] == '/' || value[0] == '\0' || getcwd(cwd, sizeof cwd) == NULL)
        return value;
    (void)snprintf(joined, sizeof joined, "%s/%s", cwd, value);
    return (const char *)arena_copy(arena, bytes_str(joined)).data;
}

static enum sorex_status child_set(struct section *s, struct config_node *mapping, const struct option *option,
                                   const char *where, const char *value, struct sorex_error *err)
{
    struct arena *arena = &s->settings->arena;
    if (option->type == OPTION_PATH)
        value = absolute_path(arena, value);
    struct config_node *child = arena_alloc(arena, sizeof *child);
    struct bytes key = arena_copy(arena, bytes_str(option->name));
    struct bytes text = value == NULL ? bytes_of(NULL, 0) : arena_copy(arena, bytes_str(value));
    struct bytes file = arena_copy(arena, bytes_str(where));
    if (child == NULL || key.data == NULL || text.data == NULL || file.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
    bool is_text = option->type == OPTION_STRING || option->type == OPTION_PATH;
    *child = (struct config_node){.kind = CONFIG_SCALAR, .file = (const char *)file.data, .quoted = is_text};
    memcpy(&child->key, &key.data, sizeof child->key);
    memcpy(&child->text, &text.data, sizeof child->text);
    struct config_node **at = &mapping->first;
    while (*at != NULL && strcmp((*at)->key, option->name) != 0)
        at = &(*at)->next;
    child->next = *at != NULL ? (*at)->next : NULL;
    *at = child;
    return SOREX_OK;
}

static bool is_one_of(const char *key, const struct option *options)
{
    for (; options != NULL && options->name != NULL; options++)
        if (strcmp(key, options->name) == 0)
            return true;
    return false;
}

/* A copy of the mapping without the keys of `skip`, with flags and environment laid over it. */
static enum sorex_status section_copy(struct section *s, const struct config_node *node, const char *path,
                                      const struct option *options, const struct option *skip, struct config_node **out,
                                      struct sorex_error *err)
{
    struct arena *arena = &s->settings->arena;
    struct config_node *copy = arena_alloc(arena, sizeof *copy);
    if (copy == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
    *copy = (struct config_node){.kind = CONFIG_MAPPING, .file = "defaults", .line = 1, .column = 1};
    if (node != NULL) {
        *copy = *node;
        copy->first = NULL;
    }
    struct config_node **tail = &copy->first;
    for (const struct config_node *child = node != NULL ? node->first : NULL; child != NULL; child = child->next) {
        if (is_one_of(child->key, skip))
            continue;
        struct config_node *clone = arena_alloc(arena, sizeof *clone);
        if (clone == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
        *clone = *child;
        clone->next = NULL;
        *tail = clone;
        tail = &clone->next;
    }
    size_t path_len = strlen(path);
    for (const struct option *option = options; option->name != NULL; option++) {
        if (option->type == OPTION_NODE)
            continue;
        char variable[256];
        const char *value = environment_value(path, option->name, variable, sizeof variable);
        if (value != NULL) {
            char where[300];
            (void)snprintf(where, sizeof where, "environment %s", variable);
            TRY(child_set(s, copy, option, where, value, err));
        }
        for (size_t i = 0; i < s->override_count; i++) {
            struct pipeline_override *override = &s->overrides[i];
            const char *rest = override->path;
            if (path_len != 0) {
                if (strncmp(rest, path, path_len) != 0 || rest[path_len] != '.')
                    continue;
                rest += path_len + 1;
            }
            if (strcmp(rest, option->name) != 0)
                continue;
            override->used = true;
            TRY(child_set(s, copy, option, "command line", override->value, err));
        }
    }
    *out = copy;
    return SOREX_OK;
}

static enum sorex_status section_read(struct section *s, const struct config_node *node, const char *path,
                                      const struct option *options, const struct option *skip, void *settings,
                                      struct sorex_error *err)
{
    if (node != NULL && node->kind != CONFIG_MAPPING)
        return config_error(err, node, SOREX_INVALID, "%s must be a mapping, as in {wasm: ...}", path);
    struct config_node *copy = NULL;
    TRY(section_copy(s, node, path, options, skip, &copy, err));
    return options_read(options, copy, path[0] != '\0' ? path : "pipeline", s->settings->base_dir, settings, err);
}

/* The word behind `type`, and the message with the nearest one when it is unknown. */
static enum sorex_status type_word(const struct config_node *node, const char *path, const char *const *known, const char **out,
                                   struct sorex_error *err)
{
    const struct config_node *type = node->kind == CONFIG_MAPPING ? config_get(node, "type") : NULL;
    if (type == NULL || type->kind != CONFIG_SCALAR)
        return config_error(err, node, SOREX_INVALID, "%s needs a type, as in {type: %s}", path, known[0]);
    for (size_t i = 0; known[i] != NULL; i++)
        if (strcmp(type->text, known[i]) == 0) {
            *out = known[i];
            return SOREX_OK;
        }
    const char *near = nearest_name(bytes_str(type->text), known);
    char list[256] = "";
    for (size_t i = 0; known[i] != NULL; i++)
        (void)snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i == 0 ? "" : ", ", known[i]);
    return config_error(err, type, SOREX_INVALID, "%s: unknown type \"%s\"%s%s%s (known: %s)", path, type->text,
                        near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "", list);
}

static enum sorex_status source_read(struct section *s, const struct config_node *node, struct sorex_error *err)
{
    const char *names[32];
    size_t n = 0;
    for (; source_types[n] != NULL && n < 31; n++)
        names[n] = source_types[n]->name;
    names[n] = NULL;
    const char *word;
    TRY(type_word(node, "source", names, &word, err));
    const struct source_type *type = source_type_find(word);
    s->settings->source = calloc(1, type->settings_size);
    if (s->settings->source == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
    s->settings->source_type = type;
    return section_read(s, node, "source", type->options, source_common_options, s->settings->source, err);
}

static enum sorex_status sink_read(struct section *s, const struct config_node *node, struct sorex_error *err)
{
    struct pipeline_settings *settings = s->settings;
    if (settings->sink_count == PIPELINE_SINKS_MAX)
        return config_error(err, node, SOREX_LIMIT, "more than %d sinks", PIPELINE_SINKS_MAX);
    const char *names[32];
    size_t n = 0;
    for (; sink_types[n] != NULL && n < 31; n++)
        names[n] = sink_types[n]->name;
    names[n] = NULL;
    const char *word;
    TRY(type_word(node, "sink", names, &word, err));
    const struct config_node *name = config_get(node, "name");
    struct sink_settings *sink = &settings->sinks[settings->sink_count];
    sink->type = sink_type_find(word);
    sink->name = strdup(name != NULL && name->kind == CONFIG_SCALAR ? name->text : word);
    sink->options = calloc(1, options_size(sink->type->options));
    if (sink->name == NULL || sink->options == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
    settings->sink_count++;
    for (size_t i = 0; i + 1 < settings->sink_count; i++)
        if (strcmp(settings->sinks[i].name, sink->name) == 0)
            return config_error(err, node, SOREX_INVALID, "two sinks have the name \"%s\": give each a name of its own", sink->name);
    char path[128];
    (void)snprintf(path, sizeof path, "sinks.%s", sink->name);
    struct sink_common common = {0};
    struct config_node *own = NULL;
    enum sorex_status status = section_copy(s, node, path, sink_common_options, sink->type->options, &own, err);
    if (status == SOREX_OK) {
        /* keys that neither table knows are reported once, below, against the type's own options */
        struct config_node *kept = NULL, **tail = &kept;
        for (struct config_node *child = own->first, *next; child != NULL; child = next) {
            next = child->next;
            if (is_one_of(child->key, sink_common_options)) {
                child->next = NULL;
                *tail = child;
                tail = &child->next;
            }
        }
        own->first = kept;
        status = options_read(sink_common_options, own, path, settings->base_dir, &common, err);
    }
    sink->finality = common.finality > settings->top.finality ? common.finality : settings->top.finality;
    options_free(sink_common_options, &common);
    if (status != SOREX_OK)
        return status;
    return section_read(s, node, path, sink->type->options, sink_common_options, sink->options, err);
}

static enum sorex_status transform_read(struct section *s, const struct config_node *node, struct sorex_error *err)
{
    struct pipeline_settings *settings = s->settings;
    if (settings->transform_count == PIPELINE_TRANSFORMS_MAX)
        return config_error(err, node, SOREX_LIMIT, "more than %d transforms", PIPELINE_TRANSFORMS_MAX);
    const struct config_node *name = node->kind == CONFIG_MAPPING ? config_get(node, "name") : NULL;
    char path[128];
    (void)snprintf(path, sizeof path, "transforms.%s", name != NULL && name->kind == CONFIG_SCALAR ? name->text : "transform");
    struct program_settings *program = &settings->transforms[settings->transform_count++];
    TRY(section_read(s, node, path, transform_options_table, NULL, program, err));
    if (settings->has_indexer && strcmp(program->name, settings->indexer.name) == 0)
        return config_error(err, node, SOREX_INVALID, "two programs have the name \"%s\"", program->name);
    for (size_t i = 0; i + 1 < settings->transform_count; i++)
        if (strcmp(settings->transforms[i].name, program->name) == 0)
            return config_error(err, node, SOREX_INVALID, "two programs have the name \"%s\"", program->name);
    return SOREX_OK;
}

typedef enum sorex_status section_fn(struct section *s, const struct config_node *node, struct sorex_error *err);

/* `one: {...}` or `several: [{...}, ...]`. */
static enum sorex_status each_read(struct section *s, const struct config_node *one, const struct config_node *several,
                                   const char *name, section_fn *read, struct sorex_error *err)
{
    if (one != NULL && several != NULL)
        return config_error(err, several, SOREX_INVALID, "%s and %ss exclude each other", name, name);
    if (one != NULL)
        return read(s, one, err);
    if (several == NULL || config_is_null(several))
        return SOREX_OK;
    if (several->kind != CONFIG_LIST)
        return config_error(err, several, SOREX_INVALID, "%ss must be a list", name);
    for (const struct config_node *node = several->first; node != NULL; node = node->next)
        TRY(read(s, node, err));
    return SOREX_OK;
}

static enum sorex_status history_parse(struct pipeline_settings *settings, struct sorex_error *err)
{
    const char *text = settings->top.history;
    if (strcmp(text, "full") == 0) {
        settings->history = STORE_HISTORY_FULL;
        return SOREX_OK;
    }
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || value == 0 || value >= STORE_HISTORY_FULL) {
        const struct config_node *node = config_get(settings->root, "history");
        bool from_file = node != NULL && node->text != NULL && strcmp(node->text, text) == 0;
        static const struct config_node elsewhere = {.file = "command line or environment"};
        return config_error(err, from_file ? node : &elsewhere, SOREX_INVALID,
                            "history must be \"full\" or a number of entries from 1, not \"%s\"", text);
    }
    settings->history = (uint32_t)value;
    return SOREX_OK;
}

static enum sorex_status base_dir_set(struct pipeline_settings *settings, const char *path, struct sorex_error *err)
{
    char resolved[PATH_MAX];
    const char *slash;
    if (realpath(path, resolved) == NULL || (slash = strrchr(resolved, '/')) == NULL)
        return sorex_error_set(err, SOREX_IO, "open %s: no such pipeline file", path);
    size_t len = slash == resolved ? 1 : (size_t)(slash - resolved);
    settings->base_dir = strndup(resolved, len);
    return settings->base_dir != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
}

static enum sorex_status name_default(struct pipeline_settings *settings, const char *path, struct sorex_error *err)
{
    if (settings->top.name != NULL)
        return SOREX_OK;
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    settings->top.name = strndup(name, dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name));
    return settings->top.name != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
}

static enum sorex_status overrides_check(const struct section *s, struct sorex_error *err)
{
    for (size_t i = 0; i < s->override_count; i++) {
        if (s->overrides[i].used)
            continue;
        const char *names[64];
        size_t n = 0;
        for (; pipeline_options[n].name != NULL && n < 63; n++)
            names[n] = pipeline_options[n].name;
        names[n] = NULL;
        const char *near = nearest_name(bytes_str(s->overrides[i].path), names);
        return sorex_error_set(err, SOREX_INVALID, "command line: no setting \"%s\" in this pipeline%s%s%s", s->overrides[i].path,
                               near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
    }
    return SOREX_OK;
}

enum sorex_status pipeline_settings_read(const char *path, struct pipeline_override *overrides, size_t override_count,
                                         struct pipeline_settings *out, struct sorex_error *err)
{
    *out = (struct pipeline_settings){0};
    arena_init(&out->arena, (size_t)16 << 20);
    struct section s = {.settings = out, .overrides = overrides, .override_count = override_count};
    TRY(base_dir_set(out, path, err));
    TRY(config_read_file(path, &out->root, err));
    TRY(section_read(&s, out->root, "", pipeline_options, NULL, &out->top, err));
    TRY(name_default(out, path, err));
    TRY(history_parse(out, err));
    TRY(source_read(&s, out->top.source, err));
    if (out->top.indexer != NULL) {
        out->has_indexer = true;
        TRY(section_read(&s, out->top.indexer, "indexer", indexer_options_table, NULL, &out->indexer, err));
    }
    TRY(each_read(&s, out->top.transform, out->top.transforms, "transform", transform_read, err));
    TRY(each_read(&s, out->top.sink, out->top.sinks, "sink", sink_read, err));
    if (!out->has_indexer && out->transform_count == 0)
        return config_error(err, out->root, SOREX_INVALID, "neither an indexer nor a transform: there is nothing to run");
    return overrides_check(&s, err);
}

void pipeline_settings_deinit(struct pipeline_settings *settings)
{
    for (size_t i = 0; i < settings->sink_count; i++) {
        options_free(settings->sinks[i].type->options, settings->sinks[i].options);
        free(settings->sinks[i].options);
        free(settings->sinks[i].name);
    }
    for (size_t i = 0; i < settings->transform_count; i++)
        options_free(transform_options_table, &settings->transforms[i]);
    if (settings->has_indexer)
        options_free(indexer_options_table, &settings->indexer);
    if (settings->source != NULL)
        options_free(settings->source_type->options, settings->source);
    free(settings->source);
    options_free(pipeline_options, &settings->top);
    free(settings->base_dir);
    config_free(settings->root);
    arena_deinit(&settings->arena);
    *settings = (struct pipeline_settings){0};
}

static enum sorex_status reference_part(struct buf *out, const char *title, const char *summary, const struct option *options,
                                        struct sorex_error *err)
{
    TRY(buf_printf(out, err, "\n## %s\n\n%s.\n\n", title, summary));
    return option_count(options) == 0 ? buf_append_str(out, "No options.\n", err) : options_markdown(options, out, err);
}

enum sorex_status pipeline_reference(struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_str(out,
                       "# The pipeline file\n\nYAML (JSON is YAML). Made from the option tables by `sorex reference`; do not edit.\n"
                       "Every scalar can be given as `--set PATH=VALUE` or as `SOREX_PATH` in the environment, dots as underscores "
                       "(`sinks.pg.url`: `SOREX_SINKS_PG_URL`). Flags win over the environment, the environment over the file, the "
                       "file over the defaults.\n",
                       err));
    TRY(reference_part(out, "Top level", "One pipeline", pipeline_options, err));
    TRY(reference_part(out, "indexer", "A guest of contract 1 (docs/abi/indexer.md)", indexer_options_table, err));
    TRY(reference_part(out, "transforms[]", "A guest of contract 2 (docs/abi/transform.md)", transform_options_table, err));
    char title[64];
    for (size_t i = 0; source_types[i] != NULL; i++) {
        (void)snprintf(title, sizeof title, "source: type %s", source_types[i]->name);
        TRY(reference_part(out, title, source_types[i]->summary, source_types[i]->options, err));
    }
    TRY(reference_part(out, "sinks[]: all types", "What every sink has", sink_common_options, err));
    for (size_t i = 0; sink_types[i] != NULL; i++) {
        (void)snprintf(title, sizeof title, "sinks[]: type %s", sink_types[i]->name);
        TRY(reference_part(out, title, sink_types[i]->summary, sink_types[i]->options, err));
    }
    return SOREX_OK;
}
