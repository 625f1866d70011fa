#include "cli/session.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"

/* ---- opening ---- */

enum sorex_status session_open(struct session *self, struct sql_source *source, uint32_t height,
                               struct sorex_error *err)
{
    *self = (struct session){.source = source, .out = stdout, .transaction = 'I', .height = SOREX_HEIGHT_NONE};
    TRY(sql_source_fork(source, height, &self->database, &self->height, err));
    (void)pthread_mutex_init(&self->lock, NULL);
    return SOREX_OK;
}

void session_close(struct session *self)
{
    if (self->database != NULL) {
        if (self->out != stdout)
            (void)fclose(self->out);
        database_close(self->database);
        (void)pthread_mutex_destroy(&self->lock);
    }
    sql_source_close(self->source);
    self->database = NULL;
    self->source = NULL;
}

/* A fork at that height, of the source as it is by now where the one that is open does not have it any more, or not
 * yet. *out_source: that one, or NULL. */
static enum sorex_status fork_find(struct session *self, uint32_t height, struct sql_source **out_source,
                                   struct database **out, uint32_t *out_height, struct sorex_error *err)
{
    enum sorex_status status = SOREX_GONE;
    if (height != SOREX_HEIGHT_NONE)
        status = sql_source_fork(self->source, height, out, out_height, err);
    if (status == SOREX_OK || status == SOREX_INVALID)
        return status;
    TRY(sql_source_renew(self->source, out_source, err));
    return sql_source_fork(*out_source != NULL ? *out_source : self->source, height, out, out_height, err);
}

enum sorex_status session_move(struct session *self, uint32_t height, struct sorex_error *err)
{
    struct sql_source *source = NULL;
    struct database *database = NULL;
    uint32_t at = SOREX_HEIGHT_NONE;
    enum sorex_status status = fork_find(self, height, &source, &database, &at, err);
    if (status != SOREX_OK) {
        sql_source_close(source);
        return status;
    }
    database_close(self->database);
    if (source != NULL) {
        sql_source_close(self->source);
        self->source = source;
    }
    self->database = database;
    self->height = at;
    self->transaction = 'I';
    return SOREX_OK;
}

/* ---- what is shown ---- */

/* Errors and notices follow what was printed before them. */
static void shout(struct session *self, const struct session_place *place, struct bytes text)
{
    (void)fflush(self->out);
    if (place != NULL && place->name != NULL)
        (void)fprintf(stderr, "%s:%zu: ", place->name, place->line);
    (void)fwrite(text.data, 1, text.len, stderr);
}

bool session_complain(struct session *self, const struct session_place *place, const char *text)
{
    shout(self, place, bytes_str("sorex: "));
    (void)fprintf(stderr, "%s\n", text);
    return false;
}

static void notice_show(struct session *self, const struct session_place *place, const struct result_notice *notice,
                        struct bytes sql)
{
    struct sorex_error err = {0};
    struct buf text = {0};
    if (session_notice(notice, sql, &text, &err) == SOREX_OK)
        shout(self, place, buf_view(&text));
    else
        (void)session_complain(self, place, err.text);
    buf_deinit(&text);
}

/* 0: the output is no terminal, or one that does not say. */
static size_t terminal_columns(FILE *out)
{
    struct winsize size;
    return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

bool session_show(struct session *self, const struct result *result, const struct table_options *options)
{
    struct sorex_error err = {0};
    struct buf text = {0};
    struct table_options own = *options;
    own.columns_max = self->fits ? terminal_columns(self->out) : 0;
    enum sorex_status status = table_print(result, &own, &text, &err);
    if (status == SOREX_OK && text.len > 0 && fwrite(text.data, 1, text.len, self->out) != text.len)
        status = sorex_error_set_errno(&err, SOREX_IO, errno, "write");
    buf_deinit(&text);
    return status == SOREX_OK || session_complain(self, NULL, err.text);
}

static void tag_show(struct session *self, struct bytes tag)
{
    bool people = self->table.format == TABLE_ALIGNED || self->table.format == TABLE_EXPANDED;
    if (people && !self->quiet && !self->table.rows_only && tag.len > 0)
        (void)fprintf(self->out, "%.*s\n", BYTES_FMT(tag));
}

static void time_show(struct session *self, uint64_t ns)
{
    uint64_t us = ns / 1000, seconds = us / 1000000;
    (void)fprintf(self->out, "Time: %llu.%03llu ms", (unsigned long long)(us / 1000), (unsigned long long)(us % 1000));
    if (seconds > 0)
        (void)fprintf(self->out, " (%02llu:%02llu.%03llu)", (unsigned long long)(seconds / 60),
                      (unsigned long long)(seconds % 60), (unsigned long long)(us / 1000 % 1000));
    (void)fputc('\n', self->out);
}

/* Whether a statement with that tag changed something that its fork takes along. */
static bool tag_writes(const struct result *result)
{
    static const char *const always[] = {"CREATE",  "ALTER", "DROP",   "TRUNCATE",
                                         "COMMENT", "GRANT", "REVOKE", "REFRESH"};
    static const char *const rows[] = {"INSERT", "UPDATE", "DELETE", "MERGE"};
    struct bytes tag = result->tag;
    size_t len = 0;
    while (len < tag.len && tag.data[len] != ' ')
        len++;
    struct bytes word = bytes_of(tag.data, len);
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (bytes_is(word, always[i]))
            return true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (bytes_is(word, rows[i]))
            return result_rows(tag) > 0;
    if (bytes_is(word, "COPY"))
        return result->copy_out.data == NULL && result_rows(tag) > 0;
    return bytes_is(word, "SELECT") && result->columns == NULL; /* CREATE TABLE AS */
}

static void kept_tell(struct session *self)
{
    if (self->told || !sql_source_is_copy(self->source))
        return;
    self->told = true;
    (void)session_complain(self, NULL,
                           "this is a copy of the database: what you change in it ends with it (said once)");
}

static bool result_show(struct session *self, const struct result *result)
{
    struct bytes copy = result->copy_out;
    if (copy.data != NULL)
        return fwrite(copy.data, 1, copy.len, self->out) == copy.len ||
               session_complain(self, NULL, "the output could not be written");
    bool writes = tag_writes(result);
    if (result->columns != NULL && !session_show(self, result, &self->table))
        return false;
    if (result->columns == NULL || writes) /* INSERT ... RETURNING has both */
        tag_show(self, result->tag);
    if (writes)
        kept_tell(self);
    return true;
}

static bool results_show(struct session *self, const struct results *results, struct bytes sql,
                         const struct session_place *place)
{
    bool good = true;
    for (const struct result_notice *notice = results->notices; notice != NULL; notice = notice->next)
        notice_show(self, place, notice, sql);
    for (const struct result *result = results->first; result != NULL && good; result = result->next)
        if (result->error == NULL)
            good = result_show(self, result);
    if (results->error != NULL)
        notice_show(self, place, results->error, sql);
    return good && results->error == NULL;
}

/* ---- executing ---- */

static enum sorex_status nothing_read(void *user_data, uint8_t *to, size_t room, size_t *out_len,
                                      struct sorex_error *err)
{
    (void)user_data;
    (void)to;
    (void)room;
    (void)err;
    *out_len = 0;
    return SOREX_OK;
}

static enum sorex_status reply_write(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    return buf_append(user_data, bytes, err);
}

static void running_set(struct session *self, bool running)
{
    (void)pthread_mutex_lock(&self->lock);
    self->running = running;
    (void)pthread_mutex_unlock(&self->lock);
}

void session_interrupt(struct session *self)
{
    (void)pthread_mutex_lock(&self->lock);
    if (self->running)
        instance_interrupt(database_instance(self->database), INSTANCE_CANCEL);
    (void)pthread_mutex_unlock(&self->lock);
}

/* As a conversation, so that it can be interrupted. */
static enum sorex_status exchange(void *user_data, struct bytes messages, struct buf *out, struct sorex_error *err)
{
    struct session *self = user_data;
    const struct instance_stream stream = {.user_data = out, .read = nothing_read, .write = reply_write};
    bool ended = false;
    running_set(self, true);
    enum sorex_status status = instance_converse(database_instance(self->database), messages, &stream, &ended, err);
    running_set(self, false);
    return status;
}

static enum sorex_status messages_make(struct bytes sql, const struct bytes *data, struct buf *out,
                                       struct sorex_error *err)
{
    enum { PART_BYTES = 1 << 20 };
    TRY(protocol_query(out, sql, err));
    if (data == NULL)
        return protocol_copy_fail(out, bytes_str("its data follow it as lines, up to one that is \\."), err);
    for (size_t at = 0; at < data->len; at += PART_BYTES) {
        size_t len = data->len - at < PART_BYTES ? data->len - at : PART_BYTES;
        TRY(protocol_copy_data(out, bytes_of(data->data + at, len), err));
    }
    return protocol_copy_done(out, err);
}

static enum sorex_status execute(struct session *self, struct bytes sql, const struct bytes *data,
                                 struct results *results, struct sorex_error *err)
{
    struct buf messages = {0}, replies = {0};
    enum sorex_status status = messages_make(sql, data, &messages, err);
    if (status == SOREX_OK)
        status = results_exchange(results, exchange, self, buf_view(&messages), &replies, err);
    if (status == SOREX_OK && results->transaction != 0)
        self->transaction = results->transaction;
    buf_deinit(&messages);
    buf_deinit(&replies);
    return status;
}

/* A backend that is gone is replaced by one in the state that this one began in. */
static void replace(struct session *self, const struct session_place *place)
{
    struct sorex_error err = {0};
    if (!database_broken(self->database))
        return;
    if (session_move(self, self->height, &err) == SOREX_OK)
        (void)session_complain(self, place, "the session is lost; this is a new one, without what was done in it");
    else
        (void)session_complain(self, place, err.text);
}

bool session_run(struct session *self, struct bytes sql, const struct bytes *data, const struct session_place *place)
{
    struct sorex_error err = {0};
    struct results results;
    results_init(&results, 0);
    uint64_t began = clock_ns();
    bool good = execute(self, sql, data, &results, &err) == SOREX_OK;
    uint64_t ended = clock_ns();
    if (good)
        good = results_show(self, &results, sql, place);
    else
        (void)session_complain(self, place, err.text);
    results_deinit(&results);
    replace(self, place);
    if (self->timing)
        time_show(self, ended - began);
    (void)fflush(self->out); /* somebody may wait for it at a pipe's end */
    return good;
}

bool session_ask(struct session *self, struct bytes sql, struct results *results)
{
    struct sorex_error err = {0};
    if (execute(self, sql, NULL, results, &err) != SOREX_OK) {
        replace(self, NULL);
        return session_complain(self, NULL, err.text);
    }
    if (results->error != NULL)
        notice_show(self, NULL, results->error, sql);
    return results->error == NULL;
}
