/* A part of the pipeline file as JSON text, for guests that get their configuration so. */
#ifndef SOREX_PIPELINE_CONFIG_JSON_H
#define SOREX_PIPELINE_CONFIG_JSON_H

#include "config/node.h"
#include "json/json.h"

/* Appends the node: members in the order in which they are written. A scalar in quotes is a string; without, null (~ or
 * nothing too), true, false and JSON's numbers are what they look like, and all else is a string.
 * Errors: SOREX_NOMEM. */
enum sorex_status config_json(const struct config_node *node, struct json_parser *parser, struct buf *out,
                              struct sorex_error *err);

#endif
