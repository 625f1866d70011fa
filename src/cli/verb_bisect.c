/* sorex bisect: where two parties part. */
#include <stdio.h>

#include "base/check.h"
#include "cli/derive_report.h"
#include "cli/exit_code.h"
#include "cli/home.h"
#include "cli/verbs.h"
#include "derive/bisect.h"

/* A word of the command line: a receipt's file, or a directory. */
struct side {
    struct receipt_file file;
    struct derived *derived;
    struct witness witness;
};

static enum sorex_status side_open(const char *path, struct side *side, struct sorex_error *err)
{
    if (!derived_is(path))
        return receipt_load(path, &side->file, err);
    TRY(derived_open(&(struct derived_options){.dir = path, .read_only = true}, &side->derived, err));
    side->witness.derived = side->derived;
    side->file.receipt = *derived_receipt(side->derived);
    return buf_append(&side->file.identity, derivation_identity(derived_derivation(side->derived)), err);
}

static void side_close(struct side *side)
{
    derived_close(side->derived);
    receipt_file_deinit(&side->file);
}

/* Oneself: with the settings of the first receipt. */
static enum sorex_status own_open(const struct arguments *arguments, const struct receipt_file *file,
                                  struct derivation **out, struct sorex_error *err)
{
    struct derive_settings settings = {0};
    struct buf wasm = {0};
    char cache[PATH_MAX];
    if (arguments->log == NULL && arguments->reducer == NULL)
        return SOREX_OK;
    if (arguments->log == NULL || arguments->reducer == NULL)
        return sorex_error_set(err, SOREX_INVALID, "--log and --reducer go together");
    TRY(derive_settings_of(buf_view(&file->identity), &settings, err));
    struct derivation_options options = derive_settings_derivation(&settings);
    options.cache_dir = home_cache(cache) ? cache : NULL;
    enum sorex_status status = reducer_read(arguments->reducer, &wasm, err);
    if (status == SOREX_OK)
        status = derivation_new(buf_view(&wasm), &options, out, err);
    buf_deinit(&wasm);
    return status;
}

static enum sorex_status bisect(const struct arguments *arguments, struct side sides[2], bool *out_equal,
                                struct sorex_error *err)
{
    struct derivation *derivation = NULL;
    struct bisect_party parties[2];
    struct bisect_result result;
    struct buf report = {0};
    for (int i = 0; i < 2; i++) {
        TRY(side_open(arguments->words[i], &sides[i], err));
        parties[i] = (struct bisect_party){.name = arguments->words[i],
                                           .file = &sides[i].file,
                                           .witness = sides[i].derived != NULL ? &sides[i].witness : NULL};
    }
    TRY(own_open(arguments, &sides[0].file, &derivation, err));
    const struct witness own = {.derivation = derivation, .log = arguments->log};
    enum sorex_status status = bisect_run(parties, derivation != NULL ? &own : NULL, &report, &result, err);
    if (report.len > 0)
        (void)fwrite(report.data, 1, report.len, stdout);
    *out_equal = status == SOREX_OK && result.equal;
    buf_deinit(&report);
    derivation_free(derivation);
    return status;
}

static int bisect_verb_run(struct arguments *arguments)
{
    static struct side sides[2];
    struct sorex_error err = {0};
    bool equal = false;
    enum sorex_status status = bisect(arguments, sides, &equal, &err);
    side_close(&sides[0]);
    side_close(&sides[1]);
    if (status != SOREX_OK)
        return cli_fail(&err);
    return equal ? EXIT_OK_CODE : EXIT_DIFFERS_CODE;
}

const struct verb verb_bisect = {
    .name = "bisect",
    .summary = "the first message, statement and rows where two derivations part",
    .usage = "A B [--log FILE --reducer FILE]",
    .flags = "log reducer",
    .words_min = 2,
    .words_max = 2,
    .about =
        "A and B are receipts, or directories of derived databases. Their traces tell between which messages they "
        "part; "
        "receipts\n"
        "of that interval tell it closer, and so on to the message, of which the first statement or result that "
        "differs is\n"
        "printed, and the rows that do.\n\n"
        "A directory is asked for what is needed. For a party that sent a receipt only, --log and --reducer derive "
        "again, as far\n"
        "as that gives what its receipt says; beyond, bisect says which receipt has to be asked for (`sorex derive "
        "--receipt FILE\n"
        "--from N --to M`), and is run again with that. Exit code 9 when they part.",
    .example = "sorex bisect a.receipt b.receipt --log game.jsonl --reducer dnd.wasm",
    .run = bisect_verb_run,
};
