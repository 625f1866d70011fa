#include "pipeline/section.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"

#define VARIABLE_PREFIX "SOREX_"
#define NAME_BYTES_MAX 256

extern char **environ;

static enum sorex_status no_memory(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_NOMEM, "out of memory for settings");
}

/* Remembers how the option is called, in front of overlay->names. Names that are too long for a line have no variable. */
static enum sorex_status name_add(struct overlay *overlay, const char *path, const char *option, struct sorex_error *err)
{
    char text[NAME_BYTES_MAX], variable[sizeof text + sizeof VARIABLE_PREFIX];
    struct section_name *name = arena_alloc(overlay->arena, sizeof *name);
    (void)snprintf(text, sizeof text, "%s%s%s", path, path[0] != '\0' ? "." : "", option);
    (void)snprintf(variable, sizeof variable, VARIABLE_PREFIX "%s", text);
    for (char *c = variable; *c != '\0'; c++)
        *c = (char)(isalnum((unsigned char)*c) ? toupper((unsigned char)*c) : '_');
    struct bytes text_copy = arena_copy(overlay->arena, bytes_str(text));
    struct bytes variable_copy = arena_copy(overlay->arena, bytes_str(variable));
    if (name == NULL || text_copy.data == NULL || variable_copy.data == NULL)
        return no_memory(err);
    *name = (struct section_name){
        .path = (const char *)text_copy.data, .variable = (const char *)variable_copy.data, .next = overlay->names};
    overlay->names = name;
    return SOREX_OK;
}

/* A path from flags or environment is relative to where the user stands, not to the pipeline file. */
static const char *absolute_path(struct arena *arena, const char *value)
{
    char cwd[PATH_MAX], joined[2 * PATH_MAX];
    if (value[0] == '/' || value[0] == '\0' || strcmp(value, "-") == 0 || getcwd(cwd, sizeof cwd) == NULL)
        return value;
    (void)snprintf(joined, sizeof joined, "%s/%s", cwd, value);
    return (const char *)arena_copy(arena, bytes_str(joined)).data;
}

static enum sorex_status child_set(struct arena *arena, struct config_node *mapping, const struct option *option,
                                   const char *where, const char *value, struct sorex_error *err)
{
    if (option->type == OPTION_PATH)
        value = absolute_path(arena, value);
    struct config_node *child = arena_alloc(arena, sizeof *child);
    struct bytes key = arena_copy(arena, bytes_str(option->name));
    struct bytes text = value == NULL ? bytes_of(NULL, 0) : arena_copy(arena, bytes_str(value));
    struct bytes file = arena_copy(arena, bytes_str(where));
    if (child == NULL || key.data == NULL || text.data == NULL || file.data == NULL)
        return no_memory(err);
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

static enum sorex_status mapping_copy(struct arena *arena, const struct config_node *node, struct config_node **out,
                                      struct sorex_error *err)
{
    struct config_node *copy = arena_alloc(arena, sizeof *copy);
    if (copy == NULL)
        return no_memory(err);
    *copy = (struct config_node){.kind = CONFIG_MAPPING, .file = "defaults", .line = 1, .column = 1};
    if (node != NULL)
        *copy = *node;
    copy->first = NULL;
    struct config_node **tail = &copy->first;
    for (const struct config_node *child = node != NULL ? node->first : NULL; child != NULL; child = child->next) {
        struct config_node *clone = arena_alloc(arena, sizeof *clone);
        if (clone == NULL)
            return no_memory(err);
        *clone = *child;
        clone->next = NULL;
        *tail = clone;
        tail = &clone->next;
    }
    *out = copy;
    return SOREX_OK;
}

static enum sorex_status option_overlay(struct overlay *overlay, struct config_node *copy, const char *path,
                                        const struct option *option, struct sorex_error *err)
{
    TRY(name_add(overlay, path, option->name, err));
    const struct section_name *name = overlay->names;
    const char *value = getenv(name->variable);
    if (value != NULL) {
        char where[NAME_BYTES_MAX + 32];
        (void)snprintf(where, sizeof where, "environment %s", name->variable);
        TRY(child_set(overlay->arena, copy, option, where, value, err));
    }
    for (size_t i = 0; i < overlay->override_count; i++) {
        struct pipeline_override *override = &overlay->overrides[i];
        if (strcmp(override->path, name->path) != 0)
            continue;
        override->used = true;
        TRY(child_set(overlay->arena, copy, option, "command line", override->value, err));
    }
    return SOREX_OK;
}

enum sorex_status section_copy(struct overlay *overlay, const struct config_node *node, const char *path,
                               const struct option *options, struct config_node **out, struct sorex_error *err)
{
    TRY(mapping_copy(overlay->arena, node, out, err));
    for (const struct option *option = options; option->name != NULL; option++)
        if (option->type != OPTION_NODE)
            TRY(option_overlay(overlay, *out, path, option, err));
    return SOREX_OK;
}

void section_drop(struct config_node *copy, const struct option *table, bool wanted)
{
    for (struct config_node **at = &copy->first; *at != NULL;)
        if ((option_find(table, (*at)->key) != NULL) == wanted)
            *at = (*at)->next;
        else
            at = &(*at)->next;
}

enum sorex_status section_read(struct overlay *overlay, const struct config_node *node, const char *path,
                               const struct option *options, void *settings, struct sorex_error *err)
{
    struct config_node *copy = NULL;
    if (node != NULL && node->kind != CONFIG_MAPPING)
        return config_error(err, node, SOREX_INVALID, "%s must be a mapping, as in {wasm: ...}", path);
    TRY(section_copy(overlay, node, path, options, &copy, err));
    return options_read(options, copy, path[0] != '\0' ? path : "pipeline", overlay->base_dir, settings, err);
}

enum sorex_status overlay_flags_check(const struct overlay *overlay, struct sorex_error *err)
{
    for (size_t i = 0; i < overlay->override_count; i++) {
        if (overlay->overrides[i].used)
            continue;
        struct nearest nearest = {.word = bytes_str(overlay->overrides[i].path)};
        for (const struct section_name *name = overlay->names; name != NULL; name = name->next)
            (void)nearest_offer(&nearest, name->path);
        bool near = nearest.name != NULL;
        return sorex_error_set(err, SOREX_INVALID, "command line: no setting \"%s\" in this pipeline%s%s%s",
                               overlay->overrides[i].path, near ? "; did you mean \"" : "", near ? nearest.name : "",
                               near ? "\"?" : "");
    }
    return SOREX_OK;
}

void overlay_environment_check(const struct overlay *overlay)
{
    const size_t prefix = sizeof VARIABLE_PREFIX - 1; /* it would make any two names look alike */
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, VARIABLE_PREFIX, prefix) != 0)
            continue;
        struct nearest nearest = {.word = bytes_of(*at + prefix, strcspn(*at, "=") - prefix)};
        bool known = bytes_is(nearest.word, "POSTGRES_DIR"); /* pg/place.h reads it */
        for (const struct section_name *name = overlay->names; name != NULL && !known; name = name->next) {
            known = bytes_is(nearest.word, name->variable + prefix);
            (void)nearest_offer(&nearest, name->variable + prefix);
        }
        bool near = nearest.name != NULL;
        if (!known)
            log_line(LOG_WARN, "settings",
                     "environment: " VARIABLE_PREFIX "%.*s is no setting of this pipeline and does nothing%s%s%s",
                     BYTES_FMT(nearest.word), near ? "; did you mean " VARIABLE_PREFIX : "", near ? nearest.name : "",
                     near ? "?" : "");
    }
}
