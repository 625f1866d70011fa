#define ALLOC_REAL
#include "fault/alloc.h"

#include "fault/life_stream.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/file.h"
#include "fault/alloc.h"
#include "serve/exposition.h"
#include "serve/service.h"

static char pipeline_path[PATH_MAX], out_path[PATH_MAX], dead_path[PATH_MAX];

void stream_write(const char *root)
{
    const char *source = getenv("SOREX_SOURCE_DIR"), *guests = getenv("SOREX_GUESTS");
    char given[PATH_MAX];
    struct buf events = {0};
    assert_non_null(source);
    assert_non_null(guests);
    (void)snprintf(given, sizeof given, "%s/examples/events.jsonl", source);
    assert_int_equal(file_read(given, (size_t)1 << 20, &events, NULL), SOREX_OK);
    (void)snprintf(given, sizeof given, "%s/events.jsonl", root);
    assert_int_equal(buf_append_str(&events, "no event\n", NULL), SOREX_OK);
    assert_int_equal(file_replace(given, buf_view(&events), NULL), SOREX_OK);
    buf_deinit(&events);
    (void)snprintf(pipeline_path, sizeof pipeline_path, "%s/stream.yaml", root);
    (void)snprintf(out_path, sizeof out_path, "%s/stream/out.jsonl", root);
    (void)snprintf(dead_path, sizeof dead_path, "%s/stream/dead.jsonl", root);
    FILE *out = fopen(pipeline_path, "w");
    assert_non_null(out);
    (void)fprintf(
        out,
        "data: %s/stream\ninstances: 1\nbatch_events: 3\nsource: {type: lines, path: %s, on_error: skip}\n"
        "filters: [{name: mask, wasm: %s/filter_mask.wasm, timeout: 10s}]\nsink: {type: file, path: %s, dead_letters: %s}\n",
        root, given, guests, out_path, dead_path);
    assert_int_equal(fclose(out), 0);
}

static enum sorex_status figures_ask(struct flow *flow, struct sorex_error *err)
{
    struct service service;
    struct buf json = {0}, text = {0};
    service_init(&service, NULL, "", NULL);
    service.flow = flow;
    enum sorex_status status = service_status(&service, &json, err);
    if (status == SOREX_OK)
        status = exposition_write(buf_view(&json), &text, err);
    service_deinit(&service);
    buf_deinit(&json);
    buf_deinit(&text);
    return status;
}

static enum sorex_status result_of(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    struct buf text = {0};
    enum sorex_status status = file_read(out_path, (size_t)1 << 20, &text, err);
    if (status == SOREX_OK)
        status = file_read(dead_path, (size_t)1 << 20, &text, err);
    sha256_once(buf_view(&text), out);
    buf_deinit(&text);
    return status;
}

enum sorex_status stream_live(uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    static struct pipeline_settings settings;
    const struct flow_options options = {0};
    struct flow_summary summary;
    struct flow *flow = NULL;
    memset(&settings, 0, sizeof settings);
    enum sorex_status status = pipeline_settings_read(pipeline_path, NULL, 0, &settings, err);
    if (status == SOREX_OK)
        status = flow_new(&settings, &options, &flow, err);
    if (status == SOREX_OK) {
        status = flow_run(flow, &summary, err);
        if (status == SOREX_OK)
            status = figures_ask(flow, err);
        flow_free(flow);
    }
    if (status == SOREX_OK)
        status = result_of(out, err);
    pipeline_settings_deinit(&settings);
    return status;
}
