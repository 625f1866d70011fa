/* Source `lines`: a file, already in the page cache, cut into records with a position each, against reading it and
 * looking for line ends. The same from a pipe is in bench/stream, with all that comes behind it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/folder.h"
#include "bench/harness.h"
#include "source/events.h"

#define FILE_BYTES ((size_t)256 << 20)
#define READ_BYTES ((size_t)256 << 10)

struct world {
    char folder[FOLDER_PATH_SIZE];
    char path[FOLDER_PATH_SIZE + 32];
    size_t lines;
};

/* Of this process, so that neighbours count less. */
static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void file_make(struct world *world, size_t line_bytes)
{
    FILE *file = fopen(world->path, "w");
    char *line = malloc(line_bytes);
    if (file == NULL || line == NULL)
        bench_die("%s could not be written", world->path);
    memset(line, 'x', line_bytes);
    line[line_bytes - 1] = '\n';
    world->lines = FILE_BYTES / line_bytes;
    for (size_t i = 0; i < world->lines; i++) {
        char number[24];
        size_t len = (size_t)snprintf(number, sizeof number, "{\"id\":%zu,", i);
        memcpy(line, number, len);
        (void)fwrite(line, line_bytes, 1, file);
    }
    free(line);
    if (fclose(file) != 0)
        bench_die("%s could not be written", world->path);
}

static struct event_source *source_open(const struct world *world)
{
    const struct event_source_type *type = event_source_type_find("lines");
    const struct event_source_context context = {.pipeline = "bench"};
    _Alignas(max_align_t) uint8_t settings[256] = {0};
    struct event_source *source = NULL;
    struct event_batch batch;
    struct sorex_error err;
    if (option_set(option_find(type->options, "path"), bytes_str(world->path), "path", NULL, settings, &err) !=
            SOREX_OK ||
        type->open(settings, &context, &source, &err) != SOREX_OK ||
        type->poll(source, &(struct event_limits){.records = 1, .bytes = 1}, &batch, &err) != SOREX_OK ||
        type->seek(source, batch.partitions[0].name, NULL, &err) != SOREX_OK)
        bench_die("%s", err.text);
    options_free(type->options, settings);
    return source;
}

static double records(void *user_data)
{
    const struct world *world = user_data;
    const struct event_limits limits = {.records = 10000, .bytes = (size_t)8 << 20, .wait_ms = 1000};
    double start = cpu_seconds();
    struct event_source *source = source_open(world);
    struct event_batch batch = {0};
    struct sorex_error err;
    size_t count = 0;
    while (!batch.ended) {
        if (source->type->poll(source, &limits, &batch, &err) != SOREX_OK)
            bench_die("%s", err.text);
        count += batch.count;
    }
    source->type->close(source);
    if (count != world->lines)
        bench_die("%zu records of %zu lines", count, world->lines);
    return (double)count / (cpu_seconds() - start) / 1e6;
}

static double line_ends(void *user_data)
{
    const struct world *world = user_data;
    double start = cpu_seconds();
    char *buffer = malloc(READ_BYTES);
    int fd = open(world->path, O_RDONLY | O_CLOEXEC);
    size_t count = 0;
    for (ssize_t n; buffer != NULL && (n = read(fd, buffer, READ_BYTES)) > 0;) {
        const char *at = buffer, *end = buffer + n;
        while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
            count++;
            at++;
        }
    }
    (void)close(fd);
    free(buffer);
    if (count != world->lines)
        bench_die("%zu line ends of %zu lines", count, world->lines);
    return (double)count / (cpu_seconds() - start) / 1e6;
}

int main(void)
{
    static const struct {
        size_t bytes;
        const char *what;
        double goal;
    } rows[] = {{240, "records of 240 B from a file, one core", 5}, {1000, "records of 1 kB from a file, one core", 0}};
    static struct bench bench;
    struct world world = {0};
    folder_make(world.folder);
    (void)snprintf(world.path, sizeof world.path, "%s/lines.jsonl", world.folder);
    bench_start(&bench, "lines");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        file_make(&world, rows[i].bytes);
        bench_measure(&bench,
                      &(struct bench_row){.target = 0,
                                          .what = rows[i].what,
                                          .unit = "M/s",
                                          .more_is_better = true,
                                          .subject = records,
                                          .rival = line_ends,
                                          .rival_name = "read and memchr alone",
                                          .goal = rows[i].goal,
                                          .goal_absolute = true},
                      &world);
    }
    folder_remove(world.folder);
    return bench_finish(&bench);
}
