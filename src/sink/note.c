#include "sink/note.h"

#include <stdlib.h>

#include "base/check.h"
#include "json/writer.h"

#define NOTE_BYTES_MAX ((size_t)64 << 10)
#define VERSION 1

/* ---- writing ---- */

static void list_write(struct json_writer *w, const struct config_node *list)
{
    json_array_begin(w);
    for (const struct config_node *item = list->first; item != NULL; item = item->next)
        json_string_z(w, item->text);
    json_array_end(w);
}

static void mapping_write(struct json_writer *w, const struct config_node *mapping)
{
    json_object_begin(w);
    for (const struct config_node *item = mapping->first; item != NULL; item = item->next) {
        json_name(w, item->key);
        json_string_z(w, item->text);
    }
    json_object_end(w);
}

/* TABLE: {key: COLUMN or [COLUMN, ...], columns: {COLUMN: TYPE}}, which postgres_tables_check saw to. */
static void table_write(struct json_writer *w, const struct config_node *table)
{
    json_object_begin(w);
    for (const struct config_node *part = table->first; part != NULL; part = part->next) {
        json_name(w, part->key);
        if (part->kind == CONFIG_SCALAR)
            json_string_z(w, part->text);
        else if (part->kind == CONFIG_LIST)
            list_write(w, part);
        else
            mapping_write(w, part);
    }
    json_object_end(w);
}

static void tables_write(struct json_writer *w, const struct config_node *tables)
{
    json_object_begin(w);
    for (const struct config_node *table = tables == NULL ? NULL : tables->first; table != NULL; table = table->next) {
        json_name(w, table->key);
        table_write(w, table);
    }
    json_object_end(w);
}

enum sorex_status note_write(const struct note *note, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    size_t before = out->len;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "version");
    json_uint(&w, VERSION);
    json_name(&w, "pipeline");
    json_string_z(&w, note->pipeline);
    json_name(&w, "sink");
    json_string_z(&w, note->sink);
    json_name(&w, "sequence");
    json_uint(&w, note->sequence);
    json_name(&w, "height");
    json_uint(&w, note->height);
    json_name(&w, "guest_inverse");
    json_uint(&w, note->guest_inverse);
    json_name(&w, "schema");
    json_string_z(&w, note->settings.schema);
    json_name(&w, "mode");
    json_string_z(&w, note->settings.mode == POSTGRES_LOG ? "log" : "tables");
    json_name(&w, "log_table");
    json_string_z(&w, note->settings.log_table);
    json_name(&w, "tables");
    tables_write(&w, note->settings.tables);
    json_object_end(&w);
    TRY(json_writer_finish(&w));
    if (out->len - before > NOTE_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "tables: more than %zu bytes", NOTE_BYTES_MAX);
    return SOREX_OK;
}

/* ---- reading ---- */

static char *text_of(const struct config_node *root, const char *name)
{
    const struct config_node *node = config_get(root, name);
    return node != NULL && node->kind == CONFIG_SCALAR ? node->text : NULL;
}

static bool number_of(const struct config_node *root, const char *name, uint64_t max, uint64_t *out)
{
    const char *text = text_of(root, name);
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0' && *out <= max;
}

static bool note_take(const struct config_node *root, struct note *out)
{
    uint64_t version, height;
    const char *mode = text_of(root, "mode");
    *out = (struct note){.pipeline = text_of(root, "pipeline"),
                         .sink = text_of(root, "sink"),
                         .settings = {.schema = text_of(root, "schema"),
                                      .log_table = text_of(root, "log_table"),
                                      .create_tables = true,
                                      .tables = config_get(root, "tables")}};
    if (!number_of(root, "version", VERSION, &version) || version != VERSION ||
        !number_of(root, "sequence", UINT64_MAX, &out->sequence) || !number_of(root, "height", UINT32_MAX, &height) ||
        !number_of(root, "guest_inverse", UINT64_MAX, &out->guest_inverse))
        return false;
    if (mode == NULL || out->pipeline == NULL || out->sink == NULL || out->settings.schema == NULL ||
        out->settings.log_table == NULL || out->settings.tables == NULL)
        return false;
    out->height = (uint32_t)height;
    out->settings.mode = strcmp(mode, "log") == 0 ? POSTGRES_LOG : POSTGRES_TABLES;
    return true;
}

enum sorex_status note_read(struct bytes text, struct note *out, struct config_node **out_root, struct sorex_error *err)
{
    struct config_node *root;
    if (config_parse(text, "note", &root, err) != SOREX_OK)
        return sorex_error_set(err, SOREX_CORRUPT, "the note beside the embedded database does not read");
    if (!note_take(root, out)) {
        config_free(root);
        return sorex_error_set(err, SOREX_CORRUPT, "the note beside the embedded database lacks something");
    }
    *out_root = root;
    return SOREX_OK;
}
