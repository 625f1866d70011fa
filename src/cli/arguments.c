#include "cli/arguments.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"

enum flag_kind { FLAG_BOOL, FLAG_TEXT, FLAG_LIST, FLAG_SET };

struct flag {
    const char *name;
    enum flag_kind kind;
    size_t offset;       /* in struct arguments */
    size_t count_offset; /* FLAG_LIST */
    const char *argument;
    const char *text;
};

#define AT(field) offsetof(struct arguments, field)

static const struct flag flags[] = {
    {"data", FLAG_TEXT, AT(data), 0, "DIR", "the data directory, instead of a pipeline file"},
    {"program", FLAG_TEXT, AT(program), 0, "NAME", "name of the program in the pipeline"},
    {"forget-sink", FLAG_TEXT, AT(forget_sink), 0, "NAME", "let go of a sink that left the pipeline file"},
    {"height", FLAG_TEXT, AT(height), 0, "H", "as of this height (default: the newest durable one)"},
    {"prefix", FLAG_TEXT, AT(prefix), 0, "HEX", "only keys that start with these bytes"},
    {"until", FLAG_TEXT, AT(until), 0, "H", "end after this height, sinks drained; \"tip\": when the source has no more"},
    {"from", FLAG_TEXT, AT(from), 0, "H", "the first height"},
    {"to", FLAG_TEXT, AT(to), 0, "H", "the height that remains; for replay the last one"},
    {"block", FLAG_LIST, AT(blocks), AT(block_count), "FILE", "a raw block; for try FILE@HEIGHT, repeatable"},
    {"view", FLAG_LIST, AT(views), AT(view_count), "NAME:HEX", "run a view after the last block; repeatable"},
    {"fuel", FLAG_TEXT, AT(fuel), 0, "N", "meter the guest and stop it after N units (default: not metered)"},
    {"memory-max", FLAG_TEXT, AT(memory_max), 0, "SIZE", "limit of the guest's memory (default: 4 GiB less one page)"},
    {"pipeline", FLAG_TEXT, AT(pipeline), 0, "FILE", "the pipeline whose programs and blocks are played"},
    {"seed", FLAG_TEXT, AT(seed), 0, "N", "of the first history; the next one has the next seed (default: 1)"},
    {"runs", FLAG_TEXT, AT(runs), 0, "N", "histories (default: 1000; with a pipeline: 1)"},
    {"steps", FLAG_TEXT, AT(steps), 0, "N", "steps of a history (default: 25; with a pipeline: 100)"},
    {"table", FLAG_TEXT, AT(table), 0, "NAME", "only rows of this table"},
    {"by", FLAG_TEXT, AT(by), 0, "MEMBER", "largest first, by this member of the row"},
    {"limit", FLAG_TEXT, AT(limit), 0, "N", "rows to show (default: 10)"},
    {"text", FLAG_BOOL, AT(text), 0, NULL, "print the result's bytes as they are, instead of hex"},
    {"set", FLAG_SET, 0, 0, "PATH=VALUE", "override a setting, as in source.url=http://127.0.0.1:8332; repeatable"},
    {"json", FLAG_BOOL, AT(json), 0, NULL, "for machines: JSON"},
    {"help", FLAG_BOOL, AT(help), 0, NULL, "this text"},
};
#define FLAG_COUNT (sizeof flags / sizeof flags[0])

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

static bool verb_takes_options(const struct verb *verb)
{
    return strchr(verb->flags, '*') != NULL;
}

static void flag_name(const struct option *option, char *out, size_t size)
{
    (void)snprintf(out, size, "%s", option->name);
    for (char *c = out; *c != '\0'; c++)
        if (*c == '_')
            *c = '-';
}

static enum sorex_status unknown_flag(const struct verb *verb, struct bytes name, struct sorex_error *err)
{
    const char *names[64];
    static char option_names[32][32];
    size_t n = 0;
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (verb_takes(verb, flags[i].name))
            names[n++] = flags[i].name;
    if (verb_takes_options(verb))
        for (size_t i = 0; pipeline_options[i].name != NULL && i < 32 && n < 63; i++) {
            flag_name(&pipeline_options[i], option_names[i], sizeof option_names[i]);
            names[n++] = option_names[i];
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
        if (count == ARGUMENTS_LIST_MAX)
            return sorex_error_set(err, SOREX_LIMIT, "--%s more than %d times", flag->name, ARGUMENTS_LIST_MAX);
        memcpy(base + flag->offset + count * sizeof text, &text, sizeof text);
        count++;
        memcpy(base + flag->count_offset, &count, sizeof count);
        return SOREX_OK;
    }
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
    const struct flag *flag = NULL;
    const struct option *option = NULL;
    for (size_t i = 0; i < FLAG_COUNT && flag == NULL; i++)
        if (bytes_is(name, flags[i].name) && verb_takes(verb, flags[i].name))
            flag = &flags[i];
    for (size_t i = 0; flag == NULL && option == NULL && verb_takes_options(verb) && pipeline_options[i].name != NULL; i++) {
        char spelled[64];
        flag_name(&pipeline_options[i], spelled, sizeof spelled);
        if ((bytes_is(name, spelled) || bytes_is(name, pipeline_options[i].name)) && pipeline_options[i].type != OPTION_NODE)
            option = &pipeline_options[i];
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
        } else if (out->word_count < verb->words_max) {
            out->words[out->word_count++] = argv[at];
        } else
            return sorex_error_set(err, SOREX_INVALID, "unexpected \"%s\"; usage: sorex %s %s", argv[at], verb->name, verb->usage);
    }
    if (!out->help && out->word_count < verb->words_min)
        return sorex_error_set(err, SOREX_INVALID, "something is missing; usage: sorex %s %s", verb->name, verb->usage);
    return SOREX_OK;
}

void arguments_help(const struct verb *verb)
{
    printf("sorex %s: %s\n\nusage: sorex %s %s\n\n%s\n\n", verb->name, verb->summary, verb->name, verb->usage, verb->about);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (!verb_takes(verb, flags[i].name))
            continue;
        char left[40];
        (void)snprintf(left, sizeof left, "--%s%s%s", flags[i].name, flags[i].argument != NULL ? " " : "",
                       flags[i].argument != NULL ? flags[i].argument : "");
        printf("  %-24s %s\n", left, flags[i].text);
    }
    if (verb_takes_options(verb)) {
        printf("\nTop-level settings of the pipeline file, as flags:\n");
        for (size_t i = 0; pipeline_options[i].name != NULL; i++) {
            char name[64];
            if (pipeline_options[i].type == OPTION_NODE || strcmp(pipeline_options[i].name, "data") == 0)
                continue;
            flag_name(&pipeline_options[i], name, sizeof name);
            printf("  --%-22s %s\n", name, pipeline_options[i].text);
        }
    }
    printf("\nexample:\n  %s\n", verb->example);
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
