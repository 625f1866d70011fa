#include "cli/arguments.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"

enum flag_kind { FLAG_BOOL, FLAG_TEXT, FLAG_LIST, FLAG_LATEST, FLAG_SET, FLAG_STATEMENT, FLAG_FILE };

struct flag {
    const char *name;
    enum flag_kind kind;
    size_t offset;       /* in struct arguments */
    size_t count_offset; /* FLAG_LIST; FLAG_LATEST: of the list to whose last element it belongs */
    size_t count_max;
    const char *argument;
    const char *text;
    const char *verb; /* whose flag of that name this is; NULL: everybody else's */
};

#define AT(field) offsetof(struct arguments, field)

static const struct flag flags[] = {
    {"data", FLAG_TEXT, AT(data), 0, 0, "DIR", "the directory of the derived database, made where it is not there", "derive"},
    {"data", FLAG_TEXT, AT(data), 0, 0, "DIR", "the directory of a derived database, whose log and reducer are taken", "verify"},
    {"data", FLAG_TEXT, AT(data), 0, 0, "DIR", "the data directory, instead of a pipeline file", NULL},
    {"reducer", FLAG_TEXT, AT(reducer), 0, 0, "FILE", "the reducer's module (default: the directory's)", "derive"},
    {"reducer", FLAG_TEXT, AT(reducer), 0, 0, "FILE", "the reducer's module", NULL},
    {"log", FLAG_TEXT, AT(log), 0, 0, "FILE", "the messages: JSON lines or frames; -: standard input", NULL},
    {"follow", FLAG_BOOL, AT(follow), 0, 0, NULL, "wait at the end of the log for more", NULL},
    {"receipt", FLAG_TEXT, AT(receipt), 0, 0, "FILE", "write a receipt there: what was derived, as hashes", "derive"},
    {"receipt", FLAG_TEXT, AT(receipt), 0, 0, "FILE", "what has to be so", NULL},
    {"query", FLAG_TEXT, AT(query), 0, 0, "SQL", "of which the receipt has the result, as who has won", NULL},
    {"export", FLAG_TEXT, AT(export_file), 0, 0, "FILE", "write the database with all that belongs to it there", NULL},
    {"import", FLAG_TEXT, AT(import_file), 0, 0, "FILE", "make the directory of what --export wrote", NULL},
    {"trust", FLAG_TEXT, AT(trust), 0, 0, "FILE", "import only what this receipt says", NULL},
    {"message", FLAG_TEXT, AT(message), 0, 0, "JSON", "the payload of a message that might come", NULL},
    {"author", FLAG_TEXT, AT(author), 0, 0, "TEXT", "who sends it (default: nobody)", NULL},
    {"time", FLAG_TEXT, AT(time), 0, 0, "TIME", "when: milliseconds since 1970, or 2023-11-14T22:13:20Z (default: when the last one came)", NULL},
    {"program", FLAG_TEXT, AT(program), 0, 0, "NAME", "name of the program in the pipeline", NULL},
    {"forget-sink", FLAG_TEXT, AT(forget_sink), 0, 0, "NAME", "let go of a sink that left the pipeline file", NULL},
    {"height", FLAG_TEXT, AT(height), 0, 0, "H", "as of this height (default: the newest durable one)", NULL},
    {"prefix", FLAG_TEXT, AT(prefix), 0, 0, "HEX", "only keys that start with these bytes", NULL},
    {"until", FLAG_TEXT, AT(until), 0, 0, "H", "end after this height, sinks drained; \"tip\": when the source has no more", NULL},
    {"from", FLAG_TEXT, AT(from), 0, 0, "N", "the receipt is of the messages after the Nth (default: 0)", "derive"},
    {"to", FLAG_TEXT, AT(to), 0, 0, "N", "... up to the Nth (default: the newest)", "derive"},
    {"to", FLAG_TEXT, AT(to), 0, 0, "FORM", "write the log to standard output, as lines or frames", "messages"},
    {"from", FLAG_TEXT, AT(from), 0, 0, "H", "the first height (default: the lowest retained one)", NULL},
    {"to", FLAG_TEXT, AT(to), 0, 0, "H", "the last height (default: the newest one)", "replay"},
    {"to", FLAG_TEXT, AT(to), 0, 0, "H", "the height that remains", NULL},
    {"block", FLAG_LIST, AT(blocks), AT(block_count), ARGUMENTS_LIST_MAX, "FILE@HEIGHT", "a raw block and its height; repeatable", "try"},
    {"block", FLAG_LIST, AT(blocks), AT(block_count), ARGUMENTS_LIST_MAX, "FILE", "a raw block", NULL},
    {"view", FLAG_LIST, AT(views), AT(view_count), ARGUMENTS_LIST_MAX, "NAME:HEX", "run a view after the last block; repeatable", NULL},
    {"fuel", FLAG_TEXT, AT(fuel), 0, 0, "N", "meter the guest and stop it after N units (default: not metered)", NULL},
    {"memory-max", FLAG_TEXT, AT(memory_max), 0, 0, "SIZE", "limit of the guest's memory (default: 4 GiB less one page)", NULL},
    {"pipeline", FLAG_TEXT, AT(pipeline), 0, 0, "FILE", "the pipeline whose programs and blocks are played", NULL},
    {"seed", FLAG_TEXT, AT(seed), 0, 0, "N", "of the first history; the next one has the next seed (default: 1)", NULL},
    {"runs", FLAG_TEXT, AT(runs), 0, 0, "N", "histories (default: 1000; with a pipeline: 1)", NULL},
    {"steps", FLAG_TEXT, AT(steps), 0, 0, "N", "steps of a history (default: 25; with a pipeline: 100)", NULL},
    {"table", FLAG_TEXT, AT(table), 0, 0, "NAME", "only rows of this table", NULL},
    {"by", FLAG_TEXT, AT(by), 0, 0, "MEMBER", "largest first, by this member of the row", NULL},
    {"limit", FLAG_TEXT, AT(limit), 0, 0, "N", "rows to show (default: 10)", NULL},
    {"wasm", FLAG_LIST, AT(wasm), AT(wasm_count), ARGUMENTS_STAGES_MAX, "FILE", "a filter; several are stages, in this order", NULL},
    {"config", FLAG_LATEST, AT(config), AT(wasm_count), 0, "JSON", "given to init of the filter before it", NULL},
    {"text", FLAG_BOOL, AT(text), 0, 0, NULL, "print the result's bytes as they are, instead of hex", NULL},
    {"command", FLAG_STATEMENT, 0, 0, 0, "SQL", "execute this and end; repeatable", NULL},
    {"file", FLAG_FILE, 0, 0, 0, "FILE", "execute a file and end (-: standard input); repeatable", NULL},
    {"at", FLAG_TEXT, AT(at), 0, 0, "N", "with a derived database: after its Nth message (default: the newest)", "preview"},
    {"at", FLAG_TEXT, AT(at), 0, 0, "H", "the state after this height (default: the newest durable one)", NULL},
    {"sink", FLAG_TEXT, AT(sink), 0, 0, "NAME", "sink or reducer whose database it is, where a pipeline has several", NULL},
    {"image", FLAG_TEXT, AT(image), 0, 0, "FILE", "a database that was exported, instead of a pipeline's", NULL},
    {"scratch", FLAG_BOOL, AT(scratch), 0, 0, NULL, "an empty database, instead of a pipeline's", NULL},
    {"csv", FLAG_BOOL, AT(csv), 0, 0, NULL, "results as CSV", NULL},
    {"expanded", FLAG_BOOL, AT(expanded), 0, 0, NULL, "one line for each value, instead of for each row", NULL},
    {"tuples-only", FLAG_BOOL, AT(tuples_only), 0, 0, NULL, "rows only: no headers, no counts", NULL},
    {"timing", FLAG_BOOL, AT(timing), 0, 0, NULL, "say how long statements take", NULL},
    {"quiet", FLAG_BOOL, AT(quiet), 0, 0, NULL, "results only: no CREATE TABLE, INSERT 0 1, ...", NULL},
    {"keep-going", FLAG_BOOL, AT(keep_going), 0, 0, NULL, "go on after a statement that failed (the exit code tells)", NULL},
    {"json", FLAG_BOOL, AT(json), 0, 0, NULL, "results as JSON, an object a line", "sql"},
    {"postgres", FLAG_TEXT, AT(postgres), 0, 0, "ADDRESS", "HOST:PORT, PORT of 127.0.0.1, or the path of a Unix socket (default: the file's, or 127.0.0.1:5433)", NULL},
    {"remote", FLAG_BOOL, AT(remote), 0, 0, NULL, "the address may be one that other machines reach: nobody is asked for a password", NULL},
    {"connections", FLAG_TEXT, AT(connections), 0, 0, "N", "sessions at the same time (default: 100)", NULL},
    {"statement-timeout", FLAG_TEXT, AT(statement_timeout), 0, 0, "TIME", "cancel statements that take longer, as in 30s (default: never)", NULL},
    {"set", FLAG_SET, 0, 0, 0, "PATH=VALUE", "override a setting, as in source.url=http://127.0.0.1:8332; repeatable", NULL},
    {"json", FLAG_BOOL, AT(json), 0, 0, NULL, "for machines: JSON", NULL},
    {"help", FLAG_BOOL, AT(help), 0, 0, NULL, "this text", NULL},
};
#define FLAG_COUNT (sizeof flags / sizeof flags[0])

/* Short for flags of verbs that have letters. */
static const struct letter {
    char letter;
    const char *name;
} letters[] = {{'c', "command"}, {'f', "file"}, {'q', "quiet"}, {'t', "tuples-only"}, {'x', "expanded"}};
#define LETTER_COUNT (sizeof letters / sizeof letters[0])

static bool verb_takes(const struct verb *verb, const char *name)
{
    if (strcmp(name, "help") == 0)
        return true;
    size_t len = strlen(name);
    for (const char *at = verb->flags; (at = strstr(at, name)) != NULL; at += len)
        if ((at == verb->flags || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    return false;
}

/* The row for this verb: its own before everybody's. */
static const struct flag *flag_find(const struct verb *verb, struct bytes name)
{
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (bytes_is(name, flags[i].name) && (flags[i].verb == NULL || strcmp(flags[i].verb, verb->name) == 0))
            return verb_takes(verb, flags[i].name) ? &flags[i] : NULL;
    return NULL;
}

static bool verb_takes_options(const struct verb *verb)
{
    return verb->options != NULL;
}

static enum sorex_status unknown_flag(const struct verb *verb, struct bytes name, struct sorex_error *err)
{
    const char *names[64];
    static char option_names[32][OPTION_FLAG_SIZE];
    size_t n = 0;
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (verb_takes(verb, flags[i].name))
            names[n++] = flags[i].name;
    if (verb_takes_options(verb))
        for (size_t i = 0; verb->options[i].name != NULL && i < 32 && n < 63; i++) {
            option_flag_name(&verb->options[i], option_names[i]);
            names[n++] = option_names[i] + 2;
        }
    names[n] = NULL;
    const char *near = nearest_name(name, names);
    return sorex_error_set(err, SOREX_INVALID, "sorex %s has no flag --%.*s%s%s%s", verb->name, BYTES_FMT(name),
                           near != NULL ? "; did you mean --" : "", near != NULL ? near : "", near != NULL ? "?" : "");
}

static enum sorex_status override_add(struct arguments *out, const char *path, const char *value, struct sorex_error *err)
{
    if (out->override_count == ARGUMENTS_OVERRIDES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "more than %d settings on the command line", ARGUMENTS_OVERRIDES_MAX);
    out->overrides[out->override_count++] = (struct pipeline_override){.path = path, .value = value};
    return SOREX_OK;
}

static enum sorex_status flag_set(const struct flag *flag, char *value, struct arguments *out, struct sorex_error *err)
{
    char *base = (char *)out;
    const char *text = value;
    switch (flag->kind) {
    case FLAG_BOOL: {
        bool yes = true;
        memcpy(base + flag->offset, &yes, sizeof yes);
        return SOREX_OK;
    }
    case FLAG_TEXT:
        memcpy(base + flag->offset, &text, sizeof text);
        return SOREX_OK;
    case FLAG_LIST: {
        size_t count;
        memcpy(&count, base + flag->count_offset, sizeof count);
        if (count == flag->count_max)
            return sorex_error_set(err, SOREX_LIMIT, "--%s more than %zu times", flag->name, flag->count_max);
        memcpy(base + flag->offset + count * sizeof text, &text, sizeof text);
        count++;
        memcpy(base + flag->count_offset, &count, sizeof count);
        return SOREX_OK;
    }
    case FLAG_LATEST: {
        size_t count;
        memcpy(&count, base + flag->count_offset, sizeof count);
        if (count == 0)
            return sorex_error_set(err, SOREX_INVALID, "--%s stands behind what it belongs to", flag->name);
        memcpy(base + flag->offset + (count - 1) * sizeof text, &text, sizeof text);
        return SOREX_OK;
    }
    case FLAG_STATEMENT:
    case FLAG_FILE:
        if (out->input_count == ARGUMENTS_INPUTS_MAX)
            return sorex_error_set(err, SOREX_LIMIT, "--%s more than %d times", flag->name, ARGUMENTS_INPUTS_MAX);
        out->inputs[out->input_count++] = (struct arguments_input){text, flag->kind == FLAG_FILE};
        return SOREX_OK;
    case FLAG_SET: {
        char *equals = strchr(value, '=');
        if (equals == NULL || equals == value)
            return sorex_error_set(err, SOREX_INVALID, "--set wants PATH=VALUE, not \"%s\"", value);
        *equals = '\0';
        return override_add(out, value, equals + 1, err);
    }
    }
    return SOREX_OK;
}

/* One "--name[=value]"; *at moves over a value in the next word. */
static enum sorex_status flag_parse(const struct verb *verb, int argc, char **argv, int *at, struct arguments *out,
                                    struct sorex_error *err)
{
    char *word = argv[*at] + 2;
    char *equals = strchr(word, '=');
    struct bytes name = bytes_of(word, equals != NULL ? (size_t)(equals - word) : strlen(word));
    const struct flag *flag = flag_find(verb, name);
    const struct option *option = NULL;
    for (size_t i = 0; flag == NULL && option == NULL && verb_takes_options(verb) && verb->options[i].name != NULL; i++) {
        char spelled[OPTION_FLAG_SIZE];
        option_flag_name(&verb->options[i], spelled);
        if ((bytes_is(name, spelled + 2) || bytes_is(name, verb->options[i].name)) && verb->options[i].type != OPTION_NODE)
            option = &verb->options[i];
    }
    if (flag == NULL && option == NULL)
        return unknown_flag(verb, name, err);
    char *value = NULL;
    if (flag == NULL || flag->kind != FLAG_BOOL) {
        value = equals != NULL ? equals + 1 : *at + 1 < argc ? argv[++*at] : NULL;
        if (value == NULL)
            return sorex_error_set(err, SOREX_INVALID, "--%.*s wants a value", BYTES_FMT(name));
    } else if (equals != NULL)
        return sorex_error_set(err, SOREX_INVALID, "--%.*s takes no value", BYTES_FMT(name));
    return flag != NULL ? flag_set(flag, value, out, err) : override_add(out, option->name, value, err);
}

/* One "-x"; *at as above. */
static enum sorex_status letter_parse(const struct verb *verb, int argc, char **argv, int *at, struct arguments *out,
                                      struct sorex_error *err)
{
    char *word = argv[*at], *value = NULL;
    const struct flag *flag = NULL;
    for (size_t i = 0; i < LETTER_COUNT && flag == NULL; i++)
        if (letters[i].letter == word[1])
            flag = flag_find(verb, bytes_str(letters[i].name));
    if (flag == NULL || (flag->kind == FLAG_BOOL && word[2] != '\0'))
        return sorex_error_set(err, SOREX_INVALID, "sorex %s has no flag %s; `sorex %s --help` lists them", verb->name, word,
                               verb->name);
    if (flag->kind != FLAG_BOOL) {
        value = word[2] != '\0' ? word + 2 : *at + 1 < argc ? argv[++*at] : NULL;
        if (value == NULL)
            return sorex_error_set(err, SOREX_INVALID, "%s wants a value", word);
    }
    return flag_set(flag, value, out, err);
}

enum sorex_status arguments_parse(const struct verb *verb, int argc, char **argv, struct arguments *out, struct sorex_error *err)
{
    bool words_only = false;
    for (int at = 0; at < argc; at++) {
        if (!words_only && strcmp(argv[at], "--") == 0) {
            words_only = true;
        } else if (!words_only && strcmp(argv[at], "-h") == 0) {
            out->help = true;
        } else if (!words_only && strncmp(argv[at], "--", 2) == 0) {
            TRY(flag_parse(verb, argc, argv, &at, out, err));
        } else if (!words_only && verb->letters && argv[at][0] == '-' && argv[at][1] != '\0') {
            TRY(letter_parse(verb, argc, argv, &at, out, err));
        } else if (out->word_count < verb->words_max) {
            out->words[out->word_count++] = argv[at];
        } else
            return sorex_error_set(err, SOREX_INVALID, "unexpected \"%s\"; usage: sorex %s %s", argv[at], verb->name, verb->usage);
    }
    if (!out->help && out->word_count < verb->words_min)
        return sorex_error_set(err, SOREX_INVALID, "something is missing; usage: sorex %s %s", verb->name, verb->usage);
    return SOREX_OK;
}

enum sorex_status arguments_help(const struct verb *verb, struct sorex_error *err)
{
    struct buf out = {0};
    const char *usage = verb->usage;
    enum sorex_status status = buf_printf(&out, err, "sorex %s: %s\n\nusage: sorex %s%s%s\n\n%s\n\n", verb->name, verb->summary,
                                          verb->name, usage[0] != '\0' ? " " : "", usage, verb->about);
    for (size_t i = 0; i < FLAG_COUNT && status == SOREX_OK; i++) {
        const struct flag *flag = &flags[i];
        if (flag_find(verb, bytes_str(flag->name)) != flag)
            continue;
        char left[40], letter[8] = "";
        for (size_t l = 0; l < LETTER_COUNT && verb->letters; l++)
            if (strcmp(letters[l].name, flag->name) == 0)
                (void)snprintf(letter, sizeof letter, "-%c, ", letters[l].letter);
        (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, flag->name, flag->argument != NULL ? " " : "",
                       flag->argument != NULL ? flag->argument : "");
        status = buf_printf(&out, err, "  %-24s %s\n", left, flag->text);
    }
    if (status == SOREX_OK && verb_takes_options(verb)) {
        status = buf_printf(&out, err, "\n%s:\n", verb->options_title);
        if (status == SOREX_OK)
            status = options_help(verb->options, &out, err);
    }
    if (status == SOREX_OK)
        status = buf_printf(&out, err, "\nexample:\n  %s\n", verb->example);
    if (status == SOREX_OK)
        (void)fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
    return status;
}

enum sorex_status arguments_override(const struct arguments *arguments, const struct option *options, void *settings,
                                     struct sorex_error *err)
{
    for (size_t i = 0; i < arguments->override_count; i++) {
        const struct pipeline_override *override = &arguments->overrides[i];
        const struct option *option = option_find(options, override->path);
        char flag[OPTION_FLAG_SIZE];
        CHECK(option != NULL); /* arguments_parse found it there */
        option_flag_name(option, flag);
        TRY(option_set(option, bytes_str(override->value), flag, NULL, settings, err));
    }
    return SOREX_OK;
}

enum sorex_status height_parse(const char *flag, const char *text, uint32_t *out, struct sorex_error *err)
{
    *out = SOREX_HEIGHT_NONE;
    if (text == NULL || strcmp(text, "latest") == 0)
        return SOREX_OK;
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || value >= SOREX_HEIGHT_NONE - 1)
        return sorex_error_set(err, SOREX_INVALID, "--%s wants a height, not \"%s\"", flag, text);
    *out = (uint32_t)value;
    return SOREX_OK;
}
