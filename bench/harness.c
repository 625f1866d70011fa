#include "bench/harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "json/writer.h"

#ifndef SOREX_BENCH_DIR
#error "SOREX_BENCH_DIR: the folder of the JSON files"
#endif

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

void bench_start(struct bench *bench, const char *name)
{
    const char *rounds = getenv("SOREX_BENCH_ROUNDS");
    *bench = (struct bench){.name = name, .rounds = 7};
    if (rounds != NULL) {
        unsigned long n = strtoul(rounds, NULL, 10);
        bench->rounds = n < 5 ? 5 : n > BENCH_ROUNDS_MAX ? BENCH_ROUNDS_MAX : (unsigned)n;
    }
    printf("%-76s %12s %12s %7s  %s\n", name, "sorex", "rival", "ratio", "goal");
}

static int compare_values(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(const struct bench_samples *s)
{
    if (s->count == 0)
        return 0;
    return s->count % 2 == 1 ? s->values[s->count / 2] : (s->values[s->count / 2 - 1] + s->values[s->count / 2]) / 2;
}

static double rival_of(const struct bench_result *result)
{
    return result->rival.count > 0 ? median(&result->rival) : result->row.rival_value;
}

/* What the goal is about: the ratio, or the figure itself; 0 when there is nothing to compare with. */
static double measured(const struct bench_result *result)
{
    double subject = median(&result->subject), rival = rival_of(result);
    if (result->row.goal_absolute)
        return subject;
    return rival > 0 ? subject / rival : 0;
}

static bool reached(const struct bench_result *result)
{
    return result->row.more_is_better ? measured(result) >= result->row.goal : measured(result) <= result->row.goal;
}

static void print_row(const struct bench_result *result)
{
    const struct bench_row *row = &result->row;
    double rival = rival_of(result);
    char what[128];
    (void)snprintf(what, sizeof what, "%s, %s", row->what, row->unit);
    printf("%-76s %12.4g ", what, median(&result->subject));
    if (rival > 0)
        printf("%12.4g %7.3g  ", rival, median(&result->subject) / rival);
    else
        printf("%12s %7s  ", "-", "-");
    if (row->goal > 0)
        printf("%s %.4g%s%s: %s", row->more_is_better ? ">=" : "<=", row->goal, row->goal_absolute ? " " : "x",
               row->goal_absolute ? row->unit : "", reached(result) ? "reached" : "not reached");
    if (row->rival_name != NULL)
        printf("  (%s)", row->rival_name);
    printf("\n");
    (void)fflush(stdout);
}

void bench_add(struct bench *bench, const struct bench_row *row, const struct bench_samples *subject,
               const struct bench_samples *rival)
{
    if (bench->count == BENCH_ROWS_MAX)
        bench_die("%s: more than %d rows", bench->name, BENCH_ROWS_MAX);
    struct bench_result *result = &bench->results[bench->count++];
    *result = (struct bench_result){.row = *row, .subject = *subject, .rival = *rival};
    qsort(result->subject.values, result->subject.count, sizeof(double), compare_values);
    qsort(result->rival.values, result->rival.count, sizeof(double), compare_values);
    print_row(result);
}

void bench_measure(struct bench *bench, const struct bench_row *row, void *user_data)
{
    struct bench_samples subject = {0}, rival = {0};
    unsigned rounds = row->rounds != 0 ? row->rounds : bench->rounds;
    (void)row->subject(user_data);
    if (row->rival != NULL)
        (void)row->rival(user_data);
    for (unsigned i = 0; i < rounds; i++) {
        subject.values[subject.count++] = row->subject(user_data);
        if (row->rival != NULL)
            rival.values[rival.count++] = row->rival(user_data);
    }
    bench_add(bench, row, &subject, &rival);
}

static void write_samples(struct json_writer *w, const char *name, const struct bench_samples *s)
{
    json_name(w, name);
    json_object_begin(w);
    json_name(w, "median");
    json_double(w, median(s));
    json_name(w, "min");
    json_double(w, s->values[0]);
    json_name(w, "max");
    json_double(w, s->values[s->count - 1]);
    json_name(w, "rounds");
    json_uint(w, s->count);
    json_object_end(w);
}

static void write_result(struct json_writer *w, const struct bench_result *result)
{
    const struct bench_row *row = &result->row;
    double rival = rival_of(result);
    json_object_begin(w);
    json_name(w, "target");
    json_uint(w, row->target);
    json_name(w, "what");
    json_string_z(w, row->what);
    json_name(w, "unit");
    json_string_z(w, row->unit);
    json_name(w, "more_is_better");
    json_bool(w, row->more_is_better);
    if (result->subject.count > 0)
        write_samples(w, "sorex", &result->subject);
    if (row->rival_name != NULL) {
        json_name(w, "rival_name");
        json_string_z(w, row->rival_name);
    }
    if (result->rival.count > 0)
        write_samples(w, "rival", &result->rival);
    if (rival > 0) {
        json_name(w, "rival_value");
        json_double(w, rival);
        json_name(w, "ratio");
        json_double(w, median(&result->subject) / rival);
    }
    if (row->goal > 0) {
        json_name(w, "goal");
        json_double(w, row->goal);
        json_name(w, "goal_absolute");
        json_bool(w, row->goal_absolute);
        json_name(w, "reached");
        json_bool(w, reached(result));
    }
    json_object_end(w);
}

int bench_finish(struct bench *bench)
{
    struct sorex_error err = {0};
    struct buf text = {0};
    struct json_writer w;
    char path[4096];
    const char *dir = getenv("SOREX_BENCH_OUT");
    dir = dir != NULL ? dir : SOREX_BENCH_DIR;
    (void)snprintf(path, sizeof path, "%s/%s.json", dir, bench->name);
    json_writer_init(&w, &text, true, &err);
    json_object_begin(&w);
    json_name(&w, "bench");
    json_string_z(&w, bench->name);
    json_name(&w, "rows");
    json_array_begin(&w);
    for (unsigned i = 0; i < bench->count; i++)
        write_result(&w, &bench->results[i]);
    json_array_end(&w);
    json_object_end(&w);
    enum sorex_status status = json_writer_finish(&w);
    if (status == SOREX_OK)
        status = buf_append_u8(&text, '\n', &err);
    if (status == SOREX_OK)
        status = file_mkdirs(dir, &err);
    if (status == SOREX_OK)
        status = file_replace(path, buf_view(&text), &err);
    buf_deinit(&text);
    if (status != SOREX_OK)
        bench_die("%s: %s", path, err.text);
    return 0;
}
