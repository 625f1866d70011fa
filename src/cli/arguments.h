/* The command line of one verb: flags from a table, positional words, overrides for the pipeline file. */
#ifndef SOREX_CLI_ARGUMENTS_H
#define SOREX_CLI_ARGUMENTS_H

#include "base/bytes.h"
#include "pipeline/settings.h"

#define ARGUMENTS_WORDS_MAX 4
#define ARGUMENTS_LIST_MAX 4096
#define ARGUMENTS_OVERRIDES_MAX 64
#define ARGUMENTS_STAGES_MAX 16
#define ARGUMENTS_INPUTS_MAX 256

struct arguments {
    const char *words[ARGUMENTS_WORDS_MAX];
    size_t word_count;
    const char *data;
    const char *program;
    const char *forget_sink;
    const char *prefix;
    const char *table;
    const char *by;
    const char *height;
    const char *until;
    const char *from, *to;
    const char *limit;
    const char *blocks[ARGUMENTS_LIST_MAX];
    size_t block_count;
    const char *views[ARGUMENTS_LIST_MAX];
    size_t view_count;
    const char *fuel, *memory_max;
    const char *pipeline, *seed, *runs, *steps;
    const char *wasm[ARGUMENTS_STAGES_MAX], *config[ARGUMENTS_STAGES_MAX]; /* config[i] belongs to wasm[i]; NULL = none */
    size_t wasm_count;
    const char *image, *at, *sink;
    const char *postgres, *connections, *statement_timeout;
    bool remote;
    struct arguments_input {
        const char *text;
        bool file; /* its name, instead of statements */
    } inputs[ARGUMENTS_INPUTS_MAX]; /* in the order of the command line */
    size_t input_count;
    const char *reducer, *log, *receipt, *query, *export_file, *import_file, *trust, *message, *author, *time;
    bool follow;
    bool scratch, csv, expanded, tuples_only, timing, quiet, keep_going;
    bool json, text, help;
    struct pipeline_override overrides[ARGUMENTS_OVERRIDES_MAX];
    size_t override_count;
};

struct verb {
    const char *name;
    const char *summary;   /* one line */
    const char *usage;     /* what stands behind the verb's name */
    const char *flags;     /* names of the flags that it takes, separated by spaces */
    const struct option *options; /* settings that are flags too and come as overrides; NULL = none */
    const char *options_title;    /* over them in --help */
    size_t words_min, words_max;
    bool letters;          /* some of its flags are known by a letter too; else -x is a word */
    const char *about;     /* paragraphs for --help */
    const char *example;
    int (*run)(struct arguments *arguments); /* exit code */
};

extern const struct verb *const verbs[]; /* ends with NULL; order of --help */

/* Errors: SOREX_INVALID with the word and the nearest flag. */
enum sorex_status arguments_parse(const struct verb *verb, int argc, char **argv, struct arguments *out, struct sorex_error *err);
/* Prints the verb's help to standard output. */
enum sorex_status arguments_help(const struct verb *verb, struct sorex_error *err);

/* Sets what flags said of a verb's options (verb.options) in the settings that these describe.
 * Errors: SOREX_INVALID with the flag. */
enum sorex_status arguments_override(const struct arguments *arguments, const struct option *options, void *settings,
                                     struct sorex_error *err);

/* A height given as text; SOREX_HEIGHT_NONE when text is NULL or "latest". */
enum sorex_status height_parse(const char *flag, const char *text, uint32_t *out, struct sorex_error *err);

#endif
