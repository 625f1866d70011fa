/* libFuzzer: bytes as messages of a PostgreSQL server. What is taken lies inside the input, in order, with parts that
 * add up; and how the bytes were cut into pieces makes no difference. */
#include "base/check.h"
#include "pg/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct bytes part, struct bytes whole)
{
    CHECK(part.data == NULL || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len));
}

static void parts_take(struct protocol_message *m)
{
    for (uint16_t i = 0; m->type == PROTOCOL_COLUMNS && i < m->columns.count; i++)
        inside(protocol_column_next(&m->columns).name, m->body);
    for (uint16_t i = 0; m->type == PROTOCOL_ROW && i < m->row.count; i++) {
        struct protocol_value value = protocol_value_next(&m->row);
        CHECK(value.null || value.bytes.data != NULL);
        inside(value.bytes, m->body);
    }
    for (uint16_t i = 0; m->type == PROTOCOL_PARAMETER_TYPES && i < m->types.count; i++)
        (void)protocol_type_next(&m->types.rest);
    if (m->type == PROTOCOL_ERROR || m->type == PROTOCOL_NOTICE) {
        CHECK(m->notice.fields[PROTOCOL_FIELD_SQLSTATE].len == 5);
        for (size_t i = 0; i < PROTOCOL_FIELDS; i++)
            inside(m->notice.fields[i], m->body);
    }
    if (m->type == PROTOCOL_COMPLETE || m->type == PROTOCOL_COPY_DATA)
        inside(m->text, m->body);
    if (m->type == PROTOCOL_NOTIFICATION) {
        inside(m->notification.channel, m->body);
        inside(m->notification.payload, m->body);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    for (;;) {
        struct protocol_message message, again;
        struct sorex_error err = {0};
        struct bytes before = in;
        bool whole;
        enum sorex_status status = protocol_take(&in, &message, &whole, &err);
        CHECK(status == SOREX_OK || (!whole && in.data == before.data && in.len == before.len && err.text[0] != '\0'));
        if (!whole)
            break;
        size_t taken = before.len - in.len;
        CHECK(taken == message.body.len + 5);
        inside(message.body, bytes_of(before.data, taken));
        parts_take(&message);
        struct bytes piece = bytes_of(before.data, taken - 1);
        CHECK(protocol_take(&piece, &again, &whole, &err) == SOREX_OK && !whole && piece.len == taken - 1);
    }
    return 0;
}
