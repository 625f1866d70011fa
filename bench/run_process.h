/* The whole program, from exec to exit: what a user waits for. */
#ifndef BENCH_RUN_PROCESS_H
#define BENCH_RUN_PROCESS_H

#include <stdbool.h>

struct run_cost {
    double seconds;
    double resident_mib; /* at its highest */
};

/* Runs the program (SOREX_BIN) with these words, which end with NULL; its output is thrown away; a failure ends the
 * benchmark.
 *
 * input   file for standard input; NULL: none.
 * alone   on one processor. */
struct run_cost run_program(const char *const words[], const char *input, bool alone);

/* Runs `sorex run FILE --until HEIGHT` (the program is SOREX_BIN), its output thrown away; a failure ends the
 * benchmark. */
struct run_cost run_pipeline(const char *pipeline_file, unsigned until);

#endif
