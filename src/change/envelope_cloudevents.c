/* CloudEvents 1.0, structured content mode in JSON. */
#include <stdio.h>

#include "base/check.h"
#include "change/envelope_private.h"

#define TIME_MS_END UINT64_C(253402300800000) /* the year 10000 */

static bool ends_in_json(struct bytes type)
{
    static const char suffix[] = "+json";
    return bytes_is(type, "application/json") ||
           (type.len >= sizeof suffix &&
            memcmp(type.data + type.len - sizeof suffix + 1, suffix, sizeof suffix - 1) == 0);
}

static enum sorex_status attributes_check(const struct json_doc *doc, struct arena *arena, struct sorex_error *err)
{
    static const char *const required[] = {"specversion", "id", "source", "type"};
    const struct json_node *root = &doc->nodes[0], *content = json_member(doc, root, "datacontenttype");
    struct bytes value = {0};
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        TRY(envelope_string(doc, root, required[i], required[i], arena, &value, err));
        if (value.len == 0)
            return sorex_error_set(err, SOREX_INVALID, "%s is empty", required[i]);
        if (i == 0 && !bytes_is(value, "1.0"))
            return sorex_error_set(err, SOREX_INVALID, "specversion is \"%.*s\", not 1.0",
                                   (int)(value.len > 40 ? 40 : value.len), (const char *)value.data);
    }
    if (content != NULL && (content->kind != JSON_STRING || !ends_in_json(content->text)))
        return sorex_error_set(err, SOREX_INVALID, "datacontenttype is %.*s, not application/json",
                               BYTES_FMT(content->raw));
    if (json_member(doc, root, "data_base64") != NULL)
        return sorex_error_set(err, SOREX_INVALID, "data_base64 is not read: an event is JSON, in data");
    return SOREX_OK;
}

static enum sorex_status cloudevents_read(struct json_parser *parser, struct bytes text, struct arena *arena,
                                          struct event *out, bool *out_tombstone, struct sorex_error *err)
{
    struct json_doc doc;
    *out_tombstone = false;
    TRY(json_parse(parser, text, &doc, err));
    if (doc.nodes[0].kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "a CloudEvent is a JSON object");
    TRY(attributes_check(&doc, arena, err));
    const struct json_node *data = json_member(&doc, &doc.nodes[0], "data");
    if (data == NULL)
        return sorex_error_set(err, SOREX_INVALID, "data is missing");
    enum sorex_status status = event_parse(parser, data->raw, arena, out, err); /* a slice of text, not of the parser */
    if (status != SOREX_OK)
        (void)sorex_error_prefix(err, "data");
    return status;
}

/* A URI reference of one segment. */
static enum sorex_status source_write(const struct event *event, struct buf *out, struct sorex_error *err)
{
    struct bytes name = event->source.name;
    if (name.len == 0)
        return buf_append_str(out, "/", err);
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool letter = (c | 32) >= 'a' && (c | 32) <= 'z', digit = c >= '0' && c <= '9';
        if (letter || digit || c == '-' || c == '.' || c == '_' || c == '~')
            TRY(buf_append_u8(out, c, err));
        else
            TRY(buf_printf(out, err, "%%%02X", c));
    }
    return SOREX_OK;
}

/* RFC 3339 in UTC. Days to a date: years begin in March, so that the leap day is the last one; 400 of them have 146,097
 * days. */
static void time_write(uint64_t ts_ms, char out[40])
{
    unsigned ms_of_day = (unsigned)(ts_ms % 86400000), days = (unsigned)(ts_ms / 86400000) + 719468;
    unsigned era = days / 146097, day_of_era = days % 146097;
    unsigned year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * day_of_year + 2) / 153, day = day_of_year - (153 * month + 2) / 5 + 1;
    year += era * 400 + (month >= 10);
    month = month < 10 ? month + 3 : month - 9;
    (void)snprintf(out, 40, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year, month, day, ms_of_day / 3600000,
                   ms_of_day / 60000 % 60, ms_of_day / 1000 % 60, ms_of_day % 1000);
}

static enum sorex_status attributes_write(struct json_writer *w, const struct event *event, struct buf *text,
                                          struct sorex_error *err)
{
    json_name(w, "specversion");
    json_string_z(w, "1.0");
    json_name(w, "id");
    TRY(buf_append(text, event->source.offset.len > 0 ? event->source.offset : bytes_str("-"), err));
    if (event->has_transaction)
        TRY(buf_printf(text, err, "/%u", event->transaction.event_index));
    json_string(w, buf_view(text));
    buf_reset(text);
    json_name(w, "source");
    TRY(source_write(event, text, err));
    json_string(w, buf_view(text));
    buf_reset(text);
    json_name(w, "type");
    TRY(buf_printf(text, err, "sorex.event.%s", event_op_name(event->op)));
    json_string(w, buf_view(text));
    buf_reset(text);
    if (event->schema.len > 0) {
        TRY(buf_append(text, event->schema, err));
        TRY(buf_append_str(text, ".", err));
    }
    TRY(buf_append(text, event->table, err));
    if (text->len > 0) {
        json_name(w, "subject");
        json_string(w, buf_view(text));
    }
    if (event->ts_ms < TIME_MS_END) {
        char time[40];
        time_write(event->ts_ms, time);
        json_name(w, "time");
        json_string_z(w, time);
    }
    json_name(w, "datacontenttype");
    json_string_z(w, "application/json");
    return SOREX_OK;
}

static enum sorex_status cloudevents_write(struct json_parser *parser, const struct event *event, struct arena *arena,
                                           struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    struct buf text = {0};
    (void)parser;
    (void)arena;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    enum sorex_status status = attributes_write(&w, event, &text, err);
    buf_deinit(&text);
    TRY(status);
    json_name(&w, "data");
    json_raw(&w, bytes_of(NULL, 0)); /* the event writes itself behind the name */
    if (w.status == SOREX_OK)
        w.status = event_write(event, out, err);
    json_object_end(&w);
    return json_writer_finish(&w);
}

const struct envelope envelope_cloudevents = {
    .name = "cloudevents",
    .summary = "CloudEvents 1.0, structured JSON, with the event as data",
    .read = cloudevents_read,
    .write = cloudevents_write,
};
