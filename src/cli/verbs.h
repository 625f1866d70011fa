/* The verbs, one file each (verb_ask.c has those that ask a store). */
#ifndef SOREX_CLI_VERBS_H
#define SOREX_CLI_VERBS_H

#include <stdio.h>

#include "cli/arguments.h"
#include "json/writer.h"

extern const struct verb verb_run, verb_try, verb_inspect, verb_check, verb_status, verb_view, verb_preview, verb_rows, verb_state,
    verb_rollback, verb_upgrade, verb_replay, verb_sim, verb_pipe, verb_sql, verb_serve, verb_derive, verb_verify, verb_bisect, verb_messages, verb_reference;

#define PIPELINE_OPTIONS_TITLE                                                                                                          \
    "Top-level settings of the pipeline file, as flags (any other one: --set; all of them: sorex reference)"

/* `sorex preview --message`: of a derived database. */
int preview_message_run(struct arguments *arguments);

/* Prints "sorex: TEXT" to standard error and returns the exit code. */
int cli_fail(const struct sorex_error *err);

/* A document for people's machines: begin, write to w, end. */
struct json_out {
    struct buf text;
    struct json_writer w;
};
void json_out_begin(struct json_out *out, bool pretty, struct sorex_error *err);
/* Prints it with a newline, frees. Errors: what the writer met; nothing is printed then. */
enum sorex_status json_out_end(struct json_out *out, FILE *file);

/* What a verb does with its pipeline file. *out_code is EXIT_OK_CODE before; it counts when the status is SOREX_OK. */
typedef enum sorex_status pipeline_file_fn(const struct arguments *arguments, const struct pipeline_settings *settings, int *out_code,
                                           struct sorex_error *err);
/* Reads the file that the first word names, calls, and returns the exit code; a failure is printed. */
int pipeline_file_use(struct arguments *arguments, pipeline_file_fn *use);

#endif
