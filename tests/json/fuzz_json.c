/* libFuzzer: the reader and the reference agree; slices stay inside the text; members are found by their names; the
 * canonical text is not longer, says the same, and is its own canonical text; a string that is written reads back. */
#include <stdlib.h>

#include "base/check.h"
#include "json/canonical.h"
#include "json/json.h"
#include "json/reference.h"
#include "json/writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void slices_check(const struct json_doc *doc, struct bytes text)
{
    for (uint32_t i = 0; i < doc->count; i++) {
        const struct json_node *node = &doc->nodes[i];
        CHECK(node->raw.len > 0 && node->raw.data >= text.data &&
              node->raw.data + node->raw.len <= text.data + text.len);
        CHECK(node->next < doc->count && node->first < doc->count);
    }
}

static void members_check(const struct json_doc *doc)
{
    for (uint32_t i = 0; i < doc->count; i++) {
        const struct json_node *node = &doc->nodes[i];
        uint32_t children = 0;
        for (const struct json_node *child = json_first(doc, node); child != NULL; child = json_next(doc, child)) {
            children++;
            if (node->kind == JSON_OBJECT)
                CHECK(json_member_bytes(doc, node, child->key) == child);
        }
        CHECK(children == node->children);
    }
}

static void numbers_check(const struct json_doc *doc)
{
    for (uint32_t i = 0; i < doc->count; i++) {
        uint64_t u = 0;
        int64_t s = 0;
        bool unsigned_fits = json_u64(&doc->nodes[i], &u), signed_fits = json_i64(&doc->nodes[i], &s);
        CHECK((!unsigned_fits && !signed_fits) || doc->nodes[i].kind == JSON_NUMBER);
        CHECK(!unsigned_fits || signed_fits == (u <= INT64_MAX));
        CHECK(!signed_fits || s <= 0 || unsigned_fits); /* -0 is no unsigned number */
        CHECK(!signed_fits || s >= 0 || !unsigned_fits);
    }
}

/* The canonical text of the root, in a block of exactly the room that it may take; to be freed. */
static struct bytes canonical_make(const struct json_doc *doc)
{
    uint8_t *text = malloc(doc->nodes[0].raw.len);
    CHECK(text != NULL);
    size_t len = json_canonical_write(doc, &doc->nodes[0], text);
    CHECK(len > 0 && len <= doc->nodes[0].raw.len);
    return bytes_of(text, len);
}

static void canonical_check(const struct json_doc *doc, struct json_parser *other)
{
    struct json_doc again;
    struct bytes first = canonical_make(doc);
    if (doc->compact && json_is_canonical(doc, &doc->nodes[0]))
        CHECK(bytes_equal(first, doc->nodes[0].raw));
    CHECK(json_parse(other, first, &again, NULL) == SOREX_OK);
    CHECK(again.count == doc->count && again.nodes[0].kind == doc->nodes[0].kind);
    /* A name with an escape that it needs is not recognised; that costs time only. */
    CHECK(again.compact && (again.escapes || json_is_canonical(&again, &again.nodes[0])));
    struct bytes second = canonical_make(&again);
    CHECK(bytes_equal(first, second));
    free((void *)(uintptr_t)first.data);
    free((void *)(uintptr_t)second.data);
}

static void writer_check(const struct json_doc *doc, struct json_parser *other)
{
    for (uint32_t i = 0; i < doc->count && i < 16; i++) {
        if (doc->nodes[i].kind != JSON_STRING)
            continue;
        struct buf out = {0};
        struct json_writer w;
        struct json_doc again;
        json_writer_init(&w, &out, false, NULL);
        json_string(&w, doc->nodes[i].text);
        CHECK(json_writer_finish(&w) == SOREX_OK);
        CHECK(json_parse(other, buf_view(&out), &again, NULL) == SOREX_OK);
        CHECK(bytes_equal(again.nodes[0].text, doc->nodes[i].text));
        buf_deinit(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_parser *parser, *other;
    struct json_doc doc;
    struct sorex_error err = {0};
    struct bytes text = bytes_of(data, size);
    if (parser == NULL)
        CHECK(json_parser_new(&parser, NULL) == SOREX_OK && json_parser_new(&other, NULL) == SOREX_OK);
    enum sorex_status status = json_parse(parser, text, &doc, &err);
    /* Names that stand twice are found where their object ends, faults behind it are not looked for. */
    if (status == SOREX_LIMIT || strstr(err.text, "stands twice") != NULL)
        return 0;
    CHECK((status == SOREX_OK) == reference_accepts(text));
    if (status != SOREX_OK)
        return 0;
    slices_check(&doc, text);
    members_check(&doc);
    numbers_check(&doc);
    canonical_check(&doc, other);
    writer_check(&doc, other);
    return 0;
}
