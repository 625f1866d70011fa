/* A YAML (hence JSON) document as a tree that remembers lines. Source: YAML 1.1 as libyaml reads it; anchors, aliases and tags other
 * than the defaults are refused; duplicate keys are an error. */
#ifndef SOREX_CONFIG_NODE_H
#define SOREX_CONFIG_NODE_H

#include "base/bytes.h"

enum config_kind { CONFIG_SCALAR, CONFIG_MAPPING, CONFIG_LIST };

struct config_node {
    enum config_kind kind;
    const char *file;               /* name for messages */
    unsigned line, column;          /* 1-based */
    char *key;                      /* when the parent is a mapping */
    char *text;                     /* scalar, NUL-terminated */
    bool quoted;                    /* scalar was quoted: a string even when it looks like a number, "" is not null */
    struct config_node *first;      /* children in document order */
    struct config_node *next;       /* sibling */
};

/* Errors: SOREX_INVALID with "FILE:LINE:COLUMN: reason". Ownership: free with config_free. */
enum sorex_status config_parse(struct bytes text, const char *file, struct config_node **out, struct sorex_error *err);
enum sorex_status config_read_file(const char *path, struct config_node **out, struct sorex_error *err);
void config_free(struct config_node *root);

const struct config_node *config_get(const struct config_node *mapping, const char *key);
/* True for ~, null and nothing at all, unquoted. */
bool config_is_null(const struct config_node *node);

/* Sets err to "FILE:LINE: text" and returns status. */
enum sorex_status config_error(struct sorex_error *err, const struct config_node *node, enum sorex_status status,
                               const char *format, ...) SOREX_PRINTF(4, 5);

#endif
