#include "pipeline/config_json.h"

#include "base/check.h"
#include "json/writer.h"

static void scalar_write(struct json_writer *w, const struct config_node *node, struct json_parser *parser)
{
    struct json_doc doc;
    struct bytes text = bytes_str(node->text != NULL ? node->text : "");
    if (config_is_null(node)) {
        json_null(w);
        return;
    }
    bool plain = !node->quoted && json_parse(parser, text, &doc, NULL) == SOREX_OK &&
                 (doc.nodes[0].kind == JSON_BOOL || doc.nodes[0].kind == JSON_NUMBER);
    if (plain)
        json_raw(w, doc.nodes[0].raw);
    else
        json_string(w, text);
}

enum sorex_status config_json(const struct config_node *node, struct json_parser *parser, struct buf *out,
                              struct sorex_error *err)
{
    const struct config_node *open[CONFIG_DEPTH_MAX + 1]; /* containers that are being written */
    unsigned depth = 0;
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    for (const struct config_node *at = node; at != NULL;) {
        if (depth > 0 && open[depth - 1]->kind == CONFIG_MAPPING)
            json_name(&w, at->key);
        if (at->kind != CONFIG_SCALAR) {
            CHECK(depth <= CONFIG_DEPTH_MAX);
            open[depth++] = at;
            if (at->kind == CONFIG_MAPPING)
                json_object_begin(&w);
            else
                json_array_begin(&w);
        } else
            scalar_write(&w, at, parser);
        const struct config_node *next = at->kind != CONFIG_SCALAR ? at->first : depth > 0 ? at->next : NULL;
        while (next == NULL && depth > 0) {
            const struct config_node *closed = open[--depth];
            if (closed->kind == CONFIG_MAPPING)
                json_object_end(&w);
            else
                json_array_end(&w);
            next = depth > 0 ? closed->next : NULL;
        }
        at = next;
    }
    return json_writer_finish(&w);
}
