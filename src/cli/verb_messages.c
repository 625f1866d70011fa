/* sorex messages: is a log good, and its other form. */
#include <stdio.h>

#include "base/check.h"
#include "cli/derive_report.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"

enum form { FORM_NONE, FORM_LINES, FORM_FRAMES };

static enum sorex_status write_out(struct buf *out, struct sorex_error *err)
{
    if (out->len > 0 && fwrite(out->data, 1, out->len, stdout) != out->len)
        return sorex_error_set(err, SOREX_IO, "standard output could not be written");
    buf_reset(out);
    return SOREX_OK;
}

static enum sorex_status message_print(struct json_parser *parser, const struct logged *logged, enum form form,
                                       struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    if (form == FORM_FRAMES)
        TRY(messages_frame(logged, out, err));
    if (form == FORM_LINES) {
        json_writer_init(&w, out, false, err);
        TRY(message_write(parser, &logged->message, &w));
        TRY(buf_append_u8(out, '\n', err));
    }
    return write_out(out, err);
}

static enum sorex_status log_read(struct messages *messages, enum form form, struct sorex_error *err)
{
    struct json_parser *parser = NULL;
    struct buf out = {0};
    struct logged logged;
    enum messages_state state = MESSAGES_ONE;
    TRY(json_parser_new(&parser, err));
    enum sorex_status status = form == FORM_FRAMES ? buf_append_str(&out, MESSAGES_MAGIC, err) : SOREX_OK;
    if (status == SOREX_OK)
        status = write_out(&out, err);
    while (status == SOREX_OK && state != MESSAGES_END) {
        status = messages_next(messages, INT32_MAX, &state, &logged, err);
        if (status == SOREX_OK && state == MESSAGES_ONE)
            status = message_print(parser, &logged, form, &out, err);
    }
    buf_deinit(&out);
    json_parser_free(parser);
    return status;
}

/* Beside a log on standard output it goes where it does not get in the way. */
static void summary_print(const struct log_end *end, FILE *file)
{
    char log[HASH_HEX_SIZE];
    hash_hex(end->log, log);
    (void)fprintf(file, "%llu messages\nlog    %s\n", (unsigned long long)end->count, log);
}

static enum sorex_status messages_verb(const struct arguments *arguments, struct sorex_error *err)
{
    struct messages *messages = NULL;
    enum form form = FORM_NONE;
    if (arguments->to != NULL) {
        form = strcmp(arguments->to, "lines") == 0    ? FORM_LINES
               : strcmp(arguments->to, "frames") == 0 ? FORM_FRAMES
                                                      : FORM_NONE;
        if (form == FORM_NONE)
            return sorex_error_set(err, SOREX_INVALID, "--to lines or --to frames, not \"%s\"", arguments->to);
    }
    TRY(messages_open(arguments->words[0], NULL, &messages, err));
    enum sorex_status status = log_read(messages, form, err);
    if (status == SOREX_OK)
        summary_print(messages_end(messages), form == FORM_NONE ? stdout : stderr);
    messages_close(messages);
    return status;
}

static int messages_run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    return messages_verb(arguments, &err) == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

const struct verb verb_messages = {
    .name = "messages",
    .summary = "check a log of messages, or convert it",
    .usage = "FILE [--to lines | --to frames]",
    .flags = "to",
    .words_min = 1,
    .words_max = 1,
    .about =
        "Reads the whole log and prints how many messages it has and its hash, which is the same for both forms: JSON "
        "lines, for\n"
        "people, and frames, which are checked one by one (docs/derive.md). \"-\": standard input.",
    .example = "sorex messages game.jsonl --to frames >game.log",
    .run = messages_run,
};
