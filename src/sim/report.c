#include <stdio.h>

#include "base/check.h"
#include "sim/sim.h"

static const struct {
    const char *name;
    size_t offset;
} figures[] = {
    {"histories", offsetof(struct sim_result, histories)},   {"steps", offsetof(struct sim_result, steps)},
    {"entries", offsetof(struct sim_result, entries)},       {"undone", offsetof(struct sim_result, undone)},
    {"refused", offsetof(struct sim_result, refused)},       {"crashes", offsetof(struct sim_result, crashes)},
    {"hard_stops", offsetof(struct sim_result, hard_stops)}, {"batches", offsetof(struct sim_result, batches)},
    {"deep_undos", offsetof(struct sim_result, deep_undos)}, {"torn_undos", offsetof(struct sim_result, torn_undos)},
    {"amendments", offsetof(struct sim_result, amendments)}, {"upgrades", offsetof(struct sim_result, upgrades)},
};

#define FIGURES (sizeof figures / sizeof *figures)

static uint64_t figure(const struct sim_result *result, size_t i)
{
    uint64_t value;
    (void)memcpy(&value, (const uint8_t *)result + figures[i].offset, sizeof value);
    return value;
}

static enum sorex_status report_json(const struct sim_options *options, const struct sim_result *result,
                                     struct buf *out, struct sorex_error *err)
{
    char trace[17];
    struct json_writer w;
    (void)snprintf(trace, sizeof trace, "%016llx", (unsigned long long)result->trace);
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "ok");
    json_bool(&w, !result->failed);
    json_name(&w, "seed");
    json_uint(&w, options->seed);
    for (size_t i = 0; i < FIGURES; i++) {
        json_name(&w, figures[i].name);
        json_uint(&w, figure(result, i));
    }
    json_name(&w, "trace");
    json_string_z(&w, trace);
    if (result->failed) {
        json_name(&w, "failed_seed");
        json_uint(&w, result->failed_seed);
        json_name(&w, "why");
        json_string(&w, buf_view(&result->why));
        json_name(&w, "script");
        json_string(&w, buf_view(&result->script));
    }
    json_object_end(&w);
    TRY(json_writer_finish(&w));
    return buf_append_u8(out, '\n', err);
}

enum sorex_status sim_report(const struct sim_options *options, const struct sim_result *result, bool json,
                             struct buf *out, struct sorex_error *err)
{
    if (json)
        return report_json(options, result, out, err);
    for (size_t i = 0; i < FIGURES; i++)
        TRY(buf_printf(out, err, "%s%llu %s", i == 0 ? "" : ", ", (unsigned long long)figure(result, i),
                       figures[i].name));
    TRY(buf_printf(out, err, ", trace %016llx\n", (unsigned long long)result->trace));
    if (!result->failed)
        return buf_append_str(out, "everything was as it must be\n", err);
    TRY(buf_printf(out, err, "seed %llu fails: %.*s\n%s\n", (unsigned long long)result->failed_seed,
                   BYTES_FMT(buf_view(&result->why)),
                   result->script_steps != 0 ? "the shortest script that fails:" : "it takes no step at all"));
    TRY(buf_append(out, buf_view(&result->script), err));
    return buf_printf(out, err, "again: sorex sim%s%s --seed %llu --runs 1 --steps %u\n",
                      options->pipeline != NULL ? " --pipeline " : "",
                      options->pipeline != NULL ? options->pipeline : "", (unsigned long long)result->failed_seed,
                      result->steps_each);
}
