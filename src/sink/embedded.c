#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "pg/saved_record.h"
#include "sink/embedded_private.h"

#define NAME_PREFIX "sink/" /* others keep databases in the same store */

/* ---- names ---- */

static enum sorex_status name_make(const char *sink, char out[RECORD_NAME_BYTES_MAX + 1], struct sorex_error *err)
{
    int len = snprintf(out, RECORD_NAME_BYTES_MAX + 1, NAME_PREFIX "%s", sink);
    if (len <= RECORD_NAME_BYTES_MAX)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_INVALID, "the sink name \"%.64s...\" is too long: at most %zu bytes", sink,
                           RECORD_NAME_BYTES_MAX - strlen(NAME_PREFIX));
}

static enum sorex_status record_seen(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    (void)key;
    (void)value;
    (void)err;
    *(bool *)user_data = true;
    return SOREX_STOPPED;
}

/* Whether a database of that sink is in the store. */
static enum sorex_status sink_look(struct store *store, const char *sink, bool *out, struct sorex_error *err)
{
    char name[RECORD_NAME_BYTES_MAX + 1];
    struct record_name prefix;
    *out = false;
    TRY(name_make(sink, name, err));
    TRY(record_name_set(&prefix, name, err));
    enum sorex_status status = pages_scan(store, record_name_prefix(&prefix), record_seen, out, err);
    return *out ? SOREX_OK : status;
}

/* ---- which one ---- */

struct sink_names {
    struct buf text; /* NUL-terminated, one behind the other */
    enum sorex_status status;
};

static void name_add(void *user_data, const char *sink, uint64_t sequence)
{
    struct sink_names *names = user_data;
    (void)sequence;
    if (names->status == SOREX_OK)
        names->status = buf_append(&names->text, bytes_of(sink, strlen(sink) + 1), NULL);
}

/* The names of the sinks that have a database here, as a text for people; *out_only: of the last one. */
static enum sorex_status sinks_list(struct store *store, struct buf *out, char out_only[RECORD_NAME_BYTES_MAX + 1],
                                    size_t *out_count, struct sorex_error *err)
{
    struct sink_names names = {0};
    store_cursors(store, name_add, &names);
    enum sorex_status status = names.status;
    *out_count = 0;
    for (size_t at = 0; status == SOREX_OK && at < names.text.len;) {
        const char *sink = (const char *)names.text.data + at;
        bool there = false;
        at += strlen(sink) + 1;
        if (strlen(NAME_PREFIX) + strlen(sink) <= RECORD_NAME_BYTES_MAX)
            status = sink_look(store, sink, &there, err);
        if (there && status == SOREX_OK) {
            status = buf_printf(out, err, "%s%s", *out_count > 0 ? ", " : "", sink);
            (void)snprintf(out_only, RECORD_NAME_BYTES_MAX + 1, "%s", sink);
            ++*out_count;
        }
    }
    buf_deinit(&names.text);
    return status;
}

static enum sorex_status sink_missing(const char *sink, const struct buf *list, size_t count, struct sorex_error *err)
{
    if (count == 0)
        return sorex_error_set(
            err, SOREX_GONE, "there is no embedded database in this data directory: a sink of type database makes one");
    if (sink != NULL)
        return sorex_error_set(err, SOREX_GONE, "sink %s has no embedded database here; there is one of %.*s", sink,
                               BYTES_FMT(buf_view(list)));
    return sorex_error_set(err, SOREX_GONE, "there are several embedded databases: name the sink, one of %.*s",
                           BYTES_FMT(buf_view(list)));
}

static enum sorex_status sink_choose(struct store *store, const char *sink, char out[RECORD_NAME_BYTES_MAX + 1],
                                     struct sorex_error *err)
{
    bool there = false;
    struct buf list = {0};
    size_t count = 0;
    if (sink != NULL)
        TRY(sink_look(store, sink, &there, err));
    enum sorex_status status = SOREX_OK;
    if (there)
        (void)snprintf(out, RECORD_NAME_BYTES_MAX + 1, "%s", sink);
    else
        status = sinks_list(store, &list, out, &count, err);
    if (status == SOREX_OK && !there && (sink != NULL || count != 1))
        status = sink_missing(sink, &list, count, err);
    buf_deinit(&list);
    return status;
}

/* ---- open, close ---- */

static enum sorex_status embedded_make(struct store *store, struct database_program *program, const char *sink,
                                       const struct database_options *options, struct embedded **out,
                                       struct sorex_error *err)
{
    char name[RECORD_NAME_BYTES_MAX + 1];
    TRY(name_make(sink, name, err));
    struct embedded *embedded = calloc(1, sizeof *embedded);
    if (embedded == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    embedded->store = store;
    CHECK(pthread_mutex_init(&embedded->work, NULL) == 0);
    CHECK(pthread_mutex_init(&embedded->lock, NULL) == 0);
    enum sorex_status status = saved_open(store, program, name, options, &embedded->saved, err);
    if (status == SOREX_OK && saved_version(embedded->saved) > 0)
        status = note_read(saved_note(embedded->saved), &embedded->note, &embedded->root, err);
    if (status != SOREX_OK) {
        embedded_close(embedded);
        return status;
    }
    *out = embedded;
    return SOREX_OK;
}

enum sorex_status embedded_open(struct store *store, struct database_program *program, const char *sink,
                                struct embedded **out, struct sorex_error *err)
{
    char name[RECORD_NAME_BYTES_MAX + 1];
    TRY(sink_choose(store, sink, name, err));
    return embedded_make(store, program, name, NULL, out, err);
}

enum sorex_status embedded_new(struct store *store, struct database_program *program, const struct note *note,
                               const struct database_options *options, struct embedded **out, struct sorex_error *err)
{
    TRY(embedded_make(store, program, note->sink, options, out, err));
    struct note now = *note; /* the pipeline file may say something else than it did */
    now.sequence = (*out)->root == NULL ? 0 : (*out)->note.sequence;
    now.height = (*out)->root == NULL ? SOREX_HEIGHT_NONE : (*out)->note.height;
    (*out)->note = now;
    return SOREX_OK;
}

void embedded_close(struct embedded *embedded)
{
    if (embedded == NULL)
        return;
    snapshot_drop(embedded->newest);
    saved_close(embedded->saved);
    config_free(embedded->root);
    (void)pthread_mutex_destroy(&embedded->work);
    (void)pthread_mutex_destroy(&embedded->lock);
    free(embedded);
}

enum sorex_status embedded_drop(struct store *store, const char *sink, struct sorex_error *err)
{
    char name[RECORD_NAME_BYTES_MAX + 1];
    TRY(name_make(sink, name, err));
    return saved_drop(store, name, err);
}

/* ---- commit ---- */

/* Of the entry after whose record of that sequence the state is. */
static enum sorex_status height_find(struct store *store, uint64_t sequence, uint32_t *out, struct sorex_error *err)
{
    *out = SOREX_HEIGHT_NONE;
    if (sequence == 0)
        return SOREX_OK;
    struct buf bytes = {0};
    struct outbox_record record;
    enum sorex_status status = store_outbox_read(store, sequence, &bytes, &record, err);
    if (status == SOREX_OK)
        *out = record.kind == OUTBOX_APPLY ? record.height : record.height - 1;
    buf_deinit(&bytes);
    return status;
}

enum sorex_status embedded_commit(struct embedded *embedded, uint64_t sequence, struct sorex_error *err)
{
    struct note note = embedded->note; /* changed by this thread only */
    struct snapshot *snapshot = NULL;
    struct buf text = {0};
    note.sequence = sequence;
    TRY(height_find(embedded->store, sequence, &note.height, err));
    enum sorex_status status = note_write(&note, &text, err);
    if (status == SOREX_OK)
        status = saved_commit(embedded->saved, buf_view(&text), &snapshot, err);
    buf_deinit(&text);
    TRY(status);
    (void)pthread_mutex_lock(&embedded->lock);
    struct snapshot *before = embedded->newest;
    embedded->newest = snapshot;
    embedded->note = note;
    (void)pthread_mutex_unlock(&embedded->lock);
    snapshot_drop(before);
    return SOREX_OK;
}
