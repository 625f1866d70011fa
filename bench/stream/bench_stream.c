/* Events through the whole program: `sorex pipe`, and `sorex run` from a file into a file. Processes from exec to exit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/folder.h"
#include "bench/harness.h"
#include "bench/run_process.h"

#define EVENTS 400000u

struct world {
    char folder[FOLDER_PATH_SIZE];
    char input[FOLDER_PATH_SIZE + 32];
    char pass[1024], mask[1024];
    char pipeline[FOLDER_PATH_SIZE + 32];
};

static void path_guest(char *out, size_t size, const char *name)
{
    const char *guests = getenv("SOREX_GUESTS");
    (void)snprintf(out, size, "%s/%s.wasm", guests != NULL ? guests : "guests", name);
}

/* Events of so many bytes each, about. */
static void input_make(struct world *world, const char *name, unsigned bytes)
{
    static const char filling[] = "a value that somebody typed into a form, and nobody reads it again; ";
    (void)snprintf(world->input, sizeof world->input, "%s/%s.jsonl", world->folder, name);
    FILE *file = fopen(world->input, "w");
    if (file == NULL)
        bench_die("%s could not be written", world->input);
    for (unsigned n = 0; n < EVENTS; n++) {
        int len = fprintf(file, "{\"before\":null,\"after\":{\"email\":\"user%u@example.org\",\"id\":%u,\"note\":\"", n, n);
        for (; len + 200 < (int)bytes; len += (int)sizeof filling - 1)
            (void)fputs(filling, file);
        (void)fprintf(file,
                      "\"},\"op\":\"insert\",\"source\":{\"source_name\":\"pg\",\"offset\":\"%u\",\"timestamp\":1700000000000},\"ts\":"
                      "1700000000001,\"schema\":null,\"table\":\"t\",\"primary_key\":[\"id\"],\"snapshot\":null,\"transaction\":null,"
                      "\"envelope_version\":1,\"before_is_key_only\":false}\n",
                      n);
    }
    if (fclose(file) != 0)
        bench_die("%s could not be written", world->input);
}

static double pipe_rate(const struct world *world, const char *guest, const char *instances, bool alone)
{
    const char *const words[] = {"pipe", "--wasm", guest, "--instances", instances, "--timeout", "10s", NULL};
    return EVENTS / run_program(words, world->input, alone).seconds;
}

static double pass_alone(void *user_data)
{
    struct world *world = user_data;
    return pipe_rate(world, world->pass, "1", true);
}

static double pass_one(void *user_data)
{
    struct world *world = user_data;
    return pipe_rate(world, world->pass, "1", false);
}

static double pass_two(void *user_data)
{
    struct world *world = user_data;
    return pipe_rate(world, world->pass, "2", false);
}

static double mask_one(void *user_data)
{
    struct world *world = user_data;
    return pipe_rate(world, world->mask, "1", false);
}

static double mask_two(void *user_data)
{
    struct world *world = user_data;
    return pipe_rate(world, world->mask, "2", false);
}

/* File to file, positions kept: a new pipeline every time. */
static double run_rate(struct world *world, unsigned instances)
{
    static unsigned runs;
    (void)snprintf(world->pipeline, sizeof world->pipeline, "%s/p%u.yaml", world->folder, ++runs);
    FILE *file = fopen(world->pipeline, "w");
    if (file == NULL)
        bench_die("%s could not be written", world->pipeline);
    (void)fprintf(file,
                  "data: data%u\ninstances: %u\nlog_level: warn\nsource: {type: lines, path: %s}\n"
                  "filters: [{name: pass, wasm: %s, timeout: 10s}]\nsink: {type: file, path: out%u.jsonl}\n",
                  runs, instances, world->input, world->pass, runs);
    if (fclose(file) != 0)
        bench_die("%s could not be written", world->pipeline);
    double rate = EVENTS / run_program((const char *const[]){"run", world->pipeline, NULL}, NULL, false).seconds;
    char out[FOLDER_PATH_SIZE + 32];
    (void)snprintf(out, sizeof out, "%s/out%u.jsonl", world->folder, runs);
    (void)remove(out);
    return rate;
}

static double run_one(void *user_data)
{
    return run_rate(user_data, 1);
}

static double run_two(void *user_data)
{
    return run_rate(user_data, 2);
}

int main(void)
{
    static struct bench bench;
    static struct world world;
    bench_start(&bench, "stream");
    folder_make(world.folder);
    path_guest(world.pass, sizeof world.pass, "filter_pass");
    path_guest(world.mask, sizeof world.mask, "filter_mask");
    input_make(&world, "small", 240);
    bench_measure(&bench, &(struct bench_row){.target = 7, .what = "240 B: pipe, pass, one processor", .unit = "events/s",
                                              .more_is_better = true, .subject = pass_alone, .goal = 500000, .goal_absolute = true}, &world);
    bench_measure(&bench, &(struct bench_row){.what = "240 B: pipe, pass, two instances", .unit = "events/s", .more_is_better = true,
                                              .subject = pass_two, .rival = pass_one, .rival_name = "one instance"}, &world);
    bench_measure(&bench, &(struct bench_row){.what = "240 B: run, file to file, two instances", .unit = "events/s",
                                              .more_is_better = true, .subject = run_two, .rival = run_one, .rival_name = "one instance"}, &world);
    input_make(&world, "large", 1000);
    bench_measure(&bench, &(struct bench_row){.what = "1 kB: pipe, mask a column, two instances", .unit = "events/s",
                                              .more_is_better = true, .subject = mask_two, .rival = mask_one, .rival_name = "one instance"}, &world);
    bench_measure(&bench, &(struct bench_row){.what = "1 kB: pipe, pass, one processor", .unit = "events/s", .more_is_better = true,
                                              .subject = pass_alone}, &world);
    folder_remove(world.folder);
    return bench_finish(&bench);
}
