/* The verbs that ask a store: status, view, preview, rows, state, rollback. Each makes one request (serve/service.h), which a running
 * pipeline answers through its socket, or this process on the store that it opens itself. */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "serve/control.h"
#include "store/lockfile.h"

/* How long a question waits for a pipeline that is starting. */
#define BESIDE_MS 10000

/* The store that a verb is about. */
struct target {
    struct pipeline_settings settings;
    bool has_settings;
    const char *data_dir;
    size_t next_word; /* first word after the pipeline file */
};

static enum sorex_status target_find(struct arguments *arguments, struct target *out, struct sorex_error *err)
{
    if (arguments->data != NULL) {
        out->data_dir = arguments->data;
        return SOREX_OK;
    }
    if (arguments->word_count == 0)
        return sorex_error_set(err, SOREX_INVALID, "which store? give a pipeline file or --data DIR");
    out->next_word = 1;
    out->has_settings = true;
    TRY(pipeline_settings_read(arguments->words[0], arguments->overrides, arguments->override_count, &out->settings, err));
    out->data_dir = out->settings.top.data;
    return SOREX_OK;
}

/* user_data: bool, set when something was printed. */
static enum sorex_status stdout_write(void *user_data, struct bytes text, struct sorex_error *err)
{
    *(bool *)user_data = true;
    if (text.len != 0 && fwrite(text.data, 1, text.len, stdout) != text.len)
        return sorex_error_set(err, SOREX_IO, "standard output could not be written");
    return SOREX_OK;
}

static enum sorex_status answer_here(const struct target *target, bool writes, struct bytes request, bool *out_opened, bool *out_printed,
                                     struct sorex_error *err)
{
    struct service service;
    struct pipeline *pipeline = NULL;
    struct store *store = NULL;
    enum sorex_status status;
    bool reducer = target->has_settings && target->settings.has_reducer;
    bool stream = target->has_settings && target->settings.event_source_type != NULL;
    if (stream && (!reducer || writes))
        return sorex_error_set(err, SOREX_GONE, "the stream %s does not run: nothing answers in %s", target->settings.top.name,
                               target->data_dir);
    if (writes) {
        struct pipeline_options options = {.no_network = true};
        if (!target->has_settings)
            return sorex_error_set(err, SOREX_INVALID, "nothing runs in %s: this verb then needs the pipeline file", target->data_dir);
        status = pipeline_new(&target->settings, &options, &pipeline, err);
    } else {
        struct store_options options = {.dir = target->data_dir, .read_only = true, .history = STORE_HISTORY_FULL};
        status = store_open(&options, &store, err);
    }
    *out_opened = status == SOREX_OK;
    if (status != SOREX_OK)
        return status;
    service_init(&service, pipeline != NULL ? pipeline_store(pipeline) : store, target->data_dir, pipeline);
    service.reducer = reducer ? target->settings.reducer.name : NULL;
    service.stream = stream;
    status = service_handle(&service, request, stdout_write, out_printed, err);
    service_deinit(&service);
    if (pipeline != NULL)
        pipeline_free(pipeline);
    if (store != NULL)
        store_close(store);
    return status;
}

/* Sends the request to whoever has the store. */
static enum sorex_status answer_once(const struct target *target, bool writes, struct bytes request, bool *out_by_chance,
                                     struct sorex_error *err)
{
    bool connected = false, opened = false, printed = false;
    if (access(target->data_dir, F_OK) != 0 && errno == ENOENT)
        return sorex_error_set(err, SOREX_GONE, "no store in %s: nothing ran there yet (`sorex run PIPELINE` makes it)", target->data_dir);
    enum sorex_status status = control_ask(target->data_dir, request, stdout_write, &printed, &connected, err);
    if (!connected && status == SOREX_OK)
        status = answer_here(target, writes, request, &opened, &printed, err);
    bool beside = !connected && (!opened || status == SOREX_IO || status == SOREX_CORRUPT);
    *out_by_chance = !writes && !printed && (status == SOREX_AGAIN || beside);
    return status;
}

/* A pipeline that starts or ends has no socket, and takes files away from under who reads its store beside it: a question that
 * fails meanwhile is asked again. */
static enum sorex_status answer(const struct target *target, bool writes, struct bytes request, struct sorex_error *err)
{
    for (uint64_t until = clock_ms() + BESIDE_MS;;) {
        bool by_chance = false;
        bool beside = lockfile_owner_alive(target->data_dir);
        enum sorex_status status = answer_once(target, writes, request, &by_chance, err);
        if (status == SOREX_OK || !by_chance || clock_ms() >= until)
            return status;
        if (!beside && !lockfile_owner_alive(target->data_dir))
            return status;
        (void)nanosleep(&(struct timespec){.tv_nsec = 20 * 1000000L}, NULL);
    }
}

struct request {
    struct buf text;
    struct json_writer w;
};

static void request_begin(struct request *request, const char *verb, const struct arguments *arguments, struct sorex_error *err)
{
    json_writer_init(&request->w, &request->text, false, err);
    json_object_begin(&request->w);
    json_name(&request->w, "verb");
    json_string_z(&request->w, verb);
    json_name(&request->w, "json");
    json_bool(&request->w, arguments->json);
    json_name(&request->w, "text");
    json_bool(&request->w, arguments->text);
}

static void request_text(struct request *request, const char *name, const char *text)
{
    if (text == NULL)
        return;
    json_name(&request->w, name);
    json_string_z(&request->w, text);
}

static enum sorex_status request_height(struct request *request, const char *flag, const char *text, struct sorex_error *err)
{
    uint32_t height;
    TRY(height_parse(flag, text, &height, err));
    if (height != SOREX_HEIGHT_NONE) {
        json_name(&request->w, "height");
        json_uint(&request->w, height);
    }
    return SOREX_OK;
}

/* What one verb adds to its request. words are those after the pipeline file. */
typedef enum sorex_status request_fn(struct request *request, const struct arguments *arguments, const char *const *words,
                                     size_t count, struct sorex_error *err);

static int ask(struct arguments *arguments, const char *verb, bool writes, request_fn *fill)
{
    static struct target target;
    struct request request = {0};
    struct sorex_error err = {0};
    enum sorex_status status = target_find(arguments, &target, &err);
    if (status == SOREX_OK) {
        request_begin(&request, verb, arguments, &err);
        status = fill(&request, arguments, arguments->words + target.next_word, arguments->word_count - target.next_word, &err);
    }
    if (status == SOREX_OK) {
        json_object_end(&request.w);
        status = json_writer_finish(&request.w);
    }
    if (status == SOREX_OK)
        status = answer(&target, writes, buf_view(&request.text), &err);
    buf_deinit(&request.text);
    if (target.has_settings)
        pipeline_settings_deinit(&target.settings);
    return status == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

/* ---- status ---- */

static enum sorex_status status_fill(struct request *request, const struct arguments *arguments, const char *const *words,
                                     size_t count, struct sorex_error *err)
{
    (void)request;
    (void)arguments;
    (void)words;
    return count == 0 ? SOREX_OK : sorex_error_set(err, SOREX_INVALID, "status takes no further words");
}

static int status_run(struct arguments *arguments)
{
    return ask(arguments, "status", false, status_fill);
}

const struct verb verb_status = {
    .name = "status",
    .summary = "what is it doing, and why is it waiting",
    .usage = "PIPELINE | --data DIR [--json]",
    .flags = "data json set",
    .words_max = 1,
    .about = "Heights (ours, durable, the source's), lag, the outbox, and every sink's cursor and state.",
    .example = "sorex status pipeline.yaml --json",
    .run = status_run,
};

/* ---- view ---- */

static enum sorex_status view_fill(struct request *request, const struct arguments *arguments, const char *const *words,
                                   size_t count, struct sorex_error *err)
{
    if (count < 1 || count > 2)
        return sorex_error_set(err, SOREX_INVALID, "usage: sorex view %s", verb_view.usage);
    request_text(request, "name", words[0]);
    request_text(request, "input", count == 2 ? words[1] : "");
    return request_height(request, "height", arguments->height, err);
}

static int view_run(struct arguments *arguments)
{
    return ask(arguments, "view", false, view_fill);
}

const struct verb verb_view = {
    .name = "view",
    .summary = "call a view of the indexer, at any retained height",
    .usage = "(PIPELINE | --data DIR) NAME [INPUT_HEX] [--height H] [--text | --json]",
    .flags = "data height text json set",
    .words_min = 1,
    .words_max = 3,
    .about = "Runs the indexer's export NAME in a fresh instance on durable state and prints its result as 0x and hex.",
    .example = "sorex view pipeline.yaml supply --height 14000",
    .run = view_run,
};

/* ---- preview ---- */

static enum sorex_status preview_fill(struct request *request, const struct arguments *arguments, const char *const *words,
                                      size_t count, struct sorex_error *err)
{
    if (count < 1 || count > 2 || arguments->block_count != 1)
        return sorex_error_set(err, SOREX_INVALID, "usage: sorex preview %s", verb_preview.usage);
    struct buf block = {0}, hex = {0};
    enum sorex_status status = file_read(arguments->blocks[0], SOREX_ENTRY_BYTES_MAX, &block, err);
    if (status == SOREX_OK)
        status = buf_append_hex(&hex, buf_view(&block), err);
    if (status == SOREX_OK) {
        json_name(&request->w, "block");
        json_string(&request->w, buf_view(&hex));
        request_text(request, "name", words[0]);
        request_text(request, "input", count == 2 ? words[1] : "");
        status = request_height(request, "height", arguments->height, err);
    }
    buf_deinit(&block);
    buf_deinit(&hex);
    return status;
}

static int preview_run(struct arguments *arguments)
{
    if (arguments->message != NULL)
        return preview_message_run(arguments);
    return ask(arguments, "preview", false, preview_fill);
}

const struct verb verb_preview = {
    .name = "preview",
    .summary = "a view, or a derived database, as it would be after one more entry",
    .usage = "(PIPELINE | --data DIR) NAME [INPUT_HEX] --block FILE [--height H], or --data DIR --message JSON [-c SQL]...",
    .flags = "data block height text json set message author time at command",
    .words_max = 3,
    .letters = true,
    .about = "With --block: runs the indexer on the raw block at H + 1 over a throw-away overlay, then the view there. The store "
             "is not\n"
             "touched.\n\n"
             "With --message: applies the message to a fork of the derived database in DIR, says whether it is applied or "
             "rejected,\n"
             "and why, and executes the statements there. The fork is thrown away: nothing has happened.",
    .example = "sorex preview --data game --author ann --message '{\"end_turn\":{}}' -c \"select * from units\"",
    .run = preview_run,
};

/* ---- rows ---- */

static enum sorex_status rows_fill(struct request *request, const struct arguments *arguments, const char *const *words,
                                   size_t count, struct sorex_error *err)
{
    (void)words;
    uint32_t limit;
    if (count != 0 || arguments->program == NULL)
        return sorex_error_set(err, SOREX_INVALID, "usage: sorex rows %s", verb_rows.usage);
    request_text(request, "program", arguments->program);
    request_text(request, "table", arguments->table);
    request_text(request, "by", arguments->by);
    if (arguments->limit != NULL) {
        TRY(height_parse("limit", arguments->limit, &limit, err));
        json_name(&request->w, "limit");
        json_uint(&request->w, limit);
    }
    return request_height(request, "height", arguments->height, err);
}

static int rows_run(struct arguments *arguments)
{
    return ask(arguments, "rows", false, rows_fill);
}

const struct verb verb_rows = {
    .name = "rows",
    .summary = "the rows that a transform has made, at any retained height",
    .usage = "(PIPELINE | --data DIR) --program NAME [--table T] [--by MEMBER] [--limit N] [--height H] [--json]",
    .flags = "data program table by limit height json set",
    .words_max = 1,
    .about = "Prints the last image of every row of a transform (before: engine), as the tables of a sink have them.",
    .example = "sorex rows pipeline.yaml --program balances --table balances --by balance --limit 10",
    .run = rows_run,
};

/* ---- state ---- */

static enum sorex_status state_fill(struct request *request, const struct arguments *arguments, const char *const *words,
                                    size_t count, struct sorex_error *err)
{
    (void)words;
    (void)count;
    if (arguments->program == NULL)
        return sorex_error_set(err, SOREX_INVALID, "usage: sorex state %s", verb_state.usage);
    request_text(request, "program", arguments->program);
    request_text(request, "prefix", arguments->prefix);
    return request_height(request, "height", arguments->height, err);
}

static int state_run(struct arguments *arguments) /* `state dump PIPELINE`: the first word says what */
{
    struct sorex_error err = {0};
    const char *what = arguments->words[0];
    if (strcmp(what, "dump") != 0 && strcmp(what, "hash") != 0) {
        (void)sorex_error_set(&err, SOREX_INVALID, "state dump or state hash, not state %s", what);
        return cli_fail(&err);
    }
    arguments->word_count--;
    memmove(arguments->words, arguments->words + 1, sizeof arguments->words - sizeof arguments->words[0]);
    return ask(arguments, what, false, state_fill);
}

const struct verb verb_state = {
    .name = "state",
    .summary = "dump or hash a program's keys, at any retained height",
    .usage = "(dump | hash) (PIPELINE | --data DIR) --program NAME [--height H] [--prefix HEX] [--json]",
    .flags = "data program height prefix json set",
    .words_min = 1,
    .words_max = 2,
    .about = "dump: lines hex(key):hex(value), sorted as text (LC_ALL=C sort). hash: the SHA-256 of exactly that dump, and the\n"
             "commitment, which chains the writes and changes of every entry.",
    .example = "sorex state hash --data data --program utxo --height 10000",
    .run = state_run,
};

/* ---- rollback ---- */

static enum sorex_status rollback_fill(struct request *request, const struct arguments *arguments, const char *const *words,
                                       size_t count, struct sorex_error *err)
{
    (void)words;
    if (count != 0 || arguments->to == NULL)
        return sorex_error_set(err, SOREX_INVALID, "usage: sorex rollback %s", verb_rollback.usage);
    return request_height(request, "to", arguments->to, err);
}

static int rollback_run(struct arguments *arguments)
{
    return ask(arguments, "rollback", true, rollback_fill);
}

const struct verb verb_rollback = {
    .name = "rollback",
    .summary = "undo down to a height, which remains",
    .usage = "(PIPELINE | --data DIR) --to H",
    .flags = "data to json set",
    .words_max = 1,
    .about = "Takes the newest entries back, as a reorganisation would, downstream too. A running pipeline does it between two entries and\n"
             "then follows its source again; without one the pipeline file is needed.",
    .example = "sorex rollback pipeline.yaml --to 14000",
    .run = rollback_run,
};
