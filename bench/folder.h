/* A folder for one measurement. Failures end the program. */
#ifndef BENCH_FOLDER_H
#define BENCH_FOLDER_H

#include <stdint.h>

#define FOLDER_PATH_SIZE 64

/* Makes an empty folder on a disk; its path goes to out. */
void folder_make(char out[FOLDER_PATH_SIZE]);
/* With everything in it. */
void folder_remove(const char *dir);
/* What its files take on disk. */
uint64_t folder_bytes(const char *dir);

#endif
