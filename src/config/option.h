/* Option tables: one row per setting feeds the YAML/JSON parser, environment, flags, --help and the reference. */
#ifndef SOREX_CONFIG_OPTION_H
#define SOREX_CONFIG_OPTION_H

#include "base/bytes.h"

enum option_type {
    OPTION_BOOL,     /* bool */
    OPTION_U32,      /* uint32_t */
    OPTION_U64,      /* uint64_t */
    OPTION_BYTES,    /* uint64_t; "64 MiB", "1GB", plain number */
    OPTION_MS,       /* uint32_t milliseconds; "500ms", "2s", "1m", plain number = ms */
    OPTION_STRING,   /* char *, owned by the settings struct */
    OPTION_PATH,     /* char *, owned; relative paths are resolved against the pipeline file's folder */
    OPTION_ENUM,     /* int; choices says the words, in the order of the values */
    OPTION_NODE,     /* const struct config_node *, borrowed: a mapping or list that the component reads itself */
};

struct option {
    const char *name;        /* "url"; NULL ends a table */
    enum option_type type;
    size_t offset;           /* offsetof(struct ..._settings, field) */
    const char *fallback;    /* default as text, or NULL: zero/absent */
    bool required;
    uint64_t min, max;       /* numbers; max 0 = no bound */
    const char *const *choices; /* OPTION_ENUM, NULL-terminated */
    const char *text;        /* one line for --help and the reference; starts lower case, no full stop */
};

struct config_node;

/* Size of a settings struct is the caller's; it must be zeroed. Fills it from the defaults, then from the mapping node (NULL: none).
 * path: where we are, for messages ("sinks[0]"). Unknown keys: SOREX_INVALID with file, line and the nearest name. */
enum sorex_status options_read(const struct option *options, const struct config_node *node, const char *path,
                               const char *base_dir, void *settings, struct sorex_error *err);
/* Frees the strings that options_read made. */
void options_free(const struct option *options, void *settings);
/* One option from text (flags, environment). */
enum sorex_status option_set(const struct option *option, struct bytes text, const char *where, const char *base_dir,
                             void *settings, struct sorex_error *err);
/* Appends aligned help lines: "  name   TYPE   text (default: x)". */
enum sorex_status options_help(const struct option *options, struct buf *out, struct sorex_error *err);
/* Appends a Markdown table for the reference. */
enum sorex_status options_markdown(const struct option *options, struct buf *out, struct sorex_error *err);

/* The candidate nearest to word by edit distance, or NULL when none is near (distance above a third of its length + 1). */
const char *nearest_name(struct bytes word, const char *const *candidates);

#endif
