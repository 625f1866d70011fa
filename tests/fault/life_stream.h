/* The life of a stream: lines through a filter into a file, with a dead letter, asked for its figures. */
#ifndef SOREX_TESTS_FAULT_LIFE_STREAM_H
#define SOREX_TESTS_FAULT_LIFE_STREAM_H

#include "base/sha256.h"

/* Writes its pipeline file below root, once. Its data, and what it makes, are in root/stream/. */
void stream_write(const char *root);
/* The result: what is in its files in the end. */
enum sorex_status stream_live(uint8_t out[SHA256_BYTES], struct sorex_error *err);

#endif
