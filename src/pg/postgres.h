/* PostgreSQL as a program: the compiled module and the libraries that databases loaded, shared by all instances.
 * Thread: any. */
#ifndef SOREX_PG_POSTGRES_H
#define SOREX_PG_POSTGRES_H

#include "base/bytes.h"
#include "wasm/machine.h"

struct postgres;

struct postgres_options {
    const char *cache_dir; /* for compiled code, as in struct wasm_program_options; NULL: compiles every time (4 s) */
    bool metered;          /* statements can be given fuel; costs 35 to 40 % */
};

/* wasm: pglite.wasm. Errors: as machine_code_open; SOREX_MISMATCH another module than the one sorex was made for. */
enum sorex_status postgres_open(struct bytes wasm, const struct postgres_options *options, struct postgres **out,
                                struct sorex_error *err);
/* No instance may be there. NULL is fine. */
void postgres_close(struct postgres *postgres);

/* SHA-256 of the module: which PostgreSQL it is. */
const uint8_t *postgres_module_hash(void);
const struct machine_code *postgres_code(const struct postgres *postgres);
bool postgres_metered(const struct postgres *postgres);
/* A library's code, by its bytes; compiled once, kept until postgres_close. Errors: as machine_code_open. */
enum sorex_status postgres_library(struct postgres *postgres, struct bytes wasm, const struct machine_code **out,
                                   struct sorex_error *err);
/* The bytes that a library's code was made from, for images. */
struct bytes postgres_library_bytes(struct postgres *postgres, const struct machine_code *code);

#endif
