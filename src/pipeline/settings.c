/* Reads the pipeline file, section by section (section.h), with the tables of settings_table.c. */
#include "pipeline/settings.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "pipeline/section.h"
#include "store/store.h"

/* The file being read. */
struct reading {
    struct pipeline_settings *settings;
    struct overlay overlay;
};

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

/* The type's own settings. */
static enum sorex_status source_own_read(struct reading *r, const struct config_node *node, const struct option *options,
                                         const struct option *common, size_t size, struct sorex_error *err)
{
    struct config_node *own = NULL;
    r->settings->source = calloc(1, size);
    if (r->settings->source == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
    TRY(options_known(options, common, node, "source", err));
    TRY(section_copy(&r->overlay, node, "source", options, &own, err));
    section_drop(own, common, true);
    return options_read(options, own, "source", r->settings->base_dir, r->settings->source, err);
}

static enum sorex_status event_source_read(struct reading *r, const struct config_node *node, struct sorex_error *err)
{
    const struct event_source_type *type = r->settings->event_source_type;
    struct config_node *common = NULL;
    TRY(section_copy(&r->overlay, node, "source", event_source_common_options + SOURCE_OPTIONS_FIXED, &common, err));
    section_drop(common, event_source_common_options, false);
    TRY(options_read(event_source_common_options, common, "source", r->settings->base_dir, &r->settings->events, err));
    return source_own_read(r, node, type->options, event_source_common_options, type->settings_size, err);
}

/* The source's type decides what kind of pipeline it is. */
static enum sorex_status source_type_read(struct reading *r, const struct config_node *node, struct sorex_error *err)
{
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; source_types[i] != NULL && n < 63; i++)
        names[n++] = source_types[i]->name;
    for (size_t i = 0; event_source_types[i] != NULL && n < 63; i++)
        names[n++] = event_source_types[i]->name;
    names[n] = NULL;
    const char *word;
    if (node == NULL || config_is_null(node))
        return SOREX_OK; /* the table says that it is required */
    TRY(type_word(node, "source", names, &word, err));
    r->settings->source_type = source_type_find(word);
    r->settings->event_source_type = event_source_type_find(word);
    return SOREX_OK;
}

static enum sorex_status source_read(struct reading *r, const struct config_node *node, struct sorex_error *err)
{
    const struct source_type *type = r->settings->source_type;
    if (r->settings->event_source_type != NULL)
        return event_source_read(r, node, err);
    return source_own_read(r, node, type->options, source_common_options, type->settings_size, err);
}

/* A sink of rows needs the change, which is what it gets by default. */
static enum sorex_status sink_envelope_choose(const struct config_node *node, struct sink_settings *sink, struct sorex_error *err)
{
    const char *word = sink_envelope_words[sink->envelope_word];
    sink->envelope = envelope_find(word);
    if (!sink->type->reads_images || sink->envelope == NULL || strcmp(word, "change") == 0)
        return SOREX_OK;
    const struct config_node *where = config_get(node, "envelope");
    return config_error(err, where != NULL ? where : node, SOREX_INVALID,
                        "envelope: a sink of type %s writes rows, so it takes changes, not \"%s\"", sink->type->name, word);
}

/* Settings of the sink: those that every sink has, then its type's own. */
static enum sorex_status sink_options_read(struct reading *r, const struct config_node *node, struct sink_settings *sink,
                                           struct sorex_error *err)
{
    const struct config_node *name = config_get(node, "name");
    const char *base_dir = r->settings->base_dir;
    struct config_node *common = NULL, *own = NULL;
    char path[128];
    bool named = name != NULL && name->kind == CONFIG_SCALAR && !config_is_null(name);
    (void)snprintf(path, sizeof path, "sinks.%s", named ? name->text : sink->type->name);
    TRY(options_known(sink->type->options, sink_common_options, node, path, err));
    TRY(section_copy(&r->overlay, node, path, sink_common_options + SINK_OPTIONS_FIXED, &common, err));
    section_drop(common, sink_common_options, false);
    TRY(options_read(sink_common_options, common, path, base_dir, sink, err));
    TRY(sink_envelope_choose(node, sink, err));
    if (sink->name == NULL)
        sink->name = strdup(sink->type->name);
    sink->options = calloc(1, sink->type->settings_size);
    if (sink->name == NULL || sink->options == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
    TRY(section_copy(&r->overlay, node, path, sink->type->options, &own, err));
    section_drop(own, sink_common_options, true);
    return options_read(sink->type->options, own, path, base_dir, sink->options, err);
}

static enum sorex_status sink_read(struct reading *r, const struct config_node *node, struct sorex_error *err)
{
    struct pipeline_settings *settings = r->settings;
    if (settings->sink_count == PIPELINE_SINKS_MAX)
        return config_error(err, node, SOREX_LIMIT, "more than %d sinks", PIPELINE_SINKS_MAX);
    const char *names[32];
    size_t n = 0;
    for (; sink_types[n] != NULL && n < 31; n++)
        names[n] = sink_types[n]->name;
    names[n] = NULL;
    const char *word;
    TRY(type_word(node, "sink", names, &word, err));
    struct sink_settings *sink = &settings->sinks[settings->sink_count++];
    sink->type = sink_type_find(word);
    TRY(sink_options_read(r, node, sink, err));
    if (sink->finality < settings->top.finality)
        sink->finality = settings->top.finality;
    for (size_t i = 0; i + 1 < settings->sink_count; i++)
        if (strcmp(settings->sinks[i].name, sink->name) == 0)
            return config_error(err, node, SOREX_INVALID, "two sinks have the name \"%s\": give each a name of its own", sink->name);
    return SOREX_OK;
}

/* Rows that nobody says where to put go into the embedded database. */
static enum sorex_status sink_default(struct reading *r, struct sorex_error *err)
{
    static char key[] = "type", text[] = "database";
    static struct config_node type = {.kind = CONFIG_SCALAR, .key = key, .text = text};
    struct config_node node = {.kind = CONFIG_MAPPING, .file = r->settings->root->file, .first = &type};
    return sink_read(r, &node, err);
}

/* Its own settings, then those of every derivation. */
static enum sorex_status reducer_read(struct reading *r, const struct config_node *node, struct sorex_error *err)
{
    struct reducer_settings *reducer = &r->settings->reducer;
    struct config_node *own = NULL, *derive = NULL;
    r->settings->has_reducer = true;
    if (node->kind == CONFIG_MAPPING)
        TRY(options_known(reducer_options_table, derive_options, node, "reducer", err));
    TRY(section_copy(&r->overlay, node, "reducer", reducer_options_table, &own, err));
    section_drop(own, derive_options, true);
    TRY(options_read(reducer_options_table, own, "reducer", r->settings->base_dir, reducer, err));
    TRY(section_copy(&r->overlay, node, "reducer", derive_options, &derive, err));
    section_drop(derive, reducer_options_table, true);
    TRY(options_read(derive_options, derive, "reducer", r->settings->base_dir, &reducer->derive, err));
    if (reducer->finality < r->settings->top.finality)
        reducer->finality = r->settings->top.finality;
    return SOREX_OK;
}

static enum sorex_status transform_read(struct reading *r, const struct config_node *node, struct sorex_error *err)
{
    struct pipeline_settings *settings = r->settings;
    if (settings->transform_count == PIPELINE_TRANSFORMS_MAX)
        return config_error(err, node, SOREX_LIMIT, "more than %d transforms", PIPELINE_TRANSFORMS_MAX);
    const struct config_node *name = node->kind == CONFIG_MAPPING ? config_get(node, "name") : NULL;
    char path[128];
    (void)snprintf(path, sizeof path, "transforms.%s", name != NULL && name->kind == CONFIG_SCALAR ? name->text : "transform");
    struct program_settings *program = &settings->transforms[settings->transform_count++];
    TRY(section_read(&r->overlay, node, path, transform_options_table, program, err));
    if (settings->has_indexer && strcmp(program->name, settings->indexer.name) == 0)
        return config_error(err, node, SOREX_INVALID, "two programs have the name \"%s\"", program->name);
    for (size_t i = 0; i + 1 < settings->transform_count; i++)
        if (strcmp(settings->transforms[i].name, program->name) == 0)
            return config_error(err, node, SOREX_INVALID, "two programs have the name \"%s\"", program->name);
    return SOREX_OK;
}

static enum sorex_status filter_read(struct reading *r, const struct config_node *node, struct sorex_error *err)
{
    struct pipeline_settings *settings = r->settings;
    if (settings->filter_count == PIPELINE_FILTERS_MAX)
        return config_error(err, node, SOREX_LIMIT, "more than %d filters", PIPELINE_FILTERS_MAX);
    const struct config_node *name = node->kind == CONFIG_MAPPING ? config_get(node, "name") : NULL;
    char path[128];
    (void)snprintf(path, sizeof path, "filters.%s", name != NULL && name->kind == CONFIG_SCALAR ? name->text : "filter");
    struct filter_settings *filter = &settings->filters[settings->filter_count++];
    const struct option *table = settings->event_source_type != NULL ? stream_filter_options_table : filter_options_table;
    TRY(section_read(&r->overlay, node, path, table, filter, err));
    if (filter->config != NULL && filter->config->kind != CONFIG_MAPPING)
        return config_error(err, filter->config, SOREX_INVALID, "%s: config must be a mapping", path);
    for (size_t i = 0; i + 1 < settings->filter_count; i++)
        if (strcmp(settings->filters[i].name, filter->name) == 0)
            return config_error(err, node, SOREX_INVALID, "two filters have the name \"%s\"", filter->name);
    return SOREX_OK;
}

/* What filters need of the programs. The name is kept free in any pipeline: one may get filters later. */
static enum sorex_status filters_check(const struct pipeline_settings *settings, struct sorex_error *err)
{
    const struct config_node *node = settings->top.filters;
    bool reserved = settings->has_indexer && strcmp(settings->indexer.name, FILTERS_PROGRAM) == 0;
    for (size_t i = 0; i < settings->transform_count; i++) {
        const struct program_settings *transform = &settings->transforms[i];
        reserved = reserved || strcmp(transform->name, FILTERS_PROGRAM) == 0;
        if (settings->filter_count != 0 && transform->inverse == INVERSE_GUEST)
            return config_error(err, node, SOREX_INVALID,
                                "filters need inverses that the host makes, and transform %s says inverse: guest", transform->name);
    }
    if (reserved)
        return config_error(err, settings->root, SOREX_INVALID, "no program may have the name \"" FILTERS_PROGRAM "\"");
    if (settings->filter_count != 0 && settings->transform_count == 0)
        return config_error(err, node, SOREX_INVALID, "filters without a transform: there are no changes to filter");
    return SOREX_OK;
}

typedef enum sorex_status section_fn(struct reading *r, const struct config_node *node, struct sorex_error *err);

/* `one: {...}` or `several: [{...}, ...]`. */
static enum sorex_status each_read(struct reading *r, const struct config_node *one, const struct config_node *several,
                                   const char *name, section_fn *read, struct sorex_error *err)
{
    if (one != NULL && several != NULL)
        return config_error(err, several, SOREX_INVALID, "%s and %ss exclude each other", name, name);
    if (one != NULL)
        return read(r, one, err);
    if (several == NULL || config_is_null(several))
        return SOREX_OK;
    if (several->kind != CONFIG_LIST)
        return config_error(err, several, SOREX_INVALID, "%ss must be a list", name);
    for (const struct config_node *node = several->first; node != NULL; node = node->next)
        TRY(read(r, node, err));
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

/* A pipeline over a chain: what the mapping at the root has. */
static enum sorex_status chain_read(struct reading *r, const char *path, struct sorex_error *err)
{
    struct pipeline_settings *out = r->settings;
    TRY(section_read(&r->overlay, out->root, "", pipeline_options, &out->top, err));
    TRY(name_default(out, path, err));
    TRY(history_parse(out, err));
    TRY(source_read(r, out->top.source, err));
    if (out->top.indexer != NULL) {
        out->has_indexer = true;
        TRY(section_read(&r->overlay, out->top.indexer, "indexer", indexer_options_table, &out->indexer, err));
    }
    if (out->top.reducer != NULL)
        TRY(reducer_read(r, out->top.reducer, err));
    TRY(each_read(r, out->top.transform, out->top.transforms, "transform", transform_read, err));
    TRY(each_read(r, NULL, out->top.filters, "filter", filter_read, err));
    TRY(filters_check(out, err));
    if (out->top.sink == NULL && out->top.sinks == NULL && out->transform_count > 0)
        TRY(sink_default(r, err));
    else
        TRY(each_read(r, out->top.sink, out->top.sinks, "sink", sink_read, err));
    if (!out->has_indexer && !out->has_reducer && out->transform_count == 0)
        return config_error(err, out->root, SOREX_INVALID,
                            "neither an indexer nor a transform nor a reducer: there is nothing to run");
    return SOREX_OK;
}

/* A reducer takes what comes, as it is, all of it, once: the same messages are to make the same database anywhere. */
static enum sorex_status folding_check(const struct pipeline_settings *settings, struct sorex_error *err)
{
    const struct config_node *node = settings->top.reducer;
    const char *excluded = settings->top.filters != NULL ? "filters" : settings->top.sink != NULL ? "sink" : NULL;
    if (excluded != NULL)
        return config_error(err, node, SOREX_INVALID, "reducer and %s exclude each other in a stream", excluded);
    if (settings->events.envelope != 0 || settings->events.on_error != ON_ERROR_HALT)
        return config_error(err, node, SOREX_INVALID,
                            "a reducer takes messages as they are, and none is left out: source.envelope and source.on_error are not for "
                            "it (reducer.on_error says what is done with a message that it fails on)");
    if (settings->reducer.finality != 0)
        return config_error(err, node, SOREX_INVALID, "reducer.finality: in a stream nothing is undone, so there is nothing to wait for");
    return SOREX_OK;
}

static enum sorex_status stream_read(struct reading *r, const char *path, struct sorex_error *err)
{
    struct pipeline_settings *out = r->settings;
    TRY(section_read(&r->overlay, out->root, "", stream_options, &out->top, err));
    TRY(name_default(out, path, err));
    TRY(source_read(r, out->top.source, err));
    if (out->top.reducer != NULL) {
        TRY(reducer_read(r, out->top.reducer, err));
        return folding_check(out, err);
    }
    if (out->top.sink == NULL)
        return config_error(err, out->root, SOREX_INVALID, "neither a sink nor a reducer: there is nowhere to go");
    TRY(each_read(r, NULL, out->top.filters, "filter", filter_read, err));
    return sink_read(r, out->top.sink, err);
}

enum sorex_status pipeline_settings_read(const char *path, struct pipeline_override *overrides, size_t override_count,
                                         struct pipeline_settings *out, struct sorex_error *err)
{
    *out = (struct pipeline_settings){0};
    arena_init(&out->arena, (size_t)16 << 20);
    TRY(base_dir_set(out, path, err));
    TRY(config_read_file(path, &out->root, err));
    struct reading r = {.settings = out,
                        .overlay = {.arena = &out->arena,
                                    .base_dir = out->base_dir,
                                    .overrides = overrides,
                                    .override_count = override_count}};
    struct overlay *overlay = &r.overlay;
    TRY(source_type_read(&r, out->root->kind == CONFIG_MAPPING ? config_get(out->root, "source") : NULL, err));
    TRY(out->event_source_type != NULL ? stream_read(&r, path, err) : chain_read(&r, path, err));
    overlay_environment_check(overlay);
    return overlay_flags_check(overlay, err);
}

enum sorex_status pipeline_settings_chain(const struct pipeline_settings *settings, struct sorex_error *err)
{
    if (settings->event_source_type == NULL)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_INVALID, "%s is a stream: it has no chain and no heights; `sorex run` and `sorex status` are for it",
                           settings->top.name);
}

void pipeline_settings_deinit(struct pipeline_settings *settings)
{
    for (size_t i = 0; i < settings->sink_count; i++) {
        struct sink_settings *sink = &settings->sinks[i];
        if (sink->options != NULL)
            options_free(sink->type->options, sink->options);
        free(sink->options);
        options_free(sink_common_options, sink);
    }
    for (size_t i = 0; i < settings->filter_count; i++)
        options_free(filter_options_table, &settings->filters[i]);
    for (size_t i = 0; i < settings->transform_count; i++)
        options_free(transform_options_table, &settings->transforms[i]);
    if (settings->has_indexer)
        options_free(indexer_options_table, &settings->indexer);
    if (settings->has_reducer)
        options_free(reducer_options_table, &settings->reducer);
    if (settings->source != NULL)
        options_free(settings->event_source_type != NULL ? settings->event_source_type->options : settings->source_type->options,
                     settings->source);
    options_free(event_source_common_options, &settings->events);
    free(settings->source);
    options_free(pipeline_options, &settings->top);
    free(settings->base_dir);
    config_free(settings->root);
    arena_deinit(&settings->arena);
    *settings = (struct pipeline_settings){0};
}
