#include "pipeline/step.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "change/envelope.h"
#include "pipeline/images.h"
#include "pipeline/memory_state.h"

/* A space of the ledger as a guest's tables. */
struct space_state {
    const struct ledger *ledger;
    struct store_space space;
};

/* What the callbacks of a running transform need. */
struct step_transform {
    struct step *step;
    struct program *program;
    const struct entry *entry;
    struct space_state keys, pages, rows;
    struct space_state indexer_keys;
    struct images images;
    bool rollback; /* in a rollback export: the images are those before the entry already */
    bool discard;  /* ... without `inverse: guest`: changes are dropped */
    uint64_t dropped;
};

static enum sorex_status committed_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                       struct sorex_error *err)
{
    struct space_state *state = user_data;
    return state->ledger->get(state->ledger->user_data, state->space, false, key, out_value, out_found, err);
}

static enum sorex_status staged_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                    struct sorex_error *err)
{
    struct space_state *state = user_data;
    return state->ledger->get(state->ledger->user_data, state->space, true, key, out_value, out_found, err);
}

static enum sorex_status staged_put(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct space_state *state = user_data;
    return state->ledger->write(state->ledger->user_data, state->space, key, &value, err);
}

static enum sorex_status staged_del(void *user_data, struct bytes key, struct sorex_error *err)
{
    struct space_state *state = user_data;
    return state->ledger->write(state->ledger->user_data, state->space, key, NULL, err);
}

static struct state_writer staged_writer(struct space_state *state)
{
    return (struct state_writer){.put = staged_put, .del = staged_del, .user_data = state};
}

static enum sorex_status store_ledger_get(void *store, struct store_space space, bool staged, struct bytes key,
                                          struct bytes *out_value, bool *out_found, struct sorex_error *err)
{
    return staged ? store_get_staged(store, space, key, out_value, out_found, err)
                  : store_get(store, space, key, out_value, out_found, err);
}

static enum sorex_status store_ledger_write(void *store, struct store_space space, struct bytes key, const struct bytes *value,
                                            struct sorex_error *err)
{
    return value != NULL ? store_put(store, space, key, *value, err) : store_delete(store, space, key, err);
}

static enum sorex_status store_ledger_emit(void *store, uint16_t program, struct bytes emitted, struct bytes stored,
                                           struct sorex_error *err)
{
    return store_emit(store, program, emitted, stored, err);
}

enum sorex_status step_init_ledger(struct step *step, const struct ledger *ledger, struct program *indexer,
                                   struct program *transforms, size_t transform_count, struct sorex_error *err)
{
    *step = (struct step){
        .ledger = *ledger, .indexer = indexer, .transforms = transforms, .transform_count = transform_count};
    arena_init(&step->arena, 8 * SOREX_CHANGE_BYTES_MAX); /* a change, and as an event: images, offset, text */
    TRY(json_parser_new(&step->parsers[0], err));
    return json_parser_new(&step->parsers[1], err);
}

enum sorex_status step_init(struct step *step, struct store *store, struct program *indexer, struct program *transforms,
                            size_t transform_count, struct sorex_error *err)
{
    struct ledger ledger = {
        .get = store_ledger_get, .write = store_ledger_write, .emit = store_ledger_emit, .user_data = store};
    enum sorex_status status = step_init_ledger(step, &ledger, indexer, transforms, transform_count, err);
    step->store = store;
    return status;
}

void step_filters(struct step *step, struct filters *filters)
{
    step->filters = filters;
    if (filters == NULL)
        return;
    size_t count = 0;
    for (size_t i = 0; i < step->transform_count; i++)
        if (step->transforms[i].settings->before == BEFORE_ENGINE)
            step->images[count++] = step->transforms[i].stored.id;
    step->delivered.ledger = &step->ledger;
    step->delivered.rows = (struct store_space){.program = filters->stored.id, .kind = STORE_IMAGES};
    step->delivered.places = (struct store_space){.program = filters->stored.id, .kind = STORE_KEYS};
    step->delivered.programs = step->images;
    step->delivered.program_count = count;
}

void step_deinit(struct step *step)
{
    for (size_t i = 0; i < 2; i++)
        if (step->parsers[i] != NULL)
            json_parser_free(step->parsers[i]);
    arena_deinit(&step->arena);
    buf_deinit(&step->before);
    buf_deinit(&step->completed);
    buf_deinit(&step->key);
    buf_deinit(&step->filtered);
    delivered_deinit(&step->delivered);
    *step = (struct step){0};
}

static enum sorex_status indexer_step(struct step *step, const struct entry *entry, struct step_result *out,
                                      struct sorex_error *err)
{
    struct space_state keys = {.ledger = &step->ledger, .space = program_space(step->indexer, STORE_KEYS)};
    struct state_reader reader = {.get = committed_get, .user_data = &keys};
    struct state_writer writer = staged_writer(&keys);
    struct indexer_result result = {0};
    TRY(indexer_run(step->indexer->indexer, entry->height, entry->payload, &reader, &writer, &result, err));
    out->pairs += result.pairs;
    out->fuel += result.cost.fuel;
    out->guest_ns += result.cost.ns;
    return SOREX_OK;
}

static enum sorex_status transform_view(void *user_data, struct bytes name, struct bytes input, struct buf *out,
                                        bool *out_failed, struct sorex_error *err)
{
    struct step_transform *t = user_data;
    struct state_reader reader = {.get = staged_get, .user_data = &t->indexer_keys};
    bool deterministic = false;
    struct sorex_error view_err = {0};
    enum sorex_status status = indexer_view(t->step->indexer->indexer, name, t->entry->height, input, &reader, out, NULL,
                                            &deterministic, &view_err);
    *out_failed = status != SOREX_OK && deterministic;
    if (*out_failed) {
        log_line(LOG_WARN, "pipeline", "program %s: height %u: view failed: %s", t->program->settings->name, t->entry->height,
                 view_err.text);
        return SOREX_OK;
    }
    if (status != SOREX_OK && err != NULL)
        *err = view_err;
    return status;
}

/* Emits what takes `was` to `now`: the texts are made from the event `like`. The guest's own text, json, goes with the first of them, and
 * with none when there is none: the commitment has it in any case. */
static enum sorex_status delivery_emit(struct step_transform *t, struct bytes json, const struct event *like,
                                       const struct delivered_row *was, const struct delivered_row *now, struct sorex_error *err)
{
    struct step *step = t->step;
    bool update = row_stays(was, now);
    const struct delivered_row none = {0};
    const struct {
        enum event_op op;
        const struct delivered_row *place, *before, *after;
        bool wanted;
    } parts[] = {{EVENT_DELETE, was, was, &none, row_present(was) && !update},
                 {EVENT_UPDATE, now, was, now, update},
                 {EVENT_INSERT, now, &none, now, row_present(now) && !update}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!parts[i].wanted)
            continue;
        struct event event = *like;
        event.text = (struct bytes){0};
        event.op = parts[i].op;
        event.before = parts[i].before->image;
        event.after = parts[i].after->image;
        event.table = parts[i].place->table;
        event.before_is_key_only = false; /* the engine's images are whole */
        event.before_unavailable = (struct event_columns){0};
        buf_reset(&step->filtered);
        TRY(change_event_write(step->parsers[0], &event, parts[i].place->key, &step->arena, &step->filtered, err));
        TRY(step->ledger.emit(step->ledger.user_data, t->program->stored.id, json, buf_view(&step->filtered), err));
        json = (struct bytes){0};
    }
    return SOREX_OK;
}

/* Through the filters. stored: the change as it would be delivered without them. */
static enum sorex_status change_filter(struct step_transform *t, const struct change *change, struct bytes json, struct bytes stored,
                                       struct sorex_error *err)
{
    struct step *step = t->step;
    struct event event;
    const struct event *out;
    enum filters_verdict verdict;
    const struct filters_origin origin = {.height = t->entry->height, .table = change->table, .key = change->key};
    uint64_t time_ms = t->entry->time_ms != 0 ? t->entry->time_ms : 1;
    TRY(change_event_read(step->parsers[0], stored, time_ms, &step->arena, &event, err));
    TRY(event_validate(&event, err));
    TRY(event_text_make(&event, &step->arena, err));
    TRY(filters_run(step->filters, step->parsers[0], &event, &origin, &verdict, &out, &step->key, err));

    struct delivered_was was;
    struct delivered_change moved = {.program = t->program->stored.id,
                                     .own = {.table = change->table, .key = change->key, .image = event.after},
                                     .own_before = event.before};
    TRY(delivered_get(&step->delivered, &moved, &step->arena, &was, err));
    struct delivered_row now = {0};
    if (verdict == FILTERS_STAY)
        now = was.row;
    else if (verdict == FILTERS_ROW)
        now = (struct delivered_row){out->table, step->key.len != 0 ? buf_view(&step->key) : change->key, out->after};
    if (delivered_put(&step->delivered, &moved, &was, &now, err) != SOREX_OK)
        return sorex_error_prefix(err, "filters: table %.*s, key %.*s", BYTES_FMT(change->table), BYTES_FMT(change->key));
    if (row_equal(&was.row, &now))
        return step->ledger.emit(step->ledger.user_data, t->program->stored.id, json, (struct bytes){0}, err);
    if (out == &event && !was.recorded && row_equal(&now, &moved.own)) /* as the transform made it */
        return step->ledger.emit(step->ledger.user_data, t->program->stored.id, json, stored, err);
    return delivery_emit(t, json, out, &was.row, &now, err);
}

/* One change that the guest pushed or returned: validated, completed with the engine's image, staged. */
static enum sorex_status transform_change(void *user_data, struct bytes json, struct sorex_error *err)
{
    struct step_transform *t = user_data;
    struct step *step = t->step;
    bool engine = t->program->settings->before == BEFORE_ENGINE && !t->rollback;
    arena_reset(&step->arena);
    struct change change;
    TRY(change_parse(step->parsers[0], json, &step->arena, &change, err));
    TRY(change_validate(&change, t->entry->height, t->entry->hash, !engine && !t->rollback, err));
    if (t->discard) {
        t->dropped++;
        return SOREX_OK;
    }
    struct bytes stored = json;
    if (engine) {
        buf_reset(&step->before);
        TRY(images_apply(&t->images, &change, &step->before, err));
        if (change.operation != CHANGE_CREATE && change.before.data == NULL) {
            buf_reset(&step->completed);
            TRY(change_with_before(step->parsers[0], json, buf_view(&step->before), &step->completed, err));
            stored = buf_view(&step->completed);
        }
    }
    if (step->filters != NULL)
        return change_filter(t, &change, json, stored, err);
    return step->ledger.emit(step->ledger.user_data, t->program->stored.id, json, stored, err);
}

static struct step_transform transform_prepare(struct step *step, struct program *program, const struct entry *entry)
{
    struct step_transform t = {.step = step, .program = program, .entry = entry};
    t.keys = (struct space_state){&step->ledger, program_space(program, STORE_KEYS)};
    t.pages = (struct space_state){&step->ledger, program_space(program, STORE_PAGES)};
    if (step->indexer != NULL)
        t.indexer_keys = (struct space_state){&step->ledger, program_space(step->indexer, STORE_KEYS)};
    t.rows = (struct space_state){&step->ledger, program_space(program, STORE_IMAGES)};
    t.images = (struct images){.parsers = {step->parsers[0], step->parsers[1]}};
    return t;
}

/* Ties what points into t together: t stays where it is from here on. */
static struct transform_host transform_host_of(struct step_transform *t)
{
    t->images.state = (struct state_reader){.get = staged_get, .user_data = &t->rows};
    t->images.writes = staged_writer(&t->rows);
    return (struct transform_host){
        .state = {.get = staged_get, .user_data = &t->keys},
        .writes = staged_writer(&t->keys),
        .pages = {.get = staged_get, .user_data = &t->pages},
        .page_writes = staged_writer(&t->pages),
        .view = t->step->indexer != NULL ? transform_view : NULL,
        .change = transform_change,
        .user_data = t,
    };
}

static enum sorex_status transform_step(struct step *step, struct program *program, const struct entry *entry,
                                        struct step_result *out, struct sorex_error *err)
{
    struct step_transform t = transform_prepare(step, program, entry);
    struct transform_host host = transform_host_of(&t);
    struct transform_result result = {0};
    enum sorex_status status = transform_run(program->transform, entry, &host, &result, err);
    images_deinit(&t.images);
    out->changes += result.changes;
    out->fuel += result.cost.fuel;
    out->guest_ns += result.cost.ns;
    return status;
}

enum sorex_status step_execute(struct step *step, const struct entry *entry, struct step_result *out, struct sorex_error *err)
{
    *out = (struct step_result){0};
    if (step->indexer != NULL)
        TRY(indexer_step(step, entry, out, err));
    for (size_t i = 0; i < step->transform_count; i++)
        TRY(transform_step(step, &step->transforms[i], entry, out, err));
    return SOREX_OK;
}

enum sorex_status step_apply(struct step *step, const struct entry *entry, bool durable, struct step_result *out,
                             struct sorex_error *err)
{
    *out = (struct step_result){0};
    TRY(store_begin(step->store, entry, err));
    enum sorex_status status = step_execute(step, entry, out, err);
    if (status != SOREX_OK) {
        store_abort(step->store);
        return status;
    }
    uint64_t start = clock_ns();
    status = store_commit(step->store, durable, err);
    out->commit_ns = clock_ns() - start;
    if (status != SOREX_OK)
        store_abort(step->store);
    return status;
}

/* Calls one rollback export. Whatever it does, the undo stands: a failure is logged and what it staged is dropped. */
static void rollback_call(struct step *step, struct program *program, const struct entry *entry)
{
    struct sorex_error err = {0};
    bool keep = program->settings->inverse == INVERSE_GUEST;
    struct step_transform t = transform_prepare(step, program, entry);
    t.rollback = true;
    t.discard = !keep;
    struct transform_host host = transform_host_of(&t);
    struct transform_result result = {0};
    enum sorex_status status = store_amend_begin(step->store, &err);
    if (status == SOREX_OK)
        status = transform_rollback(program->transform, entry, &host, &result, &err);
    if (status == SOREX_OK && keep)
        status = store_amend_commit(step->store, &err);
    if (status != SOREX_OK || !keep)
        store_abort(step->store);
    if (status != SOREX_OK)
        log_line(LOG_WARN, "pipeline", "program %s: rollback of height %u failed, the undo stands: %s", program->settings->name,
                 entry->height, err.text);
    else if (t.dropped != 0)
        log_line(LOG_INFO, "pipeline", "program %s: rollback of height %u: %llu changes of the guest discarded (inverse: host)",
                 program->settings->name, entry->height, (unsigned long long)t.dropped);
    images_deinit(&t.images);
}

enum sorex_status step_undo(struct step *step, struct entry *out_entry, struct sorex_error *err)
{
    TRY(store_undo(step->store, out_entry, err));
    for (size_t i = step->transform_count; i-- > 0;)
        if (transform_has_rollback(step->transforms[i].transform))
            rollback_call(step, &step->transforms[i], out_entry);
    return SOREX_OK;
}
