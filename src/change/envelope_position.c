#include "base/check.h"
#include "change/envelope_private.h"
#include "json/canonical.h"

static bool is_reserved(const struct position_shape *shape, struct bytes name)
{
    if (bytes_is(name, "event") || bytes_is(name, shape->extra))
        return true;
    for (const char *const *reserved = shape->reserved; *reserved != NULL; reserved++)
        if (bytes_is(name, *reserved))
            return true;
    return false;
}

/* The members in question, sorted; returns how many. out has room for all members. */
static uint32_t members_take(const struct position_shape *shape, const struct json_doc *doc,
                             const struct json_node *object, const struct json_node **out)
{
    uint32_t count = 0;
    json_members_sorted(doc, object, out);
    for (uint32_t i = 0; i < object->children; i++)
        if (!is_reserved(shape, out[i]->key))
            out[count++] = out[i];
    return count;
}

static bool is_offset(const struct json_node *member)
{
    return bytes_is(member->key, "offset") && member->kind == JSON_STRING;
}

static enum sorex_status object_write(const struct position_shape *shape, const struct json_doc *doc,
                                      const struct json_node **members, uint32_t count, const struct json_node *extra,
                                      struct arena *arena, struct buf *text, struct sorex_error *err)
{
    struct json_writer w;
    bool extra_done = extra == NULL;
    json_writer_init(&w, text, false, err);
    json_object_begin(&w);
    for (uint32_t i = 0; i < count || !extra_done;) {
        bool extra_now = !extra_done && (i == count || bytes_compare(members[i]->key, bytes_str(shape->extra)) > 0);
        const struct json_node *member = extra_now ? extra : members[i++];
        struct bytes value;
        extra_done = extra_done || extra_now;
        json_name_bytes(&w, extra_now ? bytes_str(shape->extra) : member->key);
        TRY(event_image(doc, member, arena, &value, err));
        json_raw(&w, value.data != NULL ? value : bytes_str("null"));
    }
    json_object_end(&w);
    return json_writer_finish(&w);
}

enum sorex_status position_gather(const struct position_shape *shape, const struct json_doc *doc,
                                  const struct json_node *object, const struct json_node *extra, bool alone,
                                  struct arena *arena, struct bytes *out, struct sorex_error *err)
{
    const struct json_node **members = arena_alloc(arena, (object->children + 1) * sizeof *members);
    struct buf text = {0};
    if (members == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for an event");
    uint32_t count = members_take(shape, doc, object, members);
    if (count == 1 && alone && is_offset(members[0]))
        return event_string_keep(doc, members[0], arena, out, err);
    enum sorex_status status = object_write(shape, doc, members, count, extra, arena, &text, err);
    if (status == SOREX_OK) {
        *out = arena_copy(arena, buf_view(&text));
        if (out->data == NULL)
            status = sorex_error_set(err, SOREX_NOMEM, "out of memory for an event");
    }
    buf_deinit(&text);
    return status;
}

enum sorex_status position_parse(const struct position_shape *shape, struct json_parser *parser, struct bytes offset,
                                 bool alone, struct arena *arena, struct json_doc *doc, const struct json_node **out,
                                 struct sorex_error *err)
{
    struct bytes canonical;
    uint32_t others = 0;
    bool sole_offset = false;
    *out = NULL;
    if (offset.len < 2 || offset.data[0] != '{')
        return SOREX_OK;
    enum sorex_status status = json_parse(parser, offset, doc, NULL);
    if (status != SOREX_OK)
        return status == SOREX_NOMEM ? sorex_error_set(err, status, "out of memory for an event") : SOREX_OK;
    TRY(event_image(doc, &doc->nodes[0], arena, &canonical, err));
    if (!bytes_equal(canonical, offset))
        return SOREX_OK;
    for (const struct json_node *member = json_first(doc, &doc->nodes[0]); member != NULL;
         member = json_next(doc, member)) {
        bool extra = bytes_is(member->key, shape->extra);
        if (is_reserved(shape, member->key) && !extra)
            return SOREX_OK;
        others += !extra;
        sole_offset = sole_offset || (!extra && is_offset(member));
    }
    if (!(others == 1 && sole_offset && alone))
        *out = &doc->nodes[0];
    return SOREX_OK;
}

void position_write(const struct position_shape *shape, struct json_writer *w, const struct json_doc *doc,
                    const struct json_node *position, struct bytes offset)
{
    if (position == NULL) {
        json_name(w, "offset");
        json_string(w, offset);
        return;
    }
    for (const struct json_node *member = json_first(doc, position); member != NULL; member = json_next(doc, member))
        if (!bytes_is(member->key, shape->extra)) {
            json_name_bytes(w, member->key);
            json_raw(w, member->raw);
        }
}
