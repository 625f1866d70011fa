/* libyaml's parser gives events; an explicit stack of open mappings and lists makes the tree of them.
 *
 *     stream start, document start, value, document end, stream end
 *     value = scalar | mapping start, (scalar key, value)*, mapping end | sequence start, value*, sequence end
 *
 * libyaml keeps its own state in heap arrays, so neither its depth nor ours is the C stack's. */
#include "config/node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/check.h"
#include "base/file.h"

/* The root carries the name of the file, which every node points to. */
struct document {
    struct config_node root; /* first member: config_free gets a pointer to it */
    char file[];
};

struct level {
    struct config_node *node;
    struct config_node *last; /* child, or NULL */
    char *key;                /* of the mapping entry whose value comes next */
    yaml_mark_t key_mark;
};

struct builder {
    yaml_parser_t parser;
    struct bytes text;
    const char *file;
    struct config_node *root;
    struct level levels[CONFIG_DEPTH_MAX];
    unsigned depth;
    unsigned count;
    struct sorex_error *err;
};

static enum sorex_status reject(const struct builder *builder, enum sorex_status status, yaml_mark_t mark,
                                const char *format, ...) SOREX_PRINTF(4, 5);

static enum sorex_status reject(const struct builder *builder, enum sorex_status status, yaml_mark_t mark,
                                const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return sorex_error_set(builder->err, status, "%s:%zu:%zu: %s", builder->file, mark.line + 1, mark.column + 1,
                           reason);
}

/* The line and column of a byte, for errors of libyaml's reader, which knows the offset only. */
static yaml_mark_t mark_at(struct bytes text, size_t offset)
{
    yaml_mark_t mark = {.index = offset};
    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.data[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if ((text.data[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static bool line_has_tab(struct bytes text, size_t line)
{
    size_t i = 0;
    for (; line > 0 && i < text.len; i++)
        line -= text.data[i] == '\n';
    while (i < text.len && (text.data[i] == ' ' || text.data[i] == '\t'))
        if (text.data[i++] == '\t')
            return true;
    return false;
}

static enum sorex_status reject_syntax(const struct builder *builder)
{
    const yaml_parser_t *parser = &builder->parser;
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    switch (parser->error) {
    case YAML_MEMORY_ERROR:
        return sorex_error_set(builder->err, SOREX_NOMEM, "%s: out of memory", builder->file);
    case YAML_READER_ERROR:
        return reject(builder, SOREX_INVALID, mark_at(builder->text, parser->problem_offset),
                      "%s (the file must be UTF-8 text)", problem);
    case YAML_SCANNER_ERROR:
    case YAML_PARSER_ERROR:
    case YAML_NO_ERROR:
    case YAML_COMPOSER_ERROR:
    case YAML_WRITER_ERROR:
    case YAML_EMITTER_ERROR:
        break;
    }
    const char *hint =
        line_has_tab(builder->text, parser->problem_mark.line) ? " (indent with spaces, not with tabs)" : "";
    if (parser->context == NULL)
        return reject(builder, SOREX_INVALID, parser->problem_mark, "%s%s", problem, hint);
    return reject(builder, SOREX_INVALID, parser->problem_mark, "%s, %s that starts at line %zu%s", problem,
                  parser->context, parser->context_mark.line + 1, hint);
}

static enum sorex_status check_tag(const struct builder *builder, const yaml_event_t *event, const yaml_char_t *tag,
                                   const yaml_char_t *anchor, const char *allowed)
{
    if (anchor != NULL)
        return reject(builder, SOREX_INVALID, event->start_mark, "anchors (&%s) are not supported: write the value out",
                      (const char *)anchor);
    if (tag != NULL && strcmp((const char *)tag, allowed) != 0)
        return reject(builder, SOREX_INVALID, event->start_mark, "tags (%s) are not supported: write the plain value",
                      (const char *)tag);
    return SOREX_OK;
}

/* A scalar's bytes as a string of our own. NUL ends strings, so it cannot be inside. */
static enum sorex_status scalar_copy(const struct builder *builder, const yaml_event_t *event, char **out)
{
    const yaml_char_t *value = event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (memchr(value, '\0', length) != NULL)
        return reject(builder, SOREX_INVALID, event->start_mark, "a value holds a NUL character");
    char *text = malloc(length + 1);
    if (text == NULL)
        return sorex_error_set(builder->err, SOREX_NOMEM, "%s: out of memory", builder->file);
    memcpy(text, value, length);
    text[length] = '\0';
    *out = text;
    return SOREX_OK;
}

/* Makes a node and hangs it into the open level; builder owns it from here on. */
static enum sorex_status node_add(struct builder *builder, enum config_kind kind, yaml_mark_t mark,
                                  struct config_node **out)
{
    if (++builder->count > CONFIG_NODES_MAX)
        return reject(builder, SOREX_LIMIT, mark, "more than %u values", CONFIG_NODES_MAX);
    bool is_root = builder->root == NULL;
    size_t name_size = is_root ? strlen(builder->file) + 1 : 0;
    struct document *document = is_root ? calloc(1, sizeof *document + name_size) : NULL;
    struct config_node *node = is_root ? (document == NULL ? NULL : &document->root) : calloc(1, sizeof *node);
    if (node == NULL)
        return sorex_error_set(builder->err, SOREX_NOMEM, "%s: out of memory", builder->file);
    if (is_root) {
        memcpy(document->file, builder->file, name_size);
        node->file = document->file;
        builder->root = node;
    } else {
        struct level *level = &builder->levels[builder->depth - 1];
        node->file = builder->root->file;
        node->key = level->key;
        level->key = NULL;
        if (level->last == NULL)
            level->node->first = node;
        else
            level->last->next = node;
        level->last = node;
    }
    node->kind = kind;
    node->line = (unsigned)mark.line + 1;
    node->column = (unsigned)mark.column + 1;
    *out = node;
    return SOREX_OK;
}

static enum sorex_status key_begin(struct builder *builder, const yaml_event_t *event)
{
    struct level *level = &builder->levels[builder->depth - 1];
    TRY(check_tag(builder, event, event->data.scalar.tag, event->data.scalar.anchor, YAML_STR_TAG));
    char *key = NULL;
    TRY(scalar_copy(builder, event, &key));
    for (const struct config_node *other = level->node->first; other != NULL; other = other->next) {
        if (strcmp(other->key, key) != 0)
            continue;
        enum sorex_status status = reject(builder, SOREX_INVALID, event->start_mark,
                                          "duplicate key \"%.100s\", first at line %u", key, other->line);
        free(key);
        return status;
    }
    level->key = key;
    level->key_mark = event->start_mark;
    return SOREX_OK;
}

static bool key_expected(const struct builder *builder)
{
    if (builder->depth == 0)
        return false;
    const struct level *level = &builder->levels[builder->depth - 1];
    return level->node->kind == CONFIG_MAPPING && level->key == NULL;
}

static enum sorex_status on_scalar(struct builder *builder, const yaml_event_t *event)
{
    if (key_expected(builder))
        return key_begin(builder, event);
    TRY(check_tag(builder, event, event->data.scalar.tag, event->data.scalar.anchor, YAML_STR_TAG));
    /* An empty value has the mark of what follows it: the key's line is where the reader looks. */
    bool empty =
        event->data.scalar.length == 0 && builder->depth > 0 && builder->levels[builder->depth - 1].key != NULL;
    struct config_node *node = NULL;
    TRY(node_add(builder, CONFIG_SCALAR, empty ? builder->levels[builder->depth - 1].key_mark : event->start_mark,
                 &node));
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || event->data.scalar.tag != NULL;
    return scalar_copy(builder, event, &node->text);
}

static enum sorex_status on_open(struct builder *builder, const yaml_event_t *event, enum config_kind kind)
{
    if (key_expected(builder))
        return reject(builder, SOREX_INVALID, event->start_mark, "a key must be text, not %s", config_kind_name(kind));
    if (kind == CONFIG_MAPPING)
        TRY(check_tag(builder, event, event->data.mapping_start.tag, event->data.mapping_start.anchor, YAML_MAP_TAG));
    else
        TRY(check_tag(builder, event, event->data.sequence_start.tag, event->data.sequence_start.anchor, YAML_SEQ_TAG));
    if (builder->depth == CONFIG_DEPTH_MAX)
        return reject(builder, SOREX_LIMIT, event->start_mark, "nested deeper than %u levels", CONFIG_DEPTH_MAX);
    struct config_node *node = NULL;
    TRY(node_add(builder, kind, event->start_mark, &node));
    builder->levels[builder->depth++] = (struct level){.node = node};
    return SOREX_OK;
}

static enum sorex_status on_document_start(const struct builder *builder, const yaml_event_t *event)
{
    if (builder->root != NULL)
        return reject(builder, SOREX_INVALID, event->start_mark,
                      "a second document begins here: one file is one document");
    if (event->data.document_start.tag_directives.start != event->data.document_start.tag_directives.end)
        return reject(builder, SOREX_INVALID, event->start_mark, "%%TAG directives are not supported");
    return SOREX_OK;
}

static enum sorex_status on_event(struct builder *builder, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document_start(builder, event);
    case YAML_SCALAR_EVENT:
        return on_scalar(builder, event);
    case YAML_MAPPING_START_EVENT:
        return on_open(builder, event, CONFIG_MAPPING);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(builder, event, CONFIG_LIST);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        CHECK(builder->depth > 0);
        builder->depth--;
        return SOREX_OK;
    case YAML_ALIAS_EVENT:
        return reject(builder, SOREX_INVALID, event->start_mark, "aliases (*%s) are not supported: write the value out",
                      (const char *)event->data.alias.anchor);
    case YAML_STREAM_END_EVENT:
        if (builder->root == NULL)
            return sorex_error_set(builder->err, SOREX_INVALID, "%s:1:1: the file is empty", builder->file);
        return SOREX_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return SOREX_OK;
    }
    return SOREX_OK;
}

enum sorex_status config_parse(struct bytes text, const char *file, struct config_node **out, struct sorex_error *err)
{
    *out = NULL;
    if (text.len > CONFIG_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "%s is larger than %zu bytes", file, CONFIG_BYTES_MAX);
    struct builder builder = {.text = text, .file = file, .err = err};
    if (yaml_parser_initialize(&builder.parser) == 0)
        return sorex_error_set(err, SOREX_NOMEM, "%s: out of memory", file);
    /* Editors of some systems begin a file with a byte order mark, which libyaml only takes when it guesses the
     * encoding. */
    if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        builder.text = bytes_of(text.data + 3, text.len - 3);
    yaml_parser_set_encoding(&builder.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&builder.parser, builder.text.len == 0 ? (const uint8_t *)"" : builder.text.data,
                                 builder.text.len);

    enum sorex_status status = SOREX_OK;
    for (bool end = false; status == SOREX_OK && !end;) {
        yaml_event_t event;
        if (yaml_parser_parse(&builder.parser, &event) == 0) {
            status = reject_syntax(&builder);
            break;
        }
        status = on_event(&builder, &event);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&builder.parser);
    for (unsigned i = 0; i < CONFIG_DEPTH_MAX; i++)
        free(builder.levels[i].key);
    if (status != SOREX_OK) {
        config_free(builder.root);
        return status;
    }
    *out = builder.root;
    return SOREX_OK;
}

enum sorex_status config_read_file(const char *path, struct config_node **out, struct sorex_error *err)
{
    *out = NULL;
    struct buf text;
    buf_init(&text, CONFIG_BYTES_MAX * 2);
    enum sorex_status status = file_read(path, CONFIG_BYTES_MAX, &text, err);
    if (status == SOREX_OK)
        status = config_parse(buf_view(&text), path, out, err);
    buf_deinit(&text);
    return status;
}

void config_free(struct config_node *root)
{
    /* Children are put in front of the list of what is left, so that depth costs no stack. */
    for (struct config_node *left = root; left != NULL;) {
        struct config_node *node = left;
        left = node->next;
        if (node->first != NULL) {
            struct config_node *last = node->first;
            while (last->next != NULL)
                last = last->next;
            last->next = left;
            left = node->first;
        }
        free(node->key);
        free(node->text);
        free(node);
    }
}

const struct config_node *config_get(const struct config_node *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != CONFIG_MAPPING)
        return NULL;
    for (const struct config_node *child = mapping->first; child != NULL; child = child->next)
        if (strcmp(child->key, key) == 0)
            return child;
    return NULL;
}

bool config_is_null(const struct config_node *node)
{
    if (node->kind != CONFIG_SCALAR || node->quoted)
        return false;
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(node->text, words[i]) == 0)
            return true;
    return false;
}

const char *config_kind_name(enum config_kind kind)
{
    switch (kind) {
    case CONFIG_SCALAR:
        return "text";
    case CONFIG_MAPPING:
        return "a mapping";
    case CONFIG_LIST:
        return "a list";
    }
    return "nothing";
}

enum sorex_status config_error(struct sorex_error *err, const struct config_node *node, enum sorex_status status,
                               const char *format, ...)
{
    char reason[SOREX_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    const char *file = node->file != NULL ? node->file : "settings";
    if (node->line == 0)
        return sorex_error_set(err, status, "%s: %s", file, reason);
    return sorex_error_set(err, status, "%s:%u: %s", file, node->line, reason);
}
