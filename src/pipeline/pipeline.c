#include "pipeline/pipeline_private.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "sink/database.h"

bool pipeline_stopping(struct pipeline *p)
{
    return atomic_load(&p->stopping);
}

static bool guest_stop(void *user_data)
{
    return pipeline_stopping(user_data);
}

static enum sorex_status store_start(struct pipeline *p, struct sorex_error *err)
{
    const struct pipeline_scalars *top = &p->settings->top;
    TRY(file_mkdirs(top->data, err));
    struct store_options options = {.dir = top->data,
                                    .create = true,
                                    .history = p->settings->history,
                                    .group_bytes_max = top->group_max,
                                    .group_ms_max = top->group_ms,
                                    .cache_bytes = top->cache};
    return store_open(&options, &p->store, err);
}

static enum sorex_status program_start(struct pipeline *p, struct program *program, bool adopt, struct sorex_error *err)
{
    struct store_program found;
    struct store_heights heights;
    const char *name = program->settings->name;
    store_heights(p->store, &heights);
    enum sorex_status status = store_program_find(p->store, name, &found, err);
    if (status != SOREX_OK && status != SOREX_GONE)
        return status;
    if (status == SOREX_GONE && heights.tip != SOREX_HEIGHT_NONE)
        log_line(LOG_WARN, "pipeline", "program %s is new in this store: it begins at height %u and has seen nothing before", name,
                 heights.tip + 1);
    return program_register(program, p->store, p->settings->top.data, adopt, err);
}

/* The store's programs beside those of this pipeline. */
struct absent {
    const struct pipeline_settings *settings;
    struct buf programs; /* struct store_program, one after the other: not here, and not marked as left out yet */
    size_t common;       /* how many are here too */
    enum sorex_status status;
};

static void absent_add(void *user_data, const struct store_program *program)
{
    struct absent *absent = user_data;
    const struct pipeline_settings *s = absent->settings;
    static const uint8_t marked[HASH_BYTES];
    bool here = strcmp(program->name, FILTERS_PROGRAM) == 0; /* filters_start's business */
    if (here)
        return;
    here = s->has_indexer && strcmp(s->indexer.name, program->name) == 0;
    for (size_t i = 0; i < s->transform_count; i++)
        here = here || strcmp(s->transforms[i].name, program->name) == 0;
    if (here)
        absent->common++;
    else if (memcmp(program->identity, marked, sizeof marked) != 0 && absent->status == SOREX_OK)
        absent->status = buf_append(&absent->programs, bytes_of(program, sizeof *program), NULL);
}

static enum sorex_status absent_find(const struct pipeline *p, struct absent *out, struct sorex_error *err)
{
    *out = (struct absent){.settings = p->settings, .status = SOREX_OK};
    enum sorex_status status = store_programs(p->store, absent_add, out, err);
    if (status == SOREX_OK && out->status != SOREX_OK)
        status = sorex_error_set(err, out->status, "out of memory for the programs of the store");
    return status;
}

/* A store that was written by other programs only is most likely another pipeline's: nothing is done to it. */
static enum sorex_status programs_compare(const struct pipeline *p, struct sorex_error *err)
{
    struct absent absent;
    struct store_program other;
    enum sorex_status status = absent_find(p, &absent, err);
    if (status == SOREX_OK && absent.common == 0 && absent.programs.len != 0) {
        memcpy(&other, absent.programs.data, sizeof other);
        status = sorex_error_set(err, SOREX_MISMATCH,
                                 "%s was written by another pipeline: it has program %s, and none of this pipeline's. Give this "
                                 "pipeline a data directory of its own (data:), or name its programs as they were",
                                 p->settings->top.data, other.name);
    }
    buf_deinit(&absent.programs);
    return status;
}

/* A program that is left out misses entries. The store gives it the identity zero from here on, so that it does not come back with a
 * gap unless somebody says so with `sorex upgrade`. */
static enum sorex_status programs_mark_absent(struct pipeline *p, struct sorex_error *err)
{
    static const uint8_t none[HASH_BYTES];
    struct absent absent;
    enum sorex_status status = absent_find(p, &absent, err);
    for (size_t at = 0; at < absent.programs.len && status == SOREX_OK; at += sizeof(struct store_program)) {
        struct store_program program, unused;
        memcpy(&program, absent.programs.data + at, sizeof program);
        log_line(LOG_WARN, "pipeline",
                 "program %s of this store is not in the pipeline: it misses every entry from now on, and only `sorex upgrade "
                 "PIPELINE --program %s` takes it in again",
                 program.name, program.name);
        status = store_program(p->store, program.name, none, program.module_hash, true, &unused, err);
    }
    buf_deinit(&absent.programs);
    return status;
}

/* A store that once had filters has them for good, if only an empty list: rows that were delivered otherwise than their transform made
 * them are to be followed. */
static enum sorex_status filters_start(struct pipeline *p, bool adopt, struct sorex_error *err)
{
    const struct pipeline_settings *s = p->settings;
    struct store_program found;
    struct store_heights heights;
    store_heights(p->store, &heights);
    enum sorex_status status = store_program_find(p->store, FILTERS_PROGRAM, &found, err);
    if (status != SOREX_OK && status != SOREX_GONE)
        return status;
    if (status == SOREX_GONE && s->filter_count == 0)
        return SOREX_OK;
    if (status == SOREX_GONE && heights.tip != SOREX_HEIGHT_NONE)
        log_line(LOG_WARN, "pipeline",
                 "the filters are new in this store: they begin at height %u; rows that were delivered before stay as they are until "
                 "they change",
                 heights.tip + 1);
    for (size_t i = 0; i < s->transform_count; i++)
        if (s->transforms[i].inverse == INVERSE_GUEST)
            return sorex_error_set(err, SOREX_INVALID, "transform %s says inverse: guest, but this store has, or had, filters: they "
                                                       "need inverses that the host makes",
                                   s->transforms[i].name);
    for (size_t i = 0; i < s->filter_count; i++)
        if (s->filters[i].memory == FILTER_KEPT)
            log_line(LOG_WARN, "pipeline",
                     "filter %s keeps its memory from change to change: what it delivers may depend on when this process was started",
                     s->filters[i].name);
    TRY(filters_load(&p->filters, s->filters, s->filter_count, s->top.data, err));
    TRY(filters_register(&p->filters, p->store, adopt, err));
    step_filters(&p->step, &p->filters);
    return SOREX_OK;
}

static enum sorex_status programs_start(struct pipeline *p, const char *upgrade, struct sorex_error *err)
{
    const struct pipeline_settings *s = p->settings;
    struct program_context context = {
        .data_dir = s->top.data, .start_height = s->top.start_height, .stop = guest_stop, .stop_user_data = p};
    bool found = upgrade == NULL || (s->has_reducer && strcmp(upgrade, s->reducer.name) == 0);
    TRY(programs_compare(p, err));
    if (s->has_indexer) {
        bool adopt = upgrade != NULL && strcmp(upgrade, s->indexer.name) == 0;
        TRY(program_load(&p->indexer, PROGRAM_INDEXER, &s->indexer, &context, err));
        TRY(program_start(p, &p->indexer, adopt, err));
        found = found || adopt;
    }
    for (size_t i = 0; i < s->transform_count; i++) {
        bool adopt = upgrade != NULL && strcmp(upgrade, s->transforms[i].name) == 0;
        TRY(program_load(&p->transforms[i], PROGRAM_TRANSFORM, &s->transforms[i], &context, err));
        TRY(program_start(p, &p->transforms[i], adopt, err));
        found = found || adopt;
    }
    TRY(step_init(&p->step, p->store, s->has_indexer ? &p->indexer : NULL, p->transforms, s->transform_count, err));
    bool adopt = upgrade != NULL && strcmp(upgrade, FILTERS_PROGRAM) == 0;
    TRY(filters_start(p, adopt, err));
    if (!found && !(adopt && p->step.filters != NULL))
        return sorex_error_set(err, SOREX_INVALID, "no program \"%s\" in this pipeline", upgrade);
    return SOREX_OK;
}

/* upgrade: its name: what it derived is let go of, and derived anew by the next run. */
static enum sorex_status reducer_start(struct pipeline *p, const struct pipeline_options *options, struct sorex_error *err)
{
    const struct pipeline_settings *s = p->settings;
    const struct deriver_options deriver = {.settings = &s->reducer,
                                            .store = p->store,
                                            .source = p->source,
                                            .dir = s->top.data,
                                            .first_height = s->top.start_height};
    if (!s->has_reducer)
        return SOREX_OK;
    enum sorex_status status = SOREX_OK;
    if (options->upgrade != NULL && strcmp(options->upgrade, s->reducer.name) == 0)
        status = chained_drop(p->store, s->top.data, s->reducer.name, err);
    if (status != SOREX_OK && status != SOREX_GONE)
        return status;
    return options->no_network ? SOREX_OK : deriver_new(&deriver, &p->deriver, err);
}

/* A sink that left the pipeline file still keeps the outbox: said at every start, since nothing else would show it. */
static void stranger_say(void *user_data, const char *sink, uint64_t sequence)
{
    const struct pipeline *p = user_data;
    const struct pipeline_settings *s = p->settings;
    for (size_t i = 0; i < s->sink_count; i++)
        if (strcmp(s->sinks[i].name, sink) == 0)
            return;
    log_line(LOG_WARN, "pipeline",
             "sink %s is not in the pipeline file any more, but the outbox is kept for it from sequence %llu on: put it back, or let "
             "it go with `sorex upgrade PIPELINE --forget-sink %s`",
             sink, (unsigned long long)sequence, sink);
}

static enum sorex_status sinks_start(struct pipeline *p, struct sorex_error *err)
{
    const struct pipeline_settings *s = p->settings;
    static const uint8_t no_hash[HASH_BYTES];
    char cache[PATH_MAX];
    if (snprintf(cache, sizeof cache, "%s/cache", s->top.data) >= (int)sizeof cache)
        return sorex_error_set(err, SOREX_INVALID, "data: the path is too long");
    for (size_t i = 0; i < s->sink_count; i++) {
        struct sink_context context = {.name = s->sinks[i].name,
                                       .pipeline = s->top.name,
                                       .base_dir = s->base_dir,
                                       .store = p->store,
                                       .cache_dir = cache,
                                       .guest_inverse = pipeline_guest_inverse(p)};
        if (s->sinks[i].type->open(s->sinks[i].options, &context, &p->sinks[i].sink, err) != SOREX_OK)
            return sorex_error_prefix(err, "sink %s", s->sinks[i].name);
        p->sink_count = i + 1;
        uint64_t sequence;
        uint8_t hash[HASH_BYTES];
        enum sorex_status status = store_cursor_get(p->store, s->sinks[i].name, &sequence, hash, err);
        if (status == SOREX_GONE) /* from now on the outbox is kept for it */
            status = store_cursor_set(p->store, s->sinks[i].name, 0, no_hash, err);
        if (status != SOREX_OK)
            return sorex_error_prefix(err, "sink %s", s->sinks[i].name);
    }
    store_cursors(p->store, stranger_say, p);
    return SOREX_OK;
}

enum sorex_status pipeline_new(const struct pipeline_settings *settings, const struct pipeline_options *options,
                               struct pipeline **out, struct sorex_error *err)
{
    TRY(pipeline_settings_chain(settings, err));
    struct pipeline *p = calloc(1, sizeof *p);
    if (p == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a pipeline");
    p->settings = settings;
    p->state = "starting";
    p->source_tip = SOREX_HEIGHT_NONE;
    CHECK(pthread_mutex_init(&p->lock, NULL) == 0);
    pthread_condattr_t monotonic; /* the time of day may jump */
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&p->changed, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    enum sorex_status status = store_start(p, err);
    if (status == SOREX_OK)
        status = programs_start(p, options->upgrade, err);
    if (status == SOREX_OK && !options->no_network) {
        status = settings->source_type->open(settings->source, &p->source, err);
        if (status != SOREX_OK)
            (void)sorex_error_prefix(err, "source %s", settings->source_type->name);
    }
    if (status == SOREX_OK)
        status = reducer_start(p, options, err);
    if (status == SOREX_OK && !options->no_network)
        status = sinks_start(p, err);
    if (status == SOREX_OK && !options->no_network)
        status = programs_mark_absent(p, err);
    if (status != SOREX_OK) {
        pipeline_free(p);
        return sorex_error_prefix(err, "pipeline %s", settings->top.name);
    }
    *out = p;
    return SOREX_OK;
}

struct embedded *pipeline_database(struct pipeline *p, const char *sink)
{
    for (size_t i = 0; i < p->sink_count; i++) {
        struct embedded *embedded = sink_embedded(p->sinks[i].sink);
        if (embedded != NULL && (sink == NULL || strcmp(sink, p->settings->sinks[i].name) == 0))
            return embedded;
    }
    return NULL;
}

struct chained *pipeline_derived(struct pipeline *p, const char *reducer)
{
    bool named = p->deriver != NULL && (reducer == NULL || strcmp(reducer, p->settings->reducer.name) == 0);
    return named ? deriver_chained(p->deriver) : NULL;
}

void pipeline_free(struct pipeline *p)
{
    deriver_free(p->deriver);
    for (size_t i = 0; i < p->sink_count; i++)
        p->sinks[i].sink->type->close(p->sinks[i].sink);
    if (p->source != NULL)
        p->source->type->close(p->source);
    step_deinit(&p->step);
    filters_unload(&p->filters);
    for (size_t i = 0; i < p->settings->transform_count; i++)
        program_unload(&p->transforms[i]);
    program_unload(&p->indexer);
    if (p->store != NULL)
        store_close(p->store);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

const struct pipeline_settings *pipeline_settings(const struct pipeline *pipeline) { return pipeline->settings; }

struct store *pipeline_store(struct pipeline *pipeline)
{
    return pipeline->store;
}

struct program *pipeline_indexer(struct pipeline *pipeline)
{
    return pipeline->settings->has_indexer ? &pipeline->indexer : NULL;
}

void pipeline_stop(struct pipeline *p)
{
    atomic_store(&p->stopping, true);
    pthread_mutex_lock(&p->lock);
    if (p->chain != NULL)
        chain_wake(p->chain);
    (void)pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* Logs and counts an undone entry. */
static void entry_undone(void *user_data, const struct entry *entry)
{
    char hash[HASH_HEX_SIZE];
    uint64_t *undone = user_data;
    hash_display(entry->hash, hash);
    log_line(LOG_DEBUG, "pipeline", "height %u undone: block %s", entry->height, hash);
    ++*undone;
}

/* With rollback exports each undo is followed by calls; without, the store may undo many entries to one write. */
static bool undo_calls_guests(const struct pipeline *p)
{
    for (size_t i = 0; i < p->step.transform_count; i++)
        if (transform_has_rollback(p->step.transforms[i].transform))
            return true;
    return false;
}

enum sorex_status pipeline_undo_to(struct pipeline *p, uint32_t height, uint64_t *out_undone, struct sorex_error *err)
{
    struct store_heights heights;
    TRY(store_flush(p->store, err)); /* which may move the horizon: all is undone or nothing */
    store_heights(p->store, &heights);
    bool empty_goal = height == SOREX_HEIGHT_NONE;
    *out_undone = 0;
    if (heights.tip == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_GONE, "nothing is indexed yet, so there is nothing to undo");
    if (!empty_goal && height > heights.tip)
        return sorex_error_set(err, SOREX_GONE, "height %u is above the tip, %u", height, heights.tip);
    if (!empty_goal && (heights.horizon == SOREX_HEIGHT_NONE || height < heights.horizon))
        return sorex_error_set(err, SOREX_GONE,
                               "height %u is below the horizon (%u): it cannot be restored; index again into a new data directory, "
                               "or keep more with `history`",
                               height, heights.horizon);
    if (!empty_goal && heights.tip > height && !undo_calls_guests(p))
        return store_undo_to(p->store, height, entry_undone, out_undone, err); /* many entries, few writes */
    while (heights.tip != SOREX_HEIGHT_NONE && (empty_goal || heights.tip > height)) {
        struct entry undone;
        TRY(step_undo(&p->step, &undone, err));
        entry_undone(out_undone, &undone);
        store_heights(p->store, &heights);
    }
    return SOREX_OK;
}

enum sorex_status pipeline_rollback(struct pipeline *p, uint32_t height, uint64_t *out_undone, struct sorex_error *err)
{
    pthread_mutex_lock(&p->lock);
    if (p->phase == PIPELINE_ALONE) { /* a run that starts now waits for the lock */
        enum sorex_status status = pipeline_undo_to(p, height, out_undone, err);
        pthread_mutex_unlock(&p->lock);
        return status;
    }
    if (p->phase == PIPELINE_ENDING || p->request != NULL) {
        bool ending = p->phase == PIPELINE_ENDING;
        pthread_mutex_unlock(&p->lock);
        return ending ? sorex_error_set(err, SOREX_STOPPED, "the pipeline is ending: roll back when it has ended")
                      : sorex_error_set(err, SOREX_BUSY, "another rollback is under way");
    }
    struct pipeline_request request = {.height = height};
    p->request = &request;
    if (p->chain != NULL)
        chain_wake(p->chain);
    while (!request.done)
        (void)pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    *out_undone = request.undone;
    if (request.status != SOREX_OK && err != NULL)
        *err = request.err;
    return request.status;
}
