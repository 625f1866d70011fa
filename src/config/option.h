/* Option tables: one row per setting feeds the YAML/JSON parser, environment, flags, --help and the reference. */
#ifndef SOREX_CONFIG_OPTION_H
#define SOREX_CONFIG_OPTION_H

#include "base/bytes.h"
#include "config/nearest.h"

enum option_type {
    OPTION_BOOL,     /* bool */
    OPTION_U32,      /* uint32_t */
    OPTION_U64,      /* uint64_t */
    OPTION_BYTES,    /* uint64_t; "64 MiB", "1GB", plain number */
    OPTION_MS,       /* uint32_t milliseconds; "500ms", "2s", "1m", plain number = ms */
    OPTION_STRING,   /* char *, owned by the settings struct */
    OPTION_PATH,     /* char *, owned; relative paths are resolved against the pipeline file's folder; "-" stays */
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
 * A key whose value is null counts as absent. path: where we are, for messages ("sinks[0]", "" at the top).
 * Errors:    SOREX_INVALID with file and line; for an unknown key also the nearest name, or the known ones.
 * Ownership: strings belong to *settings until options_free; after a failure there are none. */
enum sorex_status options_read(const struct option *options, const struct config_node *node, const char *path,
                               const char *base_dir, void *settings, struct sorex_error *err);
/* For a mapping that two tables are read from, each without the other one's keys.
 * Errors: SOREX_INVALID for a key that neither has, as above. */
enum sorex_status options_known(const struct option *options, const struct option *more, const struct config_node *node,
                                const char *path, struct sorex_error *err);
/* Frees the strings that options_read and option_set made, leaving NULL. */
void options_free(const struct option *options, void *settings);
/* One option from text (flags, environment); replaces the value that is there. where: put in front of a message ("--data").
 * base_dir: what a relative OPTION_PATH is relative to; NULL, "" and ".": as it is.
 * Errors: SOREX_INVALID, settings unchanged; also for OPTION_NODE. */
enum sorex_status option_set(const struct option *option, struct bytes text, const char *where, const char *base_dir,
                             void *settings, struct sorex_error *err);
/* The row of that name, or NULL. */
const struct option *option_find(const struct option *options, const char *name);

/* A value of a number type the way users write it: "64 MiB", "2s", "100". */
#define OPTION_NUMBER_SIZE 32
void option_number_text(enum option_type type, uint64_t value, char out[OPTION_NUMBER_SIZE]);

/* "--poll-ms". */
#define OPTION_FLAG_SIZE 64
void option_flag_name(const struct option *option, char out[OPTION_FLAG_SIZE]);
/* Appends lines for --help, of what can be a flag (sections cannot): "  --name TYPE    text (values; default: x)". */
enum sorex_status options_help(const struct option *options, struct buf *out, struct sorex_error *err);
/* Appends a Markdown table for the reference. */
enum sorex_status options_markdown(const struct option *options, struct buf *out, struct sorex_error *err);

#endif
