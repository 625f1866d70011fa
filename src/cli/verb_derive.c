/* sorex derive: messages through a reducer into a database; its receipts, exports and imports. */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "cli/derive_report.h"
#include "cli/exit_code.h"
#include "cli/sql_source.h"
#include "cli/verbs.h"

/* ---- opening ---- */

/* Those of the directory, with the flags on top. */
static enum sorex_status settings_read(const struct arguments *arguments, struct derive_settings *out,
                                       struct sorex_error *err)
{
    bool found;
    TRY(derived_settings(arguments->data, out, &found, err));
    return arguments_override(arguments, derive_options, out, err);
}

static enum sorex_status directory_open(const struct arguments *arguments, struct derived **out,
                                        struct sorex_error *err)
{
    struct derive_settings settings = {0};
    struct buf wasm = {0};
    TRY(settings_read(arguments, &settings, err));
    if (arguments->reducer == NULL && !derived_is(arguments->data))
        return sorex_error_set(err, SOREX_GONE, "nothing was derived in %s: give --reducer and --log", arguments->data);
    enum sorex_status status = arguments->reducer != NULL ? reducer_read(arguments->reducer, &wasm, err) : SOREX_OK;
    if (status == SOREX_OK) {
        struct derived_options options = {.dir = arguments->data, .wasm = buf_view(&wasm), .settings = &settings};
        status = derived_open(&options, out, err);
    }
    buf_deinit(&wasm);
    return status;
}

/* ---- deriving ---- */

static bool on_progress(void *user_data, const struct derived_progress *progress)
{
    (void)user_data;
    derive_line("derive", progress->count, progress->total, progress->applied, progress->waiting);
    return !derive_stopped();
}

static enum sorex_status log_derive(const struct arguments *arguments, struct derived *derived,
                                    struct derived_progress *out, struct sorex_error *err)
{
    struct messages *log = NULL;
    const struct messages_options follow = {.follow = arguments->follow};
    if (arguments->follow && arguments->log == NULL)
        return sorex_error_set(err, SOREX_INVALID, "--follow: which log? give --log FILE");
    if (arguments->log != NULL)
        TRY(messages_open(arguments->log, &follow, &log, err));
    derive_signals(log);
    const struct derived_run_options options = {.log = log, .follow = arguments->follow, .progress = on_progress};
    enum sorex_status status = derived_run(derived, &options, out, err);
    derive_signals(NULL);
    log_progress(NULL);
    messages_close(log);
    return status == SOREX_STOPPED && derive_stopped() ? SOREX_OK : status;
}

static void json_hash(struct json_writer *w, const char *name, const uint8_t hash[SHA256_BYTES])
{
    json_name(w, name);
    json_hex(w, bytes_of(hash, SHA256_BYTES));
}

static enum sorex_status summary_json(const struct derived *derived, const struct derived_progress *progress,
                                      uint64_t ns, struct sorex_error *err)
{
    const struct receipt *receipt = derived_receipt(derived);
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {{"messages", receipt->count},
                   {"rejected", receipt->rejected},
                   {"derived", progress->applied},
                   {"ms", ns / 1000000}};
    struct json_out out;
    json_out_begin(&out, false, err);
    json_object_begin(&out.w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_name(&out.w, members[i].name);
        json_uint(&out.w, members[i].value);
    }
    json_hash(&out.w, "log", receipt->log);
    json_hash(&out.w, "key", receipt->key);
    json_hash(&out.w, "trace", receipt->trace);
    json_object_end(&out.w);
    return json_out_end(&out, stdout);
}

static enum sorex_status summary_print(const struct arguments *arguments, const struct derived *derived,
                                       const struct derived_progress *progress, uint64_t ns, struct sorex_error *err)
{
    const struct receipt *receipt = derived_receipt(derived);
    char key[HASH_HEX_SIZE], trace[HASH_HEX_SIZE];
    if (arguments->json)
        return summary_json(derived, progress, ns, err);
    hash_hex(receipt->key, key);
    hash_hex(receipt->trace, trace);
    (void)printf("%llu messages, %llu of them rejected; %llu derived now, in %.3f s\nkey    %s\ntrace  %s\n",
                 (unsigned long long)receipt->count, (unsigned long long)receipt->rejected,
                 (unsigned long long)progress->applied, (double)ns / 1e9, key, trace);
    return SOREX_OK;
}

/* ---- what leaves the directory, and what comes in ---- */

static enum sorex_status receipt_write(const struct receipt_file *file, const char *path, struct sorex_error *err)
{
    struct buf text = {0};
    enum sorex_status status = receipt_file_write(file, &text, err);
    if (status == SOREX_OK)
        status = file_replace(path, buf_view(&text), err);
    buf_deinit(&text);
    return status;
}

static enum sorex_status receipt_save(const struct arguments *arguments, struct derived *derived,
                                      struct sorex_error *err)
{
    static struct receipt_file file;
    uint64_t from, to;
    TRY(count_parse("from", arguments->from, 0, &from, err));
    TRY(count_parse("to", arguments->to, DERIVED_NEWEST, &to, err));
    enum sorex_status status = derived_prove(derived, from, to, arguments->query, &file, err);
    if (status == SOREX_OK)
        status = receipt_write(&file, arguments->receipt, err);
    receipt_file_deinit(&file);
    return status;
}

/* ---- of a pipeline's reducer, which `sorex run` derives: what is durable of it now ---- */

static enum sorex_status prove(struct arguments *arguments, struct sorex_error *err)
{
    static struct receipt_file file;
    struct sql_source *source = NULL;
    TRY(sql_source_open(arguments, &source, err));
    enum sorex_status status = sql_source_prove(source, arguments->query, &file, err);
    if (status == SOREX_OK)
        status = receipt_write(&file, arguments->receipt, err);
    receipt_file_deinit(&file);
    sql_source_close(source);
    return status;
}

static enum sorex_status pipeline_prove(struct arguments *arguments, struct sorex_error *err)
{
    struct pipeline_settings settings = {0};
    bool more = arguments->data != NULL || arguments->reducer != NULL || arguments->log != NULL || arguments->follow ||
                arguments->from != NULL || arguments->to != NULL || arguments->export_file != NULL ||
                arguments->import_file != NULL;
    if (more || arguments->receipt == NULL)
        return sorex_error_set(err, SOREX_INVALID,
                               "`sorex run` derives a pipeline; here its receipt is written: sorex derive PIPELINE "
                               "--receipt FILE [--query SQL]");
    enum sorex_status status =
        pipeline_settings_read(arguments->words[0], arguments->overrides, arguments->override_count, &settings, err);
    if (status == SOREX_OK && !settings.has_reducer)
        status = sorex_error_set(err, SOREX_INVALID, "%s has no reducer", settings.top.name);
    arguments->sink = settings.reducer.name;
    if (status == SOREX_OK)
        status = prove(arguments, err);
    arguments->sink = NULL;
    pipeline_settings_deinit(&settings);
    return status;
}

static enum sorex_status export_save(const struct arguments *arguments, struct derived *derived,
                                     struct sorex_error *err)
{
    struct buf archive = {0};
    enum sorex_status status = derived_export(derived, &archive, err);
    if (status == SOREX_OK)
        status = file_replace(arguments->export_file, buf_view(&archive), err);
    buf_deinit(&archive);
    return status;
}

static enum sorex_status import_load(const struct arguments *arguments, struct sorex_error *err)
{
    static struct receipt_file trusted;
    struct buf archive = {0};
    enum sorex_status status = arguments->trust != NULL ? receipt_load(arguments->trust, &trusted, err) : SOREX_OK;
    if (status == SOREX_OK)
        status = file_read(arguments->import_file, SOREX_BUF_BYTES_MAX, &archive, err);
    if (status == SOREX_OK)
        status = derived_import(arguments->data, buf_view(&archive), arguments->trust != NULL ? &trusted : NULL, err);
    buf_deinit(&archive);
    receipt_file_deinit(&trusted);
    return status;
}

/* ---- the verb ---- */

static enum sorex_status derive(struct arguments *arguments, struct sorex_error *err)
{
    struct derived *derived = NULL;
    struct derived_progress progress;
    if (arguments->word_count != 0)
        return pipeline_prove(arguments, err);
    if (arguments->data == NULL)
        return sorex_error_set(err, SOREX_INVALID, "where to? give --data DIR");
    if (arguments->query != NULL && arguments->receipt == NULL)
        return sorex_error_set(err, SOREX_INVALID, "--query goes into a receipt: give --receipt FILE");
    if (arguments->import_file != NULL)
        TRY(import_load(arguments, err));
    TRY(directory_open(arguments, &derived, err));
    uint64_t began = clock_ns();
    enum sorex_status status = SOREX_OK;
    if (arguments->log != NULL || arguments->import_file == NULL)
        status = log_derive(arguments, derived, &progress, err);
    else
        progress = (struct derived_progress){0};
    if (status == SOREX_OK)
        status = summary_print(arguments, derived, &progress, clock_ns() - began, err);
    if (status == SOREX_OK && arguments->receipt != NULL)
        status = receipt_save(arguments, derived, err);
    if (status == SOREX_OK && arguments->export_file != NULL)
        status = export_save(arguments, derived, err);
    derived_close(derived);
    return status;
}

static int derive_run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    return derive(arguments, &err) == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

const struct verb verb_derive = {
    .name = "derive",
    .summary = "messages through a reducer into a database that anybody gets again",
    .usage = "(--data DIR [--reducer FILE] [--log FILE] [--follow] [--receipt FILE] [--export FILE] | PIPELINE "
             "--receipt FILE)",
    .words_max = 1,
    .flags = "data reducer log follow receipt query from to export import trust json",
    .options = derive_options,
    .options_title = "Settings; the first five are part of what is derived, and kept by the directory",
    .about =
        "Every message of the log is one transaction of the reducer (docs/abi/reducer.md). Equal logs, reducers and "
        "settings give\n"
        "equal databases, byte for byte, whatever was interrupted, cached or derived before.\n\n"
        "Run it again with a longer log, or a changed one: only what is new is derived. Without --log it goes on "
        "with the\n"
        "messages that the directory has. The log is JSON lines or frames (docs/derive.md); \"-\": standard input, "
        "to its end.\n"
        "With --follow it waits for the file to grow; SIGTERM and SIGINT end it after the message in hand.\n\n"
        "--receipt writes what was derived as hashes, for others to verify; with --query also what that gives. "
        "--from and --to\n"
        "make one of these messages only. --export writes the whole database with all that belongs to it, "
        "--import makes a\n"
        "directory of that, and with --trust only if it is what that receipt says.\n\n"
        "Of a pipeline with a reducer, which `sorex run` derives: --receipt, with --query too, of what is durable now.",
    .example = "sorex derive --reducer dnd.wasm --log game.jsonl --data game --receipt game.receipt",
    .run = derive_run,
};
