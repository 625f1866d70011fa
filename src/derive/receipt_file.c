/* Receipts as JSON. */
#include "derive/receipt.h"

#include "base/check.h"
#include "base/hex.h"
#include "json/json.h"
#include "json/writer.h"

#define FORMAT "sorex receipt 1"

void receipt_file_deinit(struct receipt_file *file)
{
    buf_deinit(&file->identity);
    buf_deinit(&file->query);
    buf_deinit(&file->result);
}

/* ---- writing ---- */

static void write_hash(struct json_writer *w, const char *name, const uint8_t hash[SHA256_BYTES])
{
    if (name != NULL)
        json_name(w, name);
    json_hex(w, bytes_of(hash, SHA256_BYTES));
}

static void write_number(struct json_writer *w, const char *name, uint64_t value)
{
    json_name(w, name);
    json_uint(w, value);
}

static void write_head(struct json_writer *w, const struct receipt_file *file)
{
    const struct receipt *receipt = &file->receipt;
    json_name(w, "format");
    json_string_z(w, FORMAT);
    json_name(w, "identity");
    json_string(w, buf_view(&file->identity));
    write_number(w, "from", receipt->from);
    write_number(w, "count", receipt->count);
    write_number(w, "rejected", receipt->rejected);
    write_number(w, "time", (uint64_t)receipt->time_ms);
    write_hash(w, "log", receipt->log);
    write_hash(w, "key", receipt->key);
    write_hash(w, "trace", receipt->trace);
    if (file->has_digest)
        write_hash(w, "digest", file->digest);
}

static void write_query(struct json_writer *w, const struct receipt_file *file)
{
    if (file->query.len == 0)
        return;
    json_name(w, "query");
    json_object_begin(w);
    json_name(w, "sql");
    json_string(w, buf_view(&file->query));
    json_name(w, "result");
    json_string(w, buf_view(&file->result));
    json_object_end(w);
}

enum sorex_status receipt_file_write(const struct receipt_file *file, struct buf *out, struct sorex_error *err)
{
    const struct receipt *receipt = &file->receipt;
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    write_head(&w, file);
    write_query(&w, file);
    write_number(&w, "step", receipt->step);
    json_name(&w, "points");
    json_array_begin(&w);
    for (uint32_t i = 0; i < receipt->points_count; i++) {
        json_array_begin(&w);
        write_hash(&w, NULL, receipt->points[i].key);
        write_hash(&w, NULL, receipt->points[i].trace);
        json_array_end(&w);
    }
    json_array_end(&w);
    json_name(&w, "digests");
    json_array_begin(&w);
    for (uint32_t i = 0; i < receipt->digests_count; i++) {
        json_array_begin(&w);
        json_uint(&w, receipt->digests[i].count);
        write_hash(&w, NULL, receipt->digests[i].digest);
        json_array_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    TRY(json_writer_finish(&w));
    return buf_append_u8(out, '\n', err);
}

/* ---- reading ---- */

/* A document that is read member by member; the first thing wrong stays in err. */
struct form {
    const struct json_doc *doc;
    struct sorex_error *err;
    enum sorex_status status;
};

static void wrong(struct form *form, const char *name, const char *what)
{
    if (form->status == SOREX_OK)
        form->status = sorex_error_set(form->err, SOREX_INVALID, "%s %s", name, what);
}

static void read_hash(struct form *form, const char *name, const struct json_node *node, uint8_t out[SHA256_BYTES])
{
    struct buf bytes = {0};
    if (node == NULL || node->kind != JSON_STRING || node->text.len != 2 * (size_t)SHA256_BYTES ||
        hex_decode(node->text, &bytes, NULL) != SOREX_OK || bytes.len != SHA256_BYTES)
        wrong(form, name, "has to be 64 hex digits");
    else
        memcpy(out, bytes.data, SHA256_BYTES);
    buf_deinit(&bytes);
}

static const struct json_node *member(const struct form *form, const char *name)
{
    return json_member(form->doc, &form->doc->nodes[0], name);
}

static void member_hash(struct form *form, const char *name, uint8_t out[SHA256_BYTES])
{
    read_hash(form, name, member(form, name), out);
}

static uint64_t member_number(struct form *form, const char *name)
{
    uint64_t value = 0;
    const struct json_node *node = member(form, name);
    if (node == NULL || !json_u64(node, &value))
        wrong(form, name, "has to be a number");
    return value;
}

static void member_text(struct form *form, const struct json_node *object, const char *name, struct buf *out)
{
    const struct json_node *node = json_member(form->doc, object, name);
    if (node == NULL || node->kind != JSON_STRING)
        wrong(form, name, "has to be text");
    else if (buf_append(out, node->text, form->err) != SOREX_OK)
        form->status = SOREX_NOMEM;
}

/* Calls for every element, which is an array of two. */
static uint32_t read_pairs(struct form *form, const char *name, size_t max,
                           void (*each)(struct form *form, struct receipt *out, size_t at,
                                        const struct json_node *first, const struct json_node *second),
                           struct receipt *out)
{
    const struct json_node *list = member(form, name);
    if (list == NULL || list->kind != JSON_ARRAY || list->children > max) {
        wrong(form, name, "has to be a list, not too long");
        return 0;
    }
    size_t at = 0;
    for (const struct json_node *pair = json_first(form->doc, list); pair != NULL; pair = json_next(form->doc, pair)) {
        if (pair->kind != JSON_ARRAY || pair->children != 2) {
            wrong(form, name, "has to be a list of pairs");
            return 0;
        }
        const struct json_node *first = json_first(form->doc, pair);
        each(form, out, at++, first, json_next(form->doc, first));
    }
    return (uint32_t)at;
}

static void read_point(struct form *form, struct receipt *out, size_t at, const struct json_node *first,
                       const struct json_node *second)
{
    read_hash(form, "points", first, out->points[at].key);
    read_hash(form, "points", second, out->points[at].trace);
}

static void read_digest(struct form *form, struct receipt *out, size_t at, const struct json_node *first,
                        const struct json_node *second)
{
    if (!json_u64(first, &out->digests[at].count))
        wrong(form, "digests", "have a number each");
    read_hash(form, "digests", second, out->digests[at].digest);
}

static void read_all(struct form *form, struct receipt_file *out)
{
    struct receipt *receipt = &out->receipt;
    const struct json_node *root = &form->doc->nodes[0], *format = member(form, "format");
    if (format == NULL || format->kind != JSON_STRING || !bytes_is(format->text, FORMAT))
        wrong(form, "format", "has to be \"" FORMAT "\"");
    member_text(form, root, "identity", &out->identity);
    receipt->from = member_number(form, "from");
    receipt->count = member_number(form, "count");
    receipt->rejected = member_number(form, "rejected");
    receipt->time_ms = (int64_t)member_number(form, "time");
    member_hash(form, "log", receipt->log);
    member_hash(form, "key", receipt->key);
    member_hash(form, "trace", receipt->trace);
    out->has_digest = member(form, "digest") != NULL;
    if (out->has_digest)
        member_hash(form, "digest", out->digest);
    if (member(form, "query") != NULL) {
        member_text(form, member(form, "query"), "sql", &out->query);
        member_text(form, member(form, "query"), "result", &out->result);
    }
    receipt->step = member_number(form, "step");
    receipt->points_count = read_pairs(form, "points", RECEIPT_POINTS_MAX, read_point, receipt);
    receipt->digests_count = read_pairs(form, "digests", RECEIPT_DIGESTS_MAX, read_digest, receipt);
}

/* By its bytes, whose reader checks that the numbers fit together. */
static enum sorex_status check_numbers(const struct receipt *receipt, struct sorex_error *err)
{
    struct buf bytes = {0};
    struct receipt copy;
    enum sorex_status status = receipt_encode(receipt, &bytes, err);
    if (status == SOREX_OK && receipt_decode(buf_view(&bytes), &copy, err) != SOREX_OK)
        status = sorex_error_set(err, SOREX_INVALID, "its numbers do not fit together");
    buf_deinit(&bytes);
    return status;
}

enum sorex_status receipt_file_read(struct bytes text, struct receipt_file *out, struct sorex_error *err)
{
    struct json_parser *parser = NULL;
    struct json_doc doc;
    TRY(json_parser_new(&parser, err));
    enum sorex_status status = json_parse(parser, text, &doc, err);
    if (status == SOREX_OK) {
        struct form form = {.doc = &doc, .err = err};
        read_all(&form, out);
        status = form.status;
    }
    if (status == SOREX_OK)
        status = check_numbers(&out->receipt, err);
    json_parser_free(parser);
    return status == SOREX_OK || status == SOREX_NOMEM ? status : sorex_error_prefix(err, "no receipt");
}
