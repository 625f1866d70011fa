/* Rows as delivered: a table of what was there, what comes, and what is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "pipeline/delivered.h"
#include "pipeline/images.h"
#include "pipeline/memory_state.h"

#define ROWS 7u  /* the filters' program */
#define MAKER 2u /* the program that makes rows */

static struct sorex_error err;

#define OK(call)                                 \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

/* Spaces by kind and program. */
struct spaces {
    struct memory_state filters[3], maker[3];
    unsigned writes;
};

static struct memory_state *space_of(struct spaces *spaces, struct store_space space)
{
    assert_true(space.program == ROWS || space.program == MAKER);
    return space.program == ROWS ? &spaces->filters[space.kind] : &spaces->maker[space.kind];
}

static enum sorex_status get(void *user_data, struct store_space space, bool staged, struct bytes key,
                             struct bytes *out_value, bool *out_found, struct sorex_error *error)
{
    assert_true(staged);
    return memory_state_get(space_of(user_data, space), key, out_value, out_found, error);
}

static enum sorex_status put(void *user_data, struct store_space space, struct bytes key, const struct bytes *value,
                             struct sorex_error *error)
{
    struct spaces *spaces = user_data;
    spaces->writes++;
    struct memory_state *state = space_of(spaces, space);
    return value != NULL ? memory_state_put(state, key, *value, error) : memory_state_del(state, key, error);
}

struct world {
    struct spaces spaces;
    struct ledger ledger;
    struct delivered delivered;
    struct arena arena;
};

static const uint16_t programs[] = {MAKER};

static void world_open(struct world *w)
{
    *w = (struct world){.ledger = {.get = get, .write = put}};
    w->ledger.user_data = &w->spaces;
    arena_init(&w->arena, 0);
    for (size_t i = 0; i < 3; i++) {
        memory_state_init(&w->spaces.filters[i], NULL);
        memory_state_init(&w->spaces.maker[i], NULL);
    }
    w->delivered = (struct delivered){.ledger = &w->ledger,
                                      .rows = {.program = ROWS, .kind = STORE_IMAGES},
                                      .places = {.program = ROWS, .kind = STORE_KEYS},
                                      .programs = programs,
                                      .program_count = 1};
}

static void world_close(struct world *w)
{
    for (size_t i = 0; i < 3; i++) {
        memory_state_deinit(&w->spaces.filters[i]);
        memory_state_deinit(&w->spaces.maker[i]);
    }
    delivered_deinit(&w->delivered);
    arena_deinit(&w->arena);
}

static struct bytes image(const char *text) { return text != NULL ? bytes_str(text) : (struct bytes){0}; }

/* "PLACE IMAGE", PLACE as in t/k; NULL: none. */
static struct delivered_row row_of(const char *text)
{
    if (text == NULL)
        return (struct delivered_row){0};
    const char *slash = strchr(text, '/'), *space = strchr(text, ' ');
    return (struct delivered_row){bytes_of(text, (size_t)(slash - text)),
                                  bytes_of(slash + 1, (size_t)(space - slash - 1)), bytes_str(space + 1)};
}

static const char *row_text(const struct delivered_row *row, char out[64])
{
    if (!row_present(row))
        return "none";
    (void)snprintf(out, 64, "%.*s/%.*s %.*s", BYTES_FMT(row->table), BYTES_FMT(row->key), BYTES_FMT(row->image));
    return out;
}

/* What the records are, as text, their binary parts as digits. */
static enum sorex_status pair_say(void *user_data, struct bytes key, struct bytes value, struct sorex_error *error)
{
    struct buf *out = user_data;
    TRY(buf_append_str(out, "[", error));
    for (int part = 0; part < 2; part++) {
        struct bytes bytes = part == 0 ? key : value;
        TRY(buf_append_str(out, part == 0 ? "" : "=", error));
        for (size_t i = 0; i < bytes.len; i++)
            TRY(buf_append_u8(out, bytes.data[i] < 10 ? (uint8_t)('0' + bytes.data[i]) : bytes.data[i], error));
    }
    return buf_append_str(out, "]", error);
}

/* One change of the row t/k. */
struct step {
    const char *own_before, *own; /* images as the transform made them */
    const char *was;              /* as delivered before: expected */
    const char *now;              /* what is delivered from now on */
    const char *records, *places; /* expected */
    unsigned writes;
};

static void step_do(struct world *w, const struct step *s)
{
    char text[64];
    struct delivered_was was;
    struct buf records = {0}, places = {0};
    struct delivered_row now = row_of(s->now);
    struct delivered_change change = {
        .program = MAKER, .own = {bytes_str("t"), bytes_str("k"), image(s->own)}, .own_before = image(s->own_before)};
    w->spaces.writes = 0;
    OK(delivered_get(&w->delivered, &change, &w->arena, &was, &err));
    assert_string_equal(row_text(&was.row, text), s->was != NULL ? s->was : "none");
    OK(delivered_put(&w->delivered, &change, &was, &now, &err));
    OK(memory_state_scan(&w->spaces.filters[STORE_IMAGES], pair_say, &records, &err));
    OK(memory_state_scan(&w->spaces.filters[STORE_KEYS], pair_say, &places, &err));
    OK(buf_append_u8(&records, 0, &err));
    OK(buf_append_u8(&places, 0, &err));
    assert_string_equal((const char *)records.data, s->records);
    assert_string_equal((const char *)places.data, s->places);
    assert_int_equal(w->spaces.writes, s->writes);
    buf_deinit(&records);
    buf_deinit(&places);
}

static void test_life(void **unused)
{
    (void)unused;
    static const struct step steps[] = {
        /* as its transform made it: nothing is kept, nothing is written */
        {NULL, "A", NULL, "t/k A", "", "", 0},
        {"A", "B", "t/k A", "t/k B", "", "", 0},
        /* dropped, twice, and back */
        {"B", "C", "t/k B", NULL, "[201tk=0]", "", 1},
        {"C", "D", NULL, NULL, "[201tk=0]", "", 0},
        {"D", "E", NULL, "t/k E", "", "", 1},
        /* masked, the same again, another mask, as it is */
        {"E", "F", "t/k E", "t/k x", "[201tk=1x]", "", 1},
        {"F", "G", "t/k x", "t/k x", "[201tk=1x]", "", 0},
        {"G", "H", "t/k x", "t/k y", "[201tk=1y]", "", 1},
        {"H", "y", "t/k y", "t/k y", "", "", 1},
        /* moved, on to another place, home */
        {"y", "I", "t/k y", "u/k I", "[201tk=21u1kI]", "[1uk=201tk]", 2},
        {"I", "J", "u/k I", "u/k J", "[201tk=21u1kJ]", "[1uk=201tk]", 1},
        {"J", "K", "u/k J", "t/l K", "[201tk=21t1lK]", "[1tl=201tk]", 3},
        {"K", "L", "t/l K", "t/k L", "", "", 2},
        /* moved, deleted; deleted without ever having been delivered; stays behind a delete, and is created over */
        {"L", "M", "t/k L", "u/k M", "[201tk=21u1kM]", "[1uk=201tk]", 2},
        {"M", NULL, "u/k M", NULL, "", "", 2},
        {NULL, "N", NULL, NULL, "[201tk=0]", "", 1},
        {"N", NULL, NULL, NULL, "", "", 1},
        {NULL, "O", NULL, "t/k O", "", "", 0},
        {"O", NULL, "t/k O", "t/k gone", "[201tk=1gone]", "", 1},
        {NULL, "P", "t/k gone", "t/k P", "", "", 1},
        {"P", NULL, "t/k P", NULL, "", "", 0},
    };
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        step_do(&w, &steps[i]);
    world_close(&w);
}

static void image_put(struct world *w, const char *table, const char *key)
{
    struct buf name = {0};
    OK(image_key(bytes_str(table), bytes_str(key), &name, &err));
    OK(memory_state_put(&w->spaces.maker[STORE_IMAGES], buf_view(&name), bytes_str("1"), &err));
    buf_deinit(&name);
}

/* Creates the row and delivers it at a place. */
static enum sorex_status deliver(struct world *w, uint16_t program, const char *table, const char *key, const char *at)
{
    struct delivered_was was;
    struct delivered_row now = row_of(at);
    struct delivered_change change = {.program = program, .own = {bytes_str(table), bytes_str(key), bytes_str("1")}};
    OK(delivered_get(&w->delivered, &change, &w->arena, &was, &err));
    return delivered_put(&w->delivered, &change, &was, &now, &err);
}

static void test_places(void **unused)
{
    (void)unused;
    struct world w;
    world_open(&w);
    image_put(&w, "t", "a"); /* delivered at home */
    assert_int_equal(deliver(&w, MAKER, "u", "b", "t/a 1"), SOREX_INVALID);
    assert_string_equal(err.text, "its place t/a is taken by another row");
    OK(deliver(&w, MAKER, "t", "a", NULL)); /* dropped: the place is free, for one */
    OK(deliver(&w, MAKER, "u", "b", "t/a 1"));
    assert_int_equal(deliver(&w, MAKER, "u", "c", "t/a 1"), SOREX_INVALID);
    assert_int_equal(deliver(&w, MAKER, "t", "a", "t/a 1"), SOREX_INVALID);
    OK(deliver(&w, MAKER, "u", "b", NULL));
    OK(deliver(&w, MAKER, "t", "a", "t/a 2")); /* masked, at home */
    assert_int_equal(deliver(&w, MAKER, "u", "b", "t/a 1"), SOREX_INVALID);
    assert_int_equal(deliver(&w, 3, "u", "b", "x/y 1"), SOREX_INVALID);
    assert_non_null(strstr(err.text, "before: guest"));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
