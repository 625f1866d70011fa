/* sorex replay: executes retained entries again and compares commitments. */
#include <stdio.h>

#include "base/check.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "pipeline/replay.h"

static void difference_print(const struct replay_difference *d)
{
    char stored[HASH_HEX_SIZE], computed[HASH_HEX_SIZE];
    hash_hex(d->stored, stored);
    hash_hex(d->computed, computed);
    printf("height %u, program %s differs: stored commitment %s, computed %s%s\n", d->height, d->program, stored,
           computed,
           d->other_identity ? "; the module or its settings are not those that this entry was indexed with" : "");
}

static void report_print(const struct replay_report *r)
{
    if (r->differs) {
        difference_print(&r->difference);
        return;
    }
    printf("heights %u to %u: all %llu commitments are the stored ones (%llu pairs, %llu changes", r->from, r->to,
           (unsigned long long)r->commitments, (unsigned long long)r->pairs, (unsigned long long)r->changes);
    if (r->fuel != 0)
        printf(", %llu fuel", (unsigned long long)r->fuel);
    printf(")\n");
}

static void figure(struct json_writer *w, const char *name, uint64_t value)
{
    json_name(w, name);
    json_uint(w, value);
}

static void difference_json(struct json_writer *w, const struct replay_difference *d)
{
    json_object_begin(w);
    figure(w, "height", d->height);
    json_name(w, "program");
    json_string_z(w, d->program);
    json_name(w, "stored");
    json_hex(w, bytes_of(d->stored, HASH_BYTES));
    json_name(w, "computed");
    json_hex(w, bytes_of(d->computed, HASH_BYTES));
    json_name(w, "other_identity");
    json_bool(w, d->other_identity);
    json_object_end(w);
}

static enum sorex_status report_json(const struct replay_report *r, struct sorex_error *err)
{
    struct json_out out;
    json_out_begin(&out, true, err);
    json_object_begin(&out.w);
    json_name(&out.w, "same");
    json_bool(&out.w, !r->differs);
    figure(&out.w, "from", r->from);
    figure(&out.w, "to", r->to);
    figure(&out.w, "commitments", r->commitments);
    figure(&out.w, "pairs", r->pairs);
    figure(&out.w, "changes", r->changes);
    figure(&out.w, "fuel", r->fuel);
    if (r->differs) {
        json_name(&out.w, "difference");
        difference_json(&out.w, &r->difference);
    }
    json_object_end(&out.w);
    return json_out_end(&out, stdout);
}

static enum sorex_status replay_pipeline(const struct arguments *arguments, const struct pipeline_settings *settings,
                                         int *out_code, struct sorex_error *err)
{
    struct replay_report report = {0};
    uint32_t from, to;
    TRY(pipeline_settings_chain(settings, err));
    TRY(height_parse("from", arguments->from, &from, err));
    TRY(height_parse("to", arguments->to, &to, err));
    TRY(replay(settings, from, to, &report, err));
    *out_code = report.differs ? EXIT_STORE_CODE : EXIT_OK_CODE;
    if (arguments->json)
        return report_json(&report, err);
    report_print(&report);
    return SOREX_OK;
}

static int run(struct arguments *arguments)
{
    return pipeline_file_use(arguments, replay_pipeline);
}

const struct verb verb_replay = {
    .name = "replay",
    .summary = "execute retained entries again and compare their commitments",
    .usage = "PIPELINE [--from H] [--to H] [--json]",
    .flags = "from to json set",
    .words_min = 1,
    .words_max = 1,
    .about = "Every entry runs from the stored state before it, with its block fetched again by hash; writes stay in "
             "memory. The first\n"
             "height and program whose commitment is not the stored one is named, and the exit code is 4. Without "
             "--from and --to: all\n"
             "that is retained. A pipeline that runs on the data directory has to be stopped first, and cannot start "
             "meanwhile. With another module in the pipeline file\n"
             "it answers where that module's results part from the stored ones.",
    .example = "sorex replay pipeline.yaml --from 840000 --to 840100",
    .run = run,
};
