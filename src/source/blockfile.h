/* One block file as Bitcoin Core writes it: finds the records and reads raw blocks. */
#ifndef SOREX_SOURCE_BLOCKFILE_H
#define SOREX_SOURCE_BLOCKFILE_H

#include "base/bytes.h"

#define BLOCKFILE_KEY_BYTES 8
#define BLOCKFILE_HEADER_BYTES 80

/* What every file of a directory has in common. */
struct blockfile_format {
    uint8_t key[BLOCKFILE_KEY_BYTES]; /* of xor.dat; zeros when there is none */
    uint8_t magic[4];
};

/* Known networks: NULL when the magic is none of them; false when the name is. */
const char *blockfile_network_name(const uint8_t magic[4]);
bool blockfile_network_magic(const char *name, uint8_t out[4]);

/* Reads xor.dat beside the files. No such file: a key of zeros. Errors: SOREX_IO, SOREX_CORRUPT when it is not 8 bytes.
 */
enum sorex_status blockfile_key_read(const char *path, uint8_t out[BLOCKFILE_KEY_BYTES], struct sorex_error *err);

/* The magic of the file's first record. Errors: SOREX_GONE nothing is written yet; SOREX_IO. */
enum sorex_status blockfile_magic_read(const char *path, const uint8_t key[BLOCKFILE_KEY_BYTES], uint8_t out[4],
                                       struct sorex_error *err);

/* header: borrowed for the call. offset: of the raw block in the file. */
typedef enum sorex_status blockfile_record_fn(void *user_data, const uint8_t header[BLOCKFILE_HEADER_BYTES],
                                              uint64_t offset, uint32_t len, struct sorex_error *err);
/* len bytes at offset are no record, yet good ones follow. */
typedef void blockfile_damage_fn(void *user_data, uint64_t offset, uint64_t len);

struct blockfile_scan {
    uint64_t offset;   /* in and out: where the next record begins */
    uint64_t size;     /* out: of the file */
    bool torn;         /* out: something is at offset, but no whole record (yet) */
    uint64_t searched; /* in and out: file size for which what follows a torn record was searched */
};

/* Calls record for every whole record from scan->offset on; reads headers only. A record that is not whole at the end
 * is left for the next time. Errors: SOREX_IO; what record returns. */
enum sorex_status blockfile_scan(const char *path, const struct blockfile_format *format, struct blockfile_scan *scan,
                                 blockfile_record_fn *record, blockfile_damage_fn *damage, void *user_data,
                                 struct sorex_error *err);

/* Appends the raw block. Errors: SOREX_IO, SOREX_CORRUPT when the file is shorter than that. */
enum sorex_status blockfile_read(const char *path, const struct blockfile_format *format, uint64_t offset, uint32_t len,
                                 struct buf *out, struct sorex_error *err);

#endif
