#include "pipeline/images.h"

#include "base/check.h"
#include "base/codec.h"

enum sorex_status image_key(struct bytes table, struct bytes key, struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_varint(out, table.len, err));
    TRY(buf_append(out, table, err));
    return buf_append(out, key, err);
}

bool image_key_split(struct bytes image, struct bytes *out_table, struct bytes *out_key)
{
    struct reader reader = reader_of(image);
    if (!reader_bytes(&reader, out_table))
        return false;
    *out_key = bytes_of(reader.at, reader_left(&reader));
    return true;
}

static enum sorex_status before_check(struct images *images, const struct change *change, struct bytes image,
                                      struct sorex_error *err)
{
    bool equal = false;
    TRY(change_image_equal(images->parsers[0], change->before, images->parsers[1], image, &equal, err));
    if (!equal)
        return sorex_error_set(err, SOREX_INVALID, "before of %.*s/%.*s is not the row's last image, which is %.*s",
                               BYTES_FMT(change->table), BYTES_FMT(change->key), (int)(image.len > 200 ? 200 : image.len),
                               (const char *)image.data);
    return SOREX_OK;
}

enum sorex_status images_apply(struct images *images, const struct change *change, struct buf *out_before,
                               struct sorex_error *err)
{
    buf_reset(&images->key);
    TRY(image_key(change->table, change->key, &images->key, err));
    struct bytes key = buf_view(&images->key), image;
    bool found = false;
    TRY(images->state.get(images->state.user_data, key, &image, &found, err));
    if (change->operation == CHANGE_CREATE && found)
        return sorex_error_set(err, SOREX_INVALID, "create of %.*s/%.*s, which exists", BYTES_FMT(change->table),
                               BYTES_FMT(change->key));
    if (change->operation != CHANGE_CREATE && !found)
        return sorex_error_set(err, SOREX_INVALID, "%s of %.*s/%.*s, which does not exist",
                               change_operation_name(change->operation), BYTES_FMT(change->table), BYTES_FMT(change->key));
    if (found) {
        TRY(buf_append(out_before, image, err));
        if (change->before.data != NULL)
            TRY(before_check(images, change, buf_view(out_before), err));
    }
    if (change->operation == CHANGE_DELETE)
        return images->writes.del(images->writes.user_data, key, err);
    return images->writes.put(images->writes.user_data, key, change->after, err);
}

void images_deinit(struct images *images)
{
    buf_deinit(&images->key);
}
