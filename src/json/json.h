/* JSON reading, over simdjson (json.cpp is the only file that includes it). One parse makes a flat array of nodes in document
 * order; slices of the source text are kept, so number text and field order survive. See json/writer.h for the other way. */
#ifndef SOREX_JSON_JSON_H
#define SOREX_JSON_JSON_H

#include "base/arena.h"
#include "base/bytes.h"

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_node {
    enum json_kind kind;
    bool boolean;          /* JSON_BOOL */
    struct bytes raw;      /* the value's own text, without white space around it; borrowed from the parsed text */
    struct bytes text;     /* JSON_STRING: decoded UTF-8; JSON_NUMBER: as raw */
    struct bytes key;      /* decoded member name when the parent is an object */
    uint32_t children;     /* number of elements or members */
    uint32_t next;         /* index of the next sibling, or 0 when it is the last */
    uint32_t first;        /* index of the first child, or 0 when there is none */
    uint32_t order;        /* private: where json_doc.order has a large object's members sorted by name, plus 1; 0 = not sorted */
};

struct json_parser; /* reusable; one thread at a time */

struct json_doc {
    const struct json_node *nodes; /* nodes[0] is the root */
    uint32_t count;
    const uint32_t *order;         /* private, see json_node.order */
    uint32_t depth;                /* of its deepest container; 0: the root is none */
    bool compact;                  /* no white space outside of strings */
    bool escapes;                  /* a string or name may have an escape */
};

enum sorex_status json_parser_new(struct json_parser **out, struct sorex_error *err);
void json_parser_free(struct json_parser *parser);

/* Parses exactly one JSON value (RFC 8259; trailing text is an error). Duplicate names in one object are an error.
 *
 * text       borrowed as long as the document is used (raw slices point into it). No padding needed.
 * Ownership: *out_doc borrows from the parser, valid until its next parse or free.
 * Errors:    SOREX_INVALID with the reason and byte offset; SOREX_LIMIT deeper than SOREX_JSON_DEPTH_MAX; SOREX_NOMEM. */
enum sorex_status json_parse(struct json_parser *parser, struct bytes text, struct json_doc *out_doc, struct sorex_error *err);

/* Member of an object by name; NULL when absent or when node is no object. O(log members) in large objects. */
const struct json_node *json_member(const struct json_doc *doc, const struct json_node *node, const char *name);
const struct json_node *json_member_bytes(const struct json_doc *doc, const struct json_node *node, struct bytes name);
/* First child and next sibling; NULL at the end. */
const struct json_node *json_first(const struct json_doc *doc, const struct json_node *node);
const struct json_node *json_next(const struct json_doc *doc, const struct json_node *node);

/* Copies a value and its members or elements, so that they outlive the parser's next parse; of values nested in those only kind
 * and raw text are kept. Slices of `text`, which was parsed, stay slices of it.
 * Errors:    SOREX_NOMEM. */
enum sorex_status json_shallow_copy(const struct json_doc *doc, const struct json_node *node, struct bytes text, struct arena *arena,
                                    struct json_doc *out, struct sorex_error *err);

/* Exact integers only: false for fractions, exponents, overflow or another kind. */
bool json_u64(const struct json_node *node, uint64_t *out);
bool json_i64(const struct json_node *node, int64_t *out);

#endif
