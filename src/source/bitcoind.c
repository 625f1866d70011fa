/* Source "bitcoind": a Bitcoin node's JSON-RPC (Bitcoin Core, btcd and their kin), and its REST interface for blocks
 * where it is switched on: raw bytes instead of hex.
 *
 *   tip      getblockchaininfo: height and hash in one answer, so that they belong together
 *   hash_at  getblockhash, asked in batches ahead of the heights that a follower wants next
 *   fetch    GET /rest/block/HASH.bin, else getblock HASH 0
 *
 * A hash asked ahead may be out of date when it is used. So each is used once, for a short time, and all are dropped
 * when the tip changed; what slips through is caught by the links that chain/ checks. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "source/rpc.h"
#include "source/types.h"

#define HASHES_AHEAD 64
#define HASHES_FRESH_MS 2000

enum rest_mode { REST_AUTO, REST_ON, REST_OFF };
static const char *const rest_choices[] = {"auto", "on", "off", NULL};

struct bitcoind_settings {
    char *url, *user, *password, *cookie_file;
    uint32_t timeout_ms;
    int rest;
};

static const struct option bitcoind_options[] = {
    {"url", OPTION_STRING, offsetof(struct bitcoind_settings, url), "http://127.0.0.1:8332", false, 0, 0, NULL,
     "the node's RPC address"},
    {"user", OPTION_STRING, offsetof(struct bitcoind_settings, user), NULL, false, 0, 0, NULL, "RPC user"},
    {"password", OPTION_STRING, offsetof(struct bitcoind_settings, password), NULL, false, 0, 0, NULL, "RPC password"},
    {"cookie_file", OPTION_PATH, offsetof(struct bitcoind_settings, cookie_file), NULL, false, 0, 0, NULL,
     "the node's .cookie file, instead of user and password; read again when the node refuses it"},
    {"timeout_ms", OPTION_MS, offsetof(struct bitcoind_settings, timeout_ms), "30s", false, 1, 3600000, NULL,
     "longest time that one request may take"},
    {"rest", OPTION_ENUM, offsetof(struct bitcoind_settings, rest), "auto", false, 0, 0, rest_choices,
     "fetch blocks over the node's REST interface; auto asks it once"},
    {NULL, OPTION_BOOL, 0, NULL, false, 0, 0, NULL, NULL},
};

struct hashes {
    uint32_t first, count; /* heights; count 0: none */
    uint64_t answered_ms;
    bool used[HASHES_AHEAD];
    uint8_t hash[HASHES_AHEAD][HASH_BYTES];
};

struct bitcoind {
    struct source source;
    struct rpc *rpc;
    pthread_mutex_t rest_lock; /* of rest; held while the node is asked about it */
    enum rest_mode rest;
    pthread_mutex_t hashes_lock; /* of what follows; held during a batch, which all askers wait for */
    struct hashes hashes;
    bool no_batches;
    uint32_t tip_height;
    uint8_t tip_hash[HASH_BYTES];
};

static struct bitcoind *of(struct source *source) { return (struct bitcoind *)source; }

static enum sorex_status bitcoind_open(const void *settings, struct source **out, struct sorex_error *err)
{
    const struct bitcoind_settings *given = settings;
    if (given->cookie_file != NULL && given->user != NULL)
        return sorex_error_set(err, SOREX_INVALID, "give either cookie_file or user and password");
    struct bitcoind *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    self->source.type = &source_bitcoind;
    self->rest = (enum rest_mode)given->rest;
    struct rpc_options options = {given->url, given->user, given->password, given->cookie_file, given->timeout_ms};
    enum sorex_status status = rpc_new(&options, &self->rpc, err);
    if (status != SOREX_OK) {
        free(self);
        return status;
    }
    CHECK(pthread_mutex_init(&self->rest_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&self->hashes_lock, NULL) == 0);
    *out = &self->source;
    return SOREX_OK;
}

static void bitcoind_close(struct source *source)
{
    struct bitcoind *self = of(source);
    rpc_free(self->rpc);
    pthread_mutex_destroy(&self->rest_lock);
    pthread_mutex_destroy(&self->hashes_lock);
    free(self);
}

static enum sorex_status read_hash(struct bitcoind *self, const struct json_node *node, uint8_t out[HASH_BYTES],
                                   struct sorex_error *err)
{
    if (node != NULL && node->kind == JSON_STRING && hash_parse_display(node->text, out, NULL) == SOREX_OK)
        return SOREX_OK;
    return rpc_error(self->rpc, err, SOREX_CORRUPT, "the answer has no block hash where one belongs");
}

static enum sorex_status ask_tip(struct bitcoind *self, struct rpc_line *line, uint32_t *out_height,
                                 uint8_t out_hash[HASH_BYTES], struct sorex_error *err)
{
    const struct json_doc *doc;
    const struct json_node *info;
    TRY(rpc_call(line, &(struct rpc_request){.method = "getblockchaininfo"}, &doc, &info, err));
    const struct json_node *blocks = json_member(doc, info, "blocks");
    uint64_t height;
    if (blocks == NULL || !json_u64(blocks, &height) || height >= UINT32_MAX)
        return rpc_error(self->rpc, err, SOREX_CORRUPT, "getblockchaininfo gives no number of blocks");
    *out_height = (uint32_t)height;
    return read_hash(self, json_member(doc, info, "bestblockhash"), out_hash, err);
}

static enum sorex_status bitcoind_tip(struct source *source, uint32_t *out_height, uint8_t out_hash[HASH_BYTES],
                                      struct sorex_error *err)
{
    struct bitcoind *self = of(source);
    struct rpc_line *line;
    TRY(rpc_line_take(self->rpc, &line, err));
    enum sorex_status status = ask_tip(self, line, out_height, out_hash, err);
    rpc_line_give(self->rpc, line);
    if (status != SOREX_OK)
        return status;
    pthread_mutex_lock(&self->hashes_lock);
    if (memcmp(self->tip_hash, out_hash, HASH_BYTES) != 0)
        self->hashes.count = 0;
    memcpy(self->tip_hash, out_hash, HASH_BYTES);
    self->tip_height = *out_height;
    pthread_mutex_unlock(&self->hashes_lock);
    return SOREX_OK;
}

/* A hash that was asked ahead. The lock is held. */
static bool use_hash(struct bitcoind *self, uint32_t height, uint8_t out_hash[HASH_BYTES])
{
    struct hashes *hashes = &self->hashes;
    if (height < hashes->first || height - hashes->first >= hashes->count || hashes->used[height - hashes->first] ||
        clock_ms() - hashes->answered_ms > HASHES_FRESH_MS)
        return false;
    hashes->used[height - hashes->first] = true;
    memcpy(out_hash, hashes->hash[height - hashes->first], HASH_BYTES);
    return true;
}

static enum sorex_status on_hash(void *user_data, uint32_t index, const struct json_node *result,
                                 struct sorex_error *err)
{
    struct bitcoind *self = user_data;
    TRY(read_hash(self, result, self->hashes.hash[index], err));
    self->hashes.used[index] = false;
    self->hashes.count = index + 1;
    self->hashes.answered_ms = clock_ms();
    return SOREX_OK;
}

/* Asks for the hashes of a height and those that follow. The lock is held. */
static enum sorex_status ask_hashes(struct bitcoind *self, struct rpc_line *line, uint32_t height,
                                    struct sorex_error *err)
{
    const struct rpc_request request = {.method = "getblockhash", .has_number = true, .number = height};
    uint32_t count = self->tip_height <= height ? 1 : self->tip_height - height + 1;
    self->hashes.count = 0;
    self->hashes.first = height;
    if (count > HASHES_AHEAD)
        count = HASHES_AHEAD;
    if (count > 1 && !self->no_batches) {
        enum sorex_status status = rpc_batch(line, &request, count, on_hash, self, err);
        if (status != SOREX_BUSY)
            return status;
        self->no_batches = true;
    }
    const struct json_doc *doc;
    const struct json_node *result;
    TRY(rpc_call(line, &request, &doc, &result, err));
    return on_hash(self, 0, result, err);
}

static enum sorex_status bitcoind_hash_at(struct source *source, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                          struct sorex_error *err)
{
    struct bitcoind *self = of(source);
    struct rpc_line *line;
    enum sorex_status status = SOREX_OK;
    pthread_mutex_lock(&self->hashes_lock);
    if (!use_hash(self, height, out_hash)) {
        status = rpc_line_take(self->rpc, &line, err);
        if (status == SOREX_OK) {
            status = ask_hashes(self, line, height, err);
            rpc_line_give(self->rpc, line);
        }
        if (status == SOREX_OK) {
            self->hashes.used[0] = true;
            memcpy(out_hash, self->hashes.hash[0], HASH_BYTES);
        } else {
            self->hashes.count = 0;
        }
    }
    pthread_mutex_unlock(&self->hashes_lock);
    return status;
}

/* Whether the node offers REST; asked once. */
static enum sorex_status decide_rest(struct bitcoind *self, struct rpc_line *line, bool *out, struct sorex_error *err)
{
    pthread_mutex_lock(&self->rest_lock);
    enum sorex_status status = SOREX_OK;
    if (self->rest == REST_AUTO) {
        long http = 0;
        struct bytes body;
        status = rpc_get(line, "/rest/chaininfo.json", &http, &body, err);
        if (status == SOREX_OK && http == 503)
            status = rpc_error(self->rpc, err, SOREX_AGAIN, "HTTP 503: the node is starting");
        if (status == SOREX_OK)
            self->rest = http == 200 && body.len != 0 && body.data[0] == '{' ? REST_ON : REST_OFF;
    }
    *out = self->rest == REST_ON;
    pthread_mutex_unlock(&self->rest_lock);
    return status;
}

static enum sorex_status fetch_rest(struct bitcoind *self, struct rpc_line *line, const char *hash, struct buf *out,
                                    struct sorex_error *err)
{
    char path[128];
    long http = 0;
    struct bytes body;
    (void)snprintf(path, sizeof path, "/rest/block/%s.bin", hash);
    TRY(rpc_get(line, path, &http, &body, err));
    if (http == 404)
        return rpc_error(self->rpc, err, SOREX_GONE, "no block %s", hash);
    if (http != 200)
        return rpc_error(self->rpc, err, SOREX_AGAIN, "HTTP %ld for %s", http, path);
    return buf_append(out, body, err);
}

static enum sorex_status fetch_rpc(struct bitcoind *self, struct rpc_line *line, const char *hash, struct buf *out,
                                   struct sorex_error *err)
{
    const struct json_doc *doc;
    const struct json_node *result;
    const struct rpc_request request = {.method = "getblock", .text = hash, .has_number = true, .number = 0};
    TRY(rpc_call(line, &request, &doc, &result, err));
    if (result->kind != JSON_STRING)
        return rpc_error(self->rpc, err, SOREX_CORRUPT, "getblock gives no text");
    TRY(buf_reserve(out, result->text.len / 2, err));
    enum sorex_status status = hex_decode(result->text, out, err);
    return status == SOREX_INVALID ? rpc_error(self->rpc, err, SOREX_CORRUPT, "getblock gives no hexadecimal text")
                                   : status;
}

static enum sorex_status bitcoind_fetch(struct source *source, uint32_t height, const uint8_t hash[HASH_BYTES],
                                        struct buf *out, struct sorex_error *err)
{
    struct bitcoind *self = of(source);
    struct rpc_line *line;
    char text[HASH_HEX_SIZE];
    bool rest = false;
    (void)height;
    hash_display(hash, text);
    TRY(rpc_line_take(self->rpc, &line, err));
    enum sorex_status status = decide_rest(self, line, &rest, err);
    if (status == SOREX_OK)
        status = rest ? fetch_rest(self, line, text, out, err) : fetch_rpc(self, line, text, out, err);
    rpc_line_give(self->rpc, line);
    return status;
}

static void bitcoind_interrupt(struct source *source) { rpc_interrupt(of(source)->rpc); }

const struct source_type source_bitcoind = {
    .name = "bitcoind",
    .summary = "a Bitcoin node, over JSON-RPC and REST",
    .options = bitcoind_options,
    .settings_size = sizeof(struct bitcoind_settings),
    .open = bitcoind_open,
    .close = bitcoind_close,
    .tip = bitcoind_tip,
    .hash_at = bitcoind_hash_at,
    .fetch = bitcoind_fetch,
    .interrupt = bitcoind_interrupt,
};
