/* sorex verify: is it what the receipt says? */
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "cli/derive_report.h"
#include "cli/exit_code.h"
#include "cli/home.h"
#include "cli/verbs.h"
#include "derive/verify.h"
#include "pipeline/past.h"

static uint64_t wanted; /* messages */

static bool on_progress(void *user_data, uint64_t count)
{
    (void)user_data;
    derive_line("verify", count, wanted, count, false);
    return !derive_stopped();
}

/* With the settings that the receipt names: what else differs is the engine's or the reducer's, and is told. */
static enum sorex_status derivation_open(const struct arguments *arguments, const struct receipt_file *receipt,
                                         struct derivation **out, struct sorex_error *err)
{
    struct derive_settings settings = {0};
    struct buf wasm = {0};
    char cache[PATH_MAX];
    TRY(derive_settings_of(buf_view(&receipt->identity), &settings, err));
    struct derivation_options options = derive_settings_derivation(&settings);
    options.cache_dir = home_cache(cache) ? cache : NULL;
    enum sorex_status status = reducer_read(arguments->reducer, &wasm, err);
    if (status == SOREX_OK)
        status = derivation_new(buf_view(&wasm), &options, out, err);
    buf_deinit(&wasm);
    return status;
}

static enum sorex_status witness_open(const struct arguments *arguments, const struct receipt_file *receipt,
                                      struct derived **out_derived, struct derivation **out_derivation,
                                      struct sorex_error *err)
{
    if (arguments->data != NULL && arguments->log == NULL && arguments->reducer == NULL)
        return derived_open(&(struct derived_options){.dir = arguments->data, .read_only = true}, out_derived, err);
    if (arguments->data == NULL && arguments->log != NULL && arguments->reducer != NULL)
        return derivation_open(arguments, receipt, out_derivation, err);
    return sorex_error_set(err, SOREX_INVALID,
                           "what is to be verified? give --log and --reducer, or --data DIR, or a PIPELINE");
}

static enum sorex_status log_verify(const struct arguments *arguments, const struct receipt_file *file,
                                    struct sorex_error *err)
{
    struct derived *derived = NULL;
    struct derivation *derivation = NULL;
    enum sorex_status status = witness_open(arguments, file, &derived, &derivation, err);
    if (status == SOREX_OK) {
        const struct witness witness = {.derived = derived, .derivation = derivation, .log = arguments->log};
        status = verify_receipt(&witness, file, on_progress, NULL, err);
    }
    derived_close(derived);
    derivation_free(derivation);
    return status;
}

static enum sorex_status pipeline_verify(struct arguments *arguments, const struct receipt_file *file,
                                         struct sorex_error *err)
{
    struct pipeline_settings settings = {0};
    char cache[PATH_MAX];
    if (arguments->data != NULL || arguments->log != NULL || arguments->reducer != NULL)
        return sorex_error_set(err, SOREX_INVALID,
                               "a pipeline has its own messages and reducer: no --log, --reducer or --data with it");
    enum sorex_status status =
        pipeline_settings_read(arguments->words[0], arguments->overrides, arguments->override_count, &settings, err);
    if (status == SOREX_OK)
        status = past_verify(&settings, home_cache(cache) ? cache : NULL, file, on_progress, NULL, err);
    pipeline_settings_deinit(&settings);
    return status;
}

static void equal_print(const struct arguments *arguments, const struct receipt_file *file)
{
    char key[HASH_HEX_SIZE];
    hash_hex(file->receipt.key, key);
    if (arguments->json)
        (void)puts("{\"equal\":true}");
    else
        (void)printf("equal: %llu messages, %llu of them rejected, key %s\n", (unsigned long long)file->receipt.count,
                     (unsigned long long)file->receipt.rejected, key);
    if (!arguments->json && file->query.len > 0)
        (void)printf("%.*s\n%.*s", BYTES_FMT(buf_view(&file->query)), BYTES_FMT(buf_view(&file->result)));
}

static enum sorex_status verify(struct arguments *arguments, struct sorex_error *err)
{
    static struct receipt_file file;
    if (arguments->receipt == NULL)
        return sorex_error_set(err, SOREX_INVALID, "against what? give --receipt FILE");
    enum sorex_status status = receipt_load(arguments->receipt, &file, err);
    if (status == SOREX_OK) {
        wanted = file.receipt.count;
        derive_signals(NULL);
        status = arguments->word_count != 0 ? pipeline_verify(arguments, &file, err)
                                            : log_verify(arguments, &file, err);
        log_progress(NULL);
    }
    if (status == SOREX_OK)
        equal_print(arguments, &file);
    receipt_file_deinit(&file);
    return status;
}

static int verify_run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    enum sorex_status status = verify(arguments, &err);
    if (status == SOREX_OK)
        return EXIT_OK_CODE;
    int code = cli_fail(&err);
    return status == SOREX_MISMATCH ? EXIT_DIFFERS_CODE : code;
}

const struct verb verb_verify = {
    .name = "verify",
    .summary = "derive again, and say whether a receipt is right, or where not",
    .usage = "--receipt FILE (--reducer FILE --log FILE | --data DIR | PIPELINE)",
    .words_max = 1,
    .flags = "receipt reducer log data json",
    .about =
        "Derives the messages from the first one on, in memory, and compares: engine, reducer, settings, the log, keys "
        "and traces\n"
        "at all points, digests of the database, the result of the query. With --data the messages and the reducer "
        "are the\n"
        "directory's; what it has derived from them counts for nothing. Of a pipeline's reducer, messages are the "
        "blocks of its\n"
        "source: only the file is needed, not the data directory.\n\n"
        "Exit code 9 when something is not as the receipt says; the text tells the first such thing, and up to which "
        "message all\n"
        "is equal. `sorex bisect` finds the message then.",
    .example = "sorex verify --reducer dnd.wasm --log game.jsonl --receipt game.receipt",
    .run = verify_run,
};
