#include "follower.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"

#define PATIENCE_MS 30000

static enum sorex_status own_hash(void *user_data, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                  struct sorex_error *err)
{
    struct follower *follower = user_data;
    if (height >= follower->own_count || height < follower->horizon || height < follower->options.start_height)
        return sorex_error_set(err, SOREX_GONE, "not retained");
    memcpy(out_hash, follower->own[height], HASH_BYTES);
    return SOREX_OK;
}

void follower_init(struct follower *follower, uint32_t blocks)
{
    *follower = (struct follower){.options = {.poll_ms = 1, .retry_ms = 2, .own_hash = own_hash}};
    follower->options.user_data = follower;
    assert_int_equal(memory_open(&follower->source, NULL), SOREX_OK);
    assert_int_equal(memory_extend(follower->source, blocks, 0, NULL), SOREX_OK);
}

void follower_deinit(struct follower *follower)
{
    chain_free(follower->chain);
    follower->source->type->close(follower->source);
    buf_deinit(&follower->trace);
    free(follower->own);
}

void follower_start(struct follower *follower)
{
    bool any = follower->own_count != 0;
    chain_free(follower->chain);
    follower->chain = NULL;
    assert_int_equal(chain_new(follower->source, &follower->options, any ? follower->own_count - 1 : SOREX_HEIGHT_NONE,
                               any ? follower->own[follower->own_count - 1] : NULL, &follower->chain, NULL),
                     SOREX_OK);
}

static void write_run(struct follower *follower)
{
    if (!follower->in_run)
        return;
    follower->in_run = false;
    enum sorex_status status =
        follower->run_from == follower->run_to
            ? buf_printf(&follower->trace, NULL, "entry %u\n", follower->run_from)
            : buf_printf(&follower->trace, NULL, "entry %u..%u\n", follower->run_from, follower->run_to);
    assert_int_equal(status, SOREX_OK);
    follower->last[0] = '\0';
}

static void write_line(struct follower *follower, const char *line)
{
    write_run(follower);
    if (strcmp(follower->last, line) == 0)
        return;
    assert_int_equal(buf_printf(&follower->trace, NULL, "%s\n", line), SOREX_OK);
    (void)snprintf(follower->last, sizeof follower->last, "%s", line);
}

static void on_entry(struct follower *follower, const struct entry *entry)
{
    bool first = follower->own_count == 0;
    assert_int_equal(entry->height, first ? follower->options.start_height : follower->own_count);
    if (!first)
        assert_memory_equal(entry->parent, follower->own[entry->height - 1], HASH_BYTES);
    struct entry parsed;
    assert_int_equal(block_header_parse(entry->payload, &parsed, NULL), SOREX_OK);
    assert_memory_equal(parsed.hash, entry->hash, HASH_BYTES);
    if (entry->height >= follower->own_cap) {
        follower->own_cap = entry->height * 2 + 64;
        follower->own = realloc(follower->own, follower->own_cap * sizeof *follower->own);
        assert_non_null(follower->own);
    }
    memcpy(follower->own[entry->height], entry->hash, HASH_BYTES);
    follower->own_count = entry->height + 1;
    if (!follower->in_run)
        follower->run_from = entry->height;
    follower->in_run = true;
    follower->run_to = entry->height;
}

static void on_undo(struct follower *follower, const struct chain_event *event)
{
    char line[64];
    if (event->height == SOREX_HEIGHT_NONE) {
        follower->own_count = 0;
        write_line(follower, "undo all");
        return;
    }
    assert_true(event->height + 1 < follower->own_count);
    assert_memory_equal(event->height_hash, follower->own[event->height], HASH_BYTES);
    follower->own_count = event->height + 1;
    (void)snprintf(line, sizeof line, "undo %u", event->height);
    write_line(follower, line);
}

static void on_idle(struct follower *follower, const struct chain_event *event)
{
    char line[sizeof event->waiting + 8];
    if (strncmp(event->waiting, "waiting for block", 17) == 0)
        return; /* a matter of how fast the machine is */
    (void)snprintf(line, sizeof line, "idle %s", event->waiting);
    char *cut = strstr(line, ", retrying");
    if (cut != NULL)
        *cut = '\0';
    write_line(follower, line);
}

enum sorex_status follower_take(struct follower *follower, struct chain_event *event, uint32_t timeout_ms)
{
    enum sorex_status status = chain_next(follower->chain, timeout_ms, event, &follower->error);
    if (status != SOREX_OK)
        return status;
    if (event->kind == CHAIN_ENTRY)
        on_entry(follower, &event->entry);
    else if (event->kind == CHAIN_UNDO)
        on_undo(follower, event);
    else
        on_idle(follower, event);
    return SOREX_OK;
}

void follower_run(struct follower *follower, const char *reason)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    while (clock_ms() < deadline) {
        struct chain_event event;
        enum sorex_status status = follower_take(follower, &event, 20);
        if (status != SOREX_OK)
            fail_msg("chain_next: %s", follower->error.text);
        if (event.kind == CHAIN_IDLE && strncmp(event.waiting, reason, strlen(reason)) == 0)
            return;
    }
    write_run(follower);
    fail_msg("never idle with \"%s\"; so far:\n%.*s", reason, BYTES_FMT(buf_view(&follower->trace)));
}

void follower_catch_up(struct follower *follower)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    for (;;) {
        uint32_t height;
        uint8_t hash[HASH_BYTES];
        follower_run(follower, "at the tip");
        assert_int_equal(follower->source->type->tip(follower->source, &height, hash, NULL), SOREX_OK);
        if (follower->own_count == height + 1 && memcmp(follower->own[height], hash, HASH_BYTES) == 0)
            return;
        assert_true(clock_ms() < deadline);
    }
}

enum sorex_status follower_run_to_error(struct follower *follower)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    enum sorex_status status = SOREX_OK;
    while (status == SOREX_OK && clock_ms() < deadline) {
        struct chain_event event;
        status = follower_take(follower, &event, 20);
    }
    return status;
}

void follower_assert_same(struct follower *follower)
{
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    struct source *source = follower->source;
    assert_int_equal(source->type->tip(source, &height, hash, NULL), SOREX_OK);
    assert_int_equal(follower->own_count, height + 1);
    for (uint32_t i = follower->options.start_height; i <= height; i++) {
        assert_int_equal(source->type->hash_at(source, i, hash, NULL), SOREX_OK);
        assert_memory_equal(hash, follower->own[i], HASH_BYTES);
    }
}

void follower_assert_trace(struct follower *follower, const char *expected)
{
    write_run(follower);
    assert_int_equal(buf_append_u8(&follower->trace, 0, NULL), SOREX_OK);
    assert_string_equal((const char *)follower->trace.data, expected);
    buf_reset(&follower->trace);
    follower->last[0] = '\0';
}
