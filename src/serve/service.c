#include "serve/service.h"

#include <stdlib.h>

#include "base/check.h"
#include "pipeline/query.h"
#include "pipeline/status.h"
#include "serve/report.h"

/* One request being answered. */
struct call {
    struct service *service;
    const struct json_doc *doc;
    const struct json_node *root;
    service_output_fn *output;
    void *user_data;
    uint32_t height; /* SOREX_HEIGHT_NONE: absent */
    bool json, text;
};

void service_init(struct service *service, struct store *store, const char *data_dir, struct pipeline *pipeline)
{
    *service = (struct service){.store = store, .data_dir = data_dir, .pipeline = pipeline};
    CHECK(pthread_mutex_init(&service->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&service->preview, NULL) == 0);
}

void service_deinit(struct service *service)
{
    program_unload(&service->indexer);
    (void)pthread_mutex_destroy(&service->preview);
    (void)pthread_mutex_destroy(&service->lock);
}

static struct bytes text_member(const struct call *call, const char *name)
{
    const struct json_node *node = json_member(call->doc, call->root, name);
    return node != NULL && node->kind == JSON_STRING ? node->text : bytes_of(NULL, 0);
}

static bool flag_member(const struct call *call, const char *name)
{
    const struct json_node *node = json_member(call->doc, call->root, name);
    return node != NULL && node->kind == JSON_BOOL && node->boolean;
}

static enum sorex_status hex_member(const struct call *call, const char *name, struct buf *out, struct sorex_error *err)
{
    if (hex_decode(text_member(call, name), out, err) != SOREX_OK)
        return sorex_error_prefix(err, "%s", name);
    return SOREX_OK;
}

static enum sorex_status name_member(const struct call *call, const char *name, char *out, size_t size, struct sorex_error *err)
{
    struct bytes text = text_member(call, name);
    if (text.len == 0 || text.len >= size)
        return sorex_error_set(err, SOREX_INVALID, "%s is missing or too long", name);
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return SOREX_OK;
}

/* The first program of the store that has a view export is its indexer: programs are registered with the indexer first. */
static void indexer_pick(void *user_data, const struct store_program *program)
{
    struct store_program *first = user_data;
    if (first->name[0] == '\0')
        *first = *program;
}

static bool pipeline_ends(void *user_data)
{
    return pipeline_stopping(user_data);
}

/* The pipeline's own, otherwise the store's. The lock is held. */
static enum sorex_status indexer_load(struct service *service, struct sorex_error *err)
{
    struct program_context context = {.data_dir = service->data_dir, .interruptible = true};
    struct store_program stored = {0};
    const struct program *running = service->pipeline != NULL ? pipeline_indexer(service->pipeline) : NULL;
    if (running != NULL) {
        stored = running->stored;
        service->settings.limits = running->settings->limits;
        context.stop = pipeline_ends;
        context.stop_user_data = service->pipeline;
    } else {
        TRY(store_programs(service->store, indexer_pick, &stored, err));
        if (stored.name[0] == '\0')
            return sorex_error_set(err, SOREX_GONE, "this store has no indexer");
    }
    enum sorex_status status = program_load_stored(&service->indexer, &stored, &service->settings, &context, err);
    if (status != SOREX_OK)
        program_unload(&service->indexer);
    service->indexer_loaded = status == SOREX_OK;
    return status;
}

/* Loads it the first time. */
static enum sorex_status indexer_get(struct service *service, struct program **out, struct sorex_error *err)
{
    pthread_mutex_lock(&service->lock);
    enum sorex_status status = service->indexer_loaded ? SOREX_OK : indexer_load(service, err);
    pthread_mutex_unlock(&service->lock);
    *out = &service->indexer;
    return status;
}

static enum sorex_status result_write(const struct call *call, const struct buf *result, uint32_t height,
                                      struct sorex_error *err)
{
    struct buf out = {0};
    enum sorex_status status;
    if (call->text) {
        status = buf_append(&out, buf_view(result), err);
    } else if (call->json) {
        struct json_writer w;
        struct buf hex = {0};
        json_writer_init(&w, &out, false, err);
        json_object_begin(&w);
        json_name(&w, "height");
        json_uint(&w, height);
        json_name(&w, "result");
        status = buf_append_str(&hex, "0x", err);
        if (status == SOREX_OK)
            status = buf_append_hex(&hex, buf_view(result), err);
        json_string(&w, buf_view(&hex));
        json_object_end(&w);
        buf_deinit(&hex);
        if (status == SOREX_OK)
            status = json_writer_finish(&w);
    } else {
        status = buf_append_str(&out, "0x", err);
        if (status == SOREX_OK)
            status = buf_append_hex(&out, buf_view(result), err);
    }
    if (status == SOREX_OK)
        status = buf_append_u8(&out, '\n', err);
    if (status == SOREX_OK)
        status = call->output(call->user_data, buf_view(&out), err);
    buf_deinit(&out);
    return status;
}

static enum sorex_status verb_view(const struct call *call, struct sorex_error *err)
{
    struct service *service = call->service;
    struct program *indexer;
    struct buf input = {0}, result = {0};
    uint32_t height = 0;
    enum sorex_status status = hex_member(call, "input", &input, err);
    if (status == SOREX_OK)
        status = indexer_get(service, &indexer, err);
    if (status == SOREX_OK)
        status = query_view(service->store, indexer, text_member(call, "name"), buf_view(&input), call->height, &result, &height,
                            err);
    if (status == SOREX_OK)
        status = result_write(call, &result, height, err);
    buf_deinit(&input);
    buf_deinit(&result);
    return status;
}

static enum sorex_status verb_preview(const struct call *call, struct sorex_error *err)
{
    struct service *service = call->service;
    struct program *indexer;
    struct buf input = {0}, block = {0}, result = {0};
    uint32_t height = 0;
    enum sorex_status status = hex_member(call, "input", &input, err);
    if (status == SOREX_OK)
        status = hex_member(call, "block", &block, err);
    if (status == SOREX_OK)
        status = indexer_get(service, &indexer, err);
    pthread_mutex_lock(&service->preview);
    if (status == SOREX_OK)
        status = query_preview(service->store, indexer, buf_view(&block), text_member(call, "name"), buf_view(&input),
                               call->height, &result, &height, err);
    pthread_mutex_unlock(&service->preview);
    if (status == SOREX_OK)
        status = result_write(call, &result, height, err);
    buf_deinit(&input);
    buf_deinit(&block);
    buf_deinit(&result);
    return status;
}

static enum sorex_status dump_line(void *user_data, struct bytes line, struct sorex_error *err)
{
    const struct call *call = user_data;
    return call->output(call->user_data, line, err);
}

/* A line of the dump as an object, one a line: {"key":"62...","value":"00"}. */
static enum sorex_status dump_line_json(void *user_data, struct bytes line, struct sorex_error *err)
{
    const struct call *call = user_data;
    const uint8_t *colon = memchr(line.data, ':', line.len);
    CHECK(colon != NULL && line.data[line.len - 1] == '\n');
    size_t key_len = (size_t)(colon - line.data);
    struct buf out = {0};
    struct json_writer w;
    json_writer_init(&w, &out, false, err);
    json_object_begin(&w);
    json_name(&w, "key");
    json_string(&w, bytes_of(line.data, key_len));
    json_name(&w, "value");
    json_string(&w, bytes_of(colon + 1, line.len - key_len - 2));
    json_object_end(&w);
    enum sorex_status status = json_writer_finish(&w);
    if (status == SOREX_OK)
        status = buf_append_u8(&out, '\n', err);
    if (status == SOREX_OK)
        status = call->output(call->user_data, buf_view(&out), err);
    buf_deinit(&out);
    return status;
}

static enum sorex_status verb_dump(const struct call *call, struct sorex_error *err)
{
    char program[64];
    struct buf prefix = {0};
    uint32_t height;
    TRY(name_member(call, "program", program, sizeof program, err));
    enum sorex_status status = hex_member(call, "prefix", &prefix, err);
    struct call copy = *call;
    if (status == SOREX_OK)
        status = query_dump(call->service->store, program, call->height, buf_view(&prefix),
                            call->json ? dump_line_json : dump_line, &copy, &height, err);
    buf_deinit(&prefix);
    return status;
}

static enum sorex_status verb_hash(const struct call *call, struct sorex_error *err)
{
    char program[64];
    struct buf prefix = {0}, out = {0};
    struct query_hashes hashes;
    TRY(name_member(call, "program", program, sizeof program, err));
    enum sorex_status status = hex_member(call, "prefix", &prefix, err);
    if (status == SOREX_OK)
        status = query_hash(call->service->store, program, call->height, buf_view(&prefix), &hashes, err);
    if (status == SOREX_OK)
        status = report_hashes(&hashes, call->json, &out, err);
    if (status == SOREX_OK)
        status = call->output(call->user_data, buf_view(&out), err);
    buf_deinit(&prefix);
    buf_deinit(&out);
    return status;
}

static enum sorex_status verb_rows(const struct call *call, struct sorex_error *err)
{
    char program[64];
    struct report_rows rows = {.table = text_member(call, "table"), .by = text_member(call, "by"), .json = call->json};
    const struct json_node *limit = json_member(call->doc, call->root, "limit");
    struct buf out = {0};
    uint32_t height;
    TRY(name_member(call, "program", program, sizeof program, err));
    if (limit == NULL || !json_u64(limit, &rows.limit))
        rows.limit = 10;
    enum sorex_status status = report_rows_init(&rows, err);
    if (status == SOREX_OK)
        status = query_rows(call->service->store, program, call->height, report_row, &rows, &height, err);
    if (status == SOREX_OK)
        status = report_rows_write(&rows, height, &out, err);
    if (status == SOREX_OK)
        status = call->output(call->user_data, buf_view(&out), err);
    report_rows_deinit(&rows);
    buf_deinit(&out);
    return status;
}

/* Who is connected. */
static void postgres_member(struct postgres_port *server, struct json_writer *w)
{
    struct postgres_port_status status;
    postgres_port_status(server, &status);
    json_name(w, "postgres");
    json_object_begin(w);
    json_name(w, "address");
    json_string_z(w, status.place);
    json_name(w, "connections");
    json_uint(w, status.connections);
    json_name(w, "connections_max");
    json_uint(w, status.connections_max);
    json_name(w, "busy");
    json_uint(w, status.busy);
    json_name(w, "opened");
    json_uint(w, status.opened);
    json_name(w, "refused");
    json_uint(w, status.refused);
    json_name(w, "cancelled");
    json_uint(w, status.cancelled);
    json_object_end(w);
}

enum sorex_status service_status(struct service *service, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    if (service->flow != NULL)
        return flow_status(service->flow, &w, err);
    json_object_begin(&w);
    if (service->pipeline != NULL) {
        TRY(pipeline_status(service->pipeline, &w, err));
        if (service->postgres != NULL)
            postgres_member(service->postgres, &w);
        json_object_end(&w);
        return json_writer_finish(&w);
    }
    json_name(&w, "state");
    json_string_z(&w, "not running");
    json_name(&w, "waiting_for");
    json_string_z(&w, "`sorex run PIPELINE`, which goes on where it was");
    if (service->stream) {
        json_name(&w, "kind");
        json_string_z(&w, "stream");
    } else {
        status_store(service->store, SOREX_HEIGHT_NONE, &w);
        status_cursors(service->store, &w);
    }
    if (service->reducer != NULL)
        status_reducer_stopped(service->store, service->reducer, service->stream, &w);
    json_object_end(&w);
    return json_writer_finish(&w);
}

static enum sorex_status verb_status(const struct call *call, struct sorex_error *err)
{
    struct buf text = {0}, out = {0};
    enum sorex_status status = service_status(call->service, &text, err);
    if (status == SOREX_OK && call->json)
        status = buf_append_u8(&text, '\n', err);
    else if (status == SOREX_OK)
        status = report_status(buf_view(&text), &out, err);
    if (status == SOREX_OK)
        status = call->output(call->user_data, buf_view(call->json ? &text : &out), err);
    buf_deinit(&text);
    buf_deinit(&out);
    return status;
}

static enum sorex_status verb_rollback(const struct call *call, struct sorex_error *err)
{
    struct service *service = call->service;
    uint64_t undone = 0;
    if (call->height == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_INVALID, "rollback needs a height");
    if (service->pipeline == NULL)
        return sorex_error_set(err, SOREX_INVALID, "rollback without a running pipeline needs the pipeline file");
    TRY(pipeline_rollback(service->pipeline, call->height, &undone, err));
    struct buf out = {0};
    enum sorex_status status = report_rollback(call->height, undone, call->json, &out, err);
    if (status == SOREX_OK)
        status = call->output(call->user_data, buf_view(&out), err);
    buf_deinit(&out);
    return status;
}

static const struct {
    const char *name;
    enum sorex_status (*run)(const struct call *call, struct sorex_error *err);
} verbs[] = {
    {"status", verb_status}, {"view", verb_view}, {"preview", verb_preview},   {"dump", verb_dump},
    {"hash", verb_hash},     {"rows", verb_rows}, {"rollback", verb_rollback},
};

static enum sorex_status call_run(struct call *call, struct sorex_error *err)
{
    const struct json_node *height = json_member(call->doc, call->root, "height");
    uint64_t value = SOREX_HEIGHT_NONE;
    if (height != NULL && (!json_u64(height, &value) || value >= SOREX_HEIGHT_NONE))
        return sorex_error_set(err, SOREX_INVALID, "height is not a height");
    call->height = (uint32_t)value;
    call->json = flag_member(call, "json");
    call->text = flag_member(call, "text");
    struct bytes verb = text_member(call, "verb");
    if (call->service->flow != NULL && !bytes_is(verb, "status"))
        return sorex_error_set(err, SOREX_INVALID, "a stream runs here: it has no store that %.*s could be about", BYTES_FMT(verb));
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (bytes_is(verb, verbs[i].name))
            return verbs[i].run(call, err);
    return sorex_error_set(err, SOREX_INVALID, "unknown request \"%.*s\"", BYTES_FMT(verb));
}

enum sorex_status service_handle(struct service *service, struct bytes request, service_output_fn *output, void *user_data,
                                 struct sorex_error *err)
{
    struct json_parser *parser;
    struct json_doc doc;
    TRY(json_parser_new(&parser, err));
    enum sorex_status status = json_parse(parser, request, &doc, err);
    if (status == SOREX_OK) {
        struct call call = {.service = service, .doc = &doc, .root = &doc.nodes[0], .output = output, .user_data = user_data};
        status = call_run(&call, err);
    }
    json_parser_free(parser);
    return status;
}
