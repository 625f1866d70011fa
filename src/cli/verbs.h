/* The verbs, one file each (verb_ask.c has those that ask a store). */
#ifndef SOREX_CLI_VERBS_H
#define SOREX_CLI_VERBS_H

#include "cli/arguments.h"

extern const struct verb verb_run, verb_try, verb_inspect, verb_check, verb_status, verb_view, verb_preview, verb_rows, verb_state,
    verb_rollback, verb_upgrade, verb_replay, verb_sim, verb_reference;

/* Prints "sorex: TEXT" to standard error and returns the exit code. */
int cli_fail(const struct sorex_error *err);

#endif
