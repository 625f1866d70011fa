#include "integration/node.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "integration/process.h"
#include "source/rpc.h"

#define START_MS 60000
#define STOP_MS 20000
#define RPC_MS 120000
#define START_TRIES 5     /* a port that was free may be taken by the time btcd listens on it */
#define GENERATE_STEP 100 /* blocks in one request */
#define MINING_ADDRESS "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8"

struct node {
    char binary[PATH_MAX];
    char directory[PATH_MAX];
    char log[PATH_MAX + 16];
    char url[64];
    uint16_t port;
    pid_t pid;
    struct rpc *rpc;
    struct buf saved; /* the best chain while stopped: raw blocks in hex from height 1 on, each ended by a NUL */
};

static enum sorex_status call(struct node *node, const struct rpc_request *request, struct sorex_error *err)
{
    struct rpc_line *line;
    const struct json_doc *doc;
    const struct json_node *result;
    TRY(rpc_line_take(node->rpc, &line, err));
    enum sorex_status status = rpc_call(line, request, &doc, &result, err);
    rpc_line_give(node->rpc, line);
    return status;
}

static bool ready(void *user_data)
{
    struct node *node = user_data;
    return !process_alive(&node->pid) || call(node, &(struct rpc_request){.method = "getblockcount"}, NULL) == SOREX_OK;
}

static enum sorex_status log_error(const struct node *node, struct sorex_error *err)
{
    struct buf log = {0};
    (void)file_read(node->log, 1 << 24, &log, NULL);
    size_t shown = log.len < 600 ? log.len : 600;
    enum sorex_status status = sorex_error_set(err, SOREX_IO, "btcd does not start: %.*s", (int)shown,
                                               log.len == 0 ? "" : (const char *)log.data + log.len - shown);
    buf_deinit(&log);
    return status;
}

static void add(char *argv[], char (*texts)[PATH_MAX + 32], size_t *count, const char *name, const char *value)
{
    (void)snprintf(texts[*count], sizeof *texts, "%s%s", name, value);
    argv[*count] = texts[*count];
    ++*count;
}

/* btcd removes a regtest database when it starts: so the chain is kept here and given back. */
static enum sorex_status save_chain(struct node *node, struct rpc_line *line, struct sorex_error *err)
{
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    buf_reset(&node->saved);
    TRY(node_tip(node, &height, hash, err));
    for (uint32_t i = 1; i <= height; i++) {
        char text[HASH_HEX_SIZE];
        const struct json_doc *doc;
        const struct json_node *result;
        TRY(node_hash_at(node, i, hash, err));
        hash_display(hash, text);
        const struct rpc_request request = {.method = "getblock", .text = text, .has_number = true};
        TRY(rpc_call(line, &request, &doc, &result, err));
        TRY(buf_append(&node->saved, result->text, err));
        TRY(buf_append_u8(&node->saved, 0, err));
    }
    return SOREX_OK;
}

static void end_node(struct node *node, int signal)
{
    struct sorex_error err = {0};
    struct rpc_line *line;
    if (node->pid == 0)
        return;
    enum sorex_status status = rpc_line_take(node->rpc, &line, &err);
    if (status == SOREX_OK) {
        status = save_chain(node, line, &err);
        rpc_line_give(node->rpc, line);
    }
    if (status != SOREX_OK)
        (void)fprintf(stderr, "node: its chain is lost: %s\n", err.text);
    process_end(&node->pid, signal, STOP_MS);
}

static enum sorex_status restore_chain(struct node *node, struct sorex_error *err)
{
    for (size_t at = 0; at < node->saved.len; at += strlen((const char *)node->saved.data + at) + 1) {
        const struct rpc_request request = {.method = "submitblock", .text = (const char *)node->saved.data + at};
        TRY(call(node, &request, err));
    }
    return SOREX_OK;
}

enum sorex_status node_start(struct node *node, struct sorex_error *err)
{
    static char texts[16][PATH_MAX + 32];
    char *argv[17] = {0};
    size_t count = 0;
    char listen[32];
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%u", node->port);
    add(argv, texts, &count, node->binary, "");
    add(argv, texts, &count, "--regtest", "");
    add(argv, texts, &count, "--datadir=", node->directory);
    add(argv, texts, &count, "--logdir=", node->directory);
    add(argv, texts, &count, "--configfile=", "/dev/null");
    add(argv, texts, &count, "--rpcuser=", NODE_USER);
    add(argv, texts, &count, "--rpcpass=", NODE_PASSWORD);
    add(argv, texts, &count, "--notls", "");
    add(argv, texts, &count, "--rpclisten=", listen);
    add(argv, texts, &count, "--nolisten", "");
    add(argv, texts, &count, "--txindex", "");
    add(argv, texts, &count, "--rpcmaxclients=", "100");
    add(argv, texts, &count, "--miningaddr=", MINING_ADDRESS);
    TRY(process_start(argv, node->log, &node->pid, err));
    if (wait_for(ready, node, START_MS) && node->pid != 0)
        return restore_chain(node, err);
    process_end(&node->pid, SIGKILL, STOP_MS);
    return log_error(node, err);
}

static enum sorex_status start_somewhere(struct node *node, struct sorex_error *err)
{
    enum sorex_status status = SOREX_IO;
    for (int i = 0; i < START_TRIES && status == SOREX_IO; i++) {
        rpc_free(node->rpc);
        node->rpc = NULL;
        node->port = port_free();
        (void)snprintf(node->url, sizeof node->url, "http://127.0.0.1:%u", node->port);
        struct rpc_options options = {
            .url = node->url, .user = NODE_USER, .password = NODE_PASSWORD, .timeout_ms = RPC_MS};
        TRY(rpc_new(&options, &node->rpc, err));
        status = node_start(node, err);
    }
    return status;
}

enum sorex_status node_new(struct node **out, struct sorex_error *err)
{
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a node");
    enum sorex_status status = SOREX_OK;
    if (!process_find("btcd", "BTCD", node->binary))
        status = sorex_error_set(err, SOREX_GONE, "no btcd: set BTCD, or build it into build/deps/bin");
    if (status == SOREX_OK)
        status = scratch_make(node->directory, err);
    if (status == SOREX_OK) {
        (void)snprintf(node->log, sizeof node->log, "%s/output", node->directory);
        status = start_somewhere(node, err);
    }
    if (status != SOREX_OK) {
        node_free(node);
        return status;
    }
    *out = node;
    return SOREX_OK;
}

void node_free(struct node *node)
{
    if (node == NULL)
        return;
    process_end(&node->pid, SIGKILL, STOP_MS);
    rpc_free(node->rpc);
    buf_deinit(&node->saved);
    scratch_remove(node->directory);
    free(node);
}

const char *node_url(const struct node *node) { return node->url; }

pid_t node_pid(const struct node *node) { return node->pid; }

void node_stop(struct node *node) { end_node(node, SIGTERM); }

void node_kill(struct node *node) { end_node(node, SIGKILL); }

enum sorex_status node_generate(struct node *node, uint32_t count, struct sorex_error *err)
{
    while (count > 0) {
        uint32_t step = count < GENERATE_STEP ? count : GENERATE_STEP;
        TRY(call(node, &(struct rpc_request){.method = "generate", .has_number = true, .number = step}, err));
        count -= step;
    }
    return SOREX_OK;
}

enum sorex_status node_tip(struct node *node, uint32_t *out_height, uint8_t out_hash[HASH_BYTES],
                           struct sorex_error *err)
{
    struct rpc_line *line;
    const struct json_doc *doc;
    const struct json_node *result;
    uint64_t height;
    TRY(rpc_line_take(node->rpc, &line, err));
    enum sorex_status status = rpc_call(line, &(struct rpc_request){.method = "getblockcount"}, &doc, &result, err);
    if (status == SOREX_OK && !json_u64(result, &height))
        status = sorex_error_set(err, SOREX_CORRUPT, "getblockcount gives no number");
    rpc_line_give(node->rpc, line);
    if (status != SOREX_OK)
        return status;
    *out_height = (uint32_t)height;
    return node_hash_at(node, *out_height, out_hash, err);
}

enum sorex_status node_hash_at(struct node *node, uint32_t height, uint8_t out_hash[HASH_BYTES],
                               struct sorex_error *err)
{
    struct rpc_line *line;
    const struct json_doc *doc;
    const struct json_node *result;
    const struct rpc_request request = {.method = "getblockhash", .has_number = true, .number = height};
    TRY(rpc_line_take(node->rpc, &line, err));
    enum sorex_status status = rpc_call(line, &request, &doc, &result, err);
    if (status == SOREX_OK)
        status = hash_parse_display(result->text, out_hash, err);
    rpc_line_give(node->rpc, line);
    return status;
}

static enum sorex_status call_with_hash(struct node *node, const char *method, const uint8_t hash[HASH_BYTES],
                                        struct sorex_error *err)
{
    char text[HASH_HEX_SIZE];
    hash_display(hash, text);
    return call(node, &(struct rpc_request){.method = method, .text = text}, err);
}

enum sorex_status node_invalidate(struct node *node, const uint8_t hash[HASH_BYTES], struct sorex_error *err)
{
    return call_with_hash(node, "invalidateblock", hash, err);
}

enum sorex_status node_reconsider(struct node *node, const uint8_t hash[HASH_BYTES], struct sorex_error *err)
{
    return call_with_hash(node, "reconsiderblock", hash, err);
}

enum sorex_status node_reorganise(struct node *node, uint32_t depth, uint32_t count, uint8_t out_left[HASH_BYTES],
                                  struct sorex_error *err)
{
    uint32_t height;
    uint8_t tip[HASH_BYTES];
    TRY(node_tip(node, &height, tip, err));
    CHECK(depth > 0 && depth <= height);
    TRY(node_hash_at(node, height - depth + 1, out_left, err));
    TRY(node_invalidate(node, out_left, err));
    return node_generate(node, count, err);
}
