/* Benchmarks that compare. A figure counts as a ratio: the subject and its rival are measured in turn, round after
 * round, in one process, and the medians are divided. The table goes to stdout, the same as JSON to
 * BUILD/bench/NAME.json, from which bench/report.py makes docs/PERFORMANCE.md.
 *
 *     struct bench bench;
 *     bench_start(&bench, "reset");
 *     bench_measure(&bench, &(struct bench_row){.target = 1, .what = "fresh instance, call, drop", .unit = "us",
 *                   .subject = ours, .rival = bare_loop, .rival_name = "bare Wasmtime loop", .goal = 1.15}, &world);
 *     return bench_finish(&bench);
 *
 * Environment: SOREX_BENCH_ROUNDS (default 7, at least 5), SOREX_BENCH_OUT (folder of the JSON). */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#define BENCH_ROWS_MAX 64
#define BENCH_ROUNDS_MAX 101

/* One measurement, in the row's unit. It repeats its work as often as it needs to be longer than the clock's noise. */
typedef double bench_fn(void *user_data);

struct bench_row {
    unsigned target; /* number of the goal in docs/PERFORMANCE.md; 0 = none, the row explains another one */
    const char *what;
    const char *unit; /* "us", "ns", "ms", "blocks/s", "MiB", "B" */
    bool more_is_better;
    bench_fn *subject;
    bench_fn *rival; /* NULL: rival_value is a figure measured elsewhere, or there is none (0) */
    const char *rival_name;
    double rival_value;
    double goal;        /* ratio subject / rival: at most, or at least when more is better. 0: none */
    bool goal_absolute; /* the goal is in the unit instead */
    unsigned rounds;    /* 0: SOREX_BENCH_ROUNDS; for rows that take minutes */
};

struct bench_samples {
    unsigned count;
    double values[BENCH_ROUNDS_MAX]; /* sorted by bench_measure */
};

struct bench_result {
    struct bench_row row;
    struct bench_samples subject, rival;
};

struct bench {
    const char *name;
    unsigned rounds, count;
    struct bench_result results[BENCH_ROWS_MAX];
};

void bench_start(struct bench *bench, const char *name);
/* Measures, after one round that does not count, and prints the row. The strings are borrowed until bench_finish. */
void bench_measure(struct bench *bench, const struct bench_row *row, void *user_data);
/* Several rows from one run: the samples were taken elsewhere, in turn. Either may be empty (count 0). */
void bench_add(struct bench *bench, const struct bench_row *row, const struct bench_samples *subject,
               const struct bench_samples *rival);
/* Writes the JSON file. Returns an exit code; a goal that was not reached is no failure. */
int bench_finish(struct bench *bench);

/* Prints why and ends the program with 1. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
