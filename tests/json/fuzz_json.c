/* libFuzzer: the reader and the reference agree; slices stay inside the text. */
#include "base/check.h"
#include "json/json.h"
#include "json/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_parser *parser;
    struct json_doc doc;
    struct sorex_error err = {0};
    if (parser == NULL)
        CHECK(json_parser_new(&parser, NULL) == SOREX_OK);
    enum sorex_status status = json_parse(parser, bytes_of(data, size), &doc, &err);
    /* Names that stand twice are found where their object ends, faults behind it are not looked for. */
    if (status == SOREX_LIMIT || strstr(err.text, "stands twice") != NULL)
        return 0;
    CHECK((status == SOREX_OK) == reference_accepts(bytes_of(data, size)));
    for (uint32_t i = 0; status == SOREX_OK && i < doc.count; i++) {
        const struct json_node *node = &doc.nodes[i];
        CHECK(node->raw.len > 0 && node->raw.data >= data && node->raw.data + node->raw.len <= data + size);
        CHECK(node->next < doc.count && node->first < doc.count);
    }
    return 0;
}
