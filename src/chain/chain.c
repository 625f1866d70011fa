/* Follows a source. One loop, run by the caller's thread inside chain_next:
 *
 *   ask the tip; is our position on its chain? ---- above us:    take the next block from the read-ahead
 *                                              |--- at us:       same hash: wait; another: search the ancestor, undo to
 * it
 *                                              `--- below us:    our hash there is the same: wait; another: search,
 * undo
 *
 * The proof that a block above us belongs to our chain is its parent hash, so nothing is asked for that; a parent that
 * is not ours starts the search. Trouble of the source (unreachable, a block that fails its checks) never ends the
 * loop: what was read ahead is thrown away and asked again, the first time at once where a race explains it, then with
 * growing pauses. */
#include "chain/chain.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "chain/ahead.h"
#include "chain/ancestor.h"

#define READ_AHEAD 64
#define READ_AHEAD_BYTES ((uint64_t)64 << 20)
#define FETCH_THREADS 4
#define POLL_MS 500
#define WAIT_SLICE_MS 100 /* of a source's own wait, which a wake does not end */
#define RETRY_MS 200
#define RETRY_FACTOR_MAX 50
#define TIP_REFRESH_MS 10000 /* while far behind: only for progress reports */
#define NEAR_TIP 6
#define SEARCHES_MAX 5 /* of an ancestor while the source's tip keeps changing */

struct position {
    uint32_t height; /* SOREX_HEIGHT_NONE: nothing */
    uint8_t hash[HASH_BYTES];
};

struct chain {
    struct source *source;
    struct chain_options options;
    struct ahead *ahead;
    struct position position; /* last entry given out, or what an undo left */
    struct position tip;      /* of the source, as last seen */
    bool tip_asked;           /* tip is recent enough to act on */
    uint64_t tip_ms;          /* when it was asked */
    bool network_given, network_known;
    uint8_t given_network[HASH_BYTES], network[HASH_BYTES];
    bool first_checked; /* our first entry was found in the source's chain */
    struct buf payload; /* of the entry given out last */
    uint32_t suspect;   /* height whose block failed a check once, or SOREX_HEIGHT_NONE: the next failure waits */
    uint32_t attempt;   /* failures in a row */
    uint64_t retry_ms;  /* nothing is asked before */
    bool trouble_new;   /* not looked at by a round yet */
    uint64_t seed;
    char trouble[SOREX_ERROR_TEXT_MAX + 64];
    char told[CHAIN_WAITING_BYTES]; /* the last `waiting` that was given out, "" after another event */
};

/* What a round of the loop ended with: an event is filled in, or there is more to do. */
enum round { ROUND_AGAIN, ROUND_EVENT };

enum sorex_status chain_new(struct source *source, const struct chain_options *options, uint32_t position_height,
                            const uint8_t position_hash[HASH_BYTES], struct chain **out, struct sorex_error *err)
{
    struct chain *chain = calloc(1, sizeof *chain);
    if (chain == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a chain");
    chain->source = source;
    chain->options = *options;
    if (chain->options.poll_ms == 0)
        chain->options.poll_ms = POLL_MS;
    if (chain->options.retry_ms == 0)
        chain->options.retry_ms = RETRY_MS;
    chain->position.height = position_height;
    if (position_height != SOREX_HEIGHT_NONE)
        memcpy(chain->position.hash, position_hash, HASH_BYTES);
    chain->tip.height = SOREX_HEIGHT_NONE;
    chain->suspect = SOREX_HEIGHT_NONE;
    chain->seed = options->seed;
    chain->network_given = options->network != NULL;
    if (chain->network_given)
        memcpy(chain->given_network, options->network, HASH_BYTES);
    struct ahead_options ahead = {
        .window = options->read_ahead != 0 ? options->read_ahead : READ_AHEAD,
        .bytes_max = options->read_ahead_bytes != 0 ? options->read_ahead_bytes : READ_AHEAD_BYTES,
        .threads = options->fetch_threads != 0 ? options->fetch_threads : FETCH_THREADS,
    };
    if (options->synchronous)
        ahead.threads = 0;
    enum sorex_status status = ahead_new(source, &ahead, &chain->ahead, err);
    if (status != SOREX_OK) {
        free(chain);
        return status;
    }
    *out = chain;
    return SOREX_OK;
}

void chain_free(struct chain *chain)
{
    if (chain == NULL)
        return;
    ahead_free(chain->ahead);
    buf_deinit(&chain->payload);
    free(chain);
}

void chain_wake(struct chain *chain) { ahead_wake(chain->ahead); }

bool chain_network(const struct chain *chain, uint8_t out_hash[HASH_BYTES])
{
    if (chain->network_known)
        memcpy(out_hash, chain->network, HASH_BYTES);
    return chain->network_known;
}

static bool empty(const struct chain *chain) { return chain->position.height == SOREX_HEIGHT_NONE; }

static uint32_t next_height(const struct chain *chain)
{
    return empty(chain) ? chain->options.start_height : chain->position.height + 1;
}

static void settle(struct chain *chain)
{
    chain->attempt = 0;
    chain->suspect = SOREX_HEIGHT_NONE;
    chain->told[0] = '\0';
}

/* CHAIN_IDLE with chain->trouble or a text as the reason. Given out when it is news, or when the time is up. */
static enum round idle(struct chain *chain, uint64_t deadline, const char *waiting, struct chain_event *out)
{
    if (strncmp(chain->told, waiting, sizeof chain->told - 1) == 0 && clock_ms() < deadline)
        return ROUND_AGAIN;
    snprintf(chain->told, sizeof chain->told, "%s", waiting);
    *out = (struct chain_event){.kind = CHAIN_IDLE};
    memcpy(out->waiting, chain->told, sizeof out->waiting);
    return ROUND_EVENT;
}

/* Remembers what went wrong and when to ask again. Statuses that ask for a stop are passed on. */
static enum sorex_status retry_later(struct chain *chain, enum sorex_status status, struct sorex_error *err)
{
    bool waits = status == SOREX_AGAIN || status == SOREX_GONE || status == SOREX_CORRUPT || status == SOREX_BUSY;
    if (!waits)
        return status;
    uint64_t first = chain->options.retry_ms;
    uint64_t delay = backoff_ms(chain->attempt++, first, first * RETRY_FACTOR_MAX, &chain->seed);
    snprintf(chain->trouble, sizeof chain->trouble, "%.*s, retrying in %llu.%llu s (attempt %u)",
             CHAIN_WAITING_BYTES - 64, err->text, (unsigned long long)(delay / 1000), (unsigned long long)(delay % 1000 / 100), chain->attempt);
    chain->trouble_new = true;
    chain->retry_ms = clock_ms() + delay;
    chain->tip_asked = false;
    ahead_discard(chain->ahead);
    return SOREX_OK;
}

/* A block failed a check, or is gone: a race with a reorganisation explains that once, so the first time it is asked
 * again at once. */
static enum sorex_status retry_block(struct chain *chain, enum sorex_status status, struct sorex_error *err)
{
    uint32_t height = next_height(chain);
    if (chain->suspect == height || (status != SOREX_CORRUPT && status != SOREX_GONE))
        return retry_later(chain, status, err);
    chain->suspect = height;
    chain->tip_asked = false;
    ahead_discard(chain->ahead);
    return SOREX_OK;
}

static enum sorex_status mismatch(const char *what, const uint8_t ours[HASH_BYTES], const uint8_t theirs[HASH_BYTES],
                                  struct sorex_error *err)
{
    char ours_text[HASH_HEX_SIZE];
    char theirs_text[HASH_HEX_SIZE];
    hash_display(ours, ours_text);
    hash_display(theirs, theirs_text);
    return sorex_error_set(
        err, SOREX_MISMATCH,
        "the source is on another network: %s is %s there, %s here; connect the right node, or use a new store", what,
        theirs_text, ours_text);
}

/* Asks the source for its hash at height 0. Sources without it (single blocks) leave the network unknown. */
static enum sorex_status check_network(struct chain *chain, struct sorex_error *err)
{
    uint8_t genesis[HASH_BYTES];
    enum sorex_status status = chain->source->type->hash_at(chain->source, 0, genesis, err);
    if (status != SOREX_OK)
        return status == SOREX_GONE ? SOREX_OK : status;
    if (chain->network_given && memcmp(genesis, chain->given_network, HASH_BYTES) != 0)
        return mismatch("its block 0", chain->given_network, genesis, err);
    if (chain->network_known && memcmp(genesis, chain->network, HASH_BYTES) != 0)
        return mismatch("its block 0", chain->network, genesis, err);
    memcpy(chain->network, genesis, HASH_BYTES);
    chain->network_known = true;
    return SOREX_OK;
}

/* Once, for a store that still has its genesis block. */
static enum sorex_status check_genesis(struct chain *chain, struct sorex_error *err)
{
    uint8_t ours[HASH_BYTES];
    if (empty(chain) || chain->first_checked || !chain->network_known)
        return SOREX_OK;
    if (chain->options.start_height == 0) {
        enum sorex_status status = ancestor_own_hash(&chain->options, 0, ours, err);
        if (status != SOREX_OK && status != SOREX_GONE)
            return status;
        if (status == SOREX_OK && memcmp(ours, chain->network, HASH_BYTES) != 0)
            return mismatch("its block 0", ours, chain->network, err);
    }
    chain->first_checked = true;
    return SOREX_OK;
}

static enum sorex_status ask_tip_inside(struct chain *chain, struct sorex_error *err)
{
    struct position tip;
    TRY(chain->source->type->tip(chain->source, &tip.height, tip.hash, err));
    if (!chain->network_known)
        TRY(check_network(chain, err));
    TRY(check_genesis(chain, err));
    chain->tip = tip;
    chain->tip_ms = clock_ms();
    chain->tip_asked = true;
    return SOREX_OK;
}

static enum sorex_status ask_tip(struct chain *chain, struct sorex_error *err)
{
    if (!ahead_ask_begin(chain->ahead))
        return SOREX_STOPPED;
    enum sorex_status status = ask_tip_inside(chain, err);
    ahead_ask_end(chain->ahead);
    return status;
}

/* No retained entry of ours is in the source's chain; `lowest` is the lowest one. */
static enum sorex_status no_ancestor(struct chain *chain, uint32_t lowest, struct chain_event *out,
                                     struct sorex_error *err)
{
    TRY(check_network(chain, err));
    bool first = lowest == chain->options.start_height;
    if (first && lowest > 0 && chain->network_given) {
        *out = (struct chain_event){.kind = CHAIN_UNDO, .height = SOREX_HEIGHT_NONE};
        return SOREX_OK;
    }
    if (first)
        return sorex_error_set(
            err, SOREX_MISMATCH,
            "the source's chain shares no block with ours, not even our first one at height %u: it is on another "
            "network; connect the right node, or use a new store",
            lowest);
    return sorex_error_set(
        err, SOREX_GONE,
        "the source's chain left ours below the horizon, height %u, the lowest that can be restored (ours ends at %u, "
        "its "
        "tip is %u): restore a backup from before the fork, or index again into a new store with a longer history",
        lowest, chain->position.height, chain->tip.height);
}

/* Searches until the source's tip is the same before and after; *out_found false when it never was. */
static enum sorex_status search(struct chain *chain, struct ancestor *out, struct sorex_error *err)
{
    for (int i = 0; i < SEARCHES_MAX; i++) {
        struct position before = chain->tip;
        uint32_t from = chain->position.height < before.height ? chain->position.height : before.height;
        if (from < chain->options.start_height)
            return sorex_error_set(err, SOREX_AGAIN, "source is behind: its tip is %u, our first entry is %u",
                                   before.height, chain->options.start_height);
        enum sorex_status status = ancestor_find(chain->source, &chain->options, from, out, err);
        if (status != SOREX_OK && status != SOREX_GONE)
            return status;
        TRY(ask_tip_inside(chain, err));
        if (status == SOREX_OK && memcmp(before.hash, chain->tip.hash, HASH_BYTES) == 0)
            return SOREX_OK;
    }
    return sorex_error_set(err, SOREX_AGAIN, "the source's chain changes too fast to be compared with ours");
}

/* Our position is not on the source's chain, or a block did not link to it. Fills in CHAIN_UNDO, or *out_forked is
 * false: the source has our position after all. SOREX_GONE means the horizon and nothing else. */
static enum sorex_status find_fork(struct chain *chain, struct chain_event *out, bool *out_forked,
                                   struct sorex_error *err)
{
    struct ancestor ancestor;
    *out_forked = false;
    if (!ahead_ask_begin(chain->ahead))
        return SOREX_STOPPED;
    enum sorex_status status = ask_tip_inside(chain, err);
    if (status == SOREX_OK)
        status = search(chain, &ancestor, err);
    if (status == SOREX_GONE)
        status = SOREX_AGAIN;
    if (status == SOREX_OK && !ancestor.found) {
        status = no_ancestor(chain, ancestor.height, out, err);
        *out_forked = true;
    }
    ahead_ask_end(chain->ahead);
    if (status != SOREX_OK)
        return status;
    if (ancestor.found) {
        *out_forked = ancestor.height < chain->position.height && ancestor.height < chain->tip.height;
        *out = (struct chain_event){.kind = CHAIN_UNDO, .height = ancestor.height};
        memcpy(out->height_hash, ancestor.hash, HASH_BYTES);
    }
    return SOREX_OK;
}

static void undo(struct chain *chain, const struct chain_event *event)
{
    chain->position.height = event->height;
    memcpy(chain->position.hash, event->height_hash, HASH_BYTES);
    ahead_discard(chain->ahead);
    settle(chain);
}

/* The source's tip is not above us. */
static enum sorex_status compare_tips(struct chain *chain, uint64_t deadline, struct chain_event *out,
                                      enum round *out_round, struct sorex_error *err)
{
    char text[128];
    const struct position *tip = &chain->tip;
    uint8_t ours[HASH_BYTES];
    enum sorex_status own = SOREX_OK;
    bool behind = empty(chain) || tip->height < chain->position.height;
    if (!behind)
        memcpy(ours, chain->position.hash, HASH_BYTES);
    else if (!empty(chain) && tip->height >= chain->options.start_height)
        own = ancestor_own_hash(&chain->options, tip->height, ours, err);
    else
        own = SOREX_GONE;
    if (own != SOREX_OK && own != SOREX_GONE)
        return own;
    if (own == SOREX_OK && memcmp(ours, tip->hash, HASH_BYTES) != 0) {
        bool forked;
        TRY(find_fork(chain, out, &forked, err));
        *out_round = forked ? ROUND_EVENT : ROUND_AGAIN;
        return forked ? (undo(chain, out), SOREX_OK) : SOREX_OK;
    }
    if (behind)
        snprintf(text, sizeof text, "source is behind: its tip is %u, %s %u", tip->height,
                 empty(chain) ? "the start height is" : "ours is",
                 empty(chain) ? chain->options.start_height : chain->position.height);
    else
        snprintf(text, sizeof text, "at the tip");
    chain->attempt = 0;
    *out_round = idle(chain, deadline, text, out);
    return SOREX_OK;
}

/* Sleeps until the source may have news. */
static void wait_for_news(struct chain *chain, uint64_t deadline)
{
    uint64_t now = clock_ms();
    uint64_t poll_at = chain->tip_ms + chain->options.poll_ms;
    uint64_t until = deadline < poll_at ? deadline : poll_at;
    if (chain->source->type->wait == NULL) {
        ahead_pause(chain->ahead, until);
        chain->tip_asked = clock_ms() < poll_at;
        return;
    }
    if (until > now && ahead_ask_begin(chain->ahead)) {
        uint64_t slice = until - now < WAIT_SLICE_MS ? until - now : WAIT_SLICE_MS;
        chain->source->type->wait(chain->source, (uint32_t)slice);
        ahead_ask_end(chain->ahead);
    }
    chain->tip_asked = false;
}

static void give_entry(struct chain *chain, const struct entry *entry, struct buf *raw, struct chain_event *out)
{
    chain->payload = *raw;
    chain->position.height = entry->height;
    memcpy(chain->position.hash, entry->hash, HASH_BYTES);
    *out = (struct chain_event){.kind = CHAIN_ENTRY, .entry = *entry};
    out->near_tip = chain->tip.height - entry->height < NEAR_TIP;
    settle(chain);
}

/* A block whose parent is not our position: a fork, or a source that contradicts itself. */
static enum sorex_status link_broken(struct chain *chain, const struct entry *entry, struct chain_event *out,
                                     enum round *out_round, struct sorex_error *err)
{
    char hash[HASH_HEX_SIZE];
    char parent[HASH_HEX_SIZE];
    bool forked = false;
    ahead_discard(chain->ahead);
    if (!empty(chain)) {
        enum sorex_status status = find_fork(chain, out, &forked, err);
        if (status != SOREX_OK)
            return status == SOREX_GONE ? status : retry_later(chain, status, err);
    }
    if (forked) {
        undo(chain, out);
        *out_round = ROUND_EVENT;
        return SOREX_OK;
    }
    hash_display(entry->hash, hash);
    hash_display(entry->parent, parent);
    enum sorex_status status =
        sorex_error_set(err, SOREX_CORRUPT, "height %u: block %s has parent %s, which is not the block below",
                        entry->height, hash, parent);
    return retry_block(chain, status, err);
}

static bool links(const struct chain *chain, const struct entry *entry)
{
    static const uint8_t zero[HASH_BYTES];
    if (empty(chain))
        return entry->height != 0 || memcmp(entry->parent, zero, HASH_BYTES) == 0;
    return memcmp(entry->parent, chain->position.hash, HASH_BYTES) == 0;
}

/* The source's tip is above us. */
static enum sorex_status take_next(struct chain *chain, uint64_t deadline, struct chain_event *out,
                                   enum round *out_round, struct sorex_error *err)
{
    struct entry entry;
    struct buf raw;
    ahead_aim(chain->ahead, next_height(chain), chain->tip.height);
    enum sorex_status status = ahead_take(chain->ahead, deadline, &entry, &raw, err);
    if (status == SOREX_BUSY) {
        char text[64];
        snprintf(text, sizeof text, "waiting for block %u", next_height(chain));
        *out_round = clock_ms() >= deadline ? idle(chain, deadline, text, out) : ROUND_AGAIN;
        return SOREX_OK;
    }
    if (status != SOREX_OK)
        return retry_block(chain, status, err);
    if (!links(chain, &entry)) {
        status = link_broken(chain, &entry, out, out_round, err);
        buf_deinit(&raw);
        return status;
    }
    give_entry(chain, &entry, &raw, out);
    *out_round = ROUND_EVENT;
    return SOREX_OK;
}

/* Asks the tip when it is not known or old; a failure matters only when there is nothing else to do. */
static enum sorex_status refresh_tip(struct chain *chain, struct sorex_error *err)
{
    if (!chain->tip_asked)
        return ask_tip(chain, err);
    if (clock_ms() - chain->tip_ms < TIP_REFRESH_MS)
        return SOREX_OK;
    enum sorex_status status = ask_tip(chain, err);
    chain->tip_ms = clock_ms();
    return status == SOREX_MISMATCH ? status : SOREX_OK;
}

static enum sorex_status round_once(struct chain *chain, uint64_t deadline, struct chain_event *out,
                                    enum round *out_round, struct sorex_error *err)
{
    *out_round = ROUND_AGAIN;
    /* Told before it is tried again, even when the pause is over by now: who follows sees every attempt. */
    if (chain->trouble_new || chain->retry_ms > clock_ms()) {
        chain->trouble_new = false;
        *out_round = idle(chain, deadline, chain->trouble, out);
        if (*out_round == ROUND_AGAIN)
            ahead_pause(chain->ahead, deadline < chain->retry_ms ? deadline : chain->retry_ms);
        return SOREX_OK;
    }
    enum sorex_status status = refresh_tip(chain, err);
    if (status != SOREX_OK)
        return retry_later(chain, status, err);
    bool above =
        empty(chain) ? chain->tip.height >= chain->options.start_height : chain->tip.height > chain->position.height;
    if (above)
        return take_next(chain, deadline, out, out_round, err);
    status = compare_tips(chain, deadline, out, out_round, err);
    if (status != SOREX_OK)
        return status == SOREX_GONE ? status : retry_later(chain, status, err);
    if (*out_round == ROUND_AGAIN)
        wait_for_news(chain, deadline);
    return SOREX_OK;
}

enum sorex_status chain_next(struct chain *chain, uint32_t timeout_ms, struct chain_event *out, struct sorex_error *err)
{
    struct sorex_error unused;
    uint64_t deadline = clock_ms() + timeout_ms;
    enum round round = ROUND_AGAIN;
    buf_deinit(&chain->payload);
    while (round == ROUND_AGAIN) {
        enum sorex_status status = round_once(chain, deadline, out, &round, err != NULL ? err : &unused);
        if (status != SOREX_OK && status != SOREX_STOPPED)
            return status;
        if (ahead_woken(chain->ahead) && round == ROUND_AGAIN)
            round = idle(chain, 0, "woken", out);
    }
    out->source_tip = chain->tip.height;
    return SOREX_OK;
}
