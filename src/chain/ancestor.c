/* From the top down, heights fall into three runs: ours differs, ours is the same, ours is not retained any more (the
 * last two may be empty). Steps that double find a height below the first run, then halving finds its lowest height;
 * what lies under that is the answer. Reorganisations are mostly one or two deep: those cost two or three hashes. */
#include "chain/ancestor.h"

#include "base/check.h"

enum sorex_status ancestor_own_hash(const struct chain_options *options, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                    struct sorex_error *err)
{
    enum sorex_status status = options->own_hash(options->user_data, height, out_hash, err);
    if (status == SOREX_OK || status == SOREX_GONE)
        return status;
    (void)sorex_error_prefix(err, "our own chain at height %u", height);
    if (err != NULL)
        err->status = SOREX_FATAL;
    return SOREX_FATAL;
}

enum relation { DIFFERENT, SAME, FORGOTTEN };

static enum sorex_status compare(struct source *source, const struct chain_options *options, uint32_t height,
                                 enum relation *out, uint8_t out_hash[HASH_BYTES], struct sorex_error *err)
{
    uint8_t theirs[HASH_BYTES];
    enum sorex_status status = ancestor_own_hash(options, height, out_hash, err);
    *out = FORGOTTEN;
    if (status == SOREX_GONE)
        return SOREX_OK;
    if (status != SOREX_OK)
        return status;
    status = source->type->hash_at(source, height, theirs, err);
    if (status == SOREX_GONE)
        return sorex_error_set(err, SOREX_GONE, "the source's chain changed while it was compared with ours");
    *out = memcmp(theirs, out_hash, HASH_BYTES) == 0 ? SAME : DIFFERENT;
    return status;
}

enum sorex_status ancestor_find(struct source *source, const struct chain_options *options, uint32_t from,
                                struct ancestor *out, struct sorex_error *err)
{
    CHECK(from >= options->start_height);
    uint32_t low = from;
    uint32_t different = from;
    uint32_t step = 1;
    enum relation relation;
    TRY(compare(source, options, low, &relation, out->hash, err));
    if (relation == FORGOTTEN)
        return sorex_error_set(err, SOREX_AGAIN, "source is behind: height %u is too old to be compared with ours",
                               from);
    while (relation == DIFFERENT && low > options->start_height) {
        different = low;
        low = low - options->start_height > step ? low - step : options->start_height;
        step *= 2;
        TRY(compare(source, options, low, &relation, out->hash, err));
    }
    if (relation == DIFFERENT) {
        *out = (struct ancestor){.height = low};
        return SOREX_OK;
    }
    while (different > low + 1) {
        uint8_t hash[HASH_BYTES];
        enum relation middle_relation;
        uint32_t middle = low + (different - low) / 2;
        TRY(compare(source, options, middle, &middle_relation, hash, err));
        if (middle_relation == DIFFERENT) {
            different = middle;
            continue;
        }
        low = middle;
        relation = middle_relation;
        memcpy(out->hash, hash, HASH_BYTES);
    }
    out->found = relation == SAME;
    out->height = out->found ? low : different;
    return SOREX_OK;
}
