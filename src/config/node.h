/* A YAML (hence JSON) document as a tree that remembers lines. Source: YAML 1.1 as libyaml reads it; anchors, aliases and tags other
 * than the defaults are refused; duplicate keys are an error. */
#ifndef SOREX_CONFIG_NODE_H
#define SOREX_CONFIG_NODE_H

#include "base/bytes.h"

/* A pipeline file is written by hand: these are far above any, and keep a hostile one cheap (duplicate keys are found by comparing
 * every two keys of a mapping). */
#define CONFIG_BYTES_MAX ((size_t)1 << 20)
#define CONFIG_NODES_MAX 10000u
#define CONFIG_DEPTH_MAX 32u

enum config_kind { CONFIG_SCALAR, CONFIG_MAPPING, CONFIG_LIST };

struct config_node {
    enum config_kind kind;
    const char *file;               /* name for messages; config_parse keeps a copy in the root */
    unsigned line, column;          /* 1-based; 0 = not from a file (a flag, the environment): left out of messages */
    char *key;                      /* when the parent is a mapping */
    char *text;                     /* scalar, NUL-terminated */
    bool quoted;                    /* scalar was quoted: a string even when it looks like a number, "" is not null */
    struct config_node *first;      /* children in document order */
    struct config_node *next;       /* sibling */
};

/* Reads one document. *out is NULL after a failure.
 * Errors:    SOREX_INVALID with "FILE:LINE:COLUMN: reason"; SOREX_LIMIT above a maximum; SOREX_NOMEM; config_read_file: SOREX_IO too.
 * Ownership: free with config_free (which takes NULL). */
enum sorex_status config_parse(struct bytes text, const char *file, struct config_node **out, struct sorex_error *err);
enum sorex_status config_read_file(const char *path, struct config_node **out, struct sorex_error *err);
void config_free(struct config_node *root);

/* The value of a key, or NULL; also when mapping is NULL or no mapping. */
const struct config_node *config_get(const struct config_node *mapping, const char *key);
/* True for ~, null and nothing at all, unquoted. */
bool config_is_null(const struct config_node *node);
/* "text", "a mapping" or "a list", for messages. */
const char *config_kind_name(enum config_kind kind);

/* Sets err to "FILE:LINE: text" and returns status. */
enum sorex_status config_error(struct sorex_error *err, const struct config_node *node, enum sorex_status status,
                               const char *format, ...) SOREX_PRINTF(4, 5);

#endif
