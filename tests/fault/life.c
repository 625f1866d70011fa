#define ALLOC_REAL
#include "fault/alloc.h"

#include "fault/life.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/file.h"
#include "fault/alloc.h"
#include "fault/life_stream.h"
#include "integration/postgres.h"
#include "json/json.h"
#include "pipeline/replay.h"
#include "serve/service.h"
#include "sink/postgres_libpq.h"
#include "source/fake_node.h"
#include "store/fault.h"

#define TIP 6

static char root[] = "/dev/shm/sorex-alloc-XXXXXX"; /* or below /tmp, where that is not to be had */
static struct postgres_server *postgres;
static struct postgres_session *admin;
static int node_pipe = -1;
static pid_t node_pid;
static char node_url[64];
static struct buf block; /* the one after TIP */

static void good(enum sorex_status status, const struct sorex_error *err)
{
    if (status != SOREX_OK)
        fail_msg("%s: %s", sorex_status_name(status), err->text);
}

/* ---- pipelines ---- */

/* A pipeline file NAME.yaml with data in NAME/; members: what is not common to all. */
static void pipeline_write(const char *name, const char *members, char out_file[PATH_MAX])
{
    (void)snprintf(out_file, PATH_MAX, "%s/%s.yaml", root, name);
    FILE *out = fopen(out_file, "w");
    assert_non_null(out);
    (void)fprintf(out, "name: %s\ndata: %s/%s\n%s", name, root, name, members);
    assert_int_equal(fclose(out), 0);
}

static void data_remove(void)
{
    char command[PATH_MAX];
    (void)snprintf(command, sizeof command, "rm -rf %s/*/", root);
    assert_int_equal(system(command), 0);
}

static enum sorex_status ignore(void *user_data, struct bytes text, struct sorex_error *err)
{
    (void)user_data, (void)text, (void)err;
    return SOREX_OK;
}

static enum sorex_status ask(struct pipeline *pipeline, const char *request, struct sorex_error *err)
{
    struct service service;
    service_init(&service, pipeline_store(pipeline), "", pipeline);
    enum sorex_status status = service_handle(&service, bytes_str(request), ignore, NULL, err);
    service_deinit(&service);
    return status;
}

static enum sorex_status result_of(struct store *store, uint32_t tip, uint16_t programs, uint8_t out[SHA256_BYTES],
                                   struct sorex_error *err)
{
    uint8_t commitments[2][HASH_BYTES];
    for (uint16_t program = 0; program < programs; program++)
        TRY(store_commitment(store, tip, program, commitments[program], err));
    sha256_once(bytes_of(commitments, (size_t)programs * HASH_BYTES), out);
    return SOREX_OK;
}

/* Settings, opening, indexing to tip, delivery, undo, all that again, questions, closing. */
static enum sorex_status pipeline_live(const char *name, uint32_t tip, uint16_t programs, uint8_t out[SHA256_BYTES],
                                       struct sorex_error *err)
{
    static struct pipeline_settings settings;
    struct pipeline_options options = {0};
    struct pipeline_summary summary;
    struct pipeline *pipeline = NULL;
    char file[PATH_MAX], rollback[64];
    (void)snprintf(file, sizeof file, "%s/%s.yaml", root, name);
    (void)snprintf(rollback, sizeof rollback, "{\"verb\":\"rollback\",\"height\":%u,\"json\":true}", tip / 2);
    (void)memset(&settings, 0, sizeof settings);
    enum sorex_status status = pipeline_settings_read(file, NULL, 0, &settings, err);
    if (status == SOREX_OK)
        status = pipeline_new(&settings, &options, &pipeline, err);
    if (status == SOREX_OK) {
        status = pipeline_run(pipeline, tip, &summary, err);
        if (status == SOREX_OK)
            status = ask(pipeline, rollback, err);
        if (status == SOREX_OK)
            status = pipeline_run(pipeline, tip, &summary, err);
        if (status == SOREX_OK)
            status = ask(pipeline, "{\"verb\":\"status\"}", err);
        if (status == SOREX_OK)
            status = result_of(pipeline_store(pipeline), tip, programs, out, err);
        pipeline_free(pipeline);
    }
    pipeline_settings_deinit(&settings);
    return status;
}

static enum sorex_status index_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    return pipeline_live("index", TIP, 2, out, err);
}

static enum sorex_status amend_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    return pipeline_live("amend", 2, 2, out, err);
}

static enum sorex_status kept_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    return pipeline_live("kept", 2, 2, out, err);
}

/* ---- PostgreSQL ---- */

static void server_prepare(void)
{
    struct sorex_error err;
    data_remove();
    good(postgres_exec(admin, "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public",
                       &err),
         &err);
}

static enum sorex_status server_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    return pipeline_live("postgres", 2, 2, out, err);
}

/* ---- a node, whose chain forks ---- */

/* Nodes, in a process of their own: their allocations do not fail. Serves until the other end of the pipe is closed.
 * '1': a new node with five blocks; '2': four others from height 3 on. The answer is the node's URL. */
static void node_serve(int fd)
{
    struct source *chain;
    struct fake_node *node = NULL;
    struct sorex_error err;
    char command = 0;
    good(memory_open(&chain, &err), &err);
    while (recv(fd, &command, 1, 0) == 1) {
        bool first = command == '1';
        good(memory_fork(chain, first ? SOREX_HEIGHT_NONE : 2, first ? 5 : 4, first ? 0 : 1, &err), &err);
        if (first && node != NULL)
            fake_node_free(node);
        if (first)
            node = fake_node_new(chain);
        (void)snprintf(node_url, sizeof node_url, "%s", fake_node_url(node));
        if (send(fd, node_url, sizeof node_url, MSG_NOSIGNAL) != sizeof node_url)
            break;
    }
    _exit(0);
}

static void node_start(void)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    node_pid = fork();
    assert_true(node_pid >= 0);
    if (node_pid == 0) {
        (void)close(ends[0]);
        node_serve(ends[1]);
    }
    (void)close(ends[1]);
    node_pipe = ends[0];
}

static void node_chain(char command)
{
    assert_int_equal(send(node_pipe, &command, 1, MSG_NOSIGNAL), 1);
    assert_int_equal(recv(node_pipe, node_url, sizeof node_url, MSG_WAITALL), sizeof node_url);
}

static void node_prepare(void)
{
    char file[PATH_MAX], text[PATH_MAX];
    data_remove();
    node_chain('1');
    (void)snprintf(text, sizeof text,
                   "source: {type: bitcoind, url: \"%s\"}\nindexer: {name: views, wasm: "
                   "%s/tiny_indexer_views.wasm}\npoll_ms: 10ms\n",
                   node_url, getenv("SOREX_GUESTS"));
    pipeline_write("node", text, file);
}

static enum sorex_status node_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    static struct pipeline_settings settings;
    struct pipeline_options options = {0};
    struct pipeline_summary summary;
    struct pipeline *pipeline = NULL;
    char file[PATH_MAX];
    (void)snprintf(file, sizeof file, "%s/node.yaml", root);
    (void)memset(&settings, 0, sizeof settings);
    enum sorex_status status = pipeline_settings_read(file, NULL, 0, &settings, err);
    if (status == SOREX_OK)
        status = pipeline_new(&settings, &options, &pipeline, err);
    if (status == SOREX_OK) {
        status = pipeline_run(pipeline, PIPELINE_UNTIL_TIP, &summary, err);
        node_chain('2');
        if (status == SOREX_OK)
            status = pipeline_run(pipeline, PIPELINE_UNTIL_TIP, &summary, err);
        if (status == SOREX_OK)
            status = result_of(pipeline_store(pipeline), 6, 1, out, err);
        pipeline_free(pipeline);
    }
    pipeline_settings_deinit(&settings);
    return status;
}

/* ---- questions to a store that stays ---- */

/* Made once, by a life that is not disturbed. */
static void stored_prepare(void)
{
    uint8_t unused[SHA256_BYTES];
    struct sorex_error err;
    char dir[PATH_MAX];
    (void)snprintf(dir, sizeof dir, "%s/stored", root);
    if (access(dir, F_OK) == 0)
        return;
    data_remove();
    good(pipeline_live("stored", TIP, 2, unused, &err), &err);
}

static enum sorex_status answer_hash(void *user_data, struct bytes text, struct sorex_error *err)
{
    (void)err;
    sha256_update(user_data, text);
    return SOREX_OK;
}

static enum sorex_status preview_request(struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_str(out, "{\"verb\":\"preview\",\"name\":\"supply\",\"input\":\"\",\"json\":true,\"block\":\"",
                       err));
    TRY(buf_append_hex(out, buf_view(&block), err));
    return buf_append_str(out, "\"}", err);
}

static enum sorex_status ask_all(struct store *store, struct sha256 *hash, struct sorex_error *err)
{
    static const char *const requests[] = {
        "{\"verb\":\"status\"}",
        "{\"verb\":\"view\",\"name\":\"supply\",\"input\":\"\",\"json\":true}",
        "{\"verb\":\"view\",\"name\":\"supply\",\"input\":\"\",\"height\":2}",
        "{\"verb\":\"hash\",\"program\":\"utxo\",\"json\":true,\"height\":4}",
        "{\"verb\":\"dump\",\"program\":\"utxo\",\"json\":true}",
        "{\"verb\":\"dump\",\"program\":\"utxo\",\"height\":3,\"prefix\":\"75\"}",
        "{\"verb\":\"rows\",\"program\":\"balances\",\"by\":\"balance\",\"limit\":3}",
        "{\"verb\":\"rows\",\"program\":\"balances\",\"json\":true}",
    };
    struct service service;
    struct buf preview = {0};
    char dir[PATH_MAX];
    (void)snprintf(dir, sizeof dir, "%s/stored", root);
    service_init(&service, store, dir, NULL);
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < sizeof requests / sizeof *requests && status == SOREX_OK; i++)
        status = service_handle(&service, bytes_str(requests[i]), answer_hash, hash, err);
    if (status == SOREX_OK)
        status = preview_request(&preview, err);
    if (status == SOREX_OK)
        status = service_handle(&service, buf_view(&preview), answer_hash, hash, err);
    buf_deinit(&preview);
    service_deinit(&service);
    return status;
}

static enum sorex_status ask_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    char dir[PATH_MAX];
    struct sha256 hash;
    struct store *store = NULL;
    (void)snprintf(dir, sizeof dir, "%s/stored", root);
    struct store_options options = {.dir = dir, .read_only = true, .history = STORE_HISTORY_FULL};
    TRY(sha256_init(&hash, err));
    enum sorex_status status = store_open(&options, &store, err);
    if (status == SOREX_OK) {
        status = ask_all(store, &hash, err);
        store_close(store);
    }
    sha256_finish(&hash, out);
    sha256_deinit(&hash);
    return status;
}

static enum sorex_status replay_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    static struct pipeline_settings settings;
    struct replay_report report = {0};
    char file[PATH_MAX];
    (void)snprintf(file, sizeof file, "%s/stored.yaml", root);
    (void)memset(&settings, 0, sizeof settings);
    enum sorex_status status = pipeline_settings_read(file, NULL, 0, &settings, err);
    if (status == SOREX_OK)
        status = replay(&settings, SOREX_HEIGHT_NONE, SOREX_HEIGHT_NONE, &report, err);
    pipeline_settings_deinit(&settings);
    const uint64_t figures[] = {report.from,  report.to,      report.commitments,
                                report.pairs, report.changes, report.differs};
    sha256_once(bytes_of(figures, sizeof figures), out);
    return status;
}

/* ---- settings, JSON ---- */

static enum sorex_status settings_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    static struct pipeline_settings settings;
    struct pipeline_override overrides[] = {{.path = "indexer.fuel", .value = "1000000"},
                                            {.path = "sinks.rows.url", .value = "host=nowhere"},
                                            {.path = "cache", .value = "1 MiB"}};
    char file[PATH_MAX];
    (void)snprintf(file, sizeof file, "%s/postgres.yaml", root);
    (void)memset(&settings, 0, sizeof settings);
    enum sorex_status status =
        pipeline_settings_read(file, overrides, sizeof overrides / sizeof *overrides, &settings, err);
    const uint64_t figures[] = {settings.top.cache, settings.indexer.limits.fuel, settings.sink_count};
    sha256_once(bytes_of(figures, sizeof figures), out);
    pipeline_settings_deinit(&settings);
    return status;
}

/* A document that makes every table of the parser grow: strings with escapes, an object with many members. */
static enum sorex_status json_text(struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_array_begin(&w);
    for (int i = 0; i < 20; i++)
        json_string_z(&w, "line\n\"quoted\" \x01 and more");
    json_object_begin(&w);
    for (int i = 0; i < 60; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "member%d", i);
        json_name(&w, name);
        json_double(&w, i / 3.0);
    }
    json_object_end(&w);
    json_array_end(&w);
    return json_writer_finish(&w);
}

static enum sorex_status json_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    struct buf text = {0};
    struct json_parser *parser = NULL;
    struct json_doc doc;
    enum sorex_status status = json_text(&text, err);
    if (status == SOREX_OK)
        status = json_parser_new(&parser, err);
    if (status == SOREX_OK)
        status = json_parse(parser, buf_view(&text), &doc, err);
    if (status == SOREX_OK)
        sha256_once(bytes_of(&doc.count, sizeof doc.count), out);
    json_parser_free(parser);
    buf_deinit(&text);
    return status;
}

/* ---- all of them ---- */

const struct life lives[] = {
    {"settings", NULL, settings_live, 0},
    {"json", NULL, json_live, 0},
    {"index", data_remove, index_live, 10},
    {"amend", data_remove, amend_live, 5},
    {"kept", data_remove, kept_live, 4},
    {"node", node_prepare, node_live, 6},
    {"postgres", server_prepare, server_live, 6},
    {"ask", stored_prepare, ask_live, 8},
    {"replay", stored_prepare, replay_live, 5},
    {"stream", data_remove, stream_live, 20},
};
const size_t lives_count = sizeof lives / sizeof *lives;

static void files_write(void)
{
    const char *guests = getenv("SOREX_GUESTS");
    const char *source = getenv("SOREX_SOURCE_DIR");
    char file[PATH_MAX], blocks[PATH_MAX], programs[PATH_MAX * 2], text[PATH_MAX * 4];
    assert_non_null(guests);
    assert_non_null(source);
    (void)snprintf(blocks, sizeof blocks, "source: {type: blockfiles, path: %s/examples/blocks}\n", source);
    (void)snprintf(
        programs, sizeof programs,
        "indexer: {name: utxo, wasm: %s/utxo.wasm}\ntransforms: [{name: balances, wasm: %s/balances.wasm}]\n", guests,
        guests);
    (void)snprintf(text, sizeof text, "history: 4\n%s%ssinks: [{type: file, path: %s/index/changes.jsonl}]\n", blocks,
                   programs, root);
    pipeline_write("index", text, file);
    (void)snprintf(text, sizeof text, "%s%ssinks: [{type: file, path: %s/stored/changes.jsonl}]\n", blocks, programs,
                   root);
    pipeline_write("stored", text, file);
    (void)snprintf(
        text, sizeof text,
        "%s%ssinks: [{type: postgres, name: rows, url: \"%s\"}, {type: postgres, name: log, mode: log, url: \"%s\"}]\n",
        blocks, programs, postgres != NULL ? postgres_server_url(postgres) : "",
        postgres != NULL ? postgres_server_url(postgres) : "");
    pipeline_write("postgres", text, file);
    (void)snprintf(
        text, sizeof text,
        "%sindexer: {name: utxo, wasm: %s/utxo.wasm}\ntransforms: [{name: rows, wasm: %s/tiny_transform_rows.wasm, "
        "inverse: guest}]\nsinks: [{type: file, path: %s/amend/changes.jsonl}]\n",
        blocks, guests, guests, root);
    pipeline_write("amend", text, file);
    (void)snprintf(
        text, sizeof text,
        "%sindexer: {name: utxo, wasm: %s/utxo.wasm}\ntransforms: [{name: kept, wasm: %s/tiny_transform_kept.wasm, "
        "memory: kept}]\n",
        blocks, guests, guests);
    pipeline_write("kept", text, file);
    stream_write(root);
}

/* The block at TIP + 1 of the example's file: magic, length, bytes, one after the other. */
static void block_read(void)
{
    char path[PATH_MAX];
    struct buf file = {0};
    struct sorex_error err;
    (void)snprintf(path, sizeof path, "%s/examples/blocks/blk00000.dat", getenv("SOREX_SOURCE_DIR"));
    good(file_read(path, (size_t)256 << 20, &file, &err), &err);
    size_t at = 0;
    for (int height = 0; height <= TIP; height++)
        at += 8 + u32le_get(file.data + at + 4);
    good(buf_append(&block, bytes_of(file.data + at + 8, u32le_get(file.data + at + 4)), &err), &err);
    buf_deinit(&file);
}

void lives_start(void)
{
    struct sorex_error err;
    if (access("/dev/shm", W_OK) != 0)
        (void)memcpy(root, "/tmp/sorex-alloc-XXXXXX", sizeof "/tmp/sorex-alloc-XXXXXX");
    assert_non_null(mkdtemp(root));
    node_start(); /* before there are threads */
    if (postgres_server_new(NULL, &postgres, &err) == SOREX_OK) {
        good(postgres_libpq_new(postgres_server_url(postgres), &admin, &err), &err);
        good(postgres_session_open(admin, &err), &err);
    }
    store_fault_prune_budget(1);
    files_write();
    block_read();
}

void lives_end(void)
{
    char command[PATH_MAX];
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
    (void)close(node_pipe);
    (void)waitpid(node_pid, NULL, 0);
    if (postgres != NULL) {
        postgres_session_free(admin);
        postgres_server_free(postgres);
    }
    buf_deinit(&block);
}

bool life_possible(const struct life *life)
{
    if (life->prepare != server_prepare || postgres != NULL)
        return true;
    print_message("skipped: no PostgreSQL server binaries\n");
    return false;
}
